"""A server of bare sockets, for the faults that no web framework makes; on 127.0.0.1 only.

Each connection is played by a function on a thread of its own: a test that blocks its event
loop can't freeze the server, and nothing is read before the function asks for it.
"""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Final

_LONGEST_SECONDS: Final = 30.0
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
SESSION: Final = b'{"status":"ok","session":{"id":"ps_1","status":"created"}}'


def answer(
    body: bytes = SESSION, status: str = "200 OK", *headers: str, length: int | None = None
) -> bytes:
    """Give the bytes of an HTTP answer."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers]
    if not any(line.startswith("Transfer-Encoding") for line in headers):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Peer:
    """One accepted connection."""

    def __init__(self, server: "RawServer", line: socket.socket) -> None:
        self.server = server
        self.line = line

    def read_headers(self) -> bytes:
        """Read up to the empty line; what came with it of the body is in the result."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.line.recv(65_536)
            if not more:
                raise ConnectionError
            data += more
        return data

    def read_request(self) -> bytes:
        """Read one request whole, and put it on record."""
        data = self.read_headers()
        head, _, body = data.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields.get(b"Content-Length", 0))
        while len(body) < length:
            more = self.line.recv(65_536)
            if not more:
                raise ConnectionError
            body += more
        self.server.requests.append((head, body))
        return body

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.line.sendall(data)

    def close(self) -> None:
        """End the connection with a FIN, or with an RST if something is left unread."""
        self.line.close()

    def finish(self) -> None:
        """Send a FIN, and stay until the client has gone too: nothing turns into an RST."""
        self.line.shutdown(socket.SHUT_WR)
        self.hold()

    def reset(self) -> None:
        """End the connection with an RST."""
        self.line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.line.close()

    def hold(self) -> None:
        """Do nothing until the client goes away or the server stops."""
        while self.line.recv(65_536):
            pass


Manner = Callable[[Peer], None]


class RawServer:
    """Where it is, and which requests it read whole."""

    project = "demo"

    def __init__(self, manners: tuple[Manner, ...], tls: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        self.requests: list[tuple[bytes, bytes]] = []
        self._manners = manners
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._stopped = False
        self._lines: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End every connection, and the threads that play them."""
        if self._stopped:
            return
        self._stopped = True
        # Wakes the thread that accepts, on every system.
        socket.create_connection(self._listener.getsockname()).close()
        self._threads[0].join()
        self._listener.close()
        for line in self._lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            line, _ = self._listener.accept()
            if self._stopped:
                line.close()
                return
            manner = self._manners[min(self.connections, len(self._manners) - 1)]
            self.connections += 1
            line.settimeout(_LONGEST_SECONDS)
            self._lines.append(line)
            thread = threading.Thread(target=self._play, args=(manner, line), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _play(self, manner: Manner, line: socket.socket) -> None:
        # Whatever the client does to the connection is the client's right.
        with contextlib.suppress(OSError), line:
            if self._tls is None:
                manner(Peer(self, line))
            else:
                with self._tls.wrap_socket(line, server_side=True) as secured:
                    self._lines.append(secured)
                    manner(Peer(self, secured))


def good(peer: Peer) -> None:
    """Answer every request with a session."""
    while True:
        peer.read_request()
        peer.send(answer())


@contextlib.contextmanager
def serve(*manners: Manner, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    """Give a server whose first connection meets the first manner; the last one repeats."""
    server = RawServer(manners, tls)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    """Give an address at which nobody listens, and nobody will."""
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))  # Bound, so that nobody else takes it; not listening.
        yield f"http://127.0.0.1:{line.getsockname()[1]}"


@contextlib.contextmanager
def full_backlog() -> Iterator[str]:
    """Give an address where connecting hangs: the queue is full and nobody accepts."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        stack.enter_context(socket.create_connection(listener.getsockname()))
        for _ in range(4):
            line = stack.enter_context(socket.socket())
            line.settimeout(0)
            line.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
