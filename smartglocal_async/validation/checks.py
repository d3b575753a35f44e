"""The checks of a request in its wire form, field by field."""

import enum
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from itertools import chain
from typing import Final, cast, get_args

import attrs
from attrs import frozen

from ..codec import PAYOUT_INSTRUMENT, Wire
from ..codec.instruments import kind_of, unwrapped
from ..models.instruments import (
    BankCard,
    FasterPayment,
    GlobalAccount,
    GlobalWallet,
    MonetaWallet,
    OtherInstrument,
    PayoutInstrument,
    QiwiWallet,
    Recurrent,
    RussianAccount,
    SteamWallet,
    TokenizedCard,
    YooMoneyWallet,
)
from .country_rules import PAYMENTS, PAYOUTS, Requirements
from .identifiers import (
    BETWEEN_INDIVIDUALS,
    EXPIRATION_MONTH,
    EXPIRATION_YEAR,
    INDIVIDUALS,
    INSTRUMENT_FORMS,
    PARTICIPANT_FORMS,
    PAYER_FORMS,
    REQUEST_FORMS,
    RUSSIAN_BANKS,
    SCHEMES,
    Form,
    Forms,
    has_control_key,
)

PAYOUT: Final = tuple(PAYOUT_INSTRUMENT.values())
"""The field of a payout's instrument: its names in v1 and v2."""
PAYMENT: Final = ("payment_details",)
SIDES: Final = ("recipient", "sender")


@frozen
class ParsedRequest:
    """The parts of a request that have rules; None for a part that is absent."""

    is_payment: bool
    kind: str
    """Such as ``bank_account.global``; empty without an instrument, or for one without rules."""
    place: str
    """Path of the instrument's fields: ``payment_method.bank_account.global``."""
    instrument: Wire
    sides: Mapping[str, Wire | None]
    currency: str | None
    """Currency of ``amount_details``, in lower case."""
    wire: Wire
    """The whole request."""

    @property
    def country(self) -> str | None:
        """The recipient's country, in upper case."""
        country = text_at(self.sides["recipient"] or {}, "country_iso3")
        return country and country.upper()

    @property
    def recipient_currency(self) -> str | None:
        """The recipient's currency, in lower case."""
        currency = text_at(self.sides["recipient"] or {}, "currency")
        return currency and currency.lower()


def read_request(wire: Wire, names: tuple[str, ...]) -> ParsedRequest:
    """Return the parts of a request whose instrument has one of some names."""
    name = next((name for name in names if name in wire), names[0])
    kind, instrument = _unwrapped(_object(wire.get(name)) or {})
    people = _object(wire.get("participant_details")) or {}
    currency = text_at(_object(wire.get("amount_details")) or {}, "currency")
    return ParsedRequest(
        name in PAYMENT,
        kind,
        f"{name}.{kind}",
        instrument,
        {side: _object(people.get(side)) for side in SIDES},
        currency and currency.lower(),
        wire,
    )


def value_at(fields: Wire, path: str) -> object:
    """Return the value at a path such as ``identity_document.id_number``; None if absent."""
    if "." not in path:  # Faster; nearly all paths are so, and each call reads dozens.
        return fields.get(path)
    value: object = fields
    for name in path.split("."):
        value = (_object(value) or {}).get(name)
    return value


def text_at(fields: Wire, path: str) -> str | None:
    """Return the text at a path; None for anything else."""
    value = value_at(fields, path)
    return value if isinstance(value, str) else None


def _object(value: object) -> Wire | None:
    return cast("Wire", value) if isinstance(value, dict) else None


def _unwrapped(wire: Wire) -> tuple[str, Wire]:
    record, fields, kind = unwrapped(wire)
    held = None if record is OtherInstrument else _object(fields)
    return ("", {}) if held is None else (kind, held)


@frozen
class Broken:
    """A rule that a request breaks."""

    field: str
    """Path on the wire, such as ``payment_method.bank_account.global.iban``."""
    problem: str
    """What is wrong and how to fix it; never the value."""
    page: str
    """The page that states the rule, below ``developer.smart-glocal.com/docs/``; or a standard."""
    is_advice: bool = False
    """Whether the provider may accept the request anyway: no page states the rule for certain for
    such a request."""
    in_file: str | None = None
    """The problem in the words for a file, if they are others than for a call."""


