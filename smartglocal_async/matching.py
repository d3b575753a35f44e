"""Checks whether what the provider shows is about our own call or payout, before it is used.

An answer, a webhook or a report row is evidence about a call only if it is about the requested
session and carries no other key. It is evidence about a payout only if key, journal, order, amount
and currency are those of the payout. Anything else counts as a lost answer. If it shows that money
moved in another way than the journal has it, payouts are halted.
"""

import enum
from collections.abc import Iterator, Mapping
from typing import Final, cast

from attrs import frozen

from .errors import InvalidRequest
from .idempotency import Mark
from .models.answers import MaskedCard, Payment, Payout, Session
from .models.instruments import BankCard
from .models.money import Amount
from .models.validators import discreetly

KEY_FIELD: Final = "payout_key"
"""In the metadata of a payout's session: the key of the order."""
JOURNAL_FIELD: Final = "payout_journal"
ORDER_FIELD: Final = "payout_order"
"""A digest of the order; see `Expected.order`."""
_LAST_DIGITS: Final = 4
NUMBER_FIELD: Final = "payout_session"
"""How many sessions of the payout were left before this one."""
MARKS: Final = frozenset({KEY_FIELD, JOURNAL_FIELD, ORDER_FIELD, NUMBER_FIELD})
"""The fields that identify payouts; the metadata of an order must not have them."""


@discreetly
def check_unmarked(metadata: object) -> None:
    """Refuse metadata of an order that has one of our own fields.

    Raises:
        InvalidRequest: the field is named.

    """
    for name in fields_of(metadata):
        if name in MARKS:
            words = "payouts use this field themselves; take another name for your own"
            raise InvalidRequest(f"metadata.{name}", words)


def contradicts_call(
    session: Session, requested_id: str | None, mark: Mark | None, sent: object
) -> str | None:
    """Return why an answer isn't about the call that it answers; None if it may be.

    ``requested_id`` is the session id in the request, ``mark`` its key in the metadata, ``sent``
    that metadata. A provider that shows no metadata contradicts nothing.
    """
    if requested_id is not None:
        return None if session.id == requested_id else "the answer is about another session"
    if mark is not None and any(map(mark.contradicts, _echoed(session, mark))):
        return "the answer carries another idempotency key"
    # Metadata that is plain text, or a number, is echoed as it was sent.
    if _is_plain(sent) and _is_plain(session.metadata) and str(sent) != str(session.metadata):
        return "the answer carries the metadata of another call"
    return None


def _echoed(session: Session, mark: Mark) -> tuple[object, ...]:
    """Return the metadata in which the answer of a creating call repeats the call's own."""
    own = fields_of(session.metadata)
    if mark.field in own:
        return (own,)  # The items of the session have their own keys.
    items: tuple[Payout | Payment, ...] = (*session.payout_list, *session.payment_list)
    return tuple([item.metadata for item in items])


def fields_of(metadata: object) -> Mapping[str, object]:
    """Return the fields of metadata; empty if it isn't an object."""
    return cast("dict[str, object]", metadata) if isinstance(metadata, dict) else {}


def _is_plain(metadata: object) -> bool:
    return isinstance(metadata, (str, int)) and not isinstance(metadata, bool)


class Owner(enum.Enum):
    """Whether a payout is ours, by its metadata."""

    OURS = "ours"
    OTHER = "another order's, or another journal's"
    UNMARKED = "unknown"


