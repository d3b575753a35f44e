"""What a worker writes, waits for and sends: one payout at one step, with one reply."""

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from attrs import evolve
from paying import order
from payout_rows import (
    CANCELLING,
    CHOSEN,
    CONFIRMING,
    ONE_STEP,
    PARKED,
    REFUSED,
    SECOND,
    SECOND_USED,
    STARTED,
    WorkerSetup,
    as_json,
    entry_at,
    payout,
    reply_showing,
    session,
)
from rawserver import answer, serve
from scripted import LOST, FakeSigner, Provider, refused, session_answer

import smartglocal_async as sg
from smartglocal_async.journal.entries import Changes, Halt, HaltKind
from smartglocal_async.journal.states import Event, Step
from smartglocal_async.models.answers import ProviderError, TransactionInfo
from smartglocal_async.models.money import Amount
from smartglocal_async.payouts.calls import Reply, Sender
from smartglocal_async.payouts.context import Wakeup, WorkerContext
from smartglocal_async.payouts.protocol import (
    Decision,
    Mode,
    NextStep,
    Observation,
    PayoutCall,
    ReplyKind,
    SessionView,
)
from smartglocal_async.payouts.session_view import PaymentProof
from smartglocal_async.settings import StatusChecks

CREATE: Final = "session/create"
START: Final = "session/start/payout"
STATUS: Final = "session/status"
CONFIRM: Final = "session/confirm"
CANCEL: Final = "session/cancel"

USED: Final = "idempotency_key_already_exists"
EMPTY_SESSION: Final = session_answer("created")
CLOSED_SESSION: Final = session_answer("cancelled")
NO_PAYOUT: Final = "its key was used before, and no session of this journal shows a payout"
TOO_MANY: Final = answer(b"", "429 Too Many Requests", "Retry-After: 5")


@pytest.fixture
async def setup(clock) -> AsyncIterator[Callable[..., Any]]:
    """Return a function that brings a payout to a step, and returns a worker's setup."""
    async with contextlib.AsyncExitStack() as stack:
        clock.now = 1000.0

        async def make(
            steps: tuple[tuple[Event, str | None], ...] = (),
            provider: Provider | None = None,
            mode: Mode = Mode.MANUAL,
            **options: Any,
        ) -> WorkerSetup:
            attempts = options.pop("attempts", 1)
            timing = options.pop("timing", clock.timing())
            settings = sg.Settings(timing=timing, retry=sg.RetryPolicy(attempts=attempts))
            server = stack.enter_context(serve(provider or Provider()))
            api = sg.SmartGlocal("demo", FakeSigner(), server.url, settings=settings)
            stack.push_async_callback(api.close)
            journal = sg.journal.MemoryJournal(unsafe=True, clock=lambda: clock.now)
            await journal.open("scope")
            context = WorkerContext(
                journal=journal,
                sender=Sender(api._caller, journal.journal_id),
                mode=mode,
                owner="me",
                **{"lease_seconds": 30.0, "fault_point": lambda _: None, **options},
            )
            entry = await entry_at(context, steps)
            return WorkerSetup(context, entry, context.sender.ordered(entry, order()), clock)

        yield make


async def result_of(where: WorkerSetup, reply: Reply | None) -> tuple[str, str | None, str | None]:
    """Return step, code and reason after this reply to a worker that may send nothing."""
    entry = await where.worker(reply=reply).work()
    return entry.step.name, entry.code, entry.reason


async def halted(where: WorkerSetup) -> tuple[HaltKind, str] | None:
    """Return why all payouts are halted."""
    halt = await where.context.journal.halted()
    return None if halt is None else (halt.kind, halt.reason)


# --- What is written -----------------------------------------------------------------------------


async def test_paid(setup) -> None:
    """The payout of the session is written with the step."""
    where = await setup(CONFIRMING)
    entry = await where.worker(reply=reply_showing(SessionView.PAID, session(payout(where)))).work()
    assert (entry.step, entry.session_id, entry.item_id) == (Step.SUCCEEDED, "ps_1", "po_1")
    assert (entry.code, entry.reason) == (None, None)
    assert await where.context.journal.halted() is None


async def test_what_is_kept_of_a_payment(setup) -> None:
    """The fee, the reference and the time that the provider shows, and no earlier failure."""
    where = await setup(CONFIRMING)
    time = datetime(2027, 1, 15, 8, 0, 7, tzinfo=UTC)
    info = TransactionInfo(rrn="000000000042")
    paid = payout(where, transaction_info=info, finished_at=time)
    where = evolve(where, entry=evolve(where.entry, code="busy", reason="it was busy"))
    entry = await where.worker(reply=reply_showing(SessionView.PAID, session(paid))).work()
    proof = PaymentProof(reference="000000000042", finished_at=time)
    assert PaymentProof.read(entry.result) == proof
    assert (entry.code, entry.reason) == (None, None)


async def test_a_payment_clears_an_earlier_failure(setup) -> None:
    """The code and the reason in the journal were about a payout that wasn't paid."""
    where = await setup(STARTED)
    journal = where.context.journal
    changes = Changes(code="busy", reason="it was busy")
    before = await journal.advance(where.entry, Event.CONFIRM_INTENDED, changes)
    assert before.code == "busy"
    reply = reply_showing(SessionView.PAID, session(payout(where)))
    entry = await evolve(where, entry=before).worker(reply=reply).work()
    assert (entry.step, entry.code, entry.reason) == (Step.SUCCEEDED, None, None)


async def test_nothing_is_kept_of_a_payout_that_was_declined(setup) -> None:
    """A proof is that of a payment."""
    where = await setup(STARTED)
    failed = payout(where, "failed", transaction_info=TransactionInfo(rrn="000000000042"))
    reply = reply_showing(SessionView.DECLINED, session(failed, status="cancelled"))
    entry = await where.worker(reply=reply).work()
    assert (entry.step, entry.result) == (Step.FAILED, None)


