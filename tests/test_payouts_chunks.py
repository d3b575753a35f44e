"""A batch that one process writes down, and any number works off."""

import asyncio
from contextlib import AsyncExitStack, aclosing
from itertools import count

import pytest
from journal_conformance import SetClock, bring
from paying import QUICK, START, order
from postgres_schemas import DSN, needs_postgres

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Fault, FaultKind

pytestmark = pytest.mark.thorough

SEAL = sg.Seal(sg.Seal.new_key())


def orders(count: int) -> list[sg.PayoutOrder]:
    """Give so many payouts."""
    return [order(f"k{n}") for n in range(count)]


async def work_off(payouts: sg.Payouts, batch: str | None = None, **options) -> list[str]:
    """Work off a chunk; give the keys that were paid."""
    told = [outcome async for outcome in payouts.run_chunk(batch, **options)]
    assert {outcome.state for outcome in told} <= {sg.PayoutState.SUCCEEDED}
    return [outcome.key for outcome in told]


@pytest.fixture
async def payouts(api_quick, tmp_path):
    """Give payouts over a file, with a seal."""
    async with sg.Payouts(api_quick, sg.SQLiteJournal(tmp_path / "j.db"), seal=SEAL) as payouts:
        yield payouts


@pytest.fixture
def api_quick(connect, provider) -> sg.SmartGlocal:
    """Give a client that hardly waits."""
    return connect(provider, settings=QUICK)


async def test_a_batch_that_is_written_down_and_worked_off(payouts, provider) -> None:
    """Nothing is sent before, and each is paid once; in chunks, the oldest first."""
    done = await payouts.submit(orders(25), "night", digest=b"d" * 32)
    assert (done.refused, done.refused_count) == ((), 0)
    assert (done.batch.rows, done.batch.totals, done.batch.digest) == (
        25,
        {"usd": 250_000},
        b"d" * 32,
    )
    assert provider.report().requests == 0
    assert sorted(await work_off(payouts, "night", limit=10)) == sorted(f"k{n}" for n in range(10))
    assert len(await work_off(payouts, limit=500, concurrency=3)) == 15
    assert await work_off(payouts) == []
    assert [provider.order(f"k{n}").moved for n in range(25)] == [1] * 25


async def test_the_same_batch_again(payouts, provider) -> None:
    """What is there stays; what has another request under its key is told."""
    done = await payouts.submit(orders(3), "night")
    assert (done.new_count, done.known) == (3, {})
    assert len(await work_off(payouts)) == 3
    again = [*orders(4), order("k9", 5), order("k1", 77)]
    done = await payouts.submit(again, "night")
    assert done.batch.rows == 5
    assert [(one.key, one.differing_fields) for one in done.refused] == [
        ("k1", ("amount_details.amount",))
    ]
    assert done.refused_count == 1
    assert (done.new_count, done.known) == (2, {("night", sg.PayoutState.SUCCEEDED): 3})
    assert sorted(await work_off(payouts)) == ["k3", "k9"]
    assert provider.report().moved == 5


async def test_keys_of_another_batch(payouts) -> None:
    """They stay with it, whatever becomes of it, and are told by it; as is one of no batch."""
    _ = await payouts.pay(order("alone"))
    _ = await payouts.submit(orders(3), "night")
    assert len(await work_off(payouts, limit=1)) == 1
    assert await payouts.cancel("night", reason="wrong file") == 2
    done = await payouts.submit([*orders(3), order("alone"), order("new")], "day")
    assert (done.batch.rows, done.new_count, done.refused_count) == (5, 1, 0)
    assert done.known == {
        ("night", sg.PayoutState.SUCCEEDED): 1,
        ("night", sg.PayoutState.CANCELLED): 2,
        (None, sg.PayoutState.SUCCEEDED): 1,
    }
    assert await work_off(payouts) == ["new"]


async def test_a_key_that_comes_twice(payouts) -> None:
    """It is new once."""
    done = await payouts.submit([order(), order()], "night")
    assert (done.new_count, done.known) == (1, {("night", sg.PayoutState.OPEN): 1})


