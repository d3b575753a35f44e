"""Records to bytes and back: exact, whole, and with a path to whatever doesn't fit."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import json_objects, json_values, requests, sessions

import smartglocal_async as sg
from smartglocal_async.codec import NotDecodable, codec, dump, parse

SAMPLES: Final = Path(__file__).parent / "samples"
V1, V2 = codec("v1"), codec("v2")
versions: Final = pytest.mark.parametrize("version", [V1, V2], ids=["v1", "v2"])


def complaint(wire: object, record: type, version=V1) -> str:
    """Give what a codec says about JSON that doesn't fit."""
    with pytest.raises(NotDecodable) as caught:
        version.structure(wire, record)
    return str(caught.value)


# The provider's page.


def test_the_pages_request() -> None:
    """The record of the page's example is its body, byte for byte but for the white space."""
    request = sg.CreateSession(amount_details=sg.AmountDetails(10_000, "usd"), metadata="order123")

    assert V1.encode(request) == (SAMPLES / "session-create.request.compact.json").read_bytes()
    assert V1.decode((SAMPLES / "session-create.request.json").read_bytes(), sg.CreateSession) == (
        request
    )


def test_the_pages_answer() -> None:
    """Every field of the page's answer, times as aware datetimes."""
    session = V1.structure(
        parse((SAMPLES / "session-create.ok.json").read_bytes())["session"], sg.Session
    )

    moment = datetime(2024, 5, 27, 2, 3, tzinfo=UTC)
    assert session == sg.Session(
        id="ps_3230", status=sg.SessionStatus.CREATED, created_at=moment, updated_at=moment
    )
    assert isinstance(session.status, sg.SessionStatus)


def test_the_pages_answer_as_printed_is_no_json() -> None:
    """The page has a comma after its last field; the codec doesn't guess."""
    with pytest.raises(json.JSONDecodeError):
        parse((SAMPLES / "session-create.ok.as-printed.txt").read_bytes())


@pytest.mark.parametrize(
    "name", ["session-create.request.json", "session-create.ok.json", "session-create.error.json"]
)
def test_json_text_survives(name) -> None:
    """What is parsed and written again says the same."""
    sample = (SAMPLES / name).read_bytes()

    assert parse(dump(parse(sample))) == parse(sample)


# Every instrument: record -> its wire form.

CARD_NUMBER: Final = "4242424242424242"
PAYMENT_WIRE: Final = [
    (
        sg.BankCard(
            number=CARD_NUMBER,
            expiration_month="05",
            expiration_year="25",
            security_code="123",
            cardholder_name="A B",
        ),
        {
            "type": "card",
            "card": {
                "type": "bank_card",
                "bank_card": {
                    "number": CARD_NUMBER,
                    "expiration_month": "05",
                    "expiration_year": "25",
                    "security_code": "123",
                    "cardholder_name": "A B",
                },
            },
        },
    ),
    (
        sg.EncryptedCard(number_hash="h"),
        {
            "type": "card",
            "card": {"type": "encrypted_card", "encrypted_card": {"number_hash": "h"}},
        },
    ),
    (
        sg.Recurrent(token="t", initiator="merchant"),  # noqa: S106
        {"type": "recurrent", "recurrent": {"token": "t", "initiator": "merchant"}},
    ),
    (
        sg.OtherInstrument({"type": "secured_card", "secured_card": {"google_pay": {}}}),
        {"type": "secured_card", "secured_card": {"google_pay": {}}},
    ),
]
PAYOUT_WIRE: Final = [
    *PAYMENT_WIRE,
    (
        sg.GlobalAccount(iban="DE89", description="salary", extra={"new_field": [1]}),
        {
            "type": "bank_account",
            "bank_account": {
                "system_type": "global",
                "global": {"iban": "DE89", "description": "salary", "new_field": [1]},
            },
        },
    ),
    (
        sg.RussianAccount(bik="044525974", account="40817"),
        {
            "type": "bank_account",
            "bank_account": {
                "system_type": "ru",
                "ru": {"bik": "044525974", "account": "40817"},
            },
        },
    ),
    (
        sg.FasterPayment(phone="79", bank_id="100000000069", description="d"),
        {
            "type": "bank_account",
            "bank_account": {
                "system_type": "faster_payment_system",
                "faster_payment_system": {
                    "phone": "79",
                    "bank_id": "100000000069",
                    "description": "d",
                },
            },
        },
    ),
    (
        sg.FasterPaymentVerification(phone="79", bank_id="100000000069"),
        {
            "type": "bank_account",
            "bank_account": {
                "system_type": "faster_payment_system_verification",
                "faster_payment_system_verification": {"phone": "79", "bank_id": "100000000069"},
            },
        },
    ),
    (
        sg.GlobalWallet(name="gcash", msisdn="63", description="d"),
        {
            "type": "wallet",
            "wallet": {
                "type": "global",
                "global": {"name": "gcash", "msisdn": "63", "description": "d"},
            },
        },
    ),
]


