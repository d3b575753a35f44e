"""The life of one payout: decide, write, send, observe, and decide again, until its deadline.

`Worker.work` is the whole loop; `protocol.decide` is the table of what to do next. An event is
written to the journal before the call that it announces is sent. `claimer` has claimed the payout
before. The steps of a payout and where they usually lead, with manual confirmation; the last row is
for payouts in one step:

=============  ====================  ==================================================
Step           Call                  Next step
=============  ====================  ==================================================
NEW            none                  CREATING; UNKNOWN after too many sessions
CREATING       create                STARTING; FAILED if the create is refused
STARTING       start, else status    STARTED; REFUSED or KEY_USED if the start is
                                     refused; CANCELLING if its session stays empty
STARTED        status                CONFIRMING, if the session shows what was ordered
CONFIRMING     confirm, else status  CONFIRMED
CONFIRMED      status                SUCCEEDED, FAILED
CANCELLING     cancel, then status   NEW, to go on in another session
REFUSED        cancel, then status   FAILED, or NEW if the refusal may be of a duplicate
KEY_USED       cancel, then status   NEW; UNKNOWN if its first start was refused so
SENT_ONE_STEP  init                  STARTED, SUCCEEDED, FAILED, UNKNOWN
=============  ====================  ==================================================

At any step the session may show that the payout was paid or declined, which settles it, or that
money moved otherwise than ordered, which halts all payouts. At UNKNOWN, the status of its session
is read once. Three rules also need the history or other sessions, so they are here and not in the
table:

- A payout whose key was used goes on only after its earlier sessions were checked.
- A payout whose start was refused, and whose session can't be closed, fails only after the other
  sessions that refused it were checked.
- A payout that was paid without a confirm from this journal halts all payouts.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from attrs import define, evolve, field

from ..errors import LostLease, SessionTaken
from ..journal.entries import KEEP, Attempt, Changes, Entry, HaltKind, PendingEvent
from ..journal.states import CAN_WAIT, LEARNS_SESSION, STEPS, Event, Step
from ..matching import Expected, differences
from ..models.answers import Session
from .calls import MAY_PAY, NEEDS_REQUEST, UNCONFIRMED, CallLimits, OrderedPayout, Reply
from .context import Wakeup, WorkerContext
from .protocol import (
    ASK_LATER,
    ENDS,
    Decision,
    Mode,
    NextStep,
    Observation,
    PayoutCall,
    ReplyKind,
    SessionView,
    Situation,
    decide,
)
from .session_view import PaymentProof

_GROWTH: Final = 2.0
"""The factor by which each pause in a step is longer than the one before."""
_RENEW_BELOW: Final = 2 / 3
"""The lease is renewed if less than this share of it is left."""
_DOUBTFUL: Final = frozenset({SessionView.EMPTY, SessionView.NOT_OURS, SessionView.OTHER_SUM})
"""Views that may be out of date or wrong: the status is read again first; see `Situation`."""
_CANT_PAY: Final = frozenset(
    {SessionView.EMPTY, SessionView.CLOSED, SessionView.CANCELLED, SessionView.DECLINED}
)
"""Views of an earlier session after which it is safe to go on in another one."""
_UNDECIDED: Final = frozenset({None, SessionView.UNDER_WAY, SessionView.UNSURE})
"""Views of an earlier session that decide nothing yet; None: its status call failed."""
_STOPPED_BY_HALT: Final = MAY_PAY | {PayoutCall.CREATE}
"""Calls that aren't sent while payouts are halted."""
_CLEARS_FAILURES: Final = frozenset(
    {Event.START_KNOWN, Event.CONFIRM_INTENDED, Event.CONFIRM_KNOWN, Event.PARKED, Event.CONFLICT}
)
"""Events after which earlier failures of its calls don't matter any more."""
_CONTRADICTS: Final = frozenset({Event.CONFLICT, Event.START_KEY_USED})
"""Events after which the payout may have been paid elsewhere."""
_PARKS: Final = frozenset({Event.PARKED, Event.CONFLICT})
_IN_CONFLICT: Final = Decision(NextStep.DECIDE_AGAIN, write=Event.CONFLICT, halts=HaltKind.CONFLICT)
_REFUSALS: Final = frozenset({Event.START_REFUSED, Event.START_KEY_USED})


