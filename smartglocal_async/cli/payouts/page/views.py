"""What the templates of the page show: texts, shares and links made of the journal's records."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

from attrs import define, frozen

from ....encryption import RequestCipher
from ....errors import JournalUnusable
from ....journal.entries import Attempt, BatchState, Entry, OperatorAction
from ....journal.limits import WorkerInfo, left_to_spend
from ....journal.states import Event, Step
from ....models.money import Amount
from ....models.validators import without_card_numbers
from ....payouts.orders import PayoutState, state_of
from ....payouts.reports.gathering import ORDER, PayeeReader
from ....payouts.reports.html import LABELS
from ....payouts.reports.html import moment as utc_moment
from ....payouts.review import NeedsReview
from ..batches import SETTLED, absent_words, rules_text, utc
from ..watch import Workers, rate_text
from .samples import BatchSample, JournalSample, Sums

View = dict[str, Any]

_DONE: Final[Mapping[str, str]] = {
    BatchState.PAUSED.value: "paused",
    BatchState.RUNNING.value: "resumed",
    BatchState.CANCELLED.value: "cancelled",
    Event.PAID.value: "recorded as paid",
    Event.ADOPTED.value: "recorded as paid",
    Event.NOT_PAID.value: "recorded as not paid",
    "limits": "set the limits",
}
_HOURS_OF_DAY: Final = 24


def moment(seconds: float) -> str:
    """Return a time of the journal, in UTC."""
    return utc_moment(utc(seconds))


def link(path: str, **query: str | None) -> str:
    """Return a link with those parts of its query that aren't None."""
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def amount_of(entry: Entry) -> str:
    """Return the amount of an entry in major units; empty if it isn't known."""
    if entry.amount is None or entry.currency is None:
        return ""
    return Amount(entry.amount, entry.currency).text


def sums_of(sums: Sums, state: PayoutState) -> str:
    """Return the sums of a state by currency."""
    found = sorted((code, units) for (one, code), units in sums.items() if one is state)
    return ", ".join(Amount(units, code).text for code, units in found)


def figures(counts: Mapping[PayoutState, int]) -> list[View]:
    """Return the count of each state."""
    return [
        {"name": state.value, "label": LABELS[state], "count": f"{counts.get(state, 0):,}"}
        for state in ORDER
    ]


def batch_view(one: BatchSample, journal: str) -> View:
    """Return what is shown of a batch."""
    batch, count = one.batch, sum(one.counts.values())
    total = max(count, 0 if batch is None else batch.rows)
    settled = sum(one.counts[state] for state in SETTLED)
    state, colour = _state_of(one, total - settled)
    return {
        "name": one.name,
        "title": "Payouts without a batch" if one.name is None else one.name,
        "link": link("/payouts", batch="") if one.name is None else link("/batch", name=one.name),
        "state": state,
        "colour": colour,
        "reason": None if batch is None else without_card_numbers(batch.reason),
        "total": f"{total:,}",
        "settled": f"{settled:,}",
        "percent": f"{100 * settled // total if total else 0} %",
        "bars": _bars(one.counts, total),
        "rate": rate_text(one.rate) if one.rate else "",
        "left": _time_left(one),
        "figures": figures(one.counts),
        "sums": [
            {"state": LABELS[state], "name": state.value, "text": text}
            for state in ORDER
            if (text := sums_of(one.sums, state))
        ],
        "totals": _totals(one),
        "unknown": one.counts[PayoutState.UNKNOWN],
        "in_file": "" if batch is None else _in_file(batch.totals, batch.rows),
        "absent": f"{one.absent:,}" if one.absent else "",
        "absent_words": absent_words(journal),
        "rules": "" if batch is None else rules_text(batch),
        "spent": [] if batch is None else _spent(one),
        "begun_at": "" if batch is None else moment(batch.begun_at),
        "may_pause": batch is not None and batch.state is BatchState.RUNNING and bool(one.open),
        "may_resume": batch is not None and batch.state is BatchState.PAUSED,
        "cancellable": "1 open payout" if one.open == 1 else f"up to {one.open:,} open payouts",
        "may_cancel": batch is not None
        and batch.state is not BatchState.CANCELLED
        and bool(one.open),
    }


