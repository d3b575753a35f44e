"""The tests that every journal must pass: a class to inherit from, and a fixture `journals`.

To test a journal of your own, define a fixture `journals` with the methods of `JournalFactory`.
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
Step, Event, Changes, Learned = (
    sg.journal.Step,
    sg.journal.Event,
    sg.journal.Changes,
    sg.journal.PendingEvent,
)

# The shortest path to each step.
PATHS: dict[Step, tuple[Event, ...]] = {
    Step.NEW: (),
    Step.CREATING: (Event.CREATE_INTENDED,),
    Step.STARTING: (Event.CREATE_INTENDED, Event.SESSION_CHOSEN),
    Step.CANCELLING: (Event.CREATE_INTENDED, Event.SESSION_CHOSEN, Event.LEAVE_INTENDED),
    Step.STARTED: (Event.CREATE_INTENDED, Event.SESSION_CHOSEN, Event.START_KNOWN),
    Step.SENT_ONE_STEP: (Event.INIT_INTENDED,),
    Step.UNKNOWN: (Event.INIT_INTENDED, Event.PARKED),
    Step.SUCCEEDED: (Event.INIT_INTENDED, Event.PAID),
    Step.FAILED: (Event.CREATE_INTENDED, Event.NOT_PAID),
    Step.CANCELLED: (Event.WITHDRAWN,),
}
PATHS[Step.REFUSED] = (*PATHS[Step.STARTING], Event.START_REFUSED)
PATHS[Step.KEY_USED] = (*PATHS[Step.STARTING], Event.START_KEY_USED)
PATHS[Step.CONFIRMING] = (*PATHS[Step.STARTED], Event.CONFIRM_INTENDED)
PATHS[Step.CONFIRMED] = (*PATHS[Step.CONFIRMING], Event.CONFIRM_KNOWN)
FINAL = [step for step in Step if step.is_final]
OPEN = [step for step in Step if not step.is_final]


class SetClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class JournalFactory(Protocol):
    """Creates the journals under test."""

    clock: SetClock

    async def create(self) -> sg.journal.Journal:
        """Return a new journal that isn't open; all are closed at the end."""
        ...

    async def reopen(self, journal: sg.journal.Journal) -> sg.journal.Journal:
        """Close a journal, with its leases, and return another one over the same rows, not open."""
        ...


def fingerprint_of_amount(amount: int = 100) -> Fingerprint:
    """Return the fingerprint of a request."""
    return fingerprint(b'{"amount": %d, "account": "40817"}' % amount, b"secret")


def new(key: str = "k", **changes: Any) -> sg.journal.NewEntry:
    """Return a new entry."""
    fields: dict[str, Any] = {
        "mode": "manual",
        "fingerprint": fingerprint_of_amount(),
        "request": b"{}",
    }
    return sg.journal.NewEntry(key=key, **{**fields, **changes})


async def bring_to(
    journal: sg.journal.Journal, step: Step, key: str = "k", **changes: Any
) -> sg.journal.Entry:
    """Accept and claim an entry, and bring it to a step, with the session ``s-<key>``."""
    await journal.accept(new(key, **changes))
    entry = await journal.claim(key, "me", LEASE)
    for event in PATHS[step]:
        entry = await journal.advance(entry, event, changes_for(event, f"s-{key}"))
    return entry


async def bring_on(
    journal: sg.journal.Journal, entry: sg.journal.Entry, step: Step, session_id: str
) -> sg.journal.Entry:
    """Bring a claimed entry that is new to a step, with a session."""
    for event in PATHS[step]:
        entry = await journal.advance(entry, event, changes_for(event, session_id))
    return entry


async def fail(
    journal: sg.journal.Journal, key: str = "k", *, code: str = "insufficient_funds", **changes: Any
) -> sg.journal.Entry:
    """Bring a new entry to `Step.FAILED` in its session, with a code."""
    entry = await bring_to(journal, Step.CONFIRMED, key, **changes)
    declined = Changes(code=code, reason="declined", item_id="po", not_before=9.5)
    return await journal.advance(entry, Event.NOT_PAID, declined)


def changes_for(event: Event, session_id: str) -> Changes:
    """Return the changes that an event needs."""
    return Changes(session_id=session_id) if event is Event.SESSION_CHOSEN else Changes()


async def run_together(*awaitables: Awaitable[Any]) -> list[Any]:
    """Run all at the same time; return their results, or the errors that they raised."""

    async def one(awaitable: Awaitable[Any]) -> Any:
        try:
            return await awaitable
        except sg.SmartGlocalError as error:
            return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(awaitable)) for awaitable in awaitables]
    return [task.result() for task in tasks]


