"""One logical call made ready: key, body and headers, frozen once for all of its attempts."""

import os
import warnings
from datetime import UTC
from typing import Any, Final, get_origin

from attrs import define, evolve, field, frozen
from yarl import URL

from .codec import Codec, Wire, dump
from .errors import InvalidRequest, RuleBroken
from .flights import CallKey
from .idempotency import Fingerprint, Key, Mark, carry_key, choose_key, fingerprint
from .operations import Answer, Operation, Repeat, Request
from .outcome import CallRecord
from .rules import broken_rules
from .settings import Credentials, HeaderUse, RuleUse, Settings
from .transport import FrozenBody, Middleware, Shot
from .values.exactness import above_zero

_IDEMPOTENCY_KEY: Final = "X-PARTNER-IDEMPOTENCY-KEY"


@frozen(kw_only=True)
class CallOptions:
    """What a caller may choose for one call; None takes the client's policy."""

    key: str | None = None
    deadline: float | None = None
    attempts: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.deadline is not None:
            above_zero("deadline", self.deadline)
        if self.attempts is not None:
            above_zero("attempts", self.attempts, whole=True)

    def with_key(self, key: str | None) -> "CallOptions":
        """Give the same options for the call of another key."""
        return evolve(self, key=key)


@define(eq=False)
class Call:
    """One logical call: every attempt sends exactly this shot."""

    operation: Operation[Any, Any]
    request: Any = field(repr=False)
    shot: Shot
    mark: Mark | None
    key: CallKey | None
    """The caller's own key: calls of one share what comes of it."""
    taken: Fingerprint | None
    record: CallRecord
    attempts: int
    deadline: float


@frozen(eq=False)
class Freezer:
    """Make the calls of one client ready."""

    settings: Settings
    credentials: Credentials
    codec: Codec
    middlewares: tuple[Middleware, ...]
    secret: bytes = field(factory=lambda: os.urandom(16), repr=False)
    _urls: dict[str, URL] = field(factory=dict[str, URL], init=False, repr=False)

    def freeze(
        self, operation: Operation[Request, Answer], request: Request, options: CallOptions
    ) -> Call | InvalidRequest:
        """Make a call ready; what is wrong with it is returned, for the caller to raise.

        The frames down from here hold the request as plain data, and tools that record the
        variables of a traceback would write it down. Returned, the error has no such frames.
        """
        try:
            return self._frozen(operation, request, options)
        except InvalidRequest as error:
            return error.with_traceback(None)

    def _frozen(
        self, operation: Operation[Request, Answer], request: Request, options: CallOptions
    ) -> Call:
        self._check(operation, request)
        wire = self.codec.wire(request)
        self._apply_rules(operation, wire)
        key = self._key(operation, wire, options.key)
        mark = None
        if key is not None and operation.has_metadata:
            mark = carry_key(wire, key, self.settings.key_field)
        body = self._body(operation, wire)
        own = key if key is not None and key.is_own else None
        policy, started = self.settings.retry, self.settings.timing.monotonic()
        return Call(
            operation,
            request,
            self._shot(operation, FrozenBody(body), key),
            mark,
            None if own is None else CallKey(operation.path, own.text),
            None if own is None else fingerprint(body, self.secret),
            CallRecord(
                operation.path,
                None if key is None else key.text,
                started,
                getattr(request, "session_id", None),
            ),
            policy.attempts if options.attempts is None else options.attempts,
            started + (policy.deadline_seconds if options.deadline is None else options.deadline),
        )

    def _check(self, operation: Operation[Request, Answer], request: Request) -> None:
        version = self.credentials.version
        if version not in operation.versions:
            raise InvalidRequest(
                "api_version",
                f"{operation.path} has {operation.versions[0]} only; make a client with "
                f"api_version={operation.versions[0]!r} for it (a SessionPool can be shared)",
            )
        if not isinstance(request, get_origin(operation.request) or operation.request):
            raise InvalidRequest(
                "request", f"expected {operation.request.__name__}, got {type(request).__name__}"
            )

    def _apply_rules(self, operation: Operation[Any, Any], wire: Wire) -> None:
        use = self.settings.rules
        if use is RuleUse.OFF:
            return
        today = self.settings.timing.now().astimezone(UTC).date()
        for broken in broken_rules(operation.path, wire, today):
            if use is RuleUse.REFUSE:
                raise InvalidRequest(broken.field, f"{broken.problem} ({broken.page})")
            warnings.warn(
                f"{broken.field}: {broken.problem} ({broken.page})", RuleBroken, stacklevel=2
            )

    def _key(self, operation: Operation[Any, Any], wire: Wire, given: str | None) -> Key | None:
        if not operation.has_metadata and operation.repeat is Repeat.HARMLESS:
            return None
        settings = self.settings
        return choose_key(
            given,
            wire.get("metadata") if operation.has_metadata else None,
            field=settings.key_field,
            metadata_is_key=settings.metadata_is_key,
            make=_fresh_key,
        )

    def _body(self, operation: Operation[Any, Any], wire: Wire) -> bytes:
        body = self.settings.bodiless if operation.method == "GET" else dump(wire)
        most = self.settings.most_request_bytes
        if len(body) > most:
            raise InvalidRequest(
                "request",
                f"is {len(body)} bytes long, {most} at most (Settings.most_request_bytes)",
            )
        return body

    def _shot(self, operation: Operation[Any, Any], body: FrozenBody, key: Key | None) -> Shot:
        settings, path = self.settings, operation.path
        url = self._urls.get(path) or self._urls.setdefault(path, self.credentials.url(path))
        return Shot(
            operation.method,
            url,
            body,
            self._headers(operation, key),
            self.middlewares,
            settings.retry.attempt_timeout_seconds,
            settings.most_answer_bytes,
            settings.timing.now,
        )

    def _headers(self, operation: Operation[Any, Any], key: Key | None) -> dict[str, str]:
        use, moves_money = self.settings.idempotency_header, operation.repeat is Repeat.MOVES_MONEY
        if use is HeaderUse.ALWAYS or (use is HeaderUse.MONEY and moves_money):
            return {} if key is None else {_IDEMPOTENCY_KEY: key.text}
        return {}


def _fresh_key() -> str:
    # A UUID4 (RFC 9562), spelled out: uuid.uuid4() takes four times as long, in every call.
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
