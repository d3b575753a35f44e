"""A full or read-only disk, and a changed clock: each payout is still made once."""

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
    """Raise SQLite's own error for a full disk."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    _ = connection.execute(f"PRAGMA max_page_count = {pages}")
    _ = connection.execute("CREATE TABLE filler AS SELECT randomblob(100000)")


def write_protect(connection: sqlite3.Connection) -> None:
    """Raise SQLite's own error for a read-only file."""
    _ = connection.execute("PRAGMA query_only = 1")
    _ = connection.execute("DELETE FROM entry WHERE key = ''")


@define(eq=False)
class Disk:
    """A disk that fails at some commit, in the thread that writes."""

    break_it: Callable[[sqlite3.Connection], None]
    journal: sg.SQLiteJournal = field(init=False)
    commits_left: int | None = None
    is_broken: bool = False
    sent_before: int = 0
    """How many requests the provider had received at the failure."""
    sent: Callable[[], int] = lambda: 0

    def __call__(self, label: str) -> None:
        """Count commits, and fail at the chosen one."""
        if label != "written" or self.commits_left is None:
            return
        self.commits_left -= 1
        if self.commits_left <= 0:
            self.sent_before = self.sent_before if self.is_broken else self.sent()
            self.is_broken = True
            self.break_it(self.journal._open_writer.opened.connection)

    def repair(self) -> None:
        """Let writes succeed again."""
        self.commits_left, self.is_broken = None, False


def make_room(table) -> None:
    """Let the file grow again."""
    _ = table.connection.execute("PRAGMA max_page_count = 1000000")


def rules_of(mode: sg.Mode) -> emulator.Rules:
    """Return a provider that confirms as the mode expects."""
    return emulator.Rules(
        confirmation=Confirmation[mode.name], second_start=emulator.Permission.ALLOW
    )


def journal_on(disk: Disk, path: Path) -> sg.SQLiteJournal:
    """Return a journal on a disk."""
    disk.journal = sg.SQLiteJournal(path, fault_point=disk)
    return disk.journal


@pytest.mark.parametrize("mode", MODES)
async def test_a_disk_that_is_full_at_a_commit(mode, run_provider, connect, tmp_path):
    """At every commit: nothing is sent after the failure, and the payout can be finished later."""
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
            disk.repair()
            await journal._read(make_room)
            _ = [one async for one in payouts.settle({key: order(key)}.get)]
            assert (await payouts.pay(order(key))).is_paid
            assert provider.order(key).moved == 1
            assert number < MOST_COMMITS
    # The last commit releases or claims the lease, and no caller waits for it.
    assert number > (3 if mode is sg.Mode.AUTOMATIC else 4)


async def refusal_of(paying) -> str | None:
    """Pay; return the message of the journal's refusal, or None if there was none."""
    try:
        assert (await paying).is_paid
    except sg.JournalUnusable as error:
        return str(error)
    return None


async def test_a_disk_that_may_not_be_written(run_provider, connect, tmp_path):
    """Nothing is sent, the message names the reason, and it works again once opened."""
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
    disk.repair()
    async with sg.Payouts(api, journal) as payouts:
        assert (await payouts.pay(order())).is_paid
    assert provider.order("k-1").moved == 1


@define(eq=False)
class Clock:
    """A clock that is changed at the n-th point of a payout."""

    jump_seconds: float
    points_left: int = 0
    offset_seconds: float = 0.0
    base: Callable[[], float] = field(factory=lambda: asyncio.get_running_loop().time, init=False)

    def __call__(self) -> float:
        """Return the time."""
        return 1_800_000_000.0 + self.base() + self.offset_seconds

    def point(self, _label: str) -> None:
        """Change the clock at the chosen point."""
        self.points_left -= 1
        if self.points_left == 0:
            self.offset_seconds += self.jump_seconds


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("jump_seconds", [-HOUR, HOUR])
async def test_a_clock_that_is_set(mode, jump_seconds, run_provider, connect, tmp_path):
    """At every point the payout is paid once, by one start, without waiting."""
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
    """The lease ends when the file is opened, and not an hour later."""
    provider, clock = run_provider(), Clock(-HOUR)
    api = connect(provider, settings=QUICK)
    journal = sg.SQLiteJournal(tmp_path / "j.db", clock=clock)
    async with sg.Payouts(api, journal) as payouts:
        _ = await payouts._open().accept(order())
        _ = await journal.claim("k-1", "the dead", 30)
    clock.offset_seconds -= HOUR
    async with asyncio.timeout(10), sg.Payouts(api, journal) as payouts:
        assert [one.is_paid async for one in payouts.settle({"k-1": order()}.get)] == [True]
    assert provider.order("k-1").moved == 1


async def test_the_lease_of_another_when_the_clock_was_set_back(api):
    """Another owner's lease is taken over: no lease lasts an hour."""
    clock = Clock(-HOUR)
    journal = sg.journal.MemoryJournal(unsafe=True, clock=clock)
    async with sg.Payouts(api, journal) as payouts:
        _ = await payouts._open().accept(order())
        _ = await journal.claim("k-1", "the dead", 30)
        clock.offset_seconds -= HOUR
        async with asyncio.timeout(10):
            assert (await payouts.pay(order())).is_paid
