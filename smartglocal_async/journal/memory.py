"""A journal in memory, for tests: it is lost with the process."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from attrs import Factory, define, evolve, field

from ..errors import JournalUnusable, KeyReused, Misuse
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
from .fingerprints import packed, shortened, unpacked
from .limits import is_leased
from .rows import FORGETS, Page, is_same
from .states import Event, Step
from .transitions import Transitions


@define(eq=False)
class _MemoryRows:
    """The entries by key, in the order of acceptance."""

    clock: Callable[[], float]
    entries: dict[str, Entry] = field(factory=dict[str, Entry])
    sessions: dict[str, str] = field(factory=dict[str, str])
    lines: list[Attempt] = field(factory=list[Attempt])
    batches: dict[str, Batch] = field(factory=dict[str, Batch])
    brake: Halt | None = None
    actions: list[OperatorAction] = field(factory=list[OperatorAction])

    @property
    def wait_seconds(self) -> float | None:
        return None

    def find(self, key: str) -> Entry | None:
        return self.entries.get(key)

    def insert(self, entry: Entry) -> None:
        self.entries[entry.key] = entry

    def replace(self, found: Entry, after: Entry) -> None:
        self.entries[found.key] = after

    def key_of(self, session_id: str) -> str | None:
        return self.sessions.get(session_id)

    def use(self, session_id: str, entry: Entry) -> None:
        self.sessions[session_id] = entry.key

    def log(self, attempt: Attempt) -> None:
        self.lines.append(attempt)

    def add_action(self, action: OperatorAction) -> None:
        self.actions.append(action)

    def halt(self) -> Halt | None:
        return self.brake

    def set_halt(self, halt: Halt | None) -> None:
        self.brake = halt

    def batch(self, name: str) -> Batch | None:
        return self.batches.get(name)

    def set_batch(self, batch: Batch) -> None:
        self.batches[batch.name] = batch

    def free(self, page: Page, *, is_due: bool, is_running: bool) -> Iterable[Entry]:
        now, running = self.clock(), BatchState.RUNNING
        held = {one.name for one in self.batches.values() if one.state is not running}
        found = (
            entry
            for entry in self.after(page.after)
            if entry.step in page.steps
            and not entry.step.is_final
            and page.batch in {None, entry.batch}
            and not is_leased(entry, now)
            and (not is_due or (entry.not_before or 0) <= now)
            and not (is_running and entry.batch in held)
        )
        return islice(found, max(0, page.limit))

    def after(self, key: str | None) -> list[Entry]:
        entries = list(self.entries.values())
        if key is None:
            return entries
        return entries[list(self.entries).index(key) + 1 :] if key in self.entries else []


@define(eq=False)
class MemoryJournal:
    """A journal that is lost with the process; never use it for real money.

    ``unsafe=True`` makes ``durable`` true, so that a test can pay with it.
    """

    unsafe: bool = field(default=False, kw_only=True)
    clock: Callable[[], float] = field(default=time.time, kw_only=True)  # noqa: TID251 - the clock itself
    journal_id: str = field(factory=lambda: os.urandom(8).hex(), init=False)
    secret: bytes = field(factory=lambda: os.urandom(16), init=False, repr=False)
    _scope: str | None = field(default=None, init=False)
    _is_open: bool = field(default=False, init=False)
    _rows: _MemoryRows = field(
        default=Factory(lambda self: _MemoryRows(self.clock), takes_self=True),
        init=False,
        repr=False,
    )
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    @property
    def durable(self) -> bool:
        """Returns ``unsafe``. Never durable; lets tests pass the durability check."""
        return self.unsafe

    async def open(self, scope: str) -> None:
        """Open the journal for a server and a project."""
        if self._scope is not None and not is_same(self._scope, scope):
            raise JournalUnusable(f"the journal belongs to {self._scope}, not to {scope}")
        self._scope, self._is_open = scope, True

    async def close(self) -> None:
        """Refuse all calls until it is opened again; the entries stay."""
        self._is_open = False

    async def accept(self, new: NewEntry) -> Entry:
        """Write a new entry; return it, or the existing one of its key."""
        with self._write() as transitions:
            return transitions.accept(new)

    async def find(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        with self._read() as rows:
            return rows.find(key)

    async def accept_many(self, news: Sequence[NewEntry]) -> tuple[Entry | KeyReused, ...]:
        """Write new entries, each as if alone."""
        with self._write() as transitions:
            return transitions.accept_many(news)

    async def claim(
        self, key: str, owner: str, lease_seconds: float, *, respects_halt: bool = True
    ) -> Entry:
        """Lease the entry; the fence goes up."""
        with self._write() as transitions:
            return transitions.claim(key, owner, lease_seconds, respects_halt=respects_halt)

    async def take(
        self,
        new: NewEntry,
        owner: str,
        lease_seconds: float,
        *,
        respects_halt: bool = True,
        intends: Event | None = None,
    ) -> Entry:
        """Accept and claim in one step."""
        with self._write() as transitions:
            return transitions.take(
                new, owner, lease_seconds, respects_halt=respects_halt, intends=intends
            )

    async def claim_open(
        self,
        limit: int,
        owner: str,
        lease_seconds: float,
        *,
        steps: Collection[Step] = WORKABLE,
        batch: str | None = None,
    ) -> OpenClaims:
        """Claim entries that can be worked on now, the oldest first."""
        page = Page(limit=limit, after=None, steps=steps, batch=batch)
        with self._write() as transitions:
            return transitions.claim_open(page, owner, lease_seconds)

    async def advance(
        self,
        entry: Entry,
        event: Event,
        changes: Changes = NO_CHANGES,
        *,
        pending: PendingEvent | None = None,
        operator: str | None = None,
    ) -> Entry:
        """Write an event, and its line of the log."""
        with self._write() as transitions:
            return transitions.advance(entry, event, changes, pending, operator)

    async def retry(self, entry: Entry) -> Entry:
        """Take a failed entry up again."""
        with self._write() as transitions:
            return transitions.retry(entry)

    async def renew(self, entry: Entry, lease_seconds: float) -> Entry:
        """Extend the lease, counted from now."""
        with self._write() as transitions:
            return transitions.renew(entry, lease_seconds)

    async def release(
        self, entry: Entry, *, not_before: float | Kept | None = KEEP, backs_off: bool = False
    ) -> None:
        """End the lease of the entry."""
        with self._write() as transitions:
            transitions.release(entry, not_before, backs_off=backs_off)

    async def open_entries(
        self,
        limit: int,
        *,
        after: str | None = None,
        steps: Collection[Step] = WORKABLE,
        batch: str | None = None,
        is_due: bool = True,
    ) -> tuple[Entry, ...]:
        """Return entries that can be worked on now, the oldest first."""
        page = Page(limit=limit, after=after, steps=steps, batch=batch)
        with self._read() as rows:
            return tuple(rows.free(page, is_due=is_due, is_running=False))

    async def entries(
        self,
        limit: int,
        *,
        after: str | None = None,
        steps: Collection[Step] = EVERY_STEP,
        batch: str | None = None,
    ) -> tuple[Entry, ...]:
        """Return a page of all entries in the order of acceptance."""
        with self._read() as rows:
            found = [
                entry
                for entry in rows.after(after)
                if entry.step in steps and batch in {None, entry.batch}
            ]
        return tuple(found[: max(0, limit)])

    async def by_session(self, session_id: str) -> Entry | None:
        """Return the entry that uses this session, or used it before."""
        with self._read() as rows:
            return rows.entries.get(rows.sessions.get(session_id, ""))

    async def counts(self, *, batch: str | None = None) -> Mapping[Step, int]:
        """Count the entries by step."""
        with self._read() as rows:
            entries = rows.entries.values()
            return Counter(entry.step for entry in entries if batch in {None, entry.batch})

    async def sums(self, *, batch: str | None = None) -> Mapping[tuple[Step, str], int]:
        """Add up the amounts by step and currency."""
        sums = Counter[tuple[Step, str]]()
        with self._read() as rows:
            for entry in rows.entries.values():
                if entry.currency is not None and batch in {None, entry.batch}:
                    sums[entry.step, entry.currency] += entry.amount or 0
        return sums

    async def put_batch(self, batch: Batch) -> Batch:
        """Write a batch, new or again."""
        with self._write() as transitions:
            return transitions.put_batch(batch)

    async def set_batch_state(
        self,
        name: str,
        state: BatchState,
        reason: str | None = None,
        *,
        operator: str | None = None,
    ) -> Batch:
        """Set whether `claim_open` returns payouts of a batch."""
        with self._write() as transitions:
            return transitions.set_batch_state(name, state, reason, operator)

    async def cover(self, name: str, cover: Mapping[str, int]) -> Batch:
        """Store how much of a batch the wallets cover, if the batch stops on a low balance."""
        with self._write() as transitions:
            return transitions.cover(name, cover)

    async def batch(self, name: str) -> Batch | None:
        """Return a batch by its name."""
        with self._read() as rows:
            return rows.batch(name)

    async def halt(self, halt: Halt | None) -> None:
        """Halt all payouts; None ends the halt."""
        with self._write() as transitions:
            transitions.halt(halt)

    async def halted(self) -> Halt | None:
        """Return the halt that is in force now."""
        with self._write() as transitions:
            return transitions.halted()

    async def check_halt(self) -> None:
        """Store that the reports were compared while a halt is in force."""
        with self._write() as transitions:
            transitions.check_halt()

    async def resume(self, *, unchecked: bool = False) -> Halt | None:
        """Lift the halt that is in force now, and return it."""
        with self._write() as transitions:
            return transitions.resume(unchecked=unchecked)

    async def lacks(self, keys: Collection[str]) -> frozenset[str]:
        """Return the keys that are unknown, or not at a final step."""
        with self._read() as rows:
            found = {key: rows.entries.get(key) for key in keys}
        return frozenset(
            key for key, entry in found.items() if entry is None or not entry.step.is_final
        )

    async def same_payments(self, payments: Collection[bytes]) -> tuple[SamePayment, ...]:
        """Return the payouts with these digests of payee and sum."""
        last = dict[tuple[bytes, str | None], Entry]()
        with self._read() as rows:
            for entry in sorted(rows.entries.values(), key=lambda entry: entry.updated_at):
                if entry.payment in payments and entry.step not in {Step.FAILED, Step.CANCELLED}:
                    last[entry.payment or b"", entry.batch] = entry
        return tuple(
            SamePayment(payment=payment, batch=batch, key=one.key, step=one.step, at=one.updated_at)
            for (payment, batch), one in last.items()
        )

    async def forget(self, before: float) -> int:
        """Drop personal data from payouts that were settled before a time."""
        nothing: dict[str, Any] = dict.fromkeys(FORGETS)
        forgotten = set[str]()
        with self._read() as rows:
            for key, entry in rows.entries.items():
                if not entry.step.is_final or entry.updated_at >= before:
                    continue
                short = unpacked(shortened(packed(entry.fingerprint)))
                after = evolve(entry, fingerprint=short, **nothing)
                if after != entry or any(line.key == key for line in rows.lines):
                    forgotten.add(key)
                    rows.entries[key] = after
            rows.lines = [line for line in rows.lines if line.key not in forgotten]
        return len(forgotten)

    async def history(self, key: str) -> tuple[Attempt, ...]:
        """Return the log of an entry, the oldest line first."""
        with self._read() as rows:
            return tuple(line for line in rows.lines if line.key == key)

    async def actions(
        self, limit: int, *, batch: str | None = None, key: str | None = None
    ) -> tuple[OperatorAction, ...]:
        """Return what operators changed, the newest first."""
        with self._read() as rows:
            found = (
                one
                for one in reversed(rows.actions)
                if batch in {None, one.batch} and key in {None, one.key}
            )
            return tuple(islice(found, max(0, limit)))

    @contextmanager
    def _read(self) -> Generator[_MemoryRows]:
        if not self._is_open:
            raise Misuse("the journal isn't open: `await journal.open(...)` first")
        with self._lock:
            yield self._rows

    @contextmanager
    def _write(self) -> Generator[Transitions]:
        with self._read() as rows:
            yield Transitions(rows, self.clock)
