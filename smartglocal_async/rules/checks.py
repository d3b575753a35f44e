"""The tables laid over a request: what is missing, what is written wrongly."""

import enum
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import chain
from typing import Final

from ..codec import Wire
from .broken import Broken
from .forms import (
    EXPIRATION_MONTH,
    EXPIRATION_YEAR,
    INSTRUMENT_FORMS,
    PARTICIPANT_FORMS,
    PAYER_FORMS,
    SCHEMES,
    Form,
    Forms,
)
from .reading import SIDES, Asked, text_at, value_at
from .tables import PAYMENTS, PAYOUTS, Demands

_CARD: Final = "card.bank_card"
_ACCOUNT: Final = "bank_account.global"
_NO_FORMS: Final[Forms] = {}


class Completeness(enum.Enum):
    """Of what all mandatory fields must be there."""

    LATER = "later"
    """Of nothing yet."""
    OF_WHAT_IS_GIVEN = "of what is given"
    """Of the instrument that the request has, if any. Of a recipient and a sender that it has,
    as advice: the rest of them may have come with the session."""
    OF_ALL = "of all"


def missing_fields(
    asked: Asked, demands: Demands | None, completeness: Completeness
) -> Iterator[Broken]:
    """Give the mandatory fields that a request lacks."""
    if demands is None or completeness is Completeness.LATER:
        return
    yield from _missing(asked.place, asked.instrument, demands.instrument, demands)
    yield from _no_alternative(asked, demands)
    everybody = completeness is Completeness.OF_ALL
    for side, names in zip(SIDES, (demands.recipient, demands.sender), strict=True):
        fields = asked.sides[side]
        if fields is not None or everybody:
            yield from _missing(
                f"participant_details.{side}",
                fields or {},
                names,
                demands,
                may_be_given=not everybody,
            )


def broken_forms(asked: Asked, demands: Demands | None, today: date) -> Iterator[Broken]:
    """Give the fields of a request that aren't written as they must be."""
    if demands is not None:
        yield from _instrument_misformed(asked, demands.instrument_forms)
        yield from _side_misformed(asked, "recipient", demands.recipient_forms)
        yield from _wrong_currency(asked, demands)
    yield from _instrument_misformed(asked, INSTRUMENT_FORMS.get(asked.kind, _NO_FORMS))
    if asked.kind == _CARD:
        yield from _expired(asked, today)
    if asked.is_payment:
        yield from _side_misformed(asked, "sender", PAYER_FORMS)
    yield from chain.from_iterable(
        _side_misformed(asked, side, PARTICIPANT_FORMS) for side in SIDES
    )


def demands_of(asked: Asked) -> Demands | None:
    """Give what a page demands of such a request."""
    country, currency = asked.country, asked.recipient_currency
    for demands in PAYMENTS if asked.is_payment else PAYOUTS:
        if (
            demands.kind == asked.kind
            and demands.country in {None, country}
            and demands.recipient_currency in {None, currency}
        ):
            return demands
    return None


def _missing(
    place: str,
    fields: Wire,
    names: tuple[str, ...],
    demands: Demands,
    *,
    may_be_given: bool = False,
) -> Iterator[Broken]:
    for name in names:
        if _is_blank(fields, name):
            is_advice = may_be_given or demands.is_advice or name in demands.advised
            must = "should" if is_advice else "must"
            problem = f"is missing; a {demands.name} {must} have it"
            yield Broken(f"{place}.{name}", problem, demands.page, is_advice)


def _no_alternative(asked: Asked, demands: Demands) -> Iterator[Broken]:
    sets = demands.alternatives
    if sets and not any(
        all(not _is_blank(asked.instrument, name) for name in names) for names in sets
    ):
        choice = ", or ".join(" and ".join(names) for names in sets)
        problem = f"give {choice}: a {demands.name} must have them"
        yield Broken(asked.place, problem, demands.page, demands.is_advice)


def _is_blank(fields: Wire, name: str) -> bool:
    value = value_at(fields, name)
    return value is None or (isinstance(value, str) and not value.strip())


def _instrument_misformed(asked: Asked, forms: Forms) -> Iterator[Broken]:
    return _misformed(asked, asked.place, asked.instrument, forms)


def _side_misformed(asked: Asked, side: str, forms: Forms) -> Iterator[Broken]:
    return _misformed(asked, f"participant_details.{side}", asked.sides[side] or {}, forms)


def _misformed(asked: Asked, place: str, fields: Wire, forms: Forms) -> Iterator[Broken]:
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
                is_advice = not _is_certain(form, asked)
                yield Broken(f"{place}.{name}", form.problem, form.page, is_advice)


def _is_certain(form: Form, asked: Asked) -> bool:
    # The pages of the countries are about accounts there.
    return form.certain_in is None or (asked.kind == _ACCOUNT and asked.country in form.certain_in)


def _wrong_currency(asked: Asked, demands: Demands) -> Iterator[Broken]:
    if demands.currency and asked.currency and asked.currency != demands.currency:
        problem = f"must be {demands.currency}: a {demands.name} knows no other"
        yield Broken("amount_details.currency", problem, demands.page)


def _expired(asked: Asked, today: date) -> Iterator[Broken]:
    month, year = (text_at(asked.instrument, f"expiration_{unit}") for unit in ("month", "year"))
    if month is None or year is None:
        return
    if not (EXPIRATION_MONTH.holds(month) and EXPIRATION_YEAR.holds(year)):
        return
    # Good through the end of its month, wherever on earth it ends last.
    still = today - timedelta(days=1)
    if (2000 + int(year), int(month)) < (still.year, still.month):
        yield Broken(
            f"{asked.place}.expiration_year", "the card has expired; ask for another", SCHEMES
        )
