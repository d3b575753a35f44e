"""Delivers events to the log and to observers, so that none of them can disturb a call."""

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Final, Protocol, TypeVar, cast

from attrs import define, field, frozen

from ..concurrency import is_own_end
from ..errors import InvalidRequest
from .events import ObserverEvent
from .logs import CALLS, log, set_up_from_environment

E = TypeVar("E", bound=ObserverEvent)

_MAX_WAITING: Final = 10_000
"""How many events may wait for an asynchronous observer; more are dropped."""
_FLUSH_SECONDS: Final = 5.0
_ENDING: Final = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""What ends the program, and so isn't kept from it."""


class Observer(Protocol):
    """Receives every event: a function, or an object with ``__call__``, synchronous or not.

    A synchronous one runs in the task that does the work, and must not block. Events for an
    ``async def`` are queued and passed to it one after the other, in a task of its own. What it
    raises is logged, and changes nothing else.
    """

    def __call__(self, event: ObserverEvent, /) -> Awaitable[object] | object:
        """Take note of an event."""
        ...


@define(eq=False)
class _Queue:
    """The events that wait for an asynchronous observer, in one event loop."""

    observer: Observer
    loop: asyncio.AbstractEventLoop
    waiting: deque[Awaitable[object]] = field(factory=deque[Awaitable[object]])
    task: asyncio.Task[None] | None = None
    dropped: int = 0

    def add(self, delivery: Awaitable[object]) -> None:
        if len(self.waiting) >= _MAX_WAITING:
            if not self.dropped:
                CALLS.error("an observer is too slow: events are dropped from now on")
            self.dropped += 1
            _close(delivery)
            return
        self.waiting.append(delivery)
        if self.task is None or self.task.done():
            self.task = self.loop.create_task(self._deliver())
            self.task.add_done_callback(self._ended)

    async def _deliver(self) -> None:
        await asyncio.sleep(0)  # An eager task would run the observer inside of the call.
        while self.waiting:
            try:
                _ = await self.waiting.popleft()
            except _ENDING:
                raise
            except BaseException as error:
                if is_own_end(error):
                    raise
                _raised(self.observer, error)
            if self.dropped:
                CALLS.error("an observer is too slow: %d events were dropped", self.dropped)
                self.dropped = 0

    def _ended(self, task: asyncio.Task[None]) -> None:
        # Events are left if the task was cancelled, as when the event loop ends.
        while self.task is task and self.waiting:
            _close(self.waiting.popleft())


@frozen(eq=False)
class Observers:
    """Where the events of one client, or of one `Webhooks`, go."""

    given: tuple[Observer, ...] = ()
    _queues: dict[tuple[int, int], _Queue] = field(
        factory=dict[tuple[int, int], _Queue], init=False, repr=False
    )
    """By the observer's index and the id of the event loop."""

    def __attrs_post_init__(self) -> None:
        set_up_from_environment()

    def want(self, logger: logging.Logger = CALLS, level: int = logging.DEBUG) -> bool:
        """Return whether an event is needed that is logged at this level."""
        return bool(self.given) or logger.isEnabledFor(level)

    def emit(self, event: ObserverEvent) -> None:
        """Log an event, and pass it to each observer.

        Raises nothing of theirs, nor of a handler or filter of the program's logging; only what
        ends the program, such as KeyboardInterrupt.
        """
        with suppress(Exception):
            log(event)
        for index, observer in enumerate(self.given):
            try:
                returned = observer(event)
                if inspect.isawaitable(returned):
                    self._queue(index, observer).add(returned)
            except _ENDING:
                raise
            except BaseException as error:  # noqa: BLE001 - such as an assertion of pytest
                _raised(observer, error)

    async def flush(self) -> None:
        """Wait up to 5 s until asynchronous observers have the events of this event loop."""
        here = asyncio.get_running_loop()
        queues = [queue for queue in self._queues.values() if queue.loop is here]
        tasks = [queue.task for queue in queues if queue.task is not None]
        if not tasks:
            return
        _ = await asyncio.wait(tasks, timeout=_FLUSH_SECONDS)
        if left := sum(len(queue.waiting) for queue in queues):
            CALLS.error("%d events were not delivered in %g s", left, _FLUSH_SECONDS)

    def _queue(self, index: int, observer: Observer) -> _Queue:
        loop = asyncio.get_running_loop()
        queue = self._queues.get((index, id(loop)))
        # The id of a loop that is gone may be used again.
        if queue is None or queue.loop is not loop:
            for place in [place for place, one in self._queues.items() if one.loop.is_closed()]:
                del self._queues[place]
            queue = self._queues[index, id(loop)] = _Queue(observer, loop)
        return queue


def only(kind: type[E], observer: Callable[[E], object]) -> Observer:
    """Return an observer that passes on the events of one class: ``only(AttemptEnded, print)``."""

    def passed(event: ObserverEvent, /) -> object:
        return observer(event) if isinstance(event, kind) else None

    return passed


def checked_observers(given: object, name: str = "Settings.observers") -> tuple[Observer, ...]:
    """Return observers as a tuple.

    Raises:
        InvalidRequest: it isn't a list, or something in it can't be called.

    """
    found = tuple(cast("Iterable[object]", given)) if isinstance(given, list | tuple) else (given,)
    if not all(map(callable, found)):
        raise InvalidRequest(name, "expected a list of functions, or of objects that can be called")
    if isinstance(given, list | tuple):
        return cast("tuple[Observer, ...]", found)
    raise InvalidRequest(name, "expected a list; write observers=[observer]")


def _close(delivery: Awaitable[object]) -> None:
    if inspect.iscoroutine(delivery):
        delivery.close()


def _raised(observer: Observer, error: BaseException) -> None:
    name = getattr(observer, "__qualname__", type(observer).__qualname__)
    CALLS.error("an observer raised %s: %s", type(error).__name__, name)
