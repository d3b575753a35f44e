"""Sessions with their payouts, payments and refunds, as the bank keeps them; no I/O."""

import enum
from datetime import UTC, datetime

from attrs import define, field

from .asks import Name
from .checks import JsonObject, is_object
from .outcomes import Fate
from .steps import UNDER_WAY, Stage


class Kind(enum.Enum):
    """What an item of a session is."""

    PAYOUT = "payout"
    PAYMENT = "payment"
    VERIFICATION = "verification"
    """A look at who owns an account (Russian Faster Payments); listed among the payouts."""


@define(eq=False, kw_only=True)
class Refund:
    """Money that goes back to a payer."""

    id: str
    amount: int
    name: Name
    created_at: datetime
    extras: JsonObject
    is_chargeback: bool = False
    status: str = "in_progress"
    finished_at: datetime | None = None


@define(eq=False, kw_only=True)
class Item:
    """A payout, a payment or a verification; ``terms`` are in the names of v1."""

    id: str
    kind: Kind
    terms: JsonObject = field(repr=False)
    name: Name
    created_at: datetime
    fate: Fate
    code: str | None = None
    stage: Stage = Stage.STARTED
    visit: int = 0
    """How often it came to another stage; what is due in one visit isn't in the next."""
    finished_at: datetime | None = None
    error: JsonObject | None = None
    reserved: int = 0
    held: int = 0
    captured: int = 0
    to_capture: int | None = None
    """What a partial capture asked for."""
    refunds: list[Refund] = field(factory=list[Refund])
    token: str | None = None
    """Recurrent token that was made of it."""
    challenge: JsonObject | None = None
    """Where the payer must go."""

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
        """What was given back, or is about to be."""
        return sum(refund.amount for refund in self.refunds if refund.status != "declined")

    @property
    def instrument(self) -> JsonObject:
        """Payout or payment instrument."""
        name = "payment_details" if self.kind is Kind.PAYMENT else "payment_method"
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
class Session:
    """A session; what it was created with is in the names of v1."""

    id: str
    terms: JsonObject = field(repr=False)
    name: Name
    created_at: datetime
    updated_at: datetime
    cancelled: bool = False
    """Whether it was cancelled before anything was started."""
    items: list[Item] = field(factory=list[Item])
    history: list[tuple[datetime, dict[int, JsonObject]]] = field(
        factory=list[tuple[datetime, dict[int, JsonObject]]], repr=False
    )
    """What it looked like since when, by version; kept only if status may be stale."""

    @property
    def stage(self) -> Stage:
        """Stage of the item that isn't finished, else of the last one."""
        for item in self.items:
            if item.stage in UNDER_WAY:
                return item.stage
        if self.items:
            return self.items[-1].stage
        return Stage.CANCELLED if self.cancelled else Stage.CREATED


def moment(time: datetime) -> str:
    """Write a moment as the provider's samples do."""
    utc = time.astimezone(UTC).replace(tzinfo=None)
    return f"{utc.isoformat(timespec='microseconds')}Z"
