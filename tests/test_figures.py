"""The figures of the documentation match the tables of the code."""

import xml.etree.ElementTree as ET

import pytest
from places import ROOT
from state_diagram import FIGURES, drawn, payout_steps, session_statuses

from smartglocal_async.journal.states import STEPS, Event, Step
from smartglocal_async.models import SessionStatus


@pytest.mark.parametrize("name", FIGURES)
def test_the_figure_in_the_documentation(name) -> None:
    """It is what `python tests/support/state_diagram.py` writes, and it can be parsed."""
    text = (ROOT / "docs/images" / name).read_text("utf-8")
    assert text == drawn(FIGURES[name]())
    assert ET.fromstring(text).tag.endswith("svg")  # noqa: S314 - made here


def test_every_step_of_a_payout_is_drawn() -> None:
    """Once, as an arrow or as a dot, and every step has a place."""
    figure = payout_steps()
    edges = {**figure.arrows, **figure.dots}
    found = [
        (Step[source], Event(event), Step[target])
        for (source, target), events in edges.items()
        for event in events
    ]
    assert sorted(found, key=str) == sorted(((*key, to) for key, to in STEPS.items()), key=str)
    assert set(figure.places) == {step.name for step in Step}


def test_every_status_of_a_session_is_drawn() -> None:
    """In one of its spellings; only those that aren't final have a way out."""
    figure = session_statuses()
    assert set(figure.places) == {*SessionStatus} - {SessionStatus.CANCELED}
    assert {source for source, _ in figure.arrows} == {"created", "in_progress", "error"}
