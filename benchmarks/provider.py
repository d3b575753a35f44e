"""An emulator in a process of its own, for the benchmarks that pay."""

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Generator
from typing import Final

from smartglocal_async import PrivateKey, emulator

from .machine import event_loops, pin
from .server import ROOT

_GRACE_SECONDS: Final = 5


@contextlib.contextmanager
def providing(core: int | None, pem: bytes) -> Generator[str]:
    """Give the address of an emulator that takes the signatures of this key."""
    place = "" if core is None else str(core)
    command = [sys.executable, "-m", "benchmarks.provider", place]
    with subprocess.Popen(  # noqa: S603 - this very file
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdin is not None  # noqa: S101 - asked for above
        assert process.stdout is not None  # noqa: S101 - asked for above
        public = PrivateKey.from_pem(pem).public.pem()
        _ = process.stdin.write(public + b"\0")
        process.stdin.flush()
        try:
            yield process.stdout.readline().decode().strip()
        finally:
            process.stdin.close()  # It ends when its input does, and so with this process too.
            try:
                _ = process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


async def _provide(public: bytes) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()

    def wait_for_the_end() -> None:
        _ = sys.stdin.buffer.read()
        _ = loop.call_soon_threadsafe(stopped.set)

    async with emulator.run(public_key=public) as provider:
        print(provider.url, flush=True)
        threading.Thread(target=wait_for_the_end, daemon=True).start()
        _ = await stopped.wait()


def _main(core: str) -> None:
    pin(int(core) if core else None)
    public = b""
    while not public.endswith(b"\0"):
        public += sys.stdin.buffer.read(1)
    quickest = list(event_loops().values())[-1]
    with asyncio.Runner(loop_factory=quickest) as runner:
        runner.run(_provide(public[:-1]))


if __name__ == "__main__":
    _main(sys.argv[1])
