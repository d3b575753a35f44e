"""Posts the webhooks that are due, and advances the bank while nobody calls."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Final

import aiohttp
from attrs import define, field

from ..signing import PrivateKey
from .desk import Desk
from .outbox import Parcel

_ANSWER_SECONDS: Final = 10.0  # The provider's patience is unknown.
_LONGEST_SLEEP: Final = 3600.0


@define(eq=False)
class Seal:
    """The key that signs webhooks; made when it is first wanted, as that takes a while."""

    _key: PrivateKey | None = None
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def key(self) -> PrivateKey:
        """Give the key; it stays the same."""
        with self._lock:
            if self._key is None:
                self._key = PrivateKey.generate()
            return self._key


@define(eq=False)
class Courier:
    """Sends what the outbox gives, with a task for each and one that waits."""

    desk: Desk
    seal: Seal
    _wake: asyncio.Event = field(factory=asyncio.Event, init=False)
    _task: asyncio.Future[None] | None = field(default=None, init=False)

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None, None]:
        """Deliver until the block ends; what is on its way then is dropped."""
        loop = asyncio.get_running_loop()
        self.desk.alarm.set(lambda: loop.call_soon_threadsafe(self._rise))
        try:
            yield
        finally:
            self.desk.alarm.set(None)
            task, self._task = self._task, None
            if task is not None:
                _ = task.cancel()
                _ = await asyncio.wait({task})
                if not task.cancelled():
                    task.result()

    def _rise(self) -> None:
        # A server that nothing is due at has no task.
        if self._task is None and self.desk.alarm.is_set:
            self._task = asyncio.ensure_future(self._work())
        self._wake.set()

    async def _work(self) -> None:
        timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
        # A connection for each, so that none is left open when the server stops.
        connector = aiohttp.TCPConnector(force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session,
            asyncio.TaskGroup() as sending,
        ):
            while True:
                self._wake.clear()
                parcels, url, seconds = self._due()
                for parcel in parcels:
                    _ = sending.create_task(self._send(session, url, parcel))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        _ = await self._wake.wait()

    def _due(self) -> tuple[list[Parcel], str, float | None]:
        """Give what to send, whereto, and how long to sleep after that."""
        desk = self.desk
        with desk.lock:
            now = desk.advance()
            url = desk.outbox.url
            if url is None:
                return [], "", None
            parcels = desk.outbox.take(now)
            times = [desk.outbox.next_due, desk.bank.next_due]
        return parcels, url, _sleep([time for time in times if time is not None], now)

    async def _send(self, session: aiohttp.ClientSession, url: str, parcel: Parcel) -> None:
        sent = self.desk.clock()
        status: int | None = None
        headers = {
            "Content-Type": "application/json",
            "X-PARTNER-SIGN": self.seal.key().sign(parcel.body),
        }
        # ValueError: what was given as an address is none; it counts as no answer.
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
            async with session.post(
                url, data=parcel.body, headers=headers, allow_redirects=False
            ) as answer:
                status = answer.status
        with self.desk.lock:
            self.desk.outbox.done(parcel, status, sent, self.desk.clock())
        self._wake.set()


def _sleep(times: list[datetime], now: datetime) -> float | None:
    if not times:
        return None
    # A clock set by hand may stand still, and the bell rings when it was moved.
    return max(0.0, min((min(times) - now).total_seconds(), _LONGEST_SLEEP))
