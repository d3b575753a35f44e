"""The emulator's calls over a socket, from clients that write JSON in unusual ways."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
import pytest

from smartglocal_async.emulator import Fault, FaultKind, FaultScript, Provider, Rules, run
from smartglocal_async.keys import PrivateKey

KEY: Final = PrivateKey.generate()
NOW: Final = datetime(2024, 5, 27, 2, 3, tzinfo=UTC)
CHALLENGED: Final = (
    b'{"payment_details":{"type":"card","card":{"type":"bank_card","bank_card":{"number":'
    b'"4000000000003220"}}},"amount_details":{"amount":5,"currency":"usd"},"customer":{},'
    b'"payment_options":{"return_url":"%s"}}'
)


def headers(body: bytes, **more: str) -> dict[str, str]:
    """Sign a body, with header names in an unusual case."""
    signed = {"x-PARTNER-project": "demo", "X-partner-SIGN": KEY.sign(body)}
    return signed | {name.replace("_", "-"): value for name, value in more.items()}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Return a plain session."""
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield http


@pytest.fixture
def send(http: aiohttp.ClientSession) -> Callable[..., Any]:
    """Return a function that posts bytes and returns status and JSON."""

    async def post(
        provider: Provider, path: str, body: bytes, **more: str
    ) -> tuple[int, dict[str, Any]]:
        async with http.post(
            f"{provider.url}/api/{path}", data=body, headers=headers(body, **more)
        ) as answer:
            return answer.status, await answer.json()

    return post


ODD: Final = (
    (
        b'{"payout_details":{"card":{"bank_card":{"number":"4242424242424242"},"type":"bank_card"},'
        b'"type":"card"},"session_id":"ps_1",'
        b'"participant_details":{"recipient":{"full_name":"A B"}},'
        b'"amount_details":{"currency":"USD","amount":100}}'
    ),
    (
        b'\r\n{ "session_id" : "\\u0070s_1",\t"amount_details": {"amount": 100, "currency": "usd"},'
        b'"payout_details": {"type": "card", "card": {"type": "bank_card", "bank_card": '
        b'{"number": "42424242\\u00342424242"}}}, "participant_details": {"recipient": '
        b'{"full_name": "A B"}}, "new_field": [1, {"a": null}] }\n'
    ),
)


@pytest.mark.parametrize("body", ODD)
async def test_how_a_start_is_written_does_not_matter(
    send: Callable[..., Any], body: bytes
) -> None:
    """Order, spaces, escapes and unknown names don't matter; no complete card is returned."""
    async with run(public_key=KEY.public) as provider:
        _ = await send(provider, "v2/session/create", b"{}", X_Partner_Idempotency_KEY="k")
        status, answer = await send(provider, "v2/session/start/payout", body)
        wrong, _ = await send(provider, "v1/session/start/payout", body)
        _ = await send(provider, "v1/session/confirm", b'{"session_id":"ps_1"}')
        _, done = await send(provider, "v1/session/status", b' {"session_id" : "ps_1"} ')
        order = provider.order("k")

    assert (status, wrong) == (200, 400)
    assert answer["session"]["payout_list"][0]["payout_details"]["card"]["last4"] == "4242"
    assert done["session"]["status"] == "accepted"
    assert "4242424242424242" not in json.dumps([answer, done])
    assert (order.attempts, order.moved) == (1, 1)
    assert order.calls == {
        "session/create": 1,
        "session/start/payout": 2,
        "session/confirm": 1,
        "session/status": 1,
    }


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"anything"])
async def test_banks_are_got(http: aiohttp.ClientSession, body: bytes) -> None:
    """A GET whose body no page shows takes any, if it is signed."""
    async with (
        run(public_key=KEY.public) as provider,
        http.get(f"{provider.url}/api/v1/fps/banks", data=body, headers=headers(body)) as answer,
        http.get(f"{provider.url}/api/v1/fps/banks", data=body) as unsigned,
    ):
        told = await answer.json()

    assert (answer.status, unsigned.status) == (200, 400)
    assert list(told["banks"][0]) == ["id", "eng_name", "ru_name"]


