"""SessionPool: aiohttp sessions to share, one for each event loop, and what belongs to each.

A slot for each attempt, the time limits of attempts, and the threads that sign.
"""

import asyncio
import inspect
import math
import os
import platform
import ssl
import sys
import threading
import warnings
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
from aiohttp import ClientMiddlewareType, ClientRequest, ClientSession, ClientTimeout
from attrs import define, field, frozen
from yarl import URL

from .errors import InvalidRequest, LeftOpen, PoolClosed
from .fresh_connector import FreshConnector
from .models.validators import above_zero
from .servers import PROXY_FORM, is_proxy

_LOOK_AGAIN_SECONDS: Final = 0.01
_MIN_INTERVAL_SECONDS: Final = 0.01
"""The least time between two looks at the attempts that may have to end."""


@define(eq=False)
class TimeLimit:
    """The time limit of one attempt, used as a context manager in the task that makes it.

    Leaving it raises `TimeoutError` if the time was over, as `asyncio.timeout` does.
    """

    limits: "TimeLimits"
    ends: float
    """On the clock of the event loop."""
    task: asyncio.Task[Any] | None = None
    cancelling: int = 0
    """How often the task had been cancelled when the attempt began."""
    has_expired: bool = False

    def __enter__(self) -> None:
        self.task = asyncio.current_task()
        if self.task is not None:
            self.cancelling = self.task.cancelling()
        self.limits.add(self)

    def __exit__(self, kind: type[BaseException] | None, *_exc_info: object) -> None:
        self.limits.running.discard(self)
        if self.has_expired and self.task is not None:
            # Another cancellation of the task, by its owner, is not ours to take back.
            is_ours = self.task.uncancel() <= self.cancelling
            if is_ours and kind is not None and issubclass(kind, asyncio.CancelledError):
                raise TimeoutError


@define(eq=False)
class TimeLimits:
    """The time limits of the attempts in one event loop, with one timer for all of them.

    `asyncio.timeout` makes a timer for each, which takes four times as long. Most attempts end in
    time, so the timer fires rarely, and looks at the attempts in flight then.
    """

    loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop)
    running: set[TimeLimit] = field(factory=set[TimeLimit])
    timer: asyncio.TimerHandle | None = None
    fires_at: float = math.inf

    def of(self, seconds: float) -> TimeLimit:
        """Return a time limit that ends this many seconds from now."""
        return TimeLimit(self, self.loop.time() + seconds)

    def add(self, limit: TimeLimit) -> None:
        """Watch a time limit until it is left."""
        self.running.add(limit)
        if limit.ends < self.fires_at:
            self._set_timer(limit.ends)

    def close(self) -> None:
        """Stop the timer."""
        if self.timer is not None:
            self.timer.cancel()

    def _set_timer(self, moment: float) -> None:
        self.close()
        self.fires_at, self.timer = moment, self.loop.call_at(moment, self._fire)

    def _fire(self) -> None:
        # The event loop calls a timer up to the resolution of its clock too early.
        now = max(self.loop.time(), self.fires_at)
        self.fires_at, self.timer = math.inf, None
        for limit in [limit for limit in self.running if limit.ends <= now]:
            self.running.discard(limit)
            if limit.task is not None:
                limit.has_expired = True
                _ = limit.task.cancel()
        if self.running:
            # Many that end one after another don't have all of them looked at each time.
            soonest = min(limit.ends for limit in self.running)
            self._set_timer(max(soonest, now + _MIN_INTERVAL_SECONDS))


@define(eq=False)
class _Signature:
    """A signature that a thread is asked for, by an event loop."""

    loop: asyncio.AbstractEventLoop
    make: Callable[[bytes], str] = field(repr=False)
    body: bytes = field(repr=False)
    result: asyncio.Future[str] = field(repr=False)


@define(eq=False)
class SigningThreads:
    """Threads that sign, for all event loops; each wakes a loop once for several signatures."""

    number: int
    process: int = field(factory=os.getpid)
    executor: ThreadPoolExecutor = field(init=False)
    waiting: deque[_Signature] = field(factory=deque[_Signature])
    busy: int = 0
    lock: threading.Lock = field(factory=threading.Lock)

    def __attrs_post_init__(self) -> None:
        self.executor = ThreadPoolExecutor(self.number, "smartglocal-signer")

    async def sign(
        self, loop: asyncio.AbstractEventLoop, make: Callable[[bytes], str], body: bytes
    ) -> str:
        """Return a signature that a thread makes."""
        result: asyncio.Future[str] = loop.create_future()
        with self.lock:
            self.waiting.append(_Signature(loop, make, body, result))
            is_thread_free = self.busy < self.number
            self.busy += is_thread_free
        if is_thread_free:
            _ = self.executor.submit(self._work)
        return await result

    def close(self) -> None:
        """Let the threads end when they have made the signatures that are waited for."""
        self.executor.shutdown(wait=False)

    def _work(self) -> None:
        """Sign until nothing waits; pass the signatures on when there are four, or no more."""
        made: list[tuple[_Signature, str | BaseException]] = []
        while True:
            with self.lock:
                signature = self.waiting.popleft() if self.waiting else None
                if signature is None and not made:
                    self.busy -= 1
                    return
            if signature is not None and not signature.result.cancelled():
                made.append((signature, _make(signature)))
            if signature is None or len(made) == _MAX_SIGNATURES_OF_A_WAKE_UP:
                for loop in {signature.loop for signature, _ in made}:
                    own = [(one.result, text) for one, text in made if one.loop is loop]
                    with suppress(RuntimeError):  # The loop was closed.
                        _ = loop.call_soon_threadsafe(_pass_on, own)
                made = []


