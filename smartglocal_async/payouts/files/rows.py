"""Rows of a file and their problems, which never show a value of the row."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from io import TextIOWrapper
from typing import Any, BinaryIO, Final
from unicodedata import is_normalized

from attrs import Factory, define, field, frozen

from ...codec import Codec, NotDecodable, Wire, codec
from ...codec.converter import UNKNOWN_FIELD
from ...errors import InvalidRequest
from ...idempotency import DEFAULT_KEY_FIELD, choose_key
from ...matching import check_unmarked
from ...models.instruments import OtherInstrument
from ...models.serialization import Serializable
from ...models.validators import without_card_numbers
from ...validation import (
    RuleChecker,
    holds_card_number,
    is_nearly,
    is_ruined,
    misspelt_fields,
    misspelt_kind,
)
from ...validation.checks import Broken
from ..orders import PayoutOrder
from .columns import SHORT_NAMES, meant_field
from .file_format import WIDE

_MAX_NAME: Final = 80


@frozen(kw_only=True)
class Problem(Serializable):
    """What is wrong with a row, and what to do about it; it shows no value of the row."""

    line: int
    """The line of the file where the row begins, from 1; of other sources, the order's position."""
    column: str | None
    """The column's name in a CSV, the field's path in JSON, or the position in the line."""
    problem: str
    page: str | None = None
    """The provider's page, or the standard, that has the rule."""
    is_advice: bool = False
    """Whether the provider may accept the payout anyway."""

    @property
    def place(self) -> str:
        """The line and the column, in words."""
        return f"line {self.line}" + ("" if self.column is None else f", column {self.column}")

    @property
    def words(self) -> str:
        """What is wrong, and the page that has the rule."""
        return self.problem if self.page is None else f"{self.problem} ({self.page})"

    def __str__(self) -> str:
        return f"{self.place}: {self.words}"

    def in_file(self, name: str) -> InvalidRequest:
        """Return this problem as an error."""
        return InvalidRequest(f"{name}, {self.place}", self.words)


@frozen(kw_only=True)
class FileRow:
    """A row of a file: its order, or why there is none."""

    line: int
    """The line where it begins in the file, from 1."""
    order: PayoutOrder | None
    """None if a problem forbids to pay it."""
    problems: tuple[Problem, ...] = ()
    """All problems; advice (`Problem.is_advice`) forbids nothing."""


def refused(line: int, column: str | None, problem: str) -> FileRow:
    """Return the row for one that can't be read at all."""
    return FileRow(
        line=line, order=None, problems=(Problem(line=line, column=column, problem=problem),)
    )


def shown(name: str) -> str:
    """Return a name from a file in a form safe to show: short, printable, no card number."""
    masked = without_card_numbers(name) or ""
    text = masked if masked.isprintable() else ascii(masked)[1:-1]
    return text if len(text) <= _MAX_NAME else f"{text[:_MAX_NAME]}..."


class UnreadableFile(Exception):
    """The file as a whole can't be read."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem

    @classmethod
    def because(cls, words: str, *, line: int = 1, column: str | None = None) -> "UnreadableFile":
        """Return the exception for a problem in words."""
        return cls(Problem(line=line, column=column, problem=words))


MAX_ROW_CHARACTERS: Final = 131_072
"""A longer row is refused: most likely a quote isn't closed."""
TOO_LONG: Final = f"is longer than {MAX_ROW_CHARACTERS:,} characters; is it a file of payouts?"
HAS_NUL: Final = "holds a NUL byte; save the file as UTF-8 text"
_REPLACEMENT: Final = "\ufffd"


def no_text(encoding: str) -> str:
    """Say that a part of a file isn't text in its encoding."""
    name = "UTF-8" if encoding == "utf-8" else encoding
    return (
        f"isn't {name} text; save the file as UTF-8, or give its encoding, such as cp1252 (Western "
        "Europe), cp1250 (Central Europe), cp1251 (Cyrillic), cp850 (DOS) or mac_roman"
    )


class RowTooLong(Exception):
    """The row that is being read doesn't end within `MAX_ROW_CHARACTERS`."""


