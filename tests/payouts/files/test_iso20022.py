"""Messages of ISO 20022: what a credit transfer becomes, and what is refused."""

from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smartglocal_async as sg

IBAN: Final = "DE89370400440532013000"
SPACE: Final = "urn:iso:std:iso:20022:tech:xsd:"
VERSIONS: Final = ("pain.001.001.03", "pain.001.001.09", "pain.001.001.11")
ACCOUNT: Final = f"<CdtrAcct><Id><IBAN>{IBAN}</IBAN></Id></CdtrAcct>"
PURPOSE: Final = "<RmtInf><Ustrd>Salary</Ustrd></RmtInf>"


def transfer(key: str = "e1", amount: str = "10.50", **parts: str) -> str:
    """Return a transaction, of its usual parts or others."""
    person = parts.get("person", "<Cdtr><Nm>Jane Roe</Nm></Cdtr>")
    return (
        f"<CdtTrfTxInf><PmtId>{parts.get('instruction', '')}<EndToEndId>{key}</EndToEndId></PmtId>"
        f'<Amt><InstdAmt Ccy="{parts.get("currency", "EUR")}">{amount}</InstdAmt></Amt>'
        f"{parts.get('agent', '')}{person}{parts.get('account', ACCOUNT)}"
        f"{parts.get('more', PURPOSE)}</CdtTrfTxInf>"
    )


def message(*transfers: str, **parts: str) -> str:
    """Return a message of one payment with some transactions."""
    shown = f"<NbOfTxs>{parts.get('count', len(transfers))}</NbOfTxs>"
    shown += f"<CtrlSum>{parts['total']}</CtrlSum>" if "total" in parts else ""
    date = parts.get("date", "<ReqdExctnDt><Dt>2026-06-01</Dt></ReqdExctnDt>")
    debtor = parts.get("debtor", "<Dbtr><Nm>Shop Ltd</Nm></Dbtr>")
    namespace = parts.get("namespace", SPACE + parts.get("version", VERSIONS[1]))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<Document xmlns="{namespace}">\n<CstmrCdtTrfInitn>\n'
        f"<GrpHdr><MsgId>m</MsgId>{shown}<InitgPty><Nm>Shop</Nm></InitgPty></GrpHdr>\n"
        f"<PmtInf><PmtInfId>p</PmtInfId><PmtMtd>{parts.get('method', 'TRF')}</PmtMtd>"
        f"{parts.get('sums', '')}{date}{debtor}\n"
        + "\n".join(transfers)
        + "\n</PmtInf></CstmrCdtTrfInitn></Document>\n"
    )


def rows_of(tmp_path: Path, text: str | bytes, **more: Any) -> list[sg.payouts.FileRow]:
    """Write a message, and return its rows."""
    path = tmp_path / "p.xml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(sg.PayoutFile(path, **more).rows())


def bad(rows: list[sg.payouts.FileRow]) -> list[tuple[int, str | None, str]]:
    """Return what forbids to pay."""
    return [
        (problem.line, problem.column, problem.problem)
        for row in rows
        for problem in row.problems
        if not problem.is_advice
    ]


def only(rows: list[sg.payouts.FileRow]) -> sg.PayoutOrder:
    """Return the one order of some rows."""
    (row,) = rows
    assert row.order is not None, row.problems
    return row.order


