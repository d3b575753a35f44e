"""The demo's batch: real workers, really killed; its verdict follows from both sides' counts."""

import json
import subprocess
import sys

import pytest
from attrs import evolve
from places import ROOT
from typer.testing import CliRunner

from smartglocal_async.cli.app import app
from smartglocal_async.cli.demo import batch
from smartglocal_async.cli.demo.batch import BatchPlan, BatchResult, BatchWatcher, show_batch
from smartglocal_async.cli.tables import console
from smartglocal_async.emulator import Report
from smartglocal_async.payouts.orders import PayoutState

pytestmark = pytest.mark.slow

GOOD = BatchResult(
    plan=BatchPlan(payouts=4, faults=0.1, seed=7, concurrency=2),
    kills=(1, 2, 3),
    states={PayoutState.SUCCEEDED: 4},
    paid_sum=40_000,
    attempts=12,
    lost=0,
    paid=4,
    paid_twice=0,
    moved_sum=40_000,
    seconds=1.0,
    report=Report(
        requests=20,
        orders=4,
        sessions=5,
        duplicates=0,
        changed=0,
        bad_signatures=0,
        refused=0,
        faults={"before": 2},
        moved=4,
    ),
)


def test_a_batch_over_three_kills():
    """As a process of its own: zeros, and what each kill left."""
    done = subprocess.run(
        (sys.executable, "-m", "smartglocal_async", "demo", "--story", "batch", "--orders", "80"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("killed by SIGKILL") == 3
    assert "Each payout once: 80 of 80, over 3 kills." in done.stdout
    rows = {line[:40].strip(): line[40:].split() for line in done.stdout.splitlines()}
    assert (rows["Paid twice"], rows["Lost"], rows["Unknown"]) == (["0"], ["0"], ["0"])


def test_json_is_one_object():
    """With the same figures, for a script."""
    done = CliRunner().invoke(app, ("demo", "--story", "batch", "--orders", "40", "--json"))
    said = json.loads(done.stdout)
    assert done.exit_code == 0
    assert said["ok"] is True
    assert said["succeeded"] == said["paid_by_provider"] == said["payouts"] == 40
    assert said["paid_twice"] == said["lost"] == said["unknown"] == said["open"] == 0
    assert len(said["kills"]) == 3


@pytest.mark.parametrize(
    "flaw",
    [
        {"states": {PayoutState.SUCCEEDED: 3, PayoutState.UNKNOWN: 1}},
        {"paid": 3},
        {"paid_twice": 1},
        {"lost": 1},
        {"moved_sum": 50_000},
        {"kills": (1, 2)},
    ],
)
def test_whatever_is_wrong_fails_it(flaw, capsys):
    """And the words say so."""
    assert GOOD.is_good
    wrong = evolve(GOOD, **flaw)
    assert not wrong.is_good
    assert not wrong.as_dict()["ok"]
    show_batch(console(), wrong)
    assert "FAILED" in capsys.readouterr().out


def test_a_worker_that_ends_in_another_way(monkeypatch):
    """The output of the process is shown."""
    monkeypatch.setattr(batch, "_COLUMNS", ("key", "amount", "currency", *"abcd"))
    plan = BatchPlan(payouts=4, faults=0.0, seed=7, concurrency=2)
    watcher = BatchWatcher(
        serving=lambda _: None,
        started=lambda _: None,
        killed=lambda _, __: None,
        paid=lambda _: None,
    )
    with pytest.raises(batch.BatchHalted, match="worker 1 ended with exit code 1"):
        batch.play_batch(plan, watcher)