@define(eq=False)
class FailedCalls:
    """The last failure of each call of a payout, until a later step makes it irrelevant."""

    _by_call: dict[PayoutCall, Reply] = field(factory=dict[PayoutCall, Reply])
    """The newest at the end."""

    def note(self, reply: Reply, *, is_cut_short: bool = False) -> None:
        """Keep a reply if its call failed; if it succeeded, remove the call's earlier failure.

        ``is_cut_short``: our own deadline ended the call. An earlier failure is kept then, as it
        says more.
        """
        call = reply.observation.call
        if is_cut_short and call in self._by_call:
            return
        _ = self._by_call.pop(call, None)
        if reply.reason is not None:
            self._by_call[call] = reply

    def clear_after(self, event: Event) -> None:
        """Remove the failures that no longer matter after this event."""
        if event in _CLEARS_FAILURES:
            self._by_call.clear()
        elif event is Event.SESSION_LEFT:
            _ = self._by_call.pop(PayoutCall.CANCEL, None)
            _ = self._by_call.pop(PayoutCall.STATUS, None)

    @property
    def code(self) -> str | None:
        """The code of the last failure that has one."""
        codes = [reply.code for reply in self._by_call.values() if reply.code is not None]
        return codes[-1] if codes else None

    @property
    def reason(self) -> str | None:
        """All failures in words; None without any."""
        return "; ".join(map(_failure_words, self._by_call.values())) or None


def _failure_words(reply: Reply) -> str:
    observation, words = reply.observation, reply.reason or ""
    prefix = f"{observation.call.value} {observation.kind.value}: "
    return words if words.startswith(observation.call.value) else f"{prefix}{words}"


