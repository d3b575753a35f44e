"""``payouts pay`` in a real process that is interrupted or killed, and run again."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import pytest
from terminal import open_terminal
from till import DECLINED, HEADER, rows, session_calls

from smartglocal_async.emulator import Fault, FaultKind, FaultScript

pytestmark = pytest.mark.slow

COUNT: Final = 40
START: Final = "session/start/payout"
# So that the file is long in the making when the signal comes, and quick when it goes on.
SLOW: Final = FaultScript((Fault(FaultKind.SLOW, operation=START, rate=1.0, seconds=0.3),))
ONE_BY_ONE: Final = ("pay", "p.csv", "--yes", "--concurrency", "1")


def until(condition: Callable[[], object]) -> None:
    """Wait for what a running process will surely bring about."""
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.002)


def ends(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end of a process; return its code and what it wrote."""
    said, told = child.communicate(timeout=60)
    return child.returncode, said, told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_and_run_again(till, number):
    """It ends in good order; the same command goes on, and each row is paid once."""
    provider = till.opens(faults=SLOW)
    till.has(rows(COUNT))
    child = till.child(*ONE_BY_ONE)
    until(lambda: provider.report().moved >= 3)
    child.send_signal(number)
    code, said, told = ends(child)
    assert code in {3, 6}  # 3 where one was waited for when the signal came.
    assert f"stopped early: {number.name} was received" in said
    assert "stopping after in-flight payouts; press Ctrl-C again to quit now" in told
    assert f"{number.name} was received" in told
    settled = provider.report().moved
    assert 3 <= settled < COUNT
    again = till.json("pay", "p.csv", "--yes")
    assert (again["succeeded"], again["replayed"]) == (COUNT, settled)
    assert (provider.report().moved, provider.report().moved_twice) == (COUNT, 0)
    assert len(till.results()) == COUNT


def test_killed_and_run_again(till):
    """Nothing is lost, nothing paid twice; the results are whole lines."""
    provider = till.opens(faults=SLOW)
    till.has(rows(COUNT))
    child = till.child("pay", "p.csv", "--yes", "--concurrency", "4")
    until(lambda: provider.report().moved >= 4)
    child.kill()
    assert ends(child)[0] == -signal.SIGKILL
    assert provider.report().moved < COUNT
    assert till.json("pay", "p.csv", "--yes")["succeeded"] == COUNT
    assert (provider.report().moved, provider.report().moved_twice) == (COUNT, 0)
    assert {row["state"] for row in till.results().values()} == {"succeeded"}
    assert len(till.results()) == COUNT


def test_interrupted_twice(till):
    """The second one ends at once, and says how to go on; nothing is paid twice."""
    hang = Fault(FaultKind.HANG, operation=START, nth=(1,), key="k0")
    provider = till.opens(faults=FaultScript((hang,)))
    till.has(rows(2))
    child = till.child(*ONE_BY_ONE)
    until(lambda: session_calls(provider) >= 2)
    child.send_signal(signal.SIGINT)
    assert child.stderr is not None
    assert "is new: it has no earlier payouts" in child.stderr.readline()
    assert child.stderr.readline().startswith("stopping after ")
    child.send_signal(signal.SIGINT)
    code, _, told = ends(child)
    assert code == 3
    assert "interrupted: payouts in flight are in the journal" in told
    assert "next: smartglocal payouts pay p.csv" in told
    assert till.json("pay", "p.csv", "--yes")["succeeded"] == 2
    assert (provider.report().moved, provider.report().moved_twice) == (2, 0)


