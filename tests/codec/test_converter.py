"""Records to bytes and back: exact, complete, and with the path of whatever doesn't fit."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import SAMPLES
from strategies import ANSWERS, REQUESTS, json_objects, json_values, sessions

import smartglocal_async as sg
from smartglocal_async import models
from smartglocal_async.codec import NotDecodable, codec, dump, parse
from smartglocal_async.envelope import HttpReply, read_reply
from smartglocal_async.models.events import EVENTS
from smartglocal_async.operations import SESSION_CONFIRM

V1, V2 = codec("v1"), codec("v2")
versions: Final = pytest.mark.parametrize("version", [V1, V2], ids=["v1", "v2"])


def message_about(wire: object, record: type, version=V1) -> str:
    """Return a codec's error message about JSON that doesn't fit."""
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
    """Every field of the page's answer, with times as aware datetimes."""
    session = V1.structure(
        parse((SAMPLES / "session-create.ok.json").read_bytes())["session"], sg.Session
    )

    moment = datetime(2024, 5, 27, 2, 3, tzinfo=UTC)
    assert session == sg.Session(
        id="ps_3230", status=sg.SessionStatus.CREATED, created_at=moment, updated_at=moment
    )
    assert isinstance(session.status, sg.SessionStatus)


def test_the_pages_answer_as_printed_is_no_json() -> None:
    """The page has a comma after its last field, which is refused."""
    with pytest.raises(json.JSONDecodeError):
        parse((SAMPLES / "session-create.ok.as-printed.txt").read_bytes())


@pytest.mark.parametrize(
    "name", ["session-create.request.json", "session-create.ok.json", "session-create.error.json"]
)
def test_json_text_survives(name) -> None:
    """JSON that is parsed and written again has the same meaning."""
    sample = (SAMPLES / name).read_bytes()

    assert parse(dump(parse(sample))) == parse(sample)


