"""Codes and numbers that libraries look up, and what is reported where one isn't installed."""

import sys
from collections.abc import Iterator
from typing import Any, Final

import iso4217
import pycountry
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import SAMPLES

import smartglocal_async as sg
from smartglocal_async.validation import lookups
from smartglocal_async.validation.lookups import country_code

HEADER: Final = "key,amount,currency,iban,description,country,recipient_currency,swift"
IBAN: Final = "DE89370400440532013000"
ROW: Final = {
    "key": "p-1",
    "amount": "1",
    "currency": "eur",
    "iban": IBAN,
    "description": "S",
    "country": "DEU",
    "recipient_currency": "eur",
    "swift": "COBADEFFXXX",
}


def rows_of(tmp_path: Any, *rows: dict[str, str]) -> list[sg.payouts.FileRow]:
    """Write rows as a CSV, and read them."""
    path = tmp_path / "p.csv"
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join(row.get(name, "") for name in names) for row in rows]
    path.write_text("\n".join([",".join(names), *lines, ""]), encoding="utf-8")
    return list(sg.PayoutFile(path).rows())


def found(tmp_path: Any, **changes: str) -> list[tuple[str | None, str, bool]]:
    """Return the problems of a row with some other cells, but for what it lacks."""
    (row,) = rows_of(tmp_path, {**ROW, **changes})
    return [
        (one.column, one.problem, one.is_advice)
        for one in row.problems
        if "should have it" not in one.problem
    ]


@pytest.mark.parametrize(
    ("column", "text", "words"),
    [
        ("country", "GER", "is no country; did you mean DEU?"),
        ("country", "ENG", "is no country; did you mean GBR?"),
        ("country", "SCT", "is no country; did you mean GBR?"),
        ("country", "GBX", "is no country; did you mean GBR?"),
        ("country", "XXX", "is no country"),
        ("country", "Germny", "is no country; did you mean DEU?"),
        ("recipient_currency", "EUX", "is no currency"),
        ("recipient_currency", "XYZ", "is no currency"),
        ("iban", "GB88WEST1234569876543", "must have 22 characters: it is an IBAN of GB"),
        ("iban", "US5037040044053201300", "is an IBAN of a country that has none"),
        ("iban", "\ufeffDE89370400440532013000", "must be an IBAN: letters and digits without"),
        ("iban", "GB25123456789012345678", "isn't built as an IBAN of GB is"),
        ("swift", "DEUTZZFF", "is no BIC"),
    ],
)
def test_a_code_that_is_not_there(tmp_path, column, text, words) -> None:
    """Certain: it is in no list, however well it is formed."""
    problems = found(tmp_path, **{column: text})
    assert [one for one in problems if one[0] == column and words in one[1] and not one[2]], (
        problems
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"iban": "DE27370400450532013000"}, "should name a bank of the list for DE"),
        ({"phone": "12345"}, "should be a phone number with its country code"),
        ({"phone": "+4930123456"}, ""),
    ],
)
def test_what_may_be_newer_than_a_list_is_advice(tmp_path, changes, words) -> None:
    """New banks and numbering plans come between two releases of a library."""
    problems = found(tmp_path, **changes)
    if not words:
        assert problems == []
        return
    assert [one for one in problems if words in one[1] and one[2]], problems


FRENCH, BRITISH = "FR1420041010050500013M02606", "GB29NWBK60161331926819"


@pytest.mark.parametrize(
    ("iban", "country"),
    [(IBAN, "DEU"), (FRENCH, "FRA"), (FRENCH, "REU"), (FRENCH, ""), (BRITISH, "JEY")],
)
def test_a_right_row_has_no_problems(tmp_path, iban, country) -> None:
    """Nothing is reported of what is right."""
    assert found(tmp_path, iban=iban, country=country) == []


@pytest.mark.parametrize(
    ("changes", "column", "words"),
    [
        ({"iban": FRENCH}, "iban", "is an account in FRA, and the recipient's country is DEU"),
        ({"iban": IBAN, "country": "FRA"}, "iban", "is an account in DEU"),
        ({"bank_account_number": "0532013001"}, "bank_account_number", "names another account"),
        ({"account_number": "37040044"}, "account_number", ""),
        ({"bank_account_number": "00532013000"}, "bank_account_number", ""),
        ({"bank_account_number": IBAN}, "bank_account_number", ""),
    ],
)
def test_two_fields_that_disagree_are_advice(tmp_path, changes, column, words) -> None:
    """An account abroad, and one beside another, may be meant."""
    problems = found(tmp_path, **changes)
    if not words:
        assert problems == []
    else:
        assert [one for one in problems if one[0] == column and words in one[1] and one[2]]


