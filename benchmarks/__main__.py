"""``python -m benchmarks``: measure, print goals and tables, and write them into the pages."""

import argparse
import random
from pathlib import Path
from typing import Final

from .machine import facts, in_short, say
from .parts import PARTS
from .payouts import batch
from .profiles import profile
from .report import Report
from .setting import Setting, setting

_PROCESSES, _ROUNDS = 3, 5
_MOST_ROUNDS: Final = 1_000


def _arguments() -> argparse.Namespace:
    parts = "\n".join(f"  {name:11} {part.about}" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"Measure, and print goals and tables as Markdown.\n\nparts:\n{parts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    _ = add("parts", nargs="*", metavar="PART", help="what to measure; everything by default")
    _ = add("--quick", action="store_true", help="do less of everything, to see that it runs")
    _ = add("--processes", type=int, help=f"for each figure; {_PROCESSES} by default")
    _ = add("--rounds", type=int, help=f"of each process; {_ROUNDS} by default")
    _ = add("--payouts", type=int, metavar="N", help="of the batch; 1,000,000 by default")
    _ = add("--seed", type=int, help="of the order of turns; another each time by default")
    _ = add(
        "--results",
        type=Path,
        metavar="FILE",
        help="write every figure to this file after each part; a part that it has isn't measured",
    )
    _ = add(
        "--write",
        action="store_true",
        help="put the tables into docs/explanation/ and README.md",
    )
    given = parser.parse_args()
    if unknown := sorted(set(given.parts) - PARTS.keys()):
        parser.error(f"no such part: {', '.join(unknown)}")
    for name in ("processes", "rounds"):
        number = getattr(given, name)
        if number is not None and not 0 < number <= _MOST_ROUNDS:
            parser.error(f"--{name} must be from 1 to {_MOST_ROUNDS}")
    return given


def _measure(report: Report, name: str, place: Setting, payouts: int | None, how: str) -> None:
    """Measure one part, and note how; where a goal is missed, also profile what is in the way."""
    part = PARTS[name]
    found = batch.measure(place, payouts) if name == "batch" else part.measure(place)
    report.found[name], report.facts[name] = found, how
    if found is None:
        return
    missed = [goal.profile for goal in part.goals(found) if not goal.is_reached]
    for needed in dict.fromkeys(missed):
        if needed is not None and needed not in report.profiles:
            report.profiles[str(needed)] = profile(needed, place)


def main() -> None:
    """Run the benchmarks as the command line asks."""
    given = _arguments()
    seed: int = random.randrange(10_000) if given.seed is None else given.seed  # noqa: S311 - the order of turns guards nothing
    processes: int = given.processes or (1 if given.quick else _PROCESSES)
    rounds: int = given.rounds or (2 if given.quick else _ROUNDS)
    short = "A short run, to see that it runs. " if given.quick else ""
    how = (
        f"{short}Medians of {processes} processes with {rounds} rounds each, quartiles in brackets."
    )
    results: Path | None = given.results
    report = Report.load(results) if results is not None and results.exists() else Report()
    names: list[str] = given.parts or list(PARTS)
    with setting(seed=seed, is_quick=given.quick, processes=processes, rounds=rounds) as place:
        say(f"seed {seed}, {place.cores}")
        # Before anything runs, as the load is then that of others.
        how, machine = f"{how} {facts(place.cores)}", in_short()
        for name in names:
            if name not in report.found:
                report.machine = machine
                _measure(report, name, place, given.payouts, how)
                if results is not None:
                    report.save(results)
    for name in names:
        print(f"\n## {name}\n\n{report.part(name)}")
    print(f"\n## Goals\n\n{report.all_goals(*names)}")
    if report.found.keys() >= {"calls", "payouts", "batch"}:
        print(f"\n## README\n\n{report.for_readme()}")
    if given.write:
        report.write()


if __name__ == "__main__":
    main()
