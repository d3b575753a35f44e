"""SessionPool: one session per event loop, bounded, lazy, shared, with a warning if left open."""

import asyncio
import contextlib
import gc
import inspect
import platform
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import aiohttp
import pytest
import uvloop
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, web
from aiohttp.test_utils import TestServer
from pooled import slot
from rawserver import SESSION, Peer, answer, closed_port, full_backlog, good, serve

import smartglocal_async as sg
from smartglocal_async.session_pool import SessionPool

pytestmark = pytest.mark.both_loops

REQUEST: Final = sg.CreateSession(amount_details=sg.AmountDetails(10_000, "usd"))
LONG: Final = 20.0
"""Time limit for tests of something that never happens, in seconds."""
loops = pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


class FakeSigner:
    """A signer that does no work; the raw server doesn't check the signature."""

    async def sign(self, body: bytes) -> str:
        """Return a constant signature."""
        del body
        return "c3RhbXA="


def client(url: str, **options: Any) -> sg.SmartGlocal:
    """Return a client of a raw server."""
    return sg.SmartGlocal("demo", FakeSigner(), url, **options)


async def caught(call: Any) -> Any:
    """Return the error of a call, or its answer."""
    try:
        return await call
    except sg.CallFailed as error:
        return error


def run(new_loop: Callable[[], Any], work: Any) -> Any:
    """Do what ``asyncio.run`` does, on a loop of that kind."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(work)


class Gate:
    """A server's handler that answers when a test allows it."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self.go_on = threading.Event()

    def __call__(self, peer: Peer) -> None:
        """Read the request, and answer when released."""
        while True:
            peer.read_request()
            self.arrived.release()
            self.go_on.wait(LONG)
            peer.send(answer())

    async def all_arrived(self, number: int) -> None:
        """Wait until this many requests were read."""
        for _ in range(number):
            assert await asyncio.to_thread(self.arrived.acquire, timeout=LONG)


async def until(condition: Callable[[], bool]) -> None:
    """Run the loop until a condition holds."""
    async with asyncio.timeout(LONG):
        while not condition():  # noqa: ASYNC110 - nothing tells of what it waits for
            await asyncio.sleep(0)


@contextlib.contextmanager
def left_open(place: str):
    """Expect one warning with the place of creation; aiohttp may add its own."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught
    [left] = [str(each.message) for each in caught if each.category is sg.errors.LeftOpen]
    assert f"made at {place}: use `async with`" in left


class TestEventLoops:
    """One client, any number of loops."""

    @loops
    def test_one_run_after_another(self, provider, key, new_loop) -> None:
        """Three runs on one client work without closing it in between, and without a warning."""
        api = sg.SmartGlocal(provider.project, key, provider.url)

        async def order(number: int) -> int:
            await api.session.create(REQUEST, key=f"order-{number}")
            return api.stats().pool.loops

        assert [run(new_loop, order(number)) for number in range(3)] == [1, 1, 1]
        assert api.stats().pool.loops == 0
        run(new_loop, api.close())
        gc.collect()
        assert provider.report().sessions == 3

    @loops
    def test_two_at_once(self, provider, key, new_loop) -> None:
        """Two loops in two threads share one pool, each with its own session."""
        pool, both = SessionPool(), threading.Barrier(2)

        async def order(name: str) -> int:
            api = sg.SmartGlocal(provider.project, key, provider.url, pool=pool)
            await api.session.create(REQUEST, key=name)
            both.wait(LONG)
            seen = pool.stats().loops
            both.wait(LONG)
            return seen

        with ThreadPoolExecutor(2) as threads:
            works = [threads.submit(run, new_loop, order(name)) for name in ("a", "b")]
            assert [work.result(LONG) for work in works] == [2, 2]
        stats = pool.stats()
        assert (stats.loops, stats.attempts, stats.signatures) == (0, 2, 2)
        run(new_loop, pool.close())

    @loops
    def test_closed_and_drained_from_another(self, new_loop) -> None:
        """Draining waits for a call in another thread's loop; closing closes its session."""
        gate = Gate()

        with serve(gate) as server, ThreadPoolExecutor(1) as threads:
            pool, closed = SessionPool(), threading.Event()

            async def order() -> str:
                session = await client(server.url, pool=pool).session.create(REQUEST)
                await asyncio.to_thread(closed.wait, LONG)
                return session.id

            async def close() -> None:
                await gate.all_arrived(1)
                assert await pool.drain(timeout_seconds=0) == 1
                gate.go_on.set()
                assert await pool.drain(timeout_seconds=LONG) == 0
                assert pool.stats().loops == 1
                await pool.close()
                assert pool.stats().loops == 0
                closed.set()

            ordered = threads.submit(run, new_loop, order())
            run(new_loop, close())
            assert ordered.result(LONG) == "ps_1"


