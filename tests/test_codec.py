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
from strategies import ANSWERS, REQUESTS, json_objects, json_values, sessions

import smartglocal_async as sg
from smartglocal_async.codec import NotDecodable, codec, dump, parse
from smartglocal_async.values.events import EVENTS

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


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        (field, value, name)
        for field in ("id", "status")
        for value, name in A_STR
        if (field, name) != ("id", "int")
    ],
)
def test_mandatory_text_of_a_session(field, value, name) -> None:
    """Nothing becomes text on its way in: not null, no flag, and of numbers only a whole id."""
    assert (
        complaint({**SESSION, field: value}, sg.Session) == f"$.{field}: expected str, got {name}"
    )


@pytest.mark.parametrize(("value", "name"), A_STR)
@pytest.mark.parametrize("field", ["created_at", "updated_at", "finished_at", "next_action"])
def test_optional_text_of_a_session(field, value, name) -> None:
    """What isn't text is not made text: it is kept as it came, or absent if it is empty."""
    session = V1.structure({**SESSION, field: value}, sg.Session)

    assert getattr(session, field) is None
    assert session.extra == ({} if name in {"NoneType", "list", "dict"} else {field: value})


@pytest.mark.parametrize(
    ("wire", "record", "said"),
    [
        ({}, sg.Session, "$.id: is missing; $.status: is missing"),
        (None, sg.Session, "$: expected an object, got NoneType"),
        ([], sg.Session, "$: expected an object, got list"),
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
    assert secret not in complaint({**SESSION, "status": [secret]}, sg.Session)


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


def test_unknown_fields_are_kept_where_they_were() -> None:
    """At every depth of an answer, in `extra`, and written again at their place."""
    more = {"extra": 1, "x_new": {"x": [None]}}
    wire = {
        **SESSION,
        **more,
        "error": {"code": "c", "reject_reasons": [{"rule_alias": "r", **more}], **more},
        "payments": [
            {
                "id": "po_1",
                "status": "pending",
                "payment_method": {"type": "card", "card": {"last4": "4242", **more}},
                "transaction_info": {"rrn": "1", **more},
                "participant_details": {"sender": {"city": "c", "x_new": 1}, "x_new": 2},
                **more,
            }
        ],
        "acquiring_payments": [
            {
                "id": "pm_1",
                "status": "pending",
                "refunds": [{"id": "rf_1", "status": "accepted", **more}],
                "recurrent": {"token": "t", **more},
                "customer_interaction": {
                    "type": "redirect",
                    "redirect": {"url": "u", **more},
                    "inform": {"qr": {"content": "c", **more}, **more},
                    **more,
                },
                "amounts": {"fee": {"merchant_fee": {"amount": 1, "currency": "usd"}, **more}},
                **more,
            }
        ],
    }
    session = V1.structure(wire, sg.Session)

    assert session.extra == more
    assert session.payout_list[0].extra == more
    assert session.payment_list[0].refunds[0].extra == more
    assert parse(V1.encode(session)) == wire


def test_the_error_of_a_session() -> None:
    """A session's own error is a record; what else it says is kept."""
    wire = {"code": "c", "description": None, "reject_reasons": [{"rule_alias": "r"}], "x": 1}
    session = V1.structure({**SESSION, "error": wire}, sg.Session)

    assert session.error == sg.ProviderError(
        code="c", reject_reasons=(sg.RejectReason(rule_alias="r"),), extra={"x": 1}
    )


# The payouts and payments of a session.

PAYOUT: Final = {"id": "po_1", "status": "succeeded"}
PAYMENT: Final = {"id": "pm_1", "status": "succeeded"}
REFUND: Final = {"id": "rf_1", "status": "accepted"}


def payout(version=V1, name: str = "payments", **wire: object) -> sg.Payout:
    """Read a session with one payout, and give that."""
    session = version.structure({**SESSION, name: [{**PAYOUT, **wire}]}, sg.Session)
    return session.payout_list[0]


def payment(**wire: object) -> sg.Payment:
    """Read a session with one payment, and give that."""
    session = V1.structure({**SESSION, "acquiring_payments": [{**PAYMENT, **wire}]}, sg.Session)
    return session.payment_list[0]


@versions
@pytest.mark.parametrize("name", ["payments", "payout_list"])
@pytest.mark.parametrize("instrument", ["payment_method", "payout_details"])
def test_answers_may_use_either_versions_names(version, name, instrument) -> None:
    """Which names a webhook has is not known, so both are understood."""
    wire = {"type": "card", "card": {"last4": "4242"}}
    read = payout(version, name, **{instrument: wire})
    assert read == sg.Payout(
        id="po_1",
        status=sg.OperationStatus.SUCCEEDED,
        payment_method=sg.MaskedCard(last4="4242"),
    )


@pytest.mark.parametrize(("version", "own"), [(V1, "payments"), (V2, "payout_list")])
def test_where_both_names_are_given(version, own) -> None:
    """The version's own counts, whichever comes first, and nothing of the other is lost."""
    both = {own: [PAYOUT], ({"payments", "payout_list"} - {own}).pop(): [REFUND]}
    for lists in (both, dict(reversed(both.items()))):
        session = version.structure({**SESSION, **lists}, sg.Session)
        assert [item.id for item in session.payout_list] == ["po_1"]
        assert parse(version.encode(session)) == {**SESSION, **lists}


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (lambda word: payout(status=word).status, sg.OperationStatus),
        (lambda word: payment(status=word).status, sg.OperationStatus),
        (
            lambda word: payment(refunds=[{**REFUND, "status": word}]).refunds[0].status,
            sg.RefundStatus,
        ),
        (
            lambda word: payment(customer_interaction={"type": word}).customer_interaction.type,
            sg.InteractionType,
        ),
    ],
    ids=["payout", "payment", "refund", "interaction"],
)
def test_words_inside_a_session(read, words) -> None:
    """Known ones are words of the enum; new ones stay the text they are."""
    for word in words:
        assert read(str(word)) is word
    for word in ("", "canceled", "PENDING", "brand_new"):
        assert (read(word), type(read(word))) == (word, str)


