"""What is read of a file: rows, and what is wrong with them; never a value that pays."""

from typing import Final

from attrs import frozen

from ...errors import InvalidRequest
from ...values.exactness import without_card_numbers
from ..orders import PayoutOrder

_LONGEST_NAME: Final = 80


@frozen(kw_only=True)
class Problem:
    """What is wrong with a row, and what to do about it; no value of the row is in it."""

    line: int
    """Of the file, from 1: where the row begins. Of other sources, the place of the order."""
    column: str | None
    """The column's name in a CSV, the path of the field in JSON, or the character of the line."""
    problem: str
    page: str | None = None
    """The provider's page, or the standard, that says so."""
    is_advice: bool = False
    """Whether the provider may well take the payout all the same."""

    @property
    def place(self) -> str:
        """Line and column, in words."""
        return f"line {self.line}" + ("" if self.column is None else f", column {self.column}")

    @property
    def words(self) -> str:
        """What is wrong, and who says so."""
        return self.problem if self.page is None else f"{self.problem} ({self.page})"

    def __str__(self) -> str:
        return f"{self.place}: {self.words}"

    def in_file(self, name: str) -> InvalidRequest:
        """Give the error that says so."""
        return InvalidRequest(f"{name}, {self.place}", self.words)


@frozen(kw_only=True)
class FileRow:
    """A row of a file: the order, or why there is none."""

    line: int
    """Where it begins in the file, from 1."""
    order: PayoutOrder | None
    """None where a problem forbids to pay it."""
    problems: tuple[Problem, ...] = ()
    """All of them; advice (`Problem.is_advice`) forbids nothing."""


def refused(line: int, column: str | None, problem: str) -> FileRow:
    """Give a row that can't be read at all."""
    return FileRow(
        line=line, order=None, problems=(Problem(line=line, column=column, problem=problem),)
    )


def shown(name: str) -> str:
    """Give a name out of a file as it may be told: short, printable, and no card number."""
    masked = without_card_numbers(name) or ""
    text = masked if masked.isprintable() else ascii(masked)[1:-1]
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}..."
