"""Within its bounds, no order of events pays twice, and what would be unsafe is found."""

import os
from typing import Final

import pytest
from attrs import evolve
from payout_search import LARGE, SAFE, UNSAFE, quick, search
from proving import MUST_FIND, ORDERS, UNTIL, rows_in_the_docs

pytestmark = [pytest.mark.thorough, pytest.mark.no_cover]

IS_LARGE: Final = "SMARTGLOCAL_LARGE_SEARCH" in os.environ


@pytest.mark.parametrize("name", SAFE)
def test_nobody_is_paid_twice(name, prove):
    """Every state within the bounds was seen, money moved once at most, and no row lies."""
    bounds = LARGE if IS_LARGE else quick(name)

    found = search(evolve(SAFE[name], bounds=bounds))

    counts = {"paid twice": found.double, "a row that lies": found.false}
    prove(ORDERS, name, {"states": found.states, "edges": found.edges, **counts})
    assert found.is_whole
    assert found.double == found.false == 0, found.example


@pytest.mark.parametrize("name", UNSAFE)
def test_the_search_has_teeth(name, prove):
    """What breaks an assumption, or a rule of the protocol, is found to pay twice or to lie."""
    found = search(UNSAFE[name], stop_after=1)

    counts = {"paid twice": found.double, "a row that lies": found.false}
    prove(MUST_FIND, name, {UNTIL: found.states, **counts})
    assert found.double + found.false


def test_the_page_has_every_search():
    """The tables in the documentation are of these searches, and of no others."""
    assert rows_in_the_docs(ORDERS) == sorted(SAFE)
    assert rows_in_the_docs(MUST_FIND) == sorted(UNSAFE)
