"""Limits of all workers together: a rate, and a number of payouts in progress."""

import asyncio
import contextlib
import os
import random
import subprocess
import sys
from collections import Counter

import pytest
from journal_conformance import SCOPE, SetClock, new
from paying import QUICK, START, order
from places import PYTHONPATH, SUPPORT
from postgres_schemas import DSN, needs_postgres

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.journal.limits import RemainingLimits

LEASE = 30.0


def unused_room(
    rate: float | None = None, concurrency: int | None = None, held: int = 0
) -> RemainingLimits:
    """Return the remaining room of unused limits."""
    limits = sg.journal.Limits(rate=rate, concurrency=concurrency)
    return RemainingLimits(limits=limits, tokens=0.0, at=0.0, blocked_until=0.0, held=held)


def max_per_second(times: list[float]) -> int:
    """Return the largest number of times within any one second."""
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] >= 1:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("rate", [0.5, 3.0, 50.0, 500.0, 1234.5])
@pytest.mark.parametrize("seed", range(3))
def test_no_second_has_more_than_is_allowed(rate, seed):
    """Never more than the rate, however workers ask; hardly less if they ask in time."""
    dice, left, now, taken = random.Random(seed), unused_room(rate), 0.0, []  # noqa: S311
    while now < 100:
        now += 0.03 * dice.random() if dice.random() < 0.999 else 0.5
        left.advance(now)
        count = left.allowed(dice.randint(1, 100))
        left.take(count)
        taken.extend([now] * count)
    assert max_per_second(taken) <= max(1, rate * 1.02), seed
    assert len(taken) >= int(100 * rate * 0.85)


def test_places_are_not_assigned_twice():
    """Payouts in progress count, and those that were just claimed."""
    left = unused_room(concurrency=10, held=7)
    assert left.allowed(99) == 3
    left.take(2)
    assert left.allowed(99) == 1
    left.take(1)
    assert left.allowed(99) == 0
    assert left.wait_seconds > 0
    assert unused_room().allowed(99) == 99


def test_clock_set_back():
    """A clock set back neither adds nor removes room."""
    left = unused_room(rate=10)
    left.advance(1000)
    assert left.allowed(9) == 1
    left.take(1)
    left.advance(500)
    assert left.allowed(9) == 0
    left.advance(501)
    assert left.allowed(9) == 1


@pytest.mark.parametrize(
    ("field", "value"), [("rate", 0), ("rate", float("inf")), ("concurrency", 0), ("rate", -1)]
)
def test_invalid_limits(field, value):
    """Invalid limits are refused by name."""
    with pytest.raises(sg.InvalidRequest, match=f"Limits.{field}"):
        sg.journal.Limits(**{field: value})


@contextlib.asynccontextmanager
async def workers(schema, count, clock):
    """Return journals over the same rows, as for several processes."""
    async with contextlib.AsyncExitStack() as stack:
        journals = [sg.PostgresJournal(DSN, schema=schema, clock=clock) for _ in range(count)]
        for journal in journals:
            stack.push_async_callback(journal.close)
            await journal.open(SCOPE)
        yield journals


@pytest.mark.slow
@needs_postgres
async def test_a_rate_over_all_workers(schema):
    """A rate is set once, applies to all workers, and can be changed while they work."""
    clock = SetClock()
    async with workers(schema, 4, clock) as journals:
        await journals[0].accept_many([new(f"k{n}") for n in range(200)])
        assert await journals[1].limits() == sg.journal.Limits()
        await journals[0].set_limits(sg.journal.Limits(rate=20))
        assert await journals[3].limits() == sg.journal.Limits(rate=20)
        taken: list[float] = []
        for _ in range(150):
            clock.now += 0.02
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(one.claim_open(5, "me", LEASE)) for one in journals]
            claims = [task.result() for task in asked]
            taken += [clock.now] * sum(len(one.entries) for one in claims)
            assert all(one.wait_seconds for one in claims if len(one.entries) < 5)
        by_second = Counter(int(at) for at in taken)
        assert max(by_second.values()) <= 20
        assert len(taken) >= 50
        await journals[2].set_limits(sg.journal.Limits())
        assert len((await journals[1].claim_open(90, "me", LEASE)).entries) == 90


@pytest.mark.slow
@needs_postgres
async def test_concurrency_over_all_workers(schema):
    """A place is free again when a payout is released or its lease ends."""
    clock = SetClock()
    async with workers(schema, 3, clock) as journals:
        await journals[0].accept_many([new(f"k{n}") for n in range(50)])
        await journals[0].set_limits(sg.journal.Limits(concurrency=7))
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(one.claim_open(5, f"o{n}", LEASE))
                for n, one in enumerate(journals)
            ]
        held = [entry for task in asked for entry in task.result().entries]
        assert len(held) == 7
        told = await journals[0].workers()
        by_owner = Counter(entry.owner for entry in held)
        assert {one.owner: one.payouts for one in told} == by_owner
        assert {one.seconds_left for one in told} == {LEASE}
        await journals[0].release(held[0])
        await journals[0].release(held[1])
        assert len((await journals[2].claim_open(9, "x", LEASE)).entries) == 2
        clock.now += LEASE
        assert await journals[0].workers() == ()
        assert len((await journals[2].claim_open(9, "x", LEASE)).entries) == 7