async def test_declined_with_an_error(setup) -> None:
    """Code and description are those of the payout."""
    where = await setup(STARTED)
    failed = payout(
        where,
        "failed",
        error=ProviderError(code="account_not_found", description="no such account"),
    )
    reply = reply_showing(
        SessionView.DECLINED, session(failed, status="cancelled"), code="x", reason="y"
    )
    assert await result_of(where, reply) == ("FAILED", "account_not_found", "no such account")


async def test_declined_without_an_error(setup) -> None:
    """The reason names what was seen, and when."""
    where = await setup(STARTED)
    reply = reply_showing(
        SessionView.DECLINED, session(payout(where, "failed"), status="cancelled")
    )
    words = "the provider shows its session ps_1 as declined, at STARTED"
    assert await result_of(where, reply) == ("FAILED", None, words)


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        ("account_not_found", "why", ("FAILED", "account_not_found", "why")),
        ("account_not_found", None, ("FAILED", "account_not_found", None)),
        (None, "why", ("FAILED", None, "why")),
        (None, None, ("FAILED", None, "the provider shows its session None as None, at CREATING")),
    ],
)
async def test_a_refused_create(setup, code, reason, expected) -> None:
    """The provider's code and description are written."""
    where = await setup(CHOSEN[:1])
    refusal = Reply(Observation(PayoutCall.CREATE, ReplyKind.REFUSED), None, code, reason)
    assert await result_of(where, refusal) == expected


@pytest.mark.parametrize(
    ("came", "step"), [(ReplyKind.REFUSED, "REFUSED"), (ReplyKind.DUPLICATE, "KEY_USED")]
)
async def test_a_refused_start(setup, came, step) -> None:
    """The refusal is written at once, and kept when the session is closed."""
    where = await setup(CHOSEN)
    refusal = Reply(Observation(PayoutCall.START, came, SessionView.EMPTY), session(), "x", "why")
    assert await result_of(where, refusal) == (step, "x", "why")


async def test_a_refused_start_whose_session_is_closed(setup) -> None:
    """The reason is that of the refusal."""
    where = await setup(CHOSEN)
    refusal = Reply(
        Observation(PayoutCall.START, ReplyKind.REFUSED, SessionView.EMPTY), session(), "x", "why"
    )
    refused_entry = await where.worker(reply=refusal).work()
    closed = reply_showing(
        SessionView.CLOSED, session(status="cancelled"), PayoutCall.CANCEL, code="y", reason="no"
    )
    entry = await evolve(where, entry=refused_entry).worker(reply=closed).work()
    assert (entry.step, entry.code, entry.reason) == (Step.FAILED, "x", "why")


async def test_a_session_that_is_left(setup) -> None:
    """The reasons of the left session are deleted."""
    where = await setup(CANCELLING)
    entry = evolve(where.entry, code="x", reason="why")
    closed = reply_showing(SessionView.CLOSED, session(status="cancelled"), code="y", reason="no")
    left = await evolve(where, entry=entry).worker(reply=closed).work()
    assert (left.step, left.code, left.reason, left.session_no) == (Step.NEW, None, None, 1)


@pytest.mark.parametrize(
    ("steps", "reply", "expected"),
    [
        (
            ONE_STEP,
            Reply(Observation(PayoutCall.INIT, ReplyKind.LOST), None, "x", "the line was cut"),
            ("UNKNOWN", "x", "at SENT_ONE_STEP, its answer was lost: the line was cut"),
        ),
        (
            ONE_STEP,
            Reply(Observation(PayoutCall.INIT, ReplyKind.LOST)),
            ("UNKNOWN", None, "at SENT_ONE_STEP, its answer was lost"),
        ),
        (ONE_STEP, None, ("UNKNOWN", None, "at SENT_ONE_STEP, its answer was lost")),
        (
            (*CHOSEN, (Event.START_KEY_USED, None)),
            reply_showing(SessionView.CLOSED, session(status="cancelled")),
            ("UNKNOWN", None, NO_PAYOUT),
        ),
        (
            CHOSEN,
            reply_showing(SessionView.MISMATCH, session()),
            ("UNKNOWN", None, "at STARTING, its session shows 'not as ordered'"),
        ),
    ],
)
async def test_reason_of_a_parked_payout(setup, steps, reply, expected) -> None:
    """The reason names the step, and what was seen last."""
    where = await setup(steps, mode=Mode.ONE_STEP if steps is ONE_STEP else Mode.MANUAL)
    assert await result_of(where, reply) == expected


async def test_reason_of_a_conflict_before_a_session(setup) -> None:
    """A webhook shows money of a payout that wasn't begun."""
    where = await setup()
    reply = reply_showing(SessionView.MISMATCH, session(payout(where)))
    words = "at NEW, its session shows 'not as ordered'"
    assert await result_of(where, reply) == ("UNKNOWN", None, words)


async def test_too_many_sessions(setup) -> None:
    """No ninth session is created: an operator must check it."""
    one = (*CANCELLING, (Event.SESSION_LEFT, None))
    steps = [(event, id_ and f"ps_{n}") for n in range(8) for event, id_ in one]
    where = await setup(tuple(steps))
    words = "8 sessions were left, and nothing was paid in any of them"
    assert await result_of(where, None) == ("UNKNOWN", None, words)


@pytest.mark.parametrize("steps", [ONE_STEP, PARKED])
async def test_a_session_that_is_learned(setup, steps) -> None:
    """The session is written with what it shows."""
    where = await setup(steps, mode=Mode.ONE_STEP)
    call = PayoutCall.INIT if steps is ONE_STEP else PayoutCall.STATUS
    reply = reply_showing(SessionView.PAID, session(payout(where), id_="ps_7"), call)
    entry = await where.worker(reply=reply).work()
    assert (entry.step, entry.session_id, entry.item_id) == (Step.SUCCEEDED, "ps_7", "po_1")


