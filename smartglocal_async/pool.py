"""SessionPool: aiohttp sessions by event loop, bounded and lazy, with the threads that sign."""

import asyncio
import inspect
import os
import ssl
import sys
import warnings
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import aiohttp
from aiohttp import ClientMiddlewareType, ClientRequest, ClientSession, ClientTimeout
from attrs import define, field, frozen
from yarl import URL

from .errors import InvalidRequest, LeftOpen, PoolClosed

T = TypeVar("T")

_MOST_SIGNING_THREADS: Final = 4
_USER_AGENT: Final = "smartglocal-async"
_PACKAGE: Final = str(Path(__file__).parent)


@frozen
class PoolStats:
    """A snapshot of a pool, over all its event loops."""

    loops: int
    """Event loops that have a session open."""
    calls: int
    """Logical calls in flight, waits between attempts included."""
    sending: int
    """Attempts that hold one of the ``limit`` places right now."""
    waiting: int
    """Attempts that wait for a place."""
    attempts: int
    """Attempts made so far."""
    signatures: int
    """Signatures made so far on the pool's threads."""


@define(eq=False)
class Home:
    """What a pool holds in one event loop; entered, it counts one more call in flight."""

    session: ClientSession
    limit: int
    gate: asyncio.Semaphore
    lifetime: AsyncGenerator["Home"] | None = None
    attempts: int = 0
    calls: int = 0
    sending: int = 0
    waiting: int = 0
    idle: asyncio.Event = field(factory=asyncio.Event)

    def __enter__(self) -> Self:
        self.calls += 1
        self.idle.clear()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.calls -= 1
        if not self.calls:
            self.idle.set()

    def slot(self, patience_seconds: float) -> AbstractAsyncContextManager[ClientSession]:
        """Wait for one of the pool's places, and hold it while an attempt is made.

        Entering raises `TimeoutError` when no place came free in time; nothing was sent.
        """
        self.attempts += 1
        return _Slot(self, patience_seconds)

    async def wait_for_place(self, patience_seconds: float) -> None:
        """Queue for a place, first come first served."""
        self.waiting += 1
        try:
            async with asyncio.timeout(patience_seconds):
                _ = await self.gate.acquire()
        finally:
            self.waiting -= 1


@define(eq=False)
class _Slot:
    """One of the places of a home, held while an attempt is made."""

    home: Home
    patience_seconds: float

    async def __aenter__(self) -> ClientSession:
        home = self.home
        # A timer costs more than the rest of this; most attempts find a place at once.
        if home.sending < home.limit and not home.waiting:
            _ = await home.gate.acquire()
        else:
            await home.wait_for_place(self.patience_seconds)
        home.sending += 1
        return home.session

    async def __aexit__(self, *_exc_info: object) -> None:
        self.home.sending -= 1
        self.home.gate.release()


