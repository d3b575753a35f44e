"""What may be written when: decided here for every journal, over rows that are kept elsewhere."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from attrs import evolve, frozen

from ..errors import (
    ConfirmationMismatch,
    InProgress,
    JournalForgot,
    KeyReused,
    LostLease,
    Misuse,
    PayoutsHalted,
    Quarantined,
)
from .entries import (
    KEEP,
    NO_CHANGES,
    Attempt,
    Batch,
    BatchState,
    Changes,
    Entry,
    Halt,
    HaltKind,
    Kept,
    Learned,
    NewEntry,
    OpenClaims,
)
from .leases import is_leased, lease_end, next_look
from .packing import Page
from .ruling import (
    COUNTED,
    forbids,
    is_bound,
    is_covered,
    named,
    set_to,
    with_begun,
    with_left,
    with_settled,
)
from .states import CAN_WAIT, LEARNS_SESSION, STEPS, Event, Step

_SENDS: Final = frozenset(
    {
        Event.CREATE_INTENDED,
        Event.SESSION_CHOSEN,
        Event.LEAVE_INTENDED,
        Event.CONFIRM_INTENDED,
        Event.INIT_INTENDED,
    }
)
"""The events after which a call may be sent."""
_INTENTS: Final = frozenset({Event.CREATE_INTENDED, Event.INIT_INTENDED})
"""What may be written with a claim."""
_HALTS: Final[Mapping[HaltKind, type[PayoutsHalted]]] = {
    HaltKind.MISMATCH: ConfirmationMismatch,
    HaltKind.FORGOT: JournalForgot,
    HaltKind.QUARANTINE: Quarantined,
}


class Rows(Protocol):
    """The rows of a journal, within one transaction that its caller began."""

    @property
    def wait_seconds(self) -> float | None:
        """When to ask again for what is free, where a limit of all workers is reached."""
        ...

    def find(self, key: str) -> Entry | None:
        """Give the entry of a key."""
        ...

    def insert(self, entry: Entry) -> None:
        """Add the entry of a key that isn't there."""
        ...

    def replace(self, found: Entry, after: Entry) -> None:
        """Put an entry in the place of the one that was found under its key."""
        ...

    def free(self, page: Page, *, is_due: bool, is_running: bool) -> Iterable[Entry]:
        """Give a page of those that can be worked on now; or only of batches that are running."""
        ...

    def key_of(self, session_id: str) -> str | None:
        """Give the key that ever used a session."""
        ...

    def use(self, session_id: str, entry: Entry) -> None:
        """Remember for ever that a session is an entry's."""
        ...

    def log(self, attempt: Attempt) -> None:
        """Add a line to the log."""
        ...

    def halt(self) -> Halt | None:
        """Give the halt that was written last, though it may have ended."""
        ...

    def set_halt(self, halt: Halt | None) -> None:
        """Write a halt in the place of the last one."""
        ...

    def batch(self, name: str) -> Batch | None:
        """Give a batch."""
        ...

    def set_batch(self, batch: Batch) -> None:
        """Write a batch in the place of the one with its name."""
        ...


