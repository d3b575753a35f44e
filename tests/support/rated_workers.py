"""Claims payouts over one journal in many processes at once, under its limits.

Run as a program by `test_limits`, with the provider's address, the key's file, the address and
schema of the journal, how many processes there are, and their task: ``ping`` sends one unsigned
request for each claimed payout, and ``pay`` pays it. Prints the time of each claim.
"""

import asyncio
import multiprocessing
import os
import sys

import aiohttp

import smartglocal_async as sg

# Imported only while tests are collected.
URL, PEM, DSN, SCHEMA, WORKERS, TASK = sys.argv[1:] if __name__ == "__main__" else [""] * 6
CLAIM_SIZE = 16
"""Payouts of one claim, as in a chunk that works on 64 at a time."""
LEASE_SECONDS = 30.0


class Journal(sg.PostgresJournal):
    """A journal that prints the database's time of each claimed payout."""

    async def claim_open(self, limit, owner, lease_seconds, **options) -> sg.journal.OpenClaims:
        """Claim payouts and print the times."""
        claims = await super().claim_open(limit, owner, lease_seconds, **options)
        lines = [f"{entry.leased_until - lease_seconds:.6f}\n" for entry in claims.entries]
        # One write, so that those of other processes don't interleave with it.
        os.write(sys.stdout.fileno(), "".join(lines).encode())
        return claims


async def ping() -> None:
    """Claim all payouts, and send a request for each at once."""
    journal = Journal(DSN, schema=SCHEMA)
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        await journal.open(f"{URL}|demo")
        while True:
            claims = await journal.claim_open(CLAIM_SIZE, str(os.getpid()), LEASE_SECONDS)
            for _ in claims.entries:
                group.create_task(send_request(session))
            if claims.wait_seconds is not None:
                await asyncio.sleep(claims.wait_seconds)
            elif len(claims.entries) < CLAIM_SIZE:
                break
        await journal.close()


async def send_request(session: aiohttp.ClientSession) -> None:
    """Send a request that the provider rejects."""
    async with session.post(f"{URL}/api/v1/session/create", data=b"{}") as answer:
        await answer.read()


async def pay() -> None:
    """Pay a chunk."""
    async with (
        sg.SmartGlocal("demo", PEM, URL) as api,
        sg.Payouts(api, Journal(DSN, schema=SCHEMA), cipher=sg.RequestCipher.from_env()) as payouts,
    ):
        async for outcome in payouts.run_chunk("night"):
            assert outcome.is_paid


def work() -> None:
    """Run one worker."""
    asyncio.run(ping() if TASK == "ping" else pay())


if __name__ == "__main__":
    # With a fork, the workers don't import the package again.
    forked = [multiprocessing.get_context("fork").Process(target=work) for _ in range(int(WORKERS))]
    for worker in forked:
        worker.start()
    for worker in forked:
        worker.join()
    sys.exit(any(worker.exitcode for worker in forked))
