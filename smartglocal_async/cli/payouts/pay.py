"""``payouts pay`` and ``settle``: pay a file, or settle open payouts, and show the result."""

import asyncio
import signal
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, nullcontext
from pathlib import Path
from typing import Final, Self

from attrs import define, evolve, field, frozen

from ...client import SmartGlocal
from ...errors import BatchStopped, InvalidRequest, JournalUnusable, Misuse, SmartGlocalError
from ...journal.entries import WORKABLE, Batch
from ...journal.journal import PAGE, each
from ...journal.states import Step
from ...models.money import AmountDetails
from ...models.validators import above_zero
from ...observer.delivery import only
from ...observer.events import AttemptEnded
from ...payouts.batch import rate_limit
from ...payouts.calls import rehearse
from ...payouts.files import PayoutFile
from ...payouts.files.results import ResultsFile
from ...payouts.orders import PayoutOrder, PayoutOutcome, PayoutState
from ...payouts.payouts import Payouts
from ...payouts.preflight import Preflight
from ...payouts.protocol import Mode
from ...payouts.stop_rules import StopOn, ending_signals, on_signals
from ...retry import Timing
from ..errors import ExitCode, message_of, reader_may_leave
from ..options import amounts
from ..output import complain, remark
from ..signals import run_async, sigterm_interrupts
from ..wallets import IGNORE, read_wallets, report_needs
from .batches import (
    FileInJournal,
    find_batch,
    find_file,
    found_file,
)
from .check import (
    EXPECT,
    PREFIX,
    SPEND,
    batch_of,
    check_limits,
    checked,
    file_of,
    results_of,
    stop_rules,
)
from .commands import PayOptions, SettleOptions
from .duplicates import is_continued, needs_before, report_known, report_repeats, with_left_out
from .journals import (
    Reachability,
    StoredJournal,
    client_of,
    existing,
    journal_of,
    make_folder,
    next_command,
    opened,
    page_words,
    payouts_of,
    place_of,
    server_of,
    shown,
)
from .summary import (
    RunEnd,
    RunTotals,
    advice_listed_once,
    confirmed,
    interrupt_named,
    needs_terminal,
    progress_bar,
    show_dry_run,
    show_run,
)

_IN_FLIGHT: Final = tuple(step for step in Step if Step.STARTING <= step <= Step.UNKNOWN)


@define(eq=False, kw_only=True)
class Run:
    """A run of `pay` or `settle`: records each outcome; a signal or a failure stops it early."""

    payouts: Payouts
    journal: StoredJournal
    journal_name: str
    is_new: bool
    """Whether the journal had no payouts before."""
    server: str | None
    batch: str | None
    results: ResultsFile | None
    totals: RunTotals
    reachability: Reachability
    again: str
    """The command that pays the rest."""
    settle: str
    """The command that settles the open payouts."""
    file: Path | None
    """The file that is paid or settled."""
    stopped_by: str | None = field(default=None, init=False)
    """Why the run stops, if a signal stopped it."""
    _cannot_write: bool = field(default=False, init=False)

    async def to_end(self, outcomes: AsyncGenerator[PayoutOutcome]) -> RunEnd:
        """Take all outcomes; return how the run ended."""
        started = time.perf_counter()
        error = await self._take_all(outcomes)
        if error is None and self.totals.asked is None and self.stopped_by is not None:
            # The number of payouts is unknown, so some may be left.
            error = BatchStopped(self.stopped_by, self.totals.settled)
        return RunEnd(
            totals=self.totals,
            seconds=time.perf_counter() - started,
            is_unreachable=self.reachability.is_unreachable,
            error=error,
            left_open=0 if error is None else await self._left_open(),
            journal=shown(self.journal_name),
            journal_is_new=self.is_new,
            resume_journal=next_command(
                "journal resume", journal=self.journal_name, server=self.server
            ),
            reconcile=next_command(
                "reconcile", "REPORT", journal=self.journal_name, server=self.server
            ),
            results=None if self.results is None else str(self.results.path),
            next_step=self.again if self.totals.not_started else self.settle,
            retry=self._retry() if self.totals.passing else None,
        )

    def _retry(self) -> str | None:
        """Return the command that reopens what failed for a temporary reason."""
        batch, file = self.batch, self.file
        is_of_file = file is not None and (batch is None or batch == batch_of(None, file))
        if not is_of_file and batch is None:
            return None
        target = str(file) if is_of_file else str(batch)
        return next_command("retry", target, journal=self.journal_name, server=self.server)

    async def _take_all(
        self, outcomes: AsyncGenerator[PayoutOutcome]
    ) -> SmartGlocalError | OSError | None:
        page = page_words(self.journal_name, self.server)
        with on_signals(ending_signals(), self._stop), progress_bar(self.totals, page) as advance:
            try:
                async with aclosing(outcomes) as settled:
                    async for outcome in settled:
                        self._take(outcome, advance)
            except (SmartGlocalError, OSError) as error:
                return error
        return None

    async def _left_open(self) -> int:
        """Count payouts in the journal that may be in flight, after a run that ended early."""
        try:
            counts = await self.journal.counts(batch=self.batch)
        except JournalUnusable:
            return 0
        return sum(counts.get(step, 0) for step in _IN_FLIGHT)

    def _stop(self, one: signal.Signals) -> None:
        self.stopped_by = f"{one.name} was received"
        self.payouts.stop(self.stopped_by)
        remark("stopping after in-flight payouts; press Ctrl-C again to quit now")

    def _take(self, outcome: PayoutOutcome, advance: Callable[[], None]) -> None:
        self.totals.add(outcome)
        self._write(outcome)
        advance()
        if outcome.state is PayoutState.OPEN and self.reachability.is_unreachable:
            self.payouts.stop("the provider can't be reached")

    def _write(self, outcome: PayoutOutcome) -> None:
        if self.results is None or self._cannot_write:
            return
        try:
            self.results.append(outcome)
        except OSError as error:
            # The journal has the outcome, but the operator relies on the results: stop.
            self._cannot_write = True
            self.payouts.stop(f"the results can't be written: {message_of(error)}")
            complain(f"{self.results.path}: {message_of(error)}; `payouts report` writes them")


