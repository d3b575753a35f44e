"""A place of a session pool, as an attempt takes it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from smartglocal_async.session_pool import LoopState


@asynccontextmanager
async def place(loop_state: LoopState, patience_seconds: float) -> AsyncGenerator[None]:
    """Hold one of the places while the block runs."""
    await loop_state.take_place(patience_seconds)
    try:
        yield
    finally:
        loop_state.free_place()
