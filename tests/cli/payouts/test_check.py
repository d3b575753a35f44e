"""``smartglocal payouts check``: what it says, and its exit codes."""

import json
from pathlib import Path
from typing import Final

import pytest
from places import TESTS
from typer.testing import CliRunner

from smartglocal_async.cli.app import app

HEADER: Final = "key,amount,currency,card_token,full_name\n"
GOOD: Final = f"{HEADER}p-1,1234.50,usd,t1,Jane Roe\np-2,1,eur,t2,Jane Roe\n"
CARD: Final = "4000056655665555"


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Run the command on a file, with no credentials and no server."""
    for name in ("PROJECT", "PRIVATE_KEY", "SERVER"):
        monkeypatch.delenv(f"SMARTGLOCAL_{name}", raising=False)

    def run(text: str, *options: str, name: str = "p.csv"):
        path: Path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        words = ("payouts", "check", str(path), *options)
        return CliRunner().invoke(app, words, catch_exceptions=False)

    return run


def test_a_file_that_can_be_paid(check):
    """Totals in major units, and a verdict."""
    result = check(GOOD, "--expect-total", "1234.50usd", "--expect-total", "1 EUR")
    assert result.exit_code == 0
    assert " ".join(result.stdout.split()) == (
        "read as CSV, utf-8, commas between the cells, decimal point "
        "to read it otherwise: --kind, --encoding, --delimiter, --decimal, --map, --ignore-column "
        "2 payouts Total ────────────── 1.00 EUR 1,234.50 USD can be paid"
    )


def test_a_repeat_is_told_and_fit(check):
    """By lines and key."""
    result = check(f"{GOOD}p-3,1,eur,t2,Jane Roe\n")
    assert result.exit_code == 0
    assert "Repeated recipient and amount" in result.stdout
    assert "4      3              p-3" in result.stdout
    assert "check the 1 repeat first" in result.stdout


def test_a_file_that_cannot(check):
    """Lines and columns, what is there twice, and how far off the total is; no value."""
    text = f"{HEADER.strip()},card_number\np-1,x,usd,,Jane,{CARD}\np-2,1,usd,t,J,\np-2,1,usd,t,J,\n"
    result = check(text, "--expect-total", "3usd")
    assert result.exit_code == 1
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["2", "amount", "expected", "a", "number", "such", "as", "'100.00'"] in rows
    assert ["4", "3", "p-2"] in rows
    assert "the total in USD is off by -1.00 USD; 1 invalid row isn't in the total" in result.stdout
    assert result.stdout.splitlines()[-1] == (
        "can't be paid: 1 invalid row, 1 repeated key, 1 total not as expected"
    )
    assert CARD not in result.stdout


def test_advice_forbids_nothing(check):
    """It has an error of its own."""
    text = "key,amount,currency,iban,first_name\np-1,1,eur,DE89370400440532013000,Jane\n"
    result = check(text)
    assert result.exit_code == 0
    assert "Advice; the provider may accept these" in result.stdout


def test_equal_problems_have_one_line(check):
    """With the lines of the file, for advice and for problems, also if there are few rows."""
    row = "p-{},{},eur,DE89370400440532013000,Jane,DEU\n"
    text = "key,amount,currency,iban,first_name,country\n"
    two = check(text + row.format(1, 1) + row.format(2, 2)).stdout
    listed = [line.split("  ")[1] for line in two.splitlines() if line.startswith("  2, 3 ")]
    one = check(text + row.format(1, 1)).stdout
    assert len(listed) == sum(line.startswith("  2 ") for line in one.splitlines()) > 1
    bad = check(text + row.format(1, "x") + row.format(2, 2) + row.format(3, "y")).stdout
    assert ["2, 4", "amount"] in [
        [part.strip() for part in line.split("  ") if part][:2] for line in bad.splitlines()
    ]


@pytest.mark.parametrize(("count", "options"), [(5, ("--max-listed", "2")), (5_000, ())])
def test_many_problems_of_a_kind_are_one_line(check, count, options):
    """It has their number and the first line; other kinds have lines of their own."""
    lines = [f"p-{n},x,usd,t{n},Jane\n" for n in range(count)]
    text = HEADER + "".join([*lines, "q-1,1,usb,t,Jane\n", "q-2,1,usc,t,Jane\n"])
    result = check(text, *options)
    assert result.exit_code == 1
    rows = [line.split(maxsplit=3) for line in result.stdout.splitlines()]
    assert [f"{count:,}", "2", "amount", "expected a number such as '100.00'"] in rows
    assert [row[:3] for row in rows].count(["2", str(count + 2), "currency"]) == 1
    assert result.stdout.count("amount") == 1
    assert f"can't be paid: {count + 2:,} invalid rows" in result.stdout


def test_some_of_many_repeats(check):
    """The first ones, and how many more there are."""
    result = check(HEADER + "p-1,1,usd,t,Jane\n" * 6, "--max-listed", "2")
    assert result.exit_code == 1
    assert "and 3 more" in result.stdout


def test_as_json(check):
    """One object, with all that was found."""
    result = check(f"{GOOD}p-3,x,usd,t,Jane\n", "--json", "--expect-total", "1usd")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert (found["is_fit"], found["count"], found["bad_rows"]) == (False, 2, 1)
    assert found["exit_code"] == 1
    assert json.loads(check(GOOD, "--json").stdout)["exit_code"] == 0
    assert found["totals"] == {"eur": 100, "usd": 123_450}
    assert found["differences"] == {"eur": 100, "usd": 123_350}
    assert found["problems"] == [
        {
            "line": 4,
            "column": "amount",
            "problem": "expected a number such as '100.00'",
            "page": None,
            "is_advice": False,
        }
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--expect-total", "100"], "expected an amount with its currency, such as 1234.56usd"),
        (["--expect-total", "1.001usd"], "usd has 2 decimals"),
        (["--expect-total", "1usb"], "ISO 4217"),
        (["--expect-total", "1usd", "--expect-total", "2USD"], "is given twice for usd"),
        (["--max-listed", "0"], "1"),
    ],
)
def test_misuse(check, options, words):
    """The error names the option."""
    result = check(GOOD, *options)
    assert result.exit_code == 2
    assert options[0] in result.stderr
    assert words in result.stderr


def test_a_file_that_is_not_there(tmp_path):
    """Misuse, in the system's words."""
    words = ("payouts", "check", str(tmp_path / "none.csv"), "--json")
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["type"] == "FileNotFoundError"
    assert "none.csv: No such file" in result.stderr


