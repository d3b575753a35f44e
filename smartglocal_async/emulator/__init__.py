"""The provider in a box: `run` it beside your code, or `run_in_thread` beside your tests.

It checks signatures, plays the whole life of a session in both API versions as the provider's
samples do, sends webhooks, and goes wrong on request. It shares no logic with the client.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from typing import Final

from ..signing import PrivateKey, PublicKey
from .app import serving
from .bank import Bank
from .courier import Courier, Seal
from .desk import Desk
from .faults import Fault, FaultKind
from .outbox import Outbox, WebhookScript
from .outcomes import OUTCOMES, Fate, Outcome
from .provider import Provider
from .records import Delivery, Movement, Order, Report, Seen
from .rules import (
    Capture,
    Confirmation,
    DeclinedSession,
    Duplicates,
    KeyScope,
    Permission,
    Reaction,
    Rules,
    TimeoutWord,
)
from .script import FaultScript, Strikes

__all__ = [
    "OUTCOMES",
    "Capture",
    "Confirmation",
    "DeclinedSession",
    "Delivery",
    "Duplicates",
    "Fate",
    "Fault",
    "FaultKind",
    "FaultScript",
    "KeyScope",
    "Movement",
    "Order",
    "Outcome",
    "Permission",
    "Provider",
    "Reaction",
    "Report",
    "Rules",
    "Seen",
    "TimeoutWord",
    "WebhookScript",
    "run",
    "run_in_thread",
]

_NO_FAULTS: Final = FaultScript()
_RULES: Final = Rules()
_WEBHOOKS: Final = WebhookScript()


def _wall_clock() -> datetime:
    return datetime.now(UTC)  # noqa: TID251  # the default for those who give no clock


@contextlib.asynccontextmanager
async def run(  # noqa: PLR0913  # settings of one server, all named, all with a default
    *,
    public_key: PublicKey | bytes | None = None,
    project: str = "demo",
    faults: FaultScript = _NO_FAULTS,
    rules: Rules = _RULES,
    host: str = "127.0.0.1",
    port: int = 0,
    on_request: Callable[[Seen], None] | None = None,
    keepalive_seconds: float = 75.0,
    clock: Callable[[], datetime] = _wall_clock,
    webhook_url: str | None = None,
    webhook_key: PrivateKey | None = None,
    webhooks: WebhookScript = _WEBHOOKS,
) -> AsyncGenerator[Provider, None]:
    """Give a provider that runs on this event loop until the block ends.

    Without a ``public_key`` (a key, or PEM) it makes a pair: `Provider.private_key`.
    ``port`` 0 takes a free one. ``on_request`` is told of every request before its answer
    leaves, on the server's thread; it must be quick and must not raise. ``clock`` gives
    aware datetimes. Webhooks go to ``webhook_url``, signed with ``webhook_key``; without
    one it makes a key of its own: `Provider.webhook_key`.

    Raises:
        InvalidCredentials: the public key can't be read.
        OSError: the port is taken.

    """
    public, private = _keys(public_key)
    desk = Desk(
        bank=Bank(rules),
        strikes=Strikes(faults),
        outbox=Outbox(webhooks, webhook_url),
        public_key=public,
        project=project,
        clock=clock,
    )
    seal = Seal(webhook_key)
    served = serving(
        desk,
        host=host,
        port=port,
        keepalive_seconds=keepalive_seconds,
        on_request=on_request or _ignore,
    )
    async with served as url, Courier(desk, seal).at_work():
        yield Provider(
            url=url,
            project=project,
            private_key=private,
            desk=desk,
            seal=seal,
        )


@contextlib.contextmanager
def run_in_thread(  # noqa: PLR0913  # as for `run`
    *,
    public_key: PublicKey | bytes | None = None,
    project: str = "demo",
    faults: FaultScript = _NO_FAULTS,
    rules: Rules = _RULES,
    host: str = "127.0.0.1",
    port: int = 0,
    on_request: Callable[[Seen], None] | None = None,
    keepalive_seconds: float = 75.0,
    clock: Callable[[], datetime] = _wall_clock,
    webhook_url: str | None = None,
    webhook_key: PrivateKey | None = None,
    webhooks: WebhookScript = _WEBHOOKS,
) -> Generator[Provider, None, None]:
    """Give the provider of `run` on a thread and event loop of its own.

    It works whatever loop a test runs on, and a test that blocks its loop can't freeze it.
    Parameters and errors are those of `run`.
    """
    server = run(
        public_key=public_key,
        project=project,
        faults=faults,
        rules=rules,
        host=host,
        port=port,
        on_request=on_request,
        keepalive_seconds=keepalive_seconds,
        clock=clock,
        webhook_url=webhook_url,
        webhook_key=webhook_key,
        webhooks=webhooks,
    )
    with _on_a_thread(server) as provider:
        yield provider


@contextlib.contextmanager
def _on_a_thread(
    server: contextlib.AbstractAsyncContextManager[Provider],
) -> Generator[Provider, None, None]:
    started: Future[tuple[Provider, Callable[[], object]]] = Future()
    thread = threading.Thread(
        target=lambda: asyncio.run(_live(server, started)),
        name="smartglocal-emulator",
        daemon=True,
    )
    thread.start()
    try:
        provider, stop = started.result()
    except Exception:
        thread.join()  # It could not start, and is ending; an interrupt here would wait for ever.
        raise
    try:
        yield provider
    finally:
        _ = stop()
        thread.join()


async def _live(
    server: contextlib.AbstractAsyncContextManager[Provider],
    started: Future[tuple[Provider, Callable[[], object]]],
) -> None:
    stopped = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        try:
            provider = await stack.enter_async_context(server)
        except BaseException as error:  # noqa: BLE001  # raised again on the caller's thread
            started.set_exception(error)
            return
        loop = asyncio.get_running_loop()
        started.set_result((provider, partial(loop.call_soon_threadsafe, stopped.set)))
        _ = await stopped.wait()


def _keys(public_key: PublicKey | bytes | None) -> tuple[PublicKey, PrivateKey | None]:
    if public_key is None:
        private = PrivateKey.generate()
        return private.public, private
    if isinstance(public_key, bytes):
        return PublicKey.from_pem(public_key), None
    return public_key, None


def _ignore(_: Seen) -> None:
    pass
