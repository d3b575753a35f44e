"""Sessions as JSON, members in the order of the provider's samples; and the daily reports."""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final, TypeAlias

from attrs import frozen

from ...models.money import EXPONENTS
from ..settings import Rules, ShownAmounts
from .payers import bank_of, customer_view, timeout_statuses
from .sessions import EmulatedSession, Item, ItemKind, ItemRefund, ItemStage, moment, statuses
from .tokens import Tokens, account_of, masked, number_of
from .validation import PAYOUT_NAMES, JsonObject, is_array, is_object

_Rows: TypeAlias = Iterator[tuple[datetime, dict[str, str]]]
"""Rows of a report, each with the time that decides the day it is reported on."""

_LISTS: Final = {1: ("payments", "acquiring_payments"), 2: ("payout_list", "payment_list")}
_RANKS: Final = ("error", "in_progress", "accepted", "cancelled", "canceled")
_NEXT: Final = ((ItemStage.READY, "confirm"), (ItemStage.HELD, "capture"))


@frozen
class Views:
    """Returns sessions as JSON, in the names of either version."""

    rules: Rules
    tokens: Tokens

    def session(self, session: EmulatedSession, version: int) -> JsonObject:
        """Return a session with its items."""
        view: JsonObject = {
            "id": session.id,
            "status": self._status(session),
            "created_at": moment(session.created_at),
            "updated_at": moment(session.updated_at),
        }
        if (action := self._next_action(session)) is not None:
            view["next_action"] = action
        payouts, payments = _LISTS[version]
        for name, wanted in ((payouts, False), (payments, True)):
            items = [item for item in session.items if (item.kind is ItemKind.PAYMENT) is wanted]
            if items:
                view[name] = [self._item(item, version) for item in items]
        for item in session.items:
            if item.error is not None:
                view["error"] = item.error
        if session.exchange is not None:
            view["exchange_amounts"] = [session.exchange]
        if "metadata" in session.terms:
            view["metadata"] = session.terms["metadata"]
        return _as_php(view) if self.rules.empty_as_lists else view

    def _next_action(self, session: EmulatedSession) -> str | None:
        stages = {item.stage for item in session.items}
        awaited = _NEXT if self.rules.hold_is_named else _NEXT[:1]
        return next((action for stage, action in awaited if stage in stages), None)

    def _status(self, session: EmulatedSession) -> str:
        if not session.items:
            return "cancelled" if session.cancelled else "created"
        statuses_of_items = {self._statuses(item)[0] for item in session.items}
        if any(item.is_being_refunded for item in session.items):
            statuses_of_items.add("in_progress")  # Documented by the example of session/refund.
        return min(statuses_of_items, key=_RANKS.index)

    def _statuses(self, item: Item) -> tuple[str, str]:
        if item.kind is ItemKind.VERIFICATION and item.stage is ItemStage.DECLINED:
            return (
                "cancelled",
                "failed",
            )  # Documented: the phone belongs to another person, or to none.
        if item.stage is ItemStage.ABANDONED:
            return timeout_statuses(item, self.rules)
        if any(refund.is_return for refund in item.refunds):
            return "accepted", self.rules.returned_payout.value
        return statuses(item.stage, self.rules)

    def _item(self, item: Item, version: int) -> JsonObject:
        name = "payment_details" if item.kind is ItemKind.PAYMENT else PAYOUT_NAMES[version]
        view: JsonObject = {
            "id": item.id,
            "status": self._statuses(item)[1],
            "created_at": moment(item.created_at),
        }
        if item.finished_at is not None:
            view["finished_at"] = moment(item.finished_at)
        customer = customer_view(item, item.terms.get("customer"))
        view |= {} if customer is None else {"customer": customer}
        view[name] = masked(item.instrument, has_card_id=self.rules.card_ids)
        view |= _from_terms(item, "amount_details", "participant_details")
        view |= _amounts(item, self.rules)
        # Documented by the example of SberPay.
        view |= _from_terms(item, *(("payment_options",) if bank_of(item.instrument) else ()))
        if item.token is not None:
            view["recurrent"] = self.tokens.recurrent(item.token)
        if item.stage is ItemStage.ACTING and item.challenge is not None:
            view["customer_interaction"] = item.challenge
        if item.refunds:
            view["refunds"] = [_refund(refund, item) for refund in item.refunds]
        if item.stage is ItemStage.SUCCEEDED and item.kind is not ItemKind.VERIFICATION:
            view["transaction_info"] = _transaction(item)
        view |= _from_terms(item, "metadata")
        if item.error is not None:
            view["error"] = item.error
        return view


