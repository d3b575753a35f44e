"""Writes outcomes to a file as they settle: one line each, complete even after a kill."""

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

from attrs import define, field

from ...errors import InvalidRequest, Misuse
from ...journal.file_access import OPEN, lock, read_at
from ...models.money import Amount
from ...models.validators import without_card_numbers
from ..orders import PayoutOutcome, PayoutState

FIELDS: Final = (
    "key",
    "state",
    "amount",
    "currency",
    "session_id",
    "payout_id",
    "code",
    "reason",
    "attempts",
    "replayed",
)
HEADER: Final = f"{','.join(FIELDS)}\n".encode()
"""The first line of a new CSV."""
_CORE: Final = frozenset({"key", "state", "session_id", "payout_id"})
"""The fields that identify a results file: all releases write them, and no file of orders has
them. The other fields may differ between releases.
"""
_SETTLED: Final = frozenset({"succeeded", "failed", "cancelled"})
_JSON_SUFFIXES: Final = frozenset({".jsonl", ".ndjson"})
_APOSTROPHE: Final = "'"
_RUNS: Final = ("=", "+", "-", "@", "\t", "\r", _APOSTROPHE)
"""Beginnings of a cell that a spreadsheet takes for a formula, and of one that has such a mark."""
_MAX_FIRST_LINE: Final = 65_536
_BLOCK: Final = 4096


@define(eq=False)
class ResultsFile:
    """Outcomes in a file, one line each, as ``with ResultsFile(path) as results: ...``.

    The suffix chooses the format: JSON Lines for ``.jsonl`` and ``.ndjson``, with amounts in minor
    units; CSV for any other, with amounts in major units, as in a `PayoutFile`. In a CSV, a
    text that a spreadsheet would take for a formula has an apostrophe in front. An existing file is
    continued after its last complete line; a line that a kill cut short is removed. A file of
    another release keeps its columns. A payout that is paid again gets another line: the last one
    counts, except for ``refused``, which only says that this try was refused. A new file is
    readable only by its owner.

    Raises:
        InvalidRequest: on opening: the file holds something else than results.
        BlockingIOError: on opening: another process has it open.
        OSError: it can't be opened or written.

    """

    path: Path = field(converter=Path)
    _descriptor: int | None = field(default=None, init=False)
    _fields: tuple[str, ...] = field(default=FIELDS, init=False)
    """The fields of the file."""

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> None:
        """Open the file, and remove an incomplete line at its end."""
        if self._descriptor is not None:
            return
        opened = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | OPEN, 0o600)
        try:
            self._lock(opened)
            size = _whole(opened, self._check(opened))
            os.ftruncate(opened, size)
            if not (size or self._is_json):
                _write(opened, HEADER)
            self._fields = _fields_in(opened, is_json=self._is_json)
        except BaseException:
            os.close(opened)
            raise
        self._descriptor = opened

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def append(self, outcome: PayoutOutcome) -> None:
        """Write an outcome; the operating system has the line when this returns.

        Raises:
            Misuse: the file isn't open.
            OSError: the file can't be written; no part of the line stays in it.

        """
        if self._descriptor is None:
            raise Misuse(f"the results file {self.path} isn't open: use it in a with statement")
        line = line_of(outcome, is_json=self._is_json, fields=self._fields)
        _write(self._descriptor, line)

    @property
    def _is_json(self) -> bool:
        return is_json_lines(self.path)

    def _lock(self, opened: int) -> None:
        try:
            lock(opened)
        except BlockingIOError as error:
            words = "another process writes its results to this file"
            raise BlockingIOError(error.errno, words, str(self.path)) from None

    def _check(self, opened: int) -> int:
        """Return the size of a results file; refuse any other file, which must not be changed."""
        size = os.fstat(opened).st_size
        begins = read_at(opened, _MAX_FIRST_LINE, 0)
        if not begins_as_results(begins, is_json=self._is_json):
            words = "holds something else than results; give the path of another file"
            raise InvalidRequest(str(self.path), words)
        return size


def begins_as_results(text: bytes, *, is_json: bool) -> bool:
    """Return whether a file that begins like this holds results, or nothing yet."""
    first, ending, _ = text.partition(b"\n")
    if not ending:
        # A kill may have cut the first line short.
        return first[:1] in {b"", b"{"} if is_json else HEADER.startswith(first)
    return _CORE.issubset(_fields_of(text, is_json=is_json))


def is_json_lines(path: Path) -> bool:
    """Return whether the suffix of a path means JSON Lines, and not CSV."""
    return path.suffix.lower() in _JSON_SUFFIXES


