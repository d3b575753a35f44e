"""Sign every request on its way out: the partner headers over the frozen bytes.

The first attempt of a call signs and leaves the signature on the body; the next ones find it
there. RSA costs more than everything else together, and PKCS#1 v1.5 is deterministic.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from attrs import define, field, frozen

from ..errors import InvalidCredentials
from ..pool import SessionPool
from ..signing import PrivateKey, Signer, SignerFailed
from ..transport import FrozenBody

PROJECT: Final = "X-PARTNER-PROJECT"
SIGNATURE: Final = "X-PARTNER-SIGN"
SUBMERCHANT: Final = "X-PARTNER-SUBMERCHANT"


@define(eq=False)
class PoolSigner:
    """Sign with a private key on the threads of a pool, where it stalls no event loop."""

    pool: SessionPool
    _sign: Callable[[bytes], str] = field(repr=False)

    @classmethod
    def over(cls, pool: SessionPool, key: PrivateKey) -> "PoolSigner":
        """Sign with a key that is proved on its first use, on the same threads."""
        return cls(pool, _ProvenKey(key).sign)

    async def sign(self, body: bytes) -> str:
        """Return the value of the signature header."""
        return await self.pool.sign(self._sign, body)


@define(eq=False)
class _ProvenKey:
    """A key that is checked once, before its first signature leaves."""

    key: PrivateKey
    is_proven: bool = False

    def sign(self, body: bytes) -> str:
        """Return the signature, made by a key that belongs together."""
        if not self.is_proven:
            _ = self.key.prove()
            self.is_proven = True
        return self.key.sign(body)


@frozen(eq=False)  # One object is one policy; aiohttp 4 will hash it by identity.
class SignRequests:
    """Name the project and prove that the body comes from it."""

    project: str
    signer: Signer
    submerchant: str | None = None

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Set the partner headers, and hand the request on."""
        # Assigned, never added: aiohttp may hand the same request over twice.
        request.headers[PROJECT] = self.project
        request.headers[SIGNATURE] = await self._signature(request)
        if self.submerchant is not None:
            request.headers[SUBMERCHANT] = self.submerchant
        return await handler(request)

    async def _signature(self, request: ClientRequest) -> str:
        body = request.body
        if isinstance(body, FrozenBody):
            if body.signature is None:
                body.signature = await self._sign(await body.as_bytes())
            return body.signature
        return await self._sign(await body.as_bytes() if body else b"")

    async def _sign(self, body: bytes) -> str:
        try:
            return _one_line(await self.signer.sign(body))
        except (InvalidCredentials, SignerFailed) as error:
            failure = str(error)
        except Exception as error:  # noqa: BLE001 - a signer is anybody's code
            failure = f"{type(self.signer).__name__} raised {type(error).__name__}"
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            failure = f"{type(self.signer).__name__} cancelled itself"
        # Raised out of the handler's reach: the signer's own words may hold key material.
        raise SignerFailed(failure)


def _one_line(signature: object) -> str:
    if isinstance(signature, str) and signature.isascii() and signature.isprintable() and signature:
        return signature
    raise SignerFailed("the signer gave no Base64 text in one line")
