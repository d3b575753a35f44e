"""One record per call beside the sessions: balances, tokens, recurring payments, banks."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import Attribute, field, frozen

from ..errors import InvalidRequest
from .exactness import discreet, exact, mask, not_empty
from .instruments import EncryptedCard


def _with_offset(_instance: object, _field: "Attribute[datetime]", value: object) -> None:
    where = "AskBalance.request_datetime"
    if not isinstance(value, datetime):
        raise InvalidRequest(where, f"expected a datetime, got {type(value).__name__}")
    if value.tzinfo is None:
        raise InvalidRequest(where, "has no offset from UTC; give it a tzinfo")


@discreet
@frozen(kw_only=True)
class AskBalance:
    """Ask for the balance of the wallets (``wallet/balance``); the time is that of the request.

    It is sent in seconds with its offset, such as ``2024-04-10T19:53:00+03:00``.
    """

    request_datetime: datetime = field(validator=_with_offset)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class TokenizeWidget:
    """The widget that turns a card into a token (``token``)."""

    access: bool = True
    locale: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class AcquiringWidget:
    """The widget with which a payer pays in a session (``token``).

    ``show_recurrent_checkbox`` is true or false in the table of the provider's objects, and the
    text "true" in the example of its page of ``token``: both are taken.
    """

    session_id: str = field(validator=not_empty)
    locale: str | None = None
    show_recurrent_checkbox: bool | str | None = None
    success_return_url: str | None = None
    failure_return_url: str | None = None
    success_on_hold: bool | None = None
    """Whether the payer is told of success while the money is only held."""
    redirect_target: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class FpsNoAccountWidget:
    """The payment page for transfers between individuals (``token``); needs a submerchant."""

    session_id: str = field(validator=not_empty)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class IssueToken:
    """Ask for the public token of one widget (``token``).

    Raises:
        InvalidRequest: not exactly one widget.

    """

    tokenize_widget: TokenizeWidget | None = None
    acquiring_widget: AcquiringWidget | None = None
    fps_no_account_widget: FpsNoAccountWidget | None = None

    def __attrs_post_init__(self) -> None:
        widgets = (self.tokenize_widget, self.acquiring_widget, self.fps_no_account_widget)
        if sum(widget is not None for widget in widgets) != 1:
            raise InvalidRequest(
                "IssueToken",
                "give one of tokenize_widget, acquiring_widget, fps_no_account_widget",
            )


@discreet
@frozen(field_transformer=exact)
class TokenRef:
    """Name a token by its text."""

    token: str = field(validator=not_empty, repr=mask)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class DescribeToken:
    """Ask what stands behind a token (``token/info``).

    Raises:
        InvalidRequest: not exactly one token.

    """

    card: EncryptedCard | None = None
    public_token: TokenRef | None = None
    recurrent_token: TokenRef | None = None

    def __attrs_post_init__(self) -> None:
        tokens = (self.card, self.public_token, self.recurrent_token)
        if sum(token is not None for token in tokens) != 1:
            raise InvalidRequest("DescribeToken", "give one of card, public_token, recurrent_token")


@discreet
@frozen(kw_only=True, field_transformer=exact)
class DisableRecurrent:
    """End a recurring payment: its token can't be used any more (``recurrent/disable``)."""

    recurrent: TokenRef


@discreet
@frozen
class ListBanks:
    """Ask for the banks of Russia's Faster Payments System (``fps/banks``): nothing to say."""
