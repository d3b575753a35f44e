"""Where a journal lies, in words that hold no password."""

import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from ...errors import InvalidRequest

_SCHEMES: Final = frozenset({"postgres", "postgresql"})
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,47}")
_PORT: Final = 5432
_DEFAULT_SCHEMA: Final = "smartglocal"
_APPLICATION: Final = "smartglocal"
_LEADS: Final = frozenset(
    {"database", "dbname", "host", "port", "schema", "sslmode", "target_session_attrs", "user"}
)
"""What of an address leads to its journal, and is no secret."""
_PLACE: Final = re.compile(r"(/[^:@]*|\[[0-9a-fA-F:.%]+\]|[^/:@\[\]]+)(?::([0-9]+))?")
"""A folder of sockets, an address in brackets or a name; and a port."""


def checked_schema(schema: str) -> str:
    """Give the name of a schema that can stand in a statement as it is.

    Raises:
        InvalidRequest: it can't.

    """
    if _SCHEMA.fullmatch(schema) is None or schema.startswith("pg_"):
        words = "expected up to 48 small letters, digits and underscores, a letter first"
        raise InvalidRequest("PostgresJournal.schema", words)
    return schema


def schema_in(dsn: str) -> str:
    """Give the schema that an address names as ``?schema=NAME``, or the usual one."""
    return (_schemas(dsn) or [_DEFAULT_SCHEMA])[0]


def check_schema(dsn: str, schema: str) -> None:
    """See that an address names no other schema.

    Raises:
        InvalidRequest: it does.

    """
    if any(named != schema for named in _schemas(dsn)):
        raise InvalidRequest("PostgresJournal.schema", "the address names another one")


def without_schema(dsn: str) -> str:
    """Give an address as the driver takes it, which knows nothing of our schema."""
    kept = [f"{name}={value}" for name, value in _asked(dsn) if name != "schema"]
    return "?".join([dsn.partition("?")[0], *(["&".join(kept)] if kept else [])])


def application_in(dsn: str) -> str:
    """Give the name under which our connections stand in ``pg_stat_activity``."""
    return dict(parse_qsl(urlsplit(dsn).query)).get("application_name", _APPLICATION)


def without_secrets(dsn: str) -> str:
    """Give an address that leads to the same journal, but for the password.

    Raises:
        InvalidRequest: the address can't be read.

    """
    _ = name_of(dsn, "")
    parts = urlsplit(dsn)
    user, at, hosts = parts.netloc.rpartition("@")
    kept = [f"{name}={value}" for name, value in _asked(dsn) if name in _LEADS]
    place = f"{parts.scheme}://{user.partition(':')[0]}{at}{hosts}{parts.path}"
    return "?".join([place, *(["&".join(kept)] if kept else [])])


def name_of(dsn: str, schema: str) -> str:
    """Give the name of a journal for messages.

    Raises:
        InvalidRequest: the address can't be read; its text stays out of the message.

    """
    try:
        parts = urlsplit(dsn)
    except ValueError:
        parts = urlsplit("")
    hosts = parts.netloc.rpartition("@")[2]
    asked = dict(parse_qsl(parts.query))
    places = [
        _PLACE.fullmatch(unquote(host))
        for host in (hosts or asked.get("host") or "localhost").split(",")
    ]
    if parts.scheme not in _SCHEMES or None in places:
        words = "expected an address such as postgres://user@host:5432/database"
        raise InvalidRequest("PostgresJournal.dsn", words)
    # An @ that isn't written as %40 ends a password too early: its rest would be shown as a name.
    if dsn.count("@") > 1 or (dsn.count("@") == 1 and "@" not in parts.netloc):
        words = "write /, ?, # and @ in a user, a password or a name as %2F, %3F, %23 and %40"
        raise InvalidRequest("PostgresJournal.dsn", words)
    port = asked.get("port") or _PORT
    named = ",".join(f"{place[1]}:{place[2] or port}" for place in places if place)
    database = parts.path.removeprefix("/") or asked.get("dbname") or asked.get("database", "")
    return f"the journal postgres://{named}/{database} (schema {schema})"


def _schemas(dsn: str) -> list[str]:
    return [unquote(value) for name, value in _asked(dsn) if name == "schema"]


def _asked(dsn: str) -> list[tuple[str, str]]:
    """Give the settings behind the question mark, as they are written."""
    pairs = (part.partition("=") for part in dsn.partition("?")[2].split("&") if part)
    return [(name, value) for name, _, value in pairs]
