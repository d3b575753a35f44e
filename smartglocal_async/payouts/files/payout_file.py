"""A file of payouts: opened, its format chosen, and read as rows or orders."""

import hashlib
import json
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from io import BufferedReader, RawIOBase
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, BinaryIO, Final, TypeVar, cast

from attrs import Attribute, evolve, field, fields, frozen

from ...codec import ApiVersion
from ...errors import InvalidRequest
from ...idempotency import DEFAULT_KEY_FIELD
from ...journal.file_access import read_at
from ...retry import Timing
from ...settings import RuleUse, Settings
from ..orders import PayoutOrder
from . import csv, iso20022, jsonl, workbook
from .encodings import encoding_of
from .file_format import FileFormat, Kind
from .rows import FileRow, RowChecker, UnreadableFile

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

T = TypeVar("T")
_MAX_PREFIX: Final = 100
_TEXT: Final = {"csv", "jsonl"}
"""The kinds that first bytes can't tell apart for sure."""
_SUFFIXES: Final[dict[str, Kind]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_ZIP: Final = b"PK\x03\x04"
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_SAVE: Final = "give a CSV, JSON Lines, a workbook or an ISO 20022 pain.001"
_NAMED: Final = (
    (b"%PDF", "is a PDF"),
    (b"\x1f\x8b", "is compressed with gzip: unpack it first"),
    (b"BZh", "is compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ\x00", "is compressed with xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive: unpack it first"),
    (b"Rar!", "is a RAR archive: unpack it first"),
    (b"{\\rtf", "is a rich text document"),
    (b"SQLite format 3\x00", "is an SQLite database"),
    (b"\x89PNG", "is a picture"),
    (b"GIF8", "is a picture"),
    (b"\xff\xd8\xff", "is a picture"),
    (b"PAR1", "is a Parquet file"),
    (b"-----BEGIN ", "is a PEM file of keys or certificates"),
)
_EXCEL_XML: Final = "urn:schemas-microsoft-com:office:spreadsheet"
_START: Final = 512
_MAX_UNPACKED: Final = 1 << 30
_OPENDOCUMENT: Final = "application/vnd.oasis.opendocument.spreadsheet"


@frozen
class Reader:
    """How files of one kind are read."""

    recognise: Callable[[BinaryIO, FileFormat], FileFormat]
    """Fills what the caller left open in a format."""
    rows: Callable[[BinaryIO, FileFormat, RowChecker], Iterator[FileRow]]
    """Yields the rows of a file in a recognised format."""


_CSV: Final = Reader(csv.recognise, csv.csv_rows)
_WORKBOOK: Final = Reader(workbook.recognise, workbook.workbook_rows)
_READERS: Final[Mapping[Kind, Reader]] = {
    "csv": _CSV,
    "jsonl": Reader(jsonl.recognise, jsonl.json_rows),
    "xlsx": _WORKBOOK,
    "xls": _WORKBOOK,
    "ods": _WORKBOOK,
    "pain.001": Reader(iso20022.recognise, iso20022.payment_rows),
}


def _check_prefix(_instance: object, _field: "Attribute[str]", value: object) -> None:
    if not isinstance(value, str) or not (len(value) <= _MAX_PREFIX and _is_plain(value)):
        words = f"expected up to {_MAX_PREFIX} printable characters, no space in front"
        raise InvalidRequest("PayoutFile.key_prefix", words)


def _is_plain(text: str) -> bool:
    return text.isprintable() and text == text.lstrip()


@frozen(eq=False)
class PayoutFile:
    """The payouts of a file, read row by row; it can be read again.

    It is a CSV, JSON Lines, a workbook of Excel or OpenDocument, or an ISO 20022 pain.001. How it
    is read is recognised where its bytes leave no doubt (`recognise`), or set by ``format``.

    Iterating it yields each `PayoutOrder`, and raises at the first row that can't be paid;
    `rows` yields all rows with their problems. Check it with `payouts.check` first: if not,
    the rows before a bad one are paid already. ``rules`` says whether the rules of the provider's
    pages refuse a row, warn, or aren't checked. ``key_prefix`` is put in front of the key of each
    row, so that row numbers of several files can be keys in one journal; it is part of the
    file's `digest`. ``key_field`` is that of the client's `Settings`: metadata that has another
    key there is refused.

    Raises:
        InvalidRequest: the prefix isn't printable, or has more than 100 characters; while reading:
            a row can't be paid. It names file, line and column.
        OSError: the file can't be read.

    """

    path: Path = field(converter=Path)
    format: FileFormat = field(factory=FileFormat, kw_only=True)
    """What is given of the format; the rest is recognised."""
    rules: RuleUse = field(default=RuleUse.REFUSE, kw_only=True)
    timing: Timing = field(factory=Timing, kw_only=True, repr=False)
    key_prefix: str = field(default="", kw_only=True, validator=_check_prefix)
    key_field: str = field(default=DEFAULT_KEY_FIELD, kw_only=True)

    def recognise(self) -> FileFormat:
        """Return how the file is read, to be shown before it is paid.

        Raises:
            InvalidRequest: it can't be recognised, with what to do.
            OSError: the file can't be read.

        """
        try:
            with self._open() as file:
                return self._recognised(file)[1]
        except UnreadableFile as error:
            raise error.problem.in_file(str(self.path)) from None

    def rows(self) -> Iterator[FileRow]:
        """Yield every row, the bad ones too; blank lines are skipped."""
        return self._read(makes_people=True)

    def _read(self, *, makes_people: bool) -> Iterator[FileRow]:
        checker = row_checker(self.rules, self.timing, self.key_field, self.key_prefix)
        checker = evolve(checker, makes_people=makes_people)
        try:
            with self._open() as file:
                reader, found = self._recognised(file)
                yield from reader.rows(file, found, checker)
        except UnreadableFile as error:
            problem = error.problem
            yield FileRow(line=problem.line, order=None, problems=(problem,))

    def __iter__(self) -> Iterator[PayoutOrder]:
        for row in self.rows():
            if row.order is None:
                raise next(p for p in row.problems if not p.is_advice).in_file(str(self.path))
            yield row.order

    def digest(self) -> str:
        """Return the SHA-256 of the file's bytes, in hex, to detect that it was changed.

        With a key prefix, or what is given of the format, it is the SHA-256 of that digest and
        these, since the same bytes are then other payouts.

        Raises:
            InvalidRequest: it isn't a file that can be read again.
            OSError: it can't be read.

        """
        try:
            with self._open() as file:
                plain = hashlib.file_digest(cast("BufferedReader", file), "sha256").hexdigest()
        except UnreadableFile as error:
            raise error.problem.in_file(str(self.path)) from None
        return digest_with(plain, self.key_prefix, self.format)

    @contextmanager
    def copied(self) -> Generator["PayoutFile"]:
        """Yield the file as it is now, with the same path: what is written to it later isn't read.

        The copy is readable by this user only, in the folder for temporary files (``TMPDIR``). It
        has no name there, so it is gone with the process, however that ends.

        Raises:
            InvalidRequest: it isn't a file that can be read again.
            OSError: it can't be read, or there is no space for the copy.

        """
        with tempfile.TemporaryFile(prefix="smartglocal-") as copy:
            try:
                with self._open() as file:
                    shutil.copyfileobj(file, copy)
            except UnreadableFile as error:
                raise error.problem.in_file(str(self.path)) from None
            copy.flush()
            given = {one.name: getattr(self, one.name) for one in fields(PayoutFile)}
            yield _CopiedFile(**given, content=copy)

    def _open(self) -> BinaryIO:
        """Open the file, which must be one that can be read again."""
        if not stat.S_ISREG(self.path.stat().st_mode):
            words = "is a pipe or a device, which can be read only once; save it to a file first"
            raise UnreadableFile.because(words)
        return self.path.open("rb")

    def _recognised(self, file: BinaryIO) -> tuple[Reader, FileFormat]:
        shown = _kind_of_file(file, self.path)
        kind = self.format.kind or shown
        reader = _READERS[kind]
        if reader is _READERS[shown] and kind not in _TEXT:
            kind = shown
        elif kind != shown and {kind, shown} != _TEXT:
            words = f"is to be read as {kind}, and its first bytes are those of {shown}"
            raise UnreadableFile.because(words)
        return reader, reader.recognise(file, evolve(self.format, kind=kind))


@frozen(eq=False)
class _CopiedFile(PayoutFile):
    """A payout file whose content is in an open file."""

    content: IO[bytes] = field(kw_only=True, repr=False)

    def _open(self) -> BinaryIO:
        """Return a reader with a position of its own: the content may be read twice at once."""
        return BufferedReader(_PositionReader(self.content))


class _PositionReader(RawIOBase):
    """Reads an open file from its first byte, whatever position that file has."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        # Asked for its descriptor at each read: another file may have the number of a closed one.
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {
            os.SEEK_SET: 0,
            os.SEEK_CUR: self._at,
            os.SEEK_END: os.fstat(self._file.fileno()).st_size,
        }
        self._at = max(0, base[whence] + offset)
        return self._at

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        found = read_at(self._file.fileno(), len(view), self._at)
        view[: len(found)] = found
        self._at += len(found)
        return len(found)


def rows_to_check(file: PayoutFile) -> Iterator[FileRow]:
    """Yield the rows of a file; orders without problems may lack their people.

    It takes less time than `PayoutFile.rows`, and finds the same problems.
    """
    return file._read(makes_people=False)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def read_for(source: T, settings: Settings, version: ApiVersion) -> T:
    """Return the source; a file gets the key field and the API version of the client.

    A version that the file's format has is kept.
    """
    if not isinstance(source, PayoutFile):
        return source
    file = with_names_of(version, source)
    return cast("T", evolve(file, key_field=settings.key_field))


def with_names_of(version: ApiVersion, file: PayoutFile) -> PayoutFile:
    """Return a file that is read with the names of a version, unless its format has one."""
    file_format = file.format
    return evolve(file, format=evolve(file_format, api_version=file_format.api_version or version))


def digest_with(digest: str, key_prefix: str, given: FileFormat | None = None) -> str:
    """Return the digest of a file with a key prefix and a format, from the digest of its bytes.

    Only what is given of the format counts, as the same bytes are recognised in the same way.
    """
    if given is not None and given.sheet is not None:
        digest = _digest_and(digest, f"sheet {given.sheet}")
    if given is not None and (more := _given_of(given)):
        digest = _digest_and(digest, f"format {more}")
    return _digest_and(digest, key_prefix) if key_prefix else digest


def _digest_and(digest: str, text: str) -> str:
    return hashlib.sha256(f"{digest} {text}".encode()).hexdigest()


def _given_of(given: FileFormat) -> str:
    """Return what is given of a format that changes what a row means; empty if nothing is."""
    fields: dict[str, object] = {
        "encoding": given.encoding,
        "delimiter": given.delimiter,
        "decimal": given.decimal,
        "columns": dict(given.columns),
        "ignored": sorted(given.ignored),
    }
    is_given = {name: value for name, value in fields.items() if value}
    return json.dumps(is_given, sort_keys=True) if is_given else ""


def row_checker(rules: RuleUse, timing: Timing, key_field: str, key_prefix: str = "") -> RowChecker:
    """Return the checker of rows, by today's rules."""
    today = None if rules is RuleUse.OFF else timing.now().astimezone(UTC).date()
    is_strict = rules is RuleUse.REFUSE
    return RowChecker(today, is_strict=is_strict, key_field=key_field, key_prefix=key_prefix)


def _kind_of_file(file: BinaryIO, name: PurePath) -> Kind:
    """Return the kind of a file: by its first bytes, its suffix, or its first character.

    Raises:
        UnreadableFile: it is of a kind that has no payouts; it is named.

    """
    _ = file.seek(0)
    start = file.read(_START)
    for mark, words in _NAMED:
        if start.startswith(mark):
            raise UnreadableFile.because(f"{words}; {_SAVE}")
    if start.startswith(_ZIP):
        return _zipped(file)
    if start.startswith(_OLE):
        return _compound(file)
    begins = _first_characters(file, start)
    if begins.startswith("<"):
        return _marked_up(begins)
    if begins.startswith(("{", "[")):
        return "jsonl"
    return _SUFFIXES.get(name.suffix.lower(), "csv")


def _zipped(file: BinaryIO) -> Kind:
    _ = file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
            if sum(one.file_size for one in archive.infolist()) > _MAX_UNPACKED:
                words = f"has more than {_MAX_UNPACKED >> 20} MiB unpacked; split the workbook"
                raise UnreadableFile.because(words)
            mimetype = archive.read("mimetype").decode() if "mimetype" in names else ""
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError):
        raise UnreadableFile.because(
            "is a damaged workbook or ZIP archive; save it again"
        ) from None
    if any(name.startswith("xl/workbook.") for name in names):
        return "xlsx"
    if mimetype.startswith(_OPENDOCUMENT):
        return "ods"
    if "word/document.xml" in names or mimetype:
        raise UnreadableFile.because(f"is a text document; {_SAVE}")
    raise UnreadableFile.because(f"is a ZIP archive: unpack it first, and {_SAVE}")


def _compound(file: BinaryIO) -> Kind:
    _ = file.seek(0)
    content = file.read()
    if "EncryptedPackage".encode("utf-16-le") in content:
        raise UnreadableFile.because("is a workbook with a password; save it without one")
    if any(one.encode("utf-16-le") in content for one in ("Workbook", "Book")):
        return "xls"
    raise UnreadableFile.because(f"is a document of an old Office program; {_SAVE}")


def _first_characters(file: BinaryIO, start: bytes) -> str:
    encoding = "utf-8"
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in start[:4]:
        encoding = encoding_of(file) or encoding
    return start.decode(encoding, errors="ignore").removeprefix("\ufeff").lstrip()


def _marked_up(begins: str) -> Kind:
    lower = begins.lower()
    if lower.startswith(("<!doctype html", "<html")):
        words = "is a web page, most likely the login page of the place that it was loaded from"
        raise UnreadableFile.because(f"{words}; {_SAVE}")
    if lower.startswith("<table"):
        raise UnreadableFile.because(f"is a table of a web page; {_SAVE}")
    if _EXCEL_XML in begins:
        raise UnreadableFile.because("is an XML spreadsheet of Excel 2003; save it as .xlsx")
    return "pain.001"
