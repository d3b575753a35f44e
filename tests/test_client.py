"""Whole calls against the emulator: the result for the caller, and what the provider received."""

import asyncio
import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import pytest
from attrs import evolve
from rawserver import Peer, answer, serve

import smartglocal_async as sg
from smartglocal_async.emulator import (
    Duplicates,
    Fault,
    FaultKind,
    FaultScript,
    Provider,
    Rules,
)
from smartglocal_async.operations import SESSION_CREATE, Repeat
from smartglocal_async.request import CallOptions

pytestmark = pytest.mark.both_loops

USD: Final = sg.AmountDetails(10_000, "usd")
PAYER: Final = sg.Recurrent(token="t")  # noqa: S106 - an example
REQUEST: Final = sg.CreateSession(amount_details=USD)
OTHER: Final = sg.CreateSession(amount_details=sg.AmountDetails(20_000, "usd"))
FIELD: Final = "idempotency_key"
UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def with_faults(*faults: Fault) -> dict[str, Any]:
    """Return the emulator's option for these faults."""
    return {"faults": FaultScript(faults)}


@pytest.fixture
def meet(run_provider, connect, clock) -> Callable[..., tuple[sg.SmartGlocal, Provider]]:
    """Return a function that makes a client on a test clock, and its faulty provider."""

    def make(*faults: Fault) -> tuple[sg.SmartGlocal, Provider]:
        provider = run_provider(**with_faults(*faults))
        return connect(provider, settings=sg.Settings(timing=clock.timing())), provider

    return make


class FakeSigner:
    """A signer that does no work; no raw server checks the signature."""

    async def sign(self, body: bytes) -> str:
        """Return a constant signature."""
        del body
        return "c3RhbXA="


class Echo:
    """A raw server's handler that answers with a session and records the requests."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []

    def __call__(self, peer) -> None:
        """Answer every request."""
        while True:
            self.bodies.append(json.loads(peer.read_request()))
            peer.send(answer())


async def sent(request: sg.CreateSession, settings: sg.Settings, key: str | None = None) -> Any:
    """Return the JSON that one call sends."""
    echo = Echo()
    with serve(echo) as server:
        async with sg.SmartGlocal("demo", FakeSigner(), server.url, settings=settings) as api:
            await api.session.create(request, key=key)
    return echo.bodies[0]


class TestJourneys:
    """Creating a session and reading its status."""

    async def test_create_then_status(self, api, provider) -> None:
        """The status shows the created session, with its metadata and times."""
        made = await api.session.create(REQUEST, key="order-1")
        asked = await api.session.status(sg.SessionRef(made.id))

        assert made == asked
        assert (made.status, made.metadata) == (sg.SessionStatus.CREATED, {FIELD: "order-1"})
        assert made.created_at.tzinfo is not None
        assert provider.session_ids == (made.id,)

    @pytest.mark.parametrize("version", ["v1", "v2"])
    async def test_versions(self, connect, provider, version: str) -> None:
        """Both versions work, with their paths and their names for a payout's instrument."""
        request = evolve(REQUEST, payment_method=PAYER)
        api = connect(provider, api_version=version)

        session = await api.session.create(request, key="order-1")

        assert await api.session.status(sg.SessionRef(session.id)) == session
        assert provider.report().refused == 0

    @pytest.mark.parametrize(
        ("version", "name"), [("v1", "payment_method"), ("v2", "payout_details")]
    )
    async def test_versions_on_the_wire(self, version: str, name: str) -> None:
        """The request line and the body use the names of the version."""
        with serve(Echo()) as server:
            async with sg.SmartGlocal("demo", FakeSigner(), server.url, api_version=version) as api:
                await api.session.create(evolve(REQUEST, payment_method=PAYER), key="a")

        [(head, body)] = server.requests
        assert head.startswith(f"POST /api/{version}/session/create HTTP/1.1".encode())
        assert json.loads(body) == {
            name: {"type": "recurrent", "recurrent": {"token": "t"}},
            "amount_details": {"amount": 10_000, "currency": "usd"},
            "metadata": {FIELD: "a"},
        }

    async def test_a_refusal(self, api) -> None:
        """The error has the provider's code and description, and every other field."""
        with pytest.raises(sg.Refused) as failed:
            await api.session.status(sg.SessionRef("ps_99"))

        error = failed.value
        assert error.outcome is sg.CallOutcome.REFUSED
        assert (error.operation, error.key, error.session_id) == ("session/status", None, "ps_99")
        assert error.code == "session_not_found"
        assert error.description == "session_id: there is no such session"
        assert error.code_class is sg.errors.CodeClass.UNRECOGNISED
        assert (error.http_status, error.attempts, error.stopped_by) == (400, 1, None)
        assert error.elapsed_seconds > 0

    async def test_the_wrong_record(self, api) -> None:
        """The record of another call is refused before anything is sent."""
        with pytest.raises(sg.InvalidRequest, match="expected CreateSession, got SessionRef"):
            await api.session.create(sg.SessionRef("ps_1"))


