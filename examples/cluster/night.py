"""Submit a batch, pay it with four workers, kill two of them, and compare both sides' counts."""

import argparse
import asyncio
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from uuid import uuid4

from attrs import define, field, frozen

import smartglocal_async as sg
from smartglocal_async import emulator

WORKERS: Final = 4
KILLED: Final = 2
CONCURRENCY: Final = 32
FAULTS: Final = 0.02
SEED: Final = 7
PROJECT: Final = "demo"
LOOK_SECONDS: Final = 0.5
PAGE: Final = 1_000
INTERRUPTED: Final = 130
# The worst behaviour that the provider's documents allow: a second start is a second payout.
RULES: Final = emulator.Rules(second_start=emulator.Permission.ALLOW)


@define
class Night:
    """The payout file, the journal, and the workers that were started."""

    provider: emulator.Provider
    folder: Path
    journal: str
    count: int
    workers: list["subprocess.Popen[bytes]"] = field(factory=list["subprocess.Popen[bytes]"])

    @property
    def file(self) -> Path:
        """The payout file."""
        return self.folder / "salaries.csv"

    def begin(self, stack: ExitStack, *words: str) -> "subprocess.Popen[bytes]":
        """Start a command of ``smartglocal payouts``; it is killed when the stack closes."""
        log = stack.enter_context((self.folder / "commands.log").open("ab"))
        command = [sys.executable, "-m", "smartglocal_async", "payouts", *words]
        process = stack.enter_context(
            subprocess.Popen(  # noqa: S603 - this package's own
                [*command, "--journal", self.journal], stdout=log, stderr=log
            )
        )
        _ = stack.callback(process.kill)
        return process

    def work(self, stack: ExitStack) -> None:
        """Start a worker."""
        words = ("work", "--concurrency", str(CONCURRENCY), "--until-done")
        self.workers.append(self.begin(stack, *words))

    def paid(self) -> int:
        """Return how many payouts the provider has paid."""
        return self.provider.report().moved

    def watch(self, *, until: int) -> None:
        """Wait until `until` payouts are paid or every worker has ended; print each tenth."""
        tenths = 10 * self.paid() // self.count
        while (paid := self.paid()) < until and any(one.poll() is None for one in self.workers):
            if 10 * paid // self.count > tenths:
                tenths = 10 * paid // self.count
                show(f"  {paid:,} paid")
            time.sleep(LOOK_SECONDS)


def show(text: str) -> None:
    """Print a line of progress at once."""
    print(text, flush=True)


def cents(number: int) -> int:
    """Return the amount of a payout, in cents."""
    return 100 + number % 400


def key_of(number: int) -> str:
    """Return the key of a payout."""
    return f"salary-{number:06}"


def write(file: Path, count: int) -> None:
    """Write the payout file."""
    with file.open("w", encoding="utf-8", newline="") as lines:
        rows = csv.writer(lines)
        rows.writerow(("key", "amount", "currency", "card_token", "full_name"))
        for number in range(count):
            amount = f"{cents(number) / 100:.2f}"
            rows.writerow((key_of(number), amount, "usd", "hash-from-the-widget", "Jane Roe"))


