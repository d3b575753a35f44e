"""Maps the records of a journal to table columns, the same in every database."""

import enum
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import UnionType
from typing import Any, Final, cast, get_args, get_type_hints

from attrs import asdict, field, fields, frozen
from yarl import URL

from ..idempotency import Fingerprint
from ..servers import normalized, without_root
from .entries import (
    Attempt,
    Batch,
    BatchRules,
    BatchState,
    Entry,
    Halt,
    HaltKind,
    NewEntry,
    OperatorAction,
    SamePayment,
)
from .fingerprints import packed, unpacked
from .states import Event, Step

COLUMNS: Final = tuple(one.name for one in fields(Entry))
"""The columns of an entry, in the order of `entry_of`."""
_FIXED: Final = {named.name for named in fields(NewEntry)} | {"created_at"}
MOVING: Final = tuple(name for name in COLUMNS if name not in _FIXED)
"""The columns that may change with a step; the request is dropped with the last one."""
FORGETS: Final = ("request", "summary", "payment", "result", "reason")
"""The columns that are empty once a payout is forgotten."""
BATCH: Final = tuple(one.name for one in fields(Batch))
"""The columns of a batch, in the order of `batch_of`."""
LINE: Final = tuple(one.name for one in fields(Attempt))
"""The columns of a line of the log, in the order of `attempt_of`."""
ACTION: Final = tuple(one.name for one in fields(OperatorAction))
"""The columns of an operator's action, in the order of its fields."""
NOT_PAID: Final = frozenset({Step.UNKNOWN, Step.FAILED, Step.CANCELLED})
"""The steps of which a journal has an index: few payouts of a batch are at one of them."""


def _frozen(steps: Collection[Step]) -> frozenset[Step]:
    return frozenset(steps)


@frozen(kw_only=True)
class Page:
    """Which page of entries to read."""

    limit: int
    after: str | None
    steps: frozenset[Step] = field(converter=_frozen)
    batch: str | None

    @property
    def rare_step(self) -> Step | None:
        """The only step of the page, if it is one of `NOT_PAID`: their index finds its rows."""
        return next(iter(self.steps)) if len(self.steps) == 1 and self.steps <= NOT_PAID else None


def kinds_of(record: type[Any]) -> Mapping[str, type[int | float | str | bytes]]:
    """Return the type of each field's column: int, float, str or bytes."""
    hints = get_type_hints(record)
    return {one.name: _kind(hints[one.name]) for one in fields(record)}


def _kind(hint: Any) -> type[int | float | str | bytes]:  # noqa: ANN401 - any annotation
    (kind,) = set(get_args(hint)) - {type(None)} if isinstance(hint, UnionType) else {hint}
    if kind is Fingerprint:
        return bytes
    known = (
        base for base in (int, float, bytes) if isinstance(kind, type) and issubclass(kind, base)
    )
    # All other types, such as states and mappings, are stored as text.
    return next(known, str)


def _stored(value: Any) -> Any:  # noqa: ANN401 - any field's
    match value:
        case Fingerprint():
            return packed(value)
        case Step():
            return value
        case enum.Enum():
            return value.value
        case BatchRules():
            return json.dumps(asdict(value))
        case Mapping():
            return json.dumps(dict(cast("Mapping[str, object]", value)))
        case _:
            return value


def _rules(text: str) -> BatchRules:
    return BatchRules(**json.loads(text))


_READ: Final[Mapping[str, Callable[[Any], Any]]] = {
    "step": Step,
    "event": Event,
    "fingerprint": unpacked,
    "state": BatchState,
    "totals": json.loads,
    "rules": _rules,
    "bound": json.loads,
    "paid": json.loads,
    "cover": json.loads,
}
"""How to read the columns that store another type than the record's field."""


def _reads(columns: Sequence[str]) -> dict[str, Callable[[Any], Any]]:
    return {name: read for name, read in _READ.items() if name in columns}


_READ_ENTRY: Final = _reads(COLUMNS)
_READ_BATCH: Final = _reads(BATCH)
_READ_LINE: Final = _reads(LINE)


