"""Faults: their kinds, the script that decides which requests they apply to, and its TOML form."""

import enum
import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, Self, cast

from attrs import Factory, define, evolve, field, frozen

from ..errors import InvalidRequest
from .bank.messages import ABOUT_SESSIONS, CREATE, OPERATIONS
from .bank.validation import is_array, is_object
from .bank.wrong_answers import Foreign
from .toml_tables import check_keys, parse_toml, value_of, values_of

_MAX_SECONDS: Final = 86_400.0


class FaultKind(enum.StrEnum):
    """What goes wrong, and whether the call was carried out."""

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
    """Processed; the HTTP response is complete, and its JSON is cut off."""
    GARBAGE = "garbage"
    """Processed; HTML under HTTP 200."""
    BAD_UTF8 = "bad_utf8"
    """Processed; JSON with bytes that are not UTF-8."""
    EMPTY = "empty"
    """Processed; no body under HTTP 200."""
    WRONG_TYPE = "wrong_type"
    """Processed; the right JSON with the content type ``text/html``."""
    HUGE = "huge"
    """Processed; the right JSON, followed by spaces up to 10 MB."""
    ERROR_200 = "error_200"
    """Not processed: the error ``internal_error`` under HTTP 200."""
    THROTTLE = "throttle"
    """HTTP 429 with ``Retry-After``; processed if ``processed``, as if it answered another call."""
    SERVER_ERROR = "server_error"
    """HTTP ``status`` with HTML, as from a proxy; processed if ``processed``."""
    REDIRECT = "redirect"
    """Not processed: HTTP 307 to the same address."""
    CLOSES = "closes"
    """Processed and answered; then the kept-alive connection is closed at once."""
    LATE = "late"
    """The connection is closed without an answer, and the call processed ``seconds`` later."""
    SWAPPED = "swapped"
    """Processed; the answer is about another session, which ``shows`` chooses."""
    SURPLUS = "surplus"
    """Processed and answered; ``seconds`` later the same response follows once more.

    A client that reads it as the answer to its next request reads each answer one request late
    from then on.
    """
    TWICE = "twice"
    """Processed twice, the second time ``seconds`` later; ``answer`` chooses which one answers."""
    STALE = "stale"
    """``session/status`` shows the session as it was ``seconds`` ago, or as it was created."""
    AMOUNT = "amount"
    """Processed; the answer shows ``factor`` times each amount, or another ``currency``.

    With ``moved`` that is also what is paid from then on.
    """
    BARE_ERROR = "bare_error"
    """An error without the envelope's ``status``: ``{"error": {...}}``; processed if ``processed``.
    """
    UNKNOWN_CODE = "unknown_code"
    """An error envelope with a code that is in no list; processed if ``processed``."""
    BOM = "bom"
    """Processed; the right JSON behind a UTF-8 byte order mark."""
    SURROGATE = "surrogate"
    """Processed; texts in the answer hold half a surrogate pair, a NUL and a terminal escape."""


class TwiceAnswer(enum.StrEnum):
    """Which of two answers to a call that was processed twice is sent."""

    FIRST = "first"
    SECOND = "second"


_STATUS: Final = "session/status"
_NOT_PROCESSED: Final = frozenset(
    {
        FaultKind.BEFORE,
        FaultKind.RESET,
        FaultKind.ERROR_200,
        FaultKind.REDIRECT,
        FaultKind.LATE,
    }
)


_NOT_ANSWERED: Final = frozenset(
    {FaultKind.BEFORE, FaultKind.AFTER, FaultKind.RESET, FaultKind.HANG, FaultKind.LATE}
)


