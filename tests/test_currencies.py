"""The table of currencies, held to the library that ships ISO's own list."""

import iso4217
import pytest

from smartglocal_async.values.currencies import EXPONENTS

LISTED = {currency.code.lower(): currency.exponent for currency in iso4217.Currency}


@pytest.mark.parametrize("code", sorted(LISTED))
def test_every_listed_currency_has_its_exponent(code) -> None:
    """The list of the maintenance agency, code by code."""
    assert EXPONENTS[code] == LISTED[code]


def test_there_are_no_others() -> None:
    """A code that ISO withdrew, or never gave, is not taken."""
    assert set(EXPONENTS) - set(LISTED) == set()


def test_the_table_does_not_change() -> None:
    """Nobody can teach the running program another exponent."""
    with pytest.raises(TypeError):
        EXPONENTS["usd"] = 3
