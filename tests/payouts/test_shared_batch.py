"""A batch that one process submits and any number of workers pay."""

import asyncio
from contextlib import AsyncExitStack, aclosing
from itertools import count

import pytest
from journal_conformance import SetClock, bring_to
from paying import QUICK, START, order
from postgres_schemas import DSN, needs_postgres

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Confirmation, Fault, FaultKind

pytestmark = pytest.mark.slow

CIPHER = sg.RequestCipher(sg.RequestCipher.new_key())


def orders(count: int) -> list[sg.PayoutOrder]:
    """Return this many payouts."""
    return [order(f"k{n}") for n in range(count)]


async def run_chunk(payouts: sg.Payouts, batch: str | None = None, **options) -> list[str]:
    """Run a chunk; return the keys that were paid."""
    told = [outcome async for outcome in payouts.run_chunk(batch, **options)]
    assert {outcome.state for outcome in told} <= {sg.PayoutState.SUCCEEDED}
    return [outcome.key for outcome in told]


@pytest.fixture
async def payouts(quick_api, tmp_path):
    """Return payouts over a file, with a cipher."""
    async with sg.Payouts(quick_api, sg.SQLiteJournal(tmp_path / "j.db"), cipher=CIPHER) as payouts:
        yield payouts


@pytest.fixture
def quick_api(connect, provider) -> sg.SmartGlocal:
    """Return a client with short waits."""
    return connect(provider, settings=QUICK)


async def test_submit_and_run_chunks(payouts, provider) -> None:
    """Nothing is sent on submit; each payout is paid once, in chunks, oldest first."""
    done = await payouts.submit(orders(25), "night", digest=b"d" * 32)
    assert (done.refused, done.refused_count) == ((), 0)
    assert (done.batch.rows, done.batch.totals, done.batch.digest) == (
        25,
        {"usd": 250_000},
        b"d" * 32,
    )
    assert provider.report().requests == 0
    assert sorted(await run_chunk(payouts, "night", limit=10)) == sorted(f"k{n}" for n in range(10))
    assert len(await run_chunk(payouts, limit=500, concurrency=3)) == 15
    assert await run_chunk(payouts) == []
    assert [provider.order(f"k{n}").moved for n in range(25)] == [1] * 25


async def test_the_same_batch_again(payouts, provider) -> None:
    """Existing payouts are kept; keys with another request are listed."""
    done = await payouts.submit(orders(3), "night")
    assert (done.new_count, done.known) == (3, {})
    assert len(await run_chunk(payouts)) == 3
    again = [*orders(4), order("k9", 5), order("k1", 77)]
    done = await payouts.submit(again, "night")
    assert done.batch.rows == 5
    assert [(one.key, one.differing_fields) for one in done.refused] == [
        ("k1", ("amount_details.amount",))
    ]
    assert done.refused_count == 1
    assert (done.new_count, done.known) == (2, {("night", sg.PayoutState.SUCCEEDED): 3})
    assert sorted(await run_chunk(payouts)) == ["k3", "k9"]
    assert provider.report().moved == 5


@pytest.mark.parametrize("road", ["pay_all", "resume", "run_chunk"])
@pytest.mark.parametrize("kind", ["noticed here", "noticed elsewhere"])
async def test_a_run_whose_last_payouts_halt(road, kind, run_provider, connect, tmp_path) -> None:
    """Each payout is reported as paid, and then the halt is raised, whichever worker found it."""
    is_here = kind == "noticed here"
    confirmation = Confirmation.AUTOMATIC if is_here else Confirmation.MANUAL
    provider = run_provider(rules=emulator.Rules(confirmation=confirmation))
    api, journal = connect(provider, settings=QUICK), sg.SQLiteJournal(tmp_path / "j.db")
    outcomes = list[sg.PayoutOutcome]()
    async with sg.Payouts(api, journal, cipher=CIPHER) as payouts:
        _ = await payouts.submit(orders(3), "night")
        runs = {
            "pay_all": lambda: payouts.pay_all(orders(3), batch="night", concurrency=3),
            "resume": lambda: payouts.settle(concurrency=3),
            "run_chunk": lambda: payouts.run_chunk("night", concurrency=3),
        }

        async def run() -> None:
            async for outcome in runs[road]():
                outcomes.append(outcome)
                if not is_here and len(outcomes) == 3:
                    await journal.halt(
                        sg.journal.Halt(kind=sg.journal.HaltKind.FORGOT, reason="elsewhere")
                    )

        with pytest.raises(sg.errors.ConfirmationMismatch if is_here else sg.errors.JournalForgot):
            await run()
    told = {one.key for one in outcomes if one.is_paid}
    assert told == {key for key in ("k0", "k1", "k2") if provider.order(key).moved}
    # After one worker found the reason, another payout may no longer start.
    assert len(told) == len(outcomes) == provider.report().moved >= (1 if is_here else 3)


