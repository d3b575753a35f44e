"""The provider's daily reports, on payouts and on payments, read row by row."""

import enum
import json
import re
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, cast

from attrs import asdict, define, evolve, field, frozen

from ...codec.incoming import clean_text
from ...errors import InvalidRequest
from ...models.money import EXPONENTS, AmountDetails
from ...models.validators import mask
from ..files.amounts import AmountReader
from .report_table import Cells, ReportTable, open_table

_MAX_CELL: Final = 1_000_000
_OLDER_CURRENCY: Final = "currency"
_WHICH_FILE: Final = "is it the daily payouts report, with the columns of `ReportColumns`?"


@frozen(kw_only=True)
class ReportColumns:
    """The names of the columns of the daily payouts report.

    The defaults are those of the provider's page (finance/payouts-daily-report). Its older form
    calls the currency ``currency``, which is read if a report lacks the default. ``amount`` is the
    payout without its fee, in major units. Amounts are compared if a report has both columns and a
    row fills both; None leaves them out. `Reconciliation.without_amount` counts the rest.
    ``finished_at`` is read if the report has it; without it, a report ends no halt of a journal
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

    def found_in(self, names: Container[str | None]) -> "ReportColumns":
        """Return the columns of a report with these names: those of the older form if it is one."""
        is_usual = self.currency == ReportColumns().currency
        is_older = is_usual and self.currency not in names and _OLDER_CURRENCY in names
        return evolve(self, currency=_OLDER_CURRENCY) if is_older else self


_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,15}(?:([.,])([0-9]{1,4}))?")
_THREE: Final = 3
DecimalSign: TypeAlias = Literal[".", ","]


@define
class NumberReader:
    """Reads the numbers of one report, which all have the same decimal sign."""

    sign: DecimalSign | None = None
    """None: no number of the report shows it without doubt; then it is a point."""

    def note(self, text: str) -> None:
        """Take over the decimal sign of a number that leaves no doubt, if there is none yet.

        Three digits behind the sign may be thousands.
        """
        found = _NUMBER.fullmatch(text)
        if self.sign is None and found is not None and found[1] and len(found[2]) != _THREE:
            self.sign = "," if found[1] == "," else "."

    def read(self, text: str, currency: str) -> Decimal | None:
        """Return a number; None if the text is something else, or can be read as two numbers.

        Three digits behind the sign are thousands in some countries: only a currency that has three
        decimals allows them.
        """
        found = _NUMBER.fullmatch(text)
        if found is None or found[1] not in {None, self.sign or "."}:
            return None
        if len(found[2] or "") == _THREE and EXPONENTS.get(currency.lower()) != _THREE:
            return None
        return Decimal(text.replace(",", "."))


class ReportKind(enum.Enum):
    """The type of a row, by the provider's word for it.

    Source: finance/payouts-daily-report, which has the first two, and finance/payment-daily-report.
    """

    ADVICE = "Advice"
    """A payout or a payment that succeeded."""
    REFUND = "Refund"
    """It was rolled back: a payout by the recipient's bank, a payment by a refund."""
    ADJUSTMENT = "Adjustment"
    """It was cancelled in part."""
    CHARGEBACK = "Chargeback"
    """A payment that the payer's bank took back."""
    COMPENSATION = "Compensation"
    """A reimbursement to the merchant; negative if refunds and chargebacks exceed it."""
    RECURRENT = "Recurrent"
    """By its name a payment by a token; the page's explanation isn't known."""
    OTHER = "another"

    @classmethod
    def of(cls, word: str) -> "ReportKind":
        """Return the type that a word means; its case doesn't matter."""
        word = word.strip().lower()
        return next((kind for kind in cls if kind.value.lower() == word), cls.OTHER)


def _clean(text: str | None) -> str | None:
    return None if text is None else clean_text(text)


