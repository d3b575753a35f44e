"""Records as plain data: dictionaries and JSON text, with the values masked that a repr masks.

`to_dict` and `to_json` show what the repr shows, so there is one list of what may be shown: the
fields' own ``repr``. pydantic, and FastAPI with it, finds the same data without an import here.
"""

import enum
import json
from collections.abc import Collection, Mapping
from datetime import date, datetime
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, cast, get_args, get_origin

import attrs

from ..errors import MASK
from .validators import mask, without_personal_data

_FREE_TEXTS: Final = frozenset({"description", "reason", "cause"})
"""Fields that may quote a free text of the provider."""


class Serializable:
    """A record that can be read as plain data, and returned from a FastAPI endpoint."""

    __slots__ = ()

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """The masked data: FastAPI asks `vars` where an endpoint has no return annotation."""
        return self.to_dict()

    def to_dict(self, *, masked: bool = True) -> dict[str, Any]:
        """Return all fields as plain data that JSON can carry, without objects shared with it.

        The names are those of the fields here. Times are ISO 8601 text, decimal numbers are text,
        amounts are in minor units, and an instrument has the name of its class in ``type``. An
        error has ``type``, ``message`` and its fields.

        Masked, as by default, a field whose value the repr hides is ``"***"``: card numbers, names,
        accounts, phones, e-mails, tokens, metadata, and fields that have no name here. In free
        texts of the provider, such as the description of an error, e-mails, IBANs and long numbers
        are masked; names in them can't be recognised. What is absent or empty is shown as it is.
        """
        return _record(self, masked=masked)

    def to_json(self, *, masked: bool = True, indent: int | None = None) -> str:
        """Return the data of `to_dict` as JSON text."""
        data = self.to_dict(masked=masked)
        return json.dumps(data, ensure_ascii=False, allow_nan=False, indent=indent)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: object) -> dict[str, Any]:
        """Return what pydantic does with the record: it checks the class, and writes the data."""
        return {
            "type": "is-instance",
            "cls": cls,
            "serialization": {"type": "function-plain", "function": as_data},
        }

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: object, _handler: object) -> dict[str, Any]:
        """Return the JSON schema of the data, for the OpenAPI document."""
        return _schema_of(cls)


class TaggedRecord(Serializable):
    """A record of a field that may have several kinds: ``type`` in its data names its class."""

    __slots__ = ()


def as_data(value: object, *, masked: bool = True) -> Any:  # noqa: ANN401 - any JSON value
    """Return a record, an error, or a collection of them as plain data that JSON can carry.

    See `Serializable.to_dict`. The keys of a mapping that are tuples become nested objects.
    """
    match value:
        case enum.Enum():
            return value.value if isinstance(value.value, str) else value.name
        case str() | int() | float() | None:
            return value
        case datetime() | date():
            return value.isoformat()
        case Decimal():
            return str(value)
        case Mapping() | list() | tuple() | set() | frozenset():
            return _collection(cast("Collection[object]", value), masked=masked)
        case BaseException():
            shown = _record(value, masked=masked) if attrs.has(value.__class__) else {}
            message = without_personal_data(str(value)) if masked else str(value)
            return {"type": value.__class__.__name__, "message": message, **shown}
        case _:
            return _record(value, masked=masked)


def _collection(value: Collection[object], *, masked: bool) -> Any:  # noqa: ANN401 - as above
    if isinstance(value, Mapping):
        return _mapping(cast("Mapping[object, object]", value), masked=masked)
    return [as_data(item, masked=masked) for item in value]


def _record(record: Any, *, masked: bool) -> dict[str, Any]:  # noqa: ANN401 - any attrs class
    kind = cast("type[Any]", record.__class__)
    data: dict[str, Any] = {"type": kind.__name__} if issubclass(kind, TaggedRecord) else {}
    for name, is_secret in _shown(kind):
        value = getattr(record, name)
        hides = masked and is_secret and not _is_absent(value)
        if masked and name in _FREE_TEXTS and isinstance(value, str):
            value = without_personal_data(value)
        data[name] = MASK if hides else as_data(value, masked=masked)
    return data


def _shown(record: type[Any]) -> tuple[tuple[str, bool], ...]:
    """Return the fields that the repr has, each with whether its value is masked there."""
    found: tuple[attrs.Attribute[Any], ...] = attrs.fields(record)
    return tuple((each.name, each.repr is mask) for each in found if each.repr is not False)


def _is_absent(value: object) -> bool:
    return value is None or (isinstance(value, Mapping | list | tuple) and not value)


def _mapping(values: Mapping[object, object], *, masked: bool) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in values.items():
        first, *rest = cast("tuple[object, ...]", key) if isinstance(key, tuple) else (key,)
        if rest:
            inner = data.setdefault(_name(first), {})
            inner[_name(*rest)] = as_data(value, masked=masked)
        else:
            data[_name(first)] = as_data(value, masked=masked)
    return data


def _name(key: object) -> str:
    plain = as_data(key)
    return "" if plain is None else str(plain)


# --- The schema for pydantic -------------------------------------------------------------------

_TEXT: Final = {"type": "string"}
_SCHEMAS: Final[Mapping[object, dict[str, Any]]] = {
    str: _TEXT,
    Decimal: _TEXT,
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
}


def _schema_of(record: type[Any]) -> dict[str, Any]:
    names = [name for name, _ in _shown(record)]
    types = {each.name: each.type for each in attrs.fields(record)}
    properties = {name: _schema_of_type(types[name]) for name in names}
    if issubclass(record, TaggedRecord):
        properties = {"type": {"const": record.__name__}, **properties}
    return {
        "type": "object",
        "title": record.__name__,
        "properties": properties,
        "required": list(properties),
    }


def _schema_of_type(annotation: Any) -> dict[str, Any]:  # noqa: ANN401 - any annotation
    origin, members = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _schema_of_type(members[0])
    if annotation in _SCHEMAS:
        return dict(_SCHEMAS[annotation])
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return dict(_TEXT)
    if isinstance(annotation, type) and issubclass(annotation, Serializable):
        return _schema_of(annotation)
    if origin in {tuple, list}:
        return {"type": "array", "items": _schema_of_type(members[0])}
    if origin in {Union, UnionType}:
        kinds: list[dict[str, Any]] = []
        for kind in map(_schema_of_type, members):
            kinds += [kind] if kind not in kinds else []
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    return {}  # A mapping, or any value: masked, it is text.
