"""Writes a report as one HTML page: totals, plots, and what needs a person. It loads nothing."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final, TypeAlias

from attrs import define, field

from ...journal.entries import Batch, BatchState
from ...journal.states import Step
from ...models.money import Amount
from ...models.validators import without_card_numbers
from ...pages import environment
from ..files.results import as_cell
from ..orders import PayoutState
from .gathering import ORDER
from .records import (
    BatchReport,
    HistogramBar,
    ReportCommands,
    ReportedPayout,
    ReviewCase,
    TimeSlot,
)

MARKER: Final = "smartglocal payouts report"
"""The generator that the page names, by which it is recognised."""
LABELS: Final = {
    PayoutState.SUCCEEDED: "Paid",
    PayoutState.FAILED: "Failed",
    PayoutState.CANCELLED: "Cancelled",
    PayoutState.UNKNOWN: "Unknown",
    PayoutState.OPEN: "Open",
}
"""The words of reports for the states."""
_LAST: Final = "~"
"""Sorted behind all currencies."""
NOT_STARTED: Final = "Not started"
"""The words for rows of the file that aren't in the batch."""
_Step: TypeAlias = dict[str, str | None]
"""What a person does: ``words``, and the ``command`` if there is one."""
_SETTLED: Final = (PayoutState.SUCCEEDED, PayoutState.FAILED, PayoutState.CANCELLED)
_PACKAGE: Final = "smartglocal_async.payouts.reports"
_HEIGHT: Final = 100.0
_GAP: Final = 0.08
_UNITS: Final = ((604_800, "week"), (86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


@define(eq=False)
class HtmlReport:
    """Writes the page to a binary stream.

    Raises:
        Misuse: Jinja2 isn't installed.

    """

    stream: BinaryIO
    commands: ReportCommands = field(factory=ReportCommands)
    _template: Any = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        pages = environment(_PACKAGE, "an HTML report", "reports")
        pages.filters["cell"] = _cell
        self._template = pages.get_template("report.html.j2")

    def add(self, payout: ReportedPayout) -> None:
        """Ignore the payout: the page shows sums, what needs a person, and what wasn't paid."""

    def finish(self, report: BatchReport) -> None:
        """Write the page."""
        text: str = self._template.render(_page(report, self.commands))
        _ = self.stream.write(text.encode("utf-8", "backslashreplace"))


def _cell(value: object) -> str:
    """Return a text that a spreadsheet which opens the page doesn't take for a formula."""
    return as_cell("".join(one if one.isprintable() else " " for one in str(value)))


def _page(report: BatchReport, commands: ReportCommands) -> dict[str, Any]:
    """Return what the template shows."""
    batch = report.batch
    legend = [state for state in ORDER if any(one.counts.get(state) for one in report.timeline)]
    title = "All payouts of a journal" if report.name is None else f"Payouts of {report.name}"
    return {
        "marker": MARKER,
        "title": title,
        "verdict": verdict(report),
        "made_at": moment(report.made_at),
        "state": None if batch is None else _state_words(batch),
        "report": report,
        "labels": LABELS,
        "states": [
            {"name": state.value, "label": LABELS[state], "count": f"{report.counts[state]:,}"}
            for state in ORDER
            if report.counts[state] or state is PayoutState.SUCCEEDED
        ],
        "sums": _sums(report),
        "in_file": None if batch is None else _in_file(report),
        "fees": _fees(report),
        "halt_steps": list(_halt_steps(commands)) if report.halt else [],
        "open": list(_open_steps(report, commands)),
        "person": _person(report.case_count),
        "cases": [_case(one, commands, is_halted=bool(report.halt)) for one in report.cases],
        "status": commands.status,
        "unpaid": [_unpaid(one) for one in report.unpaid],
        "unpaid_words": _unpaid_words(report),
        "retry": commands.retry if report.retryable else None,
        "retry_words": _retry_words(report, commands),
        "bars": list(_bars(report.timeline, legend)),
        "legend": [{"name": state.value, "label": LABELS[state]} for state in legend],
        "timeline_words": _timeline_words(report),
        "attempts": _widths(report.attempts),
        "attempt_words": "Calls that may have been sent for a payout. Without a fault it takes 3: "
        "create, start and confirm; 2 where the provider confirms.",
        "durations": _widths(report.durations),
        "duration_words": _duration_words(report),
    }


def verdict(report: BatchReport) -> str:
    """Return the result of a batch in a sentence."""
    if not report.count:
        return "There are no payouts."
    paid = report.counts[PayoutState.SUCCEEDED]
    parts = [f"{paid:,} of {report.count:,} payouts are paid"]
    rest = [
        f"{report.counts[state]:,} {LABELS[state].lower()}"
        for state in ORDER
        if report.counts[state] and state is not PayoutState.SUCCEEDED
    ]
    parts += [", ".join(rest)] if rest else []
    parts += [f"{report.absent:,} of the file not started"] if report.absent else []
    parts += [f"{report.case_count:,} need a person"] if report.case_count > 1 else []
    parts += ["1 needs a person"] if report.case_count == 1 else []
    return f"{'; '.join(parts)}."


def moment(time: datetime) -> str:
    """Return a time in UTC, to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _in_file(report: BatchReport) -> str:
    batch = report.batch
    assert batch is not None  # noqa: S101 - asked only with a batch
    sums = ", ".join(Amount(units, code).text for code, units in sorted(batch.totals.items()))
    return f"{batch.rows:,} rows{', ' if sums else ''}{sums}"


def _fees(report: BatchReport) -> str | None:
    if not report.fee_count:
        return None
    sums = ", ".join(fee.text for fee in report.fees)
    return f"The provider showed fees of {report.fee_count:,} paid payouts: {sums}."


def _person(count: int) -> str:
    if count == 1:
        subject, it = "This payout needs", "it"
    else:
        subject, it = f"These {count:,} payouts need", "them"
    return (
        f"{subject} a person: no call of the program can settle {it}, or nothing was written of "
        f"{it} for a day. Don't pay {it} under another key: the money may have moved."
    )


def _state_words(batch: Batch) -> str | None:
    """Return that a batch is paused or cancelled, and why; a batch that isn't has no state."""
    if batch.state is BatchState.RUNNING:
        return None
    return f"The batch is {batch.state.value}{f': {batch.reason}' if batch.reason else ''}."


def absent_rows(report: BatchReport) -> list[tuple[int | None, Amount | None]]:
    """Return how many rows of the file aren't in the batch, and their sums by currency.

    Their number by currency isn't known, so that only the first row has one.
    """
    if not report.absent:
        return []
    sums = report.absent_sums or (None,)
    return [(None if number else report.absent, one) for number, one in enumerate(sums)]


def _sums(report: BatchReport) -> list[dict[str, str]]:
    """Return the rows of the totals, by currency."""
    found = [(one.total, LABELS[one.state], f"{one.count:,}") for one in report.sums]
    absent = [
        (amount, NOT_STARTED, "" if count is None else f"{count:,}")
        for count, amount in absent_rows(report)
    ]
    rows = sorted([*found, *absent], key=lambda row: row[0].currency if row[0] else _LAST)
    return [
        {"label": label, "count": count, "amount": amount.text if amount else ""}
        for amount, label, count in rows
    ]


def _step(words: str, command: str | None = None) -> _Step:
    return {"words": words, "command": command}


def _halt_steps(commands: ReportCommands) -> Iterator[_Step]:
    words = "Find out what was paid, such as with the provider's daily report:"
    yield _step(words, commands.reconcile)
    yield _step("When the cause is checked, end the halt:", commands.resume)


def _open_steps(report: BatchReport, commands: ReportCommands) -> Iterator[_Step]:
    """Yield what to do about open payouts, and about rows that weren't started."""
    count, batch = report.counts[PayoutState.OPEN], report.batch
    parts = [f"{count:,} {'payout is' if count == 1 else 'payouts are'} open"] if count else []
    if report.absent:
        rows = "1 row" if report.absent == 1 else f"{report.absent:,} rows"
        verb = "is" if report.absent == 1 else "are"
        parts += [f"{rows} of the file {verb} not started"]
    if not parts:
        return
    about = " and ".join(parts)
    if report.halt:
        yield _step(f"{about}. Nothing is paid before the halt is ended. After that:")
    elif batch is not None and batch.state is BatchState.PAUSED:
        words = f"{about}. Nothing is started before the batch is resumed:"
        yield _step(words, commands.resume_batch)
    else:
        yield _step(f"{about}.")
    if batch is None or batch.state is not BatchState.CANCELLED:
        verb = "Submit" if commands.has_workers else "Pay"
        words = f"{verb} the file again, with the options of the first time:"
        if commands.pay is None:
            words = f"{verb} the file again, with the options of the first time."
        yield _step(words, commands.pay)
    if count:
        yield _step("Or only settle what was started:", commands.settle)


def _unpaid(payout: ReportedPayout) -> dict[str, str]:
    """Return the row of a payout that wasn't paid."""
    return {
        "key": payout.key,
        "payee": ", ".join(part for part in (payout.payee, payout.account) if part),
        "amount": "no amount" if payout.amount is None else payout.amount.text,
        "label": LABELS[payout.state],
        "code": payout.code or "",
        "reason": payout.reason or "",
    }


def _unpaid_words(report: BatchReport) -> str | None:
    """Return that not all payouts are listed; None if they are."""
    if report.unpaid_count <= len(report.unpaid):
        return None
    return (
        f"The first {len(report.unpaid):,} of {report.unpaid_count:,} are listed. An XLSX or a CSV "
        "report has all."
    )


def _retry_words(report: BatchReport, commands: ReportCommands) -> str:
    """Return how to take up again what failed for a cause that may have passed."""
    count = report.retryable
    subject = "1 of them" if count == 1 else f"{count:,} of them"
    them = "it" if count == 1 else "them"
    words = (
        f"{subject} failed for a cause that may have passed, such as too little money in the "
        f"wallet. To take {them} up again under the same key, and then pay the file again:"
    )
    return words if commands.retry else f"{words} use payouts retry with the batch."


def _case(case: ReviewCase, commands: ReportCommands, *, is_halted: bool) -> dict[str, Any]:
    payout = case.payout
    facts = (
        ("Payee", ", ".join(part for part in (payout.payee, payout.account) if part)),
        ("Session", payout.session_id),
        ("Payout", payout.payout_id),
        ("Provider's code", payout.code),
        ("Batch", payout.batch),
        ("Step", f"{case.step} since {moment(payout.updated_at)}"),
        ("Accepted", moment(payout.created_at)),
        ("Calls", str(payout.attempts)),
    )
    return {
        "key": payout.key,
        "amount": "no amount" if payout.amount is None else payout.amount.text,
        "why": case.why,
        "facts": [(name, value) for name, value in facts if value],
        "steps": list(_steps(case, commands, is_halted=is_halted)),
        "history": [
            (
                f"{datetime.fromtimestamp(line.at, UTC):%Y-%m-%d %H:%M:%S}",
                line.event.value,
                line.step.name,
                line.session_id or "",
                without_card_numbers(": ".join(filter(None, (line.code, line.reason)))) or "",
            )
            for line in case.history
        ],
    }


def _steps(case: ReviewCase, commands: ReportCommands, *, is_halted: bool) -> Iterator[_Step]:
    """Yield what a person does about a payout, in this order."""
    key, session = case.payout.key, case.payout.session_id
    place = f"the session {session}" if session else f"the key {key} in the metadata"
    if case.step != Step.UNKNOWN.name:
        when = ", after the halt is ended" if is_halted else ""
        yield _step(f"Ask the provider's status again{when}:", commands.settle)
    words = f"Look up {place} in the provider's Dashboard, or compare its daily report:"
    yield _step(words, commands.reconcile)
    yield _step("If money moved:", commands.decide(key, is_paid=True))
    words = "If the provider confirms in writing that none moves:"
    yield _step(words, commands.decide(key, is_paid=False))


def _bars(slots: tuple[TimeSlot, ...], legend: list[PayoutState]) -> Iterator[dict[str, Any]]:
    """Yield the bars of the timeline, each with its parts from the bottom to the top."""
    highest = max((sum(slot.counts.values()) for slot in slots), default=0)
    for number, slot in enumerate(slots):
        parts, filled = list[dict[str, str]](), 0.0
        for state in legend:
            if count := slot.counts.get(state, 0):
                height = _HEIGHT * count / highest
                filled += height
                y, name = f"{_HEIGHT - filled:.3f}", state.value
                parts.append({"name": name, "y": y, "height": f"{height:.3f}"})
        words = ", ".join(
            f"{count:,} {LABELS[state].lower()}" for state, count in slot.counts.items() if count
        )
        time = f"{slot.begin:%Y-%m-%d %H:%M:%S}"
        counts = [f"{slot.counts.get(state, 0):,}" for state in legend]
        yield {
            "x": f"{number + _GAP:g}",
            "parts": parts,
            "time": time,
            "title": f"{time}: {words}",
            "counts": counts,
        }


def _timeline_words(report: BatchReport) -> str:
    slots = report.timeline
    highest = max((sum(slot.counts.values()) for slot in slots), default=0)
    return (
        f"Payouts settled in each {span(report.slot_seconds)}, by outcome. "
        f"The highest bar has {highest:,}."
    )


def span(seconds: int) -> str:
    """Return a length of time in words: "5 minutes", "hour"."""
    for size, name in _UNITS:
        if seconds and seconds % size == 0:
            number = seconds // size
            return name if number == 1 else f"{number} {name}s"
    return "second"


def _widths(found: tuple[HistogramBar, ...]) -> list[dict[str, str]]:
    highest = max((one.count for one in found), default=0) or 1
    return [
        {
            "label": one.label,
            "count": f"{one.count:,}",
            "width": f"{100 * one.count / highest:.2f}",
        }
        for one in found
    ]


def _duration_words(report: BatchReport) -> str:
    if report.median_seconds is None or report.slowest_seconds is None:
        return ""
    settled = sum(count for state, count in report.counts.items() if state in _SETTLED)
    return (
        f"From the first call to the outcome, of {report.measured:,} settled payouts"
        f"{', chosen evenly' if report.measured < settled else ''}: half took up to "
        f"{report.median_seconds:,.2f} s, the slowest {report.slowest_seconds:,.2f} s."
    )
