"""An emulator of the provider: `run` it beside your code, or `run_in_thread` beside your tests.

It checks signatures, processes sessions from create to refund in both versions of the API as the
provider's samples show them, sends webhooks, and injects faults on request. It shares no logic with
the client, so that an error in one doesn't hide the same error in the other.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from typing import Final

from ..keys import PrivateKey, PublicKey
from .bank.bank import EmulatedBank
from .bank.outcomes import OUTCOMES, AmountOutcome, Fate
from .bank.statistics import Delivery, Movement, Order, PayoutMark, Report, RequestRecord
from .bank.webhooks import WebhookQueue, WebhookScript
from .bank.wrong_answers import Foreign
from .faults import Fault, FaultKind, FaultPicker, FaultScript, TwiceAnswer
from .provider import Provider
from .server.addresses import check_webhook_url, local_url, outside_urls, page_url
from .server.admin.actions import AdminActions
from .server.delivery import WebhookDelivery, WebhookSigner
from .server.dispatch import Dispatcher
from .server.http import serving
from .server.pages import NOTICE
from .settings import (
    Capture,
    Confirmation,
    DeclinedSession,
    Duplicates,
    KeyScope,
    Permission,
    Reaction,
    ReturnedPayout,
    Rounding,
    Rules,
    ShownAmounts,
    TimeoutWord,
    TPayTimeout,
)

__all__ = [
    "NOTICE",
    "OUTCOMES",
    "AmountOutcome",
    "Capture",
    "Confirmation",
    "DeclinedSession",
    "Delivery",
    "Duplicates",
    "Fate",
    "Fault",
    "FaultKind",
    "FaultScript",
    "Foreign",
    "KeyScope",
    "Movement",
    "Order",
    "PayoutMark",
    "Permission",
    "Provider",
    "Reaction",
    "Report",
    "RequestRecord",
    "ReturnedPayout",
    "Rounding",
    "Rules",
    "ShownAmounts",
    "TPayTimeout",
    "TimeoutWord",
    "TwiceAnswer",
    "WebhookScript",
    "local_url",
    "outside_urls",
    "page_url",
    "run",
    "run_in_thread",
]

_NO_FAULTS: Final = FaultScript()
_RULES: Final = Rules()
_WEBHOOKS: Final = WebhookScript()


def _wall_clock() -> datetime:
    return datetime.now(UTC)  # noqa: TID251  # the default clock


@contextlib.asynccontextmanager
async def run(  # noqa: PLR0913  # settings of one server, all named, all with a default
    *,
    public_key: PublicKey | PrivateKey | bytes | None = None,
    project: str = "demo",
    faults: FaultScript = _NO_FAULTS,
    rules: Rules = _RULES,
    host: str = "127.0.0.1",
    port: int = 0,
    on_request: Callable[[RequestRecord], None] | None = None,
    keepalive_seconds: float = 75.0,
    clock: Callable[[], datetime] = _wall_clock,
    webhook_url: str | None = None,
    webhook_key: PrivateKey | None = None,
    webhooks: WebhookScript = _WEBHOOKS,
    keeps_history: bool = False,
) -> AsyncGenerator[Provider, None]:
    """Run an emulator on this event loop until the block ends.

    ``public_key`` is that of the client: a key, PEM, or the pair. Without one it generates a pair.
    `Provider.private_key` is that of the pair.
    ``port`` 0 takes a free one. ``on_request`` is called for every request before its response
    is sent, on the server's thread; it must be quick and must not raise. ``clock`` must return
    aware datetimes. Webhooks are sent to ``webhook_url``, signed with ``webhook_key``; without
    a key it generates one: `Provider.webhook_key`. With ``keeps_history`` it keeps the earlier
    views of sessions, so that ``stale`` can be among the faults of `Provider.inject`.

    Raises:
        InvalidCredentials: the public key can't be read.
        InvalidRequest: webhooks can't be sent to ``webhook_url``.
        OSError: the port is taken.

    """
    if webhook_url is not None:
        check_webhook_url(webhook_url, "webhook_url")
    public, private = _keys(public_key)
    dispatcher = Dispatcher(
        bank=EmulatedBank(rules, keeps_history=keeps_history or faults.needs_history),
        faults=FaultPicker(faults),
        webhook_queue=WebhookQueue(webhooks, webhook_url),
        public_key=public,
        project=project,
        clock=clock,
    )
    signer = WebhookSigner(webhook_key)
    actions = AdminActions(dispatcher)
    served = serving(
        actions,
        host=host,
        port=port,
        keepalive_seconds=keepalive_seconds,
        on_request=on_request or _ignore,
    )
    async with served as url, WebhookDelivery(dispatcher, signer).running():
        yield Provider(
            url=url,
            project=project,
            private_key=private,
            actions=actions,
            signer=signer,
        )


@contextlib.contextmanager
def run_in_thread(  # noqa: PLR0913  # as for `run`
    *,
    public_key: PublicKey | PrivateKey | bytes | None = None,
    project: str = "demo",
    faults: FaultScript = _NO_FAULTS,
    rules: Rules = _RULES,
    host: str = "127.0.0.1",
    port: int = 0,
    on_request: Callable[[RequestRecord], None] | None = None,
    keepalive_seconds: float = 75.0,
    clock: Callable[[], datetime] = _wall_clock,
    webhook_url: str | None = None,
    webhook_key: PrivateKey | None = None,
    webhooks: WebhookScript = _WEBHOOKS,
    keeps_history: bool = False,
) -> Generator[Provider, None, None]:
    """Run the emulator of `run` on a thread and event loop of its own.

    It works with any event loop of a test, and keeps running if the test blocks that loop.
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
        keeps_history=keeps_history,
    )
    with _on_a_thread(server) as provider:
        yield provider


@contextlib.contextmanager
def _on_a_thread(
    server: contextlib.AbstractAsyncContextManager[Provider],
) -> Generator[Provider, None, None]:
    started: Future[tuple[Provider, Callable[[], object]]] = Future()
    thread = threading.Thread(
        target=lambda: asyncio.run(_serve(server, started)),
        name="smartglocal-emulator",
        daemon=True,
    )
    thread.start()
    try:
        provider, stop = started.result()
    except Exception:
        thread.join()  # The thread ends by itself: it could not start the server.
        raise
    try:
        yield provider
    finally:
        _ = stop()
        thread.join()


async def _serve(
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


def _keys(
    public_key: PublicKey | PrivateKey | bytes | None,
) -> tuple[PublicKey, PrivateKey | None]:
    if public_key is None or isinstance(public_key, PrivateKey):
        private = PrivateKey.generate() if public_key is None else public_key
        return private.public, private
    if isinstance(public_key, bytes):
        return PublicKey.from_pem(public_key), None
    return public_key, None


def _ignore(_: RequestRecord) -> None:
    pass