@frozen
class Writing:
    """Everything that changes a journal; what is refused changes nothing."""

    rows: Rows
    clock: Callable[[], float]

    def accept(self, new: NewEntry) -> Entry:
        """Write a new entry, or give the one that is there."""
        found = self.rows.find(new.key)
        if found is not None:
            return _matched(found, new)
        entry = _entry(new, self.clock())
        self.rows.insert(entry)
        return entry

    def take(
        self,
        new: NewEntry,
        owner: str,
        lease_seconds: float,
        *,
        heeds_halt: bool,
        intends: Event | None,
    ) -> Entry:
        """Write a new entry, or find the one that is there, and take it."""
        if intends is not None and intends not in _INTENTS:
            raise Misuse(f"{intends.value!r} can't be written with a claim: key {new.key!r}")
        found = self.rows.find(new.key)
        if found is not None and _matched(found, new).step.is_final:
            return found
        entry = found or _entry(new, self.clock())
        taken = self._leased(entry, owner, lease_seconds, heeds_halt=heeds_halt)
        is_new = entry.step is Step.NEW and not entry.attempts and entry.mode == new.mode
        if intends is not None and is_new:
            taken = self._intended(taken, intends)
        if found is not None:
            return self._replace(found, taken)
        self.rows.insert(taken)
        return taken

    def _intended(self, entry: Entry, event: Event) -> Entry:
        after = _advanced(entry, event, NO_CHANGES, self.clock())
        self.rows.log(_line(entry, after, event, NO_CHANGES))
        return after

    def accept_many(self, news: Sequence[NewEntry]) -> tuple[Entry | KeyReused, ...]:
        """Write new entries, each as if alone."""
        return tuple(map(self._accepted, news))

    def _accepted(self, new: NewEntry) -> Entry | KeyReused:
        try:
            return self.accept(new)
        except KeyReused as reused:
            return reused.with_traceback(None)

    def claim(self, key: str, owner: str, lease_seconds: float, *, heeds_halt: bool) -> Entry:
        """Take an entry: the fence goes up."""
        found = self.rows.find(key)
        if found is None:
            raise Misuse(f"the journal has no payout with the key {key!r}")
        return self._claimed(found, owner, lease_seconds, heeds_halt=heeds_halt)

    def claim_open(self, page: Page, owner: str, lease_seconds: float) -> OpenClaims:
        """Take entries that can be worked on now."""
        taken: list[Entry] = []
        uncovered, has_paused = dict[str, str](), False
        free = tuple(self.rows.free(page, is_due=True, is_running=True))
        if free and (halt := self.halted()) is not None:
            raise error_of(halt)
        for found in tuple(map(self._left, free)):
            batch = None if is_bound(found) else self._ruled(found)
            if batch is not None:
                if batch.name in uncovered:
                    continue
                if not self._may_begin(batch, found):
                    has_paused = True
                    continue
                if not is_covered(batch, found, self.clock()):
                    uncovered[batch.name] = found.key
                    continue
            taken.append(self._claimed(found, owner, lease_seconds, heeds_halt=True))
        return OpenClaims(tuple(taken), self.rows.wait_seconds, uncovered, has_paused)

    def _may_begin(self, batch: Batch, found: Entry) -> bool:
        """Hold an entry against the rules of its batch, which may end the batch for now."""
        reason = forbids(batch, found) if batch.state is BatchState.RUNNING else None
        if reason is not None:
            self.rows.set_batch(set_to(batch, BatchState.PAUSED, reason))
        return batch.state is BatchState.RUNNING and reason is None

    def _left(self, found: Entry) -> Entry:
        """Give an entry back whose lease is over, and for which nothing was sent: it is new."""
        if found.attempts or found.owner is None or self._ruled(found) is None:
            return found
        return self._freed(found, evolve(found, owner=None, leased_until=None))

    def _freed(self, found: Entry, after: Entry) -> Entry:
        if is_bound(found) and not is_bound(after) and (batch := self._ruled(found)) is not None:
            self.rows.set_batch(with_left(batch, found))
        return self._replace(found, after)

    def _ruled(self, entry: Entry) -> Batch | None:
        """Give the batch of an entry, if it has rules."""
        batch = None if entry.batch is None else self.rows.batch(entry.batch)
        return None if batch is None or batch.rules is None else batch

    def _claimed(
        self, found: Entry, owner: str, lease_seconds: float, *, heeds_halt: bool
    ) -> Entry:
        if found.step.is_final:
            return found
        leased = self._leased(found, owner, lease_seconds, heeds_halt=heeds_halt)
        return self._replace(found, leased)

    def _leased(self, found: Entry, owner: str, lease_seconds: float, *, heeds_halt: bool) -> Entry:
        if heeds_halt and (halt := self.halted()) is not None:
            raise error_of(halt)
        now = self.clock()
        if found.owner not in {None, owner} and is_leased(found, now):
            raise InProgress(found.key, str(found.owner), (found.leased_until or now) - now)
        until = lease_end(now, lease_seconds)
        if not is_bound(found) and (batch := self._ruled(found)) is not None:
            self.rows.set_batch(with_begun(batch, found))
        return evolve(found, fence=found.fence + 1, owner=owner, leased_until=until)

    def advance(
        self, entry: Entry, event: Event, changes: Changes, learned: Learned | None = None
    ) -> Entry:
        """Write a step and a line of the log; or two, of which the first was learned before."""
        _check_step(_step_after(entry, learned), event, entry.key)
        found, now = self._held(entry), self.clock()
        if _place(found) != _place(entry):
            raise LostLease(entry.key, entry.fence)
        known = found
        if learned is not None:
            known = _advanced(found, learned.event, learned.changes, now)
        after = _advanced(known, event, changes, now)
        if after.session_id not in {None, found.session_id}:
            self._use(str(after.session_id), after)
        if learned is not None:
            self.rows.log(_line(found, known, learned.event, learned.changes))
        self.rows.log(_line(known, after, event, changes))
        if event in COUNTED and (batch := self._ruled(after)) is not None:
            self.rows.set_batch(with_settled(batch, after, known.step))
        return self._replace(found, after)

    def renew(self, entry: Entry, lease_seconds: float) -> Entry:
        """Lengthen a lease."""
        found = self._held(entry)
        until = lease_end(self.clock(), lease_seconds)
        return self._replace(found, evolve(found, leased_until=until))

    def release(self, entry: Entry, not_before: float | Kept | None, *, backs_off: bool) -> None:
        """Give an entry back, if it is held still."""
        try:
            found = self._held(entry)
        except LostLease:
            return
        kept = found.not_before if not_before is KEEP else not_before
        if backs_off:
            kept = next_look(found, self.clock())
        free = evolve(found, owner=None, leased_until=None, not_before=kept)
        _ = self._freed(found, free)

    def put_batch(self, batch: Batch) -> Batch:
        """Write a batch."""
        found = self.rows.batch(batch.name)
        written = named(found, evolve(batch, begun_at=self.clock()))
        self.rows.set_batch(written)
        return written

    def set_batch_state(self, name: str, state: BatchState, reason: str | None) -> Batch:
        """Have payouts of a batch be taken, or not."""
        found = self._batch(name)
        if BatchState.CANCELLED is found.state is not state:
            raise Misuse(f"the batch {name!r} was cancelled, and stays so")
        written = set_to(found, state, reason)
        self.rows.set_batch(written)
        return written

    def cover(self, name: str, cover: Mapping[str, int]) -> Batch:
        """Say how much of a batch is paid for."""
        written = evolve(self._batch(name), cover=dict(cover), cover_at=self.clock())
        self.rows.set_batch(written)
        return written

    def _batch(self, name: str) -> Batch:
        found = self.rows.batch(name)
        if found is None:
            raise Misuse(f"the journal has no batch {name!r}")
        return found

    def halt(self, halt: Halt | None) -> None:
        """Put the brake on, or lift it."""
        if halt is not None and halt.until is not None:
            holds = self.halted()
            if holds is not None and holds.until is None:
                return
        self.rows.set_halt(halt)

    def halted(self) -> Halt | None:
        """Give the halt that holds now."""
        return holding(self.rows.halt(), self.clock())

    def _held(self, entry: Entry) -> Entry:
        found = self.rows.find(entry.key)
        if found is None or found.fence != entry.fence or found.owner is None:
            raise LostLease(entry.key, entry.fence)
        return found

    def _replace(self, found: Entry, after: Entry) -> Entry:
        self.rows.replace(found, after)
        return after

    def _use(self, session_id: str, entry: Entry) -> None:
        user = self.rows.key_of(session_id)
        if user is not None:
            raise Misuse(f"the session {session_id} was used before, by the key {user!r}")
        self.rows.use(session_id, entry)


