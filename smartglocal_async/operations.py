"""The table of the API's calls: path, request, answer, versions, and what a repeat would do."""

import enum
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, Literal, TypeVar, cast, get_args, get_origin

from attrs import Factory, field, frozen

from . import recovery
from ._lazy import public_name
from .codec import ApiVersion
from .errors import InvalidRequest
from .idempotency import Mark
from .models.answers import Bank, ExchangeRate, PushRequested, Session, Wallet
from .models.requests import (
    CapturePayment,
    CreateSession,
    GetExchangeRate,
    InitPayment,
    InitPayout,
    PushSberPay,
    RefundPayment,
    SessionRef,
    StartPayment,
    StartPayout,
    VerifyCustomer,
)
from .models.tokens import (
    DisableRecurrent,
    GetBalance,
    GetTokenInfo,
    IssueToken,
    ListBanks,
    PublicToken,
    RecurrentToken,
    TokenInfo,
)
from .models.validators import check_json, discreet
from .recovery import Effect

Request = TypeVar("Request")
Answer = TypeVar("Answer")


HttpMethod = Literal["POST", "GET"]


class Repeat(enum.Enum):
    """What sending the same call a second time would do at the provider."""

    HARMLESS = "harmless"
    """Nothing, or create an unused object that moves no money."""
    MOVES_MONEY = "moves money"
    """Money might move a second time, or too early."""


def _answers_list(operation: "Operation[Any, Any]") -> bool:
    return get_origin(operation.answer) is tuple


@frozen
class Operation(Generic[Request, Answer]):
    """A call of the API: one row of the table."""

    path: str
    request: type[Request]
    answer: type[Answer]
    answer_field: str | None
    """The field of the envelope that has the answer; None: the envelope itself."""
    repeat: Repeat
    has_metadata: bool = False
    """Whether the request has metadata, in which the idempotency key is sent."""
    is_read: bool = False
    """Whether it changes nothing, so that only the last attempt counts."""
    effect: Callable[[Session, Any, Mark | None], Effect] | None = None
    """Returns whether the call took effect, from its session as ``session/status`` shows it; None
    if the call is about no session, or needs no check."""
    versions: tuple[ApiVersion, ...] = ("v1", "v2")
    method: HttpMethod = "POST"
    success_field: str | None = field(default=None, kw_only=True)
    """The member by which a good answer is known that has no ``status``; None: it has one."""
    is_bodiless: bool = field(default=False, kw_only=True)
    """Whether no page shows its body, so that `Settings.bodiless` is sent."""
    only_ends: bool = field(default=False, kw_only=True)
    """Whether it can only end what is in progress, and never pays."""
    page: str = field(default="", kw_only=True)
    """The provider's page, below ``developer.smart-glocal.com/docs/``."""
    answers_list: bool = field(
        init=False, eq=False, repr=False, default=Factory(_answers_list, takes_self=True)
    )
    """Whether the answer is a list of records."""


_BOTH: Final[tuple[ApiVersion, ...]] = ("v1", "v2")
_ONLY_V1: Final[tuple[ApiVersion, ...]] = ("v1",)
_METHODS: Final = "reference/methods/"
_DOCS: Final = "https://developer.smart-glocal.com/docs/"
_PATH: Final = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*", re.IGNORECASE)

