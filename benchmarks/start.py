"""What it takes to begin: whole processes that import, build a first client, or run a command."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from attrs import field, frozen

from .calls.contenders import CONTENDERS
from .goals import Goal, Profile, table
from .machine import pin, say
from .server import ROOT
from .setting import Setting
from .spread import Spread

EMPTY: Final = "an empty process"
AIOHTTP: Final = "import aiohttp"
BUILT: Final = "the first client of smartglocal_async built"
VERSION: Final = "smartglocal --version"
_MILLI: Final = 1e3
_MEGA: Final = 1e6
_KILO: Final = 1024
_MOST_MS: Final = 60
_MOST_CPU_SECONDS: Final = 0.35
_UNCOMPILED: Final = "PYTHONDONTWRITEBYTECODE"
_PRINT_PEAK: Final = (
    "\nprint(*(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
)
BUILD: Final = (
    "import sys, smartglocal_async as sg; sg.SmartGlocal('demo', sys.argv[1], 'http://127.0.0.1:1')"
)


@frozen
class Run:
    """One process, from its start to its end."""

    wall_ms: float
    cpu_ms: float
    """As a user's and as the system's."""


@frozen
class Starts:
    """What each program took, round by round."""

    runs: dict[str, list[Run]] = field(factory=dict[str, list[Run]])
    peak_mb: dict[str, float] = field(factory=dict[str, float])
    """The most memory that a process ever had, where the system tells."""

    def wall(self, name: str) -> list[float]:
        """Return the milliseconds from start to end."""
        return [run.wall_ms for run in self.runs[name]]

    def cpu(self, name: str) -> list[float]:
        """Return the milliseconds of CPU time."""
        return [run.cpu_ms for run in self.runs[name]]


def measure(setting: Setting) -> Starts:
    """Return what each program takes; they take turns in random order."""
    say("processes that start")
    programs, environment = _programs(setting.key_file), _environment(setting.folder)
    pin(*setting.cores.of_client)
    peaks = dict[str, float]()
    for name, command in programs.items():
        _ = _run(command, environment)  # So that no round compiles, or reads from the disk.
        if name != VERSION and sys.platform == "linux":
            peaks[name] = _peak_mb(command, environment)
    runs: dict[str, list[Run]] = {name: [] for name in programs}
    for _ in range(setting.processes * setting.rounds):
        for name in setting.order.sample(list(programs), len(programs)):
            runs[name].append(_run(programs[name], environment))
    pin(*setting.cores.every)
    return Starts(runs, peaks)


def _programs(key_file: Path) -> Mapping[str, list[str]]:
    code = [sys.executable, "-c"]
    programs = {
        EMPTY: [*code, "pass"],
        "import smartglocal_async": [*code, "import smartglocal_async"],
        AIOHTTP: [*code, "import aiohttp"],
        BUILT: [*code, BUILD, str(key_file)],
    }
    for contender in CONTENDERS.values():
        if contender.is_installed:
            _ = programs.setdefault(contender.imports, [*code, contender.imports])
    command = shutil.which("smartglocal", path=Path(sys.executable).parent)
    if command is not None:
        programs[VERSION] = [sys.executable, command, "--version"]
    return programs


def _run(command: list[str], environment: Mapping[str, str]) -> Run:
    begun = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - one of the programs above
        command, stdout=subprocess.DEVNULL, cwd=ROOT, env=environment
    ) as process:
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed")
    return Run(wall * _MILLI, (used.ru_utime + used.ru_stime) * _MILLI)


def _peak_mb(command: list[str], environment: Mapping[str, str]) -> float:
    # What the system counts for a process that ended has what it was before this program, too.
    interpreter, option, code, *arguments = command
    printing = [interpreter, option, f"{code}{_PRINT_PEAK}", *arguments]
    printed = subprocess.run(  # noqa: S603 - one of the programs above
        printing, check=True, capture_output=True, text=True, cwd=ROOT, env=environment
    ).stdout
    return int(printed.split()[1]) * _KILO / _MEGA


def _environment(folder: Path) -> Mapping[str, str]:
    # Compiled once, as an installed package is, whether or not this folder can be written to.
    kept = {name: value for name, value in os.environ.items() if name != _UNCOMPILED}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}


def goals(found: Starts) -> Iterator[Goal]:
    """Yield the goals 8 and 9."""
    more = Spread.of_differences(found.cpu(BUILT), found.cpu(AIOHTTP))
    yield Goal(
        number=8,
        figure="first client built, over `import aiohttp`, CPU",
        target=f"≤ {_MOST_MS} ms",
        measured=f"{more.text(0)} ms",
        is_reached=more.median <= _MOST_MS,
        profile=Profile.CLIENT,
    )
    if VERSION in found.runs:
        cpu = Spread.of([ms / _MILLI for ms in found.cpu(VERSION)])
        yield Goal(
            number=9,
            figure=f"`{VERSION}`, CPU",
            target=f"≤ {_MOST_CPU_SECONDS} s",
            measured=f"{cpu.text(2)} s",
            is_reached=cpu.median <= _MOST_CPU_SECONDS,
            profile=Profile.VERSION,
        )


def tables(found: Starts) -> str:
    """Return what each program took, as a table."""
    nothing = found.wall(EMPTY)
    rows = [
        (
            name,
            Spread.of(found.wall(name)).text(0),
            Spread.of_differences(found.wall(name), nothing).text(0),
            Spread.of(found.cpu(name)).text(0),
            f"{found.peak_mb[name]:.0f}" if name in found.peak_mb else "-",
        )
        for name in found.runs
    ]
    heads = ("Whole process", "ms from start to end", "over an empty one", "CPU ms", "peak MB")
    return table(heads, rows)
