"""``python -m benchmarks.cluster``: what more workers bring, over one journal in PostgreSQL."""

import argparse
import asyncio
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from attrs import frozen

from smartglocal_async import PrivateKey

from .cluster_fleet import Fleet, Store, Turn, fleet, noise
from .cluster_night import Night
from .machine import Cores, facts
from .payout_work import has_postgres
from .provider import providing
from .report import table
from .spread import Spread

_LATENCY_SECONDS: Final = 0.05
_WORKERS: Final = (1, 2, 4, 8)
_MILLI: Final = 1e3
_LEAST: Final = 1.8


@frozen
class _Load:
    """How many payouts each worker works on at once, and so what ends first."""

    concurrency: int
    ends: str


_WAITING: Final = _Load(8, "the provider's answers")
_BUSY: Final = _Load(64, "the cores")


@frozen(kw_only=True)
class _Size:
    """How much work a run does."""

    rounds: int
    waiting: int
    """Payouts for each worker of a turn that waits for answers."""
    busy: int
    """Payouts of a turn that is bound by the cores, however many workers there are."""

    def payouts(self, load: _Load, workers: int) -> int:
        return self.busy if load is _BUSY else self.waiting * workers


_LONG: Final = _Size(rounds=15, waiting=48, busy=384)
_SHORT: Final = _Size(rounds=3, waiting=16, busy=64)
_Turns = Mapping[tuple[_Load, int], list[Turn]]


@frozen(kw_only=True)
class _Found:
    """What a run found."""

    turns: _Turns
    store: Store
    noise: float


async def _measure(url: str, pem: bytes, size: _Size, dice: random.Random) -> _Found:
    """Let the numbers of workers take turns."""
    cases = [(load, workers) for load in (_WAITING, _BUSY) for workers in _WORKERS]
    turns: dict[tuple[_Load, int], list[Turn]] = {case: [] for case in cases}
    async with fleet(url, pem, max(_WORKERS)) as ours:
        others = await noise(ours, 1.0)
        _ = await _turn(ours, size, _BUSY, max(_WORKERS))  # What is made once, is made here.
        for number in range(size.rounds):
            _say(f"round {number + 1} of {size.rounds}")
            for load, workers in dice.sample(cases, len(cases)):
                turns[load, workers].append(await _turn(ours, size, load, workers))
        return _Found(turns=turns, store=await ours.store(), noise=others)


async def _turn(ours: Fleet, size: _Size, load: _Load, workers: int) -> Turn:
    return await ours.turn(workers, size.payouts(load, workers), load.concurrency)


# --- The report ------------------------------------------------------------------------------


def _rates(turns: Sequence[Turn]) -> list[float]:
    return [turn.rate for turn in turns]


def _goal(turns: _Turns) -> tuple[str, ...]:
    one, two = (_rates(turns[_WAITING, workers]) for workers in (1, 2))
    ratio = Spread.of_ratios(two, one)
    figure = f"payouts a second, two workers ÷ one, {_WAITING.concurrency} in flight each"
    return "12", figure, f"≥ {_LEAST}", ratio.text(2), "yes" if ratio.median >= _LEAST else "no"


def _speeds(turns: _Turns, load: _Load) -> Iterator[tuple[str, ...]]:
    one = _rates(turns[load, 1])
    for workers in _WORKERS:
        found = turns[load, workers]
        rates = _rates(found)
        yield (
            str(workers),
            Spread.of(rates).text(0),
            Spread.of_ratios(rates, one).text(2),
            _per_payout(found, lambda turn: turn.cpu_seconds),
            Spread.of([turn.signing_share * 100 for turn in found]).text(0),
            _per_payout(found, lambda turn: turn.database_seconds),
            _per_payout(found, lambda turn: turn.provider_seconds),
            Spread.of([turn.cores for turn in found]).text(2),
        )


def _per_payout(found: Sequence[Turn], seconds: Callable[[Turn], float]) -> str:
    return Spread.of([seconds(turn) / turn.payouts * _MILLI for turn in found]).text(1)


def _logged(turns: _Turns) -> Iterator[tuple[str, ...]]:
    for (load, workers), found in turns.items():
        yield (
            f"{workers}, {load.concurrency} in flight each",
            Spread.of([turn.log_bytes / turn.payouts for turn in found]).text(0),
            Spread.of([turn.commits / turn.payouts for turn in found]).text(1),
            Spread.of([turn.calls / turn.payouts for turn in found]).text(1),
        )


def _report(found: _Found) -> Iterator[str]:
    yield table(("#", "Figure", "Goal", "Measured", "Reached"), [_goal(found.turns)])
    for load in (_WAITING, _BUSY):
        heads = (
            f"Workers, {load.concurrency} in flight each",
            "payouts a second",
            "÷ one worker",
            "CPU ms a payout, workers",
            "signatures, % of it",
            "database",
            "provider",
            f"cores at work, of {os.cpu_count()}",
        )
        yield f"Bound by {load.ends}:\n\n{table(heads, _speeds(found.turns, load))}"
    taken = ("Workers", "bytes of the log, a payout", "commits, a payout", "calls, a payout")
    yield table(taken, list(_logged(found.turns)))
    store = found.store
    tables, indexes = (size / store.payouts for size in (store.table_bytes, store.index_bytes))
    yield (
        f"On the disk after {store.payouts:,} payouts: {tables:,.0f} bytes of tables and "
        f"{indexes:,.0f} of indexes for each. {max(_WORKERS)} workers had {store.connections} "
        f"connections. Others wrote {found.noise:,.0f} bytes a second into the log."
    )
    night = Night(found.turns[_WAITING, 1], found.turns[_BUSY, 1], store)
    yield table((str(night), "how much", "from"), list(night.rows()))


def _say(step: str) -> None:
    print(f"... {step}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    add = parser.add_argument
    _ = add("--quick", action="store_true", help="less of everything, to see that it runs")
    _ = add("--seed", type=int, help="of the order of turns; by default another each time")
    return parser.parse_args()


def main() -> None:
    """Run the benchmark as the command line asks."""
    said = _arguments()
    size = _SHORT if said.quick else _LONG
    seed: int = random.randrange(10_000) if said.seed is None else said.seed  # noqa: S311 - the order of turns guards nothing
    if not asyncio.run(has_postgres()):
        sys.exit("there is no PostgreSQL at SMARTGLOCAL_TEST_POSTGRES, nor at its default")
    pem = PrivateKey.generate().pem()
    with providing(None, pem, _LATENCY_SECONDS) as url:
        dice = random.Random(seed)  # noqa: S311 - as above
        found = asyncio.run(_measure(url, pem, size, dice))
    known = facts(Cores.split()) | {"cores": f"{os.cpu_count()}, not pinned"}
    named = ", ".join(f"{name} {value}" for name, value in known.items())
    print(
        f"Medians of {size.rounds} rounds, quartiles in brackets, seed {seed}; "
        f"each answer comes {_LATENCY_SECONDS * _MILLI:.0f} ms later. {named}."
    )
    for part in _report(found):
        print(f"\n{part}")


if __name__ == "__main__":
    main()
