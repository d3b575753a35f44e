"""Web servers on real sockets: their answers, how much they read, how they stop."""

import asyncio
import contextlib
import gzip
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Annotated, Any
from unittest.mock import Mock

import pytest
from aiohttp import StreamReader, web
from aiohttp.test_utils import TestServer, make_mocked_request
from deliveries import HEADER, TOKEN, body, payout, signed
from places import ROOT

import smartglocal_async as sg
from smartglocal_async.emulator import run as run_emulator
from smartglocal_async.integrations import _common
from smartglocal_async.integrations.aiohttp_web import (
    webhook_handler,
    webhook_lifetime,
    webhook_routes,
)
from smartglocal_async.observer import WebhookReceived, only

pytestmark = pytest.mark.both_loops

KEY = sg.PrivateKey.generate()
MOST = 2_000
GOOD = body(payments=[payout()])
NEEDS = {name: f"{name} is not installed" for name in ("starlette", "fastapi", "uvicorn")}


@contextlib.contextmanager
def listening_socket() -> Iterator[socket.socket]:
    """Return a listening socket; a server may be attached later."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@contextlib.contextmanager
def serve_aiohttp(
    webhooks: sg.Webhooks, listening: socket.socket, *middlewares: Any
) -> Iterator[None]:
    """Run an aiohttp application on a thread."""
    # The limit of `request.read`, which is not that of this package.
    app = web.Application(client_max_size=10_000 if middlewares else 10, middlewares=middlewares)
    app.cleanup_ctx.append(webhook_lifetime(webhooks))
    app.add_routes(webhook_routes(webhooks))
    running: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def live() -> None:
        stopped = asyncio.Event()
        runner = web.AppRunner(app, auto_decompress=False)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        running.set_result((asyncio.get_running_loop(), stopped))
        await stopped.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    loop, stopped = running.result(20)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()


@contextlib.contextmanager
def serve_asgi(app: Any, listening: socket.socket) -> Iterator[None]:
    """Run an ASGI application under uvicorn, on a thread."""
    uvicorn = pytest.importorskip("uvicorn", reason=NEEDS["uvicorn"])
    config = uvicorn.Config(app, ws="none", lifespan="on", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def serve_starlette(webhooks: sg.Webhooks, listening: socket.socket) -> Any:
    """Run a Starlette application with the route."""
    starlette = pytest.importorskip("starlette.applications", reason=NEEDS["starlette"])
    from smartglocal_async.integrations.starlette import webhook_lifespan, webhook_route  # noqa: PLC0415

    app = starlette.Starlette(routes=[webhook_route(webhooks)], lifespan=webhook_lifespan(webhooks))
    return serve_asgi(app, listening)


def serve_fastapi(webhooks: sg.Webhooks, listening: socket.socket) -> Any:
    """Run a FastAPI application with the dependency."""
    fastapi = pytest.importorskip("fastapi", reason=NEEDS["fastapi"])
    from smartglocal_async.integrations.starlette import webhook_event, webhook_lifespan  # noqa: PLC0415

    app = fastapi.FastAPI(lifespan=webhook_lifespan(webhooks))

    @app.post("/webhooks")
    async def receive(
        event: Annotated[sg.WebhookEvent, fastapi.Depends(webhook_event(webhooks))],
    ) -> fastapi.Response:
        receipt = await webhooks.accept(event)
        return fastapi.Response(receipt.state.value, receipt.http_status)

    return serve_asgi(app, listening)


def asgi(way: str, webhooks: sg.Webhooks) -> Any:
    """Return an ASGI application that receives by a route, or by a dependency."""
    starlette = pytest.importorskip("starlette.applications", reason=NEEDS["starlette"])
    from smartglocal_async.integrations.starlette import webhook_event, webhook_route  # noqa: PLC0415

    if way == "route":
        return starlette.Starlette(routes=[webhook_route(webhooks)])
    fastapi = pytest.importorskip("fastapi", reason=NEEDS["fastapi"])
    app = fastapi.FastAPI()

    @app.post("/webhooks")
    async def receive(
        event: Annotated[sg.WebhookEvent, fastapi.Depends(webhook_event(webhooks.verifier))],
    ) -> str:
        return event.type

    return app


SERVERS = [
    pytest.param(each, id=each.__name__.removeprefix("serve_"))
    for each in (serve_aiohttp, serve_starlette, serve_fastapi)
]


@pytest.fixture(params=SERVERS)
def serve(request) -> Iterator[Callable[..., int]]:
    """Return a function that serves webhooks and returns the port."""
    with contextlib.ExitStack() as stack:

        def start(webhooks: sg.Webhooks) -> int:
            listening = stack.enter_context(listening_socket())
            stack.enter_context(request.param(webhooks, listening))
            return listening.getsockname()[1]

        yield start


@pytest.fixture
def webhooks() -> sg.Webhooks:
    """Return webhooks that answer after their handlers; a handler fails for one session."""
    verifier = sg.WebhookVerifier(KEY.public, max_bytes=MOST)
    made = sg.Webhooks(verifier, answer=sg.webhooks.AnswerWhen.HANDLED)

    @made.on(sg.WebhookEvent)
    async def _(event: sg.WebhookEvent) -> None:
        if event.session is not None and event.session.id == "ps_bad":
            raise LookupError("no such order")

    return made


def send(
    port: int, content: Any, headers: dict[str, str], method: str = "POST", path: str = "/webhooks"
) -> tuple[int, str]:
    """Send a request; return status and text."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(line):
        line.request(method, path, content, headers)
        answer = line.getresponse()
        return answer.status, answer.read().decode()


