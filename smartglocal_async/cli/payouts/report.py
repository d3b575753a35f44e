"""``payouts report``: writes what a journal has of its payouts, in one of several formats."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final, Self, get_args

from attrs import frozen

from ...encryption import RequestCipher
from ...errors import InvalidRequest
from ...journal.journal import PAGE, each
from ...payouts.files import PayoutFile
from ...payouts.files.iso20022 import OriginalMessage, original_message
from ...payouts.files.results import HEADER, begins_as_results, line_of, replaced
from ...payouts.orders import outcome_of
from ...payouts.reports.camt054 import NotificationReport
from ...payouts.reports.csv import BOM, HEADER_LINE, CsvReport
from ...payouts.reports.gathering import ReportSource, write_report
from ...payouts.reports.html import MARKER, HtmlReport
from ...payouts.reports.iso20022 import MESSAGE_MARK, PaidMessage
from ...payouts.reports.json import JSON_BEGINS, JsonReport
from ...payouts.reports.pain002 import StatusReport
from ...payouts.reports.records import BatchReport, ReportCommands, ReportWriter
from ...payouts.reports.xlsx import XlsxReport, is_xlsx_report
from ...retry import Timing
from ..output import counted, reader_gone, remark
from ..signals import run_async
from .batches import BatchChoice, find_batch, reading
from .check import batch_of
from .commands import ReportFormat, ReportOptions
from .journals import OPTION, is_address, place_of, shown

_MAX_HEADER_BYTES: Final = 65_536
_SUFFIXES: Final[dict[str, ReportFormat]] = {
    ".csv": "csv",
    ".xlsx": "xlsx",
    ".html": "html",
    ".htm": "html",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".pain.002.xml": "pain.002",
    ".camt.054.xml": "camt.054",
}
_MARKS: Final = (BOM + HEADER_LINE, JSON_BEGINS)
_LINES: Final = frozenset({"results", "jsonl"})
_MESSAGES: Final = frozenset({"pain.002", "camt.054"})


@frozen
class _ReportPlan:
    """What to report, from the options."""

    options: ReportOptions
    format: ReportFormat
    journal: str
    choice: BatchChoice
    cipher: RequestCipher | None
    paid: PaidMessage

    @classmethod
    def of(cls, options: ReportOptions) -> Self:
        """Read the options, before the journal is opened.

        Raises:
            InvalidRequest: one is invalid.
            InvalidCredentials: SMARTGLOCAL_JOURNAL_KEY is invalid.

        """
        chosen = _format_of(options)
        if options.full_names and chosen != "csv":
            raise InvalidRequest(
                "--full-names", f"goes with a csv report; {chosen} has no masked names"
            )
        if chosen == "xlsx" and options.output is None:
            raise InvalidRequest("--output", "required for xlsx, which isn't text")
        place = place_of(options.journal, options.file, options.server)
        _check_output(options.output, options.file, place)
        original = _original_of(options.file) if chosen in _MESSAGES else None
        return cls(
            options=options,
            format=chosen,
            journal=place,
            choice=BatchChoice.of(options.batch, options.file),
            cipher=None if chosen in _LINES else RequestCipher.from_env(),
            paid=PaidMessage(original, options.key_prefix or ""),
        )


def report(options: ReportOptions) -> None:
    """Write a report to a file, or to standard output."""
    plan = _ReportPlan.of(options)
    output = options.output
    if output is None:
        with _standard_output() as stream:
            _, note = run_async(_write(stream, plan))
    else:
        with replaced(output) as stream:
            count, note = run_async(_write(stream, plan))
        remark(f"{count} in {output}")
    if note is not None:
        remark(note)


def _format_of(options: ReportOptions) -> ReportFormat:
    """Return the format: as given, else by the suffix, else that of results."""
    if options.format is not None:
        if options.as_json:
            raise InvalidRequest("--json", "is --format jsonl; leave one of them out")
        return options.format
    if options.as_json:
        return "jsonl"
    if options.output is None:
        return "results"
    name = options.output.name.lower()
    for suffix, chosen in _SUFFIXES.items():
        if name.endswith(suffix):
            return chosen
    known = f"{', '.join(_SUFFIXES)}; or give --format {', '.join(get_args(ReportFormat))}"
    raise InvalidRequest("--output", f"{options.output.name!r} has none of the suffixes {known}")


def _check_output(output: Path | None, *others: Path | str | None) -> None:
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
    if any(begins_as_results(begins, is_json=is_json) for is_json in (False, True)):
        return True
    page = f'<meta name="generator" content="{MARKER}">'.encode()
    is_marked = any(mark in begins for mark in (page, MESSAGE_MARK))
    return is_marked or begins.startswith(_MARKS) or is_xlsx_report(path)


def _original_of(file: Path | None) -> OriginalMessage | None:
    """Return what an answer names of the pain.001 that was paid; None if it isn't there."""
    try:
        if file is not None and PayoutFile(file).recognise().kind == "pain.001":
            with file.open("rb") as stream:
                return original_message(stream)
    except OSError:
        pass
    remark("give the pain.001 that was paid as FILE: without it, its identifiers are NOTPROVIDED")
    return None


