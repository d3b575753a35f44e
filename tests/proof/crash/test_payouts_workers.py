"""Eight processes share one journal and one file: each payout is made once."""

import itertools
import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from places import PYTHONPATH
from postgres_schemas import DSN, needs_postgres

from smartglocal_async import emulator
from smartglocal_async.emulator import Fault, FaultKind

pytestmark = [pytest.mark.proof, needs_postgres]

HERE: Final = Path(__file__).parent
WORKERS: Final = 8
PAYOUTS: Final = 120
KINDS: Final = (FaultKind.BEFORE, FaultKind.AFTER, FaultKind.SERVER_ERROR, FaultKind.GARBAGE)
CALLS: Final = ("session/create", "session/start/payout", "session/confirm")
FAULTS: Final = emulator.FaultScript(
    Fault(kind, nth=(1,), key=f"p-{number}", operation=call)
    for number, (kind, call) in enumerate(itertools.product(KINDS, CALLS))
)


@pytest.fixture
def pay(key, tmp_path, schema):
    """Return a function that starts a worker; all are killed at the end."""
    (tmp_path / "shop.pem").write_bytes(key.pem())
    rows = [
        json.dumps(
            {
                "key": f"p-{number}",
                "amount_details": {"amount": 10_000, "currency": "usd"},
                "payment_method": {
                    "type": "card",
                    "card": {"type": "encrypted_card", "encrypted_card": {"number_hash": "h"}},
                },
                "participant_details": {"recipient": {"full_name": "Jane Roe"}},
            }
        )
        for number in range(PAYOUTS)
    ]
    (tmp_path / "night.jsonl").write_text("\n".join(rows), encoding="utf-8")

    with ExitStack() as stack:

        def start(url: str, number: int, stops_at: str = "") -> subprocess.Popen[str]:
            files = [str(tmp_path / name) for name in ("shop.pem", "night.jsonl")]
            worker = subprocess.Popen(
                [
                    *(sys.executable, str(HERE / "shared_worker.py"), url, *files),
                    *(DSN, schema, str(number), stops_at),
                ],
                env={**os.environ, "PYTHONPATH": PYTHONPATH},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(worker.communicate)
            stack.callback(worker.kill)
            return worker

        yield start


def counts_of(worker: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a worker's end; return the counts that it printed."""
    out, err = worker.communicate(timeout=120)
    assert worker.returncode == 0, err
    return json.loads(out)


def test_eight_processes_and_one_file(pay, key):
    """Together they pay each payout once, despite faults; all report the same."""
    with emulator.run_in_thread(public_key=key.public, faults=FAULTS) as provider:
        workers = [pay(provider.url, number) for number in range(WORKERS)]
        all_counts = [counts_of(worker) for worker in workers]
        moved = [provider.order(f"p-{number}").moved for number in range(PAYOUTS)]

    assert moved == [1] * PAYOUTS
    assert [one["succeeded"] for one in all_counts] == [PAYOUTS] * WORKERS
    assert sum(PAYOUTS - one["replayed"] for one in all_counts) == PAYOUTS


@pytest.mark.parametrize(
    "label",
    [
        "after writing create intended",
        "after writing session chosen",
        "after writing confirm intended",
    ],
)
def test_process_stopped_past_its_lease(pay, key, label):
    """The others take over its payouts; continued, it sends nothing."""
    with emulator.run_in_thread(public_key=key.public) as provider:
        stopped = pay(provider.url, 0, label)
        _, status = os.waitpid(stopped.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        others = [counts_of(pay(provider.url, number)) for number in range(1, 3)]
        requests = provider.report().requests
        stopped.send_signal(signal.SIGCONT)
        continued = counts_of(stopped)
        assert provider.report().requests == requests
        moved = [provider.order(f"p-{number}").moved for number in range(PAYOUTS)]

    assert moved == [1] * PAYOUTS
    assert [one["succeeded"] for one in [*others, continued]] == [PAYOUTS] * 3