@pytest.mark.parametrize(
    ("amount", "currency", "read"),
    [
        (10_000, "usd", sg.AmountDetails(10_000, "usd")),
        (10_000, "USD", sg.Amount(10_000, "usd")),
        ("10000", "rub", sg.Amount(10_000, "rub")),
        ("-5", "rub", sg.Amount(-5, "rub")),
        (10_000.0, "usd", sg.Amount(10_000, "usd")),
        (0, "eur", sg.Amount(0, "eur")),
        (-1, "eur", sg.Amount(-1, "eur")),
        (10**40, "eur", sg.Amount(10**40, "eur")),
        (7, "usdt", sg.Amount(7, "usdt")),
        (7, "", sg.Amount(7, "")),
    ],
)
def test_amounts_in_answers(amount, currency, read) -> None:
    """Zero, a debt, digits as text and a currency of nobody's list are shown as they are."""
    shown = payout(amount_details={"amount": amount, "currency": currency}).amount_details
    assert (shown, type(shown)) == (read, sg.Amount)


@pytest.mark.parametrize(
    "wire",
    [
        {"amount": 1.5, "currency": "usd"},
        {"amount": float("inf"), "currency": "usd"},
        {"amount": True, "currency": "usd"},
        {"amount": None, "currency": "usd"},
        {"amount": "1.00", "currency": "usd"},
        {"amount": " 1", "currency": "usd"},
        {"amount": "\u0661", "currency": "usd"},
        {"amount": "1" * 31, "currency": "usd"},
        {"amount": 1, "currency": 840},
        {"amount": 1},
        {"currency": "usd"},
        {},
    ],
)
def test_what_is_no_amount_in_an_answer(wire) -> None:
    """Money is not guessed: it is kept as it came. A wallet is nothing without it."""
    read = payout(amount_details=wire)
    assert (read.amount_details, read.status) == (None, "succeeded")
    assert read.extra == ({"amount_details": wire} if wire else {})
    assert complaint({"id": "w", "amount_details": wire}, sg.Wallet).startswith("$.amount_details:")


