"""A request in the making: fields of a file, then of options, and which of them said what."""

import codecs
import json
import os
import re
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from attrs import define, field

from ..codec import ApiVersion, NotDecodable, Wire, codec, parse
from ..errors import InvalidCredentials, InvalidRequest
from .screen import counted

T = TypeVar("T")

FILE: Final = "--file"
_VARIABLE: Final = "SMARTGLOCAL_API_VERSION"
_MISSING: Final = "is missing"
_UNKNOWN: Final = "is no field"
_PATH: Final = re.compile(r"[^.\[\]]+(?:\.[^.\[\]]+|\[[0-9]{1,4}\])*")
_STEP: Final = re.compile(r"([^.\[\]]+)|\[([0-9]+)\]")
# What a payout goes to is called otherwise in each version.
PAYOUT_INSTRUMENT: Final[Mapping[ApiVersion, str]] = {
    "v1": "payment_method",
    "v2": "payout_details",
}
# What a call says of its own options.
_PLAIN: Final[Mapping[str, str]] = {
    "key": "--key",
    "deadline": "--deadline",
    "path": "PATH",
}


def version_in_use() -> ApiVersion:
    """Give the API version of the environment: its names are those of files and paths.

    Raises:
        InvalidCredentials: there is no such version.

    """
    match os.environ.get(_VARIABLE) or "v1":
        case "v1" | "v2" as version:
            return version
        case other:
            raise InvalidCredentials(f"api_version must be 'v1' or 'v2', got {other!r}")


@define(eq=False)
class Draft:
    """The wire form of a request, and the option behind each of its fields."""

    wire: Wire = field(factory=dict[str, Any], repr=False)
    has_file: bool = False
    _origins: dict[str, str] = field(factory=dict[str, str])

    @classmethod
    def read(cls, name: str | None) -> "Draft":
        """Begin with a JSON file, ``-`` for standard input; None begins with nothing.

        Raises:
            InvalidRequest: it isn't JSON, or no object; the text quotes nothing of it.
            OSError: it can't be read.

        """
        if name is None:
            return cls()
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        try:
            wire = parse(content.removeprefix(codecs.BOM_UTF8))
        except ValueError as error:
            raise InvalidRequest(FILE, f"isn't JSON: {_where(error)}") from None
        if not isinstance(wire, dict):
            kind = type(wire).__name__
            raise InvalidRequest(FILE, f"expected an object of names and values, got {kind}")
        return cls(cast("Wire", wire), has_file=True)

    def put(self, path: str, value: object, option: str) -> None:
        """Set a field over what the file says; the objects on the way to it are made.

        Raises:
            InvalidRequest: another option said it, or it has no place.

        """
        for other, said in self._origins.items():
            if other == path or _is_inside(other, path):
                whom = "twice" if said == option else f"by {said}, too"
                raise InvalidRequest(option, f"{path} is given {whom}")
        steps = [int(index) if index else name for name, index in _STEP.findall(path)]
        _place(self.wire, steps, value, option)
        self._origins[path] = option

    def put_text(self, option: str, assignments: list[str] | None, *, as_json: bool) -> None:
        """Set fields as they were typed, ``PATH=VALUE``; those of an object before what is in it.

        Raises:
            InvalidRequest: it can't be read, or set.

        """
        pairs = (_assignment(text, option) for text in assignments or ())
        for path, text in sorted(pairs, key=lambda pair: len(_STEP.findall(pair[0]))):
            self.put(path, read_json(text, f"{option} {path}") if as_json else text, option)

    def origin(self, path: str) -> str | None:
        """Name the option behind a field; the closest one wins."""
        above = [said for said in self._origins if said == path or _is_inside(path, said)]
        if above:
            return self._origins[max(above, key=len)]
        if self.has_file:
            return FILE
        below = (option for said, option in self._origins.items() if _is_inside(said, path))
        return next(below, None)

    def build(self, record: type[T], version: ApiVersion) -> T:
        """Give the record of what was said.

        Raises:
            InvalidRequest: naming the option, and the path where it says more than one field.

        """
        try:
            return codec(version).structure(self.wire, record)
        except NotDecodable as error:
            complaints = error.complaints
        # A misspelt name is the cause of another one's absence.
        path, problem = next((pair for pair in complaints if _UNKNOWN in pair[1]), complaints[0])
        path = path.removeprefix("$").strip(".").replace(".wire.", ".")
        raise self.complaint(path, problem + _called(path, version) * (_UNKNOWN in problem))

    @contextmanager
    def blamed(self) -> Generator[None, None, None]:
        """Put what the client says of a request under the name of the option that said it."""
        try:
            yield
        except InvalidRequest as error:
            complaint = self.complaint(error.field, error.problem)
        else:
            return
        raise complaint

    def complaint(self, path: str, problem: str) -> InvalidRequest:
        """Give the error about a field under the name of the option that said it."""
        if path in _PLAIN:
            return InvalidRequest(_PLAIN[path], problem)
        if path == "api_version":
            call = problem.partition(";")[0]
            return InvalidRequest(_VARIABLE, f"{call}; set it to v1 for this call, or unset it")
        # A record's own name may stand in front.
        is_led = path[:1].isupper() or path.startswith("request.")
        bare = path.partition(".")[2] if is_led else path
        option = self.origin(bare)
        if problem == _MISSING and bare == "session_id":
            return InvalidRequest("SESSION_ID", problem)
        if not bare:
            return InvalidRequest(option or "the request", problem)
        if option is None:
            advice = "; give it in --file, or by --set" if problem == _MISSING else ""
            return InvalidRequest(bare, problem + advice)
        says_more = self._origins.get(bare) != option or option.startswith("--set")
        return InvalidRequest(option, f"{bare}: {problem}" if says_more else problem)


