"""An aiohttp service that creates a payment session in a request handler.

POST /orders/<id> with ``{"amount": "100.00", "currency": "usd"}`` returns the session.
Run it with a port: ``python web_service.py 8000``.
"""

import sys
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

import smartglocal_async as sg

API = web.AppKey("api", sg.SmartGlocal)


async def lifetime(app: web.Application) -> AsyncIterator[None]:
    """Keep one client while the service runs; on shutdown, wait for calls in flight."""
    app[API] = sg.SmartGlocal.from_env()
    await app[API].warm_up(4)
    yield
    _ = await app[API].drain(timeout_seconds=20)
    await app[API].close()


async def order(request: web.Request) -> web.Response:
    """Create the session of an order; the order's id is the idempotency key."""
    try:
        wanted = amount_of(await request.json())
        session = await request.app[API].session.create(
            sg.CreateSession(amount_details=wanted), key=request.match_info["id"], deadline=10
        )
    except (ValueError, KeyError, TypeError):
        return problem(400, "send JSON with an amount and a currency")
    except (sg.InvalidRequest, sg.KeyReused) as error:
        return problem(400, str(error))
    except sg.Refused as error:
        # 503: try again later. 502: the provider refused, for the reason in the code.
        return problem(503 if error.is_throttled else 502, error.code or "refused")
    except (sg.CallFailed, sg.PoolClosed):
        return problem(503, "try again in a moment, with the same order id")
    return web.json_response({"session": session.id, "status": session.status})


def amount_of(wanted: dict[str, Any]) -> sg.AmountDetails:
    """Return the amount of an order."""
    return sg.AmountDetails.of(wanted["amount"], wanted["currency"])


def problem(status: int, text: str) -> web.Response:
    """Return an error response."""
    return web.json_response({"error": text}, status=status)


def application() -> web.Application:
    """Build the service."""
    app = web.Application()
    app.cleanup_ctx.append(lifetime)
    _ = app.router.add_post("/orders/{id}", order)
    return app


if __name__ == "__main__":
    web.run_app(
        application(), host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    )
