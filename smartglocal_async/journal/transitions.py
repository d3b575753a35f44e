"""Decides what may be written, for every journal store, over rows that the store holds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from attrs import evolve, frozen

from ..error_codes import PASSING_CAUSES
from ..errors import (
    ConfirmationMismatch,
    InProgress,
    JournalForgot,
    KeyReused,
    LostLease,
    Misuse,
    PayoutConflict,
    PayoutsHalted,
    Quarantined,
    SessionTaken,
)
from ..idempotency import WHOLE
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
    NewEntry,
    OpenClaims,
    OperatorAction,
    PendingEvent,
)
from .fingerprints import differing
from .limits import (
    COUNTED,
    forbids,
    is_bound,
    is_covered,
    is_leased,
    lease_end,
    named,
    next_due,
    set_to,
    with_begun,
    with_left,
    with_settled,
)
from .rows import Page
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
"""Events that announce a call, which may be sent after them."""
_INTENTS: Final = frozenset({Event.CREATE_INTENDED, Event.INIT_INTENDED})
"""Events that may be written together with a claim."""
_LEADS_TO_MONEY: Final = frozenset(
    {Event.SESSION_CHOSEN, Event.CONFIRM_INTENDED, Event.INIT_INTENDED}
)
"""Events that announce a call which may move money."""
_LEAVES_SESSION: Final = frozenset({Event.SESSION_LEFT, Event.RETRIED})
_FORGETS_CALLS: Final = Changes(code=None, reason=None, result=None, not_before=None)
_HALTS: Final[Mapping[HaltKind, type[PayoutsHalted]]] = {
    HaltKind.MISMATCH: ConfirmationMismatch,
    HaltKind.CONFLICT: PayoutConflict,
    HaltKind.FORGOT: JournalForgot,
    HaltKind.QUARANTINE: Quarantined,
}


class JournalRows(Protocol):
    """The rows of a journal, within a transaction that the caller began."""

    @property
    def wait_seconds(self) -> float | None:
        """When to claim again, if a shared limit is reached."""
        ...

    def find(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        ...

    def insert(self, entry: Entry) -> None:
        """Add the entry of a new key."""
        ...

    def replace(self, found: Entry, after: Entry) -> None:
        """Replace the entry that was found under its key."""
        ...

    def free(self, page: Page, *, is_due: bool, is_running: bool) -> Iterable[Entry]:
        """Return a page of the entries that can be worked on now, or only of running batches."""
        ...

    def key_of(self, session_id: str) -> str | None:
        """Return the key that uses or used a session."""
        ...

    def use(self, session_id: str, entry: Entry) -> None:
        """Store permanently that a session belongs to an entry."""
        ...

    def log(self, attempt: Attempt) -> None:
        """Add a line to the log."""
        ...

    def add_action(self, action: OperatorAction) -> None:
        """Add what an operator changed."""
        ...

    def halt(self) -> Halt | None:
        """Return the last written halt, even if it has ended."""
        ...

    def set_halt(self, halt: Halt | None) -> None:
        """Replace the last halt."""
        ...

    def batch(self, name: str) -> Batch | None:
        """Return a batch."""
        ...

    def set_batch(self, batch: Batch) -> None:
        """Replace the batch with this name."""
        ...


@frozen
class Transitions:
    """All changes of a journal; a refused one changes nothing."""

    rows: JournalRows
    clock: Callable[[], float]

    def accept(self, new: NewEntry) -> Entry:
        """Write a new entry; return it, or the existing one of its key."""
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
        respects_halt: bool,
        intends: Event | None,
    ) -> Entry:
        """Write a new entry, or find the existing one, and claim it."""
        if intends is not None and intends not in _INTENTS:
            raise Misuse(f"{intends.value!r} can't be written with a claim: key {new.key!r}")
        found = self.rows.find(new.key)
        if found is not None and _matched(found, new).step.is_final:
            return found
        entry = found or _entry(new, self.clock())
        taken = self._leased(entry, owner, lease_seconds, respects_halt=respects_halt)
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

    def claim(self, key: str, owner: str, lease_seconds: float, *, respects_halt: bool) -> Entry:
        """Claim an entry: the fence goes up."""
        found = self.rows.find(key)
        if found is None:
            raise Misuse(f"the journal has no payout with the key {key!r}")
        return self._claimed(found, owner, lease_seconds, respects_halt=respects_halt)

    def claim_open(self, page: Page, owner: str, lease_seconds: float) -> OpenClaims:
        """Claim entries that can be worked on now."""
        taken: list[Entry] = []
        uncovered, has_paused = dict[str, str](), False
        free = tuple(self.rows.free(page, is_due=True, is_running=True))
        if free and (halt := self.halted()) is not None:
            raise error_of(halt)
        for found in tuple(map(self._release_expired, free)):
            batch = None if is_bound(found) else self._batch_with_rules(found)
            if batch is not None:
                if batch.name in uncovered:
                    continue
                if not self._may_begin(batch, found):
                    has_paused = True
                    continue
                if not is_covered(batch, found, self.clock()):
                    uncovered[batch.name] = found.key
                    continue
            taken.append(self._claimed(found, owner, lease_seconds, respects_halt=True))
        return OpenClaims(tuple(taken), self.rows.wait_seconds, uncovered, has_paused)

    def _may_begin(self, batch: Batch, found: Entry) -> bool:
        """Return whether the rules of its batch allow an entry; pause the batch if they don't."""
        reason = forbids(batch, found) if batch.state is BatchState.RUNNING else None
        if reason is not None:
            self.rows.set_batch(set_to(batch, BatchState.PAUSED, reason))
        return batch.state is BatchState.RUNNING and reason is None

    def _release_expired(self, found: Entry) -> Entry:
        """Release an entry whose lease is over and for which nothing was sent."""
        if found.attempts or found.owner is None or self._batch_with_rules(found) is None:
            return found
        return self._freed(found, evolve(found, owner=None, leased_until=None))

    def _freed(self, found: Entry, after: Entry) -> Entry:
        if (
            is_bound(found)
            and not is_bound(after)
            and (batch := self._batch_with_rules(found)) is not None
        ):
            self.rows.set_batch(with_left(batch, found))
        return self._replace(found, after)

    def _batch_with_rules(self, entry: Entry) -> Batch | None:
        """Return the batch of an entry, if it has rules."""
        batch = None if entry.batch is None else self.rows.batch(entry.batch)
        return None if batch is None or batch.rules is None else batch

    def _claimed(
        self, found: Entry, owner: str, lease_seconds: float, *, respects_halt: bool
    ) -> Entry:
        if found.step.is_final:
            return found
        leased = self._leased(found, owner, lease_seconds, respects_halt=respects_halt)
        return self._replace(found, leased)

    def _leased(
        self, found: Entry, owner: str, lease_seconds: float, *, respects_halt: bool
    ) -> Entry:
        if respects_halt and (halt := self.halted()) is not None:
            raise error_of(halt)
        now = self.clock()
        if found.owner not in {None, owner} and is_leased(found, now):
            raise InProgress(found.key, str(found.owner), (found.leased_until or now) - now)
        until = lease_end(now, lease_seconds)
        if not is_bound(found) and (batch := self._batch_with_rules(found)) is not None:
            self.rows.set_batch(with_begun(batch, found))
        return evolve(found, fence=found.fence + 1, owner=owner, leased_until=until)

    def advance(
        self,
        entry: Entry,
        event: Event,
        changes: Changes,
        pending: PendingEvent | None = None,
        operator: str | None = None,
    ) -> Entry:
        """Write an event and its line of the log, after ``pending`` and its line."""
        if event is Event.RETRIED:
            raise Misuse(f"{event.value!r} is written by `retry`, not at {entry.step.name}")
        _check_step(_step_after(entry, pending), event, entry.key)
        found, now = self._held_at_step(entry), self.clock()
        if (halt := self._forbidden_by(event)) is not None:
            raise error_of(halt)
        known = found
        if pending is not None:
            known = _advanced(found, pending.event, pending.changes, now)
        after = _advanced(known, event, changes, now)
        if after.session_id not in {None, found.session_id}:
            self._use(str(after.session_id), after, event)
        if pending is not None:
            self.rows.log(_line(found, known, pending.event, pending.changes))
        self.rows.log(_line(known, after, event, changes))
        if operator is not None:
            detail = None if changes.reason is KEEP else changes.reason
            self._add_action(operator, event.value, batch=found.batch, key=found.key, detail=detail)
        if event in COUNTED and (batch := self._batch_with_rules(after)) is not None:
            self.rows.set_batch(with_settled(batch, after, known.step))
        return self._replace(found, after)

    def retry(self, entry: Entry) -> Entry:
        """Take a failed payout up again, and release it; the fence goes up."""
        _check_step(entry.step, Event.RETRIED, entry.key)
        found = self.rows.find(entry.key)
        if found is None or found.fence != entry.fence or _visit(found) != _visit(entry):
            raise LostLease(entry.key, entry.fence)
        if (halt := self.halted()) is not None:
            raise error_of(halt)
        batch = None if found.batch is None else self.rows.batch(found.batch)
        if batch is not None and batch.state is BatchState.CANCELLED:
            raise Misuse(f"the batch {batch.name!r} was cancelled, so nothing of it is paid again")
        after = _advanced(found, Event.RETRIED, _FORGETS_CALLS, self.clock())
        # Nothing is begun any more, so a batch with rules counts it again when it is claimed.
        free = evolve(after, fence=found.fence + 1, attempts=0)
        self.rows.log(_line(found, free, Event.RETRIED, NO_CHANGES))
        return self._replace(found, free)

    def renew(self, entry: Entry, lease_seconds: float) -> Entry:
        """Extend a lease."""
        found = self._held_at_step(entry)
        until = lease_end(self.clock(), lease_seconds)
        return self._replace(found, evolve(found, leased_until=until))

    def release(self, entry: Entry, not_before: float | Kept | None, *, backs_off: bool) -> None:
        """Release an entry, if it is still held."""
        try:
            found = self._held(entry)
        except LostLease:
            return
        kept = found.not_before if not_before is KEEP else not_before
        if backs_off:
            kept = next_due(found, self.clock())
        free = evolve(found, owner=None, leased_until=None, not_before=kept)
        _ = self._freed(found, free)

    def put_batch(self, batch: Batch) -> Batch:
        """Write a batch."""
        found = self.rows.batch(batch.name)
        written = named(found, evolve(batch, begun_at=self.clock()))
        self.rows.set_batch(written)
        return written

    def set_batch_state(
        self, name: str, state: BatchState, reason: str | None, operator: str | None = None
    ) -> Batch:
        """Set whether payouts of a batch are claimed."""
        found = self._batch(name)
        if BatchState.CANCELLED is found.state is not state:
            raise Misuse(f"the batch {name!r} was cancelled, and can't change")
        written = set_to(found, state, reason)
        self.rows.set_batch(written)
        if operator is not None:
            self._add_action(operator, state.value, batch=name, detail=reason)
        return written

    def _add_action(
        self,
        operator: str,
        action: str,
        *,
        batch: str | None,
        key: str | None = None,
        detail: str | None = None,
    ) -> None:
        at = self.clock()
        self.rows.add_action(
            OperatorAction(
                at=at, operator=operator, action=action, batch=batch, key=key, detail=detail
            )
        )

    def cover(self, name: str, cover: Mapping[str, int]) -> Batch:
        """Store how much of a batch is covered."""
        written = evolve(self._batch(name), cover=dict(cover), cover_at=self.clock())
        self.rows.set_batch(written)
        return written

    def _batch(self, name: str) -> Batch:
        found = self.rows.batch(name)
        if found is None:
            raise Misuse(f"the journal has no batch {name!r}")
        return found

    def halt(self, halt: Halt | None) -> None:
        """Halt all payouts beside the halt that is in force, or end every halt."""
        self.rows.set_halt(None if halt is None else halt.beside(self.halted()))

    def check_halt(self) -> None:
        """Store that the reports were compared while a halt is in force: it may be ended then."""
        if (halt := self.halted()) is not None:
            timed = None if halt.timed is None else evolve(halt.timed, is_checked=True)
            self.rows.set_halt(evolve(halt, is_checked=True, timed=timed))

    def resume(self, *, unchecked: bool) -> Halt | None:
        """Lift the halt that is in force now, and return it; one with an end beside it stays."""
        halt = self.halted()
        if halt is not None and halt.needs_check and not unchecked:
            raise Misuse(
                f"the journal may lack payouts that were made ({halt.reason}): compare the "
                "provider's reports of these days first (reconcile, and adopt what it lacks), or "
                "state why that isn't needed"
            )
        self.rows.set_halt(None if halt is None else halt.timed)
        return halt

    def halted(self) -> Halt | None:
        """Return the halt that is in force now."""
        return holding(self.rows.halt(), self.clock())

    def _forbidden_by(self, event: Event) -> Halt | None:
        """Return the halt that forbids an event; None if none does.

        Every halt forbids calls that may move money. If the journal may lack payouts, a payout that
        ended without money in its session may have been paid in one that the journal lacks.
        """
        if event not in _LEADS_TO_MONEY and event is not Event.NOT_PAID:
            return None
        halt = self.halted()
        is_doubtful = halt is not None and halt.may_lack
        return halt if event in _LEADS_TO_MONEY or is_doubtful else None

    def _held_at_step(self, entry: Entry) -> Entry:
        """Return the row of an entry; raise `LostLease` if it has moved on, or is an older copy."""
        found = self._held(entry)
        if _visit(found) != _visit(entry):
            raise LostLease(entry.key, entry.fence)
        return found

    def _held(self, entry: Entry) -> Entry:
        found = self.rows.find(entry.key)
        if found is None or found.fence != entry.fence or found.owner is None:
            raise LostLease(entry.key, entry.fence)
        return found

    def _replace(self, found: Entry, after: Entry) -> Entry:
        self.rows.replace(found, after)
        return after

    def _use(self, session_id: str, entry: Entry, event: Event) -> None:
        user = self.rows.key_of(session_id)
        if user == entry.key and event is not Event.SESSION_CHOSEN:
            return  # A session that was left, but paid.
        if user is not None:
            raise SessionTaken(session_id, user)
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
        summary=new.summary,
        payment=new.payment,
        created_at=now,
        updated_at=now,
    )


