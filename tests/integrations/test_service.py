"""One lifetime object for a client and webhooks, the table of errors, and the ASGI core."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from asgi import request

import smartglocal_async as sg
from smartglocal_async.integrations.aiohttp_web import error_middleware
from smartglocal_async.integrations.asgi import webhook_app, with_webhooks
from smartglocal_async.integrations.service import STATUSES, Service, error_response

EVENT = sg.PaymentFinished(session=sg.Session(id="ps_1", status="accepted"))


@pytest.fixture
def service(smartglocal_api, smartglocal_verifier) -> Service:
    """Return a service over the emulator."""
    return Service(smartglocal_api, sg.Webhooks(smartglocal_verifier))


class TestService:
    """Opened and closed once."""

    async def test_its_lifetime(self, service, smartglocal_deliver) -> None:
        """Handlers that run at the end may still call the provider."""
        called: list[str] = []

        @service.webhooks.on(sg.PaymentFinished)
        async def handle(_: sg.PaymentFinished) -> None:
            called.append((await service.api.session.create(sg.CreateSession())).id)

        async with service:
            assert await smartglocal_deliver(EVENT, to=service.webhooks) == 200
        assert called == ["ps_1"]
        with pytest.raises(sg.PoolClosed):
            await service.api.wallet.balance()
        with pytest.raises(sg.Misuse):
            await service.webhooks.accept(EVENT)

    async def test_webhooks_that_cannot_begin(self, smartglocal_api, smartglocal_verifier) -> None:
        """The client is closed, and the error is raised."""
        store = sg.webhooks.PostgresStore("postgres://127.0.0.1:1/x")
        service = Service(smartglocal_api, sg.Webhooks(smartglocal_verifier, store=store))
        with pytest.raises(sg.errors.WebhookStoreUnusable):
            await service.__aenter__()
        with pytest.raises(sg.PoolClosed):
            await service.api.wallet.balance()

    async def test_a_provider_that_is_down(self, key, caplog) -> None:
        """The service begins nevertheless, and says so."""
        async with Service(sg.SmartGlocal("demo", key, "http://127.0.0.1:9")) as service:
            with pytest.raises(sg.NotSent):
                await service.api.wallet.balance(attempts=1)
        assert "can't be reached" in caplog.text

    async def test_without_webhooks(self, smartglocal_api) -> None:
        """A client alone; but nothing then receives webhooks."""
        async with Service(smartglocal_api) as service:
            await service.api.wallet.balance()
        with pytest.raises(sg.Misuse):
            with_webhooks(nothing, service)


async def nothing(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 - ASGI
    """Answer with 204, as the inner application."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


CALL = ("session/create", "key")