@pytest.mark.parametrize("column", ["bank_account_number", "account_number"])
@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        (IBAN, True),
        ("DE89 3704 0044 0532 0130 00", True),
        ("DE89370400440532013001", False),
        ("DE8937040044053201300", False),
        ("GB29NWBK6016133192682", False),
        (f"IBAN{IBAN}", False),
        ("XY89370400440532013001", True),
        ("AB12345678", True),
    ],
)
def test_an_account_written_as_an_iban(tmp_path, column, text, is_right) -> None:
    """Of a country that has IBANs it is checked as one."""
    problems = found(tmp_path, iban="", **{column: text})
    words = "looks like an IBAN, and isn't a valid one; compare it with the recipient's"
    assert problems == ([] if is_right else [(column, words, False)])


RUSSIAN: Final = {
    "key": "p-1",
    "amount": "1",
    "currency": "rub",
    "ru_bik": "044525225",
    "ru_account": "40817810938160925982",
    "ru_full_name": "Ivan Petrov",
    "ru_description": "S",
}


@pytest.mark.parametrize(
    ("inn", "is_right"),
    [("7707083893", True), ("7707083894", False), ("500100732259", True), ("500100732258", False)],
)
def test_the_number_of_a_tax_payer(tmp_path, inn, is_right) -> None:
    """Ten or twelve digits with their check digits."""
    (row,) = rows_of(tmp_path, {**RUSSIAN, "ru_inn": inn})
    assert (row.order is not None) is is_right
    assert [one.column for one in row.problems] == ([] if is_right else ["ru_inn"])


@pytest.mark.parametrize(
    ("cpf", "is_right"),
    [
        ("11144477735", True),
        ("111.444.777-35", True),
        ("11144477736", False),
        ("00000000000", False),
    ],
)
def test_the_number_of_a_person_in_brazil(tmp_path, cpf, is_right) -> None:
    """Eleven digits with their check digits, with or without the usual points."""
    row = {
        "key": "p-1",
        "amount": "1",
        "currency": "brl",
        "bank_account_number": "1",
        "branch_number": "1",
        "account_type": "OTHERS",
        "description": "S",
        "country": "BR",
        "recipient_currency": "brl",
        "bank_name": "B",
        "first_name": "A",
        "last_name": "B",
        "sender_company_name": "C",
        "sender_registration_number": "1",
        "sender_country": "GB",
        "sender_code": "1",
        "id_number": cpf,
    }
    (read,) = rows_of(tmp_path, row)
    assert (read.order is not None) is is_right, read.problems
    assert {one.column for one in read.problems if not one.is_advice} == (
        set() if is_right else {"id_number"}
    )


def test_a_phone_in_russia(tmp_path) -> None:
    """The Faster Payments System has no others."""
    row = {
        "key": "p",
        "amount": "1",
        "currency": "rub",
        "fps_phone": "+4930123456",
        "fps_bank_id": "1",
        "fps_description": "S",
    }
    (read,) = rows_of(tmp_path, row)
    assert [one.problem for one in read.problems] == [
        "should be a phone number of Russia, beginning with 7"
    ]
    (read,) = rows_of(tmp_path, {**row, "fps_phone": "+79000000000"})
    assert read.problems == ()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("DE", "DEU"),
        ("de", "DEU"),
        ("deu", "DEU"),
        ("Germany", "DEU"),
        (" united  kingdom ", "GBR"),
        ("South Korea", "KOR"),
        ("XK", "XKX"),
        ("XKX", "XKX"),
        ("Kosovo", "XKX"),
        ("uk", "GBR"),
        ("EL", "GRC"),
        ("276", None),
        ("Atlantis", None),
        ("", None),
        ("XX", None),
    ],
)
def test_countries_by_code_and_name(text, code) -> None:
    """As ISO 3166-1 has them, and the one that is in use without it."""
    assert country_code(text) == code


@given(st.sampled_from(list(pycountry.countries)))
def test_every_country_is_known(country) -> None:
    """By each of its codes and its name, and none is a problem."""
    for text in (country.alpha_2, country.alpha_3, country.alpha_3.lower(), country.name):
        assert country_code(text) == country.alpha_3
    assert lookups._country_problem(country.alpha_3) is None


@given(st.sampled_from(list(iso4217.Currency)))
def test_every_currency_is_known(currency) -> None:
    """The two libraries have the same list."""
    assert lookups._currency_problem(currency.code) is None


