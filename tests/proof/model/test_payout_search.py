"""Within its bounds, no order of events pays twice, and every deliberate fault is found."""

import os
from typing import Final

import pytest
from attrs import evolve
from payout_search import LARGE, SAFE, UNSAFE, quick, search
from proof_tables import MUST_FIND, ORDERS, STATES_SEARCHED, documented_rows

pytestmark = pytest.mark.proof

IS_LARGE: Final = "SMARTGLOCAL_LARGE_SEARCH" in os.environ


@pytest.mark.parametrize("name", SAFE)
def test_no_payout_is_paid_twice(name, prove):
    """Every state was visited: no payout is paid twice, has a wrong final state or is stuck."""
    bounds = LARGE if IS_LARGE else quick(name)

    found = search(evolve(SAFE[name], bounds=bounds))

    counts = {
        "paid twice": found.paid_twice,
        "wrong final state": found.wrong,
        "stuck": found.stuck,
    }
    prove(ORDERS, name, {"states": found.states, "edges": found.edges, **counts})
    assert found.is_whole
    assert found.paid_twice == found.wrong == found.stuck == 0, found.example


@pytest.mark.parametrize("name", UNSAFE)
def test_deliberate_faults_are_found(name, prove):
    """Each deliberate fault pays twice, makes a final state wrong or gets a payout stuck."""
    found = search(UNSAFE[name], stop_after=1)

    counts = {
        "paid twice": found.paid_twice,
        "wrong final state": found.wrong,
        "stuck": found.stuck,
    }
    prove(MUST_FIND, name, {STATES_SEARCHED: found.states, **counts})
    assert found.paid_twice + found.wrong + found.stuck


def test_page_lists_every_search():
    """The tables in the documentation list exactly these searches."""
    assert documented_rows(ORDERS) == sorted(SAFE)
    assert documented_rows(MUST_FIND) == sorted(UNSAFE)
