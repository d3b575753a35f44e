"""Takes payouts over one journal in many processes at once, under its limits.

Run as a program by `test_journal_limits`, with the provider's address, the key's file, the address
and schema of the journal, how many processes there are, and what they do: ``knock`` sends one
request, unsigned, for each payout that is taken, and ``pay`` pays it. Prints when each was taken.
"""

import asyncio
import multiprocessing
import os
import sys

import aiohttp

import smartglocal_async as sg

# Imported only where tests are collected.
URL, PEM, DSN, SCHEMA, WORKERS, WAY = sys.argv[1:] if __name__ == "__main__" else [""] * 6
LUMP = 16
"""Payouts that are taken at once: those of a chunk that works on 64 at a time."""
LEASE_SECONDS = 30.0


class Journal(sg.PostgresJournal):
    """A journal that tells the database's time of each payout that is taken."""

    async def claim_open(self, limit, owner, lease_seconds, **options) -> sg.OpenClaims:
        """Take, and tell."""
        claims = await super().claim_open(limit, owner, lease_seconds, **options)
        lines = [f"{entry.leased_until - lease_seconds:.6f}\n" for entry in claims.entries]
        # In one piece, which those of other processes don't come between.
        os.write(sys.stdout.fileno(), "".join(lines).encode())
        return claims


async def knock() -> None:
    """Take what there is, and tell the provider of each payout at once."""
    journal = Journal(DSN, schema=SCHEMA)
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        await journal.open(f"{URL}|demo")
        while True:
            claims = await journal.claim_open(LUMP, str(os.getpid()), LEASE_SECONDS)
            for _ in claims.entries:
                group.create_task(tell(session))
            if claims.wait_seconds is not None:
                await asyncio.sleep(claims.wait_seconds)
            elif len(claims.entries) < LUMP:
                break
        await journal.close()


async def tell(session: aiohttp.ClientSession) -> None:
    """Send a request that is turned away."""
    async with session.post(f"{URL}/api/v1/session/create", data=b"{}") as answer:
        await answer.read()


async def pay() -> None:
    """Pay what there is."""
    async with (
        sg.SmartGlocal("demo", PEM, URL) as api,
        sg.Payouts(api, Journal(DSN, schema=SCHEMA), seal=sg.Seal.from_env()) as payouts,
    ):
        async for outcome in payouts.run_chunk("night"):
            assert outcome.is_paid


def work() -> None:
    """Live one worker's life."""
    asyncio.run(knock() if WAY == "knock" else pay())


if __name__ == "__main__":
    # A fork saves each of them the imports.
    forked = [multiprocessing.get_context("fork").Process(target=work) for _ in range(int(WORKERS))]
    for worker in forked:
        worker.start()
    for worker in forked:
        worker.join()
    sys.exit(any(worker.exitcode for worker in forked))
