"""Sessions as JSON, members in the order of the provider's samples; no I/O."""

from typing import Final

from attrs import frozen

from .cards import shown
from .checks import PAYOUT_NAMES, JsonObject
from .rules import Rules
from .sessions import Item, Kind, Refund, Session, moment
from .steps import Stage, statuses
from .tokens import Tokens

_LISTS: Final = {1: ("payments", "acquiring_payments"), 2: ("payout_list", "payment_list")}
_RANKS: Final = ("error", "in_progress", "accepted", "cancelled")
_NEXT: Final = ((Stage.READY, "confirm"), (Stage.HELD, "capture"))


@frozen
class Views:
    """Shows sessions in the names of either version."""

    rules: Rules
    tokens: Tokens

    def session(self, session: Session, version: int) -> JsonObject:
        """Show a session with all that is in it."""
        view: JsonObject = {
            "id": session.id,
            "status": self._status(session),
            "created_at": moment(session.created_at),
            "updated_at": moment(session.updated_at),
        }
        for stage, action in _NEXT if self.rules.hold_is_named else _NEXT[:1]:
            if "next_action" not in view and any(item.stage is stage for item in session.items):
                view["next_action"] = action
        payouts, payments = _LISTS[version]
        for name, wanted in ((payouts, False), (payments, True)):
            items = [item for item in session.items if (item.kind is Kind.PAYMENT) is wanted]
            if items:
                view[name] = [self._item(item, version) for item in items]
        for item in session.items:
            if item.error is not None:
                view["error"] = item.error
        if "metadata" in session.terms:
            view["metadata"] = session.terms["metadata"]
        return view

    def _status(self, session: Session) -> str:
        if not session.items:
            return "cancelled" if session.cancelled else "created"
        words = {self._words(item)[0] for item in session.items}
        return min(words, key=_RANKS.index)

    def _words(self, item: Item) -> tuple[str, str]:
        if item.kind is Kind.VERIFICATION and item.stage is Stage.DECLINED:
            return "cancelled", "failed"  # Documented: if nobody was found.
        return statuses(item.stage, self.rules)

    def _item(self, item: Item, version: int) -> JsonObject:
        name = "payment_details" if item.kind is Kind.PAYMENT else PAYOUT_NAMES[version]
        view: JsonObject = {
            "id": item.id,
            "status": self._words(item)[1],
            "created_at": moment(item.created_at),
        }
        if item.finished_at is not None:
            view["finished_at"] = moment(item.finished_at)
        view |= _given(item, "customer")
        view[name] = shown(item.instrument)
        view |= _given(item, "amount_details", "participant_details")
        if item.token is not None:
            view["recurrent"] = self.tokens.recurrent(item.token)
        if item.stage is Stage.ACTING and item.challenge is not None:
            view["customer_interaction"] = item.challenge
        if item.refunds:
            view["refunds"] = [_refund(refund, item) for refund in item.refunds]
        if item.stage is Stage.SUCCEEDED and item.kind is not Kind.VERIFICATION:
            view["transaction_info"] = _transaction(item)
        view |= _given(item, "metadata")
        if item.error is not None:
            view["error"] = item.error
        return view


def _given(item: Item, *names: str) -> JsonObject:
    return {name: item.terms[name] for name in names if name in item.terms}


def _refund(refund: Refund, item: Item) -> JsonObject:
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
    number = int(item.id.partition("_")[2])
    return {"rrn": f"{number:012}", "auth_code": f"{number:06}"}
