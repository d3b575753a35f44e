"""Webhooks in Starlette and FastAPI (extra ``starlette``).

As a route, which FastAPI takes as well::

    app = FastAPI(
        routes=[webhook_route(webhooks, "/webhooks")], lifespan=webhook_lifespan(webhooks)
    )

or as a dependency, which passes the verified event to your endpoint::

    event: Annotated[sg.WebhookEvent, Depends(webhook_event(verifier))]
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ..errors import WebhookRefused
from ..models.events import WebhookEvent
from ..webhooks.receiver import Webhooks
from ..webhooks.verifier import WebhookVerifier
from ._common import GONE, TOO_SLOW, answer, read_body, read_length, refusal


def webhook_endpoint(webhooks: Webhooks) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that verifies a delivery, handles it and answers."""

    async def receive(request: Request) -> Response:
        try:
            status, text = await answer(
                webhooks, request.headers, _length(request), request.stream()
            )
        except ClientDisconnect:
            status, text = GONE
        return PlainTextResponse(text, status)

    return receive


def webhook_route(webhooks: Webhooks, path: str = "/webhooks") -> Route:
    """Return a route for POST to this path; other methods are answered with 405."""
    return Route(path, webhook_endpoint(webhooks), methods=["POST"])


def webhook_lifespan(
    webhooks: Webhooks,
) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """Return a lifespan that runs the webhooks for as long as the app.

    An app with a lifespan of its own can use ``async with webhooks:`` there.
    """

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncGenerator[None, None]:
        async with webhooks:
            yield

    return lifespan


def webhook_event(verifier: WebhookVerifier) -> Callable[[Request], Awaitable[WebhookEvent]]:
    """Return a FastAPI dependency: the verified event, or an answer of 400, 401, 408 or 413."""

    async def verified(request: Request) -> WebhookEvent:
        try:
            return verifier.verify(
                request.headers,
                await read_body(request.stream(), _length(request), verifier.max_bytes),
            )
        except WebhookRefused as refused:
            status, text = refusal(refused)
        except TimeoutError:
            status, text = TOO_SLOW
        except ClientDisconnect:
            status, text = GONE
        raise HTTPException(status, text)

    return verified


def _length(request: Request) -> int | None:
    return read_length(request.headers.get("content-length"))
