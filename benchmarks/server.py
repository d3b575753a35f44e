"""The server of all clients: a process of its own that reads a request and answers."""

import asyncio
import contextlib
import ssl
import subprocess
import sys
import threading
from collections.abc import Coroutine, Generator, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final, cast

from .machine import event_loops, pin
from .work import ANSWER

ROOT: Final = Path(__file__).parent.parent
_LONGEST_SECONDS: Final = 1_800
_GRACE_SECONDS: Final = 5
_END_OF_HEAD: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"
_REPLY: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"Date: Mon, 27 May 2024 02:03:00 GMT\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)
)


def size_of_message(buffer: bytes) -> int | None:
    """Return the length of the first HTTP message in the buffer; None if it isn't complete."""
    end = buffer.find(_END_OF_HEAD)
    if end < 0:
        return None
    head = buffer[:end].lower()
    start = head.find(_LENGTH)
    length = int(head[start + len(_LENGTH) :].split(b"\r\n", 1)[0]) if start >= 0 else 0
    size = end + len(_END_OF_HEAD) + length
    return size if len(buffer) >= size else None


class _Answering(asyncio.Protocol):
    """Answers every request alike, without reading it."""

    def __init__(self, delay_seconds: float, requests: Iterator[int], fault_every: int) -> None:
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None
        self._delay_seconds = delay_seconds
        self._requests = requests
        self._fault_every = fault_every

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's own transports have the methods of this class, but not its type.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (size := size_of_message(self._buffer)) is not None:
            self._buffer = self._buffer[size:]
            if self._fault_every and not next(self._requests) % self._fault_every:
                if self._transport is not None:
                    self._transport.abort()
            elif self._delay_seconds:
                loop = asyncio.get_running_loop()
                _ = loop.call_later(self._delay_seconds, self._answer)
            else:
                self._answer()

    def _answer(self) -> None:
        if self._transport is not None:
            self._transport.write(_REPLY)


def serving(
    core: int | None,
    delay_seconds: float = 0.0,
    fault_every: int = 0,
    certificate: Path | None = None,
) -> AbstractContextManager[str]:
    """Return the address of a server in another process; it ends with the block.

    It resets the connection of each ``fault_every``-th request, if that isn't 0, and speaks TLS
    with a certificate whose file has its key, too.
    """
    options = (str(delay_seconds), str(fault_every), str(certificate or ""))
    return running("benchmarks.server", core, *options)


@contextlib.contextmanager
def running(module: str, core: int | None, *options: str) -> Generator[str]:
    """Run a module's server on this core, and yield the address that it prints."""
    place = "" if core is None else str(core)
    command = [sys.executable, "-m", module, place, *options]
    with subprocess.Popen(  # noqa: S603 - a module of this folder
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdin is not None  # noqa: S101 - asked for above
        assert process.stdout is not None  # noqa: S101 - asked for above
        try:
            yield process.stdout.readline().decode().strip()
        finally:
            process.stdin.close()  # It ends when its input ends, and so with this process, too.
            try:
                _ = process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


async def _serve(delay_seconds: float, fault_every: int, certificate: str) -> None:
    loop, tls = asyncio.get_running_loop(), None
    if certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    answering = partial(_Answering, delay_seconds, count(1), fault_every)
    server = await loop.create_server(answering, "127.0.0.1", 0, backlog=1024, ssl=tls)
    port: int = server.sockets[0].getsockname()[1]
    await until_the_end(f"https://localhost:{port}" if certificate else f"http://127.0.0.1:{port}")
    server.close()


async def until_the_end(url: str) -> None:
    """Print the address of this process's server, and wait for the end of its input."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    print(url, flush=True)

    def wait_for_the_end() -> None:
        _ = sys.stdin.buffer.read()
        _ = loop.call_soon_threadsafe(stopped.set)

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LONGEST_SECONDS):
            _ = await stopped.wait()


def run_on(core: str, serve: Coroutine[None, None, None]) -> None:
    """Run a server on a core, on the quickest available event loop."""
    pin(int(core) if core else None)
    quickest = list(event_loops().values())[-1]
    with asyncio.Runner(loop_factory=quickest) as runner:
        runner.run(serve)


if __name__ == "__main__":
    run_on(sys.argv[1], _serve(float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
