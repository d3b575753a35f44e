"""The reply to each call of a payout, for each way in which the call can end."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

import pytest
from attrs import evolve
from paying import order
from rawserver import Peer, answer, serve
from scripted import LOST, FakeSigner, Provider, refused, session_answer, with_delays

import smartglocal_async as sg
from smartglocal_async.idempotency import Fingerprint, Mark
from smartglocal_async.journal.entries import Entry
from smartglocal_async.matching import Expected
from smartglocal_async.models.money import Amount
from smartglocal_async.payouts.calls import (
    CallLimits,
    OrderedPayout,
    Reply,
    Sender,
    fingerprint_of,
    rehearse,
)
from smartglocal_async.payouts.protocol import Mode, Observation, PayoutCall, ReplyKind, SessionView

CREATE: Final = "session/create"
START: Final = "session/start/payout"
STATUS: Final = "session/status"
CONFIRM: Final = "session/confirm"
CANCEL: Final = "session/cancel"
INIT: Final = "session/init/payout"

DIGEST: Final = "0101010101010101"
ENTRY: Final = Entry(
    key="k-1",
    mode="manual",
    fingerprint=Fingerprint((("request", b"\x01" * 8),)),
    amount=10_000,
    currency="usd",
    fence=3,
    session_id="ps_1",
    created_at=0.0,
    updated_at=0.0,
)
EXPECTED: Final = Expected(
    mark=Mark("k-1", "idempotency_key"),
    amount=Amount(10_000, "usd"),
    journal_id="journal-1",
    order=DIGEST,
)
PAYOUT: Final = OrderedPayout("k-1", EXPECTED, order())
LIMITS: Final = CallLimits(10.0, 7)
MARKS: Final = {
    "idempotency_key": "k-1",
    "payout_journal": "journal-1",
    "payout_order": DIGEST,
}
CREATED: Final = session_answer("created")
TOO_MANY: Final = answer(b"", "429 Too Many Requests", "Retry-After: 5")
MOVED: Final = answer(b"", "302 Found", "Location: http://127.0.0.1/")
ELSEWHERE: Final = {"payout_key": "k-1", "payout_journal": "another"}
USED: Final = "idempotency_key_already_exists"


def paid(status: str = "succeeded", **metadata: object) -> dict[str, Any]:
    """Return a payout as a session shows it."""
    money = {"amount": 10_000, "currency": "usd"}
    return {"id": "po_1", "status": status, "amount_details": money, "metadata": metadata or MARKS}


PAID: Final = session_answer("accepted", payments=[paid()])
OTHERS: Final = {"payout_key": "k-2", "payout_journal": "journal-1"}


@pytest.fixture
async def send(clock):
    """Return a function that makes a call at a scripted provider, once for each parameter."""

    async def make(provider: Callable[[Peer], None], act: Any, attempts: int = 1) -> Any:
        policy = sg.RetryPolicy(attempts=attempts)
        settings = sg.Settings(timing=clock.timing(), retry=policy)
        with serve(provider) as server:
            async with sg.SmartGlocal("demo", FakeSigner(), server.url, settings=settings) as api:
                return await act(Sender(api._caller, "journal-1"))

    return make


def calling(
    call: PayoutCall,
    entry: Entry = ENTRY,
    limits: CallLimits = LIMITS,
    payout: OrderedPayout = PAYOUT,
) -> Any:
    """Return a function that makes a call with a sender."""
    return lambda sender: sender.send(call, entry, payout, limits)


def reply_parts(
    came: Observation, session: str | None, code: str | None, reason: str | None
) -> Any:
    """Return the parts of a reply that are compared."""
    return came, session, code, reason


def expected_parts(reply_parts: Reply) -> Any:
    """Return the expected parts of a reply."""
    session = None if reply_parts.session is None else reply_parts.session.id
    return reply_parts.observation, session, reply_parts.code, reply_parts.reason


# --- Answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "line", "shown"),
    [
        (PayoutCall.CREATE, CREATED, SessionView.EMPTY),
        (
            PayoutCall.CREATE,
            session_answer("created", metadata={"payout_key": "k-1"}),
            SessionView.EMPTY,
        ),
        (PayoutCall.CREATE, session_answer("created", metadata=ELSEWHERE), SessionView.MISMATCH),
        (
            PayoutCall.CREATE,
            session_answer("accepted", payments=[paid(**ELSEWHERE)]),
            SessionView.MISMATCH,
        ),
        (PayoutCall.START, PAID, SessionView.PAID),
        (
            PayoutCall.START,
            session_answer(payments=[paid("pending")], next_action="confirm"),
            SessionView.AWAITS_CONFIRM,
        ),
        (PayoutCall.STATUS, CREATED, SessionView.EMPTY),
        (PayoutCall.STATUS, session_answer("created", metadata=OTHERS), SessionView.MISMATCH),
        (PayoutCall.CONFIRM, PAID, SessionView.PAID),
        (PayoutCall.CANCEL, session_answer("cancelled"), SessionView.CLOSED),
        (PayoutCall.INIT, PAID, SessionView.PAID),
        (
            PayoutCall.INIT,
            session_answer("accepted", payments=[paid(**ELSEWHERE)]),
            SessionView.MISMATCH,
        ),
        (
            PayoutCall.INIT,
            session_answer("accepted", payments=[paid(), paid("failed", **OTHERS)]),
            SessionView.PAID,
        ),
        (
            PayoutCall.INIT,
            session_answer("accepted", payments=[paid(), paid(**OTHERS)]),
            SessionView.MISMATCH,
        ),
    ],
)
async def test_an_answer(send, call, line, shown) -> None:
    """The answer is read from the session, which is part of the reply."""
    provider = Provider(**{call.value.replace("/", "_"): [line]})
    came = await send(provider, calling(call))
    assert expected_parts(came) == reply_parts(
        Observation(call, ReplyKind.ANSWERED, shown), "ps_1", None, None
    )
    assert provider.seen == [call.value]


@pytest.mark.parametrize("call", [PayoutCall.CREATE, PayoutCall.INIT])
@pytest.mark.parametrize(
    "line",
    [
        session_answer("created", metadata=OTHERS),
        session_answer("created", metadata={"payout_key": "k-1", "payout_order": "another"}),
        session_answer("created", payments=[paid(**OTHERS)]),
    ],
)
async def test_an_answer_about_another_payout(send, call, line) -> None:
    """An answer about another payout is none: the effect of the call isn't known."""
    provider = Provider(**{call.value.replace("/", "_"): [line]})
    came = await send(provider, calling(call))
    words = f"the answer of {call.value} is about another payout"
    assert expected_parts(came) == reply_parts(Observation(call, ReplyKind.LOST), None, None, words)