@pytest.mark.parametrize("call", [PayoutCall.INIT, PayoutCall.STATUS])
async def test_a_session_without_our_payout_is_not_learned(setup, call) -> None:
    """It may be another journal's: its end would say nothing about this payout."""
    where = await setup(ONE_STEP, mode=Mode.ONE_STEP)
    reply = reply_showing(SessionView.MISMATCH, session(id_="ps_7"), call)
    entry = await where.worker(reply=reply).work()
    assert (entry.step, entry.session_id) == (Step.UNKNOWN, None)


async def test_learned_event_is_written_if_nothing_follows(setup) -> None:
    """A confirm that arrived is written, so that the next worker knows it."""
    where = await setup(CONFIRMING)
    reply = reply_showing(
        SessionView.UNDER_WAY, session(payout(where, "pending")), PayoutCall.CONFIRM
    )
    entry = await where.worker(reply=reply).work()
    assert (entry.step, entry.item_id) == (Step.CONFIRMED, "po_1")
    assert (await where.context.journal.find("k-1")).step is Step.CONFIRMED


# --- Halts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "mode", "halts"),
    [
        (CHOSEN, Mode.MANUAL, True),
        (STARTED, Mode.MANUAL, True),
        (CANCELLING, Mode.MANUAL, True),
        (REFUSED, Mode.MANUAL, True),
        ((*CHOSEN, (Event.START_KEY_USED, None)), Mode.MANUAL, True),
        (CONFIRMING, Mode.MANUAL, False),
        ((*CONFIRMING, (Event.CONFIRM_KNOWN, None)), Mode.MANUAL, False),
        (STARTED, Mode.AUTOMATIC, False),
    ],
)
async def test_payout_paid_without_a_confirm(setup, steps, mode, halts) -> None:
    """It is recorded as paid, and all others wait for an operator."""
    where = await setup(steps, mode=mode)
    assert (await result_of(where, reply_showing(SessionView.PAID, session(payout(where)))))[
        0
    ] == "SUCCEEDED"
    words = "the payout 'k-1' was paid in ps_1 without a confirm from this journal"
    assert await halted(where) == ((HaltKind.MISMATCH, words) if halts else None)


async def test_killed_while_a_payment_without_a_confirm_is_written(setup) -> None:
    """The halt is durable before the payment is, so that a crash in between can't hide it."""

    def crash(label: str) -> None:
        if label == "before writing paid":
            raise KeyboardInterrupt

    where = await setup(STARTED, fault_point=crash)
    with pytest.raises(KeyboardInterrupt):
        _ = await result_of(where, reply_showing(SessionView.PAID, session(payout(where))))
    entry = await where.context.journal.find("k-1")
    assert entry.step is Step.STARTED
    assert (await halted(where) or (None,))[0] is HaltKind.MISMATCH


async def test_a_payment_that_another_worker_confirmed(setup) -> None:
    """A worker that lost its lease doesn't know of the confirm, and must not halt payouts."""
    where = await setup(STARTED)
    where.clock.now += 31.0
    journal = where.context.journal
    other = await journal.claim("k-1", "other", 30.0)
    _ = await journal.advance(other, Event.CONFIRM_INTENDED, Changes())
    reply = reply_showing(SessionView.PAID, session(payout(where)))
    with pytest.raises(sg.errors.LostLease):
        _ = await where.worker(reply=reply).work()
    assert await halted(where) is None


async def test_a_conflict_in_an_earlier_session(setup) -> None:
    """The entry keeps the session and the payout that it has."""
    provider = Provider()
    where = await setup(SECOND_USED, provider)
    other = payout(where, id="po_7")
    provider.script[STATUS] = [session_answer("accepted", payments=as_json(other))]
    entry = await where.worker(10.0, LEFT_CLOSED).work()
    assert (entry.step, entry.session_id, entry.item_id) == (Step.UNKNOWN, "ps_2", None)


async def test_a_conflict(setup) -> None:
    """The message has what is written and what is shown."""
    where = await setup(STARTED)
    other = payout(where, "succeeded", amount_details=Amount(9_999, "usd"))
    _ = await result_of(where, reply_showing(SessionView.MISMATCH, session(other)))
    assert await halted(where) == (
        HaltKind.CONFLICT,
        (
            "the payout 'k-1' is recorded as STARTED in ps_1; the provider: ps_1 is accepted and "
            "shows payout po_1 (succeeded, 99.99 USD, owner: ours); ordered were 100.00 USD"
        ),
    )


@pytest.mark.parametrize(
    ("steps", "mode", "checks"),
    [
        (CHOSEN, Mode.MANUAL, 3),
        (STARTED, Mode.MANUAL, 3),
        (CANCELLING, Mode.MANUAL, 3),
        (CONFIRMING, Mode.MANUAL, 1),
        (CHOSEN, Mode.AUTOMATIC, 1),
        (STARTED, Mode.AUTOMATIC, 1),
    ],
)
async def test_number_of_answers_with_another_sum(setup, steps, mode, checks) -> None:
    """Payouts are halted at the first one if money may have moved, otherwise at the third."""
    provider = Provider(session_cancel=[refused("invalid_session_state")], session_status=[])
    patience = StatusChecks(before_leaving=3)
    where = await setup(steps, provider, mode=mode, status_checks=patience)
    other = payout(where, "pending", amount_details=Amount(9_999, "usd"))
    shown = session_answer("in_progress", payments=as_json(other))
    provider.script[STATUS].extend([shown] * (checks + 1))
    with pytest.raises(sg.PayoutConflict):
        _ = await where.worker(60.0).work()
    # One more status call than that is made of a payout that is unknown.
    assert len(provider.bodies[STATUS]) == checks + 1
    kind, words = await halted(where) or (None, "")
    assert kind is HaltKind.CONFLICT
    assert "(pending, 99.99 USD, owner: ours); ordered were 100.00 USD" in words