@pytest.mark.parametrize("version", VERSIONS)
def test_a_transfer_becomes_an_order(tmp_path, version) -> None:
    """With all that a payout has a field for."""
    bic = "BIC" if version.endswith("03") else "BICFI"
    bank = f"<{bic}>COBADEFFXXX</{bic}><Nm>Commerzbank</Nm>"
    agent = f"<CdtrAgt><FinInstnId>{bank}</FinInstnId></CdtrAgt>"
    person = (
        "<Cdtr><Nm>Roe\n  GmbH</Nm><PstlAdr><StrtNm>Main St</StrtNm><BldgNb>1</BldgNb>"
        "<PstCd>10115</PstCd><TwnNm>Berlin</TwnNm><CtrySubDvsn>BE</CtrySubDvsn><Ctry>DE</Ctry>"
        "</PstlAdr><Id><OrgId><Othr><Id>HRB 1</Id></Othr></OrgId></Id>"
        "<CtctDtls><MobNb>+49-1711234567</MobNb><EmailAdr>a@b.example</EmailAdr></CtctDtls></Cdtr>"
    )
    debtor = (
        "<Dbtr><Nm>Shop Ltd</Nm><PstlAdr><Ctry>GB</Ctry><AdrLine>1 High St</AdrLine>"
        "<AdrLine>London</AdrLine></PstlAdr>"
        "<Id><OrgId><Othr><Id>12345</Id></Othr></OrgId></Id></Dbtr>"
    )
    date = "2026-06-01" if version.endswith("03") else "<Dt>2026-06-01</Dt>"
    text = message(
        transfer(agent=agent, person=person),
        version=version,
        debtor=debtor,
        date=f"<ReqdExctnDt>{date}</ReqdExctnDt>",
    )
    rows = rows_of(tmp_path, text, timing=sg.Timing())
    assert only(rows) == sg.PayoutOrder(
        key="e1",
        payment_method=sg.GlobalAccount(
            iban=IBAN, swift_bic_code="COBADEFFXXX", description="Salary"
        ),
        amount_details=sg.AmountDetails(1050, "eur"),
        participant_details=sg.ParticipantDetails(
            recipient=sg.Participant(
                full_name="Roe GmbH",
                company_name="Roe GmbH",
                bank_name="Commerzbank",
                currency="EUR",
                country_iso3="DEU",
                city="Berlin",
                postal_code="10115",
                state="BE",
                address_line="Main St 1",
                email="a@b.example",
                msisdn="+491711234567",
            ),
            sender=sg.Participant(
                company_name="Shop Ltd",
                registration_number="12345",
                code="12345",
                country_iso3="GBR",
                address_line="1 High St, London",
            ),
        ),
    )
    assert rows[0].line == 6


@pytest.mark.parametrize(
    ("key", "instruction", "expected"),
    [
        ("e1", "<InstrId>i1</InstrId>", "e1"),
        ("NOTPROVIDED", "<InstrId>i1</InstrId>", "i1"),
        ("", "<InstrId>i1</InstrId>", "i1"),
        ("notprovided", "<InstrId>i1</InstrId>", "i1"),
        ("NOT PROVIDED", "<InstrId>i1</InstrId>", "i1"),
    ],
)
def test_the_key(tmp_path, key, instruction, expected) -> None:
    """The end-to-end id; where none is provided, that of the instruction."""
    text = message(transfer(key, instruction=instruction))
    assert only(rows_of(tmp_path, text)).key == expected


def test_no_key(tmp_path) -> None:
    """There is no substitute for it."""
    found = bad(rows_of(tmp_path, message(transfer("NOTPROVIDED"))))
    assert [one[:2] for one in found] == [(6, "PmtId/EndToEndId")]
    assert "is absent or NOTPROVIDED, and so is InstrId" in found[0][2]


BY_CLEARING_SYSTEM: Final = {
    "USABA": ("US", {"bank_account_number": "12345678", "routing_code": "021000021"}),
    "GBDSC": ("GB", {"account_number": "31926819", "sort_code": "60-16-13"}),
    "AUBSB": ("AU", {"bank_account_number": "12345678", "bsb_number": "062000"}),
}


@pytest.mark.parametrize("system", BY_CLEARING_SYSTEM)
def test_an_account_without_an_iban(tmp_path, system) -> None:
    """By the clearing system of its country."""
    country, expected = BY_CLEARING_SYSTEM[system]
    account, member = expected.values()
    agent = (
        f"<CdtrAgt><FinInstnId><ClrSysMmbId><ClrSysId><Cd>{system}</Cd></ClrSysId>"
        f"<MmbId>{member.replace('-', '')}</MmbId></ClrSysMmbId></FinInstnId></CdtrAgt>"
    )
    number = f"<CdtrAcct><Id><Othr><Id>{account}</Id></Othr></Id><Tp><Cd>CACC</Cd></Tp></CdtrAcct>"
    person = f"<Cdtr><Nm>Jane</Nm><PstlAdr><Ctry>{country}</Ctry></PstlAdr></Cdtr>"
    text = message(transfer(agent=agent, account=number, person=person))
    order = only(rows_of(tmp_path, text, rules=sg.RuleUse.OFF))
    assert order.payment_method == sg.GlobalAccount(
        **expected, account_type="CHECKING", description="Salary"
    )


