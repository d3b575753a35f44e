"""The clients under test: each makes the same call in its own way."""

import base64
import json
import ssl
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import aiohttp
from attrs import frozen
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from smartglocal_async import AmountDetails, CreateSession, SessionPool, SmartGlocal

from ..work import AMOUNT, BODY, CURRENCY, METADATA, PATH, PROJECT, SIGNATURE, document, headers
from .protocol import bare_protocol

Call = Callable[[], Awaitable[object]]
"""One call; returns the answer, as bytes, dict or record."""

Sign = Callable[[bytes], str]


@frozen
class Target:
    """The server that the contenders call, and the key that they sign with."""

    server: str
    key_pem: bytes | None = None
    """None: every call carries the same constant in place of a signature."""
    limit: int = 100
    """Connections at a time."""
    authority: Path | None = None
    """The certificate authority of a server that speaks TLS."""

    @property
    def url(self) -> str:
        """The address of the call."""
        return self.server + PATH

    def signing(self) -> Sign:
        """Return a plain function that signs, as anybody would write it."""
        if self.key_pem is None:
            return _constant
        key = load_pem_private_key(self.key_pem, None)
        assert isinstance(key, rsa.RSAPrivateKey)  # noqa: S101 - it was made so
        pkcs, sha = padding.PKCS1v15(), hashes.SHA256()
        return lambda body: base64.b64encode(key.sign(body, pkcs, sha)).decode("ascii")

    def tls(self) -> ssl.SSLContext | None:
        """Return what checks the server's certificate; None for plain HTTP."""
        return None if self.authority is None else ssl.create_default_context(cafile=self.authority)

    def session(self) -> aiohttp.ClientSession:
        """Return an aiohttp session of as many connections."""
        tls = self.tls()
        connector = aiohttp.TCPConnector(limit=self.limit, ssl=True if tls is None else tls)
        return aiohttp.ClientSession(connector=connector)


Enter = Callable[[Target], AbstractAsyncContextManager[Call]]


@frozen(kw_only=True)
class Contender:
    """A way to make the call."""

    name: str
    imports: str
    """The statement that loads what it needs."""
    leaves_out: str
    """What this package does for a call, and it doesn't."""
    enter: Enter
    needs: tuple[str, ...] = ()
    """Modules that may not be installed."""

    @property
    def is_installed(self) -> bool:
        """Whether all that it needs is there."""
        return all(find_spec(module) is not None for module in self.needs)


def _constant(_body: bytes) -> str:
    return SIGNATURE


class ConstantSigner:
    """A signer that costs nothing."""

    async def sign(self, body: bytes) -> str:
        """Return a constant."""
        return _constant(body)


@asynccontextmanager
async def _protocol(target: Target) -> AsyncGenerator[Call]:
    async with bare_protocol(target.server, target.signing()) as call:
        yield call


@asynccontextmanager
async def _aiohttp(target: Target) -> AsyncGenerator[Call]:
    sign = target.signing()
    async with target.session() as session:

        async def call() -> object:
            signed = headers(sign(BODY))
            async with session.post(target.url, data=BODY, headers=signed) as response:
                return json.loads(await response.read())

        yield call


@asynccontextmanager
async def _by_hand(target: Target) -> AsyncGenerator[Call]:
    sign = target.signing()
    async with target.session() as session:

        @retry(
            retry=retry_if_exception_type((aiohttp.ClientError, TimeoutError)),
            stop=stop_after_attempt(3),
            wait=wait_random_exponential(max=20),
        )
        async def create(order: dict[str, Any]) -> object:
            body = json.dumps(order).encode()
            async with session.post(target.url, data=body, headers=headers(sign(body))) as response:
                response.raise_for_status()
                return await response.json()

        async def call() -> object:
            return await create(document(str(uuid.uuid4())))

        yield call


def _record() -> CreateSession:
    return CreateSession(amount_details=AmountDetails(AMOUNT, CURRENCY), metadata=METADATA)


@asynccontextmanager
async def _client(target: Target) -> AsyncGenerator[SmartGlocal]:
    pool = SessionPool(target.limit, ssl_context=target.tls())
    key = ConstantSigner() if target.key_pem is None else target.key_pem
    async with pool, SmartGlocal(PROJECT, key, target.server, pool=pool) as api:
        yield api


