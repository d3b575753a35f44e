"""Claims payouts in the journal and runs a worker on each, one at a time for each key."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from attrs import define, field, frozen

from ..codec import codec
from ..encryption import RequestCipher
from ..errors import InProgress, InvalidRequest, LostLease, SmartGlocalError, WrongJournalKey
from ..journal.entries import Entry, NewEntry
from ..observer.events import PayoutEnded, PayoutStarted, current_payout, next_number
from ..observer.logs import PAYOUTS
from .calls import Reply, fingerprint_of
from .context import WorkerContext
from .orders import (
    SUMMARY_PURPOSE,
    PayoutOrder,
    PayoutOutcome,
    PayoutState,
    decrypted_summary,
    held_up,
    outcome_of,
    payee_summary,
)
from .preflight import payment_digest
from .protocol import intends
from .worker import Worker


@define(eq=False)
class _KeyLock:
    """The lock of a key, and how many tasks hold it or wait for it."""

    lock: asyncio.Lock = field(factory=asyncio.Lock)
    users: int = 0


@define(eq=False)
class KeyLocks:
    """Locks by key; a lock is removed when no task needs it."""

    _locks: dict[str, _KeyLock] = field(factory=dict[str, _KeyLock], init=False)

    @asynccontextmanager
    async def of(self, key: str, seconds: float) -> AsyncGenerator[None]:
        """Hold the lock of a key.

        Raises:
            TimeoutError: the lock wasn't free within these seconds.

        """
        entry = self._locks.setdefault(key, _KeyLock())
        entry.users += 1
        try:
            async with asyncio.timeout(seconds):
                _ = await entry.lock.acquire()
            try:
                yield
            finally:
                entry.lock.release()
        finally:
            entry.users -= 1
            if not entry.users:
                del self._locks[key]


_BUSY_PAUSE_SECONDS: Final = 1.0


@frozen
class BatchPosition:
    """The batch of an order, and its row there, from 0."""

    batch: str | None = None
    ordinal: int | None = None


NO_BATCH: Final = BatchPosition()


@frozen
class ClaimedEntry:
    """An entry that was claimed."""

    entry: Entry
    until: float
    """When its lease ends on our monotonic clock; counted from before the claim."""


@define(eq=False, kw_only=True)
class Claimer:
    """Claims payouts and works on them, one at a time for each key."""

    context: WorkerContext
    waits_for_others: bool
    cipher: RequestCipher | None
    _locks: KeyLocks = field(factory=KeyLocks, init=False)

    async def pay(
        self,
        order: PayoutOrder,
        seconds: float,
        position: BatchPosition = NO_BATCH,
        may_begin: Callable[[], Awaitable[bool]] | None = None,
    ) -> PayoutOutcome:
        """Work on an order for this many seconds, and return its outcome.

        If it isn't settled yet, ``may_begin`` is awaited first; the time that takes isn't counted.
        If it returns False, the order stays in the journal and isn't begun.
        """
        try:
            async with self._locks.of(order.key, seconds):
                return await self._pay(order, seconds, position, may_begin)
        except TimeoutError:
            raise InProgress(order.key, self.context.owner, 0.0) from None

    async def _pay(
        self,
        order: PayoutOrder,
        seconds: float,
        position: BatchPosition,
        may_begin: Callable[[], Awaitable[bool]] | None,
    ) -> PayoutOutcome:
        context, new = self.context, self.new(order, position)
        if may_begin is not None:
            found = await context.journal.accept(new)
            if found.step.is_final:
                return outcome_of(found, replayed=True)
            if not await may_begin():
                return outcome_of(found)
        settled = self._until_settled(order, self._now() + seconds, new)
        return await self._observed(order.key, position.batch, settled)

    async def go_on(
        self, entry: Entry, order: PayoutOrder | None, ends: float
    ) -> PayoutOutcome | None:
        """Go on with an entry of the journal; None if another process holds it.

        Raises:
            InvalidRequest: the order is that of another key.

        """
        if order is not None and order.key != entry.key:
            words = f"returned the order of another key for {entry.key!r}; nothing was sent for it"
            raise InvalidRequest("orders", words)
        try:
            async with self._locks.of(entry.key, ends - self._now()):
                if order is not None:
                    _ = await self.accept(order)
                work = self._work(self._order_of(entry, order), entry.key, ends)
                return await self._observed(entry.key, entry.batch, work)
        except (InProgress, LostLease, TimeoutError):
            return None

    async def resume_claimed(self, claimed: ClaimedEntry, ends: float) -> PayoutOutcome | None:
        """Go on with a claimed entry; None if its lease was lost meanwhile."""
        entry = claimed.entry
        try:
            async with self._locks.of(entry.key, ends - self._now()):
                work = self._run_worker(claimed, await self._decrypted_order(entry), ends)
                return await self._observed(entry.key, entry.batch, work)
        except (LostLease, TimeoutError):
            return None

    async def settle(self, entry: Entry, reply: Reply) -> PayoutOutcome:
        """Write what a reply shows as final; nothing is sent, since no time is left."""
        order = None
        with suppress(WrongJournalKey):
            order = self._order_of(entry)
        work = self._work(order, entry.key, self._now(), reply=reply)
        return await self._observed(entry.key, entry.batch, work)

    async def accept(self, order: PayoutOrder, position: BatchPosition = NO_BATCH) -> Entry:
        """Write an order to the journal; return the entry of its key, new or not."""
        return await self.context.journal.accept(self.new(order, position))

    def new(self, order: PayoutOrder, position: BatchPosition) -> NewEntry:
        """Return the journal entry to write for an order.

        Raises:
            InvalidRequest: the order can't be sent.

        """
        self.context.sender.check(order, self.context.mode)
        amount = order.amount_details
        return NewEntry(
            key=order.key,
            mode=self.context.mode.value,
            fingerprint=fingerprint_of(order, self.context.journal.secret),
            request=self._encrypted(order),
            amount=amount.amount,
            currency=amount.currency,
            batch=position.batch,
            ordinal=position.ordinal,
            summary=self._encrypted_summary(order),
            payment=payment_digest(order, self.context.journal.secret),
        )

    def payee_of(self, entry: Entry) -> str | None:
        """Return who an entry pays; None if that isn't stored, or there is no cipher.

        Raises:
            WrongJournalKey: it was encrypted with a key that isn't given.

        """
        return None if self.cipher is None else decrypted_summary(entry, self.cipher)

    def _encrypted(self, order: PayoutOrder) -> bytes | None:
        if self.cipher is None:
            return None
        return self.cipher.encrypt(codec("v1").encode(order), order.key)

    def _encrypted_summary(self, order: PayoutOrder) -> bytes | None:
        if self.cipher is None:
            return None
        return self.cipher.encrypt(
            payee_summary(order).encode(), order.key, purpose=SUMMARY_PURPOSE
        )

    def _order_of(self, entry: Entry, order: PayoutOrder | None = None) -> PayoutOrder | None:
        if order is None and self.cipher is not None and entry.request is not None:
            return codec("v1").decode(self.cipher.decrypt(entry.request, entry.key), PayoutOrder)
        return order

    async def _decrypted_order(self, entry: Entry) -> PayoutOrder | None:
        """Return the encrypted order of an entry; release the entry if it can't be decrypted."""
        try:
            return self._order_of(entry)
        except SmartGlocalError as error:
            # No process can decrypt a damaged one; with a pause it doesn't block later entries.
            backs_off = not isinstance(error, WrongJournalKey)
            await self.context.journal.release(entry, backs_off=backs_off)
            raise

    async def _until_settled(self, order: PayoutOrder, ends: float, new: NewEntry) -> PayoutOutcome:
        timing = self.context.timing
        while True:
            try:
                return await self._work(order, new.key, ends, new)
            except LostLease:
                if self._now() >= ends:
                    raise
            except InProgress as busy:
                seconds_left = ends - self._now()
                if seconds_left <= 0 or not self.waits_for_others or self.context.stopping.is_set():
                    raise
                pause = _BUSY_PAUSE_SECONDS * (0.5 + timing.random() / 2)
                pause = min(busy.seconds_left + 0.01, pause, seconds_left)
                await timing.sleep_unless_set(self.context.stopping, pause)

    async def _work(
        self,
        order: PayoutOrder | None,
        key: str,
        ends: float,
        new: NewEntry | None = None,
        reply: Reply | None = None,
    ) -> PayoutOutcome:
        context, begun = self.context, self._now()
        seconds = context.lease_seconds
        if new is not None:
            sends = context.halt is None and begun < ends
            entry = await context.take(new, intends=intends(context.mode) if sends else None)
        else:
            entry = await context.journal.claim(
                key, context.owner, seconds, respects_halt=reply is None
            )
        if entry.step.is_final:
            return outcome_of(entry, replayed=True)
        return await self._run_worker(ClaimedEntry(entry, begun + seconds), order, ends, reply)

    async def _run_worker(
        self,
        claimed: ClaimedEntry,
        order: PayoutOrder | None,
        ends: float,
        reply: Reply | None = None,
    ) -> PayoutOutcome:
        payout = self.context.sender.ordered(claimed.entry, order)
        worker = Worker(self.context, claimed.entry, payout, ends, claimed.until, reply)
        try:
            entry = await worker.work()
        finally:
            if not worker.entry.step.is_final:
                # An entry that needs its request back would fail again at once, so it pauses, too.
                backs_off = worker.has_paused or worker.needs_request
                with suppress(SmartGlocalError):
                    await worker.write_pending()
                    await self.context.journal.release(worker.entry, backs_off=backs_off)
        found = outcome_of(entry, needs_request=worker.needs_request)
        return held_up(found, worker.failures.code, worker.failures.reason)

    async def _observed(
        self, key: str, batch: str | None, work: Awaitable[PayoutOutcome]
    ) -> PayoutOutcome:
        """Await the work on a payout; emit its begin and its end."""
        observers, number, begun = self.context.observers, next_number(), self._now()
        # Reset at the end: one task works on one payout after another.
        token = current_payout.set(number)
        if observers.want(PAYOUTS):
            observers.emit(PayoutStarted(payout=number, key=key, batch=batch))
        outcome: PayoutOutcome | None = None
        error: str | None = None
        try:
            outcome = await work
        except BaseException as failure:
            error = type(failure).__name__
            raise
        else:
            return outcome
        finally:
            observers.emit(
                PayoutEnded(
                    payout=number,
                    key=key,
                    batch=batch,
                    state=PayoutState.OPEN.value if outcome is None else outcome.state.value,
                    elapsed_seconds=self._now() - begun,
                    session_id=None if outcome is None else outcome.session_id,
                    code=None if outcome is None else outcome.code,
                    replayed=outcome is not None and outcome.replayed,
                    error=error,
                )
            )
            current_payout.reset(token)

    def _now(self) -> float:
        return self.context.timing.monotonic()
