"""The records: every documented field, exact types in requests, and masked secrets."""

import copy
import html
import pickle
import re
import types
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Union, get_args, get_origin

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import ANSWERS, INSTRUMENTS, REQUESTS, payout_instruments

import smartglocal_async as sg
from smartglocal_async.codec import codec
from smartglocal_async.models.events import EVENTS

NUMBER: Final = "4242424242424242"
MOMENT: Final = datetime(2024, 5, 27, 2, 3, tzinfo=UTC)
CARD: Final = sg.EncryptedCard(number_hash="h")
USD: Final = sg.AmountDetails(1, "usd")
# Record of a request -> its mandatory fields.
LEAST: Final[dict[type, dict[str, Any]]] = {
    sg.models.TokenizedCard: {"token": "t"},
    sg.models.SteamWallet: {"account": "a"},
    sg.models.QiwiWallet: {"account": "a"},
    sg.models.YooMoneyWallet: {"account": "a"},
    sg.models.MonetaWallet: {"account": "a"},
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
    sg.StartPayout: {"session_id": "s"},
    sg.StartPayment: {"session_id": "s"},
    sg.InitPayout: {"payment_method": CARD, "amount_details": USD},
    sg.InitPayment: {
        "payment_details": CARD,
        "amount_details": USD,
        "customer": sg.Customer(reference="c"),
    },
    sg.CapturePayment: {"session_id": "s"},
    sg.RefundPayment: {"session_id": "s"},
    sg.VerifyCustomer: {
        "session_id": "s",
        "payment_method": sg.FasterPaymentVerification(phone="p", bank_id="b"),
        "participant_details": sg.ParticipantDetails(),
    },
    sg.GetBalance: {"request_datetime": MOMENT},
    sg.models.TokenizeWidget: {},
    sg.models.AcquiringWidget: {"session_id": "s"},
    sg.models.FpsNoAccountWidget: {"session_id": "s"},
    sg.TokenRef: {"token": "t"},
    sg.DisableRecurrent: {"recurrent": sg.TokenRef("t")},
}
# Record of an answer -> its mandatory fields.
LEAST_ANSWERS: Final[dict[type, dict[str, Any]]] = {
    sg.models.RejectReason: {},
    sg.models.ProviderError: {"code": "c"},
    sg.models.MaskedCard: {},
    sg.models.TransactionInfo: {},
    sg.models.Fees: {},
    sg.models.Amounts: {},
    sg.Refund: {"id": "i", "status": "s"},
    sg.Payout: {"id": "i", "status": "s"},
    sg.Payment: {"id": "i", "status": "s"},
    sg.Session: {"id": "i", "status": "s"},
    sg.models.Redirect: {"url": "u"},
    sg.models.QrCode: {},
    sg.models.QrCodeInfo: {},
    sg.models.CustomerInteraction: {"type": "t"},
    sg.models.RecurrentToken: {"token": "t"},
    sg.models.PublicToken: {"public_token": "t"},
    sg.models.TokenInfo: {},
    sg.models.Wallet: {"id": "i", "amount_details": sg.Amount(0, "usd")},
    sg.models.Bank: {"id": "i"},
    **{event: {"session": sg.Session(id="i", status="s")} for event in EVENTS.values()},
    sg.WebhookEvent: {"type": "t", "session": sg.Session(id="i", status="s")},
}
EVERY: Final = {**LEAST, **LEAST_ANSWERS}
records: Final = pytest.mark.parametrize("record", EVERY, ids=lambda record: record.__name__)
EXTENSIBLE: Final = [r for r in LEAST if "extra" in attrs.fields_dict(r)]
extensible: Final = pytest.mark.parametrize("record", EXTENSIBLE, ids=lambda r: r.__name__)

