"""A storm over a fleet: workers are killed and put to sleep, the database falls, its lines are cut.

python tests/chaos/storm.py                            30,000 payouts in either mode, a new seed
python tests/chaos/storm.py --payouts 3000 --seed 17   other ones
"""

import argparse
import asyncio
import contextlib
import enum
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
from paying import order
from postgres_server import Server, server

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.integrations.cluster import enqueue_batch

_HERE: Final = Path(__file__)
_BATCHES: Final = 6
"""Each has jobs of its own, so that a few payouts are enough for all workers."""
_SCHEMA: Final = "storm"
_PAGE: Final = 1_000
_LOOK_SECONDS: Final = 0.2
_PATIENCE_SECONDS: Final = 5.0
"""So long they have to pay at least one between two woes."""
_LONGEST_SECONDS: Final = 3_600.0
_FAULTS: Final = 0.02
_BY_PROXY: Final = 3
"""One worker in so many reaches the database through a line that is cut."""
_EMPTYING: Final = """
DELETE FROM storm.pgqueuer; DELETE FROM storm.pgqueuer_log;
DELETE FROM storm.pgqueuer_schedules; DELETE FROM storm.pgqueuer_statistics
"""


class Woe(enum.Enum):
    """What comes over a fleet."""

    KILL = "killed by SIGKILL"
    SLEEP = "asleep past its lease"
    CUT = "line to the database cut"
    FALL = "database stopped at once"
    EMPTY = "queue's tables emptied"


@frozen(kw_only=True)
class Plan:
    """How large a storm is; its seed decides what comes when."""

    payouts: int
    workers: int
    seed: int
    mode: sg.Mode
    concurrency: int
    latency_seconds: float
    woes: int
    """How many come; then it is calm, until nothing is open."""
    pause_seconds: float
    """Between two of them, on average, and longer where nothing is paid meanwhile."""
    lease_seconds: float = 2.0


@define(eq=False)
class Worker:
    """A process, and when it is to be woken, if it sleeps."""

    process: "subprocess.Popen[bytes]"
    wakes_at: float | None = None


