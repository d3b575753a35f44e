"""A client and its webhooks for as long as an application runs, and errors as HTTP responses.

The framework's own module (`starlette`, `aiohttp_web`, `asgi`) connects both to an application.
"""

import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import MappingProxyType
from typing import Any, Final, Self

from attrs import define, field, frozen

from ..client import SmartGlocal
from ..errors import (
    CallFailed,
    InProgress,
    InvalidRequest,
    JournalMisconfigured,
    JournalUnusable,
    KeyReused,
    NotSent,
    OutcomeUnknown,
    PayoutsHalted,
    PoolClosed,
    Refused,
    SmartGlocalError,
    StillOpen,
    WebhookStoreUnusable,
    WrongJournalKey,
)
from ..models.validators import above_zero, without_personal_data
from ..observer.events import shown_code
from ..webhooks.receiver import Webhooks

_LOG: Final = logging.getLogger("smartglocal_async.service")
_THROTTLED: Final = 503
_MAX_RETRY_AFTER: Final = 24 * 3600.0
"""Seconds in the header Retry-After, at most."""


@define(eq=False)
class Service:
    """A client and its webhooks, open for as long as an application runs.

    At the beginning ``connections`` connections are opened, if the provider can be reached. At the
    end the webhooks' handlers finish first, then calls in flight do, for up to ``drain_seconds``;
    then the client is closed. The webhooks wake the client's waiting calls.
    """

    api: SmartGlocal
    webhooks: Webhooks | None = None
    connections: int = field(default=4, kw_only=True)
    drain_seconds: float = field(default=20.0, kw_only=True)
    _open: AsyncExitStack = field(factory=AsyncExitStack, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        above_zero("connections", self.connections, whole=True)
        above_zero("drain_seconds", self.drain_seconds)
        if self.webhooks is not None and self.webhooks.api is None:
            self.webhooks.api = self.api

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            _ = stack.push_async_callback(self._close)
            try:
                await self.api.warm_up(self.connections)
            except OSError:  # A TimeoutError is one, too.
                _LOG.warning("the provider can't be reached now; calls will try again")
            if self.webhooks is not None:
                _ = await stack.enter_async_context(self.webhooks)
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self._open.aclose()

    async def _close(self) -> None:
        try:
            _ = await self.api.drain(timeout_seconds=self.drain_seconds)
        finally:
            await self.api.close()


STATUSES: Final[Mapping[type[SmartGlocalError], int]] = MappingProxyType(
    {
        InvalidRequest: 400,
        KeyReused: 409,
        InProgress: 409,
        Refused: 502,
        NotSent: 503,
        PoolClosed: 503,
        PayoutsHalted: 503,
        JournalUnusable: 503,
        WebhookStoreUnusable: 503,
        OutcomeUnknown: 504,
        StillOpen: 504,
        SmartGlocalError: 500,
    }
)
"""The status of the answer to an error; that of the nearest base class counts. A `Refused` that is
throttled (HTTP 429) has 503."""

_DETAILS: Final[Mapping[int, str]] = MappingProxyType(
    {
        500: "the service is not set up correctly",
        502: "the provider refused the request",
        503: "try again in a moment, with the same key",
        504: "the outcome is not known yet; ask for the status, and use no other key",
    }
)


@frozen
class ErrorResponse:
    """What is answered after an error: a problem document (RFC 9457), without internals."""

    status: int
    content: Mapping[str, Any]
    headers: Mapping[str, str]


def error_response(
    error: SmartGlocalError, statuses: Mapping[type[SmartGlocalError], int] = STATUSES
) -> ErrorResponse:
    """Return the answer to an error; ``statuses`` are added to `STATUSES`, and replace its own.

    ``title`` is the name of the class and ``detail`` one sentence; only that of a refused request
    or a conflict names fields, and never their values. ``code`` is the provider's, if it is written
    as codes are. With `CallFailed.retry_after_seconds`, the header ``Retry-After`` is set.
    """
    table = {**STATUSES, **statuses}
    status = next(table[base] for base in type(error).__mro__ if base in table)
    if isinstance(error, Refused) and error.is_throttled and status == STATUSES[Refused]:
        status = _THROTTLED
    content: dict[str, Any] = {
        "title": type(error).__name__,
        "status": status,
        "detail": _detail(error) or _DETAILS.get(status, "the request failed"),
    }
    headers = {"Content-Type": "application/problem+json"}
    if isinstance(error, CallFailed):
        content |= {"code": shown_code(error.code)} if error.code is not None else {}
        if error.retry_after_seconds is not None:
            seconds = min(max(0.0, error.retry_after_seconds), _MAX_RETRY_AFTER)
            headers["Retry-After"] = str(round(seconds))
    return ErrorResponse(status, content, headers)


def _detail(error: SmartGlocalError) -> str | None:
    """Return what a caller may know of an error: names of fields, and no values."""
    match error:
        case InvalidRequest():
            return without_personal_data(str(error))
        case KeyReused():
            fields = ", ".join(error.differing_fields) or "it can't be compared"
            return f"the key was used with another request; these fields differ: {fields}"
        case InProgress():
            return "another request works on it; ask for the result in a moment"
        case PayoutsHalted() | JournalMisconfigured() | WrongJournalKey():
            return "an operator has to look at the payouts first; nothing was sent"
        case _:
            return None