@frozen(kw_only=True)
class ReportRow:
    """One row of the payouts report: a payout that the provider made.

    Its ids are made safe to show and to store, as those of answers are.
    """

    line: int
    payout_id: str | None = field(converter=_clean)
    session_id: str = field(converter=clean_text)
    """Empty if the row names none, such as the last line with the totals."""
    metadata: object = field(default=None, repr=False)
    """The session's metadata as it was sent: an object, a text, a number or any other JSON; the
    text of the cell if it isn't JSON, and None if it is empty.
    """
    amount: AmountDetails | None = None
    """Without the fee. Of a row of another kind than `ReportKind.ADVICE`, such as a ``Refund``, it
    is without its sign, as no page shows that; None if it can't be read.
    """
    fee: Decimal | None = None
    """In major units, not negative; None if it can't be read."""
    fee_currency: str | None = field(default=None, converter=_clean)
    """In upper case. The older form has no column of it: the currency of the amount is taken."""
    rrn: str | None = field(default=None, converter=_clean)
    """Retrieval reference number."""
    kind: ReportKind = ReportKind.ADVICE
    finished_at: datetime | None = None
    """When it was completed; None if the report doesn't show it in a form that can be read. The
    provider doesn't say in which time zone: UTC is taken.
    """
    columns: Mapping[str, str] = field(factory=dict[str, str], repr=False)
    """The cells of all columns that have no field here, as they are in the file, by the name of the
    column: ``transactionDate``, ``paymentFast``, ``paymentMethodIdentity`` (which may be a whole
    account number), ``product``, ``grossLocalAmount``, ``contract`` and others. Read-only.
    """
    error: InvalidRequest | None = None
    """What can't be read in the row, with file and line; the other fields are valid."""


@frozen
class PayoutReport:
    """A daily payouts report, a CSV or a workbook; it can be read again.

    Encoding and separator of a CSV are recognised, unless ``delimiter`` is set. Lines above the
    names of the columns are skipped. The decimal sign is that of the first amount that leaves no
    doubt, anywhere in the report; an amount with the other one is an error of its row. ``since``
    and ``until`` are the time that the report covers. With both, payouts are reported as missing
    that were recorded as paid in that time and aren't in it.
    """

    path: Path = field(converter=Path)
    columns: ReportColumns = field(factory=ReportColumns, kw_only=True)
    delimiter: str | None = field(default=None, kw_only=True)
    since: datetime | None = field(default=None, kw_only=True)
    until: datetime | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        for name in ("since", "until"):
            time: datetime | None = getattr(self, name)
            if time is not None and time.tzinfo is None:
                raise InvalidRequest(f"PayoutReport.{name}", "has no offset from UTC")

    def __iter__(self) -> Iterator[ReportRow]:
        """Yield the rows; a row without a session or with an unreadable amount has an ``error``.

        Raises:
            InvalidRequest: a column is missing, or the file isn't such a report; it names file and
                line.
            OSError: the file can't be read.

        """
        sign = self._decimal_sign()
        with open_table(self.path, self.delimiter, self._is_header) as table:
            columns, reader = self.columns.found_in(table.names), NumberReader(sign)
            for line, cells in table.rows():
                yield _payout_row(columns, table, line, cells, reader)

    def _decimal_sign(self) -> DecimalSign | None:
        """Return the decimal sign of the report; None if no amount shows it without doubt."""
        amounts, fees = AmountReader(), NumberReader()
        with open_table(self.path, self.delimiter, self._is_header) as table:
            self._check(table)
            columns = self.columns.found_in(table.names)
            for _, cells in table.rows():
                if amounts.sign is not None:
                    break
                units = _text(cells, columns.amount or "").lstrip("-")
                with suppress(InvalidRequest):
                    _ = amounts.read(units, _text(cells, columns.currency or ""))
                fees.note(_text(cells, _FEE))
        return amounts.sign or fees.sign

    def _is_header(self, names: frozenset[str]) -> bool:
        return self.columns.session_id in names

    def _check(self, table: ReportTable) -> None:
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
            if name not in table.names:
                raise table.wrong(table.line, f"has no column {name!r}; {_WHICH_FILE}")
        if columns.kind is not None and columns.kind not in table.names:
            raise table.wrong(
                table.line,
                f"has no column {columns.kind!r}, which separates payouts from returned ones; "
                f"{_WHICH_FILE}",
            )


