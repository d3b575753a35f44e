"""``emulator``: serves the emulated provider, and prints a line for each request."""

import asyncio
import secrets
import shlex
import shutil
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from attrs import asdict, define, evolve, field, frozen
from rich.cells import cell_len, set_cell_size

from .. import emulator as library
from ..errors import InvalidRequest
from ..signing import PrivateKey, PublicKey
from .app import EmulatorOptions
from .errors import named
from .output import port_named, printable, write_json, write_line
from .signals import run_async, stopped_by_signals

_HEADING: Final = ("time", "call", "key", "try", "fault", "http", "result")
_WIDTHS: Final = (8, 7, 36, 3, 12, 4, 20)
_KEY: Final = _HEADING.index("key")
_MIN_KEY_WIDTH: Final = 12
_ELLIPSIS: Final = "\N{HORIZONTAL ELLIPSIS}"


@frozen
class RequestTable:
    """Formats requests as lines of at most ``columns`` cells; None: of any length."""

    columns: int | None = None

    @classmethod
    def of_terminal(cls) -> Self:
        """Return a table as wide as the terminal, if standard output is one."""
        return cls(shutil.get_terminal_size().columns if sys.stdout.isatty() else None)

    def heading(self) -> str:
        """Return the names of the columns."""
        return self._line(_HEADING)

    def request(self, seen: library.RequestRecord) -> str:
        """Return the line of a request; the JSON output has the cells that are cut short here."""
        return self._line(
            (
                f"{seen.time:%H:%M:%S}",
                _call(seen.operation),
                seen.key or "-",
                # Without a key it is the number of the request on the server, and no attempt.
                seen.attempt if seen.key and seen.attempt else "-",
                seen.fault or "-",
                seen.http_status or "-",
                seen.session_id or seen.error_code or "-",
            )
        )

    def _line(self, cells: tuple[object, ...]) -> str:
        texts = [printable(str(cell)) for cell in cells]
        if self.columns is None:
            whole = (_padded(text, width) for text, width in zip(texts, _WIDTHS, strict=True))
            return " ".join(whole).rstrip()
        widths = list[int](_WIDTHS)
        spare = self.columns - sum(_WIDTHS) - len(_WIDTHS) + 1
        widths[_KEY] = max(_MIN_KEY_WIDTH, min(_WIDTHS[_KEY], _WIDTHS[_KEY] + spare))
        fitted = (_fitted(text, width) for text, width in zip(texts, widths, strict=True))
        return _fitted(" ".join(fitted).rstrip(), self.columns).rstrip()


def request_facts(seen: library.RequestRecord) -> dict[str, Any]:
    """Return a request as plain JSON values."""
    return asdict(seen) | {"time": seen.time.isoformat()}


def address_lines(url: str) -> Generator[str, None, None]:
    """Yield what the server is, where it listens, and the addresses to reach it at."""
    yield library.NOTICE
    here, outside = library.local_url(url), library.outside_urls(url)
    if not outside and here == url:
        yield f"It listens on {url}, for this machine only; Ctrl-C stops it."
        return
    if here == url:
        yield f"It listens on {url}, for other machines too; Ctrl-C stops it."
        return
    yield f"It listens on {url}, every address of this machine; Ctrl-C stops it."
    yield f"Reach it at {here} from this machine{_from_others(outside)}."


def _from_others(urls: tuple[str, ...]) -> str:
    return f", and at {' or '.join(urls)} from others" if urls else ""


def export_lines(settings: Mapping[str, str | None]) -> Generator[str, None, None]:
    """Yield the commands that set the environment of a client."""
    yield "In another terminal:"
    for name, value in settings.items():
        text = shlex.quote(value) if value else "<the file of the private key>"
        yield f"  export {name}={text}"
    yield ""


def report_lines(report: library.Report) -> Generator[str, None, None]:
    """Yield a line for each count of the report."""
    counts = report.as_dict()
    faults = (f"{kind} {times}" for kind, times in sorted(report.faults.items()))
    money = (_balances(code, accounts) for code, accounts in sorted(report.balances.items()))
    counts |= {"faults": ", ".join(faults) or "none", "balances": "; ".join(money) or "none"}
    for name, count in counts.items():
        yield f"  {name.replace('_', ' '):<15}{count}"


def _balances(code: str, accounts: Mapping[str, int]) -> str:
    amounts = (f"{name.replace('_', ' ')} {amount}" for name, amount in accounts.items() if amount)
    return f"{code}: {', '.join(amounts)}"


def _call(operation: str) -> str:
    # "start" for both kinds of start: the column is narrow.
    if operation.startswith("/"):
        return operation
    return operation.removeprefix("session/").partition("/")[0]


def _fitted(text: str, width: int) -> str:
    if cell_len(text) <= width:
        return _padded(text, width)
    return set_cell_size(text, width - 1) + _ELLIPSIS


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


@frozen
class EmulatorPlan:
    """What to serve."""

    host: str
    port: int
    project: str
    public_key: PublicKey
    own_key: PrivateKey | None = field(repr=False)
    faults: library.FaultScript
    rules: library.Rules
    webhook_url: str | None = None


