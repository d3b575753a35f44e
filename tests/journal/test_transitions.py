"""What each change of a journal writes, field by field, and the errors of refused changes."""

from typing import Any, Final

import pytest
from attrs import evolve
from journal_conformance import LEASE, PATHS, SetClock, bring_to, fingerprint_of_amount, new

import smartglocal_async as sg
from smartglocal_async.errors import SessionTaken
from smartglocal_async.idempotency import Fingerprint
from smartglocal_async.journal.entries import (
    Attempt,
    Batch,
    BatchRules,
    BatchState,
    Changes,
    Entry,
    Halt,
    HaltKind,
    NewEntry,
    PendingEvent,
)
from smartglocal_async.journal.memory import MemoryJournal
from smartglocal_async.journal.states import Event, Step
from smartglocal_async.journal.transitions import error_of

NOW: Final = 1_800_000_000.0
PAID: Final = Changes(item_id="po_1", code="c", reason="r", result=b"{}", not_before=NOW + 9)


@pytest.fixture
def set_clock() -> SetClock:
    """Return the clock of the journal."""
    return SetClock()


@pytest.fixture
async def opened(set_clock) -> MemoryJournal:
    """Return an open journal."""
    journal = MemoryJournal(clock=set_clock)
    await journal.open("demo|shop")
    return journal


FIELDS: Final[dict[str, Any]] = {
    "key": "k",
    "mode": "manual",
    "fingerprint": fingerprint_of_amount(),
    "request": b"{}",
    "amount": 100,
    "currency": "usd",
    "batch": "may",
    "ordinal": 3,
    "summary": b"jane",
    "payment": b"digest",
}


def full_entry(**changes: Any) -> NewEntry:
    """Return a new entry with every field set."""
    return NewEntry(**{**FIELDS, **changes})


def entry(**changes: Any) -> Entry:
    """Return the written entry."""
    return Entry(**{**FIELDS, "created_at": NOW, "updated_at": NOW, **changes})


CLAIMED: Final = {"fence": 1, "owner": "me", "leased_until": NOW + 30}


async def test_accept(opened) -> None:
    """Every field as it was passed, at the first step."""
    assert await opened.accept(full_entry()) == entry()
    assert await opened.find("k") == entry()


async def test_take(opened, set_clock) -> None:
    """It is accepted and claimed at once, and the intent is written with it."""
    taken = await opened.take(full_entry(), "me", LEASE, intends=Event.CREATE_INTENDED)
    assert taken == entry(step=Step.CREATING, attempts=1, **CLAIMED)
    assert await opened.find("k") == taken
    assert await opened.history("k") == (
        Attempt(
            key="k",
            fence=1,
            event=Event.CREATE_INTENDED,
            step=Step.CREATING,
            session_id=None,
            code=None,
            reason=None,
            at=NOW,
        ),
    )
    set_clock.now += 5
    again = await opened.take(full_entry(), "me", LEASE, intends=Event.CREATE_INTENDED)
    expected = entry(step=Step.CREATING, attempts=1, fence=2, owner="me", leased_until=NOW + 35)
    assert again == await opened.find("k") == expected
    assert len(await opened.history("k")) == 1


@pytest.mark.parametrize("first", ["accepted", "taken", "begun", "of another mode"])
async def test_what_is_intended_with_a_claim(opened, first) -> None:
    """It is written if nothing was sent before, in the mode of the request."""
    if first == "accepted":
        _ = await opened.accept(full_entry())
    elif first == "taken":
        await opened.release(await opened.take(full_entry(), "me", LEASE, intends=None))
    elif first == "begun":
        begun = await opened.take(full_entry(), "me", LEASE, intends=Event.INIT_INTENDED)
        await opened.release(begun)
    else:
        _ = await opened.accept(full_entry(mode="one_step"))
        with pytest.raises(sg.KeyReused) as reused:
            _ = await opened.take(full_entry(), "me", LEASE, intends=Event.INIT_INTENDED)
        assert (reused.value.key, reused.value.differing_fields) == ("k", ("mode",))
        return
    taken = await opened.take(full_entry(), "me", LEASE, intends=Event.INIT_INTENDED)
    assert (taken.step, taken.attempts) == (Step.SENT_ONE_STEP, 1)
    assert len(await opened.history("k")) == 1


