"""What the workers of one `Payouts` share: the journal, the calls, the clock, the brake."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, runtime_checkable

from attrs import define, field

from ..errors import PayoutsHalted, SmartGlocalError
from ..journal.entries import Changes, Entry, Halt, HaltKind, Learned, NewEntry
from ..journal.states import Event
from ..journal.store import Journal
from ..journal.writing import error_of
from ..retry import Timing
from .protocol import Call, Mode
from .sending import Heard, Job, Limits, Sender


@define(eq=False)
class Bell:
    """Wakes one worker, and hands it what a webhook told."""

    rung: asyncio.Event = field(factory=asyncio.Event)
    heard: Heard | None = None

    def ring(self, heard: Heard) -> None:
        """Wake it."""
        self.heard = heard
        self.rung.set()

    def take(self) -> Heard | None:
        """Give what was told, once."""
        heard, self.heard = self.heard, None
        self.rung.clear()
        return heard


@runtime_checkable
class Shared(Protocol):
    """A journal of several processes, which can tell all of them something."""

    async def slow_down(self, seconds: float) -> None:
        """Have all of them take nothing for so long."""
        ...


@define(eq=False, kw_only=True)
class Desk:
    """What the workers of one `Payouts` share."""

    journal: Journal
    sender: Sender
    mode: Mode
    owner: str
    lease_seconds: float
    fault_point: Callable[[str], None]
    bells: dict[str, Bell] = field(factory=dict[str, Bell], init=False)
    """Of those who are at work, by key."""
    stopping: asyncio.Event = field(factory=asyncio.Event, init=False)
    """Set when nothing new is to be begun, and nothing waited for."""
    stopped_by: str = field(default="", init=False)
    runs: set[asyncio.Event] = field(factory=set[asyncio.Event], init=False)
    """Of the batches under way: set when they end early."""
    halt: Halt | None = field(default=None, init=False)
    """What was noticed here; the journal has it, too, for all others."""

    @property
    def timing(self) -> Timing:
        """The client's clock and dice."""
        return self.sender.caller.settings.timing

    async def brake(self, kind: HaltKind, reason: str) -> None:
        """Let nothing more be paid, by anybody who uses the journal."""
        self.halt = self.halt or Halt(kind=kind, reason=reason)
        await self.journal.halt(self.halt)

    def halted(self) -> PayoutsHalted | None:
        """Give what to raise before anything is sent that may pay."""
        return None if self.halt is None else error_of(self.halt)

    def stop(self, reason: str) -> None:
        """Begin nothing more; the first reason stays."""
        if not self.stopping.is_set():
            self.stopped_by = reason
            self.stopping.set()
            for event in (*self.runs, *(bell.rung for bell in self.bells.values())):
                event.set()

    async def slow_down(self, seconds: float) -> None:
        """Have all who share the journal wait as the provider asked, where it can tell them."""
        if isinstance(self.journal, Shared):
            # Whoever was told waits that long in any case; what has to be written can say that
            # it can't be.
            with suppress(SmartGlocalError):
                await self.journal.slow_down(seconds)

    async def take(self, new: NewEntry, *, intends: Event | None) -> Entry:
        """Accept and claim; what is intended is on the disk when this returns, if it was new."""
        label = "the claim" if intends is None else intends.value
        self.fault_point(f"before writing {label}")
        taken = await self.journal.take(new, self.owner, self.lease_seconds, intends=intends)
        self.fault_point(f"after writing {label}")
        return taken

    async def write(
        self, entry: Entry, event: Event, changes: Changes, learned: Learned | None = None
    ) -> Entry:
        """Write a step, behind what was learned; it is on the disk when this returns."""
        self.fault_point(f"before writing {event.value}")
        written = await self.journal.advance(entry, event, changes, learned=learned)
        self.fault_point(f"after writing {event.value}")
        return written

    async def send(self, call: Call, entry: Entry, job: Job, limits: Limits) -> Heard:
        """Make a call."""
        self.fault_point(f"before {call.value}")
        heard = await self.sender.send(call, entry, job, limits)
        self.fault_point(f"after {call.value}")
        return heard