@asynccontextmanager
async def _ours(target: Target) -> AsyncGenerator[Call]:
    async with _client(target) as api:

        async def call() -> object:
            return await api.session.create(_record(), key=str(uuid.uuid4()))

        yield call


@asynccontextmanager
async def _ours_reused(target: Target) -> AsyncGenerator[Call]:
    async with _client(target) as api:
        yield partial(api.session.create, _record())


@asynccontextmanager
async def _gidgethub(target: Target) -> AsyncGenerator[Call]:
    from .peers import gidgethub_call  # noqa: PLC0415 - may not be installed

    async with target.session() as session:
        yield gidgethub_call(session, target.server, target.signing())


@asynccontextmanager
async def _stripe(target: Target) -> AsyncGenerator[Call]:
    from .peers import stripe_call  # noqa: PLC0415 - may not be installed

    async with target.session() as session:
        yield stripe_call(session, target.server, target.signing())


@asynccontextmanager
async def _openai(target: Target) -> AsyncGenerator[Call]:
    from .peers import openai_call  # noqa: PLC0415 - may not be installed

    async with openai_call(target.server, target.signing(), target.limit) as call:
        yield call


@asynccontextmanager
async def _httpx(target: Target) -> AsyncGenerator[Call]:
    from .peers import httpx_call  # noqa: PLC0415 - may not be installed

    async with httpx_call(target.server, target.signing(), target.limit) as call:
        yield call


OURS: Final = Contender(
    name="smartglocal_async",
    imports="import smartglocal_async as sg; sg.SmartGlocal",
    leaves_out="-",
    enter=_ours,
)
"""As users write it: a new record and an own key for each call."""
OURS_REUSED: Final = Contender(
    name="smartglocal_async, one record reused, generated keys",
    imports=OURS.imports,
    leaves_out="an own key, and so sharing a call between callers of one key",
    enter=_ours_reused,
)
PROTOCOL: Final = Contender(
    name="asyncio.Protocol, prebuilt body",
    imports="import asyncio",
    leaves_out="everything but the bytes: no HTTP client, time limit, TLS, JSON",
    enter=_protocol,
)
AIOHTTP: Final = Contender(
    name="bare aiohttp, prebuilt body, json.loads",
    imports="import aiohttp",
    leaves_out="request written per call, key, retry, check of the status, typed answer",
    enter=_aiohttp,
)
BY_HAND: Final = Contender(
    name="by hand: aiohttp, tenacity, dicts",
    imports="import aiohttp, tenacity",
    leaves_out="validation, typed answer, unknown outcome, one deadline, reused keys refused",
    enter=_by_hand,
)
GIDGETHUB: Final = Contender(
    name="gidgethub",
    imports="import gidgethub.aiohttp",
    leaves_out="retry, key, validation, typed answer, unknown outcome",
    enter=_gidgethub,
    needs=("gidgethub",),
)
HTTPX: Final = Contender(
    name="by hand: pydantic, httpx",
    imports="import httpx, pydantic",
    leaves_out="retry, unknown outcome, one deadline, reused keys refused",
    enter=_httpx,
    needs=("httpx", "pydantic"),
)
STRIPE: Final = Contender(
    name="stripe-python on aiohttp",
    imports="import stripe; stripe.AIOHTTPClient()",
    leaves_out="validation, unknown outcome, one deadline; signs nothing of its own",
    enter=_stripe,
    needs=("stripe",),
)
OPENAI: Final = Contender(
    name="openai-python on aiohttp, raw post",
    imports="import openai; openai.DefaultAioHttpClient",
    leaves_out="validation, typed answer, unknown outcome, one deadline; signs nothing of its own",
    enter=_openai,
    needs=("openai",),
)

CONTENDERS: Final = {
    each.name: each
    for each in (
        *(OURS, OURS_REUSED, BY_HAND, STRIPE, GIDGETHUB, HTTPX, OPENAI, AIOHTTP),
        PROTOCOL,
    )
}
"""By name, in the order of the tables."""
