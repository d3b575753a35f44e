"""Foreign code and unusual answers must not break a call."""

import asyncio
import json
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

import aiohttp
import pytest
from rawserver import Peer, answer, serve

import smartglocal_async as sg
from smartglocal_async.emulator import Fault, FaultKind, FaultScript

REQUEST: Final = sg.CreateSession(amount_details=sg.AmountDetails(100, "usd"))
OTHER: Final = sg.CreateSession(amount_details=sg.AmountDetails(200, "usd"))
OK: Final = b'{"status":"ok","session":{"id":"ps_1","status":"created"}}'
REFUSAL: Final = b'{"status":"error","error":{"code":"invalid_request","description":"why"}}'


class FakeSigner:
    """A signer that does no work."""

    async def sign(self, body: bytes) -> str:
        """Return a constant signature."""
        return f"signed{len(body)}"


def with_answer(said: bytes):
    """Answer every request with the same bytes."""

    def meet(peer: Peer) -> None:
        while peer.read_request():
            peer.send(said)

    return meet


def client(url: str, signer: Any = None, **options: Any) -> sg.SmartGlocal:
    """Make a client with a given signer."""
    return sg.SmartGlocal("demo", signer or FakeSigner(), url, **options)


@pytest.mark.parametrize(
    "retry_after",
    ["9" * 400, "Mon, 01 Jan 2024 00:00:00 +999999999999999999", "soon", "-1", "1.5"],
)
async def test_an_odd_retry_after_is_ignored(retry_after) -> None:
    """An unreadable header doesn't affect the answer."""
    with serve(with_answer(answer(OK, "200 OK", f"Retry-After: {retry_after}"))) as server:
        async with client(server.url) as api:
            assert (await api.session.create(REQUEST)).id == "ps_1"


async def test_an_answer_that_cannot_be_read_is_not_asked_for_again() -> None:
    """The session exists; a repeat would create another, and couldn't be read either."""
    odd = {"status": "ok", "session": {"id": "ps_7", "status": 7}}
    with serve(with_answer(answer(json.dumps(odd).encode()))) as server:
        async with client(server.url) as api:
            with pytest.raises(sg.OutcomeUnknown, match="status: expected str") as caught:
                await api.session.create(REQUEST)

    assert (caught.value.session_id, caught.value.attempts) == ("ps_7", 1)
    assert len(server.requests) == 1


async def until(what: Callable[[], object]) -> None:
    """Run the event loop until a condition holds."""
    while not what():  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.001)


HANG: Final = FaultScript((Fault(FaultKind.HANG, key="slow", rate=1),))


async def test_a_key_that_never_left_is_free(run_provider, connect) -> None:
    """A call cancelled while it waited for a place frees its key."""
    async with sg.SessionPool(1) as pool:
        api = connect(run_provider(faults=HANG), pool=pool)
        async with asyncio.TaskGroup() as group:
            slow = group.create_task(api.session.create(REQUEST, key="slow"))
            await until(lambda: pool.stats().sending)
            queued = group.create_task(api.session.create(REQUEST, key="a"))
            await until(lambda: pool.stats().waiting)
            queued.cancel()
            slow.cancel()

        assert (await api.session.create(OTHER, key="a")).id


async def test_a_turn_that_comes_after_the_deadline_is_not_taken(
    run_provider, connect, clock
) -> None:
    """A call that waited too long for a place sends nothing."""
    async with sg.SessionPool(1) as pool:
        provider = run_provider(faults=HANG)
        api = connect(provider, pool=pool, settings=sg.Settings(timing=clock.timing()))
        async with asyncio.TaskGroup() as group:
            slow = group.create_task(api.session.create(REQUEST, key="slow"))
            await until(lambda: pool.stats().sending)
            queued = group.create_task(outcome(api.session.create(REQUEST, key="a", deadline=9)))
            await until(lambda: pool.stats().waiting)
            clock.now += 10
            slow.cancel()

    error = queued.result()
    assert type(error) is sg.NotSent
    assert (error.attempts, error.stopped_by) == (0, "deadline")
    assert provider.order("a").attempts == 0


