"""`webhooks listen` and `webhooks replay`: what they print, what they keep, how they end."""

import asyncio
import base64
import contextlib
import http.client
import io
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from deliveries import HEADER, TOKEN, body, payout, signed
from places import ROOT
from typer.testing import CliRunner

import smartglocal_async as sg
from smartglocal_async.cli import webhooks as command
from smartglocal_async.cli.app import app
from smartglocal_async.cli.webhooks import RecordedWebhook, recorder

pytestmark = pytest.mark.slow

KEY = sg.PrivateKey.generate()
GOOD = body(payments=[payout(metadata=TOKEN)])
STEERING = body("\x1b[31mred", session="ps\u202e1")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """Work in a folder with the provider's key, and no environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SMARTGLOCAL_WEBHOOK_KEY", raising=False)
    (tmp_path / "provider.pem").write_bytes(KEY.public.pem())
    return tmp_path


def invoke(*arguments: str, code: int = 0, **environment: str):
    """Run a command, and have it end with this code."""
    result = CliRunner().invoke(app, ["webhooks", *arguments], env=environment)
    assert result.exit_code == code, result.output
    return result


@contextlib.contextmanager
def listener(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `webhooks listen` on a free port; kill it if the test didn't end it."""
    with subprocess.Popen(
        (
            *(sys.executable, "-m", "smartglocal_async", "webhooks", "listen", "--port", "0"),
            *("--public-key", "provider.pem", "--json", *arguments),
        ),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running, json.loads(running.stdout.readline())["url"]
        finally:
            if running.poll() is None:
                running.kill()


def send(url: str, content: bytes, headers: dict[str, str], method: str = "POST") -> int:
    """Send a delivery; return the status."""
    parts = urlsplit(url)
    line = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    with contextlib.closing(line):
        line.request(method, parts.path, content, headers)
        return line.getresponse().status


def record(*deliveries: tuple[dict[str, str], bytes]) -> Path:
    """Write a file as `listen --record` does."""
    file = Path("recorded.jsonl")
    lines = [
        RecordedWebhook(
            received_at="2026-11-22T10:00:00+00:00", headers=tuple(headers.items()), body=each
        )
        for headers, each in deliveries
    ]
    file.write_bytes(b"".join(line.line() for line in lines))
    return file


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_listen_until_interrupted(number, home):
    """Each delivery is a line and a record; a signal ends it in good order."""
    with listener("--record", "kept.jsonl", "--path", "/in/here") as (running, url):
        assert url.endswith("/in/here")
        assert send(url, GOOD, signed(KEY, GOOD)) == 200
        assert send(url, GOOD, {HEADER: KEY.sign(b"other")}) == 401
        assert send(url, b"x" * 1_000_001, {}) == 413
        assert send(url, b"", {}, "GET") == 405
        assert send(url.replace("/in/", "/"), GOOD, {}) == 404
        running.send_signal(number)
        written, complaints = running.communicate(timeout=30)
    assert (running.returncode, complaints) == (0, "")
    events = [json.loads(line) for line in written.splitlines()]
    assert [each.get("fault", each["event"]) for each in events] == [
        "delivery",
        "bad_signature",
        "too_large",
        "stopped",
    ]
    assert events[0] == {
        "event": "delivery",
        "time": events[0]["time"],
        "accepted": True,
        "answered": 200,
        "type": "payment_finished",
        "session": "ps_1",
        "status": "accepted",
        "items": [{"id": "po_1", "status": "succeeded"}],
    }
    assert events[-1] == {"event": "stopped", "accepted": 1, "refused": 2}
    for secret in (TOKEN, KEY.sign(GOOD), KEY.sign(b"other")):
        assert secret not in written
    kept = home / "kept.jsonl"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    bodies = [RecordedWebhook.of_line(line).body for line in kept.read_bytes().splitlines()]
    assert bodies == [GOOD, GOOD]


def test_nobody_reading_ends_it():
    """When the reader of its lines goes away, the delivery is answered, and then it ends."""
    with listener() as (running, url):
        running.stdout.close()
        assert send(url, GOOD, signed(KEY, GOOD)) == 200
        assert running.wait(30) in {0, 1}


def told(*, as_json: bool = False, file=None) -> command.WebhookOutput:
    """Return what tells of deliveries, at noon."""
    verifier = sg.WebhookVerifier(KEY.public)
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    return command.WebhookOutput(as_json, verifier, file, clock=lambda: noon)


@pytest.mark.parametrize(
    ("headers", "content", "line"),
    [
        (
            signed(KEY, GOOD),
            GOOD,
            "accepted payment_finished ps_1 accepted po_1=succeeded",
        ),
        (signed(KEY, STEERING), STEERING, "accepted red ps1 accepted"),
        ({}, GOOD, "refused it carries no X-PARTNER-SIGN"),
        (signed(KEY, b"{"), b"{", "refused it is signed, but not JSON (line 1, column 2)"),
    ],
)
async def test_lines(headers, content, line, capsys):
    """A line says when, whether, and what; nothing in it steers the terminal."""
    status, _ = told().delivered(list(headers.items()), content)
    assert capsys.readouterr().out == f"2026-01-02T12:00:00+00:00 {line}\n"
    assert (status == 200) == line.startswith("accepted")


async def test_the_whole_story(capsys):
    """Off JSON it says where, each delivery, and the sum."""
    spoken = told()
    urls = asyncio.Queue()

    class Telling(command.WebhookOutput):
        def started(self, url: str) -> None:
            super().started(url)
            urls.put_nowait(url)

    spoken = Telling(as_json=False, verifier=sg.WebhookVerifier(KEY.public))
    async with asyncio.TaskGroup() as group:
        group.create_task(command.serve("127.0.0.1", 0, "/webhooks", spoken))
        url = await urls.get()
        assert await asyncio.to_thread(send, url, GOOD, signed(KEY, GOOD)) == 200
        os.kill(os.getpid(), signal.SIGTERM)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Webhooks are received on {url}; Ctrl-C stops it."
    assert lines[-1] == "Stopped. 1 webhook accepted, 0 refused."


async def test_a_record_that_can_not_be_written():
    """The delivery isn't answered with 200, and the command ends with the reason."""

    class Full(io.BytesIO):
        def write(self, _) -> int:
            raise OSError(28, "No space left on device")

    spoken = told(file=Full())
    status, _ = spoken.delivered(list(signed(KEY, GOOD).items()), GOOD)
    assert (status, spoken.stop.is_set()) == (503, True)
    with pytest.raises(OSError, match="No space left"):
        await command.serve("127.0.0.1", 0, "/", spoken)


async def test_lines_that_nobody_takes():
    """They end the server, and never the delivery."""

    class Gone(io.StringIO):
        encoding = "utf-8"

        def write(self, _: str) -> int:
            raise BrokenPipeError

    spoken = told()
    with contextlib.redirect_stdout(Gone()):
        status, _ = spoken.delivered(list(signed(KEY, GOOD).items()), GOOD)
    assert (status, spoken.stop.is_set()) == (200, True)


def test_replay_verifies():
    """Every record is read again: code 0 when all are the provider's, 1 when one isn't."""
    record((signed(KEY, GOOD), GOOD))
    good = invoke("replay", "recorded.jsonl", SMARTGLOCAL_WEBHOOK_KEY="provider.pem")
    assert good.stdout.splitlines() == [
        "2026-11-22T10:00:00+00:00 accepted payment_finished ps_1 accepted po_1=succeeded"
    ]
    record((signed(KEY, GOOD), GOOD), ({HEADER: "x"}, GOOD))
    bad = invoke("replay", "recorded.jsonl", "--public-key", "provider.pem", "--json", code=1)
    events = [json.loads(line) for line in bad.stdout.splitlines()]
    assert [each["accepted"] for each in events] == [True, False]
    assert (events[1]["fault"], events[1]["answered"]) == ("bad_signature", 401)
    assert TOKEN not in good.output + bad.output


class Handler(BaseHTTPRequestHandler):
    """Keeps what comes; answers as its body asks for."""

    def do_POST(self) -> None:
        """Answer."""
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append((self.path, self.headers.items(), content))
        answers = {b"payment_refunded": 503, b"ready_to_confirm": 204}
        self.send_response(next((answers[word] for word in answers if word in content), 200))
        self.end_headers()

    def log_message(self, *_) -> None:
        """Say nothing."""


@pytest.fixture
def handler() -> Iterator[HTTPServer]:
    """Return a server that keeps what comes."""
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.came = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_replay_posts(handler):
    """The same bytes, the same headers but those of the connection; the status decides."""
    headers = {**signed(KEY, GOOD), "Host": "shop.example", "X-Trace": "1", "Content-Length": "7"}
    file = str(record((headers, GOOD)))
    port = handler.server_address[1]
    url = f"http://127.0.0.1:{port}/hooks?a=1"
    done = invoke("replay", file, "--to", url)
    assert done.stdout == "2026-11-22T10:00:00+00:00 accepted HTTP 200\n"
    ((path, came, content),) = handler.came
    assert (path, content) == ("/hooks?a=1", GOOD)
    assert dict(came) == {
        **signed(KEY, GOOD),
        "X-Trace": "1",
        "Host": f"127.0.0.1:{port}",
        "Content-Length": str(len(GOOD)),
    }
    refund, ready = body("payment_refunded"), body("ready_to_confirm")
    record((headers, GOOD), (signed(KEY, refund), refund), (signed(KEY, ready), ready))
    bad = invoke("replay", file, "--to", url, "--json", code=1)
    lines = [json.loads(line) for line in bad.stdout.splitlines()]
    # The provider delivers again after any status but 200.
    assert [(line["answered"], line["accepted"]) for line in lines] == [
        (200, True),
        (503, False),
        (204, False),
    ]


def test_replay_to_nobody():
    """An address where nothing listens is reported, and is no success."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = str(record((signed(KEY, GOOD), GOOD)))
    done = invoke("replay", file, "--to", f"http://127.0.0.1:{port}/", code=1)
    assert "refused not answered: Connection refused" in done.stdout


def test_replay_to_what_is_no_web_server():
    """An answer that isn't HTTP is none; nor is a header that can't be sent."""
    with socket.create_server(("127.0.0.1", 0)) as odd:

        def answer() -> None:
            line, _ = odd.accept()
            with line:
                line.recv(65_536)
                line.sendall(b"hello\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{odd.getsockname()[1]}/"
        file = str(record((signed(KEY, GOOD), GOOD)))
        assert "no HTTP answer" in invoke("replay", file, "--to", url, code=1).stdout
        thread.join()
        file = str(record(({"X-Odd": "a\nb"}, GOOD)))
        assert "no HTTP answer" in invoke("replay", file, "--to", url, code=1).stdout


def test_recorded_headers_keep_their_bytes():
    """What isn't text in a header comes back as it was."""
    headers = (
        ("X-Odd", b"\xff\xc3\xa4".decode("utf-8", "surrogateescape")),
        ("x", "1"),
        ("x", "2"),
    )
    line = RecordedWebhook(received_at="now", headers=headers, body=b"\x00\xff")
    again = RecordedWebhook.of_line(line.line())
    assert again == line
    assert TOKEN not in repr(RecordedWebhook(received_at="now", headers=(("a", TOKEN),), body=GOOD))


def test_a_record_grows(home):
    """What is there stays, with the permissions it has."""
    kept = home / "kept"
    kept.write_text("first\n")
    kept.chmod(0o640)
    with recorder(kept) as file:
        file.write(b"second\n")
    assert kept.read_text() == "first\nsecond\n"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "7",
        "{}",
        '{"received_at": "", "headers": [["a"]], "body_base64": ""}',
        '{"received_at": "", "headers": [["a", 7]], "body_base64": ""}',
        '{"received_at": "", "headers": [], "body_base64": "!"}',
        '{"received_at": "", "headers": [], "body_base64": null}',
        "[" * 100_000,
        "\ufffd",
    ],
)
def test_records_that_are_none(line):
    """The line is named by its number, and not shown."""
    record((signed(KEY, GOOD), GOOD))
    with Path("recorded.jsonl").open("a") as file:
        file.write(f"\n{line}\n")
    result = invoke("replay", "recorded.jsonl", "--public-key", "provider.pem", code=2)
    assert result.stderr == "smartglocal: recorded.jsonl, line 3: isn't a recorded webhook\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("listen",), "set SMARTGLOCAL_WEBHOOK_KEY"),
        (("listen",), "or use --public-key FILE"),
        (("replay", "empty"), "set SMARTGLOCAL_WEBHOOK_KEY"),
        (("listen", "--public-key", "absent"), "--public-key: the public key absent can't be read"),
        (("listen", "--public-key", "private.pem"), "--public-key: the public key private.pem is"),
        (("listen", "--public-key", "provider.pem", "--path", "x"), "--path: must begin with /"),
        (("listen", "--public-key", "provider.pem", "--path", "/{x}"), "--path: must begin with /"),
        (("listen", "--public-key", "provider.pem", "--record", "no/file"), "no/file: No such"),
        (("replay", "absent", "--public-key", "provider.pem"), "absent: No such file"),
        (("replay", "empty", "--to", "localhost"), "--to: must be an address"),
        (("replay", "empty", "--to", "ftp://host"), "--to: must be an address"),
        (("replay", "empty", "--to", "http://host:99999"), "--to: must be an address"),
        (("replay", "empty", "--to", "http://me:pass@host"), "--to: must be an address"),
        (("replay", "empty", "--to", "http://h", "--public-key", "k"), "leave out --public-key"),
    ],
)
def test_misuse_is_one_line(arguments, words):
    """What can't be used is named in one line, with exit code 2."""
    Path("empty").touch()
    Path("private.pem").write_bytes(KEY.pem())
    result = invoke(*arguments, code=2)
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert base64.b64encode(b"pass").decode() not in result.output


def test_taken_port_is_one_line():
    """A port that is in use ends it with exit code 2 and the reason."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = invoke("listen", "--port", port, "--public-key", "provider.pem", code=2)
    words = f"smartglocal: port {port} is in use; use another --port, or 0 for a free one\n"
    assert result.stderr == words
