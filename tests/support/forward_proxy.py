"""An HTTP proxy on 127.0.0.1, on a thread: tunnels by CONNECT, and forwards plain requests."""

import contextlib
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import urlsplit

from rawserver import Peer, RawServer

_REFUSAL = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
_DENIAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
_CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class ForwardProxy:
    """Its address, and what it was asked to reach."""

    def __init__(self, user: str | None = None, *, denies: bool = False) -> None:
        self._login = None if user is None else b64encode(user.encode())
        self._denies = denies
        self.reached: list[str] = []
        """The method and the target of each connection that it made."""
        self._server = RawServer((self._handle,))
        login = "" if user is None else f"{user}@"
        self.url = f"http://{login}127.0.0.1:{self._server.port}"

    def stop(self) -> None:
        """End every connection."""
        self._server.stop()

    def _handle(self, peer: Peer) -> None:
        data = peer.read_headers()
        head, _, rest = data.partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        method, target, _ = line.decode().split(" ")
        if self._login is not None and b"Proxy-Authorization: Basic " + self._login not in fields:
            peer.send(_REFUSAL)
            return
        if self._denies:
            peer.send(_DENIAL)
            return
        address = urlsplit(target if "://" in target else f"//{target}")
        with socket.create_connection((address.hostname, address.port)) as server:
            self.reached.append(f"{method} {address.netloc}")
            if method == "CONNECT":
                peer.send(_CONNECTED)
                server.sendall(rest)
            else:
                server.sendall(data.replace(target.encode(), address.path.encode(), 1))
            self._pass_on(peer.connection, server)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        def copy(source: socket.socket, sink: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while chunk := source.recv(65_536):
                    sink.sendall(chunk)
            for one in (source, sink):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

        back = threading.Thread(target=copy, args=(server, client), daemon=True)
        back.start()
        copy(client, server)
        back.join()


@contextlib.contextmanager
def forwarding(user: str | None = None, *, denies: bool = False) -> Iterator[ForwardProxy]:
    """Run a proxy; with ``user`` it asks for that user and password, joined by a colon."""
    proxy = ForwardProxy(user, denies=denies)
    try:
        yield proxy
    finally:
        proxy.stop()
