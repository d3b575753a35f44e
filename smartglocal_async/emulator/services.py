"""The calls that are about no session: wallets, banks and tokens; no I/O."""

from collections.abc import Container
from datetime import datetime
from typing import Final

from attrs import define

from .asks import INVALID_REQUEST, SESSION_NOT_FOUND, Ask, Refused
from .checks import JsonObject, is_object
from .ledger import Account, Ledger
from .tokens import Tokens

# Those that a report of balances begins with; any other one has a wallet once it was used.
_USUAL: Final = ("usd", "eur")
# The id is that of the provider's examples; the names are the emulator's own.
_BANKS: Final = (
    {"id": "100000000069", "eng_name": "First Emulated Bank", "ru_name": "Первый банк"},
    {"id": "100000000070", "eng_name": "Second Emulated Bank", "ru_name": "Второй банк"},
)


@define(eq=False)
class Services:
    """Answers without an envelope."""

    ledger: Ledger
    tokens: Tokens
    sessions: Container[str]

    def balance(self, _ask: Ask, _now: datetime) -> JsonObject:
        """Give the wallets (documented as an array by its example)."""
        for code in () if self.ledger.wallets else _USUAL:
            _ = self.ledger.balance(Account.WALLET, code)
        wallets = [
            {
                "id": f"wallet_{code}",
                "amount_details": {"amount": accounts["wallet"], "currency": code},
            }
            for code, accounts in self.ledger.balances().items()
        ]
        return {"wallets": wallets}

    def banks(self, _ask: Ask, _now: datetime) -> JsonObject:
        """Give the banks of the Faster Payments System; third-party code names the members."""
        return {"banks": list(_BANKS)}

    def token(self, ask: Ask, now: datetime) -> JsonObject:
        """Give a token for a widget."""
        for name in ("acquiring_widget", "fps_no_account_widget"):
            widget = ask.request.get(name)
            if is_object(widget) and str(widget.get("session_id")) not in self.sessions:
                raise Refused(SESSION_NOT_FOUND, f"{name}.session_id: there is no such session")
        if "fps_no_account_widget" in ask.request and not ask.submerchant:
            # Documented.
            raise Refused(INVALID_REQUEST, "fps_no_account_widget: needs X-PARTNER-SUBMERCHANT")
        return {"public_token": self.tokens.make_public(now)}

    def info(self, ask: Ask, now: datetime) -> JsonObject:
        """Tell of a card or a token."""
        info = self.tokens.info(ask.request, now)
        if info is None:
            kind = ask.request["type"]
            raise Refused(INVALID_REQUEST, f"{kind}: there is no such card or token")
        return {"info": info}

    def disable(self, ask: Ask, now: datetime) -> JsonObject:
        """Make a recurrent token useless."""
        recurrent = ask.request["recurrent"]
        token = recurrent.get("token") if is_object(recurrent) else None
        if not isinstance(token, str) or self.tokens.instrument(token) is None:
            raise Refused(INVALID_REQUEST, "recurrent.token: there is no such token")
        self.tokens.disable(token, now)
        return {"recurrent": self.tokens.recurrent(token)}
