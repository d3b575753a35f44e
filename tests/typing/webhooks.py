"""Handlers keep their types, however many types of event they are for."""

from collections.abc import Awaitable, Callable
from typing import assert_type

import smartglocal_async as sg

Three = sg.ReadyToConfirm | sg.ReadyToCapture | sg.ActionRequired
Four = Three | sg.PaymentFinished
Five = Four | sg.PaymentRefunded


async def one(_event: sg.ReadyToConfirm) -> None:
    """Take one type."""


async def two(_event: sg.ReadyToConfirm | sg.ReadyToCapture) -> None:
    """Take two types."""


async def three(_event: Three) -> None:
    """Take three types."""


async def four(_event: Four) -> None:
    """Take four types."""


async def five(_event: Five) -> int:
    """Take five types."""
    return 5


async def every(_event: sg.WebhookEvent) -> None:
    """Take all types."""


def registered(webhooks: sg.Webhooks) -> None:
    """A handler of the union, or of more, is taken; one of less isn't."""
    confirm, capture, action = sg.ReadyToConfirm, sg.ReadyToCapture, sg.ActionRequired
    finished, refunded = sg.PaymentFinished, sg.PaymentRefunded
    _ = webhooks.on(confirm)(one)
    _ = webhooks.on(confirm, capture)(two)
    _ = webhooks.on(confirm, capture, action)(three)
    _ = webhooks.on(confirm, capture, action, finished)(four)
    kept: Callable[[Five], Awaitable[int]]
    kept = webhooks.on(confirm, capture, action, finished, refunded)(five)
    _ = kept
    _ = webhooks.on(confirm)(every)
    _ = webhooks.on(confirm, capture, action)(every)
    _ = webhooks.on(confirm, capture, action, finished, refunded)(every)
    _ = webhooks.on(sg.WebhookEvent)(every)
    _ = webhooks.on(confirm)(two)
    _ = webhooks.on(capture)(one)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _ = webhooks.on(confirm, capture, action)(two)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    _ = webhooks.on(confirm, capture, action, finished)(three)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def decorated(webhooks: sg.Webhooks) -> None:
    """As it is written in a service."""

    @webhooks.on(sg.ReadyToConfirm, sg.ReadyToCapture, sg.ActionRequired)
    async def _(event: Three) -> None:
        _ = assert_type(event.session, sg.Session)

    @webhooks.on(sg.ReadyToConfirm, *[sg.PaymentFinished, sg.PaymentRefunded])
    async def _(event: sg.WebhookEvent) -> None:
        _ = assert_type(event.session, sg.Session | None)
