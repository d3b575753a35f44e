"""Lead one payout on: decide, write, send, and decide again, as long as lease and time last."""

from collections import Counter
from typing import Final

from attrs import define, field

from ..errors import LostLease
from ..journal.entries import KEEP, Changes, Entry, HaltKind, Learned
from ..journal.states import CAN_WAIT, LEARNS_SESSION, STEPS, Event, Step
from .desk import Bell, Desk
from .protocol import Call, Mode, Move, Row, Shown, Then, next_move
from .sending import NEEDS_REQUEST, Heard, Job, Limits

_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 30.0
_GROWTH: Final = 2.0
_RENEW_BELOW: Final = 2 / 3
_UNCONFIRMED: Final = frozenset({Step.STARTING, Step.CANCELLING, Step.STARTED})
_MAY_PAY: Final = frozenset({Call.CREATE, Call.START, Call.CONFIRM, Call.INIT})


@define(eq=False)
class Worker:
    """Has the lease on one payout."""

    desk: Desk
    entry: Entry
    """As it is written."""
    job: Job
    ends: float
    """When it has to stop, on the monotonic clock."""
    leased_until: float
    """The same, of the lease: by our own clock, which only makes it stop sooner."""
    heard: Heard | None = None
    needs_request: bool = field(default=False, init=False)
    has_waited: bool = field(default=False, init=False)
    """Whether its last look showed nothing to do."""
    _learned: Learned | None = field(default=None, init=False)
    """What is known beyond that, and is written with what follows it, or when nothing does."""
    _made: Counter[Call] = field(factory=Counter[Call], init=False)
    _number: int = field(default=0, init=False)
    _pause: float = field(default=_FIRST_PAUSE_SECONDS, init=False)
    _bell: Bell = field(factory=Bell, init=False)

    async def work(self) -> Entry:
        """Go on until it is settled, parked, or can't go on now; give what is written then.

        Raises:
            LostLease: somebody else has it.
            Refused: our credentials are refused; the row stays open.
            ConfirmationMismatch: money moved without us, here or elsewhere.
            Misuse: the client is closed, or the like.

        """
        bells, key = self.desk.bells, self.entry.key
        bells[key] = self._bell
        try:
            is_on = True
            while is_on:
                while (move := self._next()).then is not Then.DONE:
                    if not await self._make(move):
                        break
                await self.keep()
                is_on = self._has_late_news()
        finally:
            if bells.get(key) is self._bell:  # News may have taken the key over meanwhile.
                del bells[key]
        return self.entry

    def _has_late_news(self) -> bool:
        """Take what was told meanwhile, if it ends the payout: nobody tells it again."""
        heard, entry = self._bell.take(), self.entry
        if heard is None or heard.session is None or entry.step.is_final:
            return False
        is_ours = entry.session_id == heard.session.id or learns(entry)
        if not is_ours or heard.news.shown not in {Shown.PAID, Shown.DECLINED}:
            return False
        self.heard = heard
        return True

    async def keep(self) -> None:
        """Write what was learned; raises what `work` does."""
        learned, self._learned = self._learned, None
        if learned is not None:
            self.entry = await self.desk.write(self.entry, learned.event, learned.changes)

    @property
    def _step(self) -> Step:
        """Where the payout stands, by all that is known."""
        entry, learned = self.entry, self._learned
        return entry.step if learned is None else STEPS[entry.step, learned.event]

    def _next(self) -> Move:
        entry = self.entry
        if entry.step is Step.UNKNOWN and self.heard is None and entry.session_id is not None:
            return Move(Then.SEND, Call.STATUS)  # It costs nothing to look.
        row = Row(Mode(entry.mode), self._step, entry.session_no)
        return next_move(row, None if self.heard is None else self.heard.news)

    async def _make(self, move: Move) -> bool:
        """Make a move; False if it can't be made now."""
        if move.then is Then.NEXT or move.call is None:
            await self._write(move)
            self.heard = None
            return True
        if not self._may_send(move.call):
            return False
        waits = move.then is Then.WAIT or (move.write is None and self._made[move.call] > 0)
        if waits and await self._was_told():
            return True
        if waits and self.desk.stopping.is_set():
            return False
        if not self._may_send(move.call):
            return False
        await self._keep_lease()
        if move.write is not None:
            await self._write(move)
        elif move.call is not Call.STATUS:
            await self.keep()
        return await self._send(move.call)

    def _may_send(self, call: Call) -> bool:
        if call in _MAY_PAY and (halted := self.desk.halted()) is not None:
            raise halted
        if call in NEEDS_REQUEST and self.job.order is None:
            self.needs_request = True
            return False
        return self.ends > self._now()

    async def _send(self, call: Call) -> bool:
        left_seconds = min(self.ends, self.leased_until) - self._now()
        if self.leased_until <= self._now():
            raise LostLease(self.entry.key, self.entry.fence)  # By our clock; nothing is sent.
        if left_seconds <= 0:
            return False
        if call in _MAY_PAY and (halted := self.desk.halted()) is not None:
            raise halted
        self._made[call] += 1
        self._number += 1
        limits = Limits(left_seconds, self._number)
        self.heard = await self.desk.send(call, self.entry, self.job, limits)
        return True

    async def _write(self, move: Move) -> None:
        event = move.write
        if event is None:
            return
        before, step, self.has_waited = self.entry, self._step, False
        changes = self._changes(event)
        if event in CAN_WAIT and changes.session_id is KEEP:
            await self.keep()
            self._learned = Learned(event, changes)
        else:
            learned, self._learned = self._learned, None
            self.entry = await self.desk.write(before, event, changes, learned)
        self._made.clear()
        if event is not Event.CREATE_INTENDED:
            self._pause = _FIRST_PAUSE_SECONDS
        if event is Event.PAID and before.mode == Mode.MANUAL.value and step in _UNCONFIRMED:
            words = f"the payout {before.key!r} was paid in {before.session_id}"
            await self.desk.brake(HaltKind.MISMATCH, words)

    def _changes(self, event: Event) -> Changes:
        heard = self.heard
        session = None if heard is None else heard.session
        ours = [] if session is None else self.job.meant.ours(session)
        item = ours[0] if ours else None
        learns = session is not None and self.entry.session_id is None
        code, reason = _why(event, self.entry.session_no, self._step, heard)
        if event in {Event.PAID, Event.NOT_PAID} and item is not None and item.error is not None:
            code, reason = item.error.code, item.error.description
        return Changes(
            session_id=session.id if session is not None and learns else KEEP,
            item_id=KEEP if item is None or event is Event.SESSION_LEFT else item.id,
            code=code or KEEP,
            reason=reason or KEEP,
        )

    async def _was_told(self) -> bool:
        """Wait for the next look; True if a webhook told of the session meanwhile."""
        self.has_waited = True
        if self.desk.stopping.is_set():
            return False
        await self.keep()
        spread = self._pause * (0.5 + self.desk.timing.dice() / 2)
        most = min(self.desk.lease_seconds / 3, self.ends - self._now())
        self._pause = min(self._pause * _GROWTH, _LONGEST_PAUSE_SECONDS)
        await self.desk.timing.sleep_unless(self._bell.rung, max(0.0, min(spread, most)))
        heard = self._bell.take()
        if heard is None or heard.session is None or heard.session.id != self.entry.session_id:
            return False
        self.heard = heard
        return True

    async def _keep_lease(self) -> None:
        now, lease = self._now(), self.desk.lease_seconds
        if self.leased_until - now >= lease * _RENEW_BELOW:
            return
        self.entry = await self.desk.journal.renew(self.entry, lease)
        self.leased_until = now + lease

    def _now(self) -> float:
        return self.desk.timing.monotonic()


def learns(entry: Entry) -> bool:
    """Say whether the session of an entry may come to be known by news."""
    return entry.session_id is None and entry.step in LEARNS_SESSION


def _why(event: Event, left: int, step: Step, heard: Heard | None) -> tuple[str | None, str | None]:
    """Give code and reason of what is written, as far as the last call told."""
    if event not in {Event.NOT_PAID, Event.PARKED}:
        return None, None
    code, said = (None, None) if heard is None else (heard.code, heard.reason)
    if event is Event.PARKED:
        return code, _parked(step, heard) + (f": {said}" if said else "")
    if code or said:
        return code, said
    if heard is None:
        return None, f"{left} sessions were left"
    return None, f"its session is over at {step.name}, and nothing was paid"


def _parked(step: Step, heard: Heard | None) -> str:
    shown = None if heard is None else heard.news.shown
    words = "its answer was lost" if shown is None else f"its session shows {shown.value!r}"
    return f"at {step.name}, {words}"
