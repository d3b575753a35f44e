"""Checks of requests by the provider's pages.

Each check returns a description that names the field. It never shows the value, which could be
a card number.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypeAlias, TypeGuard

from ...models.money import EXPONENTS

JsonObject: TypeAlias = dict[str, object]

PAYOUT_NAMES: Final[Mapping[int, str]] = MappingProxyType(
    {1: "payment_method", 2: "payout_details"}
)
_LISTS: Final = frozenset({"metadata", "contacts"})
_OBJECTS: Final = ("amount_details", "participant_details", "customer", "payment_options")


BETWEEN_INDIVIDUALS: Final = "dummy:/url"
"""The ``return_url`` of a transfer between individuals (documented)."""
# Documented: these instruments have no object inside.
BARE_TYPES: Final = frozenset({"faster_payment_system", "faster_payment_system_binding"})


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Return whether ``value`` was a JSON object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[object]]:
    """Return whether ``value`` was a JSON array."""
    return isinstance(value, list)


def with_objects(request: JsonObject) -> JsonObject:
    """Return a request in which an empty list is an empty object, where an object is expected.

    PHP encodes an empty array so, and foreign clients send it. Metadata stays as it is.
    """
    return {
        name: {}
        if is_array(value) and not value and name not in _LISTS
        else with_objects(value)
        if is_object(value) and name != "metadata"
        else value
        for name, value in request.items()
    }


def with_numbers(request: JsonObject) -> JsonObject:
    """Return a request whose amount is a number where it was a string of digits."""
    money = request.get("amount_details")
    amount = money.get("amount") if is_object(money) else None
    if not is_object(money) or not isinstance(amount, str) or not _DIGITS.fullmatch(amount):
        return request
    return {**request, "amount_details": {**money, "amount": int(amount)}}


def terms_problem(request: JsonObject, version: int) -> str | None:
    """Return the first problem with the terms of an operation, or None."""
    for check in _CHECKS:
        if (problem := check(request, version)) is not None:
            return problem
    return None


def _other_version(request: JsonObject, version: int) -> str | None:
    # Documented by the sister platform: a name of the wrong version can make operations fail.
    for other, name in PAYOUT_NAMES.items():
        if other != version and name in request:
            return f"{name}: belongs to v{other}; v{version} says {PAYOUT_NAMES[version]}"
    return None


def _two_instruments(request: JsonObject, version: int) -> str | None:
    # Documented: one is for payouts, the other for payments.
    name = PAYOUT_NAMES[version]
    if name in request and "payment_details" in request:
        return f"{name}, payment_details: only one of them can be given"
    return None


def _not_an_object(request: JsonObject, _: int) -> str | None:
    # Documented types. That null doesn't count as absent is the emulator's own rule.
    for name in _OBJECTS:
        if name in request and not is_object(request[name]):
            return f"{name}: must be an object"
    return None


def _instrument(request: JsonObject, version: int) -> str | None:
    # Documented shape: {"type": T, T: {...}}.
    for name in (PAYOUT_NAMES[version], "payment_details"):
        if name not in request:
            continue
        instrument = request[name]
        if not is_object(instrument):
            return f"{name}: must be an object"
        kind = instrument.get("type")
        if not isinstance(kind, str) or not kind or kind == "type":
            return f"{name}.type: must be a word"
        is_bare = kind in BARE_TYPES and kind not in instrument
        if not is_bare and not is_object(instrument.get(kind)):
            return f"{name}: must hold an object under the name that is its type"
    return None


def _amount(request: JsonObject, _: int) -> str | None:
    # Documented: an integer of minor units, greater than zero. True is an int in Python only.
    details = request.get("amount_details")
    if not is_object(details):
        return None
    amount = details.get("amount")
    if not isinstance(amount, int) or isinstance(amount, bool) or amount <= 0:
        return "amount_details.amount: must be a whole number greater than zero"
    return None


def _currency(request: JsonObject, _: int) -> str | None:
    # Documented: ISO 4217, case-insensitive. Some letters outside ASCII lower to ASCII.
    details = request.get("amount_details")
    if not is_object(details):
        return None
    currency = details.get("currency")
    known = isinstance(currency, str) and currency.isascii() and currency.lower() in EXPONENTS
    return None if known else "amount_details.currency: must be an ISO 4217 code"


_CHECKS: Final[tuple[Callable[[JsonObject, int], str | None], ...]] = (
    _other_version,
    _two_instruments,
    _not_an_object,
    _instrument,
    _amount,
    _currency,
)


Check: TypeAlias = Callable[[JsonObject, int], str | None]

_DIGITS: Final = re.compile(r"[0-9]{1,18}")
_NUMBER: Final = re.compile(r"[0-9]{12,19}")
_PHONE: Final = re.compile(r"\+?[0-9]{10,15}")
_DEVICES: Final = ("mobile", "desktop")
_CHANNELS: Final = ("app", "mobile_web", "web")
_INFO_TYPES: Final = ("card", "public_token", "recurrent_token")
_INITIATORS: Final = (None, "merchant", "client")


def problem_of(operation: str, request: JsonObject, version: int) -> str | None:
    """Return the first problem with a call, or None."""
    for check in _FIELD_CHECKS.get(operation, (_session_id,)):
        if (problem := check(request, version)) is not None:
            return problem
    return None


def missing_field(terms: JsonObject, version: int, *, pays_out: bool) -> str | None:
    """Return what a start lacks, together with the fields of its session (documented), or None.

    ``terms`` are in the names of v1, the answer in those of ``version``.
    """
    own = "payment_method" if pays_out else "payment_details"
    shown = PAYOUT_NAMES[version] if pays_out else own
    instrument = terms.get(own)
    if not is_object(instrument):
        return f"{shown}: is missing"
    for name in ("amount_details",) if pays_out else ("amount_details", "customer"):
        if not is_object(terms.get(name)):
            return f"{name}: is missing"
    kind = str(instrument["type"])
    inner = instrument.get(kind)
    check = _INSTRUMENTS.get(kind)
    problem = check(inner) if check is not None and is_object(inner) else None
    if problem is None and pays_out and is_object(inner):
        problem = _without_payee(kind, inner)
    if problem is not None:
        return f"{shown}.{kind}.{problem}"
    problem = _not_in_roubles(terms, instrument) or _without_payer(terms, kind)
    return problem or _unknown_device(terms, inner)


def _not_in_roubles(terms: JsonObject, instrument: JsonObject) -> str | None:
    kind = instrument["type"]
    inner = instrument.get(str(kind))
    is_in_roubles = kind in {*BARE_TYPES, "internet_banking"} or (
        kind == "wallet" and is_object(inner) and inner.get("type") == "steam"
    )
    money = terms.get("amount_details")
    currency = str(money.get("currency")).lower() if is_object(money) else "rub"
    if is_in_roubles and currency != "rub":
        return "amount_details.currency: must be rub for this instrument"
    return None


def holds(fields: object, path: str) -> bool:
    """Return whether there is a value at a path, other than spaces."""
    for name in path.split("."):
        fields = fields.get(name) if is_object(fields) else None
    return _is_filled(fields)


def _without_payer(terms: JsonObject, kind: str) -> str | None:
    # Documented for the start of a payment by QR code; the binding has all of its steps.
    people = terms.get("participant_details")
    sender, customer = people.get("sender") if is_object(people) else None, terms.get("customer")
    named = (
        customer.get("reference") if is_object(customer) else None,
        sender.get("ipv4") if is_object(sender) else None,
    )
    if kind in BARE_TYPES and not any(map(_is_filled, named)):
        return "customer.reference: must be given, or participant_details.sender.ipv4"
    return None


def _unknown_device(terms: JsonObject, inner: object) -> str | None:
    # Documented for T-Pay, which alone takes such details; os and browser may be any text.
    options = terms.get("payment_options")
    device = options.get("platform_details") if is_object(options) else None
    is_by_tpay = is_object(inner) and inner.get("type") == "tpay"
    if is_by_tpay and is_object(device) and device.get("type", "mobile") not in _DEVICES:
        return f"payment_options.platform_details.type: must be {' or '.join(_DEVICES)}"
    return None


def _without_payee(kind: str, inner: JsonObject) -> str | None:
    # The emulator's own rule: a bank would decline such a payout, perhaps later.
    system = str(inner.get("system_type", inner.get("type", "")))
    fields = inner if kind == "recurrent" else inner.get(system)
    telling = _PAYEE.get((kind, "" if kind == "recurrent" else system))
    if telling is None or not is_object(fields):
        return None
    others = fields.keys() - _NO_PAYEE - set(telling)
    if any(_is_filled(fields.get(name)) for name in (*telling, *others)):
        return None
    where = "" if kind == "recurrent" else f"{system}."
    return f"{where}{telling[0]}: names no account"


def _is_filled(value: object) -> bool:
    return bool(value.strip()) if isinstance(value, str) else value is not None


def _session_id(request: JsonObject, _: int) -> str | None:
    session_id = request.get("session_id")
    if isinstance(session_id, str) and session_id:
        return None
    return "session_id: must be a string that isn't empty"


def _pays_out(request: JsonObject, _: int) -> str | None:
    names = ("payment_details", "payment_options")
    return _of_other_kind(request, names, "is for payments")


def _pays_in(request: JsonObject, _: int) -> str | None:
    return _of_other_kind(request, tuple(PAYOUT_NAMES.values()), "is for payouts")


def _of_other_kind(request: JsonObject, names: tuple[str, ...], problem: str) -> str | None:
    return next((f"{name}: {problem}" for name in names if name in request), None)


def _card(card: JsonObject) -> str | None:
    # Documented: an open card, an encrypted one, or a token, whose form is third-party code's.
    open_card, hashed = card.get("bank_card"), card.get("encrypted_card")
    tokenized = card.get("tokenized_card")
    match card.get("type"):
        case "bank_card":
            number = open_card.get("number") if is_object(open_card) else None
            is_valid = isinstance(number, str) and bool(_NUMBER.fullmatch(number))
            return None if is_valid else "bank_card.number: must be 12 to 19 digits"
        case "encrypted_card":
            is_valid = is_object(hashed) and _is_text(hashed.get("number_hash"))
            return None if is_valid else "encrypted_card.number_hash: must be a string"
        case "tokenized_card":
            is_valid = is_object(tokenized) and _is_text(tokenized.get("token"))
            return None if is_valid else "tokenized_card.token: must be a string"
        case _:
            return "type: must be bank_card, encrypted_card or tokenized_card"


def _banking(banking: JsonObject) -> str | None:
    kind = banking.get("type")
    if not isinstance(kind, str) or not kind:
        return "type: must be a word"
    if kind == "tpay" and kind not in banking:
        return None  # Documented: there is no object.
    inner = banking.get(kind)
    if not is_object(inner):
        return "type: must name an object beside it"
    if kind == "sber_pay" and inner.get("channel") not in _CHANNELS:
        return f"sber_pay.channel: must be one of {', '.join(_CHANNELS)}"
    return None


def _nested(field: str) -> Callable[[JsonObject], str | None]:
    def check(inner: JsonObject) -> str | None:
        kind = inner.get(field)
        if not isinstance(kind, str) or not kind:
            return f"{field}: must be a word"
        if not is_object(inner.get(kind)):
            return f"{field}: must name an object beside it"
        return None

    return check


def _recurrent(recurrent: JsonObject) -> str | None:
    if not _is_text(recurrent.get("token")):
        return "token: must be a string"
    if recurrent.get("initiator") not in _INITIATORS:
        return "initiator: must be merchant or client"
    return None


def _verification(request: JsonObject, version: int) -> str | None:
    name = PAYOUT_NAMES[version]
    instrument = request.get(name)
    account = instrument.get("bank_account") if is_object(instrument) else None
    system = "faster_payment_system_verification"
    inner = account.get(system) if is_object(account) else None
    if not is_object(account) or account.get("system_type") != system or not is_object(inner):
        return f"{name}: must be a bank_account of the system_type {system}"
    if not _is_text(inner.get("phone")) or not _is_text(inner.get("bank_id")):
        return f"{name}: must have a phone and a bank_id"
    people = request.get("participant_details")
    if not is_object(people) or not is_object(people.get("recipient")):
        return "participant_details.recipient: is missing"
    return None


def _datetime(request: JsonObject, _: int) -> str | None:
    text = request.get("request_datetime")
    try:
        time = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        time = None
    if time is not None and time.tzinfo is not None:
        return None
    return "request_datetime: must be ISO 8601 with an offset"


def _widget(request: JsonObject, _: int) -> str | None:
    for name in ("tokenize_widget", "acquiring_widget", "fps_no_account_widget"):
        if name not in request:
            continue
        widget = request[name]
        if not is_object(widget):
            return f"{name}: must be an object"
        if name != "tokenize_widget" and not _is_text(widget.get("session_id")):
            return f"{name}.session_id: must be a string that isn't empty"
    return None


def _info(request: JsonObject, _: int) -> str | None:
    kind = request.get("type")
    if not isinstance(kind, str) or kind not in _INFO_TYPES:
        return f"type: must be one of {', '.join(_INFO_TYPES)}"
    return None if is_object(request.get(kind)) else f"{kind}: must be an object"


def _token(request: JsonObject, _: int) -> str | None:
    recurrent = request.get("recurrent")
    is_valid = is_object(recurrent) and _is_text(recurrent.get("token"))
    return None if is_valid else "recurrent.token: must be a string that isn't empty"


def _phone(request: JsonObject, _: int) -> str | None:
    phone = request.get("phone")
    is_number = isinstance(phone, str) and bool(_PHONE.fullmatch(phone))
    return None if is_number else "phone: must be digits, which may have a + before them"


def _nothing(_: JsonObject, __: int) -> None:
    return None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


_PAYEE: Final[Mapping[tuple[str, str], tuple[str, ...]]] = MappingProxyType(
    {
        ("bank_account", "global"): ("iban", "bank_account_number", "account_number"),
        ("bank_account", "ru"): ("account",),
        ("bank_account", "faster_payment_system"): ("phone",),
        ("wallet", "global"): ("msisdn",),
        ("recurrent", ""): ("token",),
        **{("wallet", name): ("account",) for name in ("steam", "qiwi", "yoomoney", "moneta")},
    }
)
"""Instrument -> the fields of which one has to name who is paid."""
_NO_PAYEE: Final = frozenset(
    {
        *("description", "account_type", "swift_bic_code", "branch_number", "sort_code"),
        *("routing_code", "bsb_number", "bik", "full_name", "inn", "kpp", "bank_id", "name"),
        "initiator",
    }
)
"""Fields that don't name the payee; any other field may, as those of a country's page do."""
_INSTRUMENTS: Final[Mapping[str, Callable[[JsonObject], str | None]]] = MappingProxyType(
    {
        "card": _card,
        "bank_account": _nested("system_type"),
        "wallet": _nested("type"),
        "recurrent": _recurrent,
        "internet_banking": _banking,
    }
)
_FIELD_CHECKS: Final[Mapping[str, tuple[Check, ...]]] = MappingProxyType(
    {
        "session/create": (terms_problem,),
        "session/init/payout": (terms_problem, _pays_out),
        "session/init/payment": (terms_problem, _pays_in),
        "session/start/payout": (_session_id, terms_problem, _pays_out),
        "session/start/payment": (_session_id, terms_problem, _pays_in),
        "session/capture": (_session_id, terms_problem),
        "session/refund": (_session_id, terms_problem),
        "fps/customer_verification": (_session_id, terms_problem, _verification),
        "fps/banks": (_nothing,),
        "exchange_rate": (_nothing,),
        "sberpay/push": (_session_id, _phone),
        "wallet/balance": (_datetime,),
        "token": (_widget,),
        "token/info": (_info,),
        "recurrent/disable": (_token,),
    }
)
