"""The events that an observer receives: frozen records of what happened, one class for each.

None holds a request, an answer or a header. Still, a key is the caller's own text: `facts` returns
the fields that a log, a trace or a metric may show, and masks what may be personal data.

Calls, payouts and deliveries have numbers, which are unique in the process: events with one number
belong together. Numbers and `contextvars` connect them: an event is delivered in the task that does
the work, so that an observer may set a context variable at the first event of a call, a payout or
a webhook, and reset it at the last one.
"""

import enum
import itertools
import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import ClassVar, Final

from attrs import fields_dict, frozen

from ..envelope import AttemptResult
from ..error_codes import KNOWN_CODES
from ..errors import MASK
from ..models.validators import without_card_numbers

current_payout: Final[ContextVar[int | None]] = ContextVar("current_payout", default=None)
"""The number of the payout that the current task works on."""

next_number: Final = itertools.count(1).__next__
"""Return a number for a call, a payout or a delivery."""


@frozen(kw_only=True)
class ObserverEvent:
    """Something that happened; ``name`` is the same in logs and traces."""

    name: ClassVar[str]


# --- Calls ---------------------------------------------------------------------------------------


@frozen(kw_only=True)
class CallStarted(ObserverEvent):
    """A call began: its request is built, and nothing is sent yet."""

    name: ClassVar[str] = "call.started"

    call: int
    """Number of the call."""
    operation: str
    """Path of the call, such as ``session/create``."""
    key: str | None
    session_id: str | None
    moves_money: bool
    for_call: int | None = None
    """Number of the call whose lost answer this one asks for."""
    payout: int | None = None
    """Number of the work on a payout that makes the call, see `PayoutStarted`."""


@frozen(kw_only=True)
class CallEnded(ObserverEvent):
    """A call ended, with a result, an error, or by cancellation."""

    name: ClassVar[str] = "call.ended"

    call: int
    operation: str
    key: str | None
    session_id: str | None
    """The session of the request or of the answer, if there is one."""
    outcome: str
    """``succeeded``, ``not_sent``, ``refused``, ``unknown``, as `CallOutcome` has them; or
    ``cancelled``, or ``error`` for any other exception."""
    attempts: int
    elapsed_seconds: float
    moves_money: bool
    budget_tokens: int
    """Tokens that are left for retries of this client."""
    code: str | None = None
    """The provider's code, if it refused the call."""
    http_status: int | None = None
    stopped_by: str | None = None
    """Why there was no further attempt, as in `CallFailed`: ``budget`` if that was exhausted."""
    cause: str | None = None
    error: str | None = None
    """Name of the class of the exception."""


@frozen(kw_only=True)
class AttemptStarted(ObserverEvent):
    """An attempt has its slot in the pool, and is about to be signed and sent."""

    name: ClassVar[str] = "attempt.started"

    call: int
    operation: str
    attempt: int
    """1 for the first of a call."""
    method: str
    url: str


@frozen(kw_only=True)
class AttemptEnded(ObserverEvent):
    """An attempt ended. Without `AttemptStarted`, it got no slot, so nothing was sent."""

    name: ClassVar[str] = "attempt.ended"

    call: int
    operation: str
    key: str | None
    attempt: int
    """1 for the first of a call."""
    happened: AttemptResult | None
    """None if the attempt was cancelled, or its deadline ended, while it was in flight."""
    cause: str | None
    """What failed below HTTP, in words."""
    code: str | None
    http_status: int | None
    elapsed_seconds: float
    """With the wait for a slot in the pool."""


@frozen(kw_only=True)
class RetryScheduled(ObserverEvent):
    """A call waits before its next attempt, for the reason that the last one had."""

    name: ClassVar[str] = "retry.scheduled"

    call: int
    operation: str
    key: str | None
    attempt: int
    """The attempt that failed."""
    seconds: float
    """How long the call waits."""
    happened: AttemptResult
    cause: str | None
    code: str | None
    http_status: int | None


@frozen(kw_only=True)
class ClientPaused(ObserverEvent):
    """The provider asked for a pause (HTTP 429), and all calls of the client wait."""

    name: ClassVar[str] = "client.paused"

    call: int
    operation: str
    seconds: float


@frozen(kw_only=True)
class CallHeld(ObserverEvent):
    """A call waited until a pause of the client was over, or gave up."""

    name: ClassVar[str] = "call.held"

    call: int
    operation: str
    seconds: float
    """How long it waited."""
    gave_up: bool
    """Whether the pause outlasts the deadline of the call, which ended therefore."""


