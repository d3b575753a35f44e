"""Run a seed and print what happened, or run many and print which ones broke something.

python tests/simulation/simulate.py 17                 what happens in seed 17
python tests/simulation/simulate.py 17 "BUG"           the same, with a planted bug
python tests/simulation/simulate.py 0 100000           100,000 seeds from 0, on all cores
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from typing import Final

from sim_bugs import BUGS
from sim_worker import Code
from sim_world import World

_CHUNK: Final = 100
_HERE: Final = "tests/simulation/simulate.py"


def failure_of(seed: int, code: Code | None = None) -> str | None:
    """Run a seed; give what broke and how to see it again, or None."""
    world = World(seed, code or Code())
    try:
        world.run()
    except Exception as error:  # noqa: BLE001 - whatever it is, its seed has to be told
        return f"seed {seed}: {error!r}; see it with: python {_HERE} {seed}"
    return None


def failures(seeds: Sequence[int]) -> list[str]:
    """Run seeds; give what broke."""
    return [failure for seed in seeds if (failure := failure_of(seed)) is not None]


def show(seed: int, code: Code) -> bool:
    """Print a run; say whether it held."""
    world = World(seed, code)
    words = "everything held"
    try:
        world.run()
    except Exception as error:  # noqa: BLE001 - it is printed below what led to it
        words = f"BROKEN: {error}"
    plan = world.plan
    lines = [f"{plan.mode}, {plan.workers} at once, {plan.lives} lives", str(plan.rules)]
    lines += [
        f"{at:12.4f}  {who!s:8} {' '.join(map(str, what))}" for at, who, *what in world.events
    ]
    sys.stdout.write("\n".join([*lines, words, ""]))
    return words.startswith("every")


def run_many(first: int, number: int) -> bool:
    """Run many seeds on all cores; say whether all held."""
    begun, broken = time.monotonic(), 0
    every = range(first, first + number)
    chunks = [every[place : place + _CHUNK] for place in range(0, number, _CHUNK)]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        for found in pool.imap_unordered(failures, chunks):
            for failure in found:
                broken += 1
                sys.stdout.write(f"{failure}\n")
                sys.stdout.flush()
    seconds = time.monotonic() - begun
    sys.stdout.write(f"{number} seeds from {first}: {broken} broken, in {seconds:.0f} s\n")
    return not broken


def main(arguments: Sequence[str]) -> bool:
    """Do what the command line says."""
    match arguments:
        case [seed]:
            return show(int(seed), Code())
        case [seed, name] if name in BUGS:
            return show(int(seed), BUGS[name])
        case [first, number]:
            return run_many(int(first), int(number))
        case _:
            sys.stdout.write(f"{__doc__}\nBUG is one of: {', '.join(BUGS)}\n")
            return False


if __name__ == "__main__":
    sys.exit(not main(sys.argv[1:]))