@pytest.mark.parametrize("of", [None, session()])
async def test_a_conflict_that_ends_the_work(setup, of) -> None:
    """The error has what is known."""
    where = await setup(CHOSEN[:1])
    reply = reply_showing(SessionView.MISMATCH, of, PayoutCall.CREATE)
    words = "the payout 'k-1' is recorded as CREATING"
    if of is not None:
        words += (
            " in no session; the provider: ps_1 is accepted and shows no payout; ordered were "
            "100.00 USD"
        )
    with pytest.raises(sg.PayoutConflict) as raised:
        _ = await where.worker(reply=reply).work()
    assert words in str(raised.value)
    assert await halted(where) == (HaltKind.CONFLICT, words)


async def test_message_without_a_reply(setup) -> None:
    """Without a reply, the message has what is written."""
    where = await setup(STARTED)
    assert where.worker()._conflict_words() == "the payout 'k-1' is recorded as STARTED"


async def test_a_provider_that_waits_for_us(setup) -> None:
    """In automatic mode all others wait, too."""
    where = await setup(STARTED, mode=Mode.AUTOMATIC)
    reply = reply_showing(
        SessionView.AWAITS_CONFIRM, session(payout(where, "pending"), status="in_progress")
    )
    assert await result_of(where, reply) == (
        "UNKNOWN",
        None,
        "at STARTED, its session shows 'awaits the confirm'",
    )
    assert await halted(where) == (
        HaltKind.MISMATCH,
        "the payout 'k-1' waits for a confirm in ps_1, and its mode is automatic",
    )


async def test_a_session_that_another_payout_had(setup, clock) -> None:
    """It isn't started in; another session is created after a pause."""
    waits: list[float] = []

    def point(label: str) -> None:
        if label == "before session/create":
            waits.extend(clock.waits)
            where.context.stop("enough")

    where = await setup(CHOSEN[:1], Provider(session_create=[LOST]), fault_point=point)
    _ = await entry_at(where.context, CHOSEN, "k-2")
    worker = where.worker(
        60.0, reply_showing(SessionView.EMPTY, session(status="created"), PayoutCall.CREATE)
    )
    entry = await worker.work()
    assert (entry.step, entry.session_id) == (Step.CREATING, None)
    assert len(waits) == 1


# --- Sessions that were left ---------------------------------------------------------------------


LEFT_CLOSED: Final = reply_showing(SessionView.CLOSED, session(id_="ps_2", status="cancelled"))


@pytest.mark.parametrize(
    ("shown", "status", "more", "halts"),
    [
        ("paid", "succeeded", {"status": "accepted"}, True),
        ("not as ordered", "wrong", {"status": "accepted"}, True),
        ("awaits the confirm", "pending", {"next_action": "confirm"}, False),
        ("awaits a confirm, not of our payout alone", "double", {"next_action": "confirm"}, False),
    ],
)
async def test_a_left_session_with_a_payout(setup, shown, status, more, halts) -> None:
    """In automatic mode the payout doesn't continue elsewhere; money that moved halts all."""
    provider = Provider()
    where = await setup(SECOND_USED, provider, Mode.AUTOMATIC)
    one = payout(where, "succeeded" if status == "wrong" else status)
    if status == "wrong":
        one = evolve(one, amount_details=Amount(1, "usd"))
    both = [evolve(one, status="pending")] * 2 if status == "double" else [one]
    provider.script[STATUS] = [session_answer(payments=as_json(*both), **more)]
    where = evolve(where, entry=evolve(where.entry, code=USED))
    entry = await where.worker(10.0, LEFT_CLOSED).work()
    words = f"its key was used before, and its session ps_1 shows {shown!r}"
    assert (entry.step, entry.code, entry.reason) == (Step.UNKNOWN, USED, words)
    # A parked payout is checked once more, because a status check costs nothing.
    assert provider.bodies[STATUS] == [{"session_id": "ps_1"}, {"session_id": "ps_2"}]
    assert (await halted(where) or (None, ""))[0] is (HaltKind.CONFLICT if halts else None)
    begins = "the payout 'k-1' is recorded as KEY_USED in ps_2; the provider: ps_1 is accepted"
    assert (await halted(where) or (None, begins))[1].startswith(begins)


THIRD_USED: Final = (
    *SECOND,
    (Event.START_REFUSED, None),
    (Event.SESSION_LEFT, None),
    (Event.CREATE_INTENDED, None),
    (Event.SESSION_CHOSEN, "ps_3"),
    (Event.START_KEY_USED, None),
)


@pytest.mark.parametrize("status", ["cancelled", "failed"])
async def test_a_used_key_after_a_restart(setup, status) -> None:
    """It may have been paid elsewhere, also if another process wrote that the key was used."""
    provider = Provider()
    where = await setup((*CHOSEN, (Event.START_KEY_USED, None)), provider)
    over = payout(where, status)
    provider.script[STATUS] = [session_answer("cancelled", payments=as_json(over))]
    closed = reply_showing(SessionView.CLOSED, session(status="cancelled"))
    entry = await where.worker(10.0, closed).work()
    assert provider.bodies[STATUS] == [{"session_id": "ps_1"}]
    assert entry.step is Step.UNKNOWN


@pytest.mark.parametrize("first", [EMPTY_SESSION, CLOSED_SESSION])
@pytest.mark.parametrize("shown", ["paid", "closed", "lost"])
async def test_each_left_session_is_checked(setup, first, shown) -> None:
    """One without a payout says nothing of the next one."""
    provider = Provider(session_create=[LOST])
    where = await setup(THIRD_USED, provider)
    second = {
        "paid": session_answer("accepted", id="ps_2", payments=as_json(payout(where))),
        "closed": session_answer("cancelled", id="ps_2"),
        "lost": LOST,
    }[shown]
    provider.script[STATUS] = [first, second]
    closed = reply_showing(SessionView.CLOSED, session(id_="ps_3", status="cancelled"))
    entry = await where.worker(1.0, closed).work()
    assert provider.bodies[STATUS][:2] == [{"session_id": "ps_1"}, {"session_id": "ps_2"}]
    assert (CREATE in provider.seen) is (shown == "closed")
    assert (await halted(where) is not None) is (shown == "paid")
    if shown == "lost":
        assert entry.step is Step.KEY_USED


