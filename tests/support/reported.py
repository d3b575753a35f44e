"""A journal with payouts to report, and the reports of it."""

import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final

from attrs import define, field
from journal_conformance import PATHS, SCOPE, SetClock, changes_for, new

import smartglocal_async as sg
from smartglocal_async.journal.entries import Batch, Changes
from smartglocal_async.journal.states import Event, Step
from smartglocal_async.models.money import Amount
from smartglocal_async.payouts.orders import SUMMARY_PURPOSE
from smartglocal_async.payouts.reports.gathering import ReportSource, write_report
from smartglocal_async.payouts.reports.records import BatchReport, ReportedPayout, ReportWriter
from smartglocal_async.payouts.session_view import PaymentProof

KEY: Final = sg.RequestCipher.new_key()
FORMULA: Final = '=HYPERLINK("http://x.invalid")'
PAID_AT: Final = datetime(2027, 1, 15, 8, 0, 7, tzinfo=UTC)


class Ignored:
    """A writer that writes nothing."""

    def add(self, payout: ReportedPayout) -> None:
        """Ignore a payout."""

    def finish(self, report: BatchReport) -> None:
        """Ignore the sums."""


@define(eq=False)
class ReportedJournal:
    """A memory journal whose payouts belong to the batch ``may.csv``, and its clock."""

    clock: SetClock = field(factory=SetClock)
    cipher: sg.RequestCipher = field(factory=lambda: sg.RequestCipher(KEY))
    journal: Any = None

    async def opened(self, batch: Batch | None = None) -> "ReportedJournal":
        """Open the journal, with its batch."""
        if self.journal is None:
            self.journal = sg.journal.MemoryJournal(clock=self.clock)
        await self.journal.open(SCOPE)
        if batch is not None:
            await self.journal.put_batch(batch)
        return self

    async def has(  # noqa: PLR0913 - what a payout may have
        self,
        key: str,
        step: Step = Step.SUCCEEDED,
        *,
        amount: Amount = Amount(10_000, "usd"),  # noqa: B008 - frozen
        payee: str | None = "Jane Roe, ...4321",
        proof: PaymentProof = PaymentProof(),  # noqa: B008 - frozen
        code: str | None = None,
        reason: str | None = None,
        seconds: float = 1.0,
    ) -> None:
        """Accept a payout, and bring it to a step; ``seconds`` pass before the last event."""
        summary = None
        if payee is not None:
            summary = self.cipher.encrypt(payee.encode(), key, purpose=SUMMARY_PURPOSE)
        fields = {"amount": amount.amount, "currency": amount.currency, "batch": "may.csv"}
        await self.journal.accept(new(key, **fields, summary=summary))
        entry = await self.journal.claim(key, "me", 500.0)
        events = PATHS[step] if step is not Step.SUCCEEDED else _PAID
        for number, event in enumerate(events, 1):
            is_last = number == len(events)
            self.clock.now += seconds if is_last else 0.0
            changes = changes_for(event, f"ps-{key}")
            if is_last and event is Event.PAID:
                changes = Changes(item_id=f"po-{key}", result=proof.stored())
            elif is_last:
                changes = Changes(code=code or changes.code, reason=reason or changes.reason)
            entry = await self.journal.advance(entry, event, changes)
        if not entry.step.is_final:
            await self.journal.release(entry)

    async def write(
        self, writer: ReportWriter, *, cipher: sg.RequestCipher | None = None, name: str = "may.csv"
    ) -> BatchReport:
        """Write a report of the batch."""
        source = ReportSource(
            reader=self.journal,
            journal="j.db",
            name=name,
            batch=await self.journal.batch(name),
            cipher=cipher,
            now=datetime.fromtimestamp(self.clock.now, UTC),
        )
        return await write_report(source, writer)

    async def text(
        self, make: Callable[[BinaryIO], ReportWriter], *, is_open: bool = True
    ) -> bytes:
        """Return what a writer writes of the batch; with the payees if they are ``open``."""
        stream = io.BytesIO()
        await self.write(make(stream), cipher=self.cipher if is_open else None)
        return stream.getvalue()


_PAID: Final = (*PATHS[Step.CONFIRMING], Event.PAID)


async def mixed_batch() -> ReportedJournal:
    """Return a batch with a payout of each kind, texts that could run, and names of all sorts."""
    batch = Batch(name="may.csv", digest=b"x", rows=7, totals={"usd": 51_000, "kwd": 1_234})
    made = await ReportedJournal().opened(batch)
    proof = PaymentProof(fee=Amount(125, "usd"), reference="000000000042", finished_at=PAID_AT)
    await made.has("k1", proof=proof, payee="Zoë <b>Å</b> & Söhne, ...4321")
    await made.has(FORMULA, amount=Amount(1_234, "kwd"), payee=f"{FORMULA}, ...9999")
    reason = "card 4000 0566 5566 5556 is closed & <i>gone</i>"
    await made.has("k3", Step.FAILED, code="declined", reason=reason)
    await made.has("k4", Step.CANCELLED, payee=None)
    await made.has("k5", Step.UNKNOWN, reason="=1+1, no call can show it", payee="card")
    await made.has("k6", Step.STARTED, amount=Amount(11_000, "usd"))
    return made
