"""The address of a journal: its schema, the driver's part, and a form without secrets."""

import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from ...errors import InvalidRequest
from ...models.validators import discreetly, postgres_places

_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,47}")
_PORT: Final = 5432
_DEFAULT_SCHEMA: Final = "smartglocal"
_APPLICATION: Final = "smartglocal"
_NOT_SECRET: Final = frozenset(
    {"database", "dbname", "host", "port", "schema", "sslmode", "target_session_attrs", "user"}
)
"""The settings of an address that identify the journal, and aren't secret."""


def checked_schema(schema: str) -> str:
    """Return the name of a schema if it can be used in a statement unquoted.

    Raises:
        InvalidRequest: it can't.

    """
    if _SCHEMA.fullmatch(schema) is None or schema.startswith("pg_"):
        words = "expected up to 48 small letters, digits and underscores, a letter first"
        raise InvalidRequest("PostgresJournal.schema", words)
    return schema


def schema_in(dsn: str) -> str:
    """Return the schema that an address names as ``?schema=NAME``, or the default one."""
    return (_schemas(dsn) or [_DEFAULT_SCHEMA])[0]


@discreetly
def check_schema(dsn: str, schema: str) -> None:
    """Check that an address names no other schema.

    Raises:
        InvalidRequest: it does.

    """
    if any(named != schema for named in _schemas(dsn)):
        raise InvalidRequest("PostgresJournal.schema", "the address names another one")


def without_schema(dsn: str) -> str:
    """Return an address for the driver, without our setting for the schema."""
    kept = [f"{name}={value}" for name, value in _settings(dsn) if name != "schema"]
    return "?".join([dsn.partition("?")[0], *(["&".join(kept)] if kept else [])])


def application_in(dsn: str) -> str:
    """Return the name of our connections in ``pg_stat_activity``."""
    return dict(parse_qsl(urlsplit(dsn).query)).get("application_name", _APPLICATION)


@discreetly
def without_secrets(dsn: str) -> str:
    """Return an address of the same journal without the password.

    Raises:
        InvalidRequest: the address can't be read.

    """
    _ = name_of(dsn, "")
    parts = urlsplit(dsn)
    user, at, hosts = parts.netloc.rpartition("@")
    kept = [f"{name}={value}" for name, value in _settings(dsn) if name in _NOT_SECRET]
    place = f"{parts.scheme}://{user.partition(':')[0]}{at}{hosts}{parts.path}"
    return "?".join([place, *(["&".join(kept)] if kept else [])])


@discreetly
def name_of(dsn: str, schema: str) -> str:
    """Return the name of a journal for messages.

    Raises:
        InvalidRequest: the address can't be read; the message doesn't show it.

    """
    places = postgres_places("PostgresJournal.dsn", dsn)
    parts = urlsplit(dsn)
    settings = dict(parse_qsl(parts.query))
    default_port = settings.get("port") or _PORT
    named = ",".join(f"{host}:{port or default_port}" for host, port in places)
    database = (
        parts.path.removeprefix("/") or settings.get("dbname") or settings.get("database", "")
    )
    return f"the journal postgres://{named}/{database} (schema {schema})"


def _schemas(dsn: str) -> list[str]:
    return [unquote(value) for name, value in _settings(dsn) if name == "schema"]


def _settings(dsn: str) -> list[tuple[str, str]]:
    """Return the settings after the question mark, still encoded."""
    pairs = (part.partition("=") for part in dsn.partition("?")[2].split("&") if part)
    return [(name, value) for name, _, value in pairs]
