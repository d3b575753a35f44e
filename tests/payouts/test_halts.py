"""Halts beside one another, halts of other processes, and payouts that may be paid elsewhere."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from attrs import evolve
from paying import QUICK, START, order
from postgres_schemas import DSN, needs_postgres

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Confirmation, Fault, FaultKind
from smartglocal_async.journal import Halt, HaltKind, Step

AUTOMATIC: Final = emulator.Rules(confirmation=Confirmation.AUTOMATIC)
PAID_ELSEWHERE: Final = "of another sum"


def finished(session: sg.Session, **changes: Any) -> sg.PaymentFinished:
    """Return a webhook about a session that was accepted, with its first payout changed."""
    payout = evolve(session.payout_list[0], status="succeeded", error=None, **changes)
    shown = evolve(session, status="accepted", next_action=None, payout_list=(payout,))
    return sg.PaymentFinished(type=sg.PaymentFinished.wire_type, session=shown)


def declined(session: sg.Session) -> sg.PaymentFinished:
    """Return a webhook about a session whose payout was declined."""
    payout = evolve(session.payout_list[0], status="failed")
    shown = evolve(session, status="cancelled", next_action=None, payout_list=(payout,))
    return sg.PaymentFinished(type=sg.PaymentFinished.wire_type, session=shown)


def forgotten(session: sg.Session, key: str) -> sg.PaymentFinished:
    """Return a webhook about a payout of this journal that the journal doesn't have."""
    payout = session.payout_list[0]
    metadata = {**dict(payout.metadata), "idempotency_key": key}
    return finished(evolve(session, id=f"ps_{key}"), id=f"po_{key}", metadata=metadata)


async def session_of(api: sg.SmartGlocal, outcome: sg.PayoutOutcome) -> sg.Session:
    """Return the session of a payout."""
    return await api.session.status(sg.SessionRef(outcome.session_id or ""))


@pytest.fixture
async def automatic(run_provider, connect, journal):
    """Return payouts of a project that confirms by itself, with their client."""
    api = connect(run_provider(rules=AUTOMATIC), settings=QUICK)
    async with sg.Payouts(api, journal, mode=sg.Mode.AUTOMATIC) as payouts:
        yield payouts, api


# --- Halts of several kinds ----------------------------------------------------------------------


async def test_a_forgotten_payout_after_a_conflict(automatic, journal) -> None:
    """The halt needs a check, however many halts this process raised before."""
    payouts, api = automatic
    shown = await session_of(api, await payouts.pay(order()))
    assert await payouts.handle_event(finished(shown, amount_details=sg.Amount(1, "usd")))
    assert (await journal.halted()).kind is HaltKind.CONFLICT
    assert await payouts.handle_event(forgotten(shown, "lost"))
    halt = await journal.halted()
    assert (halt.kind, halt.needs_check) == (HaltKind.FORGOT, True)
    assert "'lost'" in halt.reason
    assert "0.01 USD" in halt.reason
    with pytest.raises(sg.Misuse):
        await payouts.resume_journal()


async def test_settled_elsewhere_after_a_conflict(automatic, journal) -> None:
    """The same for keys that another record has as settled."""
    payouts, api = automatic
    shown = await session_of(api, await payouts.pay(order()))
    _ = await payouts.handle_event(finished(shown, amount_details=sg.Amount(1, "usd")))
    with pytest.raises(sg.errors.JournalForgot):
        await payouts.expect_settled(["k-2"])
    assert (await journal.halted()).needs_check


@pytest.mark.parametrize("conflict_first", [True, False])
async def test_a_quarantine_beside_a_conflict(automatic, journal, conflict_first) -> None:
    """Whichever comes first, the quarantine holds when the conflict is ended."""
    payouts, api = automatic
    shown = await session_of(api, await payouts.pay(order()))
    differs = finished(shown, amount_details=sg.Amount(1, "usd"))
    if conflict_first:
        _ = await payouts.handle_event(differs)
    await payouts.quarantine(timedelta(hours=3))
    if not conflict_first:
        _ = await payouts.handle_event(differs)
    halt = await journal.halted()
    assert (halt.kind, halt.may_lack) == (HaltKind.CONFLICT, True)
    with pytest.raises(sg.PayoutConflict, match="also, it was restored, and waits until"):
        _ = await payouts.pay(order("k-2"))
    await payouts.resume_journal()
    assert (await journal.halted()).kind is HaltKind.QUARANTINE
    with pytest.raises(sg.errors.Quarantined):
        _ = await payouts.pay(order("k-2"))