@define(eq=False, kw_only=True)
class Storm:
    """A fleet, and what comes over it."""

    plan: Plan
    provider: emulator.Provider
    database: Server
    proxy: CuttingProxy
    far: str
    """The address of the database behind the proxy."""
    key: sg.PrivateKey
    seal: str = field(factory=sg.Seal.new_key)
    folder: Path
    stack: ExitStack
    dice: random.Random
    met: Counter[Woe] = field(factory=Counter[Woe])
    ended: int = 0
    """Workers that ended by themselves; others took their places."""
    workers: list[Worker] = field(factory=list[Worker])
    begun: int = 0
    up_at: float | None = None

    @property
    def dsn(self) -> str:
        """The journal."""
        return f"{self.database.dsn}?schema={_SCHEMA}"

    @property
    def environment(self) -> dict[str, str]:
        """What a worker needs."""
        return {
            **os.environ,
            "SMARTGLOCAL_PROJECT": self.provider.project,
            "SMARTGLOCAL_PRIVATE_KEY": str(self.folder / "shop.pem"),
            "SMARTGLOCAL_SERVER": self.provider.url,
            "SMARTGLOCAL_JOURNAL_KEY": self.seal,
            "PYTHONPATH": str(_HERE.parents[2]),
        }

    async def rage(self) -> None:
        """Have it come over the fleet, each woe once at least, and wait until nothing is open."""
        for _ in range(self.plan.workers):
            self.begin()
        often = self.dice.choices(*zip(*_OFTEN.items(), strict=True), k=self.plan.woes - len(Woe))
        woes, pause = self.dice.sample([*Woe, *often], self.plan.woes), self.plan.pause_seconds
        paid, next_at = 0, math.inf  # Not before the first is paid.
        async with asyncio.timeout(_LONGEST_SECONDS):
            while await self.is_open():
                self.mend()
                now, pays = time.monotonic(), self.provider.report().moved > paid
                if pays:
                    next_at = min(next_at, now + self.dice.uniform(0.5, 1.5) * pause)
                if woes and now >= next_at:
                    await self.bring(woes.pop())
                    paid, next_at = self.provider.report().moved, now + _PATIENCE_SECONDS
                await asyncio.sleep(_LOOK_SECONDS)

    def begin(self) -> None:
        """Start a worker."""
        dsn = f"{self.far}?schema={_SCHEMA}" if self.begun % _BY_PROXY == 0 else self.dsn
        log = self.stack.enter_context((self.folder / "workers.log").open("ab"))
        plan, self.begun = self.plan, self.begun + 1
        process = subprocess.Popen(
            [
                *(sys.executable, str(_HERE.with_name("storm_worker.py")), dsn),
                *(str(plan.lease_seconds), plan.mode.value, str(plan.concurrency)),
            ],
            env=self.environment,
            stdout=log,
            stderr=log,
        )
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        self.workers.append(Worker(process))

    def mend(self) -> None:
        """Wake who slept long enough, replace who is gone, and let the line up again."""
        now = time.monotonic()
        if self.up_at is not None and now >= self.up_at:
            self.proxy.is_down, self.up_at = False, None
        for worker in list(self.workers):
            if worker.wakes_at is not None and now >= worker.wakes_at:
                worker.process.send_signal(signal.SIGCONT)
                worker.wakes_at = None
            if worker.process.poll() is not None:
                self.ended += 1
                self.workers.remove(worker)
                self.begin()

    async def bring(self, woe: Woe) -> None:
        """Bring one over them."""
        awake = [worker for worker in self.workers if worker.wakes_at is None]
        if not awake and woe in {Woe.KILL, Woe.SLEEP}:
            return
        self.met[woe] += 1
        match woe:
            case Woe.KILL:
                self.kill(self.dice.choice(awake))
            case Woe.SLEEP:
                self.put_to_sleep(self.dice.choice(awake))
            case Woe.CUT:
                self.proxy.is_down = True
                self.proxy.cut()
                self.up_at = time.monotonic() + self.dice.uniform(0.1, 2.0)
            case Woe.FALL:
                await asyncio.to_thread(self.database.stop)
                await asyncio.to_thread(self.database.start)
            case Woe.EMPTY:
                async with self.connected() as connection:
                    await connection.execute(_EMPTYING)

    def kill(self, worker: Worker) -> None:
        """Kill a worker; another one takes its place."""
        worker.process.kill()
        _ = worker.process.wait()
        self.workers.remove(worker)
        self.begin()

    def put_to_sleep(self, worker: Worker) -> None:
        """Stop a worker until its leases are others'."""
        worker.process.send_signal(signal.SIGSTOP)
        beyond = self.plan.lease_seconds + self.dice.uniform(0.5, 2.0)
        worker.wakes_at = time.monotonic() + beyond

    async def is_open(self) -> bool:
        """Say whether anything is left to do, and see that nobody halted it."""
        async with self.connected() as connection:
            halt = await connection.fetchval("SELECT halt FROM storm.meta")
            assert halt is None, halt
            return await connection.fetchval(
                "SELECT EXISTS (SELECT FROM storm.entry WHERE step < $1)", sg.Step.UNKNOWN
            )

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator["asyncpg.Connection[Any]"]:
        """Give a connection of the storm's own, which nothing comes over."""
        connection = await asyncpg.connect(self.database.dsn, timeout=20)
        try:
            yield connection
        finally:
            await connection.close()


_OFTEN: Final = {Woe.KILL: 8, Woe.SLEEP: 8, Woe.CUT: 4, Woe.EMPTY: 2, Woe.FALL: 1}


@frozen(kw_only=True)
class Verdict:
    """What became of the payouts, by the provider's own count and by the journal's."""

    met: Counter[Woe]
    counts: Counter[str]
    wrong: list[str]
    """What must not be, a line for each."""


