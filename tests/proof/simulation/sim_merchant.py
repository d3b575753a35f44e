"""A merchant in a simulation: its journal, its orders, and the counters outside of the journal."""

from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field, frozen

import smartglocal_async as sg
from smartglocal_async.journal.states import Step

if TYPE_CHECKING:
    from sim_world import World


@define
class ExternalCounters:
    """Counters kept outside of the rows; restoring a copy of the rows doesn't change them."""

    commits: int = 0
    """The commits, as the file beside a SQLite journal counts them."""
    timeline: int = 1
    """The timeline, which PostgreSQL increments when a standby is promoted."""


@frozen
class RowsCopy:
    """A copy of the rows."""

    entries: dict[str, sg.journal.Entry]
    sessions: dict[str, str]
    lines: list[sg.journal.Attempt]
    brake: Any
    commits: int
    timeline: int


@define(eq=False)
class SimMerchant:
    """One journal and its orders. Several merchants may use the same keys at one provider."""

    world: "World"
    number: int
    orders: list[sg.PayoutOrder]
    rows: Any = None
    is_touched: bool = False
    """Whether something may have been written since the last check."""
    commits: int = 0
    """How many commits the rows have."""
    timeline: int = 1
    """The timeline that is written in the rows."""
    external: ExternalCounters = field(factory=ExternalCounters)
    was_restored: bool = False
    missing_commits: str | None = None
    """The kind of halt that must follow because a restored copy lacks commits."""
    outcomes: dict[str, sg.PayoutState] = field(factory=dict[str, sg.PayoutState])
    """The final states that callers received, by key."""
    keys: dict[str, list[str]] = field(factory=dict[str, list[str]])
    """The keys under which each order was paid."""
    decided: set[str] = field(factory=set[str])
    """The keys that an operator wrote, or tried to write, as failed."""
    halts: set[str] = field(factory=set[str])
    """The kinds of halts for which there is a reason."""

    @property
    def journal_id(self) -> str:
        """The id of the journal."""
        return f"journal-{self.number}"

    @property
    def entries(self) -> list[sg.journal.Entry]:
        """The entries of the journal."""
        return [] if self.rows is None else list(self.rows.entries.values())

    @property
    def halt(self) -> Any:
        """The halt in the journal, or None."""
        return None if self.rows is None else self.rows.halt()

    def next_order(self, order: sg.PayoutOrder) -> sg.PayoutOrder:
        """Return an order with the key for its next attempt."""
        keys = self.keys.setdefault(order.key, [])
        if self.world.code.new_key_per_attempt:
            order = evolve(order, key=f"{order.key}-{len(keys)}")
        keys.append(order.key)
        return order

    def order(self, key: str) -> sg.PayoutOrder:
        """Return the order that was paid under a key."""
        return next(
            one for one in self.orders if key == one.key or key in self.keys.get(one.key, ())
        )

    def count(self) -> None:
        """Count a commit, in the rows and outside."""
        self.commits += 1
        self.external.commits = max(self.commits, self.external.commits)

    def copied(self) -> RowsCopy:
        """Return a copy of the rows."""
        rows = self.rows
        marks = (rows.brake, self.commits, self.timeline)
        return RowsCopy(dict(rows.entries), dict(rows.sessions), list(rows.lines), *marks)

    def restore(self, copy: RowsCopy) -> None:
        """Replace the rows by a copy."""
        rows = self.rows
        rows.entries, rows.sessions = dict(copy.entries), dict(copy.sessions)
        rows.lines, rows.brake = list(copy.lines), copy.brake
        self.commits, self.timeline = copy.commits, copy.timeline
        self.was_restored = self.is_touched = True

    def is_settled(self, *, can_close: bool) -> bool:
        """Return whether sending more calls would settle nothing more."""
        if self.halt is not None:
            return True
        ends = {step for step in Step if step.is_final or step is Step.UNKNOWN}
        if not can_close:
            # Without A3 the payout stays in these steps and isn't paid in a new session.
            ends |= {Step.CANCELLING, Step.REFUSED, Step.KEY_USED}
        return all(entry.step in ends for entry in self.entries)