async def test_final_entry_is_not_claimed(opened) -> None:
    """It is returned unchanged."""
    final = await bring_to(opened, Step.SUCCEEDED)
    assert await opened.take(new(), "other", LEASE, intends=Event.CREATE_INTENDED) == final
    assert await opened.claim("k", "other", LEASE) == final


async def test_adopted_entry_matches_by_amount(opened) -> None:
    """Another sum is another order; nothing shows that the same sum is the same order."""
    empty = Fingerprint(())
    for told in ({"key": "a", "amount": 100, "currency": "usd"}, {"key": "b"}):
        _ = await opened.accept(new(fingerprint=empty, **told))
    same = new("a", amount=100, currency="usd", mode="automatic")
    with pytest.raises(sg.KeyReused) as unknown:
        _ = await opened.accept(same)
    assert (unknown.value.differing_fields, unknown.value.is_compared) == (("request",), False)
    for other in ({"amount": 101, "currency": "usd"}, {"amount": 100, "currency": "eur"}):
        with pytest.raises(sg.KeyReused) as reused:
            _ = await opened.accept(new("a", **other))
        assert reused.value.differing_fields == ("amount_details",)
        assert reused.value.is_compared
        with pytest.raises(sg.KeyReused) as unknown:
            _ = await opened.accept(new("b", **other))
        assert not unknown.value.is_compared


async def test_many_that_are_accepted(opened) -> None:
    """Each is accepted on its own; a refusal is returned in its place, without frames."""
    _ = await opened.accept(full_entry())
    other = full_entry(fingerprint=fingerprint_of_amount(7), mode="automatic")
    reused, fresh = await opened.accept_many([other, full_entry(key="k-2")])
    assert isinstance(reused, sg.KeyReused)
    assert (reused.key, reused.differing_fields) == ("k", ("amount", "mode"))
    assert reused.__traceback__ is None
    assert fresh == entry(key="k-2")


# --- Steps --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "event", "changes", "expected"),
    [
        (Step.NEW, Event.CREATE_INTENDED, Changes(), {"step": Step.CREATING, "attempts": 1}),
        (
            Step.CREATING,
            Event.SESSION_CHOSEN,
            Changes(session_id="s"),
            {"step": Step.STARTING, "attempts": 2, "session_id": "s"},
        ),
        (
            Step.STARTING,
            Event.START_KNOWN,
            PAID,
            {
                "step": Step.STARTED,
                "attempts": 2,
                "session_id": "s-k",
                "item_id": "po_1",
                "code": "c",
                "reason": "r",
                "result": b"{}",
                "not_before": NOW + 9,
            },
        ),
        (
            Step.STARTED,
            Event.CONFIRM_INTENDED,
            Changes(session_id="s-k"),
            {"step": Step.CONFIRMING, "attempts": 3, "session_id": "s-k"},
        ),
        (
            Step.STARTED,
            Event.LEAVE_INTENDED,
            Changes(),
            {"step": Step.CANCELLING, "attempts": 3, "session_id": "s-k"},
        ),
        (
            Step.CANCELLING,
            Event.SESSION_LEFT,
            PAID,
            {
                "step": Step.NEW,
                "attempts": 3,
                "session_no": 1,
                "code": "c",
                "reason": "r",
                "result": b"{}",
                "not_before": NOW + 9,
            },
        ),
        (
            Step.CONFIRMED,
            Event.PAID,
            Changes(item_id="po_1"),
            {
                "step": Step.SUCCEEDED,
                "attempts": 3,
                "session_id": "s-k",
                "item_id": "po_1",
                "request": None,
                "owner": None,
                "leased_until": None,
            },
        ),
        (
            Step.SENT_ONE_STEP,
            Event.PAID,
            Changes(session_id="s", item_id="po_1"),
            {
                "step": Step.SUCCEEDED,
                "attempts": 1,
                "session_id": "s",
                "item_id": "po_1",
                "request": None,
                "owner": None,
                "leased_until": None,
            },
        ),
    ],
)
async def test_a_step(opened, set_clock, step, event, changes, expected) -> None:  # noqa: PLR0913, PLR0917
    """The row and the log line, field by field."""
    set_clock.now -= 60
    _ = await opened.accept(full_entry(key="k"))
    set_clock.now += 60
    before = await opened.claim("k", "me", LEASE)
    for one in PATHS[step]:
        named = Changes(session_id="s-k") if one is Event.SESSION_CHOSEN else Changes()
        before = await opened.advance(before, one, named)
    after = await opened.advance(before, event, changes)
    assert (
        after == await opened.find("k") == entry(**{**CLAIMED, "created_at": NOW - 60, **expected})
    )
    line = (await opened.history("k"))[-1]
    session_id = after.session_id or ("s-k" if event is Event.SESSION_LEFT else None)
    words = ("c", "r") if changes is PAID else (None, None)
    assert line == Attempt(
        key="k",
        fence=1,
        event=event,
        step=expected["step"],
        session_id=session_id,
        code=words[0],
        reason=words[1],
        at=NOW,
    )