@pytest.mark.parametrize(
    ("wire", "read"),
    [
        (
            {"type": "card", "card": {"last4": "4242", "brand": "visa", "bin": "424242"}},
            sg.MaskedCard(last4="4242", brand="visa", bin="424242"),
        ),
        ({"type": "card", "card": {"card_id": "c"}}, sg.MaskedCard(card_id="c")),
        ({"type": "card", "card": {}}, sg.MaskedCard()),
        (
            {"type": "card", "card": {"type": "bank_card", "bank_card": {"number": CARD_NUMBER}}},
            sg.BankCard(number=CARD_NUMBER),
        ),
        ({"type": "recurrent", "recurrent": {"token": "t"}}, sg.Recurrent(token="t")),  # noqa: S106
        *(
            (wire, sg.OtherInstrument(wire))
            for wire in (
                {"type": "card", "card": {"last4": 4242}},
                {"type": "card", "card": {"last4": "4242"}, "more": 1},
                {
                    "type": "card",
                    "card": {"type": "bank_card", "bank_card": {"number": "424242******4242"}},
                },
                {"type": "wallet", "wallet": {"type": "global", "global": {"name": "w"}}},
                {"type": "internet_banking", "internet_banking": {"type": "pix"}},
            )
        ),
    ],
)
def test_instruments_in_answers(wire, read) -> None:
    """A card as it is shown is a `MaskedCard`; what is shown need not be payable."""
    assert payout(payment_method=wire).payment_method == read
    assert payment(payment_details=wire).payment_details == read
    assert parse(V1.encode(payment(payment_details=wire)))["payment_details"] == wire


@pytest.mark.parametrize("kind", ["bank_card", "encrypted_card"])
def test_a_card_without_its_wrapping(kind) -> None:
    """Is kept in an answer as it came, and refused in a request."""
    wire = {"type": kind, kind: {"number": CARD_NUMBER}}

    assert payout(payment_method=wire).extra == {"payment_method": wire}
    said = complaint({"payment_method": wire}, sg.CreateSession)
    assert said.startswith("$.payment_method.")
    assert "stands inside a card" in said
    assert CARD_NUMBER not in said


def test_the_description_of_an_error_shows_no_card() -> None:
    """In a session and in what is in it, read or made."""
    told = {"code": "c", "description": f"card {CARD_NUMBER} declined"}
    masked = "card *** declined"

    assert V1.structure({**SESSION, "error": told}, sg.Session).error.description == masked
    assert payout(error=told).error.description == masked
    assert payment(refunds=[{**REFUND, "error": told}]).refunds[0].error.description == masked
    assert sg.ProviderError(**told).description == masked


UNREADABLE: Final = [
    ("created_at", "2024-05-27 02:03:00"),
    ("finished_at", 1716775380),
    ("customer", {"contacts": [7]}),
    ("participant_details", {"sender": {"postal_code": 1000}}),
    ("payment_method", "card"),
    ("payment_method", {"card": {}}),
    ("customer_interaction", {"redirect": {}}),
    ("amounts", {"gross": {"amount": "ten", "currency": "usd"}}),
    ("transaction_info", {"rrn": 7}),
    ("error", {"description": "no code"}),
]


@pytest.mark.parametrize(("field", "wire"), UNREADABLE)
def test_a_description_that_can_not_be_read_hides_no_payout(field, wire) -> None:
    """That money moved is read all the same; the description is kept as it came."""
    amount = {"amount": 5, "currency": "usd"}
    read = payout(**{field: wire}, amount_details=amount, x_new=1)

    assert read == sg.Payout(
        id="po_1",
        status=sg.OperationStatus.SUCCEEDED,
        amount_details=sg.AmountDetails(5, "usd"),
        extra={field: wire, "x_new": 1},
    )
    assert parse(V1.encode(read)) == {
        **PAYOUT, "amount_details": amount, field: wire, "x_new": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "wire"),
    [
        *(row for row in UNREADABLE if row[0] != "payment_method"),
        ("payment_details", "card"),
        ("recurrent", {"is_active": True}),
    ],
)
def test_a_description_that_can_not_be_read_hides_no_payment(field, wire) -> None:
    """Nor what was paid, nor what was given back."""
    read = payment(**{field: wire}, refunds=[REFUND])

    assert (read.status, read.refunds[0].status) == ("succeeded", "accepted")
    assert read.extra == {field: wire}


