"""The provider in memory, behind a network that delivers messages late, twice or never.

The emulator's dispatcher, bank and webhook queue check calls and move money. The client's own
transport sends, over a fake aiohttp session.
"""

import asyncio
import enum
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
from attrs import define, evolve, field, frozen
from multidict import CIMultiDict
from sim_calls import Calls
from sim_loop import SimLoop
from sim_replies import (
    AMOUNT_FAULTS,
    CREATE,
    ERRORS,
    INIT,
    REPLY_FAULTS,
    START,
    Message,
    ReplyFault,
    error_reply,
    with_bom,
    with_session,
    with_wrong_amount,
)
from sim_wire import FakeConnection, FakeRequest, FakeResponse, FakeSigner

from smartglocal_async.codec import codec
from smartglocal_async.emulator.bank.bank import EmulatedBank
from smartglocal_async.emulator.bank.calls import SessionService
from smartglocal_async.emulator.bank.messages import INVALID_REQUEST, WRONG_STATE, route
from smartglocal_async.emulator.bank.outcomes import Fate as Outcome
from smartglocal_async.emulator.bank.sessions import EmulatedSession, Item, ItemStage
from smartglocal_async.emulator.bank.webhooks import QueuedWebhook, WebhookQueue, WebhookScript
from smartglocal_async.emulator.faults import Fault, FaultKind, FaultPicker, FaultScript
from smartglocal_async.emulator.server.dispatch import Dispatcher, IncomingRequest
from smartglocal_async.emulator.server.faulty_responses import HttpResponse
from smartglocal_async.emulator.settings import Permission, Rules
from smartglocal_async.models.events import WebhookEvent

_TWO_PAYOUTS: Final = 20_000
START_TIME: Final = datetime(2024, 5, 27, tzinfo=UTC)
SERVER_URL: Final = "https://provider.test"
_PATIENCE_SECONDS: Final = 10.0
_SURPLUS_ENDS: Final = 0.3
_THROTTLED: Final = 429
_MAX_WEBHOOK_SECONDS: Final = 100 * 3600.0
_UNDER_WAY: Final = {ItemStage.STARTED, ItemStage.READY, ItemStage.CONFIRMED}
_PROVIDER_FAULTS: Final = (
    *(FaultKind.ERROR_200, FaultKind.THROTTLE, FaultKind.REDIRECT, FaultKind.SERVER_ERROR),
    *(FaultKind.GARBAGE, FaultKind.TRUNCATED, FaultKind.EMPTY, FaultKind.WRONG_TYPE),
)


class Fate(enum.Enum):
    """What the network does with a message."""

    GOES_WELL = "goes well"
    NOT_SENT = "not sent"
    LOST = "lost"
    """It never arrives; the sender gets no answer, or a broken connection."""
    ANSWER_LOST = "answer lost"
    LATE = "late"
    """The connection breaks, and the message is carried out much later."""
    TWICE = "twice"
    """It is carried out twice, and the first one is answered."""
    TWICE_SECOND = "twice, answered as the second"
    SLOW = "slow"
    """The sender may have given up before the answer."""


_BREAKS: Final = {Fate.LOST, Fate.ANSWER_LOST, Fate.LATE}


@frozen(kw_only=True)
class NetworkConditions:
    """The rates of faults, as shares of all messages, and delays in seconds."""

    network_faults: float = 0.0
    provider_faults: float = 0.0
    reply_faults: float = 0.0
    wrong_amounts: float = 0.0
    """Share of messages that show or move another amount."""
    returned: bool = False
    """Whether the bank shows a payout as paid and returned before it declines it."""
    max_late_seconds: float = 60.0
    webhooks: WebhookScript = field(factory=WebhookScript)


def _faults(conditions: NetworkConditions, seed: int) -> FaultPicker:
    share = conditions.provider_faults / len(_PROVIDER_FAULTS)
    faults = [
        Fault(kind, rate=share, seconds=1, processed=processed)
        for kind in _PROVIDER_FAULTS
        for processed in ((True, False) if kind is FaultKind.SERVER_ERROR else (False,))
    ]
    return FaultPicker(FaultScript(faults, seed))


