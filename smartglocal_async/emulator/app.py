"""The emulator's aiohttp server: bytes to the desk, its verdict to the wire."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

from aiohttp import web
from attrs import define, field, frozen

from .desk import Call, Desk, Verdict
from .faults import FaultKind
from .records import Seen
from .visits import visit

_HANG_SECONDS: Final = 60.0
_BACKLOG: Final = 1024
# A connection that was just accepted reaches the server after a few turns of the loop; asyncio
# trips over one that finds its server closed.
_TURNS_OF_AN_ACCEPT: Final = 5
_GRACE_SECONDS: Final = 0.2
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


@frozen
class _Delivery:
    request: web.BaseRequest
    verdict: Verdict
    closing: asyncio.Event

    async def rest(self, seconds: float) -> None:
        """Wait, but no longer than the server lives."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                _ = await self.closing.wait()

    def response(self) -> web.Response:
        reply = self.verdict.reply
        return web.Response(
            status=reply.status,
            body=reply.body,
            content_type=reply.content_type,
            headers=reply.headers,
        )


@define(eq=False)
class _Counter:
    desk: Desk
    on_request: Callable[[Seen], None]
    closing: asyncio.Event = field(factory=asyncio.Event)

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except ConnectionError:
            return _unsent()  # Whoever is gone needs no answer, and leaves no error behind.

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith("/emulator/"):
            visited = await visit(self.desk, request)
            if visited is not None:
                self.desk.alarm.ring()
                return visited
        verdict = self.desk.judge(
            Call(
                method=request.method,
                path=request.path,
                headers=request.headers,
                # Not request.read(), which has a limit; the provider's is unknown.
                body=await request.content.read(),
            )
        )
        self.on_request(verdict.seen)
        if self.desk.waits:
            self.desk.alarm.ring()
        fault = verdict.fault
        deliver = _deliver if fault is None else _MANNERS.get(fault.kind, _deliver)
        delivery = _Delivery(request, verdict, self.closing)
        if latency := self.desk.bank.rules.latency_seconds:
            await delivery.rest(latency)
        return await deliver(delivery)


@contextlib.asynccontextmanager
async def serving(
    desk: Desk,
    *,
    host: str,
    port: int,
    keepalive_seconds: float,
    on_request: Callable[[Seen], None],
) -> AsyncGenerator[str, None]:
    """Serve until the block ends; give the address, such as ``http://127.0.0.1:8080``."""
    counter = _Counter(desk, on_request)
    runner = _runner(counter, keepalive_seconds)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=_BACKLOG).start()
        desk.bank.url = _address(runner)
        yield desk.bank.url
    finally:
        counter.closing.set()
        _stop_accepting(runner)
        for _ in range(_TURNS_OF_AN_ACCEPT):
            await asyncio.sleep(0)
        await runner.cleanup()


def _stop_accepting(runner: web.ServerRunner) -> None:
    loop = asyncio.get_running_loop()
    for site in runner.sites:
        server: asyncio.Server | None = getattr(site, "_server", None)
        for listening in server.sockets if server is not None else ():
            _ = loop.remove_reader(listening.fileno())


def _runner(counter: _Counter, keepalive_seconds: float) -> web.ServerRunner:
    server = web.Server(
        counter.serve,
        # Whoever hung up needs no answer, and a hanging one would outlive its client.
        handler_cancellation=True,
        keepalive_timeout=keepalive_seconds,
        access_log=None,
        # The signature covers what was sent, compressed or not.
        auto_decompress=False,
    )
    return web.ServerRunner(server, shutdown_timeout=_GRACE_SECONDS)


def _address(runner: web.ServerRunner) -> str:
    host, port, *_ = runner.addresses[0]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _deliver(delivery: _Delivery) -> web.StreamResponse:
    return delivery.response()


async def _deliver_late(delivery: _Delivery) -> web.StreamResponse:
    fault = delivery.verdict.fault
    await delivery.rest(fault.seconds if fault else 0)
    return delivery.response()


async def _deliver_and_close(delivery: _Delivery) -> web.StreamResponse:
    response = delivery.response()
    _ = await response.prepare(delivery.request)
    await response.write_eof()
    _close(delivery.request)
    return response


async def _hang(delivery: _Delivery) -> web.StreamResponse:
    await delivery.rest(_HANG_SECONDS)
    return await _hang_up(delivery)


async def _hang_up(delivery: _Delivery) -> web.StreamResponse:
    _close(delivery.request)
    return _unsent()


async def _reset(delivery: _Delivery) -> web.StreamResponse:
    transport = delivery.request.transport
    if transport is not None:
        line: socket.socket = transport.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    return _unsent()


async def _cut(delivery: _Delivery) -> web.StreamResponse:
    response = _stream(delivery)
    response.content_length = len(delivery.verdict.reply.body)
    return await _send_half(delivery, response)


async def _cut_chunked(delivery: _Delivery) -> web.StreamResponse:
    response = _stream(delivery)
    response.enable_chunked_encoding()
    return await _send_half(delivery, response)


def _stream(delivery: _Delivery) -> web.StreamResponse:
    response = web.StreamResponse(status=delivery.verdict.reply.status)
    response.content_type = delivery.verdict.reply.content_type
    return response


async def _send_half(delivery: _Delivery, response: web.StreamResponse) -> web.StreamResponse:
    body = delivery.verdict.reply.body
    _ = await response.prepare(delivery.request)
    await response.write(body[: len(body) // 2])
    _close(delivery.request)
    return response


def _close(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.close()


def _unsent() -> web.StreamResponse:
    # aiohttp wants a response in any case; on a closed connection it goes nowhere.
    return web.Response()


_MANNERS: Final[Mapping[FaultKind, Callable[[_Delivery], Awaitable[web.StreamResponse]]]] = (
    MappingProxyType(
        {
            FaultKind.BEFORE: _hang_up,
            FaultKind.AFTER: _hang_up,
            FaultKind.RESET: _reset,
            FaultKind.SLOW: _deliver_late,
            FaultKind.HANG: _hang,
            FaultKind.CUT: _cut,
            FaultKind.CHUNK_CUT: _cut_chunked,
            FaultKind.STALE: _deliver_and_close,
            FaultKind.LATE: _hang_up,
        }
    )
)
