"""Calls that share a key, over HTTP: which calls are joined, and what is kept of a key."""

import asyncio
import gc
import weakref
from typing import Final

import aiohttp

import smartglocal_async as sg

REQUEST: Final = sg.CreateSession(amount_details=sg.AmountDetails(10_000, "usd"))
LONGEST_SECONDS: Final = 60.0


class Held:
    """Holds each request until it is released; a cancelled one ends when it may."""

    def __init__(self) -> None:
        self.entered = [asyncio.Event() for _ in range(3)]
        self.let_go = [asyncio.Event() for _ in range(3)]
        self.may_end = asyncio.Event()
        self.count = 0

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send the request once it is released."""
        number, self.count = self.count, self.count + 1
        self.entered[number].set()
        try:
            await self.let_go[number].wait()
        except asyncio.CancelledError:
            await self.may_end.wait()
            raise
        return await handler(request)


async def turns() -> None:
    """Let everything that is ready run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_cancelled_call_that_ends_late_leaves_the_next_one_alone(provider, connect):
    """The third caller joins the second call of the key, although the first has just ended."""
    held = Held()
    async with (
        asyncio.timeout(LONGEST_SECONDS),
        aiohttp.ClientSession(middlewares=(held,)) as session,
        sg.SessionPool(session=session) as pool,
        asyncio.TaskGroup() as group,
    ):
        api = connect(provider, pool=pool)

        def create() -> asyncio.Task[sg.Session]:
            return group.create_task(api.session.create(REQUEST, key="k"))

        first = create()
        await held.entered[0].wait()
        first.cancel()
        await turns()
        second = create()
        await turns()
        held.may_end.set()
        _ = await asyncio.wait([first])
        await held.entered[1].wait()
        third = create()
        await turns()
        assert held.count == 2
        held.let_go[1].set()
    assert first.cancelled()
    assert second.result() is third.result()
    assert provider.order("k").attempts == 1


class Key(str):
    """A key whose lifetime can be observed."""

    __slots__ = ("__weakref__",)


async def test_what_is_kept_of_many_keys(provider, connect):
    """As many keys are kept as the setting allows; nothing else of an ended call is kept."""
    api = connect(provider, settings=sg.Settings(remembered_keys=5))
    alive = weakref.WeakSet[Key]()
    for number in range(60):
        key = Key(f"key-{number}")
        alive.add(key)
        _ = await api.session.create(REQUEST, key=key)
        del key
    _ = gc.collect()
    assert len(alive) <= 6
    assert provider.report().sessions == 60


async def test_what_is_kept_of_keys_whose_calls_were_cancelled(provider, connect):
    """No more keys are kept than of calls that ended."""
    held = Held()
    held.may_end.set()
    alive = weakref.WeakSet[Key]()
    async with (
        aiohttp.ClientSession(middlewares=(held,)) as session,
        sg.SessionPool(session=session) as pool,
    ):
        api = connect(provider, pool=pool, settings=sg.Settings(remembered_keys=1))
        for number in range(3):
            key = Key(f"key-{number}")
            alive.add(key)
            task = asyncio.ensure_future(api.session.create(REQUEST, key=key))
            await held.entered[number].wait()
            task.cancel()
            _ = await asyncio.wait([task])
            assert task.cancelled()
            del key, task
        _ = gc.collect()
        assert len(alive) <= 1
    assert provider.report().requests == 0