# The fields of the provider's pages (or, if it has none, of the sister platform's SDK).
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
    sg.PaymentOptions: "return_url recurrent platform_details",
    sg.models.PlatformDetails: "type os browser",
    sg.models.TokenizedCard: "token",
    sg.models.SteamWallet: "account",
    sg.models.QiwiWallet: "account",
    sg.models.YooMoneyWallet: "account",
    sg.models.MonetaWallet: "account",
    sg.models.FasterPaymentQr: "description",
    sg.models.FasterPaymentBinding: "",
    sg.models.SberPay: "channel",
    sg.models.TPay: "",
    sg.CreateSession: "payment_method payment_details amount_details participant_details "
    "customer payment_options metadata",
    sg.SessionRef: "session_id",
    sg.StartPayout: "session_id payment_method amount_details participant_details customer "
    "metadata",
    sg.StartPayment: "session_id payment_details amount_details participant_details customer "
    "payment_options metadata",
    sg.InitPayout: "payment_method amount_details participant_details customer metadata",
    sg.InitPayment: "payment_details amount_details participant_details customer "
    "payment_options metadata",
    sg.CapturePayment: "session_id amount_details",
    sg.RefundPayment: "session_id amount_details metadata",
    sg.VerifyCustomer: "session_id payment_method participant_details",
    sg.GetBalance: "request_datetime",
    sg.models.TokenizeWidget: "access locale",
    sg.models.AcquiringWidget: "session_id locale show_recurrent_checkbox success_return_url "
    "failure_return_url success_on_hold redirect_target",
    sg.models.FpsNoAccountWidget: "session_id",
    sg.TokenRef: "token",
    sg.IssueToken: "tokenize_widget acquiring_widget fps_no_account_widget",
    sg.GetTokenInfo: "card public_token recurrent_token",
    sg.DisableRecurrent: "recurrent",
    sg.models.RejectReason: "rule_alias list_alias expiration_date",
    sg.models.ProviderError: "code description reject_reasons",
    sg.models.MaskedCard: "last4 brand bin card_id",
    sg.models.TransactionInfo: "rrn auth_code arn fp_message_id external_subscription_token "
    "bank_account_ru_token",
    sg.models.Fees: "merchant_fee",
    sg.models.Amounts: "gross net fee",
    sg.Refund: "id status created_at finished_at amount_details is_chargeback metadata amounts "
    "transaction_info error",
    sg.Payout: "id status created_at finished_at payment_method amount_details "
    "participant_details customer metadata amounts transaction_info customer_interaction "
    "refunds error",
    sg.Payment: "id status created_at finished_at payment_details amount_details "
    "participant_details customer customer_interaction recurrent payment_options refunds metadata "
    "amounts transaction_info error",
    sg.Session: "id status created_at updated_at finished_at next_action payout_list "
    "payment_list exchange_amounts metadata confirm_information error",
    sg.models.ExchangeAmount: "source destination rate rate_source reserved_to",
    sg.models.ExchangeRate: "rate source_currency destination_currency active_from active_to",
    sg.models.PushSberPay: "session_id phone",
    sg.models.Redirect: "url base_url method qs params",
    sg.models.QrCode: "content img",
    sg.models.QrCodeInfo: "qr",
    sg.models.CustomerInteraction: "type redirect inform",
    sg.models.RecurrentToken: "token created_at finished_at is_active type",
    sg.models.PublicToken: "public_token",
    sg.models.TokenInfo: "type token number_hash brand last4 country_iso3 created_at expires_at "
    "finished_at is_active",
    sg.models.Wallet: "id amount_details",
    sg.models.Bank: "id eng_name ru_name",
    sg.WebhookEvent: "type session",
}


@pytest.mark.parametrize(
    ("record", "names"), FIELDS.items(), ids=lambda x: getattr(x, "__name__", "")
)
def test_every_documented_field_is_there(record, names) -> None:
    """Under the name of the page; other fields of an answer are in `extra`."""
    assert set(attrs.fields_dict(record)) - {"extra"} == set(names.split())


