"""One HTTP attempt over aiohttp, and its verdict: the one table from errors to what happened.

Nothing here raises for a fault of the network. aiohttp's exceptions hold request headers, and
so the signature, in their repr; what the caller needs is taken out of them as words.
"""

import asyncio
import math
import re
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final

import aiohttp
from aiohttp import (
    ClientHandlerType,
    ClientMiddlewareType,
    ClientRequest,
    ClientResponse,
)
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.payload import BytesPayload
from attrs import define, field
from yarl import URL

from .envelope import AttemptResult, HttpReply, Verdict
from .errors import KeyReused
from .fresh_connector import UNREQUESTED_DATA, FreshConnector, has_surplus, use_no_more
from .keys import SignerFailed
from .session_pool import LoopState

Middleware = ClientMiddlewareType
JSON_TYPE: Final = "application/json"

_OK: Final = 200
_PROXY_REFUSALS: Final = frozenset({400, 401, 403, 405, 407})
"""Statuses of a proxy that won't connect, however often it is asked."""
_IS_ERROR: Final = re.compile(rb'"error"\s*:\s*[^n\s]|"status"\s*:\s*"error"')
"""Text that may be an error: it has one that isn't null, or the status of one."""
_SECONDS: Final = re.compile(
    r"([+-]?)([0-9]+(?:[.,][0-9]+)?)\s*(?:s|secs?|seconds?|(ms|milliseconds?))?", re.IGNORECASE
)
_LONGEST_HINT_SECONDS: Final = 1e9  # More than any patience, and less than a float loses.
# Above this, aiohttp drains between writes, and part of a request may have left.
_SENT_IN_ONE_WRITE: Final = 65_536


TOO_LATE: Final = "the attempt ended before the request was written"


class FrozenBody(BytesPayload):
    """The bytes of one logical call, the same for every attempt, and their signature."""

    def __init__(self, body: bytes) -> None:
        # Past BytesPayload's own, which warns from 1 MiB: `max_request_bytes` is the limit here.
        super(BytesPayload, self).__init__(body, content_type=JSON_TYPE)
        self._size = len(body)
        self.content = body
        self.signature: str | None = None
        self.ends = math.inf
        """When the attempt ends, on the clock of the event loop."""

    on_signed: Callable[[float], None] | None = None
    """Called with the seconds that the signature took, for an observer."""

    if sys.version_info < (3, 12):
        # There aiohttp writes the body in a task of its own, one turn of the event loop after
        # the connection was looked at. Nothing was read from it since, and something may have come.
        async def write_with_length(
            self, writer: AbstractStreamWriter, content_length: int | None
        ) -> None:
            """Write the request, unless something came on the connection by now."""
            if asyncio.get_running_loop().time() >= self.ends:
                # The process may have slept since the request was made: it isn't sent any more.
                raise aiohttp.ClientConnectionResetError(TOO_LATE)
            protocol = getattr(writer, "protocol", None)
            if isinstance(protocol, ResponseHandler) and has_surplus(protocol):
                raise aiohttp.ClientConnectionResetError(UNREQUESTED_DATA)
            await writer.write(self.content[:content_length])

    def __repr__(self) -> str:
        return f"<FrozenBody of {self.size} bytes>"


@define(eq=False)
class HttpRequest:
    """What the attempts of one call send, and how long an attempt may take."""

    method: str
    url: URL
    body: FrozenBody
    headers: Mapping[str, str] = field(repr=False)
    middlewares: Sequence[Middleware]
    timeout_seconds: float
    max_bytes: int
    now: Callable[[], datetime]
    is_sent_once: bool = False
    """Whether a second request within one attempt, by a middleware that retries, is refused."""
    on_send: Callable[[], None] | None = field(default=None, repr=False)
    """Called as the request is passed to the connection; an exception from it stops the request."""
    may_be_out: bool = False
    """Whether the last attempt may have reached the provider, also where it was cancelled."""


@define(eq=False)
class _SentRequests:
    """The aiohttp middleware of one attempt: runs the client's own, and knows what was sent."""

    request: HttpRequest
    guards_connection: bool
    """Whether the connector isn't ours, so that the connection must be checked here."""
    sent: tuple[ClientRequest, ...] = ()
    """What was passed to the connection: one, unless a middleware repeats or replaces it."""

    def __call__(
        self, request: ClientRequest, handler: ClientHandlerType
    ) -> Awaitable[ClientResponse]:
        handler = partial(self._send, handler=handler)
        for middleware in reversed(self.request.middlewares):
            handler = _around(middleware, handler)
        return handler(request)

    def _send(
        self, request: ClientRequest, handler: ClientHandlerType
    ) -> Awaitable[ClientResponse]:
        if self.sent and self.request.is_sent_once:
            raise SentAgain
        if asyncio.get_running_loop().time() >= self.request.body.ends:
            # The process may have slept while it signed: nothing is sent after the deadline.
            raise TimeoutError
        self.sent = (*self.sent, request)
        if self.guards_connection:
            request.send = _guarded(request.send)  # type: ignore[method-assign, assignment]
        if self.request.on_send is not None:
            self.request.on_send()
        return handler(request)

    @property
    def is_out(self) -> bool:
        """Whether a request may have reached the provider."""
        # Set as the last step of sending; the tests check it with each fault.
        for request in self.sent:  # noqa: SIM110 - half as long as `any`, in each call
            if request.response is not None:
                return True
        return False


def _around(middleware: Middleware, handler: ClientHandlerType) -> ClientHandlerType:
    return lambda request: middleware(request, handler)


class SentAgain(Exception):
    """A middleware of the caller's session would send a call that moves money a second time."""


