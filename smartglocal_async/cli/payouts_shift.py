"""A worker's time at work: lines about what it does, and again where the queue failed."""

import asyncio
import shlex
import signal
import time
from contextlib import suppress
from typing import Final

from attrs import Factory, define, field, frozen

from ..errors import (
    JournalUnusable,
    PayoutsHalted,
    Quarantined,
    SmartGlocalError,
    WrongSeal,
)
from ..integrations.cluster import Worker, worker_of
from ..journal.entries import Batch, BatchState
from ..journal.postgres.journal import PostgresJournal
from ..journal.writing import error_of
from ..payouts.orders import PayoutOutcome, PayoutState
from ..payouts.payouts import Payouts
from ..payouts.protocol import Mode
from ..payouts.signals import heeding
from .failures import Ended, ExitCode, code_of, words_of
from .payouts_client import client_of, payouts_of
from .payouts_cluster import shared
from .payouts_journal import shown
from .payouts_outage import Outage
from .payouts_sums import Sums
from .screen import complain, counted, remark, write_json, write_line

_FIRST_WAIT_SECONDS: Final = 1.0
_LONGEST_WAIT_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.5
_SHARE: Final = 10
"""A look may take this part of the time."""
_TOLD: Final = (PayoutState.SUCCEEDED, PayoutState.FAILED, PayoutState.UNKNOWN)


@frozen(kw_only=True)
class Terms:
    """What a worker was told."""

    journal: str
    server: str | None
    mode: Mode
    concurrency: int
    until_done: bool
    as_json: bool