@pytest.mark.parametrize(
    "look",
    [
        session_answer("created"),
        session_answer("cancelled"),
        session_answer("in_progress", next_action="confirm"),
    ],
)
async def test_a_left_session_without_a_payout(setup, look) -> None:
    """Another session is created; in manual mode also if the left one waits for a confirm."""
    provider = Provider(session_status=[look], session_create=[LOST])
    where = await setup(SECOND_USED, provider)
    if b"confirm" in look:
        pending = payout(where, "pending")
        provider.script[STATUS] = [session_answer(payments=as_json(pending), next_action="confirm")]
    _ = await where.worker(1.0, LEFT_CLOSED).work()
    assert provider.seen[:2] == [STATUS, CREATE]
    assert provider.bodies[STATUS] == [{"session_id": "ps_1"}]


@pytest.mark.parametrize(
    "look",
    [
        LOST,
        refused("invalid_request"),
        session_answer("error"),
        session_answer("in_progress"),
        TOO_MANY,
    ],
)
async def test_left_session_without_a_status(setup, clock, look) -> None:
    """It is checked again with the current session."""
    provider = Provider(session_status=[look, CLOSED_SESSION])
    attempts = 2 if look is TOO_MANY else 1  # There is no time for the second one.
    status_checks = StatusChecks(initial_delay_seconds=8.0)
    where = await setup(SECOND_USED, provider, attempts=attempts, status_checks=status_checks)
    entry = await where.worker(4.0, LEFT_CLOSED).work()
    assert entry.step is Step.KEY_USED
    assert provider.bodies[STATUS] == [{"session_id": "ps_1"}]
    assert clock.waits == [4.0]


async def test_refusal_is_deleted_with_its_session(setup) -> None:
    """The code about the key is deleted with the session."""
    provider = Provider(session_status=[EMPTY_SESSION], session_create=[LOST])
    where = await setup(SECOND, provider)
    used = Reply(
        Observation(PayoutCall.START, ReplyKind.DUPLICATE, SessionView.EMPTY),
        session(id_="ps_2"),
        USED,
        "why",
    )
    assert await result_of(where, used) == ("KEY_USED", USED, "why")
    where = evolve(where, entry=await where.context.journal.find("k-1"))
    entry = await where.worker(1.0, LEFT_CLOSED).work()
    assert (entry.step, entry.code, entry.reason) == (Step.CREATING, None, None)


async def test_a_session_that_our_cancel_closed(setup) -> None:
    """Earlier left sessions aren't checked, because no answer was about a used key."""
    provider = Provider(session_create=[LOST])
    where = await setup((*SECOND, (Event.LEAVE_INTENDED, None)), provider)
    assert (await where.worker(1.0, LEFT_CLOSED).work()).step is Step.CREATING
    assert provider.seen[0] == CREATE


async def test_no_time_for_a_left_session(setup) -> None:
    """Without time, nothing is sent and nothing is written."""
    provider = Provider(session_status=[EMPTY_SESSION])
    where = await setup(SECOND_USED, provider)
    assert await result_of(where, LEFT_CLOSED) == ("KEY_USED", None, None)
    assert provider.seen == []


REFUSED_FIRST: Final = (*SECOND, (Event.START_REFUSED, None))
"""The start was refused in the second session; the first one was left without a refusal."""
REFUSED_TWICE: Final = (
    *REFUSED,
    (Event.SESSION_LEFT, None),
    (Event.CREATE_INTENDED, None),
    (Event.SESSION_CHOSEN, "ps_2"),
    (Event.START_REFUSED, None),
)
REFUSED_THRICE: Final = (
    *REFUSED_TWICE,
    (Event.SESSION_LEFT, None),
    (Event.CREATE_INTENDED, None),
    (Event.SESSION_CHOSEN, "ps_3"),
    (Event.START_REFUSED, None),
)


@pytest.fixture
def refused_start(setup) -> Callable[..., Any]:
    """Return a function for a refused start whose session stays open and empty.

    The sessions show what is passed, and no other can be created.
    """

    async def make(
        steps: tuple[tuple[Event, str | None], ...], *checks: bytes | None, chosen: str = "ps_2"
    ) -> Any:
        provider = Provider(
            session_cancel=[refused("invalid_session_state")],
            session_status=[session_answer("created", id=chosen), *checks],
            session_create=[LOST],
        )
        patience = StatusChecks(before_leaving=1, initial_delay_seconds=8.0)
        return await setup(steps, provider, status_checks=patience), provider

    return make


@pytest.mark.parametrize("look", [EMPTY_SESSION, CLOSED_SESSION])
async def test_two_sessions_that_refused_the_start(refused_start, look) -> None:
    """The payout fails once the first session still shows no payout."""
    where, provider = await refused_start(REFUSED_TWICE, look)
    assert (await where.worker(10.0).work()).step is Step.FAILED
    assert provider.bodies[STATUS] == [{"session_id": "ps_2"}, {"session_id": "ps_1"}]


async def test_one_session_that_refused_the_start(refused_start) -> None:
    """The number of left sessions doesn't matter: another one is created."""
    where, provider = await refused_start(REFUSED_FIRST)
    entry = await where.worker(1.0).work()
    assert (entry.step, entry.session_no) == (Step.CREATING, 2)
    assert provider.bodies[STATUS] == [{"session_id": "ps_2"}]