# Kinds that are for some calls only: the answers of the others have nothing to change.
_ONLY_FOR: Final[Mapping[FaultKind, frozenset[str]]] = {
    FaultKind.STALE: frozenset({_STATUS}),
    FaultKind.SWAPPED: ABOUT_SESSIONS,
}
_MAY_PROCESS: Final = frozenset(
    {FaultKind.THROTTLE, FaultKind.SERVER_ERROR, FaultKind.BARE_ERROR, FaultKind.UNKNOWN_CODE}
)
_SECONDS: Final[Mapping[FaultKind, float]] = {
    FaultKind.STALE: 60.0,
    FaultKind.SURPLUS: 0.0,
    FaultKind.TWICE: 0.0,
}
_STATUSES: Final[Mapping[FaultKind, range]] = {
    FaultKind.SERVER_ERROR: range(500, 600),
    FaultKind.BARE_ERROR: range(200, 600),
    FaultKind.UNKNOWN_CODE: range(200, 600),
}
_CODES: Final[Mapping[FaultKind, str]] = {
    FaultKind.ERROR_200: "internal_error",
    FaultKind.BARE_ERROR: "internal_error",
    FaultKind.UNKNOWN_CODE: "emulated_unknown_code",
}
# Fields that only some kinds use; with any other kind they are an error.
_KINDS_OF_A_FIELD: Final[Mapping[str, frozenset[FaultKind]]] = {
    "answer": frozenset({FaultKind.TWICE}),
    "shows": frozenset({FaultKind.SWAPPED}),
    "factor": frozenset({FaultKind.AMOUNT}),
    "currency": frozenset({FaultKind.AMOUNT}),
    "moved": frozenset({FaultKind.AMOUNT}),
    "code": frozenset(_CODES),
    "status": frozenset(_STATUSES),
}
_UNSET: Final[Mapping[str, object]] = {
    "answer": TwiceAnswer.FIRST,
    "shows": Foreign.OTHER,
    "factor": 10,
    "currency": None,
    "moved": False,
    "code": None,
    "status": 400,
}
_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_CURRENCY: Final = re.compile(r"[A-Za-z]{3}")


@frozen
class Fault:
    """One fault and the attempts that it applies to: some by their number, or a share of all.

    Without ``nth`` and ``rate`` it applies to every attempt that the other fields select. Attempts
    are counted by call and key, from 1. A request without a key, and about no session with a key,
    has its number on the server.

    Raises:
        InvalidRequest: a value is out of its range, or has no meaning for the kind; names the
            field.

    """

    kind: FaultKind
    nth: tuple[int, ...] = field(default=(), kw_only=True)
    """Attempts that it always applies to."""
    rate: float = field(
        default=Factory(lambda fault: 0.0 if fault.nth else 1.0, takes_self=True), kw_only=True
    )
    """Share of the attempts that it applies to, 0 to 1. Default: 1 without ``nth``, else 0."""
    key: str | None = field(default=None, kw_only=True)
    """The only key that it applies to; None: all, and the requests without one."""
    operation: str | None = field(default=None, kw_only=True)
    """The only call that it applies to, such as ``session/confirm``; None: all."""
    times: int | None = field(default=None, kw_only=True)
    """How often it applies to one call of one key, at most."""
    seconds: float = field(
        default=Factory(lambda fault: _SECONDS.get(fault.kind, 0.05), takes_self=True),
        kw_only=True,
    )
    """Pause of ``slow`` and ``late``, and before the second response of ``surplus`` and the
    second processing of ``twice``; age of what ``stale`` shows; ``Retry-After`` of ``throttle``,
    in whole seconds. Default: 60 for ``stale``, 0 for ``surplus`` and ``twice``, else 0.05."""
    status: int = field(
        default=Factory(
            lambda fault: 503 if fault.kind is FaultKind.SERVER_ERROR else 400, takes_self=True
        ),
        kw_only=True,
    )
    """HTTP status of ``server_error`` (default 503), ``bare_error`` and ``unknown_code`` (400)."""
    code: str | None = field(
        default=Factory(lambda fault: _CODES.get(fault.kind), takes_self=True), kw_only=True
    )
    """Error code of ``error_200``, ``bare_error`` and ``unknown_code``."""
    processed: bool = field(default=False, kw_only=True)
    """Whether ``throttle``, ``server_error``, ``bare_error`` and ``unknown_code`` are processed."""
    twice: bool = field(default=False, kw_only=True)
    """Whether the call is carried out twice, if at all; with ``late``, late both times."""
    answer: TwiceAnswer = field(default=TwiceAnswer.FIRST, kw_only=True)
    """Which answer ``twice`` sends."""
    shows: Foreign = field(default=Foreign.OTHER, kw_only=True)
    """Which session the answer of ``swapped`` is about."""
    factor: int = field(default=10, kw_only=True)
    """What ``amount`` multiplies amounts by."""
    currency: str | None = field(default=None, kw_only=True)
    """What ``amount`` shows as the currency; None: the right one."""
    moved: bool = field(default=False, kw_only=True)
    """Whether ``amount`` changes what is paid, too: the amounts in the request of a call that
    creates, starts or inits, and of the items that wait for ``session/confirm``."""
    as_date: bool = field(default=False, kw_only=True)
    """Whether the ``Retry-After`` of ``throttle`` is a date instead of seconds."""

    def __attrs_post_init__(self) -> None:
        for name, problem in (*self._aim_problems(), *self._option_problems()):
            raise InvalidRequest(name, problem)

    def _aim_problems(self) -> Iterator[tuple[str, str]]:
        if not 0 <= self.rate <= 1:  # NaN too
            yield "rate", "must be from 0 to 1"
        if any(number < 1 for number in self.nth):
            yield "nth", "attempts are counted from 1"
        if self.times is not None and self.times < 1:
            yield "times", "must be 1 or more"
        if self.operation is None:
            return
        if self.operation not in OPERATIONS:
            yield "operation", f"must be one of {', '.join(OPERATIONS)}"
        elif not self.concerns(self.operation):
            calls = ", ".join(sorted(_ONLY_FOR[self.kind]))
            yield "operation", f"{self.kind} is for these calls only: {calls}"

    def _option_problems(self) -> Iterator[tuple[str, str]]:  # noqa: C901  # a check per field
        for name, kinds in _KINDS_OF_A_FIELD.items():
            if self.kind not in kinds and getattr(self, name) != _UNSET[name]:
                yield name, f"is for {', '.join(sorted(kinds))} only"
        statuses = _STATUSES.get(self.kind)
        if statuses is not None and self.status not in statuses:
            yield "status", f"must be from {statuses.start} to {statuses.stop - 1}"
        if not 0 <= self.seconds <= _MAX_SECONDS:
            yield "seconds", f"must be from 0 to {_MAX_SECONDS:.0f}"
        if self.answer is TwiceAnswer.SECOND and self.seconds:
            yield "seconds", "must be 0 where the second answer is sent"
        if self.code is not None and _CODE.fullmatch(self.code) is None:
            yield "code", "must be 1 to 100 letters, digits, '_', '.' and '-'"
        if self.twice and not (self.processes or self.kind is FaultKind.LATE):
            yield "twice", f"{self.kind} doesn't carry the order out at all"
        if self.factor < 1:
            yield "factor", "must be 1 or more"
        if self.currency is not None and _CURRENCY.fullmatch(self.currency) is None:
            yield "currency", "must be a code of three letters, such as usd"
        if self.factor == 1 and self.currency is None:
            yield "factor", "1 changes nothing without another currency"

    def concerns(self, operation: str) -> bool:
        """Whether the fault can apply to a call; ``stale`` and ``swapped`` are for some only."""
        return operation in _ONLY_FOR.get(self.kind, OPERATIONS)

    @property
    def processes(self) -> bool:
        """Whether the call is carried out at once."""
        if self.kind in _MAY_PROCESS:
            return self.processed
        return self.kind not in _NOT_PROCESSED

    @property
    def executions(self) -> int:
        """How often the call is carried out, at once or later: 0, 1 or 2."""
        if not self.processes and self.kind is not FaultKind.LATE:
            return 0
        return 2 if self.twice or self.kind is FaultKind.TWICE else 1

    @property
    def is_answered(self) -> bool:
        """Whether the client receives an HTTP status."""
        return self.kind not in _NOT_ANSWERED

    @property
    def whole_seconds(self) -> int:
        """``seconds`` rounded up, as ``Retry-After`` has no fractions."""
        return math.ceil(self.seconds)


