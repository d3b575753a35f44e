"""Locks on open files, and reads and writes at a position, on every operating system.

Windows has neither ``fcntl`` nor ``os.pread``.
"""

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any, Final

try:
    import fcntl as _fcntl
except ModuleNotFoundError:  # Windows
    fcntl: Any = None
else:
    fcntl = _fcntl

OPEN: Final[int] = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags for each `os.open`: the file isn't inherited, and its bytes stay as they are."""
HAS_FLOCK: Final = fcntl is not None
_LOCKED_BYTE: Final = 2**31 - 1
"""Windows locks bytes, and no other process can read them: one behind the end of each file."""
_RETRY_SECONDS: Final = 0.1
_POSITION: Final = threading.Lock()


def lock(descriptor: int, *, waits: bool = False) -> None:
    """Lock an open file against other processes; the lock ends when the file is closed.

    Raises:
        BlockingIOError: another process has the lock, and this call doesn't wait.

    """
    if HAS_FLOCK:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        return
    while not _lock_byte(descriptor):
        if not waits:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        time.sleep(_RETRY_SECONDS)


def unlock(descriptor: int) -> None:
    """End the lock on an open file."""
    if HAS_FLOCK:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    else:
        _use_byte(descriptor, "LK_UNLCK")


def _lock_byte(descriptor: int) -> bool:
    """Return whether the lock was free, and is held now."""
    try:
        _use_byte(descriptor, "LK_NBLCK")
    except PermissionError:
        return False
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EDEADLK}:
            raise
        return False
    return True


def _use_byte(descriptor: int, mode: str) -> None:
    import msvcrt  # noqa: PLC0415 - Windows only

    windows: Any = msvcrt
    with _POSITION:
        before = os.lseek(descriptor, 0, os.SEEK_CUR)
        try:
            _ = os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            windows.locking(descriptor, getattr(windows, mode), 1)
        finally:
            _ = os.lseek(descriptor, before, os.SEEK_SET)


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Return bytes of an open file from a position; the position of the file doesn't matter."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    with _POSITION:
        _ = os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)


def write_at(descriptor: int, content: bytes, offset: int) -> None:
    """Write bytes into an open file at a position."""
    if hasattr(os, "pwrite"):
        _ = os.pwrite(descriptor, content, offset)
        return
    with _POSITION:
        _ = os.lseek(descriptor, offset, os.SEEK_SET)
        _ = os.write(descriptor, content)


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to disk; Windows does that with each file."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    opened = os.open(folder, os.O_RDONLY | OPEN)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
