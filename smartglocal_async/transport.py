"""One attempt over the pool, and the one table from aiohttp's errors to what surely happened.

Nothing here raises for what the network does. aiohttp's exceptions hold request headers, and
so the signature, in their repr; what the caller needs is taken out of them as words.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from aiohttp import (
    ClientHandlerType,
    ClientMiddlewareType,
    ClientRequest,
    ClientResponse,
    ClientSession,
)
from aiohttp.payload import BytesPayload
from attrs import define, field
from yarl import URL

from .envelope import Happened, Reply, Verdict
from .signing import SignerFailed

Middleware = ClientMiddlewareType

# Above this, aiohttp drains between writes, and part of a request may have left.
_SENT_IN_ONE_WRITE: Final = 65_536


class FrozenBody(BytesPayload):
    """The bytes of one logical call, the same for every attempt, and their signature."""

    def __init__(self, body: bytes) -> None:
        # Past BytesPayload's own, which warns from 1 MiB: `most_request_bytes` is the limit here.
        super(BytesPayload, self).__init__(body, content_type="application/json")
        self._size = len(body)
        self.signature: str | None = None

    def __repr__(self) -> str:
        return f"<FrozenBody of {self.size} bytes>"


@define(eq=False)
class Shot:
    """What one attempt sends, and how long it may take."""

    method: str
    url: URL
    body: FrozenBody
    headers: dict[str, str] = field(repr=False)
    middlewares: Sequence[Middleware]
    timeout_seconds: float
    most_bytes: int
    now: Callable[[], datetime]


@define(eq=False)
class _Watch:
    """The middleware around all others: sees the request that aiohttp builds, sent or not."""

    chain: Sequence[Middleware]
    request: ClientRequest | None = None

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        self.request = request
        for middleware in reversed(self.chain[1:]):
            handler = _around(middleware, handler)
        return await self.chain[0](request, handler)

    @property
    def is_out(self) -> bool:
        # Set as the last step of sending; the tests pin that every fault agrees.
        return self.request is not None and self.request.response is not None


def _around(middleware: Middleware, handler: ClientHandlerType) -> ClientHandlerType:
    return lambda request: middleware(request, handler)


class _TooLarge(Exception):
    """An answer beyond what is read."""


_DEFAULT_CONNECTING: Final = aiohttp.ClientTimeout(sock_connect=5)


async def shoot(
    session: ClientSession, shot: Shot, connecting: aiohttp.ClientTimeout = _DEFAULT_CONNECTING
) -> Reply | Verdict:
    """Make one attempt: give the reply, read whole, or the verdict on why there is none."""
    watch = _Watch(shot.middlewares)
    response: ClientResponse | None = None
    try:
        async with (
            asyncio.timeout(shot.timeout_seconds),
            session.request(
                shot.method,
                shot.url,
                data=shot.body,
                headers=shot.headers,
                allow_redirects=False,
                raise_for_status=False,
                timeout=connecting,
                middlewares=(watch,),
            ) as response,
        ):
            return _heard(response, shot, await _read(response, shot.most_bytes))
    except Exception as error:  # noqa: BLE001 - whatever broke, the request may be out by now
        failure = error
    if response is not None:
        return _heard(response, shot, b"", _words(failure))
    happened = _what_happened(failure, watch, shot.body.size or 0)
    if session.closed and happened is Happened.NOT_SENT:
        return Verdict(Happened.MISCONFIGURED, cause="the aiohttp session is closed")
    if isinstance(failure, TimeoutError) and happened is Happened.NOT_SENT:
        return Verdict(happened, cause=f"{type(failure).__name__}: not sent in time")
    return Verdict(happened, cause=_words(failure))


def _what_happened(error: Exception, watch: _Watch, body_bytes: int) -> Happened:
    if not watch.is_out:
        return Happened.MISCONFIGURED if _is_misconfigured(error) else Happened.NOT_SENT
    if (
        isinstance(error, aiohttp.ClientOSError)
        and isinstance(error.__cause__, aiohttp.ClientConnectionResetError)
        and body_bytes <= _SENT_IN_ONE_WRITE
    ):
        return Happened.NOT_SENT  # The connection was closing before the first byte was written.
    return Happened.UNKNOWN


def _is_misconfigured(error: Exception) -> bool:
    return isinstance(
        error,
        aiohttp.ClientConnectorSSLError
        | aiohttp.ClientConnectorCertificateError
        | aiohttp.ServerFingerprintMismatch
        | aiohttp.InvalidURL
        | SignerFailed,
    )


def _words(error: Exception) -> str:
    """Say what broke; text that may quote a header or an answer is left out."""
    if isinstance(error, _TooLarge):
        return str(error)
    name = type(error).__name__
    if isinstance(
        error, aiohttp.ClientConnectorError | SignerFailed | aiohttp.ConnectionTimeoutError
    ):
        # aiohttp speaks of TLS settings where there is no TLS, too.
        return f"{name}: {error}".replace(" ssl:default", "")
    if isinstance(error, TimeoutError):
        return f"{name}: no answer in time"
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return f"{name}: {error.strerror}"
    return name


def _heard(response: ClientResponse, shot: Shot, body: bytes, fault: str | None = None) -> Reply:
    headers = response.headers
    asked = headers.get("Retry-After")
    wait = None if asked is None else _seconds(asked, headers.get("Date"), shot.now)
    return Reply(response.status, headers.get("Content-Type", ""), body, wait, fault)


def _seconds(value: str, date: str | None, now: Callable[[], datetime]) -> float | None:
    """Read ``Retry-After``: seconds, or a date, which is compared with the server's own clock."""
    try:
        return max(0.0, float(int(value)))
    except (ValueError, OverflowError):
        then = _moment(value)
    if then is None:
        return None
    return max(0.0, (then - (_moment(date or "") or now())).total_seconds())


def _moment(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


async def _read(response: ClientResponse, most_bytes: int) -> bytes:
    headers = response.headers
    length = headers.get("Content-Length", "")
    if length.isdecimal() and int(length) <= most_bytes and "Content-Encoding" not in headers:
        return await response.read()
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most_bytes:
            response.close()
            raise _TooLarge(f"the answer is larger than {most_bytes} bytes")
    return bytes(body)
