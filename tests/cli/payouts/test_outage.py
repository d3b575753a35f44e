"""What a worker says of a provider that is gone: now and then, and once when it is back."""

import json
import socket
from types import SimpleNamespace

import pytest
from attrs import define, field
from postgres_schemas import DSN, needs_postgres
from till import rows

import smartglocal_async as sg
from smartglocal_async.cli.payouts.worker import Outage
from smartglocal_async.emulator import Fault, FaultKind, FaultScript
from smartglocal_async.envelope import AttemptResult

REFUSED = "ClientConnectorError: nobody listens"


@define(eq=False)
class Heard:
    """The printed lines, with a clock of the test."""

    now: float = 100.0
    said: list[str] = field(factory=list)
    outage: Outage = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.outage = Outage(self.said.append, self.said.append, lambda: self.now)

    def attempt(
        self, happened: AttemptResult | None, at: float, took: float = 0.0, **facts
    ) -> None:
        """Have an attempt end at some second."""
        self.now = 100.0 + at
        known = {"cause": None, "code": None, "http_status": None, **facts}
        details = SimpleNamespace(happened=happened, elapsed_seconds=took, **known)
        self.outage.on_attempt(details)


@pytest.fixture
def heard() -> Heard:
    """Return a listener of attempts."""
    return Heard()


def test_a_fault_now_and_then(heard):
    """It isn't worth a word, however long one of them took beside others that came through."""
    for at in range(100):
        heard.attempt(AttemptResult.NOT_SENT, at, cause=REFUSED)
        heard.attempt(AttemptResult.ACCEPTED, at + 0.5, http_status=200)
    heard.attempt(AttemptResult.UNKNOWN, 101, took=60.0, cause="TimeoutError: no answer in time")
    assert heard.said == []


def test_one_that_hangs(heard):
    """Near the end of a batch nothing else is in flight; two attempts prove no more than one."""
    heard.attempt(AttemptResult.UNKNOWN, 15, took=15.0)
    heard.attempt(AttemptResult.UNKNOWN, 30, took=15.0)
    assert heard.said == []


def test_a_machine_that_slept(heard):
    """All that was out ends at once, however long ago it began; what follows comes through."""
    for _ in range(64):
        heard.attempt(AttemptResult.UNKNOWN, 46, took=46.0)
    heard.attempt(AttemptResult.ACCEPTED, 46.2, http_status=200)
    assert heard.said == []


def test_nothing_comes_through(heard):
    """A line is printed every 10 seconds at most, with count and cause, and one when it ends."""
    for tenth in range(250):
        heard.attempt(AttemptResult.NOT_SENT, tenth / 10, cause=REFUSED)
    heard.attempt(None, 25.0)  # A cancelled attempt proves nothing.
    heard.attempt(AttemptResult.REFUSED, 25.5, code="amount_less_allowed_provider", http_status=400)
    heard.attempt(AttemptResult.ACCEPTED, 26, http_status=200)
    head = "the provider can't be reached: "
    assert heard.said == [
        f"{head}51 attempts failed in 5 s, the last: {REFUSED}",
        f"{head}151 attempts failed in 15 s, the last: {REFUSED}",
        "the provider can be reached again; before, 250 attempts failed in 26 s",
    ]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"cause": "TimeoutError: no answer in time"}, "TimeoutError: no answer in time"),
        ({"http_status": 503}, "HTTP 503"),
        ({"code": "internal_error", "http_status": 200}, "internal_error; HTTP 200"),
        ({}, "no answer"),
    ],
)
def test_the_cause(heard, facts, words):
    """It is the last one's."""
    for at in (15, 30, 45):
        heard.attempt(AttemptResult.UNKNOWN, at, took=15.0, **facts)
    (said,) = heard.said
    assert said.endswith(f"3 attempts failed in 45 s, the last: {words}")


@pytest.mark.slow
@needs_postgres
def test_a_worker_whose_provider_is_gone(till, schema, monkeypatch, run_provider):
    """It says so, and goes on when it is back; each is paid once."""
    till.opens()
    monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", sg.RequestCipher.new_key())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("SMARTGLOCAL_SERVER", f"http://127.0.0.1:{port}")
    at = f"{DSN}?schema={schema}"
    file = str(till.has(rows(3)))
    refused = till("submit", file, "--journal", at, "--yes", exits=4).stderr
    assert refused.startswith("smartglocal: the provider can't be reached, so nothing was sent")
    till("submit", file, "--journal", at, "--yes", "--offline", "--ignore-balance")
    worker = till.child("work", "--journal", at, "--json")
    assert worker.stdout is not None
    assert json.loads(worker.stdout.readline())["event"] == "started"
    gone = json.loads(worker.stdout.readline())
    assert gone["event"] == "trouble"
    assert "the provider can't be reached" in gone["message"]
    assert "Connect call failed" in gone["message"]
    provider = run_provider(port=port)
    while (back := json.loads(worker.stdout.readline()))["event"] == "trouble":
        assert worker.poll() is None
    assert back["event"] == "recovered"
    worker.terminate()
    _, err = worker.communicate(timeout=60)
    assert worker.returncode == 0, err
    assert gone["message"] in err
    assert back["message"] in err
    till("work", "--journal", at, "--until-done")
    assert [provider.order(f"k{n}").moved for n in range(3)] == [1] * 3


@pytest.mark.slow
@needs_postgres
def test_a_worker_whose_provider_fails_each_call(till, schema, monkeypatch):
    """On standard error, where no events are asked for."""
    till.opens(faults=FaultScript((Fault(FaultKind.SERVER_ERROR, rate=1.0),)))
    monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", sg.RequestCipher.new_key())
    at = f"{DSN}?schema={schema}"
    till(
        "submit", str(till.has(rows(3))), "--journal", at, "--yes", "--offline", "--ignore-balance"
    )
    worker = till.child("work", "--journal", at)
    assert worker.stderr is not None
    said = worker.stderr.readline()
    assert said.startswith("smartglocal: the provider can't be reached: ")
    assert said.endswith("HTTP 503\n")
    worker.terminate()
    out, err = worker.communicate(timeout=60)
    assert worker.returncode == 0, err
    assert "can't be reached" not in out
