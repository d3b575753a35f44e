"""``payouts submit``: stores a file in a journal, and shows which rows the journal had before."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve, frozen
from rich.console import Console

from ...client import SmartGlocal
from ...errors import Misuse
from ...journal.entries import Batch, BatchState
from ...journal.journal import Journal
from ...models.money import Amount, AmountDetails
from ...payouts.files import PayoutFile
from ...payouts.orders import PayoutState
from ...payouts.protocol import Mode
from ...payouts.shared_batch import Submission
from ...payouts.stop_rules import StopOn
from ...retry import Timing
from ..errors import ExitCode, reader_may_leave
from ..options import amounts
from ..output import counted, write_json
from ..signals import run_async, sigterm_interrupts
from ..tables import cell, console, money, show, table
from ..wallets import read_wallets, report_needs
from .batches import (
    FileInJournal,
    code_of_counts,
    find_file,
    rules_facts,
    rules_text,
)
from .check import (
    EXPECT,
    PREFIX,
    batch_of,
    check_limits,
    checked,
    file_of,
    stop_rules,
)
from .commands import SubmitOptions
from .duplicates import is_continued, needs_before, report_known, report_repeats, with_left_out
from .journals import (
    check_extra,
    check_journal_key,
    client_of,
    next_command,
    payouts_of,
    server_of,
    shared,
    shown,
)
from .summary import needs_terminal, submit_confirmed

PAID_AGAIN: Final = "paid only under new keys"
_MAX_OTHERS: Final = 5
_NAMES: Final[Mapping[PayoutState, str]] = {
    PayoutState.OPEN: "open before",
    PayoutState.SUCCEEDED: "paid before",
    PayoutState.FAILED: "failed before",
    PayoutState.CANCELLED: "cancelled before",
    PayoutState.UNKNOWN: "unknown",
}
_ADVICE: Final[Mapping[PayoutState, str]] = {
    PayoutState.FAILED: PAID_AGAIN,
    PayoutState.CANCELLED: PAID_AGAIN,
    PayoutState.UNKNOWN: "the provider's report or a person decides it",
}


@frozen(kw_only=True)
class SubmittedFile:
    """A file that was submitted."""

    done: Submission
    others: Mapping[str, Batch]
    """Other batches that rows of the file belong to."""
    jobs: int
    journal: str
    work: str
    """The command of a worker that pays it."""
    resume: str

    @property
    def states(self) -> Counter[PayoutState]:
        """The states of rows that the journal had before, in any batch."""
        states = Counter[PayoutState]()
        for (_, state), count in self.done.known.items():
            states[state] += count
        return states

    @property
    def code(self) -> ExitCode:
        """The exit code: that of the worst state."""
        code = code_of_counts({**self.states, PayoutState.OPEN: 0}, None)
        is_unpaid = self.done.refused_count or self._has_stuck_rows
        return ExitCode.FAILED if is_unpaid and not code else code

    @property
    def _has_stuck_rows(self) -> bool:
        """Whether rows are open in no batch or in a cancelled one, where no worker pays them."""
        return any(
            counts[PayoutState.OPEN] and self.state_of(name) in {None, BatchState.CANCELLED}
            for name, counts in self.elsewhere.items()
        )

    @property
    def is_all_elsewhere(self) -> bool:
        """Whether all rows belong to other batches, or to none."""
        own = any(name == self.done.batch.name for name, _ in self.done.known)
        return not self.done.new_count and not own and bool(self.done.known)

    @property
    def next(self) -> str | None:
        """The command that pays it, if there is something to pay."""
        return self.work if self.done.new_count or self.states[PayoutState.OPEN] else None

    @property
    def elsewhere(self) -> dict[str | None, Counter[PayoutState]]:
        """The states of rows that belong to other batches, or to none, by batch."""
        found = dict[str | None, Counter[PayoutState]]()
        for (name, state), count in self.done.known.items():
            if name != self.done.batch.name:
                found.setdefault(name, Counter())[state] += count
        return found

    def state_of(self, name: str | None) -> BatchState | None:
        """Return the state of another batch, if it has one."""
        batch = None if name is None else self.others.get(name)
        return None if batch is None else batch.state

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        done, states = self.done, self.states
        return {
            "batch": done.batch.name,
            "rows": done.batch.rows,
            "totals": dict(done.batch.totals),
            "stop_rules": rules_facts(done.batch),
            "new": done.new_count,
            **{state.value: states[state] for state in _NAMES},
            "elsewhere": [self._facts_of(name) for name in self.elsewhere],
            "refused": [
                {"key": one.key, "batch": one.batch, "differs": list(one.differing_fields)}
                for one in done.refused
            ],
            "refused_count": done.refused_count,
            "jobs": self.jobs,
            "journal": self.journal,
            "next": self.next,
            "exit_code": int(self.code),
        }

    def _facts_of(self, name: str | None) -> dict[str, Any]:
        state, counts = self.state_of(name), self.elsewhere[name]
        return {
            "batch": name,
            "state": None if state is None else state.value,
            "counts": {one.value: counts[one] for one in _NAMES},
        }


async def others_of(done: Submission, journal: Journal) -> dict[str, Batch]:
    """Return the other batches that rows of a file belong to."""
    names = {name for name, _ in done.known if name not in {None, done.batch.name}}
    found = [await journal.batch(name) for name in names if name is not None]
    return {batch.name: batch for batch in found if batch is not None}


def show_submitted(submitted: SubmittedFile) -> None:
    """Show what was stored, and what to do next."""
    screen, batch = console(), submitted.done.batch
    total = ", ".join(money(Amount(units, code)) for code, units in batch.totals.items())
    if submitted.is_all_elsewhere:
        text = f"the batch {batch.name} got no rows: all are in other batches, listed below"
        screen.print(cell(text, "bold"), soft_wrap=True)
    what = f"{counted(batch.rows, 'payout')}, {total or 'nothing'}, as the batch {batch.name}"
    screen.print(cell(f"{what}; {counted(submitted.jobs, 'new job')} for workers"), soft_wrap=True)
    _show_rows(screen, submitted)
    _show_refused(screen, submitted.done)
    if rules := rules_text(batch):
        screen.print(cell(f"stop rules: {rules}"), soft_wrap=True)
    if batch.state is BatchState.PAUSED:
        screen.print(cell(f"the batch is paused; to resume it: {submitted.resume}"), soft_wrap=True)
    if submitted.next is not None:
        screen.print(cell(f"next: {submitted.next}"), soft_wrap=True)


def _show_rows(screen: Console, submitted: SubmittedFile) -> None:
    shown = table()
    shown.show_header = False
    shown.add_column()
    shown.add_column(justify="right")
    shown.add_column(overflow="fold")
    shown.add_row("new", f"{submitted.done.new_count:,}", "")
    states = submitted.states
    for state, name in _NAMES.items():
        if states[state]:
            notes = [_places(submitted, state), _ADVICE.get(state, "")]
            shown.add_row(name, f"{states[state]:,}", cell("; ".join(filter(None, notes))))
    show(screen, shown)


def _places(submitted: SubmittedFile, state: PayoutState) -> str:
    """Return the other batches that rows in a state belong to, those with most rows first."""
    found = Counter({name: counts[state] for name, counts in submitted.elsewhere.items()})
    texts = [
        f"{count:,} in {_place(name, submitted.state_of(name), state)}"
        for name, count in found.most_common(_MAX_OTHERS)
        if count
    ]
    more = sum(map(bool, found.values())) - len(texts)
    return ", ".join([*texts, f"and {more:,} more batches"] if more else texts)


def _place(name: str | None, state: BatchState | None, of_rows: PayoutState) -> str:
    place = "no batch" if name is None else f"the batch {name}"
    if state is None:
        return f"{place} (no worker pays them)" if of_rows is PayoutState.OPEN else place
    return place if state is BatchState.RUNNING else f"{place} ({state.value})"


def _show_refused(screen: Console, done: Submission) -> None:
    if not done.refused_count:
        return
    screen.print(cell("Refused: the key belongs to another order", "bold"), soft_wrap=True)
    listed = table()
    for column in ("Key", "Batch", "What differs"):
        listed.add_column(column, overflow="fold")
    for one in done.refused:
        differs = ", ".join(one.differing_fields)
        listed.add_row(*map(cell, (one.key, one.batch or "", differs)))
    show(screen, listed)
    if done.refused_count > len(done.refused):
        screen.print(cell(f"and {done.refused_count - len(done.refused):,} more"))
    hint = f"keys that only count the rows need a prefix for each file: {PREFIX} TEXT"
    screen.print(cell(hint), soft_wrap=True)


@frozen(kw_only=True)
class SubmitPlan:
    """What to store in the journal, from the options."""

    options: SubmitOptions
    file: PayoutFile
    """The file, or the copy of it that is checked and stored."""
    journal: str
    batch: str
    stop_on: StopOn

    def rules_for(self, known: Batch | None) -> StopOn | None:
        """Return the stop rules to store; None keeps those of an existing batch, or its lack.

        An existing batch keeps its rules unless an option sets them.
        """
        options, given = self.options, self.stop_on
        is_set = options.stop_on_low_balance is not None or given != StopOn(low_balance=True)
        has_none = given == StopOn() and (known is None or known.rules is None)
        return given if (is_set or known is None) and not has_none else None

    @property
    def work(self) -> str:
        """The command of a worker that pays it."""
        return next_command(
            "work",
            journal=self.journal,
            server=self.options.server,
            confirm=self.options.confirm,
        )

    @property
    def resume(self) -> str:
        """The command that resumes the batch."""
        return next_command(
            "batch resume", self.batch, journal=self.journal, server=self.options.server
        )


def submit(options: SubmitOptions) -> ExitCode:
    """Check a file, ask, and store it in the journal."""
    with sigterm_interrupts():
        check_extra()
        _ = shared(options.journal)
        check_journal_key()
        totals = amounts(EXPECT, options.expect_total) or None
        stop_on = stop_rules(options)
        plan = SubmitPlan(
            options=options,
            file=file_of(options.file, options.key_prefix, options),
            journal=options.journal or "",
            batch=batch_of(options.batch, options.file),
            stop_on=stop_on,
        )
        if not options.yes:
            needs_terminal()
        with plan.file.copied() as copy:
            submitted = _checked_and_submitted(evolve(plan, file=copy), plan.file, totals)
        if submitted is None:
            return ExitCode.FAILED
        with reader_may_leave():
            if options.as_json:
                write_json(submitted.as_dict())
            else:
                show_submitted(submitted)
        return submitted.code


def _checked_and_submitted(
    plan: SubmitPlan, original: PayoutFile, totals: Mapping[str, AmountDetails] | None
) -> SubmittedFile | None:
    """Store a file after the checks and the question; return None if it isn't stored."""
    options = plan.options
    client, digest, stops = client_of(options.server), plan.file.digest(), plan.stop_on.low_balance
    found = checked(plan.file, totals, as_json=options.as_json)
    if not found.is_fit:
        return None
    check_limits(plan.stop_on.spend, found.totals)
    balances = None
    if not options.offline:
        balances = read_wallets(client_of(options.server), may_be_refused=not stops)
    known = run_async(
        find_file(
            client, plan.file, plan.journal, options.batch, digest, mode=Mode(options.confirm)
        )
    )
    plan = evolve(plan, batch=known.batch)
    # In a new batch, keys of other payouts are refused one by one when the file is stored.
    reported = known if known.is_changed else evolve(known, used=(), used_count=0)
    report_known(reported, options.file, plan.journal, as_json=options.as_json)
    report_repeats(
        known, Timing().now(), is_asked=not options.yes, is_allowed=options.allow_repeats
    )
    needs = needs_before(found, balances, known, plan.journal, options.server)
    report_needs(needs, stops=stops, as_json=options.as_json)
    if not options.yes and not submit_confirmed(
        found, known, needs, shown(plan.journal), server_of(options.server)
    ):
        return None
    if original.digest() != digest:
        raise Misuse(f"{options.file}: was changed during the check; run the command again")
    return run_async(_submitted(client, plan, digest, known))


async def _submitted(
    client: SmartGlocal, plan: SubmitPlan, digest: str, known: FileInJournal
) -> SubmittedFile:
    from ...integrations.cluster import enqueue_batch  # noqa: PLC0415 - an extra

    journal = shared(plan.journal)
    async with client, payouts_of(client, journal, Mode(plan.options.confirm)) as payouts:
        _ = await is_continued(journal, known, digest)
        batch = await journal.batch(plan.batch)
        if batch is not None and batch.state is BatchState.CANCELLED:
            raise Misuse(
                f"the batch {plan.batch!r} was cancelled for good; its cancelled payouts are "
                f"{PAID_AGAIN}, as another --batch NAME"
            )
        done = await payouts.submit(
            plan.file, plan.batch, digest=bytes.fromhex(digest), stop_on=plan.rules_for(batch)
        )
        if known.missing.closed:
            written = await journal.put_batch(with_left_out(done.batch, known.missing))
            done = evolve(done, batch=written)
        return SubmittedFile(
            done=done,
            others=await others_of(done, journal),
            jobs=await enqueue_batch(journal, plan.batch),
            journal=shown(plan.journal),
            work=plan.work,
            resume=plan.resume,
        )