def read_json(text: str, option: str) -> Any:  # noqa: ANN401 - any JSON
    """Read an option's JSON.

    Raises:
        InvalidRequest: it isn't JSON; the text quotes nothing of it.

    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(option, f"isn't JSON: {_where(error)}") from None


def _called(path: str, version: ApiVersion) -> str:
    """Say what a field is called in this version, where it has the name of the other one."""
    holder, _, name = path.rpartition(".")
    own = PAYOUT_INSTRUMENT[version]
    if holder or name == own or name not in PAYOUT_INSTRUMENT.values():
        return ""
    return f"; in {version} it is called {own}"


def _where(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "it isn't UTF-8 text"
    return str(error)


def _assignment(text: str, option: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not equals:
        raise InvalidRequest(option, "expected PATH=VALUE, and found no =")
    if not _PATH.fullmatch(path):
        raise InvalidRequest(
            option, "expected a path before the =, such as customer.contacts[0].email"
        )
    return path, value


def _is_inside(path: str, other: str) -> bool:
    return path.startswith((f"{other}.", f"{other}["))


def _place(wire: Wire, steps: list[str | int], value: object, option: str) -> None:
    holder: Any = wire
    for told, step, following in _walk(steps):
        fresh = _slot(holder, step, told, option)
        if following is None:
            holder[step] = value
            return
        if fresh or holder[step] is None:
            holder[step] = [] if isinstance(following, int) else {}
        holder = holder[step]


def _walk(steps: list[str | int]) -> Iterator[tuple[str, str | int, str | int | None]]:
    told = ""
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        told += f"[{step}]" if isinstance(step, int) else f".{step}"
        yield told.removeprefix("."), step, following


def _slot(holder: Any, step: str | int, told: str, option: str) -> bool:  # noqa: ANN401 - any JSON
    """Make room for a step, and say whether it is new there."""
    if isinstance(step, str):
        if not isinstance(holder, dict):
            raise InvalidRequest(option, f"{told}: what holds it is no object")
        return step not in holder
    if not isinstance(holder, list):
        raise InvalidRequest(option, f"{told}: what holds it is no list")
    items = cast("list[object]", holder)
    if step > len(items):
        raise InvalidRequest(
            option, f"{told}: the list has {counted(len(items), 'item')} before it"
        )
    if step == len(items):
        items.append(None)
        return True
    return False
