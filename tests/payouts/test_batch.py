"""A batch of payouts: outcomes as they settle, stop rules, a rate, and runs that continue."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

import pytest
from attrs import evolve
from paying import QUICK, START, order

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Confirmation, Fault, FaultKind
from smartglocal_async.journal.states import Step
from smartglocal_async.payouts.batch import rate_limit
from smartglocal_async.payouts.stop_rules import Tally

pytestmark = pytest.mark.both_loops

DECLINED: Final = 66601
STUCK: Final = 66610


def orders(count: int, **special: int) -> list[sg.PayoutOrder]:
    """Return this many payouts; ``k3=66601`` sets the amount of the third."""
    return [order(f"k{n}", special.get(f"k{n}", 10_000)) for n in range(count)]


async def run(payouts: sg.Payouts, source: Any, **options: Any) -> list[sg.PayoutOutcome]:
    """Pay a batch to its end."""
    return [outcome async for outcome in payouts.pay_all(source, **options)]


async def run_until_stopped(
    payouts: sg.Payouts, source: Any, **options: Any
) -> tuple[list[sg.PayoutOutcome], sg.BatchStopped]:
    """Pay a batch that stops early; return the outcomes and the reason."""
    told: list[sg.PayoutOutcome] = []
    with pytest.raises(sg.BatchStopped) as stopped:
        await collect(told, payouts.pay_all(source, **options))
    return told, stopped.value


async def collect(
    told: list[sg.PayoutOutcome],
    outcomes: AsyncGenerator[sg.PayoutOutcome],
    then: Callable[[int], object] = lambda _: None,
) -> None:
    """Collect outcomes, also before an error; ``then`` is called with their number."""
    async with aclosing(outcomes):
        async for outcome in outcomes:
            told.append(outcome)
            then(len(told))


async def asynchronous(source):
    """Yield the orders from an async generator."""
    for one in source:
        await asyncio.sleep(0)
        yield one


@pytest.mark.parametrize("kind", [list, iter, tuple, asynchronous])
async def test_each_payout_is_made_once(payouts, provider, journal, kind):
    """Each payout is paid once, from any source; the journal has the batch and the positions."""
    told = await run(payouts, kind(orders(12)), concurrency=5, batch="may")

    assert {outcome.key for outcome in told} == {f"k{n}" for n in range(12)}
    assert all(outcome.is_paid and not outcome.replayed for outcome in told)
    assert provider.report().moved == 12
    entries = await journal.entries(99, batch="may")
    assert {entry.key: entry.ordinal for entry in entries} == {f"k{n}": n for n in range(12)}
    assert (told[0].amount, told[0].currency) == (10_000, "usd")


async def test_the_same_source_again(payouts, provider):
    """Settled payouts are replayed, and nothing is sent for them."""
    first = await run(payouts, orders(5, k2=DECLINED))
    requests = provider.report().requests
    again = await run(payouts, orders(7, k2=DECLINED))

    states = {outcome.key: (outcome.state, outcome.replayed) for outcome in again}
    for outcome in first:
        assert states[outcome.key] == (outcome.state, True)
    assert [states[key] for key in ("k5", "k6")] == [(sg.PayoutState.SUCCEEDED, False)] * 2
    assert provider.report().moved == 6
    assert provider.report().requests > requests


async def test_order_that_can_not_be_paid_stops_no_other(payouts, provider):
    """An order that can't be paid, or a reused key, is refused, and the others are paid."""
    _ = await payouts.pay(order("k1", 5))
    bad = order("bad", payment_method=sg.GlobalAccount(iban="DE00370400440532013000"))
    told = await run(payouts, [*orders(3), bad])

    by_key = {outcome.key: outcome for outcome in told}
    assert by_key["k0"].is_paid
    assert by_key["k2"].is_paid
    assert by_key["k1"].state is by_key["bad"].state is sg.PayoutState.REFUSED
    assert isinstance(by_key["k1"].error, sg.KeyReused)
    assert isinstance(by_key["bad"].error, sg.InvalidRequest)
    assert by_key["bad"].reason == str(by_key["bad"].error)
    assert provider.order("bad").calls == {}


