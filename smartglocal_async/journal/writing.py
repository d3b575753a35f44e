"""What may be written when: decided here for every journal, over rows that are kept elsewhere."""

import math
from collections.abc import Callable
from typing import Final, Protocol

from attrs import evolve, frozen

from ..errors import InProgress, KeyReused, LostLease, Misuse
from .states import STEPS, Event, Step
from .store import KEEP, Attempt, Changes, Entry, Kept, NewEntry

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
_LEARNS_SESSION: Final = frozenset({Step.SENT_ONE_STEP, Step.UNKNOWN})


class Rows(Protocol):
    """The rows of a journal, within one transaction that its caller began."""

    def find(self, key: str) -> Entry | None:
        """Give the entry of a key."""
        ...

    def insert(self, entry: Entry) -> None:
        """Add the entry of a key that isn't there."""
        ...

    def replace(self, entry: Entry) -> None:
        """Put an entry in the place of the one with its key."""
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
        now = self.clock()
        entry = Entry(
            key=new.key,
            mode=new.mode,
            fingerprint=new.fingerprint,
            request=new.request,
            batch=new.batch,
            ordinal=new.ordinal,
            created_at=now,
            updated_at=now,
        )
        self.rows.insert(entry)
        return entry

    def claim(self, key: str, owner: str, lease_seconds: float) -> Entry:
        """Take an entry: the fence goes up."""
        found, now = self.rows.find(key), self.clock()
        if found is None:
            raise Misuse(f"the journal has no key {key!r}: accept it first")
        if found.step.is_final:
            return found
        until = found.leased_until
        if found.owner not in {None, owner} and until is not None and until > now:
            raise InProgress(key, str(found.owner), until - now)
        return self._replace(
            evolve(
                found,
                fence=found.fence + 1,
                owner=owner,
                leased_until=_end(now, lease_seconds),
                updated_at=now,
            )
        )

    def advance(self, entry: Entry, event: Event, changes: Changes) -> Entry:
        """Write a step and a line of the log."""
        step = STEPS.get((entry.step, event))
        if step is None:
            raise Misuse(f"{event.value!r} can't follow {entry.step.name}: key {entry.key!r}")
        found, now = self._held(entry), self.clock()
        if _place(found) != _place(entry):
            raise LostLease(entry.key, entry.fence)
        after = evolve(_changed(found, event, changes), step=step, updated_at=now)
        if step.is_final:
            after = evolve(after, owner=None, leased_until=None)
        if after.session_id not in {None, found.session_id}:
            self._use(str(after.session_id), after)
        self.rows.log(_line(found, after, event, changes))
        return self._replace(after)

    def renew(self, entry: Entry, lease_seconds: float) -> Entry:
        """Lengthen a lease."""
        found = self._held(entry)
        return self._replace(evolve(found, leased_until=_end(self.clock(), lease_seconds)))

    def release(self, entry: Entry, not_before: float | Kept | None) -> None:
        """Give an entry back, if it is held still."""
        try:
            found = self._held(entry)
        except LostLease:
            return
        kept = found.not_before if not_before is KEEP else not_before
        _ = self._replace(evolve(found, owner=None, leased_until=None, not_before=kept))

    def _held(self, entry: Entry) -> Entry:
        found = self.rows.find(entry.key)
        if found is None or found.fence != entry.fence or found.owner is None:
            raise LostLease(entry.key, entry.fence)
        return found

    def _replace(self, entry: Entry) -> Entry:
        self.rows.replace(entry)
        return entry

    def _use(self, session_id: str, entry: Entry) -> None:
        user = self.rows.key_of(session_id)
        if user is not None:
            raise Misuse(f"the session {session_id} was used before, by the key {user!r}")
        self.rows.use(session_id, entry)


def _matched(found: Entry, new: NewEntry) -> Entry:
    differing = found.fingerprint.differing_fields(new.fingerprint)
    if found.mode != new.mode:
        differing = (*differing, "mode")
    if differing:
        raise KeyReused(new.key, differing)
    return found


def _end(now: float, lease_seconds: float) -> float:
    if not (math.isfinite(lease_seconds) and lease_seconds > 0):
        raise Misuse(f"lease_seconds: expected seconds above 0, got {lease_seconds!r}")
    return now + lease_seconds


def _place(entry: Entry) -> tuple[Step, int, str | None]:
    """Tell one visit of a step from the next: the fence alone doesn't."""
    return entry.step, entry.session_no, entry.session_id


def _changed(found: Entry, event: Event, changes: Changes) -> Entry:
    session_id = _session(found, event, changes)
    has_left = event is Event.SESSION_LEFT
    item_id = found.item_id if changes.item_id is KEEP else changes.item_id
    return evolve(
        found,
        session_id=session_id,
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
    if found.session_id is None and found.step in _LEARNS_SESSION:
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