async def test_two_steps_at_once(opened, set_clock) -> None:
    """The learned event has its own log line before that of the next step."""
    started = await bring_to(opened, Step.STARTING)
    set_clock.now += 7
    learned = PendingEvent(Event.START_KNOWN, Changes(item_id="po_1", code="x"))
    after = await opened.advance(
        started, Event.CONFIRM_INTENDED, Changes(reason="r"), pending=learned
    )
    assert (after.step, after.item_id, after.code, after.reason) == (
        Step.CONFIRMING,
        "po_1",
        "x",
        "r",
    )
    assert (after.attempts, after.session_id, after.updated_at) == (3, "s-k", NOW + 7)
    known, confirm = (await opened.history("k"))[-2:]
    learned_line = (known.event, known.step, known.code, known.reason, known.session_id, known.at)
    assert learned_line == (Event.START_KNOWN, Step.STARTED, "x", None, "s-k", NOW + 7)
    confirm_line = (confirm.event, confirm.step, confirm.code, confirm.reason)
    assert confirm_line == (Event.CONFIRM_INTENDED, Step.CONFIRMING, None, "r")


async def test_a_left_session_that_was_paid_all_the_same(opened) -> None:
    """It is still the payout's and may be recorded as paid; another payout's may not."""
    await opened.accept(new("other"))
    other = await opened.claim("other", "me", LEASE)
    other = await opened.advance(other, Event.CREATE_INTENDED)
    _ = await opened.advance(other, Event.SESSION_CHOSEN, Changes(session_id="s-other"))
    left = await bring_to(opened, Step.CANCELLING)
    left = await opened.advance(left, Event.SESSION_LEFT)
    with pytest.raises(SessionTaken) as taken:
        _ = await opened.advance(
            await opened.advance(left, Event.CREATE_INTENDED),
            Event.SESSION_CHOSEN,
            Changes(session_id="s-k"),
        )
    assert (taken.value.session_id, taken.value.key) == ("s-k", "k")
    creating = await opened.find("k")
    parked = await opened.advance(creating, Event.PARKED)
    with pytest.raises(SessionTaken) as taken:
        _ = await opened.advance(parked, Event.PAID, Changes(session_id="s-other"))
    assert (taken.value.session_id, taken.value.key) == ("s-other", "other")
    paid = await opened.advance(parked, Event.PAID, Changes(session_id="s-k"))
    assert (paid.step, paid.session_id) == (Step.SUCCEEDED, "s-k")


