"""The journals of this package keep what every journal promises."""

import contextlib
from pathlib import Path

import pytest
from journal_conformance import SCOPE, WAYS, JournalConformance, SetClock, new
from postgres_schemas import DSN, needs_postgres, new_schema, schemas

import smartglocal_async as sg
from smartglocal_async.journal.states import STEPS


class MemoryShelf:
    """Journals in memory: the rows live as long as the journal."""

    def __init__(self) -> None:
        self.clock = SetClock()

    async def take(self) -> sg.Journal:
        """Give a new journal."""
        return sg.MemoryJournal(clock=self.clock)

    async def again(self, journal: sg.Journal) -> sg.Journal:
        """Close it, and give the same one."""
        await journal.close()
        return journal


class SQLiteShelf:
    """Journals in files of one folder."""

    def __init__(self, folder, stack) -> None:
        self.folder, self.stack = folder, stack
        self.clock = SetClock()
        self.count = 0

    async def take(self) -> sg.Journal:
        """Give a journal of a new file."""
        self.count += 1
        return self._over(self.folder / f"{self.count}.db")

    async def again(self, journal: sg.Journal) -> sg.Journal:
        """Close it, and give another one of the same file."""
        await journal.close()
        return self._over(journal.path)

    def _over(self, path) -> sg.SQLiteJournal:
        journal = sg.SQLiteJournal(path, clock=self.clock)
        self.stack.push_async_callback(journal.close)
        return journal


class PostgresShelf:
    """Journals in schemas of one database."""

    def __init__(self, names, stack) -> None:
        self.names, self.stack = names, stack
        self.clock = SetClock()

    async def take(self) -> sg.Journal:
        """Give a journal of a new schema."""
        self.names.append(new_schema())
        return self._over(self.names[-1])

    async def again(self, journal: sg.Journal) -> sg.Journal:
        """Close it, and give another one of the same schema."""
        await journal.close()
        return self._over(journal.schema)

    def _over(self, schema) -> sg.PostgresJournal:
        journal = sg.PostgresJournal(DSN, schema=schema, clock=self.clock)
        self.stack.push_async_callback(journal.close)
        return journal


class OwnPromises(JournalConformance):
    """What this package's own journals promise beyond that."""

    @pytest.mark.parametrize("written", ["https://host/", "https://HOST", "https://host:443//"])
    async def test_a_server_is_the_same_however_it_is_written(self, shelf, written) -> None:
        """A journal that was made under another spelling of its server opens."""
        journal = await shelf.take()
        await journal.open(f"{written}|shop")
        await journal.open("https://host|shop")
        journal = await shelf.again(journal)
        await journal.open("https://host|shop")
        with pytest.raises(sg.JournalUnusable, match="belongs to"):
            await journal.open("https://host/gate|shop")


class TestMemoryJournal(OwnPromises):
    """Dictionaries."""

    @pytest.fixture
    def shelf(self) -> MemoryShelf:
        """Give journals in memory."""
        return MemoryShelf()


class TestSQLiteJournal(OwnPromises):
    """A file."""

    @pytest.fixture
    async def shelf(self, tmp_path):
        """Give journals in files."""
        async with contextlib.AsyncExitStack() as stack:
            yield SQLiteShelf(tmp_path, stack)


@pytest.mark.thorough
@needs_postgres
class TestPostgresJournal(OwnPromises):
    """A database."""

    @pytest.fixture
    async def shelf(self):
        """Give journals in schemas."""
        async with schemas() as names, contextlib.AsyncExitStack() as stack:
            yield PostgresShelf(names, stack)


def test_what_is_durable(tmp_path) -> None:
    """A file is; memory isn't, and says otherwise only when it is told to."""
    assert sg.SQLiteJournal(tmp_path / "j.db").durable
    assert not sg.MemoryJournal().durable
    assert sg.MemoryJournal(unsafe=True).durable


def test_every_step_can_be_reached() -> None:
    """The tests' ways lead to all of them."""
    assert set(WAYS) == set(sg.Step)


async def test_no_repr_shows_a_request(tmp_path) -> None:
    """Nor a result, a digest or the secret: a request may hold a card's number."""
    journal = sg.MemoryJournal()
    await journal.open(SCOPE)
    given = new(request=b"4111111111111111")
    entry = await journal.accept(given)
    told = sg.Changes(result=b"4111111111111111")
    shown = repr([given, entry, told, journal, sg.SQLiteJournal(tmp_path / "j.db")])
    assert "4111" not in shown
    assert repr(journal.secret) not in shown
    assert "Fingerprint" not in shown


@pytest.mark.parametrize("step", sg.Step)
def test_the_page_shows_every_step(step) -> None:
    """As the table has it."""
    page = Path(__file__).parent.parent.joinpath("docs/reference/journal.md")
    ways = ((event, after) for (before, event), after in STEPS.items() if before is step)
    then = ", ".join(f"{event.value} → `{after.name}`" for event, after in ways)
    row = f"| `{step.name}` | {then or 'nothing: it is final'} |"
    assert row in page.read_text(encoding="utf-8").splitlines()
