"""Writes a report as a camt.054: a debit for each payout that was paid."""

from datetime import datetime
from typing import BinaryIO, Final

from attrs import define, field

from ...errors import InvalidRequest
from ...models.money import Amount
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
    message_id,
    money,
    node,
)
from .records import BatchReport, ReportedPayout, in_major_units

_OLDEST: Final = "camt.054.001.02"
_MAX_NAME: Final = 140
_DEBIT: Final = leaf("CdtDbtInd", "DBIT")
_BANK_CODE: Final = node(
    "BkTxCd",
    node(
        "Domn",
        leaf("Cd", "PMNT"),
        node("Fmly", leaf("Cd", "ICDT"), leaf("SubFmlyCd", "OTHR")),
    ),
)
"""Payments, issued credit transfers, other (external code set of ISO 20022)."""


@define
class _AccountEntries:
    """The entries of one account in one currency."""

    entries: list[str] = field(factory=list[str])
    units: int = 0


@define(eq=False)
class NotificationReport:
    """Writes a camt.054.001.02, .08 or .10 to a binary stream, by the version of the original.

    It has a notification for each account and currency, and an entry for each paid payout; others
    aren't in it. The account is the IBAN of the debtor in the original, and ``NOTPROVIDED`` where
    the original isn't known.
    """

    stream: BinaryIO
    paid: PaidMessage
    _accounts: dict[tuple[str | None, str], _AccountEntries] = field(
        factory=dict[tuple[str | None, str], _AccountEntries], init=False
    )

    @property
    def _is_old(self) -> bool:
        return self.paid.notification_version == _OLDEST

    def add(self, payout: ReportedPayout) -> None:
        """Take a payout, if it is paid.

        Raises:
            InvalidRequest: its key can't be an identifier of the message, or its amount isn't
                known.

        """
        amount, paid_at = payout.amount, payout.paid_at
        if payout.state is not PayoutState.SUCCEEDED or paid_at is None:
            return
        if amount is None or in_major_units(amount) is None:
            words = f"the payout {payout.key!r} has no amount that a camt.054 can show"
            raise InvalidRequest("--format", f"{words}; write a CSV or XLSX")
        found = self.paid.transaction(payout.key)
        own = self._accounts.setdefault((found.debtor_iban, amount.currency), _AccountEntries())
        own.units += amount.amount
        own.entries.append(self._entry(len(own.entries) + 1, payout, amount, paid_at, found))

    def _entry(
        self,
        number: int,
        payout: ReportedPayout,
        amount: Amount,
        paid_at: datetime,
        found: OriginalTransaction,
    ) -> str:
        day = leaf("DtTm", date_time(paid_at))
        return node(
            "Ntry",
            leaf("NtryRef", str(number)),
            money("Amt", amount),
            _DEBIT,
            leaf("Sts", "BOOK") if self._is_old else node("Sts", leaf("Cd", "BOOK")),
            node("BookgDt", day),
            node("ValDt", day),
            leaf("AcctSvcrRef", identifier(payout.payout_id)),
            _BANK_CODE,
            node("NtryDtls", self._details(payout, amount, found)),
        )

    def _details(self, payout: ReportedPayout, amount: Amount, found: OriginalTransaction) -> str:
        original = self.paid.original
        references = node(
            "Refs",
            leaf("MsgId", None if original is None else original.message_id),
            leaf("AcctSvcrRef", identifier(payout.payout_id)),
            leaf("PmtInfId", None if original is None else found.payment_id),
            leaf("InstrId", found.instruction_id),
            leaf("EndToEndId", found.end_to_end_id or NOT_PROVIDED),
            leaf("ClrSysRef", identifier(payout.reference)),
        )
        sums = "" if self._is_old else money("Amt", amount) + _DEBIT
        return node(
            "TxDtls", references, sums, self._fee(payout), node("RltdPties", self._parties(payout))
        )

    def _fee(self, payout: ReportedPayout) -> str:
        fee = payout.fee
        if fee is None or fee.amount < 0 or in_major_units(fee) is None:
            return ""
        amount = money("Amt", fee) + _DEBIT
        return node("Chrgs", amount if self._is_old else node("Rcrd", amount))

    def _parties(self, payout: ReportedPayout) -> str:
        name = leaf("Nm", (payout.payee or "")[:_MAX_NAME])
        number = node("Othr", leaf("Id", payout.account))
        return node("Cdtr", name if self._is_old else node("Pty", name)) + node(
            "CdtrAcct", node("Id", number)
        )

    def finish(self, report: BatchReport) -> None:
        """Write the message.

        Raises:
            InvalidRequest: nothing is paid; the message can't be empty.

        """
        if not self._accounts:
            words = "nothing is paid, and a camt.054 has at least one entry; write a CSV or XLSX"
            raise InvalidRequest("--format", words)
        name = message_id(report)
        self._put(begin_message(self.paid.notification_version))
        self._put(f"<BkToCstmrDbtCdtNtfctn>{group_header(report)}\n")
        for number, ((iban, currency), own) in enumerate(self._accounts.items(), 1):
            total = in_major_units(Amount(own.units, currency))
            head = (
                leaf("Id", f"{name[: MAX_ID - len(str(number)) - 1]}-{number}"),
                leaf("CreDtTm", date_time(report.made_at)),
                node(
                    "Acct",
                    node("Id", leaf("IBAN", iban) or node("Othr", leaf("Id", NOT_PROVIDED))),
                    leaf("Ccy", currency.upper()),
                ),
                node(
                    "TxsSummry",
                    node(
                        "TtlDbtNtries",
                        leaf("NbOfNtries", str(len(own.entries))),
                        leaf("Sum", f"{total:f}"),
                    ),
                ),
            )
            self._put(f"<Ntfctn>{''.join(head)}\n")
            for text in own.entries:
                self._put(f"{text}\n")
            self._put("</Ntfctn>\n")
        self._put("</BkToCstmrDbtCdtNtfctn></Document>\n")

    @property
    def count(self) -> int:
        """How many debits the message has."""
        return sum(len(own.entries) for own in self._accounts.values())

    def _put(self, text: str) -> None:
        _ = self.stream.write(text.encode())
