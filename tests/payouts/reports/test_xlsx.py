"""The workbook: text stays text, sums are values, and LibreOffice reads all of it."""

import asyncio
import csv
import io
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Final

import pytest
from python_calamine import CalamineWorkbook
from reported import FORMULA, ReportedJournal, mixed_batch

import smartglocal_async as sg
from smartglocal_async.journal.entries import Batch
from smartglocal_async.journal.states import Step
from smartglocal_async.models.money import Amount
from smartglocal_async.payouts.reports import xlsx
from smartglocal_async.payouts.reports.csv import CsvReport
from smartglocal_async.payouts.reports.records import ReportCommands
from smartglocal_async.payouts.reports.xlsx import XlsxReport, is_xlsx_report

OFFICE: Final = shutil.which("soffice") or shutil.which("libreoffice")
needs_office = pytest.mark.skipif(OFFICE is None, reason="there is no LibreOffice")


async def workbook(made: ReportedJournal, folder: Path, *, is_open: bool = True) -> Path:
    """Write the workbook of a journal."""
    path, scratch = folder / "r.xlsx", folder / "scratch"
    scratch.mkdir()
    content = await made.text(lambda stream: XlsxReport(stream, scratch), is_open=is_open)
    path.write_bytes(content)
    return path


def cells(path: Path, sheet: str) -> list[list[object]]:
    """Return the cells of a sheet."""
    return CalamineWorkbook.from_path(path).get_sheet_by_name(sheet).to_python()


async def test_the_sheets(tmp_path):
    """Totals, payouts and what needs a review, each with its values and types."""
    path = await workbook(await mixed_batch(), tmp_path)
    book = CalamineWorkbook.from_path(path)
    assert book.sheet_names == ["Totals", "Payouts", "Needs review"]
    head, first, *rest = cells(path, "Payouts")
    row = dict(zip(head, first, strict=True))
    assert (row["Key"], row["Outcome"], row["Amount"], row["Fee"]) == ("k1", "Paid", 100.0, 1.25)
    assert (row["Payee"], row["Account"]) == ("Zoë <b>Å</b> & Söhne", "...4321")
    assert row["Bank reference"] == "000000000042"
    assert str(row["Paid (UTC)"]) == "2027-01-15 08:00:07"
    assert (len(rest), rest[0][0]) == (5, FORMULA)
    totals = cells(path, "Totals")
    assert ["USD", "Paid", 1.0, 100.0] in [line[:4] for line in totals]
    assert ["KWD", "Paid", 1.0, 1.234] in [line[:4] for line in totals]
    review = cells(path, "Needs review")
    assert [review[0][0], review[1][0], review[1][10]] == [
        "Key",
        "k5",
        "=1+1, no call can show it",
    ]


async def test_totals_add_up_to_the_file(tmp_path):
    """What isn't started has a row for each currency; the number of rows is known together only."""
    batch = Batch(name="may.csv", digest=b"x", rows=5, totals={"usd": 51_000, "kwd": 1_234})
    made = await ReportedJournal().opened(batch)
    await made.has("k1")
    await made.has("k2", Step.FAILED)
    lines = [line[:4] for line in cells(await workbook(made, tmp_path), "Totals")]
    assert ["KWD", "Not started", 3.0, 1.234] in lines
    assert ["USD", "Not started", "", 310.0] in lines
    usd = [line[3] for line in lines if line[0] == "USD"]
    assert sum(usd) == 510.0


async def test_what_to_do_has_the_whole_command(tmp_path):
    """With the key, the journal and the server, so that it works as it is."""
    made, scratch = await mixed_batch(), tmp_path / "scratch"
    scratch.mkdir()
    commands = ReportCommands(options=("--journal", "j 1.db"))
    content = await made.text(lambda stream: XlsxReport(stream, scratch, commands))
    (tmp_path / "r.xlsx").write_bytes(content)
    advice = str(cells(tmp_path / "r.xlsx", "Needs review")[1][11])
    known = "smartglocal payouts decide k5 {} --reason {} --journal 'j 1.db'"
    assert known.format("--paid", "'WHERE YOU SAW IT'") in advice
    assert known.format("--not-paid", "'WHO CONFIRMED IT'") in advice


async def test_no_formula_and_no_link(tmp_path):
    """No cell has a formula, and no text became an address."""
    path = await workbook(await mixed_batch(), tmp_path)
    with zipfile.ZipFile(path) as parts:
        sheets = {name: parts.read(name).decode() for name in parts.namelist()}
    assert sum("worksheets/sheet" in name for name in sheets) >= 3
    for name, text in sheets.items():
        if re.fullmatch(r"xl/worksheets/sheet\d\.xml", name):
            assert "<f>" not in text
            assert "<hyperlink" not in text


