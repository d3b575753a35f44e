"""Keys in use and keys remembered: one call per key at a time, one request per key for good."""

import asyncio
import os
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from attrs import define, field

from .errors import KeyReused
from .idempotency import Fingerprint

T = TypeVar("T")


@define(eq=False)
class _Flight(Generic[T]):
    """A call under way, and how many callers wait for it."""

    task: asyncio.Task[T]
    print: Fingerprint
    waiters: int = 0


@define(eq=False)
class Flights:
    """The caller's own keys: what each was first used with, and who shares a call now."""

    remembered: int
    secret: bytes = field(factory=lambda: os.urandom(16), repr=False)
    _prints: OrderedDict[str, Fingerprint] = field(
        factory=OrderedDict[str, Fingerprint], init=False, repr=False
    )
    _flights: dict[tuple[int, str], _Flight[Any]] = field(
        factory=dict[tuple[int, str], _Flight[Any]], init=False, repr=False
    )

    def check(self, key: str, taken: Fingerprint) -> None:
        """Refuse a key that was used with another request.

        Raises:
            KeyReused: naming the fields that differ.

        """
        known = self._prints.get(key) or self._in_flight(key)
        if known is not None and known != taken:
            raise KeyReused(key, known.differing_fields(taken))

    def remember(self, key: str, taken: Fingerprint) -> None:
        """Keep what a key stands for; the oldest is forgotten when there are too many."""
        self._prints[key] = taken
        self._prints.move_to_end(key)
        while len(self._prints) > max(0, self.remembered):
            _ = self._prints.popitem(last=False)

    async def share(
        self, key: str, taken: Fingerprint, start: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """Await the call of this key: the one under way, or a new one.

        The call runs in a task of its own, so that a caller who is cancelled leaves it to
        the others; when the last one leaves, the call is cancelled and waited for.
        """
        place = (id(asyncio.get_running_loop()), key)
        flight: _Flight[T] | None = self._flights.get(place)
        if flight is None:
            # Owned by its waiters: `_leave` ends it with the last of them.
            task = asyncio.get_running_loop().create_task(start())
            flight = self._flights[place] = _Flight(task, taken)
            task.add_done_callback(lambda done: self._land(place, done))
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                # Nobody may join a call that is being cancelled.
                _ = self._flights.pop(place, None)
                await _end(flight.task)

    def _land(self, place: tuple[int, str], task: asyncio.Task[Any]) -> None:
        flight = self._flights.get(place)
        if flight is not None and flight.task is task:
            del self._flights[place]

    def _in_flight(self, key: str) -> Fingerprint | None:
        return next((f.print for (_, name), f in self._flights.items() if name == key), None)


async def _end(task: asyncio.Task[Any]) -> None:
    _ = task.cancel()
    _ = await asyncio.wait([task])
    if not task.cancelled():
        _ = task.exception()  # Seen, so that the loop doesn't complain that it wasn't.
