"""``smartglocal payouts report``: from a file that was paid to what an accountant opens."""

import csv
import html
import io
import json
import re
import shlex
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest
from places import ROOT, SAMPLES
from postgres_schemas import DSN, needs_postgres
from python_calamine import CalamineWorkbook
from till import DECLINED, STUCK, rows

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator.settings import ShownAmounts

pytestmark = pytest.mark.slow

SUFFIXES: Final = (
    *(".csv", ".xlsx", ".html", ".json", ".jsonl", ".pain.002.xml", ".camt.054.xml"),
    *(".htm", ".ndjson"),
)
CONTENT: Final = {".pain.002.xml": "4 transactions", ".camt.054.xml": "2 debits of 4 payouts"}
IBAN: Final = "DE89370400440532013000"
CARD: Final = "4000056655665556"
NAMED: Final = (
    "key,amount,currency,iban,card_number,description,first_name,last_name,full_name,country,"
    "recipient_currency,bank_name\n"
    f"s1,12.50,eur,{IBAN},,Salary,Hildegard,Quux,,DEU,eur,All Banks\n"
    f"s2,666.01,eur,{IBAN},,Salary,Hildegard,Quux,,DEU,eur,All Banks\n"
    f"s3,666.10,eur,{IBAN},,Salary,Hildegard,Quux,,DEU,eur,All Banks\n"
    f"s4,40.00,usd,,{CARD},,,,Wilhelmina Xyzzy,,,\n"
)
SECRETS: Final = (IBAN, "...3000", CARD, "...5556", "Hildegard", "Quux", "Wilhelmina", "Xyzzy")


def text_of(path: Path) -> str:
    """Return the text of a report, of a workbook that of all its parts."""
    content = path.read_bytes()
    if path.suffix != ".xlsx":
        return content.decode()
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        return "\n".join(parts.read(name).decode() for name in parts.namelist())


def names_in(till) -> set[str]:
    """Return the names of the files in the folder."""
    return {path.name for path in till.folder.iterdir()}


def paid(till, *, has_key: bool = True, text: str = NAMED) -> None:
    """Pay a file at a provider that shows fees, with a key for the journal or without."""
    till.opens(rules=emulator.Rules(amounts=ShownAmounts.ALL))
    if has_key:
        till.monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", sg.RequestCipher.new_key())
    till.has(text)
    till("pay", "p.csv", "--yes", "--deadline", "2", exits=3)


def test_each_format_by_its_suffix(till):
    """Each is written for its owner only, again over itself, and nothing else stays behind."""
    paid(till)
    before = names_in(till)
    for suffix in SUFFIXES:
        for _ in range(2):
            told = till("report", "p.csv", "--output", f"o{suffix}").stderr
            assert f"{CONTENT.get(suffix, '4 payouts')} in o{suffix}" in told
        assert (till.folder / f"o{suffix}").stat().st_mode & 0o777 == 0o600
    assert names_in(till) == before | {f"o{suffix}" for suffix in SUFFIXES}


def test_the_formats_agree(till):
    """The sums of each are those of the journal."""
    paid(till)
    for suffix in (".csv", ".json", ".xlsx", ".camt.054.xml"):
        till("report", "p.csv", "--output", f"o{suffix}")
    with (till.folder / "o.csv").open(encoding="utf-8-sig", newline="") as lines:
        table = {row["key"]: row for row in csv.DictReader(lines)}
    assert [(row["state"], row["amount"], row["currency"]) for row in table.values()] == [
        ("succeeded", "12.50", "EUR"),
        ("failed", "666.01", "EUR"),
        ("open", "666.10", "EUR"),
        ("succeeded", "40.00", "USD"),
    ]
    assert (table["s1"]["payee"], table["s1"]["account"]) == ("H*** Q***", "...3000")
    assert (table["s4"]["payee"], table["s4"]["account"]) == ("W*** X***", "...5556")
    assert table["s1"]["fee"] == "0.00"
    assert re.fullmatch(r"0{11}\d", table["s1"]["bank_reference"])
    found = json.loads((till.folder / "o.json").read_text(encoding="utf-8"))
    sums = {
        (one["state"], one["total"]["currency"]): one["total"]["amount"] for one in found["sums"]
    }
    assert sums == {
        ("succeeded", "eur"): 1_250,
        ("failed", "eur"): 66_601,
        ("open", "eur"): 66_610,
        ("succeeded", "usd"): 4_000,
    }
    sheet = CalamineWorkbook.from_path(till.folder / "o.xlsx").get_sheet_by_name("Payouts")
    assert [row[5] for row in sheet.to_python()[1:]] == [12.5, 666.01, 666.1, 40.0]
    message = (till.folder / "o.camt.054.xml").read_text(encoding="utf-8")
    assert re.findall(r"<Sum>([^<]*)</Sum>", message) == ["12.50", "40.00"]


