"""Run many calls at once with bounded memory, and give the results as they settle."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Generic, TypeVar

from attrs import define, field, frozen

Item = TypeVar("Item")
Result = TypeVar("Result")


@define(eq=False)
class _Source(Generic[Item]):
    """One iterator for all workers: each item is taken once, and numbered."""

    items: AsyncGenerator[Item]
    taken: int = 0
    failure: BaseException | None = None
    # An asynchronous generator must not be asked twice at once.
    turn: asyncio.Lock = field(factory=asyncio.Lock)

    async def take(self) -> tuple[int, Item] | None:
        async with self.turn:
            if self.failure is not None:
                return None
            try:
                item = await anext(self.items)
            except StopAsyncIteration:
                return None
            self.taken += 1
            return self.taken - 1, item

    def fail(self, error: BaseException) -> None:
        """Give out no more items; the first failure is the one to raise."""
        self.failure = self.failure or error


@frozen
class _End:
    """A worker is done."""


async def settle_all(
    items: Iterable[Item] | AsyncIterable[Item],
    work: Callable[[int, Item], Awaitable[Result]],
    concurrency: int,
) -> AsyncGenerator[Result]:
    """Give the result of ``work`` for every item, in the order in which they settle.

    Memory is bound by ``concurrency``, not by the number of items: an item is taken from the
    source when a worker is free, and workers wait while results are not fetched. When the
    source raises, or ``work`` does, no more is taken; what is out is settled and given first,
    and then the exception is raised. Left early, whatever is out is cancelled and waited for.
    """
    source = _Source(_asynchronously(items))
    results: asyncio.Queue[Result | _End] = asyncio.Queue(concurrency)
    # Tasks and no TaskGroup: a generator must not hold one open across its yields.
    tasks = [asyncio.ensure_future(_worker(source, work, results)) for _ in range(concurrency)]
    try:
        async with aclosing(_until_all_end(results, concurrency)) as settled:
            async for result in settled:
                yield result
    finally:
        for task in tasks:
            _ = task.cancel()
        _ = await asyncio.wait(tasks)
        await source.items.aclose()
    if source.failure is not None:
        raise source.failure


async def _worker(
    source: _Source[Item],
    work: Callable[[int, Item], Awaitable[Result]],
    results: "asyncio.Queue[Result | _End]",
) -> None:
    try:
        while (taken := await source.take()) is not None:
            await results.put(await work(*taken))
    except asyncio.CancelledError as error:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        source.fail(error)  # Something it waited for was cancelled, and not this batch.
    except Exception as error:  # noqa: BLE001 - raised when all have settled
        source.fail(error)
    await results.put(_End())


async def _until_all_end(
    results: "asyncio.Queue[Result | _End]", workers: int
) -> AsyncGenerator[Result]:
    while workers:
        result = await results.get()
        if isinstance(result, _End):
            workers -= 1
        else:
            yield result


async def _asynchronously(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncGenerator[Item]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