# Every instrument: record -> its JSON form.

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
# Instruments of payments alone; the pages print no object for the empty ones.
PAYERS_WIRE: Final = [
    (models.FasterPaymentQr(), {"type": "faster_payment_system"}),
    (
        models.FasterPaymentQr(description="tea"),
        {"type": "faster_payment_system", "faster_payment_system": {"description": "tea"}},
    ),
    (models.FasterPaymentBinding(), {"type": "faster_payment_system_binding"}),
    (
        models.FasterPaymentBinding(extra={"new": 1}),
        {"type": "faster_payment_system_binding", "faster_payment_system_binding": {"new": 1}},
    ),
    (
        models.SberPay(channel="mobile_web"),
        {
            "type": "internet_banking",
            "internet_banking": {"type": "sber_pay", "sber_pay": {"channel": "mobile_web"}},
        },
    ),
    (models.TPay(), {"type": "internet_banking", "internet_banking": {"type": "tpay"}}),
    (
        models.TPay(extra={"new": 1}),
        {"type": "internet_banking", "internet_banking": {"type": "tpay", "tpay": {"new": 1}}},
    ),
]
PAYOUT_WIRE: Final = [
    *PAYMENT_WIRE,
    *(
        (
            wallet(account="player-7"),
            {"type": "wallet", "wallet": {"type": name, name: {"account": "player-7"}}},
        )
        for wallet, name in (
            (models.SteamWallet, "steam"),
            (models.QiwiWallet, "qiwi"),
            (models.YooMoneyWallet, "yoomoney"),
            (models.MonetaWallet, "moneta"),
        )
    ),
    (
        models.TokenizedCard(token="t"),  # noqa: S106
        {"type": "card", "card": {"type": "tokenized_card", "tokenized_card": {"token": "t"}}},
    ),
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
    """Each instrument has its wrapper, under the version's name of the field."""
    request = sg.CreateSession(payment_method=instrument)

    assert version.wire(request) == {name: wire}
    assert version.structure({name: wire}, sg.CreateSession) == request


@versions
@pytest.mark.parametrize(("instrument", "wire"), [*PAYMENT_WIRE, *PAYERS_WIRE])
def test_payment_instruments_on_the_wire(version, instrument, wire) -> None:
    """`payment_details` has the same name in both versions."""
    request = sg.CreateSession(payment_details=instrument)

    assert version.wire(request) == {"payment_details": wire}
    assert version.structure({"payment_details": wire}, sg.CreateSession) == request


@versions
@pytest.mark.parametrize(
    ("wire", "instrument"),
    [
        (
            {"type": "faster_payment_system", "faster_payment_system": []},
            models.FasterPaymentQr(),
        ),
        (
            {"type": "faster_payment_system", "faster_payment_system": {}},
            models.FasterPaymentQr(),
        ),
        (
            {"type": "internet_banking", "internet_banking": {"type": "tpay", "tpay": []}},
            models.TPay(),
        ),
    ],
)
def test_empty_objects_of_an_instrument(version, wire, instrument) -> None:
    """PHP writes them as lists; what is sent is what the page prints: none."""
    read = version.structure({"payment_details": wire}, sg.CreateSession)
    assert read == sg.CreateSession(payment_details=instrument)
    shown = {"id": "pm_1", "status": "pending", "payment_details": wire}
    assert version.structure(shown, sg.Payment).payment_details == instrument


@pytest.mark.parametrize(
    ("version", "name"), [(V1, "payout_details"), (V2, "payment_method")], ids=["v1", "v2"]
)
def test_the_other_versions_name_is_refused(version, name) -> None:
    """A name of the other version can make operations fail, so it is refused."""
    assert message_about({name: PAYOUT_WIRE[0][1]}, sg.CreateSession, version) == (
        f"$.{name}: is no field of this record"
    )


@pytest.mark.parametrize(
    "wire",
    [
        {"type": "card", "card": {"last4": "4242", "brand": "visa", "bin": "424242"}},
        {"type": "card", "card": {"type": "virtual_card", "virtual_card": {"token": "t"}}},
        {"type": "card", "card": {"type": "bank_card"}},
        {"type": "card", "card": {"type": "bank_card", "bank_card": {}, "more": 1}},
        {"type": "card", "card": {"type": "bank_card", "bank_card": {}}, "more": 1},
        {"type": "card"},
        {"type": "card", "card": None},
        {"type": "bank_account", "bank_account": {"system_type": "local", "local": {}}},
        {"type": "bank_account", "bank_account": {"type": "global", "global": {}}},
        {"type": "wallet", "wallet": {"type": "webmoney", "webmoney": {"account": "1"}}},
        {"type": "wallet", "wallet": {"type": "steam"}},
        {"type": "crypto_wallet", "crypto_wallet": {"ton": {}}},
        {"type": "type"},
        {"type": ""},
    ],
)
def test_unknown_shapes_are_kept_whole(wire) -> None:
    """An instrument without a record is kept unchanged."""
    request = V1.structure({"payment_method": wire}, sg.CreateSession)

    assert request.payment_method == sg.OtherInstrument(wire)
    assert V1.wire(request) == {"payment_method": wire}


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (7, "$.payment_method: expected an object, got int"),
        ([], "$.payment_method: expected an object, got list"),
        ({}, "$.payment_method: expected an object that has a type"),
        ({"type": None}, "$.payment_method: expected an object that has a type"),
        ({"type": []}, "$.payment_method: expected an object that has a type"),
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
def test_invalid_instruments(wire, said) -> None:
    """The path leads through the wrapper to the field."""
    assert message_about({"payment_method": wire}, sg.CreateSession) == said


def test_the_path_has_the_names_of_the_wire() -> None:
    """With v2, the error has the v2 name of a payout's instrument."""
    assert message_about({"payout_details": 7}, sg.CreateSession, V2) == (
        "$.payout_details: expected an object, got int"
    )


@pytest.mark.parametrize(("instrument", "wire"), PAYOUT_WIRE[len(PAYMENT_WIRE) :])
def test_a_payment_is_not_made_with_an_account(instrument, wire) -> None:
    """Accounts and wallets only receive payouts; a payment refuses them by field name."""
    said = message_about({"payment_details": wire}, sg.CreateSession)
    assert said.startswith("$.payment_details: expected an instrument of payments, got ")

    with pytest.raises(sg.InvalidRequest) as caught:
        sg.CreateSession(payment_details=instrument)
    assert caught.value.field == "CreateSession.payment_details"


# Exactness: wrong values for each field of a session, and the error messages.

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
    """Null and flags aren't converted to text, and of numbers only a whole id is."""
    assert (
        message_about({**SESSION, field: value}, sg.Session)
        == f"$.{field}: expected str, got {name}"
    )


@pytest.mark.parametrize(("value", "name"), A_STR)
@pytest.mark.parametrize("field", ["created_at", "updated_at", "finished_at", "next_action"])
def test_optional_text_of_a_session(field, value, name) -> None:
    """A value that isn't text is kept as it is, or absent if it is empty."""
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
    """The error lists every field that doesn't fit, by its path, and the reason."""
    assert message_about(wire, record) == said


@pytest.mark.parametrize("secret", ["4242 4242 4242 4242", "sk_live_secret"])
def test_complaints_do_not_quote(secret) -> None:
    """The message names the type of the value, which may be secret."""
    wire = {
        "type": "card",
        "card": {"type": "bank_card", "bank_card": {"number": secret, "security_code": [secret]}},
    }
    assert secret not in message_about({"payment_method": wire}, sg.CreateSession)
    assert secret not in message_about({**SESSION, "status": [secret]}, sg.Session)


# Unknown statuses, unknown fields, times.


@pytest.mark.parametrize("status", list(sg.SessionStatus))
def test_known_statuses_are_words_of_the_enum(status) -> None:
    """A known status equals the enum member and plain text."""
    session = V1.structure({**SESSION, "status": str(status)}, sg.Session)
    assert session.status is status


@pytest.mark.parametrize("status", ["", "Canceled", "CREATED", "brand_new"])
def test_unknown_statuses_stay_text(status) -> None:
    """An unknown status is kept as text."""
    session = V1.structure({**SESSION, "status": status, "next_action": status}, sg.Session)
    assert (session.status, session.next_action) == (status, status)
    assert type(session.status) is str


@pytest.mark.parametrize("action", list(sg.NextAction))
def test_known_actions(action) -> None:
    """The required action, as an enum member."""
    session = V1.structure({**SESSION, "next_action": str(action)}, sg.Session)
    assert session.next_action is action


def test_unknown_fields_are_kept_where_they_were() -> None:
    """At every depth of an answer, in `extra`, and written again in their place."""
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
    """A session's own error is a record; its other fields are kept."""
    wire = {"code": "c", "description": None, "reject_reasons": [{"rule_alias": "r"}], "x": 1}
    session = V1.structure({**SESSION, "error": wire}, sg.Session)

    assert session.error == sg.models.ProviderError(
        code="c", reject_reasons=(sg.models.RejectReason(rule_alias="r"),), extra={"x": 1}
    )


# The payouts and payments of a session.

PAYOUT: Final = {"id": "po_1", "status": "succeeded"}
PAYMENT: Final = {"id": "pm_1", "status": "succeeded"}
REFUND: Final = {"id": "rf_1", "status": "accepted"}


def payout(version=V1, name: str = "payments", **wire: object) -> sg.Payout:
    """Return the only payout of a session."""
    session = version.structure({**SESSION, name: [{**PAYOUT, **wire}]}, sg.Session)
    return session.payout_list[0]


def payment(**wire: object) -> sg.Payment:
    """Return the only payment of a session."""
    session = V1.structure({**SESSION, "acquiring_payments": [{**PAYMENT, **wire}]}, sg.Session)
    return session.payment_list[0]


@versions
@pytest.mark.parametrize("name", ["payments", "payout_list"])
@pytest.mark.parametrize("instrument", ["payment_method", "payout_details"])
def test_answers_may_use_either_versions_names(version, name, instrument) -> None:
    """The version of a webhook isn't known, so the names of both versions are read."""
    wire = {"type": "card", "card": {"last4": "4242"}}
    read = payout(version, name, **{instrument: wire})
    assert read == sg.Payout(
        id="po_1",
        status=sg.OperationStatus.SUCCEEDED,
        payment_method=sg.models.MaskedCard(last4="4242"),
    )


@pytest.mark.parametrize(("version", "own"), [(V1, "payments"), (V2, "payout_list")])
def test_where_both_names_are_given(version, own) -> None:
    """The version's own name counts, whichever comes first, and the other one is kept."""
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
            sg.models.RefundStatus,
        ),
        (
            lambda word: payment(customer_interaction={"type": word}).customer_interaction.type,
            sg.models.InteractionType,
        ),
    ],
    ids=["payout", "payment", "refund", "interaction"],
)
def test_words_inside_a_session(read, words) -> None:
    """Known statuses are enum members; unknown ones stay text."""
    for word in words:
        assert read(str(word)) is word
    for word in ("", "Canceled", "PENDING", "brand_new"):
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
    """Zero, negative amounts, digits as text and unknown currencies are shown as they are."""
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
    """An unreadable amount is kept as it is; a wallet without an amount is dropped."""
    read = payout(amount_details=wire)
    assert (read.amount_details, read.status) == (None, "succeeded")
    assert read.extra == ({"amount_details": wire} if wire else {})
    assert message_about({"id": "w", "amount_details": wire}, sg.models.Wallet).startswith(
        "$.amount_details:"
    )


