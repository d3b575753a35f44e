"""``payouts report``: writes the outcomes that a journal has."""

import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from ...errors import InvalidRequest
from ...journal.journal import PAGE, each
from ...payouts.files.results import HEADER, begins_as_results, is_json_lines, line_of
from ...payouts.orders import outcome_of
from ..output import counted, reader_gone, remark
from ..signals import run_async
from .batches import BatchChoice, find_batch, reading
from .commands import ReportOptions
from .journals import place_of

_MAX_HEADER_BYTES: Final = 65_536


def report(options: ReportOptions) -> None:
    """Write the outcomes to a file, or to standard output."""
    place = place_of(options.journal, options.file, options.server)
    choice = BatchChoice.of(options.batch, options.file)
    output = options.output
    _check(output, options.file, place)
    is_json = options.as_json or (output is not None and is_json_lines(output))
    if output is None:
        with _standard_output() as stream:
            _ = run_async(_write(stream, place, options.server, choice, is_json=is_json))
        return
    with _replaced(output) as stream:
        count = run_async(_write(stream, place, options.server, choice, is_json=is_json))
    remark(f"{counted(count, 'payout')} in {output}")


def _check(output: Path | None, *others: Path | str | None) -> None:
    """Refuse to overwrite the sources of the report, or a file that isn't a report."""
    taken = [Path(other).absolute() for other in others if other is not None]
    if output is not None and output.absolute() in taken:
        raise InvalidRequest("--output", "is the payouts file or the journal; use another path")
    if output is not None and output.exists() and not _is_report(output):
        raise InvalidRequest("--output", "exists, and isn't a report; use another path")


def _is_report(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        begins = stream.read(_MAX_HEADER_BYTES)
    return any(begins_as_results(begins, is_json=is_json) for is_json in (False, True))


async def _write(
    stream: BinaryIO, journal: str, server: str | None, choice: BatchChoice, *, is_json: bool
) -> int:
    count = 0
    async with reading(journal, server) as book:
        name = await choice.name_in(book)
        _ = await find_batch(book, name, journal)
        if not is_json:
            _ = stream.write(HEADER)
        async for entry in each(lambda after: book.entries(PAGE, after=after, batch=name)):
            _ = stream.write(line_of(outcome_of(entry), is_json=is_json))
            count += 1
    return count


@contextmanager
def _standard_output() -> Generator[BinaryIO]:
    stream: BinaryIO = sys.stdout.buffer
    try:
        yield stream
        stream.flush()
    except BrokenPipeError:
        raise reader_gone() from None


@contextmanager
def _replaced(path: Path) -> Generator[BinaryIO]:
    """Write a new file that replaces the path when it is complete."""
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as stream:
            yield stream
        _ = Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
