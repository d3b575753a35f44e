"""Batches that are written down by one process and worked off, chunk by chunk, by any number."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from contextlib import aclosing, suppress
from itertools import count
from typing import Final

from attrs import define, evolve, field, frozen

from ..batch import in_lumps, settle_all
from ..errors import InProgress, KeyReused, LostLease, Misuse
from ..journal.entries import Batch, BatchRules, BatchState, Entry, NewEntry
from ..journal.ruling import NEW_BATCH
from ..journal.states import Step
from .cases import withdraw
from .desk import Desk
from .guarding import Guard
from .leading import Lead, Place, Taken
from .orders import PayoutOrder, PayoutOutcome, PayoutState, state_of
from .paging import PAGE, each

_CHUNK: Final = 1_000
"""Payouts that are written in one commit."""
_MOST_REFUSED: Final = 100
_SPREAD: Final = 0.2
_LUMPS: Final = 4
"""So many lumps are taken for as many payouts as are worked on at once: leases are short."""


@frozen(kw_only=True)
class Submission:
    """What was written down of a source, and what the journal had of it before."""

    batch: Batch
    refused: tuple[KeyReused, ...]
    """The first of the payouts whose key belongs to another order; they are not in the batch."""
    refused_count: int
    new_count: int
    """Payouts that were written now."""
    known: Mapping[tuple[str | None, PayoutState], int] = field(hash=False)
    """How many were there before, by the batch that they belong to, and their state. They stay what
    they are: one that failed or was cancelled is paid by nobody under its key, and one of another
    batch is paid, paused and cancelled with that."""


@define(eq=False)
class Submitting:
    """Writes a batch down, and sends nothing."""

    lead: Lead
    batch: str
    digest: bytes | None
    rules: BatchRules | None
    _rows: int = field(default=0, init=False)
    _totals: dict[str, int] = field(factory=dict[str, int], init=False)
    _refused: list[KeyReused] = field(factory=list[KeyReused], init=False)
    _refused_count: int = field(default=0, init=False)
    _new_count: int = field(default=0, init=False)
    _known: Counter[tuple[str | None, PayoutState]] = field(
        factory=Counter[tuple[str | None, PayoutState]], init=False
    )

    async def through(
        self, source: Iterable[PayoutOrder] | AsyncIterable[PayoutOrder]
    ) -> Submission:
        """Write all of the source; what is there already stays as it is."""
        if self.lead.seal is None:
            raise Misuse("whoever pays needs the requests: give Payouts a seal, which keeps them")
        journal, places = self.lead.desk.journal, count()
        if self.rules is not None:
            # They are there before the first payout that they hold for.
            found = await journal.batch(self.batch)
            if found is None and await journal.counts(batch=self.batch):
                raise Misuse(
                    f"payouts of the batch {self.batch!r} were written before any stop rules: "
                    f"{NEW_BATCH}"
                )
            named = found or Batch(name=self.batch, digest=self.digest)
            _ = await journal.put_batch(evolve(named, rules=self.rules))
        async for orders in in_lumps(source, _CHUNK):
            news = [self.lead.new(order, Place(self.batch, next(places))) for order in orders]
            for new, entry in zip(news, await journal.accept_many(news), strict=True):
                if isinstance(entry, KeyReused):
                    self._refuse(entry)
                else:
                    self._note(new, entry)
        batch = Batch(
            name=self.batch, digest=self.digest, rows=self._rows, totals=dict(self._totals)
        )
        return Submission(
            batch=await journal.put_batch(batch),
            refused=tuple(self._refused),
            refused_count=self._refused_count,
            new_count=self._new_count,
            known=dict(self._known),
        )

    def _note(self, new: NewEntry, found: Entry) -> None:
        currency = new.currency or ""
        self._rows += 1
        self._totals[currency] = self._totals.get(currency, 0) + (new.amount or 0)
        # No two seals are alike: with the same bytes it is the row that was written now.
        if found.request == new.request:
            self._new_count += 1
        else:
            self._known[found.batch, state_of(found.step)] += 1

    def _refuse(self, reused: KeyReused) -> None:
        self._refused_count += 1
        if len(self._refused) < _MOST_REFUSED:
            self._refused.append(reused)


@frozen(eq=False)
class Chunk:
    """Works off some of what is open."""

    lead: Lead
    batch: str | None
    deadline: float
    places: asyncio.Semaphore | None = None
    _left: dict[str, Taken] = field(factory=dict[str, Taken], init=False)
    """What was claimed, and is begun by nobody."""

    async def through(self, limit: int, concurrency: int) -> AsyncGenerator[PayoutOutcome]:
        """Give the outcomes as they settle."""
        # Closed by us, whatever ends it: what was taken and not begun is given back at once.
        async with aclosing(self._taken(limit, max(1, concurrency // _LUMPS))) as taken:
            settled = settle_all(taken, self._work, concurrency, places=self.places)
            async with aclosing(settled) as outcomes:
                async for outcome in outcomes:
                    if outcome is not None:
                        yield outcome

    async def _work(self, _index: int, taken: Taken) -> PayoutOutcome | None:
        del self._left[taken.entry.key]
        return await self.lead.lead_on(taken, self._now() + self.deadline)

    async def _taken(self, limit: int, lump: int) -> AsyncGenerator[Taken]:
        """Claim lump by lump, as they are asked for; what nobody begins is given back."""
        desk, left = self.lead.desk, self._left
        guard = Guard(desk)
        while limit > 0 and not desk.stopping.is_set():
            begun, asked = self._now(), min(lump, limit)
            claims = await desk.journal.claim_open(
                asked, desk.owner, desk.lease_seconds, batch=self.batch
            )
            until = begun + desk.lease_seconds
            left.update((entry.key, Taken(entry, until)) for entry in claims.entries)
            try:
                while left and not desk.stopping.is_set():
                    # Begun by the next time, or dropped, as another one failed meanwhile.
                    yield next(iter(left.values()))
            finally:
                while left:
                    await desk.journal.release(left.popitem()[1].entry)
            limit -= len(claims.entries)
            if await guard.looked(claims):
                continue
            if claims.wait_seconds is not None:
                pause = claims.wait_seconds * (1 + desk.timing.dice() * _SPREAD)
                await desk.timing.sleep_unless(desk.stopping, pause)
            elif len(claims.entries) < asked and not claims.has_paused:
                return

    def _now(self) -> float:
        return self.lead.desk.timing.monotonic()


async def cancel(desk: Desk, batch: str, reason: str) -> int:
    """Have nothing more of a batch begun, and withdraw what wasn't; give how many those are."""
    _ = await desk.journal.set_batch_state(batch, BatchState.CANCELLED, reason)
    steps, withdrawn = frozenset({Step.NEW, Step.CREATING}), 0
    found = each(
        lambda after: desk.journal.open_entries(
            PAGE, after=after, steps=steps, batch=batch, is_due=False
        )
    )
    async with aclosing(found) as entries:
        async for entry in entries:
            with suppress(InProgress, LostLease, Misuse):  # Somebody was quicker.
                _ = await withdraw(desk, entry.key, reason)
                withdrawn += 1
    return withdrawn