def test_interrupted_twice_in_the_background(till):
    """A shell script ignores SIGINT in its background jobs; the second one still ends the job."""
    hang = Fault(FaultKind.HANG, operation=START, nth=(1,), key="k0")
    provider = till.opens(faults=FaultScript((hang,)))
    till.has(rows(2))
    child = till.child(*ONE_BY_ONE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    until(lambda: session_calls(provider) >= 2)
    child.send_signal(signal.SIGINT)
    assert child.stderr is not None
    assert "is new: it has no earlier payouts" in child.stderr.readline()
    assert child.stderr.readline().startswith("stopping after ")
    child.send_signal(signal.SIGINT)
    code, _, told = ends(child)
    assert code == 3
    assert "interrupted: payouts in flight are in the journal" in told


@pytest.mark.parametrize("text", [rows(COUNT).replace(".00,", ".99,"), "", HEADER])
def test_a_file_that_is_written_to_while_it_is_paid(till, text):
    """What was checked and confirmed is paid, and the output says that the file changed since."""
    provider = till.opens(faults=SLOW)
    path = till.has(rows(COUNT))
    child = till.child(*ONE_BY_ONE)
    until(lambda: provider.report().moved >= 2)
    with path.open("r+") as file:
        file.truncate()
        file.write(text)
    code, said, told = ends(child)
    assert code == 0
    assert f"{sum(100 + n for n in range(COUNT)):,}.00 USD" in said
    assert "p.csv: was changed during the run; it was paid as it was checked" in told
    moved = {
        movement.amount for n in range(COUNT) for movement in provider.order(f"k{n}").movements
    }
    assert moved == {(100 + n) * 100 for n in range(COUNT)}


def test_rows_that_were_not_begun(till):
    """The status of a file of which rows are missing isn't 0, and it names the next command."""
    provider = till.opens(faults=SLOW)
    till.has(rows(COUNT))
    child = till.child(*ONE_BY_ONE)
    until(lambda: provider.report().moved >= 2)
    child.send_signal(signal.SIGTERM)
    _ = ends(child)
    till("settle", "p.csv")
    shown = till("status", "p.csv", exits=6).stdout
    assert "`smartglocal payouts pay` continues the file" in " ".join(shown.split())


def test_status_and_report_beside_a_running_pay(till):
    """They read while it pays; a second `pay` prints which process has the journal."""
    hang = Fault(FaultKind.HANG, operation=START, nth=(1,), key="k3")
    provider = till.opens(faults=FaultScript((hang,)))
    till.has(rows(COUNT))
    child = till.child(*ONE_BY_ONE)
    until(lambda: provider.report().faults.get("hang"))
    named = ("--journal", str(till.journal))
    for name in ("PROJECT", "PRIVATE_KEY", "SERVER"):
        till.monkeypatch.delenv(f"SMARTGLOCAL_{name}")
    said = till("status", "p.csv", *named, "--json", exits=3)
    assert '"rows": 40' in said.stdout
    assert len(till("report", "p.csv", *named).stdout.splitlines()) > 3
    assert child.poll() is None
    till.monkeypatch.setenv("SMARTGLOCAL_PROJECT", provider.project)
    till.monkeypatch.setenv("SMARTGLOCAL_PRIVATE_KEY", "shop.pem")
    till.monkeypatch.setenv("SMARTGLOCAL_SERVER", provider.url)
    second = till("pay", "p.csv", "--yes", "--wait", "0", exits=2)
    command = "-m smartglocal_async payouts pay p.csv "
    assert re.search(rf"process {child.pid} \(\S+ {command}.*\) has it; only one", second.stderr)
    child.kill()
    assert ends(child)[0] == -signal.SIGKILL


def test_a_live_bar(till):
    """On a terminal: how far, how fast, what became of them, and how long; on standard error."""
    till.opens()
    till.has(rows(30, k3=DECLINED))
    ours, theirs = open_terminal()
    till.monkeypatch.setenv("COLUMNS", "120")
    till.monkeypatch.setenv("TERM", "xterm")
    till.monkeypatch.delenv("NO_COLOR", raising=False)
    child = till.child(*ONE_BY_ONE, stderr=theirs)
    os.close(theirs)
    shown = read_all(ours)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "30/30" in shown
    assert re.search(r"\d/s", shown)
    assert "29 paid, 1 failed" in shown
    assert "ETA" in shown
    assert "30/30" not in said


def read_all(number: int) -> str:
    """Read what a terminal was sent, until its program hangs up."""
    chunks: list[bytes] = []
    with suppress(OSError):  # Linux says EIO at the end.
        while chunk := os.read(number, 65_536):
            chunks.append(chunk)
    os.close(number)
    return b"".join(chunks).decode()
