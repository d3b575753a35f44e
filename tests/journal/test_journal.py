"""The journals of this package keep the promises of every journal."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from journal_conformance import PATHS, SCOPE, JournalConformance, SetClock, new
from paying import order
from places import ROOT
from postgres_schemas import DSN, needs_postgres, new_schema, schemas

import smartglocal_async as sg
from smartglocal_async.idempotency import Fingerprint
from smartglocal_async.journal.fingerprints import differing, packed, shortened, unpacked
from smartglocal_async.journal.rows import is_same, scope_of
from smartglocal_async.journal.states import STEPS
from smartglocal_async.payouts.calls import fingerprint_of


class MemoryJournals:
    """Memory journals: the rows exist as long as the journal."""

    def __init__(self) -> None:
        self.clock = SetClock()

    async def create(self) -> sg.journal.Journal:
        """Return a new journal."""
        return sg.journal.MemoryJournal(clock=self.clock)

    async def reopen(self, journal: sg.journal.Journal) -> sg.journal.Journal:
        """Close a journal and return the same one."""
        await journal.close()
        return journal


class SQLiteJournals:
    """SQLite journals in one folder."""

    def __init__(self, folder, stack) -> None:
        self.folder, self.stack = folder, stack
        self.clock = SetClock()
        self.count = 0

    async def create(self) -> sg.journal.Journal:
        """Return a journal of a new file."""
        self.count += 1
        return self._over(self.folder / f"{self.count}.db")

    async def reopen(self, journal: sg.journal.Journal) -> sg.journal.Journal:
        """Close a journal and return another one of the same file."""
        await journal.close()
        return self._over(journal.path)

    def _over(self, path) -> sg.SQLiteJournal:
        journal = sg.SQLiteJournal(path, clock=self.clock)
        self.stack.push_async_callback(journal.close)
        return journal


class PostgresJournals:
    """PostgreSQL journals in schemas of one database."""

    def __init__(self, names, stack) -> None:
        self.names, self.stack = names, stack
        self.clock = SetClock()

    async def create(self) -> sg.journal.Journal:
        """Return a journal of a new schema."""
        self.names.append(new_schema())
        return self._over(self.names[-1])

    async def reopen(self, journal: sg.journal.Journal) -> sg.journal.Journal:
        """Close a journal and return another one of the same schema."""
        await journal.close()
        return self._over(journal.schema)

    def _over(self, schema) -> sg.PostgresJournal:
        journal = sg.PostgresJournal(DSN, schema=schema, clock=self.clock)
        self.stack.push_async_callback(journal.close)
        return journal


class PackageJournalTests(JournalConformance):
    """Promises of this package's own journals beyond those of every journal."""

    @pytest.mark.parametrize("written", ["https://host/", "https://HOST", "https://host:443//"])
    async def test_a_server_is_the_same_however_it_is_written(self, journals, written) -> None:
        """A journal that was created with another spelling of its server opens."""
        journal = await journals.create()
        await journal.open(f"{written}|shop")
        await journal.open("https://host|shop")
        journal = await journals.reopen(journal)
        await journal.open("https://host|shop")
        with pytest.raises(sg.JournalUnusable, match="belongs to"):
            await journal.open("https://host/gate|shop")


class TestMemoryJournal(PackageJournalTests):
    """The journal in memory."""

    @pytest.fixture
    def journals(self) -> MemoryJournals:
        """Return journals in memory."""
        return MemoryJournals()


class TestSQLiteJournal(PackageJournalTests):
    """The journal in a SQLite file."""

    @pytest.fixture
    async def journals(self, tmp_path):
        """Return journals in files."""
        async with contextlib.AsyncExitStack() as stack:
            yield SQLiteJournals(tmp_path, stack)


@pytest.mark.slow
@needs_postgres
class TestPostgresJournal(PackageJournalTests):
    """The journal in PostgreSQL."""

    @pytest.fixture
    async def journals(self):
        """Return journals in schemas."""
        async with schemas() as names, contextlib.AsyncExitStack() as stack:
            yield PostgresJournals(names, stack)


def test_durable(tmp_path) -> None:
    """A file is durable; memory isn't, and claims it only with `unsafe=True`."""
    assert sg.SQLiteJournal(tmp_path / "j.db").durable
    assert not sg.journal.MemoryJournal().durable
    assert sg.journal.MemoryJournal(unsafe=True).durable


def test_every_step_can_be_reached() -> None:
    """The paths of the tests reach every step."""
    assert set(PATHS) == set(sg.journal.Step)