@pytest.mark.parametrize(
    "line",
    [
        CREATED,
        session_answer("created", metadata="order-123"),
        session_answer("in_progress", metadata={"invoice": 5}),
        session_answer("in_progress", payments=[{"id": "po_1", "status": "in_progress"}]),
        session_answer("cancelled"),
    ],
)
async def test_an_init_that_shows_no_payout_of_ours(send, line) -> None:
    """The session may be another order's: its id isn't kept, and its end proves nothing."""
    came = await send(Provider(session_init_payout=[line]), calling(PayoutCall.INIT))
    words = "the answer of session/init/payout shows no payout with the metadata of this one"
    observation = Observation(PayoutCall.INIT, ReplyKind.LOST)
    assert expected_parts(came) == reply_parts(observation, None, None, words)


async def test_an_init_that_shows_unproven_money(send) -> None:
    """An accepted session without metadata moved money: that halts payouts."""
    unmarked = {**paid(), "metadata": None}
    line = session_answer("accepted", payments=[unmarked])
    came = await send(Provider(session_init_payout=[line]), calling(PayoutCall.INIT))
    assert came.observation.shown is SessionView.MISMATCH


# --- Failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "line", "came", "code", "reason"),
    [
        # May have been carried out.
        (PayoutCall.CREATE, refused("provider_timeout"), ReplyKind.LOST, "provider_timeout", "why"),
        (PayoutCall.CREATE, refused(USED), ReplyKind.LOST, USED, "why"),
        (PayoutCall.START, refused("provider_timeout"), ReplyKind.LOST, "provider_timeout", "why"),
        (PayoutCall.START, refused("brand_new"), ReplyKind.LOST, "brand_new", "why"),
        (PayoutCall.STATUS, refused("provider_timeout"), ReplyKind.LOST, "provider_timeout", "why"),
        (
            PayoutCall.CONFIRM,
            refused("provider_timeout"),
            ReplyKind.LOST,
            "provider_timeout",
            "why",
        ),
        (PayoutCall.INIT, refused("provider_timeout"), ReplyKind.LOST, "provider_timeout", "why"),
        # The key was used before.
        (PayoutCall.CONFIRM, refused(USED), ReplyKind.DUPLICATE, USED, "why"),
        (PayoutCall.CANCEL, refused(USED), ReplyKind.DUPLICATE, USED, "why"),
        (PayoutCall.INIT, refused(USED), ReplyKind.DUPLICATE, USED, "why"),
        # Refused.
        (
            PayoutCall.STATUS,
            refused("account_not_found"),
            ReplyKind.REFUSED,
            "account_not_found",
            "why",
        ),
        (
            PayoutCall.CONFIRM,
            refused("invalid_request"),
            ReplyKind.REFUSED,
            "invalid_request",
            "why",
        ),
        (
            PayoutCall.INIT,
            refused("account_not_found"),
            ReplyKind.REFUSED,
            "account_not_found",
            "why",
        ),
        # By something before the provider, so it says nothing about the payout.
        *(
            (
                call,
                MOVED,
                ReplyKind.REFUSED,
                None,
                "a redirect, which is never followed: check the server, HTTP 302",
            )
            for call in (PayoutCall.STATUS, PayoutCall.CONFIRM, PayoutCall.CANCEL)
        ),
        # Temporary.
        *(
            (
                call,
                TOO_MANY,
                # It may be the answer to another call.
                ReplyKind.LOST
                if call in {PayoutCall.START, PayoutCall.INIT}
                else ReplyKind.NOT_SENT,
                None,
                "too many requests for now (an empty answer), HTTP 429",
            )
            for call in PayoutCall
        ),
        # A cancel that was answered with an unlisted code was refused; its status shows more.
        (PayoutCall.CANCEL, refused("brand_new", 400), ReplyKind.REFUSED, "brand_new", "why"),
        (PayoutCall.CANCEL, refused("brand_new", 409), ReplyKind.REFUSED, "brand_new", "why"),
        (PayoutCall.CANCEL, refused("brand_new", 500), ReplyKind.LOST, "brand_new", "why"),
        (PayoutCall.CANCEL, refused("brand_new", 502), ReplyKind.LOST, "brand_new", "why"),
        (
            PayoutCall.CANCEL,
            refused("provider_timeout", 400),
            ReplyKind.LOST,
            "provider_timeout",
            "why",
        ),
        (PayoutCall.CANCEL, refused(None, 409), ReplyKind.LOST, None, "why"),
        (PayoutCall.STATUS, refused("brand_new", 409), ReplyKind.LOST, "brand_new", "why"),
        (PayoutCall.CONFIRM, refused("brand_new", 409), ReplyKind.LOST, "brand_new", "why"),
    ],
)
async def test_a_failure(send, call, line, came, code, reason) -> None:  # noqa: PLR0913, PLR0917
    """The reply shows whether the call may have had an effect, with the provider's message."""
    provider = Provider(**{call.value.replace("/", "_"): [line]})
    failed = await send(provider, calling(call))
    assert expected_parts(failed) == reply_parts(Observation(call, came), None, code, reason)
    assert provider.seen == [call.value]