@pytest.mark.parametrize(("instrument", "wire"), PAYOUT_WIRE)
@pytest.mark.parametrize(
    ("version", "name"), [(V1, "payment_method"), (V2, "payout_details")], ids=["v1", "v2"]
)
def test_payout_instruments_on_the_wire(version, name, instrument, wire) -> None:
    """Each instrument has its wrapping, under the name that the version gives the field."""
    request = sg.CreateSession(payment_method=instrument)

    assert version.wire(request) == {name: wire}
    assert version.structure({name: wire}, sg.CreateSession) == request


@versions
@pytest.mark.parametrize(("instrument", "wire"), PAYMENT_WIRE)
def test_payment_instruments_on_the_wire(version, instrument, wire) -> None:
    """`payment_details` is named alike in both versions."""
    request = sg.CreateSession(payment_details=instrument)

    assert version.wire(request) == {"payment_details": wire}
    assert version.structure({"payment_details": wire}, sg.CreateSession) == request


@pytest.mark.parametrize(
    ("version", "name"), [(V1, "payout_details"), (V2, "payment_method")], ids=["v1", "v2"]
)
def test_the_other_versions_name_is_refused(version, name) -> None:
    """A name of the wrong version can make operations fail, so it is not let through."""
    assert complaint({name: PAYOUT_WIRE[0][1]}, sg.CreateSession, version) == (
        f"$.{name}: is no field of this record"
    )


@pytest.mark.parametrize(
    "wire",
    [
        {"type": "card", "card": {"last4": "4242", "brand": "visa", "bin": "424242"}},
        {"type": "card", "card": {"type": "tokenized_card", "tokenized_card": {"token": "t"}}},
        {"type": "card", "card": {"type": "bank_card"}},
        {"type": "card", "card": {"type": "bank_card", "bank_card": {}, "more": 1}},
        {"type": "card", "card": {"type": "bank_card", "bank_card": {}}, "more": 1},
        {"type": "card"},
        {"type": "card", "card": None},
        {"type": "bank_account", "bank_account": {"system_type": "local", "local": {}}},
        {"type": "bank_account", "bank_account": {"type": "global", "global": {}}},
        {"type": "wallet", "wallet": {"type": "qiwi", "qiwi": {"account": "1"}}},
        {"type": "crypto_wallet", "crypto_wallet": {"ton": {}}},
        {"type": "type"},
        {"type": ""},
    ],
)
def test_unknown_shapes_are_kept_whole(wire) -> None:
    """An instrument that no record fits is not taken apart, and nothing of it is lost."""
    request = V1.structure({"payment_method": wire}, sg.CreateSession)

    assert request.payment_method == sg.OtherInstrument(wire)
    assert V1.wire(request) == {"payment_method": wire}


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (7, "$.payment_method: expected an object, got int"),
        ([], "$.payment_method: expected an object, got list"),
        ({}, "$.payment_method: expected an object that tells its type"),
        ({"type": None}, "$.payment_method: expected an object that tells its type"),
        ({"type": []}, "$.payment_method: expected an object that tells its type"),
        (
            {"type": "card", "card": {"type": "bank_card", "bank_card": {"number": 4242}}},
            "$.payment_method.card.bank_card.number: expected str, got int",
        ),
        (
            {"type": "card", "card": {"type": "bank_card", "bank_card": {"number": "4242"}}},
            "$.payment_method.card.bank_card.number: expected 12 to 19 digits, without spaces",
        ),
        (
            {"type": "card", "card": {"type": "bank_card", "bank_card": {}}},
            "$.payment_method.card.bank_card.number: is missing",
        ),
        (
            {"type": "wallet", "wallet": {"type": "global", "global": None}},
            "$.payment_method.wallet.global: expected an object, got NoneType",
        ),
        (
            {"type": "recurrent", "recurrent": {"token": 1}},
            "$.payment_method.recurrent.token: expected str, got int",
        ),
    ],
)
def test_what_is_no_instrument(wire, said) -> None:
    """The path leads through the wrapping to the field."""
    assert complaint({"payment_method": wire}, sg.CreateSession) == said


