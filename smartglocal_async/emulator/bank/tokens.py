"""Instruments as answers show them, and the tokens for them.

A card number is never shown whole, and a security code never at all.
"""

import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from attrs import define, field

from ...models.events import PUBLIC_TOKEN
from .validation import JsonObject, is_object

_TAIL: Final = re.compile(r"[0-9]{12,19}$")
_NUMBER_OF_A_HASH: Final = "4242424242424242"
_BRANDS: Final = (
    ("3[47]", "amex"),
    ("35", "jcb"),
    ("3[068]", "diners_club"),
    ("4", "visa"),
    ("5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720", "mastercard"),
    ("220[0-4]", "mir"),
    ("62", "unionpay"),
    ("6", "discover"),
)


def number_of(instrument: JsonObject) -> str | None:
    """Return the number of a card; for a hash, the digits at its end."""
    card = instrument.get("card")
    if not is_object(card):
        return None
    open_card, hashed = card.get("bank_card"), card.get("encrypted_card")
    tokenized = card.get("tokenized_card")
    if is_object(tokenized) and isinstance(token := tokenized.get("token"), str):
        return of_hash(token)
    if is_object(open_card) and isinstance(number := open_card.get("number"), str):
        return number
    if is_object(hashed) and isinstance(text := hashed.get("number_hash"), str):
        return of_hash(text)
    return None


def of_hash(text: str) -> str:
    """Return the card number that a hash ends in, or a fixed one."""
    found = _TAIL.search(text)
    return found[0] if found else _NUMBER_OF_A_HASH


def card_view(number: str) -> JsonObject:
    """Return what answers show of a card (documented)."""
    return {"last4": number[-4:], "brand": brand(number), "bin": number[:6]}


def brand(number: str) -> str:
    """Return the card brand of a number."""
    for start, name in _BRANDS:
        if re.match(start, number):
            return name
    return "unknown"


def masked(instrument: JsonObject, *, has_card_id: bool = False) -> JsonObject:
    """Return an instrument as answers show it: a card masked, any other as it was sent.

    A card number or a security code in any other place is replaced by ``***``.
    """
    if instrument.get("type") != "card":
        return {name: _mask(name, value) for name, value in instrument.items()}
    view = card_view(number_of(instrument) or _NUMBER_OF_A_HASH)
    if has_card_id:
        view["card_id"] = _card_id(instrument)
    return {"type": "card", "card": view}


def _card_id(instrument: JsonObject) -> str:
    """Return what identifies a card: of its number and, where known, its expiry (documented)."""
    card = instrument.get("card")
    open_card = card.get("bank_card") if is_object(card) else None
    dates = ("expiration_month", "expiration_year")
    known = open_card if is_object(open_card) else {}
    expiry = (str(known[name]) for name in dates if name in known)
    text = "-".join((number_of(instrument) or _NUMBER_OF_A_HASH, *expiry))
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _mask(name: str, value: object) -> object:
    if name == "security_code":
        return "***"
    if is_object(value):
        return {inner: _mask(inner, item) for inner, item in value.items()}
    is_number = name == "number" and isinstance(value, str) and _TAIL.search(value)
    return "***" if is_number else value


def phone_of(instrument: JsonObject) -> str | None:
    """Return the digits of the recipient's phone."""
    account = instrument.get("bank_account")
    system = account.get(str(account.get("system_type"))) if is_object(account) else None
    phone = system.get("phone") if is_object(system) else None
    return re.sub("[^0-9]", "", phone) if isinstance(phone, str) else None


def account_of(instrument: JsonObject) -> str | None:
    """Return the number of a bank account, a wallet or a phone."""
    kind = str(instrument.get("type"))
    outer = instrument.get(kind)
    form = str(outer.get("system_type", outer.get("type"))) if is_object(outer) else ""
    fields = outer.get(form) if is_object(outer) else None
    found = (fields.get(name) for name in _NUMBERS) if is_object(fields) else ()
    return next((value for value in found if isinstance(value, str)), None)


_NUMBERS: Final = ("iban", "bank_account_number", "account_number", "account", "phone", "msisdn")
_DAYS_OF_A_TOKEN: Final = 3652


