"""The table of currencies, compared with a library that has ISO's own list."""

import iso4217
import pytest

from smartglocal_async.models.money import EXPONENTS

LISTED = {currency.code.lower(): currency.exponent for currency in iso4217.Currency}


@pytest.mark.parametrize("code", sorted(LISTED))
def test_every_listed_currency_has_its_exponent(code) -> None:
    """Every code of the maintenance agency's list has its exponent."""
    assert EXPONENTS[code] == LISTED[code]


def test_there_are_no_others() -> None:
    """Codes that ISO withdrew or never assigned are refused."""
    assert set(EXPONENTS) - set(LISTED) == set()


def test_the_table_does_not_change() -> None:
    """The table can't be changed in the running program."""
    with pytest.raises(TypeError):
        EXPONENTS["usd"] = 3
