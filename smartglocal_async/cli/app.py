"""The tree of commands, and what ``smartglocal`` alone and ``--version`` say."""

import sys
from collections.abc import Callable
from typing import Annotated, Final

import typer

from . import (
    call,
    demo,
    doctor,
    emulator,
    fps,
    keys,
    payouts,
    recurrent,
    session,
    token,
    wallet,
    webhooks,
)
from .doctor_local import version_of
from .grammar import Command, Commands
from .screen import is_lively, write_line

_COMMANDS: Final[tuple[Callable[..., None], ...]] = (
    demo.demo,
    emulator.emulator,
    keys.keygen,
    keys.sign,
    keys.verify,
    doctor.doctor,
)
_EPILOG: Final = (
    "Exit codes: 0 done. 1 refused or failed. 2 misuse, nothing sent. 3 outcome unknown, also "
    "when interrupted: it may have been processed, and money moved; repeat a create only with "
    "the same key. 4 not sent: repeat freely. 5 done, and money may have moved, but the answer "
    "could not be printed. 6 payouts stopped early. 7 payouts are halted. 130 "
    "interrupted, nothing sent that matters."
)


def _version(asked: bool) -> None:  # noqa: FBT001 - Typer calls it with the option's value
    if asked:
        write_line(f"smartglocal-async {version_of('smartglocal-async') or '(not installed)'}")
        raise typer.Exit


app = typer.Typer(
    name="smartglocal",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    # The variables of a traceback would show keys.
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if is_lively(sys.stdout) else None,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def smartglocal(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    """Work with the Smart Glocal payment API; start with: smartglocal demo."""


for command in _COMMANDS:
    _ = app.command(cls=Command)(command)
app.add_typer(session.app, name="session")
app.add_typer(payouts.app, name="payouts")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(wallet.app, name="wallet")
app.add_typer(token.app, name="token")
app.add_typer(recurrent.app, name="recurrent")
app.add_typer(fps.app, name="fps")
_ = app.command(cls=Command)(call.call)
