"""The provider's daily payouts report: a CSV file, read row by row."""

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, cast

from attrs import field, frozen

from ..errors import InvalidRequest
from ..values.money import AmountDetails

_LARGEST_CELL: Final = 1_000_000


@frozen(kw_only=True)
class ReportColumns:
    """What the columns of the daily payouts report are called.

    The provider documents the first three (finance/payouts-daily-report). Amounts and currencies
    are in it, too, under names that no page read so far tells: named here, they are compared;
    amounts in major units.
    """

    payout_id: str = "operationId"
    session_id: str = "paymentSessionId"
    metadata: str = "paymentSessionMerchantMetadata"
    amount: str | None = None
    currency: str | None = None


@frozen(kw_only=True)
class ReportRow:
    """One payout that the provider reports as made."""

    line: int
    payout_id: str | None
    session_id: str
    metadata: Mapping[str, object] = field(factory=dict[str, object], repr=False)
    """Of the session, where it is a JSON object; else empty."""
    amount: AmountDetails | None = None


@frozen(kw_only=True)
class PayoutReport:
    """A daily payouts report in a CSV file, UTF-8 with or without BOM; it can be read again.

    ``since`` and ``until`` say which time the report covers, if it is to tell which payouts are
    missing from it: everything that was paid in that time must be in it.
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
        """Read the rows.

        Raises:
            InvalidRequest: a column is missing, or a row can't be read; it names file and line.
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
        columns = self.columns
        optional = [name for name in (columns.amount, columns.currency) if name is not None]
        for name in (columns.session_id, columns.metadata, columns.payout_id, *optional):
            if name not in names:
                raise self._wrong(1, f"has no column {name!r}; name it in ReportColumns")

    def _row(self, line: int, cells: Mapping[str, str | None]) -> ReportRow:
        session_id = (cells[self.columns.session_id] or "").strip()
        if not session_id:
            raise self._wrong(line, f"{self.columns.session_id} is empty")
        return ReportRow(
            line=line,
            payout_id=(cells[self.columns.payout_id] or "").strip() or None,
            session_id=session_id,
            metadata=_metadata(cells[self.columns.metadata]),
            amount=self._amount(line, cells),
        )

    def _amount(self, line: int, cells: Mapping[str, str | None]) -> AmountDetails | None:
        amount, currency = self.columns.amount, self.columns.currency
        if amount is None or currency is None:
            return None
        try:
            return AmountDetails.of((cells[amount] or "").strip(), (cells[currency] or "").strip())
        except InvalidRequest as error:
            raise self._wrong(line, f"{amount}, {currency}: {error.problem}") from None

    def _wrong(self, line: int, problem: str) -> InvalidRequest:
        return InvalidRequest(f"{self.path.name}, line {line}", problem)


def _metadata(text: str | None) -> Mapping[str, object]:
    if not text or len(text) > _LARGEST_CELL:
        return {}
    try:
        told: object = json.loads(text)
    except ValueError:
        return {}
    return cast("Mapping[str, object]", told) if isinstance(told, dict) else {}
