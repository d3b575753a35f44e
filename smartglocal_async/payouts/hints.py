"""Hints: what a webhook tells of a payout, for whoever works on it, or to be written at once."""

from contextlib import suppress
from typing import Final, cast

from attrs import frozen

from ..errors import InProgress, LostLease
from ..journal.entries import Entry, HaltKind
from ..journal.states import Step
from ..values.answers import Session
from .leading import Lead
from .protocol import Call, Came, Mode, News, Shown
from .reading import read_session
from .sending import JOURNAL_FIELD, Heard
from .working import learns

_CANCEL_SECONDS: Final = 10.0


@frozen
class Hints:
    """What webhooks and reports tell of the payouts of one desk."""

    lead: Lead

    async def take(self, session: Session) -> bool:
        """Take a hint; say whether it is about a payout of the journal."""
        desk = self.lead.desk
        entry = await desk.journal.by_session(session.id)
        if entry is None:
            return await self._unknown(session)
        await self._known(entry, session)
        return True

    async def settle(self, entry: Entry, session: Session, shown: Shown) -> bool:
        """Write what is final, unless somebody is at it, who will see for themselves."""
        call = Call.INIT if entry.step is Step.SENT_ONE_STEP else Call.STATUS
        heard = Heard(News(call, Came.ANSWERED, shown), session)
        with suppress(InProgress, LostLease):
            return (await self.lead.settle(entry, heard)).is_final
        return False

    async def forgot(self, words: str) -> None:
        """Halt everything: the provider knows of a payout that the journal doesn't."""
        await self.lead.desk.brake(HaltKind.FORGOT, words)

    async def _unknown(self, session: Session) -> bool:
        """Take a hint about a session that no entry ever used."""
        for key in self._keys_of(session):
            entry = await self.lead.desk.journal.find(key)
            if entry is not None and learns(entry):
                await self._known(entry, session)
            else:
                # A session is written down before anything is started in it.
                await self.forgot(
                    f"{session.id} holds the payout {key!r}, and nobody wrote it down"
                )
            return True
        return False

    def _keys_of(self, session: Session) -> list[str]:
        """Give the keys of the payouts that were started with this journal."""
        desk = self.lead.desk
        told = [payout.metadata for payout in session.payout_list]
        fields = [cast("dict[str, object]", one) for one in told if isinstance(one, dict)]
        return [
            str(one.get(desk.sender.key_field))
            for one in fields
            if one.get(JOURNAL_FIELD) == desk.journal.journal_id
        ]

    async def _known(self, entry: Entry, session: Session) -> None:
        if entry.session_id == session.id or learns(entry):
            await self._current(entry, session)
        else:
            await self._left(entry, session)

    async def _current(self, entry: Entry, session: Session) -> None:
        desk = self.lead.desk
        heard = desk.sender.webhook(session, desk.sender.job_of(entry))
        bell = desk.bells.get(entry.key)
        if bell is not None:
            bell.ring(heard)
            return
        shown = heard.news.shown
        if not entry.step.is_final and shown in {Shown.PAID, Shown.DECLINED}:
            _ = await self.settle(entry, session, shown)

    async def _left(self, entry: Entry, session: Session) -> None:
        desk = self.lead.desk
        shown = read_session(session, desk.sender.job_of(entry).meant)
        is_ours = desk.mode is Mode.MANUAL  # Else it was closed, for good, before it was left.
        if shown is Shown.PAID:
            words = f"the payout {entry.key!r} was paid in {session.id}, which was left"
            await desk.brake(HaltKind.MISMATCH if is_ours else HaltKind.FORGOT, words)
        elif is_ours and shown in {Shown.AWAITS_CONFIRM, Shown.NOT_OURS}:
            await desk.sender.cancel(session.id, _CANCEL_SECONDS)