def test_another_clearing_system(tmp_path) -> None:
    """It has no field, so the account needs an IBAN."""
    agent = (
        "<CdtrAgt><FinInstnId><ClrSysMmbId><ClrSysId><Cd>ZANCC</Cd></ClrSysId><MmbId>1</MmbId>"
        "</ClrSysMmbId></FinInstnId></CdtrAgt>"
    )
    number = "<CdtrAcct><Id><Othr><Id>12345678</Id></Othr></Id></CdtrAcct>"
    found = bad(rows_of(tmp_path, message(transfer(agent=agent, account=number))))
    assert [one for one in found if "ZANCC is no clearing system that can be sent" in one[2]]
    assert only(rows_of(tmp_path, message(transfer(agent=agent)))).key == "e1"


def test_an_account_in_russia(tmp_path) -> None:
    """By the code of its bank."""
    agent = (
        "<CdtrAgt><FinInstnId><ClrSysMmbId><ClrSysId><Cd>RUCBC</Cd></ClrSysId>"
        "<MmbId>044525225</MmbId></ClrSysMmbId></FinInstnId></CdtrAgt>"
    )
    account = "<CdtrAcct><Id><Othr><Id>40817810938160925982</Id></Othr></Id></CdtrAcct>"
    person = "<Cdtr><Nm>Ivan Petrov</Nm></Cdtr>"
    text = message(transfer(agent=agent, account=account, person=person, currency="RUB"))
    assert only(rows_of(tmp_path, text)).payment_method == sg.RussianAccount(
        bik="044525225",
        account="40817810938160925982",
        full_name="Ivan Petrov",
        description="Salary",
    )


def test_a_reference_is_the_purpose(tmp_path) -> None:
    """Where the remittance is structured."""
    more = "<RmtInf><Strd><CdtrRefInf><Ref>RF18539007547034</Ref></CdtrRefInf></Strd></RmtInf>"
    method = only(rows_of(tmp_path, message(transfer(more=more)))).payment_method
    assert isinstance(method, sg.GlobalAccount)
    assert method.description == "RF18539007547034"


@pytest.mark.parametrize("amount", ["10.5", "10.50", "010.50", "10.500", "10.5000", "+10.5"])
def test_an_amount_of_xml_schema(tmp_path, amount) -> None:
    """Its decimal sign is the point, by the schema."""
    details = only(rows_of(tmp_path, message(transfer(amount=amount)))).amount_details
    assert details == sg.AmountDetails(1050, "eur")


@pytest.mark.parametrize(
    ("amount", "currency", "column", "words"),
    [
        ("10,50", "EUR", "Amt/InstdAmt", "expected a number"),
        ("10.505", "EUR", "Amt/InstdAmt", "no finer amounts"),
        ("0", "EUR", "Amt/InstdAmt", "greater than zero"),
        ("-1", "EUR", "Amt/InstdAmt", "greater than zero"),
        ("", "EUR", "Amt/InstdAmt", "is missing"),
        ("1e3", "EUR", "Amt/InstdAmt", "expected a number"),
        ("10.50", "EUX", "Amt/InstdAmt/@Ccy", "ISO 4217"),
        ("10.50", "", "Amt/InstdAmt/@Ccy", "ISO 4217"),
        ("92233720368547758.08", "EUR", "Amt/InstdAmt", "which no payment can be"),
    ],
)
def test_an_amount_that_is_none(tmp_path, amount, currency, column, words) -> None:
    """With the element that has it."""
    found = bad(rows_of(tmp_path, message(transfer(amount=amount, currency=currency))))
    assert [one for one in found if one[:2] == (6, column) and words in one[2]], found


