"""Makes orders of the rows of a table, under a header that names its columns."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Final, TypeAlias

from attrs import define, evolve, field, frozen

from ...codec import ApiVersion, Wire
from ...codec.instruments import wrapped
from ...errors import InvalidRequest
from ...models.money import AmountDetails
from ...models.people import (
    Contact,
    Customer,
    IdentityDocument,
    Participant,
    ParticipantDetails,
)
from ..orders import PayoutOrder
from .amounts import AmountReader
from .cleaning import CLEANERS, COUNTRY, Clean
from .columns import CONTACTS, KINDS, METADATA, NEEDED, TAGS, Kind, name_of, similar
from .file_format import DELIMITERS, FileFormat, folded
from .rows import FileRow, Problem, RowChecker, refused, shown

Fields: TypeAlias = tuple[tuple[int, str], ...]
"""The fields of one object: index of the cell, name of the field."""
Cell: TypeAlias = "str | Decimal"
"""Text, or a number where a workbook has one in the column of the amounts."""


@frozen
class Layout:
    """Which cell of a row holds what."""

    names: tuple[str, ...]
    """The names of the columns, as the file has them."""
    paths: tuple[str, ...]
    """Empty for a column that isn't read."""
    instruments: tuple[tuple[Kind, Fields], ...]
    tags: tuple[tuple[int, str], ...]
    """Cells that name the kind of instrument, and the paths of their columns."""
    contacts: tuple[Fields, ...]
    holders: tuple[tuple[tuple[str, ...], Fields], ...]
    """The other objects, by the names on the way to them."""
    people: tuple[tuple[str, Fields], ...]
    """Of those the recipient and the sender."""
    has_only_people: bool
    """Whether there are no other objects."""
    nameless: tuple[int, ...]
    """Cells that have to be empty."""
    cleaners: tuple[tuple[int, Clean], ...]
    version: ApiVersion
    """The version of the API whose names the missing columns have."""

    def cell_of(self, path: str) -> int:
        """Return the index of the cell for a path."""
        return self.paths.index(path)

    def column_of(self, path: str) -> str:
        """Return the name of the column for a path; the one to add if the file has none."""
        return self.names[self.cell_of(path)] if path in self.paths else name_of(path, self.version)

    def column_at(self, cell: int) -> str:
        """Return the name of the column of a cell."""
        return self.names[cell] if cell < len(self.names) else str(cell + 1)


_PEOPLE: Final = "participant_details"
_SIDES: Final = frozenset({f"{_PEOPLE}.recipient", f"{_PEOPLE}.sender"})


def read_header(names: tuple[str, ...], file_format: FileFormat) -> Layout:
    """Return the layout of a header that has no problems."""
    paths = tuple("" if file_format.ignores(n) else file_format.path_of(n) or "" for n in names)
    fields: dict[str, list[tuple[int, str]]] = {}
    for cell, path in enumerate(paths):
        if path and path not in NEEDED and path not in TAGS:
            holder, _, name = path.rpartition(".")
            fields.setdefault(holder, []).append((cell, name))
    held = {holder: tuple(inside) for holder, inside in fields.items()}
    own = {kind.holder for kind in KINDS}.union(CONTACTS)
    people = {h.partition(".")[2]: inside for h, inside in held.items() if h in _SIDES}
    others = held.keys() - {kind.holder for kind in KINDS} - _SIDES
    return Layout(
        names,
        paths,
        tuple((kind, held[kind.holder]) for kind in KINDS if kind.holder in held),
        tuple((cell, path) for cell, path in enumerate(paths) if path in TAGS),
        tuple(held[contact] for contact in CONTACTS if contact in held),
        tuple((tuple(h.split(".")), inside) for h, inside in held.items() if h not in own),
        tuple(people.items()),
        not others,
        tuple(cell for cell, n in enumerate(names) if not (n or file_format.ignores(n))),
        # In the order of the table, as some cells are written in the way of their country.
        tuple((paths.index(path), clean) for path, clean in CLEANERS.items() if path in paths),
        file_format.names_of,
    )


