"""What it takes to begin: whole processes that import, and that build a first client."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .server import ROOT

EMPTY: Final = "an empty process"
IMPORTED: Final = "import smartglocal_async"
AIOHTTP: Final = "import aiohttp"
BUILT: Final = "first SmartGlocal client built"
_MILLI: Final = 1e3
_LONGEST_SECONDS: Final = 30
_UNCOMPILED: Final = "PYTHONDONTWRITEBYTECODE"
_BUILD: Final = (
    "import sys, smartglocal_async as sg; sg.SmartGlocal('demo', sys.argv[1], 'http://127.0.0.1:1')"
)
_PROGRAMS: Final = {
    EMPTY: "pass",
    IMPORTED: "import smartglocal_async",
    AIOHTTP: "import aiohttp",
    BUILT: _BUILD,
}


def measure_startup(key_file: Path, rounds: int, dice: random.Random) -> Mapping[str, list[float]]:
    """Give the milliseconds from start to end of each process, round by round."""
    for program in _PROGRAMS.values():
        _ = _run(program, key_file)  # So that no round compiles or reads from disk.
    taken: dict[str, list[float]] = {name: [] for name in _PROGRAMS}
    for _ in range(rounds):
        for name in dice.sample(list(_PROGRAMS), len(_PROGRAMS)):
            taken[name].append(_run(_PROGRAMS[name], key_file))
    return taken


def _run(program: str, key_file: Path) -> float:
    begun = time.perf_counter()
    _ = subprocess.run(  # noqa: S603 - one of the programs above
        [sys.executable, "-c", program, str(key_file)],
        check=True,
        # A pipe that ends with the process: waiting with a limit would look every 50 ms only.
        capture_output=True,
        cwd=ROOT,
        env=_environment(key_file.parent),
        timeout=_LONGEST_SECONDS,
    )
    return (time.perf_counter() - begun) * _MILLI


def _environment(folder: Path) -> dict[str, str]:
    # Compiled once, as an installed package is, wherever this runs and whoever may write here.
    kept = {name: value for name, value in os.environ.items() if name != _UNCOMPILED}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
