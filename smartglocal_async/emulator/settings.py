"""Rules: how the emulated provider behaves where the documents say nothing."""

import enum
import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from attrs import field, frozen

from ..errors import InvalidRequest
from ..idempotency import DEFAULT_KEY_FIELD
from ..models.events import ACTION, ACTION_TPAY, CONFIRM, CONFIRM_SBERPAY, HOLD, RESERVED
from ..models.money import EXPONENTS

_NO_WALLETS: Final[Mapping[str, int]] = MappingProxyType({})
_VERSIONS: Final = (1, 2)
_HTTP_METHODS: Final = ("POST", "GET")
_HTTP_STATUSES: Final = range(200, 600)
# About 30 years: a time that is further away than the calendar can't be scheduled.
_MAX: Final = MappingProxyType({"seconds": 1e9, "minutes": 1e7, "days": 1e4})
_MAX_NUMBER: Final = 2**53


class Duplicates(enum.Enum):
    """How a second ``session/create`` with one key is answered; unknown.

    A key that only ``session/init/...`` used doesn't count as used here.
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
    """A start is processed at once, and no ``ready_to_confirm`` is sent."""


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
    """How a call is answered that shouldn't have been sent."""

    REFUSE = "refuse"
    """An error envelope."""
    IGNORE = "ignore"
    """The call is answered as if it were right."""


class KeyScope(enum.Enum):
    """Where a key in ``X-PARTNER-IDEMPOTENCY-KEY`` counts as used; unknown."""

    METHOD = "method"
    """In the method it was used with."""
    PROJECT = "project"
    """In all calls that move money."""


class DeclinedSession(enum.Enum):
    """Session status beside a declined payout or payment; unknown."""

    CANCELLED = "cancelled"
    ACCEPTED = "accepted"
    ERROR = "error"


class TimeoutWord(enum.Enum):
    """Status of what ended by time; the pages contradict each other."""

    CANCELLED = "cancelled"
    """As the page of the objects spells the status of a session."""
    CANCELED = "canceled"
    """As the pages of ``ready_to_confirm``, ``action_required`` and SberPay spell it."""


class Rounding(enum.Enum):
    """How an amount that isn't whole is rounded."""

    NEAREST = "nearest"
    """Half a unit is rounded up."""
    UP = "up"


class TPayTimeout(enum.Enum):
    """How a T-Pay payment ends whose payer didn't act: "with an error", says its page; a switch."""

    CANCELLED = "cancelled"
    """As a failed payment by FPS ends: the session cancelled, the payment failed."""
    ERROR = "error"
    """With the session in ``error``, which isn't final."""


class ShownAmounts(enum.Enum):
    """Which ``amounts`` an item shows; the pages' examples differ."""

    NONE = "none"
    EMPTY = "empty"
    """An empty object."""
    GROSS = "gross"
    """The gross amount, without net and fee."""
    ALL = "all"


