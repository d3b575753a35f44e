"""The journal behind PgBouncer: it works, or the error names what is wrong."""

import asyncio
import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from journal_conformance import LEASE, SCOPE, new
from postgres_schemas import DSN, missing, opened
from postgres_server import as_postgres

import smartglocal_async as sg

_PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(_PROGRAM is None, reason="no pgbouncer is installed"),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]
_KNOWS_STATEMENTS = (1, 21)
_CONFIGURATION = """
[databases]
{database} = host={host} port={port} dbname={database} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 2
min_pool_size = 2
{more}
"""


def version() -> tuple[int, int]:
    """Return the version of the installed program."""
    told = subprocess.run([str(_PROGRAM), "--version"], check=True, capture_output=True, text=True)
    found = re.search(r"PgBouncer (\d+)\.(\d+)", told.stdout)
    assert found is not None
    return int(found[1]), int(found[2])


@contextlib.contextmanager
def pooler(mode: str) -> Iterator[str]:
    """Yield the address of a pooler with two connections to the test database."""
    parts = urlsplit(DSN)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        own = free.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="pooler-")
    try:
        told = _CONFIGURATION.format(
            database=parts.path[1:],
            host=parts.hostname,
            port=parts.port or 5432,
            user=parts.username or os.environ.get("USER", "root"),
            own=own,
            mode=mode,
            more="max_prepared_statements = 100" if version() >= _KNOWS_STATEMENTS else "",
        )
        file = Path(folder, "pooler.ini")
        file.write_text(told, encoding="utf-8")
        Path(folder).chmod(0o755)
        with subprocess.Popen(
            as_postgres([str(_PROGRAM), "-q", str(file)]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as running:
            try:
                _wait(own, running)
                yield f"postgres://{parts.username or 'root'}@127.0.0.1:{own}{parts.path}"
            finally:
                running.terminate()
    finally:
        shutil.rmtree(folder)


def _wait(port: int, running: "subprocess.Popen[bytes]") -> None:
    for _ in range(1_000):
        assert running.poll() is None, "it ended at once"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        # The pooler sends no event when it listens, so it is polled.
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(0.01)
    raise AssertionError("it never listened")


@contextlib.asynccontextmanager
async def hold_connection(dsn: str):
    """Hold one of the two connections behind the pooler in a transaction."""
    other = await asyncpg.connect(dsn, timeout=10, statement_cache_size=0)
    try:
        async with other.transaction():
            await other.execute("SELECT 1")
            yield
    finally:
        await other.close()


async def work(journal: sg.journal.Journal, dsn: str, told: list[str], name: str) -> None:
    """Write payouts while other clients use the connections in turn; return the written keys."""
    for n in range(20):
        # Held in turn, they make the pooler change our connection.
        async with contextlib.AsyncExitStack() as stack:
            if n % 2:
                await stack.enter_async_context(hold_connection(dsn))
            entry = await journal.take(new(f"{name}{n}"), "me", LEASE)
            told.append((await journal.advance(entry, sg.journal.Event.CREATE_INTENDED)).key)
            assert (await journal.find(f"{name}{n}")).attempts == 1


async def test_session_mode(schema) -> None:
    """In session mode a connection is one server connection, so nothing is different."""
    with pooler("session") as dsn:
        async with opened(schema, dsn) as journal:
            for n in range(20):
                await journal.take(new(f"k{n}"), "me", LEASE)
            assert await journal.counts() == {sg.journal.Step.NEW: 20}


async def test_transaction_mode(schema) -> None:
    """A new pooler supports prepared statements; with an old one the error names the cause.

    Two journals at once are like two processes with their own statements: with an old pooler, a
    statement with the same name could be the other one's.
    """
    async with opened(schema):
        pass
    with pooler("transaction") as dsn:
        journals = [sg.PostgresJournal(dsn, schema=schema, patience_seconds=5) for _ in range(2)]
        told: list[str] = []
        refused: list[str] = []
        for name, journal in zip("ab", journals, strict=True):
            try:
                await journal.open(SCOPE)
                await work(journal, dsn, told, name)
            except sg.JournalUnusable as error:
                refused.append(str(error))
            finally:
                with contextlib.suppress(sg.JournalUnusable):
                    await journal.close()
    if version() >= _KNOWS_STATEMENTS:
        assert refused == []
        assert len(told) == 40
    else:
        assert refused
        assert all("a pooler in front of it" in words for words in refused)
        assert all("PgBouncer 1.21 or newer" in words for words in refused)
    async with opened(schema) as journal:
        for key in told:
            lines = await journal.history(key)
            assert [line.event for line in lines] == [sg.journal.Event.CREATE_INTENDED]


async def test_the_names_of_statements(schema) -> None:
    """The names are unique to the process, so a mixed-up connection has no such statement."""
    names: list[set[str]] = []
    for _ in range(2):
        async with opened(schema) as journal:
            await journal.accept(new())
            link = journal._now_open.writer.connection
            rows = await link.through(
                lambda connection: connection.fetch("SELECT name FROM pg_prepared_statements")
            )
            names.append({name for (name,) in rows})
            await asyncio.sleep(0)
    assert all(name.startswith("__smartglocal_") for found in names for name in found)
    assert len(names[0]) > 5
    assert not names[0] & names[1]
