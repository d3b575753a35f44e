"""The legal steps of a payout, as one table; any other step is refused and changes nothing.

A step says which call may be in flight. It is written, durably, before that call is sent, so a
worker that takes a row over knows the worst that may have happened.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class Step(enum.IntEnum):
    """The step of a payout; those below 80 are open."""

    NEW = 0
    """Nothing that may pay was sent, or the last session was left for good."""
    CREATING = 10
    """A create may be in flight: at worst it leaves an unused session; it moves no money."""
    STARTING = 20
    """A start of the chosen session may be in flight. It must not be sent again."""
    CANCELLING = 25
    """A cancel of the chosen session may be in flight; the session is left whatever its result."""
    REFUSED = 26
    """The start was refused. A cancel may be in flight; once it is closed, the payout fails."""
    KEY_USED = 27
    """The start was refused since its key was used before. A cancel may be in flight."""
    STARTED = 30
    """The provider has the payout."""
    CONFIRMING = 40
    """A confirm of the chosen session may be in flight."""
    CONFIRMED = 50
    """The provider has the confirm; the result isn't known yet."""
    SENT_ONE_STEP = 60
    """An init may be in flight; if its answer is lost, its session can't be found."""
    UNKNOWN = 70
    """No call can show the result: a webhook, a report or an operator has to."""
    SUCCEEDED = 80
    FAILED = 81
    """Money did not move. `Event.RETRIED` takes it up again if its cause passed; otherwise a new
    attempt, which the caller decides, needs another key."""
    CANCELLED = 82
    """Withdrawn by the caller; money did not move."""

    @property
    def is_final(self) -> bool:
        """Whether no call and no webhook changes the step; only `Event.RETRIED` leaves one."""
        return self >= Step.SUCCEEDED


class Event(enum.Enum):
    """What is written: an intent before its call is sent, or a fact after it was observed."""

    CREATE_INTENDED = "create intended"
    SESSION_CHOSEN = "session chosen"
    """A session id is known and is the one that may pay; its start may be sent now."""
    START_KNOWN = "start known"
    START_REFUSED = "start refused"
    START_KEY_USED = "start refused, its key was used"
    LEAVE_INTENDED = "leave intended"
    SESSION_LEFT = "session left"
    """The chosen session can't pay any more, or must not: another one may be chosen."""
    CONFIRM_INTENDED = "confirm intended"
    CONFIRM_KNOWN = "confirm known"
    INIT_INTENDED = "init intended"
    PAID = "paid"
    NOT_PAID = "not paid"
    WITHDRAWN = "withdrawn"
    PARKED = "parked"
    CONFLICT = "conflict"
    """The provider shows otherwise than written: only a payment or an operator settles it now."""
    ADOPTED = "adopted"
    """A report shows a payment that the journal lacked."""
    RETRIED = "retried"
    """A failed payout is taken up again, by an operator: see `Journal.retry`."""