def _amounts(item: Item, rules: Rules) -> JsonObject:
    gross: JsonObject = {"amount": item.amount, "currency": item.currency}
    match rules.amounts:
        case ShownAmounts.NONE:
            return {}
        case ShownAmounts.EMPTY:
            return {"amounts": {}}
        case ShownAmounts.GROSS:
            return {"amounts": {"gross": gross}}
        case ShownAmounts.ALL:
            charged: JsonObject = {"amount": rules.merchant_fee, "currency": item.currency}
            net: JsonObject = {**gross, "amount": item.amount - rules.merchant_fee}
            return {"amounts": {"gross": gross, "net": net, "fee": {"merchant_fee": charged}}}


def _as_php(value: JsonObject) -> JsonObject:
    """Return a copy with empty objects as lists, but for metadata, which is the merchant's own."""
    return {
        name: child if name == "metadata" else _listed_if_empty(child)
        for name, child in value.items()
    }


def _listed_if_empty(value: object) -> object:
    if is_object(value):
        return _as_php(value) if value else []
    if is_array(value):
        return [_listed_if_empty(child) for child in value]
    return value


def _from_terms(item: Item, *names: str) -> JsonObject:
    return {name: item.terms[name] for name in names if name in item.terms}


def _refund(refund: ItemRefund, item: Item) -> JsonObject:
    view: JsonObject = {
        "id": refund.id,
        "status": refund.status,
        "created_at": moment(refund.created_at),
    }
    if refund.finished_at is not None:
        view["finished_at"] = moment(refund.finished_at)
    view["amount_details"] = {"amount": refund.amount, "currency": item.currency}
    if refund.is_chargeback:
        view["is_chargeback"] = True
    return view | refund.extras


def _transaction(item: Item) -> JsonObject:
    # Documented by an example: two texts of digits.
    number = int(item.id.rpartition("_")[2])
    return {"rrn": f"{number:012}", "auth_code": f"{number:06}"}


_PAYOUTS: Final = (
    *("operationId", "transactionDate", "finishedAt", "typeOfPayment", "paymentFast"),
    *("paymentSessionId", "paymentSessionMerchantMetadata", "paymentMethodIdentity", "product"),
    *("grossLocalAmount", "paymentLocalAmount", "feesLocalAmount"),
)
_NEWER_PAYOUTS: Final = (*_PAYOUTS, "Currency amount", "Currency fee", "RRN")
_OLDER_PAYOUTS: Final = (*_PAYOUTS[:6], "contract", *_PAYOUTS[6:], "currency", "RRN")
_NEWER_PAYMENTS: Final = (
    *("ID", "paymentSessionId", "Project name", "Type of payment"),
    *("Amount", "Currency amount", "Fee", "Currency fee", "Settlement", "Currency settlement"),
    *("Transaction date and time", "Card number", "paymentSessionMerchantMetadata", "RRN"),
)
_OLDER_PAYMENTS: Final = (
    *("ID", "paymentSessionId", "Contract", "Project name", "Type of payment"),
    *("Amount", "Settlement", "Fee", "Transaction date and time", "Card number", "RRN"),
    "paymentSessionMerchantMetadata",
)
_CONTRACT: Final = "100-C-000000"


