"""Power loss between two acknowledged steps: no acknowledged step is lost.

`test_journal_crash` cuts one log at every frame. In this test the log is overwritten from its
beginning, and the database file is written under it, as happens after every 1,000 pages. After a
power loss the disk may then hold any first part of the new frames over the old log and, during a
checkpoint, any of the new pages.
"""

import asyncio
import random
import shutil
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Final

import pytest
from attrs import frozen
from journal_conformance import LEASE, SCOPE, changes_for, new
from proof_tables import POWER
from test_journal_crash import DB_PAGE, FRAME_HEAD, LOG_HEAD, WAY

import smartglocal_async as sg

pytestmark = pytest.mark.proof

SEED: Final = 20240527
PAYOUTS: Final = 13
REQUEST: Final = b"x" * 80_000  # Written with every step, about 20 pages each.
FRAME: Final = FRAME_HEAD + DB_PAGE
CUTS_PER_CHECKPOINT: Final = 15
MIN_CUTS: Final = 100
Steps = dict[str, sg.journal.Step]


@frozen
class Disk:
    """The contents of the three files, and the steps reported by then."""

    database: bytes
    log: bytes
    side: bytes
    reported: Steps

    def write(self, path: Path) -> None:
        """Write the files."""
        path.parent.mkdir()
        path.write_bytes(self.database)
        path.with_name("j.db-wal").write_bytes(self.log)
        path.with_name("j.db.lock").write_bytes(self.side)


async def work(path: Path) -> AsyncGenerator[Disk]:
    """Bring payouts to their ends; yield the files at every reported step."""
    reported: Steps = {}
    names = [path, path.with_name("j.db-wal"), path.with_name("j.db.lock")]

    def disk(entry: sg.journal.Entry) -> Disk:
        reported[entry.key] = entry.step
        return Disk(*(name.read_bytes() for name in names), dict(reported))

    journal = sg.SQLiteJournal(path)
    await journal.open(SCOPE)
    for key in map(str, range(PAYOUTS)):
        yield disk(await journal.accept(new(key, request=REQUEST)))
        entry = await journal.claim(key, "me", LEASE)
        for event in WAY:
            entry = await journal.advance(entry, event, changes_for(event, f"s-{key}"))
            yield disk(entry)
    await journal.close()


def mix(old: bytes, new: bytes, parts: Iterator[slice], rng: random.Random) -> bytes:
    """Return the old bytes with a random selection of the new parts."""
    result = bytearray(old.ljust(len(new), b"\0"))
    for part in parts:
        if rng.random() < 0.5:
            result[part] = new[part]
    return bytes(result)


def disk_after_power_loss(before: Disk, after: Disk, rng: random.Random) -> Disk:
    """Return what may be on the disk if the power fails between two steps."""
    if before.database != after.database and rng.random() < 0.5:
        # The log is complete before a checkpoint begins; the database pages may be written in any
        # order.
        pages = (slice(at, at + DB_PAGE) for at in range(0, len(after.database), DB_PAGE))
        database = mix(before.database, after.database, pages, rng)
        return Disk(database, after.log, before.side, before.reported)
    changed = [
        end
        for end in range(LOG_HEAD + FRAME, len(after.log) + 1, FRAME)
        if before.log[end - FRAME : end] != after.log[end - FRAME : end]
    ]
    frames = rng.choice([LOG_HEAD, *changed])
    end = frames + rng.choice([0, 100])  # A part of the next frame, too.
    log = after.log[:end] + before.log[end:]
    return Disk(before.database, log, before.side, before.reported)


async def read_steps(path: Path) -> Steps:
    """Open a journal, check that it is intact, and return its steps."""
    journal = sg.SQLiteJournal(path)
    await journal.open(SCOPE)
    assert await journal.halted() is None
    found: Steps = {}
    for key in map(str, range(PAYOUTS)):
        if (entry := await journal.find(key)) is not None:
            found[key] = entry.step
            assert entry.request == (None if entry.step.is_final else REQUEST)
            assert [line.event for line in await journal.history(key)] in [
                list(WAY[:count]) for count in range(len(WAY) + 1)
            ]
    await journal.close()
    return found


def test_power_loss(tmp_path, prove) -> None:
    """All reported steps are there; the step in progress is either complete or absent."""
    checkpoints, seen = asyncio.run(lose_power_everywhere(tmp_path))
    counts = {"cuts": seen.total(), "lost commits": seen[None]}
    prove(POWER, "between two steps, with checkpoints", counts)
    assert seen.pop(None) == 0, f"seed {SEED}"
    assert checkpoints > 1
    assert seen.total() > MIN_CUTS
    assert seen.keys() == {True, False}


async def lose_power_everywhere(tmp_path: Path) -> tuple[int, Counter[bool | None]]:
    """Work, and open the files after each power loss; count whether the last step was kept.

    The key None counts files that lost a reported step or contain one that was never written.
    """
    rng = random.Random(SEED)  # noqa: S311  # reproducible
    (tmp_path / "work").mkdir()
    path, before = tmp_path / "cut" / "j.db", None
    checkpoints, seen = 0, Counter[bool | None]({None: 0})
    async for after in work(tmp_path / "work" / "j.db"):
        if before is not None:
            is_checkpoint = before.database != after.database
            checkpoints += is_checkpoint
            for _ in range(CUTS_PER_CHECKPOINT if is_checkpoint else 1):
                disk_after_power_loss(before, after, rng).write(path)
                found = await read_steps(path)
                is_whole = found in (before.reported, after.reported)
                seen[found == after.reported if is_whole else None] += 1
                shutil.rmtree(path.parent)
        before = after
    return checkpoints, seen
