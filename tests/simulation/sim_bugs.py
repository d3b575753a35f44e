"""Bugs, planted in everything that can be replaced: a simulation must find each of them."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from attrs import evolve
from sim_plan import Plan
from sim_worker import Code, SimJournal, Store

import smartglocal_async as sg
from smartglocal_async.journal.entries import NO_CHANGES, Changes, Entry, Learned
from smartglocal_async.journal.states import Event, Step
from smartglocal_async.journal.writing import Writing
from smartglocal_async.payouts.protocol import Call, Came, Move, News, Row, Shown, Then
from smartglocal_async.payouts.protocol import next_move as code_decides
from smartglocal_async.payouts.reading import read_session

_EMPTY: Final = News(Call.STATUS, Came.ANSWERED, Shown.EMPTY)


class WritesAfterTheSend(SimJournal):
    """Says that a step is written, and writes it when the call that followed was answered."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._unwritten: dict[str, tuple[Entry, Event, Changes, Learned | None]] = {}

    async def advance(
        self,
        entry: Entry,
        event: Event,
        changes: Changes = NO_CHANGES,
        *,
        learned: Learned | None = None,
    ) -> Entry:
        """Write the step before this one; a last one is followed by none."""
        await self._catch_up(entry.key)
        rows: Any = self._rows
        draft = type(rows)(rows.clock, dict(rows.entries), dict(rows.sessions), [])
        written = Writing(draft, self.clock).advance(entry, event, changes, learned)
        if written.step.is_final:
            return await super().advance(entry, event, changes, learned=learned)
        self._unwritten[entry.key] = entry, event, changes, learned
        return written

    async def renew(self, entry: Entry, lease_seconds: float) -> Entry:
        """Catch up, and lengthen the lease."""
        await self._catch_up(entry.key)
        return await super().renew(entry, lease_seconds)

    async def release(self, entry: Entry, **how: Any) -> None:
        """Catch up, and give it back."""
        await self._catch_up(entry.key)
        await super().release(entry, **how)

    async def _catch_up(self, key: str) -> None:
        if (late := self._unwritten.pop(key, None)) is not None:
            entry, event, changes, learned = late
            _ = await super().advance(entry, event, changes, learned=learned)


class _Unfenced(Writing):
    """Writes what is legal, for whoever asks."""

    def advance(
        self, entry: Entry, event: Event, changes: Changes, learned: Learned | None = None
    ) -> Entry:
        """Write, whatever the fence says."""
        found = self.rows.find(entry.key)
        assert found is not None
        held = evolve(found, owner=found.owner or "nobody")
        self.rows.replace(found, held)
        return super().advance(held, event, changes, learned)


class LooksAtNoFence(SimJournal):
    """Whoever once had a row may write to it, and goes on with the session that it knows."""

    async def advance(
        self,
        entry: Entry,
        event: Event,
        changes: Changes = NO_CHANGES,
        *,
        learned: Learned | None = None,
    ) -> Entry:
        """Write, whatever the fence says."""
        try:
            written = await super().advance(entry, event, changes, learned=learned)
        except sg.Misuse:
            raise sg.LostLease(entry.key, entry.fence) from None
        chosen = event in {Event.SESSION_CHOSEN, Event.SESSION_LEFT}
        return written if chosen else evolve(written, session_id=entry.session_id)

    async def renew(self, entry: Entry, lease_seconds: float) -> Entry:
        """Go on, whatever the fence says."""
        _ = lease_seconds
        return entry

    @contextmanager
    def _write(self) -> Generator[Writing]:
        with self._read() as rows:
            yield _Unfenced(rows, self.clock)


class BelievesWebhooks(sg.Payouts):
    """Writes what a webhook shows, whatever the row says by now."""

    async def notice(self, event: sg.WebhookEvent) -> bool:
        """Write it."""
        entry = await self._journal.by_session(event.session.id)
        if entry is None:
            return False
        shown = read_session(event.session, self._open().desk.sender.job_of(entry).meant)
        if shown in {Shown.PAID, Shown.DECLINED, Shown.CLOSED, Shown.UNSURE}:
            rows: Any = self._journal
            step = Step.SUCCEEDED if shown is Shown.PAID else Step.FAILED
            rows._rows.entries[entry.key] = evolve(rows._rows.entries[entry.key], step=step)
        return True


def starts_again(row: Row, news: News | None) -> Move:
    """Start a second time in a session, after a take-over or where the first isn't to be seen."""
    if row.step is Step.STARTING and news in {None, _EMPTY}:
        return Move(Then.SEND, Call.START)
    return code_decides(row, news)


def leaves_at_once(row: Row, news: News | None) -> Move:
    """Take a new session, and don't cancel the old one."""
    if row.step is Step.STARTING and news == _EMPTY:
        return Move(Then.NEXT, write=Event.SESSION_LEFT)
    return code_decides(row, news)


def takes_a_lost_answer_for_a_refusal(row: Row, news: News | None) -> Move:
    """Call a payout failed that was answered with an HTTP 500, or not at all."""
    if news is not None and news.call is Call.START and news.came is Came.LOST:
        news = evolve(news, came=Came.REFUSED)
    return code_decides(row, news)


def crowded(plan: Plan) -> Plan:
    """Have several workers lose their leases to one another, often, and answers come late."""
    weather = evolve(plan.weather, trouble=0.3, most_late_seconds=30.0)
    crowd = evolve(plan, workers=3, lives=4, lease_seconds=2.0, death=0.9)
    return evolve(crowd, weather=weather, journal_trouble=0.0)


BUGS: Final[dict[str, Code]] = {
    "the journal is written after the send": Code(journal=WritesAfterTheSend),
    "the journal forgets its last commit": Code(forgets=True),
    "a start is sent again without asking": Code(decide=starts_again),
    "every try has a key of its own": Code(makes_keys=True),
    "nobody looks at the fence": Code(journal=LooksAtNoFence, plan=crowded),
    "a new session without a cancel": Code(decide=leaves_at_once),
    "a webhook is believed": Code(payouts=BelievesWebhooks),
    "a lost answer is taken for a refusal": Code(decide=takes_a_lost_answer_for_a_refusal),
}
