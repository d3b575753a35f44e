"""What the workers of one `Payouts` share: the journal, the calls, the clock and the halt."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Protocol, runtime_checkable

from attrs import define, field

from ..errors import SmartGlocalError
from ..journal.entries import Changes, Entry, Halt, HaltKind, NewEntry, PendingEvent
from ..journal.journal import Journal
from ..journal.states import Event
from ..journal.transitions import error_of
from ..observer.delivery import Observers
from ..observer.events import JournalWritten, PayoutsHaltRaised, current_payout
from ..observer.logs import PAYOUTS
from ..retry import Timing
from ..settings import StatusChecks
from .calls import CallLimits, OrderedPayout, Reply, Sender
from .protocol import ENDS, Mode, PayoutCall


@define(eq=False)
class Wakeup:
    """Wakes the worker of one payout, and holds what a webhook showed until it takes that."""

    event: asyncio.Event = field(factory=asyncio.Event)
    reply: Reply | None = None

    def wake(self, reply: Reply) -> None:
        """Wake the worker; a reply that ends the payout isn't replaced by one that doesn't."""
        before = None if self.reply is None else self.reply.observation.shown
        if before not in ENDS or reply.observation.shown in ENDS:
            self.reply = reply
        self.event.set()

    def take(self) -> Reply | None:
        """Return what a webhook showed since the last call; None if none came."""
        reply, self.reply = self.reply, None
        self.event.clear()
        return reply


@runtime_checkable
class Shared(Protocol):
    """A journal that several processes share, through which they can slow one another down."""

    async def slow_down(self, seconds: float) -> None:
        """Have all processes claim nothing for this many seconds."""
        ...


@define(eq=False, kw_only=True)
class WorkerContext:
    """What the workers of one `Payouts` share."""

    journal: Journal
    sender: Sender
    mode: Mode
    owner: str
    lease_seconds: float
    fault_point: Callable[[str], None]
    status_checks: StatusChecks = field(factory=StatusChecks)
    wakeups: dict[str, Wakeup] = field(factory=dict[str, Wakeup], init=False)
    """Of the workers that are running, by payout key."""
    stopping: asyncio.Event = field(factory=asyncio.Event, init=False)
    """Set when no payout may begin and no pause may be waited for any more."""
    stopped_by: str = field(default="", init=False)
    runs: set[asyncio.Event] = field(factory=set[asyncio.Event], init=False)
    """Of the batches that are running: each is set when its batch ends early."""
    halt: Halt | None = field(default=None, init=False)
    """The halt that was in force when this process last read or raised one."""

    @property
    def timing(self) -> Timing:
        """The client's clock and random numbers."""
        return self.sender.caller.settings.timing

    @property
    def observers(self) -> Observers:
        """Where the client's events go, and those of its payouts."""
        return self.sender.caller.observers

    @contextmanager
    def registered(self, key: str, wakeup: Wakeup) -> Generator[None]:
        """Have webhooks about a payout wake this worker while the block runs."""
        self.wakeups[key] = wakeup
        try:
            yield
        finally:
            # A webhook may have replaced it by that of another worker.
            if self.wakeups.get(key) is wakeup:
                del self.wakeups[key]

    async def halt_all(self, kind: HaltKind, reason: str) -> None:
        """Halt all payouts of the journal, in every process that uses it."""
        self.halt = Halt(kind=kind, reason=reason)
        await self.journal.halt(self.halt)
        self.observers.emit(PayoutsHaltRaised(kind=kind.value))

    async def raise_if_halted(self) -> None:
        """Raise if a halt is in force, whichever process raised it.

        Raises:
            PayoutsHalted: the subclass of the halt's kind.

        """
        self.halt = await self.journal.halted()
        if self.halt is not None:
            raise error_of(self.halt)

    def stop(self, reason: str) -> None:
        """Begin nothing more; the first reason is kept."""
        if not self.stopping.is_set():
            self.stopped_by = reason
            self.stopping.set()
            for event in (*self.runs, *(wakeup.event for wakeup in self.wakeups.values())):
                event.set()

    async def slow_down(self, seconds: float) -> None:
        """Have the other processes of the journal pause, too, as the provider asked."""
        if isinstance(self.journal, Shared):
            # This process pauses in any case. If the journal can't be written, the next write of a
            # payout raises that.
            with suppress(SmartGlocalError):
                await self.journal.slow_down(seconds)

    async def take(self, new: NewEntry, *, intends: Event | None) -> Entry:
        """Accept and claim a payout; a new one is written with its first event when this returns.

        The returned entry is that of the key, whether it was new or not.
        """
        label = "the claim" if intends is None else intends.value
        self.fault_point(f"before writing {label}")
        commit = _Commit(self, new.key, None if intends is None else intends.value)
        with commit:
            taken = await self.journal.take(new, self.owner, self.lease_seconds, intends=intends)
            commit.entry = taken
        self.fault_point(f"after writing {label}")
        return taken

    async def write(
        self,
        entry: Entry,
        event: Event,
        changes: Changes,
        pending: PendingEvent | None = None,
        operator: str | None = None,
    ) -> Entry:
        """Write an event, after a pending one; both are durable when this returns."""
        self.fault_point(f"before writing {event.value}")
        before = None if pending is None else pending.event.value
        commit = _Commit(self, entry.key, event.value, before, entry.step.name)
        with commit:
            written = await self.journal.advance(
                entry, event, changes, pending=pending, operator=operator
            )
            commit.entry = written
        self.fault_point(f"after writing {event.value}")
        return written

    async def retry(self, entry: Entry) -> Entry:
        """Write that a failed payout is taken up again; it is durable when this returns."""
        commit = _Commit(self, entry.key, Event.RETRIED.value, before=entry.step.name)
        with commit:
            retried = await self.journal.retry(entry)
            commit.entry = retried
        return retried

    async def send(
        self, call: PayoutCall, entry: Entry, payout: OrderedPayout, limits: CallLimits
    ) -> Reply:
        """Make a call and return its reply."""
        self.fault_point(f"before {call.value}")
        reply = await self.sender.send(call, entry, payout, limits)
        self.fault_point(f"after {call.value}")
        return reply


@define(eq=False)
class _Commit:
    """One commit to the journal, which emits its event when it is left."""

    context: WorkerContext
    key: str
    written: str | None
    pending: str | None = None
    before: str | None = None
    entry: Entry | None = None
    """The entry as it is written."""
    _begun: float = 0.0

    def __enter__(self) -> None:
        self._begun = self.context.timing.monotonic()

    def __exit__(self, kind: type[BaseException] | None, *_exc_info: object) -> None:
        observers = self.context.observers
        if kind is None and not observers.want(PAYOUTS):
            return
        observers.emit(
            JournalWritten(
                payout=current_payout.get(),
                key=self.key,
                written=self.written,
                pending=self.pending,
                before=self.before,
                step=None if self.entry is None else self.entry.step.name,
                session_id=None if self.entry is None else self.entry.session_id,
                seconds=self.context.timing.monotonic() - self._begun,
                error=None if kind is None else kind.__name__,
            )
        )
