"""Several workers under random failures: each payout is made once, and none is lost."""

import asyncio
import os

import pytest
from chaos_driver import Failure, Plan, run_chaos
from postgres_server import needs_server

import smartglocal_async as sg
from smartglocal_async import emulator

pytestmark = [
    pytest.mark.proof,
    needs_server,
    pytest.mark.skipif(os.name != "posix", reason="processes are stopped by signals"),
]


@pytest.mark.parametrize(
    ("mode", "second_start"),
    [
        (sg.Mode.MANUAL, emulator.Permission.REFUSE),
        (sg.Mode.AUTOMATIC, emulator.Permission.ALLOW),
    ],
    ids=lambda value: value.value,
)
def test_each_payout_once_under_random_failures(mode, second_start):
    """Workers are killed, stopped past their leases, and lose the database and their queue."""
    plan = Plan(
        payouts=200,
        workers=3,
        seed=7,
        mode=mode,
        second_start=second_start,
        concurrency=4,
        latency_seconds=0.1,
        failures=6,
        pause_seconds=0.6,
    )
    result = asyncio.run(run_chaos(plan))
    assert result.wrong == [], f"seed {plan.seed}"
    counts = result.counts
    assert counts["moved"] == counts["succeeded"], counts
    # Where a fault changes the amount of a session, its payout may wait for an operator.
    assert counts["succeeded"] >= plan.payouts - (second_start is emulator.Permission.REFUSE), (
        counts
    )
    assert set(result.met) == set(Failure)