class TestLazy:
    """Nothing is opened before it is needed."""

    async def test_opened_by_the_first_call(self, api) -> None:
        """A client opens no session and starts no thread until it is used."""
        assert api.stats().pool.loops == 0
        assert api._pool._threads is None

        await api.session.create(REQUEST)

        assert api.stats().pool.loops == 1
        assert api._pool._threads is not None

    async def test_closed_unused(self) -> None:
        """An unused pool closes without a warning, also twice."""
        pool = SessionPool()
        await pool.close()
        await pool.close()

    @pytest.mark.parametrize("wrong", [{"limit": 0}, {"signing_threads": 0}])
    def test_bounds(self, wrong: dict[str, int]) -> None:
        """A pool without a slot or a thread is refused."""
        with pytest.raises(sg.InvalidRequest, match=f"SessionPool.{next(iter(wrong))}"):
            SessionPool(**wrong)


class TestLimit:
    """Places are limited, and assigned in the order of the requests."""

    async def test_slots_in_order(self) -> None:
        """The first waiting call gets the next slot; the stats count the waiting calls."""
        served: list[int] = []
        go_on = asyncio.Semaphore(0)

        async def attempt(number: int) -> None:
            async with slot(loop_state, LONG):
                served.append(number)
                await go_on.acquire()

        async with SessionPool(2) as pool, asyncio.TaskGroup() as group:
            loop_state = await pool.enter()
            for number in range(6):
                group.create_task(attempt(number))
            await until(lambda: pool.stats().waiting == 4)
            assert pool.stats().sending == 2
            for number in range(6):
                go_on.release()
                begun = min(6, number + 3)
                await until(lambda: len(served) == begun)  # noqa: B023
                assert served == list(range(begun))

    async def test_on_the_wire(self) -> None:
        """Never more requests are in flight than there are slots."""
        gate = Gate()
        with serve(gate) as server:
            async with SessionPool(3) as pool, asyncio.TaskGroup() as group:
                api = client(server.url, pool=pool)
                calls = [group.create_task(api.session.create(REQUEST)) for _ in range(9)]
                await gate.all_arrived(3)
                stats = pool.stats()
                assert (stats.calls, stats.sending, stats.waiting) == (9, 3, 6)
                assert len(server.requests) == 3
                gate.go_on.set()
                for call in calls:
                    await call
            assert server.connections == 3
        assert (pool.stats().calls, pool.stats().attempts) == (0, 9)

    async def test_no_slot_in_time(self) -> None:
        """A call that gets no slot before its deadline isn't sent, and uses none."""
        gate = Gate()
        with serve(gate) as server:
            async with SessionPool(1) as pool, asyncio.TaskGroup() as group:
                api = client(server.url, pool=pool)
                first = group.create_task(api.session.create(REQUEST))
                await gate.all_arrived(1)
                with pytest.raises(sg.NotSent, match="no connection came free") as failed:
                    await api.session.create(REQUEST, deadline=1.0)
                assert failed.value.stopped_by in {"deadline", "attempts"}
                assert (pool.stats().sending, pool.stats().waiting) == (1, 0)
                gate.go_on.set()
                await first
        assert len(server.requests) == 1

    async def test_a_slot_that_comes_after_the_deadline(self, clock) -> None:
        """The call isn't sent, and names the deadline."""
        async with SessionPool(1) as pool:
            loop_state = await pool.enter()
            await loop_state.take_slot(10.0)
            settings = sg.Settings(timing=clock.timing())
            api = client("http://127.0.0.1:9", pool=pool, settings=settings)
            async with asyncio.TaskGroup() as group:
                call = group.create_task(caught(api.session.create(REQUEST, deadline=30.0)))
                while not pool.stats().waiting:  # noqa: ASYNC110 - a count
                    await asyncio.sleep(0)
                clock.now += 31.0
                loop_state.free_slot()
            failed = call.result()
            assert isinstance(failed, sg.NotSent)
            assert (failed.cause, failed.stopped_by) == (
                "its turn came after the deadline",
                "deadline",
            )
            assert failed.attempts == 0

    async def test_a_slot_that_comes_when_the_pool_is_closed(self) -> None:
        """The call isn't sent, and names the pool."""
        async with SessionPool(1) as pool:
            loop_state = await pool.enter()
            await loop_state.take_slot(10.0)
            api = client("http://127.0.0.1:9", pool=pool)
            async with asyncio.TaskGroup() as group:
                call = group.create_task(caught(api.session.create(REQUEST)))
                while not pool.stats().waiting:  # noqa: ASYNC110 - a count
                    await asyncio.sleep(0)
                loop_state.is_closed = True
                loop_state.free_slot()
            failed = call.result()
            assert isinstance(failed, sg.NotSent)
            assert failed.cause == "the session pool was closed"
            assert failed.is_misconfigured


