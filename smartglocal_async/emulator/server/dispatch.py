"""The life of an emulated request, from the HTTP server to the bank: `Dispatcher.handle`.

Each helper follows in the order in which `handle` uses it: check the request, count it, choose a
fault, have the bank carry the call out, apply the fault to the response, queue the webhooks.
"""

import contextlib
import json
import math
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Final

from attrs import define, evolve, field, frozen

from ...keys import PublicKey
from ..bank.bank import EmulatedBank
from ..bank.messages import (
    BANKS,
    INVALID_REQUEST,
    WITHOUT_STATUS,
    Answer,
    ApiCall,
    method_of,
    refusal,
    route,
)
from ..bank.processing import Notification
from ..bank.statistics import RequestRecord
from ..bank.validation import JsonObject, is_array, is_object, with_numbers, with_objects
from ..bank.webhooks import WebhookQueue
from ..bank.wrong_answers import Foreign
from ..faults import Fault, FaultKind, FaultPicker, TwiceAnswer
from ..settings import Permission, Reaction
from .faulty_responses import FaultContext, HttpResponse, apply_fault, envelope
from .request_log import IncomingRequest, RequestLog

_PROJECT: Final = "X-PARTNER-PROJECT"
SIGNATURE_HEADER: Final = "X-PARTNER-SIGN"
_SUBMERCHANT: Final = "X-PARTNER-SUBMERCHANT"
# Known only from third-party code; the provider doesn't document it.
KEY_HEADER: Final = "X-PARTNER-IDEMPOTENCY-KEY"
_NOT_FOUND: Final = 404
# The first two codes are those of the sister platform, Bank 131 (its page reference/errors).
_UNKNOWN_PROJECT: Final = refusal(
    "identification_error", "X-PARTNER-PROJECT names no known project"
)
_BAD_SIGNATURE: Final = refusal(
    "authentication_error", "X-PARTNER-SIGN isn't a signature of this body"
)
_NOT_JSON: Final = refusal(INVALID_REQUEST, "the body must be a JSON object")
_JSON: Final = "application/json"
_WRONG_TYPE: Final = refusal(INVALID_REQUEST, f"Content-Type must be {_JSON}")
_NO_SUCH_CALL: Final = refusal(INVALID_REQUEST, "there is no such method")
_PLACEHOLDER: Final = HttpResponse(status=200, body=b"")
"""Stays in place of a response if the call isn't carried out now: the fault replaces it, or closes
the connection before it is sent."""


@frozen(kw_only=True)
class Handled:
    """The response, the fault that decides how it is sent, and the entry for the request log."""

    response: HttpResponse
    record: RequestRecord
    fault: Fault | None = None


