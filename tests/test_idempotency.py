"""Idempotency keys, and fingerprints that distinguish requests."""

import copy
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import json_objects, json_values, requests

import smartglocal_async as sg
from smartglocal_async.codec import codec, dump, dump_fields, join_fields, parse
from smartglocal_async.idempotency import (
    WHOLE,
    Fingerprint,
    Key,
    Mark,
    RequestDigest,
    carry_key,
    choose_key,
    fingerprint,
    is_key,
    request_digest,
)

FIELD: Final = "idempotency_key"
SECRET: Final = b"0123456789abcdef"


def choose(given_key, metadata, *, metadata_is_key=False, field=FIELD) -> Key:
    """Choose a key; a generated one is returned as "fresh"."""
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
    """The caller's, otherwise the one in the metadata, otherwise a new one."""
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
    """Only with `metadata_is_key`: constants in the metadata would merge two orders."""
    assert choose(None, metadata, metadata_is_key=True) == key


@pytest.mark.parametrize(
    ("metadata", "metadata_is_key"), [({FIELD: "other"}, False), ("other", True), (7, True)]
)
def test_two_different_keys_are_refused(metadata, metadata_is_key) -> None:
    """A key that differs from the one in the metadata is refused."""
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
def test_invalid_keys(key, problem) -> None:
    """A key must fit a header and a log line, wherever it comes from."""
    for given_key, metadata in ((key, None), (None, {FIELD: key})):
        with pytest.raises(sg.InvalidRequest) as caught:
            choose(given_key, metadata)
        assert (caught.value.field, caught.value.problem) == ("key", problem)


@pytest.mark.parametrize("key", ["a", "a" * 255, "order 1", "\u0437\u0430\u043a\u0430\u0437"])
def test_valid_keys(key) -> None:
    """1 to 255 printable characters of any script."""
    assert choose(key, None) == Key(key, is_own=True)


def test_the_field_has_the_callers_name() -> None:
    """The key is read from `Settings.key_field`."""
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
    """In an object, or in new metadata; the caller's own text is unchanged."""
    carry_key(wire, Key("k", is_own=True), FIELD)
    assert wire == carried


@given(metadata=json_objects)
def test_carrying_a_key_leaves_the_callers_object_alone(metadata) -> None:
    """The caller's dict is never changed."""
    before = copy.deepcopy(metadata)
    carry_key({"metadata": metadata}, Key("k", is_own=True), FIELD)
    assert metadata == before


@given(metadata=json_values, key=st.none() | st.just("order-1"))
def test_no_metadata_breaks_the_key(metadata, key) -> None:
    """Any JSON metadata yields a key that fits a header, and a body that contains it."""
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
    """Return a fingerprint."""
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
    """The error names the fields that differ, and no values."""
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
def test_different_requests_have_different_names(one, two) -> None:
    """A name with a dot isn't a path; text differs from the value that it spells."""
    assert taken({"metadata": one}) != taken({"metadata": two})


def test_the_order_of_names_does_not_matter() -> None:
    """A request built in another order is the same request."""
    assert taken({"a": 1, "b": {"c": 2, "d": 3}}) == taken({"b": {"d": 3, "c": 2}, "a": 1})


def test_digests_depend_on_the_secret() -> None:
    """Without the secret, card numbers can't be found by trying them all."""
    assert taken(BASE) != taken(BASE, secret=b"another")


@given(request=requests)
def test_equal_requests_have_equal_fingerprints(request) -> None:
    """The fingerprint depends only on what is sent."""
    wire, again = codec("v1").wire(request), codec("v1").wire(copy.deepcopy(request))
    assert taken(wire) == taken(again)


@given(one=json_values, two=json_values)
def test_different_requests_have_different_fingerprints(one, two) -> None:
    """Two requests with one fingerprint are the same bytes, except for the order of names."""
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
    """It can be logged, because the request can't be read from it."""
    number = "4242424242424242"
    assert number not in repr(taken({"metadata": number}))


