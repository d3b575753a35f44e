"""Keep batches that are worked off by many within what the wallets hold."""

from collections import Counter
from typing import Final

from attrs import define, field

from ..journal.entries import Batch, BatchState, OpenClaims
from .desk import Desk
from .wallets import STALE_SECONDS, balance

_PAUSE_SECONDS: Final = 5.0
"""How long what is under way has for showing that it wasn't paid, or that the balance has it."""


@define(eq=False)
class Guard:
    """Looks at the balance for one worker, as old as that may be, and writes it down for all."""

    desk: Desk
    _seen_at: dict[str, float] = field(factory=dict[str, float], init=False)
    _short: dict[str, tuple[str, Batch]] = field(factory=dict[str, tuple[str, Batch]], init=False)
    """What the last look didn't cover, and how the batch stood then."""

    async def looked(self, claims: OpenClaims) -> bool:
        """Look where it is time to; say whether what stood still may be asked for again.

        A batch is paused when it stands still at the same payout, and nothing of it has moved
        since the last look: the wallets can't pay.

        Raises:
            CallFailed: the balance can't be asked for.

        """
        for name in claims.guarded - claims.uncovered.keys():
            _ = self._short.pop(name, None)
            if self._now() - self._seen_at.get(name, float("-inf")) >= STALE_SECONDS:
                _ = await self._look(name)
        for name, key in claims.uncovered.items():
            before = self._short.get(name)
            if before is not None:
                await self.desk.timing.sleep_unless(self.desk.stopping, _PAUSE_SECONDS)
            batch = await self._look(name)
            if batch is None:
                continue
            if before is not None and before == (key, batch):
                reason = f"the wallets can't pay {key!r}"
                _ = await self.desk.journal.set_batch_state(name, BatchState.PAUSED, reason)
            self._short[name] = key, batch
        return bool(claims.uncovered)

    async def _look(self, name: str) -> Batch | None:
        """See the balance, and write what it covers; give the batch as it stands then."""
        journal, begun = self.desk.journal, self._now()
        # What the journal knows to be paid by now is gone from the balance that is asked for next.
        batch = await journal.batch(name)
        if batch is None:
            return None
        held, paid = await balance(self.desk.sender.caller), Counter(batch.paid)
        cover = {code: held[code] + paid[code] for code in held.keys() | paid.keys()}
        self._seen_at[name] = begun
        return await journal.cover(name, cover)

    def _now(self) -> float:
        return self.desk.timing.monotonic()
