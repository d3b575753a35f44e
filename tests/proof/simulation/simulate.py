"""Run a seed and print what happened, or run many and print those in which a check failed.

python tests/proof/simulation/simulate.py 17                 what happens in seed 17
python tests/proof/simulation/simulate.py 17 "BUG"           the same, with a planted bug
python tests/proof/simulation/simulate.py 0 100000           100,000 seeds from 0, on all cores
"""

import itertools
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from typing import Final

from attrs import frozen
from sim_bugs import BUGS
from sim_worker import Code
from sim_world import World

import smartglocal_async as sg
from smartglocal_async.emulator import Reaction
from smartglocal_async.journal.states import Step

_CHUNK: Final = 100
_REPORTED: Final = 1_000
"""After how many seeds the progress is printed."""
_HERE: Final = "tests/proof/simulation/simulate.py"


@frozen
class SeedResult:
    """The result of a seed."""

    failure: str | None
    payouts: int
    """How many payouts in two steps there were, if the provider refuses used keys, nothing was
    halted, and no other journal used their keys."""
    unknown: int
    """How many of these ended unknown."""


def run_of(seed: int, code: Code | None = None) -> SeedResult:
    """Run a seed."""
    world, failure = World(seed, code or Code()), None
    try:
        world.run()
    except Exception as error:  # noqa: BLE001 - any error is reported with its seed
        failure = f"seed {seed}: {error!r}; see it with: python {_HERE} {seed}"
    entries = [
        entry
        for merchant in world.merchants
        if world.plan.rules.idempotency_header is Reaction.REFUSE
        if merchant.halt is None and not world.plan.shares_keys
        if world.plan.mode is not sg.Mode.ONE_STEP
        for entry in merchant.entries
    ]
    return SeedResult(failure, len(entries), sum(entry.step is Step.UNKNOWN for entry in entries))


def failure_of(seed: int, code: Code | None = None) -> str | None:
    """Run a seed; return what failed and the command that shows it again, or None."""
    return run_of(seed, code).failure


def runs(seeds: Sequence[int]) -> list[SeedResult]:
    """Run seeds."""
    return [run_of(seed) for seed in seeds]


def show(seed: int, code: Code) -> bool:
    """Print a run; return whether every check passed."""
    world = World(seed, code)
    verdict = "every check passed"
    try:
        world.run()
    except Exception as error:  # noqa: BLE001 - printed below the events that led to it
        verdict = f"BROKEN: {error}"
    plan = world.plan
    lines = [f"{plan.mode}, {plan.workers} at once, {plan.lives} lives", str(plan.rules)]
    lines += [
        f"{at:12.4f}  {who!s:8} {' '.join(map(str, what))}" for at, who, *what in world.events
    ]
    sys.stdout.write("\n".join([*lines, verdict, ""]))
    return verdict.startswith("every")


def run_many(first: int, number: int) -> bool:
    """Run many seeds on all cores; return whether every check passed."""
    started, done, broken, payouts, unknown = time.monotonic(), 0, 0, 0, 0

    def report() -> None:
        seconds = time.monotonic() - started
        sys.stdout.write(f"{done} seeds from {first}: {broken} broken, in {seconds:.0f} s\n")
        sys.stdout.flush()

    every = range(first, first + number)
    chunks = [every[place : place + _CHUNK] for place in range(0, number, _CHUNK)]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        for result in itertools.chain.from_iterable(pool.imap(runs, chunks)):
            done += 1
            payouts, unknown = payouts + result.payouts, unknown + result.unknown
            if result.failure is not None:
                broken += 1
                sys.stdout.write(f"{result.failure}\n")
                sys.stdout.flush()
            if done % _REPORTED == 0 and done < number:
                report()
    report()
    verdict = "payouts ended unknown where used keys are refused"
    sys.stdout.write(f"{unknown} of {payouts} {verdict}\n")
    return not broken


def main(arguments: Sequence[str]) -> bool:
    """Run the command line."""
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