@pytest.mark.parametrize(
    ("changes", "line", "column", "words"),
    [
        ({"count": "3"}, 4, "GrpHdr/NbOfTxs", "says 3, and the transactions make 2"),
        ({"count": ""}, 4, "GrpHdr/NbOfTxs", "says nothing"),
        ({"count": "two"}, 4, "GrpHdr/NbOfTxs", "says two"),
        ({"total": "35.51"}, 4, "GrpHdr/CtrlSum", "says 35.51, and the transactions make 35.50"),
        ({"sums": "<NbOfTxs>1</NbOfTxs>"}, 5, "PmtInf/NbOfTxs", "says 1"),
        ({"sums": "<CtrlSum>35</CtrlSum>"}, 5, "PmtInf/CtrlSum", "says 35"),
    ],
)
def test_a_control_sum_that_is_wrong(tmp_path, changes, line, column, words) -> None:
    """Nothing is read of such a message: not one of its payouts."""
    rows = rows_of(tmp_path, message(transfer(), transfer("e2", "25"), **changes))
    assert [row.order for row in rows] == [None]
    assert [one for one in bad(rows) if one[:2] == (line, column) and words in one[2]]


def test_control_sums_that_are_right(tmp_path) -> None:
    """However many decimals they are written with."""
    sums = "<NbOfTxs>2</NbOfTxs><CtrlSum>35.5</CtrlSum>"
    text = message(transfer(), transfer("e2", "25"), total="35.500", sums=sums)
    assert [row.order and row.order.key for row in rows_of(tmp_path, text)] == ["e1", "e2"]


@pytest.mark.parametrize(
    ("more", "column", "words"),
    [
        ("<ChqInstr/>", "ChqInstr", "is a cheque"),
        ("<XchgRateInf/>", "XchgRateInf", "agreed exchange rate"),
        ("<UltmtCdtr><Nm>A</Nm></UltmtCdtr>", "UltmtCdtr", "another person"),
        ("<IntrmyAgt1/>", "IntrmyAgt1", "a bank in between"),
    ],
)
def test_what_can_not_be_sent(tmp_path, more, column, words) -> None:
    """What changes the payment is refused, and not left out."""
    rows = rows_of(tmp_path, message(transfer(more=PURPOSE + more), transfer("e2")))
    assert [row.order and row.order.key for row in rows] == [None, "e2"]
    assert [one for one in bad(rows) if one[:2] == (6, column) and words in one[2]]


def test_an_amount_in_another_currency(tmp_path) -> None:
    """An equivalent amount isn't part of the control sum."""
    equivalent = '<EqvtAmt><Amt Ccy="USD">1</Amt><CcyOfTrf>EUR</CcyOfTrf></EqvtAmt>'
    text = message(transfer()).replace('<InstdAmt Ccy="EUR">10.50</InstdAmt>', equivalent)
    found = bad(rows_of(tmp_path, text))
    assert [one for one in found if one[1] == "Amt/EqvtAmt"]
    assert [one for one in found if one[1] == "Amt/InstdAmt" or one[1] == "Amt/InstdAmt/@Ccy"]


def test_other_methods_of_payment(tmp_path) -> None:
    """A message of cheques is none of transfers."""
    found = bad(rows_of(tmp_path, message(transfer(), method="CHK")))
    assert (5, "PmtInf/PmtMtd", "must be TRF, a credit transfer") in found


def test_a_later_day_is_told(tmp_path) -> None:
    """As advice: payouts are sent at once."""
    date = "<ReqdExctnDt><Dt>2999-12-24</Dt></ReqdExctnDt>"
    (row,) = rows_of(tmp_path, message(transfer(), date=date))
    assert row.order is not None
    assert "PmtInf/ReqdExctnDt" in {problem.column for problem in row.problems}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (message(transfer(), namespace=f"{SPACE}camt.053.001.02"), "is XML of camt.053.001.02"),
        (message(transfer(), namespace=f"{SPACE}pain.001.001.10"), "is XML of pain.001.001.10"),
        (message(transfer(), namespace="urn:other"), "is XML of another kind"),
        ("<Document/>", "is XML of another kind"),
        ("<a", "isn't well-formed XML"),
        (message(transfer())[:-30], "isn't well-formed XML"),
        (message(transfer(more='<x:a xmlns:x="urn:x"/>')), "is in another namespace"),
        (message(transfer(more="<a>" * 50 + "</a>" * 50)), "nested too deeply"),
        (message(transfer(more=f"<a>{'x' * 20_000}</a>")), "a text in it is too long"),
        (message(), "the message has no payments"),
    ],
)
def test_what_is_no_message(tmp_path, text, words) -> None:
    """Named, with what to give."""
    assert [one for one in bad(rows_of(tmp_path, text)) if words in one[2]]


