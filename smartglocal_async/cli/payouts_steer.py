"""``payouts pause``, ``unpause``, ``cancel`` and ``limits``: what all workers heed."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar

import typer
from attrs import evolve

from ..errors import InvalidRequest
from ..journal.entries import Batch, BatchState
from ..journal.limits import Limits
from ..journal.ruling import left_to_spend
from ..payouts.payouts import Payouts
from ..values.exactness import above_zero
from ..values.money import Amount
from .errand import ended_by_signals
from .failures import ExitCode, explained, unread_or_not
from .naming import named
from .payouts_asking import agreed, needs_terminal
from .payouts_client import keyless
from .payouts_cluster import shared
from .payouts_journal import existing, journal_of
from .payouts_options import BatchArgument, NeededJournal, Server, SharedJournal, Yes
from .payouts_standing import batch_named
from .screen import AsJson, counted, printable, write_json, write_line
from .words import money

N = TypeVar("N", int, float)
T = TypeVar("T")
Why = Annotated[str, typer.Option("--reason", help="Why; it is kept with the batch.")]
WhyPaused = Annotated[
    str | None,
    typer.Option(
        "--reason",
        help="Why; it is kept with the batch. Without it a batch that was paused keeps its reason.",
    ),
]
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
    reason: WhyPaused = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Have no worker begin more of a batch; what is under way is finished. `unpause` ends it.

    It holds within seconds, for each `work` on every machine. Needs the project and the server of
    the environment, whose the journal is, and no key.
    """
    with explained(as_json=as_json), named({"reason": "--reason"}), ended_by_signals():
        done, was_paused = _steered(
            journal, server, batch, lambda payouts, found: _paused(payouts, found, reason)
        )
        state = "paused already" if was_paused else done.state.value
        _tell(done, {"was_paused": was_paused}, [_words(done, state)], as_json=as_json)


def unpause(
    batch: BatchArgument,
    *,
    journal: NeededJournal,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Have workers go on with a batch that was paused, or stopped by one of its rules.

    They find it within seconds. A spending limit holds on; what it leaves is told. Nothing is paid
    by this command; `resume`, which is something else, pays by itself what was begun and is open.
    Needs the project and the server of the environment, and no key.
    """
    with explained(as_json=as_json), named(), ended_by_signals():
        done = _steered(journal, server, batch, lambda payouts, _: payouts.unpause(batch))
        words = [_words(done, done.state.value), *_limit_words(done)]
        _tell(done, {"spend_left": left_to_spend(done)}, words, as_json=as_json)


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
    submit it under new keys, as another batch. Needs the project and the server of the environment,
    and no key. Exit code 1 if the answer was no.
    """
    with explained(as_json=as_json), named({"reason": "--reason"}), ended_by_signals():
        if not yes:
            needs_terminal()
            if not agreed(f"Withdraw what wasn't begun of the batch {batch!r}, for good?"):
                raise typer.Exit(ExitCode.FAILED)
        count = _steered(
            journal, server, batch, lambda payouts, _: payouts.cancel(batch, reason=reason)
        )
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

    What isn't named stays. Needs the project and the server of the environment, and no key.
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
    journal = shared(text, may_make=False)
    async with keyless(journal, server):
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


def _steered(
    text: str, server: str | None, name: str, act: Callable[[Payouts, Batch], Awaitable[T]]
) -> T:
    """Do something with a batch that is there."""
    existing(text)

    async def steered() -> T:
        journal = journal_of(text, may_make=False)
        async with keyless(journal, server) as payouts:
            return await act(payouts, await batch_named(journal, name, text))

    return asyncio.run(steered())


async def _paused(payouts: Payouts, found: Batch, reason: str | None) -> tuple[Batch, bool]:
    """Pause a batch, and say whether it was paused: then another reason has to be given by name."""
    was_paused = found.state is BatchState.PAUSED
    if was_paused and reason is None:
        return found, True
    return await payouts.pause(found.name, reason=reason or _REASON), was_paused


def _limit_words(batch: Batch) -> list[str]:
    """Say what the spending limits leave: what is larger pauses the batch again, at once."""
    if batch.rules is None or not batch.rules.spend:
        return []
    left = [
        f"{money(Amount(units, code))} of {money(Amount(batch.rules.spend[code], code))}"
        for code, units in left_to_spend(batch).items()
    ]
    holds = f"its spending limit still holds, and leaves {', '.join(left)}"
    return [holds, "to raise it, submit the file again with another --spend-limit"]


def _words(batch: Batch, state: str) -> str:
    why = f" ({batch.reason})" if batch.reason else ""
    return f"{batch.name}: {state}{why}"


def _tell(done: Batch, facts: Mapping[str, Any], words: Sequence[str], *, as_json: bool) -> None:
    with unread_or_not():
        if as_json:
            known = {"batch": done.name, "state": done.state.value, "reason": done.reason}
            write_json({**known, **facts})
        else:
            write_line(printable("; ".join(words)))
