"""Keys of calls, and fingerprints that tell one request from another."""

import copy
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import json_objects, json_values, requests

import smartglocal_async as sg
from smartglocal_async.codec import codec, dump
from smartglocal_async.idempotency import Key, carry_key, choose_key, fingerprint

FIELD: Final = "idempotency_key"
SECRET: Final = b"0123456789abcdef"


def choose(given_key, metadata, *, metadata_is_key=False, field=FIELD) -> Key:
    """Choose a key; one that has to be made is called "fresh"."""
    return choose_key(
        given_key, metadata, field=field, metadata_is_key=metadata_is_key, make=lambda: "fresh"
    )


@pytest.mark.parametrize(
    ("given_key", "metadata", "key"),
    [
        ("k", None, Key("k", is_own=True)),
        ("k", {"order": 1}, Key("k", is_own=True)),
        ("k", "order123", Key("k", is_own=True)),
        ("k", {FIELD: "k"}, Key("k", is_own=True)),
        ("k", {FIELD: None}, Key("k", is_own=True)),
        (None, {FIELD: "k"}, Key("k", is_own=True)),
        (None, {FIELD: None}, Key("fresh", is_own=False)),
        (None, None, Key("fresh", is_own=False)),
        (None, {}, Key("fresh", is_own=False)),
        (None, "order123", Key("fresh", is_own=False)),
        (None, 7, Key("fresh", is_own=False)),
        (None, [FIELD], Key("fresh", is_own=False)),
        (None, {"deeper": {FIELD: "k"}}, Key("fresh", is_own=False)),
    ],
)
def test_where_a_key_comes_from(given_key, metadata, key) -> None:
    """The caller's, else the one in the metadata, else a fresh one."""
    assert choose(given_key, metadata) == key


@pytest.mark.parametrize(
    ("metadata", "key"),
    [
        ("order123", Key("order123", is_own=True)),
        (7, Key("7", is_own=True)),
        (True, Key("fresh", is_own=False)),
        (1.5, Key("fresh", is_own=False)),
        (None, Key("fresh", is_own=False)),
        ([1], Key("fresh", is_own=False)),
        ({"order": 1}, Key("fresh", is_own=False)),
    ],
)
def test_plain_metadata_counts_when_it_is_said_to(metadata, key) -> None:
    """Only with `metadata_is_key`: partners send constants there, and two orders would merge."""
    assert choose(None, metadata, metadata_is_key=True) == key


@pytest.mark.parametrize(
    ("metadata", "metadata_is_key"), [({FIELD: "other"}, False), ("other", True), (7, True)]
)
def test_two_keys_are_one_too_many(metadata, metadata_is_key) -> None:
    """A key that differs from the one in the metadata is a mistake, not a choice."""
    with pytest.raises(sg.InvalidRequest) as caught:
        choose("k", metadata, metadata_is_key=metadata_is_key)
    assert caught.value.field == f"metadata.{FIELD}"
    assert "differs from key=" in caught.value.problem


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("", "expected 1 to 255 printable characters"),
        ("a" * 256, "expected 1 to 255 printable characters"),
        ("a\nb", "expected 1 to 255 printable characters"),
        ("a\x00", "expected 1 to 255 printable characters"),
        ("\ud800", "expected 1 to 255 printable characters"),
        (7, "expected text, got int"),
        (b"k", "expected text, got bytes"),
        (["k"], "expected text, got list"),
    ],
)
def test_what_is_no_key(key, problem) -> None:
    """A key fits a header and a log line, wherever it came from."""
    for given_key, metadata in ((key, None), (None, {FIELD: key})):
        with pytest.raises(sg.InvalidRequest) as caught:
            choose(given_key, metadata)
        assert (caught.value.field, caught.value.problem) == ("key", problem)


@pytest.mark.parametrize("key", ["a", "a" * 255, "order 1", "\u0437\u0430\u043a\u0430\u0437"])
def test_what_is_a_key(key) -> None:
    """1 to 255 printable characters of any script."""
    assert choose(key, None) == Key(key, is_own=True)


def test_the_field_has_the_callers_name() -> None:
    """`Settings.key_field` is where the key is looked for."""
    assert choose(None, {"order_id": "k", FIELD: "x"}, field="order_id").text == "k"


@pytest.mark.parametrize(
    ("wire", "carried"),
    [
        ({}, {"metadata": {FIELD: "k"}}),
        ({"metadata": None}, {"metadata": {FIELD: "k"}}),
        ({"metadata": {}}, {"metadata": {FIELD: "k"}}),
        ({"metadata": {"order": 1}}, {"metadata": {"order": 1, FIELD: "k"}}),
        ({"metadata": {FIELD: None}}, {"metadata": {FIELD: "k"}}),
        ({"metadata": "order123"}, {"metadata": "order123"}),
        ({"metadata": ""}, {"metadata": ""}),
        ({"metadata": 0}, {"metadata": 0}),
        ({"metadata": [1]}, {"metadata": [1]}),
        ({"metadata": False}, {"metadata": False}),
    ],
)
def test_how_a_key_is_carried(wire, carried) -> None:
    """In an object, or where there was nothing; the caller's own text is left alone."""
    carry_key(wire, Key("k", is_own=True), FIELD)
    assert wire == carried


