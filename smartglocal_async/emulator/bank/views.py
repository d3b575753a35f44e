"""Sessions as JSON, members in the order of the provider's samples; payouts as a daily report."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final

from attrs import frozen

from ...models.money import EXPONENTS
from ..settings import Rules, ShownAmounts
from .payers import bank_of, customer_view, timeout_statuses
from .sessions import EmulatedSession, Item, ItemKind, ItemRefund, ItemStage, moment, statuses
from .tokens import Tokens, masked, number_of
from .validation import PAYOUT_NAMES, JsonObject, is_array, is_object

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
        view[name] = masked(item.instrument)
        view |= _from_terms(item, "amount_details", "participant_details")
        view |= _amounts(item, self.rules.amounts)
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


def _amounts(item: Item, shown: ShownAmounts) -> JsonObject:
    gross: JsonObject = {"amount": item.amount, "currency": item.currency}
    match shown:
        case ShownAmounts.NONE:
            return {}
        case ShownAmounts.EMPTY:
            return {"amounts": {}}
        case ShownAmounts.GROSS:
            return {"amounts": {"gross": gross}}
        case ShownAmounts.ALL:
            fee: JsonObject = {"merchant_fee": {"amount": 0, "currency": item.currency}}
            return {"amounts": {"gross": gross, "net": gross, "fee": fee}}


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


_REPORT: Final = (
    *("operationId", "transactionDate", "finishedAt", "typeOfPayment", "paymentFast"),
    *("paymentSessionId", "paymentSessionMerchantMetadata", "paymentMethodIdentity", "product"),
    *("grossLocalAmount", "paymentLocalAmount", "feesLocalAmount"),
)
_NEWER: Final = (*_REPORT, "Currency amount", "Currency fee", "RRN")
_OLDER: Final = (*_REPORT[:6], "contract", *_REPORT[6:], "currency", "RRN")


def payouts_report(sessions: Iterable[EmulatedSession], rules: Rules, day: date | None) -> str:
    """Return the daily payouts report as CSV: the payouts that succeeded, and those returned.

    The columns are those of the provider's page (finance/payouts-daily-report), in its newer or
    older version. Separator, encoding and the borders of a day are unknown: commas, and UTC.
    """
    rows = [row for session in sessions for row in _report_rows(session, rules)]
    text = io.StringIO()
    writer = csv.DictWriter(text, _OLDER if rules.older_report else _NEWER, extrasaction="ignore")
    writer.writeheader()
    for time, row in sorted(rows, key=lambda one: one[0]):
        if day is None or time.astimezone(UTC).date() == day:
            writer.writerow(row)
    return text.getvalue()


def _report_rows(
    session: EmulatedSession, rules: Rules
) -> Iterator[tuple[datetime, dict[str, str]]]:
    for item in session.items:
        if item.kind is not ItemKind.PAYOUT or item.stage is not ItemStage.SUCCEEDED:
            continue
        yield item.finished_at or item.created_at, _report_row(session, item, None, rules)
        for refund in item.refunds:
            row = _report_row(session, item, refund, rules)
            yield refund.finished_at or refund.created_at, row


def _report_row(
    session: EmulatedSession, item: Item, refund: ItemRefund | None, rules: Rules
) -> dict[str, str]:
    made = item if refund is None else refund
    units = item.amount if refund is None else refund.amount
    if refund is not None and rules.negative_returns:
        units = -units
    amount = str(Decimal(units).scaleb(-(EXPONENTS.get(item.currency) or 0)))
    metadata = item.terms.get("metadata")
    card = number_of(item.instrument)
    return {
        "operationId": made.id if rules.returns_have_ids else item.id,
        "transactionDate": _report_time(made.created_at),
        "finishedAt": _report_time(made.finished_at or made.created_at),
        "typeOfPayment": "Advice" if refund is None else "Refund",
        "paymentFast": "0",
        "paymentSessionId": session.id,
        "contract": "100-C-000000",
        "paymentSessionMerchantMetadata": "" if metadata is None else json.dumps(metadata),
        "paymentMethodIdentity": "" if card is None else f"{card[:6]}******{card[-4:]}",
        "product": "payouts",
        "grossLocalAmount": amount,
        "paymentLocalAmount": amount,
        "feesLocalAmount": "0",
        "Currency amount": item.currency.upper(),
        "Currency fee": item.currency.upper(),
        "currency": item.currency.upper(),
        "RRN": str(_transaction(item)["rrn"]),
    }


def _report_time(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
