"""Recognises the encoding of a text file where its bytes leave no doubt."""

import codecs
import hashlib
import re
from collections.abc import Iterator
from typing import BinaryIO, Final

_BLOCK: Final = 1 << 20
# The longer marks first: that of UTF-32 begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
CODE_PAGES: Final = (
    "cp1252",
    "cp1250",
    "cp1251",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
    "cp1257",
    "cp1258",
    "iso8859-1",
    "iso8859-2",
    "iso8859-4",
    "iso8859-5",
    "iso8859-7",
    "iso8859-9",
    "iso8859-13",
    "iso8859-15",
    "iso8859-16",
)
"""The code pages of Windows and of ISO that are recognised, by Python's names."""
_WORD: Final = re.compile(rb"[A-Za-z]*[\x80-\x9f\xa1-\xff][A-Za-z\x80-\x9f\xa1-\xff]*")
_LONGEST_WORD: Final = 64
_MAX_REMEMBERED: Final = 20_000
_OTHER_SCRIPTS: Final = ("\u0370", "\u06ff")
"""Greek, Cyrillic, Hebrew and Arabic, whose letters are never in one word with Latin ones."""
_MAX_SAMPLE: Final = 4096
_OPENING: Final = "\u201c\u201e\u2018\u201a\u00ab\u00bb\u2039\u203a"
_CLOSING: Final = "\u201c\u201d\u2018\u2019\u00ab\u00bb\u2039\u203a"
_INSIDE: Final = "\u2019\u00ad"
"""Quotes around a word, and the apostrophe and the soft hyphen in it."""
_NO_LETTERS: Final = "\u0192\u00aa\u00ba\u02c6"
"""Signs that Unicode has among the letters."""
_SHARP_S: Final = "\u00df"
_FIRST_LETTER: Final = 0xA1
"""The first byte that is a letter of Windows or ISO, and rarely one of DOS or Macintosh."""


def encoding_of(file: BinaryIO) -> str | None:
    """Return the encoding of a file, by Python's name; None if its bytes allow several.

    A byte order mark decides, and so does a whole file of valid UTF-8. A code page is recognised
    only if every Windows and ISO code page that yields plausible words yields the same words. In
    those of DOS and Macintosh, most letters are bytes that Windows has for punctuation and for few
    letters, so no word may have punctuation or a capital inside, and one letter of the others is
    needed. The position in the file changes.
    """
    _ = file.seek(0)
    start = file.read(_MAX_SAMPLE)
    for mark, name in _MARKS:
        if start.startswith(mark):
            return name
    if (wide := _without_mark(start)) is not None:
        return wide
    _ = file.seek(0)
    if _is_utf8(file):
        return "utf-8"
    _ = file.seek(0)
    return _code_page(file)


def _without_mark(start: bytes) -> str | None:
    """Return which UTF-16 a text of ASCII characters is in; None if it is none."""
    even, odd = start[0:64:2], start[1:64:2]
    if len(odd) > 1 and not any(odd) and all(even):
        return "utf-16-le"
    if len(odd) > 1 and not any(even) and all(odd):
        return "utf-16-be"
    return None


def _is_utf8(file: BinaryIO) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while block := file.read(_BLOCK):
            _ = decoder.decode(block)
        _ = decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _code_page(file: BinaryIO) -> str | None:
    readings = {name: hashlib.blake2b() for name in CODE_PAGES}
    is_word, shown = True, set[str]()
    for word in _words(file):
        if _is_utf8_word(word):
            return None  # Damaged UTF-8, or a mixture.
        for name, reading in tuple(readings.items()):
            if _is_plausible(word, name):
                reading.update(word.decode(name).encode())
                if name not in shown and _shows_its_page(word, name):
                    shown.add(name)
            else:
                del readings[name]
        is_word &= not readings or _is_word(word.decode(next(iter(readings))))
    agreed = {reading.digest() for reading in readings.values()}
    is_certain = len(agreed) == 1 and is_word and shown.issuperset(readings)
    return next(iter(readings)) if is_certain else None


def _words(file: BinaryIO) -> Iterator[bytes]:
    """Yield the words with bytes beyond ASCII; most of the repeated ones once."""
    seen: set[bytes] = set()
    while line := file.readline(_BLOCK):
        for found in _WORD.findall(line):
            word = found[:_LONGEST_WORD]
            if word not in seen:
                if len(seen) < _MAX_REMEMBERED:
                    seen.add(word)
                yield word


def _is_utf8_word(word: bytes) -> bool:
    try:
        _ = word.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_plausible(word: bytes, name: str) -> bool:
    """Return whether a word read in a code page can be a word of one script."""
    try:
        text = word.decode(name)
    except UnicodeDecodeError:
        return False
    has_latin = any("A" <= char <= "z" for char in text)
    return text.isprintable() and not (
        has_latin and any(_OTHER_SCRIPTS[0] <= char <= _OTHER_SCRIPTS[1] for char in text)
    )


def _is_word(text: str) -> bool:
    """Return whether a text has no letters, or is written as a word, perhaps in quotes."""
    if not any(map(_is_letter, text)):
        return True
    word = text.lstrip(_OPENING).rstrip(_CLOSING)
    if not all(_is_letter(char) or char in _INSIDE for char in word):
        return False
    return not any(map(_changes_case, " " + word, word, word[1:] + " "))


def _changes_case(before: str, char: str, after: str) -> bool:
    """Return whether a letter beyond ASCII is a capital, or is none, as no word is written."""
    if char == _SHARP_S or (char.isascii() and (before.isascii() or before == _SHARP_S)):
        return False
    if before.islower() and char.isupper():
        return True
    return not char.isascii() and char.isupper() and before.isupper() and after.islower()


def _is_letter(char: str) -> bool:
    return char.isalpha() and char not in _NO_LETTERS


def _shows_its_page(word: bytes, name: str) -> bool:
    """Return whether a letter of a word isn't one of the bytes with the letters of DOS."""
    return any(byte >= _FIRST_LETTER and _is_letter(bytes([byte]).decode(name)) for byte in word)
