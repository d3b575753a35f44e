"""The records of requests: every documented field, exact types, secrets that stay inside."""

import copy
import pickle
import types
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Union, get_args, get_origin

import attrs
import pytest
from hypothesis import given
from strategies import INSTRUMENTS, payout_instruments, requests, sessions

import smartglocal_async as sg

NUMBER: Final = "4242424242424242"
# Record -> the least it takes.
LEAST: Final = {
    sg.BankCard: {"number": NUMBER},
    sg.EncryptedCard: {"number_hash": "h"},
    sg.GlobalAccount: {},
    sg.RussianAccount: {"bik": "b", "account": "a"},
    sg.FasterPayment: {"phone": "p", "bank_id": "b"},
    sg.FasterPaymentVerification: {"phone": "p", "bank_id": "b"},
    sg.GlobalWallet: {"name": "n", "msisdn": "m"},
    sg.Recurrent: {"token": "t"},
    sg.Contact: {},
    sg.Customer: {},
    sg.IdentityDocument: {},
    sg.Participant: {},
    sg.ParticipantDetails: {},
    sg.PaymentOptions: {},
    sg.CreateSession: {},
    sg.SessionRef: {"session_id": "s"},
}
records: Final = pytest.mark.parametrize("record", LEAST, ids=lambda record: record.__name__)
EXTENSIBLE: Final = [r for r in LEAST if "extra" in attrs.fields_dict(r)]
extensible: Final = pytest.mark.parametrize("record", EXTENSIBLE, ids=lambda r: r.__name__)

# The fields of the provider's pages (and, where it has none, of the sister platform's SDK).
FIELDS: Final = {
    sg.BankCard: "number expiration_month expiration_year security_code cardholder_name",
    sg.EncryptedCard: "number_hash expiration_date_hash security_code_hash cardholder_name_hash",
    sg.GlobalAccount: "iban swift_bic_code bank_account_number account_number branch_number "
    "sort_code routing_code bsb_number account_type description",
    sg.RussianAccount: "bik account full_name description inn kpp",
    sg.FasterPayment: "phone bank_id description",
    sg.FasterPaymentVerification: "phone bank_id",
    sg.GlobalWallet: "name msisdn description",
    sg.Recurrent: "token initiator",
    sg.Contact: "email phone",
    sg.Customer: "reference contacts",
    sg.IdentityDocument: "id_type id_number id_expiration_date issue_date division_code issued_by",
    sg.Participant: "full_name first_name last_name middle_name company_name country_iso3 city "
    "postal_code address_line state street ipv4 email bank_name currency registration_number "
    "date_of_incorporation msisdn code swift_bic_code identity_document reference tax_reference "
    "country_iso2 building flat ipv6 document account description beneficiary_id wallet_id "
    "citizenship_country_iso_3 date_of_birth",
    sg.ParticipantDetails: "sender recipient",
    sg.PaymentOptions: "return_url recurrent",
    sg.CreateSession: "payment_method payment_details amount_details participant_details "
    "customer payment_options metadata",
    sg.SessionRef: "session_id",
}


@pytest.mark.parametrize(
    ("record", "names"), FIELDS.items(), ids=lambda x: getattr(x, "__name__", "")
)
def test_every_documented_field_is_there(record, names) -> None:
    """Under the name of the page, and no other; what a page adds goes into `extra`."""
    assert set(attrs.fields_dict(record)) - {"extra"} == set(names.split())


@records
def test_only_what_every_page_demands_is_mandatory(record) -> None:
    """The least a record takes, and what is missing is Python's own complaint."""
    mandatory = {f.name for f in attrs.fields(record) if f.default is attrs.NOTHING}
    assert record(**LEAST[record])
    assert mandatory == set(LEAST[record])


@records
def test_records_are_frozen_and_slotted(record) -> None:
    """No field changes, and a misspelt one is not made."""
    made = record(**LEAST[record])
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(made, attrs.fields(record)[0].name, "other")
    assert not hasattr(made, "__dict__")


