"""The worst provider: confirms by itself, takes a second start, and ignores the header.

The tests check each guarantee of the documentation for this provider. Tests of the same provider
under kills are in `tests/proof/crash`, under deaths, pauses and late messages in
`tests/proof/simulation`, and in every order of events in `tests/proof/model`.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from fault_matrix import DONE, EACH_JOURNAL, JOURNALS, FaultMatrix, rules_like
from paying import QUICK, START, order
from proof_tables import FAULTS

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Fault, FaultKind, Permission, Reaction

INIT: Final = "session/init/payout"
HOUR: Final = 3600.0


def worst(**rules: Any) -> emulator.Rules:
    """Return the worst provider; how it handles a cancel and late calls can be set."""
    return rules_like(
        sg.Mode.AUTOMATIC,
        **{
            "second_start": Permission.ALLOW,
            "idempotency_header": Reaction.IGNORE,
            "late_cancel": Reaction.IGNORE,
            **rules,
        },
    )


class ProviderClock:
    """The provider's clock, which a test sets."""

    def __init__(self) -> None:
        self.now = datetime(2024, 5, 27, 2, 3, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def advance(self, provider: emulator.Provider) -> None:
        """Let late messages arrive."""
        self.now += timedelta(hours=2)
        provider.tick()


@pytest.fixture
def provider_clock() -> ProviderClock:
    """Return the provider's clock."""
    return ProviderClock()


def late_start(seconds: float = HOUR) -> emulator.FaultScript:
    """Return faults that deliver the first start of `k-1` an hour late."""
    fault = Fault(FaultKind.LATE, nth=(1,), key="k-1", operation=START, seconds=seconds)
    return emulator.FaultScript([fault])


# --- Mode.AUTOMATIC --------------------------------------------------------------------------


@pytest.mark.proof
@pytest.mark.parametrize("mode", sg.Mode)
@pytest.mark.parametrize("cancel", Permission)
@pytest.mark.parametrize("name", EACH_JOURNAL)
def test_every_fault_at_every_call(name, cancel, mode, key, tmp_path, schema, prove):  # noqa: PLR0913, PLR0917
    """Paid once; open and unpaid if no session can be closed; unknown in one step."""
    rules = rules_like(
        mode, second_start=Permission.ALLOW, late_cancel=Reaction.IGNORE, cancel_created=cancel
    )
    result = FaultMatrix(mode=mode, rules=rules).run(key, JOURNALS[name](tmp_path, schema))
    row = f"{mode.value}, {name}, all ignored and allowed, cancel in `created` {DONE[cancel]}"
    prove(FAULTS, row, result.counts)

    assert result.met == set(result.fault_matrix.cells)
    assert result.twice == []
    assert result.undocumented == []


async def test_late_start_in_a_closed_session(run_provider, connect, journal, provider_clock):
    """A3: the payout continues in another session, and the late start does nothing."""
    provider = run_provider(rules=worst(), faults=late_start(), clock=provider_clock)
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, mode=sg.Mode.AUTOMATIC) as payouts:
        assert (await payouts.pay(order())).is_paid
    provider_clock.advance(provider)
    assert provider.order("k-1").calls[START] == 2
    assert provider.order("k-1").moved == 1


async def test_stays_open_if_no_session_can_be_closed(
    run_provider, connect, journal, provider_clock
):
    """Without the first half of A3 there is no second session: the late start is the only one."""
    rules = worst(cancel_created=Permission.REFUSE)
    provider = run_provider(rules=rules, faults=late_start(), clock=provider_clock)
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, mode=sg.Mode.AUTOMATIC) as payouts:
        assert (await payouts.pay(order(), deadline=2.0)).state is sg.PayoutState.OPEN
        provider_clock.advance(provider)
        assert (await payouts.pay(order())).is_paid
    assert provider.order("k-1").moved == 1
    assert len(provider.session_ids) == 1


@pytest.mark.parametrize(("header", "moved"), [(Reaction.IGNORE, 2), (Reaction.REFUSE, 1)])
async def test_late_start_reopens_a_closed_session(  # noqa: PLR0913, PLR0917 - fixtures
    header, moved, run_provider, connect, journal, provider_clock
):
    """Without the second half of A3 the payout is paid twice, unless the header is honoured."""
    rules = worst(late_start_revives=True, idempotency_header=header)
    provider = run_provider(rules=rules, faults=late_start(), clock=provider_clock)
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, mode=sg.Mode.AUTOMATIC) as payouts:
        assert (await payouts.pay(order())).is_paid
        provider_clock.advance(provider)
    assert provider.order("k-1").moved == moved


