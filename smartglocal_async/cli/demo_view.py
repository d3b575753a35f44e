"""What the demo shows: the bytes on the wire, a progress bar, both sides' books."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

from attrs import asdict
from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.syntax import Syntax
from rich.table import Table

from ..outcome import Outcome
from ..retry import RetryPolicy
from ..values.requests import CreateSession
from .demo_run import First, Plan, Result, Settled
from .screen import cell, counted, remark, show, table

LINES: Final = """\
async with sg.SmartGlocal("demo", private_key, server, settings=patient) as api:
    async for done in api.session.create_many(orders, keys=order_id):
        print(done.key, done.session or done.error)
"""
_PLAIN_STEPS: Final = 10
_WHY_UNEQUAL: Final = (
    "The columns need not match: the seed fixes the faults, but timing decides how a client "
    "meets them; a connection found stale costs no attempt, or counts as a reset."
)


def show_first(screen: Console, first: First) -> None:
    """Show one call as it went over the wire."""
    _heading(screen, "One session: the request as it left, with its signature")
    _show_http(screen, first.request)
    _heading(screen, "The answer")
    _show_http(screen, first.answer)
    screen.print(cell(f"session.id {first.session.id}, session.status {first.session.status}"))


def said_of_first(first: First) -> dict[str, Any]:
    """Give one call as plain JSON values."""
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
def meter(screen: Console, plan: Plan, *, is_silent: bool) -> Generator[Settled, None, None]:
    """Give a function that moves a bar, or writes a line now and then off a terminal."""
    if is_silent:
        yield _ignore
        return
    said = f"{counted(plan.orders, 'order')}, {plan.concurrency} at once"
    share = f"{plan.faults * 100:g}% of faults"
    most = f"{counted(plan.retry.attempts, 'attempt')} an order at most"
    _heading(screen, f"{said}, {share}, {most}")
    if not screen.is_terminal:
        yield _plain_meter(plan.orders)
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


def show_result(screen: Console, result: Result) -> None:
    """Show both sides' books beside each other, and the verdict."""
    show(screen, _books(result))
    if result.plan.faults:
        show(screen, _WHY_UNEQUAL)
    details = [part for part in (_retries(result), _faults(result), _errors(result)) if part]
    show(screen, Columns(details, padding=(0, 4)))
    if result.is_good:
        verdict = f"One order, one session: {result.sessions:,} of {result.plan.orders:,}."
        screen.print(verdict, style="bold green")
        return
    show(screen, cell(f"FAILED: {_failings(result)}.", "bold red"))
    if result.missing.get("unknown"):
        screen.print("An unknown order is not lost: created again with its key, it is one session.")
    if any("budget" in error for error in result.errors):
        screen.print(
            "The retry budget ran dry: so many failures are an outage, "
            "which more retries would only make worse."
        )


def show_lines(screen: Console, plan: Plan) -> None:
    """Show the Python that did it."""
    _heading(screen, "The settings, and the three lines that did it")
    _code(screen, definition(plan.retry) + LINES, "python")


def definition(policy: RetryPolicy) -> str:
    """Give the line that makes ``patient``: whatever the policy has other than usual."""
    usual = asdict(RetryPolicy())
    own = (f"{name}={value!r}" for name, value in asdict(policy).items() if value != usual[name])
    return f"patient = sg.Settings(retry=sg.RetryPolicy({', '.join(own)}))\n"


def _failings(result: Result) -> str:
    seen, missing = result.report, {n: times for n, times in result.missing.items() if times}
    kinds = ", ".join(f"{times:,} {name.replace('_', ' ')}" for name, times in missing.items())
    said = [
        counted(sum(missing.values()), "order") + " without a session",
        counted(seen.duplicates, "duplicate"),
        counted(seen.changed, "order") + " with changed bytes",
        counted(seen.bad_signatures, "bad signature"),
    ]
    if kinds:
        said[0] += f" ({kinds})"
    return ", ".join(said)


def _books(result: Result) -> Table:
    seen = result.report
    books = table()
    books.add_column("")
    books.add_column("Client", justify="right")
    books.add_column("Provider", justify="right")
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
        books.add_row(name, _count(client), _count(provider))
    books.add_section()
    books.add_row("Latency, p50", f"{result.p50_seconds * 1000:,.1f} ms", "")
    books.add_row("Latency, p99", f"{result.p99_seconds * 1000:,.1f} ms", "")
    rates = (f"{number / result.seconds:,.0f}" for number in (result.attempts, seen.requests))
    books.add_row("Requests per second", *rates)
    books.add_row("Time", f"{result.seconds:,.2f} s", "")
    return books


def _retries(result: Result) -> Table | None:
    shown = table("Why the client tried again")
    shown.add_column("Cause", overflow="fold")
    shown.add_column("What surely happened", overflow="fold")
    shown.add_column("Times", justify="right")
    for cause, times in result.causes.items():
        shown.add_row(cell(cause.what), cell(cause.happened), _count(times))
    return shown if result.causes else None


def _faults(result: Result) -> Table | None:
    shown = table("Faults at the provider")
    shown.min_width = len("Faults at the provider") + 2
    shown.add_column("Fault")
    shown.add_column("Times", justify="right")
    for kind, times in sorted(result.report.faults.items(), key=lambda item: -item[1]):
        shown.add_row(kind, _count(times))
    return shown if result.report.faults else None


def _errors(result: Result) -> Table | None:
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
        # As it is, each line whole: a pipe may lead to a program.
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


def _plain_meter(total: int) -> Callable[[Outcome[CreateSession]], None]:
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
