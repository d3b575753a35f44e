"""One call made ready: key, body and headers, the same for all of its attempts."""

import inspect
import os
import warnings
from datetime import UTC
from typing import Any, Final, cast
from urllib.parse import quote

from attrs import define, evolve, field, frozen
from multidict import CIMultiDict
from yarl import URL

from .codec import ApiVersion, Codec, Wire, codec, dump, dump_fields, join_fields
from .errors import InvalidRequest, RuleBroken
from .idempotency import Key, Mark, RequestDigest, carry_key, choose_key, request_digest
from .in_flight import CallKey
from .models.money import Amount
from .models.validators import above_zero
from .operations import Answer, FreeRequest, Operation, Repeat, Request
from .outcome import CallRecord
from .settings import Credentials, HeaderUse, RuleUse, Settings
from .transport import JSON_TYPE, FrozenBody, HttpRequest, Middleware
from .validation import broken_rules, has_rules, misspelt_fields

_IDEMPOTENCY_KEY: Final = "X-PARTNER-IDEMPOTENCY-KEY"
# Set for each request, so that a default header of the caller's own session doesn't replace it.
# aiohttp copies a CIMultiDict in half of the time that it takes to make one of a dictionary.
_CONTENT_TYPE: Final = CIMultiDict({"Content-Type": JSON_TYPE})
_PACKAGE: Final = "smartglocal_async"
_AS_THEY_ARE: Final = "".join(map(chr, range(0x20, 0x7F))).translate({0x25: None, 0x2F: None})
_SETS_AMOUNT: Final = frozenset(
    {
        *("session/create", "session/start/payout", "session/start/payment"),
        *("session/init/payout", "session/init/payment"),
    }
)
# The calls that create a session; each other call of an order has a suffix in its header.
_FIRST_CALLS: Final = frozenset({"create", "init/payout", "init/payment"})


@define(kw_only=True)
class CallOptions:
    """What a caller may choose for one call; None takes the client's policy."""

    key: str | None = None
    deadline: float | None = None
    """In seconds from the beginning of the call."""
    attempts: int | None = None
    header_key: str | None = None
    """The key in the header, if it differs from the one in the metadata."""
    header_number: str | None = None
    """Distinguishes several calls of one key in the header."""
    deadline_at: float | None = None
    """The deadline as a time on the client's monotonic clock, instead of ``deadline``: for a call
    that is made within another one. It may have passed."""
    is_shared: bool = True
    """Whether calls with one key share one result, and another request with the key is refused;
    False if a journal of the keys does that."""
    for_call: int | None = None
    """The number of the call that this one is made within, for an observer."""

    def __attrs_post_init__(self) -> None:
        if self.deadline is not None:
            above_zero("deadline", self.deadline)
        if self.attempts is not None:
            above_zero("attempts", self.attempts, whole=True)

    def with_key(self, key: str | None) -> "CallOptions":
        """Return the same options for the call of another key."""
        return evolve(self, key=key)


@define(eq=False)
class PreparedRequest:
    """One call made ready: what every attempt sends, and what its answer is compared with."""

    operation: Operation[Any, Any]
    request: Any = field(repr=False)
    http: HttpRequest
    mark: Mark | None
    chosen_key: CallKey | None
    """The key if the caller chose it: calls with one key share one result. None: a generated key,
    which is in ``record``, or no key."""
    digest: RequestDigest | None
    """The digest of the request, if there is a ``chosen_key``."""
    record: CallRecord
    attempts: int
    deadline: float
    """On the client's monotonic clock."""
    requested_session_id: str | None
    """The session that the request names, if any: the answer has to be about that one."""
    metadata: Any = field(repr=False)
    """The metadata as the caller gave it, without the key."""
    broken_rules: tuple[str, ...]
    """Rules that the request breaks, to be warned of."""


