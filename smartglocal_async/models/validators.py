"""Validators of the records: a field must have its declared type, as nothing is converted."""

import functools
import inspect
import math
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, ParamSpec, TypeVar, Union, cast, get_args, get_origin
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs
from attrs import Attribute

from ..errors import MASK, InvalidRequest

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

no_fields: Final[Callable[[], dict[str, Any]]] = dict
"""Returns an empty dictionary, in a third of the time of ``dict[str, Any]``."""

_MAX_DEPTH: Final = 64
# Twelve to nineteen digits, perhaps in groups, as card numbers are written. An IPv4 address isn't
# masked: its four groups have up to three digits, and messages need it.
_LOOKS_LIKE_PAN: Final = re.compile(
    r"(?<!\d)(?!(?:\d{1,3}\.){3}\d{1,3}(?![ .-]?\d))\d(?:[ .\u00a0\u202f-]?\d){11,18}(?!\d)"
)
_PERSONAL: Final = re.compile(
    r"[^\s@<>,;\"']+@[^\s@<>,;\"']+\.[^\s@<>,;\"']+"
    r"|\b[A-Za-z]{2}[0-9]{2}[A-Za-z0-9]{11,30}\b"
    r"|\b[A-Z]{2}[0-9]{2}(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,4})?\b"
    r"|\+?(?<![\w-])[0-9](?:[ -]?[0-9]){8,}(?![\w-])"
)
"""An e-mail, an IBAN, or nine digits and more: a phone or an account."""
_MAX_INT_BITS: Final = 14_000  # Python writes 4300 digits, and refuses more.
_MAX_OPTION: Final = 10**9
_POSTGRES: Final = frozenset({"postgres", "postgresql"})
_PLACE: Final = re.compile(r"(/[^:@]*|\[[0-9a-fA-F:.%]+\]|[^/:@\[\]]+)(?::([0-9]+))?")
"""A folder of sockets, an address in brackets or a name; and a port."""
_PLAIN: Final = {str: "text", int: "a whole number", bool: "true or false"}


def mask(value: object) -> str:
    """Return the repr of a masked field: whether there is a value, and nothing of it."""
    return repr(value) if value is None else MASK


def without_card_numbers(text: str | None) -> str | None:
    """Mask the digit runs of a text that are long enough to be a card number."""
    return None if text is None else _LOOKS_LIKE_PAN.sub(MASK, text)


def without_personal_data(text: str) -> str:
    """Mask the e-mails, IBANs and long numbers of a free text; a name can't be recognised."""
    return _PERSONAL.sub(MASK, text)


def discreet(record: type[T]) -> type[T]:
    """Keep refused values out of the traceback (a class decorator).

    Tools that record the variables of a traceback's frames would otherwise record a card number
    that was refused because of a space in it.
    """
    type.__setattr__(record, "__init__", discreetly(record.__init__))
    return record


def discreetly(function: Callable[P, R]) -> Callable[P, R]:
    """Keep refused arguments of a function out of the traceback (a decorator)."""

    @functools.wraps(function)
    def call(*values: P.args, **fields: P.kwargs) -> R:
        try:
            return function(*values, **fields)
        except Exception as error:  # noqa: BLE001 - an unknown field's TypeError has these frames too
            refused = error.with_traceback(None)
        del values, fields
        raise refused

    return call


def exact(_cls: type, fields: "list[Attribute[Any]]") -> "list[Attribute[Any]]":
    """Add to every field the check of its annotation (an attrs field transformer).

    The fields of a record that may hold text have one check together, which takes a third of the
    time: it runs with the last of them.
    """
    unchecked = [f for f in fields if f.validator is None]
    texts = {f.name: f for f in unchecked if set(_members(f.type)) == {str, types.NoneType}}
    checks = {f.name: _checks(f) for f in unchecked}
    if len(texts) > 1:
        together = _check_of_texts({name: (f, checks[name]) for name, f in texts.items()})
        checks |= {**dict.fromkeys(texts), list(texts)[-1]: together}
    return [f.evolve(validator=checks[f.name]) if f.name in checks else f for f in fields]


_Check = Callable[[Any, Any, Any], None]


