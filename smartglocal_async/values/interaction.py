"""What a payer must do before a payment can go on: follow a redirect, or scan a code."""

from collections.abc import Mapping
from html import escape
from typing import Any, cast
from urllib.parse import parse_qsl

from attrs import field, frozen

from .exactness import mask
from .statuses import InteractionType


@frozen(kw_only=True)
class Redirect:
    """Where to send the payer: with 3-D Secure, a form to be posted."""

    url: str = field(repr=mask)
    base_url: str | None = None
    method: str | None = None
    qs: Any = field(default=None, repr=mask, hash=False)
    params: Any = field(default=None, repr=mask, hash=False)
    """Fields of the form (``PaReq``, ``MD``); they belong to the payer's browser alone."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)

    def html(self) -> str:
        """Give a page that takes the payer's browser there by itself, or by a button.

        The fields are escaped. Serve it as ``text/html``. Where no method is given, fields are
        posted, and an address without any is opened.
        """
        method, address, named = self._form()
        fields = "".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(str(value))}">'
            for name, value in named
        )
        return (
            '<!doctype html><html><head><meta charset="utf-8"></head>'
            '<body onload="document.forms[0].submit()">'
            f'<form method="{method}" action="{escape(address)}">{fields}'
            "<button>Continue</button></form></body></html>"
        )

    def _form(self) -> tuple[str, str, list[tuple[str, Any]]]:
        given: object = self.params
        named = list(cast("dict[str, Any]", given).items()) if isinstance(given, dict) else []
        if (self.method or ("POST" if named else "GET")).upper() != "GET":
            return "post", self.url, named
        # A browser puts the form's fields in place of the query of its address.
        address, _, query = self.url.partition("#")[0].partition("?")
        return "get", address, [*parse_qsl(query, keep_blank_values=True), *named]


@frozen(kw_only=True)
class QrCode:
    """A code for the payer to scan: its content, and an image of it."""

    content: str | None = field(default=None, repr=mask)
    img: str | None = field(default=None, repr=mask)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@frozen(kw_only=True)
class Inform:
    """What to show the payer (the sister platform's SDK)."""

    qr: QrCode | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)


@frozen(kw_only=True)
class CustomerInteraction:
    """What the payer must do before the payment can go on."""

    type: InteractionType | str
    redirect: Redirect | None = None
    inform: Inform | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=mask, hash=False)
