"""The records of a journal as columns of a table, the same in every database."""

import json
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any, Final

from attrs import asdict, field, fields, frozen

from ..idempotency import Fingerprint
from .entries import Attempt, Batch, BatchRules, BatchState, Entry, Halt, HaltKind, NewEntry
from .states import Event, Step

_RECENT: Final = 1_024

COLUMNS: Final = tuple(one.name for one in fields(Entry))
"""Of an entry, in the order in which `entry_of` takes them."""
_FIXED: Final = {named.name for named in fields(NewEntry)} | {"created_at"}
MOVING: Final = tuple(name for name in COLUMNS if name not in _FIXED)
"""Those that may change."""
BATCH: Final = tuple(one.name for one in fields(Batch))
"""Of a batch, in the order in which `batch_of` takes them."""
LINE: Final = tuple(one.name for one in fields(Attempt))
"""Of a line of the log, in the order in which `attempt_of` takes them."""


def _frozen(steps: Collection[Step]) -> frozenset[Step]:
    return frozenset(steps)


@frozen(kw_only=True)
class Page:
    """Which entries are asked for."""

    limit: int
    after: str | None
    steps: frozenset[Step] = field(converter=_frozen)
    batch: str | None


def entry_row(entry: Entry, columns: Iterable[str] = COLUMNS) -> list[Any]:
    """Give the values of an entry's columns."""
    return [
        _packed(entry.fingerprint) if name == "fingerprint" else getattr(entry, name)
        for name in columns
    ]


def entry_of(row: Iterable[Any]) -> Entry:
    """Give the entry of a row."""
    values = dict(zip(COLUMNS, row, strict=True))
    values["step"] = Step(values["step"])
    values["fingerprint"] = _unpacked(values["fingerprint"])
    return Entry(**values)


def attempt_row(attempt: Attempt) -> list[Any]:
    """Give the values of a line's columns."""
    return [attempt.event.value if name == "event" else getattr(attempt, name) for name in LINE]


def attempt_of(row: Iterable[Any]) -> Attempt:
    """Give the line of a row."""
    values = dict(zip(LINE, row, strict=True))
    values["step"], values["event"] = Step(values["step"]), Event(values["event"])
    return Attempt(**values)


def batch_row(batch: Batch) -> tuple[Any, ...]:
    """Give the values of a batch's columns."""
    rules = None if batch.rules is None else json.dumps(asdict(batch.rules))
    return (
        batch.name,
        batch.digest,
        batch.rows,
        json.dumps(dict(batch.totals)),
        batch.begun_at,
        batch.state.value,
        batch.reason,
        rules,
        json.dumps(dict(batch.bound)),
        json.dumps(dict(batch.paid)),
        batch.failures,
        None if batch.cover is None else json.dumps(dict(batch.cover)),
        batch.cover_at,
    )


def batch_of(row: Iterable[Any]) -> Batch:
    """Give the batch of a row."""
    name, digest, rows, totals, begun_at, state, reason, *counted = row
    rules, bound, paid, failures, cover, cover_at = counted
    return Batch(
        name=name,
        digest=digest,
        rows=rows,
        totals=json.loads(totals),
        begun_at=begun_at,
        state=BatchState(state),
        reason=reason,
        rules=None if rules is None else BatchRules(**json.loads(rules)),
        bound=json.loads(bound),
        paid=json.loads(paid),
        failures=failures,
        cover=None if cover is None else json.loads(cover),
        cover_at=cover_at,
    )


def halt_text(halt: Halt) -> str:
    """Give a halt as text."""
    return json.dumps([halt.kind.value, halt.reason, halt.until])


def halt_of(text: str | None) -> Halt | None:
    """Give the halt of a text."""
    if text is None:
        return None
    kind, reason, until = json.loads(text)
    return Halt(kind=HaltKind(kind), reason=reason, until=until)


def _packed(fingerprint: Fingerprint) -> bytes:
    return json.dumps([[path, digest.hex()] for path, digest in fingerprint.digests]).encode()


@lru_cache(_RECENT)  # A row is read again for each of its steps.
def _unpacked(packed: bytes) -> Fingerprint:
    pairs: list[tuple[str, str]] = json.loads(packed)
    return Fingerprint(tuple((path, bytes.fromhex(digest)) for path, digest in pairs))
