"""Finds misspelt fields, which a record would carry as further fields of a country's page."""

from collections.abc import Iterator
from typing import Any, Final

import attrs

from ...codec.instruments import kind_of
from ...models.instruments import OtherInstrument
from ..orders import PayoutOrder
from .columns import ALIASES

_SHORT: Final = 6
"""Of a name up to this length, one letter may be wrong; of a longer one, two."""


def near_misses(order: PayoutOrder) -> Iterator[tuple[str, str]]:
    """Yield the path of each further field whose name is nearly that of a field, and that name."""
    method = order.payment_method
    if not isinstance(method, OtherInstrument):
        kind: type[Any] = type(method)
        yield from _in_record(method, f"payment_method.{kind_of(kind)}")
    people = order.participant_details
    if people is not None:
        yield from _in_record(people, "participant_details")
        for side, person in (("recipient", people.recipient), ("sender", people.sender)):
            if person is not None:
                yield from _in_record(person, f"participant_details.{side}")
                if person.identity_document is not None:
                    where = f"participant_details.{side}.identity_document"
                    yield from _in_record(person.identity_document, where)
    if order.customer is not None:
        yield from _in_record(order.customer, "customer")
        for number, contact in enumerate(order.customer.contacts):
            yield from _in_record(contact, f"customer.contacts[{number}]")


def _in_record(record: Any, place: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any record
    kind: type[Any] = record.__class__
    for name in record.extra:
        alike = _meant(kind, name)
        if alike is not None:
            yield f"{place}.{name}", alike


def _meant(record: type[Any], name: str) -> str | None:
    names: list[str] = [one.name for one in attrs.fields(record) if one.name != "extra"]
    short = ALIASES.get(name, "").rpartition(".")[2]
    if short in names:
        return short
    plain = _letters(name)
    for known in names:
        letters = _letters(known)
        allowed = 1 if len(letters) <= _SHORT else 2
        if abs(len(letters) - len(plain)) <= allowed and _distance(plain, letters) <= allowed:
            return known
    return None


def _letters(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())


def _distance(one: str, other: str) -> int:
    """Return how many letters to add, remove, replace or swap with their neighbour."""
    before, row = list[int](), list(range(len(other) + 1))
    for at, char in enumerate(one, 1):
        next_row = [at]
        for beside, letter in enumerate(other, 1):
            cost = min(row[beside] + 1, next_row[-1] + 1, row[beside - 1] + (char != letter))
            if at > 1 < beside and char == other[beside - 2] and one[at - 2] == letter:
                cost = min(cost, before[beside - 2] + 1)
            next_row.append(cost)
        before, row = row, next_row
    return row[-1]
