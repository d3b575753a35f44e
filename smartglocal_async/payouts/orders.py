"""What is to be paid out, and what became of it."""

import enum
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, cast

from attrs import field, frozen

from ..errors import InvalidRequest, SmartGlocalError
from ..journal.entries import Entry
from ..journal.states import Step
from ..values.exactness import exact
from ..values.instruments import PayoutInstrument
from ..values.money import AmountDetails
from ..values.people import Customer, ParticipantDetails

_LONGEST_KEY: Final = 200  # What follows it in the key of a create has room within 255.


@frozen(kw_only=True, field_transformer=exact)
class PayoutOrder:
    """A payout that is to be made once.

    ``key`` is your own id of it, the same one whenever you ask for it again: the row of a table,
    not of a file that may change, and never a number made up when it is sent. ``metadata`` is a
    JSON object or absent: the key travels in it.

    Raises:
        InvalidRequest: a field of the wrong type, or a key that isn't text of 1 to 200 printable
            characters.

    """

    key: str
    payment_method: PayoutInstrument
    amount_details: AmountDetails
    participant_details: ParticipantDetails | None = None
    customer: Customer | None = None
    metadata: Any = field(default=None, hash=False)

    def __attrs_post_init__(self) -> None:
        if not (0 < len(self.key) <= _LONGEST_KEY and self.key.isprintable()):
            problem = f"expected 1 to {_LONGEST_KEY} printable characters"
            raise InvalidRequest("PayoutOrder.key", problem)
        if not (self.metadata is None or isinstance(self.metadata, Mapping)):
            raise InvalidRequest(
                "PayoutOrder.metadata", "expected an object: the key of the payout travels in it"
            )

    def more_metadata(self, more: Mapping[str, object]) -> dict[str, object]:
        """Give the metadata with more in it."""
        return {**cast("Mapping[str, object]", self.metadata or {}), **more}


class PayoutState(enum.Enum):
    """Where a payout stands, as far as its caller is concerned."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """No money moved, and none will under this key."""
    CANCELLED = "cancelled"
    OPEN = "open"
    """Not settled yet; it stays in the journal."""
    UNKNOWN = "unknown"
    """Nothing that can be sent tells; news or a person must."""
    REFUSED = "refused"
    """Not taken up: the order breaks a rule, or its key belongs to another one. In a batch only."""


@frozen(kw_only=True)
class PayoutOutcome:
    """What became of a payout, and what you may do now.

    ``succeeded``: it was paid, once. ``failed`` and ``cancelled``: no money moved; another try is
    a new key, and your decision. ``open``: call ``pay`` again with the same key, or run
    ``resume``; where `needs_request` says so, ``resume`` alone can't. ``unknown``: never pay it
    under another key; a webhook handed to ``notice`` settles it, or the provider's report does.
    ``refused``: nothing was sent; mend what ``error`` names.
    """

    key: str
    state: PayoutState
    amount: int | None = None
    """In minor units."""
    currency: str | None = None
    session_id: str | None = None
    payout_id: str | None = None
    code: str | None = None
    """The provider's code, of a payout that failed."""
    reason: str | None = None
    attempts: int = 0
    """How many calls that change something were meant to be sent."""
    replayed: bool = False
    """Whether it was settled before, and nothing was sent now."""
    needs_request: bool = False
    """Whether it can only go on with its request: call ``pay`` with the same order again."""
    error: SmartGlocalError | None = None
    """Why a batch refused it, or couldn't go on with it."""

    @property
    def is_final(self) -> bool:
        """Whether it stays as it is."""
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
    """Give the state of a step."""
    return _STATES.get(step, PayoutState.OPEN)


def counted_by_state(steps: Mapping[Step, int]) -> Counter[PayoutState]:
    """Give counts by step as counts by state."""
    counts = Counter[PayoutState]()
    for step, count in steps.items():
        counts[state_of(step)] += count
    return counts


def outcome_of(
    entry: Entry, *, replayed: bool = False, needs_request: bool = False
) -> PayoutOutcome:
    """Read an outcome from what is written."""
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


def failed_with(order: PayoutOrder, error: SmartGlocalError, state: PayoutState) -> PayoutOutcome:
    """Give the outcome of an order in a batch that an error ended."""
    amount = order.amount_details
    return PayoutOutcome(
        key=order.key,
        state=state,
        amount=amount.amount,
        currency=amount.currency,
        reason=str(error),
        error=error,
    )