async def test_nothing_fails_in_a_quarantine_beside_a_conflict(
    run_provider, connect, journal
) -> None:
    """The journal may lack a session in which the payout was paid."""
    rules = evolve(AUTOMATIC, processing_seconds=3_600.0)
    api = connect(run_provider(rules=rules), settings=QUICK)
    async with sg.Payouts(api, journal, mode=sg.Mode.AUTOMATIC) as payouts:
        shown = await session_of(api, await payouts.pay(order(), deadline=1))
        await payouts.quarantine(timedelta(hours=3))
        await journal.halt(Halt(kind=HaltKind.CONFLICT, reason=PAID_ELSEWHERE))
        with pytest.raises(sg.PayoutConflict):
            _ = await payouts.handle_event(declined(shown))
        assert (await journal.find("k-1")).step is Step.STARTED


def test_a_long_reason_grows_no_further() -> None:
    """A report may have very many rows that each halt payouts."""
    halt = Halt(kind=HaltKind.FORGOT, reason="an older copy")
    for number in range(1_000):
        halt = Halt(kind=HaltKind.CONFLICT, reason=f"payout {number} differs").beside(halt)
    assert halt.reason.startswith("an older copy; after that: payout 0 differs; after that: ")
    assert len(halt.reason) <= 2_000


# --- Halts of another process --------------------------------------------------------------------


@needs_postgres
@pytest.mark.parametrize("mode", [sg.Mode.AUTOMATIC, sg.Mode.MANUAL])
@pytest.mark.parametrize("is_timed", [True, False])
async def test_a_call_that_is_sent_again_looks_for_a_halt(
    run_provider, connect, schema, mode, is_timed
) -> None:
    """The halt came from another process, after the step was written and before the next send."""
    call = START if mode is sg.Mode.AUTOMATIC else "session/confirm"
    never = emulator.FaultScript([Fault(FaultKind.BEFORE, rate=1.0, operation=call)])
    rules = emulator.Rules() if mode is sg.Mode.MANUAL else AUTOMATIC
    provider = run_provider(rules=rules, faults=never)
    api = connect(provider, settings=QUICK)
    journals = [sg.PostgresJournal(DSN, schema=schema) for _ in range(2)]
    async with (
        sg.Payouts(api, journals[0], mode=mode) as payouts,
        sg.Payouts(api, journals[1], mode=mode) as other,
    ):
        paying = asyncio.ensure_future(payouts.pay(order(), deadline=60))
        while not _was_met(provider):  # noqa: ASYNC110 - the emulator has no event for it
            await asyncio.sleep(0.01)
        if is_timed:
            await other.quarantine()
        else:
            await journals[1].halt(Halt(kind=HaltKind.CONFLICT, reason=PAID_ELSEWHERE))
        with pytest.raises(sg.PayoutsHalted):
            _ = await paying
    assert provider.report().moved == 0


def _was_met(provider: emulator.Provider) -> bool:
    return provider.report().faults.get("before", 0) > 0


# --- A payout that may be paid elsewhere ---------------------------------------------------------


async def left_and_paid(run_provider, connect, journal) -> Any:
    """Return payouts and both sessions of one: it went on in the second, and the first is paid."""
    lost = emulator.FaultScript([Fault(FaultKind.BEFORE, nth=(1,), operation=START)])
    rules = evolve(AUTOMATIC, processing_seconds=3_600.0)
    api = connect(run_provider(rules=rules, faults=lost), settings=QUICK)
    payouts = sg.Payouts(api, journal, mode=sg.Mode.AUTOMATIC)
    _ = await payouts.__aenter__()
    outcome = await payouts.pay(order(), deadline=5)
    second = await session_of(api, outcome)
    used = [line.session_id for line in await journal.history("k-1")]
    first = next(one for one in used if one not in {None, second.id})
    return payouts, evolve(second, id=first), second


