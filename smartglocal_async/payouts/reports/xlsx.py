"""Writes a report as an Excel workbook: totals with charts, payouts, and what needs a review."""

import zipfile
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final

from attrs import define, field

from ...errors import InvalidRequest, Misuse
from ...models.money import Amount
from .csv import COLUMNS
from .gathering import ORDER
from .html import LABELS, MARKER, NOT_STARTED, absent_rows, moment, span, verdict
from .records import BatchReport, ReportCommands, ReportedPayout, in_major_units

MAX_ROWS: Final = 1_048_575
"""How many payouts a sheet has room for, below its header."""
_NEEDS: Final = "an XLSX report needs XlsxWriter: pip install 'smartglocal-async[reports]'"
_A4: Final = 9
_TOP: Final = {"valign": "top"}
_TIME: Final = "yyyy-mm-dd hh:mm:ss"
_REVIEW_HEIGHT: Final = 100
_NUMBERS: Final = frozenset({"Amount", "Payouts", "Fee", "Calls", *LABELS.values()})
"""Titles of columns that have numbers."""
_MAX_PROPERTIES: Final = 65_536
_EXACT_DIGITS: Final = 15
"""How many digits of a number a spreadsheet keeps."""
_NAMES: Final = {
    "key": ("Key", 26),
    "batch": ("Batch", 18),
    "state": ("Outcome", 11),
    "payee": ("Payee", 24),
    "account": ("Account", 11),
    "amount": ("Amount", 14),
    "currency": ("Currency", 9),
    "fee": ("Fee", 10),
    "fee_currency": ("Fee currency", 12),
    "created_at": ("Created (UTC)", 19),
    "paid_at": ("Paid (UTC)", 19),
    "session_id": ("Session", 18),
    "payout_id": ("Payout", 18),
    "bank_reference": ("Bank reference", 16),
    "code": ("Code", 18),
    "reason": ("Reason", 40),
    "attempts": ("Calls", 7),
}
"""Column of the CSV -> its name in the sheet, and its width in characters."""
_REVIEW: Final = (
    *(("Key", 26), ("Amount", 14), ("Currency", 9), ("Payee", 24), ("Account", 11)),
    *(("Session", 18), ("Payout", 18), ("Step", 14), ("Since (UTC)", 19), ("Code", 18)),
    *(("Why", 60), ("What to do", 80)),
)
_COLOURS: Final = {
    "succeeded": "#1769AA",
    "failed": "#C2410C",
    "cancelled": "#6B7280",
    "unknown": "#86198F",
    "open": "#0F766E",
}


