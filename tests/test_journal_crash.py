"""Killed, cut off and full: what a journal acknowledged is there, and nothing is half there."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from journal_conformance import LEASE, SCOPE, WAYS, changes_for, new
from proving import POWER

import smartglocal_async as sg
from smartglocal_async.journal.states import STEPS

pytestmark = [pytest.mark.thorough, pytest.mark.no_cover]

TESTS = Path(__file__).parent
PAYOUTS = 3
WAY = (*WAYS[sg.Step.CONFIRMED], sg.Event.PAID)
DB_PAGE, LOG_HEAD, FRAME_HEAD = 4096, 32, 24

# Works through the payouts one by one; prints every step once it is acknowledged.
WORKER = """
import asyncio, os, signal, sys
sys.path.insert(0, sys.argv[4])
from test_journal_crash import work
import smartglocal_async as sg

path, label, left = sys.argv[1], sys.argv[2], int(sys.argv[3])

def fault_point(at):
    global left
    if at == label:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

def told(key, step):
    os.write(1, f"{key} {int(step)}\\n".encode())

asyncio.run(work(sg.SQLiteJournal(path, fault_point=fault_point), told))
"""


async def work(journal: sg.Journal, told) -> None:
    """Bring every payout to its end, telling each step that the journal acknowledged."""
    await journal.open(SCOPE)
    for key in map(str, range(PAYOUTS)):
        told(key, (await journal.accept(new(key))).step)
        entry = await journal.claim(key, "me", LEASE)
        for event in WAY:
            entry = await journal.advance(entry, event, changes_for(event, f"s-{key}"))
            told(key, entry.step)
    await journal.close()


async def steps_of(path: Path) -> dict[str, sg.Step]:
    """Open a journal; give where its payouts stand, once each was found whole."""
    journal = sg.SQLiteJournal(path)
    await journal.open(SCOPE)
    found = {}
    for key in map(str, range(PAYOUTS)):
        if (entry := await journal.find(key)) is not None:
            found[key] = entry.step
            lines = await journal.history(key)
            assert [line.event for line in lines] == list(WAY[: len(lines)])
            assert entry.step is (lines[-1].step if lines else sg.Step.NEW)
            if entry.session_id is not None:
                assert await journal.by_session(entry.session_id) == entry
    await journal.close()
    return found


def read_acknowledged(printed: str) -> dict[str, sg.Step]:
    """Give the last step that was told of each payout."""
    lines = (line.split() for line in printed.splitlines())
    return {key: sg.Step(int(step)) for key, step in lines}


@pytest.mark.parametrize("label", ["taken", "written", "committed", "told"])
@pytest.mark.parametrize("count", [1, 3, 8, 21])
def test_a_process_that_is_killed(tmp_path, label, count, prove) -> None:
    """By SIGKILL, before or after a commit: nothing acknowledged is missing."""
    path = tmp_path / "j.db"
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(path), label, str(count), str(TESTS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    told, found = read_acknowledged(done.stdout), asyncio.run(steps_of(path))
    order = steps_on_the_way()
    ahead = [order.index(found[key]) - order.index(step) for key, step in told.items()]
    counts = {"cuts": 1, "lost commits": sum(steps < 0 for steps in ahead)}
    prove(POWER, "a process is killed as it writes", counts)
    assert set(ahead) <= ({0} if label in {"taken", "written"} else {0, 1})
    assert len(found) - len(told) in {0, 1}


def steps_on_the_way() -> list[sg.Step]:
    """Give the steps from the first to the last."""
    steps = [sg.Step.NEW]
    for event in WAY:
        steps.append(STEPS[steps[-1], event])
    return steps


async def recorded(path: Path) -> tuple[bytes, bytes, list[tuple[int, dict[str, sg.Step]]]]:
    """Work, and copy both files at the end; give them with the log's size at each step told."""
    log = path.with_name(f"{path.name}-wal")
    now: dict[str, sg.Step] = {}
    states: list[tuple[int, dict[str, sg.Step]]] = []
    files: list[bytes] = []

    def told(key: str, step: sg.Step) -> None:
        now[key] = step
        states.append((log.stat().st_size, dict(now)))
        files[:] = [path.read_bytes(), log.read_bytes()]

    await work(sg.SQLiteJournal(path), told)
    return files[0], files[1], states


@pytest.mark.parametrize("torn", [0, 100])
def test_a_log_that_was_cut_off(tmp_path, torn, prove) -> None:
    """At every frame, or within one: all that was told by then is there, and nothing half."""
    database, log, states = asyncio.run(recorded(tmp_path / "whole.db"))
    path = tmp_path / "cut" / "j.db"
    frame, cuts = FRAME_HEAD + DB_PAGE, Counter[bool]()
    assert (len(log) - LOG_HEAD) % frame == 0
    for end in range(LOG_HEAD, len(log) + 1, frame):
        path.parent.mkdir()
        path.write_bytes(database)
        path.with_name("j.db-wal").write_bytes(log[: end + torn])
        told = [steps for size, steps in states if size <= end]
        cuts[asyncio.run(steps_of(path)) == (told[-1] if told else {})] += 1
        shutil.rmtree(path.parent)
    where = f"{'within' if torn else 'behind'} each frame of the log"
    prove(POWER, where, {"cuts": cuts.total(), "lost commits": cuts[False]})
    assert set(cuts) == {True}


FILLER = """
import asyncio, json, resource, sys
sys.path.insert(0, sys.argv[2])
from journal_conformance import SCOPE, new
import smartglocal_async as sg

async def main():
    journal = sg.SQLiteJournal(sys.argv[1])
    await journal.open(SCOPE)
    if limit := int(sys.argv[3]):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    told, words = [], ""
    for n in range(20_000):
        try:
            await journal.accept(new(f"k{n}", request=b"x" * 4000))
        except sg.JournalUnusable as error:
            words = str(error)
            break
        told.append(f"k{n}")
    print(json.dumps({"told": told, "words": words}))

asyncio.run(main())
"""


def fill(path: Path, limit: int) -> dict:
    """Write until the disk takes no more; give what was told and what was said."""
    done = subprocess.run(
        [sys.executable, "-c", FILLER, str(path), str(TESTS), str(limit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def keys_of(path: Path) -> list[str]:
    """Open a journal; give its keys."""
    journal = sg.SQLiteJournal(path)
    await journal.open(SCOPE)
    keys = [entry.key for entry in await journal.open_entries(10**6)]
    await journal.close()
    return keys


def test_a_file_that_may_not_grow(tmp_path) -> None:
    """The caller hears of it before anything is sent; what was told is there."""
    said = fill(tmp_path / "j.db", 1_000_000)
    assert "the disk couldn't be read or written (SQLITE_IOERR_WRITE)" in said["words"]
    assert len(said["told"]) > 20
    assert asyncio.run(keys_of(tmp_path / "j.db")) == said["told"]


def test_a_disk_that_is_full(tmp_path) -> None:
    """The same, with the words for it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount") or "true"
    options = ["-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    _ = subprocess.run([mount, *options], capture_output=True, check=False)
    if not disk.is_mount():
        pytest.skip("only root may make a small disk")
    try:
        said = fill(disk / "j.db", 0)
        assert "the disk is full (SQLITE_FULL)" in said["words"]
        assert len(said["told"]) > 20
        shutil.copytree(disk, tmp_path / "copy")
    finally:
        _ = subprocess.run([shutil.which("umount") or "umount", str(disk)], check=True)
    assert asyncio.run(keys_of(tmp_path / "copy" / "j.db")) == said["told"]
