"""Receives webhooks: verifies each, runs its handlers once, and returns the HTTP status to answer.

`Webhooks` is the entry point; `Receipt` has the result of a delivery.
"""

import asyncio
import enum
import inspect
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from types import MappingProxyType
from typing import Any, Final, Protocol, Self, TypeVar, cast, overload

from attrs import define, field, frozen

from ..concurrency import is_own_end
from ..errors import InvalidRequest, Misuse, WebhookRefused
from ..models.events import WebhookEvent
from ..models.serialization import Serializable
from ..models.validators import above_zero
from ..observer.delivery import Observer, Observers, checked_observers
from ..observer.events import (
    WebhookFailed,
    WebhookHandled,
    WebhookReceived,
    WebhookStarted,
    next_number,
)
from ..observer.logs import WEBHOOKS
from .store import CLAIM_SECONDS, Claim, MemoryStore, WebhookStore
from .verifier import DELIVERED, Headers, WebhookVerifier

A = TypeVar("A", bound=WebhookEvent)
Handler = Callable[[A], Awaitable[object]]
Types = tuple[type[WebhookEvent], ...]


@define(eq=False)
class Handlers:
    """The handlers in the order they were added, each with its types of event."""

    _added: list[tuple[Types, Handler[Any]]] = field(
        factory=list[tuple[Types, Handler[Any]]], init=False
    )

    def add(self, types: Types, handler: Handler[Any]) -> None:
        """Add a handler.

        Raises:
            InvalidRequest: it can't be awaited.

        """
        called = getattr(handler, "__call__", None)  # noqa: B004 - of an object
        if not any(map(inspect.iscoroutinefunction, (handler, called))):
            raise InvalidRequest("on", "a handler must be an `async def`")
        self._added.append((types, handler))

    async def run(self, event: WebhookEvent, seconds: float, observers: Observers) -> bool:
        """Run the handlers of the event's type, each for up to ``seconds``; False if one failed."""
        failed = 0
        for handler in [each for types, each in self._added if isinstance(event, types)]:
            try:
                async with asyncio.timeout(seconds):
                    _ = await handler(event)
            except (Exception, asyncio.CancelledError) as error:
                if is_own_end(error):
                    raise
                failed += 1
                observers.emit(_failed("handler", event, error, _name(handler)))
        return not failed


def check_types(types: Types) -> None:
    """Check the types of event of a handler.

    Raises:
        InvalidRequest: no type, or something else than types of event.

    """
    if not types or not all(map(_is_event, types)):
        raise InvalidRequest("on", "give one or more types of event, such as sg.ReadyToConfirm")


def _session_id(event: WebhookEvent) -> str | None:
    return None if event.session is None else event.session.id


def _failed(
    where: str, event: WebhookEvent, error: BaseException, handler: str | None = None
) -> WebhookFailed:
    return WebhookFailed(
        where=where,
        type=event.type,
        session_id=_session_id(event),
        handler=handler,
        error=error,
    )


def refused_event(refused: WebhookRefused) -> WebhookReceived:
    """Return the event of a refused delivery."""
    return WebhookReceived(
        type=None,
        session_id=None,
        state="refused",
        fault=refused.fault.value,
        detail=refused.detail,
    )


def _is_event(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, WebhookEvent)


def _name(handler: object) -> str:
    return getattr(handler, "__qualname__", type(handler).__qualname__)


class AnswerWhen(enum.Enum):
    """When the provider gets its answer."""

    ACCEPTED = "accepted"
    """At once, before the handlers run. If the process dies then, the event is lost."""
    HANDLED = "handled"
    """After the handlers. If one fails, the answer is 500 and the provider redelivers, for up to
    30 minutes. How long it waits for an answer is unknown, so handlers should be quick."""


class ReceiptState(enum.Enum):
    """The result of a delivery."""

    ACCEPTED = "accepted"
    """It will be handled."""
    HANDLED = "handled"
    REPEATED = "repeated"
    """It was handled before."""
    RUNNING = "running"
    """It is being handled, with no result yet; the provider should redeliver it."""
    FAILED = "failed"
    """A handler failed."""
    UNAVAILABLE = "unavailable"
    """The store failed or didn't answer in time, so no handler ran."""
    FULL = "full"
    """Too many events are waiting."""
    STOPPED = "stopped"
    """The application is stopping."""


