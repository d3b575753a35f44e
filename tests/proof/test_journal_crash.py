"""After a kill, a truncated log or a full disk, exactly the acknowledged writes are there."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from journal_conformance import LEASE, PATHS, SCOPE, changes_for, new
from places import PYTHONPATH
from proof_tables import POWER

import smartglocal_async as sg
from smartglocal_async.journal.states import STEPS

pytestmark = pytest.mark.proof

PAYOUTS = 3
WAY = (*PATHS[sg.journal.Step.CONFIRMED], sg.journal.Event.PAID)
DB_PAGE, LOG_HEAD, FRAME_HEAD = 4096, 32, 24

# Works through the payouts one by one; prints every step once it is acknowledged.
WORKER = """
import asyncio, os, signal, sys
from test_journal_crash import work
import smartglocal_async as sg

path, label, left = sys.argv[1], sys.argv[2], int(sys.argv[3])

def fault_point(at):
    global left
    if at == label:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

def report(key, step):
    os.write(1, f"{key} {int(step)}\\n".encode())

asyncio.run(work(sg.SQLiteJournal(path, fault_point=fault_point), report))
"""


async def work(journal: sg.journal.Journal, report) -> None:
    """Bring every payout to its end; report each step that the journal acknowledged."""
    await journal.open(SCOPE)
    for key in map(str, range(PAYOUTS)):
        report(key, (await journal.accept(new(key))).step)
        entry = await journal.claim(key, "me", LEASE)
        for event in WAY:
            entry = await journal.advance(entry, event, changes_for(event, f"s-{key}"))
            report(key, entry.step)
    await journal.close()


async def steps_of(path: Path) -> dict[str, sg.journal.Step]:
    """Open a journal, check its payouts, and return their steps."""
    journal = sg.SQLiteJournal(path)
    await journal.open(SCOPE)
    found = {}
    for key in map(str, range(PAYOUTS)):
        if (entry := await journal.find(key)) is not None:
            found[key] = entry.step
            lines = await journal.history(key)
            assert [line.event for line in lines] == list(WAY[: len(lines)])
            assert entry.step is (lines[-1].step if lines else sg.journal.Step.NEW)
            if entry.session_id is not None:
                assert await journal.by_session(entry.session_id) == entry
    await journal.close()
    return found


def read_acknowledged(printed: str) -> dict[str, sg.journal.Step]:
    """Return the last reported step of each payout."""
    lines = (line.split() for line in printed.splitlines())
    return {key: sg.journal.Step(int(step)) for key, step in lines}


@pytest.mark.parametrize("label", ["taken", "written", "committed", "resolved"])
@pytest.mark.parametrize("count", [1, 3, 8, 21])
def test_killed_process(tmp_path, label, count, prove) -> None:
    """Killed by SIGKILL before or after a commit: no acknowledged step is missing."""
    path = tmp_path / "j.db"
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(path), label, str(count)],
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    reported, found = read_acknowledged(done.stdout), asyncio.run(steps_of(path))
    order = all_steps()
    ahead = [order.index(found[key]) - order.index(step) for key, step in reported.items()]
    counts = {"cuts": 1, "lost commits": sum(steps < 0 for steps in ahead)}
    prove(POWER, "process killed while writing", counts)
    assert set(ahead) <= ({0} if label in {"taken", "written"} else {0, 1})
    assert len(found) - len(reported) in {0, 1}


def all_steps() -> list[sg.journal.Step]:
    """Return the steps from the first to the last."""
    steps = [sg.journal.Step.NEW]
    for event in WAY:
        steps.append(STEPS[steps[-1], event])
    return steps


async def record_work(
    path: Path,
) -> tuple[bytes, bytes, list[tuple[int, dict[str, sg.journal.Step]]]]:
    """Work, and return both files at the end, with the log's size at each reported step."""
    log = path.with_name(f"{path.name}-wal")
    now: dict[str, sg.journal.Step] = {}
    states: list[tuple[int, dict[str, sg.journal.Step]]] = []
    files: list[bytes] = []

    def report(key: str, step: sg.journal.Step) -> None:
        now[key] = step
        states.append((log.stat().st_size, dict(now)))
        files[:] = [path.read_bytes(), log.read_bytes()]

    await work(sg.SQLiteJournal(path), report)
    return files[0], files[1], states


@pytest.mark.parametrize("torn", [0, 100])
def test_truncated_log(tmp_path, torn, prove) -> None:
    """Cut at or within every frame: all steps reported by then are there, and no partial one."""
    database, log, states = asyncio.run(record_work(tmp_path / "whole.db"))
    path = tmp_path / "cut" / "j.db"
    frame, cuts = FRAME_HEAD + DB_PAGE, Counter[bool]()
    assert (len(log) - LOG_HEAD) % frame == 0
    for end in range(LOG_HEAD, len(log) + 1, frame):
        path.parent.mkdir()
        path.write_bytes(database)
        path.with_name("j.db-wal").write_bytes(log[: end + torn])
        reported = [steps for size, steps in states if size <= end]
        cuts[asyncio.run(steps_of(path)) == (reported[-1] if reported else {})] += 1
        shutil.rmtree(path.parent)
    where = f"{'within' if torn else 'after'} each frame of the log"
    prove(POWER, where, {"cuts": cuts.total(), "lost commits": cuts[False]})
    assert set(cuts) == {True}


FILLER = """
import asyncio, json, resource, sys
from journal_conformance import SCOPE, new
import smartglocal_async as sg

async def main():
    journal = sg.SQLiteJournal(sys.argv[1])
    await journal.open(SCOPE)
    if limit := int(sys.argv[2]):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    accepted, message = [], ""
    for n in range(20_000):
        try:
            await journal.accept(new(f"k{n}", request=b"x" * 4000))
        except sg.JournalUnusable as error:
            message = str(error)
            break
        accepted.append(f"k{n}")
    print(json.dumps({"accepted": accepted, "message": message}))

asyncio.run(main())
"""


def fill(path: Path, limit: int) -> dict:
    """Write until the disk is full; return the accepted keys and the error message."""
    done = subprocess.run(
        [sys.executable, "-c", FILLER, str(path), str(limit)],
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def keys_of(path: Path) -> list[str]:
    """Open a journal; return its keys."""
    journal = sg.SQLiteJournal(path)
    await journal.open(SCOPE)
    keys = [entry.key for entry in await journal.open_entries(10**6)]
    await journal.close()
    return keys


def test_file_size_limit(tmp_path) -> None:
    """The caller gets an error before anything is sent; the acknowledged entries are there."""
    result = fill(tmp_path / "j.db", 1_000_000)
    assert "the disk couldn't be read or written (SQLITE_IOERR_WRITE)" in result["message"]
    assert len(result["accepted"]) > 20
    assert asyncio.run(keys_of(tmp_path / "j.db")) == result["accepted"]


def test_full_disk(tmp_path) -> None:
    """A full disk raises its own message."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount") or "true"
    options = ["-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    _ = subprocess.run([mount, *options], capture_output=True, check=False)
    if not disk.is_mount():
        pytest.skip("only root may make a small disk")
    try:
        result = fill(disk / "j.db", 0)
        assert "the disk is full (SQLITE_FULL)" in result["message"]
        assert len(result["accepted"]) > 20
        shutil.copytree(disk, tmp_path / "copy")
    finally:
        _ = subprocess.run([shutil.which("umount") or "umount", str(disk)], check=True)
    assert asyncio.run(keys_of(tmp_path / "copy" / "j.db")) == result["accepted"]
