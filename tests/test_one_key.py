"""One key, one request, over real connections: which keys are remembered, and for how long."""

import asyncio
import contextlib
import itertools
import re
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import aiohttp
import pytest
from attrs import evolve
from paying import QUICK
from rawserver import Peer, answer, closed_port, good, serve

import smartglocal_async as sg

CREATE: Final = sg.CreateSession(amount_details=sg.AmountDetails(10_000, "usd"))

PAYMENT: Final = sg.InitPayment(
    payment_details=sg.Recurrent(token="token"),  # noqa: S106 - of no card
    amount_details=sg.AmountDetails(10_000, "usd"),
    customer=sg.Customer(reference="c"),
)
START: Final = sg.StartPayout(session_id="ps_1")
START_PAYMENT: Final = sg.StartPayment(session_id="ps_1")


def init(amount: int = 10_000) -> sg.InitPayout:
    """Return a payout in one call."""
    return sg.InitPayout(
        payment_method=sg.EncryptedCard(number_hash="hash"),
        amount_details=sg.AmountDetails(amount, "usd"),
        participant_details=sg.ParticipantDetails(recipient=sg.Participant(full_name="Jane Roe")),
    )


class FakeSigner:
    """A signer that does no work."""

    async def sign(self, body: bytes) -> str:
        """Return a constant signature."""
        del body
        return "c3RhbXA="


def client(url: str, **options: Any) -> sg.SmartGlocal:
    """Return a client without signatures and with short waits."""
    return sg.SmartGlocal("demo", FakeSigner(), url, **{"settings": QUICK, **options})


def loses_payouts(peer: Peer) -> None:
    """Answer creates; read everything else, and break the connection."""
    while peer.read_request():
        head, _ = peer.server.requests[-1]
        if b"/session/create " not in head:
            peer.reset()
            return
        peer.send(answer())


def sent(server: Any, path: str) -> int:
    """Count the requests of a call."""
    return sum(f"/{path} ".encode() in head for head, _ in server.requests)


# Keys of payouts are stored separately.


@pytest.mark.parametrize("call", ["init_payout", "init_payment"])
async def test_a_lost_payout_is_remembered_behind_any_number_of_creates(call) -> None:
    """The second one isn't sent, though more keys were used meanwhile than are remembered."""
    request: Any = PAYMENT if call == "init_payment" else init()
    settings = sg.Settings(timing=QUICK.timing, remembered_keys=5)
    with serve(loses_payouts) as server:
        async with client(server.url, settings=settings) as api:
            with pytest.raises(sg.OutcomeUnknown):
                await getattr(api.session, call)(request, key="pay-1")
            for number in range(20):
                await api.session.create(CREATE, key=f"create-{number}")
            with pytest.raises(sg.OutcomeUnknown, match="with this key was sent") as caught:
                await getattr(api.session, call)(request, key="pay-1")
        assert sent(server, f"session/{call.replace('_', '/')}") == 1
        assert sent(server, "session/create") == 20
    assert caught.value.attempts == 0


async def test_the_same_for_a_call_that_has_no_method() -> None:
    """A free call moves money unless it is declared otherwise."""
    settings = sg.Settings(timing=QUICK.timing, remembered_keys=2)
    with serve(loses_payouts) as server:
        async with client(server.url, settings=settings) as api:
            for _ in range(2):
                with pytest.raises(sg.OutcomeUnknown):
                    await api.call("session/multi/init", {"amount": 1}, key="pay-1")
                for number in range(5):
                    await api.session.create(CREATE, key=f"create-{number}")
        assert sent(server, "session/multi/init") == 1


async def test_a_refused_payout_frees_its_key() -> None:
    """It had no effect, so a corrected request may use the key."""
    refusal = b'{"status":"error","error":{"code":"invalid_request","description":"no"}}'

    def refuse(peer: Peer) -> None:
        while peer.read_request():
            peer.send(answer(refusal))

    with serve(refuse) as server:
        async with client(server.url) as api:
            for amount in (1, 2):
                with pytest.raises(sg.Refused):
                    await api.session.init_payout(init(amount), key="pay-1")
        assert sent(server, "session/init/payout") == 2


