"""Checks a source of orders before it is paid: problems, totals and possible duplicates.

Duplicates are found by digests in a temporary database on disk, so memory stays bounded.
"""

import errno
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

from attrs import define, evolve, field, frozen

from ..errors import InvalidRequest
from ..idempotency import DEFAULT_KEY_FIELD
from ..models.instruments import (
    BankCard,
    EncryptedCard,
    FasterPayment,
    FasterPaymentVerification,
    GlobalAccount,
    GlobalWallet,
    MonetaWallet,
    OtherInstrument,
    QiwiWallet,
    Recurrent,
    RussianAccount,
    SteamWallet,
    TokenizedCard,
    YooMoneyWallet,
)
from ..models.money import AmountDetails
from ..models.serialization import Serializable
from ..retry import Timing
from ..settings import RuleUse
from .files.payout_file import PayoutFile, row_checker, rows_to_check
from .files.rows import FileRow, Problem, RowChecker
from .orders import PayoutOrder

_TABLE: Final = "CREATE TABLE seen (digest BLOB PRIMARY KEY, place INTEGER) WITHOUT ROWID"
_PRAGMAS: Final = ("journal_mode = OFF", "synchronous = OFF", "cache_size = -4096")
_DIGEST_BYTES: Final = 16
_SHORT_BYTES: Final = 8
# The fields that identify the payee. A purpose or a holder's name may differ for the same payee.
_PAYEE_FIELDS: Final[Mapping[type[Any], tuple[str, ...]]] = {
    BankCard: ("number",),
    EncryptedCard: ("number_hash",),
    GlobalAccount: (
        "iban",
        "swift_bic_code",
        "bank_account_number",
        "account_number",
        "branch_number",
        "sort_code",
        "routing_code",
        "bsb_number",
        "extra",
    ),
    RussianAccount: ("bik", "account"),
    FasterPayment: ("phone", "bank_id"),
    FasterPaymentVerification: ("phone", "bank_id"),
    GlobalWallet: ("name", "msisdn"),
    Recurrent: ("token",),
    TokenizedCard: ("token",),
    **dict.fromkeys((SteamWallet, QiwiWallet, YooMoneyWallet, MonetaWallet), ("account",)),
}


def _reader_of(names: tuple[str, ...]) -> Callable[[Any], tuple[object, ...]]:
    if len(names) == 1:  # An attrgetter returns a tuple only for several names.
        return lambda paid: (getattr(paid, names[0]),)
    return attrgetter(*names)


_PAYEE_OF: Final[Mapping[type[Any], Callable[[Any], tuple[object, ...]]]] = {
    kind: _reader_of(names) for kind, names in _PAYEE_FIELDS.items()
}


@frozen(kw_only=True)
class PossibleDuplicate(Serializable):
    """A row that may be the same payout as an earlier row."""

    first_line: int
    """Of the earlier row."""
    line: int
    key: str
    """Of the later row."""

    def __str__(self) -> str:
        return f"line {self.line} (key {self.key!r}) and line {self.first_line}"


_LINE_BITS: Final = 32
_LINE: Final = (1 << _LINE_BITS) - 1
_CHUNK: Final = 10_000
"""Rows that are compared at once: sorted, they are written several times faster than one by one."""


