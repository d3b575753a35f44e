"""Connections that are used again only if no data was received on them meanwhile.

HTTP/1.1 has no number on a response: it belongs to the oldest open request of its connection. If a
server or a proxy sends one response too many, each later request would be answered by the response
to the one before it. aiohttp detects a surplus response that arrives together with the answer, but
not one that arrives later, while the connection is idle.
"""

import select
from typing import TYPE_CHECKING, Final

from aiohttp import (
    ClientConnectionError,
    ClientRequest,
    ClientResponse,
    ClientTimeout,
    TCPConnector,
)
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpResponseParser

if TYPE_CHECKING:
    from aiohttp.tracing import Trace

UNREQUESTED_DATA: Final = "data was received on the connection before the request was sent"
_HAS_POLL: Final = hasattr(select, "poll")


class FreshConnector(TCPConnector):
    """Returns a pooled connection only if no data was received on it since its last answer."""

    async def connect(
        self,
        req: ClientRequest,
        traces: "list[Trace]",
        timeout: ClientTimeout,  # noqa: ASYNC109  # aiohttp's signature
    ) -> Connection:
        """Return a connection; pooled ones on which data was received meanwhile are closed.

        Raises:
            aiohttp.ClientConnectionError: data was received on each of them before a request.

        """
        for _ in range(self.limit + 1):
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol is None or not _has_data(protocol):
                return connection
            connection.close()
        raise ClientConnectionError(UNREQUESTED_DATA)


def _has_data(protocol: ResponseHandler) -> bool:
    if protocol.should_close:
        return True
    # Before the first request there is no parser, and the kernel may hold bytes of a handshake.
    parser = getattr(protocol, "_parser", None)
    return parser is not None and (_has_begun(parser) or _is_readable(protocol))


def has_surplus(protocol: ResponseHandler) -> bool:
    """Return whether data was received on a connection that has no open request.

    The event loop may have read the data, or the kernel still holds it; a closed connection counts,
    too. With TLS the kernel isn't checked, as its bytes may be those of the handshake.
    """
    if protocol.should_close:
        return True
    transport = protocol.transport
    is_secure = transport is not None and transport.get_extra_info("ssl_object") is not None
    return not is_secure and _is_readable(protocol)


def use_no_more(response: ClientResponse) -> None:
    """Have the connection of a response closed, also if it is in the pool already.

    For a response that doesn't say which request it answers, as no error does: a copy of it that
    arrives later, once the connection is used again, would be read as the next answer.
    """
    protocol: object = getattr(response, "_protocol", None)
    if isinstance(protocol, ResponseHandler):
        protocol.force_close()


def _has_begun(parser: HttpResponseParser) -> bool:
    """Return whether the parser of the last response holds a part of another one."""
    try:
        # Without a partial message this returns None and changes nothing. The next request has a
        # parser of its own, so this one isn't used again.
        return parser.feed_eof() is not None
    except Exception:  # noqa: BLE001 - aiohttp's errors about a partial message
        return True


def _is_readable(protocol: ResponseHandler) -> bool:
    """Return whether the kernel holds data, or the end of the stream, that isn't read yet."""
    transport = protocol.transport
    connection = None if transport is None else transport.get_extra_info("socket")
    if connection is None:
        return False
    number: int = connection.fileno()
    if number < 0:
        return True
    if _HAS_POLL:
        poll = select.poll()
        poll.register(number, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([number], [], [], 0)[0])
