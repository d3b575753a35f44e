"""``python -m benchmarks.instructions``: user-space instructions of one call, counted by callgrind.

A time depends on what else the machine does; a count of instructions repeats within 1 %. Each
contender runs in a process of its own under ``valgrind --tool=callgrind``, which counts between two
points only: after the warm-up, and before the end. The server is another process, and isn't
counted. The command fails where a call of this package takes over 3 % more than the figure that
``instructions.json`` has for the same version of Python. ``--save`` writes the figures there.

Another build of the interpreter takes up to 10 % fewer instructions for the same work, bare aiohttp
as many fewer as this package (tried with two builds of 3.11: the ratios are equal within 0.1 %). So
the figures kept are scaled by what bare aiohttp takes here, and the same file serves any machine.
"""

import argparse
import asyncio
import gc
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from .calls.contenders import (
    AIOHTTP,
    BY_HAND,
    CONTENDERS,
    OURS,
    OURS_REUSED,
    Contender,
    Target,
)
from .calls.turns import drive
from .machine import Cores
from .server import ROOT, serving

KEPT: Final = Path(__file__).with_suffix(".json")
"""Figures by Python version and contender, in thousands of instructions."""
NAMES: Final = {
    "bare": AIOHTTP,
    "by hand": BY_HAND,
    "unsigned": OURS_REUSED,
    "own key": OURS,
}
_OURS: Final = ("unsigned", "own key")
_MOST_ABOVE: Final = 1.03
_WARM_UP, _CALLS = 40, 200
_THOUSAND: Final = 1_000
_PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
_LIBRARIES: Final = ("aiohttp", "attrs", "cattrs", "multidict", "tenacity", "yarl")
"""What a call runs through, beside this package."""


def is_countable() -> bool:
    """Return whether valgrind is installed."""
    return shutil.which("valgrind") is not None


def count(contenders: Iterable[Contender], server: str) -> list[float]:
    """Return the thousands of instructions that one unsigned call of each contender takes.

    They run one after another in one process, as it takes most of the time to start.

    Raises:
        subprocess.CalledProcessError: callgrind, or a contender in it, failed.

    """
    names = [contender.name for contender in contenders]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "callgrind.out")
        tool = ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no"]
        counted = [sys.executable, "-m", "benchmarks.instructions", "--run", server]
        # The order of sets and dictionaries with text in them would differ from run to run.
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        command = [*tool, f"--callgrind-out-file={out}", *counted, *names]
        _ = subprocess.run(command, check=True, cwd=ROOT, env=environment)  # noqa: S603 - ours
        dumps = [out.with_name(f"{out.name}.{number}") for number, _ in enumerate(names, 1)]
        return [_total(dump) / _CALLS / _THOUSAND for dump in dumps]


def _total(dump: Path) -> int:
    lines = dump.read_text().splitlines()
    totals = [line.split()[1] for line in lines if line.startswith("totals:")]
    return int(totals[0])


def _control(*options: str) -> None:
    command = ["callgrind_control", *options, str(os.getpid())]
    _ = subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - ours


async def _run(server: str, names: list[str]) -> None:
    for name in names:
        async with CONTENDERS[name].enter(Target(server)) as call:
            await drive(call, 1, _WARM_UP)
            _ = gc.collect()
            gc.freeze()  # What an earlier contender left behind is no cost of this one.
            _control("-i", "on")
            await drive(call, 1, _CALLS)
            _control("-i", "off")
            _control("-d", name)


def versions() -> dict[str, str]:
    """Return the versions of what a call runs through, beside this package."""
    return {name: metadata.version(name) for name in _LIBRARIES}


def compare(found: Mapping[str, float], kept: Mapping[str, float]) -> list[str]:
    """Return a line for each figure of ours that is more than 3 % above the one that was kept.

    Those that were kept are scaled by what bare aiohttp takes here.
    """
    scale = found["bare"] / kept["bare"]
    return [
        f"{name}: {found[name]:.0f} k-instr, over 3 % above the {kept[name] * scale:.0f} kept"
        for name in _OURS
        if found[name] > kept[name] * scale * _MOST_ABOVE
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    _ = parser.add_argument("--save", action="store_true", help="keep the figures")
    _ = parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; all by default")
    return parser.parse_args()


def main() -> int:
    """Count, print, compare; return 1 where a figure is worse than the one that was kept."""
    given = _arguments()
    if not is_countable():
        print("passed over: valgrind isn't installed")
        return 0
    all_kept: dict[str, dict[str, Any]] = json.loads(KEPT.read_text())
    kept = all_kept.get(_PYTHON)
    before = {} if kept is None else kept["k-instr"]
    names = given.names or list(NAMES)
    with serving(Cores.split().server) as server:
        counts = count([NAMES[name] for name in names], server)
    found = {name: round(value, 1) for name, value in zip(names, counts, strict=True)}
    for name, thousands in found.items():
        was = f", {before[name]:.0f} kept" if name in before else ""
        print(f"{name:10} {thousands:7.1f} k-instr{was}")
    if given.save:
        figures = {
            "python": f"{platform.python_version()}, {platform.python_compiler()}",
            "libraries": versions(),
            "k-instr": {**before, **found},
        }
        _ = KEPT.write_text(json.dumps({**all_kept, _PYTHON: figures}, indent=1) + "\n")
        return 0
    if kept is None:
        print(f"not compared: {KEPT.name} has no figures of Python {_PYTHON}")
    if kept is None or not found.keys() >= NAMES.keys():
        return 0
    for name, now in versions().items():
        if now != (was := kept["libraries"].get(name)):
            print(f"{name} {now}; the figures kept are of {was}")
    worse = compare(found, before)
    print(*worse, sep="\n", end="\n" if worse else "")
    return 1 if worse else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:  # In a process of its own, under callgrind.
        asyncio.run(_run(sys.argv[2], sys.argv[3:]))
    else:
        sys.exit(main())
