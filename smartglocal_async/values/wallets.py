"""What stands beside the sessions: prefunded wallets, and the banks of a payment system."""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from .exactness import mask
from .money import Amount


@frozen(kw_only=True)
class Wallet:
    """A prefunded balance, in minor units; payouts are paid from it."""

    id: str
    amount_details: Amount
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@frozen(kw_only=True)
class Bank:
    """A bank of Russia's Faster Payments System (the sister platform's SDK)."""

    id: str
    eng_name: str | None = None
    ru_name: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)
