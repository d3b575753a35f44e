"""A cluster worker with short leases, scheduled every second.

Run as a program by `test_cluster`, with the provider's address, the key's file, and the journal's
address and schema. SIGTERM ends it after its work in progress.
"""

import asyncio
import signal
import sys

import smartglocal_async as sg
from smartglocal_async.integrations.cluster import worker_of

LEASE_SECONDS = 2.0


async def main() -> None:
    """Work until a signal stops it."""
    url, pem, dsn, schema = sys.argv[1:]
    journal = sg.PostgresJournal(dsn, schema=schema)
    async with (
        sg.SmartGlocal("demo", pem, url) as api,
        sg.Payouts(
            api, journal, cipher=sg.RequestCipher.from_env(), lease_seconds=LEASE_SECONDS
        ) as payouts,
        worker_of(payouts, journal, concurrency=16, every="* * * * * *") as worker,
    ):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.shutdown.set)
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
