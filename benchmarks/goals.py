"""The goals: a figure each, beside what it should be."""

from collections.abc import Iterable, Sequence
from enum import StrEnum

from attrs import frozen


class Profile(StrEnum):
    """What can be profiled, to see what is in the way of a goal."""

    REUSED = "an unsigned call, one record reused, 50 in flight"
    UNSIGNED = "an unsigned call, 50 in flight"
    SIGNED = "a signed call, 50 in flight"
    SQLITE = "a payout over SQLite"
    POSTGRESQL = "a payout over PostgreSQL"
    CHECK = "a check of a file"
    CLIENT = "the imports of the first client"
    VERSION = "the imports of `smartglocal --version`"


@frozen(kw_only=True)
class Goal:
    """One figure of a goal."""

    number: int
    figure: str
    target: str
    measured: str
    is_reached: bool
    profile: Profile | None = None
    """What shows what is in the way where it is missed."""

    @property
    def verdict(self) -> str:
        """Whether it is reached, in a word."""
        return "reached" if self.is_reached else "missed"


def goals_table(goals: Iterable[Goal], commands: dict[int, str]) -> str:
    """Return the goals as a table; ``commands`` has what measures each."""
    rows = [
        (goal.number, goal.figure, goal.target, goal.measured, goal.verdict, commands[goal.number])
        for goal in sorted(goals, key=lambda goal: goal.number)
    ]
    return table(("#", "Figure", "Goal", "Measured", "", "`python -m benchmarks …`"), rows)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as GitHub's Markdown."""
    lines = [heads, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    drawn = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([drawn[0], rule, *drawn[1:]])
