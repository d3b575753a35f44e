"""What a command needs that serves until it is interrupted."""

import asyncio
import errno
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def stopped_by_signals(stop: Callable[[], object]) -> Generator[None, None, None]:
    """Have a signal end the server in good order, and so does a terminal that is closed."""
    loop = asyncio.get_running_loop()
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup has its way.
        signals.append(signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in signals:
            _ = loop.remove_signal_handler(number)


@contextmanager
def port_named(port: int) -> Generator[None, None, None]:
    """Name the option where the port is taken."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        words = f"port {port} is in use; give another --port, or 0 for a free one"
        raise OSError(errno.EADDRINUSE, words) from None
