"""Consoles, tables and the text of their cells, for rich to print."""

import io
import os
import sys
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ..errors import MASK
from ..models.answers import CustomerInteraction, MaskedCard, ProviderError
from ..models.instruments import (
    BankCard,
    EncryptedCard,
    FasterPayment,
    FasterPaymentBinding,
    FasterPaymentQr,
    FasterPaymentVerification,
    GlobalAccount,
    GlobalWallet,
    MonetaWallet,
    OtherInstrument,
    PaymentInstrument,
    PayoutInstrument,
    QiwiWallet,
    Recurrent,
    RussianAccount,
    SberPay,
    SteamWallet,
    TokenizedCard,
    TPay,
    YooMoneyWallet,
)
from ..models.money import Amount
from ..models.tokens import RecurrentToken
from .output import is_lively, open_stream, printable, reader_gone

PLAIN_WIDTH: Final = 100


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Raise `ReaderGone`; rich would exit with 1, which means that a call was refused."""
        raise reader_gone()


def console(*, beside: bool = False) -> Console:
    """Return a console on standard output, or on standard error if it is ``beside`` the result.

    It writes escape codes only on a terminal.

    Raises:
        OSError: the stream is closed.

    """
    stream = open_stream(sys.stderr if beside else sys.stdout)
    held: object = stream
    if isinstance(held, io.TextIOWrapper):
        held.reconfigure(errors="backslashreplace")
    lively = is_lively(stream)
    return _Console(
        file=stream,
        force_terminal=lively,
        color_system="auto" if lively else None,
        # A pipe has no width; COLUMNS can set one.
        width=None if stream.isatty() or "COLUMNS" in os.environ else PLAIN_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )


def table(title: str | None = None) -> Table:
    """Return an empty table, in the same style everywhere."""
    return Table(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold")


def show(screen: Console, shown: RenderableType) -> None:
    """Print a renderable; without trailing spaces if it isn't a terminal."""
    if screen.is_terminal:
        screen.print(shown)
        return
    with screen.capture() as captured:
        screen.print(shown)
    for line in captured.get().splitlines():
        screen.print(line.rstrip(), soft_wrap=True)


def cell(value: object, style: str = "") -> Text:
    """Return text for a table, with control characters escaped."""
    return Text(printable(str(value)), style=style)


_TAIL: Final = 4
# Of a shorter number, the tail would show most digits.
_SHORTEST_NUMBER: Final = 8


def money(amount: Amount | None) -> str:
    """Return an amount in major units, with its currency: "100.00 USD"."""
    return "" if amount is None else amount.text


def moment(time: datetime | None) -> str:
    """Return a time in UTC, to the second."""
    return "" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def instrument(used: PayoutInstrument | PaymentInstrument | MaskedCard | None) -> str:
    """Return a description of an instrument, with the last digits of its number at most."""
    match used:
        case None:
            return ""
        case MaskedCard() | BankCard() | EncryptedCard() | TokenizedCard() | Recurrent():
            return _card(used)
        case GlobalWallet():
            return f"{used.name} wallet{_tail(used.msisdn)}"
        case SteamWallet() | QiwiWallet() | YooMoneyWallet() | MonetaWallet():
            return f"{type(used).__name__.removesuffix('Wallet')} wallet{_tail(used.account)}"
        case FasterPaymentQr() | FasterPaymentBinding():
            return "faster payment"
        case SberPay() | TPay():
            return type(used).__name__
        case OtherInstrument():
            return used.type.replace("_", " ")
        case _:
            return _account(used)


def failure(error: ProviderError | None) -> str:
    """Return the provider's error code and description."""
    if error is None:
        return ""
    return ": ".join(part for part in (error.code, error.description) if part)


def interaction(needed: CustomerInteraction) -> str:
    """Return what the payer has to do; form fields are for the payer's browser only."""
    code = needed.inform.qr if needed.inform is not None else None
    if code is not None and code.content:
        return f"show the payer this link as a QR code, or open it on a phone: {code.content}"
    if needed.redirect is None:
        return f"the payer has to act ({needed.type}); --json shows the details"
    redirect = needed.redirect
    fields = "; --json shows the form fields" if redirect.params else ""
    return f"send the payer to {redirect.url} ({(redirect.method or 'GET').upper()}){fields}"


def recurrence(token: RecurrentToken) -> str:
    """Return the state of a token for later payments, without the token."""
    state = {True: "active", False: "ended", None: "state unknown"}[token.is_active]
    return f"recurring token {MASK}, {state}; --json shows it"


def others(extra: Any) -> str:  # noqa: ANN401 - any names, with any values
    """Return the names of unknown fields; their values may be secrets."""
    return ", ".join(extra) + " (--json shows them)" if extra else ""


def _card(card: MaskedCard | BankCard | EncryptedCard | TokenizedCard | Recurrent) -> str:
    match card:
        case MaskedCard():
            return f"{card.brand or 'card'}{_tail(card.last4, shortest=_TAIL)}"
        case BankCard():
            return f"card{_tail(card.number)}"
        case EncryptedCard() | TokenizedCard():
            return "card, by its token"
        case Recurrent():
            return "card, by a recurring token"


def _account(
    account: GlobalAccount | RussianAccount | FasterPayment | FasterPaymentVerification,
) -> str:
    match account:
        case GlobalAccount():
            number = account.iban or account.bank_account_number or account.account_number
            return f"account{_tail(number)}"
        case RussianAccount():
            return f"account{_tail(account.account)}, BIK {account.bik}"
        case FasterPayment() | FasterPaymentVerification():
            return f"phone{_tail(account.phone)}, bank {account.bank_id}"


def _tail(number: str | None, *, shortest: int = _SHORTEST_NUMBER) -> str:
    return f" *{number[-_TAIL:]}" if number and len(number) >= shortest else ""
