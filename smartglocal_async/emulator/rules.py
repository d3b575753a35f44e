"""The switches: how the emulated provider behaves where the documents are silent."""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from attrs import field, frozen

from ..errors import InvalidRequest

_NO_WALLETS: Final[Mapping[str, int]] = MappingProxyType({})
_VERSIONS: Final = (1, 2)


class Duplicates(enum.Enum):
    """What a second ``session/create`` with one key gets; unknown, a switch.

    A key that ``session/init/...`` used is none of its.
    """

    REPLAY = "replay"
    """The session of the first one again."""
    REFUSE = "refuse"
    """The error ``idempotency_key_already_exists``, as the sister platform's SDK expects."""
    CREATE = "create"
    """One more session."""


class Confirmation(enum.Enum):
    """Who confirms an operation; documented as a setting of the project."""

    MANUAL = "manual"
    """``ready_to_confirm`` is sent, and nothing moves before ``session/confirm``."""
    AUTOMATIC = "automatic"
    """The start goes straight through, and no ``ready_to_confirm`` is sent."""


class Capture(enum.Enum):
    """When a payment's money is taken; documented as a setting of the project."""

    IMMEDIATE = "immediate"
    DELAYED = "delayed"
    """The money is held until ``session/capture``."""


class Permission(enum.Enum):
    """Whether a step is legal."""

    REFUSE = "refuse"
    ALLOW = "allow"


class Reaction(enum.Enum):
    """What something that should not come meets."""

    REFUSE = "refuse"
    """An error envelope."""
    IGNORE = "ignore"
    """Nothing: the call is answered as if there were nothing wrong with it."""


class KeyScope(enum.Enum):
    """Where a key in ``X-PARTNER-IDEMPOTENCY-KEY`` counts as used; unknown, a switch."""

    METHOD = "method"
    """In the method it was used with."""
    PROJECT = "project"
    """In all calls that move money."""


class DeclinedSession(enum.Enum):
    """Session status beside a declined payout or payment; unknown, a switch."""

    CANCELLED = "cancelled"
    ACCEPTED = "accepted"
    ERROR = "error"


class TimeoutWord(enum.Enum):
    """Status of an item that was not confirmed in time; the pages contradict each other."""

    CANCELLED = "cancelled"
    """As the status of a session is spelt."""
    CANCELED = "canceled"
    """As the page of ``ready_to_confirm`` spells it."""


def _wallets(balances: Mapping[str, int]) -> Mapping[str, int]:
    return MappingProxyType({code.lower(): amount for code, amount in balances.items()})


@frozen(kw_only=True)
class Rules:
    """How the provider behaves where the documents are silent.

    Raises:
        InvalidRequest: a number is out of its range; names the field.

    """

    duplicates: Duplicates = Duplicates.REPLAY
    metadata_is_key: bool = False
    """Whether metadata that is a string or a whole number counts as a key; unknown, a switch."""
    error_http_status: int = 400
    """HTTP status of error envelopes; unknown, a switch. 200 is as possible as 400."""
    key_field: str = "idempotency_key"
    """The key is ``metadata[key_field]``, else the header ``X-PARTNER-IDEMPOTENCY-KEY``.

    Both are unknown: the documents ask for a key and don't say where it goes.
    """
    idempotency_header: Reaction = Reaction.IGNORE
    """What a used ``X-PARTNER-IDEMPOTENCY-KEY`` meets in the calls that move money.

    Third-party code expects ``idempotency_key_already_exists``. That a refused call uses no key
    up is unknown. ``session/create`` has `duplicates`.
    """
    key_scope: KeyScope = KeyScope.METHOD
    """In which calls a key that `idempotency_header` looks at counts as used."""
    confirmation: Confirmation = Confirmation.MANUAL
    confirm_minutes: float = 240.0
    """Time to confirm; documented."""
    confirm_timeout: TimeoutWord = TimeoutWord.CANCELLED
    second_start: Permission = Permission.REFUSE
    """Whether a start in a session under way adds an item; unknown, a switch.

    That a session may hold several payouts is documented. One confirm confirms them all.
    """
    second_confirm: Reaction = Reaction.REFUSE
    """What a confirm meets after the first; unknown, a switch. It never acts twice."""
    cancel_created: Permission = Permission.ALLOW
    """Whether a session that was never started can be cancelled; contradictory, a switch."""
    late_cancel: Reaction = Reaction.REFUSE
    """What a cancel meets when the operation can't be stopped any more; unknown, a switch."""
    late_start_revives: bool = False
    """Whether a start in a cancelled session brings it back; unknown, a switch."""
    late_confirm_revives: bool = False
    """Whether a confirm in a cancelled session executes it after all; unknown, a switch."""
    capture: Capture = Capture.IMMEDIATE
    hold_days: float = 5.0
    """Time to capture; documented as 5 days, by one page as 3 days and 23 hours."""
    hold_is_named: bool = True
    """Whether a session whose money is held has the ``next_action`` capture; a switch.

    The page of the objects has the word, and the example of ``ready_to_capture`` lacks it.
    """
    challenge_first: bool = False
    """Whether 3-D Secure comes before ``ready_to_confirm``, as documented of the widget, and not
    after the confirm, as documented of payments without it. An automatic confirmation has it
    after itself anyway."""
    partial_captures: bool = True
    """Whether ``session/capture`` takes ``amount_details``; third-party code, a switch."""
    partial_refunds: bool = True
    """Whether a part can be refunded; documented as enabled on demand."""
    declined_session: DeclinedSession = DeclinedSession.CANCELLED
    finished_after_cancel: bool = True
    """Whether ``payment_finished`` tells of what was cancelled or timed out; unknown, a switch."""
    webhook_version: int = 1
    """Which version's names webhooks use, 1 or 2; unknown, a switch."""
    processing_seconds: float = 0.0
    """How long each step of an operation takes; with 0 the next call sees it done."""
    latency_seconds: float = 0.0
    """How much later every answer comes, faults included; what is ordered is done at once."""
    resolve_seconds: float = 5.0
    """How long a session stays ``error`` before it turns out well or badly."""
    chargeback_seconds: float = 5.0
    """How long after its success a payment that is charged back is."""
    status_lag_seconds: float = 0.0
    """How old what ``session/status`` shows may be; unknown, a switch."""
    wallets: Mapping[str, int] = field(default=_NO_WALLETS, converter=_wallets, hash=False)
    """Opening balances in minor units, by currency."""
    opening_balance: int = 1_000_000_00
    """Opening balance of each currency that isn't in `wallets`."""

    def __attrs_post_init__(self) -> None:
        for name in _NOT_NEGATIVE:
            if not getattr(self, name) >= 0:  # NaN too
                raise InvalidRequest(name, "must not be negative")
        if any(amount < 0 for amount in self.wallets.values()):
            raise InvalidRequest("wallets", "balances must not be negative")
        if self.webhook_version not in _VERSIONS:
            raise InvalidRequest("webhook_version", "must be 1 or 2")


_NOT_NEGATIVE: Final = (
    *("confirm_minutes", "hold_days", "processing_seconds", "latency_seconds"),
    *("resolve_seconds", "chargeback_seconds", "status_lag_seconds", "opening_balance"),
)