async def test_charts(tmp_path):
    """Four charts, each of cells that exist."""
    path = await workbook(await mixed_batch(), tmp_path)
    rows = len(cells(path, "Totals"))
    with zipfile.ZipFile(path) as parts:
        charts = [parts.read(one).decode() for one in parts.namelist() if "charts/chart" in one]
    assert len(charts) == 4
    for chart in charts:
        ranges = re.findall(r"Totals!\$[A-Z]+\$(\d+)(?::\$[A-Z]+\$(\d+))?", chart)
        assert ranges
        assert all(int(end or begin) <= rows for begin, end in ranges)


async def test_a_number_that_a_spreadsheet_would_round_is_text(tmp_path):
    """It keeps all digits."""
    made = await ReportedJournal().opened()
    await made.has("k1", amount=Amount(9_007_199_254_740_991, "usd"))
    row = cells(await workbook(made, tmp_path), "Payouts")[1]
    assert row[5] == "90071992547409.91"


async def test_a_full_sheet_is_refused(tmp_path, monkeypatch):
    """With the number of rows, and nothing stays behind."""
    monkeypatch.setattr(xlsx, "MAX_ROWS", 3)
    with pytest.raises(sg.InvalidRequest, match="room for 3 payouts; write a CSV"):
        await workbook(await mixed_batch(), tmp_path)


async def test_a_workbook_without_payouts(tmp_path):
    """It opens, and says that there are none."""
    path = await workbook(await ReportedJournal().opened(), tmp_path)
    assert cells(path, "Totals")[1][0] == "There are no payouts."


async def test_no_payee_without_the_key(tmp_path):
    """In no part of the workbook."""
    path = await workbook(await mixed_batch(), tmp_path, is_open=False)
    with zipfile.ZipFile(path) as parts:
        text = "".join(parts.read(name).decode() for name in parts.namelist())
    assert "Söhne" not in text
    assert "4321" not in text
    assert "SMARTGLOCAL_JOURNAL_KEY" in text


async def test_a_report_is_recognised(tmp_path):
    """Another workbook isn't, nor another file."""
    assert is_xlsx_report(await workbook(await mixed_batch(), tmp_path))
    (tmp_path / "t.xlsx").write_bytes(sg.payouts.payout_template(kind="xlsx"))
    (tmp_path / "p.csv").write_text("key\n", encoding="utf-8")
    assert not is_xlsx_report(tmp_path / "t.xlsx")
    assert not is_xlsx_report(tmp_path / "p.csv")


async def converted(path: Path, kind: str, *more: str) -> None:
    """Have LibreOffice write a file in another format, into its folder."""
    profile = (path.parent / "profile").as_uri()
    command = (
        *(str(OFFICE), f"-env:UserInstallation={profile}", "--headless", *more),
        *("--convert-to", kind, "--outdir", str(path.parent), str(path)),
    )
    await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True, timeout=240)


@pytest.mark.slow
@needs_office
async def test_libreoffice_opens_it_without_loss(tmp_path):
    """Each sheet as CSV has the texts and the numbers, and no formula was made of them."""
    path = await workbook(await mixed_batch(), tmp_path)
    options = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false,false,false,-1"
    await converted(path, options)
    text = (tmp_path / "r-Payouts.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["Key"] for row in rows] == ["k1", FORMULA, "k3", "k4", "k5", "k6"]
    assert [float(row["Amount"]) for row in rows] == [100.0, 1.234, 100.0, 100.0, 100.0, 110.0]
    assert (rows[0]["Payee"], rows[1]["Payee"]) == ("Zoë <b>Å</b> & Söhne", FORMULA)
    assert rows[0]["Paid (UTC)"] == "2027-01-15 08:00:07"
    totals = (tmp_path / "r-Totals.csv").read_text(encoding="utf-8")
    assert "USD,Paid,1,100" in totals
    assert (tmp_path / "r-Needs review.csv").exists()


@pytest.mark.slow
@needs_office
async def test_libreoffice_opens_the_csv_without_loss(tmp_path):
    """Names are whole, sums are numbers, and no text became a formula."""
    path = tmp_path / "o.csv"
    made = await mixed_batch()
    path.write_bytes(await made.text(lambda stream: CsvReport(stream, full_names=True)))
    await converted(
        path, "xlsx", "--infilter=Text - txt - csv (StarCalc):44,34,76,1,,1033,false,true"
    )
    head, *found = CalamineWorkbook.from_path(tmp_path / "o.xlsx").get_sheet_by_index(0).to_python()
    rows = [dict(zip(head, row, strict=True)) for row in found]
    assert [row["key"] for row in rows] == ["k1", f"'{FORMULA}", "k3", "k4", "k5", "k6"]
    assert [row["amount"] for row in rows] == [100.0, 1.234, 100.0, 100.0, 100.0, 110.0]
    assert rows[0]["payee"] == "Zoë <b>Å</b> & Söhne"
    with zipfile.ZipFile(tmp_path / "o.xlsx") as parts:
        assert b"<f" not in parts.read("xl/worksheets/sheet1.xml").replace(b"<formatCode", b"")
