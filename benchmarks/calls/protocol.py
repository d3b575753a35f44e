"""The lower bound: a request of prebuilt bytes over an asyncio protocol, without an HTTP client."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

from yarl import URL

from ..server import size_of_message
from ..work import BODY, PATH, headers


class _Asking(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._heard: asyncio.Future[bytes] | None = None
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's own transports have the methods of this class, but not its type.
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        size = size_of_message(self._buffer)
        if size is not None and self._heard is not None:
            self._heard.set_result(self._buffer[:size])
            self._buffer = self._buffer[size:]

    async def ask(self, request: bytes) -> bytes:
        """Return the answer, head and body."""
        self._heard = asyncio.get_running_loop().create_future()
        assert self.transport is not None  # noqa: S101 - asked once it is connected
        self.transport.write(request)
        return await self._heard


@asynccontextmanager
async def bare_protocol(
    server: str, sign: Callable[[bytes], str]
) -> AsyncGenerator[Callable[[], Awaitable[bytes]]]:
    """Yield a call that takes an idle connection, or opens one more."""
    host, port = URL(server).host or "", URL(server).port or 0
    first = f"POST {PATH} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(BODY)}\r\n"
    idle: list[_Asking] = []

    async def call() -> bytes:
        if idle:
            connection = idle.pop()
        else:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(_Asking, host, port)
        named = "".join(f"{name}: {value}\r\n" for name, value in headers(sign(BODY)).items())
        answer = await connection.ask(f"{first}{named}\r\n".encode() + BODY)
        idle.append(connection)
        return answer

    try:
        yield call
    finally:
        for connection in idle:
            if connection.transport is not None:
                connection.transport.close()
