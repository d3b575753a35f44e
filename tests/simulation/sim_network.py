"""The provider in memory, and what lies between: messages that come late, twice or never.

The emulator's own desk, bank and outbox judge and move the money; the client's own transport
sends, over a session that is none of aiohttp's.
"""

import asyncio
import enum
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
from attrs import define, field, frozen
from sim_loop import SimLoop
from sim_wire import Answer, Request, Stamp

from smartglocal_async.codec import codec
from smartglocal_async.emulator.bank import Bank
from smartglocal_async.emulator.desk import Call, Desk
from smartglocal_async.emulator.faults import Fault, FaultKind
from smartglocal_async.emulator.outbox import Outbox, Parcel, WebhookScript
from smartglocal_async.emulator.routes import route
from smartglocal_async.emulator.rules import Confirmation, Permission, Rules
from smartglocal_async.emulator.script import FaultScript, Strikes
from smartglocal_async.values.events import WebhookEvent

BEGINNING: Final = datetime(2024, 5, 27, tzinfo=UTC)
URL_OF_ALL: Final = "https://provider.test"
_PATIENCE_SECONDS: Final = 10.0
_START: Final = "session/start/payout"
_SPOILT: Final = (
    *(FaultKind.ERROR_200, FaultKind.THROTTLE, FaultKind.REDIRECT, FaultKind.SERVER_ERROR),
    *(FaultKind.GARBAGE, FaultKind.TRUNCATED, FaultKind.EMPTY, FaultKind.WRONG_TYPE),
)


class Fate(enum.Enum):
    """What becomes of a message."""

    GOES_WELL = "goes well"
    NOT_SENT = "not sent"
    LOST = "lost"
    """It never arrives; the sender hears nothing, or that the connection broke."""
    ANSWER_LOST = "answer lost"
    LATE = "late"
    """The connection breaks, and the message is carried out all the same, much later."""
    TWICE = "twice"
    SLOW = "slow"
    """So slow that the sender may have given up."""


@frozen(kw_only=True)
class Weather:
    """How bad it is: shares of all messages, and seconds."""

    trouble: float = 0.0
    spoilt: float = 0.0
    most_late_seconds: float = 60.0
    webhooks: WebhookScript = field(factory=WebhookScript)


def _strikes(weather: Weather, seed: int) -> Strikes:
    share = weather.spoilt / len(_SPOILT)
    faults = [
        Fault(kind, rate=share, seconds=1, status=503, processed=processed)
        for kind in _SPOILT
        for processed in ((True, False) if kind is FaultKind.SERVER_ERROR else (False,))
    ]
    return Strikes(FaultScript(faults, seed))