@pytest.mark.parametrize(
    ("step", "event", "changes", "learned", "words"),
    [
        (Step.NEW, Event.PAID, {}, None, "'paid' can't follow NEW: key 'k'"),
        (Step.CREATING, Event.SESSION_CHOSEN, {}, None, "'session chosen' needs the session's id"),
        (
            Step.CREATING,
            Event.SESSION_CHOSEN,
            {"session_id": ""},
            None,
            "'session chosen' needs the session's id: key 'k'",
        ),
        (
            Step.STARTED,
            Event.PAID,
            {"session_id": "s"},
            None,
            "'paid' can't name another session: key 'k'",
        ),
        (
            Step.CREATING,
            Event.NOT_PAID,
            {"session_id": "s"},
            None,
            "'not paid' can't name another session: key 'k'",
        ),
        (
            Step.STARTING,
            Event.NOT_PAID,
            {},
            PendingEvent(Event.START_REFUSED),
            "'start refused' can't wait for another step: key 'k'",
        ),
        (
            Step.SENT_ONE_STEP,
            Event.PAID,
            {},
            PendingEvent(Event.START_KNOWN, Changes(session_id="s")),
            "'start known' can't wait for another step: key 'k'",
        ),
        (
            Step.NEW,
            Event.PAID,
            {},
            PendingEvent(Event.CONFIRM_KNOWN),
            "'confirm known' can't follow NEW: key 'k'",
        ),
    ],
)
async def test_a_step_that_is_refused(opened, step, event, changes, learned, words) -> None:  # noqa: PLR0913, PLR0917
    """It changes nothing, and the error names the problem and the key."""
    before = await bring_to(opened, step)
    lines = await opened.history("k")
    with pytest.raises(sg.Misuse) as refused:
        _ = await opened.advance(before, event, Changes(**changes), pending=learned)
    assert str(refused.value).startswith(words)
    assert await opened.find("k") == before
    assert await opened.history("k") == lines


async def test_an_intent_that_comes_with_no_claim(opened) -> None:
    """Only an event that may come first."""
    with pytest.raises(sg.Misuse) as refused:
        _ = await opened.take(full_entry(), "me", LEASE, intends=Event.PARKED)
    assert str(refused.value) == "'parked' can't be written with a claim: key 'k'"
    assert await opened.find("k") is None


# --- Leases -------------------------------------------------------------------------------------


async def test_a_lease_that_another_one_has(opened, set_clock) -> None:
    """The error names the owner and the end of the lease."""
    await opened.accept(full_entry())
    _ = await opened.claim("k", "me", LEASE)
    set_clock.now += 10
    with pytest.raises(sg.InProgress) as busy:
        _ = await opened.claim("k", "other", LEASE)
    assert (busy.value.key, busy.value.owner, busy.value.seconds_left) == ("k", "me", 20.0)
    again = await opened.claim("k", "me", LEASE)
    assert again == entry(fence=2, owner="me", leased_until=NOW + 40)
    set_clock.now += 30
    taken = await opened.claim("k", "other", 5.0)
    assert taken == entry(fence=3, owner="other", leased_until=NOW + 45)


async def test_a_lease_that_is_renewed(opened, set_clock) -> None:
    """Nothing else of the entry changes."""
    await opened.accept(full_entry())
    claimed = await opened.claim("k", "me", LEASE)
    set_clock.now += 10
    renewed = await opened.renew(claimed, 60.0)
    assert renewed == await opened.find("k") == entry(fence=1, owner="me", leased_until=NOW + 70)


@pytest.mark.parametrize(
    ("options", "not_before"),
    [({}, None), ({"not_before": NOW + 5}, NOW + 5), ({"backs_off": True}, NOW + 12)],
)
async def test_an_entry_that_is_given_back(opened, set_clock, options, not_before) -> None:
    """It has no owner, and the time of the next check: the longer at its step, the later."""
    await opened.accept(full_entry())
    claimed = await opened.claim("k", "me", LEASE)
    set_clock.now += 6

    await opened.release(claimed, **options)
    assert await opened.find("k") == entry(fence=1, not_before=not_before)
    await opened.release(claimed)
    assert (await opened.find("k")).not_before == not_before


async def test_who_lost_the_lease(opened, set_clock) -> None:
    """The error names key and fence; a release changes nothing."""
    await opened.accept(full_entry())
    old = await opened.claim("k", "me", 5.0)
    set_clock.now += 6
    held = await opened.claim("k", "other", LEASE)
    for write in (
        opened.advance(old, Event.CREATE_INTENDED),
        opened.renew(old, 5.0),
    ):
        with pytest.raises(sg.errors.LostLease) as lost:
            _ = await write
        assert (lost.value.key, lost.value.fence) == ("k", 1)
    await opened.release(old)
    assert await opened.find("k") == held
    _ = await opened.advance(held, Event.CREATE_INTENDED)
    with pytest.raises(sg.errors.LostLease) as lost:
        _ = await opened.advance(held, Event.CREATE_INTENDED)
    assert (lost.value.key, lost.value.fence) == ("k", 2)


