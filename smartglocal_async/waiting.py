"""Wait for a session to get somewhere: look now and then, and at once when somebody says so."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from attrs import define, field

from .caller import Caller
from .errors import CallFailed, Refused, StillOpen
from .freezing import CallOptions
from .operations import SESSION_STATUS
from .values.answers import Session
from .values.exactness import above_zero
from .values.requests import SessionRef

_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_GROWTH: Final = 1.5


def is_settled(session: Session) -> bool:
    """Say whether a session is final, or waits for the merchant or the payer."""
    return session.is_final or session.is_action_due


@define(eq=False)
class _Bell:
    """Wakes one waiter, from whatever thread."""

    loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop)
    rung: asyncio.Event = field(factory=asyncio.Event)

    def ring(self) -> None:
        with suppress(RuntimeError):  # Its loop is closed: nobody waits there any more.
            _ = self.loop.call_soon_threadsafe(self.rung.set)


@define(eq=False)
class _Looks:
    """What was seen while waiting."""

    status: str | None = None
    cause: str | None = None


@define(eq=False)
class Waiting:
    """Those who wait for sessions, through one client."""

    caller: Caller
    _bells: dict[str, set[_Bell]] = field(
        factory=lambda: defaultdict[str, set[_Bell]](set), init=False, repr=False
    )

    def notice(self, session_id: str) -> None:
        """Wake those who wait for this session; safe from any thread."""
        for bell in tuple(self._bells.get(session_id, ())):
            bell.ring()

    async def wait(
        self, session: SessionRef, until: Callable[[Session], bool], deadline: float
    ) -> Session:
        """Look until ``until`` is content; see `SessionCalls.wait`."""
        above_zero("deadline", deadline)
        bell = _Bell()
        self._bells[session.session_id].add(bell)
        try:
            return await self._look_on(session, until, deadline, bell)
        finally:
            self._bells[session.session_id].discard(bell)
            if not self._bells[session.session_id]:
                del self._bells[session.session_id]

    async def _look_on(
        self, session: SessionRef, until: Callable[[Session], bool], deadline: float, bell: _Bell
    ) -> Session:
        timing = self.caller.settings.timing
        started, pause, looks = timing.monotonic(), _FIRST_PAUSE_SECONDS, _Looks()
        while (left := started + deadline - timing.monotonic()) > 0:
            bell.rung.clear()
            seen = await self._look(session, left, looks)
            if seen is not None and until(seen):
                return seen
            # Half of the pause at least, so that a crowd of waiters is spread and not a storm.
            spread = pause * (0.5 + timing.dice() / 2)
            left = started + deadline - timing.monotonic()
            await timing.sleep_unless(bell.rung, min(spread, max(left, 0.0)))
            pause = min(pause * _GROWTH, _LONGEST_PAUSE_SECONDS)
        waited = timing.monotonic() - started
        raise StillOpen(session.session_id, looks.status, waited, looks.cause)

    async def _look(self, session: SessionRef, seconds: float, looks: _Looks) -> Session | None:
        try:
            settled = await self.caller.call(SESSION_STATUS, session, CallOptions(deadline=seconds))
        except CallFailed as error:
            if isinstance(error, Refused) and not error.is_throttled:
                raise
            looks.cause = f"the last look failed: {error}"
            return None
        looks.status, looks.cause = str(settled.answer.status), None
        return settled.answer