async def test_an_error_without_words(send) -> None:
    """Without a message, the reply names the call and the code."""
    provider = Provider(session_init_payout=[refused("account_not_found", 400, None)])
    failed = await send(provider, calling(PayoutCall.INIT))
    words = (
        "session/init/payout: refused; the provider answered 'account_not_found': -; HTTP 400; "
        "key k-1; 1 attempt in 0.000 s"
    )
    assert expected_parts(failed) == reply_parts(
        Observation(PayoutCall.INIT, ReplyKind.REFUSED), None, "account_not_found", words
    )


@pytest.mark.parametrize(
    ("call", "line"),
    [
        *(
            (call, refused(code))
            for call in PayoutCall
            for code in ("authentication_error", "identification_error", "authorization_error")
        ),
        *((call, MOVED) for call in (PayoutCall.CREATE, PayoutCall.START, PayoutCall.INIT)),
    ],
)
async def test_refusal_of_the_client_is_raised(send, call, line) -> None:
    """A refusal that concerns the client is raised, because every payout would get it."""
    provider = Provider(**{call.value.replace("/", "_"): [line]})
    with pytest.raises(sg.Refused):
        _ = await send(provider, calling(call))
    assert provider.seen == [call.value]


# --- A refused create ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (
            refused("bank_card_expired", 400, "again"),
            reply_parts(
                Observation(PayoutCall.CREATE, ReplyKind.REFUSED),
                None,
                "bank_card_expired",
                "again",
            ),
        ),
        (
            CREATED,
            reply_parts(
                Observation(PayoutCall.CREATE, ReplyKind.ANSWERED, SessionView.EMPTY),
                "ps_1",
                None,
                None,
            ),
        ),
        (
            refused("provider_timeout"),
            reply_parts(
                Observation(PayoutCall.CREATE, ReplyKind.LOST), None, "provider_timeout", "why"
            ),
        ),
    ],
)
async def test_a_refused_create_is_sent_again(send, second, expected) -> None:
    """It is sent again once, under another key, and the second answer counts."""
    provider = Provider(session_create=[refused("account_not_found"), second])
    assert expected_parts(await send(provider, calling(PayoutCall.CREATE))) == expected
    keys = [body["metadata"]["idempotency_key"] for body in provider.bodies[CREATE]]
    assert keys == ["k-1:3.7", "k-1:3.7.2"]


