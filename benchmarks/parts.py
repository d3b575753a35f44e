"""The parts of the benchmarks: what each measures, and what it prints."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from attrs import frozen

from . import start
from .calls import comparison, conditions, lag, signatures
from .cluster import scaling
from .goals import Goal
from .payouts import batch, check, journals, rates
from .setting import Setting


@frozen(kw_only=True)
class Part:
    """Something that is measured by itself."""

    about: str
    numbers: tuple[int, ...] = ()
    """Of the goals that it measures."""
    kind: Any
    """What it finds, as a type; None where it can't be measured here."""
    measure: Callable[[Setting], Any]
    tables: Callable[[Any], str]
    goals: Callable[[Any], Iterable[Goal]] = lambda _found: ()


PARTS: Final[Mapping[str, Part]] = {
    "calls": Part(
        about="one call: contenders side by side, by CPU, instructions and calls a second",
        numbers=(1, 2, 3, 4),
        kind=comparison.Comparison,
        measure=comparison.measure,
        tables=comparison.tables,
        goals=comparison.goals,
    ),
    "lag": Part(
        about="event-loop lag with 200 signed calls in flight",
        numbers=(6,),
        kind=lag.Lags,
        measure=lag.measure,
        tables=lag.tables,
        goals=lag.goals,
    ),
    "signatures": Part(
        about="signatures of a call that fails four times",
        numbers=(7,),
        kind=signatures.Signing,
        measure=signatures.measure,
        tables=signatures.tables,
        goals=signatures.goals,
    ),
    "start": Part(
        about="imports, the first client, and the command line",
        numbers=(8, 9),
        kind=start.Starts,
        measure=start.measure,
        tables=start.tables,
        goals=start.goals,
    ),
    "conditions": Part(
        about="a call with uvloop, larger keys, TLS, a distant server, faults",
        kind=list[conditions.Condition],
        measure=conditions.measure,
        tables=conditions.tables,
    ),
    "payouts": Part(
        about="payouts a second and CPU of a payout, with each journal and without",
        numbers=(10, 11),
        kind=rates.Rates,
        measure=rates.measure,
        tables=rates.tables,
        goals=rates.goals,
    ),
    "batch": Part(
        about="CPU of a payout and memory, as a batch of a million grows",
        numbers=(12,),
        kind=batch.Batch,
        measure=batch.measure,
        tables=batch.tables,
        goals=batch.goals,
    ),
    "check": Part(
        about="a check of a file of 100,000 payouts",
        numbers=(13,),
        kind=check.Checks,
        measure=check.measure,
        tables=check.tables,
        goals=check.goals,
    ),
    "journals": Part(
        about="bytes of a payout in a journal, and claims behind a million rows",
        kind=list[journals.Room],
        measure=journals.measure,
        tables=journals.tables,
    ),
    "cluster": Part(
        about="several workers over one journal in PostgreSQL",
        numbers=(5, 14),
        kind=scaling.Scaling,
        measure=scaling.measure,
        tables=scaling.tables,
        goals=scaling.goals,
    ),
}
"""By name, in the order in which they run."""

PART_OF: Final = {number: name for name, part in PARTS.items() for number in part.numbers}
