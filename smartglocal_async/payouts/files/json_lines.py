"""JSON Lines as rows: one object a line, the wire form of the request with its key in it."""

import json
from collections.abc import Iterator
from typing import Final, cast

from ...codec import Wire
from ...codec.text import NameTwice, parse_once
from .judging import Judge
from .lines import NO_TEXT, TOO_LONG, Lines, RowTooLong, flaw_of
from .rows import FileRow, refused, shown

_EMPTY: Final = "the file is empty; each of its lines is an object of JSON"


def json_rows(lines: Lines, judge: Judge) -> Iterator[FileRow]:
    """Give the rows of JSON Lines."""
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
            yield _row(line, text, judge) if lines.is_text else _no_text(line, text)
    if not has_rows:
        yield refused(1, None, _EMPTY)


def _no_text(line: int, text: str) -> FileRow:
    place = next(place for place, char in enumerate(text, 1) if flaw_of(char))
    return refused(line, str(place), flaw_of(text) or NO_TEXT)


def _row(line: int, text: str, judge: Judge) -> FileRow:
    try:
        wire = parse_once(text.rstrip("\r\n"))
    except json.JSONDecodeError as error:
        column, words = str(error.colno), f"isn't JSON: {error.msg}"
    except NameTwice as error:
        column, words = shown(error.name), "is there twice in one object"
    except ValueError:
        column, words = None, "isn't JSON that can be read: nested too deeply, or a number too big"
    else:
        if isinstance(wire, dict):
            return judge.row(line, cast("Wire", wire), str)
        column, words = None, f"expected an object of names and values, got {type(wire).__name__}"
    return refused(line, column, words)