@define(eq=False)
class Network:
    """The provider, and the network between it and the workers."""

    loop: SimLoop
    rng: random.Random
    rules: Rules
    conditions: NetworkConditions
    trace: Callable[..., None]
    receivers: Callable[[], list[Any]]
    """Returns the workers that accept webhooks now."""
    calls: Calls
    has_generic_codes: bool
    dispatcher: Dispatcher = field(init=False)
    protocol_errors: list[str] = field(factory=list[str], init=False)
    """Calls that should not have been sent."""
    refused: set[tuple[str, str]] = field(factory=set[tuple[str, str]], init=False)
    """Journal and key of the payouts whose create or start was refused by the rules."""
    undelivered: int = field(default=0, init=False)
    """How many webhooks that must be delivered weren't yet."""
    _returned: set[str] = field(factory=set[str], init=False)

    def __attrs_post_init__(self) -> None:
        stamp: Any = FakeSigner()
        self.dispatcher = Dispatcher(
            bank=EmulatedBank(self.rules),
            faults=_faults(self.conditions, self.rng.randrange(2**32)),
            webhook_queue=WebhookQueue(self.conditions.webhooks, "any"),
            public_key=stamp,
            project="demo",
            clock=self.now,
        )

    @property
    def session_service(self) -> SessionService:
        """The provider's sessions and the calls about them."""
        return self.dispatcher.bank._session_service

    def now(self) -> datetime:
        """Return the provider's time."""
        return START_TIME + timedelta(seconds=self.loop.time())

    def top_up(self) -> None:
        """Add money for two payouts to the wallet."""
        self.dispatcher.bank.top_up(_TWO_PAYOUTS, "usd")

    def end_faults(self) -> None:
        """End all faults; messages that are already on their way still arrive."""
        self.conditions = NetworkConditions()
        self.dispatcher.faults = FaultPicker(FaultScript())

    # --- Calls ---------------------------------------------------------------------------------

    async def deliver(self, request: FakeRequest) -> FakeResponse:
        """Carry a request to the provider, and its answer back."""
        connection, message = request.connection, await self._message(request)
        reply_fault = self._choose_reply_fault()
        if reply_fault is ReplyFault.WRONG_AMOUNT_MOVED and message.operation in {START, INIT}:
            message = self._with_wrong_amount(message)
        fate = self._fate(message.operation)
        self.trace(
            "sent",
            message.operation,
            fate.value,
            *([] if reply_fault is None else [reply_fault.value]),
        )
        if (wrong := self.calls.sent(message, is_out=fate is not Fate.NOT_SENT)) is not None:
            self.protocol_errors.append(wrong)
        if fate is Fate.NOT_SENT:
            await asyncio.sleep(self._moment())
            raise aiohttp.ClientConnectionError
        request.response = request
        answered: asyncio.Future[FakeResponse] = self.loop.create_future()
        if connection.surplus:
            self.loop.call_outside(
                self._moment(), self._answer_with_surplus, connection, message, answered
            )
        for seconds, answers in self._arrivals(fate):
            waiting = answered if answers else None
            self.loop.call_outside(seconds, self._arrive, message, reply_fault, connection, waiting)
        if fate in _BREAKS and self.rng.random() < 0.7:
            self.loop.call_outside(self._moment() * 3, self._break, connection, answered)
        return await answered

    async def _message(self, request: FakeRequest) -> Message:
        body, path = await request.body.as_bytes(), request.url.path
        found = route(path)
        assert found is not None
        return Message(
            operation=found[0],
            call=IncomingRequest(method="POST", path=path, headers=request.headers, body=body),
            wire=json.loads(body),
            worker=request.connection.worker,
        )

    def _with_wrong_amount(self, message: Message) -> Message:
        """Change the amount before the provider receives the message."""
        body = with_wrong_amount(message.call.body, self.rng.randrange(2))
        headers = CIMultiDict(message.call.headers)
        headers["X-PARTNER-SIGN"] = FakeSigner.signature_of(body)
        return evolve(message, call=evolve(message.call, headers=headers, body=body))

    def _choose_reply_fault(self) -> ReplyFault | None:
        chance = self.rng.random()
        if chance < self.conditions.reply_faults:
            return self.rng.choice(REPLY_FAULTS)
        if chance < self.conditions.reply_faults + self.conditions.wrong_amounts:
            return self.rng.choice(AMOUNT_FAULTS)
        return None

    def _fate(self, operation: str) -> Fate:
        if self.rng.random() >= self.conditions.network_faults:
            return Fate.GOES_WELL
        fate = self.rng.choice(tuple(Fate))
        is_twin = fate in {Fate.TWICE, Fate.TWICE_SECOND}
        may_be_twin = operation != INIT and (operation != START or self._may_start_twice())
        return fate if may_be_twin or not is_twin else Fate.ANSWER_LOST

    def _may_start_twice(self) -> bool:
        """Return whether a start may be carried out twice without a broken promise.

        It may not if the provider accepts the second start: it would pay both, or one confirm
        would. The promise assumes that a start is carried out once on its way, or that a second one
        is refused.
        """
        return self.rules.second_start is Permission.REFUSE

    def _arrivals(self, fate: Fate) -> list[tuple[float, bool]]:
        """Return the delay of each arrival, and whether it is answered."""
        late = self.rng.random() ** 3 * self.conditions.max_late_seconds
        match fate:
            case Fate.LOST | Fate.NOT_SENT:
                return []
            case Fate.ANSWER_LOST:
                return [(self._moment(), False)]
            case Fate.LATE:
                return [(late, False)]
            case Fate.TWICE:
                return [(self._moment(), True), (late, False)]
            case Fate.TWICE_SECOND:
                first = self._moment()
                return [(first, False), (first + late, True)]
            case Fate.SLOW:
                return [(late, True)]
            case Fate.GOES_WELL:
                return [(self._moment(), True)]

    def _moment(self) -> float:
        return 0.01 + 0.2 * self.rng.random()

    def _arrive(
        self,
        message: Message,
        reply_fault: ReplyFault | None,
        connection: FakeConnection,
        answered: "asyncio.Future[FakeResponse] | None",
    ) -> None:
        """Let the provider handle a request, and send the answer."""
        number = self.rng.randrange(2**16)
        if reply_fault in ERRORS and number % 2:
            self.trace("arrived", message.operation, "and isn't carried out")
            reply = error_reply(reply_fault, number)
        else:
            reply = self._handle(message, reply_fault, number)
        if answered is not None:
            self.loop.call_outside(
                self._moment(), self._answer, connection, message, reply_fault, reply, answered
            )

    def _handle(
        self, message: Message, reply_fault: ReplyFault | None, number: int
    ) -> HttpResponse:
        handled = self.dispatcher.handle(message.call)
        seen = handled.record
        details = (seen.operation, seen.key, seen.session_id, seen.error_code, seen.fault)
        self.trace("arrived", *details)
        if seen.fault == FaultKind.THROTTLE:
            self.calls.throttled(message)
        if seen.error_code == INVALID_REQUEST:
            self._refuse(message)
        if self.conditions.returned and message.session_id is not None:
            self._return(message.session_id)
        self.pump()
        reply = handled.response
        if self.has_generic_codes and seen.error_code == WRONG_STATE:
            body = reply.body.replace(WRONG_STATE.encode(), INVALID_REQUEST.encode())
            reply = evolve(reply, body=body)
        if reply_fault is None or seen.fault is not None:
            return reply
        return self._with_reply_fault(reply, message, reply_fault, number)

    def _with_reply_fault(
        self, reply: HttpResponse, message: Message, reply_fault: ReplyFault, number: int
    ) -> HttpResponse:
        match reply_fault:
            case ReplyFault.SWAPPED:
                sessions = list(self.session_service.sessions.values())
                others = [one for one in sessions if one.id != message.session_id]
                if not others:
                    return reply
                other = others[number % len(others)]
                return with_session(self.session_service.processing.views.session(other, 1))
            case ReplyFault.BARE_ERROR | ReplyFault.UNKNOWN_CODE:
                return error_reply(reply_fault, number)
            case ReplyFault.BOM:
                return with_bom(reply)
            case ReplyFault.WRONG_AMOUNT_SHOWN:
                return evolve(reply, body=with_wrong_amount(reply.body, number))
            case ReplyFault.SURPLUS | ReplyFault.WRONG_AMOUNT_MOVED:
                return reply

    def _answer(
        self,
        connection: FakeConnection,
        message: Message,
        reply_fault: ReplyFault | None,
        reply: HttpResponse,
        answered: "asyncio.Future[FakeResponse]",
    ) -> None:
        answer = FakeResponse(reply)
        if reply_fault is ReplyFault.SURPLUS:
            connection.surplus.append(answer)
        if not answered.done():
            self._read(message, answer)
            answered.set_result(answer)
        elif connection.surplus:
            connection.surplus.append(answer)  # Its sender read the previous answer.

    def _answer_with_surplus(
        self, connection: FakeConnection, message: Message, answered: "asyncio.Future[FakeResponse]"
    ) -> None:
        """Answer with a surplus answer of the connection, until the connection breaks."""
        if not connection.surplus or answered.done():
            return
        answer = connection.surplus.pop(0)
        if message.operation == INIT and b'"error"' in answer.reply.body:
            return  # A10: the refusal of a payout in one step isn't the answer to another call.
        self.trace("crossed", message.operation)
        if INVALID_REQUEST.encode() in answer.reply.body:
            self._refuse(message)  # An error names no session, so it isn't recognised as another's.
        if answer.reply.status == _THROTTLED:
            self.calls.throttled(message)  # A throttled answer doesn't either.
        self._read(message, answer)
        answered.set_result(answer)
        if self.rng.random() < _SURPLUS_ENDS:
            connection.surplus.clear()

    def _read(self, message: Message, answer: FakeResponse) -> None:
        """Note an error that ends a payout: the error of a create does, with any code."""
        if message.operation == CREATE and b'"error"' in answer.reply.body:
            self._refuse(message)

    def _refuse(self, message: Message) -> None:
        if message.payout is not None:
            self.refused.add(message.payout)

    def _break(self, connection: FakeConnection, answered: "asyncio.Future[FakeResponse]") -> None:
        connection.surplus.clear()
        if not answered.done():
            answered.set_exception(aiohttp.ServerDisconnectedError())

    # --- Webhooks ------------------------------------------------------------------------------

    def pump(self) -> None:
        """Advance the provider, and send the webhooks that are due."""
        now = self.dispatcher.advance()
        for webhook in self.dispatcher.webhook_queue.take(now):
            self.loop.call_outside(self._moment(), self._deliver, webhook)
        if (due := self._next_due()) is not None:
            # A little later: datetimes are rounded to microseconds, the loop's time isn't.
            seconds = max(0.0, (due - now).total_seconds()) + 0.001
            self.loop.call_outside(seconds, self._wake)

    def _next_due(self) -> datetime | None:
        times = (self.dispatcher.webhook_queue.next_due, self.dispatcher.bank.next_due)
        return min((time for time in times if time is not None), default=None)

    def _wake(self) -> None:
        due = self._next_due()
        if due is not None and due <= self.now():
            self.pump()

    def _return(self, session_id: str) -> None:
        """Send a webhook that the bank returned a payout, before it declines it."""
        session = self.session_service.sessions.get(session_id)
        if session is None or session_id in self._returned or not session.items:
            return
        item = session.items[-1]
        if item.fate is not Outcome.DECLINE or item.stage not in _UNDER_WAY:
            return
        self._returned.add(session_id)
        view: Any = self.session_service.processing.views.session(session, 1)
        view["status"] = "accepted"
        _ = view.pop("next_action", None)
        view["payments"][-1]["status"] = "succeeded"
        self.loop.call_outside(
            self._moment(), self.send_webhook, "payment_refunded", view, _journal_of(item)
        )

    def reverse(self, session: EmulatedSession, item: Item) -> None:
        """Pay a payout that was declined, and send the webhook until it is accepted."""
        now, processing = self.now(), self.session_service.processing
        item.stage, item.stage_number = ItemStage.SUCCEEDED, item.stage_number + 1
        processing.transfers.reserve(item)
        processing.enter_stage(session, item, now)
        self.trace("reversed", session.id)
        self.undelivered += 1
        self.send_webhook(
            "payment_finished", processing.views.session(session, 1), _journal_of(item)
        )

    def send_webhook(self, event_type: str, view: dict[str, Any], journal_id: str) -> None:
        """Send a webhook to workers of a journal, again and again until it is accepted."""
        event = codec("v1").structure({"type": event_type, "session": view}, WebhookEvent)
        accepted: asyncio.Future[bool] = self.loop.create_future()
        receivers = [one for one in self.receivers() if one.merchant.journal_id == journal_id]
        self.trace("webhook", event_type, event.session.id, len(receivers))

        def settle(_: "asyncio.Future[bool]") -> None:
            if accepted.result():
                self.undelivered -= event_type == "payment_finished"
            elif self.loop.time() < _MAX_WEBHOOK_SECONDS:
                self.loop.call_outside(1.0, self.send_webhook, event_type, view, journal_id)

        accepted.add_done_callback(settle, context=self.loop.outside)
        if receivers:
            self.rng.choice(receivers).receive(event, accepted)
        self.loop.call_outside(1.0, self._give_up, accepted)

    def _deliver(self, webhook: QueuedWebhook) -> None:
        receivers = self.receivers()
        event = codec("v1").decode(webhook.body, WebhookEvent)
        self.trace(
            "webhook", webhook.notification.type, webhook.notification.session_id, len(receivers)
        )
        accepted: asyncio.Future[bool] = self.loop.create_future()
        accepted.add_done_callback(
            lambda _: self._settle(webhook, accepted), context=self.loop.outside
        )
        if receivers:
            self.rng.choice(receivers).receive(event, accepted)
        self.loop.call_outside(_PATIENCE_SECONDS, self._give_up, accepted)

    def _give_up(self, accepted: "asyncio.Future[bool]") -> None:
        if not accepted.done():
            accepted.set_result(False)

    def _settle(self, webhook: QueuedWebhook, accepted: "asyncio.Future[bool]") -> None:
        now = self.now()
        self.dispatcher.webhook_queue.done(webhook, 200 if accepted.result() else None, now, now)
        self.pump()


def _journal_of(item: Item) -> str:
    """Return the journal in a payout's metadata."""
    marks: Any = item.terms["metadata"]
    return str(marks["payout_journal"])