@pytest.mark.parametrize("is_lifted", [True, False])
async def test_no_session_says_failed_after_a_conflict(
    run_provider, connect, journal, is_lifted
) -> None:
    """The session that was left paid it: a decline of the next one says nothing."""
    payouts, first, second = await left_and_paid(run_provider, connect, journal)
    assert await payouts.handle_event(finished(first))
    assert (await journal.find("k-1")).step is Step.UNKNOWN
    if is_lifted:
        await payouts.resume_journal()
    assert await payouts.handle_event(declined(second))
    assert (await journal.find("k-1")).step is Step.UNKNOWN
    events = [line.event.value for line in await journal.history("k-1")]
    assert "conflict" in events
    await payouts.__aexit__(None, None, None)


async def test_a_payment_settles_a_conflict(run_provider, connect, journal) -> None:
    """Its own session shows the payment as ordered; that it was paid twice is in the halt."""
    payouts, first, second = await left_and_paid(run_provider, connect, journal)
    _ = await payouts.handle_event(finished(first))
    _ = await payouts.handle_event(finished(second))
    assert (await journal.find("k-1")).step is Step.SUCCEEDED
    assert (await journal.halted()).kind is HaltKind.CONFLICT
    await payouts.__aexit__(None, None, None)


@pytest.mark.parametrize("status", ["accepted", "cancelled", "in_progress", "error"])
async def test_money_for_a_payout_that_failed(run_provider, connect, journal, status) -> None:
    """It halts, whatever the status of the session is by then."""
    rules = evolve(AUTOMATIC, processing_seconds=3_600.0)
    api = connect(run_provider(rules=rules), settings=QUICK)
    async with sg.Payouts(api, journal, mode=sg.Mode.AUTOMATIC) as payouts:
        shown = await session_of(api, await payouts.pay(order(), deadline=1))
        _ = await payouts.handle_event(declined(shown))
        assert (await journal.find("k-1")).step is Step.FAILED
        event = finished(shown)
        late = evolve(event, session=evolve(event.session, status=status))
        assert await payouts.handle_event(late)
        assert (await journal.halted()).kind is HaltKind.CONFLICT


async def test_a_provider_that_changes_the_sum(run_provider, connect, journal) -> None:
    """It is left once, for one answer may be wrong; the second session halts all payouts."""
    wrong = Fault(FaultKind.AMOUNT, rate=1.0, operation="session/status")
    lost = Fault(FaultKind.AFTER, rate=1.0, operation=START)
    provider = run_provider(faults=emulator.FaultScript([wrong, lost]))
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal) as payouts:
        with pytest.raises(sg.PayoutConflict):
            _ = [one async for one in payouts.pay_all([order()])]
        assert (await journal.find("k-1")).step is Step.UNKNOWN
        assert len({line.session_id for line in await journal.history("k-1")} - {None}) <= 2
    assert provider.report().moved == 0


async def test_a_second_start_between_the_last_status_and_the_confirm(
    run_provider, connect, journal
) -> None:
    """The confirm pays both, which no client can prevent; all other payouts are halted."""
    times = [datetime(2026, 11, 1, tzinfo=UTC)]

    def let_it_arrive(seen: emulator.RequestRecord) -> None:
        if seen.operation == "session/status":
            times.append(times[-1] + timedelta(minutes=1))

    twice = Fault(FaultKind.TWICE, nth=(1,), operation=START, seconds=60)
    provider = run_provider(
        rules=emulator.Rules(second_start=emulator.Permission.ALLOW),
        faults=emulator.FaultScript([twice]),
        clock=lambda: times[-1],
        on_request=let_it_arrive,
    )
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        with pytest.raises(sg.PayoutConflict, match=r"shows payout po_.*, payout po_"):
            _ = await payouts.pay(order())
        with pytest.raises(sg.PayoutConflict):
            _ = await payouts.pay(order("k-2"))
    assert len(provider.order("k-1").movements) == 2
    assert not provider.order("k-2").movements


