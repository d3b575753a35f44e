"""``python -m benchmarks.payouts``: what a journal costs, and what a batch takes as it grows."""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from attrs import frozen

import smartglocal_async as sg
from smartglocal_async.idempotency import Fingerprint

from .machine import Cores, facts, pin
from .payout_memory import Taken, measure
from .payout_work import (
    BY_HAND,
    CONCURRENCY,
    MEMORY,
    POSTGRESQL,
    SQLITE,
    WAYS,
    Payer,
    Place,
    has_postgres,
    orders,
)
from .provider import providing
from .report import table
from .spread import Spread

_SCOPE: Final = "https://provider.test|demo"
_CHUNK: Final = 1_000
_MILLI: Final = 1e3
_FLAT: Final = 1.1
_MOST_MB: Final = 120


@frozen(kw_only=True)
class _Size:
    """How much work a run does."""

    rounds: int
    payouts: int
    """Of each turn."""
    batches: tuple[int, int]
    """Payouts of the small batch and of the large one."""
    rows: int
    """Of the journal that is resumed."""


_LONG: Final = _Size(rounds=15, payouts=300, batches=(10_000, 1_000_000), rows=1_000_000)
_SHORT: Final = _Size(rounds=3, payouts=100, batches=(1_000, 5_000), rows=20_000)
Rates = Mapping[str, list[float]]
_Goal = tuple[object, str, str, str, bool]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.payouts", description=__doc__)
    add = parser.add_argument
    _ = add("--quick", action="store_true", help="less of everything, to see that it runs")
    _ = add(
        "--large", type=int, help=f"payouts of the large batch, {_LONG.batches[1]:,} if not said"
    )
    _ = add("--seed", type=int, help="of the order of turns; by default another each time")
    return parser.parse_args()


# --- Speed -----------------------------------------------------------------------------------


async def _measure_rates(
    ways: Mapping[str, object], place: Place, size: _Size, dice: random.Random
) -> Rates:
    """Let the ways take turns; give the payouts a second of each, by round."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    async with AsyncExitStack() as stack:
        payers = {name: await stack.enter_async_context(WAYS[name](place)) for name in ways}
        for payer in payers.values():
            await _turn(payer, CONCURRENCY)
        for number in range(size.rounds):
            _say(f"round {number + 1} of {size.rounds}")
            for name in dice.sample(list(payers), len(payers)):
                rates[name].append(await _turn(payers[name], size.payouts))
    return rates


async def _turn(pay: Payer, count: int) -> float:
    begun = time.perf_counter()
    paid = await pay(orders(count))
    if paid != count:
        raise SystemExit(f"{paid} of {count} were paid")
    return count / (time.perf_counter() - begun)


# --- Resuming --------------------------------------------------------------------------------


async def _fill(path: Path, rows: int) -> None:
    """Write a journal in which nothing was sent yet."""
    journal = sg.SQLiteJournal(path)
    await journal.open(_SCOPE)
    for first in range(0, rows, _CHUNK):
        news = [_new(number) for number in range(first, min(first + _CHUNK, rows))]
        _ = await journal.accept_many(news)
    await journal.close()


def _new(number: int) -> sg.NewEntry:
    nothing = Fingerprint((("amount_details.amount", b"digest"),))
    return sg.NewEntry(
        key=f"k-{number}", mode="manual", fingerprint=nothing, amount=100, currency="usd"
    )


async def _resume(path: Path) -> float:
    """Give the milliseconds from a journal that isn't open to the first payout that is taken up."""
    begun = time.perf_counter()
    journal = sg.SQLiteJournal(path)
    await journal.open(_SCOPE)
    (first,) = await journal.open_entries(1)
    _ = await journal.claim(first.key, "the benchmark", 30)
    taken = (time.perf_counter() - begun) * _MILLI
    await journal.close()
    return taken


def _measure_resuming(folder: Path, size: _Size) -> list[float]:
    path = folder / "resumed.db"
    asyncio.run(_fill(path, size.rows))
    return [asyncio.run(_resume(path)) for _ in range(size.rounds)]


