"""Batches in the journal: submitted once, and paid by any number of processes."""

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from contextlib import aclosing, suppress
from itertools import count
from typing import Final

from attrs import define, evolve, field, frozen

from ..call import CallRunner
from ..concurrency import in_lumps, settle_all
from ..errors import InProgress, KeyReused, LostLease, Misuse
from ..journal.entries import WORKABLE, Batch, BatchRules, BatchState, Entry, NewEntry, OpenClaims
from ..journal.journal import PAGE, each
from ..journal.limits import NEW_BATCH
from ..journal.states import Step
from ..models.serialization import Serializable
from ..models.tokens import GetBalance
from ..models.validators import above_zero
from ..operations import WALLET_BALANCE
from ..request import CallOptions
from .claimer import BatchPosition, ClaimedEntry, Claimer
from .context import WorkerContext
from .files.payout_file import read_for
from .orders import PayoutOrder, PayoutOutcome, PayoutState, state_of
from .review import cancel
from .stop_rules import StopOn, rules_of


async def balance(caller: CallRunner) -> Counter[str]:
    """Return what the prefunded wallets hold, in minor units by currency."""
    request = GetBalance(request_datetime=caller.settings.timing.now())
    found = Counter[str]()
    for wallet in (await caller.call(WALLET_BALANCE, request, CallOptions())).answer:
        found[wallet.amount_details.currency] += wallet.amount_details.amount
    return found


_PAUSE_SECONDS: Final = 5.0
"""Pause between two balances, so that payouts in flight can end or show in the balance."""
_BEGUN: Final = WORKABLE - {Step.NEW}


@frozen
class _Blocked:
    """The state of a batch when the wallets didn't cover its next payout."""

    key: str
    bound: Mapping[str, int]
    paid: Mapping[str, int]
    cover: Mapping[str, int] | None


@define(eq=False)
class BalanceGuard:
    """Reads the balance when a batch is blocked by it, and pauses the batch if that persists."""

    context: WorkerContext
    _seen: dict[str, _Blocked] = field(factory=dict[str, _Blocked], init=False)
    """What the last check showed, by batch."""

    async def check(self, claims: OpenClaims) -> bool:
        """Read the balance for the batches that are blocked; return whether to claim again at once.

        A batch is paused if it is blocked at the same payout as before, its totals haven't changed,
        and no process works on it: the wallets can't pay.

        Raises:
            CallFailed: the balance can't be read.

        """
        self._seen = {name: self._seen[name] for name in claims.uncovered if name in self._seen}
        for name, key in claims.uncovered.items():
            before = self._seen.get(name)
            if before is not None:
                await self.context.timing.sleep_unless_set(self.context.stopping, _PAUSE_SECONDS)
                if self.context.stopping.is_set():
                    return False  # Payouts in flight had no time to end.
            batch = await self._refresh_cover(name)
            if batch is None or batch.state is not BatchState.RUNNING:
                continue
            now = _Blocked(key, batch.bound, batch.paid, batch.cover)
            if now == before and not await self._is_in_progress(name):
                with suppress(Misuse):  # It may have been cancelled meanwhile.
                    reason = f"the wallets can't pay {key!r}"
                    _ = await self.context.journal.set_batch_state(name, BatchState.PAUSED, reason)
            self._seen[name] = now
        return bool(claims.uncovered)

    async def _is_in_progress(self, name: str) -> bool:
        """Return whether payouts of the batch are in flight: the balance may lack them."""
        begun = await self.context.journal.entries(PAGE, steps=_BEGUN, batch=name)
        return any(entry.owner is not None for entry in begun)

    async def _refresh_cover(self, name: str) -> Batch | None:
        """Read the balance and write what it covers; return the updated batch."""
        journal = self.context.journal
        # What is recorded as paid by now is already deducted from the balance that is read next.
        batch = await journal.batch(name)
        if batch is None:
            return None
        held, paid = await balance(self.context.sender.caller), Counter(batch.paid)
        cover = {code: held[code] + paid[code] for code in held.keys() | paid.keys()}
        return await journal.cover(name, cover)


_CHUNK: Final = 1_000
"""Payouts that are submitted in one commit."""
_MAX_REFUSED: Final = 100
_JITTER: Final = 0.2
_LUMPS: Final = 4
"""A claim takes this part (one in so many) of the concurrency, since leases are short."""


@frozen(kw_only=True)
class Submission(Serializable):
    """What `Payouts.submit` wrote of a source, and what the journal had of it before."""

    batch: Batch
    refused: tuple[KeyReused, ...]
    """Payouts whose key belongs to another order, the first 100; they are not in the batch."""
    refused_count: int
    new_count: int
    """Payouts that were written now."""
    known: Mapping[tuple[str | None, PayoutState], int] = field(hash=False)
    """How many were there before, by their batch and state. They aren't changed: one that failed or
    was cancelled is never paid under its key, and one of another batch stays with that batch.
    """


