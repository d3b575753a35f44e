"""Pays a few keys in a process that is killed at its k-th fault point, for every k, and restarted.

It forks for each run, so that the imports happen once. Run as a program by `test_payouts_crash`,
with the providers' addresses, the key's file, a folder, a mode, the stride between the points,
which points count, and, for PostgreSQL journals, the database and the prefix of the schema names.
Each provider has journals and runs of its own.
"""

import asyncio
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import attrs

import smartglocal_async as sg

# Imported only while tests are collected.
URLS, PEM, FOLDER, MODE, STRIDE, POINTS, DSN, SCHEMA = (
    sys.argv[1:] if __name__ == "__main__" else [""] * 8
)


LEASE_SECONDS = 30.0
MAX_HALTS = 3
"""How many halts a run ends, as an operator would after a check; later outcomes are unknown."""


class Clock:
    """A clock that advances on every sleep, so that deadlines pass at once."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Advance the clock, and wait a moment."""
        self.now += seconds
        await asyncio.sleep(min(seconds, 0.01))


def orders(run: int) -> list[sg.PayoutOrder]:
    """Return the payouts of a run; the start of the second is lost."""
    return [
        sg.PayoutOrder(
            key=f"{name}-{run}",
            payment_method=sg.EncryptedCard(number_hash="hash"),
            amount_details=sg.AmountDetails(10_000, "usd"),
            participant_details=sg.ParticipantDetails(
                recipient=sg.Participant(full_name="Jane Roe")
            ),
        )
        for name in ("plain", "lost")
    ]


def killed_at(number: int) -> Callable[[str], None]:
    """Return a fault point that kills the process at its n-th call."""
    count = itertools.count(1)

    def point(label: str) -> None:
        if next(count) == number:
            Path(FOLDER, "label").write_text(label, encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)

    return point


@attrs.frozen
class Run:
    """One run: its provider, its number, and whether an earlier run was killed."""

    url: str
    place: int
    """The index of the provider."""
    number: int
    resumes: bool = False

    def journal(self, **inner: Any) -> sg.journal.Journal:
        """Return the run's journal; a restart happens after the killed run's leases ended."""
        if not DSN:
            file = Path(FOLDER, f"{self.place}-{self.number}.journal")
            return sg.SQLiteJournal(file, **inner)
        clock = (lambda: time.time() + LEASE_SECONDS) if self.resumes else None  # noqa: TID251
        return sg.PostgresJournal(DSN, schema=f"{SCHEMA}_{self.place}", clock=clock, **inner)

    async def pay_all(
        self, journal: sg.journal.Journal, point: Callable[[str], None]
    ) -> dict[str, Any]:
        """Resume and pay; return the state of each key, and how often payouts were halted."""
        clock = Clock()
        settings = sg.Settings(timing=sg.Timing(monotonic=clock.monotonic, sleep=clock.sleep))
        states: dict[str, str] = {}
        halts = 0
        async with (
            sg.SmartGlocal("demo", PEM, self.url, settings=settings) as api,
            sg.Payouts(
                api, journal, mode=sg.Mode[MODE], lease_seconds=LEASE_SECONDS, fault_point=point
            ) as payouts,
        ):
            while halts <= MAX_HALTS:
                try:
                    await self._pay(payouts, states)
                    break
                except sg.PayoutConflict:
                    halts += 1
                    await payouts.resume_journal()
        unknown = {order.key: "unknown" for order in orders(self.number)}
        return {"states": unknown | states, "halts": halts}

    async def _pay(self, payouts: sg.Payouts, states: dict[str, str]) -> None:
        if self.resumes:
            async for outcome in payouts.settle(deadline=5):
                states[outcome.key] = outcome.state.value
        for order in orders(self.number):
            states[order.key] = (await payouts.pay(order, deadline=20)).state.value


def in_child(run: Coroutine[Any, Any, dict[str, Any]], into: Path | None = None) -> int:
    """Run in a child process; return how it ended."""
    child = os.fork()
    if child:
        run.close()
        return os.waitpid(child, 0)[1]
    try:
        states = asyncio.run(run)
        if into is not None:
            into.write_text(json.dumps(states), encoding="utf-8")
    except BaseException as error:  # noqa: BLE001 - the parent must not go on in here
        sys.stderr.write(f"{error!r}\n")
        os._exit(1)
    os._exit(0)


def warm_up(url: str) -> None:
    """Run once in this process, so that the child processes inherit what it loads."""
    run = Run(url, 0, 0)
    _ = asyncio.run(run.pay_all(sg.SQLiteJournal(Path(FOLDER, "warm.journal")), lambda _: None))
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join()  # It is about to end; a fork would copy its locks and not the thread.


def kill_at_every_point(url: str, place: int) -> None:
    """Kill at every point, one run after the other, and print the state of each key."""
    stride = int(STRIDE)
    for number in itertools.count(1 + place % stride, stride):
        point = killed_at(number)
        inner = {"fault_point": point} if POINTS == "all" else {}
        first_run, second_run = Run(url, place, number), Run(url, place, number, resumes=True)
        ended = in_child(first_run.pay_all(first_run.journal(**inner), point))
        if ended not in {0, signal.SIGKILL}:
            sys.exit(1)
        into = Path(FOLDER, f"{place}-{number}.json")
        if in_child(second_run.pay_all(second_run.journal(), lambda _: None), into) != 0:
            sys.exit(1)
        label = Path(FOLDER, "label").read_text(encoding="utf-8") if ended else ""
        states = json.loads(into.read_text(encoding="utf-8"))
        sys.stdout.write(json.dumps({"place": place, "label": label, **states}) + "\n")
        if not ended:
            return


def main() -> None:
    """Run all points with each provider."""
    urls = URLS.split(",")
    warm_up(urls[0])
    for place, url in enumerate(urls):
        kill_at_every_point(url, place)


if __name__ == "__main__":
    main()