# --- HTTP 429 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", sg.Mode)
async def test_a_429_that_belongs_to_another_call(run_provider, connect, journal, mode) -> None:
    """The call was carried out: it isn't sent again before the session shows that it wasn't."""
    call = "session/init/payout" if mode is sg.Mode.ONE_STEP else START
    crossed = emulator.FaultScript(
        [Fault(FaultKind.THROTTLE, nth=(1,), operation=call, processed=True, seconds=0)]
    )
    manual = mode is sg.Mode.MANUAL
    rules = emulator.Rules(
        confirmation=Confirmation.MANUAL if manual else Confirmation.AUTOMATIC,
        second_start=emulator.Permission.ALLOW,
    )
    provider = run_provider(rules=rules, faults=crossed)
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, mode=mode, accept_unknown=True) as payouts:
        outcome = await payouts.pay(order())
    unknown = mode is sg.Mode.ONE_STEP
    assert outcome.state is (sg.PayoutState.UNKNOWN if unknown else sg.PayoutState.SUCCEEDED)
    assert len(provider.order("k-1").movements) == 1


async def test_the_refusal_of_another_payout_comes_once_more(run_provider, key, journal) -> None:
    """A second copy of the refusal follows a moment later: the next payout doesn't read it."""
    surplus = Fault(
        FaultKind.SURPLUS, nth=(1,), key="k-1", operation="session/init/payout", seconds=0.05
    )
    rules = evolve(AUTOMATIC, latency_seconds=0.15)
    provider = run_provider(rules=rules, faults=emulator.FaultScript([surplus]))
    refused = order("k-1", payment_method=sg.EncryptedCard(number_hash=""))
    settings = sg.Settings(rules=sg.RuleUse.OFF)
    async with (
        sg.SessionPool(limit=1) as pool,
        sg.SmartGlocal(provider.project, key, provider.url, pool=pool, settings=settings) as api,
        sg.Payouts(api, journal, mode=sg.Mode.ONE_STEP, accept_unknown=True) as payouts,
    ):
        first = await payouts.pay(refused)
        second = await payouts.pay(order("k-2"))
    assert first.state is sg.PayoutState.FAILED
    assert second.state is sg.PayoutState.SUCCEEDED
    assert len(provider.order("k-2").movements) == 1


# --- Sessions that are shared with another order -------------------------------------------------


@pytest.mark.parametrize("metadata", [None, "order-123", {"invoice": 5}])
async def test_a_session_of_another_order(api, journal, metadata) -> None:
    """A payout of its owner in our session: its confirm would pay ours, so payouts are halted."""
    async with sg.Payouts(api, journal) as payouts:
        await journal.release(await starting(payouts, journal, "ps_1"))
        made = await api.session.create(sg.CreateSession(metadata=metadata))
        request = sg.StartPayout(
            session_id=made.id,
            payment_method=order().payment_method,
            amount_details=order().amount_details,
            participant_details=order().participant_details,
            metadata=metadata,
        )
        _ = await api.session.start_payout(request, key="theirs")
        with pytest.raises(sg.PayoutConflict, match=r"owner: (another order|unknown)"):
            _ = await payouts.pay(order())
    assert (await api.session.status(sg.SessionRef(made.id))).next_action == "confirm"


async def starting(
    payouts: sg.Payouts, journal: Any, session_id: str, **changes_of_order: Any
) -> Any:
    """Return the claimed entry of a payout whose start may have been sent."""
    _ = await payouts._claimer.accept(order(**changes_of_order))
    entry = await journal.claim("k-1", "the dead", 0.001)
    entry = await journal.advance(entry, sg.journal.Event.CREATE_INTENDED)
    changes = sg.journal.Changes(session_id=session_id)
    return await journal.advance(entry, sg.journal.Event.SESSION_CHOSEN, changes)


# --- Decisions, orders and cards of the wrong payout ----------------------------------------------


class Paused(sg.journal.MemoryJournal):
    """A journal that waits for the test before it writes one event."""

    def __init__(self, event: sg.journal.Event) -> None:
        super().__init__(unsafe=True)
        self.event = event
        self.reached, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def advance(self, entry, event, *changes, **options):
        """Write an event."""
        if event is self.event:
            self.reached.set()
            await self.may_go_on.wait()
        return await super().advance(entry, event, *changes, **options)


class Watched(sg.journal.MemoryJournal):
    """A journal that shows when an event was written."""

    def __init__(self) -> None:
        super().__init__(unsafe=True)
        self.written = {event: asyncio.Event() for event in sg.journal.Event}

    async def advance(self, entry, event, *changes, **options):
        """Write an event."""
        after = await super().advance(entry, event, *changes, **options)
        self.written[event].set()
        return after


