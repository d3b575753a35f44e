"""The emulator's HTTP server on aiohttp, in front of `Dispatcher.handle`."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from aiohttp import web
from attrs import define, field, frozen

from ..bank.statistics import RequestRecord
from ..faults import FaultKind
from .addresses import is_loopback, local_url, url_of
from .admin.actions import AdminActions
from .admin.api import AdminApi
from .dispatch import Dispatcher, Handled
from .pages import answer_page, is_page
from .request_log import IncomingRequest

_HANG_SECONDS: Final = 60.0
_CONTINUES: Final = "100-continue"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_BACKLOG: Final = 1024
# A connection that was just accepted reaches the server some iterations of the event loop later;
# asyncio logs an error if the server is closed by then.
_ITERATIONS_OF_AN_ACCEPT: Final = 5
_GRACE_SECONDS: Final = 0.2
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


@frozen
class _Exchange:
    request: web.BaseRequest
    handled: Handled
    closing: asyncio.Event
    """Set when the server stops."""

    async def pause(self, seconds: float) -> None:
        """Wait for some seconds, or until the server stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                _ = await self.closing.wait()

    def response(self) -> web.Response:
        response = self.handled.response
        return web.Response(
            status=response.status,
            body=response.body,
            content_type=response.content_type,
            headers=response.headers,
        )


@define(eq=False)
class _Handler:
    dispatcher: Dispatcher
    admin: AdminApi
    on_request: Callable[[RequestRecord], None]
    closing: asyncio.Event = field(factory=asyncio.Event)
    is_private: bool = True
    """Whether only this machine can connect; its pages are then shown under its own names only."""

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except ConnectionError:
            return _not_sent()  # The client closed the connection, which is no error here.

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if is_page(request.path):
            if (answer := await self.admin.answer(request)) is not None:
                return answer
            page = await answer_page(self.dispatcher, request, is_private=self.is_private)
            if page is not None:
                self.dispatcher.wake_delivery()
                return page
        if request.headers.get("Expect", "").lower() == _CONTINUES:
            _write(request.transport, _CONTINUE)  # The client waits for it before it sends a body.
        handled = self.dispatcher.handle(
            IncomingRequest(
                method=request.method,
                path=request.path,
                query=request.rel_url.raw_query_string,
                headers=request.headers,
                # request.read() has a size limit; the provider's is unknown.
                body=await request.content.read(),
            )
        )
        self.on_request(handled.record)
        if self.dispatcher.webhooks_may_be_due:
            self.dispatcher.wake_delivery()
        fault = handled.fault
        send = _send if fault is None else _SENDERS.get(fault.kind, _send)
        exchange = _Exchange(request, handled, self.closing)
        if latency := self.dispatcher.bank.rules.latency_seconds:
            await exchange.pause(latency)
        return await send(exchange)


@contextlib.asynccontextmanager
async def serving(
    actions: AdminActions,
    *,
    host: str,
    port: int,
    keepalive_seconds: float,
    on_request: Callable[[RequestRecord], None],
) -> AsyncGenerator[str, None]:
    """Serve until the block ends; yields the address, such as ``http://127.0.0.1:8080``."""
    dispatcher = actions.dispatcher
    handler = _Handler(dispatcher, AdminApi(actions), on_request)
    runner = _runner(handler, keepalive_seconds)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=_BACKLOG).start()
        url = url_of(*runner.addresses[0][:2])
        handler.is_private = is_loopback(url)
        dispatcher.bank.url = local_url(url)  # A browser can't open 0.0.0.0.
        yield url
    finally:
        handler.closing.set()
        _stop_accepting(runner)
        for _ in range(_ITERATIONS_OF_AN_ACCEPT):
            await asyncio.sleep(0)
        await runner.cleanup()


def _stop_accepting(runner: web.ServerRunner) -> None:
    loop = asyncio.get_running_loop()
    for site in runner.sites:
        server: asyncio.Server | None = getattr(site, "_server", None)
        for listening in server.sockets if server is not None else ():
            _ = loop.remove_reader(listening.fileno())