@frozen(eq=False)
class RequestBuilder:
    """Prepares the requests of one client."""

    settings: Settings
    credentials: Credentials
    middlewares: tuple[Middleware, ...]
    secret: bytes = field(factory=lambda: os.urandom(16), repr=False)
    _urls: dict[tuple[str, str], URL] = field(
        factory=dict[tuple[str, str], URL], init=False, repr=False
    )

    def codec_of(self, operation: Operation[Any, Any]) -> Codec:
        """Return the codec of the version that a call is made in: the client's, if it has that."""
        own = self.credentials.version
        return codec(own if own in operation.versions else operation.versions[0])

    def build(
        self, operation: Operation[Request, Answer], request: Request, options: CallOptions
    ) -> PreparedRequest | InvalidRequest:
        """Prepare a request; return the error instead of raising it.

        The frames of this function and below hold the request as plain data, and tools that record
        the variables of a traceback would store it. An error that is returned has no such frames.
        """
        try:
            return self._build(operation, request, options)
        except InvalidRequest as error:
            return error.with_traceback(None)

    def _build(
        self, operation: Operation[Request, Answer], request: Request, options: CallOptions
    ) -> PreparedRequest:
        settings, path = self.settings, operation.path
        moves_money = operation.repeat is Repeat.MOVES_MONEY
        own_codec = self.codec_of(operation)
        _check(operation, request, own_codec.version)
        wire = request.wire() if isinstance(request, FreeRequest) else own_codec.wire(request)
        if settings.amount_limits and path in _SETS_AMOUNT:
            self._check_amount(wire.get("amount_details"))
        broken = self._broken_rules(operation, wire)
        session_id = wire.get("session_id")
        metadata = wire.get("metadata") if operation.has_metadata else None
        # The key is sent in the metadata, if the call has any.
        key = mark = None
        if operation.has_metadata or moves_money:
            key = choose_key(
                options.key,
                metadata,
                field=settings.key_field,
                metadata_is_key=settings.metadata_is_key,
                make=_fresh_key,
            )
        if key is not None and operation.has_metadata:
            mark = carry_key(wire, key, settings.key_field)
        # The caller may use its own key again, for this request and for no other.
        own = digest = None
        if key is not None and key.is_own and options.is_shared:
            own = CallKey(path, key.text, moves_money)
            fields = dump_fields(wire)
            digest, body = request_digest(fields, self.secret), join_fields(fields)
        else:
            body = dump(wire)
        if operation.is_bodiless:
            body = settings.bodiless
        http = HttpRequest(
            settings.http_methods.get(path, operation.method),
            self._url(path, own_codec),
            FrozenBody(self._within_limit(body)),
            self._headers(operation, key, options),
            self.middlewares,
            settings.retry.attempt_timeout_seconds,
            settings.max_response_bytes,
            settings.timing.now,
            moves_money,
        )
        started, deadline = settings.timing.monotonic(), options.deadline_at
        if deadline is None:
            deadline = started + (options.deadline or settings.retry.deadline_seconds)
        if not isinstance(session_id, str):  # A free call may have anything under that name.
            session_id = None
        return PreparedRequest(
            operation,
            request,
            http,
            mark,
            own,
            digest,
            CallRecord(path, None if key is None else key.text, started, session_id),
            options.attempts or settings.retry.attempts,
            deadline,
            session_id,
            metadata,
            broken,
        )

    def _url(self, path: str, own_codec: Codec) -> URL:
        place = path, own_codec.version
        url = self._urls.get(place)
        if url is None:
            url = self._urls[place] = self.credentials.url(path, own_codec.version)
        return url

    def _broken_rules(self, operation: Operation[Any, Any], wire: Wire) -> tuple[str, ...]:
        use = self.settings.rules
        if use is RuleUse.OFF or not operation.page or not has_rules(operation.path, wire):
            return ()
        words: list[str] = []
        today = self.settings.timing.now().astimezone(UTC).date()
        named = self.credentials.submerchant is not None
        for broken in broken_rules(operation.path, wire, today, has_submerchant=named):
            if use is RuleUse.REFUSE and not broken.is_advice:
                raise InvalidRequest(broken.field, f"{broken.problem} ({broken.page})")
            words.append(f"{broken.field}: {broken.problem} ({broken.page})")
        return tuple(words)

    def _check_amount(self, money: object) -> None:
        """Check an amount against `Settings.amount_limits`; what is no amount is left to others."""
        fields: Wire = cast("Wire", money) if isinstance(money, dict) else {}
        amount, currency = fields.get("amount"), str(fields.get("currency")).lower()
        limits = self.settings.amount_limits.get(currency)
        if limits is None or not isinstance(amount, int) or limits[0] <= amount <= limits[1]:
            return
        least, most = (Amount(units, currency).decimal for units in limits)
        problem = f"must be {least} to {most} {currency.upper()} (Settings.amount_limits)"
        raise InvalidRequest("amount_details.amount", problem)

    def _within_limit(self, body: bytes) -> bytes:
        most = self.settings.max_request_bytes
        if len(body) > most:
            raise InvalidRequest(
                "request",
                f"is {len(body)} bytes long, {most} at most (Settings.max_request_bytes)",
            )
        return body

    def _headers(
        self, operation: Operation[Any, Any], key: Key | None, options: CallOptions
    ) -> CIMultiDict[str]:
        use, moves_money = self.settings.idempotency_header, operation.repeat is Repeat.MOVES_MONEY
        is_used = use is HeaderUse.ALWAYS or (use is HeaderUse.MONEY and moves_money)
        text = options.header_key or (None if key is None else key.text)
        if not is_used or text is None:
            return _CONTENT_TYPE
        headers = _CONTENT_TYPE.copy()
        headers[_IDEMPOTENCY_KEY] = header_of(operation.path, text, options.header_number)
        return headers