def test_whole_names_in_a_csv(till):
    """By an option that no other format has."""
    paid(till)
    till("report", "p.csv", "--output", "o.csv", "--full-names")
    assert "Hildegard Quux" in text_of(till.folder / "o.csv")
    told = till("report", "p.csv", "--output", "o.html", "--full-names", exits=2).stderr
    assert "--full-names: goes with a csv report" in told


@pytest.mark.filterwarnings("ignore:.*should have it")  # Advice: a message has no bank's name.
def test_an_answer_counts_what_it_has(till):
    """The transactions that aren't started are in a pain.002, and in its number."""
    till.opens()
    (till.folder / "p.xml").write_bytes((SAMPLES / "files" / "sepaxml-09.xml").read_bytes())
    till("pay", "p.xml", "--yes", "--concurrency", "1", "--spend-limit", "1300eur", exits=6)
    told = till("report", "p.xml", "--output", "o.pain.002.xml").stderr
    assert "2 transactions, 1 of them not started in o.pain.002.xml" in told


def test_the_commands_of_a_page_work(till):
    """They are run as they are printed, in an environment that names no journal."""
    paid(till)
    till.monkeypatch.setenv("SMARTGLOCAL_JOURNAL", str(till.folder / "other.journal"))
    journal = str(till.journal)
    till("report", "p.csv", "--journal", journal, "--output", "o.html")
    page = html.unescape((till.folder / "o.html").read_text(encoding="utf-8"))
    commands = [shlex.split(one)[2:] for one in re.findall(r"<code>(.*?)</code>", page)]
    (settle,) = {tuple(one) for one in commands if one[0] == "settle"}
    till(*settle, "--deadline", "1", exits=3)


def test_without_the_key_of_the_journal_no_payee_is_shown(till):
    """In no format, nor on a stream; standard error says why."""
    paid(till)
    till.monkeypatch.delenv("SMARTGLOCAL_JOURNAL_KEY")
    for suffix in SUFFIXES:
        result = till("report", "p.csv", "--output", f"o{suffix}")
        shown = text_of(till.folder / f"o{suffix}") + result.output
        assert not [one for one in SECRETS if one in shown], suffix
        has_payees = suffix not in {".jsonl", ".ndjson", ".pain.002.xml"}
        assert ("SMARTGLOCAL_JOURNAL_KEY isn't set" in result.stderr) == has_payees


def test_whole_numbers_are_shown_by_no_report(till):
    """With the key, too: names, and the last four characters."""
    paid(till)
    for suffix in SUFFIXES:
        till("report", "p.csv", "--output", f"o{suffix}")
        shown = text_of(till.folder / f"o{suffix}")
        assert IBAN not in shown
        assert CARD not in shown


def test_payees_of_a_journal_without_a_key_were_never_kept(till):
    """The key of today doesn't help."""
    paid(till, has_key=False)
    till.monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", sg.RequestCipher.new_key())
    told = till("report", "p.csv", "--output", "o.csv").stderr
    assert "wasn't set when they were paid" in told
    till.monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", "nonsense")
    assert "SMARTGLOCAL_JOURNAL_KEY" in till("report", "p.csv", "--format", "csv", exits=2).stderr