class TestFaults:
    """Every call can meet a fault."""

    async def test_only_the_call_that_is_meant(self, send: Callable[..., Any]) -> None:
        """A fault for one call doesn't affect others; attempts are counted by call and key."""
        fault = Fault(FaultKind.AFTER, nth=(1,), operation="session/confirm")
        async with run(public_key=KEY.public, faults=FaultScript((fault,))) as provider:
            _ = await send(provider, "v2/session/create", b"{}", X_PARTNER_IDEMPOTENCY_KEY="k")
            _ = await send(provider, "v2/session/start/payout", ODD[0])
            with pytest.raises(aiohttp.ServerDisconnectedError):
                _ = await send(provider, "v1/session/confirm", b'{"session_id":"ps_1"}')
            _, done = await send(provider, "v1/session/status", b'{"session_id":"ps_1"}')
            order, report = provider.order("k"), provider.report()

        assert done["session"]["status"] == "accepted"
        assert (order.moved, report.moved_twice, report.faults) == (1, 0, {"after": 1})

    async def test_late(self, send: Callable[..., Any]) -> None:
        """The connection breaks, and the call is carried out later."""
        clock = [NOW]
        fault = Fault(FaultKind.LATE, nth=(1,), seconds=60)
        async with run(
            public_key=KEY.public, faults=FaultScript((fault,)), clock=lambda: clock[0]
        ) as provider:
            with pytest.raises(aiohttp.ServerDisconnectedError):
                _ = await send(provider, "v1/session/create", b"{}", X_PARTNER_IDEMPOTENCY_KEY="k")
            before = provider.order("k")
            clock[0] += timedelta(seconds=60)
            after = provider.order("k")

        assert (before.attempts, before.reached_bank, before.made) == (1, 0, 0)
        assert (after.attempts, after.reached_bank, after.session_ids) == (1, 1, ("ps_1",))

    async def test_bytes_that_changed(self, send: Callable[..., Any]) -> None:
        """A repeated call with other bytes is counted."""
        async with run(public_key=KEY.public) as provider:
            _ = await send(provider, "v1/session/create", b"{}", X_PARTNER_IDEMPOTENCY_KEY="k")
            for _ in range(2):
                _ = await send(provider, "v1/session/status", b'{"session_id":"ps_1"}')
            same = provider.report().changed
            _ = await send(provider, "v1/session/status", b'{"session_id": "ps_1"}')

            assert (same, provider.report().changed) == (0, 1)


class TestChallengePage:
    """3-D Secure in a browser."""

    async def acting(self, send: Callable[..., Any], provider: Provider, back: bytes) -> str:
        """Bring a payment to the payer's action; return the address."""
        _ = await send(provider, "v1/session/init/payment", CHALLENGED % back)
        _ = await send(provider, "v1/session/confirm", b'{"session_id":"ps_1"}')
        _, answer = await send(provider, "v2/session/status", b'{"session_id":"ps_1"}')
        redirect = answer["session"]["payment_list"][0]["customer_interaction"]["redirect"]
        assert redirect["url"].startswith(provider.url)
        return redirect["url"]

    @pytest.mark.parametrize(("choice", "status"), [("pass", "accepted"), ("fail", "cancelled")])
    async def test_a_click(
        self, http: aiohttp.ClientSession, send: Callable[..., Any], choice: str, status: str
    ) -> None:
        """The form posts the choice, which continues the payment and leads back to the shop."""
        async with run(public_key=KEY.public) as provider:
            url = await self.acting(send, provider, b"https://shop.example/back?a=1&b=2")
            async with http.post(url, data={"PaReq": "x", "MD": "<script>"}) as page:
                text = await page.text()
            async with http.post(url, data={"choice": choice}, allow_redirects=False) as done:
                location = done.headers["Location"]
            async with http.get(url) as again:
                gone = again.status
            _, answer = await send(provider, "v1/session/status", b'{"session_id":"ps_1"}')

        assert (page.status, page.content_type) == (200, "text/html")
        assert text.count("<button") == 2
        assert "<script>" not in text
        assert (done.status, location) == (303, "https://shop.example/back?a=1&b=2")
        assert (gone, answer["session"]["status"]) == (404, status)

    @pytest.mark.parametrize("back", [b"", b"a\\r\\nX: 1", "é".encode()])
    async def test_nowhere_to_go(
        self, http: aiohttp.ClientSession, send: Callable[..., Any], back: bytes
    ) -> None:
        """Without a usable return address the payer gets a page."""
        async with run(public_key=KEY.public) as provider:
            url = await self.acting(send, provider, back)
            async with http.post(url, data={"choice": "pass"}, allow_redirects=False) as done:
                assert (done.status, done.content_type) == (200, "text/html")

    async def test_no_payment(self, http: aiohttp.ClientSession) -> None:
        """A page without a payment says so."""
        async with run() as provider, http.get(f"{provider.url}/emulator/3ds/pm_1") as page:
            assert page.status == 404