@pytest.mark.parametrize(
    ("field", "wire"), [row for row in UNREADABLE if row[0] in attrs.fields_dict(sg.Refund)]
)
def test_a_description_that_can_not_be_read_hides_no_refund(field, wire) -> None:
    """A chargeback is one, whatever else is said of it."""
    refund = payment(refunds=[{**REFUND, "is_chargeback": True, field: wire}]).refunds[0]

    assert refund.is_chargeback is True
    assert refund.extra == {field: wire}


def test_several_descriptions_that_can_not_be_read() -> None:
    """All of them are kept."""
    both = {"customer": 7, "transaction_info": 8}
    assert payout(**both).extra == both


@pytest.mark.parametrize(
    "broken",
    [
        7,
        None,
        {},
        {"id": "po_2"},
        {**PAYOUT, "id": None},
        {**PAYOUT, "id": 1.0},
        {**PAYOUT, "id": True},
        {**PAYOUT, "status": None, "customer": 7},
        {**PAYOUT, "status": 1},
    ],
)
@pytest.mark.parametrize(("version", "name"), [(V1, "payments"), (V2, "payout_list")])
def test_an_item_is_nothing_without_its_id_and_status(version, name, broken) -> None:
    """It is kept as it came, and hides neither the session nor what stands beside it."""
    wire = {**SESSION, name: [PAYOUT, broken]}
    session = version.structure(wire, sg.Session)

    assert [item.id for item in session.payout_list] == ["po_1"]
    assert session.extra == {name: [PAYOUT, broken]}
    assert parse(version.encode(session)) == wire
    assert version.decode(version.encode(session), sg.Session) == session


def test_a_refund_that_can_not_be_read_hides_no_other() -> None:
    """Nor the payment: what was given back is shown as far as it can be."""
    refunds = [REFUND, {"id": "rf_2"}]
    read = payment(refunds=refunds)

    assert [refund.id for refund in read.refunds] == ["rf_1"]
    assert (read.status, read.extra) == ("succeeded", {"refunds": refunds})


@pytest.mark.parametrize("nothing", [None, [], {}])
@pytest.mark.parametrize(("version", "own"), [(V1, "payments"), (V2, "payout_list")])
def test_an_empty_list_of_one_name_hides_none_of_the_other(version, own, nothing) -> None:
    """Whichever of the two comes first."""
    both = {own: nothing, ({"payments", "payout_list"} - {own}).pop(): [PAYOUT]}
    for lists in (both, dict(reversed(both.items()))):
        session = version.structure({**SESSION, **lists}, sg.Session)
        assert [item.id for item in session.payout_list] == ["po_1"]
        assert session.extra == {}


# Answers that are odd, and answers still: (what is odd, path of fields -> what is there).

