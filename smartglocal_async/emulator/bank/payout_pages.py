"""What the provider's pages of payouts require, by instrument and country of the recipient."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from attrs import evolve, frozen

from .tokens import number_of
from .validation import PAYOUT_NAMES, JsonObject, holds, is_object

_IBAN: Final = re.compile(r"[A-Za-z]{2}[0-9]{2}[A-Za-z0-9]{11,30}")
_MIR: Final = re.compile("220[0-4]")


@frozen
class PageFields:
    """The fields that a page of the provider marks as mandatory for a payout."""

    instrument: tuple[tuple[str, ...], ...] = ((),)
    """One of these sets has to be there."""
    recipient: tuple[str, ...] = ()
    sender: tuple[str, ...] = ()
    currency: str | None = None
    """The only currency of the amount."""
    recipient_currencies: tuple[str, ...] = ()
    """The only currencies of the recipient; empty: any."""


_FIVE: Final = ("bank_name", "currency", "country_iso3", "first_name", "last_name")
_FOUR: Final = ("company_name", "registration_number", "country_iso3", "code")
_HOME: Final = ("address_line", "city", "postal_code", "state")
_NUMBERED: Final = (("bank_account_number", "description"),)
_CARD: Final = PageFields(recipient=("full_name",))
_CHINA: Final = PageFields(
    recipient=(
        "city",
        "postal_code",
        "state",
        "bank_name",
        "currency",
        "country_iso3",
        "full_name",
    ),
    recipient_currencies=("cny", "usd"),
)
CHINESE_CARD_IN_USD: Final = evolve(
    _CHINA, recipient=(*_CHINA.recipient, "address_line", "swift_bic_code", "first_name")
)
RUSSIAN_CARD: Final = evolve(_CARD, currency="rub")
"""The page has no field for a country, so its cards are known by their number: those of Mir."""
_CARD_FORMS: Final = ("bank_card", "encrypted_card")
_ACCOUNTS: Final[Mapping[str, PageFields]] = MappingProxyType(
    {
        "HUN": PageFields(
            (("iban", "description"),),
            (*_FIVE, "address_line", "city"),
            (*_FOUR, "address_line", "city"),
        ),
        "CZE": PageFields(
            (("iban", "description"), ("bank_account_number", "branch_number", "description")),
            _FIVE,
            _FOUR,
        ),
        "GBR": PageFields(
            (
                ("iban", "swift_bic_code", "account_type", "description"),
                ("sort_code", "account_number", "account_type", "description"),
            ),
            (*_FIVE, "address_line"),
        ),
        "USA": PageFields(
            (("bank_account_number", "account_type", "routing_code", "description"),),
            (*_FIVE, *_HOME),
            (*_FOUR, "address_line"),
        ),
        "AUS": PageFields(
            (("bank_account_number", "bsb_number", "description"),),
            (*_FIVE, *_HOME),
            ("address_line", "company_name"),
        ),
        "BRA": PageFields(
            (("bank_account_number", "branch_number", "account_type", "description"),),
            (*_FIVE, "identity_document.id_number"),
            _FOUR,
        ),
        "TUR": PageFields((("iban", "description"),), _FIVE, _FOUR),
        **dict.fromkeys(("VNM", "KOR", "KEN"), PageFields(_NUMBERED, _FIVE, _FOUR)),
        **dict.fromkeys(("THA", "IDN"), PageFields(_NUMBERED, _FIVE, (*_FOUR, "address_line"))),
        # Whether the other fields of the sender are mandatory differs between the page's versions.
        "PHL": PageFields(_NUMBERED, _FIVE, ("code",)),
        "HKG": PageFields(_NUMBERED, (*_FIVE, "address_line"), _FOUR),
        "ISR": PageFields(
            (("iban", "description"), ("bank_account_number", "branch_number", "description")),
            _FIVE,
            _FOUR,
        ),
    }
)
"""Country of the recipient -> the page payouts/payout-* of accounts there."""
PAGES: Final[Mapping[tuple[str, str, str], PageFields]] = MappingProxyType(
    {
        **{("bank_account", "global", country): page for country, page in _ACCOUNTS.items()},
        ("bank_account", "ru", ""): PageFields((("bik", "account", "full_name", "description"),)),
        ("bank_account", "faster_payment_system", ""): PageFields(
            (("phone", "bank_id", "description"),), currency="rub"
        ),
        **{
            ("card", form, country): page
            for form in _CARD_FORMS
            for country, page in (("", _CARD), ("CHN", _CHINA))
        },
        ("wallet", "global", "PHL"): PageFields(
            (("name", "msisdn", "description"),),
            ("currency", "country_iso3", "first_name", "last_name"),
            _FOUR,
        ),
    }
)
"""Instrument, its form, and the recipient's country -> its page; "" is any other country."""