class TestKeys:
    """The key of a call, and where it is sent."""

    @pytest.mark.parametrize(
        ("metadata", "given", "on_the_wire"),
        [
            (None, "k", {FIELD: "k"}),
            ({}, "k", {FIELD: "k"}),
            ({"a": 1}, "k", {"a": 1, FIELD: "k"}),
            ({FIELD: "k", "a": 1}, None, {FIELD: "k", "a": 1}),
            ({FIELD: "k"}, "k", {FIELD: "k"}),
            ("shop-eu", "k", "shop-eu"),
            ("shop-eu", None, "shop-eu"),
            (["a", {"b": None}], None, ["a", {"b": None}]),
            (7, None, 7),
        ],
    )
    async def test_in_the_metadata(
        self, metadata: Any, given: str | None, on_the_wire: Any
    ) -> None:
        """An object gets the key, missing metadata becomes an object, other metadata is kept."""
        body = await sent(sg.CreateSession(metadata=metadata), sg.Settings(), given)

        assert body == {"metadata": on_the_wire}

    @pytest.mark.parametrize("metadata", [None, {"a": 1}])
    async def test_made_here(self, metadata: Any) -> None:
        """A call without a key gets a new one, in a form of its own."""
        body = await sent(sg.CreateSession(metadata=metadata), sg.Settings())

        assert UUID.fullmatch(body["metadata"][FIELD])

    async def test_another_field(self) -> None:
        """The name of the field is a setting."""
        settings = sg.Settings(key_field="order")

        assert await sent(sg.CreateSession(metadata={FIELD: 1}), settings, "k") == {
            "metadata": {FIELD: 1, "order": "k"}
        }

    @pytest.mark.parametrize(
        ("is_key", "refused"), [(True, True), (False, False)], ids=["is the key", "is a constant"]
    )
    @pytest.mark.parametrize("metadata", ["order-1", 1])
    async def test_metadata_as_the_key(
        self,
        connect,
        provider,
        metadata: Any,
        *,
        is_key: bool,
        refused: bool,
    ) -> None:
        """Plain metadata is the key only if the settings say so."""
        api = connect(provider, settings=sg.Settings(metadata_is_key=is_key))
        await api.session.create(evolve(REQUEST, metadata=metadata))

        came = await outcome(api.session.create(evolve(OTHER, metadata=metadata)))

        assert isinstance(came, sg.KeyReused) == refused

    @pytest.mark.parametrize(
        ("metadata", "given"),
        [
            (None, ""),
            (None, "a\nb"),
            (None, "x" * 256),
            (None, 7),
            ({FIELD: 7}, None),
            ({FIELD: "a"}, "b"),
        ],
    )
    async def test_unusable(self, api, provider, metadata: Any, given: Any) -> None:
        """An invalid key, or two different keys, are refused before anything is sent."""
        with pytest.raises(sg.InvalidRequest, match="key"):
            await api.session.create(sg.CreateSession(metadata=metadata), key=given)

        assert provider.report().requests == 0

    @pytest.mark.parametrize(
        ("use", "repeat", "carried"),
        [
            (sg.HeaderUse.OFF, Repeat.HARMLESS, False),
            (sg.HeaderUse.OFF, Repeat.MOVES_MONEY, False),
            (sg.HeaderUse.MONEY, Repeat.HARMLESS, False),
            (sg.HeaderUse.MONEY, Repeat.MOVES_MONEY, True),
            (sg.HeaderUse.ALWAYS, Repeat.HARMLESS, True),
            (sg.HeaderUse.ALWAYS, Repeat.MOVES_MONEY, True),
        ],
    )
    async def test_in_the_header(self, use: sg.HeaderUse, repeat: Repeat, *, carried: bool) -> None:
        """The header is sent with the calls of the setting."""
        settings = sg.Settings(idempotency_header=use)
        with serve(Echo()) as server:
            async with sg.SmartGlocal("demo", FakeSigner(), server.url, settings=settings) as api:
                operation = evolve(SESSION_CREATE, repeat=repeat)
                await api._caller.call(operation, REQUEST, CallOptions(key="order-1"))

        [(head, _)] = server.requests
        assert (b"X-PARTNER-IDEMPOTENCY-KEY: order-1" in head) == carried


