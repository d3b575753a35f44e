"""Webhooks and reports about payouts: what counts as evidence, and what halts payouts."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from attrs import evolve
from paying import QUICK, order

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Confirmation, Fault, FaultKind
from smartglocal_async.journal.entries import NO_CHANGES
from smartglocal_async.payouts.context import Wakeup
from smartglocal_async.payouts.protocol import SessionView

AUTOMATIC: Final = emulator.Rules(confirmation=Confirmation.AUTOMATIC)
INIT: Final = "session/init/payout"
DECLINED: Final = 66_601


def event_of(session: sg.Session, kind: type[sg.WebhookEvent] = sg.PaymentFinished) -> Any:
    """Return a verified webhook about a session."""
    return kind(type=kind.wire_type, session=session)


def paid(session: sg.Session, **changes: Any) -> sg.Session:
    """Return the session as it would be if its payout had been paid."""
    payout = evolve(session.payout_list[0], status="succeeded", error=None, **changes)
    return evolve(session, status="accepted", next_action=None, payout_list=(payout,))


async def session_of(api: sg.SmartGlocal, outcome: sg.PayoutOutcome) -> sg.Session:
    """Return the session of a payout as the provider shows it."""
    assert outcome.session_id is not None
    return await api.session.status(sg.SessionRef(outcome.session_id))


# --- A payout that is recorded as not paid ------------------------------------------------------


@pytest.mark.parametrize("mode", [sg.Mode.MANUAL, sg.Mode.AUTOMATIC])
async def test_a_failed_payout_that_was_paid_halts(run_provider, connect, journal, mode):
    """A failed payout that was paid halts payouts, so that an operator checks it first."""
    rules = AUTOMATIC if mode is sg.Mode.AUTOMATIC else emulator.Rules()
    api = connect(run_provider(rules=rules), settings=QUICK)
    async with sg.Payouts(api, journal, mode=mode) as payouts:
        declined = await payouts.pay(order(amount=DECLINED))
        assert declined.state is sg.PayoutState.FAILED
        news = event_of(paid(await session_of(api, declined)))
        assert await payouts.handle_event(news)
        with pytest.raises(
            sg.PayoutConflict, match=r"'k-1' is recorded as FAILED in ps_1; .*succeeded"
        ):
            _ = await payouts.pay(order("k-2"))
        assert (await payouts.pay(order(amount=DECLINED))).state is sg.PayoutState.FAILED


async def test_a_payout_that_a_person_called_not_paid_halts(run_provider, connect, journal):
    """Evidence of money contradicts an operator's decision, too."""
    lost = Fault(FaultKind.AFTER, nth=(1,), key="k-1", operation=INIT)
    provider = run_provider(rules=AUTOMATIC, faults=emulator.FaultScript([lost]))
    api = connect(provider, settings=QUICK)
    one_step = sg.Payouts(api, journal, mode=sg.Mode.ONE_STEP, accept_unknown=True)
    async with one_step as payouts:
        assert (await payouts.pay(order())).state is sg.PayoutState.UNKNOWN
        _ = await payouts.decide("k-1", is_paid=False, reason="not in the Dashboard")
        session = await api.session.status(sg.SessionRef(provider.session_ids[-1]))
        assert await payouts.handle_event(event_of(session))
        with pytest.raises(sg.PayoutsHalted, match="'k-1'"):
            _ = await payouts.pay(order("k-2"))
    assert provider.order("k-2").moved == 0


@pytest.mark.parametrize("mode", sg.Mode)
async def test_a_withdrawn_payout_that_was_paid_halts(run_provider, connect, journal, mode):
    """Nothing was sent from this journal, so another copy of the journal paid it."""
    api = connect(run_provider(rules=AUTOMATIC), settings=QUICK)
    async with sg.Payouts(api, journal, mode=mode, accept_unknown=True) as payouts:
        _ = await payouts._claimer.accept(order())
        withdrawn = await payouts.cancel("k-1", reason="left us")
        assert withdrawn.state is sg.PayoutState.CANCELLED
        made = await api.session.create(sg.CreateSession())
        start = sg.StartPayout(
            session_id=made.id,
            payment_method=order().payment_method,
            amount_details=order().amount_details,
            participant_details=order().participant_details,
            metadata={"payout_journal": journal.journal_id},
        )
        _ = await api.session.start_payout(start, key="k-1")
        session = await api.session.status(sg.SessionRef(made.id))
        assert await payouts.handle_event(event_of(session))
        words = (
            r"'k-1' is recorded as CANCELLED in no session; .*succeeded, 100.00 USD, owner: ours"
        )
        with pytest.raises(sg.PayoutConflict, match=words):
            _ = await payouts.pay(order("k-2"))
        assert (await payouts.pay(order())).state is sg.PayoutState.CANCELLED


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"amount_details": sg.Amount(100_000, "usd")}, "succeeded, 1,000.00 USD, owner: ours"),
        ({"amount_details": sg.Amount(10_000, "eur")}, "succeeded, 100.00 EUR, owner: ours"),
        ({"amount_details": None}, "succeeded, no amount, owner: ours"),
    ],
)
async def test_a_paid_payout_of_another_sum_halts(api, journal, changes, words):
    """Another amount than ordered halts payouts, also if the journal has the payout as paid."""
    async with sg.Payouts(api, journal) as payouts:
        outcome = await payouts.pay(order())
        assert await payouts.handle_event(event_of(paid(await session_of(api, outcome), **changes)))
        with pytest.raises(sg.PayoutConflict, match=words):
            _ = await payouts.pay(order("k-2"))


