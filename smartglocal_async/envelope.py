"""HTTP status and body in; the answer, or what surely happened instead, out.

The envelope decides before the HTTP status: the provider does not document which status goes
with an error, and a proxy in between has its own. The rows, in this order:

===========================================  =======================================
The answer                                   What surely happened
===========================================  =======================================
an ``ok`` envelope with its record           accepted, whatever the HTTP status
an ``ok`` envelope without, or unreadable    arrived
an ``error`` envelope, code of a temporary   unknown
fault (``internal_error`` and its like)
``idempotency_key_already_exists``           arrived, with an earlier attempt
an ``error`` envelope, HTTP 429              refused for now, unless the code is final
an ``error`` envelope, unknown code, 5xx     unknown
an ``error`` envelope, unknown code, 409     arrived, with an earlier attempt
an ``error`` envelope, anything else         refused
no envelope, HTTP 429                        refused for now
a body that did not come whole               unknown
no envelope, HTTP 3xx or 4xx but 408         refused
no envelope, anything else                   unknown
===========================================  =======================================

"No envelope" is HTML, an empty body, JSON cut short, invalid UTF-8, another JSON document, a
body over the size limit, one that was cut on the wire. The
``Content-Type`` is never believed: an envelope served as ``text/html`` is an envelope.
"""

import enum
import re
from collections.abc import Mapping
from typing import Any, Final, TypeGuard, cast, get_origin

from attrs import field, frozen

from .codec import Codec, NotDecodable, parse
from .errors import CodeClass
from .operations import Answer, Operation, Request
from .values.exactness import without_card_numbers

_PERMANENT, _TRANSIENT = CodeClass.PERMANENT, CodeClass.TRANSIENT

CODES: Final[Mapping[str, CodeClass]] = {
    "authentication_error": _PERMANENT,
    "identification_error": _PERMANENT,
    "authorization_error": _PERMANENT,
    "invalid_request": _PERMANENT,
    "internal_error": _TRANSIENT,
    "provider_internal_error": _TRANSIENT,
    "provider_issuer_unavailable": _TRANSIENT,
    "provider_timeout": _TRANSIENT,
    "provider_exceeds_amount_limit": _PERMANENT,
    "amount_less_allowed_provider": _PERMANENT,
    "provider_foreign_transfer_prohibited": _PERMANENT,
    "3DS_error": CodeClass.NEW_OPERATION,
    "account_not_found": _PERMANENT,
    "activity_count_exceeded": _PERMANENT,
    "bank_card_expired": _PERMANENT,
    "binding_is_deactivated": _PERMANENT,
    "card_number_does_not_exist": _PERMANENT,
    "capture_timeout": CodeClass.FINAL,
    "confirm_timeout": CodeClass.FINAL,
    "taxpayer_unknown": _PERMANENT,
    "taxpayer_not_bound": _PERMANENT,
    "taxpayer_already_bound": _PERMANENT,
    "taxpayer_income_exceeds_amount_limit": _PERMANENT,
    "idempotency_key_already_exists": CodeClass.DUPLICATE,
}
"""Known codes of the sister platform; Smart Glocal's own list is not public."""
CODES_OF_THE_CALLER: Final = frozenset(
    {"authentication_error", "identification_error", "authorization_error"}
)
"""Those that are about who calls: nobody looked at the request."""

_TOO_MANY, _REQUEST_TIMEOUT, _CONFLICT, _SERVER_FAULT = 429, 408, 409, 500
_REDIRECTS: Final = range(300, 400)
_CLIENT_FAULTS: Final = range(400, 500)

_LONGEST_TEXT: Final = 500
_MEDIA_TYPE: Final = re.compile(r"[a-z]+/[a-z.+-]+", re.IGNORECASE)


class Happened(enum.Enum):
    """What surely happened to one attempt."""

    ACCEPTED = "accepted"
    NOT_SENT = "never sent"
    MISCONFIGURED = "never sent, and a repeat can't help"
    UNKNOWN = "may have been processed"
    NO_EFFECT = "without effect so far, and safe to repeat"
    """Lost, but the status shows that it did nothing yet, and a late twin could do no more."""
    ARRIVED = "arrived, but what became of it is not said"
    REFUSED_FOR_NOW = "refused for now"
    REFUSED = "refused"


@frozen
class Reply:
    """What came back over HTTP, read whole."""

    status: int
    content_type: str
    body: bytes = field(repr=False)
    retry_after_seconds: float | None = None
    fault: str | None = None
    """Why the body could not be read to its end, if it couldn't."""


@frozen
class Verdict:
    """What surely happened to one attempt, and the facts that an error will carry."""

    happened: Happened
    answer: Any = field(default=None, repr=False)
    cause: str | None = None
    code: str | None = None
    description: str | None = None
    code_class: CodeClass | None = None
    session_id: str | None = None
    http_status: int | None = None
    content_type: str | None = None
    retry_after_seconds: float | None = None
    ends_call: str | None = None
    """Why there can be no other attempt, whatever the table says."""


