"""``emulator``: serves the emulated provider, and prints a line for each request."""

import asyncio
import errno
import secrets
import shlex
import shutil
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self

from attrs import asdict, define, field, frozen
from rich.cells import cell_len, set_cell_size

from .. import emulator as library
from ..keys import PrivateKey, PublicKey
from .app import EmulatorOptions
from .emulator_config import EmulatorPlan, read_plan
from .errors import named
from .keys import OWNER_ONLY, KeyFolder, write_new
from .output import port_named, printable, write_json, write_line
from .signals import run_async, stopped_by_signals

_HEADING: Final = ("time", "call", "key", "try", "fault", "http", "result")
_WIDTHS: Final = (8, 7, 36, 3, 12, 4, 20)
_KEY: Final = _HEADING.index("key")
_MIN_KEY_WIDTH: Final = 12
_PRIVATE_KEY: Final = "SMARTGLOCAL_PRIVATE_KEY"
_WEBHOOK_KEY: Final = "SMARTGLOCAL_WEBHOOK_KEY"
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
    facts = asdict(seen) | {"time": seen.time.isoformat()}
    del facts["counted_under"]  # The metadata may hold private values.
    return facts


def address_lines(url: str) -> Generator[str, None, None]:
    """Yield what the server is, where it listens, and the addresses to reach it at."""
    yield library.NOTICE
    here, outside = library.local_url(url), library.outside_urls(url)
    if not outside and here == url:
        yield f"It listens on {url}, for this machine only; Ctrl-C stops it."
    elif here == url:
        yield f"It listens on {url}, for other machines too; Ctrl-C stops it."
    else:
        yield f"It listens on {url}, every address of this machine; Ctrl-C stops it."
        yield f"Reach it at {here} from this machine{_from_others(outside)}."
    if (page := library.page_url(url)) is not None:
        yield f"See requests, sessions and webhooks at {page}"


def _from_others(urls: tuple[str, ...]) -> str:
    return f", and at {' or '.join(urls)} from others" if urls else ""


def export_lines(environment: Mapping[str, str | None]) -> Generator[str, None, None]:
    """Yield the commands that set the environment of a client."""
    yield "In another terminal:"
    for name, value in environment.items():
        text = shlex.quote(value) if value else "<the file of the private key>"
        yield f"  export {name}={text}"
    yield ""


def env_lines(environment: Mapping[str, str | None]) -> Generator[str, None, None]:
    """Yield the lines of a file with the environment of a client."""
    yield "# Of an emulator for tests, whose keys are test keys."
    for name, value in environment.items():
        yield f"{name}={shlex.quote(value)}" if value else f"# {name}=the file of the private key"


def env_file_lines(path: Path) -> Generator[str, None, None]:
    """Yield the command that reads the file with the environment of a client."""
    yield "In another terminal:"
    yield f"  set -a; . {shlex.quote(str(path.absolute()))}; set +a"
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
    return f"{code}: {', '.join(amounts) or '0'}"


def _call(operation: str) -> str:
    # "start" for both kinds of start: the column is narrow.
    if operation.startswith("/"):
        return operation
    return operation.removeprefix("session/").removeprefix("exchange_").partition("/")[0]


def _fitted(text: str, width: int) -> str:
    if cell_len(text) <= width:
        return _padded(text, width)
    return set_cell_size(text, width - 1) + _ELLIPSIS


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


@frozen(kw_only=True)
class EmulatorKeys:
    """The keys of the emulator and of its client, and the files that the client reads."""

    client: PublicKey
    webhooks: PrivateKey = field(repr=False)
    files: Mapping[str, Path]
    """By variable of the client's environment."""


def emulator(options: EmulatorOptions) -> None:
    """Serve until a signal stops it."""
    plan = read_plan(options)
    run_async(serve(plan, EmulatorOutput(options.as_json, RequestTable.of_terminal())))