_CARD: Final = kind_of(BankCard)
_ACCOUNT: Final = kind_of(GlobalAccount)
_RUSSIAN: Final = kind_of(RussianAccount)
_TELLING: Final[Mapping[str, tuple[str, ...]]] = {
    kind_of(GlobalAccount): ("iban", "bank_account_number", "account_number"),
    kind_of(RussianAccount): ("account",),
    kind_of(FasterPayment): ("phone",),
    kind_of(GlobalWallet): ("msisdn",),
    kind_of(Recurrent): ("token",),
    kind_of(TokenizedCard): ("token",),
    **{
        kind_of(wallet): ("account",)
        for wallet in (SteamWallet, QiwiWallet, YooMoneyWallet, MonetaWallet)
    },
}
"""Kind of instrument -> the fields of which one has to name the payee."""
_OWN_FIELDS: Final = frozenset(
    attribute.name
    for record in get_args(PayoutInstrument)
    if record is not OtherInstrument and kind_of(record) in _TELLING
    for attribute in attrs.fields(record)
)
_ANY_PAGE: Final = "payouts/payout-* (every country's page)"
_NO_FORMS: Final[Forms] = {}


class Completeness(enum.Enum):
    """Which mandatory fields must be present."""

    LATER = "later"
    """None yet."""
    OF_WHAT_IS_GIVEN = "of what is given"
    """Those of an instrument in the request. Those of a recipient or sender in it only as advice,
    as the others may have come with the session."""
    OF_ALL = "of all"
    """All of them."""


def missing_fields(
    request: ParsedRequest, requirements: Requirements | None, completeness: Completeness
) -> Iterator[Broken]:
    """Yield the mandatory fields that a request lacks."""
    if completeness is Completeness.LATER:
        return
    yield from _without_payee(request, requirements)
    if requirements is None:
        return
    yield from _missing(request.place, request.instrument, requirements.instrument, requirements)
    yield from _no_alternative(request, requirements)
    is_all = completeness is Completeness.OF_ALL
    yield from _without_payer(request, requirements, may_be_given=not is_all)
    for side, names in zip(SIDES, (requirements.recipient, requirements.sender), strict=True):
        fields = request.sides[side]
        if fields is not None or is_all:
            yield from _missing(
                f"participant_details.{side}",
                fields or {},
                names,
                requirements,
                may_be_given=not is_all,
            )


def broken_forms(
    request: ParsedRequest, requirements: Requirements | None, today: date
) -> Iterator[Broken]:
    """Yield the fields of a request that are malformed."""
    if requirements is not None:
        yield from _malformed_in_instrument(request, requirements.instrument_forms)
        yield from _malformed_in_side(request, "recipient", requirements.recipient_forms)
        yield from wrong_currency(request, requirements)
        yield from _malformed(request, "", request.wire, requirements.request_forms)
    if "payment_options" in request.wire:
        yield from _malformed(request, "", request.wire, REQUEST_FORMS)
    yield from _malformed_in_instrument(request, INSTRUMENT_FORMS.get(request.kind, _NO_FORMS))
    if request.kind == _CARD:
        yield from _expired(request, today)
    elif request.kind == _RUSSIAN:
        yield from _wrong_control_key(request)
    if request.is_payment:
        yield from _malformed_in_side(request, "sender", PAYER_FORMS)
    yield from chain.from_iterable(
        _malformed_in_side(request, side, PARTICIPANT_FORMS) for side in SIDES
    )


def without_submerchant(request: ParsedRequest) -> Iterator[Broken]:
    """Yield the address of a transfer between individuals, for a client without a submerchant."""
    field = "payment_options.return_url"
    if value_at(request.wire, field) == BETWEEN_INDIVIDUALS:
        problem = (
            "is for transfers between individuals, whose payer X-PARTNER-SUBMERCHANT names: set "
            "SMARTGLOCAL_SUBMERCHANT, or make the client with submerchant="
        )
        yield Broken(field, problem, INDIVIDUALS)


def requirements_of(request: ParsedRequest) -> Requirements | None:
    """Return what a page requires of such a request; None if no page covers it."""
    country, currencies = request.country, {request.currency, request.recipient_currency}
    for requirements in PAYMENTS if request.is_payment else PAYOUTS:
        if requirements.kind != request.kind:
            continue
        if requirements.either_currency not in {None, *currencies}:
            continue
        if requirements.country in {None, country} or _has_number(request, requirements):
            return requirements
    return None


def _has_number(request: ParsedRequest, requirements: Requirements) -> bool:
    starts = requirements.card_numbers
    return bool(starts) and (text_at(request.instrument, "number") or "").startswith(starts)


def _missing(
    place: str,
    fields: Wire,
    names: tuple[str, ...],
    requirements: Requirements,
    *,
    may_be_given: bool = False,
) -> Iterator[Broken]:
    for name in names:
        if _is_blank(fields, name):
            is_advice = may_be_given or requirements.is_advice or name in requirements.advised
            must = "should" if is_advice else "must"
            problem = f"is missing; a {requirements.name} {must} have it"
            yield Broken(f"{place}.{name}", problem, requirements.page, is_advice)


