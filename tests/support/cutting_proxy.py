"""A proxy that passes bytes on until a test cuts a connection, at a place in the stream."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit


class CuttingProxy:
    """A proxy between a client and a server; its callables decide which chunks pass."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.near = 0
        self.is_down = False
        self.refused = 0
        """How many connections it refused while it was down."""
        self.sent: Callable[[bytes], bool] = lambda _: True
        """Returns whether a chunk of the client passes; if not, both sides are cut."""
        self.answered: Callable[[bytes], bool] = lambda _: True
        """Returns whether a chunk of the server passes; if not, both sides are cut."""
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Cut all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_down:
            self.refused += 1
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(self.host, self.port)
        except OSError:  # The server is down.
            writer.transport.abort()
            return
        both = {writer, server_writer}
        self._writers |= both
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, server_writer, "sent", both))
                group.create_task(self._copy(server_reader, writer, "answered", both))
        finally:
            for one in both:
                one.transport.abort()
            self._writers -= both

    async def _copy(self, source, sink, passes, both) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await source.read(65536):
                if not getattr(self, passes)(chunk):
                    break
                sink.write(chunk)
                await sink.drain()
        for one in both:
            one.transport.abort()


@contextlib.asynccontextmanager
async def proxied(dsn: str) -> AsyncIterator[tuple[CuttingProxy, str]]:
    """Yield a proxy before a server, and the address through the proxy."""
    parts = urlsplit(dsn)
    proxy = CuttingProxy(parts.hostname or "127.0.0.1", parts.port or 5432)
    listening = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    user = f"{parts.username}@" if parts.username else ""
    try:
        yield proxy, f"postgres://{user}127.0.0.1:{port}{parts.path}"
    finally:
        listening.close()
        proxy.cut()
        await listening.wait_closed()
