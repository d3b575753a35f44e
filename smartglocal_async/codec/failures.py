"""What doesn't fit its record, as pairs of a path on the wire and what is wrong there."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from cattrs.errors import (
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
)

from ..errors import InvalidRequest


class NotDecodable(ValueError):
    """JSON that doesn't fit its record; ``complaints`` pairs a path with what is wrong there."""

    def __init__(self, complaints: tuple[tuple[str, str], ...]) -> None:
        super().__init__(complaints)
        self.complaints = complaints

    def __str__(self) -> str:
        return "; ".join(f"{path}: {problem}" for path, problem in self.complaints)


def complaints(
    error: BaseException, path: str, names: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[str, str]]:
    """Walk cattrs' tree of errors down to the leaves; the path is that of the wire."""
    match error:
        case ClassValidationError() | IterableValidationError():
            for leaf, step in _inner(error, names):
                yield from complaints(leaf, f"{path}{step}", names)
        case NotDecodable():
            yield from ((f"{path}.{deeper}", problem) for deeper, problem in error.complaints)
        case ForbiddenExtraKeysError():
            unknown = sorted(error.extra_fields)
            yield from ((f"{path}.{name}", "is no field of this record") for name in unknown)
        case InvalidRequest():
            yield f"{path}.{error.field.partition('.')[2]}", error.problem
        case KeyError():
            yield path, "is missing"  # The note beside it has named the field.
        case _:
            yield path, _safe_text(error)


def _inner(
    error: ClassValidationError | IterableValidationError, names: Mapping[str, str]
) -> Iterator[tuple[BaseException, str]]:
    if isinstance(error, IterableValidationError):
        for leaf, index in error.group_exceptions()[0]:
            yield leaf, f"[{index.index}]"
        return
    noted, bare = error.group_exceptions()
    for leaf, note in noted:
        yield leaf, f".{names.get(note.name, note.name)}"
    for leaf in bare:
        yield leaf, ""


def _safe_text(error: BaseException) -> str:
    # Only our own hooks phrase their errors without the value; others may quote it.
    ours = isinstance(error, TypeError) and str(error).startswith("expected ")
    return str(error) if ours else f"is not acceptable ({type(error).__name__})"