@records
def test_only_what_every_page_demands_is_mandatory(record) -> None:
    """Only fields that every page requires; a missing one raises Python's own error."""
    mandatory = {f.name for f in attrs.fields(record) if f.default is attrs.NOTHING}
    assert record(**EVERY[record])
    assert mandatory == set(EVERY[record])


@records
def test_records_are_frozen_and_slotted(record) -> None:
    """No field can be changed or added."""
    made = record(**EVERY[record])
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(made, attrs.fields(record)[0].name, "other")
    assert type(made).__dictoffset__ == 0  # `__dict__` is the data of `to_dict`.


@pytest.mark.parametrize("record", [r for r in EVERY if r not in {sg.SessionRef, sg.TokenRef}])
def test_fields_are_given_by_name(record) -> None:
    """Records have dozens of text fields, so their order has no meaning."""
    with pytest.raises(TypeError, match="positional"):
        record(*EVERY[record].values(), "x")


# Types, field by field.


def members(annotation: object) -> tuple[Any, ...]:
    """Return the possible types of a field."""
    union = get_origin(annotation) in {Union, types.UnionType}
    return get_args(annotation) if union else (annotation,)


class Word(StrEnum):
    """A subclass of text."""

    ONE = "one"


NOT_EMPTY: Final = {(sg.TokenRef, "token"), *((record, "session_id") for record in LEAST)}
FIELD_TYPES: Final = [
    pytest.param(record, field.name, members(field.type), id=f"{record.__name__}.{field.name}")
    for record in LEAST
    for field in attrs.fields(record)
    if field.name not in {"extra", "metadata"}
]
STRANGERS: Final = [None, "text", b"bytes", 1, True, 1.5, Decimal(1), [], {}, object()]


@pytest.mark.parametrize(("record", "name", "wanted"), FIELD_TYPES)
def test_nothing_is_converted_on_its_way_in(record, name, wanted) -> None:
    """A value of another type is refused, with the names of field and type."""
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
    """A lone surrogate can't be sent, and is refused before anything is sent."""
    for good in ("", "\u00e9\U0001f600", Word.ONE):
        if good or (record, name) not in NOT_EMPTY:
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
    """12 to 19 digits; the error never quotes the value."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.BankCard(number=number)
    assert str(caught.value) == "BankCard.number: expected 12 to 19 digits, without spaces"


@pytest.mark.parametrize("number", ["4" * 12, NUMBER, "4" * 19])
def test_card_numbers_of_any_length(number) -> None:
    """Every length that a card number can have."""
    assert sg.BankCard(number=number).number == number


@pytest.mark.parametrize("contacts", [("a@b",), (sg.Contact(), None), ({"email": "a@b"},)])
def test_contacts_are_contacts(contacts) -> None:
    """The items of the tuple are checked, too."""
    with pytest.raises(sg.InvalidRequest, match=r"Customer\.contacts"):
        sg.Customer(contacts=contacts)


@pytest.mark.parametrize("session_id", ["", 3230, None])
def test_session_ids(session_id) -> None:
    """A session id is text that isn't empty."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.SessionRef(session_id)
    assert caught.value.field == "SessionRef.session_id"


