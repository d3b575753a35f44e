"""The worst provider: it confirms by itself, takes a second start, and ignores the header.

What the documentation says is still guaranteed there, sentence by sentence. The same provider under
kills is in `tests/crash`, under deaths, pauses and late messages in `tests/simulation`, and under
every order of events in `tests/model`.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from matrix import DONE, EACH_JOURNAL, JOURNALS, Matrix, provider_like
from paying import QUICK, START, order
from proving import FAULTS

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Fault, FaultKind, Permission, Reaction

INIT: Final = "session/init/payout"
HOUR: Final = 3600.0


def worst(**rules: Any) -> emulator.Rules:
    """Give it; what it does about a cancel, and about what comes late, differs."""
    return provider_like(
        sg.Mode.AUTOMATIC,
        **{
            "second_start": Permission.ALLOW,
            "idempotency_header": Reaction.IGNORE,
            "late_cancel": Reaction.IGNORE,
            **rules,
        },
    )


class Hours:
    """The provider's clock, which moves when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2024, 5, 27, 2, 3, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Give the time."""
        return self.now

    def pass_in(self, provider: emulator.Provider) -> None:
        """Let what is late arrive."""
        self.now += timedelta(hours=2)
        provider.tick()


@pytest.fixture
def hours() -> Hours:
    """Give the provider's clock."""
    return Hours()


def late_start(seconds: float = HOUR) -> emulator.FaultScript:
    """Have the first start of `k-1` arrive an hour after it was sent."""
    fault = Fault(FaultKind.LATE, nth=(1,), key="k-1", operation=START, seconds=seconds)
    return emulator.FaultScript([fault])


# --- Mode.AUTOMATIC --------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize("mode", sg.Mode)
@pytest.mark.parametrize("cancel", Permission)
@pytest.mark.parametrize("name", EACH_JOURNAL)
def test_every_fault_at_every_call(name, cancel, mode, key, tmp_path, schema, prove):  # noqa: PLR0913, PLR0917
    """Paid once; open and not paid where no session can be closed; unknown in one step."""
    rules = provider_like(
        mode, second_start=Permission.ALLOW, late_cancel=Reaction.IGNORE, cancel_created=cancel
    )
    played = Matrix(mode=mode, rules=rules).play(key, JOURNALS[name](tmp_path, schema))
    words = f"{mode.value}, {name}, all ignored and allowed, cancel in `created` {DONE[cancel]}"
    prove(FAULTS, words, played.counts)

    assert played.met == set(played.matrix.cells)
    assert played.twice == []
    assert played.unlike_the_docs == []


async def test_a_late_start_finds_its_session_closed(run_provider, connect, journal, hours):
    """A3: the payout went on in another session, and the late one comes to nothing."""
    provider = run_provider(rules=worst(), faults=late_start(), clock=hours)
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, mode=sg.Mode.AUTOMATIC) as payouts:
        assert (await payouts.pay(order())).is_paid
    hours.pass_in(provider)
    assert provider.order("k-1").calls[START] == 2
    assert provider.order("k-1").moved == 1


async def test_where_no_session_can_be_closed_it_waits(run_provider, connect, journal, hours):
    """Without the first half of A3 there is no second session: a late start is the only one."""
    rules = worst(cancel_created=Permission.REFUSE)
    provider = run_provider(rules=rules, faults=late_start(), clock=hours)
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, mode=sg.Mode.AUTOMATIC) as payouts:
        assert (await payouts.pay(order(), deadline=0.5)).state is sg.PayoutState.OPEN
        hours.pass_in(provider)
        assert (await payouts.pay(order())).is_paid
    assert provider.order("k-1").moved == 1
    assert len(provider.session_ids) == 1


@pytest.mark.parametrize(("header", "moved"), [(Reaction.IGNORE, 2), (Reaction.REFUSE, 1)])
async def test_where_a_closed_session_comes_back(  # noqa: PLR0913, PLR0917 - fixtures
    header, moved, run_provider, connect, journal, hours
):
    """Without the second half of A3 it is paid twice, unless the header is honoured."""
    rules = worst(late_start_revives=True, idempotency_header=header)
    provider = run_provider(rules=rules, faults=late_start(), clock=hours)
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, mode=sg.Mode.AUTOMATIC) as payouts:
        assert (await payouts.pay(order())).is_paid
        hours.pass_in(provider)
    assert provider.order("k-1").moved == moved


