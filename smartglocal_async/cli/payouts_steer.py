"""``payouts pause``, ``unpause``, ``cancel`` and ``limits``: what all workers heed."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Final, TypeVar

import typer
from attrs import evolve

from ..errors import InvalidRequest
from ..journal.entries import Batch
from ..journal.limits import Limits
from ..values.exactness import above_zero
from .errand import ended_by_signals
from .failures import ExitCode, explained, unread_or_not
from .naming import named
from .payouts_asking import agreed, needs_terminal
from .payouts_client import client_of, done_with, payouts_of
from .payouts_cluster import shared
from .payouts_options import BatchArgument, NeededJournal, Server, SharedJournal, Yes
from .screen import AsJson, counted, printable, write_json, write_line

N = TypeVar("N", int, float)
Why = Annotated[str, typer.Option("--reason", help="Why; it is kept with the batch.")]
RateOfAll = Annotated[
    str | None,
    typer.Option("--rate", metavar="N|none", help="Payouts taken up in a second, at most."),
]
ConcurrencyOfAll = Annotated[
    str | None,
    typer.Option("--concurrency", metavar="N|none", help="Payouts under way at once, at most."),
]
_NONE: Final = "none"
_REASON: Final = "from the command line"


def pause(
    batch: BatchArgument,
    *,
    journal: NeededJournal,
    reason: Why = _REASON,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Have no worker begin more of a batch; what is under way is finished. `unpause` ends it.

    It holds within seconds, for each `work` on every machine. Needs the credentials of the
    environment.
    """
    with explained(as_json=as_json), named({"reason": "--reason"}), ended_by_signals():
        done = done_with(journal, server, lambda payouts: payouts.pause(batch, reason=reason))
        _tell(done, as_json=as_json)


def unpause(
    batch: BatchArgument,
    *,
    journal: NeededJournal,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Have workers go on with a batch that was paused, or stopped by one of its rules.

    They find it within seconds. Needs the credentials of the environment.
    """
    with explained(as_json=as_json), named(), ended_by_signals():
        done = done_with(journal, server, lambda payouts: payouts.unpause(batch))
        _tell(done, as_json=as_json)


def cancel(  # noqa: PLR0913 - one option per setting
    batch: BatchArgument,
    *,
    journal: NeededJournal,
    reason: Why = _REASON,
    server: Server = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Withdraw all of a batch for which nothing is out, for good; what is under way is finished.

    What was withdrawn is never paid under its key, in no other batch either: to pay it after all,
    submit it under new keys, as another batch. Needs the credentials of the environment. Exit code
    1 if the answer was no.
    """
    with explained(as_json=as_json), named({"reason": "--reason"}), ended_by_signals():
        if not yes:
            needs_terminal()
            if not agreed(f"Withdraw what wasn't begun of the batch {batch!r}, for good?"):
                raise typer.Exit(ExitCode.FAILED)
        count = done_with(journal, server, lambda payouts: payouts.cancel(batch, reason=reason))
        with unread_or_not():
            if as_json:
                write_json({"batch": batch, "state": "cancelled", "withdrawn": count})
            else:
                write_line(printable(f"{batch}: cancelled, {counted(count, 'payout')} withdrawn"))


def limits(
    *,
    journal: SharedJournal,
    rate: RateOfAll = None,
    concurrency: ConcurrencyOfAll = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Show what all workers may do together, or set it for them, also while they work.

    What isn't named stays. Needs the credentials of the environment.
    """
    with explained(as_json=as_json), named(), ended_by_signals():
        _ = shared(journal)
        held = asyncio.run(_limited(journal, server, _changes(rate, concurrency)))
        with unread_or_not():
            if as_json:
                write_json({"rate": held.rate, "concurrency": held.concurrency})
            else:
                pace = "as fast as they can" if held.rate is None else f"{held.rate:g} in a second"
                most = "any number" if held.concurrency is None else f"{held.concurrency:,}"
                write_line(f"all workers together: {pace}, {most} at once")


async def _limited(text: str, server: str | None, change: Callable[[Limits], Limits]) -> Limits:
    journal, client = shared(text), client_of(server)
    async with client, payouts_of(client, journal):
        before = await journal.limits()
        after = change(before)
        if after != before:
            await journal.set_limits(after)
        return after


def _changes(rate: str | None, concurrency: str | None) -> Callable[[Limits], Limits]:
    """Read the options.

    Raises:
        InvalidRequest: one of them is no number above zero.

    """
    pace = None if rate in {None, _NONE} else _number("--rate", rate, float)
    most = None if concurrency in {None, _NONE} else _number("--concurrency", concurrency, int)

    def change(held: Limits) -> Limits:
        held = held if rate is None else evolve(held, rate=pace)
        return held if concurrency is None else evolve(held, concurrency=most)

    return change


def _number(option: str, text: str | None, kind: Callable[[str], N]) -> N:
    try:
        number = kind(text or "")
        above_zero(option, number)
    except ValueError:
        raise InvalidRequest(option, "expected a number above zero, or none") from None
    return number


def _tell(done: Batch, *, as_json: bool) -> None:
    with unread_or_not():
        if as_json:
            write_json({"batch": done.name, "state": done.state.value, "reason": done.reason})
        else:
            why = f" ({done.reason})" if done.reason else ""
            write_line(printable(f"{done.name}: {done.state.value}{why}"))
