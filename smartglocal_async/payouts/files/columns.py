"""The columns of a payouts CSV: paths of the request, and short names for the common ones."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs
from attrs import frozen

from ...codec import PAYOUT_INSTRUMENT, ApiVersion
from ...codec.instruments import kind_of, tags_of
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
from ...models.people import Contact, IdentityDocument, Participant
from ...validation import is_nearly
from ..orders import PayoutOrder

NEEDED: Final = ("key", "amount", "currency")
METADATA: Final = "metadata"
_INSTRUMENTS: Final[tuple[type[Any], ...]] = (
    BankCard,
    EncryptedCard,
    GlobalAccount,
    RussianAccount,
    FasterPayment,
    GlobalWallet,
    Recurrent,
    TokenizedCard,
    SteamWallet,
    QiwiWallet,
    YooMoneyWallet,
    MonetaWallet,
)
_METHOD: Final = PAYOUT_INSTRUMENT["v1"]
_MAX_CONTACTS: Final = 3
_SPACES: Final = re.compile(r"[\s\u00a0-]+")


def _holder(record: type[Any]) -> str:
    """Return the path of the object that holds an instrument's fields."""
    return f"{_METHOD}.{kind_of(record)}"


ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "card_number": f"{_holder(BankCard)}.number",
        "card_token": f"{_holder(EncryptedCard)}.number_hash",
        "recurrent_token": f"{_holder(Recurrent)}.token",
        "iban": f"{_holder(GlobalAccount)}.iban",
        "swift": f"{_holder(GlobalAccount)}.swift_bic_code",
        "bank_account_number": f"{_holder(GlobalAccount)}.bank_account_number",
        "account_number": f"{_holder(GlobalAccount)}.account_number",
        "account_type": f"{_holder(GlobalAccount)}.account_type",
        "branch_number": f"{_holder(GlobalAccount)}.branch_number",
        "sort_code": f"{_holder(GlobalAccount)}.sort_code",
        "routing_code": f"{_holder(GlobalAccount)}.routing_code",
        "bsb_number": f"{_holder(GlobalAccount)}.bsb_number",
        "description": f"{_holder(GlobalAccount)}.description",
        "ru_bik": f"{_holder(RussianAccount)}.bik",
        "ru_account": f"{_holder(RussianAccount)}.account",
        "ru_full_name": f"{_holder(RussianAccount)}.full_name",
        "ru_inn": f"{_holder(RussianAccount)}.inn",
        "ru_description": f"{_holder(RussianAccount)}.description",
        "fps_phone": f"{_holder(FasterPayment)}.phone",
        "fps_bank_id": f"{_holder(FasterPayment)}.bank_id",
        "fps_description": f"{_holder(FasterPayment)}.description",
        "wallet_name": f"{_holder(GlobalWallet)}.name",
        "wallet_phone": f"{_holder(GlobalWallet)}.msisdn",
        "wallet_description": f"{_holder(GlobalWallet)}.description",
        "tokenized_card": f"{_holder(TokenizedCard)}.token",
        "steam_account": f"{_holder(SteamWallet)}.account",
        "qiwi_account": f"{_holder(QiwiWallet)}.account",
        "yoomoney_account": f"{_holder(YooMoneyWallet)}.account",
        "moneta_account": f"{_holder(MonetaWallet)}.account",
        "full_name": "participant_details.recipient.full_name",
        "first_name": "participant_details.recipient.first_name",
        "last_name": "participant_details.recipient.last_name",
        "company_name": "participant_details.recipient.company_name",
        "country": "participant_details.recipient.country_iso3",
        "recipient_currency": "participant_details.recipient.currency",
        "bank_name": "participant_details.recipient.bank_name",
        "state": "participant_details.recipient.state",
        "city": "participant_details.recipient.city",
        "postal_code": "participant_details.recipient.postal_code",
        "address_line": "participant_details.recipient.address_line",
        "email": "participant_details.recipient.email",
        "phone": "participant_details.recipient.msisdn",
        "id_number": "participant_details.recipient.identity_document.id_number",
        "sender_company_name": "participant_details.sender.company_name",
        "sender_registration_number": "participant_details.sender.registration_number",
        "sender_country": "participant_details.sender.country_iso3",
        "sender_code": "participant_details.sender.code",
        "sender_address_line": "participant_details.sender.address_line",
        "sender_city": "participant_details.sender.city",
        "customer_reference": "customer.reference",
    }
)
"""Short name of a column -> path of the request."""
SHORT_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("bic", "bic_code", "swift_bic", "swift_code"), "swift_bic_code"),
        **dict.fromkeys(("payee", "receiver", "beneficiary", "creditor"), "recipient"),
        **dict.fromkeys(("payer", "debtor"), "sender"),
        "name": "full_name",
        "bank": "bank_name",
        **{name: path.rpartition(".")[2] for name, path in ALIASES.items()},
    }
)
"""Short name of a column, or a usual other name -> name of the field."""
_TOP: Final = tuple(one.name for one in attrs.fields(PayoutOrder))


