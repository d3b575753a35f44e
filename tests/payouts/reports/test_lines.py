"""The CSV for bookkeeping and the JSON document: every payout, and no cell that runs."""

import csv
import io
import json

import pytest
from reported import FORMULA, ReportedJournal, mixed_batch

from smartglocal_async.payouts.reports.csv import BOM, COLUMNS, CsvReport
from smartglocal_async.payouts.reports.json import JSON_BEGINS, JsonReport

RUNS = ("=", "+", "-", "@", "\t", "\r")


def rows_of(content: bytes) -> dict[str, dict[str, str]]:
    """Return the rows of a CSV by their key."""
    text = content.decode("utf-8-sig")
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    return {row["key"]: row for row in rows}


async def test_a_line_for_each_payout():
    """Major units with all decimals, times in UTC, and what isn't known is empty."""
    rows = rows_of(await (await mixed_batch()).text(CsvReport))
    assert rows["k1"] == {
        "key": "k1",
        "batch": "may.csv",
        "state": "succeeded",
        "payee": "Z*** b*** *** S***",
        "account": "...4321",
        "amount": "100.00",
        "currency": "USD",
        "fee": "1.25",
        "fee_currency": "USD",
        "created_at": "2027-01-15T08:00:00Z",
        "paid_at": "2027-01-15T08:00:07Z",
        "session_id": "ps-k1",
        "payout_id": "po-k1",
        "bank_reference": "000000000042",
        "code": "",
        "reason": "",
        "attempts": "3",
    }
    assert (rows["k3"]["paid_at"], rows["k3"]["code"]) == ("", "declined")
    assert rows[f"'{FORMULA}"]["amount"] == "1.234"
    assert len(rows) == 6


async def test_no_cell_runs():
    """A text that a spreadsheet would take for a formula has an apostrophe in front."""
    content = await (await mixed_batch()).text(lambda stream: CsvReport(stream, full_names=True))
    rows = rows_of(content)
    cells = [cell for row in rows.values() for cell in row.values()]
    assert not [cell for cell in cells if cell.startswith(RUNS)]
    assert rows["k5"]["reason"] == "'=1+1, no call can show it"
    assert rows[f"'{FORMULA}"]["payee"] == f"'{FORMULA}"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Jane Roe", "J*** R***"),
        ("=1+1", "1***"),
        ("Åsa O'Neill", "Å*** O***"),
        ("& Co", "*** C***"),
    ],
)
async def test_names_are_masked_unless_they_are_asked_for(name, shown):
    """Each word keeps its first letter; the option shows the whole name."""
    made = await ReportedJournal().opened()
    await made.has("k1", payee=f"{name}, ...4321")
    assert rows_of(await made.text(CsvReport))["k1"]["payee"] == shown
    whole = await made.text(lambda stream: CsvReport(stream, full_names=True))
    assert rows_of(whole)["k1"]["payee"].removeprefix("'") == name


async def test_as_programs_read_it():
    """A byte order mark, for Excel, and lines that end with CR LF."""
    content = await (await mixed_batch()).text(CsvReport)
    assert content.startswith(BOM + b"key,batch,state,")
    assert content.count(b"\n") == content.count(b"\r\n") == 7


async def test_a_csv_without_payouts_has_its_header():
    """And nothing else."""
    content = await (await ReportedJournal().opened()).text(CsvReport)
    assert content == BOM + f"{','.join(COLUMNS)}\r\n".encode()


async def test_the_document():
    """Payouts in minor units; sums, plots and what needs a review."""
    content = await (await mixed_batch()).text(JsonReport)
    assert content.startswith(JSON_BEGINS)
    found = json.loads(content)
    paid = found["payouts"][0]
    assert (paid["key"], paid["amount"], paid["fee"]) == (
        "k1",
        {"amount": 10_000, "currency": "usd"},
        {"amount": 125, "currency": "usd"},
    )
    assert (paid["paid_at"], paid["bank_reference"]) == ("2027-01-15T08:00:07Z", "000000000042")
    assert found["counts"] == {
        "succeeded": 2,
        "failed": 1,
        "cancelled": 1,
        "unknown": 1,
        "open": 1,
    }
    assert (found["batch"], found["state"], found["rows"], found["absent"]) == (
        "may.csv",
        "running",
        7,
        1,
    )
    assert [case["key"] for case in found["needs_review"]] == ["k5"]
    assert sum(bar["count"] for bar in found["attempts"]) == len(found["payouts"]) == 6


async def test_a_document_without_payouts():
    """It can be read, and has no payouts."""
    found = json.loads(await (await ReportedJournal().opened()).text(JsonReport))
    assert (found["payouts"], found["count"], found["timeline"]["slots"]) == ([], 0, [])


@pytest.mark.parametrize("make", [CsvReport, JsonReport])
async def test_no_payee_without_the_key(make):
    """Neither name nor account; the document says why."""
    content = (await (await mixed_batch()).text(make, is_open=False)).decode()
    assert "Zoë" not in content
    assert "4321" not in content
    if make is JsonReport:
        assert "SMARTGLOCAL_JOURNAL_KEY isn't set" in json.loads(content)["payee_note"]
