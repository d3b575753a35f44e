"""Checks by libraries, which the extra ``files`` installs: codes and numbers that are looked up.

Each library is imported when the first value needs it. Where one isn't installed, the basic checks
of `identifiers` remain, and `Lookups` reports once what isn't checked.
"""

import gettext
import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from attrs import define, field

from ..codec.instruments import kind_of
from ..models.instruments import FasterPayment, GlobalAccount, GlobalWallet, RussianAccount
from .checks import SIDES, Broken, ParsedRequest, text_at
from .identifiers import is_iban

_KOSOVO: Final = "XKX"
"""The code in use for Kosovo (European Commission, SWIFT); ISO 3166-1 leaves it to its users."""
_RESERVED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "UK": "GBR",
        "EL": "GRC",
        **dict.fromkeys((_KOSOVO, "XK", "KOSOVO"), _KOSOVO),
        "TURKEY": "TUR",
        "MACEDONIA": "MKD",
        "SWAZILAND": "SWZ",
        "CAPE VERDE": "CPV",
    }
)
"""Codes in use that ISO 3166-1 leaves to others (UK is reserved there, EL is the EU's), and the
names that it had until 2013 to 2022."""
_FEWEST_LETTERS: Final = 3
_OF_STATES: Final = ("THE", "REPUBLIC OF", "REPUBLIC OF THE", "KINGDOM OF", "KINGDOM OF THE")
_LANGUAGES: Final = ("de", "fr", "es", "it", "nl", "pl", "pt", "tr", "ru", "sv", "cs")
_TERRITORIES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "FI": ("ALA",),
        "FR": (
            *("BLM", "GLP", "GUF", "MAF", "MTQ", "MYT", "NCL", "PYF", "REU", "SPM", "WLF"),
            "MCO",
        ),
        "GB": ("GGY", "IMN", "JEY"),
    }
)
"""Country of an IBAN -> the others whose accounts have it (SWIFT, IBAN registry)."""
_LIKE_IBAN: Final = re.compile("[A-Z]{2}[0-9]{2}[A-Z0-9]{7,30}")
_IBAN_BEGINS: Final = re.compile("[A-Za-z]{2}[0-9]{2}")
_ALPHA_3: Final = re.compile("[A-Za-z]{3}")
_INSTALL: Final = "pip install 'smartglocal-async[files]'"
_COUNTRIES: Final = "ISO 3166-1"
_CURRENCIES: Final = "ISO 4217"
_IBANS: Final = "ISO 13616"
_BICS: Final = "ISO 9362"
_PHONES: Final = "ITU-T E.164"
_TAX_OFFICE: Final = "Federal Tax Service of Russia"
_BRAZIL: Final = "Receita Federal"


def _pycountry() -> Any:  # noqa: ANN401 - a module
    import pycountry  # noqa: PLC0415 - only where a code is looked up

    return pycountry


def _schwifty() -> Any:  # noqa: ANN401 - a module
    import schwifty  # noqa: PLC0415

    return schwifty


def _cpf() -> Any:  # noqa: ANN401 - a module
    from stdnum.br import cpf  # noqa: PLC0415

    return cpf


def _inn() -> Any:  # noqa: ANN401 - a module
    from stdnum.ru import inn  # noqa: PLC0415

    return inn


def _phonenumbers() -> Any:  # noqa: ANN401 - a module
    import phonenumbers  # noqa: PLC0415

    return phonenumbers


@lru_cache(maxsize=4096)
def country_code(text: str) -> str | None:
    """Return the alpha-3 code of a country by its code or name; None if there is no such country.

    Without pycountry only the form of an alpha-3 code is known.
    """
    name = " ".join(text.split())
    try:
        countries = _pycountry().countries
    except ImportError:
        return name.upper() if _ALPHA_3.fullmatch(name) else None
    if (reserved := _RESERVED.get(name.upper())) is not None:
        return reserved
    try:
        return None if name.isdigit() else str(countries.lookup(name).alpha_3)
    except LookupError:
        return None


@lru_cache(maxsize=1024)
def _country_problem(text: str) -> str | None:
    countries = _pycountry().countries
    code = text.upper()
    if code == _KOSOVO or countries.get(alpha_3=code) is not None:
        return None
    alike = _similar_country(" ".join(text.split()))
    return f"is no country{'' if alike is None else f'; did you mean {alike}?'}"