def holding(halt: Halt | None, now: float) -> Halt | None:
    """Return the halt if it is in force at that time."""
    if halt is None or (halt.until is not None and halt.until <= now):
        return None
    timed = holding(halt.timed, now)
    return halt if timed is halt.timed else evolve(halt, timed=timed)


def error_of(halt: Halt) -> PayoutsHalted:
    """Return the error to raise while a halt is in force."""
    reason = halt.reason if halt.timed is None else f"{halt.reason}; also, {halt.timed.reason}"
    return _HALTS[halt.kind](reason, halt.until)


def _matched(found: Entry, new: NewEntry) -> Entry:
    if names := _differing(found, new):
        is_compared = not found.fingerprint.is_empty or WHOLE not in names
        raise KeyReused(new.key, names, found.batch, is_compared)
    return found


def _differing(found: Entry, new: NewEntry) -> tuple[str, ...]:
    if has_other_sum(found, new.amount, new.currency):
        return ("amount_details",)
    names = differing(found.fingerprint, new.fingerprint)
    return names if found.mode == new.mode or not knows_mode(found) else (*names, "mode")


def has_other_sum(found: Entry, amount: int | None, currency: str | None) -> bool:
    """Return whether a payout of which nothing but its sum is known has another sum."""
    is_known = found.fingerprint.is_empty and found.amount is not None
    return is_known and (found.amount, found.currency) != (amount, currency)


