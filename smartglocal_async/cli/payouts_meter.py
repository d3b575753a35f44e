"""A live bar on a terminal's standard error: how far, how fast, what became of them, how long."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from ..payouts.orders import PayoutState
from .payouts_sums import Sums
from .screen import console, is_lively

_TOLD: Final = (
    (PayoutState.SUCCEEDED, "paid"),
    (PayoutState.FAILED, "failed"),
    (PayoutState.REFUSED, "refused"),
    (PayoutState.UNKNOWN, "unknown"),
    (PayoutState.OPEN, "open"),
)


class _Rate(ProgressColumn):
    """Outcomes in a second, of late."""

    def render(self, task: Task) -> Text:
        """Give them in words."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


@contextmanager
def meter(sums: Sums) -> Generator[Callable[[], None]]:
    """Give what moves the bar by one outcome; off a terminal it does nothing."""
    if not is_lively(sys.stderr):
        yield _nothing
        return
    with Progress(
        TextColumn("settled"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=console(beside=True),
    ) as progress:
        task = progress.add_task("settled", total=sums.asked, told="")
        yield lambda: progress.update(task, advance=1, told=words(sums))


def words(sums: Sums) -> str:
    """Give the outcomes so far in words; those there are none of aren't named."""
    told = ((sums.states[state], word) for state, word in _TOLD)
    return ", ".join(f"{count:,} {word}" for count, word in told if count)


def _nothing() -> None:
    pass
