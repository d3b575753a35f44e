"""settle_all: many calls, bounded memory, results as they settle, nothing left behind."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

import pytest
from attrs import define
from hypothesis import given
from hypothesis import strategies as st

from smartglocal_async.concurrency import in_lumps, settle_all

pytestmark = pytest.mark.both_loops


def others() -> set[asyncio.Task[None]]:
    """Return the tasks that run beside the test."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def echo(index: int, item: int) -> tuple[int, int]:
    """Work that settles after one turn of the loop."""
    await asyncio.sleep(0)
    return index, item


async def asynchronous(items) -> AsyncIterator[int]:
    """Yield items with a turn of the loop before each."""
    for item in items:
        await asyncio.sleep(0)
        yield item


@define
class Source:
    """Numbers that count how many were taken."""

    numbers: int
    taken: int = 0
    fails: bool = False

    def __iter__(self) -> Iterator[int]:
        for number in range(self.numbers):
            self.taken += 1
            yield number
        if self.fails:
            raise ValueError("the source broke")


async def test_two_that_share_their_places() -> None:
    """Together they use at most this many places; unused places go to the other."""
    places, most, long, short = asyncio.Semaphore(5), list[int](), set[int](), set[int]()
    filled = asyncio.Event()

    async def until_filled(index: int, item: int) -> int:
        long.add(index)
        _ = await filled.wait()  # Would hang if the other one couldn't use the four free places.
        long.remove(index)
        return item

    async def briefly(index: int, item: int) -> int:
        short.add(index)
        most.append(len(long) + len(short))
        if len(short) == 4:
            filled.set()
        for _ in range(3):
            await asyncio.sleep(0)
        short.remove(index)
        return item

    async def through(source: Source, work) -> list[int]:
        return [result async for result in settle_all(source, work, 5, places=places)]

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        one = group.create_task(through(Source(1), until_filled))
        other = group.create_task(through(Source(20), briefly))
    assert (one.result(), sorted(other.result())) == ([0], [*range(20)])
    assert max(most) == 5


@pytest.mark.parametrize("kind", [list, iter, tuple, asynchronous])
@pytest.mark.parametrize("concurrency", [1, 3, 100])
@pytest.mark.parametrize("numbers", [0, 1, 2, 50])
async def test_every_item_settles_once(kind, concurrency, numbers) -> None:
    """Any iterable or async iterable; each item once, with its number."""
    results = [r async for r in settle_all(kind([*range(numbers)]), echo, concurrency)]

    assert sorted(results) == [(n, n) for n in range(numbers)]
    assert others() == set()


async def test_results_come_as_they_settle() -> None:
    """A quick item doesn't wait for a slow one before it."""
    slow = asyncio.Event()

    async def work(_index: int, item: str) -> str:
        if item == "slow":
            await slow.wait()
        return item

    async with contextlib.aclosing(settle_all(["slow", "quick"], work, 2)) as results:
        assert await anext(results) == "quick"
        slow.set()
        assert await anext(results) == "slow"


@given(numbers=st.integers(0, 40), concurrency=st.integers(1, 8), turns=st.integers(0, 8))
async def test_items_are_taken_as_results_are_fetched(numbers, concurrency, turns) -> None:
    """Only the items in progress and the results not yet fetched are taken in advance."""
    source, fetched = Source(numbers), 0
    async for _ in settle_all(source, echo, concurrency):
        fetched += 1
        for _ in range(turns):
            await asyncio.sleep(0)
        assert source.taken <= fetched + 2 * concurrency
    assert (source.taken, fetched) == (numbers, numbers)


async def test_no_more_than_asked_are_at_work() -> None:
    """Concurrency limits the calls in flight."""
    now, most = 0, 0

    async def work(_index: int, _item: int) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1

    _ = [r async for r in settle_all(range(50), work, 7)]
    assert most == 7


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("numbers", [0, 1, 10])
async def test_a_source_that_raises(concurrency, numbers) -> None:
    """Items already taken settle first; then the source's exception is raised."""
    batch = settle_all(Source(numbers, fails=True), echo, concurrency)

    results = [await anext(batch) for _ in range(numbers)]
    with pytest.raises(ValueError, match="the source broke"):
        await anext(batch)

    assert sorted(results) == [(n, n) for n in range(numbers)]
    assert others() == set()