@pytest.mark.parametrize("name", ["o.pdf", "o", "o.xml", "o.csv.gz", "/dev/null"])
def test_an_unknown_suffix_is_refused_before_the_journal_is_opened(till, name):
    """With the suffixes and the formats that there are."""
    till.opens()
    told = till("report", "p.csv", "--journal", "missing", "--output", name, exits=2).stderr
    for word in (".csv", ".xlsx", ".html", ".json", ".pain.002.xml", ".camt.054.xml", "--format"):
        assert word in told
    assert "missing" not in told


def test_a_format_without_a_suffix(till):
    """By --format, to a file or to standard output; a workbook needs a file."""
    paid(till)
    till("report", "p.csv", "--format", "html", "--output", "page")
    assert "<title>Payouts of p.csv</title>" in (till.folder / "page").read_text(encoding="utf-8")
    lines = till("report", "p.csv", "--format", "csv").stdout.splitlines()
    assert lines[0].removeprefix("\ufeff").startswith("key,batch,state,payee")
    till("report", "p.csv", "--format", "results", "--output", "o.csv")
    lines = (till.folder / "o.csv").read_text(encoding="utf-8").splitlines()
    assert lines == till("report", "p.csv").stdout.splitlines()
    assert "--output: required for xlsx" in till("report", "--format", "xlsx", exits=2).stderr
    told = till("report", "--format", "csv", "--json", exits=2).stderr
    assert "--json: is --format jsonl" in told


def test_another_file_is_not_overwritten(till):
    """Neither a workbook nor a page that isn't a report."""
    paid(till)
    (till.folder / "t.xlsx").write_bytes(sg.payouts.payout_template(kind="xlsx"))
    till.has("<html><head><title>Mine</title></head></html>", "m.html")
    till.has("[1]\n", "m.json")
    for name in ("t.xlsx", "m.html", "m.json"):
        before = (till.folder / name).read_bytes()
        told = till("report", "p.csv", "--output", name, exits=2).stderr
        assert "--output: exists, and isn't a report" in told
        assert (till.folder / name).read_bytes() == before


@pytest.mark.filterwarnings("ignore:.*should have it")  # Advice: a message has no bank's name.
@pytest.mark.parametrize("version", ["03", "09", "11"])
def test_a_message_is_answered(till, version):
    """A pain.001 is paid, and answered with its own identifiers."""
    till.opens()
    (till.folder / "p.xml").write_bytes((SAMPLES / "files" / f"sepaxml-{version}.xml").read_bytes())
    till("pay", "p.xml", "--yes")
    told = till("report", "p.xml", "--output", "o.pain.002.xml").stderr
    assert "NOTPROVIDED" not in told
    answer = (till.folder / "o.pain.002.xml").read_text(encoding="utf-8")
    message = (till.folder / "p.xml").read_text(encoding="utf-8")
    for name, original in (("OrgnlMsgId", "MsgId"), ("OrgnlPmtInfId", "PmtInfId")):
        assert re.findall(rf"<{name}>(.*?)<", answer) == re.findall(rf"<{original}>(.*?)<", message)
    assert re.findall(r"<OrgnlEndToEndId>(.*?)<", answer) == ["salary-1", "salary-2"]
    assert re.findall(r"<TxSts>(.*?)<", answer) == ["ACSC", "ACSC"]
    till("report", "p.xml", "--output", "o.camt.054.xml")
    (till.folder / "p.xml").unlink()
    told = till("report", "p.xml", "--output", "o.pain.002.xml").stderr
    assert "give the pain.001 that was paid as FILE" in told


def test_a_report_of_all_batches(till):
    """Without FILE and --batch; each line has its batch."""
    till.opens()
    till.has(rows(2, k1=DECLINED))
    till("pay", "p.csv", "--yes", exits=1)
    till.has(rows(1, k0=STUCK).replace("k0", "m0"), "q.csv")
    till("pay", "q.csv", "--yes", "--deadline", "2", exits=3)
    till("report", "--output", "all.json")
    found = json.loads((till.folder / "all.json").read_text(encoding="utf-8"))
    assert [(one["key"], one["batch"], one["state"]) for one in found["payouts"]] == [
        ("k0", "p.csv", "succeeded"),
        ("k1", "p.csv", "failed"),
        ("m0", "q.csv", "open"),
    ]
    page = till("report", "--format", "html").stdout
    assert "<title>All payouts of a journal</title>" in page