def payout_problem(terms: JsonObject, version: int) -> str | None:
    """Return what a payout lacks or may not have by the page of its instrument and country.

    ``terms`` are in the names of v1, the answer in those of ``version``. None if it lacks nothing,
    or if no page of that country is known.
    """
    instrument = terms.get("payment_method")
    kind = str(instrument.get("type")) if is_object(instrument) else ""
    inner = instrument.get(kind) if is_object(instrument) else None
    people, money = terms.get("participant_details"), terms.get("amount_details")
    if not is_object(inner) or not is_object(money):
        return None
    system = str(inner.get("system_type", inner.get("type", "")))
    fields = inner.get(system)
    page = _page(kind, system, terms)
    place = f"{PAYOUT_NAMES[version]}.{kind}.{system}"
    if not any(all(holds(fields, name) for name in names) for names in page.instrument):
        missing = next(name for name in page.instrument[0] if not holds(fields, name))
        return f"{place}.{missing}: is missing"
    if page.recipient and holds(fields, "iban") and not _has_iban(fields):
        return f"{place}.iban: must be an IBAN without spaces"
    for role, names in (("recipient", page.recipient), ("sender", page.sender)):
        for name in names:
            if not holds(people, f"{role}.{name}"):
                return f"participant_details.{role}.{name}: is missing"
    return _wrong_currency(page, terms)


def _wrong_currency(page: PageFields, terms: JsonObject) -> str | None:
    if page.currency not in {None, _currency(terms.get("amount_details"))}:
        return f"amount_details.currency: must be {page.currency} for this instrument"
    wanted = page.recipient_currencies
    if wanted and _currency(_recipient(terms)) not in wanted:
        return f"participant_details.recipient.currency: must be {' or '.join(wanted)}"
    return None


def _currency(holder: object) -> str:
    return str(holder.get("currency")).lower() if is_object(holder) else ""


def _recipient(terms: JsonObject) -> object:
    people = terms.get("participant_details")
    return people.get("recipient") if is_object(people) else None


def _page(kind: str, system: str, terms: JsonObject) -> PageFields:
    recipient, instrument = _recipient(terms), terms.get("payment_method")
    country = str(recipient.get("country_iso3")).upper() if is_object(recipient) else ""
    if kind == "card" and system in _CARD_FORMS and is_object(instrument):
        currencies = map(_currency, (recipient, terms.get("amount_details")))
        if country == "CHN" and "usd" in currencies:
            return CHINESE_CARD_IN_USD
        if _MIR.match(number_of(instrument) or ""):
            return RUSSIAN_CARD
    of_any_country = PAGES.get((kind, system, ""), PageFields())
    return PAGES.get((kind, system, country), of_any_country)


def _has_iban(fields: object) -> bool:
    value = fields.get("iban") if is_object(fields) else None
    if not isinstance(value, str) or _IBAN.fullmatch(value) is None:
        return False
    digits = "".join(str(int(letter, 36)) for letter in value[4:] + value[:4])
    return int(digits) % 97 == 1
