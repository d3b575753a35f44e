"""What clients in other languages send: each habit works, or is refused with an error envelope."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from smartglocal_async.emulator import Permission, Provider, Reaction, Rules, run
from smartglocal_async.keys import PrivateKey

KEY: Final = PrivateKey.generate()
JSON: Final = "Content-Type: application/json\r\n"
CREATE: Final = "/api/v1/session/create"
INIT: Final = "/api/v1/session/init/payment"


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """Return an emulator with the default rules."""
    async with run(public_key=KEY.public) as provider:
        yield provider


async def send(  # noqa: PLR0913 - the parts of a request
    provider: Provider,
    body: bytes,
    path: str = CREATE,
    *,
    method: str = "POST",
    headers: str = JSON,
    version: str = "1.1",
) -> tuple[int, dict[str, Any]]:
    """Send one request as bytes over a socket; return status and JSON."""
    port = int(provider.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{method} {path} HTTP/{version}\r\nHost: localhost\r\n{headers}"
    if "Transfer-Encoding" not in headers:
        head += f"Content-Length: {len(body)}\r\n"
    signed = f"X-PARTNER-PROJECT: demo\r\nX-PARTNER-SIGN: {KEY.sign(body)}\r\nConnection: close\r\n"
    writer.write(f"{head}{signed}\r\n".encode("ascii"))
    if "Expect" in headers:
        # The body follows only after this answer, as curl does with a large one.
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if "chunked" in headers else body)
    answer = await reader.read()
    writer.close()
    start, _, rest = answer.partition(b"\r\n\r\n")
    return int(start.split()[1]), json.loads(rest)


def body_of(**fields: Any) -> bytes:
    """Return the body of a payment."""
    terms = {
        "amount_details": {"amount": 100, "currency": "rub"},
        "customer": {"reference": "payer-4"},
        "payment_details": {"type": "faster_payment_system"},
    }
    return json.dumps(terms | fields).encode("ascii")


TPAY: Final = {"type": "internet_banking", "internet_banking": {"type": "tpay"}}
TAKEN: Final = {
    "PHP's empty object inside": body_of(
        payment_details={"type": "faster_payment_system", "faster_payment_system": []}
    ),
    "no object inside": body_of(),
    "no object inside a binding": body_of(
        payment_details={"type": "faster_payment_system_binding"}, payment_options=[]
    ),
    "no object in a bank": body_of(payment_details=TPAY),
    "PHP's empty object in a bank": body_of(
        payment_details={
            "type": "internet_banking",
            "internet_banking": {"type": "tpay", "tpay": []},
        }
    ),
    "PHP's empty customer": body_of(customer=[], payment_details=TPAY),
    "PHP's empty customer with an address": body_of(
        customer=[], participant_details={"sender": {"ipv4": "192.0.2.7"}}
    ),
    "upper-case currency": body_of(amount_details={"amount": 100, "currency": "RUB"}),
    "mixed-case currency": body_of(amount_details={"amount": 100, "currency": "Rub"}),
    "empty metadata": body_of(metadata=[]),
    "escaped slashes": body_of(payment_options={"return_url": "https://shop.example/"}).replace(
        b"/", b"\\/"
    ),
    "raw UTF-8": body_of(metadata="Lüttich").replace(rb"\u00fc", "ü".encode()),
    "unknown fields": body_of(locale="de", payment_options={"theme": "dark"}),
}


@pytest.mark.parametrize("body", TAKEN.values(), ids=TAKEN)
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_body_is_taken(provider: Provider, body: bytes, version: str) -> None:
    """The payment is under way, and its currency is shown as it was sent."""
    status, answer = await send(provider, body, INIT.replace("v1", version))
    assert (status, answer["session"]["status"]) == (200, "in_progress")
    [payment] = answer["session"]["payment_list" if version == "v2" else "acquiring_payments"]
    sent = json.loads(body)
    assert payment["amount_details"] == sent["amount_details"]
    assert payment.get("metadata") == sent.get("metadata")


REFUSED: Final = {
    "SberPay without its channel": (
        body_of(
            payment_details={"type": "internet_banking", "internet_banking": {"type": "sber_pay"}}
        ),
        "payment_details.internet_banking.type: must name an object beside it",
    ),
    "a card without an object": (
        body_of(payment_details={"type": "card"}),
        "payment_details: must hold an object under the name that is its type",
    ),
    "an amount as text": (
        body_of(amount_details={"amount": "100", "currency": "rub"}),
        "amount_details.amount: must be a whole number greater than zero",
    ),
    "an amount with decimals": (
        body_of(amount_details={"amount": 100.0, "currency": "rub"}),
        "amount_details.amount: must be a whole number greater than zero",
    ),
    "null instead of nothing": (
        body_of(payment_options=None),
        "payment_options: must be an object",
    ),
    "a byte order mark": (b"\xef\xbb\xbf" + body_of(), "the body must be a JSON object"),
    "a list of requests": (b"[%s]" % body_of(), "the body must be a JSON object"),
    "single quotes": (b"{'metadata': 1}", "the body must be a JSON object"),
    "a form": (b"amount=100&currency=rub", "the body must be a JSON object"),
}


@pytest.mark.parametrize(("body", "problem"), REFUSED.values(), ids=REFUSED)
async def test_a_body_is_refused(provider: Provider, body: bytes, problem: str) -> None:
    """The error has the form of the provider's pages, and says what is wrong."""
    status, answer = await send(provider, body, INIT)
    assert status == 400
    assert answer == {
        "error": {"code": "invalid_request", "description": problem},
        "status": "error",
    }
    assert provider.report().sessions == 0


