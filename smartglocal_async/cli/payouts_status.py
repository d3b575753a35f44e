"""``payouts status``: how the payouts of a journal stand, with nothing sent."""

import asyncio
from typing import Annotated, Any, Final

import typer
from attrs import field, frozen
from rich.console import Console
from rich.table import Table

from ..errors import InvalidRequest
from ..journal.entries import Batch, BatchState
from ..payouts.cases import Case, PayoutSummary, cases_of, summary_of
from ..payouts.orders import PayoutState
from ..retry import Timing
from ..values.exactness import without_card_numbers
from ..values.money import Amount
from .failures import ExitCode, explained, unread_or_not
from .payouts_batches import Counted, batches_of, show_batches
from .payouts_crew import Crew, crew_facts
from .payouts_journal import place_of, shown
from .payouts_looking import looking
from .payouts_options import BatchName, JournalAt, OptionalFile
from .payouts_rules import rules_facts, rules_words
from .payouts_standing import ABSENT, absent_from, code_of_counts, halted_words, known, utc
from .payouts_watch import watch as watched
from .payouts_wish import batch_of
from .screen import AsJson, cell, console, counted, show, table, write_json
from .words import moment, money

_MOST_CASES: Final = 100
_EVERY_SECONDS: Final = 2.0
Watching = Annotated[bool, typer.Option("--watch", help="Look until nothing is open any more.")]
Every = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        metavar="SECONDS",
        help="How often, with --watch; 2, or more rarely where the database has to count for long.",
        show_default=False,
    ),
]


@frozen(kw_only=True)
class Standing:
    """How payouts stand."""

    journal: str
    name: str | None
    """Of the batch; None: all of the journal."""
    batch: Batch | None
    batches: list[Counted] | None
    """Each of the journal, where all of it is looked at and it has them."""
    summary: PayoutSummary
    crew: Crew | None
    """None: of a journal in a file nobody can tell."""
    cases: list[Case] = field(factory=list[Case])
    case_count: int = 0

    @property
    def absent(self) -> int:
        """How many rows of its file the batch doesn't have."""
        return absent_from(self.batch, self.summary.counts)

    @property
    def code(self) -> ExitCode:
        """What that is for a shell: the worst first."""
        return code_of_counts(self.summary.counts, self.summary.halt)


def status(  # noqa: PLR0913 - one option per setting
    file: OptionalFile = None,
    *,
    journal: JournalAt = None,
    batch: BatchName = None,
    watch: Watching = False,
    every: Every = None,
    as_json: AsJson = False,
) -> None:
    """Say how the payouts stand: counts, sums, a halt, and what needs a person.

    Those of FILE, of a --batch, or of the whole journal; of one in a database each batch is listed,
    too. It reads the journal, also while `pay` runs; nothing is sent. A journal in a database needs
    the project and the server of the environment, and no key; one in a file needs neither. With
    --watch it looks again and again, until nothing is open, and shows the rate and the time left of
    all workers together: a live table, or a line of JSON for each look. What isn't written down yet
    is waited for.

    Exit codes: 0 all that were begun are paid. 1 some failed. 2 misuse. 3 some are open or
    unknown. 7 payouts are halted.
    """
    with explained(as_json=as_json):
        place = place_of(journal, file)
        name = batch if file is None else batch_of(batch, file)
        if every is not None and not watch:
            raise InvalidRequest("--every", "goes with --watch")
        if watch:
            pause = _EVERY_SECONDS if every is None else every
            raise typer.Exit(asyncio.run(watched(place, name, pause, as_json=as_json)))
        standing = asyncio.run(_look(place, name))
        with unread_or_not():
            if as_json:
                write_json(_facts(standing))
            else:
                _show(console(), standing)
    if standing.code:
        raise typer.Exit(standing.code)


async def _look(journal: str, name: str | None) -> Standing:
    cases: list[Case] = []
    count = 0
    async with looking(journal) as book:
        batch = await known(book, name, journal)
        batches = await batches_of(book) if name is None else None
        summary = await summary_of(book, name)
        crew = await Crew.over(book)
        async for case in cases_of(book, name, Timing().now()):
            count += 1
            if len(cases) < _MOST_CASES:
                cases.append(case)
    return Standing(
        journal=shown(journal),
        name=name,
        batch=batch,
        batches=batches,
        summary=summary,
        crew=crew,
        cases=cases,
        case_count=count,
    )


