"""Runs the command line, or a check, without what Windows lacks.

The package can't import the modules that exist on POSIX systems only, and finds no ``os.pread``,
no SIGHUP and no event loop with signal handlers. ``msvcrt.locking`` is a real lock of this system.
"""

import asyncio
import builtins
import errno
import fcntl
import importlib
import os
import pkgutil
import signal
import sys
import types
from typing import Any, Final

POSIX_ONLY: Final = frozenset(
    {"fcntl", "pwd", "grp", "termios", "tty", "pty", "resource", "syslog", "posix", "readline"}
)
PACKAGE: Final = "smartglocal_async"
_LOCKED: Final = 2**31 - 1


def without_posix() -> None:
    """Take away what Windows lacks, before the package is imported."""
    real = builtins.__import__

    def found(name: str, names: Any = None, *more: Any, **given: Any) -> Any:
        if name in POSIX_ONLY and str((names or {}).get("__name__")).startswith(PACKAGE):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, names, *more, **given)

    builtins.__import__ = found
    windows: Any = types.ModuleType("msvcrt")
    windows.LK_NBLCK, windows.LK_UNLCK, windows.locking = 2, 0, locking
    sys.modules["msvcrt"] = windows
    for name in ("pread", "pwrite", "O_CLOEXEC", "O_DIRECTORY"):
        delattr(os, name)
    del signal.SIGHUP
    loop: Any = asyncio.SelectorEventLoop
    loop.add_signal_handler = loop.remove_signal_handler = not_implemented


def locking(descriptor: int, mode: int, count: int) -> None:
    """Lock or unlock the byte at the position, as Windows does."""
    assert (os.lseek(descriptor, 0, os.SEEK_CUR), count) == (_LOCKED, 1)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB if mode else fcntl.LOCK_UN)
    except BlockingIOError:
        raise PermissionError(errno.EACCES, "Permission denied") from None


def not_implemented(*_: object) -> None:
    """Refuse, as the event loop of Windows does."""
    raise NotImplementedError


def modules() -> list[str]:
    """Import every module of the package; return their names."""
    package = importlib.import_module(PACKAGE)  # noqa: TID251 - it imports all of them
    found = [one.name for one in pkgutil.walk_packages(package.__path__, f"{PACKAGE}.")]
    names = [name for name in found if not name.endswith("__main__")]
    for name in names:
        _ = importlib.import_module(name)  # noqa: TID251
    return names


if __name__ == "__main__":
    without_posix()
    if sys.argv[1:] == ["--modules"]:
        _ = sys.stdout.write(f"{len(modules())}\n")
    else:
        from smartglocal_async.cli.app import app

        app()
