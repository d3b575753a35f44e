"""An aiohttp service that receives webhooks.

Run it with a port: ``python webhooks_aiohttp.py 8000``. SMARTGLOCAL_WEBHOOK_KEY is the path of
the provider's public key.
"""

import sys

from aiohttp import web

import smartglocal_async as sg
from smartglocal_async.integrations.aiohttp_web import webhook_lifetime, webhook_routes


def handlers(webhooks: sg.Webhooks) -> None:
    """Register a handler for each event; your code goes here."""

    @webhooks.on(sg.PaymentFinished)
    async def _(event: sg.PaymentFinished) -> None:
        for payout in event.session.payout_list:
            print(f"payout {payout.id} is {payout.status}", flush=True)

    @webhooks.on(sg.ReadyToConfirm, sg.ReadyToCapture)
    async def _(event: sg.ReadyToConfirm | sg.ReadyToCapture) -> None:
        print(f"{event.session.id} waits: {event.type}", flush=True)


def application() -> web.Application:
    """Build the service."""
    webhooks = sg.Webhooks(sg.WebhookVerifier.from_env())
    handlers(webhooks)
    app = web.Application()
    app.cleanup_ctx.append(webhook_lifetime(webhooks))
    _ = app.add_routes(webhook_routes(webhooks, "/webhooks"))
    return app


if __name__ == "__main__":
    web.run_app(
        application(), host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    )
