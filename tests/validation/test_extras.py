"""Further fields of a request: sent beside the others, and refused where one is misspelt."""

import string
import types
from collections.abc import Iterator
from typing import Any, Final, get_args

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import smartglocal_async as sg
from smartglocal_async import models
from smartglocal_async.codec import codec
from smartglocal_async.operations import EXCHANGE_RATE, FPS_BANKS, OPERATIONS
from smartglocal_async.validation import misspelt_fields

USD: Final = sg.AmountDetails(1_000, "usd")


def records(kind: Any) -> Iterator[type[Any]]:
    """Yield a class of records, and those of its fields, at any depth."""
    if isinstance(kind, type) and attrs.has(kind):
        yield kind
        for field in attrs.fields(kind):
            yield from records(field.type)
    for part in get_args(kind):
        yield from records(part)


# A value, not an object of its own; the body of a call that no page shows; a wire form as it is.
WITHOUT_EXTRA: Final = {sg.AmountDetails, FPS_BANKS.request, sg.OtherInstrument}
REQUESTS: Final = sorted(
    {record for one in OPERATIONS for record in records(one.request)} - WITHOUT_EXTRA,
    key=lambda record: record.__name__,
)


def test_every_record_of_a_request_has_extra() -> None:
    """Those of all calls, and of what is in them."""
    assert [one.__name__ for one in REQUESTS if "extra" not in attrs.fields_dict(one)] == []
    assert FPS_BANKS.is_bodiless
    assert len(REQUESTS) > len(OPERATIONS)


def with_extra(record: type[Any], extra: dict[str, Any]) -> Any:
    """Return a record whose other fields are empty."""
    made = object.__new__(record)
    for field in attrs.fields(record):
        object.__setattr__(made, field.name, extra if field.name == "extra" else None)
    return made


# Record -> the fields that pages of the provider or the sister platform, or the latter's SDK, name
# beside those of the record.
DOCUMENTED: Final[dict[type[Any], str]] = {
    sg.CreateSession: "fiscalization_details revenue_split_info",
    sg.StartPayout: "fiscalization_details payment_options",
    sg.InitPayout: "fiscalization_details payment_options revenue_split_info",
    sg.StartPayment: "revenue_split_info payment_method",
    sg.InitPayment: "revenue_split_info payment_method fiscalization_details",
    sg.CapturePayment: "revenue_split_info metadata",
    sg.RefundPayment: "revenue_split_info",
    sg.SessionRef: "confirm_information fiscalization_details",
    sg.PaymentOptions: "subscription",
    sg.Participant: "inn kpp bik account_number branch_number iban passport phone street2",
    sg.GlobalAccount: "msisdn email bank_name phone bank_id account purpose",
    sg.RussianAccount: "oktmo kbk uin bank_name",
    sg.BankCard: "token last4 brand bin card_id type",
    sg.EncryptedCard: "token last4 brand card_id",
    models.PlatformDetails: "device user_agent",
    sg.IssueToken: "elements_widget payout_widget",
    models.AcquiringWidget: "return_url theme",
}


@pytest.mark.parametrize("record", DOCUMENTED, ids=lambda record: record.__name__)
def test_documented_fields_are_no_near_misses(record) -> None:
    """A field that a page names is sent, in both versions."""
    made = with_extra(record, dict.fromkeys(DOCUMENTED[record].split(), "x"))
    assert misspelt_fields(made) == misspelt_fields(made, "v2") == ()


WRONG: Final = [
    (sg.CreateSession(extra={"ammount_details": 1}), "ammount_details", "amount_details"),
    (sg.CreateSession(extra={"payout_details": 1}), "payout_details", "payment_method"),
    (sg.CreateSession(extra={"meta_data": 1}), "meta_data", "metadata"),
    (
        sg.CreateSession(payment_method=sg.GlobalAccount(extra={"ibna": "DE"})),
        "payment_method.bank_account.global.ibna",
        "iban",
    ),
    (
        sg.CreateSession(payment_details=models.SberPay(channel="app", extra={"chanel": "web"})),
        "payment_details.internet_banking.sber_pay.chanel",
        "channel",
    ),
    (
        sg.CreateSession(
            participant_details=sg.ParticipantDetails(
                recipient=sg.Participant(
                    identity_document=sg.IdentityDocument(extra={"id_nubmer": "1"})
                )
            )
        ),
        "participant_details.recipient.identity_document.id_nubmer",
        "id_number",
    ),
    (
        sg.CreateSession(participant_details=sg.ParticipantDetails(extra={"reciepient": {}})),
        "participant_details.reciepient",
        "recipient",
    ),
    (
        sg.CreateSession(
            customer=sg.Customer(contacts=(sg.Contact(), sg.Contact(extra={"e-mail": "a"})))
        ),
        "customer.contacts[1].e-mail",
        "email",
    ),
    (
        sg.CreateSession(
            payment_options=sg.PaymentOptions(
                platform_details=models.PlatformDetails(extra={"Browser": "chrome"})
            )
        ),
        "payment_options.platform_details.Browser",
        "browser",
    ),
]


async def refused(api: sg.SmartGlocal, call: str, request: Any) -> sg.InvalidRequest:
    """Make a call that is refused; return the error."""
    method: Any = api
    for name in call.split("."):
        method = getattr(method, name)
    with pytest.raises(sg.InvalidRequest) as caught:
        await method(request)
    return caught.value