@pytest.mark.parametrize("record", [r for r in LEAST if r is not sg.SessionRef])
def test_fields_are_given_by_name(record) -> None:
    """Order is nothing to rely on among dozens of texts."""
    with pytest.raises(TypeError, match="positional"):
        record(*LEAST[record].values(), "x")


# Types, field by field.


def members(annotation: object) -> tuple[Any, ...]:
    """Give what a field may be."""
    union = get_origin(annotation) in {Union, types.UnionType}
    return get_args(annotation) if union else (annotation,)


class Word(StrEnum):
    """Text, too."""

    ONE = "one"


FIELD_TYPES: Final = [
    pytest.param(record, field.name, members(field.type), id=f"{record.__name__}.{field.name}")
    for record in LEAST
    for field in attrs.fields(record)
    if field.name not in {"extra", "metadata"}
]
STRANGERS: Final = [None, "text", b"bytes", 1, True, 1.5, Decimal(1), [], {}, object()]


@pytest.mark.parametrize(("record", "name", "wanted"), FIELD_TYPES)
def test_nothing_is_converted_on_its_way_in(record, name, wanted) -> None:
    """A value of another type is refused, by the name of the field and of the type."""
    for stranger in STRANGERS:
        if type(stranger) in wanted:
            continue
        with pytest.raises(sg.InvalidRequest) as caught:
            record(**{**LEAST[record], name: stranger})
        assert caught.value.field == f"{record.__name__}.{name}"
        assert caught.value.problem.endswith(f"got {type(stranger).__name__}") or (
            name == "number" and "12 to 19 digits" in caught.value.problem
        )


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (p.values[0], p.values[1])
        for p in FIELD_TYPES
        if str in p.values[2] and p.values[1] != "number"
    ],
)
def test_text_is_unicode(record, name) -> None:
    """Half a surrogate pair can't be sent, and is found before anything is."""
    for good in ("", "\u00e9\U0001f600", Word.ONE):
        if good or record is not sg.SessionRef:
            assert getattr(record(**{**LEAST[record], name: good}), name) == good
    with pytest.raises(sg.InvalidRequest) as caught:
        record(**{**LEAST[record], name: "a\ud800"})
    assert caught.value.field == f"{record.__name__}.{name}"


@pytest.mark.parametrize(
    "number",
    ["", "4242", "4" * 11, "4" * 20, "4242 4242 4242 4242", "4242-4242-4242-4242", "4242a42424242",
     "\u0664" * 16, f"{NUMBER}\n"],
)  # fmt: skip
def test_card_numbers(number) -> None:
    """12 to 19 digits; the refusal never quotes what was given."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.BankCard(number=number)
    assert str(caught.value) == "BankCard.number: expected 12 to 19 digits, without spaces"


@pytest.mark.parametrize("number", ["4" * 12, NUMBER, "4" * 19])
def test_card_numbers_of_any_length(number) -> None:
    """As long as a card's number can be."""
    assert sg.BankCard(number=number).number == number


@pytest.mark.parametrize("contacts", [("a@b",), (sg.Contact(), None), ({"email": "a@b"},)])
def test_contacts_are_contacts(contacts) -> None:
    """What is in the tuple is checked as well as the tuple."""
    with pytest.raises(sg.InvalidRequest, match=r"Customer\.contacts"):
        sg.Customer(contacts=contacts)


@pytest.mark.parametrize("session_id", ["", 3230, None])
def test_session_ids(session_id) -> None:
    """A session is named by text, and by some of it."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.SessionRef(session_id)
    assert caught.value.field == "SessionRef.session_id"


def test_a_session_is_for_a_payout_or_a_payment() -> None:
    """Both instruments at once are a mistake; the refusal tells which fields go together."""
    card = sg.EncryptedCard(number_hash="h")
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.CreateSession(payment_method=card, payment_details=card)
    assert caught.value.field == "CreateSession.payment_method"
    assert "is given together with payment_details" in caught.value.problem


@pytest.mark.parametrize(
    ("wire", "field"),
    [
        (None, "OtherInstrument.wire"),
        ([], "OtherInstrument.wire"),
        (types.MappingProxyType({"type": "x"}), "OtherInstrument.wire"),
        ({}, "OtherInstrument.wire.type"),
        ({"type": 7}, "OtherInstrument.wire.type"),
        ({"type": "x", "x": {1: 2}}, "OtherInstrument.wire.x"),
        ({"type": "x", "x": [b""]}, "OtherInstrument.wire.x[0]"),
    ],
)
def test_other_instruments(wire, field) -> None:
    """Any JSON object that tells its type."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.OtherInstrument(wire)
    assert caught.value.field == field
    assert sg.OtherInstrument({"type": "iban"}).type == "iban"


