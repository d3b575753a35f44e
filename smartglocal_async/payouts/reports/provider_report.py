"""The provider's daily payouts report, read row by row."""

import csv
import enum
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast

from attrs import field, frozen

from ...codec.incoming import clean_text
from ...errors import InvalidRequest
from ...models.money import AmountDetails

_MAX_CELL: Final = 1_000_000
_WHICH_FILE: Final = "is it the daily payouts report, with the columns of `ReportColumns`?"


@frozen(kw_only=True)
class ReportColumns:
    """The names of the columns of the daily payouts report.

    The defaults are those of the provider's page (finance/payouts-daily-report); its older form
    calls the currency ``currency``. ``amount`` is the payout without its fee, in major units.
    Amounts are compared if a report has both columns and a row fills both; None leaves them out.
    ``finished_at`` is read if the report has it; without it, a report lifts no halt of a journal
    that may lack payouts. ``kind`` distinguishes payouts from those that a
    bank returned; None means that all rows are payouts.
    """

    payout_id: str = "operationId"
    session_id: str = "paymentSessionId"
    metadata: str = "paymentSessionMerchantMetadata"
    kind: str | None = "typeOfPayment"
    amount: str | None = "paymentLocalAmount"
    currency: str | None = "Currency amount"
    finished_at: str | None = "finishedAt"


class ReportKind(enum.Enum):
    """What a row of the report is about (finance/payouts-daily-report)."""

    PAYOUT = "Advice"
    RETURN = "Refund"
    """The recipient's bank returned it."""
    OTHER = "another"


def _clean(text: str | None) -> str | None:
    return None if text is None else clean_text(text)


@frozen(kw_only=True)
class ReportRow:
    """One row of the report: a payout that the provider made.

    Its ids are made safe to show and to store, as those of answers are.
    """

    line: int
    payout_id: str | None = field(converter=_clean)
    session_id: str = field(converter=clean_text)
    """Empty if the row names none, such as the last line with the totals."""
    metadata: Mapping[str, object] = field(factory=dict[str, object], repr=False)
    """The session's metadata if it is a JSON object, else empty."""
    amount: AmountDetails | None = None
    kind: ReportKind = ReportKind.PAYOUT
    finished_at: datetime | None = None
    """When it was completed; None if the report doesn't show it in a form that can be read. The
    provider doesn't say in which time zone: UTC is taken.
    """
    error: InvalidRequest | None = None
    """What can't be read in the row, with file and line; the other fields are valid."""


@frozen(kw_only=True)
class PayoutReport:
    """A daily payouts report in a CSV file, UTF-8 with or without BOM; it can be read again.

    ``since`` and ``until`` are the time that the report covers. With both, payouts are reported as
    missing that were recorded as paid in that time and aren't in it.
    """

    path: Path = field(converter=Path)
    columns: ReportColumns = field(factory=ReportColumns)
    delimiter: str = ","
    since: datetime | None = None
    until: datetime | None = None

    def __attrs_post_init__(self) -> None:
        for name in ("since", "until"):
            time: datetime | None = getattr(self, name)
            if time is not None and time.tzinfo is None:
                raise InvalidRequest(f"PayoutReport.{name}", "has no offset from UTC")

    def __iter__(self) -> Iterator[ReportRow]:
        """Yield the rows; a row without a session or with an unreadable amount has an ``error``.

        Raises:
            InvalidRequest: a column is missing, or the file isn't such a CSV; it names file and
                line.
            OSError: the file can't be read.

        """
        with self.path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, delimiter=self.delimiter, strict=True)
            try:
                self._check(list(reader.fieldnames or ()))
                for cells in reader:
                    yield self._row(reader.line_num, cells)
            except (csv.Error, UnicodeDecodeError) as error:
                raise self._wrong(
                    reader.line_num, f"can't be read ({type(error).__name__})"
                ) from None

    def _check(self, names: list[str]) -> None:
        columns, usual = self.columns, ReportColumns()
        named = (
            name
            for name, default in (
                (columns.amount, usual.amount),
                (columns.currency, usual.currency),
            )
            if name not in {None, default}
        )
        for name in (columns.session_id, columns.metadata, columns.payout_id, *named):
            if name not in names:
                raise self._wrong(1, f"has no column {name!r}; {_WHICH_FILE}")
        if columns.kind is not None and columns.kind not in names:
            raise self._wrong(
                1,
                f"has no column {columns.kind!r}, which separates payouts from returned ones; "
                f"{_WHICH_FILE}",
            )

    def _row(self, line: int, cells: Mapping[str, str | None]) -> ReportRow:
        session_id = (cells[self.columns.session_id] or "").strip()
        kind, amount, error = self._kind(cells), None, None
        if not session_id:
            error = self._wrong(line, f"{self.columns.session_id} is empty")
        elif kind is ReportKind.PAYOUT:
            try:
                amount = self._amount(line, cells)
            except InvalidRequest as unreadable:
                error = unreadable.with_traceback(None)
        return ReportRow(
            line=line,
            payout_id=(cells[self.columns.payout_id] or "").strip() or None,
            session_id=session_id,
            metadata=_metadata(cells[self.columns.metadata]),
            amount=amount,
            kind=kind,
            finished_at=_time(cells.get(self.columns.finished_at or "")),
            error=error,
        )

    def _kind(self, cells: Mapping[str, str | None]) -> ReportKind:
        if self.columns.kind is None:
            return ReportKind.PAYOUT
        word = (cells[self.columns.kind] or "").strip().lower()
        return next((kind for kind in ReportKind if kind.value.lower() == word), ReportKind.OTHER)

    def _amount(self, line: int, cells: Mapping[str, str | None]) -> AmountDetails | None:
        amount, currency = self.columns.amount, self.columns.currency
        if amount is None or currency is None:
            return None
        units, code = ((cells.get(name) or "").strip() for name in (amount, currency))
        if not units or not code:
            return None
        try:
            return AmountDetails.of(units, code)
        except InvalidRequest as error:
            raise self._wrong(line, f"{amount}, {currency}: {error.problem}") from None

    def _wrong(self, line: int, problem: str) -> InvalidRequest:
        return InvalidRequest(f"{self.path.name}, line {line}", problem)


def _time(text: str | None) -> datetime | None:
    """Return a time such as 2025-01-02 03:04:05; the provider's page writes it with long dashes."""
    try:
        time = datetime.fromisoformat((text or "").strip().replace("\u2013", "-"))
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def _metadata(text: str | None) -> Mapping[str, object]:
    if not text or len(text) > _MAX_CELL:
        return {}
    try:
        fields: object = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return cast("Mapping[str, object]", fields) if isinstance(fields, dict) else {}
