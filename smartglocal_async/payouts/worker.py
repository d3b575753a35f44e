"""The life of one payout: decide, write, send, observe, and decide again, while time is left.

`Worker.work` is the whole loop; `protocol.next_move` is the table that it asks what to do next. An
event is written to the journal before the call that it announces is sent. The claim comes before,
in `claimer`.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from attrs import define, evolve, field

from ..errors import LostLease, SessionTaken
from ..evidence import Expected, differences
from ..journal.entries import KEEP, Attempt, Changes, Entry, HaltKind, PendingEvent
from ..journal.states import CAN_WAIT, LEARNS_SESSION, STEPS, Event, Step
from ..models.answers import Session
from .calls import MAY_PAY, NEEDS_REQUEST, UNCONFIRMED, CallLimits, OrderedPayout, Reply
from .context import Wakeup, WorkerContext
from .protocol import (
    ENDS,
    Decision,
    Mode,
    NextStep,
    Observation,
    PayoutCall,
    ReplyKind,
    Row,
    SessionView,
    next_move,
)

_GROWTH: Final = 2.0
_RENEW_BELOW: Final = 2 / 3
_DOUBTFUL: Final = frozenset({SessionView.EMPTY, SessionView.NOT_OURS, SessionView.OTHER_SUM})
"""Views that may be out of date or wrong, so that the status is asked for again; see `Row`."""
_HARMLESS_IF_LEFT: Final = frozenset(
    {SessionView.EMPTY, SessionView.CLOSED, SessionView.CANCELLED, SessionView.DECLINED}
)
_UNDECIDED: Final = frozenset({None, SessionView.UNDER_WAY, SessionView.UNSURE})
"""Views of a left session that decide nothing yet; None: its status call failed."""
_STOPPED_BY_HALT: Final = MAY_PAY | {PayoutCall.CREATE}
_CLEARS_FAILURES: Final = frozenset(
    {Event.START_KNOWN, Event.CONFIRM_INTENDED, Event.CONFIRM_KNOWN, Event.PARKED, Event.CONFLICT}
)
_CONTRADICTS: Final = frozenset({Event.CONFLICT, Event.START_KEY_USED})
"""Events after which the payout may have been paid elsewhere."""
_PARKS: Final = frozenset({Event.PARKED, Event.CONFLICT})


@define(eq=False)
class FailedCalls:
    """The last failure of each call of a payout, until a later step makes it irrelevant."""

    _by_call: dict[PayoutCall, Reply] = field(factory=dict[PayoutCall, Reply])
    """The newest at the end."""

    def note(self, reply: Reply, *, is_cut_short: bool = False) -> None:
        """Replace what is known of a call by its newest reply; a success removes the call.

        A call that our own deadline cut short says less than an earlier failure, which then stays.
        """
        call = reply.observation.call
        if is_cut_short and call in self._by_call:
            return
        _ = self._by_call.pop(call, None)
        if reply.reason is not None:
            self._by_call[call] = reply

    def clear_after(self, event: Event) -> None:
        """Remove the failures that no longer matter once this event is written."""
        if event in _CLEARS_FAILURES:
            self._by_call.clear()
        elif event is Event.SESSION_LEFT:
            _ = (
                self._by_call.pop(PayoutCall.CANCEL, None),
                self._by_call.pop(PayoutCall.STATUS, None),
            )

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
    """As written in the journal."""
    payout: OrderedPayout
    ends: float
    """When the work has to stop, on the monotonic clock."""
    leased_until: float
    """When the lease ends on the monotonic clock; counted from before the claim, so never late."""
    reply: Reply | None = None
    """The last observation, which the next decision is made from; None once it is used."""
    needs_request: bool = field(default=False, init=False)
    """Whether it stopped because the next call needs the order, which isn't available here."""
    failures: FailedCalls = field(factory=FailedCalls, init=False)
    is_contradicted: bool = field(default=False, init=False)
    """See `protocol.Row`."""
    has_waited: bool = field(default=False, init=False)
    """Whether the last status call showed nothing to do."""
    _pending: PendingEvent | None = field(default=None, init=False)
    """Observed but not written yet: written together with the next event, or at the end."""
    _sent_in_step: Counter[PayoutCall] = field(factory=Counter[PayoutCall], init=False)
    _number: int = field(default=0, init=False)
    """How many calls were sent under this lease."""
    _doubtful_checks: int = field(default=0, init=False)
    """How many status calls in this step showed no payout, or another one than was ordered."""
    _pause: float = field(init=False)
    _wakeup: Wakeup = field(factory=Wakeup, init=False)

    def __attrs_post_init__(self) -> None:
        self._pause = self.context.status_checks.initial_delay_seconds

    async def work(self) -> Entry:  # noqa: C901 - the life of a payout, on one screen
        """Work until the payout is settled or parked, or can't go on now; return what is written.

        Raises:
            LostLease: another process took the payout over.
            Refused: our credentials are refused; the payout stays open.
            PayoutsHalted: all payouts are halted until an operator has checked.
            Misuse: the client is closed.

        """
        self.reply = None if self.reply is None else self._compared(self.reply)
        with self.context.registered(self.entry.key, self._wakeup):
            if self.entry.step is Step.UNKNOWN:
                history = await self.context.journal.history(self.entry.key)
                self.is_contradicted = any(line.event in _CONTRADICTS for line in history)
            while True:
                while (decision := await self._decide()).next_step is not NextStep.DONE:
                    call = decision.call
                    if call is None or decision.next_step is NextStep.NEXT:
                        # Write only. The observation is used up: decide again from the row alone.
                        if await self._write(decision):
                            self.reply = None
                        continue
                    if not self._may_send(call):
                        break
                    if self._waits_before(call, decision):
                        if await self._wait_for_webhook():
                            continue
                        if self.context.stopping.is_set() or not self._may_send(call):
                            break
                    await self._check_halt(call, decision)
                    await self._renew_lease()
                    # Write, then send: after a crash the journal shows every call that may be out.
                    if not await self._write(decision):
                        continue
                    # Observe: the reply is what the next decision is made from.
                    if not await self._send(call):
                        break
                await self.write_pending()
                if not self._has_final_webhook():
                    return self.entry

    # --- Decide --------------------------------------------------------------------------------

    async def _decide(self) -> Decision:
        """Return what to do next; halt all payouts first if the decision says so."""
        decision = self._next_move()
        if decision.next_step is NextStep.NEXT and self._step is Step.KEY_USED:
            decision = await self._check_left_sessions(decision)
        elif (
            decision.write is Event.NOT_PAID and self._step is Step.REFUSED and self._shows_nothing
        ):
            decision = await self._check_refusing_sessions(decision)
        if decision.halts is not None:
            await self.context.halt_all(decision.halts, self._conflict_words())
            if decision.next_step is NextStep.DONE:
                await self.context.raise_if_halted()
        return decision

    def _next_move(self) -> Decision:
        entry = self.entry
        if entry.step is Step.UNKNOWN and self.reply is None and entry.session_id is not None:
            return Decision(
                NextStep.SEND, PayoutCall.STATUS
            )  # Asking for the status changes nothing.
        row = Row(
            Mode(entry.mode),
            self._step,
            entry.session_no,
            is_patient=self._doubtful_checks < self.context.status_checks.before_leaving,
            is_contradicted=self.is_contradicted,
        )
        return next_move(row, None if self.reply is None else self.reply.observation)

    @property
    def _step(self) -> Step:
        """The step of the payout, with the event that isn't written yet."""
        entry, pending = self.entry, self._pending
        return entry.step if pending is None else STEPS[entry.step, pending.event]

    async def _check_left_sessions(self, decision: Decision) -> Decision:
        """Check the sessions that were left, before the payout goes on in a new one.

        The provider says that the key of the start was used before. If none of the payout's
        sessions shows a payout, a start that had no effect used it.
        """
        if decision.write is not Event.SESSION_LEFT:
            return decision
        history = await self.context.journal.history(self.entry.key)
        for session_id in self._other_sessions(history):
            reply = await self._check_session(session_id)
            if reply is None:
                return Decision(NextStep.WAIT, PayoutCall.STATUS)
            shown = reply.observation.shown
            awaits = shown is SessionView.AWAITS_CONFIRM and self.entry.mode == Mode.MANUAL.value
            if shown in _UNDECIDED:
                self.failures.note(reply)
                return Decision(NextStep.WAIT, PayoutCall.STATUS)
            if shown not in _HARMLESS_IF_LEFT and not awaits:
                self.reply = evolve(reply, code=self.entry.code)
                halts = (
                    HaltKind.CONFLICT if shown in {SessionView.PAID, SessionView.MISMATCH} else None
                )
                event = Event.PARKED if halts is None else Event.CONFLICT
                return Decision(NextStep.NEXT, write=event, halts=halts)
        return decision

    @property
    def _shows_nothing(self) -> bool:
        return self.reply is not None and self.reply.observation.shown is SessionView.EMPTY

    async def _check_refusing_sessions(self, decision: Decision) -> Decision:
        """Check all other sessions that refused the start, before the payout fails.

        The chosen session can't be cancelled and shows no payout. Its status may be out of date: if
        the start was delivered twice, only the second delivery was refused. So the payout fails
        only if another session that refused the start shows no payout either. Otherwise it goes on
        in a new session.
        """
        history = await self.context.journal.history(self.entry.key)
        refusals = (line for line in history if line.event is Event.START_REFUSED)
        is_undecided = is_shown_empty = False
        for session_id in self._other_sessions(refusals):
            reply = await self._check_session(session_id)
            if reply is None:
                return Decision(NextStep.WAIT, PayoutCall.STATUS)
            shown = reply.observation.shown
            if shown in {SessionView.PAID, SessionView.MISMATCH}:
                self.reply = reply
                return Decision(NextStep.NEXT, write=Event.CONFLICT, halts=HaltKind.CONFLICT)
            if shown in {None, SessionView.UNSURE}:
                self.failures.note(reply)
                is_undecided = True
            is_shown_empty |= shown in {SessionView.EMPTY, SessionView.CLOSED}
        if is_undecided:
            return Decision(NextStep.WAIT, PayoutCall.STATUS)
        return decision if is_shown_empty else Decision(NextStep.NEXT, write=Event.SESSION_LEFT)

    def _other_sessions(self, lines: Iterable[Attempt]) -> list[str]:
        """Return the sessions that lines of the history name, but for the chosen one, each once."""
        ids = dict.fromkeys(line.session_id for line in lines)
        return [each for each in ids if each is not None and each != self.entry.session_id]

    async def _check_session(self, session_id: str) -> Reply | None:
        """Return what another session of the payout shows; None if no time is left to ask."""
        left_seconds = self.ends - self._now()
        if left_seconds <= 0:
            return None
        return await self.context.sender.check_session(session_id, self.payout, left_seconds)

    def _conflict_words(self) -> str:
        """Describe what is written of the payout and what the provider shows."""
        entry, session = self.entry, None if self.reply is None else self.reply.session
        shown = None if self.reply is None else self.reply.observation.shown
        if session is not None and shown is SessionView.AWAITS_CONFIRM:
            words = f"waits for a confirm in {session.id}, and its mode is {entry.mode}"
            return f"the payout {entry.key!r} {words}"
        if session is None:
            return f"the payout {entry.key!r} is written as {entry.step.name}"
        return conflict(entry, session, self.payout.expected)

    # --- Write ---------------------------------------------------------------------------------

    async def write_pending(self) -> None:
        """Write the event that was observed and not written yet; raises what `work` does."""
        pending, self._pending = self._pending, None
        if pending is not None:
            self.entry = await self.context.write(self.entry, pending.event, pending.changes)

    async def _write(self, decision: Decision) -> bool:
        """Write the event of a decision, if it has one.

        Returns False if the session of the answer belongs to another payout: nothing is written.
        """
        event = decision.write
        if event is None:
            if decision.call not in {None, PayoutCall.STATUS}:
                await self.write_pending()  # A call that changes something is about to be sent.
            return True
        before, step, self.has_waited = self.entry, self._step, False
        changes = self._changes(event)
        if event in CAN_WAIT and changes.session_id is KEEP:
            await self.write_pending()
            self._pending = PendingEvent(event, changes)
        else:
            pending, self._pending = self._pending, None
            try:
                self.entry = await self.context.write(before, event, changes, pending)
            except SessionTaken as taken:
                self.reply = Reply(
                    Observation(PayoutCall.CREATE, ReplyKind.LOST), reason=str(taken)
                )
                self.failures.note(self.reply)
                return False
        self._sent_in_step.clear()
        self._doubtful_checks = 0
        self.is_contradicted = self.is_contradicted or event in _CONTRADICTS
        self.failures.clear_after(event)
        if event is not Event.CREATE_INTENDED:
            self._pause = self.context.status_checks.initial_delay_seconds
        if event is Event.PAID and before.mode == Mode.MANUAL.value and step in UNCONFIRMED:
            words = (
                f"the payout {before.key!r} was paid in {before.session_id} without a confirm out "
                "of this journal"
            )
            await self.context.halt_all(HaltKind.MISMATCH, words)
        return True

    def _changes(self, event: Event) -> Changes:
        reply = self.reply
        session = None if reply is None else reply.session
        ours = [] if session is None else self.payout.expected.ours(session)
        item = ours[0] if ours else None
        # A session that contradicts the journal and has no payout of ours may be another order's.
        is_other = event is Event.CONFLICT and item is None
        names = event is Event.SESSION_CHOSEN or (learns(self.entry) and not is_other)
        if event is Event.SESSION_LEFT:
            return Changes(code=None, reason=None)
        code, reason = _why(event, self.entry, self._step, reply)
        if event in _PARKS and reply is None and self.failures.reason is not None:
            code, reason = self.failures.code, f"{reason}: {self.failures.reason}"
        if event in {Event.PAID, Event.NOT_PAID} and item is not None and item.error is not None:
            code, reason = item.error.code, item.error.description
        return Changes(
            session_id=session.id if session is not None and names else KEEP,
            item_id=KEEP if item is None else item.id,
            code=code or KEEP,
            reason=reason or KEEP,
        )

    # --- Send and observe ----------------------------------------------------------------------

    async def _check_halt(self, call: PayoutCall, decision: Decision) -> None:
        """Raise if a call may pay while payouts are halted, by this process or another one.

        The write of an event that announces the call checks it, too. A call that is sent again has
        no such write.
        """
        is_unchecked = decision.write is None and call in MAY_PAY
        if is_unchecked or (call in _STOPPED_BY_HALT and self.context.halt is not None):
            await self.context.raise_if_halted()

    def _may_send(self, call: PayoutCall) -> bool:
        """Return whether the call has what it needs, and time is left for it."""
        if call in NEEDS_REQUEST and self.payout.order is None:
            self.needs_request = True
            return False
        return self.ends > self._now()

    async def _send(self, call: PayoutCall) -> bool:
        """Make a call and keep its reply; False if no time is left for it."""
        left_seconds = min(self.ends, self.leased_until) - self._now()
        if self.leased_until <= self._now():
            # By our own clock. Another process may hold the lease now, so nothing is sent.
            raise LostLease(self.entry.key, self.entry.fence)
        if left_seconds <= 0:
            return False
        if call in _STOPPED_BY_HALT and self.context.halt is not None:
            await self.context.raise_if_halted()
        self._sent_in_step[call] += 1
        self._number += 1
        limits = CallLimits(left_seconds, self._number)
        self.reply = await self.context.send(call, self.entry, self.payout, limits)
        self.failures.note(self.reply, is_cut_short=self._now() >= self.ends)
        shown = self.reply.observation.shown
        self._doubtful_checks += call is PayoutCall.STATUS and shown in _DOUBTFUL
        return True

    def _waits_before(self, call: PayoutCall, decision: Decision) -> bool:
        """Return whether a call repeats one of this step, so that a pause comes before it."""
        is_repeated = decision.write is None and self._sent_in_step[call] > 0
        return decision.next_step is NextStep.WAIT or is_repeated

    async def _wait_for_webhook(self) -> bool:
        """Pause before the next call; True if a webhook brought an observation meanwhile."""
        self.has_waited = True
        if self.context.stopping.is_set():
            return False
        await self.write_pending()
        # Jitter, so that payouts that paused together don't all go on at once.
        pause = self._pause * (0.5 + self.context.timing.random() / 2)
        max_pause = min(self.context.lease_seconds / 3, self.ends - self._now())
        self._pause = min(self._pause * _GROWTH, self.context.status_checks.max_delay_seconds)
        await self.context.timing.sleep_unless_set(
            self._wakeup.event, max(0.0, min(pause, max_pause))
        )
        reply = self._wakeup.take()
        if reply is None or reply.session is None:
            return False
        is_current = reply.session.id == self.entry.session_id
        if not is_current and reply.observation.shown is not SessionView.MISMATCH:
            return False
        self.reply = self._compared(reply)
        self.failures.note(self.reply)
        return True

    def _has_final_webhook(self) -> bool:
        """Take a webhook that ends the payout and came during the last call or write.

        It isn't delivered again, so it must not be lost when the work ends.
        """
        reply, entry = self._wakeup.take(), self.entry
        if reply is None or reply.session is None or entry.step.is_final:
            return False
        reply = self._compared(reply)
        shown = reply.observation.shown
        is_ours = learns(entry) or (
            reply.session is not None and entry.session_id == reply.session.id
        )
        if not (is_ours or shown is SessionView.MISMATCH) or shown not in ENDS:
            return False
        self.reply = reply
        return True

    def _compared(self, reply: Reply) -> Reply:
        """Return what a webhook shows if its card isn't the ordered one; else its reply.

        The receiver of a webhook may lack the order.
        """
        session, expected = reply.session, self.payout.expected
        if session is None or all(map(expected.is_card, expected.ours(session))):
            return reply
        compared = self.context.sender.webhook(session, self.payout)
        observation = evolve(compared.observation, call=reply.observation.call)
        return evolve(compared, observation=observation)

    async def _renew_lease(self) -> None:
        now, lease = self._now(), self.context.lease_seconds
        if self.leased_until - now >= lease * _RENEW_BELOW:
            return
        self.entry = await self.context.journal.renew(self.entry, lease)
        self.leased_until = now + lease

    def _now(self) -> float:
        return self.context.timing.monotonic()


