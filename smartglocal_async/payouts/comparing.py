"""Compare a file with what a journal has of its batch: which row that was begun isn't as it was."""

from typing import Final

from attrs import define, field, frozen

from ..journal.entries import Entry
from ..journal.store import Journal
from .files.file import PayoutFile
from .files.rows import FileRow
from .paging import PAGE, each
from .sending import fingerprint_of

_IS_BEGUN: Final = 1


@frozen(kw_only=True)
class Comparison:
    """What became of the rows that were begun."""

    begun: int
    """Rows of the batch that the journal has."""
    place: int | None = None
    """Which payout of the file it is, from 1, that differs first; None where none does."""
    line: int | None = None
    """Where it stands in the file; None where the file ends before it."""
    key: str | None = None
    """Its key in the file as it is now, where that can be read."""
    fields: tuple[str, ...] = ()
    """What differs under the same key; empty where another key was begun there."""

    @property
    def is_same(self) -> bool:
        """Whether every row that was begun is there, unchanged, in its place."""
        return self.place is None

    def __str__(self) -> str:
        if self.place is None:
            return f"the {self.begun} rows that were begun are as they were"
        if self.line is None:
            return f"it ends before its payout {self.place}, which was begun"
        if self.key is None:
            return f"line {self.line} was begun, and can't be read now"
        if not self.fields:
            return f"line {self.line} has the key {self.key!r}, and another one was begun there"
        return f"line {self.line} (key {self.key!r}) differs in {', '.join(self.fields)}"


async def compare(file: PayoutFile, journal: Journal, batch: str) -> Comparison:
    """Hold each row that was begun against the journal; memory is a byte for each.

    The journal is open. A file that has the digest of its batch needs no comparison.

    Raises:
        OSError: the file can't be read.
        JournalUnusable: the journal can't be read.

    """
    begun = _Begun()
    found = each(lambda after: journal.entries(PAGE, after=after, batch=batch))
    async for entry in found:
        begun.add(entry)
    place = -1
    for place, row in enumerate(file.rows()):
        if begun.has(place) and (wrong := await _wrong(row, place, journal, batch)) is not None:
            key, fields = wrong
            return Comparison(
                begun=begun.count, place=place + 1, line=row.line, key=key, fields=fields
            )
    missing = begun.behind(place + 1)
    return Comparison(begun=begun.count, place=None if missing is None else missing + 1)


@define(eq=False)
class _Begun:
    """The places of the rows that were begun."""

    count: int = 0
    _marks: bytearray = field(factory=bytearray)

    def add(self, entry: Entry) -> None:
        """Mark the place of an entry."""
        self.count += 1
        if entry.ordinal is None:
            return
        self._marks.extend(bytes(max(0, entry.ordinal + 1 - len(self._marks))))
        self._marks[entry.ordinal] = _IS_BEGUN

    def has(self, place: int) -> bool:
        """Say whether the row at a place was begun."""
        return place < len(self._marks) and bool(self._marks[place])

    def behind(self, place: int) -> int | None:
        """Give the first place from here on that was begun."""
        found = self._marks.find(_IS_BEGUN, place)
        return None if found < 0 else found


async def _wrong(
    row: FileRow, place: int, journal: Journal, batch: str
) -> tuple[str | None, tuple[str, ...]] | None:
    """Give the key of a row and the fields that differ; None where it is as it was begun."""
    if row.order is None:
        return None, ()
    entry = await journal.find(row.order.key)
    if entry is None or (entry.batch, entry.ordinal) != (batch, place):
        return row.order.key, ()
    if entry.fingerprint.is_empty:
        return None
    fields = fingerprint_of(row.order, journal.secret).differing_fields(entry.fingerprint)
    return (row.order.key, fields) if fields else None