def test_a_session_is_for_a_payout_or_a_payment() -> None:
    """Both instruments at once are refused; the error names the fields that go together."""
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
        ({"type": "bank_card", "bank_card": {}}, "OtherInstrument.wire.type"),
        ({"type": "encrypted_card", "encrypted_card": {}}, "OtherInstrument.wire.type"),
        ({"type": "x", "x": {1: 2}}, "OtherInstrument.wire.x"),
        ({"type": "x", "x": [b""]}, "OtherInstrument.wire.x[0]"),
    ],
)
def test_other_instruments(wire, field) -> None:
    """Any JSON object with a type."""
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
    """The error has the path inside, and the reason."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.CreateSession(metadata=value)
    assert caught.value.field == f"CreateSession.metadata{path}"
    assert problem in caught.value.problem


@extensible
@pytest.mark.parametrize(("value", "path", "problem"), NO_JSON)
def test_extra_fields_are_json(record, value, path, problem) -> None:
    """The same for fields without a name in the record."""
    with pytest.raises(sg.InvalidRequest) as caught:
        record(**LEAST[record], extra={"new": value})
    assert caught.value.field == f"{record.__name__}.extra.new{path}"
    assert problem in caught.value.problem


@pytest.mark.parametrize("metadata", [DEEP, [DEEP]])
def test_metadata_that_contains_itself(metadata) -> None:
    """A cycle is detected."""
    with pytest.raises(sg.InvalidRequest, match="is nested deeper than 64; does it contain itself"):
        sg.CreateSession(metadata=metadata)


@extensible
@pytest.mark.parametrize("extra", [None, [], "text", 1, [("a", 1)]])
def test_extra_is_an_object(record, extra) -> None:
    """A mapping of names to values, and nothing else."""
    with pytest.raises(sg.InvalidRequest) as caught:
        record(**LEAST[record], extra=extra)
    assert str(caught.value) == (
        f"{record.__name__}.extra: expected an object of names and values, "
        f"got {type(extra).__name__}"
    )


@extensible
def test_extra_refuses_named_fields(record) -> None:
    """A named field must be set by its name, or it might be sent twice."""
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
    sg.TokenRef: "token",
    sg.models.TransactionInfo: "external_subscription_token bank_account_ru_token",
    sg.models.RecurrentToken: "token",
    sg.models.PublicToken: "public_token",
    sg.models.TokenInfo: "token number_hash",
    sg.models.Redirect: "url qs params",
    sg.models.QrCode: "content img",
}


@pytest.mark.parametrize(
    ("record", "name"), [(record, name) for record in SECRET for name in SECRET[record].split()]
)
def test_secret_fields_show_in_no_repr(record, name) -> None:
    """The repr shows that there is a value, and nothing of it."""
    made = record(**{**EVERY[record], name: "s3cr3t"})
    assert f"{name}=***" in repr(made)
    assert "s3cr3t" not in f"{made!r}{made}"


def test_a_card_number_shows_in_no_repr() -> None:
    """None of its digits, alone or in a request."""
    card = sg.BankCard(number=NUMBER, security_code="987")
    for shown in (card, sg.CreateSession(payment_method=card), [card], {"card": card}):
        assert "4242" not in repr(shown)
        assert "987" not in repr(shown)
    assert repr(card) == (
        "BankCard(number=***, expiration_month=None, expiration_year=None, "
        "security_code=***, cardholder_name=None, extra=***)"
    )


@pytest.mark.parametrize("record", [r for r in EVERY if "extra" in attrs.fields_dict(r)])
def test_extra_shows_in_no_repr(record) -> None:
    """Undocumented fields may be secret, too."""
    assert "s3cr3t" not in repr(record(**EVERY[record], extra={"new": "s3cr3t"}))


def test_other_instruments_show_nothing() -> None:
    """Their content isn't known."""
    assert repr(sg.OtherInstrument({"type": "x", "x": "s3cr3t"})) == "OtherInstrument(wire=***)"


@given(instrument=payout_instruments)
def test_no_refusal_quotes_a_value(instrument) -> None:
    """A value passed for the wrong field isn't in the error."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.CreateSession(customer=instrument)
    assert str(caught.value) == (
        f"CreateSession.customer: expected Customer, got {type(instrument).__name__}"
    )


# Copies and pickles.


@pytest.mark.parametrize("record", [r for r in EVERY if r is not sg.BankCard])
def test_records_copy_and_pickle(record) -> None:
    """A request may wait in a queue."""
    made = record(**EVERY[record])
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301
    assert copy.copy(made) == copy.deepcopy(made) == attrs.evolve(made) == made


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_open_card_is_not_pickled(protocol) -> None:
    """Neither alone nor in a request; the error names the alternative."""
    card = sg.BankCard(number=NUMBER)
    for holder in (card, [card], sg.CreateSession(payment_details=card)):
        with pytest.raises(TypeError, match="pass an EncryptedCard") as caught:
            pickle.dumps(holder, protocol)
        assert NUMBER not in str(caught.value)


def test_an_open_card_copies_as_itself() -> None:
    """Copying a request doesn't put the number into memory a second time."""
    card = sg.BankCard(number=NUMBER)
    request = sg.CreateSession(payment_method=card)
    assert copy.copy(card) is copy.deepcopy(card) is card
    assert copy.deepcopy(request).payment_method is card


