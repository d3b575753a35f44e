"""Batches of a journal: finds the batch of a name or a file, and shows counts and rules."""

from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self

from attrs import define, evolve, field, frozen
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...client import SmartGlocal
from ...concurrency import settle_all
from ...errors import JournalForgot, Misuse
from ...journal.entries import Batch, BatchState, Entry, Halt
from ...journal.journal import in_groups
from ...journal.limits import left_to_spend
from ...journal.sqlite import SQLiteReader
from ...journal.states import Step
from ...journal.transitions import knows_mode
from ...models.money import Amount
from ...payouts.files import PayoutFile
from ...payouts.files.payout_file import digest_with
from ...payouts.files.results import paid_in
from ...payouts.files.rows import FileRow
from ...payouts.orders import PayoutOrder, PayoutState, counted_by_state, state_of
from ...payouts.payouts import Payouts
from ...payouts.protocol import Mode
from ...payouts.review import MissingRows, differing_fields, missing_rows
from ..errors import ExitCode
from ..output import counted
from ..tables import cell, moment, money, show, table
from .check import batch_of
from .journals import (
    StoredBook,
    StoredJournal,
    is_address,
    is_there,
    journal_of,
    keyless,
    opened,
    payouts_of,
    shared,
    shown,
)

_MAX_NAMES: Final = 5
_NOT_PAID: Final = (PayoutState.FAILED, PayoutState.CANCELLED)


async def find_batch(
    book: StoredBook | StoredJournal, name: str | None, journal: str
) -> Batch | None:
    """Return the batch of a name; None if there is no name.

    Raises:
        Misuse: the journal has no such batch.

    """
    hint = "; --batch NAME selects one, also for a file that has another name now"
    return None if name is None else await existing_batch(book, name, journal, hint)


async def existing_batch(
    book: StoredBook | StoredJournal, name: str, journal: str, hint: str = ""
) -> Batch:
    """Return the batch of a name; ``hint`` follows the names of others in the error.

    Raises:
        Misuse: the journal has no such batch; the text names those that it has.

    """
    if (batch := await book.batch(name)) is None:
        others = await _names_in(book, hint)
        raise Misuse(f"the journal {shown(journal)} has no batch {name!r}; {others}")
    return batch


async def _names_in(book: StoredBook | StoredJournal, hint: str) -> str:
    """Return a text with the names of the last batches of a journal."""
    names = [repr(batch.name) for batch in await book.batches()]
    if not names:
        return "it has none yet"
    text = f"it has {', '.join(names[-_MAX_NAMES:])}"
    more = len(names) - _MAX_NAMES
    text = f"{text} and {more:,} more, which `payouts status` lists" if more > 0 else text
    return f"{text}{hint}"


def code_of_counts(counts: Mapping[PayoutState, int], halt: Halt | None) -> ExitCode:
    """Return the exit code of these counts: that of the worst."""
    if halt is not None:
        return ExitCode.HALTED
    if counts.get(PayoutState.OPEN) or counts.get(PayoutState.UNKNOWN):
        return ExitCode.OUTCOME_UNKNOWN
    return ExitCode.FAILED if any(map(counts.get, _NOT_PAID)) else ExitCode.DONE


def absent_words(journal: str) -> str:
    """Explain rows of a file that its batch doesn't have."""
    verb = "submit" if is_address(journal) else "pay"
    return (
        "not started, or their keys belong to another batch; "
        f"`smartglocal payouts {verb}` continues the file"
    )


def absent_from(batch: Batch | None, counts: Mapping[PayoutState, int]) -> int:
    """Return how many rows of its file a batch doesn't have."""
    return 0 if batch is None else max(0, batch.rows - sum(counts.values()))


def halt_text(halt: Halt) -> str:
    """Return a text about a halt: its kind, its end and its reason."""
    until = "" if halt.until is None else f", until {moment(utc(halt.until))}"
    return f"halted ({halt.kind.value}{until}): {halt.reason}"


def utc(seconds: float) -> datetime:
    """Return a time of the journal."""
    return datetime.fromtimestamp(seconds, UTC)


