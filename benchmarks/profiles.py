"""What is in the way of a goal: where the time of one call, payout, check or start goes."""

import asyncio
import cProfile
import pstats
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from .calls.contenders import CONTENDERS, OURS, OURS_REUSED, Target
from .calls.turns import drive
from .goals import Profile, table
from .machine import say
from .payouts import check
from .payouts.provider import providing
from .payouts.work import POSTGRESQL, SQLITE, WAYS, Place, orders
from .server import ROOT, serving
from .setting import Setting
from .start import BUILD

_SHOWN: Final = 10
_CALLS: Final = 400
_PAYOUTS: Final = 200
_ROWS: Final = 10_000
_IN_FLIGHT: Final = 50
_MICRO: Final = 1e6
_OURS: Final = "smartglocal_async"


def profile(what: Profile, setting: Setting) -> str:
    """Return where the time goes, as a table."""
    say(f"a profile: {what}")
    return PROFILES[what](setting)


def _call(contender: str, setting: Setting, *, is_signed: bool = False) -> str:
    with serving(setting.cores.server) as server:
        key_file = str(setting.key_file) if is_signed else ""
        return _own_time("call", _CALLS, setting, "call", contender, server, key_file)


def _payout(way: str, setting: Setting) -> str:
    with providing(setting.cores.server, setting.pem) as url:
        task = ("payout", way, url, str(setting.key_file), str(setting.folder))
        return _own_time("payout", _PAYOUTS, setting, *task)


def _check(setting: Setting) -> str:
    rows = setting.folder / "profiled.csv"
    check.write(rows, _ROWS)
    return _own_time("row", _ROWS, setting, "command", str(rows))


def _own_time(unit: str, units: int, setting: Setting, *task: str) -> str:
    out = setting.folder / "profile"
    command = [sys.executable, "-m", "benchmarks.profiles", str(out), *task]
    _ = subprocess.run(  # noqa: S603 - this very file
        command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL
    )
    stats: dict[tuple[str, int, str], Any] = pstats.Stats(str(out)).stats  # type: ignore[attr-defined]
    whole = sum(figures[2] for figures in stats.values())
    longest = sorted(stats.items(), key=lambda item: -item[1][2])[:_SHOWN]
    rows = [
        (
            _where(*place),
            f"{figures[1] / units:.1f}",
            f"{figures[2] / units * _MICRO:.1f}",
            f"{figures[2] / whole:.1%}",
        )
        for place, figures in longest
    ]
    heads = ("Function", f"times a {unit}", f"own µs a {unit}, profiled", "of all")
    return table(heads, rows)


def _where(file: str, line: int, function: str) -> str:
    if file == "~":
        return f"`{function}`"
    parts = Path(file).parts
    if "site-packages" in parts:
        parts = parts[parts.index("site-packages") + 1 :]
    elif _OURS in parts:
        parts = parts[parts.index(_OURS) :]
    else:
        parts = parts[-2:]
    return f"`{'/'.join(parts)}:{line} {function}`"


def _imports(setting: Setting, *command: str) -> str:
    printed = subprocess.run(  # noqa: S603 - one of the commands below
        [sys.executable, "-X", "importtime", *command],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    ).stderr
    del setting
    own = Counter[str]()
    for line in printed.splitlines():
        microseconds, _, module = line.removeprefix("import time:").split("|")
        if microseconds.strip().isdigit():
            # What the package itself takes is shown by module, as it is the one to change.
            name = module.strip()
            own[name if name.startswith(_OURS) else name.partition(".")[0]] += int(microseconds)
    return table(("Module", "own ms of its import"), _milliseconds(own.most_common(_SHOWN)))


def _milliseconds(times: Iterable[tuple[str, int]]) -> Iterable[tuple[str, str]]:
    return [(f"`{name}`", f"{microseconds / 1_000:.1f}") for name, microseconds in times]


PROFILES: Final[dict[Profile, Callable[[Setting], str]]] = {
    Profile.REUSED: lambda setting: _call(OURS_REUSED.name, setting),
    Profile.UNSIGNED: lambda setting: _call(OURS.name, setting),
    Profile.SIGNED: lambda setting: _call(OURS.name, setting, is_signed=True),
    Profile.SQLITE: lambda setting: _payout(SQLITE, setting),
    Profile.POSTGRESQL: lambda setting: _payout(POSTGRESQL, setting),
    Profile.CHECK: _check,
    Profile.CLIENT: lambda setting: _imports(setting, "-c", BUILD, str(setting.key_file)),
    Profile.VERSION: lambda setting: _imports(setting, check.script(), "--version"),
}
"""By what: each makes its table."""


# --- In a process of its own -----------------------------------------------------------------


async def _profile_calls(profiler: cProfile.Profile, contender: str, target: Target) -> None:
    async with CONTENDERS[contender].enter(target) as call:
        await drive(call, _IN_FLIGHT, _CALLS)
        profiler.enable()
        await drive(call, _IN_FLIGHT, _CALLS)
        profiler.disable()


async def _profile_payouts(profiler: cProfile.Profile, way: str, place: Place) -> None:
    async with WAYS[way](place) as pay:
        _ = await pay(orders(_PAYOUTS))
        profiler.enable()
        _ = await pay(orders(_PAYOUTS))
        profiler.disable()


def _profile_command(profiler: cProfile.Profile, rows: str) -> None:
    from smartglocal_async.cli import main  # noqa: PLC0415 - typer is an extra

    sys.argv = ["smartglocal", "payouts", "check", rows]
    profiler.enable()
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
    finally:
        profiler.disable()


def _main(out: str, kind: str, *task: str) -> None:
    profiler = cProfile.Profile(time.thread_time)  # Of CPU time: others may be at work.
    if kind == "call":
        contender, server, key_file = task
        target = Target(server, Path(key_file).read_bytes() if key_file else None)
        asyncio.run(_profile_calls(profiler, contender, target))
    elif kind == "payout":
        way, url, key_file, folder = task
        place = Place(url, Path(key_file).read_bytes(), Path(folder), None)
        asyncio.run(_profile_payouts(profiler, way, place))
    else:
        _profile_command(profiler, *task)
    profiler.dump_stats(out)


if __name__ == "__main__":
    _main(*sys.argv[1:])
