"""How long the event loop keeps others waiting while many signed calls are in flight."""

import asyncio
import gc
import random
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

from attrs import define, evolve, field

from .contenders import AIOHTTP, AIOHTTP_SIGNED, CONTENDERS, OURS_SIGNED, Call, Ground
from .costs import drive
from .spread import Spread, percentile

CONCURRENCY: Final = 200
ANSWER_SECONDS: Final = 0.2
"""How long a server of the usual kind takes."""
LISTENED_TO: Final = (OURS_SIGNED, AIOHTTP_SIGNED, AIOHTTP)
_BEAT_SECONDS: Final = 0.001
_RAMP_SECONDS: Final = 0.3
_MILLI: Final = 1e3
_P99: Final = 0.99


@define(eq=False)
class Lag:
    """What the heartbeat beside one contender showed, round by round, in milliseconds."""

    p50: list[float] = field(factory=list[float])
    p99: list[float] = field(factory=list[float])
    longest: list[float] = field(factory=list[float])
    held: list[float] = field(factory=list[float])
    """The longest step of a call: CPU time from one await that waits to the next. All that is
    ready in one turn of the loop adds up to the lag; this is what a single call is to blame for."""

    def take(self, late: list[float], held: float) -> None:
        """Take in the beats of one round."""
        self.p50.append(Spread.of(late).median)
        self.p99.append(percentile(late, _P99))
        self.longest.append(max(late))
        self.held.append(held)


@define(eq=False)
class _Stopwatch:
    """Await something, and keep the longest of its steps."""

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


def measure_lag(
    ground: Ground, rounds: int, seconds: float, dice: random.Random
) -> Mapping[str, Lag]:
    """Give the lag of asyncio's event loop with 200 calls in flight, by contender."""
    # The collector's pause grows with all that this process holds; what was there before
    # is no contender's doing.
    _ = gc.collect()
    gc.freeze()
    try:
        return asyncio.run(_measure(evolve(ground, limit=CONCURRENCY), rounds, seconds, dice))
    finally:
        gc.unfreeze()


async def _measure(
    ground: Ground, rounds: int, seconds: float, dice: random.Random
) -> Mapping[str, Lag]:
    lags = {name: Lag() for name in LISTENED_TO}
    async with AsyncExitStack() as stack:
        calls = {
            name: await stack.enter_async_context(CONTENDERS[name](ground)) for name in LISTENED_TO
        }
        for call in calls.values():
            await drive(call, CONCURRENCY, CONCURRENCY)
        for _ in range(rounds):
            for name in dice.sample(LISTENED_TO, len(LISTENED_TO)):
                lags[name].take(*await _listen(calls[name], seconds))
    return lags


async def _listen(call: Call, seconds: float) -> tuple[list[float], float]:
    """Keep the calls in flight for a while; give how late each beat was, and the longest step."""
    late, watch, stop = list[float](), _Stopwatch(), time.monotonic() + _RAMP_SECONDS + seconds

    async def work(place: int) -> None:
        await asyncio.sleep(_RAMP_SECONDS * place / CONCURRENCY)
        while time.monotonic() < stop:
            await watch.time(call())

    async with asyncio.TaskGroup() as group:
        for place in range(CONCURRENCY):
            _ = group.create_task(work(place))
        await asyncio.sleep(_RAMP_SECONDS)
        while time.monotonic() < stop or not late:
            begun = time.perf_counter()
            await asyncio.sleep(_BEAT_SECONDS)
            late.append((time.perf_counter() - begun - _BEAT_SECONDS) * _MILLI)
    return late, watch.longest
