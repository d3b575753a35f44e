"""The group ``payouts``: many payouts, out of a file."""

from collections.abc import Callable
from typing import Final

import typer

from . import payouts_check, payouts_pay
from .grammar import Command

_COMMANDS: Final[tuple[Callable[..., None], ...]] = (
    payouts_check.check,
    payouts_pay.pay,
)

app = typer.Typer(no_args_is_help=True, help="Pay out of files: CSV or JSON Lines.")
for command in _COMMANDS:
    _ = app.command(cls=Command)(command)


@app.callback()
def payouts() -> None:
    """Keep the group a group: Typer would make one command of one."""
