"""``emulator``: the provider in a box as a process, which prints requests as they come."""

import asyncio
import shlex
import shutil
import signal
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from attrs import asdict, define, evolve, field, frozen

from .. import emulator as box
from ..errors import InvalidRequest
from ..signing import PrivateKey, PublicKey
from .failures import explained
from .screen import AsJson, printable, write_json, write_line

_HEADING: Final = ("time", "operation", "key", "try", "fault", "status", "session or code")
_WIDTHS: Final = (12, 14, 0, 3, 12, 6, 0)
# What the other columns take; the key gets the rest of a line, as far as a UUID needs it.
_OTHER_COLUMNS: Final = 67
_KEY_WIDTHS: Final = (12, 36)
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - only when asked for


@frozen(kw_only=True)
class Plan:
    """What to run."""

    host: str
    port: int
    project: str
    public_key: PublicKey
    own_key: PrivateKey | None = field(repr=False)
    faults: box.FaultScript
    rules: box.Rules


def emulator(  # noqa: PLR0913 - one option per setting of the server
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    public_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="PEM of the partner's key; without it, makes a pair."),
    ] = None,
    project: Annotated[str, typer.Option(help="The X-PARTNER-PROJECT to accept.")] = "demo",
    seed: Annotated[int | None, typer.Option(help="Same seed, same faults.")] = None,
    faults: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Script of faults.")
    ] = None,
    drop_rate: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Share of attempts that meet a fault of a mix."),
    ] = None,
    duplicates: Annotated[
        box.Duplicates, typer.Option(help="What a second order with one key gets.")
    ] = box.Duplicates.REPLAY,
    error_status: Annotated[
        int, typer.Option(min=200, max=599, help="HTTP status of error envelopes.")
    ] = 400,
    as_json: AsJson = False,
) -> None:
    """Run a provider in a box, until interrupted.

    It checks signatures, and goes wrong on request.
    """
    with explained(as_json=as_json):
        script = _script(faults, drop_rate, seed)
        own = PrivateKey.generate() if public_key is None else None
        plan = Plan(
            host=host,
            port=port,
            project=project,
            public_key=own.public if own else _read_key(public_key),
            own_key=own,
            faults=script,
            rules=box.Rules(duplicates=duplicates, error_http_status=error_status),
        )
        asyncio.run(_serve(plan, _Told(as_json, _key_width())))


@define(eq=False)
class _Told:
    """The lines for whoever watches; once nobody reads them, they stop and so does the server."""

    as_json: bool
    key_width: int = 0
    enough: asyncio.Event = field(factory=asyncio.Event, init=False)

    def started(self, url: str, plan: Plan, key_file: Path | None) -> None:
        settings = {
            "SMARTGLOCAL_PROJECT": plan.project,
            "SMARTGLOCAL_PRIVATE_KEY": key_file and str(key_file),
            "SMARTGLOCAL_SERVER": url,
        }
        if self.as_json:
            write_json({"event": "started", "url": url, "environment": settings})
            return
        write_line(f"The emulator listens on {url}; Ctrl-C stops it.")
        write_line("In another terminal:")
        for name, value in settings.items():
            said = shlex.quote(value) if value else "<the file of the private key>"
            write_line(f"  export {name}={said}")
        write_line("")
        write_line(_columns(_HEADING, self.key_width))

    def request(self, seen: box.Seen) -> None:
        # The server must not suffer when nobody reads its lines any more.
        try:
            if self.as_json:
                write_json({"event": "request", **_plain(seen)})
            else:
                write_line(_columns(_cells(seen), self.key_width))
        except OSError:
            self.enough.set()

    def stopped(self, report: box.Report) -> None:
        if self.as_json:
            write_json({"event": "stopped", "report": report.as_dict()})
            return
        counts = report.as_dict()
        faults = ", ".join(f"{kind} {times}" for kind, times in sorted(report.faults.items()))
        write_line("")
        write_line("Stopped. Since the start:")
        for name, count in (counts | {"faults": faults or "none"}).items():
            write_line(f"  {name.replace('_', ' '):<15}{count}")


async def _serve(plan: Plan, told: _Told) -> None:
    with _stops(told.enough.set), _key_file(plan.own_key) as key_file:
        async with box.run(
            public_key=plan.public_key,
            project=plan.project,
            faults=plan.faults,
            rules=plan.rules,
            host=plan.host,
            port=plan.port,
            on_request=told.request,
        ) as provider:
            told.started(_reachable(provider.url), plan, key_file)
            _ = await told.enough.wait()
        told.stopped(provider.report())


@contextmanager
def _stops(stop: Callable[[], object]) -> Generator[None, None, None]:
    """Have SIGINT and SIGTERM end the server in good order."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in signals:
            _ = loop.remove_signal_handler(number)


@contextmanager
def _key_file(key: PrivateKey | None) -> Generator[Path | None, None, None]:
    """Keep a key in a file of the owner's alone for as long as the server lives."""
    if key is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="smartglocal-") as folder:
        path = Path(folder) / "emulator.pem"
        path.touch(mode=0o600, exist_ok=False)
        _ = path.write_bytes(key.pem())
        yield path


def _script(file: Path | None, drop_rate: float | None, seed: int | None) -> box.FaultScript:
    if file is not None and drop_rate is not None:
        raise InvalidRequest("--faults", "give it or --drop-rate, not both")
    if file is None:
        return box.FaultScript.drops(drop_rate or 0.0, seed or 0)
    try:
        script = box.FaultScript.from_toml(file.read_text("utf-8"))
    except UnicodeDecodeError:
        raise InvalidRequest("--faults", f"{file} isn't UTF-8 text") from None
    return script if seed is None else evolve(script, seed=seed)


def _read_key(file: Path | None) -> PublicKey:
    return PublicKey.from_pem(file.read_bytes() if file else b"")


def _reachable(url: str) -> str:
    """Give an address for this machine, where the server listens on all of them."""
    scheme, _, rest = url.partition("://")
    host, _, port = rest.rpartition(":")
    return f"{scheme}://{_EVERYWHERE.get(host.strip('[]'), host)}:{port}"


def _plain(seen: box.Seen) -> dict[str, Any]:
    return asdict(seen) | {"time": seen.time.isoformat()}


def _cells(seen: box.Seen) -> tuple[object, ...]:
    return (
        f"{seen.time:%H:%M:%S.%f}"[:12],
        seen.operation,
        seen.key or "-",
        seen.attempt or "-",
        seen.fault or "-",
        seen.http_status or "-",
        seen.session_id or seen.error_code or "-",
    )


def _columns(cells: tuple[object, ...], key_width: int) -> str:
    padded = (
        f"{printable(str(text)):<{width or key_width}}"
        for text, width in zip(cells, _WIDTHS, strict=True)
    )
    return "  ".join(padded).rstrip()


def _key_width() -> int:
    least, most = _KEY_WIDTHS
    spare = shutil.get_terminal_size((_OTHER_COLUMNS + most, 24)).columns - _OTHER_COLUMNS
    return max(least, min(spare, most))
