"""The documentation's examples for Litestar and Django, served by uvicorn (`nox -s frameworks`)."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from places import ROOT

import smartglocal_async as sg
from smartglocal_async.integrations import asgi
from smartglocal_async.integrations.service import Service

pytestmark = pytest.mark.slow

EVENT = sg.PaymentFinished(session=sg.Session(id="ps_1", status="accepted"))
PAGE = (ROOT / "docs/how-to/web-service.md").read_text(encoding="utf-8")
[LITESTAR, DJANGO] = re.findall(
    r"^```py\n(.*?)^```$", PAGE.partition("## Litestar, Django")[2], re.MULTILINE | re.DOTALL
)


def example(code: str, **names: Any) -> dict[str, Any]:
    """Run an example of the page with its imports; return its names."""
    found = {"sg": sg, "Service": Service, **vars(asgi), **names}
    exec(compile(code, "<example>", "exec"), found)  # noqa: S102
    return found


@contextlib.asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """Serve an application with its lifespan; yield its address."""
    uvicorn = pytest.importorskip("uvicorn")
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="on"))
    server.install_signal_handlers = lambda: None
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(60):
        serving = tasks.create_task(server._serve())
        while not server.started:
            assert not serving.done()
            await asyncio.sleep(0.01)
        [socket] = server.servers[0].sockets
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
        server.should_exit = True


async def received(found: dict[str, Any], address: str, deliver: Any) -> list[str]:
    """Deliver an event and a forged one; return the types of the handled events."""
    handled: list[str] = []

    @found["service"].webhooks.on(sg.PaymentFinished)
    async def handle(event: sg.PaymentFinished) -> None:
        handled.append(event.type)

    assert await deliver(EVENT, to=f"{address}/webhooks") == 200
    headers = {"Content-Type": "application/json", "X-PARTNER-SIGN": "AAAA"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{address}/webhooks", data=b"{}", headers=headers) as answer,
    ):
        assert answer.status in {400, 401, 403}
    return handled


@pytest.mark.usefixtures("smartglocal_environment")
async def test_litestar(smartglocal_deliver) -> None:
    """It mounts the webhooks, and opens and closes the service."""
    litestar = pytest.importorskip("litestar")
    found = example(LITESTAR, Litestar=litestar.Litestar, asgi=litestar.asgi)
    async with served(found["app"]) as address:
        assert await received(found, address, smartglocal_deliver) == ["payment_finished"]
    with pytest.raises(sg.PoolClosed):
        await found["service"].api.wallet.balance()


@pytest.mark.usefixtures("smartglocal_environment")
async def test_django(smartglocal_deliver) -> None:
    """Webhooks are received beside Django's own pages, and the service is closed at the end."""
    _ = pytest.importorskip("django")
    import django.conf  # noqa: PLC0415
    import django.core.asgi  # noqa: PLC0415
    import django.http  # noqa: PLC0415
    import django.urls  # noqa: PLC0415

    page = django.urls.path("hello", lambda _: django.http.HttpResponse("hello"))
    secret = {"SECRET_KEY": "of this test"}
    django.conf.settings.configure(ROOT_URLCONF=(page,), ALLOWED_HOSTS=["*"], **secret)
    django.setup()
    found = example(DJANGO, get_asgi_application=django.core.asgi.get_asgi_application)
    async with served(found["application"]) as address:
        assert await received(found, address, smartglocal_deliver) == ["payment_finished"]
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{address}/hello") as answer,
        ):
            assert (answer.status, await answer.text()) == (200, "hello")
    with pytest.raises(sg.PoolClosed):
        await found["service"].api.wallet.balance()
