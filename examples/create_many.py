"""Create a session for each order of a batch, and print the errors."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import smartglocal_async as sg


def requests() -> Iterator[sg.CreateSession]:
    """Yield the orders one by one; read a file or a table here."""
    for number in range(1, 201):
        yield sg.CreateSession(
            amount_details=sg.AmountDetails(100 * number, "eur"),
            metadata={"idempotency_key": f"order{number}"},
        )


async def main() -> None:
    """Create the sessions, at most 64 at once."""
    created = 0
    async with (
        sg.SmartGlocal.from_env() as api,
        aclosing(api.session.create_many(requests(), concurrency=64)) as outcomes,
    ):
        async for outcome in outcomes:
            if outcome.error is not None:
                print(f"{outcome.key}: {outcome.error}")
            else:
                created += 1
    print(f"{created} sessions")


if __name__ == "__main__":
    asyncio.run(main())
