"""Files with the names of API v2: the same orders, and problems by the names that the file has."""

import io
import json
from pathlib import Path
from typing import Any, Final

import pytest
import xlsxwriter
from till import Till

import smartglocal_async as sg
from smartglocal_async.payouts.files import PayoutFile

CARD: Final = {
    "type": "card",
    "card": {"type": "encrypted_card", "encrypted_card": {"number_hash": "hash"}},
}
ORDER: Final[dict[str, Any]] = {
    "key": "k-1",
    "amount_details": {"amount": 10_000, "currency": "usd"},
    "participant_details": {"recipient": {"full_name": "Jane Roe"}},
}
FIELD: Final = ".card.encrypted_card.number_hash"
V1, V2 = "payment_method", "payout_details"


def json_line(name: str, instrument: object = CARD) -> bytes:
    """Return an order as JSON Lines."""
    return json.dumps({**ORDER, name: instrument}).encode()


def csv(name: str, *more: str) -> bytes:
    """Return an order as a CSV, with the instrument under its path."""
    columns = ("key", "amount", "currency", "full_name", f"{name}{FIELD}", *more)
    cells = ("k-1", "100.00", "usd", "Jane Roe", "hash", *("" for _ in more))
    return f"{','.join(columns)}\n{','.join(cells)}\n".encode()


def workbook(name: str) -> bytes:
    """Return an order as a workbook of Excel."""
    content = io.BytesIO()
    book: Any = xlsxwriter.Workbook(content, {"in_memory": True})
    sheet = book.add_worksheet()
    for line, row in enumerate(csv(name).decode().split("\n")[:2]):
        for cell, text in enumerate(row.split(",")):
            sheet.write_string(line, cell, text)
    book.close()
    return content.getvalue()


def file_of(folder: Path, content: bytes, name: str = "p.jsonl", **given: Any) -> PayoutFile:
    """Return a file with some content, read with the names of v2 unless another is given."""
    path = folder / name
    path.write_bytes(content)
    how = sg.payouts.FileFormat(**{"api_version": "v2", **given})
    return PayoutFile(path, format=how)


def problems_of(file: PayoutFile) -> list[tuple[str | None, str]]:
    """Return the column and the text of each problem."""
    return [(one.column, one.problem) for row in file.rows() for one in row.problems]


KINDS: Final = [("p.jsonl", json_line), ("p.csv", csv), ("p.xlsx", workbook)]
kinds: Final = pytest.mark.parametrize(("name", "content"), KINDS, ids=[one[0] for one in KINDS])


@kinds
@pytest.mark.parametrize("spelling", [V1, V2])
def test_both_names_are_read_with_v2(tmp_path, name, content, spelling) -> None:
    """As the same order."""
    (order,) = file_of(tmp_path, content(spelling), name)
    assert order == sg.PayoutOrder(
        key="k-1",
        payment_method=sg.EncryptedCard(number_hash="hash"),
        amount_details=sg.AmountDetails(10_000, "usd"),
        participant_details=sg.ParticipantDetails(recipient=sg.Participant(full_name="Jane Roe")),
    )


@kinds
def test_the_name_of_v2_is_refused_with_v1(tmp_path, name, content) -> None:
    """By its name, as before."""
    found = problems_of(file_of(tmp_path, content(V2), name, api_version="v1"))
    assert any((column or "").startswith(V2) and "is no" in words for column, words in found)
    assert [row.order for row in PayoutFile(tmp_path / name).rows()] == [None]


def test_a_row_with_both_names_is_refused(tmp_path) -> None:
    """Which of the two is meant isn't certain, even if they are equal."""
    both = json.dumps({**ORDER, V1: CARD, V2: CARD}).encode()
    assert problems_of(file_of(tmp_path, both)) == [
        (V2, "is given together with payment_method, its name in v1; leave one")
    ]
    found = problems_of(file_of(tmp_path, csv(V1, f"{V2}{FIELD}"), "p.csv"))
    assert [(column, "is there twice" in words) for column, words in found] == [
        (f"{V2}{FIELD}", True)
    ]


WRONG: Final = [
    ({"type": "card", "card": {"type": "encrypted_card", "encrypted_card": {}}}, FIELD, "missing"),
    (
        {
            "type": "bank_account",
            "bank_account": {"system_type": "global", "global": {"ibna": "x"}},
        },
        ".bank_account.global.ibna",
        "is no field; did you mean iban?",
    ),
    (
        {
            "type": "bank_account",
            "bank_account": {"system_type": "global", "global": {"iban": "DE00"}},
        },
        ".bank_account.global.iban",
        "",
    ),
    (None, "", "expected"),
]


