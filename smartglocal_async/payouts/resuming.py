"""Go on with what is open in the journal."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from attrs import frozen

from ..batch import settle_all
from ..journal.entries import WORKABLE, Entry
from ..journal.states import Step
from .leading import Lead
from .orders import PayoutOrder, PayoutOutcome
from .paging import PAGE, each

_OPEN: Final = WORKABLE | {Step.UNKNOWN}


@frozen(eq=False)
class Resuming:
    """One run over what is open."""

    lead: Lead
    orders: Callable[[str], PayoutOrder | None] | None
    deadline: float

    async def through(
        self, batch: str | None, concurrency: int, *, is_due: bool
    ) -> AsyncGenerator[PayoutOutcome]:
        """Give the outcomes as they settle."""
        entries = self._entries(batch, is_due=is_due)
        async with aclosing(settle_all(entries, self._go_on, concurrency)) as outcomes:
            async for outcome in outcomes:
                if outcome is not None:
                    yield outcome

    async def _go_on(self, _index: int, entry: Entry) -> PayoutOutcome | None:
        order = None if self.orders is None else self.orders(entry.key)
        ends = self.lead.desk.timing.monotonic() + self.deadline
        return await self.lead.go_on(entry, order, ends)

    async def _entries(self, batch: str | None, *, is_due: bool) -> AsyncGenerator[Entry]:
        desk = self.lead.desk
        found = each(
            lambda after: desk.journal.open_entries(
                PAGE, after=after, steps=_OPEN, batch=batch, is_due=is_due
            )
        )
        async with aclosing(found) as entries:
            async for entry in entries:
                if desk.stopping.is_set():
                    return
                yield entry
