"""A fleet from the commands that are told: a small night ends with zeros."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from postgres_schemas import DSN, needs_postgres
from postgres_server import needs_server

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.thorough, pytest.mark.no_cover]


def free_port() -> int:
    """Give a port on which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@needs_postgres
def test_the_commands_of_the_how_to(tmp_path, schema):
    """What a newcomer copies runs as it stands: only the places, and how many, are others here."""
    page = (ROOT / "docs/how-to/cluster.md").read_text(encoding="utf-8")
    script = re.search(r"^```sh\n(JOURNAL=.*?)^```$", page, re.MULTILINE | re.DOTALL)[1]
    for told, here in (
        ("postgres://127.0.0.1:5432/postgres?schema=try_it", f"{DSN}?schema={schema}"),
        ("8080", str(free_port())),
        ("seq 2000", "seq 30"),
    ):
        assert told in script
        script = script.replace(told, here)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],  # noqa: S607 - the shell that one has
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = shell.communicate(timeout=120)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
    assert shell.returncode == 0, out + err
    counts = json.loads(out.splitlines()[-1])
    assert (counts["moved"], counts["moved_twice"], counts["refused"]) == (30, 0, 0)


def night(count: str, **options) -> "subprocess.Popen[str]":
    """Start the example, in a session of its own."""
    settings = {"PYTHON": sys.executable, "COUNT": count, "SMARTGLOCAL_JOURNAL": ""}
    return subprocess.Popen(
        [str(ROOT / "examples/cluster/run.sh")],
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@needs_server
def test_a_night_of_four_workers():
    """With a database of its own; two workers are killed, and both sides' counts agree."""
    done = night("60")
    out, err = done.communicate()
    assert done.returncode == 0, out + err
    assert "2 workers killed by SIGKILL" in out
    rows = dict(re.findall(r"^(\w[\w ,]*?)  +(\d+ +\d+)$", out, re.MULTILINE))
    assert {name: counts.split() for name, counts in rows.items() if name != "cents paid"} == {
        "asked for, and known": ["60", "60"],
        "paid": ["60", "60"],
        **{name: ["0", "0"] for name in ("paid twice", "lost", "unknown", "open", "failed")},
    }
    assert out.endswith("\nEach payout once.\n")


@needs_server
def test_a_night_that_is_interrupted():
    """Ctrl-C, which reaches all of it, ends it with a line."""
    began = night("5000", start_new_session=True)
    assert began.stdout is not None
    while "payouts work, 4 times" not in (line := began.stdout.readline()):
        assert line, began.communicate()[1]
    os.killpg(began.pid, signal.SIGINT)
    out, err = began.communicate(timeout=60)
    assert began.returncode == 130, err
    assert out.endswith("interrupted: all that was started is ended\n")
    assert err == ""


@pytest.mark.parametrize("count", ["abc", "0", "-1", "1.5", "10x"])
def test_a_count_that_is_none(count):
    """It is refused with words, before anything is started."""
    done = night(count)
    out, err = done.communicate()
    assert (done.returncode, out) == (2, "")
    assert err == f"COUNT={count}: expected a whole number above zero\n"
