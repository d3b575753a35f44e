"""A process that handles one webhook: ``webhook_process.py STORE ADDRESS SCHEMA CLAIM_SECONDS``.

It prints ``claimed`` in the handler, and waits there for a line on its standard input. The last
line that it prints is the state of the receipt.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

import smartglocal_async as sg

EVENT = sg.PaymentFinished(session=sg.Session(id="ps_1", status="accepted"))


def store_of(kind: str, address: str, schema: str, claim_seconds: float) -> Any:
    """Return a store of this kind."""
    if kind == "sqlite":
        return sg.webhooks.SQLiteStore(address, claim_seconds=claim_seconds)
    return sg.webhooks.PostgresStore(address, schema=schema, claim_seconds=claim_seconds)


@contextlib.asynccontextmanager
async def handled(
    store: Any, go: asyncio.Event | None = None, **options: Any
) -> AsyncIterator[tuple[sg.Webhooks, list[str]]]:
    """Yield running webhooks, and the sessions of the events that their handler received.

    The handler waits for ``go``.
    """
    verifier = sg.WebhookVerifier(sg.PrivateKey.generate().public)
    webhooks = sg.Webhooks(verifier, store=store, answer=sg.webhooks.AnswerWhen.HANDLED, **options)
    seen: list[str] = []

    @webhooks.on(sg.WebhookEvent)
    async def handle(event: sg.WebhookEvent) -> None:
        seen.append(event.session.id)
        if go is not None:
            await go.wait()

    async with webhooks:
        yield webhooks, seen


async def main(kind: str, address: str, schema: str, claim_seconds: str) -> None:
    """Handle the event, and print what became of it."""
    store = store_of(kind, address, schema, float(claim_seconds))
    verifier = sg.WebhookVerifier(sg.PrivateKey.generate().public)
    webhooks = sg.Webhooks(verifier, store=store, answer=sg.webhooks.AnswerWhen.HANDLED)

    @webhooks.on(sg.PaymentFinished)
    async def handle(_: sg.PaymentFinished) -> None:
        print("claimed", flush=True)  # noqa: T201 - read by the test
        _line = await asyncio.to_thread(sys.stdin.readline)

    async with webhooks:
        print((await webhooks.accept(EVENT)).state.value, flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
