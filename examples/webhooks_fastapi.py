"""A FastAPI service that receives webhooks.

Run it with a port: ``python webhooks_fastapi.py 8000``. SMARTGLOCAL_WEBHOOK_KEY is the path of
the provider's public key.
"""

import sys
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Response

import smartglocal_async as sg
from smartglocal_async.integrations.starlette import webhook_event, webhook_lifespan


def application() -> FastAPI:
    """Build the service."""
    verifier = sg.WebhookVerifier.from_env()
    webhooks = sg.Webhooks(verifier)
    app = FastAPI(lifespan=webhook_lifespan(webhooks))

    @webhooks.on(sg.PaymentFinished)
    async def _(event: sg.PaymentFinished) -> None:
        for payout in event.session.payout_list:
            print(f"payout {payout.id} is {payout.status}", flush=True)

    @app.post("/webhooks")
    async def _(
        event: Annotated[sg.WebhookEvent, Depends(webhook_event(verifier))],
    ) -> Response:
        receipt = await webhooks.accept(event)
        return Response(receipt.state.value, receipt.http_status)

    return app


if __name__ == "__main__":
    uvicorn.run(
        application(), host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    )
