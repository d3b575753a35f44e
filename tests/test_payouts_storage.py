"""A disk that is full or may not be written, and a clock that is set: nobody is paid twice."""

import asyncio
import sqlite3
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Final

import pytest
from attrs import define, field
from paying import QUICK, START, order

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Confirmation

HOUR: Final = 3600.0
MOST_COMMITS: Final = 30
MODES: Final = [sg.Mode.MANUAL, sg.Mode.AUTOMATIC]


def fill(connection: sqlite3.Connection) -> None:
    """Let the file have no page more, and ask for some: SQLite's own error follows."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    _ = connection.execute(f"PRAGMA max_page_count = {pages}")
    _ = connection.execute("CREATE TABLE filler AS SELECT randomblob(100000)")


def write_protect(connection: sqlite3.Connection) -> None:
    """Let nothing be written, and write something."""
    _ = connection.execute("PRAGMA query_only = 1")
    _ = connection.execute("DELETE FROM entry WHERE key = ''")


@define(eq=False)
class Disk:
    """A disk that stops taking writes at some commit, in the thread that writes."""

    break_it: Callable[[sqlite3.Connection], None]
    journal: sg.SQLiteJournal = field(init=False)
    commits_left: int | None = None
    is_broken: bool = False
    sent_before: int = 0
    """How many requests had been made when it broke."""
    sent: Callable[[], int] = lambda: 0

    def __call__(self, label: str) -> None:
        """Count commits, and break."""
        if label != "written" or self.commits_left is None:
            return
        self.commits_left -= 1
        if self.commits_left <= 0:
            self.sent_before = self.sent_before if self.is_broken else self.sent()
            self.is_broken = True
            self.break_it(self.journal._open_writer.opened.connection)

    def mend(self) -> None:
        """Make room."""
        self.commits_left, self.is_broken = None, False


def make_room(table) -> None:
    """Let the file grow again."""
    _ = table.connection.execute("PRAGMA max_page_count = 1000000")


def rules_of(mode: sg.Mode) -> emulator.Rules:
    """Give a provider that confirms as the mode says."""
    return emulator.Rules(
        confirmation=Confirmation[mode.name], second_start=emulator.Permission.ALLOW
    )


def journal_on(disk: Disk, path: Path) -> sg.SQLiteJournal:
    """Give a journal on a disk."""
    disk.journal = sg.SQLiteJournal(path, fault_point=disk)
    return disk.journal


@pytest.mark.parametrize("mode", MODES)
async def test_a_disk_that_is_full_at_a_commit(mode, run_provider, connect, tmp_path):
    """At every one: nothing is sent after it, and when there is room the payout is finished."""
    provider = run_provider(rules=rules_of(mode))
    disk = Disk(fill, sent=lambda: provider.report().requests)
    journal = journal_on(disk, tmp_path / "j.db")
    async with sg.Payouts(connect(provider, settings=QUICK), journal, mode=mode) as payouts:
        for number in count(1):
            key, disk.commits_left = f"k-{number}", number
            refused = await refusal_of(payouts.pay(order(key)))
            if refused is None:
                break
            assert f"{journal.path}: the disk is full (SQLITE_FULL)" in refused
            assert provider.report().requests == disk.sent_before
            disk.mend()
            await journal._read(make_room)
            _ = [one async for one in payouts.resume({key: order(key)}.get)]
            assert (await payouts.pay(order(key))).is_paid
            assert provider.order(key).moved == 1
            assert number < MOST_COMMITS
    # Its last commit gives the lease back, or takes it, and is nothing that a caller waits for.
    assert number > (3 if mode is sg.Mode.AUTOMATIC else 4)


async def refusal_of(paying) -> str | None:
    """Pay; give what the journal's refusal says, or None where there was none."""
    try:
        assert (await paying).is_paid
    except sg.JournalUnusable as error:
        return str(error)
    return None


async def test_a_disk_that_may_not_be_written(run_provider, connect, tmp_path):
    """In the midst of a payout: nothing is sent, the text says why, and it goes on when opened."""
    provider = run_provider()
    disk = Disk(write_protect, commits_left=4, sent=lambda: provider.report().requests)
    journal = journal_on(disk, tmp_path / "j.db")
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal) as payouts:
        for _ in range(2):
            refused = await refusal_of(payouts.pay(order()))
            assert refused is not None
            assert "it is read-only (SQLITE_READONLY)" in refused
        assert provider.report().requests == disk.sent_before
    disk.mend()
    async with sg.Payouts(api, journal) as payouts:
        assert (await payouts.pay(order())).is_paid
    assert provider.order("k-1").moved == 1


@define(eq=False)
class Clock:
    """A clock that is set at the n-th point of a payout."""

    jump_seconds: float
    points_left: int = 0
    offset_seconds: float = 0.0
    base: Callable[[], float] = field(factory=lambda: asyncio.get_running_loop().time, init=False)

    def __call__(self) -> float:
        """Give the time."""
        return 1_800_000_000.0 + self.base() + self.offset_seconds

    def point(self, _label: str) -> None:
        """Set it, when it is time to."""
        self.points_left -= 1
        if self.points_left == 0:
            self.offset_seconds += self.jump_seconds


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("jump_seconds", [-HOUR, HOUR])
async def test_a_clock_that_is_set(mode, jump_seconds, run_provider, connect, tmp_path):
    """At every point of a payout: it is paid once, by one start, and waits for nobody."""
    provider = run_provider(rules=rules_of(mode))
    clock = Clock(jump_seconds)
    journal = sg.SQLiteJournal(tmp_path / "j.db", clock=clock)
    api = connect(provider, settings=QUICK)
    async with (
        asyncio.timeout(30),
        sg.Payouts(api, journal, mode=mode, fault_point=clock.point) as payouts,
    ):
        for number in count(1):
            key, clock.points_left = f"k-{number}", number
            assert (await payouts.pay(order(key))).is_paid
            assert provider.order(key).calls[START] == 1
            assert provider.order(key).moved == 1
            if clock.points_left > 0:
                break
    assert number > MOST_COMMITS / 3


async def test_the_lease_of_the_dead_when_the_clock_was_set_back(run_provider, connect, tmp_path):
    """It ends when the file is opened, and not an hour later."""
    provider, clock = run_provider(), Clock(-HOUR)
    api = connect(provider, settings=QUICK)
    journal = sg.SQLiteJournal(tmp_path / "j.db", clock=clock)
    async with sg.Payouts(api, journal) as payouts:
        _ = await payouts._open().accept(order())
        _ = await journal.claim("k-1", "the dead", 30)
    clock.offset_seconds -= HOUR
    async with asyncio.timeout(10), sg.Payouts(api, journal) as payouts:
        assert [one.is_paid async for one in payouts.resume({"k-1": order()}.get)] == [True]
    assert provider.order("k-1").moved == 1


async def test_the_lease_of_another_when_the_clock_was_set_back(api):
    """Whoever shares the journal takes it over: no lease lasts for an hour."""
    clock = Clock(-HOUR)
    journal = sg.MemoryJournal(unsafe=True, clock=clock)
    async with sg.Payouts(api, journal) as payouts:
        _ = await payouts._open().accept(order())
        _ = await journal.claim("k-1", "the dead", 30)
        clock.offset_seconds -= HOUR
        async with asyncio.timeout(10):
            assert (await payouts.pay(order())).is_paid
