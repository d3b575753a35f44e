"""Sessions and their items, and the table of the legal steps of an item.

Stages are finer than the statuses of the API: `statuses` maps one to the other.
"""

import enum
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, TypeAlias

from attrs import define, field

from ..settings import Confirmation, Permission, Reaction, Rules
from .messages import Name
from .outcomes import Fate
from .validation import JsonObject, is_object


class ItemStage(enum.Enum):
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
    """In progress until it is settled by hand, else for ever."""
    BROKEN = "broken"
    """Failed, with the session in ``error``: not final."""
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Not confirmed in time."""
    RELEASED = "released"
    """Not captured in time."""
    ABANDONED = "abandoned"
    """The payer didn't act in time."""


class StageEvent(enum.Enum):
    """What moves an item to another stage; the first six are calls, the others fall due."""

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
    PASS = "pass"  # noqa: S105  # 3-D Secure was passed; no password
    FAIL = "fail"
    HOLD = "hold"
    HANG = "hang"
    BREAK = "break"
    SUCCEED = "succeed"
    DECLINE = "decline"
    CLOSE = "close"


Steps: TypeAlias = Mapping[tuple[ItemStage, StageEvent], ItemStage]

UNDER_WAY: Final = (
    *(ItemStage.STARTED, ItemStage.READY, ItemStage.CONFIRMED, ItemStage.ACTING, ItemStage.HELD),
    *(ItemStage.CAPTURING, ItemStage.CANCELLING, ItemStage.STUCK),
)
_COMMITTED: Final = (
    *(
        ItemStage.CONFIRMED,
        ItemStage.ACTING,
        ItemStage.CAPTURING,
        ItemStage.STUCK,
        ItemStage.BROKEN,
    ),
    ItemStage.SUCCEEDED,
)


def is_challenged_first(rules: Rules) -> bool:
    """Return whether 3-D Secure comes before the merchant is asked to confirm."""
    return rules.challenge_first and rules.confirmation is Confirmation.MANUAL


