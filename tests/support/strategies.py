"""Hypothesis strategies for the records of the package and for the JSON around them."""

import os
import string
import types
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Union, get_args, get_origin

import attrs
from hypothesis import settings
from hypothesis import strategies as st

import smartglocal_async as sg
from smartglocal_async.envelope import AttemptResult, Verdict
from smartglocal_async.models.answers import UnixTime
from smartglocal_async.models.events import EVENTS
from smartglocal_async.models.money import EXPONENTS

# The interpreter that measures coverage runs more examples.
settings.register_profile(
    "fast",
    max_examples=int(os.environ.get("SMARTGLOCAL_EXAMPLES", "50")),
    deadline=None,
    derandomize=True,
    print_blob=True,
)
settings.load_profile("fast")

PAYMENT_INSTRUMENTS: Final = (sg.BankCard, sg.EncryptedCard, sg.Recurrent)
PAYER_INSTRUMENTS: Final = (
    sg.models.FasterPaymentQr,
    sg.models.FasterPaymentBinding,
    sg.models.SberPay,
    sg.models.TPay,
)
INSTRUMENTS: Final = (
    *PAYMENT_INSTRUMENTS,
    sg.models.TokenizedCard,
    sg.models.SteamWallet,
    sg.models.QiwiWallet,
    sg.models.YooMoneyWallet,
    sg.models.MonetaWallet,
    sg.GlobalAccount,
    sg.RussianAccount,
    sg.FasterPayment,
    sg.FasterPaymentVerification,
    sg.GlobalWallet,
)
COUNTED: Final = sorted(code for code, decimals in EXPONENTS.items() if decimals is not None)

texts: Final = st.text(max_size=12)
json_scalars: Final = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values: Final[st.SearchStrategy[Any]] = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
json_objects: Final = st.dictionaries(texts, json_values, max_size=4)
card_numbers: Final = st.text(string.digits, min_size=12, max_size=19)
# No record has a field with a name like this.
unknown_fields: Final = st.dictionaries(texts.map("x_{}".format), json_values, max_size=3)
amounts: Final = st.builds(
    sg.AmountDetails, st.integers(min_value=1, max_value=2**53 - 1), st.sampled_from(COUNTED)
)
other_instruments: Final = st.builds(
    lambda kind, rest: sg.OtherInstrument({**rest, "type": f"x_{kind}"}), texts, json_objects
)
moments: Final = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - the zone comes with `timezones`
    timezones=st.integers(-14 * 60, 14 * 60).map(
        lambda minutes: timezone(timedelta(minutes=minutes)) if minutes else UTC
    ),
)


shown_amounts: Final = amounts | st.builds(
    sg.Amount, st.integers(-(10**20), 10**20), st.sampled_from(COUNTED) | texts
)
# Only `sg.CreateSession` needs the whole person; elsewhere a part will do.
people: Final = st.builds(
    sg.Participant, full_name=st.none() | texts, email=st.none() | texts, extra=unknown_fields
)
some_words: Final = st.text(min_size=1, max_size=12)
BY_FIELD: Final[dict[tuple[type, str], st.SearchStrategy[Any]]] = {
    (sg.BankCard, "number"): card_numbers,
    (sg.TokenRef, "token"): some_words,
    (sg.models.PushSberPay, "phone"): some_words,
    # Times are written in whole seconds.
    (sg.GetBalance, "request_datetime"): moments.map(lambda time: time.replace(microsecond=0)),
}
BY_TYPE: Final[dict[Any, st.SearchStrategy[Any]]] = {
    types.NoneType: st.none(),
    str: texts,
    bool: st.booleans(),
    datetime: moments,
    UnixTime: moments.map(lambda moment: moment.astimezone(UTC).replace(microsecond=0)),
    Decimal: st.decimals(0, 10**6, places=6).map(lambda rate: Decimal(repr(float(rate)))),
    Any: json_values,
    sg.AmountDetails: amounts,
    sg.Amount: shown_amounts,
    sg.OtherInstrument: other_instruments,
}