@define(eq=False)
class FileLines:
    """The lines of a text file with their line ends; only a line feed ends a line.

    Bytes that aren't text in the encoding become half surrogates, and in UTF-16 and UTF-32 the
    replacement character.
    """

    _file: TextIOWrapper
    encoding: str
    number: int = field(default=0, init=False)
    """Number of the last line that was read, from 1."""
    row: list[str] = field(factory=list[str], init=False)
    """The lines of the row that is being read."""
    is_text: bool = field(default=True, init=False)
    """Whether the whole row is text without NUL bytes."""
    _left: int = field(default=MAX_ROW_CHARACTERS, init=False)

    @classmethod
    def of(cls, file: BinaryIO, encoding: str) -> "FileLines":
        """Return the lines of a file from its first byte."""
        _ = file.seek(0)
        errors = "replace" if encoding in WIDE else "surrogateescape"
        name = "utf-8-sig" if encoding == "utf-8" else encoding
        return cls(TextIOWrapper(file, name, errors, newline="\n"), encoding)

    def begin_row(self) -> int:
        """Begin a row; return the number of its first line."""
        self.row.clear()
        self.is_text = True
        self._left = MAX_ROW_CHARACTERS
        return self.number + 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        text = self._file.readline(self._left + 1)
        if not text:
            raise StopIteration
        self.number += 1
        if len(text) > self._left:
            self._skip(text)
            raise RowTooLong
        self._left -= len(text)
        if self.number == 1:
            text = text.removeprefix("\ufeff")
        if not text.isascii():
            self.is_text &= self.flaw_of(text) is None
        elif "\0" in text:
            self.is_text = False
        self.row.append(text)
        return text

    def flaw_of(self, text: str) -> str | None:
        """Return why a part of a line isn't text; None if it is."""
        if "\0" in text:
            return HAS_NUL
        if self.encoding in WIDE and _REPLACEMENT in text:
            return no_text(self.encoding)
        try:
            _ = text.encode()
        except UnicodeEncodeError:
            return no_text(self.encoding)
        return None

    def release(self) -> None:
        """Leave the file open for its owner."""
        _ = self._file.detach()

    def _skip(self, text: str) -> None:
        while text and not text.endswith("\n"):
            text = self._file.readline(MAX_ROW_CHARACTERS)


_KEY: Final = "key"
_REFERENCE: Final = "customer.reference"
_RUINED_KEY: Final = (
    "isn't what was written: a spreadsheet has made a number or a formula of it, so it doesn't "
    "identify the payout; format the column as text and write it again"
)
_DECOMPOSED_KEY: Final = (
    "isn't in Unicode's composed form (NFC): a letter and its accent may be two characters, which "
    "makes it another key than the one that looks the same; write it in NFC"
)
_RUINED_REFERENCE: Final = (
    "isn't what was written: a spreadsheet has made a number or a formula of it; format the column "
    "as text and write it again"
)
_CARD_NUMBER: Final = "has a card number in it, which logs and reports would show; use another text"
_UNKNOWN_KIND: Final = (
    "is an instrument that this release doesn't know; it is sent as it is, without any check"
)