@pytest.mark.parametrize("record", ANSWERS, ids=lambda record: record.__name__)
@given(data=st.data())
def test_answers_copy_and_hash(record, data) -> None:
    """Answers can be stored, and found in a set."""
    answer = data.draw(ANSWERS[record])
    again = copy.deepcopy(answer)
    assert (again, hash(again)) == (answer, hash(answer))


@pytest.mark.parametrize("record", REQUESTS, ids=lambda record: record.__name__)
@given(data=st.data())
def test_requests_are_values(record, data) -> None:
    """Equal requests have equal hashes, whatever JSON they contain."""
    request = data.draw(REQUESTS[record])
    again = copy.deepcopy(request)
    assert (again, hash(again)) == (request, hash(request))
    assert isinstance(repr(request), str)


@pytest.mark.parametrize("record", INSTRUMENTS)
def test_every_instrument_is_one_for_payouts(record) -> None:
    """Three of them are also for payments, and so are those without a record."""
    made = record(**LEAST[record])
    pays = {sg.BankCard, sg.EncryptedCard, sg.Recurrent}

    assert sg.CreateSession(payment_method=made).payment_method is made
    assert isinstance(made, sg.models.PayoutInstrument)
    assert isinstance(made, sg.models.PaymentInstrument) is (record in pays)


def test_mappings_are_kept_as_they_are() -> None:
    """A record doesn't copy the caller's mapping."""
    extra: Mapping[str, int] = {"new": 1}
    assert sg.Contact(extra=extra).extra is extra


# Requests that take one of several things, or a time.


@pytest.mark.parametrize(
    "widgets",
    [
        {
            "tokenize_widget": sg.models.TokenizeWidget(),
            "acquiring_widget": sg.models.AcquiringWidget(session_id="s"),
        },
        {
            "acquiring_widget": sg.models.AcquiringWidget(session_id="s"),
            "fps_no_account_widget": sg.models.FpsNoAccountWidget(session_id="s"),
        },
        {"extra": {"new_widget": {}}},
    ],
)
def test_a_token_is_for_several_widgets(widgets) -> None:
    """The page marks each as optional, so they may go together."""
    made = sg.IssueToken(**widgets)
    wire = codec("v1").wire(made)
    assert set(wire) == set(widgets.get("extra", widgets))
    assert codec("v1").structure(wire, sg.IssueToken) == made


@pytest.mark.parametrize("widgets", [{}])
def test_a_token_is_for_a_widget(widgets) -> None:
    """None is a mistake; the refusal names the three."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.IssueToken(**widgets)
    assert str(caught.value) == (
        "IssueToken: give one of tokenize_widget, acquiring_widget, fps_no_account_widget"
    )


@pytest.mark.parametrize(
    "tokens",
    [
        {},
        {"card": CARD, "public_token": sg.TokenRef("t")},
        dict.fromkeys(("public_token", "recurrent_token"), sg.TokenRef("t")),
    ],
)
def test_token_request_is_about_one_token(tokens) -> None:
    """None or two are refused."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.GetTokenInfo(**tokens)
    assert str(caught.value) == "GetTokenInfo: give one of card, public_token, recurrent_token"


