"""A running emulator to look into: a client's calls, a receiver of webhooks, and the admin API."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any, Final

import aiohttp
from aiohttp import web
from attrs import define, field
from emulated import pay, payout

from smartglocal_async.emulator import Provider, run
from smartglocal_async.keys import PrivateKey
from smartglocal_async.testing import EmulatorAdmin

KEY: Final = PrivateKey.generate()
HOOK: Final = PrivateKey.generate()


@define(eq=False)
class LookedInto:
    """An emulator, its admin API, and a client that signs as it is asked to."""

    provider: Provider
    http: aiohttp.ClientSession
    admin: EmulatorAdmin
    received: list[bytes] = field(factory=list[bytes])
    """The webhooks that arrived."""
    answers: asyncio.Event = field(factory=asyncio.Event)
    """Whether the receiver answers now; clear it to have it wait."""

    def __attrs_post_init__(self) -> None:
        self.answers.set()

    async def call(
        self,
        operation: str,
        request: object,
        *,
        key: str | None = None,
        signed: bytes | None = None,
    ) -> dict[str, Any]:
        """Make a call, signed over its body or over other bytes; return the answer."""
        if key is not None and isinstance(request, dict):
            request = {**request, "metadata": {"idempotency_key": key}}
        body = json.dumps(request).encode()
        signature = KEY.sign(body if signed is None else signed)
        headers = {"X-PARTNER-PROJECT": "demo", "X-PARTNER-SIGN": signature}
        url = f"{self.provider.url}/api/v1/{operation}"
        async with self.http.post(url, data=body, headers=headers) as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def pays_out(self, amount: int = 100_00, key: str | None = None) -> str:
        """Start a payout; return the id of its session, which waits for a confirm."""
        answer = await self.call("session/init/payout", payout(amount), key=key)
        return answer["session"]["id"]

    async def is_paid(self, amount: int = 100_00, key: str | None = None, **more: Any) -> str:
        """Start a payment; return the id of its session."""
        answer = await self.call("session/init/payment", pay(amount, **more), key=key)
        return answer["session"]["id"]

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Return the status and the text of an address under ``/emulator/``."""
        url = f"{self.provider.url}/emulator/{path}"
        async with self.http.get(url, headers=headers) as answer:
            return answer.status, await answer.text()


@contextlib.asynccontextmanager
async def looked_into(*, has_receiver: bool = False, **options: Any) -> AsyncGenerator[LookedInto]:
    """Run an emulator, perhaps with a receiver of webhooks that answers 200."""
    made: list[LookedInto] = []

    async def receive(request: web.BaseRequest) -> web.Response:
        [looked] = made
        looked.received.append(await request.read())
        _ = await looked.answers.wait()
        return web.Response()

    async with contextlib.AsyncExitStack() as stack:
        if has_receiver:
            runner = web.ServerRunner(web.Server(receive), shutdown_timeout=0)
            await runner.setup()
            _ = stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            options["webhook_url"] = f"http://{host}:{port}/hook"
        provider = await stack.enter_async_context(
            run(public_key=KEY.public, webhook_key=HOOK, **options)
        )
        http = await stack.enter_async_context(aiohttp.ClientSession())
        made.append(LookedInto(provider, http, EmulatorAdmin(provider.url)))
        yield made[0]
