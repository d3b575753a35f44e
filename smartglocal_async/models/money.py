"""Amounts of money, and the currencies of ISO 4217 with the number of their decimals.

The currencies are those of the list that the maintenance agency of ISO 4217 publishes (SIX
Group, "List One: current currency and funds codes", edition of 2026-01-01); a test compares them
with a library that has the same list.
"""

import re
from collections.abc import Mapping
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any, Final, Self

from attrs import Attribute, field, frozen

from ..errors import InvalidRequest
from .serialization import Serializable

_TWO: Final = (
    "aed afn all amd aoa ars aud awg azn bam bbd bdt bmd bnd bob bov brl bsd btn bwp "
    "byn bzd cad cdf che chf chw cny cop cou crc cup cve czk dkk dop dzd egp ern etb "
    "eur fjd fkp gbp gel ghs gip gmd gtq gyd hkd hnl htg huf idr ils inr irr jmd kes "
    "kgs khr kpw kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mru mur mvr "
    "mwk mxn mxv myr mzn nad ngn nio nok npr nzd pab pen pgk php pkr pln qar ron rsd "
    "rub sar sbd scr sdg sek sgd shp sle sos srd ssp stn svc syp szl thb tjs tmt top "
    "try ttd twd tzs uah usd usn uyu uzs ved ves wst xad xcd xcg yer zar zmw zwg "
)
_NONE: Final = "bif clp djf gnf isk jpy kmf krw pyg rwf ugx uyi vnd vuv xaf xof xpf"
_THREE: Final = "bhd iqd jod kwd lyd omr tnd"
_FOUR: Final = "clf uyw"
# Metals, units of bond markets and test codes have no minor unit, so there is no amount of them.
_NO_MINOR_UNIT: Final = "xag xau xba xbb xbc xbd xdr xpd xpt xsu xts xua xxx"

EXPONENTS: Final[Mapping[str, int | None]] = MappingProxyType(
    {
        code: decimals
        for decimals, codes in (
            (2, _TWO),
            (0, _NONE),
            (3, _THREE),
            (4, _FOUR),
            (None, _NO_MINOR_UNIT),
        )
        for code in codes.split()
    }
)
"""Lower-case code to decimals; None for codes that have no minor unit."""


MAX_MINOR_UNITS: Final = 2**53 - 1
"""The largest amount: every reader of JSON keeps whole numbers up to it (RFC 8259, section 6)."""
_PLAIN_NUMBER: Final = re.compile(r"([+-]?[0-9]+)(?:\.([0-9]+))?")
_MAX_DIGITS: Final = 1_000
_THOUSANDS: Final = 3
_NO_NUMBER: Final = "expected a number such as '100.00'"
# Exact in every thread: the current decimal context rounds to 28 digits or fewer.
_EXACT: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[InvalidOperation])


def _check_amount(_instance: object, _field: "Attribute[int]", value: object) -> None:
    if type(value) is not int:
        raise InvalidRequest(
            "AmountDetails.amount",
            f"expected a whole number of minor units, got {type(value).__name__}; "
            "100 USD is 10000, or AmountDetails.of('100.00', 'usd')",
        )
    if value <= 0:
        raise InvalidRequest("AmountDetails.amount", "must be greater than zero")
    if value > MAX_MINOR_UNITS:
        words = f"is more than {MAX_MINOR_UNITS:,} minor units, which no payment can be"
        raise InvalidRequest("AmountDetails.amount", words)


def _currency(value: Any) -> str:  # noqa: ANN401 - checked here
    rule = "expected an ISO 4217 code of three letters, such as 'usd'"
    if not isinstance(value, str):
        raise InvalidRequest("AmountDetails.currency", f"{rule}; got {type(value).__name__}")
    code = value.lower() if value.isascii() else ""
    if code not in EXPONENTS:
        raise InvalidRequest("AmountDetails.currency", rule)
    if EXPONENTS[code] is None:
        raise InvalidRequest("AmountDetails.currency", f"{code} has no minor unit to count in")
    return code


def _lower(code: str) -> str:
    return code.lower()


@frozen(eq=False)
class Amount(Serializable):
    """Money as the provider shows it: any whole number of minor units, any currency code.

    It may be zero (an empty wallet) or negative, and its currency may be missing in ISO 4217.
    An `Amount` and an `AmountDetails` of the same units and currency are equal.
    """

    amount: int
    currency: str = field(converter=_lower)

    @property
    def decimal(self) -> Decimal:
        """The amount in major units, with as many decimals as the currency has.

        Raises:
            InvalidRequest: ISO 4217 doesn't have the currency or its decimals.

        """
        return Decimal(self.amount).scaleb(-_exponent(_currency(self.currency)), _EXACT)

    @property
    def text(self) -> str:
        """The amount in major units, with its currency, such as ``1,234.50 EUR``.

        Of a currency that ISO 4217 doesn't have, the minor units are shown, and called so.
        """
        try:
            return f"{self.decimal:,f} {self.currency.upper()}"
        except InvalidRequest:
            return f"{self.amount:,} minor units of {self.currency.upper()}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Amount):
            return NotImplemented
        return (self.amount, self.currency) == (other.amount, other.currency)

    def __hash__(self) -> int:
        return hash((self.amount, self.currency))