def _make(signature: _Signature) -> str | BaseException:
    try:
        return signature.make(signature.body)
    except BaseException as error:  # noqa: BLE001 - it is raised in the task that waits
        return error


def _pass_on(made: list[tuple[asyncio.Future[str], str | BaseException]]) -> None:
    for result, text in made:
        if result.done():
            continue  # Its call was cancelled.
        if isinstance(text, str):
            result.set_result(text)
        else:
            result.set_exception(text)


@define(eq=False)
class LoopState:
    """What a pool has in one event loop."""

    session: ClientSession
    limit: int
    connecting: ClientTimeout
    lifetime: AsyncGenerator["LoopState"] | None = None
    attempts: int = 0
    calls: int = 0
    sending: int = 0
    queue: deque[asyncio.Future[None]] = field(factory=deque[asyncio.Future[None]])
    """Attempts that wait for a slot, first come first served."""
    time_limits: TimeLimits = field(factory=TimeLimits)
    signed: int = 0
    """Signatures made on the event loop in its present turn."""
    is_closed: bool = False

    def may_sign(self) -> bool:
        """Return whether a signature may be made on the event loop now, and count it."""
        if self.signed >= _MAX_SIGNATURES_OF_A_TURN:
            return False
        if not self.signed:
            _ = asyncio.get_running_loop().call_soon(self._begin_turn)
        self.signed += 1
        return True

    def _begin_turn(self) -> None:
        self.signed = 0

    async def take_slot(self, patience_seconds: float) -> None:
        """Take one of the pool's slots for an attempt, to be freed by `free_slot`.

        Raises:
            TimeoutError: none came free in time; nothing was sent.

        """
        self.attempts += 1
        # While an attempt waits, all slots are taken: one that comes free is passed on.
        if self.sending < self.limit:
            self.sending += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.queue.append(turn)
        try:
            async with asyncio.timeout(patience_seconds):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.free_slot()  # It came just as its waiter left.
            else:
                self.queue.remove(turn)
            raise

    def free_slot(self) -> None:
        """Pass a slot to the first attempt that waits for one, or leave it empty."""
        for turn in self.queue:
            if not turn.done():
                self.queue.remove(turn)
                turn.set_result(None)
                return
        self.sending -= 1

    @property
    def waiting(self) -> int:
        """How many attempts wait for a slot."""
        return len(self.queue)


async def until_idle(calls: Callable[[], int], timeout_seconds: float | None) -> int:
    """Wait until there are no calls in flight, in any event loop; return the number left."""
    # Looked at, and not waited for: the calls may belong to loops that end meanwhile.
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_seconds):
            while calls():  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    return calls()


async def close_in(loop: asyncio.AbstractEventLoop, lifetime: AsyncGenerator[LoopState]) -> None:
    """Close a session in the event loop that it belongs to, this one or one of another thread."""
    if loop is asyncio.get_running_loop():
        await lifetime.aclose()
    elif loop.is_running():
        closing = asyncio.run_coroutine_threadsafe(_close(lifetime), loop)
        while loop.is_running() and not closing.done():  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _close(lifetime: AsyncGenerator[LoopState]) -> None:
    await lifetime.aclose()


_MAX_SIGNING_THREADS: Final = 4
_MAX_SIGNATURES_OF_A_TURN: Final = 3
"""Signatures that are made on the event loop in one of its turns: about a millisecond."""
_MAX_SIGNATURES_OF_A_WAKE_UP: Final = 4
_TURNS: Final = 2
_PACKAGE: Final = f"{Path(__file__).parent}{os.sep}"