async def test_keys_of_another_batch(payouts) -> None:
    """Keys stay in their first batch, and are listed with it, also if they have none."""
    _ = await payouts.pay(order("alone"))
    _ = await payouts.submit(orders(3), "night")
    assert len(await run_chunk(payouts, limit=1)) == 1
    assert await payouts.cancel_batch("night", reason="wrong file") == 2
    done = await payouts.submit([*orders(3), order("alone"), order("new")], "day")
    assert (done.batch.rows, done.new_count, done.refused_count) == (5, 1, 0)
    assert done.known == {
        ("night", sg.PayoutState.SUCCEEDED): 1,
        ("night", sg.PayoutState.CANCELLED): 2,
        (None, sg.PayoutState.SUCCEEDED): 1,
    }
    assert await run_chunk(payouts) == ["new"]


async def test_a_key_that_comes_twice(payouts) -> None:
    """A repeated key is new once."""
    done = await payouts.submit([order(), order()], "night")
    assert (done.new_count, done.known) == (1, {("night", sg.PayoutState.OPEN): 1})


async def test_without_a_seal(quick_api, tmp_path) -> None:
    """Without a cipher a batch can't be paid by others, so submit refuses it."""
    async with sg.Payouts(quick_api, sg.SQLiteJournal(tmp_path / "j.db")) as payouts:
        with pytest.raises(sg.Misuse, match="give Payouts a cipher"):
            await payouts.submit(orders(3), "night")
        assert (await payouts.summary()).counts == {}


async def test_payout_without_a_request_is_skipped(quick_api, provider, tmp_path) -> None:
    """A payout without a request is reported once, and checked again only after a pause."""
    async with sg.Payouts(quick_api, sg.SQLiteJournal(tmp_path / "j.db")) as payouts:
        _ = await payouts._open().accept(order("bare"))
        told = [outcome async for outcome in payouts.run_chunk()]
        assert [(outcome.key, outcome.needs_request) for outcome in told] == [("bare", True)]
        assert [outcome async for outcome in payouts.run_chunk()] == []
    assert provider.report().requests == 0


async def test_a_rule_that_is_broken(payouts) -> None:
    """The rule is named, and nothing after it is written."""
    wrong = order("bad", participant_details=None, payment_method=sg.EncryptedCard(number_hash=""))
    with pytest.raises(sg.InvalidRequest):
        await payouts.submit([*orders(2), wrong, order("later")], "night")
    assert (await payouts.summary(batch="night")).counts == {}


async def test_invalid_settings(payouts) -> None:
    """Invalid settings are refused at once."""
    for name in ("limit", "concurrency", "deadline"):
        with pytest.raises(sg.InvalidRequest, match=name):
            payouts.run_chunk(**{name: 0})


async def test_stopping_worker_releases_its_leases(payouts) -> None:
    """A worker that stops releases the leases of payouts that it hasn't started."""
    _ = await payouts.submit(orders(40), "night")
    async with aclosing(payouts.run_chunk(concurrency=8)) as outcomes:
        async for _ in outcomes:
            payouts.stop()
    journal = payouts._journal
    held = [entry for entry in await journal.entries(99) if entry.owner is not None]
    assert held == []


async def test_failing_worker_releases_its_leases(payouts, provider) -> None:
    """A worker with another key of the cipher fails, and releases its leases."""
    _ = await payouts.submit(orders(40), "night")
    payouts._open().cipher = sg.RequestCipher(sg.RequestCipher.new_key())
    with pytest.raises(sg.JournalUnusable):
        await run_chunk(payouts, concurrency=8)
    held = [entry for entry in await payouts._journal.entries(99) if entry.owner is not None]
    assert held == []
    assert provider.report().requests == 0


async def test_a_batch_that_is_paused(payouts, provider) -> None:
    """Nothing of a paused batch starts until it is resumed."""
    _ = await payouts.submit(orders(6), "night")
    _ = await payouts.submit([order("other")], "day")
    async with aclosing(payouts.run_chunk("night", concurrency=1)) as outcomes:
        async for _ in outcomes:
            assert (await payouts.pause_batch("night", reason="a look")).reason == "a look"
    paid = provider.report().moved
    assert paid < 6
    assert await run_chunk(payouts) == ["other"]
    assert (await payouts.resume_batch("night")).state is sg.journal.BatchState.RUNNING
    assert len(await run_chunk(payouts)) == 6 - paid


