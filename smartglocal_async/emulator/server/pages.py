"""The pages that other machines may read: the counts, and a payer's 3-D Secure."""

from collections.abc import Callable, Mapping
from datetime import date
from html import escape
from typing import Final
from urllib.parse import parse_qs

from aiohttp import web
from attrs import asdict

from ...pages.serving import names_this_machine
from ..bank.bank import CHALLENGE_PATH, EmulatedBank
from ..bank.sessions import Item
from .dispatch import Dispatcher

NOTICE: Final = (
    "This is an emulator for tests, not Smart Glocal and no bank: it moves no money, and its keys "
    "are test keys."
)
PASS: Final = "pass"  # noqa: S105  # the name of a button
FAIL: Final = "fail"
_HIGHEST_CONTROL: Final = 32


def start_page(project: str) -> str:
    """Return the page at the emulator's root: what it is, and where its counts are."""
    links = "".join(
        f'<li><a href="/emulator/{path}">{text}</a></li>'
        for path, text in (
            ("", "the page: sessions, requests and webhooks as they happen"),
            ("report", "counts since the start"),
            ("orders", "money that moved, by key"),
            ("marks", "money that moved, by journal and key of the payout"),
            ("payouts-report", "the payouts report, a CSV; of a day: ?day=2026-11-30"),
            ("payments-report", "the payments report, a CSV; of a day: ?day=2026-11-30"),
        )
    )
    return _page(
        "Smart Glocal emulator",
        f"<p>It answers the API for the project {escape(project)}.</p><ul>{links}</ul>",
    )


def misdirected_page() -> str:
    """Return the answer to a request whose Host isn't this machine (DNS rebinding)."""
    return _page(
        "Wrong address",
        "<p>This emulator listens for this machine only: open it as localhost or 127.0.0.1.</p>",
    )


def missing_page() -> str:
    """Return the answer to an unknown address."""
    return _page("Not found", '<p>There is no such page. See <a href="/">those there are</a>.</p>')


def challenge_page(item: Item) -> str:
    """Return the page with the payment's amount and a button for each result of 3-D Secure."""
    amount = escape(f"{item.amount} {item.currency} (minor units)")
    buttons = "".join(
        f'<button type="submit" name="choice" value="{choice}">{text}</button>'
        for choice, text in ((PASS, "Confirm the payment"), (FAIL, "Refuse it"))
    )
    return _page(
        "3-D Secure", f'<p>{escape(item.id)}: {amount}</p><form method="post">{buttons}</form>'
    )


def ended_page() -> str:
    """Return the page of a payment whose payer needn't act, or no longer."""
    return _page(
        "3-D Secure", "<p>Done: there is nothing more to do here. You can close this page.</p>"
    )


def return_url(bank: EmulatedBank, id_: str) -> str | None:
    """Return the merchant's address for the payer after 3-D Secure, if a browser can open it."""
    item = bank.item_awaiting_payer(id_)
    url = item.options.get("return_url") if item else None
    if not isinstance(url, str) or not url.isascii():
        return None
    return url if url and all(ord(letter) > _HIGHEST_CONTROL for letter in url) else None


def _page(title: str, body: str) -> str:
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<link rel="icon" href="data:,"><title>{title}</title></head>'
        f"<body><h1>{title}</h1>{body}<p><small>{escape(NOTICE)}</small></p></body></html>"
    )


START_PATH: Final = "/emulator/"
REPORT_PATH: Final = "/emulator/report"
ORDERS_PATH: Final = "/emulator/orders"
MARKS_PATH: Final = "/emulator/marks"
PAYOUTS_REPORT_PATH: Final = "/emulator/payouts-report"
PAYMENTS_REPORT_PATH: Final = "/emulator/payments-report"
_BAD_REQUEST: Final = 400
_NOT_FOUND: Final = 404
_MISDIRECTED: Final = 421
_HEADERS: Final[Mapping[str, str]] = {"Cache-Control": "no-store"}


def is_page(path: str) -> bool:
    """Whether a path belongs to the emulator's own pages and not to the API."""
    return path == "/" or path.startswith(START_PATH)


async def answer_page(
    dispatcher: Dispatcher, request: web.BaseRequest, *, is_private: bool
) -> web.Response | None:
    """Return one of the emulator's own pages; None if it is a call of the API, for another path.

    An unknown address under `START_PATH` is answered with HTTP 404.

    With ``is_private`` any Host but this machine is refused with HTTP 421, so that a page of
    another site can't read the counts by having its own name resolve to this machine.
    """
    if is_private and not names_this_machine(request):
        return _html(misdirected_page(), _MISDIRECTED)
    if request.method == "GET" and request.path == "/":
        return _html(start_page(dispatcher.project), 200)
    if request.method == "GET" and (counts := _COUNTS.get(request.path)) is not None:
        with dispatcher.lock:
            _ = dispatcher.advance()
            report = counts(dispatcher.bank)
        return web.json_response(report)
    if request.method == "GET" and request.path in {PAYOUTS_REPORT_PATH, PAYMENTS_REPORT_PATH}:
        return _daily_report(dispatcher, request.path, request.query.get("day"))
    if request.method in {"GET", "POST"} and request.path.startswith(CHALLENGE_PATH):
        body = await request.content.read() if request.method == "POST" else b""
        return _challenge(dispatcher, request.path.removeprefix(CHALLENGE_PATH), body)
    if not request.path.startswith(START_PATH):
        return None
    return _html(missing_page(), _NOT_FOUND)


def _daily_report(dispatcher: Dispatcher, path: str, day: str | None) -> web.Response:
    try:
        wanted = None if day is None else date.fromisoformat(day)
    except ValueError:
        text = "day: must be a date such as 2026-11-30\n"
        return web.Response(status=_BAD_REQUEST, text=text, headers=_HEADERS)
    with dispatcher.lock:
        _ = dispatcher.advance()
        if path == PAYOUTS_REPORT_PATH:
            report = dispatcher.bank.payouts_report(wanted)
        else:
            report = dispatcher.bank.payments_report(wanted, dispatcher.project)
    return web.Response(text=report, content_type="text/csv", headers=_HEADERS)


def _report(bank: EmulatedBank) -> object:
    return bank.report().as_dict()


def _orders(bank: EmulatedBank) -> object:
    return {name.shown: list(map(asdict, movements)) for name, movements in bank.movements()}


def _marks(bank: EmulatedBank) -> object:
    return [
        {"journal": journal, "key": key, "movements": list(map(asdict, movements))}
        for (journal, key), movements in bank.marked().items()
    ]


_COUNTS: Final[Mapping[str, Callable[[EmulatedBank], object]]] = {
    REPORT_PATH: _report,
    ORDERS_PATH: _orders,
    MARKS_PATH: _marks,
}


def _challenge(dispatcher: Dispatcher, id_: str, body: bytes) -> web.Response:
    choice = parse_qs(body.decode("ascii", "replace")).get("choice", [""])[0]
    with dispatcher.lock:
        now = dispatcher.advance()
        item = dispatcher.bank.item_awaiting_payer(id_)
        if item is None:
            return _html(ended_page(), _NOT_FOUND)
        if choice not in {PASS, FAIL}:
            return _html(challenge_page(item), 200)
        return_to = return_url(dispatcher.bank, id_)
        _ = dispatcher.bank.act(id_, now, succeed=choice == PASS)
        dispatcher.queue_webhooks(now)
    if return_to is None:
        return _html(ended_page(), 200)
    return web.Response(status=303, headers={"Location": return_to, **_HEADERS})


def _html(text: str, status: int) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", headers=_HEADERS)
