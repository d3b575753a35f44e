"""The benchmarks run, keep what they found, and write it where it is shown."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import instructions, report
from benchmarks.goals import Goal, Profile
from benchmarks.parts import PARTS
from benchmarks.profiles import PROFILES
from benchmarks.spread import Spread

ROOT = Path(__file__).parent.parent
KEPT = {"bare": 400.0, "by hand": 700.0, "unsigned": 600.0, "own key": 900.0}


@pytest.mark.parametrize(
    ("changed", "worse"),
    [
        ({}, []),
        ({"unsigned": 617.9}, []),
        ({"unsigned": 618.1}, ["unsigned"]),
        ({"own key": 928.0, "unsigned": 700.0}, ["unsigned", "own key"]),
        ({"unsigned": 300.0}, []),
        # Another build of the interpreter takes 10 % fewer instructions, for everything.
        ({"bare": 360.0, "unsigned": 540.0, "own key": 810.0}, []),
        ({"bare": 360.0, "unsigned": 560.0, "own key": 810.0}, ["unsigned"]),
    ],
)
def test_instructions_are_compared(changed: dict[str, float], worse: list[str]) -> None:
    """Over 3 % more than what was kept is worse, scaled by what bare aiohttp takes here."""
    lines = instructions.compare({**KEPT, **changed}, KEPT)
    assert [line.partition(":")[0] for line in lines] == worse


def test_kept_instructions() -> None:
    """Each version of Python has a figure for each contender, and the libraries it is of."""
    kept: dict[str, Any] = json.loads(instructions.KEPT.read_text())
    assert kept
    for figures in kept.values():
        assert figures["k-instr"].keys() == instructions.NAMES.keys()
        assert figures["libraries"].keys() == instructions.versions().keys()


def test_parts_measure_every_goal() -> None:
    """Each of the 14 goals has the one part that measures it, and each profile can be made."""
    numbers = sorted(number for part in PARTS.values() for number in part.numbers)
    assert numbers == list(range(1, 15))
    assert PROFILES.keys() == set(Profile)


@pytest.mark.parametrize("name", [*PARTS, "goals"])
def test_pages_have_a_place_for_each_part(name: str) -> None:
    """The page on speed shows what each part found, between two marks."""
    page = report.replaced(report.PAGE.read_text("utf-8"), name, "| figures |")
    assert f"<!-- figures: {name} -->\n\n| figures |\n\n<!-- end of figures -->" in page


def test_a_page_without_the_place() -> None:
    """Nothing is written into a page that has no marks."""
    with pytest.raises(ValueError, match="has no"):
        _ = report.replaced("# Speed\n", "calls", "| figures |")


def test_spread() -> None:
    """A figure shows its quartiles, unless there is only one value."""
    assert Spread.of([1, 2, 3, 4, 5]).text(1) == "3.0 (2.0-4.0)"
    assert Spread.of([1.25]).text(2) == "1.25"
    assert Spread.of_ratios([2, 4], [1, 2]).text(0) == "2"


def test_goals_say_whether_they_are_reached() -> None:
    """The verdict is a word of the table."""
    goal = Goal(number=7, figure="f", target="1", measured="1", is_reached=True)
    assert goal.verdict == "reached"


@pytest.mark.slow
def test_a_quick_run(tmp_path: Path) -> None:
    """Some parts run, are kept, and aren't measured again where they are there already."""
    kept = tmp_path / "speed.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--results", str(kept)]
    parts = ["signatures", "batch", "check"]
    first, second = (
        subprocess.run(
            [*command, *parts], cwd=ROOT, check=True, capture_output=True, text=True, timeout=600
        )
        for _ in range(2)
    )
    assert "| 7 " in first.stdout
    assert "signatures made" in first.stdout
    assert "a check of" in first.stderr
    assert first.stdout == second.stdout
    assert "a check of" not in second.stderr
    assert json.loads(kept.read_text("utf-8"))["found"].keys() == set(parts)