async def test_unknown_key_or_batch(opened) -> None:
    """The error names the key or the batch."""
    with pytest.raises(sg.Misuse) as refused:
        _ = await opened.claim("nobody", "me", LEASE)
    assert str(refused.value) == "the journal has no payout with the key 'nobody'"
    for ask in (
        opened.set_batch_state("may", BatchState.PAUSED),
        opened.cover("may", {}),
    ):
        with pytest.raises(sg.Misuse) as refused:
            _ = await ask
        assert str(refused.value) == "the journal has no batch 'may'"


# --- Halts and batches --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (HaltKind.MISMATCH, sg.errors.ConfirmationMismatch),
        (HaltKind.CONFLICT, sg.PayoutConflict),
        (HaltKind.FORGOT, sg.errors.JournalForgot),
        (HaltKind.QUARANTINE, sg.errors.Quarantined),
    ],
)
async def test_a_halt(opened, set_clock, kind, error) -> None:
    """Each kind has its error, with the reason and the end."""
    await opened.accept(full_entry())
    await opened.halt(Halt(kind=kind, reason="seen", until=NOW + 9))
    for ask in (
        opened.claim("k", "me", LEASE),
        opened.take(full_entry(), "me", LEASE, intends=None),
        opened.claim_open(5, "me", LEASE),
    ):
        with pytest.raises(error, match="seen") as halted:
            _ = await ask
        assert halted.value.until == NOW + 9
    assert (await opened.claim("k", "me", LEASE, respects_halt=False)).fence == 1
    set_clock.now += 9
    assert await opened.halted() is None
    assert (await opened.claim("k", "me", LEASE)).fence == 2


async def test_halts_with_and_without_an_end(opened) -> None:
    """A halt that must be ended is kept beside it, and the later end applies after the lift."""
    first = Halt(kind=HaltKind.QUARANTINE, reason="a", until=NOW + 9)
    second = Halt(kind=HaltKind.QUARANTINE, reason="b", until=NOW + 99)
    lasting = Halt(kind=HaltKind.CONFLICT, reason="c")
    both = evolve(lasting, timed=second)
    for halt, holds in (
        (first, first),
        (second, second),
        (first, second),
        (lasting, both),
        (first, both),
    ):
        await opened.halt(halt)
        assert await opened.halted() == holds
    assert await opened.resume() == both
    assert await opened.halted() == second
    assert await opened.resume() == second
    assert await opened.halted() is None


async def test_halt_that_needs_a_check_of_the_reports(opened) -> None:
    """It is ended after a check of the reports, or with force."""
    halt = Halt(kind=HaltKind.FORGOT, reason="an old copy")
    await opened.check_halt()
    await opened.halt(halt)
    with pytest.raises(sg.Misuse) as refused:
        _ = await opened.resume()
    assert str(refused.value) == (
        "the journal may lack payouts that were made (an old copy): compare the provider's reports "
        "of these days first (reconcile, and adopt what it lacks), or state why that isn't needed"
    )
    assert await opened.resume(unchecked=True) == halt
    await opened.halt(halt)
    await opened.check_halt()
    checked = Halt(kind=HaltKind.FORGOT, reason="an old copy", is_checked=True)
    assert await opened.halted() == checked
    assert (await opened.resume(), await opened.resume()) == (checked, None)


async def test_a_check_counts_for_the_quarantine_beside_a_halt(opened) -> None:
    """Once the reports were compared, the halt is ended, and later the quarantine, unforced."""
    quarantine = Halt(kind=HaltKind.QUARANTINE, reason="b", until=NOW + 99)
    await opened.halt(quarantine)
    await opened.halt(Halt(kind=HaltKind.FORGOT, reason="an old copy"))
    await opened.check_halt()
    checked = evolve(quarantine, is_checked=True)
    assert await opened.halted() == Halt(
        kind=HaltKind.FORGOT, reason="an old copy", is_checked=True, timed=checked
    )
    assert (await opened.resume()).kind is HaltKind.FORGOT
    assert await opened.halted() == checked
    assert (await opened.resume(), await opened.halted()) == (checked, None)