@frozen(kw_only=True)
class PayPlan:
    """What to pay, from the options."""

    options: PayOptions
    file: PayoutFile
    """The file, or the copy of it that is checked and paid."""
    journal: str
    batch: str
    """The name of the file's payouts in the journal."""
    results: Path
    totals: dict[str, AmountDetails]
    stop_on: StopOn

    @classmethod
    def of(cls, options: PayOptions) -> Self:
        """Read the options.

        Raises:
            InvalidRequest: one is invalid.
            Misuse: --rate needs an extra that isn't installed.

        """
        above_zero("--deadline", options.deadline)
        _check_rate(options.rate)
        return cls(
            options=options,
            file=file_of(options.file, options.key_prefix, options),
            journal=place_of(options.journal, options.file, options.server),
            batch=batch_of(options.batch, options.file),
            results=results_of(options.results, options.file),
            totals=amounts(EXPECT, options.expect_total),
            stop_on=stop_rules(options),
        )

    @property
    def mode(self) -> Mode:
        """Who confirms the payouts."""
        return Mode(self.options.confirm)

    @property
    def again(self) -> str:
        """The command that pays the rest.

        It has the options that limit what is spent, and not those that stop after failures: the
        failures of this run would stop it again.
        """
        options, path = self.options, self.options.file
        arguments = [str(path)]
        if self.results != results_of(None, path):
            arguments += ["--results", str(self.results)]
        arguments += [f"{EXPECT}={_written(one)}" for one in self.totals.values()]
        arguments += [f"{SPEND}={_written(one)}" for one in self.stop_on.spend]
        arguments += [] if options.rate is None else [f"--rate={options.rate:g}"]
        arguments += [] if self.stop_on.low_balance else [IGNORE]
        return self._command("pay", *arguments)

    @property
    def settle(self) -> str:
        """The command that settles the open payouts."""
        return self._command("settle", str(self.options.file))

    def _command(self, verb: str, *arguments: str) -> str:
        return next_command(
            verb,
            *arguments,
            journal=self.journal,
            server=self.options.server,
            key_prefix=self.options.key_prefix,
            how=self.options,
            batch=None if self.batch == batch_of(None, self.options.file) else self.batch,
            confirm=self.options.confirm,
        )


def _written(amount: AmountDetails) -> str:
    return f"{amount.decimal}{amount.currency}"


def _check_rate(rate: float | None) -> None:
    try:
        _ = rate_limit(rate, asyncio.Event())
    except InvalidRequest as error:
        raise InvalidRequest("--rate", error.problem) from None
    except Misuse as error:
        raise Misuse(f"--{error}") from None