TEXT_ERROR: Final = {"error": "declined"}
ODD_SESSIONS: Final[list[tuple[dict[str, object], dict[str, object]]]] = [
    *(({name: None}, {"extra": {}}) for name in ("payments", "acquiring_payments")),
    *(({name: {}}, {"extra": {}}) for name in ("payments", "acquiring_payments")),
    ({"payments": None, "acquiring_payments": None}, {"payout_list": (), "payment_list": ()}),
    ({"payout_list": {}, "payment_list": {}}, {"payout_list": (), "payment_list": ()}),
    ({"payments": PAYOUT}, {"payout_list": (), "extra": {"payments": PAYOUT}}),
    ({"error": None}, {"error": None, "extra": {}}),
    ({"error": []}, {"error": None, "extra": {}}),
    ({"error": {}}, {"error": None, "extra": {}}),
    (TEXT_ERROR, {"error": None, "extra": TEXT_ERROR}),
    ({"error": {"code": 5}}, {"error": None, "extra": {"error": {"code": 5}}}),
    *(
        ({field: odd}, {field: None, "extra": {field: odd}})
        for field in ("created_at", "updated_at", "finished_at")
        for odd in ("", "2024-05-27T02:03:00", "soon", 1716775380, 1.5, True)
    ),
    *(
        ({"next_action": odd}, {"next_action": None, "extra": {"next_action": odd}})
        for odd in (1, True, ["confirm"], {"type": "confirm"})
    ),
    *(({"next_action": odd}, {"next_action": None, "extra": {}}) for odd in ([], {})),
    ({"id": 3230}, {"id": "3230", "extra": {}}),
    ({"id": 3230, "created_at": ""}, {"id": "3230", "extra": {"created_at": ""}}),
]
ODD_ITEMS: Final[list[tuple[dict[str, object], dict[str, object]]]] = [
    ({"id": 1313}, {"id": "1313", "extra": {}}),
    ({"amount_details": []}, {"amount_details": None, "extra": {}}),
    (
        {"amount_details": {"amount": 10000.0, "currency": "usd"}},
        {"amount_details": sg.Amount(10_000, "usd"), "extra": {}},
    ),
    *(
        ({"amount_details": odd}, {"amount_details": None, "extra": {"amount_details": odd}})
        for odd in (
            {"amount": None, "currency": "usd"},
            {"amount": "100.00", "currency": "usd"},
            10_000,
        )
    ),
    ({"created_at": "", "customer": []}, {"customer": None, "extra": {"created_at": ""}}),
]
ODD_REFUNDS: Final[list[tuple[dict[str, object], dict[str, object]]]] = [
    ({"id": 23}, {"id": "23", "extra": {}}),
    ({"is_chargeback": 0}, {"is_chargeback": None, "extra": {"is_chargeback": 0}}),
    ({"is_chargeback": "true"}, {"is_chargeback": None, "extra": {"is_chargeback": "true"}}),
    ({"amount_details": []}, {"amount_details": None, "extra": {}}),
]
ODD: Final = [
    *ODD_SESSIONS,
    *(
        ({name: [{**PAYOUT, **odd}]}, {f"{field}.0.{path}": read for path, read in facts.items()})
        for name, field in (("payments", "payout_list"), ("acquiring_payments", "payment_list"))
        for odd, facts in ODD_ITEMS
    ),
    *(
        (
            {"acquiring_payments": [{**PAYMENT, "refunds": nothing}]},
            {"payment_list.0.refunds": (), "payment_list.0.extra": {}},
        )
        for nothing in (None, {}, [])
    ),
    *(
        (
            {"acquiring_payments": [{**PAYMENT, "refunds": [{**REFUND, **odd}]}]},
            {f"payment_list.0.refunds.0.{path}": read for path, read in facts.items()},
        )
        for odd, facts in ODD_REFUNDS
    ),
]


def at(value: object, path: str) -> object:
    """Follow a path of fields and indices."""
    for name in path.split("."):
        value = value[int(name)] if isinstance(value, tuple) else getattr(value, name)
    return value


@pytest.mark.parametrize(("odd", "facts"), ODD)
def test_odd_answers_are_read(odd, facts) -> None:
    """After money moved, nothing but an id and a status that are none hides that it did."""
    session = V1.structure({**SESSION, **odd}, sg.Session)

    assert {path: at(session, path) for path in facts} == facts
    assert session.status is sg.SessionStatus.CREATED
    assert V1.decode(V1.encode(session), sg.Session) == session


@versions
@pytest.mark.parametrize("kind", [*EVENTS, "brand_new"])
def test_odd_webhooks_are_read(version, kind) -> None:
    """Of a webhook that is turned away nobody hears: each reads, with its session."""
    for odd, _ in ODD:
        wire = {**SESSION, **odd}
        event = version.decode(dump({"type": kind, "session": wire}), sg.WebhookEvent)

        assert type(event) is EVENTS.get(kind, sg.WebhookEvent)
        assert event.session == version.structure(wire, sg.Session)


@pytest.mark.parametrize(
    ("odd", "extra"),
    [
        *(({"created_at": odd}, {"created_at": odd}) for odd in ("", "May", "2024-05-27", 5)),
        ({"finished_at": ""}, {"finished_at": ""}),
        *(({"created_at": odd}, {}) for odd in (None, [], {})),
        *(({"is_active": odd}, {"is_active": odd}) for odd in (0, 1, "no")),
        ({"type": 7, "x": 1}, {"type": 7, "x": 1}),
    ],
)
def test_odd_tokens_are_read(odd, extra) -> None:
    """A token that was disabled is, whatever else is said of it; and one of a payment is one."""
    read = V1.structure({"token": "t", **odd}, sg.RecurrentToken)

    assert read == sg.RecurrentToken(token="t", extra=extra)  # noqa: S106
    assert payment(recurrent={"token": "t", **odd}).recurrent == read


