"""Waiting for a session: status checks with pauses, and at once after a webhook."""

import asyncio
import json
import threading
from typing import Any, Final

import aiohttp
import pytest
from rawserver import Peer, answer, closed_port, serve

import smartglocal_async as sg

pytestmark = pytest.mark.both_loops

REF: Final = sg.SessionRef("ps_1")


def shown(status: str, **more: Any) -> bytes:
    """Return an answer with a session."""
    session = {"id": "ps_1", "status": status} | more
    return answer(json.dumps({"status": "ok", "session": session}).encode())


OPEN: Final = shown("in_progress")
OF_ANOTHER: Final = shown("accepted", id="ps_2")
CANCELLED_OF_ANOTHER: Final = shown("cancelled", id="ps_10")
AWAITED_OF_ANOTHER: Final = shown("in_progress", id="PS_1", next_action="confirm")
DONE: Final = shown("accepted")
AWAITED: Final = shown("in_progress", next_action="confirm")
ERROR: Final = shown("error")
LOST: Final = b""
NO_SUCH: Final = answer(
    b'{"status":"error","error":{"code":"invalid_request","description":"no such session"}}'
)


class FakeSigner:
    """A signer that does no work."""

    async def sign(self, body: bytes) -> str:
        """Return a constant signature."""
        del body
        return "c3RhbXA="


class Script:
    """Sends its answers one by one, the last one repeatedly; an empty one closes the connection."""

    def __init__(self, *lines: bytes) -> None:
        self.lines = list(lines)
        self.looks = 0

    def __call__(self, peer: Peer) -> None:
        """Play one connection."""
        while peer.read_request():
            self.looks += 1
            line = self.lines.pop(0) if len(self.lines) > 1 else self.lines[0]
            if not line:
                return
            peer.send(line)


@pytest.fixture
async def wait(clock):
    """Return a function that waits for the session of a script, on a test clock."""

    async def make(script: Script, timing: sg.Timing | None = None, **options: Any) -> Any:
        settings = sg.Settings(timing=timing or clock.timing())
        with serve(script) as server:
            async with sg.SmartGlocal("demo", FakeSigner(), server.url, settings=settings) as api:
                return await api.session.wait(REF, **options)

    return make


@pytest.mark.parametrize(
    ("lines", "status", "looks"),
    [
        ([DONE], "accepted", 1),
        ([shown("cancelled")], "cancelled", 1),
        ([OPEN, OPEN, DONE], "accepted", 3),
        ([OPEN, AWAITED], "in_progress", 2),
        # Not final: its items may still be paid.
        ([ERROR, ERROR, DONE], "accepted", 3),
        # An unknown status isn't final either.
        ([shown("resting"), DONE], "accepted", 2),
        # After a failed status check comes another.
        ([LOST, LOST, LOST, OPEN, DONE], "accepted", 5),
        # A check that shows another session counts as failed.
        ([OF_ANOTHER, shown("cancelled")], "cancelled", 2),
        ([CANCELLED_OF_ANOTHER, CANCELLED_OF_ANOTHER, DONE], "accepted", 3),
        ([AWAITED_OF_ANOTHER, OPEN, OF_ANOTHER, DONE], "accepted", 4),
    ],
)
async def test_until_settled(wait, lines, status, looks) -> None:
    """Final, or an action is required."""
    script = Script(*lines)
    assert (await wait(script)).status == status
    assert script.looks == looks


async def test_until_what_the_caller_wants(wait) -> None:
    """A condition of the caller."""
    script = Script(AWAITED, OPEN, DONE)
    assert (await wait(script, until=lambda session: session.is_final)).status == "accepted"


@pytest.mark.parametrize("word", ["cancelled", "canceled"])
async def test_what_was_cancelled_is_not_waited_for(wait, clock, word) -> None:
    """Nothing can happen in it any more; an accepted one may still be refunded."""
    with pytest.raises(sg.errors.StillOpen, match="doesn't change any more") as caught:
        await wait(Script(OPEN, shown(word)), until=lambda _: False, deadline=400)
    assert caught.value.status == word
    assert clock.now < 1
    with pytest.raises(sg.errors.StillOpen) as caught:
        await wait(Script(DONE), until=lambda _: False, deadline=400)
    assert caught.value.waited_seconds == pytest.approx(400)


