"""One call per key at a time, and one request per key."""

import asyncio
import contextlib
import sys
import tracemalloc
from collections.abc import Coroutine
from functools import partial
from typing import Any

import pytest
from attrs import define, field

import smartglocal_async as sg
from smartglocal_async.idempotency import RequestDigest, request_digest
from smartglocal_async.in_flight import CallKey, InFlight, StillInFlight

pytestmark = pytest.mark.both_loops


def taken(amount: int = 1) -> RequestDigest:
    """Take the digest of a request for an amount."""
    return request_digest({"amount_details": b"%d" % amount}, b"secret")


KEY = CallKey("session/create", "k")


@define(eq=False)
class Call:
    """A call that ends when a test allows it, and records what happened to it."""

    started: int = 0
    cancelled: int = 0
    may_end: asyncio.Event = field(factory=asyncio.Event)
    result: object = "session"

    async def run(self) -> object:
        """Wait; return the result, or raise it."""
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
def in_flight() -> InFlight:
    """Return in_flight that remember three keys."""
    return InFlight(3)


async def turns(number: int = 5) -> None:
    """Let everything that is ready run."""
    for _ in range(number):
        await asyncio.sleep(0)


async def at_once() -> str:
    """Make a call that takes no time."""
    return "session"


def others() -> set[asyncio.Task[Any]]:
    """Return the tasks that run beside the test."""
    current = asyncio.current_task()
    return {task for task in asyncio.all_tasks() if task is not current}


async def outcome_of(call: Coroutine[Any, Any, object]) -> object:
    """Await a call, and return its error as the result."""
    try:
        return await call
    except Exception as error:  # noqa: BLE001 - handed to the test
        return error


@pytest.mark.parametrize("waiters", [1, 2, 10])
async def test_waiters_of_one_key_share_one_call(in_flight, waiters) -> None:
    """However many ask, the provider is asked once, and all get the same object."""
    call = Call(result=object())
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(in_flight.share(KEY, taken(), call.run)) for _ in range(waiters)]
        await turns()
        call.may_end.set()

    assert {task.result() for task in tasks} == {call.result}
    assert (call.started, others()) == (1, set())


async def test_waiters_share_a_failure(in_flight) -> None:
    """The one error reaches everyone who waits."""
    call = Call(result=ValueError("no"))
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(outcome_of(in_flight.share(KEY, taken(), call.run))) for _ in range(3)
        ]
        await turns()
        call.may_end.set()

    assert [task.result() for task in tasks] == [call.result] * 3


async def test_keys_do_not_wait_for_each_other(in_flight) -> None:
    """Another key is another call."""
    slow, quick = Call(), Call(result="quick")
    quick.may_end.set()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(
            in_flight.share(CallKey("session/create", "slow"), taken(), slow.run)
        )
        assert (
            await in_flight.share(CallKey("session/create", "quick"), taken(), quick.run) == "quick"
        )
        assert not waiting.done()
        slow.may_end.set()


async def test_a_call_that_landed_is_not_shared(in_flight) -> None:
    """The next call with the key is sent again: the answer is not cached."""
    call = Call()
    call.may_end.set()

    await in_flight.share(KEY, taken(), call.run)
    await turns()
    await in_flight.share(KEY, taken(), call.run)

    assert call.started == 2


@pytest.mark.parametrize("leaving", [0, 1, 2])
async def test_a_waiter_that_leaves_leaves_the_call_to_the_others(in_flight, leaving) -> None:
    """Being cancelled is one's own affair, also for the one who began."""
    call = Call()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(in_flight.share(KEY, taken(), call.run)) for _ in range(3)]
        await turns()
        tasks[leaving].cancel()
        await turns()
        assert (tasks[leaving].cancelled(), call.cancelled) == (True, 0)
        call.may_end.set()

    assert [task.result() for task in tasks if not task.cancelled()] == ["session"] * 2


