"""Hypothesis strategies for the records of the package and for the JSON around them."""

import string
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final

import attrs
from hypothesis import settings
from hypothesis import strategies as st

import smartglocal_async as sg
from smartglocal_async.envelope import Happened, Verdict
from smartglocal_async.values.currencies import EXPONENTS

settings.register_profile(
    "fast", max_examples=100, deadline=None, derandomize=True, print_blob=True
)
settings.load_profile("fast")

PAYMENT_INSTRUMENTS: Final = (sg.BankCard, sg.EncryptedCard, sg.Recurrent)
INSTRUMENTS: Final = (
    *PAYMENT_INSTRUMENTS,
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
    sg.AmountDetails, st.integers(min_value=1, max_value=10**40), st.sampled_from(COUNTED)
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


def records(record: type) -> st.SearchStrategy[Any]:
    """Give records of one class, every field of it drawn by what it is declared to be."""
    return st.deferred(
        lambda: st.builds(record, **{f.name: _field(f) for f in attrs.fields(record)})
    )


def _field(field: "attrs.Attribute[Any]") -> st.SearchStrategy[Any]:
    special: dict[Any, st.SearchStrategy[Any]] = {
        ("number", str): card_numbers,
        ("session_id", str): st.text(min_size=1),
        ("contacts", tuple[sg.Contact, ...]): st.lists(records(sg.Contact), max_size=3).map(tuple),
        ("extra", Mapping[str, Any]): unknown_fields,
        ("identity_document", sg.IdentityDocument | None): st.none() | records(sg.IdentityDocument),
        ("recurrent", bool | None): st.none() | st.booleans(),
    }
    if (field.name, field.type) in special:
        return special[field.name, field.type]
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: texts,
        str | None: st.none() | texts,
        sg.Participant | None: st.none() | records(sg.Participant),
    }
    return plain[field.type]


payout_instruments: Final = st.one_of(*map(records, INSTRUMENTS), other_instruments)
payment_instruments: Final = st.one_of(*map(records, PAYMENT_INSTRUMENTS), other_instruments)
_of_both: Final = {
    "amount_details": st.none() | amounts,
    "participant_details": st.none() | records(sg.ParticipantDetails),
    "customer": st.none() | records(sg.Customer),
    "payment_options": st.none() | records(sg.PaymentOptions),
    "metadata": json_values,
}
requests: Final = st.builds(
    sg.CreateSession, payment_method=st.none() | payout_instruments, **_of_both
) | st.builds(sg.CreateSession, payment_details=payment_instruments, **_of_both)
sessions: Final = st.builds(
    sg.Session,
    id=texts,
    status=st.sampled_from(sg.SessionStatus) | texts,
    created_at=st.none() | moments,
    updated_at=st.none() | moments,
    next_action=st.none() | st.sampled_from(sg.NextAction) | texts,
    metadata=json_values,
    error=st.none()
    | st.builds(sg.ProviderError, code=texts, description=st.none() | texts, extra=unknown_fields),
    extra=unknown_fields,
)


@st.composite
def majors(draw: st.DrawFn) -> tuple[int, Decimal, str]:
    """Give an amount three ways: minor units, major units, currency."""
    code = draw(st.sampled_from(COUNTED))
    minor = draw(st.integers(min_value=1, max_value=10**40))
    exponent = EXPONENTS[code] or 0
    digits = str(minor).rjust(exponent + 1, "0")
    cut = len(digits) - exponent
    return minor, Decimal(f"{digits[:cut]}.{digits[cut:]}"), code


seconds: Final = st.floats(min_value=0.001, max_value=100.0)
policies: Final = st.builds(
    sg.RetryPolicy,
    attempts=st.integers(1, 12),
    first_wait_seconds=seconds,
    longest_wait_seconds=seconds,
    throttled_first_wait_seconds=seconds,
    longest_retry_after_seconds=seconds,
    deadline_seconds=seconds,
    attempt_timeout_seconds=seconds,
    budget_tokens=st.integers(1, 100),
    budget_cost=st.integers(1, 20),
)
failures: Final = st.builds(
    Verdict,
    st.sampled_from([h for h in Happened if h is not Happened.ACCEPTED]),
    retry_after_seconds=st.none() | st.floats(0.0, 120.0),
)
dice: Final = st.floats(0.0, 1.0, exclude_max=True)
