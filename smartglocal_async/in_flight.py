"""The keys that callers chose: for each one call at a time, and one request."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from hashlib import blake2b
from typing import Any, Final, Generic, TypeVar

from attrs import define, field

from .errors import CallFailed, KeyReused
from .idempotency import RequestDigest

T = TypeVar("T")

_KEY_BYTES: Final = 16


@define
class CallKey:
    """A key, and the call that it is used with: each call has its own keys."""

    operation: str
    text: str
    moves_money: bool = False
    """Whether a repeat of the call may move money a second time."""
    number: int = field(default=0, eq=False)
    """The number of the call, for an observer."""
    _named: tuple[bytes, bytes] | None = field(default=None, init=False, eq=False, repr=False)

    def name(self, secret: bytes) -> bytes:
        """Return the keyed digest under which the key is remembered; it is computed once."""
        if self._named is None or self._named[0] is not secret:
            text = f"{self.operation}\0{self.text}".encode()
            self._named = secret, blake2b(text, key=secret, digest_size=_KEY_BYTES).digest()
        return self._named[1]


def _ignore(_number: int) -> None:
    pass


class StillInFlight(Exception):
    """The deadline of a caller passed while another call with the same key was in progress."""


@define(eq=False)
class _SharedCall(Generic[T]):
    """A call in progress in one event loop, and the callers that wait for it."""

    loop: asyncio.AbstractEventLoop
    name: bytes
    digest: bytes
    waiting: int = 0
    results: "tuple[asyncio.Future[T], ...]" = ()
    """One for each caller: a caller that is cancelled cancels its own future, not the call."""
    task: "asyncio.Task[None] | None" = None
    is_ending: bool = False
    """Whether the last caller left, so that the call is being cancelled."""
    has_ended: bool = False
    number: int = 0
    """The number of the call that makes it, for an observer."""

    def join(self) -> "asyncio.Future[T]":
        """Return a future of the result, for one more caller."""
        result: asyncio.Future[T] = self.loop.create_future()
        self.results = (*self.results, result)
        self.waiting += 1
        return result


@define(eq=False)
class InFlight:
    """The keys of calls in progress and of earlier calls, with the request of each.

    ``remembered`` bounds the keys of calls that move money, and those of all others separately:
    many creates don't make it forget a payout. A key whose call may have moved money, and whose
    outcome is unknown, is never forgotten.
    """

    remembered: int
    secret: bytes = field(factory=lambda: os.urandom(16), repr=False)
    # Keys by their keyed digest; plain dictionaries, which keep the order of insertion in half of
    # the memory of an OrderedDict.
    _harmless: dict[bytes, bytes] = field(factory=dict[bytes, bytes], init=False, repr=False)
    _money: dict[bytes, bytes] = field(factory=dict[bytes, bytes], init=False, repr=False)
    _unresolved: dict[bytes, bytes] = field(factory=dict[bytes, bytes], init=False, repr=False)
    """Keys of calls that may have moved money, and whose outcome is unknown."""
    # By key, then by event loop: a future can't be awaited in another loop.
    _calls: dict[bytes, dict[int, _SharedCall[Any]]] = field(
        factory=dict[bytes, dict[int, _SharedCall[Any]]], init=False, repr=False
    )
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)
    """Held for a few dictionary operations, and never while other code runs."""

    def remember(self, key: CallKey, digest: RequestDigest) -> bool:
        """Remember a key whose request is about to be sent; return whether it was new.

        Raises:
            KeyReused: the key was used with another request meanwhile; it must not be sent.

        """
        name = key.name(self.secret)
        with self._lock:
            known = self._known(name)
            if known is not None and known != digest.packed:
                raise KeyReused(key.text, digest.differing_fields(known))
            if key.moves_money:
                _ = self._money.pop(name, None)
                self._unresolved[name] = digest.packed
            elif known is None:
                self._put(self._harmless, name, digest.packed)
        return known is None

    def resolve(self, key: CallKey, digest: RequestDigest) -> None:
        """Note that the outcome of the call is known; the key stays bound to its request."""
        name = key.name(self.secret)
        with self._lock:
            _ = self._unresolved.pop(name, None)
            self._put(self._money if key.moves_money else self._harmless, name, digest.packed)

    def forget(self, key: CallKey) -> None:
        """Free a key whose call had no effect, so that another request may use it."""
        name = key.name(self.secret)
        with self._lock:
            for kept in (self._unresolved, self._money, self._harmless):
                _ = kept.pop(name, None)

    def is_used(self, key: CallKey) -> bool:
        """Return whether an earlier call with this key may have reached the provider."""
        name = key.name(self.secret)
        with self._lock:
            return self._known(name) is not None

    def is_in_other_loop(self, key: CallKey) -> bool:
        """Return whether a call with this key is in progress in another event loop."""
        here = asyncio.get_running_loop()
        with self._lock:
            return any(call.loop is not here for call in self._in_progress(key.name(self.secret)))

    async def share(
        self,
        key: CallKey,
        digest: RequestDigest,
        start: Callable[[], Coroutine[Any, Any, T]],
        seconds_left: Callable[[], float] = lambda: float("inf"),
        on_join: Callable[[int], None] = _ignore,
    ) -> T:
        """Await the call with this key: the one in progress in this event loop, or a new one.

        The call runs in a task of its own, so that a caller that is cancelled leaves it to the
        others; when the last one leaves, the call is cancelled and waited for. A caller that joins
        keeps its own deadline, as ``seconds_left`` has it: if it is sooner, `StillInFlight` is
        raised; if it is later and the call ran out of time, the call is made again. A caller that
        joins has ``on_join`` called with the number of the one that it joins.

        Raises:
            KeyReused: the key was used with another request; names the fields that differ.
            StillInFlight: the joined call is still in progress at the caller's own deadline.

        """
        while True:
            call, is_new = self._reserve(key, digest)
            if is_new:
                call.number = key.number
                result = call.join()
                self._begin(call, start)
                return await self._result(call, result)
            timer = asyncio.timeout(_or_none(seconds_left()))
            try:
                async with timer:
                    if call.is_ending and call.task is not None:
                        # The next call waits for its end: what runs on the way out may send.
                        _ = await asyncio.wait([call.task])
                        continue
                    on_join(call.number)
                    return await self._result(call, call.join())
            except TimeoutError:
                if not timer.expired():
                    raise
                raise StillInFlight from None
            except CallFailed as error:
                if error.stopped_by != "deadline" or seconds_left() <= 0:
                    raise

    def _reserve(self, key: CallKey, digest: RequestDigest) -> tuple[_SharedCall[Any], bool]:
        """Return the call with this key that is in progress in this event loop, or a new one."""
        loop, name = asyncio.get_running_loop(), key.name(self.secret)
        with self._lock:
            calls = self._calls.get(name)
            known = self._known(name)
            if known is None and calls is not None:
                known = next((call.digest for call in self._in_progress(name)), None)
            if known is not None and known != digest.packed:
                raise KeyReused(key.text, digest.differing_fields(known))
            if calls is None:
                calls = self._calls[name] = {}
            call = calls.get(id(loop))
            # The id of a loop that is gone may be used again.
            if call is not None and call.loop is loop:
                return call, False
            call = calls[id(loop)] = _SharedCall(loop, name, digest.packed)
            return call, True

    def _begin(self, call: _SharedCall[T], start: Callable[[], Coroutine[Any, Any, T]]) -> None:
        # Outside of the lock: an eager task runs other code at once, and may end at once.
        try:
            call.task = call.loop.create_task(self._run(call, start))
        except BaseException as error:
            # A task factory of the caller's may raise; the caller gets what it raised.
            self._end(call, error)
            raise
        # A task that is cancelled before its first step runs nothing.
        call.task.add_done_callback(lambda _done: self._end(call, None))

    async def _run(self, call: _SharedCall[T], start: Callable[[], Coroutine[Any, Any, T]]) -> None:
        """Make the call, and pass its result to all that wait for it."""
        try:
            result = await start()
        except asyncio.CancelledError:
            self._end(call, None)
            raise
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            self._end(call, error)
            if not isinstance(error, Exception):
                raise  # The event loop ends by these.
        else:
            for future in self._ended(call):
                future.set_result(result)

    async def _result(self, call: _SharedCall[T], result: "asyncio.Future[T]") -> T:
        try:
            return await result
        except BaseException:
            if result.done() and not result.cancelled():
                _ = result.exception()  # Retrieved, also if the caller was cancelled meanwhile.
            call.waiting -= 1
            if not call.waiting and call.task is not None and not call.has_ended:
                call.is_ending = True
                _ = call.task.cancel()
                _ = await asyncio.wait([call.task])
            raise

    def _end(self, call: _SharedCall[Any], error: BaseException | None) -> None:
        """End a call with an error, or as cancelled; a second time does nothing."""
        for future in self._ended(call):
            if error is None:
                _ = future.cancel()
            else:
                future.set_exception(error)

    def _ended(self, call: _SharedCall[T]) -> "list[asyncio.Future[T]]":
        """Remove a call that has ended; return the futures of those that wait for it."""
        if call.has_ended:
            return []
        call.has_ended = True
        with self._lock:
            calls = self._calls.get(call.name)
            # A closed loop never ends its calls, and another one may have its id by now.
            if calls is not None and calls.get(id(call.loop)) is call:
                del calls[id(call.loop)]
                if not calls:
                    del self._calls[call.name]
        return [future for future in call.results if not future.done()]

    def _in_progress(self, name: bytes) -> Iterator[_SharedCall[Any]]:
        # A loop that was closed with a call in it never ends it.
        calls = self._calls.get(name, {}).values()
        return (call for call in calls if not call.loop.is_closed())

    def _known(self, name: bytes) -> bytes | None:
        return self._unresolved.get(name) or self._money.get(name) or self._harmless.get(name)

    def _put(self, kept: dict[bytes, bytes], name: bytes, packed: bytes) -> None:
        """Keep a key as the latest one; the oldest is forgotten when there are too many."""
        _ = kept.pop(name, None)
        kept[name] = packed
        while len(kept) > max(0, self.remembered):
            del kept[next(iter(kept))]


def _or_none(seconds: float) -> float | None:
    return None if seconds == float("inf") else seconds
