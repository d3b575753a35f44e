"""Shows answers as tables; card numbers and security codes are masked, in ``--json`` too."""

import json
import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, cast

from rich.console import Console
from rich.table import Table

from ...codec import NotDecodable, codec
from ...errors import MASK
from ...models.answers import (
    Bank,
    ExchangeAmount,
    ExchangeRate,
    Payment,
    Payout,
    PushRequested,
    Refund,
    Session,
    Wallet,
)
from ...models.enums import NextAction, OperationStatus, SessionStatus
from ...models.tokens import PublicToken, RecurrentToken, TokenInfo
from ...models.validators import without_card_numbers
from ...validation.checks import PAYMENT, PAYOUT
from ..tables import (
    cell,
    console,
    failure,
    instrument,
    interaction,
    moment,
    money,
    others,
    recurrence,
    show,
    table,
)

_INSTRUMENTS: Final = frozenset({*PAYOUT, *PAYMENT})
# Instruments without a card; their numbers are those of accounts and phones.
_WITHOUT_CARD: Final = frozenset({"bank_account", "wallet", "recurrent"})
_CODE: Final = "security_code"
_TOKENS: Final = ("hash", "token")


def without_numbers(wire: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return JSON values with masked security codes, and masked card numbers in instruments."""
    match wire:
        case dict():
            fields = cast("dict[str, Any]", wire)
            return {name: _field(name, value) for name, value in fields.items()}
        case list() | tuple():
            return [without_numbers(item) for item in cast("list[Any]", wire)]
        case _:
            return wire


def _field(name: str, value: Any) -> Any:  # noqa: ANN401 - any JSON
    if name == _CODE:
        return value and MASK
    if name not in _INSTRUMENTS or not isinstance(value, dict):
        return without_numbers(value)
    instrument = cast("dict[str, Any]", value)
    if instrument.get("type") in _WITHOUT_CARD:
        return without_numbers(instrument)
    return _without_digits(instrument)


def _without_digits(value: Any) -> Any:  # noqa: ANN401 - any JSON
    match value:
        case dict():
            fields = cast("dict[str, Any]", value)
            return {name: _shown(name, item) for name, item in fields.items()}
        case list() | tuple():
            return [_without_digits(item) for item in cast("list[Any]", value)]
        case str():
            return without_card_numbers(value)
        case int() if without_card_numbers(str(value)) != str(value):
            return MASK
        case _:
            return value


def _shown(name: str, value: Any) -> Any:  # noqa: ANN401 - any JSON
    if name == _CODE:
        return value and MASK
    if name.endswith(_TOKENS) and isinstance(value, str):
        return value
    return _without_digits(value)


_STARTED: Final[Mapping[str, str]] = {
    "session/start/payout": "payout",
    "session/start/payment": "payment",
}
_CREATE: Final = "session/create"


def step_after(path: str, session_id: str | None, key: str | None) -> str | None:
    """Return what to do after a call whose outcome is unknown."""
    if path == _CREATE:
        if key is None:
            return None
        return f"repeat it with --key {shlex.quote(key)}, which must be in the metadata"
    if session_id is None:
        return "wait for the webhook, or ask the provider's support, before you repeat it"
    status, cancel = command("status", session_id), command("cancel", session_id)
    if path in _STARTED:
        shown = f"if it shows no {_STARTED[path]}: {cancel}, and start in a new session"
        return f"{status}; {shown}"
    return f"{status}, or wait for the webhook, before you repeat it"


def steps_of(session: Session) -> dict[str, str | None]:
    """Return the rows of a session's next action, with its commands."""
    cancel = f"cancel: {command('cancel', session.id)}"
    match session.next_action:
        case NextAction.CONFIRM:
            step = f"confirm: {command('confirm', session.id)} (money moves)"
            return {"next action": step, "or": cancel}
        case NextAction.CAPTURE:
            step = f"capture: {command('capture', session.id)} (money moves)"
            return {"next action": step, "or": cancel}
        case other:
            waits = "the payer has to act; see below" if _waits_for_payer(session) else None
            return {"next action": other or waits}


def command(name: str, session_id: str) -> str:
    """Return a command of the group ``session``."""
    return f"smartglocal session {name} {shlex.quote(session_id)}"


def _waits_for_payer(session: Session) -> bool:
    items: tuple[Payout | Payment, ...] = (*session.payout_list, *session.payment_list)
    return any(
        item.customer_interaction is not None and item.status == OperationStatus.PENDING
        for item in items
    )


_DIM: Final = "dim"
_STATUS_STYLES: Final = {
    "accepted": "green",
    "succeeded": "green",
    "failed": "red",
    "error": "red",
    "declined": "red",
    "pending": "yellow",
}


def show_session(session: Session) -> None:
    """Show a session, its payouts and payments, and what has to be done next."""
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


def show_exchange_rate(found: ExchangeRate) -> None:
    """Show a rate, and when it holds."""
    source, destination = found.source_currency or "?", found.destination_currency or "?"
    facts = {
        "rate": f"1 {source.upper()} is {found.rate} {destination.upper()}",
        "from": moment(found.active_from),
        "until": moment(found.active_to),
        "other fields": others(found.extra),
    }
    show(console(), _pairs(facts))


def show_push(asked: PushRequested) -> None:
    """Show that the notification was requested."""
    console().print("Sber was asked to notify the payer")
    if asked.extra:
        show(console(), _pairs({"other fields": others(asked.extra)}))


def show_public_token(token: PublicToken) -> None:
    """Show the token on a line of its own, to be copied."""
    screen = console()
    screen.print("public token, valid for 24 hours and one operation:", style=_DIM)
    screen.print(cell(token.public_token), soft_wrap=True)


def show_token_info(info: TokenInfo) -> None:
    """Show the details of a token, and not the token."""
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
    """Show the state of a recurring payment."""
    facts = {
        "recurring token": MASK,
        "active": _yes_or_no(token.is_active),
        "created": moment(token.created_at),
        "ended": moment(token.finished_at),
        "other fields": others(token.extra),
    }
    show(console(), _pairs(facts))


def show_fields(answer: Mapping[str, Any]) -> None:
    """Show an answer of unknown form: its names, and the values that can't be secrets."""
    facts = {name: _plain(value) for name, value in answer.items()}
    show(console(), _pairs(facts)) if facts else show(console(), "ok, with no other fields")


def show_any(answer: Mapping[str, Any]) -> None:
    """Show the session of an answer, if it has one, and its other fields."""
    others = dict(answer)
    with suppress(NotDecodable):
        session = codec("v1").structure(answer.get("session"), Session)
        show_session(session)
        del others["session"]
        if not others:
            return
    show_fields(others)


def _head(session: Session) -> Table:
    metadata = session.metadata
    return _pairs(
        {
            "session": session.id,
            "status": session.status,
            **steps_of(session),
            "created": moment(session.created_at),
            "updated": moment(session.updated_at),
            "finished": moment(session.finished_at),
            "converted": "; ".join(map(_conversion, session.exchange_amounts)),
            "metadata": _metadata_text(metadata),
            "error": failure(session.error),
            "other fields": others(session.extra),
        }
    )


def _conversion(exchange: ExchangeAmount) -> str:
    until = moment(exchange.reserved_to)
    paid = f"the payer pays {money(exchange.destination)} for {money(exchange.source)}"
    return f"{paid}, until {until}" if until else paid


def _items(title: str, instrument_title: str, items: Iterable[Payout | Payment]) -> Table:
    shown = table(title)
    shown.add_column("Id", overflow="fold")
    shown.add_column("Status", overflow="fold")
    shown.add_column("Amount", justify="right", overflow="fold")
    shown.add_column(instrument_title, overflow="fold")
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
        yield "The status error is not final: don't pay again; ask the provider's support."


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


def _rows_or(shown: Table, text: str) -> None:
    screen: Console = console()
    if shown.row_count:
        show(screen, shown)
    else:
        screen.print(text, style=_DIM)


def _plain(value: object) -> str:
    if isinstance(value, bool | int | float) or value is None:
        return _json(value)
    return f"{MASK} (--json shows it)"


def _metadata_text(metadata: object) -> str | None:
    if metadata is None or isinstance(metadata, str):
        return metadata
    return _json(metadata)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _yes_or_no(value: bool | None) -> str | None:  # noqa: FBT001 - a value to show
    return None if value is None else "yes" if value else "no"
