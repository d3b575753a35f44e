"""What a journal keeps: the records of payouts, batches and halts."""

import enum
from collections.abc import Mapping
from typing import Final, Literal

from attrs import evolve, field, frozen

from ..idempotency import Fingerprint
from .states import Event, Step


class Keep(enum.Enum):
    """Marks a field that stays as it is."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP
Kept = Literal[Keep.KEEP]

WORKABLE: Final = frozenset(step for step in Step if not step.is_final and step is not Step.UNKNOWN)
"""The steps at which a worker can go on without an operator."""


EVERY_STEP: Final = frozenset(Step)


@frozen(kw_only=True)
class NewEntry:
    """A payout to accept."""

    key: str
    mode: str
    """Who confirms it; can't change any more."""
    fingerprint: Fingerprint = field(repr=False)
    """Made with the ``secret`` of the journal, so that it can be compared after a restart."""
    request: bytes | None = field(default=None, repr=False)
    """Stored as it is. Encrypt or omit it if it must not be stored in clear."""
    amount: int | None = None
    """In minor units."""
    currency: str | None = None
    batch: str | None = None
    ordinal: int | None = None
    """Its position in the batch."""
    summary: bytes | None = field(default=None, repr=False)
    """Who is paid, for reports; kept when the request is dropped. Stored as it is, too."""
    payment: bytes | None = field(default=None, repr=False)
    """A keyed digest of payee, amount and currency: see `Journal.same_payments`."""


@frozen(kw_only=True)
class Entry:
    """The stored state of a payout. Times are seconds since 1970."""

    key: str
    mode: str
    fingerprint: Fingerprint = field(repr=False)
    request: bytes | None = field(default=None, repr=False)
    """Dropped at the final step, unless it may be retried: see `error_codes.PASSING_CAUSES`."""
    amount: int | None = None
    """In minor units."""
    currency: str | None = None
    step: Step = Step.NEW
    session_no: int = 0
    """How many sessions were left."""
    session_id: str | None = None
    """The only session that may pay now."""
    item_id: str | None = None
    """The id of the payout in that session."""
    fence: int = 0
    """Raised by every claim; a worker with a lower one can't write any more."""
    owner: str | None = None
    """The owner of the last claim that wasn't released; its lease may be over."""
    leased_until: float | None = None
    not_before: float | None = None
    """The entry isn't due before then."""
    result: bytes | None = field(default=None, repr=False)
    code: str | None = None
    reason: str | None = None
    attempts: int = 0
    """How many calls may have been sent for it, as far as the journal shows; since the last
    `Event.RETRIED`, if there was one."""
    batch: str | None = None
    ordinal: int | None = None
    created_at: float
    updated_at: float
    """When its last step was written."""
    summary: bytes | None = field(default=None, repr=False)
    payment: bytes | None = field(default=None, repr=False)


@frozen(kw_only=True)
class Changes:
    """What is written together with an event; other fields stay as they are."""

    session_id: str | Kept = KEEP
    item_id: str | Kept | None = KEEP
    result: bytes | Kept | None = field(default=KEEP, repr=False)
    code: str | Kept | None = KEEP
    reason: str | Kept | None = KEEP
    not_before: float | Kept | None = KEEP


NO_CHANGES: Final = Changes()


@frozen
class PendingEvent:
    """An observed event that may be written together with the next one.

    `Event.START_KNOWN` or `Event.CONFIRM_KNOWN`, without a new session id. If it is lost, a worker
    that takes the entry over asks the provider anyway.
    """

    event: Event
    changes: Changes = NO_CHANGES


@frozen
class OpenClaims:
    """The result of `Journal.claim_open`."""

    entries: tuple[Entry, ...]
    wait_seconds: float | None = None
    """Pause before the next claim, if a shared limit allowed no more; else None."""
    uncovered: Mapping[str, str] = field(factory=dict[str, str], hash=False)
    """Batches that are blocked until the balance is read again, and the key that isn't covered."""
    has_paused: bool = False
    """Whether a batch that was found is paused, so that other entries may be claimable after it."""


@frozen(kw_only=True)
class Attempt:
    """One line of an entry's log: an event, and the fence under which it was written."""

    key: str
    fence: int
    event: Event
    step: Step
    """The step of the entry afterwards."""
    session_id: str | None
    """The session of the event."""
    code: str | None
    reason: str | None
    at: float


@frozen
class BatchTotal:
    """How many payouts of a batch are at a step, and their sum."""

    batch: str | None
    step: Step
    currency: str | None
    count: int
    amount: int
    """In minor units."""
    late: int
    """How many of them are open, with their last step before the time that was asked for."""


@frozen(kw_only=True)
class OperatorAction:
    """What an operator changed, when and under which name; written in the commit of the change."""

    at: float
    """In seconds since 1970."""
    operator: str
    """The name that the operator's program had for them."""
    action: str
    """`Event` of a payout, or `BatchState` of a batch, by its value; or ``limits``."""
    batch: str | None = None
    key: str | None = None
    """The payout; None for a batch, and for limits."""
    detail: str | None = None
    """The reason for a batch, or the new limits; the reason for a payout is in its log."""


