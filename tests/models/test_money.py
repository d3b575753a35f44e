"""Amounts: whole minor units, nothing rounded, nothing guessed; shown amounts are kept."""

import copy
import decimal
import pickle
from decimal import Decimal
from fractions import Fraction

import attrs
import pytest
from hypothesis import given
from strategies import COUNTED, amounts, majors, shown_amounts

import smartglocal_async as sg


@pytest.mark.parametrize(
    ("major", "currency", "minor"),
    [
        ("100.00", "usd", 10_000),
        ("100", "usd", 10_000),
        (100, "usd", 10_000),
        (Decimal("100.0"), "USD", 10_000),
        ("0.01", "eur", 1),
        ("100", "jpy", 100),
        ("1.234", "kwd", 1_234),
        ("0.0001", "clf", 1),
        ("100.000000", "usd", 10_000),
        (Decimal("90071992547409.91"), "usd", 9_007_199_254_740_991),
        ("1500.000000", "eur", 150_000),
        ("500000", "vnd", 500_000),
        ("500.0", "vnd", 500),
        (Decimal("1.500"), "eur", 150),
    ],
)
def test_major_units_become_minor_ones(major, currency, minor) -> None:
    """The currency's exponent decides, and trailing zeros don't matter."""
    assert sg.AmountDetails.of(major, currency) == sg.AmountDetails(minor, currency)


@given(majors())
def test_conversion_is_exact_both_ways(example) -> None:
    """For any amount, no digit is lost in either direction."""
    minor, major, currency = example
    amount = sg.AmountDetails(minor, currency)

    assert sg.AmountDetails.of(major, currency) == amount
    assert sg.AmountDetails.of(str(major), currency) == amount
    assert amount.decimal.as_tuple() == major.as_tuple()


@pytest.mark.parametrize("precision", [1, 6, 28])
def test_the_callers_decimal_context_changes_nothing(precision) -> None:
    """The result is exact in a decimal context with few digits."""
    with decimal.localcontext() as context:
        context.prec = precision
        amount = sg.AmountDetails.of("90071992547409.91", "usd")
        shown = sg.Amount(1234567890123456789012345678901, "usd")

        assert amount == sg.AmountDetails.of(Decimal("90071992547409.91"), "usd")
        assert amount.amount == 9_007_199_254_740_991
        assert str(amount.decimal) == "90071992547409.91"
        assert str(shown.decimal) == "12345678901234567890123456789.01"


@pytest.mark.parametrize("major", ["0.001", "100.005", Decimal("1e-3")])
def test_finer_than_the_currency_is_refused(major) -> None:
    """Nothing is rounded: a fraction of a cent is refused."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.AmountDetails.of(major, "usd")
    assert str(caught.value) == "AmountDetails.of: usd has 2 decimals, and no finer amounts"


@pytest.mark.parametrize(
    ("major", "currency", "advice"),
    [
        ("500.000", "vnd", "write 500000 or 500"),
        ("1.500", "eur", "write 1500 or 1.50"),
        ("12.000", "huf", "write 12000 or 12.00"),
        ("45.000", "clp", "write 45000 or 45"),
        ("1234.560", "usd", "write 1234560 or 1234.56"),
        ("0.100", "clf", "others; write 0.100"),
    ],
)
def test_an_amount_that_two_countries_read_differently(major, currency, advice) -> None:
    """Three digits behind one separator may be thousands: the caller says which they are."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.AmountDetails.of(major, currency)
    assert caught.value.field == "AmountDetails.of"
    assert caught.value.problem.endswith(advice)


@pytest.mark.parametrize("major", ["90071992547409.92", "92233720368547758.08", 10**30])
def test_amounts_have_an_upper_bound(major) -> None:
    """Beyond it, a reader of JSON need not keep every digit."""
    with pytest.raises(sg.InvalidRequest, match=r"is more than 9,007,199,254,740,991 minor units"):
        sg.AmountDetails.of(major, "usd")
    with pytest.raises(sg.InvalidRequest, match="is more than"):
        sg.AmountDetails(2**53, "usd")


def test_a_yen_has_no_decimals() -> None:
    """The error names the number of decimals of the currency."""
    with pytest.raises(sg.InvalidRequest, match="jpy has 0 decimals"):
        sg.AmountDetails.of("100.50", "jpy")


@pytest.mark.parametrize(
    ("major", "problem"),
    [
        (100.0, "expected text or Decimal, got float"),
        (True, "expected text or Decimal, got bool"),
        (None, "expected text or Decimal, got NoneType"),
        (Fraction(1, 2), "expected text or Decimal, got Fraction"),
        ("", "expected a number"),
        ("one", "expected a number"),
        ("1,00", "expected a number"),
    ],
)
def test_invalid_major_amounts(major, problem) -> None:
    """Floats, bools and text are refused, and the error says what to use."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.AmountDetails.of(major, "usd")
    assert caught.value.field == "AmountDetails.of"
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    "major",
    [
        "1e2",
        "1_0.0",
        " 10 ",
        "\u0661\u0660",
        "nan",
        "snan",
        "inf",
        "-inf",
        "1e999999",
        "1e-999999",
        "1e9999999999",
        Decimal("sNaN"),
    ],
)
def test_no_finite_amount_of_money(major) -> None:
    """Infinite numbers and NaN are refused by the same error."""
    with pytest.raises(sg.InvalidRequest, match=r"AmountDetails\."):
        sg.AmountDetails.of(major, "usd")


@pytest.mark.parametrize("major", ["0", "-1", "0.00", Decimal("-0.01")])
def test_major_amounts_are_above_zero(major) -> None:
    """The provider accepts no amount of zero or less."""
    with pytest.raises(sg.InvalidRequest, match="must be greater than zero"):
        sg.AmountDetails.of(major, "usd")


@pytest.mark.parametrize("amount", [100.0, "100", True, False, None, Decimal(100), [1]])
def test_minor_units_are_ints(amount) -> None:
    """Only an int is accepted; the error names the type and the alternative."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.AmountDetails(amount, "usd")
    assert caught.value.field == "AmountDetails.amount"
    assert f"got {type(amount).__name__}; 100 USD is 10000" in caught.value.problem


