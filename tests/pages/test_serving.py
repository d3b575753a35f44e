"""Serving pages: who may read them, their headers, and their events, over real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Final

import aiohttp
import pytest
from aiohttp import web

from smartglocal_async.pages import serving
from smartglocal_async.pages.serving import html_response, is_this_machine, why_refused

LINK: Final = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@contextlib.asynccontextmanager
async def served(handler, host: str = "127.0.0.1") -> AsyncGenerator[tuple[str, int]]:
    """Serve on a free port; yields host and port."""
    runner = web.ServerRunner(web.Server(handler, handler_cancellation=True), shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, host, 0).start()
    try:
        yield host, runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def page(request: web.BaseRequest) -> web.StreamResponse:
    """Answer with the page, or why not."""
    problem = why_refused(request)
    return html_response("a page", "n0") if problem is None else html_response(problem, status=403)


async def ask(headers: Mapping[str, str], method: str = "GET") -> tuple[int, str]:
    """Send a request to the page; ``PORT`` in a header is its port."""
    async with served(page) as (host, port), aiohttp.ClientSession() as session:
        sent = {name: value.replace("PORT", str(port)) for name, value in headers.items()}
        async with session.request(method, f"http://{host}:{port}/", headers=sent) as response:
            return response.status, await response.text()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost:PORT"},
        {"Host": "[::1]:PORT"},
        {"Origin": "http://127.0.0.1:PORT", "Sec-Fetch-Site": "same-origin"},
        {"Host": "LOCALHOST:PORT", "Origin": "http://localhost:PORT"},
        {"Sec-Fetch-Site": "none", **LINK},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_page_itself_and_programs_are_answered(headers, method):
    """A program sends neither Origin nor Sec-Fetch-Site."""
    assert await ask(headers, method) == (200, "a page")


async def test_a_link_of_another_site_opens_the_page():
    """It can't read it."""
    assert await ask({"Sec-Fetch-Site": "cross-site", **LINK}) == (200, "a page")


@pytest.mark.parametrize(
    "host", ["shop.example", "127.0.0.1.shop.example", "[", "192.0.2.1", "a@127.0.0.1"]
)
async def test_another_host_is_refused(host):
    """Another site's name that resolves to this machine."""
    status, text = await ask({"Host": host})
    assert status in {400, 403}
    assert "a page" not in text


@pytest.mark.parametrize(
    "origin", ["http://shop.example", "null", "http://localhost:1", "https://127.0.0.1:PORT"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_another_origin_is_refused(origin, method):
    """Another site, a frame without an origin, another port, and another scheme."""
    status, text = await ask({"Origin": origin}, method)
    assert (status, "another site" in text) == (403, True)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_form_of_another_site_is_refused(site):
    """It navigates, too, but not by a GET; and a frame isn't a document."""
    assert (await ask({"Sec-Fetch-Site": site, **LINK}, "POST"))[0] == 403
    frame = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    assert (await ask(frame))[0] == 403
    assert (await ask({"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}))[0] == 403


@pytest.mark.parametrize(
    ("address", "is_own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("0.0.0.0", False),  # noqa: S104
    ],
)
def test_which_addresses_are_this_machine(address, is_own):
    """Loopback addresses are, also those of IPv4 on a socket of IPv6."""
    found = serving.address_of(address)
    assert found is not None
    assert is_this_machine(found) is is_own


async def test_headers_of_a_page():
    """No foreign script, no frame, no cache; forms keep their Origin."""
    async with (
        served(page) as (host, port),
        aiohttp.request("GET", f"http://{host}:{port}/") as response,
    ):
        headers = response.headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'nonce-n0'" in policy
    assert "unsafe" not in policy
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"


async def test_events_arrive_until_the_client_leaves(monkeypatch):
    """Comments keep the connection open; then nothing is left of it."""
    monkeypatch.setattr(serving, "_HEARTBEAT_SECONDS", 0.05)
    queue: asyncio.Queue[str] = asyncio.Queue()
    ended = asyncio.Event()

    async def events(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await serving.send_events(request, queue.get)
        finally:
            ended.set()

    async with served(events) as (host, port), aiohttp.ClientSession() as session:
        async with session.get(f"http://{host}:{port}/") as response:
            assert response.content_type == "text/event-stream"
            assert await response.content.readuntil(b"\n\n") == b"retry: 1000\n\n"
            assert await response.content.readuntil(b"\n\n") == b": open\n\n"
            queue.put_nowait("7")
            while (line := await response.content.readuntil(b"\n\n")) == b": open\n\n":
                pass
            assert line == b"data: 7\n\n"
        async with asyncio.timeout(30):
            _ = await ended.wait()