@define(eq=False)
class SeenRows:
    """Digests of the rows seen so far, with a random salt that isn't stored."""

    _database: sqlite3.Connection
    _salt: bytes = field(factory=lambda: os.urandom(16), repr=False)
    _pending: list[tuple[int, str, bytes, bytes]] = field(
        factory=list[tuple[int, str, bytes, bytes]], init=False, repr=False
    )
    """Place, key, and the digests of the key and of the payment."""
    _count: int = field(default=0, init=False)
    _key_digest: Any = field(init=False, repr=False)
    _payment_digest: Any = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._key_digest, self._payment_digest = (
            hashlib.blake2b(digest_size=_DIGEST_BYTES, key=self._salt, person=what)
            for what in (b"key", b"payment")
        )

    def add(self, line: int, order: PayoutOrder) -> bool:
        """Add a row; return whether the waiting rows are enough to be compared."""
        key, payment = self._key_digest.copy(), self._payment_digest.copy()
        key.update(order.key.encode())
        payment.update(_payment(order))
        # The rows of a message without line breaks all have one line, so a place has a count, too.
        self._count += 1
        place = self._count << _LINE_BITS | line
        self._pending.append((place, order.key, key.digest(), payment.digest()))
        return len(self._pending) >= _CHUNK

    def compare(self) -> tuple[list[PossibleDuplicate], list[PossibleDuplicate]]:
        """Compare the rows that were added with those before them.

        Returns the rows with the key of an earlier row, and of the others those with the payee and
        the sum of an earlier row; both in the order in which they were added.
        """
        rows, self._pending = self._pending, []
        same_key = self._earlier([(place, digest) for place, _, digest, _ in rows])
        others = [(place, digest) for place, _, _, digest in rows if place not in same_key]
        same_payment = self._earlier(others)
        return _duplicates(rows, same_key), _duplicates(rows, same_payment)

    def _earlier(self, rows: list[tuple[int, bytes]]) -> dict[int, int]:
        """Return the places of the rows with the digest of an earlier one, and its place."""
        first: dict[bytes, int] = {}
        for place, digest in rows:
            _ = first.setdefault(digest, place)
        before = self._database.total_changes
        # Takes a fifth less time than ON CONFLICT DO NOTHING.
        _ = self._database.executemany(
            "INSERT OR IGNORE INTO seen VALUES (?, ?)", sorted(first.items())
        )
        if self._database.total_changes - before == len(rows):
            return {}
        if self._database.total_changes - before != len(first):
            for digest in first:
                found = self._database.execute("SELECT place FROM seen WHERE digest = ?", (digest,))
                first[digest] = found.fetchone()[0]
        return {place: first[digest] for place, digest in rows if first[digest] != place}


def _duplicates(
    rows: list[tuple[int, str, bytes, bytes]], earlier: Mapping[int, int]
) -> list[PossibleDuplicate]:
    return [
        PossibleDuplicate(first_line=earlier[place] & _LINE, line=place & _LINE, key=key)
        for place, key, _, _ in (rows if earlier else ())
        if place in earlier
    ]


@contextmanager
def seen_rows() -> Generator[SeenRows]:
    """Open the digests of rows; a million rows take no more memory than ten.

    Raises:
        OSError: the disk has no room for it.

    """
    try:
        # Without a name SQLite makes a temporary file that has no directory entry.
        with closing(sqlite3.connect("", isolation_level=None)) as database:
            for pragma in _PRAGMAS:
                _ = database.execute(f"PRAGMA {pragma}")
            _ = database.execute(_TABLE)
            _ = database.execute("BEGIN")
            yield SeenRows(database)
    except sqlite3.OperationalError as error:
        words = f"the temporary database of the pre-flight: {error}"
        raise OSError(errno.ENOSPC, words) from None


def payment_digest(order: PayoutOrder, secret: bytes) -> bytes:
    """Return an 8-byte digest of the payee, the amount and the currency of an order.

    With one journal's secret, orders with the same payee and sum have the same digest. Without the
    secret, no one can test which payee a digest belongs to.
    """
    text = _payment(order)
    return hashlib.blake2b(text, digest_size=_SHORT_BYTES, key=secret, person=b"payee").digest()


def _payment(order: PayoutOrder) -> bytes:
    paid, amount = order.payment_method, order.amount_details
    if isinstance(paid, OtherInstrument):
        fields: Any = json.dumps(dict(paid.wire), sort_keys=True)
    else:
        values: Any = _PAYEE_OF[type(paid)](paid)
        fields = [
            value.replace(" ", "").upper() if value.__class__ is str else value for value in values
        ]
    return repr((type(paid).__name__, fields, amount.amount, amount.currency)).encode()


T = TypeVar("T")

ExpectedTotals = Mapping[str, AmountDetails | Decimal | str]
_MAX_PROBLEMS: Final = 100
_MAX_GROUPS: Final = 200