@define(eq=False)
class Worker:
    """Works on one payout whose lease it holds."""

    context: WorkerContext
    entry: Entry
    """As the journal has it."""
    payout: OrderedPayout
    deadline: float
    """When the work has to stop, on the monotonic clock."""
    leased_until: float
    """When the lease ends, on the monotonic clock. It is measured from before the claim was sent,
    so it ends no later than the journal's own."""
    reply: Reply | None = None
    """The reply that the next decision is made from; None once that decision is written."""
    needs_request: bool = field(default=False, init=False)
    """Whether it stopped because the next call needs the order, which isn't available here."""
    failures: FailedCalls = field(factory=FailedCalls, init=False)
    is_contradicted: bool = field(default=False, init=False)
    """See `protocol.Situation`; known once the payout is at UNKNOWN."""
    has_paused: bool = field(default=False, init=False)
    """Whether it paused since it last wrote an event; if so, its entry can be claimed again only
    after a pause."""
    _pending: PendingEvent | None = field(default=None, init=False)
    """Observed and not written yet: it is written together with the next event, or at the end."""
    _sent_in_step: Counter[PayoutCall] = field(factory=Counter[PayoutCall], init=False)
    _calls_sent: int = field(default=0, init=False)
    """How many calls were sent under this lease."""
    _doubtful_checks: int = field(default=0, init=False)
    """How many status calls in this step showed a view in `_DOUBTFUL`."""
    _pause: float = field(init=False)
    _wakeup: Wakeup = field(factory=Wakeup, init=False)

    def __attrs_post_init__(self) -> None:
        self._pause = self.context.status_checks.initial_delay_seconds

    async def work(self) -> Entry:
        """Work until the payout is settled or parked, or can't go on now; return its entry.

        Raises:
            LostLease: another process took the payout over.
            Refused: our credentials are refused; the payout stays open.
            PayoutsHalted: all payouts are halted until an operator has checked.
            Misuse: the client is closed.

        """
        if self.reply is not None:
            self.reply = self._with_card_compared(self.reply)
        with self.context.registered(self.entry.key, self._wakeup):
            while True:
                while await self._advance():
                    pass
                await self.write_pending()
                if not self._take_final_webhook():
                    return self.entry

    async def _advance(self) -> bool:  # noqa: C901 - one round of the life of a payout
        """Decide, write, send and observe once; False if it is done, or can't go on now."""
        decision = await self._decide()
        call = decision.call
        if decision.next_step is NextStep.DONE:
            return False
        if call is None or decision.next_step is NextStep.DECIDE_AGAIN:
            # Write only. The next decision is made from the entry alone, or from the substitute
            # that `_write` returns.
            self.reply = await self._write(decision)
            return True
        if call in NEEDS_REQUEST and self.payout.order is None:
            self.needs_request = True
            return False
        if self._seconds_left() <= 0:
            return False
        if self._pauses_before(call, decision):
            if await self._wait_for_webhook():
                return True
            if self.context.stopping.is_set() or self._seconds_left() <= 0:
                return False
        await self._check_halt(call, decision)
        await self._renew_lease()
        # Write, then send: after a crash the journal shows every call that may be out.
        refusal = await self._write(decision)
        if refusal is not None:
            self.reply = refusal
            return True
        # Observe: the next decision is made from the reply.
        return await self._send(call)

    # --- Decide --------------------------------------------------------------------------------

    async def _decide(self) -> Decision:
        """Return what to do next; halt all payouts before anything is written, if it says so."""
        if self.entry.step is Step.UNKNOWN and not self.is_contradicted:
            history = await self.context.journal.history(self.entry.key)
            self.is_contradicted = any(line.event in _CONTRADICTS for line in history)
        decision = self._decide_by_table()
        if decision.write is Event.SESSION_LEFT and self._step is Step.KEY_USED:
            decision = await self._check_earlier_sessions(decision)
        elif decision.write is Event.NOT_PAID and self._step is Step.REFUSED and self._is_empty:
            decision = await self._check_refusing_sessions(decision)
        elif decision.write is Event.PAID and self._is_unconfirmed:
            # Renewed first: a worker that lost its lease may not know of another one's confirm.
            await self._renew_lease(always=True)
            paid = f"was paid in {self.entry.session_id} without a confirm from this journal"
            await self.context.halt_all(HaltKind.MISMATCH, f"the payout {self.entry.key!r} {paid}")
        if decision.halts is not None:
            await self.context.halt_all(decision.halts, self._conflict_words())
            if decision.next_step is NextStep.DONE:
                await self.context.raise_if_halted()
        return decision

    def _decide_by_table(self) -> Decision:
        entry = self.entry
        if entry.step is Step.UNKNOWN and self.reply is None and entry.session_id is not None:
            # The table has no call at this step. The session may show the end by now.
            return Decision(NextStep.SEND, PayoutCall.STATUS)
        situation = Situation(
            Mode(entry.mode),
            self._step,
            entry.session_no,
            is_patient=self._doubtful_checks < self.context.status_checks.before_leaving,
            is_contradicted=self.is_contradicted,
        )
        return decide(situation, None if self.reply is None else self.reply.observation)

    @property
    def _step(self) -> Step:
        """The step of the payout, with the event that isn't written yet."""
        entry, pending = self.entry, self._pending
        return entry.step if pending is None else STEPS[entry.step, pending.event]

    async def _check_earlier_sessions(self, decision: Decision) -> Decision:
        """Check the earlier sessions of a payout whose key was used, before it uses a new one.

        If none of them can pay any more, our own earlier start is taken to have used the key, and
        the decision is returned as it is. If one paid, all payouts are halted; if one may still
        pay, the payout is parked; if one can't be read or is under way, the payout waits.
        """
        history = await self.context.journal.history(self.entry.key)
        for session_id in self._other_sessions(history):
            reply = await self._check_session(session_id)
            if reply is None:
                return ASK_LATER
            shown = reply.observation.shown
            if shown in _UNDECIDED:
                self.failures.note(reply)
                return ASK_LATER
            is_manual = self.entry.mode == Mode.MANUAL.value
            if shown in _CANT_PAY or (shown is SessionView.AWAITS_CONFIRM and is_manual):
                continue
            self.reply = evolve(reply, code=self.entry.code)
            if shown in {SessionView.PAID, SessionView.MISMATCH}:
                return _IN_CONFLICT
            return Decision(NextStep.DECIDE_AGAIN, write=Event.PARKED)
        return decision

    @property
    def _is_empty(self) -> bool:
        """Whether the chosen session shows no payout."""
        return self.reply is not None and self.reply.observation.shown is SessionView.EMPTY

    @property
    def _is_unconfirmed(self) -> bool:
        """Whether a payment needs our confirm, which wasn't sent."""
        return self.entry.mode == Mode.MANUAL.value and self._step in UNCONFIRMED

    async def _check_refusing_sessions(self, decision: Decision) -> Decision:
        """Check all other sessions that refused the start, before the payout fails.

        The chosen session can't be cancelled and shows no payout. Its status may be out of date: if
        the start was delivered twice, the first delivery may have been carried out, and only the
        second one refused. So the payout fails only if there are other sessions that refused the
        start, and none of them shows a payout by now. If one paid, all payouts are halted; if one
        can't be read, the payout waits. Otherwise it goes on in a new session: the mode is manual,
        so a payout that one of them shows isn't paid without our confirm.
        """
        history = await self.context.journal.history(self.entry.key)
        refusals = (line for line in history if line.event is Event.START_REFUSED)
        views = set[SessionView | None]()
        for session_id in self._other_sessions(refusals):
            reply = await self._check_session(session_id)
            if reply is None:
                return ASK_LATER
            shown = reply.observation.shown
            if shown in {SessionView.PAID, SessionView.MISMATCH}:
                self.reply = reply
                return _IN_CONFLICT
            if shown in {None, SessionView.UNSURE}:
                self.failures.note(reply)
            views.add(shown)
        if views & {None, SessionView.UNSURE}:
            return ASK_LATER
        if views and views <= {SessionView.EMPTY, SessionView.CLOSED}:
            return decision
        return Decision(NextStep.DECIDE_AGAIN, write=Event.SESSION_LEFT)

    def _other_sessions(self, lines: Iterable[Attempt]) -> list[str]:
        """Return the sessions in these lines of the history, each once, except the chosen one."""
        ids = dict.fromkeys(line.session_id for line in lines)
        return [each for each in ids if each is not None and each != self.entry.session_id]

    async def _check_session(self, session_id: str) -> Reply | None:
        """Return what another session of the payout shows; None if no time is left to ask."""
        seconds_left = self._seconds_left()
        if seconds_left <= 0:
            return None
        return await self.context.sender.check_session(session_id, self.payout, seconds_left)

    def _conflict_words(self) -> str:
        """Describe what the journal has of the payout and what the provider shows."""
        entry, session = self.entry, None if self.reply is None else self.reply.session
        shown = None if self.reply is None else self.reply.observation.shown
        if session is not None and shown is SessionView.AWAITS_CONFIRM:
            words = f"waits for a confirm in {session.id}, and its mode is {entry.mode}"
            return f"the payout {entry.key!r} {words}"
        if session is None:
            return f"the payout {entry.key!r} is recorded as {entry.step.name}"
        return describe_conflict(entry, session, self.payout.expected)

    # --- Write ---------------------------------------------------------------------------------

    async def write_pending(self) -> None:
        """Write the event that was observed and not written yet; raises what `work` does."""
        pending = self._take_pending()
        if pending is not None:
            self.entry = await self.context.write(self.entry, pending.event, pending.changes)

    def _take_pending(self) -> PendingEvent | None:
        pending, self._pending = self._pending, None
        return pending

    async def _write(self, decision: Decision) -> Reply | None:
        """Write the event of a decision, if it has one.

        Returns None; or, if the session of the reply belongs to another payout already, a
        substitute for the reply: then nothing is written.
        """
        event = decision.write
        if event is None:
            if decision.call not in {None, PayoutCall.STATUS}:
                await self.write_pending()  # A call that changes something is about to be sent.
            return None
        self.has_paused = False
        changes = self._changes(event)
        if event in CAN_WAIT and changes.session_id is KEEP:
            # Written with the next event: only a status may be sent before that.
            await self.write_pending()
            self._pending = PendingEvent(event, changes)
        else:
            try:
                self.entry = await self.context.write(
                    self.entry, event, changes, self._take_pending()
                )
            except SessionTaken as taken:
                lost = Reply(Observation(PayoutCall.CREATE, ReplyKind.LOST), reason=str(taken))
                self.failures.note(lost)
                return lost
        self._sent_in_step.clear()
        self._doubtful_checks = 0
        self.failures.clear_after(event)
        if event is not Event.CREATE_INTENDED:  # Else the pauses between creates would not grow.
            self._pause = self.context.status_checks.initial_delay_seconds
        return None

    def _changes(self, event: Event) -> Changes:
        """Return what is written with an event."""
        if event is Event.SESSION_LEFT:
            return Changes(code=None, reason=None)  # Cleared: they are about that session.
        reply = self.reply
        session = None if reply is None else reply.session
        ours = [] if session is None else self.payout.expected.ours(session)
        our_payout = ours[0] if ours else None
        # A session that contradicts the journal and has no payout of ours may be another order's,
        # so its id isn't recorded.
        is_other = event is Event.CONFLICT and our_payout is None
        sets_session = event is Event.SESSION_CHOSEN or (
            may_learn_session(self.entry) and not is_other
        )
        code, reason = _why(event, self.entry, self._step, reply)
        if event in _PARKS and reply is None and self.failures.reason is not None:
            code, reason = self.failures.code, f"{reason}: {self.failures.reason}"
        is_settled = event in {Event.PAID, Event.NOT_PAID}
        if is_settled and our_payout is not None and our_payout.error is not None:
            code, reason = our_payout.error.code, our_payout.error.description
        proof = PaymentProof.of(ours) if event is Event.PAID and ours else None
        is_chosen = session is not None and session.id == self.entry.session_id
        # An event without a code or reason of its own keeps the recorded ones. A payment clears
        # them: they are about a payout that wasn't paid.
        default = None if event is Event.PAID else KEEP
        return Changes(
            session_id=session.id if session is not None and sets_session else KEEP,
            item_id=our_payout.id if our_payout and (is_chosen or sets_session) else KEEP,
            result=KEEP if proof is None else proof.stored(),
            code=code or default,
            reason=reason or default,
        )

    # --- Send and observe ----------------------------------------------------------------------

    async def _check_halt(self, call: PayoutCall, decision: Decision) -> None:
        """Raise if payouts are halted, by any process, and the call must not be sent then.

        The write of an intent checks the halt, too. A repeated call writes no event, so it is
        checked here.
        """
        is_unchecked = decision.write is None and call in MAY_PAY
        if is_unchecked or (call in _STOPPED_BY_HALT and self.context.halt is not None):
            await self.context.raise_if_halted()

    async def _send(self, call: PayoutCall) -> bool:
        """Make a call and keep its reply; False if no time is left for it."""
        seconds_left = min(self.deadline, self.leased_until) - self._now()
        if self.leased_until <= self._now():
            # By our own clock. Another process may hold the lease now, so nothing is sent.
            raise LostLease(self.entry.key, self.entry.fence)
        if seconds_left <= 0:
            return False
        if call in _STOPPED_BY_HALT and self.context.halt is not None:
            await self.context.raise_if_halted()
        self._sent_in_step[call] += 1
        self._calls_sent += 1
        limits = CallLimits(seconds_left, self._calls_sent)
        self.reply = await self.context.send(call, self.entry, self.payout, limits)
        self.failures.note(self.reply, is_cut_short=self._seconds_left() <= 0)
        shown = self.reply.observation.shown
        self._doubtful_checks += call is PayoutCall.STATUS and shown in _DOUBTFUL
        return True

    def _pauses_before(self, call: PayoutCall, decision: Decision) -> bool:
        """Return whether to pause before a call: by the decision, or because it repeats a call."""
        is_repeated = decision.write is None and self._sent_in_step[call] > 0
        return decision.next_step is NextStep.WAIT or is_repeated

    async def _wait_for_webhook(self) -> bool:
        """Pause before the next call; True if a webhook brought a reply meanwhile."""
        self.has_paused = True
        if self.context.stopping.is_set():
            return False
        await self.write_pending()
        # Jitter, so that payouts that paused together don't all go on at once.
        pause = self._pause * (0.5 + self.context.timing.random() / 2)
        max_pause = min(self.context.lease_seconds / 3, self._seconds_left())
        self._pause = min(self._pause * _GROWTH, self.context.status_checks.max_delay_seconds)
        await self.context.timing.sleep_unless_set(
            self._wakeup.event, max(0.0, min(pause, max_pause))
        )
        reply = self._wakeup.take()
        if reply is None or reply.session is None:
            return False
        is_chosen = reply.session.id == self.entry.session_id
        reply = self._with_card_compared(reply)
        if not (is_chosen or self._is_final_webhook(reply)):
            return False
        self.reply = reply
        self.failures.note(reply)
        return True

    def _take_final_webhook(self) -> bool:
        """Decide from a webhook that ends the payout and came during the last call or write.

        Returns False if there is none. The provider doesn't deliver it again, so it must not be
        lost when the work ends.
        """
        reply = self._wakeup.take()
        if reply is None or reply.session is None or self.entry.step.is_final:
            return False
        reply = self._with_card_compared(reply)
        if not self._is_final_webhook(reply):
            return False
        self.reply = reply
        return True

    def _is_final_webhook(self, reply: Reply) -> bool:
        """Return whether a webhook ends this payout, or contradicts the journal."""
        session, shown, entry = reply.session, reply.observation.shown, self.entry
        is_chosen = session is not None and session.id == entry.session_id
        is_ours = is_chosen or may_learn_session(entry)
        return shown is SessionView.MISMATCH or (is_ours and shown in ENDS)

    def _with_card_compared(self, reply: Reply) -> Reply:
        """Return the reply of a webhook, read again here if it shows another card than the ordered.

        The receiver of the webhook may lack the order, and so the number of its card.
        """
        session, expected = reply.session, self.payout.expected
        if session is None or all(map(expected.is_card, expected.ours(session))):
            return reply
        compared = self.context.sender.webhook_reply(session, self.payout)
        observation = evolve(compared.observation, call=reply.observation.call)
        return evolve(compared, observation=observation)

    async def _renew_lease(self, *, always: bool = False) -> None:
        """Renew the lease if little of it is left; `LostLease` if another worker has it."""
        now, lease = self._now(), self.context.lease_seconds
        if not always and self.leased_until - now >= lease * _RENEW_BELOW:
            return
        self.entry = await self.context.journal.renew(self.entry, lease)
        self.leased_until = now + lease

    def _seconds_left(self) -> float:
        return self.deadline - self._now()

    def _now(self) -> float:
        return self.context.timing.monotonic()


