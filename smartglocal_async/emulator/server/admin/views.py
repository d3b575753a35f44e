"""What the page and the API show, as plain JSON values; numbers, names and accounts are masked.

A list is read from the newest entry on, and never further than one page needs. The caller holds the
dispatcher's lock.
"""

import base64
import enum
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from itertools import islice
from typing import Any, Final, TypeVar, cast

import attrs
from attrs import define, frozen

from ....errors import InvalidRequest
from ....keys import PublicKey
from ....models.money import Amount
from ...bank.messages import Name
from ...bank.sessions import EmulatedSession, Item, ItemKind, ItemRefund, ItemStage
from ...bank.statistics import Delivery
from ...bank.validation import JsonObject
from ...bank.webhooks import WebhookRecord, WebhookState
from ...faults import Fault
from ..dispatch import KEY_HEADER, SIGNATURE_HEADER, Dispatcher
from ..request_log import (
    MAX_BODY_BYTES,
    LoggedRequest,
    SignatureDiagnosis,
    SignatureVerdict,
    diagnose,
)
from .actions import FIXED_RULES, possible_actions

T = TypeVar("T")

MAX_LIMIT: Final = 200
DEFAULT_LIMIT: Final = 50
MASK_LETTER: Final = "\N{BULLET}"
_CONTEXT: Final = 24
REFUNDED: Final = "refunded"
"""Sessions of which money was returned: by a refund, a chargeback or a bank."""
WRONG_SIGNATURE: Final = "wrong signature"
"""Requests with a signature that is wrong, or without one."""
SESSION_CHOICES: Final = (
    *(kind.value for kind in ItemKind),
    REFUNDED,
    *(stage.value for stage in ItemStage),
)
REQUEST_CHOICES: Final = ("refused", WRONG_SIGNATURE)
WEBHOOK_CHOICES: Final = tuple(state.value for state in WebhookState)
_SIGNATURE_ERROR: Final = "authentication_error"
_SECRET_HEADERS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
_PROJECT_ERROR: Final = "identification_error"


@frozen(kw_only=True)
class ListQuery:
    """Which entries of a list to show: from which on, how many, and which of them."""

    offset: int = 0
    limit: int = DEFAULT_LIMIT
    text: str = ""
    """A part of the key, or of the id of the session."""
    only: str = ""
    """One of `SESSION_CHOICES`, `REQUEST_CHOICES` or `WEBHOOK_CHOICES`; empty: all."""
    session: str = ""
    """The id of the only session."""


def page_of(
    newest_first: Iterable[T],
    query: ListQuery,
    matches: Callable[[T], bool],
    view: Callable[[T], JsonObject],
) -> JsonObject:
    """Return a page of a list, and the offset of the next one; None if it is the last.

    Offsets count all entries, also those that don't match.
    """
    shown: list[JsonObject] = []
    place = query.offset
    for entry in islice(newest_first, query.offset, None):
        if matches(entry):
            if len(shown) == query.limit:
                return {"items": shown, "next_offset": place}
            shown.append(view(entry))
        place += 1
    return {"items": shown, "next_offset": None}