class ReturnedPayout(enum.Enum):
    """Status of a payout that the recipient's bank returned; unknown, a switch."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


def _wallets(balances: Mapping[str, int]) -> Mapping[str, int]:
    return MappingProxyType({code.lower(): amount for code, amount in balances.items()})


def _limits(limits: Mapping[str, Iterable[int]]) -> Mapping[str, tuple[int, ...]]:
    return MappingProxyType({code.lower(): tuple(pair) for code, pair in limits.items()})


@frozen(kw_only=True)
class Rules:
    """How the emulated provider behaves: what is documented, and what isn't ("unknown").

    Raises:
        InvalidRequest: a number is out of its range; names the field.

    """

    duplicates: Duplicates = Duplicates.REPLAY
    metadata_is_key: bool = False
    """Whether metadata that is a string or a whole number counts as a key; unknown."""
    error_http_status: int = 400
    """HTTP status of error envelopes; unknown. 200 is as possible as 400."""
    text_amounts: Permission = Permission.REFUSE
    """Whether an amount may be a string of digits, as one example of the page of Russian cards has
    it; all tables say that it is a whole number."""
    content_type: Reaction = Reaction.IGNORE
    """How a request is answered whose ``Content-Type`` isn't ``application/json``, which the page
    of the format lists as mandatory."""
    payout_fields: Reaction = Reaction.REFUSE
    """How a payout is answered that lacks a field which the page of its instrument and country
    marks as mandatory, has no valid IBAN, or another currency than that page allows. Versions of
    some pages differ in these fields: a switch."""
    http_methods: Mapping[str, str] = field(default=MappingProxyType({}), hash=False)
    """Calls by path, each with its HTTP method, where that isn't the usual one.

    The example of ``sberpay/push`` shows a GET, and another page says that all requests are POST.
    """
    usd_for_rub: float = 0.0125
    """The rate that ``exchange_rate`` shows; the emulator's own."""
    key_field: str = DEFAULT_KEY_FIELD
    """The key is ``metadata[key_field]``, else the header ``X-PARTNER-IDEMPOTENCY-KEY``.

    Both are unknown: the documents ask for a key and don't say where it goes.
    """
    idempotency_header: Reaction = Reaction.IGNORE
    """How a call that moves money is answered if its ``X-PARTNER-IDEMPOTENCY-KEY`` was used.

    Third-party code expects ``idempotency_key_already_exists``. Whether a refused call uses its key
    up is unknown; here it doesn't. ``session/create`` has `duplicates`.
    """
    key_scope: KeyScope = KeyScope.METHOD
    """In which calls a used key counts as used, for `idempotency_header`."""
    confirmation: Confirmation = Confirmation.MANUAL
    confirm_minutes: float = CONFIRM.minutes
    """Time to confirm; documented."""
    confirm_timeout: TimeoutWord = TimeoutWord.CANCELED
    """Status of an operation that was not confirmed in time; documented as ``canceled``."""
    session_timeout: TimeoutWord = TimeoutWord.CANCELED
    """Status of a session that ended by time; the page of SberPay spells it ``canceled``, that of
    the objects ``cancelled``: they contradict each other."""
    action_minutes: float = ACTION.minutes
    """Time for the payer to act; documented."""
    action_timeout: TimeoutWord = TimeoutWord.CANCELED
    """Status of a payment whose payer didn't act in time; documented as ``canceled``."""
    sberpay_minutes: float = CONFIRM_SBERPAY.minutes
    """Time to confirm a SberPay payment, and then, anew, for its payer; each is documented."""
    sberpay_web_redirects: bool = False
    """Whether ``action_required`` is sent for SberPay in a desktop browser (``web``); the sister
    platform sends none, a switch."""
    tpay_minutes: float = ACTION_TPAY.minutes
    """Time for the payer of a T-Pay payment; documented."""
    tpay_timeout: TPayTimeout = TPayTimeout.CANCELLED
    amounts: ShownAmounts = ShownAmounts.NONE
    empty_as_lists: bool = False
    """Whether answers and webhooks write an empty object as ``[]``, as PHP does; a switch."""
    card_ids: bool = False
    """Whether answers show the ``card_id`` of a card; documented as a setting of the project."""
    converts_to: str | None = None
    """The other currency in which payers pay by the widget; documented as a setting of the project.

    A session that is created with an amount in any other currency has ``exchange_amounts`` then.
    """
    conversion_rate: float = 1.080001
    """Units of `converts_to` for one of the session's currency; the emulator's own."""
    conversion_rounding: Rounding = Rounding.NEAREST
    """How the converted amount is rounded to minor units; the page's example allows both."""
    reserved_seconds: float = RESERVED.minutes * 60
    """How long that rate holds; 30 seconds in the documented example."""
    return_seconds: float = 5.0
    """Time from the success of a payout to its return, if the recipient's bank returns it."""
    return_webhook: bool = True
    """Whether ``payment_refunded`` is sent for a returned payout; an older page says that nothing
    is, a switch."""
    returned_payout: ReturnedPayout = ReturnedPayout.SUCCEEDED
    older_report: bool = False
    """Whether the daily reports have the columns of the pages' older versions."""
    bare_ids: bool = False
    """Whether the reports have the number of an id alone, as the examples of the older pages do."""
    whole_identities: bool = False
    """Whether the payouts report shows the number of a card or an account whole, with spaces, as
    the example of the newer page does, and not masked as that of the older one."""
    merchant_fee: int = 0
    """The fee of each operation in minor units, as the reports and `amounts` show it; the
    emulator's own. It isn't taken from the wallets."""
    chargeback_rows: bool = False
    """Whether the newer payments report calls a chargeback ``Chargeback`` and not ``Refund``: a
    switch, as the page has the word in an explanation only. The older report always does."""
    returns_have_ids: bool = False
    """Whether the reports have a refund's id for what was returned, and not the id of the payout
    or payment; unknown."""
    negative_returns: bool = False
    """Whether the reports show the amount of what was returned as negative; unknown."""
    recurrent_rows: bool = False
    """Whether the payments report calls a payment by a token ``Recurrent`` and not ``Advice``; the
    page lists both words, and its explanation is not known."""
    compensation_rows: bool = False
    """Whether the payments report ends with a ``Compensation`` row for each day and currency: what
    is transferred to the merchant. Documented as a type of row, without an example."""
    second_start: Permission = Permission.REFUSE
    """Whether a start in a session under way adds an item; unknown.

    That a session may hold several payouts is documented. One confirm confirms them all.
    """
    second_confirm: Reaction = Reaction.REFUSE
    """How a second confirm is answered; unknown. It never acts twice."""
    cancel_created: Permission = Permission.ALLOW
    """Whether a session that was never started can be cancelled; documented both ways."""
    late_cancel: Reaction = Reaction.REFUSE
    """How a cancel is answered when the operation can't be stopped; unknown."""
    late_start_revives: bool = False
    """Whether a start in a cancelled session reopens it; unknown."""
    late_confirm_revives: bool = False
    """Whether a confirm in a cancelled session executes it after all; unknown."""
    capture: Capture = Capture.IMMEDIATE
    hold_days: float = HOLD.minutes / (24 * 60)
    """Time to capture; documented as 5 days, by one page as 3 days and 23 hours."""
    hold_is_named: bool = True
    """Whether a session whose money is held has the ``next_action`` capture; unknown.

    The page of objects lists it, and the example of ``ready_to_capture`` doesn't have it.
    """
    challenge_first: bool = False
    """Whether 3-D Secure comes before ``ready_to_confirm``, as documented for the widget, and not
    after the confirm, as documented for payments without it. With an automatic confirmation it
    always comes after."""
    partial_captures: bool = True
    """Whether ``session/capture`` takes ``amount_details``; third-party code sends it."""
    partial_refunds: bool = True
    """Whether a part can be refunded; documented as enabled on demand."""
    amount_limits: Mapping[str, tuple[int, ...]] = field(
        default=MappingProxyType({}), converter=_limits, hash=False
    )
    """The least and the largest amount of an operation in minor units, by currency: any other is
    declined with the sister platform's codes. One version of the page has such limits for payments,
    another has none."""
    refunds_from_next_day: bool = False
    """Whether a payment can be refunded only from the next day (UTC); documented for payments from
    some countries, which the page doesn't name, so that it is a switch."""
    declined_session: DeclinedSession = DeclinedSession.CANCELLED
    finished_after_cancel: bool = True
    """Whether ``payment_finished`` follows a cancel or a timeout, too; unknown."""
    webhook_version: int = 1
    """Which version's names webhooks use, 1 or 2; unknown."""
    processing_seconds: float = 0.0
    """Duration of each step of an operation; with 0 the next call sees it done."""
    latency_seconds: float = 0.0
    """Delay of every response, faults included; the call is carried out at once."""
    resolve_seconds: float = 5.0
    """How long a session stays ``error`` before it succeeds or fails."""
    chargeback_seconds: float = 5.0
    """Time from the success of a payment to its chargeback, if it has one."""
    status_lag_seconds: float = 0.0
    """Age of the session that ``session/status`` shows; unknown."""
    id_mark: str = ""
    """Prefix of the number in each id, as in ``ps_9c41f0_1``; ends with ``_``.

    A client that keeps the ids of an earlier start would mistake equal ids for sessions that it
    knows. ``smartglocal emulator`` uses a new prefix at each start, unless it has a ``--seed``.
    """
    wallets: Mapping[str, int] = field(default=_NO_WALLETS, converter=_wallets, hash=False)
    """Opening balances in minor units, by currency."""
    opening_balance: int = 1_000_000_00
    """Opening balance of each currency that isn't in `wallets`."""

    def __attrs_post_init__(self) -> None:
        for name, problem in self._problems():
            raise InvalidRequest(name, problem)

    def _problems(self) -> Iterator[tuple[str, str]]:
        yield from self._wrong_numbers()
        yield from self._wrong_currencies()
        for path, method in self.http_methods.items():
            if method not in _HTTP_METHODS:
                yield f"http_methods.{path}", "must be POST or GET"
        if not self.key_field:
            yield "key_field", "must not be empty"
        if _ID_MARK.fullmatch(self.id_mark) is None:
            yield "id_mark", "must be up to 32 letters and digits, then '_'"

    def _wrong_numbers(self) -> Iterator[tuple[str, str]]:
        for name in _NOT_NEGATIVE:
            number = getattr(self, name)
            if not number >= 0:  # NaN too
                yield name, "must not be negative"
            elif number > _MAX.get(name.rpartition("_")[2], _MAX_NUMBER):
                yield name, "is too large"
        if self.conversion_rate == 0:
            yield "conversion_rate", "must be greater than zero"
        if self.error_http_status not in _HTTP_STATUSES:
            yield "error_http_status", "must be from 200 to 599"
        if self.webhook_version not in _VERSIONS:
            yield "webhook_version", "must be 1 or 2"

    def _wrong_currencies(self) -> Iterator[tuple[str, str]]:
        for code, amount in self.wallets.items():
            if code not in EXPONENTS:
                yield "wallets", f"{code} is no ISO 4217 code"
            if not 0 <= amount <= _MAX_NUMBER:
                yield "wallets", f"{code}: must be from 0 to {_MAX_NUMBER} minor units"
        for code, limits in self.amount_limits.items():
            if code not in EXPONENTS:
                yield "amount_limits", f"{code} is no ISO 4217 code"
            if len(limits) != 2 or not 0 <= limits[0] <= limits[1]:  # noqa: PLR2004 - a pair
                yield f"amount_limits.{code}", "must be the least and the largest amount"
        if self.converts_to is not None and self.converts_to.lower() not in EXPONENTS:
            yield "converts_to", "is no ISO 4217 code"


_ID_MARK: Final = re.compile(r"([A-Za-z0-9]{1,32}_)?")
_NOT_NEGATIVE: Final = (
    *("confirm_minutes", "hold_days", "processing_seconds", "latency_seconds"),
    *("resolve_seconds", "chargeback_seconds", "status_lag_seconds", "opening_balance"),
    *("action_minutes", "sberpay_minutes", "tpay_minutes", "reserved_seconds", "return_seconds"),
    *("conversion_rate", "usd_for_rub", "merchant_fee"),
)
