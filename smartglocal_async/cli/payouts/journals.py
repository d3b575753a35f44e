"""Finds and opens the journal of a command."""

import asyncio
import hashlib
import os
import re
import shlex
import subprocess
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, NoReturn, Protocol, TypeVar, cast

import platformdirs
from attrs import define, field

from ...client import SmartGlocal
from ...encryption import KEY_VARIABLE, RequestCipher
from ...envelope import AttemptResult
from ...errors import InvalidCredentials, InvalidRequest, JournalBusy, Misuse
from ...journal.entries import Batch, BatchTotal, Entry, OperatorAction
from ...journal.journal import Journal
from ...journal.postgres.address import without_secrets
from ...journal.postgres.journal import PostgresJournal
from ...journal.rows import scope_of
from ...journal.sqlite import SQLiteJournal
from ...journal.states import Step
from ...observer.delivery import Observer
from ...observer.events import AttemptEnded
from ...payouts.payouts import Payouts
from ...payouts.protocol import Mode
from ...payouts.review import JournalReader
from ...settings import Credentials, Settings, read_credentials, without_key
from ..errors import CommandFailed, ExitCode, named
from ..output import printable, remark
from ..signals import run_async
from .options import JOURNAL_VARIABLE, FormatOptions

_SCHEMES: Final = ("postgres://", "postgresql://")
OPTION: Final = "--journal"
_MANUAL: Final = "manual"
_FIELDS: Final = {"PostgresJournal.dsn": OPTION, "PostgresJournal.schema": f"{OPTION} ?schema="}


class BatchLister(Protocol):
    """A journal that lists its batches."""

    async def batches(self) -> tuple[Batch, ...]:
        """Return all batches, the oldest first."""
        ...

    async def counts_by_batch(self) -> Mapping[str | None, Mapping[Step, int]]:
        """Count the entries of each batch by step; those of no batch are under None."""
        ...


class StoredJournal(Journal, BatchLister, Protocol):
    """A journal of the command line, in a file or in a database."""


