"""Random failures for several workers: kills, stopped processes, database restarts."""

import argparse
import asyncio
import contextlib
import enum
import itertools
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import asyncpg
from attrs import define, field, frozen
from cutting_proxy import CuttingProxy, proxied
from every_fault import every_fault
from paying import order
from places import PYTHONPATH
from postgres_server import Server, server

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import FaultKind
from smartglocal_async.integrations.cluster import enqueue_batch

_HERE: Final = Path(__file__)
_BATCHES: Final = 6
"""Each batch has its own jobs, so that a few payouts are enough for all workers."""
_SCHEMA: Final = "chaos"
_PAGE: Final = 1_000
_POLL_SECONDS: Final = 0.2
_PATIENCE_SECONDS: Final = 5.0
"""Between two failures the workers get this much time to pay at least one payout."""
_MAX_SECONDS: Final = 3_600.0
_FAULTS: Final = 0.02
_PAYS_TWICE: Final = frozenset({FaultKind.TWICE})
"""Where a second start is allowed, a call that is carried out twice is a second payout."""
_PROXY_EVERY: Final = 3
"""Every third worker connects to the database through the proxy."""
_EMPTY_QUEUE: Final = """
DELETE FROM chaos.pgqueuer; DELETE FROM chaos.pgqueuer_log;
DELETE FROM chaos.pgqueuer_schedules; DELETE FROM chaos.pgqueuer_statistics
"""


class Failure(enum.Enum):
    """A kind of failure."""

    KILL = "killed by SIGKILL"
    SLEEP = "stopped past its lease"
    CUT = "connection to the database lost"
    RESTART = "database stopped"
    EMPTY_QUEUE = "queue's tables emptied"


@frozen(kw_only=True)
class Plan:
    """The size of a run; the seed decides which failures come when."""

    payouts: int
    workers: int
    seed: int
    mode: sg.Mode
    second_start: emulator.Permission
    """Whether the provider starts a session twice. If it doesn't, calls meet every fault."""
    concurrency: int
    latency_seconds: float
    failures: int
    """How many failures there are; after them the run continues until nothing is open."""
    pause_seconds: float
    """The average seconds between two failures; longer if nothing is paid in the meantime."""
    lease_seconds: float = 2.0


@define(eq=False)
class Worker:
    """A worker process, and when it is continued if it is stopped."""

    process: "subprocess.Popen[bytes]"
    continues_at: float | None = None