# Any other step is refused.
STEPS: Final[Steps] = MappingProxyType(
    {
        (ItemStage.CREATED, StageEvent.START): ItemStage.STARTED,
        (ItemStage.STARTED, StageEvent.AWAIT): ItemStage.READY,
        (ItemStage.STARTED, StageEvent.PROCEED): ItemStage.CONFIRMED,
        (ItemStage.READY, StageEvent.CONFIRM): ItemStage.CONFIRMED,
        (ItemStage.READY, StageEvent.CANCEL): ItemStage.CANCELLING,
        (ItemStage.READY, StageEvent.EXPIRE): ItemStage.EXPIRED,
        (ItemStage.CONFIRMED, StageEvent.CHALLENGE): ItemStage.ACTING,
        (ItemStage.CONFIRMED, StageEvent.HOLD): ItemStage.HELD,
        (ItemStage.CONFIRMED, StageEvent.HANG): ItemStage.STUCK,
        (ItemStage.CONFIRMED, StageEvent.BREAK): ItemStage.BROKEN,
        (ItemStage.CONFIRMED, StageEvent.SUCCEED): ItemStage.SUCCEEDED,
        (ItemStage.CONFIRMED, StageEvent.DECLINE): ItemStage.DECLINED,
        (ItemStage.ACTING, StageEvent.PASS): ItemStage.CONFIRMED,
        (ItemStage.ACTING, StageEvent.FAIL): ItemStage.DECLINED,
        (ItemStage.ACTING, StageEvent.EXPIRE): ItemStage.ABANDONED,
        (ItemStage.HELD, StageEvent.CAPTURE): ItemStage.CAPTURING,
        (ItemStage.HELD, StageEvent.CANCEL): ItemStage.CANCELLING,
        (ItemStage.HELD, StageEvent.EXPIRE): ItemStage.RELEASED,
        (ItemStage.CAPTURING, StageEvent.SUCCEED): ItemStage.SUCCEEDED,
        (ItemStage.CANCELLING, StageEvent.CLOSE): ItemStage.CANCELLED,
        (ItemStage.STUCK, StageEvent.SUCCEED): ItemStage.SUCCEEDED,
        (ItemStage.STUCK, StageEvent.DECLINE): ItemStage.DECLINED,
        (ItemStage.BROKEN, StageEvent.SUCCEED): ItemStage.SUCCEEDED,
        (ItemStage.BROKEN, StageEvent.DECLINE): ItemStage.DECLINED,
        (ItemStage.SUCCEEDED, StageEvent.REFUND): ItemStage.SUCCEEDED,
        (ItemStage.SUCCEEDED, StageEvent.CHARGE_BACK): ItemStage.SUCCEEDED,
    }
)
# Steps that a rule adds. A step that leads to the same stage is answered and changes nothing.
SWITCHED: Final[tuple[tuple[Callable[[Rules], bool], Steps], ...]] = (
    (
        lambda rules: rules.cancel_created is Permission.ALLOW,
        {(ItemStage.CREATED, StageEvent.CANCEL): ItemStage.CANCELLED},
    ),
    (
        lambda rules: rules.second_start is Permission.ALLOW,
        {(stage, StageEvent.START): ItemStage.STARTED for stage in UNDER_WAY},
    ),
    (
        is_challenged_first,
        {
            (ItemStage.STARTED, StageEvent.CHALLENGE): ItemStage.ACTING,
            (ItemStage.ACTING, StageEvent.AWAIT): ItemStage.READY,
        },
    ),
    (
        lambda rules: rules.late_start_revives,
        {
            (ItemStage.CANCELLED, StageEvent.START): ItemStage.STARTED,
            (ItemStage.EXPIRED, StageEvent.START): ItemStage.STARTED,
        },
    ),
    (
        lambda rules: rules.late_confirm_revives,
        {
            (ItemStage.CANCELLED, StageEvent.CONFIRM): ItemStage.CONFIRMED,
            (ItemStage.EXPIRED, StageEvent.CONFIRM): ItemStage.CONFIRMED,
        },
    ),
    (
        lambda rules: rules.second_confirm is Reaction.IGNORE,
        {(stage, StageEvent.CONFIRM): stage for stage in (*_COMMITTED, ItemStage.HELD)},
    ),
    (
        lambda rules: rules.late_cancel is Reaction.IGNORE,
        {(stage, StageEvent.CANCEL): stage for stage in _COMMITTED},
    ),
)


def steps_of(rules: Rules) -> Steps:
    """Return the table of steps with those that the rules add."""
    steps = dict(STEPS)
    for is_on, added in SWITCHED:
        if is_on(rules):
            steps |= added
    return MappingProxyType(steps)


def statuses(stage: ItemStage, rules: Rules) -> tuple[str, str]:
    """Return the statuses of a session and its item at a stage."""
    if stage is ItemStage.DECLINED:
        return rules.declined_session.value, "failed"
    if stage is ItemStage.EXPIRED:
        return rules.session_timeout.value, rules.confirm_timeout.value
    return _STATUSES[stage]


# Documented by examples: an item that waits for the payer or for a capture is "pending", too.
_STATUSES: Final[Mapping[ItemStage, tuple[str, str]]] = MappingProxyType(
    {
        ItemStage.STARTED: ("in_progress", "in_progress"),
        ItemStage.READY: ("in_progress", "pending"),
        ItemStage.CONFIRMED: ("in_progress", "pending"),
        ItemStage.ACTING: ("in_progress", "pending"),
        ItemStage.HELD: ("in_progress", "pending"),
        ItemStage.CAPTURING: ("in_progress", "pending"),
        ItemStage.CANCELLING: ("in_progress", "pending"),
        ItemStage.STUCK: ("in_progress", "in_progress"),
        ItemStage.BROKEN: ("error", "failed"),
        ItemStage.SUCCEEDED: ("accepted", "succeeded"),
        ItemStage.CANCELLED: ("cancelled", "failed"),
        ItemStage.RELEASED: ("cancelled", "failed"),
        # Of a payment whose payer doesn't act; `payers.timeout_statuses` has the exceptions.
        ItemStage.ABANDONED: ("cancelled", "canceled"),
    }
)