@frozen(eq=False)
class RowChecker:
    """Checks rows and makes orders of them."""

    today: date | None
    """For expiry dates of cards; None skips the rules of the provider's pages."""
    is_strict: bool = True
    """Whether certain violations of those rules refuse a row; otherwise all are advice."""
    key_field: str = DEFAULT_KEY_FIELD
    """The metadata field that carries the key."""
    key_prefix: str = ""
    """Put in front of the key of each row."""
    makes_people: bool = True
    """Whether an order gets its people where the rules found nothing wrong with their fields."""
    _codec: Codec = field(factory=lambda: codec("v1"), repr=False)
    _rules: RuleChecker | None = field(
        default=Factory(lambda self: self.today and RuleChecker(self.today), takes_self=True),
        init=False,
        repr=False,
    )

    def row(self, line: int, wire: Wire, column_of: Callable[[str], str]) -> FileRow:
        """Return the row for the wire form of a request, with its key in it."""
        if self.key_prefix and isinstance(key := wire.get(_KEY), str) and key:
            wire = {**wire, _KEY: f"{self.key_prefix}{key}"}
        try:
            order = self._codec.structure(wire, PayoutOrder)
        except NotDecodable as error:
            complaints = error.complaints
        else:
            return self.judged(line, order, wire, column_of)
        return FileRow(
            line=line,
            order=None,
            problems=tuple(
                Problem(
                    line=line,
                    column=shown(column_of(_without_root(path))),
                    problem=_with_advice(_without_root(path), problem),
                )
                for path, problem in complaints
            ),
        )

    def judged(
        self,
        line: int,
        order: PayoutOrder,
        wire: Wire,
        column_of: Callable[[str], str],
        *,
        is_read: bool = True,
    ) -> FileRow:
        """Return the row for an order, whose wire form is given, too; ``is_read`` from a file."""
        problems = tuple(self._problems(line, order, wire, column_of, is_read=is_read))
        if not problems:
            return FileRow(line=line, order=order)
        is_bad = any(not problem.is_advice for problem in problems)
        return FileRow(line=line, order=None if is_bad else order, problems=problems)

    def quickly_judged(
        self,
        line: int,
        order: PayoutOrder,
        parts: tuple[Wire, Wire, Wire],
        wire: Callable[[], Wire],
        column_of: Callable[[str], str],
    ) -> FileRow | None:
        """Return the row for an order, or None if its wire form has to be looked at.

        ``parts`` are the fields of its instrument, recipient and sender, which are all that it has.
        This takes half of the time that `judged` takes.
        """
        broken: Sequence[Broken] | None = ()
        if self._rules is not None:
            currency = order.amount_details.currency
            broken = self._rules.missing_in(type(order.payment_method), parts, currency, wire)
        key = order.key
        if broken is None or key != key.strip() or self._has_ruined_key(order):
            return None
        if holds_card_number(key) or not is_normalized("NFC", key):
            return None
        if not broken:
            return FileRow(line=line, order=order)
        problems = tuple(self._broken(line, broken, column_of))
        is_bad = any(not problem.is_advice for problem in problems)
        return FileRow(line=line, order=None if is_bad else order, problems=problems)

    def order(self, position: int, order: PayoutOrder) -> FileRow:
        """Return the row for an order that wasn't read from a file."""
        return self.judged(position, order, self._codec.wire(order), str, is_read=False)

    def _has_ruined_key(self, order: PayoutOrder) -> bool:
        return is_ruined(order.key.removeprefix(self.key_prefix))

    def _problems(
        self,
        line: int,
        order: PayoutOrder,
        wire: Wire,
        column_of: Callable[[str], str],
        *,
        is_read: bool,
    ) -> Iterator[Problem]:
        if (wrong := self._wrong_metadata(order)) is not None:
            yield Problem(line=line, column=column_of(wrong.field), problem=wrong.problem)
        if is_read and self._has_ruined_key(order):
            yield Problem(line=line, column=column_of(_KEY), problem=_RUINED_KEY)
        if is_read and not is_normalized("NFC", order.key):
            yield Problem(line=line, column=column_of(_KEY), problem=_DECOMPOSED_KEY)
        yield from self._ruined_texts(line, order, column_of) if is_read else ()
        if isinstance(order.payment_method, OtherInstrument):
            misspelt = misspelt_kind(order.payment_method.wire)
            if misspelt is not None:
                path, words = misspelt
                yield Problem(
                    line=line, column=shown(column_of(f"payment_method.{path}")), problem=words
                )
                return
            yield Problem(
                line=line,
                column=column_of("payment_method"),
                problem=_UNKNOWN_KIND,
                is_advice=True,
            )
        for one in misspelt_fields(order, short_names=SHORT_NAMES):
            yield Problem(line=line, column=shown(column_of(one.path)), problem=one.problem)
        broken = () if self._rules is None else self._rules.broken(wire)
        yield from self._broken(line, broken, column_of, is_read=is_read)

    def _ruined_texts(
        self, line: int, order: PayoutOrder, column_of: Callable[[str], str]
    ) -> Iterator[Problem]:
        """Yield texts for which no page has a rule, and which can't be meant."""
        reference = None if order.customer is None else order.customer.reference
        if reference is not None and is_ruined(reference):
            column = column_of(_REFERENCE)
            yield Problem(line=line, column=column, problem=_RUINED_REFERENCE)
        metadata: Any = order.metadata or {}
        texts = {_KEY: order.key, **{f"metadata.{name}": text for name, text in metadata.items()}}
        for path, text in texts.items():
            if isinstance(text, str) and holds_card_number(text):
                yield Problem(line=line, column=shown(column_of(path)), problem=_CARD_NUMBER)

    def _broken(
        self,
        line: int,
        rules: Sequence[Broken],
        column_of: Callable[[str], str],
        *,
        is_read: bool = True,
    ) -> Iterator[Problem]:
        for broken in rules:
            words = broken.in_file if is_read else None
            yield Problem(
                line=line,
                column=column_of(broken.field),
                problem=words or broken.problem,
                page=broken.page,
                is_advice=broken.is_advice or not self.is_strict,
            )

    def _wrong_metadata(self, order: PayoutOrder) -> InvalidRequest | None:
        metadata: Any = order.metadata
        if metadata is None and order.key == order.key.strip():
            return None
        try:
            check_unmarked(metadata)
            _ = choose_key(
                order.key, metadata, field=self.key_field, metadata_is_key=False, make=lambda: ""
            )
        except InvalidRequest as error:
            return error.with_traceback(None)
        return None


def _with_advice(path: str, problem: str) -> str:
    """Add the field that is meant by a name at the top of a request, or of its amount."""
    if problem != UNKNOWN_FIELD:
        return problem
    holder, _, name = path.rpartition(".")
    meant = meant_field(name) if not holder else None
    if holder == "amount_details":
        meant = next((one for one in ("amount", "currency") if is_nearly(name, one)), None)
    return problem if meant is None else f"{problem}; did you mean {meant}?"


def _without_root(path: str) -> str:
    return path.removeprefix("$").strip(".")
