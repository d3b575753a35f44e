"""A clock for the client and the emulator, which a test sets by hand."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from attrs import define, field

from ..errors import InvalidRequest
from ..retry import Timing

_REAL: Final = Timing()


@define(eq=False)
class Clock:
    """A clock that never goes back: it runs like the real one, except while it is `held`.

    While it is held only `advance`, `move_to` and `sleep` move it, and a sleep returns at once: the
    client's waits between attempts and the polls of a payout take no time. Pass `now` to the
    emulator and `timing` to the client's `Settings`.
    """

    waits: list[float] = field(factory=list[float], init=False)
    """The seconds of each sleep while it was held."""
    _began: datetime = field(factory=_REAL.now, init=False)
    _started: float = field(factory=_REAL.monotonic, init=False)
    _offset: float = field(default=0.0, init=False)
    _held_at: float | None = field(default=None, init=False)
    _listeners: list[Callable[[], object]] = field(factory=list[Callable[[], object]], init=False)

    def now(self) -> datetime:
        """Return the time in UTC."""
        return (self._began + timedelta(seconds=self.monotonic())).astimezone(UTC)

    def monotonic(self) -> float:
        """Return the seconds since this object was made."""
        held = self._held_at
        return _REAL.monotonic() - self._started + self._offset if held is None else held

    @contextmanager
    def held(self) -> Generator["Clock", None, None]:
        """Hold the clock until the block ends; it runs on from the time that it has then."""
        if self._held_at is not None:
            raise InvalidRequest("held", "the clock is held already")
        self._held_at = self.monotonic()
        self.waits.clear()
        try:
            yield self
        finally:
            self._offset = self._held_at - (_REAL.monotonic() - self._started)
            self._held_at = None

    def advance(self, by: float | timedelta) -> None:
        """Move the clock on, by seconds or a `timedelta`, and have the emulator do what is due."""
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        if seconds < 0:
            raise InvalidRequest("by", "a clock can't go back")
        if self._held_at is None:
            self._offset += seconds
        else:
            self._held_at += seconds
        for listener in self._listeners:
            _ = listener()

    def move_to(self, moment: datetime) -> None:
        """Move the clock on to a time, which must have an offset from UTC."""
        if moment.tzinfo is None:
            raise InvalidRequest("moment", "has no offset from UTC; set its tzinfo")
        self.advance(moment - self.now())

    async def sleep(self, seconds: float) -> None:
        """Sleep; while the clock is held, move it on instead."""
        if self._held_at is None:
            await asyncio.sleep(seconds)
            return
        self.waits.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)

    def timing(self, random: Callable[[], float] = lambda: 0.5) -> Timing:
        """Return the client's timing settings over this clock.

        ``random`` decides the jitter; by default each wait is half of its longest.
        """
        return Timing(monotonic=self.monotonic, sleep=self.sleep, random=random, now=self.now)

    def on_advance(self, listener: Callable[[], object]) -> None:
        """Call a function whenever the clock is moved, such as ``provider.tick``."""
        self._listeners.append(listener)