async def test_a_batch_that_is_cancelled(payouts, provider) -> None:
    """Payouts without a call are withdrawn; paid ones stay paid."""
    _ = await payouts.submit(orders(6), "night")
    _ = await payouts.submit([order("other")], "day")
    assert len(await run_chunk(payouts, "night", limit=2)) == 2
    assert await payouts.cancel_batch("night", reason="the wrong file") == 4
    assert await run_chunk(payouts) == ["other"]
    summary = await payouts.summary(batch="night")
    assert summary.counts == {sg.PayoutState.SUCCEEDED: 2, sg.PayoutState.CANCELLED: 4}
    outcome = await payouts.pay(order("k5"))
    assert (outcome.state, outcome.reason) == (sg.PayoutState.CANCELLED, "the wrong file")
    assert provider.report().moved == 3
    with pytest.raises(sg.Misuse, match="was cancelled, and can't change"):
        await payouts.resume_batch("night")


@needs_postgres
async def test_many_workers(run_provider, connect, schema) -> None:
    """Over one database, under faults: each payout is paid once, by one worker."""
    faults = emulator.FaultScript(
        Fault(kind, nth=(1,), key=f"k{n}", operation=START)
        for n, kind in enumerate((FaultKind.BEFORE, FaultKind.AFTER, FaultKind.SERVER_ERROR))
    )
    provider = run_provider(faults=faults)
    async with AsyncExitStack() as stack:
        workers = await _workers(stack, connect, provider, schema, 4)
        _ = await workers[0].submit(orders(80), "night")
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(run_chunk(worker, "night", limit=80, concurrency=8))
                for worker in workers
            ]
        told = [key for task in tasks for key in task.result()]
        assert sorted(told) == sorted(f"k{n}" for n in range(80))
    assert [provider.order(f"k{n}").moved for n in range(80)] == [1] * 80


@needs_postgres
async def test_a_spending_limit_of_all_workers(run_provider, connect, schema) -> None:
    """The limit is never exceeded; a failed payout frees its share."""
    provider = run_provider()
    stop_on = sg.payouts.StopOn(spend=sg.AmountDetails(30 * 10_000 + 9_999, "usd"))
    async with AsyncExitStack() as stack:
        workers = await _workers(stack, connect, provider, schema, 4)
        declined = [order(f"d{n}", 66_601) for n in range(2)]
        _ = await workers[0].submit([*declined, *orders(80)], "night", stop_on=stop_on)
        await _all_work(workers)
        batch = await workers[0]._journal.batch("night")
        summary = await workers[0].summary(batch="night")
    assert batch.state is sg.journal.BatchState.PAUSED
    assert "more than 3099.99 USD would be spent" in batch.reason
    assert provider.report().moved * 10_000 == batch.bound["usd"]
    assert 17 <= provider.report().moved <= 30
    assert summary.counts[sg.PayoutState.SUCCEEDED] == provider.report().moved


async def test_stop_rules_of_a_batch(payouts, provider) -> None:
    """The rules are stored with the batch."""
    rules = sg.payouts.StopOn(first_refusal=True, failures_in_a_row=3)
    done = await payouts.submit(orders(3), "night", stop_on=rules)
    assert done.batch.rules == sg.journal.BatchRules(first_refusal=True, failures_in_a_row=3)
    again = await payouts.submit(orders(4), "night")
    assert (again.batch.rules, again.batch.rows) == (done.batch.rules, 4)
    assert len(await run_chunk(payouts)) == 4
    assert provider.report().moved == 4


async def test_rules_after_payouts_started(payouts) -> None:
    """Rules are refused if uncounted payouts have started; the batch isn't written either."""
    _ = [outcome async for outcome in payouts.pay_all(orders(1), batch="night")]
    with pytest.raises(sg.Misuse, match="written before any stop rules"):
        await payouts.submit(orders(3), "night", stop_on=sg.payouts.StopOn(first_refusal=True))


async def test_a_batch_that_stops_before_others(payouts) -> None:
    """Batches after it are paid in the same run."""
    stop_on = sg.payouts.StopOn(spend=sg.AmountDetails(10_000, "usd"))
    _ = await payouts.submit(orders(20), "night", stop_on=stop_on)
    _ = await payouts.submit([order("other")], "day")
    assert set(await run_chunk(payouts, concurrency=8)) == {"k0", "other"}


async def test_payout_that_needs_review_counts(payouts, provider) -> None:
    """A payout that needs review still counts."""
    stop_on = sg.payouts.StopOn(spend=sg.AmountDetails(10_000, "usd"))
    _ = await payouts.submit(orders(3), "night", stop_on=stop_on)
    for key in ("k0", "k1", "k2"):
        with pytest.raises(sg.Misuse, match="is at NEW"):
            await payouts.decide(key, is_paid=True, reason="a guess")
    assert await run_chunk(payouts) == ["k0"]
    assert provider.report().moved == 1


