"""Reads JSON from the bytes that came, strictly; no I/O."""

import json
import math
from typing import Final

from .checks import JsonObject, is_array, is_object

_DEEPEST: Final = 100


def parse(body: bytes) -> JsonObject | None:
    """Give the object that a body is, or None if it is none.

    An empty list is an object without members: PHP writes it so.
    """
    try:
        value: object = json.loads(
            body.decode("utf-8"), parse_float=_finite, parse_constant=_finite
        )
    except (ValueError, RecursionError):
        return None
    if is_array(value) and not value:
        return {}
    return value if is_object(value) and _is_shallow(value) else None


def _finite(text: str) -> float:
    # Infinity could not be echoed as JSON; Python reads both 1e999 and the word.
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _is_shallow(value: object) -> bool:
    # The limit is the emulator's own: what it reads it must be able to write again.
    level = [value]
    for _ in range(_DEEPEST):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return True
    return False


def _children(value: object) -> list[object]:
    if is_object(value):
        return list(value.values())
    return value if is_array(value) else []
