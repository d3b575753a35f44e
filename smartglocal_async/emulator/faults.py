"""The kinds of misfortune and the record that orders one; no I/O."""

import enum
import math
from typing import Final

from attrs import field, frozen

from ..errors import InvalidRequest
from .routes import OPERATIONS

_LONGEST_SECONDS: Final = 86_400.0
_SERVER_ERRORS: Final = range(500, 600)


class FaultKind(enum.StrEnum):
    """What goes wrong, and whether the order was carried out nevertheless."""

    BEFORE = "before"
    """Not processed: the request is read, then the connection closed."""
    AFTER = "after"
    """Processed; the connection is closed without an answer."""
    RESET = "reset"
    """Not processed: the connection is reset (RST)."""
    SLOW = "slow"
    """Processed; the answer comes after ``seconds``."""
    HANG = "hang"
    """Processed; no answer until the client goes away, at most for a minute."""
    CUT = "cut"
    """Processed; the body is shorter than its Content-Length."""
    CHUNK_CUT = "chunk_cut"
    """Processed; a chunked body without its end."""
    TRUNCATED = "truncated"
    """Processed; HTTP is whole, the JSON in it is not."""
    GARBAGE = "garbage"
    """Processed; HTML under HTTP 200."""
    BAD_UTF8 = "bad_utf8"
    """Processed; JSON with bytes that are not UTF-8."""
    EMPTY = "empty"
    """Processed; no body under HTTP 200."""
    WRONG_TYPE = "wrong_type"
    """Processed; the right JSON called ``text/html``."""
    HUGE = "huge"
    """Processed; the right JSON, followed by spaces up to 10 MB."""
    ERROR_200 = "error_200"
    """Not processed: the error ``internal_error`` under HTTP 200."""
    THROTTLE = "throttle"
    """Not processed: HTTP 429 with ``Retry-After``."""
    SERVER_ERROR = "server_error"
    """HTTP ``status`` with HTML, as from a proxy; processed if ``processed``."""
    REDIRECT = "redirect"
    """Not processed: HTTP 307 to the same address."""
    STALE = "stale"
    """Processed and answered; then the kept-alive connection is closed at once."""
    LATE = "late"
    """The connection is closed without an answer, and the order processed ``seconds`` later."""


_NOT_PROCESSED: Final = frozenset(
    {
        FaultKind.BEFORE,
        FaultKind.RESET,
        FaultKind.ERROR_200,
        FaultKind.THROTTLE,
        FaultKind.REDIRECT,
        FaultKind.LATE,
    }
)


_NOT_ANSWERED: Final = frozenset(
    {FaultKind.BEFORE, FaultKind.AFTER, FaultKind.RESET, FaultKind.HANG, FaultKind.LATE}
)


@frozen
class Fault:
    """One misfortune and whom it meets: some attempts by number, or a share of all.

    Attempts are counted by call and key, from 1; a request that has no key and names no
    session that has one goes by its number on the server.

    Raises:
        InvalidRequest: a number is out of its range; names the field.

    """

    kind: FaultKind
    rate: float = field(default=0.0, kw_only=True)
    """Share of the attempts that it meets, 0 to 1."""
    nth: tuple[int, ...] = field(default=(), kw_only=True)
    """Attempts that it meets in any case."""
    key: str | None = field(default=None, kw_only=True)
    """The only key that it meets; None: all, and the requests without one."""
    operation: str | None = field(default=None, kw_only=True)
    """The only call that it meets, such as ``session/confirm``; None: all."""
    times: int | None = field(default=None, kw_only=True)
    """How often it meets one call of one key at most."""
    seconds: float = field(default=0.05, kw_only=True)
    """Pause of ``slow`` and ``late``; ``Retry-After`` of ``throttle``, in whole seconds."""
    status: int = field(default=503, kw_only=True)
    """HTTP status of ``server_error``."""
    processed: bool = field(default=False, kw_only=True)
    """Whether ``server_error`` carries the order out."""
    as_date: bool = field(default=False, kw_only=True)
    """Whether ``throttle`` gives ``Retry-After`` as a date instead of seconds."""

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.rate <= 1:  # NaN too
            raise InvalidRequest("rate", "must be from 0 to 1")
        if any(number < 1 for number in self.nth):
            raise InvalidRequest("nth", "attempts are counted from 1")
        if self.times is not None and self.times < 1:
            raise InvalidRequest("times", "must be 1 or more")
        if self.operation is not None and self.operation not in OPERATIONS:
            raise InvalidRequest("operation", f"must be one of {', '.join(OPERATIONS)}")
        if not 0 <= self.seconds <= _LONGEST_SECONDS:
            raise InvalidRequest("seconds", f"must be from 0 to {_LONGEST_SECONDS:.0f}")
        if self.status not in _SERVER_ERRORS:
            raise InvalidRequest("status", "must be from 500 to 599")

    @property
    def processes(self) -> bool:
        """Whether the order is carried out at once."""
        if self.kind is FaultKind.SERVER_ERROR:
            return self.processed
        return self.kind not in _NOT_PROCESSED

    @property
    def answers(self) -> bool:
        """Whether the client gets an HTTP status."""
        return self.kind not in _NOT_ANSWERED

    @property
    def whole_seconds(self) -> int:
        """``seconds`` rounded up, as ``Retry-After`` has no fractions."""
        return math.ceil(self.seconds)