SESSION_CREATE: Final = Operation(
    "session/create",
    CreateSession,
    Session,
    "session",
    Repeat.HARMLESS,
    has_metadata=True,
    page=f"{_METHODS}session-create",
)
SESSION_STATUS: Final = Operation(
    "session/status",
    SessionRef,
    Session,
    "session",
    Repeat.HARMLESS,
    is_read=True,
    page=f"{_METHODS}session-status",
)
SESSION_START_PAYOUT: Final = Operation(
    "session/start/payout",
    StartPayout,
    Session,
    "session",
    Repeat.MOVES_MONEY,
    has_metadata=True,
    effect=recovery.of_start_payout,
    page=f"{_METHODS}session-start-payout",
)
SESSION_START_PAYMENT: Final = Operation(
    "session/start/payment",
    StartPayment,
    Session,
    "session",
    Repeat.MOVES_MONEY,
    has_metadata=True,
    effect=recovery.of_start_payment,
    page=f"{_METHODS}session-start-payment",
)
SESSION_INIT_PAYOUT: Final = Operation(
    "session/init/payout",
    InitPayout,
    Session,
    "session",
    Repeat.MOVES_MONEY,
    has_metadata=True,
    page=f"{_METHODS}session-init-payout",
)
SESSION_INIT_PAYMENT: Final = Operation(
    "session/init/payment",
    InitPayment,
    Session,
    "session",
    Repeat.MOVES_MONEY,
    has_metadata=True,
    page=f"{_METHODS}session-init-payment",
)
SESSION_CONFIRM: Final = Operation(
    "session/confirm",
    SessionRef,
    Session,
    "session",
    Repeat.MOVES_MONEY,
    effect=recovery.of_confirm,
    page=f"{_METHODS}session-confirm",
)
SESSION_CANCEL: Final = Operation(
    "session/cancel",
    SessionRef,
    Session,
    "session",
    Repeat.MOVES_MONEY,
    effect=recovery.of_cancel,
    only_ends=True,
    page=f"{_METHODS}session-cancel",
)
SESSION_CAPTURE: Final = Operation(
    "session/capture",
    CapturePayment,
    Session,
    "session",
    Repeat.MOVES_MONEY,
    effect=recovery.of_capture,
    page=f"{_METHODS}session-capture",
)
SESSION_REFUND: Final = Operation(
    "session/refund",
    RefundPayment,
    Session,
    "session",
    Repeat.MOVES_MONEY,
    has_metadata=True,
    effect=recovery.of_refund,
    page=f"{_METHODS}session-refund",
)
WALLET_BALANCE: Final = Operation(
    "wallet/balance",
    GetBalance,
    tuple[Wallet, ...],
    "wallets",
    Repeat.HARMLESS,
    is_read=True,
    versions=_ONLY_V1,
    page=f"{_METHODS}wallet-balance",
)
TOKEN: Final = Operation(
    "token",
    IssueToken,
    PublicToken,
    None,
    Repeat.HARMLESS,
    versions=_ONLY_V1,
    page=f"{_METHODS}token-method",
)
TOKEN_INFO: Final = Operation(
    "token/info",
    GetTokenInfo,
    TokenInfo,
    "info",
    Repeat.HARMLESS,
    is_read=True,
    versions=_ONLY_V1,
    page=f"{_METHODS}token-info",
)
RECURRENT_DISABLE: Final = Operation(
    "recurrent/disable",
    DisableRecurrent,
    RecurrentToken,
    "recurrent",
    Repeat.HARMLESS,
    versions=_ONLY_V1,
    page=f"{_METHODS}recurrent-disable",
)
FPS_VERIFY_CUSTOMER: Final = Operation(
    "fps/customer_verification",
    VerifyCustomer,
    Session,
    "session",
    Repeat.HARMLESS,
    page=f"{_METHODS}fps-verification",
)
FPS_BANKS: Final = Operation(
    "fps/banks",
    ListBanks,
    tuple[Bank, ...],
    "banks",
    Repeat.HARMLESS,
    is_read=True,
    versions=_ONLY_V1,
    method="GET",
    is_bodiless=True,
    page="payouts/payout-fps",
)
SBERPAY_PUSH: Final = Operation(
    "sberpay/push",
    PushSberPay,
    PushRequested,
    None,
    Repeat.HARMLESS,
    versions=_ONLY_V1,
    page=f"{_METHODS}sberpay-push",
)
EXCHANGE_RATE: Final = Operation(
    "exchange_rate",
    GetExchangeRate,
    ExchangeRate,
    "rate",
    Repeat.HARMLESS,
    is_read=True,
    versions=_ONLY_V1,
    method="GET",
    success_field="rate",
    page="payouts/payout-steam",
)

OPERATIONS: Final[tuple[Operation[Any, Any], ...]] = (
    SESSION_CREATE,
    SESSION_START_PAYOUT,
    SESSION_START_PAYMENT,
    SESSION_INIT_PAYOUT,
    SESSION_INIT_PAYMENT,
    SESSION_CONFIRM,
    SESSION_CANCEL,
    SESSION_CAPTURE,
    SESSION_REFUND,
    SESSION_STATUS,
    WALLET_BALANCE,
    TOKEN,
    TOKEN_INFO,
    RECURRENT_DISABLE,
    FPS_VERIFY_CUSTOMER,
    FPS_BANKS,
    SBERPAY_PUSH,
    EXCHANGE_RATE,
)
"""Every call that the provider's pages document."""


