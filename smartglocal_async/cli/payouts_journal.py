"""Which journal a command uses, and how its name may be shown."""

from pathlib import Path
from typing import Final, cast

from ..errors import InvalidRequest, Misuse
from ..journal.postgres.address import without_secrets
from ..journal.sqlite import SQLiteJournal
from ..journal.store import Journal
from .naming import named

_SCHEMES: Final = ("postgres://", "postgresql://")
_OPTION: Final = "--journal"
_FIELDS: Final = {"PostgresJournal.dsn": _OPTION, "PostgresJournal.schema": f"{_OPTION} ?schema="}


def is_address(text: str) -> bool:
    """Say whether a journal is in a database, and not in a file."""
    return text.startswith(_SCHEMES)


def journal_of(text: str, *, may_make: bool = True) -> Journal:
    """Give the journal at a path, or at the address of a database of PostgreSQL.

    It is made where there is none, and it may be.

    Raises:
        InvalidRequest: it is another address, or nothing.
        Misuse: what the database needs isn't installed.

    """
    if not is_address(text):
        _check(text)
        return SQLiteJournal(text, may_make=may_make)
    try:
        # Imported when asked for: what it needs is an extra.
        from ..journal.postgres import (  # type: ignore[import-not-found, unused-ignore] # noqa: PLC0415
            PostgresJournal,  # pyright: ignore[reportUnknownVariableType]
        )
    except ModuleNotFoundError:
        words = "needs the extra postgres: pip install 'smartglocal-async[postgres]'"
        raise Misuse(f"{_OPTION}: a journal in PostgreSQL {words}") from None
    with named(_FIELDS):
        return cast("Journal", PostgresJournal(text, may_make=may_make))


def place_of(given: str | None, file: Path | None) -> str:
    """Say where the journal is: as given, or beside the file.

    Raises:
        InvalidRequest: neither is given.

    """
    if given is not None:
        _check(given)
        return given
    if file is None:
        raise InvalidRequest(_OPTION, "say where the journal is, or give the FILE that was paid")
    return str(file.with_name(f"{file.name}.journal"))


def is_there(journal: str) -> bool:
    """Say whether there is a journal to look into: a path may lead nowhere yet."""
    return is_address(journal) or Path(journal).exists()


def existing(journal: str) -> None:
    """Refuse a path that leads nowhere: no journal is made by asking.

    Raises:
        InvalidRequest: there is none.

    """
    _check(journal)
    if not is_there(journal):
        words = "mend the path (`payouts pay` begins one)"
        raise InvalidRequest(_OPTION, f"there is no journal {journal}; {words}")


def shown(text: str) -> str:
    """Give the name of a journal as a next command can use it, without a password."""
    return without_secrets(text) if is_address(text) else text


def _check(text: str) -> None:
    if not text:
        raise InvalidRequest(_OPTION, "is empty")
    if is_address(text):
        _ = journal_of(text)
    elif "://" in text:
        raise InvalidRequest(_OPTION, "expected a path, or an address as postgres://...")
