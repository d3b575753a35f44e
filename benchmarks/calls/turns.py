"""A turn of a contender: some calls, so many at a time, and what one of them took."""

import asyncio
import gc
import time
from typing import Final

from attrs import frozen

from .contenders import Call

_LONGEST_SECONDS: Final = 120
_MICRO: Final = 1e6


@frozen
class Cost:
    """A call's share of one turn, in microseconds."""

    cpu: float
    """Of the whole process, the threads that sign included."""
    wall: float


async def take_turn(call: Call, concurrency: int, calls: int) -> Cost:
    """Return the cost of a call when that many are in flight."""
    _ = gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    await drive(call, concurrency, calls)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Cost(cpu / calls * _MICRO, wall / calls * _MICRO)


async def drive(call: Call, concurrency: int, calls: int) -> None:
    """Make that many calls, so many at a time."""
    left = iter(range(calls))

    async def work() -> None:
        for _ in left:
            _ = await call()

    async with asyncio.timeout(_LONGEST_SECONDS), asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            _ = group.create_task(work())