SETTLED: Final = (
    *(PayoutState.SUCCEEDED, PayoutState.FAILED, PayoutState.CANCELLED),
    PayoutState.UNKNOWN,
)
_COLUMNS: Final[Mapping[PayoutState, str]] = {
    PayoutState.SUCCEEDED: "Paid",
    PayoutState.FAILED: "Failed",
    PayoutState.CANCELLED: "Cancelled",
    PayoutState.UNKNOWN: "Unknown",
    PayoutState.OPEN: "Open",
}
_MAX_BATCHES: Final = 100


@frozen(kw_only=True)
class BatchCounts:
    """How many payouts of a batch are in each state."""

    name: str | None
    """None: payouts without a batch, or the whole journal."""
    batch: Batch | None
    counts: Counter[PayoutState]

    @property
    def open(self) -> int:
        """How many are open."""
        return self.counts[PayoutState.OPEN]

    @property
    def absent(self) -> int:
        """How many rows of its file the batch doesn't have."""
        return absent_from(self.batch, self.counts)

    @property
    def facts(self) -> dict[str, Any]:
        """The counts as plain JSON values."""
        batch = self.batch
        return {
            "batch": self.name,
            "state": None if batch is None else batch.state.value,
            "reason": None if batch is None else batch.reason,
            "rows": None if batch is None else batch.rows,
            "absent": None if batch is None else self.absent,
            "counts": {state.value: self.counts[state] for state in (*SETTLED, PayoutState.OPEN)},
        }

    def cells(self, nameless: str) -> list[Text]:
        """Return a row of a table; ``nameless`` is shown if there is no name."""
        numbers = (cell(f"{self.counts[state]:,}") for state in _COLUMNS)
        name = nameless if self.name is None else self.name
        return [cell(name), cell(self._state), *numbers]

    @property
    def _state(self) -> str:
        """The state in words: a running batch is finished if nothing of it is left to pay."""
        if self.batch is None:
            return ""
        is_left = self.open or self.absent or self.counts[PayoutState.UNKNOWN]
        is_over = self.batch.state is BatchState.RUNNING and not is_left
        state = "finished" if is_over else self.batch.state.value
        return state + (f": {self.batch.reason}" if self.batch.reason else "")


def table_of_batches(*more: str) -> Table:
    """Return an empty table for rows of `BatchCounts.cells`, with more columns after them."""
    drawn = table()
    for column in ("Batch", "State"):
        drawn.add_column(column, overflow="fold")
    for column in (*_COLUMNS.values(), *more):
        drawn.add_column(column, justify="right")
    return drawn


async def batches_of(book: StoredBook) -> list[BatchCounts]:
    """Return every batch, the oldest first."""
    batches = {batch.name: batch for batch in await book.batches()}
    counts = await book.counts_by_batch()
    # A batch may have payouts before its row is written, and payouts may have no batch.
    names = dict[str | None, None].fromkeys([*batches, *counts])
    return [
        BatchCounts(
            name=name,
            batch=None if name is None else batches.get(name),
            counts=counted_by_state(counts.get(name, {})),
        )
        for name in names
    ]


def show_batches(screen: Console, found: list[BatchCounts]) -> None:
    """Show the newest batches, the newest at the end."""
    drawn = table_of_batches("Rows")
    for one in found[-_MAX_BATCHES:]:
        rows = "" if one.batch is None else f"{one.batch.rows:,}"
        drawn.add_row(*one.cells("(none)"), rows)
    if len(found) > _MAX_BATCHES:
        screen.print(cell(f"{len(found) - _MAX_BATCHES:,} older batches"), soft_wrap=True)
    show(screen, drawn)


def rules_text(batch: Batch) -> str:
    """Return when the rules stop a batch; empty if it has none."""
    rules = batch.rules
    if rules is None:
        return ""
    conditions = [
        f"before more than {money(Amount(rules.spend[code], code))} is spent, of which "
        f"{money(Amount(units, code))} is left"
        for code, units in left_to_spend(batch).items()
    ]
    conditions += ["after the first that failed"] if rules.first_refusal else []
    if rules.failures_in_a_row is not None:
        conditions.append(f"after {rules.failures_in_a_row:,} in a row that were not paid")
    conditions += ["before one that the wallets can't cover"] if rules.low_balance else []
    return "; ".join(conditions)


