"""The group ``payouts``: many payouts, out of a file."""

from collections.abc import Callable
from typing import Final

import typer

from . import (
    payouts_check,
    payouts_decide,
    payouts_pay,
    payouts_reconcile,
    payouts_report,
    payouts_resume,
    payouts_status,
)
from .grammar import Command

_COMMANDS: Final[tuple[Callable[..., None], ...]] = (
    payouts_check.check,
    payouts_pay.pay,
    payouts_resume.resume,
    payouts_status.status,
    payouts_report.report,
    payouts_reconcile.reconcile,
    payouts_decide.decide,
    payouts_decide.withdraw,
    payouts_decide.lift,
    payouts_decide.quarantine,
)

app = typer.Typer(no_args_is_help=True, help="Pay out of files: CSV or JSON Lines.")
for command in _COMMANDS:
    _ = app.command(cls=Command)(command)
