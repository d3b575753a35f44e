"""Webhooks: verified, handled once, and handed to tasks that end with the application."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol, Self, TypeVar, overload

from attrs import define, field

from .claims import Claim, MemoryStore, WebhookStore
from .errors import InvalidRequest, Misuse
from .receipts import AnswerWhen, Receipt, ReceiptState
from .values.events import WebhookEvent
from .values.exactness import above_zero
from .webhooks import Headers, WebhookVerifier

_LOG: Final = logging.getLogger("smartglocal_async.webhooks")
_LAST_WORDS_SECONDS: Final = 1.0

A = TypeVar("A", bound=WebhookEvent)
B = TypeVar("B", bound=WebhookEvent)
Handler = Callable[[A], Awaitable[object]]
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
    tasks: set[asyncio.Task[ReceiptState]] = field(factory=set[asyncio.Task[ReceiptState]])
    is_stopping: bool = False

    def own(self, work: Coroutine[Any, Any, ReceiptState]) -> asyncio.Task[ReceiptState]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


@define(eq=False)
class Webhooks:
    """Receive webhooks: verify each, run its handlers once, and say what to answer.

    Run it for as long as the application lives, with ``async with webhooks:``. Leaving takes no
    more, waits ``drain_seconds`` for the handlers that run, and cancels the rest.

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
    drain_seconds: float = field(default=20.0, kw_only=True)
    _handlers: list[tuple[tuple[type[WebhookEvent], ...], Handler[Any]]] = field(
        factory=list[tuple[tuple[type[WebhookEvent], ...], Handler[Any]]], init=False, repr=False
    )
    _life: _Life | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        for name, wanted in (("verifier", WebhookVerifier), ("answer", AnswerWhen)):
            if not isinstance(getattr(self, name), wanted):
                raise InvalidRequest(name, f"expected a {wanted.__name__}")
        above_zero("backlog", self.backlog, whole=True)
        above_zero("concurrency", self.concurrency, whole=True)
        above_zero("drain_seconds", self.drain_seconds)

    @overload
    def on(self, event: type[A], /) -> _Register[A]: ...
    @overload
    def on(self, event: type[A], other: type[B], /) -> _Register[A | B]: ...
    @overload
    def on(self, *events: type[WebhookEvent]) -> _Register[WebhookEvent]: ...
    def on(self, *events: type[WebhookEvent]) -> Callable[[Handler[Any]], Handler[Any]]:
        """Have an ``async def`` handle events of these types; `WebhookEvent` stands for all.

        The handlers of an event run one after the other, in the order they were given. When one
        fails, the others run all the same, and a redelivery runs all of them again.
        """
        if not events or not all(map(_is_event, events)):
            raise InvalidRequest("on", "give one or more types of event, such as sg.ReadyToConfirm")

        def register(handler: Handler[Any]) -> Handler[Any]:
            called = getattr(handler, "__call__", None)  # noqa: B004 - of an object
            if not any(map(inspect.iscoroutinefunction, (handler, called))):
                raise InvalidRequest("on", "a handler must be an `async def`")
            self._handlers.append((events, handler))
            return handler

        return register

    async def receive(self, headers: Headers, body: bytes) -> Receipt:
        """Verify a delivery and have it handled; the receipt says what to answer.

        Raises:
            WebhookRefused: as `WebhookVerifier.read` does; nothing was handled.
            Misuse: it isn't running.

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
        if self.api is not None:
            self.api.session.notice(event)
        return Receipt(event, await self._take(self._life, event))

    @property
    def pending(self) -> int:
        """How many events wait or run."""
        return len(self._life.tasks) if self._life else 0

    async def start(self) -> None:
        """Begin to take events."""
        if self._life is not None:
            raise Misuse("these webhooks are running already")
        self._life = _Life(asyncio.Semaphore(self.concurrency))

    async def stop(self) -> int:
        """Take no more, and wait for what runs; give how many were cancelled at the deadline."""
        life = self._life
        if life is None:
            return 0
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
            _LOG.warning("a webhook found the backlog full", extra=_facts(event))
            return ReceiptState.FULL
        claimed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
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
        except Exception:  # noqa: BLE001 - a store is anybody's code
            _LOG.exception("a webhook can't be claimed in the store", extra=_facts(event))
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
                is_handled = await self._run(event)
        finally:
            await self._settle(event, is_handled=is_handled)
        return ReceiptState.HANDLED if is_handled else ReceiptState.FAILED

    async def _run(self, event: WebhookEvent) -> bool:
        failed = 0
        for handler in [each for types, each in self._handlers if isinstance(event, types)]:
            try:
                _ = await handler(event)
            except Exception:  # noqa: BLE001 - a handler is anybody's code
                failed += 1
                facts = _facts(event) | {"webhook_handler": _name(handler)}
                _LOG.exception("a webhook handler failed", extra=facts)
        return not failed

    async def _settle(self, event: WebhookEvent, *, is_handled: bool) -> None:
        settle = self.store.keep if is_handled else self.store.forget
        try:
            await settle(event.identity)
        except Exception:  # noqa: BLE001 - a store is anybody's code
            _LOG.exception("the store didn't take what became of a webhook", extra=_facts(event))


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


def _facts(event: WebhookEvent) -> dict[str, object]:
    return {"webhook_type": event.type, "webhook_session": event.session.id}


def _is_event(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, WebhookEvent)


def _name(handler: object) -> str:
    return getattr(handler, "__qualname__", type(handler).__qualname__)
