"""A webhook store in PostgreSQL (extra ``postgres``), for processes on any number of machines."""

import asyncio
import re
from contextlib import suppress
from typing import Any, Final, Self

from attrs import define, field

from ..errors import InvalidRequest, WebhookStoreUnusable
from ..models.validators import discreet, mask, postgres_places
from .store import (
    CLAIM_SECONDS,
    EXPIRE_SECONDS,
    KEEP_SECONDS,
    Claim,
    check_durations,
    row_key,
)

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_CONNECT_SECONDS: Final = 10.0
_MAX_CONNECTIONS: Final = 4
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS {table} (
    identity text PRIMARY KEY,
    owner text NOT NULL,
    handled boolean NOT NULL,
    at timestamptz NOT NULL
)
"""
_EXISTS: Final = "SELECT to_regclass($1) IS NOT NULL"
# A claim far in the future was made before the clock was set back, and ends, too.
_CLAIM: Final = """
INSERT INTO {table} AS stored VALUES ($1, $2, false, clock_timestamp())
ON CONFLICT (identity) DO UPDATE SET owner = $2, at = clock_timestamp()
WHERE NOT stored.handled AND (
    stored.owner = $2 OR abs(extract(epoch FROM clock_timestamp() - stored.at)) >= $3)
RETURNING true
"""
_HANDLED: Final = "SELECT handled FROM {table} WHERE identity = $1"
_KEEP: Final = """
UPDATE {table} SET handled = true, at = clock_timestamp() WHERE identity = $1 AND owner = $2
"""
_FORGET: Final = "DELETE FROM {table} WHERE identity = $1 AND owner = $2 AND NOT handled"
_EXPIRE: Final = """
DELETE FROM {table} WHERE at + make_interval(secs => $1) <= clock_timestamp()
AND (handled OR at + make_interval(secs => $2) <= clock_timestamp())
"""


@discreet
@define(eq=False)
class PostgresStore:
    """A store in PostgreSQL, shared by processes on any number of machines; close it at the end.

    An event is claimed by one delivery at a time. The claim of a process that died ends after
    ``claim_seconds``, by the clock of the database; until then a redelivery is answered with 503.
    A handled event is kept for ``keep_seconds``, which can't be less. The table
    ``smartglocal_webhook`` is created in ``schema`` if it isn't there. It works behind PgBouncer,
    too.

    Raises:
        InvalidRequest: an option or the address can't be used; no part of the address is shown.

    """

    dsn: str = field(repr=mask)
    schema: str = field(default="public", kw_only=True)
    claim_seconds: float = field(default=CLAIM_SECONDS, kw_only=True)
    keep_seconds: float = field(default=KEEP_SECONDS, kw_only=True)
    _pool: Any = field(default=None, init=False, repr=False)
    _opening: asyncio.Lock = field(factory=asyncio.Lock, init=False, repr=False)
    _next_expiry: float = field(default=0.0, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        _ = postgres_places("dsn", self.dsn)
        if not _NAME.fullmatch(self.schema):
            raise InvalidRequest("schema", "expected a name of lower-case letters, digits and _")
        check_durations(self.claim_seconds, self.keep_seconds)

    async def __aenter__(self) -> Self:
        """Connect, create the table, and drop the events that were kept for long enough.

        Raises:
            WebhookStoreUnusable: the database can't be reached, or refuses.

        """
        await self._expire()
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.close()

    async def claim(self, identity: str, token: str) -> Claim:
        """Claim the event if it is neither running nor handled.

        Raises:
            WebhookStoreUnusable: the database can't be reached, or refuses.

        """
        if asyncio.get_running_loop().time() >= self._next_expiry:
            await self._expire()
        key = row_key(identity)
        claimed = await self._execute(_CLAIM, key, token, float(self.claim_seconds))
        if claimed:
            return Claim.NEW
        # A claim that was released in between is taken as running: the provider redelivers.
        return Claim.HANDLED if await self._execute(_HANDLED, key) else Claim.RUNNING

    async def keep(self, identity: str, token: str) -> None:
        """Record that the event was handled, unless another delivery has claimed it since.

        Raises:
            WebhookStoreUnusable: the database can't be reached, or refuses.

        """
        _ = await self._execute(_KEEP, row_key(identity), token)

    async def forget(self, identity: str, token: str) -> None:
        """Release the claim that has this token.

        Raises:
            WebhookStoreUnusable: the database can't be reached, or refuses.

        """
        _ = await self._execute(_FORGET, row_key(identity), token)

    async def close(self) -> None:
        """Close the connections; another call opens them again."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _expire(self) -> None:
        self._next_expiry = asyncio.get_running_loop().time() + EXPIRE_SECONDS
        _ = await self._execute(_EXPIRE, float(self.keep_seconds), float(self.claim_seconds))

    async def _execute(self, statement: str, *values: object) -> object:
        import asyncpg  # noqa: PLC0415 - an extra

        try:
            async with self._opening:
                if self._pool is None:
                    self._pool = await self._open()
            return await self._pool.fetchval(self._with_table(statement), *values)
        except ValueError as error:  # Its text may have a part of the address.
            problem = f"{type(error).__name__}: the address or a setting in it can't be used"
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            problem = f"{type(error).__name__}: {error}"
        # Raised here, so that the driver's frames, which have the address, aren't chained.
        raise WebhookStoreUnusable(problem)

    async def _open(self) -> Any:  # noqa: ANN401 - a pool
        import asyncpg  # noqa: PLC0415 - an extra

        pool = await asyncpg.create_pool(
            self.dsn,
            min_size=1,
            max_size=_MAX_CONNECTIONS,
            timeout=_CONNECT_SECONDS,
            command_timeout=_CONNECT_SECONDS,
            statement_cache_size=0,  # PgBouncer may change the connection between two statements.
        )
        try:
            # Looked up first, as a user without the right to create may use the table.
            if not await pool.fetchval(_EXISTS, f"{self.schema}.smartglocal_webhook"):
                with suppress(asyncpg.UniqueViolationError):  # Another process has just created it.
                    _ = await pool.execute(self._with_table(_TABLE))
        except BaseException:
            pool.terminate()
            raise
        return pool

    def _with_table(self, statement: str) -> str:
        return statement.format(table=f'"{self.schema}".smartglocal_webhook')