_STATUS: Final[Mapping[ReceiptState, int]] = MappingProxyType(
    {
        ReceiptState.ACCEPTED: DELIVERED,
        ReceiptState.HANDLED: DELIVERED,
        ReceiptState.REPEATED: DELIVERED,
        ReceiptState.RUNNING: 503,
        ReceiptState.FAILED: 500,
        ReceiptState.UNAVAILABLE: 503,
        ReceiptState.FULL: 503,
        ReceiptState.STOPPED: 503,
    }
)


@frozen
class Receipt(Serializable):
    """A verified event, the result of its delivery, and the HTTP status of the answer."""

    event: WebhookEvent
    state: ReceiptState

    @property
    def http_status(self) -> int:
        """The status to answer with; after any but 200 the provider redelivers."""
        return _STATUS[self.state]


_CLEANUP_SECONDS: Final = 1.0
_FIRST_RETRY_SECONDS: Final = 1.0
_MAX_RETRY_SECONDS: Final = 30.0

B = TypeVar("B", bound=WebhookEvent)
C = TypeVar("C", bound=WebhookEvent)
D = TypeVar("D", bound=WebhookEvent)
H = TypeVar("H", bound=Callable[..., Awaitable[object]])
_Register = Callable[[Handler[A]], Handler[A]]


class _Calls(Protocol):
    def handle_event(self, event: WebhookEvent) -> None: ...


class EventClient(Protocol):
    """A client that every event is passed to, such as `SmartGlocal`."""

    @property
    def session(self) -> _Calls:
        """The calls that may wait for a session."""
        ...


@define(eq=False)
class _Running:
    """The tasks between start and stop."""

    gate: asyncio.Semaphore
    loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop)
    tasks: set[asyncio.Task[None]] = field(factory=set[asyncio.Task[None]])
    stopping: asyncio.Event = field(factory=asyncio.Event)

    def own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def check_loop(self) -> None:
        if self.loop is not asyncio.get_running_loop():
            raise Misuse("these webhooks run in another event loop; make one `Webhooks` for each")


@define(eq=False)
class _ReceivedEvent:
    """An event, the token of its claim, and the result to answer with."""

    event: WebhookEvent
    result: asyncio.Future[ReceiptState]
    token: str = field(factory=lambda: secrets.token_hex(16), init=False, repr=False)

    def answer(self, state: ReceiptState) -> None:
        """Set the result, unless it is set already."""
        if not self.result.done():
            self.result.set_result(state)


def _checked(given: object) -> tuple[Observer, ...]:
    return checked_observers(given, "observers")


