"""What is masked in a body, and how far a list is read."""

import json
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartglocal_async.emulator.server.admin.views import (
    MASK_LETTER,
    ListQuery,
    masked_json,
    page_of,
)

ORDER: Final = {
    "session_id": "ps_1",
    "amount_details": {"amount": 10_000, "currency": "usd"},
    "payment_method": {
        "type": "card",
        "card": {
            "bank_card": {"number": "4111111111111111", "security_code": "123"},
            "x": [1, "y"],
        },
    },
    "customer": {"reference": "c1", "contacts": [{"email": "a@b.example"}]},
    "participant_details": {"recipient": {"full_name": 'Zo\u00eb "Z" \\', "age": 41}},
    "metadata": {"idempotency_key": "order-1", "note": "for Zoë"},
    "description": "card 4111 1111 1111 1111",
}
PRIVATE: Final = ("4111", "123", "Zo", "41", "c1", "b.example", "for ")


@pytest.mark.parametrize("options", [{}, {"indent": 2}, {"ensure_ascii": False}])
def test_private_values_are_masked(options):
    """Wherever they are, however the JSON is written; names and what is harmless stay."""
    text = json.dumps(ORDER, **options)
    masked = masked_json(text)
    assert len(masked) == len(text)
    for value in PRIVATE:
        assert value not in masked.replace("10000", ""), value
    for shown in (
        "ps_1",
        "10000",
        "usd",
        '"type": "card"',
        "full_name",
        "order-1",
        "security_code",
    ):
        assert shown in masked, shown


def test_what_is_not_known_to_be_harmless_is_masked():
    """A token, a phone and an IBAN at the top, and any other name; an error has its texts."""
    error = {"code": "declined", "description": "not enough"}
    order = {"token": "t1", "phone": 7_900, "iban": "DE00", "error": error, "description": "x y"}
    masked = json.loads(masked_json(json.dumps({**order, "phone": "7900"})))
    for name in ("token", "phone", "iban", "description"):
        assert set(masked[name]) == {MASK_LETTER}, name
    assert masked["error"] == error
    assert "7900" not in masked_json(json.dumps(order))
    assert masked_json('{"4111 1111 1111 1111": 1}') == f'{{"{MASK_LETTER * 19}": {MASK_LETTER}}}'


def test_metadata_that_are_a_text_are_masked():
    """They may hold anything, as an object of metadata may."""
    assert "Anna" not in masked_json('{"metadata": "Anna"}')


def test_what_is_no_json_is_masked_as_a_whole():
    """As nothing is known of its parts."""
    assert masked_json('{"a": Anna}') == f'{{"{MASK_LETTER}": {MASK_LETTER * 4}}}'


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    )
)
def test_any_instrument(value):
    """No text inside is shown, and the length stays."""
    text = json.dumps({"payment_method": {"secret": value}, "id": "ps_1"})
    masked = masked_json(text)
    assert len(masked) == len(text)
    assert masked.endswith('"id": "ps_1"}')
    assert not set(texts_of(value)) & set(texts_of(json_or_none(masked)))


def json_or_none(masked: str) -> object:
    """Return the masked JSON, if no number was masked in it."""
    try:
        return json.loads(masked)
    except ValueError:
        return None


def texts_of(value: object) -> list[str]:
    """Return all texts in a value that aren't names and have a letter to mask."""
    if isinstance(value, dict):
        return [text for child in value.values() for text in texts_of(child)]
    if isinstance(value, list):
        return [text for child in value for text in texts_of(child)]
    return [value] if isinstance(value, str) and set(value) - {MASK_LETTER} else []


def test_a_list_is_read_no_further_than_a_page_needs():
    """One entry more, to know whether there is another page."""
    read: list[int] = []

    def entries():
        for number in range(10_000):
            read.append(number)
            yield number

    found = page_of(
        entries(), ListQuery(offset=10, limit=5), lambda one: one % 2 == 0, lambda one: {"n": one}
    )
    assert [one["n"] for one in found["items"]] == [10, 12, 14, 16, 18]
    assert found["next_offset"] == 20
    assert len(read) == 21