async def outcome(call: Awaitable[sg.Session]) -> sg.Session | sg.CallFailed:
    """Return the result of a call, or its error."""
    try:
        return await call
    except sg.CallFailed as error:
        return error


@pytest.mark.parametrize("fields", [3, 200])
async def test_the_order_of_fields_makes_no_other_request(api, fields) -> None:
    """Metadata that a database returns in another order is the same metadata."""
    metadata = {f"field{number}": {"a": number, "b": {"c": 1, "d": 2}} for number in range(fields)}
    turned = {name: dict(reversed(item.items())) for name, item in reversed(metadata.items())}
    await api.session.create(sg.CreateSession(metadata=metadata), key="a")

    assert (await api.session.create(sg.CreateSession(metadata=turned), key="a")).id == "ps_1"
    with pytest.raises(sg.KeyReused):
        await api.session.create(sg.CreateSession(metadata={**turned, "field0": 9}), key="a")


async def test_pause_that_ends_in_time_is_waited_for(run_provider, connect, clock) -> None:
    """The jitter never makes a call miss its deadline."""
    throttle = FaultScript((Fault(FaultKind.THROTTLE, nth=(1,), seconds=9),))
    settings = sg.Settings(timing=clock.timing(lambda: 0.999))
    api = connect(run_provider(faults=throttle), settings=settings)

    assert (await api.session.create(REQUEST, key="a", deadline=9.5)).id == "ps_1"
    assert 9.0 <= sum(clock.waits) < 9.5


class Stubborn:
    """A signer that converts its cancellation into another error."""

    async def sign(self, body: bytes) -> str:  # noqa: ARG002
        """Wait, and raise another error when cancelled."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise LookupError from None
        return ""


async def test_leaving_a_batch_whose_work_ignores_cancellation(provider) -> None:
    """Work that ignores its cancellation delays the end, and takes no other item."""
    taken = []

    def source():
        for number in range(100):
            taken.append(number)
            yield REQUEST

    async with client(provider.url, Stubborn()) as api:
        batch = asyncio.ensure_future(anext(api.session.create_many(source(), concurrency=4)))
        await until(lambda: api.stats().pool.sending == 4)
        batch.cancel()
        await asyncio.wait([batch])
    assert taken == [0, 1, 2, 3]


async def test_a_batch_whose_workers_are_cancelled_says_so(run_provider, connect) -> None:
    """Cancelling every task of the loop ends the batch, too."""
    hang = FaultScript((Fault(FaultKind.HANG, rate=1),))
    api = connect(run_provider(faults=hang))
    reading = asyncio.ensure_future(anext(api.session.create_many([REQUEST] * 9, concurrency=3)))
    await until(lambda: api.stats().pool.sending == 3)
    for task in asyncio.all_tasks() - {asyncio.current_task(), reading}:
        task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reading


class Cancelling:
    """Something that awaits a future cancelled elsewhere."""

    async def sign(self, body: bytes) -> str:  # noqa: ARG002
        """Await a cancelled future."""
        await self.wait()
        return ""

    async def wait(self) -> None:
        """Await a future that is already cancelled."""
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future


async def test_a_signer_that_is_cancelled_ends_its_call_alone(provider) -> None:
    """Its cancellation isn't the caller's."""
    async with client(provider.url, Cancelling()) as api:
        with pytest.raises(sg.NotSent, match="Cancelling cancelled itself"):
            await api.session.create(REQUEST)


async def test_a_source_that_is_cancelled_ends_the_batch(api) -> None:
    """The batch settles the calls in flight, and raises an error."""

    async def source():
        yield REQUEST
        await Cancelling().wait()

    outcomes = api.session.create_many(source(), concurrency=2)
    assert (await anext(outcomes)).session
    with pytest.raises(asyncio.CancelledError):
        await anext(outcomes)


@pytest.mark.parametrize("value", ["", "two\nlines", b"bytes", None, "é"])
async def test_a_signature_is_text_in_one_line(provider, value) -> None:
    """The result of a signer is checked before it becomes a header."""

    class Odd:
        async def sign(self, body: bytes) -> Any:  # noqa: ARG002
            return value

    async with client(provider.url, Odd()) as api:
        with pytest.raises(sg.NotSent, match="no Base64 text in one line") as caught:
            await api.session.create(REQUEST)
    assert caught.value.attempts == 1


async def test_draining_settles_a_batch(provider, connect) -> None:
    """The caller gets the results of sent calls, and then an error that no more were taken."""
    api = connect(provider)
    outcomes: list[sg.Outcome[sg.CreateSession]] = []

    async def settle() -> None:
        async for each in api.session.create_many([REQUEST] * 200, concurrency=4):
            outcomes.append(each)
            if len(outcomes) == 10:
                await api.drain()

    with pytest.raises(sg.PoolClosed):
        await settle()

    made = [each for each in outcomes if each.session]
    assert len(provider.session_ids) == len(made) < 200
    assert all(isinstance(each.error, sg.PoolClosed) for each in outcomes if each not in made)
    assert [each.index for each in sorted(outcomes, key=lambda each: each.index)] == list(
        range(len(outcomes))
    )


async def test_clients_of_one_pool_drain_alone(provider, connect) -> None:
    """Draining or closing one client doesn't affect the others."""
    async with sg.SessionPool() as pool:
        one, other = connect(provider, pool=pool), connect(provider, pool=pool)
        assert await one.drain() == 0
        with pytest.raises(sg.PoolClosed, match="the client is draining"):
            await one.session.create(REQUEST)
        await one.close()
        with pytest.raises(sg.PoolClosed, match="the client is closed"):
            await one.session.create(REQUEST)
        assert (await other.session.create(REQUEST)).id == "ps_1"


