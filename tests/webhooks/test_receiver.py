"""An event is handled once, again only if handling failed, and the backlog is bounded."""

import asyncio
import functools
import logging
from collections.abc import Callable

import pytest
from deliveries import TOKEN, body, payout, signed
from secret_search import SecretSearch

import smartglocal_async as sg
from smartglocal_async.emulator import run as run_emulator

pytestmark = pytest.mark.both_loops

KEY = sg.PrivateKey.generate()
VERIFIER = sg.WebhookVerifier(KEY.public)
STATE = sg.webhooks.ReceiptState
AFTER = sg.webhooks.AnswerWhen.HANDLED
CONTENT = body()
EVENT = VERIFIER.verify(signed(KEY, CONTENT), CONTENT)
# The answer to a delivery in the same state.
STATUS = {
    STATE.ACCEPTED: 200,
    STATE.HANDLED: 200,
    STATE.REPEATED: 200,
    STATE.RUNNING: 503,
    STATE.FAILED: 500,
    STATE.UNAVAILABLE: 503,
    STATE.FULL: 503,
    STATE.STOPPED: 503,
}


async def deliver(webhooks: sg.Webhooks, session: str = "ps_1", kind: str = "payment_finished"):
    """Deliver a webhook; return the result."""
    content = body(kind, session, payments=[payout(metadata=TOKEN)])
    receipt = await webhooks.receive(signed(KEY, content), content)
    assert receipt.http_status == STATUS[receipt.state]
    assert receipt.event.session.id == session
    return receipt.state


async def until(condition: Callable[[], bool]) -> None:
    """Run the event loop until a condition holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)


class ControlledHandler:
    """A handler that waits until it is released, and fails a set number of times."""

    def __init__(self, webhooks: sg.Webhooks, *, failures: int = 0, is_open: bool = True) -> None:
        self.seen: list[str] = []
        self.running = self.most = 0
        self.failures = failures
        self.go = asyncio.Event()
        if is_open:
            self.go.set()
        webhooks.on(sg.WebhookEvent)(self.handle)

    async def handle(self, event: sg.WebhookEvent) -> None:
        """Record the event."""
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
    """Which handlers get an event."""

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
        """Several handlers per type, several types per handler, and handlers for all; in order."""
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
        """An event without a handler gets the same answer."""
        async with sg.Webhooks(VERIFIER, answer=AFTER) as webhooks:
            assert await deliver(webhooks) is STATE.HANDLED

    async def test_what_may_be_a_handler(self):
        """Any async callable: a function, a method, a partial, an object."""
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
        """A function that isn't async is refused when it is registered."""
        with pytest.raises(sg.InvalidRequest, match="async def"):
            sg.Webhooks(VERIFIER).on(sg.WebhookEvent)(handler)

    @pytest.mark.parametrize("types", [(), ("payment_finished",), (sg.Session,), (None,)])
    def test_invalid_types(self, types):
        """Only types of events are accepted."""
        with pytest.raises(sg.InvalidRequest, match="on: give one or more types"):
            sg.Webhooks(VERIFIER).on(*types)