@needs_postgres
async def test_shared_balance(run_provider, connect, schema) -> None:
    """Nothing starts that the balance doesn't cover; the batch is paused with a reason."""
    provider = run_provider(rules=emulator.Rules(opening_balance=25 * 10_000 + 9_999))
    async with AsyncExitStack() as stack:
        workers = await _workers(stack, connect, provider, schema, 4)
        stop_on = sg.payouts.StopOn(low_balance=True)
        _ = await workers[0].submit(orders(40), "night", stop_on=stop_on)
        await _all_work(workers)
        batch = await workers[0]._journal.batch("night")
        assert batch.state is sg.journal.BatchState.PAUSED
        assert batch.reason.startswith("the wallets can't pay 'k")
        assert provider.report().moved == 25
        assert (await workers[0].summary()).counts[sg.PayoutState.SUCCEEDED] == 25


async def test_balance_while_payouts_are_in_progress(run_provider, connect, journal) -> None:
    """While another worker has payouts in progress, the batch isn't paused."""
    provider = run_provider(rules=emulator.Rules(opening_balance=15_000))
    others: list[sg.journal.Entry] = []
    sleeps = count()

    async def sleep(_seconds: float) -> None:
        if next(sleeps) == 4:
            _ = await journal.advance(others[0], sg.journal.Event.NOT_PAID)

    api = connect(provider, settings=sg.Settings(timing=sg.Timing(sleep=sleep)))
    async with sg.Payouts(api, journal, cipher=CIPHER) as payouts:
        stop_on = sg.payouts.StopOn(low_balance=True)
        _ = await payouts.submit(orders(1), "night", stop_on=stop_on)
        place = {"batch": "night", "amount": 10_000, "currency": "usd"}
        others.append(await bring_to(journal, sg.journal.Step.STARTED, "other", **place))
        assert await run_chunk(payouts) == ["k0"]
        assert (await journal.batch("night")).state is sg.journal.BatchState.RUNNING


async def test_stale_balance(run_provider, connect, tmp_path) -> None:
    """The balance is read again before payouts are claimed."""
    provider, clock = run_provider(rules=emulator.Rules(opening_balance=25_000)), SetClock()
    journal = sg.SQLiteJournal(tmp_path / "j.db", clock=clock)
    async with sg.Payouts(connect(provider, settings=QUICK), journal, cipher=CIPHER) as payouts:
        stop_on = sg.payouts.StopOn(low_balance=True)
        _ = await payouts.submit(orders(3), "night", stop_on=stop_on)
        _ = await journal.cover("night", {"usd": 10**9})
        clock.now += 30
        assert sorted(await run_chunk(payouts)) == ["k0", "k1"]
        _ = await journal.cover("night", {"usd": 10**9})
        assert (await payouts.resume_batch("night")).cover is None
        assert await run_chunk(payouts) == []


async def test_stop_while_the_balance_is_too_low(provider, connect, tmp_path) -> None:
    """A worker that stops doesn't pause the batch, because payouts in progress may still settle."""
    held: list[sg.Payouts] = []

    async def sleep(_seconds: float) -> None:
        held[0].stop()

    api = connect(provider, settings=sg.Settings(timing=sg.Timing(sleep=sleep)))
    journal = sg.SQLiteJournal(tmp_path / "j.db")
    async with sg.Payouts(api, journal, cipher=CIPHER) as payouts:
        held.append(payouts)
        too_much = [order("k", 10**12)]
        _ = await payouts.submit(too_much, "night", stop_on=sg.payouts.StopOn(low_balance=True))
        assert await run_chunk(payouts) == []
        assert (await journal.batch("night")).state is sg.journal.BatchState.RUNNING


async def test_unavailable_balance(run_provider, connect, tmp_path) -> None:
    """Nothing starts, because the rule can't be kept."""
    fault = Fault(FaultKind.SERVER_ERROR, operation="wallet/balance", rate=1.0)
    provider = run_provider(faults=emulator.FaultScript([fault]))
    journal = sg.SQLiteJournal(tmp_path / "j.db")
    async with sg.Payouts(connect(provider, settings=QUICK), journal, cipher=CIPHER) as payouts:
        _ = await payouts.submit(orders(3), "night", stop_on=sg.payouts.StopOn(low_balance=True))
        with pytest.raises(sg.OutcomeUnknown, match="wallet/balance"):
            await run_chunk(payouts)
    assert provider.report().moved == 0


async def _workers(stack, connect, provider, schema, count) -> list[sg.Payouts]:
    """Return workers over one database."""
    return [
        await stack.enter_async_context(
            sg.Payouts(
                connect(provider, settings=QUICK),
                sg.PostgresJournal(DSN, schema=schema),
                cipher=CIPHER,
            )
        )
        for _ in range(count)
    ]


async def _all_work(workers) -> None:
    """Run all workers until nothing is left to claim."""

    async def work(payouts: sg.Payouts) -> None:
        async for _ in payouts.run_chunk("night", limit=80, concurrency=8):
            pass

    async with asyncio.TaskGroup() as group:
        for worker in workers:
            _ = group.create_task(work(worker))
