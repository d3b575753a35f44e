"""What the prefunded wallets hold, as payouts ask for it."""

from collections import Counter

from ..caller import Caller
from ..freezing import CallOptions
from ..operations import WALLET_BALANCE
from ..values.lookups import AskBalance


async def balance(caller: Caller) -> Counter[str]:
    """Give what there is in each currency, in minor units."""
    asked = AskBalance(request_datetime=caller.settings.timing.now())
    found = Counter[str]()
    for wallet in (await caller.call(WALLET_BALANCE, asked, CallOptions())).answer:
        found[wallet.amount_details.currency] += wallet.amount_details.amount
    return found
