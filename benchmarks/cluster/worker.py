"""A worker process: pays chunks of the batches that it is given."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import define, frozen

import smartglocal_async as sg

from ..payouts.work import PROJECT
from ..server import ROOT

_MOST: Final = 1_000_000
"""Payouts per chunk; larger than any batch."""
_GRACE_SECONDS: Final = 5


@frozen
class Done:
    """The results of a worker for a batch."""

    paid: int
    cpu_seconds: float
    """CPU seconds of its process, including the signing threads."""


@define(eq=False)
class Worker:
    """A ready worker, in the process that started it."""

    process: "subprocess.Popen[str]"

    def begin(self, batch: str, concurrency: int) -> None:
        """Start paying a batch."""
        assert self.process.stdin is not None  # noqa: S101 - asked for below
        _ = self.process.stdin.write(json.dumps([batch, concurrency]) + "\n")
        self.process.stdin.flush()

    def end(self) -> Done:
        """Wait until nothing is left that it could claim."""
        assert self.process.stdout is not None  # noqa: S101 - asked for below
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a worker ended")
        return Done(*json.loads(line))


@contextmanager
def working(url: str, key: Path, dsn: str) -> Generator[Worker]:
    """Start a worker; it ends with the block. The key of the seal is in the environment."""
    command = [sys.executable, "-m", "benchmarks.cluster.worker", url, str(key), dsn]
    with subprocess.Popen(  # noqa: S603 - this very file
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as process:
        assert process.stdin is not None  # noqa: S101 - asked for above
        try:
            yield Worker(process)
        finally:
            process.stdin.close()
            try:
                _ = process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


async def _work(url: str, key: Path, dsn: str) -> None:
    async with (
        sg.SmartGlocal(PROJECT, key, url) as api,
        sg.Payouts(api, sg.PostgresJournal(dsn), cipher=sg.RequestCipher.from_env()) as payouts,
    ):
        while line := await asyncio.to_thread(sys.stdin.readline):
            batch, concurrency = json.loads(line)
            used, paid = time.process_time(), 0
            async for outcome in payouts.run_chunk(batch, limit=_MOST, concurrency=concurrency):
                paid += outcome.is_paid
            print(json.dumps([paid, time.process_time() - used]), flush=True)


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
