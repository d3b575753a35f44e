"""What went wrong with the database, in words that say what to do."""

from typing import Final

import asyncpg
from asyncpg import exceptions as told

from ...errors import JournalUnusable

_WORDS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (told.InvalidPasswordError, "it refuses the password"),
    (told.InvalidAuthorizationSpecificationError, "it refuses this user"),
    (told.InvalidCatalogNameError, "there is no such database: create it first"),
    (told.InsufficientPrivilegeError, "this user may not do that"),
    (told.ReadOnlySQLTransactionError, "it is read-only: is it a standby?"),
    (told.DiskFullError, "its disk is full"),
    (told.TooManyConnectionsError, "it has no connection left"),
    (told.CannotConnectNowError, "it is starting up, or going down"),
    (told.LockNotAvailableError, "another program holds its rows, and didn't let go in time"),
    (told.UndefinedTableError, "a table of it is gone"),
    (told.UndefinedObjectError, "it knows no such setting: mend the address behind its ?"),
    (TimeoutError, "it didn't answer in time"),
    (ConnectionRefusedError, "nobody listens there: is it running?"),
    (OSError, "it can't be reached"),
)
_LOST: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InternalClientError,
    told.OperatorInterventionError,
    told.IdleInTransactionSessionTimeoutError,
    told.TooManyConnectionsError,
)
_PASSING: Final = (
    told.DeadlockDetectedError,
    told.SerializationError,
    told.LockNotAvailableError,
)
ITS_OWN_FAULT: Final = (told.DataError, told.IntegrityConstraintViolationError)
"""What is wrong with one job's values, and not with the database."""


def is_lost(error: BaseException) -> bool:
    """Say whether the connection is of no more use, and another one may be."""
    # An InterfaceError is also what a wrong use of the driver is told by.
    is_closed = isinstance(error, asyncpg.InterfaceError) and "clos" in str(error)
    return is_closed or isinstance(error, _LOST)


def is_passing(error: BaseException) -> bool:
    """Say whether it was undone, and may succeed when it is tried again."""
    return isinstance(error, _PASSING)


def unusable(name: str, error: BaseException) -> JournalUnusable:
    """Give the error to raise from this one; the driver's text may hold values, so it is left."""
    words = next((words for kind, words in _WORDS if isinstance(error, kind)), None)
    if words is None:
        words = "the connection was lost" if is_lost(error) else "it failed"
    code = getattr(error, "sqlstate", None)
    return JournalUnusable(f"{name}: {words}" + (f" (SQLSTATE {code})" if code else ""))
