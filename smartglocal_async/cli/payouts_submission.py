"""What a file that was submitted came to: what is new of it, and what the journal had before."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen
from rich.console import Console

from ..journal.entries import Batch, BatchState
from ..journal.store import Journal
from ..payouts.chunks import Submission
from ..payouts.orders import PayoutState
from ..values.money import Amount
from .failures import ExitCode
from .payouts_rules import rules_facts, rules_words
from .payouts_standing import code_of_counts
from .screen import cell, console, counted, show, table
from .words import money

PAID_AGAIN: Final = "paid again only under new keys"
_MOST_OTHERS: Final = 5
_NAMES: Final[Mapping[PayoutState, str]] = {
    PayoutState.OPEN: "open before",
    PayoutState.SUCCEEDED: "paid before",
    PayoutState.FAILED: "failed before",
    PayoutState.CANCELLED: "withdrawn before",
    PayoutState.UNKNOWN: "unknown",
}
_ADVICE: Final[Mapping[PayoutState, str]] = {
    PayoutState.FAILED: PAID_AGAIN,
    PayoutState.CANCELLED: PAID_AGAIN,
    PayoutState.UNKNOWN: "the provider's report or a person settles it",
}


@frozen(kw_only=True)
class Written:
    """A file that was submitted."""

    done: Submission
    others: Mapping[str, Batch]
    """The other batches that rows of it belong to, as far as they have a row of their own."""
    jobs: int
    journal: str
    work: str
    """The command that pays it."""
    unpause: str

    @property
    def states(self) -> Counter[PayoutState]:
        """How those stand that were there before, whatever their batch."""
        states = Counter[PayoutState]()
        for (_, state), count in self.done.known.items():
            states[state] += count
        return states

    @property
    def code(self) -> ExitCode:
        """What that is for a shell: the worst first."""
        code = code_of_counts({**self.states, PayoutState.OPEN: 0}, None)
        is_unpaid = self.done.refused_count or self._is_left_lying
        return ExitCode.FAILED if is_unpaid and not code else code

    @property
    def _is_left_lying(self) -> bool:
        """Whether some are open where no worker takes them."""
        return any(
            counts[PayoutState.OPEN] and self.state_of(name) in {None, BatchState.CANCELLED}
            for name, counts in self.elsewhere.items()
        )

    @property
    def is_all_elsewhere(self) -> bool:
        """Whether the batch has none of it: all rows belong to other batches, or to none."""
        own = any(name == self.done.batch.name for name, _ in self.done.known)
        return not self.done.new_count and not own and bool(self.done.known)

    @property
    def next(self) -> str | None:
        """The command that pays it, where there is something to pay."""
        return self.work if self.done.new_count or self.states[PayoutState.OPEN] else None

    @property
    def elsewhere(self) -> dict[str | None, Counter[PayoutState]]:
        """Count those that belong to other batches, or to none, by batch."""
        found = dict[str | None, Counter[PayoutState]]()
        for (name, state), count in self.done.known.items():
            if name != self.done.batch.name:
                found.setdefault(name, Counter())[state] += count
        return found

    def state_of(self, name: str | None) -> BatchState | None:
        """Give the state of another batch, if it has one."""
        batch = None if name is None else self.others.get(name)
        return None if batch is None else batch.state

    def as_dict(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
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
                {"key": one.key, "differs": list(one.differing_fields)} for one in done.refused
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
    """Give the other batches that rows of a file belong to."""
    names = {name for name, _ in done.known if name not in {None, done.batch.name}}
    found = [await journal.batch(name) for name in names if name is not None]
    return {batch.name: batch for batch in found if batch is not None}


def show_written(written: Written) -> None:
    """Show what was written down, and what to do next."""
    screen, batch = console(), written.done.batch
    total = ", ".join(money(Amount(units, code)) for code, units in batch.totals.items())
    if written.is_all_elsewhere:
        words = (
            f"nothing is new in the batch {batch.name}: all of it lies elsewhere, as listed below"
        )
        screen.print(cell(words, "bold"), soft_wrap=True)
    what = f"{counted(batch.rows, 'payout')}, {total or 'nothing'}, as the batch {batch.name}"
    screen.print(cell(f"{what}; {counted(written.jobs, 'new job')} for workers"), soft_wrap=True)
    _show_rows(screen, written)
    _show_refused(screen, written.done)
    if rules := rules_words(batch):
        screen.print(cell(f"it stops {rules}"), soft_wrap=True)
    if batch.state is BatchState.PAUSED:
        screen.print(cell(f"it is paused; to go on: {written.unpause}"), soft_wrap=True)
    if written.next is not None:
        screen.print(cell(f"next: {written.next}"), soft_wrap=True)


def _show_rows(screen: Console, written: Written) -> None:
    shown = table()
    shown.show_header = False
    shown.add_column()
    shown.add_column(justify="right")
    shown.add_column(overflow="fold")
    shown.add_row("new", f"{written.done.new_count:,}", "")
    states = written.states
    for state, name in _NAMES.items():
        if states[state]:
            said = [_places(written, state), _ADVICE.get(state, "")]
            shown.add_row(name, f"{states[state]:,}", cell("; ".join(filter(None, said))))
    show(screen, shown)


def _places(written: Written, state: PayoutState) -> str:
    """Name the other batches that rows at a state belong to, those with most of them in front."""
    found = Counter({name: counts[state] for name, counts in written.elsewhere.items()})
    told = [
        f"{count:,} in {_place(name, written.state_of(name), state)}"
        for name, count in found.most_common(_MOST_OTHERS)
        if count
    ]
    more = sum(map(bool, found.values())) - len(told)
    return ", ".join([*told, f"and {more:,} batches more"] if more else told)


def _place(name: str | None, state: BatchState | None, of_rows: PayoutState) -> str:
    place = "no batch" if name is None else f"the batch {name}"
    if state is None:
        return f"{place} (no worker takes them)" if of_rows is PayoutState.OPEN else place
    return place if state is BatchState.RUNNING else f"{place} ({state.value})"


def _show_refused(screen: Console, done: Submission) -> None:
    if not done.refused_count:
        return
    screen.print(cell("Refused: the key belongs to another order", "bold"), soft_wrap=True)
    listed = table()
    for column in ("Key", "What differs"):
        listed.add_column(column, overflow="fold")
    for one in done.refused:
        listed.add_row(cell(one.key), cell(", ".join(one.differing_fields)))
    show(screen, listed)
    if done.refused_count > len(done.refused):
        screen.print(cell(f"and {done.refused_count - len(done.refused):,} more"))
