"""What a session pool holds in one event loop: the aiohttp session, and the places in it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, Self

from aiohttp import ClientSession, ClientTimeout
from attrs import define

_LOOK_AGAIN_SECONDS: Final = 0.01


@define(eq=False)
class Home:
    """What a pool holds in one event loop; entered, it counts one more call in flight."""

    session: ClientSession
    limit: int
    connecting: ClientTimeout
    gate: asyncio.Semaphore
    lifetime: AsyncGenerator["Home"] | None = None
    attempts: int = 0
    calls: int = 0
    sending: int = 0
    waiting: int = 0
    is_closed: bool = False

    def __enter__(self) -> Self:
        self.calls += 1
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.calls -= 1

    def slot(self, patience_seconds: float) -> AbstractAsyncContextManager[ClientSession]:
        """Wait for one of the pool's places, and hold it while an attempt is made.

        Entering raises `TimeoutError` when no place came free in time; nothing was sent.
        """
        self.attempts += 1
        return _Slot(self, patience_seconds)

    async def wait_for_place(self, patience_seconds: float) -> None:
        """Queue for a place, first come first served."""
        self.waiting += 1
        try:
            async with asyncio.timeout(patience_seconds):
                _ = await self.gate.acquire()
        finally:
            self.waiting -= 1


@define(eq=False)
class _Slot:
    """One of the places of a home, held while an attempt is made."""

    home: Home
    patience_seconds: float

    async def __aenter__(self) -> ClientSession:
        home = self.home
        # A timer costs more than the rest of this; most attempts find a place at once.
        if home.sending < home.limit and not home.waiting:
            _ = await home.gate.acquire()
        else:
            await home.wait_for_place(self.patience_seconds)
        home.sending += 1
        return home.session

    async def __aexit__(self, *_exc_info: object) -> None:
        self.home.sending -= 1
        self.home.gate.release()


async def until_idle(calls: Callable[[], int], timeout_seconds: float | None) -> int:
    """Wait until there are no calls in flight, in whatever loops; give the number left."""
    # Looked at, and not waited for: the calls may belong to loops that end meanwhile.
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_seconds):
            while calls():  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    return calls()


async def close_in(loop: asyncio.AbstractEventLoop, lifetime: AsyncGenerator[Home]) -> None:
    """Close a home in the event loop that it belongs to, this one or one of another thread."""
    if loop is asyncio.get_running_loop():
        await lifetime.aclose()
    elif loop.is_running():
        closing = asyncio.run_coroutine_threadsafe(_close(lifetime), loop)
        while loop.is_running() and not closing.done():  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _close(lifetime: AsyncGenerator[Home]) -> None:
    await lifetime.aclose()