@frozen
class PoolStats:
    """A snapshot of a pool, over all its event loops."""

    loops: int
    """Event loops that have a session open."""
    calls: int
    """Logical calls in flight, waits between attempts included."""
    sending: int
    """Attempts that hold one of the ``limit`` slots right now."""
    waiting: int
    """Attempts that wait for a slot."""
    attempts: int
    """Attempts made so far."""
    signatures: int
    """Signatures made so far with a private key."""


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
    takes 50 ms, so do it off the event loop. ``proxy`` is the address of an HTTP proxy that every
    connection goes through, such as ``http://user:password@proxy.example:3128``; without it,
    servers are reached directly, whatever ``HTTPS_PROXY`` says. ``user_agent`` is added to the
    header User-Agent, which names this package and Python: your program, such as ``shop/1.2``.
    """

    limit: int = 100
    connect_timeout_seconds: float = field(default=5.0, kw_only=True)
    keepalive_timeout_seconds: float = field(default=15.0, kw_only=True)
    dns_cache_seconds: int = field(default=60, kw_only=True)
    signing_threads: int = field(
        factory=lambda: min(os.cpu_count() or 1, _MAX_SIGNING_THREADS), kw_only=True
    )
    ssl_context: ssl.SSLContext | None = field(default=None, kw_only=True, repr=False)
    proxy: str | None = field(default=None, kw_only=True, repr=False)
    user_agent: str | None = field(default=None, kw_only=True)
    session: ClientSession | None = field(default=None, kw_only=True, repr=False)
    _loop_states: dict[asyncio.AbstractEventLoop, LoopState] = field(
        factory=dict[asyncio.AbstractEventLoop, LoopState], init=False, repr=False
    )
    _threads: SigningThreads | None = field(default=None, init=False, repr=False)
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
        if self.user_agent is not None and not _is_header_text(self.user_agent):
            raise InvalidRequest("SessionPool.user_agent", "expected printable ASCII text")
        if self.proxy is not None and not is_proxy(self.proxy):
            raise InvalidRequest("SessionPool.proxy", PROXY_FORM)
        if self.session is not None:
            self._check_own(self.session)

    def _check_own(self, session: ClientSession) -> None:
        for name, option in (("proxy", self.proxy), ("user_agent", self.user_agent)):
            if option is not None:
                words = f"set the {name} of your own session"
                raise InvalidRequest(f"SessionPool.{name}", words)
        if not session.auto_decompress:
            raise InvalidRequest("SessionPool.session", "must decompress: auto_decompress=True")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.close()

    async def enter(self) -> LoopState:
        """Return what the calls of this event loop share.

        Raises:
            PoolClosed: the pool is draining or closed.

        """
        if (reason := self.closed()) is not None:
            raise reason
        return self._loop_states.get(asyncio.get_running_loop()) or await self._open()

    def closed(self) -> PoolClosed | None:
        """Return the reason for which no call can be made any more."""
        if self._state == "open":
            return None
        return PoolClosed(f"the session pool is {self._state}; make a new client for new calls")

    async def sign(
        self, make: Callable[[bytes], str], body: bytes, *, is_quick: bool = False
    ) -> str:
        """Return a signature, made on the event loop or on one of the pool's own threads.

        The way to a thread and back takes longer than it saves if nothing else waits. One that
        ``is_quick`` is made on the event loop, unless threads are signing for this loop or three
        were made in the present turn of the loop. The default threads of asyncio aren't used, as
        they resolve host names.

        Raises:
            PoolClosed: the pool was closed.

        """
        threads, loop = self._signing_threads(), asyncio.get_running_loop()
        self._signatures += 1
        loop_state = self._loop_states.get(loop)
        if is_quick and loop_state is not None and loop_state.may_sign():
            return make(body)
        return await threads.sign(loop, make, body)

    def _signing_threads(self) -> SigningThreads:
        with self._lock:
            if self._state == "closed":
                raise PoolClosed("the session pool is closed")
            # After a fork the threads are the parent's, and would never answer.
            if self._threads is None or self._threads.process != os.getpid():
                self._threads = SigningThreads(self.signing_threads)
            return self._threads

    async def _open(self) -> LoopState:
        loop = asyncio.get_running_loop()
        if self.session is not None and self.session.closed:
            raise PoolClosed("the aiohttp session that was given to the pool is closed")
        if getattr(self.session, "_loop", loop) is not loop:
            raise PoolClosed("the aiohttp session that was given belongs to another event loop")
        for known, loop_state in list(self._loop_states.items()):
            if known.is_closed() and self._loop_states.pop(known, None) is loop_state:
                self._past_attempts += loop_state.attempts
        lifetime = self._live(loop)
        loop_state = await anext(lifetime)
        loop_state.lifetime = lifetime
        return loop_state

    async def warm_up(self, server: str, connections: int) -> None:
        """Open that many connections to a server now; no request is sent.

        No more than ``limit``, and than the connector of the caller's own session lets be open.

        Raises:
            aiohttp.ClientError: the server can't be reached.
            TimeoutError: it didn't let itself be connected to in time.

        """
        session = (await self.enter()).session
        connector = session.connector
        assert connector is not None  # noqa: S101 - a session that is open has one
        # A connection is used by requests with the same proxy and the same headers for it only.
        request = ClientRequest(
            "POST",
            URL(server),
            loop=asyncio.get_running_loop(),
            proxy=None if self.proxy is None else URL(self.proxy),
            proxy_headers=None if self.proxy is None else session.headers,
        )
        # With a bound on all of it, too: others may hold every connection that there may be.
        seconds = self.connect_timeout_seconds
        timeout = ClientTimeout(connect=_TURNS * seconds, sock_connect=seconds)
        # 0 is no limit. All are held until the last one is open, so none may wait for another.
        bounds = (self.limit, connector.limit, connector.limit_per_host)
        number = min(connections, *(bound for bound in bounds if bound))
        with ExitStack() as held:  # Released together, or one connection would serve them all.

            async def hold() -> None:
                _ = held.callback((await connector.connect(request, [], timeout)).release)

            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(number):
                        _ = group.create_task(hold())
            except ExceptionGroup as failures:
                # They all failed to reach one server: the first failure says why.
                raise failures.exceptions[0] from None

    async def drain(self, timeout_seconds: float | None = None) -> int:
        """Take no new calls and wait for those in flight; return the number still in flight.

        That goes for every client of the pool; `SmartGlocal.drain` drains one of them.
        """
        if self._state == "open":
            self._state = "draining"
        return await until_idle(self._calls, timeout_seconds)

    def _calls(self) -> int:
        # Those in a loop that was stopped will never end.
        loop_states = list(self._loop_states.items())
        return sum(loop_state.calls for loop, loop_state in loop_states if loop.is_running())

    async def close(self) -> None:
        """Close every session made here; a second time does nothing.

        A session whose loop runs in another thread is closed there; one whose loop is idle is
        closed when that loop shuts down.
        """
        self._state = "closed"
        for loop, loop_state in list(self._loop_states.items()):
            loop_state.is_closed = True
            lifetime, loop_state.lifetime = loop_state.lifetime, None
            if lifetime is not None:
                await close_in(loop, lifetime)
        with self._lock:
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.close()

    def stats(self) -> PoolStats:
        """Return the counts of calls, attempts and signatures."""
        loop_states = list(self._loop_states.values())
        return PoolStats(
            loops=len(loop_states),
            calls=sum(loop_state.calls for loop_state in loop_states),
            sending=sum(loop_state.sending for loop_state in loop_states),
            waiting=sum(loop_state.waiting for loop_state in loop_states),
            attempts=self._past_attempts + sum(loop_state.attempts for loop_state in loop_states),
            signatures=self._signatures,
        )

    def foreign_middlewares(self) -> tuple[ClientMiddlewareType, ...]:
        """Return the middlewares of the caller's own session, which a request would replace."""
        return tuple(getattr(self.session, "_middlewares", None) or ())

    async def _live(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[LoopState]:
        # An asynchronous generator, because a loop that shuts down closes those that are
        # still open: the session ends with its loop, also where close() was not called.
        session = self.session or self._new_session()
        connecting = ClientTimeout(sock_connect=self.connect_timeout_seconds)
        loop_state = LoopState(session, self.limit, connecting)
        self._loop_states[loop] = loop_state
        try:
            yield loop_state
        finally:
            loop_state.is_closed = True
            loop_state.time_limits.close()
            if self._loop_states.pop(loop, None) is loop_state:
                self._past_attempts += loop_state.attempts
            if session is not self.session:
                await session.close()

    def _new_session(self) -> ClientSession:
        connector = FreshConnector(
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
            headers={"User-Agent": _user_agent(self.user_agent), "Accept": "application/json"},
            proxy=self.proxy,
        )

    def __del__(self) -> None:
        # Nothing is there yet when the pool was refused at birth.
        used = getattr(self, "_loop_states", None) or getattr(self, "_threads", None)
        if used and self._state != "closed" and not sys.is_finalizing():
            warnings.warn(
                f"a session pool was never closed; it was made at {self._made_at}: "
                "use `async with`, or `await api.close()`",
                LeftOpen,
                source=self,
                stacklevel=1,
            )


def _is_header_text(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _user_agent(suffix: str | None) -> str:
    own = "smartglocal-async"
    with suppress(metadata.PackageNotFoundError):  # It runs from a folder, and isn't installed.
        own = f"{own}/{metadata.version(own)}"
    return " ".join(filter(None, (own, f"Python/{platform.python_version()}", suffix)))


def _caller() -> str:
    """Name the line outside this package that is making a pool."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith((_PACKAGE, "<attrs generated")):
        frame = frame.f_back
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