@pytest.mark.parametrize("found_by", ["webhook", "report"])
async def test_second_payment_halts_payouts(
    found_by, run_provider, connect, journal, provider_clock
):
    """A second payment, found by a webhook or a report, halts all payouts."""
    rules = worst(late_start_revives=True)
    provider = run_provider(rules=rules, faults=late_start(), clock=provider_clock)
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, mode=sg.Mode.AUTOMATIC) as payouts:
        _ = await payouts.pay(order())
        provider_clock.advance(provider)
        session = await api.session.status(sg.SessionRef(provider.session_ids[0]))
        if found_by == "webhook":
            assert await payouts.handle_event(
                sg.PaymentFinished(type="payment_finished", session=session)
            )
        else:
            row = sg.payouts.ReportRow(line=2, payout_id="po_1", session_id=session.id)
            found = await payouts.reconcile([row])
            assert [one.kind for one in found.discrepancies] == [
                sg.payouts.DiscrepancyKind.PAID_TWICE
            ]
        with pytest.raises(sg.PayoutConflict, match=r"'k-1' .*SUCCEEDED in ps_2|ps_1.*'k-1'"):
            _ = await payouts.pay(order("k-2"))
    assert provider.order("k-2").moved == 0


# --- Mode.MANUAL, by mistake -----------------------------------------------------------------


async def test_manual_mode_halts_after_the_first(run_provider, connect, journal):
    """The first payout is paid and reported so; then the batch and the next payout raise."""
    provider = run_provider(rules=worst())
    orders = [order(f"k-{n}") for n in range(10)]
    received: list[sg.PayoutOutcome] = []
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        outcomes = payouts.pay_all(orders, concurrency=1)
        received.append(await anext(outcomes))
        with pytest.raises(sg.errors.ConfirmationMismatch):
            _ = await anext(outcomes)
        with pytest.raises(sg.errors.ConfirmationMismatch):
            _ = await payouts.pay(orders[-1])
    assert [outcome.is_paid for outcome in received] == [True]
    assert provider.report().moved == provider.order("k-0").moved == 1


async def test_manual_mode_halts_payouts_that_have_not_started(run_provider, connect, journal):
    """Payouts in progress at the same time may be paid, once each; no other is."""
    provider = run_provider(rules=worst())
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        outcomes = payouts.pay_all([order(f"k-{n}") for n in range(40)], concurrency=4)
        with pytest.raises(sg.errors.ConfirmationMismatch):
            _ = [outcome async for outcome in outcomes]
    report = provider.report()
    assert 1 <= report.moved <= 4
    assert report.moved_twice == 0


@pytest.mark.parametrize(("cancel", "moved"), [(Permission.ALLOW, 1), (Permission.REFUSE, 2)])
async def test_manual_mode_and_a_late_start(  # noqa: PLR0913, PLR0917 - fixtures
    cancel, moved, run_provider, connect, journal, provider_clock
):
    """Manual mode abandons a session that it can't cancel: only its own confirm should pay."""
    rules = worst(cancel_created=cancel)
    provider = run_provider(rules=rules, faults=late_start(), clock=provider_clock)
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        assert (await payouts.pay(order())).is_paid
        provider_clock.advance(provider)
        with pytest.raises(sg.errors.ConfirmationMismatch):
            _ = await payouts.pay(order("k-2"))
    assert provider.order("k-1").moved == moved


# --- Mode.ONE_STEP ---------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "moved"), [(FaultKind.AFTER, 1), (FaultKind.BEFORE, 0)])
async def test_one_step_is_sent_once(kind, moved, run_provider, connect, journal):
    """A lost one-step payout stays unknown and is never sent again."""
    lost = Fault(kind, nth=(1,), key="k-1", operation=INIT)
    provider = run_provider(rules=worst(), faults=emulator.FaultScript([lost]))
    one_step = sg.Payouts(
        connect(provider, settings=QUICK), journal, mode=sg.Mode.ONE_STEP, accept_unknown=True
    )
    async with one_step as payouts:
        for _ in range(3):
            assert (await payouts.pay(order())).state is sg.PayoutState.UNKNOWN
        states = [outcome.state async for outcome in payouts.settle()]
        assert states == [sg.PayoutState.UNKNOWN]
    assert provider.order("k-1").calls == {INIT: 1}
    assert provider.order("k-1").moved == moved
