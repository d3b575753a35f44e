"""The protocol that every journal store implements, and helpers to read in pages."""

from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from itertools import islice
from typing import Final, Protocol, TypeVar

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
    NewEntry,
    OpenClaims,
    OperatorAction,
    PendingEvent,
    SamePayment,
)
from .states import Event, Step


class Journal(Protocol):
    """Stores payouts. What a method returned is durable.

    Every method but ``open`` and ``close`` raises `Misuse` if the journal isn't open, and
    `JournalUnusable` if it can't be written: then nothing may be sent.
    """

    @property
    def durable(self) -> bool:
        """Whether what is written outlives a loss of power.

        Payouts refuse a journal that isn't durable. A `MemoryJournal` returns its ``unsafe``.
        """
        ...

    @property
    def journal_id(self) -> str:
        """A random name, made with the journal; known once it is open."""
        ...

    @property
    def secret(self) -> bytes:
        """The secret for fingerprints, made with the journal; known once it is open."""
        ...

    async def open(self, scope: str) -> None:
        """Open the journal for a server and a project, to which it belongs from then on.

        Opening it again for the same scope changes nothing.

        Raises:
            JournalUnusable: it belongs to another scope, or can't be used; the text says why.

        """
        ...

    async def close(self) -> None:
        """Finish the pending requests and close the journal; leases stay as they are."""
        ...

    async def accept(self, new: NewEntry) -> Entry:
        """Write a new entry at `Step.NEW`; return it, or the existing one of its key.

        Raises:
            KeyReused: the key exists with another request or mode.

        """
        ...

    async def accept_many(self, news: Sequence[NewEntry]) -> tuple[Entry | KeyReused, ...]:
        """Write new entries in one commit; return each entry, or what `accept` would raise."""
        ...

    async def find(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        ...

    async def claim(
        self, key: str, owner: str, lease_seconds: float, *, respects_halt: bool = True
    ) -> Entry:
        """Lease the entry; the fence goes up, so that earlier holders can't write any more.

        A final entry is returned as it is, without a lease. An owner may claim again what it has.
        ``respects_halt=False`` is for callers that send no call that may pay, and only write what
        they observed. A lease of more than ten minutes counts as over: the clock was set back.

        Raises:
            InProgress: another owner's lease hasn't ended.
            PayoutsHalted: the subclass of the halt's kind.
            Misuse: the key is unknown.

        """
        ...

    async def take(
        self,
        new: NewEntry,
        owner: str,
        lease_seconds: float,
        *,
        respects_halt: bool = True,
        intends: Event | None = None,
    ) -> Entry:
        """Accept and claim in one commit; raises what both would, and changes nothing then.

        ``intends`` is written in the same commit if nothing was ever intended for the entry: it is
        at `Step.NEW` and has no ``attempts``.
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
        """Claim up to ``limit`` entries that can be worked on now and are due, the oldest first.

        It never waits: entries that another process is claiming at this moment are skipped, and so
        are batches that aren't running.

        Raises:
            PayoutsHalted: as in `claim`.

        """
        ...

    async def advance(
        self,
        entry: Entry,
        event: Event,
        changes: Changes = NO_CHANGES,
        *,
        pending: PendingEvent | None = None,
        operator: str | None = None,
    ) -> Entry:
        """Write an event and its line of the log; a final step ends the lease.

        ``pending`` is written before it, in the same commit, with its own line. With ``operator``,
        the name of a person, an `OperatorAction` is written, too.

        `Event.SESSION_CHOSEN` needs ``changes.session_id``. `Event.SESSION_LEFT` clears the
        session and the item, and counts the session as left. Otherwise a session can be named only
        if none is known: for a one-step payout.

        Raises:
            Misuse: the step isn't legal, the session was used before, or ``pending`` isn't an event
                that can wait; nothing is changed.
            LostLease: another owner claimed the entry, it was released, or it has moved on.
            PayoutsHalted: a halt forbids the event. Any halt forbids the intent of a call that may
                move money; one of a journal that may lack payouts also `Event.NOT_PAID`.

        """
        ...

    async def retry(self, entry: Entry) -> Entry:
        """Write `Event.RETRIED`: a failed entry is at `Step.NEW` again, unclaimed, and due.

        The caller has to know that no money can move in its session any more. The session is
        cleared, and counts as left; code, reason and ``attempts`` are reset. The fence goes up.

        Raises:
            Misuse: the entry isn't at `Step.FAILED`, or its batch was cancelled.
            LostLease: it has changed since it was read.
            PayoutsHalted: as in `claim`.

        """
        ...

    async def renew(self, entry: Entry, lease_seconds: float) -> Entry:
        """Extend the lease, counted from now.

        Raises:
            LostLease: another owner claimed the entry, it was released, or it has moved on.

        """
        ...

    async def release(
        self, entry: Entry, *, not_before: float | Kept | None = KEEP, backs_off: bool = False
    ) -> None:
        """End the lease of the entry; it isn't due before ``not_before`` (None: due at once).

        With ``backs_off`` the pause is as long as the entry has been at its step, at least a second
        and at most an hour. Nothing is changed if the lease was lost, or the entry is final.
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
        """Return entries that can be worked on now, the oldest first, after the key ``after``.

        They are at one of these steps, not leased, and due if ``is_due``. `Step.UNKNOWN` has to be
        named: only a webhook, a report or an operator can settle it.
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
        """Return a page of all entries in the order of acceptance, after the key ``after``."""
        ...

    async def by_session(self, session_id: str) -> Entry | None:
        """Return the entry that uses this session, or used it before."""
        ...

    async def counts(self, *, batch: str | None = None) -> Mapping[Step, int]:
        """Count the entries by step, all or those of a batch; steps without any are left out."""
        ...

    async def sums(self, *, batch: str | None = None) -> Mapping[tuple[Step, str], int]:
        """Add up the amounts by step and currency, in minor units, of all or of one batch."""
        ...

    async def put_batch(self, batch: Batch) -> Batch:
        """Write a batch, new or again, and return what is written.

        ``begun_at`` keeps its first value, and the state is unchanged.
        """
        ...

    async def set_batch_state(
        self,
        name: str,
        state: BatchState,
        reason: str | None = None,
        *,
        operator: str | None = None,
    ) -> Batch:
        """Set whether `claim_open` returns payouts of a batch.

        With ``operator``, the name of a person, an `OperatorAction` is written in the same commit.

        Raises:
            Misuse: there is no such batch, or it was cancelled, which is final.

        """
        ...

    async def cover(self, name: str, cover: Mapping[str, int]) -> Batch:
        """Store how much of a batch the wallets cover, if the batch stops on a low balance.

        It is valid for half a minute. In minor units by currency; it covers all that the batch ever
        begins, including what it has paid.

        Raises:
            Misuse: there is no such batch.

        """
        ...

    async def batch(self, name: str) -> Batch | None:
        """Return a batch by its name."""
        ...

    async def halt(self, halt: Halt | None) -> None:
        """Halt all payouts; None ends the halt.

        A halt without an end isn't replaced by one that ends. One that needs a check isn't replaced
        by one that doesn't; the reason of that is added to it.
        """
        ...

    async def halted(self) -> Halt | None:
        """Return the halt that is in force now."""
        ...

    async def check_halt(self) -> None:
        """Store that the provider's reports were compared while a halt is in force."""
        ...

    async def resume(self, *, unchecked: bool = False) -> Halt | None:
        """Lift the halt that is in force now, and return it.

        ``unchecked`` also ends one that `Halt.needs_check`.

        Raises:
            Misuse: it may be ended only after `check_halt`; it stays in force.

        """
        ...

    async def lacks(self, keys: Collection[str]) -> frozenset[str]:
        """Return the keys that are unknown, or not at a final step.

        If another record, such as a results file, shows them as settled, the journal is an older
        copy.
        """
        ...

    async def same_payments(self, payments: Collection[bytes]) -> tuple[SamePayment, ...]:
        """Return the payouts with these digests of payee and sum (`NewEntry.payment`).

        One for each digest and batch: the one that was written last, except `Step.FAILED` and
        `Step.CANCELLED`, for which no money moved.
        """
        ...

    async def forget(self, before: float) -> int:
        """Drop personal data from payouts that were settled before a time; return how many had any.

        The time is in seconds since 1970. Key, step, session and item ids, code, amount and
        currency stay, and 8 bytes of the fingerprint, so that the key still refuses another
        request. The request, the summary, the reason and the log are dropped. Other payouts are
        never changed.
        """
        ...

    async def history(self, key: str) -> tuple[Attempt, ...]:
        """Return the log of an entry, the oldest line first."""
        ...

    async def actions(
        self, limit: int, *, batch: str | None = None, key: str | None = None
    ) -> tuple[OperatorAction, ...]:
        """Return what operators changed, the newest first: all, or that of a batch or a payout.

        Only changes that were made with the name of an operator.
        """
        ...


T = TypeVar("T")
PAGE: Final = 256
"""How many entries one page has."""


async def each(
    fetch: Callable[[str | None], Awaitable[tuple[Entry, ...]]],
) -> AsyncGenerator[Entry]:
    """Yield the entries of all pages that ``fetch`` returns for the key before them."""
    after: str | None = None
    while True:
        page = await fetch(after)
        for entry in page:
            yield entry
        if len(page) < PAGE:
            return
        after = page[-1].key


def in_groups(source: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Yield the items of a source in tuples of ``size``."""
    rest = iter(source)
    while group := tuple(islice(rest, size)):
        yield group