@pytest.mark.parametrize("waiters", [1, 3])
async def test_the_last_waiter_takes_the_call_along(in_flight, waiters) -> None:
    """When no caller waits any more, the call is cancelled, and ends before they do."""
    call = Call()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(in_flight.share(KEY, taken(), call.run)) for _ in range(waiters)]
        await turns()
        for task in tasks:
            task.cancel()

    assert all(task.cancelled() for task in tasks)
    assert (call.cancelled, others()) == (1, set())


async def test_nobody_joins_a_call_that_is_being_cancelled(in_flight) -> None:
    """Who comes while the last one leaves gets a call of their own."""
    leaving, coming = Call(), Call(result="new")
    coming.may_end.set()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(in_flight.share(KEY, taken(), leaving.run))
        await turns()
        task.cancel()
        await asyncio.sleep(0)
        joined = group.create_task(in_flight.share(KEY, taken(), coming.run))

    assert (joined.result(), leaving.cancelled, task.cancelled()) == ("new", 1, True)


async def test_a_call_that_fails_while_it_is_cancelled(in_flight) -> None:
    """No caller takes its error any more; the event loop must not report it."""

    async def fail() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("in the way out")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(in_flight.share(KEY, taken(), fail))
        await turns()
        task.cancel()

    assert (task.cancelled(), others()) == (True, set())


async def test_a_waiter_cancelled_before_the_call_began(in_flight) -> None:
    """Cancelled at its first await, a call leaves nothing behind."""
    call = Call()
    async with asyncio.timeout(None) as timeout:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await in_flight.share(KEY, taken(), call.run)
    assert not timeout.expired()
    assert others() == set()
    assert call.started == call.cancelled


def test_one_key_in_two_loops_is_two_calls() -> None:
    """A call belongs to its event loop, and can't be awaited from another."""
    in_flight, started = InFlight(3), []

    async def run() -> str:
        started.append(1)
        return "session"

    for _ in range(2):
        assert asyncio.run(in_flight.share(KEY, taken(), run)) == "session"
    assert len(started) == 2


# The request of a key.


async def test_a_key_in_use_is_refused_to_another_request(in_flight) -> None:
    """While its call is in flight, a key belongs to that request."""
    call = Call()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(in_flight.share(KEY, taken(), call.run))
        await turns()
        with pytest.raises(sg.KeyReused) as caught:
            await in_flight.share(KEY, taken(2), call.run)
        call.may_end.set()

    assert (caught.value.key, caught.value.differing_fields) == ("k", ("amount_details",))
    assert task.result() == "session"


async def test_a_remembered_key_is_refused_to_another_request(in_flight) -> None:
    """And after it, as long as it is remembered; another key or another call is free."""
    in_flight.resolve(KEY, taken())

    await in_flight.share(KEY, taken(), at_once)
    await in_flight.share(CallKey("session/create", "other"), taken(2), at_once)
    await in_flight.share(CallKey("session/refund", "k"), taken(2), at_once)
    with pytest.raises(sg.KeyReused, match="these fields differ: amount_details"):
        await in_flight.share(KEY, taken(2), at_once)


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
    in_flight = InFlight(remembered)
    for key in keys:
        in_flight.resolve(CallKey("session/create", key), taken())

    refused = []
    for key in sorted(set(keys)):
        try:
            await in_flight.share(CallKey("session/create", key), taken(2), at_once)
        except sg.KeyReused:
            refused.append(key)
    assert refused == sorted(known)


# Calls that move money.

PAYOUT = CallKey("session/init/payout", "k", moves_money=True)


def test_a_payout_is_not_forgotten_for_creates() -> None:
    """Keys of calls that move money have a memory of their own."""
    in_flight = InFlight(3)
    in_flight.remember(PAYOUT, taken())
    in_flight.resolve(PAYOUT, taken())
    for number in range(100):
        key = CallKey("session/create", f"c-{number}")
        in_flight.remember(key, taken())
        in_flight.resolve(key, taken())

    assert in_flight.is_used(PAYOUT)
    assert not in_flight.is_used(CallKey("session/create", "c-0"))