@define(eq=False)
class EmulatorOutput:
    """Prints what happens; if the reader of the output closes it, the server stops."""

    as_json: bool
    table: RequestTable = field(factory=RequestTable)
    stop: asyncio.Event = field(factory=asyncio.Event, init=False)

    def started(self, url: str, plan: EmulatorPlan, environment: Mapping[str, str | None]) -> None:
        """Print the address, and the settings of a client."""
        if self.as_json:
            facts = {
                "event": "started",
                "notice": library.NOTICE,
                "url": library.local_url(url),
                "listens_on": url,
                "page": library.page_url(url),
                "other_machines": list(library.outside_urls(url)),
                "environment": environment,
                "env_file": plan.env_file and str(plan.env_file.absolute()),
            }
            write_json(facts)
            return
        for line in address_lines(url):
            write_line(line)
        for line in env_file_lines(plan.env_file) if plan.env_file else export_lines(environment):
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
    with (
        stopped_by_signals(output.stop.set),
        _keys(plan) as keys,
        port_named(plan.port),
    ):
        async with library.run(
            public_key=keys.client,
            project=plan.project,
            faults=plan.faults,
            rules=plan.rules,
            webhooks=plan.webhooks,
            host=plan.host,
            port=plan.port,
            on_request=output.request,
            webhook_url=plan.webhook_url,
            webhook_key=keys.webhooks,
        ) as provider:
            environment = _environment(provider.url, plan, keys)
            if plan.env_file is not None:
                _write_environment(plan.env_file, environment, replaces=plan.overwrite)
            output.started(provider.url, plan, environment)
            _ = await output.stop.wait()
        output.stopped(provider.report())


def _environment(url: str, plan: EmulatorPlan, keys: EmulatorKeys) -> dict[str, str | None]:
    """Return the variables of a client; None for the file of a key that the emulator lacks."""
    variables: dict[str, str | None] = {
        "SMARTGLOCAL_PROJECT": plan.project,
        _PRIVATE_KEY: None,
        "SMARTGLOCAL_SERVER": library.local_url(url),
    }
    return variables | {name: str(path) for name, path in keys.files.items()}


def _write_environment(
    path: Path, environment: Mapping[str, str | None], *, replaces: bool
) -> None:
    """Write the variables to a file that only its owner can read.

    Raises:
        OSError: there is such a file with other contents, and it isn't to be replaced; or it can't
            be written.

    """
    text = "".join(f"{line}\n" for line in env_lines(environment)).encode()
    if not (path.exists() or path.is_symlink()):
        write_new((path, text, OWNER_ONLY))
        return
    if path.is_file() and path.read_bytes() == text:
        return
    if not replaces:
        problem = "exists already; use --overwrite to replace it, or another --env-file"
        raise FileExistsError(errno.EEXIST, problem, path)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    write_new((beside, text, OWNER_ONLY))
    try:
        _ = beside.replace(path)  # Whole or not at all, and never through a link.
    except OSError:
        beside.unlink()
        raise


@contextmanager
def _keys(plan: EmulatorPlan) -> Generator[EmulatorKeys, None, None]:
    """Yield the keys of the folder of ``--keys``, or new ones that are deleted at the end."""
    with ExitStack() as stack:
        path = plan.keys or Path(stack.enter_context(_new_folder()))
        folder = KeyFolder(path.absolute(), plan.name("keys"))
        with folder.locked():
            hook = folder.key("webhooks.pem")
            files = {_WEBHOOK_KEY: folder.public("webhooks.pub.pem", hook)}
            if plan.public_key is None:
                client = folder.key(name := "emulator.pem").public
                files = {_PRIVATE_KEY: folder.path / name, **files}
            else:
                client = _read_key(plan.public_key, plan.name("public_key"))
        yield EmulatorKeys(client=client, webhooks=hook, files=files)


def _new_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="smartglocal-")


def _read_key(file: Path, name: str) -> PublicKey:
    source = f"{name}: {file}"
    with named(settings={"public_key": source, "private_key": source}):
        return PublicKey.from_pem(file.read_bytes())
