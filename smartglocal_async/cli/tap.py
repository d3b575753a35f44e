"""A relay that keeps the bytes that pass through it: what a client really sent and got."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from attrs import define, field

_CHUNK_BYTES: Final = 65_536
_LOCAL: Final = "127.0.0.1"
_HTTP: Final = 80


@define(eq=False)
class Tap:
    """An address to connect to, and what passed there."""

    url: str = ""
    sent: bytearray = field(factory=bytearray, repr=False)
    answered: bytearray = field(factory=bytearray, repr=False)
    _lines: set[asyncio.StreamWriter] = field(factory=set[asyncio.StreamWriter], init=False)
    _idle: asyncio.Event = field(factory=asyncio.Event, init=False)

    async def relay(
        self, host: str, port: int, near: asyncio.StreamReader, near_writer: asyncio.StreamWriter
    ) -> None:
        """Pass one connection on, until either side hangs up."""
        self._idle.clear()
        far, far_writer = await asyncio.open_connection(host, port)
        self._lines |= {near_writer, far_writer}
        async with asyncio.TaskGroup() as both:
            _ = both.create_task(_pour(near, far_writer, self.sent))
            _ = both.create_task(_pour(far, near_writer, self.answered))
        self._lines -= {near_writer, far_writer}
        if not self._lines:
            self._idle.set()

    async def hang_up(self) -> None:
        """End what is still connected, and wait for it."""
        for line in self._lines:
            line.close()
        if self._lines:
            _ = await self._idle.wait()


@asynccontextmanager
async def tapped(url: str) -> AsyncGenerator[Tap, None]:
    """Relay connections to ``url``, from a port of its own, until the block ends."""
    tap, to = Tap(), urlsplit(url)
    server = await asyncio.start_server(
        partial(tap.relay, to.hostname or _LOCAL, to.port or _HTTP), _LOCAL, 0
    )
    async with server:
        tap.url = f"http://{_LOCAL}:{server.sockets[0].getsockname()[1]}"
        try:
            yield tap
        finally:
            await tap.hang_up()


async def _pour(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray
) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(_CHUNK_BYTES):
            kept += chunk
            writer.write(chunk)
            await writer.drain()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
