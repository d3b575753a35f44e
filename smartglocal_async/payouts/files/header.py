"""The first line of a CSV: which column holds what, or why it can't be told."""

from collections.abc import Iterator
from typing import Final, TypeAlias

from attrs import frozen

from .columns import CONTACTS, KINDS, METADATA, NEEDED, TAGS, Kind, name_of, near, path_of
from .rows import Problem, shown

Fields: TypeAlias = tuple[tuple[int, str], ...]
"""The fields of one object: number of the cell, name of the field."""
_SEPARATORS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}


@frozen
class Layout:
    """Where in a row everything stands."""

    names: tuple[str, ...]
    """Of the columns, as the file has them."""
    paths: tuple[str, ...]
    instruments: tuple[tuple[Kind, Fields], ...]
    tags: tuple[tuple[int, str], ...]
    """Cells that name the kind of instrument, and the paths of their columns."""
    contacts: tuple[Fields, ...]
    holders: tuple[tuple[tuple[str, ...], Fields], ...]
    """The other objects, by the steps that lead to them."""

    def cell_of(self, path: str) -> int:
        """Give the number of the cell for a path."""
        return self.paths.index(path)

    def column_of(self, path: str) -> str:
        """Name the column of a path, or the one that there could be."""
        return self.names[self.cell_of(path)] if path in self.paths else name_of(path)

    def column_at(self, cell: int) -> str:
        """Name the column of a cell."""
        return self.names[cell] if cell < len(self.names) else str(cell + 1)


def laid_out(names: tuple[str, ...]) -> Layout:
    """Read a header that has no flaws."""
    paths = tuple(path_of(name) or "" for name in names)
    fields: dict[str, list[tuple[int, str]]] = {}
    for cell, path in enumerate(paths):
        if path not in NEEDED and path not in TAGS:
            holder, _, name = path.rpartition(".")
            fields.setdefault(holder, []).append((cell, name))
    held = {holder: tuple(inside) for holder, inside in fields.items()}
    own = {kind.holder for kind in KINDS}.union(CONTACTS)
    return Layout(
        names,
        paths,
        tuple((kind, held[kind.holder]) for kind in KINDS if kind.holder in held),
        tuple((cell, path) for cell, path in enumerate(paths) if path in TAGS),
        tuple(held[contact] for contact in CONTACTS if contact in held),
        tuple((tuple(h.split(".")), inside) for h, inside in held.items() if h not in own),
    )


def flaws(line: int, names: tuple[str, ...]) -> Iterator[Problem]:
    """Give what is wrong with a header."""
    paths = [path_of(name) for name in names]
    missing = [name for name in NEEDED if name not in paths]
    for name in missing:
        yield Problem(line=line, column=name, problem=_missing(names))
    for cell, (name, path) in enumerate(zip(names, paths, strict=True)):
        if path is None:
            yield _unknown(line, cell, name, is_header=not missing)
        elif path in paths[:cell]:
            first = names[paths.index(path)]
            words = f"is there twice: the column {shown(first)} before it says the same"
            yield Problem(line=line, column=shown(name), problem=words)
        elif path.startswith(METADATA) and (above := _above(path, paths)):
            words = f"stands inside {shown(above)}, which is a column of its own"
            yield Problem(line=line, column=shown(name), problem=words)


def _missing(names: tuple[str, ...]) -> str:
    words = "is missing; the first line names the columns: key, amount, currency and others"
    for separator, name in _SEPARATORS.items():
        if len(names) == 1 and separator in names[0]:
            return f"{words}, with commas between them and not {name}"
    return words


def _unknown(line: int, cell: int, name: str, *, is_header: bool) -> Problem:
    alike = near(name)
    # The first line may be a row of values, where the header was forgotten: those aren't told.
    column = shown(name) if (is_header or alike) and name else str(cell + 1)
    advice = f"; did you mean {' or '.join(alike)}?" if alike else ""
    words = "has no name" if not name else f"is no column of payouts{advice}"
    return Problem(line=line, column=column, problem=words)


def _above(path: str, paths: list[str | None]) -> str | None:
    steps = path.split(".")
    above = (".".join(steps[:number]) for number in range(2, len(steps)))
    return next((other for other in above if other in paths), None)