def test_a_name_cannot_steer_the_terminal(check):
    """Control characters of a header are written out."""
    result = check(HEADER.replace("full_name", '"full_\x1b[31mname"') + "p,1,usd,t,J\n")
    assert result.exit_code == 1
    assert "\x1b" not in result.stdout


def run(*words: str):
    """Run ``payouts check``."""
    return CliRunner().invoke(app, ("payouts", "check", *words), catch_exceptions=False)


def test_the_format_is_shown_and_can_be_given(tmp_path) -> None:
    """A column that no payout has is refused, until the file of the format says to ignore it."""
    samples = TESTS / "samples/files"
    refused = run(str(samples / "libreoffice-de.csv"))
    assert refused.exit_code == 1
    assert "map it to one, or ignore it" in refused.stdout
    how = tmp_path / "format.toml"
    how.write_text('ignored = ["Note"]\n', encoding="utf-8")
    done = run(str(samples / "libreoffice-de.csv"), "--layout", str(how))
    assert done.exit_code == 0
    words = "read as CSV, cp1252, semicolons between the cells, decimal comma\n"
    assert done.stdout.startswith(words)
    workbook = run(str(samples / "libreoffice.ods"), "--layout", str(how))
    assert workbook.stdout.startswith("read as OpenDocument spreadsheet, sheet 'Payouts'\n")


def test_a_format_that_has_an_unknown_field(tmp_path) -> None:
    """The error names the file and the fields."""
    how = tmp_path / "format.toml"
    how.write_text('separator = ";"\n', encoding="utf-8")
    refused = run("payouts.csv", "--layout", str(how))
    assert refused.exit_code == 2
    assert "separator is no field; use kind, encoding" in " ".join(refused.output.split())


GERMAN: Final = "Nr;Betrag;Währung;IBAN;Zweck;Notiz\ns-1;1.500;EUR;DE89370400440532013000;Lohn;-\n"
MAPPED: Final = (
    *("--map", "Nr=key", "--map", "betrag = amount", "--map", "Währung=currency"),
    *("--map", "Zweck=description", "--ignore-column", "NOTIZ"),
)


def test_the_options_for_single_fields(tmp_path) -> None:
    """The file is read with them, and with what is recognised of the rest."""
    path = tmp_path / "may.csv"
    path.write_text(GERMAN, encoding="cp1252")
    done = run(str(path), *MAPPED, "--decimal", ",", "--encoding", "cp1252")
    assert done.exit_code == 0
    assert "read as CSV, cp1252, semicolons between the cells, decimal comma\n" in done.stdout
    assert "1,500.00 EUR" in done.stdout
    path.write_text(GERMAN.replace(";", "\t"), encoding="utf-16")
    by_name = run(str(path), *MAPPED, "--decimal", "comma", "--delimiter", "tab", "--json")
    found = json.loads(by_name.stdout)
    assert (found["is_fit"], found["totals"]) == (True, {"eur": 150_000})
    assert found["read_as"] == "CSV, utf-16, tabs between the cells, decimal comma"