async def _write(stream: BinaryIO, plan: _ReportPlan) -> tuple[str, str | None]:
    """Write the report; returns what it has in words, and why it lacks payees."""
    async with reading(plan.journal, plan.options.server) as book:
        name = await plan.choice.name_in(book)
        batch = await find_batch(book, name, plan.journal)
        if plan.format in _LINES:
            is_json, count = plan.format == "jsonl", 0
            _ = stream.write(b"" if is_json else HEADER)
            async for entry in each(lambda after: book.entries(PAGE, after=after, batch=name)):
                _ = stream.write(line_of(outcome_of(entry), is_json=is_json))
                count += 1
            return counted(count, "payout"), None
        source = ReportSource(
            reader=book,
            journal=shown(plan.journal),
            name=name,
            batch=batch,
            cipher=plan.cipher,
            now=Timing().now(),
        )
        output = plan.options.output
        with TemporaryDirectory(dir=None if output is None else output.parent) as scratch:
            writer = _writer(stream, plan, Path(scratch), name)
            found = await write_report(source, writer)
        note = None if plan.format == "pain.002" else found.payee_note
        return _content_words(found, writer), note


def _content_words(found: BatchReport, writer: ReportWriter) -> str:
    """Return what a report has, in words."""
    payouts = counted(found.count, "payout")
    match writer:
        case StatusReport():
            missing = writer.count - found.count
            note = f", {missing:,} of them not started" if missing > 0 else ""
            return f"{counted(writer.count, 'transaction')}{note}"
        case NotificationReport():
            return f"{counted(writer.count, 'debit')} of {payouts}"
        case _:
            return payouts


def _commands(plan: _ReportPlan, name: str | None) -> ReportCommands:
    """Return the commands that a report prints."""
    options, file = plan.options, plan.options.file
    server = [] if options.server is None else ["--server", options.server]
    given = ["--key-prefix", options.key_prefix] if options.key_prefix else []
    if file is not None and name is not None and name != batch_of(None, file):
        given += ["--batch", name]
    return ReportCommands(
        # Also if it is the default one: the report is read later, maybe in another environment.
        options=(OPTION, shown(plan.journal), *server),
        file=None if file is None else str(file),
        file_options=tuple(given),
        batch=name,
        has_workers=is_address(plan.journal),
    )


def _writer(stream: BinaryIO, plan: _ReportPlan, scratch: Path, name: str | None) -> ReportWriter:
    match plan.format:
        case "xlsx":
            return XlsxReport(stream, scratch, _commands(plan, name))
        case "html":
            return HtmlReport(stream, _commands(plan, name))
        case "json":
            return JsonReport(stream)
        case "pain.002":
            return StatusReport(stream, plan.paid)
        case "camt.054":
            return NotificationReport(stream, plan.paid)
        case _:
            return CsvReport(stream, plan.options.full_names)


@contextmanager
def _standard_output() -> Generator[BinaryIO]:
    stream: BinaryIO = sys.stdout.buffer
    try:
        yield stream
        stream.flush()
    except BrokenPipeError:
        raise reader_gone() from None
