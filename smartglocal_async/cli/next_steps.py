"""What to do next, as commands ready to paste."""

import shlex
from collections.abc import Mapping
from typing import Final

from ..values.answers import Payment, Payout, Session
from ..values.statuses import NextAction, OperationStatus

_STARTED: Final[Mapping[str, str]] = {
    "session/start/payout": "payout",
    "session/start/payment": "payment",
}
_CREATE: Final = "session/create"


def step_after(path: str, session_id: str | None, key: str | None) -> str | None:
    """Say what to do about a call whose outcome is unknown."""
    if path == _CREATE:
        if key is None:
            return None
        return f"repeat it with --key {shlex.quote(key)}, which must travel in the metadata"
    if session_id is None:
        return "wait for the webhook, or ask the provider's support; don't repeat it before"
    status, cancel = command("status", session_id), command("cancel", session_id)
    if path in _STARTED:
        shown = f"if it shows no {_STARTED[path]}: {cancel}, and start in a new session"
        return f"{status}; {shown}"
    return f"{status}, or wait for the webhook; don't repeat it before"


def steps_of(session: Session) -> dict[str, str | None]:
    """Give the rows that say what a session waits for; those of commands name it."""
    cancel = f"cancel: {command('cancel', session.id)}"
    match session.next_action:
        case NextAction.CONFIRM:
            words = f"confirm: {command('confirm', session.id)} (money moves)"
            return {"next action": words, "or": cancel}
        case NextAction.CAPTURE:
            words = f"capture: {command('capture', session.id)} (money moves)"
            return {"next action": words, "or": cancel}
        case other:
            waits = "the payer has to act; see below" if _waits_for_payer(session) else None
            return {"next action": other or waits}


def command(name: str, session_id: str) -> str:
    """Give a command of the group ``session``."""
    return f"smartglocal session {name} {shlex.quote(session_id)}"


def _waits_for_payer(session: Session) -> bool:
    items: tuple[Payout | Payment, ...] = (*session.payout_list, *session.payment_list)
    return any(
        item.customer_interaction is not None and item.status == OperationStatus.PENDING
        for item in items
    )