class HaltKind(enum.Enum):
    """Why payouts are halted."""

    MISMATCH = "mismatch"
    """The project doesn't confirm payouts as their mode says."""
    CONFLICT = "conflict"
    """The provider shows a payout that differs from the journal."""
    FORGOT = "forgot"
    """The journal lacks payouts that were written."""
    QUARANTINE = "quarantine"
    """The journal was restored, and waits."""


@frozen(kw_only=True)
class Halt:
    """Stops all calls that may pay; kept in the journal for all processes that use it."""

    kind: HaltKind
    reason: str
    until: float | None = None
    """When it ends by itself, in seconds since 1970; None: when an operator ends it."""
    is_checked: bool = False
    """Whether the provider's reports were compared with the journal since it began."""
    timed: "Halt | None" = None
    """A halt with an end that is in force beside this one, and stays when this one is ended."""

    @property
    def may_lack(self) -> bool:
        """Whether the journal may lack what was done, and no report was compared since."""
        return self._is_doubtful or (self.timed is not None and self.timed.may_lack)

    @property
    def _is_doubtful(self) -> bool:
        return self.kind in {HaltKind.FORGOT, HaltKind.QUARANTINE} and not self.is_checked

    @property
    def needs_check(self) -> bool:
        """Whether it may be ended only after the provider's reports were compared.

        True if the journal may lack payouts that were made: only the reports show those.
        """
        return self._is_doubtful and self.until is None

    def beside(self, current: "Halt | None") -> "Halt":
        """Return what is in force once this halt is added to the current one.

        Nothing is lost by that: one that needs a check still needs it, and one that ends by itself
        still lasts as long. The reasons of halts of different kinds are kept together; of one kind,
        the first reason is kept if it needs a check, else the last.
        """
        if current is None:
            return self
        if self.until is not None:
            if current.until is None:
                return evolve(current, timed=self.beside(current.timed))
            return self if self.until >= current.until else current
        if current.until is not None:
            return evolve(self, timed=current)
        if current.needs_check and (self.kind is current.kind or not self.needs_check):
            is_known = self.kind is current.kind or self.reason in current.reason
            words = "" if is_known else f"; after that: {self.reason}"
            return evolve(current, reason=_bounded(current.reason, words))
        is_known = not self.needs_check or current.reason in self.reason
        words = "" if is_known else f"; before that: {current.reason}"
        return evolve(self, reason=_bounded(self.reason, words), timed=current.timed)


_MAX_REASON: Final = 2_000


def _bounded(reason: str, words: str) -> str:
    """Return a reason with more words, unless it is long: a report may have many such rows."""
    return reason if len(reason) + len(words) > _MAX_REASON else reason + words


@frozen(kw_only=True)
class SamePayment:
    """A payout of the journal with the payee and the sum of another one."""

    payment: bytes = field(repr=False)
    """The digest of payee, amount and currency that was searched for."""
    batch: str | None
    key: str
    """The key of the payout that was written last, if the batch has several."""
    step: Step
    at: float
    """When its last step was written, in seconds since 1970."""


class BatchState(enum.Enum):
    """Whether workers claim payouts of a batch."""

    RUNNING = "running"
    PAUSED = "paused"
    """Not now."""
    CANCELLED = "cancelled"
    """Never again; payouts in flight are finished."""


@frozen(kw_only=True)
class BatchRules:
    """Rules that pause a batch, for all workers together."""

    spend: Mapping[str, int] = field(factory=dict[str, int], hash=False)
    """Spending limits in minor units by currency: pauses before a payout that would pass one."""
    first_refusal: bool = False
    """After the first payout that failed."""
    failures_in_a_row: int | None = None
    """After this many in a row that failed or ended unknown."""
    low_balance: bool = False
    """Before a payout that `Journal.cover`, as last stored, doesn't cover."""


@frozen(kw_only=True)
class Batch:
    """A file or another source whose payouts are paid under one name."""

    name: str
    digest: bytes | None = None
    """SHA-256 of the file."""
    rows: int = 0
    totals: Mapping[str, int] = field(factory=dict[str, int], hash=False)
    """The sum of its payouts by currency, in minor units."""
    begun_at: float = 0.0
    """When it was first written; set by the journal."""
    state: BatchState = BatchState.RUNNING
    """Set by `Journal.set_batch_state`."""
    reason: str | None = None
    """Why it was paused or cancelled."""
    rules: BatchRules | None = None
    """Kept if the batch is written again without rules."""
    bound: Mapping[str, int] = field(factory=dict[str, int], hash=False)
    """What was begun and may be paid, in minor units by currency, if there are rules; set by the
    journal.
    """
    paid: Mapping[str, int] = field(factory=dict[str, int], hash=False)
    """The paid part of ``bound``."""
    failures: int = 0
    """How many in a row were not paid, if the batch has rules; set by the journal."""
    cover: Mapping[str, int] | None = field(default=None, hash=False)
    """How much of the batch the wallets cover at most; set by `Journal.cover`."""
    cover_at: float | None = None
    """When ``cover`` was stored; it is valid for half a minute."""
