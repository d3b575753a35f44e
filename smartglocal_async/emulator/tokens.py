"""Public and recurrent tokens; no I/O, and no chance: a token is a hash of its number."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from attrs import define, field

from .cards import brand, of_hash
from .checks import JsonObject, is_object

_PUBLIC_HOURS: Final = 24  # documented


@define(eq=False, kw_only=True)
class _Token:
    type: str
    created_at: datetime
    instrument: JsonObject = field(factory=dict[str, object], repr=False)
    finished_at: datetime | None = None
    active: bool = True


@define(eq=False)
class Tokens:
    """The tokens that were given out."""

    _tokens: dict[str, _Token] = field(factory=dict[str, _Token], init=False, repr=False)

    def make_public(self, now: datetime) -> str:
        """Give a token for a widget: 64 hexadecimal digits, for 24 hours (documented)."""
        until = now + timedelta(hours=_PUBLIC_HOURS)
        return self._keep(_Token(type="public_token", created_at=now, finished_at=until))

    def make_recurrent(self, instrument: JsonObject, now: datetime) -> str:
        """Give a token to pay with again."""
        made = _Token(type="recurrent_token", created_at=now, instrument=instrument)
        return self._keep(made)

    def instrument(self, token: object) -> JsonObject | None:
        """Give what a recurrent token stands for, be it active or not."""
        kept = self._find(token, "recurrent_token")
        return kept.instrument if kept else None

    def is_active(self, token: str) -> bool:
        """Tell whether a token can be used."""
        return self._tokens[token].active

    def disable(self, token: str, now: datetime) -> None:
        """Make a recurrent token useless from ``now`` on."""
        kept = self._tokens[token]
        if kept.active:
            kept.active, kept.finished_at = False, now

    def recurrent(self, token: str) -> JsonObject:
        """Show a recurrent token (documented)."""
        kept = self._tokens[token]
        view: JsonObject = {"token": token, "created_at": _date(kept.created_at)}
        if kept.finished_at is not None:
            view["finished_at"] = _date(kept.finished_at)
        return view | {"is_active": kept.active, "type": kept.type}

    def info(self, request: JsonObject, now: datetime) -> JsonObject | None:
        """Tell of a card or a token; the names are those of the sister platform's SDK."""
        kind = str(request["type"])
        asked = request[kind]
        if not is_object(asked):
            return None
        if kind == "card":
            return _card_info(asked)
        token = asked.get("token")
        kept = self._find(token, kind)
        if kept is None:
            return None
        over = kept.finished_at is not None and kept.finished_at <= now
        view: JsonObject = {
            "token": token,
            "type": kind,
            "created_at": _date(kept.created_at),
            "is_active": kept.active and not over,
        }
        if kept.finished_at is not None:
            view["expires_at"] = _date(kept.finished_at)
        return view

    def _find(self, token: object, kind: str) -> _Token | None:
        kept = self._tokens.get(token) if isinstance(token, str) else None
        return kept if kept is not None and kept.type == kind else None

    def _keep(self, token: _Token) -> str:
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