class TestErrors:
    """The table of statuses."""

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (sg.InvalidRequest("amount", "must be above zero"), 400),
            (sg.KeyReused("key", ("amount_details",)), 409),
            (sg.InProgress("key", "host:1", 3.0), 409),
            (sg.Refused(*CALL, code="limit"), 502),
            (sg.Refused(*CALL, http_status=429), 503),
            (sg.NotSent(*CALL), 503),
            (sg.OutcomeUnknown(*CALL), 504),
            (sg.errors.Quarantined("restored"), 503),
            (sg.errors.JournalBusy("path", "7"), 503),
            (sg.InvalidCredentials("no key"), 500),
        ],
    )
    def test_the_table(self, error, status) -> None:
        """The nearest base class counts, and only the text of a wrong request is shown."""
        found = error_response(error)
        assert (found.status, found.content["status"]) == (status, status)
        is_shown = isinstance(error, sg.InvalidRequest)
        assert (found.content["detail"] == str(error)) is is_shown

    def test_what_isnt_shown(self) -> None:
        """No key, no name of a batch, no value that is the name of a field, no strange code."""
        reused = sg.KeyReused("jane@roe.example", ("amount_details",), "salaries of Jane Roe")
        words = "the key was used with another request; these fields differ: amount_details"
        assert error_response(reused).content["detail"] == words
        refused = sg.Refused(*CALL, code="IBAN DE89370400440532013000")
        assert error_response(refused).content["code"] == "***"
        named = sg.InvalidRequest("CreateSession.metadata.+447911123456", "isn't finite")
        assert "447911" not in str(error_response(named).content)

    @pytest.mark.parametrize(
        "error",
        [
            sg.errors.Quarantined("restored"),
            sg.errors.JournalMisconfigured("path", "7"),
            sg.InProgress("key", "host:1", 3.0),
        ],
    )
    def test_what_no_repeat_settles(self, error) -> None:
        """The text doesn't advise one."""
        assert "try again" not in error_response(error).content["detail"]

    def test_a_provider_that_asks_for_years(self) -> None:
        """The header has a day at most."""
        late = sg.Refused(*CALL, http_status=429, retry_after_seconds=1e12)
        assert error_response(late).headers["Retry-After"] == "86400"

    def test_a_table_of_your_own(self) -> None:
        """It is added to the table, and replaces its statuses."""
        own = {sg.OutcomeUnknown: 202, sg.Refused: 422}
        assert error_response(sg.OutcomeUnknown(*CALL), own).status == 202
        assert error_response(sg.Refused(*CALL, http_status=429), own).status == 422
        assert error_response(sg.NotSent(*CALL), own).status == STATUSES[sg.NotSent]

    def test_what_the_provider_said(self) -> None:
        """Its code, and when to try again."""
        found = error_response(sg.Refused(*CALL, code="limit", retry_after_seconds=2.4))
        assert (found.content["code"], found.headers["Retry-After"]) == ("limit", "2")

    async def test_on_aiohttp(self) -> None:
        """Other errors and answers pass."""

        async def fails(request: web.Request) -> web.Response:
            if request.query:
                raise sg.NotSent(*CALL, retry_after_seconds=3)
            raise web.HTTPNotFound

        app = web.Application(middlewares=[error_middleware({sg.NotSent: 429})])
        app.router.add_get("/", fails)
        async with TestClient(TestServer(app)) as client:
            answer = await client.get("/?a=1")
            assert (answer.status, answer.headers["Retry-After"]) == (429, "3")
            assert (await answer.json(content_type=None))["title"] == "NotSent"
            assert (await client.get("/")).status == 404


class TestAsgi:
    """The core without a framework."""

    async def test_with_webhooks(self, service, smartglocal_deliver) -> None:
        """One path is the webhooks', the rest is the inner application's."""
        app = with_webhooks(nothing, service)
        signed = smartglocal_deliver.sign(EVENT)
        pairs = [(name.lower().encode(), value.encode()) for name, value in signed.headers.items()]
        incoming: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        outgoing: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(app({"type": "lifespan"}, incoming.get, outgoing.put))
            await incoming.put({"type": "lifespan.startup"})
            assert await outgoing.get() == {"type": "lifespan.startup.complete"}
            post = {"method": "POST", "body": signed.body}
            assert await request(app, "/webhooks", headers=pairs, **post) == (200, b"accepted")
            assert (await request(app, "/webhooks", **post))[0] == 401
            assert (await request(app, "/webhooks"))[0] == 405
            assert (await request(app, "/"))[0] == 204
            await incoming.put({"type": "lifespan.shutdown"})
            assert await outgoing.get() == {"type": "lifespan.shutdown.complete"}

    async def test_a_start_that_fails(self, smartglocal_api, smartglocal_verifier) -> None:
        """The server hears why."""
        store = sg.webhooks.PostgresStore("postgres://bob:pw-marmot@127.0.0.1:1/x")
        app = with_webhooks(
            nothing, Service(smartglocal_api, sg.Webhooks(smartglocal_verifier, store=store))
        )
        sent: list[Any] = []

        async def receive() -> dict[str, str]:
            return {"type": "lifespan.startup"}

        async def send(message: Any) -> None:
            sent.append(message)

        await app({"type": "lifespan"}, receive, send)
        assert sent[0]["type"] == "lifespan.startup.failed"
        assert "WebhookStoreUnusable" in sent[0]["message"]
        assert "marmot" not in json.dumps(sent)

    async def test_other_scopes(self, service) -> None:
        """A web socket is refused."""
        with pytest.raises(sg.Misuse):
            await webhook_app(service.webhooks)({"type": "websocket"}, None, None)
