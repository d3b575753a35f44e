"""One batch on many workers: whatever becomes of jobs and workers, each payout is made once."""

import asyncio
import contextlib
import inspect
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from cutting_proxy import proxied
from paying import QUICK, order
from postgres_schemas import DSN, connected, execute, needs_postgres

import smartglocal_async as sg
from smartglocal_async.emulator import Fault, FaultKind, FaultScript
from smartglocal_async.integrations.cluster import Worker, create_worker, enqueue_batch, worker_of
from smartglocal_async.integrations.cluster.jobs import RUN_CHUNK, batch_in, jobs_of

pytestmark = [pytest.mark.thorough, needs_postgres]

KEY = sg.Seal.new_key()
COUNT = 60
JOBS = 6
HANG = Fault(FaultKind.HANG, rate=1.0, operation="session/confirm")
EACH_SECOND = "* * * * * *"


async def until(is_so: Callable[[], Any], *workers: subprocess.Popen[str]) -> None:
    """Wait until it is so, while these workers live."""
    async with asyncio.timeout(60):
        while True:
            found = is_so()
            if await found if inspect.isawaitable(found) else found:
                return
            assert [worker.poll() for worker in workers] == [None] * len(workers)
            await asyncio.sleep(0.01)


@define(eq=False)
class Fleet:
    """A journal, its payouts, and what a worker in this process told."""

    payouts: sg.Payouts
    journal: sg.PostgresJournal
    told: list[sg.PayoutOutcome] = field(factory=list)
    failed: list[Exception] = field(factory=list)

    async def submit(self, count: int = COUNT, batch: str = "night") -> None:
        """Write a batch down."""
        _ = await self.payouts.submit([order(f"k{n}") for n in range(count)], batch)

    async def works_until(self, enough: Callable[[], bool], **options) -> None:
        """Have a worker work until it is enough."""
        options = {"concurrency": 8, "every": EACH_SECOND, **options}
        listening = {"told": self.told.append, "failed": self.failed.append}
        async with (
            asyncio.timeout(30),
            worker_of(self.payouts, self.journal, **listening, **options) as worker,
            asyncio.TaskGroup() as group,
        ):
            running = group.create_task(worker.run())
            await until(lambda: enough() or running.done())
            worker.shutdown.set()

    async def works_until_all_are_told(self, count: int = COUNT, **options) -> None:
        """Have a worker work until so many are settled."""
        await self.works_until(lambda: len(self.told) >= count, **options)

    async def jobs(self) -> int:
        """Count the jobs that wait or are worked on."""
        async with connected() as connection:
            table = f"{self.journal.schema}.pgqueuer"
            return await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608


@pytest.fixture
async def fleet(connect, provider, schema) -> AsyncIterator[Fleet]:
    """Give a journal in PostgreSQL, and payouts over it."""
    journal = sg.PostgresJournal(DSN, schema=schema)
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, seal=sg.Seal(KEY)) as payouts:
        yield Fleet(payouts, journal)


def moved(provider, count: int = COUNT) -> list[int]:
    """Count how often each was paid, by the provider."""
    return [provider.order(f"k{n}").moved for n in range(count)]


# --- Jobs --------------------------------------------------------------------------------------


async def test_a_batch_becomes_jobs(fleet) -> None:
    """Again, there are no more of them, and what isn't there has none."""
    await fleet.submit(1_200)
    assert await enqueue_batch(fleet.journal, "night") == 32
    assert await enqueue_batch(fleet.journal, "night") == 0
    assert await enqueue_batch(fleet.journal, "nothing") == 0
    assert await fleet.jobs() == 32


@pytest.mark.parametrize(("rows", "count"), [(1, 1), (10, 1), (11, 2), (320, 32), (330, 33)])
async def test_how_many_jobs(fleet, monkeypatch, rows, count) -> None:
    """One for each ten payouts of a small batch, up to 32; then one for each chunk."""
    monkeypatch.setattr("smartglocal_async.integrations.cluster.jobs.CHUNK", 10)
    await fleet.submit(rows)
    assert await enqueue_batch(fleet.journal, "night") == count


