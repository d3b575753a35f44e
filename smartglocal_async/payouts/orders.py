"""Orders of payouts, their outcomes, and the states that callers see."""

import enum
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, cast

from attrs import evolve, field, frozen

from ..encryption import RequestCipher
from ..errors import InvalidRequest, SmartGlocalError
from ..journal.entries import Entry
from ..journal.states import Step
from ..models.instruments import (
    BankCard,
    EncryptedCard,
    FasterPayment,
    FasterPaymentVerification,
    GlobalAccount,
    GlobalWallet,
    MonetaWallet,
    PayoutInstrument,
    QiwiWallet,
    RussianAccount,
    SteamWallet,
    TokenizedCard,
    YooMoneyWallet,
)
from ..models.money import AmountDetails
from ..models.people import Customer, Participant, ParticipantDetails
from ..models.serialization import Serializable
from ..models.validators import discreet, exact, mask

_MAX_KEY: Final = 200  # With what a create adds to it, the key stays within 255 characters.


@discreet
@frozen(kw_only=True, field_transformer=exact)
class PayoutOrder(Serializable):
    """A payout to make once.

    ``key`` is your own id of the payout, and the same each time you ask for it: the id of a table
    row, not the position in a file that may change, and never a random number made when it is sent.
    ``metadata`` is a JSON object or absent; the key is sent in it.

    Raises:
        InvalidRequest: a field of the wrong type, or a key that isn't text of 1 to 200 printable
            characters.

    """

    key: str
    payment_method: PayoutInstrument
    amount_details: AmountDetails
    participant_details: ParticipantDetails | None = None
    customer: Customer | None = None
    metadata: Any = field(repr=mask, default=None, hash=False)

    def __attrs_post_init__(self) -> None:
        if not (0 < len(self.key) <= _MAX_KEY and self.key.isprintable()):
            problem = f"expected 1 to {_MAX_KEY} printable characters"
            raise InvalidRequest("PayoutOrder.key", problem)
        if not (self.metadata is None or isinstance(self.metadata, Mapping)):
            raise InvalidRequest(
                "PayoutOrder.metadata", "expected an object: the key of the payout is sent in it"
            )

    def more_metadata(self, more: Mapping[str, object]) -> dict[str, object]:
        """Return the metadata with more fields in it."""
        return {**cast("Mapping[str, object]", self.metadata or {}), **more}


_SHOWN: Final = 4
_MAX_NAME: Final = 60
_MIN_NUMBER: Final = 8
"""Nothing of a shorter number is shown: four characters would be half of it."""


def payee_summary(order: PayoutOrder) -> str:
    """Return who an order pays: the name, if it has one, and the end of the number."""
    people = order.participant_details
    recipient = None if people is None else people.recipient
    parts = (_name(recipient, order.payment_method), _end(order.payment_method))
    return ", ".join(part for part in parts if part)


def _name(recipient: Participant | None, paid: PayoutInstrument) -> str:
    name = ""
    if recipient is not None:
        names = (recipient.first_name, recipient.middle_name, recipient.last_name)
        name = recipient.full_name or recipient.company_name or " ".join(filter(None, names))
    if not name and isinstance(paid, RussianAccount):
        name = paid.full_name or ""
    if not name and isinstance(paid, BankCard):
        name = paid.cardholder_name or ""
    return " ".join(name.split())[:_MAX_NAME]


def _end(paid: PayoutInstrument) -> str:
    number: str | None
    match paid:
        case BankCard():
            number = paid.number
        case GlobalAccount():
            number = paid.iban or paid.bank_account_number or paid.account_number
        case RussianAccount() | SteamWallet() | QiwiWallet() | YooMoneyWallet() | MonetaWallet():
            number = paid.account
        case FasterPayment() | FasterPaymentVerification():
            number = paid.phone
        case GlobalWallet():
            number = paid.msisdn
        case EncryptedCard() | TokenizedCard():
            return "card"
        case _:
            return ""
    plain = "".join((number or "").split())
    return f"...{plain[-_SHOWN:]}" if len(plain) >= _MIN_NUMBER else ""


SUMMARY_PURPOSE: Final = "summary"
"""The purpose of an encrypted summary, which is kept after the request is dropped."""


def decrypted_summary(entry: Entry, cipher: RequestCipher) -> str | None:
    """Return who an entry pays, as `payee_summary` does; None if that isn't stored.

    Raises:
        WrongJournalKey: it was encrypted with a key that isn't given.
        JournalUnusable: it was changed.

    """
    if entry.summary is None:
        return None
    return cipher.decrypt(entry.summary, entry.key, purpose=SUMMARY_PURPOSE).decode() or None


