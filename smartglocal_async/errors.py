"""Every failure the package raises, split by what the caller may do next.

::

    SmartGlocalError
    ├── Misuse                 the program or its settings are wrong: mend them
    │   ├── InvalidRequest     a field of a request breaks a rule; nothing was sent
    │   ├── InvalidCredentials a key, a project or a setting can't be used
    │   ├── KeyReused          this idempotency key belongs to another request
    │   └── PoolClosed         the client or its pool was closed, or is draining
    ├── CallFailed             one call came to nothing, and says what surely happened
    │   ├── NotSent            no byte reached the provider: repeat freely
    │   ├── Refused            the provider said no, and why
    │   └── OutcomeUnknown     it may have been processed: ask, do not repeat blindly
    ├── StillOpen              a session was waited for, and isn't where it was to be
    ├── InProgress             somebody else is at this payout: wait, or look later
    ├── LostLease              somebody else took it over: write and send nothing more
    ├── JournalUnusable        the journal can't be written or read: nothing may be sent
    │   └── WrongSeal              a request in it was sealed with a key that isn't given
    ├── PayoutsHalted          a person has to look before anything more is paid
    │   ├── ConfirmationMismatch   money moved without our confirm
    │   ├── JournalForgot          the journal lacks what was surely written
    │   └── Quarantined            a restored journal waits for news of what it may lack
    ├── BatchStopped           a batch began no more, and why; what was out is settled
    └── WebhookRefused         what came is no webhook of the provider's, or is damaged
"""

import enum
from typing import ClassVar, Final

from attrs import frozen


class CallOutcome(enum.Enum):
    """What surely happened to one logical call."""

    NOT_SENT = "not_sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"


class CodeClass(enum.Enum):
    """What an ``error.code`` of the provider asks of the caller.

    The codes come from the sister platform's table; the classes are read off its column
    of advice (developer.131.ru, reference/errors) and are no promise by the provider.
    """

    PERMANENT = "permanent"
    """The same request will be refused again; mend it first."""
    TRANSIENT = "transient"
    """Repeat later; the outcome may be unknown."""
    NEW_OPERATION = "new_operation"
    """The payer has to start again, as a new operation."""
    FINAL = "final"
    """The operation ended; check its status before another one."""
    DUPLICATE = "duplicate"
    """The idempotency key was used before: the first call arrived. Never take a new key."""
    UNRECOGNISED = "unrecognised"
    """A code that no document read so far lists; kept as it came."""


class SmartGlocalError(Exception):
    """Base of everything that this package raises on purpose."""


class Misuse(SmartGlocalError):
    """The program, its settings or its input are wrong; nothing was sent."""


@frozen
class InvalidRequest(Misuse):
    """A field of a request breaks a rule, found before anything was signed or sent."""

    field: str
    """Where, as a path of the request: ``amount_details.amount``, ``metadata.items[2]``."""
    problem: str
    """What is wrong, and what to write instead; never the offending value of a secret."""

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"

    def under(self, parent: str) -> "InvalidRequest":
        """Give the same complaint, seen from the record that holds this one."""
        return InvalidRequest(f"{parent}.{self.field}", self.problem)


class InvalidCredentials(Misuse):
    """A private key, a project name or a server address can't be used; the text says why."""


@frozen
class KeyReused(Misuse):
    """An idempotency key was given again with another request; nothing was sent."""

    key: str
    differing_fields: tuple[str, ...]
    """Paths of the request that differ from the one this key was first used with."""

    def __str__(self) -> str:
        fields = ", ".join(self.differing_fields)
        return (
            f"the key {self.key!r} was used with another request; these fields differ: {fields}. "
            "Take a new key for a new request, and never for a debt that this key may have paid."
        )


class PoolClosed(Misuse):
    """The session pool was closed, or is draining and takes no new calls."""


@frozen
class CallFailed(SmartGlocalError):
    """A call came to nothing; the fields say what is known, the text never holds a body."""

    outcome: ClassVar[CallOutcome]
    advice: ClassVar[str]

    operation: str
    """Path of the call, such as ``session/create``."""
    key: str | None = None
    """Idempotency key of the logical call; answers and webhooks echo it in the metadata. Repeat
    with it what moves no money."""
    session_id: str | None = None
    """The session that was asked about, or that an answer named."""
    code: str | None = None
    """The provider's ``error.code``, if it answered with an envelope."""
    description: str | None = None
    """The provider's ``error.description``; digit runs that look like cards are masked."""
    code_class: CodeClass | None = None
    http_status: int | None = None
    content_type: str | None = None
    attempts: int = 1
    """How many times the request was sent, or tried to be."""
    elapsed_seconds: float = 0.0
    cause: str | None = None
    """What went wrong on the way, in words; never a body, a header or a key."""
    stopped_by: str | None = None
    """Why there was no further attempt: ``attempts``, ``deadline``, ``budget``,
    ``retry_after`` (the provider asked for more patience than the policy allows), or None
    when a repeat was out of the question."""
    retry_after_seconds: float | None = None

    @property
    def is_throttled(self) -> bool:
        """Whether the provider asked for patience (HTTP 429)."""
        return self.http_status == _TOO_MANY_REQUESTS

    def __str__(self) -> str:
        return "; ".join(self._sentences())

    def _sentences(self) -> list[str]:
        said = [f"{self.operation}: {self.advice}"]
        if self.code is not None:
            said.append(f"the provider answered {self.code!r}: {self.description or '-'}")
        if self.cause is not None:
            said.append(self.cause)
        if self.http_status is not None:
            said.append(f"HTTP {self.http_status}")
        if self.key is not None:
            said.append(f"key {self.key}")
        plural = "" if self.attempts == 1 else "s"
        said.append(f"{self.attempts} attempt{plural} in {self.elapsed_seconds:.3f} s")
        if self.stopped_by is not None:
            said.append(f"stopped by {self.stopped_by}")
        return said


