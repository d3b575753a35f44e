"""The answer as bytes, whole or spoiled by a fault; no I/O."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import MappingProxyType
from typing import Final

from attrs import evolve, frozen

from .asks import Answer, refusal
from .faults import Fault, FaultKind

_HUGE_BYTES: Final = 10_000_000
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


@frozen(kw_only=True)
class Reply:
    """What to put on the wire."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = _NO_HEADERS


@frozen(kw_only=True)
class Scene:
    """What a spoiler may need besides the reply."""

    fault: Fault
    path: str
    now: datetime


def envelope(answer: Answer, status: int) -> Reply:
    """Write an answer as JSON, members in the order of the provider's samples."""
    return Reply(status=status, body=json.dumps(answer.body).encode("ascii"))


def spoil(reply: Reply, scene: Scene) -> Reply:
    """Give what the client reads instead of ``reply``, if the fault lies in what it reads."""
    spoiler = _SPOILERS.get(scene.fault.kind)
    return reply if spoiler is None else spoiler(reply, scene)


def _truncated(reply: Reply, _: Scene) -> Reply:
    return evolve(reply, body=reply.body[: len(reply.body) // 2])


def _garbage(_: Reply, __: Scene) -> Reply:
    return _html(200, "It works")


def _bad_utf8(reply: Reply, _: Scene) -> Reply:
    return evolve(reply, body=reply.body[:-1] + b', "note": "\xff\xfe"}')


def _empty(reply: Reply, _: Scene) -> Reply:
    return evolve(reply, status=200, body=b"")


def _wrong_type(reply: Reply, _: Scene) -> Reply:
    return evolve(reply, content_type="text/html")


def _huge(reply: Reply, _: Scene) -> Reply:
    return evolve(reply, body=reply.body.ljust(_HUGE_BYTES))


def _error_200(_: Reply, __: Scene) -> Reply:
    return envelope(refusal("internal_error", "internal error"), 200)


def _throttle(_: Reply, scene: Scene) -> Reply:
    seconds = scene.fault.whole_seconds
    after = _http_date(scene.now, seconds) if scene.fault.as_date else str(seconds)
    return evolve(_html(429, "Too Many Requests"), headers={"Retry-After": after})


def _server_error(_: Reply, scene: Scene) -> Reply:
    return _html(scene.fault.status, "Server Error")


def _redirect(_: Reply, scene: Scene) -> Reply:
    return evolve(_html(307, "Temporary Redirect"), headers={"Location": scene.path})


def _html(status: int, title: str) -> Reply:
    page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return Reply(status=status, body=page.encode("ascii"), content_type="text/html")


def _http_date(now: datetime, seconds: int) -> str:
    # Such a date has no fractions: rounded up, or it would ask for less patience than meant.
    spare = timedelta(microseconds=-now.microsecond % 1_000_000)
    return format_datetime(now.astimezone(UTC) + spare + timedelta(seconds=seconds), usegmt=True)


_SPOILERS: Final[Mapping[FaultKind, Callable[[Reply, Scene], Reply]]] = MappingProxyType(
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
    }
)
