"""The API's calls as rows: path, request, answer, versions, what a repeat would do."""

import enum
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, Literal, TypeVar, get_args

from attrs import field, frozen

from . import effects
from .codec import ApiVersion
from .effects import Effect
from .errors import InvalidRequest
from .idempotency import Mark
from .values.answers import Session
from .values.lookups import AskBalance, DescribeToken, DisableRecurrent, IssueToken, ListBanks
from .values.requests import (
    CapturePayment,
    CreateSession,
    InitPayment,
    InitPayout,
    RefundPayment,
    SessionRef,
    StartPayment,
    StartPayout,
    VerifyCustomer,
)
from .values.tokens import PublicToken, RecurrentToken, TokenInfo
from .values.wallets import Bank, Wallet

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Repeat(enum.Enum):
    """What sending the same call a second time would do at the provider."""

    HARMLESS = "harmless"
    """Nothing, or an orphan that moves no money."""
    MOVES_MONEY = "moves money"
    """Money might move a second time, or sooner than wanted."""


@frozen
class Operation(Generic[Request, Answer]):
    """One row of the API."""

    path: str
    request: type[Request]
    answer: type[Answer]
    answer_field: str | None
    """Where in the envelope the answer stands; None: it is the envelope."""
    repeat: Repeat
    has_metadata: bool = False
    """Whether the request carries metadata, and with it the idempotency key."""
    is_read: bool = False
    """Whether it changes nothing, so that only its last attempt counts."""
    effect: Callable[[Session, Any, Mark | None], Effect] | None = None
    """Reads whether the call took effect, from its session as ``session/status`` shows it; None
    where there is no session to ask about."""
    versions: tuple[ApiVersion, ...] = ("v1", "v2")
    method: Literal["POST", "GET"] = "POST"
    page: str = field(default="", kw_only=True)
    """The provider's page, below ``developer.smart-glocal.com/docs/``."""


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
    effect=effects.of_start_payout,
    page=f"{_METHODS}session-start-payout",
)
SESSION_START_PAYMENT: Final = Operation(
    "session/start/payment",
    StartPayment,
    Session,
    "session",
    Repeat.MOVES_MONEY,
    has_metadata=True,
    effect=effects.of_start_payment,
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
    effect=effects.of_confirm,
    page=f"{_METHODS}session-confirm",
)
SESSION_CANCEL: Final = Operation(
    "session/cancel",
    SessionRef,
    Session,
    "session",
    Repeat.MOVES_MONEY,
    effect=effects.of_cancel,
    page=f"{_METHODS}session-cancel",
)
SESSION_CAPTURE: Final = Operation(
    "session/capture",
    CapturePayment,
    Session,
    "session",
    Repeat.MOVES_MONEY,
    effect=effects.of_capture,
    page=f"{_METHODS}session-capture",
)
SESSION_REFUND: Final = Operation(
    "session/refund",
    RefundPayment,
    Session,
    "session",
    Repeat.MOVES_MONEY,
    has_metadata=True,
    effect=effects.of_refund,
    page=f"{_METHODS}session-refund",
)
WALLET_BALANCE: Final = Operation(
    "wallet/balance",
    AskBalance,
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
    DescribeToken,
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
    page="payouts/payout-fps",
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
)
"""Every call that the provider's pages document."""


@frozen
class FreeRequest:
    """The body of a call that has no record; shown nowhere, for nobody knows what is in it."""

    _body: Mapping[str, Any] = field(repr=False)

    def wire(self) -> dict[str, Any]:
        """Give the body as it is."""
        return dict(self._body)


def free_operation(
    path: str, answer: type[Answer] | None, answer_field: str | None, repeat: Repeat
) -> Operation[FreeRequest, Any]:
    """Give a row for a call that the table lacks; its request is a plain JSON object.

    Raises:
        InvalidRequest: a path that isn't one below ``api/v1/``.

    """
    if not _PATH.fullmatch(path):
        raise InvalidRequest("path", "expected what follows api/v1/, such as 'session/chargeback'")
    if answer is None:
        return Operation(path, FreeRequest, Mapping[str, Any], None, repeat)
    return Operation(path, FreeRequest, answer, answer_field, repeat)


_METHODS_NAMED_OTHERWISE: Final = {
    TOKEN.path: "token.issue",
    FPS_VERIFY_CUSTOMER.path: "fps.verify_customer",
}


def python_method(operation: Operation[Any, Any]) -> str:
    """Give the method of a client that makes a call: ``session.start_payout``."""
    group, _, rest = operation.path.partition("/")
    return _METHODS_NAMED_OTHERWISE.get(operation.path, f"{group}.{rest.replace('/', '_')}")


def operations_table() -> str:
    """Give the calls as a table in Markdown."""
    head = (
        "Call", "Method", "Request", "Answer", "API", "A repeat", "After a lost answer", "Page"
    )  # fmt: skip
    lines = (head, ("---",) * len(head), *map(_cells, OPERATIONS))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(operation: Operation[Any, Any]) -> tuple[str, ...]:
    verb = "" if operation.method == "POST" else f"{operation.method} "
    kind: Any = operation.answer
    answer = f"{get_args(kind)[0].__name__}, ..." if get_args(kind) else kind.__name__
    return (
        f"`{verb}{operation.path}`",
        f"`api.{python_method(operation)}`",
        f"`{operation.request.__name__}`",
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
