"""What a command says of a call that was done, lost or interrupted, wherever it can say it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from places import ROOT
from typer.testing import CliRunner

from smartglocal_async.cli.app import app
from smartglocal_async.cli.calls.views import without_numbers
from smartglocal_async.emulator import Fault, FaultKind, FaultScript

pytestmark = pytest.mark.slow

PAN = "4000000000003220"
TO_CARD = (
    *("--card-token", "hash4242424242424242", "--amount", "100.00", "--currency", "usd"),
    *("--set", "participant_details.recipient.full_name=Ann Example"),
)
HANGS = FaultScript((Fault(FaultKind.HANG, operation="session/confirm", rate=1.0),))


@pytest.fixture
def shell(key, tmp_path):
    """Return a function that starts the command in a shell, with an emulator's credentials."""
    path = tmp_path / "shop.pem"
    path.write_bytes(key.pem())

    def start(provider, line: str, **environment: str) -> subprocess.Popen:
        script = line.replace("smartglocal", '"$0" -m smartglocal_async', 1)
        return subprocess.Popen(
            ("/bin/bash", "-o", "pipefail", "-c", script, sys.executable),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "SMARTGLOCAL_PROJECT": "demo",
                "SMARTGLOCAL_PRIVATE_KEY": str(path),
                "SMARTGLOCAL_SERVER": provider.url,
                **environment,
            },
        )

    return start


@pytest.fixture
def run(key, tmp_path, monkeypatch):
    """Return a function that runs `session` in this process."""
    path = tmp_path / "shop.pem"
    path.write_bytes(key.pem())
    monkeypatch.setenv("SMARTGLOCAL_PROJECT", "demo")
    monkeypatch.setenv("SMARTGLOCAL_PRIVATE_KEY", str(path))

    def call(provider, *arguments: str):
        monkeypatch.setenv("SMARTGLOCAL_SERVER", provider.url)
        return CliRunner().invoke(app, ("session", *arguments), catch_exceptions=False)

    return call


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    """Wait for a process; return its code and what it wrote."""
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def wait_until_sent(provider, calls: int) -> None:
    """Wait until the emulator has seen so many requests."""
    for _ in range(600):
        if provider.report().requests >= calls:
            return
        time.sleep(0.05)
    raise AssertionError("nothing was sent")


@pytest.mark.parametrize("flags", ["", "--json"])
@pytest.mark.parametrize("to", [">/dev/full", ">&-"])
def test_done_call_that_cannot_be_printed(shell, provider, to, flags):
    """The code says that it was done, and the line where to see it."""
    code, _, err = ended(shell(provider, f"smartglocal session create {flags} {to}"))
    assert code == 5
    assert "the call was done; its answer could not be printed: " in err
    assert "smartglocal session status ps_1" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("flags", ["", "--json"])
def test_done_call_that_nobody_reads(shell, provider, flags):
    """A reader that went away takes nothing back: the call is done, quietly."""
    line = f"smartglocal session create {flags} | true"
    assert ended(shell(provider, line)) == (0, "", "")


def test_refusal_keeps_its_code_without_an_output(shell, provider):
    """Where nothing can be written the code tells still."""
    line = "smartglocal session status ps_404 --json >&- 2>&-"
    assert ended(shell(provider, line)) == (1, "", "")


@pytest.mark.parametrize("command", ["doctor", "demo --orders 5", "demo --story payout"])
def test_nobody_reads_what_is_no_call(shell, provider, command):
    """A closed pipe is no verdict."""
    assert ended(shell(provider, f"smartglocal {command} | true")) == (0, "", "")


