"""``session confirm`` to ``session wait``: the calls about a session that is there."""

from typing import Annotated

import typer

from ..client import SmartGlocal
from ..operations import SESSION_CAPTURE, SESSION_REFUND
from ..values.answers import Session
from ..values.requests import SessionRef
from ..waiting import is_settled
from .answers import show_session
from .calling import Said, ask_about, give, perform, told
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

    async def call(api: SmartGlocal, request: SessionRef) -> Session:
        return await api.session.confirm(request, key=key, deadline=deadline)

    with told(as_json=as_json):
        give(ask_about(session_id, call), show_session, as_json=as_json)


def cancel(
    session_id: SessionId,
    *,
    key: MoneyKey = None,
    deadline: Deadline = None,
    as_json: AsJson = False,
) -> None:
    """Cancel what is not confirmed or captured yet."""

    async def call(api: SmartGlocal, request: SessionRef) -> Session:
        return await api.session.cancel(request, key=key, deadline=deadline)

    with told(as_json=as_json):
        give(ask_about(session_id, call), show_session, as_json=as_json)


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
    with told(as_json=as_json):
        said = Said(
            file=file,
            fields=fields,
            json_fields=json_fields,
            amount=amount,
            currency=currency,
            own={"session_id": ("SESSION_ID", session_id)},
        )
        session = perform(
            SESSION_CAPTURE,
            said,
            lambda api, request: api.session.capture(request, key=key, deadline=deadline),
        )
        give(session, show_session, as_json=as_json)


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
    with told(as_json=as_json):
        said = Said(
            file=file,
            fields=fields,
            json_fields=json_fields,
            amount=amount,
            currency=currency,
            metadata=metadata,
            json_metadata=json_metadata,
            own={"session_id": ("SESSION_ID", session_id)},
        )
        session = perform(
            SESSION_REFUND,
            said,
            lambda api, request: api.session.refund(request, key=key, deadline=deadline),
        )
        give(session, show_session, as_json=as_json)


def status(
    session_id: SessionId,
    *,
    deadline: Deadline = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a session as it stands now."""

    async def call(api: SmartGlocal, request: SessionRef) -> Session:
        return await api.session.status(request, deadline=deadline)

    with told(as_json=as_json):
        give(ask_about(session_id, call), show_session, as_json=as_json)


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
    until = _is_final if is_final else is_settled

    async def call(api: SmartGlocal, request: SessionRef) -> Session:
        return await api.session.wait(request, until=until, deadline=deadline)

    with told(as_json=as_json):
        give(ask_about(session_id, call), show_session, as_json=as_json)


def _is_final(session: Session) -> bool:
    return session.is_final
