"""A file of payouts: the door of this folder, and where it is opened."""

import codecs
import hashlib
from collections.abc import Iterator
from datetime import UTC
from io import BufferedReader
from pathlib import Path
from typing import Final, Literal

from attrs import Attribute, field, frozen

from ...errors import InvalidRequest
from ...retry import Timing
from ...settings import RuleUse
from ..orders import PayoutOrder
from .commas import csv_rows
from .json_lines import json_rows
from .judging import Judge
from .lines import Lines
from .rows import FileRow

Kind = Literal["csv", "jsonl"]
_READERS: Final = {"csv": csv_rows, "jsonl": json_rows}
_SUFFIXES: Final = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def _check_kind(_instance: object, _field: "Attribute[Kind | None]", value: object) -> None:
    if value is not None and value not in _READERS:
        raise InvalidRequest("PayoutFile.kind", "expected 'csv' or 'jsonl'")


@frozen(eq=False)
class PayoutFile:
    """The payouts of a CSV or JSON Lines file, a row at a time; it may be read again.

    Iterating it gives each `PayoutOrder`, and raises at the first row that can't be paid;
    `rows` gives them all, with what is wrong. Have `preflight` look at it before you pay: what
    stands above a bad row would be paid by then. ``rules`` says what the rules of the
    provider's pages may do: forbid to pay, advise, or nothing.

    Raises:
        InvalidRequest: at a row that can't be paid: it names file, line and column.
        OSError: when it is read, and can't be.

    """

    path: Path = field(converter=Path)
    kind: Kind | None = field(default=None, kw_only=True, validator=_check_kind)
    """None goes by the name, ``.csv``, ``.jsonl`` or ``.ndjson``, else by the first character."""
    rules: RuleUse = field(default=RuleUse.REFUSE, kw_only=True)
    timing: Timing = field(factory=Timing, kw_only=True, repr=False)

    def rows(self) -> Iterator[FileRow]:
        """Give every row, the bad ones too; blank lines are passed over."""
        with self.path.open("rb") as file:
            judge = judge_of(self.rules, self.timing)
            yield from _READERS[self._kind(file)](Lines(file), judge)

    def __iter__(self) -> Iterator[PayoutOrder]:
        for row in self.rows():
            if row.order is None:
                raise next(p for p in row.problems if not p.is_advice).in_file(str(self.path))
            yield row.order

    def digest(self) -> str:
        """Give the SHA-256 of its bytes, in hex: it tells whether the file was changed."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _kind(self, file: BufferedReader) -> str:
        known = self.kind or _SUFFIXES.get(self.path.suffix.lower())
        if known is not None:
            return known
        beginning = file.peek().removeprefix(codecs.BOM_UTF8).lstrip()
        return "jsonl" if beginning.startswith((b"{", b"[")) else "csv"


def judge_of(rules: RuleUse, timing: Timing) -> Judge:
    """Give what rows are held to today."""
    if rules is RuleUse.OFF:
        return Judge(None)
    today = timing.now().astimezone(UTC).date()
    return Judge(today, is_strict=rules is RuleUse.REFUSE)
