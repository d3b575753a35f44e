"""An aiohttp service that awaits a payment session in a request handler.

POST /orders/<id> with ``{"amount": "100.00", "currency": "usd"}`` answers with the session.
"""

import sys
from collections.abc import AsyncIterator

from aiohttp import web

import smartglocal_async as sg

API = web.AppKey("api", sg.SmartGlocal)


async def lifetime(app: web.Application) -> AsyncIterator[None]:
    """Keep one client for the life of the service; let what is in flight end before it stops."""
    app[API] = sg.SmartGlocal.from_env()
    await app[API].warm_up(4)
    yield
    _ = await app[API].drain(timeout_seconds=20)
    await app[API].close()


async def order(request: web.Request) -> web.Response:
    """Create the session of an order; the order's id is the idempotency key."""
    wanted = await request.json()
    try:
        amount = sg.AmountDetails.of(wanted["amount"], wanted["currency"])
        session = await request.app[API].session.create(
            sg.CreateSession(amount_details=amount), key=request.match_info["id"], deadline=10
        )
    except sg.Misuse as error:
        return web.json_response({"error": str(error)}, status=400)
    except sg.Refused as error:
        return web.json_response({"error": error.code}, status=402)
    except sg.CallFailed:
        return web.json_response({"error": "try again in a moment"}, status=503)
    return web.json_response({"session": session.id, "status": session.status})


def application() -> web.Application:
    """Build the service."""
    app = web.Application()
    app.cleanup_ctx.append(lifetime)
    _ = app.router.add_post("/orders/{id}", order)
    return app


if __name__ == "__main__":
    web.run_app(application(), host="127.0.0.1", port=int(sys.argv[1]))