@pytest.mark.parametrize(
    ("wire", "read"),
    [
        (
            {"type": "card", "card": {"last4": "4242", "brand": "visa", "bin": "424242"}},
            sg.models.MaskedCard(last4="4242", brand="visa", bin="424242"),
        ),
        ({"type": "card", "card": {"card_id": "c"}}, sg.models.MaskedCard(card_id="c")),
        ({"type": "card", "card": {}}, sg.models.MaskedCard()),
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
    """A shown card is a `MaskedCard`, which needn't be payable."""
    assert payout(payment_method=wire).payment_method == read
    assert payment(payment_details=wire).payment_details == read
    assert parse(V1.encode(payment(payment_details=wire)))["payment_details"] == wire


@pytest.mark.parametrize("kind", ["bank_card", "encrypted_card"])
def test_a_card_without_its_wrapping(kind) -> None:
    """It is kept in an answer, and refused in a request."""
    wire = {"type": kind, kind: {"number": CARD_NUMBER}}

    assert payout(payment_method=wire).extra == {"payment_method": wire}
    said = message_about({"payment_method": wire}, sg.CreateSession)
    assert said.startswith("$.payment_method.")
    assert "is only valid inside a card" in said
    assert CARD_NUMBER not in said


def test_the_description_of_an_error_shows_no_card() -> None:
    """In a session and its items, read or created."""
    told = {"code": "c", "description": f"card {CARD_NUMBER} declined"}
    masked = "card *** declined"

    assert V1.structure({**SESSION, "error": told}, sg.Session).error.description == masked
    assert payout(error=told).error.description == masked
    assert payment(refunds=[{**REFUND, "error": told}]).refunds[0].error.description == masked
    assert sg.models.ProviderError(**told).description == masked


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
    """The payment is still read; the description is kept unchanged."""
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
    """Payments and refunds are still read."""
    read = payment(**{field: wire}, refunds=[REFUND])

    assert (read.status, read.refunds[0].status) == ("succeeded", "accepted")
    assert read.extra == {field: wire}


@pytest.mark.parametrize(
    ("field", "wire"), [row for row in UNREADABLE if row[0] in attrs.fields_dict(sg.Refund)]
)
def test_a_description_that_can_not_be_read_hides_no_refund(field, wire) -> None:
    """A chargeback is still read, whatever its other fields are."""
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
    """It is kept unchanged, and hides neither the session nor the other items."""
    wire = {**SESSION, name: [PAYOUT, broken]}
    session = version.structure(wire, sg.Session)

    assert [item.id for item in session.payout_list] == ["po_1"]
    assert session.extra == {name: [PAYOUT, broken]}
    assert parse(version.encode(session)) == wire
    assert version.decode(version.encode(session), sg.Session) == session


def test_a_refund_that_can_not_be_read_hides_no_other() -> None:
    """The payment and the other refunds are still shown."""
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


# Unusual answers that must be read: (the unusual part, path of fields -> value).

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
    """Only an invalid id or status hides a session; money may have moved."""
    session = V1.structure({**SESSION, **odd}, sg.Session)

    assert {path: at(session, path) for path in facts} == facts
    assert session.status is sg.SessionStatus.CREATED
    assert V1.decode(V1.encode(session), sg.Session) == session


@versions
@pytest.mark.parametrize("kind", [*EVENTS, "brand_new"])
def test_odd_webhooks_are_read(version, kind) -> None:
    """A refused webhook would be lost, so each of these is read, with its session."""
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
    """A disabled token, and the token of a payment, are read whatever else they contain."""
    read = V1.structure({"token": "t", **odd}, sg.models.RecurrentToken)

    assert read == sg.models.RecurrentToken(token="t", extra=extra)  # noqa: S106
    assert payment(recurrent={"token": "t", **odd}).recurrent == read


def test_odd_wallets_and_banks_are_read() -> None:
    """Their ids may be numbers, and their names missing."""
    amount = {"amount": 5.0, "currency": "usd"}
    assert V1.structure(
        {"id": 7, "amount_details": amount, "x": 1}, sg.models.Wallet
    ) == sg.models.Wallet(id="7", amount_details=sg.Amount(5, "usd"), extra={"x": 1})
    assert V1.structure({"id": 7, "eng_name": 1, "ru_name": []}, sg.models.Bank) == sg.models.Bank(
        id="7", extra={"eng_name": 1}
    )


@given(value=json_values, data=st.data())
def test_whatever_is_said_beside_id_and_status(value, data) -> None:
    """Other fields are read, kept as they are, or empty; the session is still read."""
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
def test_invalid_token_requests(wire, said) -> None:
    """One token, by its type; the path leads to the wrong field."""
    assert message_about(wire, sg.GetTokenInfo) == said


def test_default_values_are_written() -> None:
    """The page's example has `access`; only None means absent."""
    assert V1.wire(sg.IssueToken(tokenize_widget=sg.models.TokenizeWidget())) == {
        "tokenize_widget": {"access": True}
    }


@pytest.mark.parametrize("box", [True, False, "true", None, 1, 1.0, {}])
def test_the_checkbox_of_the_widget(box) -> None:
    """True or false in one table, text in one example: both are kept, and nothing else."""
    wire = {"acquiring_widget": {"session_id": "s", "show_recurrent_checkbox": box}}
    if box is None or type(box) in {bool, str}:
        assert V1.structure(wire, sg.IssueToken).acquiring_widget.show_recurrent_checkbox is box
    else:
        assert message_about(wire, sg.IssueToken) == (
            "$.acquiring_widget.show_recurrent_checkbox: "
            f"expected bool or str, got {type(box).__name__}"
        )


@pytest.mark.parametrize(
    ("wire", "record", "said"),
    [
        ({"request_datetime": "2024-04-10T19:53:00"}, sg.GetBalance, "offset from UTC"),
        ({"request_datetime": 1}, sg.GetBalance, "$.request_datetime: expected an ISO 8601 time"),
        ({}, sg.models.PublicToken, "$.public_token: is missing"),
        ({"public_token": 1}, sg.models.PublicToken, "$.public_token: expected str, got int"),
        ({"token": None}, sg.models.RecurrentToken, "$.token: expected str, got NoneType"),
        ({"created_at": 1}, sg.models.RecurrentToken, "$.token: is missing"),
        ([], sg.models.TokenInfo, "$: expected an object, got list"),
        ({"id": "w"}, sg.models.Wallet, "$.amount_details: is missing"),
        (
            {"amount_details": {"amount": 1, "currency": "usd"}},
            sg.models.Wallet,
            "$.id: is missing",
        ),
        ({"id": 1.0}, sg.models.Bank, "$.id: expected str, got float"),
        ({"type": 1, "session": SESSION}, sg.WebhookEvent, "$.type: expected str, got int"),
        ({"type": [], "session": SESSION}, sg.WebhookEvent, "$.type: expected str, got list"),
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
def test_invalid_other_answers(wire, record, said) -> None:
    """Each by its path."""
    assert said in message_about(wire, record)


def test_undocumented_token_fields() -> None:
    """The names of its dates aren't known; a value that isn't a date is kept."""
    odd = {"created_at": "May", "is_active": 1, "last4": 4242, "x": 2}
    info = V1.structure({"type": "card", **odd}, sg.models.TokenInfo)
    assert info == sg.models.TokenInfo(type="card", extra=odd)
    assert (
        V1.structure({"expires_at": [], "brand": None}, sg.models.TokenInfo)
        == sg.models.TokenInfo()
    )


@versions
@pytest.mark.parametrize("kind", ["brand_new", "", "Payment_Finished"])
def test_unknown_events(version, kind) -> None:
    """An unknown type is a plain `WebhookEvent`."""
    event = version.structure({"type": kind, "session": SESSION, "more": 1}, sg.WebhookEvent)
    assert event == sg.WebhookEvent(
        type=kind, session=sg.Session(**SESSION), extra={"more": 1}
    )  # fmt: skip


def test_an_event_of_one_kind_is_read_as_that() -> None:
    """A class of event can be requested, too."""
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
    """Microseconds and offset are kept; the provider uses both forms."""
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
    """A time without an offset is ambiguous: kept in an answer, refused in a request."""
    session = V1.structure({**SESSION, "created_at": text}, sg.Session)
    assert (session.created_at, session.extra) == (None, {"created_at": text})
    assert message_about({"request_datetime": text}, sg.GetBalance) == f"$.request_datetime: {said}"


def test_times_are_written_in_the_providers_form() -> None:
    """UTC with six digits and Z, whatever the datetime's zone is."""
    moment = datetime(2024, 5, 27, 5, 3, 0, 7, tzinfo=timezone(timedelta(hours=3)))
    session = sg.Session(id="1", status="x", created_at=moment)

    assert V1.wire(session)["created_at"] == "2024-05-27T02:03:00.000007Z"


# Omitted fields.


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
    """None is omitted; false, zero and empty values aren't."""
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
    """Metadata can be changed after the record was created; then writing raises."""
    with pytest.raises(sg.InvalidRequest) as caught:
        dump(wire)
    assert caught.value.field == path


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b"1 2",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"\xff",
        b"{'a': 1}",
        b"[" * 100_000,
    ],
)
def test_parse_takes_json_only(body) -> None:
    """No NaN, no other text encoding, no unlimited nesting."""
    with pytest.raises(ValueError):  # noqa: PT011 - its subclasses say which
        parse(body)


# Properties.


@versions
@pytest.mark.parametrize("record", REQUESTS, ids=lambda record: record.__name__)
@given(data=st.data())
def test_requests_that_are_encoded_decode(version, record, data) -> None:
    """A request is the same after encoding and decoding, under the names of either version."""
    request = data.draw(REQUESTS[record])
    assert version.decode(version.encode(request), record) == request


@versions
@pytest.mark.parametrize("record", ANSWERS, ids=lambda record: record.__name__)
@given(data=st.data())
def test_answers_that_are_encoded_decode(version, record, data) -> None:
    """An answer is the same after encoding and decoding; times are in UTC."""
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
    """Fields that the provider adds are written as they were read."""
    named = {f.name for f in attrs.fields(sg.Session)} - {"extra"}
    more = {name: value for name, value in unknown.items() if name not in named}

    session = V1.decode(dump({**SESSION, **more}), sg.Session)

    assert session.extra == more
    assert V1.wire(session) == {**SESSION, **more}


@given(value=json_values)
def test_any_json_is_metadata(value) -> None:
    """Metadata is sent and returned unchanged, including the type of a number."""
    session = V1.decode(dump({**SESSION, "metadata": value}), sg.Session)

    assert repr(session.metadata) == repr(value)
    assert parse(V1.encode(sg.CreateSession(metadata=value))).get("metadata") == value


@given(wire=st.recursive(json_values, lambda inner: st.fixed_dictionaries({"type": inner})))
def test_no_answer_crashes_the_reader(wire) -> None:
    """Any JSON in place of a record either fits or raises `NotDecodable`."""
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


# Answers of which a part is odd.


@versions
@pytest.mark.parametrize(
    ("odd", "seen", "kept"),
    [
        (
            {"transaction_info": {"rrn": 900, "auth_code": "77"}},
            lambda item: (item.transaction_info.rrn, item.transaction_info.auth_code),
            (None, "77"),
        ),
        (
            {"customer": {"reference": 4, "contacts": [{"phone": 7}, {"phone": "7900*****01"}]}},
            lambda item: (item.customer.reference, [one.phone for one in item.customer.contacts]),
            (None, ["7900*****01"]),
        ),
        (
            {
                "customer_interaction": {
                    "type": "inform",
                    "inform": {"qr": {"content": "u"}},
                    "x": 1,
                }
            },
            lambda item: item.customer_interaction.inform.qr.content,
            "u",
        ),
        (
            {"customer_interaction": {"type": "redirect", "redirect": {"url": "u", "method": 5}}},
            lambda item: item.customer_interaction.redirect.url,
            "u",
        ),
        (
            {"participant_details": {"sender": {"ipv4": 5, "city": "Riga"}, "recipient": []}},
            lambda item: item.participant_details.sender.city,
            "Riga",
        ),
        (
            {"amounts": {"gross": 5, "net": {"amount": 3, "currency": "eur"}}},
            lambda item: (item.amounts.gross, item.amounts.net.amount),
            (None, 3),
        ),
        (
            {"payment_details": {"type": "card", "card": {"last4": "4242", "bin": 424242}}},
            lambda item: item.payment_details.last4,
            "4242",
        ),
        (
            {"error": {"code": "c7", "description": ["why"]}},
            lambda item: (item.error.code, item.error.description),
            ("c7", None),
        ),
    ],
)
def test_an_odd_field_hides_no_neighbour(version, odd, seen, kept) -> None:
    """Whatever can be read is, at any depth; the rest is in ``extra``, as it came."""
    lists = "acquiring_payments" if version is V1 else "payment_list"
    wire = {"id": "ps_1", "status": "accepted", lists: [{"id": "pm_1", "status": "failed", **odd}]}
    [item] = version.structure(wire, sg.Session).payment_list
    assert (item.id, item.status) == ("pm_1", "failed")
    assert seen(item) == kept


@versions
@pytest.mark.parametrize(
    "name",
    ["customer", "amounts", "transaction_info", "participant_details", "error", "recurrent"],
)
def test_empty_objects_of_php(version, name) -> None:
    """PHP writes an empty object as a list; it hides nothing."""
    wire = {"id": "pm_1", "status": "pending", "metadata": [], name: []}
    item = version.structure(wire, sg.Payment)
    assert (item.status, item.metadata, item.extra) == ("pending", [], {})
    assert getattr(item, name) is None


@versions
def test_what_a_request_has_is_read_strictly(version) -> None:
    """Leniency is for what the provider sends alone."""
    with pytest.raises(NotDecodable, match="reference"):
        version.structure({"customer": {"reference": 4}}, sg.CreateSession)


@pytest.mark.parametrize("word", ["cancelled", "canceled"])
def test_both_spellings_of_cancelled(word) -> None:
    """The pages have both, of sessions and of items; each is kept as it came."""
    read = V1.structure({"id": "ps_1", "status": word}, sg.Session)
    assert (read.status, read.is_cancelled, read.is_final) == (word, True, True)
    assert isinstance(read.status, sg.SessionStatus)
    item = V1.structure({"id": "po_1", "status": word}, sg.Payout)
    assert (item.status, type(item.status)) == (word, sg.OperationStatus)


@pytest.mark.parametrize("where", ["beside", "inside"])
def test_confirm_information_is_kept(where) -> None:
    """Of an answer about an escrow account, wherever it is."""
    told = {"sum": [1, {"a": None}]}
    session = {"id": "ps_1", "status": "in_progress"}
    wire = {"status": "ok", "session": session}
    (wire if where == "beside" else session)["confirm_information"] = told
    reply = HttpReply(200, "", dump(wire))
    assert read_reply(V1, SESSION_CONFIRM, reply).answer.confirm_information == told
    event = {
        "type": "ready_to_confirm",
        "session": {"id": "ps_1", "status": "x"},
        "confirm_information": told,
    }
    assert V1.structure(event, sg.WebhookEvent).confirm_information == told