class TestWarmUp:
    """Opening connections before the first call."""

    @pytest.mark.parametrize(("asked", "limit", "opened"), [(3, 100, 3), (9, 2, 2), (0, 9, 0)])
    async def test_opens_and_sends_nothing(self, asked: int, limit: int, opened: int) -> None:
        """The connections are open and idle, up to the limit; calls use them."""
        met, gate = threading.Semaphore(0), Gate()

        def meet(peer: Peer) -> None:
            met.release()
            gate(peer)

        with serve(meet) as server:
            async with SessionPool(limit) as pool:
                api = client(server.url, pool=pool)
                await api.warm_up(asked)
                for _ in range(opened):
                    assert await asyncio.to_thread(met.acquire, timeout=LONG)
                assert (server.connections, server.requests) == (opened, [])
                assert (pool.stats().attempts, pool.stats().sending) == (0, 0)

                async with asyncio.TaskGroup() as group:
                    for _ in range(opened):
                        group.create_task(api.session.create(REQUEST))
                    await gate.all_arrived(opened)
                    gate.go_on.set()
            assert (server.connections, len(server.requests)) == (opened, opened)

    @pytest.mark.parametrize(
        ("bounds", "asked", "opened"),
        [
            ({"limit": 1}, 2, 1),
            ({"limit": 3}, 9, 3),
            ({"limit": 0}, 4, 4),
            ({"limit_per_host": 2}, 5, 2),
            ({"limit": 5, "limit_per_host": 1}, 3, 1),
        ],
    )
    async def test_over_a_connector_that_lets_fewer_be_open(self, bounds, asked, opened) -> None:
        """As many as possible; it doesn't wait for a connection that it holds itself."""
        with serve(good) as server:
            connector = aiohttp.TCPConnector(**bounds)
            async with aiohttp.ClientSession(connector=connector) as session:
                pool = SessionPool(session=session)
                async with pool:
                    await client(server.url, pool=pool).warm_up(asked)
                    assert sum(map(len, connector._conns.values())) == opened
            assert server.requests == []

    async def test_over_a_connector_whose_connections_are_taken(self) -> None:
        """If others hold the connections for ever, it ends with an error."""
        arrived, loop = asyncio.Event(), asyncio.get_running_loop()

        def hold(peer: Peer) -> None:
            peer.read_headers()
            loop.call_soon_threadsafe(arrived.set)
            peer.hold()

        with serve(hold) as server:
            connector = aiohttp.TCPConnector(limit=1)
            async with aiohttp.ClientSession(connector=connector) as session:
                taken = asyncio.ensure_future(session.get(server.url))
                await arrived.wait()
                pool = SessionPool(session=session, connect_timeout_seconds=0.01)
                async with pool:
                    with pytest.raises(TimeoutError):
                        await client(server.url, pool=pool).warm_up(1)
                taken.cancel()
                await asyncio.wait([taken])

    async def test_an_unreachable_server(self) -> None:
        """An unreachable server raises aiohttp's error, and nothing is left open."""
        with closed_port() as url:
            async with SessionPool() as pool:
                with pytest.raises(aiohttp.ClientConnectorError):
                    await client(url, pool=pool).warm_up(3)

    async def test_a_server_that_stops_answering(self) -> None:
        """Connecting has its own timeout."""
        with full_backlog() as url:
            async with SessionPool(connect_timeout_seconds=0.05) as pool:
                with pytest.raises(TimeoutError):
                    await client(url, pool=pool).warm_up(2)

    async def test_cancelled(self) -> None:
        """It closes what it opened."""
        with full_backlog() as url:
            async with SessionPool() as pool:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await client(url, pool=pool).warm_up(3)
                assert not (await pool.enter()).session.connector._acquired


