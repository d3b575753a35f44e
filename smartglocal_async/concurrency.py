"""Run many calls at once with bounded memory, and give the results as they settle."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Generic, TypeVar

from attrs import define, field, frozen

Item = TypeVar("Item")
Result = TypeVar("Result")


def is_own_end(error: BaseException) -> bool:
    """Return whether this task is being cancelled, and not something that it waited for."""
    task = asyncio.current_task()
    is_cancelled = task is not None and task.cancelling() > 0
    return is_cancelled and isinstance(error, asyncio.CancelledError)


@define(eq=False)
class _Source(Generic[Item]):
    """One iterator for all workers: each item is taken once, and numbered."""

    items: AsyncGenerator[Item]
    stopped: Callable[[], BaseException | None]
    taken: int = 0
    failure: BaseException | None = None
    is_left: bool = False
    # An asynchronous generator must not be asked twice at once.
    turn: asyncio.Lock = field(factory=asyncio.Lock)

    async def take(self) -> tuple[int, Item] | None:
        async with self.turn:
            if self._is_over():
                return None
            try:
                item = await anext(self.items)
            except StopAsyncIteration:
                return None
            if self._is_over():
                return None
            self.taken += 1
            return self.taken - 1, item

    def fail(self, error: BaseException) -> None:
        """Return out no more items; the first failure is the one to raise."""
        self.failure = self.failure or error

    def _is_over(self) -> bool:
        self.failure = self.failure or self.stopped()
        return self.is_left or self.failure is not None


@frozen
class _End:
    """A worker is done, or broke."""

    task: asyncio.Future[None]


def _never() -> None:
    return None


async def settle_all(
    items: Iterable[Item] | AsyncIterable[Item],
    work: Callable[[int, Item], Awaitable[Result]],
    concurrency: int,
    stopped: Callable[[], BaseException | None] = _never,
    places: asyncio.Semaphore | None = None,
) -> AsyncGenerator[Result]:
    """Return the result of ``work`` for every item, in the order in which they settle.

    Memory is bound by ``concurrency``, not by the number of items: an item is taken from the
    source when a worker is free, and workers wait while results are not fetched. When the
    source raises, or ``work`` does, or ``stopped`` returns a reason, no more is taken; what is out
    is settled and returned first, and then that is raised. Left early, whatever is out is cancelled
    and waited for. Several at once that share ``places`` never work on more than that together.
    """
    source = _Source(_asynchronously(items), stopped)
    results: asyncio.Queue[Result | _End] = asyncio.Queue()
    room = asyncio.Semaphore(concurrency)
    places = places or asyncio.Semaphore(concurrency)
    # Tasks and no TaskGroup: a generator must not hold one open across its yields.
    tasks = [
        asyncio.ensure_future(_worker(source, work, results, room, places))
        for _ in range(concurrency)
    ]
    for task in tasks:
        task.add_done_callback(lambda done: results.put_nowait(_End(done)))
    try:
        async with aclosing(_until_all_end(source, results, room, concurrency)) as settled:
            async for result in settled:
                yield result
    finally:
        source.is_left = True
        for task in tasks:
            _ = task.cancel()
            room.release()  # For a worker that lost its cancellation in the work.
        _ = await asyncio.wait(tasks)
        await source.items.aclose()
    if source.failure is not None:
        raise source.failure


async def _worker(
    source: _Source[Item],
    work: Callable[[int, Item], Awaitable[Result]],
    results: "asyncio.Queue[Result | _End]",
    room: asyncio.Semaphore,
    places: asyncio.Semaphore,
) -> None:
    while True:
        # Taken when there is a place: what waits for one is still everybody's.
        async with places:
            if (taken := await source.take()) is None:
                return
            result = await work(*taken)
        _ = await room.acquire()
        results.put_nowait(result)


async def _until_all_end(
    source: _Source[Item],
    results: "asyncio.Queue[Result | _End]",
    room: asyncio.Semaphore,
    workers: int,
) -> AsyncGenerator[Result]:
    while workers:
        result = await results.get()
        if not isinstance(result, _End):
            room.release()
            yield result
            continue
        workers -= 1
        # Cancelled, but not by the one who reads here: something it waited for was.
        broken = asyncio.CancelledError() if result.task.cancelled() else result.task.exception()
        if broken is not None:
            source.fail(broken)


async def in_lumps(
    items: Iterable[Item] | AsyncIterable[Item], size: int
) -> AsyncGenerator[list[Item]]:
    """Return the items in lists of one size; the last one may be shorter."""
    lump: list[Item] = []
    async with aclosing(_asynchronously(items)) as source:
        async for item in source:
            lump.append(item)
            if len(lump) == size:
                yield lump
                lump = []
    if lump:
        yield lump


async def _asynchronously(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncGenerator[Item]:
    if isinstance(items, AsyncIterable):
        try:
            async for item in items:
                yield item
        finally:
            # A loop that is left doesn't end its generator, as it would end a plain one.
            if isinstance(items, AsyncGenerator):
                await items.aclose()
    else:
        for item in items:
            yield item
