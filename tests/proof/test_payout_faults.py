"""Every call of a payout under every fault, for all kinds of providers: paid at most once."""

import itertools
from typing import Final

import pytest
from fault_matrix import (
    CALLS,
    DONE,
    EACH_JOURNAL,
    JOURNALS,
    FaultMatrix,
    can_be_paid_once,
    cells_of,
    rules_like,
    wrong_answer_cells,
)
from proof_tables import FAULTS
from sampling import sample

import smartglocal_async as sg
from smartglocal_async.emulator import Fault, FaultKind, Permission, Reaction
from smartglocal_async.payouts.protocol import PayoutCall

pytestmark = pytest.mark.proof

SHARES: Final = 4
"""Each kind of provider is tested with a quarter of the cells, unless all points are requested."""
PROVIDERS: Final = list(itertools.product(JOURNALS, Reaction, Permission))


@pytest.mark.parametrize("second", Permission)
@pytest.mark.parametrize("header", Reaction)
@pytest.mark.parametrize("mode", sg.Mode)
@pytest.mark.parametrize("name", EACH_JOURNAL)
def test_paid_once_at_most(name, mode, header, second, key, tmp_path, schema, prove):  # noqa: PLR0913, PLR0917
    """Each payout ends in a documented state and is never paid twice."""
    rules = rules_like(mode, second_start=second, idempotency_header=header)
    cells = sample(cells_of(mode), PROVIDERS.index((name, header, second)), SHARES)
    result = FaultMatrix(mode=mode, rules=rules, cells=cells).run(
        key, JOURNALS[name](tmp_path, schema)
    )
    switches = f"header {DONE[header]}, second start {DONE[second]}"
    prove(FAULTS, f"{mode.value}, {name}, {switches}", result.counts)

    assert result.met == set(cells)
    assert result.twice == []
    assert result.undocumented == []


@pytest.mark.parametrize("second", Permission)
@pytest.mark.parametrize("header", Reaction)
@pytest.mark.parametrize("mode", sg.Mode)
@pytest.mark.parametrize("name", EACH_JOURNAL)
def test_wrong_answers(name, mode, header, second, key, tmp_path, schema):  # noqa: PLR0913, PLR0917
    """An answer about something else never pays twice and never reports a wrong outcome."""
    rules = rules_like(mode, second_start=second, idempotency_header=header)
    share = sample(wrong_answer_cells(mode), PROVIDERS.index((name, header, second)), SHARES)
    cells = [cell for cell in share if can_be_paid_once(cell, mode, rules)]
    result = FaultMatrix(mode=mode, rules=rules, cells=cells).run(
        key, JOURNALS[name](tmp_path, schema)
    )

    assert result.met == set(cells)
    assert result.wrong_reports == {
        "paid twice": [],
        "reported paid, not paid": [],
        "reported failed, paid": [],
        "reported failed": [],
    }
    may_be_unknown = {cell for cell in cells if cell.halts or mode is sg.Mode.ONE_STEP}
    unpaid = {
        cell: state
        for cell, state in result.outcomes.items()
        if state is not sg.PayoutState.SUCCEEDED
    }
    assert unpaid.keys() <= may_be_unknown
    assert set(unpaid.values()) <= {sg.PayoutState.UNKNOWN}


def test_every_call_is_tested():
    """The matrix has every call that a payout may make."""
    assert {call for calls in CALLS.values() for call in calls} == set(PayoutCall)


@pytest.mark.parametrize("mode", sg.Mode)
def test_every_fault_kind_is_tested(mode):
    """Each kind of fault is tested with each call that can meet it, and with each journal."""
    plain, wrong_answers = cells_of(mode), wrong_answer_cells(mode)
    for cells, journal in itertools.product((plain, wrong_answers), JOURNALS):
        places = [place for place, (name, *_) in enumerate(PROVIDERS) if name == journal]
        assert {cell for place in places for cell in sample(cells, place, SHARES)} == set(cells)
    for call in CALLS[mode]:
        met = {cell.kind for cell in (*plain, *wrong_answers) if cell.call is call}
        assert met == {kind for kind in FaultKind if Fault(kind).concerns(call.value)}
