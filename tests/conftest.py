"""Keys, a running emulator and a client of it, on asyncio and on uvloop."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import uvloop
from merchant import Merchant, merchant_of
from paying import QUICK
from postgres_schemas import execute, missing, new_schema
from proving import as_markdown
from till import Till

import smartglocal_async as sg
from smartglocal_async import emulator

# Installed, the package brings its pytest plugin along; in a bare checkout it is named by hand.
PLUGIN = (
    []
    if any(point.name == "smartglocal" for point in entry_points(group="pytest11"))
    else ["-p", "smartglocal_async.testing"]
)

# A shell has its background jobs ignore SIGINT, and nohup SIGHUP; a command inherits what is
# ignored. The commands under test must hear both.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)


# What talks to an event loop by itself: its sockets, timers, threads and tasks.
ON_BOTH_LOOPS = frozenset(
    {
        "test_batch",
        "test_cancellation",
        "test_client",
        "test_create_many",
        "test_flights",
        "test_inbox",
        "test_integrations",
        "test_journal_postgres",
        "test_journal_sqlite",
        "test_mocked",
        "test_payouts",
        "test_payouts_batch",
        "test_pool",
        "test_retry",
        "test_signer",
        "test_transport",
        "test_waiting",
    }
)


def pytest_asyncio_loop_factories(config, item) -> dict[str, Callable[[], Any]]:  # noqa: ARG001
    """Run asynchronous tests on asyncio, and those of what talks to it on uvloop, too."""
    loops = {"asyncio": asyncio.new_event_loop}
    return loops | ({"uvloop": uvloop.new_event_loop} if item.path.stem in ON_BOTH_LOOPS else {})


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Have twice as many workers as cores: half of the time goes by in waiting for processes."""
    return 2 * (os.cpu_count() or 1)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item) -> Iterator[None]:
    """Trace nothing of what is marked ``no_cover``.

    pytest-cov stops its own measurement; in a worker of pytest-xdist another one goes on.
    """
    tracer = sys.gettrace()
    if tracer is None or item.get_closest_marker("no_cover") is None:
        return (yield)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)


def pytest_collection_modifyitems(items) -> None:
    """Have what runs on uvloop run once, on the interpreter that measures coverage."""
    for item in items:
        spec = getattr(item, "callspec", None)
        if spec is not None and "uvloop" in spec.id.split("-"):
            item.add_marker(pytest.mark.thorough)


def pytest_terminal_summary(terminalreporter) -> None:
    """Write what the tests counted as the tables of the proof, where a file is named for them."""
    file = os.environ.get("SMARTGLOCAL_PROOF")
    if file is not None:
        passed = terminalreporter.getreports("passed")
        told = [note for report in passed for note in report.user_properties if note[0] == "proof"]
        now = datetime.now(UTC)  # noqa: TID251 - the day of the run
        text = as_markdown((note for _, note in told), now)
        _ = Path(file).write_text(text, encoding="utf-8")
        terminalreporter.write(f"\n{text}")


@pytest.fixture
def prove(record_property) -> Callable[[str, str, Mapping[str, int]], None]:
    """Give a function that notes counts for a row of a table of the proof."""
    return lambda table, row, counts: record_property("proof", (table, row, dict(counts)))


@pytest.fixture
def schema() -> Iterator[str]:
    """Give the name of a schema that isn't there; it is dropped at the end."""
    name = new_schema()
    yield name
    if missing() is None:
        asyncio.run(execute("DROP SCHEMA IF EXISTS {name} CASCADE", name=name))


@pytest.fixture(scope="session")
def key() -> sg.PrivateKey:
    """Give the partner's private key; making one takes a while, so all tests share it."""
    return sg.PrivateKey.generate()


@pytest.fixture
def run_provider(key) -> Iterator[Callable[..., emulator.Provider]]:
    """Give a function that starts an emulator registered with `key`; all stop at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(
            emulator.run_in_thread(**{"public_key": key.public, **options})
        )


@pytest.fixture
def provider(run_provider) -> emulator.Provider:
    """Give an emulator without faults."""
    return run_provider()


@pytest.fixture
async def connect(key) -> AsyncIterator[Callable[..., sg.SmartGlocal]]:
    """Give a function that makes a client of an emulator; all close at the end."""
    async with contextlib.AsyncExitStack() as stack:

        def make(provider: emulator.Provider, **options: Any) -> sg.SmartGlocal:
            client = sg.SmartGlocal(provider.project, key, provider.url, **options)
            stack.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
def api(connect, provider) -> sg.SmartGlocal:
    """Give a client of the emulator without faults."""
    return connect(provider)


@pytest.fixture
async def merchant(run_provider, connect) -> AsyncIterator[Callable[..., Any]]:
    """Give a function that starts a provider with these options, and a merchant of it."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(*, api_version: str = "v1", **options: Any) -> Merchant:
            provider = run_provider(**options)
            api = connect(provider, api_version=api_version)
            return await stack.enter_async_context(merchant_of(provider, api))

        yield make


@pytest.fixture
def till(key, tmp_path, monkeypatch, run_provider) -> Iterator[Till]:
    """Give the command line of a shop that pays out of files in a folder of its own."""
    till = Till(tmp_path, key, monkeypatch, run_provider)
    yield till
    till.closes()


@pytest.fixture
def journal() -> sg.MemoryJournal:
    """Give a journal that says that it is durable."""
    return sg.MemoryJournal(unsafe=True)


@pytest.fixture
async def payouts(connect, provider, journal) -> AsyncIterator[sg.Payouts]:
    """Give payouts over the emulator, open, that hardly wait."""
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        yield payouts


class Clock:
    """A clock that only moves when somebody sleeps; keeps every wait it was asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        """Give the time, in seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Move on at once, and note the wait."""
        self.waits.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def timing(self, dice: Callable[[], float] = lambda: 0.5) -> sg.Timing:
        """Give the client's settings of time and chance over this clock."""
        return sg.Timing(monotonic=self.monotonic, sleep=self.sleep, dice=dice)


@pytest.fixture
def clock() -> Clock:
    """Give a clock set by hand."""
    return Clock()