async def test_pauses_grow_to_a_cap_and_are_spread(wait, clock) -> None:
    """From half a second to half a minute; jitter takes up to half of each."""
    with pytest.raises(sg.errors.StillOpen):
        await wait(Script(OPEN), deadline=400)
    assert clock.waits[:3] == pytest.approx([0.375, 0.5625, 0.84375])
    assert max(clock.waits) == pytest.approx(22.5)
    assert clock.now == pytest.approx(400)


async def test_the_deadline(wait) -> None:
    """The error has the last status, and says that waiting changed nothing."""
    with pytest.raises(sg.errors.StillOpen) as caught:
        await wait(Script(OPEN), deadline=10)
    error = caught.value
    assert (error.session_id, error.status, error.cause) == ("ps_1", "in_progress", None)
    assert error.waited_seconds == pytest.approx(10)
    assert str(error) == "the session ps_1 is still in_progress; waited 10.0 s"


async def test_a_session_in_error_must_not_be_paid_again(wait) -> None:
    """The error says so."""
    with pytest.raises(sg.errors.StillOpen, match="not final: don't pay again"):
        await wait(Script(ERROR), deadline=10)


async def test_nobody_answers(wait) -> None:
    """The error has the last failure."""
    with pytest.raises(
        sg.errors.StillOpen, match="still unseen; the last poll failed: session/status"
    ):
        await wait(Script(LOST), deadline=10)


async def test_only_another_session_is_shown(wait) -> None:
    """Answers about other sessions settle nothing."""
    words = "still unseen; the last poll failed: session/status: outcome unknown; the answer is ab"
    with pytest.raises(sg.errors.StillOpen, match=words):
        await wait(Script(OF_ANOTHER), deadline=10)


async def test_no_such_session(wait) -> None:
    """The provider doesn't know the session, and that won't change."""
    with pytest.raises(sg.Refused, match="no such session"):
        await wait(Script(NO_SUCH))


@pytest.mark.parametrize("deadline", [0, -1, "5", True])
async def test_a_deadline_that_is_none(wait, deadline) -> None:
    """A number of seconds above zero."""
    with pytest.raises(sg.InvalidRequest, match="deadline"):
        await wait(Script(DONE), deadline=deadline)


class StoppedClock:
    """A clock that doesn't move; a sleep on it ends only by something else."""

    def __init__(self) -> None:
        self.asleep = threading.Event()
        self.sleeping = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Sleep for ever."""
        del seconds
        self.asleep.set()
        self.sleeping.set()
        await asyncio.Event().wait()

    def timing(self) -> sg.Timing:
        """Return the client's timing settings over this clock."""
        return sg.Timing(sleep=self.sleep, monotonic=lambda: 0.0)


def event(session_id: str) -> sg.WebhookEvent:
    """Return a webhook about a session."""
    session = sg.Session(id=session_id, status="accepted")
    return sg.PaymentFinished(type="payment_finished", session=session)


async def test_a_webhook_wakes_all_who_wait_for_its_session() -> None:
    """Waiters of the session check at once; those of other sessions keep sleeping."""
    alarm, script = StoppedClock(), Script(OPEN, OPEN, DONE)
    settings = sg.Settings(timing=alarm.timing())
    with serve(script) as server:
        async with (
            sg.SmartGlocal("demo", FakeSigner(), server.url, settings=settings) as api,
            asyncio.TaskGroup() as group,
        ):
            one = group.create_task(api.session.wait(REF))
            await alarm.sleeping.wait()
            alarm.sleeping.clear()
            two = group.create_task(api.session.wait(REF))
            await alarm.sleeping.wait()

            api.session.handle_event(event("ps_2"))
            await asyncio.sleep(0)
            assert script.looks == 2
            api.session.handle_event(event("ps_1"))

    assert {(await one).status, (await two).status} == {"accepted"}
    assert script.looks == 4
    assert not api.session._waits._waiters


