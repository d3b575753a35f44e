"""What SIGINT, SIGTERM and SIGHUP do to a command."""

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from ..payouts.stop_rules import ending_signals, handle_signal, ignore_handler

T = TypeVar("T")


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine like ``asyncio.run``; a signal at any moment wakes the event loop.

    Python runs a signal's handler between two of its own instructions. With ``asyncio.run`` alone,
    a SIGINT just before the loop begins to wait takes effect only when the wait is over.
    """

    async def awoken() -> T:
        with _signals_wake_the_loop():
            return await work

    return asyncio.run(awoken())


@contextmanager
def _signals_wake_the_loop() -> Generator[None, None, None]:
    # On Windows the event loop does it itself.
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.settimeout(0)
        writer.settimeout(0)
        loop.add_reader(reader, reader.recv, 4096)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            _ = signal.set_wakeup_fd(before)
            _ = loop.remove_reader(reader)


@contextmanager
def sigterm_interrupts() -> Generator[None, None, None]:
    """Make SIGTERM and SIGHUP do what Ctrl-C does: a call must not end without a message."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    others = [one for one in ending_signals() if one is not signal.SIGINT]
    before = {one: signal.signal(one, _interrupt) for one in others}
    try:
        yield
    finally:
        for one, handler in before.items():
            _ = signal.signal(one, handler)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    # While asyncio runs, this is its own handler, which cancels the call.
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)


@contextmanager
def stopped_by_signals(stop: Callable[[], object]) -> Generator[None, None, None]:
    """Call ``stop`` on SIGINT, on SIGTERM, and if the terminal is closed."""
    loop, signals = asyncio.get_running_loop(), ending_signals()
    for number in signals:
        handle_signal(loop, number, stop)
    try:
        yield
    finally:
        for number in signals:
            ignore_handler(loop, number)