async def test_key_used_by_another_batch_meanwhile(payouts):
    """A key that another batch used after the check: the reason names that batch."""
    _ = await run(payouts, [order("k1", 5)], batch="january")
    (refused,) = await run(payouts, [order("k1", 6)], batch="february")
    assert refused.state is sg.PayoutState.REFUSED
    assert "was used with another request in the batch 'january'" in refused.reason


async def test_invalid_item(payouts, provider):
    """An invalid item ends the batch with its position; payouts in progress are settled."""
    with pytest.raises(sg.InvalidRequest, match=r"source\[1\].*PayoutOrder, got str"):
        _ = await run(payouts, [order("k0"), "k1", order("k2")], concurrency=1)
    assert provider.report().moved == 1


async def test_source_that_raises(payouts, provider):
    """Payouts in progress are settled and reported before the source's error is raised."""

    def breaking():
        yield from orders(3)
        raise OSError("the disk is gone")

    told: list[sg.PayoutOutcome] = []
    with pytest.raises(OSError, match="the disk is gone"):
        await collect(told, payouts.pay_all(breaking(), concurrency=2))
    assert len(told) == 3
    assert provider.report().moved == 3


async def test_unsettled_payout_stays_open(connect, provider, journal, clock):
    """A payout that isn't settled in time is open, and the next run continues it."""
    settings = sg.Settings(timing=clock.timing())
    async with sg.Payouts(connect(provider, settings=settings), journal) as payouts:
        told = await run(payouts, orders(3, k1=STUCK), deadline=100)
        assert Counter(outcome.state.value for outcome in told) == {"succeeded": 2, "open": 1}
        assert [one.key async for one in payouts.settle(deadline=100)] == ["k1"]
    assert provider.order("k1").calls[START] == 1


async def test_credentials_that_are_refused_end_it(provider, journal):
    """Refused credentials end the batch before another payout starts."""
    api = sg.SmartGlocal("another", sg.PrivateKey.generate(), provider.url)
    async with api, sg.Payouts(api, journal) as payouts:
        with pytest.raises(sg.Refused, match="identification_error"):
            _ = await run(payouts, orders(50), concurrency=2)
    assert provider.report().sessions == 0
    assert sum((await _counts(journal)).values()) < 10


async def _counts(journal: sg.journal.MemoryJournal) -> Any:
    journal._is_open = True
    return await journal.counts()


# --- Stop rules ------------------------------------------------------------------------------


async def test_it_stops_on_the_first_refusal(payouts, provider):
    """The batch stops at the first refusal, names it, and starts nothing more."""
    told, stopped = await run_until_stopped(
        payouts,
        orders(30, k3=DECLINED),
        concurrency=1,
        stop_on=sg.payouts.StopOn(first_refusal=True),
    )
    assert [outcome.key for outcome in told] == ["k0", "k1", "k2", "k3"]
    assert "'k3' was failed" in stopped.reason
    assert stopped.begun == 4
    assert provider.report().moved == 3


async def test_it_stops_on_failures_in_a_row(payouts, provider):
    """A paid payout resets the count of failures in a row."""
    failing = {f"k{n}": DECLINED for n in (1, 2, 4, 5, 6)}
    told, stopped = await run_until_stopped(
        payouts,
        orders(30, **failing),
        concurrency=1,
        stop_on=sg.payouts.StopOn(failures_in_a_row=3),
    )
    assert len(told) == 7
    assert "3 payouts in a row" in stopped.reason
    assert provider.report().moved == 2