@frozen(kw_only=True)
class ProblemGroup(Serializable):
    """The problems of one kind in one column."""

    column: str | None
    problem: str
    """In the words of the first one."""
    page: str | None
    is_advice: bool
    first_line: int
    count: int

    def __str__(self) -> str:
        rows = f"{self.count:,} row{'' if self.count == 1 else 's'}"
        place = "" if self.column is None else f"{self.column}: "
        return f"{place}{rows}, first in line {self.first_line}: {self.problem}"


@frozen(kw_only=True)
class Preflight(Serializable):
    """The result of a pre-flight; lists hold the first findings of a kind, counts all."""

    count: int
    """Payouts that can be paid."""
    totals: Mapping[str, int]
    """Currency -> their sum, in minor units."""
    bad_rows: int
    """Rows that can't be paid; no total includes them."""
    problems: tuple[Problem, ...]
    problem_count: int
    advice: tuple[Problem, ...]
    """Broken advice: the provider may accept these anyway."""
    advice_count: int
    groups: tuple[ProblemGroup, ...]
    """All problems and advice by column and kind, those with the most rows first: at most 200."""
    duplicates: tuple[PossibleDuplicate, ...]
    """Rows with the key of an earlier row."""
    duplicate_count: int
    repeats: tuple[PossibleDuplicate, ...]
    """Rows with payee and amount of an earlier row, under another key: a warning."""
    repeat_count: int
    differences: Mapping[str, int]
    """Currency -> total minus the expected one, in minor units; only where they differ."""

    @property
    def is_fit(self) -> bool:
        """Whether the source can be paid; advice and repeats don't matter."""
        return not (self.bad_rows or self.duplicate_count or self.differences)


def check(
    source: PayoutFile | Iterable[PayoutOrder],
    *,
    expect_total: ExpectedTotals | None = None,
    max_problems: int = _MAX_PROBLEMS,
    key_field: str | None = None,
) -> Preflight:
    """Check every payout of a source with bounded memory; nothing is sent.

    A plain iterator is used up: pass a file, or something that can be iterated again.
    ``expect_total`` maps each currency to the sum that you expect, in major units (``"1234.56"``)
    or as `AmountDetails`; another currency in the source counts as a difference. Of each list
    of findings the first ``max_problems`` are kept. ``key_field`` is that of the client's
    `Settings`, if it isn't the default.

    Raises:
        InvalidRequest: an expected total is invalid, or the source yields something else than
            orders.
        OSError: the file can't be read, or the disk has no room for a temporary database.

    """
    expected = None if expect_total is None else dict(_minor_units(expect_total))
    rows = rows_of(source, RuleUse.REFUSE, Timing(), key_field)
    return found_in(rows, expected, max_problems)


def found_in(
    rows: Iterable[FileRow],
    expected: Mapping[str, int] | None = None,
    max_problems: int = _MAX_PROBLEMS,
) -> Preflight:
    """Check every row; the expected totals are in minor units."""
    with seen_rows() as memory:
        tally = _Findings(memory, max_problems)
        for row in rows:
            tally.take(row)
        tally.compare()
    return tally.result(expected)


def rows_of(
    source: PayoutFile | Iterable[PayoutOrder],
    rules: RuleUse,
    timing: Timing,
    key_field: str | None,
) -> Iterator[FileRow]:
    """Return the rows of a source to check; a file keeps its own ``rules``, with the key field."""
    if isinstance(source, PayoutFile):
        file = source if key_field is None else evolve(source, key_field=key_field)
        return rows_to_check(file)
    return _rows(source, row_checker(rules, timing, key_field or DEFAULT_KEY_FIELD))


@define(eq=False)
class _Found(Generic[T]):
    """Findings of one kind: the first ones, and the count of all."""

    max_kept: int
    first: list[T] = field(factory=list[T])
    count: int = 0

    def add(self, finding: T) -> None:
        """Count a finding, and keep it if there is room."""
        self.count += 1
        if len(self.first) < self.max_kept:
            self.first.append(finding)


