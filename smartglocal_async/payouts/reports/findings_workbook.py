"""Writes what comparing a report found as an Excel workbook."""

import io
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, TypeAlias

from ...errors import Misuse
from ...models.money import Amount
from .discrepancies import PaymentReconciliation, Reconciliation, ReportFindings
from .records import in_major_units

_Row: TypeAlias = Iterable[str | int | Decimal | None]
_NEEDS: Final = "a workbook of findings needs XlsxWriter: pip install 'smartglocal-async[files]'"
_WIDTH: Final = 28
_FINDING: Final = (
    *("Line", "Key", "Payee", "Session", "Difference"),
    *("In the report", "Currency", "In the journal", "Currency", "What can't be read"),
)


def findings_workbook(found: ReportFindings) -> bytes:
    """Return an Excel workbook with the findings, their numbers, and the sums of payments.

    The sheet ``Findings`` has the line of the report, key, payee, session and kind of each
    discrepancy that is kept, with the amounts of the report and of the journal in major units, and
    what can't be read. ``Summary`` has the numbers of all. After a payments report, ``Sums`` has
    the sums by type and currency, in major units. All ids are text.

    Raises:
        Misuse: XlsxWriter isn't installed.

    """
    try:
        import xlsxwriter  # type: ignore[import-untyped]  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise Misuse(_NEEDS) from None
    content = io.BytesIO()
    book: Any = xlsxwriter.Workbook(content, {"in_memory": True})
    _write(book, "Findings", _FINDING, _findings(found))
    _write(book, "Summary", ("", "Number"), _summary(found))
    if isinstance(found, PaymentReconciliation):
        names = ("Type", "Currency", "Rows", "Amount", "Fee", "Settlement")
        _write(book, "Sums", names, _sums(found))
    book.close()
    return content.getvalue()


def _findings(found: ReportFindings) -> Iterable[_Row]:
    for one in found.discrepancies:
        known = (one.line, one.key, one.payee, one.session_id, one.kind.value)
        yield (*known, *_money(one.reported), *_money(one.recorded), one.problem)
    more = sum(found.counts.values()) - len(found.discrepancies)
    if more:
        yield None, None, None, None, f"and {more} more"


def _money(amount: Amount | None) -> tuple[Decimal | str | None, str | None]:
    """Return an amount in major units, and its currency."""
    if amount is None:
        return None, None
    major = in_major_units(amount)
    return amount.text if major is None else major, amount.currency.upper()


def _summary(found: ReportFindings) -> Iterable[_Row]:
    yield "rows", found.rows
    if isinstance(found, Reconciliation):
        yield "same as in the journal", found.agreed
        yield "settled now", found.settled
        yield "recorded as paid", found.adopted
        yield "not in this journal", found.others
        yield "amount not compared", found.without_amount
    yield "unreadable", found.unreadable_count
    for kind, count in found.counts.items():
        yield kind.value, count
    for error in found.unreadable:
        yield str(error), None


def _sums(found: PaymentReconciliation) -> Iterable[_Row]:
    for (kind, currency), sums in found.sums.items():
        yield kind.value, currency, sums.rows, sums.amount, sums.fee, sums.settlement


def _write(book: Any, name: str, header: _Row, rows: Iterable[_Row]) -> None:  # noqa: ANN401
    sheet, bold = book.add_worksheet(name), book.add_format({"bold": True})
    sheet.set_column(0, len(tuple(header)) - 1, _WIDTH)
    sheet.freeze_panes(1, 0)
    for number, cell in enumerate(header):
        sheet.write_string(0, number, cell, bold)
    for line, cells in enumerate(rows, 1):
        for number, cell in enumerate(cells):
            if isinstance(cell, str):
                # Never a formula, a link or a number.
                sheet.write_string(line, number, cell)
            elif cell is not None:
                sheet.write_number(line, number, cell)