@define(eq=False, kw_only=True)
class ChaosRun:
    """A run: the workers, and the failures that they meet."""

    plan: Plan
    provider: emulator.Provider
    database: Server
    proxy: CuttingProxy
    proxied_dsn: str
    """The address of the database behind the proxy."""
    key: sg.PrivateKey
    journal_key: str = field(factory=sg.RequestCipher.new_key)
    folder: Path
    stack: ExitStack
    rng: random.Random
    met: Counter[Failure] = field(factory=Counter[Failure])
    ended: int = 0
    """Workers that ended by themselves and were replaced."""
    halts: int = 0
    """How often payouts were halted, and continued."""
    workers: list[Worker] = field(factory=list[Worker])
    started: int = 0
    up_at: float | None = None

    @property
    def dsn(self) -> str:
        """The address of the journal."""
        return f"{self.database.dsn}?schema={_SCHEMA}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a worker."""
        return {
            **os.environ,
            "SMARTGLOCAL_PROJECT": self.provider.project,
            "SMARTGLOCAL_PRIVATE_KEY": str(self.folder / "shop.pem"),
            "SMARTGLOCAL_SERVER": self.provider.url,
            "SMARTGLOCAL_JOURNAL_KEY": self.journal_key,
            "PYTHONPATH": PYTHONPATH,
        }

    async def cause_failures(self) -> None:
        """Cause each kind of failure at least once, and wait until nothing is open."""
        for _ in range(self.plan.workers):
            self.start_worker()
        more = self.rng.choices(
            *zip(*_WEIGHTS.items(), strict=True), k=self.plan.failures - len(Failure)
        )
        failures, pause = (
            self.rng.sample([*Failure, *more], self.plan.failures),
            self.plan.pause_seconds,
        )
        paid, next_at = 0, math.inf  # Not before the first is paid.
        async with asyncio.timeout(_MAX_SECONDS):
            while await self.is_open():
                self.recover()
                now, pays = time.monotonic(), self.provider.report().moved > paid
                if pays:
                    next_at = min(next_at, now + self.rng.uniform(0.5, 1.5) * pause)
                if failures and now >= next_at:
                    await self.cause(failures.pop())
                    paid, next_at = self.provider.report().moved, now + _PATIENCE_SECONDS
                await asyncio.sleep(_POLL_SECONDS)

    def start_worker(self) -> None:
        """Start a worker."""
        dsn = (
            f"{self.proxied_dsn}?schema={_SCHEMA}" if self.started % _PROXY_EVERY == 0 else self.dsn
        )
        log = self.stack.enter_context((self.folder / "workers.log").open("ab"))
        plan, self.started = self.plan, self.started + 1
        process = subprocess.Popen(
            [
                *(sys.executable, str(_HERE.with_name("chaos_worker.py")), dsn),
                *(str(plan.lease_seconds), plan.mode.value, str(plan.concurrency)),
            ],
            env=self.environment,
            stdout=log,
            stderr=log,
        )
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        self.workers.append(Worker(process))

    def recover(self) -> None:
        """Continue stopped workers, replace those that ended, and restore the proxy."""
        now = time.monotonic()
        if self.up_at is not None and now >= self.up_at:
            self.proxy.is_down, self.up_at = False, None
        for worker in list(self.workers):
            if worker.continues_at is not None and now >= worker.continues_at:
                worker.process.send_signal(signal.SIGCONT)
                worker.continues_at = None
            if worker.process.poll() is not None:
                self.ended += 1
                self.workers.remove(worker)
                self.start_worker()

    async def cause(self, failure: Failure) -> None:
        """Cause a failure."""
        awake = [worker for worker in self.workers if worker.continues_at is None]
        if not awake and failure in {Failure.KILL, Failure.SLEEP}:
            return
        self.met[failure] += 1
        match failure:
            case Failure.KILL:
                self.kill(self.rng.choice(awake))
            case Failure.SLEEP:
                self.stop_past_lease(self.rng.choice(awake))
            case Failure.CUT:
                self.proxy.is_down = True
                self.proxy.cut()
                self.up_at = time.monotonic() + self.rng.uniform(0.1, 2.0)
            case Failure.RESTART:
                await asyncio.to_thread(self.database.stop)
                await asyncio.to_thread(self.database.start)
            case Failure.EMPTY_QUEUE:
                async with self.connected() as connection:
                    await connection.execute(_EMPTY_QUEUE)

    def kill(self, worker: Worker) -> None:
        """Kill a worker and start another one."""
        worker.process.kill()
        _ = worker.process.wait()
        self.workers.remove(worker)
        self.start_worker()

    def stop_past_lease(self, worker: Worker) -> None:
        """Stop a worker for longer than its lease."""
        worker.process.send_signal(signal.SIGSTOP)
        beyond = self.plan.lease_seconds + self.rng.uniform(0.5, 2.0)
        worker.continues_at = time.monotonic() + beyond

    async def is_open(self) -> bool:
        """Return whether a payout is open; continue payouts if they are halted."""
        async with self.connected() as connection:
            if await connection.fetchval("SELECT halt FROM chaos.meta"):
                await self.resume()
            return await connection.fetchval(
                "SELECT EXISTS (SELECT FROM chaos.entry WHERE step < $1)", sg.journal.Step.UNKNOWN
            )

    async def resume(self) -> None:
        """Continue halted payouts, as an operator would after a check."""
        self.halts += 1
        async with self.payouts() as (payouts, _):
            await payouts.resume_journal()

    @contextlib.asynccontextmanager
    async def payouts(self) -> "AsyncIterator[tuple[sg.Payouts, sg.PostgresJournal]]":
        """Yield the payouts, and their journal."""
        journal, cipher = sg.PostgresJournal(self.dsn), sg.RequestCipher(self.journal_key)
        async with (
            sg.SmartGlocal(self.provider.project, self.key, self.provider.url) as api,
            sg.Payouts(api, journal, cipher=cipher, mode=self.plan.mode) as payouts,
        ):
            yield payouts, journal

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator["asyncpg.Connection[Any]"]:
        """Yield a connection to the database that no failure affects."""
        connection = await asyncpg.connect(self.database.dsn, timeout=20)
        try:
            yield connection
        finally:
            await connection.close()


_WEIGHTS: Final = {
    Failure.KILL: 8,
    Failure.SLEEP: 8,
    Failure.CUT: 4,
    Failure.EMPTY_QUEUE: 2,
    Failure.RESTART: 1,
}


@frozen(kw_only=True)
class Result:
    """The final states of the payouts, by the provider's count and by the journal."""

    met: Counter[Failure]
    counts: Counter[str]
    wrong: list[str]
    """A line for each payout with a wrong result."""