def test_narrow_encoding(shell, provider):
    """A table on a terminal that knows ASCII only has escapes in it."""
    line = "smartglocal session create --metadata Straße"
    code, out, err = ended(shell(provider, line, PYTHONIOENCODING="ascii", PYTHONUTF8="1"))
    assert (code, err) == (0, "")
    assert "Stra\\xdfe" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_while_money_may_move(shell, run, run_provider, number):
    """An interrupted call prints its key, and exits with the code of an unknown outcome."""
    provider = run_provider(faults=HANGS)
    run(provider, "init-payout", *TO_CARD)
    process = shell(provider, "exec smartglocal session confirm ps_1 --json")
    wait_until_sent(provider, 2)
    process.send_signal(number)
    code, out, err = ended(process)
    said = json.loads(out)["error"]
    assert code == 3
    assert (said["operation"], said["session_id"]) == ("session/confirm", "ps_1")
    assert "outcome unknown: interrupted while the call was in flight; session ps_1; key " in err
    assert said["key"] in err
    assert "smartglocal session status ps_1, or wait for the webhook" in said["next"]


def test_interrupt_of_what_changes_nothing(shell, run_provider):
    """A question that is interrupted is no unknown outcome."""
    hangs = Fault(FaultKind.HANG, operation="session/status", rate=1.0)
    provider = run_provider(faults=FaultScript((hangs,)))
    process = shell(provider, "exec smartglocal session status ps_1")
    wait_until_sent(provider, 1)
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (130, "", "smartglocal: interrupted\n")


def test_lost_start_names_the_next_step(run, run_provider):
    """A start whose outcome is unknown names its session, and what to do about it."""
    lost = Fault(FaultKind.AFTER, operation="session/start/payout", rate=1.0)
    blind = Fault(FaultKind.AFTER, operation="session/status", rate=1.0)
    provider = run_provider(faults=FaultScript((lost, blind)))
    run(provider, "create")
    result = run(provider, "start-payout", "ps_1", *TO_CARD, "--json")
    said = json.loads(result.stdout)["error"]
    assert result.exit_code == 3
    assert said["next"] == (
        "smartglocal session status ps_1; if it shows no payout: "
        "smartglocal session cancel ps_1, and start in a new session"
    )
    assert f"session ps_1; next: {said['next']}" in result.stderr


def test_lost_init_has_no_session(run, run_provider):
    """Without a session there is the webhook to wait for."""
    lost = Fault(FaultKind.AFTER, operation="session/init/payout", rate=1.0)
    provider = run_provider(faults=FaultScript((lost,)))
    result = run(provider, "init-payout", *TO_CARD)
    assert result.exit_code == 3
    assert "next: wait for the webhook, or ask the provider's support" in result.stderr


def test_key_of_an_earlier_run(run, provider):
    """A session that has left its first status is shown as that of an earlier call."""
    assert run(provider, "create", "--key", "order-1").stderr == ""
    run(provider, "start-payout", "ps_1", *TO_CARD)
    again = run(provider, "create", "--key", "order-1")
    assert again.exit_code == 0
    assert "the session of an earlier call with this key: ps_1 is in_progress" in again.stderr


def test_numbers_in_answers_are_masked():
    """Card numbers and codes of instruments are masked; accounts, tokens and the rest stay."""
    wire = {
        "metadata": {"order": PAN, "security_code": "987"},
        "payments": [
            {"payment_method": {"type": "bank_card", "bank_card": {"number": PAN, "n": int(PAN)}}},
            {"payment_method": {"type": "card", "card": {"security_code": "987", "all": [PAN]}}},
            {"payment_method": {"type": "card", "card": {"number_hash": f"hash{PAN}"}}},
            {"payment_method": {"type": "bank_account", "bank_account": {"account": PAN}}},
        ],
    }
    assert without_numbers(wire) == {
        "metadata": {"order": PAN, "security_code": "***"},
        "payments": [
            {"payment_method": {"type": "bank_card", "bank_card": {"number": "***", "n": "***"}}},
            {"payment_method": {"type": "card", "card": {"security_code": "***", "all": ["***"]}}},
            {"payment_method": {"type": "card", "card": {"number_hash": f"hash{PAN}"}}},
            {"payment_method": {"type": "bank_account", "bank_account": {"account": PAN}}},
        ],
    }
