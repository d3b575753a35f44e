"""How fast a batch begins payouts: so many a second, by aiolimiter's leaky bucket."""

import asyncio
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ..errors import Misuse
from ..values.exactness import above_zero

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

_BURST_SECONDS: Final = 0.02
"""What may be made up for at once: an event loop's timers are not exact."""


@frozen(eq=False)
class Pace:
    """A turn for each payout, so many a second; at once where there is no limit."""

    over: asyncio.Event
    """Set when the batch ends early."""
    limiter: "AsyncLimiter | None"

    async def turn(self) -> None:
        """Wait for a turn, or for the batch to end."""
        if self.limiter is None:
            return
        if self.limiter.has_capacity():
            await self.limiter.acquire()
            return
        waits = [
            asyncio.ensure_future(self.limiter.acquire()),
            asyncio.ensure_future(self.over.wait()),
        ]
        try:
            _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                _ = wait.cancel()


def pace_of(rate: float | None, over: asyncio.Event) -> Pace:
    """Give the pace of so many payouts a second; None is as fast as it goes.

    Raises:
        InvalidRequest: it is no number above zero.
        Misuse: aiolimiter isn't installed.

    """
    if rate is None:
        return Pace(over, None)
    above_zero("rate", rate)
    try:
        from aiolimiter import AsyncLimiter  # noqa: PLC0415 - an extra, needed here alone
    except ModuleNotFoundError:
        raise Misuse("rate: needs aiolimiter; install smartglocal-async[batch]") from None
    burst = max(1.0, rate * _BURST_SECONDS)
    return Pace(over, AsyncLimiter(burst, burst / rate))