def test_the_path_has_the_names_of_the_wire() -> None:
    """Under v2 a payout's instrument is complained of by its v2 name."""
    assert complaint({"payout_details": 7}, sg.CreateSession, V2) == (
        "$.payout_details: expected an object, got int"
    )


@pytest.mark.parametrize(("instrument", "wire"), PAYOUT_WIRE[len(PAYMENT_WIRE) :])
def test_a_payment_is_not_made_with_an_account(instrument, wire) -> None:
    """Accounts and wallets pay out only; both doors refuse them by the field's name."""
    said = complaint({"payment_details": wire}, sg.CreateSession)
    assert said.startswith("$.payment_details: expected an instrument of payments, got ")

    with pytest.raises(sg.InvalidRequest) as caught:
        sg.CreateSession(payment_details=instrument)
    assert caught.value.field == "CreateSession.payment_details"


# Exactness: wrong values for each field of a session, and what is said.

A_STR = [(None, "NoneType"), (1, "int"), (1.0, "float"), (True, "bool"), ([], "list"), ({}, "dict")]
SESSION: Final = {"id": "ps_1", "status": "created"}


@pytest.mark.parametrize(("value", "name"), A_STR)
@pytest.mark.parametrize("field", ["id", "status"])
def test_mandatory_text_of_a_session(field, value, name) -> None:
    """Nothing becomes text on its way in: not null, no number, no flag."""
    assert (
        complaint({**SESSION, field: value}, sg.Session) == f"$.{field}: expected str, got {name}"
    )


@pytest.mark.parametrize(("value", "name"), A_STR[1:])
@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("created_at", "an ISO 8601 time"),
        ("updated_at", "an ISO 8601 time"),
        ("next_action", "str"),
    ],
)
def test_optional_text_of_a_session(field, wanted, value, name) -> None:
    """What may be absent may be null, and nothing else that isn't text."""
    assert complaint({**SESSION, field: value}, sg.Session) == (
        f"$.{field}: expected {wanted}, got {name}"
    )
    assert getattr(V1.structure({**SESSION, field: None}, sg.Session), field) is None


@pytest.mark.parametrize(
    ("wire", "record", "said"),
    [
        ({}, sg.Session, "$.id: is missing; $.status: is missing"),
        (None, sg.Session, "$: expected an object, got NoneType"),
        ([], sg.Session, "$: expected an object, got list"),
        ({**SESSION, "error": "no"}, sg.Session, "$.error: expected an object, got str"),
        ({**SESSION, "error": {}}, sg.Session, "$.error.code: is missing"),
        ({**SESSION, "error": {"code": 5}}, sg.Session, "$.error.code: expected str, got int"),
        (
            {"amount_details": {"amount": 12.9, "currency": "usd"}},
            sg.CreateSession,
            "$.amount_details.amount: expected int, got float",
        ),
        (
            {"amount_details": {"amount": "100", "currency": "usd"}},
            sg.CreateSession,
            "$.amount_details.amount: expected int, got str",
        ),
        (
            {"amount_details": {"amount": True, "currency": "usd"}},
            sg.CreateSession,
            "$.amount_details.amount: expected int, got bool",
        ),
        (
            {"amount_details": {"amount": None, "currency": None}},
            sg.CreateSession,
            (
                "$.amount_details.amount: expected int, got NoneType; "
                "$.amount_details.currency: expected str, got NoneType"
            ),
        ),
        (
            {"amount_details": {"amount": 0, "currency": "usd"}},
            sg.CreateSession,
            "$.amount_details.amount: must be greater than zero",
        ),
        (
            {"amount_details": {"amount": 1}},
            sg.CreateSession,
            "$.amount_details.currency: is missing",
        ),
        (
            {"amount_details": {"amount": 1, "currency": "usd", "fee": 1}},
            sg.CreateSession,
            "$.amount_details.fee: is no field of this record",
        ),
        (
            {"payment_options": {"recurrent": "false"}},
            sg.CreateSession,
            "$.payment_options.recurrent: expected bool, got str",
        ),
        (
            {"payment_options": {"recurrent": 1}},
            sg.CreateSession,
            "$.payment_options.recurrent: expected bool, got int",
        ),
        (
            {"customer": {"contacts": {}}},
            sg.CreateSession,
            "$.customer.contacts: expected a list, got dict",
        ),
        (
            {"customer": {"contacts": [{"email": "a@b"}, {"email": 1}, 5]}},
            sg.CreateSession,
            (
                "$.customer.contacts[1].email: expected str, got int; "
                "$.customer.contacts[2]: expected an object, got int"
            ),
        ),
        (
            {"participant_details": {"sender": {"identity_document": {"id_number": 1}}}},
            sg.CreateSession,
            "$.participant_details.sender.identity_document.id_number: expected str, got int",
        ),
        ({"session_id": 3230}, sg.SessionRef, "$.session_id: expected str, got int"),
    ],
)
def test_what_does_not_fit_is_named(wire, record, said) -> None:
    """Every field that doesn't fit, by its path on the wire, and why."""
    assert complaint(wire, record) == said


