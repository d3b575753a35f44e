"""``payouts work``: pays from the queue until it is stopped, and reports trouble on the way."""

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Final

from attrs import Factory, define, field

from ...envelope import AttemptResult
from ...errors import (
    JournalMisconfigured,
    JournalUnusable,
    PayoutsHalted,
    Quarantined,
    SmartGlocalError,
    WrongJournalKey,
)
from ...integrations.health import NotReady, health_endpoints, journal_problems
from ...journal.entries import Batch, BatchState
from ...journal.postgres.journal import PostgresJournal
from ...journal.transitions import error_of
from ...observer.delivery import Observer, only
from ...observer.events import AttemptEnded
from ...payouts.orders import PayoutOutcome, PayoutState
from ...payouts.payouts import Payouts
from ...payouts.protocol import Mode
from ...payouts.stop_rules import ending_signals, on_signals
from ..errors import CommandFailed, ExitCode, code_of, message_of
from ..output import complain, counted, remark, write_json, write_line
from ..signals import run_async, sigterm_interrupts
from .commands import WorkOptions
from .journals import (
    check_extra,
    check_journal_key,
    client_of,
    next_command,
    payouts_of,
    shared,
    shown,
)
from .summary import RunTotals, advice_listed_once, interrupt_named

if TYPE_CHECKING:
    from ...integrations.cluster import ClusterWorker
    from ...integrations.prometheus import PrometheusObserver

_MIN_OUTAGE_SECONDS: Final = 5.0
"""An outage is reported after this time without a successful attempt: single failures are retried,
and several at the same moment, as after a sleep of this machine, are no outage."""
_MIN_OUTAGE_ATTEMPTS: Final = 3
_REPEAT_SECONDS: Final = 10.0
_FAILED: Final = frozenset(
    {AttemptResult.NOT_SENT, AttemptResult.MISCONFIGURED, AttemptResult.UNKNOWN}
)


def work(options: WorkOptions) -> None:
    """Run a worker until it is stopped, or done."""
    with sigterm_interrupts():
        check_extra()
        _ = shared(options.journal)
        check_journal_key()
        _ = client_of(options.server)
        again = next_command(
            "work",
            journal=options.journal or "",
            server=options.server,
            confirm=options.confirm,
        )
        with interrupt_named(again), advice_listed_once():
            error = run_async(WorkerRun(options, options.journal or "").to_end())
        if error is not None:
            raise error


@define(eq=False)
class Outage:
    """Reports that no attempt of a client succeeds, repeatedly, and when one succeeds again."""

    on_outage: Callable[[str], None]
    """Called with a message during an outage, every 10 seconds at most."""
    on_recovery: Callable[[str], None]
    """Called with a message after an outage that was reported."""
    clock: Callable[[], float] = time.monotonic
    _count: int = field(default=0, init=False)
    """Failed attempts in a row."""
    _since: float = field(default=0.0, init=False)
    """When the first of them started, or the last successful attempt ended."""
    _first_at: float = field(default=0.0, init=False)
    """When the first of them ended."""
    _reported_at: float | None = field(default=None, init=False)

    def on_attempt(self, attempt: AttemptEnded) -> None:
        """Note the result of an attempt; a cancelled one has none."""
        if attempt.happened in _FAILED:
            self._failed(attempt)
        elif attempt.happened is not None:
            self._answered()

    def _failed(self, attempt: AttemptEnded) -> None:
        now = self.clock()
        if not self._count:
            self._since = max(self._since, now - attempt.elapsed_seconds)
            self._first_at = now
        self._count += 1
        if self._count < _MIN_OUTAGE_ATTEMPTS or now - self._first_at < _MIN_OUTAGE_SECONDS:
            return
        if self._reported_at is None or now - self._reported_at >= _REPEAT_SECONDS:
            self._reported_at = now
            failed = f"{counted(self._count, 'attempt')} failed in {now - self._since:,.0f} s"
            self.on_outage(f"the provider can't be reached: {failed}, the last: {_why(attempt)}")

    def _answered(self) -> None:
        now, before = self.clock(), self._since
        count, reported_at = self._count, self._reported_at
        self._count, self._reported_at, self._since = 0, None, now
        if reported_at is not None:
            failed = f"{counted(count, 'attempt')} failed in {now - before:,.0f} s"
            self.on_recovery(f"the provider can be reached again; before, {failed}")


