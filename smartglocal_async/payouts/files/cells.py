"""The cells of a row of a CSV as the wire form of its request."""

from collections.abc import Iterator, Sequence
from typing import Final

from attrs import evolve, frozen

from ...codec import Wire
from ...codec.instruments import wrapped
from ...errors import InvalidRequest
from ...values.money import AmountDetails
from .columns import Kind
from .header import Fields, Layout
from .judging import Judge
from .lines import flaw_of
from .rows import FileRow, Problem, refused

_PLACEHOLDER: Final = AmountDetails(1, "usd")
_NO_INSTRUMENT: Final = "is missing; fill one of card_token, card_number, iban and the like"


@frozen(eq=False)
class Cells:
    """Make rows of cells, under one header."""

    layout: Layout
    judge: Judge
    key: int
    amount: int
    currency: int

    @classmethod
    def under(cls, layout: Layout, judge: Judge) -> "Cells":
        """Make rows under a header."""
        return cls(layout, judge, *map(layout.cell_of, ("key", "amount", "currency")))

    def row(self, line: int, cells: Sequence[str], *, is_text: bool) -> FileRow:
        """Make a row."""
        layout, wanted = self.layout, len(self.layout.names)
        if not is_text:
            for cell, text in enumerate(cells):
                if (flaw := flaw_of(text)) is not None:
                    return refused(line, layout.column_at(cell), flaw)
        if len(cells) != wanted:
            return self._uneven(line, len(cells))
        problems = list[Problem]()
        wire = self._wire(line, cells, problems)
        row = self.judge.row(line, wire, layout.column_of)
        if "payment_method" not in wire:
            row = _without_instrument(row)
        if not problems:
            return row
        told = {problem.column for problem in problems}
        more = [problem for problem in row.problems if problem.column not in told]
        return evolve(row, order=None, problems=(*problems, *more))

    def _uneven(self, line: int, found: int) -> FileRow:
        names = self.layout.names
        if found < len(names):
            words = f"is missing: the row has {found} cells, the header {len(names)}"
            return refused(line, names[found], words)
        words = f"has no header: the row has {found} cells, the header {len(names)}; "
        return refused(line, str(len(names) + 1), f"{words}a cell with a comma needs quotes")

    def _wire(self, line: int, cells: Sequence[str], problems: list[Problem]) -> Wire:
        money = self._money(line, cells, problems)
        wire: Wire = {
            "key": cells[self.key],
            "amount_details": {"amount": money.amount, "currency": money.currency},
        }
        if (instrument := self._instrument(line, cells, problems)) is not None:
            wire["payment_method"] = instrument
        for steps, fields in self.layout.holders:
            if held := _filled(cells, fields):
                holder = wire
                for step in steps:
                    holder = holder.setdefault(step, {})
                holder |= held
        if contacts := [held for one in self.layout.contacts if (held := _filled(cells, one))]:
            wire.setdefault("customer", {})["contacts"] = contacts
        return wire

    def _money(self, line: int, cells: Sequence[str], problems: list[Problem]) -> AmountDetails:
        try:
            return AmountDetails.of(cells[self.amount], cells[self.currency])
        except InvalidRequest as error:
            cell = self.currency if error.field.endswith("currency") else self.amount
            column = self.layout.names[cell]
            words = error.problem if cells[cell] else "is empty"
        problems.append(Problem(line=line, column=column, problem=words))
        # So that the rest of the row is looked at, too.
        return _PLACEHOLDER if cell == self.currency else AmountDetails(1, cells[self.currency])

    def _instrument(self, line: int, cells: Sequence[str], problems: list[Problem]) -> Wire | None:
        found: tuple[Kind, Wire, str] | None = None
        for kind, fields in self.layout.instruments:
            if held := _filled(cells, fields):
                column = next(self.layout.names[cell] for cell, _ in fields if cells[cell])
                if found is not None:
                    words = f"is about another instrument than {found[2]}; fill one of them"
                    problems.append(Problem(line=line, column=column, problem=words))
                else:
                    found = kind, held, column
        if found is None:
            return None
        kind, held, column = found
        problems.extend(self._mistagged(line, cells, kind, column))
        return wrapped(kind.record, held)

    def _mistagged(
        self, line: int, cells: Sequence[str], kind: Kind, column: str
    ) -> Iterator[Problem]:
        for cell, path in self.layout.tags:
            if cells[cell] and cells[cell] != kind.tags.get(path):
                words = f"says another instrument than {column} does; it may stay empty"
                yield Problem(line=line, column=self.layout.names[cell], problem=words)


def _without_instrument(row: FileRow) -> FileRow:
    others = tuple(one for one in row.problems if one.column != "payment_method")
    whom = Problem(line=row.line, column="payment_method", problem=_NO_INSTRUMENT)
    return evolve(row, problems=(*others, whom))


def _filled(cells: Sequence[str], fields: Fields) -> Wire:
    return {name: text for cell, name in fields if (text := cells[cell])}
