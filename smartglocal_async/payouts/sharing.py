"""What any number of processes do with one batch: the part of `Payouts` that speaks of them."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, Iterable

from ..journal.entries import Batch, BatchState
from ..values.exactness import above_zero
from . import chunks
from .chunks import Chunk, Submission, Submitting
from .leading import Lead
from .orders import PayoutOrder, PayoutOutcome
from .stopping import StopOn, rules_of


class SharedBatches(ABC):
    """Batches that lie in the journal, for whoever works them off."""

    @abstractmethod
    def _open(self) -> Lead:
        """Give what leads payouts, if the journal is open."""

    async def submit(
        self,
        source: Iterable[PayoutOrder] | AsyncIterable[PayoutOrder],
        batch: str,
        *,
        digest: bytes | None = None,
        stop_on: StopOn | None = None,
    ) -> Submission:
        """Write a batch into the journal, its requests sealed, and send nothing.

        `run_chunk` pays it, here or in any number of other processes over the same journal. The
        same source again adds what isn't there yet; a key stays with the batch that it came with,
        and what failed or was withdrawn stays that, which `Submission.known` counts. ``digest`` is
        kept with the batch: the SHA-256 of a file, say. ``stop_on`` holds for all who work on the
        batch together: when a rule says so, the batch is paused, and its ``reason`` says why; what
        is under way is finished, and `unpause` goes on. No spending limit is passed, whatever is
        under way; what `pay`, `pay_all` or `resume` begin of the batch counts, but isn't refused.
        Given again, other rules take the place of the first ones; not given, those stay.

        Raises:
            Misuse: there is no seal, so that nobody could pay without the source; or the batch is
                there, or payouts of it are, and was begun without rules.
            InvalidRequest: an order breaks a rule; what comes before it may be written.
            JournalUnusable: nothing can be written; what comes before may be.

        """
        rules = None if stop_on is None else rules_of(stop_on)
        return await Submitting(self._open(), batch, digest, rules).through(source)

    def run_chunk(
        self,
        batch: str | None = None,
        *,
        limit: int = 500,
        concurrency: int = 64,
        deadline: float = 60.0,
        places: asyncio.Semaphore | None = None,
    ) -> AsyncGenerator[PayoutOutcome]:
        """Pay so many at most of what is open and due, and give the outcomes as they settle.

        As many processes as you like may do it at once, driven by whatever runs your jobs: each
        takes other payouts, and a job that comes twice, or never, does no harm. It ends early when
        nothing is left that can be taken now; what isn't settled within its ``deadline`` is looked
        at again later, after a pause. Chunks that run at once and share ``places`` work on no more
        than so many payouts together, so that the end of one is the beginning of the next.

        Raises:
            Refused: our credentials are refused; what was begun stays open.
            CallFailed: the balance can't be asked for, which a rule of a batch needs.
            PayoutsHalted: a person has to look first, at what its text says.
            JournalUnusable: nothing can be written, so nothing more was sent.

        """
        above_zero("limit", limit, whole=True)
        above_zero("concurrency", concurrency, whole=True)
        above_zero("deadline", deadline)
        return Chunk(self._open(), batch, deadline, places).through(limit, concurrency)

    async def pause(self, batch: str, *, reason: str) -> Batch:
        """Have every `run_chunk` take nothing more of a batch, in whichever process it is.

        What is under way is finished. `unpause` ends it.

        Raises:
            Misuse: there is no such batch, or it was cancelled.

        """
        return await self._open().desk.journal.set_batch_state(batch, BatchState.PAUSED, reason)

    async def unpause(self, batch: str) -> Batch:
        """Have a batch go on that was paused, within its rules; raises what `pause` does.

        A spending limit that was reached is so still, and pauses it at the next payout that it
        doesn't leave room for: `submit` it again with another one.
        """
        return await self._open().desk.journal.set_batch_state(batch, BatchState.RUNNING)

    async def cancel(self, batch: str, *, reason: str) -> int:
        """Withdraw all of a batch for which nothing is out, for good; give how many those are.

        What is under way is finished; `resume` goes on with what was left open. What was withdrawn
        is never paid under its key, in no other batch either: submit it under a new one.

        Raises:
            Misuse: there is no such batch.

        """
        return await chunks.cancel(self._open().desk, batch, reason)
