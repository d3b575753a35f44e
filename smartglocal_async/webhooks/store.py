"""The store of the webhook events that were or are being handled, so that each runs once."""

import enum
import hashlib
from collections import OrderedDict
from typing import Final, Protocol

from attrs import define, field

from ..models.validators import above_zero

CLAIM_SECONDS: Final = 600.0
"""How long the claim of a process that died is kept, by default: the handlers of an event must take
less, and the provider redelivers for 30 minutes."""
KEEP_SECONDS: Final = 30 * 24 * 3600.0
"""How long a handled event is kept, by default."""
EXPIRE_SECONDS: Final = 3600.0
"""How often an open store drops the events that were kept for long enough."""


class Claim(enum.Enum):
    """A store's answer to a process that wants to handle an event."""

    NEW = "new"
    """No process has it; it is claimed for the caller from now on."""
    RUNNING = "running"
    """It is being handled."""
    HANDLED = "handled"
    """It was handled before."""


def row_key(identity: str) -> str:
    """Return a digest of 64 characters: an identity is too long for an index if it has many ids."""
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()


class WebhookStore(Protocol):
    """Where events are claimed before they are handled, by `WebhookEvent.identity`.

    For several processes use `PostgresStore`, or `SQLiteStore` on one machine. In a store of your
    own ``claim`` must be one atomic step. A claim that is neither kept nor forgotten should expire
    after some minutes, as its process died. One that is kept should expire after a day or more; the
    provider stops redelivering after 30 minutes. `Webhooks` opens and closes a store that is an
    asynchronous context manager.
    """

    async def claim(self, identity: str) -> Claim:
        """Claim the event if it is neither running nor handled."""
        ...

    async def keep(self, identity: str) -> None:
        """Record that the event was handled."""
        ...

    async def forget(self, identity: str) -> None:
        """Release a claim: handling failed, and a redelivery must run it again."""
        ...


@define(eq=False)
class MemoryStore:
    """A store in memory, for one process; keeps the ``max_events`` latest handled events."""

    max_events: int = 100_000
    _running: set[str] = field(factory=set[str], init=False, repr=False)
    _handled: OrderedDict[str, None] = field(factory=OrderedDict[str, None], init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        above_zero("max_events", self.max_events, whole=True)

    async def claim(self, identity: str) -> Claim:
        """Claim the event if it is neither running nor handled."""
        if identity in self._running:
            return Claim.RUNNING
        if identity in self._handled:
            return Claim.HANDLED
        self._running.add(identity)
        return Claim.NEW

    async def keep(self, identity: str) -> None:
        """Record that the event was handled; beyond ``max_events`` the oldest is dropped."""
        self._running.discard(identity)
        self._handled[identity] = None
        self._handled.move_to_end(identity)
        while len(self._handled) > self.max_events:
            _ = self._handled.popitem(last=False)

    async def forget(self, identity: str) -> None:
        """Release a claim."""
        self._running.discard(identity)
        _ = self._handled.pop(identity, None)
