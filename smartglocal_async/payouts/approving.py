"""A batch that is looked at whole, and approved, before the first of it is paid."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
from typing import Final

from ..errors import BatchStopped, InvalidRequest
from ..settings import Settings
from .files.file import PayoutFile
from .orders import PayoutOrder
from .preflight import Preflight, found_in, rows_of

Approve = Callable[[Preflight], bool | Awaitable[bool]]

_SOURCE: Final = "source"


async def approved(
    source: Iterable[PayoutOrder] | AsyncIterable[PayoutOrder],
    approve: Approve,
    settings: Settings,
) -> Iterator[PayoutOrder]:
    """Give the orders of a source that was looked at, in a thread, and approved.

    Raises:
        BatchStopped: it was not approved.
        InvalidRequest: it can be read only once, or isn't fit to be paid. And out of the orders:
            they are more than was approved.

    """
    again = _read_again(source)
    found, digest = await asyncio.to_thread(_look, again, settings)
    if not found.is_fit:
        raise _unfit(again, found)
    answer = approve(found)
    if isinstance(answer, Awaitable):
        answer = await answer
    if answer is not True:
        raise BatchStopped("it was not approved", 0)
    if digest != await asyncio.to_thread(_digest, again):
        raise InvalidRequest(_name(again), "it was changed since it was looked at; nothing is paid")
    return _no_more_than(found, again)


def _read_again(
    source: Iterable[PayoutOrder] | AsyncIterable[PayoutOrder],
) -> Iterable[PayoutOrder]:
    if isinstance(source, Iterator) or not isinstance(source, Iterable):
        problem = "can be read only once; with approve, give a PayoutFile or a list"
        raise InvalidRequest(_SOURCE, problem)
    return source


def _look(source: Iterable[PayoutOrder], settings: Settings) -> tuple[Preflight, str | None]:
    digest = _digest(source)
    return found_in(rows_of(source, settings.rules, settings.timing)), digest


def _digest(source: Iterable[PayoutOrder]) -> str | None:
    return source.digest() if isinstance(source, PayoutFile) else None


def _name(source: Iterable[PayoutOrder]) -> str:
    return str(source.path) if isinstance(source, PayoutFile) else _SOURCE


def _unfit(source: Iterable[PayoutOrder], found: Preflight) -> InvalidRequest:
    if found.problems:
        told = f"{found.bad_rows} can't be paid, the first at {found.problems[0]}"
    else:
        twin, count = found.duplicates[0], found.duplicate_count
        told = f"{count} with the key of one above, the first at line {twin.line}: {twin.key!r}"
    return InvalidRequest(_name(source), f"nothing is paid: {told}")


def _no_more_than(found: Preflight, source: Iterable[PayoutOrder]) -> Iterator[PayoutOrder]:
    """Give the orders, and not one that would pass a total: it wasn't there when it was told."""
    totals = Counter[str]()
    for order in source:
        amount = order.amount_details
        totals[amount.currency] += amount.amount
        if totals[amount.currency] > found.totals.get(amount.currency, 0):
            problem = f"the payout {order.key!r} would pass the total of {amount.currency}"
            raise InvalidRequest(_name(source), f"{problem} that was approved")
        yield order