async def test_two_payouts_in_one_session_halt(api, journal):
    """One of them was not ordered, so payouts are halted."""
    async with sg.Payouts(api, journal) as payouts:
        session = paid(await session_of(api, await payouts.pay(order())))
        twin = evolve(session.payout_list[0], id="po_99")
        session = evolve(session, payout_list=(*session.payout_list, twin))
        assert await payouts.handle_event(event_of(session))
        with pytest.raises(sg.PayoutConflict, match=r"payout po_\d+ .*payout po_99"):
            _ = await payouts.pay(order("k-2"))


# --- What is no evidence ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "marks",
    [
        {"payout_journal": "another"},
        {"payout_order": "0123456789abcdef"},
        {"idempotency_key": "k-9"},
    ],
)
async def test_a_payout_of_another_order_settles_nothing(run_provider, connect, journal, marks):
    """Neither the key alone nor the journal without the order is evidence."""
    lost = Fault(FaultKind.AFTER, nth=(1,), key="k-1", operation=INIT)
    provider = run_provider(rules=AUTOMATIC, faults=emulator.FaultScript([lost]))
    api = connect(provider, settings=QUICK)
    one_step = sg.Payouts(api, journal, mode=sg.Mode.ONE_STEP, accept_unknown=True)
    async with one_step as payouts:
        _ = await payouts.pay(order())
        session = await api.session.status(sg.SessionRef(provider.session_ids[-1]))
        payout = session.payout_list[0]
        metadata = {**payout.metadata, **marks}
        other = evolve(payout, metadata=metadata)
        news = evolve(session, metadata=metadata, payout_list=(other,))
        _ = await payouts.handle_event(event_of(news))
        entry = await journal.find("k-1")
        assert entry.step is sg.journal.Step.UNKNOWN
        await payouts.resume_journal(unchecked=True)
        assert await payouts.handle_event(event_of(session))
        assert (await payouts.pay(order())).is_paid


async def test_a_returned_payout_settles_nothing(run_provider, connect, journal):
    """A return by the bank neither settles an open payout nor pays it."""
    lost = Fault(FaultKind.AFTER, nth=(1,), key="k-1", operation=INIT)
    provider = run_provider(rules=AUTOMATIC, faults=emulator.FaultScript([lost]))
    api = connect(provider, settings=QUICK)
    one_step = sg.Payouts(api, journal, mode=sg.Mode.ONE_STEP, accept_unknown=True)
    async with one_step as payouts:
        _ = await payouts.pay(order())
        _ = await payouts.pay(order("k-2"))
        for session_id in provider.session_ids:
            session = await api.session.status(sg.SessionRef(session_id))
            assert await payouts.handle_event(event_of(session, sg.PaymentRefunded))
        assert (await journal.find("k-1")).step is sg.journal.Step.UNKNOWN
        assert (await journal.find("k-2")).step is sg.journal.Step.SUCCEEDED


# --- A project with the other confirmation ------------------------------------------------------

WITHOUT_CONFIRM: Final = [sg.Mode.AUTOMATIC, sg.Mode.ONE_STEP]


@pytest.mark.parametrize("mode", WITHOUT_CONFIRM)
async def test_the_first_payout_that_waits_for_a_confirm_halts(
    mode, run_provider, connect, journal
):
    """Payouts in progress end unknown, and no further one of the batch starts."""
    provider = run_provider()
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, mode=mode, accept_unknown=True) as payouts:
        orders = [order(f"k-{number}") for number in range(40)]
        words = r"waits for a confirm in ps_\d+, and its"
        with pytest.raises(sg.errors.ConfirmationMismatch, match=words):
            _ = [one async for one in payouts.pay_all(orders, concurrency=4)]
        unknown = (await payouts.summary()).counts[sg.PayoutState.UNKNOWN]
    assert 1 <= unknown <= 4
    assert provider.report().moved == 0