async def test_many_begin_at_once(fleet) -> None:
    """The tables are made once, and the jobs are put in once."""
    await fleet.submit()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(enqueue_batch(fleet.journal, "night")) for _ in range(5)]
    assert sum(task.result() for task in tasks) == JOBS
    assert await fleet.jobs() == JOBS


async def test_two_journals_in_one_database(fleet, connect, run_provider) -> None:
    """Each has jobs of its own."""
    schema = f"{fleet.journal.schema}_b"
    journal = sg.PostgresJournal(DSN, schema=schema)
    try:
        async with sg.Payouts(connect(run_provider()), journal, seal=sg.Seal(KEY)) as payouts:
            other = Fleet(payouts, journal)
            await fleet.submit()
            assert await enqueue_batch(fleet.journal, "night") == JOBS
            assert await enqueue_batch(journal, "night") == 0
            assert (await fleet.jobs(), await other.jobs()) == (JOBS, 0)
    finally:
        await execute("DROP SCHEMA IF EXISTS {name} CASCADE", name=schema)


async def test_the_name_of_its_connection(fleet) -> None:
    """It is the one of the journal's."""
    async with jobs_of(fleet.journal) as jobs:
        (row,) = await jobs.driver.fetch("SHOW application_name")
        assert row == {"application_name": "smartglocal"}


async def test_the_environment_changes_no_names(fleet, monkeypatch) -> None:
    """Workers whose environments differ look into the same tables."""
    for name in ("PGQUEUER_PREFIX", "PGQUEUER_SCHEMA", "QUEUE_TABLE", "CHANNEL", "FUNCTION"):
        monkeypatch.setenv(name, "another")
    await fleet.submit()
    assert await enqueue_batch(fleet.journal, "night") == JOBS
    assert await fleet.jobs() == JOBS


async def test_what_the_schedule_puts_in(fleet) -> None:
    """What runs, and has something due: not what is paused, cancelled, or halted."""
    for number, name in enumerate(("run", "paused", "cancelled")):
        _ = await fleet.payouts.submit([order(f"{name}-{number}")], name)
    _ = await fleet.payouts.submit([], "empty")
    _ = await fleet.payouts.pause("paused", reason="look")
    _ = await fleet.payouts.cancel("cancelled", reason="no")
    async with jobs_of(fleet.journal) as jobs:
        await fleet.payouts.quarantine()
        assert await jobs.put_due() == 0
        await fleet.payouts.lift()
        assert await jobs.put_due() == 1
        assert await jobs.put_due() == 0
        _ = await fleet.payouts.unpause("paused")
        assert await jobs.put_due() == 1


async def test_a_batch_that_is_submitted_again(fleet, provider) -> None:
    """What is settled isn't looked at any more, until there is more of it."""
    async with jobs_of(fleet.journal) as jobs:
        for count in (2, 5):
            await fleet.submit(count)
            assert await jobs.put_due() == 1
            fleet.told += [outcome async for outcome in fleet.payouts.run_chunk("night")]
            await jobs.queries.clear_queue()
            assert await jobs.put_due() == 0
    assert len(fleet.told) == 5
    assert moved(provider, 5) == [1] * 5


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b'{"scope": "theirs", "batch": "night"}', "is for theirs, and this worker is for ours"),
        (b'{"batch": "night"}', "without a scope"),
        (b"[]", "without a scope"),
        (b"\xff", "without a scope"),
        (None, "without a scope"),
    ],
)
def test_a_job_of_somebody_else(payload, words) -> None:
    """It is refused with words."""
    with pytest.raises(sg.Misuse, match=words):
        _ = batch_in(payload, "ours")


def test_a_job_of_another_spelling_of_the_server() -> None:
    """It is one's own."""
    payload = b'{"scope": "https://HOST/|shop", "batch": "night"}'
    assert batch_in(payload, "https://host|shop") == "night"


async def test_a_queue_whose_table_is_gone(fleet) -> None:
    """It is told as what it is, and not as a journal that lost payouts; whoever begins mends it."""
    await fleet.submit()
    async with jobs_of(fleet.journal) as jobs:
        await execute("DROP TABLE {name}.pgqueuer", name=fleet.journal.schema)
        words = "the queue, which holds no payout, beside the journal .*: a table of it is gone"
        with pytest.raises(sg.JournalUnusable, match=words):
            await jobs.put("night")
    assert await enqueue_batch(fleet.journal, "night") == await fleet.jobs() > 0


