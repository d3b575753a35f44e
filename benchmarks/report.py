"""A run as text: tables that read well in a terminal, and in a README."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from attrs import asdict

from . import lag, startup
from .contenders import AIOHTTP, CONTENDERS, OURS, OURS_SIGNED
from .costs import CONCURRENCIES
from .results import LOOP, Results, goals
from .spread import Spread

_MEDIANS: Final = "Medians of {rounds} rounds, quartiles in brackets, seed {seed}."


def as_text(results: Results) -> str:
    """Give the whole report as GitHub's Markdown."""
    facts = ", ".join(f"{name} {value}" for name, value in results.facts.items())
    return "\n\n".join(
        [
            f"{_MEDIANS.format(rounds=results.rounds, seed=results.seed)} {facts}.",
            _goals(results),
            _costs(results),
            _lags(results),
            _startup(results),
            *_notes(results),
        ]
    )


def as_json(results: Results) -> dict[str, Any]:
    """Give the figures as plain JSON values, round by round."""
    return {
        "seed": results.seed,
        "rounds": results.rounds,
        "facts": dict(results.facts),
        "goals": [asdict(goal) for goal in goals(results)],
        "calls": [
            {**asdict(place), "turns_us": [asdict(cost) for cost in turns]}
            for place, turns in results.costs.of.items()
        ],
        "lag_ms": {
            server: {name: asdict(found) for name, found in lags.items()}
            for server, lags in results.lags.items()
        },
        "signatures": asdict(results.signing),
        "startup_ms": dict(results.startup),
        "json_us": dict(results.json),
    }


def _goals(results: Results) -> str:
    rows = [
        (goal.number, goal.figure, goal.target, goal.measured, "yes" if goal.is_reached else "no")
        for goal in goals(results)
    ]
    return table(("#", "Figure", "Goal", "Measured", "Reached"), rows)


def _costs(results: Results) -> str:
    rows: list[list[object]] = []
    for name in CONTENDERS:
        row: list[object] = [name]
        for concurrency in CONCURRENCIES:
            row.append(Spread.of(results.costs.cpu(LOOP, concurrency, name)).text(0))
            row.append(results.costs.ratio(LOOP, concurrency, name, AIOHTTP).text(2))
        rows.append(row)
    heads = [
        head
        for each in CONCURRENCIES
        for head in (f"CPU µs per call, {each} in flight", "÷ bare aiohttp")
    ]
    return table(("Contender", *heads), rows)


def _lags(results: Results) -> str:
    rows = [
        (
            f"{name}, {server}",
            Spread.of(found.p50).text(1),
            Spread.of(found.p99).text(1),
            f"{max(found.longest):.1f}",
            f"{max(found.held):.1f}",
        )
        for server, lags in results.lags.items()
        for name, found in lags.items()
    ]
    calls = f"Event-loop lag with {lag.CONCURRENCY} calls in flight, ms"
    return table((calls, "p50", "p99", "longest", "longest step of a call"), rows)


def _startup(results: Results) -> str:
    nothing = results.startup[startup.EMPTY]
    rows = [
        (name, Spread.of(taken).text(0), Spread.of_differences(taken, nothing).text(0))
        for name, taken in results.startup.items()
    ]
    return table(("Whole process, ms", "from start to end", "over an empty one"), rows)


def _notes(results: Results) -> Iterable[str]:
    calls = Spread.of(results.costs.cpu(LOOP, CONCURRENCIES[-1], OURS)).median
    for name, taken in results.json.items():
        spread = Spread.of(taken)
        yield (
            f"JSON by {name}, request written and answer read: {spread.text(1)} µs, "
            f"{spread.median / calls:.1%} of a call with signing off."
        )
    for loop in sorted({place.loop for place in results.costs.of} - {LOOP}):
        for name in (AIOHTTP, OURS, OURS_SIGNED):
            yield _on_another_loop(results, loop, name)


def _on_another_loop(results: Results, loop: str, name: str) -> str:
    each = [
        Spread.of_ratios(
            results.costs.cpu(loop, concurrency, name), results.costs.cpu(LOOP, concurrency, name)
        ).text(2)
        for concurrency in CONCURRENCIES
    ]
    flights = " and ".join(str(concurrency) for concurrency in CONCURRENCIES)
    return f"{loop} ÷ {LOOP}, {name}: {' and '.join(each)} at {flights} in flight."


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Draw a table as GitHub's Markdown."""
    lines = [heads, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    drawn = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([drawn[0], rule, *drawn[1:]])
