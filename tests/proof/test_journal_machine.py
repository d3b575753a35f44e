"""Any order of claims, steps, lease ends, take-overs and crashes, compared with a simple model.

The model is independent of the journals; it only uses the table of legal steps.
"""

import asyncio
import itertools
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from journal_conformance import SCOPE, SetClock, changes_for, fingerprint_of_amount, new
from postgres_schemas import DSN, execute, needs_postgres, new_schema

import smartglocal_async as sg
from smartglocal_async.journal.states import STEPS

pytestmark = pytest.mark.proof

KEYS = ("a", "b")
OWNERS = ("one", "two")
LEASE = 30.0
keys = st.sampled_from(KEYS)
owners = st.sampled_from(OWNERS)


class JournalMachine(RuleBasedStateMachine):
    """The events of a journal and their effect on the model; subclasses create the journal."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = SetClock()
        self.journal = self.make()
        self.model: dict[str, dict] = {}
        self.seen_entries: dict[tuple[str, str], sg.journal.Entry] = {}
        self.session_ids = (f"s{n}" for n in itertools.count())
        self.used: dict[str, str] = {}
        self.fences = dict.fromkeys(KEYS, 0)

    def make(self) -> sg.journal.Journal:
        """Return a journal over the existing rows."""
        raise NotImplementedError

    def run(self, coroutine):
        """Run a coroutine; return its error instead of raising it."""
        try:
            return self.loop.run_until_complete(coroutine)
        except sg.SmartGlocalError as error:
            return error

    @initialize()
    def open_journal(self) -> None:
        """Open the journal."""
        assert self.run(self.journal.open(SCOPE)) is None

    @rule(key=keys, amount=st.sampled_from([100, 100, 200]))
    def accept(self, key, amount) -> None:
        """A key belongs to the request that it was first accepted with."""
        got = self.run(self.journal.accept(new(key, fingerprint=fingerprint_of_amount(amount))))
        row = self.model.setdefault(
            key,
            {"amount": amount, "step": sg.journal.Step.NEW, "fence": 0, "owner": None, "until": 0.0}
            | {"session": None, "left": 0, "lines": 0},
        )
        assert isinstance(got, sg.journal.Entry if row["amount"] == amount else sg.KeyReused)

    @rule(key=keys, owner=owners)
    def claim(self, key, owner) -> None:
        """A claim succeeds if no other worker holds the row."""
        got, row = self.run(self.journal.claim(key, owner, LEASE)), self.model.get(key)
        if row is None:
            assert isinstance(got, sg.Misuse)
        elif row["step"].is_final:
            assert got.step is row["step"]
        elif row["owner"] not in {None, owner} and row["until"] > self.clock.now:
            assert isinstance(got, sg.InProgress)
        else:
            row |= {"fence": row["fence"] + 1, "owner": owner, "until": self.clock.now + LEASE}
            self.seen_entries[key, owner] = got

    @rule(key=keys, owner=owners, pick=st.integers(0, 99), reuse=st.booleans())
    def advance(self, key, owner, pick, reuse) -> None:
        """Only the holder can write, from the entry that it last saw, and only a legal step."""
        holder = self.model.get(key, {}).get("owner")
        view = self.seen_entries.get((key, owner if holder is None or not pick % 5 else holder))
        if view is None:
            return
        ways = [
            event for step, event in STEPS if step is view.step and not STEPS[step, event].is_final
        ]
        events = [*ways, *ways, *ways, *sg.journal.Event] if ways else list(sg.journal.Event)
        event = events[pick % len(events)]
        name = next(iter(self.used), "s?") if reuse else next(self.session_ids)
        self.advance_from(view, (key, owner, pick), event, name)

    @rule(key=keys, owner=owners, pick=st.integers(0, 99), event=st.sampled_from(sg.journal.Event))
    def advance_twice(self, key, owner, pick, event) -> None:
        """A learned event and a step are both written or both not."""
        view = self.seen_entries.get((key, self.model.get(key, {}).get("owner") or owner))
        if view is None:
            return
        learned = (
            sg.journal.Event.CONFIRM_KNOWN
            if view.step is sg.journal.Step.CONFIRMING
            else sg.journal.Event.START_KNOWN
        )
        self.advance_from(view, (key, owner, pick), event, next(self.session_ids), learned)

    def advance_from(self, view, drawn, event, name, learned=None) -> None:
        """Write a step in the journal and in the model."""
        key, owner, pick = drawn
        told = None if learned is None else sg.journal.PendingEvent(learned)
        changes = changes_for(event, name)
        got = self.run(self.journal.advance(view, event, changes, pending=told))
        known = view.step if learned is None else STEPS.get((view.step, learned))
        row, after = self.model[key], STEPS.get((known, event))
        if after is None or event is sg.journal.Event.RETRIED:
            assert isinstance(got, sg.Misuse)
        elif not self.holds(view, row):
            assert isinstance(got, sg.errors.LostLease)
        elif event is sg.journal.Event.SESSION_CHOSEN and name in self.used:
            assert isinstance(got, sg.Misuse)
        else:
            row["lines"] += learned is not None
            self.apply_step(row, key, event, after, name)
            # Sometimes the older entry is kept, like that of a worker that was stopped.
            if pick % 7:
                self.seen_entries[key, got.owner or owner] = got

    def holds(self, view, row) -> bool:
        """Return whether, in the model, the holder of this entry holds the row."""
        seen = (view.fence, view.step, view.session_id, view.session_no)
        return (
            row["owner"] is not None
            and (row["fence"], row["step"], row["session"], row["left"]) == seen
        )

    def apply_step(self, row, key, event, after, name) -> None:
        """Write a step into the model."""
        row |= {"step": after, "lines": row["lines"] + 1}
        if event is sg.journal.Event.SESSION_CHOSEN:
            row["session"] = name
            self.used[name] = key
        if event is sg.journal.Event.SESSION_LEFT:
            row |= {"session": None, "left": row["left"] + 1}
        if after.is_final:
            row |= {"owner": None, "until": 0.0}

    @rule(key=keys, is_old=st.booleans())
    def retry(self, key, is_old) -> None:
        """A failed row is new again, once for each time that it was read."""
        if (row := self.model.get(key)) is None:
            return
        found = self.run(self.journal.find(key))
        if is_old and found.step is sg.journal.Step.FAILED:
            assert isinstance(self.run(self.journal.retry(found)), sg.journal.Entry)
        got = self.run(self.journal.retry(found))
        if row["step"] is not sg.journal.Step.FAILED:
            assert isinstance(got, sg.Misuse)
            return
        assert isinstance(got, sg.errors.LostLease if is_old else sg.journal.Entry)
        left = row["left"] + (row["session"] is not None)
        row |= {"step": sg.journal.Step.NEW, "fence": row["fence"] + 1, "lines": row["lines"] + 1}
        row |= {"session": None, "left": left}

    @rule(key=keys, owner=owners)
    def renew(self, key, owner) -> None:
        """The holder can extend its lease."""
        if (view := self.seen_entries.get((key, owner))) is None:
            return
        got, row = self.run(self.journal.renew(view, LEASE)), self.model[key]
        if row["owner"] is None or row["fence"] != view.fence:
            assert isinstance(got, sg.errors.LostLease)
        else:
            row["until"] = self.clock.now + LEASE

    @rule(key=keys, owner=owners)
    def release(self, key, owner) -> None:
        """The holder can release its lease; a lost lease can't be released."""
        if (view := self.seen_entries.get((key, owner))) is None:
            return
        assert self.run(self.journal.release(view)) is None
        row = self.model[key]
        if row["owner"] is not None and row["fence"] == view.fence:
            row |= {"owner": None, "until": 0.0}

    @rule(seconds=st.sampled_from([1.0, LEASE - 1, LEASE]))
    def time_passes(self, seconds) -> None:
        """Leases end."""
        self.clock.now += seconds

    @rule()
    def crash(self) -> None:
        """The process ends with its leases, and another one opens the journal."""
        assert self.run(self.journal.close()) is None
        self.journal = self.make()
        assert self.run(self.journal.open(SCOPE)) is None
        self.clock.now += LEASE
        for key, row in self.model.items():
            found = self.run(self.journal.find(key))
            row["owner"] = found.owner  # A journal of one process ends the leases at once.

    @invariant()
    def rows_match_the_model(self) -> None:
        """Fences never decrease, final steps stay, and each payout has at most one session."""
        for key, row in self.model.items():
            found = self.run(self.journal.find(key))
            assert found.fence == row["fence"] >= self.fences[key]
            self.fences[key] = found.fence
            assert (found.step, found.owner) == (row["step"], row["owner"])
            assert (found.session_id, found.session_no) == (row["session"], row["left"])
            lines = self.run(self.journal.history(key))
            assert len(lines) == row["lines"]
            assert [line.step for line in lines][-1:] == [row["step"]][: len(lines)]
        for name, key in self.used.items():
            assert self.run(self.journal.by_session(name)).key == key

    @invariant()
    def open_entries_are_not_leased(self) -> None:
        """Open entries are neither final nor leased."""
        got = self.run(self.journal.open_entries(10))
        assert [entry.key for entry in got] == [
            key
            for key, row in self.model.items()
            if not row["step"].is_final
            and row["step"] is not sg.journal.Step.UNKNOWN
            and (row["owner"] is None or row["until"] <= self.clock.now)
        ]

    def teardown(self) -> None:
        """Close everything."""
        assert self.run(self.journal.close()) is None
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


