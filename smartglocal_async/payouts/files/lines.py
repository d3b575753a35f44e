"""The lines of a file as text, numbered; what is no text is marked, and found by who reads it."""

import codecs
from collections.abc import Iterator
from typing import BinaryIO, Final

from attrs import define, field

MOST_ROW_BYTES: Final = 131_072
"""A row that is longer is refused: it is a quote that nobody closed, most likely."""
TOO_LONG: Final = f"is longer than {MOST_ROW_BYTES:,} bytes; is it a file of payouts?"
NO_TEXT: Final = "isn't UTF-8 text; save the file as UTF-8"
HAS_NUL: Final = "holds a NUL byte; save the file as UTF-8 text"
_REST: Final = "surrogateescape"


class RowTooLong(Exception):
    """The row that is being read has no end within bounds."""


@define(eq=False)
class Lines:
    """The lines of a file, each with its own end; bytes that aren't UTF-8 come as surrogates."""

    _file: BinaryIO
    number: int = field(default=0, init=False)
    """That of the last line which was read, from 1."""
    row: list[str] = field(factory=list[str], init=False)
    """The lines of the row that is being read."""
    is_text: bool = field(default=True, init=False)
    """Whether all of the row is UTF-8, and no byte of it NUL."""
    _left: int = field(default=MOST_ROW_BYTES, init=False)

    def begin_row(self) -> int:
        """Begin a row; give the number of its first line."""
        self.row.clear()
        self.is_text = True
        self._left = MOST_ROW_BYTES
        return self.number + 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = self._file.readline(self._left + 1)
        if not raw:
            raise StopIteration
        self.number += 1
        if len(raw) > self._left:
            self._skip(raw)
            raise RowTooLong
        self._left -= len(raw)
        if self.number == 1:
            raw = raw.removeprefix(codecs.BOM_UTF8)
        text = raw.decode(errors=_REST)
        if "\0" in text or not (text.isascii() or _is_utf8(text)):
            self.is_text = False
        self.row.append(text)
        return text

    def _skip(self, raw: bytes) -> None:
        while raw and not raw.endswith(b"\n"):
            raw = self._file.readline(MOST_ROW_BYTES)


def flaw_of(text: str) -> str | None:
    """Say what makes a part of a line no text."""
    if "\0" in text:
        return HAS_NUL
    return None if _is_utf8(text) else NO_TEXT


def _is_utf8(text: str) -> bool:
    try:
        _ = text.encode()
    except UnicodeEncodeError:
        return False
    return True