@pytest.mark.parametrize("mode", WITHOUT_CONFIRM)
async def test_no_payout_starts_after_one_that_waits_for_a_confirm(
    mode, run_provider, connect, journal
):
    """Neither one that is paid alone, nor one that is accepted already and is settled."""
    provider = run_provider()
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, mode=mode, accept_unknown=True) as payouts:
        for key in ("k-2", "k-3"):
            _ = await payouts._claimer.accept(order(key))
        assert (await payouts.pay(order())).state is sg.PayoutState.UNKNOWN
        requests = provider.report().requests
        with pytest.raises(sg.errors.ConfirmationMismatch):
            _ = await payouts.pay(order("k-2"))
        with pytest.raises(sg.errors.ConfirmationMismatch):
            _ = [one async for one in payouts.settle(order)]
        counts = (await payouts.summary()).counts
    assert (counts[sg.PayoutState.UNKNOWN], counts[sg.PayoutState.OPEN]) == (1, 2)
    assert provider.report().requests == requests


TIMED_OUT: Final = sg.models.ProviderError(
    code="confirm_timeout", description="not confirmed in time"
)


@pytest.mark.parametrize("mode", WITHOUT_CONFIRM)
@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        ("cancelled", TIMED_OUT, "confirm_timeout"),
        ("cancelled", None, None),
        ("canceled", None, None),
        ("failed", TIMED_OUT, "confirm_timeout"),
    ],
)
async def test_a_session_that_closes_settles_what_waited_for_a_confirm(  # noqa: PLR0913, PLR0917
    status, error, code, mode, run_provider, connect, journal
):
    """The confirm came too late and the provider cancelled the session: no money moved."""
    api = connect(run_provider(), settings=QUICK)
    async with sg.Payouts(api, journal, mode=mode, accept_unknown=True) as payouts:
        with pytest.raises(sg.errors.ConfirmationMismatch):
            _ = [one async for one in payouts.pay_all([order()])]
        entry = await journal.find("k-1")
        assert entry.step is sg.journal.Step.UNKNOWN
        session = await api.session.status(sg.SessionRef(entry.session_id))
        payout = evolve(session.payout_list[0], status=status, error=error)
        closed = evolve(session, status="cancelled", next_action=None, payout_list=(payout,))
        assert await payouts.handle_event(event_of(closed))
        entry = await journal.find("k-1")
        assert entry.step is sg.journal.Step.FAILED
        assert entry.code == code
        assert error is None or entry.reason == "not confirmed in time"


@pytest.mark.parametrize("mode", WITHOUT_CONFIRM)
async def test_an_empty_session_that_closes_explains_nothing(mode, run_provider, connect, journal):
    """It shows no payout of ours, so another session may have it."""
    api = connect(run_provider(), settings=QUICK)
    async with sg.Payouts(api, journal, mode=mode, accept_unknown=True) as payouts:
        with pytest.raises(sg.errors.ConfirmationMismatch):
            _ = [one async for one in payouts.pay_all([order()])]
        entry = await journal.find("k-1")
        session = await api.session.status(sg.SessionRef(entry.session_id))
        closed = evolve(session, status="cancelled", next_action=None, payout_list=())
        _ = await payouts.handle_event(event_of(closed))
        assert (await journal.find("k-1")).step is sg.journal.Step.UNKNOWN


async def test_a_late_webhook_about_a_forgotten_payout(provider, api, journal):
    """The mark of a forgotten payout is still known, so its webhook halts nothing."""
    async with sg.Payouts(api, journal) as payouts:
        outcome = await payouts.pay(order())
        session = await session_of(api, outcome)
        assert await payouts.forget(datetime.now(UTC) + timedelta(days=1)) == 1  # noqa: TID251
        assert await payouts.handle_event(event_of(session))
        assert (await payouts.pay(order("k-2"))).is_paid
    assert provider.order("k-1").moved == 1


# --- Payouts whose session isn't written --------------------------------------------------------


async def lost_in_one_step(run_provider, connect, journal, fault=FaultKind.AFTER) -> Any:
    """Return provider, client and payouts; the answer of the one call is lost or refused."""
    lost = Fault(fault, nth=(1,), key="k-1", operation=INIT)
    provider = run_provider(rules=AUTOMATIC, faults=emulator.FaultScript([lost]))
    api = connect(provider, settings=QUICK)
    return provider, api, sg.Payouts(api, journal, mode=sg.Mode.ONE_STEP, accept_unknown=True)


async def test_a_late_webhook_agrees_with_a_decision(run_provider, connect, journal):
    """An operator wrote it as paid without a session; webhook and report agree."""
    provider, api, one_step = await lost_in_one_step(run_provider, connect, journal)
    async with one_step as payouts:
        _ = await payouts.pay(order())
        _ = await payouts.decide("k-1", is_paid=True, reason="seen in the Dashboard")
        session = await api.session.status(sg.SessionRef(provider.session_ids[-1]))
        assert await payouts.handle_event(event_of(session))
        metadata = session.payout_list[0].metadata
        row = sg.payouts.ReportRow(
            line=2, payout_id="po_1", session_id=session.id, metadata=metadata
        )
        found = await payouts.reconcile([row])
        assert (found.agreed, found.is_clean) == (1, True)
        assert (await payouts.pay(order("k-2"))).is_paid


