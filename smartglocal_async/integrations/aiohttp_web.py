"""A client and webhooks in an aiohttp application.

::

    service = Service(sg.SmartGlocal.from_env(), sg.Webhooks(sg.WebhookVerifier.from_env()))
    app = web.Application(middlewares=[error_middleware()])
    app.cleanup_ctx.append(service_lifetime(service))
    app.add_routes(webhook_routes(service.webhooks))

aiohttp decompresses a body before a handler reads it, which breaks the signature. The provider
isn't known to compress; ``web.AppRunner(app, auto_decompress=False)`` keeps the raw bytes.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from aiohttp import web

from ..errors import SmartGlocalError, WebhookRefused
from ..webhooks.receiver import Webhooks
from ._common import GONE, Answer, answer, read_body, read_length
from .service import STATUSES, Service, error_response

Pairs = Sequence[tuple[str, str]]
Deliver = Callable[[Pairs, bytes | WebhookRefused], Answer]
_GRACE_SECONDS: Final = 1.0
_CUT_SHORT: Final = (ConnectionError, web.RequestPayloadError)


def service_lifetime(service: Service) -> Callable[[web.Application], AsyncIterator[None]]:
    """Return a context for ``app.cleanup_ctx`` that opens and closes the client and the webhooks.

    An application with a context of its own can use ``async with service:`` there.
    """
    return _lifetime_of(service)


def error_middleware(
    statuses: Mapping[type[SmartGlocalError], int] = STATUSES,
) -> Any:  # noqa: ANN401 - aiohttp's own types differ between its versions
    """Return a middleware of an application: errors of calls become HTTP responses.

    ``statuses`` are added to `STATUSES`, and replace its own.
    """

    @web.middleware
    async def respond(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except SmartGlocalError as error:
            found = error_response(error, statuses)
        headers = {name: text for name, text in found.headers.items() if name != "Content-Type"}
        return web.json_response(
            dict(found.content),
            status=found.status,
            headers=headers,
            content_type=found.headers["Content-Type"],
        )

    return respond


def webhook_handler(webhooks: Webhooks) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return a handler for ``app.router.add_post``."""

    async def receive(request: web.Request) -> web.Response:
        chunks = _chunks(request)
        try:
            status_and_text = await answer(webhooks, request.headers, _length(request), chunks)
        except _CUT_SHORT:
            status_and_text = GONE
        return _response(status_and_text)

    return receive


def webhook_routes(webhooks: Webhooks, path: str = "/webhooks") -> list[web.RouteDef]:
    """Return routes for ``app.add_routes``: POST to this path; other methods get 405."""
    return [web.post(path, webhook_handler(webhooks))]


def webhook_lifetime(
    webhooks: Webhooks,
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Return a context for ``app.cleanup_ctx`` that runs the webhooks for as long as the app.

    Append it after the client's own, so that handlers end before the client is closed.
    """
    return _lifetime_of(webhooks)


@asynccontextmanager
async def listening(
    deliver: Deliver, *, path: str, host: str, port: int, max_bytes: int
) -> AsyncGenerator[str, None]:
    """Serve one path until the block ends; yields its address.

    ``deliver`` is called with the headers and the raw bytes, or the error of reading them, and
    returns the status and text of the answer.
    """

    async def receive(request: web.Request) -> web.Response:
        chunks = request.content.iter_any()
        body: bytes | WebhookRefused
        try:
            body = await read_body(chunks, _length(request), max_bytes)
        except WebhookRefused as refused:
            body = refused
        except _CUT_SHORT:
            return _response(GONE)
        return _response(deliver(list(request.headers.items()), body))

    app = web.Application()
    _ = app.router.add_post(path, receive)
    runner = web.AppRunner(
        app, access_log=None, auto_decompress=False, shutdown_timeout=_GRACE_SECONDS
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"{_address(runner)}{path}"
    finally:
        await runner.cleanup()


def _lifetime_of(
    opened: AbstractAsyncContextManager[object],
) -> Callable[[web.Application], AsyncIterator[None]]:
    async def lifetime(_: web.Application) -> AsyncIterator[None]:
        async with opened:
            yield

    return lifetime


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    """Yield the body, also if a middleware has read it: aiohttp keeps what ``read`` returned."""
    if request.content.at_eof():
        yield await request.read()
        return
    async for chunk in request.content.iter_any():
        yield chunk


def _length(request: web.Request) -> int | None:
    return read_length(request.headers.get("Content-Length"))


def _response(status_and_text: Answer) -> web.Response:
    status, text = status_and_text
    return web.Response(status=status, text=text)


def _address(runner: web.AppRunner) -> str:
    host, port, *_ = runner.addresses[0]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
