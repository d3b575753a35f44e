"""An event is handled once, and again only where handling failed; nothing piles up."""

import asyncio
import functools
import logging
from collections.abc import Callable

import pytest
from deliveries import TOKEN, body, payout, signed
from test_secrets import Hunt

import smartglocal_async as sg
from smartglocal_async.emulator import run as run_emulator

KEY = sg.PrivateKey.generate()
VERIFIER = sg.WebhookVerifier(KEY.public)
STATE = sg.ReceiptState
AFTER = sg.AnswerWhen.HANDLED
CONTENT = body()
EVENT = VERIFIER.read(signed(KEY, CONTENT), CONTENT)
# What a delivery in the same state is answered.
STATUS = {
    STATE.ACCEPTED: 200,
    STATE.HANDLED: 200,
    STATE.REPEATED: 200,
    STATE.RUNNING: 503,
    STATE.FAILED: 500,
    STATE.FULL: 503,
    STATE.STOPPED: 503,
}


async def deliver(webhooks: sg.Webhooks, session: str = "ps_1", kind: str = "payment_finished"):
    """Deliver a webhook; give what became of it."""
    content = body(kind, session, payments=[payout(metadata=TOKEN)])
    receipt = await webhooks.receive(signed(KEY, content), content)
    assert receipt.http_status == STATUS[receipt.state]
    assert receipt.event.session.id == session
    return receipt.state


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until it is so."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)


class Desk:
    """A handler that waits until it is let go, and fails as often as it is told to."""

    def __init__(self, webhooks: sg.Webhooks, *, failures: int = 0, is_open: bool = True) -> None:
        self.seen: list[str] = []
        self.running = self.most = 0
        self.failures = failures
        self.go = asyncio.Event()
        if is_open:
            self.go.set()
        webhooks.on(sg.WebhookEvent)(self.handle)

    async def handle(self, event: sg.WebhookEvent) -> None:
        """Note the event."""
        self.seen.append(event.session.id)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go.wait()
        finally:
            self.running -= 1
        if self.failures:
            self.failures -= 1
            raise LookupError("no such order")


class TestRouting:
    """Who gets what."""

    @pytest.mark.parametrize(
        ("kind", "called"),
        [
            ("ready_to_confirm", ["one", "two", "all"]),
            ("ready_to_capture", ["two", "all"]),
            ("payment_finished", ["all", "finished"]),
            ("action_required", ["all"]),
            ("something_new", ["all"]),
        ],
    )
    async def test_by_type(self, kind, called):
        """Several handlers of a type, several types of a handler, one for all; in their order."""
        webhooks, seen = sg.Webhooks(VERIFIER, answer=AFTER), []

        def handler(name: str):
            async def handle(event: sg.WebhookEvent) -> None:
                seen.append((name, event.type))

            return handle

        webhooks.on(sg.ReadyToConfirm)(handler("one"))
        webhooks.on(sg.ReadyToConfirm, sg.ReadyToCapture)(handler("two"))
        webhooks.on(sg.WebhookEvent)(handler("all"))
        webhooks.on(sg.PaymentFinished, sg.PaymentRefunded, sg.PaymentFinished)(handler("finished"))
        async with webhooks:
            assert await deliver(webhooks, kind=kind) is STATE.HANDLED
        assert seen == [(name, kind) for name in called]

    async def test_no_handler(self):
        """An event that nobody asked for is answered like any other."""
        async with sg.Webhooks(VERIFIER, answer=AFTER) as webhooks:
            assert await deliver(webhooks) is STATE.HANDLED

    async def test_what_may_be_a_handler(self):
        """Whatever is an `async def`: a function, a method, a partial, an object to call."""
        webhooks, seen = sg.Webhooks(VERIFIER, answer=AFTER), []

        class Callable_:  # noqa: N801
            async def __call__(self, event):
                seen.append(event.type)

        async def two(_, event):
            seen.append(event.type)

        assert webhooks.on(sg.WebhookEvent)(call := Callable_()) is call
        webhooks.on(sg.WebhookEvent)(functools.partial(two, 1))
        async with webhooks:
            await deliver(webhooks)
        assert seen == ["payment_finished"] * 2

    @pytest.mark.parametrize("handler", [lambda _: None, None, len])
    def test_what_may_not(self, handler):
        """A function that can't be awaited is refused where it is given."""
        with pytest.raises(sg.InvalidRequest, match="async def"):
            sg.Webhooks(VERIFIER).on(sg.WebhookEvent)(handler)

    @pytest.mark.parametrize("types", [(), ("payment_finished",), (sg.Session,), (None,)])
    def test_types_that_are_none(self, types):
        """A handler is for types of events."""
        with pytest.raises(sg.InvalidRequest, match="on: give one or more types"):
            sg.Webhooks(VERIFIER).on(*types)