@pytest.mark.parametrize("record", [sg.IssueToken, sg.GetTokenInfo])
@pytest.mark.parametrize("stranger", ["text", {}, 1, sg.Customer()])
def test_the_one_thing_is_of_its_type(record, stranger) -> None:
    """An open card number is no token."""
    for name in attrs.fields_dict(record).keys() - {"extra"}:
        for wrong in (stranger, sg.BankCard(number=NUMBER)):
            with pytest.raises(sg.InvalidRequest) as caught:
                record(**{name: wrong})
            assert caught.value.field == f"{record.__name__}.{name}"
            assert caught.value.problem.endswith(f"got {type(wrong).__name__}")


def test_the_time_of_a_balance_has_an_offset() -> None:
    """Any time zone is accepted, a missing one isn't."""
    there = timezone(timedelta(hours=3))
    assert sg.GetBalance(request_datetime=MOMENT.astimezone(there)) == sg.GetBalance(
        request_datetime=MOMENT
    )
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.GetBalance(request_datetime=MOMENT.replace(tzinfo=None))
    assert str(caught.value) == (
        "GetBalance.request_datetime: has no offset from UTC; give it a tzinfo"
    )


# Sessions.


def session(status: str = "in_progress", **fields: Any) -> sg.Session:
    """Return a session."""
    return sg.Session(id="ps_1", status=status, **fields)


WAITS: Final = sg.models.CustomerInteraction(type="redirect", redirect=sg.models.Redirect(url="u"))


@pytest.mark.parametrize(
    ("status", "is_final"),
    [
        ("created", False),
        ("in_progress", False),
        ("accepted", True),
        ("cancelled", True),
        ("error", False),
        ("canceled", True),
        ("brand_new", False),
        ("", False),
    ],
)
def test_final_statuses(status, is_final) -> None:
    """The status error isn't final: what failed may still be paid."""
    assert session(status).is_final is is_final
    if status in set(sg.SessionStatus):
        assert session(sg.SessionStatus(status)).is_final is is_final


@pytest.mark.parametrize(
    ("fields", "is_due"),
    [
        ({}, False),
        ({"next_action": sg.NextAction.CONFIRM}, True),
        ({"next_action": "capture"}, True),
        ({"next_action": "brand_new"}, True),
        ({"status": "created", "next_action": "confirm"}, True),
        ({"status": "error", "next_action": "confirm"}, True),
        ({"status": "accepted", "next_action": "confirm"}, False),
        ({"status": "cancelled", "next_action": "confirm"}, False),
        ({"payment_list": (sg.Payment(id="p", status="pending"),)}, False),
        *(
            ({field: (record(id="p", status=status, customer_interaction=waits),)}, is_due)
            for field, record in (("payment_list", sg.Payment), ("payout_list", sg.Payout))
            for status, waits, is_due in (
                ("pending", WAITS, True),
                ("in_progress", WAITS, False),
                ("succeeded", WAITS, False),
                ("failed", WAITS, False),
                ("pending", None, False),
            )
        ),
        (
            {
                "status": "accepted",
                "payment_list": (sg.Payment(id="p", status="pending", customer_interaction=WAITS),),
            },
            False,
        ),
    ],
)
def test_actions_that_are_due(fields, is_due) -> None:
    """The merchant's or the payer's; none in a final session."""
    assert session(**fields).is_action_due is is_due


@pytest.mark.parametrize("name", ["payments", "acquiring_payments"])
def test_the_names_of_v1_are_not_taken(name) -> None:
    """`payments` are payouts in v1, which could be misread; the error says so."""
    with pytest.raises(AttributeError, match="payout_list and payment_list") as caught:
        getattr(session(), name)
    assert (caught.value.name, hasattr(session(), name)) == (name, False)


def test_other_misspelt_names() -> None:
    """Python's own error."""
    with pytest.raises(AttributeError, match="'Session' object has no attribute 'statu'"):
        _ = session().statu


# Where to send the payer.


