"""A gateway between the client and the emulator that replaces some answers."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

import aiohttp
from aiohttp import web
from attrs import frozen

from smartglocal_async import emulator

Change = Callable[[str, bytes, bytes], bytes | web.Response | None]
"""Takes the call, the request body and the answer body; returns what the client receives."""
_DROPPED: Final = frozenset({"host", "content-length", "transfer-encoding"})


@frozen
class Gateway:
    """The address of the gateway, which replaces the provider's."""

    project: str
    url: str


@contextlib.asynccontextmanager
async def gateway(
    provider: emulator.Provider,
    change: Change,
    *,
    stops: Callable[[str, bytes], bool] | None = None,
) -> AsyncIterator[Gateway]:
    """Pass requests on and replace answers; the provider gets only the requests passed on."""

    async def passed(request: web.Request) -> web.Response:
        call, body = request.path.split("/", 3)[3], await request.read()
        status, answer = 200, b""
        if stops is None or not stops(call, body):
            headers = {k: v for k, v in request.headers.items() if k.lower() not in _DROPPED}
            url = f"{provider.url}{request.path}"
            async with client.request(request.method, url, data=body, headers=headers) as reply:
                status, answer = reply.status, await reply.read()
        changed = change(call, body, answer)
        if isinstance(changed, web.Response):
            return changed
        content = answer if changed is None else changed
        return web.Response(body=content, status=status, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", passed)
    runner = web.AppRunner(app)
    async with aiohttp.ClientSession() as client:
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            yield Gateway(provider.project, f"http://127.0.0.1:{port}")
        finally:
            await runner.cleanup()
