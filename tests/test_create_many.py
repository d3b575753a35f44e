"""create_many: any number of requests, bounded memory, and nothing left behind."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, Final

import pytest
from rawserver import good, serve

import smartglocal_async as sg
from smartglocal_async.emulator import Fault, FaultKind, FaultScript
from smartglocal_async.session_pool import SessionPool

pytestmark = pytest.mark.both_loops

REQUEST: Final = sg.CreateSession(amount_details=sg.AmountDetails(10_000, "usd"))
FIELD: Final = "idempotency_key"


def order(number: int) -> sg.CreateSession:
    """Return the request of one order."""
    return sg.CreateSession(
        amount_details=sg.AmountDetails(100 + number, "usd"), metadata={FIELD: f"order-{number}"}
    )


def generated(number: int) -> Iterator[sg.CreateSession]:
    """Yield requests."""
    yield from map(order, range(number))


async def streamed(number: int) -> AsyncIterator[sg.CreateSession]:
    """Yield requests, as from a database."""
    for each in generated(number):
        await asyncio.sleep(0)
        yield each


class FakeSigner:
    """A signer that does no work; no raw server checks the signature."""

    async def sign(self, body: bytes) -> str:
        """Return a constant signature."""
        del body
        return "c3RhbXA="


async def assert_nothing_is_left(pool: SessionPool) -> None:
    """Check that no task, place or connection is left in use."""
    stats = pool.stats()
    assert (stats.calls, stats.sending, stats.waiting) == (0, 0, 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not (await pool.enter()).session.connector._acquired


class TestThousand:
    """A thousand orders at once, while one attempt in ten fails."""

    async def test_one_session_per_order(self, run_provider, connect, clock) -> None:
        """Every order has one session, and nothing is left behind."""
        provider = run_provider(faults=FaultScript.drops(0.1, seed=7))
        policy = sg.RetryPolicy(attempts=8, deadline_seconds=1e6, budget_tokens=10_000)
        settings = sg.Settings(retry=policy, timing=clock.timing())
        async with SessionPool() as pool:
            api = connect(provider, settings=settings, pool=pool)
            outcomes = [
                each
                async for each in api.session.create_many(
                    [order(number) for number in range(1_000)], concurrency=1_000
                )
            ]

            assert {each.outcome for each in outcomes} == {sg.CallOutcome.SUCCEEDED}
            await assert_nothing_is_left(pool)
            assert pool.stats().signatures == 1_000
            connector = (await pool.enter()).session.connector
        assert connector.closed
        assert not connector._conns
        gc.collect()

        assert sorted(each.index for each in outcomes) == list(range(1_000))
        assert {each.session.metadata[FIELD] for each in outcomes} == {
            f"order-{number}" for number in range(1_000)
        }
        report = provider.report()
        assert (report.sessions, report.duplicates, report.changed) == (1_000, 0, 0)
        assert sum(report.faults.values()) > 50
        assert sum(each.attempts for each in outcomes) == pool.stats().attempts > 1_050


class TestSources:
    """Sources of requests."""

    @pytest.mark.parametrize(
        "make",
        [
            lambda: [order(number) for number in range(7)],
            lambda: tuple(order(number) for number in range(7)),
            partial(generated, 7),
            partial(streamed, 7),
            {number: order(number) for number in range(7)}.values,
        ],
        ids=["list", "tuple", "generator", "async generator", "view"],
    )
    @pytest.mark.parametrize("concurrency", [1, 3, 64])
    async def test_any_iterable(self, api, make: Callable[[], Any], concurrency: int) -> None:
        """Any iterable, with more places than items or fewer."""
        outcomes = [each async for each in api.session.create_many(make(), concurrency=concurrency)]

        by_index = {each.index: each for each in outcomes}
        assert [by_index[number].key for number in range(7)] == [
            f"order-{number}" for number in range(7)
        ]
        assert all(each.request == order(each.index) for each in outcomes)
        assert all(each.error is None and each.attempts == 1 for each in outcomes)

    async def test_no_requests(self, api) -> None:
        """No requests, no outcomes."""
        assert [each async for each in api.session.create_many([])] == []

    async def test_pulled_only_as_fast_as_fetched(self) -> None:
        """However long the source is, only a bounded number of its items is in use."""
        concurrency, pulled = 3, 0

        def endless() -> Iterator[sg.CreateSession]:
            nonlocal pulled
            while True:
                pulled += 1
                yield REQUEST

        with serve(good) as server:
            async with sg.SmartGlocal("demo", FakeSigner(), server.url) as api:
                outcomes = api.session.create_many(endless(), concurrency=concurrency)
                async with contextlib.aclosing(outcomes):
                    assert pulled == 0
                    for fetched in range(1, 40):
                        await anext(outcomes)
                        assert pulled <= fetched + 2 * concurrency

    @pytest.mark.parametrize("is_async", [False, True])
    async def test_a_source_that_breaks(self, api, provider, *, is_async: bool) -> None:
        """Items already taken are settled and returned; then the source's exception is raised."""

        def broken() -> Iterator[sg.CreateSession]:
            yield from generated(5)
            raise KeyError("the file ends here")

        async def broken_stream() -> AsyncIterator[sg.CreateSession]:
            for each in broken():
                yield each

        outcomes = []

        async def settle() -> None:
            source = broken_stream() if is_async else broken()
            async for each in api.session.create_many(source, concurrency=2):
                outcomes.append(each)  # noqa: PERF401 - what came before the exception counts

        with pytest.raises(KeyError, match="the file ends here"):
            await settle()

        assert sorted(each.index for each in outcomes) == [0, 1, 2, 3, 4]
        assert provider.report().sessions == 5
        await assert_nothing_is_left(api._pool)

    @pytest.mark.parametrize("concurrency", [0, -1, True, 1.5, "2", None])
    async def test_a_wrong_concurrency(self, api, concurrency: Any) -> None:
        """An invalid number of workers is refused."""
        with pytest.raises(sg.InvalidRequest, match="concurrency"):
            await anext(aiter(api.session.create_many([REQUEST], concurrency=concurrency)))


