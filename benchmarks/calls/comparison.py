"""The contenders side by side: CPU, instructions and calls a second, unsigned and signed."""

from collections.abc import Iterator, Sequence
from typing import Final

from attrs import field, frozen

from ..goals import Goal, Profile, table
from ..instructions import count, is_countable
from ..machine import say
from ..server import serving
from ..setting import Setting
from ..spread import Spread
from .contenders import AIOHTTP, BY_HAND, CONTENDERS, OURS, OURS_REUSED, STRIPE, Contender
from .costs import Costs, Turn, measure_turns
from .documents import measure_json
from .worker import Entrant

_IN_FLIGHT: Final = (1, 50)
_MOST_IN_FLIGHT: Final = 200
_LONG: Final = {1: 150, 50: 500, 200: 800}
_SHORT: Final = {1: 30, 50: 100, 200: 200}


@frozen(kw_only=True)
class Comparison:
    """What a run found out about calls."""

    costs: Costs
    instructions: dict[str, float]
    """Thousands for each call with signing off, by contender; empty where they can't be counted."""
    missing: list[str] = field(factory=list[str])
    """Contenders that aren't installed."""
    json_us: dict[str, list[float]] = field(factory=dict[str, list[float]])
    """A request written and an answer read, by library and round."""


def signed(contender: Contender) -> str:
    """Return the label of a contender that signs."""
    return f"{contender.name}, RSA-2048"


def measure(setting: Setting) -> Comparison:
    """Return what a call costs each contender that is installed."""
    installed = [each for each in CONTENDERS.values() if each.is_installed]
    missing = [each.name for each in CONTENDERS.values() if not each.is_installed]
    for name in missing:
        say(f"{name} is passed over: it isn't installed")
    calls = _SHORT if setting.is_quick else _LONG
    turns = [
        *(Turn(concurrency=each, calls=calls[each]) for each in _IN_FLIGHT),
        Turn(concurrency=_MOST_IN_FLIGHT, calls=calls[_MOST_IN_FLIGHT], on_all_cores=True),
    ]
    with serving(setting.cores.server) as server:
        entrants = [
            entrant
            for each in installed
            for entrant in (
                Entrant(label=each.name, contender=each.name, server=server),
                Entrant(
                    label=signed(each),
                    contender=each.name,
                    server=server,
                    key_file=setting.key_file,
                ),
            )
        ]
        costs = measure_turns(setting, entrants, turns)
        instructions = _count(installed, server)
    repeats = 1_000 if setting.is_quick else 5_000
    rounds = setting.processes * setting.rounds
    return Comparison(
        costs=costs,
        instructions=instructions,
        missing=missing,
        json_us=measure_json(rounds, repeats, setting.order),
    )


def _count(contenders: Sequence[Contender], server: str) -> dict[str, float]:
    if not is_countable():
        say("instructions are passed over: valgrind isn't installed")
        return {}
    say("instructions of a call")
    counts = count(contenders, server)
    return {each.name: found for each, found in zip(contenders, counts, strict=True)}


def goals(found: Comparison) -> Iterator[Goal]:
    """Yield the goals 1 to 4."""
    counted, costs = found.instructions, found.costs
    if counted:
        yield _goal(
            1,
            "instructions of a call, signing off, record reused ÷ bare aiohttp",
            Spread.of([counted[OURS_REUSED.name] / counted[AIOHTTP.name]]),
            1.25,
            Profile.REUSED,
        )
        yield _goal(
            2,
            "the same with a new record and an own key ÷ by hand",
            Spread.of([counted[OURS.name] / counted[BY_HAND.name]]),
            0.75,
            Profile.UNSIGNED,
        )
    for contender, words in ((OURS, "new record and own key"), (OURS_REUSED, "record reused")):
        for in_flight in _IN_FLIGHT:
            yield _goal(
                3,
                f"CPU of a signed call, {words}, ÷ (bare aiohttp + one signature), "
                f"{in_flight} in flight",
                costs.cpu_ratio(signed(contender), signed(AIOHTTP), in_flight),
                1.10,
                Profile.SIGNED,
            )
    ratio = costs.rate_ratio(signed(OURS), signed(BY_HAND), _MOST_IN_FLIGHT)
    yield Goal(
        number=4,
        figure=f"signed calls a second, {_MOST_IN_FLIGHT} in flight, all cores ÷ by hand, inline",
        target="≥ 1.4",
        measured=ratio.text(2),
        is_reached=ratio.median >= 1.4,  # noqa: PLR2004 - the goal
        profile=Profile.SIGNED,
    )


