"""Payouts: pay each key at most once, go on after a crash, and take hints from webhooks."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Final, Self

from ..client import SmartGlocal
from ..errors import (
    InProgress,
    InvalidRequest,
    LostLease,
    Misuse,
    SmartGlocalError,
)
from ..journal.entries import WORKABLE, Entry, NewEntry
from ..journal.states import Step
from ..journal.store import Journal
from ..values.events import WebhookEvent
from ..values.exactness import above_zero
from .desk import Desk
from .hints import Hints
from .orders import PayoutOrder, PayoutOutcome, outcome_of
from .protocol import Mode
from .sending import Heard, Job, Sender, fingerprint_of
from .turns import Turns
from .working import Worker

_BUSY_PAUSE_SECONDS: Final = 1.0


def _nothing(_label: str) -> None:
    pass


class Payouts:
    """Pays out at most once per key, through a journal that it writes before it sends.

    Used with ``async with``, which opens and closes the journal. ``mode`` says who confirms a
    payout, which is a setting of your project at the provider: with `Mode.MANUAL` no money moves
    before our own confirm. The two others must be asked for by name, and `Mode.ONE_STEP` with
    ``accept_unknown=True``, too: what it loses, it can't ask about. ``lease_seconds`` is how long
    another process waits before it takes over from one that died. Without ``waits_for_others`` a
    key that another one is at is refused at once. ``fault_point`` is for tests: it is told before
    and after every write and every call.

    Raises:
        InvalidRequest: a setting that can't be used.

    """

    def __init__(  # noqa: PLR0913 - settings, all named, all with a default
        self,
        api: SmartGlocal,
        journal: Journal,
        *,
        mode: Mode = Mode.MANUAL,
        lease_seconds: float = 30.0,
        accept_unknown: bool = False,
        waits_for_others: bool = True,
        fault_point: Callable[[str], None] = _nothing,
    ) -> None:
        if type(mode) is not Mode:
            raise InvalidRequest("mode", f"expected a Mode, got {type(mode).__name__}")
        if mode is Mode.ONE_STEP and not accept_unknown:
            raise InvalidRequest(
                "accept_unknown", "a payout in one step that is lost can't be asked about; say True"
            )
        above_zero("lease_seconds", lease_seconds)
        # The calls are made raw, below the client's methods: the protocol alone may decide.
        self._caller = api._caller  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._journal, self._mode, self._lease_seconds = journal, mode, lease_seconds
        self._waits_for_others, self._fault_point = waits_for_others, fault_point
        self._turns = Turns()
        self._desk: Desk | None = None

    async def __aenter__(self) -> Self:
        """Open the journal.

        Raises:
            Misuse: it could forget what it said that it wrote.
            JournalUnusable: it can't be opened, or belongs to another project or server.

        """
        credentials = self._caller.freezer.credentials
        parts = (str(credentials.server), credentials.project, credentials.submerchant)
        await self._journal.open("|".join(part for part in parts if part is not None))
        if not self._journal.durable:
            await self._journal.close()
            raise Misuse("the journal forgets: take SQLiteJournal; MemoryJournal is for tests")
        self._desk = Desk(
            journal=self._journal,
            sender=Sender(self._caller, self._journal.journal_id),
            mode=self._mode,
            owner=f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}",
            lease_seconds=self._lease_seconds,
            fault_point=self._fault_point,
        )
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        self._desk = None
        await self._journal.close()

    async def pay(self, order: PayoutOrder, *, deadline: float = 60.0) -> PayoutOutcome:
        """Pay an order, once, however often it is asked for; work on it for ``deadline`` seconds.

        A key that is settled gives its outcome again, ``replayed``. What isn't settled in time is
        ``open``, and stays in the journal: give the same order again, or run `resume`.

        Raises:
            InvalidRequest: the order breaks a rule; nothing was written.
            KeyReused: the key belongs to another order; nothing was sent.
            InProgress: another process is at it still.
            Refused: our credentials are refused; it stays open.
            PayoutsHalted: a person has to look first, at what its text says; nothing was sent.
            JournalUnusable: nothing can be written, so nothing more was sent.

        """
        above_zero("deadline", deadline)
        desk, ends = self._open(), self._caller.settings.timing.monotonic() + deadline
        if (halted := desk.halted()) is not None:
            raise halted
        async with self._turns.of(order.key):
            found = await self._accept(order)
            if found.step.is_final:
                return outcome_of(found, replayed=True)
            return await self._lead(order.key, desk.sender.job(order), ends)

    async def resume(
        self,
        orders: Callable[[str], PayoutOrder | None] | None = None,
        *,
        deadline: float = 60.0,
        concurrency: int = 16,
    ) -> AsyncGenerator[PayoutOutcome]:
        """Go on with what is open in the journal, and give what becomes of each.

        The journal has no instruments: what needs a new start comes as ``open``, with
        ``needs_request``, unless ``orders`` gives the order of its key. ``deadline`` holds for
        each. What another process is at is left out.
        """
        seen = set[str]()
        steps = WORKABLE | {Step.UNKNOWN}
        while True:
            page = await self._journal.open_entries(len(seen) + concurrency, steps=steps)
            fresh = [entry for entry in page if entry.key not in seen]
            if not fresh:
                return
            seen |= {entry.key for entry in fresh}
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._resumed(entry, orders, deadline)) for entry in fresh
                ]
            for task in tasks:
                if (outcome := task.result()) is not None:
                    yield outcome

    async def notice(self, event: WebhookEvent) -> bool:
        """Take a hint from a verified webhook; say whether it is about a payout of the journal.

        Whoever works on the payout is woken, and what is final is written. A session that was left
        and asks for a confirm is cancelled.
        """
        desk = self._open()
        return await Hints(desk, self._settle).take(event.session)

    # --- One payout ----------------------------------------------------------------------------

    async def _accept(self, order: PayoutOrder) -> Entry:
        self._open().sender.check(order)
        new = NewEntry(
            key=order.key,
            mode=self._mode.value,
            fingerprint=fingerprint_of(order, self._journal.secret),
            amount=order.amount_details.amount,
            currency=order.amount_details.currency,
        )
        return await self._journal.accept(new)

    async def _lead(self, key: str, job: Job, ends: float) -> PayoutOutcome:
        timing = self._caller.settings.timing
        while True:
            try:
                return await self._work(key, job, ends)
            except LostLease:
                if timing.monotonic() >= ends:
                    raise
            except InProgress as busy:
                left_seconds = ends - timing.monotonic()
                if left_seconds <= 0 or not self._waits_for_others:
                    raise
                spread = _BUSY_PAUSE_SECONDS * (0.5 + timing.dice() / 2)
                await timing.sleep(min(busy.seconds_left + 0.01, spread, left_seconds))

    async def _work(
        self, key: str, job: Job, ends: float, heard: Heard | None = None
    ) -> PayoutOutcome:
        desk, monotonic = self._open(), self._caller.settings.timing.monotonic
        begun = monotonic()
        entry = await self._journal.claim(
            key, desk.owner, desk.lease_seconds, heeds_halt=heard is None
        )
        if entry.step.is_final:
            return outcome_of(entry, replayed=True)
        worker = Worker(desk, entry, job, ends, begun + desk.lease_seconds, heard)
        try:
            entry = await worker.work()
        finally:
            with suppress(SmartGlocalError):
                await self._journal.release(worker.entry)
        return outcome_of(entry, needs_request=worker.needs_request)

    async def _resumed(
        self, entry: Entry, orders: Callable[[str], PayoutOrder | None] | None, deadline: float
    ) -> PayoutOutcome | None:
        desk = self._open()
        order = None if orders is None else orders(entry.key)
        ends = self._caller.settings.timing.monotonic() + deadline
        async with self._turns.of(entry.key):
            if order is not None:
                _ = await self._accept(order)
            job = desk.sender.job_of(entry) if order is None else desk.sender.job(order)
            try:
                return await self._work(entry.key, job, ends)
            except (InProgress, LostLease):
                return None

    async def _settle(self, entry: Entry, heard: Heard) -> PayoutOutcome:
        """Write what is final; with no time left, nothing is sent."""
        now = self._caller.settings.timing.monotonic()
        return await self._work(entry.key, self._open().sender.job_of(entry), now, heard)

    # --- The object ----------------------------------------------------------------------------

    def _open(self) -> Desk:
        if self._desk is None:
            raise Misuse("use it with `async with payouts:`, which opens the journal")
        return self._desk