@discreet
@frozen
class FreeRequest:
    """The body of a call that has no record; never shown, as it may hold anything."""

    _body: Mapping[str, Any] = field(repr=False)

    def __attrs_post_init__(self) -> None:
        body = cast("object", self._body)
        if not isinstance(body, Mapping):
            kind = type(body).__name__
            raise InvalidRequest("body", f"expected an object of names and values, got {kind}")
        check_json(dict(cast("Mapping[object, object]", body)), "request")

    @property
    def session_id(self) -> str | None:
        """The session id in the body, if any; the answer must be about that session."""
        named = self._body.get("session_id")
        return named if isinstance(named, str) else None

    def wire(self) -> dict[str, Any]:
        """Return the body."""
        return dict(self._body)


def free_operation(  # noqa: PLR0913 - what a row of the table has
    path: str,
    answer: type[Answer] | None,
    answer_field: str | None,
    repeat: Repeat,
    *,
    version: ApiVersion | None = None,
    method: HttpMethod = "POST",
    success_field: str | None = None,
) -> Operation[FreeRequest, Any]:
    """Return the operation of a call that isn't in the table; its request is a JSON object.

    Raises:
        InvalidRequest: the path isn't valid below ``api/v1/``, the API has no such version or
            method, or ``success_field`` isn't a name.

    """
    if not _PATH.fullmatch(path):
        raise InvalidRequest("path", "expected what follows api/v1/, such as 'session/chargeback'")
    if version is not None and version not in get_args(ApiVersion):
        raise InvalidRequest("version", f"must be 'v1' or 'v2', got {version!r}")
    if method not in get_args(HttpMethod):
        raise InvalidRequest("method", f"must be 'POST' or 'GET', got {method!r}")
    if success_field is not None and not (isinstance(success_field, str) and success_field):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidRequest("success_field", "expected the name of a member of the answer")
    wanted: Any = Mapping[str, Any] if answer is None else answer
    return Operation(
        path,
        FreeRequest,
        wanted,
        None if answer is None else answer_field,
        repeat,
        versions=_BOTH if version is None else (version,),
        method=method,
        success_field=success_field,
    )


_METHODS_NAMED_OTHERWISE: Final = {
    TOKEN.path: "token.issue",
    EXCHANGE_RATE.path: "exchange_rate.get",
    FPS_VERIFY_CUSTOMER.path: "fps.verify_customer",
}


def python_method(operation: Operation[Any, Any]) -> str:
    """Return the method of a client that makes a call, such as ``session.start_payout``."""
    group, _, rest = operation.path.partition("/")
    return _METHODS_NAMED_OTHERWISE.get(operation.path, f"{group}.{rest.replace('/', '_')}")


def operations_table() -> str:
    """Return the calls as a table in Markdown."""
    head = (
        "Call", "Method", "Request", "Answer", "API", "A repeat", "After a lost answer", "Page"
    )  # fmt: skip
    lines = (head, ("---",) * len(head), *map(_cells, OPERATIONS))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(operation: Operation[Any, Any]) -> tuple[str, ...]:
    verb = "" if operation.method == "POST" else f"{operation.method} "
    kind: Any = operation.answer
    answer = f"{public_name(get_args(kind)[0])}, ..." if get_args(kind) else public_name(kind)
    return (
        f"`{verb}{operation.path}`",
        f"`api.{python_method(operation)}`",
        f"`{public_name(operation.request)}`",
        f"`{answer}`",
        ", ".join(operation.versions),
        operation.repeat.value,
        _after_a_lost_answer(operation),
        f"[{operation.page.rpartition('/')[2]}]({_DOCS}{operation.page})",
    )


def _after_a_lost_answer(operation: Operation[Any, Any]) -> str:
    if operation.repeat is Repeat.HARMLESS:
        return "sent again: it only reads" if operation.is_read else "sent again"
    return "unknown" if operation.effect is None else "`session/status` is asked"