def _goal(number: int, figure: str, ratio: Spread, most: float, profile: Profile) -> Goal:
    return Goal(
        number=number,
        figure=figure,
        target=f"≤ {most:.2f}",
        measured=ratio.text(2),
        is_reached=ratio.median <= most,
        profile=profile,
    )


def tables(found: Comparison) -> str:
    """Return a table of the unsigned calls, one of the signed, and what each leaves out."""
    contenders = [each for each in CONTENDERS.values() if each.name in found.costs.labels()]
    left_out = table(
        ("Contender", "What it leaves out"), [(each.name, each.leaves_out) for each in contenders]
    )
    missing = [f"Not installed, and passed over: {', '.join(found.missing)}."]
    return "\n\n".join(
        [
            f"Signing off:\n\n{_unsigned(found, contenders)}",
            f"With an RSA-2048 signature, inline but for ours:\n\n{_signed(found, contenders)}",
            left_out,
            *(missing if found.missing else []),
            *_json_notes(found),
        ]
    )


def _unsigned(found: Comparison, contenders: Sequence[Contender]) -> str:
    rows: list[list[object]] = []
    for each in contenders:
        counted = found.instructions.get(each.name)
        bare = found.instructions.get(AIOHTTP.name, 1.0)
        words = ("-", "-") if counted is None else (f"{counted:,.0f}", f"{counted / bare:.2f}")
        rows.append([each.name, *words, *_costs(found.costs, each.name, AIOHTTP.name)])
    return table(("Contender", "k-instr", "÷ bare", *_heads("bare")), rows)


def _signed(found: Comparison, contenders: Sequence[Contender]) -> str:
    rows = [[each.name, *_costs(found.costs, signed(each), signed(AIOHTTP))] for each in contenders]
    return table(("Contender", *_heads("bare + signature")), rows)


def _heads(under: str) -> list[str]:
    heads = [
        head
        for each in _IN_FLIGHT
        for head in (f"CPU µs, {each} in flight", f"÷ {under}", "calls a second")
    ]
    return [*heads, f"calls a second, {_MOST_IN_FLIGHT} in flight, all cores", "peak MB"]


def _costs(costs: Costs, label: str, under: str) -> Iterator[str]:
    for in_flight in _IN_FLIGHT:
        row = costs.row(label, in_flight)
        yield row.cpu.text(0)
        yield costs.cpu_ratio(label, under, in_flight).text(2)
        yield f"{row.rate.median:,.0f}"
    row = costs.row(label, _MOST_IN_FLIGHT)
    yield f"{row.rate.median:,.0f}"
    yield f"{row.peak_mb:.0f}"


def _json_notes(found: Comparison) -> Iterator[str]:
    call = found.costs.row(OURS.name, _IN_FLIGHT[-1]).cpu.median
    for name, taken in found.json_us.items():
        spread = Spread.of(taken)
        yield (
            f"JSON by {name}, request written and answer read: {spread.text(1)} µs, "
            f"{spread.median / call:.1%} of a call with signing off."
        )


def for_readme(found: Comparison) -> str:
    """Return CPU and calls a second of a signed call beside two others, for the README."""
    costs, in_flight = found.costs, _IN_FLIGHT[-1]
    others = [each for each in (OURS, BY_HAND, STRIPE) if signed(each) in costs.labels()]
    cpu = [
        f"{_WORDS[each.name]}{costs.row(signed(each), in_flight).cpu.median:.0f} µs"
        for each in others
    ]
    rates = [
        f"{_WORDS[each.name]}{costs.row(signed(each), _MOST_IN_FLIGHT).rate.median:,.0f}"
        for each in others
    ]
    return "\n".join(
        [
            f"| CPU per signed call (RSA-2048), {in_flight} in flight | {'; '.join(cpu)} |",
            f"| Signed calls a second, {_MOST_IN_FLIGHT} in flight | {'; '.join(rates)} |",
        ]
    )


_WORDS: Final = {
    OURS.name: "this package ",
    BY_HAND.name: "own code on aiohttp and tenacity ",
    STRIPE.name: "stripe-python on aiohttp ",
}
