"""What every journal has to do: a class of tests to inherit from, over a shelf of journals.

A journal of your own passes it by giving a fixture `shelf` with these two methods.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import attrs
import pytest

import smartglocal_async as sg
from smartglocal_async.idempotency import Fingerprint, fingerprint
from smartglocal_async.journal.states import STEPS

SCOPE = "demo|shop"
LEASE = 30.0
Step, Event, Changes, Learned = sg.Step, sg.Event, sg.Changes, sg.Learned

# The shortest way to each step.
WAYS: dict[Step, tuple[Event, ...]] = {
    Step.NEW: (),
    Step.CREATING: (Event.CREATE_INTENDED,),
    Step.STARTING: (Event.CREATE_INTENDED, Event.SESSION_CHOSEN),
    Step.CANCELLING: (Event.CREATE_INTENDED, Event.SESSION_CHOSEN, Event.LEAVE_INTENDED),
    Step.STARTED: (Event.CREATE_INTENDED, Event.SESSION_CHOSEN, Event.START_KNOWN),
    Step.SENT_ONE_STEP: (Event.INIT_INTENDED,),
    Step.UNKNOWN: (Event.INIT_INTENDED, Event.PARKED),
    Step.SUCCEEDED: (Event.INIT_INTENDED, Event.PAID),
    Step.FAILED: (Event.NOT_PAID,),
    Step.CANCELLED: (Event.WITHDRAWN,),
}
WAYS[Step.CONFIRMING] = (*WAYS[Step.STARTED], Event.CONFIRM_INTENDED)
WAYS[Step.CONFIRMED] = (*WAYS[Step.CONFIRMING], Event.CONFIRM_KNOWN)
FINAL = [step for step in Step if step.is_final]
OPEN = [step for step in Step if not step.is_final]


class SetClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Give the time."""
        return self.now


class Shelf(Protocol):
    """Where the journals under test come from."""

    clock: SetClock

    async def take(self) -> sg.Journal:
        """Give a journal that is new and not open; all are closed at the end."""
        ...

    async def again(self, journal: sg.Journal) -> sg.Journal:
        """Close a journal, leases and all, and give one over the same rows that is not open."""
        ...


def print_of(amount: int = 100) -> Fingerprint:
    """Give the fingerprint of a request."""
    return fingerprint(b'{"amount": %d, "account": "40817"}' % amount, b"secret")


def new(key: str = "k", **changes: Any) -> sg.NewEntry:
    """Give a new entry."""
    fields: dict[str, Any] = {"mode": "manual", "fingerprint": print_of(), "request": b"{}"}
    return sg.NewEntry(key=key, **{**fields, **changes})


async def bring(journal: sg.Journal, step: Step, key: str = "k", **changes: Any) -> sg.Entry:
    """Accept and claim an entry, and bring it to a step, over its own session ``s-<key>``."""
    await journal.accept(new(key, **changes))
    entry = await journal.claim(key, "me", LEASE)
    for event in WAYS[step]:
        entry = await journal.advance(entry, event, changes_for(event, f"s-{key}"))
    return entry


def changes_for(event: Event, session_id: str) -> Changes:
    """Give what an event needs."""
    return Changes(session_id=session_id) if event is Event.SESSION_CHOSEN else Changes()


async def together(*asked: Awaitable[Any]) -> list[Any]:
    """Wait for all; give their results, or what they raised."""

    async def one(awaitable: Awaitable[Any]) -> Any:
        try:
            return await awaitable
        except sg.SmartGlocalError as error:
            return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(awaitable)) for awaitable in asked]
    return [task.result() for task in tasks]


