"""An aiohttp service that creates payment sessions and receives webhooks.

POST /orders/<id> with ``{"amount": "100.00", "currency": "usd"}`` returns the session.
Run it with a port: ``python web_service.py 8000``.
"""

import sys

from aiohttp import web

import smartglocal_async as sg
from smartglocal_async.integrations.aiohttp_web import (
    error_middleware,
    service_lifetime,
    webhook_routes,
)
from smartglocal_async.integrations.service import Service


def application() -> web.Application:
    """Build the service."""
    webhooks = sg.Webhooks(sg.WebhookVerifier.from_env())
    service = Service(sg.SmartGlocal.from_env(), webhooks)

    @webhooks.on(sg.PaymentFinished)
    async def finished(event: sg.PaymentFinished) -> None:
        print(f"{event.session.id} is {event.session.status}", flush=True)

    async def order(request: web.Request) -> web.Response:
        """Create the session of an order; the order's id is the idempotency key."""
        try:
            wanted = await request.json()
            amount = sg.AmountDetails.of(wanted["amount"], wanted["currency"])
        except (ValueError, KeyError, TypeError) as error:
            raise web.HTTPBadRequest(text="send JSON with an amount and a currency") from error
        session = await service.api.session.create(
            sg.CreateSession(amount_details=amount), key=request.match_info["id"], deadline=10
        )
        return web.Response(text=session.to_json(), content_type="application/json")

    app = web.Application(middlewares=[error_middleware()])
    app.cleanup_ctx.append(service_lifetime(service))
    _ = app.add_routes([web.post("/orders/{id}", order), *webhook_routes(webhooks)])
    return app


if __name__ == "__main__":
    web.run_app(
        application(), host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    )
