"""What runs found, kept in a file, and written into the pages that show it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import cattrs
from attrs import define, field

from .calls import comparison
from .calls.plot import as_svg
from .goals import Goal, Profile, goals_table
from .machine import say
from .parts import PART_OF, PARTS
from .payouts import batch, rates
from .server import ROOT

PAGE: Final = ROOT / "docs/explanation/speed.md"
_PLOT: Final = PAGE.with_suffix(".svg")
_README: Final = ROOT / "README.md"
_END: Final = "<!-- end of figures -->"


@define(eq=False)
class Report:
    """What was measured, by part."""

    found: dict[str, Any] = field(factory=dict[str, Any])
    """What each part found; None where it can't be measured on the machine."""
    facts: dict[str, str] = field(factory=dict[str, str])
    """When, where and how each part was measured."""
    profiles: dict[str, str] = field(factory=dict[str, str])
    """What is in the way of goals that are missed."""
    machine: str = ""
    """The last machine, in short."""

    def goals(self, *names: str) -> list[Goal]:
        """Return the goals of these parts, or of all that were measured, in order."""
        parts = names or tuple(self.found)
        goals = [
            goal
            for name in parts
            if self.found[name] is not None
            for goal in PARTS[name].goals(self.found[name])
        ]
        return sorted(goals, key=lambda goal: goal.number)

    def part(self, name: str) -> str:
        """Return the tables of a part, and when and where it was measured."""
        found = self.found[name]
        if found is None:
            return f"Not measured: {PARTS[name].about}."
        return f"{self.facts[name]}\n\n{PARTS[name].tables(found)}"

    def all_goals(self, *names: str) -> str:
        """Return the goals as a table, and the profiles of what is in the way of those missed."""
        goals = self.goals(*names)
        missed = dict.fromkeys(
            goal.profile for goal in goals if not goal.is_reached and goal.profile is not None
        )
        profiles = [
            f"Goal {_numbers(goals, name)}: {name}.\n\n{self.profiles[name]}"
            for name in missed
            if name in self.profiles
        ]
        reached = sum(goal.is_reached for goal in goals)
        count = f"{reached} of {len(goals)} figures reach their goal."
        return "\n\n".join([goals_table(goals, PART_OF), count, *profiles])

    def for_readme(self) -> str:
        """Return the figures that the README shows."""
        rows = [
            comparison.for_readme(self.found["calls"]),
            rates.for_readme(self.found["payouts"]),
            batch.for_readme(self.found["batch"]),
        ]
        return "\n".join([f"{self.machine}:", "", "| Figure | Measured |", "|---|---|", *rows])

    # --- The file of results ------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write everything as JSON, each round's figures included."""
        plain = {
            "machine": self.machine,
            "facts": self.facts,
            "profiles": self.profiles,
            "found": cattrs.unstructure(self.found),
        }
        _ = path.write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path) -> "Report":
        """Read what `save` wrote."""
        plain = json.loads(path.read_text("utf-8"))
        found = {
            name: None if part is None else cattrs.structure(part, PARTS[name].kind)
            for name, part in plain["found"].items()
        }
        return cls(found, plain["facts"], plain["profiles"], plain["machine"])

    # --- The pages ----------------------------------------------------------------------------

    def write(self) -> None:
        """Replace the figures in the documentation and the README by those that were measured."""
        for path, name, text in self._blocks():
            _ = path.write_text(replaced(path.read_text("utf-8"), name, text), "utf-8")
            say(f"{path.relative_to(ROOT)}: {name}")
        if "calls" in self.found:
            _ = _PLOT.write_text(as_svg(self.found["calls"]), "utf-8")

    def _blocks(self) -> Iterator[tuple[Path, str, str]]:
        for name in self.found:
            yield PAGE, name, self.part(name)
        if self.found.keys() >= PARTS.keys():
            yield PAGE, "goals", self.all_goals()
        else:
            say("the table of goals stays as it was: it is written when every part is there")
        if self.found.keys() >= {"calls", "payouts", "batch"}:
            yield _README, "README", self.for_readme()


def _numbers(goals: list[Goal], profile: Profile) -> str:
    numbers = sorted(
        {goal.number for goal in goals if goal.profile == profile and not goal.is_reached}
    )
    return ", ".join(map(str, numbers))


def replaced(page: str, name: str, text: str) -> str:
    """Return the page with this text between the marks of a name.

    Raises:
        ValueError: the page has no such marks.

    """
    mark = f"<!-- figures: {name} -->"
    before, _, rest = page.partition(mark)
    _, end, after = rest.partition(_END)
    if not end:
        raise ValueError(f"the page has no {mark} with its {_END}")
    return f"{before}{mark}\n\n{text}\n\n{end}{after}"
