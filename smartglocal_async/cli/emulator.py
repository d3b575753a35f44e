"""``emulator``: the provider in a box as a process, which prints requests as they come."""

import asyncio
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from attrs import define, evolve, field, frozen

from .. import emulator as box
from ..errors import InvalidCredentials, InvalidRequest
from ..signing import PrivateKey, PublicKey
from .emulator_lines import Lines, export_lines, plain, reachable, report_lines
from .failures import explained
from .screen import AsJson, write_json, write_line
from .serving import port_named, stopped_by_signals


@frozen
class Plan:
    """What to run."""

    host: str
    port: int
    project: str
    public_key: PublicKey
    own_key: PrivateKey | None = field(repr=False)
    faults: box.FaultScript
    rules: box.Rules
    webhook_url: str | None = None


Host: TypeAlias = Annotated[str, typer.Option(help="Address to listen on.")]
Port: TypeAlias = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")]
Key: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="PEM of the partner's key; without it, makes a pair."),
]
Project: TypeAlias = Annotated[str, typer.Option(help="The X-PARTNER-PROJECT to accept.")]
Seed: TypeAlias = Annotated[int | None, typer.Option(help="Same seed, same faults.")]
Faults: TypeAlias = Annotated[
    Path | None, typer.Option(metavar="FILE.toml", help="Script of faults.")
]
DropRate: TypeAlias = Annotated[
    float | None,
    typer.Option(min=0.0, max=1.0, help="Share of attempts that meet a fault of a mix."),
]
Duplicates: TypeAlias = Annotated[
    box.Duplicates, typer.Option(help="What a second session/create with one key gets.")
]
ErrorStatus: TypeAlias = Annotated[
    int, typer.Option(min=200, max=599, help="HTTP status of error envelopes.")
]
WebhookUrl: TypeAlias = Annotated[
    str | None, typer.Option(metavar="URL", help="Where webhooks go; without it, nowhere.")
]
Confirmation: TypeAlias = Annotated[
    box.Confirmation, typer.Option(help="Whether operations wait for session/confirm.")
]
SecondStart: TypeAlias = Annotated[
    box.Permission, typer.Option(help="Whether one session takes a second payout.")
]
UsedKey: TypeAlias = Annotated[
    box.Reaction, typer.Option(help="What a used X-PARTNER-IDEMPOTENCY-KEY meets.")
]
Capture: TypeAlias = Annotated[
    box.Capture, typer.Option(help="Whether payments wait for session/capture.")
]
Seconds: TypeAlias = Annotated[
    float, typer.Option(min=0.0, help="How long each step of an operation takes.")
]
Latency: TypeAlias = Annotated[
    float, typer.Option(min=0.0, metavar="SECONDS", help="How much later every answer comes.")
]


def emulator(  # noqa: PLR0913 - one option per setting of the server
    *,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    public_key: Key = None,
    project: Project = "demo",
    seed: Seed = None,
    faults: Faults = None,
    drop_rate: DropRate = None,
    duplicates: Duplicates = box.Duplicates.REPLAY,
    error_status: ErrorStatus = 400,
    webhook_url: WebhookUrl = None,
    confirmation: Confirmation = box.Confirmation.MANUAL,
    second_start: SecondStart = box.Permission.REFUSE,
    idempotency_header: UsedKey = box.Reaction.IGNORE,
    capture: Capture = box.Capture.IMMEDIATE,
    processing_seconds: Seconds = 0.0,
    latency: Latency = 0.0,
    as_json: AsJson = False,
) -> None:
    """Run a provider in a box, until interrupted.

    It checks signatures, plays sessions to their end, and goes wrong on request.
    """
    with explained(as_json=as_json):
        script = _script(faults, drop_rate, seed)
        own = PrivateKey.generate() if public_key is None else None
        public = own.public if own else _read_key(public_key)
        rules = box.Rules(
            duplicates=duplicates,
            error_http_status=error_status,
            confirmation=confirmation,
            second_start=second_start,
            idempotency_header=idempotency_header,
            capture=capture,
            processing_seconds=processing_seconds,
            latency_seconds=latency,
        )
        plan = Plan(host, port, project, public, own, script, rules, webhook_url)
        asyncio.run(_serve(plan, _Told(as_json, Lines.of_terminal())))


