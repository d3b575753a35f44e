"""Makes a file of payouts to fill in, with the columns that a country needs."""

import csv
import io
from collections.abc import Iterator
from typing import Any, Final, Literal, get_args

from attrs import frozen

from ...codec.instruments import kind_of
from ...errors import InvalidRequest, Misuse
from ...models.instruments import BankCard, GlobalAccount, RussianAccount
from ...validation.country_rules import PAYOUTS, Requirements
from ...validation.lookups import country_code
from .columns import NEEDED, name_of

TemplateKind = Literal["csv", "xlsx"]
TEMPLATE_KINDS: Final[tuple[str, ...]] = get_args(TemplateKind)
_RUSSIA: Final = "RUS"
_ANY_ACCOUNT: Final = ("iban", "swift_bic_code", "bank_account_number")
_NEEDS: Final = "an xlsx template needs XlsxWriter: pip install 'smartglocal-async[files]'"
_FIRST: Final = {
    "key": "your own id of the payout, which no other payout has",
    "amount": "in major units, such as 1234.50; a number or text",
    "currency": "three letters, such as EUR",
}
_WIDTH: Final = 22


@frozen
class TemplateColumn:
    """A column of a template."""

    name: str
    is_needed: bool
    remark: str


def template_columns(country: str | None = None) -> tuple[TemplateColumn, ...]:
    """Return the columns of payouts to a country, by its code or name; without one, to any.

    They are those that the provider's page of the country names, for the instrument that it has.

    Raises:
        InvalidRequest: there is no such country.

    """
    code = None if country is None else country_code(country)
    if country is not None and code is None:
        raise InvalidRequest("country", "is no country; give its code, such as DEU")
    return tuple(_columns(_requirements(code)))


def payout_template(country: str | None = None, kind: TemplateKind = "csv") -> bytes:
    """Return a file of payouts to fill in: a CSV, or an Excel workbook with columns of text.

    Raises:
        InvalidRequest: there is no such country or kind.
        Misuse: an Excel workbook needs XlsxWriter.

    """
    columns = template_columns(country)
    if kind == "csv":
        text = io.StringIO()
        _ = csv.writer(text).writerow([column.name for column in columns])
        return text.getvalue().encode("utf-8-sig")
    if kind != "xlsx":  # pyright: ignore[reportUnnecessaryComparison]
        raise InvalidRequest("kind", "expected csv or xlsx")
    return _workbook(columns)


def _requirements(country: str | None) -> Requirements:
    """Return what a payout to a country needs: by its account, else by the instrument it has."""
    account = kind_of(RussianAccount if country == _RUSSIA else GlobalAccount)
    own = [row for row in PAYOUTS if row.country == country and row.either_currency is None]
    for row in (*own, *PAYOUTS):
        if row.kind == account and row.country in {None, country}:
            general = row
            break
    else:
        raise AssertionError("every kind of account has a general row")
    if country in {general.country, _RUSSIA}:
        return general
    others = (row for row in own if country is not None and row.kind != kind_of(BankCard))
    return next(others, general)


def _columns(needs: Requirements) -> Iterator[TemplateColumn]:
    for name in NEEDED:
        yield TemplateColumn(name, is_needed=True, remark=_FIRST[name])
    method = f"payment_method.{needs.kind}"
    choice = " or ".join(" and ".join(names) for names in needs.alternatives)
    alternatives = dict.fromkeys(name for names in needs.alternatives for name in names)
    if not alternatives and needs.kind == kind_of(GlobalAccount) and needs.country is None:
        alternatives, choice = dict.fromkeys(_ANY_ACCOUNT), "iban or bank_account_number"
    for name in alternatives:
        yield TemplateColumn(name_of(f"{method}.{name}"), is_needed=False, remark=f"fill {choice}")
    for place, names in (
        (method, needs.instrument),
        ("participant_details.recipient", needs.recipient),
        ("participant_details.sender", needs.sender),
    ):
        for name in names:
            is_needed = not (needs.is_advice or name in needs.advised)
            yield TemplateColumn(name_of(f"{place}.{name}"), is_needed, needs.page)
        if place.endswith("recipient"):
            yield from _in_currency(needs)


def _in_currency(needs: Requirements) -> Iterator[TemplateColumn]:
    """Yield the columns of the recipient that only payouts in some currency need."""
    for row in PAYOUTS:
        if (row.kind, row.country) == (needs.kind, needs.country) and row.either_currency:
            for name in row.recipient:
                if name not in needs.recipient:
                    column = name_of(f"participant_details.recipient.{name}")
                    remark = f"in {row.either_currency.upper()}: {row.page}"
                    yield TemplateColumn(column, is_needed=False, remark=remark)


def _workbook(columns: tuple[TemplateColumn, ...]) -> bytes:
    try:
        import xlsxwriter  # type: ignore[import-untyped]  # noqa: PLC0415  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise Misuse(_NEEDS) from None
    content = io.BytesIO()
    book: Any = xlsxwriter.Workbook(content, {"in_memory": True, "strings_to_formulas": False})
    bold, text = book.add_format({"bold": True}), book.add_format({"num_format": "@"})
    sheet = book.add_worksheet("Payouts")
    for number, column in enumerate(columns):
        # As text, a spreadsheet keeps leading zeros and all digits.
        form = None if column.name == "amount" else text
        sheet.set_column(number, number, _WIDTH, form)
        sheet.write_string(0, number, column.name, bold)
    sheet.freeze_panes(1, 1)
    notes = book.add_worksheet("Fields")
    notes.set_column(0, 2, _WIDTH * 2)
    for number, words in enumerate(("Column", "Needed", "Remark")):
        notes.write_string(0, number, words, bold)
    for line, column in enumerate(columns, 1):
        needed = "yes" if column.is_needed else "see remark"
        for number, words in enumerate((column.name, needed, column.remark)):
            notes.write_string(line, number, words)
    book.close()
    return content.getvalue()