LAUGHS: Final = "".join(
    f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' if n else '<!ENTITY l0 "lol">' for n in range(12)
)


@pytest.mark.parametrize(
    "declared",
    [
        pytest.param(f"[{LAUGHS}]", id="expansion"),
        pytest.param('[<!ENTITY x SYSTEM "file:///etc/passwd">]', id="a file"),
        pytest.param('SYSTEM "http://127.0.0.1:9/x.dtd"', id="a document type elsewhere"),
        pytest.param('[<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]', id="a parameter"),
        pytest.param("", id="a document type alone"),
    ],
)
def test_entities_are_refused(tmp_path, declared) -> None:
    """None is expanded, and no file is opened for one."""
    text = message(transfer(key="&l11;" if "l11" in declared else "e1"))
    text = text.replace("?>\n", f"?>\n<!DOCTYPE Document {declared}>\n", 1)
    ((line, _, words),) = bad(rows_of(tmp_path, text))
    assert line == 2
    assert words == "has a document type or entities, which a payment message has not"


def test_free_form_data_is_left_out(tmp_path) -> None:
    """What a bank adds for itself has its own namespace."""
    more = f'{PURPOSE}<SplmtryData><Envlp><x:a xmlns:x="urn:x">1</x:a></Envlp></SplmtryData>'
    assert only(rows_of(tmp_path, message(transfer(more=more)))).key == "e1"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "iso-8859-1"])
def test_encodings_of_xml(tmp_path, encoding) -> None:
    """As the message declares it, or by its mark."""
    person = "<Cdtr><Nm>Jörg Müller</Nm></Cdtr>"
    text = message(transfer(person=person)).replace("UTF-8", encoding.removesuffix("-sig"))
    people = only(rows_of(tmp_path, text.encode(encoding))).participant_details
    assert people is not None
    assert people.recipient is not None
    assert people.recipient.full_name == "Jörg Müller"


def test_many_payments_take_little_memory(tmp_path) -> None:
    """A transaction leaves memory when it ends; 3,000 of them are read one by one."""
    text = message(*(transfer(f"e{number}") for number in range(3_000)), total="31500")
    path = tmp_path / "p.xml"
    path.write_text(text, encoding="utf-8")
    found = sg.payouts.check(sg.PayoutFile(path))
    assert (found.count, found.totals) == (3_000, {"eur": 3_150_000})


WHOLE: Final = message(transfer(), transfer("e2", "25"), total="35.5").encode()


@settings(max_examples=200)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(max_size=3)), max_size=3))
def test_damage_is_told_and_nothing_else_is(tmp_path_factory, edits) -> None:
    """No damaged message pays another amount than its control sum."""
    content = bytearray(WHOLE)
    for place, length, written in edits:
        at = int(place * len(content))
        content[at : at + length] = written
    rows = rows_of(tmp_path_factory.mktemp("damage"), bytes(content))
    assert all(row.order is not None or row.problems for row in rows)
    if b"<CtrlSum>35.5<" in content and all(row.order for row in rows):
        assert sum(row.order.amount_details.amount for row in rows if row.order) == 3550


ANOTHER: Final = "<CdtrAcct><Id><IBAN>FR1420041010050500013M02606</IBAN></Id></CdtrAcct>"

INSTRUCTION: Final = "<InstrForCdtrAgt><Cd>{}</Cd></InstrForCdtrAgt>"