class NotSent(CallFailed):
    """The provider was not reached, and nothing was processed; repeating is always safe."""

    outcome = CallOutcome.NOT_SENT
    advice = "not sent"


class Refused(CallFailed):
    """The provider answered and said no: ``code`` and ``description`` tell why.

    Without a code, something in between said no; ``is_throttled`` tells a 429 apart.
    """

    outcome = CallOutcome.REFUSED
    advice = "refused"


class OutcomeUnknown(CallFailed):
    """The request may have been processed; only the provider knows.

    A call that moves money must not be repeated now: ask ``session/status``, or wait for
    the webhook. ``session/create`` may be repeated with the same ``key``.
    """

    outcome = CallOutcome.UNKNOWN
    advice = "outcome unknown"


@frozen
class StillOpen(SmartGlocalError):
    """A session was waited for until the deadline, and isn't where it was to be.

    Nothing was changed by waiting. A payout that is open must not be paid again.
    """

    session_id: str
    status: str | None
    """Where the session stood when it was last seen; None if it never was."""
    waited_seconds: float
    cause: str | None = None
    """Why the last look failed, if it did."""

    def __str__(self) -> str:
        said = [f"the session {self.session_id} is {self.status or 'unseen'} still"]
        if self.status == "error":
            said.append("that status is not final: don't pay again, and ask the provider's support")
        if self.cause is not None:
            said.append(self.cause)
        return "; ".join([*said, f"waited {self.waited_seconds:.1f} s"])


@frozen
class InProgress(SmartGlocalError):
    """Another worker has the payout with this key; look again when its lease has ended."""

    key: str
    owner: str
    seconds_left: float

    def __str__(self) -> str:
        return f"the key {self.key!r} is with {self.owner}, for {self.seconds_left:.1f} s at most"


@frozen
class LostLease(SmartGlocalError):
    """The payout went on without this worker, which must write and send nothing more about it."""

    key: str
    fence: int
    """The one that was held, and holds no longer."""

    def __str__(self) -> str:
        return f"the lease on the key {self.key!r} is lost: fence {self.fence} holds no longer"


class JournalUnusable(SmartGlocalError):
    """A journal can't be read or written, and nothing was sent; the text says why."""


class WrongSeal(JournalUnusable):
    """A request in the journal was sealed with a key that isn't given, and nothing was sent.

    Give `Seal` the key that sealed it, too: trying again mends nothing.
    """


@frozen
class PayoutsHalted(SmartGlocalError):
    """Nothing that may pay is sent from this journal until the halt is lifted; the text says why.

    What is out already is asked about and written, still.
    """

    advice: ClassVar[str] = "payouts are halted"

    reason: str
    """What was noticed, and about which payout."""
    until: float | None = None
    """When it ends by itself, in seconds since 1970; None: when somebody lifts it."""

    def __str__(self) -> str:
        return f"{self.advice}: {self.reason}"


class ConfirmationMismatch(PayoutsHalted):
    """Money moved before it was confirmed: another journal paid, or the project confirms by itself.

    Find the journal; else ask the account manager how the project confirms. With automatic
    confirmation, `Mode.AUTOMATIC` has to be asked for.
    """

    advice = (
        "money moved without a confirm out of this journal: the project confirms by itself, and "
        "wants automatic confirmation here, or another journal paid it"
    )


class JournalForgot(PayoutsHalted):
    """The provider knows of payouts that the journal lacks: an old copy, or another one in use.

    Take the newest copy back, or ``adopt`` what the provider's reports show, then ``lift``.
    """

    advice = "the journal lacks what was surely written, and would pay again"


class Quarantined(PayoutsHalted):
    """The journal was restored, and waits until news of everything it may lack has come."""

    advice = "the journal is in quarantine"


@frozen
class BatchStopped(SmartGlocalError):
    """A batch ended before its source did: by a rule, a signal, or on demand; the text says why.

    What was out was waited for and written. The same source again goes on where it stopped.
    """

    reason: str
    begun: int
    """How many orders were taken up, those that were settled before among them."""

    def __str__(self) -> str:
        return f"the batch stopped after {self.begun} orders: {self.reason}"


class WebhookFault(enum.Enum):
    """What is wrong with something that came as a webhook."""

    NO_SIGNATURE = "it carries no X-PARTNER-SIGN"
    BAD_SIGNATURE = "its signature is none of the provider's over these bytes"
    TOO_LARGE = "it is larger than allowed"
    NOT_JSON = "it is signed, but not JSON"
    NOT_AN_EVENT = "it is signed JSON, but no event that can be read"


@frozen
class WebhookRefused(SmartGlocalError):
    """What came is no webhook of the provider's, or is damaged; it never holds the body."""

    fault: WebhookFault
    detail: str | None = None

    def __str__(self) -> str:
        words = f"the webhook is refused: {self.fault.value}"
        return words if self.detail is None else f"{words} ({self.detail})"


class RuleBroken(UserWarning):
    """A request breaks a rule of the provider's pages, and is sent as `Settings.rules` says."""


class LeftOpen(ResourceWarning):
    """A pool or a client was thrown away without being closed; names the line that made it."""


MASK: Final = "***"
_TOO_MANY_REQUESTS: Final = 429
