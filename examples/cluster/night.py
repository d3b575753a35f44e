"""A night's batch on a fleet: submitted, worked off by four workers, two of which are killed."""

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
# The worst provider that the documents allow: a second start is a second payout.
RULES: Final = emulator.Rules(second_start=emulator.Permission.ALLOW)


@define
class Night:
    """The file, the journal, and the workers that are alive."""

    provider: emulator.Provider
    folder: Path
    journal: str
    count: int
    workers: list["subprocess.Popen[bytes]"] = field(factory=list["subprocess.Popen[bytes]"])

    @property
    def file(self) -> Path:
        """The payouts."""
        return self.folder / "salaries.csv"

    def begin(self, stack: ExitStack, *words: str) -> "subprocess.Popen[bytes]":
        """Start a command of ``smartglocal payouts``; it ends with the stack."""
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
        """Give how many the provider has paid."""
        return self.provider.report().moved

    def watch(self, *, until: int) -> None:
        """Wait until the provider has paid so many, or every worker has ended; tell each tenth."""
        tenths = 10 * self.paid() // self.count
        while (paid := self.paid()) < until and any(one.poll() is None for one in self.workers):
            if 10 * paid // self.count > tenths:
                tenths = 10 * paid // self.count
                say(f"  {paid:,} paid")
            time.sleep(LOOK_SECONDS)


def say(words: str) -> None:
    """Tell how far it is."""
    print(words, flush=True)


def cents(number: int) -> int:
    """Give the amount of a payout."""
    return 100 + number % 400


def key_of(number: int) -> str:
    """Give the key of a payout."""
    return f"salary-{number:06}"


def write(file: Path, count: int) -> None:
    """Write the payouts."""
    with file.open("w", encoding="utf-8", newline="") as lines:
        rows = csv.writer(lines)
        rows.writerow(("key", "amount", "currency", "card_token", "full_name"))
        for number in range(count):
            amount = f"{cents(number) / 100:.2f}"
            rows.writerow((key_of(number), amount, "usd", "hash-from-the-widget", "Jane Roe"))


def pay(night: Night) -> None:
    """Submit the file, and have it worked off."""
    with ExitStack() as stack:
        write(night.file, night.count)
        payouts = "1 payout" if night.count == 1 else f"{night.count:,} payouts"
        say(f"smartglocal payouts submit {night.file.name}: {payouts}")
        if night.begin(stack, "submit", str(night.file), "--yes").wait():
            raise SystemExit((night.folder / "commands.log").read_text(encoding="utf-8"))
        say(f"smartglocal payouts work, {WORKERS} times")
        for _ in range(WORKERS):
            night.work(stack)
        night.watch(until=night.count // 3)
        for worker in night.workers[:KILLED]:
            worker.kill()
        say(f"{KILLED} workers killed by SIGKILL, {night.paid():,} paid by then; {KILLED} new ones")
        for _ in range(KILLED):
            night.work(stack)
        night.watch(until=night.count)
        codes = [worker.wait() for worker in night.workers[KILLED:]]
        say(f"{night.paid():,} paid; the workers ended with exit codes {codes}")


@frozen
class Books:
    """What both sides have."""

    entries: dict[str, sg.Entry]
    orders: dict[str, emulator.Order]

    def ours(self, *steps: sg.Step) -> list[sg.Entry]:
        """Give the entries at these steps."""
        return [entry for entry in self.entries.values() if entry.step in steps]

    @property
    def lost(self) -> int:
        """Count what the journal doesn't know, or has for paid though it isn't."""
        return sum(
            key not in self.entries
            or (self.entries[key].step is sg.Step.SUCCEEDED and not order.moved)
            for key, order in self.orders.items()
        )

    def rows(self) -> Iterator[tuple[str, int, int]]:
        """Give each count, as the journal and as the provider has it."""
        paid, orders = self.ours(sg.Step.SUCCEEDED), self.orders.values()
        movements = [one for order in orders for one in order.movements]
        closed = (sg.Step.SUCCEEDED, sg.Step.FAILED, sg.Step.CANCELLED, sg.Step.UNKNOWN)
        is_open = len(self.entries) - len(self.ours(*closed))
        yield "asked for, and known", len(self.entries), len(self.orders)
        yield "paid", len(paid), sum(order.moved > 0 for order in orders)
        yield "paid twice", 0, sum(order.moved > 1 for order in orders)
        yield "lost", self.lost, 0
        yield "unknown", len(self.ours(sg.Step.UNKNOWN)), 0
        yield "open", is_open, 0
        yield "failed", len(self.ours(sg.Step.FAILED, sg.Step.CANCELLED)), 0
        yield (
            "cents paid",
            sum(entry.amount or 0 for entry in paid),
            sum(m.amount for m in movements),
        )


async def books(night: Night) -> Books:
    """Read both sides."""
    journal, entries, after = sg.PostgresJournal(night.journal), dict[str, sg.Entry](), None
    await journal.open(f"{night.provider.url}|{PROJECT}")
    while page := await journal.entries(PAGE, after=after):
        entries |= {entry.key: entry for entry in page}
        after = page[-1].key
    await journal.close()
    orders = {key: night.provider.order(key) for key in map(key_of, range(night.count))}
    return Books(entries, orders)


def verdict(rows: Iterable[tuple[str, int, int]], count: int) -> int:
    """Show the counts; give the exit code."""
    told = {name: (ours, theirs) for name, ours, theirs in rows}
    say(f"\n{'':<24}{'journal':>12}{'provider':>12}")
    for name, (ours, theirs) in told.items():
        say(f"{name:<24}{ours:>12,}{theirs:>12,}")
    total = sum(map(cents, range(count)))
    wanted = dict.fromkeys(told, (0, 0))
    wanted |= {"asked for, and known": (count, count), "paid": (count, count)}
    wanted["cents paid"] = (total, total)
    is_good = told == wanted
    say("\nEach payout once." if is_good else "\nFAILED: each payout once was the aim.")
    return not is_good


def own_schema(journal: str) -> str:
    """Name a schema, unless the address does: each run has a provider, and so a journal."""
    if "schema=" in journal:
        return journal
    return f"{journal}{'&' if '?' in journal else '?'}schema=night_{uuid4().hex}"


def main() -> int:
    """Play the night; give its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    _ = parser.add_argument("--count", type=int, default=20_000)
    _ = parser.add_argument("--journal", required=True, metavar="postgres://...")
    said = parser.parse_args()
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
            "SMARTGLOCAL_JOURNAL_KEY": sg.Seal.new_key(),
        }
        night = Night(provider, Path(folder), own_schema(said.journal), said.count)
        begun = time.perf_counter()
        pay(night)
        say(f"{time.perf_counter() - begun:.0f} seconds")
        return verdict(asyncio.run(books(night)).rows(), said.count)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("interrupted: all that was started is ended")
        sys.exit(INTERRUPTED)
