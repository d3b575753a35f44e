"""Pay many orders, with bounded memory, at a pace, under rules that stop it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from typing import cast

from attrs import define, field

from ..batch import settle_all
from ..errors import (
    BatchStopped,
    InProgress,
    InvalidRequest,
    KeyReused,
    LostLease,
)
from ..journal.ruling import COVER_SECONDS
from .approving import Approve, approved
from .leading import Lead, Place
from .orders import PayoutOrder, PayoutOutcome, PayoutState, failed_with
from .pace import Pace
from .stopping import Tally
from .wallets import balance


@define(eq=False, kw_only=True)
class Run:
    """One run over a source of orders."""

    lead: Lead
    tally: Tally
    pace: Pace
    batch: str | None
    deadline: float
    approve: Approve | None
    _seen_at: float = field(default=float("-inf"), init=False)
    _looking: asyncio.Lock = field(factory=asyncio.Lock, init=False)

    async def through(
        self, source: Iterable[PayoutOrder] | AsyncIterable[PayoutOrder], concurrency: int
    ) -> AsyncGenerator[PayoutOutcome]:
        """Give the outcomes as they settle."""
        runs = self.lead.desk.runs
        runs.add(self.pace.over)
        try:
            if self.approve is not None:
                settings = self.lead.desk.sender.caller.settings
                source = await approved(source, self.approve, settings)
            settled = settle_all(source, self._pay, concurrency, self._stopped)
            async with aclosing(settled) as outcomes:
                async for outcome in outcomes:
                    if outcome is not None:
                        yield outcome
        finally:
            runs.discard(self.pace.over)

    def _stopped(self) -> BatchStopped | None:
        desk = self.lead.desk
        reason = self.tally.reason or (desk.stopped_by if desk.stopping.is_set() else None)
        return None if reason is None else BatchStopped(reason, self.tally.begun)

    async def _may_begin(self) -> bool:
        await self.pace.turn()
        return not (self.tally.leaves_waiting or self.lead.desk.stopping.is_set())

    async def _pay(self, index: int, order: PayoutOrder) -> PayoutOutcome | None:
        """Pay an order; None where a rule forbids to begin it."""
        if not isinstance(cast("object", order), PayoutOrder):
            problem = f"expected a PayoutOrder, got {type(order).__name__}"
            raise InvalidRequest(f"source[{index}]", problem)
        if self.tally.rules.low_balance and not await self._is_covered(order):
            self.tally.refuse(order)
        if not self.tally.may_begin(order):
            return None
        outcome = await self._outcome(index, order)
        self.tally.note(order, outcome)
        if self.tally.leaves_waiting:
            self.pace.over.set()
        return outcome

    async def _outcome(self, index: int, order: PayoutOrder) -> PayoutOutcome:
        place = Place(self.batch, None if self.batch is None else index)
        try:
            may_begin = None if self.pace.limiter is None else self._may_begin
            return await self.lead.pay(order, self.deadline, place, may_begin)
        except (InvalidRequest, KeyReused) as error:
            return failed_with(order, error, PayoutState.REFUSED)
        except (InProgress, LostLease) as error:
            return failed_with(order, error, PayoutState.OPEN)

    async def _is_covered(self, order: PayoutOrder) -> bool:
        async with self._looking:
            if self._now() - self._seen_at >= COVER_SECONDS:
                await self._look()
            if self.tally.is_covered(order):
                return True
            await self._look()
            return self.tally.is_covered(order)

    async def _look(self) -> None:
        drawn, caller = self.tally.drawn, self.lead.desk.sender.caller
        self.tally.see_balance(await balance(caller), drawn)
        self._seen_at = self._now()

    def _now(self) -> float:
        return self.lead.desk.timing.monotonic()
