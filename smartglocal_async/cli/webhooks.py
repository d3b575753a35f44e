"""``webhooks``: receives and verifies webhooks, records them, and replays the records."""

import asyncio
import base64
import binascii
import http.client
import json
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Self, cast
from urllib.parse import SplitResult, urlsplit

from attrs import define, field, frozen

from ..errors import InvalidCredentials, InvalidRequest, WebhookRefused
from ..integrations.aiohttp_web import Pairs, listening
from ..models.answers import Payment, Payout
from ..models.events import WebhookEvent
from ..webhooks.verifier import DELIVERED, HTTP_STATUS, WebhookVerifier
from .app import ListenOptions, ReplayOptions
from .errors import ExitCode
from .output import counted, port_named, printable, write_json, write_line
from .signals import run_async, stopped_by_signals

_OWNER_ONLY: Final = 0o600
_TIMEOUT_SECONDS: Final = 60.0
# Headers of one connection, which http.client writes itself.
_CONNECTION_HEADERS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection"}
)


@frozen(kw_only=True)
class RecordedWebhook:
    """One delivery, with its original headers and body, which has personal data of customers."""

    received_at: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)

    def line(self) -> bytes:
        """Return the line of the file: a JSON object."""
        wire = {
            "received_at": self.received_at,
            "headers": self.headers,
            "body_base64": base64.b64encode(self.body).decode("ascii"),
        }
        return json.dumps(wire).encode("ascii") + b"\n"

    @classmethod
    def of_line(cls, line: bytes) -> Self:
        """Read a line of the file.

        Raises:
            ValueError: it isn't a recorded webhook.

        """
        try:
            wire: dict[str, Any] = json.loads(line)
            pairs = cast("list[tuple[str, str]]", wire["headers"])
            headers = tuple((_text(name), _text(value)) for name, value in pairs)
            body = base64.b64decode(_text(wire["body_base64"]), validate=True)
            return cls(received_at=_text(wire["received_at"]), headers=headers, body=body)
        except (KeyError, TypeError, ValueError, RecursionError, binascii.Error):
            raise ValueError("isn't a recorded webhook") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def read_recorded(path: Path) -> Iterator[RecordedWebhook]:
    """Yield the deliveries that are in a file now, in their order.

    Lines that are added while it is read are left out: the handler to which they are replayed may
    record to the same file.
    """
    with path.open("rb") as lines:
        end = os.fstat(lines.fileno()).st_size
        for number, line in enumerate(iter(lines.readline, b""), 1):
            if lines.tell() > end:
                return
            if not line.strip():
                continue
            try:
                yield RecordedWebhook.of_line(line)
            except ValueError as error:
                raise InvalidRequest(f"{path}, line {number}", str(error)) from None


@contextmanager
def recorder(path: Path | None) -> Generator[BinaryIO | None, None, None]:
    """Open a file to append lines; only its owner can read a new one."""
    if path is None:
        yield None
        return
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    with os.fdopen(os.open(path, flags, _OWNER_ONLY), "ab", buffering=0) as file:
        yield cast("BinaryIO", file)


def read_url(text: str) -> SplitResult:
    """Return the address of a handler.

    Raises:
        InvalidRequest: it isn't an HTTP address.

    """
    try:
        url = urlsplit(text)
        is_usable = url.scheme in {"http", "https"} and url.hostname and url.port != 0
    except ValueError:
        is_usable = False
        url = SplitResult("", "", "", "", "")
    if not is_usable or "@" in url.netloc or not text.isascii() or not text.isprintable():
        raise InvalidRequest("--to", "must be an address like http://127.0.0.1:8000/webhooks")
    return url


def post(url: SplitResult, recorded: RecordedWebhook) -> int:
    """Send the recorded bytes and headers to the address, and return the HTTP status.

    Raises:
        OSError: there was no answer.

    """
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=_TIMEOUT_SECONDS)
    try:
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        connection.putrequest("POST", path, skip_accept_encoding=True)
        for name, value in recorded.headers:
            if name.lower() not in _CONNECTION_HEADERS:
                connection.putheader(name, value.encode("utf-8", "surrogateescape"))
        connection.putheader("Content-Length", str(len(recorded.body)))
        connection.endheaders(recorded.body)
        with connection.getresponse() as answer:
            return answer.status
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"no HTTP answer ({type(error).__name__})") from None
    finally:
        connection.close()


def listen(options: ListenOptions) -> None:
    """Receive webhooks until a signal stops it."""
    verifier = _verifier(options.public_key)
    path = _checked_path(options.path)
    with recorder(options.record) as file:
        output = WebhookOutput(options.as_json, verifier, file)
        run_async(serve(options.host, options.port, path, output))


def replay(options: ReplayOptions) -> ExitCode:
    """Verify or post each recorded webhook, and print the results."""
    if options.to is None:
        check = _verifying(_verifier(options.public_key))
    elif options.public_key is None:
        check = _posting(read_url(options.to))
    else:
        raise InvalidRequest("--to", "posts without verifying; leave out --public-key")
    refused = 0
    for recorded in read_recorded(options.recorded):
        facts = check(recorded)
        refused += not facts["accepted"]
        _write({"event": "delivery", "time": recorded.received_at} | facts, as_json=options.as_json)
    return ExitCode.FAILED if refused else ExitCode.DONE