def flaws(line: int, names: tuple[str, ...], file_format: FileFormat) -> Iterator[Problem]:
    """Yield the problems of a header."""
    read = [None if file_format.ignores(name) else file_format.path_of(name) for name in names]
    missing = [name for name in NEEDED if name not in read]
    for name in missing:
        yield Problem(line=line, column=name, problem=_missing(names, file_format))
    paths = list[str | None]()
    for cell, (name, path) in enumerate(zip(names, read, strict=True)):
        if file_format.ignores(name) or not name:
            pass  # A column without a name has to be empty, as a spreadsheet leaves it.
        elif path is None:
            yield _unknown(line, cell, name, file_format.names_of, is_header=not missing)
        elif path in paths:
            first = names[paths.index(path)]
            words = f"is there twice: the column {shown(first)} before it is the same"
            yield Problem(line=line, column=shown(name), problem=words)
        elif path.startswith(METADATA) and (above := _above(path, read)):
            words = f"is inside {shown(above)}, which has its own column"
            yield Problem(line=line, column=shown(name), problem=words)
        paths.append(path)
    yield from _unmapped(line, names, file_format)


def _unmapped(line: int, names: tuple[str, ...], file_format: FileFormat) -> Iterator[Problem]:
    """Yield the names of a mapping that no column has."""
    has = FileFormat(ignored=frozenset(names)).ignored
    for name in file_format.columns:
        if name not in has:
            words = "isn't there, and you map it to a field; correct the name in the mapping"
            yield Problem(line=line, column=shown(name), problem=words)
    read = [name for name in map(folded, names) if name and not file_format.ignores(name)]
    for name in sorted(file_format.ignored - has):
        alike = get_close_matches(name, read, n=1, cutoff=0.75)
        if alike:
            words = f"isn't there, and you ignore it; did you mean {shown(alike[0])}?"
            yield Problem(line=line, column=shown(name), problem=words)


def _missing(names: tuple[str, ...], file_format: FileFormat) -> str:
    words = (
        "is missing; the first line names the columns: key, amount, currency and others, or map "
        "your own names to these"
    )
    for separator, name in DELIMITERS.items():
        if len(names) == 1 and separator in names[0] and file_format.delimiter != separator:
            return f"{words}; are there {name} between them?"
    return words


def _unknown(line: int, cell: int, name: str, version: ApiVersion, *, is_header: bool) -> Problem:
    alike = similar(name, version)
    # Without a header the first line is a row of values, which must not be shown.
    column = shown(name) if is_header or alike else str(cell + 1)
    advice = f"; did you mean {' or '.join(alike)}?" if alike else ""
    words = f"is no column of payouts{advice}"
    advice = "; map it to one, or ignore it" if not alike and is_header else ""
    return Problem(line=line, column=column, problem=f"{words}{advice}")


def _above(path: str, paths: list[str | None]) -> str | None:
    steps = path.split(".")
    above = (".".join(steps[:number]) for number in range(2, len(steps)))
    return next((other for other in above if other in paths), None)


_NOTHING: Final[Wire] = {}
_PLACEHOLDER: Final = AmountDetails(1, "usd")
_NO_INSTRUMENT: Final = "is missing; fill one of card_token, card_number, iban and the like"


