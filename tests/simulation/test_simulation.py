"""Payouts on a virtual clock: whatever a seed lets happen, nobody is paid twice or forgotten."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from attrs import evolve
from proving import BUGS as PLANTED
from proving import SEED, SEEDS, rows_in_the_docs
from sim_bugs import BUGS
from sim_judge import Broken
from sim_network import Fate
from sim_plan import Plan
from sim_worker import Code
from sim_world import World
from simulate import failure_of, failures

import smartglocal_async as sg
from smartglocal_async.emulator import Confirmation, Permission, Reaction
from smartglocal_async.journal.states import Step

pytestmark = [pytest.mark.thorough, pytest.mark.no_cover]

HERE: Final = Path(__file__).parent
CHUNKS, SEEDS_OF_A_CHUNK = 40, 50
WORST: Final = 300 if "SMARTGLOCAL_EVERY_POINT" in os.environ else 50
SEARCHED: Final = 400
"""A planted bug has to be found within so many seeds."""
NEVER_REACHED: Final = {Step.SENT_ONE_STEP, Step.CANCELLED}


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_what_must_hold_holds(chunk, prove):
    """After every step, and at the end every key is settled; what fails says how to see it."""
    first = chunk * SEEDS_OF_A_CHUNK
    broken = failures(range(first, first + SEEDS_OF_A_CHUNK))
    prove(
        SEEDS, "a provider that keeps A1 to A5", {"seeds": SEEDS_OF_A_CHUNK, "broken": len(broken)}
    )
    assert broken == []


@pytest.mark.parametrize("cancel", Permission)
def test_the_worst_provider(cancel, prove):
    """It confirms by itself, takes a second start, and ignores the header; it keeps A3 to A5."""

    def worst(plan: Plan) -> Plan:
        rules = evolve(
            plan.rules,
            confirmation=Confirmation.AUTOMATIC,
            second_start=Permission.ALLOW,
            idempotency_header=Reaction.IGNORE,
            cancel_created=cancel,
            late_cancel=Reaction.IGNORE,
        )
        return evolve(plan, mode=sg.Mode.AUTOMATIC, rules=rules)

    code = Code(plan=worst)
    broken = [told for seed in range(WORST) if (told := failure_of(seed, code))]
    can = "can" if cancel is Permission.ALLOW else "can't"
    name = f"the worst, and what was created {can} be cancelled"
    prove(SEEDS, name, {"seeds": WORST, "broken": len(broken)})
    assert broken == []


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name, prove):
    """By what it does to the money; a simulation that finds none of these would prove nothing."""
    found = next((seed for seed in range(SEARCHED) if pays_wrongly(seed, name)), None)
    assert found is not None
    prove(PLANTED, name, {SEED: found})


def pays_wrongly(seed: int, name: str) -> bool:
    """Say whether the money went wrong, or the code itself saw that it did."""
    try:
        World(seed, BUGS[name]).run()
    except Broken as broken:
        return re.search("money moved|halted without a reason", str(broken)) is not None
    return False


def test_a_seed_is_a_run():
    """To the last event, also in another process, where the hashes of texts are others."""
    for seed in range(10):
        first, second = World(seed), World(seed)
        first.run()
        second.run()
        assert first.events == second.events

    shown = [
        subprocess.run(
            [sys.executable, str(HERE / "simulate.py"), "7"],
            env={**os.environ, "PYTHONHASHSEED": number},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for number in ("1", "2")
    ]
    assert shown[0] == shown[1]
    assert "everything held" in shown[0]


def test_the_seeds_meet_everything():
    """Every step, every misfortune, and deaths, pauses and jumps of the clock."""
    met: Counter[object] = Counter()
    for seed in range(60):
        world = World(seed)
        world.run()
        met.update(word for event in world.events for word in event[1:])
    assert {step.name for step in Step if step not in NEVER_REACHED} - met.keys() == set()
    assert {fate.value for fate in Fate} - met.keys() == set()
    happenings = {"dies", "is paused for", "goes on", "jumps to", "webhook", "money", "raised"}
    assert happenings - met.keys() == set()


def test_a_failure_names_its_seed():
    """And the command that shows it again."""
    name = "every try has a key of its own"
    seed = next(seed for seed in range(SEARCHED) if failure_of(seed, BUGS[name]) is not None)
    told = failure_of(seed, BUGS[name])
    assert told is not None
    assert f"python tests/simulation/simulate.py {seed}" in told
    with pytest.raises(Broken, match=r"money moved|not settled"):
        World(seed, BUGS[name]).run()


def test_the_page_has_every_planted_bug():
    """The table in the documentation is of these bugs, and of no others."""
    assert rows_in_the_docs(PLANTED) == sorted(BUGS)