async def test_a_job_of_somebody_else_is_let_go(fleet) -> None:
    """It isn't tried for ever, and the worker goes on."""
    await fleet.submit(1)
    async with jobs_of(fleet.journal) as jobs:
        foreign = b'{"scope": "theirs", "batch": "night"}'
        _ = await jobs.queries.enqueue(RUN_CHUNK, foreign, priority=1)
        assert await jobs.put("night") == 1
    await fleet.works_until_all_are_told(1)
    assert [str(error) for error in fleet.failed] == [
        f"a job is for theirs, and this worker is for {fleet.journal.scope}"
    ]
    assert await fleet.jobs() == 0


# --- Work --------------------------------------------------------------------------------------


async def test_a_job_that_comes_twice(fleet, provider) -> None:
    """Those that find nothing to take end, and nothing is paid twice."""
    await fleet.submit()
    async with jobs_of(fleet.journal) as jobs:
        assert await jobs.put("night") == JOBS
        again = (
            "INSERT INTO {name}.pgqueuer (priority, status, entrypoint, payload) SELECT priority, "
            "status, entrypoint, payload FROM {name}.pgqueuer, generate_series(1, 4)"
        )
        await execute(again, name=fleet.journal.schema)
        assert await fleet.jobs() == 5 * JOBS
    await fleet.works_until_all_are_told()
    assert len(fleet.told) == COUNT
    assert moved(provider) == [1] * COUNT
    assert fleet.failed == []


async def test_a_small_batch_is_spread(connect, run_provider, schema) -> None:
    """No worker has all of it while others have nothing to do."""
    provider = run_provider(faults=FaultScript((HANG,)))
    async with contextlib.AsyncExitStack() as stack:
        workers: list[Worker] = []
        for _ in range(3):
            journal = sg.PostgresJournal(DSN, schema=schema)
            api = connect(provider, settings=QUICK)
            payouts = await stack.enter_async_context(sg.Payouts(api, journal, seal=sg.Seal(KEY)))
            opened = worker_of(payouts, journal, concurrency=4, every=EACH_SECOND)
            workers.append(await stack.enter_async_context(opened))
        _ = await payouts.submit([order(f"k{n}") for n in range(COUNT)], "night")
        _ = await enqueue_batch(journal, "night")

        async def all_at_work() -> bool:
            return len(await journal.workers()) == len(workers)

        async with asyncio.TaskGroup() as group:
            running = [group.create_task(worker.run()) for worker in workers]
            await until(all_at_work)
            for task in running:
                task.cancel()


async def test_jobs_that_are_lost(fleet, provider, monkeypatch) -> None:
    """The queue's tables are emptied in the middle of it; the schedule finds the rest."""
    monkeypatch.setattr("smartglocal_async.integrations.cluster.jobs.CHUNK", 10)
    monkeypatch.setattr("smartglocal_async.integrations.cluster.worker.CHUNK", 10)
    await fleet.submit()
    tables = [f"{fleet.journal.schema}.pgqueuer{part}" for part in ("", "_log", "_schedules")]

    async def empty() -> None:
        await until(lambda: len(fleet.told) >= 5)
        async with connected() as connection:
            await connection.execute(f"TRUNCATE {', '.join(tables)}")

    assert await enqueue_batch(fleet.journal, "night") == JOBS
    async with asyncio.TaskGroup() as group:
        _ = group.create_task(empty())
        _ = group.create_task(fleet.works_until_all_are_told())
    assert moved(provider) == [1] * COUNT


async def test_a_batch_that_is_paused(fleet, provider) -> None:
    """No more than what was taken is paid; it goes on when the pause ends, without a word."""
    await fleet.submit()
    _ = await enqueue_batch(fleet.journal, "night")
    is_paused = asyncio.Event()

    async def no_jobs() -> bool:
        return not await fleet.jobs()

    async def pause() -> None:
        await until(lambda: len(fleet.told) >= 10)
        _ = await fleet.payouts.pause("night", reason="look")
        taken = 10 + len(fleet.told)
        await until(no_jobs)
        assert 10 <= len(fleet.told) <= taken + 8
        assert await fleet.journal.count_open(COUNT, batch="night") == COUNT - len(fleet.told)
        is_paused.set()
        _ = await fleet.payouts.unpause("night")

    async with asyncio.TaskGroup() as group:
        _ = group.create_task(pause())
        _ = group.create_task(fleet.works_until_all_are_told(concurrency=4))
    assert is_paused.is_set()
    assert moved(provider) == [1] * COUNT