async def outcome(call: Any) -> Any:
    """Return the result of a call, or its error."""
    try:
        return await call
    except sg.SmartGlocalError as error:
        return error


class TestKeyReused:
    """One key belongs to one request."""

    async def test_names_what_differs(self, api, provider) -> None:
        """Another request with a used key is refused and not sent; the error names the fields."""
        await api.session.create(REQUEST, key="order-1")

        with pytest.raises(sg.KeyReused) as refused:
            await api.session.create(
                evolve(OTHER, payment_options=sg.PaymentOptions(recurrent=True)), key="order-1"
            )

        assert refused.value.key == "order-1"
        assert refused.value.differing_fields == ("amount_details", "payment_options")
        assert provider.report().requests == 1

    async def test_the_same_request_again(self, api, provider) -> None:
        """The same request with its key is sent again, byte for byte."""
        first = await api.session.create(REQUEST, key="order-1")
        again = await api.session.create(
            sg.CreateSession(amount_details=sg.AmountDetails(10_000, "USD")), key="order-1"
        )

        order = provider.order("order-1")
        assert first == again
        assert (order.made, order.attempts, len(order.digests)) == (1, 2, 1)

    async def test_while_the_first_is_out(self, run_provider, connect) -> None:
        """A key in flight counts as used."""
        provider = run_provider(**with_faults(Fault(FaultKind.HANG, nth=(1,))))
        api = connect(provider)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(api.session.create(REQUEST, key="order-1"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert isinstance(await outcome(api.session.create(OTHER, key="order-1")), sg.KeyReused)
            first.cancel()

    @pytest.mark.parametrize(
        ("fault", "error", "is_taken"),
        [
            (Fault(FaultKind.AFTER, rate=1), sg.OutcomeUnknown, True),
            (Fault(FaultKind.GARBAGE, rate=1), sg.OutcomeUnknown, True),
            (Fault(FaultKind.REDIRECT, rate=1), sg.Refused, False),
            (Fault(FaultKind.THROTTLE, rate=1, seconds=0), sg.Refused, False),
        ],
        ids=lambda value: value.kind.value if isinstance(value, Fault) else None,
    )
    async def test_after_a_failure(
        self, meet, fault: Fault, error: type[Exception], *, is_taken: bool
    ) -> None:
        """After a certain failure a request may be corrected; after an uncertain one it may not."""
        api, _ = meet(fault)

        assert type(await outcome(api.session.create(REQUEST, key="order-1"))) is error

        mended = await outcome(api.session.create(OTHER, key="order-1"))
        assert isinstance(mended, sg.KeyReused) == is_taken

    async def test_after_a_cancelled_call(self, run_provider, connect) -> None:
        """A call that was cancelled in flight keeps its key."""
        arrived = asyncio.Event()
        loop = asyncio.get_running_loop()
        provider = run_provider(
            **with_faults(Fault(FaultKind.HANG, rate=1)),
            on_request=lambda _: loop.call_soon_threadsafe(arrived.set),
        )
        api = connect(provider)
        async with asyncio.TaskGroup() as group:
            call = group.create_task(api.session.create(REQUEST, key="order-1"))
            await arrived.wait()
            call.cancel()

        assert isinstance(await outcome(api.session.create(OTHER, key="order-1")), sg.KeyReused)

    async def test_only_so_many_are_remembered(self, connect, provider) -> None:
        """The oldest keys are dropped first."""
        api = connect(provider, settings=sg.Settings(remembered_keys=2))
        for name in ("a", "b", "c"):
            await api.session.create(REQUEST, key=name)

        came = {name: await outcome(api.session.create(OTHER, key=name)) for name in ("a", "c")}

        assert isinstance(came["c"], sg.KeyReused)
        assert isinstance(came["a"], sg.Session)


class TestSharedCalls:
    """Two callers with the same key and request."""

    @pytest.fixture
    def gate(self):
        """Return an event that releases a raw server's answers, and the server's handler."""

        class Gate(Echo):
            arrived, go_on = threading.Semaphore(0), threading.Event()

            def __call__(self, peer) -> None:
                """Answer when it is released."""
                peer.read_request()
                self.arrived.release()
                self.go_on.wait(20)
                peer.send(answer())

        return Gate()

    async def test_share_one_call(self, gate) -> None:
        """Both get the session of the one request."""
        with serve(gate) as server:
            async with sg.SmartGlocal("demo", FakeSigner(), server.url) as api:
                async with asyncio.TaskGroup() as group:
                    calls = [
                        group.create_task(api.session.create(REQUEST, key="a")) for _ in range(3)
                    ]
                    await asyncio.to_thread(gate.arrived.acquire)
                    gate.go_on.set()
                assert len({call.result().id for call in calls}) == 1
        assert len(server.requests) == 1

    @pytest.mark.parametrize("leaver", [0, 1], ids=["the first leaves", "the second leaves"])
    async def test_one_leaves(self, gate, leaver: int) -> None:
        """If one is cancelled, the other still gets the result."""
        with serve(gate) as server:
            async with sg.SmartGlocal("demo", FakeSigner(), server.url) as api:
                async with asyncio.TaskGroup() as group:
                    calls = [
                        group.create_task(api.session.create(REQUEST, key="a")) for _ in range(2)
                    ]
                    await asyncio.to_thread(gate.arrived.acquire)
                    calls[leaver].cancel()
                    gate.go_on.set()
                assert calls[leaver].cancelled()
                assert calls[1 - leaver].result().id == "ps_1"
                assert api.stats().pool.calls == 0
        assert len(server.requests) == 1

    async def test_all_leave(self, gate) -> None:
        """When the last caller is cancelled, the call ends, and the key can be used again."""
        with serve(gate) as server:
            async with sg.SmartGlocal("demo", FakeSigner(), server.url) as api:
                before = asyncio.all_tasks()
                async with asyncio.TaskGroup() as group:
                    calls = [
                        group.create_task(api.session.create(REQUEST, key="a")) for _ in range(2)
                    ]
                    await asyncio.to_thread(gate.arrived.acquire)
                    for call in calls:
                        call.cancel()
                assert all(call.cancelled() for call in calls)
                assert asyncio.all_tasks() == before
                assert api.stats().pool.sending == 0
                gate.go_on.set()
                assert (await api.session.create(REQUEST, key="a")).id == "ps_1"
        assert len(server.requests) == 2

    async def test_a_shared_failure(self, run_provider, connect, clock) -> None:
        """Both get the error."""
        provider = run_provider(**with_faults(Fault(FaultKind.REDIRECT, rate=1)))
        api = connect(provider, settings=sg.Settings(timing=clock.timing()))
        async with asyncio.TaskGroup() as group:
            calls = [
                group.create_task(outcome(api.session.create(REQUEST, key="a"))) for _ in range(2)
            ]

        assert [type(call.result()) for call in calls] == [sg.Refused] * 2
        assert provider.order("a").attempts == 1

    def test_in_two_loops(self, provider, key) -> None:
        """Loops don't share a call; the provider still creates one session."""
        api = sg.SmartGlocal(provider.project, key, provider.url)
        with ThreadPoolExecutor(2) as threads:
            works = [
                threads.submit(asyncio.run, api.session.create(REQUEST, key="a")) for _ in range(2)
            ]
            assert len({work.result(20).id for work in works}) == 1
        asyncio.run(api.close())
        assert provider.order("a").attempts == 2


class TestPatience:
    """Attempts, deadline, Retry-After, pause and budget."""

    @pytest.mark.parametrize(
        ("options", "attempts", "stopped_by"),
        [
            ({}, 3, "attempts"),
            ({"attempts": 1}, 1, "attempts"),
            ({"attempts": 6}, 5, "deadline"),
            ({"deadline": 7, "attempts": 6}, 3, "deadline"),
            ({"deadline": 2}, 1, "deadline"),
        ],
    )
    async def test_per_call(  # noqa: PLR0913, PLR0917
        self, run_provider, connect, clock, options: dict[str, Any], attempts: int, stopped_by: str
    ) -> None:
        """A call's own options override the policy; the error names what stopped it."""
        provider = run_provider(**with_faults(Fault(FaultKind.SERVER_ERROR, rate=1)))
        # Waits of 2 s, 4 s, 8 s ... on the test clock; an attempt takes no time on it.
        retry = sg.RetryPolicy(initial_delay_seconds=4)
        api = connect(provider, settings=sg.Settings(timing=clock.timing(), retry=retry))

        error = await outcome(api.session.create(REQUEST, key="a", **options))

        assert (error.attempts, error.stopped_by) == (attempts, stopped_by)
        assert provider.order("a").attempts == attempts
        assert sum(clock.waits) < options.get("deadline", 30)
        assert error.elapsed_seconds == pytest.approx(sum(clock.waits))
        assert api.stats().retries == attempts - 1

    @pytest.mark.parametrize(
        "options", [{"attempts": 0}, {"deadline": 0}, {"deadline": -1}, {"attempts": True}]
    )
    async def test_no_patience_at_all(self, api, options: dict[str, Any]) -> None:
        """Options that no call could satisfy are refused."""
        with pytest.raises(sg.InvalidRequest, match=next(iter(options))):
            await api.session.create(REQUEST, **options)

    @pytest.mark.parametrize("kind", [FaultKind.HANG, FaultKind.SLOW])
    async def test_deadline_ends_an_attempt(self, run_provider, connect, kind) -> None:
        """An attempt in flight ends at the deadline, as unknown."""
        provider = run_provider(**with_faults(Fault(kind, rate=1, seconds=30)))
        api = connect(provider)
        await api.warm_up()

        error = await outcome(api.session.create(REQUEST, deadline=1.5))

        assert type(error) is sg.OutcomeUnknown
        assert (error.attempts, error.stopped_by) == (1, "deadline")

    @pytest.mark.parametrize(
        ("seconds", "deadline", "stopped_by"),
        [
            (40, 30, "deadline"),
            (40, 20, "deadline"),
            (90, 500, "retry_after"),
        ],
    )
    @pytest.mark.parametrize("as_date", [False, True])
    async def test_too_long_a_retry_after(
        self, meet, seconds: int, deadline: float, stopped_by: str, *, as_date: bool
    ) -> None:
        """A pause beyond the deadline, or the policy's limit, doesn't start."""
        api, _ = meet(Fault(FaultKind.THROTTLE, rate=1, seconds=seconds, as_date=as_date))

        error = await outcome(api.session.create(REQUEST, deadline=deadline))

        assert type(error) is sg.Refused
        assert (error.http_status, error.attempts, error.stopped_by) == (429, 1, stopped_by)
        assert error.retry_after_seconds == pytest.approx(seconds, abs=1)
        assert api.stats().retries == 0

    async def test_retry_after_is_obeyed(self, run_provider, connect, clock) -> None:
        """The client never waits less than Retry-After."""
        provider = run_provider(**with_faults(Fault(FaultKind.THROTTLE, nth=(1,), seconds=7)))
        api = connect(provider, settings=sg.Settings(timing=clock.timing()))

        await api.session.create(REQUEST, key="a")

        assert sum(clock.waits) >= 7
        assert provider.order("a").attempts == 2

    async def test_the_whole_client_pauses(self, run_provider, connect, clock) -> None:
        """After a 429 all calls of the client wait; one that can't isn't sent."""
        provider = run_provider(
            **with_faults(Fault(FaultKind.THROTTLE, key="a", rate=1, seconds=20))
        )
        api = connect(provider, settings=sg.Settings(timing=clock.timing()))
        await outcome(api.session.create(REQUEST, key="a", attempts=1))

        hasty = await outcome(api.session.create(REQUEST, key="b", deadline=10))
        assert type(hasty) is sg.NotSent
        assert "pause" in hasty.cause
        assert provider.order("b").attempts == 0

        await api.session.create(REQUEST, key="c", deadline=30)
        assert clock.now >= 20
        assert provider.order("c").attempts == 1

    async def test_the_budget(self, run_provider, connect, clock) -> None:
        """With an empty budget failures are final at once; a success refills it."""
        provider = run_provider(**with_faults(Fault(FaultKind.SERVER_ERROR, key="bad", rate=1)))
        policy = sg.RetryPolicy(budget_tokens=30, budget_cost=14)
        api = connect(provider, settings=sg.Settings(retry=policy, timing=clock.timing()))

        first = await outcome(api.session.create(REQUEST, key="bad"))
        second = await outcome(api.session.create(REQUEST, key="bad"))

        assert (first.attempts, first.stopped_by) == (3, "attempts")
        assert (second.attempts, second.stopped_by) == (1, "budget")
        assert api.stats().budget_tokens == 2
        for number in range(40):
            await api.session.create(REQUEST, key=f"good-{number}")
        assert api.stats().budget_tokens == 30


def forbid(peer: Peer) -> None:
    """Answer as a proxy that refuses everyone."""
    peer.read_request()
    peer.send(answer(b"<html>", "403 Forbidden"))


REFUSING: Final = (FaultKind.REDIRECT, FaultKind.UNKNOWN_CODE)
"""A `session/create` with this answer was refused; it moves no money."""


class TestOutcome:
    """The error's outcome, over all attempts."""

    async def test_unknown_outweighs_a_later_not_sent(self, clock) -> None:
        """One attempt that may have arrived makes the call unknown, whatever follows."""
        happened: list[sg.AttemptResult | None] = []

        def vanish(details: sg.observer.AttemptEnded) -> None:
            happened.append(details.happened)
            server.stop()

        settings = sg.Settings(
            timing=clock.timing(), observers=[sg.observer.only(sg.observer.AttemptEnded, vanish)]
        )
        with serve(Peer.read_request) as server:
            async with sg.SmartGlocal("demo", FakeSigner(), server.url, settings=settings) as api:
                error = await outcome(api.session.create(REQUEST, key="a"))

        assert happened == [
            sg.AttemptResult.UNKNOWN,
            sg.AttemptResult.NOT_SENT,
            sg.AttemptResult.NOT_SENT,
        ]
        assert type(error) is sg.OutcomeUnknown
        assert (error.attempts, error.stopped_by) == (3, "attempts")
        assert (error.key, error.http_status, error.code) == ("a", None, None)
        assert "ClientConnectorError" in error.cause

    async def test_unknown_outweighs_a_later_refusal(self, clock) -> None:
        """A proxy that refuses the second attempt doesn't know about the first."""
        manners = [Peer.read_request, forbid]

        def meet(peer: Peer) -> None:
            manners.pop(0)(peer)

        settings = sg.Settings(timing=clock.timing())
        with serve(meet) as server:
            async with sg.SmartGlocal("demo", FakeSigner(), server.url, settings=settings) as api:
                error = await outcome(api.session.create(REQUEST, key="a"))
                with pytest.raises(sg.KeyReused):
                    await api.session.create(sg.CreateSession(metadata={"other": 1}), key="a")

        assert type(error) is sg.OutcomeUnknown
        assert (error.attempts, error.http_status, error.stopped_by) == (2, 403, None)

    async def test_a_duplicate_means_that_it_arrived(self, run_provider, connect, clock) -> None:
        """A refusal as a used key shows that the lost attempt arrived; no new key is used."""
        provider = run_provider(
            **with_faults(Fault(FaultKind.AFTER, nth=(1,))),
            rules=Rules(duplicates=Duplicates.REFUSE),
        )
        api = connect(provider, settings=sg.Settings(timing=clock.timing()))

        error = await outcome(api.session.create(REQUEST, key="a"))

        assert type(error) is sg.OutcomeUnknown
        assert error.outcome is sg.CallOutcome.UNKNOWN
        assert error.code == "idempotency_key_already_exists"
        assert error.code_class is sg.errors.CodeClass.DUPLICATE
        assert (error.attempts, error.stopped_by, provider.order("a").made) == (2, None, 1)

    @pytest.mark.parametrize(
        ("kind", "made"),
        [
            *((kind, 1) for kind in FaultKind if kind not in REFUSING),
            *((kind, 0) for kind in REFUSING),
        ],
    )
    async def test_every_fault(self, run_provider, connect, clock, kind, made: int) -> None:
        """Whatever happens to the first attempt, one order never gets two sessions."""
        provider = run_provider(**with_faults(Fault(kind, nth=(1,), seconds=0.01)))
        settings = sg.Settings(
            retry=sg.RetryPolicy(attempt_timeout_seconds=0.5 if kind is FaultKind.HANG else 15),
            timing=clock.timing(),
        )
        api = connect(provider, settings=settings)

        came = await outcome(api.session.create(REQUEST, key="a"))

        assert isinstance(came, sg.Session if made else sg.Refused)
        order = provider.order("a")
        assert (order.made, len(order.digests), len(order.signatures)) == (made, 1, 1)
        assert api.stats().pool.calls == api.stats().pool.sending == 0


class TestSize:
    """Limits of size, in both directions."""

    async def test_an_answer(self, run_provider, connect, clock) -> None:
        """An answer over the limit isn't read, and the outcome is unknown."""
        provider = run_provider(**with_faults(Fault(FaultKind.HUGE, rate=1)))
        settings = sg.Settings(timing=clock.timing(), max_response_bytes=100_000)
        api = connect(provider, settings=settings)

        error = await outcome(api.session.create(REQUEST, attempts=1))

        assert type(error) is sg.OutcomeUnknown
        assert error.cause == "the answer is larger than 100000 bytes"

    @pytest.mark.parametrize(("spare", "fits"), [(0, True), (-1, False)])
    async def test_a_request(self, spare: int, *, fits: bool) -> None:
        """A request over the limit is refused before it is signed; one at the limit is sent."""
        request = sg.CreateSession(metadata={FIELD: "a", "note": "é" * 1_000})
        size = len('{"metadata":{"idempotency_key":"a","note":""}}') + 2_000
        settings = sg.Settings(max_request_bytes=size + spare)
        with serve(Echo()) as server:
            async with sg.SmartGlocal("demo", FakeSigner(), server.url, settings=settings) as api:
                came = await outcome(api.session.create(request))

        assert isinstance(came, sg.Session if fits else sg.InvalidRequest)
        assert len(server.requests) == fits


class TestHttpMethods:
    """The method of a call is the documented one, unless the settings say otherwise."""

    @pytest.mark.parametrize("version", ["v1", "v2"])
    async def test_the_rate_of_a_top_up(self, connect, provider, version):
        """A GET with a body, made in v1 from any client."""
        rate = await connect(provider, api_version=version).exchange_rate.get()
        assert (rate.source_currency, rate.destination_currency) == ("RUB", "USD")
        assert rate.rate == Decimal("0.0125")
        assert rate.active_to - rate.active_from == timedelta(hours=1)

    async def test_another_method(self, connect, run_provider):
        """Both sides have it as a setting, as the pages show both."""
        methods = {"sberpay/push": "GET", "exchange_rate": "POST"}
        provider = run_provider(rules=Rules(http_methods=methods))
        api = connect(provider, settings=sg.Settings(http_methods=methods))
        assert (await api.exchange_rate.get()).rate == Decimal("0.0125")
        with pytest.raises(sg.Refused, match="session_not_found"):
            await api.sberpay.push(sg.models.PushSberPay(session_id="ps_1", phone="+79000000001"))
        with pytest.raises(sg.Refused, match="no such method"):
            await connect(provider).exchange_rate.get()
