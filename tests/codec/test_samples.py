"""The files in ``samples``: each is read as its record, and requests are written like them."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import reduce
from operator import attrgetter
from typing import Any, Final, get_args, get_type_hints

import attrs
import pytest
from places import ROOT

import smartglocal_async as sg
from smartglocal_async.codec import ApiVersion, NotDecodable, codec, parse
from smartglocal_async.codec.instruments import instruments_table
from smartglocal_async.envelope import HttpReply, Verdict, read_reply
from smartglocal_async.models.events import EVENTS, deadlines_table, events_table
from smartglocal_async.models.tokens import ListBanks
from smartglocal_async.operations import OPERATIONS, Repeat, operations_table, python_method

SAMPLES: Final = {path.name: path.read_bytes() for path in ROOT.glob("tests/samples/*.json")}
CALLS: Final = {operation.path.replace("/", "-"): operation for operation in OPERATIONS}
WEBHOOKS: Final = sorted(name for name in SAMPLES if name.startswith("webhook-"))
BODILESS: Final = "fps-banks.request.json"


def named(kind: str) -> list[str]:
    """Return the names of the samples of one kind: request, ok, error."""
    return sorted(name for name in SAMPLES.keys() - WEBHOOKS if name.split(".")[1] == kind)


def version_of(name: str) -> ApiVersion:
    """Return the API version whose names a sample uses."""
    return "v2" if name.endswith(".v2.json") else "v1"


def call_of(name: str) -> sg.operations.Operation[Any, Any]:
    """Return the operation of a sample."""
    return CALLS[name.partition(".")[0]]


REQUESTS: Final = [name for name in named("request") if name != BODILESS]
ANSWERS: Final = named("ok")
REFUSALS: Final = named("error")


def request(name: str) -> Any:
    """Return the record of a request."""
    return codec(version_of(name)).decode(SAMPLES[name], call_of(name).request)


def verdict(name: str) -> Verdict:
    """Return the verdict about an answer."""
    reply = HttpReply(200, "application/json", SAMPLES[name])
    return read_reply(codec(version_of(name)), call_of(name), reply)


def event(name: str, version: ApiVersion) -> sg.WebhookEvent:
    """Return the event of a webhook."""
    return codec(version).decode(SAMPLES[name], sg.WebhookEvent)


def at(value: Any, path: str) -> Any:
    """Follow a path of fields and indices: ``payout_list.0.status``."""

    def step(inner: Any, name: str) -> Any:
        return inner[int(name)] if name.isdecimal() else getattr(inner, name)

    return reduce(step, path.split("."), value)


def unnamed_places(value: object, path: str = "") -> list[str]:
    """Return the places in a record without a named field."""
    if isinstance(value, sg.OtherInstrument):
        return [path]
    if isinstance(value, tuple):
        return [
            place
            for index, item in enumerate(value)
            for place in unnamed_places(item, f"{path}.{index}")
        ]
    if not attrs.has(type(value)):
        return []
    extra: Mapping[str, Any] = getattr(value, "extra", {})
    inside = [
        place
        for field in attrs.fields(type(value))
        if field.name not in {"extra", "metadata"}
        for place in unnamed_places(getattr(value, field.name), f"{path}.{field.name}")
    ]
    return [f"{path}.extra.{name}" for name in extra] + inside


# The folder.


def test_every_sample_has_its_source() -> None:
    """The table lists each file, except those that only have the names of v2."""
    page = (ROOT / "tests/samples/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)

    assert len(rows) == len(set(rows))
    assert {row for row in rows if row.endswith(".json")} == {
        name for name in SAMPLES if version_of(name) == "v1"
    }


@pytest.mark.parametrize("name", SAMPLES)
def test_no_sample_ends_with_a_line_break(name) -> None:
    """As on the pages; and each is JSON."""
    assert SAMPLES[name] == SAMPLES[name].strip()
    assert parse(SAMPLES[name]) == json.loads(SAMPLES[name])


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda row: row.path)
@pytest.mark.parametrize("kind", ["request", "ok"])
def test_every_call_has_samples(operation, kind) -> None:
    """A new operation needs samples of its request and answer, in each version."""
    there = {version_of(name) for name in named(kind) if call_of(name) is operation}
    assert there == set(operation.versions)


@pytest.mark.parametrize("kind", EVENTS)
def test_every_event_has_samples(kind) -> None:
    """In both versions, because the version of a webhook isn't known."""
    there = {version_of(name) for name in WEBHOOKS if name.startswith(f"webhook-{kind}.")}
    assert there == {"v1", "v2"}