# A key belongs to its request once the request is sent.


@contextlib.asynccontextmanager
async def own_session(kind: str, gate: asyncio.Event) -> Any:
    """Return a session of the caller's whose code waits when a call is cancelled."""

    async def slow(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        try:
            return await handler(request)
        except asyncio.CancelledError:
            await gate.wait()
            raise

    async def traced(*_arguments: Any) -> None:
        await gate.wait()

    trace = aiohttp.TraceConfig()
    if kind == "tracer":
        trace.on_request_exception.append(traced)
    middlewares = (slow,) if kind == "middleware" else ()
    async with aiohttp.ClientSession(trace_configs=[trace], middlewares=middlewares) as session:
        yield session


def with_amount(api: sg.SmartGlocal, call: str, amount: int) -> Awaitable[Any]:
    """Make a call that moves money, with this amount, always under the same key."""
    usd = sg.AmountDetails(amount, "usd")
    if call == "init_payout":
        return api.session.init_payout(init(amount), key="pay-1")
    if call == "init_payment":
        return api.session.init_payment(evolve(PAYMENT, amount_details=usd), key="pay-1")
    return api.call("session/multi/init", {"amount_details": {"amount": amount}}, key="pay-1")


@pytest.mark.parametrize("call", ["init_payout", "init_payment", "a call without a method"])
@pytest.mark.parametrize("kind", ["plain", "middleware", "tracer"])
async def test_a_cancelled_payout_keeps_its_key(kind, call) -> None:
    """Whatever the caller's session does on cancellation, another amount is refused."""
    arrived, gate = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def silent(peer: Peer) -> None:
        peer.read_request()
        loop.call_soon_threadsafe(arrived.set)
        peer.hold()

    with serve(silent) as server:
        async with own_session(kind, gate) as session:
            pool = sg.SessionPool(session=session)
            async with client(server.url, pool=pool) as api, pool:
                first = asyncio.ensure_future(with_amount(api, call, 1))
                await arrived.wait()
                first.cancel()
                for _ in range(5):
                    await asyncio.sleep(0)
                with pytest.raises(sg.KeyReused, match="amount_details"):
                    await with_amount(api, call, 2)
                gate.set()
                with contextlib.suppress(asyncio.CancelledError):
                    await first
                with pytest.raises(sg.OutcomeUnknown, match="with this key was sent"):
                    await with_amount(api, call, 1)
        assert len(server.requests) == 1


async def test_a_payout_cancelled_before_it_left_frees_its_key() -> None:
    """Nothing was sent, so nothing is remembered."""
    signing = asyncio.Event()

    class Slow:
        calls = 0

        async def sign(self, body: bytes) -> str:
            del body
            self.calls += 1
            if self.calls == 1:
                signing.set()
                await asyncio.Event().wait()
            return "c3RhbXA="

    with serve(good) as server:
        async with sg.SmartGlocal("demo", Slow(), server.url, settings=QUICK) as api:
            first = asyncio.ensure_future(api.session.init_payout(init(1), key="pay-1"))
            await signing.wait()
            first.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await first
            _ = await api.session.init_payout(init(2), key="pay-1")
        assert len(server.requests) == 1


async def test_payout_without_a_connection_frees_its_key() -> None:
    """A refused connection carries no data."""
    with closed_port() as url:
        async with client(url) as api:
            for amount in (1, 2):
                with pytest.raises(sg.NotSent):
                    await api.session.init_payout(init(amount), key="pay-1")


# Joined calls.


async def test_joined_call_keeps_its_own_deadline() -> None:
    """A joined call that times out doesn't say that nothing was sent."""
    arrived, may_answer = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def patient(peer: Peer) -> None:
        peer.read_request()
        loop.call_soon_threadsafe(arrived.set)
        asyncio.run_coroutine_threadsafe(may_answer.wait(), loop).result(30)
        peer.send(answer())
        peer.hold()

    with serve(patient) as server:
        async with client(server.url) as api:
            first = asyncio.ensure_future(api.session.create(CREATE, key="create-1"))
            await arrived.wait()
            with pytest.raises(sg.OutcomeUnknown, match="is in progress") as caught:
                await api.session.create(CREATE, key="create-1", deadline=1e-9)
            may_answer.set()
            session = await first
        assert (session.id, len(server.requests)) == ("ps_1", 1)
    assert (caught.value.stopped_by, caught.value.attempts) == ("deadline", 0)


# Headers.


KEYS: Final = ["\u00e9", "%C3%A9", "%25C3%25A9", "a/confirm", "a%2Fconfirm", "a b", "a%20b", "a"]


async def test_no_two_keys_share_a_header() -> None:
    """Whatever characters they have, and for whichever call they are used."""
    settings = sg.Settings(timing=QUICK.timing, idempotency_header=sg.HeaderUse.ALWAYS)
    with serve(good) as server:
        async with client(server.url, settings=settings) as api:
            for key in KEYS:
                _ = await api.session.create(CREATE, key=key)
            _ = await api.session.confirm(sg.SessionRef("ps_1"), key="a")
        heads = [head.decode() for head, _ in server.requests]
    found = [re.search(r"(?i)x-partner-idempotency-key: (.*)", head) for head in heads]
    assert [each[1].strip() for each in found if each is not None] == [
        "%C3%A9",
        "%25C3%25A9",
        "%2525C3%2525A9",
        "a%2Fconfirm",
        "a%252Fconfirm",
        "a b",
        "a%2520b",
        "a",
        "a/confirm",
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"Content-Type": "text/plain"}},
        {"headers": {"content-type": "application/x-www-form-urlencoded"}},
        {"skip_auto_headers": {"Content-Type"}},
        {},
    ],
)
async def test_the_content_type_is_ours(options) -> None:
    """A default header of the caller's session doesn't change the content type."""
    with serve(good) as server:
        async with aiohttp.ClientSession(**options) as session:
            pool = sg.SessionPool(session=session)
            async with client(server.url, pool=pool) as api, pool:
                _ = await api.session.create(CREATE)
        [(head, _)] = server.requests
    assert re.findall(rb"(?i)content-type: *([^\r]*)", head) == [b"application/json"]


