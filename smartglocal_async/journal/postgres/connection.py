"""Connections to the database: retries, and errors in plain words without values."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg
from asyncpg import exceptions as errors
from attrs import define, field

from ...errors import JournalMisconfigured, JournalUnusable
from .address import application_in

_POOLED: Final = (
    "a pooler in front of it hands out another connection for each transaction, and doesn't "
    "know prepared statements: use the database's own address, or have the pooler work in "
    "session mode, or use PgBouncer 1.21 or newer with max_prepared_statements above 0"
)
_MISCONFIGURED: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (errors.InvalidPasswordError, "it refuses the password"),
    (
        errors.InvalidAuthorizationSpecificationError,
        "it refuses this user from this machine, or without TLS: see its pg_hba.conf",
    ),
    (errors.InvalidCatalogNameError, "there is no such database: create it first"),
    (
        errors.InsufficientPrivilegeError,
        "this user lacks a right: `smartglocal payouts journal grants USER` prints them",
    ),
    (errors.InvalidSQLStatementNameError, _POOLED),
    (errors.DuplicatePreparedStatementError, _POOLED),
    (errors.UndefinedObjectError, "it knows no such setting: fix the address after its ?"),
    (
        asyncpg.ClientConfigurationError,
        "a setting of the address, after its ?, can't be used, or a file that it names isn't there",
    ),
    (ssl.SSLCertVerificationError, "its certificate isn't trusted here: set sslrootcert"),
)
"""Errors that stay until someone changes the address or the database, in words."""
_WORDS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    *_MISCONFIGURED,
    (errors.ReadOnlySQLTransactionError, "it is read-only: is it a standby?"),
    (errors.DiskFullError, "its disk is full"),
    (errors.TooManyConnectionsError, "it has no connection left"),
    (errors.CannotConnectNowError, "it is starting up, or going down"),
    (errors.LockNotAvailableError, "another program holds locks on its rows for too long"),
    (errors.UndefinedTableError, "one of its tables is gone"),
    (errors.UndefinedColumnError, "one of its tables lacks a column: another program changed it"),
    (
        errors.QueryCanceledError,
        "a statement was cancelled: by the statement_timeout of this user, or by an operator",
    ),
    (errors.IdleInTransactionSessionTimeoutError, "a transaction waited for this process too long"),
    (errors.AdminShutdownError, "it is going down, or ended this connection"),
    (errors.SerializationError, "other programs got in the way of each try"),
    (errors.DeadlockDetectedError, "other programs got in the way of each try"),
    (TimeoutError, "it didn't answer in time"),
    (ConnectionRefusedError, "nothing listens there: is it running?"),
    (OSError, "it can't be reached"),
)
_LOST: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InternalClientError,
    errors.OperatorInterventionError,
    errors.IdleInTransactionSessionTimeoutError,
    errors.TooManyConnectionsError,
)
_PASSING: Final = (
    errors.DeadlockDetectedError,
    errors.SerializationError,
    errors.LockNotAvailableError,
)
VALUE_ERRORS: Final = (errors.DataError, errors.IntegrityConstraintViolationError)
"""Errors of one job's values, not of the database."""


def is_lost(error: BaseException) -> bool:
    """Return whether the connection is lost, so that a new one may work."""
    # An InterfaceError is also raised for wrong uses of the driver.
    is_closed = isinstance(error, asyncpg.InterfaceError) and "clos" in str(error)
    return is_closed or isinstance(error, _LOST)


def is_passing(error: BaseException) -> bool:
    """Return whether the transaction was undone and may succeed if it is tried again."""
    return isinstance(error, _PASSING)


def unusable(name: str, error: BaseException) -> JournalUnusable:
    """Return the error to raise for this one, without the driver's text, which may hold values."""
    words = next((words for kind, words in _WORDS if isinstance(error, kind)), None)
    # The driver's error if TLS is required and the server answers that it has none.
    has_no_tls = isinstance(error, ConnectionError) and "SSL" in str(error)
    if has_no_tls:
        words = "it offers no TLS, and sslmode of the address requires it"
    if words is None:
        words = "the connection was lost" if is_lost(error) else "it failed"
    code = getattr(error, "sqlstate", None)
    text = f"{name}: {words}" + (f" (SQLSTATE {code})" if code else "")
    stays = has_no_tls or isinstance(error, tuple(kind for kind, _ in _MISCONFIGURED))
    return JournalMisconfigured(text) if stays else JournalUnusable(text)


if TYPE_CHECKING:
    from asyncpg import Connection

T = TypeVar("T")
CONNECT_SECONDS: Final = 10.0
_INITIAL_WAIT_SECONDS: Final = 0.05
_MAX_WAIT_SECONDS: Final = 1.0


def _waits() -> Iterator[float]:
    wait = _INITIAL_WAIT_SECONDS
    while True:
        yield wait
        wait = min(2 * wait, _MAX_WAIT_SECONDS)


class _UniqueNames(asyncpg.Connection):
    """A connection whose prepared statements have names that no other process uses.

    The driver numbers them from one in each process. A pooler that uses another server connection
    for each transaction, and doesn't know prepared statements, would run another process's
    statement of the same name. With random names the server finds none, and the statement fails.
    """

    def _get_unique_id(self, prefix: str) -> str:
        return f"__smartglocal_{prefix}_{os.urandom(8).hex()}__"


@define(eq=False)
class DatabaseConnection:
    """One connection, used by one caller at a time."""

    dsn: str = field(repr=False)
    patience_seconds: float
    """How long a call is retried while the database can't be reached."""
    answer_seconds: float
    """How long an answer may take before the connection counts as lost."""
    on_connect: "Callable[[Connection[Any]], Awaitable[None]]"
    """Called with every new connection, before it is used."""
    _connection: "Connection[Any] | None" = field(default=None, init=False, repr=False)
    _lock: asyncio.Lock = field(factory=asyncio.Lock, init=False, repr=False)

    async def through(self, work: "Callable[[Connection[Any]], Awaitable[T]]") -> T:
        """Run ``work`` on the connection, and retry it: nothing of a failed try may stay."""
        loop = asyncio.get_running_loop()
        # Counted from before the lock: callers in the queue wait for the same database, not in
        # turn.
        ends = loop.time() + self.patience_seconds
        async with self._lock:
            for wait in _waits():
                try:
                    return await work(await self._connected())
                except Exception as error:
                    if is_lost(error):
                        self.drop()
                    elif not is_passing(error):
                        raise
                    if loop.time() + wait > ends:
                        raise
                await asyncio.sleep(wait)
        raise AssertionError

    def drop(self) -> None:
        """Drop the connection without closing it; the next use makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # If its event loop is closed, the connection is gone already.
            with contextlib.suppress(RuntimeError):
                connection.terminate()

    async def close(self) -> None:
        """Close the connection."""
        async with self._lock:
            connection, self._connection = self._connection, None
            if connection is None:
                return
            try:
                await connection.close(timeout=self.answer_seconds)
            except Exception:  # noqa: BLE001 - it is closed in any case
                connection.terminate()

    async def _connected(self) -> "Connection[Any]":
        if self._connection is not None:
            return self._connection
        connection = await asyncpg.connect(
            self.dsn,
            timeout=CONNECT_SECONDS,
            command_timeout=self.answer_seconds,
            # No statement is prepared again while locks are held.
            max_cached_statement_lifetime=0,
            connection_class=_UniqueNames,
            server_settings={"application_name": application_in(self.dsn)},
        )
        try:
            await self.on_connect(connection)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        return connection


if TYPE_CHECKING:
    from asyncpg import Connection
