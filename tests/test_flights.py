"""One call per key at a time, one request per key for good."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import pytest
from attrs import define, field

import smartglocal_async as sg
from smartglocal_async.codec import dump
from smartglocal_async.flights import CallKey, Flights
from smartglocal_async.idempotency import fingerprint


def taken(amount: int = 1):
    """Take the fingerprint of a request for an amount."""
    return fingerprint(dump({"amount": amount}), b"secret")


KEY = CallKey("session/create", "k")


@define(eq=False)
class Call:
    """A call that ends when it is told to, and keeps what became of it."""

    started: int = 0
    cancelled: int = 0
    may_end: asyncio.Event = field(factory=asyncio.Event)
    result: object = "session"

    async def run(self) -> object:
        """Wait to be told; give the result, or raise it."""
        self.started += 1
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def flights() -> Flights:
    """Give flights that remember three keys."""
    return Flights(3)


async def turns(number: int = 5) -> None:
    """Let everything that is ready run."""
    for _ in range(number):
        await asyncio.sleep(0)


async def at_once() -> str:
    """Make a call that takes no time."""
    return "session"


def others() -> set[asyncio.Task[Any]]:
    """Give the tasks that run beside the test."""
    current = asyncio.current_task()
    return {task for task in asyncio.all_tasks() if task is not current}


async def quietly(call: Coroutine[Any, Any, object]) -> object:
    """Await a call, and give what it raises as its result."""
    try:
        return await call
    except Exception as error:  # noqa: BLE001 - handed to the test
        return error


@pytest.mark.parametrize("waiters", [1, 2, 10])
async def test_waiters_of_one_key_share_one_call(flights, waiters) -> None:
    """However many ask, the provider is asked once, and all get the same object."""
    call = Call(result=object())
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(flights.share(KEY, taken(), call.run)) for _ in range(waiters)]
        await turns()
        call.may_end.set()

    assert {task.result() for task in tasks} == {call.result}
    assert (call.started, others()) == (1, set())


async def test_waiters_share_a_failure(flights) -> None:
    """The one error reaches everyone who waits."""
    call = Call(result=ValueError("no"))
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(quietly(flights.share(KEY, taken(), call.run))) for _ in range(3)
        ]
        await turns()
        call.may_end.set()

    assert [task.result() for task in tasks] == [call.result] * 3


async def test_keys_do_not_wait_for_each_other(flights) -> None:
    """Another key is another call."""
    slow, quick = Call(), Call(result="quick")
    quick.may_end.set()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(
            flights.share(CallKey("session/create", "slow"), taken(), slow.run)
        )
        assert (
            await flights.share(CallKey("session/create", "quick"), taken(), quick.run) == "quick"
        )
        assert not waiting.done()
        slow.may_end.set()


async def test_a_call_that_landed_is_not_shared(flights) -> None:
    """The next call with the key is sent again: the answer is not cached."""
    call = Call()
    call.may_end.set()

    await flights.share(KEY, taken(), call.run)
    await turns()
    await flights.share(KEY, taken(), call.run)

    assert call.started == 2


@pytest.mark.parametrize("leaving", [0, 1, 2])
async def test_a_waiter_that_leaves_leaves_the_call_to_the_others(flights, leaving) -> None:
    """Being cancelled is one's own affair, also for the one who began."""
    call = Call()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(flights.share(KEY, taken(), call.run)) for _ in range(3)]
        await turns()
        tasks[leaving].cancel()
        await turns()
        assert (tasks[leaving].cancelled(), call.cancelled) == (True, 0)
        call.may_end.set()

    assert [task.result() for task in tasks if not task.cancelled()] == ["session"] * 2


@pytest.mark.parametrize("waiters", [1, 3])
async def test_the_last_waiter_takes_the_call_along(flights, waiters) -> None:
    """When nobody waits any more, the call is cancelled, and is over before they are."""
    call = Call()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(flights.share(KEY, taken(), call.run)) for _ in range(waiters)]
        await turns()
        for task in tasks:
            task.cancel()

    assert all(task.cancelled() for task in tasks)
    assert (call.cancelled, others()) == (1, set())


async def test_nobody_joins_a_call_that_is_being_cancelled(flights) -> None:
    """Who comes while the last one leaves gets a call of their own."""
    leaving, coming = Call(), Call(result="new")
    coming.may_end.set()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(flights.share(KEY, taken(), leaving.run))
        await turns()
        task.cancel()
        joined = group.create_task(flights.share(KEY, taken(), coming.run))

    assert (joined.result(), leaving.cancelled, task.cancelled()) == ("new", 1, True)


async def test_a_call_that_fails_while_it_is_cancelled(flights) -> None:
    """Its error is nobody's any more; the loop must not complain of it."""

    async def fail() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("in the way out")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(flights.share(KEY, taken(), fail))
        await turns()
        task.cancel()

    assert (task.cancelled(), others()) == (True, set())


async def test_a_waiter_cancelled_before_the_call_began(flights) -> None:
    """Cancelled at its first await, a call leaves nothing behind."""
    call = Call()
    async with asyncio.timeout(None) as timeout:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await flights.share(KEY, taken(), call.run)
    assert not timeout.expired()
    assert others() == set()
    assert call.started == call.cancelled


def test_one_key_in_two_loops_is_two_calls() -> None:
    """A call belongs to its event loop, and can't be awaited from another."""
    flights, started = Flights(3), []

    async def run() -> str:
        started.append(1)
        return "session"

    for _ in range(2):
        assert asyncio.run(flights.share(KEY, taken(), run)) == "session"
    assert len(started) == 2


# What a key stands for.


async def test_a_key_in_use_is_refused_to_another_request(flights) -> None:
    """While its call is out, a key stands for that request."""
    call = Call()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(flights.share(KEY, taken(), call.run))
        await turns()
        with pytest.raises(sg.KeyReused) as caught:
            await flights.share(KEY, taken(2), call.run)
        call.may_end.set()

    assert (caught.value.key, caught.value.differing_fields) == ("k", ("amount",))
    assert task.result() == "session"


async def test_a_remembered_key_is_refused_to_another_request(flights) -> None:
    """And after it, as long as it is remembered; another key or another call is free."""
    flights.remember(KEY, taken())

    await flights.share(KEY, taken(), at_once)
    await flights.share(CallKey("session/create", "other"), taken(2), at_once)
    await flights.share(CallKey("session/refund", "k"), taken(2), at_once)
    with pytest.raises(sg.KeyReused, match="these fields differ: amount"):
        await flights.share(KEY, taken(2), at_once)


@pytest.mark.parametrize(
    ("remembered", "keys", "known"),
    [
        (3, "abc", "abc"),
        (3, "abcd", "bcd"),
        (3, "abcad", "cad"),
        (3, "aaaa", "a"),
        (1, "ab", "b"),
        (0, "ab", ""),
        (-1, "ab", ""),
    ],
)
async def test_the_oldest_key_is_forgotten(remembered, keys, known) -> None:
    """Memory is bound; a key that is met again counts as new."""
    flights = Flights(remembered)
    for key in keys:
        flights.remember(CallKey("session/create", key), taken())

    refused = []
    for key in sorted(set(keys)):
        try:
            await flights.share(CallKey("session/create", key), taken(2), at_once)
        except sg.KeyReused:
            refused.append(key)
    assert refused == sorted(known)