@pytest.mark.parametrize("seconds", [10.0, 10.5])
async def test_a_refused_create_that_came_late(send, clock, seconds) -> None:
    """After the deadline nothing is sent, and one refusal doesn't fail a payout."""
    provider = Provider(session_create=[refused("account_not_found")])
    late = with_delays(provider, clock, session_create=seconds)
    expected = reply_parts(
        Observation(PayoutCall.CREATE, ReplyKind.LOST), None, "account_not_found", "why"
    )
    assert expected_parts(await send(late, calling(PayoutCall.CREATE))) == expected
    assert provider.seen == [CREATE]


@pytest.mark.parametrize(("seconds", "sent"), [(5.5, 2), (4.0, 3), (9.0, 2)])
async def test_how_long_a_second_create_may_take(send, clock, seconds, sent) -> None:
    """Both calls together take at most the limit of one, whatever the provider recommends."""
    clock.now = 1000.0
    script = [refused("account_not_found"), TOO_MANY, CREATED]
    provider = Provider(session_create=script)
    act = calling(PayoutCall.CREATE)

    lines = iter(script)  # Over all connections: one isn't used again after an error.

    def play(peer: Peer) -> None:
        while True:
            body = peer.read_request()
            provider.bodies[CREATE].append(body)
            clock.now += seconds if len(provider.bodies[CREATE]) == 1 else 0.0
            peer.send(next(lines))

    _ = await send(play, act, attempts=2)
    assert len(provider.bodies[CREATE]) == sent


