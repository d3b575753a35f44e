"""The lock on the journal's file itself, which works for every name of the file."""

import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import define

from ...errors import JournalUnusable
from ..file_access import HAS_FLOCK, OPEN, lock, unlock

# On Linux, locks of flock() and of fcntl(), which SQLite uses, are independent. On BSD, macOS and
# Windows they conflict, so there only the number of links and the lock of the side file protect the
# journal.
_IS_INDEPENDENT: Final = HAS_FLOCK and sys.platform == "linux"
_Identity = tuple[int, int]


@define(eq=False)
class _Use:
    """How this process uses a file."""

    count: int = 0
    """SQLite connections, including those about to be made."""
    descriptor: int | None = None
    """Open while there are connections: closing it would drop the locks that any SQLite connection
    of this process has on the file.
    """
    is_held: bool = False


_USES: Final[dict[_Identity, _Use]] = {}
_LOCK: Final = threading.Lock()


def check_links(path: Path) -> None:
    """Check that a file has only one name.

    SQLite finds its log by the name of the file: with two names there are two logs, and each
    process overwrites what the other wrote.

    Raises:
        JournalUnusable: it has several.

    """
    if path.is_file() and (links := path.stat().st_nlink) > 1:
        raise JournalUnusable(
            f"the journal {path} has {links} names (hard links): SQLite would keep a log for each, "
            "and payouts would be made twice; remove the other names, and use this one"
        )


@contextmanager
def used(path: Path) -> Generator[None]:
    """Count a connection to the file of this process while the block runs."""
    with _LOCK:
        use = _used(path)
    try:
        yield
    finally:
        _release(use)


@contextmanager
def held(path: Path) -> Generator[None]:
    """Hold the lock on a file while a connection to it is open; it ends with the process.

    Raises:
        JournalUnusable: another process has it, or this process under another name.

    """
    with _LOCK:
        use = _used(path)
        try:
            is_ours = not use.is_held and _lock(use, path)
        except BaseException:
            _close_unused(use)
            raise
        if not is_ours:
            _close_unused(use)
            words = "is open by another name, here or in another process; only one may write to it"
            raise JournalUnusable(f"the journal {path} {words}")
        use.is_held = True
    try:
        yield
    finally:
        with _LOCK:
            use.is_held = False
            if _IS_INDEPENDENT and use.descriptor is not None:
                unlock(use.descriptor)
            _close_unused(use)


def _lock(use: _Use, path: Path) -> bool:
    if use.descriptor is None:
        use.descriptor = os.open(path, os.O_RDWR | OPEN)
    if not _IS_INDEPENDENT:
        return True
    try:
        lock(use.descriptor)
    except BlockingIOError:
        return False
    return True


def _used(path: Path) -> _Use:
    found = path.stat()
    use = _USES.setdefault((found.st_dev, found.st_ino), _Use())
    use.count += 1
    return use


def _release(use: _Use) -> None:
    with _LOCK:
        _close_unused(use)


def _close_unused(use: _Use) -> None:
    """Close the descriptor with the last connection; the caller holds ``_LOCK``."""
    use.count -= 1
    if use.count:
        return
    if use.descriptor is not None:
        os.close(use.descriptor)
        use.descriptor = None
    for identity in [one for one, known in _USES.items() if known is use]:
        del _USES[identity]
