"""Writes a report as a pain.002, the answer to a pain.001."""

from collections import Counter
from typing import BinaryIO, Final

from attrs import define, field

from ..files.iso20022 import OriginalTransaction
from ..orders import PayoutState
from .iso20022 import (
    MAX_ID,
    NOT_PROVIDED,
    PaidMessage,
    begin_message,
    date_time,
    group_header,
    identifier,
    leaf,
    node,
)
from .records import BatchReport, ReportedPayout

_SETTLED, _REJECTED, _PENDING, _PARTLY = "ACSC", "RJCT", "PDNG", "PART"
_STATUSES: Final = {
    PayoutState.SUCCEEDED: _SETTLED,
    PayoutState.FAILED: _REJECTED,
    PayoutState.CANCELLED: _REJECTED,
}
"""No money moved for what is rejected; all others are pending."""
_MAX_REMARK: Final = 105
_NOT_STARTED: Final = "not started"


@define(eq=False)
class StatusReport:
    """Writes a pain.002.001.03, .10 or .12 to a binary stream, by the version of the original.

    The ``OrgnlEndToEndId`` is that of the original, or the key where the original isn't known. A
    paid payout is ACSC, one that failed or was cancelled RJCT, all others are PDNG; so are the
    transactions of the original that the journal doesn't have.
    """

    stream: BinaryIO
    paid: PaidMessage
    _payments: dict[str, list[str]] = field(factory=dict[str, list[str]], init=False)
    _statuses: dict[str, Counter[str]] = field(factory=dict[str, Counter[str]], init=False)
    _keys: set[str] = field(factory=set[str], init=False)

    def add(self, payout: ReportedPayout) -> None:
        """Take a payout.

        Raises:
            InvalidRequest: its key can't be an identifier of the message.

        """
        found, reason = self.paid.transaction(payout.key), ""
        self._keys.add(self.paid.key_of(payout.key))
        if payout.state is not PayoutState.SUCCEEDED:
            code, remark = payout.code or "", payout.reason or ""
            reason = node(
                "StsRsnInf",
                node("Rsn", leaf("Prtry", code[:MAX_ID])),
                leaf("AddtlInf", remark[:_MAX_REMARK]),
            )
        paid_at = "" if payout.paid_at is None else date_time(payout.paid_at)
        rest = leaf("AccptncDtTm", paid_at) + leaf("AcctSvcrRef", identifier(payout.payout_id))
        self._take(found, _STATUSES.get(payout.state, _PENDING), reason, rest)

    def _take(self, found: OriginalTransaction, status: str, reason: str, rest: str = "") -> None:
        text = node(
            "TxInfAndSts",
            leaf("OrgnlInstrId", found.instruction_id),
            leaf("OrgnlEndToEndId", found.end_to_end_id),
            leaf("TxSts", status),
            reason,
            rest,
        )
        self._payments.setdefault(found.payment_id, []).append(text)
        self._statuses.setdefault(found.payment_id, Counter())[status] += 1

    def finish(self, report: BatchReport) -> None:
        """Write the message."""
        original = self.paid.original
        if original is not None:
            for key, found in original.transactions.items():
                if key not in self._keys:
                    reason = node("StsRsnInf", leaf("AddtlInf", _NOT_STARTED))
                    self._take(found, _PENDING, reason)
        group = node(
            "OrgnlGrpInfAndSts",
            leaf("OrgnlMsgId", NOT_PROVIDED if original is None else original.message_id),
            leaf("OrgnlMsgNmId", NOT_PROVIDED if original is None else original.name),
            leaf("OrgnlNbOfTxs", None if original is None else str(original.count)),
            leaf("GrpSts", _group_status(sum(self._statuses.values(), Counter[str]()))),
        )
        self._put(begin_message(self.paid.status_version))
        self._put(f"<CstmrPmtStsRpt>{group_header(report)}{group}\n")
        for payment_id, transactions in self._payments.items():
            status = leaf("PmtInfSts", _group_status(self._statuses[payment_id]))
            self._put(f"<OrgnlPmtInfAndSts>{leaf('OrgnlPmtInfId', payment_id)}{status}\n")
            for text in transactions:
                self._put(f"{text}\n")
            self._put("</OrgnlPmtInfAndSts>\n")
        self._put("</CstmrPmtStsRpt></Document>\n")

    @property
    def count(self) -> int:
        """How many transactions the message has."""
        return sum(map(len, self._payments.values()))

    def _put(self, text: str) -> None:
        _ = self.stream.write(text.encode())


def _group_status(statuses: Counter[str]) -> str | None:
    """Return the status of a group: that of all its transactions, or that it is partly done."""
    if not statuses:
        return None
    return next(iter(statuses)) if len(statuses) == 1 else _PARTLY
