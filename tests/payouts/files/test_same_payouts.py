"""One list of payouts in every format: each reader reads what the others read."""

import csv
import io
import json
import string
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st

import smartglocal_async as sg
from smartglocal_async.codec import codec
from smartglocal_async.models.money import EXPONENTS
from smartglocal_async.payouts.files.columns import name_of
from smartglocal_async.validation import is_ruined

IBANS: Final = ("DE89370400440532013000", "FR1420041010050500013M02606", "GB29NWBK60161331926819")
SPACE: Final = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
# A message has single spaces between words, and XML has no control characters.
words: Final = st.lists(
    st.text(string.ascii_letters + string.digits + "äé€Ж李=+-;,.'\"&<", min_size=1, max_size=8),
    min_size=1,
    max_size=3,
).map(" ".join)
orders_: Final = st.lists(
    st.builds(
        lambda key, amount, currency, iban, purpose, name: sg.PayoutOrder(
            key=key,
            payment_method=sg.GlobalAccount(iban=iban, description=purpose),
            amount_details=sg.AmountDetails(amount, currency),
            participant_details=sg.ParticipantDetails(
                recipient=sg.Participant(full_name=name, currency=currency.upper())
            ),
        ),
        st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=12).filter(
            lambda key: not is_ruined(key)
        ),
        # A workbook keeps 15 digits of a number.
        st.integers(1, 10**12),
        st.sampled_from(["eur", "usd", "jpy", "vnd", "kwd", "clf"]),
        st.sampled_from(IBANS),
        words,
        words,
    ),
    min_size=1,
    max_size=4,
)


def table(orders: list[sg.PayoutOrder]) -> tuple[list[str], list[list[str]]]:
    """Return the names of columns, and rows of texts."""
    header = ["key", "amount", "currency", "iban", "description", "full_name", "recipient_currency"]
    assert header[-1] == name_of("participant_details.recipient.currency")
    rows = list[list[str]]()
    for order in orders:
        method, people = order.payment_method, order.participant_details
        assert isinstance(method, sg.GlobalAccount)
        assert people is not None
        assert people.recipient is not None
        texts = (method.iban, method.description, people.recipient.full_name)
        money = order.amount_details
        rows.append(
            [
                order.key,
                f"{money.decimal:f}",
                money.currency.upper(),
                *map(str, texts),
                money.currency.upper(),
            ]
        )
    return header, rows


def as_csv(orders: list[sg.PayoutOrder], delimiter: str, sign: str, encoding: str) -> bytes:
    """Write a CSV."""
    header, rows = table(orders)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(header)
    writer.writerows([[row[0], row[1].replace(".", sign), *row[2:]] for row in rows])
    return text.getvalue().encode(encoding)


def as_workbook(orders: list[sg.PayoutOrder]) -> bytes:
    """Write a workbook, with amounts as numbers."""
    content = io.BytesIO()
    book: Any = xlsxwriter.Workbook(content, {"in_memory": True})
    sheet = book.add_worksheet()
    header, rows = table(orders)
    for line, row in enumerate([header, *rows]):
        for column, text in enumerate(row):
            if line and column == 1:
                sheet.write_number(line, column, float(text))
            else:
                sheet.write_string(line, column, text)
    book.close()
    return content.getvalue()


def as_message(orders: list[sg.PayoutOrder]) -> bytes:
    """Write a message of ISO 20022."""
    transfers = "".join(
        f"<CdtTrfTxInf><PmtId><EndToEndId>{key}</EndToEndId></PmtId>"
        f'<Amt><InstdAmt Ccy="{currency}">{amount}</InstdAmt></Amt>'
        f"<Cdtr><Nm>{escape(name)}</Nm></Cdtr><CdtrAcct><Id><IBAN>{iban}</IBAN></Id></CdtrAcct>"
        f"<RmtInf><Ustrd>{escape(purpose)}</Ustrd></RmtInf></CdtTrfTxInf>"
        for key, amount, currency, iban, purpose, name, _ in table(orders)[1]
    )
    return (
        f'<Document xmlns="{SPACE}"><CstmrCdtTrfInitn><GrpHdr><NbOfTxs>{len(orders)}</NbOfTxs>'
        f"</GrpHdr><PmtInf><PmtMtd>TRF</PmtMtd>{transfers}</PmtInf></CstmrCdtTrfInitn></Document>"
    ).encode()


def read(folder: Path, content: bytes, name: str, **given: Any) -> list[sg.PayoutOrder | None]:
    """Read a file without rules: its orders, and None for what can't be read."""
    path = folder / name
    path.write_bytes(content)
    file_format = sg.payouts.FileFormat(**given)
    file = sg.PayoutFile(path, format=file_format, rules=sg.RuleUse.OFF)
    return [row.order for row in file.rows()]


def certain(orders: list[sg.PayoutOrder]) -> list[sg.PayoutOrder | None]:
    """Return the orders, with None for an amount that is written with three decimals.

    Where the decimal sign is the comma, or isn't known yet, it may be thousands.
    """
    return [order if EXPONENTS[order.amount_details.currency] != 3 else None for order in orders]


@settings(max_examples=60, deadline=None)
@given(orders_, st.sampled_from(",;\t|"), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_every_format_has_the_same_payouts(tmp_path_factory, orders, delimiter, encoding) -> None:
    """Written by one program and read by another's reader, they are what they were."""
    folder = tmp_path_factory.mktemp("same")
    wires = "\n".join(json.dumps(codec("v1").wire(order)) for order in orders)
    assert read(folder, wires.encode(), "p.jsonl") == orders
    assert read(folder, as_csv(orders, delimiter, ".", encoding), "p.csv") == orders
    assert read(folder, as_workbook(orders), "p.xlsx") == orders
    assert read(folder, as_message(orders), "p.xml") == orders
    by_comma = read(folder, as_csv(orders, delimiter, ",", encoding), "p.csv")
    given = read(folder, as_csv(orders, delimiter, ",", encoding), "p.csv", decimal=",")
    for order, found, set_ in zip(orders, by_comma, given, strict=True):
        assert found in (order, None)
        assert set_ == order
    assert all(
        found is not None or expected is None
        for found, expected in zip(by_comma, certain(orders), strict=True)
    )
