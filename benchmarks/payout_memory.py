"""What a batch takes as it grows, in a process of its own: peak memory, and CPU for each payout.

The provider is in the process, behind the client's own transport: what HTTP takes goes by
connection and not by payout, and a million payouts are over sooner. It forgets what it paid.
"""

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen
from multidict import CIMultiDict
from yarl import URL

import smartglocal_async as sg

from .payout_work import CONCURRENCY, orders
from .server import ROOT

_KILO: Final = 1024
_MICRO: Final = 1e6


def _peak_bytes() -> int:
    """Give the most memory that this program ever had."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage counts what the process was before it became this program, too.
        line = next(one for one in status.read_text().splitlines() if one.startswith("VmHWM:"))
        return int(line.split()[1]) * _KILO
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * _KILO


class _Stamp:
    """A signer that costs nothing."""

    async def sign(self, body: bytes) -> str:
        """Sign nothing."""
        del body
        return "c3RhbXA="


@frozen
class _Answer:
    """What a client reads, as aiohttp gives it."""

    body: bytes
    status: int = 200

    @property
    def headers(self) -> CIMultiDict[str]:
        """The headers that a client looks at."""
        length = str(len(self.body))
        return CIMultiDict({"Content-Type": "application/json", "Content-Length": length})

    async def read(self) -> bytes:
        """Give the body."""
        return self.body


@define(eq=False)
class _Request:
    """A request as the client's middlewares see it."""

    body: Any
    headers: CIMultiDict[str]
    response: object = None


@define(eq=False)
class _Provider:
    """Creates, starts and pays; what is paid is forgotten."""

    numbers: "count[int]" = field(factory=count)
    started: dict[str, dict[str, Any]] = field(factory=dict[str, dict[str, Any]])

    def answer(self, path: str, body: bytes) -> bytes:
        """Carry a request out."""
        asked: dict[str, Any] = json.loads(body)
        if path.endswith("/create"):
            return self._session(f"ps_{next(self.numbers)}", "created")
        name: str = asked["session_id"]
        if path.endswith("/start/payout"):
            self.started[name] = asked
            return self._session(name, "in_progress", "pending")
        if path.endswith("/confirm"):
            told = self._session(name, "accepted", "succeeded")
            del self.started[name]
            return told
        return self._session(name, "in_progress", "pending", next_action="confirm")

    def _session(self, name: str, status: str, payout: str = "", **more: str) -> bytes:
        session: dict[str, Any] = {"id": name, "status": status, **more}
        if payout:
            asked = self.started[name]
            told = {"amount_details": asked["amount_details"], "metadata": asked["metadata"]}
            session["payments"] = [{"id": f"po_{name}", "status": payout, **told}]
        return json.dumps({"status": "ok", "session": session}).encode()


@define(eq=False)
class _Exchange:
    """One request and its answer, entered as aiohttp's."""

    provider: _Provider
    path: str
    request: _Request
    chain: Any

    async def __aenter__(self) -> _Answer:
        answer: _Answer = await self.chain(self.request, self._carry)
        return answer

    async def __aexit__(self, *_exc_info: object) -> None:
        pass

    async def _carry(self, request: _Request) -> _Answer:
        await asyncio.sleep(0)
        return _Answer(self.provider.answer(self.path, await request.body.as_bytes()))


@define(eq=False)
class _Line:
    """What a pool takes for an aiohttp session."""

    provider: _Provider = field(factory=_Provider)
    closed: bool = False
    auto_decompress: bool = True

    def request(self, _method: str, url: URL, **options: Any) -> _Exchange:  # noqa: ANN401 - as aiohttp's
        """Make a request ready."""
        (chain,) = options["middlewares"]
        request = _Request(options["data"], CIMultiDict(options["headers"]))
        return _Exchange(self.provider, url.path, request, chain)


@frozen(kw_only=True)
class Taken:
    """What a batch took."""

    payouts: int
    peak_mb: float
    """The most memory that its process ever had, in 1,000,000 bytes."""
    cpu_us: float
    """Each payout's share of the CPU time."""
    seconds: float


def measure(payouts: int) -> Taken:
    """Pay so many in a new process."""
    command = [sys.executable, "-m", "benchmarks.payout_memory", str(payouts)]
    told = subprocess.run(  # noqa: S603 - this very file
        command, capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    return Taken(**json.loads(told))


async def _pay(number: int, folder: Path) -> None:
    line: Any = _Line()
    journal = sg.SQLiteJournal(folder / "payouts.db")
    async with (
        sg.SessionPool(session=line) as pool,
        sg.SmartGlocal("demo", _Stamp(), "https://provider.test", pool=pool) as api,
        sg.Payouts(api, journal) as payouts,
    ):
        paid = 0
        async for outcome in payouts.pay_all(orders(number), concurrency=CONCURRENCY):
            paid += outcome.is_paid
    if paid != number:
        raise SystemExit(f"{paid} of {number} were paid")


def _main(number: int) -> None:
    begun, used = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_pay(number, Path(folder)))
    peak_bytes = _peak_bytes()
    taken = {
        "payouts": number,
        "peak_mb": peak_bytes / _MICRO,
        "cpu_us": (time.process_time() - used) / number * _MICRO,
        "seconds": time.perf_counter() - begun,
    }
    print(json.dumps(taken))


if __name__ == "__main__":
    _main(int(sys.argv[1]))