@pytest.mark.parametrize(
    "first",
    [Halt(kind=HaltKind.FORGOT, reason="an old copy"), Halt(kind=HaltKind.QUARANTINE, reason="b")],
)
async def test_a_halt_that_needs_a_check_stays_one(opened, first) -> None:
    """A later halt adds its reason once; one that needs a check itself keeps the earlier reason."""
    await opened.halt(first)
    for _ in range(2):
        await opened.halt(Halt(kind=HaltKind.MISMATCH, reason="paid without a confirm"))
    words = f"{first.reason}; after that: paid without a confirm"
    assert await opened.halted() == Halt(kind=first.kind, reason=words)
    await opened.check_halt()
    later = Halt(kind=HaltKind.CONFLICT, reason="another sum")
    await opened.halt(later)
    assert await opened.halted() == later
    await opened.halt(first)
    words = f"{first.reason}; before that: another sum"
    assert await opened.halted() == Halt(kind=first.kind, reason=words)


async def _at(opened: MemoryJournal, *events: Event, key: str = "k") -> Entry:
    """Return a claimed entry after these events."""
    await opened.accept(full_entry(key=key))
    held = await opened.claim(key, "me", LEASE)
    for event in events:
        changes = Changes(session_id=f"ps_{key}") if event is Event.SESSION_CHOSEN else Changes()
        held = await opened.advance(held, event, changes)
    return held


@pytest.mark.parametrize("kind", HaltKind)
async def test_a_halt_forbids_what_may_move_money(opened, kind) -> None:
    """Also for a process that has the lease and doesn't know of the halt."""
    new = await _at(opened, key="new")
    creating = await _at(opened, Event.CREATE_INTENDED, key="creating")
    started = await _at(
        opened,
        Event.CREATE_INTENDED,
        Event.SESSION_CHOSEN,
        Event.START_KNOWN,
        key="started",
    )
    await opened.halt(Halt(kind=kind, reason="seen"))
    for held, event, changes in (
        (new, Event.INIT_INTENDED, Changes()),
        (creating, Event.SESSION_CHOSEN, Changes(session_id="ps_2")),
        (started, Event.CONFIRM_INTENDED, Changes()),
    ):
        with pytest.raises(sg.errors.PayoutsHalted, match="seen"):
            _ = await opened.advance(held, event, changes)
        assert await opened.find(held.key) == held
    assert (await opened.advance(started, Event.PAID)).step is Step.SUCCEEDED


@pytest.mark.parametrize(
    ("halt", "is_written"),
    [
        (Halt(kind=HaltKind.FORGOT, reason="a"), False),
        (Halt(kind=HaltKind.FORGOT, reason="a", is_checked=True), True),
        (Halt(kind=HaltKind.QUARANTINE, reason="a"), False),
        (Halt(kind=HaltKind.QUARANTINE, reason="a", until=NOW + 9), False),
        (Halt(kind=HaltKind.CONFLICT, reason="a"), True),
        (Halt(kind=HaltKind.MISMATCH, reason="a"), True),
    ],
)
async def test_no_payout_fails_in_a_journal_that_may_lack_one(opened, halt, is_written) -> None:
    """It may have been paid in a session that the journal lacks."""
    started = await _at(opened, Event.CREATE_INTENDED, Event.SESSION_CHOSEN)
    await opened.halt(halt)
    if is_written:
        assert (await opened.advance(started, Event.NOT_PAID)).step is Step.FAILED
    else:
        with pytest.raises(sg.errors.PayoutsHalted):
            _ = await opened.advance(started, Event.NOT_PAID)
        assert await opened.find("k") == started


async def test_a_lease_on_an_older_row_is_not_renewed(opened) -> None:
    """An older copy of the journal may have the same fence at another step."""
    older = await _at(opened, Event.CREATE_INTENDED)
    newer = await opened.advance(older, Event.SESSION_CHOSEN, Changes(session_id="ps_1"))
    opened._rows.replace(newer, older)
    with pytest.raises(sg.errors.LostLease):
        _ = await opened.renew(newer, LEASE)
    assert await opened.find("k") == older


