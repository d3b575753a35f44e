"""Payouts: pay each key at most once, go on after a crash, and settle what is not known."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, Self

from ..client import SmartGlocal
from ..errors import InvalidRequest, Misuse
from ..journal.entries import Halt, HaltKind
from ..journal.leases import LONGEST_LEASE_SECONDS
from ..journal.scopes import scope_of
from ..journal.store import Journal
from ..sealing import Seal
from ..values.events import WebhookEvent
from ..values.exactness import above_zero
from . import cases, reconciling
from .approving import Approve
from .batching import Run
from .desk import Desk
from .hints import Hints
from .leading import Lead
from .orders import PayoutOrder, PayoutOutcome
from .pace import pace_of
from .protocol import Mode
from .report import ReportRow
from .resuming import Resuming
from .sending import Sender
from .sharing import SharedBatches
from .signals import heeding
from .stopping import StopOn, Tally

_QUARANTINE: Final = timedelta(minutes=240 + 30)
"""How long an unconfirmed session lives, and how long webhooks are sent again after that."""


def _nothing(_label: str) -> None:
    pass


class Payouts(SharedBatches):
    """Pays out at most once per key, through a journal that it writes before it sends.

    Used with ``async with``, which opens and closes the journal. ``mode`` says who confirms a
    payout, which is a setting of your project at the provider: with `Mode.MANUAL` no money moves
    before our own confirm. The two others must be asked for by name, and `Mode.ONE_STEP` with
    ``accept_unknown=True``, too: what it loses, it can't ask about. With a ``seal`` the journal
    keeps the requests, so that `resume` can go on without their orders. ``lease_seconds``, 600 at
    most, is how long another process waits before it takes over from one that died. Without
    ``waits_for_others`` a key that another one is at is refused at once. ``fault_point`` is for
    tests: it is told before and after every write and every call.

    Raises:
        InvalidRequest: a setting that can't be used.

    """

    def __init__(  # noqa: PLR0913 - settings, all named, all with a default
        self,
        api: SmartGlocal,
        journal: Journal,
        *,
        mode: Mode = Mode.MANUAL,
        seal: Seal | None = None,
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
        if lease_seconds > LONGEST_LEASE_SECONDS:
            raise InvalidRequest("lease_seconds", f"expected {LONGEST_LEASE_SECONDS:.0f} at most")
        # The calls are made raw, below the client's methods: the protocol alone may decide.
        self._caller = api._caller  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        self._journal, self._mode, self._lease_seconds = journal, mode, lease_seconds
        self._waits_for_others, self._seal, self._fault_point = waits_for_others, seal, fault_point
        self._lead: Lead | None = None

    async def __aenter__(self) -> Self:
        """Open the journal.

        Raises:
            Misuse: it could forget what it said that it wrote.
            JournalUnusable: it can't be opened, or belongs to another project or server.

        """
        credentials = self._caller.freezer.credentials
        whose = (str(credentials.server), credentials.project, credentials.submerchant)
        await self._journal.open(scope_of(*whose))
        if not self._journal.durable:
            await self._journal.close()
            raise Misuse("the journal forgets: take SQLiteJournal; MemoryJournal is for tests")
        desk = Desk(
            journal=self._journal,
            sender=Sender(self._caller, self._journal.journal_id),
            mode=self._mode,
            owner=f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}",
            lease_seconds=self._lease_seconds,
            fault_point=self._fault_point,
        )
        self._caller.listeners.append(desk.slow_down)
        self._lead = Lead(desk=desk, waits_for_others=self._waits_for_others, seal=self._seal)
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        if self._lead is not None:
            self._caller.listeners.remove(self._lead.desk.slow_down)
        self._lead = None
        await self._journal.close()

    # --- Paying --------------------------------------------------------------------------------

    async def pay(self, order: PayoutOrder, *, deadline: float = 60.0) -> PayoutOutcome:
        """Pay an order, once, however often it is asked for; work on it for ``deadline`` seconds.

        A key that is settled gives its outcome again, ``replayed``. What isn't settled in time is
        ``open``, and stays in the journal: give the same order again, or run `resume`.

        Raises:
            InvalidRequest: the order breaks a rule; nothing was written.
            KeyReused: the key belongs to another order; nothing was sent.
            InProgress: somebody else is at it still.
            Refused: our credentials are refused; it stays open.
            PayoutsHalted: a person has to look first, at what its text says.
            JournalUnusable: nothing can be written, so nothing more was sent.

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
        """Pay many orders, and give the outcomes as they settle; memory is that of ``concurrency``.

        ``rate`` is how many payouts are begun in a second, at most (extra ``batch``); each takes
        some five calls. An order that breaks a rule, or whose key belongs to another, comes as
        ``refused`` and stops nobody; what isn't settled within its ``deadline`` comes as ``open``.
        The same source again goes on where an earlier run ended: what was settled comes
        ``replayed``. The entries of the journal are marked with the name of the ``batch``, and
        their place in the source.

        With ``approve`` the source, which must be a `PayoutFile`, a list or the like, is looked at
        whole, in a thread; nothing is begun unless ``approve``, given the `Preflight` with the
        totals, returns or awaits True. No total is passed then, though the source change.

        Raises:
            BatchStopped: after the last outcome, if the source was not read to its end: a rule of
                ``stop_on`` or `stop` said so, or it was not approved.
            InvalidRequest: with ``approve``: the source isn't fit to be paid, was changed, or can
                be read only once.
            Refused: our credentials are refused; what was begun stays open.
            PayoutsHalted: a person has to look first, at what its text says.
            JournalUnusable: nothing can be written, so nothing more was sent.

        """
        above_zero("concurrency", concurrency, whole=True)
        above_zero("deadline", deadline)
        run = Run(
            lead=self._open(),
            tally=Tally(stop_on or StopOn()),
            pace=pace_of(rate, asyncio.Event()),
            batch=batch,
            deadline=deadline,
            approve=approve,
        )
        return run.through(source, concurrency)

    def resume(
        self,
        orders: Callable[[str], PayoutOrder | None] | None = None,
        *,
        deadline: float = 60.0,
        concurrency: int = 16,
        batch: str | None = None,
        is_due: bool = False,
    ) -> AsyncGenerator[PayoutOutcome]:
        """Go on with what is open in the journal, and give what becomes of each as it settles.

        What needs a new start comes as ``open``, with ``needs_request``, unless ``orders`` gives
        the order of its key, or a seal kept the request. ``deadline`` holds for each. What another
        process is at is left out, and so is, if it has to be due, what was looked at not long ago:
        the longer it stands, the longer the pause.
        """
        above_zero("deadline", deadline)
        above_zero("concurrency", concurrency, whole=True)
        run = Resuming(self._open(), orders, deadline)
        return run.through(batch, concurrency, is_due=is_due)

    @property
    def owner(self) -> str:
        """The name under which it has payouts: host, process and a random number."""
        return self._open().desk.owner

    def stop(self, reason: str = "it was told to stop") -> None:
        """Begin nothing more, and wait for nothing: what is out is finished and written."""
        self._open().desk.stop(reason)

    @contextmanager
    def stops_on(self, *signals: signal.Signals) -> Generator[None]:
        """Have a signal `stop` the payouts; a second one does what it did before."""
        with heeding(signals, lambda one: self.stop(f"{one.name} was received")):
            yield

    # --- News ----------------------------------------------------------------------------------

    async def notice(self, event: WebhookEvent) -> bool:
        """Take a hint from a verified webhook; say whether it is about a payout of the journal.

        Whoever works on the payout is woken, and what is final is written. A session that was left
        and asks for a confirm is cancelled. One that the journal should know, and doesn't, halts
        all payouts (`JournalForgot`), and so does one that was left for another, and paid.
        """
        return await Hints(self._open()).take(event.session)

    async def reconcile(self, report: Iterable[ReportRow]) -> reconciling.Reconciliation:
        """Hold the provider's daily report against the journal; write as paid what it settles.

        Give a `PayoutReport`, or rows of your own making. What differs is for a person to look at;
        a payout that the journal should know, and doesn't, halts all payouts (`JournalForgot`).
        """
        return await reconciling.Reconciler(Hints(self._open())).read(report)

    async def adopt(self, report: Iterable[ReportRow]) -> int:
        """Write as paid what a report shows and the journal forgot; give how many those are.

        Read the reports of all days that the journal may lack, then `lift` the halt.
        """
        return await reconciling.adopt(Hints(self._open()), report)

    # --- What needs a person -------------------------------------------------------------------

    async def summary(self, *, batch: str | None = None) -> cases.PayoutSummary:
        """Count the journal's payouts, of all or of a batch."""
        return await cases.summary_of(self._open().desk.journal, batch)

    def cases(self, *, batch: str | None = None) -> AsyncGenerator[cases.Case]:
        """Give the payouts that nothing which can be sent settles, and those open for a day."""
        return cases.cases_at(self._open().desk, batch)

    async def decide(self, key: str, *, is_paid: bool, reason: str) -> PayoutOutcome:
        """Settle a payout by what a person found out; the reason is kept with it.

        Raises:
            InProgress: somebody is at it.
            Misuse: there is no such key, it is settled, or nothing was started for it.

        """
        return await cases.decide(self._open().desk, key, reason, is_paid=is_paid)

    async def withdraw(self, key: str, *, reason: str) -> PayoutOutcome:
        """Take a payout back for which nothing is out; another try is another key.

        Raises:
            InProgress: somebody is at it.
            Misuse: there is no such key, it is settled, or something may be out for it.

        """
        return await cases.withdraw(self._open().desk, key, reason)

    async def quarantine(self, period: timedelta = _QUARANTINE) -> None:
        """Have nothing paid for some time, whoever uses the journal: it was restored.

        By then, news of whatever it may lack has come, by webhook or in a report.
        """
        until = self._caller.settings.timing.now() + period
        words = f"nothing is paid before {until:%Y-%m-%d %H:%M} UTC"
        halt = Halt(kind=HaltKind.QUARANTINE, reason=words, until=until.timestamp())
        await self._journal.halt(halt)

    async def lift(self) -> None:
        """Lift the halt, whatever it was for: what its text says was looked into."""
        self._open().desk.halt = None
        await self._journal.halt(None)

    # --- The object ----------------------------------------------------------------------------

    def _open(self) -> Lead:
        if self._lead is None:
            raise Misuse("use it with `async with payouts:`, which opens the journal")
        return self._lead