def pay(night: Night) -> None:
    """Submit the file, and wait until the workers have paid it."""
    with ExitStack() as stack:
        write(night.file, night.count)
        payouts = "1 payout" if night.count == 1 else f"{night.count:,} payouts"
        show(f"smartglocal payouts submit {night.file.name}: {payouts}")
        if night.begin(stack, "submit", str(night.file), "--yes").wait():
            raise SystemExit((night.folder / "commands.log").read_text(encoding="utf-8"))
        show(f"smartglocal payouts work, {WORKERS} times")
        for _ in range(WORKERS):
            night.work(stack)
        night.watch(until=night.count // 3)
        for worker in night.workers[:KILLED]:
            worker.kill()
        show(
            f"{KILLED} workers killed by SIGKILL, {night.paid():,} paid by then; {KILLED} new ones"
        )
        for _ in range(KILLED):
            night.work(stack)
        night.watch(until=night.count)
        codes = [worker.wait() for worker in night.workers[KILLED:]]
        show(f"{night.paid():,} paid; the workers ended with exit codes {codes}")


@frozen
class Books:
    """The records of the journal and of the provider."""

    entries: dict[str, sg.journal.Entry]
    orders: dict[str, emulator.Order]

    def ours(self, *steps: sg.journal.Step) -> list[sg.journal.Entry]:
        """Return the entries at these steps."""
        return [entry for entry in self.entries.values() if entry.step in steps]

    @property
    def lost(self) -> int:
        """Count payouts that the journal doesn't have, or has as paid although they aren't."""
        return sum(
            key not in self.entries
            or (self.entries[key].step is sg.journal.Step.SUCCEEDED and not order.moved)
            for key, order in self.orders.items()
        )

    def rows(self) -> Iterator[tuple[str, int, int]]:
        """Yield each count: its name, the journal's value and the provider's value."""
        paid, orders = self.ours(sg.journal.Step.SUCCEEDED), self.orders.values()
        movements = [one for order in orders for one in order.movements]
        closed = (
            sg.journal.Step.SUCCEEDED,
            sg.journal.Step.FAILED,
            sg.journal.Step.CANCELLED,
            sg.journal.Step.UNKNOWN,
        )
        is_open = len(self.entries) - len(self.ours(*closed))
        yield "asked for, and known", len(self.entries), len(self.orders)
        yield "paid", len(paid), sum(order.moved > 0 for order in orders)
        yield "paid twice", 0, sum(order.moved > 1 for order in orders)
        yield "lost", self.lost, 0
        yield "unknown", len(self.ours(sg.journal.Step.UNKNOWN)), 0
        yield "open", is_open, 0
        yield "failed", len(self.ours(sg.journal.Step.FAILED, sg.journal.Step.CANCELLED)), 0
        yield (
            "cents paid",
            sum(entry.amount or 0 for entry in paid),
            sum(m.amount for m in movements),
        )


async def books(night: Night) -> Books:
    """Read the journal and the provider's records."""
    journal, entries, after = sg.PostgresJournal(night.journal), dict[str, sg.journal.Entry](), None
    await journal.open(f"{night.provider.url}|{PROJECT}")
    while page := await journal.entries(PAGE, after=after):
        entries |= {entry.key: entry for entry in page}
        after = page[-1].key
    await journal.close()
    orders = {key: night.provider.order(key) for key in map(key_of, range(night.count))}
    return Books(entries, orders)


def verdict(rows: Iterable[tuple[str, int, int]], count: int) -> int:
    """Print the counts; return the exit code: 0 if each payout was paid once."""
    counts = {name: (ours, theirs) for name, ours, theirs in rows}
    show(f"\n{'':<24}{'journal':>12}{'provider':>12}")
    for name, (ours, theirs) in counts.items():
        show(f"{name:<24}{ours:>12,}{theirs:>12,}")
    total = sum(map(cents, range(count)))
    wanted = dict.fromkeys(counts, (0, 0))
    wanted |= {"asked for, and known": (count, count), "paid": (count, count)}
    wanted["cents paid"] = (total, total)
    is_good = counts == wanted
    show("\nEach payout once." if is_good else "\nFAILED: each payout once was the aim.")
    return not is_good


def own_schema(journal: str) -> str:
    """Return the address with a new schema, unless it names one: each run needs a new journal."""
    if "schema=" in journal:
        return journal
    return f"{journal}{'&' if '?' in journal else '?'}schema=night_{uuid4().hex}"


def main() -> int:
    """Run the example; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    _ = parser.add_argument("--count", type=int, default=20_000)
    _ = parser.add_argument("--journal", required=True, metavar="postgres://...")
    options = parser.parse_args()
    key, faults = sg.PrivateKey.generate(), emulator.FaultScript.drops(FAULTS, SEED)
    with (
        tempfile.TemporaryDirectory() as folder,
        emulator.run_in_thread(
            public_key=key.public, project=PROJECT, faults=faults, rules=RULES
        ) as provider,
    ):
        pem = Path(folder) / "shop.pem"
        _ = pem.write_bytes(key.pem())
        os.environ |= {
            "SMARTGLOCAL_PROJECT": PROJECT,
            "SMARTGLOCAL_PRIVATE_KEY": str(pem),
            "SMARTGLOCAL_SERVER": provider.url,
            "SMARTGLOCAL_JOURNAL_KEY": sg.RequestCipher.new_key(),
        }
        night = Night(provider, Path(folder), own_schema(options.journal), options.count)
        begun = time.perf_counter()
        pay(night)
        show(f"{time.perf_counter() - begun:.0f} seconds")
        return verdict(asyncio.run(books(night)).rows(), options.count)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        show("interrupted: all that was started is ended")
        sys.exit(INTERRUPTED)
