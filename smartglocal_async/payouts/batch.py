"""Runs over a source of orders, and over what is open in the journal.

A run begins payouts at a rate, within stop rules, and only after its source was approved.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    aclosing,
    asynccontextmanager,
    nullcontext,
)
from typing import TYPE_CHECKING, Final, cast

from attrs import define, evolve, field, frozen

from ..concurrency import settle_all
from ..errors import (
    BatchStopped,
    InProgress,
    InvalidRequest,
    KeyReused,
    LostLease,
    Misuse,
    PayoutsHalted,
    Refused,
    RuleBroken,
    SmartGlocalError,
)
from ..journal.entries import WORKABLE, Entry
from ..journal.journal import PAGE, each
from ..journal.limits import COVER_SECONDS
from ..journal.states import Step
from ..models.validators import above_zero
from ..observer.delivery import Observers
from ..observer.events import BatchPhase, BatchProgress
from ..observer.logs import PAYOUTS
from ..settings import Settings
from .claimer import BatchPosition, Claimer
from .files.payout_file import PayoutFile, read_for
from .orders import (
    PayoutOrder,
    PayoutOutcome,
    PayoutState,
    failed_with,
    held_up,
    outcome_of,
    state_of,
)
from .preflight import Preflight, found_in, rows_of
from .protocol import Mode
from .shared_batch import balance
from .stop_rules import Tally

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

_BURST_SECONDS: Final = 0.02
"""Burst size of the rate limit: an event loop's timers are this inexact."""


@frozen(eq=False)
class RateLimit:
    """Limits how many payouts begin in a second; without a limiter, `wait` returns at once."""

    ended: asyncio.Event
    """Set when the batch ends early."""
    limiter: "AsyncLimiter | None"

    async def wait(self) -> None:
        """Wait until a payout may begin, or the batch has ended."""
        if self.limiter is None:
            return
        if self.limiter.has_capacity():
            await self.limiter.acquire()
            return
        waits = [
            asyncio.ensure_future(self.limiter.acquire()),
            asyncio.ensure_future(self.ended.wait()),
        ]
        try:
            _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                _ = task.cancel()


def rate_limit(rate: float | None, ended: asyncio.Event) -> RateLimit:
    """Return the limit for a rate in payouts per second; None doesn't limit.

    Raises:
        InvalidRequest: the rate isn't a number above zero.
        Misuse: aiolimiter isn't installed.

    """
    if rate is None:
        return RateLimit(ended, None)
    above_zero("rate", rate)
    try:
        from aiolimiter import AsyncLimiter  # noqa: PLC0415 - an extra, only needed here
    except ModuleNotFoundError:
        raise Misuse("rate: needs aiolimiter; install smartglocal-async[batch]") from None
    burst = max(1.0, rate * _BURST_SECONDS)
    return RateLimit(ended, AsyncLimiter(burst, burst / rate))


@define(eq=False)
class EarlyEnd:
    """The error that ends a run early.

    The payouts that were in flight then are reported as the journal has them, so that what a run
    yields are the outcomes of all that it began.
    """

    claimer: Claimer
    error: SmartGlocalError | None = field(default=None, init=False)

    async def outcome(self, key: str, error: SmartGlocalError) -> PayoutOutcome | None:
        """Note the error, and return what the journal has of a payout; None if it wasn't begun."""
        self.error = self.error or error.with_traceback(None)
        entry = await self.claimer.context.journal.find(key)
        if entry is None or not (entry.attempts or entry.session_id or entry.step):
            return None
        words = "payouts were halted" if isinstance(error, PayoutsHalted) else str(error)
        return held_up(outcome_of(entry), None, words if entry.step < Step.UNKNOWN else None)

    def raise_it(self) -> None:
        """Raise the error, if there is one."""
        if self.error is not None:
            raise self.error


async def observed(
    observers: Observers,
    batch: str | None,
    outcomes: AsyncGenerator[PayoutOutcome],
    monotonic: Callable[[], float],
) -> AsyncGenerator[PayoutOutcome]:
    """Yield the outcomes of a run, and emit its progress."""
    begun, states, phase = monotonic(), Counter[str](), BatchPhase.STOPPED

    def emit(phase: BatchPhase) -> None:
        observers.emit(
            BatchProgress(
                batch=batch,
                phase=phase,
                settled=states.total(),
                states=dict(states),
                elapsed_seconds=monotonic() - begun,
            )
        )

    emit(BatchPhase.STARTED)
    try:
        async with aclosing(outcomes):
            async for outcome in outcomes:
                states[outcome.state.value] += 1
                if observers.want(PAYOUTS):
                    emit(BatchPhase.RUNNING)
                yield outcome
        phase = BatchPhase.ENDED
    finally:
        emit(phase)


_OPEN: Final = WORKABLE | {Step.UNKNOWN}