@pytest.mark.parametrize("secret", ["4242 4242 4242 4242", "sk_live_secret"])
def test_complaints_do_not_quote(secret) -> None:
    """What was found is told by its type; the value may be anything, and secret."""
    wire = {
        "type": "card",
        "card": {"type": "bank_card", "bank_card": {"number": secret, "security_code": [secret]}},
    }
    assert secret not in complaint({"payment_method": wire}, sg.CreateSession)
    assert secret not in complaint({**SESSION, "created_at": secret}, sg.Session)


# Open words, unknown fields, times.


@pytest.mark.parametrize("status", list(sg.SessionStatus))
def test_known_statuses_are_words_of_the_enum(status) -> None:
    """A known status compares as an enum and as plain text."""
    session = V1.structure({**SESSION, "status": str(status)}, sg.Session)
    assert session.status is status


@pytest.mark.parametrize("status", ["", "canceled", "CREATED", "brand_new"])
def test_unknown_statuses_stay_the_words_they_are(status) -> None:
    """A new word from the provider breaks nothing, and is not mended."""
    session = V1.structure({**SESSION, "status": status, "next_action": status}, sg.Session)
    assert (session.status, session.next_action) == (status, status)
    assert type(session.status) is str


@pytest.mark.parametrize("action", list(sg.NextAction))
def test_known_actions(action) -> None:
    """What the provider awaits, as a word of the enum."""
    session = V1.structure({**SESSION, "next_action": str(action)}, sg.Session)
    assert session.next_action is action


def test_unknown_fields_of_a_session_are_kept() -> None:
    """Lists of operations have no record yet; they are all there in `extra`."""
    more = {"payments": [{"id": "po_1"}], "acquiring_payments": [], "extra": 1, "finished_at": "x"}
    session = V1.structure({**SESSION, **more}, sg.Session)

    assert session.extra == more
    assert V1.wire(session) == {**SESSION, **more}


def test_the_error_of_a_session() -> None:
    """A session's own error is a record; what else it says is kept."""
    wire = {"code": "c", "description": None, "reject_reasons": [{"rule_alias": "r"}]}
    session = V1.structure({**SESSION, "error": wire}, sg.Session)

    assert session.error == sg.ProviderError(
        code="c", extra={"reject_reasons": [{"rule_alias": "r"}]}
    )


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-05-27T02:03:00.000000Z", datetime(2024, 5, 27, 2, 3, tzinfo=UTC)),
        ("2024-05-27T02:03:00.000007Z", datetime(2024, 5, 27, 2, 3, 0, 7, tzinfo=UTC)),
        ("2024-05-27T02:03:00Z", datetime(2024, 5, 27, 2, 3, tzinfo=UTC)),
        (
            "2024-04-10T19:53:00+03:00",
            datetime(2024, 4, 10, 19, 53, tzinfo=timezone(timedelta(hours=3))),
        ),
    ],
)
def test_times_are_aware(text, moment) -> None:
    """Microseconds and offset survive; the provider prints both forms."""
    session = V1.structure({**SESSION, "created_at": text}, sg.Session)
    assert session.created_at == moment
    assert session.created_at.utcoffset() == moment.utcoffset()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2024-05-27T02:03:00", "expected a time with its offset from UTC"),
        ("2024-05-27", "expected a time with its offset from UTC"),
        ("", "expected an ISO 8601 time"),
        ("yesterday", "expected an ISO 8601 time"),
        ("2024-13-27T02:03:00Z", "expected an ISO 8601 time"),
        ("1716775380", "expected an ISO 8601 time"),
    ],
)
def test_times_without_an_offset_are_refused(text, said) -> None:
    """A time that could be any of 26 is no time."""
    assert complaint({**SESSION, "created_at": text}, sg.Session) == f"$.created_at: {said}"


