"""Tokens that stand for cards: the widgets', and those of recurring payments."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import field, frozen

from .exactness import mask


@frozen(kw_only=True)
class RecurrentToken:
    """A token for later payments, and whether it can be used still."""

    token: str = field(repr=mask)
    created_at: datetime | None = None
    finished_at: datetime | None = None
    is_active: bool | None = None
    type: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@frozen(kw_only=True)
class PublicToken:
    """A token for a widget; valid 24 hours, for one operation."""

    public_token: str = field(repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@frozen(kw_only=True)
class TokenInfo:
    """What stands behind a token.

    The provider describes it in prose, the names are those of the sister platform's SDK;
    whatever else comes is in ``extra``.
    """

    type: str | None = None
    token: str | None = field(default=None, repr=mask)
    number_hash: str | None = field(default=None, repr=mask)
    brand: str | None = None
    last4: str | None = None
    country_iso3: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    is_active: bool | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)