def _why(attempt: AttemptEnded) -> str:
    status = None if attempt.http_status is None else f"HTTP {attempt.http_status}"
    return "; ".join(part for part in (attempt.cause, attempt.code, status) if part) or "no answer"


_INITIAL_DELAY_SECONDS: Final = 1.0
_MAX_DELAY_SECONDS: Final = 30.0
_CHECK_SECONDS: Final = 0.5
_SHARE: Final = 10
"""A check of the database may take this part of the time."""
_SHOWN_STATES: Final = (PayoutState.SUCCEEDED, PayoutState.FAILED, PayoutState.UNKNOWN)


@define(eq=False)
class WorkerRun:
    """The run of a worker, with its messages."""

    options: WorkOptions
    journal: str
    totals: RunTotals = field(factory=RunTotals, init=False)
    _outage: Outage = field(
        default=Factory(
            lambda run: Outage(
                lambda text: run.report("trouble", text),
                lambda text: run.report("recovered", text),
            ),
            takes_self=True,
        ),
        init=False,
    )
    _over: asyncio.Event = field(factory=asyncio.Event, init=False)
    _error: SmartGlocalError | CommandFailed | None = field(default=None, init=False)
    """The error that ends the run."""
    _worker: "ClusterWorker | None" = field(default=None, init=False)
    _journal: PostgresJournal | None = field(default=None, init=False)
    """The journal while the worker runs."""
    _observers: Sequence[Observer] = field(default=(), init=False)
    _has_worked: bool = field(default=False, init=False)
    _last_message: str = field(default="", init=False)
    _delay: float = field(default=_INITIAL_DELAY_SECONDS, init=False)

    async def to_end(self) -> SmartGlocalError | CommandFailed | None:
        """Work until a signal, or until done; return the error that ended it, if one did."""
        started = time.perf_counter()
        async with AsyncExitStack() as stack:
            if self.options.health is not None:
                metrics = _metrics()
                self._observers = () if metrics is None else (metrics,)
                endpoints = health_endpoints(self.options.health, self._not_ready, metrics)
                url = await stack.enter_async_context(endpoints)
                remark(f"health: {url}/healthz, {url}/readyz, {url}/metrics")
            await self._to_end()
        self._report_end(time.perf_counter() - started)
        return self._error

    async def _to_end(self) -> None:
        with on_signals(ending_signals(), self._on_signal):
            while not self._over.is_set():
                try:
                    await self._work()
                except Exception as error:  # noqa: BLE001 - the worker retries after any error
                    await self._again(error)

    async def _not_ready(self) -> NotReady:
        """Return why no payouts are taken now, for ``/readyz``."""
        if self._over.is_set():
            return {"worker": "stopping"}
        if self._journal is None:
            return {"worker": "not connected to the journal"}
        return await journal_problems(self._journal)

    async def _work(self) -> None:
        options, outage = self.options, only(AttemptEnded, self._outage.on_attempt)
        journal = shared(self.journal, may_make=not options.until_done)
        async with (
            client_of(options.server, [outage, *self._observers]) as client,
            payouts_of(client, journal, Mode(options.confirm)) as payouts,
        ):
            await self._run(payouts, journal)

    async def _run(self, payouts: Payouts, journal: PostgresJournal) -> None:
        # Imported when it is used: it needs an extra.
        from ...integrations.cluster import worker_of  # noqa: PLC0415

        async with worker_of(
            payouts,
            journal,
            concurrency=self.options.concurrency,
            on_outcome=self._take,
            on_error=self._failed,
        ) as worker:
            self._worker, self._journal = worker, journal
            if self._over.is_set():
                return
            if not self._has_worked:
                self._has_worked = True
                self._report_start()
                if not await journal.batches():
                    remark(f"{shown(self.journal)}: nothing was submitted yet")
            watching = asyncio.ensure_future(self._until_done(journal))
            try:
                await worker.run()
            finally:
                _ = watching.cancel()
                self._worker = self._journal = None

    async def _until_done(self, journal: PostgresJournal) -> None:
        took = 0.0
        while self.options.until_done and not self._over.is_set():
            await asyncio.sleep(max(_CHECK_SECONDS, _SHARE * took))
            started = time.perf_counter()
            with suppress(JournalUnusable):
                if (halt := await journal.halted()) is not None:
                    self._failed(error_of(halt))
                elif not await _open_batches(journal, BatchState.RUNNING):
                    if paused := await _open_batches(journal, BatchState.PAUSED):
                        self._end(self._paused(paused))
                    self._stop()
            took = time.perf_counter() - started

    async def _again(self, error: Exception) -> None:
        """Wait before the next try, or end the run if another try can't help."""
        if isinstance(error, SmartGlocalError):
            can_recover = isinstance(error, JournalUnusable) and not isinstance(
                error, JournalMisconfigured | WrongJournalKey
            )
            if not can_recover or self.options.until_done:
                self._end(error)
            self._complain(message_of(error))
        else:
            # Its text may have values of a payout; the database's log has the details.
            self._complain(f"the queue failed: {type(error).__name__}; retrying")
        with suppress(TimeoutError):
            async with asyncio.timeout(self._delay):
                _ = await self._over.wait()
        self._delay = min(2 * self._delay, _MAX_DELAY_SECONDS)

    def _take(self, outcome: PayoutOutcome) -> None:
        self.totals.add(outcome)
        self._last_message, self._delay = "", _INITIAL_DELAY_SECONDS

    def _failed(self, error: SmartGlocalError) -> None:
        """Handle a job that ended early, or a lost database connection."""
        ends_later = isinstance(error, Quarantined) and not self.options.until_done
        if isinstance(error, JournalMisconfigured | PayoutsHalted) and not ends_later:
            self._end(error)
        else:
            self._complain(message_of(error))

    def _on_signal(self, one: signal.Signals) -> None:
        self._stop()
        remark(f"{one.name}: stopping after in-flight payouts; a second signal quits now")

    def _end(self, error: SmartGlocalError | CommandFailed) -> None:
        self._error = self._error or error
        self._stop()

    def _paused(self, batches: list[Batch]) -> CommandFailed:
        """Return the error for open payouts in paused batches, which a person has to resume."""
        texts = [
            f"the batch {one.name!r} is paused" + (f" ({one.reason})" if one.reason else "")
            for one in batches
        ]
        step = next_command(
            "batch resume", batches[0].name, journal=self.journal, server=self.options.server
        )
        message = "; ".join([*texts, f"check the reason, then: {step}"])
        listed = [{"batch": one.name, "reason": one.reason} for one in batches]
        facts = {"type": "BatchPaused", "message": message, "batches": listed, "next": step}
        return CommandFailed(ExitCode.STOPPED, message, facts)

    def _stop(self) -> None:
        self._over.set()
        if self._worker is not None:
            self._worker.shutdown.set()

    def _complain(self, text: str) -> None:
        """Report a message once, until something is paid again."""
        if text == self._last_message or self._error is not None:
            return
        self._last_message = text
        self.report("trouble", text)

    def report(self, event: str, text: str) -> None:
        """Print a message to standard error, and as an event if the output is JSON."""
        if self.options.as_json:
            write_json({"event": event, "message": text})
        complain(text)

    def _report_start(self) -> None:
        journal, concurrency = shown(self.journal), self.options.concurrency
        if self.options.as_json:
            facts = {"journal": journal, "concurrency": concurrency}
            write_json({"event": "started", **facts})
        else:
            write_line(f"working on {journal}, {counted(concurrency, 'payout')} at a time")

    def _report_end(self, seconds: float) -> None:
        states = {state.value: self.totals.states[state] for state in _SHOWN_STATES}
        if self.options.as_json:
            code = 0 if self._error is None else code_of(self._error)
            ended = {"seconds": round(seconds, 3), "exit_code": int(code)}
            write_json({"event": "stopped", **states, **ended})
        else:
            counts = ", ".join(f"{count:,} {name}" for name, count in states.items())
            write_line(f"stopped after {seconds:,.1f} s: {counts}")


def _metrics() -> "PrometheusObserver | None":
    """Return the observer for ``/metrics``; None without its extra."""
    try:
        from ...integrations.prometheus import PrometheusObserver, own_registry  # noqa: PLC0415
    except ModuleNotFoundError:
        return None
    return PrometheusObserver(own_registry())


async def _open_batches(journal: PostgresJournal, state: BatchState) -> list[Batch]:
    """Return the batches in a state that have open payouts, also if a worker has claimed them."""
    return [
        batch
        for batch in await journal.batches()
        if batch.state is state and await journal.count_open(1, batch=batch.name, is_due=False)
    ]
