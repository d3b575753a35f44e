"""The emulator's webhooks: what the outbox gives when, and what arrives over a socket."""

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
from smartglocal_async.emulator.machine import Notice
from smartglocal_async.emulator.outbox import Outbox
from smartglocal_async.errors import InvalidRequest
from smartglocal_async.signing import PrivateKey

KEY: Final = PrivateKey.generate()
HOOK: Final = PrivateKey.generate()
NOW: Final = datetime(2024, 5, 27, 2, 3, tzinfo=UTC)
TERMS: Final = {
    "amount_details": {"amount": 100, "currency": "usd"},
    "payment_method": {
        "type": "card",
        "card": {"type": "bank_card", "bank_card": {"number": "4242424242424242"}},
    },
}


def notice(type_: str = "ready_to_confirm", session_id: str = "ps_1") -> Notice:
    """Give something to tell."""
    return Notice(type_, session_id, NOW, {"type": type_, "session": {"id": session_id}})


def after(seconds: float) -> datetime:
    """Give a moment."""
    return NOW + timedelta(seconds=seconds)


class TestOutbox:
    """What is sent when."""

    def test_nobody_listens(self) -> None:
        """Without an address nothing is kept."""
        outbox = Outbox()
        outbox.put(notice(), NOW)

        assert (len(outbox), outbox.take(NOW), outbox.next_due) == (0, [], None)

    @pytest.mark.parametrize("status", [None, 199, 201, 302, 404, 500])
    def test_redelivery(self, status: int | None) -> None:
        """Until HTTP 200, at doubled intervals up to 15 minutes, for 30 minutes."""
        outbox = Outbox(WebhookScript(retry_seconds=60), "http://x")
        outbox.put(notice(), NOW)
        sent: list[float] = []
        while (due := outbox.next_due) is not None:
            [parcel] = outbox.take(due)
            assert outbox.take(due) == []
            sent.append((due - NOW).total_seconds())
            outbox.done(parcel, status, due, due)

        assert sent == [0, 60, 180, 420, 900, 1800]
        assert [delivery.attempt for delivery in outbox.deliveries] == [1, 2, 3, 4, 5, 6]
        assert {delivery.http_status for delivery in outbox.deliveries} == {status}

    def test_the_longest_pause(self) -> None:
        """A pause never exceeds 15 minutes."""
        outbox = Outbox(WebhookScript(retry_seconds=800), "http://x")
        outbox.put(notice(), NOW)
        for due in (0, 800):
            [parcel] = outbox.take(after(due))
            outbox.done(parcel, 500, after(due), after(due))

        assert outbox.next_due == after(800 + 900)

    @pytest.mark.parametrize("in_order", [True, False])
    def test_order(self, *, in_order: bool) -> None:
        """A session's next one waits for the one before, or doesn't; other sessions never do."""
        outbox = Outbox(WebhookScript(in_order=in_order), "http://x")
        for told in (notice(), notice("payment_finished"), notice(session_id="ps_2")):
            outbox.put(told, NOW)
        taken = outbox.take(NOW)

        names = [(parcel.notice.type, parcel.notice.session_id) for parcel in taken]
        assert (("payment_finished", "ps_1") in names) is not in_order
        assert len(names) == (2 if in_order else 3)
        outbox.done(taken[0], 200, NOW, NOW)
        assert len(outbox.take(NOW)) == (1 if in_order else 0)

    @pytest.mark.parametrize(
        ("script", "number"),
        [
            (WebhookScript(lost=1), 0),
            (WebhookScript(duplicated=1, in_order=False), 2),
            (WebhookScript(delayed=1), 0),
        ],
    )
    def test_misfortunes(self, script: WebhookScript, number: int) -> None:
        """Lost ones never come, doubled ones twice, delayed ones later."""
        outbox = Outbox(script, "http://x")
        outbox.put(notice(), NOW)

        assert len(outbox.take(NOW)) == number
        assert len(outbox.take(after(5))) == (1 if script.delayed else 0)

    def test_delayed_ones_are_overtaken(self) -> None:
        """What isn't delayed doesn't wait for what is."""
        script = next(
            script
            for script in (WebhookScript(delayed=0.5, seed=seed) for seed in range(100))
            if script.roll("delayed", notice(), 1) < 0.5
            and script.roll("delayed", notice("payment_finished"), 2) >= 0.5
        )
        outbox = Outbox(script, "http://x")
        outbox.put(notice(), NOW)
        outbox.put(notice("payment_finished"), NOW)

        assert [parcel.notice.type for parcel in outbox.take(NOW)] == ["payment_finished"]
        assert [parcel.notice.type for parcel in outbox.take(after(5))] == ["ready_to_confirm"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [("lost", 1.1), ("duplicated", -1), ("delayed", float("nan")), ("retry_seconds", 0)],
    )
    def test_a_wrong_number_is_named(self, name: str, value: float) -> None:
        """The script says which of its fields is wrong."""
        with pytest.raises(InvalidRequest) as caught:
            _ = WebhookScript(**{name: value})

        assert caught.value.field == name


