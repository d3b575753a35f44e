"""One at a time: those who ask for the same key wait for one another."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from attrs import define, field


@define(eq=False)
class _Turn:
    """The lock of a key, and how many want it."""

    lock: asyncio.Lock = field(factory=asyncio.Lock)
    wanted: int = 0


@define(eq=False)
class Turns:
    """Locks by key, for as long as somebody wants them."""

    _turns: dict[str, _Turn] = field(factory=dict[str, _Turn], init=False)

    @asynccontextmanager
    async def of(self, key: str, seconds: float) -> AsyncGenerator[None]:
        """Have a key for oneself.

        Raises:
            TimeoutError: its turn didn't come in time.

        """
        turn = self._turns.setdefault(key, _Turn())
        turn.wanted += 1
        try:
            async with asyncio.timeout(seconds):
                _ = await turn.lock.acquire()
            try:
                yield
            finally:
                turn.lock.release()
        finally:
            turn.wanted -= 1
            if not turn.wanted:
                del self._turns[key]
