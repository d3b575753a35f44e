"""The cost of a growing batch, in a new process: peak memory, and CPU per payout.

The provider is in the process, behind the client's own transport: the cost of HTTP depends on the
connections and not on the payouts, and a million payouts finish sooner. It doesn't store what it
paid.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

from attrs import asdict, define, field, frozen
from multidict import CIMultiDict
from yarl import URL

import smartglocal_async as sg

from ..goals import Goal, Profile, table
from ..machine import peak_bytes, say
from ..server import ROOT
from ..setting import Setting
from .work import CONCURRENCY, orders

_MICRO: Final = 1e6
_SEGMENTS: Final = 10
_MOST_DEVIATION: Final = 0.03
_MOST_MB: Final = 70


class _Stamp:
    """A signer that does no work."""

    async def sign(self, body: bytes) -> str:
        """Return a constant signature."""
        del body
        return "c3RhbXA="


@frozen
class _Answer:
    """The response that a client reads, with aiohttp's attributes."""

    body: bytes
    status: int = 200

    @property
    def headers(self) -> CIMultiDict[str]:
        """The headers that a client reads."""
        length = str(len(self.body))
        return CIMultiDict({"Content-Type": "application/json", "Content-Length": length})

    @property
    def content(self) -> "_Answer":
        """The stream of the body."""
        return self

    def is_eof(self) -> bool:
        """Return whether all of the body is here."""
        return True

    def read_nowait(self) -> bytes:
        """Return the body."""
        return self.body


@define(eq=False)
class _Request:
    """A request as the client's middlewares see it."""

    body: Any
    headers: CIMultiDict[str]
    response: object = None
    send: object = None


@define(eq=False)
class _Provider:
    """Creates, starts and pays; doesn't store what was paid."""

    numbers: "count[int]" = field(factory=count)
    started: dict[str, dict[str, Any]] = field(factory=dict[str, dict[str, Any]])

    def answer(self, path: str, body: bytes) -> bytes:
        """Carry out a request."""
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
class _Line:
    """Replaces an aiohttp session in a pool."""

    provider: _Provider = field(factory=_Provider)
    closed: bool = False
    auto_decompress: bool = True
    connector: object = None

    async def request(self, _method: str, url: URL, **options: Any) -> _Answer:  # noqa: ANN401 - as aiohttp's
        """Make a request."""

        async def carry(request: _Request) -> _Answer:
            await asyncio.sleep(0)
            return _Answer(self.provider.answer(url.path, await request.body.as_bytes()))

        (chain,) = options["middlewares"]
        answer: _Answer = await chain(
            _Request(options["data"], CIMultiDict(options["headers"])), carry
        )
        return answer


@frozen(kw_only=True)
class Segment:
    """A part of a batch, in the order in which it was paid."""

    payouts: int
    cpu_us: float
    """Each payout's share of the CPU time."""
    peak_mb: float
    """The most memory that the process had until then, in 1,000,000 bytes."""


@frozen(kw_only=True)
class Batch:
    """What one run of a batch took, by segments."""

    payouts: int
    first: Segment
    """The first hundredth, in which everything is made that is made once."""
    segments: list[Segment]
    """What came after, in ten parts."""

    @property
    def peak_mb(self) -> float:
        """The most memory that its process ever had."""
        return self.segments[-1].peak_mb

    @property
    def deviation(self) -> float:
        """How far the segment that is farthest off is from their median, as a share of it."""
        costs = [segment.cpu_us for segment in self.segments]
        middle = statistics.median(costs)
        return max(abs(cost / middle - 1) for cost in costs)


def measure(setting: Setting, payouts: int | None = None) -> Batch:
    """Pay a batch in one new process; of a million payouts where nothing else is asked for."""
    number = payouts or (2_000 if setting.is_quick else 1_000_000)
    say(f"a batch of {number:,} payouts")
    command = [sys.executable, "-m", "benchmarks.payouts.batch", str(number)]
    printed = subprocess.run(  # noqa: S603 - this very file
        command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
    ).stdout
    first, *others = (Segment(**segment) for segment in json.loads(printed))
    return Batch(payouts=number, first=first, segments=others)


async def _pay(number: int, folder: Path) -> list[Segment]:
    line: Any = _Line()
    journal = sg.SQLiteJournal(folder / "payouts.db")
    first = number // 100
    size = (number - first) // _SEGMENTS
    ends = [first + size * place for place in range(_SEGMENTS)]
    segments = list[Segment]()
    async with (
        sg.SessionPool(session=line) as pool,
        sg.SmartGlocal("demo", _Stamp(), "https://provider.test", pool=pool) as api,
        sg.Payouts(api, journal) as payouts,
    ):
        paid, begun, used = 0, 0, time.process_time()
        async for outcome in payouts.pay_all(orders(number), concurrency=CONCURRENCY):
            paid += outcome.is_paid
            if paid in (*ends, number):
                now = time.process_time()
                cost = (now - used) / (paid - begun) * _MICRO
                peak = peak_bytes() / _MICRO
                segments.append(Segment(payouts=paid - begun, cpu_us=cost, peak_mb=peak))
                begun, used = paid, now
    if paid != number:
        raise SystemExit(f"{paid} of {number} were paid")
    return segments


def goals(found: Batch) -> Iterator[Goal]:
    """Yield goal 12."""
    first, last = found.segments[0], found.segments[-1]
    yield Goal(
        number=12,
        figure=f"CPU of a payout by tenths of one batch of {found.payouts:,}, farthest off",
        target=f"± {_MOST_DEVIATION:.0%}",
        measured=f"{found.deviation:.1%} (first {first.cpu_us:.0f}, last {last.cpu_us:.0f} µs)",
        is_reached=found.deviation <= _MOST_DEVIATION,
        profile=Profile.SQLITE,
    )
    yield Goal(
        number=12,
        figure=f"peak memory of {found.payouts:,} payouts",
        target=f"≤ {_MOST_MB} MB",
        measured=f"{found.peak_mb:.0f} MB",
        is_reached=found.peak_mb <= _MOST_MB,
    )


def tables(found: Batch) -> str:
    """Return the segments as a table."""
    rows = [
        (f"{segment.payouts:,}", f"{segment.cpu_us:.0f}", f"{segment.peak_mb:.0f}")
        for segment in (found.first, *found.segments)
    ]
    heads = ("Payouts, one after another", "CPU µs a payout", "peak memory until then, MB")
    return table(heads, rows)


def for_readme(found: Batch) -> str:
    """Return the memory of a batch, for the README."""
    first = f"{found.first.peak_mb:.0f} MB after the first {found.first.payouts:,} payouts"
    words = f"{found.peak_mb:.0f} MB; {first}"
    return f"| Peak memory of {found.payouts:,} payouts, `SQLiteJournal` | {words} |"


def _main(number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        segments = asyncio.run(_pay(number, Path(folder)))
    print(json.dumps([asdict(segment) for segment in segments]))


if __name__ == "__main__":
    _main(int(sys.argv[1]))