@pytest.mark.parametrize("status", ["pending", "cancelled"])
async def test_refusal_of_a_duplicated_start(refused_start, status) -> None:
    """The first session shows a payout, so its start was not refused."""
    where, provider = await refused_start(REFUSED_TWICE)
    ended = "in_progress" if status == "pending" else "cancelled"
    provider.script[STATUS].append(session_answer(ended, payments=as_json(payout(where, status))))
    entry = await where.worker(1.0).work()
    assert (entry.step, entry.session_no) == (Step.CREATING, 2)


@pytest.mark.parametrize("look", [LOST, session_answer("error")])
async def test_a_refusing_session_that_shows_nothing(refused_start, clock, look) -> None:
    """The payout waits for it."""
    where, provider = await refused_start(REFUSED_TWICE, look)
    assert (await where.worker(4.0).work()).step is Step.REFUSED
    assert provider.bodies[STATUS] == [{"session_id": "ps_2"}, {"session_id": "ps_1"}]
    assert clock.waits == [4.0]


async def test_no_time_for_a_refusing_session(refused_start) -> None:
    """Without time, nothing is sent and nothing is written."""
    where, provider = await refused_start(REFUSED_TWICE)
    reply = reply_showing(SessionView.EMPTY, session(id_="ps_2", status="created"))
    worker = where.worker(0.0, reply)
    worker._doubtful_checks = 1
    assert (await worker.work()).step is Step.REFUSED
    assert provider.seen == []


@pytest.mark.parametrize("amount", [10_000, 1])
async def test_a_refusing_session_that_paid(refused_start, amount) -> None:
    """Money that moved in a session that was left halts all payouts."""
    where, provider = await refused_start(REFUSED_TWICE)
    one = payout(where, amount_details=Amount(amount, "usd"))
    provider.script[STATUS].append(session_answer("accepted", payments=as_json(one)))
    entry = await where.worker(10.0).work()
    assert entry.step is Step.UNKNOWN
    kind, words = await halted(where) or (None, "")
    assert kind is HaltKind.CONFLICT
    assert words.startswith(
        "the payout 'k-1' is recorded as REFUSED in ps_2; the provider: ps_1 is"
    )


@pytest.mark.parametrize(
    ("looks", "step", "session_no", "is_halted"),
    [
        (("empty", "empty"), Step.FAILED, 2, False),
        (("empty", "paid"), Step.UNKNOWN, 2, True),
        (("lost", "paid"), Step.UNKNOWN, 2, True),
        (("error", "other sum"), Step.UNKNOWN, 2, True),
        (("empty", "lost"), Step.REFUSED, 2, False),
        (("error", "empty"), Step.REFUSED, 2, False),
        (("empty", "closed"), Step.FAILED, 2, False),
        (("pending", "closed"), Step.CREATING, 3, False),
        (("pending", "cancelled"), Step.CREATING, 3, False),
    ],
)
async def test_every_refusing_session_counts(
    refused_start, looks, step, session_no, is_halted
) -> None:
    """The payout fails if all of them can be read and none of them shows a payout."""
    where, provider = await refused_start(REFUSED_THRICE, chosen="ps_3")
    for id_, look in zip(("ps_1", "ps_2"), looks, strict=True):
        amount = Amount(1 if look == "other sum" else 10_000, "usd")
        status = {"pending": "pending", "cancelled": "cancelled"}.get(look, "succeeded")
        payments = as_json(payout(where, status, amount_details=amount))
        provider.script[STATUS].append(
            {
                "lost": LOST,
                "empty": session_answer("created", id=id_),
                "closed": session_answer("cancelled", id=id_),
                "error": session_answer("error", id=id_),
                "pending": session_answer("in_progress", id=id_, payments=payments),
                "cancelled": session_answer("cancelled", id=id_, payments=payments),
            }.get(look, session_answer("accepted", id=id_, payments=payments))
        )
    entry = await where.worker(4.0).work()
    assert (entry.step, entry.session_no) == (step, session_no)
    checked = [body["session_id"] for body in provider.bodies[STATUS]]
    assert checked[:3] == ["ps_3", "ps_1", "ps_2"]
    assert (await halted(where) is not None) is is_halted


# --- Waits and leases ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("checks", "lease", "seconds", "waits"),
    [
        # Three quarters of the pause, by the jitter; it doubles up to the maximum.
        (
            StatusChecks(initial_delay_seconds=1, max_delay_seconds=4),
            30.0,
            15.0,
            [0.75, 1.5, 3, 3, 3],
        ),
        # No longer than a third of the lease.
        (StatusChecks(initial_delay_seconds=8, max_delay_seconds=8), 6.0, 7.0, [2, 2, 2]),
        # No longer than the remaining time.
        (StatusChecks(initial_delay_seconds=8, max_delay_seconds=8), 30.0, 7.0, [6, 1]),
    ],
)
async def test_the_pauses(setup, clock, checks, lease, seconds, waits) -> None:  # noqa: PLR0913, PLR0917
    """Between two status checks of a payout in progress."""
    provider = Provider(session_status=[session_answer("in_progress")])
    where = await setup(STARTED, provider, status_checks=checks, lease_seconds=lease)
    worker = where.worker(seconds, leased_until=1000.0 + lease)
    assert not worker.has_paused
    entry = await worker.work()
    assert entry.step is Step.STARTED
    assert worker.has_paused
    assert clock.waits[: len(waits)] == waits


async def test_the_pauses_between_creates_grow(setup, clock) -> None:
    """Each of them is written anew, and the pause isn't that of a new step."""
    checks = StatusChecks(initial_delay_seconds=1, max_delay_seconds=100)
    where = await setup((), Provider(session_create=[LOST] * 4), status_checks=checks)
    _ = await where.worker(8.0).work()
    assert clock.waits[:3] == [0.75, 1.5, 3.0]