@define(eq=False)
class ResumeRun:
    """One run over the open payouts of the journal."""

    claimer: Claimer
    orders: Callable[[str], PayoutOrder | None] | None
    deadline: float
    _end: EarlyEnd = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._end = EarlyEnd(self.claimer)

    async def run(
        self, batch: str | None, concurrency: int, *, is_due: bool
    ) -> AsyncGenerator[PayoutOutcome]:
        """Yield the outcomes as they settle."""
        entries = self._entries(batch, is_due=is_due)
        settled = settle_all(entries, self._resume_one, concurrency, lambda: self._end.error)
        async with aclosing(settled) as outcomes:
            async for outcome in outcomes:
                if outcome is not None:
                    yield outcome
        self._end.raise_it()
        await self.claimer.context.raise_if_halted()

    async def _resume_one(self, _index: int, entry: Entry) -> PayoutOutcome | None:
        order = None if self.orders is None else self.orders(entry.key)
        ends = self.claimer.context.timing.monotonic() + self.deadline
        try:
            return await self.claimer.go_on(entry, order, ends)
        except (PayoutsHalted, Refused) as error:
            return await self._end.outcome(entry.key, error)

    async def _entries(self, batch: str | None, *, is_due: bool) -> AsyncGenerator[Entry]:
        context = self.claimer.context
        found = each(
            lambda after: context.journal.open_entries(
                PAGE, after=after, steps=_OPEN, batch=batch, is_due=is_due
            )
        )
        async with aclosing(found) as entries:
            async for entry in entries:
                if context.stopping.is_set():
                    return
                yield entry


Approve = Callable[[Preflight], bool | Awaitable[bool]]

_SOURCE: Final = "source"


@asynccontextmanager
async def approved(
    source: Iterable[PayoutOrder] | AsyncIterable[PayoutOrder],
    approve: Approve,
    settings: Settings,
) -> AsyncGenerator[Iterator[PayoutOrder]]:
    """Check a source in a thread, have it approved, and yield its orders.

    A file is copied first: what is written to it later is neither approved nor paid.

    Raises:
        BatchStopped: it was not approved.
        InvalidRequest: it can be read only once, or isn't fit to be paid. While the orders are
            read: their total is above the approved one.

    """
    given = source = _rereadable(source)
    with ExitStack() as until_paid:
        if isinstance(source, PayoutFile):
            source = await asyncio.to_thread(until_paid.enter_context, source.copied())
        found, digest = await asyncio.to_thread(_check, source, settings)
        if not found.is_fit:
            raise _unfit(source, found)
        answer = approve(found)
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer is not True:
            raise BatchStopped("it was not approved", 0)
        if digest != await asyncio.to_thread(_digest, given):
            words = "it was changed since it was checked; nothing is paid"
            raise InvalidRequest(_name(source), words)
        yield _within_approved(found, source)


def _rereadable(
    source: Iterable[PayoutOrder] | AsyncIterable[PayoutOrder],
) -> Iterable[PayoutOrder]:
    if isinstance(source, Iterator) or not isinstance(source, Iterable):
        problem = "can be read only once; with approve, give a PayoutFile or a list"
        raise InvalidRequest(_SOURCE, problem)
    return source


def _check(source: Iterable[PayoutOrder], settings: Settings) -> tuple[Preflight, str | None]:
    digest = _digest(source)
    rows = rows_of(source, settings.rules, settings.timing, settings.key_field)
    return found_in(rows), digest


def _digest(source: Iterable[PayoutOrder]) -> str | None:
    return source.digest() if isinstance(source, PayoutFile) else None


def _name(source: Iterable[PayoutOrder]) -> str:
    return str(source.path) if isinstance(source, PayoutFile) else _SOURCE


def _unfit(source: Iterable[PayoutOrder], found: Preflight) -> InvalidRequest:
    if found.problems:
        words = f"{found.bad_rows} can't be paid, the first at {found.problems[0]}"
    else:
        first, count = found.duplicates[0], found.duplicate_count
        words = f"{count} with the key of one above, the first at line {first.line}: {first.key!r}"
    return InvalidRequest(_name(source), f"nothing is paid: {words}")


def _within_approved(found: Preflight, source: Iterable[PayoutOrder]) -> Iterator[PayoutOrder]:
    """Yield the orders; refuse one that would pass a total that was approved."""
    totals = Counter[str]()
    for order in source:
        amount = order.amount_details
        totals[amount.currency] += amount.amount
        if totals[amount.currency] > found.totals.get(amount.currency, 0):
            problem = f"the payout {order.key!r} would pass the total of {amount.currency}"
            raise InvalidRequest(_name(source), f"{problem} that was approved")
        yield order


