"""Fields of JSON Lines that are nearly those of a record: a problem, and not an extra."""

import json
from typing import Any

import pytest

import smartglocal_async as sg

ACCOUNT = {"iban": "DE89370400440532013000", "description": "Salary"}


def rows_of(tmp_path: Any, wire: dict[str, Any]) -> list[sg.payouts.FileRow]:
    """Write one payout as JSON Lines, and read it."""
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"key": "p-1", **wire}), encoding="utf-8")
    return list(sg.PayoutFile(path).rows())


def wire_of(where: str, name: str) -> dict[str, Any]:
    """Return a payout with one more field somewhere in it."""
    account: dict[str, Any] = dict(ACCOUNT)
    recipient: dict[str, Any] = {"full_name": "Jane", "identity_document": {"id_number": "1"}}
    people: dict[str, Any] = {"recipient": recipient, "sender": {"company_name": "A"}}
    customer: dict[str, Any] = {"reference": "c", "contacts": [{"email": "a@b.example"}]}
    places: dict[str, dict[str, Any]] = {
        "payment_method.bank_account.global": account,
        "participant_details": people,
        "participant_details.recipient": recipient,
        "participant_details.sender": people["sender"],
        "participant_details.recipient.identity_document": recipient["identity_document"],
        "customer": customer,
        "customer.contacts[0]": customer["contacts"][0],
    }
    places[where][name] = "1"
    return {
        "amount_details": {"amount": 100, "currency": "eur"},
        "payment_method": {
            "type": "bank_account",
            "bank_account": {"system_type": "global", "global": account},
        },
        "participant_details": people,
        "customer": customer,
    }


MISSPELT = [
    ("payment_method.bank_account.global", "ibna", "iban"),
    ("payment_method.bank_account.global", "IBAN", "iban"),
    ("payment_method.bank_account.global", "accountNumber", "account_number"),
    ("payment_method.bank_account.global", "bank_account_numbr", "bank_account_number"),
    ("payment_method.bank_account.global", "swift", "swift_bic_code"),
    ("payment_method.bank_account.global", "bic", "swift_bic_code"),
    ("payment_method.bank_account.global", "swift_bic", "swift_bic_code"),
    ("participant_details", "recipent", "recipient"),
    ("participant_details", "payee", "recipient"),
    ("participant_details", "receiver", "recipient"),
    ("participant_details", "payer", "sender"),
    ("participant_details.recipient", "name", "full_name"),
    ("participant_details.recipient", "frist_name", "first_name"),
    ("participant_details.recipient", "country", "country_iso3"),
    ("participant_details.sender", "compny_name", "company_name"),
    ("participant_details.recipient.identity_document", "id_nubmer", "id_number"),
    ("customer", "refrence", "reference"),
    ("customer.contacts[0]", "e-mail", "email"),
]


@pytest.mark.parametrize(("where", "name", "meant"), MISSPELT)
def test_a_near_miss(tmp_path, where, name, meant) -> None:
    """With the path of the field, and the name that was meant."""
    (row,) = rows_of(tmp_path, wire_of(where, name))
    assert row.order is None
    found = [(one.column, one.problem) for one in row.problems if not one.is_advice]
    assert (f"{where}.{name}", f"is no field; did you mean {meant}?") in found


@pytest.mark.parametrize("name", ["clabe", "bank_branch_number", "purpose_code", "x"])
def test_a_field_of_a_countrys_page(tmp_path, name) -> None:
    """Another name is sent as it is."""
    (row,) = rows_of(tmp_path, wire_of("payment_method.bank_account.global", name))
    assert row.order is not None
    assert isinstance(row.order.payment_method, sg.GlobalAccount)
    assert row.order.payment_method.extra == {name: "1"}


def test_an_order_of_a_program_is_checked_as_well() -> None:
    """By `payouts.check`, before it is paid."""
    order = sg.PayoutOrder(
        key="p-1",
        payment_method=sg.GlobalAccount(**ACCOUNT, extra={"swfit_bic_code": "COBADEFF"}),
        amount_details=sg.AmountDetails(1, "eur"),
    )
    found = sg.payouts.check([order])
    (problem,) = found.problems
    assert problem.column == "payment_method.bank_account.global.swfit_bic_code"
    assert problem.problem == "is no field; did you mean swift_bic_code?"


@pytest.mark.parametrize(
    ("place", "name", "meant"),
    [
        ("", "metdata", "metadata"),
        ("", "amount_detail", "amount_details"),
        ("", "participant_detials", "participant_details"),
        ("", "amount", "amount_details.amount"),
        ("", "iban", "payment_method.bank_account.global.iban"),
        ("", "bic", "payment_method.bank_account.global.swift_bic_code"),
        ("", "payee", "participant_details.recipient"),
        ("", "full_name", "participant_details.recipient.full_name"),
        ("", "idempotency_key", "key"),
        ("amount_details.", "amuont", "amount"),
        ("amount_details.", "Currency", "currency"),
        ("", "note", None),
        ("amount_details.", "fee", None),
    ],
)
def test_a_name_at_the_top(tmp_path, place, name, meant) -> None:
    """There are no further fields; what was meant is named."""
    wire = wire_of("customer", "x")
    del wire["customer"]["x"]
    holder = wire["amount_details"] if place else wire
    holder[name] = "1"
    (row,) = rows_of(tmp_path, wire)
    words = "is no field of this record" + (f"; did you mean {meant}?" if meant else "")
    assert (f"{place}{name}", words) in [(one.column, one.problem) for one in row.problems]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_identifiers_are_written_as_in_a_table(tmp_path, version) -> None:
    """Spaces and dashes aren't sent, and countries have three letters."""
    wire = wire_of("customer", "x")
    del wire["customer"]["x"]
    wire["payment_method"]["bank_account"]["global"] |= {
        "iban": "DE89 3704-0044 0532 0130 00",
        "swift_bic_code": "coba deff",
    }
    wire["participant_details"]["recipient"] |= {"country_iso3": "DE", "msisdn": "+49 (30) 123456"}
    wire["participant_details"]["sender"]["country_iso3"] = "United Kingdom"
    if version == "v2":
        wire["payout_details"] = wire.pop("payment_method")
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"key": "p-1", **wire}), encoding="utf-8")
    given = sg.payouts.FileFormat(api_version=version)
    (order,) = sg.PayoutFile(path, format=given)
    assert order.payment_method == sg.GlobalAccount(
        iban=ACCOUNT["iban"], swift_bic_code="COBADEFF", description="Salary"
    )
    people = order.participant_details
    assert people is not None
    assert people.recipient is not None
    assert people.sender is not None
    assert (people.recipient.country_iso3, people.recipient.msisdn) == ("DEU", "+4930123456")
    assert people.sender.country_iso3 == "GBR"
