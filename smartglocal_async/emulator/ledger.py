"""The books in double entry: money moves between accounts and never comes or goes; no I/O."""

import enum
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from attrs import define, field


class Account(enum.Enum):
    """Whose the money is. All accounts of a currency sum up to zero."""

    FUNDING = "funding"
    """Outside: where the opening balances come from; never above zero."""
    WALLET = "wallet"
    """The partner's, for payouts."""
    RESERVED = "reserved"
    """Of payouts that were confirmed and aren't through."""
    PAID_OUT = "paid_out"
    """The recipients'."""
    PAYERS = "payers"
    """Outside: where payments come from; never above zero."""
    HELD = "held"
    """Blocked on the payers' cards."""
    TAKEN = "taken"
    """The partner's, from payments."""
    REFUNDED = "refunded"
    """The payers' again."""


_OUTSIDE: Final = frozenset({Account.FUNDING, Account.PAYERS})


@define(eq=False)
class Ledger:
    """Balances by account and currency, in minor units."""

    wallets: Mapping[str, int]
    """Opening balances by currency, in small letters."""
    opening: int
    """Opening balance of any other currency."""
    _balances: defaultdict[str, dict[Account, int]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._balances = defaultdict(dict[Account, int])
        for currency in self.wallets:
            self._open(currency)

    def move(self, source: Account, target: Account, amount: int, currency: str) -> bool:
        """Move money; if the source lacks it, move nothing and say so."""
        self._open(currency)
        accounts = self._balances[currency]
        if source not in _OUTSIDE and accounts[source] < amount:
            return False
        accounts[source] -= amount
        accounts[target] += amount
        return True

    def balance(self, account: Account, currency: str) -> int:
        """Tell what an account holds."""
        self._open(currency)
        return self._balances[currency][account]

    def balances(self) -> dict[str, dict[str, int]]:
        """Tell what all accounts hold, by currency; currencies never touched are absent."""
        return {
            currency: {account.value: amount for account, amount in accounts.items()}
            for currency, accounts in self._balances.items()
        }

    def _open(self, currency: str) -> None:
        if currency in self._balances:
            return
        opening = self.wallets.get(currency, self.opening)
        accounts = dict.fromkeys(Account, 0)
        accounts[Account.FUNDING] = -opening
        accounts[Account.WALLET] = opening
        self._balances[currency] = accounts
