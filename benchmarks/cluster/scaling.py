"""What more workers bring, over one journal in PostgreSQL."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from attrs import frozen

from ..goals import Goal, Profile, table
from ..machine import say
from ..payouts.provider import providing
from ..payouts.work import has_postgres
from ..setting import Setting
from ..spread import Spread
from .fleet import Store, Turn, bytes_by_others, fleet
from .night import Night

_LATENCY_SECONDS: Final = 0.05
_WORKERS: Final = (1, 2, 4, 8)
_MILLI: Final = 1e3
_LEAST: Final = 1.9
_LEAST_OF_CORES: Final = 0.9
_WAITING: Final = 8
"""Payouts in flight for each worker where the provider's answers are waited for."""
_BUSY: Final = 64
"""Payouts in flight for each worker where the cores end first."""
_ENDS: Final = {_WAITING: "the provider's answers", _BUSY: "the cores"}
CORES: Final = os.cpu_count() or 1


@frozen(kw_only=True)
class Case:
    """The turns of so many workers."""

    concurrency: int
    """Payouts in flight for each worker."""
    workers: int
    turns: list[Turn]


@frozen(kw_only=True)
class Scaling:
    """What a run found."""

    cases: list[Case]
    store: Store
    noise: float
    """Bytes in a second that others wrote into the database's log."""

    def turns(self, concurrency: int, workers: int) -> list[Turn]:
        """Return the turns of a case, in the order of the rounds."""
        (found,) = (
            case.turns
            for case in self.cases
            if (case.concurrency, case.workers) == (concurrency, workers)
        )
        return found


def measure(setting: Setting) -> Scaling | None:
    """Return what the numbers of workers took, in turns; None where there is no PostgreSQL."""
    if not asyncio.run(has_postgres()):
        say("workers are passed over: no PostgreSQL at SMARTGLOCAL_TEST_POSTGRES, nor its default")
        return None
    with providing(None, setting.pem, _LATENCY_SECONDS) as url:
        return asyncio.run(_measure(url, setting))


async def _measure(url: str, setting: Setting) -> Scaling:
    counts = sorted({*_WORKERS, CORES})
    cases = [
        Case(concurrency=concurrency, workers=workers, turns=[])
        for concurrency in (_WAITING, _BUSY)
        for workers in counts
    ]
    found: Scaling | None = None
    for number in range(setting.processes):
        async with fleet(url, setting.pem, max(counts)) as ours:
            others = await bytes_by_others(ours, 1.0)
            # What is made once, is made here.
            _ = await ours.turn(max(counts), _payouts(setting, _BUSY, 1), _BUSY)
            for done in range(setting.rounds):
                place = f"process {number + 1} of {setting.processes}, round {done + 1}"
                say(f"workers, {place} of {setting.rounds}")
                for case in setting.order.sample(cases, len(cases)):
                    payouts = _payouts(setting, case.concurrency, case.workers)
                    case.turns.append(await ours.turn(case.workers, payouts, case.concurrency))
            found = Scaling(cases=cases, store=await ours.store(), noise=others)
    assert found is not None  # noqa: S101 - there is one process or more
    return found


def _payouts(setting: Setting, concurrency: int, workers: int) -> int:
    """Return the payouts of a turn: as many as give each worker the same to wait for, or all."""
    if concurrency == _WAITING:
        return (16 if setting.is_quick else 48) * workers
    return 64 if setting.is_quick else 384


# --- The report ------------------------------------------------------------------------------


def goals(found: Scaling) -> Iterator[Goal]:
    """Yield the goals 5 and 14."""
    one = found.turns(_BUSY, 1)
    # What a payout takes of all who share the machine, at one worker, is what the cores allow.
    allowed = [CORES / (turn.cores * turn.seconds / turn.payouts) for turn in one]
    share = Spread.of_ratios(_rates(found.turns(_BUSY, CORES)), allowed)
    yield Goal(
        number=5,
        figure=f"payouts a second, {CORES} processes over one journal in PostgreSQL ÷ "
        f"what the {CORES} cores allow, {_BUSY} in flight each",
        target=f"≥ {_LEAST_OF_CORES}",
        measured=share.text(2),
        is_reached=share.median >= _LEAST_OF_CORES,
        profile=Profile.POSTGRESQL,
    )
    ratio = Spread.of_ratios(_rates(found.turns(_WAITING, 2)), _rates(found.turns(_WAITING, 1)))
    yield Goal(
        number=14,
        figure=f"payouts a second, two workers ÷ one, provider at 50 ms, {_WAITING} in flight each",
        target=f"≥ {_LEAST}",
        measured=ratio.text(2),
        is_reached=ratio.median >= _LEAST,
        profile=Profile.POSTGRESQL,
    )


def _rates(turns: Sequence[Turn]) -> list[float]:
    return [turn.rate for turn in turns]


def _speeds(found: Scaling, concurrency: int) -> Iterator[tuple[str, ...]]:
    one = _rates(found.turns(concurrency, 1))
    for case in found.cases:
        if case.concurrency != concurrency:
            continue
        rates = _rates(case.turns)
        yield (
            str(case.workers),
            Spread.of(rates).text(0),
            Spread.of_ratios(rates, one).text(2),
            _per_payout(case.turns, lambda turn: turn.cpu_seconds),
            Spread.of([turn.signing_share * 100 for turn in case.turns]).text(0),
            _per_payout(case.turns, lambda turn: turn.database_seconds),
            _per_payout(case.turns, lambda turn: turn.provider_seconds),
            Spread.of([turn.cores for turn in case.turns]).text(2),
        )


def _per_payout(turns: Sequence[Turn], seconds: Callable[[Turn], float]) -> str:
    return Spread.of([seconds(turn) / turn.payouts * _MILLI for turn in turns]).text(1)


def _logged(found: Scaling) -> Iterator[tuple[str, ...]]:
    for case in found.cases:
        yield (
            f"{case.workers}, {case.concurrency} in flight each",
            Spread.of([turn.log_bytes / turn.payouts for turn in case.turns]).text(0),
            Spread.of([turn.commits / turn.payouts for turn in case.turns]).text(1),
            Spread.of([turn.calls / turn.payouts for turn in case.turns]).text(1),
        )


def tables(found: Scaling) -> str:
    """Return what the workers took, as tables."""
    return "\n\n".join(_parts(found))


def _parts(found: Scaling) -> Iterator[str]:
    for concurrency, ends in _ENDS.items():
        heads = (
            f"Workers, {concurrency} in flight each",
            "payouts a second",
            "÷ one worker",
            "CPU ms a payout, workers",
            "signatures, % of it",
            "database",
            "provider",
            f"cores at work, of {CORES}",
        )
        yield f"Bound by {ends}:\n\n{table(heads, _speeds(found, concurrency))}"
    taken = ("Workers", "bytes of the log, a payout", "commits, a payout", "calls, a payout")
    yield table(taken, list(_logged(found)))
    store, most = found.store, max(case.workers for case in found.cases)
    of_tables, indexes = (size / store.payouts for size in (store.table_bytes, store.index_bytes))
    yield (
        f"On the disk after {store.payouts:,} payouts: {of_tables:,.0f} bytes of tables and "
        f"{indexes:,.0f} of indexes for each. {most} workers had {store.connections} "
        f"connections. Others wrote {found.noise:,.0f} bytes a second into the log."
    )
    night = Night(found.turns(_WAITING, 1), found.turns(_BUSY, 1), store)
    yield table((str(night), "how much", "from"), list(night.rows()))