async def test_a_webhook_that_comes_while_looking_is_not_lost() -> None:
    """It may be about something after the check, so another check follows."""
    alarm = StoppedClock()
    settings = sg.Settings(timing=alarm.timing())
    api: sg.SmartGlocal

    class Telling(Script):
        def __call__(self, peer: Peer) -> None:
            peer.read_request()
            api.session.handle_event(event("ps_1"))  # From the server's thread.
            peer.send(OPEN)
            super().__call__(peer)

    with serve(Telling(DONE)) as server:
        async with sg.SmartGlocal("demo", FakeSigner(), server.url, settings=settings) as api:
            assert (await api.session.wait(REF)).status == "accepted"


async def test_a_waiter_who_leaves_leaves_nothing() -> None:
    """A cancelled wait removes its wakeup and its sleep."""
    alarm = StoppedClock()
    settings = sg.Settings(timing=alarm.timing())
    with serve(Script(OPEN)) as server:
        async with sg.SmartGlocal("demo", FakeSigner(), server.url, settings=settings) as api:
            task = asyncio.ensure_future(api.session.wait(REF))
            await alarm.sleeping.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not api.session._waits._waiters
            assert asyncio.all_tasks() == {asyncio.current_task()}


class Broken:
    """A signer without its key."""

    async def sign(self, body: bytes) -> str:
        """Raise an error."""
        raise RuntimeError(f"no key for {len(body)} bytes")


async def test_a_signer_that_fails_is_not_waited_for(clock) -> None:
    """Waiting wouldn't help."""
    with serve(Script(DONE)) as server:
        settings = sg.Settings(timing=clock.timing())
        async with sg.SmartGlocal("demo", Broken(), server.url, settings=settings) as api:
            with pytest.raises(sg.NotSent, match="Broken raised RuntimeError") as caught:
                await api.session.wait(REF)
    assert (caught.value.is_misconfigured, clock.waits, server.requests) == (True, [], [])


async def test_a_server_without_tls_is_not_waited_for(clock) -> None:
    """Nor would it for an untrusted certificate."""

    def plain(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with serve(plain) as server:
        settings = sg.Settings(timing=clock.timing())
        url = server.url.replace("http:", "https:")
        async with sg.SmartGlocal("demo", FakeSigner(), url, settings=settings) as api:
            with pytest.raises(sg.NotSent) as caught:
                await api.session.wait(REF)
    assert (caught.value.is_misconfigured, clock.waits) == (True, [])


async def test_a_session_that_was_closed_is_not_waited_for(clock) -> None:
    """The caller's own session, closed while the client waits."""
    with serve(Script(OPEN)) as server:
        session = aiohttp.ClientSession()
        pool = sg.SessionPool(session=session)
        settings = sg.Settings(timing=clock.timing())
        async with sg.SmartGlocal(
            "demo", FakeSigner(), server.url, settings=settings, pool=pool
        ) as api:
            _ = await api.session.status(REF)
            await session.close()
            with pytest.raises(sg.NotSent, match="session is closed"):
                await api.session.wait(REF)
        await pool.close()
    assert clock.waits == []


async def test_a_server_that_is_down_is_waited_for(clock) -> None:
    """The server may start later."""
    with closed_port() as url:
        settings = sg.Settings(timing=clock.timing())
        async with sg.SmartGlocal("demo", FakeSigner(), url, settings=settings) as api:
            with pytest.raises(sg.errors.StillOpen):
                await api.session.wait(REF, deadline=10)
    assert clock.now >= 10


@pytest.mark.parametrize("until", [None, "settled", Broken().sign])
async def test_what_can_not_be_waited_for(wait, until) -> None:
    """An async function would return a coroutine, which is true."""
    with pytest.raises(sg.InvalidRequest, match="until: "):
        await wait(Script(DONE), until=until)
