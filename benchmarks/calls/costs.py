"""What a call costs the client's process: the contenders take turns, in random order.

Each contender has three processes or more, one after another: where a process's memory happens to
be changes its speed by some per cent for as long as it runs.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from attrs import define, field, frozen

from ..machine import say
from ..setting import Setting
from ..spread import Spread
from .turns import Cost
from .worker import Entrant, Worker, working

_PER_SECOND: Final = 1e6


@frozen(kw_only=True)
class Turn:
    """How many calls a turn has, and where it runs."""

    concurrency: int
    calls: int
    on_all_cores: bool = False
    """Whether the threads that sign may have every core, the server's too."""


@define(eq=False)
class Row:
    """What all turns of one kind took, in the order of the rounds."""

    label: str
    concurrency: int
    costs: list[Cost] = field(factory=list[Cost])
    peak_mb: float = 0.0
    """The most memory that a process of it ever had."""

    @property
    def cpu(self) -> Spread:
        """CPU microseconds of a call."""
        return Spread.of([cost.cpu for cost in self.costs])

    @property
    def rate(self) -> Spread:
        """Calls a second."""
        return Spread.of([_PER_SECOND / cost.wall for cost in self.costs])


@define(eq=False)
class Costs:
    """What every turn of every round took."""

    rows: list[Row] = field(factory=list[Row])

    def row(self, label: str, concurrency: int) -> Row:
        """Return the turns of a contender; KeyError where it didn't run."""
        for row in self.rows:
            if (row.label, row.concurrency) == (label, concurrency):
                return row
        raise KeyError(label)

    def labels(self) -> list[str]:
        """Return who ran, in the order of the tables."""
        return list(dict.fromkeys(row.label for row in self.rows))

    def cpu_ratio(self, over: str, under: str, concurrency: int) -> Spread:
        """Return the ratio of two contenders' CPU time of a call, each taken in one round."""
        a, b = self.row(over, concurrency).costs, self.row(under, concurrency).costs
        return Spread.of_ratios([cost.cpu for cost in a], [cost.cpu for cost in b])

    def rate_ratio(self, over: str, under: str, concurrency: int) -> Spread:
        """Return the ratio of two contenders' calls a second, each taken in one round."""
        a, b = self.row(over, concurrency).costs, self.row(under, concurrency).costs
        return Spread.of_ratios([cost.wall for cost in b], [cost.wall for cost in a])


def measure_turns(setting: Setting, entrants: Sequence[Entrant], turns: Sequence[Turn]) -> Costs:
    """Return the cost of a call for each entrant, with each kind of turn."""
    rows = {
        (entrant.label, turn.concurrency): Row(entrant.label, turn.concurrency)
        for entrant in entrants
        for turn in turns
    }
    for number in range(setting.processes):
        say(f"process {number + 1} of {setting.processes} for each of {len(entrants)} contenders")
        with ExitStack() as stack:
            workers = [stack.enter_context(working(entrant)) for entrant in entrants]
            for _ in range(setting.rounds):
                _play_round(setting, workers, turns, rows)
    return Costs(list(rows.values()))


def _play_round(
    setting: Setting,
    workers: Sequence[Worker],
    turns: Sequence[Turn],
    rows: dict[tuple[str, int], Row],
) -> None:
    # Contenders that are compared run close together in time, so that both meet whatever
    # else the machine is doing.
    order, cores = setting.order, setting.cores
    for turn in order.sample(turns, len(turns)):
        where = cores.every if turn.on_all_cores else cores.of_client
        for worker in order.sample(workers, len(workers)):
            taken = worker.ask(concurrency=turn.concurrency, calls=turn.calls, cores=where)
            row = rows[worker.label, turn.concurrency]
            row.costs.append(Cost(taken["cpu"], taken["wall"]))
            row.peak_mb = max(row.peak_mb, taken["peak_mb"])
