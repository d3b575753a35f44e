"""Payout files: what is read from them, and how their errors are reported."""

import csv
import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from unicodedata import is_normalized

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT
from strategies import amounts, json_objects, other_instruments, people, records

import smartglocal_async as sg
from smartglocal_async.codec import codec
from smartglocal_async.payouts.files.cleaning import CLEANERS
from smartglocal_async.payouts.files.columns import ALIASES, KINDS, NEEDED, PATHS, path_of
from smartglocal_async.payouts.files.rows import MAX_ROW_CHARACTERS
from smartglocal_async.validation import holds_card_number, is_ruined

CARD: Final = "4000056655665556"
IBAN: Final = "DE89370400440532013000"
HEADER: Final = "key,amount,currency,card_token,full_name"
CARD_COLUMNS: Final = (
    "key,amount,currency,card_number,payment_method.card.bank_card.expiration_month,"
    "payment_method.card.bank_card.expiration_year"
)
GOOD: Final = f"{HEADER}\np-1,100.00,usd,tok-1,Jane Roe\n"
FORMAT: Final = {field.name for field in attrs.fields(sg.payouts.FileFormat)}
TODAY: Final = datetime(2026, 6, 1, tzinfo=UTC)
WIRE: Final[dict[str, Any]] = {
    "key": "p-1",
    "amount_details": {"amount": 10_000, "currency": "usd"},
    "payment_method": {
        "type": "card",
        "card": {"type": "bank_card", "bank_card": {"number": CARD}},
    },
    "participant_details": {"recipient": {"full_name": "Jane Roe"}},
}


def file_of(
    tmp_path: Path, content: str | bytes, name: str = "p.csv", **more: Any
) -> sg.PayoutFile:
    """Write a file and return it as a `PayoutFile`."""
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    given = {name: more.pop(name) for name in FORMAT & more.keys()}
    file_format = sg.payouts.FileFormat(**given)
    return sg.PayoutFile(path, timing=sg.Timing(now=lambda: TODAY), format=file_format, **more)


def problems_of(file: sg.PayoutFile) -> list[tuple[int, str | None, str]]:
    """Return the problems that prevent paying, as line, column and message."""
    return [
        (problem.line, problem.column, problem.problem)
        for row in file.rows()
        for problem in row.problems
        if not problem.is_advice
    ]


# --- What is read


def test_row_becomes_an_order(tmp_path):
    """Amounts in major units, short names and paths, metadata of any name, empty cells absent."""
    text = (
        "key,amount,currency,iban,description,first_name,last_name,country,recipient_currency,"
        "bank_name,customer.contacts[0].email,customer.contacts[1].phone,metadata.invoice,"
        "metadata.of.month,participant_details.recipient.middle_name\n"
        f"p-1,1234.50,EUR,{IBAN},Invoice 1,Jane,Roe,DEU,eur,Bank,,+49,7,May,\n"
    )
    assert list(file_of(tmp_path, text)) == [
        sg.PayoutOrder(
            key="p-1",
            payment_method=sg.GlobalAccount(iban=IBAN, description="Invoice 1"),
            amount_details=sg.AmountDetails(123_450, "eur"),
            participant_details=sg.ParticipantDetails(
                recipient=sg.Participant(
                    first_name="Jane",
                    last_name="Roe",
                    country_iso3="DEU",
                    currency="eur",
                    bank_name="Bank",
                )
            ),
            customer=sg.Customer(contacts=(sg.Contact(phone="+49"),)),
            metadata={"invoice": "7", "of": {"month": "May"}},
        )
    ]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.record.__name__)
