"""Writes outcomes to a file as they settle: one line each, complete even after a kill."""

import csv
import io
import json
import os
import stat
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self, cast

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
_SETTLED: Final = frozenset({"succeeded", "cancelled"})
"""States that never change: a failed payout may be retried."""
_JSON_SUFFIXES: Final = frozenset({".jsonl", ".ndjson"})
_APOSTROPHE: Final = "'"
_WIDE: Final = ("\uff1d", "\uff0b", "\uff0d", "\uff20")
_RUNS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", *_WIDE, _APOSTROPHE)
"""Beginnings of a cell that a spreadsheet takes for a formula, also in full-width characters, and
of one that has such a mark (OWASP, CSV injection).
"""
_MAX_FIRST_LINE: Final = 65_536
_BLOCK: Final = 4096
_OWNER_ONLY: Final = 0o600


@define(eq=False)
class ResultsFile:
    """Outcomes in a file, one line each, as ``with ResultsFile(path) as results: ...``.

    The suffix chooses the format: JSON Lines for ``.jsonl`` and ``.ndjson``, with amounts in minor
    units; CSV for any other, with amounts in major units, as in a `PayoutFile`. In a CSV, a
    text that a spreadsheet would take for a formula has an apostrophe in front. An existing file is
    continued after its last complete line; a line that a kill cut short is removed. A file of
    another release keeps its columns. A new file is readable only by its owner.

    A payout that is asked for again gets another line. When the file is closed after a run, each
    key keeps one line: the last one, except for ``refused``, which only says that this try was
    refused. That is written beside the file, which it replaces when it is on the disk; if it can't
    be written, or the run was interrupted, all lines stay until the next run.

    Raises:
        InvalidRequest: on opening: the file holds something else than results.
        BlockingIOError: on opening: another process has it open.
        OSError: it can't be opened or written.

    """

    path: Path = field(converter=Path)
    _descriptor: int | None = field(default=None, init=False)
    _fields: tuple[str, ...] = field(default=FIELDS, init=False)
    """The fields of the file."""
    _has_new_lines: bool = field(default=False, init=False)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._has_new_lines = False  # The next run leaves one line for each key.
        self.close()

    def open(self) -> None:
        """Open the file, and remove an incomplete line at its end."""
        if self._descriptor is not None:
            return
        opened = self._opened()
        try:
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
        """Close the file, with one line for each key; closing twice is fine."""
        if self._descriptor is None:
            return
        try:
            if self._has_new_lines:
                # All lines stay if the new file can't be written.
                with suppress(OSError, csv.Error):
                    _leave_last_lines(self._descriptor, self.path, is_json=self._is_json)
        finally:
            os.close(self._descriptor)
            self._descriptor, self._has_new_lines = None, False

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
        self._has_new_lines = True

    @property
    def _is_json(self) -> bool:
        return is_json_lines(self.path)

    def _opened(self) -> int:
        """Open and lock the file; again, if a process that closed it replaced it meanwhile."""
        while True:
            opened = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | OPEN, 0o600)
            try:
                lock(opened)
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(opened), self.path.stat()):
                        return opened
            except BlockingIOError as error:
                os.close(opened)
                words = "another process writes its results to this file"
                raise BlockingIOError(error.errno, words, str(self.path)) from None
            except BaseException:
                os.close(opened)
                raise
            os.close(opened)

    def _check(self, opened: int) -> int:
        """Return the size of a results file; refuse any other file, which must not be changed."""
        size = os.fstat(opened).st_size
        begins = read_at(opened, _MAX_FIRST_LINE, 0)
        if not begins_as_results(begins, is_json=self._is_json):
            words = "holds something else than results; give the path of another file"
            raise InvalidRequest(str(self.path), words)
        return size


@contextmanager
def replaced(path: Path, mode: int = _OWNER_ONLY) -> Generator[BinaryIO]:
    """Write a new file, for its owner only, which replaces the path when it is on the disk.

    Raises:
        OSError: it can't be written; the path is as it was.

    """
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as stream:
            yield stream
            stream.flush()
            if mode != _OWNER_ONLY:
                Path(name).chmod(mode)
            os.fsync(stream.fileno())
        _ = Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


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

    Those of failed payouts aren't among them: such a payout may have been retried since.
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
    cells = ("" if value is None else as_cell(str(value)) for value in facts.values())
    _ = csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode(errors="backslashreplace")


def as_cell(text: str) -> str:
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


def _leave_last_lines(opened: int, path: Path, *, is_json: bool) -> None:
    """Replace a file in which keys have several lines by one with their last lines.

    Raises:
        OSError: it can't be written; the file is as it was.
        csv.Error: it isn't a CSV; the file is as it was.

    """
    found = os.fstat(opened)
    if not stat.S_ISREG(found.st_mode):
        return
    with _text_of(opened) as text:
        dropped = _superseded(text, is_json=is_json)
    if not dropped:
        return
    with _text_of(opened) as text, replaced(path.resolve(), stat.S_IMODE(found.st_mode)) as new:
        for number, line in enumerate(text, 1):
            if number not in dropped:
                _ = new.write(line.encode(errors="surrogateescape"))


def _text_of(opened: int) -> io.TextIOWrapper:
    file = os.fdopen(os.dup(opened), "rb")
    _ = file.seek(0)
    return io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")


def _superseded(text: io.TextIOWrapper, *, is_json: bool) -> set[int]:
    """Return the numbers of the lines of a key that has a later one that counts."""
    last, dropped = dict[str, tuple[range, bool]](), set[int]()
    for key, state, lines in _keyed_rows(text, is_json=is_json):
        is_refused = state == _REFUSED
        before = last.get(key)
        if before is not None and is_refused and not before[1]:
            dropped.update(lines)
            continue
        dropped.update(() if before is None else before[0])
        last[key] = lines, is_refused
    return dropped


def _keyed_rows(text: io.TextIOWrapper, *, is_json: bool) -> Iterator[tuple[str, object, range]]:
    """Yield the key and the state of each row, and the numbers of its lines."""
    if is_json:
        for number, line in enumerate(text, 1):
            row = _json_row(line)
            if isinstance(key := row.get("key"), str):
                yield key, row.get("state"), range(number, number + 1)
        return
    reader = csv.DictReader(text)
    _ = reader.fieldnames
    begin = reader.line_num + 1
    for row in reader:
        lines, begin = range(begin, reader.line_num + 1), reader.line_num + 1
        if isinstance(key := row.get("key"), str):
            yield key, row.get("state"), lines


_REFUSED: Final = PayoutState.REFUSED.value
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
