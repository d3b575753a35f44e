"""Each address of both pages, asked with methods and bodies that a browser doesn't send."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from attrs import frozen
from looking import looked_into
from payout_pages import browsing, set_environment, write_journal

FORM: Final = "application/x-www-form-urlencoded"
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
BODIES: Final = (
    (FORM, b""),
    (FORM, b"token=\xff\xfe"),
    (FORM, b"token=%ff&secret=%00&change=%ed%a0%80"),
    (FORM, b"&=&;%zz&" * 50),
    (f"{FORM}; charset=nonsense", b"token=a"),
    (f"{FORM}; charset=utf-16", b"t\0o\0"),
    ("multipart/form-data", b"--x"),
    ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n"),
    ("multipart/form-data; boundary=x", b"--x\r\nContent-Encoding: gzip\r\n\r\na\r\n--x--"),
    ("application/json", b'{"token":'),
    ("application/json", b"\xff"),
    ("application/json; charset=nonsense", b"[" * 100_000),
    ("text/\xe9; =", b"a"),
    (FORM, b"token=" + b"a" * 1_100_000),
)


@frozen
class Answer:
    """The status and the headers of an answer, and how many bytes followed."""

    status: int
    headers: dict[str, str]
    size: int


@frozen
class Site:
    """A page under test: its address, and its paths."""

    host: str
    port: int
    cookie: str
    paths: tuple[str, ...]

    async def ask(self, method: str, path: str, kind: str = "", body: bytes = b"") -> Answer:
        """Send a request over a connection of its own, and read all until the page closes it."""
        own = f"http://{self.host}:{self.port}"
        head = [
            f"{method} {path} HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            f"Origin: {own}",
            "Sec-Fetch-Site: same-origin",
            f"Cookie: {self.cookie}",
            f"Content-Length: {len(body)}",
            *([f"Content-Type: {kind}"] if kind else []),
            "Connection: close",
        ]
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            async with asyncio.timeout(30):
                writer.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)
                first, *lines = (
                    (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                )
                headers = dict(line.split(": ", 1) for line in lines if line)
                is_stream = headers.get("Content-Type") == "text/event-stream"
                rest = b"" if is_stream and method == "GET" else await reader.read()
        finally:
            writer.transport.abort()
        return Answer(int(first.split()[1]), headers, len(rest))


@pytest.fixture(params=["emulator", "journal", "journal that may be changed"])
async def site(request, tmp_path, monkeypatch) -> AsyncIterator[Site]:
    """Yield a page."""
    if request.param == "emulator":
        async with looked_into(has_receiver=True) as looked:
            id_ = await looked.pays_out()
            lists = ("sessions", "requests", "webhooks", "settings")
            items = (f"sessions/{id_}", "requests/1", "webhooks/1", "sessions/none", "requests/99")
            acts = (f"sessions/{id_}/confirm", "webhooks/1/send", "settings/faults/add")
            calls = ("time", "wallets", "reset", "settings/rules", "settings/values", "none")
            host, port = looked.provider.url.removeprefix("http://").split(":")
            yield Site(
                *(host, int(port), ""),
                (
                    *("/emulator/", "/emulator/events", "/emulator/api/overview"),
                    *(f"/emulator/{one}" for one in (*lists[1:], *items)),
                    *(f"/emulator/api/{one}" for one in (*lists, *items, *acts, *calls)),
                ),
            )
        return
    set_environment(monkeypatch)
    written = await write_journal("sqlite", Path(tmp_path), "")
    async with browsing(written, allow_changes=request.param != "journal") as browser:
        cookie = ""
        if request.param != "journal":
            await browser.sign_in()
            [morsel] = browser.session.cookie_jar
            cookie = f"{morsel.key}={morsel.value}"
        paths = ("/", "/batch?name=may.csv", "/payouts", "/payout?key=k-paid", "/search?q=k-paid")
        more = ("/events", "/sign-in", "/change", "/none", "/payout", "/payouts?after=none")
        yield Site("127.0.0.1", browser.page.port, cookie, (*paths, *more))


async def test_each_method(site):
    """One that an address doesn't have is refused with those that it has; HEAD has no body."""
    for path in site.paths:
        for method in METHODS:
            answer = await site.ask(method, path)
            assert answer.status < 500, (method, path)
            if answer.status == 405:
                allowed = {one.strip() for one in answer.headers["Allow"].split(",")}
                assert allowed, (method, path)
                assert method not in allowed, (method, path)
            if method == "HEAD":
                assert answer.size == 0, path
                assert answer.headers.get("Content-Type") != "text/event-stream", path
            if method == "GET" and not path.endswith("/events"):
                head = await site.ask("HEAD", path)
                assert head.status in {answer.status, 405}, path


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_each_body(site, method, caplog):
    """None ends in an error of the page, and the page goes on."""
    for (kind, body), path in itertools.product(BODIES, site.paths):
        if not (method == "GET" and path.endswith("/events")):
            answer = await site.ask(method, path, kind, body)
            assert answer.status < 500, (path, kind, body[:100])
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == []
    assert (await site.ask("GET", site.paths[0])).status == 200
