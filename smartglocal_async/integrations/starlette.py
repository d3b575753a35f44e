"""A client and webhooks in Starlette and FastAPI (extra ``starlette``).

A service with a client, webhooks and the answers to errors::

    service = Service(sg.SmartGlocal.from_env(), sg.Webhooks(sg.WebhookVerifier.from_env()))
    app = FastAPI(
        lifespan=service_lifespan(service),
        routes=[webhook_route(service.webhooks)],
        exception_handlers=error_handlers(),
    )

The event of a webhook as a dependency of your own endpoint::

    event: Annotated[sg.WebhookEvent, Depends(webhook_event(webhooks))]
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..errors import SmartGlocalError, WebhookRefused
from ..models.events import WebhookEvent
from ..webhooks.receiver import Webhooks
from ..webhooks.verifier import WebhookVerifier
from ._common import GONE, answer, read_length, refusal, verified
from .service import STATUSES, Service, error_response


def service_lifespan(service: Service) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """Return a lifespan that opens the client and the webhooks, and closes them in order.

    An app with a lifespan of its own can use ``async with service:`` there.
    """
    return _lifespan_of(service)


def error_handlers(
    statuses: Mapping[type[SmartGlocalError], int] = STATUSES,
) -> dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]]:
    """Return the ``exception_handlers`` of an app: errors of calls become HTTP responses.

    ``statuses`` are added to `STATUSES`, and replace its own.
    """

    async def respond(_: Request, error: SmartGlocalError) -> Response:
        found = error_response(error, statuses)
        return JSONResponse(dict(found.content), found.status, dict(found.headers))

    return {SmartGlocalError: respond}


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
    return _lifespan_of(webhooks)


def webhook_event(
    webhooks: Webhooks | WebhookVerifier,
) -> Callable[[Request], Awaitable[WebhookEvent]]:
    """Return a FastAPI dependency: the verified event, or an answer of 400, 401, 408 or 413.

    The observers of the webhooks receive what is refused; a verifier alone has none.
    """

    async def event_of(request: Request) -> WebhookEvent:
        try:
            return await verified(webhooks, request.headers, _length(request), request.stream())
        except WebhookRefused as refused:
            status, text = refusal(refused)
        except ClientDisconnect:
            status, text = GONE
        raise HTTPException(status, text)

    return event_of


def _lifespan_of(
    opened: AbstractAsyncContextManager[object],
) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: object) -> AsyncGenerator[None, None]:
        async with opened:
            yield

    return lifespan


def _length(request: Request) -> int | None:
    return read_length(request.headers.get("content-length"))