async def test_no_repr_shows_a_request(tmp_path) -> None:
    """No repr shows a request, which may have a card number, a result, a digest or the secret."""
    journal = sg.journal.MemoryJournal()
    await journal.open(SCOPE)
    given = new(request=b"4111111111111111")
    entry = await journal.accept(given)
    told = sg.journal.Changes(result=b"4111111111111111")
    shown = repr([given, entry, told, journal, sg.SQLiteJournal(tmp_path / "j.db")])
    assert "4111" not in shown
    assert repr(journal.secret) not in shown
    assert "Fingerprint" not in shown


@pytest.mark.parametrize("step", sg.journal.Step)
def test_the_page_shows_every_step(step) -> None:
    """The page shows the steps of the table."""
    page = ROOT.joinpath("docs/reference/journal.md")
    ways = ((event, after) for (before, event), after in STEPS.items() if before is step)
    then = ", ".join(f"{event.value} → `{after.name}`" for event, after in ways)
    row = f"| `{step.name}` | {then or 'nothing: it is final'} |"
    assert row in page.read_text(encoding="utf-8").splitlines()


# --- Fingerprints as they are stored ------------------------------------------------------------

SECRET = b"0123456789abcdef"
SOMEBODY = sg.Participant(
    first_name="Jane",
    last_name="Roe",
    country_iso3="GBR",
    city="London",
    address_line="1 High Street",
    postal_code="N1",
    date_of_birth="1990-01-01",
)
FULL = order(
    payment_method=sg.GlobalAccount(account_number="12345678", sort_code="123456"),
    participant_details=sg.ParticipantDetails(recipient=SOMEBODY, sender=SOMEBODY),
    customer=sg.Customer(reference="c", contacts=(sg.Contact(email="a@example.com"),)),
    metadata={"department": "sales", "invoice": 7},
)


@pytest.mark.parametrize(
    ("paid", "fields"),
    [
        (order(metadata=None), 7),
        (order(), 8),
        (order(payment_method=sg.GlobalAccount(iban="GB33BUKB20201555555567")), 8),
        (order(payment_method=sg.FasterPayment(phone="+79161234567", bank_id="1")), 9),
        (FULL, 25),
    ],
)
def test_a_fingerprint_takes_some_bytes_for_each_field(paid, fields) -> None:
    """Eight bytes for a field's digest and at most four for its name; nine in all if forgotten."""
    print_ = fingerprint_of(paid, SECRET)
    text = packed(print_)
    assert len(print_.digests) == fields
    assert 8 * fields < len(text) <= 12.5 * fields
    assert unpacked(text) == print_
    short = shortened(text)
    assert len(short) == 9
    assert unpacked(short) == print_.shortened()
    assert shortened(short) == short
    assert unpacked(short).short == unpacked(text).short == print_.short
    assert differing(unpacked(short), print_) == ()
    other = fingerprint_of(order(amount=1), SECRET)
    assert differing(unpacked(short), other) == ("request",)


@given(st.lists(st.tuples(st.text(max_size=40), st.binary(min_size=8, max_size=8)), max_size=40))
def test_any_fingerprint_is_read_as_it_was_written(digests) -> None:
    """In the format of this release, and in the JSON of the first release."""
    print_ = Fingerprint(tuple(digests))
    assert unpacked(packed(print_)) == print_
    as_json = json.dumps([(path, digest.hex()) for path, digest in digests])
    assert unpacked(as_json.encode()) == print_


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("https://x.example", "shop", None), ("https://x.example.", "shop", None), True),
        (("https://x.example", "shop", None), ("HTTPS://X.example:443/", "shop", None), True),
        (("http://127.0.0.1:8080", "shop", "x"), ("http://127.0.0.1:8080/", "shop", "x"), True),
        (("https://x.example", "shop|x", None), ("https://x.example", "shop", "x"), False),
        (("https://x.example", "shop|", "x"), ("https://x.example", "shop", "|x"), False),
        (("https://x.example", "shop\\\\", "x"), ("https://x.example", "shop\\|x", None), False),
        (("https://x.example", "shop\\", "x"), ("https://x.example", "shop\\|x", None), False),
        (("https://x.example", "shop", None), ("https://x.example:8443", "shop", None), False),
        (("https://x.example", "shop", None), ("https://y.example", "shop", None), False),
    ],
)
def test_scopes(one, other, same) -> None:
    """One for a server, however it is written, and for the names of the credentials."""
    scopes = scope_of(*one), scope_of(*other)
    assert (scopes[0] == scopes[1]) is same
    assert is_same(*scopes) is same


def test_the_scope_of_an_earlier_release() -> None:
    """Stored as the address was given: with a dot behind the host, it is the same."""
    assert is_same("https://x.example.|shop", scope_of("https://x.example", "shop", None))
    assert scope_of("https://x.example", "shop", "x") == "https://x.example|shop|x"