async def test_the_number_of_checks_is_that_of_a_step(setup) -> None:
    """After a session was left, the next one is checked as often before it is left, too."""
    empty = [session_answer("created", id=id_) for id_ in ("ps_1", "ps_1", "ps_2", "ps_2")]
    provider = Provider(
        session_create=[session_answer("created", id="ps_2"), LOST],
        session_start_payout=[LOST],
        session_status=empty,
        session_cancel=[session_answer("cancelled", id=id_) for id_ in ("ps_1", "ps_2")],
    )
    checks = StatusChecks(initial_delay_seconds=0.1, max_delay_seconds=0.1, before_leaving=2)
    where = await setup(CHOSEN, provider, status_checks=checks)
    _ = await where.worker(2.0).work()
    checked = [body["session_id"] for body in provider.bodies[STATUS]]
    assert checked == ["ps_1", "ps_1", "ps_2", "ps_2"]


async def test_status_check_with_news_ends_the_pause(setup) -> None:
    """The next worker needn't wait."""
    where = await setup(CHOSEN)
    worker = where.worker(0.0, reply_showing(SessionView.UNDER_WAY, session()))
    worker.has_paused = True
    assert (await worker.work()).step is Step.STARTED
    assert not worker.has_paused


@pytest.mark.parametrize(
    ("told_of", "shown", "is_taken"),
    [
        ("ps_1", SessionView.PAID, True),
        ("ps_9", SessionView.PAID, False),
        ("ps_9", SessionView.MISMATCH, True),
        (None, SessionView.PAID, False),
    ],
)
async def test_webhook_during_a_pause(setup, clock, told_of, shown, is_taken) -> None:
    """Only a webhook about the current session, or about money that moved differently, counts."""
    provider = Provider(session_status=[session_answer("in_progress")])
    rung: list[Wakeup] = []

    async def sleep(seconds: float) -> None:
        wakeup = where.context.wakeups["k-1"]
        if not rung:
            of = None if told_of is None else session(payout(where), id_=told_of)
            wakeup.wake(reply_showing(shown, of))
        rung.append(wakeup)
        await clock.sleep(seconds)

    timing = sg.Timing(monotonic=clock.monotonic, sleep=sleep, random=lambda: 0.5)
    where = await setup(CONFIRMING, provider, timing=timing)
    entry = await where.worker(3.0).work()
    step = {SessionView.PAID: Step.SUCCEEDED, SessionView.MISMATCH: Step.UNKNOWN}[shown]
    assert entry.step is (step if is_taken else Step.CONFIRMED)
    assert len(rung) == 1 or not is_taken
    # One check shows the confirm, and one follows each pause without a webhook.
    assert provider.seen == [STATUS] * (len(rung) + 1) or is_taken
    assert where.context.wakeups == {}


@pytest.mark.parametrize(
    ("shown", "step"),
    [
        (SessionView.PAID, Step.SUCCEEDED),
        (SessionView.DECLINED, Step.FAILED),
        (SessionView.UNDER_WAY, Step.UNKNOWN),
    ],
)
async def test_webhook_during_a_pause_without_a_session(setup, clock, shown, step) -> None:
    """In one step, a webhook that ends the payout is the first to name its session."""

    async def sleep(seconds: float) -> None:
        of = session(payout(where), id_="ps_7")
        where.context.wakeups["k-1"].wake(reply_showing(shown, of, PayoutCall.INIT))
        await clock.sleep(seconds)

    timing = sg.Timing(monotonic=clock.monotonic, sleep=sleep, random=lambda: 0.5)
    provider = Provider(session_init_payout=[LOST])
    where = await setup(ONE_STEP, provider, Mode.ONE_STEP, timing=timing)
    not_sent = Reply(Observation(PayoutCall.INIT, ReplyKind.NOT_SENT))
    assert (await where.worker(3.0, not_sent).work()).step is step
    assert len(provider.seen) == (step is Step.UNKNOWN)


@pytest.mark.parametrize(
    ("told_of", "shown", "step"),
    [
        ("ps_1", SessionView.PAID, Step.SUCCEEDED),
        ("ps_1", SessionView.UNDER_WAY, Step.CONFIRMED),
        ("ps_9", SessionView.PAID, Step.CONFIRMED),
        ("ps_9", SessionView.MISMATCH, Step.UNKNOWN),
        (None, SessionView.PAID, Step.CONFIRMED),
    ],
)
async def test_webhook_at_the_end(setup, told_of, shown, step) -> None:
    """A webhook that ends the payout is written, because it isn't sent again."""

    def point(label: str) -> None:
        if label == "after writing confirm known":
            of = None if told_of is None else session(payout(where), id_=told_of)
            where.context.wakeups["k-1"].wake(reply_showing(shown, of))

    where = await setup(CONFIRMING, fault_point=point)
    reply = reply_showing(
        SessionView.UNDER_WAY, session(payout(where, "pending")), PayoutCall.CONFIRM
    )
    assert (await where.worker(reply=reply).work()).step is step


async def test_wakeup_of_another_worker_stays(setup) -> None:
    """The worker that took over the key still receives it."""
    other = Wakeup()

    def point(_label: str) -> None:
        where.context.wakeups["k-1"] = other

    where = await setup(CONFIRMING, fault_point=point)
    _ = await where.worker(reply=reply_showing(SessionView.PAID, session(payout(where)))).work()
    assert where.context.wakeups == {"k-1": other}


@pytest.mark.parametrize(
    ("left_seconds", "until"), [(20.0, 1020.0), (19.5, 1030.0), (25.0, 1025.0), (1.5, 1030.0)]
)
async def test_a_lease_is_renewed(setup, left_seconds, until) -> None:
    """The lease is renewed once a third of it is over, before a call is made."""
    provider = Provider(session_status=[LOST])
    where = await setup(STARTED, provider)
    worker = where.worker(5.0, leased_until=1000.0 + left_seconds)
    where.context.stop("enough")
    _ = await worker.work()
    assert provider.seen == [STATUS]
    assert worker.leased_until == until


