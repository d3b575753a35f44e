"""What the story of a batch looks like: how far the workers are, and both sides' books."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..payouts.orders import PayoutState
from ..values.money import Amount
from .demo_batch import KILLS, BatchPlan, BatchResult, Watcher
from .screen import cell, counted, show, table
from .words import money

_CURRENCY: Final = "usd"


@contextmanager
def watching(screen: Console, plan: BatchPlan, *, is_silent: bool) -> Generator[Watcher]:
    """Give a watcher that writes what happens, with a bar on a terminal."""
    if is_silent:
        yield Watcher(begun=_ignore, killed=_ignore_two, moved=_ignore)
        return
    share = f"{plan.faults * 100:g}% of faults"
    screen.print(cell(f"A file of {counted(plan.payouts, 'payout')}, {share}", "bold"))
    with Progress(
        TextColumn("paid, says the provider"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=screen,
        disable=not screen.is_terminal,
    ) as progress:
        task = progress.add_task("", total=plan.payouts)

        def say(words: str, style: str = "") -> None:
            progress.console.print(cell(words, style), soft_wrap=True)

        yield Watcher(
            begun=lambda number: say(f"  worker {number}: smartglocal payouts pay payouts.csv"),
            killed=lambda number, moved: say(
                f"  worker {number}: killed by SIGKILL, {moved:,} of {plan.payouts:,} paid by then",
                "red",
            ),
            moved=lambda moved: progress.update(task, completed=moved),
        )


def show_batch(screen: Console, result: BatchResult) -> None:
    """Show both sides' books beside each other, and the verdict."""
    states, seen = result.states, result.report
    books = table()
    books.add_column("")
    books.add_column("Journal", justify="right")
    books.add_column("Provider", justify="right")
    ours = states.get(PayoutState.SUCCEEDED, 0)
    for name, journal, provider in (
        ("Payouts asked, and known", result.plan.payouts, sum(states.values())),
        ("Paid", ours, result.paid),
        ("Paid twice", "", result.paid_twice),
        ("Lost", result.lost, ""),
        ("Unknown", states.get(PayoutState.UNKNOWN, 0), ""),
        ("Open", states.get(PayoutState.OPEN, 0), ""),
        ("Failed", states.get(PayoutState.FAILED, 0), ""),
        ("Sum paid", _sum(result.paid_sum), _sum(result.moved_sum)),
        ("Steps that may send, and requests met", result.attempts, seen.requests),
        ("Faults met", "", sum(seen.faults.values())),
        ("Workers killed", len(result.kills), ""),
        ("Time", f"{result.seconds:,.1f} s", ""),
    ):
        books.add_row(name, _text(journal), _text(provider))
    show(screen, books)
    if result.is_good:
        words = f"Each payout once: {ours:,} of {result.plan.payouts:,}, over {KILLS} kills."
        screen.print(cell(words, "bold green"))
        return
    screen.print(cell("FAILED: each payout once, over three kills, was the aim.", "bold red"))


def _sum(units: int) -> str:
    return money(Amount(units, _CURRENCY))


def _text(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value


def _ignore(_: int) -> None:
    pass


def _ignore_two(_number: int, _moved: int) -> None:
    pass
