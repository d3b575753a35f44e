"""Pays the orders of a kill run, from wherever an earlier process left them; see `kill_driver`.

Arguments: address of the emulator, key file, journal (a path, or ``postgres://...?schema=...``),
mode, number of payouts, lease in seconds, file for the reported outcomes, codes that are refusals.
Exits with 0 when nothing is open, and with 7 when payouts were halted. If another process has the
journal open, it waits.
"""

import asyncio
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Final

from paying import order

import smartglocal_async as sg

_DEADLINE_SECONDS: Final = 30.0
_ROUNDS: Final = 60
_BUSY: Final = 5
"""Errors because another process has the journal open, or because it can't be written."""
_BUSY_SECONDS: Final = 0.5


def journal_at(place: str) -> sg.journal.Journal:
    """Return the journal of a run."""
    if "://" in place:
        address, _, schema = place.partition("?schema=")
        return sg.PostgresJournal(address, schema=schema)
    return sg.SQLiteJournal(Path(place))


def orders(count: int) -> list[sg.PayoutOrder]:
    """Return the payouts of a run."""
    return [order(f"p-{number}", 10_000 + number) for number in range(count)]


def settings(refusal_codes: Collection[str] = ()) -> sg.Settings:
    """Return settings with which an outage takes little time."""
    patience = sg.RetryPolicy(
        initial_delay_seconds=0.01,
        throttled_initial_delay_seconds=0.01,
        attempt_timeout_seconds=2,
        budget_tokens=1_000_000,
    )
    return sg.Settings(retry=patience, refusal_codes=frozenset(refusal_codes))


async def pay(payouts: sg.Payouts, count: int, report: Path) -> None:
    """Pay until nothing is open; write down each outcome as it is reported."""
    with report.open("a", encoding="utf-8", buffering=1) as lines:
        for _ in range(_ROUNDS):
            is_open = False
            try:
                async for done in payouts.pay_all(
                    orders(count), concurrency=32, deadline=_DEADLINE_SECONDS
                ):
                    is_open = is_open or done.state is sg.PayoutState.OPEN
                    lines.write(f"{done.key} {done.state.value}\n")
            except sg.Refused:
                is_open = True  # Not the provider's answer; the payouts stay open.
            if not is_open:
                return


async def main() -> int:
    """Pay, and return the exit code."""
    while (code := await pay_once()) == _BUSY:  # noqa: ASYNC110 - another process has it
        await asyncio.sleep(_BUSY_SECONDS)
    return code


async def pay_once() -> int:
    """Open the journal and pay, once; return the exit code."""
    url, pem, place, mode, count, lease, report, *codes = sys.argv[1:]
    looks = sg.payouts.StatusChecks(initial_delay_seconds=0.05, max_delay_seconds=1.0)
    try:
        async with (
            sg.SmartGlocal("demo", pem, url, settings=settings(codes)) as api,
            sg.Payouts(
                api,
                journal_at(place),
                mode=sg.Mode(mode),
                lease_seconds=float(lease),
                status_checks=looks,
            ) as payouts,
        ):
            await pay(payouts, int(count), Path(report))
    except sg.PayoutsHalted as halted:
        sys.stderr.write(f"halted: {halted}\n")
        return 7
    except sg.JournalUnusable as unusable:
        sys.stderr.write(f"journal: {unusable}\n")
        return _BUSY
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
