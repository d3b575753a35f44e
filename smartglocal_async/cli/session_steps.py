"""``session confirm`` to ``session wait``: the calls about a session that is there."""

from typing import Annotated, Any

import typer
from attrs import evolve

from ..errors import StillOpen
from ..operations import (
    SESSION_CANCEL,
    SESSION_CAPTURE,
    SESSION_CONFIRM,
    SESSION_REFUND,
    SESSION_STATUS,
)
from ..values.answers import Session
from ..waiting import is_settled
from .answers import show_session
from .calling import Said, perform, told
from .next_steps import steps_of
from .options import (
    Amount,
    AsJson,
    Currency,
    Deadline,
    Fields,
    File,
    JsonFields,
    JsonMetadata,
    Metadata,
    MoneyKey,
    SessionId,
    SessionIdOrFile,
)


def confirm(
    session_id: SessionId,
    *,
    key: MoneyKey = None,
    deadline: Deadline = None,
    as_json: AsJson = False,
) -> None:
    """Have what was started be carried out: money moves."""
    with told(as_json=as_json) as errand:
        session = perform(
            errand,
            SESSION_CONFIRM,
            Said(own=_named(session_id), key=key),
            lambda api, request, key: api.session.confirm(request, key=key, deadline=deadline),
        )
        errand.give(session, show_session)


def cancel(
    session_id: SessionId,
    *,
    key: MoneyKey = None,
    deadline: Deadline = None,
    as_json: AsJson = False,
) -> None:
    """Cancel what is not confirmed or captured yet."""
    with told(as_json=as_json) as errand:
        session = perform(
            errand,
            SESSION_CANCEL,
            Said(own=_named(session_id), key=key),
            lambda api, request, key: api.session.cancel(request, key=key, deadline=deadline),
        )
        errand.give(session, show_session)


def capture(  # noqa: PLR0913 - one option per field
    session_id: SessionIdOrFile = None,
    *,
    amount: Amount = None,
    currency: Currency = None,
    file: File = None,
    fields: Fields = None,
    json_fields: JsonFields = None,
    key: MoneyKey = None,
    deadline: Deadline = None,
    as_json: AsJson = False,
) -> None:
    """Take the money that a payment holds.

    All of it, or --amount.
    """
    with told(as_json=as_json) as errand:
        said = Said(
            file=file,
            fields=fields,
            json_fields=json_fields,
            amount=amount,
            currency=currency,
            own=_named(session_id),
            key=key,
        )
        session = perform(
            errand,
            SESSION_CAPTURE,
            said,
            lambda api, request, key: api.session.capture(request, key=key, deadline=deadline),
        )
        errand.give(session, show_session)


def refund(  # noqa: PLR0913 - one option per field
    session_id: SessionIdOrFile = None,
    *,
    amount: Amount = None,
    currency: Currency = None,
    metadata: Metadata = None,
    json_metadata: JsonMetadata = None,
    file: File = None,
    fields: Fields = None,
    json_fields: JsonFields = None,
    key: MoneyKey = None,
    deadline: Deadline = None,
    as_json: AsJson = False,
) -> None:
    """Give the money of a payment back.

    All of it, or --amount. Payouts can't be refunded.
    """
    with told(as_json=as_json) as errand:
        said = Said(
            file=file,
            fields=fields,
            json_fields=json_fields,
            amount=amount,
            currency=currency,
            metadata=metadata,
            json_metadata=json_metadata,
            own=_named(session_id),
            key=key,
        )
        session = perform(
            errand,
            SESSION_REFUND,
            said,
            lambda api, request, key: api.session.refund(request, key=key, deadline=deadline),
        )
        errand.give(session, show_session)


def status(
    session_id: SessionId,
    *,
    deadline: Deadline = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a session as it stands now."""
    with told(as_json=as_json) as errand:
        session = perform(
            errand,
            SESSION_STATUS,
            Said(own=_named(session_id)),
            lambda api, request, _: api.session.status(request, deadline=deadline),
        )
        errand.give(session, show_session)


def wait(
    session_id: SessionId,
    *,
    is_final: Annotated[
        bool, typer.Option("--final", help="Wait until it is accepted or cancelled.")
    ] = False,
    deadline: Annotated[float, typer.Option(metavar="SECONDS", help="How long at most.")] = 300.0,
    as_json: AsJson = False,
) -> None:
    """Wait until a session is final, or an action is due.

    It asks for the status now and then. Exit code 1 if the time is over first.
    """
    seen: list[Session] = []

    def until(session: Session) -> bool:
        seen[:] = [session]
        return session.is_final if is_final else is_settled(session)

    with told(as_json=as_json) as errand:
        errand.is_watching = True
        try:
            session = perform(
                errand,
                SESSION_STATUS,
                Said(own=_named(session_id)),
                lambda api, request, _: api.session.wait(request, until=until, deadline=deadline),
            )
        except StillOpen as error:
            raise evolve(error, cause=_why_open(error, seen, is_final=is_final)) from None
        errand.give(session, show_session)


def _why_open(error: StillOpen, seen: list[Session], *, is_final: bool) -> str:
    awaited = "accepted or cancelled" if is_final else "a final status, or for an action to be due"
    steps = [step for session in seen for step in steps_of(session).values() if step]
    said = [error.cause, f"this waits for {awaited}", *steps]
    return "; ".join(part for part in said if part)


def _named(session_id: str | None) -> dict[str, tuple[str, Any]]:
    return {"session_id": ("SESSION_ID", session_id)}
