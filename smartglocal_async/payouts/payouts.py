"""Payouts: pays each key at most once, resumes after a crash, and settles unknown outcomes."""

import asyncio
import os
import signal
import socket
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Collection,
    Generator,
    Iterable,
    Mapping,
)
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final, Self

from ..client import SmartGlocal
from ..encryption import RequestCipher
from ..error_codes import PASSING_CAUSES
from ..errors import InvalidRequest, JournalForgot, Misuse
from ..journal.entries import Halt, HaltKind, SamePayment
from ..journal.journal import Journal, in_groups
from ..journal.limits import MAX_LEASE_SECONDS
from ..journal.rows import scope_of
from ..matching import MARKS
from ..models.events import WebhookEvent
from ..models.validators import above_zero
from ..observer.events import PayoutsHaltRaised
from ..settings import StatusChecks
from . import reconciliation, review
from .batch import Approve, BatchRun, ResumeRun, observed, rate_limit
from .calls import Sender
from .claimer import Claimer
from .context import WorkerContext
from .orders import PayoutOrder, PayoutOutcome
from .preflight import payment_digest
from .protocol import Mode
from .reports.discrepancies import PaymentReconciliation, Reconciliation
from .reports.provider_report import PaymentReportRow, ReportRow
from .shared_batch import SharedBatches
from .stop_rules import StopOn, Tally, on_signals
from .webhook_hints import WebhookHints

_QUARANTINE: Final = timedelta(minutes=240 + 30)
"""How long an unconfirmed session lives, plus how long webhooks are redelivered after that."""
_KEYS_AT_ONCE: Final = 1_000


def _nothing(_label: str) -> None:
    pass


