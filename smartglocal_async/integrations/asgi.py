"""Webhooks as an ASGI application, for frameworks without a module of their own here.

Mount `webhook_app` under a path, or put `with_webhooks` around an application that has no lifespan,
such as Django's.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Final

from ..errors import Misuse
from ..webhooks.receiver import Webhooks
from ._common import GONE, answer, read_length
from .service import Service

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Any, Receive, Send], Awaitable[None]]

_NOT_ALLOWED: Final = 405
_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")


class _Disconnected(Exception):
    """The client closed the connection before the body was whole."""


def webhook_app(webhooks: Webhooks) -> AsgiApp:
    """Return an ASGI application that verifies a delivery, handles it and answers.

    It answers to POST on any path, and with 405 to other methods. The webhooks must be running.
    """

    async def app(scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401 - ASGI
        if scope["type"] != "http":
            raise Misuse("the webhooks' application takes HTTP requests only")
        if scope["method"] != "POST":
            await _respond(send, _NOT_ALLOWED, "use POST", (b"allow", b"POST"))
            return
        headers: list[tuple[bytes, bytes]] = list(scope["headers"])
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
        lengths = [value for name, value in pairs if name.lower() == "content-length"]
        length = read_length(lengths[0] if lengths else None)
        try:
            status, text = await answer(webhooks, pairs, length, _chunks(receive))
        except _Disconnected:
            status, text = GONE
        await _respond(send, status, text)

    return app


def with_webhooks(app: AsgiApp, service: Service, path: str = "/webhooks") -> AsgiApp:
    """Return an ASGI application that also receives webhooks, and opens and closes the service.

    POST to ``path`` is a webhook, and all else is the inner application's. That one isn't asked
    about the lifespan: if it has its own, open the service there and use `webhook_app`.

    Raises:
        Misuse: the service has no webhooks.

    """
    if service.webhooks is None:
        raise Misuse("the service has no webhooks")
    receive_webhook = webhook_app(service.webhooks)

    async def outer(scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401 - ASGI
        if scope["type"] == "lifespan":
            await _lifespan(service, receive, send)
        elif scope["type"] == "http" and scope["path"] == path:
            await receive_webhook(scope, receive, send)
        else:
            await app(scope, receive, send)

    return outer


async def _lifespan(service: Service, receive: Receive, send: Send) -> None:
    _ = await receive()
    try:
        _ = await service.__aenter__()
    except Exception as error:  # noqa: BLE001 - the server logs the message and ends
        await send(
            {"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"}
        )
        return
    try:
        await send({"type": "lifespan.startup.complete"})
        _ = await receive()
    finally:
        await service.__aexit__(None, None, None)
    await send({"type": "lifespan.shutdown.complete"})


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Disconnected
        more = message.get("more_body", False)
        yield message.get("body", b"")


async def _respond(send: Send, status: int, text: str, *headers: tuple[bytes, bytes]) -> None:
    body = text.encode()
    length = (b"content-length", str(len(body)).encode())
    start = {"type": "http.response.start", "status": status, "headers": [_TEXT, length, *headers]}
    await send(start)
    await send({"type": "http.response.body", "body": body})