# JSON inside: metadata and extra.

DEEP: Final[dict[str, Any]] = {}
DEEP["self"] = DEEP
NO_JSON: Final = [
    (object(), "", "object isn't JSON"),
    (b"x", "", "bytes isn't JSON"),
    (Decimal(1), "", "Decimal isn't JSON"),
    ({1, 2}, "", "set isn't JSON"),
    (float("nan"), "", "is not a finite number"),
    (float("-inf"), "", "is not a finite number"),
    ("\ud800", "", "isn't Unicode"),
    pytest.param(10**5000, "", "thousands of digits", id="huge"),
    ({"a": {"b": [0, object()]}}, ".a.b[1]", "object isn't JSON"),
    ({"a": (0, {"b": float("inf")})}, ".a[1].b", "is not a finite number"),
    ({1: 2}, "", "a name that isn't text but int"),
    ({"a": {None: 2}}, ".a", "a name that isn't text but NoneType"),
    ({"a": {"\ud800": 2}}, ".a", "isn't Unicode"),
]


@pytest.mark.parametrize(("value", "path", "problem"), NO_JSON)
def test_metadata_is_json(value, path, problem) -> None:
    """The refusal leads to the place inside, and says what is wrong there."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.CreateSession(metadata=value)
    assert caught.value.field == f"CreateSession.metadata{path}"
    assert problem in caught.value.problem


@extensible
@pytest.mark.parametrize(("value", "path", "problem"), NO_JSON)
def test_extra_fields_are_json(record, value, path, problem) -> None:
    """The same for what a record has no name for."""
    with pytest.raises(sg.InvalidRequest) as caught:
        record(**LEAST[record], extra={"new": value})
    assert caught.value.field == f"{record.__name__}.extra.new{path}"
    assert problem in caught.value.problem


@pytest.mark.parametrize("metadata", [DEEP, [DEEP]])
def test_metadata_that_contains_itself(metadata) -> None:
    """A circle is found, and not walked for ever."""
    with pytest.raises(sg.InvalidRequest, match="is nested deeper than 64; does it contain itself"):
        sg.CreateSession(metadata=metadata)


@extensible
@pytest.mark.parametrize("extra", [None, [], "text", 1, [("a", 1)]])
def test_extra_is_an_object(record, extra) -> None:
    """Names and values, and nothing else."""
    with pytest.raises(sg.InvalidRequest) as caught:
        record(**LEAST[record], extra=extra)
    assert str(caught.value) == (
        f"{record.__name__}.extra: expected an object of names and values, "
        f"got {type(extra).__name__}"
    )


@extensible
def test_extra_is_for_fields_without_a_name(record) -> None:
    """A field that the record has is set there, lest it be sent twice."""
    for name in attrs.fields_dict(record):
        with pytest.raises(sg.InvalidRequest) as caught:
            record(**LEAST[record], extra={name: "x"})
        assert caught.value.field == f"{record.__name__}.extra.{name}"
    assert record(**LEAST[record], extra=types.MappingProxyType({"new": 1})).extra["new"] == 1


# Secrets.

SECRET: Final = {
    sg.BankCard: "expiration_month expiration_year security_code cardholder_name",
    sg.EncryptedCard: FIELDS[sg.EncryptedCard],
    sg.GlobalAccount: "iban bank_account_number account_number",
    sg.RussianAccount: "account inn",
    sg.FasterPayment: "phone",
    sg.FasterPaymentVerification: "phone",
    sg.GlobalWallet: "msisdn",
    sg.Recurrent: "token",
    sg.Contact: "email phone",
    sg.IdentityDocument: "id_number",
    sg.Participant: "email msisdn ipv4 ipv6 account wallet_id tax_reference document date_of_birth",
}


@pytest.mark.parametrize(
    ("record", "name"), [(record, name) for record in SECRET for name in SECRET[record].split()]
)
def test_secret_fields_show_in_no_repr(record, name) -> None:
    """That there is a value shows, and nothing of it."""
    made = record(**{**LEAST[record], name: "s3cr3t"})
    assert f"{name}=***" in repr(made)
    assert "s3cr3t" not in f"{made!r}{made}"


def test_a_card_number_shows_in_no_repr() -> None:
    """Not a digit of it, alone or in a request."""
    card = sg.BankCard(number=NUMBER, security_code="987")
    for shown in (card, sg.CreateSession(payment_method=card), [card], {"card": card}):
        assert "4242" not in repr(shown)
        assert "987" not in repr(shown)
    assert repr(card) == (
        "BankCard(number=***, expiration_month=None, expiration_year=None, "
        "security_code=***, cardholder_name=None, extra=***)"
    )


@extensible
def test_extra_shows_in_no_repr(record) -> None:
    """What a page adds may be secret as well."""
    assert "s3cr3t" not in repr(record(**LEAST[record], extra={"new": "s3cr3t"}))


def test_other_instruments_show_nothing() -> None:
    """Nobody knows what is in them."""
    assert repr(sg.OtherInstrument({"type": "x", "x": "s3cr3t"})) == "OtherInstrument(wire=***)"


@given(instrument=payout_instruments)
def test_no_refusal_quotes_a_value(instrument) -> None:
    """Whatever is handed to the wrong field, its content stays out of the error."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.CreateSession(customer=instrument)
    assert str(caught.value) == (
        f"CreateSession.customer: expected Customer, got {type(instrument).__name__}"
    )


