"""The example of a fleet, from its one command: a small night ends with zeros."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from postgres_server import needs_server

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.thorough, pytest.mark.no_cover, needs_server]


def test_a_night_of_four_workers():
    """With a database of its own; two workers are killed, and both sides' counts agree."""
    settings = {"PYTHON": sys.executable, "COUNT": "60", "SMARTGLOCAL_JOURNAL": ""}
    done = subprocess.run(
        [str(ROOT / "examples/cluster/run.sh")],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 workers killed by SIGKILL" in done.stdout
    rows = dict(re.findall(r"^(\w[\w ,]*?)  +(\d+ +\d+)$", done.stdout, re.MULTILINE))
    assert {name: counts.split() for name, counts in rows.items() if name != "cents paid"} == {
        "asked for, and known": ["60", "60"],
        "paid": ["60", "60"],
        **{name: ["0", "0"] for name in ("paid twice", "lost", "unknown", "open", "failed")},
    }
    assert done.stdout.endswith("\nEach payout once.\n")