def pay(options: PayOptions) -> ExitCode:
    """Pay a file, or only build and sign its requests."""
    with sigterm_interrupts():
        plan = PayPlan.of(options)
        if not (options.yes or options.dry_run):
            needs_terminal()
        with plan.file.copied() as file:
            copied = evolve(plan, file=file)
            return _dry_run(copied) if options.dry_run else _pay(copied, plan.file)


def _pay(plan: PayPlan, original: PayoutFile) -> ExitCode:
    """Check the copy of a file, ask, and pay what was checked."""
    options = plan.options
    reachability = Reachability()
    client = client_of(options.server, [only(AttemptEnded, reachability.on_attempt)])
    digest = plan.file.digest()
    found = checked(plan.file, plan.totals or None, as_json=options.as_json)
    if not found.is_fit:
        return ExitCode.FAILED
    check_limits(plan.stop_on.spend, found.totals)
    # Before the journal is opened, which may create it.
    stops = plan.stop_on.low_balance
    balances = read_wallets(client_of(options.server), may_be_refused=not stops)
    known = run_async(
        find_file(
            client,
            plan.file,
            plan.journal,
            options.batch,
            digest,
            mode=plan.mode,
            wait=options.wait,
            results=plan.results,
        )
    )
    plan = evolve(plan, batch=known.batch)
    report_known(known, options.file, plan.journal, as_json=options.as_json)
    report_repeats(
        known, Timing().now(), is_asked=not options.yes, is_allowed=options.allow_repeats
    )
    needs = needs_before(found, balances, known, plan.journal, options.server)
    report_needs(needs, stops=stops, as_json=options.as_json)
    if not options.yes and not confirmed(
        found, known, needs, shown(plan.journal), server_of(options.server)
    ):
        return ExitCode.FAILED
    if original.digest() != digest:
        raise Misuse(f"{options.file}: was changed during the check; run the command again")
    with interrupt_named(plan.again), advice_listed_once():
        ended = run_async(run_plan(client, plan, digest, found, reachability, known))
    if _is_changed(original, digest):
        remark(f"{options.file}: was changed during the run; it was paid as it was checked")
    with reader_may_leave():
        show_run(ended, as_json=options.as_json)
    return ended.code


def _is_changed(file: PayoutFile, digest: str) -> bool:
    try:
        return file.digest() != digest
    except (OSError, InvalidRequest):
        return True


async def run_plan(  # noqa: PLR0913, PLR0917 - what the checks before it found
    client: SmartGlocal,
    plan: PayPlan,
    digest: str,
    found: Preflight,
    reachability: Reachability,
    known: FileInJournal,
) -> RunEnd:
    """Pay a file that was checked.

    Raises:
        Misuse: another process changed its batch since it was looked up.
        JournalUnusable: the journal can't be used.
        OSError: the results can't be written.

    """
    options, file = plan.options, plan.file
    journal = journal_of(plan.journal)
    make_folder(plan.journal, options.server)
    async with (
        client,
        opened(payouts_of(client, journal, plan.mode), options.wait) as payouts,
    ):
        written = Batch(
            name=plan.batch, digest=bytes.fromhex(digest), rows=found.count, totals=found.totals
        )
        is_same = await is_continued(journal, known, digest)
        with ResultsFile(plan.results) as results:
            if not is_same:
                _ = await journal.put_batch(with_left_out(written, known.missing))
            run = Run(
                payouts=payouts,
                journal=journal,
                journal_name=plan.journal,
                is_new=known.is_new,
                server=options.server,
                batch=plan.batch,
                results=results,
                totals=RunTotals(found.count),
                reachability=reachability,
                again=plan.again,
                settle=plan.settle,
                file=options.file,
            )
            return await run.to_end(
                payouts.pay_all(
                    file,
                    concurrency=options.concurrency,
                    rate=options.rate,
                    stop_on=plan.stop_on,
                    batch=plan.batch,
                    deadline=options.deadline,
                )
            )


def _dry_run(plan: PayPlan) -> ExitCode:
    options = plan.options
    client = client_of(options.server)
    found = checked(plan.file, plan.totals or None, as_json=options.as_json)
    if not found.is_fit:
        return ExitCode.FAILED
    with advice_listed_once():
        payouts, requests = run_async(sign_all(client, plan.file))
    show_dry_run(payouts, requests, as_json=options.as_json)
    return ExitCode.DONE