@define(eq=False)
class _Findings:
    """The findings so far."""

    memory: SeenRows
    max_kept: int
    groups: dict[tuple[str | None, str, bool], ProblemGroup] = field(
        factory=dict[tuple[str | None, str, bool], ProblemGroup], init=False
    )
    totals: dict[str, int] = field(factory=dict[str, int], init=False)
    count: int = field(default=0, init=False)
    bad_rows: int = field(default=0, init=False)
    problems: _Found[Problem] = field(init=False)
    advice: _Found[Problem] = field(init=False)
    duplicates: _Found[PossibleDuplicate] = field(init=False)
    repeats: _Found[PossibleDuplicate] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.problems, self.advice = _Found[Problem](self.max_kept), _Found[Problem](self.max_kept)
        self.duplicates, self.repeats = (
            _Found[PossibleDuplicate](self.max_kept),
            _Found[PossibleDuplicate](self.max_kept),
        )

    def take(self, row: FileRow) -> None:
        """Add a row."""
        for problem in row.problems:
            (self.advice if problem.is_advice else self.problems).add(problem)
            self._group(problem)
        if row.order is None:
            self.bad_rows += 1
            return
        amount = row.order.amount_details
        self.count += 1
        self.totals[amount.currency] = self.totals.get(amount.currency, 0) + amount.amount
        if self.memory.add(row.line, row.order):
            self.compare()

    def compare(self) -> None:
        """Add the rows that may be the same payouts as earlier ones."""
        duplicates, repeats = self.memory.compare()
        for one in duplicates:
            self.duplicates.add(one)
        for one in repeats:
            self.repeats.add(one)

    def _group(self, problem: Problem) -> None:
        # Behind a semicolon it says what to write, which may differ from row to row.
        kind = problem.column, problem.problem.partition(";")[0], problem.is_advice
        group = self.groups.get(kind)
        if group is not None:
            self.groups[kind] = evolve(group, count=group.count + 1)
        elif len(self.groups) < _MAX_GROUPS:
            self.groups[kind] = ProblemGroup(
                column=problem.column,
                problem=problem.problem,
                page=problem.page,
                is_advice=problem.is_advice,
                first_line=problem.line,
                count=1,
            )

    def result(self, expected: Mapping[str, int] | None) -> Preflight:
        """Return the findings, compared with the expected totals."""
        return Preflight(
            count=self.count,
            totals=dict(sorted(self.totals.items())),
            bad_rows=self.bad_rows,
            problems=tuple(self.problems.first),
            problem_count=self.problems.count,
            advice=tuple(self.advice.first),
            advice_count=self.advice.count,
            groups=tuple(sorted(self.groups.values(), key=_by_weight)),
            duplicates=tuple(self.duplicates.first),
            duplicate_count=self.duplicates.count,
            repeats=tuple(self.repeats.first),
            repeat_count=self.repeats.count,
            differences={} if expected is None else _differences(self.totals, expected),
        )


def _by_weight(group: ProblemGroup) -> tuple[bool, int, int]:
    return group.is_advice, -group.count, group.first_line


def _rows(orders: Iterable[PayoutOrder], checker: RowChecker) -> Iterator[FileRow]:
    for position, order in enumerate(orders, 1):
        if not isinstance(order, PayoutOrder):  # pyright: ignore[reportUnnecessaryIsInstance]
            found = type(order).__name__
            raise InvalidRequest(f"source[{position - 1}]", f"expected PayoutOrder, got {found}")
        yield checker.order(position, order)


def _minor_units(expected: ExpectedTotals) -> Iterator[tuple[str, int]]:
    for currency, total in expected.items():
        where = f"expect_total.{currency}"
        if not isinstance(total, AmountDetails | Decimal | str):  # pyright: ignore[reportUnnecessaryIsInstance]
            # A bare number could be in either unit.
            words = "expected '1234.56' or Decimal (major units), or AmountDetails (minor units)"
            raise InvalidRequest(where, words)
        amount = total
        if not isinstance(amount, AmountDetails):
            amount = AmountDetails.of(amount, currency)
        if amount.currency != currency.lower():
            raise InvalidRequest(where, f"is an amount of {amount.currency}")
        yield amount.currency, amount.amount


def _differences(totals: Mapping[str, int], expected: Mapping[str, int]) -> dict[str, int]:
    found = {code: totals.get(code, 0) - expected.get(code, 0) for code in {*totals, *expected}}
    return {code: difference for code, difference in sorted(found.items()) if difference}