class TestOnce:
    """What was handled isn't handled again."""

    @pytest.mark.parametrize(
        ("answer", "first"), [(sg.AnswerWhen.ACCEPTED, STATE.ACCEPTED), (AFTER, STATE.HANDLED)]
    )
    async def test_a_redelivery(self, answer, first):
        """It is answered with 200, and runs nothing; another status is another event."""
        webhooks = sg.Webhooks(VERIFIER, answer=answer)
        desk = Desk(webhooks)
        async with webhooks:
            assert await deliver(webhooks) is first
            await until(lambda: webhooks.pending == 0)
            assert [await deliver(webhooks) for _ in range(3)] == [STATE.REPEATED] * 3
            assert await deliver(webhooks, kind="payment_refunded") is first
        assert desk.seen == ["ps_1", "ps_1"]

    @pytest.mark.parametrize(
        ("answer", "first"), [(sg.AnswerWhen.ACCEPTED, STATE.ACCEPTED), (AFTER, STATE.HANDLED)]
    )
    async def test_a_redelivery_meanwhile(self, answer, first):
        """While the first runs, no second is begun; it may fail, so this one is to come again."""
        webhooks = sg.Webhooks(VERIFIER, answer=answer)
        desk = Desk(webhooks, is_open=False)
        async with webhooks, asyncio.TaskGroup() as group:
            task = group.create_task(deliver(webhooks))
            await until(lambda: desk.running == 1)
            assert await deliver(webhooks) is STATE.RUNNING
            desk.go.set()
            assert await task is first
            await until(lambda: webhooks.pending == 0)
            assert await deliver(webhooks) is STATE.REPEATED
        assert desk.seen == ["ps_1"]

    @pytest.mark.parametrize(
        ("answer", "first"), [(sg.AnswerWhen.ACCEPTED, STATE.ACCEPTED), (AFTER, STATE.FAILED)]
    )
    async def test_a_handler_that_fails(self, answer, first, caplog):
        """It is forgotten: a redelivery runs it again. The log names it, and holds no body."""
        webhooks = sg.Webhooks(VERIFIER, answer=answer)
        desk = Desk(webhooks, failures=1)
        async with webhooks:
            assert await deliver(webhooks) is first
            await until(lambda: webhooks.pending == 0)
            assert await deliver(webhooks) is not STATE.REPEATED
            await until(lambda: webhooks.pending == 0)
            assert await deliver(webhooks) is STATE.REPEATED
        assert desk.seen == ["ps_1", "ps_1"]
        (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
        assert record.getMessage().startswith("a webhook handler failed")
        assert record.webhook_handler == "Desk.handle"
        assert (record.webhook_type, record.webhook_session) == ("payment_finished", "ps_1")
        assert "no such order" in caplog.text
        assert TOKEN not in caplog.text + repr(vars(record))

    @pytest.mark.parametrize(
        ("answer", "first"), [(sg.AnswerWhen.ACCEPTED, STATE.ACCEPTED), (AFTER, STATE.FAILED)]
    )
    async def test_something_it_awaits_is_cancelled(self, answer, first, caplog):
        """It failed like any other: logged, forgotten, and the next handler runs."""
        webhooks = sg.Webhooks(VERIFIER, answer=answer)
        shared: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        shared.cancel()

        @webhooks.on(sg.WebhookEvent)
        async def lost(_: sg.WebhookEvent) -> None:
            await shared

        second = Desk(webhooks)
        async with webhooks:
            for _ in range(2):
                assert await deliver(webhooks) is first
                await until(lambda: webhooks.pending == 0)
        assert second.seen == ["ps_1", "ps_1"]
        assert [each.getMessage() for each in caplog.records if each.levelno > logging.INFO] == [
            "a webhook handler failed: payment_finished of session ps_1"
        ] * 2
        assert "lost" in caplog.records[-1].webhook_handler

    async def test_a_handler_that_hangs(self, caplog):
        """It failed when its time is over, and makes room for the next event."""
        webhooks = sg.Webhooks(VERIFIER, answer=AFTER, concurrency=1, handler_seconds=0.01)
        first, second = Desk(webhooks, is_open=False), Desk(webhooks)
        async with webhooks:
            assert await deliver(webhooks) is STATE.FAILED
            first.go.set()
            assert await deliver(webhooks) is STATE.HANDLED
        assert (first.running, second.seen) == (0, ["ps_1", "ps_1"])
        assert "a webhook handler failed" in caplog.text
        assert "TimeoutError" in caplog.text

    async def test_a_task_that_is_cancelled_runs_no_more(self):
        """What the deadline of `stop` cancels is no failure: the next handler isn't begun."""
        webhooks = sg.Webhooks(VERIFIER, drain_seconds=0.01)
        first, second = Desk(webhooks, is_open=False), Desk(webhooks)
        await webhooks.start()
        await deliver(webhooks)
        await until(lambda: first.running == 1)
        assert await webhooks.stop() == 1
        assert second.seen == []

    async def test_the_others_run_all_the_same(self):
        """One handler that fails doesn't keep the event from the next."""
        webhooks = sg.Webhooks(VERIFIER, answer=AFTER)
        Desk(webhooks, failures=1)
        second = Desk(webhooks)
        async with webhooks:
            assert await deliver(webhooks) is STATE.FAILED
            assert second.seen == ["ps_1"]
            assert await deliver(webhooks) is STATE.HANDLED
        assert second.seen == ["ps_1", "ps_1"]

    async def test_a_request_that_is_cancelled(self):
        """Its sender hung up; the event is handled all the same, once."""
        webhooks = sg.Webhooks(VERIFIER, answer=AFTER)
        desk = Desk(webhooks, is_open=False)
        async with webhooks:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(deliver(webhooks))
                await until(lambda: desk.running == 1)
                task.cancel()
            desk.go.set()
            await until(lambda: webhooks.pending == 0)
            assert await deliver(webhooks) is STATE.REPEATED
        assert desk.seen == ["ps_1"]

    @pytest.mark.parametrize("failure", [ConnectionError, asyncio.CancelledError])
    @pytest.mark.parametrize("method", ["claim", "keep", "forget"])
    async def test_a_store_that_fails(self, method, failure, caplog):
        """Without a claim nothing runs, and the provider delivers again."""

        class Lame(sg.MemoryStore):
            pass

        async def fail(*_):
            raise failure("no store there")

        setattr(Lame, method, fail)
        webhooks = sg.Webhooks(VERIFIER, store=Lame(), answer=AFTER)
        desk = Desk(webhooks, failures=method == "forget")
        async with webhooks:
            state = await deliver(webhooks)
        assert state is (STATE.HANDLED if method == "keep" else STATE.FAILED)
        assert desk.seen == ([] if method == "claim" else ["ps_1"])
        assert "no store there" in caplog.text
        assert TOKEN not in caplog.text


class TestRoom:
    """Nothing piles up."""

    async def test_backlog(self):
        """When it is full, the provider is asked to come again; room comes back."""
        webhooks = sg.Webhooks(VERIFIER, backlog=2)
        desk = Desk(webhooks, is_open=False)
        async with webhooks:
            states = [await deliver(webhooks, f"ps_{number}") for number in range(4)]
            assert states == [STATE.ACCEPTED, STATE.ACCEPTED, STATE.FULL, STATE.FULL]
            assert webhooks.pending == 2
            desk.go.set()
            await until(lambda: webhooks.pending == 0)
            assert await deliver(webhooks, "ps_2") is STATE.ACCEPTED
        assert desk.seen == ["ps_0", "ps_1", "ps_2"]

    async def test_concurrency(self):
        """No more run at once than it was said."""
        webhooks = sg.Webhooks(VERIFIER, concurrency=3)
        desk = Desk(webhooks, is_open=False)
        async with webhooks:
            for number in range(10):
                assert await deliver(webhooks, f"ps_{number}") is STATE.ACCEPTED
            await until(lambda: desk.running == 3)
            desk.go.set()
        assert (len(desk.seen), desk.most) == (10, 3)

    async def test_memory_store_forgets_the_oldest(self):
        """Its size is bound; what runs is never forgotten."""
        store, claim = sg.MemoryStore(most=2), sg.Claim
        assert await store.claim("running") is claim.NEW
        for identity in "abc":
            assert await store.claim(identity) is claim.NEW
            await store.keep(identity)
        said = [await store.claim(identity) for identity in ("running", "c", "b", "a")]
        assert said == [claim.RUNNING, claim.HANDLED, claim.HANDLED, claim.NEW]
        await store.forget("c")
        assert await store.claim("c") is claim.NEW

    @pytest.mark.parametrize(
        "options",
        [
            {"backlog": 0},
            {"concurrency": 1.5},
            {"drain_seconds": -1},
            {"handler_seconds": 0},
            {"answer": "after"},
            {"verifier": KEY.public},
        ],
    )
    def test_options_that_are_none(self, options):
        """Each is named."""
        with pytest.raises(sg.InvalidRequest) as caught:
            sg.Webhooks(**{"verifier": VERIFIER, **options})
        assert caught.value.field == next(iter(options))


class TestLifetime:
    """It lives as long as the application."""

    async def test_drain(self):
        """Leaving takes no more, and waits for what runs."""
        webhooks = sg.Webhooks(VERIFIER)
        desk = Desk(webhooks, is_open=False)
        await webhooks.start()
        assert await deliver(webhooks) is STATE.ACCEPTED
        await until(lambda: desk.running == 1)
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(webhooks.stop())
            await asyncio.sleep(0)
            assert await deliver(webhooks, "ps_2") is STATE.STOPPED
            desk.go.set()
            assert await stopping == 0
        assert (desk.seen, webhooks.pending) == (["ps_1"], 0)

    @pytest.mark.parametrize("answer", [sg.AnswerWhen.ACCEPTED, AFTER])
    async def test_deadline(self, answer, caplog):
        """What doesn't end in time is cancelled, forgotten and counted."""
        store = sg.MemoryStore()
        webhooks = sg.Webhooks(VERIFIER, store=store, answer=answer, drain_seconds=0.01)
        desk = Desk(webhooks, is_open=False)
        await webhooks.start()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(deliver(webhooks))
            await until(lambda: desk.running == 1)
            assert await webhooks.stop() == 1
            state = await task
        assert state is (STATE.STOPPED if answer is AFTER else STATE.ACCEPTED)
        assert desk.running == 0
        assert "webhook handlers were cancelled" in caplog.text
        desk.go.set()
        async with webhooks:
            assert await deliver(webhooks) in {STATE.ACCEPTED, STATE.HANDLED}
        assert desk.seen == ["ps_1", "ps_1"]

    async def test_a_stop_that_is_cancelled(self):
        """Nothing is left running."""
        webhooks = sg.Webhooks(VERIFIER)
        desk = Desk(webhooks, is_open=False)
        await webhooks.start()
        await deliver(webhooks)
        await until(lambda: desk.running == 1)
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(webhooks.stop())
            await asyncio.sleep(0)
            stopping.cancel()
        await until(lambda: desk.running == 0)
        assert webhooks.pending == 0

    async def test_not_running(self):
        """A forgotten `async with` is told, once the delivery was verified."""
        webhooks = sg.Webhooks(VERIFIER)
        content = body(extra=TOKEN)
        hunt = Hunt({TOKEN, KEY.sign(content)})
        for headers, words in (({}, "refused"), (signed(KEY, content), "aren't running")):
            with pytest.raises(sg.SmartGlocalError, match=words) as caught:
                await webhooks.receive(headers, content)
            hunt.look_at_error(caught.value)
        assert hunt.found == []
        assert await webhooks.stop() == 0

    async def test_twice(self):
        """It runs once at a time, and again after it ended."""
        async with sg.Webhooks(VERIFIER) as webhooks:
            with pytest.raises(sg.Misuse, match="running already"):
                await webhooks.start()
        async with webhooks:
            assert await deliver(webhooks) is STATE.ACCEPTED

    def test_one_loop_after_another(self):
        """It is bound to no event loop while it isn't running."""
        webhooks = sg.Webhooks(VERIFIER, concurrency=1)
        desk = Desk(webhooks)

        async def live(session: str) -> sg.ReceiptState:
            async with webhooks:
                return await deliver(webhooks, session)

        assert [asyncio.run(live(each)) for each in ("ps_1", "ps_2")] == [STATE.ACCEPTED] * 2
        assert desk.seen == ["ps_1", "ps_2"]

    def test_two_loops_at_once(self):
        """Another loop is told so before anything is claimed; the first goes on."""
        told = []

        class Calls:
            def notice(self, event: sg.WebhookEvent) -> None:
                told.append(event.session.id)

        class Client:
            session = Calls()

        store = sg.MemoryStore()
        webhooks = sg.Webhooks(VERIFIER, store=store, api=Client())
        desk = Desk(webhooks)

        async def elsewhere() -> None:
            for attempt in (deliver(webhooks), webhooks.accept(EVENT), webhooks.stop()):
                with pytest.raises(sg.Misuse, match="another event loop"):
                    await attempt
            with pytest.raises(sg.Misuse, match="running already"):
                await webhooks.start()

        async def home() -> None:
            async with webhooks:
                await asyncio.to_thread(asyncio.run, elsewhere())
                assert told == desk.seen == []
                assert await deliver(webhooks) is STATE.ACCEPTED

        asyncio.run(home())
        assert told == desk.seen == ["ps_1"]

    def test_a_loop_that_is_gone(self):
        """Webhooks that were never stopped can be started in the next loop."""
        webhooks = sg.Webhooks(VERIFIER)

        async def live() -> sg.ReceiptState:
            await webhooks.start()
            return await deliver(webhooks)

        states = [asyncio.run(live()) for _ in range(2)]
        assert states[0] is STATE.ACCEPTED
        assert states[1] in {STATE.ACCEPTED, STATE.REPEATED}


class TestClient:
    """A client that waits is told."""

    async def test_every_event_is_told(self):
        """Repeats, too: whoever waits looks once more, and that is all."""
        told = []

        class Calls:
            def notice(self, event: sg.WebhookEvent) -> None:
                told.append(event.session.id)

        class Client:
            session = Calls()

        async with sg.Webhooks(VERIFIER, api=Client(), backlog=1) as webhooks:
            Desk(webhooks, is_open=True)
            for session in ("ps_1", "ps_1", "ps_2"):
                await deliver(webhooks, session)
        assert told == ["ps_1", "ps_1", "ps_2"]

    async def test_a_waiter_wakes(self, key):
        """`session.wait` asks again as soon as the webhook came, long before its pause is over."""
        asked, sleeping = asyncio.Queue(), asyncio.Event()

        async def sleep(_: float) -> None:
            sleeping.set()
            await asyncio.Event().wait()

        def ended(session: sg.Session) -> bool:
            asked.put_nowait(session.id)
            return asked.qsize() == 2

        async with (
            run_emulator(public_key=key.public) as provider,
            sg.SmartGlocal(
                provider.project,
                key,
                provider.url,
                settings=sg.Settings(timing=sg.Timing(sleep=sleep)),
            ) as api,
            sg.Webhooks(VERIFIER, api=api) as webhooks,
            asyncio.timeout(10),
            asyncio.TaskGroup() as group,
        ):
            session = await api.session.create(sg.CreateSession())
            reference = sg.SessionRef(session.id)
            waiting = group.create_task(api.session.wait(reference, until=ended))
            await sleeping.wait()
            assert asked.qsize() == 1
            assert await deliver(webhooks, session.id) is STATE.ACCEPTED
            assert (await waiting).id == session.id
