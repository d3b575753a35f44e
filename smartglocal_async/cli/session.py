"""The group ``session``: a command for each call under ``session/``."""

from collections.abc import Callable
from typing import Any, Final

import typer

from ..operations import (
    SESSION_CANCEL,
    SESSION_CAPTURE,
    SESSION_CONFIRM,
    SESSION_CREATE,
    SESSION_INIT_PAYMENT,
    SESSION_INIT_PAYOUT,
    SESSION_REFUND,
    SESSION_START_PAYMENT,
    SESSION_START_PAYOUT,
    SESSION_STATUS,
    Operation,
)
from . import session_begin, session_steps
from .calling import fields_of
from .grammar import Command

app = typer.Typer(
    no_args_is_help=True,
    help="Make the calls of a session, as SMARTGLOCAL_* say.",
)
_COMMANDS: Final[tuple[tuple[Callable[..., None], Operation[Any, Any]], ...]] = (
    (session_begin.create, SESSION_CREATE),
    (session_begin.start_payout, SESSION_START_PAYOUT),
    (session_begin.start_payment, SESSION_START_PAYMENT),
    (session_begin.init_payout, SESSION_INIT_PAYOUT),
    (session_begin.init_payment, SESSION_INIT_PAYMENT),
    (session_steps.confirm, SESSION_CONFIRM),
    (session_steps.cancel, SESSION_CANCEL),
    (session_steps.capture, SESSION_CAPTURE),
    (session_steps.refund, SESSION_REFUND),
    (session_steps.status, SESSION_STATUS),
    (session_steps.wait, SESSION_STATUS),
)

for command, operation in _COMMANDS:
    _ = app.command(cls=Command, epilog=fields_of(operation))(command)