def test_instrument_follows_from_the_columns(tmp_path, kind):
    """Each instrument has its columns, and its type columns may be filled, too."""
    names = [f.name for f in attrs.fields(kind.record) if f.default is attrs.NOTHING]
    names = names or [attrs.fields(kind.record)[0].name]
    columns = [*NEEDED, *kind.tags, *(f"{kind.holder}.{name}" for name in names)]
    cells = ["p-1", "1.00", "usd", *kind.tags.values(), *(CARD for _ in names)]
    text = f"{','.join(columns)}\n{','.join(cells)}\n"
    (order,) = file_of(tmp_path, text, rules=sg.RuleUse.OFF)
    assert order.payment_method == kind.record(**dict.fromkeys(names, CARD))


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("last", [True, False], ids=["ended", "cut"])
def test_line_endings_and_byte_order_mark(tmp_path, bom, ending, last):
    """Both line endings and a byte order mark, with blank lines; reading twice returns the same."""
    lines = ["", HEADER, "", "p-1,100.00,usd,tok-1,Jane Roe", ",,,,", "  ", "p-2,1,usd,t,Jané"]
    text = ending.join(lines) + ending * last
    file = file_of(tmp_path, bom + text.encode())
    assert [(row.line, row.order and row.order.key) for row in file.rows()] == [
        (4, "p-1"),
        (7, "p-2"),
    ]
    objects = [json.dumps({**WIRE, "key": key}) for key in ("p-1", "p-2")]
    text = ending.join(["", objects[0], " ", objects[1]]) + ending * last
    file = file_of(tmp_path, bom + text.encode(), "p.jsonl")
    assert [(row.line, row.order and row.order.key) for row in file.rows()] == [
        (2, "p-1"),
        (4, "p-2"),
    ]
    assert list(file) == list(file)


@pytest.mark.parametrize(
    ("name", "kind", "content"),
    [
        ("p.csv", None, GOOD),
        ("p", None, GOOD),
        ("p.txt", "csv", GOOD),
        ("p.NDJSON", None, json.dumps(WIRE)),
        ("p.txt", None, "\ufeff\n " + json.dumps(WIRE)),
        ("p.csv", "jsonl", json.dumps(WIRE)),
    ],
)
def test_the_kind_of_a_file(tmp_path, name, kind, content):
    """The caller's choice decides, then the suffix, then the first character."""
    assert [order.key for order in file_of(tmp_path, content, name, kind=kind)] == ["p-1"]


def test_no_such_kind(tmp_path):
    """An unknown kind is refused when the format is created."""
    with pytest.raises(sg.InvalidRequest, match="expected one of csv, jsonl, xlsx"):
        file_of(tmp_path, "", kind="xml")


def test_the_digest_is_that_of_the_bytes(tmp_path):
    """The digest is that of `sha256sum`."""
    digest = hashlib.sha256(GOOD.encode()).hexdigest()
    assert file_of(tmp_path, GOOD).digest() == digest


def test_line_number_is_the_physical_line(tmp_path):
    """The line is where the row begins, also after rows of several lines."""
    text = f'{HEADER}\np-1,1,usd,t,"Jane\n\nRoe"\n\np-2,x,usd,t,Jane\n'
    file = file_of(tmp_path, text)
    assert [row.line for row in file.rows()] == [2, 6]
    assert problems_of(file) == [(6, "amount", "expected a number such as '100.00'")]