@frozen(kw_only=True)
class PoolWaited(ObserverEvent):
    """An attempt found all slots of the pool taken and waited for one."""

    name: ClassVar[str] = "pool.waited"

    call: int
    operation: str
    seconds: float
    gave_up: bool
    """Whether none came free before the deadline."""


@frozen(kw_only=True)
class RequestSigned(ObserverEvent):
    """The request of a call was signed, which happens once for all of its attempts."""

    name: ClassVar[str] = "request.signed"

    call: int
    operation: str
    seconds: float
    """With the wait for a thread."""


@frozen(kw_only=True)
class KeyShared(ObserverEvent):
    """A call joined another one with the same key, which is in progress, and sends nothing."""

    name: ClassVar[str] = "key.shared"

    call: int
    operation: str
    key: str | None
    with_call: int
    """Number of the call in progress."""


@frozen(kw_only=True)
class ListenerFailed(ObserverEvent):
    """A journal that is shared by processes wasn't informed of a pause of the client."""

    name: ClassVar[str] = "listener.failed"

    error: str
    """Name of the class of the exception."""


# --- Payouts -------------------------------------------------------------------------------------


@frozen(kw_only=True)
class PayoutStarted(ObserverEvent):
    """A worker began to work on a payout, or went on with it."""

    name: ClassVar[str] = "payout.started"

    payout: int
    """Number of this piece of work; a payout that is resumed gets another one."""
    key: str
    batch: str | None


@frozen(kw_only=True)
class PayoutEnded(ObserverEvent):
    """A worker stopped to work on a payout: it is settled, or can't go on now."""

    name: ClassVar[str] = "payout.ended"

    payout: int
    key: str
    batch: str | None
    state: str
    """The `PayoutState`: ``succeeded``, ``failed``, ``cancelled``, ``unknown`` or ``open``."""
    elapsed_seconds: float
    session_id: str | None = None
    code: str | None = None
    replayed: bool = False
    """Whether it was settled before, and nothing was sent now."""
    error: str | None = None
    """Name of the class of the exception that ended the work, if one did."""


@frozen(kw_only=True)
class JournalWritten(ObserverEvent):
    """A step of a payout is durable in the journal, or couldn't be written."""

    name: ClassVar[str] = "journal.written"

    payout: int | None
    """Number of the work on the payout, see `PayoutStarted`."""
    key: str
    written: str | None
    """The journal's word for the event, such as ``start intended``; None: the payout was accepted
    and claimed only."""
    pending: str | None
    """The event that was written before it in the same commit, if one was."""
    before: str | None
    """Name of the `Step` before; None for a claim."""
    step: str | None
    """Name of the `Step` after it; None if it failed."""
    session_id: str | None
    seconds: float
    error: str | None = None
    """Name of the class of the exception; nothing was sent then."""


@frozen(kw_only=True)
class PayoutsHaltRaised(ObserverEvent):
    """This process halted all payouts of the journal; the journal has the reason."""

    name: ClassVar[str] = "payouts.halted"

    kind: str


class BatchPhase(enum.Enum):
    """Where a batch is."""

    STARTED = "started"
    RUNNING = "running"
    ENDED = "ended"
    STOPPED = "stopped"


@frozen(kw_only=True)
class BatchProgress(ObserverEvent):
    """A run over a batch began, has one more outcome, or ended."""

    name: ClassVar[str] = "batch.progress"

    batch: str | None
    phase: BatchPhase
    """``STOPPED``: it ended before all payouts of its source were begun."""
    settled: int
    """How many outcomes it has so far."""
    states: Mapping[str, int]
    """The same by `PayoutState`."""
    elapsed_seconds: float


# --- Webhooks ------------------------------------------------------------------------------------


@frozen(kw_only=True)
class WebhookReceived(ObserverEvent):
    """A delivery was answered."""

    name: ClassVar[str] = "webhook.received"

    type: str | None
    """Type of the event; None if the delivery was refused."""
    session_id: str | None
    state: str
    """The `ReceiptState`, such as ``accepted`` or ``repeated``; or ``refused``."""
    fault: str | None = None
    """Why it was refused."""
    detail: str | None = None
    """More about that."""


@frozen(kw_only=True)
class WebhookStarted(ObserverEvent):
    """The handlers of an event begin to run."""

    name: ClassVar[str] = "webhook.started"

    delivery: int
    """Number of the delivery."""
    type: str
    session_id: str | None