def _values(
    row: Iterable[Any], columns: Sequence[str], reads: Mapping[str, Callable[[Any], Any]]
) -> dict[str, Any]:
    values = dict(zip(columns, row, strict=True))
    for name, read in reads.items():
        if values[name] is not None:
            values[name] = read(values[name])
    return values


def entry_row(entry: Entry, columns: Iterable[str] = COLUMNS) -> list[Any]:
    """Return the values of an entry's columns."""
    return [_stored(getattr(entry, name)) for name in columns]


def entry_of(row: Iterable[Any]) -> Entry:
    """Return the entry of a row."""
    return Entry(**_values(row, COLUMNS, _READ_ENTRY))


def attempt_row(attempt: Attempt) -> list[Any]:
    """Return the values of a line's columns."""
    return [_stored(getattr(attempt, name)) for name in LINE]


def attempt_of(row: Iterable[Any]) -> Attempt:
    """Return the line of a row."""
    return Attempt(**_values(row, LINE, _READ_LINE))


def batch_row(batch: Batch) -> list[Any]:
    """Return the values of a batch's columns."""
    return [_stored(getattr(batch, name)) for name in BATCH]


def batch_of(row: Iterable[Any]) -> Batch:
    """Return the batch of a row."""
    return Batch(**_values(row, BATCH, _READ_BATCH))


def action_row(action: OperatorAction) -> list[Any]:
    """Return the values of an action's columns."""
    return [getattr(action, name) for name in ACTION]


def action_of(row: Iterable[Any]) -> OperatorAction:
    """Return the action of a row."""
    return OperatorAction(**dict(zip(ACTION, row, strict=True)))


def same_payment_of(row: Iterable[Any]) -> SamePayment:
    """Return a payment of the same payee and sum, of a row in the order of its fields."""
    payment, batch, key, step, at = row
    return SamePayment(payment=payment, batch=batch, key=key, step=Step(step), at=at)


def halt_text(halt: Halt) -> str:
    """Return a halt as text."""
    return json.dumps(_values_of(halt))


def _values_of(halt: Halt) -> list[object]:
    timed = None if halt.timed is None else _values_of(halt.timed)
    return [halt.kind.value, halt.reason, halt.until, halt.is_checked, timed]


def halt_of(text: str | None) -> Halt | None:
    """Return the halt of a text."""
    return None if text is None else _halt_of(*json.loads(text))


# The first releases wrote three values, later ones four.
def _halt_of(
    kind: str,
    reason: str,
    until: float | None,
    is_checked: bool = False,  # noqa: FBT001, FBT002 - as it is written
    timed: "list[Any] | None" = None,
) -> Halt:
    return Halt(
        kind=HaltKind(kind),
        reason=reason,
        until=until,
        is_checked=is_checked,
        timed=None if timed is None else _halt_of(*timed),
    )


def scope_of(server: str, project: str, submerchant: str | None) -> str:
    """Return the scope of a client's journal.

    A bar in a name is escaped, so that the project ``shop|x`` isn't the submerchant ``x`` of
    ``shop``. The server is written in one way, however its address was given.
    """
    names = [project, *([] if submerchant is None else [submerchant])]
    escaped = (name.replace("\\", r"\\").replace("|", r"\|") for name in names)
    return "|".join([_normalized(server), *escaped])


def is_same(one: str, other: str) -> bool:
    """Return whether two scopes are the same, however their server is written.

    Spaces around a name don't count: earlier releases kept them, and the header didn't.
    """
    return one == other or _without_spaces(one) == _without_spaces(other)


_NAME: Final = re.compile(r"(?:\\.|[^|])*", re.DOTALL)


def _without_spaces(scope: str) -> list[str]:
    """Return the names of a scope without the spaces around each."""
    return [name.strip(" ") for name in _NAME.findall(_normalized(scope))]


def _normalized(scope: str) -> str:
    server, bar, rest = scope.partition("|")
    try:
        return f"{without_root(normalized(URL(server)))}{bar}{rest}"
    except ValueError:
        return scope
