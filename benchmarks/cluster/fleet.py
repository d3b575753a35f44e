"""Workers over one journal, the cost of a turn, and the size of the journal."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import asyncpg
from aiohttp import ClientSession
from attrs import define, field, frozen

import smartglocal_async as sg

from ..payouts.work import POSTGRES, PROJECT, orders
from .worker import Worker, working

_SEAL: Final = "SMARTGLOCAL_JOURNAL_KEY"
_SIGNATURES: Final = 50
_BODY: Final = b"x" * 300
_PROCESSES: Final = Path("/proc")
_USED: Final = slice(11, 13)
"""Positions after the process name in its figures: user ticks and system ticks."""


@frozen(kw_only=True)
class Turn:
    """The cost of paying a batch with some workers."""

    payouts: int
    concurrency: int
    """Of each worker."""
    submit_seconds: float
    """Seconds to write the batch."""
    seconds: float
    """Seconds to pay it."""
    cpu_seconds: float
    """CPU seconds of the workers alone."""
    provider_seconds: float
    """CPU seconds of the provider; 0 if the system doesn't report them."""
    database_seconds: float
    """CPU seconds of the workers' database sessions; 0 if the system doesn't report them."""
    signing_seconds: float
    """CPU seconds of one signature."""
    calls: int
    """Requests at the provider; each was signed once."""
    log_bytes: int
    """Bytes of the write-ahead log, from the submission to the last payout."""
    commits: int
    """Of the workers."""

    @property
    def rate(self) -> float:
        """Payouts per second."""
        return self.payouts / self.seconds

    @property
    def cores(self) -> float:
        """The number of cores in use."""
        used = self.cpu_seconds + self.provider_seconds + self.database_seconds
        return used / self.seconds

    @property
    def signing_share(self) -> float:
        """The share of signatures in the workers' CPU time."""
        return self.calls * self.signing_seconds / self.cpu_seconds


@frozen(kw_only=True)
class Store:
    """The size of a journal on the disk, and its connections."""

    payouts: int
    table_bytes: int
    index_bytes: int
    connections: int
    """Of all workers."""


@define(eq=False, kw_only=True)
class Fleet:
    """Workers that are ready, and the journal that they share."""

    workers: list[Worker]
    url: str
    payouts: sg.Payouts
    key: sg.PrivateKey
    connection: "asyncpg.Connection[Any]"
    schema: str
    _numbers: "count[int]" = field(factory=count, init=False)

    async def turn(self, workers: int, payouts: int, concurrency: int) -> Turn:
        """Pay this many payouts with this many workers, each with this many at once."""
        batch = f"turn-{next(self._numbers)}"
        signing, calls, written = _signing_seconds(self.key), await self._calls(), await self.log()
        submitted = time.perf_counter()
        _ = await self.payouts.submit(orders(payouts), batch)
        submitted = time.perf_counter() - submitted
        commits, children = await self._commits(), _used_by_children()
        sessions, begun = await self._used_by_sessions(), time.perf_counter()
        for worker in self.workers[:workers]:
            worker.begin(batch, concurrency)
        done = [worker.end() for worker in self.workers[:workers]]
        seconds, cpu = time.perf_counter() - begun, sum(one.cpu_seconds for one in done)
        if sum(one.paid for one in done) != payouts:
            raise SystemExit(f"{sum(one.paid for one in done)} of {payouts} were paid")
        return Turn(
            payouts=payouts,
            concurrency=concurrency,
            submit_seconds=submitted,
            seconds=seconds,
            cpu_seconds=cpu,
            provider_seconds=max(0.0, _used_by_children() - children - cpu),
            database_seconds=await self._used_by_sessions() - sessions,
            signing_seconds=signing,
            calls=await self._calls() - calls,
            log_bytes=await self.log() - written,
            commits=await self._commits() - commits,
        )

    async def store(self) -> Store:
        """Return the size on the disk after all turns, and the number of connections."""
        row = await self.connection.fetchrow(
            "SELECT sum(pg_table_size(oid))::bigint, sum(pg_indexes_size(oid))::bigint, "
            "(SELECT count(*) FROM pg_stat_activity WHERE application_name = $1) "
            "FROM pg_class WHERE relkind = 'r' AND relnamespace = to_regnamespace($1)",
            self.schema,
        )
        assert row is not None  # noqa: S101 - a sum is always one row
        summary = await self.payouts.summary()
        return Store(
            payouts=sum(summary.counts.values()),
            table_bytes=row[0],
            index_bytes=row[1],
            connections=row[2],
        )

    async def log(self) -> int:
        """Return how many bytes the server has ever written into its log, for all users."""
        written: int = await self.connection.fetchval(
            "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
        )
        return written

    async def _commits(self) -> int:
        commits: int = await self.connection.fetchval(
            f"SELECT coalesce(sum(commits), 0)::bigint FROM {self.schema}.writer"  # noqa: S608 - our own name
        )
        return commits

    async def _used_by_sessions(self) -> float:
        """Return the CPU seconds of the workers' sessions."""
        rows = await self.connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE application_name = $1", self.schema
        )
        return sum(_used_by(row["pid"], "postgres") for row in rows)

    async def _calls(self) -> int:
        async with (
            ClientSession() as session,
            session.get(f"{self.url}/emulator/report") as answer,
        ):
            requests: int = (await answer.json())["requests"]
        return requests


def _signing_seconds(key: sg.PrivateKey) -> float:
    """Return the CPU seconds of one signature, while the workers are idle."""
    begun = time.thread_time()
    for _ in range(_SIGNATURES):
        _ = key.sign(_BODY)
    return (time.thread_time() - begun) / _SIGNATURES


def _used_by_children() -> float:
    """Return the CPU seconds of this process's children: workers and provider."""
    files = (_PROCESSES / str(os.getpid())).glob("task/*/children")
    return sum(_used_by(int(pid)) for file in files for pid in file.read_text("ascii").split())


def _used_by(pid: int, command: str = "") -> float:
    """Return the CPU seconds of a process; 0 if the system doesn't report them."""
    try:
        text = (_PROCESSES / str(pid) / "stat").read_text("ascii")
    except FileNotFoundError:
        return 0.0
    name, _, figures = text.rpartition(")")
    ticks = map(int, figures.split()[_USED]) if command in name else ()
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def fleet(url: str, pem: bytes, most: int) -> AsyncGenerator[Fleet]:
    """Yield this many workers, over a journal whose schema is dropped at the end."""
    schema = f"bench_{uuid4().hex}"
    dsn = f"{POSTGRES}{'&' if '?' in POSTGRES else '?'}schema={schema}"
    os.environ[_SEAL] = sg.RequestCipher.new_key()
    connection = await asyncpg.connect(POSTGRES)
    try:
        async with (
            sg.SmartGlocal(PROJECT, pem, url) as api,
            sg.Payouts(api, sg.PostgresJournal(dsn), cipher=sg.RequestCipher.from_env()) as payouts,
        ):
            with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
                key, named = Path(folder) / "key.pem", f"{dsn}&application_name={schema}"
                _ = key.write_bytes(pem)
                yield Fleet(
                    workers=[stack.enter_context(working(url, key, named)) for _ in range(most)],
                    url=url,
                    payouts=payouts,
                    key=sg.PrivateKey.from_pem(pem),
                    connection=connection,
                    schema=schema,
                )
    finally:
        _ = await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        await connection.close()


async def bytes_by_others(one: Fleet, seconds: float) -> float:
    """Return how many bytes per second others write into the server's log."""
    before = await one.log()
    await asyncio.sleep(seconds)
    return (await one.log() - before) / seconds
