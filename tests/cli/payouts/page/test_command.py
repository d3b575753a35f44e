"""``payouts serve`` as a process: what it prints, its health, its end, and errors at the start."""

import html
import json
import re
import signal
import socket
import subprocess
import sys
from urllib.request import urlopen

import pytest
from till import rows

import smartglocal_async as sg

pytestmark = pytest.mark.slow


def started(child) -> dict:
    """Return what the command printed when it started."""
    line = child.stdout.readline()
    assert line, child.stderr.read()
    return json.loads(line)


def read(url: str) -> bytes:
    """Return what is served at an address of this machine."""
    with urlopen(url, timeout=30) as answer:  # noqa: S310 - http
        return answer.read()


@pytest.fixture
def paid(till):
    """Return a command line with a journal of two paid payouts and one that was declined."""
    till.opens()
    till("pay", str(till.has(rows(3, k1="666.01"))), "--yes", exits=1)
    return till


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_until_a_signal(paid, number):
    """It shows the default journal, serves health and counts, and ends at a signal with code 0."""
    child = paid.child("serve", "--port", "0", "--health", "0", "--json")
    facts = started(child)
    assert (facts["journal"], facts["token"]) == (str(paid.journal), None)
    assert facts["allows_changes"] is False
    assert b"p.csv" in read(facts["url"])
    health = re.search(r"(http://\S+)/healthz", child.stderr.readline())[1]
    for path, part in (
        ("healthz", b"ok"),
        ("readyz", b"ready"),
        ("metrics", b'smartglocal_journal_payouts{batch="p.csv",state="succeeded"} 2.0'),
        ("metrics", b"smartglocal_journal_halted 0.0"),
    ):
        assert part in read(f"{health}/{path}")
    child.send_signal(number)
    _, errors = child.communicate(timeout=60)
    assert (child.returncode, errors) == (0, "")


def test_what_is_printed(paid):
    """The address has the token in its fragment, if there is something to change."""
    child = paid.child("serve", str(paid.journal), "--port", "0", "--allow-changes")
    line, token = child.stdout.readline(), child.stdout.readline()
    link = re.fullmatch(r"showing \S+; open http://127\.0\.0\.1:\d+/#token=(\S+)\n", line)
    assert re.fullmatch(r"token: \S+\n", token)
    assert link[1] not in token
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) == 0


@pytest.mark.parametrize("is_right", [True, False], ids=["right", "another"])
def test_another_key_of_the_journal(till, is_right):
    """It is warned of at the start, and on each page."""
    till.opens()
    till.monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", sg.RequestCipher.new_key())
    till("pay", str(till.has(rows(2))), "--yes")
    if not is_right:
        till.monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", sg.RequestCipher.new_key())
    child = till.child("serve", "--port", "0", "--json")
    facts = started(child)
    words = b"SMARTGLOCAL_JOURNAL_KEY isn't the key of this journal"
    assert (words in html.unescape(read(facts["url"]).decode()).encode()) is not is_right
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=60)
    assert (child.returncode, words.decode() in errors) == (0, not is_right)


def test_it_can_not_start(paid):
    """Each problem is one line, with exit code 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for words, problem in (
            (["--port", str(port)], f"port {port} is in use"),
            (["nothing.journal"], "there is no journal nothing.journal"),
            (["--host", "10.1.2.3"], "can be reached by other machines"),
        ):
            child = paid.child("serve", *words)
            _, errors = child.communicate(timeout=60)
            assert child.returncode == 2
            assert problem in errors
            assert errors.count("\n") == 1


@pytest.mark.usefixtures("paid")
def test_without_jinja():
    """The message says what to install."""
    script = (
        "import sys; sys.modules['jinja2'] = None; sys.argv[0] = 'smartglocal'\n"
        "from smartglocal_async.cli import main; main()"
    )
    command = [sys.executable, "-c", script, "payouts", "serve", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "the page needs Jinja2: pip install 'smartglocal-async[pages]'" in done.stderr
