"""Recognises what kind of file it is by its first bytes, and names those that have no payouts."""

import zipfile
from pathlib import PurePath
from typing import BinaryIO, Final

from .encodings import encoding_of
from .file_format import Kind
from .rows import UnreadableFile

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
    (b"\xff\xd8\xff", "is a picture"),
    (b"PAR1", "is a Parquet file"),
    (b"-----BEGIN ", "is a PEM file of keys or certificates"),
)
_START: Final = 512
_MAX_UNPACKED: Final = 1 << 30
_OPENDOCUMENT: Final = "application/vnd.oasis.opendocument.spreadsheet"


def kind_of_file(file: BinaryIO, name: PurePath) -> Kind:
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
    return "pain.001"
