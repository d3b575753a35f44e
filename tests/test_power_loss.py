"""The power goes between two acknowledged steps: what was told is there, checkpoints or not.

`test_journal_crash` cuts one log at every frame. Here the log is written over from its beginning,
and the database file under it, as happens after every 1,000 pages: what a disk may hold then is any
first part of the frames that came since, over what was there before; and, while a checkpoint runs,
any of the pages.
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
from proving import POWER
from test_journal_crash import DB_PAGE, FRAME_HEAD, LOG_HEAD, WAY

import smartglocal_async as sg

pytestmark = [pytest.mark.thorough, pytest.mark.no_cover]

SEED: Final = 20240527
PAYOUTS: Final = 13
REQUEST: Final = b"x" * 80_000  # Written again with every step: some 20 pages each.
FRAME: Final = FRAME_HEAD + DB_PAGE
CUTS_OF_A_CHECKPOINT: Final = 15
LEAST_CUTS: Final = 100
Steps = dict[str, sg.Step]


@frozen
class Disk:
    """What the three files hold, and what was told by then."""

    database: bytes
    log: bytes
    side: bytes
    told: Steps

    def write(self, path: Path) -> None:
        """Lay the files down."""
        path.parent.mkdir()
        path.write_bytes(self.database)
        path.with_name("j.db-wal").write_bytes(self.log)
        path.with_name("j.db.lock").write_bytes(self.side)


async def work(path: Path) -> AsyncGenerator[Disk]:
    """Bring payouts to their ends; give the files at every step that was told."""
    told: Steps = {}
    names = [path, path.with_name("j.db-wal"), path.with_name("j.db.lock")]

    def disk(entry: sg.Entry) -> Disk:
        told[entry.key] = entry.step
        return Disk(*(name.read_bytes() for name in names), dict(told))

    journal = sg.SQLiteJournal(path)
    await journal.open(SCOPE)
    for key in map(str, range(PAYOUTS)):
        yield disk(await journal.accept(new(key, request=REQUEST)))
        entry = await journal.claim(key, "me", LEASE)
        for event in WAY:
            entry = await journal.advance(entry, event, changes_for(event, f"s-{key}"))
            yield disk(entry)
    await journal.close()


def mixed(old: bytes, new: bytes, parts: Iterator[slice], dice: random.Random) -> bytes:
    """Give the old bytes with some of the new parts in them, in whatever order they came."""
    result = bytearray(old.ljust(len(new), b"\0"))
    for part in parts:
        if dice.random() < 0.5:
            result[part] = new[part]
    return bytes(result)


def lost_between(before: Disk, after: Disk, dice: random.Random) -> Disk:
    """Give what may be on the disk, if the power goes between two steps."""
    if before.database != after.database and dice.random() < 0.5:
        # The log is whole before a checkpoint begins; the pages of that may come in any order.
        pages = (slice(at, at + DB_PAGE) for at in range(0, len(after.database), DB_PAGE))
        database = mixed(before.database, after.database, pages, dice)
        return Disk(database, after.log, before.side, before.told)
    changed = [
        end
        for end in range(LOG_HEAD + FRAME, len(after.log) + 1, FRAME)
        if before.log[end - FRAME : end] != after.log[end - FRAME : end]
    ]
    frames = dice.choice([LOG_HEAD, *changed])
    end = frames + dice.choice([0, 100])  # Within the next one, too.
    log = after.log[:end] + before.log[end:]
    return Disk(before.database, log, before.side, before.told)


async def found_in(path: Path) -> Steps:
    """Open a journal, which has to be sound, and to miss nothing; give its steps."""
    journal = sg.SQLiteJournal(path)
    await journal.open(SCOPE)
    assert await journal.halted() is None
    found: Steps = {}
    for key in map(str, range(PAYOUTS)):
        if (entry := await journal.find(key)) is not None:
            found[key] = entry.step
            assert entry.request == REQUEST
            assert [line.event for line in await journal.history(key)] in [
                list(WAY[:count]) for count in range(len(WAY) + 1)
            ]
    await journal.close()
    return found


def test_the_power_goes(tmp_path, prove) -> None:
    """Everything told by then is there, and the step that was under way is whole or isn't."""
    checkpoints, seen = asyncio.run(cut_off_everywhere(tmp_path))
    counts = {"cuts": seen.total(), "lost commits": seen[None]}
    prove(POWER, "between two steps, over checkpoints", counts)
    assert seen.pop(None) == 0, f"seed {SEED}"
    assert checkpoints > 1
    assert seen.total() > LEAST_CUTS
    assert seen.keys() == {True, False}


async def cut_off_everywhere(tmp_path: Path) -> tuple[int, Counter[bool | None]]:
    """Work, and look at what each loss of power leaves; count whether it kept the last step.

    None: it lost one that was told, or made one up.
    """
    dice = random.Random(SEED)  # noqa: S311  # chance that can be repeated
    (tmp_path / "work").mkdir()
    path, before = tmp_path / "cut" / "j.db", None
    checkpoints, seen = 0, Counter[bool | None]({None: 0})
    async for after in work(tmp_path / "work" / "j.db"):
        if before is not None:
            is_checkpoint = before.database != after.database
            checkpoints += is_checkpoint
            for _ in range(CUTS_OF_A_CHECKPOINT if is_checkpoint else 1):
                lost_between(before, after, dice).write(path)
                found = await found_in(path)
                is_whole = found in (before.told, after.told)
                seen[found == after.told if is_whole else None] += 1
                shutil.rmtree(path.parent)
        before = after
    return checkpoints, seen
