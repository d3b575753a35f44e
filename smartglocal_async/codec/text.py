"""JSON text: UTF-8 bytes to parsed values and back."""

import json
import math
from typing import Any

from ..values.exactness import check_json

Wire = dict[str, Any]


class NameTwice(ValueError):
    """JSON with an object that has a name twice: which of the values counts, nobody can say."""

    def __init__(self, name: str) -> None:
        super().__init__("an object has a name twice")
        self.name = name


_dump = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number beyond all bounds")
    return number


def _once(pairs: list[tuple[str, Any]]) -> Wire:
    wire = dict(pairs)
    if len(wire) != len(pairs):
        names = [name for name, _ in pairs]
        raise NameTwice(next(name for name in names if names.count(name) > 1))
    return wire


_load_once = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_once
).decode
_load = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite).decode


def parse(body: bytes) -> Any:
    """Read JSON from UTF-8 bytes; NaN and the infinities are no JSON.

    Raises:
        ValueError: not UTF-8 or not JSON (`json.JSONDecodeError` and `UnicodeDecodeError` are).

    """
    try:
        return _load(body.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_once(text: str) -> Any:
    """Read JSON that somebody wrote: as `parse` does, and each name of an object is there once.

    Raises:
        NameTwice: one isn't.
        ValueError: not JSON (`json.JSONDecodeError` is).

    """
    try:
        return _load_once(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dump(wire: Wire) -> bytes:
    """Write compact JSON in raw UTF-8; the order of the names is kept.

    Raises:
        InvalidRequest: something in it isn't JSON (any more: metadata can be changed after the
            record was made); the field is the path to it.

    """
    try:
        return _dump(wire).encode()
    except (TypeError, ValueError, RecursionError) as error:
        failure = error
    # Out of the handler: the encoder's own error, and its frames, must not ride along.
    check_json(wire, "request")
    raise failure