class TestOutcomes:
    """Each request has its own outcome."""

    async def test_one_failure_stops_no_other(self, run_provider, connect, clock) -> None:
        """Refused, lost, invalid and successful requests each have their own outcome."""
        faults = FaultScript(
            (
                Fault(FaultKind.REDIRECT, key="refused", rate=1),
                Fault(FaultKind.AFTER, key="lost", rate=1),
                Fault(FaultKind.BEFORE, key="late", nth=(1,)),
            )
        )
        provider = run_provider(faults=faults)
        api = connect(provider, settings=sg.Settings(timing=clock.timing()))
        requests = [
            *(sg.CreateSession(metadata={FIELD: name}) for name in ("refused", "lost", "late")),
            sg.CreateSession(metadata={FIELD: 7}),
            sg.SessionRef("ps_1"),
            sg.CreateSession(metadata={FIELD: "good"}),
        ]

        outcomes = [each async for each in api.session.create_many(requests)]

        assert [
            (each.outcome, type(each.error), each.key, each.attempts)
            for each in sorted(outcomes, key=lambda each: each.index)
        ] == [
            (sg.CallOutcome.REFUSED, sg.Refused, "refused", 1),
            (sg.CallOutcome.UNKNOWN, sg.OutcomeUnknown, "lost", 3),
            (sg.CallOutcome.SUCCEEDED, type(None), "late", 2),
            (sg.CallOutcome.NOT_SENT, sg.InvalidRequest, None, 0),
            (sg.CallOutcome.NOT_SENT, sg.InvalidRequest, None, 0),
            (sg.CallOutcome.SUCCEEDED, type(None), "good", 1),
        ]

    async def test_keys_of_the_callers_choice(self, api, provider) -> None:
        """A function sets the key of each request."""
        amounts = range(1, 5)
        requests = [sg.CreateSession(amount_details=sg.AmountDetails(n, "usd")) for n in amounts]

        outcomes = [
            each
            async for each in api.session.create_many(
                requests, keys=lambda each: f"amount-{each.amount_details.amount}"
            )
        ]

        assert {each.key for each in outcomes} == {f"amount-{n}" for n in amounts}
        assert all(provider.order(f"amount-{n}").made == 1 for n in amounts)

    async def test_one_key_for_two_requests(self, api) -> None:
        """The second request with a key is refused and not sent."""
        outcomes = [
            each
            async for each in api.session.create_many(
                [order(1), order(2)], keys=lambda _: None, concurrency=1
            )
        ]
        again = [
            each
            async for each in api.session.create_many(
                [sg.CreateSession(metadata={FIELD: "order-1"})], concurrency=1
            )
        ]

        assert [each.error for each in outcomes] == [None, None]
        assert [type(each.error) for each in again] == [sg.KeyReused]

    async def test_keys_that_break(self, api) -> None:
        """A request fails alone if the key function raises for it."""

        def keys(request: sg.CreateSession) -> str:
            if request.metadata[FIELD] == "order-3":
                raise LookupError
            return request.metadata[FIELD]

        outcomes = [each async for each in api.session.create_many(generated(9), keys=keys)]

        failed = [each for each in outcomes if each.error is not None]
        assert [str(each.error) for each in failed] == ["keys: raised LookupError for this request"]
        assert (len(outcomes), failed[0].index) == (9, 3)
        assert isinstance(failed[0].error.__cause__, LookupError)
        await assert_nothing_is_left(api._pool)