@define(eq=False)
class SessionPool:
    """Connections to share between clients, of several projects if need be.

    Each event loop gets an aiohttp session of its own on first use, so that a client built at
    import time works in any loop, and in one ``asyncio.run`` after another. A session closes
    with its loop (``asyncio.run`` shuts it down), or with ``await pool.close()``.

    ``limit`` bounds the attempts in flight per loop; more wait their turn, first come first
    served. ``keepalive_timeout_seconds`` stays below the 60 to 75 s after which servers
    usually drop an idle connection, so that no request meets one that is just closing.
    ``session`` is a session of your own: it is used as it is, with its own middlewares run
    after the signer, and never closed here. ``ssl_context`` takes a private CA or a client
    certificate; building one takes 50 ms, so do it off the event loop.
    """

    limit: int = 100
    connect_timeout_seconds: float = field(default=5.0, kw_only=True)
    keepalive_timeout_seconds: float = field(default=15.0, kw_only=True)
    dns_cache_seconds: int = field(default=60, kw_only=True)
    signing_threads: int = field(
        factory=lambda: min(os.cpu_count() or 1, _MOST_SIGNING_THREADS), kw_only=True
    )
    ssl_context: ssl.SSLContext | None = field(default=None, kw_only=True, repr=False)
    session: ClientSession | None = field(default=None, kw_only=True, repr=False)
    _homes: dict[asyncio.AbstractEventLoop, Home] = field(
        factory=dict[asyncio.AbstractEventLoop, Home], init=False, repr=False
    )
    _threads: ThreadPoolExecutor | None = field(default=None, init=False, repr=False)
    _state: str = field(default="open", init=False)
    _past_attempts: int = field(default=0, init=False, repr=False)
    _signatures: int = field(default=0, init=False, repr=False)
    _made_at: str = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._made_at = _caller()
        for name in ("limit", "signing_threads"):
            if getattr(self, name) < 1:
                raise InvalidRequest(f"SessionPool.{name}", "must be at least 1")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.close()

    async def enter(self) -> Home:
        """Give what this loop shares; entered, it counts a call that `drain` waits for.

        Raises:
            PoolClosed: the pool is draining or closed.

        """
        if self._state != "open":
            raise PoolClosed(f"the session pool is {self._state}; make a new client for new calls")
        return self._homes.get(asyncio.get_running_loop()) or await self._open()

    async def sign(self, make: Callable[[bytes], str], body: bytes) -> str:
        """Run a signature on the pool's own threads; the default ones resolve host names."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.signing_threads, "smartglocal-signer")
        self._signatures += 1
        return await asyncio.get_running_loop().run_in_executor(self._threads, make, body)

    async def _open(self) -> Home:
        for closed in [loop for loop in self._homes if loop.is_closed()]:
            self._past_attempts += self._homes.pop(closed).attempts
        lifetime = self._live(asyncio.get_running_loop())
        home = await anext(lifetime)
        home.lifetime = lifetime
        return home

    async def warm_up(self, server: str, connections: int) -> None:
        """Open that many connections to a server now, up to ``limit``; no request is sent.

        Raises:
            aiohttp.ClientError: the server can't be reached.
            TimeoutError: it didn't let itself be connected to in time.

        """
        connector = (await self.enter()).session.connector
        assert connector is not None  # noqa: S101 - a session that is open has one
        request = ClientRequest("POST", URL(server), loop=asyncio.get_running_loop())
        timeout = ClientTimeout(sock_connect=self.connect_timeout_seconds)
        with ExitStack() as held:  # Given back together, or one connection would serve them all.

            async def hold() -> None:
                _ = held.callback((await connector.connect(request, [], timeout)).release)

            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(connections, self.limit)):
                        _ = group.create_task(hold())
            except ExceptionGroup as failures:
                # They all failed to reach one server: the first failure tells it.
                raise failures.exceptions[0] from None

    async def drain(self, timeout_seconds: float | None = None) -> int:
        """Take no new calls and wait for those in flight; give the number still out."""
        if self._state == "open":
            self._state = "draining"
        try:
            async with asyncio.timeout(timeout_seconds):
                for loop, home in list(self._homes.items()):
                    if home.calls:
                        await _in_loop(loop, _wait(home.idle))
        except TimeoutError:
            pass
        return sum(home.calls for home in self._homes.values())

    async def close(self) -> None:
        """Close every session made here; a second time does nothing."""
        self._state = "closed"
        for loop, home in list(self._homes.items()):
            if home.lifetime is not None:
                await _in_loop(loop, home.lifetime.aclose())
        if self._threads is not None:
            self._threads.shutdown(wait=False)
            self._threads = None

    def stats(self) -> PoolStats:
        """Count what is going on, and what went on."""
        homes = list(self._homes.values())
        return PoolStats(
            loops=len(homes),
            calls=sum(home.calls for home in homes),
            sending=sum(home.sending for home in homes),
            waiting=sum(home.waiting for home in homes),
            attempts=self._past_attempts + sum(home.attempts for home in homes),
            signatures=self._signatures,
        )

    def foreign_middlewares(self) -> tuple[ClientMiddlewareType, ...]:
        """Give the middlewares of the caller's own session, which a request would replace."""
        return tuple(getattr(self.session, "_middlewares", None) or ())

    async def _live(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[Home]:
        # An asynchronous generator, because a loop that shuts down closes those that are
        # still open: the session ends with its loop, even where nobody called close().
        session = self.session or self._new_session()
        self._homes[loop] = home = Home(session, self.limit, asyncio.Semaphore(self.limit))
        try:
            yield home
        finally:
            self._past_attempts += self._homes.pop(loop).attempts
            if session is not self.session:
                await session.close()

    def _new_session(self) -> ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self.limit,
            keepalive_timeout=self.keepalive_timeout_seconds,
            ttl_dns_cache=self.dns_cache_seconds,
            ssl=True if self.ssl_context is None else self.ssl_context,
        )
        return ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # The attempt's own timer is the total one; connecting has its own exception.
            timeout=ClientTimeout(sock_connect=self.connect_timeout_seconds),
            headers={"User-Agent": _USER_AGENT, "Accept": "application/json"},
        )

    def __del__(self) -> None:
        # Nothing is there yet when the pool was refused at birth.
        used = getattr(self, "_homes", None) or getattr(self, "_threads", None)
        if used and self._state != "closed" and not sys.is_finalizing():
            warnings.warn(
                f"a session pool was never closed; it was made at {self._made_at}: "
                "use `async with`, or `await api.close()`",
                LeftOpen,
                source=self,
                stacklevel=1,
            )


def _caller() -> str:
    """Name the line outside this package that is making a pool."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith((_PACKAGE, "<attrs generated")):
        frame = frame.f_back
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


async def _wait(event: asyncio.Event) -> None:
    _ = await event.wait()


async def _in_loop(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T | None:
    """Await work that belongs to a loop: this one, or one that runs in another thread."""
    if loop is asyncio.get_running_loop():
        return await work
    if loop.is_running():
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
    work.close()  # Its loop is over, or idle; it closes its sessions when it shuts down.
    return None
