"""``session create``, ``start-*`` and ``init-*``: the calls that say what is to be paid."""

from typing import Any, Final, cast

from ..errors import InvalidRequest
from ..operations import (
    SESSION_CREATE,
    SESSION_INIT_PAYMENT,
    SESSION_INIT_PAYOUT,
    SESSION_START_PAYMENT,
    SESSION_START_PAYOUT,
)
from ..settings import Settings
from .answers import show_session
from .calling import Said, give, perform, told
from .draft import FILE, Draft
from .options import (
    Amount,
    AsJson,
    CardToken,
    Currency,
    Customer,
    Deadline,
    Fields,
    File,
    JsonFields,
    JsonMetadata,
    Key,
    Metadata,
    MoneyKey,
    RecurrentToken,
    SessionIdOrFile,
)
from .shorthand import paid_by_token, paid_to_token

_KEY_FIELD: Final = Settings().key_field


def create(  # noqa: PLR0913 - one option per field
    *,
    amount: Amount = None,
    currency: Currency = None,
    metadata: Metadata = None,
    json_metadata: JsonMetadata = None,
    file: File = None,
    fields: Fields = None,
    json_fields: JsonFields = None,
    key: Key = None,
    deadline: Deadline = None,
    as_json: AsJson = False,
) -> None:
    """Create a payment session; nothing moves yet."""
    with told(as_json=as_json):
        said = Said(
            file=file,
            fields=fields,
            json_fields=json_fields,
            amount=amount,
            currency=currency,
            metadata=metadata,
            json_metadata=json_metadata,
        )
        session = perform(
            SESSION_CREATE,
            said,
            lambda api, request: api.session.create(request, key=key, deadline=deadline),
            check=lambda draft: _check_room(key, draft),
        )
        give(session, show_session, as_json=as_json)


def start_payout(  # noqa: PLR0913 - one option per field
    session_id: SessionIdOrFile = None,
    *,
    card_token: CardToken = None,
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
    """Start a payout in a session.

    With manual confirmation nothing is paid before: smartglocal session confirm.
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
            own=_named(session_id) | paid_to_token(card_token),
        )
        session = perform(
            SESSION_START_PAYOUT,
            said,
            lambda api, request: api.session.start_payout(request, key=key, deadline=deadline),
        )
        give(session, show_session, as_json=as_json)


def start_payment(  # noqa: PLR0913 - one option per field
    session_id: SessionIdOrFile = None,
    *,
    card_token: CardToken = None,
    recurrent_token: RecurrentToken = None,
    customer: Customer = None,
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
    """Start a payment in a session.

    Where the payer has to act, the answer, or a later status, says where to send them.
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
            own=_named(session_id) | paid_by_token(card_token, recurrent_token, customer),
        )
        session = perform(
            SESSION_START_PAYMENT,
            said,
            lambda api, request: api.session.start_payment(request, key=key, deadline=deadline),
        )
        give(session, show_session, as_json=as_json)


def init_payout(  # noqa: PLR0913 - one option per field
    *,
    card_token: CardToken = None,
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
    """Create a session and start a payout in it, in one call.

    A lost answer leaves no session to ask about: create and start-payout are safer.
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
            own=paid_to_token(card_token),
        )
        session = perform(
            SESSION_INIT_PAYOUT,
            said,
            lambda api, request: api.session.init_payout(request, key=key, deadline=deadline),
        )
        give(session, show_session, as_json=as_json)


def init_payment(  # noqa: PLR0913 - one option per field
    *,
    card_token: CardToken = None,
    recurrent_token: RecurrentToken = None,
    customer: Customer = None,
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
    """Create a session and start a payment in it, in one call.

    A lost answer leaves no session to ask about: create and start-payment are safer.
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
            own=paid_by_token(card_token, recurrent_token, customer),
        )
        session = perform(
            SESSION_INIT_PAYMENT,
            said,
            lambda api, request: api.session.init_payment(request, key=key, deadline=deadline),
        )
        give(session, show_session, as_json=as_json)


def _named(session_id: str | None) -> dict[str, tuple[str, Any]]:
    return {"session_id": ("SESSION_ID", session_id)}


def _check_room(key: str | None, draft: Draft) -> None:
    """Refuse a key that has no place to travel in: a repeat would make a second session."""
    metadata: object = draft.wire.get("metadata")
    if key is None or metadata is None:
        return
    option = draft.origin("metadata") or FILE
    example = '--json-metadata \'{"order": "..."}\''
    if option == "--metadata":
        raise InvalidRequest("--key", f"can't travel in the text of --metadata; write {example}")
    if not isinstance(metadata, dict):
        raise InvalidRequest("--key", f"travels in an object only; write {example}")
    if cast("dict[str, object]", metadata).get(_KEY_FIELD, key) != key:
        raise InvalidRequest("--key", f"{option} has another {_KEY_FIELD}; give one key")
