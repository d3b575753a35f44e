"""Planted bugs in everything that can be replaced; a simulation must find each of them."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

from attrs import evolve
from sim_merchant import SimMerchant
from sim_plan import CommitLoss, Plan
from sim_replies import UNKNOWN_CODES
from sim_worker import Code, SimJournal

import smartglocal_async as sg
from smartglocal_async import call
from smartglocal_async.emulator.settings import Confirmation, Duplicates, Permission
from smartglocal_async.journal.entries import NO_CHANGES, Changes, Entry, PendingEvent
from smartglocal_async.journal.states import Event, Step
from smartglocal_async.journal.transitions import Transitions
from smartglocal_async.matching import Expected, Owner
from smartglocal_async.payouts import review
from smartglocal_async.payouts.protocol import (
    Decision,
    NextStep,
    Observation,
    PayoutCall,
    ReplyKind,
    SessionView,
    Situation,
)
from smartglocal_async.payouts.protocol import decide as code_decides
from smartglocal_async.payouts.session_view import read_session
from smartglocal_async.payouts.webhook_hints import WebhookHints

_EMPTY: Final = Observation(PayoutCall.STATUS, ReplyKind.ANSWERED, SessionView.EMPTY)


class WritesAfterSend(SimJournal):
    """Reports a step as written, but writes it only after the call that follows was answered."""

    def __init__(self, merchant: SimMerchant) -> None:
        super().__init__(merchant)
        self._unwritten: dict[str, tuple[Entry, Event, Changes, PendingEvent | None]] = {}

    async def advance(
        self,
        entry: Entry,
        event: Event,
        changes: Changes = NO_CHANGES,
        *,
        pending: PendingEvent | None = None,
        operator: str | None = None,
    ) -> Entry:
        """Write the previous step and keep this one; a final step is written at once."""
        await self._catch_up(entry.key)
        rows: Any = self._rows
        draft = type(rows)(rows.clock, dict(rows.entries), dict(rows.sessions), [])
        written = Transitions(draft, self.clock).advance(entry, event, changes, pending)
        if written.step.is_final:
            return await super().advance(entry, event, changes, pending=pending, operator=operator)
        self._unwritten[entry.key] = entry, event, changes, pending
        return written

    async def renew(self, entry: Entry, lease_seconds: float) -> Entry:
        """Write the previous step and extend the lease."""
        await self._catch_up(entry.key)
        return await super().renew(entry, lease_seconds)

    async def release(self, entry: Entry, **how: Any) -> None:
        """Write the previous step and release the lease."""
        await self._catch_up(entry.key)
        await super().release(entry, **how)

    async def _catch_up(self, key: str) -> None:
        if (late := self._unwritten.pop(key, None)) is not None:
            entry, event, changes, pending = late
            _ = await super().advance(entry, event, changes, pending=pending)


class _Unfenced(Transitions):
    """Writes every legal step, without checking who holds the lease."""

    def advance(
        self,
        entry: Entry,
        event: Event,
        changes: Changes,
        pending: PendingEvent | None = None,
        operator: str | None = None,
    ) -> Entry:
        """Write without a check of the fencing token."""
        found = self.rows.find(entry.key)
        assert found is not None
        held = evolve(found, owner=found.owner or "nobody")
        self.rows.replace(found, held)
        return super().advance(held, event, changes, pending, operator)


class IgnoresFence(SimJournal):
    """A worker that once held a row may write to it, and keeps the session that it knows."""

    async def advance(
        self,
        entry: Entry,
        event: Event,
        changes: Changes = NO_CHANGES,
        *,
        pending: PendingEvent | None = None,
        operator: str | None = None,
    ) -> Entry:
        """Write without a check of the fencing token."""
        try:
            written = await super().advance(
                entry, event, changes, pending=pending, operator=operator
            )
        except sg.Misuse:
            raise sg.errors.LostLease(entry.key, entry.fence) from None
        chosen = event in {Event.SESSION_CHOSEN, Event.SESSION_LEFT}
        return written if chosen else evolve(written, session_id=entry.session_id)

    async def renew(self, entry: Entry, lease_seconds: float) -> Entry:
        """Return the entry without a check of the fencing token."""
        _ = lease_seconds
        return entry

    @contextmanager
    def _writing(self) -> Generator[Transitions]:
        with self._read() as rows:
            yield _Unfenced(rows, self.clock)


class WritesWebhookStates(sg.Payouts):
    """Writes the state that a webhook shows, whatever the row contains."""

    async def handle_event(self, event: sg.WebhookEvent) -> bool:
        """Write the state of the webhook's payout."""
        entry = await self._journal.by_session(event.session.id)
        if entry is None:
            return False
        shown = read_session(event.session, self._open().context.sender.ordered(entry).expected)
        if shown in {
            SessionView.PAID,
            SessionView.DECLINED,
            SessionView.CLOSED,
            SessionView.UNSURE,
        }:
            rows: Any = self._journal
            step = Step.SUCCEEDED if shown is SessionView.PAID else Step.FAILED
            rows._rows.entries[entry.key] = evolve(rows._rows.entries[entry.key], step=step)
        return True