# Requests.


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_are_read_and_written(name) -> None:
    """A request that is read and written again is the same; every field is named.

    Only a currency in capitals is written in small letters.
    """
    read = request(name)

    written = SAMPLES[name].replace(b'"RUB"', b'"rub"')
    assert parse(codec(version_of(name)).encode(read)) == parse(written)
    assert unnamed_places(read) == []


def test_a_call_without_a_request() -> None:
    """Its body is a setting; the sample is that of the sister platform's SDK."""
    assert sg.Settings().bodiless == SAMPLES[BODILESS]


@pytest.mark.parametrize("name", [name for name in REQUESTS if version_of(name) == "v2"])
def test_both_versions_say_the_same(name) -> None:
    """One record is written with the names of either version."""
    assert request(name) == request(name.replace(".v2", ""))


@pytest.mark.parametrize(
    "name", [name for name in REQUESTS if b'"payment_method"' in SAMPLES[name]]
)
def test_the_names_of_the_other_version_are_refused(name) -> None:
    """By their path, in both directions: they could make an operation fail."""
    other = name.replace(".json", ".v2.json")
    for sample, version, wrong in (
        (name, "v2", "payment_method"),
        (other, "v1", "payout_details"),
    ):
        with pytest.raises(NotDecodable) as caught:
            codec(version).decode(SAMPLES[sample], call_of(sample).request)
        assert (f"$.{wrong}", "is no field of this record") in caught.value.complaints