@frozen
class Expected:
    """What a payout must show to be the one that was ordered."""

    mark: Mark
    amount: Amount | None
    """None if the journal has no amount, as it adopted the payout from a report without one."""
    journal_id: str
    order: str | None = None
    """Digest of the order, 16 hex digits; None if the journal has no order, since it adopted
    the payout from a report.
    """
    last4: str | None = None
    """The last digits of the card, if the order is given and has a card number."""

    def owner(self, metadata: object) -> Owner:
        """Return whose payout carries this metadata."""
        fields = fields_of(metadata)
        key = fields.get(self.mark.field, fields.get(KEY_FIELD))
        if key is None:
            return Owner.UNMARKED
        is_ours = key == self.mark.key and fields.get(JOURNAL_FIELD) == self.journal_id
        return Owner.OURS if is_ours and self._has_order(fields) else Owner.OTHER

    def row_owner(self, metadata: object) -> Owner:
        """Return whose payout a row of the daily report is about, by the metadata of its session.

        `Owner.UNMARKED` if the metadata lacks the key or the journal, and contradicts nothing.
        """
        fields = fields_of(metadata)
        # A session that was created on its own has the key of its create in the other field.
        key = fields.get(KEY_FIELD, fields.get(self.mark.field))
        journal_id = fields.get(JOURNAL_FIELD)
        is_key, is_journal = key == self.mark.key, journal_id == self.journal_id
        if not (is_key or key is None) or not (is_journal or journal_id is None):
            return Owner.OTHER
        if not self._has_order(fields):
            return Owner.OTHER
        return Owner.OURS if is_key and is_journal else Owner.UNMARKED

    def is_session(self, metadata: object) -> bool:
        """Return whether the metadata of a session is ours, or doesn't contradict it."""
        fields = fields_of(metadata)
        same = {KEY_FIELD: self.mark.key, JOURNAL_FIELD: self.journal_id}
        is_ours = all(fields.get(name, value) == value for name, value in same.items())
        return is_ours and self._has_order(fields)

    def is_key_elsewhere(self, metadata: object) -> bool:
        """Return whether metadata is that of a payout with our key in another journal."""
        fields = fields_of(metadata)
        key = fields.get(KEY_FIELD, fields.get(self.mark.field))
        journal_id = fields.get(JOURNAL_FIELD)
        is_elsewhere = journal_id is not None and journal_id != self.journal_id
        return key == self.mark.key and is_elsewhere

    def ours(self, session: Session) -> list[Payout]:
        """Return the payouts of a session that carry our key, journal and order."""
        return [one for one in session.payout_list if self.owner(one.metadata) is Owner.OURS]

    def is_as_ordered(self, payout: Payout) -> bool:
        """Return whether a payout of ours shows the amount, currency and card that were ordered."""
        is_sum = self.amount is None or payout.amount_details == self.amount
        return is_sum and self.is_card(payout)

    def is_card(self, payout: Payout) -> bool:
        """Return whether a payout shows the card that was ordered, or no card."""
        shown = payout.payment_method
        text = shown.last4 if isinstance(shown, MaskedCard) else None
        if isinstance(shown, BankCard):
            text = shown.number
        digits = "".join(filter(str.isdecimal, text or ""))[-_LAST_DIGITS:]
        return len(digits) < _LAST_DIGITS or self.last4 is None or digits == self.last4

    def _has_order(self, fields: Mapping[str, object]) -> bool:
        # Payouts started by an earlier release carry no digest.
        return self.order is None or fields.get(ORDER_FIELD, self.order) == self.order


def differences(session: Session, expected: Expected) -> str:
    """Describe what a session shows and what was ordered, without metadata or names."""
    amount = expected.amount
    ordered = "no sum that is written" if amount is None else amount.text
    shown = ", ".join(_described(session, expected)) or "no payout"
    words = f"{session.id} is {session.status!s} and shows {shown}; ordered were {ordered}"
    if not expected.is_session(session.metadata):
        elsewhere = expected.is_key_elsewhere(session.metadata)
        owner = "of the same key in another journal" if elsewhere else "of another payout"
        words += f"; the session is that {owner}"
    return words


def _described(session: Session, expected: Expected) -> Iterator[str]:
    for payout in session.payout_list:
        amount = payout.amount_details
        sum_shown = "no amount" if amount is None else amount.text
        owner = expected.owner(payout.metadata)
        card = "" if expected.is_card(payout) else ", another card"
        yield f"payout {payout.id} ({payout.status!s}, {sum_shown}{card}, owner: {owner.value})"
    for payment in session.payment_list:
        yield f"payment {payment.id} ({payment.status!s})"
