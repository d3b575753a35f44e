"""Decide which request meets which fault, from a seed alone; no I/O.

The dice are a hash of seed, fault, call, key and attempt, so a run strikes the same attempts
of the same calls and keys in whatever order they arrive.
"""

import hashlib
import tomllib
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Self

from attrs import define, evolve, field, frozen

from ..errors import InvalidRequest
from .checks import JsonObject, is_array, is_object
from .faults import Fault, FaultKind
from .routes import CREATE

_BITS: Final = 53  # as many as a float holds, so that a roll stays below 1
_DROPS: Final = (
    Fault(FaultKind.BEFORE),
    Fault(FaultKind.AFTER),
    Fault(FaultKind.RESET),
    Fault(FaultKind.CUT),
    Fault(FaultKind.THROTTLE, seconds=0),
    Fault(FaultKind.SERVER_ERROR),
    Fault(FaultKind.STALE),
)
_UNLIMITED: Final = float("inf")
_NEVER_STRUCK: Final[Mapping[int, int]] = MappingProxyType({})


@frozen
class FaultScript:
    """What goes wrong in a run. Of several faults that could strike, the first does."""

    faults: tuple[Fault, ...] = field(default=(), converter=tuple[Fault, ...])
    seed: int = 0

    @classmethod
    def drops(cls, rate: float, seed: int = 0) -> Self:
        """Give a mix of seven common faults that together meet ``rate`` of all attempts.

        They are before, after, reset, cut, throttle (``Retry-After: 0``), server_error (503,
        not processed) and stale, in equal shares.

        Raises:
            InvalidRequest: the rate isn't from 0 to 1.

        """
        if not 0 <= rate <= 1:
            raise InvalidRequest("rate", "must be from 0 to 1")
        share = rate / len(_DROPS)
        # A fault is only asked when those before it passed, so its own rate must be higher.
        rates = (min(1.0, share / (1 - share * place)) for place in range(len(_DROPS)))
        faults = (evolve(fault, rate=own) for fault, own in zip(_DROPS, rates, strict=True))
        return cls(tuple(faults), seed)

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Read ``seed = 7`` and any number of ``[[fault]]`` tables with the fields of `Fault`.

        Raises:
            InvalidRequest: it isn't TOML, or an entry is wrong; names it, counted from 0,
                as in ``fault[2].rate``.

        """
        try:
            table: JsonObject = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InvalidRequest("script", f"isn't TOML: {error}") from error
        _only(table, ("seed", "fault"))
        entries = table.get("fault", [])
        if not is_array(entries):
            raise InvalidRequest("fault", "must be tables: write [[fault]] above each")
        faults = tuple(_entry(place, entry) for place, entry in enumerate(entries))
        return cls(faults, _whole(table, "seed", 0))

    def choose(
        self,
        key: str | None,
        attempt: int,
        struck: Mapping[int, int] = _NEVER_STRUCK,
        operation: str = CREATE,
    ) -> int | None:
        """Give the place of the fault that meets this attempt; ``struck`` counts earlier ones."""
        for place, fault in enumerate(self.faults):
            spent = struck.get(place, 0) >= (fault.times or _UNLIMITED)
            if spent or fault.key not in {None, key} or fault.operation not in {None, operation}:
                continue
            if attempt in fault.nth or self._roll(place, key, attempt, operation) < fault.rate:
                return place
        return None

    def _roll(self, place: int, key: str | None, attempt: int, operation: str) -> float:
        whom = "" if key is None else f"={key}"
        if operation != CREATE:  # Whose dice are as they were when there was no other call.
            whom = f"{whom}@{operation}"
        text = f"{self.seed}:{place}:{attempt}:{whom}".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(text, digest_size=8).digest()
        return (int.from_bytes(digest) >> (64 - _BITS)) / (1 << _BITS)


@define(eq=False)
class Strikes:
    """A script in play: remembers how often each fault met each call of each key."""

    script: FaultScript
    _struck: dict[tuple[str | None, str], Counter[int]] = field(
        factory=dict[tuple[str | None, str], Counter[int]], init=False
    )

    def next(self, key: str | None, attempt: int, operation: str = CREATE) -> Fault | None:
        """Give the fault that meets this attempt and note that it did."""
        struck = self._struck.get((key, operation), _NEVER_STRUCK)
        place = self.script.choose(key, attempt, struck, operation)
        if place is None:
            return None
        self._struck.setdefault((key, operation), Counter())[place] += 1
        return self.script.faults[place]


def _entry(place: int, entry: object) -> Fault:
    try:
        return _fault(entry)
    except InvalidRequest as error:
        raise error.under(f"fault[{place}]") from None


def _fault(entry: object) -> Fault:
    if not is_object(entry):
        raise InvalidRequest("kind", "must be a table: write [[fault]] above it")
    _only(entry, _FIELDS)
    if not entry.keys() & {"rate", "nth"}:
        raise InvalidRequest("rate", "is missing; without rate or nth the fault never strikes")
    return Fault(
        _kind(entry),
        rate=_number(entry, "rate", 0.0),
        nth=_numbers(entry, "nth"),
        key=_text(entry, "key"),
        operation=_text(entry, "operation"),
        times=_whole(entry, "times", 1) if "times" in entry else None,
        seconds=_number(entry, "seconds", 0.05),
        status=_whole(entry, "status", 503),
        processed=_flag(entry, "processed"),
        as_date=_flag(entry, "as_date"),
    )


_FIELDS: Final = (
    *("kind", "rate", "nth", "key", "operation", "times"),
    *("seconds", "status", "processed", "as_date"),
)


def _only(table: JsonObject, names: tuple[str, ...]) -> None:
    for name in table:
        if name not in names:
            raise InvalidRequest(name, f"there is no such field; there are {', '.join(names)}")


def _kind(table: JsonObject) -> FaultKind:
    word = table.get("kind")
    for kind in FaultKind:
        if kind == word:
            return kind
    raise InvalidRequest("kind", f"must be one of {', '.join(FaultKind)}")


def _number(table: JsonObject, name: str, default: float) -> float:
    value = table.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(name, "must be a number")
    return value


def _whole(table: JsonObject, name: str, default: int) -> int:
    value = table.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(name, "must be a whole number")
    return value


def _numbers(table: JsonObject, name: str) -> tuple[int, ...]:
    value = table.get(name, [])
    if not is_array(value):
        raise InvalidRequest(name, "must be a list of whole numbers, such as [1, 3]")
    return tuple(_whole({name: item}, name, 1) for item in value)


def _text(table: JsonObject, name: str) -> str | None:
    value = table.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(name, "must be a string")
    return value


def _flag(table: JsonObject, name: str) -> bool:
    value = table.get(name, False)
    if not isinstance(value, bool):
        raise InvalidRequest(name, "must be true or false")
    return value
