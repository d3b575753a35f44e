"""Checks of a request by the rules of the provider's pages.

A session is created and started in one call or two, so which fields must be present depends on the
call:

- ``session/create``: none, as all may come with the start.
- ``session/start/...``: may leave out what the session was created with. An instrument, a
  recipient or a sender is checked if the request has one.
- ``session/init/...`` and ``fps/customer_verification``: all mandatory fields.

The format of a field is checked in every call. An instrument of a type or shape that has no
record here (`OtherInstrument`) has no rules.

A rule is certain if a page states it for this very kind of request, or if a standard states it;
any other is advice (`Broken.is_advice`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from attrs import define, field, frozen

from ..codec import Wire
from ..codec.instruments import kind_of
from ..models.instruments import BankCard, RussianAccount
from .checks import (
    PAYMENT,
    PAYOUT,
    SIDES,
    Broken,
    Completeness,
    broken_forms,
    missing_fields,
    read_request,
    requirements_of,
    text_at,
    without_submerchant,
    wrong_currency,
)
from .identifiers import INSTRUMENT_FORMS, PARTICIPANT_FORMS, Forms, holders
from .lookups import Lookups

_CALLS: Final[Mapping[str, tuple[Completeness, tuple[str, ...]]]] = MappingProxyType(
    {
        "session/create": (Completeness.LATER, (*PAYOUT, *PAYMENT)),
        "session/start/payout": (Completeness.OF_WHAT_IS_GIVEN, PAYOUT),
        "session/start/payment": (Completeness.OF_WHAT_IS_GIVEN, PAYMENT),
        "session/init/payout": (Completeness.OF_ALL, PAYOUT),
        "session/init/payment": (Completeness.OF_ALL, PAYMENT),
        "fps/customer_verification": (Completeness.OF_ALL, PAYOUT),
    }
)
"""Call -> which fields must be complete, and the names that its instrument may have."""
_START: Final = "session/start/payout"
_CHECKED: Final = frozenset({*PAYOUT, *PAYMENT, "participant_details", "payment_options"})
"""The fields with rules; the currency of an amount is only checked together with an instrument."""


def has_rules(path: str, wire: Wire) -> bool:
    """Return whether there are rules for the request of a call."""
    if path not in _CALLS:
        return False
    # Most sessions are created without any of these, and the checks take time in each call.
    return _CALLS[path][0] is Completeness.OF_ALL or not wire.keys().isdisjoint(_CHECKED)


def broken_rules(
    path: str,
    wire: Wire,
    today: date,
    lookups: Lookups | None = None,
    *,
    has_submerchant: bool = True,
) -> Iterator[Broken]:
    """Yield the rules that the request of a call breaks, at most one for each field.

    Certain rules come before advice; in both, missing fields before malformed ones. With
    ``lookups``, codes and numbers are looked up by libraries, too: imported at the first use, they
    take a moment that a call has not. ``has_submerchant`` is whether the client names one.
    """
    if not has_rules(path, wire):
        return
    completeness, names = _CALLS[path]
    request = read_request(wire, names)
    requirements = requirements_of(request)
    found = [
        *missing_fields(request, requirements, completeness),
        *(() if has_submerchant else without_submerchant(request)),
        # They say more than the form of a code does.
        *(() if lookups is None else lookups.broken(request)),
        *broken_forms(request, requirements, today),
    ]
    yield from _in_order(found)


def _in_order(found: Sequence[Broken]) -> Iterator[Broken]:
    """Yield one rule of each field, the certain ones first."""
    seen: set[str] = set()
    for broken in sorted(found, key=lambda each: each.is_advice):
        if broken.field not in seen:
            seen.add(broken.field)
            yield broken


_OF_SHAPE: Final = ("country_iso3", "currency")
"""Fields of the recipient whose values are part of a shape."""
_MAX_SHAPES: Final = 4096
_DOCUMENT: Final = "identity_document"
_TWO_FIELDS_AT_ONCE: Final = frozenset({kind_of(BankCard), kind_of(RussianAccount)})
"""Kinds of instruments with a rule that takes two fields at once."""
_ACCOUNTS: Final = frozenset({"iban", "bank_account_number", "account_number"})
"""Fields of which two are compared."""
Test: TypeAlias = tuple[str, Callable[[str], object]]
"""A field, and what returns whether its text is right; of a lookup, what is wrong with it."""


@frozen
class _Shape:
    """What is the same for all requests with the same fields, country and currencies."""

    missing: tuple[Broken, ...]
    forms: tuple[tuple[Test, ...], ...]
    """The tests of the instrument, the recipient and the sender."""
    lookups: tuple[tuple[Test, ...], ...]

    def is_right(self, parts: Sequence[Wire]) -> bool:
        """Return whether all fields have their form, and are found where they are looked up."""
        for fields, forms, lookups in zip(parts, self.forms, self.lookups, strict=True):
            for name, holds in forms:
                if not holds(fields[name]):
                    return False
            for name, problem_of in lookups:
                if problem_of(fields[name]) is not None:
                    return False
        return True


@define(eq=False)
class RuleChecker:
    """Checks many payouts that are to be started, such as the rows of a file.

    What a payout lacks depends on its shape alone, which few of the rows of a file don't share.
    Where the form of every field is right, that is all: such a payout takes a fifth of the time
    that `broken_rules` takes, and others are left to it. Codes are looked up by libraries, too.
    """

    today: date
    _lookups: Lookups = field(factory=Lookups)
    _shapes: dict[object, _Shape | None] = field(factory=dict[object, _Shape | None])

    def broken(self, wire: Wire) -> Sequence[Broken]:
        """Return the rules that a payout breaks, as `broken_rules` does for the call."""
        try:
            found = self._quick(wire)
        except (KeyError, TypeError, AttributeError, ImportError):
            found = None  # Not of the usual form, or a library is missing.
        if found is not None:
            return found
        return tuple(broken_rules(_START, wire, self.today, self._lookups))

    def _quick(self, wire: Wire) -> Sequence[Broken] | None:
        """Return what a payout lacks; None unless all of its fields are right."""
        key, parts = _key_and_parts(wire)
        if not all(map(_has_texts, parts)):
            return None
        shape = self._shapes[key] if key in self._shapes else self._new_shape(key, wire)
        return None if shape is None or not shape.is_right(parts) else shape.missing

    def missing_in(
        self, kind: type, parts: tuple[Wire, Wire, Wire], currency: str, wire: Callable[[], Wire]
    ) -> Sequence[Broken] | None:
        """Return the rules that a payout breaks by what it lacks; None unless all else is right.

        ``parts`` are the fields of its instrument, recipient and sender, all of them text. Its wire
        form is made only for the first of its shape. If it is None, `broken` has the reasons.
        """
        instrument, recipient, sender = parts
        key = (
            *(kind, *instrument, 0, *recipient, 0, *sender),
            *(recipient.get("country_iso3"), recipient.get("currency"), currency),
        )
        for fields in parts:
            if any(map(_IS_SPACE, fields.values())):
                return None
        try:
            shape = self._shapes[key] if key in self._shapes else self._new_shape(key, wire())
            return None if shape is None or not shape.is_right(parts) else shape.missing
        except ImportError:
            return None

    def _new_shape(self, key: object, wire: Wire) -> _Shape | None:
        if len(self._shapes) >= _MAX_SHAPES:
            self._shapes.clear()
        self._shapes[key] = shape = self._shape(wire)
        return shape

    def _shape(self, wire: Wire) -> _Shape | None:
        """Put together the checks of payouts like this one; None where they aren't so plain."""
        request = read_request(wire, PAYOUT)
        requirements = requirements_of(request)
        if not request.kind or request.kind in _TWO_FIELDS_AT_ONCE:
            return None
        if len(_ACCOUNTS.intersection(request.instrument)) > 1:
            return None
        if requirements is not None and tuple(wrong_currency(request, requirements)):
            return None
        missing = missing_fields(request, requirements, Completeness.OF_WHAT_IS_GIVEN)
        own = () if requirements is None else (requirements.instrument_forms,)
        recipient_forms = () if requirements is None else (requirements.recipient_forms,)
        tables: tuple[tuple[Forms, ...], ...] = (
            (*own, INSTRUMENT_FORMS.get(request.kind, {})),
            (*recipient_forms, PARTICIPANT_FORMS),
            (PARTICIPANT_FORMS,),
        )
        parts = (request.instrument, *(request.sides[side] or {} for side in SIDES))
        forms: list[Sequence[Test]] = [
            tuple(_tests(fields, table)) for fields, table in zip(parts, tables, strict=True)
        ]
        lookups: list[Sequence[Test]] = list(self._lookups.tests(request))
        # The country and the currency of the recipient are the same for the whole shape.
        recipient: Wire = request.sides["recipient"] or {}
        same_forms, forms[1] = _split(forms[1])
        same_lookups, lookups[1] = _split(lookups[1])
        if not all(holds(recipient[name]) for name, holds in same_forms):
            return None
        if any(problem_of(recipient[name]) is not None for name, problem_of in same_lookups):
            return None
        return _Shape(
            tuple(_in_order(tuple(missing))), tuple(map(tuple, forms)), tuple(map(tuple, lookups))
        )


