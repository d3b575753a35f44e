"""All that one run found, and how it stands to the goals."""

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from . import lag, startup
from .contenders import AIOHTTP, AIOHTTP_SIGNED, OURS, OURS_SIGNED
from .costs import CONCURRENCIES, Costs
from .signatures import ATTEMPTS, Signing
from .spread import Spread

LOOP: Final = "asyncio"
"""The event loop that the goals are measured on."""


@frozen(kw_only=True)
class Results:
    """What one run found."""

    seed: int
    rounds: int
    facts: Mapping[str, str]
    costs: Costs
    lags: Mapping[str, Mapping[str, lag.Lag]]
    """By how the server answers, then by contender."""
    signing: Signing
    startup: Mapping[str, list[float]]
    json: Mapping[str, list[float]]


@frozen
class Goal:
    """A figure, beside what it should be."""

    number: int
    figure: str
    target: str
    measured: str
    is_reached: bool


def goals(results: Results) -> list[Goal]:
    """Give the goals in order, each with its verdict."""
    return [
        *(_cost_goal(results.costs, 1, each) for each in CONCURRENCIES),
        *(_cost_goal(results.costs, 2, each) for each in CONCURRENCIES),
        *(_lag_goal(server, lags[OURS_SIGNED]) for server, lags in results.lags.items()),
        _held_goal([lags[OURS_SIGNED] for lags in results.lags.values()]),
        _signing_goal(results.signing),
        _startup_goal(results, startup.IMPORTED, startup.EMPTY),
        _startup_goal(results, startup.BUILT, startup.AIOHTTP),
    ]


def _cost_goal(costs: Costs, number: int, concurrency: int) -> Goal:
    ours, bare, most, figure = (
        (OURS, AIOHTTP, 1.25, "signing off ÷ bare aiohttp")
        if number == 1
        else (OURS_SIGNED, AIOHTTP_SIGNED, 1.12, "RSA-2048 ÷ bare aiohttp + one signature")
    )
    ratio = costs.ratio(LOOP, concurrency, ours, bare)
    return Goal(
        number,
        f"client CPU per call, {figure}, {concurrency} in flight",
        f"≤ {most}",
        ratio.text(2),
        ratio.median <= most,
    )


def _lag_goal(server: str, found: lag.Lag) -> Goal:
    p99, most = Spread.of(found.p99), 10
    return Goal(
        4,
        f"event-loop lag p99, {lag.CONCURRENCY} signed calls, {server}",
        f"≤ {most} ms",
        f"{p99.text(1)} ms",
        p99.median <= most,
    )


def _held_goal(found: list[lag.Lag]) -> Goal:
    held, most = max(max(each.held) for each in found), 50
    return Goal(
        4,
        f"longest step of one call, {lag.CONCURRENCY} signed calls",
        f"≤ {most} ms",
        f"{held:.1f} ms of CPU at most",
        held <= most,
    )


def _signing_goal(signing: Signing) -> Goal:
    calls = signing.orders
    is_exact = signing.attempts == ATTEMPTS * calls and signing.sessions == calls
    return Goal(
        5,
        f"signatures per call over {ATTEMPTS} attempts, {calls} calls",
        "exactly 1",
        f"{signing.per_call:g} ({signing.attempts} attempts, {signing.sessions} sessions)",
        is_exact and signing.signatures == signing.different == calls,
    )


def _startup_goal(results: Results, ours: str, bare: str) -> Goal:
    more, most = Spread.of_differences(results.startup[ours], results.startup[bare]), 60
    figure = f"{ours}, over {bare}"
    return Goal(10, figure, f"≤ {most} ms", f"{more.text(0)} ms", more.median <= most)
