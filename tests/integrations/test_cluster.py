"""One batch on many workers: whatever happens to jobs and workers, each payout is made once."""

import asyncio
import contextlib
import inspect
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from typing import Any

import pytest
from attrs import define, field
from cutting_proxy import proxied
from paying import QUICK, order
from places import PYTHONPATH, SUPPORT
from postgres_schemas import DSN, connected, execute, needs_postgres

import smartglocal_async as sg
from smartglocal_async.emulator import Fault, FaultKind, FaultScript
from smartglocal_async.integrations.cluster import (
    ClusterWorker,
    create_worker,
    enqueue_batch,
    worker_of,
)
from smartglocal_async.integrations.cluster.jobs import RUN_CHUNK, batch_in, jobs_of

pytestmark = [pytest.mark.slow, needs_postgres]

KEY = sg.RequestCipher.new_key()
COUNT = 60
JOBS = 6
HANG = Fault(FaultKind.HANG, rate=1.0, operation="session/confirm")
EACH_SECOND = "* * * * * *"


async def until(is_so: Callable[[], Any], *workers: subprocess.Popen[str]) -> None:
    """Wait until a condition holds, while these workers run."""
    async with asyncio.timeout(60):
        while True:
            found = is_so()
            if await found if inspect.isawaitable(found) else found:
                return
            assert [worker.poll() for worker in workers] == [None] * len(workers)
            await asyncio.sleep(0.01)


@define(eq=False)
class ClusterSetup:
    """A journal, its payouts, and the reports of a worker in this process."""

    payouts: sg.Payouts
    journal: sg.PostgresJournal
    told: list[sg.PayoutOutcome] = field(factory=list)
    failed: list[Exception] = field(factory=list)

    async def submit(self, count: int = COUNT, batch: str = "night") -> None:
        """Submit a batch."""
        _ = await self.payouts.submit([order(f"k{n}") for n in range(count)], batch)

    async def works_until(self, enough: Callable[[], bool], **options) -> None:
        """Run a worker until a condition holds."""
        options = {"concurrency": 8, "every": EACH_SECOND, **options}
        listening = {"on_outcome": self.told.append, "on_error": self.failed.append}
        async with (
            asyncio.timeout(30),
            worker_of(self.payouts, self.journal, **listening, **options) as worker,
            asyncio.TaskGroup() as group,
        ):
            running = group.create_task(worker.run())
            await until(lambda: enough() or running.done())
            worker.shutdown.set()

    async def works_until_settled(self, count: int = COUNT, **options) -> None:
        """Run a worker until this many payouts are settled."""
        await self.works_until(lambda: len(self.told) >= count, **options)

    async def jobs(self) -> int:
        """Count the jobs that wait or run."""
        async with connected() as connection:
            table = f"{self.journal.schema}.pgqueuer"
            return await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608


@pytest.fixture
async def cluster(connect, provider, schema) -> AsyncIterator[ClusterSetup]:
    """Return a journal in PostgreSQL, and payouts over it."""
    journal = sg.PostgresJournal(DSN, schema=schema)
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, cipher=sg.RequestCipher(KEY)) as payouts:
        yield ClusterSetup(payouts, journal)


def moved(provider, count: int = COUNT) -> list[int]:
    """Return how often the provider paid each payout."""
    return [provider.order(f"k{n}").moved for n in range(count)]


# --- Jobs --------------------------------------------------------------------------------------


async def test_a_batch_becomes_jobs(cluster) -> None:
    """A second call adds no jobs, and an unknown batch has none."""
    await cluster.submit(1_200)
    assert await enqueue_batch(cluster.journal, "night") == 32
    assert await enqueue_batch(cluster.journal, "night") == 0
    assert await enqueue_batch(cluster.journal, "nothing") == 0
    assert await cluster.jobs() == 32


@pytest.mark.parametrize(("rows", "count"), [(1, 1), (10, 1), (11, 2), (320, 32), (330, 33)])
async def test_how_many_jobs(cluster, monkeypatch, rows, count) -> None:
    """One for each ten payouts of a small batch, up to 32; then one for each chunk."""
    monkeypatch.setattr("smartglocal_async.integrations.cluster.jobs.CHUNK", 10)
    await cluster.submit(rows)
    assert await enqueue_batch(cluster.journal, "night") == count


async def test_many_begin_at_once(cluster) -> None:
    """The tables are created once, and the jobs are added once."""
    await cluster.submit()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(enqueue_batch(cluster.journal, "night")) for _ in range(5)]
    assert sum(task.result() for task in tasks) == JOBS
    assert await cluster.jobs() == JOBS