# --- What can't be read


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("", 1, None, "the file is empty"),
        ("\n\n", 1, None, "the file is empty"),
        (f"{HEADER}\n\n", 1, None, "no rows"),
        ("key,amount,currncy\n", 1, "currency", "is missing"),
        ("key;amount;currency\n", 1, None, "no rows"),
        (f"{HEADER},frist_name\n", 1, "frist_name", "did you mean first_name"),
        (f"{HEADER},\np,1,usd,t,Jane,x\n", 2, "6", "is in a column that has no name in the header"),
        (f"{HEADER},key\n", 1, "key", "is there twice"),
        (
            f"{HEADER},payment_method.card.encrypted_card.number_hash\n",
            1,
            "payment_method.card.encrypted_card.number_hash",
            "the column card_token before it is the same",
        ),
        (f"{HEADER},metadata.a.b,metadata.a\n", 1, "metadata.a.b", "is inside metadata.a"),
        (f"{HEADER},metadata\n", 1, "metadata", "is no column"),
        (f"{HEADER},metadata..a\n", 1, "metadata..a", "is no column"),
        (f'"{HEADER}\n', 1, "1", "its quote isn't closed"),
        (b"key,am\x81ount,currency\n", 1, None, "isn't UTF-8"),
        (f"{GOOD}p-2,1,usd,t\n", 3, "full_name", "the row has 4 cells, the header 5"),
        (f"{GOOD}p-2,1,usd,t,Roe, Jane\n", 3, "6", "a cell with a comma needs quotes"),
        (f'{GOOD}p-2,1,usd,"t,Jane\n', 3, "card_token", "its quote isn't closed"),
        (f'{GOOD}p-2,1,usd,"t"t,Jane\n', 3, "card_token", "after its closing quote"),
        (f"{GOOD}p-2,1,usd,t\rt,Jane\n", 3, "card_token", "carriage return"),
        (GOOD.encode() + b"p-2,1,usd,t,Mu\xf1oz\n", 3, None, "isn't UTF-8"),
        (f"{GOOD}p-2,1,usd,t\0,Jane\n", 3, "card_token", "NUL"),
        (f"{GOOD}p-2,1.005,usd,t,Jane\n", 3, "amount", "usd has 2 decimals"),
        (f"{GOOD}p-2,1.5,jpy,t,Jane\n", 3, "amount", "jpy has 0 decimals"),
        (f"{GOOD}p-2,,usd,t,Jane\n", 3, "amount", "is empty"),
        (f"{GOOD}p-2,1e3,usd,t,Jane\n", 3, "amount", "expected a number"),
        (f"{GOOD}p-2,0,usd,t,Jane\n", 3, "amount", "greater than zero"),
        (f"{GOOD}p-2,1,usb,t,Jane\n", 3, "currency", "ISO 4217"),
        (f"{GOOD}p-2,1,usd,,Jane\n", 3, "payment_method", "fill one of card_token"),
        (f"{GOOD}p-2,1,usd,t,\n", 3, None, ""),
        (f"{GOOD},1,usd,t,Jane\n", 3, "key", "1 to 200 printable characters"),
        (f"{GOOD} p-2,1,usd,t,Jane\n", 3, "key", "begins or ends with a space"),
        (
            f"{HEADER},metadata.idempotency_key\np-1,1,usd,t,Jane,p-2\n",
            2,
            "metadata.idempotency_key",
            "differs from key",
        ),
        (
            f"{HEADER},iban\np-1,1,usd,t,Jane,{IBAN}\n",
            2,
            "iban",
            "another instrument than card_token",
        ),
        (
            f"{HEADER},payment_method.type\np-1,1,usd,t,Jane,wallet\n",
            2,
            "payment_method.type",
            "another instrument than card_token",
        ),
        (
            f"key,amount,currency,iban\np-1,1,usd,{IBAN[:-1]}1\n",
            2,
            "iban",
            "must be an IBAN",
        ),
        (
            f"{CARD_COLUMNS}\np-1,1,usd,{CARD},04,26\n",
            2,
            "payment_method.card.bank_card.expiration_year",
            "has expired",
        ),
        ("key,amount,currency,ru_bik\np-1,1,rub,123456789\n", 2, "ru_account", "is missing"),
    ],
)
def test_what_is_wrong_with_a_csv(tmp_path, text, line, column, words):
    """Each error has its line, its column and its rule."""
    found = problems_of(file_of(tmp_path, text))
    if not words:
        assert not found
        return
    assert [pair for pair in found if pair[:2] == (line, column) and words in pair[2]], found