def emulator(options: EmulatorOptions) -> None:
    """Serve until a signal stops it."""
    script = fault_script(options.faults, options.fault or (), options.fault_rate, options.seed)
    own = PrivateKey.generate() if options.public_key is None else None
    public = own.public if own else _read_key(options.public_key)
    rules = library.Rules(
        duplicates=library.Duplicates(options.duplicates),
        error_http_status=options.error_status,
        confirmation=library.Confirmation(options.confirm),
        second_start=library.Permission(options.second_start),
        idempotency_header=library.Reaction(options.idempotency_header),
        capture=library.Capture(options.capture),
        processing_seconds=options.processing_seconds,
        latency_seconds=options.latency,
        # A journal that has sessions of an earlier run must not get the same ids again.
        id_mark="" if options.seed is not None else f"{secrets.token_hex(3)}_",
    )
    plan = EmulatorPlan(
        options.host,
        options.port,
        options.project,
        public,
        own,
        script,
        rules,
        options.webhook_url,
    )
    run_async(serve(plan, EmulatorOutput(options.as_json, RequestTable.of_terminal())))


@define(eq=False)
class EmulatorOutput:
    """Prints what happens; if the reader of the output closes it, the server stops."""

    as_json: bool
    table: RequestTable = field(factory=RequestTable)
    stop: asyncio.Event = field(factory=asyncio.Event, init=False)

    def started(self, url: str, plan: EmulatorPlan, files: Mapping[str, Path]) -> None:
        """Print the address, and the settings of a client."""
        settings: dict[str, str | None] = {
            "SMARTGLOCAL_PROJECT": plan.project,
            "SMARTGLOCAL_PRIVATE_KEY": str(files["emulator"]) if plan.own_key else None,
            "SMARTGLOCAL_SERVER": (here := library.local_url(url)),
            "SMARTGLOCAL_WEBHOOK_KEY": str(files["webhooks"]),
        }
        if self.as_json:
            facts = {
                "event": "started",
                "notice": library.NOTICE,
                "url": here,
                "listens_on": url,
                "other_machines": list(library.outside_urls(url)),
                "environment": settings,
            }
            write_json(facts)
            return
        for line in address_lines(url):
            write_line(line)
        for line in export_lines(settings):
            write_line(line)
        write_line(self.table.heading())

    def request(self, seen: library.RequestRecord) -> None:
        """Print a request."""
        # Called by the server, in which an error of the output would fail a request.
        try:
            if self.as_json:
                write_json({"event": "request", **request_facts(seen)})
            else:
                write_line(self.table.request(seen))
        except OSError:
            self.stop.set()

    def stopped(self, report: library.Report) -> None:
        """Print the report."""
        if self.as_json:
            write_json({"event": "stopped", "report": report.as_dict()})
            return
        write_line("")
        write_line("Stopped. Since the start:")
        for line in report_lines(report):
            write_line(line)


async def serve(plan: EmulatorPlan, output: EmulatorOutput) -> None:
    """Serve until a signal, or until the output is closed."""
    hook = PrivateKey.generate()
    pems = {"webhooks": hook.public.pem()} | ({"emulator": k.pem()} if (k := plan.own_key) else {})
    with (
        stopped_by_signals(output.stop.set),
        _key_files(pems) as files,
        port_named(plan.port),
    ):
        async with library.run(
            public_key=plan.public_key,
            project=plan.project,
            faults=plan.faults,
            rules=plan.rules,
            host=plan.host,
            port=plan.port,
            on_request=output.request,
            webhook_url=plan.webhook_url,
            webhook_key=hook,
        ) as provider:
            output.started(provider.url, plan, files)
            _ = await output.stop.wait()
        output.stopped(provider.report())


@contextmanager
def _key_files(pems: Mapping[str, bytes]) -> Generator[Mapping[str, Path], None, None]:
    """Write keys to files that only their owner can read, and delete them when the block ends."""
    with tempfile.TemporaryDirectory(prefix="smartglocal-") as folder:
        paths = {name: Path(folder) / f"{name}.pem" for name in pems}
        for name, path in paths.items():
            path.touch(mode=0o600, exist_ok=False)
            _ = path.write_bytes(pems[name])
        yield paths


def fault_script(
    file: Path | None, shares: Sequence[str], rate: float | None, seed: int | None
) -> library.FaultScript:
    """Return the faults that one of ``--faults``, ``--fault`` and ``--fault-rate`` asks for.

    Raises:
        InvalidRequest: two of them are given, or one is invalid.

    """
    if (file is not None) + bool(shares) + (rate is not None) > 1:
        name = "--faults" if file is not None else "--fault"
        raise InvalidRequest(name, "use only one of --faults, --fault and --fault-rate")
    if shares:
        return library.FaultScript.each(_shares(shares), seed or 0)
    if file is None:
        return library.FaultScript.drops(rate or 0.0, seed or 0)
    try:
        script = library.FaultScript.from_toml(file.read_text("utf-8"))
    except UnicodeDecodeError:
        raise InvalidRequest("--faults", f"{file} isn't UTF-8 text") from None
    except InvalidRequest as error:
        raise InvalidRequest(f"--faults: {file}: {error.field}", error.problem) from None
    return script if seed is None else evolve(script, seed=seed)


def _shares(texts: Sequence[str]) -> dict[library.FaultKind, float]:
    shares: dict[library.FaultKind, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        kinds = [kind for kind in library.FaultKind if name in {kind.value, "all"}]
        if not kinds:
            known = ", ".join(library.FaultKind)
            raise InvalidRequest("--fault", f"unknown kind {name!r}; known are all, {known}")
        try:
            share = float(number)
        except ValueError:
            problem = f"expected a share from 0 to 1 after the kind, as in {name}=0.1"
            raise InvalidRequest("--fault", problem) from None
        if not 0 <= share <= 1:
            raise InvalidRequest("--fault", f"{name}: the share must be from 0 to 1")
        shares |= dict.fromkeys(kinds, share)
    return shares


def _read_key(file: Path | None) -> PublicKey:
    source = f"--public-key: {file}"
    with named(settings={"public_key": source, "private_key": source}):
        return PublicKey.from_pem(file.read_bytes() if file else b"")