# --- The report ------------------------------------------------------------------------------


def _rows_of(rates: Rates) -> Iterator[tuple[str, ...]]:
    for name, found in rates.items():
        yield (
            name,
            Spread.of(found).text(0),
            Spread.of_ratios(found, rates[MEMORY]).text(2),
            Spread.of_ratios(found, rates[BY_HAND]).text(2),
        )


def _goals(rates: Rates, taken: list[Taken], resumed: list[float], rows: int) -> Iterator[_Goal]:
    for number, name, least in ((8, SQLITE, 0.9), (9, POSTGRESQL, 0.85)):
        if name in rates:
            ratio = Spread.of_ratios(rates[name], rates[MEMORY])
            figure = f"payouts a second, {name} ÷ a journal in memory, {CONCURRENCY} in flight"
            yield number, figure, f"≥ {least}", ratio.text(2), ratio.median >= least
    small, large = taken
    growth = large.peak_mb / small.peak_mb
    figure = f"peak memory, {large.payouts:,} payouts ÷ {small.payouts:,}"
    words = f"{growth:.2f} ({small.peak_mb:.0f} and {large.peak_mb:.0f} MB)"
    is_flat = growth <= _FLAT and large.peak_mb <= _MOST_MB
    yield 7, figure, f"≤ {_FLAT}, and ≤ {_MOST_MB} MB", words, is_flat
    cost = large.cpu_us / small.cpu_us
    figure = f"CPU of each payout, {large.payouts:,} ÷ {small.payouts:,}"
    words = f"{cost:.2f} ({small.cpu_us:.0f} and {large.cpu_us:.0f} µs)"
    yield 11, figure, "≤ 1.1", words, cost <= _FLAT
    spread = Spread.of(resumed)
    figure = f"SQLiteJournal of {rows:,} open rows, from opening it to the first one taken up"
    yield "-", figure, "≤ 1000 ms", f"{spread.text(0)} ms", spread.median <= _MILLI


def _ways() -> Mapping[str, object]:
    if asyncio.run(has_postgres()):
        return WAYS
    _say("without PostgreSQL: there is none at SMARTGLOCAL_TEST_POSTGRES, nor at its default")
    return {name: way for name, way in WAYS.items() if name != POSTGRESQL}


def _say(step: str) -> None:
    print(f"... {step}", file=sys.stderr, flush=True)


def main() -> None:
    """Run the benchmark as the command line asks."""
    said = _arguments()
    size = _SHORT if said.quick else _LONG
    seed: int = random.randrange(10_000) if said.seed is None else said.seed  # noqa: S311 - the order of turns guards nothing
    dice, cores, pem = random.Random(seed), Cores.split(), sg.PrivateKey.generate().pem()  # noqa: S311
    with tempfile.TemporaryDirectory() as folder:
        _say("payouts a second")
        with providing(cores.server, pem) as url:
            pin(cores.client)
            place = Place(url, pem, Path(folder), cores.server)
            rates = asyncio.run(_measure_rates(_ways(), place, size, dice))
        pin(*cores.every)
        _say("a journal that is resumed")
        resumed = _measure_resuming(Path(folder), size)
    small, large = size.batches
    taken = [_measured(number) for number in (small, said.large or large)]
    named = ", ".join(f"{name} {value}" for name, value in facts(cores).items())
    print(f"Medians of {size.rounds} rounds, quartiles in brackets, seed {seed}. {named}.\n")
    verdicts = [
        (*goal[:-1], "yes" if goal[-1] else "no")
        for goal in _goals(rates, taken, resumed, size.rows)
    ]
    print(table(("#", "Figure", "Goal", "Measured", "Reached"), verdicts), end="\n\n")
    heads = (f"{size.payouts} payouts, {CONCURRENCY} in flight", "payouts a second")
    print(table((*heads, "÷ in memory", "÷ by hand"), list(_rows_of(rates))))


def _measured(payouts: int) -> Taken:
    _say(f"a batch of {payouts:,}")
    return measure(payouts)


if __name__ == "__main__":
    main()
