"""Keys in use and keys remembered: one call at a time, and one request, for each key."""

import asyncio
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from attrs import define, field, frozen

from .errors import KeyReused
from .idempotency import Fingerprint

T = TypeVar("T")


@frozen
class CallKey:
    """A key, and the call that it was given for: each call has its own keys."""

    operation: str
    text: str


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
    _prints: OrderedDict[CallKey, Fingerprint] = field(
        factory=OrderedDict[CallKey, Fingerprint], init=False, repr=False
    )
    # By key, then by event loop: a future can't be awaited in another loop.
    _flights: dict[CallKey, dict[int, _Flight[Any]]] = field(
        factory=dict[CallKey, dict[int, _Flight[Any]]], init=False, repr=False
    )

    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    def _check(self, key: CallKey, taken: Fingerprint) -> None:
        known = self._prints.get(key) or self._in_flight(key)
        if known is not None and known != taken:
            raise KeyReused(key.text, known.differing_fields(taken))

    def remember(self, key: CallKey, taken: Fingerprint) -> None:
        """Keep what a key stands for; the oldest is forgotten when there are too many."""
        with self._lock:
            self._prints[key] = taken
            self._prints.move_to_end(key)
            while len(self._prints) > max(0, self.remembered):
                _ = self._prints.popitem(last=False)

    def is_used(self, key: CallKey) -> bool:
        """Say whether a call of this key ended, and may have left something behind."""
        with self._lock:
            return key in self._prints

    def is_elsewhere(self, key: CallKey) -> bool:
        """Say whether a call of this key is under way in another event loop."""
        here = asyncio.get_running_loop()
        with self._lock:
            return any(
                loop != id(here) and not flight.task.get_loop().is_closed()
                for loop, flight in self._flights.get(key, {}).items()
            )

    async def share(
        self, key: CallKey, taken: Fingerprint, start: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """Await the call of this key: the one under way in this event loop, or a new one.

        The call runs in a task of its own, so that a caller who is cancelled leaves it to
        the others; when the last one leaves, the call is cancelled and waited for.

        Raises:
            KeyReused: the key was used with another request; names the fields that differ.

        """
        loop = asyncio.get_running_loop()
        with self._lock:
            self._check(key, taken)
            flight: _Flight[T] | None = self._flights.get(key, {}).get(id(loop))
            if flight is None:
                # Owned by its waiters: the last one to leave ends it.
                task = loop.create_task(start())
                flight = _Flight(task, taken)
                self._flights.setdefault(key, {})[id(loop)] = flight
                task.add_done_callback(lambda done: self._land(key, id(loop), done))
            flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                # Nobody may join a call that is being cancelled.
                self._land(key, id(loop), flight.task)
                await _end(flight.task)

    def _land(self, key: CallKey, loop: int, task: asyncio.Task[Any]) -> None:
        with self._lock:
            flights = self._flights.get(key, {})
            flight = flights.get(loop)
            if flight is not None and flight.task is task:
                del flights[loop]
                if not flights:
                    _ = self._flights.pop(key, None)

    def _in_flight(self, key: CallKey) -> Fingerprint | None:
        flights = self._flights.get(key, {}).values()
        # A loop that was closed with a call in it never lands it.
        alive = (flight.print for flight in flights if not flight.task.get_loop().is_closed())
        return next(alive, None)


async def _end(task: asyncio.Task[Any]) -> None:
    _ = task.cancel()
    _ = await asyncio.wait([task])
    if not task.cancelled():
        _ = task.exception()  # Seen, so that the loop doesn't complain that it wasn't.