@pytest.mark.parametrize(
    ("text", "given", "place", "words"),
    [
        (
            GOOD.encode() + b"p-2,1,usd,t,Jan\xe9\n",
            {"encoding": "utf-8"},
            (3, "full_name"),
            "isn't UTF-8",
        ),
        (b"key,am\xffount,currency\n", {"encoding": "utf-8"}, (1, "2"), "isn't UTF-8"),
        (GOOD.encode("utf-16"), {"encoding": "utf-8"}, (1, "1"), "UTF-8"),
        (GOOD.encode() + b"p-2,1,usd,t,\x81\n", {"encoding": "cp1252"}, (3, "full_name"), "cp1252"),
        (GOOD.encode("utf-16") + b"\x00\xd8", {"encoding": "utf-16"}, (3, "key"), "utf-16"),
        ("key;amount;currency\n", {"delimiter": ","}, (1, "key"), "are there semicolons between"),
        (
            "key;amount;currency;card_token\np;1;usd;t;t\n",
            {"delimiter": ";"},
            (2, "5"),
            "a cell with a semicolon needs quotes",
        ),
    ],
)
def test_what_is_wrong_with_a_csv_of_a_given_format(tmp_path, text, given, place, words):
    """What is given isn't recognised: its flaws are those of that format."""
    found = problems_of(file_of(tmp_path, text, **given))
    assert [pair for pair in found if pair[:2] == place and words in pair[2]], found


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("", 1, None, "the file is empty"),
        ("[]", 1, None, "expected an object of names and values, got list"),
        ('"text"', 1, None, "got str"),
        ('{"key":\n', 1, "8", "isn't JSON: Expecting value"),
        ('{"key": NaN}', 1, None, "isn't JSON that can be read"),
        ("[" * 100_000, 1, None, "isn't JSON that can be read"),
        ('{"key":"a","key":"b"}', 1, "key", "is there twice in one object"),
        ('{"metadata":{"x":1,"x":1}}', 1, "x", "is there twice in one object"),
        (b'{"key":"\xff"}', 1, "9", "isn't UTF-8"),
        (b'{"key":"a\0"}', 1, "10", "NUL"),
        ({"key": None}, 1, "key", "expected str, got NoneType"),
        ({"amount_details": {"amount": 1.5, "currency": "usd"}}, 1, "amount_details.amount", "int"),
        ({"amount_details": {"amount": 1, "currency": "usb"}}, 1, "amount_details.currency", "ISO"),
        ({"payout_details": {}}, 1, "payout_details", "is no field"),
        ({"metadata": "text"}, 1, "metadata", "expected an object"),
        (
            {"participant_details": {"recipient": {"currency": "x"}}},
            1,
            "participant_details.recipient.currency",
            "must be three letters",
        ),
        ({"metadata": {"idempotency_key": "p-2"}}, 1, "metadata.idempotency_key", "differs"),
    ],
)
def test_what_is_wrong_with_json_lines(tmp_path, text, line, column, words):
    """Each error has its line, its path or character, and its rule."""
    content = json.dumps(WIRE | text) if isinstance(text, dict) else text
    found = problems_of(file_of(tmp_path, content, "p.jsonl"))
    assert [pair for pair in found if pair[:2] == (line, column) and words in pair[2]], found


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl"])
def test_a_bad_row_hides_no_other(tmp_path, name):
    """Rows after a bad row are read, except after a quote that is never closed."""
    huge = "x" * MAX_ROW_CHARACTERS
    if name == "p.csv":
        bad = [f"p,1,usd,{huge},Jane", 'p,1,usd,"t"t,J', "p", f"p,x,usd,t,{huge[:70_000]}"]
        text = "\n".join([*GOOD.split(), *bad, "p-9,1,usd,t,Jane"]).replace("Jane\nRoe", "Jane Roe")
    else:
        bad = [f'"{huge}"', "{", "[]", '{"key": 1}']
        text = "\n".join([json.dumps(WIRE), *bad, json.dumps({**WIRE, "key": "p-9"})])
    keys = [row.order and row.order.key for row in file_of(tmp_path, text, name).rows()]
    assert keys == ["p-1", None, None, None, None, "p-9"]


def test_an_open_quote_ends_the_reading(tmp_path):
    """After an open quote nothing more is read, however long the file is."""
    text = f'{GOOD}p-2,1,usd,"t,Jane\n' + "p-3,1,usd,t,Jane\n" * 20_000
    rows = list(file_of(tmp_path, text).rows())
    assert [row.line for row in rows] == [2, 3]
    assert "the rows below aren't read" in rows[1].problems[0].problem