def _show(screen: Console, standing: Standing) -> None:
    title = "All payouts" if standing.name is None else f"Batch {standing.name}"
    shown_table = table(None)
    shown_table.show_header = False
    shown_table.add_column()
    shown_table.add_column(justify="right")
    shown_table.add_column(overflow="fold")
    if standing.batch is not None:
        _show_batch(shown_table, standing, standing.batch)
    for state, count in _counts(standing).items():
        shown_table.add_row(state.value, f"{count:,}", cell(_sums(standing, state)))
    screen.print(cell(title, "bold"), soft_wrap=True)
    show(screen, shown_table)
    if standing.batches:
        show_batches(screen, standing.batches)
    if standing.crew is not None:
        screen.print(cell(standing.crew), soft_wrap=True)
    if standing.summary.halt is not None:
        screen.print(cell(halted_words(standing.summary.halt), "bold red"), soft_wrap=True)
    _show_cases(screen, standing)


def _show_batch(shown_table: Table, standing: Standing, batch: Batch) -> None:
    total = ", ".join(money(Amount(units, code)) for code, units in batch.totals.items())
    shown_table.add_row("in the file", f"{batch.rows:,}", cell(total))
    if batch.state is not BatchState.RUNNING:
        shown_table.add_row(batch.state.value, "", cell(batch.reason or ""))
    if rules := rules_words(batch):
        shown_table.add_row("it stops", "", cell(rules))
    if standing.absent:
        shown_table.add_row("not in the batch", f"{standing.absent:,}", cell(ABSENT))


def _show_cases(screen: Console, standing: Standing) -> None:
    if not standing.case_count:
        return
    listed = table(f"{counted(standing.case_count, 'payout')} for a person to look at")
    for column in ("Key", "Session", "Step", "Since", "Why"):
        listed.add_column(column, overflow="fold")
    for case in standing.cases:
        entry, why = case.entry, without_card_numbers(case.reason) or ""
        since = moment(utc(entry.updated_at))
        listed.add_row(*map(cell, (case.key, entry.session_id or "", entry.step.name, since, why)))
    show(screen, listed)
    if standing.case_count > len(standing.cases):
        screen.print(cell(f"and {standing.case_count - len(standing.cases):,} more"))
    words = "look each up at the provider, then: smartglocal payouts decide KEY --paid|--not-paid"
    screen.print(cell(words), soft_wrap=True)


def _counts(standing: Standing) -> dict[PayoutState, int]:
    """Give the states that there are; paid ones are always told."""
    counts = standing.summary.counts
    found = {state: counts.get(state, 0) for state in PayoutState}
    return {s: n for s, n in found.items() if n or s is PayoutState.SUCCEEDED}


def _sums(standing: Standing, state: PayoutState) -> str:
    sums = standing.summary.sums.items()
    told = sorted((code, units) for (one, code), units in sums if one is state)
    return ", ".join(money(Amount(units, code)) for code, units in told)


def _facts(standing: Standing) -> dict[str, Any]:
    halt, batch = standing.summary.halt, standing.batch
    sums: dict[str, dict[str, int]] = {}
    for (state, currency), units in standing.summary.sums.items():
        sums.setdefault(currency, {})[state.value] = units
    return {
        "journal": standing.journal,
        "batch": standing.name,
        "state": None if batch is None else batch.state.value,
        "reason": None if batch is None else batch.reason,
        "rows": None if batch is None else batch.rows,
        "totals": None if batch is None else dict(batch.totals),
        "stop_rules": rules_facts(batch),
        "absent": None if batch is None else standing.absent,
        "counts": {state.value: count for state, count in _counts(standing).items()},
        "sums": sums,
        "batches": standing.batches and [one.facts for one in standing.batches],
        **crew_facts(standing.crew),
        "halt": halt and {"kind": halt.kind.value, "reason": halt.reason, "until": halt.until},
        "cases": [_case(case) for case in standing.cases],
        "case_count": standing.case_count,
        "exit_code": int(standing.code),
    }


def _case(case: Case) -> dict[str, Any]:
    entry = case.entry
    return {
        "key": case.key,
        "session_id": entry.session_id,
        "step": entry.step.name,
        "since": utc(entry.updated_at).isoformat(),
        "reason": without_card_numbers(case.reason),
    }
