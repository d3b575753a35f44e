"""The envelope of an answer: what surely happened, from the HTTP status and the body.

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
an ``error`` envelope, code of a refusal     refused
an ``error`` envelope, unknown code, 429     refused for now
an ``error`` envelope, unknown code, 409     arrived, with an earlier attempt
an ``error`` envelope, unknown code, 5xx     unknown
an ``error`` envelope, anything else         of a call that moves money: unknown; else refused
no envelope, HTTP 429                        refused for now
a body that did not come whole               unknown
no envelope, HTTP 3xx or 4xx but 408         refused
no envelope, anything else                   unknown
===========================================  =======================================

An object with an ``error`` object is an ``error`` envelope, also without a ``status``: pages of
the provider print it so. Good answers of a few calls have no ``status`` either: an object with the
field that the call promises (`Operation.success_field`) is an ``ok`` envelope then. Codes of a
refusal are those of `smartglocal_async.error_codes`, and the caller's own
(`Settings.refusal_codes`).

"No envelope" is HTML, an empty body, JSON cut short, invalid UTF-8, another JSON document, a
body over the size limit, one that was cut on the wire. The
``Content-Type`` is never believed: an envelope served as ``text/html`` is an envelope.
"""

import enum
import re
from collections.abc import Mapping
from typing import Any, Final, TypeGuard, cast

from attrs import define, field

from .codec import Codec, NotDecodable
from .codec.incoming import parse_incoming
from .codec.json import NameTwice
from .error_codes import class_of
from .errors import CodeClass
from .models.validators import mask, no_fields, without_card_numbers
from .operations import Answer, Operation, Repeat, Request

SERVER_FAULT: Final = 500
"""From here on the HTTP statuses that say that the server failed."""
REDIRECTS: Final = range(300, 400)
_TOO_MANY, _REQUEST_TIMEOUT, _CONFLICT = 429, 408, 409
_CLIENT_FAULTS: Final = range(400, SERVER_FAULT)

_CONFIRM_INFORMATION: Final = "confirm_information"
_LONGEST_TEXT: Final = 500
_UNKNOWN_CODE: Final = (
    "no document says that this code comes before the request is processed "
    "(Settings.refusal_codes takes codes of which you know it)"
)
_MEDIA_TYPE: Final = re.compile(r"[a-z]+/[a-z.+-]+", re.IGNORECASE)


class AttemptResult(enum.Enum):
    """What surely happened to one attempt."""

    ACCEPTED = "accepted"
    NOT_SENT = "never sent"
    MISCONFIGURED = "never sent, and a repeat can't help"
    UNKNOWN = "may have been processed"
    NO_EFFECT = "without effect so far, and safe to repeat"
    """Lost, but the status shows that it did nothing yet, and a late twin could do no more."""
    ARRIVED = "arrived, with an unknown result"
    REFUSED_FOR_NOW = "refused for now"
    REFUSED = "refused"


class _Absent(enum.Enum):
    ABSENT = "absent"


@define
class ErrorDetails:
    """The provider's error of a call, as it was answered: no field is sure to be text."""

    code: Any = None
    description: Any = field(default=None, repr=mask)
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask)


@define
class Envelope:
    """The outermost object of an answer; ``extra`` has what isn't named here."""

    status: Any = None
    session: Any = field(default=_Absent.ABSENT, repr=mask)
    error: Any = field(default=_Absent.ABSENT, repr=mask)
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask)

    @property
    def is_one(self) -> bool:
        """Whether this is an envelope of the API, and not some other JSON object."""
        return self.status in ("ok", "error") or _is_object(self.error)  # No set: it may be a list.

    def is_good(self, success_field: str | None) -> bool:
        """Return whether it is the answer of a call that worked.

        It has the status ``ok``; or it has none, no error, and the field that such a call promises.
        """
        if self.status is not None or success_field is None:
            return bool(self.status == "ok")
        return not _is_object(self.error) and self.extra.get(success_field) is not None

    def content(self, answer_field: str | None) -> object:
        """Return a field of the answer, or all of them but the status."""
        if answer_field == "session":
            return None if self.session is _Absent.ABSENT else self.session
        if answer_field is not None:
            return self.extra.get(answer_field)
        named = {"session": self.session, "error": self.error, **self.extra}
        return {name: value for name, value in named.items() if value is not _Absent.ABSENT}


@define
class HttpReply:
    """What came back over HTTP, read whole."""

    status: int
    content_type: str
    body: bytes = field(repr=False)
    retry_after_seconds: float | None = None
    fault: str | None = None
    """Why the body could not be read to its end, if it couldn't."""


@define
class Verdict:
    """What surely happened to one attempt, and the facts that an error will carry."""

    happened: AttemptResult
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