@define(eq=False)
class AdminViews:
    """Returns what the page and the API show of a running emulator.

    A list raises `InvalidRequest` if it can't show what `ListQuery.only` asks for.
    """

    dispatcher: Dispatcher
    shows_values: bool = False

    def sessions(self, query: ListQuery) -> JsonObject:
        """Return a page of the sessions, newest first."""
        _check_choice(query, SESSION_CHOICES)
        sessions = self.dispatcher.bank.sessions
        matches = partial(_is_wanted_session, query, self.shown_key)
        found = page_of(reversed(sessions.values()), query, matches, self._session_row)
        return {"total": len(sessions), **found}

    def session(self, id_: str) -> JsonObject | None:
        """Return a session with its life and what the API shows of it; None if there is none."""
        session = self.dispatcher.bank.session(id_)
        if session is None:
            return None
        query = ListQuery(session=session.id)
        shown = self.dispatcher.bank.views.session(session, 1)
        return {
            **self._session_row(session),
            "items": [self._item(item, session) for item in session.items],
            "actions": possible_actions(session),
            "view": self._masked(json.dumps(shown, ensure_ascii=False, indent=2)),
            "requests": self.requests(query)["items"],
            "webhooks": self.webhooks(query)["items"],
        }

    def requests(self, query: ListQuery) -> JsonObject:
        """Return a page of the requests that are kept, newest first."""
        _check_choice(query, REQUEST_CHOICES)
        log = self.dispatcher.log
        keys = _keys_of(query.session, self.dispatcher.bank.sessions)
        matches = partial(self._is_wanted_request, query, keys)
        found = page_of(reversed(log.requests), query, matches, self._request_row)
        return {"total": log.count, "kept": len(log.requests), **found}

    def request(self, number: int) -> JsonObject | None:
        """Return a request as it arrived, what its signature is over, and its answer."""
        logged = self.dispatcher.log.find(number)
        if logged is None:
            return None
        request = logged.request
        found = self._diagnosis(logged)
        body = request.body.decode("utf-8", "replace")
        is_cut = logged.size > len(request.body)
        return {
            **self._request_row(logged),
            "headers": [
                [_readable(name), self._masked_header(name, value)]
                for name, value in request.headers.items()
            ],
            "size": logged.size,
            "is_cut": is_cut,
            "body": self._masked(body),
            "answer": self._masked(logged.answer.decode("utf-8", "replace")),
            "signature": {
                "verdict": found.verdict.value,
                "words": found.words,
                "signed_sha256": found.digest,
                "received_sha256": None if is_cut else sha256(request.body).hexdigest(),
                "difference": self._difference(found, request.body),
                "key_sha256": _fingerprint(self.dispatcher.public_key),
            },
        }

    def webhooks(self, query: ListQuery) -> JsonObject:
        """Return a page of the webhooks that are kept, newest first."""
        _check_choice(query, WEBHOOK_CHOICES)
        queue = self.dispatcher.webhook_queue
        matches = partial(_is_wanted_webhook, query)
        found = page_of(reversed(queue.records), query, matches, _webhook_row)
        return {"total": queue.count, "kept": len(queue.records), "url": queue.url, **found}

    def webhook(self, number: int) -> JsonObject | None:
        """Return a webhook with its body and all its deliveries; None if it isn't kept."""
        record = self.dispatcher.webhook_queue.record(number)
        if record is None:
            return None
        body = record.body or json.dumps(record.notification.body).encode("ascii")
        return {
            **_webhook_row(record),
            "deliveries": list(map(_delivery, record.deliveries)),
            "body": self._masked(body.decode("utf-8", "replace")),
        }

    def overview(self) -> JsonObject:
        """Return the counts that need no walk through the sessions."""
        dispatcher = self.dispatcher
        bank, queue = dispatcher.bank, dispatcher.webhook_queue
        return {
            "project": dispatcher.project,
            "time": dispatcher.now().isoformat(timespec="seconds"),
            "passed_seconds": dispatcher.passed.total_seconds(),
            "next_due": bank.next_due.isoformat() if bank.next_due else None,
            "sessions": len(bank.sessions),
            "requests": dispatcher.log.count,
            "refused": bank.refused,
            "bad_signatures": bank.bad_signatures,
            "moved": bank.moved,
            "webhooks": queue.count,
            "faults": len(dispatcher.faults.script.faults),
            "shows_values": self.shows_values,
        }

    def settings(self) -> JsonObject:
        """Return the faults, rules, wallets and webhooks' settings, as a configuration has them."""
        dispatcher = self.dispatcher
        script, queue = dispatcher.faults.script, dispatcher.webhook_queue
        rules = {
            one.name: _plain(getattr(dispatcher.bank.rules, one.name))
            for one in attrs.fields(type(dispatcher.bank.rules))
            if one.name not in FIXED_RULES
        }
        return {
            "seed": script.seed,
            "fault": list(map(fault_view, script.faults)),
            "applied": dict(dispatcher.bank.fault_counts),
            "rules": rules,
            "webhook_url": queue.url,
            "webhooks": {name: _plain(value) for name, value in attrs.asdict(queue.script).items()},
            "wallets": [
                _money(accounts["wallet"], code)
                for code, accounts in sorted(dispatcher.bank.balances().items())
            ],
        }

    def shown_key(self, name: Name) -> str | None:
        """Return a key; of a session without one a digest of its metadata, unless values show."""
        return name.text if self.shows_values else name.shown

    def _masked(self, text: str) -> str:
        return text if self.shows_values else masked_json(text)

    def _masked_header(self, name: str, value: str) -> str:
        is_shown = self.shows_values or name.lower() not in _SECRET_HEADERS
        return _readable(value) if is_shown else MASK_LETTER * len(value)

    def _key_of(self, logged: LoggedRequest) -> str | None:
        record = logged.record
        found = record.counted_under if self.shows_values else record.key
        return found or _readable(logged.request.headers.get(KEY_HEADER, "")) or None

    def _path_of(self, logged: LoggedRequest) -> str:
        """Return the path with its query, of which the values are masked."""
        path, query = logged.request.path, logged.request.query
        if query and not self.shows_values:
            query = re.sub(r"[^&=]+(?=&|$)", lambda found: MASK_LETTER * len(found[0]), query)
        return _readable(f"{path}?{query}" if query else path)

    def _request_row(self, logged: LoggedRequest) -> JsonObject:
        record = logged.record
        return {
            "number": logged.number,
            "time": record.time.isoformat(),
            "method": logged.request.method,
            "path": self._path_of(logged),
            "operation": _readable(record.operation),
            "key": self._key_of(logged),
            "attempt": record.attempt,
            "session_id": record.session_id,
            "http_status": record.http_status,
            "error_code": record.error_code,
            "fault": record.fault,
            "verdict": verdict_of(logged).value,
        }

    def _is_wanted_request(
        self, query: ListQuery, keys: frozenset[str | None], logged: LoggedRequest
    ) -> bool:
        record = logged.record
        is_of_session = record.session_id == query.session or record.counted_under in keys
        if query.session and not is_of_session:
            return False
        if query.only == "refused" and record.error_code is None:
            return False
        if query.only == WRONG_SIGNATURE and record.error_code != _SIGNATURE_ERROR:
            return False
        texts = (self._key_of(logged) or "", record.session_id or "", logged.request.path)
        return not query.text or any(query.text in text for text in texts)

    def _session_row(self, session: EmulatedSession) -> JsonObject:
        item = session.items[-1] if session.items else None
        return {
            "id": session.id,
            "key": self.shown_key(session.name),
            "stage": session.stage.value,
            "status": self.dispatcher.bank.views.session(session, 1)["status"],
            "kind": item.kind.value if item else None,
            "life": [step["stage"] for step in _life(item, session)],
            "money": _money(item.amount, item.currency) if item and item.amount else None,
            "returned": _money(item.refunded, item.currency) if item and item.refunded else None,
            "created_at": session.created_at.isoformat(),
            "updated_at": session.updated_at.isoformat(),
        }

    def _item(self, item: Item, session: EmulatedSession) -> JsonObject:
        return {
            "id": item.id,
            "kind": item.kind.value,
            "stage": item.stage.value,
            "fate": item.fate.value,
            "code": item.error["code"] if item.error else None,
            "money": _money(item.amount, item.currency),
            "instrument": item.instrument.get("type"),
            "life": list(_life(item, session)),
            "refunds": [_refund(refund, item) for refund in item.refunds],
        }

    def _diagnosis(self, logged: LoggedRequest) -> SignatureDiagnosis:
        signature = logged.request.headers.get(SIGNATURE_HEADER)
        if logged.size > MAX_BODY_BYTES:
            verdict = verdict_of(logged)
            words = "The body is too long to be kept, and so to be compared."
            return SignatureDiagnosis(verdict=verdict, words=words)
        return diagnose(logged.request.body, signature, self.dispatcher.public_key)

    def _difference(self, found: SignatureDiagnosis, body: bytes) -> JsonObject | None:
        """Return the text around the first byte that differs, of what was signed and received."""
        place = found.first_difference(body)
        if place is None or found.signed is None:
            return None
        signed, received = found.signed, body
        return {
            "offset": place,
            "signed": self._around(signed, place),
            "received": self._around(received, place),
            "signed_size": len(signed),
            "received_size": len(received),
        }

    def _around(self, text: bytes, place: int) -> JsonObject:
        whole = self._masked(text.decode("utf-8", "replace"))
        begin = len(text[:place].decode("utf-8", "replace"))
        return {
            "before": whole[max(0, begin - _CONTEXT) : begin],
            "at": whole[begin : begin + 1],
            "after": whole[begin + 1 : begin + 1 + _CONTEXT],
            "is_cut_before": begin > _CONTEXT,
            "is_cut_after": begin + 1 + _CONTEXT < len(whole),
        }