@given(metadata=json_objects)
def test_carrying_a_key_leaves_the_callers_object_alone(metadata) -> None:
    """The caller's own dict is never written to."""
    before = copy.deepcopy(metadata)
    carry_key({"metadata": metadata}, Key("k", is_own=True), FIELD)
    assert metadata == before


@given(metadata=json_values, key=st.none() | st.just("order-1"))
def test_no_metadata_breaks_the_key(metadata, key) -> None:
    """Any JSON as metadata gives a key that a header takes and a body that carries it."""
    wire = codec("v1").wire(sg.CreateSession(metadata=metadata))
    chosen = choose(key, wire.get("metadata"))
    carry_key(wire, chosen, FIELD)

    assert chosen.text == (key or "fresh")
    assert wire["metadata"] == (
        {**(metadata or {}), FIELD: chosen.text}
        if metadata is None or isinstance(metadata, dict)
        else metadata
    )
    assert dump(wire)
    assert fingerprint(dump(wire), SECRET)


# Fingerprints.

BASE: Final = {"amount_details": {"amount": 1, "currency": "usd"}, "metadata": {"a": [1, "x"]}}


def taken(wire, secret=SECRET):
    """Take a fingerprint."""
    return fingerprint(dump(wire), secret)


@pytest.mark.parametrize(
    ("other", "fields"),
    [
        (BASE, ()),
        ({**BASE, "metadata": {"a": [1, "y"]}}, ("metadata.a[1]",)),
        ({**BASE, "metadata": {"a": [True, "x"]}}, ("metadata.a[0]",)),
        ({**BASE, "metadata": {"a": [1.0, "x"]}}, ("metadata.a[0]",)),
        ({**BASE, "metadata": {"a": ["1", "x"]}}, ("metadata.a[0]",)),
        ({**BASE, "metadata": {"a": [1]}}, ("metadata.a[1]",)),
        ({**BASE, "metadata": {}}, ("metadata", "metadata.a[0]", "metadata.a[1]")),
        (
            {**BASE, "amount_details": {"amount": 2, "currency": "eur"}},
            ("amount_details.amount", "amount_details.currency"),
        ),
        ({**BASE, "payment_options": {}}, ("payment_options",)),
    ],
)
def test_two_requests_differ_in_named_fields(other, fields) -> None:
    """The caller is told where the requests differ, and never by what."""
    assert taken(BASE).differing_fields(taken(other)) == fields
    assert (taken(BASE) == taken(other)) is (not fields)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"a": {"b": 1}}, {"a.b": 1}),
        ({"a": [1]}, {"a[0]": 1}),
        ({"a": "[]"}, {"a": []}),
        ({"a": {}}, {"a": []}),
        ({"a": None}, {}),
        ({"a": "None"}, {"a": None}),
        ({"": 1}, {"": {"": 1}}),
    ],
)
def test_no_two_requests_look_alike(one, two) -> None:
    """A name with a dot in it is not a path; text is not what it spells."""
    assert taken({"metadata": one}) != taken({"metadata": two})


def test_the_order_of_names_does_not_matter() -> None:
    """A request built in another order is the same request."""
    assert taken({"a": 1, "b": {"c": 2, "d": 3}}) == taken({"b": {"d": 3, "c": 2}, "a": 1})


def test_digests_depend_on_the_secret() -> None:
    """Nobody without it can find a card number by trying them all."""
    assert taken(BASE) != taken(BASE, secret=b"another")


@given(request=requests)
def test_equal_requests_have_equal_fingerprints(request) -> None:
    """The fingerprint is of what is sent, and of nothing else."""
    wire, again = codec("v1").wire(request), codec("v1").wire(copy.deepcopy(request))
    assert taken(wire) == taken(again)


@given(one=json_values, two=json_values)
def test_different_requests_have_different_fingerprints(one, two) -> None:
    """Two requests with one fingerprint are the same bytes, but for the order of names."""
    same = taken({"metadata": one}) == taken({"metadata": two})
    assert same is (repr(_sorted(one)) == repr(_sorted(two)))


def _sorted(value):
    match value:
        case dict():
            return {name: _sorted(value[name]) for name in sorted(value)}
        case list():
            return [_sorted(item) for item in value]
    return value


def test_a_fingerprint_shows_no_value() -> None:
    """It can be logged: what is in a request can't be read out of it."""
    number = "4242424242424242"
    assert number not in repr(taken({"metadata": number}))