@pytest.mark.parametrize("told_by", ["webhook", "report"])
async def test_a_second_payment_halts_the_payouts(told_by, run_provider, connect, journal, hours):
    """By a webhook, or by the report: nothing more is paid until a person has looked."""
    rules = worst(late_start_revives=True)
    provider = run_provider(rules=rules, faults=late_start(), clock=hours)
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, mode=sg.Mode.AUTOMATIC) as payouts:
        _ = await payouts.pay(order())
        hours.pass_in(provider)
        session = await api.session.status(sg.SessionRef(provider.session_ids[0]))
        if told_by == "webhook":
            assert await payouts.notice(
                sg.PaymentFinished(type="payment_finished", session=session)
            )
        else:
            row = sg.ReportRow(line=2, payout_id="po_1", session_id=session.id)
            found = await payouts.reconcile([row])
            assert [one.kind for one in found.findings] == [sg.FindingKind.FORGOTTEN]
        with pytest.raises(sg.JournalForgot, match=r"'k-1' .*ps_1"):
            _ = await payouts.pay(order("k-2"))
    assert provider.order("k-2").moved == 0


# --- Mode.MANUAL, by mistake -----------------------------------------------------------------


async def test_manual_mode_halts_after_the_first(run_provider, connect, journal):
    """It is paid once and said to be; the batch ends with what is wrong, and so does the next."""
    provider = run_provider(rules=worst())
    orders = [order(f"k-{n}") for n in range(10)]
    told: list[sg.PayoutOutcome] = []
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        outcomes = payouts.pay_all(orders, concurrency=1)
        told.append(await anext(outcomes))
        with pytest.raises(sg.ConfirmationMismatch):
            _ = await anext(outcomes)
        with pytest.raises(sg.ConfirmationMismatch):
            _ = await payouts.pay(orders[-1])
    assert [outcome.is_paid for outcome in told] == [True]
    assert provider.report().moved == provider.order("k-0").moved == 1


async def test_manual_mode_halts_all_that_are_not_begun(run_provider, connect, journal):
    """Those under way at the same time may be paid, once each; no other is."""
    provider = run_provider(rules=worst())
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        outcomes = payouts.pay_all([order(f"k-{n}") for n in range(40)], concurrency=4)
        with pytest.raises(sg.ConfirmationMismatch):
            _ = [outcome async for outcome in outcomes]
    report = provider.report()
    assert 1 <= report.moved <= 4
    assert report.moved_twice == 0


@pytest.mark.parametrize(("cancel", "moved"), [(Permission.ALLOW, 1), (Permission.REFUSE, 2)])
async def test_manual_mode_and_a_late_start(  # noqa: PLR0913, PLR0917 - fixtures
    cancel, moved, run_provider, connect, journal, hours
):
    """It abandons what it can't cancel, for it believes that only its own confirm pays."""
    rules = worst(cancel_created=cancel)
    provider = run_provider(rules=rules, faults=late_start(), clock=hours)
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        assert (await payouts.pay(order())).is_paid
        hours.pass_in(provider)
        with pytest.raises(sg.ConfirmationMismatch):
            _ = await payouts.pay(order("k-2"))
    assert provider.order("k-1").moved == moved


# --- Mode.ONE_STEP ---------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "moved"), [(FaultKind.AFTER, 1), (FaultKind.BEFORE, 0)])
async def test_one_step_is_sent_once(kind, moved, run_provider, connect, journal):
    """Lost, it is unknown, however often it is asked for, and nothing is sent again."""
    lost = Fault(kind, nth=(1,), key="k-1", operation=INIT)
    provider = run_provider(rules=worst(), faults=emulator.FaultScript([lost]))
    one_step = sg.Payouts(
        connect(provider, settings=QUICK), journal, mode=sg.Mode.ONE_STEP, accept_unknown=True
    )
    async with one_step as payouts:
        for _ in range(3):
            assert (await payouts.pay(order())).state is sg.PayoutState.UNKNOWN
        states = [outcome.state async for outcome in payouts.resume()]
        assert states == [sg.PayoutState.UNKNOWN]
    assert provider.order("k-1").calls == {INIT: 1}
    assert provider.order("k-1").moved == moved
