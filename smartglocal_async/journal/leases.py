"""How long an entry is somebody's, and when it is to be looked at again."""

from typing import Final

from ..errors import Misuse
from .entries import Entry

LONGEST_LEASE_SECONDS: Final = 600.0
"""A lease that lasts longer than any may was given before the clock was set back: it is over."""
_SHORTEST_BACKOFF_SECONDS: Final = 1.0
_LONGEST_BACKOFF_SECONDS: Final = 3600.0


def is_leased(entry: Entry, now: float) -> bool:
    """Say whether a lease keeps others off."""
    until = entry.leased_until
    return until is not None and now < until <= now + LONGEST_LEASE_SECONDS


def lease_end(now: float, lease_seconds: float) -> float:
    """Give the end of a lease.

    Raises:
        Misuse: it would keep nobody off, or everybody for too long.

    """
    if not 0 < lease_seconds <= LONGEST_LEASE_SECONDS:  # NaN too
        words = f"expected seconds above 0, and {LONGEST_LEASE_SECONDS:.0f} at most"
        raise Misuse(f"lease_seconds: {words}, got {lease_seconds!r}")
    return now + lease_seconds


def next_look(entry: Entry, now: float) -> float:
    """Give when to look again: the longer it has stood, the later."""
    stood = now - entry.updated_at
    return now + min(max(stood, _SHORTEST_BACKOFF_SECONDS), _LONGEST_BACKOFF_SECONDS)
