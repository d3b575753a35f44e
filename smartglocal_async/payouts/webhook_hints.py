"""Webhooks and report rows about payouts: passed to the running worker, or written at once."""

from contextlib import suppress
from typing import Final

from attrs import frozen

from ..errors import InProgress, LostLease
from ..journal.entries import Entry, HaltKind
from ..journal.states import Step
from ..matching import JOURNAL_FIELD, KEY_FIELD, Owner, fields_of
from ..models.answers import Session
from ..models.enums import SessionStatus
from ..models.events import PaymentRefunded, WebhookEvent
from .calls import Reply
from .claimer import Claimer
from .protocol import ENDS, Mode, Observation, PayoutCall, ReplyKind, SessionView
from .session_view import has_moved_money, read_session
from .worker import describe_conflict, may_learn_session

_CANCEL_SECONDS: Final = 10.0
_ENDS_OPEN: Final = ENDS - {SessionView.CANCELLED}
_NOT_PAID: Final = frozenset({Step.FAILED, Step.CANCELLED})


@frozen
class WebhookHints:
    """Applies what webhooks and reports show of the payouts of one journal."""

    claimer: Claimer

    async def take(self, event: WebhookEvent) -> bool:
        """Apply a webhook; return whether it is about a payout of the journal."""
        session = event.session
        if session is None:
            return False
        entry = await self.claimer.context.journal.by_session(session.id)
        if entry is None:
            return await self._unknown(event, session)
        await self._known(entry, event, session)
        for key in self._keys_of(session):
            if key != entry.key:
                await self._forgot_key(session, key)
        return True

    async def settle(self, entry: Entry, session: Session, shown: SessionView) -> bool:
        """Write a final state; return whether the payout is final now.

        False if a worker has claimed the payout: it asks for the status itself.
        """
        call = PayoutCall.INIT if entry.step is Step.SENT_ONE_STEP else PayoutCall.STATUS
        reply = _reply_of(session, shown, call)
        with suppress(InProgress, LostLease):
            return (await self.claimer.settle(entry, reply)).is_final
        return False

    async def forgot(self, words: str) -> None:
        """Halt all payouts: the provider knows of a payout that the journal doesn't."""
        await self.claimer.context.halt_all(HaltKind.FORGOT, words)

    async def conflicts(self, entry: Entry, session: Session) -> None:
        """Halt all payouts: what the provider shows contradicts the journal."""
        context = self.claimer.context
        words = describe_conflict(entry, session, context.sender.ordered(entry).expected)
        await context.halt_all(HaltKind.CONFLICT, words)

    async def park(self, entry: Entry, session: Session) -> None:
        """Stop the work on a payout that was paid in a session which was left."""
        if entry.step.is_final:
            return
        wakeup = self.claimer.context.wakeups.get(entry.key)
        if wakeup is not None:
            wakeup.wake(_reply_of(session, SessionView.MISMATCH))
        else:
            _ = await self.settle(entry, session, SessionView.MISMATCH)

    async def _unknown(self, event: WebhookEvent, session: Session) -> bool:
        """Apply a webhook about a session that no entry ever used."""
        keys = self._keys_of(session)
        for key in keys:
            entry = await self.claimer.context.journal.find(key)
            if entry is not None and entry.session_id == session.id:
                # A worker has written it in the meantime, from the answer of its call.
                await self._known(entry, event, session)
            elif entry is None or not lacks_session(entry):
                await self._forgot_key(session, key)
            elif isinstance(event, PaymentRefunded):
                continue
            elif self._is_of(entry, session):
                await self._current(entry, session)
            else:
                await self._unproven(entry, session)
        return bool(keys)

    async def _forgot_key(self, session: Session, key: str) -> None:
        """Halt all payouts: the journal writes a session before anything is started in it."""
        await self.forgot(f"{session.id} has a payout of the key {key!r}, not recorded here")

    async def _unproven(self, entry: Entry, session: Session) -> None:
        """Halt all payouts if a session has another payout, or money without metadata."""
        expected = self.claimer.context.sender.ordered(entry).expected
        owners = {expected.owner(payout.metadata) for payout in session.payout_list}
        if Owner.OTHER in owners or not expected.is_session(session.metadata):
            await self._forgot_key(session, entry.key)
        elif read_session(session, expected) is SessionView.MISMATCH or has_moved_money(
            session, expected
        ):
            await self.conflicts(entry, session)

    def _is_of(self, entry: Entry, session: Session) -> bool:
        return bool(self.claimer.context.sender.ordered(entry).expected.ours(session))

    def _keys_of(self, session: Session) -> list[str]:
        """Return the keys of the payouts in a session that were started with this journal.

        If its payouts carry no metadata, the session's own tells. An empty one that wasn't accepted
        may be left over from a create whose answer was lost: nothing was started in it.
        """
        context = self.claimer.context
        field, journal_id = context.sender.key_field, context.journal.journal_id
        payouts = [fields_of(payout.metadata) for payout in session.payout_list]
        keys = [
            str(fields.get(field)) for fields in payouts if fields.get(JOURNAL_FIELD) == journal_id
        ]
        own = fields_of(session.metadata)
        is_begun = session.payout_list or session.status == SessionStatus.ACCEPTED
        if not keys and is_begun and own.get(JOURNAL_FIELD) == journal_id:
            keys = [str(own.get(KEY_FIELD, own.get(field)))]
        return list(dict.fromkeys(keys))

    async def _known(self, entry: Entry, event: WebhookEvent, session: Session) -> None:
        if isinstance(event, PaymentRefunded):
            return  # A payout that a bank returned settles nothing: the status shows the state.
        if entry.session_id == session.id:
            await self._current(entry, session)
        else:
            await self._left(entry, session)

    async def _current(self, entry: Entry, session: Session) -> None:
        context = self.claimer.context
        payout = context.sender.ordered(entry)
        reply = context.sender.webhook_reply(session, payout)
        shown = reply.observation.shown
        if entry.step.is_final:
            moved = has_moved_money(session, payout.expected)
            if shown is SessionView.MISMATCH or (moved and entry.step in _NOT_PAID):
                await self.conflicts(entry, session)
            return
        wakeup = context.wakeups.get(entry.key)
        if wakeup is not None:
            wakeup.wake(reply)
        elif shown in (ENDS if entry.step is Step.UNKNOWN else _ENDS_OPEN):
            _ = await self.settle(entry, session, shown)

    async def _left(self, entry: Entry, session: Session) -> None:
        context = self.claimer.context
        expected = context.sender.ordered(entry).expected
        shown = read_session(session, expected)
        has_moved = shown is SessionView.MISMATCH or has_moved_money(session, expected)
        if has_moved and not _was_decided(entry, shown):
            await self.conflicts(entry, session)
            await self.park(entry, session)
        elif context.mode is Mode.MANUAL and shown in {
            SessionView.AWAITS_CONFIRM,
            SessionView.NOT_OURS,
        }:
            # With automatic confirmation a session is closed before it is left.
            await context.sender.cancel(session.id, _CANCEL_SECONDS)


def _reply_of(session: Session, shown: SessionView, call: PayoutCall = PayoutCall.STATUS) -> Reply:
    """Return the reply of a call that was answered with a session that shows this."""
    return Reply(Observation(call, ReplyKind.ANSWERED, shown), session)


def lacks_session(entry: Entry) -> bool:
    """Return whether no session of a payout is written, so that a webhook can't be matched by it.

    It was sent in one step and its answer was lost; an operator may have settled it since.
    """
    return may_learn_session(entry) or (entry.session_id is None and entry.step.is_final)


def _was_decided(entry: Entry, shown: SessionView) -> bool:
    """Return whether an operator wrote a payout as paid whose session isn't written."""
    is_paid = entry.step is Step.SUCCEEDED and entry.session_id is None
    return is_paid and shown is SessionView.PAID