def read_reply(codec: Codec, operation: Operation[Request, Answer], reply: Reply) -> Verdict:
    """Turn a reply into the answer's record, or into what it means instead."""
    envelope, cause = (None, reply.fault) if reply.fault else _envelope(reply.body)
    if envelope is None:
        return _no_envelope(reply, cause)
    if envelope["status"] == "error":
        return _refusal(reply, envelope)
    field = operation.answer_field
    try:
        answer = codec.structure(_content(envelope, operation), operation.answer)
    except NotDecodable as error:
        return Verdict(
            Happened.ARRIVED,  # It was accepted, and a repeat would be read no better.
            cause=f"the answer's {field or 'content'} can't be read: {error}",
            session_id=_id_of(envelope.get("session")),
            http_status=reply.status,
            content_type=_media_type(reply.content_type),
        )
    return Verdict(Happened.ACCEPTED, answer, http_status=reply.status)


def _content(envelope: Mapping[str, Any], operation: Operation[Request, Answer]) -> object:
    if operation.answer_field is None:
        return {name: envelope[name] for name in envelope if name != "status"}
    content: object = envelope.get(operation.answer_field)
    # For wallet/balance the provider's table says object, and its example shows a list.
    if get_origin(operation.answer) is tuple:
        return [content] if content and _is_object(content) else content or []
    return content


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _envelope(body: bytes) -> tuple[Mapping[str, Any] | None, str]:
    if not body or body.isspace():
        return None, "an empty answer"
    try:
        parsed = parse(body)
    except UnicodeDecodeError:
        return None, "the answer isn't UTF-8"
    except ValueError:
        return None, "the answer isn't JSON, or was cut short"
    if isinstance(parsed, dict):
        envelope = cast("dict[str, Any]", parsed)
        if envelope.get("status") in ("ok", "error"):  # No set: it may be a list.
            return envelope, ""
    return None, "the answer is JSON, but no envelope of this API"


def _no_envelope(reply: Reply, cause: str) -> Verdict:
    happened = Happened.UNKNOWN
    if reply.status == _TOO_MANY:
        happened, cause = Happened.REFUSED_FOR_NOW, f"too many requests for now ({cause})"
    elif reply.status in _REDIRECTS:
        happened, cause = Happened.REFUSED, "a redirect, which is never followed: check the server"
    elif reply.fault:
        pass  # An envelope that might have said otherwise was lost on the way.
    elif reply.status in _CLIENT_FAULTS and reply.status != _REQUEST_TIMEOUT:
        happened = Happened.REFUSED
    return Verdict(
        happened,
        cause=cause,
        http_status=reply.status,
        content_type=_media_type(reply.content_type),
        retry_after_seconds=reply.retry_after_seconds,
    )


def _refusal(reply: Reply, envelope: Mapping[str, Any]) -> Verdict:
    said: Any = envelope.get("error")
    error: Mapping[str, Any] = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
    code = without_card_numbers(_text(error.get("code")))
    code_class = _class_of(code or "")
    return Verdict(
        _meaning(code_class, reply.status),
        code=code,
        description=without_card_numbers(_text(error.get("description"))),
        code_class=code_class,
        session_id=_id_of(envelope.get("session")),
        http_status=reply.status,
        content_type=_media_type(reply.content_type),
        retry_after_seconds=reply.retry_after_seconds,
    )


def _class_of(code: str) -> CodeClass:
    # The provider's own word for a used key is unknown; whatever speaks of it means it.
    other = CodeClass.DUPLICATE if "idempotency" in code.lower() else CodeClass.UNRECOGNISED
    return CODES.get(code, other)


def _meaning(code_class: CodeClass, status: int) -> Happened:
    if code_class is CodeClass.DUPLICATE:
        return Happened.ARRIVED
    if code_class is CodeClass.TRANSIENT:
        return Happened.UNKNOWN
    if code_class is CodeClass.UNRECOGNISED:
        if status == _TOO_MANY:
            return Happened.REFUSED_FOR_NOW
        if status == _CONFLICT:
            return Happened.ARRIVED  # What a key in use gets elsewhere.
        if status >= _SERVER_FAULT:
            return Happened.UNKNOWN
    return Happened.REFUSED


def _media_type(header: str) -> str | None:
    """Give the type alone, without parameters; a header that isn't one is left out."""
    found = _MEDIA_TYPE.match(header)
    return None if found is None else found[0].lower()


def _text(value: object) -> str | None:
    """Take text and numbers, up to a length; an object might say back what it was told."""
    return str(value)[:_LONGEST_TEXT] if isinstance(value, str | int) else None


def _id_of(session: object) -> str | None:
    if isinstance(session, dict):
        identifier = cast("dict[str, Any]", session).get("id")
        return identifier if isinstance(identifier, str) else None
    return None
