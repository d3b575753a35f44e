"""The emulator's webhooks: what the queue returns when, and what arrives over a socket."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web
from attrs import define, field

from smartglocal_async.emulator import Provider, Rules, WebhookScript, run, run_in_thread
from smartglocal_async.emulator.bank.processing import Notification
from smartglocal_async.emulator.bank.webhooks import WebhookQueue
from smartglocal_async.errors import InvalidRequest
from smartglocal_async.keys import PrivateKey

KEY: Final = PrivateKey.generate()
HOOK: Final = PrivateKey.generate()
NOW: Final = datetime(2024, 5, 27, 2, 3, tzinfo=UTC)
TERMS: Final = {
    "participant_details": {"recipient": {"full_name": "Anna Nagy"}},
    "amount_details": {"amount": 100, "currency": "usd"},
    "payment_method": {
        "type": "card",
        "card": {"type": "bank_card", "bank_card": {"number": "4242424242424242"}},
    },
}


def notice(type_: str = "ready_to_confirm", session_id: str = "ps_1") -> Notification:
    """Return a notification."""
    return Notification(type_, session_id, NOW, {"type": type_, "session": {"id": session_id}})


def after(seconds: float) -> datetime:
    """Return a time."""
    return NOW + timedelta(seconds=seconds)


class TestQueue:
    """The webhooks that are sent, and when."""

    def test_nobody_listens(self) -> None:
        """Without an address nothing is queued."""
        queue = WebhookQueue()
        queue.put(notice(), NOW)

        assert (len(queue), queue.take(NOW), queue.next_due) == (0, [], None)

    @pytest.mark.parametrize("status", [None, 199, 201, 302, 404, 500])
    def test_redelivery(self, status: int | None) -> None:
        """Until HTTP 200, at doubled intervals up to 15 minutes, for 30 minutes."""
        queue = WebhookQueue(WebhookScript(retry_seconds=60), "http://x")
        queue.put(notice(), NOW)
        sent: list[float] = []
        while (due := queue.next_due) is not None:
            [webhook] = queue.take(due)
            assert queue.take(due) == []
            sent.append((due - NOW).total_seconds())
            queue.done(webhook, status, due, due)

        assert sent == [0, 60, 180, 420, 900, 1800]
        assert [delivery.attempt for delivery in queue.deliveries] == [1, 2, 3, 4, 5, 6]
        assert {delivery.http_status for delivery in queue.deliveries} == {status}

    def test_redelivery_without_an_end(self) -> None:
        """As an older page has it: for days, until the answer comes."""
        queue = WebhookQueue(WebhookScript(retry_seconds=60, never_gives_up=True), "http://x")
        queue.put(notice(), NOW)
        while (due := queue.next_due) is not None:
            [webhook] = queue.take(due)
            queue.done(webhook, 200 if due > NOW + timedelta(days=3) else 500, due, due)
            assert len(queue.deliveries) < 1000

        assert len(queue.deliveries) > 100
        assert [one.http_status for one in queue.deliveries[-2:]] == [500, 200]

    def test_the_longest_pause(self) -> None:
        """A pause never exceeds 15 minutes."""
        queue = WebhookQueue(WebhookScript(retry_seconds=800), "http://x")
        queue.put(notice(), NOW)
        for due in (0, 800):
            [webhook] = queue.take(after(due))
            queue.done(webhook, 500, after(due), after(due))

        assert queue.next_due == after(800 + 900)

    @pytest.mark.parametrize("in_order", [True, False])
    def test_order(self, *, in_order: bool) -> None:
        """A session's next webhook may wait for the previous one; other sessions' never do."""
        queue = WebhookQueue(WebhookScript(in_order=in_order), "http://x")
        for told in (notice(), notice("payment_finished"), notice(session_id="ps_2")):
            queue.put(told, NOW)
        taken = queue.take(NOW)

        names = [(webhook.notification.type, webhook.notification.session_id) for webhook in taken]
        assert (("payment_finished", "ps_1") in names) is not in_order
        assert len(names) == (2 if in_order else 3)
        queue.done(taken[0], 200, NOW, NOW)
        assert len(queue.take(NOW)) == (1 if in_order else 0)

    @pytest.mark.parametrize(
        ("script", "number"),
        [
            (WebhookScript(lost=1), 0),
            (WebhookScript(duplicated=1, in_order=False), 2),
            (WebhookScript(delayed=1), 0),
        ],
    )
    def test_misfortunes(self, script: WebhookScript, number: int) -> None:
        """Lost ones are never sent, duplicated ones twice, delayed ones later."""
        queue = WebhookQueue(script, "http://x")
        queue.put(notice(), NOW)

        assert len(queue.take(NOW)) == number
        assert len(queue.take(after(5))) == (1 if script.delayed else 0)

    @pytest.mark.parametrize(
        ("script", "body"),
        [
            (WebhookScript(), b'{"type": "ready_to_confirm", "session": {"id": "ps_1"}}'),
            (
                WebhookScript(bom=1),
                b'\xef\xbb\xbf{"type": "ready_to_confirm", "session": {"id": "ps_1"}}',
            ),
            (
                WebhookScript(swapped=1),
                b'{"type": "ready_to_confirm", "session": {"id": "ps_other"}}',
            ),
        ],
    )
    def test_what_a_webhook_says(self, script: WebhookScript, body: bytes) -> None:
        """It may begin with a byte order mark, or be about another session."""
        queue = WebhookQueue(script, "http://x")
        queue.put(notice(), NOW, lambda _: {"id": "ps_other"})

        assert [webhook.body for webhook in queue.take(NOW)] == [body]

    def test_delayed_ones_are_overtaken(self) -> None:
        """A webhook without a delay doesn't wait for a delayed one."""
        script = next(
            script
            for script in (WebhookScript(delayed=0.5, seed=seed) for seed in range(100))
            if script.roll("delayed", notice(), 1) < 0.5
            and script.roll("delayed", notice("payment_finished"), 2) >= 0.5
        )
        queue = WebhookQueue(script, "http://x")
        queue.put(notice(), NOW)
        queue.put(notice("payment_finished"), NOW)

        assert [webhook.notification.type for webhook in queue.take(NOW)] == ["payment_finished"]
        assert [webhook.notification.type for webhook in queue.take(after(5))] == [
            "ready_to_confirm"
        ]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("lost", 1.1),
            ("swapped", 2),
            ("bom", -1),
            ("surrogate", -0.1),
            ("duplicated", -1),
            ("delayed", float("nan")),
            ("retry_seconds", 0),
        ],
    )
    def test_a_wrong_number_is_named(self, name: str, value: float) -> None:
        """The error names the field of the script."""
        with pytest.raises(InvalidRequest) as caught:
            _ = WebhookScript(**{name: value})

        assert caught.value.field == name


