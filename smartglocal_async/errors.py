"""The errors that the package raises, grouped by what the caller may do next.

::

    SmartGlocalError
    ├── Misuse                 the program or its settings are wrong: fix them
    │   ├── InvalidRequest     a field of a request breaks a rule; nothing was sent
    │   ├── InvalidCredentials a key, a project or a setting can't be used
    │   ├── KeyReused          this idempotency key belongs to another request
    │   └── PoolClosed         the client or its pool was closed, or is draining
    ├── CallFailed             one call failed; the subclass says what is certain
    │   ├── NotSent            no byte reached the provider: repeating is safe
    │   ├── Refused            the provider refused it, and says why
    │   └── OutcomeUnknown     it may have been processed: check before repeating
    ├── StillOpen              a session didn't reach the awaited state in time
    ├── InProgress             another worker has this payout: wait, or try later
    ├── LostLease              another worker took it over: write and send nothing more
    ├── JournalUnusable        the journal can't be written or read: nothing may be sent
    │   ├── JournalMisconfigured   a right, the address or the database must be changed first
    │   └── WrongJournalKey    a request in it was encrypted with a key that isn't given
    ├── PayoutsHalted          an operator has to check before anything more is paid
    │   ├── ConfirmationMismatch   the project doesn't confirm payouts as the mode says
    │   ├── PayoutConflict         money moved in another way than the journal has it
    │   ├── JournalForgot          the journal lacks payouts that were written
    │   └── Quarantined            a restored journal waits for reports of what it may lack
    ├── BatchStopped           a batch stopped early; calls in flight were finished
    └── WebhookRefused         the request isn't a webhook of the provider, or is damaged
"""

import enum
from typing import ClassVar, Final

from attrs import frozen


class CallOutcome(enum.Enum):
    """What is certain about one logical call."""

    NOT_SENT = "not_sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"


class CodeClass(enum.Enum):
    """What the caller may do after an ``error.code`` of the provider.

    The codes are those of the sister platform; the classes follow its column of advice
    (developer.131.ru, reference/errors). The provider promises neither.
    """

    PERMANENT = "permanent"
    """The same request will be refused again; fix it first."""
    TRANSIENT = "transient"
    """Repeat later; the outcome may be unknown."""
    NEW_OPERATION = "new_operation"
    """The payer has to begin a new operation."""
    FINAL = "final"
    """The operation ended; check its status before another one."""
    DUPLICATE = "duplicate"
    """The idempotency key was used before: the first call arrived. Never use a new key."""
    UNRECOGNISED = "unrecognised"
    """A code that isn't documented; kept as received."""


class SmartGlocalError(Exception):
    """Base class of all errors that this package raises."""


class Misuse(SmartGlocalError):
    """The program, its settings or its input are wrong; nothing was sent."""


@frozen
class InvalidRequest(Misuse):
    """A field of a request breaks a rule, found before anything was signed or sent."""

    field: str
    """Path of the field in the request: ``amount_details.amount``, ``metadata.items[2]``."""
    problem: str
    """What is wrong, and what to write instead; never the offending value of a secret."""

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"

    def under(self, parent: str) -> "InvalidRequest":
        """Return the same error with its field under a parent record."""
        return InvalidRequest(f"{parent}.{self.field}", self.problem)


@frozen
class InvalidCredentials(Misuse):
    """A private key, a project name or a server address can't be used; the text says why."""

    problem: str
    setting: str | None = None
    """The argument of the client that it came from, if known: ``project``, ``private_key``,
    ``private_key_passphrase``, ``server``, ``submerchant`` or ``api_version``; in capitals, after
    ``SMARTGLOCAL_``, it is the name of the environment variable. Or ``public_key``."""

    def __str__(self) -> str:
        return self.problem


@frozen
class KeyReused(Misuse):
    """An idempotency key was used again with another request; nothing was sent."""

    key: str
    differing_fields: tuple[str, ...]
    """Paths of the request that differ from the one this key was first used with."""
    batch: str | None = None
    """The batch of payouts that used the key, if one did."""
    is_compared: bool = True
    """False if the first request isn't known: the payout was adopted from a report without it."""

    def __str__(self) -> str:
        if not self.is_compared:
            return (
                f"the key {self.key!r} was paid, by a report that doesn't show for which order; so "
                "it isn't known whether this is the same order, and nothing was sent. Compare "
                "payee and sum by hand, and never use a new key for a debt that this key may have "
                "paid."
            )
        fields = ", ".join(self.differing_fields)
        place = "" if self.batch is None else f" in the batch {self.batch!r}"
        return (
            f"the key {self.key!r} was used with another request{place}; these fields differ: "
            f"{fields}. "
            "Use a new key for a new request, but never for a debt that this key may have paid."
        )


