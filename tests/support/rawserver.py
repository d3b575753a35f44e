"""A server of bare sockets on 127.0.0.1, for faults that no web framework can produce.

Each connection is handled by a function on a thread of its own. A test that blocks its event loop
can't block the server, and the server only reads what the function asks for.
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
    """Return the bytes of an HTTP answer."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers]
    if not any(line.startswith("Transfer-Encoding") for line in headers):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Peer:
    """An accepted connection."""

    def __init__(self, server: "RawServer", connection: socket.socket) -> None:
        self.server = server
        self.connection = connection

    def read_headers(self) -> bytes:
        """Read up to the empty line; the result may include the beginning of the body."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.connection.recv(65_536)
            if not more:
                raise ConnectionError
            data += more
        return data

    def read_request(self) -> bytes:
        """Read one complete request, and record it."""
        data = self.read_headers()
        head, _, body = data.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields.get(b"Content-Length", 0))
        while len(body) < length:
            more = self.connection.recv(65_536)
            if not more:
                raise ConnectionError
            body += more
        self.server.requests.append((head, body))
        return body

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.connection.sendall(data)

    def close(self) -> None:
        """End the connection with a FIN, or with an RST if something is left unread."""
        self.connection.close()

    def finish(self) -> None:
        """Send a FIN, and wait until the client closes, too, so that no RST is sent."""
        self.connection.shutdown(socket.SHUT_WR)
        self.hold()

    def reset(self) -> None:
        """End the connection with an RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.connection.close()

    def hold(self) -> None:
        """Do nothing until the client closes or the server stops."""
        while self.connection.recv(65_536):
            pass


Handler = Callable[[Peer], None]


class RawServer:
    """The server's address, and the complete requests that it read."""

    project = "demo"

    def __init__(self, handlers: tuple[Handler, ...], tls: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        self.requests: list[tuple[bytes, bytes]] = []
        self._manners = handlers
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._stopped = False
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End every connection and its thread."""
        if self._stopped:
            return
        self._stopped = True
        # Wakes the accepting thread on every system.
        socket.create_connection(self._listener.getsockname()).close()
        self._threads[0].join()
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._stopped:
                connection.close()
                return
            handler = self._manners[min(self.connections, len(self._manners) - 1)]
            self.connections += 1
            connection.settimeout(_LONGEST_SECONDS)
            self._connections.append(connection)
            thread = threading.Thread(target=self._play, args=(handler, connection), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _play(self, handler: Handler, connection: socket.socket) -> None:
        # The client may do anything to the connection.
        with contextlib.suppress(OSError), connection:
            if self._tls is None:
                handler(Peer(self, connection))
            else:
                with self._tls.wrap_socket(connection, server_side=True) as secured:
                    self._connections.append(secured)
                    handler(Peer(self, secured))


def good(peer: Peer) -> None:
    """Answer every request with a session."""
    while True:
        peer.read_request()
        peer.send(answer())


@contextlib.contextmanager
def serve(*handlers: Handler, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    """Yield a server; each function handles one connection, the last one all further ones."""
    server = RawServer(handlers, tls)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    """Yield an address on which nothing listens."""
    with socket.socket() as connection:
        connection.bind(
            ("127.0.0.1", 0)
        )  # Bound, so that no other program uses the port; not listening.
        yield f"http://127.0.0.1:{connection.getsockname()[1]}"


@contextlib.contextmanager
def full_backlog() -> Iterator[str]:
    """Yield an address where connecting hangs, because the queue is full and nothing accepts."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        stack.enter_context(socket.create_connection(listener.getsockname()))
        for _ in range(4):
            connection = stack.enter_context(socket.socket())
            connection.settimeout(0)
            connection.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
