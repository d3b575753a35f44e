"""Events are delivered to observers, which can't disturb a call."""

import asyncio
import logging

import pytest
from observing import attempts_into
from paying import QUICK, order

import smartglocal_async as sg
from smartglocal_async.emulator import Fault, FaultKind, FaultScript, Rules
from smartglocal_async.observer import (
    AttemptEnded,
    AttemptStarted,
    BatchPhase,
    BatchProgress,
    CallEnded,
    CallHeld,
    CallStarted,
    ClientPaused,
    JournalWritten,
    KeyShared,
    ObserverEvent,
    PayoutEnded,
    PayoutsHaltRaised,
    PayoutStarted,
    PoolWaited,
    RequestSigned,
    RetryScheduled,
    only,
)

REQUEST = sg.CreateSession(metadata={"order": 1})


def settings(events: list[ObserverEvent], clock=None, **options) -> sg.Settings:
    """Return settings that append every event."""
    timing = sg.Timing() if clock is None else clock.timing()
    return sg.Settings(observers=[events.append], timing=timing, **options)


def faulty(run_provider, *faults: Fault, **options):
    """Return a provider with these faults."""
    return run_provider(faults=FaultScript(faults), **options)


class TestCalls:
    """The events of calls."""

    async def test_a_call(self, provider, connect) -> None:
        """Started, sent, signed, ended; all with the number of the call."""
        events: list[ObserverEvent] = []
        session = await connect(provider, settings=settings(events)).session.create(
            REQUEST, key="a"
        )

        kinds = [CallStarted, AttemptStarted, RequestSigned, AttemptEnded, CallEnded]
        assert [type(event) for event in events] == kinds
        assert len({event.call for event in events}) == 1
        started, sent, _, attempt, ended = events
        assert (started.operation, started.key, started.moves_money) == (
            "session/create",
            "a",
            False,
        )
        assert (sent.method, sent.url) == ("POST", f"{provider.url}/api/v1/session/create")
        assert (attempt.happened, attempt.http_status) == (sg.AttemptResult.ACCEPTED, 200)
        assert (ended.outcome, ended.attempts, ended.error) == ("succeeded", 1, None)
        assert ended.session_id == session.id
        assert ended.budget_tokens == 500

    async def test_retries(self, run_provider, connect, clock) -> None:
        """Each wait has its reason; a 429 pauses the client; the signature is made once."""
        events: list[ObserverEvent] = []
        provider = faulty(
            run_provider,
            Fault(FaultKind.GARBAGE, nth=(1,)),
            Fault(FaultKind.THROTTLE, nth=(2,), seconds=2),
        )
        _ = await connect(provider, settings=settings(events, clock)).session.create(
            REQUEST, key="a"
        )

        waits = [event for event in events if isinstance(event, RetryScheduled)]
        assert [(wait.attempt, wait.happened, wait.http_status) for wait in waits] == [
            (1, sg.AttemptResult.UNKNOWN, 200),
            (2, sg.AttemptResult.REFUSED_FOR_NOW, 429),
        ]
        assert waits[1].seconds >= 2
        assert waits[0].cause == "the answer isn't JSON, or was cut short"
        pauses = [event for event in events if isinstance(event, ClientPaused)]
        assert [pause.seconds for pause in pauses] == [2.0]
        assert sum(isinstance(event, RequestSigned) for event in events) == 1
        assert events[-1].attempts == 3
        assert events[-1].outcome == "succeeded"

    async def test_the_attempts(self, run_provider, connect, clock) -> None:
        """`only` passes on the events of one class."""
        found: list[AttemptEnded] = []
        provider = faulty(run_provider, Fault(FaultKind.GARBAGE, nth=(1,)))
        options = sg.Settings(timing=clock.timing(), observers=attempts_into(found))
        _ = await connect(provider, settings=options).session.create(REQUEST, key="a")

        assert [(each.attempt, each.happened, each.key) for each in found] == [
            (1, sg.AttemptResult.UNKNOWN, "a"),
            (2, sg.AttemptResult.ACCEPTED, "a"),
        ]

    async def test_a_call_that_is_held(self, run_provider, connect, clock) -> None:
        """Another call of the client waits until the pause is over."""
        events: list[ObserverEvent] = []
        provider = faulty(run_provider, Fault(FaultKind.THROTTLE, nth=(1,), seconds=2))
        api = connect(provider, settings=settings(events, clock))
        with pytest.raises(sg.Refused):
            _ = await api.session.create(REQUEST, attempts=1)
        _ = await api.session.create(REQUEST)

        [held] = [event for event in events if isinstance(event, CallHeld)]
        assert held.seconds >= 2
        assert not held.gave_up

    async def test_the_end_of_a_failed_call(self, run_provider, connect, clock) -> None:
        """It has what the error has."""
        events: list[ObserverEvent] = []
        provider = faulty(run_provider, Fault(FaultKind.GARBAGE, rate=1))
        with pytest.raises(sg.OutcomeUnknown) as caught:
            _ = await connect(provider, settings=settings(events, clock)).session.create(REQUEST)

        error, ended = caught.value, events[-1]
        assert isinstance(ended, CallEnded)
        assert (ended.outcome, ended.error) == ("unknown", "OutcomeUnknown")
        assert (ended.attempts, ended.stopped_by) == (3, "attempts")
        assert (ended.http_status, ended.cause) == (error.http_status, error.cause)

    async def test_a_cancelled_call(self, run_provider, connect) -> None:
        """The attempt has no result, and the call is cancelled."""
        events: list[ObserverEvent] = []
        arrived, loop = asyncio.Event(), asyncio.get_running_loop()
        provider = faulty(
            run_provider,
            Fault(FaultKind.HANG, rate=1),
            on_request=lambda _: loop.call_soon_threadsafe(arrived.set),
        )
        api = connect(provider, settings=settings(events))
        call = asyncio.ensure_future(api.session.create(REQUEST, key="a"))
        await arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

        [attempt] = [event for event in events if isinstance(event, AttemptEnded)]
        assert (attempt.attempt, attempt.happened, attempt.http_status) == (1, None, None)
        [ended] = [event for event in events if isinstance(event, CallEnded)]
        assert (ended.outcome, ended.error) == ("cancelled", "CancelledError")

    async def test_a_key_that_is_shared(self, provider, connect) -> None:
        """The second call joins the first; both end, and one attempt was made."""
        events: list[ObserverEvent] = []
        api = connect(provider, settings=settings(events))
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                _ = group.create_task(api.session.create(REQUEST, key="a"))

        first, second = [event.call for event in events if isinstance(event, CallStarted)]
        [shared] = [event for event in events if isinstance(event, KeyShared)]
        assert (shared.call, shared.with_call) == (second, first)
        assert {event.call for event in events if isinstance(event, CallEnded)} == {first, second}
        assert [event.call for event in events if isinstance(event, AttemptEnded)] == [first]

    async def test_a_pool_that_is_full(self, provider, key) -> None:
        """A call that waited for a slot shows how long."""
        events: list[ObserverEvent] = []
        async with (
            sg.SessionPool(limit=1) as pool,
            sg.SmartGlocal("demo", key, provider.url, settings=settings(events), pool=pool) as api,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(3):
                _ = group.create_task(api.session.create(REQUEST))

        waited = [event for event in events if isinstance(event, PoolWaited)]
        assert len(waited) == 2
        assert not any(event.gave_up for event in waited)

    async def test_a_pool_that_stays_full(self, provider, key) -> None:
        """A call that gets no slot before its deadline makes no attempt and emits none."""
        events: list[ObserverEvent] = []
        async with (
            sg.SessionPool(limit=1) as pool,
            sg.SmartGlocal("demo", key, provider.url, settings=settings(events), pool=pool) as api,
        ):
            loop_state = await pool.enter()
            await loop_state.take_slot(10.0)
            with pytest.raises(sg.NotSent, match="no connection came free"):
                _ = await api.session.create(REQUEST, deadline=1.0)
            loop_state.free_slot()

        assert [type(event) for event in events] == [CallStarted, PoolWaited, CallEnded]
        assert events[1].gave_up
        assert events[2].attempts == 0

    async def test_the_status_call_of_a_recovery(self, run_provider, connect) -> None:
        """It names the call whose lost answer it asks for."""
        events: list[ObserverEvent] = []
        fault = Fault(FaultKind.AFTER, nth=(1,), operation="session/cancel")
        api = connect(faulty(run_provider, fault), settings=settings(events))
        session = await api.session.create(REQUEST)
        _ = await api.session.cancel(sg.SessionRef(session.id))

        calls = [event for event in events if isinstance(event, CallStarted)]
        assert [call.operation for call in calls][1:] == ["session/cancel", "session/status"]
        assert calls[2].for_call == calls[1].call
        assert calls[1].for_call is None


class TestPayouts:
    """The events of payouts."""

    async def test_a_payout(self, provider, connect, journal) -> None:
        """Its calls have its number; each step of the journal is an event."""
        events: list[ObserverEvent] = []
        options = sg.Settings(observers=[events.append], timing=QUICK.timing)
        async with sg.Payouts(connect(provider, settings=options), journal) as payouts:
            outcome = await payouts.pay(order())

        assert outcome.is_paid
        started, ended = events[0], events[-1]
        assert isinstance(started, PayoutStarted)
        assert isinstance(ended, PayoutEnded)
        assert (ended.state, ended.session_id) == ("succeeded", outcome.session_id)
        calls = [event for event in events if isinstance(event, CallStarted)]
        assert {call.payout for call in calls} == {started.payout}
        assert [call.operation for call in calls][:2] == ["session/create", "session/start/payout"]
        steps = [event for event in events if isinstance(event, JournalWritten)]
        assert {step.payout for step in steps} == {started.payout}
        assert [step.step for step in steps] == [
            "CREATING",
            "STARTING",
            "CONFIRMING",
            "SUCCEEDED",
        ]
        assert steps[-1].pending == "confirm known"

    async def test_a_payout_that_was_settled(self, provider, connect, journal) -> None:
        """It is replayed."""
        events: list[ObserverEvent] = []
        options = sg.Settings(observers=[events.append], timing=QUICK.timing)
        async with sg.Payouts(connect(provider, settings=options), journal) as payouts:
            _ = await payouts.pay(order())
            events.clear()
            _ = await payouts.pay(order())

        assert events[-1].replayed
        assert not any(isinstance(event, CallStarted) for event in events)

    async def test_a_batch(self, provider, connect, journal) -> None:
        """Its progress is counted by state."""
        events: list[BatchProgress] = []
        observers = [only(BatchProgress, events.append)]
        options = sg.Settings(observers=observers, timing=QUICK.timing)
        orders = [order(f"k-{number}") for number in range(3)]
        async with sg.Payouts(connect(provider, settings=options), journal) as payouts:
            outcomes = [one async for one in payouts.pay_all(orders, batch="night")]

        assert len(outcomes) == 3
        assert [event.phase for event in events] == [
            BatchPhase.STARTED,
            *[BatchPhase.RUNNING] * 3,
            BatchPhase.ENDED,
        ]
        assert [event.settled for event in events] == [0, 1, 2, 3, 3]
        assert events[-1].states == {"succeeded": 3}
        assert {event.batch for event in events} == {"night"}

    async def test_operators(self, run_provider, connect, journal) -> None:
        """What an operator writes is an event of the journal, outside of any work."""
        events: list[ObserverEvent] = []
        observers = [only(JournalWritten, events.append), only(PayoutsHaltRaised, events.append)]
        options = sg.Settings(observers=observers, timing=QUICK.timing)
        provider = run_provider(rules=Rules(wallets={"usd": 5_000}))
        api = connect(provider, settings=options)
        async with sg.Payouts(api, journal, accept_unknown=True) as payouts:
            failed = await payouts.pay(order())
            events.clear()
            retried = await payouts.retry(failed.key)
            cancelled = await payouts.cancel(failed.key, reason="wrong payee")
            await payouts.quarantine()

        assert [failed.state.value, retried.state.value] == ["failed", "open"]
        assert cancelled.state.value == "cancelled"
        *written, halted = events
        lines = [(each.payout, each.before, each.written, each.step) for each in written]
        assert lines == [
            (None, "FAILED", "retried", "NEW"),
            (None, "NEW", "withdrawn", "CANCELLED"),
        ]
        assert halted.kind == "quarantine"

    async def test_a_halt(self, run_provider, connect, journal) -> None:
        """A payout that was paid without a confirm halts all payouts."""
        events: list[PayoutsHaltRaised] = []
        observers = [only(PayoutsHaltRaised, events.append)]
        options = sg.Settings(observers=observers, timing=QUICK.timing)
        provider = run_provider(
            rules=sg.emulator.Rules(confirmation=sg.emulator.Confirmation.AUTOMATIC)
        )
        async with sg.Payouts(connect(provider, settings=options), journal) as payouts:
            _ = await payouts.pay(order())

        assert [event.kind for event in events] == ["mismatch"]


class TestObservers:
    """What an observer may do."""

    async def test_one_that_raises(self, provider, connect, caplog) -> None:
        """The call succeeds, the next observer gets its events, and the log names the class."""
        events: list[ObserverEvent] = []

        def broken(event: ObserverEvent) -> None:
            raise LookupError(event)

        options = sg.Settings(observers=[broken, events.append])
        api = connect(provider, settings=options)
        assert (await api.session.create(REQUEST, key="a")).id == "ps_1"

        assert len(events) == 5
        assert {record.msg for record in caplog.records} == {"an observer raised %s: %s"}
        assert "raised LookupError: " in caplog.text
        assert "session/create" not in caplog.text

    async def test_one_that_cancels(self, provider, connect) -> None:
        """An observer can't cancel the call."""

        def cancelling(_event: ObserverEvent) -> None:
            raise asyncio.CancelledError

        options = sg.Settings(observers=[cancelling])
        assert await connect(provider, settings=options).session.create(REQUEST)

    @pytest.mark.parametrize("place", ["filter", "handler"])
    async def test_logging_that_raises(self, provider, connect, caplog, place) -> None:
        """A filter or a handler of the program's can't break a call."""

        class Full(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                raise OSError(record)

        def filtering(record: logging.LogRecord) -> bool:
            raise NameError(record)

        logger = logging.getLogger("smartglocal_async")
        caplog.set_level(logging.DEBUG, "smartglocal_async")
        handler = Full()
        if place == "handler":
            logger.addHandler(handler)
        else:
            logger.addFilter(filtering)
        try:
            assert await connect(provider).session.create(REQUEST)
        finally:
            logger.removeHandler(handler)
            logger.removeFilter(filtering)

    async def test_one_that_fails_a_test(self, provider, connect, caplog) -> None:
        """Also what isn't an `Exception` stays out of the call, and is logged."""

        def asserting(_event: ObserverEvent) -> None:
            pytest.fail("as an observer's assertion")

        options = sg.Settings(observers=[asserting])
        assert await connect(provider, settings=options).session.create(REQUEST)
        assert "an observer raised Failed: " in caplog.text

    async def test_an_asynchronous_one_that_cancels(self, provider, connect, caplog) -> None:
        """Its own cancellation is an error of one event; the others follow."""
        events: list[ObserverEvent] = []

        async def cancelling(event: ObserverEvent) -> None:
            events.append(event)
            if len(events) == 1:
                raise asyncio.CancelledError

        async with connect(provider, settings=sg.Settings(observers=[cancelling])) as api:
            _ = await api.session.create(REQUEST)
        assert len(events) == 5
        assert "an observer raised CancelledError: " in caplog.text

    async def test_one_that_is_stuck(self, provider, connect, caplog, monkeypatch) -> None:
        """The log has how many events it never got."""
        monkeypatch.setattr("smartglocal_async.observer.delivery._FLUSH_SECONDS", 1.0)
        gate = asyncio.Event()

        async def stuck(_event: ObserverEvent) -> None:
            await gate.wait()

        async with connect(provider, settings=sg.Settings(observers=[stuck])) as api:
            _ = await api.session.create(REQUEST)
        assert "4 events were not delivered in 1 s" in caplog.text
        gate.set()
        await asyncio.sleep(0)

    async def test_an_asynchronous_one(self, provider, connect) -> None:
        """It gets all events in their order, at the latest when the client is closed."""
        events: list[ObserverEvent] = []
        gate = asyncio.Event()

        async def slow(event: ObserverEvent) -> None:
            await gate.wait()
            events.append(event)

        async with connect(provider, settings=sg.Settings(observers=[slow])) as api:
            _ = await api.session.create(REQUEST)
            assert events == []
            gate.set()
        kinds = [CallStarted, AttemptStarted, RequestSigned, AttemptEnded, CallEnded]
        assert [type(event) for event in events] == kinds

    async def test_an_asynchronous_one_that_raises(self, provider, connect, caplog) -> None:
        """It gets the next events, and the log names the class."""
        events: list[ObserverEvent] = []

        class Broken:
            async def __call__(self, event: ObserverEvent) -> None:
                events.append(event)
                raise LookupError(event)

        async with connect(provider, settings=sg.Settings(observers=[Broken()])) as api:
            _ = await api.session.create(REQUEST)
        assert len(events) == 5
        assert "an observer raised LookupError: " in caplog.text

    async def test_an_asynchronous_one_and_its_task(self, provider, connect) -> None:
        """It runs in a task of its own, also where tasks are eager."""
        tasks = set[asyncio.Task[object] | None]()

        async def note(_event: ObserverEvent) -> None:
            tasks.add(asyncio.current_task())

        async with connect(provider, settings=sg.Settings(observers=[note])) as api:
            _ = await api.session.create(REQUEST)
        assert tasks
        assert asyncio.current_task() not in tasks

    async def test_a_cancelled_delivery(self, provider, connect) -> None:
        """The events that waited are gone; those that follow are delivered."""
        events: list[ObserverEvent] = []
        task: asyncio.Task[object] | None = None

        async def cancelled_once(event: ObserverEvent) -> None:
            nonlocal task
            if task is None:
                task = asyncio.current_task()
                assert task is not None
                _ = task.cancel()
                await asyncio.sleep(0)
            events.append(event)

        async with connect(provider, settings=sg.Settings(observers=[cancelled_once])) as api:
            _ = await api.session.create(REQUEST)
            await api._caller.observers.flush()
            events.clear()
            _ = await api.session.create(REQUEST)
        assert len(events) == 5

    async def test_one_that_is_too_slow(self, provider, connect, caplog, monkeypatch) -> None:
        """Events that don't fit its queue are dropped, and counted in the log."""
        monkeypatch.setattr("smartglocal_async.observer.delivery._MAX_WAITING", 2)
        gate, events = asyncio.Event(), list[ObserverEvent]()

        async def slow(event: ObserverEvent) -> None:
            await gate.wait()
            events.append(event)

        async with connect(provider, settings=sg.Settings(observers=[slow])) as api:
            _ = await api.session.create(REQUEST)
            gate.set()
        assert len(events) < 5
        assert "an observer is too slow: events are dropped from now on" in caplog.text
        assert f"{5 - len(events)} events were dropped" in caplog.text

    def test_event_loops(self, provider, key) -> None:
        """In one event loop after another, asynchronous observers work."""
        events: list[ObserverEvent] = []

        async def note(event: ObserverEvent) -> None:
            events.append(event)

        api = sg.SmartGlocal("demo", key, provider.url, settings=sg.Settings(observers=[note]))

        async def call() -> None:
            _ = await api.session.create(REQUEST)
            await api._caller.observers.flush()

        asyncio.run(call())
        asyncio.run(call())
        asyncio.run(api.close())
        assert len(events) == 10
