"""A caller's cancellation, at every point where a call can be suspended."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import pytest
from pooled import slot

import smartglocal_async as sg
from smartglocal_async.emulator import Fault, FaultKind, FaultScript
from smartglocal_async.session_pool import SessionPool

pytestmark = pytest.mark.both_loops

REQUEST: Final = sg.CreateSession(amount_details=sg.AmountDetails(10_000, "usd"))
FAULTS: Final = FaultScript(
    (Fault(FaultKind.AFTER, nth=(1,)), Fault(FaultKind.THROTTLE, nth=(2,), seconds=1))
)
MOST_POINTS: Final = 200


class Sweep:
    """Counts the suspensions of all tasks, and cancels the work at one of them."""

    def __init__(self, point: int, *, late: bool) -> None:
        self.left = point
        self.late = late
        self.work: asyncio.Task[Any] | None = None

    def suspended(self, awaited: asyncio.Future[Any] | None) -> None:
        """Cancel the work now, or once the awaited result is there and the wake-up scheduled."""
        self.left -= 1
        if self.left != -1 or self.work is None:
            return
        if self.late and awaited is not None:
            # Before the task's own callback, because it was added first.
            awaited.add_done_callback(lambda _: self.work.cancel())
        else:
            self.work.cancel()

    def make_task(
        self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
    ) -> asyncio.Task[Any]:
        """Make a task whose suspensions are counted."""
        return asyncio.Task(Stepping(self, coro), loop=loop, **options)


class Stepping(Coroutine[Any, Any, Any]):
    """A coroutine that reports each of its suspensions."""

    def __init__(self, sweep: Sweep, inner: Coroutine[Any, Any, Any]) -> None:
        self.sweep = sweep
        self.inner = inner

    def send(self, value: Any) -> Any:
        """Continue to the next suspension."""
        return self._report(self.inner.send(value))

    def throw(self, *error: Any) -> Any:
        """Continue with an error."""
        return self._report(self.inner.throw(*error))

    def close(self) -> None:
        """End early."""
        self.inner.close()

    def __await__(self) -> Any:
        return self.inner.__await__()

    def _report(self, awaited: Any) -> Any:
        self.sweep.suspended(awaited)
        return awaited


async def cancel_at(point: int, work: Coroutine[Any, Any, Any], *, late: bool) -> bool:
    """Cancel work at its n-th suspension, in any of its tasks; return whether it was cancelled.

    ``late`` cancels when the awaited result has just arrived and the wake-up is scheduled.
    """
    loop = asyncio.get_running_loop()
    sweep = Sweep(point, late=late)
    loop.set_task_factory(sweep.make_task)
    try:
        sweep.work = task = loop.create_task(work)
        await asyncio.wait([task])
    finally:
        loop.set_task_factory(None)
    if not task.cancelled():
        task.result()
    return task.cancelled()


async def assert_clean(pool: SessionPool, limit: int) -> None:
    """Check that nothing of a call is left: no place, no count, no task, no connection."""
    stats = pool.stats()
    assert (stats.calls, stats.sending, stats.waiting) == (0, 0, 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    if stats.loops:
        loop_state = await pool.enter()
        assert (loop_state.sending, loop_state.waiting, loop_state.limit) == (0, 0, limit)
        assert not loop_state.session.connector._acquired


lates = pytest.mark.parametrize("late", [False, True], ids=["while waiting", "while waking"])


class TestSweep:
    """Cancelled at the first suspension, at the second, and so on to the last."""

    @lates
    @pytest.mark.parametrize("has_key", [False, True], ids=["no key", "own key"])
    async def test_a_call(self, run_provider, connect, clock, *, has_key: bool, late: bool) -> None:
        """The cancellation is raised at any point, and the client still works."""
        provider = run_provider(faults=FAULTS)
        for point in range(MOST_POINTS):
            async with SessionPool(2) as pool:
                settings = sg.Settings(timing=clock.timing())
                api = connect(provider, pool=pool, settings=settings)
                name = f"order-{point}"
                call = api.session.create(REQUEST, key=name if has_key else None)

                was_cancelled = await cancel_at(point, call, late=late)

                await assert_clean(pool, 2)
                assert (await api.session.create(REQUEST, key=name)).status == "created"
                await assert_clean(pool, 2)
                assert provider.order(name).made <= 1
            if not was_cancelled:
                break
        assert 5 < point < MOST_POINTS - 1

    @lates
    async def test_a_batch(self, run_provider, connect, clock, *, late: bool) -> None:
        """A batch that is cancelled at any point leaves nothing running."""
        provider = run_provider(faults=FAULTS)

        async def settle(api: sg.SmartGlocal) -> int:
            made = [each async for each in api.session.create_many([REQUEST] * 2, concurrency=2)]
            return len(made)

        for point in range(MOST_POINTS):
            async with SessionPool(2) as pool:
                settings = sg.Settings(timing=clock.timing())
                api = connect(provider, pool=pool, settings=settings)

                was_cancelled = await cancel_at(point, settle(api), late=late)

                await assert_clean(pool, 2)
                assert await settle(api) == 2
            if not was_cancelled:
                break
        assert 15 < point < MOST_POINTS - 1

    @lates
    async def test_waiting_for_a_slot(self, *, late: bool) -> None:
        """A place that is assigned just as its waiter is cancelled goes to the next."""

        async def attempt() -> None:
            async with slot(loop_state, 10):
                await asyncio.sleep(0)

        async with SessionPool(1) as pool:
            loop_state = await pool.enter()
            for point in range(MOST_POINTS):
                go_on = asyncio.Event()
                async with asyncio.TaskGroup() as group:

                    async def hold(go_on: asyncio.Event = go_on) -> None:
                        async with slot(loop_state, 10):
                            await go_on.wait()

                    group.create_task(hold())
                    await asyncio.sleep(0)
                    asyncio.get_running_loop().call_later(0.001, go_on.set)
                    was_cancelled = await cancel_at(point, attempt(), late=late)
                    go_on.set()
                async with asyncio.timeout(10):
                    await attempt()
                await assert_clean(pool, 1)
                if not was_cancelled:
                    break
            assert 1 <= point < MOST_POINTS - 1


class TestTimeout:
    """The caller's own time-out."""

    @pytest.mark.parametrize("own_key", [None, "order-1"])
    async def test_is_honoured(self, run_provider, connect, own_key: str | None) -> None:
        """``asyncio.timeout`` around a call ends it, even if the client would wait longer."""
        hangs = Fault(FaultKind.HANG, key='"slow shop"', rate=1)
        provider = run_provider(faults=FaultScript((hangs,)))
        async with SessionPool() as pool:
            api = connect(provider, pool=pool)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await api.session.create(sg.CreateSession(metadata="slow shop"), key=own_key)
            await assert_clean(pool, 100)
            assert (await api.session.create(REQUEST)).id

    async def test_while_waiting_to_try_again(self, run_provider, connect) -> None:
        """A wait between attempts ends at once."""
        fault = Fault(FaultKind.THROTTLE, rate=1, seconds=20)
        waiting = asyncio.Event()

        async def sleep(seconds: float) -> None:
            waiting.set()
            await asyncio.sleep(seconds)

        provider = run_provider(faults=FaultScript((fault,)))
        async with SessionPool() as pool:
            settings = sg.Settings(timing=sg.Timing(sleep=sleep))
            api = connect(provider, pool=pool, settings=settings)
            call = asyncio.ensure_future(api.session.create(REQUEST))
            await waiting.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await assert_clean(pool, 100)
