"""The legal steps of a payout, as one table; whatever is absent is refused, and changes nothing.

A step says what may be out at the provider by now. It is written, durably, before the call that
it speaks of is sent; so whoever finds a row knows the worst that may have happened.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class Step(enum.IntEnum):
    """Where a payout stands; those below 80 are open."""

    NEW = 0
    """Nothing that matters was sent, or the last session was left for good."""
    CREATING = 10
    """A create may be out: it leaves an orphan at worst, and moves no money."""
    STARTING = 20
    """A start of the chosen session may be out. Nobody else may send it."""
    CANCELLING = 25
    """A cancel of the chosen session may be out."""
    STARTED = 30
    """The provider has the payout."""
    CONFIRMING = 40
    """A confirm of the chosen session may be out."""
    CONFIRMED = 50
    """The provider has the confirm; what is awaited is the result."""
    SENT_ONE_STEP = 60
    """An init may be out, whose session nobody may ever learn."""
    UNKNOWN = 70
    """Nothing that is sent can tell: it needs a webhook, a report, or a person."""
    SUCCEEDED = 80
    FAILED = 81
    """Money did not move. Another try is another key, and the caller's decision."""
    CANCELLED = 82
    """Withdrawn by the caller; money did not move."""

    @property
    def is_final(self) -> bool:
        """Whether nothing may follow."""
        return self >= Step.SUCCEEDED


class Event(enum.Enum):
    """What is written: an intent before it is sent, or a fact after it was learned."""

    CREATE_INTENDED = "create intended"
    SESSION_CHOSEN = "session chosen"
    """A session id is known, and becomes the one that may pay; its start may be sent now."""
    START_KNOWN = "start known"
    LEAVE_INTENDED = "leave intended"
    SESSION_LEFT = "session left"
    """The chosen session can't pay any more, or may not: another one may be chosen."""
    CONFIRM_INTENDED = "confirm intended"
    CONFIRM_KNOWN = "confirm known"
    INIT_INTENDED = "init intended"
    PAID = "paid"
    NOT_PAID = "not paid"
    WITHDRAWN = "withdrawn"
    PARKED = "parked"
    ADOPTED = "adopted"
    """A report shows a payment that the journal forgot, or never knew."""


STEPS: Final[Mapping[tuple[Step, Event], Step]] = MappingProxyType(
    {
        (Step.NEW, Event.CREATE_INTENDED): Step.CREATING,
        (Step.NEW, Event.INIT_INTENDED): Step.SENT_ONE_STEP,
        (Step.NEW, Event.NOT_PAID): Step.FAILED,
        (Step.NEW, Event.ADOPTED): Step.SUCCEEDED,
        (Step.NEW, Event.WITHDRAWN): Step.CANCELLED,
        (Step.CREATING, Event.CREATE_INTENDED): Step.CREATING,
        (Step.CREATING, Event.SESSION_CHOSEN): Step.STARTING,
        (Step.CREATING, Event.NOT_PAID): Step.FAILED,
        (Step.CREATING, Event.ADOPTED): Step.SUCCEEDED,
        (Step.CREATING, Event.WITHDRAWN): Step.CANCELLED,
        (Step.STARTING, Event.START_KNOWN): Step.STARTED,
        (Step.STARTING, Event.LEAVE_INTENDED): Step.CANCELLING,
        (Step.STARTING, Event.SESSION_LEFT): Step.NEW,
        (Step.STARTING, Event.NOT_PAID): Step.FAILED,
        (Step.STARTING, Event.PAID): Step.SUCCEEDED,
        (Step.STARTING, Event.PARKED): Step.UNKNOWN,
        (Step.CANCELLING, Event.SESSION_LEFT): Step.NEW,
        (Step.CANCELLING, Event.START_KNOWN): Step.STARTED,
        (Step.CANCELLING, Event.PAID): Step.SUCCEEDED,
        (Step.CANCELLING, Event.NOT_PAID): Step.FAILED,
        (Step.CANCELLING, Event.PARKED): Step.UNKNOWN,
        (Step.STARTED, Event.CONFIRM_INTENDED): Step.CONFIRMING,
        (Step.STARTED, Event.LEAVE_INTENDED): Step.CANCELLING,
        (Step.STARTED, Event.SESSION_LEFT): Step.NEW,
        (Step.STARTED, Event.PAID): Step.SUCCEEDED,
        (Step.STARTED, Event.NOT_PAID): Step.FAILED,
        (Step.STARTED, Event.PARKED): Step.UNKNOWN,
        (Step.CONFIRMING, Event.CONFIRM_KNOWN): Step.CONFIRMED,
        (Step.CONFIRMING, Event.SESSION_LEFT): Step.NEW,
        (Step.CONFIRMING, Event.PAID): Step.SUCCEEDED,
        (Step.CONFIRMING, Event.NOT_PAID): Step.FAILED,
        (Step.CONFIRMING, Event.PARKED): Step.UNKNOWN,
        (Step.CONFIRMED, Event.PAID): Step.SUCCEEDED,
        (Step.CONFIRMED, Event.NOT_PAID): Step.FAILED,
        (Step.CONFIRMED, Event.PARKED): Step.UNKNOWN,
        (Step.SENT_ONE_STEP, Event.START_KNOWN): Step.STARTED,
        (Step.SENT_ONE_STEP, Event.PAID): Step.SUCCEEDED,
        (Step.SENT_ONE_STEP, Event.NOT_PAID): Step.FAILED,
        (Step.SENT_ONE_STEP, Event.PARKED): Step.UNKNOWN,
        (Step.UNKNOWN, Event.PAID): Step.SUCCEEDED,
        (Step.UNKNOWN, Event.NOT_PAID): Step.FAILED,
    }
)
"""(step, event) -> step. The documentation's diagram is drawn from it."""

LEARNS_SESSION: Final = frozenset({Step.SENT_ONE_STEP, Step.UNKNOWN})
"""Where a session may come to be known that wasn't chosen."""
CAN_WAIT: Final = frozenset({Event.START_KNOWN, Event.CONFIRM_KNOWN})
"""What may be written with the step that follows it: nothing is sent on the strength of it but a
question, and whoever takes over without it asks, too."""
