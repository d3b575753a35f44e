"""Take up one payout: accept it, claim it, have it worked on, and give it back."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from attrs import define, field, frozen

from ..codec import codec
from ..errors import InProgress, LostLease, SmartGlocalError, WrongSeal
from ..journal.entries import Entry, NewEntry
from ..sealing import Seal
from .desk import Desk
from .orders import PayoutOrder, PayoutOutcome, outcome_of
from .protocol import intends
from .sending import Heard, Job, fingerprint_of
from .turns import Turns
from .working import Worker

_BUSY_PAUSE_SECONDS: Final = 1.0


@frozen
class Place:
    """Where an order stands: in which batch, and as which of its rows."""

    batch: str | None = None
    ordinal: int | None = None


NOWHERE: Final = Place()


@frozen
class Taken:
    """An entry that was claimed."""

    entry: Entry
    until: float
    """When its lease ends at the latest, on our monotonic clock."""


@define(eq=False, kw_only=True)
class Lead:
    """Leads payouts on, one at a time for each key."""

    desk: Desk
    waits_for_others: bool
    seal: Seal | None
    _turns: Turns = field(factory=Turns, init=False)

    async def pay(
        self,
        order: PayoutOrder,
        seconds: float,
        place: Place = NOWHERE,
        may_begin: Callable[[], Awaitable[bool]] | None = None,
    ) -> PayoutOutcome:
        """Pay an order within so many seconds, or give what became of it.

        What isn't settled yet asks ``may_begin`` first, which may take its time.
        """
        try:
            async with self._turns.of(order.key, seconds):
                return await self._pay(order, seconds, place, may_begin)
        except TimeoutError:
            raise InProgress(order.key, self.desk.owner, 0.0) from None

    async def _pay(
        self,
        order: PayoutOrder,
        seconds: float,
        place: Place,
        may_begin: Callable[[], Awaitable[bool]] | None,
    ) -> PayoutOutcome:
        desk, new = self.desk, self.new(order, place)
        if may_begin is not None:
            found = await desk.journal.accept(new)
            if found.step.is_final:
                return outcome_of(found, replayed=True)
            if not await may_begin():
                return outcome_of(found)
        job, ends = desk.sender.job(order), self._now() + seconds
        return await self._until_settled(job, ends, new)

    async def go_on(
        self, entry: Entry, order: PayoutOrder | None, ends: float
    ) -> PayoutOutcome | None:
        """Go on with an entry of the journal; None where somebody else is at it."""
        try:
            async with self._turns.of(entry.key, ends - self._now()):
                if order is not None:
                    _ = await self.accept(order)
                return await self._work(self._job(entry, order), ends)
        except (InProgress, LostLease, TimeoutError):
            return None

    async def lead_on(self, taken: Taken, ends: float) -> PayoutOutcome | None:
        """Go on with an entry that was claimed; None where it was lost meanwhile."""
        entry = taken.entry
        try:
            async with self._turns.of(entry.key, ends - self._now()):
                return await self._lead(taken, await self._job_of(entry), ends)
        except (LostLease, TimeoutError):
            return None

    async def settle(self, entry: Entry, heard: Heard) -> PayoutOutcome:
        """Write what is final; with no time left, nothing is sent."""
        return await self._work(self.desk.sender.job_of(entry), self._now(), heard=heard)

    async def accept(self, order: PayoutOrder, place: Place = NOWHERE) -> Entry:
        """Write an order into the journal, or give the entry of its key."""
        return await self.desk.journal.accept(self.new(order, place))

    def new(self, order: PayoutOrder, place: Place) -> NewEntry:
        """Give what is to be written of an order.

        Raises:
            InvalidRequest: it could not be sent.

        """
        self.desk.sender.check(order)
        amount = order.amount_details
        return NewEntry(
            key=order.key,
            mode=self.desk.mode.value,
            fingerprint=fingerprint_of(order, self.desk.journal.secret),
            request=self._sealed(order),
            amount=amount.amount,
            currency=amount.currency,
            batch=place.batch,
            ordinal=place.ordinal,
        )

    def _sealed(self, order: PayoutOrder) -> bytes | None:
        return None if self.seal is None else self.seal.close(codec("v1").encode(order), order.key)

    def _job(self, entry: Entry, order: PayoutOrder | None) -> Job:
        if order is None and self.seal is not None and entry.request is not None:
            order = codec("v1").decode(self.seal.open(entry.request, entry.key), PayoutOrder)
        return self.desk.sender.job_of(entry) if order is None else self.desk.sender.job(order)

    async def _job_of(self, entry: Entry) -> Job:
        """Give the job of an entry that was claimed; one that can't be opened is given back."""
        try:
            return self._job(entry, None)
        except SmartGlocalError as error:
            # One that was damaged is so for all, and must not keep them from what comes behind it.
            backs_off = not isinstance(error, WrongSeal)
            await self.desk.journal.release(entry, backs_off=backs_off)
            raise

    async def _until_settled(self, job: Job, ends: float, new: NewEntry) -> PayoutOutcome:
        timing = self.desk.timing
        while True:
            try:
                return await self._work(job, ends, new)
            except LostLease:
                if self._now() >= ends:
                    raise
            except InProgress as busy:
                left_seconds = ends - self._now()
                if left_seconds <= 0 or not self.waits_for_others or self.desk.stopping.is_set():
                    raise
                spread = _BUSY_PAUSE_SECONDS * (0.5 + timing.dice() / 2)
                pause = min(busy.seconds_left + 0.01, spread, left_seconds)
                await timing.sleep_unless(self.desk.stopping, pause)

    async def _work(
        self, job: Job, ends: float, new: NewEntry | None = None, heard: Heard | None = None
    ) -> PayoutOutcome:
        desk, begun = self.desk, self._now()
        seconds = desk.lease_seconds
        if new is not None:
            sends = desk.halted() is None and begun < ends
            entry = await desk.take(new, intends=intends(desk.mode) if sends else None)
        else:
            entry = await desk.journal.claim(job.key, desk.owner, seconds, heeds_halt=heard is None)
        if entry.step.is_final:
            return outcome_of(entry, replayed=True)
        return await self._lead(Taken(entry, begun + seconds), job, ends, heard)

    async def _lead(
        self, taken: Taken, job: Job, ends: float, heard: Heard | None = None
    ) -> PayoutOutcome:
        worker = Worker(self.desk, taken.entry, job, ends, taken.until, heard)
        try:
            entry = await worker.work()
        finally:
            if not worker.entry.step.is_final:
                # What can't go on for want of its request is not taken up again at once, either.
                pauses = worker.has_waited or worker.needs_request
                with suppress(SmartGlocalError):
                    await worker.keep()
                    await self.desk.journal.release(worker.entry, backs_off=pauses)
        return outcome_of(entry, needs_request=worker.needs_request)

    def _now(self) -> float:
        return self.desk.timing.monotonic()