async def test_two_journals_in_one_database(cluster, connect, run_provider) -> None:
    """Each journal has its own jobs."""
    schema = f"{cluster.journal.schema}_b"
    journal = sg.PostgresJournal(DSN, schema=schema)
    try:
        async with sg.Payouts(
            connect(run_provider()), journal, cipher=sg.RequestCipher(KEY)
        ) as payouts:
            other = ClusterSetup(payouts, journal)
            await cluster.submit()
            assert await enqueue_batch(cluster.journal, "night") == JOBS
            assert await enqueue_batch(journal, "night") == 0
            assert (await cluster.jobs(), await other.jobs()) == (JOBS, 0)
    finally:
        await execute("DROP SCHEMA IF EXISTS {name} CASCADE", name=schema)


async def test_the_name_of_its_connection(cluster) -> None:
    """The name is that of the journal's connections."""
    async with jobs_of(cluster.journal) as jobs:
        (row,) = await jobs.driver.fetch("SHOW application_name")
        assert row == {"application_name": "smartglocal"}


async def test_the_environment_changes_no_names(cluster, monkeypatch) -> None:
    """Workers with different environments use the same tables."""
    for name in ("PGQUEUER_PREFIX", "PGQUEUER_SCHEMA", "QUEUE_TABLE", "CHANNEL", "FUNCTION"):
        monkeypatch.setenv(name, "another")
    await cluster.submit()
    assert await enqueue_batch(cluster.journal, "night") == JOBS
    assert await cluster.jobs() == JOBS


async def test_jobs_of_the_schedule(cluster) -> None:
    """Batches with due payouts: not paused, cancelled or halted ones."""
    for number, name in enumerate(("run", "paused", "cancelled")):
        _ = await cluster.payouts.submit([order(f"{name}-{number}")], name)
    _ = await cluster.payouts.submit([], "empty")
    _ = await cluster.payouts.pause_batch("paused", reason="look")
    _ = await cluster.payouts.cancel_batch("cancelled", reason="no")
    async with jobs_of(cluster.journal) as jobs:
        await cluster.payouts.quarantine()
        assert await jobs.put_due() == 0
        await cluster.payouts.resume_journal()
        assert await jobs.put_due() == 1
        assert await jobs.put_due() == 0
        _ = await cluster.payouts.resume_batch("paused")
        assert await jobs.put_due() == 1


async def test_a_batch_that_is_submitted_again(cluster, provider) -> None:
    """Settled payouts aren't checked again until the batch grows."""
    async with jobs_of(cluster.journal) as jobs:
        for count in (2, 5):
            await cluster.submit(count)
            assert await jobs.put_due() == 1
            cluster.told += [outcome async for outcome in cluster.payouts.run_chunk("night")]
            await jobs.queries.clear_queue()
            assert await jobs.put_due() == 0
    assert len(cluster.told) == 5
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
def test_job_of_another_journal(payload, words) -> None:
    """A job of another journal is refused with a message."""
    with pytest.raises(sg.Misuse, match=words):
        _ = batch_in(payload, "ours")


def test_a_job_of_another_spelling_of_the_server() -> None:
    """It is the same journal."""
    payload = b'{"scope": "https://HOST/|shop", "batch": "night"}'
    assert batch_in(payload, "https://host|shop") == "night"


async def test_a_queue_whose_table_is_gone(cluster) -> None:
    """The error is about the queue and not a journal that lost payouts; a new worker repairs it."""
    await cluster.submit()
    async with jobs_of(cluster.journal) as jobs:
        await execute("DROP TABLE {name}.pgqueuer", name=cluster.journal.schema)
        words = "the queue, which holds no payout, beside the journal .*: one of its tables is gone"
        with pytest.raises(sg.JournalUnusable, match=words):
            await jobs.put("night")
    assert await enqueue_batch(cluster.journal, "night") == await cluster.jobs() > 0


async def test_job_of_another_journal_is_dropped(cluster) -> None:
    """It isn't retried for ever, and the worker continues."""
    await cluster.submit(1)
    async with jobs_of(cluster.journal) as jobs:
        foreign = b'{"scope": "theirs", "batch": "night"}'
        _ = await jobs.queries.enqueue(RUN_CHUNK, foreign, priority=1)
        assert await jobs.put("night") == 1
    await cluster.works_until_settled(1)
    assert [str(error) for error in cluster.failed] == [
        f"a job is for theirs, and this worker is for {cluster.journal.scope}"
    ]
    assert await cluster.jobs() == 0


# --- Work --------------------------------------------------------------------------------------