class ItemKind(enum.Enum):
    """What an item of a session is."""

    PAYOUT = "payout"
    PAYMENT = "payment"
    VERIFICATION = "verification"
    """A check of an account's owner (Russian Faster Payments); listed among the payouts."""


@define(eq=False, kw_only=True)
class ItemRefund:
    """Money that is returned to a payer."""

    id: str
    amount: int
    name: Name
    created_at: datetime
    extras: JsonObject
    is_chargeback: bool = False
    is_return: bool = False
    """Whether the recipient's bank returned a payout."""
    status: str = "in_progress"
    finished_at: datetime | None = None


@define(eq=False, kw_only=True)
class Item:
    """A payout, a payment or a verification; ``terms`` are in the names of v1."""

    id: str
    kind: ItemKind
    terms: JsonObject = field(repr=False)
    name: Name
    created_at: datetime
    fate: Fate
    code: str | None = None
    stage: ItemStage = ItemStage.STARTED
    stage_number: int = 0
    """Number of stages entered so far; a step that is due in one of them is void in the next."""
    finished_at: datetime | None = None
    error: JsonObject | None = None
    reserved: int = 0
    held: int = 0
    captured: int = 0
    to_capture: int | None = None
    """Amount of a partial capture."""
    refunds: list[ItemRefund] = field(factory=list[ItemRefund])
    token: str | None = None
    """Recurrent token that was made for its instrument."""
    challenge: JsonObject | None = None
    """Where the payer must go."""
    life: list[tuple[datetime, ItemStage]] = field(
        factory=list[tuple[datetime, ItemStage]], repr=False
    )
    """The stages it has entered, each with the time."""
    has_refused: bool = False
    """Whether the payer refused, which isn't seen before the order's time is over (SberPay)."""

    @property
    def amount(self) -> int:
        """Amount in minor units; 0 if the item moves nothing."""
        amount = self._money().get("amount")
        return amount if isinstance(amount, int) else 0

    @property
    def currency(self) -> str:
        """Code of the currency, in small letters."""
        return str(self._money().get("currency", "")).lower()

    @property
    def refunded(self) -> int:
        """Amount that was refunded, or is about to be."""
        return sum(refund.amount for refund in self.refunds if refund.status != "declined")

    @property
    def is_being_refunded(self) -> bool:
        """Whether a refund is under way."""
        return any(refund.status == "in_progress" for refund in self.refunds)

    @property
    def instrument(self) -> JsonObject:
        """Payout or payment instrument."""
        name = "payment_details" if self.kind is ItemKind.PAYMENT else "payment_method"
        instrument = self.terms.get(name)
        return instrument if is_object(instrument) else {}

    @property
    def options(self) -> JsonObject:
        """Options of a payment."""
        options = self.terms.get("payment_options")
        return options if is_object(options) else {}

    def _money(self) -> JsonObject:
        money = self.terms.get("amount_details")
        return money if is_object(money) else {}


@define(eq=False, kw_only=True)
class EmulatedSession:
    """A session; ``terms`` are the fields it was created with, in the names of v1."""

    id: str
    terms: JsonObject = field(repr=False)
    name: Name
    created_at: datetime
    updated_at: datetime
    cancelled: bool = False
    """Whether it was cancelled before anything was started."""
    exchange: JsonObject | None = None
    """What its payer pays in another currency."""
    items: list[Item] = field(factory=list[Item])
    history: list[tuple[datetime, dict[int, JsonObject]]] = field(
        factory=list[tuple[datetime, dict[int, JsonObject]]], repr=False
    )
    """Its views by version, each with the time since when; kept only if status may be stale."""

    @property
    def stage(self) -> ItemStage:
        """ItemStage of the item that isn't finished, else of the last one."""
        for item in self.items:
            if item.stage in UNDER_WAY:
                return item.stage
        if self.items:
            return self.items[-1].stage
        return ItemStage.CANCELLED if self.cancelled else ItemStage.CREATED


def moment(time: datetime) -> str:
    """Return a time as the provider's samples write it."""
    utc = time.astimezone(UTC).replace(tzinfo=None)
    return f"{utc.isoformat(timespec='microseconds')}Z"
