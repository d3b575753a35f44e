"""A PostgreSQL server of the tests' own, which they may stop."""

import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

_AS = "postgres"
"""The user that runs the server if the tests run as root, which PostgreSQL refuses."""
_WAIT = "60"


@cache
def _folder() -> str | None:
    """Return the folder of the server's programs."""
    found = shutil.which("pg_ctl")
    if found is not None:
        return str(Path(found).resolve().parent)
    known = sorted(glob.glob("/usr/lib/postgresql/*/bin/pg_ctl"))  # noqa: PTH207 - absolute
    return str(Path(known[-1]).parent) if known else None


needs_server = pytest.mark.skipif(
    _folder() is None or (os.name == "posix" and os.geteuid() == 0 and not shutil.which("runuser")),
    reason="no programs of a PostgreSQL server (initdb, pg_ctl) are installed",
)


needs_replication = pytest.mark.skipif(
    _folder() is None or not Path(str(_folder()), "pg_basebackup").exists(),
    reason="no pg_basebackup is installed, so there is no standby server to promote",
)


def as_postgres(command: list[str]) -> list[str]:
    """Return a command that runs as another user if root is refused."""
    return ["runuser", "-u", _AS, "--", *command] if os.geteuid() == 0 else command


class Server:
    """A database cluster in a folder, on a free port; or a standby of another one."""

    def __init__(self, folder: str, primary: "Server | None" = None) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        data = f"{folder}/data"
        if primary is None:
            self.run("initdb", "-D", data, "-U", "tests", "-A", "trust", "--no-sync")
        else:
            address = ("-h", "127.0.0.1", "-p", str(primary.port), "-U", "tests")
            copied = ("-R", "-X", "stream", "-c", "fast", "--no-sync")
            self.run("pg_basebackup", "-D", data, *address, *copied)

    @property
    def dsn(self) -> str:
        """The address of the server."""
        return f"postgres://tests@127.0.0.1:{self.port}/postgres"

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs."""
        command = [f"{_folder()}/{program}", *arguments]
        done = subprocess.run(
            as_postgres(command),
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
        )
        assert done.returncode == 0, done.stderr

    def start(self, **settings: str) -> None:
        """Start the server, and wait until it accepts connections."""
        known = {"port": str(self.port), "unix_socket_directories": "", "shared_buffers": "16MB"}
        options = " ".join(f"-c {name}={value!r}" for name, value in {**known, **settings}.items())
        log = f"{self.folder}/log"
        self.run(
            "pg_ctl",
            "-D",
            f"{self.folder}/data",
            "-w",
            "-t",
            _WAIT,
            "-l",
            log,
            "-o",
            options,
            "start",
        )

    def stop(self) -> None:
        """Stop the server as a power loss would, without finishing anything."""
        self._control("-m", "immediate", "-w", "stop")

    def freeze(self) -> None:
        """Let each process of the server wait, so that it answers nothing; `thaw` ends that."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the processes of a frozen server go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        first = int(Path(f"{self.folder}/data/postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        for process in (first, *map(int, children)):
            os.kill(process, number)

    def promote(self) -> None:
        """Promote a standby, and wait until it accepts writes."""
        self._control("-w", "-t", _WAIT, "promote")

    def _control(self, *arguments: str) -> None:
        self.run("pg_ctl", "-D", f"{self.folder}/data", *arguments)


@contextlib.contextmanager
def server(primary: Server | None = None, **settings: str) -> Iterator[Server]:
    """Yield a running server; with a primary, a standby that follows it."""
    folder = tempfile.mkdtemp(prefix="journal-")
    if os.geteuid() == 0:
        shutil.chown(folder, _AS)
    try:
        own = Server(folder, primary)
        own.start(**settings)
        try:
            yield own
        finally:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                own.thaw()
            with contextlib.suppress(AssertionError):
                own.stop()
    finally:
        shutil.rmtree(folder)