# --- Messages and stored bytes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "metadata", "words"),
    [
        (
            "a",
            {FIELD: "b"},
            "metadata.idempotency_key: differs from key=; give one key, or the same one twice",
        ),
        (7, None, "key: expected text, got int"),
        ("", None, "key: expected 1 to 255 printable characters"),
        ("x" * 256, None, "key: expected 1 to 255 printable characters"),
        ("a\n", None, "key: expected 1 to 255 printable characters"),
        (" a", None, "key: begins or ends with a space, which a header would lose"),
        ("a ", None, "key: begins or ends with a space, which a header would lose"),
    ],
)
def test_messages_about_a_key(key, metadata, words) -> None:
    """The message says where the key is, and what is wrong with it."""
    with pytest.raises(sg.InvalidRequest) as refused:
        _ = choose(key, metadata)
    assert str(refused.value) == words


@pytest.mark.parametrize(
    ("metadata", "is_on", "contradicts"),
    [
        ({"f": "k"}, True, False),
        ({"f": "other"}, False, True),
        ({"f": 7}, False, False),
        ({}, False, False),
        ("k", True, False),
        ("other", False, False),
        (7, False, False),
        (None, False, False),
        (["k"], False, False),
        (True, False, False),
    ],
)
def test_what_carries_a_key(metadata, is_on, contradicts) -> None:
    """An object under its field, or plain text as it is; anything else contradicts nothing."""
    mark = Mark("k", "f")
    assert (mark.is_on(metadata), mark.contradicts(metadata)) == (is_on, contradicts)


def test_a_number_carries_a_key() -> None:
    """A number counts as text; a boolean isn't a number."""
    assert Mark("7", "f").is_on(7)
    assert not Mark("True", "f").is_on(True)  # noqa: FBT003 - as it may be echoed


def test_the_bytes_of_a_fingerprint() -> None:
    """Eight bytes per field, by its path, the same in every release: journals store them."""
    taken = fingerprint(b'{"b":[1,{"c":"x"}],"a":{},"d":[]}', SECRET)
    assert [(path, digest.hex()) for path, digest in taken.digests] == [
        ("a", "26a0f88c25960684"),
        ("b[0]", "bc96738f947a8c7a"),
        ("b[1].c", "20fc99e2c034d64d"),
        ("d", "ceb201fe78bfe11f"),
    ]
    assert taken.short == "a2be8d472be97594"
    assert taken.shortened().digests == ((WHOLE, bytes.fromhex("a2be8d472be97594")),)
    assert taken.shortened().shortened() == taken.shortened()
    assert taken.shortened().short == taken.short
    assert (taken.is_short, taken.is_empty) == (False, False)
    assert (taken.shortened().is_short, taken.shortened().is_empty) == (True, False)


def test_an_empty_fingerprint() -> None:
    """Nothing is known about the request."""
    empty = Fingerprint(())
    assert (empty.is_empty, empty.is_short, empty.short) == (True, False, None)
    assert empty.shortened() is empty


@pytest.mark.parametrize(("count", "paths"), [(64, 64), (65, 1)])
def test_a_request_of_many_fields(count, paths) -> None:
    """Up to 64 fields are distinguished; beyond that the top ones, in any order of names."""
    many = {f"n{number:02}": number for number in range(count)}
    one = fingerprint(dump({"top": many}), SECRET)
    assert len(one.digests) == paths
    turned = fingerprint(dump({"top": dict(reversed(many.items()))}), SECRET)
    assert one == turned
    other = fingerprint(dump({"top": {**many, "n00": 7}}), SECRET)
    assert one.differing_fields(other) == ("top.n00" if paths > 1 else "top",)


def digest_of(wire: dict[str, Any]) -> RequestDigest:
    """Return the digest of a request from its wire form."""
    return request_digest(dump_fields(wire), SECRET)


