"""The test kit: its clock, faults, requests and deliveries, over the fixtures of the plugin."""

from datetime import UTC, datetime, timedelta

import pytest
from aiohttp.test_utils import TestServer
from paying import order

import smartglocal_async as sg
from smartglocal_async.emulator import Fault, FaultKind, run_in_thread
from smartglocal_async.integrations.aiohttp_web import webhook_lifetime, webhook_routes
from smartglocal_async.testing import Clock

DONE = sg.PaymentFinished(
    session=sg.Session(
        id="ps_1",
        status=sg.SessionStatus.ACCEPTED,
        payout_list=(sg.Payout(id="po_1", status="succeeded"),),
        metadata={"order": 1},
    )
)


class TestClock:
    """A clock that runs, until it is held."""

    def test_it_runs(self) -> None:
        """It begins at the real time, and goes on when it was moved."""
        clock = Clock()
        assert abs(clock.now() - datetime.now(UTC)) < timedelta(minutes=1)  # noqa: TID251
        before = clock.monotonic()
        clock.advance(60)
        assert clock.monotonic() >= before + 60

    async def test_held(self) -> None:
        """Only the test moves it; a sleep returns at once."""
        clock = Clock()
        with clock.held():
            began = clock.now()
            await clock.sleep(3_600)
            clock.advance(timedelta(hours=1))
            clock.move_to(began + timedelta(hours=5))
            assert clock.now() == began + timedelta(hours=5)
            assert clock.waits == [3_600]
        assert clock.now() >= began + timedelta(hours=5)

    def test_it_never_goes_back(self) -> None:
        """Neither by seconds nor to a time, and it is held once."""
        clock = Clock()
        with clock.held():
            for wrong in (
                lambda: clock.advance(-1),
                lambda: clock.move_to(clock.now() - timedelta(seconds=1)),
                lambda: clock.move_to(datetime(2030, 1, 1)),  # noqa: DTZ001
                lambda: clock.held().__enter__(),
            ):
                with pytest.raises(sg.InvalidRequest):
                    wrong()

    async def test_the_client_and_the_emulator_use_it(
        self, smartglocal_api, smartglocal_emulator, smartglocal_clock
    ) -> None:
        """A retry waits no real time, and what is due at the provider happens when it is moved."""
        fault = Fault(FaultKind.BEFORE, nth=(1, 2))
        with smartglocal_emulator.inject(fault):
            session = await smartglocal_api.session.create(sg.CreateSession(), key="order-1")
        assert len(smartglocal_clock.waits) == 2
        assert session.created_at == smartglocal_clock.now()

    async def test_a_payout_that_is_never_confirmed(
        self, smartglocal_api, smartglocal_clock
    ) -> None:
        """After the documented 240 minutes the provider ends it."""
        wanted = order()
        started = await smartglocal_api.session.init_payout(
            sg.InitPayout(
                payment_method=wanted.payment_method,
                amount_details=wanted.amount_details,
                participant_details=wanted.participant_details,
            )
        )
        smartglocal_clock.advance(timedelta(minutes=241))
        ended = await smartglocal_api.session.status(sg.SessionRef(started.id))
        assert ended.payout_list[0].status == "canceled"


class TestFaults:
    """Faults for a block."""

    async def test_they_end_with_the_block(self, smartglocal_api, smartglocal_emulator) -> None:
        """Before and after it, nothing fails."""
        with (
            smartglocal_emulator.inject(Fault(FaultKind.BEFORE, rate=1)),
            pytest.raises(sg.OutcomeUnknown),
        ):
            await smartglocal_api.session.create(sg.CreateSession(), key="a", attempts=1)
        await smartglocal_api.session.create(sg.CreateSession(), key="b", attempts=1)
        assert smartglocal_emulator.report().faults == {"before": 1}

    async def test_without_an_aim(self, smartglocal_api, smartglocal_emulator) -> None:
        """A fault without ``rate`` and ``nth`` applies to every attempt in the block."""
        with (
            smartglocal_emulator.inject(Fault(FaultKind.BEFORE)),
            pytest.raises(sg.OutcomeUnknown),
        ):
            await smartglocal_api.session.create(sg.CreateSession(), key="a", attempts=2)
        assert smartglocal_emulator.report().faults == {"before": 2}

    async def test_an_old_answer(self, smartglocal_api, smartglocal_emulator) -> None:
        """The emulator of the fixture keeps what `stale` shows."""
        await smartglocal_api.session.create(sg.CreateSession(), key="a")
        [session] = smartglocal_emulator.session_ids
        with smartglocal_emulator.inject(Fault(FaultKind.STALE, rate=1)):
            shown = await smartglocal_api.session.status(sg.SessionRef(session))
        assert shown.id == session

    def test_an_old_answer_needs_a_history(self) -> None:
        """Another emulator must be asked to keep it."""
        with (
            run_in_thread() as provider,
            pytest.raises(sg.InvalidRequest, match="keeps_history"),
            provider.inject(Fault(FaultKind.STALE, rate=1)),
        ):
            pass


