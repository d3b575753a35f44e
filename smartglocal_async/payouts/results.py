"""A file of outcomes, written as they settle: one line each, whole even after a kill."""

import csv
import fcntl
import io
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from attrs import define, field

from ..errors import InvalidRequest, Misuse
from ..values.exactness import without_card_numbers
from ..values.money import Amount
from .orders import PayoutOutcome

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
"""The first line of a CSV."""
_JSON_SUFFIXES: Final = frozenset({".jsonl", ".ndjson"})
_LONGEST_FIRST_LINE: Final = 65_536
_BLOCK: Final = 4096


@define(eq=False)
class ResultsFile:
    """Outcomes in a file, a line each, as ``with ResultsFile(path) as results: ...``.

    The suffix says the form: JSON Lines for ``.jsonl`` and ``.ndjson``, CSV for any other, with
    the amount in minor units in the first and in major ones in the second, as in a `PayoutFile`.
    A file that is there is written on, after the last whole line of it; a line that a kill cut
    short is cut off. A payout that is asked for again has another line: the last one counts,
    but for ``refused``, which tells of that try alone.
    A new file is readable by its owner alone.

    Raises:
        InvalidRequest: when it is opened, and holds something else than results.
        BlockingIOError: when it is opened, and another process has it.
        OSError: when it can't be opened or written.

    """

    path: Path = field(converter=Path)
    _descriptor: int | None = field(default=None, init=False)

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
        """Open the file, and cut off what is no whole line at its end."""
        if self._descriptor is not None:
            return
        opened = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._lock(opened)
            size = _whole(opened, self._check(opened))
            os.ftruncate(opened, size)
            if not (size or self._is_json):
                _write(opened, HEADER)
        except BaseException:
            os.close(opened)
            raise
        self._descriptor = opened

    def close(self) -> None:
        """Close it; more than once is fine."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def append(self, outcome: PayoutOutcome) -> None:
        """Write an outcome; the line is with the operating system when this returns.

        Raises:
            Misuse: the file isn't open.
            OSError: it can't be written; nothing of the line stays in it.

        """
        if self._descriptor is None:
            raise Misuse(f"the results file {self.path} isn't open: use it in a with statement")
        _write(self._descriptor, line_of(outcome, is_json=self._is_json))

    @property
    def _is_json(self) -> bool:
        return is_json_lines(self.path)

    def _lock(self, opened: int) -> None:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            words = "another process writes its results there"
            raise BlockingIOError(error.errno, words, str(self.path)) from None

    def _check(self, opened: int) -> int:
        """Give the size of a file of results; whatever else is in the file must not be harmed."""
        size = os.fstat(opened).st_size
        begins = os.pread(opened, _LONGEST_FIRST_LINE, 0)
        if not begins_as_results(begins, is_json=self._is_json):
            words = "holds something else than results; give the path of another file"
            raise InvalidRequest(str(self.path), words)
        return size


def begins_as_results(text: bytes, *, is_json: bool) -> bool:
    """Say whether a file that begins so holds results, or nothing yet."""
    first, ending, _ = text.partition(b"\n")
    if is_json:
        return _is_result(first) if ending else first[:1] in {b"", b"{"}
    return first + ending == HEADER or (not ending and HEADER.startswith(first))


def is_json_lines(path: Path) -> bool:
    """Say whether the suffix of a path means JSON Lines, and not CSV."""
    return path.suffix.lower() in _JSON_SUFFIXES


def line_of(outcome: PayoutOutcome, *, is_json: bool) -> bytes:
    """Give the line of an outcome."""
    facts = _facts(outcome, is_json=is_json)
    return _json_line(facts) if is_json else _csv_line(facts)


def _is_result(line: bytes) -> bool:
    try:
        found: object = json.loads(line)
    except ValueError:
        return False
    return isinstance(found, dict) and found.keys() == set(FIELDS)


def _facts(outcome: PayoutOutcome, *, is_json: bool) -> dict[str, Any]:
    why = outcome.reason or (outcome.error and str(outcome.error))
    return {
        "key": outcome.key,
        "state": outcome.state.value,
        "amount": outcome.amount if is_json else _in_major_units(outcome),
        "currency": outcome.currency,
        "session_id": outcome.session_id,
        "payout_id": outcome.payout_id,
        "code": outcome.code,
        "reason": why and _on_one_line(why),
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
    cells = ("" if value is None else str(value) for value in facts.values())
    _ = csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode(errors="backslashreplace")


def _whole(opened: int, size: int) -> int:
    """Give the size up to the end of the last whole line."""
    while size:
        begin = max(0, size - _BLOCK)
        found = os.pread(opened, size - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        size = begin
    return 0


def _write(opened: int, line: bytes) -> None:
    """Write a line, or none of it."""
    before = os.fstat(opened).st_size
    try:
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(opened, rest) :]
    except BaseException:
        os.ftruncate(opened, before)
        raise