@define(eq=False)
class Submitter:
    """Writes a batch to the journal, and sends nothing."""

    claimer: Claimer
    batch: str
    digest: bytes | None
    rules: BatchRules | None
    _rows: int = field(default=0, init=False)
    _totals: dict[str, int] = field(factory=dict[str, int], init=False)
    _refused: list[KeyReused] = field(factory=list[KeyReused], init=False)
    _refused_count: int = field(default=0, init=False)
    _new_count: int = field(default=0, init=False)
    _known: Counter[tuple[str | None, PayoutState]] = field(
        factory=Counter[tuple[str | None, PayoutState]], init=False
    )

    async def run(self, source: Iterable[PayoutOrder] | AsyncIterable[PayoutOrder]) -> Submission:
        """Write all orders of the source; entries that exist stay as they are."""
        if self.claimer.cipher is None:
            raise Misuse(
                "give Payouts a cipher: a submitted batch is paid from its encrypted requests"
            )
        journal, ordinals = self.claimer.context.journal, count()
        if self.rules is not None:
            # The rules are written before the first payout that they apply to.
            found = await journal.batch(self.batch)
            if found is None and await journal.counts(batch=self.batch):
                raise Misuse(
                    f"payouts of the batch {self.batch!r} were written before any stop rules: "
                    f"{NEW_BATCH}"
                )
            named = found or Batch(name=self.batch, digest=self.digest)
            _ = await journal.put_batch(evolve(named, rules=self.rules))
        async for orders in in_lumps(source, _CHUNK):
            new_entries = [
                self.claimer.new(order, BatchPosition(self.batch, next(ordinals)))
                for order in orders
            ]
            for new, entry in zip(new_entries, await journal.accept_many(new_entries), strict=True):
                if isinstance(entry, KeyReused):
                    self._refuse(entry)
                else:
                    self._note(new, entry)
        batch = Batch(
            name=self.batch, digest=self.digest, rows=self._rows, totals=dict(self._totals)
        )
        return Submission(
            batch=await journal.put_batch(batch),
            refused=tuple(self._refused),
            refused_count=self._refused_count,
            new_count=self._new_count,
            known=dict(self._known),
        )

    def _note(self, new: NewEntry, found: Entry) -> None:
        currency = new.currency or ""
        self._rows += 1
        self._totals[currency] = self._totals.get(currency, 0) + (new.amount or 0)
        # Each encryption differs, so equal bytes mean that the row was written just now.
        if found.request == new.request:
            self._new_count += 1
        else:
            self._known[found.batch, state_of(found.step)] += 1

    def _refuse(self, reused: KeyReused) -> None:
        self._refused_count += 1
        if len(self._refused) < _MAX_REFUSED:
            self._refused.append(reused)