class MemoryMachine(JournalMachine):
    """The journal in memory."""

    def make(self) -> sg.journal.Journal:
        """Return the one journal; its rows exist only in it."""
        kept = getattr(self, "journal", None)
        return kept if kept is not None else sg.journal.MemoryJournal(clock=self.clock)


class SQLiteMachine(JournalMachine):
    """The SQLite journal."""

    def make(self) -> sg.journal.Journal:
        """Return another journal over the same file."""
        if not hasattr(self, "folder"):
            self.folder = Path(tempfile.mkdtemp())
        return sg.SQLiteJournal(self.folder / "j.db", clock=self.clock)

    def teardown(self) -> None:
        """Delete the file."""
        super().teardown()
        shutil.rmtree(self.folder)


class PostgresMachine(JournalMachine):
    """The PostgreSQL journal."""

    def make(self) -> sg.journal.Journal:
        """Return another journal over the same schema."""
        if not hasattr(self, "schema"):
            self.schema = new_schema()
        return sg.PostgresJournal(DSN, schema=self.schema, clock=self.clock)

    def teardown(self) -> None:
        """Drop the schema."""
        super().teardown()
        asyncio.run(execute("DROP SCHEMA {schema} CASCADE", schema=self.schema))


@pytest.mark.parametrize(
    ("machine", "examples"),
    [
        (MemoryMachine, 200),
        (SQLiteMachine, 20),
        pytest.param(PostgresMachine, 20, marks=needs_postgres),
    ],
)
def test_any_order_of_events(machine, examples) -> None:
    """The journal and the model agree after each event."""
    case = machine.TestCase
    case.settings = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    case().runTest()
