"""Which webhook events were handled, or are being handled: a store that guards against repeats."""

import enum
from collections import OrderedDict
from typing import Protocol

from attrs import define, field

from .values.exactness import above_zero


class Claim(enum.Enum):
    """What a store says to whoever wants to handle an event."""

    NEW = "new"
    """Nobody has it: it is yours from now on."""
    RUNNING = "running"
    """Somebody is at it."""
    HANDLED = "handled"
    """It was handled before."""


class WebhookStore(Protocol):
    """Where events are claimed before they are handled, by `WebhookEvent.identity`.

    Redis or a table of SQL fits, for several processes: ``claim`` must be one atomic step. Let a
    claim that is neither kept nor forgotten lapse after some minutes: its process died. Let one
    that is kept lapse after a day or more: the provider stops to deliver after 30 minutes.
    """

    async def claim(self, identity: str) -> Claim:
        """Take the event if nobody has it."""
        ...

    async def keep(self, identity: str) -> None:
        """Remember that the event was handled."""
        ...

    async def forget(self, identity: str) -> None:
        """Give a claim back: handling failed, and a redelivery is to run it again."""
        ...


@define(eq=False)
class MemoryStore:
    """The events of one process; of those that were handled, the ``most`` latest."""

    most: int = 100_000
    _running: set[str] = field(factory=set[str], init=False, repr=False)
    _handled: OrderedDict[str, None] = field(factory=OrderedDict[str, None], init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        above_zero("most", self.most, whole=True)

    async def claim(self, identity: str) -> Claim:
        """Take the event if nobody has it."""
        if identity in self._running:
            return Claim.RUNNING
        if identity in self._handled:
            return Claim.HANDLED
        self._running.add(identity)
        return Claim.NEW

    async def keep(self, identity: str) -> None:
        """Remember that the event was handled; the oldest is forgotten when there are too many."""
        self._running.discard(identity)
        self._handled[identity] = None
        self._handled.move_to_end(identity)
        while len(self._handled) > self.most:
            _ = self._handled.popitem(last=False)

    async def forget(self, identity: str) -> None:
        """Give a claim back."""
        self._running.discard(identity)
        _ = self._handled.pop(identity, None)
