"""Judge one request: who sent it, what it asks, what the bank says, which fault it meets.

No I/O, and no sharing with the client: JSON is read here, from the bytes that came.
"""

import json
import math
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from attrs import define, evolve, field, frozen

from ..signing import PublicKey
from .bank import INVALID_REQUEST, Answer, Bank, Name, name_of, refusal
from .checks import JsonObject, is_array, is_object
from .faults import Fault
from .records import Seen
from .replies import Reply, Scene, envelope, spoil
from .script import Strikes

_PROJECT: Final = "X-PARTNER-PROJECT"
_SIGNATURE: Final = "X-PARTNER-SIGN"
# Seen in third-party code only, and there with session/create.
_KEY: Final = "X-PARTNER-IDEMPOTENCY-KEY"
_CREATE: Final = "session/create"
_STATUS: Final = "session/status"
_ROUTES: Final[Mapping[str, tuple[str, int]]] = MappingProxyType(
    {
        f"/api/v{version}/{operation}": (operation, version)
        for version in (1, 2)
        for operation in (_CREATE, _STATUS)
    }
)
_NOT_FOUND: Final = 404
_DEEPEST: Final = 100
# Both codes are the sister platform's (documented there).
_STRANGER: Final = refusal("identification_error", "X-PARTNER-PROJECT names no known project")
_FORGED: Final = refusal("authentication_error", "X-PARTNER-SIGN isn't a signature of this body")
_NOT_JSON: Final = refusal(INVALID_REQUEST, "the body must be a JSON object")
_NO_SUCH_CALL: Final = refusal(INVALID_REQUEST, "there is no such method")


@frozen(kw_only=True)
class Call:
    """A request as it came; ``headers`` must find names in any case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@frozen(kw_only=True)
class Verdict:
    """What to send and how, and the line for the record."""

    reply: Reply
    seen: Seen
    fault: Fault | None = None


@define(eq=False, kw_only=True)
class Desk:
    """Everything between the socket and the bank; its lock guards both."""

    bank: Bank
    strikes: Strikes
    public_key: PublicKey
    project: str
    clock: Callable[[], datetime]
    lock: threading.Lock = field(factory=threading.Lock, init=False)

    def judge(self, call: Call) -> Verdict:
        """Check in the order: project, signature, JSON, route; then ask the bank."""
        now = self.clock()
        if call.headers.get(_PROJECT) != self.project:
            return self._turn_away(call, now, _STRANGER)
        if not self.public_key.verifies(call.body, call.headers.get(_SIGNATURE, "")):
            return self._turn_away(call, now, _FORGED)
        request = _parse(call.body)
        if request is None:
            return self._turn_away(call, now, _NOT_JSON)
        # Documented: POST for all requests.
        route = _ROUTES.get(call.path) if call.method == "POST" else None
        if route is None:
            return self._turn_away(call, now, _NO_SUCH_CALL)
        with self.lock:
            return self._admit(call, request, now, *route)

    def _turn_away(self, call: Call, now: datetime, answer: Answer) -> Verdict:
        unknown = answer is _NO_SUCH_CALL
        status = _NOT_FOUND if unknown else self.bank.rules.error_http_status
        with self.lock:
            self.bank.requests += 1
            if answer is _FORGED:
                self.bank.bad_signatures += 1
            else:
                self.bank.refused += 1
        operation, _ = _ROUTES.get(call.path, (call.path, 0))
        seen = Seen(time=now, operation=operation, http_status=status, error_code=answer.error_code)
        return Verdict(reply=envelope(answer, status), seen=seen)

    def _admit(
        self, call: Call, request: JsonObject, now: datetime, operation: str, version: int
    ) -> Verdict:
        creates = operation == _CREATE
        name = name_of(request, call.headers.get(_KEY), self.bank.rules) if creates else Name()
        self.bank.requests += 1
        attempt = self.bank.arrive(
            name,
            digest=sha256(call.body).hexdigest(),
            signature=sha256(call.headers[_SIGNATURE].encode("ascii")).hexdigest(),
        )
        fault = self.strikes.next(name.text, attempt)
        seen = Seen(time=now, operation=operation, key=name.text, attempt=attempt)
        if fault is not None and not fault.processes:
            return self._struck(Verdict(reply=_NOTHING, seen=seen), fault, call)
        if creates:
            answer = self.bank.create(request, name=name, version=version, now=now)
        else:
            answer = self.bank.status(request)
        verdict = self._answered(answer, seen)
        return verdict if fault is None else self._struck(verdict, fault, call)

    def _answered(self, answer: Answer, seen: Seen) -> Verdict:
        status = self.bank.rules.error_http_status if answer.error_code else 200
        told = evolve(
            seen,
            http_status=status,
            error_code=answer.error_code,
            session_id=answer.session_id,
        )
        return Verdict(reply=envelope(answer, status), seen=told)

    def _struck(self, verdict: Verdict, fault: Fault, call: Call) -> Verdict:
        self.bank.faults[fault.kind.value] += 1
        reply = spoil(verdict.reply, Scene(fault=fault, path=call.path, now=verdict.seen.time))
        seen = evolve(
            verdict.seen,
            fault=fault.kind.value,
            http_status=reply.status if fault.answers else None,
        )
        return Verdict(reply=reply, seen=seen, fault=fault)


_NOTHING: Final = Reply(status=200, body=b"")


def _parse(body: bytes) -> JsonObject | None:
    try:
        value: object = json.loads(
            body.decode("utf-8"), parse_float=_finite, parse_constant=_finite
        )
    except (ValueError, RecursionError):
        return None
    return value if is_object(value) and _is_shallow(value) else None


def _finite(text: str) -> float:
    # Infinity could not be echoed as JSON; Python reads both 1e999 and the word.
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _is_shallow(value: object) -> bool:
    # The limit is the emulator's own: what it reads it must be able to write again.
    level = [value]
    for _ in range(_DEEPEST):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return True
    return False


def _children(value: object) -> list[object]:
    if is_object(value):
        return list(value.values())
    return value if is_array(value) else []