def _similar_country(text: str) -> str | None:
    """Return the alpha-3 code that was most likely meant; None rather than a wrong one."""
    plain = _of_state(text.upper())
    known = country_code(text) or country_code(plain)
    if known is not None:
        return known
    for find in (_part_of_a_kingdom, _by_initials, _by_beginning, _by_close_name, _by_translation):
        if len(plain) >= _FEWEST_LETTERS and (found := find(plain)) is not None:
            return found
    return None


def _of_state(name: str) -> str:
    """Return the name of a country without words that many have."""
    for words in _OF_STATES:
        name = name.removeprefix(f"{words} ").removesuffix(f", {words}")
    return name


def _part_of_a_kingdom(text: str) -> str | None:
    """Return the country of England, Scotland and the like."""
    parts: Any = _pycountry().subdivisions.get(country_code="GB") or ()
    kinds = {"Country", "Province"}
    names = (part for part in parts if part.type in kinds)
    is_one = any(text in {part.code[3:], part.name.upper().partition(" [")[0]} for part in names)
    return "GBR" if is_one else None


def _by_initials(text: str) -> str | None:
    """Return the one country of which a text is the initials, such as UAE."""
    found = {
        str(country.alpha_3)
        for country in _pycountry().countries
        for name in (country.name, getattr(country, "official_name", ""))
        if "".join(word[0] for word in re.findall("[A-Z][a-z]+", name)) == text
    }
    return found.pop() if len(found) == 1 else None


def _by_beginning(text: str) -> str | None:
    """Return the one country whose name begins so; of a code, one of a single word."""
    is_code = _ALPHA_3.fullmatch(text) is not None
    found = [country for country in _pycountry().countries if country.name.upper().startswith(text)]
    if len(found) == 1 and not (is_code and " " in found[0].name):
        return str(found[0].alpha_3)
    return _by_code(text) if is_code and not found else None


def _by_code(text: str) -> str | None:
    """Return the code that differs in its last letter, unless the text may be another's."""
    library: Any = _pycountry()
    country = library.countries.get(alpha_2=text[:2])
    if country is None or library.currencies.get(alpha_3=text) is not None:
        return None
    letters = re.compile(".*".join(text))  # NED may be the Netherlands, and is not Niger.
    others = (one.name.upper() for one in library.countries if one is not country)
    is_like = country.alpha_3[:2] == text[:2] and not any(map(letters.match, others))
    return str(country.alpha_3) if is_like else None


def _by_close_name(text: str) -> str | None:
    names = {one.name.upper(): str(one.alpha_3) for one in _pycountry().countries}
    names = {name: code for name, code in names.items() if name[0] == text[0]}
    close = get_close_matches(text, names, n=2, cutoff=0.85)
    return names[close[0]] if len(close) == 1 else None


def _by_translation(text: str) -> str | None:
    """Return the one country that has this name in a language of its neighbours."""
    found = {_translations(language).get(text) for language in _LANGUAGES} - {None}
    return found.pop() if len(found) == 1 else None


@lru_cache(maxsize=16)
def _translations(language: str) -> Mapping[str, str]:
    library = _pycountry()
    names = gettext.translation("iso3166-1", library.LOCALES_DIR, [language], fallback=True)
    return {names.gettext(one.name).upper(): str(one.alpha_3) for one in library.countries}


@lru_cache(maxsize=1024)
def _currency_problem(text: str) -> str | None:
    found = _pycountry().currencies.get(alpha_3=text.upper())
    return "is no currency: it must be three letters, such as EUR" if found is None else None


@lru_cache(maxsize=256)
def _iban_spec(country: str) -> Any:  # noqa: ANN401 - a record of schwifty's
    try:
        return _schwifty().registry.get_iban_spec(country)
    except _schwifty().exceptions.SchwiftyException:
        return None


def _iban_problem(iban: str) -> str | None:
    spec = _iban_spec(iban[:2].upper())
    if spec is None:  # Without the code of a country it isn't an IBAN, as its form says.
        return "is an IBAN of a country that has none" if _IBAN_BEGINS.match(iban) else None
    if len(iban) != spec.iban_length:
        return f"must have {spec.iban_length} characters: it is an IBAN of {iban[:2].upper()}"
    if not spec.regex.match(iban[4:].upper()):
        return f"isn't built as an IBAN of {iban[:2].upper()} is: {spec.bban_spec} after the digits"
    return None


