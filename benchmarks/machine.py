"""The machine of the figures: cores, event loops, versions."""

import asyncio
import contextlib
import os
import platform
import resource
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final, Self

from attrs import frozen

_NAMED: Final = (
    *("aiohttp", "cryptography", "tenacity", "uvloop", "asyncpg"),
    *("gidgethub", "stripe", "openai", "httpx", "pydantic"),
)

NewLoop = Callable[[], asyncio.AbstractEventLoop]
_KILO: Final = 1024


@frozen
class Cores:
    """A core for the client and one for the server; None if the system can't pin."""

    client: int | None
    server: int | None
    every: tuple[int, ...]

    @classmethod
    def split(cls) -> Self:
        """Return the first and the last core that this process may use."""
        if sys.platform == "linux":
            every = tuple(sorted(os.sched_getaffinity(0)))
            if len(every) > 1:
                return cls(every[0], every[-1], every)
            return cls(None, None, every)
        return cls(None, None, ())

    @property
    def of_client(self) -> tuple[int, ...]:
        """The client's core; empty where the system can't pin."""
        return () if self.client is None else (self.client,)

    def __str__(self) -> str:
        if self.client is None:
            return "not pinned: one core only, or a system that can't"
        return f"client on core {self.client}, server on core {self.server}, of {len(self.every)}"


def pin(*cores: int | None) -> None:
    """Keep this process, with its threads, on these cores; does nothing where there are none."""
    named = [core for core in cores if core is not None]
    if sys.platform == "linux" and named:
        for thread in Path("/proc/self/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # It has ended.
                os.sched_setaffinity(int(thread.name), named)


def pin_other(pid: int, command: str, core: int | None) -> bool:
    """Pin another process to a core; return False if this isn't permitted, or it is remote."""
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
    """Return the available event loops by name: asyncio's own, and uvloop if it is installed."""
    loops: dict[str, NewLoop] = {"asyncio": asyncio.new_event_loop}
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return loops
    loops["uvloop"] = uvloop.new_event_loop
    return loops


def peak_bytes() -> int:
    """Return the most memory that this program ever had."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage counts what the process was before it became this program, too.
        line = next(one for one in status.read_text().splitlines() if one.startswith("VmHWM:"))
        return int(line.split()[1]) * _KILO
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * _KILO


def say(step: str) -> None:
    """Print to standard error what is done now."""
    print(f"... {step}", file=sys.stderr, flush=True)


def facts(cores: Cores) -> str:
    """Return what the figures are taken on, as a sentence."""
    named = ", ".join(f"{name} {version}" for name in _NAMED if (version := _version(name)))
    load = f"{os.getloadavg()[0]:.1f}"
    return f"{in_short()} ({cores}), {platform.system()}, {named}; load before the run {load}."


def in_short() -> str:
    """Return the date, the processor and the interpreter, and whether others use the machine."""
    today = datetime.now(UTC).date()  # noqa: TID251 - of now
    python = f"{platform.python_implementation()} {platform.python_version()}"
    count = os.cpu_count() or 1
    busy = ", busy with other work" if os.getloadavg()[0] > count / 2 else ""
    return f"{today.isoformat()}, {_processor()}, {count} cores{busy}, {python}"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