def _state_of(one: BatchSample, rest: int) -> tuple[str, str]:
    """Return the state of a batch in a word, and its colour."""
    state = BatchState.RUNNING if one.batch is None else one.batch.state
    if state is BatchState.CANCELLED:
        return "Cancelled", "cancelled"
    if one.held == "halted" and one.open:
        return "Halted", "failed"
    if state is BatchState.PAUSED:
        return "Paused", "unknown"
    return ("Running", "open") if rest else ("Finished", "succeeded")


def _bars(counts: Mapping[PayoutState, int], total: int) -> list[View]:
    """Return the parts of a progress bar that is 1,000 wide; each is visible."""
    bars, x = list[View](), 0.0
    for state in SETTLED:
        if counts.get(state) and total:
            width = max(4.0, 1000 * counts[state] / total)
            bars.append({"name": state.value, "x": f"{x:.1f}", "width": f"{width:.1f}"})
            x += width
    return bars


def _time_left(one: BatchSample) -> str:
    if not one.open or one.eta_seconds is None:
        return ""
    left = timedelta(seconds=round(one.eta_seconds))
    hours, rest = divmod(int(left.total_seconds()), 3600)
    minutes, seconds = divmod(rest, 60)
    if hours >= _HOURS_OF_DAY:
        return f"{hours // _HOURS_OF_DAY} d {hours % _HOURS_OF_DAY} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _totals(one: BatchSample) -> list[View]:
    """Return the sums by currency, one row for each, with a cell for each state."""
    currencies = sorted({code for _, code in one.sums})
    return [
        {
            "currency": code.upper(),
            "cells": [
                _without_currency(one.sums[state, code], code) if (state, code) in one.sums else ""
                for state in ORDER
            ],
        }
        for code in currencies
    ]


def _without_currency(units: int, code: str) -> str:
    return Amount(units, code).text.removesuffix(f" {code.upper()}").removesuffix(" of")


def _in_file(totals: Mapping[str, int], rows: int) -> str:
    sums = ", ".join(Amount(units, code).text for code, units in sorted(totals.items()))
    return f"{rows:,} rows{', ' if sums else ''}{sums}"


def _spent(one: BatchSample) -> list[str]:
    """Return what the spending limits of a batch leave."""
    batch = one.batch
    if batch is None or batch.rules is None:
        return []
    return [
        f"{Amount(units, code).text} of {Amount(batch.rules.spend[code], code).text} left"
        for code, units in left_to_spend(batch).items()
    ]


@define(eq=False)
class EntryViews:
    """Makes views of payouts, with the payee as far as the journal's key decrypts it."""

    cipher: RequestCipher | None

    def row(self, entry: Entry) -> View:
        """Return a row of a list."""
        state = state_of(entry.step)
        try:
            payee = ", ".join(filter(None, PayeeReader(self.cipher).read(entry)))
        except JournalUnusable:  # One row that was changed must not hide the others.
            payee = "can't be decrypted: it was changed"
        why = ": ".join(part for part in (entry.code, entry.reason) if part)
        is_paid = state is PayoutState.SUCCEEDED
        return {
            "key": entry.key,
            "link": link("/payout", key=entry.key),
            "state": LABELS[state],
            "name": state.value,
            "amount": amount_of(entry),
            "payee": payee,
            "session": entry.session_id or "",
            "batch": entry.batch,
            "at": moment(entry.updated_at),
            "why": "" if is_paid else without_card_numbers(why) or "",
        }

    def case(self, case: NeedsReview) -> View:
        """Return a payout that needs review."""
        return {**self.row(case.entry), "why": without_card_numbers(case.reason) or ""}

    def matches(self, entry: Entry, payee: str, reader: PayeeReader) -> bool:
        """Whether the payee of an entry, a name or the end of an account, has this text."""
        wanted = payee.casefold()
        try:
            parts = reader.read(entry)
        except JournalUnusable:
            return False
        return any(wanted in part.casefold() for part in parts if part)