async def test_a_session_that_raises_for_status_changes_nothing() -> None:
    """A refusal stays a refusal, whatever the caller's session does with HTTP 400."""
    with serve(with_answer(answer(REFUSAL, "400 Bad Request"))) as server:
        async with (
            aiohttp.ClientSession(raise_for_status=True) as session,
            client(server.url, pool=sg.SessionPool(session=session)) as api,
        ):
            with pytest.raises(sg.Refused, match="invalid_request"):
                await api.session.create(REQUEST)
            await api._pool.close()


async def test_sessions_that_cannot_serve_are_refused() -> None:
    """A session that returns compressed bytes, or is closed, is refused."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        with pytest.raises(sg.InvalidRequest, match="must decompress"):
            sg.SessionPool(session=session)
    async with aiohttp.ClientSession() as session:
        api = client(sg.DEMO, pool=sg.SessionPool(session=session))
    with pytest.raises(sg.PoolClosed, match="was given to the pool is closed"):
        await api.session.create(REQUEST)


def test_a_child_process_signs_with_threads_of_its_own(provider, key) -> None:
    """After a fork, a client that was used before works in the child."""

    async def create(api: sg.SmartGlocal) -> str:
        return (await api.session.create(REQUEST, deadline=10)).id

    async def both(api: sg.SmartGlocal) -> str:
        try:
            return await create(api)
        finally:
            await api.close()

    api = sg.SmartGlocal(provider.project, key, provider.url)
    assert asyncio.run(create(api)) == "ps_1"
    child = os.fork()
    if not child:
        os._exit(0 if asyncio.run(both(api)) == "ps_2" else 1)
    _, status = os.waitpid(child, 0)
    asyncio.run(api.close())
    assert os.waitstatus_to_exitcode(status) == 0


async def test_draining_waits_for_calls_of_other_threads(run_provider, connect) -> None:
    """A loop that ends meanwhile neither blocks nor cancels it."""
    slow = FaultScript((Fault(FaultKind.SLOW, rate=1, seconds=0.2),))
    api = connect(run_provider(faults=slow))
    settled: list[str] = []

    async def create() -> None:
        settled.append((await api.session.create(REQUEST)).id)

    thread = threading.Thread(target=lambda: asyncio.run(create()))
    thread.start()
    await until(lambda: api.stats().pool.sending)

    assert await api.drain(timeout_seconds=10) == 0
    assert settled == ["ps_1"]
    await asyncio.gather(api.close(), api.close())  # noqa: TID251 - at the same time is the point
    thread.join()


async def test_last_attempt_decides_about_a_read(run_provider, connect, clock) -> None:
    """A lost answer to a read leaves nothing open; the refusal names the session."""
    lost = FaultScript((Fault(FaultKind.SERVER_ERROR, nth=(1,)),))
    api = connect(run_provider(faults=lost), settings=sg.Settings(timing=clock.timing()))

    with pytest.raises(sg.Refused) as caught:
        await api.session.status(sg.SessionRef("ps_404"))

    assert (caught.value.attempts, caught.value.session_id) == (2, "ps_404")


async def test_throttled_call_has_its_own_error(run_provider, connect, clock) -> None:
    """A call with HTTP 429 to the end raises its own kind of refusal."""
    throttle = FaultScript((Fault(FaultKind.THROTTLE, rate=1, seconds=0),))
    api = connect(run_provider(faults=throttle), settings=sg.Settings(timing=clock.timing()))

    with pytest.raises(sg.Refused, match="too many requests for now") as caught:
        await api.session.create(REQUEST)

    assert (caught.value.is_throttled, caught.value.stopped_by) == (True, "attempts")


async def test_a_pause_beyond_the_deadline_costs_no_budget(run_provider, connect, clock) -> None:
    """A call that sends nothing costs no budget."""
    throttle = FaultScript((Fault(FaultKind.THROTTLE, nth=(1,), seconds=50),))
    api = connect(run_provider(faults=throttle), settings=sg.Settings(timing=clock.timing()))
    with pytest.raises(sg.Refused):
        await api.session.create(REQUEST, key="a")
    left = api.stats().budget_tokens

    with pytest.raises(sg.NotSent, match="outlasts the deadline") as caught:
        await api.session.create(REQUEST, key="b")

    assert (caught.value.stopped_by, caught.value.attempts) == ("deadline", 0)
    assert (api.stats().budget_tokens, api.stats().retries) == (left, 0)


@pytest.mark.parametrize(
    "options",
    [
        {"retry": None},
        {"timing": None},
        {"key_field": 5},
        {"key_field": ""},
        {"metadata_is_key": "no"},
        {"idempotency_header": "always"},
        {"remembered_keys": 0},
        {"max_response_bytes": -5},
        {"max_request_bytes": 1.5},
        {"allow_plain_http": 1},
    ],
)
def test_settings_are_checked(options) -> None:
    """A setting of the wrong type is refused before it is used."""
    with pytest.raises(sg.InvalidRequest, match=f"Settings.{next(iter(options))}"):
        sg.Settings(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 1.5},
        {"limit": True},
        {"limit": "a"},
        {"signing_threads": 0},
        {"connect_timeout_seconds": 0},
        {"keepalive_timeout_seconds": -1},
    ],
)
def test_pools_are_checked(options) -> None:
    """The same for the options of a pool."""
    with pytest.raises(sg.InvalidRequest, match=f"SessionPool.{next(iter(options))}"):
        sg.SessionPool(**options)


def test_a_key_given_as_text_is_not_quoted(key) -> None:
    """The text of a PEM file, passed as a path, is in no error."""
    body = "".join(key.pem().decode().splitlines()[1:-1])
    with pytest.raises(sg.InvalidCredentials, match="was given as text") as caught:
        client(sg.DEMO, body)
    assert body[:40] not in str(caught.value)


async def test_leaving_a_batch_early_ends_its_calls(provider, connect) -> None:
    """Nothing is in flight when the block ends."""
    api = connect(provider)
    async with aclosing(api.session.create_many([REQUEST] * 50, concurrency=8)) as outcomes:
        assert (await anext(outcomes)).session
    assert api.stats().pool.calls == 0
