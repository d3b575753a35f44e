"""Short options that stand for a whole instrument or token, as fields of a request."""

from typing import Any

from ..codec import Wire
from ..errors import InvalidRequest
from .draft import PAYOUT_INSTRUMENT, version_in_use


def paid_to_token(card_token: str | None) -> dict[str, tuple[str, Any]]:
    """Give the recipient's card of a payout, as a field of its request."""
    return {PAYOUT_INSTRUMENT[version_in_use()]: ("--card-token", card_token and _card(card_token))}


def paid_by_token(
    card_token: str | None, recurrent_token: str | None, customer: str | None
) -> dict[str, tuple[str, Any]]:
    """Give the payer and their card, as fields of a payment's request.

    Raises:
        InvalidRequest: two cards.

    """
    option, means = "--card-token", card_token and _card(card_token)
    if recurrent_token is not None:
        if card_token is not None:
            raise InvalidRequest("--recurrent-token", "give it or --card-token, not both")
        option = "--recurrent-token"
        means = {"type": "recurrent", "recurrent": {"token": recurrent_token}}
    return {"payment_details": (option, means), "customer.reference": ("--customer", customer)}


def described_token(
    card: str | None, public: str | None, recurrent: str | None
) -> dict[str, tuple[str, Any]]:
    """Give the token to be described, as fields of its request.

    Raises:
        InvalidRequest: two of them.

    """
    options = {
        "--card-token": ("card", card and _card(card)["card"]),
        "--public-token": ("public_token", public and {"token": public}),
        "--recurrent-token": ("recurrent_token", recurrent and {"token": recurrent}),
    }
    given = [option for option, (_, value) in options.items() if value is not None]
    if len(given) > 1:
        raise InvalidRequest(given[1], f"give it or {given[0]}, not both")
    fields: dict[str, tuple[str, Any]] = {}
    for option in given:
        kind, value = options[option]
        fields |= {"type": (option, kind), kind: (option, value)}
    return fields


def phone_fields(phone: str | None, bank_id: str | None) -> dict[str, tuple[str, Any]]:
    """Give the phone to be looked up, as a field of its request.

    Raises:
        InvalidRequest: one without the other.

    """
    if (phone is None) != (bank_id is None):
        raise InvalidRequest("--phone", "--phone and --bank-id go together")
    kind = "faster_payment_system_verification"
    account = {"system_type": kind, kind: {"phone": phone, "bank_id": bank_id}}
    wire = None if phone is None else {"type": "bank_account", "bank_account": account}
    return {PAYOUT_INSTRUMENT[version_in_use()]: ("--phone", wire)}


def _card(token: str) -> Wire:
    card = {"type": "encrypted_card", "encrypted_card": {"number_hash": token}}
    return {"type": "card", "card": card}
