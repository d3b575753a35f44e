"""What the repr of each record shows: a literal list; every other field is masked.

Tracebacks that are logged with their variables contain reprs.
"""

import enum
from typing import Any, Final

import pytest
from seeded_records import SHOWN, records, seeded

import smartglocal_async as sg

RECORDS: Final = [pytest.param(each, id=each.__name__) for each in records()]


@pytest.mark.parametrize("record", RECORDS)
def test_a_repr_shows_what_is_listed(record: type[Any]) -> None:
    """No name, address, account, document, free text or metadata is in it."""
    made, seeds = seeded(record)
    text = repr(made)
    shown = {name for name, value in seeds.items() if value in text}
    assert shown == set(SHOWN[record.__name__].split())


def test_every_record_is_listed() -> None:
    """A new record must be added to the list."""
    assert {each.__name__ for each in records()} == set(SHOWN)


def test_an_order_with_all_of_a_person_in_it() -> None:
    """Nothing of it is shown inside other records or in a list."""
    person = sg.Participant(
        full_name="Zacharias Quill",
        street="Seedling Way",
        city="Quirm",
        postal_code="QQ1 1QQ",
        description="for the roof",
    )
    order = sg.PayoutOrder(
        key="k-1",
        payment_method=sg.GlobalAccount(iban="DE89370400440532013000", description="for the roof"),
        amount_details=sg.AmountDetails(100, "eur"),
        participant_details=sg.ParticipantDetails(recipient=person, sender=person),
        metadata={"name": "Zacharias Quill"},
    )
    request = sg.InitPayout(
        payment_method=order.payment_method,
        amount_details=order.amount_details,
        participant_details=order.participant_details,
        metadata=order.metadata,
    )
    text = repr([order, request, (person,)])
    for secret in ("Quill", "Seedling", "Quirm", "QQ1", "roof", "0532013000"):
        assert secret not in text
    assert "k-1" in text


def test_unset_fields_show_as_none() -> None:
    """A missing field differs from a masked one."""
    text = repr(sg.Participant(first_name="Zacharias"))
    assert "first_name=***" in text
    assert "last_name=None" in text


def test_enumerations_are_shown() -> None:
    """A status shows its value."""
    assert isinstance(sg.SessionStatus.ACCEPTED, enum.Enum)
    assert "accepted" in repr(sg.SessionStatus.ACCEPTED)