def _entry(new: NewEntry, now: float) -> Entry:
    return Entry(
        key=new.key,
        mode=new.mode,
        fingerprint=new.fingerprint,
        request=new.request,
        amount=new.amount,
        currency=new.currency,
        batch=new.batch,
        ordinal=new.ordinal,
        created_at=now,
        updated_at=now,
    )


def holding(halt: Halt | None, now: float) -> Halt | None:
    """Give a halt that holds at that time."""
    is_over = halt is None or (halt.until is not None and halt.until <= now)
    return None if is_over else halt


def error_of(halt: Halt) -> PayoutsHalted:
    """Give the error to raise while a halt holds."""
    return _HALTS[halt.kind](halt.reason, halt.until)


def _matched(found: Entry, new: NewEntry) -> Entry:
    if differing := _differing(found, new):
        raise KeyReused(new.key, differing)
    return found


def _differing(found: Entry, new: NewEntry) -> tuple[str, ...]:
    if found.fingerprint.is_empty:
        # Adopted from a report, which shows no more of the request than this.
        same = (found.amount, found.currency) == (new.amount, new.currency)
        return () if same or found.amount is None else ("amount_details",)
    differing = found.fingerprint.differing_fields(new.fingerprint)
    return differing if found.mode == new.mode else (*differing, "mode")


