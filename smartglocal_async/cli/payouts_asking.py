"""The question before money moves: how many, how much, where to."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import typer

from ..errors import InvalidRequest
from ..payouts.preflight import Preflight
from ..values.money import Amount
from .failures import Ended, ExitCode
from .screen import counted, printable, remark
from .words import money

_NOBODY: Final = "nobody can be asked, as this is no terminal; give it to go on without being asked"


def needs_terminal() -> None:
    """See that somebody can be asked.

    Raises:
        InvalidRequest: nobody can, and nobody said yes beforehand.

    """
    if not (sys.stdin is not None and sys.stdin.isatty()):  # pyright: ignore[reportUnnecessaryComparison]
        raise InvalidRequest("--yes", f"{_NOBODY}; nothing was done")


def confirmed(found: Preflight, before: int, server: str) -> bool:
    """Ask on standard error whether to pay; anything but a yes is a no."""
    return agreed(f"Pay {_what(found, before, 'begun')}, at {server}?")


def handed_over(found: Preflight, before: int, journal: str, server: str) -> bool:
    """Ask on standard error whether workers are to pay; anything but a yes is a no."""
    what = _what(found, before, "written down")
    return agreed(f"Hand {what}, to the workers of {journal}, which pay at {server}?")


def _what(found: Preflight, before: int, done: str) -> str:
    known = f" ({before:,} of them {done} before)" if before else ""
    sums = " and ".join(money(Amount(units, code)) for code, units in found.totals.items())
    return f"{counted(found.count, 'payout')}{known}, {sums}"


def agreed(question: str) -> bool:
    """Ask on standard error; anything but a yes is a no."""
    try:
        says_yes = typer.confirm(printable(question), default=False, err=True)
    except typer.Abort:
        says_yes = False
    if not says_yes:
        remark("not confirmed; nothing was done")
    return says_yes


@contextmanager
def told_if_cut_short(next_step: str) -> Generator[None]:
    """Say what a second interrupt leaves behind.

    Raises:
        Ended: it was one.

    """
    try:
        yield
    except KeyboardInterrupt:
        words = f"interrupted at once: what is out is in the journal; next: {next_step}"
        facts = {"type": "Interrupted", "outcome": "unknown", "message": words, "next": next_step}
        raise Ended(ExitCode.OUTCOME_UNKNOWN, words, facts) from None
