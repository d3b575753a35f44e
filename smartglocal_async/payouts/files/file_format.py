"""How a file of payouts is read: what was recognised in it, and what the caller sets instead."""

import codecs
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, cast, get_args

import attrs
from attrs import Attribute, field, frozen

from ...codec import ApiVersion
from ...errors import InvalidRequest
from .columns import path_of, similar

Kind = Literal["csv", "jsonl", "xlsx", "xls", "ods", "pain.001"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
_NAMES: Final[Mapping[str, str]] = {
    "csv": "CSV",
    "jsonl": "JSON Lines",
    "xlsx": "Excel workbook",
    "xls": "Excel 97 workbook",
    "ods": "OpenDocument spreadsheet",
    "pain.001": "ISO 20022",
}
DELIMITERS: Final[Mapping[str, str]] = MappingProxyType(
    {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
)
"""What separates the cells of a CSV, and its name."""
SIGNS: Final[Mapping[str, str]] = MappingProxyType({".": "decimal point", ",": "decimal comma"})
WIDE: Final = frozenset({"utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"})
"""Encodings that use more than one byte for an ASCII character."""
_SAMPLE: Final = 'key,amount;0.9\t|"\n'


def _one_of(words: "tuple[str, ...]", shown: str) -> Any:  # noqa: ANN401 - an attrs validator
    def check(_instance: object, attribute: "Attribute[Any]", value: object) -> None:
        if value is not None and value not in words:
            raise InvalidRequest(f"FileFormat.{attribute.name}", f"expected {shown}")

    return check


def _encoding(name: object) -> str | None:
    """Return Python's name of an encoding."""
    if name is None:
        return None
    words = "expected the name of an encoding, such as utf-8, utf-16, cp1252 or iso8859-2"
    if not isinstance(name, str):
        raise InvalidRequest("FileFormat.encoding", words)
    try:
        known = codecs.lookup(name).name
        is_text = known in WIDE or _SAMPLE.encode(known) == _SAMPLE.encode()
    except (LookupError, ValueError):
        raise InvalidRequest("FileFormat.encoding", words) from None
    if not is_text:
        raise InvalidRequest("FileFormat.encoding", words)
    return "utf-8" if known == "utf-8-sig" else known


def _columns(given: object) -> Mapping[str, str]:
    """Return the mapping of columns, with the path of each."""
    if not isinstance(given, Mapping):
        raise InvalidRequest("FileFormat.columns", "expected names of columns and of fields")
    paths: dict[str, str] = {}
    for name, meaning in cast("Mapping[object, object]", given).items():
        if not (isinstance(name, str) and isinstance(meaning, str)):
            raise InvalidRequest("FileFormat.columns", "expected names of columns and of fields")
        path = path_of(meaning, "v2")
        if path is None:
            alike = similar(meaning)
            advice = f"; did you mean {' or '.join(alike)}?" if alike else ""
            words = f"{meaning!r} is no column of payouts{advice}"
            raise InvalidRequest("FileFormat.columns", words)
        paths[folded(name)] = path
    return MappingProxyType(paths)


def _names(given: object) -> frozenset[str]:
    """Return the names of the columns to ignore."""
    if isinstance(given, str) or not all(isinstance(one, str) for one in _items(given)):
        raise InvalidRequest("FileFormat.ignored", "expected names of columns")
    return frozenset(folded(str(one)) for one in _items(given))


def _items(given: object) -> tuple[object, ...]:
    if not isinstance(given, list | tuple | set | frozenset):
        raise InvalidRequest("FileFormat.ignored", "expected names of columns")
    return tuple(cast("tuple[object, ...]", given))


def folded(name: str) -> str:
    """Return the name of a column without the differences that don't matter."""
    return " ".join(name.split()).casefold()


@frozen(kw_only=True)
class FileFormat:
    """How a file of payouts is read.

    Given to a `PayoutFile`, a field that isn't None is used and not recognised.
    `PayoutFile.recognise` returns one in which every field that matters for the file is set.

    Raises:
        InvalidRequest: a field has a value that can't be used, or a column is mapped to a field
            that payouts don't have.

    """

    kind: Kind | None = field(default=None, validator=_one_of(KINDS, f"one of {', '.join(KINDS)}"))
    encoding: str | None = field(default=None, converter=_encoding)
    """Python's name of the encoding: utf-8, utf-16, cp1252."""
    delimiter: str | None = field(
        default=None, validator=_one_of(tuple(DELIMITERS), "a comma, semicolon, tab or bar")
    )
    """Between the cells of a CSV."""
    decimal: Literal[".", ","] | None = field(
        default=None, validator=_one_of(tuple(SIGNS), "a point or a comma")
    )
    """Before the decimals of an amount. If you give it, the other sign separates thousands. None
    in a recognised format: no amount of the file shows it."""
    sheet: str | None = field(default=None)
    """The sheet of a workbook."""
    columns: Mapping[str, str] = field(factory=dict[str, str], converter=_columns)
    """Name of a column in the file -> the name or the path that it means:
    ``{"Betrag": "amount"}``."""
    ignored: frozenset[str] = field(factory=frozenset[str], converter=_names)
    """The columns that aren't read."""
    api_version: ApiVersion | None = field(
        default=None, validator=_one_of(get_args(ApiVersion), "v1 or v2")
    )
    """The version of the API whose names the file uses: with v2, ``payout_details`` is taken beside
    v1's ``payment_method``. None: that of the client which pays the file, else v1."""
    version: str | None = None
    """Recognised only: the version of an ISO 20022 message, such as ``pain.001.001.09``."""
    header_line: int | None = None
    """Recognised only: the line, or the row of the sheet, that names the columns."""
    is_decimal_given: bool = False
    """Recognised only: whether the decimal sign was given; the other one separates thousands."""
    hidden_rows: int = 0
    """Recognised only: how many hidden rows of a sheet are read, such as those of a filter."""

    @property
    def assumed_decimal(self) -> Literal["."] | None:
        """The decimal sign where no amount shows one.

        Where a comma separates the cells, it is a point: a list has semicolons in the countries
        that write a decimal comma. Other files leave it open.
        """
        return "." if self.kind == "csv" and self.delimiter == "," else None

    @property
    def words(self) -> str:
        """The format in words, to be shown before the file is paid."""
        if self.kind is None:
            return "not recognised"
        parts = [_NAMES[self.kind] if self.version is None else f"ISO 20022 {self.version}"]
        if self.encoding is not None:
            parts.append(self.encoding)
        if self.delimiter is not None:
            parts.append(f"{DELIMITERS[self.delimiter]} between the cells")
        if self.decimal is not None:
            parts.append(SIGNS[self.decimal])
        if self.sheet is not None:
            parts.append(f"sheet {self.sheet!r}")
        if self.header_line not in {None, 1}:
            parts.append(f"column names in line {self.header_line}")
        if self.hidden_rows:
            rows = "row is" if self.hidden_rows == 1 else "rows are"
            parts.append(f"{self.hidden_rows:,} hidden {rows} included")
        return ", ".join(parts)

    def __str__(self) -> str:
        return self.words

    @property
    def names_of(self) -> ApiVersion:
        """The version of the API whose names the file is read with."""
        return self.api_version or "v1"

    def path_of(self, name: str) -> str | None:
        """Return the path of a column of the file; None if the name is no column of payouts."""
        return self.columns.get(folded(name)) or path_of(name, self.names_of)

    def ignores(self, name: str) -> bool:
        """Return whether a column of the file isn't read."""
        return folded(name) in self.ignored


_GIVEN: Final = tuple(
    one.name
    for one in attrs.fields(FileFormat)
    if one.name not in {"version", "header_line", "is_decimal_given", "hidden_rows"}
)


def read_format(path: Path | str) -> FileFormat:
    """Return the format that a TOML file describes, with the fields of `FileFormat`.

    Raises:
        InvalidRequest: the file isn't TOML, or has another field.
        OSError: the file can't be read.

    """
    try:
        with Path(path).open("rb") as file:
            found = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(str(path), f"isn't TOML: {error}") from None
    for name in found:
        if name not in _GIVEN:
            raise InvalidRequest(str(path), f"{name} is no field; use {', '.join(_GIVEN)}")
    return FileFormat(**found)