def starts_twice(row: Situation, observation: Observation | None) -> Decision:
    """Start a second time in a session, after a take-over or if the first start isn't visible."""
    if row.step is Step.STARTING and observation in {None, _EMPTY}:
        return Decision(NextStep.SEND, PayoutCall.START)
    return code_decides(row, observation)


def leaves_without_cancel(row: Situation, observation: Observation | None) -> Decision:
    """Choose a new session without cancelling the old one."""
    if row.step is Step.STARTING and observation == _EMPTY:
        return Decision(NextStep.DECIDE_AGAIN, write=Event.SESSION_LEFT)
    return code_decides(row, observation)


def treats_lost_answer_as_refusal(row: Situation, observation: Observation | None) -> Decision:
    """Mark a payout as failed if the answer was an HTTP 500 or was lost."""
    if (
        observation is not None
        and observation.call is PayoutCall.START
        and observation.kind is ReplyKind.LOST
    ):
        return Decision(NextStep.DECIDE_AGAIN, write=Event.NOT_PAID)
    return code_decides(row, observation)


def accepts_refused_start(row: Situation, observation: Observation | None) -> Decision:
    """Treat a refused start as final if the status, which may be stale, shows nothing."""
    if row.step is Step.STARTING and observation == Observation(
        PayoutCall.START, ReplyKind.REFUSED, SessionView.EMPTY
    ):
        return Decision(NextStep.DECIDE_AGAIN, write=Event.NOT_PAID)
    return code_decides(row, observation)


def treats_cancel_as_decline(row: Situation, observation: Observation | None) -> Decision:
    """Mark a payout as failed if this client cancelled its session."""
    closed = {SessionView.CANCELLED, SessionView.CLOSED, SessionView.DECLINED}
    if row.step is Step.CANCELLING and observation is not None and observation.shown in closed:
        return Decision(NextStep.DECIDE_AGAIN, write=Event.NOT_PAID)
    return code_decides(row, observation)


class ComparesNoCommits(SimJournal):
    """Opens an older copy of the journal as if it were the newest."""

    def compare_commits(self) -> None:
        """Compare nothing."""


class ComparesNoTimelines(SimJournal):
    """Uses a promoted standby as if it had all commits."""

    def compare_timelines(self) -> None:
        """Compare nothing."""


class TreatsReturnsAsPaid(sg.Payouts):
    """Reads each webhook as being about the payout, whatever its type is."""

    async def handle_event(self, event: sg.WebhookEvent) -> bool:
        """Handle it as if the payout had ended."""
        return await super().handle_event(
            sg.PaymentFinished(type=event.type, session=event.session)
        )


def _has_our_key(expected: Expected, metadata: object) -> bool:
    return isinstance(metadata, dict) and expected.mark.is_on(metadata)


def owner_by_key(expected: Expected, metadata: object) -> Owner:
    """Treat each payout with the key as ours."""
    return Owner.OURS if _has_our_key(expected, metadata) else Owner.UNMARKED


async def ignores_conflict(_hints: WebhookHints, _entry: Entry, _session: sg.Session) -> None:
    """Ignore a webhook that contradicts a row."""


def shared_keys(plan: Plan) -> Plan:
    """Use two journals with the same keys, at a provider that replays a create."""
    rules = evolve(plan.rules, duplicates=Duplicates.REPLAY)
    return evolve(plan, shares_keys=True, rules=rules)


def losing_commits(commit_loss: CommitLoss) -> Callable[[Plan], Plan]:
    """Replace the journal by an older copy in each run; each start pays."""

    def changed(plan: Plan) -> Plan:
        rules = evolve(plan.rules, confirmation=Confirmation.AUTOMATIC)
        plan = evolve(plan, mode=sg.Mode.AUTOMATIC, rules=rules)
        return evolve(plan, commit_loss=commit_loss, lives=plan.lives + 2)

    return changed


