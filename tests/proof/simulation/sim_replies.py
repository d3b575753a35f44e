"""Faults of answers: another session's, another call's, or hard to read."""

import enum
import json
from typing import Any, Final

from attrs import evolve, frozen

from smartglocal_async.emulator.server.dispatch import IncomingRequest
from smartglocal_async.emulator.server.faulty_responses import HttpResponse

CREATE: Final = "session/create"
START: Final = "session/start/payout"
INIT: Final = "session/init/payout"
UNKNOWN_CODES: Final = ("limit_of_the_day", "processing_failed")
"""Codes that are in no list."""
_BOM: Final = b"\xef\xbb\xbf"
_HTTP_STATUSES: Final = (200, 400, 422)


class ReplyFault(enum.Enum):
    """What is wrong with an answer."""

    SWAPPED = "shows another session"
    SURPLUS = "comes twice, so that the next call reads it, too"
    BARE_ERROR = "is an error without a status"
    UNKNOWN_CODE = "is an error of an unknown code"
    BOM = "begins with a byte order mark"
    WRONG_AMOUNT_SHOWN = "shows another amount"
    WRONG_AMOUNT_MOVED = "moves another amount"


REPLY_FAULTS: Final = (
    ReplyFault.SWAPPED,
    ReplyFault.SURPLUS,
    ReplyFault.BARE_ERROR,
    ReplyFault.UNKNOWN_CODE,
    ReplyFault.BOM,
)
AMOUNT_FAULTS: Final = (ReplyFault.WRONG_AMOUNT_SHOWN, ReplyFault.WRONG_AMOUNT_MOVED)
ERRORS: Final = (ReplyFault.BARE_ERROR, ReplyFault.UNKNOWN_CODE)


@frozen(kw_only=True)
class Message:
    """A request on its way."""

    operation: str
    call: IncomingRequest
    wire: dict[str, Any]
    """Its JSON body."""
    worker: int
    """The number of the worker that sent it."""

    @property
    def session_id(self) -> str | None:
        """The id of the session in the request."""
        return self.wire.get("session_id")

    @property
    def payout(self) -> tuple[str, str] | None:
        """Journal and key of the payout; the names in the metadata are spelled out on purpose."""
        marks = self.wire.get("metadata")
        if not isinstance(marks, dict):
            return None
        key = marks["payout_key"] if self.operation == CREATE else marks["idempotency_key"]
        return marks["payout_journal"], key


def error_reply(reply_fault: ReplyFault, number: int) -> HttpResponse:
    """Return an error that the provider's documentation doesn't describe."""
    code = UNKNOWN_CODES[number % len(UNKNOWN_CODES)]
    body: dict[str, object] = {"error": {"code": code, "description": "no words"}}
    if reply_fault is ReplyFault.BARE_ERROR:
        body = {"error": {"code": "internal_error", "description": "no words"}}
    else:
        body = {"status": "error", **body}
    status = _HTTP_STATUSES[number % len(_HTTP_STATUSES)]
    return HttpResponse(status=status, body=json.dumps(body).encode())


def with_bom(reply: HttpResponse) -> HttpResponse:
    """Return the same answer after a byte order mark."""
    return evolve(reply, body=_BOM + reply.body)


def with_session(view: dict[str, object]) -> HttpResponse:
    """Return an answer that shows a session."""
    return HttpResponse(status=200, body=json.dumps({"status": "ok", "session": view}).encode())


def with_wrong_amount(body: bytes, number: int) -> bytes:
    """Return a body in which each amount is multiplied by ten or in another currency."""
    wire = _parsed(body)
    for money in _amounts(wire):
        if number % 2:
            money["amount"] *= 10
        else:
            money["currency"] = "eur"
    return body if wire is None else json.dumps(wire).encode()


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _amounts(wire: Any) -> list[dict[str, Any]]:
    if isinstance(wire, list):
        return [money for item in wire for money in _amounts(item)]
    if not isinstance(wire, dict):
        return []
    own = wire.get("amount_details")
    found = [own] if isinstance(own, dict) else []
    return found + [money for item in wire.values() for money in _amounts(item)]