@pytest.mark.parametrize("left_seconds", [0.0, -1.0])
async def test_a_lease_that_is_over(setup, left_seconds) -> None:
    """Nothing is sent, whatever was renewed."""
    where = await setup(STARTED)
    worker = where.worker(5.0, leased_until=1000.0 + left_seconds)
    with pytest.raises(sg.errors.LostLease) as lost:
        _ = await worker._send(PayoutCall.STATUS)
    assert (lost.value.key, lost.value.fence) == ("k-1", 1)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_no_time_for_a_call(setup, seconds) -> None:
    """The time ends while the lease lasts: nothing is sent, and nothing is lost."""
    provider = Provider(session_status=[EMPTY_SESSION])
    where = await setup(STARTED, provider)
    assert await where.worker(seconds)._send(PayoutCall.STATUS) is False
    assert provider.seen == []


@pytest.mark.parametrize(
    ("ends", "leased", "sent"), [(4.0, 30.0, 1), (30.0, 4.0, 1), (6.0, 30.0, 2), (30.0, 6.0, 2)]
)
async def test_how_long_a_call_may_take(setup, ends, leased, sent) -> None:
    """No longer than lease and time, even if the provider recommends 5 seconds."""
    provider = Provider(session_status=[TOO_MANY, EMPTY_SESSION])
    where = await setup(STARTED, provider, attempts=2)
    worker = where.worker(ends, leased_until=1000.0 + leased)
    assert await worker._send(PayoutCall.STATUS)
    assert provider.seen == [STATUS] * sent


@pytest.mark.parametrize(
    "call", [PayoutCall.CREATE, PayoutCall.START, PayoutCall.CONFIRM, PayoutCall.INIT]
)
async def test_nothing_is_paid_while_payouts_are_halted(setup, call) -> None:
    """Also if the halt came after the step was written; status checks are still made."""
    where = await setup(STARTED, provider := Provider(session_status=[EMPTY_SESSION]))
    await where.context.halt_all(HaltKind.CONFLICT, "seen")
    with pytest.raises(sg.PayoutConflict, match="seen"):
        await where.worker(5.0)._check_halt(call, Decision(NextStep.SEND, call))
    with pytest.raises(sg.PayoutConflict, match="seen"):
        _ = await where.worker(5.0)._send(call)
    status = PayoutCall.STATUS
    await where.worker(5.0)._check_halt(status, Decision(NextStep.SEND, status))
    assert await where.worker(5.0)._send(status)
    assert provider.seen == [STATUS]


@pytest.mark.parametrize("writes", [None, Event.CONFIRM_INTENDED])
async def test_a_halt_by_another_process(setup, writes) -> None:
    """A call that writes nothing before it looks for the halt; otherwise the write does."""
    where = await setup(STARTED)
    await where.context.journal.halt(Halt(kind=HaltKind.CONFLICT, reason="seen"))
    worker = where.worker(5.0)
    confirm = Decision(NextStep.SEND, PayoutCall.CONFIRM, write=writes)
    if writes is None:
        with pytest.raises(sg.PayoutConflict, match="seen"):
            await worker._check_halt(PayoutCall.CONFIRM, confirm)
    else:
        await worker._check_halt(PayoutCall.CONFIRM, confirm)
    await worker._check_halt(PayoutCall.CANCEL, Decision(NextStep.SEND, PayoutCall.CANCEL))


async def test_a_halt_before_a_repeated_call(setup) -> None:
    """A confirm that is sent again writes no event, so the halt is looked up first."""
    provider = Provider()
    where = await setup(CONFIRMING, provider)
    await where.context.journal.halt(Halt(kind=HaltKind.CONFLICT, reason="another process"))
    reply = reply_showing(SessionView.AWAITS_CONFIRM, session(payout(where, "pending")))
    with pytest.raises(sg.PayoutConflict):
        await where.worker(10.0, reply).work()
    assert provider.seen == []


async def test_which_calls_wait(setup) -> None:
    """A call that repeats one of the same step, or that the decision tells to wait."""
    provider = Provider(session_confirm=[LOST])
    worker = (await setup(STARTED, provider)).worker(5.0)
    send = Decision(NextStep.SEND, PayoutCall.CONFIRM)
    assert not worker._pauses_before(PayoutCall.CONFIRM, send)
    assert await worker._send(PayoutCall.CONFIRM)
    assert worker._pauses_before(PayoutCall.CONFIRM, send)
    assert not worker._pauses_before(PayoutCall.STATUS, send)
    assert not worker._pauses_before(PayoutCall.CONFIRM, evolve(send, write=Event.CONFIRM_INTENDED))
    assert worker._pauses_before(PayoutCall.STATUS, evolve(send, next_step=NextStep.WAIT))


@pytest.mark.parametrize(("steps", "seen"), [((), []), (CHOSEN[:1], []), (CHOSEN, [STATUS])])
async def test_a_payout_whose_order_is_not_at_hand(setup, steps, seen) -> None:
    """Its status is checked, and nothing that needs the order is sent."""
    provider = Provider(session_status=[session_answer("in_progress")])
    where = await setup(steps, provider)
    worker = where.worker(1.0, payout=evolve(where.payout, order=None))
    assert worker.needs_request is False
    _ = await worker.work()
    assert provider.seen[:1] == seen
    assert worker.needs_request is (not seen)


async def test_nothing_is_waited_for_without_the_order(setup, clock) -> None:
    """A worker with the order needn't wait until this one releases the payout."""
    where = await setup(CHOSEN[:1])
    lost = Reply(Observation(PayoutCall.CREATE, ReplyKind.LOST))
    worker = where.worker(60.0, lost, payout=evolve(where.payout, order=None))
    assert (await worker.work()).step is Step.CREATING
    assert worker.needs_request
    assert clock.waits == []
