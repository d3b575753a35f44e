"""The group ``payouts``: many payouts, out of a file."""

from collections.abc import Callable
from typing import Final

import typer

from . import (
    payouts_check,
    payouts_decide,
    payouts_key,
    payouts_pay,
    payouts_reconcile,
    payouts_report,
    payouts_resume,
    payouts_status,
    payouts_steer,
    payouts_submit,
    payouts_work,
)
from .grammar import Command

_COMMANDS: Final[tuple[Callable[..., None], ...]] = (
    payouts_check.check,
    payouts_pay.pay,
    payouts_key.new_key,
    payouts_submit.submit,
    payouts_work.work,
    payouts_resume.resume,
    payouts_status.status,
    payouts_report.report,
    payouts_reconcile.reconcile,
    payouts_decide.decide,
    payouts_decide.withdraw,
    payouts_steer.pause,
    payouts_steer.unpause,
    payouts_steer.cancel,
    payouts_steer.limits,
    payouts_decide.lift,
    payouts_decide.quarantine,
)

app = typer.Typer(no_args_is_help=True, help="Pay out of files: CSV or JSON Lines.")
for command in _COMMANDS:
    _ = app.command(cls=Command)(command)
