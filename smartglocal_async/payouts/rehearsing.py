"""Rehearse payouts: build and sign what would be sent for each, and send nothing."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Final

from ..batch import settle_all
from ..client import SmartGlocal
from ..middlewares.signer import SignRequests
from .orders import PayoutOrder
from .sending import Sender

_AT_ONCE: Final = 16


async def rehearse(api: SmartGlocal, orders: Iterable[PayoutOrder]) -> AsyncGenerator[int]:
    """Give, for each order, how many requests were built and signed with the client's key.

    Raises:
        InvalidRequest: an order could not be sent.
        InvalidCredentials: the key doesn't sign.

    """
    caller = api._caller  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    sender = Sender(caller, "rehearsal")
    signing = caller.freezer.middlewares[-1]
    assert isinstance(signing, SignRequests)  # noqa: S101 - the client puts it there

    async def sign(_index: int, order: PayoutOrder) -> int:
        bodies = sender.rehearsal(order)
        for body in bodies:
            _ = await signing.signer.sign(await body.as_bytes())
        return len(bodies)

    async with aclosing(settle_all(orders, sign, _AT_ONCE)) as signed:
        async for count in signed:
            yield count