_BITS: Final = 53  # as many as a float holds, so that a roll stays below 1
_DROPS: Final = (
    Fault(FaultKind.BEFORE),
    Fault(FaultKind.AFTER),
    Fault(FaultKind.RESET),
    Fault(FaultKind.CUT),
    Fault(FaultKind.THROTTLE, seconds=0),
    Fault(FaultKind.SERVER_ERROR),
    Fault(FaultKind.CLOSES),
)
_UNLIMITED: Final = float("inf")
_NONE_YET: Final[Mapping[int, int]] = MappingProxyType({})


@frozen
class FaultScript:
    """The faults of a run. If several could apply to an attempt, the first one does.

    Raises:
        InvalidRequest: one of the faults isn't a `Fault`; names its place, counted from 0.

    """

    faults: tuple[Fault, ...] = field(default=(), converter=tuple[Fault, ...])
    seed: int = 0

    def __attrs_post_init__(self) -> None:
        for place, fault in enumerate(cast("tuple[object, ...]", self.faults)):
            if not isinstance(fault, Fault):
                raise InvalidRequest(f"faults[{place}]", "isn't a Fault")

    @classmethod
    def drops(cls, rate: float, seed: int = 0) -> Self:
        """Return a mix of seven common faults that together apply to ``rate`` of all attempts.

        They are before, after, reset, cut, throttle (``Retry-After: 0``), server_error (503,
        not processed) and closes, in equal shares. With a rate of 0 there is no fault.

        Raises:
            InvalidRequest: the rate isn't from 0 to 1.

        """
        if not 0 <= rate <= 1:
            raise InvalidRequest("rate", "must be from 0 to 1")
        if rate == 0:
            return cls(seed=seed)
        share = rate / len(_DROPS)
        # A fault is only tried if none before it applied, so its own rate must be higher.
        rates = (min(1.0, share / (1 - share * place)) for place in range(len(_DROPS)))
        faults = (evolve(fault, rate=own) for fault, own in zip(_DROPS, rates, strict=True))
        return cls(tuple(faults), seed)

    @classmethod
    def each(cls, rates: Mapping[FaultKind, float], seed: int = 0) -> Self:
        """Return a script in which each kind of ``rates`` has its own rate, in the kinds' order.

        A kind is only tried if none before it applied: with all of them at 0.1 the first applies to
        10 % of the attempts and the last to about 7 %.

        Raises:
            InvalidRequest: a rate isn't from 0 to 1.

        """
        kinds = (kind for kind in FaultKind if kind in rates)
        return cls(tuple(Fault(kind, rate=rates[kind]) for kind in kinds), seed)

    @property
    def needs_history(self) -> bool:
        """Whether the earlier views of sessions have to be kept, for ``stale``."""
        return any(fault.kind is FaultKind.STALE for fault in self.faults)

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read ``seed = 7`` and any number of ``[[fault]]`` tables with the fields of `Fault`.

        Raises:
            InvalidRequest: it isn't TOML, or an entry is wrong; names it, counted from 0,
                as in ``fault[2].rate``.

        """
        table = parse_toml(text, "script")
        check_keys(table, ("seed", "fault"))
        seed = value_of(int, "seed", table["seed"]) if "seed" in table else 0
        return cls.from_entries(table.get("fault", []), seed)

    @classmethod
    def from_entries(cls, entries: object, seed: int = 0) -> Self:
        """Return the script of a list of tables with the fields of `Fault`.

        Raises:
            InvalidRequest: it is no such list, or an entry is wrong; names it as `from_toml`.

        """
        if not is_array(entries):
            raise InvalidRequest("fault", "must be tables: write [[fault]] above each")
        return cls(tuple(_entry(place, entry) for place, entry in enumerate(entries)), seed)

    def choose(
        self,
        key: str | None,
        attempt: int,
        applied: Mapping[int, int] = _NONE_YET,
        operation: str = CREATE,
    ) -> int | None:
        """Return the index of the fault for this attempt; ``applied`` counts earlier ones."""
        for place, fault in enumerate(self.faults):
            spent = applied.get(place, 0) >= (fault.times or _UNLIMITED)
            if spent or fault.key not in {None, key} or fault.operation not in {None, operation}:
                continue
            if not fault.concerns(operation):
                continue
            if attempt in fault.nth or self._roll(place, key, attempt, operation) < fault.rate:
                return place
        return None

    def number(self, key: str | None, attempt: int, operation: str) -> int:
        """Return a number that depends only on its arguments and the seed."""
        text = f"{self.seed}:{operation}:{attempt}:{key}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())

    def _roll(self, place: int, key: str | None, attempt: int, operation: str) -> float:
        target = "" if key is None else f"={key}"
        if operation != CREATE:  # Without it, so that old seeds give the same faults.
            target = f"{target}@{operation}"
        text = f"{self.seed}:{place}:{attempt}:{target}".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(text, digest_size=8).digest()
        return (int.from_bytes(digest) >> (64 - _BITS)) / (1 << _BITS)


@define(eq=False)
class FaultPicker:
    """A script in use: counts how often each fault applied to each call of each key."""

    script: FaultScript
    _applied: dict[tuple[str | None, str], Counter[int]] = field(
        factory=dict[tuple[str | None, str], Counter[int]], init=False
    )

    def pick(self, key: str | None, attempt: int, operation: str = CREATE) -> Fault | None:
        """Return the fault for this attempt, and count it; None if none applies."""
        applied = self._applied.get((key, operation), _NONE_YET)
        place = self.script.choose(key, attempt, applied, operation)
        if place is None:
            return None
        self._applied.setdefault((key, operation), Counter())[place] += 1
        return self.script.faults[place]


def _entry(place: int, entry: object) -> Fault:
    try:
        return _fault(entry)
    except InvalidRequest as error:
        raise error.under(f"fault[{place}]") from None


def _fault(entry: object) -> Fault:
    if not is_object(entry):
        raise InvalidRequest("kind", "must be a table: write [[fault]] above it")
    # Without a kind, the message names the kinds.
    return Fault(**values_of(Fault, {"kind": None, **entry}))