def test_odd_wallets_and_banks_are_read() -> None:
    """Their ids may be numbers, and their names none."""
    amount = {"amount": 5.0, "currency": "usd"}
    assert V1.structure({"id": 7, "amount_details": amount, "x": 1}, sg.Wallet) == sg.Wallet(
        id="7", amount_details=sg.Amount(5, "usd"), extra={"x": 1}
    )
    assert V1.structure({"id": 7, "eng_name": 1, "ru_name": []}, sg.Bank) == sg.Bank(
        id="7", extra={"eng_name": 1}
    )


@given(value=json_values, data=st.data())
def test_whatever_is_said_beside_id_and_status(value, data) -> None:
    """It is read, or kept as it came, or empty; the session is one all the same."""
    names = [f.name for f in attrs.fields(sg.Session) if f.name not in {"id", "status", "extra"}]
    field = data.draw(st.sampled_from(names))
    name = {"payout_list": "payments", "payment_list": "acquiring_payments"}.get(field, field)

    session = V1.structure({**SESSION, name: value}, sg.Session)

    assert (session.id, session.status) == ("ps_1", "created")
    is_read = getattr(session, field) not in (None, ())
    assert is_read or value in (None, [], {}) or session.extra == {name: value}


# Tokens, widgets, wallets, banks.


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        ({}, "$: expected an object of type card, public_token or recurrent_token"),
        ([], "$: expected an object, got list"),
        ({"type": []}, "$: expected an object of type card, public_token or recurrent_token"),
        (
            {"type": "public_token", "public_token": {"token": "t"}, "more": 1},
            "$: expected an object of type card, public_token or recurrent_token",
        ),
        (
            {
                "type": "card",
                "card": {"type": "bank_card", "bank_card": {"number": CARD_NUMBER}},
            },
            "$: expected an object of type card, public_token or recurrent_token",
        ),
        ({"type": "public_token", "public_token": {}}, "$.public_token.token: is missing"),
        (
            {"type": "public_token", "public_token": {"token": ""}},
            "$.public_token.token: is empty; give the one that the provider gave",
        ),
        (
            {"type": "recurrent_token", "recurrent_token": "t"},
            "$.recurrent_token: expected an object, got str",
        ),
        (
            {
                "type": "card",
                "card": {"type": "encrypted_card", "encrypted_card": {"number_hash": 1}},
            },
            "$.card.encrypted_card.number_hash: expected str, got int",
        ),
    ],
)
def test_what_is_no_question_about_a_token(wire, said) -> None:
    """One token, told by its type; the path leads to what is wrong in it."""
    assert complaint(wire, sg.DescribeToken) == said


def test_a_default_that_is_a_value_is_said() -> None:
    """The page's example says `access`; only what is None is absent."""
    assert V1.wire(sg.IssueToken(tokenize_widget=sg.TokenizeWidget())) == {
        "tokenize_widget": {"access": True}
    }


@pytest.mark.parametrize("box", [True, False, "true", None, 1, 1.0, {}])
def test_the_checkbox_of_the_widget(box) -> None:
    """True or false in one table, text in one example: both are kept, and nothing else."""
    wire = {"acquiring_widget": {"session_id": "s", "show_recurrent_checkbox": box}}
    if box is None or type(box) in {bool, str}:
        assert V1.structure(wire, sg.IssueToken).acquiring_widget.show_recurrent_checkbox is box
    else:
        assert complaint(wire, sg.IssueToken) == (
            "$.acquiring_widget.show_recurrent_checkbox: "
            f"expected bool or str, got {type(box).__name__}"
        )


