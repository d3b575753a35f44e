"""``payouts serve``: starts the page, and serves it until a signal."""

import asyncio
import getpass
import ssl
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from pathlib import Path
from typing import Final

from aiohttp import web
from attrs import frozen

from ....encryption import KEY_VARIABLE, RequestCipher
from ....errors import InvalidRequest, JournalBusy, JournalUnusable
from ....integrations.health import Exposition, NotReady, health_endpoints
from ....payouts.payouts import Payouts
from ....payouts.reports.gathering import ORDER, PayeeReader
from ...output import port_named, remark, write_json, write_line
from ...signals import run_async, stopped_by_signals
from ..batches import reading
from ..journals import (
    StoredBook,
    credentials_of,
    existing,
    is_address,
    journal_of,
    keyless,
    place_of,
    shown,
)
from ..watch import Workers
from .access import PageAccess, PageAddress
from .options import ServeOptions
from .samples import JournalSampler
from .server import PageServer

_GRACE_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 2.0
"""How long a page waits for a database that can't be reached; a worker waits for longer."""
_MAX_NAME: Final = 100
_LOOKED_AT: Final = 20
"""How many payouts tell whether the journal's key is right."""


@frozen
class ServedPage:
    """A page that is being served."""

    url: str
    port: int
    access: PageAccess
    journal: str
    """Its name, without a password."""

    @property
    def link(self) -> str:
        """The address to open; a token for one sign-in is in its fragment, which isn't sent."""
        return f"{self.url}#token={self.access.link_token}" if self.access.uses_token else self.url


def serve(options: ServeOptions) -> None:
    """Serve the page until a signal stops it."""
    run_async(_serve(options))


async def _serve(options: ServeOptions) -> None:
    stop = asyncio.Event()
    with stopped_by_signals(stop.set):
        async with served(options) as page:
            _report_start(options, page)
            _ = await stop.wait()


@asynccontextmanager
async def served(options: ServeOptions) -> AsyncGenerator[ServedPage]:
    """Serve the page while the block runs.

    Raises:
        InvalidRequest: an option is invalid, or there is no such journal.
        JournalUnusable: the journal can't be read; or not changed, if changes are allowed.
        InvalidCredentials: the project or the server is missing.

    """
    address, place = PageAddress.of(options), place_of(options.journal, None, options.server)
    existing(place)
    access, tls = PageAccess(address, options.allow_changes), _tls_of(options)
    if options.allow_changes:
        _ = credentials_of(options.server)

    @asynccontextmanager
    async def changing() -> AsyncGenerator[Payouts]:
        async with keyless(journal_of(place, may_make=False), options.server) as payouts:
            yield payouts

    if options.allow_changes:
        await _check_changes(place, changing)
    async with AsyncExitStack() as stack:
        book = await stack.enter_async_context(
            reading(place, options.server, patience_seconds=_PATIENCE_SECONDS)
        )
        sampler = JournalSampler(book, None if is_address(place) else Path(place))
        await sampler.read()
        cipher = RequestCipher.from_env()
        warning = await _key_warning(book, cipher)
        if warning is not None:
            remark(warning)
        server = PageServer(
            sampler=sampler,
            access=access,
            operator=_operator_of(options),
            journal=shown(place),
            cipher=cipher,
            warning=warning,
            changing=changing,
        )
        if options.health is not None:
            endpoints = health_endpoints(
                options.health, lambda: _problems(sampler), _metrics_of(sampler)
            )
            url = await stack.enter_async_context(endpoints)
            remark(f"health: {url}/healthz, {url}/readyz, {url}/metrics")
        await stack.enter_async_context(_running(sampler))
        port = await stack.enter_async_context(_listening(server, address, tls))
        yield ServedPage(address.url(port), port, access, shown(place))


async def _key_warning(book: StoredBook, cipher: RequestCipher | None) -> str | None:
    """Return the words for a key that didn't encrypt the payees of the first payouts."""
    payees = PayeeReader(cipher)
    for entry in await book.entries(_LOOKED_AT):
        with suppress(JournalUnusable):  # Its row says that it was changed.
            _ = payees.read(entry)
    if not payees.has_other_key:
        return None
    return f"{KEY_VARIABLE} isn't the key of this journal: names and accounts can't be shown"