def post(port: int, content: bytes, **headers: str) -> tuple[int, str]:
    """Send a signed delivery."""
    return send(port, content, {**signed(KEY, content), **headers})


def exact(size: int) -> bytes:
    """Return a body of this size."""
    return body(metadata="x" * (size - len(body(metadata=""))))


class TestAnswers:
    """Every framework returns the same answers."""

    @pytest.mark.parametrize(
        ("content", "headers", "answered"),
        [
            (GOOD, signed(KEY, GOOD), (200, "handled")),
            (GOOD, {"x-partner-sign": KEY.sign(GOOD)}, (200, "handled")),
            (body("brand_new"), signed(KEY, body("brand_new")), (200, "handled")),
            (exact(MOST), signed(KEY, exact(MOST)), (200, "handled")),
            (body(session="ps_bad"), signed(KEY, body(session="ps_bad")), (500, "failed")),
            (GOOD, {}, (401, "no X-PARTNER-SIGN")),
            (GOOD + b" ", signed(KEY, GOOD), (401, "none of the provider's")),
            (b"", {}, (401, "no X-PARTNER-SIGN")),
            (b"{", signed(KEY, b"{"), (400, "not JSON")),
            (b"[]", signed(KEY, b"[]"), (400, "no event")),
            (b"{}", signed(KEY, b"{}"), (200, "handled")),
            (exact(MOST + 1), signed(KEY, exact(MOST + 1)), (413, "larger")),
        ],
    )
    def test_deliveries(self, serve, webhooks, content, headers, answered):
        """200 for a handled webhook, 401 for one that isn't the provider's, and so on."""
        status, text = send(serve(webhooks), content, headers)
        assert status == answered[0]
        assert answered[1] in text

    def test_a_repeat(self, serve, webhooks):
        """One session after another, each once, over one server."""
        port = serve(webhooks)
        assert [post(port, GOOD) for _ in range(2)] == [(200, "handled"), (200, "repeated")]
        bad = body(session="ps_bad")
        assert [post(port, bad) for _ in range(2)] == [(500, "failed")] * 2

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
    def test_other_methods(self, serve, webhooks, method):
        """Only POST is accepted."""
        assert send(serve(webhooks), None, {}, method)[0] == 405

    def test_a_full_backlog(self, serve):
        """The provider is asked to redeliver."""
        webhooks = sg.Webhooks(sg.WebhookVerifier(KEY.public), backlog=1)
        go = threading.Event()

        @webhooks.on(sg.WebhookEvent)
        async def _(_: sg.WebhookEvent) -> None:
            while not go.is_set():  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(0.001)

        port = serve(webhooks)
        try:
            assert post(port, GOOD) == (200, "accepted")
            assert post(port, body(session="ps_2")) == (503, "full")
        finally:
            go.set()

    def test_compressed_bytes_are_what_is_verified(self, serve, webhooks):
        """The received bytes are verified: here they are valid, and aren't JSON."""
        packed = gzip.compress(GOOD)
        status, text = post(serve(webhooks), packed, **{"Content-Encoding": "gzip"})
        assert (status, "not JSON" in text) == (400, True)


