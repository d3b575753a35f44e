"""Templates filled in: a value for each column that a country's template has."""

import io
import re
import zipfile
from random import Random
from typing import Final
from xml.sax.saxutils import escape

import pycountry
import schwifty
from attrs import frozen

from smartglocal_async.payouts.files.template import TemplateColumn

_VALUES: Final = {
    "amount": "1234.50",
    "currency": "eur",
    "description": "Invoice 17",
    "swift": "DEUTDEFF",
    "bank_account_number": "0012345678",
    "branch_number": "0001",
    "account_number": "12345678",
    "account_type": "CHECKING",
    "sort_code": "12-34-56",
    "routing_code": "021000021",
    "bsb_number": "062-000",
    "card_token": "2f0b8f3a",
    "wallet_name": "gcash",
    "wallet_phone": "639171234567",
    "full_name": "Jane Roe",
    "first_name": "Jane",
    "last_name": "Roe",
    "bank_name": "First Bank",
    "address_line": "Main Street 1",
    "city": "Springfield",
    "postal_code": "12345",
    "state": "NY",
    "recipient_currency": "eur",
    "id_number": "11144477735",
    "sender_company_name": "Acme Ltd",
    "sender_registration_number": "1234567",
    "sender_country": "CYP",
    "sender_code": "1001",
    "sender_address_line": "Sea Street 2",
    "sender_city": "Limassol",
    "participant_details.recipient.swift_bic_code": "ICBKCNBJ",
    "ru_bik": "044525225",
    "ru_account": "40817810938160925982",
    "ru_full_name": "Иванов Иван",
    "ru_description": "Счёт 17",
}


@frozen
class FilledRow:
    """The cells of one payout under the columns of a template; optional ones may be empty."""

    cells: tuple[str, ...]

    def in_csv(self, template: bytes) -> bytes:
        """Return a CSV template with this row."""
        return template + ",".join(self.cells).encode() + b"\r\n"

    def in_workbook(self, template: bytes) -> bytes:
        """Return a workbook with this row on its first sheet, as cells of text."""
        filled = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(template)) as old, zipfile.ZipFile(filled, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name == "xl/worksheets/sheet1.xml":
                    content = content.replace(b"</sheetData>", self._xml() + b"</sheetData>")
                    content = re.sub(rb'<dimension ref="[^"]*"/>', b"", content)
                new.writestr(name, content)
        return filled.getvalue()

    def _xml(self) -> bytes:
        cells = "".join(
            f'<c r="{_letters(place)}2" t="inlineStr"><is><t>{escape(text)}</t></is></c>'
            for place, text in enumerate(self.cells)
            if text
        )
        return f'<row r="2">{cells}</row>'.encode()


_LOCAL: Final = {"bank_account_number", "branch_number", "sort_code", "account_number"}


def filled_row(columns: tuple[TemplateColumn, ...], country: str) -> FilledRow:
    """Return a row with the needed columns, and the IBAN if the country has one."""
    names = [column.name for column in columns]
    iban = _iban(country)
    left_out: set[str] = set()
    if "iban" in names:
        left_out = {"iban", "swift"} if iban is None else _LOCAL
    values = {**_VALUES, "key": "inv-17", "iban": iban or "", "country": country}
    if "ru_account" in names:
        values["currency"] = "rub"
    if country == "CHN":
        values["recipient_currency"] = "cny"
    return FilledRow(tuple("" if name in left_out else values[name] for name in names))


def _iban(country: str) -> str | None:
    found = pycountry.countries.get(alpha_3=country)
    code = "XK" if found is None else found.alpha_2
    try:
        return str(schwifty.IBAN.random(country_code=code, random=Random(17)))  # noqa: S311 - no secret
    except schwifty.exceptions.SchwiftyException:
        return None


def _letters(place: int) -> str:
    return (chr(ord("A") + place // 26 - 1) if place >= 26 else "") + chr(ord("A") + place % 26)
