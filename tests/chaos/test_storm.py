"""A fleet in a storm: each payout is made once, and none is lost."""

import asyncio
import os

import pytest
from postgres_server import needs_server
from storm import Plan, Woe, weather

import smartglocal_async as sg

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.no_cover,
    needs_server,
    pytest.mark.skipif(os.name != "posix", reason="processes are stopped by signals"),
]


@pytest.mark.parametrize("mode", [sg.Mode.MANUAL, sg.Mode.AUTOMATIC], ids=lambda mode: mode.value)
def test_a_storm(mode):
    """Killed, asleep past their leases, cut off from a database that falls, without their queue."""
    plan = Plan(
        payouts=120,
        workers=3,
        seed=7,
        mode=mode,
        concurrency=4,
        latency_seconds=0.1,
        woes=6,
        pause_seconds=0.6,
    )
    verdict = asyncio.run(weather(plan))
    assert verdict.wrong == [], f"seed {plan.seed}"
    assert verdict.counts["moved"] == verdict.counts["succeeded"] == plan.payouts, verdict.counts
    assert set(verdict.met) == set(Woe)