class TestReading:
    """The body is read only up to its limit."""

    @pytest.mark.parametrize(
        "sent",
        [
            pytest.param(b"Content-Length: 1000000000\r\n\r\n", id="announced"),
            pytest.param(
                b"Transfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n" + b"x" * 1000 + b"\r\n"
                b"3e9\r\n" + b"x" * 1001 + b"\r\n",
                id="chunked",
            ),
        ],
    )
    def test_a_body_without_end(self, serve, webhooks, sent):
        """It is refused as soon as the limit is exceeded."""
        with socket.create_connection(("127.0.0.1", serve(webhooks)), 20) as line:
            line.sendall(b"POST /webhooks HTTP/1.1\r\nHost: x\r\n" + sent)
            assert line.recv(12) == b"HTTP/1.1 413"

    def test_a_body_that_does_not_come(self, serve, webhooks, monkeypatch):
        """The server waits, but not for ever."""
        monkeypatch.setattr(_common, "READ_SECONDS", 0.05)
        with socket.create_connection(("127.0.0.1", serve(webhooks)), 20) as line:
            line.sendall(b"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
            assert line.recv(12) == b"HTTP/1.1 408"

    @pytest.mark.slow
    def test_observers_receive_what_is_refused(self, serve, monkeypatch):
        """Without a signature, too large, or too slow: they are counted in each framework."""
        monkeypatch.setattr(_common, "READ_SECONDS", 1.0)
        seen = []
        webhooks = sg.Webhooks(
            sg.WebhookVerifier(KEY.public, max_bytes=MOST),
            observers=[only(WebhookReceived, lambda event: seen.append(event.fault))],
        )
        port = serve(webhooks)
        assert send(port, GOOD, {})[0] == 401
        assert post(port, b"x" * (MOST + 1))[0] == 413
        with socket.create_connection(("127.0.0.1", port), 20) as line:
            line.sendall(b"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
            assert line.recv(12) == b"HTTP/1.1 408"
        faults = sg.errors.WebhookFault
        assert seen == [
            each.value for each in (faults.NO_SIGNATURE, faults.TOO_LARGE, faults.TOO_SLOW)
        ]

    def test_sender_that_disconnects(self, serve, webhooks, caplog):
        """Half a body from a client that disconnected has no effect."""
        port = serve(webhooks)
        with socket.create_connection(("127.0.0.1", port), 20) as line:
            line.sendall(b"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        assert post(port, GOOD) == (200, "handled")
        assert "Traceback" not in caplog.text

    @pytest.mark.parametrize("way", ["route", "dependency"])
    @pytest.mark.parametrize(
        ("length", "status"),
        [
            ("9" * 5_000, 413),
            ("0" * 5_000, 200),
            ("\u00b2", 200),
            ("-1", 200),
            ("1e9", 200),
            (str(MOST + 1), 413),
        ],
    )
    async def test_any_length_over_raw_asgi(self, webhooks, way, length, status):
        """The real number of bytes counts, even if a server accepts a wrong Content-Length."""
        app, lines = asgi(way, webhooks), []
        headers = {**signed(KEY, GOOD), "content-length": length}
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/webhooks",
            "query_string": b"",
            "headers": [
                (name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()
            ],
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": GOOD}

        async def tell(message: dict[str, Any]) -> None:
            lines.append(message)

        async with webhooks:
            await app(scope, receive, tell)
        assert lines[0]["status"] == status

    @pytest.mark.parametrize(("length", "status"), [("9" * 5_000, 413), ("1e9", 200)])
    async def test_any_length_in_aiohttp(self, webhooks, length, status):
        """The parser of aiohttp refuses such a length; otherwise the answer is the same."""
        headers = {**signed(KEY, GOOD), "Content-Length": length}
        content = StreamReader(Mock(), 2**16, loop=asyncio.get_running_loop())
        content.feed_data(GOOD)
        content.feed_eof()
        request = make_mocked_request("POST", "/webhooks", headers, payload=content)
        async with webhooks:
            assert (await webhook_handler(webhooks)(request)).status == status

    def test_a_signature_that_comes_twice(self, serve, webhooks):
        """Two signatures are refused, whatever the framework does with them."""
        content = f"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: {len(GOOD)}\r\n"
        header = f"{HEADER}: {KEY.sign(GOOD)}\r\n"
        with socket.create_connection(("127.0.0.1", serve(webhooks)), 20) as line:
            line.sendall((content + header * 2 + "\r\n").encode() + GOOD)
            assert line.recv(12) == b"HTTP/1.1 401"


@pytest.mark.parametrize("size", [MOST, MOST + 1])
def test_a_middleware_that_reads_the_body(webhooks, size):
    """The body is read once, and kept; the size limit holds as without it."""

    @web.middleware
    async def logs(request: web.Request, handler: Any) -> Any:
        _ = await request.read()
        return await handler(request)

    with listening_socket() as listening, serve_aiohttp(webhooks, listening, logs):
        status = post(listening.getsockname()[1], exact(size))[0]
        empty = post(listening.getsockname()[1], b"")[0]
    assert (status, empty) == (200 if size == MOST else 413, 400)


@pytest.mark.parametrize("way", ["route", "dependency"])
def test_an_asgi_middleware_that_reads_the_body(webhooks, way):
    """Starlette keeps the body, too."""
    app = asgi(way, webhooks)
    from starlette.middleware.base import BaseHTTPMiddleware  # noqa: PLC0415

    from smartglocal_async.integrations.starlette import webhook_lifespan  # noqa: PLC0415

    app.router.lifespan_context = webhook_lifespan(webhooks)

    async def logs(request: Any, call_next: Any) -> Any:
        _ = await request.body()
        return await call_next(request)

    app.add_middleware(BaseHTTPMiddleware, dispatch=logs)
    with listening_socket() as listening, serve_asgi(app, listening):
        assert post(listening.getsockname()[1], GOOD)[0] == 200


@pytest.mark.parametrize("server", SERVERS)
def test_stopping_drains(server):
    """Handlers that run when the application stops are finished."""
    webhooks = sg.Webhooks(sg.WebhookVerifier(KEY.public))
    begun, ended = threading.Event(), []

    @webhooks.on(sg.WebhookEvent)
    async def _(event: sg.WebhookEvent) -> None:
        begun.set()
        await asyncio.sleep(0.1)
        ended.append(event.session.id)

    with listening_socket() as listening, server(webhooks, listening):
        assert post(listening.getsockname()[1], GOOD) == (200, "accepted")
        assert begun.wait(20)
    assert ended == ["ps_1"]


def test_logs_hold_no_body(serve, webhooks, caplog):
    """Refused or failed, neither content nor signature is logged."""
    port = serve(webhooks)
    contents = [body(metadata=TOKEN, session=each) for each in ("ps_1", "ps_bad")]
    contents.append(f'{{"type": "{TOKEN}", "session": 7}}'.encode())
    for content in contents:
        post(port, content)
        send(port, content, {HEADER: KEY.sign(b"other")})
    logged = caplog.text + repr([vars(record) for record in caplog.records])
    assert "a webhook was refused" in logged
    assert "a webhook handler failed" in logged
    for secret in (TOKEN, *map(KEY.sign, contents), KEY.sign(b"other")):
        assert secret not in logged


async def test_webhooks_of_the_emulator(key):
    """A whole payout: each webhook is verified, and wakes the wait."""
    async with (
        asyncio.timeout(30),
        run_emulator(public_key=key.public) as provider,
        sg.SmartGlocal(provider.project, key, provider.url) as api,
    ):
        webhooks = sg.Webhooks(sg.WebhookVerifier(provider.webhook_key), api=api)
        seen: asyncio.Queue[str] = asyncio.Queue()

        @webhooks.on(sg.ReadyToConfirm)
        async def _(event: sg.ReadyToConfirm) -> None:
            seen.put_nowait(event.type)
            await api.session.confirm(sg.SessionRef(event.session.id))

        @webhooks.on(sg.PaymentFinished)
        async def _(event: sg.PaymentFinished) -> None:
            seen.put_nowait(f"{event.type} {event.session.payout_list[0].status}")

        app = web.Application()
        app.cleanup_ctx.append(webhook_lifetime(webhooks))
        app.add_routes(webhook_routes(webhooks))
        async with TestServer(app) as server:
            provider.deliver_to(str(server.make_url("/webhooks")))
            card = sg.BankCard(number="4242424242424242")
            session = await api.session.create(
                sg.CreateSession(amount_details=sg.AmountDetails(100, "usd"), payment_method=card)
            )
            people = sg.ParticipantDetails(recipient=sg.Participant(full_name="Jane Roe"))
            await api.session.start_payout(
                sg.StartPayout(session_id=session.id, participant_details=people)
            )
            ended = await api.session.wait(
                sg.SessionRef(session.id), until=lambda each: each.is_final
            )
            told = [await seen.get(), await seen.get()]
    assert told == ["ready_to_confirm", "payment_finished succeeded"]
    assert ended.status == "accepted"


def test_the_core_needs_no_framework():
    """Without Starlette every other module can be imported, and loads none of it."""
    program = (
        "import sys\n"
        "import smartglocal_async as sg, smartglocal_async.integrations\n"
        "sg.Webhooks, sg.WebhookVerifier\n"
        "assert not {'aiohttp', 'starlette', 'fastapi'} & sys.modules.keys()\n"
        "sys.modules['starlette'] = None\n"
        "import smartglocal_async.integrations.aiohttp_web\n"
        "try:\n"
        "    import smartglocal_async.integrations.starlette\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.split() == [b"starlette.exceptions"]


def test_the_example(tmp_path):
    """It receives a signed delivery, refuses another, and stops on a signal."""
    (tmp_path / "provider.pem").write_bytes(KEY.public.pem())
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(ROOT / "examples/webhooks_aiohttp.py"), str(port)],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SMARTGLOCAL_WEBHOOK_KEY": str(tmp_path / "provider.pem"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            wait_for_port(port, running)
            assert post(port, GOOD) == (200, "accepted")
            assert send(port, GOOD, {})[0] == 401
        finally:
            running.send_signal(signal.SIGTERM)
            written, complaints = running.communicate(timeout=30)
    assert "payout po_1 is succeeded" in written
    assert "Traceback" not in complaints
    assert running.returncode in {0, -signal.SIGTERM}


def free_port() -> int:
    """Return a free port that the system doesn't assign to other servers.

    The system's range begins above it; otherwise an example that starts slowly might find its port
    used by another test.
    """
    for _ in range(100):
        port = random.randrange(20_000, 32_000)  # noqa: S311 - no secret
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free between 20,000 and 32,000")


def wait_for_port(port: int, running: subprocess.Popen[str]) -> None:
    """Wait until a server accepts connections there."""
    until = time.monotonic() + 30
    while time.monotonic() < until and running.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise AssertionError("the example didn't start")
