"""Look at all that is to be paid, before the first of it is: sums, flaws, and what is twice."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Final, Generic, TypeVar

from attrs import define, field, frozen

from ..errors import InvalidRequest
from ..retry import Timing
from ..settings import RuleUse
from ..values.money import AmountDetails
from .files.file import PayoutFile, judge_of
from .files.rows import FileRow, Problem
from .orders import PayoutOrder
from .twins import Memory, Twin, remembering

T = TypeVar("T")

ExpectedTotals = Mapping[str, AmountDetails | Decimal | str]
_MOST_PROBLEMS: Final = 100


@frozen(kw_only=True)
class Preflight:
    """What a pre-flight found; the lists hold the first of each kind, the numbers count all."""

    count: int
    """Payouts that can be made."""
    totals: Mapping[str, int]
    """Currency -> sum of those, in minor units."""
    bad_rows: int
    """Rows that can't be paid; they are in no total."""
    problems: tuple[Problem, ...]
    problem_count: int
    advice: tuple[Problem, ...]
    """What the provider may well take all the same."""
    advice_count: int
    duplicates: tuple[Twin, ...]
    """Rows with the key of a row above."""
    duplicate_count: int
    repeats: tuple[Twin, ...]
    """Rows with the instrument and the amount of a row above, under another key: a warning."""
    repeat_count: int
    differences: Mapping[str, int]
    """Currency -> total less the expected one, in minor units; equal ones aren't there."""

    @property
    def is_fit(self) -> bool:
        """Whether nothing that was found forbids to pay; advice and repeats don't."""
        return not (self.bad_rows or self.duplicate_count or self.differences)


def preflight(
    source: PayoutFile | Iterable[PayoutOrder],
    *,
    expect_total: ExpectedTotals | None = None,
    most_problems: int = _MOST_PROBLEMS,
) -> Preflight:
    """Look at every payout of a source, in memory that doesn't grow with it; nothing is sent.

    A plain iterator is used up by that: give a file, or something that can be iterated again.
    ``expect_total`` maps each currency to the sum that you expect, in major units (``"1234.56"``)
    or as `AmountDetails`; another currency in the source is a difference, too. Of each list
    of findings the first ``most_problems`` are kept.

    Raises:
        InvalidRequest: an expected total is none, or the source gives something else than orders.
        OSError: the file can't be read, or the disk has no room for a temporary database.

    """
    expected = None if expect_total is None else dict(_minor_units(expect_total))
    return found_in(rows_of(source, RuleUse.REFUSE, Timing()), expected, most_problems)


def found_in(
    rows: Iterable[FileRow],
    expected: Mapping[str, int] | None = None,
    most_problems: int = _MOST_PROBLEMS,
) -> Preflight:
    """Look at every row; the expected totals are in minor units."""
    with remembering() as memory:
        tally = _Tally(memory, most_problems)
        for row in rows:
            tally.take(row)
    return tally.result(expected)


def rows_of(
    source: PayoutFile | Iterable[PayoutOrder], rules: RuleUse, timing: Timing
) -> Iterator[FileRow]:
    """Give the rows of a source; a file is held to rules of its own."""
    return source.rows() if isinstance(source, PayoutFile) else _rows(source, rules, timing)


@define(eq=False)
class _Found(Generic[T]):
    """Findings of one kind: the first ones, and the number of all."""

    most: int
    first: list[T] = field(factory=list[T])
    count: int = 0

    def add(self, finding: T) -> None:
        """Count one, and keep it if there is room."""
        self.count += 1
        if len(self.first) < self.most:
            self.first.append(finding)


@define(eq=False)
class _Tally:
    """What was found so far."""

    memory: Memory
    most: int
    totals: Counter[str] = field(factory=Counter[str], init=False)
    count: int = field(default=0, init=False)
    bad_rows: int = field(default=0, init=False)
    problems: _Found[Problem] = field(init=False)
    advice: _Found[Problem] = field(init=False)
    duplicates: _Found[Twin] = field(init=False)
    repeats: _Found[Twin] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.problems, self.advice = _Found[Problem](self.most), _Found[Problem](self.most)
        self.duplicates, self.repeats = _Found[Twin](self.most), _Found[Twin](self.most)

    def take(self, row: FileRow) -> None:
        """Take a row into account."""
        for problem in row.problems:
            (self.advice if problem.is_advice else self.problems).add(problem)
        if row.order is None:
            self.bad_rows += 1
            return
        self.count += 1
        self.totals[row.order.amount_details.currency] += row.order.amount_details.amount
        if (twin := self.memory.same_key(row.line, row.order)) is not None:
            self.duplicates.add(twin)
        elif (twin := self.memory.same_payment(row.line, row.order)) is not None:
            self.repeats.add(twin)

    def result(self, expected: Mapping[str, int] | None) -> Preflight:
        """Give what was found, beside the totals that were expected."""
        return Preflight(
            count=self.count,
            totals=dict(sorted(self.totals.items())),
            bad_rows=self.bad_rows,
            problems=tuple(self.problems.first),
            problem_count=self.problems.count,
            advice=tuple(self.advice.first),
            advice_count=self.advice.count,
            duplicates=tuple(self.duplicates.first),
            duplicate_count=self.duplicates.count,
            repeats=tuple(self.repeats.first),
            repeat_count=self.repeats.count,
            differences={} if expected is None else _differences(self.totals, expected),
        )


def _rows(orders: Iterable[PayoutOrder], rules: RuleUse, timing: Timing) -> Iterator[FileRow]:
    judge = judge_of(rules, timing)
    for place, order in enumerate(orders, 1):
        if not isinstance(order, PayoutOrder):  # pyright: ignore[reportUnnecessaryIsInstance]
            found = type(order).__name__
            raise InvalidRequest(f"source[{place - 1}]", f"expected PayoutOrder, got {found}")
        yield judge.order(place, order)


def _minor_units(expected: ExpectedTotals) -> Iterator[tuple[str, int]]:
    for currency, total in expected.items():
        where = f"expect_total.{currency}"
        if not isinstance(total, AmountDetails | Decimal | str):  # pyright: ignore[reportUnnecessaryIsInstance]
            # A bare number might be meant in either unit.
            words = "expected '1234.56' or Decimal (major units), or AmountDetails (minor units)"
            raise InvalidRequest(where, words)
        amount = total
        if not isinstance(amount, AmountDetails):
            amount = AmountDetails.of(amount, currency)
        if amount.currency != currency.lower():
            raise InvalidRequest(where, f"is an amount of {amount.currency}")
        yield amount.currency, amount.amount


def _differences(totals: Mapping[str, int], expected: Mapping[str, int]) -> dict[str, int]:
    found = {code: totals.get(code, 0) - expected.get(code, 0) for code in {*totals, *expected}}
    return {code: difference for code, difference in sorted(found.items()) if difference}