def rules_facts(batch: Batch | None) -> dict[str, Any] | None:
    """Return the rules as plain JSON values, by the names of their options."""
    if batch is None or batch.rules is None:
        return None
    return {
        "spend_limit": dict(batch.rules.spend),
        "spend_left": left_to_spend(batch),
        "stop_on_refusal": batch.rules.first_refusal,
        "stop_after_failures": batch.rules.failures_in_a_row,
        "stop_on_low_balance": batch.rules.low_balance,
    }


_CONCURRENCY: Final = 64
_PAGE_ROWS: Final = 1_000
_MAX_LISTED: Final = 20


@frozen(kw_only=True)
class UsedKey:
    """A row whose key belongs to another payout."""

    line: int
    entry: Entry
    differs: tuple[str, ...]


@frozen(kw_only=True)
class Repeats:
    """New rows with the payee and the sum of a payout in another batch."""

    rows: int
    at: float
    """When the last of those payouts was recorded, in seconds since 1970."""
    is_paid: bool
    """Whether all of those payouts are paid."""


@frozen(kw_only=True)
class FileInJournal:
    """What the journal has of a file."""

    batch: str
    """The name of the file's payouts."""
    is_renamed: bool = False
    """Whether it is the name of another file with the same content."""
    is_new: bool = False
    """Whether the journal has no payouts."""
    digest: bytes | None = None
    """That of the batch, if the journal has the batch."""
    is_changed: bool = False
    """Whether the batch was started with other content; then its rows were looked up."""
    started: int = 0
    """Payouts of the batch in the journal."""
    states: Mapping[PayoutState, int] = field(factory=dict[PayoutState, int])
    """The states of the file's rows that the batch has, if they were looked up."""
    missing: MissingRows = field(factory=MissingRows)
    """Payouts of the batch that the file doesn't have."""
    elsewhere: Mapping[str | None, int]
    """How many rows other batches have, with the same key and the same fields, by batch."""
    new_rows: int = 0
    """Rows that the journal doesn't have, of a file whose rows were looked up."""
    repeats: Mapping[str | None, Repeats] = field(factory=dict[str | None, Repeats])
    """New rows that may have been paid under other keys, by the batch that has these."""
    reissued: int = 0
    """New rows that only the key prefix makes new: the journal has the same order without it."""
    used: tuple[UsedKey, ...] = ()
    """The first rows whose keys belong to other payouts."""
    used_count: int = 0


async def find_file(  # noqa: PLR0913 - what the options of a command say
    client: SmartGlocal,
    file: PayoutFile,
    place: str,
    given_batch: str | None,
    digest: str,
    *,
    mode: Mode,
    wait: float = 0.0,
    results: Path | None = None,
) -> FileInJournal:
    """Look up a file in the journal, before anything is paid or written.

    Raises:
        Misuse: its batch was started with another key prefix.
        JournalForgot: the results show payouts as paid that the journal lacks.
        JournalUnusable: the journal can't be used.

    """
    if not is_there(place):
        await _check_results(None, place, results)
        return FileInJournal(batch=given_batch or file.path.name, is_new=True, elsewhere={})
    journal = journal_of(place)
    async with opened(payouts_of(client, journal, mode), wait) as payouts:
        await _check_results(journal, place, results)
        return await found_file(payouts, journal, file, given_batch, digest, mode)


async def found_file(  # noqa: PLR0913, PLR0917 - what finds it
    payouts: Payouts,
    journal: StoredJournal,
    file: PayoutFile,
    given_batch: str | None,
    digest: str,
    mode: Mode,
) -> FileInJournal:
    """Look up a file in an open journal: by its content, else row by row.

    Raises:
        Misuse: its batch was started with another key prefix.

    """
    is_new = not await journal.entries(1)
    name = await name_in(journal, given_batch, file.path.name, digest)
    batch = await journal.batch(name)
    own = None if batch is None else batch.digest
    if is_new or own == bytes.fromhex(digest):
        return FileInJournal(
            batch=name,
            digest=own,
            is_renamed=batch is not None and given_batch is None and name != file.path.name,
            is_new=is_new,
            started=0 if is_new else sum((await journal.counts(batch=name)).values()),
            elsewhere={},
        )
    if batch is not None:
        await _check_prefix(journal, batch, file)
    lookup = RowLookup(
        payouts=payouts, journal=journal, mode=mode, batch=name, key_prefix=file.key_prefix
    )
    return evolve(await lookup.through(file), digest=own, is_changed=batch is not None)