def payouts_report(sessions: Iterable[EmulatedSession], rules: Rules, day: date | None) -> str:
    """Return the daily payouts report as CSV: the payouts that succeeded, and those returned.

    The columns are those of the provider's page (finance/payouts-daily-report), in its newer or
    older version. Separator, encoding and the borders of a day are unknown: commas, and UTC.
    """
    rows = _of_day((row for session in sessions for row in _payout_rows(session, rules)), day)
    return _csv(_OLDER_PAYOUTS if rules.older_report else _NEWER_PAYOUTS, rows)


def payments_report(
    sessions: Iterable[EmulatedSession], rules: Rules, day: date | None, project: str
) -> str:
    """Return the daily payments report as CSV: payments that succeeded, and what was paid back.

    The columns are those of the provider's page (finance/payment-daily-report), in its newer or
    older version; the older one begins with a heading. Separator, encoding and the borders of a
    day are unknown: commas, and UTC.
    """
    rows = _of_day((row for session in sessions for row in _payment_rows(session, rules)), day)
    for _, row in rows:
        row["Project name"] = project
    if rules.compensation_rows:
        rows += _compensations(rows, project)
    if not rules.older_report:
        return _csv(_NEWER_PAYMENTS, rows)
    first, last = (rows[0][0], rows[-1][0]) if rows else (day, day)
    days = (f"{one:%d.%m.%Y}" if one else "" for one in (first, last))
    title = f"Payment register {_CONTRACT}, ({project}) from {' to '.join(days)}"
    return _csv(_OLDER_PAYMENTS, rows, title)


def _of_day(rows: _Rows, day: date | None) -> list[tuple[datetime, dict[str, str]]]:
    """Return the rows of a day, or of all days, in the order of time."""
    kept = (row for row in rows if day is None or row[0].astimezone(UTC).date() == day)
    return sorted(kept, key=lambda row: row[0])


def _csv(
    columns: Sequence[str], rows: Iterable[tuple[datetime, dict[str, str]]], title: str = ""
) -> str:
    text = io.StringIO()
    if title:
        csv.writer(text).writerow([title])
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(row for _, row in rows)
    return text.getvalue()


def _finished(made: Item | ItemRefund) -> datetime:
    return made.finished_at or made.created_at


def _payout_rows(session: EmulatedSession, rules: Rules) -> _Rows:
    for item in session.items:
        if item.kind is ItemKind.PAYOUT and item.stage is ItemStage.SUCCEEDED:
            for made in (None, *item.refunds):
                yield _finished(made or item), _payout_row(session, item, made, rules)


def _payout_row(
    session: EmulatedSession, item: Item, refund: ItemRefund | None, rules: Rules
) -> dict[str, str]:
    made = item if refund is None else refund
    amount = _major(item, item.amount if refund is None else refund.amount)
    if refund is not None and rules.negative_returns:
        amount = -amount
    # What is charged for a payout that comes back is unknown: nothing more.
    fee = _major(item, rules.merchant_fee) if refund is None else Decimal(0)
    return {
        "operationId": _report_id(made.id if rules.returns_have_ids else item.id, rules),
        "transactionDate": _report_time(made.created_at),
        "finishedAt": _report_time(_finished(made)),
        "typeOfPayment": "Advice" if refund is None else "Refund",
        "paymentFast": "0",
        "paymentSessionId": _report_id(session.id, rules),
        "contract": _CONTRACT,
        "paymentSessionMerchantMetadata": _metadata(item),
        "paymentMethodIdentity": _identity(item, rules),
        "product": "payouts",
        "grossLocalAmount": str(amount + fee),
        "paymentLocalAmount": str(amount),
        "feesLocalAmount": _fee(fee),
        "Currency amount": item.currency.upper(),
        "Currency fee": item.currency.upper(),
        "currency": item.currency.upper(),
        "RRN": str(_transaction(item)["rrn"]),
    }


