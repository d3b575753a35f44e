"""``payouts decide``, ``withdraw``, ``lift`` and ``quarantine``: what a person writes."""

from datetime import timedelta
from typing import Annotated

import typer

from ..errors import InvalidRequest
from ..payouts.orders import PayoutOutcome
from .errand import ended_by_signals
from .failures import ExitCode, explained, unread_or_not
from .naming import named
from .payouts_asking import agreed, needs_terminal
from .payouts_client import done_with
from .payouts_options import NeededJournal, Reason, Server, Yes
from .payouts_sums import facts_of_outcome
from .screen import AsJson, cell, console, remark, write_json

Key = Annotated[str, typer.Argument(metavar="KEY", help="The key of the payout.")]
IsPaid = Annotated[
    bool | None, typer.Option("--paid/--not-paid", help="What became of it.", show_default=False)
]
Hours = Annotated[
    float,
    typer.Option(min=0.01, max=1000.0, metavar="N", help="How long nothing is paid."),
]


def decide(  # noqa: PLR0913 - one option per setting
    key: Key,
    *,
    is_paid: IsPaid = None,
    reason: Reason,
    journal: NeededJournal,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Settle a payout by what a person found out at the provider; nothing is sent.

    Money must surely have moved, or not: what is written stays. Needs the project and the server
    of the environment, whose the journal is, and no key.
    """
    with explained(as_json=as_json), named({"reason": "--reason"}), ended_by_signals():
        if is_paid is None:
            raise InvalidRequest("--paid", "say --paid or --not-paid")
        outcome = done_with(
            journal, server, lambda payouts: payouts.decide(key, is_paid=is_paid, reason=reason)
        )
        _tell(outcome, as_json=as_json)


def withdraw(
    key: Key,
    *,
    reason: Reason,
    journal: NeededJournal,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Take back a payout for which nothing is out; nothing is sent.

    Another try is another key. Needs the project and the server of the environment, and no key.
    """
    with explained(as_json=as_json), named({"reason": "--reason"}), ended_by_signals():
        _tell(
            done_with(journal, server, lambda payouts: payouts.withdraw(key, reason=reason)),
            as_json=as_json,
        )


def lift(
    *,
    journal: NeededJournal,
    server: Server = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Lift a halt, once what it says was looked into; nothing is sent.

    Needs the project and the server of the environment, and no key. Exit code 1 if the answer was
    no.
    """
    with explained(as_json=as_json), named(), ended_by_signals():
        if not yes:
            needs_terminal()
        halt = done_with(journal, server, lambda payouts: payouts.summary()).halt
        said = "payouts weren't halted" if halt is None else f"it was halted: {halt.reason}"
        question = f"Payouts are halted: {halt and halt.reason}. Was it looked into?"
        if halt is not None and not (yes or agreed(question)):
            raise typer.Exit(ExitCode.FAILED)
        if halt is not None:
            done_with(journal, server, lambda payouts: payouts.lift())
        if as_json:
            write_json({"lifted": halt is not None, "reason": halt and halt.reason})
        else:
            remark(said if halt is None else f"lifted; {said}")


def quarantine(
    *,
    journal: NeededJournal,
    server: Server = None,
    hours: Hours = 4.5,
    as_json: AsJson = False,
) -> None:
    """Have nothing paid from a journal that was restored, until news may have come of it.

    Needs the project and the server of the environment, and no key. `lift` ends it early.
    """
    with explained(as_json=as_json), named(), ended_by_signals():
        done_with(journal, server, lambda payouts: payouts.quarantine(timedelta(hours=hours)))
        if as_json:
            write_json({"hours": hours})
        else:
            remark(f"nothing is paid for {hours:g} hours, or until it is lifted")


def _tell(outcome: PayoutOutcome, *, as_json: bool) -> None:
    with unread_or_not():
        if as_json:
            write_json(facts_of_outcome(outcome))
        else:
            words = f"{outcome.key}: {outcome.state.value}, written with the reason"
            console().print(cell(words), soft_wrap=True)