@frozen(eq=False)
class AmountDetails(Amount):
    """An amount of money as the provider takes it: an integer count of minor units.

    ``AmountDetails(10_000, "usd")`` is 100 USD (the provider's page of ``session/create``).
    The currency is an ISO 4217 code; it is stored in lower case, as in the provider's examples.
    The documents don't say how the provider counts currencies that don't have two decimals. Here
    the number of decimals is that of ISO 4217, so 100 JPY is ``AmountDetails(100, "jpy")``.

    >>> AmountDetails.of("100.00", "usd")
    AmountDetails(amount=10000, currency='usd')
    >>> AmountDetails(1_234, "kwd").decimal
    Decimal('1.234')

    Raises:
        InvalidRequest: the amount is not an int from 1 to 2**53 - 1, or the currency is no
            ISO 4217 code.

    """

    amount: int = field(validator=_check_amount)
    currency: str = field(converter=_currency)

    @classmethod
    def of(cls, major: str | int | Decimal, currency: str) -> Self:
        """Convert from major units, given as text, Decimal or int; a float is refused.

        Text with exactly three digits after the point is refused unless the currency has three
        decimals: "1.500" is one and a half in some countries, and fifteen hundred in others.

        Raises:
            InvalidRequest: not a number, finer than the currency's minor unit, or a text that can
                be read as two amounts.

        """
        if isinstance(major, str):
            code = _currency(currency)
            return cls(_minor_units(major, code), code)
        # A float isn't exact; the check is for callers without a type checker.
        if type(major) is bool or not isinstance(major, int | Decimal):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidRequest(
                "AmountDetails.of", f"expected text or Decimal, got {type(major).__name__}"
            )
        code = _currency(currency)
        try:
            minor = Decimal(major, _EXACT).scaleb(_exponent(code), _EXACT)
        except InvalidOperation:
            raise InvalidRequest("AmountDetails.of", _NO_NUMBER) from None
        if not minor.is_finite():
            raise InvalidRequest("AmountDetails.of", _NO_NUMBER)
        if minor.adjusted() > _MAX_DIGITS:
            raise InvalidRequest("AmountDetails.of", f"has more than {_MAX_DIGITS} digits")
        if minor != minor.to_integral_value(context=_EXACT):
            raise InvalidRequest("AmountDetails.of", _too_fine(code))
        return cls(int(minor), code)


def _minor_units(text: str, code: str) -> int:
    """Return the minor units of a text in major units."""
    number = _PLAIN_NUMBER.fullmatch(text)
    if number is None:
        raise InvalidRequest("AmountDetails.of", _NO_NUMBER)
    whole, fraction = number[1], number[2] or ""
    decimals = _exponent(code)
    if len(whole) + len(fraction) > _MAX_DIGITS:
        raise InvalidRequest("AmountDetails.of", f"has more than {_MAX_DIGITS} digits")
    if fraction[decimals:].strip("0"):
        raise InvalidRequest("AmountDetails.of", _too_fine(code))
    counted = fraction[:decimals]
    if len(fraction) == _THOUSANDS and decimals != _THOUSANDS:
        words = two_readings(whole, fraction, counted)
        raise InvalidRequest("AmountDetails.of", words)
    return int(whole + counted.ljust(decimals, "0"))


def two_readings(whole: str, fraction: str, counted: str, point: str = ".") -> str:
    """Say that an amount can be read in two ways, and how to write each of them."""
    small = f"{whole}{point}{counted}" if counted else whole
    big = f"{whole}{fraction} or " if whole.strip("0") else ""
    return (
        "three digits behind one separator are thousands in some countries and decimals in "
        f"others; write {big}{small}"
    )


def _too_fine(code: str) -> str:
    return f"{code} has {_exponent(code)} decimals, and no finer amounts"


def decimals_of(currency: str) -> int:
    """Return how many decimals a currency has.

    Raises:
        InvalidRequest: ISO 4217 doesn't have the currency or its decimals.

    """
    return _exponent(_currency(currency))


def _exponent(code: str) -> int:
    decimals = EXPONENTS[code]
    assert decimals is not None  # noqa: S101 - _currency let no other code through
    return decimals