class TestOnce:
    """A handled event isn't handled again."""

    @pytest.mark.parametrize(
        ("answer", "first"),
        [(sg.webhooks.AnswerWhen.ACCEPTED, STATE.ACCEPTED), (AFTER, STATE.HANDLED)],
    )
    async def test_a_redelivery(self, answer, first):
        """A redelivery gets 200 and runs nothing; another status is another event."""
        webhooks = sg.Webhooks(VERIFIER, answer=answer)
        desk = ControlledHandler(webhooks)
        async with webhooks:
            assert await deliver(webhooks) is first
            await until(lambda: webhooks.pending == 0)
            assert [await deliver(webhooks) for _ in range(3)] == [STATE.REPEATED] * 3
            assert await deliver(webhooks, kind="payment_refunded") is first
        assert desk.seen == ["ps_1", "ps_1"]

    @pytest.mark.parametrize(
        ("answer", "first"),
        [(sg.webhooks.AnswerWhen.ACCEPTED, STATE.ACCEPTED), (AFTER, STATE.HANDLED)],
    )
    async def test_a_redelivery_meanwhile(self, answer, first):
        """While the first one runs, the second one isn't started and must be redelivered."""
        webhooks = sg.Webhooks(VERIFIER, answer=answer)
        desk = ControlledHandler(webhooks, is_open=False)
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
        ("answer", "first"),
        [(sg.webhooks.AnswerWhen.ACCEPTED, STATE.ACCEPTED), (AFTER, STATE.FAILED)],
    )
    async def test_a_handler_that_fails(self, answer, first, caplog):
        """The event is dropped, so a redelivery runs it again. The log names it and has no body."""
        webhooks = sg.Webhooks(VERIFIER, answer=answer)
        desk = ControlledHandler(webhooks, failures=1)
        async with webhooks:
            assert await deliver(webhooks) is first
            await until(lambda: webhooks.pending == 0)
            assert await deliver(webhooks) is not STATE.REPEATED
            await until(lambda: webhooks.pending == 0)
            assert await deliver(webhooks) is STATE.REPEATED
        assert desk.seen == ["ps_1", "ps_1"]
        (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
        assert record.getMessage().startswith("a webhook handler failed")
        assert record.sg_handler == "ControlledHandler.handle"
        assert (record.sg_type, record.sg_session_id) == ("payment_finished", "ps_1")
        assert "no such order" in caplog.text
        assert TOKEN not in caplog.text + repr(vars(record))

    @pytest.mark.parametrize(
        ("answer", "first"),
        [(sg.webhooks.AnswerWhen.ACCEPTED, STATE.ACCEPTED), (AFTER, STATE.FAILED)],
    )
    async def test_something_it_awaits_is_cancelled(self, answer, first, caplog):
        """It failed like any other: logged, dropped, and the next handler runs."""
        webhooks = sg.Webhooks(VERIFIER, answer=answer)
        shared: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        shared.cancel()

        @webhooks.on(sg.WebhookEvent)
        async def lost(_: sg.WebhookEvent) -> None:
            await shared

        second = ControlledHandler(webhooks)
        async with webhooks:
            for _ in range(2):
                assert await deliver(webhooks) is first
                await until(lambda: webhooks.pending == 0)
        assert second.seen == ["ps_1", "ps_1"]
        assert [each.msg for each in caplog.records if each.levelno > logging.INFO] == [
            "a webhook handler failed: %s of session %s in %s"
        ] * 2
        assert "lost" in caplog.records[-1].sg_handler

    async def test_a_handler_that_hangs(self, caplog):
        """After its time limit it failed, and frees its place."""
        webhooks = sg.Webhooks(VERIFIER, answer=AFTER, concurrency=1, handler_seconds=0.01)
        first, second = ControlledHandler(webhooks, is_open=False), ControlledHandler(webhooks)
        async with webhooks:
            assert await deliver(webhooks) is STATE.FAILED
            first.go.set()
            assert await deliver(webhooks) is STATE.HANDLED
        assert (first.running, second.seen) == (0, ["ps_1", "ps_1"])
        assert "a webhook handler failed" in caplog.text
        assert "TimeoutError" in caplog.text

    async def test_a_task_that_is_cancelled_runs_no_more(self):
        """A handler that `stop` cancels didn't fail: the next handler isn't started."""
        webhooks = sg.Webhooks(VERIFIER, drain_seconds=0.01)
        first, second = ControlledHandler(webhooks, is_open=False), ControlledHandler(webhooks)
        await webhooks.start()
        await deliver(webhooks)
        await until(lambda: first.running == 1)
        assert await webhooks.stop() == 1
        assert second.seen == []

    async def test_the_others_run_all_the_same(self):
        """A handler that fails doesn't stop the next one."""
        webhooks = sg.Webhooks(VERIFIER, answer=AFTER)
        ControlledHandler(webhooks, failures=1)
        second = ControlledHandler(webhooks)
        async with webhooks:
            assert await deliver(webhooks) is STATE.FAILED
            assert second.seen == ["ps_1"]
            assert await deliver(webhooks) is STATE.HANDLED
        assert second.seen == ["ps_1", "ps_1"]

    async def test_a_request_that_is_cancelled(self):
        """The sender disconnected; the event is still handled, once."""
        webhooks = sg.Webhooks(VERIFIER, answer=AFTER)
        desk = ControlledHandler(webhooks, is_open=False)
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
        """Without a claim no handler runs, and the provider redelivers."""

        class FailingStore(sg.webhooks.MemoryStore):
            pass

        async def fail(*_):
            raise failure("no store there")

        setattr(FailingStore, method, fail)
        webhooks = sg.Webhooks(VERIFIER, store=FailingStore(), answer=AFTER)
        desk = ControlledHandler(webhooks, failures=method == "forget")
        async with webhooks:
            state = await deliver(webhooks)
        results = {"claim": STATE.UNAVAILABLE, "keep": STATE.HANDLED, "forget": STATE.FAILED}
        assert state is results[method]
        assert desk.seen == ([] if method == "claim" else ["ps_1"])
        assert "no store there" in caplog.text
        assert TOKEN not in caplog.text

    @pytest.mark.slow
    @pytest.mark.parametrize("method", ["keep", "forget"])
    async def test_a_store_that_fails_once(self, method):
        """The result is recorded later, so a redelivery gets it, too."""

        class FailingStore(sg.webhooks.MemoryStore):
            failures = 1

        async def fail_once(self, identity: str, token: str) -> None:
            if self.failures:
                self.failures -= 1
                raise ConnectionError("no store there")
            await getattr(sg.webhooks.MemoryStore, method)(self, identity, token)

        setattr(FailingStore, method, fail_once)
        webhooks = sg.Webhooks(VERIFIER, store=FailingStore(), answer=AFTER)
        desk = ControlledHandler(webhooks, failures=method == "forget")
        async with webhooks:
            assert await deliver(webhooks) is (STATE.HANDLED if method == "keep" else STATE.FAILED)
            assert await deliver(webhooks) is STATE.RUNNING
            await until(lambda: webhooks.pending == 0)
            assert await deliver(webhooks) is not STATE.RUNNING
        assert desk.seen == (["ps_1"] if method == "keep" else ["ps_1", "ps_1"])

    @pytest.mark.parametrize(
        ("answer", "first", "seen"),
        [
            (sg.webhooks.AnswerWhen.ACCEPTED, STATE.ACCEPTED, ["ps_0", "ps_1"]),
            (AFTER, STATE.UNAVAILABLE, ["ps_0"]),
        ],
    )
    async def test_a_claim_that_can_not_be_renewed(self, answer, first, seen):
        """After a wait for a place it isn't run, unless the provider has its 200 already."""

        class FailingStore(sg.webhooks.MemoryStore):
            claims = 0

            async def claim(self, identity: str, token: str) -> sg.webhooks.Claim:
                self.claims += 1
                if self.claims > 2:
                    raise ConnectionError("no store there")
                return await super().claim(identity, token)

        webhooks = sg.Webhooks(VERIFIER, store=FailingStore(), answer=answer, concurrency=1)
        desk = ControlledHandler(webhooks, is_open=False)
        async with webhooks, asyncio.TaskGroup() as group:
            group.create_task(deliver(webhooks, "ps_0"))
            await until(lambda: desk.running == 1)
            waiting = group.create_task(deliver(webhooks))
            await until(lambda: webhooks.pending == 2)
            desk.go.set()
            assert await waiting is first
        assert desk.seen == seen


class TestRoom:
    """The backlog is bounded."""

    async def test_backlog(self):
        """When it is full, the provider is asked to redeliver until there is room."""
        webhooks = sg.Webhooks(VERIFIER, backlog=2)
        desk = ControlledHandler(webhooks, is_open=False)
        async with webhooks:
            states = [await deliver(webhooks, f"ps_{number}") for number in range(4)]
            assert states == [STATE.ACCEPTED, STATE.ACCEPTED, STATE.FULL, STATE.FULL]
            assert webhooks.pending == 2
            desk.go.set()
            await until(lambda: webhooks.pending == 0)
            assert await deliver(webhooks, "ps_2") is STATE.ACCEPTED
        assert desk.seen == ["ps_0", "ps_1", "ps_2"]

    async def test_concurrency(self):
        """At most `concurrency` handlers run at once."""
        webhooks = sg.Webhooks(VERIFIER, concurrency=3)
        desk = ControlledHandler(webhooks, is_open=False)
        async with webhooks:
            for number in range(10):
                assert await deliver(webhooks, f"ps_{number}") is STATE.ACCEPTED
            await until(lambda: desk.running == 3)
            desk.go.set()
        assert (len(desk.seen), desk.most) == (10, 3)

    async def test_memory_store_forgets_the_oldest(self):
        """Its size is bounded; running events are never dropped."""
        store, claim = sg.webhooks.MemoryStore(max_events=2), sg.webhooks.Claim
        assert await store.claim("running", "1") is claim.NEW
        for identity in "abc":
            assert await store.claim(identity, "1") is claim.NEW
            await store.keep(identity, "1")
        found = [await store.claim(identity, "2") for identity in ("running", "c", "b", "a")]
        assert found == [claim.RUNNING, claim.HANDLED, claim.HANDLED, claim.NEW]

    async def test_memory_store_checks_the_token(self):
        """A claim is released and finished only with its own token, and renewed with it."""
        store, claim = sg.webhooks.MemoryStore(), sg.webhooks.Claim
        assert [await store.claim("a", "1") for _ in range(2)] == [claim.NEW] * 2
        await store.forget("a", "2")
        await store.keep("a", "2")
        assert await store.claim("a", "2") is claim.RUNNING
        await store.forget("a", "1")
        assert await store.claim("a", "2") is claim.NEW
        await store.keep("a", "2")
        await store.forget("a", "2")
        assert await store.claim("a", "2") is claim.HANDLED

    @pytest.mark.parametrize(
        "options",
        [
            {"backlog": 0},
            {"concurrency": 1.5},
            {"drain_seconds": -1},
            {"handler_seconds": 0},
            {"store_seconds": 0},
            {"answer": "after"},
            {"verifier": KEY.public},
        ],
    )
    def test_invalid_options(self, options):
        """Invalid options are refused by name."""
        with pytest.raises(sg.InvalidRequest) as caught:
            sg.Webhooks(**{"verifier": VERIFIER, **options})
        assert caught.value.field == next(iter(options))


class TestLifetime:
    """It runs as long as the application."""

    async def test_drain(self):
        """At the end it accepts no more, and waits for running handlers."""
        webhooks = sg.Webhooks(VERIFIER)
        desk = ControlledHandler(webhooks, is_open=False)
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

    @pytest.mark.parametrize("answer", [sg.webhooks.AnswerWhen.ACCEPTED, AFTER])
    async def test_deadline(self, answer, caplog):
        """Handlers that don't end in time are cancelled, dropped and counted."""
        store = sg.webhooks.MemoryStore()
        webhooks = sg.Webhooks(VERIFIER, store=store, answer=answer, drain_seconds=0.01)
        desk = ControlledHandler(webhooks, is_open=False)
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
        desk = ControlledHandler(webhooks, is_open=False)
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
        """A forgotten `async with` is an error, once the delivery was verified."""
        webhooks = sg.Webhooks(VERIFIER)
        content = body(extra=TOKEN)
        leak_search = SecretSearch({TOKEN, KEY.sign(content)})
        for headers, words in (({}, "refused"), (signed(KEY, content), "aren't running")):
            with pytest.raises(sg.SmartGlocalError, match=words) as caught:
                await webhooks.receive(headers, content)
            leak_search.search_error(caught.value)
        assert leak_search.found == []
        assert await webhooks.stop() == 0

    async def test_twice(self):
        """It can run only once at a time, and again after it ended."""
        async with sg.Webhooks(VERIFIER) as webhooks:
            with pytest.raises(sg.Misuse, match="running already"):
                await webhooks.start()
        async with webhooks:
            assert await deliver(webhooks) is STATE.ACCEPTED

    def test_one_loop_after_another(self):
        """It belongs to no event loop while it isn't running."""
        webhooks = sg.Webhooks(VERIFIER, concurrency=1)
        desk = ControlledHandler(webhooks)

        async def live(session: str) -> sg.webhooks.ReceiptState:
            async with webhooks:
                return await deliver(webhooks, session)

        assert [asyncio.run(live(each)) for each in ("ps_1", "ps_2")] == [STATE.ACCEPTED] * 2
        assert desk.seen == ["ps_1", "ps_2"]

    def test_two_loops_at_once(self):
        """Another loop gets an error before anything is claimed; the first one continues."""
        told = []

        class Calls:
            def handle_event(self, event: sg.WebhookEvent) -> None:
                told.append(event.session.id)

        class Client:
            session = Calls()

        store = sg.webhooks.MemoryStore()
        webhooks = sg.Webhooks(VERIFIER, store=store, api=Client())
        desk = ControlledHandler(webhooks)

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

        async def live() -> sg.webhooks.ReceiptState:
            await webhooks.start()
            return await deliver(webhooks)

        states = [asyncio.run(live()) for _ in range(2)]
        assert states[0] is STATE.ACCEPTED
        assert states[1] in {STATE.ACCEPTED, STATE.REPEATED}


class TestClient:
    """A client that waits is notified."""

    async def test_client_gets_every_event(self):
        """Repeated events, too: a waiting call only checks once more."""
        told = []

        class Calls:
            def handle_event(self, event: sg.WebhookEvent) -> None:
                told.append(event.session.id)

        class Client:
            session = Calls()

        async with sg.Webhooks(VERIFIER, api=Client(), backlog=1) as webhooks:
            ControlledHandler(webhooks, is_open=True)
            for session in ("ps_1", "ps_1", "ps_2"):
                await deliver(webhooks, session)
        assert told == ["ps_1", "ps_1", "ps_2"]

    async def test_a_waiter_wakes(self, key):
        """`session.wait` checks as soon as the webhook arrives, long before its pause ends."""
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