class TestEnd:
    """Draining, closing, and leaving open."""

    async def test_drain_then_close(self) -> None:
        """Draining accepts no new call and waits for those in flight."""
        gate = Gate()
        with serve(gate) as server:
            async with client(server.url) as api, asyncio.TaskGroup() as group:
                call = group.create_task(api.session.create(REQUEST))
                await gate.all_arrived(1)
                assert await api.drain(timeout_seconds=0) == 1
                with pytest.raises(sg.PoolClosed, match="draining"):
                    await api.session.create(REQUEST)
                draining = group.create_task(api.drain())
                gate.go_on.set()
                assert await draining == 0
                assert call.done()
        assert len(server.requests) == 1

    async def test_used_after_close(self, api) -> None:
        """A closed pool raises an error."""
        await api.session.create(REQUEST)
        await api.close()

        for use in (
            api.session.create(REQUEST),
            api.session.status(sg.SessionRef("ps_1")),
            anext(aiter(api.session.create_many([REQUEST]))),
            api.warm_up(),
        ):
            with pytest.raises(sg.PoolClosed, match="closed"):
                await use

    async def test_a_shared_one_stays_open(self, provider, connect) -> None:
        """A client doesn't close a pool that was passed to it."""
        async with SessionPool() as pool:
            for name in ("a", "b"):
                async with connect(provider, pool=pool) as api:
                    await api.session.create(REQUEST, key=name)
            assert pool.stats().loops == 1
        assert pool.stats().loops == 0

    async def test_left_open(self, provider, key) -> None:
        """A client that is left open warns, with the line that made it."""
        line = inspect.currentframe().f_lineno + 1
        api = sg.SmartGlocal(provider.project, key, provider.url)
        await api.session.create(REQUEST)
        with left_open(f"{__file__}:{line}") as caught:
            del api
            # The session is closed in turns of the loop; the pool is freed after that.
            async with asyncio.timeout(30):
                while not any(each.category is sg.errors.LeftOpen for each in caught):
                    gc.collect()
                    await asyncio.sleep(0)

    @loops
    def test_left_open_after_its_loops(self, provider, key, new_loop) -> None:
        """It also warns if only the signing threads are left."""
        pool = SessionPool()
        line = inspect.currentframe().f_lineno - 1
        api = sg.SmartGlocal(provider.project, key, provider.url, pool=pool)
        run(new_loop, api.session.create(REQUEST))
        with left_open(f"{__file__}:{line}") as caught:
            del api, pool
            # A signing thread may hold the pool until it has looked for more to sign.
            ends = time.monotonic() + 30
            while not caught and time.monotonic() < ends:
                gc.collect()

    async def test_unused_and_left(self) -> None:
        """An unused pool may be left open."""
        client("http://127.0.0.1:9")
        gc.collect()