async def test_a_failed_webhook_agrees_with_a_decision(run_provider, connect, journal):
    """An operator wrote it as not paid, and the webhook says failed: nothing is halted."""
    provider, api, one_step = await lost_in_one_step(run_provider, connect, journal)
    async with one_step as payouts:
        _ = await payouts.pay(order(amount=DECLINED))
        _ = await payouts.decide("k-1", is_paid=False, reason="declined, says the support")
        session = await api.session.status(sg.SessionRef(provider.session_ids[-1]))
        assert await payouts.handle_event(event_of(session))
        assert (await payouts.pay(order("k-2"))).is_paid


@pytest.mark.parametrize("settled_by", ["decision", "report"])
async def test_a_payment_in_a_left_session_can_be_written(
    settled_by, run_provider, connect, journal
):
    """It halts; after the halt is ended the payout ends unknown, and can be recorded as paid."""
    lost = Fault(FaultKind.LATE, nth=(1,), key="k-1", operation="session/start/payout", seconds=600)
    rules = emulator.Rules(
        confirmation=Confirmation.AUTOMATIC, cancel_created=emulator.Permission.REFUSE
    )
    clock = Clock()
    provider = run_provider(rules=rules, faults=emulator.FaultScript([lost]), clock=clock)
    api = connect(provider, settings=QUICK)
    journal = OnlyOneSession(unsafe=True)
    async with sg.Payouts(api, journal) as payouts:
        with suppress(sg.errors.LostLease):  # The journal refuses once more as the time ends.
            outcome = await payouts.pay(order(), deadline=4.0)
            assert outcome.state is sg.PayoutState.OPEN
        clock.now += timedelta(hours=1)
        provider.tick()
        session = await api.session.status(sg.SessionRef("ps_1"))
        assert await payouts.handle_event(event_of(session))
        with pytest.raises(
            sg.PayoutConflict, match="in no session; the provider: ps_1 is accepted"
        ):
            _ = await payouts.pay(order("k-2"))
        await payouts.resume_journal()
        assert (await payouts.pay(order())).state is sg.PayoutState.UNKNOWN
        if settled_by == "decision":
            _ = await payouts.decide("k-1", is_paid=True, reason="the webhook of ps_1")
        else:
            metadata = session.metadata
            row = sg.payouts.ReportRow(
                line=2, payout_id="po_1", session_id="ps_1", metadata=metadata
            )
            assert await payouts.adopt([row]) == 1
        assert (await payouts.pay(order())).is_paid
    assert provider.order("k-1").moved == 1


class Clock:
    """The provider's clock, which a test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 5, 27, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now


class OnlyOneSession(sg.journal.MemoryJournal):
    """A journal that refuses to choose a second session until the test allows it."""

    async def advance(self, entry, event, changes=NO_CHANGES, **options):
        """Write a step, unless it chooses a second session."""
        if event is sg.journal.Event.SESSION_CHOSEN and entry.session_no:
            raise sg.errors.LostLease(entry.key, entry.fence)
        return await super().advance(entry, event, changes, **options)


@pytest.mark.parametrize("last4", ["", "**** 1111", "411111******1111", None])
async def test_a_card_may_be_shown_in_several_ways(api, journal, last4):
    """Only other digits are another card; a card without digits is not compared."""
    card = sg.BankCard(number="4111111111111111")
    async with sg.Payouts(api, journal) as payouts:
        outcome = await payouts.pay(order(payment_method=card))
        session = await session_of(api, outcome)
        shown = paid(session, payment_method=sg.models.MaskedCard(last4=last4))
        assert await payouts.handle_event(event_of(shown))
        assert (await payouts.pay(order("k-2"))).is_paid


async def test_news_that_end_a_payout_are_not_replaced(run_provider, connect, journal):
    """A webhook that ends a payout isn't replaced by an older one that arrives later."""
    provider, api, one_step = await lost_in_one_step(
        run_provider, connect, journal, FaultKind.AFTER
    )
    async with one_step as payouts:
        _ = await payouts.pay(order())
        session = await api.session.status(sg.SessionRef(provider.session_ids[-1]))
        wakeup = Wakeup()
        payout = payouts._claimer.context.sender.ordered(await journal.find("k-1"))
        older = evolve(session, status="in_progress")
        for one in (older, session, older):
            wakeup.wake(payouts._claimer.context.sender.webhook_reply(one, payout))
        assert wakeup.take().observation.shown is SessionView.PAID
