"""``payouts pay``: a file is looked at, confirmed, and paid, each payout at most once."""

import asyncio
from typing import Annotated

import typer

from ..errors import Misuse
from .errand import ended_by_signals
from .failures import ExitCode, explained, unread_or_not
from .naming import named
from .payouts_asking import confirmed, needs_terminal, told_if_cut_short
from .payouts_batch import begun_before
from .payouts_check import ExpectTotal, File, looked
from .payouts_client import Reach, client_of, server_of
from .payouts_dry_run import sign_all
from .payouts_journal import is_there
from .payouts_options import (
    BatchName,
    Concurrency,
    Confirm,
    ConfirmBy,
    JournalAt,
    Results,
    Seconds,
    Server,
    SpendLimit,
    StopAfterFailures,
    StopOnLowBalance,
    StopOnRefusal,
    Yes,
)
from .payouts_run import run
from .payouts_view import show_dry_run, show_run
from .payouts_wish import Wish, check_limits, wish_of
from .screen import AsJson

Rate = Annotated[
    float | None,
    typer.Option(metavar="N", help="Payouts begun in a second, at most (extra batch)."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Build and sign every request, and send none.")
]


def pay(  # noqa: PLR0913 - one option per setting
    file: File,
    *,
    journal: JournalAt = None,
    server: Server = None,
    batch: BatchName = None,
    results: Results = None,
    confirm: ConfirmBy = Confirm.MANUAL,
    concurrency: Concurrency = 64,
    rate: Rate = None,
    deadline: Seconds = 60.0,
    expect_total: ExpectTotal = None,
    spend_limit: SpendLimit = None,
    stop_on_refusal: StopOnRefusal = False,
    stop_after_failures: StopAfterFailures = None,
    stop_on_low_balance: StopOnLowBalance = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Pay a file: look at all of it, ask, then pay each payout at most once.

    Interrupted or killed, run it again: what was paid is not paid again. A first Ctrl-C finishes
    what is out, a second one ends at once. Needs the credentials of the environment.

    Exit codes: 0 all paid. 1 some failed or were refused, or the file isn't fit; nothing is open.
    2 misuse, nothing sent. 3 some are open or unknown. 4 the provider wasn't reached, nothing is
    out. 6 stopped early. 7 payouts are halted. Of several, the first that holds of 7, 3, 4, 6, 1.
    """
    with explained(as_json=as_json), named(), ended_by_signals():
        wish = wish_of(
            file,
            journal=journal,
            batch=batch,
            results=results,
            mode=confirm.mode,
            concurrency=concurrency,
            rate=rate,
            deadline=deadline,
            expect_total=expect_total,
            spend_limit=spend_limit,
            stop_on_refusal=stop_on_refusal,
            stop_after_failures=stop_after_failures,
            stop_on_low_balance=stop_on_low_balance,
            as_json=as_json,
            server=server,
        )
        code = _dry(wish, server) if dry_run else _pay(wish, server, asks=not yes)
    if code:
        raise typer.Exit(code)


def _pay(wish: Wish, server: str | None, *, asks: bool) -> ExitCode:
    if asks:
        needs_terminal()
    reach = Reach()
    client = client_of(server, reach.heed)
    digest = wish.file.digest()
    found = looked(wish.file, wish.totals, as_json=wish.as_json)
    if not found.is_fit:
        return ExitCode.FAILED
    check_limits(wish.stop_on.spend, found.totals)
    if asks:
        is_known = is_there(wish.journal)
        before = asyncio.run(begun_before(client, wish, digest)) if is_known else 0
        if not confirmed(found, before, server_of(server)):
            return ExitCode.FAILED
    if wish.file.digest() != digest:
        raise Misuse(f"{wish.path}: was changed while it was looked at; run it again")
    with told_if_cut_short(wish.again):
        ran = asyncio.run(run(client, wish, digest, found, reach))
    with unread_or_not():
        show_run(ran, as_json=wish.as_json)
    return ran.code


def _dry(wish: Wish, server: str | None) -> ExitCode:
    client = client_of(server)
    found = looked(wish.file, wish.totals, as_json=wish.as_json)
    if not found.is_fit:
        return ExitCode.FAILED
    signed = sign_all(client, wish.file)
    show_dry_run(signed.payouts, signed.bodies, as_json=wish.as_json)
    return ExitCode.DONE
