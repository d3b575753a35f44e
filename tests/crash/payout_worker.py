"""Pays a few keys in a process that is killed at its k-th point, for every k; then goes on.

It forks for every life, so that only the first one pays for the imports. Run as a program by
`test_payouts_crash`, with the provider's address, the key's file, a folder, a mode, the stride
between the points, which points count, and a schema of PostgreSQL if the journal is to be there.
"""

import asyncio
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import smartglocal_async as sg

# Imported only where tests are collected.
URL, PEM, FOLDER, MODE, STRIDE, POINTS, DSN, SCHEMA = (
    sys.argv[1:] if __name__ == "__main__" else [""] * 8
)


LEASE_SECONDS = 30.0


class Clock:
    """Moves when somebody sleeps: what stays open stays so for its whole deadline, at once."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Give the time, in seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Sleep, but hardly."""
        self.now += seconds
        await asyncio.sleep(min(seconds, 0.01))


def orders(life: int) -> list[sg.PayoutOrder]:
    """Give the payouts of a life: the start of the second is lost."""
    return [
        sg.PayoutOrder(
            key=f"{name}-{life}",
            payment_method=sg.EncryptedCard(number_hash="hash"),
            amount_details=sg.AmountDetails(10_000, "usd"),
            participant_details=sg.ParticipantDetails(
                recipient=sg.Participant(full_name="Jane Roe")
            ),
        )
        for name in ("plain", "lost")
    ]


def killed_at(number: int) -> Callable[[str], None]:
    """Give a fault point that kills the process when it is told for the n-th time."""
    count = itertools.count(1)

    def point(label: str) -> None:
        if next(count) == number:
            Path(FOLDER, "label").write_text(label, encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)

    return point


def journal_of(life: int, resumes: bool, **inner: Any) -> sg.Journal:  # noqa: FBT001
    """Give the journal of a life; who resumes comes when the leases of the dead are over."""
    if not DSN:
        return sg.SQLiteJournal(Path(FOLDER, f"{life}.journal"), **inner)
    clock = (lambda: time.time() + LEASE_SECONDS) if resumes else None  # noqa: TID251
    return sg.PostgresJournal(DSN, schema=SCHEMA, clock=clock, **inner)


async def live(life: int, point: Callable[[str], None], resumes: bool) -> dict[str, str]:  # noqa: FBT001
    """Resume, pay, and tell what became of each key."""
    clock = Clock()
    settings = sg.Settings(timing=sg.Timing(monotonic=clock.monotonic, sleep=clock.sleep))
    told: dict[str, str] = {}
    inner = {"fault_point": point} if POINTS == "all" else {}
    journal = journal_of(life, resumes, **inner)
    async with (
        sg.SmartGlocal("demo", PEM, URL, settings=settings) as api,
        sg.Payouts(
            api, journal, mode=sg.Mode[MODE], lease_seconds=LEASE_SECONDS, fault_point=point
        ) as payouts,
    ):
        if resumes:
            async for outcome in payouts.resume(deadline=5):
                told[outcome.key] = outcome.state.value
        for order in orders(life):
            told[order.key] = (await payouts.pay(order, deadline=20)).state.value
    return told


def in_a_child(life: Coroutine[Any, Any, dict[str, str]], into: Path | None = None) -> int:
    """Run a life in a process of its own; give how it ended."""
    child = os.fork()
    if child:
        life.close()
        return os.waitpid(child, 0)[1]
    try:
        told = asyncio.run(life)
        if into is not None:
            into.write_text(json.dumps(told), encoding="utf-8")
    except BaseException as error:  # noqa: BLE001 - the parent must not go on in here
        sys.stderr.write(f"{error!r}\n")
        os._exit(1)
    os._exit(0)


def main() -> None:
    """Kill at every point, one life after the other, and print what became of the keys."""
    for life in itertools.count(1, int(STRIDE)):
        ended = in_a_child(live(life, killed_at(life), resumes=False))
        if ended not in {0, signal.SIGKILL}:
            sys.exit(1)
        told = Path(FOLDER, f"{life}.json")
        if in_a_child(live(life, lambda _: None, resumes=True), told) != 0:
            sys.exit(1)
        label = Path(FOLDER, "label").read_text(encoding="utf-8") if ended else ""
        outcomes = json.loads(told.read_text(encoding="utf-8"))
        sys.stdout.write(json.dumps({"life": life, "label": label, "told": outcomes}) + "\n")
        if not ended:
            return


if __name__ == "__main__":
    main()
