"""A test that hangs fails with its traceback, on each loop, and the tests after it run."""

import os
import subprocess
import sys
from typing import Final

import pytest
from places import ROOT, SUPPORT, TESTS

HANGS: Final = """
import asyncio
import threading

import pytest

pytestmark = pytest.mark.both_loops


def test_blocks():
    threading.Event().wait()


async def test_waits():
    await asyncio.Event().wait()


def test_is_well():
    pass
"""


@pytest.mark.slow
def test_a_hang_fails_with_its_traceback(tmp_path) -> None:
    """Under pytest-xdist, too; on uvloop the process ends, and another one continues."""
    file = tmp_path / "test_flights.py"
    file.write_text(HANGS, encoding="utf-8")
    config = f"--config-file={ROOT / 'pyproject.toml'}"
    # The dump comes first, as in pyproject.toml: it reads the frames of a thread without a lock,
    # and a thread that a limit unwinds at that moment can end the process.
    limits = ("-o", "timeout=2", "-o", "faulthandler_timeout=1")
    options = ("-q", "-n1", *limits, "-p", "conftest", f"--rootdir={tmp_path}", config)
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(file)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (TESTS, SUPPORT))),
            "COLUMNS": "200",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    text = ended.stdout + ended.stderr
    assert ended.returncode == 1, text
    assert "3 failed, 1 passed" in text
    assert "test_blocks - Failed: Timeout (>2.0s) from pytest-timeout" in text
    assert "test_waits[asyncio] - Failed: Timeout (>2.0s) from pytest-timeout" in text
    assert "crashed while running 'test_flights.py::test_waits[uvloop]'" in text
    assert "threading.Event().wait()" in text
    assert "Timeout (0:00:01)!" in text
    assert text.count("in run_until_complete") >= 1


def test_every_test_has_a_limit(request) -> None:
    """300 seconds, or 1,800 where it is marked slow."""
    limits = {
        (item.get_closest_marker("slow") is not None, item.get_closest_marker("timeout").args[0])
        for item in request.session.items
    }
    assert (False, 300.0) in limits
    assert limits <= {(False, 300.0), (True, 1800.0)}