@pytest.mark.parametrize(
    ("event", "code", "is_kept"),
    [
        (Event.NOT_PAID, "insufficient_funds", True),
        (Event.NOT_PAID, "account_not_found", False),
        (Event.NOT_PAID, None, False),
        (Event.PAID, "insufficient_funds", False),
        (Event.PAID, None, False),
    ],
)
async def test_whether_a_request_is_kept_at_the_end(opened, event, code, is_kept) -> None:
    """Only of a payout that failed for a cause that passes, for a new attempt."""
    claimed = await bring_to(opened, Step.CONFIRMING, request=b"{}", summary=b"jane")
    after = await opened.advance(claimed, event, Changes(code=code))
    assert (after.request == b"{}", after.summary) == (is_kept, b"jane")


async def test_a_retry_that_comes_too_late(opened) -> None:
    """The error names the key and the fence that it had."""
    failed = await bring_to(opened, Step.FAILED)
    for stale in (evolve(failed, fence=failed.fence + 7), evolve(failed, session_no=5)):
        with pytest.raises(sg.errors.LostLease) as lost:
            _ = await opened.retry(stale)
        assert (lost.value.key, lost.value.fence) == ("k", stale.fence)
    with pytest.raises(sg.Misuse, match="can't follow SUCCEEDED: key 'k2'"):
        _ = await opened.retry(await bring_to(opened, Step.SUCCEEDED, "k2"))


@pytest.mark.parametrize(("seconds", "is_beside"), [(9, True), (10, False), (11, False)])
async def test_the_end_of_a_halt_beside_another_one(opened, set_clock, seconds, is_beside) -> None:
    """The one that an operator has to end stays when the other one's time is over."""
    timed = Halt(kind=HaltKind.QUARANTINE, reason="restored", until=NOW + 10)
    await opened.halt(timed)
    await opened.halt(Halt(kind=HaltKind.CONFLICT, reason="paid elsewhere"))
    set_clock.now = NOW + seconds
    expected = Halt(
        kind=HaltKind.CONFLICT, reason="paid elsewhere", timed=timed if is_beside else None
    )
    assert await opened.halted() == expected
    assert str(error_of(expected)).count("restored") == is_beside


async def test_an_expired_claim_under_rules(opened, set_clock) -> None:
    """It is released and counted again if nothing was sent."""
    rules = BatchRules(failures_in_a_row=5)
    await opened.put_batch(Batch(name="may", digest=b"x", rows=3, totals={"usd": 300}, rules=rules))
    for key in ("a", "b", "c"):
        _ = await opened.accept(full_entry(key=key))
    idle = await opened.claim("a", "gone", LEASE)
    begun = await opened.claim("b", "gone", LEASE)
    begun = await opened.advance(begun, Event.CREATE_INTENDED)
    set_clock.now += LEASE + 1
    claims = await opened.claim_open(10, "me", LEASE, batch="may")
    assert [(one.key, one.owner, one.attempts) for one in claims.entries] == [
        ("a", "me", 0),
        ("b", "me", 1),
        ("c", "me", 0),
    ]
    assert [one.fence for one in claims.entries] == [idle.fence + 1, begun.fence + 1, 1]


async def test_a_batch(opened, set_clock) -> None:
    """The journal sets its start and the time of its balance; once cancelled, it stays so."""
    written = await opened.put_batch(Batch(name="may", rows=2, totals={"usd": 5}))
    assert written == Batch(name="may", rows=2, totals={"usd": 5}, begun_at=NOW)
    set_clock.now += 4
    covered = await opened.cover("may", {"usd": 3})
    assert (covered.cover, covered.cover_at, covered.begun_at) == ({"usd": 3}, NOW + 4, NOW)
    assert await opened.batch("may") == covered
    paused = await opened.set_batch_state("may", BatchState.PAUSED, "lunch")
    assert (paused.state, paused.reason) == (BatchState.PAUSED, "lunch")
    for _ in range(2):
        cancelled = await opened.set_batch_state("may", BatchState.CANCELLED, "wrong file")
        assert await opened.batch("may") == cancelled
    with pytest.raises(sg.Misuse) as refused:
        _ = await opened.set_batch_state("may", BatchState.RUNNING)
    assert str(refused.value) == "the batch 'may' was cancelled, and can't change"


