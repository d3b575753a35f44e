"""Locks and reads at a position, here and with what Windows has instead."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from places import TESTS
from till import rows

from smartglocal_async.journal import file_access

SCRIPT = TESTS / "support/windows_like.py"


def like_windows(*words: str, exits: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line without what Windows lacks."""
    command = [sys.executable, str(SCRIPT), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == exits, (done.stdout, done.stderr)
    return done


@pytest.fixture(params=["flock", "msvcrt"])
def _system(request, monkeypatch) -> None:
    """Lock with flock, or as on Windows with a real lock behind its function."""
    if request.param == "msvcrt":
        windows_like = pytest.importorskip("windows_like")
        monkeypatch.setattr(file_access, "HAS_FLOCK", False)
        fake = type(sys)("msvcrt")
        fake.LK_NBLCK, fake.LK_UNLCK, fake.locking = 2, 0, windows_like.locking
        monkeypatch.setitem(sys.modules, "msvcrt", fake)
        for name in ("pread", "pwrite"):
            monkeypatch.delattr(os, name)


@pytest.mark.usefixtures("_system")
def test_a_lock_excludes_others(tmp_path) -> None:
    """Until it is undone, or the file is closed; the position of the file stays."""
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    first, second = (os.open(path, os.O_RDWR | file_access.OPEN) for _ in range(2))
    os.lseek(first, 3, os.SEEK_SET)
    file_access.lock(first)
    assert os.lseek(first, 0, os.SEEK_CUR) == 3
    with pytest.raises(BlockingIOError):
        file_access.lock(second)
    file_access.unlock(first)
    file_access.lock(second)
    with pytest.raises(BlockingIOError):
        file_access.lock(first)
    os.close(second)
    file_access.lock(first, waits=True)
    os.close(first)
    assert path.read_bytes() == b"0123456789"


@pytest.mark.usefixtures("_system")
def test_reads_and_writes_at_a_position(tmp_path) -> None:
    """Wherever the file was read or written before."""
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    opened = os.open(path, os.O_RDWR | file_access.OPEN)
    assert file_access.read_at(opened, 4, 6) == b"6789"
    file_access.write_at(opened, b"ab", 1)
    assert file_access.read_at(opened, 100, 0) == b"0ab3456789"
    assert file_access.read_at(opened, 5, 10) == b""
    os.close(opened)


@pytest.mark.slow
def test_every_module_is_imported_without_posix() -> None:
    """None needs fcntl, pwd, termios, resource and the like."""
    count = int(like_windows("--modules").stdout)
    package = Path(file_access.__file__).parents[1]
    files = [path for path in package.rglob("*.py") if path.name != "__main__.py"]
    assert count == len(files) - 1, "all but the package itself"


@pytest.mark.slow
def test_a_file_is_paid_without_posix(till) -> None:
    """With its journal, its results and its keys; a second process waits for the journal."""
    provider = till.opens()
    till.has(rows(5))
    at = {"cwd": till.folder, "env": dict(os.environ)}
    assert "can be paid" in like_windows("payouts", "check", "p.csv", **at).stdout
    paid = like_windows("payouts", "pay", "p.csv", "--yes", **at)
    assert "paid 5" in " ".join(paid.stdout.split())
    assert {row["state"] for row in till.results().values()} == {"succeeded"}
    till.has(rows(7))
    again = like_windows("payouts", "pay", "p.csv", "--yes", **at)
    assert "2 rows are new; 5 settled" in again.stderr
    assert (provider.report().moved, provider.report().moved_twice) == (7, 0)
    assert "succeeded 7" in " ".join(
        like_windows("payouts", "status", "p.csv", **at).stdout.split()
    )
    side = os.open(till.journal.with_name(f"{till.journal.name}.lock"), os.O_RDWR)
    file_access.lock(side)
    busy = like_windows("payouts", "pay", "p.csv", "--yes", "--wait", "0", exits=2, **at)
    assert "only one may write to it" in busy.stderr
    os.close(side)


@pytest.mark.slow
def test_an_emulator_is_ended_without_posix(tmp_path) -> None:
    """Its keys are generated in a folder that can't be opened, and a signal ends it."""
    words = ("emulator", "--port", "0", "--keys", str(tmp_path / "keys"))
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), *words], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        child.terminate()
        assert child.wait(timeout=60) == 0
    assert list((tmp_path / "keys").glob("*.pem"))
