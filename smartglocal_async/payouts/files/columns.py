"""The columns that a CSV may have: paths of the request, and short names for the common ones."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs
from attrs import frozen

from ...codec.instruments import place_of, tags_of
from ...values.instruments import (
    BankCard,
    EncryptedCard,
    FasterPayment,
    GlobalAccount,
    GlobalWallet,
    Recurrent,
    RussianAccount,
)
from ...values.people import Contact, IdentityDocument, Participant

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
)
_METHOD: Final = "payment_method"
_MOST_CONTACTS: Final = 3

ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "card_number": "payment_method.card.bank_card.number",
        "card_token": "payment_method.card.encrypted_card.number_hash",
        "recurrent_token": "payment_method.recurrent.token",
        "iban": "payment_method.bank_account.global.iban",
        "swift": "payment_method.bank_account.global.swift_bic_code",
        "bank_account_number": "payment_method.bank_account.global.bank_account_number",
        "account_number": "payment_method.bank_account.global.account_number",
        "account_type": "payment_method.bank_account.global.account_type",
        "branch_number": "payment_method.bank_account.global.branch_number",
        "sort_code": "payment_method.bank_account.global.sort_code",
        "routing_code": "payment_method.bank_account.global.routing_code",
        "bsb_number": "payment_method.bank_account.global.bsb_number",
        "description": "payment_method.bank_account.global.description",
        "ru_bik": "payment_method.bank_account.ru.bik",
        "ru_account": "payment_method.bank_account.ru.account",
        "ru_full_name": "payment_method.bank_account.ru.full_name",
        "ru_inn": "payment_method.bank_account.ru.inn",
        "ru_description": "payment_method.bank_account.ru.description",
        "fps_phone": "payment_method.bank_account.faster_payment_system.phone",
        "fps_bank_id": "payment_method.bank_account.faster_payment_system.bank_id",
        "fps_description": "payment_method.bank_account.faster_payment_system.description",
        "wallet_name": "payment_method.wallet.global.name",
        "wallet_phone": "payment_method.wallet.global.msisdn",
        "wallet_description": "payment_method.wallet.global.description",
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


@frozen
class Kind:
    """A kind of instrument, as columns have it."""

    record: type[Any]
    holder: str
    """The path that its fields stand under."""
    tags: Mapping[str, str]
    """Columns that name the kind, and what they say then."""


def _kind(record: type[Any]) -> Kind:
    tags = {".".join((_METHOD, *place)): word for place, word in tags_of(record).items()}
    return Kind(record, ".".join((_METHOD, *place_of(record))), tags)


KINDS: Final = tuple(_kind(record) for record in _INSTRUMENTS)
CONTACTS: Final = tuple(f"customer.contacts[{number}]" for number in range(_MOST_CONTACTS))
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
"""All that a column may be, but for the three that each file has, and for metadata."""
_ALIAS_OF: Final[Mapping[str, str]] = {path: name for name, path in ALIASES.items()}
_AMOUNT: Final[Mapping[str, str]] = {
    "amount_details": "amount",
    "amount_details.amount": "amount",
    "amount_details.currency": "currency",
}


def path_of(name: str) -> str | None:
    """Give the path that a column stands for; None where it stands for none."""
    path = ALIASES.get(name, name)
    if path in PATHS or path in NEEDED:
        return path
    first, *rest = path.split(".")
    return path if first == METADATA and rest and all(rest) else None


def name_of(path: str) -> str:
    """Give the name that a column for a path would have."""
    return _AMOUNT.get(path) or _ALIAS_OF.get(path, path)


def near(name: str) -> tuple[str, ...]:
    """Give the columns with names like this one, the most alike first."""
    known: Iterable[str] = (*NEEDED, *ALIASES, *PATHS)
    return tuple(difflib.get_close_matches(name.lower(), known, cutoff=0.7))
