"""What the client's transport takes for aiohttp's session, and for a key."""

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

from attrs import define
from multidict import CIMultiDict
from yarl import URL

from smartglocal_async.emulator.replies import Reply

if TYPE_CHECKING:
    from sim_network import Network


class Stamp:
    """Signs and verifies without RSA, which is not what is tested here."""

    async def sign(self, body: bytes) -> str:
        """Give a signature; the thread that makes one may take a moment."""
        await asyncio.sleep(0)
        return self.over(body)

    def verifies(self, body: bytes, signature: str) -> bool:
        """Say whether it is one."""
        return self.over(body) == signature

    @staticmethod
    def over(body: bytes) -> str:
        """Give the signature of a body."""
        return hashlib.sha256(body).hexdigest()


@define(eq=False)
class Answer:
    """What a client reads, as aiohttp gives it."""

    reply: Reply

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.reply.status

    @property
    def headers(self) -> CIMultiDict[str]:
        """The headers that a client looks at."""
        told = {"Content-Type": self.reply.content_type, **self.reply.headers}
        return CIMultiDict({**told, "Content-Length": str(len(self.reply.body))})

    async def read(self) -> bytes:
        """Give the body."""
        return self.reply.body


@define(eq=False)
class Request:
    """A request as the client's middlewares see it."""

    url: URL
    headers: CIMultiDict[str]
    body: Any
    response: object = None
    """Not None once it is out."""


@define(eq=False)
class _Exchange:
    """One request and its answer, entered as aiohttp's."""

    network: "Network"
    request: Request
    chain: Any

    async def __aenter__(self) -> Answer:
        answer: Answer = await self.chain(self.request, self.network.carry)
        return answer

    async def __aexit__(self, *_exc_info: object) -> None:
        pass


@define(eq=False)
class Line:
    """What a pool takes for an aiohttp session."""

    network: "Network"
    closed: bool = False
    auto_decompress: bool = True

    def request(self, _method: str, url: URL, **options: Any) -> _Exchange:
        """Make a request ready."""
        (chain,) = options["middlewares"]
        headers = CIMultiDict(options["headers"])
        return _Exchange(self.network, Request(url, headers, options["data"]), chain)