@pytest.mark.parametrize(("concurrency", "rate"), [(1, None), (8, None), (30, 40.0)])
async def test_limit_is_never_exceeded(payouts, provider, concurrency, rate):
    """Payouts in progress count, too; everything within the limit is paid, at any rate."""
    limit = sg.AmountDetails(10_000 * 10 + 9_999, "usd")
    told, stopped = await run_until_stopped(
        payouts,
        orders(30),
        concurrency=concurrency,
        rate=rate,
        stop_on=sg.payouts.StopOn(spend=limit),
    )
    assert sum(outcome.is_paid for outcome in told) == provider.report().moved == 10
    assert "more than 1099.99 USD" in stopped.reason

    _, stopped = await run_until_stopped(
        payouts, orders(30), stop_on=sg.payouts.StopOn(spend=limit)
    )
    assert provider.report().moved == 10, "what was paid before counts"


async def test_a_limit_holds_for_its_currency(payouts):
    """A failed payout doesn't count, and other currencies have no limit."""
    euros = [order(f"e{n}", amount_details=sg.AmountDetails(10_000, "eur")) for n in range(5)]
    source = [*orders(3, k0=DECLINED), *euros]
    limit = sg.payouts.StopOn(spend=sg.AmountDetails(DECLINED + 10_000, "usd"))
    told = await run(payouts, source, concurrency=1, stop_on=limit)
    assert sum(outcome.is_paid for outcome in told) == 7


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_it_stops_before_the_wallet_is_empty(run_provider, connect, journal, concurrency):
    """The provider is never asked to pay more than the balance."""
    provider = run_provider(rules=emulator.Rules(opening_balance=100_000 + 5_000))
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        told, stopped = await run_until_stopped(
            payouts,
            orders(30),
            concurrency=concurrency,
            stop_on=sg.payouts.StopOn(low_balance=True),
        )
        assert all(outcome.is_paid for outcome in told)
        assert provider.report().moved == 10
        assert "the wallets can't pay" in stopped.reason
        told, _ = await run_until_stopped(
            payouts, orders(30), stop_on=sg.payouts.StopOn(low_balance=True)
        )
        assert len(told) == 10
        assert all(outcome.replayed for outcome in told)
        rule = sg.payouts.StopOn(low_balance=True)
        keys = {outcome.key for outcome in told}
        paid = [one for one in orders(30) if one.key in keys]
        assert len(await run(payouts, paid, stop_on=rule)) == 10, "what is paid costs nothing"
    assert provider.report().moved == 10


async def test_payouts_in_flight_cost_nothing(run_provider, connect, journal):
    """One that was confirmed has its money already, so a rerun finishes it."""
    rules = emulator.Rules(wallets={"usd": 66_610}, confirmation=Confirmation.MANUAL)
    api = connect(run_provider(rules=rules), settings=QUICK)
    async with sg.Payouts(api, journal) as payouts:
        rule = sg.payouts.StopOn(low_balance=True)
        stuck = [order("k-1", STUCK)]
        first = [one async for one in payouts.pay_all(stuck, stop_on=rule, deadline=1.0)]
        assert [one.state.value for one in first] == ["open"]
        assert (await api.wallet.balance())[0].amount_details.amount == 0
        again = [one async for one in payouts.pay_all(stuck, stop_on=rule, deadline=1.0)]
        assert [one.state.value for one in again] == ["open"]
        with pytest.raises(sg.BatchStopped, match="'k-2'"):
            _ = [one async for one in payouts.pay_all([order("k-2")], stop_on=rule)]


async def test_unavailable_balance(run_provider, connect, journal):
    """A balance that can't be read ends the batch before it starts."""
    fault = Fault(FaultKind.SERVER_ERROR, operation="wallet/balance", rate=1.0)
    provider = run_provider(faults=emulator.FaultScript([fault]))
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        with pytest.raises(sg.OutcomeUnknown, match="wallet/balance"):
            _ = await run(payouts, orders(3), stop_on=sg.payouts.StopOn(low_balance=True))
    assert provider.report().moved == 0


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"failures_in_a_row": 0}, "failures_in_a_row"),
        ({"failures_in_a_row": 1.5}, "failures_in_a_row"),
        ({"spend": (100,)}, "spend"),
        ({"spend": (sg.AmountDetails(1, "usd"), sg.AmountDetails(2, "usd"))}, "spend"),
    ],
)
def test_invalid_rule(rule, field):
    """An invalid rule is refused by name."""
    with pytest.raises(sg.InvalidRequest, match=f"StopOn.{field}"):
        _ = sg.payouts.StopOn(**rule)


