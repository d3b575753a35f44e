"""What a journal keeps: the records of payouts, batches and halts."""

import enum
from collections.abc import Mapping
from typing import Final, Literal

from attrs import field, frozen

from ..idempotency import Fingerprint
from .states import Event, Step


class Keep(enum.Enum):
    """Says that a field stays as it is."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP
Kept = Literal[Keep.KEEP]

WORKABLE: Final = frozenset(step for step in Step if not step.is_final and step is not Step.UNKNOWN)
"""The steps from which a program can go on by itself."""


EVERY_STEP: Final = frozenset(Step)


@frozen(kw_only=True)
class NewEntry:
    """A payout that is to be accepted."""

    key: str
    mode: str
    """Who confirms it; fixed from now on."""
    fingerprint: Fingerprint = field(repr=False)
    """Taken with the ``secret`` of the journal, so that it can be compared after a restart."""
    request: bytes | None = field(default=None, repr=False)
    """Kept as it is, and not read; what must not lie on a disk is left out or sealed before."""
    amount: int | None = None
    """In minor units."""
    currency: str | None = None
    batch: str | None = None
    ordinal: int | None = None
    """Its place in the batch."""


@frozen(kw_only=True)
class Entry:
    """What is written of a payout. Times are seconds since 1970."""

    key: str
    mode: str
    fingerprint: Fingerprint = field(repr=False)
    request: bytes | None = field(default=None, repr=False)
    amount: int | None = None
    """In minor units."""
    currency: str | None = None
    step: Step = Step.NEW
    session_no: int = 0
    """How many sessions were left."""
    session_id: str | None = None
    """The one session that may pay now."""
    item_id: str | None = None
    """The payout within that session."""
    fence: int = 0
    """Raised by every claim; whoever has an older one can't write any more."""
    owner: str | None = None
    """Who claimed it, and didn't give it back; the lease may have ended."""
    leased_until: float | None = None
    not_before: float | None = None
    """Nothing is to be done about it until then."""
    result: bytes | None = field(default=None, repr=False)
    code: str | None = None
    reason: str | None = None
    attempts: int = 0
    """How many calls may have been sent for it, as far as they are written down."""
    batch: str | None = None
    ordinal: int | None = None
    created_at: float
    updated_at: float
    """When its last step was written."""


@frozen(kw_only=True)
class Changes:
    """What is written beside a step; what isn't named stays as it is."""

    session_id: str | Kept = KEEP
    item_id: str | Kept | None = KEEP
    result: bytes | Kept | None = field(default=KEEP, repr=False)
    code: str | Kept | None = KEEP
    reason: str | Kept | None = KEEP
    not_before: float | Kept | None = KEEP


NO_CHANGES: Final = Changes()


@frozen
class Learned:
    """A step that was learned, and may be written with the one that follows it.

    That is `Event.START_KNOWN` or `Event.CONFIRM_KNOWN`, where no session is learned with it:
    whoever takes the entry over asks the provider in either case.
    """

    event: Event
    changes: Changes = NO_CHANGES


@frozen
class OpenClaims:
    """What was taken of what is open."""

    entries: tuple[Entry, ...]
    wait_seconds: float | None = None
    """When to ask again, where a limit of all workers let no more be taken; else None."""
    uncovered: Mapping[str, str] = field(factory=dict[str, str], hash=False)
    """Batches that stand still until the balance is seen anew, and the key that isn't covered."""
    has_paused: bool = False
    """Whether a batch that was met begins nothing more: behind it there may be others."""


@frozen(kw_only=True)
class Attempt:
    """One line of an entry's log: a step that was written, and under which fence."""

    key: str
    fence: int
    event: Event
    step: Step
    """Where the entry stood afterwards."""
    session_id: str | None
    """The session that it was about."""
    code: str | None
    reason: str | None
    at: float


class HaltKind(enum.Enum):
    """Why payouts are halted."""

    MISMATCH = "mismatch"
    """Money moved without a confirm out of this journal."""
    FORGOT = "forgot"
    """The journal lacks what was surely written."""
    QUARANTINE = "quarantine"
    """The journal was restored, and waits."""


@frozen(kw_only=True)
class Halt:
    """A brake on everything that may pay, kept in the journal: all who use it heed it."""

    kind: HaltKind
    reason: str
    until: float | None = None
    """When it ends by itself, in seconds since 1970; None: when somebody lifts it."""


class BatchState(enum.Enum):
    """Whether workers take payouts of a batch."""

    RUNNING = "running"
    PAUSED = "paused"
    """None for now."""
    CANCELLED = "cancelled"
    """None any more; what is under way is finished."""


@frozen(kw_only=True)
class BatchRules:
    """When nothing more of a batch is begun, by whoever works on it: it is paused then."""

    spend: Mapping[str, int] = field(factory=dict[str, int], hash=False)
    """In minor units by currency: before the payout with which more is paid, or may be."""
    first_refusal: bool = False
    """After the first payout that failed."""
    failures_in_a_row: int | None = None
    """After so many that failed or ended unknown, with none paid between them."""
    low_balance: bool = False
    """Before a payout that isn't covered, by what `Journal.cover` was told not long ago."""


@frozen(kw_only=True)
class Batch:
    """A file, or another source, whose payouts are paid under one name."""

    name: str
    digest: bytes | None = None
    """SHA-256 of the file."""
    rows: int = 0
    totals: Mapping[str, int] = field(factory=dict[str, int], hash=False)
    """What is to be paid by currency, in minor units."""
    begun_at: float = 0.0
    """When it was written first; given by the journal."""
    state: BatchState = BatchState.RUNNING
    """Given by the journal: see `Journal.set_batch_state`."""
    reason: str | None = None
    """Why it was paused or cancelled."""
    rules: BatchRules | None = None
    """Written again without any, it keeps those that it has."""
    bound: Mapping[str, int] = field(factory=dict[str, int], hash=False)
    """What was begun and isn't known not to be paid, in minor units by currency, where there are
    rules; given by the journal."""
    paid: Mapping[str, int] = field(factory=dict[str, int], hash=False)
    """What was paid of that."""
    failures: int = 0
    """How many in a row were not paid, where there are rules; given by the journal."""
    cover: Mapping[str, int] | None = field(default=None, hash=False)
    """How much of it, at most, the wallets pay for; given by `Journal.cover`."""
    cover_at: float | None = None
    """When that was written; a little later it holds no more."""