TEST_PERSON: Final = {"first_name": "Test", "last_name": "Recipient"}
BY_HAND: Final = {
    "session-create.request.json": sg.CreateSession(
        amount_details=sg.AmountDetails.of("100.00", "usd"), metadata="order123"
    ),
    "session-start-payout.request.json": sg.StartPayout(session_id="ps_3230"),
    "session-start-payout.request.card-open.json": sg.StartPayout(
        session_id="ps_3230",
        payment_method=sg.BankCard(number="4242424242424242"),
        amount_details=sg.AmountDetails(10_000, "usd"),
        participant_details=sg.ParticipantDetails(
            recipient=sg.Participant(full_name="Test Recipient")
        ),
    ),
    "session-start-payout.request.brazil.json": sg.StartPayout(
        session_id="ps_3230",
        payment_method=sg.GlobalAccount(
            bank_account_number="000000000",
            branch_number="0000",
            account_type="DEPOSIT",
            description="test remittance",
        ),
        amount_details=sg.AmountDetails(10_000, "usd"),
        participant_details=sg.ParticipantDetails(
            recipient=sg.Participant(
                bank_name="Test Bank",
                currency="brl",
                country_iso3="BRA",
                identity_document=sg.IdentityDocument(id_number="00000000000"),
                **TEST_PERSON,
            ),
            sender=sg.Participant(
                company_name="Test Company",
                registration_number="000000",
                country_iso3="BEL",
                code="000000",
            ),
        ),
    ),
    "session-start-payout.request.fps.json": sg.StartPayout(
        session_id="ps_3230",
        payment_method=sg.FasterPayment(
            phone="70000000000", bank_id="100000000069", description="test remittance"
        ),
        amount_details=sg.AmountDetails(10_000, "rub"),
    ),
    "session-init-payment.request.json": sg.InitPayment(
        payment_details=sg.BankCard(
            number="4242424242424242",
            expiration_month="05",
            expiration_year="25",
            security_code="123",
        ),
        amount_details=sg.AmountDetails(10_000, "usd"),
        customer=sg.Customer(reference="user123"),
        metadata="order123",
    ),
    "session-init-payment.request.cit.json": sg.InitPayment(
        payment_details=sg.Recurrent(token="0000", initiator="client"),  # noqa: S106 - a sample
        amount_details=sg.AmountDetails(10_000, "usd"),
        customer=sg.Customer(reference="user123"),
        payment_options=sg.PaymentOptions(return_url="https://example.com/return"),
    ),
    "session-confirm.request.json": sg.SessionRef("ps_3230"),
    "session-capture.request.part.json": sg.CapturePayment(
        session_id="ps_3230", amount_details=sg.AmountDetails(5_000, "usd")
    ),
    "session-refund.request.part.json": sg.RefundPayment(
        session_id="ps_3230", amount_details=sg.AmountDetails(5_000, "usd"), metadata="refund123"
    ),
    "wallet-balance.request.json": sg.GetBalance(
        request_datetime=datetime(2024, 4, 10, 19, 53, tzinfo=timezone(timedelta(hours=3)))
    ),
    "token.request.tokenize-widget.json": sg.IssueToken(
        tokenize_widget=sg.models.TokenizeWidget(access=True, locale="en")
    ),
    "token.request.acquiring-widget-text.json": sg.IssueToken(
        acquiring_widget=sg.models.AcquiringWidget(
            session_id="ps_3230", show_recurrent_checkbox="true", redirect_target="_self"
        )
    ),
    "token.request.fps-no-account-widget.json": sg.IssueToken(
        fps_no_account_widget=sg.models.FpsNoAccountWidget(session_id="ps_123456")
    ),
    "token-info.request.card.json": sg.GetTokenInfo(card=sg.EncryptedCard(number_hash="0" * 40)),
    "token-info.request.public-token.json": sg.GetTokenInfo(public_token=sg.TokenRef("0000")),
    "token-info.request.recurrent-token.json": sg.GetTokenInfo(recurrent_token=sg.TokenRef("0000")),
    "sberpay-push.request.json": sg.models.PushSberPay(session_id="ps_3230", phone="+70000000000"),
    "exchange_rate.request.json": sg.models.GetExchangeRate(),
    "recurrent-disable.request.json": sg.DisableRecurrent(recurrent=sg.TokenRef("0000")),
    "fps-customer_verification.request.json": sg.VerifyCustomer(
        session_id="ps_3230",
        payment_method=sg.FasterPaymentVerification(phone="70000000000", bank_id="100000000069"),
        participant_details=sg.ParticipantDetails(
            recipient=sg.Participant(middle_name="Middle", **TEST_PERSON)
        ),
    ),
}


@pytest.mark.parametrize(("name", "record"), BY_HAND.items(), ids=list(BY_HAND))
def test_requests_made_by_hand(name, record) -> None:
    """A record created by a program is written as the sample, in each version."""
    for sample in {name, name.replace(".json", ".v2.json")} & SAMPLES.keys():
        assert request(sample) == record
        assert parse(codec(version_of(sample)).encode(record)) == parse(SAMPLES[sample])


# Answers.