@pytest.mark.parametrize(("request_", "path", "meant"), WRONG, ids=[one[1] for one in WRONG])
async def test_a_misspelt_field_is_refused(api, provider, request_, path, meant) -> None:
    """By its path, with the field that is meant, before anything is sent."""
    error = await refused(api, "session.create", request_)
    assert (error.field, error.problem) == (path, f"is no field; did you mean {meant}?")
    assert provider.report().requests == 0


async def test_paths_and_fields_have_the_names_of_the_version(connect, provider) -> None:
    """For a client on v2 it is `payout_details`."""
    wrong = sg.CreateSession(
        payment_method=sg.GlobalAccount(iban="DE", extra={"descripton": "x"}),
        extra={"payment_metod": 1},
    )
    assert [(one.path, one.meant) for one in misspelt_fields(wrong, "v2")] == [
        ("payment_metod", "payout_details"),
        ("payout_details.bank_account.global.descripton", "description"),
    ]
    error = await refused(connect(provider, api_version="v2"), "session.create", wrong)
    assert (error.field, provider.report().requests) == ("payment_metod", 0)


@pytest.mark.parametrize(
    ("call", "request_"),
    [
        ("session.confirm", sg.SessionRef("ps_1", extra={"session_ids": 1})),
        ("session.refund", sg.RefundPayment(session_id="s", extra={"metdata": 1})),
        ("token.issue", sg.IssueToken(extra={"acquirng_widget": {}})),
        ("token.info", sg.GetTokenInfo(recurrent_token=sg.TokenRef("t", extra={"tokens": 1}))),
        ("recurrent.disable", sg.DisableRecurrent(recurrent=sg.TokenRef("t", extra={"tokn": 1}))),
    ],
)  # fmt: skip
async def test_every_call_refuses_them(api, provider, call, request_) -> None:
    """Not only those of sessions and payouts."""
    error = await refused(api, call, request_)
    assert "did you mean" in error.problem
    assert provider.report().requests == 0


async def test_a_payout_is_refused_before_it_is_written(payouts, journal) -> None:
    """So no payout is open for a request that can't be sent."""
    order = sg.PayoutOrder(
        key="order-1",
        payment_method=sg.GlobalAccount(iban="DE89370400440532013000", extra={"descripton": "x"}),
        amount_details=USD,
    )
    error = await refused(payouts, "pay", order)
    assert error.field == "payment_method.bank_account.global.descripton"
    assert await journal.find("order-1") is None


SENT: Final = [
    (sg.CreateSession(extra={"x_new": {"a": [1]}}), {"x_new": {"a": [1]}}),
    (
        sg.SessionRef("ps_1", extra={"confirm_information": {"a": 1}}),
        {"session_id": "ps_1", "confirm_information": {"a": 1}},
    ),
    (
        sg.GetTokenInfo(recurrent_token=sg.TokenRef("t"), extra={"x": 1}),
        {"type": "recurrent_token", "recurrent_token": {"token": "t"}, "x": 1},
    ),
    (EXCHANGE_RATE.request(extra={"currency": "eur"}), {"currency": "eur"}),
    (
        sg.DisableRecurrent(recurrent=sg.TokenRef("t", extra={"x": 1}), extra={"y": 2}),
        {"recurrent": {"token": "t", "x": 1}, "y": 2},
    ),
]


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(("request_", "wire"), SENT, ids=lambda one: type(one).__name__)
def test_other_fields_are_sent_beside_the_known(request_, wire, version) -> None:
    """And read again as they were."""
    assert codec(version).wire(request_) == wire
    assert codec(version).structure(wire, type(request_)) == request_


def test_any_mapping_is_looked_at() -> None:
    """A read-only one, too."""
    wrong = sg.CreateSession(
        payment_method=sg.GlobalAccount(extra=types.MappingProxyType({"ibn": 1}))
    )
    assert [one.meant for one in misspelt_fields(wrong)] == ["iban"]


def test_a_number_behind_a_name_makes_another_field() -> None:
    """As in a second line of an address; a number that a field's name has isn't such a one."""
    fields = {"address_line_2": 1, "street2": 1, "country_iso": 1, "country_iso_3": 1}
    wrong = sg.CreateSession(
        participant_details=sg.ParticipantDetails(sender=sg.Participant(extra=fields))
    )
    assert {one.path.rpartition(".")[2] for one in misspelt_fields(wrong)} == {
        "country_iso",
        "country_iso_3",
    }


NAMES: Final = [
    (record, field.name)
    for record in REQUESTS
    for field in attrs.fields(record)
    if field.name != "extra" and len(field.name) > 2
]


@given(st.data())
def test_one_wrong_letter_is_found(data) -> None:
    """A letter missing, added, replaced or swapped, in any field of any record."""
    record, name = data.draw(st.sampled_from(NAMES))
    at = data.draw(st.integers(0, len(name) - 2))
    letter = data.draw(st.sampled_from(string.ascii_lowercase))
    wrong = data.draw(
        st.sampled_from(
            [
                name[:at] + name[at + 1 :],
                name[:at] + letter + name[at:],
                name[:at] + letter + name[at + 1 :],
                name[:at] + name[at + 1] + name[at] + name[at + 2 :],
            ]
        )
    )
    if wrong in attrs.fields_dict(record):
        return
    assert [one.path for one in misspelt_fields(with_extra(record, {wrong: 1}))] == [wrong]
