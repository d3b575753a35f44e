"""How the payouts stand, which of them need a person, and what a person may write of them."""

from collections import Counter
from collections.abc import AsyncGenerator, Collection, Mapping
from datetime import datetime
from typing import Final, Protocol

from attrs import frozen

from ..errors import InvalidRequest, Misuse
from ..journal.entries import EVERY_STEP, WORKABLE, Attempt, Batch, Changes, Entry, Halt
from ..journal.states import STEPS, Event, Step
from .desk import Desk
from .orders import PayoutOutcome, PayoutState, counted_by_state, outcome_of, state_of
from .paging import PAGE, each

_LONGEST_REASON: Final = 500
_OLD_SECONDS: Final = 24 * 3600.0
_WATCHED: Final = WORKABLE | {Step.UNKNOWN}


@frozen(kw_only=True)
class PayoutSummary:
    """What a journal has come to."""

    counts: Mapping[PayoutState, int]
    sums: Mapping[tuple[PayoutState, str], int]
    """By state and currency, in minor units."""
    halt: Halt | None
    """Why nothing more is paid, if so."""


@frozen(kw_only=True)
class Case:
    """A payout that a person has to look at, with all that is known of it.

    Look its session up in the provider's Dashboard or report, or ask the provider's support; then
    ``decide``. Never pay it under another key before.
    """

    entry: Entry
    history: tuple[Attempt, ...]
    """Every step that was written, and when."""

    @property
    def key(self) -> str:
        """The key of the payout."""
        return self.entry.key

    @property
    def reason(self) -> str:
        """Why it is a case."""
        if self.entry.step is Step.UNKNOWN:
            return self.entry.reason or "nothing that can be sent tells what became of it"
        return f"it stands at {self.entry.step.name} for more than a day"


class Book(Protocol):
    """What can be read of a journal, also by those who only look at it."""

    async def entries(
        self,
        limit: int,
        *,
        after: str | None = None,
        steps: Collection[Step] = EVERY_STEP,
        batch: str | None = None,
    ) -> tuple[Entry, ...]:
        """Give a page of all entries."""
        ...

    async def counts(self, *, batch: str | None = None) -> Mapping[Step, int]:
        """Count the entries by step."""
        ...

    async def sums(self, *, batch: str | None = None) -> Mapping[tuple[Step, str], int]:
        """Add up the amounts by step and currency."""
        ...

    async def batch(self, name: str) -> Batch | None:
        """Give a batch by its name."""
        ...

    async def halted(self) -> Halt | None:
        """Give the halt that holds now."""
        ...

    async def history(self, key: str) -> tuple[Attempt, ...]:
        """Give the log of an entry."""
        ...


async def summary_of(book: Book, batch: str | None) -> PayoutSummary:
    """Count what there is."""
    counts = counted_by_state(await book.counts(batch=batch))
    sums = Counter[tuple[PayoutState, str]]()
    for (step, currency), amount in (await book.sums(batch=batch)).items():
        sums[state_of(step), currency] += amount
    return PayoutSummary(counts=counts, sums=sums, halt=await book.halted())


async def cases_of(book: Book, batch: str | None, now: datetime) -> AsyncGenerator[Case]:
    """Give what needs a person, the oldest first."""
    is_late = now.timestamp() - _OLD_SECONDS
    async for entry in each(
        lambda after: book.entries(PAGE, after=after, steps=_WATCHED, batch=batch)
    ):
        if entry.step is Step.UNKNOWN or entry.updated_at < is_late:
            yield Case(entry=entry, history=await book.history(entry.key))


def cases_at(desk: Desk, batch: str | None) -> AsyncGenerator[Case]:
    """Give what needs a person by now."""
    return cases_of(desk.journal, batch, desk.timing.now())


async def decide(desk: Desk, key: str, reason: str, *, is_paid: bool) -> PayoutOutcome:
    """Write what a person found out."""
    return await _write(desk, key, Event.PAID if is_paid else Event.NOT_PAID, reason)


async def withdraw(desk: Desk, key: str, reason: str) -> PayoutOutcome:
    """Write that a payout is not to be made."""
    return await _write(desk, key, Event.WITHDRAWN, reason)


async def _write(desk: Desk, key: str, event: Event, reason: str) -> PayoutOutcome:
    if not 0 < len(reason.strip()) <= _LONGEST_REASON:
        raise InvalidRequest("reason", f"expected text of 1 to {_LONGEST_REASON} characters")
    entry = await desk.journal.claim(key, desk.owner, desk.lease_seconds, heeds_halt=False)
    if entry.step.is_final:
        raise Misuse(f"the payout {key!r} is {entry.step.name} already, and stays it")
    try:
        if (entry.step, event) not in STEPS:
            raise Misuse(_impossible(entry, event))
        after = await desk.journal.advance(entry, event, Changes(reason=reason.strip()))
    finally:
        await desk.journal.release(entry)
    return outcome_of(after)


def _impossible(entry: Entry, event: Event) -> str:
    if event is Event.WITHDRAWN:
        return (
            f"the payout {entry.key!r} stands at {entry.step.name}: something may be out for it, "
            "so it can't be withdrawn; resume it, and withdraw it where nothing is started by then"
        )
    return (
        f"the payout {entry.key!r} stands at {entry.step.name}, where nothing was started for it; "
        "resume or withdraw it"
    )