def test_balance_read_while_payouts_settle():
    """Payouts after the balance call count; those before it are already in the balance."""
    tally, first, second = (
        Tally(sg.payouts.StopOn(low_balance=True)),
        order("a", 60),
        order("b", 50),
    )
    paid = sg.PayoutOutcome(key="a", state=sg.PayoutState.SUCCEEDED)
    tally.see_balance(Counter(usd=100), tally.drawn)
    assert tally.is_covered(first)
    assert tally.may_begin(first)
    assert not tally.is_covered(second)
    asked = tally.drawn
    tally.note(first, paid)
    tally.see_balance(Counter(usd=100), asked)
    assert not tally.is_covered(second), "it was perhaps paid after the look"
    tally.see_balance(Counter(usd=40), tally.drawn)
    assert tally.is_covered(order("c", 40))


# --- Rate and stops --------------------------------------------------------------------------


async def test_rate(payouts):
    """Only this many payouts start per second; replayed ones don't count."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    told = await run(payouts, orders(21), rate=100.0)
    assert all(outcome.is_paid for outcome in told)
    assert loop.time() - begun >= 18 / 100
    over = asyncio.Event()
    limit = rate_limit(0.001, over)
    await limit.wait()
    over.set()
    await limit.wait()  # The next start would be in a quarter of an hour.


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), "5", True])
async def test_invalid_rate(payouts, wrong):
    """An invalid rate is refused before anything starts."""
    with pytest.raises(sg.InvalidRequest, match="rate"):
        _ = payouts.pay_all([], rate=wrong)


async def test_stop(payouts, provider):
    """After a stop nothing starts, payouts in progress are written, and the next run continues."""
    told: list[sg.PayoutOutcome] = []
    with pytest.raises(sg.BatchStopped, match=r"stop\(\) was called"):
        await collect(
            told,
            payouts.pay_all(orders(60), concurrency=4),
            lambda count: payouts.stop() if count == 10 else None,
        )
    assert 10 <= len(told) < 25
    assert provider.report().moved == sum(outcome.is_paid for outcome in told)


async def test_a_run_after_a_stop(connect, provider, journal):
    """Another `Payouts` continues a stopped batch and pays the rest."""
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal) as payouts:
        payouts.stop("enough")
        with pytest.raises(sg.BatchStopped, match="enough"):
            _ = await run(payouts, orders(5))
    async with sg.Payouts(api, journal) as payouts:
        assert len(await run(payouts, orders(5))) == 5
    assert provider.report().moved == 5


async def test_a_stop_ends_a_wait(connect, run_provider, journal):
    """A stop ends the wait for the provider; the payout stays open in the journal."""
    provider = run_provider()
    async with sg.Payouts(connect(provider), journal) as payouts, asyncio.TaskGroup() as group:
        paying = group.create_task(payouts.pay(order(amount=STUCK), deadline=600))
        while provider.order("k-1").calls.get("session/confirm") is None and not paying.done():
            await asyncio.sleep(0.01)
            if (await journal.find("k-1")).step is Step.CONFIRMED:
                break
        payouts.stop()
    assert paying.result().state is sg.PayoutState.OPEN


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_signal_stops_the_batch(payouts, provider):
    """The first signal stops the batch; a second one has its previous effect."""
    before = signal.getsignal(signal.SIGTERM)
    told: list[sg.PayoutOutcome] = []
    with payouts.stops_on(signal.SIGTERM), pytest.raises(sg.BatchStopped, match="SIGTERM"):
        await collect(
            told,
            payouts.pay_all(orders(60), concurrency=2),
            lambda count: os.kill(os.getpid(), signal.SIGTERM) if count == 5 else None,
        )
    assert len(told) < 60
    assert signal.getsignal(signal.SIGTERM) is before
    assert provider.report().moved == sum(outcome.is_paid for outcome in told)


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"deadline": -1}, {"concurrency": 2.5}])
async def test_invalid_options(payouts, wrong):
    """Invalid options are refused by name."""
    with pytest.raises(sg.InvalidRequest, match=next(iter(wrong))):
        _ = payouts.pay_all([], **wrong)


async def test_resume_comes_in_pages(payouts, journal, provider):
    """All open payouts are resumed in pages, with the orders of the cipher or the caller."""
    for n in range(300):
        _ = await journal.accept(
            sg.journal.NewEntry(
                key=f"k{n}",
                mode="manual",
                fingerprint=payouts_fingerprint(payouts, n),
                amount=10_000,
                currency="usd",
            )
        )
    without = [outcome async for outcome in payouts.settle()]
    assert len(without) == 300
    assert all(outcome.needs_request for outcome in without)
    known = {f"k{n}": order(f"k{n}") for n in range(20)}
    told = [outcome async for outcome in payouts.settle(known.get)]
    assert sum(outcome.is_paid for outcome in told) == provider.report().moved == 20


def payouts_fingerprint(payouts: sg.Payouts, number: int) -> Any:
    """Return the fingerprint of an order in this journal."""
    from smartglocal_async.payouts.calls import fingerprint_of  # noqa: PLC0415

    return fingerprint_of(order(f"k{number}"), payouts._journal.secret)


async def test_resume_with_a_cipher_needs_no_orders(connect, provider, journal):
    """With a cipher, resume needs no orders; the journal has the encrypted requests."""
    cipher = sg.RequestCipher(sg.RequestCipher.new_key())
    api = connect(provider, settings=QUICK)
    secret = order("k-1", payment_method=sg.EncryptedCard(number_hash="the-secret-hash"))
    async with sg.Payouts(api, journal, cipher=cipher) as payouts:
        entry = await payouts._claimer.accept(secret)
        assert entry.request is not None
        assert b"the-secret-hash" not in entry.request
    async with sg.Payouts(api, journal) as payouts:
        told = [outcome async for outcome in payouts.settle()]
        assert [outcome.needs_request for outcome in told] == [True]
    async with sg.Payouts(
        api, journal, cipher=sg.RequestCipher(sg.RequestCipher.new_key())
    ) as payouts:
        with pytest.raises(sg.errors.WrongJournalKey, match="'k-1' was encrypted with another"):
            _ = [outcome async for outcome in payouts.settle()]
    async with sg.Payouts(api, journal, cipher=cipher) as payouts:
        told = [outcome async for outcome in payouts.settle()]
    assert [outcome.is_paid for outcome in told] == [True]
    assert provider.order("k-1").moved == 1


async def test_scheduled_resume_skips_recent_checks(connect, provider, journal, clock):
    """A scheduled resume skips payouts that were just checked; a manual one doesn't."""
    settings = sg.Settings(timing=clock.timing())
    async with sg.Payouts(connect(provider, settings=settings), journal) as payouts:
        _ = await run(payouts, [order(amount=STUCK)])
        assert [one async for one in payouts.settle(is_due=True)] == []
        assert len([one async for one in payouts.settle()]) == 1


@pytest.mark.parametrize("amount", [10_000, STUCK])
async def test_a_setting_that_forbids_what_was_paid_before(provider, connect, journal, amount):
    """The order is refused, and the reason says what the journal has: nothing is sent."""
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        first = await payouts.pay(order("k-1", amount), deadline=1.0)
    limits = {"usd": (100, 5_000)}
    settings = evolve(QUICK, amount_limits=limits)
    orders = [order("k-1", amount), order("k-2", amount), order("k-3", 4_000)]
    async with sg.Payouts(connect(provider, settings=settings), journal) as payouts:
        known, new, paid = [one async for one in payouts.pay_all(orders)]
    assert [one.state for one in (known, new)] == [sg.PayoutState.REFUSED] * 2
    assert known.reason.endswith(f"; the journal has this key as {first.state.value}, which stays")
    assert "journal" not in new.reason
    assert (paid.is_paid, provider.order("k-1").moved) == (True, int(first.is_paid))
