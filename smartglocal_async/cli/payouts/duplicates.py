"""Reports what the journal has of a file, before the question whether to pay it."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from attrs import evolve

from ...errors import Misuse
from ...journal.entries import Batch
from ...models.money import Amount
from ...payouts.orders import PayoutState, state_of
from ...payouts.preflight import Preflight
from ...payouts.review import MissingRows, summary_of
from ..errors import CommandFailed, ExitCode, reader_may_leave
from ..output import counted, printable, remark
from ..signals import run_async
from ..tables import cell, console, moment, money, show, table
from ..wallets import Need, needs_of
from .batches import FileInJournal, UsedKey, reading, utc
from .check import PREFIX
from .journals import StoredJournal, shown

_OTHER_FILE: Final = "isn't the file that the batch"
_MAX_BATCHES: Final = 5
_RECENT_SECONDS: Final = 5 * 86_400.0
_SPANS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


def report_known(known: FileInJournal, path: Path, journal: str, *, as_json: bool) -> None:
    """Print to standard error what the journal has of a file; refuse keys of other payouts.

    Raises:
        CommandFailed: rows have keys of other payouts, and are listed on standard output; or
            payouts of its batch that were paid, or may be, are missing.

    """
    if known.used_count:
        raise _in_use(known, path, journal, as_json=as_json)
    if known.missing.count:
        raise _another_file(known, path)
    if known.is_changed:
        remark(printable(f"{path} was changed since its batch was started: {_rows_in(known)}"))
    if known.is_new:
        remark(f"the journal {shown(journal)} is new: it has no earlier payouts")
    if known.is_renamed:
        remark(
            printable(
                f"{path} has the content of the batch {known.batch!r}, and continues it: what was "
                "paid is not paid again. To make the same payments a second time, with other keys: "
                f"{_advice(path)}"
            )
        )
    if known.elsewhere:
        rows = counted(sum(known.elsewhere.values()), "row")
        remark(
            printable(
                f"{rows} of {path} are in the journal already, {_places(known.elsewhere)}, and are "
                "not paid again"
            )
        )


async def is_continued(journal: StoredJournal, known: FileInJournal, digest: str) -> bool:
    """Return whether the batch of a file is there, with the file's content.

    Raises:
        Misuse: another process wrote the batch since it was looked up.

    """
    batch = await journal.batch(known.batch)
    own = None if batch is None else batch.digest
    if own not in {known.digest, bytes.fromhex(digest)}:
        raise Misuse(
            f"another process changed the batch {known.batch!r} meanwhile; nothing was sent: run "
            "the command again"
        )
    return own == bytes.fromhex(digest)


def with_left_out(batch: Batch, missing: MissingRows) -> Batch:
    """Return a batch with the payouts that its file doesn't have any more."""
    totals = Counter(batch.totals)
    totals.update(missing.closed_totals)
    return evolve(batch, rows=batch.rows + missing.closed, totals=dict(totals))


def needs_before(
    found: Preflight,
    balances: Mapping[str, int] | None,
    known: FileInJournal,
    journal: str,
    server: str | None,
) -> list[Need]:
    """Return what is left to pay of a file, and what the wallets hold.

    Empty if the provider doesn't show the wallets.
    """
    if balances is None:
        return []
    if not known.started:
        return needs_of(found.totals, balances)

    async def settled() -> Mapping[tuple[PayoutState, str], int]:
        async with reading(journal, server) as book:
            return (await summary_of(book, known.batch)).sums

    return needs_of(found.totals, balances, run_async(settled()))


def report_repeats(
    known: FileInJournal, now: datetime, *, is_asked: bool, is_allowed: bool
) -> None:
    """Print to standard error which new rows may have been paid under other keys.

    If no question follows and half of the rows or more repeat payouts of the last five days, the
    file is refused, unless it is allowed: it was probably exported twice. Weekly or monthly
    payments are not affected.

    Raises:
        CommandFailed: the file is refused.

    """
    if not known.repeats:
        return
    if known.reissued and not (is_asked or is_allowed):
        raise _reissued(known)
    texts = [
        f"{one.rows:,} of {known.new_rows:,} rows have the payee and the sum of payouts in "
        f"{_place(name)}, {'paid' if one.is_paid else 'started'} {_ago(now.timestamp() - one.at)}"
        for name, one in sorted(known.repeats.items(), key=lambda item: -item[1].rows)
    ]
    more = len(texts) - _MAX_BATCHES
    text = "; ".join(texts[:_MAX_BATCHES])
    text += f"; and {more:,} more batches" if more > 0 else ""
    recent = sum(
        one.rows for one in known.repeats.values() if now.timestamp() - one.at < _RECENT_SECONDS
    )
    if is_asked or is_allowed or 2 * recent < known.new_rows:
        remark(printable(text))
        return
    message = f"{text}; nothing was sent: if these are other payments, use --allow-repeats"
    facts = {
        "type": "Repeats",
        "message": message,
        "rows": known.new_rows,
        "repeats": [
            {"batch": name, "rows": one.rows, "at": utc(one.at).isoformat()}
            for name, one in known.repeats.items()
        ],
    }
    raise CommandFailed(ExitCode.MISUSE, message, facts)


def _reissued(known: FileInJournal) -> CommandFailed:
    rows = counted(known.reissued, "row")
    message = (
        f"{rows} of {known.new_rows:,} are in the journal with the same key but for the "
        f"{PREFIX}, and would be paid a second time; nothing was sent: pay the file without "
        f"{PREFIX}, or remove these rows; if they are other payments, use --allow-repeats"
    )
    facts = {
        "type": "Repeats",
        "message": message,
        "rows": known.new_rows,
        "reissued": known.reissued,
    }
    return CommandFailed(ExitCode.MISUSE, message, facts)


