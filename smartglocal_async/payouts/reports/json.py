"""Writes a report as one JSON document: its payouts, and what it shows of all of them."""

import json
from datetime import datetime
from typing import Any, BinaryIO, Final

from attrs import asdict, define, field

from ...models.money import Amount
from ..orders import PayoutState
from .csv import iso
from .records import BatchReport, ReportedPayout

JSON_BEGINS: Final = b'{"report": "smartglocal payouts", "version": 1, "payouts": ['
"""How such a document begins, by which it is recognised."""


@define(eq=False)
class JsonReport:
    """Writes the document to a binary stream.

    Amounts are ``{"amount", "currency"}`` in minor units, as in the API; times are ISO 8601 in UTC.
    ``payouts`` has an object for each payout; the other fields are those of `BatchReport`.
    """

    stream: BinaryIO
    _separator: bytes = field(default=JSON_BEGINS + b"\n", init=False)

    def add(self, payout: ReportedPayout) -> None:
        """Write a payout."""
        _ = self.stream.write(self._separator + _encoded(_payout(payout)))
        self._separator = b",\n"

    def finish(self, report: BatchReport) -> None:
        """Write the rest of the document."""
        begin = JSON_BEGINS if self._separator.startswith(JSON_BEGINS) else b""
        _ = self.stream.write(begin + b"\n],\n" + _encoded(_report(report))[1:] + b"\n")


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _payout(payout: ReportedPayout) -> dict[str, Any]:
    fields: dict[str, Any] = asdict(payout, recurse=False, value_serializer=_plain)
    fields["bank_reference"] = fields.pop("reference")
    return fields


def _report(report: BatchReport) -> dict[str, Any]:
    batch = report.batch
    return {
        "batch": report.name,
        "journal": report.journal,
        "made_at": iso(report.made_at),
        "state": None if batch is None else batch.state.value,
        "rows": None if batch is None else batch.rows,
        "absent": report.absent,
        "absent_sums": [_money(one) for one in report.absent_sums],
        "halt": report.halt,
        "count": report.count,
        "counts": {state.value: count for state, count in report.counts.items()},
        "sums": [
            {"state": one.state.value, "count": one.count, "total": _money(one.total)}
            for one in report.sums
        ],
        "fees": [_money(fee) for fee in report.fees],
        "fee_count": report.fee_count,
        "timeline": {
            "slot_seconds": report.slot_seconds,
            "slots": [
                {
                    "begin": iso(slot.begin),
                    "counts": {state.value: count for state, count in slot.counts.items()},
                }
                for slot in report.timeline
            ],
        },
        "attempts": [asdict(one) for one in report.attempts],
        "durations": [asdict(one) for one in report.durations],
        "measured": report.measured,
        "median_seconds": report.median_seconds,
        "slowest_seconds": report.slowest_seconds,
        "failures": [
            {"state": one.state.value, "code": one.code, "reason": one.reason, "count": one.count}
            for one in report.failures
        ],
        "not_paid_count": report.unpaid_count,
        "retryable": report.retryable,
        "needs_review": [
            {
                "key": case.payout.key,
                "step": case.step,
                "why": case.why,
                "session_id": case.payout.session_id,
                "since": iso(case.payout.updated_at),
            }
            for case in report.cases
        ],
        "needs_review_count": report.case_count,
        "payee_note": report.payee_note,
    }


def _money(amount: Amount) -> dict[str, Any]:
    return {"amount": amount.amount, "currency": amount.currency}


def _plain(_record: object, _field: object, value: Any) -> Any:  # noqa: ANN401 - a field's
    match value:
        case Amount():
            return _money(value)
        case datetime():
            return iso(value)
        case PayoutState():
            return value.value
        case _:
            return value
