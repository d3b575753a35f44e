"""How many signatures a call takes when its first four attempts fail."""

import asyncio
from typing import Final

from attrs import frozen

from smartglocal_async import (
    AmountDetails,
    CreateSession,
    RetryPolicy,
    SessionPool,
    Settings,
    SmartGlocal,
)
from smartglocal_async.emulator import Fault, FaultKind, FaultScript, Provider, run_in_thread

from .work import AMOUNT, CURRENCY

ATTEMPTS: Final = 5
_FAULTS: Final = FaultScript(
    (
        Fault(FaultKind.BEFORE, nth=(1,)),
        Fault(FaultKind.SERVER_ERROR, nth=(2,)),
        Fault(FaultKind.RESET, nth=(3,)),
        Fault(FaultKind.CUT, nth=(4,)),
    )
)


@frozen
class Signing:
    """What some orders took, all of which failed four times."""

    orders: int
    signatures: int
    """Made by the client."""
    attempts: int
    """Counted by the server."""
    different: int
    """Different signatures that the server saw."""
    sessions: int

    @property
    def per_call(self) -> float:
        """Signatures made per logical call."""
        return self.signatures / self.orders


def count_signatures(orders: int) -> Signing:
    """Give what that many orders took on the emulator."""
    with run_in_thread(faults=_FAULTS) as provider:
        return asyncio.run(_order(provider, [f"order-{place}" for place in range(orders)]))


async def _order(provider: Provider, keys: list[str]) -> Signing:
    assert provider.private_key is not None  # noqa: S101 - the emulator made the pair
    retry = RetryPolicy(attempts=ATTEMPTS, first_wait_seconds=0.001, budget_tokens=100_000)
    request = CreateSession(amount_details=AmountDetails(AMOUNT, CURRENCY))
    async with (
        SessionPool() as pool,
        SmartGlocal(
            provider.project,
            provider.private_key,
            provider.url,
            settings=Settings(retry=retry),
            pool=pool,
        ) as api,
        asyncio.TaskGroup() as group,
    ):
        for key in keys:
            _ = group.create_task(api.session.create(request, key=key))
    seen = [provider.order(key) for key in keys]
    return Signing(
        orders=len(keys),
        signatures=pool.stats().signatures,
        attempts=sum(order.attempts for order in seen),
        different=sum(len(order.signatures) for order in seen),
        sessions=sum(order.made for order in seen),
    )