def records(record: type, **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return records of a class, with each field drawn from its declared type."""
    return st.deferred(
        lambda: st.builds(
            record, **{f.name: _field(record, f) for f in attrs.fields(record)} | given
        )
    )


def _field(record: type, field: "attrs.Attribute[Any]") -> st.SearchStrategy[Any]:
    if (record, field.name) in BY_FIELD:
        return BY_FIELD[record, field.name]
    if field.name == "session_id":
        return some_words
    union = get_origin(field.type) in {Union, types.UnionType}
    return st.one_of(*map(_member, get_args(field.type) if union else (field.type,)))


def _member(member: Any) -> st.SearchStrategy[Any]:
    if get_origin(member) is tuple:
        return st.lists(_member(get_args(member)[0]), max_size=2).map(tuple)
    if get_origin(member) is Mapping:
        return unknown_fields
    if isinstance(member, type) and issubclass(member, Enum):
        return st.sampled_from(member)
    return BY_TYPE[member] if member in BY_TYPE else records(member)


payout_instruments: Final = st.one_of(*map(records, INSTRUMENTS), other_instruments)
payment_instruments: Final = st.one_of(
    *map(records, (*PAYMENT_INSTRUMENTS, *PAYER_INSTRUMENTS)), other_instruments
)
requests: Final = records(sg.CreateSession, payment_details=st.none()) | records(
    sg.CreateSession, payment_method=st.none()
)


def _one_of_the_fields(record: type) -> st.SearchStrategy[Any]:
    """Return records with exactly one of their fields."""
    members = {f.name: get_args(f.type)[0] for f in attrs.fields(record) if f.name != "extra"}
    return st.one_of(
        *(st.builds(record, **{name: records(member)}) for name, member in members.items())
    )


_both_ends: Final = records(sg.ParticipantDetails, sender=people, recipient=people)
# The request of each operation that has one.
REQUESTS: Final[dict[type, st.SearchStrategy[Any]]] = {
    sg.CreateSession: requests,
    sg.IssueToken: _one_of_the_fields(sg.IssueToken),
    sg.GetTokenInfo: _one_of_the_fields(sg.GetTokenInfo),
    **{
        record: records(record, participant_details=_both_ends)
        for record in (
            sg.StartPayout,
            sg.StartPayment,
            sg.InitPayout,
            sg.InitPayment,
            sg.VerifyCustomer,
        )
    },
    **{
        record: records(record)
        for record in (
            sg.SessionRef,
            sg.CapturePayment,
            sg.RefundPayment,
            sg.GetBalance,
            sg.DisableRecurrent,
            sg.models.PushSberPay,
            sg.models.GetExchangeRate,
        )
    },
}
payouts: Final = records(sg.Payout, participant_details=st.none() | _both_ends)
payments: Final = records(sg.Payment, participant_details=st.none() | _both_ends)
empty_sessions: Final = records(sg.Session, payout_list=st.just(()), payment_list=st.just(()))
sessions: Final = records(
    sg.Session,
    payout_list=st.lists(payouts, max_size=1).map(tuple),
    payment_list=st.lists(payments, max_size=1).map(tuple),
)
events: Final = st.sampled_from(list(EVENTS.values())).flatmap(
    lambda event: st.builds(
        event, type=st.just(event.wire_type), session=empty_sessions, extra=unknown_fields
    )
) | st.builds(
    sg.WebhookEvent, type=texts.map("x_{}".format), session=empty_sessions, extra=unknown_fields
)
# Every record of an answer or a webhook.
ANSWERS: Final[dict[type, st.SearchStrategy[Any]]] = {
    sg.Session: sessions,
    sg.WebhookEvent: events,
    **{
        record: records(record)
        for record in (
            sg.models.Wallet,
            sg.models.Bank,
            sg.models.PublicToken,
            sg.models.TokenInfo,
            sg.models.RecurrentToken,
            sg.models.ExchangeRate,
            sg.models.PushRequested,
        )
    },
}


@st.composite
def majors(draw: st.DrawFn) -> tuple[int, Decimal, str]:
    """Return an amount in minor units, in major units, and its currency."""
    code = draw(st.sampled_from(COUNTED))
    minor = draw(st.integers(min_value=1, max_value=2**53 - 1))
    exponent = EXPONENTS[code] or 0
    digits = str(minor).rjust(exponent + 1, "0")
    cut = len(digits) - exponent
    return minor, Decimal(f"{digits[:cut]}.{digits[cut:]}"), code


seconds: Final = st.floats(min_value=0.001, max_value=100.0)
policies: Final = st.builds(
    sg.RetryPolicy,
    attempts=st.integers(1, 12),
    initial_delay_seconds=seconds,
    max_delay_seconds=seconds,
    throttled_initial_delay_seconds=seconds,
    max_retry_after_seconds=seconds,
    deadline_seconds=seconds,
    attempt_timeout_seconds=seconds,
    budget_tokens=st.integers(1, 100),
    budget_cost=st.integers(1, 20),
)
failures: Final = st.builds(
    Verdict,
    st.sampled_from([h for h in AttemptResult if h is not AttemptResult.ACCEPTED]),
    retry_after_seconds=st.none() | st.floats(0.0, 120.0),
)
dice: Final = st.floats(0.0, 1.0, exclude_max=True)