_FEE: Final = "feesLocalAmount"
_FEE_CURRENCY: Final = "Currency fee"
_RRN: Final = "RRN"


def _payout_row(
    columns: ReportColumns, table: ReportTable, line: int, cells: Cells, numbers: NumberReader
) -> ReportRow:
    read = {*asdict(columns).values(), _FEE, _FEE_CURRENCY, _RRN}
    units, code = _text(cells, columns.amount or ""), _text(cells, columns.currency or "")
    fee, fee_code = _text(cells, _FEE), (_text(cells, _FEE_CURRENCY) or code).upper()
    row = ReportRow(
        line=line,
        payout_id=_text(cells, columns.payout_id) or None,
        session_id=_text(cells, columns.session_id),
        metadata=_metadata(cells.get(columns.metadata)),
        fee=numbers.read(fee, fee_code),
        fee_currency=fee_code or None,
        rrn=_text(cells, _RRN) or None,
        kind=_kind(cells, columns.kind),
        finished_at=_time(_text(cells, columns.finished_at or "")),
        columns=MappingProxyType({name: cells[name] for name in cells if name not in read}),
    )
    if not row.session_id:
        return evolve(row, error=table.wrong(line, f"{columns.session_id} is empty"))
    if not units or not code:
        return row
    is_payout = row.kind is ReportKind.ADVICE
    try:
        reader = AmountReader(numbers.sign)
        return evolve(row, amount=reader.read(units if is_payout else units.lstrip("-"), code))
    except InvalidRequest as error:
        if not is_payout:
            return row  # It isn't compared.
        words = f"{columns.amount}, {columns.currency}: {error.problem}"
        return evolve(row, error=table.wrong(line, words))


@frozen(kw_only=True)
class PaymentReportRow:
    """One row of the payments report: a payment, or what was done with it later.

    ``amount``, ``fee`` (negative) and ``settlement`` are in major units; ``settlement`` is what the
    provider has to transfer to the merchant, and may be negative. Their currencies are None in the
    page's older form, which has no column of them. Source: finance/payment-daily-report.
    """

    line: int
    kind: ReportKind
    payment_id: str | None = field(default=None, converter=_clean)
    session_id: str = field(default="", converter=clean_text)
    """Empty if the row names none."""
    contract: str | None = field(default=None, converter=_clean)
    project: str | None = field(default=None, converter=_clean)
    amount: Decimal | None = None
    currency: str | None = None
    fee: Decimal | None = None
    fee_currency: str | None = None
    settlement: Decimal | None = None
    settlement_currency: str | None = None
    time: datetime | None = None
    """When the transaction was; None if it can't be read. The provider doesn't say in which time
    zone: UTC is taken.
    """
    card_number: str | None = field(default=None, repr=mask)
    """Masked by the provider: ``553691******0123``."""
    metadata: object = field(default=None, repr=False)
    """As that of `ReportRow`."""
    rrn: str | None = field(default=None, converter=_clean)
    """Retrieval reference number."""
    error: InvalidRequest | None = None
    """What can't be read in the row, with file and line; the other fields are valid."""


