"""Makes the files of payouts in this folder with the programs that people have.

    python tests/samples/files/make.py

It needs LibreOffice (``soffice``), XlsxWriter and sepaxml, which checks its messages against the
schemas of ISO 20022. The files in the repository are those of LibreOffice 7.4, XlsxWriter 3.3 and
sepaxml 2.7.
"""

import csv
import datetime as dt
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import xlsxwriter
from sepaxml import SepaTransfer

HERE: Final = Path(__file__).parent
HEADER: Final = (
    *("Key", "Amount", "Currency", "IBAN", "Account Number", "Description"),
    *("First Name", "Last Name", "Country", "Recipient currency", "Bank name", "Note"),
)
ROWS: Final = (
    (
        *("salary-1", 1234.5, "EUR", "DE89 3704 0044 0532 0130 00", "", "Gehalt Müller"),
        *("Jörg", "Müller", "DE", "EUR", "Commerzbank", "as ever"),
    ),
    (
        *("salary-2", 980, "EUR", "FR14 2004 1010 0505 0001 3M02 606", "", "Salaire Zoé"),
        *("Zoé", "Dubois", "France", "EUR", "La Banque Postale", ""),
    ),
    (
        *("salary-3", 1200000.99, "EUR", "", "0012345678", "Salary"),
        *("Jane", "Roe", "JPN", "EUR", "Mizuho", ""),
    ),
)
LOCALES: Final = {"en": "[$-409]#,##0.00", "de": "[$-407]#,##0.00", "fr": "[$-40C]#,##0.00"}
# Delimiter, quote, encoding, first line, columns, language, quote all, as shown: see the page
# "CSV filter parameters" of LibreOffice's help. 76 is UTF-8, 1 Windows-1252.
EXPORTS: Final = {"en": "44,34,76,1", "de": "59,34,1,1", "fr": "59,34,76,1"}


def source(path: Path, number_format: str) -> None:
    """Write a workbook as a person would: text columns as text, amounts as numbers."""
    book: Any = xlsxwriter.Workbook(path)
    sheet = book.add_worksheet("Payouts")
    text, money = (
        book.add_format({"num_format": "@"}),
        book.add_format({"num_format": number_format}),
    )
    sheet.write_row(0, 0, HEADER)
    for line, row in enumerate(ROWS, 1):
        for column, value in enumerate(row):
            if isinstance(value, str):
                sheet.write_string(line, column, value, text)
            else:
                sheet.write_number(line, column, value, money)
    book.close()


def marked_source(path: Path) -> None:
    """Write a workbook with one thing in each row that isn't a value, and with hidden parts."""
    book: Any = xlsxwriter.Workbook(path)
    sheet, hidden = book.add_worksheet("Payouts"), book.add_worksheet("Last month")
    text = book.add_format({"num_format": "@"})
    money, whole = (book.add_format({"num_format": code}) for code in ("#,##0.00", "0"))
    for table in (sheet, hidden):
        table.write_row(0, 0, ("key", "amount", "currency", "iban", "description", "full_name"))
        for line in range(1, 9):
            row = (f"p-{line}", None, "eur", "DE89370400440532013000", "Salary", "Jane Roe")
            table.write_row(line, 0, row, text)
            table.write_number(line, 1, 12.5, money)
    hidden.hide()
    sheet.set_column("F:F", None, None, {"hidden": True})
    sheet.write_formula("B3", "=1/0", money, "#DIV/0!")
    sheet.write_formula("E4", "=NA()", text, "#N/A")
    sheet.set_row(4, None, None, {"hidden": True})
    sheet.merge_range("E6:E7", "Salary", text)
    sheet.write_number("B8", 12.5, whole)
    sheet.write_formula("E9", '="Sal"&"ary"', text, "Salary")
    sheet.write_row(9, 0, ("", None, "eur", "DE89370400440532013000", "Salary", "Jane Roe"), text)
    sheet.write_number("A10", 7, book.add_format({"num_format": "00000"}))
    sheet.write_number("B10", 12.5, money)
    sheet.write_formula("A12", "=NA()", None, "#N/A")
    sheet.write_formula("B12", "=1/0", None, "#DIV/0!")
    book.close()


def office(*words: str, where: Path) -> None:
    """Run LibreOffice without a window."""
    program = shutil.which("soffice")
    assert program is not None
    subprocess.run(
        [program, "--headless", "--convert-to", *words, "--outdir", str(where)], check=True
    )


def credit_transfers(version: str) -> bytes:
    """Return a valid message with the payouts that go to an IBAN."""
    payer = {
        "name": "Shop Ltd",
        "IBAN": "DE89370400440532013000",
        "BIC": "COBADEFFXXX",
        "batch": True,
        "currency": "EUR",
    }
    message = SepaTransfer(payer, schema=f"pain.001.001.{version}", clean=True)
    for row in ROWS:
        key, amount, _, iban, _, purpose, first, last, *_ = row
        if iban:
            message.add_payment(
                {
                    "name": f"{first} {last}",
                    "IBAN": str(iban).replace(" ", ""),
                    "amount": round(float(amount) * 100),
                    "execution_date": dt.date(2026, 6, 1),
                    "description": purpose,
                    "endtoend_id": key,
                }
            )
    return bytes(message.export(validate=True, pretty_print=True))


def main() -> None:
    """Make all files."""
    for version in ("03", "09", "11"):
        (HERE / f"sepaxml-{version}.xml").write_bytes(credit_transfers(version))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name, number_format in LOCALES.items():
            source(work / f"{name}.xlsx", number_format)
            office(
                f"csv:Text - txt - csv (StarCalc):{EXPORTS[name]},,0,false,true",
                str(work / f"{name}.xlsx"),
                where=work,
            )
            shutil.copy(work / f"{name}.csv", HERE / f"libreoffice-{name}.csv")
        shutil.copy(work / "en.xlsx", HERE / "xlsxwriter.xlsx")
        (work / "de.xlsx").rename(work / "libreoffice.xlsx")
        marked_source(work / "libreoffice-marks.xlsx")
        for name in ("libreoffice", "libreoffice-marks"):
            for kind in ("xlsx", "ods", "xls"):
                office(kind, str(work / f"{name}.xlsx"), where=HERE)
    for dialect in ("excel", "excel-tab"):
        with (HERE / f"python-{dialect}.csv").open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.writer(file, dialect)
            writer.writerow(HEADER)
            writer.writerows(ROWS)


if __name__ == "__main__":
    main()