async def _check_changes(
    place: str, changing: Callable[[], AbstractAsyncContextManager[Payouts]]
) -> None:
    """Check at the start that the journal can be changed.

    Raises:
        JournalUnusable: it can't, such as for a missing right.

    """
    with suppress(JournalBusy):  # The process that uses the file will have ended by then.
        async with changing():
            pass
    if is_address(place):
        # Imported when it is used: it needs an extra.
        from ....journal.postgres.grants import check_rights  # noqa: PLC0415

        await check_rights(place)


@asynccontextmanager
async def _running(sampler: JournalSampler) -> AsyncGenerator[None]:
    """Read the journal at intervals while the block runs."""
    reads = asyncio.ensure_future(sampler.run())
    try:
        yield
    finally:
        _ = reads.cancel()
        _ = await asyncio.wait([reads])  # The journal is closed only after the last read.


@asynccontextmanager
async def _listening(
    server: PageServer, address: PageAddress, tls: ssl.SSLContext | None
) -> AsyncGenerator[int]:
    """Serve until the block ends; yields the port."""
    runner = web.AppRunner(
        server.application(),
        access_log=None,
        shutdown_timeout=_GRACE_SECONDS,
        handler_cancellation=True,
    )
    await runner.setup()
    try:
        with port_named(address.port):
            await web.TCPSite(runner, address.host, address.port, ssl_context=tls).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _tls_of(options: ServeOptions) -> ssl.SSLContext | None:
    """Return the TLS settings of the server; None without a certificate.

    Raises:
        InvalidRequest: the certificate or its key can't be used.

    """
    if options.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "reason", None) or error.strerror or type(error).__name__
        raise InvalidRequest("--tls-cert", f"can't be used with its key: {why}") from None
    return context


def _operator_of(options: ServeOptions) -> str:
    """Return the name to store with changes.

    Raises:
        InvalidRequest: it is empty, too long or not printable; or there is no login name.

    """
    name = options.operator
    if name is None:
        try:
            name = getpass.getuser()
        except (KeyError, OSError):
            if options.allow_changes:
                raise InvalidRequest("--as", "required, as this user has no name") from None
            name = "unknown"
    if not (name.strip() and name.isprintable() and len(name) <= _MAX_NAME):
        raise InvalidRequest("--as", f"expected 1 to {_MAX_NAME} printable characters")
    return name.strip()


async def _problems(sampler: JournalSampler) -> NotReady:
    """Return why the page isn't ready; a halt of the journal is no reason, since it is shown."""
    return {} if sampler.problem is None else {"journal": "can't be read"}


def _metrics_of(sampler: JournalSampler) -> Exposition | None:
    """Return the metrics of a journal; None without their extra."""
    try:
        # Imported when it is used: it needs an extra.
        from ....integrations.prometheus import GaugeReader, GaugeValues  # noqa: PLC0415
    except ModuleNotFoundError:
        return None

    def gauges() -> "Iterator[GaugeValues]":
        sample = sampler.sample

        def gauge(name: str, description: str, value: float) -> GaugeValues:
            return GaugeValues(f"smartglocal_journal_{name}", description, (), {(): value})

        counts: dict[tuple[str, ...], float] = {
            (one.name or "", state.value): one.counts[state]
            for one in sample.batches
            for state in ORDER
        }
        yield GaugeValues("smartglocal_journal_payouts", "Payouts", ("batch", "state"), counts)
        yield gauge("reviews", "Payouts that need review", sample.case_count)
        yield gauge("halted", "Whether payouts are halted", sample.halt is not None)
        if sample.workers is not None:
            yield gauge("workers", "Workers that are alive", Workers.of(sample.workers).workers)

    return GaugeReader(gauges)


def _report_start(options: ServeOptions, page: ServedPage) -> None:
    """Print the address and the token."""
    access = page.access
    token = access.token if access.uses_token else None
    if options.as_json:
        facts = {"journal": page.journal, "url": page.url, "allows_changes": access.allows_changes}
        write_json({"event": "started", **facts, "token": token})
        return
    write_line(f"showing {page.journal}; open {page.link}")
    if token is not None:
        write_line(f"token: {token}")
    if not access.allows_changes:
        write_line("read-only; --allow-changes lets those who have a token make changes")