async def test_without_a_seal(api_quick, tmp_path) -> None:
    """Nobody could pay what lies there: it is refused before anything is written."""
    async with sg.Payouts(api_quick, sg.SQLiteJournal(tmp_path / "j.db")) as payouts:
        with pytest.raises(sg.Misuse, match="give Payouts a seal"):
            await payouts.submit(orders(3), "night")
        assert (await payouts.summary()).counts == {}


async def test_what_has_no_request_is_passed_over(api_quick, provider, tmp_path) -> None:
    """It is told once, and looked at again only after a pause."""
    async with sg.Payouts(api_quick, sg.SQLiteJournal(tmp_path / "j.db")) as payouts:
        _ = await payouts._open().accept(order("bare"))
        told = [outcome async for outcome in payouts.run_chunk()]
        assert [(outcome.key, outcome.needs_request) for outcome in told] == [("bare", True)]
        assert [outcome async for outcome in payouts.run_chunk()] == []
    assert provider.report().requests == 0


async def test_a_rule_that_is_broken(payouts) -> None:
    """It is named; nothing that comes after it is written."""
    wrong = order("bad", participant_details=None, payment_method=sg.EncryptedCard(number_hash=""))
    with pytest.raises(sg.InvalidRequest):
        await payouts.submit([*orders(2), wrong, order("later")], "night")
    assert (await payouts.summary(batch="night")).counts == {}


async def test_settings_that_make_no_sense(payouts) -> None:
    """They are named at once."""
    for name in ("limit", "concurrency", "deadline"):
        with pytest.raises(sg.InvalidRequest, match=name):
            payouts.run_chunk(**{name: 0})


async def test_what_was_taken_and_not_begun_is_given_back(payouts) -> None:
    """Whoever stops leaves no leases behind for others to wait for."""
    _ = await payouts.submit(orders(40), "night")
    async with aclosing(payouts.run_chunk(concurrency=8)) as outcomes:
        async for _ in outcomes:
            payouts.stop()
    journal = payouts._journal
    held = [entry for entry in await journal.entries(99) if entry.owner is not None]
    assert held == []


async def test_whoever_cannot_go_on_gives_back_what_he_took(payouts, provider) -> None:
    """A worker with another key of the seal fails, and leaves nothing for others to wait for."""
    _ = await payouts.submit(orders(40), "night")
    payouts._open().seal = sg.Seal(sg.Seal.new_key())
    with pytest.raises(sg.JournalUnusable):
        await work_off(payouts, concurrency=8)
    held = [entry for entry in await payouts._journal.entries(99) if entry.owner is not None]
    assert held == []
    assert provider.report().requests == 0


async def test_a_batch_that_is_paused(payouts, provider) -> None:
    """Nothing more of it is begun, until it goes on."""
    _ = await payouts.submit(orders(6), "night")
    _ = await payouts.submit([order("other")], "day")
    async with aclosing(payouts.run_chunk("night", concurrency=1)) as outcomes:
        async for _ in outcomes:
            assert (await payouts.pause("night", reason="a look")).reason == "a look"
    paid = provider.report().moved
    assert paid < 6
    assert await work_off(payouts) == ["other"]
    assert (await payouts.unpause("night")).state is sg.BatchState.RUNNING
    assert len(await work_off(payouts)) == 6 - paid


async def test_a_batch_that_is_cancelled(payouts, provider) -> None:
    """What nothing is out for is withdrawn; what was paid stays paid."""
    _ = await payouts.submit(orders(6), "night")
    _ = await payouts.submit([order("other")], "day")
    assert len(await work_off(payouts, "night", limit=2)) == 2
    assert await payouts.cancel("night", reason="the wrong file") == 4
    assert await work_off(payouts) == ["other"]
    summary = await payouts.summary(batch="night")
    assert summary.counts == {sg.PayoutState.SUCCEEDED: 2, sg.PayoutState.CANCELLED: 4}
    outcome = await payouts.pay(order("k5"))
    assert (outcome.state, outcome.reason) == (sg.PayoutState.CANCELLED, "the wrong file")
    assert provider.report().moved == 3
    with pytest.raises(sg.Misuse, match="stays so"):
        await payouts.unpause("night")