def _runner(handler: _Handler, keepalive_seconds: float) -> web.ServerRunner:
    server = web.Server(
        handler.serve,
        # Stops the fault that never answers, too, as soon as its client disconnects.
        handler_cancellation=True,
        keepalive_timeout=keepalive_seconds,
        access_log=None,
        # The signature covers the bytes as they were sent, compressed or not.
        auto_decompress=False,
    )
    return web.ServerRunner(server, shutdown_timeout=_GRACE_SECONDS)


async def _send(exchange: _Exchange) -> web.StreamResponse:
    return exchange.response()


async def _send_late(exchange: _Exchange) -> web.StreamResponse:
    fault = exchange.handled.fault
    await exchange.pause(fault.seconds if fault else 0)
    return exchange.response()


async def _send_twice(exchange: _Exchange) -> web.StreamResponse:
    """Send the whole response, and then the same bytes once more without a request."""
    body = exchange.handled.response.body
    response = _Unmeasured(status=exchange.handled.response.status)
    response.content_type = exchange.handled.response.content_type
    response.content_length = len(body)
    _ = await response.prepare(exchange.request)
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    surplus = "\r\n".join([*lines, "", ""]).encode("ascii") + body
    fault = exchange.handled.fault
    if fault is not None and fault.seconds:
        later = partial(_write, exchange.request.transport, surplus)
        _ = asyncio.get_running_loop().call_later(fault.seconds, later)
        await response.write(body)
    else:
        # In one write: the next request of a quick client could otherwise arrive in between.
        await response.write(body + surplus)
    await response.write_eof()
    return response


class _Unmeasured(web.StreamResponse):
    """Writes more bytes than its Content-Length."""

    _length_check = False


def _write(transport: asyncio.Transport | None, surplus: bytes) -> None:
    if transport is not None and not transport.is_closing():
        transport.write(surplus)


async def _send_and_close(exchange: _Exchange) -> web.StreamResponse:
    response = exchange.response()
    _ = await response.prepare(exchange.request)
    await response.write_eof()
    _close(exchange.request)
    return response


async def _hang(exchange: _Exchange) -> web.StreamResponse:
    await exchange.pause(_HANG_SECONDS)
    return await _disconnect(exchange)


async def _disconnect(exchange: _Exchange) -> web.StreamResponse:
    _close(exchange.request)
    return _not_sent()


async def _reset(exchange: _Exchange) -> web.StreamResponse:
    transport = exchange.request.transport
    if transport is not None:
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    return _not_sent()


async def _cut(exchange: _Exchange) -> web.StreamResponse:
    response = _stream(exchange)
    response.content_length = len(exchange.handled.response.body)
    return await _send_half(exchange, response)


async def _cut_chunked(exchange: _Exchange) -> web.StreamResponse:
    response = _stream(exchange)
    response.enable_chunked_encoding()
    return await _send_half(exchange, response)


def _stream(exchange: _Exchange) -> web.StreamResponse:
    response = web.StreamResponse(status=exchange.handled.response.status)
    response.content_type = exchange.handled.response.content_type
    return response


async def _send_half(exchange: _Exchange, response: web.StreamResponse) -> web.StreamResponse:
    body = exchange.handled.response.body
    _ = await response.prepare(exchange.request)
    await response.write(body[: len(body) // 2])
    _close(exchange.request)
    return response


def _close(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.close()


def _not_sent() -> web.StreamResponse:
    # aiohttp requires a response; on a closed connection it isn't sent.
    return web.Response()


_SENDERS: Final[Mapping[FaultKind, Callable[[_Exchange], Awaitable[web.StreamResponse]]]] = (
    MappingProxyType(
        {
            FaultKind.BEFORE: _disconnect,
            FaultKind.AFTER: _disconnect,
            FaultKind.RESET: _reset,
            FaultKind.SLOW: _send_late,
            FaultKind.HANG: _hang,
            FaultKind.CUT: _cut,
            FaultKind.CHUNK_CUT: _cut_chunked,
            FaultKind.CLOSES: _send_and_close,
            FaultKind.LATE: _disconnect,
            FaultKind.SURPLUS: _send_twice,
        }
    )
)
