"""Who pays and who is paid: customer and participants.

The fields are those of the provider's payout and payment pages, and of the sister platform's
SDK; which of them are mandatory depends on the country. ``extra`` carries what a page adds.
"""

from collections.abc import Mapping
from typing import Any, cast

from attrs import Attribute, field, frozen

from ..errors import InvalidRequest
from .exactness import discreet, exact, mask


@discreet
@frozen(kw_only=True, field_transformer=exact)
class Contact:
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
class Customer:
    """The payer or recipient as your system knows them; ``reference`` is your own id."""

    reference: str | None = None
    contacts: tuple[Contact, ...] = field(default=(), validator=_check_contacts)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class IdentityDocument:
    """A paper that proves who somebody is; in Brazil ``id_number`` is the CPF of 11 digits."""

    id_type: str | None = None
    id_number: str | None = field(default=None, repr=mask)
    id_expiration_date: str | None = None
    issue_date: str | None = None
    division_code: str | None = None
    issued_by: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class Participant:
    """A sender or a recipient, person or company."""

    full_name: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    middle_name: str | None = None
    company_name: str | None = None
    registration_number: str | None = None
    date_of_incorporation: str | None = None
    code: str | None = None
    reference: str | None = None
    country_iso3: str | None = None
    country_iso2: str | None = None
    state: str | None = None
    city: str | None = None
    postal_code: str | None = None
    address_line: str | None = None
    street: str | None = None
    building: str | None = None
    flat: str | None = None
    email: str | None = field(default=None, repr=mask)
    msisdn: str | None = field(default=None, repr=mask)
    ipv4: str | None = field(default=None, repr=mask)
    ipv6: str | None = field(default=None, repr=mask)
    bank_name: str | None = None
    currency: str | None = None
    swift_bic_code: str | None = None
    account: str | None = field(default=None, repr=mask)
    wallet_id: str | None = field(default=None, repr=mask)
    beneficiary_id: str | None = None
    tax_reference: str | None = field(default=None, repr=mask)
    document: str | None = field(default=None, repr=mask)
    identity_document: IdentityDocument | None = None
    date_of_birth: str | None = field(default=None, repr=mask)
    citizenship_country_iso_3: str | None = None
    description: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class ParticipantDetails:
    """The two ends of a transfer."""

    sender: Participant | None = None
    recipient: Participant | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)
