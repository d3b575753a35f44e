"""Answers that a fault made wrong: another session, other amounts, odd text."""

import enum
from datetime import datetime
from typing import Final

from ...matching import JOURNAL_FIELD, KEY_FIELD
from .messages import Name
from .outcomes import Fate
from .sessions import EmulatedSession, Item, ItemKind, ItemStage
from .validation import JsonObject, is_array, is_object


class Foreign(enum.StrEnum):
    """Which session a swapped answer is about."""

    OTHER = "other"
    """Another session of the emulator; without one, a made-up one, cancelled or paid."""
    CANCELLED = "cancelled"
    """A made-up session that was cancelled before anything was started in it."""
    PAID = "paid"
    """A made-up session with a payout that succeeded, under a key of its own."""


ODD_TEXT: Final = "half a pair \ud800, a NUL \0, a red \x1b[31mword\x1b[0m,\r\nanother line"
"""Text that JSON can carry, and that most databases and terminals can't; sent as ASCII escapes."""
_AMOUNT: Final = 1_234_500
_MONEY: Final = "amount_details"


def made_up(number: int, key_field: str, now: datetime, *, is_paid: bool) -> EmulatedSession:
    """Return a session that the bank doesn't have, as if of another order of the project."""
    suffix = f"{number % 10**9:09}"
    terms: JsonObject = {
        "payment_method": {
            "type": "encrypted_card",
            "encrypted_card": {"number_hash": f"foreign-{suffix}"},
        },
        _MONEY: {"amount": _AMOUNT, "currency": "eur"},
        "metadata": {
            key_field: f"foreign-{suffix}",
            KEY_FIELD: f"foreign-{suffix}",
            JOURNAL_FIELD: f"foreign-journal-{suffix}",
        },
    }
    session = EmulatedSession(
        id=f"ps_foreign_{suffix}",
        terms=terms,
        name=Name(),
        created_at=now,
        updated_at=now,
        cancelled=not is_paid,
    )
    if is_paid:
        item = Item(
            id=f"po_{suffix}",
            kind=ItemKind.PAYOUT,
            terms=terms,
            name=Name(),
            created_at=now,
            fate=Fate.SUCCEED,
            stage=ItemStage.SUCCEEDED,
            finished_at=now,
        )
        session.items.append(item)
    return session


def altered(value: JsonObject, factor: int, currency: str | None) -> JsonObject:
    """Return a copy with each amount multiplied by ``factor``, and in ``currency`` if given."""
    return {
        name: _money(child, factor, currency)
        if name == _MONEY and is_object(child)
        else _altered_inside(child, factor, currency)
        for name, child in value.items()
    }


def _altered_inside(value: object, factor: int, currency: str | None) -> object:
    if is_object(value):
        return altered(value, factor, currency)
    if is_array(value):
        return [_altered_inside(child, factor, currency) for child in value]
    return value


def _money(money: JsonObject, factor: int, currency: str | None) -> JsonObject:
    changed = dict(money)
    amount = money.get("amount")
    if isinstance(amount, int) and not isinstance(amount, bool):
        changed["amount"] = amount * factor
    if currency is not None:
        changed["currency"] = currency
    return changed


def with_odd_text(body: JsonObject) -> JsonObject:
    """Return a copy with `ODD_TEXT` in each text that is for people and decides nothing.

    That is the ``description`` of the answer, of its session and of each error in them, and
    one in the metadata of the session.
    """
    changed = _with_odd_errors(body)
    session = changed.get("session")
    if is_object(session):
        session = {**session, "description": ODD_TEXT}
        if is_object(metadata := session.get("metadata")):
            session["metadata"] = {**metadata, "description": ODD_TEXT}
        changed["session"] = session
    return {**changed, "description": ODD_TEXT}


def _with_odd_errors(value: JsonObject) -> JsonObject:
    changed: JsonObject = {}
    for name, child in value.items():
        if is_object(child):
            inner = _with_odd_errors(child)
            changed[name] = {**inner, "description": ODD_TEXT} if name == "error" else inner
        elif is_array(child):
            changed[name] = [_with_odd_errors(item) if is_object(item) else item for item in child]
        else:
            changed[name] = child
    return changed