@define(eq=False)
class Shift:
    """From the start to the stop."""

    terms: Terms
    sums: Sums = field(factory=Sums, init=False)
    _outage: Outage = field(
        default=Factory(
            lambda shift: Outage(
                lambda text: shift.say("trouble", text), lambda text: shift.say("recovered", text)
            ),
            takes_self=True,
        ),
        init=False,
    )
    _over: asyncio.Event = field(factory=asyncio.Event, init=False)
    _error: SmartGlocalError | Ended | None = field(default=None, init=False)
    """What ended it."""
    _worker: Worker | None = field(default=None, init=False)
    _has_worked: bool = field(default=False, init=False)
    _said: str = field(default="", init=False)
    _wait: float = field(default=_FIRST_WAIT_SECONDS, init=False)

    async def to_end(self) -> SmartGlocalError | Ended | None:
        """Work until somebody says stop, or it is done; give what ended it early."""
        begun = time.perf_counter()
        with heeding((signal.SIGINT, signal.SIGTERM), self._heard):
            while not self._over.is_set():
                try:
                    await self._work()
                except Exception as error:  # noqa: BLE001 - whatever it is, the worker comes back
                    await self._again(error)
        self._tell_end(time.perf_counter() - begun)
        return self._error

    async def _work(self) -> None:
        terms = self.terms
        journal = shared(terms.journal, may_make=not terms.until_done)
        async with (
            client_of(terms.server, self._outage.heed) as client,
            payouts_of(client, journal, terms.mode) as payouts,
        ):
            await self._run(payouts, journal)

    async def _run(self, payouts: Payouts, journal: PostgresJournal) -> None:
        async with worker_of(
            payouts,
            journal,
            concurrency=self.terms.concurrency,
            told=self._take,
            failed=self._failed,
        ) as worker:
            self._worker = worker
            if self._over.is_set():
                return
            if not self._has_worked:
                self._has_worked = True
                self._tell_start()
                if not await journal.batches():
                    remark(f"{shown(self.terms.journal)}: nothing was submitted to it yet")
            watching = asyncio.ensure_future(self._until_done(journal))
            try:
                await worker.run()
            finally:
                _ = watching.cancel()
                self._worker = None

    async def _until_done(self, journal: PostgresJournal) -> None:
        took = 0.0
        while self.terms.until_done and not self._over.is_set():
            await asyncio.sleep(max(_LOOK_SECONDS, _SHARE * took))
            begun = time.perf_counter()
            with suppress(JournalUnusable):
                if (halt := await journal.halted()) is not None:
                    self._failed(error_of(halt))
                elif not await _open_at(journal, BatchState.RUNNING):
                    if paused := await _open_at(journal, BatchState.PAUSED):
                        self._end(_paused(paused, self.terms.journal))
                    self._stop()
            took = time.perf_counter() - begun

    async def _again(self, error: Exception) -> None:
        """Wait a little after a failure; end where that is of no use."""
        if isinstance(error, SmartGlocalError):
            is_waited_for = isinstance(error, JournalUnusable) and not isinstance(error, WrongSeal)
            if not is_waited_for or self.terms.until_done:
                self._end(error)
            self._complain(words_of(error))
        else:
            # Its text may hold values; the database's log has it by its name.
            self._complain(f"the queue failed: {type(error).__name__}; beginning again")
        with suppress(TimeoutError):
            async with asyncio.timeout(self._wait):
                _ = await self._over.wait()
        self._wait = min(2 * self._wait, _LONGEST_WAIT_SECONDS)

    def _take(self, outcome: PayoutOutcome) -> None:
        self.sums.add(outcome)
        self._said, self._wait = "", _FIRST_WAIT_SECONDS

    def _failed(self, error: SmartGlocalError) -> None:
        """Hear of a job that ended early, or of a database that is gone."""
        ends_by_itself = isinstance(error, Quarantined) and not self.terms.until_done
        if isinstance(error, PayoutsHalted) and not ends_by_itself:
            self._end(error)
        else:
            self._complain(words_of(error))

    def _heard(self, one: signal.Signals) -> None:
        self._stop()
        remark(f"{one.name}: what is out is finished; once more ends it at once")

    def _end(self, error: SmartGlocalError | Ended) -> None:
        self._error = self._error or error
        self._stop()

    def _stop(self) -> None:
        self._over.set()
        if self._worker is not None:
            self._worker.shutdown.set()

    # --- Lines ---------------------------------------------------------------------------------

    def _complain(self, text: str) -> None:
        """Say it once, however often it happens, until something is paid again."""
        if text == self._said or self._error is not None:
            return
        self._said = text
        self.say("trouble", text)

    def say(self, event: str, text: str) -> None:
        """Say it on standard error, and as an event, too, where those are wanted."""
        if self.terms.as_json:
            write_json({"event": event, "message": text})
        complain(text)

    def _tell_start(self) -> None:
        terms = self.terms
        if terms.as_json:
            at = {"journal": shown(terms.journal), "concurrency": terms.concurrency}
            write_json({"event": "started", **at})
        else:
            at_once = f"{counted(terms.concurrency, 'payout')} at once"
            write_line(f"working on {shown(terms.journal)}, {at_once}")

    def _tell_end(self, seconds: float) -> None:
        states = {state.value: self.sums.states[state] for state in _TOLD}
        if self.terms.as_json:
            code = 0 if self._error is None else code_of(self._error)
            ended = {"seconds": round(seconds, 3), "exit_code": int(code)}
            write_json({"event": "stopped", **states, **ended})
        else:
            told = ", ".join(f"{count:,} {name}" for name, count in states.items())
            write_line(f"stopped after {seconds:,.1f} s: {told}")


def _paused(batches: list[Batch], journal: str) -> Ended:
    """Say that what is open waits for somebody to look."""
    told = [
        f"the batch {one.name!r} is paused" + (f" ({one.reason})" if one.reason else "")
        for one in batches
    ]
    unpause = ["smartglocal", "payouts", "unpause", batches[0].name, "--journal", shown(journal)]
    step = shlex.join(unpause)
    words = "; ".join([*told, f"when its reason is looked into, next: {step}"])
    listed = [{"batch": one.name, "reason": one.reason} for one in batches]
    facts = {"type": "BatchPaused", "message": words, "batches": listed, "next": step}
    return Ended(ExitCode.STOPPED, words, facts)


async def _open_at(journal: PostgresJournal, state: BatchState) -> list[Batch]:
    """Give the batches at a state of which something isn't settled, whoever is at it."""
    return [
        batch
        for batch in await journal.batches()
        if batch.state is state and await journal.count_open(1, batch=batch.name, is_due=False)
    ]