def test_times_are_written_in_the_providers_form() -> None:
    """UTC with six digits and Z, whatever zone the datetime is in."""
    moment = datetime(2024, 5, 27, 5, 3, 0, 7, tzinfo=timezone(timedelta(hours=3)))
    session = sg.Session(id="1", status="x", created_at=moment)

    assert V1.wire(session)["created_at"] == "2024-05-27T02:03:00.000007Z"


# What is left out, and what isn't.


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (sg.CreateSession(), b"{}"),
        (sg.CreateSession(metadata=0), b'{"metadata":0}'),
        (sg.CreateSession(metadata=False), b'{"metadata":false}'),
        (sg.CreateSession(metadata=""), b'{"metadata":""}'),
        (sg.CreateSession(metadata=[]), b'{"metadata":[]}'),
        (sg.CreateSession(metadata={}), b'{"metadata":{}}'),
        (sg.CreateSession(metadata={"a": None}), b'{"metadata":{"a":null}}'),
        (sg.CreateSession(metadata=(1, (2,))), b'{"metadata":[1,[2]]}'),
        (sg.CreateSession(metadata="\u00e9\U0001f600/\u2028"), None),
        (
            sg.CreateSession(payment_options=sg.PaymentOptions(recurrent=False)),
            b'{"payment_options":{"recurrent":false}}',
        ),
        (sg.CreateSession(customer=sg.Customer()), b'{"customer":{}}'),
        (sg.SessionRef("ps_1"), b'{"session_id":"ps_1"}'),
    ],
)
def test_absent_fields_are_left_out_and_nothing_else(record, text) -> None:
    """None means absent; false, zero and empty things are things."""
    written = V1.encode(record)
    assert written == text if text else written == f'{{"metadata":"{record.metadata}"}}'.encode()


@pytest.mark.parametrize(
    ("wire", "path"),
    [
        ({"metadata": {"a": [1, Decimal(1)]}}, "request.metadata.a[1]"),
        ({"metadata": float("nan")}, "request.metadata"),
        ({"metadata": "\ud800"}, "request.metadata"),
        ({"metadata": [10**5000]}, "request.metadata[0]"),
    ],
)
def test_dump_names_what_is_no_json(wire, path) -> None:
    """Metadata can be changed after the record was made; then the writer finds it."""
    with pytest.raises(sg.InvalidRequest) as caught:
        dump(wire)
    assert caught.value.field == path


@pytest.mark.parametrize(
    "body", [b"", b"{", b"NaN", b"[Infinity]", b"-Infinity", b"\xff", b"{'a': 1}", b"[" * 100_000]
)
def test_parse_takes_json_only(body) -> None:
    """No NaN, no other text encoding, no nesting without end."""
    with pytest.raises(ValueError):  # noqa: PT011 - its subclasses say which
        parse(body)


# Laws.


@versions
@given(request=requests)
def test_requests_that_are_encoded_decode(version, request) -> None:
    """A request survives the wire, under the names of either version."""
    assert version.decode(version.encode(request), sg.CreateSession) == request


@versions
@given(session=sessions)
def test_sessions_that_are_encoded_decode(version, session) -> None:
    """A session survives the wire; a moment is the same in UTC."""
    assert version.decode(version.encode(session), sg.Session) == session


@given(unknown=json_objects)
def test_unknown_fields_survive(unknown) -> None:
    """Whatever the provider adds comes out as it went in."""
    named = {f.name for f in attrs.fields(sg.Session)} - {"extra"}
    more = {name: value for name, value in unknown.items() if name not in named}

    session = V1.decode(dump({**SESSION, **more}), sg.Session)

    assert session.extra == more
    assert V1.wire(session) == {**SESSION, **more}


@given(value=json_values)
def test_any_json_is_metadata(value) -> None:
    """Metadata goes out and comes back as it was, down to the type of a number."""
    session = V1.decode(dump({**SESSION, "metadata": value}), sg.Session)

    assert repr(session.metadata) == repr(value)
    assert parse(V1.encode(sg.CreateSession(metadata=value))).get("metadata") == value


@given(wire=st.recursive(json_values, lambda inner: st.fixed_dictionaries({"type": inner})))
def test_no_answer_crashes_the_reader(wire) -> None:
    """Whatever JSON comes in place of a record, it fits or is `NotDecodable`."""
    for record in (sg.Session, sg.CreateSession, sg.AmountDetails):
        for shape in (wire, {**SESSION, "error": wire}, {"payment_method": wire}):
            try:
                V1.structure(shape, record)
            except NotDecodable as error:
                assert error.complaints  # noqa: PT017 - the law is that nothing else is raised
