"""What the commands share that have many workers over one journal."""

from ..errors import InvalidCredentials, InvalidRequest, Misuse
from ..journal.postgres.journal import PostgresJournal
from ..sealing import Seal
from .payouts_journal import is_address, journal_of

_KEY = "SMARTGLOCAL_JOURNAL_KEY"


def shared(text: str, *, may_make: bool = True) -> PostgresJournal:
    """Give the journal at the address of a database.

    Raises:
        InvalidRequest: it is no such address.
        Misuse: what it needs isn't installed.

    """
    if not is_address(text):
        words = "expected postgres://..., which workers can share; a file is one process's"
        raise InvalidRequest("--journal", words)
    journal = journal_of(text, may_make=may_make)
    assert isinstance(journal, PostgresJournal)  # noqa: S101 - it is what an address gives
    return journal


def check_extra() -> None:
    """See that the queue is installed.

    Raises:
        Misuse: it isn't.

    """
    try:
        # Imported when asked for: what it needs is an extra.
        from ..integrations import cluster  # noqa: F401, PLC0415  # pyright: ignore[reportUnusedImport]
    except ModuleNotFoundError:
        words = "needs the extra cluster: pip install 'smartglocal-async[cluster]'"
        raise Misuse(f"a queue of jobs {words}") from None


def check_seal() -> None:
    """See that there is a key for the requests.

    Raises:
        InvalidCredentials: there is none, or it can't be used.

    """
    if Seal.from_env() is None:
        raise InvalidCredentials(
            f"{_KEY}: isn't set; workers have no file, and open the requests with the key that "
            "sealed them: make one with `smartglocal payouts new-key`, and give it to all of them"
        )
