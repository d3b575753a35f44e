"""A response without a request is never taken for the answer to a later request."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Final

import aiohttp
import pytest
from observing import attempts_into
from rawserver import Peer, RawServer, answer, serve

import smartglocal_async as sg
from smartglocal_async.emulator import Fault, FaultKind, FaultScript

pytestmark = [pytest.mark.both_loops, pytest.mark.slow]


def session(number: int) -> bytes:
    """Return the response with that session."""
    body = {"status": "ok", "session": {"id": f"ps_{number}", "status": "created"}}
    return answer(json.dumps(body).encode())


FOREIGN: Final = session(666)
SURPLUS: Final = {
    "a response": (FOREIGN, b""),
    "two responses": (FOREIGN + FOREIGN, b""),
    "half a response": (FOREIGN[:40], FOREIGN[40:]),
    "all but a byte": (FOREIGN[:-1], FOREIGN[-1:]),
    "a status line": (b"HTTP/1.1 200 OK\r\n", FOREIGN.partition(b"\r\n")[2]),
    "a letter": (b"H", FOREIGN[1:]),
    "an interim response": (b"HTTP/1.1 100 Continue\r\n\r\n", FOREIGN),
    "no HTTP": (b"\0\xff goodbye", b""),
}
"""What arrives before the second request is sent, and what arrives after it was read."""
SETTINGS: Final = sg.Settings(
    retry=sg.RetryPolicy(initial_delay_seconds=0.001, attempt_timeout_seconds=5)
)


class ActingSigner(sg.Signer):
    """Signs with a constant, and lets a test act while the event loop is blocked."""

    def __init__(self, *moments: Callable[[], object]) -> None:
        self.moments = list(moments)

    async def sign(self, body: bytes) -> str:  # noqa: ARG002
        """Run the test's function, without a pause for the loop."""
        if self.moments:
            _ = self.moments.pop(0)()
        return "signature"


def nothing() -> None:
    """Do nothing."""


def good(peer: Peer) -> None:
    """Answer with the number of the request on the whole server."""
    while True:
        peer.read_request()
        peer.send(session(len(peer.server.requests)))


def good_to_one(peer: Peer) -> None:
    """Answer about the first session, whatever is requested."""
    while True:
        peer.read_request()
        peer.send(session(1))


class Late:
    """Sends an answer, and the surplus when a test asks for it."""

    def __init__(self, first: bytes, rest: bytes) -> None:
        self.first, self.rest = first, rest
        self.go, self.sent = threading.Event(), threading.Event()

    def __call__(self, peer: Peer) -> None:
        """Handle one connection."""
        peer.read_request()
        peer.send(session(1))
        self.go.wait()
        peer.send(self.first)
        self.sent.set()
        peer.read_request()
        peer.send(self.rest)
        peer.hold()

    def send(self) -> None:
        """Send the surplus, and wait until it is sent."""
        self.go.set()
        assert self.sent.wait(20)


def ids_and(server: RawServer, made: list[sg.Session]) -> tuple[list[str], int, int]:
    """Return the sessions, the requests that arrived, and the connections."""
    return [each.id for each in made], len(server.requests), server.connections


OWN: Final = {"the pool's session": False, "a session of the caller's": True}


@pytest.mark.parametrize("name", SURPLUS)
async def test_it_came_while_the_connection_was_idle(name: str) -> None:
    """Bytes that the event loop has read close the connection, complete or not."""
    late = Late(*SURPLUS[name])
    with serve(late, good) as server:
        async with sg.SmartGlocal("demo", ActingSigner(), server.url, settings=SETTINGS) as api:
            made = [await api.session.create(sg.CreateSession())]
            await asyncio.to_thread(late.send)
            made += [await api.session.create(sg.CreateSession())]
            attempts = api.stats().pool.attempts

        assert ids_and(server, made) == (["ps_1", "ps_2"], 2, 2)
        assert attempts == 2


@pytest.mark.parametrize("name", SURPLUS)
async def test_it_came_while_the_loop_was_busy(name: str) -> None:
    """Bytes that only the kernel has when the request is about to be written close it, too."""
    late = Late(*SURPLUS[name])
    signer = ActingSigner(nothing, late.send)
    with serve(late, good) as server:
        async with sg.SmartGlocal("demo", signer, server.url, settings=SETTINGS) as api:
            made = [await api.session.create(sg.CreateSession())]
            made += [await api.session.create(sg.CreateSession())]
            attempts = api.stats().pool.attempts

        assert ids_and(server, made) == (["ps_1", "ps_2"], 2, 2)
        assert attempts == 2


@pytest.mark.parametrize("name", [name for name in SURPLUS if name != "no HTTP"])
async def test_it_came_with_the_answer(name: str) -> None:
    """In one segment with the answer, it closes the connection as well."""
    first, rest = SURPLUS[name]

    def both(peer: Peer) -> None:
        peer.read_request()
        peer.send(session(1) + first)
        peer.read_request()
        peer.send(rest)
        peer.hold()

    with serve(both, good) as server:
        async with sg.SmartGlocal("demo", ActingSigner(), server.url, settings=SETTINGS) as api:
            made = [await api.session.create(sg.CreateSession()) for _ in range(2)]

        assert ids_and(server, made) == (["ps_1", "ps_2"], 2, 2)


