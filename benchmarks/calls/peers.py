"""The contenders that other packages make; they are imported only where they are installed.

Each signs on the event loop, as none of them signs by itself: in the hook that it has for that, or
in a subclass of its HTTP client.
"""

import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from ..work import AMOUNT, CURRENCY, METADATA, PATH, PROJECT, document, headers
from .contenders import Call, Sign


def gidgethub_call(session: aiohttp.ClientSession, server: str, sign: Sign) -> Call:
    """Return a call by gidgethub, which sends a dict and returns one."""
    from gidgethub.aiohttp import GitHubAPI  # noqa: PLC0415 - may not be installed

    class Signing(GitHubAPI):
        async def _request(
            self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
        ) -> tuple[int, Mapping[str, str], bytes]:
            signed = {**headers, "X-PARTNER-PROJECT": PROJECT, "X-PARTNER-SIGN": sign(body)}
            return await super()._request(method, url, signed, body)

    api = Signing(session, PROJECT, base_url=server)

    async def call() -> object:
        return await api.post(PATH, data=document(str(uuid.uuid4())))

    return call


def stripe_call(session: aiohttp.ClientSession, server: str, sign: Sign) -> Call:
    """Return a call by stripe-python: a payment intent, form-encoded, as a typed object."""
    import stripe  # noqa: PLC0415 - may not be installed

    class Signing(stripe.AIOHTTPClient):
        async def request_async(
            self, method: str, url: str, headers: Mapping[str, str], post_data: str | None = None
        ) -> tuple[bytes, int, Mapping[str, str]]:
            body = (post_data or "").encode()
            signed = {**headers, "X-PARTNER-PROJECT": PROJECT, "X-PARTNER-SIGN": sign(body)}
            return await super().request_async(method, url, signed, post_data)

    stripe.enable_telemetry = False
    client = stripe.StripeClient(
        "sk_test_benchmark",
        base_addresses={"api": server},
        http_client=Signing(session=session),
    )

    async def call() -> object:
        return await client.v1.payment_intents.create_async(
            {"amount": AMOUNT, "currency": CURRENCY, "metadata": dict(METADATA)},
            {"idempotency_key": str(uuid.uuid4())},
        )

    return call


@asynccontextmanager
async def openai_call(server: str, sign: Sign, limit: int) -> AsyncGenerator[Call]:
    """Yield a call by openai-python's own post, which retries and returns a dict here."""
    import openai  # noqa: PLC0415 - may not be installed
    from httpx2 import Limits, Request  # noqa: PLC0415 - comes with openai

    class Signing(openai.AsyncOpenAI):
        async def _prepare_request(self, request: Request) -> None:
            request.headers["X-PARTNER-PROJECT"] = PROJECT
            request.headers["X-PARTNER-SIGN"] = sign(request.content)

    http = openai.DefaultAioHttpClient(limits=Limits(max_connections=limit))
    async with Signing(api_key="benchmark", base_url=server, http_client=http) as client:

        async def call() -> object:
            return await client.post(PATH, cast_to=dict[str, Any], body=document(str(uuid.uuid4())))

        yield call


@asynccontextmanager
async def httpx_call(server: str, sign: Sign, limit: int) -> AsyncGenerator[Call]:
    """Yield a call as one writes it with pydantic's models and httpx."""
    import httpx  # noqa: PLC0415 - may not be installed
    from pydantic import BaseModel  # noqa: PLC0415 - may not be installed

    class Amount(BaseModel):
        amount: int
        currency: str

    class Request(BaseModel):
        amount_details: Amount
        metadata: dict[str, Any]

    class Session(BaseModel):
        id: str
        status: str
        created_at: str
        updated_at: str

    class Answer(BaseModel):
        status: str
        session: Session

    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=limit)) as client:

        async def call() -> object:
            request = Request(
                amount_details=Amount(amount=AMOUNT, currency=CURRENCY),
                metadata={**METADATA, "idempotency_key": str(uuid.uuid4())},
            )
            body = request.model_dump_json().encode()
            response = await client.post(server + PATH, content=body, headers=headers(sign(body)))
            _ = response.raise_for_status()
            return Answer.model_validate_json(response.content)

        yield call
