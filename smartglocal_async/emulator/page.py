"""The page on which a payer passes or fails 3-D Secure; no I/O."""

from html import escape
from typing import Final

from .bank import Bank
from .sessions import Item

PASS: Final = "pass"  # noqa: S105  # the name of a button
FAIL: Final = "fail"
_HIGHEST_CONTROL: Final = 32


def challenge_page(item: Item) -> str:
    """Show who pays how much, with a button for each way it can end."""
    amount = escape(f"{item.amount} {item.currency} (minor units)")
    buttons = "".join(
        f'<button type="submit" name="choice" value="{choice}">{words}</button>'
        for choice, words in ((PASS, "Confirm the payment"), (FAIL, "Refuse it"))
    )
    return _page(
        "3-D Secure", f'<p>{escape(item.id)}: {amount}</p><form method="post">{buttons}</form>'
    )


def ended_page() -> str:
    """Say that there is nothing to do on this page, or no more."""
    return _page(
        "3-D Secure", "<p>Done: there is nothing more to do here. You can close this page.</p>"
    )


def return_url(bank: Bank, id_: str) -> str | None:
    """Give the address that a payer comes back to, if a browser can be sent there."""
    item = bank.acting(id_)
    url = item.options.get("return_url") if item else None
    if not isinstance(url, str) or not url.isascii():
        return None
    return url if url and all(ord(letter) > _HIGHEST_CONTROL for letter in url) else None


def _page(title: str, body: str) -> str:
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
        f"<body><h1>{title}</h1>{body}</body></html>"
    )