class TestOwnSession:
    """A session of the caller."""

    async def test_is_used_and_left_open(self) -> None:
        """Its middlewares run before the signer, its headers are sent, and it stays open."""
        seen: list[str | None] = []

        async def look(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
            seen.append(request.headers.get("X-PARTNER-SIGN"))
            response = await handler(request)
            seen.append(request.headers.get("X-PARTNER-SIGN"))
            return response

        async with aiohttp.ClientSession(headers={"X-Mine": "1"}, middlewares=(look,)) as session:
            with serve(good) as server:
                async with SessionPool(session=session) as pool:
                    await client(server.url, pool=pool).session.create(REQUEST)
            assert not session.closed
        assert seen == [None, "c3RhbXA="]
        assert b"X-Mine: 1" in server.requests[0][0]

    async def test_is_not_asked_for_the_length_of_a_redirect(self) -> None:
        """Redirects are refused on it, too."""
        with serve(good) as elsewhere:
            moved = answer(b"", "307 Temporary Redirect", f"Location: {elsewhere.url}")

            def move(peer: Peer) -> None:
                peer.read_request()
                peer.send(moved)

            async with aiohttp.ClientSession() as session:
                with serve(move) as server:
                    async with SessionPool(session=session) as pool:
                        with pytest.raises(sg.Refused, match="a redirect"):
                            await client(server.url, pool=pool).session.create(REQUEST)
            assert elsewhere.connections == 0


class TestConnections:
    """The pool's own sessions."""

    async def test_redirects_are_refused(self) -> None:
        """A redirect isn't followed: it would send a valid signature to another host."""
        with serve(good) as elsewhere, contextlib.ExitStack() as stack:
            for status in ("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Moved"):
                moved = answer(b"", status, f"Location: {elsewhere.url}")

                def move(peer: Peer, moved: bytes = moved) -> None:
                    peer.read_request()
                    peer.send(moved)

                server = stack.enter_context(serve(move))
                async with client(server.url) as api:
                    with pytest.raises(sg.Refused, match="a redirect") as failed:
                        await api.session.create(REQUEST)
                assert failed.value.http_status == int(status[:3])
            assert elsewhere.connections == 0

    async def test_no_cookies(self) -> None:
        """Cookies of the server are ignored."""

        def bake(peer: Peer) -> None:
            while True:
                peer.read_request()
                peer.send(answer(SESSION, "200 OK", "Set-Cookie: a=b; Path=/"))

        with serve(bake) as server:
            async with client(server.url) as api:
                await api.session.create(REQUEST)
                await api.session.create(REQUEST)

        assert [b"Cookie" in head for head, _ in server.requests] == [False, False]

    async def test_kept_alive(self) -> None:
        """One connection is used for several calls."""
        with serve(good) as server:
            async with client(server.url) as api:
                for _ in range(5):
                    await api.session.create(REQUEST)

        assert (server.connections, len(server.requests)) == (1, 5)

    async def test_not_kept_too_long(self) -> None:
        """A connection that was idle longer than the limit isn't used again."""
        with serve(good) as server:
            async with SessionPool(keepalive_timeout_seconds=0.01) as pool:
                api = client(server.url, pool=pool)
                await api.session.create(REQUEST)
                await asyncio.sleep(0.03)
                await api.session.create(REQUEST)

        assert (server.connections, len(server.requests)) == (2, 2)


@pytest.mark.parametrize(("suffix", "end"), [(None, ""), ("shop/1.2 (eu)", " shop/1.2 (eu)")])
async def test_the_user_agent(key, suffix, end) -> None:
    """The header has the versions of the package and of Python, then what the program adds."""
    seen: list[str] = []

    async def remember(request: web.Request) -> web.Response:
        seen.append(request.headers["User-Agent"])
        return web.json_response({"status": "ok", "wallets": []})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", remember)
    async with (
        TestServer(app) as server,
        sg.SmartGlocal("demo", key, str(server.make_url("/")), user_agent=suffix) as api,
    ):
        await api.wallet.balance()
    python = platform.python_version()
    assert seen == [f"smartglocal-async/{sg.__version__} Python/{python}{end}"]


def test_a_user_agent_that_is_refused(key) -> None:
    """A line break would end the header; a pool of your own has its own."""
    with pytest.raises(sg.InvalidRequest, match="printable"):
        sg.SmartGlocal("demo", key, sg.DEMO, user_agent="shop\r\nX-Other: 1")
    with pytest.raises(sg.InvalidRequest, match="in the pool"):
        sg.SmartGlocal("demo", key, sg.DEMO, user_agent="shop", pool=sg.SessionPool())
