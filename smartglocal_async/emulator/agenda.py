"""What falls due when; no I/O, the clock is an argument."""

import heapq
import itertools
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TypeAlias

from attrs import define, field

Action: TypeAlias = Callable[[datetime], object]


@define(eq=False)
class Agenda:
    """Actions in the order of their time, and of their making if that is the same."""

    _entries: list[tuple[datetime, int, Action]] = field(
        factory=list[tuple[datetime, int, Action]], init=False
    )
    _numbers: Iterator[int] = field(factory=itertools.count, init=False)

    def after(self, seconds: float, now: datetime, action: Action) -> None:
        """Have ``action`` called with the moment it fell due."""
        entry = (now + timedelta(seconds=seconds), next(self._numbers), action)
        heapq.heappush(self._entries, entry)

    def advance(self, now: datetime) -> None:
        """Do all that is due, and what falls due by that."""
        while self._entries and self._entries[0][0] <= now:
            due, _, action = heapq.heappop(self._entries)
            _ = action(due)

    @property
    def next_due(self) -> datetime | None:
        """Moment of the next action."""
        return self._entries[0][0] if self._entries else None
