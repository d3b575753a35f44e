"""The rules of the provider's pages for what a request must hold; no I/O.

A session is put together in one call or two, so completeness is a matter of the call:

- ``session/create`` may leave everything for later: nothing is missing yet.
- ``session/start/...`` may leave out what the session was created with: an instrument, a
  recipient or a sender is looked at when the request has one.
- ``session/init/...`` and ``fps/customer_verification`` have nothing before them: all of it
  must be there.

How a field is written is looked at in every call. An instrument of a type or shape that has no
record here (`OtherInstrument`) has no rules.

What a page states of just this kind of request is certain, and so is what a standard states;
the rest is advice (`Broken.is_advice`).
"""

from collections.abc import Iterator, Mapping
from datetime import date
from types import MappingProxyType
from typing import Final

from ..codec import Wire
from .broken import Broken
from .checks import Completeness, broken_forms, demands_of, missing_fields
from .reading import PAYMENT, PAYOUT, read_request

__all__ = ["Broken", "broken_rules"]

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
"""Call -> what must be complete, and where its instrument may stand."""
_LOOKED_AT: Final = frozenset({*PAYOUT, *PAYMENT, "participant_details"})
"""What the rules are about; the currency of the amount matters to an instrument only."""


def broken_rules(path: str, wire: Wire, today: date) -> Iterator[Broken]:
    """Give the rules that the request of a call breaks, one a field.

    The certain ones come before advice; in each, what is missing before what is written wrongly.
    """
    if path not in _CALLS:
        return
    completeness, names = _CALLS[path]
    if completeness is not Completeness.OF_ALL and wire.keys().isdisjoint(_LOOKED_AT):
        return  # Most sessions are created so, and each call pays for what is looked at.
    request = read_request(wire, names)
    demands = demands_of(request)
    found = [
        *missing_fields(request, demands, completeness),
        *broken_forms(request, demands, today),
    ]
    if not found:
        return
    told: set[str] = set()
    for broken in sorted(found, key=lambda one: one.is_advice):
        if broken.field not in told:
            told.add(broken.field)
            yield broken