@define(eq=False)
class _Told:
    """The lines for whoever watches; once nobody reads them, they stop and so does the server."""

    as_json: bool
    lines: Lines = field(factory=Lines)
    enough: asyncio.Event = field(factory=asyncio.Event, init=False)

    def started(self, url: str, plan: Plan, files: Mapping[str, Path]) -> None:
        settings: dict[str, str | None] = {
            "SMARTGLOCAL_PROJECT": plan.project,
            "SMARTGLOCAL_PRIVATE_KEY": str(files["emulator"]) if plan.own_key else None,
            "SMARTGLOCAL_SERVER": url,
            "SMARTGLOCAL_WEBHOOK_KEY": str(files["webhooks"]),
        }
        if self.as_json:
            write_json({"event": "started", "url": url, "environment": settings})
            return
        write_line(f"The emulator listens on {url}; Ctrl-C stops it.")
        for line in export_lines(settings):
            write_line(line)
        write_line(self.lines.heading())

    def request(self, seen: box.Seen) -> None:
        # The server must not suffer when nobody reads its lines any more.
        try:
            if self.as_json:
                write_json({"event": "request", **plain(seen)})
            else:
                write_line(self.lines.request(seen))
        except OSError:
            self.enough.set()

    def stopped(self, report: box.Report) -> None:
        if self.as_json:
            write_json({"event": "stopped", "report": report.as_dict()})
            return
        write_line("")
        write_line("Stopped. Since the start:")
        for line in report_lines(report):
            write_line(line)


async def _serve(plan: Plan, told: _Told) -> None:
    hook = PrivateKey.generate()
    pems = {"webhooks": hook.public.pem()} | ({"emulator": k.pem()} if (k := plan.own_key) else {})
    with (
        stopped_by_signals(told.enough.set),
        _key_files(pems) as files,
        port_named(plan.port),
    ):
        async with box.run(
            public_key=plan.public_key,
            project=plan.project,
            faults=plan.faults,
            rules=plan.rules,
            host=plan.host,
            port=plan.port,
            on_request=told.request,
            webhook_url=plan.webhook_url,
            webhook_key=hook,
        ) as provider:
            told.started(reachable(provider.url), plan, files)
            _ = await told.enough.wait()
        told.stopped(provider.report())


@contextmanager
def _key_files(pems: Mapping[str, bytes]) -> Generator[Mapping[str, Path], None, None]:
    """Keep keys in files of the owner's alone for as long as the server lives."""
    with tempfile.TemporaryDirectory(prefix="smartglocal-") as folder:
        paths = {name: Path(folder) / f"{name}.pem" for name in pems}
        for name, path in paths.items():
            path.touch(mode=0o600, exist_ok=False)
            _ = path.write_bytes(pems[name])
        yield paths


def _script(file: Path | None, drop_rate: float | None, seed: int | None) -> box.FaultScript:
    if file is not None and drop_rate is not None:
        raise InvalidRequest("--faults", "give it or --drop-rate, not both")
    if file is None:
        return box.FaultScript.drops(drop_rate or 0.0, seed or 0)
    try:
        script = box.FaultScript.from_toml(file.read_text("utf-8"))
    except UnicodeDecodeError:
        raise InvalidRequest("--faults", f"{file} isn't UTF-8 text") from None
    except InvalidRequest as error:
        raise InvalidRequest(f"--faults: {file}: {error.field}", error.problem) from None
    return script if seed is None else evolve(script, seed=seed)


def _read_key(file: Path | None) -> PublicKey:
    try:
        return PublicKey.from_pem(file.read_bytes() if file else b"")
    except InvalidCredentials as error:
        raise InvalidCredentials(f"--public-key: {file}: {error}") from None