@define(eq=False, kw_only=True)
class BatchRun:
    """One run over a source of orders."""

    claimer: Claimer
    tally: Tally
    rate_limit: RateLimit
    batch: str | None
    deadline: float
    approve: Approve | None
    _end: EarlyEnd = field(init=False)
    _balance_at: float = field(default=float("-inf"), init=False)
    _balance_lock: asyncio.Lock = field(factory=asyncio.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self._end = EarlyEnd(self.claimer)

    async def run(
        self, source: Iterable[PayoutOrder] | AsyncIterable[PayoutOrder], concurrency: int
    ) -> AsyncGenerator[PayoutOutcome]:
        """Yield the outcomes as they settle."""
        runs, settings = self.claimer.context.runs, self.claimer.context.sender.caller.settings
        runs.add(self.rate_limit.ended)
        try:
            source = read_for(source, settings, self.claimer.context.sender.version)
            checked: AbstractAsyncContextManager[
                Iterable[PayoutOrder] | AsyncIterable[PayoutOrder]
            ] = nullcontext(source)
            if self.approve is not None:
                checked = approved(source, self.approve, settings)
            async with checked as orders, aclosing(self._settled(orders, concurrency)) as outcomes:
                async for outcome in outcomes:
                    yield outcome
        finally:
            runs.discard(self.rate_limit.ended)

    async def _settled(
        self, orders: Iterable[PayoutOrder] | AsyncIterable[PayoutOrder], concurrency: int
    ) -> AsyncGenerator[PayoutOutcome]:
        stopped: BatchStopped | None = None
        settled = settle_all(orders, self._pay, concurrency, self._stopped)
        try:
            async with aclosing(settled) as outcomes:
                async for outcome in outcomes:
                    if outcome is not None:
                        yield outcome
        except BatchStopped as error:
            stopped = error.with_traceback(None)
        self._end.raise_it()
        await self.claimer.context.raise_if_halted()
        if stopped is not None:
            raise stopped

    def _stopped(self) -> SmartGlocalError | None:
        if self._end.error is not None:
            return self._end.error
        context = self.claimer.context
        reason = self.tally.reason or (context.stopped_by if context.stopping.is_set() else None)
        return None if reason is None else BatchStopped(reason, self.tally.begun)

    async def _may_begin(self) -> bool:
        await self.rate_limit.wait()
        return not (self.tally.leaves_waiting or self.claimer.context.stopping.is_set())

    async def _pay(self, index: int, order: PayoutOrder) -> PayoutOutcome | None:
        """Pay an order; None if a rule forbids to begin it."""
        if not isinstance(cast("object", order), PayoutOrder):
            problem = f"expected a PayoutOrder, got {type(order).__name__}"
            raise InvalidRequest(f"source[{index}]", problem)
        draws = True
        if self.tally.rules.low_balance:
            draws = await self._may_draw(order)
            if draws and not await self._is_covered(order):
                self.tally.refuse(order)
        if not self.tally.may_begin(order, draws=draws):
            return None
        outcome = await self._outcome(index, order)
        if outcome is None:
            return None
        self.tally.note(order, outcome, draws=draws)
        if self.tally.leaves_waiting:
            self.rate_limit.ended.set()
        return outcome

    async def _outcome(self, index: int, order: PayoutOrder) -> PayoutOutcome | None:
        position = BatchPosition(self.batch, None if self.batch is None else index)
        try:
            may_begin = None if self.rate_limit.limiter is None else self._may_begin
            return await self.claimer.pay(order, self.deadline, position, may_begin)
        except KeyReused as error:
            return failed_with(order, error, PayoutState.REFUSED)
        except InvalidRequest as error:
            return await self._refused(order, error)
        except RuleBroken as warning:
            return await self._refused(order, warning.refusal())
        except (InProgress, LostLease) as error:
            return failed_with(order, error, PayoutState.OPEN)
        except (PayoutsHalted, Refused) as error:
            return await self._end.outcome(order.key, error)

    async def _refused(self, order: PayoutOrder, error: InvalidRequest) -> PayoutOutcome:
        """Return the outcome of an order that breaks a rule.

        Its key may have been paid before a setting forbade the order: the reason says so.
        """
        outcome = failed_with(order, error, PayoutState.REFUSED)
        entry = await self.claimer.context.journal.find(order.key)
        if entry is None:
            return outcome
        words = f"the journal has this key as {state_of(entry.step).value}, which stays"
        return evolve(outcome, reason=f"{error}; {words}")

    async def _may_draw(self, order: PayoutOrder) -> bool:
        """Return whether a payout may still take money from the wallet.

        One that is settled takes none, and one that was confirmed took it already.
        """
        entry = await self.claimer.context.journal.find(order.key)
        if entry is None:
            return True
        is_manual = entry.mode == Mode.MANUAL.value
        return entry.step < (Step.CONFIRMING if is_manual else Step.STARTING)

    async def _is_covered(self, order: PayoutOrder) -> bool:
        async with self._balance_lock:
            if self._now() - self._balance_at >= COVER_SECONDS:
                await self._read_balance()
            if self.tally.is_covered(order):
                return True
            await self._read_balance()
            return self.tally.is_covered(order)

    async def _read_balance(self) -> None:
        drawn, caller = self.tally.drawn, self.claimer.context.sender.caller
        self.tally.see_balance(await balance(caller), drawn)
        self._balance_at = self._now()

    def _now(self) -> float:
        return self.claimer.context.timing.monotonic()