def _no_alternative(request: ParsedRequest, requirements: Requirements) -> Iterator[Broken]:
    sets = requirements.alternatives
    if sets and not any(
        all(not _is_blank(request.instrument, name) for name in names) for names in sets
    ):
        choice = ", or ".join(" and ".join(names) for names in sets)
        problem = f"give {choice}: a {requirements.name} must have them"
        yield Broken(request.place, problem, requirements.page, requirements.is_advice)


def _without_payer(
    request: ParsedRequest, requirements: Requirements, *, may_be_given: bool
) -> Iterator[Broken]:
    """Yield the first of the fields of which a request must have one, if it has none."""
    first, *others = requirements.payer or ("",)
    if first and all(_is_blank(request.wire, name) for name in requirements.payer):
        is_advice = may_be_given or requirements.is_advice
        must = "should" if is_advice else "must"
        problem = f"is missing; a {requirements.name} {must} have it, or {' or '.join(others)}"
        yield Broken(first, problem, requirements.page, is_advice)


def _is_blank(fields: Wire, name: str) -> bool:
    value = value_at(fields, name)
    return value is None or (isinstance(value, str) and not value.strip())


def _malformed_in_instrument(request: ParsedRequest, forms: Forms) -> Iterator[Broken]:
    return _malformed(request, request.place, request.instrument, forms)


def _malformed_in_side(request: ParsedRequest, side: str, forms: Forms) -> Iterator[Broken]:
    return _malformed(request, f"participant_details.{side}", request.sides[side] or {}, forms)


def _malformed(request: ParsedRequest, place: str, fields: Wire, forms: Forms) -> Iterator[Broken]:
    if not fields:
        return
    for name, several in forms.items():
        if name not in fields and "." not in name:
            continue
        text = text_at(fields, name)
        if text is None:
            continue
        for form in several:
            if not form.holds(text):
                page, is_advice = _page(form, request)
                path = f"{place}.{name}" if place else name
                yield Broken(path, form.problem, page, is_advice, form.in_file)


def _page(form: Form, request: ParsedRequest) -> tuple[str, bool]:
    """Return the page that states a form, and whether it is advice for such a request."""
    if form.certain_in is None:
        return form.page, False
    # The page of a country is about accounts in that country.
    country = (request.country or "") if request.kind == _ACCOUNT else ""
    return form.certain_in.get(country, form.page), country not in form.certain_in


def wrong_currency(request: ParsedRequest, requirements: Requirements) -> Iterator[Broken]:
    """Yield the currency of an amount that the operation doesn't have."""
    if requirements.currency and request.currency and request.currency != requirements.currency:
        must = "should" if requirements.is_currency_advice else "must"
        problem = f"{must} be {requirements.currency}: a {requirements.name} has no other currency"
        yield Broken(
            "amount_details.currency", problem, requirements.page, requirements.is_currency_advice
        )


def _without_payee(request: ParsedRequest, requirements: Requirements | None) -> Iterator[Broken]:
    """Yield an instrument that names no payee, in its own or in further fields."""
    telling, fields = _TELLING.get(request.kind, ()), request.instrument
    if not telling or any(not _is_blank(fields, name) for name in telling):
        return
    if any(name not in _OWN_FIELDS and not _is_blank(fields, name) for name in fields):
        return
    if requirements is not None and not requirements.is_advice:
        names = set[str]().union(requirements.instrument, *requirements.alternatives)
        if names.intersection(telling):
            return  # Its page says which field is missing.
    *others, last = telling
    choice = f"{', '.join(others)} or {last}" if others else last
    words = "no account" if others else f"no {last}"
    yield Broken(request.place, f"{words}: fill {choice}", _ANY_PAGE)


def _wrong_control_key(request: ParsedRequest) -> Iterator[Broken]:
    bik, account = text_at(request.instrument, "bik"), text_at(request.instrument, "account")
    forms = INSTRUMENT_FORMS[_RUSSIAN]
    if bik is None or account is None:
        return
    are_numbers = forms["bik"][0].holds(bik) and forms["account"][0].holds(account)
    if are_numbers and not has_control_key(bik, account):
        problem = "its control key (the ninth digit) doesn't fit the account and the BIK"
        yield Broken(f"{request.place}.account", problem, RUSSIAN_BANKS)


def _expired(request: ParsedRequest, today: date) -> Iterator[Broken]:
    month, year = (text_at(request.instrument, f"expiration_{unit}") for unit in ("month", "year"))
    if month is None or year is None:
        return
    if not (EXPIRATION_MONTH.holds(month) and EXPIRATION_YEAR.holds(year)):
        return
    # Valid through the end of its month, in the time zone where it ends last.
    valid_on = today - timedelta(days=1)
    if (2000 + int(year), int(month)) < (valid_on.year, valid_on.month):
        yield Broken(
            f"{request.place}.expiration_year", "the card has expired; ask for another", SCHEMES
        )