@define(eq=False)
class Network:
    """Everything between the workers and the provider, the provider included."""

    loop: SimLoop
    dice: random.Random
    rules: Rules
    weather: Weather
    trace: Callable[..., None]
    listeners: Callable[[], list[Any]]
    """Gives those who take webhooks now."""
    desk: Desk = field(init=False)

    def __attrs_post_init__(self) -> None:
        stamp: Any = Stamp()
        self.desk = Desk(
            bank=Bank(self.rules),
            strikes=_strikes(self.weather, self.dice.randrange(2**32)),
            outbox=Outbox(self.weather.webhooks, "any"),
            public_key=stamp,
            project="demo",
            clock=self.now,
        )

    def now(self) -> datetime:
        """Give the provider's time."""
        return BEGINNING + timedelta(seconds=self.loop.time())

    def clear_up(self) -> None:
        """Let there be no more trouble; what is on its way stays on its way."""
        self.weather = Weather()
        self.desk.strikes = Strikes(FaultScript())

    # --- Calls ---------------------------------------------------------------------------------

    async def carry(self, request: Request) -> Answer:
        """Carry a request to the provider, and its answer back."""
        body = await request.body.as_bytes()
        found = route(request.url.path)
        call = Call(method="POST", path=request.url.path, headers=request.headers, body=body)
        fate = self._fate(found[0] if found else "")
        self.trace("sent", found and found[0], fate.value)
        if fate is Fate.NOT_SENT:
            await asyncio.sleep(self._moment())
            raise aiohttp.ClientConnectionError
        request.response = request
        answered: asyncio.Future[Answer] = self.loop.create_future()
        for seconds, answers in self._arrivals(fate):
            self.loop.later(seconds, self._arrive, call, answered if answers else None)
        if fate in {Fate.LOST, Fate.ANSWER_LOST, Fate.LATE} and self.dice.random() < 0.7:
            self.loop.later(self._moment() * 3, self._break, answered)
        return await answered

    def _fate(self, operation: str) -> Fate:
        if self.dice.random() >= self.weather.trouble:
            return Fate.GOES_WELL
        fate = self.dice.choice(tuple(Fate))
        is_twin = fate is Fate.TWICE and operation == _START
        return Fate.ANSWER_LOST if is_twin and not self._may_start_twice() else fate

    def _may_start_twice(self) -> bool:
        """Say whether a start may be carried twice, and at most once still be had.

        Not where the provider takes the second one: with a confirm it pays both, and the twin may
        come between the last look and the confirm. Where it refuses it, whoever is told so has to
        see the first one; a stale status would hide it.
        """
        rules = self.rules
        is_seen = rules.confirmation is Confirmation.MANUAL or not rules.status_lag_seconds
        return rules.second_start is Permission.REFUSE and is_seen

    def _arrivals(self, fate: Fate) -> list[tuple[float, bool]]:
        """Give after how long it arrives, how often, and whether it is answered."""
        late = self.dice.random() ** 3 * self.weather.most_late_seconds
        match fate:
            case Fate.LOST | Fate.NOT_SENT:
                return []
            case Fate.ANSWER_LOST:
                return [(self._moment(), False)]
            case Fate.LATE:
                return [(late, False)]
            case Fate.TWICE:
                return [(self._moment(), True), (late, False)]
            case Fate.SLOW:
                return [(late, True)]
            case Fate.GOES_WELL:
                return [(self._moment(), True)]

    def _moment(self) -> float:
        return 0.01 + 0.2 * self.dice.random()

    def _arrive(self, call: Call, answered: "asyncio.Future[Answer] | None") -> None:
        verdict = self.desk.judge(call)
        seen = verdict.seen
        told = (seen.operation, seen.key, seen.session_id, seen.error_code, seen.fault)
        self.trace("arrived", *told)
        self.pump()
        if answered is not None:
            self.loop.later(self._moment(), self._answer, answered, Answer(verdict.reply))

    def _answer(self, answered: "asyncio.Future[Answer]", answer: Answer) -> None:
        if not answered.done():
            answered.set_result(answer)

    def _break(self, answered: "asyncio.Future[Answer]") -> None:
        if not answered.done():
            answered.set_exception(aiohttp.ServerDisconnectedError())

    # --- Webhooks ------------------------------------------------------------------------------

    def pump(self) -> None:
        """Do what is due at the provider, and send the webhooks that are."""
        now = self.desk.advance()
        for parcel in self.desk.outbox.take(now):
            self.loop.later(self._moment(), self._deliver, parcel)
        if (due := self._next_due()) is not None:
            # A little after it: a moment has microseconds, and the loop's time more than that.
            seconds = max(0.0, (due - now).total_seconds()) + 0.001
            self.loop.later(seconds, self._wake)

    def _next_due(self) -> datetime | None:
        times = (self.desk.outbox.next_due, self.desk.bank.next_due)
        return min((time for time in times if time is not None), default=None)

    def _wake(self) -> None:
        due = self._next_due()
        if due is not None and due <= self.now():
            self.pump()

    def _deliver(self, parcel: Parcel) -> None:
        listeners = self.listeners()
        event = codec("v1").decode(parcel.body, WebhookEvent)
        self.trace("webhook", parcel.notice.type, parcel.notice.session_id, len(listeners))
        heard: asyncio.Future[bool] = self.loop.create_future()
        heard.add_done_callback(lambda _: self._settle(parcel, heard), context=self.loop.outside)
        if listeners:
            self.dice.choice(listeners).hear(event, heard)
        self.loop.later(_PATIENCE_SECONDS, self._give_up, heard)

    def _give_up(self, heard: "asyncio.Future[bool]") -> None:
        if not heard.done():
            heard.set_result(False)

    def _settle(self, parcel: Parcel, heard: "asyncio.Future[bool]") -> None:
        now = self.now()
        self.desk.outbox.done(parcel, 200 if heard.result() else None, now, now)
        self.pump()
