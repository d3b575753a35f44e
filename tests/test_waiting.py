"""Waiting for a session: looks now and then, and at once when a webhook says so."""

import asyncio
import json
import threading
from typing import Any, Final

import pytest
from rawserver import Peer, answer, serve

import smartglocal_async as sg

REF: Final = sg.SessionRef("ps_1")


def shown(status: str, **more: Any) -> bytes:
    """Give an answer with a session."""
    session = {"id": "ps_1", "status": status, **more}
    return answer(json.dumps({"status": "ok", "session": session}).encode())


OPEN: Final = shown("in_progress")
DONE: Final = shown("accepted")
AWAITED: Final = shown("in_progress", next_action="confirm")
ERROR: Final = shown("error")
LOST: Final = b""
NO_SUCH: Final = answer(
    b'{"status":"error","error":{"code":"invalid_request","description":"no such session"}}'
)


class Stamp:
    """A signer that costs nothing."""

    async def sign(self, body: bytes) -> str:
        """Sign nothing."""
        del body
        return "c3RhbXA="


class Script:
    """Says its lines one by one, the last one for ever; an empty one closes the connection."""

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
    """Give a function that waits for the session of a script, by the clock."""

    async def make(script: Script, timing: sg.Timing | None = None, **options: Any) -> Any:
        settings = sg.Settings(timing=timing or clock.timing())
        with serve(script) as server:
            async with sg.SmartGlocal("demo", Stamp(), server.url, settings=settings) as api:
                return await api.session.wait(REF, **options)

    return make


@pytest.mark.parametrize(
    ("lines", "status", "looks"),
    [
        ([DONE], "accepted", 1),
        ([shown("cancelled")], "cancelled", 1),
        ([OPEN, OPEN, DONE], "accepted", 3),
        ([OPEN, AWAITED], "in_progress", 2),
        # Not final: what is in it may still come to be paid.
        ([ERROR, ERROR, DONE], "accepted", 3),
        # A word that is not known is not final either.
        ([shown("resting"), DONE], "accepted", 2),
        # A look that fails is followed by another.
        ([LOST, LOST, LOST, OPEN, DONE], "accepted", 5),
    ],
)
async def test_until_settled(wait, lines, status, looks) -> None:
    """Final, or an action is due."""
    script = Script(*lines)
    assert (await wait(script)).status == status
    assert script.looks == looks


async def test_until_what_the_caller_wants(wait) -> None:
    """A condition of one's own."""
    script = Script(AWAITED, OPEN, DONE)
    assert (await wait(script, until=lambda session: session.is_final)).status == "accepted"


async def test_pauses_grow_to_a_cap_and_are_spread(wait, clock) -> None:
    """From half a second to half a minute; the dice take up to half of each."""
    with pytest.raises(sg.StillOpen):
        await wait(Script(OPEN), deadline=400)
    assert clock.waits[:3] == pytest.approx([0.375, 0.5625, 0.84375])
    assert max(clock.waits) == pytest.approx(22.5)
    assert clock.now == pytest.approx(400)


async def test_the_deadline(wait) -> None:
    """It says where the session stood, and that waiting changed nothing."""
    with pytest.raises(sg.StillOpen) as caught:
        await wait(Script(OPEN), deadline=10)
    error = caught.value
    assert (error.session_id, error.status, error.cause) == ("ps_1", "in_progress", None)
    assert error.waited_seconds == pytest.approx(10)
    assert str(error) == "the session ps_1 is in_progress still; waited 10.0 s"


async def test_a_session_in_error_must_not_be_paid_again(wait) -> None:
    """The error says so."""
    with pytest.raises(sg.StillOpen, match="not final: don't pay again"):
        await wait(Script(ERROR), deadline=10)


async def test_nobody_answers(wait) -> None:
    """The last failure is told."""
    with pytest.raises(sg.StillOpen, match="unseen still; the last look failed: session/status"):
        await wait(Script(LOST), deadline=10)


async def test_no_such_session(wait) -> None:
    """The provider knows none: that won't change."""
    with pytest.raises(sg.Refused, match="no such session"):
        await wait(Script(NO_SUCH))


@pytest.mark.parametrize("deadline", [0, -1, "5", True])
async def test_a_deadline_that_is_none(wait, deadline) -> None:
    """A number of seconds above zero."""
    with pytest.raises(sg.InvalidRequest, match="deadline"):
        await wait(Script(DONE), deadline=deadline)


class Alarm:
    """A clock that stands still: whoever sleeps on it is woken by something else."""

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
        """Give the client's settings of time over it."""
        return sg.Timing(sleep=self.sleep, monotonic=lambda: 0.0)


def event(session_id: str) -> sg.WebhookEvent:
    """Give a webhook about a session."""
    session = sg.Session(id=session_id, status="accepted")
    return sg.PaymentFinished(type="payment_finished", session=session)


async def test_a_webhook_wakes_all_who_wait_for_its_session() -> None:
    """They look at once; those who wait for another session sleep on."""
    alarm, script = Alarm(), Script(OPEN, OPEN, DONE)
    settings = sg.Settings(timing=alarm.timing())
    with serve(script) as server:
        async with (
            sg.SmartGlocal("demo", Stamp(), server.url, settings=settings) as api,
            asyncio.TaskGroup() as group,
        ):
            one = group.create_task(api.session.wait(REF))
            await alarm.sleeping.wait()
            alarm.sleeping.clear()
            two = group.create_task(api.session.wait(REF))
            await alarm.sleeping.wait()

            api.session.notice(event("ps_2"))
            await asyncio.sleep(0)
            assert script.looks == 2
            api.session.notice(event("ps_1"))

    assert {(await one).status, (await two).status} == {"accepted"}
    assert script.looks == 4
    assert not api.session._waiting._bells


async def test_a_webhook_that_comes_while_looking_is_not_lost() -> None:
    """It may tell of what happened after the look: there is another one."""
    alarm = Alarm()
    settings = sg.Settings(timing=alarm.timing())
    api: sg.SmartGlocal

    class Telling(Script):
        def __call__(self, peer: Peer) -> None:
            peer.read_request()
            api.session.notice(event("ps_1"))  # From the server's thread.
            peer.send(OPEN)
            super().__call__(peer)

    with serve(Telling(DONE)) as server:
        async with sg.SmartGlocal("demo", Stamp(), server.url, settings=settings) as api:
            assert (await api.session.wait(REF)).status == "accepted"


async def test_a_waiter_who_leaves_leaves_nothing() -> None:
    """Cancelled, it takes its bell and its sleep along."""
    alarm = Alarm()
    settings = sg.Settings(timing=alarm.timing())
    with serve(Script(OPEN)) as server:
        async with sg.SmartGlocal("demo", Stamp(), server.url, settings=settings) as api:
            task = asyncio.ensure_future(api.session.wait(REF))
            await alarm.sleeping.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not api.session._waiting._bells
            assert asyncio.all_tasks() == {asyncio.current_task()}
