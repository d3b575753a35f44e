"""``webhooks listen`` and ``webhooks replay``: see deliveries as they come, and once more."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO
from urllib.parse import SplitResult

import typer
from attrs import define, field, frozen

from ..errors import InvalidCredentials, InvalidRequest, WebhookRefused
from ..integrations.aiohttp_web import Pairs, listening
from ..values.answers import Payment, Payout
from ..values.events import WebhookEvent
from ..webhooks import HTTP_STATUS, WebhookVerifier
from .failures import ExitCode, explained
from .grammar import Command
from .recorded import Recorded, post, read_recorded, read_url, recorder
from .screen import AsJson, counted, printable, write_json, write_line
from .serving import port_named, stopped_by_signals

app = typer.Typer(no_args_is_help=True, help="Receive the provider's webhooks, or repeat them.")
Key = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="The provider's public key, PEM; else SMARTGLOCAL_WEBHOOK_KEY."
    ),
]


@app.command(cls=Command)
def listen(  # noqa: PLR0913 - one option per setting of the server
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8081,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    path: Annotated[str, typer.Option(help="Where webhooks are posted to.")] = "/webhooks",
    public_key: Key = None,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE.jsonl", help="Add what comes to this file, bytes and headers."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify webhooks as they come, and print a line for each, until interrupted."""
    with explained(as_json=as_json):
        verifier = _verifier(public_key)
        place = _Place(host=host, port=port, path=_path(path))
        with recorder(record) as file:
            asyncio.run(_serve(place, _Told(as_json, verifier, file)))


@app.command(cls=Command)
def replay(
    recorded: Annotated[Path, typer.Argument(metavar="FILE", help="Made by listen --record.")],
    *,
    to: Annotated[
        str | None, typer.Option(metavar="URL", help="Post them there, as they came.")
    ] = None,
    public_key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Verify recorded webhooks once more, or post them to a handler of yours."""
    with explained(as_json=as_json):
        if to is not None and public_key is not None:
            raise InvalidRequest("--to", "it posts and doesn't verify; leave out --public-key")
        check = _verifying(_verifier(public_key)) if to is None else _posting(read_url(to))
        bad = 0
        for each in read_recorded(recorded):
            facts = check(each)
            bad += not facts["accepted"]
            _write({"event": "delivery", "time": each.received_at} | facts, as_json=as_json)
    if bad:
        raise typer.Exit(ExitCode.FAILED)


@frozen(kw_only=True)
class _Place:
    host: str
    port: int
    path: str


@define(eq=False)
class _Told:
    """The lines for whoever watches; once nobody reads them, they stop and so does the server."""

    as_json: bool
    verifier: WebhookVerifier = field(repr=False)
    file: BinaryIO | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)  # noqa: TID251 - the default
    enough: asyncio.Event = field(factory=asyncio.Event, init=False)
    failure: OSError | None = field(default=None, init=False)
    accepted: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)

    def started(self, url: str) -> None:
        if self.as_json:
            write_json({"event": "started", "url": url})
        else:
            write_line(f"Webhooks are received on {url}; Ctrl-C stops it.")

    def delivered(self, headers: Pairs, body: bytes | WebhookRefused) -> tuple[int, str]:
        """Verify a delivery, write it down, and say what to answer."""
        moment = self.clock().isoformat(timespec="seconds")
        facts = _verified(self.verifier, headers, body)
        self.accepted += facts["accepted"]
        self.refused += not facts["accepted"]
        try:
            if self.file is not None and isinstance(body, bytes):
                entry = Recorded(received_at=moment, headers=tuple(headers), body=body)
                _ = self.file.write(entry.line())
        except OSError as error:
            self.failure = error
            self.enough.set()
            return 503, "it can't be recorded"
        try:
            _write({"event": "delivery", "time": moment} | facts, as_json=self.as_json)
        except OSError:
            self.enough.set()
        return facts["answered"], "accepted" if facts["accepted"] else facts["fault"]

    def stopped(self) -> None:
        if self.as_json:
            write_json({"event": "stopped", "accepted": self.accepted, "refused": self.refused})
        else:
            said = f"{counted(self.accepted, 'webhook')} accepted, {self.refused:,} refused"
            write_line(f"Stopped. {said}.")


async def _serve(place: _Place, told: _Told) -> None:
    with stopped_by_signals(told.enough.set), port_named(place.port):
        async with listening(
            told.delivered,
            path=place.path,
            host=place.host,
            port=place.port,
            most_bytes=told.verifier.most_bytes,
        ) as url:
            told.started(url)
            _ = await told.enough.wait()
    if told.failure is not None:
        raise told.failure
    told.stopped()


def _verified(
    verifier: WebhookVerifier, headers: Pairs, body: bytes | WebhookRefused
) -> dict[str, Any]:
    try:
        if isinstance(body, WebhookRefused):
            raise body
        event = verifier.read(headers, body)
    except WebhookRefused as refused:
        return {
            "accepted": False,
            "answered": HTTP_STATUS[refused.fault],
            "fault": refused.fault.name.lower(),
            "reason": refused.fault.value + (f" ({refused.detail})" if refused.detail else ""),
        }
    return {"accepted": True, "answered": 200} | _told_of(event)


def _told_of(event: WebhookEvent) -> dict[str, Any]:
    session = event.session
    items: tuple[Payout | Payment, ...] = (*session.payout_list, *session.payment_list)
    return {
        "type": event.type,
        "session": session.id,
        "status": str(session.status),
        "items": [{"id": item.id, "status": str(item.status)} for item in items],
    }


def _verifying(verifier: WebhookVerifier) -> Callable[[Recorded], dict[str, Any]]:
    return lambda recorded: _verified(verifier, recorded.headers, recorded.body)


def _posting(url: SplitResult) -> Callable[[Recorded], dict[str, Any]]:
    def send(recorded: Recorded) -> dict[str, Any]:
        try:
            status = post(url, recorded)
        except OSError as error:
            return {"accepted": False, "reason": f"not answered: {error.strerror or error}"}
        is_good = status // 100 == 2  # noqa: PLR2004 - of the statuses 2xx
        return {"accepted": is_good, "answered": status, "reason": f"HTTP {status}"}

    return send


def _write(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json(facts)
        return
    said = [facts["time"], "accepted" if facts["accepted"] else "refused"]
    said += [facts[name] for name in ("type", "session", "status", "reason") if name in facts]
    said += [f"{item['id']}={item['status']}" for item in facts.get("items", ())]
    write_line(printable(" ".join(said)))


def _verifier(file: Path | None) -> WebhookVerifier:
    if file is None:
        try:
            return WebhookVerifier.from_env()
        except InvalidCredentials as error:
            raise InvalidCredentials(f"{error}; or give --public-key FILE") from None
    try:
        return WebhookVerifier(file)
    except InvalidCredentials as error:
        raise InvalidCredentials(f"--public-key: {error}") from None


def _path(path: str) -> str:
    if not path.startswith("/") or set(path) & set("{}?# ") or not path.isprintable():
        raise InvalidRequest("--path", "must begin with / and have no {, }, ?, # or space")
    return path