class Payouts(SharedBatches):
    """Pays out at most once per key, through a journal that it writes before it sends.

    Used with ``async with``, which opens and closes the journal.

    ``mode`` says who confirms a payout, which is a setting of your project at the provider. With
    `Mode.MANUAL`, the default, no money moves before our own confirm. The two others must be given
    explicitly, and `Mode.ONE_STEP` needs ``accept_unknown=True``, too: no call can find out what
    became of a payout whose answer is lost.

    With a ``cipher`` the journal keeps the requests encrypted, so that `resume` can go on without
    their orders. ``lease_seconds``, 600 at most, is how long other processes wait before they take
    over from a dead one. With ``waits_for_others=False`` a key that another process works on is
    refused at once. ``status_checks`` says how often the status of a session is polled, and when
    a session is left whose start got no answer. ``fault_point`` is for tests: it is called before
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
        cipher: RequestCipher | None = None,
        lease_seconds: float = 30.0,
        accept_unknown: bool = False,
        waits_for_others: bool = True,
        status_checks: StatusChecks | None = None,
        fault_point: Callable[[str], None] = _nothing,
    ) -> None:
        # Calls are made below the client's methods: only the protocol may decide what follows.
        self._caller = api._caller  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        if type(mode) is not Mode:
            raise InvalidRequest("mode", f"expected a Mode, got {type(mode).__name__}")
        if mode is Mode.ONE_STEP and not accept_unknown:
            raise InvalidRequest(
                "accept_unknown",
                "in one step, no call can ask for a payout whose answer is lost; pass True",
            )
        if self._caller.settings.key_field in MARKS:
            raise InvalidRequest(
                "Settings.key_field", "is a field that payouts use themselves; take another name"
            )
        above_zero("lease_seconds", lease_seconds)
        if lease_seconds > MAX_LEASE_SECONDS:
            raise InvalidRequest("lease_seconds", f"expected {MAX_LEASE_SECONDS:.0f} at most")
        self._journal, self._mode, self._lease_seconds = journal, mode, lease_seconds
        self._waits_for_others, self._cipher, self._fault_point = (
            waits_for_others,
            cipher,
            fault_point,
        )
        self._status_checks = StatusChecks() if status_checks is None else status_checks
        self._claimer: Claimer | None = None

    async def __aenter__(self) -> Self:
        """Open the journal.

        Raises:
            Misuse: it isn't durable: it could lose what it wrote.
            JournalUnusable: it can't be opened, or belongs to another project or server.

        """
        credentials = self._caller.request_builder.credentials
        scope = (str(credentials.server), credentials.project, credentials.submerchant)
        await self._journal.open(scope_of(*scope))
        if not self._journal.durable:
            await self._journal.close()
            raise Misuse("the journal isn't durable: use SQLiteJournal; MemoryJournal is for tests")
        context = WorkerContext(
            journal=self._journal,
            sender=Sender(self._caller, self._journal.journal_id),
            mode=self._mode,
            owner=f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}",
            lease_seconds=self._lease_seconds,
            fault_point=self._fault_point,
            status_checks=self._status_checks,
        )
        self._caller.listeners.append(context.slow_down)
        self._claimer = Claimer(
            context=context, waits_for_others=self._waits_for_others, cipher=self._cipher
        )
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        if self._claimer is not None:
            self._caller.listeners.remove(self._claimer.context.slow_down)
        self._claimer = None
        await self._journal.close()

    # --- Paying --------------------------------------------------------------------------------

    async def pay(self, order: PayoutOrder, *, deadline: float = 60.0) -> PayoutOutcome:
        """Pay an order, once, however often this is called; work on it for ``deadline`` seconds.

        A key that is settled returns its outcome again, ``replayed``. What isn't settled in time is
        ``open`` and stays in the journal: pass the same order again, or run `resume`.

        Raises:
            InvalidRequest: the order breaks a rule; nothing was written.
            KeyReused: the key belongs to another order; nothing was sent.
            InProgress: another process or task still works on it.
            Refused: our credentials are refused, or something in front of the provider refuses all
                calls; the payout stays open.
            PayoutsHalted: an operator has to check first what its text says.
            JournalUnusable: the journal can't be written, so nothing more was sent.

        """
        above_zero("deadline", deadline)
        return await self._open().pay(order, deadline)

    def pay_all(  # noqa: PLR0913 - settings, all named, all with a default
        self,
        source: Iterable[PayoutOrder] | AsyncIterable[PayoutOrder],
        *,
        concurrency: int = 64,
        rate: float | None = None,
        stop_on: StopOn | None = None,
        batch: str | None = None,
        deadline: float = 60.0,
        approve: Approve | None = None,
    ) -> AsyncGenerator[PayoutOutcome]:
        """Pay many orders, and yield the outcomes as they settle, in bounded memory.

        ``rate`` limits how many payouts begin in a second (extra ``batch``); each takes about five
        calls. An order that breaks a rule, or whose key belongs to another order, is yielded as
        ``refused`` and stops no other; one that isn't settled within its ``deadline`` as ``open``.
        The same source again goes on where an earlier run ended, and yields what was settled as
        ``replayed``. The journal stores the name of the ``batch`` and the position in the source
        with each entry.

        With ``approve`` the source, which must be a `PayoutFile`, a list or the like, is checked as
        a whole, in a thread. Nothing begins unless ``approve``, called with the `Preflight` and its
        totals, returns or awaits True. No approved total is exceeded, even if the source changes
        later.

        Raises:
            BatchStopped: after the last outcome, if the source was not read to its end: by a rule
                of ``stop_on``, by `stop`, or since it was not approved.
            InvalidRequest: with ``approve``: the source isn't fit to be paid, was changed, or can
                be read only once.
            Refused: our credentials are refused, or something in front of the provider refuses all
                calls; begun payouts stay open.
            PayoutsHalted: an operator has to check first what its text says; also after the last
                outcome, if the halt came up while the last payouts were in flight.
            JournalUnusable: the journal can't be written, so nothing more was sent.

        """
        above_zero("concurrency", concurrency, whole=True)
        above_zero("deadline", deadline)
        run = BatchRun(
            claimer=self._open(),
            tally=Tally(stop_on or StopOn()),
            rate_limit=rate_limit(rate, asyncio.Event()),
            batch=batch,
            deadline=deadline,
            approve=approve,
        )
        return self._observed(batch, run.run(source, concurrency))

    def settle(
        self,
        orders: Callable[[str], PayoutOrder | None] | None = None,
        *,
        deadline: float = 60.0,
        concurrency: int = 16,
        batch: str | None = None,
        is_due: bool = False,
    ) -> AsyncGenerator[PayoutOutcome]:
        """Go on with the open payouts of the journal, and yield the outcome of each.

        A payout that needs a new start is yielded as ``open``, with ``needs_request``, unless
        ``orders`` returns the order of its key, or the journal keeps the request encrypted.
        ``deadline`` applies to each. Payouts that another process works on are left out. With
        ``is_due``, so are those that were checked recently: the longer a payout has been at its
        step, the longer that pause.

        Raises:
            PayoutsHalted: an operator has to check first; also after the last outcome.
            JournalUnusable: the journal can't be written, so nothing more was sent.

        """
        above_zero("deadline", deadline)
        above_zero("concurrency", concurrency, whole=True)
        run = ResumeRun(self._open(), orders, deadline)
        return self._observed(batch, run.run(batch, concurrency, is_due=is_due))

    @property
    def owner(self) -> str:
        """The name under which it claims payouts: host, process id and a random number."""
        return self._open().context.owner

    def stop(self, reason: str = "stop() was called") -> None:
        """Begin no more payouts and end all pauses; calls in flight are finished and written."""
        self._open().context.stop(reason)

    @contextmanager
    def stops_on(self, *signals: signal.Signals) -> Generator[None]:
        """Call `stop` on the first of these signals; a second one does what it did before."""
        with on_signals(signals, lambda one: self.stop(f"{one.name} was received")):
            yield

    # --- Webhooks and reports ------------------------------------------------------------------

    async def handle_event(self, event: WebhookEvent) -> bool:
        """Apply a verified webhook; return whether it is about a payout of the journal.

        A worker of the payout is woken, and a final state is written. A session that was left and
        awaits a confirm is cancelled. A payout that the journal should know, but doesn't, halts all
        payouts (`JournalForgot`). So does money that moved in another way than the journal has it
        (`PayoutConflict`): another amount, in a session that was left, or for a payout that is
        recorded as failed or cancelled. A payout that a bank returned (`PaymentRefunded`) settles
        nothing.

        Raises:
            PayoutsHalted: it shows that a payout failed, but the journal may lack payouts: nothing
                is written before the halt is ended.

        """
        return await WebhookHints(self._open()).take(event)

    async def reconcile(
        self, report: Iterable[ReportRow], *, adopt: bool = False
    ) -> Reconciliation:
        """Compare the provider's daily report with the journal; write as paid what it settles.

        Pass a `PayoutReport`, or your own rows. The result lists the differences, for an operator.
        A payout that the journal should know, but doesn't, halts all payouts (`JournalForgot`), or
        is recorded as paid with ``adopt``. One that contradicts the journal halts them in any case
        (`PayoutConflict`). A row of a payout of the journal whose amount can't be read is listed,
        and the report doesn't count as complete then. Rows of other payouts, such as the totals at
        the end, may be unreadable: see `Reconciliation.unreadable`.

        Raises:
            InvalidRequest: the report can't be read.

        """
        found = await reconciliation.Reconciler(WebhookHints(self._open()), adopt).read(report)
        halt = await self._journal.halted()
        if halt is not None and halt.may_lack:
            found.unchecked = await reconciliation.why_unchecked(self._journal, found)
            if found.unchecked is None:
                await self._journal.check_halt()
        return found

    async def reconcile_payments(self, report: Iterable[PaymentReportRow]) -> PaymentReconciliation:
        """Sum up the provider's daily payments report; return what needs review in it.

        Pass a `PaymentReport`, or your own rows. Refunds, refunds of a part and chargebacks are
        listed, and so are two payments of one idempotency key, and a payment in the session of a
        payout of this journal. Nothing is written.

        Raises:
            InvalidRequest: the report can't be read.

        """
        return await reconciliation.PaymentReconciler(WebhookHints(self._open())).read(report)

    async def adopt(self, report: Iterable[ReportRow]) -> int:
        """Write as paid what a report shows and the journal lacks; return how many those are.

        Read the reports of all days that the journal may lack, then call `resume_journal`.
        `reconcile` with ``adopt`` does the same, and also returns the other differences. The key of
        an adopted payout refuses every order but the one whose digest the row has (`KeyReused`).

        Raises:
            InvalidRequest: the report can't be read.

        """
        return (await self.reconcile(report, adopt=True)).adopted

    async def expect_settled(self, keys: Iterable[str]) -> None:
        """Halt all payouts if the journal lacks one of these keys, or has it as not settled.

        Pass the keys that another record shows as settled, such as a results file (`settled_keys`):
        a journal that doesn't know them is an older copy, or another journal.

        Raises:
            JournalForgot: it lacks some; the text has their number and the first one.

        """
        context = self._open().context
        for group in in_groups(keys, _KEYS_AT_ONCE):
            lacking = await self._journal.lacks(group)
            if lacking:
                first = next(key for key in group if key in lacking)
                words = (
                    f"{len(lacking)} of {len(group)} payouts that are recorded as settled are not "
                    f"settled in the journal, {first!r} the first: it is an older copy, or another "
                    "journal"
                )
                await context.halt_all(HaltKind.FORGOT, words)
                raise JournalForgot(words, None)

    # --- Operators -----------------------------------------------------------------------------

    async def summary(self, *, batch: str | None = None) -> review.PayoutSummary:
        """Count the journal's payouts, all or those of a batch."""
        return await review.summary_of(self._open().context.journal, batch)

    def needing_review(self, *, batch: str | None = None) -> AsyncGenerator[review.NeedsReview]:
        """Yield the payouts that no call can settle, and those open for more than a day."""
        return review.needing_review_now(self._open().context, batch)

    async def decide(
        self, key: str, *, is_paid: bool, reason: str, operator: str | None = None
    ) -> PayoutOutcome:
        """Settle a payout by what an operator found out; the reason is stored with it.

        So is the name of the operator, if it is given: see `Journal.actions`.

        Raises:
            InProgress: another process works on it.
            Misuse: the key is unknown, the payout is settled, or nothing was started for it.

        """
        return await review.decide(
            self._open().context, key, reason, is_paid=is_paid, operator=operator
        )

    async def cancel(self, key: str, *, reason: str) -> PayoutOutcome:
        """Cancel a payout for which nothing is in flight; to pay it later, use another key.

        Raises:
            InProgress: another process works on it.
            Misuse: the key is unknown, the payout is settled, or a call may be in flight for it.

        """
        return await review.cancel(self._open().context, key, reason)

    async def retry(
        self, key: str, *, codes: Collection[str] = frozenset(PASSING_CAUSES)
    ) -> PayoutOutcome:
        """Take a failed payout up again under its key; it is ``open``, and not begun, after that.

        Pay the same order again, or let the workers of its batch pay it: it gets a new session.
        ``codes`` are the causes that may pass, by default `error_codes.PASSING_CAUSES`. One call
        asks for the payout's session, which has to show a final state without a payment. A payout
        in one step is never retried, nor one that was ever ``unknown``.

        Raises:
            Misuse: the key is unknown, or the payout can't be retried; the text says why.
            InProgress: another process retried it at the same moment.
            PayoutsHalted: payouts are halted, or the session shows that money moved
                (`PayoutConflict`): then all payouts are halted from now on.

        """
        return await review.retry(self._open().context, key, codes)

    def retry_all(
        self,
        *,
        batch: str | None = None,
        keys: Collection[str] | None = None,
        codes: Collection[str] = frozenset(PASSING_CAUSES),
    ) -> AsyncGenerator[PayoutOutcome]:
        """Retry the failed payouts of the journal, or of a batch, and yield the outcome of each.

        With ``keys``, only those with one of these keys.

        It is ``open`` if the payout will be paid again; else ``failed``, and ``reason`` says why it
        isn't retried.

        Raises:
            PayoutsHalted: as in `retry`.

        """
        return review.retry_all(self._open().context, batch, keys, codes)

    async def quarantine(self, period: timedelta = _QUARANTINE) -> None:
        """Halt all payouts of a restored journal for some time, in every process that uses it.

        In that time webhooks or reports show all payouts that the journal may lack.
        """
        until = self._caller.settings.timing.now() + period
        words = f"it was restored, and waits until {until:%Y-%m-%d %H:%M} UTC"
        halt = Halt(kind=HaltKind.QUARANTINE, reason=words, until=until.timestamp())
        await self._journal.halt(halt)
        self._caller.observers.emit(PayoutsHaltRaised(kind=halt.kind.value))

    async def resume_journal(self, *, unchecked: bool = False) -> None:
        """Lift the halt, after an operator has checked what its text says.

        A halt because the journal may lack payouts (`JournalForgot`, or a `Quarantined` without an
        end, which follows a change of the database server) can be ended only after `reconcile` or
        `adopt` has read a report since it began that has payouts of this journal and shows none
        that it lacks; if not, `Reconciliation.unchecked` says why. Which days the journal may lack
        isn't known here, so read the reports of all of them. ``unchecked=True`` ends it anyway, if
        you know that nothing can be missing.

        Raises:
            Misuse: no such report was read since it began; the halt still holds.

        """
        context = self._open().context
        _ = await self._journal.resume(unchecked=unchecked)
        context.halt = await self._journal.halted()

    async def payee(self, key: str) -> str | None:
        """Return who a payout goes to: name, and last four characters of the account or card.

        None if that was forgotten, was written without a ``cipher`` or by an older release, or if
        the key is unknown.

        Raises:
            WrongJournalKey: it was encrypted with a key that isn't given.

        """
        claimer = self._open()
        entry = await self._journal.find(key)
        return None if entry is None else claimer.payee_of(entry)

    async def same_payments(
        self, orders: Iterable[PayoutOrder]
    ) -> Mapping[str, tuple[SamePayment, ...]]:
        """Return, by key, which payouts of the journal have the payee and the sum of these orders.

        For each order: payouts under other keys, the last one of each batch, except those that
        failed or were cancelled. Payouts that an older release wrote aren't found.
        """
        secret, found = self._journal.secret, dict[str, tuple[SamePayment, ...]]()
        for group in in_groups(orders, _KEYS_AT_ONCE):
            digests = {order.key: payment_digest(order, secret) for order in group}
            known = await self._journal.same_payments(frozenset(digests.values()))
            for key, digest in digests.items():
                if same := tuple(one for one in known if one.payment == digest and one.key != key):
                    found[key] = same
        return found

    async def forget(self, before: datetime) -> int:
        """Drop personal data of payouts that were settled before a time; return how many.

        Key, state, session and payout ids, the provider's code, amount and currency stay, and a
        short digest by which the key refuses another order. The encrypted request and summary, the
        reason and the log are dropped. Payouts that aren't settled are never changed.

        Raises:
            InvalidRequest: a time without an offset from UTC.

        """
        if before.tzinfo is None:
            raise InvalidRequest("before", "has no offset from UTC")
        _ = self._open()
        return await self._journal.forget(before.timestamp())

    # --- The object ----------------------------------------------------------------------------

    def _observed(
        self, batch: str | None, outcomes: AsyncGenerator[PayoutOutcome]
    ) -> AsyncGenerator[PayoutOutcome]:
        caller = self._caller
        return observed(caller.observers, batch, outcomes, caller.settings.timing.monotonic)

    def _open(self) -> Claimer:
        if self._claimer is None:
            raise Misuse("use it with `async with payouts:`, which opens the journal")
        return self._claimer