@pytest.mark.parametrize(
    "headers",
    [
        "",
        "Content-Type: application/json; charset=utf-8\r\n",
        "content-type: APPLICATION/JSON\r\n",
        f"{JSON}Expect: 100-continue\r\n",
        f"{JSON}expect: 100-Continue\r\nExpect-Nothing: 1\r\n",
        f"{JSON}Transfer-Encoding: chunked\r\n",
        f"{JSON}Accept: application/json\r\nX-SDK-VERSION: 1.2\r\n",
        f"{JSON}X-PARTNER-SUBMERCHANT: shop-4\r\n",
        f"{JSON}Accept-Encoding: gzip, br\r\n",
    ],
    ids=repr,
)
async def test_headers_are_taken(provider: Provider, headers: str) -> None:
    """A client may leave out the content type, and may wait before it sends the body."""
    status, answer = await send(provider, body_of(), INIT, headers=headers)
    assert (status, answer["status"]) == (200, "ok")


async def test_http_1_0_is_taken(provider: Provider) -> None:
    """An old client has its answer, and then the connection is closed."""
    status, answer = await send(provider, b"{}", version="1.0")
    assert (status, answer["session"]["status"]) == (200, "created")


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        (JSON, True),
        ("Content-Type: Application/JSON;charset=UTF-8\r\n", True),
        ("", False),
        ("Content-Type: text/plain\r\n", False),
        ("Content-Type: application/x-www-form-urlencoded\r\n", False),
    ],
    ids=repr,
)
async def test_a_strict_provider_wants_the_content_type(headers: str, taken: bool) -> None:  # noqa: FBT001
    """The page of the format lists it as mandatory; a rule makes it so."""
    async with run(public_key=KEY.public, rules=Rules(content_type=Reaction.REFUSE)) as provider:
        status, answer = await send(provider, b"{}", headers=headers)
    assert (status, answer["status"]) == ((200, "ok") if taken else (400, "error"))
    if not taken:
        assert answer["error"]["description"] == "Content-Type must be application/json"


@pytest.mark.parametrize(
    ("amount", "taken"),
    [("10000", True), ("007", True), ("0", False), ("-5", False), ("1e4", False), ("5.0", False)],
)
async def test_an_amount_as_text_where_it_is_allowed(amount: str, taken: bool) -> None:  # noqa: FBT001
    """One example of the pages has a string; with the rule it counts as the number."""
    body = body_of(amount_details={"amount": amount, "currency": "rub"})
    async with run(public_key=KEY.public, rules=Rules(text_amounts=Permission.ALLOW)) as provider:
        status, answer = await send(provider, body, INIT)
    if taken:
        [payment] = answer["session"]["acquiring_payments"]
        assert payment["amount_details"] == {"amount": int(amount), "currency": "rub"}
    else:
        assert (status, answer["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("path", "method", "taken"),
    [
        (f"{CREATE}?source=shop", "POST", True),
        (f"http://localhost{CREATE}", "POST", True),
        (f"{CREATE}/", "POST", False),
        (f"/{CREATE}", "POST", False),
        (CREATE.upper(), "POST", False),
        (CREATE, "GET", False),
        (CREATE, "PUT", False),
        ("/v1/session/create", "POST", False),
        ("/api/v3/session/create", "POST", False),
        ("/api/v2/wallet/balance", "POST", False),
    ],
)
async def test_paths_and_methods(provider: Provider, path: str, method: str, taken: bool) -> None:  # noqa: FBT001
    """A path must be exact, whatever its query; another one is an error envelope under 404."""
    status, answer = await send(provider, b"{}", path, method=method)
    assert (status, answer["status"]) == ((200, "ok") if taken else (404, "error"))
    if not taken:
        assert answer["error"] == {
            "code": "invalid_request",
            "description": "there is no such method",
        }


@pytest.mark.parametrize("body", [b"[]", b"{}", b" [ ] "])
@pytest.mark.parametrize(
    ("path", "method", "member"),
    [
        (CREATE, "POST", "session"),
        ("/api/v2/session/create", "POST", "session"),
        ("/api/v1/exchange_rate", "GET", "rate"),
        ("/api/v1/fps/banks", "GET", "banks"),
        ("/api/v1/token", "POST", "public_token"),
    ],
)
async def test_a_call_without_parameters(
    provider: Provider, body: bytes, path: str, method: str, member: str
) -> None:
    """An empty list, as PHP writes it, is as good as an empty object."""
    status, answer = await send(provider, body, path, method=method)
    assert status == 200
    assert member in answer