async def test_a_job_that_comes_twice(cluster, provider) -> None:
    """A job that finds nothing to claim ends, and nothing is paid twice."""
    await cluster.submit()
    async with jobs_of(cluster.journal) as jobs:
        assert await jobs.put("night") == JOBS
        again = (
            "INSERT INTO {name}.pgqueuer (priority, status, entrypoint, payload) SELECT priority, "
            "status, entrypoint, payload FROM {name}.pgqueuer, generate_series(1, 4)"
        )
        await execute(again, name=cluster.journal.schema)
        assert await cluster.jobs() == 5 * JOBS
    await cluster.works_until_settled()
    assert len(cluster.told) == COUNT
    assert moved(provider) == [1] * COUNT
    assert cluster.failed == []


async def test_a_small_batch_is_spread(connect, run_provider, schema) -> None:
    """No worker has all of it while others are idle."""
    provider = run_provider(faults=FaultScript((HANG,)))
    async with contextlib.AsyncExitStack() as stack:
        workers: list[ClusterWorker] = []
        for _ in range(3):
            journal = sg.PostgresJournal(DSN, schema=schema)
            api = connect(provider, settings=QUICK)
            payouts = await stack.enter_async_context(
                sg.Payouts(api, journal, cipher=sg.RequestCipher(KEY))
            )
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


async def test_jobs_that_are_lost(cluster, provider, monkeypatch) -> None:
    """The queue's tables are emptied in the middle of it; the schedule finds the rest."""
    monkeypatch.setattr("smartglocal_async.integrations.cluster.jobs.CHUNK", 10)
    monkeypatch.setattr("smartglocal_async.integrations.cluster.worker.CHUNK", 10)
    await cluster.submit()
    tables = [f"{cluster.journal.schema}.pgqueuer{part}" for part in ("", "_log", "_schedules")]

    async def empty() -> None:
        await until(lambda: len(cluster.told) >= 5)
        async with connected() as connection:
            await connection.execute(f"TRUNCATE {', '.join(tables)}")

    assert await enqueue_batch(cluster.journal, "night") == JOBS
    async with asyncio.TaskGroup() as group:
        _ = group.create_task(empty())
        _ = group.create_task(cluster.works_until_settled())
    assert moved(provider) == [1] * COUNT


async def test_a_batch_that_is_paused(cluster, provider) -> None:
    """Only claimed payouts are paid; after the pause the work continues automatically."""
    await cluster.submit()
    _ = await enqueue_batch(cluster.journal, "night")
    is_paused = asyncio.Event()

    async def no_jobs() -> bool:
        return not await cluster.jobs()

    async def pause() -> None:
        await until(lambda: len(cluster.told) >= 10)
        _ = await cluster.payouts.pause_batch("night", reason="look")
        taken = 10 + len(cluster.told)
        await until(no_jobs)
        assert 10 <= len(cluster.told) <= taken + 8
        assert await cluster.journal.count_open(COUNT, batch="night") == COUNT - len(cluster.told)
        is_paused.set()
        _ = await cluster.payouts.resume_batch("night")

    async with asyncio.TaskGroup() as group:
        _ = group.create_task(pause())
        _ = group.create_task(cluster.works_until_settled(concurrency=4))
    assert is_paused.is_set()
    assert moved(provider) == [1] * COUNT


async def test_a_request_that_was_damaged(cluster, provider) -> None:
    """It is reported and postponed, so that all others are paid."""
    await cluster.submit()
    damage = "UPDATE {name}.entry SET request = set_byte(request, 20, 255 - get_byte(request, 20))"
    await execute(f"{damage} WHERE key = 'k0'", name=cluster.journal.schema)
    _ = await enqueue_batch(cluster.journal, "night")
    await cluster.works_until_settled(COUNT - 1)
    assert {type(error) for error in cluster.failed} == {sg.JournalUnusable}
    assert "the request of the key 'k0' can't be decrypted" in str(cluster.failed[0])
    assert moved(provider) == [0] + [1] * (COUNT - 1)
    (open_,) = await cluster.journal.open_entries(COUNT, batch="night", is_due=False)
    assert open_.key == "k0"
    assert open_.not_before is not None


async def test_stop(cluster, provider) -> None:
    """Payouts in progress are finished, and the other claims are released at once."""
    await cluster.submit()
    _ = await enqueue_batch(cluster.journal, "night")
    await cluster.works_until(lambda: len(cluster.told) >= 10)
    paid = provider.report().moved
    assert 10 <= paid == len(cluster.told) < COUNT
    assert await cluster.journal.count_open(COUNT, batch="night") == COUNT - paid