class PoolClosed(Misuse):
    """The session pool was closed, or is draining and takes no new calls."""


@frozen
class CallFailed(SmartGlocalError):
    """A call failed; the fields have what is known, the text never shows a body."""

    outcome: ClassVar[CallOutcome]
    advice: ClassVar[str]

    operation: str
    """Path of the call, such as ``session/create``."""
    key: str | None = None
    """Idempotency key of the call; answers and webhooks have it in their metadata. Use it again to
    repeat a call that moves no money."""
    session_id: str | None = None
    """The session of the request, or of the answer."""
    code: str | None = None
    """The provider's ``error.code``, if it answered with an envelope."""
    description: str | None = None
    """The provider's ``error.description``; digits that look like a card number are masked."""
    code_class: CodeClass | None = None
    http_status: int | None = None
    content_type: str | None = None
    attempts: int = 1
    """How many times sending the request was tried."""
    elapsed_seconds: float = 0.0
    cause: str | None = None
    """What failed below HTTP, in words; never a body, a header or a key."""
    stopped_by: str | None = None
    """Why there was no further attempt: ``attempts``, ``deadline``, ``budget``, or ``retry_after``
    (the provider asked for a longer pause than the policy allows). None: a repeat isn't allowed."""
    retry_after_seconds: float | None = None
    is_misconfigured: bool = False
    """Whether nothing was sent and a repeat can't help: the signer failed, the server's certificate
    isn't trusted, its address is invalid, or the session is closed."""

    @property
    def is_throttled(self) -> bool:
        """Whether the provider asked to slow down (HTTP 429)."""
        return self.http_status == _TOO_MANY_REQUESTS

    def __str__(self) -> str:
        return "; ".join(self._sentences())

    def _sentences(self) -> list[str]:
        parts = [f"{self.operation}: {self.advice}"]
        if self.code is not None:
            parts.append(f"the provider answered {self.code!r}: {self.description or '-'}")
        if self.cause is not None:
            parts.append(self.cause)
        if self.http_status is not None:
            parts.append(f"HTTP {self.http_status}")
        if self.key is not None:
            parts.append(f"key {self.key}")
        plural = "" if self.attempts == 1 else "s"
        parts.append(f"{self.attempts} attempt{plural} in {self.elapsed_seconds:.3f} s")
        if self.stopped_by is not None:
            parts.append(f"stopped by {self.stopped_by}")
        return parts


class NotSent(CallFailed):
    """The provider was not reached, and nothing was processed; repeating is always safe."""

    outcome = CallOutcome.NOT_SENT
    advice = "not sent"


class Refused(CallFailed):
    """The provider refused the call: ``code`` and ``description`` say why.

    Without a code, something in front of the provider refused it, or it was HTTP 429
    (``is_throttled``).
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
    """A session didn't reach the awaited state before the deadline.

    Waiting changed nothing. A payout that is open must not be paid again.
    """

    session_id: str
    status: str | None
    """The last status of the session; None if no status call succeeded."""
    waited_seconds: float
    cause: str | None = None
    """Why the last status call failed, if it did."""

    def __str__(self) -> str:
        parts = [f"the session {self.session_id} is still {self.status or 'unseen'}"]
        if self.status == "error":
            parts.append(
                "that status is not final: don't pay again, and ask the provider's support"
            )
        if self.cause is not None:
            parts.append(self.cause)
        return "; ".join([*parts, f"waited {self.waited_seconds:.1f} s"])


@frozen
class InProgress(SmartGlocalError):
    """Another worker has the payout with this key; try again when its lease has ended."""

    key: str
    owner: str
    seconds_left: float

    def __str__(self) -> str:
        return f"the key {self.key!r} is with {self.owner}, for {self.seconds_left:.1f} s at most"


@frozen
class LostLease(SmartGlocalError):
    """Another worker took the payout over; this one must write and send nothing more about it."""

    key: str
    fence: int
    """The fencing number that was held."""

    def __str__(self) -> str:
        return f"the lease on the key {self.key!r} is lost: fence {self.fence} isn't valid any more"


@frozen
class SessionTaken(Misuse):
    """A session that was created for one payout belongs to another one of the journal."""

    session_id: str
    key: str
    """Key of the payout that it belongs to."""

    def __str__(self) -> str:
        return f"the session {self.session_id} was used before, by the key {self.key!r}"


class JournalUnusable(SmartGlocalError):
    """A journal can't be read or written, and nothing was sent; the text says why."""


