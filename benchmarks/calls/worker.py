"""A contender in a process of its own, which makes calls when it is asked to."""

import asyncio
import gc
import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import asdict, define, frozen

from ..machine import event_loops, peak_bytes, pin
from ..server import ROOT
from ..work import SESSION_ID
from .contenders import CONTENDERS, Call, Target
from .heartbeat import listen
from .turns import drive, take_turn

LIMIT: Final = 200
"""Connections of each contender: as many as calls are ever in flight."""
_GRACE_SECONDS: Final = 5
_MEGA: Final = 1e6


@frozen(kw_only=True)
class Entrant:
    """A contender, the server that it calls, and how."""

    label: str
    contender: str
    server: str
    key_file: Path | None = None
    """None: signing is off."""
    authority: Path | None = None
    loop: str = "asyncio"


@define(eq=False)
class Worker:
    """A process that is ready, seen from the one that started it."""

    label: str
    process: "subprocess.Popen[str]"

    def ask(self, **task: object) -> dict[str, Any]:
        """Have it do a task, and return what it measured."""
        assert self.process.stdin is not None  # noqa: S101 - asked for below
        assert self.process.stdout is not None  # noqa: S101 - asked for below
        _ = self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of {self.label} ended")
        measured: dict[str, Any] = json.loads(line)
        return measured


@contextmanager
def working(entrant: Entrant) -> Generator[Worker]:
    """Yield a contender's process; it ends with the block."""
    named = (entrant.contender, entrant.server, entrant.loop)
    files = (str(file or "") for file in (entrant.key_file, entrant.authority))
    command = [sys.executable, "-m", "benchmarks.calls.worker", *named, *files]
    with subprocess.Popen(  # noqa: S603 - this very file
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as process:
        assert process.stdin is not None  # noqa: S101 - asked for above
        try:
            yield Worker(entrant.label, process)
        finally:
            process.stdin.close()
            try:
                _ = process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


async def _work(contender: str, target: Target) -> None:
    async with CONTENDERS[contender].enter(target) as call:
        # A contender that is quick because it fails is none.
        if SESSION_ID not in str(answer := await call()):
            raise RuntimeError(f"{contender}: an unexpected answer: {answer!r}")
        # The collector's pause grows with all that the process holds before it begins.
        _ = gc.collect()
        gc.freeze()
        while line := sys.stdin.readline():  # Nothing else is to happen on this event loop.
            task = json.loads(line)
            print(json.dumps(await _do(task, call)), flush=True)


async def _do(task: dict[str, Any], call: Call) -> dict[str, Any]:
    pin(*task["cores"])
    concurrency: int = task["concurrency"]
    await drive(call, concurrency, concurrency)  # Connections may have gone stale meanwhile.
    if "seconds" in task:
        return asdict(await listen(call, concurrency, task["seconds"]))
    cost = await take_turn(call, concurrency, task["calls"])
    return {**asdict(cost), "peak_mb": peak_bytes() / _MEGA}


def _main(contender: str, server: str, loop: str, key_file: str, authority: str) -> None:
    key_pem = Path(key_file).read_bytes() if key_file else None
    target = Target(server, key_pem, LIMIT, Path(authority) if authority else None)
    with asyncio.Runner(loop_factory=event_loops()[loop]) as runner:
        runner.run(_work(contender, target))


if __name__ == "__main__":
    _main(*sys.argv[1:])