def settled_keys(path: Path) -> Iterator[str]:
    """Yield the keys that a results file shows as settled, in its order; some may repeat.

    Incomplete lines are skipped.

    Raises:
        OSError: the file can't be read.

    """
    is_json = is_json_lines(path)
    with path.open(encoding="utf-8", errors="replace", newline="") as lines:
        rows = map(_json_row, lines) if is_json else csv.DictReader(lines)
        for row in rows:
            key, state = row.get("key"), row.get("state")
            if isinstance(key, str) and state in _SETTLED:
                yield key if is_json else text_of_cell(key)


def _json_row(line: str) -> dict[str, Any]:
    try:
        found: object = json.loads(line)
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def line_of(outcome: PayoutOutcome, *, is_json: bool, fields: Sequence[str] = FIELDS) -> bytes:
    """Return the line for an outcome with these fields; an unknown field is empty."""
    facts = _facts(outcome, is_json=is_json)
    line = {name: facts.get(name) for name in fields}
    return _json_line(line) if is_json else _csv_line(line)


def _fields_in(opened: int, *, is_json: bool) -> tuple[str, ...]:
    """Return the fields of an open file; the current ones if it is new."""
    begins = read_at(opened, _MAX_FIRST_LINE, 0)
    return _fields_of(begins, is_json=is_json) or FIELDS


def _fields_of(text: bytes, *, is_json: bool) -> tuple[str, ...]:
    """Return the fields that the first line names; none if it isn't complete."""
    first, ending, _ = text.partition(b"\n")
    line = first.decode(errors="replace")
    if not ending:
        return ()
    return tuple(_json_row(line)) if is_json else tuple(next(csv.reader([line]), ()))


def _facts(outcome: PayoutOutcome, *, is_json: bool) -> dict[str, Any]:
    reason = outcome.reason or (outcome.error and str(outcome.error))
    return {
        "key": outcome.key,
        "state": outcome.state.value,
        "amount": outcome.amount if is_json else _in_major_units(outcome),
        "currency": outcome.currency,
        "session_id": outcome.session_id,
        "payout_id": outcome.payout_id,
        "code": outcome.code,
        "reason": reason and _on_one_line(reason),
        "attempts": outcome.attempts,
        "replayed": outcome.replayed if is_json else str(outcome.replayed).lower(),
    }


def _in_major_units(outcome: PayoutOutcome) -> str | None:
    if outcome.amount is None or outcome.currency is None:
        return None
    return f"{Amount(outcome.amount, outcome.currency).decimal:f}"


def _on_one_line(words: str) -> str:
    return " ".join((without_card_numbers(words) or "").split())


def _json_line(facts: dict[str, Any]) -> bytes:
    return f"{json.dumps(facts, ensure_ascii=False)}\n".encode(errors="backslashreplace")


def _csv_line(facts: dict[str, Any]) -> bytes:
    text = io.StringIO()
    cells = ("" if value is None else _as_cell(str(value)) for value in facts.values())
    _ = csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode(errors="backslashreplace")


def _as_cell(text: str) -> str:
    """Return a text so that no spreadsheet takes it for a formula: with an apostrophe in front."""
    return f"{_APOSTROPHE}{text}" if text.startswith(_RUNS) else text


def text_of_cell(cell: str) -> str:
    """Return the text that was written as a cell of a results file."""
    return cell.removeprefix(_APOSTROPHE)


def _whole(opened: int, size: int) -> int:
    """Return the size up to the end of the last complete line."""
    while size:
        begin = max(0, size - _BLOCK)
        found = read_at(opened, size - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        size = begin
    return 0


def _write(opened: int, line: bytes) -> None:
    """Write a line completely, or not at all."""
    before = os.fstat(opened).st_size
    try:
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(opened, rest) :]
    except BaseException:
        os.ftruncate(opened, before)
        raise


_PAID: Final = PayoutState.SUCCEEDED.value


def paid_in(results: Path) -> Iterator[str]:
    """Yield the key of each paid line of the results; nothing if there are no results yet.

    A line that can't be read is skipped: a kill may have cut the last one. A file that doesn't have
    results is refused later, when it is opened for writing.

    Raises:
        OSError: the file can't be read.

    """
    try:
        lines = results.open(encoding="utf-8", errors="replace", newline="")
    except FileNotFoundError:
        return
    with lines:
        rows = map(_object, lines) if is_json_lines(results) else csv.DictReader(lines)
        try:
            for row in rows:
                key = row.get("key")
                if row.get("state") == _PAID and isinstance(key, str):
                    yield key if is_json_lines(results) else text_of_cell(key)
        except csv.Error:
            return


def _object(line: str) -> dict[str, Any]:
    try:
        found: object = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]
