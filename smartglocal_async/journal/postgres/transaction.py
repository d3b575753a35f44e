"""A transaction whose commit waits for the disk, and whose plans fit tables that grow."""

import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from asyncpg import Connection

_LOCK_SECONDS: Final = 10
_IDLE_SECONDS: Final = 10
# A plan made while a table was small scans all of it, and is kept while the table grows; without
# sequential scans the planner uses the indexes. Statements that have none look expensive then, and
# would be compiled (JIT), which takes a hundred times as long as running them.
_BEGIN: Final = f"""
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL synchronous_commit TO {{level}};
SET LOCAL enable_seqscan TO off;
SET LOCAL jit TO off;
SET LOCAL lock_timeout TO '{_LOCK_SECONDS}s';
SET LOCAL idle_in_transaction_session_timeout TO '{_IDLE_SECONDS}s'
"""


@contextlib.asynccontextmanager
async def transaction(connection: "Connection[Any]", level: str) -> AsyncGenerator[None]:
    """Commit what the block does, or roll it back if it raises.

    A cancellation is not rolled back: the connection has to be dropped then.
    """
    try:
        _ = await connection.execute(_BEGIN.format(level=level))
        yield
    except Exception:
        await _roll_back(connection)
        raise
    # PostgreSQL answers the COMMIT of a failed transaction with ROLLBACK, and raises no error.
    if await connection.execute("COMMIT") != "COMMIT":
        # Imported when it is raised: the package works without the extra.
        from asyncpg.exceptions import InFailedSQLTransactionError  # noqa: PLC0415

        raise InFailedSQLTransactionError


async def _roll_back(connection: "Connection[Any]") -> None:
    try:
        _ = await connection.execute("ROLLBACK")
    except Exception:  # noqa: BLE001 - a connection that can't roll back can't be used again
        connection.terminate()
