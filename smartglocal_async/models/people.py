"""The customer and the participants of a transfer.

The fields are those of the provider's payout and payment pages, and of the sister platform's
SDK; which of them are mandatory depends on the country. ``extra`` is for fields that a page adds.
"""

from collections.abc import Mapping
from typing import Any, cast

from attrs import Attribute, field, frozen

from ..errors import InvalidRequest
from .serialization import Serializable
from .validators import discreet, exact, mask


@discreet
@frozen(kw_only=True, field_transformer=exact)
class Contact(Serializable):
    """One way to reach a customer."""

    email: str | None = field(default=None, repr=mask)
    phone: str | None = field(default=None, repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


def _check_contacts(_instance: object, _field: "Attribute[Any]", value: object) -> None:
    if not isinstance(value, tuple):
        raise InvalidRequest("Customer.contacts", f"expected tuple, got {type(value).__name__}")
    for index, contact in enumerate(cast("tuple[object, ...]", value)):
        if not isinstance(contact, Contact):
            raise InvalidRequest(
                f"Customer.contacts[{index}]", f"expected Contact, got {type(contact).__name__}"
            )


@discreet
@frozen(kw_only=True, field_transformer=exact)
class Customer(Serializable):
    """The payer or recipient as your system knows them; ``reference`` is your own id."""

    reference: str | None = None
    contacts: tuple[Contact, ...] = field(default=(), validator=_check_contacts)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class IdentityDocument(Serializable):
    """An identity document; in Brazil ``id_number`` is the CPF of 11 digits."""

    id_type: str | None = None
    id_number: str | None = field(default=None, repr=mask)
    id_expiration_date: str | None = field(default=None, repr=mask)
    issue_date: str | None = field(default=None, repr=mask)
    division_code: str | None = field(default=None, repr=mask)
    issued_by: str | None = field(default=None, repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class Participant(Serializable):
    """A sender or a recipient, person or company."""

    full_name: str | None = field(default=None, repr=mask)
    first_name: str | None = field(default=None, repr=mask)
    last_name: str | None = field(default=None, repr=mask)
    middle_name: str | None = field(default=None, repr=mask)
    company_name: str | None = field(default=None, repr=mask)
    registration_number: str | None = field(default=None, repr=mask)
    date_of_incorporation: str | None = field(default=None, repr=mask)
    code: str | None = field(default=None, repr=mask)
    reference: str | None = field(default=None, repr=mask)
    country_iso3: str | None = None
    country_iso2: str | None = None
    state: str | None = field(default=None, repr=mask)
    city: str | None = field(default=None, repr=mask)
    postal_code: str | None = field(default=None, repr=mask)
    address_line: str | None = field(default=None, repr=mask)
    street: str | None = field(default=None, repr=mask)
    building: str | None = field(default=None, repr=mask)
    flat: str | None = field(default=None, repr=mask)
    email: str | None = field(default=None, repr=mask)
    msisdn: str | None = field(default=None, repr=mask)
    ipv4: str | None = field(default=None, repr=mask)
    ipv6: str | None = field(default=None, repr=mask)
    bank_name: str | None = None
    currency: str | None = None
    swift_bic_code: str | None = None
    account: str | None = field(default=None, repr=mask)
    wallet_id: str | None = field(default=None, repr=mask)
    beneficiary_id: str | None = field(default=None, repr=mask)
    tax_reference: str | None = field(default=None, repr=mask)
    document: str | None = field(default=None, repr=mask)
    identity_document: IdentityDocument | None = None
    date_of_birth: str | None = field(default=None, repr=mask)
    citizenship_country_iso_3: str | None = None
    description: str | None = field(default=None, repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class ParticipantDetails(Serializable):
    """The two ends of a transfer."""

    sender: Participant | None = None
    recipient: Participant | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)