def _account_problem(account: str) -> str | None:
    """Return why an account that is written like an IBAN isn't one."""
    iban = account.upper().removeprefix("IBAN")
    if _LIKE_IBAN.fullmatch(iban) is None or _iban_spec(iban[:2]) is None:
        return None
    if is_iban(account) and _iban_problem(account) is None:
        return None
    return "looks like an IBAN, and isn't a valid one; compare it with the recipient's"


def _abroad(country: str) -> Callable[[str], str | None]:
    """Return what compares the country of an IBAN with that of the recipient."""

    def problem_of(iban: str) -> str | None:
        begins = iban[:2]
        if begins in _at_home(country) or begins.upper() in _at_home(country):
            return None
        found = country_code(begins.upper())
        if found is None:
            return None
        return f"is an account in {found}, and the recipient's country is {country}; compare them"

    return problem_of


@lru_cache(maxsize=1024)
def _at_home(country: str) -> frozenset[str]:
    """Return how the IBANs of a country begin."""
    known = _pycountry().countries.get(alpha_3=country)
    begins = {begins for begins, others in _TERRITORIES.items() if country in others}
    reserved = {begins for begins, code in _RESERVED.items() if code == country}
    return frozenset(begins | reserved | (set() if known is None else {str(known.alpha_2)}))


def _another_account(iban: str, account: str) -> bool:
    number = account.upper().lstrip("0")
    return iban.upper() != number and number not in iban[4:].upper()


def _bank_problem(iban: str) -> str | None:
    """Return why the bank of an IBAN, which is built as one of its country, should be compared."""
    country = iban[:2].upper()
    code = "".join([iban[place] for place in _bank_places(country)])
    if not code or _has_bank(country, code):
        return None
    return f"should name a bank of the list for {iban[:2].upper()}; compare it with the recipient's"


@lru_cache(maxsize=256)
def _bank_places(country: str) -> tuple[slice, ...]:
    """Return where the code of the bank is in an IBAN of a country."""
    if (spec := _iban_spec(country)) is None:
        return ()
    begins = len("DE89")
    places = [spec.positions[one] for one in spec.bic_lookup_components]
    return tuple(slice(begins + place.start, begins + place.end) for place in places)


@lru_cache(maxsize=65_536)
def _has_bank(country: str, code: str) -> bool:
    registry = _schwifty().registry
    banks = registry.get_banks_by_country(country)
    return not banks or bool(registry.get_banks_by_code(country, code))


@lru_cache(maxsize=4096)
def _bic_problem(bic: str) -> str | None:
    found = _schwifty().BIC(bic.upper(), allow_invalid=True)
    if found.is_valid:
        return None
    return "is no BIC: four letters of the bank, two of its country, two or five more"


def _inn_problem(inn: str) -> str | None:
    is_valid = _inn().is_valid(inn)
    return None if is_valid else "must be an INN: 10 or 12 digits with the right check digits"


def _cpf_problem(cpf: str) -> str | None:
    # Eleven equal digits have the right check digits, and are given to no one.
    is_valid = _cpf().is_valid(cpf) and len(set(cpf)) > 1
    return None if is_valid else "must be a CPF: 11 digits with the right check digits"


def _phone_problem(phone: str) -> str | None:
    library = _phonenumbers()
    try:
        number = library.parse(f"+{phone.removeprefix('+')}")
    except library.NumberParseException:
        return "should be a phone number with its country code"
    if library.is_possible_number(number):
        return None
    return "should be a phone number with its country code"


def _russian_phone_problem(phone: str) -> str | None:
    problem = _phone_problem(phone)
    if problem is None and not phone.removeprefix("+").startswith("7"):
        return "should be a phone number of Russia, beginning with 7"
    return problem


@define
class _Check:
    """How a field is looked up."""

    problem_of: Callable[[str], str | None]
    library: str
    page: str
    is_advice: bool = False