def _check_choice(query: ListQuery, choices: tuple[str, ...]) -> None:
    if query.only and query.only not in choices:
        raise InvalidRequest("only", f"must be one of {', '.join(choices)}")


def verdict_of(logged: LoggedRequest) -> SignatureVerdict:
    """Return what a list shows of a signature, by the answer of the request alone."""
    if logged.record.error_code == _SIGNATURE_ERROR:
        has_one = logged.request.headers.get(SIGNATURE_HEADER)
        return SignatureVerdict.WRONG if has_one else SignatureVerdict.MISSING
    is_unchecked = logged.record.error_code == _PROJECT_ERROR
    return SignatureVerdict.UNCHECKED if is_unchecked else SignatureVerdict.VALID


def _readable(text: str) -> str:
    r"""Return a text of a request line or a header, with bytes that aren't UTF-8 as ``\xff``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _fingerprint(key: PublicKey) -> str:
    """Return the SHA-256 of a public key as DER, in hexadecimal."""
    lines = key.pem().splitlines()[1:-1]
    return sha256(base64.b64decode(b"".join(lines))).hexdigest()


def fault_view(fault: Fault) -> JsonObject:
    """Return a fault as a configuration file has it: its kind, aim, and what isn't a default."""
    bare = Fault(fault.kind, rate=0.0)
    shown = {
        one.name: _plain(getattr(fault, one.name))
        for one in attrs.fields(Fault)
        if getattr(fault, one.name) != getattr(bare, one.name)
        or (one.name == "rate" and not fault.nth)
    }
    return {"kind": fault.kind.value, **shown}