@pytest.mark.parametrize("is_paid", [True, False])
async def test_no_decision_while_a_worker_is_at_it(api, is_paid) -> None:
    """The call in flight may pay after an operator looked: the decision has to wait for it."""
    paused = Paused(sg.journal.Event.CONFIRM_INTENDED)
    async with sg.Payouts(api, paused) as payouts:
        paying = asyncio.ensure_future(payouts.pay(order()))
        await paused.reached.wait()
        with pytest.raises(sg.InProgress):
            _ = await payouts.decide("k-1", is_paid=is_paid, reason="not in the Dashboard")
        with pytest.raises(sg.InProgress):
            _ = await payouts.cancel("k-1", reason="a typing error")
        paused.may_go_on.set()
        assert (await paying).is_paid


@pytest.mark.parametrize("mode", sg.Mode)
async def test_the_order_of_another_key(run_provider, connect, journal, mode) -> None:
    """A function that returns the wrong order pays no one."""
    manual = mode is sg.Mode.MANUAL
    rules = emulator.Rules(confirmation=Confirmation.MANUAL if manual else Confirmation.AUTOMATIC)
    provider = run_provider(rules=rules)
    async with sg.Payouts(connect(provider), journal, mode=mode, accept_unknown=True) as payouts:
        _ = await payouts._claimer.accept(order())
        with pytest.raises(sg.InvalidRequest, match=r"orders: .* another key for 'k-1'"):
            _ = [one async for one in payouts.settle(lambda _key: order("k-2"))]
        assert await journal.find("k-2") is None
        assert provider.report().requests == 0


CARD: Final = sg.BankCard(number="4111111111111111")


@pytest.mark.parametrize("last4", ["9999", "**** 1112"])
async def test_a_webhook_with_another_card_ends_nothing(api, journal, last4) -> None:
    """The receiver of the webhook has no order; the journal's encrypted request has the card."""
    cipher = sg.RequestCipher(sg.RequestCipher.new_key())
    async with sg.Payouts(api, journal, cipher=cipher) as payouts:
        session = await started_elsewhere(payouts, api, journal)
        card = sg.models.MaskedCard(last4=last4)
        assert await payouts.handle_event(finished(session, payment_method=card))
        assert (await journal.find("k-1")).step is Step.UNKNOWN
        assert "another card" in (await journal.halted()).reason


async def test_a_webhook_with_another_card_confirms_nothing(run_provider, connect) -> None:
    """The worker that waits compares the webhook with its order, and leaves that session."""
    journal = Watched()
    provider = run_provider(rules=emulator.Rules(processing_seconds=3600))
    checks = sg.payouts.StatusChecks(initial_delay_seconds=3600, max_delay_seconds=3600)
    api = connect(provider)
    async with sg.Payouts(api, journal, status_checks=checks) as payouts:
        paying = asyncio.ensure_future(payouts.pay(order(payment_method=CARD), deadline=60))
        await journal.written[sg.journal.Event.START_KNOWN].wait()
        entry = await journal.find("k-1")
        session = await api.session.status(sg.SessionRef(entry.session_id or ""))
        [payout] = session.payout_list
        card = sg.models.MaskedCard(last4="9999")
        shown = evolve(
            session, next_action="confirm", payout_list=(evolve(payout, payment_method=card),)
        )
        event = sg.ReadyToConfirm(type="ready_to_confirm", session=shown)
        assert await payouts.handle_event(event)
        await journal.written[sg.journal.Event.LEAVE_INTENDED].wait()
        payouts.stop("the test")
        _ = await paying
    assert not journal.written[sg.journal.Event.CONFIRM_INTENDED].is_set()
    assert provider.report().moved == 0


async def started_elsewhere(payouts: sg.Payouts, api: sg.SmartGlocal, journal: Any) -> sg.Session:
    """Leave a payout as a process that died after its start; return its session."""
    made = await api.session.create(sg.CreateSession())
    await journal.release(await starting(payouts, journal, made.id, payment_method=CARD))
    request = sg.StartPayout(
        session_id=made.id,
        payment_method=CARD,
        amount_details=order().amount_details,
        participant_details=order().participant_details,
        metadata={"payout_journal": journal.journal_id},
    )
    return await api.session.start_payout(request, key="k-1")