def may_learn_session(entry: Entry) -> bool:
    """Return whether an entry has no session yet and may get one from a webhook or a report."""
    return entry.session_id is None and entry.step in LEARNS_SESSION


def describe_conflict(entry: Entry, session: Session, expected: Expected) -> str:
    """Describe what the journal has of a payout and what the provider shows of it."""
    recorded = f"{entry.step.name} in {entry.session_id or 'no session'}"
    shown = differences(session, expected)
    return f"the payout {entry.key!r} is recorded as {recorded}; the provider: {shown}"


def _why(
    event: Event, entry: Entry, step: Step, reply: Reply | None
) -> tuple[str | None, str | None]:
    """Return the code and the reason of an event; None if it has none of its own.

    Those of a refused start were recorded with the refusal.
    """
    code, words = (None, None) if reply is None else (reply.code, reply.reason)
    if event in _REFUSALS:
        return code, words
    if event in _PARKS:
        return code, _parked_words(entry, step, reply) + (f": {words}" if words else "")
    if event is not Event.NOT_PAID or step is Step.REFUSED:
        return None, None
    if code or words:
        return code, words
    shown = (
        None if reply is None or reply.observation.shown is None else reply.observation.shown.value
    )
    return None, f"the provider shows its session {entry.session_id} as {shown}, at {step.name}"


def _parked_words(entry: Entry, step: Step, reply: Reply | None) -> str:
    shown = None if reply is None else reply.observation.shown
    if step is Step.NEW and shown is None:
        return f"{entry.session_no} sessions were left, and nothing was paid in any of them"
    if step is Step.KEY_USED:
        return f"its key was used before, and {_sessions_words(shown, reply)}"
    words = "its answer was lost" if shown is None else f"its session shows {shown.value!r}"
    return f"at {step.name}, {words}"


def _sessions_words(shown: SessionView | None, reply: Reply | None) -> str:
    """Describe what the sessions of a payout whose key was used show."""
    session = None if reply is None else reply.session
    if session is None or shown is None or shown in _CANT_PAY:
        return "no session of this journal shows a payout"
    return f"its session {session.id} shows {shown.value!r}"
