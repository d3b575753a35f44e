"""Pays under all faults at once while processes are killed and stopped, and counts wrong results.

    python tests/proof/chaos/kill_driver.py           20 runs of 600 payouts on each journal
    python tests/proof/chaos/kill_driver.py --runs 2 --payouts 60 --seed 7 --journal sqlite

One call in ten meets a fault, of all kinds that the emulator has. Only the emulator's own counts of
money decide what was paid. Every other run has two processes; over one SQLite file, the second
waits for the first to end. In eight of twenty runs the code of a refused start is listed as a
refusal in the settings; in the others it is unknown.
"""

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import define, field, frozen
from every_fault import every_fault
from kill_worker import journal_at, settings
from places import PYTHONPATH
from postgres_schemas import DSN, execute, new_schema

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Confirmation
from smartglocal_async.journal.states import Step

_HERE: Final = Path(__file__)
_LEASE_SECONDS: Final = 3.0
_MAX_SECONDS: Final = 600.0
_POLL_SECONDS: Final = 0.1
_HALTED: Final = 7
REFUSED_START: Final = "invalid_session_state"
_MUST_BE_NONE: Final = ("paid twice", "reported paid, not paid", "reported failed, paid", "failed")


@frozen(kw_only=True)
class Plan:
    """One run."""

    seed: int
    payouts: int
    journal: str
    mode: sg.Mode
    processes: int
    interruptions: int
    """How many processes are killed or stopped."""
    rate: float
    """Share of the calls that meet a fault."""
    lists_code: bool
    """Whether the code of the emulator's refused starts is in `Settings.refusal_codes`."""


@define(eq=False, kw_only=True)
class Run:
    """A run: the emulator, the journal, the processes."""

    plan: Plan
    provider: emulator.Provider
    place: str
    folder: Path
    rng: random.Random
    counts: Counter[str] = field(factory=Counter[str])
    processes: "list[subprocess.Popen[bytes]]" = field(factory=list)

    def run(self) -> None:
        """Start processes, kill or stop some, and continue until one of them finds nothing open.

        Raises:
            TimeoutError: a payout stays open.

        """
        ends, interruptions = time.monotonic() + _MAX_SECONDS, self.plan.interruptions
        next_at = self._next_interruption()
        while True:
            if time.monotonic() > ends:
                raise TimeoutError(f"seed {self.plan.seed}: something stays open")
            if self._has_ended():
                return
            while len(self.processes) < self.plan.processes:
                self.processes.append(self._start())
            if interruptions and time.monotonic() >= next_at:
                self._interrupt(self.rng.choice(self.processes))
                interruptions, next_at = interruptions - 1, self._next_interruption()
            time.sleep(_POLL_SECONDS)

    def _next_interruption(self) -> float:
        return time.monotonic() + self.rng.uniform(0.8, 3.0)

    def _has_ended(self) -> bool:
        """Return whether a process found nothing open; lift a halt that ended another process."""
        for process in list(self.processes):
            code = process.poll()
            if code is None:
                continue
            self.processes.remove(process)
            if code == 0:
                return True
            if code == _HALTED:
                self._end()
                asyncio.run(self._lift())
                return False
        return False

    def _end(self) -> None:
        for process in self.processes:
            process.kill()
            _ = process.wait()
        self.processes.clear()

    async def _lift(self) -> None:
        """Lift the halt, as an operator would after a check."""
        self.counts["halts"] += 1
        async with self._client() as api, self._payouts(api) as payouts:
            await payouts.resume_journal()

    def _client(self) -> sg.SmartGlocal:
        pem = self.folder / "shop.pem"
        return sg.SmartGlocal("demo", pem, self.provider.url, settings=settings())

    def _payouts(self, api: sg.SmartGlocal) -> sg.Payouts:
        return sg.Payouts(api, journal_at(self.place), mode=self.plan.mode)

    def _start(self) -> "subprocess.Popen[bytes]":
        plan = self.plan
        with (self.folder / "workers.log").open("ab") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, str(_HERE.with_name("kill_worker.py")), self.provider.url),
                    *(str(self.folder / "shop.pem"), self.place, plan.mode.value),
                    *(str(plan.payouts), str(_LEASE_SECONDS), str(self.folder / "reported")),
                    *([REFUSED_START] if plan.lists_code else []),
                ],
                env={**os.environ, "PYTHONPATH": PYTHONPATH},
                stdout=log,
                stderr=log,
            )

    def _interrupt(self, process: "subprocess.Popen[bytes]") -> None:
        """Kill a process, or stop it for longer than its lease."""
        if self.rng.random() < 0.6:
            self.counts["killed"] += 1
            process.kill()
            return
        self.counts["stopped"] += 1
        process.send_signal(signal.SIGSTOP)
        time.sleep(_LEASE_SECONDS + self.rng.uniform(0.2, 1.0))
        process.send_signal(signal.SIGCONT)

    async def check(self) -> None:
        """Compare the journal and the reported outcomes with the money that moved."""
        journal = journal_at(self.place)
        async with self._client() as api, sg.Payouts(api, journal, mode=self.plan.mode):
            reported = self._reported()
            for number in range(self.plan.payouts):
                key = f"p-{number}"
                entry = await journal.find(key)
                assert entry is not None, key
                moved = len(self.provider.marked(journal.journal_id, key))
                states = reported.get(key, set()) | {_STATE.get(entry.step, "open")}
                self.counts[_STATE.get(entry.step, "open")] += 1
                self.counts["paid twice"] += moved > 1
                self.counts["reported paid, not paid"] += "succeeded" in states and not moved
                self.counts["reported failed, paid"] += bool(states & _NOT_PAID) and moved > 0
                if entry.step is Step.UNKNOWN:
                    self.counts[f"unknown: {(entry.reason or '')[:60]}"] += 1

    def _reported(self) -> dict[str, set[str]]:
        states: dict[str, set[str]] = {}
        path = self.folder / "reported"
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            key, _, state = line.partition(" ")
            states.setdefault(key, set()).add(state)
        return states