# Copies and pickles.


@pytest.mark.parametrize("record", [r for r in LEAST if r is not sg.BankCard])
def test_records_copy_and_pickle(record) -> None:
    """A request may wait in a queue."""
    made = record(**LEAST[record])
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301
    assert copy.copy(made) == copy.deepcopy(made) == attrs.evolve(made) == made


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_open_card_is_not_pickled(protocol) -> None:
    """Neither alone nor inside a request; the refusal names what to use instead."""
    card = sg.BankCard(number=NUMBER)
    for holder in (card, [card], sg.CreateSession(payment_details=card)):
        with pytest.raises(TypeError, match="hand over an EncryptedCard") as caught:
            pickle.dumps(holder, protocol)
        assert NUMBER not in str(caught.value)


def test_an_open_card_copies_as_itself() -> None:
    """Copying a request is no way to a second number in memory."""
    card = sg.BankCard(number=NUMBER)
    request = sg.CreateSession(payment_method=card)
    assert copy.copy(card) is copy.deepcopy(card) is card
    assert copy.deepcopy(request).payment_method is card


@given(session=sessions)
def test_sessions_copy_and_pickle(session) -> None:
    """An answer may be kept as well as a request."""
    assert pickle.loads(pickle.dumps(session)) == copy.deepcopy(session) == session  # noqa: S301


@given(request=requests)
def test_requests_are_values(request) -> None:
    """Equal requests hash alike, whatever JSON is in them."""
    again = copy.deepcopy(request)
    assert (again, hash(again)) == (request, hash(request))
    assert isinstance(repr(request), str)


@pytest.mark.parametrize("record", INSTRUMENTS)
def test_every_instrument_is_one_for_payouts(record) -> None:
    """And three of them are for payments, besides those without a record."""
    made = record(**LEAST[record])
    pays = {sg.BankCard, sg.EncryptedCard, sg.Recurrent}

    assert sg.CreateSession(payment_method=made).payment_method is made
    assert isinstance(made, sg.PayoutInstrument)
    assert isinstance(made, sg.PaymentInstrument) is (record in pays)


def test_mappings_are_kept_as_they_are() -> None:
    """A record copies nothing of the caller's."""
    extra: Mapping[str, int] = {"new": 1}
    assert sg.Contact(extra=extra).extra is extra
