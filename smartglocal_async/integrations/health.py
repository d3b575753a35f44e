"""Health and metrics over HTTP, on a port of their own: ``/healthz``, ``/readyz``, ``/metrics``.

::

    metrics = PrometheusObserver()
    async with health_endpoints("9464", problems, metrics) as url:
        ...

``smartglocal payouts work --health 9464`` serves them for a worker.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import ClassVar, Final, Protocol

from aiohttp import web

from ..errors import InvalidRequest, SmartGlocalError
from ..journal.journal import Journal

_CHECK_SECONDS: Final = 5.0
_GRACE_SECONDS: Final = 1.0
_UNAVAILABLE: Final = 503
_NOT_IMPLEMENTED: Final = 501
_LOCAL: Final = "127.0.0.1"
_MAX_PORT: Final = 65_535
_NO_METRICS: Final = "metrics need: pip install 'smartglocal-async[prometheus]'\n"


class Exposition(Protocol):
    """Metrics in Prometheus's text format, such as those of a `PrometheusObserver`."""

    content_type: ClassVar[str]
    """The media type of what `exposition` returns."""

    def exposition(self) -> bytes:
        """Return the metrics."""
        ...


NotReady = Mapping[str, str]
"""What isn't ready, each with the reason in words; empty: everything is."""


async def journal_problems(journal: Journal) -> NotReady:
    """Return why a journal can't be paid from: it can't be read, or payouts are halted."""
    try:
        halt = await journal.halted()
    except SmartGlocalError as error:
        return {"journal": type(error).__name__}
    return {} if halt is None else {"payouts": f"halted: {halt.kind.value}"}


@asynccontextmanager
async def health_endpoints(
    address: str,
    problems: Callable[[], Awaitable[NotReady]],
    metrics: Exposition | None = None,
) -> AsyncGenerator[str]:
    """Serve the three paths at ``[HOST:]PORT`` until the block ends; yields the server's address.

    Without a host only this machine can reach them; port 0 takes a free one. ``/healthz`` answers
    200 as long as the event loop runs. ``/readyz`` answers 200 if ``problems`` returns none within
    5 s, else 503 with the problems as JSON. ``/metrics`` has the ``metrics``, or answers 501
    without them.

    Raises:
        InvalidRequest: the address isn't valid, or can't be used.

    """
    host, port = _read_address(address)
    app = web.Application()
    _ = app.add_routes(
        [
            web.get("/healthz", _healthz),
            web.get("/readyz", _readyz(problems)),
            web.get("/metrics", _metrics(metrics)),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GRACE_SECONDS)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            words = f"{address} can't be used: {error.strerror or type(error).__name__}"
            raise InvalidRequest("health", words) from None
        name, number, *_ = runner.addresses[0]
        shown = f"[{name}]" if ":" in name else name
        yield f"http://{shown}:{number}"
    finally:
        await runner.cleanup()


def _read_address(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= _MAX_PORT):
        raise InvalidRequest("health", "expected a port, or HOST:PORT, such as 0.0.0.0:9464")
    return host.strip("[]") or _LOCAL, int(port)


async def _healthz(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


def _readyz(
    problems: Callable[[], Awaitable[NotReady]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def readyz(_request: web.Request) -> web.Response:
        found: NotReady = {"check": f"no result within {_CHECK_SECONDS:.0f} s"}
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                found = await problems()
        except TimeoutError:
            pass
        if not found:
            return web.json_response({"status": "ready"})
        answer = {"status": "not ready", "problems": dict(found)}
        return web.json_response(answer, status=_UNAVAILABLE)

    return readyz


def _metrics(
    observer: Exposition | None,
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def metrics(_request: web.Request) -> web.Response:
        if observer is None:
            return web.Response(status=_NOT_IMPLEMENTED, text=_NO_METRICS)
        headers = {"Content-Type": observer.content_type}
        return web.Response(body=observer.exposition(), headers=headers)

    return metrics