@pytest.fixture
def without(monkeypatch) -> Iterator[Any]:
    """Return a function that takes libraries away; nothing that was looked up is remembered."""
    caches = [
        cache
        for cache in vars(lookups).values()
        if hasattr(cache, "cache_clear") and cache.__module__ == lookups.__name__
    ]

    def remove(*names: str) -> None:
        for cache in caches:
            cache.cache_clear()
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    yield remove
    monkeypatch.undo()
    for cache in caches:
        cache.cache_clear()


def test_without_libraries_each_is_named_once(tmp_path, without) -> None:
    """As advice of the first row that needs it; the basic checks go on."""
    without("pycountry", "schwifty", "phonenumbers", "stdnum", "stdnum.br", "stdnum.ru")
    rows = rows_of(
        tmp_path,
        {**ROW, "phone": "+4930123456"},
        {**ROW, "key": "p-2", "phone": "+4930123456"},
        {**ROW, "key": "p-3", "iban": f"{IBAN[:-1]}1", "country": "Germany"},
    )
    missing = [one for one in rows[0].problems if "isn't installed" in one.problem]
    assert {(one.column, one.problem.partition(":")[2][1:]) for one in missing} == {
        ("iban", "schwifty isn't installed (pip install 'smartglocal-async[files]')"),
        ("country", "pycountry isn't installed (pip install 'smartglocal-async[files]')"),
        ("phone", "phonenumbers isn't installed (pip install 'smartglocal-async[files]')"),
    }
    assert all(one.is_advice for one in missing)
    assert not [one for row in rows[1:] for one in row.problems if "isn't installed" in one.problem]
    assert rows[1].order is not None
    assert {one.column for one in rows[2].problems if not one.is_advice} == {"iban", "country"}


def test_a_call_needs_no_library(without) -> None:
    """The rules of calls are the basic ones, with or without the extra."""
    without("pycountry", "schwifty", "phonenumbers", "stdnum")
    assert country_code("DEU") == "DEU"
    assert country_code("DE") is None


@pytest.mark.parametrize(
    ("name", "content", "library"),
    [
        ("p.xlsx", "libreoffice.xlsx", "python_calamine"),
        ("p.xls", "libreoffice.xls", "xlrd"),
        ("p.xml", "sepaxml-09.xml", "defusedxml.expatreader"),
    ],
)
def test_a_reader_names_what_it_needs(tmp_path, without, name, content, library) -> None:
    """One problem, with the command that installs it."""
    without(library, library.partition(".")[0])
    path = tmp_path / name
    path.write_bytes((SAMPLES / "files" / content).read_bytes())
    ((problem,),) = [row.problems for row in sg.PayoutFile(path).rows()]
    assert "pip install 'smartglocal-async[files]'" in problem.problem


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        *[("GER", "DEU"), ("ENG", "GBR"), ("GBX", "GBR"), ("Germny", "DEU"), ("UAE", "ARE")],
        *[("England", "GBR"), ("Wales", "GBR"), ("Northern Ireland", "GBR"), ("Brunei", "BRN")],
        *[("The Netherlands", "NLD"), ("Republic of Ireland", "IRL"), ("Russia", "RUS")],
        *[("Ireland, Republic of", "IRL"), ("Deutschland", "DEU"), ("Espa\u00f1a", "ESP")],
        *[("Polska", "POL"), ("CRO", "HRV")],
        *[("HOL", None), ("NED", None), ("SUI", None), ("CHI", None), ("LIB", None), ("XXX", None)],
        *[("Holland", None), ("Virgin Islands", None), ("EUR", None), ("GBP", None), ("USD", None)],
        *[("Korea", None), ("Guinea Republic", None), ("D", None), ("276", None)],
    ],
)
def test_the_country_that_was_meant(tmp_path, text, meant) -> None:
    """No suggestion is better than a wrong one."""
    changes = {"iban": "", "bank_account_number": "1", "country": f'"{text}"'}
    problems = [one[1] for one in found(tmp_path, **changes) if one[0] == "country"]
    assert problems == [f"is no country{f'; did you mean {meant}?' if meant else ''}"]


@pytest.mark.parametrize("name", ["Turkey", "UK", "Cape Verde", "Macedonia", "Kosovo"])
def test_a_name_that_was_or_is_in_use(tmp_path, name) -> None:
    """It is read."""
    problems = found(tmp_path, iban="", bank_account_number="1", country=name)
    assert "country" not in {column for column, _, _ in problems}