@define(eq=False)
class Cells:
    """Makes rows from cells, under one header."""

    layout: Layout
    checker: RowChecker
    amounts: AmountReader
    key: int
    amount: int
    currency: int
    country: int | None
    separator: str = "comma"
    """What a cell with it in the middle needs quotes for."""
    _last_sender: tuple[Wire, Participant] | None = field(default=None, init=False)

    @classmethod
    def under(
        cls, layout: Layout, checker: RowChecker, file_format: FileFormat, separator: str = "comma"
    ) -> "Cells":
        """Return what makes rows under a header."""
        return cls(
            layout,
            checker,
            AmountReader(
                file_format.decimal,
                is_given=file_format.is_decimal_given,
                assumed=file_format.assumed_decimal,
            ),
            layout.cell_of("key"),
            layout.cell_of("amount"),
            layout.cell_of("currency"),
            layout.cell_of(COUNTRY) if COUNTRY in layout.paths else None,
            separator,
        )

    def row(self, line: int, cells: Sequence[Cell], problems: Sequence[Problem] = ()) -> FileRow:
        """Return the row that these cells make; the problems are those of single cells."""
        if (misplaced := self._misplaced(line, cells)) is not None:
            return misplaced
        found = list(problems)
        texts = self._clean(cells)
        money = self._money(line, texts, found)
        instrument = self._instrument(line, texts, found)
        if not found and instrument is not None and self.layout.has_only_people:
            row = self._quick_row(line, texts, money, instrument)
            if row is not None:
                return row
        wire = self._wire(texts, money, instrument)
        if not found and (order := self._order(wire, money, instrument)) is not None:
            return self.checker.judged(line, order, wire, self.layout.column_of)
        row = self.checker.row(line, wire, self.layout.column_of)
        if "payment_method" not in wire:
            row = _without_instrument(row, self.layout.column_of("payment_method"))
        if not found:
            return row
        named = {problem.column for problem in found}
        if problems:  # What is wrong with these cells is known; another may be the instrument.
            first = {problem.column: problem for problem in reversed(found)}
            found = [problem for problem in found if first[problem.column] is problem]
            named.add(self.layout.column_of("payment_method"))
        more = [problem for problem in row.problems if problem.column not in named]
        return evolve(row, order=None, problems=(*found, *more))

    def _quick_row(
        self, line: int, cells: Sequence[Any], money: AmountDetails, instrument: tuple[Kind, Wire]
    ) -> FileRow | None:
        """Return the row of most orders; None where more has to be looked at."""
        people = {side: _filled(cells, fields) for side, fields in self.layout.people}
        own = {"key": cells[self.key], _PEOPLE: people if self.checker.makes_people else _NOTHING}
        order = self._order(own, money, instrument)
        if order is None:
            return None
        parts = instrument[1], people.get("recipient", _NOTHING), people.get("sender", _NOTHING)
        return self.checker.quickly_judged(
            line,
            order,
            parts,
            lambda: self._wire(cells, money, instrument),
            self.layout.column_of,
        )

    def _misplaced(self, line: int, cells: Sequence[Cell]) -> FileRow | None:
        """Return why cells don't fit the header; None if they do."""
        if len(cells) != len(self.layout.names):
            return self._uneven(line, len(cells))
        for cell in self.layout.nameless:
            if cells[cell]:
                return refused(line, str(cell + 1), "is in a column that has no name in the header")
        return None

    def _uneven(self, line: int, found: int) -> FileRow:
        names = self.layout.names
        if found < len(names):
            words = f"is missing: the row has {_cells(found)}, the header {len(names)}"
            return refused(line, names[found], words)
        words = f"has no header: the row has {_cells(found)}, the header {len(names)}; "
        advice = f"a cell with a {self.separator} needs quotes"
        return refused(line, str(len(names) + 1), f"{words}{advice}")

    def _clean(self, cells: Sequence[Cell]) -> Sequence[Cell]:
        """Write identifiers in the provider's form."""
        texts = list(cells)
        country = ""
        for cell, clean in self.layout.cleaners:
            text = texts[cell]
            if text and isinstance(text, str):
                texts[cell] = cleaned = clean(text, country)
                if cell == self.country:
                    country = cleaned.upper()
        return texts

    def _wire(
        self, cells: Sequence[Any], money: AmountDetails, instrument: tuple[Kind, Wire] | None
    ) -> Wire:
        wire: Wire = {
            "key": cells[self.key],
            "amount_details": {"amount": money.amount, "currency": money.currency},
        }
        if instrument is not None:
            kind, held = instrument
            wire["payment_method"] = wrapped(kind.record, held)
        for steps, fields in self.layout.holders:
            if held := _filled(cells, fields):
                holder = wire
                for step in steps:
                    holder = holder.setdefault(step, {})
                holder |= held
        if contacts := [held for one in self.layout.contacts if (held := _filled(cells, one))]:
            wire.setdefault("customer", {})["contacts"] = contacts
        return wire

    def _money(self, line: int, cells: Sequence[Cell], problems: list[Problem]) -> AmountDetails:
        amount, currency = cells[self.amount], str(cells[self.currency])
        try:
            if isinstance(amount, str):
                return self.amounts.read(amount, currency)
            return AmountDetails.of(amount, currency)
        except InvalidRequest as error:
            wrong = error
        if not wrong.field.endswith("currency"):
            problems.append(self._problem(line, self.amount, wrong, amount))
            try:  # So that the rest of the row is checked, too.
                return AmountDetails(1, currency)
            except InvalidRequest as error:
                wrong = error
        problems.append(self._problem(line, self.currency, wrong, currency))
        return _PLACEHOLDER

    def _problem(self, line: int, cell: int, error: InvalidRequest, value: Cell) -> Problem:
        words = "is empty" if value == "" else error.problem
        return Problem(line=line, column=self.layout.names[cell], problem=words)

    def _instrument(
        self, line: int, cells: Sequence[Any], problems: list[Problem]
    ) -> tuple[Kind, Wire] | None:
        found: tuple[Kind, Wire] | None = None
        first: Fields = ()
        for kind, fields in self.layout.instruments:
            if held := _filled(cells, fields):
                if found is not None:
                    column, other = self._first_of(cells, fields), self._first_of(cells, first)
                    words = f"belongs to another instrument than {other}; fill only one of them"
                    problems.append(Problem(line=line, column=column, problem=words))
                else:
                    found, first = (kind, held), fields
        if found is not None and self.layout.tags:
            column = self._first_of(cells, first)
            problems.extend(self._wrong_tags(line, cells, found[0], column))
        return found

    def _first_of(self, cells: Sequence[Any], fields: Fields) -> str:
        """Return the name of the first column of some fields that is filled."""
        return next(self.layout.names[cell] for cell, _ in fields if cells[cell])

    def _wrong_tags(
        self, line: int, cells: Sequence[Any], kind: Kind, column: str
    ) -> Iterator[Problem]:
        for cell, path in self.layout.tags:
            if cells[cell] and cells[cell] != kind.tags.get(path):
                words = f"names another instrument than {column}; leave it empty"
                yield Problem(line=line, column=self.layout.names[cell], problem=words)

    def _order(
        self, wire: Wire, money: AmountDetails, instrument: tuple[Kind, Wire] | None
    ) -> PayoutOrder | None:
        """Return the order of a row, which is that of the codec; None where the codec has to look.

        A cell is text, so the records need no hooks: this takes half of the codec's time.
        """
        if instrument is None:
            return None
        kind, held = instrument
        people, customer, key = wire.get(_PEOPLE), wire.get("customer"), wire["key"]
        try:
            return PayoutOrder(
                key=f"{self.checker.key_prefix}{key}" if key else key,
                payment_method=kind.record(**held),
                amount_details=money,
                participant_details=None if people is None else self._people(people),
                customer=None if customer is None else _customer(customer),
                metadata=wire.get("metadata"),
            )
        except (InvalidRequest, TypeError):
            return None

    def _people(self, people: Wire) -> ParticipantDetails | None:
        sender, recipient = people.get("sender"), people.get("recipient")
        if not (sender or recipient):
            return None
        return ParticipantDetails(
            sender=self._sender(sender) if sender else None,
            recipient=_participant(recipient) if recipient else None,
        )

    def _sender(self, fields: Wire) -> Participant:
        """Return a sender, most often that of the row before."""
        if self._last_sender is None or self._last_sender[0] != fields:
            self._last_sender = fields, _participant(fields)
        return self._last_sender[1]


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _participant(fields: Wire) -> Participant:
    if (document := fields.get("identity_document")) is None:
        return Participant(**fields)
    own: Wire = {**fields, "identity_document": IdentityDocument(**document)}
    return Participant(**own)


def _customer(fields: Wire) -> Customer:
    contacts = tuple(Contact(**one) for one in fields.get("contacts", ()))
    return Customer(reference=fields.get("reference"), contacts=contacts)


def _without_instrument(row: FileRow, column: str) -> FileRow:
    others = tuple(one for one in row.problems if one.column != column)
    problem = Problem(line=row.line, column=column, problem=_NO_INSTRUMENT)
    return evolve(row, problems=(*others, problem))


def _filled(cells: Sequence[Any], fields: Fields) -> Wire:
    return {name: text for cell, name in fields if (text := cells[cell])}
