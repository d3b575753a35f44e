"""``session create``, ``start-*`` and ``init-*``: the calls that say what is to be paid."""

from typing import Any

from ..operations import (
    SESSION_CREATE,
    SESSION_INIT_PAYMENT,
    SESSION_INIT_PAYOUT,
    SESSION_START_PAYMENT,
    SESSION_START_PAYOUT,
)
from ..values.statuses import SessionStatus
from .answers import show_session
from .calling import Said, perform, told
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
from .screen import complain
from .shorthand import paid_by_token, paid_to_token


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
    with told(as_json=as_json) as errand:
        said = Said(
            file=file,
            fields=fields,
            json_fields=json_fields,
            amount=amount,
            currency=currency,
            metadata=metadata,
            json_metadata=json_metadata,
            key=key,
        )
        session = perform(
            errand,
            SESSION_CREATE,
            said,
            lambda api, request, key: api.session.create(request, key=key, deadline=deadline),
        )
        if key is not None and session.status != SessionStatus.CREATED:
            before = "the provider gave the session of an earlier call with this key"
            complain(f"{before}: {session.id} is {session.status!s}")
        errand.give(session, show_session)


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
    with told(as_json=as_json) as errand:
        said = Said(
            file=file,
            fields=fields,
            json_fields=json_fields,
            amount=amount,
            currency=currency,
            metadata=metadata,
            json_metadata=json_metadata,
            key=key,
            own=_named(session_id) | paid_to_token(card_token),
        )
        session = perform(
            errand,
            SESSION_START_PAYOUT,
            said,
            lambda api, request, key: api.session.start_payout(request, key=key, deadline=deadline),
        )
        errand.give(session, show_session)


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
    """Start a payment; the answer, or a later status, says where to send a payer who has to act.

    By now amount, customer.reference and payment_details must have been given, here or to create.
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
            key=key,
            own=_named(session_id) | paid_by_token(card_token, recurrent_token, customer),
        )
        session = perform(
            errand,
            SESSION_START_PAYMENT,
            said,
            lambda api, asked, key: api.session.start_payment(asked, key=key, deadline=deadline),
        )
        errand.give(session, show_session)


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
    with told(as_json=as_json) as errand:
        said = Said(
            file=file,
            fields=fields,
            json_fields=json_fields,
            amount=amount,
            currency=currency,
            metadata=metadata,
            json_metadata=json_metadata,
            key=key,
            own=paid_to_token(card_token),
        )
        session = perform(
            errand,
            SESSION_INIT_PAYOUT,
            said,
            lambda api, request, key: api.session.init_payout(request, key=key, deadline=deadline),
        )
        errand.give(session, show_session)


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
    with told(as_json=as_json) as errand:
        said = Said(
            file=file,
            fields=fields,
            json_fields=json_fields,
            amount=amount,
            currency=currency,
            metadata=metadata,
            json_metadata=json_metadata,
            key=key,
            own=paid_by_token(card_token, recurrent_token, customer),
        )
        session = perform(
            errand,
            SESSION_INIT_PAYMENT,
            said,
            lambda api, request, key: api.session.init_payment(request, key=key, deadline=deadline),
        )
        errand.give(session, show_session)


def _named(session_id: str | None) -> dict[str, tuple[str, Any]]:
    return {"session_id": ("SESSION_ID", session_id)}
