"""What the server shows besides the API: its report, its orders and the page of 3-D Secure."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs

from aiohttp import web
from attrs import asdict

from .bank import CHALLENGE_PATH
from .desk import Desk
from .page import FAIL, PASS, challenge_page, ended_page, return_url

REPORT_PATH: Final = "/emulator/report"
ORDERS_PATH: Final = "/emulator/orders"
_GONE: Final = 404
_HEADERS: Final[Mapping[str, str]] = {"Cache-Control": "no-store"}


async def visit(desk: Desk, request: web.BaseRequest) -> web.Response | None:
    """Answer a visitor; None if the path is another one's business."""
    if request.method == "GET" and request.path == REPORT_PATH:
        with desk.lock:
            _ = desk.advance()
            report = desk.bank.report()
        return web.json_response(report.as_dict())
    if request.method == "GET" and request.path == ORDERS_PATH:
        with desk.lock:
            _ = desk.advance()
            orders = {key: list(map(asdict, made)) for key, made in desk.bank.movements()}
        return web.json_response(orders)
    if request.method in {"GET", "POST"} and request.path.startswith(CHALLENGE_PATH):
        body = await request.content.read() if request.method == "POST" else b""
        return _challenge(desk, request.path.removeprefix(CHALLENGE_PATH), body)
    return None


def _challenge(desk: Desk, id_: str, body: bytes) -> web.Response:
    choice = parse_qs(body.decode("ascii", "replace")).get("choice", [""])[0]
    with desk.lock:
        now = desk.advance()
        item = desk.bank.acting(id_)
        if item is None:
            return _html(ended_page(), _GONE)
        if choice not in {PASS, FAIL}:
            return _html(challenge_page(item), 200)
        back = return_url(desk.bank, id_)
        _ = desk.bank.act(id_, now, succeed=choice == PASS)
        desk.post(now)
    if back is None:
        return _html(ended_page(), 200)
    return web.Response(status=303, headers={"Location": back, **_HEADERS})


def _html(text: str, status: int) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", headers=_HEADERS)
