"""Signals that end a batch with grace, once: the second one does what it did before."""

import asyncio
import signal
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager


@contextmanager
def heeding(
    signals: Sequence[signal.Signals], act: Callable[[signal.Signals], None]
) -> Generator[None]:
    """Have the first of these signals act in the running event loop, which is the main thread's."""
    loop, before = asyncio.get_running_loop(), {one: signal.getsignal(one) for one in signals}

    def restore() -> None:
        while before:
            one, handler = before.popitem()
            _ = loop.remove_signal_handler(one)
            _ = signal.signal(one, handler)

    def heard(one: signal.Signals) -> None:
        restore()
        act(one)

    for one in signals:
        loop.add_signal_handler(one, heard, one)
    try:
        yield
    finally:
        restore()
