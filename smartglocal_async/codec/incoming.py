"""Reads JSON that the provider sent, and makes its text safe to log, show and store.

All answers and webhooks are read here. Their text is Unicode without control characters afterwards:
codes, reasons and ids may be written to logs, terminals, files and databases unchanged.
"""

import re
from typing import Any, Final, cast

from .converter import is_list
from .json import Wire, load_once

_BOM: Final = b"\xef\xbb\xbf"
_MAX_LEVELS: Final = 64

_EXACT: Final = frozenset({"metadata", "params", "qs", "qr"})
"""Fields whose text must not change: the caller's own data, and what is passed on to a payer's
browser. In these, only halves of surrogate pairs are replaced, which can't be encoded."""

_MAY_NEED_CLEANING: Final = re.compile(
    "\\\\[bfnrtu]|[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)
_TERMINAL: Final = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, moves of the cursor.
    "|(?:\x1b[\\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c)"  # Titles.
    "|\x1b[ -/]*[0-~]"
)
_SPACES: Final = re.compile("[\t-\r\x85\u2028\u2029]+")
_INVISIBLE: Final = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def parse_incoming(body: bytes) -> Any:
    """Return the value of JSON that the provider sent, with its text cleaned.

    A byte order mark is skipped, as other readers do. An object that has a name twice is refused:
    which of the two values counts is unknown.

    Raises:
        ValueError: not UTF-8, not JSON, or nested deeper than 64 levels
            (`json.JSONDecodeError`, `UnicodeDecodeError` and `NameTwice` are).

    """
    text = body.removeprefix(_BOM).decode()
    parsed = load_once(text)
    is_flat = text.count("{") + text.count("[") <= _MAX_LEVELS
    return parsed if is_flat and _is_clean(text) else _cleaned(parsed, 0, is_exact=False)


def _is_clean(text: str) -> bool:
    """Return whether no text in a JSON document needs to be cleaned; most need not."""
    # JSON itself refuses a control character below U+0020 that isn't escaped.
    if text.isascii() and "\\" not in text and "\x7f" not in text:
        return True
    return _MAY_NEED_CLEANING.search(text) is None


def clean_text(text: str) -> str:
    """Return a text on one line, without terminal escapes and control characters.

    Line breaks and tabs become a space. Terminal escapes and marks that change the direction of
    writing are removed. Other control characters and halves of surrogate pairs become U+FFFD.
    """
    if text.isprintable():
        return text
    plain = _TERMINAL.sub("", text)
    plain = _INVISIBLE.sub("", _SPACES.sub(" ", plain))
    plain = _CONTROLS.sub("\ufffd", plain)
    return text if plain == text else plain.strip()


def _cleaned(value: Any, depth: int, *, is_exact: bool) -> Any:
    if isinstance(value, str):
        return _text(value, is_exact=is_exact)
    if not isinstance(value, dict | list):
        return value
    if depth >= _MAX_LEVELS:
        raise ValueError(f"nested deeper than {_MAX_LEVELS} levels")
    if is_list(value):
        return [_cleaned(item, depth + 1, is_exact=is_exact) for item in value]
    cleaned: Wire = {}
    for name, item in cast("Wire", value).items():
        # The caller's own data may be 64 levels deep, and is nested inside an answer.
        begins = not is_exact and name in _EXACT
        deeper = _cleaned(item, 0 if begins else depth + 1, is_exact=is_exact or begins)
        cleaned[_text(name, is_exact=is_exact)] = deeper
    return cleaned


def _text(text: str, *, is_exact: bool) -> str:
    return _SURROGATES.sub("\ufffd", text) if is_exact else clean_text(text)