# --- A refused start -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "came"), [("account_not_found", ReplyKind.REFUSED), (USED, ReplyKind.DUPLICATE)]
)
@pytest.mark.parametrize(
    ("look", "shown"),
    [
        (CREATED, SessionView.EMPTY),
        (PAID, SessionView.PAID),
        (session_answer(), SessionView.UNDER_WAY),
    ],
)
async def test_status_after_a_refused_start(send, code, came, look, shown) -> None:
    """The reply has the session and what it shows."""
    provider = Provider(session_start_payout=[refused(code)], session_status=[look])
    refusal = await send(provider, calling(PayoutCall.START))
    assert expected_parts(refusal) == reply_parts(
        Observation(PayoutCall.START, came, shown), "ps_1", code, "why"
    )
    assert provider.seen == [START, STATUS]
    assert provider.bodies[STATUS] == [{"session_id": "ps_1"}]


@pytest.mark.parametrize("look", [LOST, refused("invalid_request"), session_answer(id="ps_9")])
@pytest.mark.parametrize("code", ["account_not_found", USED])
async def test_refused_start_without_a_status(send, code, look) -> None:
    """Without a status the refusal isn't final: a duplicate may have been accepted."""
    provider = Provider(session_start_payout=[refused(code)], session_status=[look])
    refusal = await send(provider, calling(PayoutCall.START))
    assert expected_parts(refusal) == reply_parts(
        Observation(PayoutCall.START, ReplyKind.LOST), None, code, "why"
    )
    assert provider.seen == [START, STATUS]


@pytest.mark.parametrize("seconds", [10.0, 10.5])
async def test_a_refused_start_that_came_late(send, clock, seconds) -> None:
    """After the deadline no status check is made."""
    clock.now = 1000.0
    provider = Provider(session_start_payout=[refused("account_not_found")], session_status=[PAID])
    late = with_delays(provider, clock, session_start_payout=seconds)
    refusal = await send(late, calling(PayoutCall.START))
    expected = reply_parts(
        Observation(PayoutCall.START, ReplyKind.LOST), None, "account_not_found", "why"
    )
    assert expected_parts(refusal) == expected
    assert provider.seen == [START]


@pytest.mark.parametrize(("seconds", "looks"), [(5.5, 1), (4.0, 2), (9.0, 1)])
async def test_time_limit_of_the_status_check(send, clock, seconds, looks) -> None:
    """Both calls together take at most the limit, even if the provider recommends 5 seconds."""
    clock.now = 1000.0
    provider = Provider(
        session_start_payout=[refused("account_not_found")], session_status=[TOO_MANY, CREATED]
    )
    late = with_delays(provider, clock, session_start_payout=seconds)
    _ = await send(late, calling(PayoutCall.START), attempts=2)
    assert provider.seen == [START, *[STATUS] * looks]


# --- Keys and bodies -----------------------------------------------------------------------------


def header(provider: Provider, path: str) -> list[str]:
    """Return the keys in the headers of the calls of a kind."""
    name = b"x-partner-idempotency-key: "
    lines = [line for head in provider.heads[path] for line in head.split(b"\r\n")]
    return [line[len(name) :].decode() for line in lines if line.lower().startswith(name)]


@pytest.mark.parametrize(
    ("call", "session_no", "keys"),
    [
        (PayoutCall.CREATE, 2, []),
        (PayoutCall.START, 0, ["k-1/start/payout"]),
        (PayoutCall.START, 1, ["k-1/start/payout"]),
        (PayoutCall.START, 2, ["k-1/start/payout/2"]),
        (PayoutCall.START, 3, ["k-1/start/payout/3"]),
        (PayoutCall.STATUS, 2, []),
        (PayoutCall.CONFIRM, 0, ["k-1:0/confirm"]),
        (PayoutCall.CONFIRM, 2, ["k-1:2/confirm"]),
        (PayoutCall.INIT, 0, ["k-1"]),
    ],
)
async def test_the_key_in_the_header(send, call, session_no, keys) -> None:
    """Starts in two sessions share a key; confirms have one key for each session."""
    provider = Provider(**{call.value.replace("/", "_"): [CREATED]})
    _ = await send(provider, calling(call, evolve(ENTRY, session_no=session_no)))
    assert header(provider, call.value) == keys