def duplicated_starts(plan: Plan) -> Plan:
    """Deliver starts twice, with a stale status."""
    rules = evolve(
        plan.rules,
        second_start=Permission.REFUSE,
        confirm_minutes=240.0,
        status_lag_seconds=2.0,
    )
    conditions = evolve(plan.conditions, network_faults=0.5, wrong_amounts=0.0)
    return evolve(plan, rules=rules, conditions=conditions, has_generic_codes=True)


def many_reply_faults(plan: Plan) -> Plan:
    """Replace many answers."""
    return evolve(plan, conditions=evolve(plan.conditions, reply_faults=0.3, wrong_amounts=0.0))


def declined_then_paid(plan: Plan) -> Plan:
    """Let the provider pay payouts that it declined."""
    return evolve(plan, pays_declined=True)


def wrong_amounts(plan: Plan) -> Plan:
    """Change amounts on the way."""
    return evolve(plan, conditions=evolve(plan.conditions, wrong_amounts=0.1))


def poor(plan: Plan) -> Plan:
    """Start with too little money, and let an operator decide and retry."""
    rules = evolve(plan.rules, wallets={"usd": 12_000})
    poor_plan = evolve(plan, rules=rules, retries=True, pays_declined=False, commit_loss=None)
    return evolve(poor_plan, conditions=evolve(plan.conditions, wrong_amounts=0.0))


def poor_and_decided(plan: Plan) -> Plan:
    """The same, with an operator who writes open payouts as failed."""
    return evolve(poor(plan), decides=True)


def contended(plan: Plan) -> Plan:
    """Let workers lose their leases to one another often, with late answers."""
    conditions = evolve(plan.conditions, network_faults=0.3, max_late_seconds=30.0)
    contended_plan = evolve(plan, workers=3, lives=4, lease_seconds=2.0, death_rate=0.9)
    return evolve(contended_plan, conditions=conditions, journal_faults=0.0)


BUGS: Final[dict[str, Code]] = {
    "the journal is written after the send": Code(journal=WritesAfterSend),
    "the journal loses its last commit": Code(loses_last_commit=True),
    "a start is sent again without a status check": Code(decide=starts_twice),
    "each attempt uses a new key": Code(new_key_per_attempt=True),
    "the fencing token isn't checked": Code(journal=IgnoresFence, plan=contended),
    "a new session without a cancel": Code(decide=leaves_without_cancel),
    "a webhook's state is written unchecked": Code(payouts=WritesWebhookStates),
    "a lost answer is treated as a refusal": Code(decide=treats_lost_answer_as_refusal),
    "only the key is compared": Code(
        plan=shared_keys,
        patches=(
            (Expected, "owner", owner_by_key),
            (Expected, "is_session", lambda _expected, _metadata: True),
            (Expected, "is_key_elsewhere", lambda _expected, _metadata: False),
        ),
    ),
    "answers about other sessions are accepted": Code(
        patches=((call, "check_answer", lambda _call, verdict: verdict),)
    ),
    "amounts aren't compared": Code(
        plan=wrong_amounts, patches=((Expected, "is_as_ordered", lambda _expected, _payout: True),)
    ),
    "a refused start is final": Code(plan=duplicated_starts, decide=accepts_refused_start),
    "our cancel is treated as a decline": Code(decide=treats_cancel_as_decline),
    "an unknown code is treated as a refusal": Code(
        plan=many_reply_faults, refusal_codes=frozenset(UNKNOWN_CODES)
    ),
    "webhooks about a failed payout are ignored": Code(
        plan=declined_then_paid, patches=((WebhookHints, "conflicts", ignores_conflict),)
    ),
    "an older copy of the journal is opened": Code(
        plan=losing_commits(CommitLoss.RESTORED_COPY), journal=ComparesNoCommits
    ),
    "a standby without the last commits is used": Code(
        plan=losing_commits(CommitLoss.FAILOVER), journal=ComparesNoTimelines
    ),
    "a payout is retried whatever its session shows": Code(
        plan=lambda plan: contended(poor_and_decided(plan)),
        patches=((review, "why_not_retried", lambda *_args, **_kwargs: None),),
    ),
    "a returned payout counts as paid": Code(payouts=TreatsReturnsAsPaid),
}