def payout_view(entry: Entry, case: NeedsReview | None, views: EntryViews) -> View:
    """Return all that is shown of one payout but its log."""
    row = views.row(entry)
    facts = (
        ("Amount", row["amount"]),
        ("Payee", row["payee"]),
        ("Batch", entry.batch),
        ("Row of the file", None if entry.ordinal is None else f"{entry.ordinal + 1:,}"),
        ("Session", entry.session_id),
        ("Sessions left before", str(entry.session_no) if entry.session_no else None),
        ("Payout at the provider", entry.item_id),
        ("Step", f"{entry.step.name} since {row['at']}"),
        ("Provider's code", without_card_numbers(entry.code)),
        ("Reason", without_card_numbers(entry.reason)),
        ("Calls", str(entry.attempts)),
        ("Accepted", moment(entry.created_at)),
        ("Confirmed by", "this program" if entry.mode == "manual" else "the provider"),
        ("A worker has it until", _lease(entry)),
        ("Tried again at", None if entry.not_before is None else moment(entry.not_before)),
    )
    return {
        **row,
        "batch_link": link("/batch", name=entry.batch),
        "facts": [(name, value) for name, value in facts if value],
        "why_review": None if case is None else without_card_numbers(case.reason),
        "place": f"session {entry.session_id}"
        if entry.session_id
        else f"the key {entry.key} in the metadata",
        "subject": f"{entry.key}, {row['amount']}" if row["amount"] else entry.key,
        "may_decide": may_decide(case),
        "is_open": case is not None and entry.step is not Step.UNKNOWN,
    }


def may_decide(case: NeedsReview | None) -> bool:
    """Whether an operator may record a payout as paid or not: it needs review, and was sent."""
    return case is not None and case.entry.step not in {Step.NEW, Step.CREATING}


def _lease(entry: Entry) -> str | None:
    return None if entry.owner is None or entry.leased_until is None else moment(entry.leased_until)


def history_view(lines: Iterable[Attempt]) -> list[View]:
    """Return the log of a payout."""
    return [
        {
            "at": moment(line.at),
            "event": line.event.value,
            "step": line.step.name,
            "session": line.session_id or "",
            "why": without_card_numbers(": ".join(filter(None, (line.code, line.reason)))) or "",
        }
        for line in lines
    ]


def action_view(action: OperatorAction) -> View:
    """Return a change by an operator."""
    subject, to = "", None
    if action.key is not None:
        subject, to = action.key, link("/payout", key=action.key)
    elif action.batch is not None:
        subject, to = action.batch, link("/batch", name=action.batch)
    return {
        "at": moment(action.at),
        "operator": action.operator,
        "done": _DONE.get(action.action, action.action),
        "subject": subject,
        "link": to,
        "detail": without_card_numbers(action.detail) or "",
    }


@frozen
class _WorkerView:
    """A worker of the list."""

    owner: str
    payouts: str
    state: str
    colour: str


def workers_view(sample: JournalSample) -> View | None:
    """Return the workers and limits; None for a journal in a file."""
    if sample.workers is None or sample.limits is None:
        return None
    return {
        "words": str(Workers.of(sample.workers)),
        "rows": [_worker(one) for one in sample.workers],
        "limits": str(sample.limits),
        "rate": "" if sample.limits.rate is None else f"{sample.limits.rate:g}",
        "concurrency": "" if sample.limits.concurrency is None else str(sample.limits.concurrency),
    }


def _worker(one: WorkerInfo) -> _WorkerView:
    if not one.is_alive:
        return _WorkerView(one.owner, f"{one.payouts:,}", "Died; others take over", "failed")
    state, colour = ("At work", "open") if one.payouts else ("Waiting", "cancelled")
    return _WorkerView(one.owner, f"{one.payouts:,}", state, colour)
