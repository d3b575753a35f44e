"""Any order of claims, steps, ends of leases, take-overs and crashes, against a plain model.

The model is written apart from the journals: it knows the table of legal steps, and no code.
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
from journal_conformance import SCOPE, SetClock, changes_for, new, print_of
from postgres_schemas import DSN, execute, needs_postgres, new_schema

import smartglocal_async as sg
from smartglocal_async.journal.states import STEPS

pytestmark = [pytest.mark.thorough, pytest.mark.no_cover]

KEYS = ("a", "b")
OWNERS = ("one", "two")
LEASE = 30.0
keys = st.sampled_from(KEYS)
owners = st.sampled_from(OWNERS)


class JournalMachine(RuleBasedStateMachine):
    """What may happen to a journal; each subclass says which."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = SetClock()
        self.journal = self.make()
        self.model: dict[str, dict] = {}
        self.views: dict[tuple[str, str], sg.Entry] = {}
        self.names = (f"s{n}" for n in itertools.count())
        self.used: dict[str, str] = {}
        self.fences = dict.fromkeys(KEYS, 0)

    def make(self) -> sg.Journal:
        """Give a journal over the rows that are there."""
        raise NotImplementedError

    def do(self, asked):
        """Wait for the journal; give what it raises instead of raising it."""
        try:
            return self.loop.run_until_complete(asked)
        except sg.SmartGlocalError as error:
            return error

    @initialize()
    def begin(self) -> None:
        """Open it."""
        assert self.do(self.journal.open(SCOPE)) is None

    @rule(key=keys, amount=st.sampled_from([100, 100, 200]))
    def accept(self, key, amount) -> None:
        """A key stands for the request that it came with first."""
        got = self.do(self.journal.accept(new(key, fingerprint=print_of(amount))))
        row = self.model.setdefault(
            key,
            {"amount": amount, "step": sg.Step.NEW, "fence": 0, "owner": None, "until": 0.0}
            | {"session": None, "left": 0, "lines": 0},
        )
        assert isinstance(got, sg.Entry if row["amount"] == amount else sg.KeyReused)

    @rule(key=keys, owner=owners)
    def claim(self, key, owner) -> None:
        """Whoever is alone gets it."""
        got, row = self.do(self.journal.claim(key, owner, LEASE)), self.model.get(key)
        if row is None:
            assert isinstance(got, sg.Misuse)
        elif row["step"].is_final:
            assert got.step is row["step"]
        elif row["owner"] not in {None, owner} and row["until"] > self.clock.now:
            assert isinstance(got, sg.InProgress)
        else:
            row |= {"fence": row["fence"] + 1, "owner": owner, "until": self.clock.now + LEASE}
            self.views[key, owner] = got

    @rule(key=keys, owner=owners, pick=st.integers(0, 99), reuse=st.booleans())
    def advance(self, key, owner, pick, reuse) -> None:
        """Only its holder writes, from what it saw last, and only what is legal."""
        holder = self.model.get(key, {}).get("owner")
        view = self.views.get((key, owner if holder is None or not pick % 5 else holder))
        if view is None:
            return
        ways = [
            event for step, event in STEPS if step is view.step and not STEPS[step, event].is_final
        ]
        events = [*ways, *ways, *ways, *sg.Event] if ways else list(sg.Event)
        event = events[pick % len(events)]
        name = next(iter(self.used), "s?") if reuse else next(self.names)
        self.advance_from(view, (key, owner, pick), event, name)

    @rule(key=keys, owner=owners, pick=st.integers(0, 99), event=st.sampled_from(sg.Event))
    def advance_twice(self, key, owner, pick, event) -> None:
        """What was learned goes along with a step, and both are written or none."""
        view = self.views.get((key, self.model.get(key, {}).get("owner") or owner))
        if view is None:
            return
        learned = (
            sg.Event.CONFIRM_KNOWN if view.step is sg.Step.CONFIRMING else sg.Event.START_KNOWN
        )
        self.advance_from(view, (key, owner, pick), event, next(self.names), learned)

    def advance_from(self, view, drawn, event, name, learned=None) -> None:
        """Write, in the journal and in the model."""
        key, owner, pick = drawn
        told = None if learned is None else sg.Learned(learned)
        changes = changes_for(event, name)
        got = self.do(self.journal.advance(view, event, changes, learned=told))
        known = view.step if learned is None else STEPS.get((view.step, learned))
        row, after = self.model[key], STEPS.get((known, event))
        if after is None:
            assert isinstance(got, sg.Misuse)
        elif not self.holds(view, row):
            assert isinstance(got, sg.LostLease)
        elif event is sg.Event.SESSION_CHOSEN and name in self.used:
            assert isinstance(got, sg.Misuse)
        else:
            row["lines"] += learned is not None
            self.took(row, key, event, after, name)
            # Sometimes the older view stays, as that of a worker who slept.
            if pick % 7:
                self.views[key, got.owner or owner] = got

    def holds(self, view, row) -> bool:
        """Say whether the model lets the holder of this view write."""
        seen = (view.fence, view.step, view.session_id, view.session_no)
        return (
            row["owner"] is not None
            and (row["fence"], row["step"], row["session"], row["left"]) == seen
        )

    def took(self, row, key, event, after, name) -> None:
        """Write a step into the model."""
        row |= {"step": after, "lines": row["lines"] + 1}
        if event is sg.Event.SESSION_CHOSEN:
            row["session"] = name
            self.used[name] = key
        if event is sg.Event.SESSION_LEFT:
            row |= {"session": None, "left": row["left"] + 1}
        if after.is_final:
            row |= {"owner": None, "until": 0.0}

    @rule(key=keys, owner=owners)
    def renew(self, key, owner) -> None:
        """A lease is lengthened by its holder."""
        if (view := self.views.get((key, owner))) is None:
            return
        got, row = self.do(self.journal.renew(view, LEASE)), self.model[key]
        if row["owner"] is None or row["fence"] != view.fence:
            assert isinstance(got, sg.LostLease)
        else:
            row["until"] = self.clock.now + LEASE

    @rule(key=keys, owner=owners)
    def release(self, key, owner) -> None:
        """And given back; what was lost can't be."""
        if (view := self.views.get((key, owner))) is None:
            return
        assert self.do(self.journal.release(view)) is None
        row = self.model[key]
        if row["owner"] is not None and row["fence"] == view.fence:
            row |= {"owner": None, "until": 0.0}

    @rule(seconds=st.sampled_from([1.0, LEASE - 1, LEASE]))
    def time_passes(self, seconds) -> None:
        """Leases end."""
        self.clock.now += seconds

    @rule()
    def crash(self) -> None:
        """The process ends with its leases, and another opens the journal."""
        assert self.do(self.journal.close()) is None
        self.journal = self.make()
        assert self.do(self.journal.open(SCOPE)) is None
        self.clock.now += LEASE
        for key, row in self.model.items():
            found = self.do(self.journal.find(key))
            row["owner"] = found.owner  # A journal of one process ends the leases at once.

    @invariant()
    def the_rows_are_those_of_the_model(self) -> None:
        """The fence never falls, what is over stays, and there is one session at most."""
        for key, row in self.model.items():
            found = self.do(self.journal.find(key))
            assert found.fence == row["fence"] >= self.fences[key]
            self.fences[key] = found.fence
            assert (found.step, found.owner) == (row["step"], row["owner"])
            assert (found.session_id, found.session_no) == (row["session"], row["left"])
            lines = self.do(self.journal.history(key))
            assert len(lines) == row["lines"]
            assert [line.step for line in lines][-1:] == [row["step"]][: len(lines)]
        for name, key in self.used.items():
            assert self.do(self.journal.by_session(name)).key == key

    @invariant()
    def what_is_open_is_free(self) -> None:
        """Neither over nor leased."""
        got = self.do(self.journal.open_entries(10))
        assert [entry.key for entry in got] == [
            key
            for key, row in self.model.items()
            if not row["step"].is_final
            and row["step"] is not sg.Step.UNKNOWN
            and (row["owner"] is None or row["until"] <= self.clock.now)
        ]

    def teardown(self) -> None:
        """Close everything."""
        assert self.do(self.journal.close()) is None
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


class MemoryMachine(JournalMachine):
    """Dictionaries."""

    def make(self) -> sg.Journal:
        """Give the one journal: its rows go with it."""
        kept = getattr(self, "journal", None)
        return kept if kept is not None else sg.MemoryJournal(clock=self.clock)


class SQLiteMachine(JournalMachine):
    """A file."""

    def make(self) -> sg.Journal:
        """Give another journal over the same file."""
        if not hasattr(self, "folder"):
            self.folder = Path(tempfile.mkdtemp())
        return sg.SQLiteJournal(self.folder / "j.db", clock=self.clock)

    def teardown(self) -> None:
        """Throw the file away."""
        super().teardown()
        shutil.rmtree(self.folder)


class PostgresMachine(JournalMachine):
    """A schema of a database."""

    def make(self) -> sg.Journal:
        """Give another journal over the same schema."""
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
    """Journal and model agree after each."""
    case = machine.TestCase
    case.settings = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    case().runTest()