def split_summary(summary: str) -> tuple[str | None, str | None]:
    """Return the name and the end of the number of a summary; None where it has none."""
    name, comma, end = summary.rpartition(", ")
    if not comma:
        name, end = "", summary
    is_end = end == "card" or (end.startswith("...") and len(end) == len("...") + _SHOWN)
    return (name or None, end) if is_end else (summary, None)


class PayoutState(enum.Enum):
    """The state of a payout, as callers see it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """No money moved, and none will under this key."""
    CANCELLED = "cancelled"
    OPEN = "open"
    """Not settled yet; the journal keeps it."""
    UNKNOWN = "unknown"
    """No call can show whether it was paid: a webhook, a report or an operator settles it."""
    REFUSED = "refused"
    """Not begun: the order breaks a rule, or its key belongs to another order. In a batch only."""


@frozen(kw_only=True)
class PayoutOutcome(Serializable):
    """The outcome of a payout, which says what you may do now.

    ``succeeded``: it was paid, once. ``failed`` and ``cancelled``: no money moved; to try again,
    which is your decision, use a new key. ``open``: call ``pay`` again with the same order, or run
    ``resume``; with `needs_request`, ``resume`` also needs the order. ``unknown``: never pay it
    under another key; a webhook passed to `Payouts.handle_event`, or the provider's report,
    settles it. ``refused``: nothing was sent; fix what ``error`` names.
    """

    key: str
    state: PayoutState
    amount: int | None = None
    """In minor units."""
    currency: str | None = None
    session_id: str | None = None
    payout_id: str | None = None
    code: str | None = None
    """The provider's code: of a failed payout, its own; of one that isn't settled, that of the last
    refused call."""
    reason: str | None = None
    """Why it is in this state; of one that isn't settled, how its last calls failed."""
    attempts: int = 0
    """How many calls that change something may have been sent, as the journal shows."""
    replayed: bool = False
    """Whether it was settled before, and nothing was sent now."""
    needs_request: bool = False
    """Whether it needs its order to go on: call ``pay`` with the same order again."""
    error: SmartGlocalError | None = None
    """Why a batch refused it, or couldn't work on it."""

    @property
    def is_final(self) -> bool:
        """Whether the state can't change any more."""
        return self.state in _FINAL

    @property
    def is_paid(self) -> bool:
        """Whether the money moved."""
        return self.state is PayoutState.SUCCEEDED


_FINAL: Final = frozenset({PayoutState.SUCCEEDED, PayoutState.FAILED, PayoutState.CANCELLED})
_STATES: Final = {
    Step.SUCCEEDED: PayoutState.SUCCEEDED,
    Step.FAILED: PayoutState.FAILED,
    Step.CANCELLED: PayoutState.CANCELLED,
    Step.UNKNOWN: PayoutState.UNKNOWN,
}


def state_of(step: Step) -> PayoutState:
    """Return the state that a step means."""
    return _STATES.get(step, PayoutState.OPEN)


def counted_by_state(steps: Mapping[Step, int]) -> Counter[PayoutState]:
    """Add counts by step up to counts by state."""
    counts = Counter[PayoutState]()
    for step, count in steps.items():
        counts[state_of(step)] += count
    return counts


def outcome_of(
    entry: Entry, *, replayed: bool = False, needs_request: bool = False
) -> PayoutOutcome:
    """Return the outcome that a journal entry shows."""
    return PayoutOutcome(
        key=entry.key,
        state=state_of(entry.step),
        amount=entry.amount,
        currency=entry.currency,
        session_id=entry.session_id,
        payout_id=entry.item_id,
        code=entry.code,
        reason="it needs its request again" if needs_request else entry.reason,
        attempts=entry.attempts,
        replayed=replayed,
        needs_request=needs_request,
    )


def held_up(outcome: PayoutOutcome, code: str | None, reason: str | None) -> PayoutOutcome:
    """Return an open outcome with the code and the reason of what holds it up."""
    if outcome.is_final or reason is None:
        return outcome
    words = reason if outcome.reason is None else f"{outcome.reason}; {reason}"
    return evolve(outcome, code=outcome.code or code, reason=words)


def failed_with(order: PayoutOrder, error: SmartGlocalError, state: PayoutState) -> PayoutOutcome:
    """Return the outcome of an order in a batch that failed with an error."""
    amount = order.amount_details
    return PayoutOutcome(
        key=order.key,
        state=state,
        amount=amount.amount,
        currency=amount.currency,
        reason=str(error),
        error=error,
    )
