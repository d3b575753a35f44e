"""A FastAPI service that creates payment sessions and receives webhooks.

POST /orders/<id> with ``{"amount": "100.00", "currency": "usd"}`` returns the session.
Run it with a port: ``python fastapi_service.py 8000``.
"""

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

import smartglocal_async as sg
from smartglocal_async.integrations.service import Service
from smartglocal_async.integrations.starlette import (
    error_handlers,
    service_lifespan,
    webhook_route,
)


class Order(BaseModel):
    """The body of a request."""

    amount: str
    currency: str


def application() -> FastAPI:
    """Build the service."""
    webhooks = sg.Webhooks(sg.WebhookVerifier.from_env())
    service = Service(sg.SmartGlocal.from_env(), webhooks)
    app = FastAPI(
        lifespan=service_lifespan(service),
        routes=[webhook_route(webhooks)],
        exception_handlers=error_handlers(),
    )

    @webhooks.on(sg.PaymentFinished)
    async def finished(event: sg.PaymentFinished) -> None:
        print(f"{event.session.id} is {event.session.status}", flush=True)

    @app.post("/orders/{order_id}")
    async def create(order_id: str, order: Order) -> sg.Session:
        amount = sg.AmountDetails.of(order.amount, order.currency)
        return await service.api.session.create(
            sg.CreateSession(amount_details=amount), key=order_id, deadline=10
        )

    return app


if __name__ == "__main__":
    uvicorn.run(
        application(), host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    )