def _plain(value: Any) -> object:  # noqa: ANN401 - a field of any record of settings
    if isinstance(value, enum.Enum):
        plain: object = value.value
        return plain
    if isinstance(value, tuple):
        return [_plain(one) for one in cast("tuple[object, ...]", value)]
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in cast("Mapping[str, object]", value).items()}
    return value


def _money(amount: int, currency: str) -> JsonObject:
    text = Amount(amount, currency).text
    return {"amount": amount, "currency": currency, "text": text}


def _refund(refund: ItemRefund, item: Item) -> JsonObject:
    kind = "chargeback" if refund.is_chargeback else "return" if refund.is_return else "refund"
    return {
        "id": refund.id,
        "kind": kind,
        "status": refund.status,
        "money": _money(refund.amount, item.currency),
        "time": refund.created_at.isoformat(),
    }


def _life(item: Item | None, session: EmulatedSession) -> Iterator[JsonObject]:
    """Yield the steps of an item, with the session's own creation as the first."""
    yield {"stage": ItemStage.CREATED.value, "time": session.created_at.isoformat()}
    if item is None:
        return
    for time, stage in item.life:
        yield {"stage": stage.value, "time": time.isoformat()}
    for refund in item.refunds:
        shown = _refund(refund, item)
        yield {"stage": shown["kind"], "time": shown["time"]}