def _split(tests: Sequence[Test]) -> tuple[Sequence[Test], Sequence[Test]]:
    """Return the tests of fields that are part of a shape, and the others."""
    of_shape = [test for test in tests if test[0] in _OF_SHAPE]
    return of_shape, [test for test in tests if test[0] not in _OF_SHAPE]


def _tests(fields: Wire, tables: tuple[Forms, ...]) -> Iterator[Test]:
    for forms in tables:
        for name, several in forms.items():
            if text_at(fields, name) is not None:
                for holds in holders(several):
                    yield name, holds


def _key_and_parts(wire: Wire) -> tuple[object, tuple[Wire, Wire, Wire]]:
    """Return the shape of a payout as a key, and its instrument, recipient and sender.

    Raises:
        KeyError, TypeError, AttributeError: the payout isn't of the usual form.

    """
    method = wire["payment_method"]
    kind = method["type"]
    instrument = held = method[kind]
    inner = held.get("system_type") or held.get("type")
    if inner is not None:
        instrument = held[inner]
    people = wire.get("participant_details", _NO_FIELDS)
    recipient, sender = people.get("recipient", _NO_FIELDS), people.get("sender", _NO_FIELDS)
    key = (
        *(kind, inner, *method, 0, *held, 0, *instrument, 0, *people, 0, *recipient, 0, *sender),
        *(recipient.get("country_iso3"), recipient.get("currency")),
        wire["amount_details"]["currency"],
    )
    return key, (instrument, recipient, sender)


_NO_FIELDS: Final[Mapping[str, Any]] = {}
_IS_SPACE: Final = str.isspace


def _has_texts(fields: Wire) -> bool:
    """Return whether all fields hold text, and none only spaces."""
    for value in fields.values():
        if value.__class__ is not str or not value or value.isspace():
            return False
    return True