@needs_postgres
async def test_many_workers(run_provider, connect, schema) -> None:
    """Over one database, under faults: each is paid once, and nobody has what another one has."""
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
                group.create_task(work_off(worker, "night", limit=80, concurrency=8))
                for worker in workers
            ]
        told = [key for task in tasks for key in task.result()]
        assert sorted(told) == sorted(f"k{n}" for n in range(80))
    assert [provider.order(f"k{n}").moved for n in range(80)] == [1] * 80


@needs_postgres
async def test_a_spending_limit_of_all_workers(run_provider, connect, schema) -> None:
    """It is never passed, whatever is under way; what failed leaves its room to others."""
    provider = run_provider()
    stop_on = sg.StopOn(spend=sg.AmountDetails(30 * 10_000 + 9_999, "usd"))
    async with AsyncExitStack() as stack:
        workers = await _workers(stack, connect, provider, schema, 4)
        declined = [order(f"d{n}", 66_601) for n in range(2)]
        _ = await workers[0].submit([*declined, *orders(80)], "night", stop_on=stop_on)
        await _all_work(workers)
        batch = await workers[0]._journal.batch("night")
        summary = await workers[0].summary(batch="night")
    assert batch.state is sg.BatchState.PAUSED
    assert "more than 3099.99 USD would be spent" in batch.reason
    assert provider.report().moved * 10_000 == batch.bound["usd"]
    assert 17 <= provider.report().moved <= 30
    assert summary.counts[sg.PayoutState.SUCCEEDED] == provider.report().moved


async def test_stop_rules_of_a_batch(payouts, provider) -> None:
    """They are written with it."""
    rules = sg.StopOn(first_refusal=True, failures_in_a_row=3)
    done = await payouts.submit(orders(3), "night", stop_on=rules)
    assert done.batch.rules == sg.BatchRules(first_refusal=True, failures_in_a_row=3)
    again = await payouts.submit(orders(4), "night")
    assert (again.batch.rules, again.batch.rows) == (done.batch.rules, 4)
    assert len(await work_off(payouts)) == 4
    assert provider.report().moved == 4


async def test_rules_for_what_was_begun_without(payouts) -> None:
    """They are refused: nobody counted it, though the batch itself isn't written down."""
    _ = [outcome async for outcome in payouts.pay_all(orders(1), batch="night")]
    with pytest.raises(sg.Misuse, match="written before any stop rules"):
        await payouts.submit(orders(3), "night", stop_on=sg.StopOn(first_refusal=True))


async def test_a_batch_that_stops_before_others(payouts) -> None:
    """What lies behind it is paid in the same run."""
    stop_on = sg.StopOn(spend=sg.AmountDetails(10_000, "usd"))
    _ = await payouts.submit(orders(20), "night", stop_on=stop_on)
    _ = await payouts.submit([order("other")], "day")
    assert set(await work_off(payouts, concurrency=8)) == {"k0", "other"}


async def test_a_case_that_cannot_be_decided(payouts, provider) -> None:
    """It is held to the limit as before."""
    stop_on = sg.StopOn(spend=sg.AmountDetails(10_000, "usd"))
    _ = await payouts.submit(orders(3), "night", stop_on=stop_on)
    for key in ("k0", "k1", "k2"):
        with pytest.raises(sg.Misuse, match="stands at NEW"):
            await payouts.decide(key, is_paid=True, reason="a guess")
    assert await work_off(payouts) == ["k0"]
    assert provider.report().moved == 1


@needs_postgres
async def test_a_balance_that_all_workers_draw_on(run_provider, connect, schema) -> None:
    """Nothing is begun that it can't pay; the batch is paused, and says for which."""
    provider = run_provider(rules=emulator.Rules(opening_balance=25 * 10_000 + 9_999))
    async with AsyncExitStack() as stack:
        workers = await _workers(stack, connect, provider, schema, 4)
        stop_on = sg.StopOn(low_balance=True)
        _ = await workers[0].submit(orders(40), "night", stop_on=stop_on)
        await _all_work(workers)
        batch = await workers[0]._journal.batch("night")
        assert batch.state is sg.BatchState.PAUSED
        assert batch.reason.startswith("the wallets can't pay 'k")
        assert provider.report().moved == 25
        assert (await workers[0].summary()).counts[sg.PayoutState.SUCCEEDED] == 25