async def run_chaos(plan: Plan) -> Result:
    """Pay while failures happen; return the result."""
    key = sg.PrivateKey.generate()
    rules = emulator.Rules(
        confirmation=emulator.Confirmation(plan.mode.value),
        second_start=plan.second_start,
        latency_seconds=plan.latency_seconds,
    )
    allowed = plan.second_start is emulator.Permission.ALLOW
    faults = every_fault(_FAULTS, plan.seed, without=_PAYS_TWICE if allowed else ())
    with (
        tempfile.TemporaryDirectory() as folder,
        server() as database,
        emulator.run_in_thread(public_key=key.public, rules=rules, faults=faults) as provider,
    ):
        async with proxied(database.dsn) as (proxy, proxied_dsn):
            with ExitStack() as stack:
                run = ChaosRun(
                    plan=plan,
                    provider=provider,
                    database=database,
                    proxy=proxy,
                    proxied_dsn=proxied_dsn,
                    key=key,
                    folder=Path(folder),
                    stack=stack,
                    rng=random.Random(plan.seed),  # noqa: S311 - not a secret
                )
                await submit(run)
                try:
                    await run.cause_failures()
                except BaseException:
                    _ = sys.stderr.write((run.folder / "workers.log").read_text("utf-8"))
                    raise
            return await check(run)


async def submit(run: ChaosRun) -> None:
    """Write the key, and submit the batches."""
    (run.folder / "shop.pem").write_bytes(run.key.pem())
    async with run.payouts() as (payouts, journal):
        names = list(keys(run.plan))
        for batch in range(_BATCHES):
            orders = (order(name, 100) for name in names[batch::_BATCHES])
            _ = await payouts.submit(orders, f"batch-{batch}")
            _ = await enqueue_batch(journal, f"batch-{batch}")


def keys(plan: Plan) -> Iterator[str]:
    """Yield the keys of the payouts."""
    return (f"k-{number}" for number in range(plan.payouts))


async def check(run: ChaosRun) -> Result:
    """Compare the journal with the provider's count."""
    entries = await entries_of(run)
    counts, wrong = Counter[str](dict.fromkeys(("paid twice", "lost"), 0)), list[str]()
    for key in keys(run.plan):
        entry, moved = entries.get(key), run.provider.order(key).moved
        state = "lost" if entry is None else entry.step.name.lower()
        counts[state] += 1
        counts["moved"] += moved
        counts["paid twice"] += moved > 1
        is_right = state == "unknown" or moved == (state == "succeeded")
        if moved > 1 or not is_right or state not in _END_STATES:
            wrong.append(f"{key}: {state}, but money moved {moved} times")
    counts |= {"ended by themselves": run.ended, "halts": run.halts}
    return Result(met=run.met, counts=counts, wrong=wrong)


_END_STATES: Final = frozenset({"succeeded", "failed", "unknown"})


async def entries_of(run: ChaosRun) -> dict[str, sg.journal.Entry]:
    """Return the entries of the journal."""
    journal, found, after = sg.PostgresJournal(run.dsn), dict[str, sg.journal.Entry](), None
    await journal.open(f"{run.provider.url}|{run.provider.project}")
    while page := await journal.entries(_PAGE, after=after):
        found |= {entry.key: entry for entry in page}
        after = page[-1].key
    await journal.close()
    return found


def main() -> int:
    """Run in either mode, with and without second starts; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    _ = parser.add_argument("--payouts", type=int, default=30_000)
    _ = parser.add_argument("--workers", type=int, default=8)
    _ = parser.add_argument("--failures", type=int, default=60)
    _ = parser.add_argument("--seed", type=int, default=random.randrange(10_000))  # noqa: S311
    options = parser.parse_args()
    broken = 0
    modes = (sg.Mode.MANUAL, sg.Mode.AUTOMATIC)
    rules = (emulator.Permission.ALLOW, emulator.Permission.REFUSE)
    for mode, second_start in itertools.product(modes, rules):
        plan = Plan(
            payouts=options.payouts,
            workers=options.workers,
            seed=options.seed,
            mode=mode,
            second_start=second_start,
            concurrency=32,
            latency_seconds=0.02,
            failures=options.failures,
            pause_seconds=3.0,
        )
        case = f"{mode.value}, second start: {second_start.value}"
        print(f"{case}, seed {options.seed}, {options.payouts:,} payouts", flush=True)  # noqa: T201
        started = time.monotonic()
        result = asyncio.run(run_chaos(plan))
        counts = {failure.value: times for failure, times in result.met.items()} | result.counts
        counts["seconds"] = round(time.monotonic() - started)
        lines = [f"  {name:<28}{count:>8,}" for name, count in counts.items()]
        print("\n".join([*lines, *result.wrong[:20]]), flush=True)  # noqa: T201
        broken += len(result.wrong)
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