async def test_it_came_on_a_connection_that_was_warmed_up() -> None:
    """Bytes before the first request are no answer, either."""
    go, sent = threading.Event(), threading.Event()

    def early(peer: Peer) -> None:
        go.wait()
        peer.send(FOREIGN)
        sent.set()
        peer.hold()

    with serve(early, good) as server:
        async with sg.SmartGlocal("demo", ActingSigner(), server.url, settings=SETTINGS) as api:
            await api.warm_up(1)
            go.set()
            await asyncio.to_thread(sent.wait)
            made = [await api.session.create(sg.CreateSession())]

        assert ids_and(server, made) == (["ps_1"], 1, 2)


@pytest.mark.parametrize("busy", [False, True])
async def test_a_session_of_the_callers_own(*, busy: bool) -> None:
    """On a foreign connector the request isn't written: not sent, and sent again."""
    late = Late(FOREIGN, b"")
    signer = ActingSigner(nothing, late.send if busy else nothing)
    told: list[sg.observer.AttemptEnded] = []
    settings = sg.Settings(retry=SETTINGS.retry, observers=attempts_into(told))
    with serve(late, good) as server:
        async with (
            aiohttp.ClientSession() as own,
            sg.SessionPool(session=own) as pool,
            sg.SmartGlocal(
                "demo",
                signer,
                server.url,
                pool=pool,
                settings=settings,
            ) as api,
        ):
            made = [await api.session.create(sg.CreateSession())]
            if not busy:
                await asyncio.to_thread(late.send)
            made += [await api.session.create(sg.CreateSession())]

        assert ids_and(server, made) == (["ps_1", "ps_2"], 2, 2)
    assert [each.happened for each in told] == [
        sg.AttemptResult.ACCEPTED,
        sg.AttemptResult.NOT_SENT,
        sg.AttemptResult.ACCEPTED,
    ]


async def test_a_payout_is_never_sent_on_such_a_connection() -> None:
    """A start that moves money is neither lost nor sent twice."""
    late = Late(FOREIGN, b"")
    request = sg.StartPayout(
        session_id="ps_1",
        payment_method=sg.EncryptedCard(number_hash="hash"),
        amount_details=sg.AmountDetails(100, "usd"),
        participant_details=sg.ParticipantDetails(recipient=sg.Participant(full_name="Jane Roe")),
    )
    with serve(late, good_to_one) as server:
        async with sg.SmartGlocal("demo", ActingSigner(), server.url, settings=SETTINGS) as api:
            await api.session.create(sg.CreateSession())
            await asyncio.to_thread(late.send)
            started = await api.session.start_payout(request, key="order-1")
        starts = [head for head, _ in server.requests if b"start/payout" in head]

    assert started.id == "ps_1"
    assert len(starts) == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("400 Bad Request", {"status": "error", "error": {"code": "invalid_request"}}),
        ("429 Too Many Requests", {}),
        ("200 OK", {"error": {"code": "invalid_request"}}),
        ("200 OK", {"status": "error", "error": {"code": "invalid_request"}}),
        ("200 OK", {"request_id": "r-1", "error": {"code": "invalid_request"}}),
        ("200 OK", {"session": None, "error": "invalid_request"}),
    ],
)
async def test_a_connection_is_not_used_after_an_error(
    status: str, body: dict[str, object]
) -> None:
    """A copy of the error may arrive after the next request, and names no session."""
    error = answer(json.dumps(body).encode(), status)

    def errs(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.send(error if len(peer.server.requests) == 1 else session(1))

    settings = sg.Settings(retry=sg.RetryPolicy(attempts=1))
    with serve(errs) as server:
        async with sg.SmartGlocal("shop", ActingSigner(), server.url, settings=settings) as api:
            with pytest.raises(sg.CallFailed):
                _ = await api.session.create(sg.CreateSession())
            assert (await api.session.create(sg.CreateSession())).id == "ps_1"
    assert server.connections == 2


async def test_none_of_3000_is_crossed(run_provider, connect) -> None:
    """Every third answer comes twice; each call gets its own."""
    fault = Fault(FaultKind.SURPLUS, rate=1 / 3, operation="session/create")
    provider = run_provider(faults=FaultScript((fault,), seed=1))
    crossed: list[str] = []
    async with sg.SessionPool(20) as pool, connect(provider, pool=pool) as api:

        async def create(number: int) -> None:
            made = await api.session.create(sg.CreateSession(), key=f"order-{number}")
            if made.metadata != {"idempotency_key": f"order-{number}"}:
                crossed.append(made.id)

        numbers = iter(range(3000))

        async def work() -> None:
            for number in numbers:
                await create(number)

        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(work())
    report = provider.report()

    assert crossed == []
    assert report.faults["surplus"] > 900
    assert (report.sessions, report.duplicates, report.changed) == (3000, 0, 0)
