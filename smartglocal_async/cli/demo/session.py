"""The demo's story of many orders: creates a session for each under faults, and counts."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import asdict, define, field, frozen
from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.syntax import Syntax
from rich.table import Table

from ...client import SmartGlocal
from ...emulator import Provider, Report
from ...envelope import AttemptResult
from ...errors import CallOutcome
from ...keys import PrivateKey
from ...models.answers import Session
from ...models.money import AmountDetails
from ...models.requests import CreateSession
from ...observer.delivery import only
from ...observer.events import AttemptEnded
from ...outcome import Outcome
from ...retry import RetryPolicy
from ...settings import Settings
from ..output import counted, remark
from ..tables import cell, show, table

_OK: Final = 200


@frozen
class RetryCause:
    """Why an attempt was retried."""

    what: str
    happened: str
    """What happened to the request for certain."""


@define(eq=False)
class RetryCauses:
    """Counts the causes of retries; called with each attempt that ends."""

    causes: Counter[RetryCause] = field(factory=Counter[RetryCause])
    _failed: dict[str, RetryCause] = field(factory=dict[str, RetryCause])

    def __call__(self, attempt: AttemptEnded) -> None:
        """Count why the attempt before this one was retried, if there was one."""
        order = attempt.key or ""
        earlier = self._failed.pop(order, None)
        if earlier is not None:
            self.causes[earlier] += 1
        if attempt.happened not in {None, AttemptResult.ACCEPTED}:
            self._failed[order] = _cause(attempt)


def _cause(attempt: AttemptEnded) -> RetryCause:
    status = attempt.http_status
    # Some of aiohttp's messages end with the address, which is always the same here.
    what = (attempt.cause or attempt.code or "no answer").partition(" for http")[0]
    if status is not None and status != _OK:
        what = f"HTTP {status}"
    elif status == _OK:
        what = f"HTTP 200, but {what}"
    return RetryCause(what, attempt.happened.value if attempt.happened else "cancelled")


_CHUNK_BYTES: Final = 65_536
_LOCAL: Final = "127.0.0.1"
_HTTP: Final = 80


@define(eq=False)
class Relay:
    """A relay to the provider, and the bytes that passed it."""

    url: str = ""
    sent: bytearray = field(factory=bytearray, repr=False)
    answered: bytearray = field(factory=bytearray, repr=False)
    _connections: set[asyncio.StreamWriter] = field(factory=set[asyncio.StreamWriter], init=False)
    _idle: asyncio.Event = field(factory=asyncio.Event, init=False)

    async def forward(
        self, host: str, port: int, near: asyncio.StreamReader, near_writer: asyncio.StreamWriter
    ) -> None:
        """Forward one connection until either side closes it."""
        self._idle.clear()
        far, far_writer = await asyncio.open_connection(host, port)
        self._connections |= {near_writer, far_writer}
        async with asyncio.TaskGroup() as both:
            _ = both.create_task(_copy(near, far_writer, self.sent))
            _ = both.create_task(_copy(far, near_writer, self.answered))
        self._connections -= {near_writer, far_writer}
        if not self._connections:
            self._idle.set()

    async def close(self) -> None:
        """Close all connections, and wait for their end."""
        for connection in self._connections:
            connection.close()
        if self._connections:
            _ = await self._idle.wait()


@asynccontextmanager
async def relayed(url: str) -> AsyncGenerator[Relay, None]:
    """Relay connections to ``url``, from a port of its own, until the block ends."""
    relay, to = Relay(), urlsplit(url)
    server = await asyncio.start_server(
        partial(relay.forward, to.hostname or _LOCAL, to.port or _HTTP), _LOCAL, 0
    )
    async with server:
        relay.url = f"http://{_LOCAL}:{server.sockets[0].getsockname()[1]}"
        try:
            yield relay
        finally:
            await relay.close()


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray
) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(_CHUNK_BYTES):
            kept += chunk
            writer.write(chunk)
            await writer.drain()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


PROJECT: Final = "demo"
# Eight attempts at 10 % faults fail for one order in a hundred million.
_ATTEMPTS: Final = 8
# Short, for a demo; a real client waits longer.
_MAX_DELAY_SECONDS: Final = 1.0
_FAILED: Final = (CallOutcome.NOT_SENT, CallOutcome.REFUSED, CallOutcome.UNKNOWN)
_PERCENT: Final = 100

OnSettled = Callable[[Outcome[CreateSession]], None]


@frozen(kw_only=True)
class OrdersPlan:
    """How many orders to create, and under which faults."""

    orders: int
    faults: float
    seed: int
    concurrency: int

    @property
    def retry(self) -> RetryPolicy:
        """The retry policy, with enough attempts for the faults."""
        usual = RetryPolicy()
        return RetryPolicy(
            attempts=_ATTEMPTS,
            max_delay_seconds=_MAX_DELAY_SECONDS,
            # Enough for a retry of every order in flight; an outage still exhausts it.
            budget_tokens=max(usual.budget_tokens, usual.budget_cost * self.concurrency),
        )

    def settings(self, on_attempt: Callable[[AttemptEnded], None]) -> Settings:
        """Return the settings of the client; ``on_attempt`` is called with each attempt."""
        return Settings(retry=self.retry, observers=[only(AttemptEnded, on_attempt)])

    def requests(self) -> Iterator[CreateSession]:
        """Yield the orders."""
        for number in range(1, self.orders + 1):
            yield _order(f"order-{number:05}")


@frozen(kw_only=True)
class FirstCall:
    """One session: the bytes of the request and of the answer, and the result."""

    request: bytes
    answer: bytes
    session: Session


@frozen(kw_only=True)
class OrdersResult:
    """What client and provider counted."""

    plan: OrdersPlan
    sessions: int
    """Sessions that the client got."""
    missing: Mapping[str, int]
    """Orders without a session, by their outcome; ``lost``: without any."""
    attempts: int
    signatures: int
    causes: Mapping[RetryCause, int]
    errors: Mapping[str, int]
    p50_seconds: float
    p99_seconds: float
    seconds: float
    report: Report

    @property
    def is_good(self) -> bool:
        """Whether each order has one session, and all attempts of an order had the same bytes."""
        seen, without = self.report, sum(self.missing.values())
        return not (without or seen.duplicates or seen.changed or seen.bad_signatures)

    @property
    def retries(self) -> int:
        """Attempts after the first one of each order."""
        return sum(self.causes.values())

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return {
            "ok": self.is_good,
            "orders": self.plan.orders,
            "seed": self.plan.seed,
            "fault_rate": self.plan.faults,
            "sessions": self.sessions,
            **self.missing,
            "duplicates": self.report.duplicates,
            "attempts": self.attempts,
            "retries": self.retries,
            "retries_by_cause": [
                {"cause": cause.what, "happened": cause.happened, "retries": times}
                for cause, times in self.causes.items()
            ],
            "signatures": self.signatures,
            "errors": dict(self.errors),
            "p50_ms": round(self.p50_seconds * 1000, 3),
            "p99_ms": round(self.p99_seconds * 1000, 3),
            "seconds": round(self.seconds, 3),
            "requests_per_second": round(self.report.requests / self.seconds, 1),
            "provider": self.report.as_dict(),
        }


async def create_one(provider: Provider, key: PrivateKey) -> FirstCall:
    """Create one session through a relay that records the bytes."""
    async with (
        relayed(provider.url) as relay,
        SmartGlocal(provider.project, key, relay.url) as api,
    ):
        session = await api.session.create(_order("order-00000"), key="order-00000")
        return FirstCall(request=bytes(relay.sent), answer=bytes(relay.answered), session=session)


async def create_many(
    plan: OrdersPlan, provider: Provider, key: PrivateKey, on_settled: OnSettled
) -> OrdersResult:
    """Create a session for every order concurrently, and compare the counts of both sides."""
    retries, outcomes = RetryCauses(), _Outcomes()
    settings = plan.settings(retries)
    started = time.perf_counter()
    async with SmartGlocal(provider.project, key, provider.url, settings=settings) as api:
        many = api.session.create_many(
            plan.requests(), concurrency=plan.concurrency, keys=_order_id
        )
        async for outcome in many:
            outcomes.add(outcome)
            on_settled(outcome)
        seconds = time.perf_counter() - started
        stats = api.stats().pool
    return OrdersResult(
        plan=plan,
        sessions=len(outcomes.sessions),
        missing=outcomes.missing(plan.orders, provider),
        attempts=stats.attempts,
        signatures=stats.signatures,
        causes=dict(retries.causes.most_common()),
        errors=dict(outcomes.errors.most_common()),
        p50_seconds=outcomes.percentile(50),
        p99_seconds=outcomes.percentile(99),
        seconds=seconds,
        report=provider.report(),
    )


@define(eq=False)
class _Outcomes:
    sessions: dict[str, str] = field(factory=dict[str, str])
    errors: Counter[str] = field(factory=Counter[str])
    endings: Counter[CallOutcome] = field(factory=Counter[CallOutcome])
    waits: list[float] = field(factory=list[float])

    def add(self, outcome: Outcome[CreateSession]) -> None:
        self.waits.append(outcome.elapsed_seconds)
        self.endings[outcome.outcome] += 1
        if outcome.session is not None and outcome.key is not None:
            self.sessions[outcome.key] = outcome.session.id
        else:
            why = getattr(outcome.error, "stopped_by", None)
            name = type(outcome.error).__name__
            self.errors[f"{name}, stopped by {why}" if why else name] += 1

    def missing(self, orders: int, provider: Provider) -> dict[str, int]:
        """Count the orders that don't have the same session on both sides."""
        agreed = sum(
            session_id in provider.order(key).session_ids
            for key, session_id in self.sessions.items()
        )
        failed = {outcome.value: self.endings[outcome] for outcome in _FAILED}
        return {**failed, "lost": orders - agreed - sum(failed.values())}

    def percentile(self, percent: int) -> float:
        ranked = sorted(self.waits)
        return ranked[max(0, -(-len(ranked) * percent // _PERCENT) - 1)]


def _order(name: str) -> CreateSession:
    return CreateSession(amount_details=AmountDetails(10_000, "usd"), metadata={"order": name})


def _order_id(request: CreateSession) -> str:
    name: str = request.metadata["order"]
    return name


LINES: Final = """\
async with sg.SmartGlocal("demo", private_key, server, settings=patient) as api:
    async for done in api.session.create_many(orders, keys=order_id):
        print(done.key, done.session or done.error)
"""
_PLAIN_STEPS: Final = 10
_WHY_DIFFERENT: Final = (
    "The columns can differ: the seed chooses the faults, but timing decides how the client sees "
    "them; a connection that was closed meanwhile costs no attempt, or counts as a reset."
)


def show_first(screen: Console, first: FirstCall) -> None:
    """Show the bytes of one call."""
    _heading(screen, "One session: the request with its signature")
    _show_http(screen, first.request)
    _heading(screen, "The answer")
    _show_http(screen, first.answer)
    screen.print(cell(f"session.id {first.session.id}, session.status {first.session.status}"))


def first_call_facts(first: FirstCall) -> dict[str, Any]:
    """Return one call as plain JSON values."""
    line, headers, body = _http(first.request)
    method, path, _ = line.split(" ", 2)
    status, _, answer = _http(first.answer)
    return {
        "request": {
            "method": method,
            "url": f"http://{headers.get('Host', '')}{path}",
            "headers": headers,
            "body": body,
        },
        "answer": {"status": int(status.split(" ")[1]), "body": answer},
        "session_id": first.session.id,
    }


@contextmanager
def progress_bar(
    screen: Console, plan: OrdersPlan, *, is_silent: bool
) -> Generator[OnSettled, None, None]:
    """Yield a function to call after each order: it moves a bar, or prints a line at times."""
    if is_silent:
        yield _ignore
        return
    orders = f"{counted(plan.orders, 'order')}, {plan.concurrency} at a time"
    share = f"{plan.faults * 100:g}% faults"
    limit = f"at most {counted(plan.retry.attempts, 'attempt')} per order"
    _heading(screen, f"{orders}, {share}, {limit}")
    if not screen.is_terminal:
        yield _progress_lines(plan.orders)
        return
    with Progress(
        TextColumn("settled"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=screen,
    ) as progress:
        task = progress.add_task("settled", total=plan.orders)
        yield lambda _: progress.advance(task)


def show_result(screen: Console, result: OrdersResult) -> None:
    """Show the counts of both sides, and the verdict."""
    show(screen, _counts(result))
    if result.plan.faults:
        show(screen, _WHY_DIFFERENT)
    details = [part for part in (_retries(result), _faults(result), _errors(result)) if part]
    show(screen, Columns(details, padding=(0, 4)))
    if result.is_good:
        verdict = f"One order, one session: {result.sessions:,} of {result.plan.orders:,}."
        screen.print(verdict, style="bold green")
        return
    show(screen, cell(f"FAILED: {_failings(result)}.", "bold red"))
    if result.missing.get("unknown"):
        screen.print(
            "An order whose outcome is unknown can be created again: its key makes it one session.",
            soft_wrap=True,
        )
    if any("budget" in error for error in result.errors):
        screen.print(
            "The retry budget is used up: this many failures are an outage, and more retries would "
            "only make it worse."
        )


def show_lines(screen: Console, plan: OrdersPlan) -> None:
    """Show the Python code of the run."""
    _heading(screen, "The settings, and the three lines of code")
    _code(screen, definition(plan.retry) + LINES, "python")


def definition(policy: RetryPolicy) -> str:
    """Return the line that makes ``patient``, with the values that aren't the defaults."""
    usual = asdict(RetryPolicy())
    own = (f"{name}={value!r}" for name, value in asdict(policy).items() if value != usual[name])
    return f"patient = sg.Settings(retry=sg.RetryPolicy({', '.join(own)}))\n"


def _failings(result: OrdersResult) -> str:
    seen, missing = result.report, {n: times for n, times in result.missing.items() if times}
    kinds = ", ".join(f"{times:,} {name.replace('_', ' ')}" for name, times in missing.items())
    parts = [
        counted(sum(missing.values()), "order") + " without a session",
        counted(seen.duplicates, "duplicate"),
        counted(seen.changed, "order") + " with changed bytes",
        counted(seen.bad_signatures, "bad signature"),
    ]
    if kinds:
        parts[0] += f" ({kinds})"
    return ", ".join(parts)


def _counts(result: OrdersResult) -> Table:
    seen = result.report
    counts = table()
    counts.add_column("")
    counts.add_column("Client", justify="right")
    counts.add_column("Provider", justify="right")
    for name, client, provider in (
        ("Orders", result.plan.orders, seen.orders),
        ("Sessions", result.sessions, seen.sessions),
        ("Attempts sent, and arrived", result.attempts, seen.requests),
        ("Retries, and faults met", result.retries, sum(seen.faults.values())),
        ("Signatures made, and bad ones", result.signatures, seen.bad_signatures),
        *((f"Orders {name.replace('_', ' ')}", n, None) for name, n in result.missing.items()),
        ("Duplicate sessions", None, seen.duplicates),
        ("Orders whose bytes changed", None, seen.changed),
    ):
        counts.add_row(name, _count(client), _count(provider))
    counts.add_section()
    counts.add_row("Latency, p50", f"{result.p50_seconds * 1000:,.1f} ms", "")
    counts.add_row("Latency, p99", f"{result.p99_seconds * 1000:,.1f} ms", "")
    rates = (f"{number / result.seconds:,.0f}" for number in (result.attempts, seen.requests))
    counts.add_row("Requests per second", *rates)
    counts.add_row("Time", f"{result.seconds:,.2f} s", "")
    return counts


def _retries(result: OrdersResult) -> Table | None:
    shown = table("Why the client retried")
    shown.add_column("Cause", overflow="fold")
    shown.add_column("What happened for certain", overflow="fold")
    shown.add_column("Times", justify="right")
    for cause, times in result.causes.items():
        shown.add_row(cell(cause.what), cell(cause.happened), _count(times))
    return shown if result.causes else None


def _faults(result: OrdersResult) -> Table | None:
    shown = table("Faults at the provider")
    shown.min_width = len("Faults at the provider") + 2
    shown.add_column("Fault")
    shown.add_column("Times", justify="right")
    for kind, times in sorted(result.report.faults.items(), key=lambda item: -item[1]):
        shown.add_row(kind, _count(times))
    return shown if result.report.faults else None


def _errors(result: OrdersResult) -> Table | None:
    shown = table("Orders without a session")
    shown.min_width = len("Orders without a session") + 2
    shown.add_column("Error", overflow="fold")
    shown.add_column("Orders", justify="right")
    for error, times in result.errors.items():
        shown.add_row(cell(error), _count(times))
    return shown if result.errors else None


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _heading(screen: Console, text: str) -> None:
    screen.print()
    screen.print(text, style="bold")


def _show_http(screen: Console, message: bytes) -> None:
    _code(screen, message.decode().replace("\r\n", "\n"), "http")


def _code(screen: Console, text: str, language: str) -> None:
    if not screen.is_terminal:
        # Unchanged, without wrapped lines: a pipe may lead to a program.
        screen.print(text.rstrip("\n"), soft_wrap=True)
        return
    coloured = Syntax(
        text.rstrip("\n"), language, theme="ansi_dark", background_color="default", word_wrap=True
    )
    screen.print(Panel(coloured, border_style="dim"))


def _http(message: bytes) -> tuple[str, dict[str, str], str]:
    head, _, body = message.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return first, headers, body


def _progress_lines(total: int) -> Callable[[Outcome[CreateSession]], None]:
    step = max(1, total // _PLAIN_STEPS)
    settled = 0

    def count(_: Outcome[CreateSession]) -> None:
        nonlocal settled
        settled += 1
        if settled % step == 0 or settled == total:
            remark(f"{settled:,} of {counted(total, 'order')} settled")

    return count


def _ignore(_: Outcome[CreateSession]) -> None:
    pass