@define
class Shop:
    """A receiver that records what arrived, and answers as set."""

    url: str = ""
    answers: list[int] = field(factory=list[int])
    came: asyncio.Queue[tuple[dict[str, str], bytes]] = field(
        factory=asyncio.Queue[tuple[dict[str, str], bytes]]
    )
    patience: asyncio.Event | None = None

    async def take(self, request: web.BaseRequest) -> web.Response:
        """Record a webhook."""
        await self.came.put((dict(request.headers), await request.read()))
        if self.patience is not None:
            await self.patience.wait()
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    async def next(self) -> dict[str, Any]:
        """Return the next webhook, verified."""
        async with asyncio.timeout(20):
            headers, body = await self.came.get()
        assert headers["Content-Type"] == "application/json"
        assert HOOK.public.verifies(body, headers["X-PARTNER-SIGN"])
        return json.loads(body)


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    """Return a receiver on a free port."""
    shop = Shop()
    runner = web.ServerRunner(web.Server(shop.take, handler_cancellation=True), shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    shop.url = f"http://{host}:{port}/hook"
    yield shop
    await runner.cleanup()


@pytest.fixture
async def call() -> AsyncIterator[Callable[..., Any]]:
    """Return a function that makes a signed call to an emulator."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:

        async def make(provider: Provider, operation: str, **request: Any) -> dict[str, Any]:
            body = json.dumps(request).encode()
            headers = {"X-PARTNER-PROJECT": "demo", "X-PARTNER-SIGN": KEY.sign(body)}
            url = f"{provider.url}/api/v1/{operation}"
            async with session.post(url, data=body, headers=headers) as answer:
                return await answer.json()

        yield make


async def settled(provider: Provider, number: int) -> None:
    """Wait until this many attempts have ended."""
    async with asyncio.timeout(20):
        while len(provider.deliveries) < number:  # noqa: ASYNC110 - it may be on another thread
            await asyncio.sleep(0.001)


async def test_webhooks_come_by_themselves(shop: Shop, call: Callable[..., Any]) -> None:
    """Signed, in order, without a further call, and from a thread of its own."""
    with run_in_thread(public_key=KEY.public, webhook_url=shop.url, webhook_key=HOOK) as provider:
        _ = await call(provider, "session/init/payout", **TERMS)
        ready = await shop.next()
        _ = await call(provider, "session/confirm", session_id="ps_1")
        finished = await shop.next()
        await settled(provider, 2)
        told = [
            (one.type, one.session_id, one.attempt, one.http_status) for one in provider.deliveries
        ]

    assert list(ready) == ["type", "session"]
    assert (ready["type"], ready["session"]["next_action"]) == ("ready_to_confirm", "confirm")
    assert (finished["type"], finished["session"]["status"]) == ("payment_finished", "accepted")
    assert told == [("ready_to_confirm", "ps_1", 1, 200), ("payment_finished", "ps_1", 1, 200)]
    assert provider.webhook_key.verifies(b"x", HOOK.sign(b"x"))


async def test_a_webhook_about_another_session(shop: Shop, call: Callable[..., Any]) -> None:
    """Its type is that of the event; its session is another one, invented if there is none."""
    async with run(
        public_key=KEY.public,
        webhook_url=shop.url,
        webhook_key=HOOK,
        webhooks=WebhookScript(swapped=1),
    ) as provider:
        _ = await call(provider, "session/init/payout", **TERMS)
        alone = await shop.next()
        _ = await call(provider, "session/init/payout", **TERMS)
        beside = await shop.next()

    assert (alone["type"], beside["type"]) == ("ready_to_confirm", "ready_to_confirm")
    assert alone["session"]["id"].startswith("ps_foreign_")
    assert beside["session"]["id"] == "ps_1"


async def test_a_webhook_with_odd_bytes(shop: Shop, call: Callable[..., Any]) -> None:
    """A byte order mark and unusual texts are signed, too, and no deciding value changes."""
    async with run(
        public_key=KEY.public,
        webhook_url=shop.url,
        webhook_key=HOOK,
        webhooks=WebhookScript(bom=1, surrogate=1),
    ) as provider:
        _ = await call(provider, "session/init/payout", metadata={"a": "b"}, **TERMS)
        headers, body = await shop.came.get()

    text = "half a pair \ud800, a NUL \0, a red \x1b[31mword\x1b[0m,\r\nanother line"
    assert HOOK.public.verifies(body, headers["X-PARTNER-SIGN"])
    assert body.startswith(b'\xef\xbb\xbf{"type": "ready_to_confirm", "session": {"id": "ps_1"')
    session = json.loads(body[3:])["session"]
    assert (session["description"], session["metadata"]) == (text, {"a": "b", "description": text})


async def test_a_clock_set_by_hand(shop: Shop, call: Callable[..., Any]) -> None:
    """A refused webhook is sent again when the clock was moved and ticks; the body is the same."""
    clock = [NOW]
    shop.answers = [500]
    async with run(
        public_key=KEY.public,
        webhook_key=HOOK,
        clock=lambda: clock[0],
        rules=Rules(processing_seconds=60),
        webhooks=WebhookScript(retry_seconds=3),
    ) as provider:
        provider.deliver_to(shop.url)
        _ = await call(provider, "session/init/payout", **TERMS)
        clock[0] = after(60)
        provider.tick()
        first = await shop.next()
        await settled(provider, 1)
        clock[0] = after(63)
        provider.tick()
        again = await shop.next()
        await settled(provider, 2)

    assert first == again
    assert [one.http_status for one in provider.deliveries] == [500, 200]
    assert [one.time for one in provider.deliveries] == [after(60), after(63)]


async def test_challenge_and_chargeback_by_hand(shop: Shop, call: Callable[..., Any]) -> None:
    """Methods act as the payer; each step sends a webhook, and an impossible one raises."""
    async with run(public_key=KEY.public, webhook_key=HOOK, webhook_url=shop.url) as provider:
        card = {"type": "bank_card", "bank_card": {"number": "4000000000003220"}}
        details = {"type": "card", "card": card}
        money = TERMS["amount_details"]
        _ = await call(
            provider,
            "session/init/payment",
            payment_details=details,
            amount_details=money,
            customer={},
        )
        for refused in (provider.act, provider.chargeback):
            with pytest.raises(InvalidRequest):
                refused("ps_1")
        types = [(await shop.next())["type"]]
        _ = await call(provider, "session/confirm", session_id="ps_1")
        types.append((await shop.next())["type"])
        provider.act("ps_1")
        types.append((await shop.next())["type"])
        provider.chargeback("pm_1")
        types.append((await shop.next())["type"])

    assert types == ["ready_to_confirm", "action_required", "payment_finished", "payment_refunded"]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://127.0.0.1:1/", "no connection: Connection refused"),
        ("http://a..b/", "the address isn't a URL of HTTP"),
        ("", ""),
    ],
)
async def test_nobody_there(url: str, problem: str, call: Callable[..., Any]) -> None:
    """An unreachable address is an attempt without an answer."""
    async with run(public_key=KEY.public, webhook_key=HOOK, webhook_url=url or None) as provider:
        _ = await call(provider, "session/init/payout", **TERMS)
        if url:
            await settled(provider, 1)
            assert provider.deliveries[0].http_status is None
            assert provider.deliveries[0].problem == problem
        status = await call(provider, "session/status", session_id="ps_1")

    assert status["session"]["next_action"] == "confirm"


async def test_the_end_waits_for_nobody(shop: Shop, call: Callable[..., Any]) -> None:
    """A receiver that never answers keeps no task or thread running."""
    shop.patience = asyncio.Event()
    tasks, threads = asyncio.all_tasks(), threading.enumerate()
    async with run(public_key=KEY.public, webhook_key=HOOK, webhook_url=shop.url) as provider:
        _ = await call(provider, "session/init/payout", **TERMS)
        _ = await shop.next()
        own = asyncio.all_tasks() - tasks
    with run_in_thread(public_key=KEY.public, webhook_key=HOOK, webhook_url=shop.url) as other:
        _ = await call(other, "session/init/payout", **TERMS)
        _ = await shop.next()

    assert threading.enumerate() == threads
    assert own
    shop.patience.set()
    other.tick()
    other.deliver_to(None)
    assert provider.deliveries == other.deliveries == ()


async def test_a_key_of_its_own() -> None:
    """Without a key for webhooks it generates one, and keeps it."""
    async with run(public_key=KEY.public) as provider:
        assert provider.webhook_key is not None
        assert provider.webhook_key.pem() == provider.webhook_key.pem()


@pytest.mark.parametrize("url", ["nonsense", "ftp://a/", "http://", "http://a:b@c/", "http://a b/"])
async def test_an_address_that_is_none(url: str) -> None:
    """Nothing starts, and the error names the argument."""
    with pytest.raises(InvalidRequest, match="webhook_url"):
        async with run(webhook_url=url):
            pass
    with pytest.raises(InvalidRequest, match="webhook_url"), run_in_thread(webhook_url=url):
        pass