def read_reply(
    codec: Codec,
    operation: Operation[Request, Answer],
    reply: HttpReply,
    own_refusals: frozenset[str] = frozenset(),
) -> Verdict:
    """Turn a reply into the answer's record, or into what it means instead.

    ``own_refusals`` are the caller's own codes after which surely no money moves.
    """
    success_field = operation.success_field
    envelope, cause = (
        (None, reply.fault) if reply.fault else _envelope(codec, reply.body, success_field)
    )
    if envelope is None:
        return _no_envelope(reply, cause)
    session_id = _id_of(envelope.session)
    if not envelope.is_good(success_field):
        # A refused cancel pays nothing: whether the session is open is for its status to say.
        moves_money = operation.repeat is Repeat.MOVES_MONEY and not operation.only_ends
        details = (
            codec.structure(envelope.error, ErrorDetails)
            if _is_object(envelope.error)
            else ErrorDetails()
        )
        return _refusal(reply, details, session_id, own_refusals, moves_money=moves_money)
    try:
        answer = codec.structure(_content(envelope, operation), operation.answer)
    except NotDecodable as error:
        return Verdict(
            AttemptResult.ARRIVED,  # It was accepted, and a repeat would be read no better.
            cause=f"the answer's {operation.answer_field or 'content'} can't be read: {error}",
            session_id=session_id,
            http_status=reply.status,
            content_type=_media_type(reply.content_type),
        )
    return Verdict(AttemptResult.ACCEPTED, answer, session_id=session_id, http_status=reply.status)


def _content(envelope: Envelope, operation: Operation[Request, Answer]) -> object:
    content = envelope.content(operation.answer_field)
    # For wallet/balance the provider's table says object, and its example shows a list.
    if operation.answers_list:
        return [content] if content and _is_object(content) else content or []
    if content == [] and operation.answer_field != "session":
        return {}  # As PHP writes an empty object.
    aside = envelope.extra.get(_CONFIRM_INFORMATION)
    if operation.answer_field == "session" and aside is not None and _is_object(content):
        return {_CONFIRM_INFORMATION: aside, **content}  # It may come beside the session.
    return content


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _envelope(codec: Codec, body: bytes, success_field: str | None) -> tuple[Envelope | None, str]:
    if not body or body.isspace():
        return None, "an empty answer"
    try:
        parsed = parse_incoming(body)
    except UnicodeDecodeError:
        return None, "the answer isn't UTF-8"
    except NameTwice:
        return None, "the answer is JSON with a name twice in one object"
    except ValueError:
        return None, "the answer isn't JSON, or was cut short"
    if _is_object(parsed):
        envelope = codec.structure(parsed, Envelope)
        if envelope.is_one or envelope.is_good(success_field):
            return envelope, ""
    return None, "the answer is JSON, but no envelope of this API"


def _no_envelope(reply: HttpReply, cause: str) -> Verdict:
    happened = AttemptResult.UNKNOWN
    if reply.status == _TOO_MANY:
        happened, cause = AttemptResult.REFUSED_FOR_NOW, f"too many requests for now ({cause})"
    elif reply.status in REDIRECTS:
        happened, cause = (
            AttemptResult.REFUSED,
            "a redirect, which is never followed: check the server",
        )
    elif reply.fault:
        pass  # An envelope that might show otherwise was lost on the way.
    elif reply.status in _CLIENT_FAULTS and reply.status != _REQUEST_TIMEOUT:
        happened = AttemptResult.REFUSED
    return Verdict(
        happened,
        cause=cause,
        http_status=reply.status,
        content_type=_media_type(reply.content_type),
        retry_after_seconds=reply.retry_after_seconds,
    )


def _refusal(
    reply: HttpReply,
    details: ErrorDetails,
    session_id: str | None,
    own_refusals: frozenset[str],
    *,
    moves_money: bool,
) -> Verdict:
    whole = _text(details.code)
    code = without_card_numbers(whole)
    code_class = CodeClass.PERMANENT if whole in own_refusals else class_of(whole or "")
    happened, cause = _meaning(code_class, reply.status), None
    if happened is AttemptResult.REFUSED and moves_money and code_class is CodeClass.UNRECOGNISED:
        happened, cause = AttemptResult.UNKNOWN, _UNKNOWN_CODE
    return Verdict(
        happened,
        cause=cause,
        code=code,
        description=without_card_numbers(_text(details.description)),
        code_class=code_class,
        session_id=session_id,
        http_status=reply.status,
        content_type=_media_type(reply.content_type),
        retry_after_seconds=reply.retry_after_seconds,
    )


def _meaning(code_class: CodeClass, status: int) -> AttemptResult:
    if code_class is CodeClass.DUPLICATE:
        return AttemptResult.ARRIVED
    if code_class is CodeClass.TRANSIENT:
        return AttemptResult.UNKNOWN
    if code_class is CodeClass.UNRECOGNISED:
        if status == _TOO_MANY:
            return AttemptResult.REFUSED_FOR_NOW
        if status == _CONFLICT:
            return AttemptResult.ARRIVED  # What a key in use gets elsewhere.
        if status >= SERVER_FAULT:
            return AttemptResult.UNKNOWN
    return AttemptResult.REFUSED


def _media_type(header: str) -> str | None:
    """Return the type alone, without parameters; None if the header isn't one."""
    found = _MEDIA_TYPE.match(header)
    return None if found is None else found[0].lower()


def _text(value: object) -> str | None:
    """Return text and numbers, up to a length; an object might repeat what was sent."""
    return str(value)[:_LONGEST_TEXT] if isinstance(value, str | int) else None


def _id_of(session: object) -> str | None:
    if isinstance(session, dict):
        identifier = cast("dict[str, Any]", session).get("id")
        return identifier if isinstance(identifier, str) else None
    return None
