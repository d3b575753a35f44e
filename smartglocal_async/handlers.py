"""The handlers of events: which want an event, and how each of them is run."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from attrs import define, field

from .errors import InvalidRequest
from .values.events import WebhookEvent

_LOG: Final = logging.getLogger("smartglocal_async.webhooks")

A = TypeVar("A", bound=WebhookEvent)
Handler = Callable[[A], Awaitable[object]]
Types = tuple[type[WebhookEvent], ...]


@define(eq=False)
class Handlers:
    """The handlers in the order they were given, each with the types it wants."""

    _given: list[tuple[Types, Handler[Any]]] = field(
        factory=list[tuple[Types, Handler[Any]]], init=False
    )

    def add(self, types: Types, handler: Handler[Any]) -> None:
        """Take one more handler.

        Raises:
            InvalidRequest: it can't be awaited.

        """
        called = getattr(handler, "__call__", None)  # noqa: B004 - of an object
        if not any(map(inspect.iscoroutinefunction, (handler, called))):
            raise InvalidRequest("on", "a handler must be an `async def`")
        self._given.append((types, handler))

    async def run(self, event: WebhookEvent, seconds: float) -> bool:
        """Run each that wants the event, for so long at most; False if one of them failed."""
        failed = 0
        for handler in [each for types, each in self._given if isinstance(event, types)]:
            try:
                async with asyncio.timeout(seconds):
                    _ = await handler(event)
            except (Exception, asyncio.CancelledError) as error:
                if is_own_end(error):
                    raise
                failed += 1
                _LOG.exception(
                    "a webhook handler failed: %s of session %s",
                    event.type,
                    event.session.id,
                    extra=facts(event) | {"webhook_handler": _name(handler)},
                )
        return not failed


def is_own_end(error: BaseException) -> bool:
    """Tell whether it is the task that is being cancelled, and not something it waited for."""
    task = asyncio.current_task()
    is_cancelled = task is not None and task.cancelling() > 0
    return is_cancelled and isinstance(error, asyncio.CancelledError)


def check_types(types: Types) -> None:
    """Refuse what handlers can't be for.

    Raises:
        InvalidRequest: none, or something else than types of event.

    """
    if not types or not all(map(_is_event, types)):
        raise InvalidRequest("on", "give one or more types of event, such as sg.ReadyToConfirm")


def facts(event: WebhookEvent) -> dict[str, object]:
    """Give what a log says of an event."""
    return {"webhook_type": event.type, "webhook_session": event.session.id}


def _is_event(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, WebhookEvent)


def _name(handler: object) -> str:
    return getattr(handler, "__qualname__", type(handler).__qualname__)