@define(eq=False)
class XlsxReport:
    """Writes the workbook to a binary stream.

    Text is written as text, never as a formula or a link, and sums are values. Memory doesn't grow
    with the payouts: the rows are first in files of the folder ``scratch``, which are deleted.

    Raises:
        Misuse: XlsxWriter isn't installed.

    """

    stream: BinaryIO
    scratch: Path
    commands: ReportCommands = field(factory=ReportCommands)
    _book: Any = field(init=False, repr=False)
    _formats: dict[str, Any] = field(init=False, repr=False)
    _totals: Any = field(init=False, repr=False)
    _payouts: Any = field(init=False, repr=False)
    _row: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        try:
            import xlsxwriter  # type: ignore[import-untyped]  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]
        except ImportError:
            raise Misuse(_NEEDS) from None
        options = {"constant_memory": True, "tmpdir": str(self.scratch)}
        self._book = xlsxwriter.Workbook(self.stream, options)
        self._book.set_properties({"title": "Payouts", "comments": MARKER})
        self._formats = {
            "bold": self._book.add_format({"bold": True}),
            "title": self._book.add_format({"bold": True, "font_size": 14}),
            "text": self._book.add_format({"num_format": "@"}),
            "wrapped": self._book.add_format({"num_format": "@", "text_wrap": True, **_TOP}),
            "time": self._book.add_format({"num_format": _TIME, "align": "left", **_TOP}),
            "count": self._book.add_format({"num_format": "#,##0", **_TOP}),
            "right": self._book.add_format({"bold": True, "align": "right"}),
        }
        self._totals = self._printed(self._book.add_worksheet("Totals"), pages=1)
        self._payouts = self._sheet("Payouts", list(_NAMES.values()))

    def add(self, payout: ReportedPayout) -> None:
        """Write the row of a payout.

        Raises:
            InvalidRequest: the sheet is full.

        """
        self._row += 1
        if self._row > MAX_ROWS:
            self._book.close()  # It is of no use, but holds files open.
            words = f"a sheet has room for {MAX_ROWS:,} payouts; write a CSV, or a report per batch"
            raise InvalidRequest("--output", words)
        values = [value(payout) for value in COLUMNS.values()]
        values[list(COLUMNS).index("state")] = LABELS[payout.state]
        self._write(self._payouts, self._row, values)

    def finish(self, report: BatchReport) -> None:
        """Write the other sheets, and the workbook."""
        self._payouts.autofilter(0, 0, max(1, self._row), len(_NAMES) - 1)
        self._write_totals(report)
        review = self._sheet("Needs review", list(_REVIEW))
        for number, case in enumerate(report.cases, 1):
            one = case.payout
            amount = one.amount and one.amount.currency.upper()
            known = (one.key, one.decimal, amount, one.payee, one.account, one.session_id)
            rest = (
                one.payout_id,
                case.step,
                one.updated_at,
                one.code,
                case.why,
                self._advice(one.key),
            )
            review.set_row(number, _REVIEW_HEIGHT)
            self._write(review, number, [*known, *rest], wraps=True)
        if report.case_count > len(report.cases):
            more = report.case_count - len(report.cases)
            self._write(review, len(report.cases) + 1, [f"and {more:,} more"])
        self._book.close()

    def _advice(self, key: str) -> str:
        """Return what a person does about a payout."""
        return (
            "Look it up in the provider's Dashboard or daily report. Never pay it under another "
            f"key before that. If money moved: {self.commands.decide(key, is_paid=True)}\n"
            "If the provider confirms in writing that none moves: "
            f"{self.commands.decide(key, is_paid=False)}"
        )

    def _sheet(self, name: str, columns: Sequence[tuple[str, int]]) -> Any:  # noqa: ANN401 - XlsxWriter's
        sheet = self._printed(self._book.add_worksheet(name))
        sheet.repeat_rows(0)
        for number, (title, width) in enumerate(columns):
            sheet.set_column(number, number, width)
            sheet.write_string(0, number, title, self._formats[_title(title)])
        sheet.freeze_panes(1, 1)
        return sheet

    def _printed(self, sheet: Any, pages: int = 0) -> Any:  # noqa: ANN401 - XlsxWriter's
        """Print a sheet as wide as a page, on this number of pages; 0: as many as it needs."""
        sheet.set_landscape()
        sheet.set_paper(_A4)
        sheet.fit_to_pages(1, pages)
        return sheet

    def _write(self, sheet: Any, row: int, values: Sequence[Any], *, wraps: bool = False) -> None:  # noqa: ANN401
        """Write the cells of a row, each by its type; XlsxWriter guesses nothing."""
        for number, value in enumerate(values):
            match value:
                case None:
                    pass
                case datetime():
                    time = value.replace(tzinfo=None, microsecond=0)
                    sheet.write_datetime(row, number, time, self._formats["time"])
                case Decimal() if len(value.as_tuple().digits) <= _EXACT_DIGITS:
                    sheet.write_number(row, number, float(value), self._decimals(value))
                case int():
                    sheet.write_number(row, number, value, self._formats["count"])
                case _:
                    text = f"{value:f}" if isinstance(value, Decimal) else str(value)
                    form = self._formats["wrapped" if wraps else "text"]
                    sheet.write_string(row, number, text, form)

    def _decimals(self, value: Decimal) -> Any:  # noqa: ANN401 - XlsxWriter's
        """Return the format for a number with as many decimals as its currency has."""
        exponent = value.as_tuple().exponent
        decimals = max(0, -exponent) if isinstance(exponent, int) else 0
        form = f"#,##0.{'0' * decimals}" if decimals else "#,##0"
        if form not in self._formats:
            self._formats[form] = self._book.add_format({"num_format": form, **_TOP})
        return self._formats[form]

    def _write_totals(self, report: BatchReport) -> None:
        sheet = self._totals
        sheet.set_column(0, 0, 22)
        sheet.set_column(1, 6, 15)
        title = "All payouts of a journal" if report.name is None else f"Payouts of {report.name}"
        sheet.write_string(0, 0, title, self._formats["title"])
        lines = [verdict(report), f"As of {moment(report.made_at)}; journal {report.journal}"]
        lines += [f"All payouts are halted: {report.halt}"] if report.halt else []
        lines += [report.payee_note] if report.payee_note else []
        row = 1
        for line in lines:
            sheet.write_string(row, 0, line, self._formats["text"])
            row += 1
        row = self._table(row + 1, ("Currency", "Outcome", "Payouts", "Amount"), _sums(report))
        fees = [(fee.currency.upper(), in_major_units(fee)) for fee in report.fees]
        if fees:
            row = self._table(row + 1, ("Fees", "Amount"), fees)
        states = [(LABELS[state], report.counts[state]) for state in ORDER if report.counts[state]]
        begin = row + 2
        row = self._table(row + 1, ("Outcome", "Payouts"), states)
        points = [{"fill": {"color": _COLOURS[one.value]}} for one in ORDER if report.counts[one]]
        self._chart("pie", "Payouts by outcome", begin, row, [(1, {"points": points})], "G7")
        self._plots(row, report)

    def _plots(self, row: int, report: BatchReport) -> None:
        """Write the tables of the plots, and the charts that show them."""
        shown = [s for s in ORDER if any(slot.counts.get(s) for slot in report.timeline)]
        begin = row + 2
        slots = [
            (f"{one.begin:%Y-%m-%d %H:%M:%S}", *(one.counts.get(state, 0) for state in shown))
            for one in report.timeline
        ]
        row = self._table(row + 1, ("Settled from (UTC)", *(LABELS[one] for one in shown)), slots)
        columns = [
            (number, {"fill": {"color": _COLOURS[state.value]}})
            for number, state in enumerate(shown, 1)
        ]
        title = f"Settled in each {span(report.slot_seconds)}"
        self._chart("column", title, begin, row, columns, "G23")
        for name, bars, place in (
            ("Calls", report.attempts, "G39"),
            ("Time to the outcome", report.durations, "G55"),
        ):
            begin = row + 2
            found = [(bar.label, bar.count) for bar in bars]
            row = self._table(row + 1, (name, "Payouts"), found)
            fill = {"fill": {"color": _COLOURS["succeeded"]}}
            self._chart("bar", name, begin, row, [(1, fill)], place)

    def _table(self, row: int, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> int:
        """Write a table; returns the row after it."""
        for number, name in enumerate(names):
            form = self._formats[_title(name) if number else "bold"]
            self._totals.write_string(row, number, name, form)
        for found in rows:
            row += 1
            self._write(self._totals, row, found)
        return row + 1

    def _chart(  # noqa: PLR0913, PLR0917 - what a chart is made of
        self,
        kind: str,
        title: str,
        begin: int,
        end: int,
        columns: Sequence[tuple[int, dict[str, Any]]],
        place: str,
    ) -> None:
        """Insert a chart of the table rows from ``begin`` to before ``end``."""
        if begin >= end:
            return
        chart = self._book.add_chart(
            {"type": kind, **({"subtype": "stacked"} if kind == "column" else {})}
        )
        for column, look in columns:
            chart.add_series(
                {
                    "name": ["Totals", begin - 1, column],
                    "categories": ["Totals", begin, 0, end - 1, 0],
                    "values": ["Totals", begin, column, end - 1, column],
                    **look,
                }
            )
        chart.set_title({"name": title, "name_font": {"size": 12}})
        if kind == "bar":
            chart.set_legend({"none": True})
            chart.set_y_axis({"reverse": True})
        chart.set_size({"width": 520, "height": 300})
        self._totals.insert_chart(place, chart, {"description": title})


def _title(name: str) -> str:
    """Return the format of a title: that of numbers is to the right, as they are."""
    return "right" if name in _NUMBERS else "bold"


def _sums(report: BatchReport) -> list[tuple[str, str, int | None, Decimal | str | None]]:
    """Return the rows of the totals; those of what isn't started have only one number of rows."""
    rows: list[tuple[str, str, int | None, Decimal | str | None]] = [
        (one.total.currency.upper(), LABELS[one.state], one.count, _major(one.total))
        for one in report.sums
    ]
    for count, amount in absent_rows(report):
        currency = "" if amount is None else amount.currency.upper()
        rows.append((currency, NOT_STARTED, count, None if amount is None else _major(amount)))
    return sorted(rows, key=lambda row: row[0] or "~")


def _major(amount: Amount) -> Decimal | str:
    found = in_major_units(amount)
    return amount.text if found is None else found


def is_xlsx_report(path: Path) -> bool:
    """Return whether a file is a workbook that was written as a report.

    Raises:
        OSError: it can't be read.

    """
    try:
        with zipfile.ZipFile(path) as parts:
            return MARKER.encode() in parts.open("docProps/core.xml").read(_MAX_PROPERTIES)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError):
        return False
