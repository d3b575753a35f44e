"""Tokens of cards: from the widgets, and for recurring payments."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import Attribute, field, frozen

from ..errors import InvalidRequest
from .instruments import EncryptedCard
from .serialization import Serializable
from .validators import discreet, exact, mask, no_fields, not_empty


@frozen(kw_only=True)
class RecurrentToken(Serializable):
    """A token for later payments, and whether it can still be used."""

    token: str = field(repr=mask)
    created_at: datetime | None = None
    finished_at: datetime | None = None
    is_active: bool | None = None
    type: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@frozen(kw_only=True)
class PublicToken(Serializable):
    """A token for a widget; valid 24 hours, for one operation."""

    public_token: str = field(repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@frozen(kw_only=True)
class TokenInfo(Serializable):
    """What is known about a token or a card.

    The provider describes it in prose; the names are those of the sister platform's SDK, and any
    other field is in ``extra``.
    """

    type: str | None = None
    token: str | None = field(default=None, repr=mask)
    number_hash: str | None = field(default=None, repr=mask)
    brand: str | None = None
    last4: str | None = None
    country_iso3: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    finished_at: datetime | None = None
    """Of a token for recurring payments (the sister platform's page)."""
    is_active: bool | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


def _with_offset(_instance: object, _field: "Attribute[datetime]", value: object) -> None:
    where = "GetBalance.request_datetime"
    if not isinstance(value, datetime):
        raise InvalidRequest(where, f"expected a datetime, got {type(value).__name__}")
    if value.tzinfo is None:
        raise InvalidRequest(where, "has no offset from UTC; give it a tzinfo")


@discreet
@frozen(kw_only=True, field_transformer=exact)
class GetBalance(Serializable):
    """Ask for the balance of the wallets (``wallet/balance``); the time is that of the request.

    It is sent in seconds with its offset, such as ``2024-04-10T19:53:00+03:00``.
    """

    request_datetime: datetime = field(validator=_with_offset)
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class TokenizeWidget(Serializable):
    """The widget that turns a card into a token (``token``)."""

    access: bool = True
    locale: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class AcquiringWidget(Serializable):
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
    """Whether the payer sees success while the money is only held."""
    redirect_target: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class FpsNoAccountWidget(Serializable):
    """The payment page for transfers between individuals (``token``); needs a submerchant."""

    session_id: str = field(validator=not_empty)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class IssueToken(Serializable):
    """Request one public token for one or several widgets (``token``).

    Other widgets than these three go in ``extra``.

    Raises:
        InvalidRequest: no widget.

    """

    tokenize_widget: TokenizeWidget | None = None
    acquiring_widget: AcquiringWidget | None = None
    fps_no_account_widget: FpsNoAccountWidget | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)

    def __attrs_post_init__(self) -> None:
        widgets = (self.tokenize_widget, self.acquiring_widget, self.fps_no_account_widget)
        if not self.extra and all(widget is None for widget in widgets):
            raise InvalidRequest(
                "IssueToken",
                "give one of tokenize_widget, acquiring_widget, fps_no_account_widget",
            )


@discreet
@frozen(field_transformer=exact)
class TokenRef(Serializable):
    """Name a token by its text."""

    token: str = field(validator=not_empty, repr=mask)
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False, kw_only=True)


@discreet
@frozen(kw_only=True, field_transformer=exact)
class GetTokenInfo(Serializable):
    """Ask what is known about a token (``token/info``).

    Raises:
        InvalidRequest: not exactly one token.

    """

    card: EncryptedCard | None = None
    public_token: TokenRef | None = None
    recurrent_token: TokenRef | None = None
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)

    def __attrs_post_init__(self) -> None:
        tokens = (self.card, self.public_token, self.recurrent_token)
        if sum(token is not None for token in tokens) != 1:
            raise InvalidRequest("GetTokenInfo", "give one of card, public_token, recurrent_token")


@discreet
@frozen(kw_only=True, field_transformer=exact)
class DisableRecurrent(Serializable):
    """End a recurring payment: its token can't be used any more (``recurrent/disable``)."""

    recurrent: TokenRef
    extra: Mapping[str, Any] = field(factory=no_fields, repr=mask, hash=False)


@discreet
@frozen
class ListBanks(Serializable):
    """Ask for the banks of Russia's Faster Payments System (``fps/banks``)."""