def test_missing_header_is_not_quoted(tmp_path):
    """An error about a missing header doesn't quote the cells, which are personal data."""
    file = file_of(tmp_path, f"p-1,100.00,usd,{CARD},Jane Roe\n")
    text = "\n".join(f"{column}: {words}" for _, column, words in problems_of(file))
    assert "key: is missing" in text
    assert CARD not in text
    assert "Jane" not in text


def test_iterating_raises_at_the_first_bad_row(tmp_path):
    """Good rows come before the error; it names file, line and column and quotes no value."""
    file = file_of(tmp_path, f"{GOOD}p-2,1,usd,,{CARD}\n")
    given = iter(file)
    assert next(given).key == "p-1"
    with pytest.raises(sg.InvalidRequest) as caught:
        next(given)
    assert str(caught.value).startswith(f"{file.path}, line 3, column payment_method: is missing")
    trace = caught.tb
    while trace is not None:
        if trace.tb_frame.f_code.co_filename != __file__:
            assert CARD not in repr(trace.tb_frame.f_locals)
        trace = trace.tb_next
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("rules", "is_given", "is_told"),
    [
        (sg.RuleUse.REFUSE, False, True),
        (sg.RuleUse.WARN, True, True),
        (sg.RuleUse.OFF, True, False),
    ],
)
def test_rules_are_used_as_asked(tmp_path, rules, is_given, is_told):
    """The provider's rules forbid, warn or are off, as set."""
    text = f"key,amount,currency,iban\np-1,1,usd,{IBAN[:-1]}1\n"
    (row,) = file_of(tmp_path, text, rules=rules).rows()
    assert (row.order is not None, bool(row.problems)) == (is_given, is_told)


def test_an_unknown_instrument_is_advice(tmp_path):
    """An unknown instrument is only a warning, because it can still be paid."""
    wire = {**WIRE, "payment_method": {"type": "cheque", "cheque": {"number": CARD}}}
    (row,) = file_of(tmp_path, json.dumps(wire), "p.jsonl").rows()
    assert row.order is not None
    assert [(p.column, p.is_advice) for p in row.problems] == [("payment_method", True)]


@pytest.mark.parametrize(
    ("method", "column", "words"),
    [
        ({"type": "crad", "crad": {}}, "type", "did you mean card?"),
        ({"type": "bank_acount", "bank_acount": {}}, "type", "did you mean bank_account?"),
        ({"type": "bank_account"}, "bank_account", "is missing: it holds the fields"),
        (
            {"type": "bank_account", "bank_account": {"system_type": "globl", "globl": {}}},
            "bank_account.system_type",
            "did you mean global?",
        ),
        (
            {"type": "bank_account", "bank_account": {"type": "ru", "ru": {"bik": "044525225"}}},
            "bank_account.system_type",
            "is missing: faster_payment_system or",
        ),
        (
            {"type": "card", "card": {"tpye": "bank_card", "bank_crad": {"number": CARD}}},
            "card.type",
            "is missing: bank_card or encrypted_card or tokenized_card",
        ),
        (
            {"type": "wallet", "wallet": {"type": "steam", "stream": {"account": "a"}}},
            "wallet.steam",
            "is missing: it holds the fields",
        ),
    ],
)
def test_an_instrument_whose_kind_is_misspelt(tmp_path, method, column, words):
    """It is refused: sent as it is, the provider might take it for another one."""
    wire = {**WIRE, "payment_method": method}
    (row,) = file_of(tmp_path, json.dumps(wire), "p.jsonl").rows()
    assert row.order is None
    (problem,) = (one for one in row.problems if not one.is_advice)
    assert problem.column == f"payment_method.{column}"
    assert words in problem.problem


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_columns_without_a_name(tmp_path, end):
    """A spreadsheet writes empty ones beside its last column; they are read if they are empty."""
    text = end.join((f"{HEADER},,", "p,1,usd,t,Jane,,", "q,1,usd,t,Jane,,x", ""))
    first, second = file_of(tmp_path, text).rows()
    assert first.order is not None
    assert [(one.column, one.line) for one in second.problems] == [("7", 3)]


