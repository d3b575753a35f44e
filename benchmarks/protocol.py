"""The floor: a request of prebuilt bytes over asyncio's own protocol, with no HTTP client."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, cast

from yarl import URL

from .server import size_of_message
from .work import BODY, PATH, SIGNATURE, headers

_HEAD: Final = "".join(f"{name}: {value}\r\n" for name, value in headers(SIGNATURE).items())


class _Asking(asyncio.Protocol):
    """One connection, one question at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._heard: asyncio.Future[bytes] | None = None
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's own transports have the methods of this class, and not its name.
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        size = size_of_message(self._buffer)
        if size is not None and self._heard is not None:
            self._heard.set_result(self._buffer[:size])
            self._buffer = self._buffer[size:]

    async def ask(self, request: bytes) -> bytes:
        """Give the answer, head and body."""
        self._heard = asyncio.get_running_loop().create_future()
        assert self.transport is not None  # noqa: S101 - asked once it is connected
        self.transport.write(request)
        return await self._heard


@asynccontextmanager
async def bare_protocol(server: str) -> AsyncGenerator[Callable[[], Awaitable[bytes]]]:
    """Give a call that takes an idle connection, or opens one more."""
    host, port = URL(server).host or "", URL(server).port or 0
    first = f"POST {PATH} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(BODY)}\r\n"
    request = f"{first}{_HEAD}\r\n".encode() + BODY
    idle: list[_Asking] = []

    async def call() -> bytes:
        if idle:
            connection = idle.pop()
        else:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(_Asking, host, port)
        answer = await connection.ask(request)
        idle.append(connection)
        return answer

    try:
        yield call
    finally:
        for connection in idle:
            if connection.transport is not None:
                connection.transport.close()
