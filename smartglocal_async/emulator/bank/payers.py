"""Payments that their payer finishes outside a card form: SberPay, T-Pay, Faster Payments."""

from typing import Final

from ..settings import Rules, TPayTimeout
from .sessions import Item, ItemKind, ItemStage
from .validation import JsonObject, is_array, is_object

FPS: Final = "faster_payment_system"
BINDING: Final = "faster_payment_system_binding"
SBER_PAY: Final = "sber_pay"
T_PAY: Final = "tpay"
_TOKEN_TYPES: Final = frozenset({"card", FPS, BINDING})
_PAYER_PHONE: Final = "7900*****01"
"""The form is that of the provider's example."""


def bank_of(instrument: JsonObject) -> str | None:
    """Return which internet bank a payment is made with, such as ``sber_pay``."""
    if instrument.get("type") != "internet_banking":
        return None
    banking = instrument.get("internet_banking")
    name = banking.get("type") if is_object(banking) else None
    return name if isinstance(name, str) else None


def is_by_fps(instrument: JsonObject) -> bool:
    """Return whether a payment or a binding goes through the Faster Payments System."""
    return instrument.get("type") in {FPS, BINDING}


def is_binding(instrument: JsonObject) -> bool:
    """Return whether only a token is made, and nothing is charged (documented)."""
    return instrument.get("type") == BINDING


def must_act(instrument: JsonObject) -> bool:
    """Return whether the payer has to act after the confirm, whatever the amount."""
    return is_by_fps(instrument) or bank_of(instrument) in {SBER_PAY, T_PAY}


def makes_token(instrument: JsonObject) -> bool:
    """Return whether a token for later payments can be made (documented)."""
    return instrument.get("type") in _TOKEN_TYPES or bank_of(instrument) == SBER_PAY


def is_silent(instrument: JsonObject, rules: Rules) -> bool:
    """Return whether no ``action_required`` is sent: for SberPay in a desktop browser."""
    banking = instrument.get("internet_banking")
    inner = banking.get(SBER_PAY) if is_object(banking) else None
    is_web = is_object(inner) and inner.get("channel") == "web"
    return is_web and not rules.sberpay_web_redirects


def confirm_minutes(item: Item, rules: Rules) -> float:
    """Return how long an item waits for its confirm."""
    is_sber = bank_of(item.instrument) == SBER_PAY
    return rules.sberpay_minutes if is_sber else rules.confirm_minutes


def action_minutes(item: Item, rules: Rules) -> float:
    """Return how long an item waits for its payer."""
    match bank_of(item.instrument):
        case "sber_pay":
            return rules.sberpay_minutes
        case "tpay":
            return rules.tpay_minutes
        case _:
            return rules.action_minutes


def interaction(item: Item, url: str) -> JsonObject:
    """Return what a payer is shown: a link, as a QR code's content or to be opened."""
    if is_by_fps(item.instrument):
        # The form of the picture is unknown; the content is a deeplink (documented).
        return {"type": "inform", "inform": {"qr": {"content": url, "img": f"{url}?as=image"}}}
    platform = item.options.get("platform_details")
    is_mobile = is_object(platform) and platform.get("type") == "mobile"
    link = f"{url}?in=application" if is_mobile else url
    return {"type": "redirect", "redirect": {"url": link}}


def customer_view(item: Item, customer: object) -> object:
    """Return the customer with the masked phone of a payer by FPS, once paid (documented)."""
    is_paid = item.kind is ItemKind.PAYMENT and item.stage is ItemStage.SUCCEEDED
    if not (is_paid and is_by_fps(item.instrument)):
        return customer
    shown = dict(customer) if is_object(customer) else {}
    contacts = shown.get("contacts")
    known = contacts if is_array(contacts) else []
    return {**shown, "contacts": [*known, {"phone": _PAYER_PHONE}]}


def timeout_statuses(item: Item, rules: Rules) -> tuple[str, str]:
    """Return the statuses of a session and its item whose payer didn't act in time."""
    is_t_pay = bank_of(item.instrument) == T_PAY
    if is_t_pay and rules.tpay_timeout is TPayTimeout.ERROR:
        return "error", "failed"
    if is_t_pay:
        return rules.session_timeout.value, "failed"
    return rules.session_timeout.value, rules.action_timeout.value
