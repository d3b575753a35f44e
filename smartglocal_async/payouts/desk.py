"""What the workers of one `Payouts` share: the journal, the calls, the clock, the brake."""

import asyncio
from collections.abc import Callable

from attrs import define, field, frozen

from ..errors import SmartGlocalError
from ..journal.states import Event
from ..journal.store import Changes, Entry, Journal
from ..retry import Timing
from .protocol import Call, Mode
from .sending import Heard, Job, Limits, Sender


@frozen
class ConfirmationMismatch(SmartGlocalError):
    """Money moved before it was confirmed: the project confirms by itself, it seems.

    Nothing more is paid by this `Payouts`. Ask the account manager how the project confirms; with
    automatic confirmation, `Mode.AUTOMATIC` has to be asked for.
    """

    key: str
    session_id: str
    """Where it was noticed."""

    def __str__(self) -> str:
        return (
            f"the payout {self.key!r} was paid in {self.session_id} without our confirm; "
            "Mode.MANUAL is wrong for this project, and nothing more is paid"
        )


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
    mismatch: ConfirmationMismatch | None = field(default=None, init=False)

    @property
    def timing(self) -> Timing:
        """The client's clock and dice."""
        return self.sender.caller.settings.timing

    def brake(self, key: str, session_id: str) -> None:
        """Let nothing more be paid."""
        self.mismatch = self.mismatch or ConfirmationMismatch(key, session_id)

    def check_brake(self) -> None:
        """Let nothing be sent that may pay, if money moved without us."""
        if self.mismatch is not None:
            raise self.mismatch

    async def write(self, entry: Entry, event: Event, changes: Changes) -> Entry:
        """Write a step; it is on the disk when this returns."""
        self.fault_point(f"before writing {event.value}")
        written = await self.journal.advance(entry, event, changes)
        self.fault_point(f"after writing {event.value}")
        return written

    async def send(self, call: Call, entry: Entry, job: Job, limits: Limits) -> Heard:
        """Make a call."""
        self.fault_point(f"before {call.value}")
        heard = await self.sender.send(call, entry, job, limits)
        self.fault_point(f"after {call.value}")
        return heard
