"""Sends the webhooks that are due, and advances the bank between calls."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator
from datetime import datetime
from functools import partial
from typing import Final

import aiohttp
from attrs import define, field

from ...keys import PrivateKey
from ..bank.webhooks import QueuedWebhook, WebhookQueue
from .dispatch import Dispatcher

_RESPONSE_SECONDS: Final = 10.0  # The provider's own limit is unknown.
_MAX_SLEEP_SECONDS: Final = 3600.0


@define(eq=False)
class WebhookSigner:
    """The key that signs webhooks; generated on first use, as that takes a while."""

    _key: PrivateKey | None = None
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def key(self) -> PrivateKey:
        """Return the key, always the same one."""
        with self._lock:
            if self._key is None:
                self._key = PrivateKey.generate()
            return self._key


@define(eq=False)
class WebhookDelivery:
    """Sends the webhooks of the queue: one task waits for them, and one sends each."""

    dispatcher: Dispatcher
    signer: WebhookSigner
    _wake: asyncio.Event = field(factory=asyncio.Event, init=False)
    _task: asyncio.Future[None] | None = field(default=None, init=False)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Deliver until the block ends; deliveries in progress are then cancelled."""
        loop = asyncio.get_running_loop()
        self.dispatcher.on_webhook_due = partial(loop.call_soon_threadsafe, self._start_or_wake)
        try:
            yield
        finally:
            self.dispatcher.on_webhook_due = None
            task, self._task = self._task, None
            if task is not None:
                _ = task.cancel()
                _ = await asyncio.wait({task})
                if not task.cancelled():
                    task.result()

    def _start_or_wake(self) -> None:
        # The task starts with the first wake-up: most servers never send a webhook.
        if self._task is None and self.dispatcher.on_webhook_due is not None:
            self._task = asyncio.ensure_future(self._run())
        self._wake.set()

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=_RESPONSE_SECONDS)
        # One connection for each, so that none stays open when the server stops.
        connector = aiohttp.TCPConnector(force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session,
            asyncio.TaskGroup() as tasks,
        ):
            while True:
                self._wake.clear()
                queue, url, webhooks, seconds = self._take_due()
                for webhook in webhooks:
                    _ = tasks.create_task(self._send(session, queue, url, webhook))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        _ = await self._wake.wait()

    def _take_due(self) -> tuple[WebhookQueue, str, list[QueuedWebhook], float | None]:
        """Return the queue, its URL, what to send now, and the seconds until the next is due."""
        dispatcher = self.dispatcher
        with dispatcher.lock:
            now = dispatcher.advance()
            queue = dispatcher.webhook_queue
            url = queue.url
            if url is None:
                return queue, "", [], None
            webhooks = queue.take(now)
            times = [queue.next_due, dispatcher.bank.next_due]
        return queue, url, webhooks, _sleep([time for time in times if time is not None], now)

    async def _send(
        self,
        session: aiohttp.ClientSession,
        queue: WebhookQueue,
        url: str,
        webhook: QueuedWebhook,
    ) -> None:
        sent = self.dispatcher.now()
        status: int | None = None
        problem: str | None = None
        headers = {
            "Content-Type": "application/json",
            "X-PARTNER-SIGN": self.signer.key().sign(webhook.body),
        }
        try:
            async with session.post(
                url, data=webhook.body, headers=headers, allow_redirects=False
            ) as response:
                status = response.status
        # A ValueError means that the URL is invalid, which counts as no answer.
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            problem = _problem_of(error)
        with self.dispatcher.lock:
            # After a reset the dispatcher has another queue.
            queue.done(webhook, status, sent, self.dispatcher.now(), problem=problem)
        self._wake.set()


def _problem_of(error: Exception) -> str:
    """Return why a webhook had no answer."""
    if isinstance(error, TimeoutError):
        return f"no answer within {_RESPONSE_SECONDS:.0f} seconds"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host has no known address"
    if isinstance(error, aiohttp.ClientSSLError):
        return "the connection isn't secure: TLS failed"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed without an answer"
    if isinstance(error, OSError) and error.errno:
        return f"no connection: {os.strerror(error.errno)}"
    if isinstance(error, ValueError):
        return "the address isn't a URL of HTTP"
    return "the answer isn't HTTP"


def _sleep(times: list[datetime], now: datetime) -> float | None:
    if not times:
        return None
    # A clock set by hand may not move; `Provider.tick` wakes this when it did.
    return max(0.0, min((min(times) - now).total_seconds(), _MAX_SLEEP_SECONDS))