class JournalConformance:
    """The promises of `sg.Journal`."""

    @pytest.fixture
    async def journal(self, shelf: Shelf) -> sg.Journal:
        """Give an open journal."""
        journal = await shelf.take()
        await journal.open(SCOPE)
        return journal

    async def test_it_belongs_to_one_scope(self, journal, shelf) -> None:
        """For ever: another is refused by name, open or reopened."""
        with pytest.raises(sg.JournalUnusable, match=r"demo\|shop.*live\|shop"):
            await journal.open("live|shop")
        journal = await shelf.again(journal)
        with pytest.raises(sg.JournalUnusable, match=r"demo\|shop.*live\|shop"):
            await journal.open("live|shop")

    async def test_opening_twice_and_closing_twice(self, journal) -> None:
        """Change nothing."""
        await journal.accept(new())
        await journal.open(SCOPE)
        assert await journal.find("k")
        await journal.close()
        await journal.close()

    @pytest.mark.parametrize("state", ["not opened", "closed"])
    async def test_a_journal_that_is_not_open(self, shelf, state) -> None:
        """It says so, whatever is asked."""
        journal = await shelf.take()
        if state == "closed":
            await journal.open(SCOPE)
            await journal.close()
        entry = sg.Entry(
            key="k", mode="m", fingerprint=print_of(), request=None, created_at=0, updated_at=0
        )
        asked: list[Callable[[], Awaitable[Any]]] = [
            lambda: journal.accept(new()),
            lambda: journal.find("k"),
            lambda: journal.claim("k", "me", LEASE),
            lambda: journal.advance(entry, Event.CREATE_INTENDED),
            lambda: journal.renew(entry, LEASE),
            lambda: journal.release(entry),
            lambda: journal.open_entries(1),
            lambda: journal.claim_open(1, "me", LEASE),
            lambda: journal.by_session("s"),
            lambda: journal.accept_many([new()]),
            lambda: journal.take(new(), "me", LEASE),
            lambda: journal.entries(1),
            lambda: journal.batch("may"),
            lambda: journal.put_batch(sg.Batch(name="may")),
            lambda: journal.set_batch_state("may", sg.BatchState.PAUSED),
            lambda: journal.halt(None),
            journal.halted,
            journal.sums,
            journal.counts,
            lambda: journal.history("k"),
        ]
        for ask in asked:
            with pytest.raises(sg.Misuse, match=r"open|closed"):
                await ask()

    async def test_its_name_and_its_secret_stay(self, journal, shelf) -> None:
        """Fingerprints can be compared after a restart; two journals have two names."""
        known = (journal.journal_id, journal.secret)
        other = await shelf.take()
        await other.open(SCOPE)
        assert {other.journal_id, other.secret}.isdisjoint(known)
        journal = await shelf.again(journal)
        await journal.open(SCOPE)
        assert (journal.journal_id, journal.secret) == known
        assert all(known)

    async def test_accept_writes_a_new_entry(self, journal, shelf) -> None:
        """As it was given, and at the first step."""
        given = new(batch="may", ordinal=7, request=b"\x00sealed", amount=2**60, currency="usd")
        entry = await journal.accept(given)
        for named in attrs.fields(sg.NewEntry):
            assert getattr(entry, named.name) == getattr(given, named.name)
        assert (entry.step, entry.fence, entry.session_no, entry.attempts) == (Step.NEW, 0, 0, 0)
        assert (entry.owner, entry.leased_until, entry.session_id) == (None, None, None)
        assert entry.created_at == entry.updated_at == shelf.clock.now
        assert await journal.find("k") == entry
        assert await journal.find("other") is None

    async def test_accept_gives_the_entry_that_is_there(self, journal) -> None:
        """Where it stands, not where it began."""
        entry = await bring(journal, Step.STARTED)
        assert await journal.accept(new(batch="other")) == entry

    @pytest.mark.parametrize(
        ("changes", "fields"),
        [
            ({"fingerprint": print_of(200)}, ("amount",)),
            ({"mode": "automatic"}, ("mode",)),
            ({"fingerprint": print_of(200), "mode": "automatic"}, ("amount", "mode")),
        ],
    )
    async def test_a_key_stands_for_one_request(self, journal, changes, fields) -> None:
        """Another one is refused, with the fields that differ, final or not."""
        for key, step in (("k", Step.NEW), ("done", Step.SUCCEEDED)):
            entry = await bring(journal, step, key)
            with pytest.raises(sg.KeyReused) as caught:
                await journal.accept(new(key, **changes))
            assert (caught.value.key, caught.value.differing_fields) == (key, fields)
            assert await journal.find(key) == entry

    async def test_many_accept_one_key(self, journal) -> None:
        """One row, and the same for all."""
        entries = await together(*(journal.accept(new()) for _ in range(20)))
        assert entries == [entries[0]] * 20
        assert await journal.counts() == {Step.NEW: 1}

    async def test_many_are_accepted_at_once(self, journal) -> None:
        """Each as if alone, in their order; what is refused keeps nobody else out."""
        old = await journal.accept(new("b"))
        reused = new("b", fingerprint=print_of(200))
        got = await journal.accept_many([new("a"), new("b"), reused, new("c"), new("c")])
        assert [entry.key for entry in (got[0], got[3])] == ["a", "c"]
        assert (got[1], got[4]) == (old, got[3])
        assert isinstance(got[2], sg.KeyReused)
        assert got[2].differing_fields == ("amount",)
        assert [entry.key for entry in await journal.entries(9)] == ["b", "a", "c"]
        assert await journal.accept_many([]) == ()

    async def test_taken_at_once(self, journal, shelf) -> None:
        """As if it were accepted, and claimed; what is refused changes nothing."""
        entry = await journal.take(new(batch="may", ordinal=3), "me", LEASE)
        assert (entry.fence, entry.owner, entry.batch, entry.ordinal) == (1, "me", "may", 3)
        assert entry.leased_until == shelf.clock.now + LEASE
        assert await journal.find("k") == entry
        assert (await journal.take(new(), "me", LEASE)).fence == 2
        with pytest.raises(sg.InProgress):
            await journal.take(new(), "you", LEASE)
        with pytest.raises(sg.KeyReused):
            await journal.take(new(fingerprint=print_of(200)), "me", LEASE)
        done = await bring(journal, Step.SUCCEEDED, "done")
        assert await journal.take(new("done"), "you", LEASE) == done
        await journal.halt(sg.Halt(kind=sg.HaltKind.FORGOT, reason="seen"))
        with pytest.raises(sg.JournalForgot):
            await journal.take(new("other"), "me", LEASE)
        assert await journal.find("other") is None
        assert await journal.take(new("done"), "you", LEASE) == done
        assert (await journal.take(new("o"), "me", LEASE, heeds_halt=False)).fence == 1

    async def test_an_intent_that_comes_with_the_claim(self, journal) -> None:
        """It is written, with its line, where nothing was ever intended; elsewhere it is not."""
        intends = Event.CREATE_INTENDED
        taken = await journal.take(new("new"), "me", LEASE, intends=intends)
        assert (taken.step, taken.fence, taken.attempts) == (Step.CREATING, 1, 1)
        assert await journal.find("new") == taken
        (line,) = await journal.history("new")
        assert (line.event, line.step, line.fence) == (intends, Step.CREATING, 1)
        await journal.accept(new("old"))
        assert (await journal.take(new("old"), "me", LEASE, intends=intends)).attempts == 1
        again = await bring(journal, Step.STARTING, "again")
        left = await journal.advance(again, Event.SESSION_LEFT)
        for entry in (left, await bring(journal, Step.STARTED, "started")):
            got = await journal.take(new(entry.key), "me", LEASE, intends=intends)
            assert (got.step, got.attempts) == (entry.step, entry.attempts)
        done = await bring(journal, Step.SUCCEEDED, "done")
        assert await journal.take(new("done"), "me", LEASE, intends=intends) == done

    @pytest.mark.parametrize(
        "event", sorted(set(Event) - {Event.CREATE_INTENDED, Event.INIT_INTENDED}, key=str)
    )
    async def test_no_other_step_comes_with_the_claim(self, journal, event) -> None:
        """It is refused, and nothing is changed."""
        with pytest.raises(sg.Misuse, match=event.value):
            await journal.take(new(), "me", LEASE, intends=event)
        assert await journal.find("k") is None

    async def test_what_was_learned_is_written_with_the_step_that_follows(self, journal) -> None:
        """Each has its line, and the second keeps what the first one brought."""
        entry = await bring(journal, Step.STARTING)
        learned = Learned(Event.START_KNOWN, Changes(item_id="pt_1", reason="slow"))
        lines = await journal.history("k")
        written = await journal.advance(entry, Event.CONFIRM_INTENDED, learned=learned)
        assert (written.step, written.item_id, written.reason) == (Step.CONFIRMING, "pt_1", "slow")
        assert written.attempts == entry.attempts + 1
        assert await journal.find("k") == written
        added = (await journal.history("k"))[len(lines) :]
        assert [(line.event, line.step, line.reason) for line in added] == [
            (Event.START_KNOWN, Step.STARTED, "slow"),
            (Event.CONFIRM_INTENDED, Step.CONFIRMING, None),
        ]
        known = Learned(Event.CONFIRM_KNOWN)
        paid = await journal.advance(written, Event.PAID, Changes(result=b"{}"), learned=known)
        assert (paid.step, paid.owner, paid.result) == (Step.SUCCEEDED, None, b"{}")

    @pytest.mark.parametrize(
        ("learned", "event"),
        [
            (Learned(Event.SESSION_LEFT), Event.CREATE_INTENDED),
            (Learned(Event.START_KNOWN, Changes(session_id="s-k")), Event.CONFIRM_INTENDED),
            (Learned(Event.CONFIRM_KNOWN), Event.PAID),
            (Learned(Event.START_KNOWN), Event.CONFIRM_KNOWN),
            (Learned(Event.START_KNOWN), Event.SESSION_CHOSEN),
        ],
        ids=["not-of-the-kind", "a-session", "not-first", "not-then", "no-session-then"],
    )
    async def test_what_cannot_be_written_together(self, journal, learned, event) -> None:
        """It is refused whole."""
        entry = await bring(journal, Step.STARTING)
        lines = await journal.history("k")
        with pytest.raises(sg.Misuse, match="'k'"):
            await journal.advance(entry, event, learned=learned)
        assert await journal.find("k") == entry
        assert await journal.history("k") == lines

    async def test_who_lost_the_lease_cannot_write_what_he_learned(self, journal, shelf) -> None:
        """Neither that nor the step behind it."""
        mine = await bring(journal, Step.STARTING)
        shelf.clock.now += LEASE
        yours = await journal.claim("k", "you", LEASE)
        with pytest.raises(sg.LostLease):
            await journal.advance(mine, Event.CONFIRM_INTENDED, learned=Learned(Event.START_KNOWN))
        assert await journal.find("k") == yours

    async def test_an_adopted_entry_knows_its_amount_alone(self, journal) -> None:
        """It stands for any request of that amount, and for no other."""
        nothing = Fingerprint(())
        adopted = await journal.accept(new(fingerprint=nothing, amount=100, currency="usd"))
        asked = new(fingerprint=print_of(), mode="automatic", amount=100, currency="usd")
        assert await journal.accept(asked) == adopted
        for change in ({"amount": 101}, {"currency": "eur"}):
            with pytest.raises(sg.KeyReused, match="amount_details"):
                await journal.accept(attrs.evolve(asked, **change))

    async def test_a_claim_raises_the_fence(self, journal, shelf) -> None:
        """And says until when it holds."""
        await journal.accept(new())
        entry = await journal.claim("k", "me", LEASE)
        assert (entry.fence, entry.owner) == (1, "me")
        assert entry.leased_until == shelf.clock.now + LEASE
        assert await journal.find("k") == entry

    async def test_a_lease_keeps_others_off(self, journal, shelf) -> None:
        """Until it ends; its owner may claim again."""
        await bring(journal, Step.CREATING)
        shelf.clock.now += LEASE - 1
        with pytest.raises(sg.InProgress) as caught:
            await journal.claim("k", "you", LEASE)
        assert (caught.value.key, caught.value.owner, caught.value.seconds_left) == ("k", "me", 1.0)
        assert (await journal.claim("k", "me", 1)).fence == 2
        shelf.clock.now += 1
        assert (await journal.claim("k", "you", LEASE)).fence == 3

    @pytest.mark.parametrize("back", [700.0, 3600.0])
    async def test_a_clock_that_was_set_back(self, journal, shelf, back) -> None:
        """A lease that seems longer than any may be is over; the fence keeps its holder out."""
        mine = await bring(journal, Step.CREATING)
        shelf.clock.now -= back
        assert [entry.key for entry in await journal.open_entries(9)] == ["k"]
        yours = await journal.claim("k", "you", LEASE)
        assert yours.leased_until == shelf.clock.now + LEASE
        assert await journal.open_entries(9) == ()
        with pytest.raises(sg.LostLease):
            await journal.advance(mine, Event.SESSION_CHOSEN, Changes(session_id="s"))
        with pytest.raises(sg.InProgress):
            await journal.claim("k", "me", LEASE)

    async def test_many_claim_one_entry(self, journal) -> None:
        """One gets it."""
        await journal.accept(new())
        got = await together(*(journal.claim("k", f"w{n}", LEASE) for n in range(20)))
        assert sum(isinstance(entry, sg.Entry) for entry in got) == 1
        assert sum(isinstance(entry, sg.InProgress) for entry in got) == 19

    @pytest.mark.parametrize("step", FINAL)
    async def test_a_final_entry_is_not_claimed(self, journal, step) -> None:
        """It is given as it is: nobody holds it, and nothing may follow."""
        entry = await bring(journal, step)
        assert (entry.owner, entry.leased_until) == (None, None)
        assert await journal.claim("k", "you", LEASE) == entry
        for event in Event:
            with pytest.raises(sg.Misuse):
                await journal.advance(entry, event, changes_for(event, "s"))
        assert await journal.find("k") == entry

    async def test_a_key_that_is_not_there(self, journal) -> None:
        """It can't be claimed, and has no history."""
        with pytest.raises(sg.Misuse, match="the key 'k'"):
            await journal.claim("k", "me", LEASE)
        assert await journal.history("k") == ()

    @pytest.mark.parametrize("seconds", [0, -1, 601, float("nan"), float("inf")])
    async def test_a_lease_that_makes_no_sense(self, journal, seconds) -> None:
        """It would keep nobody off, or everybody for ever."""
        entry = await bring(journal, Step.NEW)
        with pytest.raises(sg.Misuse, match="lease_seconds"):
            await journal.claim("k", "me", seconds)
        with pytest.raises(sg.Misuse, match="lease_seconds"):
            await journal.renew(entry, seconds)
        assert await journal.find("k") == entry

    @pytest.mark.parametrize("step", OPEN)
    async def test_the_legal_steps(self, journal, step) -> None:
        """Those of the table are taken; all others are refused, and change nothing."""
        for event in Event:
            key = event.name
            entry = await bring(journal, step, key)
            lines = await journal.history(key)
            told = changes_for(event, f"other-{key}")
            if (after := STEPS.get((step, event))) is None:
                with pytest.raises(sg.Misuse, match=step.name):
                    await journal.advance(entry, event, told)
                assert await journal.find(key) == entry
                assert await journal.history(key) == lines
            else:
                advanced = await journal.advance(entry, event, told)
                assert advanced.step is after
                assert await journal.find(key) == advanced
                assert (await journal.history(key))[:-1] == lines

    async def test_what_is_written_with_a_step(self, journal, shelf) -> None:
        """What is named changes, None too; the rest stays."""
        entry = await bring(journal, Step.STARTING)
        shelf.clock.now += 5
        first = await journal.advance(
            entry, Event.START_KNOWN, Changes(item_id="pt_1", code="c", reason="r", not_before=9.5)
        )
        assert first == attrs.evolve(
            entry,
            step=Step.STARTED,
            item_id="pt_1",
            code="c",
            reason="r",
            not_before=9.5,
            updated_at=shelf.clock.now,
        )
        last = await journal.advance(first, Event.PAID, Changes(result=b"{}", code=None))
        assert (last.result, last.code, last.reason, last.item_id) == (b"{}", None, "r", "pt_1")
        assert last.created_at == shelf.clock.now - 5

    async def test_the_log(self, journal) -> None:
        """One line for each step, with the session that it was about."""
        entry = await bring(journal, Step.CANCELLING)
        entry = await journal.advance(entry, Event.SESSION_LEFT, Changes(code="x", reason="late"))
        lines = await journal.history("k")
        assert [(line.event, line.step, line.session_id) for line in lines] == [
            (Event.CREATE_INTENDED, Step.CREATING, None),
            (Event.SESSION_CHOSEN, Step.STARTING, "s-k"),
            (Event.LEAVE_INTENDED, Step.CANCELLING, "s-k"),
            (Event.SESSION_LEFT, Step.NEW, "s-k"),
        ]
        assert (lines[-1].code, lines[-1].reason, lines[-1].fence) == ("x", "late", 1)
        assert lines[-1].at == entry.updated_at
        assert entry.attempts == 3

    async def test_one_session_at_a_time(self, journal) -> None:
        """It is chosen by name, kept until it is left, and counted then."""
        entry = await bring(journal, Step.CREATING)
        for nothing in (Changes(), Changes(session_id="")):
            with pytest.raises(sg.Misuse, match="session"):
                await journal.advance(entry, Event.SESSION_CHOSEN, nothing)
        entry = await journal.advance(entry, Event.SESSION_CHOSEN, Changes(session_id="s1"))
        with pytest.raises(sg.Misuse, match="another session"):
            await journal.advance(entry, Event.START_KNOWN, Changes(session_id="s2"))
        started = await journal.advance(
            entry, Event.START_KNOWN, Changes(session_id="s1", item_id="pt_1")
        )
        assert (started.session_id, started.session_no) == ("s1", 0)
        left = await journal.advance(started, Event.SESSION_LEFT)
        assert (left.session_id, left.item_id, left.session_no) == (None, None, 1)

    async def test_a_left_session_is_known_and_not_chosen_again(self, journal) -> None:
        """By nobody: news about it find their entry."""
        entry = await bring(journal, Step.STARTING)
        entry = await journal.advance(entry, Event.SESSION_LEFT)
        assert await journal.by_session("s-k") == entry
        creating = await journal.advance(entry, Event.CREATE_INTENDED)
        other = await bring(journal, Step.CREATING, "other")
        for mine in (creating, other):
            with pytest.raises(sg.Misuse, match="s-k was used before, by the key 'k'"):
                await journal.advance(mine, Event.SESSION_CHOSEN, Changes(session_id="s-k"))
            assert await journal.find(mine.key) == mine
        chosen = await journal.advance(creating, Event.SESSION_CHOSEN, Changes(session_id="s2"))
        assert await journal.by_session("s-k") == await journal.by_session("s2") == chosen
        assert await journal.by_session("s3") is None

    @pytest.mark.parametrize("step", [Step.SENT_ONE_STEP, Step.UNKNOWN])
    async def test_a_one_step_payout_learns_its_session(self, journal, step) -> None:
        """From the answer or from later news."""
        entry = await bring(journal, step)
        paid = await journal.advance(entry, Event.PAID, Changes(session_id="s1"))
        assert paid.session_id == "s1"
        assert await journal.by_session("s1") == paid

    async def test_who_lost_the_lease_writes_nothing(self, journal, shelf) -> None:
        """However late it wakes up."""
        mine = await bring(journal, Step.STARTING)
        shelf.clock.now += LEASE
        yours = await journal.claim("k", "you", LEASE)
        for lost in (
            journal.advance(mine, Event.START_KNOWN),
            journal.advance(mine, Event.PAID),
            journal.renew(mine, LEASE),
        ):
            with pytest.raises(sg.LostLease) as caught:
                await lost
            assert (caught.value.key, caught.value.fence) == ("k", 1)
        await journal.release(mine, not_before=0.0)
        assert await journal.find("k") == yours

    async def test_a_lease_that_ended_and_was_not_taken(self, journal, shelf) -> None:
        """The fence decides, not the clock."""
        entry = await bring(journal, Step.STARTING)
        shelf.clock.now += 10 * LEASE
        entry = await journal.advance(entry, Event.START_KNOWN)
        entry = await journal.renew(entry, LEASE)
        assert entry.leased_until == shelf.clock.now + LEASE

    async def test_an_old_view_of_an_entry_writes_nothing(self, journal) -> None:
        """Not even by its holder, nor when the step is the same again in another session."""
        old = await bring(journal, Step.STARTING)
        entry = await journal.advance(old, Event.SESSION_LEFT)
        with pytest.raises(sg.LostLease):
            await journal.advance(old, Event.START_KNOWN)
        entry = await journal.advance(entry, Event.CREATE_INTENDED)
        entry = await journal.advance(entry, Event.SESSION_CHOSEN, Changes(session_id="s2"))
        with pytest.raises(sg.LostLease):
            await journal.advance(old, Event.START_KNOWN)
        assert await journal.find("k") == entry

    async def test_nobody_writes_without_a_claim(self, journal) -> None:
        """Neither before one, nor after the entry was given back."""
        entry = await journal.accept(new())
        with pytest.raises(sg.LostLease):
            await journal.advance(entry, Event.CREATE_INTENDED)
        entry = await journal.claim("k", "me", LEASE)
        await journal.release(entry)
        for lost in (journal.advance(entry, Event.CREATE_INTENDED), journal.renew(entry, LEASE)):
            with pytest.raises(sg.LostLease):
                await lost
        stranger = attrs.evolve(entry, key="stranger")
        with pytest.raises(sg.LostLease):
            await journal.advance(stranger, Event.CREATE_INTENDED)

    async def test_many_advance_one_entry(self, journal) -> None:
        """One step is taken; a confirm is intended once."""
        entry = await bring(journal, Step.STARTED)
        got = await together(
            *(journal.advance(entry, Event.CONFIRM_INTENDED) for _ in range(10)),
        )
        assert [type(one) for one in got] == [sg.Entry] + 9 * [sg.LostLease]

    async def test_an_entry_is_given_back(self, journal, shelf) -> None:
        """For anyone, now or later; twice is fine."""
        entry = await bring(journal, Step.STARTED)
        await journal.release(entry, not_before=shelf.clock.now + 60)
        await journal.release(entry)
        found = await journal.find("k")
        assert (found.owner, found.leased_until, found.fence) == (None, None, 1)
        assert found.not_before == shelf.clock.now + 60
        entry = await journal.claim("k", "you", LEASE)
        await journal.release(entry)
        assert (await journal.find("k")).not_before == shelf.clock.now + 60
        entry = await journal.claim("k", "you", LEASE)
        await journal.release(entry, not_before=None)
        assert (await journal.find("k")).not_before is None

    async def test_it_backs_off(self, journal, shelf) -> None:
        """As long again as it has stood there; a second at least, an hour at most."""
        entry = await bring(journal, Step.STARTED)
        for stood, pause in ((0, 1.0), (90, 90.0), (10_000, 3600.0)):
            shelf.clock.now = entry.updated_at + stood
            entry = await journal.claim("k", "me", LEASE)
            await journal.release(entry, backs_off=True)
            assert (await journal.find("k")).not_before == shelf.clock.now + pause
        assert await journal.open_entries(9) == ()
        assert [entry.key for entry in await journal.open_entries(9, is_due=False)] == ["k"]

    async def test_what_is_open(self, journal, shelf) -> None:
        """The oldest first; not what is leased, waits, is over, or needs news."""
        for key in ("c", "a", "b"):
            await journal.release(await bring(journal, Step.STARTED, key, batch="may"))
        await bring(journal, Step.STARTED, "leased")
        waits = await bring(journal, Step.CREATING, "waits")
        await journal.release(waits, not_before=shelf.clock.now + 10)
        await journal.release(await bring(journal, Step.UNKNOWN, "unknown"))
        for step in FINAL:
            await bring(journal, step, step.name)

        async def keys(limit: int = 100, **chosen: Any) -> list[str]:
            return [entry.key for entry in await journal.open_entries(limit, **chosen)]

        assert await keys() == ["c", "a", "b"]
        assert await keys(2) == ["c", "a"]
        assert await keys(0) == []
        assert await keys(steps=[Step.UNKNOWN, Step.SUCCEEDED]) == ["unknown"]
        assert await keys(batch="may") == ["c", "a", "b"]
        assert await keys(batch="june") == []
        assert await keys(after="c") == ["a", "b"]
        assert await keys(1, after="a") == ["b"]
        assert await keys(after="nobody") == []
        shelf.clock.now += 10
        assert await keys() == ["c", "a", "b", "waits"]
        shelf.clock.now += LEASE
        assert await keys() == ["c", "a", "b", "leased", "waits"]

    async def test_what_is_open_is_taken(self, journal, shelf) -> None:
        """The oldest first, once each; not what is leased, waits, is over, or needs news."""
        for key in ("c", "a", "b"):
            await journal.release(await bring(journal, Step.STARTED, key, batch="may"))
        await bring(journal, Step.STARTED, "leased")
        waits = await bring(journal, Step.CREATING, "waits")
        await journal.release(waits, not_before=shelf.clock.now + 10)
        await journal.release(await bring(journal, Step.UNKNOWN, "unknown"))
        await bring(journal, Step.FAILED, "failed")

        async def take(limit: int = 9, **chosen: Any) -> list[str]:
            got = (await journal.claim_open(limit, "other", LEASE, **chosen)).entries
            assert all((entry.owner, entry.fence) == ("other", 2) for entry in got)
            return [entry.key for entry in got]

        assert await take(0) == []
        assert await take(batch="june") == []
        assert await take(2, batch="may") == ["c", "a"]
        assert await take() == ["b"]
        assert await take() == []
        assert await take(steps=[Step.UNKNOWN]) == ["unknown"]
        with pytest.raises(sg.InProgress):
            await journal.claim("a", "me", LEASE)
        shelf.clock.now += 10
        assert await take() == ["waits"]
        shelf.clock.now += LEASE - 10
        claims = await journal.claim_open(9, "x", LEASE)
        assert [entry.fence for entry in claims.entries] == [3, 3, 3, 2]
        assert claims.wait_seconds is None

    async def test_several_take_what_is_open(self, journal) -> None:
        """Each is given to one alone, and all are given."""
        await journal.accept_many([new(f"k{n}") for n in range(10)])
        got = await together(*(journal.claim_open(3, f"o{n}", LEASE) for n in range(4)))
        keys = [entry.key for one in got for entry in one.entries]
        assert sorted(keys) == sorted(f"k{n}" for n in range(10))

    async def test_nothing_is_taken_while_payouts_are_halted(self, journal) -> None:
        """As of a claim."""
        await journal.accept(new())
        await journal.halt(sg.Halt(kind=sg.HaltKind.FORGOT, reason="a test"))
        with pytest.raises(sg.JournalForgot):
            await journal.claim_open(1, "me", LEASE)
        assert (await journal.find("k")).fence == 0

    async def test_pages_of_all(self, journal) -> None:
        """In the order in which they came, whatever became of them."""
        for key in ("c", "a", "d", "b"):
            await bring(journal, Step.NEW if key == "d" else Step.FAILED, key, batch=key * 2)

        async def keys(limit: int = 9, **chosen: Any) -> list[str]:
            return [entry.key for entry in await journal.entries(limit, **chosen)]

        assert await keys() == ["c", "a", "d", "b"]
        assert await keys(2, after="c") == ["a", "d"]
        assert await keys(after="c", steps=[Step.FAILED]) == ["a", "b"]
        assert await keys(batch="dd") == ["d"]
        assert await keys(after="b") == []
        assert await keys(after="nobody") == []
        assert await keys(0) == []

    async def test_sums(self, journal) -> None:
        """By step and currency, of all or of a batch."""
        assert await journal.sums() == {}
        await bring(journal, Step.SUCCEEDED, "a", amount=2**40, currency="usd", batch="may")
        await bring(journal, Step.SUCCEEDED, "b", amount=5, currency="usd")
        await bring(journal, Step.NEW, "c", amount=7, currency="eur", batch="may")
        await bring(journal, Step.NEW, "d")
        assert await journal.sums() == {
            (Step.SUCCEEDED, "usd"): 2**40 + 5,
            (Step.NEW, "eur"): 7,
        }
        assert await journal.sums(batch="may") == {
            (Step.SUCCEEDED, "usd"): 2**40,
            (Step.NEW, "eur"): 7,
        }

    async def test_a_batch_that_is_paused(self, journal, shelf) -> None:
        """Nothing of it is taken, until it goes on; what is under way isn't disturbed."""
        for key in ("a", "b"):
            await journal.accept(new(key, batch="may"))
        await journal.accept(new("c", batch="june"))
        with pytest.raises(sg.Misuse, match="no batch 'may'"):
            await journal.set_batch_state("may", sg.BatchState.PAUSED)
        written = await journal.put_batch(sg.Batch(name="may"))
        [held] = (await journal.claim_open(1, "me", LEASE)).entries
        paused = await journal.set_batch_state("may", sg.BatchState.PAUSED, "a look")
        assert paused == attrs.evolve(written, state=sg.BatchState.PAUSED, reason="a look")
        assert await journal.put_batch(sg.Batch(name="may")) == paused
        claims = await journal.claim_open(9, "me", LEASE)
        assert [entry.key for entry in claims.entries] == ["c"]
        assert [entry.key for entry in await journal.open_entries(9)] == ["b"]
        await journal.advance(held, Event.CREATE_INTENDED)
        journal = await shelf.again(journal)
        await journal.open(SCOPE)
        assert await journal.batch("may") == paused
        running = await journal.set_batch_state("may", sg.BatchState.RUNNING)
        assert running == written
        claims = await journal.claim_open(9, "me", LEASE)
        assert "b" in {entry.key for entry in claims.entries}

    async def test_a_batch_that_is_cancelled(self, journal) -> None:
        """It stays so."""
        await journal.put_batch(sg.Batch(name="may"))
        done = sg.BatchState.CANCELLED
        assert (await journal.set_batch_state("may", done, "wrong file")).state is done
        assert (await journal.set_batch_state("may", done, "twice")).reason == "twice"
        with pytest.raises(sg.Misuse, match="was cancelled, and stays so"):
            await journal.set_batch_state("may", sg.BatchState.RUNNING)

    async def test_a_spending_limit(self, journal, shelf) -> None:
        """What was begun counts, until it is known not to be paid; nothing passes the limit."""
        rules = sg.BatchRules(spend={"usd": 250})
        put = await journal.put_batch(sg.Batch(name="may", rules=rules))
        assert put.rules == rules
        for key in ("a", "b", "c", "d"):
            await journal.accept(new(key, batch="may", amount=100, currency="usd"))
        await journal.accept(new("e", batch="may", amount=9_000, currency="eur"))
        [first] = (await journal.claim_open(1, "me", LEASE)).entries
        assert (await journal.batch("may")).bound == {"usd": 100}
        await journal.advance(first, Event.NOT_PAID)
        assert (await journal.batch("may")).bound == {"usd": 0}
        taken = (await journal.claim_open(9, "me", LEASE)).entries
        assert [entry.key for entry in taken] == ["b", "c"]
        for entry in taken:
            await journal.advance(entry, Event.INIT_INTENDED)
        journal = await shelf.again(journal)
        await journal.open(SCOPE)
        batch = await journal.batch("may")
        assert (batch.state, batch.bound) == (sg.BatchState.PAUSED, {"usd": 200})
        assert batch.reason == "with the payout 'd' more than 2.50 USD would be spent"
        assert (await journal.claim_open(9, "me", LEASE)).entries == ()

        # It goes on as soon as there is room for it: another limit, and nothing else is changed.
        more = await journal.put_batch(
            sg.Batch(name="may", rules=sg.BatchRules(spend={"usd": 300}))
        )
        assert (more.bound, more.state) == ({"usd": 200}, sg.BatchState.PAUSED)
        await journal.set_batch_state("may", sg.BatchState.RUNNING)
        shelf.clock.now += LEASE + 1
        taken = (await journal.claim_open(9, "other", LEASE)).entries
        assert [entry.key for entry in taken] == ["b", "c", "d", "e"]
        assert (await journal.batch("may")).bound == {"usd": 300, "eur": 9_000}

    async def test_what_is_begun_by_its_key_counts_as_well(self, journal) -> None:
        """It is somebody's own order, and isn't refused."""
        await journal.put_batch(sg.Batch(name="may", rules=sg.BatchRules(spend={"usd": 100})))
        ours = {"batch": "may", "amount": 100, "currency": "usd"}
        await journal.accept(new("a", **ours))
        await journal.take(new("b", **ours), "me", LEASE)
        entry = await journal.claim("a", "me", LEASE)
        assert (await journal.batch("may")).bound == {"usd": 200}
        _ = await journal.claim("a", "me", LEASE)
        assert (await journal.batch("may")).bound == {"usd": 200}
        await journal.advance(entry := await journal.claim("a", "me", LEASE), Event.WITHDRAWN)
        assert (await journal.batch("may")).bound == {"usd": 100}
        assert entry.fence == 3

    async def test_what_was_taken_and_given_back(self, journal, shelf) -> None:
        """It counts no more where nothing was sent for it, and is held to the rules again."""
        await journal.put_batch(sg.Batch(name="may", rules=sg.BatchRules(spend={"usd": 100})))
        for key in ("a", "b", "c"):
            await journal.accept(new(key, batch="may", amount=100, currency="usd"))
            # By its key, as a person decides about it, or withdraws it.
            entry = await journal.claim(key, "person", LEASE)
            await journal.release(entry)
            assert (await journal.batch("may")).bound == {"usd": 0}
        for key in ("a", "b"):
            await journal.claim(key, "dies", LEASE)
        assert (await journal.batch("may")).bound == {"usd": 200}
        shelf.clock.now += LEASE + 1
        claims = await journal.claim_open(9, "me", LEASE)
        assert ([entry.key for entry in claims.entries], claims.has_paused) == (["a"], True)
        assert (await journal.batch("may")).bound == {"usd": 100}
        assert (await journal.batch("may")).state is sg.BatchState.PAUSED

    async def test_what_is_given_back_by_the_end(self, journal, shelf) -> None:
        """Whoever opens the journal again finds room for as much as before."""
        await journal.put_batch(sg.Batch(name="may", rules=sg.BatchRules(spend={"usd": 200})))
        for key in ("a", "b"):
            await journal.accept(new(key, batch="may", amount=100, currency="usd"))
        assert len((await journal.claim_open(9, "me", LEASE)).entries) == 2
        journal = await shelf.again(journal)
        await journal.open(SCOPE)
        shelf.clock.now += LEASE + 1
        assert len((await journal.claim_open(9, "me", LEASE)).entries) == 2
        assert (await journal.batch("may")).bound == {"usd": 200}

    async def test_a_claim_that_is_refused(self, journal) -> None:
        """A batch with rules counts nothing of it; nor is it paused while all is halted."""
        await journal.put_batch(sg.Batch(name="may", rules=sg.BatchRules(spend={"usd": 50})))
        await journal.accept(new("a", batch="may", amount=100, currency="usd"))
        with pytest.raises(sg.Misuse, match="lease_seconds"):
            await journal.claim("a", "me", 0)
        await journal.halt(sg.Halt(kind=sg.HaltKind.QUARANTINE, reason="restored"))
        with pytest.raises(sg.Quarantined):
            await journal.claim_open(9, "me", LEASE)
        batch = await journal.batch("may")
        assert (batch.bound, batch.state) == ({}, sg.BatchState.RUNNING)

    async def test_what_is_accepted_and_claimed_in_one_commit(self, journal) -> None:
        """It counts as well."""
        await journal.put_batch(sg.Batch(name="may", rules=sg.BatchRules(spend={"usd": 100})))
        _, entry = await together(
            journal.accept_many([new("a", batch="may", amount=100, currency="usd")]),
            journal.claim("a", "me", LEASE),
        )
        assert (entry.fence, (await journal.batch("may")).bound) == (1, {"usd": 100})

    async def test_the_first_that_fails(self, journal) -> None:
        """It pauses the batch, where a rule says so."""
        rules = sg.BatchRules(first_refusal=True)
        await journal.put_batch(sg.Batch(name="may", rules=rules))
        for key in ("a", "b"):
            await bring(journal, Step.SUCCEEDED, key, batch="may")
        await bring(journal, Step.CANCELLED, "c", batch="may")
        assert (await journal.batch("may")).state is sg.BatchState.RUNNING
        await bring(journal, Step.FAILED, "d", batch="may")
        batch = await journal.batch("may")
        assert (batch.state, batch.reason) == (sg.BatchState.PAUSED, "the payout 'd' failed")

    async def test_failures_in_a_row(self, journal) -> None:
        """They pause the batch; one that is paid begins the count anew, and so does going on."""
        rules = sg.BatchRules(failures_in_a_row=2)
        await journal.put_batch(sg.Batch(name="may", rules=rules))
        ends = [Step.FAILED, Step.SUCCEEDED, Step.CANCELLED, Step.UNKNOWN]
        for number, step in enumerate(ends):
            await bring(journal, step, f"k{number}", batch="may")
        assert (await journal.batch("may")).state is sg.BatchState.RUNNING
        await bring(journal, Step.FAILED, "k4", batch="may")
        batch = await journal.batch("may")
        assert (batch.state, batch.failures) == (sg.BatchState.PAUSED, 2)
        assert batch.reason == "2 payouts in a row were not paid, 'k4' the last"
        again = await journal.set_batch_state("may", sg.BatchState.RUNNING)
        assert (again.failures, again.reason) == (0, None)
        await journal.advance(await journal.claim("k3", "me", LEASE), Event.NOT_PAID)
        assert (await journal.batch("may")).failures == 0, "it counted when it ended unknown"

    async def test_a_batch_within_a_balance(self, journal, shelf) -> None:
        """It stands still where it isn't covered; what was paid is told beside what was begun."""
        with pytest.raises(sg.Misuse, match="no batch 'may'"):
            await journal.cover("may", {"usd": 1})
        rules = sg.BatchRules(low_balance=True)
        await journal.put_batch(sg.Batch(name="may", rules=rules))
        for key in ("a", "b", "c"):
            await journal.accept(new(key, batch="may", amount=100, currency="usd"))
        claims = await journal.claim_open(9, "me", LEASE)
        assert (claims.entries, claims.uncovered) == ((), {"may": "a"})
        await journal.cover("may", {"usd": 250})
        claims = await journal.claim_open(9, "me", LEASE)
        assert [entry.key for entry in claims.entries] == ["a", "b"]
        assert claims.uncovered == {"may": "c"}
        entry, _ = [await journal.advance(entry, Event.INIT_INTENDED) for entry in claims.entries]
        _ = await journal.advance(entry, Event.PAID)
        journal = await shelf.again(journal)
        await journal.open(SCOPE)
        batch = await journal.batch("may")
        assert (batch.bound, batch.paid, batch.cover) == ({"usd": 200}, {"usd": 100}, {"usd": 250})
        assert batch.cover_at == shelf.clock.now
        assert batch.state is sg.BatchState.RUNNING

    async def test_rules_that_come_late(self, journal) -> None:
        """What was begun before wasn't counted: they are refused."""
        await journal.put_batch(sg.Batch(name="may"))
        with pytest.raises(sg.Misuse, match="'may' was begun without stop rules"):
            await journal.put_batch(sg.Batch(name="may", rules=sg.BatchRules()))

    async def test_a_batch(self, journal, shelf) -> None:
        """It is written again under its name; when it was begun stays."""
        assert await journal.batch("may") is None
        given = sg.Batch(name="may", digest=b"\x00\xff", rows=3, totals={"usd": 2**60})
        written = await journal.put_batch(given)
        assert written == attrs.evolve(given, begun_at=shelf.clock.now)
        shelf.clock.now += 5
        again = await journal.put_batch(attrs.evolve(given, rows=4, digest=None))
        assert again == attrs.evolve(written, rows=4, digest=None)
        journal = await shelf.again(journal)
        await journal.open(SCOPE)
        assert await journal.batch("may") == again
        assert (await journal.batch("may")).totals == given.totals

    @pytest.mark.parametrize(
        ("kind", "error"),
        [
            (sg.HaltKind.MISMATCH, sg.ConfirmationMismatch),
            (sg.HaltKind.FORGOT, sg.JournalForgot),
            (sg.HaltKind.QUARANTINE, sg.Quarantined),
        ],
    )
    async def test_a_halt(self, journal, shelf, kind, error) -> None:
        """Nobody claims who may pay, also after a restart, until it is lifted."""
        entry = await bring(journal, Step.STARTED)
        await journal.release(entry)
        done = await bring(journal, Step.SUCCEEDED, "done")
        halt = sg.Halt(kind=kind, reason="the payout 'k' was paid")
        await journal.halt(halt)
        journal = await shelf.again(journal)
        await journal.open(SCOPE)
        assert await journal.halted() == halt
        with pytest.raises(error, match="the payout 'k' was paid"):
            await journal.claim("k", "me", LEASE)
        assert await journal.claim("done", "me", LEASE) == done
        claimed = await journal.claim("k", "me", LEASE, heeds_halt=False)
        assert claimed.fence == entry.fence + 1
        await journal.halt(None)
        assert await journal.halted() is None
        assert (await journal.claim("k", "me", LEASE)).fence == entry.fence + 2

    async def test_a_halt_that_ends(self, journal, shelf) -> None:
        """By the journal's clock; it replaces none that stays."""
        await journal.accept(new())
        ends = sg.Halt(kind=sg.HaltKind.QUARANTINE, reason="restored", until=shelf.clock.now + 9)
        await journal.halt(ends)
        with pytest.raises(sg.Quarantined) as caught:
            await journal.claim("k", "me", LEASE)
        assert caught.value.until == ends.until
        shelf.clock.now += 9
        assert await journal.halted() is None
        assert (await journal.claim("k", "me", LEASE)).fence == 1
        stays = sg.Halt(kind=sg.HaltKind.FORGOT, reason="a session that nobody knows")
        await journal.halt(stays)
        await journal.halt(attrs.evolve(ends, until=shelf.clock.now + 9))
        assert await journal.halted() == stays

    async def test_counts(self, journal) -> None:
        """By step, of all or of a batch."""
        for n in range(3):
            await journal.accept(new(f"new-{n}", batch="may" if n else None))
        await bring(journal, Step.SUCCEEDED, "paid", batch="may")
        assert await journal.counts() == {Step.NEW: 3, Step.SUCCEEDED: 1}
        assert await journal.counts(batch="may") == {Step.NEW: 2, Step.SUCCEEDED: 1}
        assert await journal.counts(batch="june") == {}

    async def test_everything_is_there_after_a_restart(self, journal, shelf) -> None:
        """But for the leases, which end some day: who held them can't write then."""
        held = {step: await bring(journal, step, step.name) for step in Step}
        lines = {step: await journal.history(step.name) for step in Step}
        journal = await shelf.again(journal)
        await journal.open(SCOPE)
        shelf.clock.now += LEASE
        for step, entry in held.items():
            found = await journal.find(step.name)
            free = {"owner": None, "leased_until": None}
            assert attrs.evolve(found, **free) == attrs.evolve(entry, **free)
            assert await journal.history(step.name) == lines[step]
            if not step.is_final:
                assert (await journal.claim(step.name, "new", LEASE)).fence == entry.fence + 1
                with pytest.raises((sg.LostLease, sg.Misuse)):
                    await journal.renew(entry, LEASE)
        assert await journal.by_session("s-STARTED") == await journal.find("STARTED")

    async def test_a_refusal_is_its_callers_alone(self, journal) -> None:
        """Those who write at the same moment don't notice."""
        entry = await bring(journal, Step.STARTED)
        got = await together(
            journal.accept(new("a")),
            journal.advance(entry, Event.WITHDRAWN),
            journal.accept(new("k", mode="other")),
            journal.claim("nobody", "me", LEASE),
            journal.accept(new("b")),
            journal.advance(entry, Event.CONFIRM_INTENDED),
        )
        assert [type(one) for one in got] == [
            sg.Entry,
            sg.Misuse,
            sg.KeyReused,
            sg.Misuse,
            sg.Entry,
            sg.Entry,
        ]
        assert await journal.counts() == {Step.NEW: 2, Step.CONFIRMING: 1}