def knows_mode(found: Entry) -> bool:
    """Return whether the mode of an entry is the one it was ordered with.

    A report doesn't show it. Without its fields a payout was adopted or forgotten, and is settled.
    """
    return not (found.fingerprint.is_empty or found.fingerprint.is_short)


def _step_after(entry: Entry, pending: PendingEvent | None) -> Step:
    """Return the step of an entry, with the event that wasn't written yet."""
    if pending is None:
        return entry.step
    if pending.event not in CAN_WAIT or pending.changes.session_id is not KEEP:
        raise Misuse(f"{pending.event.value!r} can't wait for another step: key {entry.key!r}")
    _check_step(entry.step, pending.event, entry.key)
    return STEPS[entry.step, pending.event]


def _check_step(step: Step, event: Event, key: str) -> None:
    if (step, event) not in STEPS:
        raise Misuse(f"{event.value!r} can't follow {step.name}: key {key!r}")


def _visit(entry: Entry) -> tuple[Step, int, str | None]:
    """Return what distinguishes two visits of a step, which may have the same fence."""
    return entry.step, entry.session_no, entry.session_id


def _advanced(found: Entry, event: Event, changes: Changes, now: float) -> Entry:
    step, has_left = STEPS[found.step, event], event is Event.SESSION_LEFT
    if event is Event.RETRIED:
        has_left = found.session_id is not None  # If every create was refused, there is none.
    item_id = found.item_id if changes.item_id is KEEP else changes.item_id
    code = found.code if changes.code is KEEP else changes.code
    # Kept for a new attempt, which `Event.RETRIED` allows.
    keeps_request = not step.is_final or (step is Step.FAILED and code in PASSING_CAUSES)
    return evolve(
        found,
        step=step,
        request=found.request if keeps_request else None,
        owner=None if step.is_final else found.owner,
        leased_until=None if step.is_final else found.leased_until,
        updated_at=now,
        session_id=_session(found, event, changes),
        session_no=found.session_no + has_left,
        item_id=None if event in _LEAVES_SESSION else item_id,
        result=found.result if changes.result is KEEP else changes.result,
        code=code,
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
        return None if event in _LEAVES_SESSION else found.session_id
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
