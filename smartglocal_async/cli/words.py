"""Amounts, times and instruments in words for people; nothing that pays is spelt out."""

from datetime import UTC, datetime
from typing import Any, Final

from ..errors import MASK, InvalidRequest
from ..values.answers import MaskedCard, ProviderError
from ..values.instruments import (
    BankCard,
    EncryptedCard,
    FasterPayment,
    FasterPaymentVerification,
    GlobalAccount,
    GlobalWallet,
    OtherInstrument,
    PayoutInstrument,
    Recurrent,
    RussianAccount,
)
from ..values.interaction import CustomerInteraction
from ..values.money import Amount
from ..values.tokens import RecurrentToken

_TAIL: Final = 4
# Of a shorter number, the tail would be most of it.
_SHORTEST_NUMBER: Final = 8


def money(amount: Amount | None) -> str:
    """Give an amount in major units, with its currency: "100.00 USD"."""
    if amount is None:
        return ""
    try:
        return f"{amount.decimal:,f} {amount.currency.upper()}"
    except InvalidRequest:
        return f"{amount.amount:,} minor units of {amount.currency.upper()}"


def moment(time: datetime | None) -> str:
    """Give a time in UTC, to the second."""
    return "" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def instrument(used: PayoutInstrument | MaskedCard | None) -> str:
    """Say what money goes to, or comes from, with no more than the tail of its number."""
    match used:
        case None:
            return ""
        case MaskedCard() | BankCard() | EncryptedCard() | Recurrent():
            return _card(used)
        case GlobalWallet():
            return f"{used.name} wallet{_tail(used.msisdn)}"
        case OtherInstrument():
            return used.type.replace("_", " ")
        case _:
            return _account(used)


def failure(error: ProviderError | None) -> str:
    """Give the provider's code and words for what went wrong."""
    if error is None:
        return ""
    return ": ".join(part for part in (error.code, error.description) if part)


def interaction(needed: CustomerInteraction) -> str:
    """Say what the payer has to do; the fields of a form belong to their browser alone."""
    if needed.redirect is None:
        return f"the payer has to act ({needed.type}); --json has what to show"
    redirect = needed.redirect
    fields = "; --json has the fields of its form" if redirect.params else ""
    return f"send the payer to {redirect.url} ({(redirect.method or 'GET').upper()}){fields}"


def recurrence(token: RecurrentToken) -> str:
    """Say whether there is a token for later payments, and not which."""
    state = {True: "active", False: "ended", None: "state unknown"}[token.is_active]
    return f"recurring token {MASK}, {state}; --json has it"


def others(extra: Any) -> str:  # noqa: ANN401 - any names, with any values
    """Name fields that nobody knows; their values may be secrets."""
    return ", ".join(extra) + " (--json has them)" if extra else ""


def _card(card: MaskedCard | BankCard | EncryptedCard | Recurrent) -> str:
    match card:
        case MaskedCard():
            return f"{card.brand or 'card'}{_tail(card.last4, shortest=_TAIL)}"
        case BankCard():
            return f"card{_tail(card.number)}"
        case EncryptedCard():
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
