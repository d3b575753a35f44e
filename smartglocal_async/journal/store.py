"""What a journal keeps, and what it promises: the records and the protocol."""

import enum
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal, Protocol

from attrs import field, frozen

from ..errors import KeyReused
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
    """Money moved without our confirm."""
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


class Journal(Protocol):
    """Where payouts are written down. What a method gave back is on the disk.

    Every method but ``open`` and ``close`` raises `Misuse` on a journal that isn't open, and
    `JournalUnusable` when it can't be written: nothing may be sent then.
    """

    @property
    def durable(self) -> bool:
        """Whether payouts may rest on it: what is written outlives a loss of power.

        A `MemoryJournal` says so only when it was told to, for a test.
        """
        ...

    @property
    def journal_id(self) -> str:
        """A random name, given when the journal was made: known once it is open."""
        ...

    @property
    def secret(self) -> bytes:
        """The secret for the fingerprints, made with the journal: known once it is open."""
        ...

    async def open(self, scope: str) -> None:
        """Take the journal into use for a server and a project, which are its own for ever.

        Opening an open journal again for the same scope changes nothing.

        Raises:
            JournalUnusable: it belongs to another scope, or can't be used; the text says why.

        """
        ...

    async def close(self) -> None:
        """Finish what was asked for, and let the journal go; leases stay as they are."""
        ...

    async def accept(self, new: NewEntry) -> Entry:
        """Write a new entry at `Step.NEW`, or give the one that is there.

        Raises:
            KeyReused: it is there with another request or mode.

        """
        ...

    async def accept_many(self, news: Sequence[NewEntry]) -> tuple[Entry | KeyReused, ...]:
        """Write new entries in one commit; each gives its entry, or what `accept` would raise."""
        ...

    async def find(self, key: str) -> Entry | None:
        """Give the entry of a key."""
        ...

    async def claim(
        self, key: str, owner: str, lease_seconds: float, *, heeds_halt: bool = True
    ) -> Entry:
        """Take the entry for some time; the fence goes up, and older holders can't write any more.

        A final entry is given as it is, unclaimed. An owner may claim again what it has. Whoever
        will send nothing that may pay, and only writes what it learned, need not heed a halt.

        Raises:
            InProgress: another owner's lease hasn't ended.
            PayoutsHalted: by its kind, a `ConfirmationMismatch`, `JournalForgot` or `Quarantined`.
            Misuse: there is no such key.

        """
        ...

    async def advance(self, entry: Entry, event: Event, changes: Changes = NO_CHANGES) -> Entry:
        """Write a step, and a line of the log with it; a final step gives the entry back.

        `Event.SESSION_CHOSEN` needs ``changes.session_id``. `Event.SESSION_LEFT` clears the
        session and the item, and counts the session as left. Elsewhere a session can be named only
        where none is known: of a one-step payout.

        Raises:
            Misuse: the step isn't legal, or the session was used before; nothing is changed.
            LostLease: somebody else claimed the entry, it was given back, or it went on.

        """
        ...

    async def renew(self, entry: Entry, lease_seconds: float) -> Entry:
        """Lengthen the lease, counted from now.

        Raises:
            LostLease: somebody else claimed the entry, or it was given back.

        """
        ...

    async def release(
        self, entry: Entry, *, not_before: float | Kept | None = KEEP, backs_off: bool = False
    ) -> None:
        """Give the entry back; ``not_before``: look at it again not before then, None: any time.

        ``backs_off``: look again when it has stood at its step for as long again as by now, after
        a second at least and an hour at most. Nothing is changed when the lease was lost, or the
        entry is final.
        """
        ...

    async def open_entries(
        self,
        limit: int,
        *,
        steps: Collection[Step] = WORKABLE,
        batch: str | None = None,
        is_due: bool = True,
    ) -> tuple[Entry, ...]:
        """Give entries that can be worked on now, the oldest first.

        They are at one of these steps (`Step.UNKNOWN` has to be asked for: nothing can be done
        about it without news), not leased, and, if they have to be due, their ``not_before`` has
        passed.
        """
        ...

    async def entries(
        self,
        limit: int,
        *,
        after: str | None = None,
        steps: Collection[Step] = EVERY_STEP,
        batch: str | None = None,
    ) -> tuple[Entry, ...]:
        """Give a page of all entries, in the order in which they came, behind the key ``after``."""
        ...

    async def by_session(self, session_id: str) -> Entry | None:
        """Give the entry that uses this session, or used and left it."""
        ...

    async def counts(self, *, batch: str | None = None) -> Mapping[Step, int]:
        """Count the entries by step, of all or of one batch; a step without any isn't named."""
        ...

    async def sums(self, *, batch: str | None = None) -> Mapping[tuple[Step, str], int]:
        """Add up the amounts by step and currency, in minor units, of all or of one batch."""
        ...

    async def put_batch(self, batch: Batch) -> Batch:
        """Write a batch, new or again, and give what is written; ``begun_at`` stays the first."""
        ...

    async def batch(self, name: str) -> Batch | None:
        """Give a batch by its name."""
        ...

    async def halt(self, halt: Halt | None) -> None:
        """Put the brake on; None lifts it. One without an end isn't replaced by one that ends."""
        ...

    async def halted(self) -> Halt | None:
        """Give the halt that holds now."""
        ...

    async def history(self, key: str) -> tuple[Attempt, ...]:
        """Give the log of an entry, the oldest line first."""
        ...