async def test_an_asynchronous_source_is_not_asked_twice_at_once() -> None:
    """An async generator that is asked for an item while it runs would raise."""
    results = [r async for r in settle_all(asynchronous(range(20)), echo, 20)]
    assert len(results) == 20


@pytest.mark.parametrize("fetched", [0, 1, 5])
async def test_leaving_early_leaves_no_task(fetched) -> None:
    """Calls in flight are cancelled and awaited."""
    source, cancelled = Source(100), 0

    async def work(index: int, _item: int) -> int:
        nonlocal cancelled
        if index < fetched:
            return index
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled += 1
            raise
        return index

    async with contextlib.aclosing(settle_all(source, work, 3)) as results:
        for _ in range(fetched):
            await anext(results)

    assert others() == set()
    assert cancelled <= 3
    assert source.taken <= fetched + 6


async def test_leaving_early_closes_the_source() -> None:
    """The source is closed before the batch ends, and not by the garbage collector."""
    closed = []

    def source() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(True)

    async with contextlib.aclosing(settle_all(source(), echo, 3)) as results:
        await anext(results)

    assert closed == [True]


async def test_leaving_early_leaves_nothing_to_the_collector() -> None:
    """A generator that the garbage collector finds is closed by a task that is never awaited."""
    hooks, left = sys.get_asyncgen_hooks(), []
    sys.set_asyncgen_hooks(finalizer=left.append)
    try:
        async with contextlib.aclosing(settle_all(range(10), echo, 3)) as results:
            await anext(results)
    finally:
        sys.set_asyncgen_hooks(*hooks)

    assert left == []


async def test_an_iterator_that_nobody_runs_starts_nothing() -> None:
    """The first item is taken when the first result is requested."""
    source = Source(3)
    await settle_all(source, echo, 2).aclose()
    assert (source.taken, others()) == (0, set())


async def test_being_cancelled_leaves_no_task() -> None:
    """The caller's cancellation ends the workers, too."""

    async def forever(_index: int, _item: int) -> None:
        await asyncio.Event().wait()

    async def consume() -> None:
        async for _ in settle_all(range(10), forever, 3):
            pass

    async with asyncio.TaskGroup() as group:
        task = group.create_task(consume())
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()

    assert (task.cancelled(), others()) == (True, set())


async def test_work_that_breaks_ends_the_batch() -> None:
    """An error that is no outcome is a bug: it is raised, and nothing is left running."""

    async def work(index: int, _item: int) -> int:
        if index == 3:
            raise KeyError("broken")
        await asyncio.sleep(0)
        return index

    with pytest.raises(KeyError, match="broken"):
        _ = [r async for r in settle_all(range(1000), work, 4)]
    assert others() == set()


class Streamed:
    """An async generator, and whether it was closed."""

    def __init__(self) -> None:
        self.closed = 0

    async def items(self) -> AsyncGenerator[int]:
        """Yield numbers, as from a database cursor that must be closed."""
        try:
            for number in range(100):
                yield number
        finally:
            await asyncio.sleep(0)
            self.closed += 1


@pytest.mark.parametrize("ends", ["left", "raises", "stopped", "exhausted"])
async def test_an_asynchronous_generator_is_closed(ends) -> None:
    """However the batch ends, and before it ends."""
    source, reasons = Streamed(), {"stopped": ValueError("stop")}

    async def work(index: int, item: int) -> int:
        if ends == "raises" and item == 5:
            raise ValueError("work")
        return index

    async with contextlib.aclosing(
        settle_all(source.items(), work, 3, lambda: reasons.get(ends) if taken else None)
    ) as results:
        taken = []
        with contextlib.suppress(ValueError):
            async for result in results:
                taken.append(result)
                if ends == "left":
                    break

    assert source.closed == 1


async def test_lumps_close_their_source() -> None:
    """After the first chunk."""
    source = Streamed()
    async with contextlib.aclosing(in_lumps(source.items(), 10)) as lumps:
        assert await anext(lumps) == list(range(10))
    assert source.closed == 1