class JournalConformance:
    """Tests of the promises of `sg.journal.Journal`."""

    @pytest.fixture
    async def journal(self, journals: JournalFactory) -> sg.journal.Journal:
        """Return an open journal."""
        journal = await journals.create()
        await journal.open(SCOPE)
        return journal

    async def test_belongs_to_one_scope(self, journal, journals) -> None:
        """A journal belongs to one scope for ever; another one is refused by name."""
        with pytest.raises(sg.JournalUnusable, match=r"demo\|shop.*live\|shop"):
            await journal.open("live|shop")
        journal = await journals.reopen(journal)
        with pytest.raises(sg.JournalUnusable, match=r"demo\|shop.*live\|shop"):
            await journal.open("live|shop")

    async def test_open_twice_and_close_twice(self, journal) -> None:
        """Opening twice and closing twice change nothing."""
        await journal.accept(new())
        await journal.open(SCOPE)
        assert await journal.find("k")
        await journal.close()
        await journal.close()

    @pytest.mark.parametrize("state", ["not opened", "closed"])
    async def test_journal_that_is_not_open(self, journals, state) -> None:
        """Each method of a journal that isn't open raises an error that says so."""
        journal = await journals.create()
        if state == "closed":
            await journal.open(SCOPE)
            await journal.close()
        entry = sg.journal.Entry(
            key="k",
            mode="m",
            fingerprint=fingerprint_of_amount(),
            request=None,
            created_at=0,
            updated_at=0,
        )
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: journal.accept(new()),
            lambda: journal.find("k"),
            lambda: journal.claim("k", "me", LEASE),
            lambda: journal.advance(entry, Event.CREATE_INTENDED),
            lambda: journal.renew(entry, LEASE),
            lambda: journal.retry(entry),
            lambda: journal.release(entry),
            lambda: journal.open_entries(1),
            lambda: journal.claim_open(1, "me", LEASE),
            lambda: journal.by_session("s"),
            lambda: journal.accept_many([new()]),
            lambda: journal.take(new(), "me", LEASE),
            lambda: journal.entries(1),
            lambda: journal.batch("may"),
            lambda: journal.put_batch(sg.journal.Batch(name="may")),
            lambda: journal.set_batch_state("may", sg.journal.BatchState.PAUSED),
            lambda: journal.halt(None),
            journal.halted,
            journal.sums,
            journal.counts,
            lambda: journal.history("k"),
            lambda: journal.actions(1),
        ]
        for call in calls:
            with pytest.raises(sg.Misuse, match=r"open|closed"):
                await call()

    async def test_id_and_secret_survive_a_restart(self, journal, journals) -> None:
        """Id and secret survive a restart; two journals have different ids."""
        known = (journal.journal_id, journal.secret)
        other = await journals.create()
        await other.open(SCOPE)
        assert {other.journal_id, other.secret}.isdisjoint(known)
        journal = await journals.reopen(journal)
        await journal.open(SCOPE)
        assert (journal.journal_id, journal.secret) == known
        assert all(known)

    async def test_accept_writes_a_new_entry(self, journal, journals) -> None:
        """The entry is written as it was passed, at the first step."""
        given = new(batch="may", ordinal=7, request=b"\x00sealed", amount=2**60, currency="usd")
        entry = await journal.accept(given)
        for named in attrs.fields(sg.journal.NewEntry):
            assert getattr(entry, named.name) == getattr(given, named.name)
        assert (entry.step, entry.fence, entry.session_no, entry.attempts) == (Step.NEW, 0, 0, 0)
        assert (entry.owner, entry.leased_until, entry.session_id) == (None, None, None)
        assert entry.created_at == entry.updated_at == journals.clock.now
        assert await journal.find("k") == entry
        assert await journal.find("other") is None

    async def test_accept_returns_an_existing_entry(self, journal) -> None:
        """An existing entry is returned at its current step."""
        entry = await bring_to(journal, Step.STARTED)
        assert await journal.accept(new(batch="other")) == entry

    @pytest.mark.parametrize(
        ("changes", "fields"),
        [
            ({"fingerprint": fingerprint_of_amount(200)}, ("amount",)),
            ({"mode": "automatic"}, ("mode",)),
            ({"fingerprint": fingerprint_of_amount(200), "mode": "automatic"}, ("amount", "mode")),
        ],
    )
    async def test_key_belongs_to_one_request(self, journal, changes, fields) -> None:
        """Another request with the key is refused; the error names the fields that differ."""
        for key, step in (("k", Step.NEW), ("done", Step.SUCCEEDED)):
            entry = await bring_to(journal, step, key)
            with pytest.raises(sg.KeyReused) as caught:
                await journal.accept(new(key, **changes))
            assert (caught.value.key, caught.value.differing_fields) == (key, fields)
            assert await journal.find(key) == entry

    @pytest.mark.parametrize("batch", ["january", None])
    async def test_error_of_a_used_key_names_its_batch(self, journal, batch) -> None:
        """The error names the batch of the existing entry."""
        _ = await journal.accept(new(batch=batch))
        other = new(batch="february", fingerprint=fingerprint_of_amount(200))
        with pytest.raises(sg.KeyReused) as caught:
            await journal.accept(other)
        (refused,) = await journal.accept_many([other])
        assert caught.value.batch == refused.batch == batch
        assert ("in the batch 'january'" in str(caught.value)) is (batch is not None)

    async def test_many_accept_one_key(self, journal) -> None:
        """One row is written, and each caller gets it."""
        entries = await run_together(*(journal.accept(new()) for _ in range(20)))
        assert entries == [entries[0]] * 20
        assert await journal.counts() == {Step.NEW: 1}

    async def test_many_are_accepted_at_once(self, journal) -> None:
        """Each is accepted on its own, in order; a refused one doesn't affect the others."""
        old = await journal.accept(new("b"))
        reused = new("b", fingerprint=fingerprint_of_amount(200))
        got = await journal.accept_many([new("a"), new("b"), reused, new("c"), new("c")])
        assert [entry.key for entry in (got[0], got[3])] == ["a", "c"]
        assert (got[1], got[4]) == (old, got[3])
        assert isinstance(got[2], sg.KeyReused)
        assert got[2].differing_fields == ("amount",)
        assert [entry.key for entry in await journal.entries(9)] == ["b", "a", "c"]
        assert await journal.accept_many([]) == ()

    async def test_accept_and_claim_in_one_call(self, journal, journals) -> None:
        """The result is the same as accept and claim; a refused one changes nothing."""
        entry = await journal.take(new(batch="may", ordinal=3), "me", LEASE)
        assert (entry.fence, entry.owner, entry.batch, entry.ordinal) == (1, "me", "may", 3)
        assert entry.leased_until == journals.clock.now + LEASE
        assert await journal.find("k") == entry
        assert (await journal.take(new(), "me", LEASE)).fence == 2
        with pytest.raises(sg.InProgress):
            await journal.take(new(), "you", LEASE)
        with pytest.raises(sg.KeyReused):
            await journal.take(new(fingerprint=fingerprint_of_amount(200)), "me", LEASE)
        done = await bring_to(journal, Step.SUCCEEDED, "done")
        assert await journal.take(new("done"), "you", LEASE) == done
        await journal.halt(sg.journal.Halt(kind=sg.journal.HaltKind.FORGOT, reason="seen"))
        with pytest.raises(sg.errors.JournalForgot):
            await journal.take(new("other"), "me", LEASE)
        assert await journal.find("other") is None
        assert await journal.take(new("done"), "you", LEASE) == done
        assert (await journal.take(new("o"), "me", LEASE, respects_halt=False)).fence == 1

    async def test_intent_is_written_with_the_claim(self, journal) -> None:
        """The intent is written with its log line if nothing was intended before."""
        intends = Event.CREATE_INTENDED
        taken = await journal.take(new("new"), "me", LEASE, intends=intends)
        assert (taken.step, taken.fence, taken.attempts) == (Step.CREATING, 1, 1)
        assert await journal.find("new") == taken
        (line,) = await journal.history("new")
        assert (line.event, line.step, line.fence) == (intends, Step.CREATING, 1)
        await journal.accept(new("old"))
        assert (await journal.take(new("old"), "me", LEASE, intends=intends)).attempts == 1
        again = await bring_to(journal, Step.STARTING, "again")
        left = await journal.advance(again, Event.SESSION_LEFT)
        for entry in (left, await bring_to(journal, Step.STARTED, "started")):
            got = await journal.take(new(entry.key), "me", LEASE, intends=intends)
            assert (got.step, got.attempts) == (entry.step, entry.attempts)
        done = await bring_to(journal, Step.SUCCEEDED, "done")
        assert await journal.take(new("done"), "me", LEASE, intends=intends) == done

    @pytest.mark.parametrize(
        "event", sorted(set(Event) - {Event.CREATE_INTENDED, Event.INIT_INTENDED}, key=str)
    )
    async def test_other_events_with_the_claim_are_refused(self, journal, event) -> None:
        """Another event with the claim is refused and changes nothing."""
        with pytest.raises(sg.Misuse, match=event.value):
            await journal.take(new(), "me", LEASE, intends=event)
        assert await journal.find("k") is None

    async def test_learned_event_is_written_with_the_next_step(self, journal) -> None:
        """Each event has its log line, and the second keeps the changes of the first."""
        entry = await bring_to(journal, Step.STARTING)
        learned = Learned(Event.START_KNOWN, Changes(item_id="pt_1", reason="slow"))
        lines = await journal.history("k")
        written = await journal.advance(entry, Event.CONFIRM_INTENDED, pending=learned)
        assert (written.step, written.item_id, written.reason) == (Step.CONFIRMING, "pt_1", "slow")
        assert written.attempts == entry.attempts + 1
        assert await journal.find("k") == written
        added = (await journal.history("k"))[len(lines) :]
        assert [(line.event, line.step, line.reason) for line in added] == [
            (Event.START_KNOWN, Step.STARTED, "slow"),
            (Event.CONFIRM_INTENDED, Step.CONFIRMING, None),
        ]
        known = Learned(Event.CONFIRM_KNOWN)
        paid = await journal.advance(written, Event.PAID, Changes(result=b"{}"), pending=known)
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
    async def test_events_that_cannot_be_written_together(self, journal, learned, event) -> None:
        """Both are refused."""
        entry = await bring_to(journal, Step.STARTING)
        lines = await journal.history("k")
        with pytest.raises(sg.Misuse, match="'k'"):
            await journal.advance(entry, event, pending=learned)
        assert await journal.find("k") == entry
        assert await journal.history("k") == lines

    async def test_learned_event_is_not_written_after_a_lost_lease(self, journal, journals) -> None:
        """Neither the learned event nor the step after it is written."""
        mine = await bring_to(journal, Step.STARTING)
        journals.clock.now += LEASE
        yours = await journal.claim("k", "you", LEASE)
        with pytest.raises(sg.errors.LostLease):
            await journal.advance(mine, Event.CONFIRM_INTENDED, pending=Learned(Event.START_KNOWN))
        assert await journal.find("k") == yours

    async def test_adopted_entry_matches_by_amount(self, journal) -> None:
        """It matches no request: none is known to be the same one."""
        nothing = Fingerprint(())
        adopted = await journal.accept(new(fingerprint=nothing, amount=100, currency="usd"))
        request = new(
            fingerprint=fingerprint_of_amount(), mode="automatic", amount=100, currency="usd"
        )
        with pytest.raises(sg.KeyReused, match="doesn't show for which order"):
            await journal.accept(request)
        for change in ({"amount": 101}, {"currency": "eur"}):
            with pytest.raises(sg.KeyReused, match="amount_details"):
                await journal.accept(attrs.evolve(request, **change))
        assert await journal.find("k") == adopted

    async def test_an_adopted_entry_knows_the_digest_of_its_order(self, journal) -> None:
        """It matches that order, in any mode, and no other."""
        short = Fingerprint.of_short(fingerprint_of_amount().short)
        adopted = await journal.accept(new(fingerprint=short))
        assert (
            await journal.accept(new(fingerprint=fingerprint_of_amount(), mode="automatic"))
            == adopted
        )
        with pytest.raises(sg.KeyReused, match="fields differ: request"):
            await journal.accept(new(fingerprint=fingerprint_of_amount(7)))

    async def test_claim_increases_the_fence(self, journal, journals) -> None:
        """A claim increases the fence and sets the end of the lease."""
        await journal.accept(new())
        entry = await journal.claim("k", "me", LEASE)
        assert (entry.fence, entry.owner) == (1, "me")
        assert entry.leased_until == journals.clock.now + LEASE
        assert await journal.find("k") == entry

    async def test_lease_keeps_other_owners_off(self, journal, journals) -> None:
        """A lease keeps other owners off until it ends; its owner may claim again."""
        await bring_to(journal, Step.CREATING)
        journals.clock.now += LEASE - 1
        with pytest.raises(sg.InProgress) as caught:
            await journal.claim("k", "you", LEASE)
        assert (caught.value.key, caught.value.owner, caught.value.seconds_left) == ("k", "me", 1.0)
        assert (await journal.claim("k", "me", 1)).fence == 2
        journals.clock.now += 1
        assert (await journal.claim("k", "you", LEASE)).fence == 3

    @pytest.mark.parametrize("back", [700.0, 3600.0])
    async def test_clock_set_back(self, journal, journals, back) -> None:
        """A lease that ends too far in the future counts as ended; the fence stops its holder."""
        mine = await bring_to(journal, Step.CREATING)
        journals.clock.now -= back
        assert [entry.key for entry in await journal.open_entries(9)] == ["k"]
        yours = await journal.claim("k", "you", LEASE)
        assert yours.leased_until == journals.clock.now + LEASE
        assert await journal.open_entries(9) == ()
        with pytest.raises(sg.errors.LostLease):
            await journal.advance(mine, Event.SESSION_CHOSEN, Changes(session_id="s"))
        with pytest.raises(sg.InProgress):
            await journal.claim("k", "me", LEASE)

    async def test_many_claim_one_entry(self, journal) -> None:
        """One of them gets the entry."""
        await journal.accept(new())
        got = await run_together(*(journal.claim("k", f"w{n}", LEASE) for n in range(20)))
        assert sum(isinstance(entry, sg.journal.Entry) for entry in got) == 1
        assert sum(isinstance(entry, sg.InProgress) for entry in got) == 19

    @pytest.mark.parametrize("step", FINAL)
    async def test_final_entry_is_not_claimed(self, journal, step) -> None:
        """A final entry is returned without a holder, and nothing can be written to it."""
        entry = await bring_to(journal, step)
        assert (entry.owner, entry.leased_until) == (None, None)
        assert await journal.claim("k", "you", LEASE) == entry
        for event in Event:
            with pytest.raises(sg.Misuse):
                await journal.advance(entry, event, changes_for(event, "s"))
        assert await journal.find("k") == entry

    async def test_unknown_key(self, journal) -> None:
        """An unknown key can't be claimed and has no history."""
        with pytest.raises(sg.Misuse, match="the key 'k'"):
            await journal.claim("k", "me", LEASE)
        assert await journal.history("k") == ()

    @pytest.mark.parametrize("seconds", [0, -1, 601, float("nan"), float("inf")])
    async def test_invalid_lease(self, journal, seconds) -> None:
        """Leases of zero, negative or infinite length are refused."""
        entry = await bring_to(journal, Step.NEW)
        with pytest.raises(sg.Misuse, match="lease_seconds"):
            await journal.claim("k", "me", seconds)
        with pytest.raises(sg.Misuse, match="lease_seconds"):
            await journal.renew(entry, seconds)
        assert await journal.find("k") == entry

    @pytest.mark.parametrize("step", OPEN)
    async def test_legal_steps(self, journal, step) -> None:
        """Every legal step is written; all others are refused and change nothing."""
        for event in Event:
            key = event.name
            entry = await bring_to(journal, step, key)
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

    async def test_changes_of_a_step(self, journal, journals) -> None:
        """The named fields change, None included; the others stay."""
        entry = await bring_to(journal, Step.STARTING)
        journals.clock.now += 5
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
            updated_at=journals.clock.now,
        )
        last = await journal.advance(first, Event.PAID, Changes(result=b"{}", code=None))
        assert (last.result, last.code, last.reason, last.item_id) == (b"{}", None, "r", "pt_1")
        assert last.created_at == journals.clock.now - 5

    async def test_log(self, journal) -> None:
        """There is one log line for each step, with its session."""
        entry = await bring_to(journal, Step.CANCELLING)
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
        """A session is chosen by id, kept until it is left, and counted then."""
        entry = await bring_to(journal, Step.CREATING)
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

    async def test_left_session_is_known_and_not_chosen_again(self, journal) -> None:
        """A session that was left can't be chosen by any entry; it still finds its entry."""
        entry = await bring_to(journal, Step.STARTING)
        entry = await journal.advance(entry, Event.SESSION_LEFT)
        assert await journal.by_session("s-k") == entry
        creating = await journal.advance(entry, Event.CREATE_INTENDED)
        other = await bring_to(journal, Step.CREATING, "other")
        for mine in (creating, other):
            with pytest.raises(sg.Misuse, match="s-k was used before, by the key 'k'"):
                await journal.advance(mine, Event.SESSION_CHOSEN, Changes(session_id="s-k"))
            assert await journal.find(mine.key) == mine
        chosen = await journal.advance(creating, Event.SESSION_CHOSEN, Changes(session_id="s2"))
        assert await journal.by_session("s-k") == await journal.by_session("s2") == chosen
        assert await journal.by_session("s3") is None

    @pytest.mark.parametrize("step", [Step.SENT_ONE_STEP, Step.UNKNOWN])
    async def test_session_of_a_one_step_payout(self, journal, step) -> None:
        """The session comes from the answer or from a later webhook."""
        entry = await bring_to(journal, step)
        paid = await journal.advance(entry, Event.PAID, Changes(session_id="s1"))
        assert paid.session_id == "s1"
        assert await journal.by_session("s1") == paid

    async def test_no_write_after_a_lost_lease(self, journal, journals) -> None:
        """A worker without the lease can't write, however late it continues."""
        mine = await bring_to(journal, Step.STARTING)
        journals.clock.now += LEASE
        yours = await journal.claim("k", "you", LEASE)
        for lost in (
            journal.advance(mine, Event.START_KNOWN),
            journal.advance(mine, Event.PAID),
            journal.renew(mine, LEASE),
        ):
            with pytest.raises(sg.errors.LostLease) as caught:
                await lost
            assert (caught.value.key, caught.value.fence) == ("k", 1)
        await journal.release(mine, not_before=0.0)
        assert await journal.find("k") == yours

    async def test_write_after_the_lease_ended_without_another_claim(
        self, journal, journals
    ) -> None:
        """The fence decides, not the clock."""
        entry = await bring_to(journal, Step.STARTING)
        journals.clock.now += 10 * LEASE
        entry = await journal.advance(entry, Event.START_KNOWN)
        entry = await journal.renew(entry, LEASE)
        assert entry.leased_until == journals.clock.now + LEASE

    async def test_no_write_from_an_old_entry(self, journal) -> None:
        """An old entry can't be written from, even by its holder or at the same step."""
        old = await bring_to(journal, Step.STARTING)
        entry = await journal.advance(old, Event.SESSION_LEFT)
        with pytest.raises(sg.errors.LostLease):
            await journal.advance(old, Event.START_KNOWN)
        entry = await journal.advance(entry, Event.CREATE_INTENDED)
        entry = await journal.advance(entry, Event.SESSION_CHOSEN, Changes(session_id="s2"))
        with pytest.raises(sg.errors.LostLease):
            await journal.advance(old, Event.START_KNOWN)
        assert await journal.find("k") == entry

    async def test_no_write_without_a_claim(self, journal) -> None:
        """Without a claim, or after a release, nothing can be written."""
        entry = await journal.accept(new())
        with pytest.raises(sg.errors.LostLease):
            await journal.advance(entry, Event.CREATE_INTENDED)
        entry = await journal.claim("k", "me", LEASE)
        await journal.release(entry)
        for lost in (journal.advance(entry, Event.CREATE_INTENDED), journal.renew(entry, LEASE)):
            with pytest.raises(sg.errors.LostLease):
                await lost
        stranger = attrs.evolve(entry, key="stranger")
        with pytest.raises(sg.errors.LostLease):
            await journal.advance(stranger, Event.CREATE_INTENDED)

    async def test_many_advance_one_entry(self, journal) -> None:
        """One step is written; a confirm is intended once."""
        entry = await bring_to(journal, Step.STARTED)
        got = await run_together(
            *(journal.advance(entry, Event.CONFIRM_INTENDED) for _ in range(10)),
        )
        assert [type(one) for one in got] == [sg.journal.Entry] + 9 * [sg.errors.LostLease]

    async def test_retried_entry(self, journal, journals) -> None:
        """A failed entry is new again and free; its session is left, and its key is the same."""
        entry = await fail(journal, "k", request=b"sealed", batch="may", ordinal=3)
        journals.clock.now += 5
        retried = await journal.retry(entry)
        assert retried == await journal.find("k")
        assert (retried.step, retried.session_id, retried.session_no) == (Step.NEW, None, 1)
        assert (retried.code, retried.reason, retried.item_id) == (None, None, None)
        assert (retried.attempts, retried.owner, retried.not_before) == (0, None, None)
        assert retried.fence == entry.fence + 1
        assert retried.request == b"sealed"
        assert (retried.batch, retried.ordinal, retried.updated_at) == (
            *("may", 3),
            journals.clock.now,
        )
        line = (await journal.history("k"))[-1]
        assert (line.event, line.step, line.session_id) == (Event.RETRIED, Step.NEW, "s-k")
        again = (await journal.claim_open(1, "you", LEASE, batch="may")).entries
        assert [one.key for one in again] == ["k"]
        chosen = await bring_on(journal, again[0], Step.STARTING, "s-2")
        assert (await journal.by_session("s-k")) == (await journal.by_session("s-2")) == chosen

    async def test_retried_without_a_session(self, journal) -> None:
        """If every create was refused, no session counts as left."""
        entry = await bring_to(journal, Step.FAILED)
        assert (await journal.retry(entry)).session_no == 0

    async def test_request_of_a_failed_entry(self, journal) -> None:
        """It is kept only if the cause of the failure may pass."""
        kept = await fail(journal, "a", request=b"sealed")
        dropped = await fail(journal, "b", code="account_not_found", request=b"sealed")
        assert (kept.request, dropped.request) == (b"sealed", None)
        assert (await journal.retry(dropped)).request is None
        assert await journal.forget(2e9) == 1
        assert (await journal.find("a")).request is None

    @pytest.mark.parametrize("step", [step for step in Step if step is not Step.FAILED])
    async def test_only_a_failed_entry_is_retried(self, journal, step) -> None:
        """At any other step nothing is changed."""
        entry = await bring_to(journal, step)
        with pytest.raises(sg.Misuse, match=step.name):
            await journal.retry(entry)
        assert await journal.find("k") == entry

    async def test_retry_of_an_older_copy(self, journal) -> None:
        """An entry that was retried since, and failed again, isn't retried by what was read before.

        Of several that retry at once, one does.
        """
        for key, first in (
            ("k", await fail(journal)),
            ("n", await bring_to(journal, Step.FAILED, "n")),
        ):
            await journal.retry(first)
            entry = await journal.claim(key, "me", LEASE)
            for event in PATHS[Step.FAILED]:
                entry = await journal.advance(entry, event)
            with pytest.raises(sg.errors.LostLease):
                await journal.retry(first)
            got = await run_together(*(journal.retry(entry) for _ in range(5)))
            assert sum(isinstance(one, sg.journal.Entry) for one in got) == 1
            assert (await journal.find(key)).step is Step.NEW

    async def test_retry_respects_halts_and_cancelled_batches(self, journal) -> None:
        """While payouts are halted, or if its batch was cancelled, nothing is retried."""
        entry = await fail(journal, batch="may")
        await journal.put_batch(sg.journal.Batch(name="may"))
        halt = sg.journal.Halt(kind=sg.journal.HaltKind.CONFLICT, reason="look at it")
        await journal.halt(halt)
        with pytest.raises(sg.errors.PayoutConflict):
            await journal.retry(entry)
        await journal.resume()
        await journal.set_batch_state("may", sg.journal.BatchState.CANCELLED)
        with pytest.raises(sg.Misuse, match="'may' was cancelled"):
            await journal.retry(entry)
        assert await journal.find("k") == entry

    async def test_retried_payout_counts_again(self, journal) -> None:
        """A batch with rules counts it once, when it is claimed again."""
        rules = sg.journal.BatchRules(spend={"usd": 100})
        await journal.put_batch(sg.journal.Batch(name="may", rules=rules))
        entry = await fail(journal, batch="may", amount=70, currency="usd")
        assert (await journal.batch("may")).bound == {"usd": 0}
        await journal.retry(entry)
        assert (await journal.batch("may")).bound == {"usd": 0}
        assert len((await journal.claim_open(1, "me", LEASE, batch="may")).entries) == 1
        assert (await journal.batch("may")).bound == {"usd": 70}

    async def test_released_entry(self, journal, journals) -> None:
        """A released entry can be claimed, at once or later; releasing twice is fine."""
        entry = await bring_to(journal, Step.STARTED)
        await journal.release(entry, not_before=journals.clock.now + 60)
        await journal.release(entry)
        found = await journal.find("k")
        assert (found.owner, found.leased_until, found.fence) == (None, None, 1)
        assert found.not_before == journals.clock.now + 60
        entry = await journal.claim("k", "you", LEASE)
        await journal.release(entry)
        assert (await journal.find("k")).not_before == journals.clock.now + 60
        entry = await journal.claim("k", "you", LEASE)
        await journal.release(entry, not_before=None)
        assert (await journal.find("k")).not_before is None

    async def test_release_backs_off(self, journal, journals) -> None:
        """The pause equals the time at the same step, from a second to an hour."""
        entry = await bring_to(journal, Step.STARTED)
        for stood, pause in ((0, 1.0), (90, 90.0), (10_000, 3600.0)):
            journals.clock.now = entry.updated_at + stood
            entry = await journal.claim("k", "me", LEASE)
            await journal.release(entry, backs_off=True)
            assert (await journal.find("k")).not_before == journals.clock.now + pause
        assert await journal.open_entries(9) == ()
        assert [entry.key for entry in await journal.open_entries(9, is_due=False)] == ["k"]

    async def test_open_entries(self, journal, journals) -> None:
        """Open entries, oldest first; without leased, waiting, final and unknown ones."""
        for key in ("c", "a", "b"):
            await journal.release(await bring_to(journal, Step.STARTED, key, batch="may"))
        await bring_to(journal, Step.STARTED, "leased")
        waits = await bring_to(journal, Step.CREATING, "waits")
        await journal.release(waits, not_before=journals.clock.now + 10)
        await journal.release(await bring_to(journal, Step.UNKNOWN, "unknown"))
        for step in FINAL:
            await bring_to(journal, step, step.name)

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
        journals.clock.now += 10
        assert await keys() == ["c", "a", "b", "waits"]
        journals.clock.now += LEASE
        assert await keys() == ["c", "a", "b", "leased", "waits"]

    async def test_claim_open(self, journal, journals) -> None:
        """Open entries are claimed once, oldest first; not leased, waiting or final ones."""
        for key in ("c", "a", "b"):
            await journal.release(await bring_to(journal, Step.STARTED, key, batch="may"))
        await bring_to(journal, Step.STARTED, "leased")
        waits = await bring_to(journal, Step.CREATING, "waits")
        await journal.release(waits, not_before=journals.clock.now + 10)
        await journal.release(await bring_to(journal, Step.UNKNOWN, "unknown"))
        await bring_to(journal, Step.FAILED, "failed")

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
        journals.clock.now += 10
        assert await take() == ["waits"]
        journals.clock.now += LEASE - 10
        claims = await journal.claim_open(9, "x", LEASE)
        assert [entry.fence for entry in claims.entries] == [3, 3, 3, 2]
        assert claims.wait_seconds is None

    async def test_several_workers_claim_open(self, journal) -> None:
        """Each entry is claimed by one worker, and all are claimed."""
        await journal.accept_many([new(f"k{n}") for n in range(10)])
        got = await run_together(*(journal.claim_open(3, f"o{n}", LEASE) for n in range(4)))
        keys = [entry.key for one in got for entry in one.entries]
        assert sorted(keys) == sorted(f"k{n}" for n in range(10))

    async def test_no_claim_while_halted(self, journal) -> None:
        """Nothing is claimed while payouts are halted."""
        await journal.accept(new())
        await journal.halt(sg.journal.Halt(kind=sg.journal.HaltKind.FORGOT, reason="a test"))
        with pytest.raises(sg.errors.JournalForgot):
            await journal.claim_open(1, "me", LEASE)
        assert (await journal.find("k")).fence == 0

    async def test_pages_of_all_entries(self, journal) -> None:
        """Entries in the order of their creation, in any state."""
        for key in ("c", "a", "d", "b"):
            await bring_to(journal, Step.NEW if key == "d" else Step.FAILED, key, batch=key * 2)

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
        """Sums by step and currency, of all entries or of a batch."""
        assert await journal.sums() == {}
        await bring_to(journal, Step.SUCCEEDED, "a", amount=2**40, currency="usd", batch="may")
        await bring_to(journal, Step.SUCCEEDED, "b", amount=5, currency="usd")
        await bring_to(journal, Step.NEW, "c", amount=7, currency="eur", batch="may")
        await bring_to(journal, Step.NEW, "d")
        assert await journal.sums() == {
            (Step.SUCCEEDED, "usd"): 2**40 + 5,
            (Step.NEW, "eur"): 7,
        }
        assert await journal.sums(batch="may") == {
            (Step.SUCCEEDED, "usd"): 2**40,
            (Step.NEW, "eur"): 7,
        }

    async def test_sums_beyond_64_bits(self, journal) -> None:
        """Sums may exceed 64 bits."""
        for key in ("a", "b", "c"):
            await bring_to(journal, Step.NEW, key, amount=2**62 + 3, currency="usd")
        assert await journal.sums() == {(Step.NEW, "usd"): 3 * (2**62 + 3)}

    async def test_paused_batch(self, journal, journals) -> None:
        """Nothing of a paused batch is claimed until it is resumed; started payouts continue."""
        for key in ("a", "b"):
            await journal.accept(new(key, batch="may"))
        await journal.accept(new("c", batch="june"))
        with pytest.raises(sg.Misuse, match="no batch 'may'"):
            await journal.set_batch_state("may", sg.journal.BatchState.PAUSED)
        written = await journal.put_batch(sg.journal.Batch(name="may"))
        [held] = (await journal.claim_open(1, "me", LEASE)).entries
        paused = await journal.set_batch_state("may", sg.journal.BatchState.PAUSED, "a look")
        assert paused == attrs.evolve(written, state=sg.journal.BatchState.PAUSED, reason="a look")
        assert await journal.put_batch(sg.journal.Batch(name="may")) == paused
        claims = await journal.claim_open(9, "me", LEASE)
        assert [entry.key for entry in claims.entries] == ["c"]
        assert [entry.key for entry in await journal.open_entries(9)] == ["b"]
        await journal.advance(held, Event.CREATE_INTENDED)
        journal = await journals.reopen(journal)
        await journal.open(SCOPE)
        assert await journal.batch("may") == paused
        running = await journal.set_batch_state("may", sg.journal.BatchState.RUNNING)
        assert running == written
        claims = await journal.claim_open(9, "me", LEASE)
        assert "b" in {entry.key for entry in claims.entries}

    async def test_cancelled_batch(self, journal) -> None:
        """A cancelled batch stays cancelled."""
        await journal.put_batch(sg.journal.Batch(name="may"))
        done = sg.journal.BatchState.CANCELLED
        assert (await journal.set_batch_state("may", done, "wrong file")).state is done
        assert (await journal.set_batch_state("may", done, "twice")).reason == "twice"
        with pytest.raises(sg.Misuse, match="was cancelled, and can't change"):
            await journal.set_batch_state("may", sg.journal.BatchState.RUNNING)

    async def test_actions_of_operators(self, journal, journals) -> None:
        """Who changed a batch or decided about a payout is there, the newest first."""
        paused, running = sg.journal.BatchState.PAUSED, sg.journal.BatchState.RUNNING
        for name in ("may", "june"):
            await journal.put_batch(sg.journal.Batch(name=name))
        await journal.set_batch_state("may", paused, "a look", operator="ann")
        await journal.set_batch_state("may", running)
        await journal.set_batch_state("june", paused, operator="bob")
        entry = await bring_to(journal, Step.UNKNOWN, "a", batch="may")
        at = journals.clock.now = journals.clock.now + 1
        await journal.advance(entry, Event.PAID, Changes(reason="seen"), operator="ann")
        with pytest.raises(sg.errors.LostLease):
            await journal.advance(entry, Event.PAID, operator="bob")
        journal = await journals.reopen(journal)
        await journal.open(SCOPE)
        decided, other, first = await journal.actions(9)
        assert decided == sg.journal.OperatorAction(
            at=at, operator="ann", action="paid", batch="may", key="a", detail="seen"
        )
        assert (other.operator, other.action, other.batch, other.detail, other.key) == (
            *("bob", "paused", "june", None, None),
        )
        assert (first.action, first.batch, first.detail, first.at) == (
            *("paused", "may", "a look", at - 1),
        )
        assert await journal.actions(1) == (decided,)
        assert await journal.actions(9, batch="may") == (decided, first)
        assert await journal.actions(9, key="a") == (decided,)

    async def test_pages_of_rare_steps(self, journal) -> None:
        """Entries at a step that few have are paged in the order of acceptance, by batch or all."""
        steps = [Step.FAILED, Step.UNKNOWN, Step.FAILED, Step.NEW, Step.FAILED, Step.CANCELLED]
        for number, step in enumerate([*steps, Step.FAILED]):
            await bring_to(journal, step, f"k{number}", batch="ab"[number % 2])
        for step, batch, keys in (
            (Step.FAILED, None, ["k0", "k2", "k4", "k6"]),
            (Step.FAILED, "a", ["k0", "k2", "k4", "k6"]),
            (Step.FAILED, "b", []),
            (Step.UNKNOWN, None, ["k1"]),
            (Step.CANCELLED, "b", ["k5"]),
        ):
            found, after = [], None
            while page := await journal.entries(2, after=after, steps=[step], batch=batch):
                found += [entry.key for entry in page]
                after = found[-1]
            assert found == keys
        unsettled = await journal.entries(9, steps=OPEN, batch="b")
        assert [entry.key for entry in unsettled] == ["k1", "k3"]

    async def test_spending_limit(self, journal, journals) -> None:
        """Started payouts count until they are known not to be paid; nothing exceeds the limit."""
        rules = sg.journal.BatchRules(spend={"usd": 250})
        put = await journal.put_batch(sg.journal.Batch(name="may", rules=rules))
        assert put.rules == rules
        for key in ("a", "b", "c", "d"):
            await journal.accept(new(key, batch="may", amount=100, currency="usd"))
        await journal.accept(new("e", batch="may", amount=9_000, currency="eur"))
        [first] = (await journal.claim_open(1, "me", LEASE)).entries
        assert (await journal.batch("may")).bound == {"usd": 100}
        first = await journal.advance(first, Event.CREATE_INTENDED)
        await journal.advance(first, Event.NOT_PAID)
        assert (await journal.batch("may")).bound == {"usd": 0}
        taken = (await journal.claim_open(9, "me", LEASE)).entries
        assert [entry.key for entry in taken] == ["b", "c"]
        for entry in taken:
            await journal.advance(entry, Event.INIT_INTENDED)
        journal = await journals.reopen(journal)
        await journal.open(SCOPE)
        batch = await journal.batch("may")
        assert (batch.state, batch.bound) == (sg.journal.BatchState.PAUSED, {"usd": 200})
        assert batch.reason == "with the payout 'd' more than 2.50 USD would be spent"
        assert (await journal.claim_open(9, "me", LEASE)).entries == ()

        # It continues once there is room: with another limit, and nothing else is changed.
        more = await journal.put_batch(
            sg.journal.Batch(name="may", rules=sg.journal.BatchRules(spend={"usd": 300}))
        )
        assert (more.bound, more.state) == ({"usd": 200}, sg.journal.BatchState.PAUSED)
        await journal.set_batch_state("may", sg.journal.BatchState.RUNNING)
        journals.clock.now += LEASE + 1
        taken = (await journal.claim_open(9, "other", LEASE)).entries
        assert [entry.key for entry in taken] == ["b", "c", "d", "e"]
        assert (await journal.batch("may")).bound == {"usd": 300, "eur": 9_000}

    async def test_payout_started_by_key_counts(self, journal) -> None:
        """A payout that a caller started by its key counts and isn't refused."""
        await journal.put_batch(
            sg.journal.Batch(name="may", rules=sg.journal.BatchRules(spend={"usd": 100}))
        )
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

    async def test_released_payout_no_longer_counts(self, journal, journals) -> None:
        """A released payout for which nothing was sent no longer counts, and is checked again."""
        await journal.put_batch(
            sg.journal.Batch(name="may", rules=sg.journal.BatchRules(spend={"usd": 100}))
        )
        for key in ("a", "b", "c"):
            await journal.accept(new(key, batch="may", amount=100, currency="usd"))
            # By its key, as an operator settles or withdraws it.
            entry = await journal.claim(key, "person", LEASE)
            await journal.release(entry)
            assert (await journal.batch("may")).bound == {"usd": 0}
        for key in ("a", "b"):
            await journal.claim(key, "dies", LEASE)
        assert (await journal.batch("may")).bound == {"usd": 200}
        journals.clock.now += LEASE + 1
        claims = await journal.claim_open(9, "me", LEASE)
        assert ([entry.key for entry in claims.entries], claims.has_paused) == (["a"], True)
        assert (await journal.batch("may")).bound == {"usd": 100}
        assert (await journal.batch("may")).state is sg.journal.BatchState.PAUSED

    async def test_release_at_the_end_frees_room(self, journal, journals) -> None:
        """After a release and a restart, there is as much room as before."""
        await journal.put_batch(
            sg.journal.Batch(name="may", rules=sg.journal.BatchRules(spend={"usd": 200}))
        )
        for key in ("a", "b"):
            await journal.accept(new(key, batch="may", amount=100, currency="usd"))
        assert len((await journal.claim_open(9, "me", LEASE)).entries) == 2
        journal = await journals.reopen(journal)
        await journal.open(SCOPE)
        journals.clock.now += LEASE + 1
        assert len((await journal.claim_open(9, "me", LEASE)).entries) == 2
        assert (await journal.batch("may")).bound == {"usd": 200}

    async def test_refused_claim_counts_nothing(self, journal) -> None:
        """A refused claim counts nothing, and pauses no batch while payouts are halted."""
        await journal.put_batch(
            sg.journal.Batch(name="may", rules=sg.journal.BatchRules(spend={"usd": 50}))
        )
        await journal.accept(new("a", batch="may", amount=100, currency="usd"))
        with pytest.raises(sg.Misuse, match="lease_seconds"):
            await journal.claim("a", "me", 0)
        await journal.halt(sg.journal.Halt(kind=sg.journal.HaltKind.QUARANTINE, reason="restored"))
        with pytest.raises(sg.errors.Quarantined):
            await journal.claim_open(9, "me", LEASE)
        batch = await journal.batch("may")
        assert (batch.bound, batch.state) == ({}, sg.journal.BatchState.RUNNING)

    async def test_accept_and_claim_in_one_commit_counts(self, journal) -> None:
        """A payout that is accepted and claimed in one commit counts, too."""
        await journal.put_batch(
            sg.journal.Batch(name="may", rules=sg.journal.BatchRules(spend={"usd": 100}))
        )
        _, entry = await run_together(
            journal.accept_many([new("a", batch="may", amount=100, currency="usd")]),
            journal.claim("a", "me", LEASE),
        )
        assert (entry.fence, (await journal.batch("may")).bound) == (1, {"usd": 100})

    async def test_first_failure_pauses_the_batch(self, journal) -> None:
        """The first failure pauses the batch if its rules say so."""
        rules = sg.journal.BatchRules(first_refusal=True)
        await journal.put_batch(sg.journal.Batch(name="may", rules=rules))
        for key in ("a", "b"):
            await bring_to(journal, Step.SUCCEEDED, key, batch="may")
        await bring_to(journal, Step.CANCELLED, "c", batch="may")
        assert (await journal.batch("may")).state is sg.journal.BatchState.RUNNING
        await bring_to(journal, Step.FAILED, "d", batch="may")
        batch = await journal.batch("may")
        assert (batch.state, batch.reason) == (
            sg.journal.BatchState.PAUSED,
            "the payout 'd' failed",
        )

    async def test_failures_in_a_row(self, journal) -> None:
        """Failures in a row pause the batch; a paid payout or a resume resets the count."""
        rules = sg.journal.BatchRules(failures_in_a_row=2)
        await journal.put_batch(sg.journal.Batch(name="may", rules=rules))
        ends = [Step.FAILED, Step.SUCCEEDED, Step.CANCELLED, Step.UNKNOWN]
        for number, step in enumerate(ends):
            await bring_to(journal, step, f"k{number}", batch="may")
        assert (await journal.batch("may")).state is sg.journal.BatchState.RUNNING
        await bring_to(journal, Step.FAILED, "k4", batch="may")
        batch = await journal.batch("may")
        assert (batch.state, batch.failures) == (sg.journal.BatchState.PAUSED, 2)
        assert batch.reason == "2 payouts in a row were not paid, 'k4' the last"
        again = await journal.set_batch_state("may", sg.journal.BatchState.RUNNING)
        assert (again.failures, again.reason) == (0, None)
        await journal.advance(await journal.claim("k3", "me", LEASE), Event.NOT_PAID)
        assert (await journal.batch("may")).failures == 0, "it counted when it ended unknown"

    async def test_batch_within_a_balance(self, journal, journals) -> None:
        """A batch stops if the balance doesn't cover it; paid and started sums are reported."""
        with pytest.raises(sg.Misuse, match="no batch 'may'"):
            await journal.cover("may", {"usd": 1})
        rules = sg.journal.BatchRules(low_balance=True)
        await journal.put_batch(sg.journal.Batch(name="may", rules=rules))
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
        journal = await journals.reopen(journal)
        await journal.open(SCOPE)
        batch = await journal.batch("may")
        assert (batch.bound, batch.paid, batch.cover) == ({"usd": 200}, {"usd": 100}, {"usd": 250})
        assert batch.cover_at == journals.clock.now
        assert batch.state is sg.journal.BatchState.RUNNING

    async def test_rules_after_the_start_are_refused(self, journal) -> None:
        """Rules for a batch that has started payouts are refused, since those weren't counted."""
        await journal.put_batch(sg.journal.Batch(name="may"))
        with pytest.raises(sg.Misuse, match="'may' was begun without stop rules"):
            await journal.put_batch(sg.journal.Batch(name="may", rules=sg.journal.BatchRules()))

    async def test_batch(self, journal, journals) -> None:
        """A batch is written again under its name; the time of its start stays."""
        assert await journal.batch("may") is None
        given = sg.journal.Batch(name="may", digest=b"\x00\xff", rows=3, totals={"usd": 2**60})
        written = await journal.put_batch(given)
        assert written == attrs.evolve(given, begun_at=journals.clock.now)
        journals.clock.now += 5
        again = await journal.put_batch(attrs.evolve(given, rows=4, digest=None))
        assert again == attrs.evolve(written, rows=4, digest=None)
        journal = await journals.reopen(journal)
        await journal.open(SCOPE)
        assert await journal.batch("may") == again
        assert (await journal.batch("may")).totals == given.totals

    @pytest.mark.parametrize(
        ("kind", "error"),
        [
            (sg.journal.HaltKind.MISMATCH, sg.errors.ConfirmationMismatch),
            (sg.journal.HaltKind.FORGOT, sg.errors.JournalForgot),
            (sg.journal.HaltKind.QUARANTINE, sg.errors.Quarantined),
        ],
    )
    async def test_halt(self, journal, journals, kind, error) -> None:
        """During a halt no payout can be claimed, also after a restart, until it is ended."""
        entry = await bring_to(journal, Step.STARTED)
        await journal.release(entry)
        done = await bring_to(journal, Step.SUCCEEDED, "done")
        halt = sg.journal.Halt(kind=kind, reason="the payout 'k' was paid")
        await journal.halt(halt)
        journal = await journals.reopen(journal)
        await journal.open(SCOPE)
        assert await journal.halted() == halt
        with pytest.raises(error, match="the payout 'k' was paid"):
            await journal.claim("k", "me", LEASE)
        assert await journal.claim("done", "me", LEASE) == done
        claimed = await journal.claim("k", "me", LEASE, respects_halt=False)
        assert claimed.fence == entry.fence + 1
        await journal.halt(None)
        assert await journal.halted() is None
        assert (await journal.claim("k", "me", LEASE)).fence == entry.fence + 2

    async def test_halt_with_an_end(self, journal, journals) -> None:
        """A halt with an end ends by the journal's clock; it replaces no halt without an end."""
        await journal.accept(new())
        ends = sg.journal.Halt(
            kind=sg.journal.HaltKind.QUARANTINE, reason="restored", until=journals.clock.now + 9
        )
        await journal.halt(ends)
        with pytest.raises(sg.errors.Quarantined) as caught:
            await journal.claim("k", "me", LEASE)
        assert caught.value.until == ends.until
        journals.clock.now += 9
        assert await journal.halted() is None
        assert (await journal.claim("k", "me", LEASE)).fence == 1
        stays = sg.journal.Halt(
            kind=sg.journal.HaltKind.FORGOT, reason="a session that nobody knows"
        )
        await journal.halt(stays)
        later = attrs.evolve(ends, until=journals.clock.now + 9)
        await journal.halt(later)
        assert await journal.halted() == attrs.evolve(stays, timed=later)
        with pytest.raises(sg.errors.JournalForgot, match="nobody knows; also, restored"):
            await journal.claim("k", "me", LEASE)
        await journal.resume(unchecked=True)
        assert await journal.halted() == later
        journals.clock.now += 9
        assert await journal.halted() is None

    async def test_halt_because_of_lost_commits(self, journal, journals) -> None:
        """A halt for lost commits is ended only after a check of the reports, or with force."""
        quarantined = sg.journal.Halt(kind=sg.journal.HaltKind.QUARANTINE, reason="another server")
        for halt in (sg.journal.Halt(kind=sg.journal.HaltKind.FORGOT, reason="seen"), quarantined):
            await journal.halt(halt)
            assert halt.needs_check
            with pytest.raises(sg.Misuse, match=halt.reason):
                await journal.resume()
            assert await journal.halted() == halt
            await journal.check_halt()
            journal = await journals.reopen(journal)
            await journal.open(SCOPE)
            assert await journal.resume() == attrs.evolve(halt, is_checked=True)
            assert await journal.halted() is None
            await journal.halt(halt)
            assert await journal.resume(unchecked=True) == halt
        assert await journal.resume() is None

    async def test_halt_without_a_check(self, journal, journals) -> None:
        """Halts without a check: set by a person for a time, or with both sides in their text."""
        until = journals.clock.now + 9
        for halt in (
            sg.journal.Halt(kind=sg.journal.HaltKind.MISMATCH, reason="paid elsewhere"),
            sg.journal.Halt(kind=sg.journal.HaltKind.QUARANTINE, reason="restored", until=until),
        ):
            await journal.halt(halt)
            assert await journal.resume() == halt
            assert await journal.halted() is None
        await journal.check_halt()
        assert await journal.halted() is None

    async def test_final_step_deletes_the_request(self, journal, journals) -> None:
        """The final step deletes the request; the summary and the digest of the payment stay."""
        told = {"summary": b"Jane Roe, ...1111", "payment": b"12345678"}
        for step in Step:
            entry = await bring_to(journal, step, step.name, **told)
            assert entry.request == (None if step.is_final else b"{}")
        journal = await journals.reopen(journal)
        await journal.open(SCOPE)
        for step in Step:
            found = await journal.find(step.name)
            assert found.request == (None if step.is_final else b"{}")
            assert (found.summary, found.payment) == (b"Jane Roe, ...1111", b"12345678")
            assert await journal.accept(new(step.name, **told)) == found, "the same order"

    async def test_forget(self, journal, journals) -> None:
        """Personal data of entries settled before a time is deleted; open entries keep theirs."""
        told = {"summary": b"Jane Roe", "payment": b"12345678", "amount": 5, "currency": "usd"}
        failed = Changes(code="account_not_found", reason="no account of Jane Roe")
        for step in Step:
            await bring_to(journal, step, step.name, batch="may", **told)
        await journal.accept(new("refused", **told))
        entry = await journal.claim("refused", "me", LEASE)
        entry = await journal.advance(entry, Event.CREATE_INTENDED)
        await journal.advance(entry, Event.NOT_PAID, failed)
        journals.clock.now += 9
        before = journals.clock.now
        await bring_to(journal, Step.SUCCEEDED, "later", **told)
        open_before = [await journal.find(step.name) for step in OPEN]

        assert await journal.forget(before) == 4
        assert await journal.forget(before) == 0, "once is enough"

        journal = await journals.reopen(journal)
        await journal.open(SCOPE)
        assert (await journal.find("later")).summary == b"Jane Roe"
        for entry in open_before:
            found = await journal.find(entry.key)
            assert found.request == b"{}"
            assert (found.summary, found.payment, found.step) == (
                b"Jane Roe",
                b"12345678",
                entry.step,
            )
            assert found.fingerprint == entry.fingerprint
            assert len(await journal.history(entry.key)) == len(PATHS[entry.step])
        paid = await journal.find("SUCCEEDED")
        assert (paid.step, paid.amount, paid.currency, paid.batch) == (80, 5, "usd", "may")
        assert (paid.summary, paid.payment, paid.request, paid.reason) == (None,) * 4
        assert await journal.history("SUCCEEDED") == ()
        gone = await journal.find("refused")
        assert (gone.code, gone.reason) == ("account_not_found", None)
        # The key still belongs to one request.
        assert await journal.accept(new("SUCCEEDED", batch="may")) == paid
        with pytest.raises(sg.KeyReused) as caught:
            await journal.accept(new("SUCCEEDED", fingerprint=fingerprint_of_amount(101)))
        assert caught.value.differing_fields == ("request",)
        assert await journal.counts(batch="may") == dict.fromkeys(Step, 1)

    async def test_forget_in_several_commits(self, journal, journals) -> None:
        """All of them are deleted, a thousand in one commit."""
        keys = [f"k{n}" for n in range(1_050)]
        await journal.accept_many([new(key, summary=b"s") for key in keys])
        for key in keys[::50]:
            entry = await journal.claim(key, "me", LEASE)
            await journal.advance(entry, Event.WITHDRAWN)
        journals.clock.now += 1
        assert await journal.forget(journals.clock.now) == 21
        assert (await journal.find("k1")).summary == b"s"
        assert (await journal.find("k1000")).summary is None

    async def test_forget_adopted_entries(self, journal, journals) -> None:
        """Nothing was known of its request, so none is known to be the same."""
        nothing = Fingerprint(())
        await journal.accept(new("k", fingerprint=nothing, amount=5, currency="usd"))
        entry = await journal.claim("k", "me", LEASE)
        await journal.advance(entry, Event.ADOPTED, Changes(session_id="s"))
        journals.clock.now += 1
        assert await journal.forget(journals.clock.now) == 1
        with pytest.raises(sg.KeyReused, match="doesn't show for which order"):
            await journal.accept(new("k", amount=5, currency="usd"))
        with pytest.raises(sg.KeyReused, match="amount_details"):
            await journal.accept(new("k", amount=6, currency="usd"))
        assert (await journal.find("k")).session_id == "s"

    async def test_missing_keys(self, journal) -> None:
        """Keys that another record has as settled, and that are missing or not settled here."""
        for step in Step:
            await bring_to(journal, step, step.name)
        asked = [*(step.name for step in Step), "nobody", "SUCCEEDED"]
        assert await journal.lacks(asked) == {*(step.name for step in OPEN), "nobody"}
        assert await journal.lacks(["SUCCEEDED", "FAILED", "CANCELLED"]) == frozenset()
        assert await journal.lacks([]) == frozenset()

    async def test_same_payments(self, journal, journals) -> None:
        """The last payment of each batch, without those of which no money moved."""
        ways = (
            ("a1", "may", b"janeroe1", Step.SUCCEEDED),
            ("a2", "may", b"janeroe1", Step.STARTED),
            ("a3", "june", b"janeroe1", Step.SUCCEEDED),
            ("a4", None, b"janeroe1", Step.UNKNOWN),
            ("a5", "july", b"janeroe1", Step.FAILED),
            ("a6", "july", b"janeroe1", Step.CANCELLED),
            ("b1", "may", b"johndoe1", Step.NEW),
            ("c1", "may", None, Step.NEW),
        )
        at = {}
        for key, batch, payment, step in ways:
            journals.clock.now += 1
            at[key] = journals.clock.now
            await bring_to(journal, step, key, batch=batch, payment=payment)
        found = await journal.same_payments([b"janeroe1", b"nobody-1"])
        assert sorted((one.key, one.batch, one.step, one.at) for one in found) == [
            ("a2", "may", Step.STARTED, at["a2"]),
            ("a3", "june", Step.SUCCEEDED, at["a3"]),
            ("a4", None, Step.UNKNOWN, at["a4"]),
        ]
        assert {one.payment for one in found} == {b"janeroe1"}
        many = [f"{n:08}".encode() for n in range(1_200)]
        assert [one.key for one in await journal.same_payments([*many, b"johndoe1"])] == ["b1"]
        assert await journal.same_payments([]) == ()

    async def test_counts(self, journal) -> None:
        """Counts by step, of all entries or of a batch."""
        for n in range(3):
            await journal.accept(new(f"new-{n}", batch="may" if n else None))
        await bring_to(journal, Step.SUCCEEDED, "paid", batch="may")
        assert await journal.counts() == {Step.NEW: 3, Step.SUCCEEDED: 1}
        assert await journal.counts(batch="may") == {Step.NEW: 2, Step.SUCCEEDED: 1}
        assert await journal.counts(batch="june") == {}

    async def test_everything_is_there_after_a_restart(self, journal, journals) -> None:
        """Everything is there after a restart except the leases; their holders can't write."""
        held = {step: await bring_to(journal, step, step.name) for step in Step}
        lines = {step: await journal.history(step.name) for step in Step}
        journal = await journals.reopen(journal)
        await journal.open(SCOPE)
        journals.clock.now += LEASE
        for step, entry in held.items():
            found = await journal.find(step.name)
            free = {"owner": None, "leased_until": None}
            assert attrs.evolve(found, **free) == attrs.evolve(entry, **free)
            assert await journal.history(step.name) == lines[step]
            if not step.is_final:
                assert (await journal.claim(step.name, "new", LEASE)).fence == entry.fence + 1
                with pytest.raises((sg.errors.LostLease, sg.Misuse)):
                    await journal.renew(entry, LEASE)
        assert await journal.by_session("s-STARTED") == await journal.find("STARTED")

    async def test_refused_write_does_not_affect_others(self, journal) -> None:
        """A refused write doesn't affect the writes at the same moment."""
        entry = await bring_to(journal, Step.STARTED)
        got = await run_together(
            journal.accept(new("a")),
            journal.advance(entry, Event.WITHDRAWN),
            journal.accept(new("k", mode="other")),
            journal.claim("nobody", "me", LEASE),
            journal.accept(new("b")),
            journal.advance(entry, Event.CONFIRM_INTENDED),
        )
        assert [type(one) for one in got] == [
            sg.journal.Entry,
            sg.Misuse,
            sg.KeyReused,
            sg.Misuse,
            sg.journal.Entry,
            sg.journal.Entry,
        ]
        assert await journal.counts() == {Step.NEW: 2, Step.CONFIRMING: 1}