async def name_in(
    book: StoredBook | StoredJournal, given: str | None, file_name: str, digest: str | None
) -> str:
    """Return the name of a file's batch: as given, else by its content, else the file's name."""
    if given is not None:
        return given
    wanted = None if digest is None else bytes.fromhex(digest)
    same = [one.name for one in await book.batches() if wanted and one.digest == wanted]
    return file_name if file_name in same or not same else same[0]


async def _check_prefix(journal: StoredJournal, batch: Batch, file: PayoutFile) -> None:
    """Refuse a file whose batch was started with another key prefix.

    Raises:
        Misuse: it was.

    """
    if (prefix := await _prefix_of(journal, batch, file)) is not None:
        option = f"--key-prefix {prefix!r}" if prefix else "no --key-prefix"
        raise Misuse(
            f"{file.path}: the batch {batch.name!r} was started with {option}; nothing was sent: "
            f"continue with {option}, or pay the file as another batch with --batch NAME"
        )


async def _prefix_of(journal: StoredJournal, batch: Batch, file: PayoutFile) -> str | None:
    """Return the key prefix with which this file was started; None if it is another file."""
    bare = PayoutFile(file.path, format=file.format)
    digest = bare.digest()
    if batch.digest == bytes.fromhex(digest):
        return ""
    for entry in await journal.entries(1, batch=batch.name):
        row = next(islice(bare.rows(), entry.ordinal or 0, None), None)
        if row is None or row.order is None or not entry.key.endswith(row.order.key):
            return None
        prefix = entry.key.removesuffix(row.order.key)
        return prefix if bytes.fromhex(digest_with(digest, prefix)) == batch.digest else None
    return None


@define(eq=False, kw_only=True)
class RowLookup:
    """Looks up the rows of a file in the journal, which doesn't have this content as a batch."""

    payouts: Payouts
    journal: StoredJournal
    mode: Mode
    batch: str
    """The name of the file's payouts."""
    states: Counter[PayoutState] = field(factory=Counter[PayoutState])
    """Of the unchanged rows that the batch has."""
    changed: int = 0
    """Rows that the batch has, and that were changed."""
    elsewhere: Counter[str | None] = field(factory=Counter[str | None])
    used: list[UsedKey] = field(factory=list[UsedKey])
    used_count: int = 0
    new_rows: int = 0
    repeats: dict[str | None, Repeats] = field(factory=dict[str | None, Repeats])
    reissued: int = 0
    key_prefix: str = ""

    async def take(self, rows: Sequence[FileRow]) -> None:
        """Look up a group of rows."""
        new: list[PayoutOrder] = []
        async with aclosing(settle_all(rows, self._look, _CONCURRENCY)) as found:
            async for order, other in found:
                if other is not None:
                    self.used_count += 1
                    self.used.append(other)
                elif order is not None:
                    new.append(order)
        self.used = sorted(self.used, key=lambda one: one.line)[:_MAX_LISTED]
        self.new_rows += len(new)
        for same in (await self.payouts.same_payments(new)).values():
            last = max(same, key=lambda one: one.at)
            known = self.repeats.get(last.batch, Repeats(rows=0, at=last.at, is_paid=True))
            self.repeats[last.batch] = Repeats(
                rows=known.rows + 1,
                at=max(known.at, last.at),
                is_paid=known.is_paid and last.step is Step.SUCCEEDED,
            )

    async def _look(self, _index: int, row: FileRow) -> tuple[PayoutOrder | None, UsedKey | None]:
        """Return the order of a new row, or the other payout with its key."""
        order = row.order
        entry = None if order is None else await self.journal.find(order.key)
        if order is None or entry is None:
            if order is not None and await self._is_reissued(order):
                self.reissued += 1
            return order, None
        if differs := _differs(order, entry, self.journal.secret, self.mode):
            self.changed += entry.batch == self.batch
            return None, UsedKey(line=row.line, entry=entry, differs=differs)
        if entry.batch == self.batch:
            self.states[state_of(entry.step)] += 1
        else:
            self.elsewhere[entry.batch] += 1
        return None, None

    async def _is_reissued(self, order: PayoutOrder) -> bool:
        """Return whether the journal has the order under its key without the prefix."""
        key = order.key.removeprefix(self.key_prefix)
        if key in {"", order.key} or (entry := await self.journal.find(key)) is None:
            return False
        is_same = not differing_fields(evolve(order, key=key), entry, self.journal.secret)
        return is_same and state_of(entry.step) not in _NOT_PAID

    async def through(self, file: PayoutFile) -> FileInJournal:
        """Look up all rows, and the rows of the batch that the file doesn't have."""
        for some in in_groups(file.rows(), _PAGE_ROWS):
            await self.take(some)
        started = sum(self.states.values())
        missing = MissingRows()
        if sum((await self.journal.counts(batch=self.batch)).values()) > started + self.changed:
            missing = await missing_rows(file, self.journal, self.batch)
        return FileInJournal(
            batch=self.batch,
            started=started,
            states=self.states,
            missing=missing,
            elsewhere=self.elsewhere,
            used=tuple(self.used),
            used_count=self.used_count,
            new_rows=self.new_rows,
            repeats=self.repeats,
            reissued=self.reissued,
        )


