"""A deterministic event loop: time passes only when nothing can run, and a seed decides the order.

The library simloop needs Python 3.12 and includes simulated hosts, disks and networks, which the
emulator already provides here; this package also supports Python 3.11. Everything else that could
differ between two runs (the clock, the random numbers, the order of a set of tasks) is also fixed
here, so a seed always produces the same run.
"""

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final, TypeVar

T = TypeVar("T")
_MOST_STEPS: Final = 1_000_000


class Process:
    """A simulated process; it may be paused or killed between any two steps of its tasks."""

    current: ContextVar["Process | None"] = ContextVar("process", default=None)

    def __init__(self, loop: "SimLoop") -> None:
        self.loop = loop
        self.context = copy_context()
        self.context.run(self.current.set, self)
        self.is_stopped = False
        self.tasks: list[asyncio.Task[Any]] = []
        self._kept: list[asyncio.Handle] = []
        self._strike: Callable[[], None] | None = None
        self._steps_left = 0

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task in this process."""
        task = self.loop.create_task(coroutine, context=self.context)
        self.tasks.append(task)
        return task

    def stop(self) -> None:
        """Run nothing of it any more; its state in memory is kept."""
        self.is_stopped = True

    def resume(self) -> None:
        """Run it again, as if no time had passed."""
        self.is_stopped = False
        kept, self._kept = self._kept, []
        self.loop.add_ready(kept)

    def call_after_steps(self, steps: int, strike: Callable[[], None]) -> None:
        """Call a function after this many steps."""
        self._steps_left, self._strike = steps, strike

    def run_to_end(self) -> None:
        """Run it to its end."""
        self._strike = None
        self.resume()

    def holds(self, handle: asyncio.Handle) -> bool:
        """Return whether a step must wait until the process continues."""
        if self._strike is not None and not self.is_stopped:
            self._steps_left -= 1
            if self._steps_left <= 0:
                strike, self._strike = self._strike, None
                strike()
        if self.is_stopped:
            self._kept.append(handle)
        return self.is_stopped


class _Task(asyncio.Task[Any]):
    """A task whose position in a set is the same in every run."""

    def __init__(self, number: int, coroutine: Any, **options: Any) -> None:
        self._number = number
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimLoop(asyncio.BaseEventLoop):
    """Runs one ready callback at a time, chosen at random; lets time pass when none is ready."""

    def __init__(self, rng: random.Random, after_step: Callable[[], None]) -> None:
        super().__init__()
        self.rng, self.after_step = rng, after_step
        self.outside = copy_context()
        """The context of callbacks that belong to no process."""
        self.steps = 0
        self._now = 0.0
        self._waiting: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()
        self.set_debug(enabled=False)
        self.set_task_factory(
            lambda loop, coroutine, **options: _Task(
                next(self._numbers), coroutine, loop=loop, **options
            )
        )

    def time(self) -> float:
        """Return the seconds since the run began."""
        return self._now

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Schedule a callback at a time."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._waiting, (when, next(self._numbers), handle))
        return handle

    def call_outside(self, seconds: float, callback: Callable[..., object], *args: object) -> None:
        """Schedule a callback that belongs to no process."""
        _ = self.call_at(self._now + seconds, callback, *args, context=self.outside)

    def add_ready(self, handles: list[asyncio.Handle]) -> None:
        """Add handles to the ready ones."""
        self._ready.extend(handles)

    def _run_once(self) -> None:
        self.steps += 1
        assert self.steps < _MOST_STEPS, "it goes on for ever"
        self._let_time_pass()
        ready = self._ready
        place = self.rng.randrange(len(ready)) if len(ready) > 1 else 0
        ready.rotate(-place)
        handle = ready.popleft()
        ready.rotate(place)
        if handle.cancelled():
            return
        process = handle._context.get(Process.current)
        if process is None or not process.holds(handle):
            handle._run()
            self.after_step()

    def _let_time_pass(self) -> None:
        waiting = self._waiting
        while waiting and (waiting[0][0] <= self._now or not self._ready):
            when, _, handle = heapq.heappop(waiting)
            if not handle.cancelled():
                self._now = max(self._now, when)
                self._ready.append(handle)
        assert self._ready, "everybody waits, and nothing will happen"

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # A cancelled timer is skipped when its time comes.

    def _write_to_self(self) -> None:
        pass  # There is no other thread to wake the loop.