def _ago(seconds: float) -> str:
    for size, name in _SPANS:
        if seconds >= size:
            return f"{counted(int(seconds // size), name)} ago"
    return "just now"


def _place(name: str | None) -> str:
    return "no batch" if name is None else f"the batch {name!r}"


def _rows_in(known: FileInJournal) -> str:
    """Return a text about the rows of a file that was changed since its batch was started."""
    is_open = known.states.get(PayoutState.OPEN, 0)
    unknown = known.states.get(PayoutState.UNKNOWN, 0)
    settled = known.started - is_open - unknown
    new = counted(known.new_rows, "row")
    parts = [f"{new} {'is' if known.new_rows == 1 else 'are'} new"]
    parts += [f"{settled:,} settled, and not paid again"] if settled else []
    parts += [f"{is_open:,} open"] if is_open else []
    parts += [f"{unknown:,} unknown"] if unknown else []
    closed = known.missing.closed
    parts += [f"{closed:,} that failed or were cancelled left out"] if closed else []
    return "; ".join(parts)


def _changed_rows(known: FileInJournal, path: Path) -> str:
    first, more = known.used[0], known.used_count - 1
    others = f" and {counted(more, 'other row')}" if more else ""
    return (
        f"{path}: {_OTHER_FILE} {known.batch!r} was started with: line {first.line} (key "
        f"{first.entry.key!r}) differs in {', '.join(first.differs)}{others}; nothing was sent. "
        "Restore the row: its key pays one order, and another payment needs another key. Rows may "
        "be added, and sorted anew"
    )


def _another_file(known: FileInJournal, path: Path) -> CommandFailed:
    missing = known.missing
    first = missing.first[0]
    message = (
        f"{path}: {_OTHER_FILE} {known.batch!r} was started with: "
        f"{counted(missing.count, 'payout')} of the batch {'is' if missing.count == 1 else 'are'} "
        f"missing from it, such as {first.key!r}, which is {state_of(first.step).value}; nothing "
        "was sent. Restore the rows, or pay the file as "
        "another batch with --batch NAME: rows whose keys the journal has are not paid again. "
        "To leave out a payout for which nothing was sent: `payouts cancel KEY`"
    )
    facts = {
        "type": "RowsMissing",
        "message": message,
        "missing": [{"key": one.key, "state": state_of(one.step).value} for one in missing.first],
        "missing_count": missing.count,
    }
    return CommandFailed(ExitCode.MISUSE, message, facts)


def _in_use(known: FileInJournal, path: Path, journal: str, *, as_json: bool) -> CommandFailed:
    if not as_json:
        with reader_may_leave():
            _show_used(known)
    first, same = known.used[0], known.started + sum(known.elsewhere.values())
    if same:
        advice = (
            f"{counted(same, 'other row')} of the file are payouts of the journal, unchanged, so "
            "this is a changed copy of a file that was paid. Restore the changed rows, or remove "
            "them: the new rows are paid then, and no payout is paid again"
        )
    else:
        advice = (
            f"Keys that only count the rows need a prefix for each file: {_advice(path)}. Never "
            "use another key for a debt that the first key may have paid"
        )
    message = (
        f"{path}: {counted(known.used_count, 'row')} with a key that the journal "
        f"{shown(journal)} has for another payout; the first is line {first.line}: the key "
        f"{first.entry.key!r} {_use_of(first)}; nothing was sent. {advice}"
    )
    if known.is_changed:
        message = _changed_rows(known, path)
    facts = {
        "type": "KeyReused",
        "message": message,
        "used": [_facts(one) for one in known.used],
        "used_count": known.used_count,
    }
    return CommandFailed(ExitCode.MISUSE, message, facts)


def _use_of(used: UsedKey) -> str:
    entry = used.entry
    place = _place(entry.batch)
    state, since = state_of(entry.step).value, moment(utc(entry.updated_at))
    return f"is in {place}, with {_amount(used)}, {state} since {since}"


def _advice(path: Path) -> str:
    return f"{PREFIX} TEXT, such as {PREFIX} {path.stem}-"


def _places(elsewhere: Mapping[str | None, int]) -> str:
    found = sorted(elsewhere.items(), key=lambda item: -item[1])
    texts = [f"{count:,} in {_place(name)}" for name, count in found[:_MAX_BATCHES]]
    more = len(found) - len(texts)
    return ", ".join([*texts, f"and {more:,} more batches"] if more else texts)


def _show_used(known: FileInJournal) -> None:
    screen = console()
    listed = table("Keys of other payouts")
    for column in ("Line", "Key", "Batch", "Amount there", "State", "Since", "What differs"):
        listed.add_column(column, overflow="fold")
    for one in known.used:
        entry = one.entry
        since, differs = moment(utc(entry.updated_at)), ", ".join(one.differs)
        values = (one.line, entry.key, entry.batch or "", _amount(one), state_of(entry.step).value)
        listed.add_row(*map(cell, (*values, since, differs)))
    show(screen, listed)
    if known.used_count > len(known.used):
        screen.print(cell(f"and {known.used_count - len(known.used):,} more"), soft_wrap=True)


def _amount(used: UsedKey) -> str:
    entry = used.entry
    if entry.amount is None or entry.currency is None:
        return "an unknown amount"
    return money(Amount(entry.amount, entry.currency))


def _facts(used: UsedKey) -> dict[str, Any]:
    entry = used.entry
    return {
        "line": used.line,
        "key": entry.key,
        "batch": entry.batch,
        "amount": entry.amount,
        "currency": entry.currency,
        "state": state_of(entry.step).value,
        "since": utc(entry.updated_at).isoformat(),
        "differs": list(used.differs),
    }
