"""What a run of payouts came to, on the screen or as JSON."""

from collections.abc import Iterable
from typing import Final

from rich.console import Console

from ..errors import BatchStopped
from ..payouts.orders import PayoutOutcome, PayoutState
from ..values.exactness import without_card_numbers
from ..values.money import Amount
from .failures import words_of
from .payouts_sums import Ran, Sums, why
from .screen import cell, complain, console, counted, show, table, write_json
from .words import money

_ROWS: Final = (
    ("paid", PayoutState.SUCCEEDED),
    ("failed", PayoutState.FAILED),
    ("refused", PayoutState.REFUSED),
    ("cancelled", PayoutState.CANCELLED),
    ("unknown", PayoutState.UNKNOWN),
    ("open", PayoutState.OPEN),
)
_UNKNOWN: Final = (
    "never pay an unknown one under another key: the provider's report (payouts reconcile) or a "
    "person (payouts decide) settles it"
)
_ALWAYS: Final = frozenset({PayoutState.SUCCEEDED, PayoutState.FAILED, PayoutState.UNKNOWN})


def show_run(ran: Ran, *, as_json: bool) -> None:
    """Show how a run ended, and what to do next."""
    if as_json:
        write_json(ran.as_dict())
    else:
        screen = console()
        _show_sums(screen, ran)
        show_outcomes(screen, ran.sums.listed, ran.sums.unlisted)
        for line in _verdict(ran):
            screen.print(cell(line), soft_wrap=True)
    if ran.error is not None:
        complain(words_of(ran.error))


def _show_sums(screen: Console, ran: Ran) -> None:
    sums = ran.sums
    shown = table()
    shown.show_header = False
    shown.add_column()
    shown.add_column(justify="right")
    shown.add_column(overflow="fold")
    if sums.asked is not None:
        shown.add_row("asked", f"{sums.asked:,}", "")
    for name, state in _ROWS:
        if sums.states[state] or state in _ALWAYS:
            shown.add_row(name, f"{sums.states[state]:,}", cell(_money(sums, state)))
    if sums.not_begun:
        shown.add_row("not begun", f"{sums.not_begun:,}", "")
    shown.add_row("settled before", f"{sums.replayed:,}", "")
    shown.add_row("time", f"{ran.seconds:,.1f} s", "")
    show(screen, shown)


def show_outcomes(screen: Console, outcomes: Iterable[PayoutOutcome], more: int) -> None:
    """List payouts that weren't paid, each with its session and the reason."""
    shown = table("Not paid")
    for column in ("Key", "State", "Session", "Why"):
        shown.add_column(column, overflow="fold")
    for one in outcomes:
        said = ": ".join(part for part in (one.code, why(one)) if part)
        told = without_card_numbers(said) or ""
        shown.add_row(cell(one.key), cell(one.state.value), cell(one.session_id or ""), cell(told))
    if shown.row_count:
        show(screen, shown)
    if more:
        screen.print(cell(f"and {more:,} more"), soft_wrap=True)


def show_dry_run(orders: int, bodies: int, *, as_json: bool) -> None:
    """Say what was signed."""
    if as_json:
        write_json({"dry_run": True, "payouts": orders, "signed": bodies, "sent": 0})
        return
    words = f"{counted(orders, 'payout')}: {counted(bodies, 'request')} built and signed, none sent"
    console().print(cell(words), soft_wrap=True)


def _money(sums: Sums, state: PayoutState) -> str:
    found = sorted((code, units) for (one, code), units in sums.money.items() if one is state)
    return ", ".join(money(Amount(units, code)) for code, units in found)


def _verdict(ran: Ran) -> list[str]:
    sums, said = ran.sums, list[str]()
    if sums.settled and sums.replayed == sums.settled and not sums.not_begun:
        said.append("all of it was settled before; nothing was sent")
    if sums.asked is None and not sums.settled:
        said.append("nothing is open that can be gone on with")
    if sums.states[PayoutState.UNKNOWN]:
        said.append(_UNKNOWN)
    if isinstance(ran.error, BatchStopped):
        said.append(f"stopped early: {ran.error.reason}")
    if ran.results is not None:
        said.append(f"results: {ran.results}")
    if ran.next is not None:
        said.append(f"next: {ran.next}")
    return said
