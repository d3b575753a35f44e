"""The contenders: each makes the same call, by its own means."""

import base64
import json
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final

import aiohttp
from attrs import frozen
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from smartglocal_async import AmountDetails, CreateSession, SessionPool, Signer, SmartGlocal

from .machine import quickest_loads
from .protocol import bare_protocol
from .work import AMOUNT, BODY, CURRENCY, METADATA, PATH, PROJECT, SIGNATURE, document, headers

Call = Callable[[], Awaitable[object]]
"""One call; gives the answer, as bytes, dict or record."""

Sign = Callable[[bytes], str]

PROTOCOL: Final = "asyncio.Protocol, prebuilt bytes"
AIOHTTP: Final = f"aiohttp post(data=bytes) + {quickest_loads()[0]}"
AIOHTTP_SIGNED: Final = "aiohttp as above + one RSA-2048 signature, inline"
BY_HAND: Final = "by hand: aiohttp + tenacity + dict"
BY_HAND_SIGNED: Final = "by hand: the same, RSA-2048 inline"
OURS: Final = "smartglocal_async, signing off"
OURS_KEYED: Final = "smartglocal_async, signing off, new record and own key each"
OURS_SIGNED: Final = "smartglocal_async, RSA-2048"


@frozen
class Ground:
    """Where the contenders meet, and the key that they sign with."""

    server: str
    key_pem: bytes
    limit: int = 100
    """Connections at a time."""

    @property
    def url(self) -> str:
        """The address of the call."""
        return self.server + PATH

    def signing(self) -> Sign:
        """Give a plain function that signs: what anybody would write."""
        key = load_pem_private_key(self.key_pem, None)
        assert isinstance(key, rsa.RSAPrivateKey)  # noqa: S101 - it was made so
        pkcs, sha = padding.PKCS1v15(), hashes.SHA256()
        return lambda body: base64.b64encode(key.sign(body, pkcs, sha)).decode("ascii")


Enter = Callable[[Ground], AbstractAsyncContextManager[Call]]


class NullSigner:
    """A signer that costs nothing."""

    async def sign(self, body: bytes) -> str:
        """Return a constant."""
        del body
        return SIGNATURE


def _unsigned(_body: bytes) -> str:
    return SIGNATURE


def _session(ground: Ground) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=ground.limit))


@asynccontextmanager
async def _protocol(ground: Ground) -> AsyncGenerator[Call]:
    async with bare_protocol(ground.server) as call:
        yield call


@asynccontextmanager
async def _aiohttp(ground: Ground) -> AsyncGenerator[Call]:
    _, loads = quickest_loads()
    fixed = headers(SIGNATURE)
    async with _session(ground) as session:

        async def call() -> object:
            async with session.post(ground.url, data=BODY, headers=fixed) as response:
                return loads(await response.read())

        yield call


@asynccontextmanager
async def _aiohttp_signed(ground: Ground) -> AsyncGenerator[Call]:
    (_, loads), sign = quickest_loads(), ground.signing()
    async with _session(ground) as session:

        async def call() -> object:
            signed = headers(sign(BODY))
            async with session.post(ground.url, data=BODY, headers=signed) as response:
                return loads(await response.read())

        yield call


@asynccontextmanager
async def _by_hand(ground: Ground, sign: Sign) -> AsyncGenerator[Call]:
    async with _session(ground) as session:

        @retry(
            retry=retry_if_exception_type((aiohttp.ClientError, TimeoutError)),
            stop=stop_after_attempt(3),
            wait=wait_random_exponential(max=20),
        )
        async def create(order: dict[str, Any]) -> object:
            body = json.dumps(order).encode()
            async with session.post(ground.url, data=body, headers=headers(sign(body))) as response:
                response.raise_for_status()
                return await response.json()

        async def call() -> object:
            return await create(document(str(uuid.uuid4())))

        yield call


def _record() -> CreateSession:
    return CreateSession(amount_details=AmountDetails(AMOUNT, CURRENCY), metadata=METADATA)


@asynccontextmanager
async def _client(ground: Ground, key: bytes | Signer) -> AsyncGenerator[SmartGlocal]:
    pool = SessionPool(ground.limit)
    async with pool, SmartGlocal(PROJECT, key, ground.server, pool=pool) as api:
        yield api


@asynccontextmanager
async def _ours(ground: Ground, key: bytes | Signer) -> AsyncGenerator[Call]:
    async with _client(ground, key) as api:
        yield partial(api.session.create, _record())


@asynccontextmanager
async def _ours_keyed(ground: Ground) -> AsyncGenerator[Call]:
    async with _client(ground, NullSigner()) as api:

        async def call() -> object:
            return await api.session.create(_record(), key=str(uuid.uuid4()))

        yield call


CONTENDERS: Final[dict[str, Enter]] = {
    PROTOCOL: _protocol,
    AIOHTTP: _aiohttp,
    OURS: lambda ground: _ours(ground, NullSigner()),
    OURS_KEYED: _ours_keyed,
    BY_HAND: lambda ground: _by_hand(ground, _unsigned),
    AIOHTTP_SIGNED: _aiohttp_signed,
    OURS_SIGNED: lambda ground: _ours(ground, ground.key_pem),
    BY_HAND_SIGNED: lambda ground: _by_hand(ground, ground.signing()),
}
"""By name, in the order of the table."""
