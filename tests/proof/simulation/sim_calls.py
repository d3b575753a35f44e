"""Counts the calls of the workers; more calls than the protocol allows are an error."""

from collections import Counter
from typing import TYPE_CHECKING, Final

from attrs import define, field
from sim_replies import CREATE, INIT, START, Message

from smartglocal_async.journal.states import Event
from smartglocal_async.payouts.protocol import Mode

if TYPE_CHECKING:
    from sim_world import World

_MOST_SESSIONS: Final = 8
_MOST: Final = {
    CREATE: 60,
    "session/status": 300,
    "session/cancel": 150,
    "session/confirm": 30,
}
"""Limits for one worker, each time that it pays all orders: creates of one payout, and other calls
about one session."""


@define(eq=False)
class Calls:
    """Counts the calls that are sent."""

    world: "World"
    counts: Counter[tuple[int, str, object]] = field(
        factory=Counter[tuple[int, str, object]], init=False
    )
    _starts: Counter[str] = field(factory=Counter[str], init=False)
    """How often each session was started and the start may have reached the provider."""
    _inits: set[tuple[str, str]] = field(factory=set[tuple[str, str]], init=False)
    """Journal and key of the payouts whose init may have reached the provider."""
    _started: dict[tuple[str, str], set[str]] = field(
        factory=dict[tuple[str, str], set[str]], init=False
    )

    def sent(self, message: Message, *, is_out: bool) -> str | None:
        """Count a call; return a description of what is wrong with it, or None."""
        operation, session_id = message.operation, message.session_id
        if operation == START and session_id is not None and message.payout is not None:
            return self._start(message.payout, session_id, is_out=is_out)
        if operation == INIT and message.payout is not None:
            return self._init(message.payout, is_out=is_out)
        place = message.worker, operation, session_id or message.payout
        self.counts[place] += 1
        if self.counts[place] > _MOST[operation] * self.world.plan.rounds:
            return f"{operation} was sent {self.counts[place]} times about {place[2]}"
        if operation == "session/confirm":
            return self._confirm(session_id or "")
        return None

    def throttled(self, message: Message) -> None:
        """Count a throttled start as not sent, if it pays only after a confirm."""
        if message.operation == START and self.world.plan.mode is Mode.MANUAL:
            self._starts[message.session_id or ""] -= 1

    def _start(self, payout: tuple[str, str], session_id: str, *, is_out: bool) -> str | None:
        if self._starts[session_id] > 0:
            return f"{payout}: {session_id} was started a second time"
        self._starts[session_id] += is_out
        started = self._started.setdefault(payout, set())
        started.add(session_id)
        if len(started) > _MOST_SESSIONS:
            return f"{payout}: {len(started)} sessions were started"
        return None

    def _init(self, payout: tuple[str, str], *, is_out: bool) -> str | None:
        if payout in self._inits:
            return f"{payout}: paid in one step a second time"
        if is_out:
            self._inits.add(payout)
        return None

    def _confirm(self, session_id: str) -> str | None:
        """Check that the confirm of this session was written to a journal."""
        for merchant in self.world.merchants:
            if merchant.was_restored or merchant.rows is None:
                return None
            if any(
                line.session_id == session_id and line.event is Event.CONFIRM_INTENDED
                for line in merchant.rows.lines
            ):
                return None
        return f"{session_id} is confirmed, and that isn't written"