@frozen(kw_only=True)
class WebhookHandled(ObserverEvent):
    """The handlers of an event ended."""

    name: ClassVar[str] = "webhook.handled"

    delivery: int
    type: str
    session_id: str | None
    is_handled: bool
    """False if one of them failed."""
    elapsed_seconds: float


@frozen(kw_only=True)
class WebhookFailed(ObserverEvent):
    """A handler or the store raised, or handlers were cancelled at the end."""

    name: ClassVar[str] = "webhook.failed"

    where: str
    """``handler``, ``claim``, ``record`` (of the result) or ``drain``."""
    type: str | None = None
    session_id: str | None = None
    handler: str | None = None
    count: int | None = None
    """How many handlers were cancelled, in ``drain``."""
    error: BaseException | None = None


# --- What may be shown ---------------------------------------------------------------------------

_TEXTS: Final = frozenset({"key", "batch", "session_id"})
"""Fields whose text the caller may have chosen."""
_CODES: Final = frozenset({"code", "type"})
"""Words of the provider."""
_WORDS: Final = frozenset({"cause", "detail"})
"""Texts of this package, which may quote a word of an answer."""
_ALLOWED: Final = frozenset(
    {
        *("call", "for_call", "with_call", "payout", "delivery", "operation", "method", "url"),
        *("moves_money", "outcome", "attempts", "attempt", "elapsed_seconds", "budget_tokens"),
        *("http_status", "stopped_by", "replayed", "pending", "happened", "seconds"),
        *("gave_up", "step"),
        *("state", "written", "before", "kind", "phase", "settled", "fault", "where"),
        *("is_handled", "handler", "count"),
    }
)
"""Fields that are shown as they are. `facts` leaves out every other one, also a future one."""
_SHOWN_TEXT: Final = re.compile(r"[A-Za-z0-9._:/#-]{1,100}")
_IBAN: Final = re.compile(r"[A-Za-z]{2}[0-9]{2}[A-Za-z0-9]{11,40}")
"""An IBAN, and a few characters that a payout adds to its key."""
_SEPARATORS: Final = str.maketrans("", "", "._:/#-")
_MAX_DIGITS: Final = 9
"""A text of more digits and nothing else may be a phone number or an account."""
_SHOWN_CODE: Final = re.compile(r"(?!(?:.*[0-9]){5})[a-z][a-z0-9_]{0,63}")
"""A code as the documented ones are written: small letters, and no number of an account."""
_NUMBERS: Final = frozenset({"call", "for_call", "with_call", "payout", "delivery"})
"""Numbers that connect events; 0 if the call isn't observed."""

Fact = str | int | float | bool
"""A value in a log, a trace or a metric."""


def facts(event: ObserverEvent) -> dict[str, Fact]:
    """Return the fields of an event that may be shown, without those that are None.

    A key or a batch name that may be personal data is ``***``: one with other characters than
    ASCII letters, digits and ``._:/#-``, one of ten or more digits and nothing else, and one in the
    form of an IBAN. A code, or the type of a webhook, that isn't written as the documented ones are
    is ``***``, too. Digits that look like a card number are masked in every text. The number of a
    call is left out if nothing observes the call.
    """
    found: dict[str, Fact] = {}
    for name in fields_dict(type(event)):
        value = getattr(event, name)
        if value is None or (name in _NUMBERS and not value):
            continue
        if name in _TEXTS:
            found[name] = shown_text(value)
        elif name in _CODES:
            found[name] = shown_code(value) if value else ""
        elif name == "states":
            found.update((f"states.{state}", count) for state, count in value.items())
        elif name == "error":
            found["error"] = value if isinstance(value, str) else type(value).__name__
        elif name in _WORDS or name in _ALLOWED:
            plain = value.value if isinstance(value, enum.Enum) else value
            found[name] = (without_card_numbers(plain) or "") if isinstance(plain, str) else plain
    return found


def shown_text(text: str) -> str:
    """Return a text that the caller chose, or ``***`` if it may be personal data."""
    whole = text.translate(_SEPARATORS)
    is_number = whole.isdigit() and len(whole) > _MAX_DIGITS
    if is_number or _SHOWN_TEXT.fullmatch(text) is None or _IBAN.fullmatch(whole) is not None:
        return MASK
    return without_card_numbers(text) or MASK


def shown_code(code: str) -> str:
    """Return a code of the provider, or ``***`` if it has the form of something else."""
    if code in KNOWN_CODES or _SHOWN_CODE.fullmatch(code) is not None:
        return code
    return MASK