_STATE: Final = {
    Step.SUCCEEDED: "succeeded",
    Step.FAILED: "failed",
    Step.CANCELLED: "cancelled",
    Step.UNKNOWN: "unknown",
}
_NOT_PAID: Final = {"failed", "cancelled"}


@contextmanager
def place_of(plan: Plan, folder: Path) -> Iterator[str]:
    """Yield the location of a run's journal."""
    if plan.journal == "sqlite":
        yield str(folder / "payouts.db")
        return
    schema = new_schema()
    try:
        yield f"{DSN}?schema={schema}"
    finally:
        asyncio.run(execute("DROP SCHEMA IF EXISTS {schema} CASCADE", schema=schema))


def run(plan: Plan) -> Counter[str]:
    """Run a plan; return its counts."""
    key = sg.PrivateKey.generate()
    manual = plan.mode is sg.Mode.MANUAL
    rules = emulator.Rules(confirmation=Confirmation.MANUAL if manual else Confirmation.AUTOMATIC)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shop.pem").write_bytes(key.pem())
        running = emulator.run_in_thread(
            public_key=key.public, faults=every_fault(plan.rate, plan.seed), rules=rules
        )
        with running as provider, place_of(plan, folder) as place:
            run = Run(
                plan=plan,
                provider=provider,
                place=place,
                folder=folder,
                rng=random.Random(plan.seed),  # noqa: S311 - chance that can be repeated
            )
            try:
                run.run()
            finally:
                run._end()
            asyncio.run(run.check())
        return run.counts


def plans(options: argparse.Namespace, journal: str) -> Iterator[Plan]:
    """Return the runs on a journal."""
    for number in range(options.runs):
        yield Plan(
            seed=options.seed + number,
            payouts=options.payouts,
            journal=journal,
            mode=sg.Mode.MANUAL if number % 4 < 2 else sg.Mode.AUTOMATIC,
            processes=1 + number % 2,
            interruptions=options.interruptions,
            rate=options.rate,
            lists_code=number % 8 >= 4,
        )


def main() -> int:
    """Run the plans of the command line and print their counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--payouts", type=int, default=600)
    parser.add_argument("--interruptions", type=int, default=6)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--journal", choices=("sqlite", "postgres"), action="append")
    options = parser.parse_args()
    is_wrong = False
    for journal in options.journal or ("sqlite", "postgres"):
        total = Counter[str]()
        for plan in plans(options, journal):
            counts = run(plan)
            total += counts
            wrong = {name: counts[name] for name in _MUST_BE_NONE if counts[name]}
            is_wrong = is_wrong or bool(wrong)
            codes = ", its code listed" if plan.lists_code else ""
            about = f"{journal} seed {plan.seed} {plan.mode.value}{codes}"
            sys.stdout.write(f"{about}: {dict(counts)}\n")
            sys.stdout.flush()
        sys.stdout.write(f"{journal} in all: {dict(total)}\n")
    return int(is_wrong)


if __name__ == "__main__":
    sys.exit(main())
