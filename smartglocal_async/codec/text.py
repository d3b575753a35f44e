"""JSON text: UTF-8 bytes to parsed values and back."""

import json
import math
from typing import Any

from ..values.exactness import check_json

Wire = dict[str, Any]

_dump = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number beyond all bounds")
    return number


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
