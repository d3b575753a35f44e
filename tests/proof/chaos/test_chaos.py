"""Several workers under random failures: each payout is made once, and none is lost."""

import asyncio
import os

import pytest
from chaos_driver import Failure, Plan, run_chaos
from postgres_server import needs_server

import smartglocal_async as sg

pytestmark = [
    pytest.mark.proof,
    needs_server,
    pytest.mark.skipif(os.name != "posix", reason="processes are stopped by signals"),
]


@pytest.mark.parametrize("mode", [sg.Mode.MANUAL, sg.Mode.AUTOMATIC], ids=lambda mode: mode.value)
def test_each_payout_once_under_random_failures(mode):
    """Workers are killed, stopped past their leases, and lose the database and their queue."""
    plan = Plan(
        payouts=200,
        workers=3,
        seed=7,
        mode=mode,
        concurrency=4,
        latency_seconds=0.1,
        failures=6,
        pause_seconds=0.6,
    )
    result = asyncio.run(run_chaos(plan))
    assert result.wrong == [], f"seed {plan.seed}"
    assert result.counts["moved"] == result.counts["succeeded"] == plan.payouts, result.counts
    assert set(result.met) == set(Failure)