def _step_after(entry: Entry, learned: Learned | None) -> Step:
    """Give where an entry stands, with what was learned since it was written."""
    if learned is None:
        return entry.step
    if learned.event not in CAN_WAIT or learned.changes.session_id is not KEEP:
        raise Misuse(f"{learned.event.value!r} can't wait for another step: key {entry.key!r}")
    _check_step(entry.step, learned.event, entry.key)
    return STEPS[entry.step, learned.event]


def _check_step(step: Step, event: Event, key: str) -> None:
    if (step, event) not in STEPS:
        raise Misuse(f"{event.value!r} can't follow {step.name}: key {key!r}")


def _place(entry: Entry) -> tuple[Step, int, str | None]:
    """Tell one visit of a step from the next: the fence alone doesn't."""
    return entry.step, entry.session_no, entry.session_id


def _advanced(found: Entry, event: Event, changes: Changes, now: float) -> Entry:
    step, has_left = STEPS[found.step, event], event is Event.SESSION_LEFT
    item_id = found.item_id if changes.item_id is KEEP else changes.item_id
    return evolve(
        found,
        step=step,
        owner=None if step.is_final else found.owner,
        leased_until=None if step.is_final else found.leased_until,
        updated_at=now,
        session_id=_session(found, event, changes),
        session_no=found.session_no + has_left,
        item_id=None if has_left else item_id,
        result=found.result if changes.result is KEEP else changes.result,
        code=found.code if changes.code is KEEP else changes.code,
        reason=found.reason if changes.reason is KEEP else changes.reason,
        not_before=found.not_before if changes.not_before is KEEP else changes.not_before,
        attempts=found.attempts + (event in _SENDS),
    )


def _session(found: Entry, event: Event, changes: Changes) -> str | None:
    named = changes.session_id
    if event is Event.SESSION_CHOSEN:
        if named is KEEP or not named:
            raise Misuse(f"{event.value!r} needs the session's id: key {found.key!r}")
        return named
    if named is KEEP or named == found.session_id:
        return None if event is Event.SESSION_LEFT else found.session_id
    learns = found.step in LEARNS_SESSION or event is Event.ADOPTED
    if found.session_id is None and learns:
        return named
    raise Misuse(f"{event.value!r} can't name another session: key {found.key!r}")


def _line(found: Entry, after: Entry, event: Event, changes: Changes) -> Attempt:
    return Attempt(
        key=found.key,
        fence=found.fence,
        event=event,
        step=after.step,
        session_id=after.session_id or found.session_id,
        code=None if changes.code is KEEP else changes.code,
        reason=None if changes.reason is KEEP else changes.reason,
        at=after.updated_at,
    )