async def test_requests(smartglocal_api, smartglocal_requests) -> None:
    """What the emulator received since the test began."""
    await smartglocal_api.session.create(sg.CreateSession(), key="order-1")
    await smartglocal_api.wallet.balance()
    seen = [(one.operation, one.http_status) for one in smartglocal_requests]
    assert seen == [("session/create", 200), ("wallet/balance", 200)]
    assert smartglocal_requests[0].key == "order-1"


async def test_payouts(smartglocal_payouts, smartglocal_emulator, smartglocal_clock) -> None:
    """With a journal on disk, and without a real wait."""
    async with smartglocal_payouts as payouts:
        outcomes = [await payouts.pay(order("salary-1")) for _ in range(2)]
    assert [one.state for one in outcomes] == [sg.PayoutState.SUCCEEDED] * 2
    assert outcomes[1].replayed
    assert smartglocal_emulator.report().moved == 1
    assert smartglocal_clock.monotonic() >= 0


class TestDeliveries:
    """Events that are signed as the provider does."""

    async def test_to_handlers(self, smartglocal_deliver, smartglocal_verifier) -> None:
        """The handler receives an equal event, once."""
        handled: list[sg.WebhookEvent] = []
        webhooks = sg.Webhooks(smartglocal_verifier, answer=sg.webhooks.AnswerWhen.HANDLED)

        @webhooks.on(sg.PaymentFinished)
        async def handle(event: sg.PaymentFinished) -> None:
            handled.append(event)

        async with webhooks:
            assert [await smartglocal_deliver(DONE, to=webhooks) for _ in range(2)] == [200, 200]
            assert await smartglocal_deliver(b"[]", to=webhooks) == 400
        assert handled == [DONE]

    async def test_to_a_service(self, smartglocal_deliver, smartglocal_verifier) -> None:
        """Over a socket."""
        web = pytest.importorskip("aiohttp.web")
        webhooks, app = sg.Webhooks(smartglocal_verifier), web.Application()
        app.cleanup_ctx.append(webhook_lifetime(webhooks))
        app.add_routes(webhook_routes(webhooks))
        async with TestServer(app) as server:
            url = str(server.make_url("/webhooks"))
            assert await smartglocal_deliver(DONE, to=url) == 200

    @pytest.mark.parametrize(
        "kind",
        [
            sg.ReadyToConfirm,
            sg.ReadyToCapture,
            sg.ActionRequired,
            sg.PaymentFinished,
            sg.PaymentRefunded,
        ],
    )
    def test_each_type(self, smartglocal_deliver, smartglocal_verifier, kind) -> None:
        """The type need not be given, and the signed body has it."""
        event = kind(session=DONE.session)
        signed = smartglocal_deliver.sign(event)
        assert smartglocal_verifier.verify(signed.headers, signed.body) == event
        assert event.type == kind.wire_type

    async def test_of_the_emulator(self, smartglocal_emulator, smartglocal_verifier) -> None:
        """The emulator signs with the same key."""
        assert smartglocal_emulator.webhook_key.pem() == smartglocal_verifier._keys[0].pem()


async def test_the_environment(smartglocal_environment, smartglocal_emulator) -> None:
    """A program that reads its settings there reaches the emulator."""
    async with sg.SmartGlocal.from_env() as api:
        await api.session.create(sg.CreateSession(), key="order-1")
    sg.WebhookVerifier.from_env()
    assert smartglocal_environment["SMARTGLOCAL_SERVER"] == smartglocal_emulator.url
    assert smartglocal_emulator.order("order-1").made == 1
