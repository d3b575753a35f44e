"""Pays one file over a journal that other processes use, too; can stop itself at a fault point.

Run as a program by `test_payouts_workers`, with the provider's address, the key's file, the file of
payouts, the journal's address and schema, the worker's number, and the label at which it stops.
"""

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter

import smartglocal_async as sg

LEASE_SECONDS = 2.0
CONCURRENCY = 16


def stopped_at(label: str):
    """Return a fault point that stops the process once, at its tenth call with this label."""
    left = [10]

    def point(at: str) -> None:
        if at == label and left[0]:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGSTOP)

    return point


async def main() -> None:
    """Pay the file in a random order and print the counts of the outcomes."""
    url, pem, file, dsn, schema, number, label = sys.argv[1:]
    orders = list(sg.PayoutFile(file))
    random.Random(int(number)).shuffle(orders)  # noqa: S311 - not a secret
    counts: Counter[str] = Counter()
    async with (
        sg.SmartGlocal("demo", pem, url) as api,
        sg.Payouts(
            api,
            sg.PostgresJournal(dsn, schema=schema),
            lease_seconds=LEASE_SECONDS,
            fault_point=stopped_at(label),
        ) as payouts,
    ):
        async for outcome in payouts.pay_all(orders, concurrency=CONCURRENCY, batch="night"):
            counts[outcome.state.value] += 1
            counts["replayed"] += outcome.replayed
    sys.stdout.write(json.dumps(counts))


if __name__ == "__main__":
    asyncio.run(main())
