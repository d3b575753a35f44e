"""Sessions as JSON, members in the order of the provider's samples."""

from typing import Final

from attrs import frozen

from ..settings import Rules, ShownAmounts
from .payers import bank_of, customer_view, timeout_statuses
from .sessions import EmulatedSession, Item, ItemKind, ItemRefund, ItemStage, moment, statuses
from .tokens import Tokens, masked
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
