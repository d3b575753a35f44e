"""Ten million payouts on twenty machines, calculated from the figures of one worker's turns."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from attrs import frozen

from .fleet import Store, Turn

_PAYOUTS: Final = 10_000_000
_MACHINES: Final = 20
_RATE: Final = 500
"""Payouts per second that the provider accepts."""
_GIVEN: Final = 0.92
"""The share of a rate that the journal uses."""
_CONNECTIONS: Final = 3
"""Calls of a worker of the command line; this benchmark's worker has no queue and no status checks.
"""
_HOUR: Final = 3_600
_MEGA: Final = 1e6
_GIGA: Final = 1e9


@frozen
class Night:
    """The cost of the whole batch."""

    turns: Sequence[Turn]
    """Of one worker, at about the rate of one machine."""
    larger: Sequence[Turn]
    """Of one worker with larger batches, like those of a file."""
    store: Store

    def __str__(self) -> str:
        return f"{_PAYOUTS:,} payouts, {_MACHINES} machines, {_RATE} a second allowed"

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Return each resource, its amount, and the figures it follows from."""
        rate, each = _RATE * _GIVEN, _RATE * _GIVEN / _MACHINES
        seconds = _PAYOUTS / rate
        cpu, database = self._of(lambda turn: turn.cpu_seconds), self._of(_database)
        log, commits = self._of(lambda turn: turn.log_bytes), self._of(lambda turn: turn.commits)
        calls = self._of(lambda turn: turn.calls)
        stored = (self.store.table_bytes + self.store.index_bytes) / self.store.payouts
        lasts = self._lasts()
        submit = statistics.median(turn.submit_seconds / turn.payouts for turn in self.larger)
        words = f"{submit * 1e3:.2f} ms a payout, in one process"
        yield "hours to submit them", f"{_PAYOUTS * submit / _HOUR:.1f}", words
        yield (
            "hours to pay them",
            f"{seconds / _HOUR:.1f}",
            f"{rate:.0f} payouts a second are given out",
        )
        yield "payouts a second, each machine", f"{each:.1f}", f"÷ {_MACHINES}"
        yield "in flight, each machine", f"{each * lasts:.0f}", f"a payout takes {lasts:.2f} s"
        words = f"{cpu * 1e3:.1f} ms a payout"
        yield "cores at work, each machine", f"{each * cpu:.2f}", words
        words = f"{database * 1e3:.1f} ms a payout"
        yield "cores at work, the database's sessions", f"{rate * database:.1f}", words
        yield "calls a second to the provider", f"{rate * calls:,.0f}", f"{calls:.1f} a payout"
        yield "commits a second", f"{rate * commits:,.0f}", f"{commits:.1f} a payout"
        yield "MB a second into the log", f"{rate * log / _MEGA:.1f}", f"{log:,.0f} bytes a payout"
        yield "GB of the log, in all", f"{_PAYOUTS * log / _GIGA:.0f}", "the same"
        words = f"{stored:,.0f} bytes a payout, kept for good"
        yield "GB of tables and indexes", f"{_PAYOUTS * stored / _GIGA:.0f}", words
        words = f"{_CONNECTIONS} a worker: it writes, asks, has a queue"
        yield "connections, one worker a machine", f"{_MACHINES * _CONNECTIONS}", words

    def _of(self, figure: Callable[[Turn], float]) -> float:
        """Return a figure per payout."""
        return statistics.median(figure(turn) / turn.payouts for turn in self.turns)

    def _lasts(self) -> float:
        """Return the seconds of a payout, from its first call to its last."""
        return statistics.median(turn.concurrency / turn.rate for turn in self.turns)


def _database(turn: Turn) -> float:
    return turn.database_seconds
