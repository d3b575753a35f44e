"""The legal steps of an operation, as one table; no I/O.

A stage is finer than the statuses of the API: `statuses` says what a stage looks like.
"""

import enum
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from .rules import Confirmation, Permission, Reaction, Rules


class Stage(enum.Enum):
    """How far an operation is; a session without one is `CREATED` or `CANCELLED`."""

    CREATED = "created"
    STARTED = "started"
    READY = "ready"
    """Waits for ``session/confirm``."""
    CONFIRMED = "confirmed"
    ACTING = "acting"
    """Waits for the payer, who must pass 3-D Secure."""
    HELD = "held"
    """Waits for ``session/capture``."""
    CAPTURING = "capturing"
    CANCELLING = "cancelling"
    STUCK = "stuck"
    """In progress for ever."""
    BROKEN = "broken"
    """Failed, with the session in ``error``: not final."""
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Not confirmed in time."""
    RELEASED = "released"
    """Not captured in time."""


class Event(enum.Enum):
    """What moves an operation; the first six are calls, the others fall due."""

    START = "start"
    CONFIRM = "confirm"
    CANCEL = "cancel"
    CAPTURE = "capture"
    REFUND = "refund"
    CHARGE_BACK = "charge back"
    AWAIT = "await"
    PROCEED = "proceed"
    EXPIRE = "expire"
    CHALLENGE = "challenge"
    PASS = "pass"  # noqa: S105  # a test that is passed, and no word to keep
    FAIL = "fail"
    HOLD = "hold"
    HANG = "hang"
    BREAK = "break"
    SUCCEED = "succeed"
    DECLINE = "decline"
    CLOSE = "close"


Steps: TypeAlias = Mapping[tuple[Stage, Event], Stage]

UNDER_WAY: Final = (
    *(Stage.STARTED, Stage.READY, Stage.CONFIRMED, Stage.ACTING, Stage.HELD),
    *(Stage.CAPTURING, Stage.CANCELLING, Stage.STUCK),
)
_COMMITTED: Final = (
    *(Stage.CONFIRMED, Stage.ACTING, Stage.CAPTURING, Stage.STUCK, Stage.BROKEN),
    Stage.SUCCEEDED,
)


def is_challenged_first(rules: Rules) -> bool:
    """Say whether a payer is sent to 3-D Secure before the merchant is asked to confirm."""
    return rules.challenge_first and rules.confirmation is Confirmation.MANUAL


# Whatever is absent is refused.
STEPS: Final[Steps] = MappingProxyType(
    {
        (Stage.CREATED, Event.START): Stage.STARTED,
        (Stage.STARTED, Event.AWAIT): Stage.READY,
        (Stage.STARTED, Event.PROCEED): Stage.CONFIRMED,
        (Stage.READY, Event.CONFIRM): Stage.CONFIRMED,
        (Stage.READY, Event.CANCEL): Stage.CANCELLING,
        (Stage.READY, Event.EXPIRE): Stage.EXPIRED,
        (Stage.CONFIRMED, Event.CHALLENGE): Stage.ACTING,
        (Stage.CONFIRMED, Event.HOLD): Stage.HELD,
        (Stage.CONFIRMED, Event.HANG): Stage.STUCK,
        (Stage.CONFIRMED, Event.BREAK): Stage.BROKEN,
        (Stage.CONFIRMED, Event.SUCCEED): Stage.SUCCEEDED,
        (Stage.CONFIRMED, Event.DECLINE): Stage.DECLINED,
        (Stage.ACTING, Event.PASS): Stage.CONFIRMED,
        (Stage.ACTING, Event.FAIL): Stage.DECLINED,
        (Stage.HELD, Event.CAPTURE): Stage.CAPTURING,
        (Stage.HELD, Event.CANCEL): Stage.CANCELLING,
        (Stage.HELD, Event.EXPIRE): Stage.RELEASED,
        (Stage.CAPTURING, Event.SUCCEED): Stage.SUCCEEDED,
        (Stage.CANCELLING, Event.CLOSE): Stage.CANCELLED,
        (Stage.BROKEN, Event.SUCCEED): Stage.SUCCEEDED,
        (Stage.BROKEN, Event.DECLINE): Stage.DECLINED,
        (Stage.SUCCEEDED, Event.REFUND): Stage.SUCCEEDED,
        (Stage.SUCCEEDED, Event.CHARGE_BACK): Stage.SUCCEEDED,
    }
)
# Steps that a switch adds. One that leads nowhere else is answered and changes nothing.
SWITCHED: Final[tuple[tuple[Callable[[Rules], bool], Steps], ...]] = (
    (
        lambda rules: rules.cancel_created is Permission.ALLOW,
        {(Stage.CREATED, Event.CANCEL): Stage.CANCELLED},
    ),
    (
        lambda rules: rules.second_start is Permission.ALLOW,
        {(stage, Event.START): Stage.STARTED for stage in UNDER_WAY},
    ),
    (
        is_challenged_first,
        {(Stage.STARTED, Event.CHALLENGE): Stage.ACTING, (Stage.ACTING, Event.AWAIT): Stage.READY},
    ),
    (
        lambda rules: rules.late_start_revives,
        {
            (Stage.CANCELLED, Event.START): Stage.STARTED,
            (Stage.EXPIRED, Event.START): Stage.STARTED,
        },
    ),
    (
        lambda rules: rules.late_confirm_revives,
        {
            (Stage.CANCELLED, Event.CONFIRM): Stage.CONFIRMED,
            (Stage.EXPIRED, Event.CONFIRM): Stage.CONFIRMED,
        },
    ),
    (
        lambda rules: rules.second_confirm is Reaction.IGNORE,
        {(stage, Event.CONFIRM): stage for stage in (*_COMMITTED, Stage.HELD)},
    ),
    (
        lambda rules: rules.late_cancel is Reaction.IGNORE,
        {(stage, Event.CANCEL): stage for stage in _COMMITTED},
    ),
)


def steps_of(rules: Rules) -> Steps:
    """Give the table with the steps that the rules add."""
    steps = dict(STEPS)
    for wanted, more in SWITCHED:
        if wanted(rules):
            steps |= more
    return MappingProxyType(steps)


def statuses(stage: Stage, rules: Rules) -> tuple[str, str]:
    """Give what a stage looks like: the status of the session and that of the item."""
    if stage is Stage.DECLINED:
        return rules.declined_session.value, "failed"
    if stage is Stage.EXPIRED:
        return "cancelled", rules.confirm_timeout.value
    return _STATUSES[stage]


# Documented by examples: waiting for the payer and for a capture is "pending" too.
_STATUSES: Final[Mapping[Stage, tuple[str, str]]] = MappingProxyType(
    {
        Stage.STARTED: ("in_progress", "in_progress"),
        Stage.READY: ("in_progress", "pending"),
        Stage.CONFIRMED: ("in_progress", "pending"),
        Stage.ACTING: ("in_progress", "pending"),
        Stage.HELD: ("in_progress", "pending"),
        Stage.CAPTURING: ("in_progress", "pending"),
        Stage.CANCELLING: ("in_progress", "pending"),
        Stage.STUCK: ("in_progress", "in_progress"),
        Stage.BROKEN: ("error", "failed"),
        Stage.SUCCEEDED: ("accepted", "succeeded"),
        Stage.CANCELLED: ("cancelled", "failed"),
        Stage.RELEASED: ("cancelled", "failed"),
    }
)