def test_options_override_the_file_of_the_format(tmp_path) -> None:
    """Columns are added to those of the file; one that both have is that of the option."""
    path, how = tmp_path / "may.csv", tmp_path / "format.toml"
    path.write_text(GERMAN, encoding="utf-8")
    how.write_text(
        'decimal = "."\nignored = ["Notiz"]\n'
        '[columns]\nNr = "key"\nBetrag = "description"\n"Währung" = "currency"\n',
        encoding="utf-8",
    )
    more = ("--map", "Betrag=amount", "--map", "Zweck=description", "--decimal", ",")
    done = run(str(path), "--layout", str(how), *more)
    assert done.exit_code == 0, done.output
    assert "1,500.00 EUR" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--map", "Betrag"], "--map: expected COLUMN=FIELD, such as 'Betrag=amount'"),
        (["--map", "=amount"], "--map: expected COLUMN=FIELD"),
        (
            ["--map", "Nr=curency"],
            "--map: 'curency' is no column of payouts; did you mean currency?",
        ),
        (["--map", "Nr=key", "--map", "NR=amount"], "--map: has the column 'NR' twice"),
        (["--encoding", "utf-99"], "--encoding: expected the name of an encoding"),
        (["--delimiter", "x"], "--delimiter: expected a comma, semicolon, tab or bar"),
        (["--decimal", ";"], "--decimal: expected a point or a comma"),
        (["--kind", "docx"], "--kind: expected one of csv, jsonl"),
        (["--sheet", "May"], "is read as csv: it has no sheets"),
    ],
)
def test_options_of_the_format_that_cannot_be_used(tmp_path, options, words) -> None:
    """The error names the option; the file isn't checked."""
    path = tmp_path / "may.csv"
    path.write_text(GERMAN, encoding="utf-8")
    refused = run(str(path), *options)
    assert refused.exit_code == 2
    assert not refused.stdout
    assert words in " ".join(refused.stderr.split())


def test_a_file_that_cannot_be_read_names_the_options(tmp_path) -> None:
    """All of them, as its kind may be wrong, too."""
    path = tmp_path / "may.csv"
    path.write_text("key;Muñoz\n", encoding="latin-1")
    refused = run(str(path))
    assert refused.exit_code == 1
    assert "read as" not in refused.stdout
    assert refused.stdout.startswith("to read it otherwise: --kind, --encoding, ")


def template(*words: str):
    """Run ``payouts template``."""
    return CliRunner().invoke(app, ("payouts", "template", *words), catch_exceptions=False)


def test_a_template_on_standard_output() -> None:
    """It is the header of a CSV."""
    done = template("--country", "Germany")
    assert done.exit_code == 0
    assert done.stdout.startswith("key,amount,currency,iban,swift,bank_account_number,")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_template_in_a_file(tmp_path, kind) -> None:
    """The kind is that of the suffix; each needed column is named; nothing is overwritten."""
    path = tmp_path / f"gb.{kind}"
    done = template("--country", "GBR", "--output", str(path))
    assert done.exit_code == 0
    assert "each row needs key, amount, currency, account_type" in done.stderr
    assert f"next: smartglocal payouts check {path}" in done.stderr
    checked = run(str(path))
    assert "has a header, and no rows" in " ".join(checked.stdout.split())
    again = template("--output", str(path))
    assert again.exit_code == 2
    assert "exists" in again.stderr


def test_a_template_as_json(tmp_path) -> None:
    """One object, with a remark for each column."""
    path = tmp_path / "t.csv"
    found = json.loads(template("--output", str(path), "--json").stdout)
    assert (found["format"], found["output"]) == ("csv", str(path))
    assert found["columns"][0] == {
        "name": "key",
        "is_needed": True,
        "remark": "your own id of the payout, which no other payout has",
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--country", "GBX"], "--country: is no country"),
        (["--format", "xlsx"], "--output: is needed for a workbook"),
        (["--format", "csv", "--output", "t.xlsx"], "--output: ends in .xlsx, and --format is csv"),
        (["--output", "t.ods"], "--output: expected a name that ends in .csv or .xlsx"),
        (["--format", "ods"], "ods"),
    ],
)
def test_no_template(options, words) -> None:
    """The error names the option."""
    refused = template(*options)
    assert refused.exit_code == 2
    assert words in " ".join(refused.stderr.split())
