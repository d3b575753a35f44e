"""Say what a call must hold by the provider's pages; no I/O."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypeAlias

from .checks import PAYOUT_NAMES, JsonObject, complaint, is_object

Check: TypeAlias = Callable[[JsonObject, int], str | None]

_NUMBER: Final = re.compile(r"[0-9]{12,19}")
_INFO_TYPES: Final = ("card", "public_token", "recurrent_token")
_INITIATORS: Final = (None, "merchant", "client")


def wrong(operation: str, request: JsonObject, version: int) -> str | None:
    """Give the first thing wrong with a call, or None."""
    for check in _CHECKS.get(operation, (_session_id,)):
        if (found := check(request, version)) is not None:
            return found
    return None


def missing(terms: JsonObject, version: int, *, pays_out: bool) -> str | None:
    """Give what a start lacks, with what its session was created with (documented).

    ``terms`` are in the names of v1, the answer in those of ``version``.
    """
    own = "payment_method" if pays_out else "payment_details"
    told = PAYOUT_NAMES[version] if pays_out else own
    instrument = terms.get(own)
    if not is_object(instrument):
        return f"{told}: is missing"
    for name in ("amount_details",) if pays_out else ("amount_details", "customer"):
        if not is_object(terms.get(name)):
            return f"{name}: is missing"
    kind = str(instrument["type"])
    inner = instrument[kind]
    check = _INSTRUMENTS.get(kind)
    fault = check(inner) if check is not None and is_object(inner) else None
    return None if fault is None else f"{told}.{kind}.{fault}"


def _session_id(request: JsonObject, _: int) -> str | None:
    session_id = request.get("session_id")
    if isinstance(session_id, str) and session_id:
        return None
    return "session_id: must be a string that isn't empty"


def _pays_out(request: JsonObject, _: int) -> str | None:
    names = ("payment_details", "payment_options")
    return _foreign(request, names, "is for payments")


def _pays_in(request: JsonObject, _: int) -> str | None:
    return _foreign(request, tuple(PAYOUT_NAMES.values()), "is for payouts")


def _foreign(request: JsonObject, names: tuple[str, ...], words: str) -> str | None:
    return next((f"{name}: {words}" for name in names if name in request), None)


def _card(card: JsonObject) -> str | None:
    # Documented: an open card or an encrypted one. Third-party code has tokenized ones too.
    open_card, hashed = card.get("bank_card"), card.get("encrypted_card")
    match card.get("type"):
        case "bank_card":
            number = open_card.get("number") if is_object(open_card) else None
            good = isinstance(number, str) and bool(_NUMBER.fullmatch(number))
            return None if good else "bank_card.number: must be 12 to 19 digits"
        case "encrypted_card":
            good = is_object(hashed) and _is_text(hashed.get("number_hash"))
            return None if good else "encrypted_card.number_hash: must be a string"
        case _:
            return "type: must be bank_card or encrypted_card"


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
    good = is_object(recurrent) and _is_text(recurrent.get("token"))
    return None if good else "recurrent.token: must be a string that isn't empty"


def _nothing(_: JsonObject, __: int) -> None:
    return None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


_INSTRUMENTS: Final[Mapping[str, Callable[[JsonObject], str | None]]] = MappingProxyType(
    {
        "card": _card,
        "bank_account": _nested("system_type"),
        "wallet": _nested("type"),
        "recurrent": _recurrent,
    }
)
_CHECKS: Final[Mapping[str, tuple[Check, ...]]] = MappingProxyType(
    {
        "session/create": (complaint,),
        "session/init/payout": (complaint, _pays_out),
        "session/init/payment": (complaint, _pays_in),
        "session/start/payout": (_session_id, complaint, _pays_out),
        "session/start/payment": (_session_id, complaint, _pays_in),
        "session/capture": (_session_id, complaint),
        "session/refund": (_session_id, complaint),
        "fps/customer_verification": (_session_id, complaint, _verification),
        "fps/banks": (_nothing,),
        "wallet/balance": (_datetime,),
        "token": (_widget,),
        "token/info": (_info,),
        "recurrent/disable": (_token,),
    }
)