def _check_of_texts(
    fields: "Mapping[str, tuple[Attribute[Any], _Check | None]]",
) -> _Check:
    """Return the check of all fields of a record that hold text or nothing."""
    read = attrgetter(*fields)

    def check(instance: object, _field: object, _value: object) -> None:
        for value in read(instance):
            if value is not None and (value.__class__ is not str or not value.isascii()):
                break
        else:
            return
        for name, (attribute, check_one) in fields.items():
            if check_one is not None:
                check_one(instance, attribute, getattr(instance, name))

    return check


def _checks(attribute: "Attribute[Any]") -> Callable[[Any, Any, Any], None] | None:
    if attribute.type is Any:
        return check_metadata
    members = _members(attribute.type)
    if any(get_origin(member) is Mapping for member in members):
        return check_extra
    classes = tuple(get_origin(member) or member for member in members)
    wanted = " or ".join(_noun(member) for member in classes if member is not types.NoneType)
    may_be_none, by_instance = types.NoneType in classes, _not_plain_int(classes)
    exact_classes = frozenset(classes)

    def check(instance: object, field: "Attribute[Any]", value: object) -> None:
        if value is None and may_be_none:
            return
        # type() and not isinstance() for plain types, as True is an instance of int.
        if type(value) in exact_classes or isinstance(value, by_instance):
            if isinstance(value, str):
                _check_text(value, f"{type(instance).__name__}.{field.name}")
            return
        raise InvalidRequest(
            f"{type(instance).__name__}.{field.name}",
            f"expected {wanted}, got {type(value).__name__}",
        )

    return check


def _members(annotation: Any) -> tuple[Any, ...]:
    origin = get_origin(annotation)
    return get_args(annotation) if origin in {Union, types.UnionType} else (annotation,)


def _noun(member: type) -> str:
    return _PLAIN.get(member, member.__name__)


def _not_plain_int(classes: tuple[type, ...]) -> tuple[type, ...]:
    return tuple(member for member in classes if member not in {int, bool})


def above_zero(name: str, value: object, *, whole: bool = False) -> None:
    """Refuse an option that isn't a number above zero, up to 10**9.

    Raises:
        InvalidRequest: naming the option.

    """
    numbers = (int,) if whole else (int, float)
    # type() and not isinstance(), as True is an instance of int.
    if type(value) not in numbers or not 0 < cast("float", value) <= _MAX_OPTION:
        raise InvalidRequest(name, f"must be a {'whole ' if whole else ''}number above zero")


@discreetly
def postgres_places(name: str, dsn: str) -> list[tuple[str, str | None]]:
    """Return the hosts of a PostgreSQL address, each with its port if it has one.

    Raises:
        InvalidRequest: the address can't be read; the message names the option, and no part of it.

    """
    try:
        parts = urlsplit(dsn)
    except ValueError:
        parts = urlsplit("")
    hosts = parts.netloc.rpartition("@")[2]
    places = [
        _PLACE.fullmatch(unquote(host))
        for host in (hosts or dict(parse_qsl(parts.query)).get("host") or "localhost").split(",")
    ]
    if parts.scheme not in _POSTGRES or None in places:
        raise InvalidRequest(name, "expected an address such as postgres://user@host:5432/database")
    # An @ that isn't written as %40 ends a password too early: the rest would be shown as a host.
    if dsn.count("@") > 1 or (dsn.count("@") == 1 and "@" not in parts.netloc):
        words = "write /, ?, # and @ in a user, a password or a name as %2F, %3F, %23 and %40"
        raise InvalidRequest(name, words)
    return [(place[1], place[2]) for place in places if place]


def plain_function(name: str, value: object) -> None:
    """Refuse an option that can't be called, or must be awaited.

    Raises:
        InvalidRequest: naming the option.

    """
    if not callable(value):
        raise InvalidRequest(name, "must be callable")
    inner: Any = value
    while isinstance(inner, functools.partial):
        inner = inner.func
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    # Calling a class makes an object; whether that object is callable doesn't matter.
    called = None if isinstance(inner, type) else getattr(inner, "__call__", None)  # noqa: B004
    if any(kind(one) for kind in kinds for one in (inner, called)):
        raise InvalidRequest(name, "is an async function, and is called without being awaited")


