"""A signal at any moment ends what a command waits for."""

import signal
import subprocess
import sys
from typing import Final

import pytest

CHILD: Final = """
import asyncio, signal, sys, threading, time
from smartglocal_async.cli.signals import run_async

async def wait():
    # The signal is delivered to the other thread: it doesn't end the wait of the event loop.
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    print("ready", flush=True)
    await asyncio.sleep(3600)

run_async(wait())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the event loop of Windows does it itself")
def test_a_signal_that_ends_no_wait_wakes_the_loop():
    """As one that comes just before the wait begins: Python's handler runs at once."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            child.send_signal(signal.SIGINT)
            assert "KeyboardInterrupt" in child.communicate(timeout=60)[1]
        finally:
            child.kill()
