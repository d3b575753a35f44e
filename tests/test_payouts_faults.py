"""Every call of a payout under every fault, for providers of every kind: paid once at most."""

import pytest
from matrix import CALLS, DONE, EACH_JOURNAL, JOURNALS, Matrix, provider_like
from proving import FAULTS

import smartglocal_async as sg
from smartglocal_async.emulator import Permission, Reaction
from smartglocal_async.payouts.protocol import Call

pytestmark = [pytest.mark.thorough, pytest.mark.no_cover]


@pytest.mark.parametrize("second", Permission)
@pytest.mark.parametrize("header", Reaction)
@pytest.mark.parametrize("mode", sg.Mode)
@pytest.mark.parametrize("name", EACH_JOURNAL)
def test_paid_once_at_most(name, mode, header, second, key, tmp_path, schema, prove):  # noqa: PLR0913, PLR0917
    """Once where that is promised; what isn't known is called unknown; never twice."""
    rules = provider_like(mode, second_start=second, idempotency_header=header)
    played = Matrix(mode=mode, rules=rules).play(key, JOURNALS[name](tmp_path, schema))
    words = f"header {DONE[header]}, second start {DONE[second]}"
    prove(FAULTS, f"{mode.value}, {name}, {words}", played.counts)

    assert played.met == set(played.matrix.cells)
    assert played.twice == []
    assert played.unlike_the_docs == []


def test_no_call_is_left_out():
    """The matrix has every call that a payout may make."""
    assert {call for calls in CALLS.values() for call in calls} == set(Call)