def _check(operation: Operation[Request, Answer], request: Request, version: ApiVersion) -> None:
    if not isinstance(request, operation.request):
        raise InvalidRequest(
            "request", f"expected {operation.request.__name__}, got {type(request).__name__}"
        )
    if operation.page and (misspelt := misspelt_fields(request, version)):
        raise InvalidRequest(misspelt[0].path, misspelt[0].problem)


def warn_of(broken: tuple[str, ...]) -> None:
    """Warn of rules that a request breaks; the warning shows the caller's own line.

    Here and not where they were found: a warning that is made an error would leave through
    frames that hold the request as plain data.
    """
    if not broken:
        return
    level = 1
    frame = inspect.currentframe()
    while frame is not None and _is_ours(frame.f_globals.get("__name__")):
        level, frame = level + 1, frame.f_back
    for words in broken:
        warnings.warn(words, RuleBroken, stacklevel=level)


def _is_ours(module: object) -> bool:
    """Return whether a frame of this module is the package's own.

    ``__name__`` and not ``__package__``, which is None in a script; code that was compiled by
    hand may have neither.
    """
    return isinstance(module, str) and f"{module}.".startswith(f"{_PACKAGE}.")


def header_of(path: str, key: str, number: str | None = None) -> str:
    """Return the key as a header, which differs for each call that an order's key is used with.

    The slash before a ``number`` is in no key, so no other key has the same header.

    Whether the provider takes one key once for a method or once for a project is unknown. What
    isn't ASCII is percent-encoded, and so are the percent sign and the slash, which would make
    two keys look alike.
    """
    text = quote(key, safe=_AS_THEY_ARE)
    _, _, call = path.partition("/")
    if number is not None:
        return f"{text}/{call}/{number}"
    return text if call in _FIRST_CALLS else f"{text}/{call}"


def _fresh_key() -> str:
    # A UUID4 (RFC 9562), spelled out: uuid.uuid4() takes four times as long, in every call.
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