async def test_each_cancel_has_a_key_of_its_own(send) -> None:
    """A refused cancel must not be the answer to the next one."""
    provider = Provider(session_cancel=[CREATED])
    for _ in range(2):
        _ = await send(provider, calling(PayoutCall.CANCEL))
    first, second = header(provider, CANCEL)
    assert first != second


@pytest.mark.parametrize(("digest", "mark"), [(DIGEST, DIGEST), (None, "0000000000000000")])
async def test_the_bodies(send, digest, mark) -> None:
    """The bodies have key, journal and order digest; without a digest, zeros are sent."""
    script = {call.value.replace("/", "_"): [CREATED] for call in PayoutCall}
    provider = Provider(**script)
    payout = evolve(PAYOUT, expected=evolve(EXPECTED, order=digest))
    entry = evolve(ENTRY, session_no=1)
    for call in PayoutCall:
        _ = await send(provider, calling(call, entry, payout=payout))
    assert provider.bodies[CREATE][0]["metadata"] == {
        "invoice": 7,
        "payout_key": "k-1",
        "payout_journal": "journal-1",
        "payout_order": mark,
        "idempotency_key": "k-1:3.7",
    }
    assert provider.bodies[START][0]["metadata"] == {
        "invoice": 7,
        "payout_journal": "journal-1",
        "payout_order": mark,
        "payout_session": 1,
        "idempotency_key": "k-1",
    }
    assert provider.bodies[INIT][0]["metadata"] == {
        "invoice": 7,
        "payout_journal": "journal-1",
        "payout_order": mark,
        "idempotency_key": "k-1",
    }
    for path in (STATUS, CONFIRM, CANCEL):
        assert provider.bodies[path] == [{"session_id": "ps_1"}]


async def test_one_key_in_two_sessions(send) -> None:
    """The journal decides whether a key may be used again, not the client's memory."""
    provider = Provider(session_start_payout=[session_answer(), session_answer(id="ps_2")])

    async def both(sender: Sender) -> list[Reply]:
        entries = ENTRY, evolve(ENTRY, session_id="ps_2", session_no=1)
        return [await sender.send(PayoutCall.START, entry, PAYOUT, LIMITS) for entry in entries]

    first, second = await send(provider, both)
    assert expected_parts(first) == reply_parts(
        Observation(PayoutCall.START, ReplyKind.ANSWERED, SessionView.UNDER_WAY), "ps_1", None, None
    )
    assert expected_parts(second) == reply_parts(
        Observation(PayoutCall.START, ReplyKind.ANSWERED, SessionView.UNDER_WAY), "ps_2", None, None
    )


@pytest.mark.parametrize(("seconds", "sent"), [(4.5, 1), (6.0, 2)])
async def test_how_long_a_call_may_take(send, seconds, sent) -> None:
    """A call waits the recommended 5 seconds if there is time and the call can't pay."""
    script = {call.value.replace("/", "_"): [TOO_MANY, CREATED] for call in PayoutCall}
    for call in PayoutCall:
        provider = Provider(**script)
        limits = CallLimits(seconds, 1)
        _ = await send(provider, calling(call, limits=limits), attempts=2)
        may_pay = call in {PayoutCall.START, PayoutCall.CONFIRM, PayoutCall.INIT}
        assert provider.seen == [call.value] * (1 if may_pay else sent)