@define(eq=False)
class WebhookOutput:
    """Prints each delivery; if the reader of the output closes it, the server stops."""

    as_json: bool
    verifier: WebhookVerifier = field(repr=False)
    file: BinaryIO | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)  # noqa: TID251 - the default
    stop: asyncio.Event = field(factory=asyncio.Event, init=False)
    failure: OSError | None = field(default=None, init=False)
    accepted: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)

    def started(self, url: str) -> None:
        """Print the address."""
        if self.as_json:
            write_json({"event": "started", "url": url})
        else:
            write_line(f"Webhooks are received on {url}; Ctrl-C stops it.")

    def delivered(self, headers: Pairs, body: bytes | WebhookRefused) -> tuple[int, str]:
        """Verify, record and print a delivery; return the status and the text of the answer."""
        moment = self.clock().isoformat(timespec="seconds")
        facts = _verified(self.verifier, headers, body)
        self.accepted += facts["accepted"]
        self.refused += not facts["accepted"]
        try:
            if self.file is not None and isinstance(body, bytes):
                entry = RecordedWebhook(received_at=moment, headers=tuple(headers), body=body)
                _ = self.file.write(entry.line())
        except OSError as error:
            self.failure = error
            self.stop.set()
            return 503, "it can't be recorded"
        try:
            _write({"event": "delivery", "time": moment} | facts, as_json=self.as_json)
        except OSError:
            self.stop.set()
        return facts["answered"], "accepted" if facts["accepted"] else facts["fault"]

    def stopped(self) -> None:
        """Print the counts."""
        if self.as_json:
            write_json({"event": "stopped", "accepted": self.accepted, "refused": self.refused})
        else:
            counts = f"{counted(self.accepted, 'webhook')} accepted, {self.refused:,} refused"
            write_line(f"Stopped. {counts}.")


async def serve(host: str, port: int, path: str, output: WebhookOutput) -> None:
    """Receive webhooks until a signal, or until they can't be recorded or printed."""
    with stopped_by_signals(output.stop.set), port_named(port):
        async with listening(
            output.delivered, path=path, host=host, port=port, max_bytes=output.verifier.max_bytes
        ) as url:
            output.started(url)
            _ = await output.stop.wait()
    if output.failure is not None:
        raise output.failure
    output.stopped()


def _verified(
    verifier: WebhookVerifier, headers: Pairs, body: bytes | WebhookRefused
) -> dict[str, Any]:
    try:
        if isinstance(body, WebhookRefused):
            raise body
        event = verifier.verify(headers, body)
    except WebhookRefused as refused:
        return {
            "accepted": False,
            "answered": HTTP_STATUS[refused.fault],
            "fault": refused.fault.name.lower(),
            "reason": refused.fault.value + (f" ({refused.detail})" if refused.detail else ""),
        }
    return {"accepted": True, "answered": DELIVERED} | _event_facts(event)


def _event_facts(event: WebhookEvent) -> dict[str, Any]:
    session = event.session
    if session is None:
        return {"type": event.type, "session": None, "status": None, "items": []}
    items: tuple[Payout | Payment, ...] = (*session.payout_list, *session.payment_list)
    return {
        "type": event.type,
        "session": session.id,
        "status": str(session.status),
        "items": [{"id": item.id, "status": str(item.status)} for item in items],
    }


def _verifying(verifier: WebhookVerifier) -> Callable[[RecordedWebhook], dict[str, Any]]:
    return lambda recorded: _verified(verifier, recorded.headers, recorded.body)


def _posting(url: SplitResult) -> Callable[[RecordedWebhook], dict[str, Any]]:
    def send(recorded: RecordedWebhook) -> dict[str, Any]:
        try:
            status = post(url, recorded)
        except OSError as error:
            return {"accepted": False, "reason": f"not answered: {error.strerror or error}"}
        return {"accepted": status == DELIVERED, "answered": status, "reason": f"HTTP {status}"}

    return send


def _write(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json(facts)
        return
    words = [facts["time"], "accepted" if facts["accepted"] else "refused"]
    words += [facts[name] for name in ("type", "session", "status", "reason") if name in facts]
    words += [f"{item['id']}={item['status']}" for item in facts.get("items", ())]
    write_line(printable(" ".join(words)))


def _verifier(file: Path | None) -> WebhookVerifier:
    if file is None:
        try:
            return WebhookVerifier.from_env()
        except InvalidCredentials as error:
            raise InvalidCredentials(f"{error}; or use --public-key FILE") from None
    try:
        return WebhookVerifier(file)
    except InvalidCredentials as error:
        raise InvalidCredentials(f"--public-key: {error}") from None


def _checked_path(path: str) -> str:
    if not path.startswith("/") or set(path) & set("{}?# ") or not path.isprintable():
        raise InvalidRequest("--path", "must begin with / and have no {, }, ?, # or space")
    return path
