"""Judge one request: who sent it, what it asks, what the bank says, which fault it meets.

No I/O, and no sharing with the client: everything is read from the bytes that came.
"""

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Final

from attrs import define, evolve, field, frozen

from ..signing import PublicKey
from .alarm import Alarm
from .asks import INVALID_REQUEST, Answer, Ask, refusal
from .bank import Bank
from .bodies import parse
from .faults import Fault, FaultKind
from .outbox import Outbox
from .records import Seen
from .replies import Reply, Scene, envelope, spoil
from .routes import BANKS, method, route
from .script import Strikes

_PROJECT: Final = "X-PARTNER-PROJECT"
_SIGNATURE: Final = "X-PARTNER-SIGN"
_SUBMERCHANT: Final = "X-PARTNER-SUBMERCHANT"
# Seen in third-party code only.
_KEY: Final = "X-PARTNER-IDEMPOTENCY-KEY"
_NOT_FOUND: Final = 404
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
    """Everything between the socket and the bank; its lock guards bank, strikes and outbox."""

    bank: Bank
    strikes: Strikes
    outbox: Outbox = field(factory=Outbox)
    public_key: PublicKey
    project: str
    clock: Callable[[], datetime]
    lock: threading.Lock = field(factory=threading.Lock, init=False)
    alarm: Alarm = field(factory=Alarm, init=False)

    def judge(self, call: Call) -> Verdict:
        """Check in the order: project, signature, JSON, route; then ask the bank."""
        now = self.clock()
        if call.headers.get(_PROJECT) != self.project:
            return self._turn_away(call, now, _STRANGER)
        if not self.public_key.verifies(call.body, call.headers.get(_SIGNATURE, "")):
            return self._turn_away(call, now, _FORGED)
        found = route(call.path)
        request = {} if found and found[0] == BANKS else parse(call.body)
        if request is None:
            return self._turn_away(call, now, _NOT_JSON)
        if found is None or call.method != method(found[0]):
            return self._turn_away(call, now, _NO_SUCH_CALL)
        operation, version = found
        key = call.headers.get(_KEY)
        with self.lock:
            self.bank.advance(now)
            ask = Ask(
                operation=operation,
                request=request,
                version=version,
                name=self.bank.name_of(request, key),
                header_key=key,
                submerchant=call.headers.get(_SUBMERCHANT),
            )
            verdict = self._admit(call, ask, now)
            self.post(now)
            return verdict

    @property
    def waits(self) -> bool:
        """Whether a webhook may be due before the next call; the caller needs no lock."""
        listens = self.outbox.url is not None
        return listens and (self.bank.next_due is not None or bool(self.outbox))

    def advance(self) -> datetime:
        """Do what is due by the clock, and give the moment it shows; the caller has the lock."""
        now = self.clock()
        self.bank.advance(now)
        self.post(now)
        return now

    def post(self, now: datetime) -> None:
        """Hand the news to the outbox; the caller has the lock."""
        for notice in self.bank.take_notices():
            self.outbox.put(notice, now)

    def _turn_away(self, call: Call, now: datetime, answer: Answer) -> Verdict:
        unknown = answer is _NO_SUCH_CALL
        status = _NOT_FOUND if unknown else self.bank.rules.error_http_status
        with self.lock:
            self.bank.requests += 1
            if answer is _FORGED:
                self.bank.bad_signatures += 1
            else:
                self.bank.refused += 1
        operation, _ = route(call.path) or (call.path, 0)
        seen = Seen(time=now, operation=operation, http_status=status, error_code=answer.error_code)
        return Verdict(reply=envelope(answer, status), seen=seen)

    def _admit(self, call: Call, ask: Ask, now: datetime) -> Verdict:
        operation, key = ask.operation, ask.name.text
        session_id = ask.request.get("session_id")
        self.bank.requests += 1
        attempt = self.bank.arrive(
            ask.name,
            operation,
            session_id if isinstance(session_id, str) else None,
            digest=sha256(call.body).hexdigest(),
            signature=sha256(call.headers[_SIGNATURE].encode("ascii")).hexdigest(),
        )
        fault = self.strikes.next(key, attempt, operation)
        seen = Seen(time=now, operation=operation, key=key, attempt=attempt)
        if fault is not None and not fault.processes:
            if fault.kind is FaultKind.LATE:
                self.bank.later(ask, fault.seconds, now)
            return self._struck(Verdict(reply=_NOTHING, seen=seen), fault, call)
        verdict = self._answered(self.bank.answer(ask, now), seen)
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