@define
class Shop:
    """A receiver that keeps what came, and answers as it is told."""

    url: str = ""
    answers: list[int] = field(factory=list[int])
    came: asyncio.Queue[tuple[dict[str, str], bytes]] = field(
        factory=asyncio.Queue[tuple[dict[str, str], bytes]]
    )
    patience: asyncio.Event | None = None

    async def take(self, request: web.BaseRequest) -> web.Response:
        """Keep a webhook."""
        await self.came.put((dict(request.headers), await request.read()))
        if self.patience is not None:
            await self.patience.wait()
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    async def next(self) -> dict[str, Any]:
        """Give the next webhook, verified."""
        async with asyncio.timeout(20):
            headers, body = await self.came.get()
        assert headers["Content-Type"] == "application/json"
        assert HOOK.public.verifies(body, headers["X-PARTNER-SIGN"])
        return json.loads(body)


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    """Give a receiver on a free port."""
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
    """Give a function that makes a signed call to an emulator."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:

        async def make(provider: Provider, operation: str, **request: Any) -> dict[str, Any]:
            body = json.dumps(request).encode()
            headers = {"X-PARTNER-PROJECT": "demo", "X-PARTNER-SIGN": KEY.sign(body)}
            url = f"{provider.url}/api/v1/{operation}"
            async with session.post(url, data=body, headers=headers) as answer:
                return await answer.json()

        yield make


async def settled(provider: Provider, number: int) -> None:
    """Wait until so many attempts have ended."""
    async with asyncio.timeout(20):
        while len(provider.deliveries) < number:  # noqa: ASYNC110 - it may be on another thread
            await asyncio.sleep(0.001)


async def test_webhooks_come_by_themselves(shop: Shop, call: Callable[..., Any]) -> None:
    """Signed, in order, without any further call, and from a thread of its own."""
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


async def test_a_clock_set_by_hand(shop: Shop, call: Callable[..., Any]) -> None:
    """What is refused comes again when the clock was moved and ticks; the body is the same."""
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
    """Hooks play the payer; each step is told, and what isn't possible is an error."""
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


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "nonsense", "http://[", ""])
async def test_nobody_there(url: str, call: Callable[..., Any]) -> None:
    """An address that leads nowhere is an attempt without an answer, and harms nothing."""
    async with run(public_key=KEY.public, webhook_key=HOOK, webhook_url=url or None) as provider:
        _ = await call(provider, "session/init/payout", **TERMS)
        if url:
            await settled(provider, 1)
            assert provider.deliveries[0].http_status is None
        status = await call(provider, "session/status", session_id="ps_1")

    assert status["session"]["next_action"] == "confirm"


async def test_the_end_waits_for_nobody(shop: Shop, call: Callable[..., Any]) -> None:
    """A receiver that never answers keeps no task and no thread alive."""
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
    """Without a key for webhooks it makes one, and keeps it."""
    async with run(public_key=KEY.public) as provider:
        assert provider.webhook_key is not None
        assert provider.webhook_key.pem() == provider.webhook_key.pem()