@frozen(eq=False)
class ChunkRun:
    """Pays some of the open payouts."""

    claimer: Claimer
    batch: str | None
    deadline: float
    places: asyncio.Semaphore | None = None
    _left: dict[str, ClaimedEntry] = field(factory=dict[str, ClaimedEntry], init=False)
    """Claimed, but not begun yet."""

    async def run(self, limit: int, concurrency: int) -> AsyncGenerator[PayoutOutcome]:
        """Yield the outcomes as they settle."""
        # Closed whatever ends it, so that claims that weren't begun are released at once.
        async with aclosing(self._claimed(limit, max(1, concurrency // _LUMPS))) as claimed:
            settled = settle_all(claimed, self._work, concurrency, places=self.places)
            async with aclosing(settled) as outcomes:
                async for outcome in outcomes:
                    if outcome is not None:
                        yield outcome
        await self.claimer.context.raise_if_halted()

    async def _work(self, _index: int, claimed: ClaimedEntry) -> PayoutOutcome | None:
        del self._left[claimed.entry.key]
        return await self.claimer.resume_claimed(claimed, self._now() + self.deadline)

    async def _claimed(self, limit: int, lump: int) -> AsyncGenerator[ClaimedEntry]:
        """Claim entries in lumps as they are needed; release those that aren't begun."""
        context, left = self.claimer.context, self._left
        guard = BalanceGuard(context)
        while limit > 0 and not context.stopping.is_set():
            begun, wanted = self._now(), min(lump, limit)
            claims = await context.journal.claim_open(
                wanted, context.owner, context.lease_seconds, batch=self.batch
            )
            until = begun + context.lease_seconds
            left.update((entry.key, ClaimedEntry(entry, until)) for entry in claims.entries)
            try:
                while left and not context.stopping.is_set():
                    # Either begun before the next turn, or kept since another one failed meanwhile.
                    yield next(iter(left.values()))
            finally:
                while left:
                    await context.journal.release(left.popitem()[1].entry)
            limit -= len(claims.entries)
            if await guard.check(claims):
                continue
            if claims.wait_seconds is not None:
                pause = claims.wait_seconds * (1 + context.timing.random() * _JITTER)
                await context.timing.sleep_unless_set(context.stopping, pause)
            elif len(claims.entries) < wanted and not claims.has_paused:
                return

    def _now(self) -> float:
        return self.claimer.context.timing.monotonic()


async def cancel_batch(
    context: WorkerContext, batch: str, reason: str, operator: str | None
) -> int:
    """Cancel a batch and its payouts that weren't begun; return how many those are."""
    _ = await context.journal.set_batch_state(
        batch, BatchState.CANCELLED, reason, operator=operator
    )
    steps, cancelled = frozenset({Step.NEW, Step.CREATING}), 0
    found = each(
        lambda after: context.journal.open_entries(
            PAGE, after=after, steps=steps, batch=batch, is_due=False
        )
    )
    async with aclosing(found) as entries:
        async for entry in entries:
            with suppress(InProgress, LostLease, Misuse):  # Another process began or settled it.
                _ = await cancel(context, entry.key, reason)
                cancelled += 1
    return cancelled


class SharedBatches(ABC):
    """The methods of `Payouts` for batches that several processes share."""

    @abstractmethod
    def _open(self) -> Claimer:
        """Return the claimer; raise `Misuse` if the journal isn't open."""

    async def submit(
        self,
        source: Iterable[PayoutOrder] | AsyncIterable[PayoutOrder],
        batch: str,
        *,
        digest: bytes | None = None,
        stop_on: StopOn | None = None,
    ) -> Submission:
        """Write a batch into the journal, its requests encrypted, and send nothing.

        `run_chunk` pays it, here or in any number of other processes over the same journal.
        Submitting the same source again adds only what isn't there yet. A key stays with its first
        batch, and a failed or cancelled payout stays that; `Submission.known` counts both.
        ``digest``, such as the SHA-256 of a file, is stored with the batch.

        ``stop_on`` applies to all processes together: when a rule is met, the batch is paused with
        a ``reason``, payouts in flight are finished, and `unpause` goes on. Spending limits are
        never passed; payouts of the batch that `pay`, `pay_all` or `resume` begin are counted, but
        not refused. New rules replace the earlier ones; without ``stop_on`` those stay.

        Raises:
            Misuse: there is no ``cipher``, so no other process could pay; or rules are given for a
                batch that was begun without any.
            InvalidRequest: an order breaks a rule; orders before it may be written.
            JournalUnusable: the journal can't be written; earlier orders may be.

        """
        rules = None if stop_on is None else rules_of(stop_on)
        claimer = self._open()
        sender = claimer.context.sender
        source = read_for(source, sender.caller.settings, sender.version)
        return await Submitter(claimer, batch, digest, rules).run(source)

    def run_chunk(
        self,
        batch: str | None = None,
        *,
        limit: int = 500,
        concurrency: int = 64,
        deadline: float = 60.0,
        places: asyncio.Semaphore | None = None,
    ) -> AsyncGenerator[PayoutOutcome]:
        """Pay up to ``limit`` open and due payouts, and yield the outcomes as they settle.

        Any number of processes may run it at once, from any job queue: each claims other payouts,
        and a job that runs twice or never does no harm. It ends early when nothing can be claimed
        now. What isn't settled within its ``deadline`` is retried later, after a pause. Chunks that
        share the semaphore ``places`` work on no more payouts together than it allows, so that a
        new chunk can begin while the last payouts of another end.

        Raises:
            Refused: our credentials are refused; begun payouts stay open.
            CallFailed: the balance can't be read, which a rule of a batch needs.
            PayoutsHalted: an operator has to check first what its text says.
            JournalUnusable: the journal can't be written, so nothing more was sent.

        """
        above_zero("limit", limit, whole=True)
        above_zero("concurrency", concurrency, whole=True)
        above_zero("deadline", deadline)
        return ChunkRun(self._open(), batch, deadline, places).run(limit, concurrency)

    async def pause_batch(self, batch: str, *, reason: str, operator: str | None = None) -> Batch:
        """Pause a batch: no `run_chunk`, in any process, begins more of its payouts.

        Payouts in flight are finished. `resume_batch` ends the pause. With ``operator``, the name
        of a person is stored with the change: see `Journal.actions`.

        Raises:
            Misuse: there is no such batch, or it was cancelled.

        """
        return await self._open().context.journal.set_batch_state(
            batch, BatchState.PAUSED, reason, operator=operator
        )

    async def resume_batch(self, batch: str, *, operator: str | None = None) -> Batch:
        """End the pause of a batch; stores and raises what `pause_batch` does.

        Its rules still apply: a spending limit that was reached pauses it again at the next payout
        that would pass it. To raise the limit, `submit` the batch again with another one.
        """
        return await self._open().context.journal.set_batch_state(
            batch, BatchState.RUNNING, operator=operator
        )

    async def cancel_batch(self, batch: str, *, reason: str, operator: str | None = None) -> int:
        """Cancel a batch for good; return how many of its payouts were cancelled.

        Those are the payouts that weren't begun. Payouts in flight are finished; `settle` goes on
        with what is left open. A cancelled payout is never paid under its key, in another batch
        either: submit it under a new key. ``operator`` is stored as in `pause_batch`.

        Raises:
            Misuse: there is no such batch.

        """
        return await cancel_batch(self._open().context, batch, reason, operator)