@pytest.mark.parametrize(
    ("wire", "record", "said"),
    [
        ({"request_datetime": "2024-04-10T19:53:00"}, sg.AskBalance, "offset from UTC"),
        ({"request_datetime": 1}, sg.AskBalance, "$.request_datetime: expected an ISO 8601 time"),
        ({}, sg.PublicToken, "$.public_token: is missing"),
        ({"public_token": 1}, sg.PublicToken, "$.public_token: expected str, got int"),
        ({"token": None}, sg.RecurrentToken, "$.token: expected str, got NoneType"),
        ({"created_at": 1}, sg.RecurrentToken, "$.token: is missing"),
        ([], sg.TokenInfo, "$: expected an object, got list"),
        ({"id": "w"}, sg.Wallet, "$.amount_details: is missing"),
        ({"amount_details": {"amount": 1, "currency": "usd"}}, sg.Wallet, "$.id: is missing"),
        ({"id": 1.0}, sg.Bank, "$.id: expected str, got float"),
        ({"session": SESSION}, sg.WebhookEvent, "$.type: is missing"),
        ({"type": 1, "session": SESSION}, sg.WebhookEvent, "$.type: expected str, got int"),
        ({"type": [], "session": SESSION}, sg.WebhookEvent, "$.type: expected str, got list"),
        ({"type": "x"}, sg.WebhookEvent, "$.session: is missing"),
        ({"type": "payment_finished"}, sg.WebhookEvent, "$.session: is missing"),
        (
            {"type": "payment_finished", "session": {"id": "s"}},
            sg.WebhookEvent,
            "$.session.status: is missing",
        ),
        (
            {"type": "payment_finished", "session": {"id": None, "status": "x", "error": 1}},
            sg.WebhookEvent,
            "$.session.id: expected str, got NoneType",
        ),
        ([], sg.WebhookEvent, "$: expected an object, got list"),
    ],
)
def test_what_is_none_of_the_other_answers(wire, record, said) -> None:
    """Each by its path."""
    assert said in complaint(wire, record)


def test_what_is_said_of_a_token_in_prose_is_read_if_it_can_be() -> None:
    """The names of its dates aren't known; what is none, and no text, is kept."""
    odd = {"created_at": "May", "is_active": 1, "last4": 4242, "x": 2}
    info = V1.structure({"type": "card", **odd}, sg.TokenInfo)
    assert info == sg.TokenInfo(type="card", extra=odd)
    assert V1.structure({"expires_at": [], "brand": None}, sg.TokenInfo) == sg.TokenInfo()


@versions
@pytest.mark.parametrize("kind", ["brand_new", "", "Payment_Finished"])
def test_unknown_events(version, kind) -> None:
    """A type that has no record is a `WebhookEvent` itself."""
    event = version.structure({"type": kind, "session": SESSION, "more": 1}, sg.WebhookEvent)
    assert event == sg.WebhookEvent(
        type=kind, session=sg.Session(**SESSION), extra={"more": 1}
    )  # fmt: skip


def test_an_event_of_one_kind_is_read_as_that() -> None:
    """A class of event can be asked for, too."""
    wire = {"type": "payment_finished", "session": SESSION}
    assert type(V1.structure(wire, sg.PaymentFinished)) is sg.PaymentFinished


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
def test_times_without_an_offset_are_none(text, said) -> None:
    """A time that could be any of 26 is no time: kept in an answer, and refused in a request."""
    session = V1.structure({**SESSION, "created_at": text}, sg.Session)
    assert (session.created_at, session.extra) == (None, {"created_at": text})
    assert complaint({"request_datetime": text}, sg.AskBalance) == f"$.request_datetime: {said}"


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
@pytest.mark.parametrize("record", REQUESTS, ids=lambda record: record.__name__)
@given(data=st.data())
def test_requests_that_are_encoded_decode(version, record, data) -> None:
    """A request survives the wire, under the names of either version."""
    request = data.draw(REQUESTS[record])
    assert version.decode(version.encode(request), record) == request


@versions
@pytest.mark.parametrize("record", ANSWERS, ids=lambda record: record.__name__)
@given(data=st.data())
def test_answers_that_are_encoded_decode(version, record, data) -> None:
    """An answer survives the wire; a moment is the same in UTC."""
    answer = data.draw(ANSWERS[record])
    again = version.decode(version.encode(answer), record)
    assert (again, type(again)) == (answer, type(answer))


@given(session=sessions)
def test_either_versions_names_are_understood(session) -> None:
    """An answer with the names of one version is read by the codec of the other."""
    assert V1.decode(V2.encode(session), sg.Session) == session
    assert V2.decode(V1.encode(session), sg.Session) == session


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
    for record in (*ANSWERS, *REQUESTS, sg.AmountDetails, sg.Amount):
        for shape in (
            wire,
            {**SESSION, "error": wire, "payments": wire, "amount_details": wire},
            {"payment_method": wire, "type": "card", "card": wire, "token": wire},
        ):
            try:
                V1.structure(shape, record)
            except NotDecodable as error:
                assert error.complaints  # noqa: PT017 - the law is that nothing else is raised