MOMENT: Final = datetime(2024, 5, 27, 2, 3, tzinfo=UTC)
MOSCOW: Final = datetime(2024, 5, 27, 2, 3, tzinfo=timezone(timedelta(hours=3)))
USD_100: Final = sg.AmountDetails(10_000, "usd")
MASKED: Final = sg.models.MaskedCard(last4="4242", brand="visa")
PHONE: Final = sg.FasterPaymentVerification(phone="70000000000", bank_id="100000000069")
# Sample -> path in its record -> value.
FACTS: Final[dict[str, dict[str, object]]] = {
    "session-create.ok": {
        "id": "ps_3230",
        "status": sg.SessionStatus.CREATED,
        "created_at": MOMENT,
        "updated_at": MOMENT,
        "payout_list": (),
        "payment_list": (),
        "is_final": False,
        "is_action_due": False,
    },
    "session-start-payout.ok": {
        "status": sg.SessionStatus.IN_PROGRESS,
        "payout_list.0.id": "po_1313",
        "payout_list.0.status": sg.OperationStatus.IN_PROGRESS,
        "payout_list.0.created_at": MOMENT,
        "payout_list.0.payment_method": MASKED,
        "payout_list.0.amount_details": USD_100,
        "payout_list.0.customer.reference": "user123",
        "payout_list.0.metadata": "order123",
        "payment_list": (),
        "next_action": None,
    },
    "session-start-payment.ok": {
        "payment_list.0.id": "pm_1313",
        "payment_list.0.status": sg.OperationStatus.IN_PROGRESS,
        "payment_list.0.payment_details": attrs.evolve(MASKED, bin="424242", card_id="0000"),
        "payment_list.0.amount_details": USD_100,
        "payout_list": (),
    },
    "session-init-payout.ok": {
        "payout_list.0.payment_method": sg.GlobalAccount(
            iban="BE54000000000000", description="test remittance"
        ),
        "payout_list.0.participant_details.recipient.bank_name": (
            "All Banks Belgium / EUR / Payment System: SEPA"
        ),
        "payout_list.0.participant_details.sender.company_name": "Test Company",
    },
    "session-init-payment.ok": {"payment_list.0.id": "pm_1313"},
    "session-confirm.ok": {
        "status": sg.SessionStatus.IN_PROGRESS,
        "payout_list.0.status": sg.OperationStatus.PENDING,
        "is_final": False,
        "is_action_due": False,
    },
    "session-cancel.ok": {
        "status": sg.SessionStatus.IN_PROGRESS,
        "payout_list.0.status": sg.OperationStatus.PENDING,
        "is_final": False,
    },
    "session-capture.ok": {"payment_list.0.status": sg.OperationStatus.PENDING},
    "session-refund.ok": {
        "status": sg.SessionStatus.IN_PROGRESS,
        "payment_list.0.status": sg.OperationStatus.SUCCEEDED,
        "payment_list.0.refunds.0.id": "rf_23",
        "payment_list.0.refunds.0.status": sg.models.RefundStatus.IN_PROGRESS,
        "payment_list.0.refunds.0.amount_details": USD_100,
        "payment_list.0.refunds.0.is_chargeback": None,
    },
    "session-status.ok": {
        "status": sg.SessionStatus.ACCEPTED,
        "payout_list.0.status": sg.OperationStatus.SUCCEEDED,
        "payout_list.0.finished_at": MOMENT + timedelta(minutes=1),
        "payout_list.0.transaction_info.rrn": "000000000000",
        "payout_list.0.transaction_info.auth_code": "000000",
        "is_final": True,
        "is_action_due": False,
    },
    "session-status.ok.created": {"status": "created", "is_final": False},
    "session-status.ok.to-confirm": {
        "next_action": sg.NextAction.CONFIRM,
        "is_action_due": True,
        "is_final": False,
    },
    "session-status.ok.to-capture": {
        "next_action": sg.NextAction.CAPTURE,
        "payment_list.0.payment_details.card_id": "0000",
        "is_action_due": True,
        "is_final": False,
    },
    "session-status.ok.two-payouts": {
        "payout_list.0.status": "succeeded",
        "payout_list.1.id": "po_1314",
        "payout_list.1.status": "failed",
        "payout_list.1.error.code": "account_not_found",
    },
    "session-status.ok.cancelled": {
        "status": sg.SessionStatus.CANCELLED,
        "payout_list.0.status": "canceled",
        "payout_list.0.error.code": "confirm_timeout",
        "is_final": True,
    },
    "session-status.ok.canceled": {
        "status": sg.SessionStatus.CANCELED,
        "payment_list.0.status": "canceled",
        "is_cancelled": True,
        "is_final": True,
    },
    "session-status.ok.failed": {
        "status": sg.SessionStatus.CANCELLED,
        "is_final": True,
        "payment_list.0.status": sg.OperationStatus.FAILED,
        "payment_list.0.error.code": "error code",
        "payment_list.0.participant_details.sender.ipv4": "192.0.2.7",
        "payment_list.0.amounts": sg.models.Amounts(),
        "payment_list.0.recurrent": None,
    },
    "session-status.ok.older": {"id": "3230", "status": "created"},
    "session-status.ok.error": {
        "status": sg.SessionStatus.ERROR,
        "payout_list.0.status": sg.OperationStatus.FAILED,
        "error.code": "error code",
        "error.description": "error description",
        "error.reject_reasons": (
            sg.models.RejectReason(
                rule_alias="test rule", list_alias="test list", expiration_date="2024-05-27"
            ),
        ),
        "is_final": False,
        "is_action_due": False,
    },
    "session-status.ok.redirect": {
        "payment_list.0.status": sg.OperationStatus.PENDING,
        "payment_list.0.customer_interaction.type": sg.models.InteractionType.REDIRECT,
        "payment_list.0.customer_interaction.redirect.url": "https://example.com/acs?id=0000",
        "payment_list.0.customer_interaction.redirect.base_url": "https://example.com/acs",
        "payment_list.0.customer_interaction.redirect.method": "POST",
        "payment_list.0.customer_interaction.redirect.qs": {"id": "0000"},
        "payment_list.0.customer_interaction.redirect.params": {
            "PaReq": "test pareq",
            "MD": "test md",
        },
        "is_action_due": True,
    },
    "session-status.ok.inform": {
        "payment_list.0.customer_interaction.type": sg.models.InteractionType.INFORM,
        "payment_list.0.customer_interaction.inform.qr.content": "test content",
        "payment_list.0.customer_interaction.inform.qr.img": "test image",
        "is_action_due": True,
    },
    "session-status.ok.recurrent": {
        "payment_list.0.recurrent.token": "0000",
        "payment_list.0.recurrent.is_active": True,
        "payment_list.0.recurrent.created_at": MOSCOW,
    },
    "session-status.ok.amounts": {
        "payment_list.0.amounts.gross": USD_100,
        "payment_list.0.amounts.net": sg.Amount(9_900, "usd"),
        "payment_list.0.amounts.fee.merchant_fee": sg.Amount(100, "usd"),
    },
    "session-status.ok.transaction-info": {
        "payment_list.0.transaction_info": sg.models.TransactionInfo(
            rrn="000000000000",
            auth_code="000000",
            arn="0" * 23,
            fp_message_id="0000",
            external_subscription_token="0000",  # noqa: S106 - a sample
            bank_account_ru_token="0000",  # noqa: S106 - a sample
        )
    },
    "session-status.ok.text-amount": {"payout_list.0.amount_details": sg.Amount(10_000, "rub")},
    "session-status.ok.verified": {
        "status": "accepted",
        "payout_list.0.payment_method": PHONE,
        "payout_list.0.participant_details.recipient.middle_name": "Middle",
    },
    "wallet-balance.ok": {
        "0": sg.models.Wallet(id="0000", amount_details=USD_100),
        "1.amount_details": sg.Amount(0, "eur"),
        "1.amount_details.decimal": 0,
    },
    "wallet-balance.ok.object": {"0": sg.models.Wallet(id="0000", amount_details=USD_100)},
    "token.ok": {"public_token": "0" * 64},
    "token-info.ok.card": {
        "type": "card",
        "number_hash": "0" * 40,
        "brand": "visa",
        "last4": "4242",
        "country_iso3": "BEL",
    },
    "token-info.ok.public-token": {
        "type": "public_token",
        "token": "0000",
        "created_at": MOSCOW,
        "expires_at": MOSCOW + timedelta(days=1),
        "is_active": True,
    },
    "token-info.ok.recurrent-token": {"type": "recurrent_token", "token": "0000", "last4": "4242"},
    "recurrent-disable.ok": {
        "token": "0000",
        "created_at": MOSCOW,
        "finished_at": MOSCOW + timedelta(minutes=1),
        "is_active": False,
        "type": "recurrent_token",
    },
    "recurrent-disable.ok.older": {"is_active": False, "type": None},
    "fps-customer_verification.ok": {"payout_list.0.payment_method": PHONE},
    "session-create.ok.conversion": {
        "exchange_amounts.0.source": sg.Amount(500, "eur"),
        "exchange_amounts.0.destination": sg.Amount(540, "usd"),
        "exchange_amounts.0.rate": Decimal("1.080001"),
        "exchange_amounts.0.rate_source": "oer",
        "exchange_amounts.0.reserved_to": MOMENT + timedelta(seconds=30),
    },
    "session-start-payment.ok.sber-pay": {
        "status": sg.SessionStatus.IN_PROGRESS,
        "payment_list.0.status": sg.OperationStatus.IN_PROGRESS,
        "payment_list.0.payment_details": sg.models.SberPay(channel="app"),
        "payment_list.0.amounts.gross.amount": 10_000,
        "payment_list.0.amounts.net": None,
        "payment_list.0.payment_options.return_url": "https://shop.example/back",
    },
    "sberpay-push.ok": {},
    "exchange_rate.ok": {
        "rate": Decimal("0.0125"),
        "source_currency": "RUB",
        "destination_currency": "USD",
        "active_from": datetime(2024, 5, 27, 2, tzinfo=UTC),
        "active_to": datetime(2024, 5, 27, 3, tzinfo=UTC),
    },
    "fps-banks.ok": {
        "0.id": "100000000069",
        "0.eng_name": "Test Bank",
        "0.ru_name": "\u0422\u0435\u0441\u0442\u043e\u0432\u044b\u0439 \u0431\u0430\u043d\u043a",
    },
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_read(name) -> None:
    """Each is read as its record, every value in its field, with both versions' names."""
    answer = verdict(name).answer

    facts = FACTS[re.sub(r"(\.v2)?\.json$", "", name)]
    assert {path: at(answer, path) for path in facts} == facts
    assert unnamed_places(answer) == []


def test_every_fact_has_its_sample() -> None:
    """Every row of the table above has a sample."""
    assert {f"{name}.json" for name in FACTS} <= set(ANSWERS)


@pytest.mark.parametrize("name", [name for name in ANSWERS if call_of(name).answer is sg.Session])
def test_sessions_are_written_as_they_were_read(name) -> None:
    """A session stored as JSON equals the answer; an amount is a number, a currency lower-case."""
    version = codec(version_of(name))
    answer = verdict(name).answer
    again = version.encode(answer)

    assert version.decode(again, sg.Session) == answer
    written = re.sub(rb'"amount": "([0-9]+)"', rb'"amount": \1', SAMPLES[name])
    written = written.replace(b"2024-05-27T02:03:00+03:00", b"2024-05-26T23:03:00.000000Z")
    written = written.replace(b'"RUB"', b'"rub"')
    assert parse(again) == parse(written)["session"]


@pytest.mark.parametrize("name", [name for name in ANSWERS if version_of(name) == "v2"])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_answers_are_understood_in_either_version(name, version) -> None:
    """The lists of an answer may have the names of v1 or v2."""
    for sample in (name, name.replace(".v2", "")):
        reply = HttpReply(200, "application/json", SAMPLES[sample])
        read = read_reply(codec(version), call_of(sample), reply)
        assert read.answer == verdict(name).answer


@pytest.mark.parametrize("http_status", [200, 400, 422])
@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_are_read(name, http_status) -> None:
    """Code and description unchanged, under any HTTP status."""
    moves_money = call_of(name).repeat is Repeat.MOVES_MONEY
    reply = HttpReply(http_status, "application/json", SAMPLES[name])
    read = read_reply(codec("v1"), call_of(name), reply)

    error = parse(SAMPLES[name])["error"]
    assert (read.code, read.description) == (error["code"], error["description"])
    assert (read.happened, read.code_class) == {
        "error code": (
            sg.AttemptResult.UNKNOWN if moves_money else sg.AttemptResult.REFUSED,
            sg.errors.CodeClass.UNRECOGNISED,
        ),
        "invalid_request": (sg.AttemptResult.REFUSED, sg.errors.CodeClass.PERMANENT),
        "internal_error": (sg.AttemptResult.UNKNOWN, sg.errors.CodeClass.TRANSIENT),
        "idempotency_key_already_exists": (sg.AttemptResult.ARRIVED, sg.errors.CodeClass.DUPLICATE),
    }[error["code"]]


# Webhooks.


@pytest.mark.parametrize("name", WEBHOOKS)
def test_webhooks_are_read_in_either_version(name) -> None:
    """By their type, with the names of either version, in a client of either version."""
    first, second = event(name, "v1"), event(name, "v2")

    assert type(first) is EVENTS[name.removeprefix("webhook-").partition(".")[0]]
    assert first == second
    assert first == event(name.replace(".v2", ""), "v1")
    assert first.session.payout_list == second.session.payout_list
    assert first.session.payout_list or first.session.payment_list
    assert first.identity == second.identity


EVENT_FACTS: Final[dict[str, dict[str, object]]] = {
    "ready_to_confirm": {
        "session.next_action": sg.NextAction.CONFIRM,
        "session.payout_list.0.status": sg.OperationStatus.PENDING,
        "session.is_action_due": True,
        "identity": "ready_to_confirm|ps_3230|in_progress|confirm|po_1313|pending",
    },
    "ready_to_confirm.payment": {"session.payment_list.0.id": "pm_1313"},
    "ready_to_capture": {
        "session.next_action": None,
        "session.payment_list.0.status": sg.OperationStatus.PENDING,
    },
    "action_required": {
        "session.payment_list.0.customer_interaction.redirect.params": {
            "PaReq": "test pareq",
            "MD": "test md",
        },
        "session.is_action_due": True,
    },
    "payment_finished": {
        "session.status": sg.SessionStatus.ACCEPTED,
        "session.payout_list.0.status": sg.OperationStatus.SUCCEEDED,
        "session.payout_list.0.transaction_info.rrn": "000000000000",
    },
    "payment_finished.payment": {"session.payment_list.0.transaction_info.auth_code": "000000"},
    "payment_finished.error": {
        "session.status": sg.SessionStatus.ERROR,
        "session.payout_list.0.status": sg.OperationStatus.FAILED,
        "session.is_final": False,
    },
    "payment_finished.more": {
        "extra": {"x_new": [1]},
        "session.extra": {"x_new": {"a": None}},
        "session.payout_list.0.extra": {"x_new": 1},
    },
    "payment_refunded": {
        "session.payment_list.0.refunds.0.id": "rf_203",
        "session.payment_list.0.refunds.0.status": sg.models.RefundStatus.ACCEPTED,
        "session.payment_list.0.refunds.0.is_chargeback": False,
        "identity": "payment_refunded|ps_3230|accepted||pm_1313|succeeded|rf_203|accepted",
    },
    "action_required.qr": {
        "session.payment_list.0.payment_details": sg.models.FasterPaymentQr(),
        "session.payment_list.0.customer_interaction.inform.qr": sg.models.QrCode(
            content="https://qr.example/0000", img="AAAA"
        ),
        "session.is_action_due": True,
    },
    "payment_finished.fps-recurrent": {
        "session.payment_list.0.customer.contacts.0.phone": "7900*****00",
        "session.payment_list.0.metadata": {"order": "order123"},
        "session.payment_list.0.amount_details.amount": 10_000,
        "session.payment_list.0.recurrent.token": "0" * 64,
        "session.payment_list.0.amounts": sg.models.Amounts(),
        "session.payment_list.0.recurrent.created_at": MOSCOW,
        "session.payment_list.0.recurrent.finished_at": datetime(
            2034, 5, 27, 2, 2, 59, tzinfo=MOSCOW.tzinfo
        ),
        "session.payment_list.0.recurrent.type": "recurrent_token",
        "session.payment_list.0.recurrent.is_active": True,
        "session.is_final": True,
    },
    "action_required.sber-pay": {
        "session.payment_list.0.customer_interaction.redirect": sg.models.Redirect(
            url="https://example.com/pay?id=0000"
        ),
        "session.payment_list.0.payment_options": sg.PaymentOptions(
            return_url="https://example.com/return", recurrent=True
        ),
        "session.payment_list.0.amounts.net": None,
        "session.is_action_due": True,
    },
    "payment_finished.failed": {
        "session.status": sg.SessionStatus.CANCELLED,
        "session.is_final": True,
        "session.payment_list.0.status": sg.OperationStatus.FAILED,
        "session.payment_list.0.error.description": "error description",
        "session.payment_list.0.recurrent": None,
    },
    "payment_refunded.payout": {
        "session.payout_list.0.status": sg.OperationStatus.SUCCEEDED,
        "session.payout_list.0.refunds.0.id": "rf_203",
        "session.payout_list.0.refunds.0.is_chargeback": None,
        "identity": "payment_refunded|ps_3230|accepted||po_1313|succeeded|rf_203|accepted",
    },
    "payment_refunded.chargeback": {"session.payment_list.0.refunds.0.is_chargeback": True},
}


@pytest.mark.parametrize("name", WEBHOOKS)
def test_events_carry_their_facts(name) -> None:
    """Every value is in its field; only undocumented fields are in `extra`."""
    read = event(name, version_of(name))

    facts = EVENT_FACTS[re.sub(r"^webhook-|(\.v2)?\.json$", "", name)]
    assert {path: at(read, path) for path in facts} == facts
    assert [place for place in unnamed_places(read) if not place.endswith("x_new")] == []


# The page of operations.


def test_the_page_of_the_calls_is_printed_by_the_code() -> None:
    """The page shows the table that the code prints."""
    page = (ROOT / "docs/reference/operations.md").read_text(encoding="utf-8")
    assert f"\n\n{operations_table()}\n\n" in page


@pytest.mark.parametrize("table", [instruments_table, events_table, deadlines_table])
def test_the_page_shows_what_the_code_prints(table) -> None:
    """Instruments, events and deadlines, to the letter."""
    page = (ROOT / "docs/reference/operations.md").read_text(encoding="utf-8")
    assert f"\n\n{table()}\n" in page


def test_the_page_on_retries_has_every_effect() -> None:
    """Exactly the calls that are checked after a lost answer have a row."""
    page = (ROOT / "docs/reference/retries.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z]+/[a-z/]+)` \|", page, re.MULTILINE)
    assert rows == [operation.path for operation in OPERATIONS if operation.effect is not None]


def test_every_call_has_its_method(key) -> None:
    """The client has the method of the table, and it takes the named record."""
    api = sg.SmartGlocal("shop", key, sg.DEMO)
    for operation in OPERATIONS:
        hints = get_type_hints(attrgetter(python_method(operation))(api))
        wanted = hints.get("request", ListBanks)
        assert operation.request in (get_args(wanted) or (wanted,))
        assert operation.answer == hints["return"]
