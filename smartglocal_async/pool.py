"""SessionPool: aiohttp sessions by event loop, bounded and lazy, with the threads that sign."""

import asyncio
import inspect
import os
import ssl
import sys
import threading
import warnings
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

import aiohttp
from aiohttp import ClientMiddlewareType, ClientRequest, ClientSession, ClientTimeout
from attrs import define, field, frozen
from yarl import URL

from .errors import InvalidRequest, LeftOpen, PoolClosed
from .home import Home, close_in, until_idle
from .values.exactness import above_zero

_MOST_SIGNING_THREADS: Final = 4
_USER_AGENT: Final = "smartglocal-async"
_PACKAGE: Final = f"{Path(__file__).parent}{os.sep}"


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
class SessionPool:
    """Connections to share between clients, of several projects if need be.

    Each event loop gets an aiohttp session of its own on first use, so that a client built at
    import time works in any loop, and in one ``asyncio.run`` after another. A session closes
    with its loop (``asyncio.run`` shuts it down), or with ``await pool.close()``.

    ``limit`` bounds the attempts in flight per loop, over all clients and servers; more wait
    their turn, first come first served. ``keepalive_timeout_seconds`` stays below the 60 to 75 s
    after which servers usually drop an idle connection, so that no request meets one that is
    just closing. ``session`` is a session of your own: it is used as it is, cookies and
    connector included, in its own loop only; its middlewares run before the signer, and it is
    never closed here. ``ssl_context`` takes a private CA or a client certificate; building one
    takes 50 ms, so do it off the event loop.
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
    _threads_of: int = field(default=0, init=False, repr=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)
    _state: str = field(default="open", init=False)
    _past_attempts: int = field(default=0, init=False, repr=False)
    _signatures: int = field(default=0, init=False, repr=False)
    _made_at: str = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._made_at = _caller()
        above_zero("SessionPool.limit", self.limit, whole=True)
        above_zero("SessionPool.signing_threads", self.signing_threads, whole=True)
        for name in ("connect_timeout_seconds", "keepalive_timeout_seconds", "dns_cache_seconds"):
            above_zero(f"SessionPool.{name}", getattr(self, name))
        if self.session is not None and not self.session.auto_decompress:
            raise InvalidRequest("SessionPool.session", "must decompress: auto_decompress=True")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.close()

    async def enter(self) -> Home:
        """Give what this loop shares; entered, it counts a call that `drain` waits for.

        Raises:
            PoolClosed: the pool is draining or closed.

        """
        if (reason := self.closed()) is not None:
            raise reason
        return self._homes.get(asyncio.get_running_loop()) or await self._open()

    def closed(self) -> PoolClosed | None:
        """Give the reason for which no call can be made any more."""
        if self._state == "open":
            return None
        return PoolClosed(f"the session pool is {self._state}; make a new client for new calls")

    async def sign(self, make: Callable[[bytes], str], body: bytes) -> str:
        """Run a signature on the pool's own threads; the default ones resolve host names.

        Raises:
            PoolClosed: the pool was closed.

        """
        threads = self._signing_threads()
        self._signatures += 1
        return await asyncio.get_running_loop().run_in_executor(threads, make, body)

    def _signing_threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._state == "closed":
                raise PoolClosed("the session pool is closed")
            # After a fork the threads are the parent's, and would never answer.
            if self._threads is None or self._threads_of != os.getpid():
                self._threads = ThreadPoolExecutor(self.signing_threads, "smartglocal-signer")
                self._threads_of = os.getpid()
            return self._threads

    async def _open(self) -> Home:
        loop = asyncio.get_running_loop()
        if self.session is not None and self.session.closed:
            raise PoolClosed("the aiohttp session that was given to the pool is closed")
        if getattr(self.session, "_loop", loop) is not loop:
            raise PoolClosed("the aiohttp session that was given belongs to another event loop")
        for known, home in list(self._homes.items()):
            if known.is_closed() and self._homes.pop(known, None) is home:
                self._past_attempts += home.attempts
        lifetime = self._live(loop)
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
        """Take no new calls and wait for those in flight; give the number still out.

        That goes for every client of the pool; `SmartGlocal.drain` drains one of them.
        """
        if self._state == "open":
            self._state = "draining"
        return await until_idle(self._calls, timeout_seconds)

    def _calls(self) -> int:
        # Those in a loop that was stopped will never end.
        return sum(home.calls for loop, home in list(self._homes.items()) if loop.is_running())

    async def close(self) -> None:
        """Close every session made here; a second time does nothing.

        A session whose loop runs in another thread is closed there; one whose loop is idle is
        closed when that loop shuts down.
        """
        self._state = "closed"
        for loop, home in list(self._homes.items()):
            home.is_closed = True
            lifetime, home.lifetime = home.lifetime, None
            if lifetime is not None:
                await close_in(loop, lifetime)
        with self._lock:
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)

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
        connecting = ClientTimeout(sock_connect=self.connect_timeout_seconds)
        home = Home(session, self.limit, connecting, asyncio.Semaphore(self.limit))
        self._homes[loop] = home
        try:
            yield home
        finally:
            home.is_closed = True
            if self._homes.pop(loop, None) is home:
                self._past_attempts += home.attempts
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
