"""One logical call made ready: key, body and headers, frozen once for all of its attempts."""

import inspect
import os
import warnings
from datetime import UTC
from typing import Any, Final
from urllib.parse import quote

from attrs import define, evolve, field, frozen
from yarl import URL

from .codec import Codec, Wire, dump
from .errors import InvalidRequest, RuleBroken
from .flights import CallKey
from .idempotency import Fingerprint, Key, Mark, carry_key, choose_key, fingerprint
from .operations import Answer, FreeRequest, Operation, Repeat, Request
from .outcome import CallRecord
from .rules import broken_rules
from .settings import Credentials, HeaderUse, RuleUse, Settings
from .transport import FrozenBody, Middleware, Shot
from .values.exactness import above_zero

_IDEMPOTENCY_KEY: Final = "X-PARTNER-IDEMPOTENCY-KEY"
_PACKAGE: Final = "smartglocal_async"
# The calls that make a session; every other one of the order says in its header which it is.
_FIRST_CALLS: Final = frozenset({"create", "init/payout", "init/payment"})


@frozen(kw_only=True)
class CallOptions:
    """What a caller may choose for one call; None takes the client's policy."""

    key: str | None = None
    deadline: float | None = None
    attempts: int | None = None
    is_shared: bool = True
    """Whether calls of one key share what comes of it, and refuse another request; whoever keeps
    a journal of the keys does so there."""

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
    broken: tuple[str, ...]
    """Rules that the request breaks, to be warned of."""


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
        wire = request.wire() if isinstance(request, FreeRequest) else self.codec.wire(request)
        broken = self._broken_rules(operation, wire)
        key = self._key(operation, wire, options.key)
        mark = None
        if key is not None and operation.has_metadata:
            mark = carry_key(wire, key, self.settings.key_field)
        body = self._body(operation, wire)
        own = key if key is not None and key.is_own and options.is_shared else None
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
            broken,
        )

    def _check(self, operation: Operation[Request, Answer], request: Request) -> None:
        version = self.credentials.version
        if version not in operation.versions:
            raise InvalidRequest(
                "api_version",
                f"{operation.path} has {operation.versions[0]} only; make a client with "
                f"api_version={operation.versions[0]!r} for it (a SessionPool can be shared)",
            )
        if not isinstance(request, operation.request):
            raise InvalidRequest(
                "request", f"expected {operation.request.__name__}, got {type(request).__name__}"
            )

    def _broken_rules(self, operation: Operation[Any, Any], wire: Wire) -> tuple[str, ...]:
        use = self.settings.rules
        if use is RuleUse.OFF or not operation.page:
            return ()
        told: list[str] = []
        today = self.settings.timing.now().astimezone(UTC).date()
        for broken in broken_rules(operation.path, wire, today):
            if use is RuleUse.REFUSE and not broken.is_advice:
                raise InvalidRequest(broken.field, f"{broken.problem} ({broken.page})")
            told.append(f"{broken.field}: {broken.problem} ({broken.page})")
        return tuple(told)

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
            return {} if key is None else {_IDEMPOTENCY_KEY: _header_key(operation.path, key)}
        return {}


def warn_of(broken: tuple[str, ...]) -> None:
    """Warn of rules that a request breaks; the warning shows the caller's own line.

    Here and not where they were found: a warning that is made an error would leave through
    frames that hold the request as plain data.
    """
    if not broken:
        return
    level = 1
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__package__", "").startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    for words in broken:
        warnings.warn(words, RuleBroken, stacklevel=level)


def _header_key(path: str, key: Key) -> str:
    """Give the key as a header: its own for each call that an order's key is used with.

    Whether the provider takes one key once for a method or once for a project is unknown.
    """
    text = key.text if key.text.isascii() else quote(key.text)
    _, _, call = path.partition("/")
    return text if call in _FIRST_CALLS else f"{text}/{call}"


def _fresh_key() -> str:
    # A UUID4 (RFC 9562), spelled out: uuid.uuid4() takes four times as long, in every call.
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
