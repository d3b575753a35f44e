"""``payouts pay --dry-run``: every request is built and signed, and none is sent."""

import asyncio

from attrs import frozen

from ..client import SmartGlocal
from ..payouts.files import PayoutFile
from ..payouts.rehearsing import rehearse


@frozen
class Signed:
    """What a dry run signed."""

    payouts: int
    bodies: int


def sign_all(client: SmartGlocal, file: PayoutFile) -> Signed:
    """Sign the requests of every payout of a file.

    Raises:
        InvalidRequest: one of them could not be sent.
        InvalidCredentials: the key doesn't sign.

    """

    async def sign() -> Signed:
        payouts = bodies = 0
        async with client:
            async for count in rehearse(client, file):
                payouts, bodies = payouts + 1, bodies + count
        return Signed(payouts, bodies)

    return asyncio.run(sign())
