"""An event loop in which time passes only when nothing can run, and chance decides what runs next.

A library for this, simloop, needs Python 3.12 and brings hosts, disks and networks that would
stand beside the emulator's own; the package is tested on 3.11 first, and what is needed of such a
loop is what stands here. Everything else that could differ between two runs (the clock, the dice,
the order of a set of tasks) is given here too, so that a seed is a run.
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
    """Whoever runs its tasks: it may be stopped for a while, or for ever, between any two steps."""

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
        """Run something in it."""
        task = self.loop.create_task(coroutine, context=self.context)
        self.tasks.append(task)
        return task

    def stop(self) -> None:
        """Let nothing of it run any more; what it has in memory stays there."""
        self.is_stopped = True

    def go_on(self) -> None:
        """Let it run again, as if no time had passed."""
        self.is_stopped = False
        kept, self._kept = self._kept, []
        self.loop.take(kept)

    def strike_after(self, steps: int, strike: Callable[[], None]) -> None:
        """Have something happen to it after that many steps."""
        self._steps_left, self._strike = steps, strike

    def free(self) -> None:
        """Let it run to its end."""
        self._strike = None
        self.go_on()

    def keeps(self, handle: asyncio.Handle) -> bool:
        """Say whether a step has to wait until it goes on."""
        if self._strike is not None and not self.is_stopped:
            self._steps_left -= 1
            if self._steps_left <= 0:
                strike, self._strike = self._strike, None
                strike()
        if self.is_stopped:
            self._kept.append(handle)
        return self.is_stopped


class _Task(asyncio.Task[Any]):
    """A task whose place in a set is the same in every run."""

    def __init__(self, number: int, coroutine: Any, **options: Any) -> None:
        self._number = number
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimLoop(asyncio.BaseEventLoop):
    """Runs one ready callback after the other, picked by the dice; then lets time pass."""

    def __init__(self, dice: random.Random, after_step: Callable[[], None]) -> None:
        super().__init__()
        self.dice, self.after_step = dice, after_step
        self.outside = copy_context()
        """For what no process does."""
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
        """Give the seconds since the run began."""
        return self._now

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Have it called when time has come so far."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._waiting, (when, next(self._numbers), handle))
        return handle

    def later(self, seconds: float, callback: Callable[..., object], *args: object) -> None:
        """Have it called outside of all processes."""
        _ = self.call_at(self._now + seconds, callback, *args, context=self.outside)

    def take(self, handles: list[asyncio.Handle]) -> None:
        """Have these called soon."""
        self._ready.extend(handles)

    def _run_once(self) -> None:
        self.steps += 1
        assert self.steps < _MOST_STEPS, "it goes on for ever"
        self._let_time_pass()
        ready = self._ready
        place = self.dice.randrange(len(ready)) if len(ready) > 1 else 0
        ready.rotate(-place)
        handle = ready.popleft()
        ready.rotate(place)
        if handle.cancelled():
            return
        process = handle._context.get(Process.current)
        if process is None or not process.keeps(handle):
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
        pass  # It is passed over when its time comes.

    def _write_to_self(self) -> None:
        pass  # There is no other thread to be woken by.
