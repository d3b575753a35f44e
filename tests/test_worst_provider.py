"""The worst provider: it confirms by itself, takes a second start, and ignores the header."""

import pytest
from matrix import JOURNALS, Matrix, provider_like

import smartglocal_async as sg
from smartglocal_async.emulator import Permission, Reaction


@pytest.mark.thorough
@pytest.mark.parametrize("late_cancel", Reaction)
@pytest.mark.parametrize("make_journal", JOURNALS.values(), ids=JOURNALS)
def test_x(make_journal, late_cancel, key, tmp_path):
    rules = provider_like(
        sg.Mode.AUTOMATIC,
        second_start=Permission.ALLOW,
        idempotency_header=Reaction.IGNORE,
        cancel_created=Permission.REFUSE,
        late_cancel=late_cancel,
    )
    played = Matrix(mode=sg.Mode.AUTOMATIC, rules=rules).play(key, make_journal(tmp_path))

    assert played.met == set(played.matrix.cells)
    assert played.twice == []
    assert played.unlike_the_docs == []
