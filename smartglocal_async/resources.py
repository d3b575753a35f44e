"""The calls beside the sessions: wallets, tokens, recurring payments, faster payments."""

from attrs import field, frozen

from .caller import Caller
from .errors import InvalidRequest
from .freezing import CallOptions
from .operations import (
    FPS_BANKS,
    FPS_VERIFY_CUSTOMER,
    RECURRENT_DISABLE,
    TOKEN,
    TOKEN_INFO,
    WALLET_BALANCE,
)
from .values.answers import Session
from .values.lookups import AskBalance, DescribeToken, DisableRecurrent, IssueToken, ListBanks
from .values.requests import VerifyCustomer
from .values.tokens import PublicToken, RecurrentToken, TokenInfo
from .values.wallets import Bank, Wallet


@frozen(eq=False)
class WalletCalls:
    """The calls under ``wallet/``; a client has one as ``api.wallet``. API v1 only."""

    _caller: Caller = field(repr=False)

    async def balance(
        self,
        request: AskBalance | None = None,
        *,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> tuple[Wallet, ...]:
        """Give the prefunded wallets with their balances, in minor units.

        Without a request the time asked for is now. Payouts are paid from these; one that a
        wallet can't pay is not completed.
        """
        options = CallOptions(deadline=deadline, attempts=attempts)
        now = self._caller.settings.timing.now
        asked = AskBalance(request_datetime=now()) if request is None else request
        return (await self._caller.call(WALLET_BALANCE, asked, options)).answer


@frozen(eq=False)
class TokenCalls:
    """The calls ``token`` and ``token/info``; a client has one as ``api.token``. API v1 only."""

    _caller: Caller = field(repr=False)

    async def issue(
        self, request: IssueToken, *, deadline: float | None = None, attempts: int | None = None
    ) -> PublicToken:
        """Give the public token of a widget, valid for 24 hours and one operation.

        Raises:
            InvalidRequest: ``fps_no_account_widget`` from a client without a ``submerchant``.

        """
        if (
            request.fps_no_account_widget is not None
            and self._caller.freezer.credentials.submerchant is None
        ):
            raise InvalidRequest(
                "IssueToken.fps_no_account_widget",
                "needs X-PARTNER-SUBMERCHANT: make the client with submerchant=",
            )
        options = CallOptions(deadline=deadline, attempts=attempts)
        return (await self._caller.call(TOKEN, request, options)).answer

    async def info(
        self, request: DescribeToken, *, deadline: float | None = None, attempts: int | None = None
    ) -> TokenInfo:
        """Say what stands behind a token: a card, a widget, a recurring payment."""
        options = CallOptions(deadline=deadline, attempts=attempts)
        return (await self._caller.call(TOKEN_INFO, request, options)).answer


@frozen(eq=False)
class RecurrentCalls:
    """The calls under ``recurrent/``; a client has one as ``api.recurrent``. API v1 only."""

    _caller: Caller = field(repr=False)

    async def disable(
        self,
        request: DisableRecurrent,
        *,
        deadline: float | None = None,
        attempts: int | None = None,
    ) -> RecurrentToken:
        """End a recurring payment; disabling it again changes nothing."""
        options = CallOptions(deadline=deadline, attempts=attempts)
        return (await self._caller.call(RECURRENT_DISABLE, request, options)).answer


@frozen(eq=False)
class FpsCalls:
    """The calls under ``fps/`` (Russia's Faster Payments); a client has one as ``api.fps``."""

    _caller: Caller = field(repr=False)

    async def verify_customer(
        self, request: VerifyCustomer, *, deadline: float | None = None, attempts: int | None = None
    ) -> Session:
        """Ask whether a phone belongs to a person; free, and confirmed by itself.

        The session ends accepted if it does, and cancelled if not.
        """
        options = CallOptions(deadline=deadline, attempts=attempts)
        return (await self._caller.call(FPS_VERIFY_CUSTOMER, request, options)).answer

    async def banks(
        self, *, deadline: float | None = None, attempts: int | None = None
    ) -> tuple[Bank, ...]:
        """Give the banks of the system. The one GET; API v1 only.

        Neither its body nor its answer is documented: what is sent and signed is
        `Settings.bodiless`, and the answer is read as the sister platform's SDK reads it.
        """
        options = CallOptions(deadline=deadline, attempts=attempts)
        return (await self._caller.call(FPS_BANKS, ListBanks(), options)).answer