def _guarded(
    send: Callable[[Connection], Coroutine[Any, Any, ClientResponse]],
) -> Callable[[Connection], Coroutine[Any, Any, ClientResponse]]:
    async def guarded(connection: Connection) -> ClientResponse:
        if connection.protocol is not None and has_surplus(connection.protocol):
            raise aiohttp.ClientConnectionResetError(UNREQUESTED_DATA)
        return await send(connection)

    return guarded


class _TooLarge(Exception):
    """An answer that is larger than what is read."""


async def send_once(loop_state: LoopState, request: HttpRequest) -> HttpReply | Verdict:
    """Make one attempt: return the reply, read whole, or the verdict on why there is none."""
    session = loop_state.session
    time_limit = loop_state.time_limits.of(request.timeout_seconds)
    request.body.ends = time_limit.ends
    sent = _SentRequests(request, not isinstance(session.connector, FreshConnector))
    response: ClientResponse | None = None
    try:
        with time_limit:
            response = await session.request(
                request.method,
                request.url,
                data=request.body,
                headers=request.headers,
                allow_redirects=False,
                raise_for_status=False,
                timeout=loop_state.connecting,
                middlewares=(sent,),
            )
            body = await _read(response, request.max_bytes)
            if response.status != _OK or _IS_ERROR.search(body) is not None:
                use_no_more(response)
            return _reply(response, request, body)
    except KeyReused:
        raise
    except Exception as error:  # noqa: BLE001 - whatever broke, the request may be out by now
        failure = error
    finally:
        request.may_be_out = sent.is_out
    if response is not None:
        return _reply(response, request, b"", _words(failure))
    happened = _what_happened(failure, sent, request.body.size or 0)
    if session.closed and happened is AttemptResult.NOT_SENT:
        return Verdict(AttemptResult.MISCONFIGURED, cause="the aiohttp session is closed")
    if isinstance(failure, TimeoutError) and happened is AttemptResult.NOT_SENT:
        return Verdict(happened, cause=f"{type(failure).__name__}: not sent in time")
    return Verdict(happened, cause=_words(failure))


def _what_happened(error: Exception, sent: _SentRequests, body_bytes: int) -> AttemptResult:
    if not sent.is_out:
        return AttemptResult.MISCONFIGURED if _is_misconfigured(error) else AttemptResult.NOT_SENT
    if (
        isinstance(error, aiohttp.ClientOSError)
        and isinstance(error.__cause__, aiohttp.ClientConnectionResetError)
        and body_bytes <= _SENT_IN_ONE_WRITE
    ):
        return (
            AttemptResult.NOT_SENT
        )  # The connection was closing before the first byte was written.
    return AttemptResult.UNKNOWN


def _is_misconfigured(error: Exception) -> bool:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return error.status in _PROXY_REFUSALS
    return isinstance(
        error,
        aiohttp.ClientConnectorSSLError
        | aiohttp.ClientConnectorCertificateError
        | aiohttp.ServerFingerprintMismatch
        | aiohttp.InvalidURL
        | SignerFailed,
    )


def _words(error: Exception) -> str:
    """Return what broke, in words; text that may quote a header or an answer is left out."""
    if isinstance(error, _TooLarge):
        return str(error)
    if isinstance(error, SentAgain):
        return "a middleware of the caller's session tried to send it a second time, and may not"
    name = type(error).__name__
    if isinstance(
        error, aiohttp.ClientConnectorError | SignerFailed | aiohttp.ConnectionTimeoutError
    ):
        # aiohttp speaks of TLS settings where there is no TLS, too.
        return f"{name}: {error}".replace(" ssl:default", "")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"{name}: the proxy answered HTTP {error.status} when asked to connect"
    if isinstance(error, TimeoutError):
        return f"{name}: no answer in time"
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return f"{name}: {error.strerror}"
    return name


def _reply(
    response: ClientResponse, request: HttpRequest, body: bytes, fault: str | None = None
) -> HttpReply:
    headers = response.headers
    retry_after = headers.get("Retry-After")
    wait = None
    if retry_after is not None:
        wait = _seconds(retry_after, headers.get("Date"), request.now)
    return HttpReply(response.status, headers.get("Content-Type", ""), body, wait, fault)


def _seconds(value: str, date: str | None, now: Callable[[], datetime]) -> float | None:
    """Read ``Retry-After``: seconds, or a date, which is compared with the server's own clock.

    RFC 9110 has whole seconds and one form of date; others are sent, too, and say as much. Parts of
    a second are rounded up. Text that holds neither is no hint.
    """
    if (found := _SECONDS.fullmatch(value.strip())) is not None:
        sign, number, unit = found.groups()
        asked = float(number.replace(",", ".")) / (1_000 if unit else 1)
        return 0.0 if sign == "-" else float(math.ceil(min(asked, _LONGEST_HINT_SECONDS)))
    then = _moment(value)
    if then is None:
        return None
    return max(0.0, (then - (_moment(date or "") or now())).total_seconds())


def _moment(value: str) -> datetime | None:
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(value.strip())
        except (ValueError, OverflowError):
            continue
        break
    else:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


async def _read(response: ClientResponse, max_bytes: int) -> bytes:
    """Return the body of a response, and leave nothing of it open, also where this raises.

    Raises:
        _TooLarge: it has more bytes than that.
        aiohttp.ClientError: it couldn't be read to its end.

    """
    if response.content.is_eof():  # Most answers arrive whole with their headers.
        body = response.content.read_nowait()
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        return body
    async with response:
        chunks = bytearray()
        async for chunk in response.content.iter_any():
            chunks += chunk
            if len(chunks) > max_bytes:
                response.close()
                raise _too_large(max_bytes)
        return bytes(chunks)


def _too_large(max_bytes: int) -> _TooLarge:
    return _TooLarge(f"the answer is larger than {max_bytes} bytes")
