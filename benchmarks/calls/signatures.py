"""The number of signatures of a call whose first four attempts fail."""

import asyncio
from collections.abc import Iterator
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

from ..goals import Goal, table
from ..machine import say
from ..setting import Setting
from ..work import AMOUNT, CURRENCY

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
    """The signatures of some orders, each of which failed four times."""

    orders: int
    signatures: int
    """Made by the client."""
    attempts: int
    """Requests counted by the server."""
    different: int
    """Different signatures at the server."""
    sessions: int

    @property
    def per_call(self) -> float:
        """Signatures made per logical call."""
        return self.signatures / self.orders


def measure(setting: Setting) -> Signing:
    """Return what some orders took on the emulator."""
    say("signatures per call")
    keys = [f"order-{place}" for place in range(20 if setting.is_quick else 100)]
    with run_in_thread(faults=_FAULTS) as provider:
        return asyncio.run(_order(provider, keys))


def goals(found: Signing) -> Iterator[Goal]:
    """Yield goal 7."""
    calls = found.orders
    is_exact = found.attempts == ATTEMPTS * calls and found.sessions == calls
    yield Goal(
        number=7,
        figure=f"signatures per call over {ATTEMPTS} attempts, {calls} calls",
        target="1",
        measured=f"{found.per_call:g} ({found.attempts} attempts, {found.sessions} sessions)",
        is_reached=is_exact and found.signatures == found.different == calls,
    )


def tables(found: Signing) -> str:
    """Return what the orders took, as a table."""
    row = (found.orders, found.attempts, found.signatures, found.different, found.sessions)
    heads = ("calls", "attempts", "signatures made", "different ones seen", "sessions")
    return table(heads, [row])


async def _order(provider: Provider, keys: list[str]) -> Signing:
    assert provider.private_key is not None  # noqa: S101 - the emulator made the pair
    retry = RetryPolicy(attempts=ATTEMPTS, initial_delay_seconds=0.001, budget_tokens=100_000)
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
