"""JSON text: UTF-8 bytes to parsed values and back."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

from ..errors import InvalidRequest
from ..models.validators import check_json

Wire = dict[str, Any]


class NameTwice(ValueError):
    """JSON with an object that has a name twice, so that which of the values counts is unknown."""

    def __init__(self, name: str) -> None:
        super().__init__("an object has a name twice")
        self.name = name


def compact_encoder(*, ensure_ascii: bool, sort_keys: bool) -> Callable[[Any], str]:
    """Return a function that writes compact JSON without NaN; it may be used from any thread.

    `json.JSONEncoder.encode` makes its C encoder anew for each document, which takes longer than a
    small document itself. A value that contains itself raises `RecursionError` here.
    """
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii,
        allow_nan=False,
        sort_keys=sort_keys,
        separators=(",", ":"),
        check_circular=False,
    )
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    escape: Any = json.encoder.encode_basestring_ascii
    if not ensure_ascii:
        escape = json.encoder.encode_basestring
    write = cast(
        "Callable[[Any, int], Iterable[str]]",
        # In the order of the names of `json.JSONEncoder`; the last two are skipkeys and allow_nan.
        make(None, encoder.default, escape, None, ":", ",", sort_keys, *(False, False)),
    )
    return lambda value: "".join(write(value, 0))


_dump = compact_encoder(ensure_ascii=False, sort_keys=False)
_dump_sorted = compact_encoder(ensure_ascii=False, sort_keys=True)
_quote = json.encoder.encode_basestring


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


# Untyped, since their attribute `scan_once` is missing in typeshed.
_decoder: Any = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_once_decoder: Any = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_once
)
_WHITE_SPACE: Final = " \t\n\r"


def parse(body: bytes) -> Any:
    """Read JSON from UTF-8 bytes; NaN and the infinities are no JSON.

    Raises:
        ValueError: not UTF-8 or not JSON (`json.JSONDecodeError` and `UnicodeDecodeError` are).

    """
    return load(body.decode())


def load(text: str) -> Any:
    """Read JSON as `parse` does, from text."""
    return _load(_decoder, text)


def load_once(text: str) -> Any:
    """Read JSON as `parse` does, from text in which each name of an object is there once.

    Raises:
        NameTwice: one isn't.
        ValueError: not JSON (`json.JSONDecodeError` is).

    """
    return _load(_once_decoder, text)


def _load(decoder: Any, text: str) -> Any:
    bare = text.strip(_WHITE_SPACE)
    try:
        # Called as `JSONDecoder.decode` does, without its two regular expressions.
        value, end = decoder.scan_once(bare, 0)
    except StopIteration:
        value, end = None, -1
    except RecursionError:
        raise ValueError("nested too deeply") from None
    # The decoder reports what is wrong, and where.
    return value if end == len(bare) else decoder.decode(text)


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
    raise _refusal(wire, failure)


def dump_fields(wire: Wire) -> dict[str, bytes]:
    """Write the value of each field as compact JSON in raw UTF-8, with sorted names in it.

    The same request has the same text so, in whatever order its metadata was put together.

    Raises:
        InvalidRequest: as `dump` does.

    """
    try:
        return {name: _dump_sorted(value).encode() for name, value in wire.items()}
    except (TypeError, ValueError, RecursionError) as error:
        failure = error
    raise _refusal(wire, failure)


def join_fields(fields: Mapping[str, bytes]) -> bytes:
    """Return the JSON object that `dump_fields` wrote the fields of."""
    members = [_quote(name).encode() + b":" + text for name, text in fields.items()]
    return b"{" + b",".join(members) + b"}"


def _refusal(wire: Wire, failure: Exception) -> Exception:
    """Return the error for what can't be written.

    Called outside of the handler: the encoder's own error, and its frames, must not be chained.
    """
    try:
        check_json(wire, "request")
    except InvalidRequest as error:
        return error.with_traceback(None)
    return failure
