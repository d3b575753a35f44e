"""Writes a report as a CSV for bookkeeping, one line for each payout."""

import csv
import io
from collections.abc import Callable
from datetime import datetime
from typing import Any, BinaryIO, Final

from attrs import define, evolve, field

from ..files.results import as_cell
from .records import BatchReport, ReportedPayout, in_major_units

Value = Callable[[ReportedPayout], Any]
COLUMNS: Final[dict[str, Value]] = {
    "key": lambda one: one.key,
    "batch": lambda one: one.batch,
    "state": lambda one: one.state.value,
    "payee": lambda one: one.payee,
    "account": lambda one: one.account,
    "amount": lambda one: one.decimal,
    "currency": lambda one: one.amount and one.amount.currency.upper(),
    "fee": lambda one: in_major_units(one.fee),
    "fee_currency": lambda one: one.fee and one.fee.currency.upper(),
    "created_at": lambda one: one.created_at,
    "paid_at": lambda one: one.paid_at,
    "session_id": lambda one: one.session_id,
    "payout_id": lambda one: one.payout_id,
    "bank_reference": lambda one: one.reference,
    "code": lambda one: one.code,
    "reason": lambda one: one.reason,
    "attempts": lambda one: one.attempts,
}
"""The columns, and what each has of a payout: amounts in major units, times in UTC."""
BOM: Final = b"\xef\xbb\xbf"
HEADER_LINE: Final = f"{','.join(COLUMNS)}\r\n".encode()
"""The first line, by which such a report is recognised."""


def iso(time: datetime) -> str:
    """Return a time in UTC as ISO 8601, to the second: ``2026-03-02T01:05:06Z``."""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def masked_name(name: str) -> str:
    """Return a name with the first letter or digit of each word: ``J*** R***``."""
    return " ".join(f"{''.join(filter(str.isalnum, word))[:1]}***" for word in name.split())


@define(eq=False)
class CsvReport:
    """Writes the lines to a binary stream.

    UTF-8 with a byte order mark, by which Excel recognises it; commas, decimal points, and lines
    that end with CR LF (RFC 4180). A text that a spreadsheet would take for a formula has an
    apostrophe in front. Of each word of a payee only the first letter is shown, unless
    ``full_names``: the file is for bookkeeping, where the key and the end of the account identify a
    payout.
    """

    stream: BinaryIO
    full_names: bool = False
    _is_begun: bool = field(default=False, init=False)

    def add(self, payout: ReportedPayout) -> None:
        """Write the line of a payout."""
        self._begin()
        text = io.StringIO(newline="")
        if not self.full_names and payout.payee is not None:
            payout = evolve(payout, payee=masked_name(payout.payee))
        _ = csv.writer(text).writerow([_text(value(payout)) for value in COLUMNS.values()])
        _ = self.stream.write(text.getvalue().encode("utf-8", "backslashreplace"))

    def finish(self, report: BatchReport) -> None:
        """Write the header of a report without payouts; the lines have everything else."""
        del report
        self._begin()

    def _begin(self) -> None:
        if not self._is_begun:
            self._is_begun = True
            _ = self.stream.write(BOM + HEADER_LINE)


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return iso(value)
        case str():
            return as_cell(value)
        case _:
            return f"{value:f}" if hasattr(value, "as_tuple") else str(value)
