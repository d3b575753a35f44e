"""What of an event is shown."""

import attrs
import pytest

from smartglocal_async.observer import events
from smartglocal_async.observer.events import facts, shown_code, shown_text

HIDDEN = {"error", "states"}
"""Fields that `facts` shows in another form."""


@pytest.mark.parametrize(
    "text",
    [
        "order-7",
        "shop/2026-11-30/0001",
        "5f0c1b7a-d9e2-4c33-8a54-0d9f6f2a7b10",
        "123456789",
        "INV:2026#17",
    ],
)
def test_keys_that_are_shown(text) -> None:
    """Order numbers and UUIDs."""
    assert shown_text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "jane@example.com",
        "+447911123456",
        "447911123456",
        "4479-1112-3456",
        "Jane Roe",
        "Zoë",
        "DE89370400440532013000",
        "DE89-3704-0044-0532-0130-00",
        "RU0204452560040702810412345678901:1.1",
        "40817810099910004312",
        "x" * 101,
        "",
        "a\nb",
    ],
)
def test_keys_that_are_masked(text) -> None:
    """What may be an e-mail, a phone number, a name, an IBAN or an account."""
    assert shown_text(text) == "***"


def test_a_key_with_a_card_number() -> None:
    """The digits are masked."""
    assert shown_text("card-4929717384915026") == "card-***"


@pytest.mark.parametrize("code", ["invalid_request", "3DS_error", "limit_of_day2", "x"])
def test_codes_that_are_shown(code) -> None:
    """Words as codes have them."""
    assert shown_code(code) == code


@pytest.mark.parametrize(
    "code",
    [
        *("4929717384915026", "a4929717384915026", "card is unknown", "jane@example.com", "é"),
        *("Jane.Roe", "jane.roe", "DE89370400440532013000", "de89370400440532013000"),
        *("tok_live_51HyqZ2eZvKYlo2C", "p447911123456", "x" * 65),
    ],
)
def test_codes_that_are_masked(code) -> None:
    """Anything else."""
    assert shown_code(code) == "***"


def test_a_field_that_isnt_allowed() -> None:
    """A new field is left out until it is in the list."""

    @attrs.frozen(kw_only=True)
    class Odd(events.ObserverEvent):
        name = "odd"
        call: int
        card_number: str

    assert facts(Odd(call=1, card_number="4")) == {"call": 1}


def test_all_fields_are_allowed() -> None:
    """No field of an event is forgotten by `facts`."""
    known = events._ALLOWED | events._TEXTS | events._CODES | events._WORDS | HIDDEN
    for kind in events.ObserverEvent.__subclasses__():
        if kind.__module__ == events.__name__:
            assert {field.name for field in attrs.fields(kind)} <= known


def test_events_are_frozen() -> None:
    """An observer can't change what the next one gets."""
    event = events.PayoutsHaltRaised(kind="conflict")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.kind = "x"