async def test_a_balance_that_may_lack_what_is_under_way(run_provider, connect, journal) -> None:
    """While somebody is at work on it, nobody pauses the batch."""
    provider = run_provider(rules=emulator.Rules(opening_balance=15_000))
    others: list[sg.Entry] = []
    sleeps = count()

    async def sleep(_seconds: float) -> None:
        if next(sleeps) == 4:
            _ = await journal.advance(others[0], sg.Event.NOT_PAID)

    api = connect(provider, settings=sg.Settings(timing=sg.Timing(sleep=sleep)))
    async with sg.Payouts(api, journal, seal=SEAL) as payouts:
        stop_on = sg.StopOn(low_balance=True)
        _ = await payouts.submit(orders(1), "night", stop_on=stop_on)
        place = {"batch": "night", "amount": 10_000, "currency": "usd"}
        others.append(await bring(journal, sg.Step.STARTED, "other", **place))
        assert await work_off(payouts) == ["k0"]
        assert (await journal.batch("night")).state is sg.BatchState.RUNNING


async def test_a_balance_that_was_seen_long_ago(run_provider, connect, tmp_path) -> None:
    """It is seen anew before anything is taken: what isn't covered would fail for good."""
    provider, clock = run_provider(rules=emulator.Rules(opening_balance=25_000)), SetClock()
    journal = sg.SQLiteJournal(tmp_path / "j.db", clock=clock)
    async with sg.Payouts(connect(provider, settings=QUICK), journal, seal=SEAL) as payouts:
        stop_on = sg.StopOn(low_balance=True)
        _ = await payouts.submit(orders(3), "night", stop_on=stop_on)
        _ = await journal.cover("night", {"usd": 10**9})
        clock.now += 30
        assert sorted(await work_off(payouts)) == ["k0", "k1"]
        _ = await journal.cover("night", {"usd": 10**9})
        assert (await payouts.unpause("night")).cover is None
        assert await work_off(payouts) == []


async def test_whoever_stops_while_a_balance_is_too_low(provider, connect, tmp_path) -> None:
    """It pauses nothing for all: what is under way had no time to settle."""
    held: list[sg.Payouts] = []

    async def sleep(_seconds: float) -> None:
        held[0].stop()

    api = connect(provider, settings=sg.Settings(timing=sg.Timing(sleep=sleep)))
    journal = sg.SQLiteJournal(tmp_path / "j.db")
    async with sg.Payouts(api, journal, seal=SEAL) as payouts:
        held.append(payouts)
        too_much = [order("k", 10**12)]
        _ = await payouts.submit(too_much, "night", stop_on=sg.StopOn(low_balance=True))
        assert await work_off(payouts) == []
        assert (await journal.batch("night")).state is sg.BatchState.RUNNING


async def test_a_balance_that_cannot_be_asked_for(run_provider, connect, tmp_path) -> None:
    """Nothing is begun: the rule couldn't be kept."""
    fault = Fault(FaultKind.SERVER_ERROR, operation="wallet/balance", rate=1.0)
    provider = run_provider(faults=emulator.FaultScript([fault]))
    journal = sg.SQLiteJournal(tmp_path / "j.db")
    async with sg.Payouts(connect(provider, settings=QUICK), journal, seal=SEAL) as payouts:
        _ = await payouts.submit(orders(3), "night", stop_on=sg.StopOn(low_balance=True))
        with pytest.raises(sg.OutcomeUnknown, match="wallet/balance"):
            await work_off(payouts)
    assert provider.report().moved == 0


async def _workers(stack, connect, provider, schema, count) -> list[sg.Payouts]:
    """Give workers over one database."""
    return [
        await stack.enter_async_context(
            sg.Payouts(
                connect(provider, settings=QUICK),
                sg.PostgresJournal(DSN, schema=schema),
                seal=SEAL,
            )
        )
        for _ in range(count)
    ]


async def _all_work(workers) -> None:
    """Have all of them work until nothing is left that they may take."""

    async def work(payouts: sg.Payouts) -> None:
        async for _ in payouts.run_chunk("night", limit=80, concurrency=8):
            pass

    async with asyncio.TaskGroup() as group:
        for worker in workers:
            _ = group.create_task(work(worker))