STEPS: Final[Mapping[tuple[Step, Event], Step]] = MappingProxyType(
    {
        (Step.NEW, Event.CREATE_INTENDED): Step.CREATING,
        (Step.NEW, Event.INIT_INTENDED): Step.SENT_ONE_STEP,
        (Step.NEW, Event.PARKED): Step.UNKNOWN,
        (Step.NEW, Event.CONFLICT): Step.UNKNOWN,
        (Step.NEW, Event.ADOPTED): Step.SUCCEEDED,
        (Step.NEW, Event.WITHDRAWN): Step.CANCELLED,
        (Step.CREATING, Event.CREATE_INTENDED): Step.CREATING,
        (Step.CREATING, Event.SESSION_CHOSEN): Step.STARTING,
        (Step.CREATING, Event.NOT_PAID): Step.FAILED,
        (Step.CREATING, Event.PARKED): Step.UNKNOWN,
        (Step.CREATING, Event.CONFLICT): Step.UNKNOWN,
        (Step.CREATING, Event.ADOPTED): Step.SUCCEEDED,
        (Step.CREATING, Event.WITHDRAWN): Step.CANCELLED,
        (Step.STARTING, Event.START_KNOWN): Step.STARTED,
        (Step.STARTING, Event.START_REFUSED): Step.REFUSED,
        (Step.STARTING, Event.START_KEY_USED): Step.KEY_USED,
        (Step.STARTING, Event.LEAVE_INTENDED): Step.CANCELLING,
        (Step.STARTING, Event.SESSION_LEFT): Step.NEW,
        (Step.STARTING, Event.NOT_PAID): Step.FAILED,
        (Step.STARTING, Event.PAID): Step.SUCCEEDED,
        (Step.STARTING, Event.PARKED): Step.UNKNOWN,
        (Step.STARTING, Event.CONFLICT): Step.UNKNOWN,
        (Step.CANCELLING, Event.SESSION_LEFT): Step.NEW,
        (Step.CANCELLING, Event.PAID): Step.SUCCEEDED,
        (Step.CANCELLING, Event.NOT_PAID): Step.FAILED,
        (Step.CANCELLING, Event.PARKED): Step.UNKNOWN,
        (Step.CANCELLING, Event.CONFLICT): Step.UNKNOWN,
        (Step.REFUSED, Event.SESSION_LEFT): Step.NEW,
        (Step.REFUSED, Event.PAID): Step.SUCCEEDED,
        (Step.REFUSED, Event.NOT_PAID): Step.FAILED,
        (Step.REFUSED, Event.PARKED): Step.UNKNOWN,
        (Step.REFUSED, Event.CONFLICT): Step.UNKNOWN,
        (Step.KEY_USED, Event.SESSION_LEFT): Step.NEW,
        (Step.KEY_USED, Event.PAID): Step.SUCCEEDED,
        (Step.KEY_USED, Event.NOT_PAID): Step.FAILED,
        (Step.KEY_USED, Event.PARKED): Step.UNKNOWN,
        (Step.KEY_USED, Event.CONFLICT): Step.UNKNOWN,
        (Step.STARTED, Event.CONFIRM_INTENDED): Step.CONFIRMING,
        (Step.STARTED, Event.LEAVE_INTENDED): Step.CANCELLING,
        (Step.STARTED, Event.SESSION_LEFT): Step.NEW,
        (Step.STARTED, Event.PAID): Step.SUCCEEDED,
        (Step.STARTED, Event.NOT_PAID): Step.FAILED,
        (Step.STARTED, Event.PARKED): Step.UNKNOWN,
        (Step.STARTED, Event.CONFLICT): Step.UNKNOWN,
        (Step.CONFIRMING, Event.CONFIRM_KNOWN): Step.CONFIRMED,
        (Step.CONFIRMING, Event.SESSION_LEFT): Step.NEW,
        (Step.CONFIRMING, Event.PAID): Step.SUCCEEDED,
        (Step.CONFIRMING, Event.NOT_PAID): Step.FAILED,
        (Step.CONFIRMING, Event.PARKED): Step.UNKNOWN,
        (Step.CONFIRMING, Event.CONFLICT): Step.UNKNOWN,
        (Step.CONFIRMED, Event.SESSION_LEFT): Step.NEW,
        (Step.CONFIRMED, Event.PAID): Step.SUCCEEDED,
        (Step.CONFIRMED, Event.NOT_PAID): Step.FAILED,
        (Step.CONFIRMED, Event.PARKED): Step.UNKNOWN,
        (Step.CONFIRMED, Event.CONFLICT): Step.UNKNOWN,
        (Step.SENT_ONE_STEP, Event.START_KNOWN): Step.STARTED,
        (Step.SENT_ONE_STEP, Event.PAID): Step.SUCCEEDED,
        (Step.SENT_ONE_STEP, Event.NOT_PAID): Step.FAILED,
        (Step.SENT_ONE_STEP, Event.PARKED): Step.UNKNOWN,
        (Step.SENT_ONE_STEP, Event.CONFLICT): Step.UNKNOWN,
        (Step.UNKNOWN, Event.CONFLICT): Step.UNKNOWN,
        (Step.UNKNOWN, Event.PAID): Step.SUCCEEDED,
        (Step.UNKNOWN, Event.NOT_PAID): Step.FAILED,
        (Step.UNKNOWN, Event.ADOPTED): Step.SUCCEEDED,
        (Step.FAILED, Event.RETRIED): Step.NEW,
    }
)
"""(step, event) -> step. The documentation's diagram is drawn from it."""

LEARNS_SESSION: Final = frozenset({Step.SENT_ONE_STEP, Step.UNKNOWN})
"""Steps at which a session may become known that wasn't chosen."""
CAN_WAIT: Final = frozenset({Event.START_KNOWN, Event.CONFIRM_KNOWN})
"""Events that may be written together with the next one. No call but a status depends on them, and
a worker that takes over without them asks for the status, too.
"""
