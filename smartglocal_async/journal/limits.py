"""What all who work on one journal may do together, and how much of it is left now."""

from typing import Final

from attrs import Attribute, define, field, frozen

from ..values.exactness import above_zero

_SHARE: Final = 0.92
"""Of the rate that is given out: what is given out is used a little later, and unevenly."""
_LATE_SECONDS: Final = 0.03
"""So late may somebody ask, and lose nothing; no second has more than the rate, by that share."""
_SHORTEST_WAIT_SECONDS: Final = 0.005
_BUSY_WAIT_SECONDS: Final = 0.1
BEAT_SECONDS: Final = 3.0
"""How often a worker says that it is alive."""
ALIVE_SECONDS: Final = 10.0
"""After so long without a word it counts as dead."""


def _rate(_instance: object, _attribute: "Attribute[float | None]", value: float | None) -> None:
    if value is not None:
        above_zero("Limits.rate", value)


def _count(_instance: object, _attribute: "Attribute[int | None]", value: int | None) -> None:
    if value is not None:
        above_zero("Limits.concurrency", value, whole=True)


@frozen(kw_only=True)
class Limits:
    """What all `Payouts.run_chunk` over one journal may do together; None: as much as they like.

    Raises:
        InvalidRequest: a limit that makes no sense.

    """

    rate: float | None = field(default=None, validator=_rate)
    """Payouts that are taken up in a second; each takes some five calls."""
    concurrency: int | None = field(default=None, validator=_count)
    """Payouts that are under way at once."""


@frozen
class AtWork:
    """Somebody who has payouts under way, or a worker that is alive and waits for some."""

    owner: str
    """Host, process and a random number, of one `Payouts`."""
    payouts: int
    """That it has under way, or had when it died; 0: it has nothing to do."""
    seconds_left: float
    """Until the last of its leases ends: whoever is dead renews none."""
    silent_seconds: float | None = None
    """Since it last said that it is alive, as workers do every 3 seconds; None: it never does, as
    `Payouts.run_chunk` in a job of another engine."""

    @property
    def is_alive(self) -> bool:
        """Whether it is: a worker that was killed is silent for 10 seconds, others have a lease."""
        return self.silent_seconds is None or abs(self.silent_seconds) <= ALIVE_SECONDS


@define(kw_only=True)
class Room:
    """How much is left now: a bucket of tokens, and places; nobody else may change it meanwhile."""

    limits: Limits
    tokens: float
    at: float
    """When the tokens were counted."""
    blocked_until: float
    held: int
    """Payouts that are under way."""

    def advance(self, now: float) -> None:
        """Fill up for the time that has passed; a clock that was set back fills nothing."""
        rate = self.limits.rate
        if rate is not None:
            filled = self.tokens + max(0.0, now - self.at) * rate * _SHARE
            self.tokens = min(1 + rate * _LATE_SECONDS, filled)
        self.at = now

    def most(self, asked: int) -> int:
        """Say how many of so many may be taken now."""
        if self.at < self.blocked_until:
            return 0
        most = asked
        if self.limits.rate is not None:
            most = min(most, int(self.tokens))
        if self.limits.concurrency is not None:
            most = min(most, self.limits.concurrency - self.held)
        return max(0, most)

    def take(self, count: int) -> None:
        """Note that so many are taken."""
        self.tokens -= count if self.limits.rate is not None else 0
        self.held += count

    @property
    def wait_seconds(self) -> float:
        """How long to wait before it is worth while to ask again."""
        if self.at < self.blocked_until:
            return self.blocked_until - self.at
        waits = [_SHORTEST_WAIT_SECONDS]
        if self.limits.rate is not None:
            waits.append((1 - self.tokens) / self.limits.rate)
        if self.limits.concurrency is not None and self.held >= self.limits.concurrency:
            waits.append(_BUSY_WAIT_SECONDS)
        return max(waits)