def learns(entry: Entry) -> bool:
    """Return whether an entry has no session yet and may get one from a webhook or a report."""
    return entry.session_id is None and entry.step in LEARNS_SESSION


def conflict(entry: Entry, session: Session, expected: Expected) -> str:
    """Describe what is written of a payout and what the provider shows of it."""
    written = f"{entry.step.name} in {entry.session_id or 'no session'}"
    shown = differences(session, expected)
    return f"the payout {entry.key!r} is written as {written}; the provider: {shown}"


_REFUSALS: Final = frozenset({Event.START_REFUSED, Event.START_KEY_USED})


def _why(
    event: Event, entry: Entry, step: Step, reply: Reply | None
) -> tuple[str | None, str | None]:
    """Return code and reason to write with an event; None keeps what is written."""
    code, words = (None, None) if reply is None else (reply.code, reply.reason)
    if event in _REFUSALS:
        return code, words
    if event in _PARKS:
        return code, _parked_words(entry, step, reply) + (f": {words}" if words else "")
    if event is not Event.NOT_PAID or step is Step.REFUSED:
        return None, None  # Of a refused start, the refusal was written with it.
    if code or words:
        return code, words
    shown = (
        None if reply is None or reply.observation.shown is None else reply.observation.shown.value
    )
    return None, f"the provider shows its session {entry.session_id} as {shown}, at {step.name}"


def _parked_words(entry: Entry, step: Step, reply: Reply | None) -> str:
    if step is Step.NEW:
        return f"{entry.session_no} sessions were left, and nothing was paid in any of them"
    shown = None if reply is None else reply.observation.shown
    if step is Step.KEY_USED:
        return f"its key was used before, and {_sessions_words(shown, reply)}"
    words = "its answer was lost" if shown is None else f"its session shows {shown.value!r}"
    return f"at {step.name}, {words}"


def _sessions_words(shown: SessionView | None, reply: Reply | None) -> str:
    """Describe what the sessions of a payout whose key was used show."""
    session = None if reply is None else reply.session
    if session is None or shown is None or shown in _HARMLESS_IF_LEFT:
        return "no session of this journal shows a payout"
    return f"its session {session.id} shows {shown.value!r}"
