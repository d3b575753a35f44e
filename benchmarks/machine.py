"""Where the figures come from: cores, event loops, versions."""

import asyncio
import json
import os
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Self

from attrs import frozen

_NAMED: Final = ("aiohttp", "cryptography", "tenacity", "orjson", "uvloop")

NewLoop = Callable[[], asyncio.AbstractEventLoop]
Loads = Callable[[bytes], Any]


@frozen
class Cores:
    """A core for the client and one for the server; None where the system can't pin."""

    client: int | None
    server: int | None
    every: tuple[int, ...]

    @classmethod
    def split(cls) -> Self:
        """Take the first and the last core that this process may use."""
        if sys.platform == "linux":
            every = tuple(sorted(os.sched_getaffinity(0)))
            if len(every) > 1:
                return cls(every[0], every[-1], every)
            return cls(None, None, every)
        return cls(None, None, ())

    def __str__(self) -> str:
        if self.client is None:
            return "not pinned: one core only, or a system that can't"
        return f"client on core {self.client}, server on core {self.server}, of {len(self.every)}"


def pin(*cores: int | None) -> None:
    """Keep this process on these cores; does nothing where there are none to name."""
    named = [core for core in cores if core is not None]
    if sys.platform == "linux" and named:
        # Moves this thread; those that are started later follow it.
        os.sched_setaffinity(0, named)


def pin_other(pid: int, command: str, core: int | None) -> bool:
    """Keep another process on a core; False where it isn't ours to move, or on another machine."""
    if core is None:
        return True  # Nothing is pinned here.
    try:
        if Path(f"/proc/{pid}/comm").read_text().strip() != command:
            return False
        os.sched_setaffinity(pid, {core})
    except PermissionError:
        return False
    except (FileNotFoundError, ProcessLookupError):
        return True  # It has ended.
    return True


def event_loops() -> dict[str, NewLoop]:
    """Give the event loops at hand, by name: asyncio's own, and uvloop if it is installed."""
    loops: dict[str, NewLoop] = {"asyncio": asyncio.new_event_loop}
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return loops
    loops["uvloop"] = uvloop.new_event_loop
    return loops


def quickest_loads() -> tuple[str, Loads]:
    """Give the name and function of the quickest JSON reader at hand."""
    try:
        import orjson  # noqa: PLC0415 - optional
    except ImportError:
        return "json.loads", json.loads
    return "orjson.loads", orjson.loads


def facts(cores: Cores) -> dict[str, str]:
    """Say what the figures were taken on."""
    named = {name: _version(name) for name in _NAMED}
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(cores),
        **named,
    }


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"
