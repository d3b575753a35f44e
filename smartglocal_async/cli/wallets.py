"""What the wallets hold, and whether it covers what is to be paid: asked before the question."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from ..error_codes import CODES_OF_THE_CALLER
from ..errors import CallFailed, NotSent, Refused
from ..models.money import Amount
from ..payouts.orders import PayoutState
from .errors import CommandFailed, ExitCode, facts_of, reader_may_leave
from .output import remark
from .signals import run_async
from .tables import cell, console, money, show, table

if TYPE_CHECKING:
    from ..client import SmartGlocal

IGNORE: Final = "--ignore-balance"
_CALL_SECONDS: Final = 20.0
_NOT_PAID: Final = (PayoutState.FAILED, PayoutState.CANCELLED)
_NOTHING: Final[Mapping[tuple[PayoutState, str], int]] = {}


@frozen(kw_only=True)
class Need:
    """What is to be paid in a currency, in minor units."""

    currency: str
    total: int
    """All that the file has."""
    paid: int = 0
    """What was paid before."""
    unpaid: int = 0
    """What failed or was cancelled before, and isn't paid again."""
    balance: int | None = None
    """What the wallet holds; None if the provider lists no wallet in this currency."""

    @property
    def left(self) -> int:
        """What is left to pay."""
        return max(0, self.total - self.paid - self.unpaid)

    @property
    def lacks(self) -> int:
        """How much more the wallet needs."""
        return max(0, self.left - (self.balance or 0))


def read_wallets(client: "SmartGlocal", *, may_be_refused: bool = False) -> Counter[str] | None:
    """Return what the wallets hold, in minor units by currency: one call, repeated if it failed.

    The client is closed then. None if the provider refuses to show them and ``may_be_refused``.

    Raises:
        CommandFailed: the provider can't be reached, or its answer can't be used; the text has the
            cause. Nothing was written.
        Refused: the credentials are refused, or the call.

    """

    async def read() -> Counter[str]:
        found = Counter[str]()
        async with client as api:
            for wallet in await api.wallet.balance(deadline=_CALL_SECONDS):
                found[wallet.amount_details.currency] += wallet.amount_details.amount
        return found

    try:
        return run_async(read())
    except Refused as error:
        if error.code is None:
            raise _unreachable(error) from None
        if may_be_refused and error.code not in CODES_OF_THE_CALLER:
            remark(f"the provider doesn't show the wallets: {error.code}")
            return None
        raise
    except CallFailed as error:
        raise _unreachable(error) from None


def _unreachable(error: CallFailed) -> CommandFailed:
    what = "can't be reached" if isinstance(error, NotSent) else "doesn't answer as its API does"
    message = f"the provider {what}, so nothing was sent and nothing was written: {error}"
    return CommandFailed(ExitCode.NOT_SENT, message, {**facts_of(error), "message": message})


def needs_of(
    totals: Mapping[str, int],
    balances: Mapping[str, int],
    settled: Mapping[tuple[PayoutState, str], int] = _NOTHING,
) -> list[Need]:
    """Return what is to be paid in each currency of a file, and what its wallet holds.

    ``settled`` has the sums of the file's payouts in the journal, by state and currency.
    """
    return [
        Need(
            currency=currency,
            total=total,
            paid=settled.get((PayoutState.SUCCEEDED, currency), 0),
            unpaid=sum(settled.get((state, currency), 0) for state in _NOT_PAID),
            balance=balances.get(currency),
        )
        for currency, total in totals.items()
    ]


def show_needs(needs: list[Need]) -> None:
    """Show a table with a row for each currency."""
    has_unpaid, has_lack = any(one.unpaid for one in needs), any(one.lacks for one in needs)
    has_paid = has_unpaid or any(one.paid for one in needs)
    columns = ["To pay"]
    columns += ["Paid before"] if has_paid else []
    columns += ["Failed before"] if has_unpaid else []
    columns += ["Left"] if has_paid else []
    columns += ["In the wallet"]
    columns += ["Lacks"] if has_lack else []
    shown = table()
    for column in columns:
        shown.add_column(column, justify="right", no_wrap=True)
    for one in needs:
        texts = [_text(one, one.total)]
        texts += [_text(one, one.paid)] if has_paid else []
        texts += [_text(one, one.unpaid)] if has_unpaid else []
        texts += [_text(one, one.left)] if has_paid else []
        texts += ["no wallet" if one.balance is None else _text(one, one.balance)]
        cells = list(map(cell, texts))
        cells += [cell(_text(one, one.lacks), "bold red")] if has_lack else []
        shown.add_row(*cells)
    if needs:
        show(console(), shown)


def report_needs(needs: list[Need], *, stops: bool, as_json: bool) -> None:
    """Show what the wallets hold, and on standard error what they lack and what follows."""
    if not as_json:
        with reader_may_leave():
            show_needs(needs)
    if words := _lack_words(needs):
        follows = "stops before the first payout that they can't cover"
        ignores = f"pays on, because of {IGNORE}: the provider declines what they can't cover"
        remark(f"{words}; the run {follows if stops else ignores}")


def _lack_words(needs: list[Need]) -> str | None:
    """Return a text about the wallets that hold too little; None if each holds enough."""
    texts = [f"{_text(one, one.lacks)} of {_text(one, one.left)}" for one in needs if one.lacks]
    return f"the wallets lack {' and '.join(texts)}" if texts else None


def need_facts(needs: list[Need]) -> list[dict[str, Any]]:
    """Return the needs as plain JSON values; amounts are in minor units."""
    return [
        {
            "currency": one.currency,
            "to_pay": one.total,
            "paid_before": one.paid,
            "failed_before": one.unpaid,
            "left": one.left,
            "in_wallet": one.balance,
            "lacks": one.lacks,
        }
        for one in needs
    ]


def _text(one: Need, units: int) -> str:
    return money(Amount(units, one.currency))
