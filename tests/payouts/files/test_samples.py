"""Files that real programs made (see ``tests/samples/files/make.py``): read, and paid."""

from pathlib import Path
from typing import Final

import pytest
from attrs import evolve
from paying import QUICK
from places import SAMPLES

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.payouts.files.payout_file import rows_to_check

OPENING: Final = 10**12
FILES: Final = SAMPLES / "files"
FORMATS: Final = {
    "libreoffice-de.csv": "CSV, cp1252, semicolons between the cells, decimal comma",
    "libreoffice-en.csv": "CSV, utf-8, commas between the cells, decimal point",
    "libreoffice-fr.csv": "CSV, utf-8, semicolons between the cells, decimal comma",
    "libreoffice.ods": "OpenDocument spreadsheet, sheet 'Payouts'",
    "libreoffice.xls": "Excel 97 workbook, sheet 'Payouts'",
    "libreoffice.xlsx": "Excel workbook, sheet 'Payouts'",
    "python-excel-tab.csv": "CSV, utf-8, tabs between the cells, decimal point",
    "python-excel.csv": "CSV, utf-8, commas between the cells, decimal point",
    "sepaxml-03.xml": "ISO 20022 pain.001.001.03",
    "sepaxml-09.xml": "ISO 20022 pain.001.001.09",
    "sepaxml-11.xml": "ISO 20022 pain.001.001.11",
    "xlsxwriter.xlsx": "Excel workbook, sheet 'Payouts'",
}
TABLES: Final = [name for name in FORMATS if not name.endswith(".xml")]
MESSAGES: Final = [name for name in FORMATS if name.endswith(".xml")]


def payee(iban: str | None, number: str | None, purpose: str) -> sg.GlobalAccount:
    """Return an account."""
    return sg.GlobalAccount(iban=iban, account_number=number, description=purpose)


def of(first: str, last: str, country: str, bank: str) -> sg.ParticipantDetails:
    """Return a recipient with an account in euros."""
    person = sg.Participant(
        first_name=first, last_name=last, country_iso3=country, currency="EUR", bank_name=bank
    )
    return sg.ParticipantDetails(recipient=person)


ORDERS: Final = [
    sg.PayoutOrder(
        key="salary-1",
        payment_method=payee("DE89370400440532013000", None, "Gehalt Müller"),
        amount_details=sg.AmountDetails(123_450, "eur"),
        participant_details=of("Jörg", "Müller", "DEU", "Commerzbank"),
    ),
    sg.PayoutOrder(
        key="salary-2",
        payment_method=payee("FR1420041010050500013M02606", None, "Salaire Zoé"),
        amount_details=sg.AmountDetails(98_000, "eur"),
        participant_details=of("Zoé", "Dubois", "FRA", "La Banque Postale"),
    ),
    sg.PayoutOrder(
        key="salary-3",
        payment_method=payee(None, "0012345678", "Salary"),
        amount_details=sg.AmountDetails(120_000_099, "eur"),
        participant_details=of("Jane", "Roe", "JPN", "Mizuho"),
    ),
]


def sample(name: str) -> sg.PayoutFile:
    """Return a sample, without its column of notes."""
    return sg.PayoutFile(FILES / name, format=sg.payouts.FileFormat(ignored=["note"]))


def test_each_sample_has_its_test() -> None:
    """And each test its sample; test_sheet_marks has those with errors and hidden rows."""
    samples = {path.name for path in FILES.iterdir() if path.suffix != ".py"}
    assert {name for name in samples if not name.startswith("libreoffice-marks.")} == set(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_its_format_is_recognised(name) -> None:
    """Shown in words, before it is paid."""
    assert sample(name).recognise().words == FORMATS[name]


@pytest.mark.parametrize("name", TABLES)
def test_every_program_writes_the_same_payouts(name) -> None:
    """Whatever its separators, its encoding and its kind of file."""
    assert list(sample(name)) == ORDERS
    assert sg.payouts.check(sample(name)).is_fit


@pytest.mark.parametrize("name", FORMATS)
def test_a_check_finds_what_the_rows_have(name) -> None:
    """It may leave out the people of an order, and nothing else."""
    for read, checked in zip(sample(name).rows(), rows_to_check(sample(name)), strict=True):
        assert (checked.line, checked.problems) == (read.line, read.problems)
        assert read.order is not None
        assert checked.order is not None
        people = checked.order.participant_details
        assert people in {None, read.order.participant_details}
        assert evolve(read.order, participant_details=people) == checked.order


@pytest.mark.parametrize("name", MESSAGES)
def test_every_version_has_the_same_payouts(name) -> None:
    """A message has the recipient's whole name, which sepaxml writes without accents."""
    orders = list(sample(name))
    for order, expected, person in zip(
        orders, ORDERS[:2], ("Jorg Muller", "Zoe Dubois"), strict=True
    ):
        assert order.key == expected.key
        assert order.amount_details == expected.amount_details
        assert isinstance(order.payment_method, sg.GlobalAccount)
        assert order.payment_method.iban == expected.payment_method.iban  # type: ignore[union-attr]
        assert order.participant_details == sg.ParticipantDetails(
            recipient=sg.Participant(full_name=person, currency="EUR"),
            sender=sg.Participant(company_name="Shop Ltd"),
        )


def test_the_key_of_all_samples_is_that_of_their_bytes() -> None:
    """Two files are two batches."""
    digests = {sample(name).digest() for name in FORMATS}
    assert len(digests) == len({(FILES / name).read_bytes() for name in FORMATS})


@pytest.mark.filterwarnings("ignore:.*should have it")  # Advice: a message has no bank's name.
@pytest.mark.parametrize("name", FORMATS)
async def test_each_is_paid_to_the_cent(run_provider, connect, journal, name) -> None:
    """Both sides count the same sums."""
    provider = run_provider(rules=emulator.Rules(opening_balance=OPENING))
    file = sample(name)
    found = sg.payouts.check(file)
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        outcomes = [outcome async for outcome in payouts.pay_all(file)]
    assert {outcome.state for outcome in outcomes} == {sg.PayoutState.SUCCEEDED}
    paid = sum(outcome.amount or 0 for outcome in outcomes)
    assert {"eur": paid} == dict(found.totals)
    assert provider.report().moved == len(outcomes) == found.count
    assert OPENING - provider.report().balances["eur"]["wallet"] == paid


def test_a_missing_note_is_not_missed(tmp_path: Path) -> None:
    """A column that is ignored need not be there."""
    path = tmp_path / "p.csv"
    path.write_bytes((FILES / "python-excel.csv").read_bytes().replace(b",Note", b""))
    text = path.read_text("utf-8-sig").replace(",as ever", "")
    path.write_text("\n".join(line.rstrip(",") for line in text.splitlines()), encoding="utf-8")
    assert [order.key for order in sg.PayoutFile(path)] == [order.key for order in ORDERS]
