"""The group ``wallet``: the prefunded balances that payouts are paid from."""

import typer

from ..operations import WALLET_BALANCE
from .answers import show_wallets
from .calling import ask, page_of, told
from .grammar import Command
from .options import AsJson, Deadline

app = typer.Typer(
    no_args_is_help=True, help="See the prefunded balances. API v1 only, as SMARTGLOCAL_* say."
)


@app.command(cls=Command, epilog=page_of(WALLET_BALANCE))
def balance(*, deadline: Deadline = None, as_json: AsJson = False) -> None:
    """Show every wallet with its balance, as of now."""
    with told(as_json=as_json) as errand:
        wallets = ask(errand, lambda api: api.wallet.balance(deadline=deadline))
        errand.give(wallets, show_wallets)


@app.callback()
def wallet() -> None:
    """Keep the group a group: Typer would make one command of one."""