@pytest.mark.parametrize("remembered", [1, 3])
def test_a_payout_whose_outcome_is_unknown_is_never_forgotten(remembered) -> None:
    """However many others settle, and however many others are unknown."""
    in_flight = InFlight(remembered)
    unknown = [CallKey(PAYOUT.operation, f"u-{number}", moves_money=True) for number in range(20)]
    for key in unknown:
        in_flight.remember(key, taken())
    for number in range(20):
        key = CallKey(PAYOUT.operation, f"s-{number}", moves_money=True)
        in_flight.remember(key, taken())
        in_flight.resolve(key, taken())

    assert all(map(in_flight.is_used, unknown))
    assert not in_flight.is_used(CallKey(PAYOUT.operation, "s-0", moves_money=True))


def test_a_key_that_left_stands_for_its_request() -> None:
    """From the moment a request may be out; freed where nothing came of it."""
    in_flight = InFlight(3)
    assert in_flight.remember(PAYOUT, taken())
    assert not in_flight.remember(PAYOUT, taken())
    with pytest.raises(sg.KeyReused, match="amount_details"):
        in_flight.remember(PAYOUT, taken(2))
    in_flight.forget(PAYOUT)
    assert in_flight.remember(PAYOUT, taken(2))


@pytest.mark.parametrize(
    ("moves_money", "is_settled"),
    [(False, True), (True, True), (True, False)],
    ids=["harmless", "money, settled", "money, unknown"],
)
@pytest.mark.parametrize("operation", ["session/create", "session/init/payout", "a/free/call"])
def test_ten_thousand_keys_fit_into_two_megabytes(operation, moves_money, is_settled) -> None:
    """For requests with every top-level field, which are the largest."""
    fields = ("payment_method", "amount_details", "participant_details", "customer", "metadata")
    in_flight = InFlight(10_000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(12_000 if is_settled else 10_000):
            key = CallKey(operation, f"{number:036d}", moves_money=moves_money)
            digest = request_digest(dict.fromkeys(fields, b"%d" % number), b"secret")
            if moves_money:
                in_flight.remember(key, digest)
            if is_settled:
                in_flight.resolve(key, digest)
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    last, first = (
        in_flight.is_used(CallKey(operation, f"{number:036d}", moves_money=moves_money))
        for number in (11_999 if is_settled else 9_999, 1_999)
    )
    assert (last, first) == (True, not is_settled)
    assert kept <= 2_000_000


async def test_no_lock_is_held_while_a_task_is_made(in_flight) -> None:
    """A task factory may run any code at once, as the eager one does: it asks for keys, too."""
    seen = []

    def factory(loop: Any, coro: Any, **options: Any) -> asyncio.Task[Any]:
        free = in_flight._lock.acquire(blocking=False)
        if free:
            in_flight._lock.release()
        seen.append(free)
        return asyncio.Task(coro, loop=loop, **options)

    asyncio.get_running_loop().set_task_factory(factory)
    assert await in_flight.share(KEY, taken(), at_once) == "session"
    assert seen == [True]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_tasks_share_a_call() -> None:
    """A call that runs while its task is created uses its own key, and is still shared."""

    async def main() -> list[object]:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        in_flight, call = InFlight(3), Call(result=object())

        async def start() -> object:
            assert not in_flight.is_in_other_loop(KEY)
            in_flight.remember(KEY, taken())
            return await call.run()

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(in_flight.share(KEY, taken(), start)) for _ in range(3)]
            await turns()
            call.may_end.set()
        assert call.started == 1
        return [task.result() is call.result for task in tasks]

    assert asyncio.run(main()) == [True, True, True]


async def test_a_task_factory_that_fails_leaves_no_flight(in_flight) -> None:
    """The next call of the key is made."""
    loop = asyncio.get_running_loop()

    def fail(_loop: Any, coro: Any, **_options: Any) -> asyncio.Task[Any]:
        coro.close()
        raise RuntimeError("no tasks today")

    loop.set_task_factory(fail)
    with pytest.raises(RuntimeError, match="no tasks today"):
        await in_flight.share(KEY, taken(), at_once)
    loop.set_task_factory(None)
    assert await in_flight.share(KEY, taken(), at_once) == "session"


async def fail() -> None:
    """Make a call that fails at once."""
    raise ValueError("no")


