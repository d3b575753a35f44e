"""The store of the webhook events that were or are being handled, so that each runs once."""

import enum
import hashlib
from collections import OrderedDict
from typing import Final, Protocol

from attrs import define, field

from ..errors import InvalidRequest
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


def check_durations(claim_seconds: float, keep_seconds: float) -> None:
    """Check how long a store keeps claims and handled events, in seconds.

    Raises:
        InvalidRequest: one isn't a number above zero, or events are kept for less than claims.

    """
    above_zero("claim_seconds", claim_seconds)
    above_zero("keep_seconds", keep_seconds)
    if keep_seconds < claim_seconds:
        raise InvalidRequest("keep_seconds", "must not be less than claim_seconds")


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

    ``token`` is a random text of one delivery. The store saves it with the claim, and ``keep`` and
    ``forget`` change only a claim that has this token. A method that raised or was cancelled may
    have taken effect: `Webhooks` then forgets the claim, or calls ``keep`` or ``forget`` again.
    """

    async def claim(self, identity: str, token: str) -> Claim:
        """Claim the event if it is neither running nor handled.

        A claim that has this token already is renewed: it is new again, from now on.
        """
        ...

    async def keep(self, identity: str, token: str) -> None:
        """Record that the event was handled, if the claim has this token."""
        ...

    async def forget(self, identity: str, token: str) -> None:
        """Release the claim that has this token, so that a redelivery runs the event again."""
        ...


@define(eq=False)
class MemoryStore:
    """A store in memory, for one process; keeps the ``max_events`` latest handled events."""

    max_events: int = 100_000
    _running: dict[str, str] = field(factory=dict[str, str], init=False, repr=False)
    """The token of each claim."""
    _handled: OrderedDict[str, None] = field(factory=OrderedDict[str, None], init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        above_zero("max_events", self.max_events, whole=True)

    async def claim(self, identity: str, token: str) -> Claim:
        """Claim the event if it is neither running nor handled."""
        if identity in self._handled:
            return Claim.HANDLED
        is_own = self._running.setdefault(identity, token) == token
        return Claim.NEW if is_own else Claim.RUNNING

    async def keep(self, identity: str, token: str) -> None:
        """Record that the event was handled; beyond ``max_events`` the oldest is dropped."""
        if self._running.get(identity) != token:
            return
        del self._running[identity]
        self._handled[identity] = None
        while len(self._handled) > self.max_events:
            _ = self._handled.popitem(last=False)

    async def forget(self, identity: str, token: str) -> None:
        """Release the claim that has this token."""
        if self._running.get(identity) == token:
            del self._running[identity]