async def test_a_database_that_is_cut_off(connect, provider, schema) -> None:
    """The worker waits, reports it, and continues by itself."""
    async with proxied(DSN) as (proxy, dsn):
        journal = sg.PostgresJournal(dsn, schema=schema, patience_seconds=20)
        api = connect(provider, settings=QUICK)
        async with sg.Payouts(api, journal, cipher=sg.RequestCipher(KEY)) as payouts:
            cluster = ClusterSetup(payouts, journal)
            await cluster.submit()
            _ = await enqueue_batch(journal, "night")

            async def cut() -> None:
                await until(lambda: len(cluster.told) >= 10)
                proxy.is_down = True
                proxy.cut()
                await until(lambda: cluster.failed)
                proxy.is_down = False

            async with asyncio.TaskGroup() as group:
                _ = group.create_task(cut())
                _ = group.create_task(cluster.works_until_settled())
    assert [type(error) for error in cluster.failed] == [sg.JournalUnusable]
    assert moved(provider) == [1] * COUNT


# --- Processes ---------------------------------------------------------------------------------


@pytest.fixture
def start(key, tmp_path, provider, schema, monkeypatch):
    """Return a function that starts a worker process; all are killed at the end."""
    (tmp_path / "shop.pem").write_bytes(key.pem())
    monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", KEY)
    with contextlib.ExitStack() as stack:

        def run(*command: str, **variables: str) -> subprocess.Popen[str]:
            told = (provider.url, str(tmp_path / "shop.pem"), DSN, schema)
            worker = subprocess.Popen(
                [sys.executable, *(command or (str(SUPPORT / "cluster_worker.py"), *told))],
                env={**os.environ, "PYTHONPATH": PYTHONPATH, **variables},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(worker.communicate)
            stack.callback(worker.kill)
            return worker

        yield run


def ended(worker: subprocess.Popen[str]) -> str:
    """Stop a worker; return what it logged."""
    worker.send_signal(signal.SIGTERM)
    _, complaints = worker.communicate(timeout=30)
    assert worker.returncode == 0, complaints
    return complaints


async def test_a_worker_that_is_killed(cluster, provider, start) -> None:
    """The other worker pays its payouts once the leases end."""
    await cluster.submit(200)
    _ = await enqueue_batch(cluster.journal, "night")
    first, second = start(), start()
    await until(lambda: provider.report().moved >= 60, first, second)
    first.kill()
    await until(lambda: provider.report().moved >= 200, second)
    assert await asyncio.to_thread(ended, second) == ""
    assert moved(provider, 200) == [1] * 200
    summary = await cluster.payouts.summary()
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


def environment(cluster, provider, tmp_path) -> dict[str, str]:
    """Return what `create_worker` reads."""
    return {
        "SMARTGLOCAL_PROJECT": provider.project,
        "SMARTGLOCAL_PRIVATE_KEY": str(tmp_path / "shop.pem"),
        "SMARTGLOCAL_SERVER": provider.url,
        "SMARTGLOCAL_JOURNAL": f"{DSN}?schema={cluster.journal.schema}",
        "SMARTGLOCAL_CONCURRENCY": "4",
        "SMARTGLOCAL_CONFIRM": "manual",
    }


@pytest.mark.parametrize("words", [PGQ_RUN, pytest.param(("-c", BY_PGQUEUER), id="a program")])
async def test_a_worker_out_of_the_environment(cluster, provider, start, tmp_path, words) -> None:
    """PgQueuer's own supervisor runs it, and SIGTERM ends it after its work in progress."""
    await cluster.submit()
    _ = await enqueue_batch(cluster.journal, "night")
    worker = start(*words, **environment(cluster, provider, tmp_path))
    await until(lambda: provider.report().moved >= 10, worker)
    assert await asyncio.to_thread(ended, worker) == ""
    paid = provider.report().moved
    assert await cluster.journal.count_open(COUNT, batch="night") == COUNT - paid


@pytest.mark.parametrize("wrong", ["seal", "credentials"])
async def test_errors_that_waiting_does_not_fix(cluster, provider, start, tmp_path, wrong) -> None:
    """The worker ends without trying more jobs; its claims are released at once."""
    await cluster.submit()
    _ = await enqueue_batch(cluster.journal, "night")
    variables = environment(cluster, provider, tmp_path)
    if wrong == "seal":
        variables["SMARTGLOCAL_JOURNAL_KEY"] = sg.RequestCipher.new_key()
    else:
        (tmp_path / "shop.pem").write_bytes(sg.PrivateKey.generate().pem())
    worker = start("-c", BY_PGQUEUER, **variables)
    _, complaints = await asyncio.to_thread(worker.communicate, timeout=60)
    assert worker.returncode == 1
    named = "WrongJournalKey" if wrong == "seal" else "Refused"
    assert named in complaints.splitlines()[-1]
    assert provider.report().moved == 0
    assert await cluster.journal.count_open(COUNT, batch="night") == COUNT


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
    """The message names the variable."""
    known = {"SMARTGLOCAL_JOURNAL": DSN, "SMARTGLOCAL_JOURNAL_KEY": KEY}
    for name, value in {**known, **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(sg.InvalidCredentials, match=words):
        async with create_worker():
            pass
