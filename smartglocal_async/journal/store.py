"""What a journal promises: the protocol, which every store keeps."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from ..errors import KeyReused
from .entries import (
    EVERY_STEP,
    KEEP,
    NO_CHANGES,
    WORKABLE,
    Attempt,
    Batch,
    BatchState,
    Changes,
    Entry,
    Halt,
    Kept,
    Learned,
    NewEntry,
    OpenClaims,
)
from .states import Event, Step


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
        will send nothing that may pay, and only writes what it learned, need not heed a halt. A
        lease lasts ten minutes at most; one that seems longer is over: a clock was set back.

        Raises:
            InProgress: another owner's lease hasn't ended.
            PayoutsHalted: by its kind, a `ConfirmationMismatch`, `JournalForgot` or `Quarantined`.
            Misuse: there is no such key.

        """
        ...

    async def take(
        self,
        new: NewEntry,
        owner: str,
        lease_seconds: float,
        *,
        heeds_halt: bool = True,
        intends: Event | None = None,
    ) -> Entry:
        """Accept and claim in one commit; raises what the two would, and changes nothing then.

        ``intends`` is written in that commit, too, if nothing was ever intended for the entry: it
        is at `Step.NEW`, and its ``attempts`` are none.
        """
        ...

    async def claim_open(
        self,
        limit: int,
        owner: str,
        lease_seconds: float,
        *,
        steps: Collection[Step] = WORKABLE,
        batch: str | None = None,
    ) -> OpenClaims:
        """Take so many entries that can be worked on now and are due, the oldest first.

        Nobody waits for anybody: what another one is taking at this moment is passed over, and so
        are batches that don't run.

        Raises:
            PayoutsHalted: as of `claim`.

        """
        ...

    async def advance(
        self,
        entry: Entry,
        event: Event,
        changes: Changes = NO_CHANGES,
        *,
        learned: Learned | None = None,
    ) -> Entry:
        """Write a step, and a line of the log with it; a final step gives the entry back.

        What was ``learned`` is written before it, in the same commit, with a line of its own.

        `Event.SESSION_CHOSEN` needs ``changes.session_id``. `Event.SESSION_LEFT` clears the
        session and the item, and counts the session as left. Elsewhere a session can be named only
        where none is known: of a one-step payout.

        Raises:
            Misuse: the step isn't legal, or the session was used before, or what was learned isn't
                of the kind that can wait; nothing is changed.
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
        after: str | None = None,
        steps: Collection[Step] = WORKABLE,
        batch: str | None = None,
        is_due: bool = True,
    ) -> tuple[Entry, ...]:
        """Give entries that can be worked on now, the oldest first, behind the key ``after``.

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
        """Write a batch, new or again, and give what is written.

        ``begun_at`` stays the first, and the state stays as it was set.
        """
        ...

    async def set_batch_state(
        self, name: str, state: BatchState, reason: str | None = None
    ) -> Batch:
        """Have `claim_open` give payouts of a batch, or none.

        Raises:
            Misuse: there is no such batch, or it was cancelled, which stays so.

        """
        ...

    async def cover(self, name: str, cover: Mapping[str, int]) -> Batch:
        """Say how much of a batch the wallets pay for, where it stops on a low balance.

        It holds for half a minute. In minor units by currency, of all that the batch ever begins;
        what it paid is part of that.

        Raises:
            Misuse: there is no such batch.

        """
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