def form(**fields: Any) -> tuple[str, str, dict[str, str]]:
    """Return the form on a redirect page: method, address, fields."""
    page = sg.models.Redirect(**fields).html()
    found = re.search(r'<form method="([a-z]+)" action="([^"]*)">', page)
    assert found is not None
    inputs = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page)
    return found[1], html.unescape(found[2]), {
        html.unescape(name): html.unescape(value) for name, value in inputs
    }  # fmt: skip


@pytest.mark.parametrize(
    ("redirect", "done"),
    [
        (
            {"url": "https://a/acs?x=1", "method": "POST", "params": {"PaReq": "p", "MD": "m"}},
            ("post", "https://a/acs?x=1", {"PaReq": "p", "MD": "m"}),
        ),
        ({"url": "https://a", "method": "post"}, ("post", "https://a", {})),
        # With GET, a browser drops the query of a form's address, so it is sent as fields.
        (
            {"url": "https://a/b?x=1&y=%20z&e=#f", "method": "GET", "params": {"MD": "m"}},
            ("get", "https://a/b", {"x": "1", "y": " z", "e": "", "MD": "m"}),
        ),
        ({"url": "https://a/b", "method": "get"}, ("get", "https://a/b", {})),
        ({"url": "https://a/b?x=1"}, ("get", "https://a/b", {"x": "1"})),
        (
            {"url": "https://a/b?x=1", "params": {"MD": "m"}},
            ("post", "https://a/b?x=1", {"MD": "m"}),
        ),
        ({"url": "https://a", "method": "PUT"}, ("post", "https://a", {})),
        ({"url": "https://a", "params": ["MD"]}, ("get", "https://a", {})),
        ({"url": "https://a", "params": {"n": 7}}, ("post", "https://a", {"n": "7"})),
    ],
)
def test_the_page_of_a_redirect(redirect, done) -> None:
    """It sends the payer's browser to the address, with the fields that the bank requires."""
    assert form(**redirect) == done
    assert "<button>" in sg.models.Redirect(**redirect).html()


NASTY: Final = """"'><script>alert(1)</script>&amp;"""


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_the_page_of_a_redirect_is_escaped(method) -> None:
    """No address, name or value can add markup to the page."""
    redirect = {"url": f"https://a/{NASTY}", "method": method, "params": {NASTY: NASTY}}

    assert "<script" not in sg.models.Redirect(**redirect).html()
    assert form(**redirect)[1:] == (f"https://a/{NASTY}", {NASTY: NASTY})


# Events.


def event(**fields: Any) -> sg.WebhookEvent:
    """Return an event about a payment."""
    paid = sg.Payment(id="pm_1", status="succeeded", refunds=fields.pop("refunds", ()))
    wanted = {"status": "accepted", "payment_list": (paid,), **fields}
    return sg.PaymentRefunded(type="payment_refunded", session=session(**wanted))


REFUNDED: Final = (sg.Refund(id="rf_1", status="accepted"),)


def test_a_redelivery_has_the_same_identity() -> None:
    """The same body read again; other fields around it don't matter."""
    first = event(refunds=REFUNDED)
    again = event(refunds=REFUNDED, updated_at=MOMENT, extra={"x": 1})
    assert first.identity == again.identity == copy.deepcopy(first).identity


@pytest.mark.parametrize(
    "other",
    [
        event(),
        event(refunds=(*REFUNDED, sg.Refund(id="rf_2", status="accepted"))),
        event(refunds=(sg.Refund(id="rf_1", status="declined"),)),
        event(refunds=REFUNDED, status="in_progress"),
        event(refunds=REFUNDED, next_action="confirm"),
        event(refunds=REFUNDED, payout_list=(sg.Payout(id="po_1", status="pending"),)),
        sg.PaymentFinished(type="payment_finished", session=event(refunds=REFUNDED).session),
    ],
)
def test_another_event_has_another_identity(other) -> None:
    """A later refund of the same payment, a step of the session, or another type."""
    assert event(refunds=REFUNDED).identity != other.identity