def test_the_bytes_of_a_digest() -> None:
    """Two for a name and six for its value, sorted, and a mark behind them."""
    taken = digest_of({"metadata": {"b": 1, "a": [None, "x"]}, "amount": 7})
    assert taken.packed.hex() == "164e3214805925694e445ac8494d311c2e"
    assert taken.names == ("metadata", "amount")
    turned = digest_of({"amount": 7, "metadata": {"a": [None, "x"], "b": 1}})
    assert turned.packed == taken.packed
    assert digest_of({}).packed == b"."


@pytest.mark.parametrize(
    ("other", "fields"),
    [
        ({"customer": 1, "strange": 2}, ("request",)),
        ({"customer": 3, "strange": 2}, ("customer",)),
        ({"customer": 1, "strange": 3}, ("strange",)),
        ({"customer": 1}, ("strange",)),
        ({"customer": 1, "strange": 2, "metadata": 4}, ("metadata",)),
        ({"customer": 1, "strange": 2, "unknown": 4}, ("another field",)),
        ({"strange": 3, "unknown": 4}, ("another field", "customer", "strange")),
    ],
)
def test_the_fields_of_a_digest_that_differ(other, fields) -> None:
    """Those of the request at hand, and those that every request may have, have a name."""
    taken = digest_of({"customer": 1, "strange": 2})
    assert taken.differing_fields(digest_of(other).packed) == fields


def test_a_digest_of_what_is_no_json() -> None:
    """The error names the place; metadata can be changed after it was checked."""
    with pytest.raises(sg.InvalidRequest, match=r"^request\.metadata\.a"):
        _ = digest_of({"metadata": {"a": {1, 2}}})


@given(json_objects)
def test_the_fields_of_a_request_make_its_body(wire) -> None:
    """Written one by one, they are the same JSON, in one text whatever the order of names."""
    assert parse(join_fields(dump_fields(wire))) == parse(dump(wire))
    turned = {name: reversed_names(value) for name, value in wire.items()}
    assert join_fields(dump_fields(turned)) == join_fields(dump_fields(wire))


def reversed_names(value: Any) -> Any:
    """Return a value with the names of each object in it in reverse order."""
    if isinstance(value, dict):
        return {name: reversed_names(item) for name, item in reversed(value.items())}
    return [reversed_names(item) for item in value] if isinstance(value, list) else value


def test_a_request_without_fields() -> None:
    """It has one digest, of the whole."""
    assert [path for path, _ in fingerprint(b"{}", SECRET).digests] == [""]


@pytest.mark.parametrize(
    ("metadata", "mark"),
    [
        (None, Mark("k", FIELD)),
        ({"invoice": 7}, Mark("k", FIELD)),
        ({FIELD: "other"}, Mark("k", FIELD)),
        ("k", Mark("k", FIELD)),
        ("order123", None),
        (7, None),
        (["k"], None),
    ],
)
def test_by_what_a_call_is_known(metadata, mark) -> None:
    """By its key, if its metadata contains one."""
    assert carry_key({"metadata": metadata}, Key("k", is_own=True), FIELD) == mark


@pytest.mark.parametrize(
    ("value", "is_fit"),
    [
        ("k-1", True),
        ("x" * 255, True),
        ("\u00e9 k", True),
        ("", False),
        ("x" * 256, False),
        (" k", False),
        ("k\u00a0", False),
        ("a\0b", False),
        ("\ud800", False),
        (7, False),
        (None, False),
    ],
)
def test_what_can_be_a_key(value, is_fit) -> None:
    """What an order is refused with can't be the key of a payout in a report."""
    assert is_key(value) is is_fit
    assert is_fit is not isinstance(_refusal(value), sg.InvalidRequest)


def _refusal(value: object) -> Exception | None:
    try:
        _ = choose_key(value, None, field="f", metadata_is_key=False, make=lambda: "fresh")
    except sg.InvalidRequest as error:
        return error
    return None if value is not None else sg.InvalidRequest("key", "is none")
