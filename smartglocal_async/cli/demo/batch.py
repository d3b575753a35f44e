"""The demo's story of a batch: workers that pay a file are killed, and both sides count.

Each worker is a process that runs ``smartglocal payouts pay``, as an operator would.
"""

import csv
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from attrs import define, evolve, frozen
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ...emulator import FaultScript, Permission, Provider, Report, Rules, run_in_thread
from ...errors import SmartGlocalError
from ...journal.journal import PAGE, each
from ...journal.sqlite import SQLiteReader
from ...journal.states import Step
from ...keys import PrivateKey
from ...models.money import Amount
from ...payouts.orders import PayoutState, state_of
from ...payouts.protocol import PayoutCall
from ..errors import ExitCode
from ..output import counted
from ..signals import run_async
from ..tables import cell, money, show, table
from .session import PROJECT

KILLS: Final = 3
_CHECK_SECONDS: Final = 0.02
_MAX_RUNS: Final = 10
"""Workers after the last kill; each continues after the one before."""
_CENTS: Final = 100
_MIN_CENTS: Final = 100 * _CENTS
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
# How the provider handles a second start or a repeated key is not documented: here it makes a
# second payout, and ignores the key.
_RULES: Final = Rules(second_start=Permission.ALLOW)


class BatchHalted(SmartGlocalError):
    """A worker failed, other than by being killed."""


@frozen(kw_only=True)
class BatchPlan:
    """How many payouts to make, and under which faults."""

    payouts: int
    faults: float
    seed: int
    concurrency: int


