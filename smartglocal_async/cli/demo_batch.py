"""The demo's story of a batch: workers that pay a file are killed, and both sides count; no output.

Each worker is a process of its own that runs ``smartglocal payouts pay``, as an operator would.
"""

import asyncio
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from attrs import define, frozen

from ..emulator import FaultScript, Permission, Provider, Report, Rules, run_in_thread
from ..errors import SmartGlocalError
from ..journal.sqlite import SQLiteReader
from ..journal.states import Step
from ..payouts.orders import PayoutState, state_of
from ..payouts.paging import PAGE, each
from ..signing import PrivateKey
from .demo_run import PROJECT
from .failures import ExitCode

KILLS: Final = 3
_LOOK_SECONDS: Final = 0.02
_MOST_RUNS: Final = 10
"""After the last kill: each goes on with what the one before left open."""
_CENTS: Final = 100
_LEAST_CENTS: Final = 100 * _CENTS
_AMOUNTS: Final = 400
_COLUMNS: Final = (
    "key",
    "amount",
    "currency",
    "payment_method.type",
    "payment_method.card.type",
    "payment_method.card.encrypted_card.number_hash",
    "participant_details.recipient.full_name",
)
# What the provider may do to a second start, or to a key that it has seen, is not documented: here
# it makes a second payout, and looks at no key.
_RULES: Final = Rules(second_start=Permission.ALLOW)


class BatchHalted(SmartGlocalError):
    """A worker ended in another way than by paying or by being killed."""


@frozen(kw_only=True)
class BatchPlan:
    """What to do."""

    payouts: int
    faults: float
    seed: int
    concurrency: int


@frozen(kw_only=True)
class BatchResult:
    """What both sides counted; sums are in cents of USD."""

    plan: BatchPlan
    kills: tuple[int, ...]
    """Of each kill: how many payouts the provider had made by then."""
    states: Mapping[PayoutState, int]
    """Of the journal."""
    paid_sum: int
    attempts: int
    """Calls that the journal had written down before they were sent."""
    lost: int
    """Payouts that the journal doesn't know, or has for paid though they aren't."""
    paid: int
    """Payouts that the provider made, by its own count."""
    paid_twice: int
    moved_sum: int
    seconds: float
    report: Report

    @property
    def is_good(self) -> bool:
        """Whether each was paid once, both sides agree, and all the kills took place."""
        ours = self.states.get(PayoutState.SUCCEEDED, 0)
        return (
            ours == self.paid == self.plan.payouts
            and self.paid_sum == self.moved_sum
            and not (self.lost or self.paid_twice)
            and len(self.kills) == KILLS
        )

    def as_dict(self) -> dict[str, Any]:
        """Give the result as plain JSON values."""
        return {
            "ok": self.is_good,
            "story": "batch",
            "payouts": self.plan.payouts,
            "seed": self.plan.seed,
            "fault_rate": self.plan.faults,
            "kills": list(self.kills),
            **{state.value: self.states.get(state, 0) for state in PayoutState},
            "paid_sum": self.paid_sum,
            "attempts": self.attempts,
            "lost": self.lost,
            "paid_twice": self.paid_twice,
            "paid_by_provider": self.paid,
            "sum_by_provider": self.moved_sum,
            "seconds": round(self.seconds, 3),
            "provider": self.report.as_dict(),
        }


@frozen(kw_only=True)
class Watcher:
    """Who watches: is told of each beginning and end of a worker, and of how far it is."""

    begun: Callable[[int], None]
    killed: Callable[[int, int], None]
    moved: Callable[[int], None]