def _payment_rows(session: EmulatedSession, rules: Rules) -> _Rows:
    for item in session.items:
        if item.kind is ItemKind.PAYMENT and item.captured:
            accepted = (refund for refund in item.refunds if refund.status == "accepted")
            for made in (None, *accepted):
                yield _finished(made or item), _payment_row(session, item, made, rules)


def _payment_row(
    session: EmulatedSession, item: Item, refund: ItemRefund | None, rules: Rules
) -> dict[str, str]:
    made = item if refund is None else refund
    amount = _major(item, item.captured if refund is None else refund.amount)
    fee = _major(item, rules.merchant_fee) if refund is None else Decimal(0)
    settlement = amount - fee if refund is None else -amount
    shown = -amount if refund is not None and rules.negative_returns else amount
    code = item.currency.upper()
    time = _finished(made).astimezone(UTC)
    return {
        "ID": _report_id(made.id if rules.returns_have_ids else item.id, rules),
        "paymentSessionId": _report_id(session.id, rules),
        "Contract": _CONTRACT,
        "Type of payment": _type_of_payment(item, refund, rules),
        "Amount": str(shown),
        "Currency amount": code,
        "Fee": _fee(-fee),
        "Currency fee": code,
        "Settlement": str(settlement),
        "Currency settlement": code,
        "Transaction date and time": _payment_time(time, rules),
        "Card number": _masked_number(item),
        "paymentSessionMerchantMetadata": _metadata(item),
        "RRN": str(_transaction(item)["rrn"]),
    }


def _type_of_payment(item: Item, refund: ItemRefund | None, rules: Rules) -> str:
    if refund is None:
        is_recurrent = rules.recurrent_rows and item.instrument.get("type") == "recurrent"
        return "Recurrent" if is_recurrent else "Advice"
    if refund.is_chargeback:
        return "Chargeback" if rules.older_report or rules.chargeback_rows else "Refund"
    return "Refund" if refund.amount == item.captured else "Adjustment"


def _compensations(rows: Sequence[tuple[datetime, dict[str, str]]], project: str) -> _Rows:
    """Yield a row for each day and currency: what the provider transfers to the merchant."""
    sums: defaultdict[tuple[date, str], Decimal] = defaultdict(Decimal)
    last: dict[tuple[date, str], tuple[datetime, str]] = {}
    for time, row in rows:
        place = time.astimezone(UTC).date(), row["Currency settlement"]
        sums[place] += Decimal(row["Settlement"])
        last[place] = time, row["Transaction date and time"]
    for number, (place, (time, shown)) in enumerate(last.items(), 1):
        _, code = place
        settled = str(sums[place])
        yield (
            time,
            {
                "ID": f"compensation_{number:03}",
                "Contract": _CONTRACT,
                "Project name": project,
                "Type of payment": "Compensation",
                "Amount": settled,
                "Currency amount": code,
                "Fee": "0",
                "Currency fee": code,
                "Settlement": settled,
                "Currency settlement": code,
                "Transaction date and time": shown,
            },
        )


def _major(item: Item, units: int) -> Decimal:
    return Decimal(units).scaleb(-(EXPONENTS.get(item.currency) or 0))


def _metadata(item: Item) -> str:
    metadata = item.terms.get("metadata")
    return "" if metadata is None else json.dumps(metadata)


def _report_id(id_: str, rules: Rules) -> str:
    return id_.rpartition("_")[2] if rules.bare_ids else id_


def _fee(fee: Decimal) -> str:
    return str(fee) if fee else "0"


def _identity(item: Item, rules: Rules) -> str:
    if not rules.whole_identities:
        return _masked_number(item)
    number = number_of(item.instrument) or account_of(item.instrument) or ""
    return " ".join(number[place : place + 4] for place in range(0, len(number), 4))


def _masked_number(item: Item) -> str:
    card = number_of(item.instrument)
    return "" if card is None else f"{card[:6]}******{card[-4:]}"


def _report_time(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _payment_time(time: datetime, rules: Rules) -> str:
    return f"{time:%d.%m.%Y %H:%M:%S}" if rules.older_report else _report_time(time)
