"""``python -m benchmarks``: measure, print the tables, write JSON and a plot if asked to."""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

from smartglocal_async import PrivateKey

from .contenders import Ground
from .costs import measure_costs
from .documents import measure_json
from .lag import ANSWER_SECONDS, Lag, measure_lag
from .machine import Cores, event_loops, facts, pin
from .plot import as_svg
from .report import as_json, as_text
from .results import Results
from .server import serving
from .signatures import count_signatures
from .startup import measure_startup

_ROUNDS: Final = 15
_MOST_ROUNDS: Final = 1_000


@frozen(kw_only=True)
class _Size:
    """How much work a run does."""

    rounds: int
    calls: dict[int, int]
    """Calls of a turn, by how many are in flight."""
    lag_seconds: float
    orders: int
    json_repeats: int


_LONG: Final = _Size(
    rounds=_ROUNDS, calls={1: 150, 50: 500}, lag_seconds=0.6, orders=100, json_repeats=5_000
)
_SHORT: Final = _Size(
    rounds=3, calls={1: 60, 50: 200}, lag_seconds=0.3, orders=20, json_repeats=1_000
)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    _ = add("--rounds", type=int, help=f"{_ROUNDS} by default; {_SHORT.rounds} with --quick")
    _ = add("--quick", action="store_true", help="less of everything, to see that it runs")
    _ = add("--seed", type=int, help="of the order of turns; by default another each time")
    _ = add("--json", type=Path, metavar="FILE", help="write every round's figures")
    _ = add("--svg", type=Path, metavar="FILE", help="write a plot")
    said = parser.parse_args()
    if said.rounds is not None and not 0 < said.rounds <= _MOST_ROUNDS:
        parser.error(f"--rounds must be from 1 to {_MOST_ROUNDS}")
    return said


def _measure(size: _Size, rounds: int, seed: int, folder: Path) -> Results:
    # The order of turns guards nothing.
    dice, cores, pem = random.Random(seed), Cores.split(), PrivateKey.generate().pem()  # noqa: S311
    _say(f"seed {seed}, {rounds} rounds, {cores}")
    pin(cores.client)
    _say("processes that start")
    key_file = folder / "key.pem"
    _ = key_file.write_bytes(pem)
    started = measure_startup(key_file, rounds, dice)
    _say("CPU per call")
    with serving(cores.server) as server:
        costs = measure_costs(Ground(server, pem), event_loops(), rounds, size.calls, dice)
    written = measure_json(rounds, size.json_repeats, dice)
    lags = _measure_lags(cores, pem, rounds, size.lag_seconds, dice)
    _say("signatures per call")
    return Results(
        seed=seed,
        rounds=rounds,
        facts=facts(cores),
        costs=costs,
        lags=lags,
        signing=count_signatures(size.orders),
        startup=started,
        json=written,
    )


def _measure_lags(
    cores: Cores, pem: bytes, rounds: int, seconds: float, dice: random.Random
) -> dict[str, Mapping[str, Lag]]:
    pin(*cores.every)  # The threads that sign may have every core, as they do elsewhere.
    lags: dict[str, Mapping[str, Lag]] = {}
    servers = {
        f"answered after {ANSWER_SECONDS * 1_000:.0f} ms": ANSWER_SECONDS,
        "answered at once": 0.0,  # Then the loop is never idle.
    }
    for answers, delay_seconds in servers.items():
        _say(f"event-loop lag, {answers}")
        with serving(cores.server, delay_seconds) as server:
            lags[answers] = measure_lag(Ground(server, pem), rounds, seconds, dice)
    return lags


def _say(step: str) -> None:
    print(f"... {step}", file=sys.stderr, flush=True)


def main() -> None:
    """Run the benchmarks as the command line asks."""
    said = _arguments()
    size: _Size = _SHORT if said.quick else _LONG
    seed: int = random.randrange(10_000) if said.seed is None else said.seed  # noqa: S311 - as above
    with tempfile.TemporaryDirectory() as folder:
        results = _measure(size, said.rounds or size.rounds, seed, Path(folder))
    print(as_text(results))
    if said.json is not None:
        _ = said.json.write_text(json.dumps(as_json(results), indent=1) + "\n", "utf-8")
    if said.svg is not None:
        _ = said.svg.write_text(as_svg(results), "utf-8")


if __name__ == "__main__":
    main()
