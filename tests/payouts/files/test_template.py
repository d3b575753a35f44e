"""Templates: files to fill in, which are read as they were made."""

import csv
import io
import sys
from typing import Any

import pytest
from attrs import evolve
from pycountry import countries
from python_calamine import load_workbook
from template_rows import filled_row

import smartglocal_async as sg
from smartglocal_async.payouts import payout_template, template_columns


def names(country: str | None) -> list[str]:
    """Return the names of a template's columns."""
    return [column.name for column in template_columns(country)]


SWIFT = "participant_details.recipient.swift_bic_code"


@pytest.mark.parametrize(
    ("country", "has", "has_not"),
    [
        (None, {"iban", "swift", "bank_account_number", "description"}, {"sort_code"}),
        ("DEU", {"iban", "swift", "bank_account_number", "description"}, {"sort_code"}),
        ("GBR", {"iban", "swift", "sort_code", "account_number", "account_type"}, {"ru_bik"}),
        ("gb", {"sort_code", "address_line"}, set()),
        ("Hungary", {"iban", "description", "city", "sender_city"}, {"sort_code"}),
        ("USA", {"routing_code", "account_type", "bank_account_number", "state"}, {"iban"}),
        ("BRA", {"id_number", "branch_number", "sender_code"}, {"iban"}),
        ("RUS", {"ru_bik", "ru_account", "ru_full_name"}, {"iban", "country"}),
        ("PHL", {"bank_account_number", "bank_name", "sender_code"}, {"iban", "wallet_name"}),
        ("CHN", {"card_token", "state", "full_name", SWIFT}, {"iban"}),
    ],
)
def test_a_country_has_its_columns(country, has, has_not) -> None:
    """Those of the provider's page, after the three that each file has."""
    found = names(country)
    assert found[:3] == ["key", "amount", "currency"]
    assert has <= set(found)
    assert not has_not & set(found)
    assert len(set(found)) == len(found)


def test_no_such_country() -> None:
    """An unknown country is refused; it gets no general template."""
    with pytest.raises(sg.InvalidRequest, match="is no country"):
        payout_template("Atlantis")


def test_no_such_kind() -> None:
    """There are two."""
    with pytest.raises(sg.InvalidRequest, match="expected csv or xlsx"):
        payout_template(kind="ods")  # type: ignore[arg-type]


@pytest.mark.parametrize("country", [None, "GBR", "RUS"])
def test_both_kinds_have_the_same_header(tmp_path, country) -> None:
    """And are read as files of payouts that lack rows only."""
    (header,) = csv.reader(io.StringIO(payout_template(country).decode("utf-8-sig")))
    for kind in ("csv", "xlsx"):
        path = tmp_path / f"p.{kind}"
        path.write_bytes(payout_template(country, kind))
        (row,) = sg.PayoutFile(path).rows()
        assert [one.problem for one in row.problems] in (
            ["the file has a header, and no rows"],
            ["the sheet has a header, and no rows"],
        )
    (first, *_) = load_workbook(path).get_sheet_by_name("Payouts").to_python()
    assert first == header == names(country)


def test_a_workbook_explains_its_columns() -> None:
    """On a second sheet."""
    book = load_workbook(io.BytesIO(payout_template("GBR", "xlsx")))
    rows: list[Any] = book.get_sheet_by_name("Fields").to_python()
    assert rows[0] == ["Column", "Needed", "Remark"]
    assert [row[0] for row in rows[1:]] == names("GBR")
    needs = {row[0]: row[1:] for row in rows[1:]}
    assert needs["account_type"] == ["yes", "payouts/payout-united-kingdom"]
    assert needs["iban"][0] == "see remark"
    assert "sort_code and account_number" in needs["iban"][1]


def test_a_workbook_needs_a_library(monkeypatch) -> None:
    """A CSV doesn't."""
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    assert payout_template("GBR")
    with pytest.raises(sg.Misuse, match=r"smartglocal-async\[files\]"):
        payout_template("GBR", "xlsx")


@pytest.mark.parametrize("currency", ["cny", "usd"])
def test_a_payout_to_china_in_usd_needs_more(tmp_path, currency) -> None:
    """Its columns are in the template, and need not be filled in for another currency."""
    columns = template_columns("CHN")
    optional = [one.name for one in columns if one.remark == "in USD: payouts/payout-china"]
    assert optional == ["address_line", SWIFT, "first_name"]
    row = filled_row(columns, "CHN")
    named = zip(columns, row.cells, strict=True)
    cells = ["" if column.name in optional else cell for column, cell in named]
    cells[2] = currency
    path = tmp_path / "p.csv"
    path.write_bytes(evolve(row, cells=cells).in_csv(payout_template("CHN")))
    found = sg.payouts.check(sg.PayoutFile(path))
    assert found.is_fit
    assert [one.column for one in found.advice] == (optional if currency == "usd" else [])


COUNTRIES = (*(country.alpha_3 for country in countries), "XKX")


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_template_that_is_filled_in_can_be_paid(tmp_path, kind) -> None:
    """That of every country, as what it needs and what a row is checked for are the same rules."""
    assert len(COUNTRIES) > 240
    refused = {}
    for country in COUNTRIES:
        path = tmp_path / f"{country}.{kind}"
        row = filled_row(template_columns(country), country)
        template = payout_template(country, kind)
        path.write_bytes(row.in_csv(template) if kind == "csv" else row.in_workbook(template))
        found = sg.payouts.check(sg.PayoutFile(path))
        # A random IBAN of some countries names no bank of the list, which is advice.
        advice = [one for one in found.advice if "a bank of the list" not in one.problem]
        if not (found.is_fit and found.count == 1) or advice:
            refused[country] = [str(one) for one in (*found.problems, *advice)]
    assert not refused


@pytest.mark.parametrize("country", COUNTRIES)
def test_a_column_that_a_template_needs_is_needed(tmp_path, country) -> None:
    """A row without it is refused, or the provider may refuse it: the check names the column."""
    columns = template_columns(country)
    row = filled_row(columns, country)
    for place, column in enumerate(columns):
        is_only = [one.name.partition("_")[0] for one in columns].count("sender") == 1
        if not column.is_needed or (column.name.startswith("sender_") and is_only):
            continue  # Without any field there is no sender, which is then not checked.
        if (country, column.name) == ("CHN", "country"):
            continue  # Without it a card isn't known to be Chinese.
        path = tmp_path / f"{column.name}.csv"
        cells = [*row.cells[:place], "", *row.cells[place + 1 :]]
        path.write_bytes(evolve(row, cells=cells).in_csv(payout_template(country)))
        found = sg.payouts.check(sg.PayoutFile(path))
        named = {one.column for one in (*found.problems, *found.advice)}
        assert column.name in named or not found.is_fit, column.name