class TestEnd:
    """Leaving before the end."""

    async def test_early(self, run_provider, connect) -> None:
        """All calls in flight end at once."""
        provider = run_provider(faults=FaultScript((Fault(FaultKind.HANG, key="order-3", rate=1),)))
        api = connect(provider)

        async with contextlib.aclosing(
            api.session.create_many(generated(9), concurrency=4)
        ) as all_:
            async for _ in all_:
                break

        await assert_nothing_is_left(api._pool)
        assert (await api.session.create(REQUEST)).id

    async def test_early_closes_an_asynchronous_generator(self, api) -> None:
        """The source of the requests may hold a cursor or a connection."""
        closed = []

        async def requests() -> AsyncGenerator[sg.CreateSession]:
            try:
                while True:
                    yield REQUEST
            finally:
                closed.append(True)

        async with contextlib.aclosing(api.session.create_many(requests())) as outcomes:
            async for _ in outcomes:
                break
        assert closed == [True]

    async def test_async_keys_are_refused(self, api) -> None:
        """They would have to be awaited."""

        async def key(_request: sg.CreateSession) -> str:
            return "k"

        with pytest.raises(sg.InvalidRequest, match="keys: is an async function"):
            api.session.create_many([REQUEST], keys=key)

    async def test_cancelled(self, run_provider, connect) -> None:
        """A cancelled batch cancels its calls."""
        arrived, loop = asyncio.Semaphore(0), asyncio.get_running_loop()
        # In debug mode uvloop walks the stack, and CPython 3.12.1 and 3.13.0 crash on this one.
        loop.set_debug(False)
        provider = run_provider(
            faults=FaultScript((Fault(FaultKind.HANG, rate=1),)),
            on_request=lambda _: loop.call_soon_threadsafe(arrived.release),
        )
        api = connect(provider)

        async def settle() -> None:
            async for _ in api.session.create_many(streamed(9), concurrency=4):
                pass

        async with asyncio.TaskGroup() as group:
            batch = group.create_task(settle())
            for _ in range(4):
                await arrived.acquire()
            batch.cancel()

        assert batch.cancelled()
        await assert_nothing_is_left(api._pool)

    async def test_a_pool_that_closes(self, api) -> None:
        """A client that is closed in the middle ends the batch; the rest isn't tried."""
        outcomes = api.session.create_many(generated(100), concurrency=1)
        await anext(outcomes)
        await api.drain()

        with pytest.raises(sg.PoolClosed):
            async for _ in outcomes:
                pass
        assert asyncio.all_tasks() == {asyncio.current_task()}