# Retries outside of the client.


async def retries(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
    """Send up to three times, as a retrying middleware does."""
    for _ in range(2):
        response = await handler(request)
        if response.status < 500:
            return response
        response.close()
    return await handler(request)


async def retries_on_errors(request: aiohttp.ClientRequest, handler: Any) -> Any:
    """Send again when the connection breaks."""
    try:
        return await handler(request)
    except aiohttp.ClientError:
        return await handler(request)


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # aiohttp advises against it.

    class RetryingSession(aiohttp.ClientSession):
        """A session that retries in its own methods."""

        async def _request(self, *arguments: Any, **options: Any) -> aiohttp.ClientResponse:
            response = await super()._request(*arguments, **options)
            if response.status < 500:
                return response
            return await super()._request(*arguments, **options)


def fails(peer: Peer) -> None:
    """Answer every request with a server error."""
    while peer.read_request():
        peer.send(answer(b"<html>", "503 Service Unavailable"))


def breaks(peer: Peer) -> None:
    """Read a request, and break the connection."""
    peer.read_request()
    peer.reset()


RETRYING: Final = {
    "a middleware": (aiohttp.ClientSession, (retries,), fails),
    "a middleware, after an error": (aiohttp.ClientSession, (retries_on_errors,), breaks),
    "the session itself": (RetryingSession, (), fails),
}
REF: Final = sg.SessionRef("ps_1")
MOVING_MONEY: Final[dict[str, Callable[[sg.SmartGlocal], Awaitable[Any]]]] = {
    "session/init/payout": lambda api: api.session.init_payout(init(), key="pay-1"),
    "session/init/payment": lambda api: api.session.init_payment(PAYMENT, key="pay-1"),
    "session/start/payout": lambda api: api.session.start_payout(START, key="pay-1"),
    "session/start/payment": lambda api: api.session.start_payment(START_PAYMENT, key="pay-1"),
    "session/confirm": lambda api: api.session.confirm(REF),
    "session/capture": lambda api: api.session.capture(sg.CapturePayment(session_id="ps_1")),
    "session/refund": lambda api: api.session.refund(sg.RefundPayment(session_id="ps_1")),
    "session/multi/init": lambda api: api.call("session/multi/init", {"amount": 1}, key="pay-1"),
}


@contextlib.asynccontextmanager
async def retrying_client(kind: Any, middlewares: Any, url: str) -> AsyncIterator[sg.SmartGlocal]:
    """Return a client over a session of the caller's that sends again what failed."""
    async with (
        kind(middlewares=middlewares) as session,
        sg.SessionPool(session=session) as pool,
        client(url, pool=pool) as api,
    ):
        yield api


@pytest.mark.parametrize(("kind", "middlewares", "manner"), RETRYING.values(), ids=RETRYING)
@pytest.mark.parametrize(("path", "call"), MOVING_MONEY.items(), ids=MOVING_MONEY)
async def test_no_middleware_sends_money_again(kind, middlewares, manner, path, call) -> None:
    """The second attempt isn't sent, and the outcome is unknown."""
    with serve(manner) as server:
        async with retrying_client(kind, middlewares, server.url) as api:
            with pytest.raises(sg.OutcomeUnknown, match="second time") as caught:
                await call(api)
        assert sent(server, path) == 1
    assert caught.value.attempts == 1


@pytest.mark.parametrize(("kind", "middlewares", "manner"), RETRYING.values(), ids=RETRYING)
async def test_a_middleware_may_send_a_read_again(kind, middlewares, manner) -> None:
    """It moves no money; the client counts one attempt."""
    with serve(manner) as server:
        async with retrying_client(kind, middlewares, server.url) as api:
            with pytest.raises(sg.OutcomeUnknown) as caught:
                await api.session.status(REF, attempts=1)
        assert sent(server, "session/status") > 1
    assert caught.value.attempts == 1


# One deadline, read once.


@pytest.mark.parametrize("call", ["start_payout", "confirm", "capture", "refund"])
async def test_a_deadline_that_passes_anywhere_never_says_that_nothing_was_sent(call) -> None:
    """The clock moves on every read, so the deadline passes between each two reads."""
    requests: dict[str, Any] = {
        "start_payout": sg.StartPayout(session_id="ps_1"),
        "confirm": sg.SessionRef("ps_1"),
        "capture": sg.CapturePayment(session_id="ps_1"),
        "refund": sg.RefundPayment(session_id="ps_1"),
    }
    kinds = set()
    for looks in range(1, 40):
        ticks = itertools.count()
        timing = sg.Timing(
            monotonic=lambda ticks=ticks: float(next(ticks)), sleep=QUICK.timing.sleep
        )
        with serve(breaks) as server:
            async with client(server.url, settings=sg.Settings(timing=timing)) as api:
                with pytest.raises(sg.SmartGlocalError) as caught:
                    await getattr(api.session, call)(requests[call], deadline=looks + 0.5)
            was_sent = bool(server.requests)
        kinds.add(type(caught.value))
        assert type(caught.value) is (sg.OutcomeUnknown if was_sent else sg.NotSent)
    assert kinds == {sg.OutcomeUnknown, sg.NotSent}


# The retry budget.


async def test_cancelled_back_offs_cost_no_budget() -> None:
    """Sixty calls are cancelled between two attempts: no retry was sent, and none costs budget."""
    waiting, all_wait = itertools.count(1), asyncio.Event()

    async def sleep(_seconds: float) -> None:
        if next(waiting) == 60:
            all_wait.set()
        await asyncio.Event().wait()

    with serve(fails) as server:
        settings = sg.Settings(timing=sg.Timing(sleep=sleep))
        async with client(server.url, settings=settings) as api:
            calls = [asyncio.ensure_future(api.session.create(CREATE)) for _ in range(60)]
            await all_wait.wait()
            for call in calls:
                call.cancel()
            _ = await asyncio.wait(calls)
            stats = api.stats()
    assert (stats.budget_tokens, stats.retries, len(server.requests)) == (500, 0, 60)
