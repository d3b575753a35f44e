"""``emulator``: the provider in a box as a process, which prints requests as they come."""

import asyncio
import errno
import shlex
import signal
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from attrs import asdict, define, evolve, field, frozen

from .. import emulator as box
from ..errors import InvalidCredentials, InvalidRequest
from ..signing import PrivateKey, PublicKey
from .emulator_lines import Lines
from .failures import explained
from .screen import AsJson, write_json, write_line

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
        asyncio.run(_serve(plan, _Told(as_json, Lines.of_terminal())))


@define(eq=False)
class _Told:
    """The lines for whoever watches; once nobody reads them, they stop and so does the server."""

    as_json: bool
    lines: Lines = field(factory=Lines)
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
        write_line(self.lines.heading())

    def request(self, seen: box.Seen) -> None:
        # The server must not suffer when nobody reads its lines any more.
        try:
            if self.as_json:
                write_json({"event": "request", **_plain(seen)})
            else:
                write_line(self.lines.request(seen))
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
    with _stops(told.enough.set), _key_file(plan.own_key) as key_file, _port_named(plan.port):
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
    """Have a signal end the server in good order, and so does a terminal that is closed."""
    loop = asyncio.get_running_loop()
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup has its way.
        signals.append(signal.SIGHUP)
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


@contextmanager
def _port_named(port: int) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        words = f"port {port} is in use; give another --port, or 0 for a free one"
        raise OSError(errno.EADDRINUSE, words) from None


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


def _reachable(url: str) -> str:
    """Give an address for this machine, where the server listens on all of them."""
    scheme, _, rest = url.partition("://")
    host, _, port = rest.rpartition(":")
    return f"{scheme}://{_EVERYWHERE.get(host.strip('[]'), host)}:{port}"


def _plain(seen: box.Seen) -> dict[str, Any]:
    return asdict(seen) | {"time": seen.time.isoformat()}