@pytest.mark.parametrize("amount", [0, -1, -(10**30)])
def test_minor_units_are_above_zero(amount) -> None:
    """The provider's rule, checked before anything is sent."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.AmountDetails(amount, "usd")
    assert str(caught.value) == "AmountDetails.amount: must be greater than zero"


@pytest.mark.parametrize(
    ("currency", "problem"),
    [
        ("us", "expected an ISO 4217 code of three letters, such as 'usd'"),
        ("usdt", "expected an ISO 4217 code"),
        ("", "expected an ISO 4217 code"),
        (" usd", "expected an ISO 4217 code"),
        ("zzz", "expected an ISO 4217 code"),
        ("\u212arw", "expected an ISO 4217 code"),
        (840, "got int"),
        (None, "got NoneType"),
        (b"usd", "got bytes"),
        ("xau", "xau has no minor unit to count in"),
        ("XXX", "xxx has no minor unit to count in"),
    ],
)
def test_currencies_are_iso_4217(currency, problem) -> None:
    """A code that isn't listed, or has no minor unit, is refused by name."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.AmountDetails(100, currency)
    assert caught.value.field == "AmountDetails.currency"
    assert problem in caught.value.problem


@pytest.mark.parametrize("currency", COUNTED)
def test_case_does_not_matter(currency) -> None:
    """A code is stored in lower case, as in the provider's examples."""
    assert sg.AmountDetails(1, currency.upper()) == sg.AmountDetails(1, currency)


@given(amounts)
def test_amounts_are_values(amount) -> None:
    """Equal amounts have equal hashes, pickle, copy, and show themselves in the repr."""
    assert pickle.loads(pickle.dumps(amount)) == copy.deepcopy(amount) == amount  # noqa: S301
    assert hash(attrs.evolve(amount)) == hash(amount)
    assert repr(amount) == f"AmountDetails(amount={amount.amount}, currency={amount.currency!r})"


def test_amounts_do_not_change() -> None:
    """An amount is frozen; `attrs.evolve` makes another one."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        sg.AmountDetails(1, "usd").amount = 2


def test_an_evolved_amount_is_checked_again() -> None:
    """`attrs.evolve` checks the rules again."""
    with pytest.raises(sg.InvalidRequest, match=r"AmountDetails\.amount"):
        attrs.evolve(sg.AmountDetails(1, "usd"), amount=0)


# Amounts that the provider shows.


@given(amounts)
def test_an_amount_that_was_sent_equals_the_one_that_is_shown(amount) -> None:
    """In both directions, with equal hashes: a refund is compared with the request."""
    shown = sg.Amount(amount.amount, amount.currency.upper())

    assert shown == amount
    assert amount == shown
    assert len({shown, amount}) == 1
    assert shown.decimal == amount.decimal
    assert shown != sg.Amount(amount.amount + 1, amount.currency)
    assert amount != sg.Amount(amount.amount, "x")


@pytest.mark.parametrize("other", [None, 10_000, (10_000, "usd"), "usd", object()])
def test_an_amount_is_nothing_else(other) -> None:
    """A number without a currency equals no amount."""
    assert sg.Amount(10_000, "usd") != other
    assert sg.AmountDetails(10_000, "usd") != other


@given(shown_amounts)
def test_shown_amounts_are_values(amount) -> None:
    """Shown amounts pickle, copy and show themselves in the repr."""
    assert pickle.loads(pickle.dumps(amount)) == copy.deepcopy(amount) == amount  # noqa: S301
    assert hash(copy.copy(amount)) == hash(amount)
    assert repr(amount.amount) in repr(amount)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        amount.amount = 2


@pytest.mark.parametrize(
    ("amount", "major"),
    [
        (sg.Amount(0, "usd"), "0.00"),
        (sg.Amount(-1, "USD"), "-0.01"),
        (sg.Amount(-5, "jpy"), "-5"),
        (sg.Amount(1_234, "kwd"), "1.234"),
    ],
)
def test_major_units_of_shown_amounts(amount, major) -> None:
    """Zero and negative amounts have major units, too."""
    assert str(amount.decimal) == major


@pytest.mark.parametrize("currency", ["usdt", "", "xau", "zzz"])
def test_major_units_of_unknown_currencies(currency) -> None:
    """The number of decimals isn't known, and isn't guessed."""
    with pytest.raises(sg.InvalidRequest) as caught:
        _ = sg.Amount(1, currency).decimal
    assert caught.value.field == "AmountDetails.currency"


def test_a_shown_amount_is_not_sent() -> None:
    """It may be zero; a request accepts only `AmountDetails`."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.RefundPayment(session_id="ps_1", amount_details=sg.Amount(1, "usd"))
    assert str(caught.value) == ("RefundPayment.amount_details: expected AmountDetails, got Amount")