@pytest.mark.parametrize("spelling", [V1, V2])
@pytest.mark.parametrize(("instrument", "path", "words"), WRONG, ids=[one[1] for one in WRONG])
def test_problems_have_the_name_of_the_file(tmp_path, spelling, instrument, path, words) -> None:
    """Those of the record, of near misses and of the rules alike."""
    found = problems_of(file_of(tmp_path, json_line(spelling, instrument)))
    assert [words in said for column, said in found if column == spelling + path] == [True], found


def test_a_missing_instrument_has_the_name_of_the_version(tmp_path) -> None:
    """In JSON Lines and in a CSV."""
    for version, name in (("v1", V1), ("v2", V2)):
        line = file_of(tmp_path, json.dumps(ORDER).encode(), api_version=version)
        assert problems_of(line) == [(name, "is missing")]
        table = b"key,amount,currency,full_name\nk-1,1.00,usd,Jane Roe\n"
        ((column, words),) = problems_of(file_of(tmp_path, table, "p.csv", api_version=version))
        assert (column, "is missing" in words) == (name, True)


def test_a_misspelt_column_is_explained_with_the_names_of_the_version(tmp_path) -> None:
    """The advice can be written into the file as it is."""
    for version, name in (("v1", V1), ("v2", V2)):
        wrong = f"{name}.card.encrypted_card.number_hsah"
        content = csv(name).replace(f"{name}{FIELD}".encode(), wrong.encode())
        ((column, words),) = problems_of(file_of(tmp_path, content, "p.csv", api_version=version))
        assert (column, f"did you mean {name}{FIELD}" in words) == (wrong, True)


def test_a_column_can_be_mapped_to_either_name(tmp_path) -> None:
    """Whatever the version is."""
    content = b"key,amount,currency,full_name,Hash\nk-1,100.00,usd,Jane Roe,hash\n"
    for name in (V1, V2):
        for version in ("v1", "v2"):
            columns = {"Hash": f"{name}{FIELD}"}
            file = file_of(tmp_path, content, "p.csv", api_version=version, columns=columns)
            assert [order.key for order in file] == ["k-1"]


def test_the_version_of_a_format_is_one_of_the_api(tmp_path) -> None:
    """A format file may have it, too."""
    with pytest.raises(sg.InvalidRequest, match=r"FileFormat\.api_version: expected v1 or v2"):
        sg.payouts.FileFormat(api_version="v3")
    path = tmp_path / "format.toml"
    path.write_text('api_version = "v2"\n', encoding="utf-8")
    assert sg.payouts.read_format(path).api_version == "v2"


async def test_an_order_is_the_same_under_both_names(connect, provider, journal, tmp_path) -> None:
    """Paid from a file with the names of v1, it isn't paid again from one with those of v2."""
    keys = []
    for version, name in (("v1", V1), ("v2", V2), ("v2", V1)):
        path = tmp_path / f"{version}-{name}.jsonl"
        path.write_bytes(json_line(name))
        async with sg.Payouts(connect(provider, api_version=version), journal) as payouts:
            keys += [(one.key, one.state) async for one in payouts.pay_all(PayoutFile(path))]
    assert keys == [("k-1", sg.PayoutState.SUCCEEDED)] * 3
    assert len(provider.order("k-1").movements) == 1


async def test_the_version_of_the_client_is_used(connect, provider, journal, tmp_path) -> None:
    """Unless the format has one; the digest of the file is the same."""
    path = tmp_path / "p.jsonl"
    path.write_bytes(json_line(V2))
    async with sg.Payouts(connect(provider), journal) as payouts:
        with pytest.raises(sg.InvalidRequest, match="payout_details"):
            _ = [one async for one in payouts.pay_all(PayoutFile(path))]
        given = file_of(tmp_path, json_line(V2))
        assert given.digest() == PayoutFile(path).digest()
        assert [one.key async for one in payouts.pay_all(given)] == ["k-1"]


@kinds
def test_the_commands_use_the_version_of_the_environment(
    till: Till, monkeypatch, name, content
) -> None:
    """`check` and `pay`; a second run in the other version continues the same batch."""
    till.opens()
    path = till.folder / name
    path.write_bytes(content(V2))
    _ = till("check", str(path), exits=1)
    monkeypatch.setenv("SMARTGLOCAL_API_VERSION", "v2")
    _ = till("check", str(path))
    _ = till("pay", str(path), "--yes")
    assert len(till.provider.order("k-1").movements) == 1
    path.write_bytes(content(V1))
    monkeypatch.setenv("SMARTGLOCAL_API_VERSION", "v1")
    _ = till("check", str(path))
    monkeypatch.setenv("SMARTGLOCAL_API_VERSION", "v3")
    assert "SMARTGLOCAL_API_VERSION" in till("check", str(path), exits=2).stderr