async def test_many_payouts_at_once(send: Callable[..., Any]) -> None:
    """Concurrent payouts don't affect each other, and the accounts agree with the counts."""
    rules = Rules(wallets={"usd": 10_000})
    async with run(public_key=KEY.public, rules=rules) as provider:

        async def live(number: int) -> None:
            key = str(number)
            _, made = await send(
                provider, "v2/session/create", b"{}", X_PARTNER_IDEMPOTENCY_KEY=key
            )
            session_id = made["session"]["id"].encode()
            start = ODD[0].replace(b"ps_1", session_id)
            _ = await send(provider, "v2/session/start/payout", start)
            _ = await send(provider, "v2/session/confirm", b'{"session_id":"%s"}' % session_id)

        async with asyncio.TaskGroup() as tasks:
            for number in range(30):
                _ = tasks.create_task(live(number))
        report = provider.report()

    assert (report.moved, report.moved_twice, report.orders) == (30, 0, 30)
    assert report.balances["usd"]["wallet"] == 10_000 - 30 * 100


# Calls with an HTTP method or an answer of their own.


async def test_the_rate_has_no_status(
    http: aiohttp.ClientSession,
) -> None:
    """It is a GET with a signed body, and its refusal has no status either (documented)."""
    rules = Rules(usd_for_rub=0.011)
    async with run(public_key=KEY.public, clock=lambda: NOW, rules=rules) as provider:
        url = f"{provider.url}/api/v1/exchange_rate"
        async with http.get(url, data=b"{}", headers=headers(b"{}")) as answer:
            good = await answer.json()
        async with http.post(url, data=b"{}", headers=headers(b"{}")) as answer:
            assert answer.status == 404
            assert set(await answer.json()) == {"error"}
        async with http.get(url, data=b"[1]", headers=headers(b"[1]")) as answer:
            assert set(await answer.json()) == {"error"}
        async with http.get(url, data=b"{}", headers=headers(b"other")) as answer:
            assert (await answer.json())["error"]["code"] == "authentication_error"

    assert good == {
        "rate": {
            "source_currency": "RUB",
            "destination_currency": "USD",
            "rate": 0.011,
            "active_from": "2024-05-27T02:00:00.000000Z",
            "active_to": "2024-05-27T03:00:00.000000Z",
        }
    }


async def test_a_push_needs_a_payment_by_sberpay(send: Callable[..., Any]) -> None:
    """Of a session that is there, by the method of the rules, to a number."""
    async with run(public_key=KEY.public) as provider:
        _ = await send(provider, "v1/session/create", b"{}")
        codes = []
        for body in (
            b'{"session_id":"ps_1","phone":"+79000000001"}',
            b'{"session_id":"ps_9","phone":"+79000000001"}',
            b'{"session_id":"ps_1","phone":"soon"}',
            b'{"session_id":"ps_1"}',
        ):
            _, answer = await send(provider, "v1/sberpay/push", body)
            codes.append(answer["error"]["code"])

    assert codes == [
        "invalid_session_state",
        "session_not_found",
        "invalid_request",
        "invalid_request",
    ]
