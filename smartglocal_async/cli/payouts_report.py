"""``payouts report``: every outcome of a batch, out of the journal."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer

from ..errors import InvalidRequest
from ..payouts.orders import outcome_of
from ..payouts.paging import PAGE, each
from ..payouts.results import HEADER, begins_as_results, is_json_lines, line_of
from .failures import explained
from .payouts_journal import place_of
from .payouts_looking import looking
from .payouts_options import BatchName, JournalAt, OptionalFile
from .payouts_standing import known
from .payouts_wish import batch_of
from .screen import counted, hung_up, remark

Output = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="Where to; CSV, or JSON Lines by its suffix. Without it: standard output.",
        show_default=False,
    ),
]
_LONGEST_FIRST_LINE: Final = 65_536
Lines = Annotated[bool, typer.Option("--json", help="Write JSON Lines.")]


def report(
    file: OptionalFile = None,
    *,
    journal: JournalAt = None,
    batch: BatchName = None,
    output: Output = None,
    as_json: Lines = False,
) -> None:
    """Write what became of each payout that was begun, in the order of the journal.

    Of FILE, of a --batch, or of the whole journal. The columns are those of the results that
    `pay` writes; this one is complete, with a line for each. It reads the journal, also while
    `pay` runs; nothing is sent. A journal in a database needs the project and the server of the
    environment, and no key; one in a file needs neither.
    """
    with explained(as_json=as_json):
        place = place_of(journal, file)
        name = batch if file is None else batch_of(batch, file)
        _check(output, file, place)
        is_json = as_json or (output is not None and is_json_lines(output))
        if output is None:
            with _standard_output() as stream:
                _ = asyncio.run(_write(stream, place, name, is_json=is_json))
            return
        with _replaced(output) as stream:
            count = asyncio.run(_write(stream, place, name, is_json=is_json))
        remark(f"{counted(count, 'payout')} in {output}")


def _check(output: Path | None, *others: Path | str | None) -> None:
    """Refuse to write over what the report is made of."""
    taken = [Path(other).absolute() for other in others if other is not None]
    if output is not None and output.absolute() in taken:
        raise InvalidRequest("--output", "is the file, or the journal, itself; give another path")
    if output is not None and output.exists() and not _is_report(output):
        words = "holds something else than a report; give the path of another file"
        raise InvalidRequest("--output", words)


def _is_report(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        begins = stream.read(_LONGEST_FIRST_LINE)
    return any(begins_as_results(begins, is_json=is_json) for is_json in (False, True))


async def _write(stream: BinaryIO, journal: str, name: str | None, *, is_json: bool) -> int:
    count = 0
    async with looking(journal) as book:
        _ = await known(book, name, journal)
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
        raise hung_up() from None


@contextmanager
def _replaced(path: Path) -> Generator[BinaryIO]:
    """Write a file beside the one that it takes the place of, whole or not at all."""
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as stream:
            yield stream
        _ = Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
