"""A worker with short leases; run as a program by `chaos_driver`.

The settings are in the environment. Arguments: the journal's address, the lease in seconds, the
mode, and how many payouts it works on at once.
"""

import asyncio
import signal
import sys

import smartglocal_async as sg
from smartglocal_async.integrations.cluster import worker_of


async def work(dsn: str, lease_seconds: float, mode: sg.Mode, concurrency: int) -> None:
    """Work until a signal stops it."""
    journal = sg.PostgresJournal(dsn, patience_seconds=60, answer_seconds=5)
    async with (
        sg.SmartGlocal.from_env() as api,
        sg.Payouts(
            api, journal, cipher=sg.RequestCipher.from_env(), lease_seconds=lease_seconds, mode=mode
        ) as payouts,
        worker_of(payouts, journal, concurrency=concurrency, every="* * * * * *") as worker,
    ):
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, worker.shutdown.set)
        await worker.run()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], float(sys.argv[2]), sg.Mode(sys.argv[3]), int(sys.argv[4])))
