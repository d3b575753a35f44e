"""Fixtures: keys, a running emulator and its client, on asyncio and on uvloop."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop
from clock import Clock
from merchant import Merchant, merchant_of
from paying import QUICK
from postgres_schemas import execute, missing, new_schema
from proof_tables import as_markdown
from till import Till
from tls import Secured, make_certificate

import smartglocal_async as sg
from smartglocal_async import emulator

# A script that makes samples, and the plugins of `nox -s mutation`: not for this run.
collect_ignore = ["samples/files/make.py", "support/mutating.py", "support/reached_lines.py"]

# A shell makes background jobs ignore SIGINT, and nohup makes them ignore SIGHUP; child processes
# inherit this. The commands under test must receive both.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)


def pytest_asyncio_loop_factories(config, item) -> dict[str, Callable[[], Any]]:  # noqa: ARG001
    """Run asynchronous tests on asyncio, and those marked ``both_loops`` also on uvloop.

    The mark is for tests with sockets, timers, threads and tasks of their own.
    """
    loops: dict[str, Callable[[], Any]] = {"asyncio": asyncio.new_event_loop}
    if item.get_closest_marker("both_loops") is not None:
        loops["uvloop"] = (
            with_eager_tasks(uvloop.new_event_loop) if IS_EAGER else uvloop.new_event_loop
        )
    return loops


def with_eager_tasks(make: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function that makes an event loop with eager tasks."""

    def new_event_loop() -> Any:
        loop = make()
        loop.set_task_factory(asyncio.eager_task_factory)
        return loop

    return new_event_loop


# With SMARTGLOCAL_EAGER=1 (Python 3.12 and later) every event loop of the tests has eager tasks:
# those of asynchronous tests, of `asyncio.run`, and of the emulator in its thread.
IS_EAGER = os.environ.get("SMARTGLOCAL_EAGER") == "1"
if IS_EAGER:
    asyncio.new_event_loop = asyncio.events.new_event_loop = with_eager_tasks(
        asyncio.new_event_loop
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config) -> int:
    """Return the number of cores, or twice that for slow tests, which wait for processes.

    Each worker collects all tests, which takes some seconds of a core.
    """
    per_core = 1 if config.option.markexpr == "not slow" else 2
    return per_core * (os.cpu_count() or 1)


_SLOW_FACTOR: Final = 6


def pytest_collection_modifyitems(config, items) -> None:
    """Limit the time of each test; mark the tests on uvloop and the proof tests as slow.

    The limit is a signal, which fails the test with its traceback. On uvloop the signal is lost in
    the loop, so there the process ends with the traceback of each thread, and pytest-xdist names
    the test and starts another process.
    """
    limit = float(config.getini("timeout"))
    for item in items:
        spec = getattr(item, "callspec", None)
        is_on_uvloop = spec is not None and "uvloop" in spec.id.split("-")
        if is_on_uvloop or item.get_closest_marker("proof") is not None:
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("timeout") is None:
            times = 1 if item.get_closest_marker("slow") is None else _SLOW_FACTOR
            method = "thread" if is_on_uvloop else "signal"
            item.add_marker(pytest.mark.timeout(times * limit, method=method))


def pytest_terminal_summary(terminalreporter) -> None:
    """Write the counts of the tests as tables to the file in SMARTGLOCAL_PROOF, if it is set."""
    file = os.environ.get("SMARTGLOCAL_PROOF")
    if file is not None:
        passed = terminalreporter.getreports("passed")
        notes = [note for report in passed for note in report.user_properties if note[0] == "proof"]
        now = datetime.now(UTC)  # noqa: TID251 - the day of the run
        text = as_markdown((note for _, note in notes), now)
        _ = Path(file).write_text(text, encoding="utf-8")
        terminalreporter.write(f"\n{text}")


@pytest.fixture
def prove(record_property) -> Callable[[str, str, Mapping[str, int]], None]:
    """Return a function that records counts for a row of a table of results."""
    return lambda table, row, counts: record_property("proof", (table, row, dict(counts)))


@pytest.fixture
def schema() -> Iterator[str]:
    """Return the name of a new schema; it is dropped at the end."""
    name = new_schema()
    yield name
    if missing() is None:
        asyncio.run(execute("DROP SCHEMA IF EXISTS {name} CASCADE", name=name))


@pytest.fixture(scope="session")
def key(smartglocal_private_key) -> sg.PrivateKey:
    """Return the partner's private key, which all tests share."""
    return smartglocal_private_key


@pytest.fixture
def run_provider(key) -> Iterator[Callable[..., emulator.Provider]]:
    """Return a function that starts an emulator registered with `key`; all stop at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(
            emulator.run_in_thread(**{"public_key": key.public, **options})
        )


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Secured:
    """Return a certificate for 127.0.0.1 and the contexts of both ends."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def provider(smartglocal_emulator) -> emulator.Provider:
    """Return an emulator without faults."""
    return smartglocal_emulator


@pytest.fixture
async def connect(key) -> AsyncIterator[Callable[..., sg.SmartGlocal]]:
    """Return a function that makes a client of an emulator; all close at the end."""
    async with contextlib.AsyncExitStack() as stack:

        def make(provider: emulator.Provider, **options: Any) -> sg.SmartGlocal:
            client = sg.SmartGlocal(provider.project, key, provider.url, **options)
            stack.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
def api(smartglocal_api) -> sg.SmartGlocal:
    """Return a client of the emulator without faults."""
    return smartglocal_api


@pytest.fixture
async def merchant(run_provider, connect) -> AsyncIterator[Callable[..., Any]]:
    """Return a function that starts a provider with these options, and a merchant of it."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(*, api_version: str = "v1", **options: Any) -> Merchant:
            provider = run_provider(**options)
            api = connect(provider, api_version=api_version)
            return await stack.enter_async_context(merchant_of(provider, api))

        yield make


@pytest.fixture
def till(key, tmp_path, monkeypatch, run_provider) -> Iterator[Till]:
    """Return a command line for payout files, with a folder and an emulator of its own."""
    till = Till(tmp_path, key, monkeypatch, run_provider)
    yield till
    till.closes()


@pytest.fixture
def smartglocal_journal() -> sg.journal.MemoryJournal:
    """Return a memory journal that claims to be durable."""
    return sg.journal.MemoryJournal(unsafe=True)


@pytest.fixture
def journal(smartglocal_journal) -> sg.journal.MemoryJournal:
    """Return the journal of the payouts."""
    return smartglocal_journal


@pytest.fixture
async def payouts(connect, provider, journal) -> AsyncIterator[sg.Payouts]:
    """Return open payouts over the emulator, with short waits."""
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        yield payouts


@pytest.fixture
def clock() -> Clock:
    """Return a clock that a test advances."""
    return Clock()