@define(eq=False, kw_only=True)
class Dispatcher:
    """Everything between the HTTP server and the bank.

    Hold ``lock`` to use the bank, the fault picker or the webhook queue from another thread.
    """

    bank: EmulatedBank
    faults: FaultPicker
    webhook_queue: WebhookQueue = field(factory=WebhookQueue)
    public_key: PublicKey
    project: str
    clock: Callable[[], datetime]
    lock: threading.Lock = field(factory=threading.Lock, init=False)
    passed: timedelta = field(factory=timedelta, init=False)
    """The time that was made to pass, on top of ``clock``."""
    log: RequestLog = field(factory=RequestLog, init=False)
    on_webhook_due: Callable[[], object] | None = field(default=None, init=False)
    """Wakes the delivery of webhooks from any thread; None while it doesn't run."""

    def handle(self, request: IncomingRequest) -> Handled:
        """Answer one request: check it, count it, carry it out, and apply its fault.

        Any problem with a request is answered with an error envelope; this never raises.
        """
        checked = self._check(request)
        if isinstance(checked, Answer):
            return self._reject(request, checked)
        with self.lock:
            # The clock is read under the lock: no request comes with an earlier time than the last.
            now = self.now()
            # Steps that are due by the clock come first, so that the call sees them done.
            self.bank.advance(now)
            name = self.bank.name_of(checked.params, checked.header_key)
            call = evolve(checked, name=name)
            # Which fault applies depends on the call's name (its key, if it has one) and number.
            attempt = self._count_attempt(request, call)
            fault = self.faults.pick(call.name.text, attempt, call.operation)
            # The bank carries the call out once; a fault may make that twice, later or never.
            answer = self._carry_out(call, fault, now)
            response = self._respond(answer)
            if fault is not None:
                # What the client reads is changed here; `http` changes how it is sent.
                self.bank.fault_counts[fault.kind.value] += 1
                if answer is not None and fault.kind is FaultKind.SWAPPED:
                    response = self._respond_about_another(call, answer, fault, attempt, now)
                response = apply_fault(
                    response,
                    FaultContext(fault=fault, path=request.path, operation=call.operation, now=now),
                )
            # Webhooks about what happened are delivered by a task of their own.
            self.queue_webhooks(now)
            record = _record_of(call, attempt, fault, answer, response.status, now)
            self.log.add(request, record, response.body)
        return Handled(response=response, record=record, fault=fault)

    def _check(self, request: IncomingRequest) -> ApiCall | Answer:
        """Return the call of a request, or the refusal of one that must not reach the bank."""
        headers = request.headers
        if headers.get(_PROJECT) != self.project:
            return _UNKNOWN_PROJECT
        if not self.public_key.verifies(request.body, headers.get(SIGNATURE_HEADER, "")):
            return _BAD_SIGNATURE
        if not self._accepts_type(request):
            return _WRONG_TYPE
        # Of the list of banks, a GET, the body isn't read. Any other body must be JSON, and that is
        # checked before the path.
        found = route(request.path)
        params = {} if found and found[0] == BANKS else self._params(request.body)
        if params is None:
            return _NOT_JSON
        if found is None or request.method != method_of(found[0], self.bank.rules):
            return _NO_SUCH_CALL
        operation, version = found
        return ApiCall(
            operation=operation,
            params=params,
            version=version,
            header_key=headers.get(KEY_HEADER),
            submerchant=headers.get(_SUBMERCHANT),
        )

    def _accepts_type(self, request: IncomingRequest) -> bool:
        given = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return given == _JSON or self.bank.rules.content_type is Reaction.IGNORE

    def _params(self, body: bytes) -> JsonObject | None:
        params = parse(body)
        if params is None or self.bank.rules.text_amounts is Permission.REFUSE:
            return params
        return with_numbers(params)

    def _reject(self, request: IncomingRequest, answer: Answer) -> Handled:
        """Answer a request that failed a check; count it in ``bad_signatures`` or ``refused``."""
        is_unknown = answer is _NO_SUCH_CALL
        status = _NOT_FOUND if is_unknown else self.bank.rules.error_http_status
        with self.lock:
            now = self.now()
            self.bank.requests += 1
            if answer is _BAD_SIGNATURE:
                self.bank.bad_signatures += 1
            else:
                self.bank.refused += 1
            operation, _ = route(request.path) or (request.path, 0)
            if operation in WITHOUT_STATUS:
                answer = evolve(answer, body={"error": answer.body["error"]})
            record = RequestRecord(
                time=now, operation=operation, http_status=status, error_code=answer.error_code
            )
            response = envelope(answer, status)
            self.log.add(request, record, response.body)
        return Handled(response=response, record=record)

    def _count_attempt(self, request: IncomingRequest, call: ApiCall) -> int:
        """Count a request; return its number, from 1, among those with this name and operation."""
        self.bank.requests += 1
        session_id = call.params.get("session_id")
        return self.bank.count_request(
            call.name,
            call.operation,
            session_id if isinstance(session_id, str) else None,
            digest=sha256(request.body).hexdigest(),
            signature=sha256(request.headers[SIGNATURE_HEADER].encode("ascii")).hexdigest(),
        )

    def _carry_out(self, call: ApiCall, fault: Fault | None, now: datetime) -> Answer | None:
        """Carry a call out; None if the fault has it carried out later, or never."""
        if fault is None:
            return self.bank.answer(call, now)
        if fault.kind is FaultKind.LATE:
            for _ in range(fault.executions):
                self.bank.answer_later(call, fault.seconds, now)
            return None
        if not fault.executions:
            return None
        if fault.kind is FaultKind.STALE:
            call = evolve(call, age_seconds=fault.seconds)
        if fault.kind is FaultKind.AMOUNT and fault.moved:
            call = self.bank.altered(call, fault.factor, fault.currency)
        first = self.bank.answer(call, now)
        return first if fault.executions == 1 else self._repeat(call, fault, first, now)

    def _repeat(self, call: ApiCall, fault: Fault, first: Answer, now: datetime) -> Answer:
        """Carry a call out a second time, and return the answer that the fault sends."""
        if fault.kind is FaultKind.TWICE and fault.seconds:
            self.bank.answer_later(call, fault.seconds, now)
            return first
        # Both requests were on their way together, so the second one runs without a delay.
        second = self.bank.answer_at_once(call, now)
        return second if fault.answer is TwiceAnswer.SECOND else first

    def _respond(self, answer: Answer | None) -> HttpResponse:
        if answer is None:
            return _PLACEHOLDER
        return envelope(answer, self.bank.rules.error_http_status if answer.error_code else 200)

    def _respond_about_another(
        self, call: ApiCall, answer: Answer, fault: Fault, attempt: int, now: datetime
    ) -> HttpResponse:
        """Return a response with a session that the call isn't about."""
        number = self.faults.script.number(call.name.text, attempt, call.operation)
        own = answer.session_id or str(call.params.get("session_id"))
        session = self.bank.other_session(call.version, own, fault.shows, number, now)
        return envelope(Answer(body={"status": "ok", "session": session}), 200)

    def queue_webhooks(self, now: datetime) -> None:
        """Queue a webhook for each thing that happened; the caller holds the lock."""
        for notification in self.bank.take_notifications():
            other = partial(self._other_session, notification, now)
            self.webhook_queue.put(notification, now, other)

    def _other_session(self, notification: Notification, now: datetime, number: int) -> JsonObject:
        version, own = self.bank.rules.webhook_version, notification.session_id
        return self.bank.other_session(version, own, Foreign.OTHER, number, now)

    def now(self) -> datetime:
        """Return the clock's time, with what was made to pass."""
        return self.clock() + self.passed

    @property
    def webhooks_may_be_due(self) -> bool:
        """Whether the delivery has to look again; without the lock, it may be true too early."""
        has_url = self.webhook_queue.url is not None
        return has_url and (self.bank.next_due is not None or bool(self.webhook_queue))

    def wake_delivery(self) -> None:
        """Have the delivery of webhooks check what is due; may be called from any thread."""
        wake = self.on_webhook_due
        if wake is not None:
            # The event loop may close between the check and the call.
            with contextlib.suppress(RuntimeError):
                _ = wake()

    def advance(self) -> datetime:
        """Do what is due by the clock, and return the clock's time; the caller holds the lock."""
        now = self.now()
        self.bank.advance(now)
        self.queue_webhooks(now)
        return now


