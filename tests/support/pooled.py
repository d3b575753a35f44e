"""A slot of a session pool, as an attempt takes it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from smartglocal_async.session_pool import LoopState


@asynccontextmanager
async def slot(loop_state: LoopState, patience_seconds: float) -> AsyncGenerator[None]:
    """Hold one of the slots while the block runs."""
    await loop_state.take_slot(patience_seconds)
    try:
        yield
    finally:
        loop_state.free_slot()