_BIC: Final = _Check(_bic_problem, "schwifty", _BICS)
_ACCOUNT: Final = _Check(_account_problem, "schwifty", _IBANS)
_PHONE: Final = _Check(_phone_problem, "phonenumbers", _PHONES, is_advice=True)
_INSTRUMENTS: Final[Mapping[str, Mapping[str, tuple[_Check, ...]]]] = {
    kind_of(GlobalAccount): {
        "iban": (
            _Check(_iban_problem, "schwifty", _IBANS),
            _Check(_bank_problem, "schwifty", _IBANS, is_advice=True),
        ),
        "swift_bic_code": (_BIC,),
        "bank_account_number": (_ACCOUNT,),
        "account_number": (_ACCOUNT,),
    },
    kind_of(RussianAccount): {"inn": (_Check(_inn_problem, "python-stdnum", _TAX_OFFICE),)},
    kind_of(FasterPayment): {
        "phone": (_Check(_russian_phone_problem, "phonenumbers", _PHONES, is_advice=True),)
    },
    kind_of(GlobalWallet): {"msisdn": (_PHONE,)},
}
_PEOPLE: Final[Mapping[str, tuple[_Check, ...]]] = {
    "country_iso3": (_Check(_country_problem, "pycountry", _COUNTRIES),),
    "currency": (_Check(_currency_problem, "pycountry", _CURRENCIES),),
    "swift_bic_code": (_BIC,),
    "msisdn": (_PHONE,),
}
_NOTHING: Final[Mapping[str, tuple[_Check, ...]]] = {}
_CPF: Final = _Check(_cpf_problem, "python-stdnum", _BRAZIL)
_DOCUMENT: Final = "identity_document.id_number"


def _to_look_up(request: ParsedRequest) -> Iterator[tuple[str, str, tuple[_Check, ...]]]:
    """Yield the path and the text of each field that is looked up, and how."""
    for name, checks in _INSTRUMENTS.get(request.kind, _NOTHING).items():
        if text := text_at(request.instrument, name):
            yield f"{request.place}.{name}", text, checks
    for side in SIDES:
        for name, checks in _PEOPLE.items() if request.sides[side] else ():
            if text := text_at(request.sides[side] or {}, name):
                yield f"participant_details.{side}.{name}", text, checks
    if request.country == "BRA" and (text := text_at(request.sides["recipient"] or {}, _DOCUMENT)):
        yield f"participant_details.recipient.{_DOCUMENT}", text, (_CPF,)
    country = request.country
    if country is not None and (iban := text_at(request.instrument, "iban")):
        check = _Check(_abroad(country), "pycountry", _IBANS, is_advice=True)
        yield f"{request.place}.iban", iban, (check,)


@define(eq=False)
class Lookups:
    """Looks up the codes and numbers of requests; reports each missing library once."""

    _reported: set[str] = field(factory=set[str])

    def broken(self, request: ParsedRequest) -> Iterator[Broken]:
        """Yield the fields of a request that a library knows to be wrong."""
        for where, text, checks in _to_look_up(request):
            yield from self._apply(checks, where, text)
        iban = text_at(request.instrument, "iban")
        for name in ("bank_account_number", "account_number") if iban else ():
            account = text_at(request.instrument, name)
            if iban and account and _another_account(iban, account):
                words = "names another account than the IBAN; leave one of them empty"
                yield Broken(f"{request.place}.{name}", words, _IBANS, is_advice=True)

    def tests(
        self, request: ParsedRequest
    ) -> tuple[tuple[tuple[str, Callable[[str], str | None]], ...], ...]:
        """Return the lookups of the instrument, the recipient and the sender, by field.

        They hold for every request with the same fields, and the same country of the recipient.
        """
        places = (request.place, *(f"participant_details.{side}" for side in SIDES))
        found = tuple(_to_look_up(request))
        return tuple(
            tuple(
                (where.removeprefix(f"{place}."), check.problem_of)
                for where, _, checks in found
                if where.startswith(f"{place}.")
                for check in checks
            )
            for place in places
        )

    def _apply(self, checks: tuple[_Check, ...], where: str, text: str) -> Iterator[Broken]:
        for check in checks:
            try:
                problem = check.problem_of(text)
            except ImportError:
                if check.library not in self._reported:
                    self._reported.add(check.library)
                    words = f"isn't looked up: {check.library} isn't installed ({_INSTALL})"
                    yield Broken(where, words, check.page, is_advice=True)
                return
            if problem is not None:
                yield Broken(where, problem, check.page, check.is_advice)
                return