def _record_of(  # noqa: PLR0913, PLR0917 - one field each
    call: ApiCall,
    attempt: int,
    fault: Fault | None,
    answer: Answer | None,
    status: int,
    now: datetime,
) -> RequestRecord:
    """Return the entry of a request for the log."""
    return RequestRecord(
        time=now,
        operation=call.operation,
        key=call.name.shown,
        counted_under=call.name.text,
        attempt=attempt,
        fault=fault.kind.value if fault else None,
        http_status=status if fault is None or fault.is_answered else None,
        error_code=answer.error_code if answer else None,
        session_id=answer.session_id if answer else None,
    )


_MAX_DEPTH: Final = 100


def parse(body: bytes) -> JsonObject | None:
    """Return the JSON object of a body, or None if the body isn't one.

    An empty list counts as an object without members: PHP encodes an empty array so. The same
    holds for objects inside.
    """
    try:
        value: object = json.loads(
            body.decode("utf-8"), parse_float=_finite, parse_constant=_finite
        )
    except (ValueError, RecursionError):
        return None
    if is_array(value) and not value:
        return {}
    return with_objects(value) if is_object(value) and _is_shallow(value) else None


def _finite(text: str) -> float:
    # JSON has no infinity and no NaN, but Python accepts both, and reads 1e999 as infinity.
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _is_shallow(value: object) -> bool:
    # The limit is the emulator's own: it must be able to write the value again.
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return True
    return False


def _children(value: object) -> list[object]:
    if is_object(value):
        return list(value.values())
    return value if is_array(value) else []