def _webhook_row(record: WebhookRecord) -> JsonObject:
    last = record.deliveries[-1] if record.deliveries else None
    return {
        "number": record.number,
        "type": record.notification.type,
        "session_id": record.notification.session_id,
        "time": record.notification.time.isoformat(),
        "state": record.state.value,
        "attempts": len(record.deliveries),
        "last": _delivery(last) if last else None,
    }


def _delivery(delivery: Delivery) -> JsonObject:
    return {
        "attempt": delivery.attempt,
        "http_status": delivery.http_status,
        "time": delivery.time.isoformat(),
        "problem": delivery.problem,
    }


def _is_wanted_session(
    query: ListQuery, shown_key: Callable[[Name], str | None], session: EmulatedSession
) -> bool:
    if query.only and query.only not in _sorts_of(session):
        return False
    key = shown_key(session.name) or ""
    return not query.text or query.text in session.id or query.text in key


def _sorts_of(session: EmulatedSession) -> Iterator[str]:
    """Yield the words by which sessions can be listed: the stage, and what is in it."""
    yield session.stage.value
    for item in session.items:
        yield item.kind.value
        if item.refunds:
            yield REFUNDED


def _keys_of(id_: str, sessions: Mapping[str, EmulatedSession]) -> frozenset[str | None]:
    session = sessions.get(id_)
    if session is None or session.name.text is None:
        return frozenset()
    return frozenset({session.name.text})


def _is_wanted_webhook(query: ListQuery, record: WebhookRecord) -> bool:
    notification = record.notification
    if query.session and notification.session_id != query.session:
        return False
    if query.only and record.state.value != query.only:
        return False
    texts = (notification.session_id, notification.type)
    return not query.text or any(query.text in text for text in texts)


_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]|-?\d[\d.eE+-]*', re.DOTALL)
_OPENING: Final = ("{", "[")
_CLOSING: Final = ("}", "]")
_NAME_FOLLOWS: Final = re.compile(r"\s*:")
# The values of all other names are masked.
_SHOWN: Final = frozenset(
    {
        *("type", "currency", "amount", "country", "status", "id", "session_id", "code", "method"),
        *("created_at", "finished_at", "updated_at", "expires_at", "request_datetime"),
        *("source_currency", "destination_currency", "rate", "next_action", "action", "locale"),
        *("idempotency_key", "payout_key", "payout_journal", "payout_order", "platform"),
        *("initiator", "channel"),
    }
)
# Shown in an error, whose texts are the emulator's own.
_SHOWN_IN_ERRORS: Final = frozenset({"description", "message", "field"})
_LOOKS_LIKE_CARD: Final = re.compile(r"\d(?:[ -]?\d){11,18}")


def masked_json(text: str) -> str:
    """Return a text of the same length in which private values are dots; names are shown.

    A text that isn't JSON is masked as a whole.
    """
    try:
        _ = json.loads(text)
    except (ValueError, RecursionError):
        return re.sub(r"\w", MASK_LETTER, text)
    pieces: list[str] = []
    end = 0
    name = ""
    inside: list[str] = []
    for found in _TOKEN.finditer(text):
        token = found[0]
        if token in _OPENING:
            inside.append(name)
        elif token in _CLOSING:
            name = inside.pop()
        else:
            if token[0] == '"' and _NAME_FOLLOWS.match(text, found.end()):
                name, shown = token[1:-1], _without_cards(token)
            else:
                shown = _masked_value(name, token, in_error="error" in inside)
            pieces += (text[end : found.start()], shown)
            end = found.end()
    return "".join((*pieces, text[end:]))


def _masked_value(name: str, token: str, *, in_error: bool) -> str:
    if name in _SHOWN or (in_error and name in _SHOWN_IN_ERRORS):
        return _without_cards(token)
    quote = '"' if token[0] == '"' else ""
    return quote + MASK_LETTER * (len(token) - 2 * len(quote)) + quote


def _without_cards(token: str) -> str:
    return _LOOKS_LIKE_CARD.sub(lambda found: MASK_LETTER * len(found[0]), token)