class StoredBook(JournalReader, BatchLister, Protocol):
    """A journal of the command line, opened for reading."""

    async def totals(self, late_before: float) -> tuple[BatchTotal, ...]:
        """Count and add up the entries by batch, step and currency, in one pass over all."""
        ...

    async def revision(self) -> int:
        """Return a number that changes with each commit of another process."""
        ...

    async def stored_id(self) -> str:
        """Return the id of the journal that is at this place now."""
        ...

    async def find(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        ...

    async def by_session(self, session_id: str) -> Entry | None:
        """Return the entry that uses this session, or used it before."""
        ...

    async def actions(
        self, limit: int, *, batch: str | None = None, key: str | None = None
    ) -> tuple[OperatorAction, ...]:
        """Return what operators changed, the newest first."""
        ...


def is_address(text: str) -> bool:
    """Return whether a journal is in a database, not in a file."""
    return text.startswith(_SCHEMES)


def journal_of(text: str, *, may_make: bool = True) -> StoredJournal:
    """Return the journal at a path, or at the address of a PostgreSQL database.

    With ``may_make`` it is created when it is opened, if it doesn't exist.

    Raises:
        InvalidRequest: the address is invalid, or empty.
        Misuse: the extra for databases isn't installed.

    """
    if not is_address(text):
        check_place(text)
        return SQLiteJournal(text, may_make=may_make)
    try:
        # Imported when it is used: it needs an extra.
        from ...journal.postgres import PostgresJournal  # noqa: PLC0415
    except ModuleNotFoundError:
        extra = "the extra postgres: pip install 'smartglocal-async[postgres]'"
        raise Misuse(f"{OPTION}: a journal in PostgreSQL needs {extra}") from None
    with named(_FIELDS):
        return cast("StoredJournal", PostgresJournal(text, may_make=may_make))


def is_there(journal: str) -> bool:
    """Return whether the journal's file exists; a database is assumed to exist."""
    return is_address(journal) or Path(journal).exists()


def existing(journal: str) -> None:
    """Refuse a path without a journal: only some commands create one.

    Raises:
        InvalidRequest: there is no journal.

    """
    check_place(journal)
    if not is_there(journal):
        fix = "correct the path (`payouts pay` creates a new journal)"
        raise InvalidRequest(OPTION, f"there is no journal {journal}; {fix}")


def shown(text: str) -> str:
    """Return the name of a journal as the next command can use it, without a password."""
    return without_secrets(text) if is_address(text) else text


def check_place(text: str) -> None:
    """Check that it is a path, or the address of a database.

    Raises:
        InvalidRequest: it is neither.

    """
    if not text:
        raise InvalidRequest(OPTION, "is empty")
    if is_address(text):
        _ = journal_of(text)
    elif "://" in text:
        raise InvalidRequest(OPTION, "expected a path, or an address such as postgres://...")


_MAX_COMMAND: Final = 120
_PS_SECONDS: Final = 5.0


def command_of(pid: str) -> str:
    """Return the command of a process, without addresses; empty if it can't be found out."""
    if not pid.isdecimal():
        return ""
    try:
        raw = Path("/proc", pid, "cmdline").read_bytes()
    except OSError:
        raw = _from_ps(pid)
    words = [os.fsdecode(word) for word in raw.rstrip(b"\0").split(b"\0")]
    text = printable(" ".join("***" if "://" in word else word for word in words))
    return text if len(text) <= _MAX_COMMAND else f"{text[:_MAX_COMMAND]}..."


def _from_ps(pid: str) -> bytes:
    command = ["/bin/ps", "-o", "command=", "-p", pid]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program, and a number
            command, capture_output=True, timeout=_PS_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return b""
    return done.stdout.strip().replace(b" ", b"\0")


T = TypeVar("T")

_RETRY_SECONDS: Final = 0.2
_UNREACHED: Final = frozenset({AttemptResult.NOT_SENT, AttemptResult.MISCONFIGURED})


@define(eq=False)
class Reachability:
    """Whether any attempt of a client reached the provider."""

    _failures: int = field(default=0, init=False)
    _is_reached: bool = field(default=False, init=False)

    @property
    def is_unreachable(self) -> bool:
        """Whether attempts were made, and none reached the provider."""
        return self._failures > 0 and not self._is_reached

    def on_attempt(self, attempt: AttemptEnded) -> None:
        """Note the result of an attempt."""
        if attempt.happened in _UNREACHED:
            self._failures += 1
        else:
            self._is_reached = True


def client_of(server: str | None, observers: Sequence[Observer] = ()) -> SmartGlocal:
    """Return a client; ``server`` replaces SMARTGLOCAL_SERVER.

    Raises:
        InvalidCredentials: a setting is missing or invalid; the text names it.

    """
    with _server_named(server):
        return SmartGlocal.from_env(
            settings=Settings(observers=tuple(observers)), environment=_variables(server)
        )


class _NoKey:
    """The signer of commands that send nothing."""

    async def sign(self, body: bytes) -> NoReturn:
        """Raise an error."""
        del body
        raise InvalidCredentials("this command sends nothing, and has no key to sign with")


@asynccontextmanager
async def keyless(
    journal: Journal, server: str | None, wait: float = 0.0
) -> AsyncGenerator[Payouts]:
    """Open a journal for a command that sends nothing: it needs the project, but no key.

    Raises:
        InvalidCredentials: the project or the server is missing or invalid.
        JournalUnusable: the journal can't be opened.

    """
    with _server_named(server):
        given = without_key(_variables(server), _NoKey())
        client = SmartGlocal(
            given.project,
            given.private_key,
            given.server,
            submerchant=given.submerchant,
            api_version=given.api_version,
        )
    async with client, opened(Payouts(client, journal), wait) as payouts:
        yield payouts


def credentials_of(server: str | None) -> Credentials:
    """Return the project and the server of the environment; the key isn't read.

    Raises:
        InvalidCredentials: one is missing or invalid.

    """
    with _server_named(server):
        given = without_key(_variables(server), _NoKey())
        found = read_credentials(given, allow_plain_http=False)
        if isinstance(found, InvalidCredentials):
            raise found
        return found


@asynccontextmanager
async def opened(payouts: Payouts, seconds: float) -> AsyncGenerator[Payouts]:
    """Open the journal of payouts; wait for another process that uses its file.

    Waits for ``seconds`` at most, and names the process on standard error.

    Raises:
        JournalBusy: the other process still uses it.
        JournalUnusable: it can't be opened.

    """
    async with AsyncExitStack() as stack:
        ends, is_reported = time.monotonic() + seconds, False
        while True:
            try:
                _ = await stack.enter_async_context(payouts)
            except JournalBusy as busy:
                if time.monotonic() >= ends:
                    raise JournalBusy(busy.path, _who(busy.pid)) from None
                if not is_reported:
                    is_reported = True
                    limit = f"for {seconds:g} s at most (--wait)"
                    remark(f"waiting for process {_who(busy.pid)}, which uses {busy.path}, {limit}")
                await _pause()
            else:
                break
        yield payouts


async def _pause() -> None:
    try:
        await asyncio.sleep(_RETRY_SECONDS)
    except asyncio.CancelledError:
        message = "interrupted while waiting for the journal; nothing was sent"
        facts = {"type": "Interrupted", "outcome": "not_sent", "message": message}
        raise CommandFailed(ExitCode.INTERRUPTED, message, facts) from None


def _who(pid: str) -> str:
    command = command_of(pid)
    return f"{pid} ({command})" if command else pid


def _variables(server: str | None) -> dict[str, str]:
    return dict(os.environ) | ({} if server is None else {"SMARTGLOCAL_SERVER": server})


def _server_named(server: str | None) -> AbstractContextManager[None]:
    """Name ``--server`` in an error about the server, if the option set it."""
    return named(settings={} if server is None else {"server": "--server"})


def server_of(server: str | None) -> str:
    """Return the address of the server, from the option or the environment."""
    return os.environ.get("SMARTGLOCAL_SERVER", "") if server is None else server


def payouts_of(client: SmartGlocal, journal: Journal, mode: Mode = Mode.MANUAL) -> Payouts:
    """Return the payouts of a client over a journal, which keeps requests if there is a key for it.

    Raises:
        InvalidCredentials: SMARTGLOCAL_JOURNAL_KEY is invalid.

    """
    return Payouts(client, journal, mode=mode, cipher=RequestCipher.from_env())


def with_payouts(
    journal: str, server: str | None, wait: float, act: Callable[[Payouts], Awaitable[T]]
) -> T:
    """Run an action on the payouts of an existing journal, without sending anything.

    Raises:
        InvalidRequest: there is no such journal.
        InvalidCredentials: the project or the server is missing or invalid.

    """
    existing(journal)

    async def done() -> T:
        async with keyless(journal_of(journal, may_make=False), server, wait) as payouts:
            return await act(payouts)

    return run_async(done())


def required(text: str | None) -> str:
    """Return the address that a command needs which can't use the default journal.

    Raises:
        InvalidRequest: there is none.

    """
    if text is None:
        problem = f"required, here or in {JOURNAL_VARIABLE}: postgres://user@host/database"
        raise InvalidRequest(OPTION, problem)
    return text


def shared(text: str | None, *, may_make: bool = True) -> PostgresJournal:
    """Return the journal at the address of a database.

    Raises:
        InvalidRequest: it isn't such an address, or there is none.
        Misuse: the extra for databases isn't installed.

    """
    place = required(text)
    if not is_address(place):
        problem = "expected postgres://...: workers share a database; a file is for one process"
        raise InvalidRequest(OPTION, problem)
    journal = journal_of(place, may_make=may_make)
    assert isinstance(journal, PostgresJournal)  # noqa: S101 - what an address leads to
    return journal


def check_extra() -> None:
    """Check that the job queue is installed.

    Raises:
        Misuse: it isn't.

    """
    try:
        # Imported when it is used: it needs an extra.
        from ...integrations import cluster  # noqa: F401, PLC0415  # pyright: ignore[reportUnusedImport]
    except ModuleNotFoundError:
        extra = "the extra cluster: pip install 'smartglocal-async[cluster]'"
        raise Misuse(f"the job queue needs {extra}") from None


def check_journal_key() -> None:
    """Check that there is a key for the requests.

    Raises:
        InvalidCredentials: there is none, or it is invalid.

    """
    if RequestCipher.from_env() is None:
        raise InvalidCredentials(
            f"{KEY_VARIABLE}: isn't set; workers have no file, and decrypt the requests with the "
            "key that encrypted them: generate one with `smartglocal payouts journal new-key`, "
            "and set it for all of them"
        )


_APPLICATION: Final = "smartglocal"
_SUFFIX: Final = ".journal"
_READABLE: Final = re.compile(r"[^A-Za-z0-9._]+")
_MAX_NAME: Final = 80
_DIGEST_CHARACTERS: Final = 12
_OWNER_ONLY: Final = 0o700
_OTHERS: Final = 0o077


def place_of(given: str | None, file: Path | None, server: str | None) -> str:
    """Return the path or address of the journal: as given, or the default of server and project.

    Nothing is created.

    Raises:
        InvalidRequest: it is neither, or there is a journal beside the file, where earlier
            releases had it.
        InvalidCredentials: the project or the server is missing; the default depends on them.

    """
    if given is not None:
        check_place(given)
        return given
    if file is not None and (beside := file.with_name(f"{file.name}{_SUFFIX}")).exists():
        old = shlex.quote(str(beside))
        raise InvalidRequest(
            OPTION,
            f"{beside} is a journal beside the file, as earlier releases kept it, and may have "
            f"paid the file; nothing was sent: continue with {OPTION} {old}. To use one journal "
            "for all files, settle the open payouts of this one, record what it paid in the "
            f"other one (`payouts reconcile REPORT --adopt {OPTION} PATH`), and move it away",
        )
    return str(default_journal(server))


def default_journal(server: str | None) -> Path:
    """Return the path of the default journal of a server and a project.

    It is in the user's state directory, so all commands of the user share it, in any folder. If an
    earlier release created one for the host with a dot at its end, which is the same server, it is
    that one.

    Raises:
        InvalidRequest: the state directory isn't an absolute path, or there are two journals of the
            same server.
        InvalidCredentials: the project or the server is missing or invalid.

    """
    owner = credentials_of(server)
    scope = scope_of(str(owner.server), owner.project, owner.submerchant)
    port = "" if owner.server.is_default_port() else str(owner.server.explicit_port)
    parts = (owner.server.host, port, owner.project, owner.submerchant)
    readable = "-".join(_READABLE.sub("-", part).strip("-.") for part in parts if part)
    state = Path(platformdirs.user_state_path(_APPLICATION, appauthor=False))
    if not state.is_absolute():
        raise InvalidRequest(
            OPTION,
            f"the state directory {str(state)!r} is not an absolute path, so each folder would "
            "have its own journal: correct XDG_STATE_HOME or HOME, or use this option",
        )
    scopes = dict.fromkeys(
        one
        for name in _earlier(owner)
        for one in (name, _with_root(name, owner.server.raw_host or ""))
    )
    paths = [state / f"{readable[:_MAX_NAME]}-{_digest(one)}{_SUFFIX}" for one in scopes]
    known = [path for path in paths if path.exists()]
    if len(known) > 1:
        raise InvalidRequest(
            OPTION,
            f"{known[0]} and {known[1]} are journals of the same server and project, one of them "
            "for its host with a dot at the end, or a name with a space around it: choose one with "
            "this option, and adopt what the other one paid",
        )
    # Earlier releases didn't escape a bar in a name. Such a file may be of another project, and is
    # then refused when it is opened; it must not be replaced by an empty journal.
    plain = "|".join(filter(None, [scope.partition("|")[0], owner.project, owner.submerchant]))
    earlier = state / f"{readable[:_MAX_NAME]}-{_digest(plain)}{_SUFFIX}"
    return known[0] if known else earlier if earlier.exists() else paths[0]


def _earlier(owner: Credentials) -> Iterator[str]:
    """Yield the scope, then those that earlier releases had for names with a space around them."""
    projects = _spaced(owner.project)
    submerchants = [None] if owner.submerchant is None else _spaced(owner.submerchant)
    for project in projects:
        for submerchant in submerchants:
            yield scope_of(str(owner.server), project, submerchant)


def _spaced(name: str) -> list[str]:
    return [name, f"{name} ", f" {name}", f" {name} "]


def _digest(scope: str) -> str:
    return hashlib.sha256(scope.encode()).hexdigest()[:_DIGEST_CHARACTERS]


def _with_root(scope: str, host: str) -> str:
    """Return the scope that earlier releases had for a host with a dot at its end."""
    plain = host.removesuffix(".")
    return scope.replace(f"//{plain}", f"//{plain}.", 1)


def make_folder(journal: str, server: str | None) -> None:
    """Create the folder of the default journal, for its owner only; other folders must exist.

    Raises:
        OSError: it can't be created.

    """
    if is_address(journal) or Path(journal) != default_journal(server):
        return
    folder = Path(journal).parent
    folder.mkdir(mode=_OWNER_ONLY, parents=True, exist_ok=True)
    if folder.stat().st_mode & _OTHERS:
        folder.chmod(_OWNER_ONLY)


def journal_options(journal: str, server: str | None) -> list[str]:
    """Return the options with which the next command uses the same journal."""
    if not is_address(journal) and Path(journal) == default_journal(server):
        return []
    return [OPTION, shown(journal)]


def page_words(journal: str, server: str | None) -> str:
    """Return how to open the page over a journal, on one line."""
    words = ["smartglocal", "payouts", "serve", shown(journal)]
    words += ["--server", server] if server is not None else []
    return f"in the browser: {shlex.join(words)}"


def next_command(  # noqa: PLR0913 - the options that a next command may need
    verb: str,
    *arguments: str,
    journal: str,
    server: str | None,
    key_prefix: str | None = None,
    how: FormatOptions | None = None,
    batch: str | None = None,
    confirm: str = _MANUAL,
) -> str:
    """Return a command of ``payouts`` that uses the same journal, with its other options."""
    words = ["smartglocal", "payouts", *verb.split(), *arguments]
    words += journal_options(journal, server)
    words += ["--key-prefix", key_prefix] if key_prefix else []
    words += [] if how is None else how.words
    words += ["--batch", batch] if batch is not None else []
    words += ["--confirm", confirm] if confirm != _MANUAL else []
    words += ["--server", server] if server is not None else []
    return shlex.join(words)
