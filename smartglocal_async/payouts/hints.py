"""Hints: what a webhook tells of a payout, for whoever works on it, or to be written at once."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, cast

from attrs import frozen

from ..errors import InProgress, LostLease
from ..journal.entries import Entry, HaltKind
from ..journal.states import Step
from ..values.answers import Session
from .desk import Desk
from .protocol import Call, Came, Mode, News, Shown
from .reading import read_session
from .sending import JOURNAL_FIELD, Heard, Job

_CANCEL_SECONDS: Final = 10.0
_LEARNS: Final = frozenset({Step.SENT_ONE_STEP, Step.UNKNOWN})


@frozen
class Hints:
    """What webhooks tell of the payouts of one desk."""

    desk: Desk
    settle: Callable[[Entry, Heard], Awaitable[object]]
    """Writes what is final, of a payout that nobody here is at."""

    async def take(self, session: Session) -> bool:
        """Take a hint; say whether it is about a payout of the journal."""
        entry = await self._entry_of(session)
        if entry is None:
            return False
        job = self.desk.sender.job_of(entry)
        learns = entry.session_id is None and entry.step in _LEARNS
        if entry.session_id == session.id or learns:
            await self._current(entry, self.desk.sender.webhook(session, job))
        elif self.desk.mode is Mode.MANUAL:
            await self._left(entry, session, job)
        return True

    async def _entry_of(self, session: Session) -> Entry | None:
        journal = self.desk.journal
        found = await journal.by_session(session.id)
        if found is not None:
            return found
        for payout in session.payout_list:
            told = payout.metadata
            if not isinstance(told, dict):
                continue
            fields = cast("dict[str, object]", told)
            if fields.get(JOURNAL_FIELD) == journal.journal_id:
                return await journal.find(str(fields.get(self.desk.sender.key_field)))
        return None

    async def _current(self, entry: Entry, heard: Heard) -> None:
        bell = self.desk.bells.get(entry.key)
        if bell is not None:
            bell.ring(heard)
            return
        shown = heard.news.shown
        if entry.step.is_final or shown not in {Shown.PAID, Shown.DECLINED}:
            return
        if entry.step is Step.SENT_ONE_STEP:
            heard = Heard(News(Call.INIT, Came.ANSWERED, shown), heard.session)
        with suppress(InProgress, LostLease):  # Whoever has it will see for themselves.
            _ = await self.settle(entry, heard)

    async def _left(self, entry: Entry, session: Session, job: Job) -> None:
        shown = read_session(session, job.meant)
        if shown is Shown.PAID:
            words = f"the payout {entry.key!r} was paid in {session.id}, which was left"
            await self.desk.brake(HaltKind.MISMATCH, words)
        elif shown in {Shown.AWAITS_CONFIRM, Shown.NOT_OURS}:
            await self.desk.sender.cancel(session.id, _CANCEL_SECONDS)