async def sign_all(client: SmartGlocal, file: PayoutFile) -> tuple[int, int]:
    """Sign the requests of every payout of a file; return how many payouts and requests.

    Raises:
        InvalidRequest: one of them could not be sent.
        InvalidCredentials: the key can't sign.

    """
    payouts = requests = 0
    async with client:
        async for count in rehearse(client, file):
            payouts, requests = payouts + 1, requests + count
    return payouts, requests


_OPEN: Final = WORKABLE | {Step.UNKNOWN}


@frozen(kw_only=True)
class SettlePlan:
    """What to settle, from the options."""

    options: SettleOptions
    journal: str
    batch: str | None
    """As given; None: that of the file, or the whole journal."""
    results: Path | None

    @property
    def again(self) -> str:
        """The command that continues."""
        file = self.options.file
        is_default = file is not None and self.batch == file.name
        return next_command(
            "settle",
            "FILE" if file is None else str(file),
            journal=self.journal,
            server=self.options.server,
            key_prefix=self.options.key_prefix,
            how=self.options,
            batch=None if is_default else self.batch,
            confirm=self.options.confirm,
        )


def settle(options: SettleOptions) -> ExitCode:
    """Settle open payouts, and show the result."""
    with sigterm_interrupts():
        above_zero("--deadline", options.deadline)
        file, batch = options.file, options.batch
        if file is None:
            given = [("--results", options.results), (PREFIX, options.key_prefix)]
            names = [name for name, value in given if value is not None] + options.words
            if names:
                raise InvalidRequest(names[0], "goes with FILE")
        plan = SettlePlan(
            options=options,
            journal=place_of(options.journal, file, options.server),
            batch=batch if file is None or batch is None else batch_of(batch, file),
            results=None if file is None else results_of(options.results, file),
        )
        existing(plan.journal)
        reachability = Reachability()
        client = client_of(options.server, [only(AttemptEnded, reachability.on_attempt)])
        with interrupt_named(plan.again), advice_listed_once():
            ended = run_async(_settled(client, plan, reachability))
        with reader_may_leave():
            show_run(ended, as_json=options.as_json)
    return ended.code


async def _settled(client: SmartGlocal, plan: SettlePlan, reachability: Reachability) -> RunEnd:
    options, journal = plan.options, journal_of(plan.journal, may_make=False)
    mode = Mode(options.confirm)
    async with client, opened(payouts_of(client, journal, mode), options.wait) as payouts:
        batch, orders = await _orders(payouts, journal, plan)
        with nullcontext() if plan.results is None else ResultsFile(plan.results) as results:
            run = Run(
                payouts=payouts,
                journal=journal,
                journal_name=plan.journal,
                is_new=False,
                server=options.server,
                batch=batch,
                results=results,
                totals=RunTotals(),
                reachability=reachability,
                again=plan.again,
                settle=plan.again,
                file=options.file,
            )
            return await run.to_end(
                payouts.settle(
                    orders.get,
                    deadline=options.deadline,
                    concurrency=options.concurrency,
                    batch=batch,
                    is_due=options.due,
                )
            )


async def _orders(
    payouts: Payouts, journal: StoredJournal, plan: SettlePlan
) -> tuple[str | None, dict[str, PayoutOrder]]:
    """Return the batch to settle, and the orders of its open payouts that the file has.

    Raises:
        Misuse: there is no such batch.
        CommandFailed: rows that were started have been changed.

    """
    if plan.options.file is None:
        _ = await find_batch(journal, plan.batch, plan.journal)
        return plan.batch, {}
    original = file_of(plan.options.file, plan.options.key_prefix, plan.options)
    with original.copied() as file:
        mode = Mode(plan.options.confirm)
        known = await found_file(payouts, journal, file, plan.batch, file.digest(), mode)
        name = known.batch
        _ = await find_batch(journal, name, plan.journal)
        if known.is_changed:
            report_known(known, original.path, plan.journal, as_json=plan.options.as_json)
        entries = each(
            lambda after: journal.open_entries(
                PAGE, after=after, steps=_OPEN, batch=name, is_due=False
            )
        )
        keys = {entry.key async for entry in entries}
        rows = (row.order for row in file.rows())
        return name, {order.key: order for order in rows if order is not None and order.key in keys}