async def weather(plan: Plan) -> Verdict:
    """Have a fleet pay in a storm, and look what became of it."""
    key = sg.PrivateKey.generate()
    rules = emulator.Rules(
        confirmation=emulator.Confirmation(plan.mode.value),
        second_start=emulator.Permission.ALLOW,
        latency_seconds=plan.latency_seconds,
    )
    faults = emulator.FaultScript.drops(_FAULTS, plan.seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        server() as database,
        emulator.run_in_thread(public_key=key.public, rules=rules, faults=faults) as provider,
    ):
        async with proxied(database.dsn) as (proxy, far):
            with ExitStack() as stack:
                storm = Storm(
                    plan=plan,
                    provider=provider,
                    database=database,
                    proxy=proxy,
                    far=far,
                    key=key,
                    folder=Path(folder),
                    stack=stack,
                    dice=random.Random(plan.seed),  # noqa: S311 - a storm, and no secret
                )
                await submit(storm)
                try:
                    await storm.rage()
                except BaseException:
                    _ = sys.stderr.write((storm.folder / "workers.log").read_text("utf-8"))
                    raise
            return await judge(storm)


async def submit(storm: Storm) -> None:
    """Write the key and the batches down."""
    (storm.folder / "shop.pem").write_bytes(storm.key.pem())
    journal, provider = sg.PostgresJournal(storm.dsn), storm.provider
    async with (
        sg.SmartGlocal(provider.project, storm.key, provider.url) as api,
        sg.Payouts(api, journal, seal=sg.Seal(storm.seal), mode=storm.plan.mode) as payouts,
    ):
        names = list(keys(storm.plan))
        for batch in range(_BATCHES):
            orders = (order(name, 100) for name in names[batch::_BATCHES])
            _ = await payouts.submit(orders, f"batch-{batch}")
            _ = await enqueue_batch(journal, f"batch-{batch}")


def keys(plan: Plan) -> Iterator[str]:
    """Give the keys of the payouts."""
    return (f"k-{number}" for number in range(plan.payouts))


async def judge(storm: Storm) -> Verdict:
    """Hold the journal against the provider's own count."""
    entries = await entries_of(storm)
    counts, wrong = Counter[str](dict.fromkeys(("paid twice", "lost"), 0)), list[str]()
    for key in keys(storm.plan):
        entry, moved = entries.get(key), storm.provider.order(key).moved
        state = "lost" if entry is None else entry.step.name.lower()
        counts[state] += 1
        counts["moved"] += moved
        counts["paid twice"] += moved > 1
        is_told = state == "unknown" or moved == (state == "succeeded")
        if moved > 1 or not is_told or state not in _ENDS:
            wrong.append(f"{key}: {state}, and moved {moved} times")
    counts["ended by themselves"] = storm.ended
    return Verdict(met=storm.met, counts=counts, wrong=wrong)


_ENDS: Final = frozenset({"succeeded", "failed", "unknown"})


async def entries_of(storm: Storm) -> dict[str, sg.Entry]:
    """Read the journal."""
    journal, found, after = sg.PostgresJournal(storm.dsn), dict[str, sg.Entry](), None
    await journal.open(f"{storm.provider.url}|{storm.provider.project}")
    while page := await journal.entries(_PAGE, after=after):
        found |= {entry.key: entry for entry in page}
        after = page[-1].key
    await journal.close()
    return found


def main() -> int:
    """Weather a storm in either mode; give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    _ = parser.add_argument("--payouts", type=int, default=30_000)
    _ = parser.add_argument("--workers", type=int, default=8)
    _ = parser.add_argument("--woes", type=int, default=60)
    _ = parser.add_argument("--seed", type=int, default=random.randrange(10_000))  # noqa: S311
    said = parser.parse_args()
    broken = 0
    for mode in (sg.Mode.MANUAL, sg.Mode.AUTOMATIC):
        plan = Plan(
            payouts=said.payouts,
            workers=said.workers,
            seed=said.seed,
            mode=mode,
            concurrency=32,
            latency_seconds=0.02,
            woes=said.woes,
            pause_seconds=3.0,
        )
        print(f"{mode.value}, seed {said.seed}, {said.payouts:,} payouts", flush=True)  # noqa: T201
        begun = time.monotonic()
        verdict = asyncio.run(weather(plan))
        told = {woe.value: times for woe, times in verdict.met.items()} | verdict.counts
        told["seconds"] = round(time.monotonic() - begun)
        lines = [f"  {name:<28}{count:>8,}" for name, count in told.items()]
        print("\n".join([*lines, *verdict.wrong[:20]]), flush=True)  # noqa: T201
        broken += len(verdict.wrong)
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
