"""Answers as tables: sessions and what is in them, wallets, tokens, banks."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from ..errors import MASK
from ..values.answers import Payment, Payout, Refund, Session
from ..values.statuses import OperationStatus, SessionStatus
from ..values.tokens import PublicToken, RecurrentToken, TokenInfo
from ..values.wallets import Bank, Wallet
from .next_steps import steps_of
from .screen import cell, console, show, table
from .words import failure, instrument, interaction, moment, money, others, recurrence

_CALM: Final = "dim"
_STATUS_STYLES: Final = {
    "accepted": "green",
    "succeeded": "green",
    "failed": "red",
    "error": "red",
    "declined": "red",
    "pending": "yellow",
}


def show_session(session: Session) -> None:
    """Show a session, the payouts and payments in it, and what somebody has to do."""
    screen = console()
    show(screen, _head(session))
    if session.payout_list:
        show(screen, _items("Payouts", "To", session.payout_list))
    if session.payment_list:
        show(screen, _items("Payments", "From", session.payment_list))
    refunds = [refund for payment in session.payment_list for refund in payment.refunds]
    if refunds:
        show(screen, _refunds(refunds))
    for line in _due(session):
        screen.print(cell(line), soft_wrap=True)


def show_wallets(wallets: tuple[Wallet, ...]) -> None:
    """Show the balances."""
    shown = table("Wallets")
    shown.add_column("Wallet", overflow="fold")
    shown.add_column("Balance", justify="right", no_wrap=True)
    for wallet in wallets:
        shown.add_row(cell(wallet.id), cell(money(wallet.amount_details)))
    _rows_or(shown, "no wallets")


def show_banks(banks: tuple[Bank, ...]) -> None:
    """Show the banks of a payment system."""
    shown = table("Banks")
    for name in ("Bank", "Name", "Russian name"):
        shown.add_column(name, overflow="fold")
    for bank in banks:
        shown.add_row(cell(bank.id), cell(bank.eng_name or ""), cell(bank.ru_name or ""))
    _rows_or(shown, "no banks")


def show_public_token(token: PublicToken) -> None:
    """Show the token that was asked for, on a line of its own: it is there to be copied."""
    screen = console()
    screen.print("public token, valid for 24 hours and one operation:", style=_CALM)
    screen.print(cell(token.public_token), soft_wrap=True)


def show_token_info(info: TokenInfo) -> None:
    """Show what stands behind a token, and not the token."""
    facts = {
        "type": info.type,
        "brand": info.brand,
        "last 4": info.last4,
        "country": info.country_iso3,
        "token": info.token and MASK,
        "active": _yes_or_no(info.is_active),
        "created": moment(info.created_at),
        "expires": moment(info.expires_at),
        "other fields": others(info.extra),
    }
    show(console(), _pairs(facts))


def show_recurrent(token: RecurrentToken) -> None:
    """Show where a recurring payment stands."""
    facts = {
        "recurring token": MASK,
        "active": _yes_or_no(token.is_active),
        "created": moment(token.created_at),
        "ended": moment(token.finished_at),
        "other fields": others(token.extra),
    }
    show(console(), _pairs(facts))


def show_fields(answer: Mapping[str, Any]) -> None:
    """Show an answer of no known shape: its names, and the values that can't be secrets."""
    facts = {name: _plain(value) for name, value in answer.items()}
    show(console(), _pairs(facts)) if facts else show(console(), "ok, and nothing beside it")


def _head(session: Session) -> Table:
    said = session.metadata
    return _pairs(
        {
            "session": session.id,
            "status": session.status,
            **steps_of(session),
            "created": moment(session.created_at),
            "updated": moment(session.updated_at),
            "finished": moment(session.finished_at),
            "metadata": None if said is None else said if isinstance(said, str) else _json(said),
            "error": failure(session.error),
            "other fields": others(session.extra),
        }
    )


def _items(title: str, whom: str, items: Iterable[Payout | Payment]) -> Table:
    shown = table(title)
    shown.add_column("Id", overflow="fold")
    shown.add_column("Status", overflow="fold")
    shown.add_column("Amount", justify="right", overflow="fold")
    shown.add_column(whom, overflow="fold")
    shown.add_column("Error", overflow="fold")
    for item in items:
        used = item.payment_method if isinstance(item, Payout) else item.payment_details
        shown.add_row(
            cell(item.id),
            _status(item.status),
            cell(money(item.amount_details)),
            cell(instrument(used)),
            cell(failure(item.error)),
        )
    return shown


def _refunds(refunds: Iterable[Refund]) -> Table:
    shown = table("Refunds")
    shown.add_column("Id", overflow="fold")
    shown.add_column("Status", overflow="fold")
    shown.add_column("Amount", justify="right", overflow="fold")
    shown.add_column("By", overflow="fold")
    shown.add_column("Error", overflow="fold")
    for refund in refunds:
        shown.add_row(
            cell(refund.id),
            _status(refund.status),
            cell(money(refund.amount_details)),
            "the payer's bank" if refund.is_chargeback else "you",
            cell(failure(refund.error)),
        )
    return shown


def _due(session: Session) -> Iterable[str]:
    items: tuple[Payout | Payment, ...] = (*session.payout_list, *session.payment_list)
    for item in items:
        needed = item.customer_interaction
        if needed is not None and item.status == OperationStatus.PENDING:
            yield f"{item.id}: {interaction(needed)}"
    for payment in session.payment_list:
        if payment.recurrent is not None:
            yield f"{payment.id}: {recurrence(payment.recurrent)}"
    if session.status == SessionStatus.ERROR:
        yield "The status error is not final: don't pay again, and ask the provider's support."


def _status(status: str) -> Any:  # noqa: ANN401 - rich's own
    return cell(status, _STATUS_STYLES.get(status, ""))


def _pairs(facts: Mapping[str, str | None]) -> Table:
    shown = table()
    shown.show_header = False
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in facts.items():
        if value:
            shown.add_row(cell(name), cell(value, _STATUS_STYLES.get(value, "")))
    return shown


def _rows_or(shown: Table, words: str) -> None:
    screen: Console = console()
    if shown.row_count:
        show(screen, shown)
    else:
        screen.print(words, style=_CALM)


def _plain(value: object) -> str:
    if isinstance(value, bool | int | float) or value is None:
        return _json(value)
    return f"{MASK} (--json has it)"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _yes_or_no(said: bool | None) -> str | None:  # noqa: FBT001 - a fact, and no switch
    return None if said is None else "yes" if said else "no"
