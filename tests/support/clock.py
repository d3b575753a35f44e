"""A clock that a test advances."""

import asyncio
from collections.abc import Callable

import smartglocal_async as sg


class Clock:
    """A clock that only advances on a sleep; records every sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Advance the clock at once, and record the sleep."""
        self.waits.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def timing(self, jitter: Callable[[], float] = lambda: 0.5) -> sg.Timing:
        """Return the client's timing settings over this clock."""
        return sg.Timing(monotonic=self.monotonic, sleep=self.sleep, random=jitter)