@pytest.mark.parametrize(
    ("key", "is_read"),
    [
        ("4.10025E+15", False),
        ("1E+5", False),
        ("12345678.0", False),
        ("'0012", False),
        ('"=""0012"""', False),
        ("#N/A", False),
        ("NaN", False),
        ("12E34", True),
        ("inv-1.0", True),
        ("2026.10", True),
        ("Nancy", True),
    ],
)
@pytest.mark.parametrize("prefix", ["", "may-"])
def test_a_key_that_a_spreadsheet_ruined(tmp_path, key, is_read, prefix):
    """Several rows may have had it, so it doesn't identify a payout."""
    file = file_of(tmp_path, f"{HEADER}\n{key},1.00,usd,hash,Jane\n")
    (row,) = attrs.evolve(file, key_prefix=prefix).rows()
    assert (row.order is not None) is is_read
    assert [(one.column, one.line) for one in row.problems] == ([] if is_read else [("key", 2)])


# --- Properties


keys: Final = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20).filter(
    lambda text: not is_ruined(text) and not holds_card_number(text) and is_normalized("NFC", text)
)
cells: Final = st.text(
    st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=9
)
names: Final = st.text(st.characters(categories=["L"]), min_size=1, max_size=5)
# In the form that the provider takes; other forms of the same are read as it.
identifiers: Final = st.text("0123456789", min_size=7, max_size=20)
IN_ITS_FORM: Final = {"number": st.just(CARD), "sort_code": st.just("12-34-56")}


def cells_of(path: str) -> st.SearchStrategy[str]:
    """Return texts for the cells of a column."""
    name = path.rpartition(".")[2]
    return IN_ITS_FORM.get(name, identifiers if path in CLEANERS else cells)


instruments: Final = st.sampled_from(KINDS).flatmap(
    lambda kind: st.builds(
        kind.record,
        **{
            field.name: cells_of(f"{kind.holder}.{field.name}")
            for field in attrs.fields(kind.record)
            if field.name != "extra"
        },
    )
)
some_people: Final = st.none() | st.builds(
    sg.Participant, full_name=cells, email=st.none() | cells, bank_name=st.none() | cells
)
csv_orders: Final = st.builds(
    sg.PayoutOrder,
    key=keys,
    payment_method=instruments,
    amount_details=amounts,
    participant_details=st.builds(
        sg.ParticipantDetails, sender=some_people, recipient=some_people
    ).filter(lambda both: both.sender or both.recipient)
    | st.none(),
    customer=st.none() | st.builds(sg.Customer, reference=identifiers),
    metadata=st.none() | st.dictionaries(names, cells, min_size=1, max_size=2),
)
json_orders: Final = records(
    sg.PayoutOrder,
    key=keys,
    payment_method=st.one_of(instruments, other_instruments),
    participant_details=st.none() | records(sg.ParticipantDetails, sender=people, recipient=people),
    customer=st.none() | st.builds(sg.Customer, reference=identifiers),
    metadata=st.none() | json_objects,
)