@pytest.mark.parametrize(
    ("old", "new", "column", "words"),
    [
        ("</CdtrAcct>", f"</CdtrAcct>{ANOTHER}", "CdtrAcct", "is there twice"),
        ("</Amt>", '<InstdAmt Ccy="EUR">99</InstdAmt></Amt>', "Amt/InstdAmt", "is there twice"),
        ("</InstdAmt>", "<b/>5</InstdAmt>", "Amt/InstdAmt/b", "is no element"),
        ("</IBAN>", "<x>0</x></IBAN>", "CdtrAcct/Id/IBAN/x", "is no element"),
        ("</Amt>", "</Amt><Betrag>5</Betrag>", "Betrag", "is no element"),
        ("</Amt>", "</Amt><IntrmyAgt2/>", "IntrmyAgt2", "is a bank in between"),
        ("</Amt>", "</Amt><IntrmyAgt3Acct/>", "IntrmyAgt3Acct", "is a bank in between"),
        ("</Amt>", "</Amt><CdtrAgtAcct/>", "CdtrAgtAcct", "is the bank's account"),
        (
            "</CdtrAcct>",
            f"</CdtrAcct>{'<InstrForCdtrAgt><Cd>HOLD</Cd></InstrForCdtrAgt>'}",
            "InstrForCdtrAgt",
            "is an instruction",
        ),
        (
            "</CdtrAcct>",
            f"</CdtrAcct>{'<InstrForCdtrAgt><Cd>CHQB</Cd></InstrForCdtrAgt>'}",
            "InstrForCdtrAgt",
            "is an instruction",
        ),
        ("</PmtMtd>", "</PmtMtd><PmtMtd>TRF</PmtMtd>", "PmtInf/PmtMtd", "is there twice"),
    ],
)
def test_what_the_standard_does_not_have(tmp_path, old, new, column, words) -> None:
    """An element that isn't read may be what was meant."""
    text = message(transfer())
    assert old in text
    found = bad(rows_of(tmp_path, text.replace(old, new, 1)))
    assert [one for one in found if one[1] == column and words in one[2]], found


@pytest.mark.parametrize(
    "more",
    [
        INSTRUCTION.format("TELB") * 2,
        "<Purp><Cd>SALA</Cd></Purp><RgltryRptg/><RgltryRptg/><Tax/>",
    ],
)
def test_what_changes_nothing(tmp_path, more) -> None:
    """A call to the creditor is advice; purposes and reports aren't sent."""
    text = message(transfer()).replace("</CdtrAcct>", f"</CdtrAcct>{more}")
    rows = rows_of(tmp_path, text)
    assert only(rows).key == "e1"
    advice = [one for one in rows[0].problems if one.column == "InstrForCdtrAgt"]
    assert len(advice) == more.count("<InstrForCdtrAgt>")


def test_utf_8_that_was_declared_as_latin(tmp_path) -> None:
    """The name that is read is advice; the bytes are what the message says."""
    text = message(transfer(person="<Cdtr><Nm>J\u00f6rg</Nm></Cdtr>"))
    for encoding, count in (("UTF-8", 0), ("ISO-8859-1", 1)):
        declared = f'<?xml version="1.0" encoding="{encoding}"?>{text.partition("?>")[2]}'
        (row,) = rows_of(tmp_path, declared)
        found = [one for one in row.problems if "another encoding" in one.problem]
        assert [one.column for one in found] == ["Cdtr/Nm"] * count


def test_a_message_without_line_breaks(tmp_path) -> None:
    """A key that is there twice is found, and a repeated payment, though all have one line."""
    rows = [transfer("e1"), transfer("e2", "1.00"), transfer("e1", "7.00"), transfer("e4", "1.00")]
    path = tmp_path / "p.xml"
    path.write_text(message(*rows).replace("\n", ""), encoding="utf-8")
    found = sg.payouts.check(sg.PayoutFile(path))
    assert [(one.first_line, one.line, one.key) for one in found.duplicates] == [(1, 1, "e1")]
    assert [(one.first_line, one.line, one.key) for one in found.repeats] == [(1, 1, "e4")]
    assert not found.is_fit
