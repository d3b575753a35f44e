"""What a call costs the client's process: the contenders take turns, in random order."""

import asyncio
import gc
import random
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Final

from attrs import define, field, frozen

from .contenders import AIOHTTP, CONTENDERS, OURS, OURS_SIGNED, Call, Ground
from .machine import NewLoop
from .spread import Spread
from .work import SESSION_ID

CONCURRENCIES: Final = (1, 50)
_LONGEST_SECONDS: Final = 60
_MICRO: Final = 1e6
# On the second event loop, to see what it is worth and no more.
_ON_OTHER_LOOPS: Final = (AIOHTTP, OURS, OURS_SIGNED)


@frozen
class Cost:
    """A call's share of one turn, in microseconds."""

    cpu: float
    """Of the whole process, the threads that sign included."""
    wall: float


@frozen
class Place:
    """Who takes a turn, and how."""

    loop: str
    concurrency: int
    contender: str


@define(eq=False)
class Costs:
    """What every turn of every round came to."""

    of: dict[Place, list[Cost]] = field(factory=dict[Place, list[Cost]])

    def add(self, place: Place, cost: Cost) -> None:
        """Take in one turn; the rounds must come in order."""
        self.of.setdefault(place, []).append(cost)

    def cpu(self, loop: str, concurrency: int, contender: str) -> list[float]:
        """Give the CPU time per call, round by round."""
        return [cost.cpu for cost in self.of[Place(loop, concurrency, contender)]]

    def ratio(self, loop: str, concurrency: int, over: str, under: str) -> Spread:
        """Give the ratio of two contenders' CPU time per call."""
        return Spread.of_ratios(
            self.cpu(loop, concurrency, over), self.cpu(loop, concurrency, under)
        )


@define(eq=False)
class _Corner:
    """The contenders that run on one event loop."""

    name: str
    runner: asyncio.Runner
    stack: AsyncExitStack = field(factory=AsyncExitStack)
    calls: dict[str, Call] = field(factory=dict[str, Call])

    async def open(self, ground: Ground, names: Iterable[str]) -> None:
        for name in names:
            call = await self.stack.enter_async_context(CONTENDERS[name](ground))
            # A contender that is quick because it fails is none.
            if SESSION_ID not in str(answer := await call()):
                raise RuntimeError(f"{name}: an unexpected answer: {answer!r}")
            self.calls[name] = call

    async def close(self) -> None:
        await self.stack.aclose()


def measure_costs(
    ground: Ground,
    loops: Mapping[str, NewLoop],
    rounds: int,
    calls: Mapping[int, int],
    dice: random.Random,
) -> Costs:
    """Give the cost of a call for each contender; ``calls`` says how many a turn has."""
    costs, corners = Costs(), list[_Corner]()
    try:
        for name, new_loop in loops.items():
            corners.append(corner := _Corner(name, asyncio.Runner(loop_factory=new_loop)))
            names = _ON_OTHER_LOOPS if corners[1:] else CONTENDERS
            corner.runner.run(corner.open(ground, names))
        for _ in range(rounds):
            _play_round(corners, calls, costs, dice)
    finally:
        for corner in corners:
            corner.runner.run(corner.close())
            corner.runner.close()
    return costs


def _play_round(
    corners: list[_Corner], calls: Mapping[int, int], costs: Costs, dice: random.Random
) -> None:
    # Contenders that are compared stand close together in time, so that both meet
    # whatever else the machine is doing.
    blocks = [(corner, concurrency) for corner in corners for concurrency in calls]
    dice.shuffle(blocks)
    for corner, concurrency in blocks:
        names = list(corner.calls)
        dice.shuffle(names)
        for name in names:
            turn = take_turn(corner.calls[name], concurrency, calls[concurrency])
            costs.add(Place(corner.name, concurrency, name), corner.runner.run(turn))


async def take_turn(call: Call, concurrency: int, calls: int) -> Cost:
    """Give the cost of a call when that many are in flight."""
    await drive(call, concurrency, concurrency)  # Connections may have gone stale meanwhile.
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