@define(eq=False)
class Webhooks:
    """Receives webhooks: verifies each, runs its handlers once, and returns the status to answer.

    Run it for as long as the application, with ``async with webhooks:``. At the end of the block
    it accepts no more events, waits ``drain_seconds`` for the handlers that run, and cancels the
    rest. A handler that takes longer than ``handler_seconds`` counts as failed.

    An event is only a hint: before you do anything of value, look up its session among your own,
    or call ``api.session.status`` (see `WebhookVerifier`).

    ``store`` guards against repeats; several processes should share one. A store over a database is
    opened and closed with the block. If it fails, or doesn't answer within ``store_seconds``, the
    delivery is answered with 503 and no handler runs. ``api`` is a client that
    is notified of every event, so that ``api.session.wait`` checks its session at once. Up to
    ``backlog`` events wait or run, and the next one is answered with 503; up to ``concurrency``
    run at the same time. ``observers`` receive the events of `smartglocal_async.observer` about
    deliveries and handlers.
    """

    verifier: WebhookVerifier
    store: WebhookStore = field(factory=MemoryStore, kw_only=True)
    api: EventClient | None = field(default=None, kw_only=True, repr=False)
    answer: AnswerWhen = field(default=AnswerWhen.ACCEPTED, kw_only=True)
    backlog: int = field(default=1_000, kw_only=True)
    concurrency: int = field(default=64, kw_only=True)
    handler_seconds: float = field(default=60.0, kw_only=True)
    drain_seconds: float = field(default=20.0, kw_only=True)
    store_seconds: float = field(default=10.0, kw_only=True)
    observers: tuple[Observer, ...] = field(
        default=(), converter=_checked, kw_only=True, repr=False
    )
    _emitter: Observers = field(init=False, repr=False)
    _handlers: Handlers = field(factory=Handlers, init=False, repr=False)
    _running: _Running | None = field(default=None, init=False, repr=False)
    _opened: AsyncExitStack = field(factory=AsyncExitStack, init=False, repr=False)
    """Closes the store at the end of the block."""

    def __attrs_post_init__(self) -> None:
        for name, wanted in (("verifier", WebhookVerifier), ("answer", AnswerWhen)):
            if not isinstance(getattr(self, name), wanted):
                raise InvalidRequest(name, f"expected a {wanted.__name__}")
        above_zero("backlog", self.backlog, whole=True)
        above_zero("concurrency", self.concurrency, whole=True)
        above_zero("handler_seconds", self.handler_seconds)
        above_zero("drain_seconds", self.drain_seconds)
        above_zero("store_seconds", self.store_seconds)
        self._emitter = Observers(self.observers)

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
        """Register an ``async def`` for events of these types; `WebhookEvent` means all types.

        The handlers of an event run one after the other, in the order they were added. If one
        fails, the others still run, and a redelivery runs all of them again.
        """
        check_types(events)

        def register(handler: Handler[Any]) -> Handler[Any]:
            self._handlers.add(events, handler)
            return handler

        return register

    async def receive(self, headers: Headers, body: bytes) -> Receipt:
        """Verify a delivery and handle it; the receipt has the status of the answer.

        Raises:
            WebhookRefused: as from `WebhookVerifier.verify`; nothing was handled.
            Misuse: it isn't running, or runs in another event loop.

        """
        try:
            event = self.verifier.verify(headers, body)
        except WebhookRefused as error:
            self.emit_refusal(error)
            raise
        finally:
            del headers, body  # So that they aren't in the frames of an error.
        return await self.accept(event)

    async def accept(self, event: WebhookEvent) -> Receipt:
        """Handle a verified event, unless it was handled before.

        Raises:
            Misuse: it isn't running, or runs in another event loop.

        """
        if self._running is None:
            raise Misuse("these webhooks aren't running: wrap your app in `async with webhooks:`")
        self._running.check_loop()
        if self.api is not None:
            self.api.session.handle_event(event)
        state = await self._take(self._running, event)
        if state is ReceiptState.FULL or self._emitter.want(WEBHOOKS):
            self._emitter.emit(
                WebhookReceived(type=event.type, session_id=_session_id(event), state=state.value)
            )
        return Receipt(event, state)

    def emit_refusal(self, refused: WebhookRefused) -> None:
        """Emit the event of a delivery that was refused outside of `receive`."""
        self._emitter.emit(refused_event(refused))

    @property
    def pending(self) -> int:
        """Number of events that wait or run."""
        return len(self._running.tasks) if self._running else 0

    async def start(self) -> None:
        """Start to accept events, in this event loop."""
        # The tasks of a closed loop are gone, so that a new start is allowed.
        if self._running is not None and not self._running.loop.is_closed():
            raise Misuse("these webhooks are running already")
        self._running = _Running(asyncio.Semaphore(self.concurrency))

    async def stop(self) -> int:
        """Accept no more events and wait for the running ones; returns how many were cancelled."""
        running = self._running
        if running is None:
            return 0
        running.check_loop()
        running.stopping.set()
        try:
            late = await _drain(running.tasks, self.drain_seconds)
        finally:
            self._running = None
        if late:
            self._emitter.emit(WebhookFailed(where="drain", count=late))
        await self._emitter.flush()
        return late

    async def __aenter__(self) -> Self:
        await self.start()
        self._opened = AsyncExitStack()
        if isinstance(self.store, AbstractAsyncContextManager):
            store = cast("AbstractAsyncContextManager[object]", self.store)
            try:
                _ = await self._opened.enter_async_context(store)
            except BaseException:
                _ = await self.stop()
                raise
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        try:
            _ = await self.stop()
        finally:
            await self._opened.aclose()

    async def _take(self, running: _Running, event: WebhookEvent) -> ReceiptState:
        if running.stopping.is_set():
            return ReceiptState.STOPPED
        if len(running.tasks) >= self.backlog:
            return ReceiptState.FULL
        delivery = _ReceivedEvent(event, running.loop.create_future())
        # In a task of its own, so that a cancelled request doesn't cancel the handlers.
        task = running.own(self._work(running, delivery))
        both = {task, delivery.result}
        _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if delivery.result.done():
            return delivery.result.result()
        if not task.cancelled():
            task.result()  # Raises what ended it.
        return ReceiptState.STOPPED

    async def _work(self, running: _Running, delivery: _ReceivedEvent) -> None:
        state = ReceiptState.STOPPED  # If this task is cancelled.
        try:
            state = await self._handle(running, delivery)
        finally:
            # The next delivery must find the result of the handlers; all else is answered at once.
            if state not in {ReceiptState.HANDLED, ReceiptState.FAILED}:
                delivery.answer(state)
            # A claim that failed or was cancelled may have been made all the same.
            if state not in {ReceiptState.REPEATED, ReceiptState.RUNNING}:
                await self._settle(running, delivery, state)

    async def _handle(self, running: _Running, delivery: _ReceivedEvent) -> ReceiptState:
        """Claim the event and run its handlers, one event per free place."""
        if (state := await self._claim(delivery)) is not None:
            return state
        if self.answer is AnswerWhen.ACCEPTED:
            delivery.answer(ReceiptState.ACCEPTED)
        has_waited = running.gate.locked()
        async with running.gate:
            # The claim may have ended during the wait, and another process may have the event.
            if has_waited and (state := await self._claim(delivery)) is not None:
                return state
            is_handled = await self._run(delivery.event)
        return ReceiptState.HANDLED if is_handled else ReceiptState.FAILED

    async def _claim(self, delivery: _ReceivedEvent) -> ReceiptState | None:
        """Claim an event, or renew its claim; return the state if its handlers must not run."""
        event = delivery.event
        try:
            async with asyncio.timeout(self.store_seconds):
                claim = await self.store.claim(event.identity, delivery.token)
        except (Exception, asyncio.CancelledError) as error:
            if is_own_end(error):
                raise
            self._emitter.emit(_failed("claim", event, error))
            # After an answer of 200 no redelivery comes, so it runs although it isn't renewed.
            return None if delivery.result.done() else ReceiptState.UNAVAILABLE
        if claim is Claim.HANDLED:
            return ReceiptState.REPEATED
        # 503 for one that runs, so that the provider redelivers if the running handler fails.
        return ReceiptState.RUNNING if claim is Claim.RUNNING else None

    async def _run(self, event: WebhookEvent) -> bool:
        """Run the handlers of an event; False if one failed."""
        emitter = self._emitter
        if not emitter.want(WEBHOOKS):
            return await self._handlers.run(event, self.handler_seconds, emitter)
        clock, number, session_id = (
            asyncio.get_running_loop().time,
            next_number(),
            _session_id(event),
        )
        begun, is_handled = clock(), False
        emitter.emit(WebhookStarted(delivery=number, type=event.type, session_id=session_id))
        try:
            is_handled = await self._handlers.run(event, self.handler_seconds, emitter)
        finally:
            emitter.emit(
                WebhookHandled(
                    delivery=number,
                    type=event.type,
                    session_id=session_id,
                    is_handled=is_handled,
                    elapsed_seconds=clock() - begun,
                )
            )
        return is_handled

    async def _settle(
        self, running: _Running, delivery: _ReceivedEvent, state: ReceiptState
    ) -> None:
        """Record a handled event, or release another one; repeated for as long as a claim lasts."""
        settle = self.store.keep if state is ReceiptState.HANDLED else self.store.forget
        end = running.loop.time() + CLAIM_SECONDS
        try:
            error = await self._attempt(settle, delivery)
        finally:
            delivery.answer(state)
        if error is not None and state is not ReceiptState.UNAVAILABLE:
            self._emitter.emit(_failed("record", delivery.event, error))
        delay = _FIRST_RETRY_SECONDS
        while error is not None and not running.stopping.is_set() and running.loop.time() < end:
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    _ = await running.stopping.wait()
            delay = min(2 * delay, _MAX_RETRY_SECONDS)
            error = await self._attempt(settle, delivery)

    async def _attempt(
        self, settle: Callable[[str, str], Awaitable[None]], delivery: _ReceivedEvent
    ) -> BaseException | None:
        """Record or release an event; return what failed."""
        try:
            async with asyncio.timeout(self.store_seconds):
                await settle(delivery.event.identity, delivery.token)
        except (Exception, asyncio.CancelledError) as error:
            if is_own_end(error):
                raise
            return error
        return None


async def _drain(tasks: set[asyncio.Task[None]], seconds: float) -> int:
    if not tasks:
        return 0
    late = set(tasks)
    try:
        _, late = await asyncio.wait(late, timeout=seconds)
    finally:
        for task in late:
            _ = task.cancel()
    if late:
        _ = await asyncio.wait(late, timeout=_CLEANUP_SECONDS)
    return len(late)