# --- Other calls ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "shown"), [(PAID, "ps_1"), (LOST, None), (refused("invalid_request"), None)]
)
async def test_status_of_a_session(send, line, shown) -> None:
    """The session, or None if it can't be read."""
    provider = Provider(session_status=[line])
    looked = await send(provider, lambda sender: sender.check_session("ps_1", PAYOUT, 10.0))
    assert (None if looked.session is None else looked.session.id) == shown
    assert looked.observation == (
        Observation(PayoutCall.STATUS, ReplyKind.ANSWERED, SessionView.PAID)
        if shown
        else Observation(PayoutCall.STATUS, ReplyKind.LOST)
    )
    assert provider.bodies[STATUS] == [{"session_id": "ps_1"}]


@pytest.mark.parametrize("line", [session_answer("cancelled"), LOST, refused("invalid_request")])
async def test_a_cancel_of_a_session_that_was_left(send, line) -> None:
    """Whatever the result is, nothing is raised."""
    provider = Provider(session_cancel=[line])
    assert await send(provider, lambda sender: sender.cancel("ps_1", 10.0)) is None
    assert provider.bodies[CANCEL] == [{"session_id": "ps_1"}]


@pytest.mark.parametrize(("seconds", "sent"), [(4.5, 1), (6.0, 2)])
async def test_how_long_these_may_take(send, seconds, sent) -> None:
    """These calls take at most the time that they were given."""
    provider = Provider(session_status=[TOO_MANY, CREATED], session_cancel=[TOO_MANY, CREATED])
    _ = await send(
        provider, lambda sender: sender.check_session("ps_1", PAYOUT, seconds), attempts=2
    )
    _ = await send(provider, lambda sender: sender.cancel("ps_1", seconds), attempts=2)
    assert provider.seen == [*[STATUS] * sent, *[CANCEL] * sent]


async def test_a_webhook_is_read_like_a_status(send) -> None:
    """A webhook is read by the same rules as a status."""

    async def hear(sender: Sender) -> list[Reply]:
        looked = await sender.send(PayoutCall.STATUS, ENTRY, PAYOUT, LIMITS)
        assert looked.session is not None
        return [looked, sender.webhook_reply(looked.session, PAYOUT)]

    looked, webhook = await send(Provider(session_status=[PAID]), hear)
    assert webhook == looked
    assert expected_parts(webhook) == reply_parts(
        Observation(PayoutCall.STATUS, ReplyKind.ANSWERED, SessionView.PAID), "ps_1", None, None
    )


# --- Preparation ---------------------------------------------------------------------------------

CARD: Final = sg.BankCard(
    number="4242424242424242", expiration_month="01", expiration_year="30", security_code="123"
)


@pytest.mark.parametrize(
    ("paid_out", "last4"),
    [(None, None), (order(), None), (order(payment_method=CARD), "4242")],
)
async def test_a_job(send, paid_out, last4) -> None:
    """The expected payout comes from the entry, the card from the order."""

    async def make(sender: Sender) -> OrderedPayout:
        return sender.ordered(ENTRY, paid_out)

    payout = await send(Provider(), make)
    assert payout == OrderedPayout("k-1", evolve(EXPECTED, last4=last4), paid_out)


@pytest.mark.parametrize(
    ("mode", "paid_out", "problem"),
    [
        (Mode.ONE_STEP, order(participant_details=None), "participant_details"),
        (Mode.MANUAL, order(metadata={"idempotency_key": "k-9"}), "idempotency_key"),
        (Mode.ONE_STEP, order(metadata={"idempotency_key": "k-9"}), "idempotency_key"),
    ],
)
async def test_an_order_that_can_not_be_sent(send, mode, paid_out, problem) -> None:
    """An invalid order is refused before anything is written."""

    async def check(sender: Sender) -> None:
        sender.check(paid_out, mode)

    with pytest.raises(sg.InvalidRequest, match=problem):
        await send(Provider(), check)


