"""Says that the provider is out of reach, now and then while it lasts, and that it is back."""

import time
from collections.abc import Callable
from typing import Final

from attrs import define, field

from ..envelope import Happened
from ..settings import AttemptDetails
from .screen import counted

_PATIENCE_SECONDS: Final = 5.0
"""So long attempts end in vain before it is worth a word: single faults are retried, and those that
end at once, as after a sleep of this machine, say nothing of the attempts that follow."""
_PATIENCE_COUNT: Final = 3
"""So many of them in a row, at least."""
_EVERY_SECONDS: Final = 10.0
_IN_VAIN: Final = frozenset({Happened.NOT_SENT, Happened.MISCONFIGURED, Happened.UNKNOWN})


@define(eq=False)
class Outage:
    """Hears of every attempt of a client."""

    lasts: Callable[[str], None]
    """Told in words that nothing comes through, every 10 seconds at most."""
    is_over: Callable[[str], None]
    """Told in words that something did again, if it was told of."""
    clock: Callable[[], float] = time.monotonic
    _count: int = field(default=0, init=False)
    """Attempts in vain, one after the other."""
    _since: float = field(default=0.0, init=False)
    """When the first of them began, or the last one that came through ended."""
    _first_at: float = field(default=0.0, init=False)
    """When the first of them ended."""
    _told_at: float | None = field(default=None, init=False)

    def heed(self, attempt: AttemptDetails) -> None:
        """Take in what an attempt came to; of one that was cancelled nobody knows."""
        if attempt.happened in _IN_VAIN:
            self._failed(attempt)
        elif attempt.happened is not None:
            self._answered()

    def _failed(self, attempt: AttemptDetails) -> None:
        now = self.clock()
        if not self._count:
            self._since = max(self._since, now - attempt.elapsed_seconds)
            self._first_at = now
        self._count += 1
        if self._count < _PATIENCE_COUNT or now - self._first_at < _PATIENCE_SECONDS:
            return
        if self._told_at is None or now - self._told_at >= _EVERY_SECONDS:
            self._told_at = now
            lasts = f"{counted(self._count, 'attempt')} in vain in {now - self._since:,.0f} s"
            self.lasts(f"no call gets through to the provider: {lasts}, the last: {_why(attempt)}")

    def _answered(self) -> None:
        now, before = self.clock(), self._since
        count, told_at = self._count, self._told_at
        self._count, self._told_at, self._since = 0, None, now
        if told_at is not None:
            lasted = f"{counted(count, 'attempt')} in vain in {now - before:,.0f} s"
            self.is_over(f"calls get through to the provider again, after {lasted}")


def _why(attempt: AttemptDetails) -> str:
    status = None if attempt.http_status is None else f"HTTP {attempt.http_status}"
    return "; ".join(part for part in (attempt.cause, attempt.code, status) if part) or "no answer"
