"""Where a journal lies, in words that hold no password."""

import re
from typing import Final
from urllib.parse import urlsplit

from ...errors import InvalidRequest

_SCHEMES: Final = frozenset({"postgres", "postgresql"})
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,47}")
_PORT: Final = 5432


def checked_schema(schema: str) -> str:
    """Give the name of a schema that can stand in a statement as it is.

    Raises:
        InvalidRequest: it can't.

    """
    if _SCHEMA.fullmatch(schema) is None or schema.startswith("pg_"):
        words = "expected up to 48 small letters, digits and underscores, a letter first"
        raise InvalidRequest("PostgresJournal.schema", words)
    return schema


def name_of(dsn: str, schema: str) -> str:
    """Give the name of a journal for messages.

    Raises:
        InvalidRequest: the address can't be read; its text stays out of the message.

    """
    try:
        parts = urlsplit(dsn)
        host, port = parts.hostname or "localhost", parts.port or _PORT
    except ValueError:
        parts, host, port = urlsplit(""), "", 0
    if parts.scheme not in _SCHEMES:
        words = "expected an address such as postgres://user@host:5432/database"
        raise InvalidRequest("PostgresJournal.dsn", words)
    return f"the journal postgres://{host}:{port}{parts.path} (schema {schema})"