@pytest.mark.parametrize("mode", Mode)
async def test_an_order_that_goes_against_advice(send, mode) -> None:
    """A warning, which may be made an error, comes before anything is written."""
    jane = sg.Participant(full_name="Jane Roe", currency="zzz")
    advised = order(participant_details=sg.ParticipantDetails(recipient=jane))

    async def check(sender: Sender) -> None:
        sender.check(advised, mode)

    with pytest.raises(sg.RuleBroken, match=r"participant_details\.recipient\.currency"):
        await send(Provider(), check)


async def test_dry_run(send) -> None:
    """A dry run returns the bodies of create and start, and sends nothing."""

    async def make(sender: Sender) -> list[Any]:
        create, start = sender.rehearsal(order())
        return [json.loads(await body.as_bytes()) for body in (create, start)]

    provider = Provider()
    create, start = await send(provider, make)
    no_order = "0000000000000000"
    assert {**create, "metadata": {**create["metadata"], "idempotency_key": None}} == {
        "metadata": {
            "invoice": 7,
            "payout_key": "k-1",
            "payout_journal": "journal-1",
            "payout_order": no_order,
            "idempotency_key": None,
        }
    }
    assert start == {
        "session_id": "-",
        "payment_method": {
            "type": "card",
            "card": {"type": "encrypted_card", "encrypted_card": {"number_hash": "hash"}},
        },
        "amount_details": {"amount": 10_000, "currency": "usd"},
        "participant_details": {"recipient": {"full_name": "Jane Roe"}},
        "metadata": {
            "invoice": 7,
            "payout_journal": "journal-1",
            "payout_order": no_order,
            "payout_session": 0,
            "idempotency_key": "k-1",
        },
    }
    assert provider.seen == []


async def test_dry_run_of_an_invalid_order(send) -> None:
    """A dry run of an invalid order raises its error."""

    async def make(sender: Sender) -> Any:
        return sender.rehearsal(order(metadata={"payout_session": object()}))

    with pytest.raises(sg.InvalidRequest, match="metadata"):
        await send(Provider(), make)


def test_the_fingerprint_of_an_order() -> None:
    """The fingerprint differs with the order and with the secret."""
    one = fingerprint_of(order(), b"secret")
    assert one == fingerprint_of(order(), b"secret")
    assert one.differing_fields(fingerprint_of(order(amount=1), b"secret")) == (
        "amount_details.amount",
    )
    assert one != fingerprint_of(order(), b"another")


class CountingSigner(FakeSigner):
    """A signer that keeps what it signed, and how many signatures were made at once."""

    def __init__(self) -> None:
        super().__init__()
        self.signed: list[bytes] = []
        self.at_once = self.most_at_once = 0

    async def sign(self, body: bytes) -> str:
        """Sign after a turn of the event loop."""
        self.signed.append(body)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return await super().sign(body)


async def test_a_rehearsal_signs_every_request_and_sends_none() -> None:
    """Two requests for each order, sixteen orders at once; the bodies are those of a payout."""
    signer, orders = CountingSigner(), [order(f"k-{n}") for n in range(40)]
    with serve(Provider()) as server:
        async with sg.SmartGlocal("demo", signer, server.url) as api:
            counts = [count async for count in rehearse(api, orders)]
        assert server.requests == []
    assert counts == [2] * 40
    assert (len(signer.signed), signer.most_at_once) == (80, 16)
    starts = [json.loads(body) for body in signer.signed if b"amount_details" in body]
    keys = [start["metadata"]["idempotency_key"] for start in starts]
    assert sorted(keys) == sorted(one.key for one in orders)


async def test_a_rehearsal_of_an_order_that_can_not_be_sent() -> None:
    """The order is refused, as by a payout."""
    large, settings = order("k-1", metadata={"note": "x" * 900}), sg.Settings(max_request_bytes=900)
    url = "http://127.0.0.1:9"
    async with sg.SmartGlocal("demo", FakeSigner(), url, settings=settings) as api:
        with pytest.raises(sg.InvalidRequest, match="max_request_bytes"):
            _ = [count async for count in rehearse(api, [order("k-0"), large])]
