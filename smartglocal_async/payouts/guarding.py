"""Keep batches that are worked off by many within what the wallets hold."""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from attrs import define, field, frozen

from ..errors import Misuse
from ..journal.entries import WORKABLE, Batch, BatchState, OpenClaims
from ..journal.states import Step
from .desk import Desk
from .paging import PAGE
from .wallets import balance

_PAUSE_SECONDS: Final = 5.0
"""How long what is under way has for showing that it wasn't paid, or that the balance has it."""
_BEGUN: Final = WORKABLE - {Step.NEW}


@frozen
class _Standstill:
    """How a batch stood when the wallets didn't pay for a payout."""

    key: str
    bound: Mapping[str, int]
    paid: Mapping[str, int]
    cover: Mapping[str, int] | None


@define(eq=False)
class Guard:
    """Looks at the balance where a worker's claims stand still for want of it, and tells all."""

    desk: Desk
    _seen: dict[str, _Standstill] = field(factory=dict[str, _Standstill], init=False)
    """What the last looks showed, by batch."""

    async def looked(self, claims: OpenClaims) -> bool:
        """Look where something stands still; say whether it may be asked for again.

        A batch is paused when it stands still at the same payout, nothing of it has moved since
        the last look, and nobody is at work on it: the wallets can't pay.

        Raises:
            CallFailed: the balance can't be asked for.

        """
        self._seen = {name: self._seen[name] for name in claims.uncovered if name in self._seen}
        for name, key in claims.uncovered.items():
            before = self._seen.get(name)
            if before is not None:
                await self.desk.timing.sleep_unless(self.desk.stopping, _PAUSE_SECONDS)
                if self.desk.stopping.is_set():
                    return False  # What is under way had no time to show anything.
            batch = await self._look(name)
            if batch is None or batch.state is not BatchState.RUNNING:
                continue
            now = _Standstill(key, batch.bound, batch.paid, batch.cover)
            if now == before and not await self._is_at_work(name):
                with suppress(Misuse):  # Somebody cancelled it meanwhile.
                    reason = f"the wallets can't pay {key!r}"
                    _ = await self.desk.journal.set_batch_state(name, BatchState.PAUSED, reason)
            self._seen[name] = now
        return bool(claims.uncovered)

    async def _is_at_work(self, name: str) -> bool:
        """Say whether somebody works on what was begun: the balance may lack it already."""
        begun = await self.desk.journal.entries(PAGE, steps=_BEGUN, batch=name)
        return any(entry.owner is not None for entry in begun)

    async def _look(self, name: str) -> Batch | None:
        """See the balance, and write what it covers; give the batch as it stands then."""
        journal = self.desk.journal
        # What the journal knows to be paid by now is gone from the balance that is asked for next.
        batch = await journal.batch(name)
        if batch is None:
            return None
        held, paid = await balance(self.desk.sender.caller), Counter(batch.paid)
        cover = {code: held[code] + paid[code] for code in held.keys() | paid.keys()}
        return await journal.cover(name, cover)
