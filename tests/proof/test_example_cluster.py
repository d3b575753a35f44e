"""The commands of the cluster guide and its example run as they are documented."""

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
from places import ROOT
from postgres_schemas import DSN, needs_postgres
from postgres_server import needs_server

pytestmark = pytest.mark.proof


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@needs_postgres
def test_commands_of_the_guide(tmp_path, schema):
    """The script of the guide runs as it is; only addresses and the count are replaced."""
    page = (ROOT / "docs/how-to/cluster.md").read_text(encoding="utf-8")
    script = re.search(r"^```sh\n(JOURNAL=.*?)^```$", page, re.MULTILINE | re.DOTALL)[1]
    for documented, used in (
        ("postgres://127.0.0.1:5432/postgres?schema=try_it", f"{DSN}?schema={schema}"),
        ("8080", str(free_port())),
        ("seq 2000", "seq 30"),
    ):
        assert documented in script
        script = script.replace(documented, used)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],  # noqa: S607 - the user's shell
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


def start_example(count: str, **options) -> "subprocess.Popen[str]":
    """Start the example in a process group of its own."""
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
def test_example_with_four_workers():
    """With its own database; two workers are killed, and both sides' counts agree."""
    done = start_example("60")
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
def test_interrupted_example():
    """Ctrl-C ends all processes with a message."""
    process = start_example("5000", start_new_session=True)
    assert process.stdout is not None
    while "payouts work, 4 times" not in (line := process.stdout.readline()):
        assert line, process.communicate()[1]
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out.endswith("interrupted: all that was started is ended\n")
    assert err == ""


@pytest.mark.parametrize("count", ["abc", "0", "-1", "1.5", "10x"])
def test_invalid_count(count):
    """An invalid count is refused with a message before anything starts."""
    done = start_example(count)
    out, err = done.communicate()
    assert (done.returncode, out) == (2, "")
    assert err == f"COUNT={count}: expected a whole number above zero\n"