def _differs(order: PayoutOrder, entry: Entry, secret: bytes, mode: Mode) -> tuple[str, ...]:
    fields = differing_fields(order, entry, secret)
    return fields if entry.mode == mode.value or not knows_mode(entry) else (*fields, "mode")


async def _check_results(journal: StoredJournal | None, place: str, results: Path | None) -> None:
    """Compare the paid payouts of the results with the journal.

    Raises:
        JournalForgot: the journal lacks some of them, or there is no journal.

    """
    if results is None:
        return

    async def look(_index: int, key: str) -> str | None:
        entry = None if journal is None else await journal.find(key)
        return None if entry is not None and entry.step is Step.SUCCEEDED else key

    async with aclosing(settle_all(paid_in(results), look, _CONCURRENCY)) as found:
        lost = {key async for key in found if key is not None}
    if lost:
        paid, first = counted(len(lost), "payout"), min(lost)
        raise JournalForgot(
            f"{results} shows {paid} as paid that the journal {shown(place)} doesn't have as paid, "
            f"such as {first!r}; nothing was sent. Restore the newest copy of the journal, or name "
            "the journal that paid them with --journal; or add the payouts of the provider's "
            "reports to this one (`payouts reconcile REPORT --adopt`). If the results are of other "
            "payouts, use another file with --results"
        )


@frozen
class BatchChoice:
    """The batch that the options of a command choose: by name, by file, or none."""

    given: str | None
    file: Path | None

    @classmethod
    def of(cls, given: str | None, file: Path | None) -> Self:
        """Return the choice of these options.

        Raises:
            InvalidRequest: the name isn't printable.

        """
        if file is not None:
            _ = batch_of(given, file)
        return cls(given, file)

    async def name_in(self, book: StoredBook) -> str | None:
        """Return its name in a journal: as given, else by content, else the file's name."""
        if self.file is None or self.given is not None:
            return self.given
        try:
            digest = PayoutFile(self.file).digest()
        except OSError:
            digest = None  # The file may have been deleted; its name is known.
        return await name_in(book, None, self.file.name, digest)


@asynccontextmanager
async def reading(
    journal: str, server: str | None = None, *, patience_seconds: float | None = None
) -> AsyncGenerator[StoredBook]:
    """Open a journal for reading; another process may use its file.

    ``patience_seconds`` is that of a `PostgresJournal`; None: its default.

    Raises:
        JournalUnusable: there is none, or it can't be read.
        InvalidCredentials: the journal is in a database, and the project or the server is missing.

    """
    if is_address(journal):
        book = shared(journal, may_make=False)
        if patience_seconds is not None:
            book.patience_seconds = patience_seconds
        async with keyless(book, server):
            yield book
    else:
        async with SQLiteReader(journal) as reader:
            yield reader
