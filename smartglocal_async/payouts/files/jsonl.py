"""Reads JSON Lines of payouts: one object per line, the wire form of the request with its key."""

import json
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

from attrs import evolve, frozen

from ...codec import PAYOUT_INSTRUMENT, ApiVersion, Wire
from ...codec.json import NameTwice, load_once
from .cleaning import clean_request
from .columns import in_version
from .encodings import encoding_of
from .file_format import WIDE, FileFormat
from .rows import TOO_LONG, FileLines, FileRow, RowChecker, RowTooLong, refused, shown

_EMPTY: Final = "the file is empty; each of its lines is an object of JSON"


def recognise(file: BinaryIO, given: FileFormat) -> FileFormat:
    """Return the format of JSON Lines: as given, else UTF-8 (RFC 8259) or what its bytes show."""
    encoding = encoding_of(file) if given.encoding is None else given.encoding
    is_certain = given.encoding is not None or encoding in WIDE
    return evolve(given, kind="jsonl", encoding=encoding if is_certain else "utf-8")


def json_rows(file: BinaryIO, found: FileFormat, checker: RowChecker) -> Iterator[FileRow]:
    """Yield the rows of JSON Lines."""
    lines = FileLines.of(file, found.encoding or "utf-8")
    try:
        yield from _rows(lines, _Objects(checker, found.names_of))
    finally:
        lines.release()


@frozen
class _Objects:
    """Makes rows of the objects of a file, with the names of one version of the API."""

    checker: RowChecker
    version: ApiVersion

    def row(self, line: int, wire: Wire) -> FileRow:
        """Return the row of an object; its problems have the names that it has."""
        plain, new = PAYOUT_INSTRUMENT["v1"], PAYOUT_INSTRUMENT["v2"]
        if self.version == "v1" and new in wire:
            return refused(line, new, f"is no field of API v1, which names it {plain}")
        if plain in wire and new in wire:
            return refused(line, new, f"is given together with {plain}, its name in v1; leave one")
        if self.version == "v1" or plain in wire:
            clean_request(wire)
            return self.checker.row(line, wire, str)
        renamed = {plain if name == new else name: value for name, value in wire.items()}
        clean_request(renamed)
        return self.checker.row(line, renamed, lambda path: in_version(path, self.version))


def _rows(lines: FileLines, objects: "_Objects") -> Iterator[FileRow]:
    has_rows = False
    while True:
        line = lines.begin_row()
        try:
            text = next(lines, None)
        except RowTooLong:
            has_rows = True
            yield refused(line, None, TOO_LONG)
            continue
        if text is None:
            break
        if text.strip():
            has_rows = True
            yield _row(line, text, objects) if lines.is_text else _no_text(lines, line, text)
            if _spans_lines(line, text):
                return
    if not has_rows:
        yield refused(1, None, _EMPTY)


def _no_text(lines: FileLines, line: int, text: str) -> FileRow:
    flaws = ((column, lines.flaw_of(char)) for column, char in enumerate(text, 1))
    return next(refused(line, str(column), flaw) for column, flaw in flaws if flaw is not None)


def _row(line: int, text: str, objects: "_Objects") -> FileRow:
    try:
        wire = load_once(text.rstrip("\r\n"))
    except json.JSONDecodeError as error:
        column, words = str(error.colno), f"isn't JSON: {error.msg}{_advice(line, text)}"
    except NameTwice as error:
        column, words = shown(error.name), "is there twice in one object"
    except ValueError:
        column, words = None, "isn't JSON that can be read: nested too deeply, or a number too big"
    else:
        if isinstance(wire, dict):
            return objects.row(line, cast("Wire", wire))
        column, words = None, f"expected an object of names and values, got {type(wire).__name__}"
        words += _advice(line, text)
    return refused(line, column, words)


def _advice(line: int, text: str) -> str:
    """Say what to do about a file that is one JSON value over several lines."""
    if _spans_lines(line, text):
        return "; write each payout as one object in a line of its own (jq -c '.[]' does it)"
    return ""


def _spans_lines(line: int, text: str) -> bool:
    begins = text.strip()
    return line == 1 and (begins.startswith("[") or begins == "{")