def flat(wire: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Return the columns of a request with their cells."""
    for name, value in wire.items():
        below = f"{path}.{name}".removeprefix(".")
        if isinstance(value, dict):
            yield from flat(value, below)
        else:
            yield below, value


def as_csv(orders: list[sg.PayoutOrder]) -> str:
    """Write orders as a CSV file, with paths as columns and every cell quoted."""
    rows = []
    for order in orders:
        row = dict(flat(codec("v1").wire(order)))
        row["amount"] = f"{order.amount_details.decimal:f}"
        del row["amount_details.amount"]
        row["currency"] = row.pop("amount_details.currency")
        rows.append(row)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read(content: bytes, kind: str) -> list[sg.payouts.FileRow]:
    """Read bytes as a file, without rules."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        file_format = sg.payouts.FileFormat(kind=kind)
        return list(sg.PayoutFile(file.name, format=file_format, rules=sg.RuleUse.OFF).rows())


@settings(max_examples=40)
@given(st.lists(csv_orders, min_size=1, max_size=3))
def test_orders_survive_a_csv(orders):
    """Orders are the same after writing and reading."""
    assert [row.order for row in read(as_csv(orders).encode(), "csv")] == orders


@settings(max_examples=40)
@given(st.lists(json_orders, min_size=1, max_size=3))
def test_orders_survive_json_lines(orders):
    """Orders are the same after writing and reading; a field that looks misspelt is refused."""
    lines = [json.dumps(codec("v1").wire(order)) for order in orders]
    for row, order in zip(read("\n".join(lines).encode(), "jsonl"), orders, strict=True):
        if not any("did you mean" in problem.problem for problem in row.problems):
            assert row.order == order, row.problems


FILES: Final = {
    "csv": f'key,amount,currency,card_number,full_name\n"p-1",1,usd,{CARD},"Jane Roe"\n' * 2,
    "jsonl": f"{json.dumps(WIRE)}\n" * 2,
}


@given(
    st.sampled_from(["csv", "jsonl"]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(max_size=3)), max_size=4),
)
def test_damaged_files(kind, edits):
    """A damaged file yields rows and problems, and no problem quotes a card number."""
    content = bytearray(FILES[kind].encode())
    for place, length, written in edits:
        at = int(place * len(content))
        content[at : at + length] = written
    for row in read(bytes(content), kind):
        assert row.line > 0
        assert row.order is not None or row.problems
        assert not [problem for problem in row.problems if CARD in str(problem)]


@given(st.binary(max_size=60), st.sampled_from(["csv", "jsonl", None]))
def test_arbitrary_bytes(content, kind):
    """Arbitrary bytes give only rows or problems."""
    assert all(row.problems for row in read(content, kind) if row.order is None)


# --- The columns


def test_short_names_are_for_paths():
    """Each short name is for an existing path, and none hides a path."""
    assert set(ALIASES.values()) <= PATHS
    assert len(set(ALIASES.values())) == len(ALIASES)
    assert not set(ALIASES) & (PATHS | set(NEEDED))
    assert all(path_of(name) == path for name, path in ALIASES.items())


def test_the_page_lists_the_short_names():
    """The documentation lists the short names in the order of the code."""
    page = (ROOT / "docs/how-to/payout-files.md").read_text(encoding="utf-8")
    rows = [line.split("`") for line in page.splitlines() if line.startswith("| `")]
    assert {cells[1]: cells[3] for cells in rows if len(cells) > 4} == dict(ALIASES)


def test_the_page_shows_what_is_printed(tmp_path, monkeypatch, capsys):
    """The snippet on the page prints the text below it."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/how-to/payout-files.md").read_text(encoding="utf-8")
    shown = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", page, re.DOTALL)
    assert shown is not None
    exec(compile(shown[1], "<snippet>", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out == shown[2]


def test_a_file_that_is_not_there(tmp_path):
    """A missing file raises the system's own error when it is read."""
    file = sg.PayoutFile(os.fspath(tmp_path / "none.csv"))
    with pytest.raises(FileNotFoundError):
        list(file)


def test_a_card_number_in_a_key_or_metadata(tmp_path):
    """It would be shown by logs, reports and the provider's pages."""
    header = f"{HEADER},metadata.note"
    rows = [
        (f"{CARD}", "x", "key"),
        (f"p {CARD[:4]} {CARD[4:8]} {CARD[8:12]} {CARD[12:]}", "x", "key"),
        ("p-1", f"for {CARD}", "metadata.note"),
        ("p-2", "4000056655665557", None),  # No check digit.
        ("1400005665566555", "1234567890123456", None),
        (f"{CARD}1234", "x", None),  # More digits.
    ]
    for key, note, column in rows:
        file = file_of(tmp_path, f"{header}\n{key},1,usd,tok-1,Jane Roe,{note}\n")
        found = problems_of(file)
        assert [one[1] for one in found] == ([column] if column else [])
        assert all("card number" in one[2] and CARD not in one[2] for one in found)
