"""Payouts at a given step, and what a provider shows of them, for tests of one worker."""

from contextlib import AsyncExitStack
from typing import Any, Final

from attrs import evolve, frozen
from paying import order
from rawserver import serve
from scripted import FakeSigner, Provider

import smartglocal_async as sg
from smartglocal_async.journal.entries import Changes, Entry, HaltKind, NewEntry
from smartglocal_async.journal.states import Event
from smartglocal_async.models.answers import Payout, Session
from smartglocal_async.models.money import Amount
from smartglocal_async.payouts.calls import Reply, Sender, fingerprint_of
from smartglocal_async.payouts.claimer import Claimer
from smartglocal_async.payouts.context import WorkerContext
from smartglocal_async.payouts.protocol import Mode, Observation, PayoutCall, ReplyKind, SessionView
from smartglocal_async.payouts.reconciliation import Reconciler
from smartglocal_async.payouts.reports.discrepancies import Reconciliation
from smartglocal_async.payouts.reports.provider_report import ReportRow
from smartglocal_async.payouts.webhook_hints import WebhookHints
from smartglocal_async.payouts.worker import Worker

CHOSEN: Final = ((Event.CREATE_INTENDED, None), (Event.SESSION_CHOSEN, "ps_1"))
STARTED: Final = (*CHOSEN, (Event.START_KNOWN, None))
CONFIRMING: Final = (*STARTED, (Event.CONFIRM_INTENDED, None))
CANCELLING: Final = (*CHOSEN, (Event.LEAVE_INTENDED, None))
REFUSED: Final = (*CHOSEN, (Event.START_REFUSED, None))
SECOND: Final = (
    *CANCELLING,
    (Event.SESSION_LEFT, None),
    (Event.CREATE_INTENDED, None),
    (Event.SESSION_CHOSEN, "ps_2"),
)
SECOND_USED: Final = (*SECOND, (Event.START_KEY_USED, None))
ONE_STEP: Final = ((Event.INIT_INTENDED, None),)
PARKED: Final = (*ONE_STEP, (Event.PARKED, None))


@frozen
class WorkerSetup:
    """The arguments of a worker."""

    context: WorkerContext
    entry: Entry
    payout: Any
    clock: Any

    def worker(self, seconds: float = 0.0, reply: Reply | None = None, **more: Any) -> Worker:
        """Return a worker with this many seconds left, and with this first reply."""
        now = self.clock.now
        leased = more.pop("leased_until", now + 30.0)
        return Worker(
            self.context, self.entry, more.pop("payout", self.payout), now + seconds, leased, reply
        )


async def entry_at(  # noqa: PLR0913, PLR0917 - what an entry may have
    context: WorkerContext,
    steps: tuple[tuple[Event, str | None], ...],
    key: str = "k-1",
    item_id: str | None = None,
    owner: str = "me",
    summary: bytes | None = None,
) -> Entry:
    """Accept a payout, claim it and write its steps; the last step has the payout's id."""
    new = NewEntry(
        key=key,
        mode=context.mode.value,
        fingerprint=fingerprint_of(order(key), context.journal.secret),
        amount=10_000,
        currency="usd",
        summary=summary,
    )
    _ = await context.journal.accept(new)
    entry = await context.journal.claim(key, owner, 30.0)
    for number, (event, session_id) in enumerate(steps, 1):
        changes = Changes() if session_id is None else Changes(session_id=session_id)
        if number == len(steps) and item_id is not None:
            changes = evolve(changes, item_id=item_id)
        entry = await context.journal.advance(entry, event, changes)
    return entry


def payout(setup: WorkerSetup, status: str = "succeeded", **changes: Any) -> Payout:
    """Return a payout of ours as the provider shows it."""
    marks = {
        "idempotency_key": "k-1",
        "payout_journal": setup.context.journal.journal_id,
        "payout_order": setup.entry.fingerprint.short,
    }
    shown = Payout(id="po_1", status=status, amount_details=Amount(10_000, "usd"), metadata=marks)
    return evolve(shown, **changes)


def session(*payouts: Payout, id_: str = "ps_1", status: str = "accepted") -> Session:
    """Return a session with these payouts."""
    return Session(id=id_, status=status, payout_list=payouts)


def reply_showing(
    shown: SessionView, of: Session | None, call: PayoutCall = PayoutCall.STATUS, **words: Any
) -> Reply:
    """Return a reply that shows a session."""
    return Reply(Observation(call, ReplyKind.ANSWERED, shown), of, **words)


def as_json(*payouts: Payout) -> list[dict[str, Any]]:
    """Return payouts as the provider's JSON."""
    return [
        {
            "id": one.id,
            "status": str(one.status),
            "amount_details": {"amount": one.amount_details.amount, "currency": "usd"},
            "metadata": one.metadata,
        }
        for one in payouts
        if one.amount_details is not None
    ]


@frozen
class PayoutSetup:
    """A payout, its journal, and the handlers of webhooks and reports."""

    context: WorkerContext
    hints: WebhookHints
    provider: Provider

    @property
    def marks(self) -> dict[str, Any]:
        """Return the metadata of the payout's session, as reports have it."""
        return {"payout_key": "k-1", "payout_journal": self.context.journal.journal_id}

    def row(self, **changes: Any) -> ReportRow:
        """Return a report row of the payout."""
        fields: dict[str, Any] = {
            "line": 2,
            "payout_id": "po_1",
            "session_id": "ps_1",
            "metadata": self.marks,
        }
        return ReportRow(**{**fields, **changes})

    async def read(self, *rows: ReportRow) -> Reconciliation:
        """Reconcile these rows."""
        return await Reconciler(self.hints).read(rows)

    async def halted(self) -> tuple[HaltKind, str] | None:
        """Return why payouts are halted, or None."""
        halt = await self.context.journal.halted()
        return None if halt is None else (halt.kind, halt.reason)

    async def found(self, key: str = "k-1") -> Entry:
        """Return the entry in the journal."""
        entry = await self.context.journal.find(key)
        assert entry is not None
        return entry


NOW: Final = 1_800_000_000.0


async def setup_payout(
    stack: AsyncExitStack,
    clock: Any,
    steps: tuple[tuple[Event, str | None], ...] | None = (),
    mode: Mode = Mode.MANUAL,
    **options: Any,
) -> PayoutSetup:
    """Bring a payout to a step, and return its handlers."""
    provider = options.pop("provider", Provider())
    retry = sg.RetryPolicy(attempts=options.pop("attempts", 1))
    settings = sg.Settings(timing=clock.timing(), retry=retry)
    server = stack.enter_context(serve(provider))
    api = sg.SmartGlocal("demo", FakeSigner(), server.url, settings=settings)
    stack.push_async_callback(api.close)
    journal = sg.journal.MemoryJournal(unsafe=True, clock=lambda: NOW + clock.now)
    await journal.open("scope")
    context = WorkerContext(
        journal=journal,
        sender=Sender(api._caller, journal.journal_id),
        mode=mode,
        owner="me",
        lease_seconds=30.0,
        fault_point=lambda _: None,
    )
    if steps is not None:
        entry = await entry_at(context, steps, **options)
        if options.get("owner", "me") == "me":
            await journal.release(entry)
    return PayoutSetup(
        context,
        WebhookHints(Claimer(context=context, waits_for_others=False, cipher=None)),
        provider,
    )