def not_empty(instance: object, field: "Attribute[str]", value: object) -> None:
    """Refuse anything but text that isn't empty (an attrs validator)."""
    where = f"{type(instance).__name__}.{field.name}"
    if not isinstance(value, str):
        raise InvalidRequest(where, f"expected text, got {type(value).__name__}")
    if not value:
        raise InvalidRequest(where, "is empty; give the one that the provider gave")
    _check_text(value, where)


def check_metadata(instance: object, field: "Attribute[Any]", value: object) -> None:
    """Refuse a value that JSON can't carry; the error names the path inside it."""
    if value is None:
        return
    check_json(value, f"{type(instance).__name__}.{field.name}")


def check_extra(instance: object, field: "Attribute[Any]", value: object) -> None:
    """Refuse extra fields that JSON can't carry, or that are fields of the record."""
    if value == {}:
        return
    path = f"{type(instance).__name__}.{field.name}"
    if not isinstance(value, Mapping):
        raise InvalidRequest(path, f"expected an object of names and values, got {_kind(value)}")
    named = dict(cast("Mapping[object, object]", value))
    check_json(named, path)
    own = cast("type[attrs.AttrsInstance]", type(instance))
    for taken in {other.name for other in attrs.fields(own)} & named.keys():
        raise InvalidRequest(f"{path}.{taken}", "the record has this field: set it there")


@discreetly
def check_json(value: object, path: str) -> None:
    """Refuse a value that JSON can't carry exactly; the error names the path to it.

    Raises:
        InvalidRequest: a type that JSON lacks, NaN or an infinity, a name that isn't text,
            text that isn't Unicode, or a nesting deeper than 64 (a cycle, most likely).

    """
    _check_json(value, path, 0)


def _check_json(value: object, path: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise InvalidRequest(path, f"is nested deeper than {_MAX_DEPTH}; does it contain itself?")
    if depth < _MAX_DEPTH and _is_plain_text(value):
        return
    for name, item in _items(value, path):
        _check_json(item, f"{path}{name}", depth + 1)


def _is_plain_text(value: object) -> bool:
    """Return whether it is an object of ASCII names and texts, as most metadata is."""
    if type(value) is not dict:
        return False
    for name, item in cast("dict[object, object]", value).items():
        if type(name) is not str or type(item) is not str:
            return False
        if not (name.isascii() and item.isascii()):
            return False
    return True


def _items(value: object, path: str) -> Iterable[tuple[str, object]]:
    """Check one value, and return the names and values inside it."""
    match value:
        case dict():
            return _named(cast("dict[object, object]", value), path)
        case list() | tuple():
            items = cast("Sequence[object]", value)
            return ((f"[{index}]", item) for index, item in enumerate(items))
        case str():
            _check_text(value, path)
        case float() if not math.isfinite(value):
            raise InvalidRequest(path, "is not a finite number; JSON has no NaN or infinity")
        case int() if value.bit_length() > _MAX_INT_BITS:
            raise InvalidRequest(path, "is a number of thousands of digits; write it as text")
        case None | bool() | int() | float():
            pass
        case _:
            raise InvalidRequest(path, f"{_kind(value)} isn't JSON; write it as text or a number")
    return ()


def _named(value: dict[object, object], path: str) -> Iterator[tuple[str, object]]:
    for name, item in value.items():
        if not isinstance(name, str):
            raise InvalidRequest(path, f"has a name that isn't text but {_kind(name)}")
        _check_text(name, path)
        yield f".{name}", item


def _check_text(value: str, path: str) -> None:
    if not value.isascii():
        try:
            _ = value.encode()
        except UnicodeEncodeError:
            raise InvalidRequest(path, "holds half a surrogate pair; that isn't Unicode") from None


def _kind(value: object) -> str:
    return type(value).__name__


_QUOTES: Final = ("'", '"')


def is_quoted(text: str) -> bool:
    """Return whether a text is in quotes, which a shell would have removed."""
    return len(text) > 1 and text[0] in _QUOTES and text[-1] == text[0]