@define(eq=False)
class _Batch:
    plan: BatchPlan
    folder: Path
    provider: Provider
    watcher: Watcher

    @property
    def file(self) -> Path:
        return self.folder / "payouts.csv"

    @property
    def key(self) -> Path:
        return self.folder / "demo.pem"

    @property
    def journal(self) -> Path:
        return self.folder / "payouts.journal"

    def write(self) -> None:
        """Write the key and the file."""
        with self.file.open("w", encoding="utf-8", newline="") as lines:
            rows = csv.writer(lines)
            rows.writerow(_COLUMNS)
            rows.writerows(_rows(self.plan.payouts))

    def pay(self) -> tuple[int, ...]:
        """Pay the file, killing the first workers; give what was paid at each kill.

        Raises:
            BatchHalted: a worker ended in another way.

        """
        kills: list[int] = []
        for number in range(1, KILLS + _MOST_RUNS + 1):
            share = self.plan.payouts * number // (KILLS + 1)
            code = self._run(number, share if number <= KILLS else None, kills)
            if code == ExitCode.DONE:
                return tuple(kills)
            if code not in {None, ExitCode.OUTCOME_UNKNOWN}:
                said = (self.folder / "worker.log").read_text(encoding="utf-8", errors="replace")
                raise BatchHalted(f"worker {number} ended with exit code {code}: {said.strip()}")
        return tuple(kills)

    def _run(self, number: int, target: int | None, kills: list[int]) -> int | None:
        """Have a worker pay; kill it at so many payouts; give its exit code, None if killed."""
        self.watcher.begun(number)
        with (self.folder / "worker.log").open("wb") as log, self._started(log) as worker:
            try:
                while worker.poll() is None:
                    moved = self.provider.report().moved
                    self.watcher.moved(moved)
                    if target is not None and moved >= target:
                        worker.kill()
                        kills.append(moved)
                        self.watcher.killed(number, moved)
                        return None
                    time.sleep(_LOOK_SECONDS)
            finally:
                worker.kill()
        return worker.returncode

    def _started(self, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        command = [
            *(sys.executable, "-m", "smartglocal_async", "payouts", "pay", str(self.file)),
            *("--server", self.provider.url, "--journal", str(self.journal)),
            *("--concurrency", str(self.plan.concurrency), "--yes", "--json"),
        ]
        told = {"SMARTGLOCAL_PROJECT": PROJECT, "SMARTGLOCAL_PRIVATE_KEY": str(self.key)}
        return subprocess.Popen(  # noqa: S603 - this very program
            command,
            env={**os.environ, **told},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )


def _rows(payouts: int) -> Iterator[tuple[str, ...]]:
    for number in range(payouts):
        amount = f"{_amount(number) / _CENTS:.2f}"
        yield (f"salary-{number:05}", amount, "usd", "card", "encrypted_card", "hash", "Jane Roe")


def _amount(number: int) -> int:
    return _LEAST_CENTS + number % _AMOUNTS * _CENTS


def play_batch(plan: BatchPlan, watcher: Watcher) -> BatchResult:
    """Pay a file under faults, kill the workers, and hold both sides' books against each other.

    Raises:
        BatchHalted: a worker ended in another way than by paying or by being killed.

    """
    key = PrivateKey.generate()
    faults = FaultScript.drops(plan.faults, plan.seed)
    with (
        tempfile.TemporaryDirectory(prefix="smartglocal-") as folder,
        run_in_thread(
            public_key=key.public, project=PROJECT, faults=faults, rules=_RULES
        ) as provider,
    ):
        batch = _Batch(plan=plan, folder=Path(folder), provider=provider, watcher=watcher)
        _ = batch.key.write_bytes(key.pem())
        batch.write()
        begun = time.perf_counter()
        kills = batch.pay()
        seconds = time.perf_counter() - begun
        return asyncio.run(_counted(batch, kills, seconds))


async def _counted(batch: _Batch, kills: tuple[int, ...], seconds: float) -> BatchResult:
    provider, plan = batch.provider, batch.plan
    orders = [provider.order(row[0]) for row in _rows(plan.payouts)]
    async with SQLiteReader(batch.journal) as journal:
        pages = each(lambda after: journal.entries(PAGE, after=after))
        entries = {entry.key: entry async for entry in pages}
    paid = {entry.key for entry in entries.values() if entry.step is Step.SUCCEEDED}
    wrong = sum(order.key not in entries or (order.key in paid) > order.moved for order in orders)
    return BatchResult(
        plan=plan,
        kills=kills,
        states=Counter(state_of(entry.step) for entry in entries.values()),
        paid_sum=sum(entries[key].amount or 0 for key in paid),
        attempts=sum(entry.attempts for entry in entries.values()),
        lost=wrong,
        paid=sum(order.moved > 0 for order in orders),
        paid_twice=sum(order.moved > 1 for order in orders),
        moved_sum=sum(movement.amount for order in orders for movement in order.movements),
        seconds=seconds,
        report=provider.report(),
    )