def test_a_report_that_fails_leaves_the_last_one(till):
    """And nothing beside it."""
    paid(till)
    till("report", "p.csv", "--output", "o.camt.054.xml")
    kept = (till.folder / "o.camt.054.xml").read_bytes()
    till.has(rows(1, k0=DECLINED).replace("k0", "d0"), "d.csv")
    till("pay", "d.csv", "--yes", exits=1)
    names = names_in(till)
    told = till("report", "d.csv", "--output", "o.camt.054.xml", exits=2).stderr
    assert "nothing is paid" in told
    assert (till.folder / "o.camt.054.xml").read_bytes() == kept
    assert names_in(till) == names


@needs_postgres
def test_a_journal_in_a_database(till, schema):
    """What workers paid is reported with fees, references and payees, as from a file."""
    till.opens(rules=emulator.Rules(amounts=ShownAmounts.ALL))
    till.monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", sg.RequestCipher.new_key())
    till.monkeypatch.setenv("SMARTGLOCAL_JOURNAL", f"{DSN}?schema={schema}")
    till.has(rows(3, k1=DECLINED))
    till("submit", "p.csv", "--yes")
    till("work", "--until-done")
    till("report", "p.csv", "--output", "o.json")
    found = json.loads((till.folder / "o.json").read_text(encoding="utf-8"))
    states = {one["key"]: (one["state"], one["payee"]) for one in found["payouts"]}
    assert states == {
        "k0": ("succeeded", "Jane Roe"),
        "k1": ("failed", "Jane Roe"),
        "k2": ("succeeded", "Jane Roe"),
    }
    assert all(one["bank_reference"] for one in found["payouts"] if one["state"] == "succeeded")
    assert (found["fee_count"], found["measured"], found["absent"]) == (2, 3, 0)


@pytest.mark.parametrize(
    ("suffix", "module", "words"),
    [(".html", "jinja2", "Jinja2"), (".xlsx", "xlsxwriter", "XlsxWriter")],
)
def test_without_the_extra(till, suffix, module, words):
    """The command names what to install; a CSV needs nothing."""
    paid(till)
    till.monkeypatch.setitem(sys.modules, module, None)
    told = till("report", "p.csv", "--output", f"o{suffix}", exits=2).stderr
    assert f"needs {words}: pip install 'smartglocal-async[reports]'" in told
    assert not (till.folder / f"o{suffix}").exists()
    till("report", "p.csv", "--output", "o.csv")


@pytest.mark.filterwarnings("ignore:.*should have it")  # Advice: a message has no bank's name.
def test_the_how_to_page(till):
    """Each command of the page runs in its order; the lines are printed as the page has them."""
    page = (ROOT / "docs/how-to/reports.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"```csv\n(.*?)```", page, re.DOTALL)
    (booked,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL)).splitlines()
    till.opens()
    till.has(table, "may.csv")
    (till.folder / "may.xml").write_bytes((SAMPLES / "files" / "sepaxml-09.xml").read_bytes())
    done: list[str] = []
    for line in filter(None, shell):
        if line.startswith("export "):
            till.monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", done[-1].strip())
            continue
        words = shlex.split(line)
        assert words[:2] == ["smartglocal", "payouts"]
        if words[3:4] == ["may.xml"]:
            till("pay", "may.xml", "--yes", "--allow-repeats")
        done.append(till(*words[2:], exits=1 if words[2] == "pay" else 0).stdout)
    assert len(done) == 9
    found = (till.folder / "may-booked.csv").read_text(encoding="utf-8-sig")
    assert without_times(found) == without_times(booked)
    for name in ("may.html", "may.xlsx", "may.json", "may.pain.002.xml", "may.camt.054.xml"):
        assert (till.folder / name).stat().st_size > 0


def without_times(text: str) -> list[str]:
    """Return the lines of a CSV without what differs from run to run."""
    lines = re.sub(r"20\d\d-\d\d-\d\dT[\d:]{8}Z", "TIME", text).splitlines()
    return [re.sub(r"(ps_|po_|0{11})\d+", r"\1N", line) for line in lines]
