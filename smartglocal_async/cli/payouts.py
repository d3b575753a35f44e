"""The group ``payouts``: many payouts, out of a file."""

import typer

from . import payouts_check
from .grammar import Command

app = typer.Typer(no_args_is_help=True, help="Pay out of files: CSV or JSON Lines.")
_ = app.command(cls=Command)(payouts_check.check)


@app.callback()
def payouts() -> None:
    """Keep the group a group: Typer would make one command of one."""