async def cancelled(sharing: Coroutine[Any, Any, object], *, after_turns: int) -> None:
    """Await a call, and cancel it after some turns of the event loop."""
    task = asyncio.ensure_future(sharing)
    await turns(after_turns)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def refused_task(sharing: Coroutine[Any, Any, object]) -> None:
    """Await a call in an event loop that makes no tasks."""

    def refuse(_loop: Any, coro: Any, **_options: Any) -> asyncio.Task[Any]:
        coro.close()
        raise RuntimeError("no tasks")

    loop = asyncio.get_running_loop()
    loop.set_task_factory(refuse)
    try:
        with pytest.raises(RuntimeError, match="no tasks"):
            await sharing
    finally:
        loop.set_task_factory(None)


ENDINGS = {
    "answered": (at_once, outcome_of),
    "failed": (fail, outcome_of),
    "cancelled before its first step": (at_once, partial(cancelled, after_turns=1)),
    "cancelled in its work": (lambda: Call().run(), partial(cancelled, after_turns=5)),
    "refused by the task factory": (at_once, refused_task),
}


@pytest.mark.parametrize(("start", "ends"), ENDINGS.values(), ids=ENDINGS.keys())
@pytest.mark.parametrize("key", [KEY, CallKey("session/confirm", "k", moves_money=True)])
async def test_nothing_is_kept_of_a_call_that_ended(in_flight, start, ends, key) -> None:
    """However it ended: what is kept for its key would grow with each new one."""
    await ends(in_flight.share(key, taken(), start))
    assert in_flight._calls == {}


async def test_the_next_call_waits_for_one_that_is_being_cancelled(in_flight) -> None:
    """What runs on its way out may send still; two requests under one key never overlap."""
    steps, may_go = [], asyncio.Event()

    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            steps.append("cancelled")
            await may_go.wait()
            steps.append("over")
            raise
        return "never"

    async def following() -> str:
        steps.append("next")
        return "next"

    async with asyncio.TaskGroup() as group:
        first = group.create_task(in_flight.share(KEY, taken(), stubborn))
        await turns()
        first.cancel()
        await turns()
        second = group.create_task(in_flight.share(KEY, taken(), following))
        with pytest.raises(sg.KeyReused):
            await in_flight.share(KEY, taken(2), following)
        await turns()
        assert steps == ["cancelled"]
        may_go.set()

    assert (steps, second.result()) == (["cancelled", "over", "next"], "next")


# The deadlines of joined calls.


async def test_who_joins_keeps_a_sooner_deadline(in_flight) -> None:
    """It doesn't learn that nothing happened: the call goes on for the others."""
    call = Call()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(in_flight.share(KEY, taken(), call.run))
        await turns()
        with pytest.raises(StillInFlight):
            await in_flight.share(KEY, taken(), call.run, lambda: -1.0)
        assert (first.done(), call.cancelled) == (False, 0)
        call.may_end.set()
    assert first.result() == "session"


async def test_who_joins_keeps_a_later_deadline(in_flight) -> None:
    """A call that ran out of its own time is made again for who has more."""
    hasty = Call(result=sg.NotSent("session/create", stopped_by="deadline"))
    patient = Call(result="later")
    patient.may_end.set()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(outcome_of(in_flight.share(KEY, taken(), hasty.run)))
        await turns()
        second = group.create_task(in_flight.share(KEY, taken(), patient.run, lambda: 30.0))
        await turns()
        hasty.may_end.set()

    assert (first.result(), second.result()) == (hasty.result, "later")


@pytest.mark.parametrize("stopped_by", ["attempts", "budget", None])
async def test_who_joins_shares_every_other_failure(in_flight, stopped_by) -> None:
    """Only a lack of time is the first one's own affair."""
    failing = Call(result=sg.NotSent("session/create", stopped_by=stopped_by))
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(outcome_of(in_flight.share(KEY, taken(), failing.run, lambda: 30.0)))
            for _ in range(2)
        ]
        await turns()
        failing.may_end.set()

    assert [task.result() for task in tasks] == [failing.result] * 2
    assert failing.started == 1