@define(eq=False, kw_only=True)
class _Token:
    type: str
    created_at: datetime
    instrument: JsonObject = field(factory=dict[str, object], repr=False)
    finished_at: datetime | None = None
    active: bool = True


@define(eq=False)
class Tokens:
    """The tokens that were issued."""

    _tokens: dict[str, _Token] = field(factory=dict[str, _Token], init=False, repr=False)
    _of_sessions: dict[str, list[_Token]] = field(
        factory=dict[str, list[_Token]], init=False, repr=False
    )
    """Public tokens by the session whose operation uses them up."""

    def make_public(self, now: datetime, session_id: str | None = None) -> str:
        """Return a new token for a widget: 64 hexadecimal digits, valid 24 hours (documented)."""
        until = now + timedelta(minutes=PUBLIC_TOKEN.minutes)
        made = _Token(type="public_token", created_at=now, finished_at=until)
        if session_id is not None:
            self._of_sessions.setdefault(session_id, []).append(made)
        return self._store(made)

    def use_up(self, session_id: str) -> None:
        """Disable the public tokens of a session: they are for one operation (documented)."""
        for token in self._of_sessions.pop(session_id, ()):
            token.active = False

    def make_recurrent(self, instrument: JsonObject, now: datetime) -> str:
        """Return a new token for later payments."""
        is_card = instrument.get("type") == "card"
        # Documented for FPS: a second less than ten years.
        until = None if is_card else now + timedelta(days=_DAYS_OF_A_TOKEN, seconds=-1)
        made = _Token(
            type="recurrent_token", created_at=now, instrument=instrument, finished_at=until
        )
        return self._store(made)

    def instrument(self, token: object) -> JsonObject | None:
        """Return the instrument of a recurrent token, even if the token is disabled."""
        stored = self._find(token, "recurrent_token")
        return stored.instrument if stored else None

    def is_active(self, token: str) -> bool:
        """Return whether a token can be used."""
        return self._tokens[token].active

    def disable(self, token: str, now: datetime) -> None:
        """Disable a recurrent token from ``now`` on."""
        stored = self._tokens[token]
        if stored.active:
            stored.active, stored.finished_at = False, now

    def recurrent(self, token: str) -> JsonObject:
        """Return a recurrent token as answers show it (documented)."""
        stored = self._tokens[token]
        view: JsonObject = {"token": token, "created_at": _date(stored.created_at)}
        if stored.finished_at is not None:
            view["finished_at"] = _date(stored.finished_at)
        return view | {"is_active": stored.active, "type": stored.type}

    def info(self, request: JsonObject, now: datetime) -> JsonObject | None:
        """Return what is known about a card or a token; the sister platform's SDK has the names."""
        kind = str(request["type"])
        subject = request[kind]
        if not is_object(subject):
            return None
        if kind == "card":
            return _card_info(subject)
        token = subject.get("token")
        stored = self._find(token, kind)
        if stored is None:
            return None
        is_expired = stored.finished_at is not None and stored.finished_at <= now
        view: JsonObject = {
            "token": token,
            "type": kind,
            "created_at": _date(stored.created_at),
            "is_active": stored.active and not is_expired,
        }
        if stored.finished_at is not None:
            # The sister platform documents `finished_at`, for tokens of recurring payments.
            name = "finished_at" if kind == "recurrent_token" else "expires_at"
            view[name] = _date(stored.finished_at)
        return view

    def _find(self, token: object, kind: str) -> _Token | None:
        stored = self._tokens.get(token) if isinstance(token, str) else None
        return stored if stored is not None and stored.type == kind else None

    def _store(self, token: _Token) -> str:
        text = sha256(f"{token.type}:{len(self._tokens)}".encode("ascii")).hexdigest()
        self._tokens[text] = token
        return text


def _card_info(card: JsonObject) -> JsonObject | None:
    hashed = card.get("encrypted_card")
    text = hashed.get("number_hash") if is_object(hashed) else None
    if not isinstance(text, str):
        return None
    number = of_hash(text)
    return {
        "number_hash": text,
        "brand": brand(number),
        "last4": number[-4:],
        "country_iso3": "LTU",
        "type": "card",
    }


def _date(time: datetime) -> str:
    # Documented by an example: with an offset and without a fraction.
    return time.astimezone(UTC).isoformat(timespec="seconds")