async def test_a_request_that_was_damaged(fleet, provider) -> None:
    """It is told of, and put off, so that all others are paid."""
    await fleet.submit()
    damage = "UPDATE {name}.entry SET request = set_byte(request, 20, 255 - get_byte(request, 20))"
    await execute(f"{damage} WHERE key = 'k0'", name=fleet.journal.schema)
    _ = await enqueue_batch(fleet.journal, "night")
    await fleet.works_until_all_are_told(COUNT - 1)
    assert {type(error) for error in fleet.failed} == {sg.JournalUnusable}
    assert "the request of the key 'k0' can't be opened" in str(fleet.failed[0])
    assert moved(provider) == [0] + [1] * (COUNT - 1)
    (open_,) = await fleet.journal.open_entries(COUNT, batch="night", is_due=False)
    assert open_.key == "k0"
    assert open_.not_before is not None


async def test_it_is_told_to_stop(fleet, provider) -> None:
    """What is out is finished; what it had taken beyond that is anybody's at once."""
    await fleet.submit()
    _ = await enqueue_batch(fleet.journal, "night")
    await fleet.works_until(lambda: len(fleet.told) >= 10)
    paid = provider.report().moved
    assert 10 <= paid == len(fleet.told) < COUNT
    assert await fleet.journal.count_open(COUNT, batch="night") == COUNT - paid


async def test_a_database_that_is_cut_off(connect, provider, schema) -> None:
    """It is waited for, and the work goes on by itself; of that somebody is told."""
    async with proxied(DSN) as (proxy, dsn):
        journal = sg.PostgresJournal(dsn, schema=schema, patience_seconds=20)
        api = connect(provider, settings=QUICK)
        async with sg.Payouts(api, journal, seal=sg.Seal(KEY)) as payouts:
            fleet = Fleet(payouts, journal)
            await fleet.submit()
            _ = await enqueue_batch(journal, "night")

            async def cut() -> None:
                await until(lambda: len(fleet.told) >= 10)
                proxy.is_down = True
                proxy.cut()
                await until(lambda: fleet.failed)
                proxy.is_down = False

            async with asyncio.TaskGroup() as group:
                _ = group.create_task(cut())
                _ = group.create_task(fleet.works_until_all_are_told())
    assert [type(error) for error in fleet.failed] == [sg.JournalUnusable]
    assert moved(provider) == [1] * COUNT


# --- Processes ---------------------------------------------------------------------------------


