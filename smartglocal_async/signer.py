"""Sign every request before it is sent: an aiohttp client middleware sets the partner headers.

The first attempt of a call stores the signature in the body, and the next ones use it: RSA takes
more time than everything else together, and PKCS#1 v1.5 is deterministic.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from attrs import define, field, frozen

from .errors import InvalidCredentials
from .keys import PrivateKey, Signer, SignerFailed
from .session_pool import SessionPool
from .transport import FrozenBody

PROJECT: Final = "X-PARTNER-PROJECT"
SIGNATURE: Final = "X-PARTNER-SIGN"
SUBMERCHANT: Final = "X-PARTNER-SUBMERCHANT"


_PRINTABLE: Final = bytes(range(0x20, 0x7F))
_QUICK_KEY_BITS: Final = 2048
"""A signature of this size takes 0.3 ms; one of 4096 bits takes 2 ms, which others would wait."""


@define(eq=False)
class PoolSigner:
    """Sign with a private key, on the threads of a pool or where nothing else waits.

    The key is proved before its first signature leaves, on a thread.
    """

    pool: SessionPool
    _key: PrivateKey = field(repr=False)
    _is_proven: bool = field(default=False, init=False)

    async def sign(self, body: bytes) -> str:
        """Return the value of the signature header."""
        if self._is_proven:
            is_quick = self._key.bits <= _QUICK_KEY_BITS
            return await self.pool.sign(self._key.sign, body, is_quick=is_quick)
        return await self.pool.sign(self._first, body)

    def _first(self, body: bytes) -> str:
        _ = self._key.prove()
        self._is_proven = True
        return self._key.sign(body)


@frozen(eq=False)  # One object is one policy; aiohttp 4 will hash it by identity.
class SignRequests:
    """Name the project and prove that the body comes from it."""

    project: str
    signer: Signer
    submerchant: str | None = None

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Set the partner headers, and hand the request on."""
        headers, body = request.headers, request.body
        # Assigned, not added: aiohttp may pass the same request twice.
        headers[PROJECT] = self.project
        if not isinstance(body, FrozenBody):
            headers[SIGNATURE] = await self._sign(await body.as_bytes() if body else b"")
        else:
            if body.signature is None:
                body.signature = await self._sign_once(body)
            headers[SIGNATURE] = body.signature
        if self.submerchant is not None:
            headers[SUBMERCHANT] = self.submerchant
        return await handler(request)

    def _sign_once(self, body: FrozenBody) -> Awaitable[str]:
        if body.on_signed is None:
            return self._sign(body.content)
        return self._sign_timed(body, body.on_signed)

    async def _sign_timed(self, body: FrozenBody, on_signed: Callable[[float], None]) -> str:
        clock = asyncio.get_running_loop().time
        started = clock()
        signature = await self._sign(body.content)
        on_signed(clock() - started)
        return signature

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
    if (
        isinstance(signature, str)
        and signature
        and signature.isascii()
        # Nothing is left without these; `str.isprintable` takes six times as long.
        and not signature.encode().translate(None, _PRINTABLE)
    ):
        return signature
    raise SignerFailed("the signer returned no Base64 text in one line")