@pytest.mark.slow
@needs_postgres
async def test_all_workers_slow_down(schema):
    """All workers wait for the longest pause that one of them received."""
    clock = SetClock()
    async with workers(schema, 2, clock) as (one, two):
        await one.accept_many([new(f"k{n}") for n in range(5)])
        await one.slow_down(10)
        await two.slow_down(2)
        claims = await two.claim_open(3, "me", LEASE)
        assert (claims.entries, claims.wait_seconds) == ((), 10)
        clock.now += 10
        claims = await two.claim_open(3, "me", LEASE)
        assert (len(claims.entries), claims.wait_seconds) == (3, None)
        with pytest.raises(sg.InvalidRequest, match="seconds"):
            await one.slow_down(0)


@pytest.mark.slow
@needs_postgres
async def test_throttling_applies_to_all_workers(schema, run_provider, connect):
    """After a 429, no worker claims anything for the time that the provider asks."""
    throttled = emulator.Fault(emulator.FaultKind.THROTTLE, nth=(1,), seconds=40, operation=START)
    provider = run_provider(faults=emulator.FaultScript([throttled]))
    other = sg.PostgresJournal(DSN, schema=schema)
    async with (
        sg.Payouts(connect(provider), other),
        sg.Payouts(connect(provider, settings=QUICK), sg.PostgresJournal(DSN, schema=schema)) as us,
    ):
        await other.accept(new("waits"))
        assert not (await us.pay(order("k"), deadline=2.0)).is_paid
        claims = await other.claim_open(3, "other", LEASE)
    assert claims.entries == ()
    assert 30 < claims.wait_seconds <= 40


async def test_pause_that_can_not_be_stored(run_provider, connect):
    """The call keeps its result and its deadline."""
    throttled = emulator.Fault(emulator.FaultKind.THROTTLE, nth=(1, 2), seconds=40)
    provider = run_provider(faults=emulator.FaultScript([throttled]))

    async def fails(_seconds: float) -> None:
        raise RuntimeError

    async def hangs(_seconds: float) -> None:
        await asyncio.Event().wait()

    for listener in (fails, hangs):
        api = connect(provider)
        api._caller.listeners.append(listener)
        async with asyncio.timeout(20):
            with pytest.raises(sg.Refused, match="stopped by deadline"):
                await api.session.status(sg.SessionRef("s"), deadline=2.0)


@pytest.mark.slow
@needs_postgres
async def test_chunk_waits_for_room(schema, provider, connect):
    """A chunk ends when nothing is left, not when it has to wait."""
    journal = sg.PostgresJournal(DSN, schema=schema)
    cipher = sg.RequestCipher(sg.RequestCipher.new_key())
    async with sg.Payouts(connect(provider, settings=QUICK), journal, cipher=cipher) as payouts:
        await payouts.submit([order(f"k{n}") for n in range(6)], "night")
        await journal.set_limits(sg.journal.Limits(rate=50, concurrency=2))
        told = [outcome async for outcome in payouts.run_chunk("night")]
    assert sorted(outcome.key for outcome in told) == [f"k{n}" for n in range(6)]
    assert provider.report().moved == 6


@pytest.mark.proof
@needs_postgres
@pytest.mark.parametrize(("way", "rate", "count"), [("ping", 500, 1_250), ("pay", 50, 75)])
def test_a_rate_over_eight_processes(  # noqa: PLR0913, PLR0917 - fixtures, and a case
    run_provider, key, tmp_path, schema, monkeypatch, way, rate, count
):
    """No second exceeds the rate, for claims and at the provider.

    Payouts are signed, and two cores can't sign 500 of them in a second, so there each claim is one
    request. Late requests arrive together with those in time, so the provider's second is longer by
    the difference of the calls' durations.
    """
    seen: list[float] = []

    def count_it(one: emulator.RequestRecord) -> None:
        if one.operation == "session/create":
            seen.append(one.time.timestamp())

    provider = run_provider(on_request=count_it)
    pem = tmp_path / "shop.pem"
    pem.write_bytes(key.pem())
    monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", sg.RequestCipher.new_key())

    async def fill() -> None:
        journal = sg.PostgresJournal(DSN, schema=schema)
        async with (
            sg.SmartGlocal(provider.project, key, provider.url) as api,
            sg.Payouts(api, journal, cipher=sg.RequestCipher.from_env()) as payouts,
        ):
            await payouts.submit([order(f"k{n}") for n in range(count)], "night")
            await journal.set_limits(sg.journal.Limits(rate=rate))

    asyncio.run(fill())
    done = subprocess.run(
        [
            *(sys.executable, str(SUPPORT / "rated_workers.py"), provider.url, str(pem)),
            *(DSN, schema, "8", way),
        ],
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    taken = sorted(map(float, done.stdout.split()))
    assert len(taken) == count
    assert max_per_second(taken) <= rate * 1.02
    lags = [met - at for at, met in zip(taken, sorted(seen), strict=True)]
    assert max_per_second(seen) <= rate * 1.02 * (1 + max(lags) - min(lags))