@frozen
class Kind:
    """A kind of instrument, as the columns of a CSV show it."""

    record: type[Any]
    holder: str
    """The path of the object that has its fields."""
    tags: Mapping[str, str]
    """Columns that name the kind -> the word that they hold for it."""


def _kind(record: type[Any]) -> Kind:
    tags = {".".join((_METHOD, *steps)): word for steps, word in tags_of(record).items()}
    return Kind(record, _holder(record), tags)


KINDS: Final = tuple(_kind(record) for record in _INSTRUMENTS)
CONTACTS: Final = tuple(f"customer.contacts[{number}]" for number in range(_MAX_CONTACTS))
TAGS: Final = frozenset(tag for kind in KINDS for tag in kind.tags)


def _under(holder: str, record: type[Any]) -> Iterator[str]:
    for field in attrs.fields(record):
        if field.name == "identity_document":
            yield from _under(f"{holder}.{field.name}", IdentityDocument)
        elif field.name != "extra":
            yield f"{holder}.{field.name}"


def _paths() -> Iterator[str]:
    yield from TAGS
    for kind in KINDS:
        yield from _under(kind.holder, kind.record)
    for side in ("recipient", "sender"):
        yield from _under(f"participant_details.{side}", Participant)
    yield "customer.reference"
    for contact in CONTACTS:
        yield from _under(contact, Contact)


PATHS: Final = frozenset(_paths())
"""All paths that a column may have, except metadata and the three that each file needs."""
_ALIAS_OF: Final[Mapping[str, str]] = {path: name for name, path in ALIASES.items()}
_AT_TOP: Final[Mapping[str, str]] = {
    "amount": "amount_details.amount",
    "currency": "amount_details.currency",
    "idempotency_key": "key",
    "recipient": "participant_details.recipient",
    "sender": "participant_details.sender",
}
_AMOUNT: Final[Mapping[str, str]] = {
    "amount_details": "amount",
    "amount_details.amount": "amount",
    "amount_details.currency": "currency",
}


def path_of(name: str, version: ApiVersion = "v1") -> str | None:
    """Return the path of a column; None if the name is no column of payouts.

    Case doesn't matter, and spaces count as underscores: "Account Number". The names of
    metadata are used as they are. Paths have the names of v1; with ``version`` v2 a column may
    have those of v2, too.
    """
    first, *rest = name.split(".")
    if first.strip().lower() == METADATA:
        return f"{METADATA}.{'.'.join(rest)}" if rest and all(rest) else None
    plain = _SPACES.sub("_", name.strip().lower())
    path = _renamed(ALIASES.get(plain, plain), PAYOUT_INSTRUMENT[version], _METHOD)
    return path if path in PATHS or path in NEEDED else None


def name_of(path: str, version: ApiVersion = "v1") -> str:
    """Return the name of the column for a path, in a version of the API."""
    return _AMOUNT.get(path) or _ALIAS_OF.get(path) or in_version(path, version)


def in_version(path: str, version: ApiVersion) -> str:
    """Return a path of the request with the names of a version of the API."""
    return _renamed(path, _METHOD, PAYOUT_INSTRUMENT[version])


def _renamed(path: str, name: str, new: str) -> str:
    """Return a path with another name for its first step."""
    first, dot, rest = path.partition(".")
    return f"{new}{dot}{rest}" if first == name else path


def similar(name: str, version: ApiVersion = "v1") -> tuple[str, ...]:
    """Return the columns with similar names, the most similar first."""
    known: Iterable[str] = (*NEEDED, *ALIASES, *(in_version(path, version) for path in PATHS))
    return tuple(difflib.get_close_matches(name.lower(), known, cutoff=0.7))


def meant_field(name: str) -> str | None:
    """Return the path of the request that a name at its top most likely means."""
    known = next((one for one in _TOP if is_nearly(name, one)), None)
    short = SHORT_NAMES.get(name, name)
    found = known or _AT_TOP.get(name.lower()) or _AT_TOP.get(short) or path_of(name)
    return found or next((one for one in ALIASES.values() if one.endswith(f".{short}")), None)
