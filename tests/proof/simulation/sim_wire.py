"""Fakes of what the client's transport uses: aiohttp's session, request and response, and a key."""

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

from attrs import define, field
from multidict import CIMultiDict
from yarl import URL

from smartglocal_async.emulator.server.faulty_responses import HttpResponse

if TYPE_CHECKING:
    from sim_network import Network


class FakeSigner:
    """Signs and verifies without RSA, which isn't tested here."""

    async def sign(self, body: bytes) -> str:
        """Return a signature."""
        await asyncio.sleep(0)
        return self.signature_of(body)

    def verifies(self, body: bytes, signature: str) -> bool:
        """Return whether a signature is correct."""
        return self.signature_of(body) == signature

    @staticmethod
    def signature_of(body: bytes) -> str:
        """Return the signature of a body."""
        return hashlib.sha256(body).hexdigest()


@define(eq=False)
class FakeResponse:
    """The response that a client reads, with aiohttp's attributes."""

    reply: HttpResponse

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.reply.status

    @property
    def headers(self) -> CIMultiDict[str]:
        """The headers that a client reads."""
        headers = {"Content-Type": self.reply.content_type, **self.reply.headers}
        return CIMultiDict({**headers, "Content-Length": str(len(self.reply.body))})

    @property
    def content(self) -> "FakeResponse":
        """The stream of the body."""
        return self

    def is_eof(self) -> bool:
        """Return whether all of the body is here."""
        return True

    def read_nowait(self) -> bytes:
        """Return the body."""
        return self.reply.body


@define(eq=False)
class FakeRequest:
    """A request as the client's middlewares see it."""

    url: URL
    headers: CIMultiDict[str]
    body: Any
    connection: "FakeConnection"
    send: Any = None
    """The transport wraps it to check the connection first; here there is no connection."""
    response: object = None
    """Not None once the request was sent."""


@define(eq=False)
class FakeConnection:
    """Replaces an aiohttp session in a pool."""

    network: "Network"
    worker: int
    """The number of the worker that uses this connection."""
    surplus: list[FakeResponse] = field(factory=list[FakeResponse])
    """Answers without a request, which are read as the answers of the next requests."""
    connector: object = None
    closed: bool = False
    auto_decompress: bool = True

    async def request(self, _method: str, url: URL, **options: Any) -> FakeResponse:
        """Make a request."""
        (chain,) = options["middlewares"]
        request = FakeRequest(url, CIMultiDict(options["headers"]), options["data"], self)
        answer: FakeResponse = await chain(request, self.network.deliver)
        return answer
