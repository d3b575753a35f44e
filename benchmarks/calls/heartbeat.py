"""A heartbeat beside calls in flight: how long the event loop keeps others waiting."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Final

from attrs import define, frozen

from ..spread import Spread, percentile
from .contenders import Call

_BEAT_SECONDS: Final = 0.001
_RAMP_SECONDS: Final = 0.3
_MILLI: Final = 1e3
_P99: Final = 0.99
_BUSY: Final = (
    "import os, sys, threading\n"
    "os.sched_setaffinity(0, {int(sys.argv[1])})\n"
    "threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()\n"
    "while True: pass"
)


@frozen(kw_only=True)
class Lag:
    """What the heartbeat beside a contender showed in one round, in milliseconds."""

    p50: float
    p99: float
    longest: float
    held: float
    """The longest step of a call: CPU time from one await that waits to the next. All that is
    ready in one turn of the loop adds up to the lag; this is what a single call is to blame for."""


@define(eq=False)
class _Stopwatch:
    """Awaits something, and records its longest step."""

    longest: float = 0.0

    async def time(self, work: Awaitable[object]) -> None:
        await _Steps(work, self)


@define(eq=False)
class _Steps:
    work: Awaitable[object]
    watch: _Stopwatch

    def __await__(self) -> Generator[Any, Any, None]:
        steps = self.work.__await__()
        step: Callable[[], Any] = partial(next, steps)
        while True:
            begun = time.thread_time()
            try:
                waits_for = step()
            except StopIteration:
                return
            finally:
                used = (time.thread_time() - begun) * _MILLI
                self.watch.longest = max(self.watch.longest, used)
            try:
                yield waits_for
                step = partial(next, steps)
            except BaseException as error:  # noqa: BLE001 - a cancellation is the work's to handle
                step = partial(steps.throw, error)


async def listen(call: Call, concurrency: int, seconds: float) -> Lag:
    """Keep the calls in flight for a while; return how late a heartbeat beside them was."""
    late, watch, stop = list[float](), _Stopwatch(), time.monotonic() + _RAMP_SECONDS + seconds

    async def work(place: int) -> None:
        await asyncio.sleep(_RAMP_SECONDS * place / concurrency)
        while time.monotonic() < stop:
            await watch.time(call())

    async with asyncio.TaskGroup() as group:
        for place in range(concurrency):
            _ = group.create_task(work(place))
        await asyncio.sleep(_RAMP_SECONDS)
        while time.monotonic() < stop or not late:
            begun = time.perf_counter()
            await asyncio.sleep(_BEAT_SECONDS)
            late.append((time.perf_counter() - begun - _BEAT_SECONDS) * _MILLI)
    return Lag(
        p50=Spread.of(late).median,
        p99=percentile(late, _P99),
        longest=max(late),
        held=watch.longest,
    )


@contextmanager
def busy(cores: tuple[int, ...]) -> Generator[None]:
    """Keep each of these cores busy with a process that does nothing else."""
    with ExitStack() as stack:
        for core in cores:
            command = [sys.executable, "-c", _BUSY, str(core)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603 - see above
            _ = stack.enter_context(process)
            assert process.stdin is not None  # noqa: S101 - asked for above
            _ = stack.callback(process.stdin.close)
        yield