async def test_reserved_payouts_of_a_batch_with_rules(opened, set_clock) -> None:
    """It is reserved once, freed by a release before the start, and paid when it is paid."""
    rules = BatchRules(spend={"usd": 1_000})
    _ = await opened.put_batch(Batch(name="may", rows=2, rules=rules))
    for key in ("k", "k-2"):
        _ = await opened.accept(full_entry(key=key))
    first = await opened.claim("k", "me", LEASE)
    assert (await opened.batch("may")).bound == {"usd": 100}
    _ = await opened.claim("k", "me", LEASE)
    assert (await opened.batch("may")).bound == {"usd": 100}
    await opened.release(await opened.claim("k", "me", LEASE))
    assert not any((await opened.batch("may")).bound.values())
    claims = await opened.claim_open(1, "me", LEASE)
    assert [(one.key, one.fence) for one in claims.entries] == [("k", first.fence + 3)]
    set_clock.now += 31
    claims = await opened.claim_open(5, "other", LEASE)
    assert [(one.key, one.owner) for one in claims.entries] == [("k", "other"), ("k-2", "other")]
    assert (await opened.batch("may")).bound == {"usd": 200}
    paid = await opened.advance(claims.entries[0], Event.INIT_INTENDED)
    _ = await opened.advance(paid, Event.PAID)
    batch = await opened.batch("may")
    assert (batch.bound, batch.paid, batch.failures) == ({"usd": 200}, {"usd": 100}, 0)


async def accept_with_rules(opened: MemoryJournal, rules: BatchRules) -> None:
    """Accept two payouts of a batch with rules, and one without a batch."""
    _ = await opened.put_batch(Batch(name="may", rows=2, rules=rules))
    for key, batch in (("k", "may"), ("k-2", "may"), ("k-3", None)):
        _ = await opened.accept(full_entry(key=key, batch=batch))


async def test_a_batch_that_is_not_covered(opened) -> None:
    """The batches after it are claimed, and its first payout is named."""
    await accept_with_rules(opened, BatchRules(low_balance=True))
    claims = await opened.claim_open(5, "me", LEASE)
    assert [one.key for one in claims.entries] == ["k-3"]
    assert (claims.uncovered, claims.has_paused, claims.wait_seconds) == ({"may": "k"}, False, None)


async def test_a_batch_that_is_at_its_limit(opened) -> None:
    """It is paused, and the batches after it are claimed."""
    await accept_with_rules(opened, BatchRules(spend={"usd": 100}))
    claims = await opened.claim_open(5, "me", LEASE)
    assert [one.key for one in claims.entries] == ["k", "k-3"]
    assert (claims.uncovered, claims.has_paused) == ({}, True)
    assert (await opened.batch("may")).state is BatchState.PAUSED


async def test_started_payout_is_finished_at_the_limit(opened, set_clock) -> None:
    """It is already reserved, so claiming it again pauses nothing."""
    await accept_with_rules(opened, BatchRules(spend={"usd": 100}))
    begun = await opened.claim("k", "me", 5.0)
    _ = await opened.advance(begun, Event.INIT_INTENDED)
    set_clock.now += 6
    claims = await opened.claim_open(1, "other", LEASE)
    assert [(one.key, one.owner) for one in claims.entries] == [("k", "other")]
    assert (await opened.batch("may")).state is BatchState.RUNNING


async def test_payout_that_did_not_start_is_released_at_the_limit(opened, set_clock) -> None:
    """It has no owner and no lease, and reserves nothing."""
    await accept_with_rules(opened, BatchRules(spend={"usd": 100}))
    begun = await opened.claim("k", "me", LEASE)
    _ = await opened.advance(begun, Event.INIT_INTENDED)
    _ = await opened.claim("k-2", "me", 5.0)
    assert (await opened.batch("may")).bound == {"usd": 200}
    set_clock.now += 6
    claims = await opened.claim_open(5, "other", LEASE)
    assert [one.key for one in claims.entries] == ["k-3"]
    assert (await opened.batch("may")).bound == {"usd": 100}
    left = await opened.find("k-2")
    assert (left.owner, left.leased_until, left.step) == (None, None, Step.NEW)