@pytest.fixture
def start(key, tmp_path, provider, schema, monkeypatch):
    """Give a function that starts a worker in a process of its own; all are ended."""
    (tmp_path / "shop.pem").write_bytes(key.pem())
    monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", KEY)
    here = Path(__file__).parent
    with contextlib.ExitStack() as stack:

        def run(*command: str, **variables: str) -> subprocess.Popen[str]:
            told = (provider.url, str(tmp_path / "shop.pem"), DSN, schema)
            worker = subprocess.Popen(
                [sys.executable, *(command or (str(here / "cluster_worker.py"), *told))],
                env={**os.environ, "PYTHONPATH": str(here.parent), **variables},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(worker.communicate)
            stack.callback(worker.kill)
            return worker

        yield run


def ended(worker: subprocess.Popen[str]) -> str:
    """Tell a worker that it is enough; give what it complained of."""
    worker.send_signal(signal.SIGTERM)
    _, complaints = worker.communicate(timeout=30)
    assert worker.returncode == 0, complaints
    return complaints


async def test_a_worker_that_is_killed(fleet, provider, start) -> None:
    """The other one pays what it had, once its leases end."""
    await fleet.submit(200)
    _ = await enqueue_batch(fleet.journal, "night")
    first, second = start(), start()
    await until(lambda: provider.report().moved >= 60, first, second)
    first.kill()
    await until(lambda: provider.report().moved >= 200, second)
    assert await asyncio.to_thread(ended, second) == ""
    assert moved(provider, 200) == [1] * 200
    summary = await fleet.payouts.summary()
    assert summary.counts == {sg.PayoutState.SUCCEEDED: 200}
    assert summary.sums == {(sg.PayoutState.SUCCEEDED, "usd"): 200 * 10_000}


FACTORY = "smartglocal_async.integrations.cluster:create_worker"
BY_PGQUEUER = f'import asyncio, pgqueuer; asyncio.run(pgqueuer.run("{FACTORY}"))'
PGQ_RUN = pytest.param(
    ("-m", "pgqueuer", "run", FACTORY),
    marks=pytest.mark.skipif(
        tuple(map(int, version("typer").split(".")[:2])) >= (0, 29),
        reason="`pgq run` ends at once beside a typer that the extra `cluster` doesn't take",
    ),
    id="pgq run",
)


def environment(fleet, provider, tmp_path) -> dict[str, str]:
    """Give what `create_worker` reads."""
    return {
        "SMARTGLOCAL_PROJECT": provider.project,
        "SMARTGLOCAL_PRIVATE_KEY": str(tmp_path / "shop.pem"),
        "SMARTGLOCAL_SERVER": provider.url,
        "SMARTGLOCAL_JOURNAL": f"{DSN}?schema={fleet.journal.schema}",
        "SMARTGLOCAL_CONCURRENCY": "4",
        "SMARTGLOCAL_CONFIRM": "manual",
    }


@pytest.mark.parametrize("words", [PGQ_RUN, pytest.param(("-c", BY_PGQUEUER), id="a program")])
async def test_a_worker_out_of_the_environment(fleet, provider, start, tmp_path, words) -> None:
    """PgQueuer's own supervisor runs it, and SIGTERM ends it with grace."""
    await fleet.submit()
    _ = await enqueue_batch(fleet.journal, "night")
    worker = start(*words, **environment(fleet, provider, tmp_path))
    await until(lambda: provider.report().moved >= 10, worker)
    assert await asyncio.to_thread(ended, worker) == ""
    paid = provider.report().moved
    assert await fleet.journal.count_open(COUNT, batch="night") == COUNT - paid


@pytest.mark.parametrize("wrong", ["seal", "credentials"])
async def test_what_no_wait_mends(fleet, provider, start, tmp_path, wrong) -> None:
    """The worker ends, and runs through no more jobs; what it took is others' at once."""
    await fleet.submit()
    _ = await enqueue_batch(fleet.journal, "night")
    variables = environment(fleet, provider, tmp_path)
    if wrong == "seal":
        variables["SMARTGLOCAL_JOURNAL_KEY"] = sg.Seal.new_key()
    else:
        (tmp_path / "shop.pem").write_bytes(sg.PrivateKey.generate().pem())
    worker = start("-c", BY_PGQUEUER, **variables)
    _, complaints = await asyncio.to_thread(worker.communicate, timeout=30)
    assert worker.returncode == 1
    named = "WrongSeal" if wrong == "seal" else "Refused"
    assert named in complaints.splitlines()[-1]
    assert provider.report().moved == 0
    assert await fleet.journal.count_open(COUNT, batch="night") == COUNT


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SMARTGLOCAL_JOURNAL": ""}, "SMARTGLOCAL_JOURNAL: isn't set"),
        ({"SMARTGLOCAL_JOURNAL_KEY": ""}, "SMARTGLOCAL_JOURNAL_KEY: isn't set"),
        ({"SMARTGLOCAL_CONFIRM": "both"}, "SMARTGLOCAL_CONFIRM: expected manual or automatic"),
        ({"SMARTGLOCAL_CONCURRENCY": "0"}, "SMARTGLOCAL_CONCURRENCY: expected a whole number"),
        ({"SMARTGLOCAL_CONCURRENCY": "many"}, "SMARTGLOCAL_CONCURRENCY: expected a whole number"),
    ],
)
async def test_an_environment_that_lacks_something(monkeypatch, variables, words) -> None:
    """The text names the variable."""
    known = {"SMARTGLOCAL_JOURNAL": DSN, "SMARTGLOCAL_JOURNAL_KEY": KEY}
    for name, value in {**known, **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(sg.InvalidCredentials, match=words):
        async with create_worker():
            pass