@frozen
class JournalBusy(JournalUnusable):
    """Another process has the journal's file open, and only one may write to it at a time.

    Nothing was sent. Wait until that process ends, or use a journal in PostgreSQL.
    """

    path: str
    pid: str
    """Id of the process that has it, as the journal's lock file names it."""

    def __str__(self) -> str:
        return f"the journal {self.path}: process {self.pid} has it; only one may write to it"


class JournalMisconfigured(JournalUnusable):
    """The database refuses the user, a right is missing, or the address can't work.

    Nothing was sent. Trying again doesn't help before that is changed; the text says what.
    """


class WrongJournalKey(JournalUnusable):
    """A request in the journal was encrypted with a key that isn't given, and nothing was sent.

    Pass the key that encrypted it to `RequestCipher`, too. Trying again doesn't help.
    """


@frozen
class PayoutsHalted(SmartGlocalError):
    """No call that may pay is sent from this journal until the halt is ended; the text says why.

    The status of payouts in flight is still read and written.
    """

    advice: ClassVar[str] = "payouts are halted"

    reason: str
    """What was found, and about which payout."""
    until: float | None = None
    """When it ends by itself, in seconds since 1970; None: when an operator ends it."""

    def __str__(self) -> str:
        return f"{self.advice}: {self.reason}"


class ConfirmationMismatch(PayoutsHalted):
    """The project doesn't confirm payouts as the mode of these payouts says.

    Either money moved without a confirm from this journal: the project confirms by itself, which
    needs `Mode.AUTOMATIC`, or another journal paid. Or a payout waits for a confirm that this mode
    doesn't send: use `Mode.MANUAL`. The text says which. Ask your account manager how the project
    confirms.
    """

    advice = "the project doesn't confirm payouts as their mode says, or another journal confirmed"


class PayoutConflict(PayoutsHalted):
    """The provider shows that money moved in another way than the journal has it.

    Such as another amount or currency, another order, a second payout of one key, or a payment of
    a payout that is recorded as failed or cancelled. The text has what both show. Find out what was
    paid, claim back what was paid wrongly, call `Payouts.decide` for what is unknown, then
    `Payouts.resume_journal`.
    """

    advice = "the provider shows a payout that contradicts the journal"


class JournalForgot(PayoutsHalted):
    """The provider knows of payouts that the journal lacks: an old copy, or another one in use.

    Restore the newest copy, or ``adopt`` what the provider's reports show, then call
    `Payouts.resume_journal`.
    """

    advice = "the journal lacks payouts that were written, and would pay again"


class Quarantined(PayoutsHalted):
    """The journal was restored, and waits until everything that it may lack was reported."""

    advice = "the journal is in quarantine"


@frozen
class BatchStopped(SmartGlocalError):
    """A batch ended before its source did: by a rule, a signal, or on demand; the text says why.

    Calls in flight were finished and written. The same source again goes on where it stopped.
    """

    reason: str
    begun: int
    """How many orders were begun, including those that were settled before."""

    def __str__(self) -> str:
        return f"the batch stopped after {self.begun} orders: {self.reason}"


class WebhookFault(enum.Enum):
    """What is wrong with a request that was received as a webhook."""

    NO_SIGNATURE = "it carries no X-PARTNER-SIGN"
    BAD_SIGNATURE = "its signature is none of the provider's over these bytes"
    TOO_LARGE = "it is larger than allowed"
    TOO_SLOW = "its body did not arrive in time"
    NOT_JSON = "it is signed, but not JSON"
    NOT_AN_EVENT = "it is signed JSON, but no event that can be read"


@frozen
class WebhookRefused(SmartGlocalError):
    """A request isn't a webhook of the provider, or is damaged; the error never holds the body."""

    fault: WebhookFault
    detail: str | None = None

    def __str__(self) -> str:
        words = f"the webhook is refused: {self.fault.value}"
        return words if self.detail is None else f"{words} ({self.detail})"


class WebhookStoreUnusable(SmartGlocalError):
    """The database of a webhook store can't be reached, or refuses; the text says why."""


class RuleBroken(UserWarning):
    """A request breaks a rule of the provider's pages, and is sent as `Settings.rules` says.

    If a warning filter turns it into an error, nothing was sent.
    """

    def refusal(self) -> InvalidRequest:
        """Return it as the refusal of one item of a batch, after a filter has raised it."""
        field, _, problem = str(self).partition(": ")
        return InvalidRequest(field, problem)


class LeftOpen(ResourceWarning):
    """A pool or a client was dropped without being closed; names the line that made it."""


MASK: Final = "***"
_TOO_MANY_REQUESTS: Final = 429