@frozen
class PaymentReport:
    """A daily payments report, a CSV or a workbook, in both forms of the provider's page.

    It can be read again. Encoding and separator of a CSV are recognised, unless ``delimiter`` is
    set; the heading above the names of the columns is skipped. The decimal sign is that of the
    first number that leaves no doubt, anywhere in the report.
    """

    path: Path = field(converter=Path)
    delimiter: str | None = field(default=None, kw_only=True)

    def __iter__(self) -> Iterator[PaymentReportRow]:
        """Yield the rows; one without a type or with an unreadable amount has an ``error``.

        Raises:
            InvalidRequest: a column is missing, or the file isn't such a report; it names file and
                line.
            OSError: the file can't be read.

        """
        numbers = NumberReader()
        with open_table(self.path, self.delimiter, _has_payments) as table:
            for name in _PAYMENT_COLUMNS:
                if name not in table.names:
                    words = f"has no column {name!r}; is it the daily payments report?"
                    raise table.wrong(table.line, words)
            for _, cells in table.rows():
                for name in _PAYMENT_NUMBERS:
                    numbers.note(_text(cells, name))
        with open_table(self.path, self.delimiter, _has_payments) as table:
            for line, cells in table.rows():
                yield _payment_row(table, line, cells, numbers)


_PAYMENT_COLUMNS: Final = ("ID", "paymentSessionId", "Type of payment", "Amount", "Settlement")


_PAYMENT_NUMBERS: Final = ("Amount", "Fee", "Settlement")


def _has_payments(names: frozenset[str]) -> bool:
    return {"ID", "Type of payment"} <= names


def is_payment_report(path: Path, delimiter: str | None = None) -> bool:
    """Return whether a report is that of payments, by the names of its columns.

    Raises:
        InvalidRequest: the file can't be read.
        OSError: the file can't be opened.

    """
    with open_table(path, delimiter, _has_payments) as table:
        return _has_payments(frozenset(table.names))


def _payment_row(
    table: ReportTable, line: int, cells: Cells, numbers: NumberReader
) -> PaymentReportRow:
    row = PaymentReportRow(
        line=line,
        kind=ReportKind.of(_text(cells, "Type of payment")),
        payment_id=_text(cells, "ID") or None,
        session_id=_text(cells, "paymentSessionId"),
        contract=_text(cells, "Contract") or None,
        project=_text(cells, "Project name") or None,
        currency=_text(cells, "Currency amount").upper() or None,
        fee_currency=_text(cells, "Currency fee").upper() or None,
        settlement_currency=_text(cells, "Currency settlement").upper() or None,
        time=_payment_time(_text(cells, "Transaction date and time")),
        card_number=_text(cells, "Card number") or None,
        metadata=_metadata(cells.get("paymentSessionMerchantMetadata")),
        rrn=_text(cells, "RRN") or None,
    )
    if not _text(cells, "Type of payment"):
        return evolve(row, error=table.wrong(line, "Type of payment is empty"))
    amounts = dict[str, Decimal]()
    for name in _PAYMENT_NUMBERS:
        if not (text := _text(cells, name)):
            continue
        number = numbers.read(text, _text(cells, f"Currency {name.lower()}"))
        if number is None:
            words = f"{name}: expected a number such as '-110{numbers.sign or '.'}00'"
            note = ", without thousands separators and with one decimal sign in the whole report"
            return evolve(row, error=table.wrong(line, words + note))
        amounts[name.lower()] = number
    return evolve(
        row,
        amount=amounts.get("amount"),
        fee=amounts.get("fee"),
        settlement=amounts.get("settlement"),
    )


def _payment_time(text: str) -> datetime | None:
    """Return a time such as 2025-01-02 03:04:05, or 02.01.2025 03:04:05 as in the older form."""
    try:
        return datetime.strptime(text, "%d.%m.%Y %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return _time(text)


def _text(cells: Cells, name: str) -> str:
    return (cells.get(name) or "").strip()


def _kind(cells: Cells, column: str | None) -> ReportKind:
    return ReportKind.ADVICE if column is None else ReportKind.of(_text(cells, column))


def _time(text: str) -> datetime | None:
    """Return a time such as 2025-01-02 03:04:05; the provider's page writes it with long dashes."""
    try:
        time = datetime.fromisoformat(text.replace("\u2013", "-"))
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def _metadata(text: str | None) -> object:
    if not text or not text.strip():
        return None
    if len(text) > _MAX_CELL:
        return text
    try:
        return cast("object", json.loads(text))
    except (ValueError, RecursionError):
        return text
