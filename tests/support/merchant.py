"""A merchant for the journey tests: a client, and a queue of received webhooks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web
from attrs import define, field

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.integrations.aiohttp_web import webhook_lifetime, webhook_routes

USD = sg.AmountDetails(10_000, "usd")
EUR = sg.AmountDetails(2_500, "eur")
PAYER = sg.Customer(reference="customer-3", contacts=(sg.Contact(email="jane@example.com"),))


@define(eq=False)
class Merchant:
    """A merchant: the client, the provider, and the received webhooks."""

    api: sg.SmartGlocal
    provider: emulator.Provider
    told: "asyncio.Queue[sg.WebhookEvent]" = field(factory=asyncio.Queue)

    async def next_webhook(self, kind: type[sg.WebhookEvent]) -> sg.Session:
        """Return the session of the next webhook, which must be of this kind."""
        async with asyncio.timeout(10):
            event = await self.told.get()
        assert type(event) is kind
        return event.session

    async def status(self, session: sg.Session) -> sg.Session:
        """Return the status of a session."""
        return await self.api.session.status(sg.SessionRef(session.id))


@contextlib.asynccontextmanager
async def merchant_of(provider: emulator.Provider, api: sg.SmartGlocal) -> AsyncIterator[Merchant]:
    """Yield a merchant whose webhooks are received, verified and handled once."""
    merchant = Merchant(api, provider)
    webhooks = sg.Webhooks(sg.WebhookVerifier(provider.webhook_key), api=api)

    @webhooks.on(sg.WebhookEvent)
    async def _(event: sg.WebhookEvent) -> None:
        merchant.told.put_nowait(event)

    app = web.Application()
    app.cleanup_ctx.append(webhook_lifetime(webhooks))
    app.add_routes(webhook_routes(webhooks, "/webhooks"))
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        provider.deliver_to(f"http://127.0.0.1:{port}/webhooks")
        yield merchant
    finally:
        provider.deliver_to(None)
        await runner.cleanup()