@frozen(kw_only=True)
class BatchResult:
    """What journal and provider counted; sums are in US cents."""

    plan: BatchPlan
    kills: tuple[int, ...]
    """How many payouts the provider had made at each kill."""
    states: Mapping[PayoutState, int]
    """The payouts of the journal, by state."""
    paid_sum: int
    attempts: int
    """Calls that the journal recorded before they were sent."""
    lost: int
    """Payouts that the journal doesn't have, or has as paid although they aren't."""
    paid: int
    """Payouts that the provider made."""
    paid_twice: int
    moved_sum: int
    seconds: float
    report: Report

    @property
    def is_good(self) -> bool:
        """Whether each was paid once, both sides agree, and all kills happened."""
        ours = self.states.get(PayoutState.SUCCEEDED, 0)
        return (
            ours == self.paid == self.plan.payouts
            and self.paid_sum == self.moved_sum
            and not (self.lost or self.paid_twice)
            and len(self.kills) == KILLS
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
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
class BatchWatcher:
    """Functions that are called when the emulator or a worker starts, is killed, or pays more."""

    serving: Callable[[str], None]
    started: Callable[[int], None]
    killed: Callable[[int, int], None]
    paid: Callable[[int], None]


@define(eq=False)
class KilledBatch:
    """The files of a run in one folder, and its workers."""

    plan: BatchPlan
    folder: Path
    provider: Provider
    watcher: BatchWatcher

    @property
    def file(self) -> Path:
        """The file of payouts."""
        return self.folder / "payouts.csv"

    @property
    def key(self) -> Path:
        """The private key."""
        return self.folder / "demo.pem"

    @property
    def journal(self) -> Path:
        """The journal."""
        return self.folder / "payouts.journal"

    def write(self) -> None:
        """Write the file of payouts."""
        with self.file.open("w", encoding="utf-8", newline="") as lines:
            rows = csv.writer(lines)
            rows.writerow(_COLUMNS)
            rows.writerows(_rows(self.plan.payouts))

    def pay(self) -> tuple[int, ...]:
        """Pay the file, and kill the first workers; return how many were paid at each kill.

        Raises:
            BatchHalted: a worker failed.

        """
        kills: list[int] = []
        for number in range(1, KILLS + _MAX_RUNS + 1):
            share = self.plan.payouts * number // (KILLS + 1)
            code = self._run(number, share if number <= KILLS else None, kills)
            if code == ExitCode.DONE:
                return tuple(kills)
            if code not in {None, ExitCode.OUTCOME_UNKNOWN}:
                text = (self.folder / "worker.log").read_text(encoding="utf-8", errors="replace")
                raise BatchHalted(f"worker {number} ended with exit code {code}: {text.strip()}")
        return tuple(kills)

    def _run(self, number: int, target: int | None, kills: list[int]) -> int | None:
        """Run a worker, and kill it at ``target`` payouts; return its exit code, None if killed."""
        self.watcher.started(number)
        with (self.folder / "worker.log").open("wb") as log, self._started(log) as worker:
            try:
                while worker.poll() is None:
                    moved = self.provider.report().moved
                    self.watcher.paid(moved)
                    if target is not None and moved >= target:
                        worker.kill()
                        kills.append(moved)
                        self.watcher.killed(number, moved)
                        return None
                    time.sleep(_CHECK_SECONDS)
            finally:
                worker.kill()
        return worker.returncode

    def _started(self, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        command = [
            *(sys.executable, "-m", "smartglocal_async", "payouts", "pay", str(self.file)),
            *("--server", self.provider.url, "--journal", str(self.journal)),
            *("--concurrency", str(self.plan.concurrency), "--yes", "--json"),
        ]
        settings = {"SMARTGLOCAL_PROJECT": PROJECT, "SMARTGLOCAL_PRIVATE_KEY": str(self.key)}
        return subprocess.Popen(  # noqa: S603 - this very program
            command,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )


def _rows(payouts: int) -> Iterator[tuple[str, ...]]:
    for number in range(payouts):
        amount = f"{_amount(number) / _CENTS:.2f}"
        yield (f"salary-{number:05}", amount, "usd", "card", "encrypted_card", "hash", "Jane Roe")


def _amount(number: int) -> int:
    return _MIN_CENTS + number % _AMOUNTS * _CENTS


def _faults_of_payouts(rate: float, seed: int) -> FaultScript:
    """Return faults of the calls that make payouts.

    Not of the check of the wallets: `payouts pay` ends if that fails three times.
    """
    drops = FaultScript.drops(rate, seed).faults
    return FaultScript(
        (evolve(drop, operation=call.value) for call in PayoutCall for drop in drops), seed
    )


def play_batch(plan: BatchPlan, watcher: BatchWatcher) -> BatchResult:
    """Pay a file under faults, kill workers, and compare the journal with the provider.

    Raises:
        BatchHalted: a worker failed, other than by being killed.

    """
    key = PrivateKey.generate()
    faults = _faults_of_payouts(plan.faults, plan.seed)
    with (
        tempfile.TemporaryDirectory(prefix="smartglocal-") as folder,
        run_in_thread(
            public_key=key.public, project=PROJECT, faults=faults, rules=_RULES
        ) as provider,
    ):
        batch = KilledBatch(plan=plan, folder=Path(folder), provider=provider, watcher=watcher)
        _ = batch.key.write_bytes(key.pem())
        batch.write()
        watcher.serving(provider.page_url or provider.url)
        started = time.perf_counter()
        kills = batch.pay()
        seconds = time.perf_counter() - started
        return run_async(_counted(batch, kills, seconds))


async def _counted(batch: KilledBatch, kills: tuple[int, ...], seconds: float) -> BatchResult:
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


_CURRENCY: Final = "usd"


@contextmanager
def watching(screen: Console, plan: BatchPlan, *, is_silent: bool) -> Generator[BatchWatcher]:
    """Yield a watcher that prints what happens, with a progress bar on a terminal."""
    if is_silent:
        yield BatchWatcher(serving=_ignore, started=_ignore, killed=_ignore_two, paid=_ignore)
        return
    share = f"{plan.faults * 100:g}% faults"
    screen.print(cell(f"A file of {counted(plan.payouts, 'payout')}, {share}", "bold"))
    with Progress(
        TextColumn("paid, by the provider's count"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=screen,
        disable=not screen.is_terminal,
    ) as progress:
        task = progress.add_task("", total=plan.payouts)

        def say(text: str, style: str = "") -> None:
            progress.console.print(cell(text, style), soft_wrap=True)

        yield BatchWatcher(
            serving=lambda url: say(f"  the emulator's page: {url}"),
            started=lambda number: say(f"  worker {number}: smartglocal payouts pay payouts.csv"),
            killed=lambda number, moved: say(
                f"  worker {number}: killed by SIGKILL after {moved:,} of {plan.payouts:,} payouts",
                "red",
            ),
            paid=lambda paid: progress.update(task, completed=paid),
        )


def show_batch(screen: Console, result: BatchResult) -> None:
    """Show the counts of both sides, and the verdict."""
    states, seen = result.states, result.report
    counts = table()
    counts.add_column("")
    counts.add_column("Journal", justify="right")
    counts.add_column("Provider", justify="right")
    ours = states.get(PayoutState.SUCCEEDED, 0)
    for name, journal, provider in (
        ("Payouts", result.plan.payouts, sum(states.values())),
        ("Paid", ours, result.paid),
        ("Paid twice", "", result.paid_twice),
        ("Lost", result.lost, ""),
        ("Unknown", states.get(PayoutState.UNKNOWN, 0), ""),
        ("Open", states.get(PayoutState.OPEN, 0), ""),
        ("Failed", states.get(PayoutState.FAILED, 0), ""),
        ("Sum paid", _sum(result.paid_sum), _sum(result.moved_sum)),
        ("Calls recorded, and received", result.attempts, seen.requests),
        ("Faults", "", sum(seen.faults.values())),
        ("Workers killed", len(result.kills), ""),
        ("Time", f"{result.seconds:,.1f} s", ""),
    ):
        counts.add_row(name, _text(journal), _text(provider))
    show(screen, counts)
    if result.is_good:
        text = f"Each payout once: {ours:,} of {result.plan.payouts:,}, over {KILLS} kills."
        screen.print(cell(text, "bold green"))
        return
    screen.print(cell(f"FAILED: each payout should be paid once, over {KILLS} kills.", "bold red"))


def _sum(units: int) -> str:
    return money(Amount(units, _CURRENCY))


def _text(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value


def _ignore(_: object) -> None:
    pass


def _ignore_two(_number: int, _moved: int) -> None:
    pass