def test_a_second_thing_to_do_is_another_event() -> None:
    """Another page for the payer is a new event for handlers."""

    def asked(**redirect: Any) -> str:
        interaction = sg.models.CustomerInteraction(
            type="redirect", redirect=sg.models.Redirect(**redirect)
        )
        payment = sg.Payment(id="pm_1", status="pending", customer_interaction=interaction)
        told = session(status="in_progress", payment_list=(payment,))
        return sg.ActionRequired(type="action_required", session=told).identity

    first = asked(url="https://a", params={"MD": "1"})
    assert first == asked(url="https://a", params={"MD": "1"})
    assert len({first, asked(url="https://b"), asked(url="https://a", params={"MD": "2"})}) == 3


def test_every_event_knows_its_type() -> None:
    """The five types of the provider's pages."""
    assert {record.__name__: record.wire_type for record in EVENTS.values()} == {
        "ReadyToConfirm": "ready_to_confirm",
        "ReadyToCapture": "ready_to_capture",
        "ActionRequired": "action_required",
        "PaymentFinished": "payment_finished",
        "PaymentRefunded": "payment_refunded",
    }
    assert sg.WebhookEvent.wire_type == ""


def test_a_session_full_of_secrets_shows_none() -> None:
    """Tokens, numbers, fields of a bank's form and phones aren't in the repr."""
    s3cr3t = "s3cr3t"
    someone = sg.Participant(email=s3cr3t, msisdn=s3cr3t, account=s3cr3t)
    rest: dict[str, Any] = {
        "customer": sg.Customer(contacts=(sg.Contact(email=s3cr3t, phone=s3cr3t),)),
        "participant_details": sg.ParticipantDetails(sender=someone, recipient=someone),
        "transaction_info": sg.models.TransactionInfo(external_subscription_token=s3cr3t),
        "customer_interaction": sg.models.CustomerInteraction(
            type="redirect",
            redirect=sg.models.Redirect(url=s3cr3t, qs=s3cr3t, params={"PaReq": s3cr3t}),
            inform=sg.models.QrCodeInfo(qr=sg.models.QrCode(content=s3cr3t, img=s3cr3t)),
        ),
        "extra": {"x": s3cr3t},
    }
    paid = sg.Payment(
        id="pm_1",
        status="pending",
        payment_details=sg.Recurrent(token=s3cr3t),
        recurrent=sg.models.RecurrentToken(token=s3cr3t),
        **rest,
    )
    phone = sg.FasterPayment(phone=s3cr3t, bank_id="b")
    sent = sg.Payout(id="po_1", status="pending", payment_method=phone, **rest)
    whole = session(payout_list=(sent,), payment_list=(paid,), extra={"x": s3cr3t})

    for shown in (whole, sg.WebhookEvent(type="t", session=whole, extra={"x": s3cr3t})):
        assert s3cr3t not in f"{shown!r}{shown}"


@pytest.mark.parametrize(
    "request_",
    [
        sg.DisableRecurrent(recurrent=sg.TokenRef("s3cr3t")),
        sg.GetTokenInfo(public_token=sg.TokenRef("s3cr3t")),
        sg.GetTokenInfo(card=sg.EncryptedCard(number_hash="s3cr3t")),
        sg.InitPayment(
            payment_details=sg.Recurrent(token="s3cr3t"),  # noqa: S106
            amount_details=USD,
            customer=sg.Customer(contacts=(sg.Contact(phone="s3cr3t"),)),
        ),
        sg.VerifyCustomer(
            session_id="s",
            payment_method=sg.FasterPaymentVerification(phone="s3cr3t", bank_id="b"),
            participant_details=sg.ParticipantDetails(recipient=sg.Participant(msisdn="s3cr3t")),
        ),
    ],
)
def test_requests_with_secrets_show_none(request_) -> None:
    """Tokens and phones aren't in the repr, at any depth."""
    assert "s3cr3t" not in f"{request_!r}{request_}"
