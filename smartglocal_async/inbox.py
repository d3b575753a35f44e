"""Webhooks: verified, handled once, and handed to tasks that end with the application."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol, Self, TypeVar, overload

from attrs import define, field

from .claims import Claim, MemoryStore, WebhookStore
from .errors import InvalidRequest, Misuse
from .handlers import Handler, Handlers, check_types, facts, is_own_end
from .receipts import AnswerWhen, Receipt, ReceiptState
from .values.events import WebhookEvent
from .values.exactness import above_zero
from .webhooks import Headers, WebhookVerifier

_LOG: Final = logging.getLogger("smartglocal_async.webhooks")
_LAST_WORDS_SECONDS: Final = 1.0

A = TypeVar("A", bound=WebhookEvent)
B = TypeVar("B", bound=WebhookEvent)
C = TypeVar("C", bound=WebhookEvent)
D = TypeVar("D", bound=WebhookEvent)
H = TypeVar("H", bound=Callable[..., Awaitable[object]])
_Register = Callable[[Handler[A]], Handler[A]]


class _Calls(Protocol):
    def notice(self, event: WebhookEvent) -> None: ...


class Noticing(Protocol):
    """Whoever is told of every event; a client is."""

    @property
    def session(self) -> _Calls:
        """The calls that may wait for a session."""
        ...


@define(eq=False)
class _Life:
    """What runs between start and stop."""

    gate: asyncio.Semaphore
    loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop)
    tasks: set[asyncio.Task[ReceiptState]] = field(factory=set[asyncio.Task[ReceiptState]])
    is_stopping: bool = False

    def own(self, work: Coroutine[Any, Any, ReceiptState]) -> asyncio.Task[ReceiptState]:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def check_loop(self) -> None:
        if self.loop is not asyncio.get_running_loop():
            raise Misuse("these webhooks run in another event loop; make one `Webhooks` for each")


@define(eq=False)
class Webhooks:
    """Receive webhooks: verify each, run its handlers once, and say what to answer.

    Run it for as long as the application lives, with ``async with webhooks:``. Leaving takes no
    more, waits ``drain_seconds`` for the handlers that run, and cancels the rest. A handler that
    takes longer than ``handler_seconds`` has failed.

    An event is a hint: look its session up among your own, or ask ``api.session.status``, before
    you do anything of value (see `WebhookVerifier`).

    ``store`` guards against repeats; several processes want to share one. ``api`` is a client to
    be told of every event, so that ``api.session.wait`` looks at once. No more than ``backlog``
    events wait or run, the next gets 503; no more than ``concurrency`` run.
    """

    verifier: WebhookVerifier
    store: WebhookStore = field(factory=MemoryStore, kw_only=True)
    api: Noticing | None = field(default=None, kw_only=True, repr=False)
    answer: AnswerWhen = field(default=AnswerWhen.ACCEPTED, kw_only=True)
    backlog: int = field(default=1_000, kw_only=True)
    concurrency: int = field(default=64, kw_only=True)
    handler_seconds: float = field(default=60.0, kw_only=True)
    drain_seconds: float = field(default=20.0, kw_only=True)
    _handlers: Handlers = field(factory=Handlers, init=False, repr=False)
    _life: _Life | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        for name, wanted in (("verifier", WebhookVerifier), ("answer", AnswerWhen)):
            if not isinstance(getattr(self, name), wanted):
                raise InvalidRequest(name, f"expected a {wanted.__name__}")
        above_zero("backlog", self.backlog, whole=True)
        above_zero("concurrency", self.concurrency, whole=True)
        above_zero("handler_seconds", self.handler_seconds)
        above_zero("drain_seconds", self.drain_seconds)

    @overload
    def on(self, event: type[A], /) -> _Register[A]: ...
    @overload
    def on(self, event: type[A], other: type[B], /) -> _Register[A | B]: ...
    @overload
    def on(self, event: type[A], other: type[B], third: type[C], /) -> _Register[A | B | C]: ...
    @overload
    def on(
        self, event: type[A], other: type[B], third: type[C], fourth: type[D], /
    ) -> _Register[A | B | C | D]: ...
    @overload
    def on(self, *events: type[WebhookEvent]) -> Callable[[H], H]: ...
    def on(self, *events: type[WebhookEvent]) -> Callable[[Any], Any]:
        """Have an ``async def`` handle events of these types; `WebhookEvent` stands for all.

        The handlers of an event run one after the other, in the order they were given. When one
        fails, the others run all the same, and a redelivery runs all of them again.
        """
        check_types(events)

        def register(handler: Handler[Any]) -> Handler[Any]:
            self._handlers.add(events, handler)
            return handler

        return register

    async def receive(self, headers: Headers, body: bytes) -> Receipt:
        """Verify a delivery and have it handled; the receipt says what to answer.

        Raises:
            WebhookRefused: as `WebhookVerifier.read` does; nothing was handled.
            Misuse: it isn't running, or runs in another event loop.

        """
        try:
            event = self.verifier.read(headers, body)
        finally:
            del headers, body  # The frames of an error must not hold them.
        return await self.accept(event)

    async def accept(self, event: WebhookEvent) -> Receipt:
        """Have a verified event handled, unless it was."""
        if self._life is None:
            raise Misuse("these webhooks aren't running: wrap your app in `async with webhooks:`")
        self._life.check_loop()
        if self.api is not None:
            self.api.session.notice(event)
        return Receipt(event, await self._take(self._life, event))

    @property
    def pending(self) -> int:
        """How many events wait or run."""
        return len(self._life.tasks) if self._life else 0

    async def start(self) -> None:
        """Begin to take events, in this event loop."""
        # A loop that was closed took with it what ran there.
        if self._life is not None and not self._life.loop.is_closed():
            raise Misuse("these webhooks are running already")
        self._life = _Life(asyncio.Semaphore(self.concurrency))

    async def stop(self) -> int:
        """Take no more, and wait for what runs; give how many were cancelled at the deadline."""
        life = self._life
        if life is None:
            return 0
        life.check_loop()
        life.is_stopping = True
        try:
            return await _drain(life.tasks, self.drain_seconds)
        finally:
            self._life = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        _ = await self.stop()

    async def _take(self, life: _Life, event: WebhookEvent) -> ReceiptState:
        if life.is_stopping:
            return ReceiptState.STOPPED
        if len(life.tasks) >= self.backlog:
            _LOG.warning("a webhook found the backlog full", extra=facts(event))
            return ReceiptState.FULL
        claimed: asyncio.Future[None] = life.loop.create_future()
        # A task of its own: when the request is cancelled, the event is handled all the same.
        task = life.own(self._work(life, event, claimed))
        waited_for = {task} if self.answer is AnswerWhen.HANDLED else {task, claimed}
        _ = await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
        if self.answer is AnswerWhen.ACCEPTED and claimed.done():
            return ReceiptState.ACCEPTED
        return ReceiptState.STOPPED if task.cancelled() else task.result()

    async def _work(
        self, life: _Life, event: WebhookEvent, claimed: asyncio.Future[None]
    ) -> ReceiptState:
        try:
            claim = await self.store.claim(event.identity)
        except (Exception, asyncio.CancelledError) as error:
            if is_own_end(error):
                raise
            _LOG.exception("a webhook can't be claimed in the store", extra=facts(event))
            return ReceiptState.FAILED
        if claim is Claim.HANDLED:
            return ReceiptState.REPEATED
        if claim is Claim.RUNNING:
            # Not answered with 200: whoever runs it may fail or die, and then it is to come again.
            return ReceiptState.RUNNING
        claimed.set_result(None)
        return await self._handle(life, event)

    async def _handle(self, life: _Life, event: WebhookEvent) -> ReceiptState:
        is_handled = False
        try:
            async with life.gate:
                is_handled = await self._handlers.run(event, self.handler_seconds)
        finally:
            await self._settle(event, is_handled=is_handled)
        return ReceiptState.HANDLED if is_handled else ReceiptState.FAILED

    async def _settle(self, event: WebhookEvent, *, is_handled: bool) -> None:
        settle = self.store.keep if is_handled else self.store.forget
        try:
            await settle(event.identity)
        except (Exception, asyncio.CancelledError) as error:
            if is_own_end(error):
                raise
            _LOG.exception("the store didn't take what became of a webhook", extra=facts(event))


async def _drain(tasks: set[asyncio.Task[ReceiptState]], seconds: float) -> int:
    if not tasks:
        return 0
    late = set(tasks)
    try:
        _, late = await asyncio.wait(late, timeout=seconds)
    finally:
        for task in late:
            _ = task.cancel()
    if late:
        _LOG.warning("webhook handlers were cancelled", extra={"webhook_count": len(late)})
        _ = await asyncio.wait(late, timeout=_LAST_WORDS_SECONDS)
    return len(late)
