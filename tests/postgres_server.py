"""A PostgreSQL server of the tests' own, which they may stop as they like."""

import contextlib
import glob
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

_AS = "postgres"
"""Who runs it when the tests run as root, whom PostgreSQL refuses."""
_WAIT = "60"


@cache
def _folder() -> str | None:
    """Give the folder of the server's programs."""
    found = shutil.which("pg_ctl")
    if found is not None:
        return str(Path(found).parent)
    known = sorted(glob.glob("/usr/lib/postgresql/*/bin/pg_ctl"))  # noqa: PTH207 - absolute
    return str(Path(known[-1]).parent) if known else None


needs_server = pytest.mark.skipif(
    _folder() is None or (os.name == "posix" and os.geteuid() == 0 and not shutil.which("runuser")),
    reason="no programs of a PostgreSQL server (initdb, pg_ctl) are installed",
)


class Server:
    """A cluster in a folder, on a port that was free."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.run("initdb", "-D", f"{folder}/data", "-U", "tests", "-A", "trust", "--no-sync")

    @property
    def dsn(self) -> str:
        """Its address."""
        return f"postgres://tests@127.0.0.1:{self.port}/postgres"

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs."""
        command = [f"{_folder()}/{program}", *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", _AS, "--", *command]
        done = subprocess.run(
            command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/"
        )
        assert done.returncode == 0, done.stderr

    def start(self, **settings: str) -> None:
        """Start it, and wait until it takes connections."""
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
        """Stop it as a loss of power would: nothing is finished."""
        self._control("-m", "immediate", "-w", "stop")

    def _control(self, *arguments: str) -> None:
        self.run("pg_ctl", "-D", f"{self.folder}/data", *arguments)


@contextlib.contextmanager
def server(**settings: str) -> Iterator[Server]:
    """Give a server that runs."""
    folder = tempfile.mkdtemp(prefix="journal-")
    if os.geteuid() == 0:
        shutil.chown(folder, _AS)
    try:
        own = Server(folder)
        own.start(**settings)
        try:
            yield own
        finally:
            with contextlib.suppress(AssertionError):
                own.stop()
    finally:
        shutil.rmtree(folder)
