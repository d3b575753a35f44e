"""Actions that are due later; the clock is an argument."""

import heapq
import itertools
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TypeAlias

from attrs import define, field

Action: TypeAlias = Callable[[datetime], object]


@define(eq=False)
class Schedule:
    """Actions in the order of their time; with the same time, in the order they were added."""

    _entries: list[tuple[datetime, int, Action]] = field(
        factory=list[tuple[datetime, int, Action]], init=False
    )
    _numbers: Iterator[int] = field(factory=itertools.count, init=False)

    def after(self, seconds: float, now: datetime, action: Action) -> None:
        """Call ``action`` once ``seconds`` have passed, with the time at which it was due."""
        entry = (now + timedelta(seconds=seconds), next(self._numbers), action)
        heapq.heappush(self._entries, entry)

    def advance(self, now: datetime) -> None:
        """Call all actions that are due, and those that become due by that."""
        while self._entries and self._entries[0][0] <= now:
            due, _, action = heapq.heappop(self._entries)
            _ = action(due)

    @property
    def next_due(self) -> datetime | None:
        """Time of the next action."""
        return self._entries[0][0] if self._entries else None
