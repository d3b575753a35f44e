"""Writes identifiers in the one form that the provider takes: without spaces and dashes."""

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, cast

from ...codec import Wire
from ...codec.instruments import kind_of
from ...models.instruments import (
    BankCard,
    EncryptedCard,
    FasterPayment,
    GlobalAccount,
    GlobalWallet,
    MonetaWallet,
    QiwiWallet,
    Recurrent,
    RussianAccount,
    SteamWallet,
    TokenizedCard,
    YooMoneyWallet,
)
from ...validation import is_ruined_number
from ...validation.lookups import country_code

Clean: TypeAlias = Callable[[str, str], str]
"""Returns a cell in the provider's form; the second argument is the recipient's country."""
_SPACES: Final = re.compile(r"\s+")
_SPACES_AND_DASHES: Final = re.compile("[\\s\u2010-\u2015-]+")
_IN_PHONES: Final = re.compile("[\\s\u2010-\u2015().-]+")
_PAIRS: Final = re.compile("([0-9]{2})([0-9]{2})([0-9]{2})")
_CPF: Final = re.compile(r"([0-9]{3})\.?([0-9]{3})\.?([0-9]{3})-?([0-9]{2})")
_DASH_HAS_MEANING: Final = frozenset({"CZE", "SVK"})
"""Countries whose account numbers have a prefix before a dash."""


def _compact(text: str, _country: str) -> str:
    return text if is_ruined_number(text.strip()) else _SPACES.sub("", text)


def _upper(text: str, _country: str) -> str:
    if text.isalnum():  # Most often there is nothing to remove.
        return text.upper()
    short = _SPACES_AND_DASHES.sub("", text).upper()
    is_whole = short.isalnum() and not is_ruined_number(text.strip())
    return short if is_whole or not text.strip() else text


def _iban(text: str, country: str) -> str:
    """Leave out the word that forms print before the number."""
    return _upper(text, country).removeprefix("IBAN")


def _digits(text: str, _country: str) -> str:
    if text.isdigit():
        return text
    short = _SPACES_AND_DASHES.sub("", text)
    is_whole = short.isascii() and short.isdigit() and not is_ruined_number(text.strip())
    return short if is_whole or not text.strip() else text


def _account(text: str, country: str) -> str:
    if text.isalnum():
        return text
    if country in _DASH_HAS_MEANING:
        return _SPACES.sub("", text)
    short = _SPACES_AND_DASHES.sub("", text)
    is_whole = short.isalnum() and not is_ruined_number(text.strip())
    return short if is_whole or not text.strip() else text


def _sort_code(text: str, _country: str) -> str:
    pairs = _PAIRS.fullmatch(_SPACES_AND_DASHES.sub("", text))
    return "-".join(pairs.groups()) if pairs else text


def _phone(text: str, _country: str) -> str:
    short = _IN_PHONES.sub("", text)
    is_whole = short.removeprefix("+").isdigit() and not is_ruined_number(text.strip())
    return short if is_whole else text.strip()


def _document(text: str, country: str) -> str:
    cpf = _CPF.fullmatch(text) if country == "BRA" else None
    return "".join(cpf.groups()) if cpf else text


def _country(text: str, _country: str) -> str:
    return country_code(text) or text


def _stripped(text: str, _country: str) -> str:
    return text.strip()


_INSTRUMENTS: Final[Mapping[type, Mapping[str, Clean]]] = {
    BankCard: {"number": _digits},
    GlobalAccount: {
        "iban": _iban,
        "swift_bic_code": _upper,
        "bank_account_number": _account,
        "account_number": _account,
        "branch_number": _compact,
        "sort_code": _sort_code,
        "routing_code": _digits,
        "bsb_number": _digits,
    },
    RussianAccount: {"bik": _digits, "account": _digits, "inn": _digits, "kpp": _digits},
    FasterPayment: {"phone": _phone},
    GlobalWallet: {"msisdn": _phone},
    SteamWallet: {"account": _stripped},
    QiwiWallet: {"account": _stripped},
    YooMoneyWallet: {"account": _stripped},
    MonetaWallet: {"account": _stripped},
    EncryptedCard: {"number_hash": _stripped},
    Recurrent: {"token": _stripped},
    TokenizedCard: {"token": _stripped},
}
_PEOPLE: Final[Mapping[str, Clean]] = {
    "country_iso3": _country,
    "currency": _stripped,
    "swift_bic_code": _upper,
    "msisdn": _phone,
    "postal_code": _stripped,
    "identity_document.id_number": _document,
}
COUNTRY: Final = "participant_details.recipient.country_iso3"
CLEANERS: Final[Mapping[str, Clean]] = {
    **{
        f"participant_details.{side}.{name}": clean
        for side in ("recipient", "sender")
        for name, clean in _PEOPLE.items()
    },
    **{
        f"payment_method.{kind_of(record)}.{name}": clean
        for record, cleaners in _INSTRUMENTS.items()
        for name, clean in cleaners.items()
    },
    "customer.reference": _stripped,
    "amount": _stripped,
    "currency": _stripped,
}
"""Path -> what writes its cells in the provider's form; the recipient's country comes first."""


def _fields(value: object) -> Wire:
    return cast("Wire", value) if isinstance(value, dict) else {}


def clean_request(wire: Wire) -> None:
    """Write the identifiers in the wire form of a request in the provider's form."""
    country = ""
    for holders, name, path in _IN_REQUESTS:
        fields = wire
        for holder in holders:
            fields = _fields(fields.get(holder))
        text = fields.get(name)
        if isinstance(text, str) and text:
            fields[name] = cleaned = CLEANERS[path](text, country)
            if path == COUNTRY:
                country = cleaned.upper()


_IN_REQUESTS: Final = tuple(
    (tuple(path.split(".")[:-1]), path.rpartition(".")[2], path) for path in CLEANERS if "." in path
)
"""The objects on the way to a field, its name, and its path."""
