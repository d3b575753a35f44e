"""Responses as bytes, and the faults that change what the client reads."""

import codecs
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import MappingProxyType
from typing import Final

from attrs import evolve, frozen

from ..bank.messages import SET_AMOUNTS, Answer, refusal
from ..bank.validation import JsonObject, is_object
from ..bank.wrong_answers import altered, with_odd_text
from ..faults import Fault, FaultKind

_HUGE_BYTES: Final = 10_000_000
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


@frozen(kw_only=True)
class HttpResponse:
    """The status line, headers and body to send."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = _NO_HEADERS


@frozen(kw_only=True)
class FaultContext:
    """The fault, and the request that it applies to."""

    fault: Fault
    path: str
    operation: str
    now: datetime


def envelope(answer: Answer, status: int) -> HttpResponse:
    """Return an answer as JSON, members in the order of the provider's samples."""
    return HttpResponse(status=status, body=_to_json(answer.body))


def _to_json(body: JsonObject) -> bytes:
    return json.dumps(body).encode("ascii")


def apply_fault(response: HttpResponse, context: FaultContext) -> HttpResponse:
    """Return ``response`` as the fault changes it; the same one if the fault is of another sort."""
    change = _CHANGES.get(context.fault.kind)
    return response if change is None else change(response, context)


def _truncated(response: HttpResponse, _: FaultContext) -> HttpResponse:
    return evolve(response, body=response.body[: len(response.body) // 2])


def _garbage(_: HttpResponse, __: FaultContext) -> HttpResponse:
    return _html(200, "It works")


def _bad_utf8(response: HttpResponse, _: FaultContext) -> HttpResponse:
    return evolve(response, body=response.body[:-1] + b', "note": "\xff\xfe"}')


def _empty(response: HttpResponse, _: FaultContext) -> HttpResponse:
    return evolve(response, status=200, body=b"")


def _wrong_type(response: HttpResponse, _: FaultContext) -> HttpResponse:
    return evolve(response, content_type="text/html")


def _huge(response: HttpResponse, _: FaultContext) -> HttpResponse:
    return evolve(response, body=response.body.ljust(_HUGE_BYTES))


def _error_200(_: HttpResponse, context: FaultContext) -> HttpResponse:
    return envelope(_refused(context.fault), 200)


def _bare_error(_: HttpResponse, context: FaultContext) -> HttpResponse:
    answer = _refused(context.fault)
    return envelope(evolve(answer, body={"error": answer.body["error"]}), context.fault.status)


def _unknown_code(_: HttpResponse, context: FaultContext) -> HttpResponse:
    return envelope(_refused(context.fault), context.fault.status)


def _refused(fault: Fault) -> Answer:
    code = fault.code or ""
    return refusal(code, code.replace("_", " "))


def _amount(response: HttpResponse, context: FaultContext) -> HttpResponse:
    fault = context.fault
    if fault.moved and context.operation in SET_AMOUNTS:
        return response  # The call was carried out with the other amount already.
    return _rewritten(response, lambda body: altered(body, fault.factor, fault.currency))


def _bom(response: HttpResponse, _: FaultContext) -> HttpResponse:
    return evolve(response, body=codecs.BOM_UTF8 + response.body)


def _surrogate(response: HttpResponse, _: FaultContext) -> HttpResponse:
    return _rewritten(response, with_odd_text)


def _rewritten(response: HttpResponse, change: Callable[[JsonObject], JsonObject]) -> HttpResponse:
    body: object = json.loads(response.body)
    return evolve(response, body=_to_json(change(body))) if is_object(body) else response


def _throttle(_: HttpResponse, context: FaultContext) -> HttpResponse:
    seconds = context.fault.whole_seconds
    after = _http_date(context.now, seconds) if context.fault.as_date else str(seconds)
    return evolve(_html(429, "Too Many Requests"), headers={"Retry-After": after})


def _server_error(_: HttpResponse, context: FaultContext) -> HttpResponse:
    return _html(context.fault.status, "Server Error")


def _redirect(_: HttpResponse, context: FaultContext) -> HttpResponse:
    return evolve(_html(307, "Temporary Redirect"), headers={"Location": context.path})


def _html(status: int, title: str) -> HttpResponse:
    page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return HttpResponse(status=status, body=page.encode("ascii"), content_type="text/html")


def _http_date(now: datetime, seconds: int) -> str:
    # Such a date has no fractions: rounded up, so that it never asks for a shorter pause.
    spare = timedelta(microseconds=-now.microsecond % 1_000_000)
    return format_datetime(now.astimezone(UTC) + spare + timedelta(seconds=seconds), usegmt=True)


_CHANGES: Final[Mapping[FaultKind, Callable[[HttpResponse, FaultContext], HttpResponse]]] = (
    MappingProxyType(
        {
            FaultKind.TRUNCATED: _truncated,
            FaultKind.GARBAGE: _garbage,
            FaultKind.BAD_UTF8: _bad_utf8,
            FaultKind.EMPTY: _empty,
            FaultKind.WRONG_TYPE: _wrong_type,
            FaultKind.HUGE: _huge,
            FaultKind.ERROR_200: _error_200,
            FaultKind.THROTTLE: _throttle,
            FaultKind.SERVER_ERROR: _server_error,
            FaultKind.REDIRECT: _redirect,
            FaultKind.AMOUNT: _amount,
            FaultKind.BARE_ERROR: _bare_error,
            FaultKind.UNKNOWN_CODE: _unknown_code,
            FaultKind.BOM: _bom,
            FaultKind.SURROGATE: _surrogate,
        }
    )
)
