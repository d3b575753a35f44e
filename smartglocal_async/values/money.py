"""Whole minor units of one currency: `AmountDetails`, exact, and `Amount`, as it was answered."""

import re
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, InvalidOperation
from typing import Any, Final, Self

from attrs import Attribute, field, frozen

from ..errors import InvalidRequest
from .currencies import EXPONENTS

_PLAIN_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_MOST_DIGITS: Final = 1_000
# Exact whatever the caller's own context is: that one rounds to 28 digits, or fewer.
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


def _currency(value: Any) -> str:  # noqa: ANN401 - checked here, whatever it is
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
class Amount:
    """Money as the provider shows it: any whole number of minor units, any currency code.

    It may be zero (an empty wallet) or negative, and its currency one that ISO 4217 lacks.
    An `Amount` and an `AmountDetails` of the same units and currency are equal.
    """

    amount: int
    currency: str = field(converter=_lower)

    @property
    def decimal(self) -> Decimal:
        """The amount in major units, with as many decimals as the currency has.

        Raises:
            InvalidRequest: ISO 4217 doesn't say how many that are.

        """
        return Decimal(self.amount).scaleb(-_exponent(_currency(self.currency)), _EXACT)

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
    The currency is an ISO 4217 code in any case, kept in lower case as in the provider's
    examples. How the provider counts currencies without two decimals is not documented;
    here the ISO exponent holds, so 100 JPY is ``AmountDetails(100, "jpy")``.

    >>> AmountDetails.of("100.00", "usd")
    AmountDetails(amount=10000, currency='usd')
    >>> AmountDetails(1_234, "kwd").decimal
    Decimal('1.234')

    Raises:
        InvalidRequest: the amount is not an int greater than zero, or the currency is no
            ISO 4217 code.

    """

    amount: int = field(validator=_check_amount)
    currency: str = field(converter=_currency)

    @classmethod
    def of(cls, major: str | int | Decimal, currency: str) -> Self:
        """Convert from major units, given as text, Decimal or int; a float is refused.

        Raises:
            InvalidRequest: not a number, or finer than the currency's minor unit.

        """
        # A float has lost its cents before it gets here; callers without a checker pass them.
        if type(major) is bool or not isinstance(major, str | int | Decimal):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidRequest(
                "AmountDetails.of", f"expected text or Decimal, got {type(major).__name__}"
            )
        code = _currency(currency)
        if isinstance(major, str) and not _PLAIN_NUMBER.fullmatch(major):
            raise InvalidRequest("AmountDetails.of", "expected a number such as '100.00'")
        try:
            minor = Decimal(major, _EXACT).scaleb(_exponent(code), _EXACT)
        except InvalidOperation:
            raise InvalidRequest("AmountDetails.of", "expected a number such as '100.00'") from None
        if not minor.is_finite():
            raise InvalidRequest("AmountDetails.of", "expected a number such as '100.00'")
        if minor.adjusted() > _MOST_DIGITS:
            raise InvalidRequest("AmountDetails.of", f"has more than {_MOST_DIGITS} digits")
        if minor != minor.to_integral_value(context=_EXACT):
            raise InvalidRequest(
                "AmountDetails.of", f"{code} has {_exponent(code)} decimals, and no finer amounts"
            )
        return cls(int(minor), code)


def _exponent(code: str) -> int:
    decimals = EXPONENTS[code]
    assert decimals is not None  # noqa: S101 - _currency let no other code through
    return decimals
