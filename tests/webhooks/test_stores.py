"""Webhook stores over a database: claims of several processes, of which one is killed."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cutting_proxy import proxied
from places import ROOT, TESTS
from postgres_schemas import DSN, connected, missing
from secret_search import SecretSearch
from webhook_process import EVENT, handled, store_of

import smartglocal_async as sg
from smartglocal_async.webhooks import Claim

LONG = 600.0
VERIFIER = sg.WebhookVerifier(sg.PrivateKey.generate().public)
NO_SERVER = pytest.mark.skipif(missing() is not None, reason=str(missing()))
STATE = sg.webhooks.ReceiptState
KINDS = ["sqlite", pytest.param("postgres", marks=NO_SERVER)]


@pytest.fixture(params=KINDS)
async def place(request, tmp_path, schema) -> AsyncIterator[tuple[str, str, str]]:
    """Return the kind of store, its address and its schema."""
    if request.param == "postgres":
        async with connected() as connection:
            await connection.execute(f'CREATE SCHEMA "{schema}"')
        yield request.param, DSN, schema
    else:
        yield request.param, str(tmp_path / "webhooks.db"), ""


@pytest.fixture
async def make(place) -> AsyncIterator[Callable[..., Any]]:
    """Return a function that makes one more store over the same table."""
    async with contextlib.AsyncExitStack() as stack:

        async def opened(claim_seconds: float = LONG) -> Any:
            return await stack.enter_async_context(store_of(*place, claim_seconds))

        yield opened


@contextlib.contextmanager
def process(place: tuple[str, str, str], claim_seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Run a process that handles the event."""
    command = [sys.executable, str(TESTS / "support/webhook_process.py"), *place]
    with subprocess.Popen(
        [*command, str(claim_seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as started:
        try:
            yield started
        finally:
            started.kill()


async def read(started: subprocess.Popen[str]) -> str:
    """Return the next line of a process."""
    assert started.stdout is not None
    return (await asyncio.to_thread(started.stdout.readline)).strip()


async def test_one_process_has_it(make) -> None:
    """It is running for all others, and handled afterwards."""
    one, other = await make(), await make()
    assert await one.claim("a", "1") is Claim.NEW
    assert [await each.claim("a", "2") for each in (one, other)] == [Claim.RUNNING] * 2
    await one.keep("a", "1")
    assert [await each.claim("a", "2") for each in (one, other)] == [Claim.HANDLED] * 2
    assert await other.claim("b", "2") is Claim.NEW


async def test_a_claim_that_is_released(make) -> None:
    """Another process claims it then; only the token of the claim releases it."""
    one, other = await make(), await make()
    await one.claim("a", "1")
    await other.forget("a", "2")
    assert await other.claim("a", "2") is Claim.RUNNING
    await one.forget("a", "1")
    assert await other.claim("a", "2") is Claim.NEW
    await other.keep("a", "2")
    await other.forget("a", "2")
    assert await one.claim("a", "1") is Claim.HANDLED


async def test_a_claim_is_renewed_with_its_token(make) -> None:
    """It is new again, and running for another delivery of the same process."""
    store = await make()
    assert [await store.claim("a", "1") for _ in range(2)] == [Claim.NEW] * 2
    assert await store.claim("a", "2") is Claim.RUNNING


async def test_many_at_once(make) -> None:
    """One of them has it."""
    stores = [await make() for _ in range(4)]
    claims: list[Claim] = []

    async def claim(store: Any, token: str) -> None:
        claims.append(await store.claim("a", token))

    async with asyncio.TaskGroup() as tasks:
        for number, store in enumerate(stores * 8):
            tasks.create_task(claim(store, str(number)))
    assert (claims.count(Claim.NEW), claims.count(Claim.RUNNING)) == (1, 31)


async def test_a_long_identity(make) -> None:
    """The identity of a session with hundreds of refunds fits."""
    store = await make()
    assert await store.claim("re_" * 5_000, "1") is Claim.NEW
    assert await store.claim("re_" * 5_000, "2") is Claim.RUNNING


async def expired(store: Any, identity: str, token: str) -> None:
    """Claim an event until its claim has ended; the first attempt comes too early."""
    assert await store.claim(identity, token) is Claim.RUNNING
    async with asyncio.timeout(60):
        while await store.claim(identity, token) is not Claim.NEW:  # noqa: ASYNC110 - the database's time
            await asyncio.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("is_same_store", [False, True])
async def test_a_late_run_changes_nothing(make, is_same_store) -> None:
    """Its claim has ended, and another run has the event: elsewhere, or in the same process."""
    other = await make(claim_seconds=2.0)
    late = other if is_same_store else await make()
    await late.claim("a", "1")
    await expired(other, "a", "2")
    await late.keep("a", "1")
    await late.forget("a", "1")
    assert await late.claim("a", "3") is Claim.RUNNING
    await other.keep("a", "2")
    assert await late.claim("a", "3") is Claim.HANDLED


@pytest.mark.slow
async def test_a_process_that_is_killed(place, make) -> None:
    """SIGKILL in the handler: 503 until the claim ends, then a redelivery runs it again."""
    with process(place, LONG) as first:
        assert await read(first) == "claimed"
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert await (await make()).claim(EVENT.identity, "1") is Claim.RUNNING
    with process(place, LONG) as second:
        assert await read(second) == "running"
    await asyncio.sleep(2.1)  # The age of the claim, in the database's own time.
    with process(place, 2.0) as third:
        assert await read(third) == "claimed"
        assert third.stdin is not None
        third.stdin.write("\n")
        third.stdin.flush()
        assert await read(third) == "handled"
    with process(place, 2.0) as fourth:
        assert await read(fourth) == "repeated"


@pytest.mark.slow
async def test_a_process_that_is_killed_after_the_handler(place, make) -> None:
    """What was recorded as handled stays so when the process dies later."""
    with process(place, LONG) as first:
        assert await read(first) == "claimed"
        assert first.stdin is not None
        first.stdin.write("\n")
        first.stdin.flush()
        assert await read(first) == "handled"
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert await (await make(claim_seconds=1.0)).claim(EVENT.identity, "1") is Claim.HANDLED


async def test_old_events_are_dropped(place) -> None:
    """When a store is opened."""
    async with store_of(*place, LONG) as store:
        await store.claim("a", "1")
        await store.keep("a", "1")
    short = store_of(*place, 1.0)
    short.keep_seconds = 1.0
    async with asyncio.timeout(60):
        while True:
            async with short:
                if await short.claim("a", "2") is Claim.NEW:
                    break
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("set_back_seconds", "claim"), [(2 * LONG, Claim.NEW), (LONG / 2, Claim.RUNNING)]
)
async def test_a_clock_that_is_set_back(set_back_seconds, claim, place, make) -> None:
    """A claim from before has ended if it is further ahead than it may last."""
    store = await make()
    assert await store.claim("a", "1") is Claim.NEW
    kind, address, schema = place
    if kind == "postgres":
        async with connected() as connection:
            table = f'"{schema}".smartglocal_webhook'
            moved = f"UPDATE {table} SET at = at + make_interval(secs => $1)"  # noqa: S608
            await connection.execute(moved, set_back_seconds)
    else:
        with contextlib.closing(sqlite3.connect(address)) as file, file:
            file.execute("UPDATE smartglocal_webhook SET at = at + ?", (set_back_seconds,))
    assert await store.claim("a", "2") is claim


@pytest.mark.slow
async def test_old_events_are_dropped_while_it_is_open(place) -> None:
    """From time to time, by a claim; one that runs is never dropped."""
    async with store_of(*place, LONG) as store:
        await store.claim("runs", "1")
        await store.claim("a", "1")
        await store.keep("a", "1")
        store.keep_seconds = 1.0
        async with asyncio.timeout(60):
            while await store.claim("a", "2") is not Claim.NEW:
                store._next_expiry = 0.0
                await asyncio.sleep(0.1)
        assert await store.claim("runs", "2") is Claim.RUNNING


class TestFailures:
    """A database that can't be used."""

    async def test_no_database(self) -> None:
        """The error has no password, and names what failed."""
        store = sg.webhooks.PostgresStore("postgres://bob:pw-marmot@127.0.0.1:1/x")
        with pytest.raises(sg.errors.WebhookStoreUnusable) as refused:
            await store.claim("a", "1")
        assert "pw-marmot" not in f"{refused.value!r} {store!r} {refused.value.__context__!r}"
        with pytest.raises(sg.errors.WebhookStoreUnusable):
            async with sg.Webhooks(
                sg.WebhookVerifier(sg.PrivateKey.generate().public), store=store
            ) as webhooks:
                raise AssertionError(webhooks)

    @pytest.mark.parametrize("made", ["folder", "text"])
    async def test_no_file(self, made, tmp_path) -> None:
        """It is reported as a store, not as SQLite; nothing stays open."""
        path = tmp_path / "webhooks.db"
        if made == "folder":
            path.mkdir()
        else:
            _ = path.write_text("not a database, but long enough to be read as one" * 20)
        store = sg.webhooks.SQLiteStore(path)
        for _ in range(2):
            with pytest.raises(sg.errors.WebhookStoreUnusable, match=r"Error: "):
                await store.claim("a", "1")
        await store.close()

    @pytest.mark.parametrize(
        "password", ["pw/marmot", "pw#marmot", "pw?marmot", "pw@marmot", "pw[marmot"]
    )
    def test_a_password_that_is_not_encoded(self, password) -> None:
        """The address is refused when the store is made, and no part of the password is shown."""
        leak_search = SecretSearch({"marmot", "pw"})
        with pytest.raises(sg.InvalidRequest, match=r"^dsn: ") as refused:
            sg.webhooks.PostgresStore(f"postgres://bob:{password}@127.0.0.1:1/x")
        leak_search.search_error(refused.value)
        assert leak_search.found == []

    async def test_a_setting_that_is_unknown(self) -> None:
        """The driver's text, which has the setting's value, isn't shown."""
        store = sg.webhooks.PostgresStore("postgres://127.0.0.1:1/x?sslmode=pw-marmot")
        with pytest.raises(sg.errors.WebhookStoreUnusable, match="setting") as refused:
            await store.claim("a", "1")
        assert "marmot" not in str(refused.value)

    @pytest.mark.parametrize(
        "options",
        [
            {"claim_seconds": 0},
            {"keep_seconds": 0},
            {"claim_seconds": 60, "keep_seconds": 59.9},
        ],
    )
    def test_durations(self, options) -> None:
        """Refused when the store is made; a claim must not end after its event is dropped."""
        with pytest.raises(sg.InvalidRequest, match="_seconds"):
            sg.webhooks.SQLiteStore("webhooks.db", **options)

    @pytest.mark.parametrize(
        "options",
        [
            {"schema": 'a"b'},
            {"claim_seconds": 0},
            {"keep_seconds": 0},
            {"claim_seconds": 60, "keep_seconds": 59.9},
        ],
    )
    def test_options(self, options) -> None:
        """Refused when the store is made."""
        with pytest.raises(sg.InvalidRequest):
            sg.webhooks.PostgresStore(DSN, **options)


async def until(condition: Callable[[], bool]) -> None:
    """Run the event loop until a condition holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Lock a store's file against writing, as another program would; ``rollback`` ends it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


@NO_SERVER
async def test_a_claim_whose_answer_was_lost(schema) -> None:
    """The connection ends after the commit: the claim is released, and a redelivery runs."""
    async with connected() as connection:
        await connection.execute(f'CREATE SCHEMA "{schema}"')
    async with proxied(DSN) as (proxy, address):
        store = sg.webhooks.PostgresStore(address, schema=schema)
        async with handled(store) as (webhooks, seen):
            # A row was returned (PortalSuspended), and the claim is committed.
            proxy.answered = lambda chunk: b"s\x00\x00\x00\x04" not in chunk
            assert (await webhooks.accept(EVENT)).state is STATE.UNAVAILABLE
            proxy.answered = lambda _: True
            await until(lambda: webhooks.pending == 0)
            assert seen == []
            assert (await webhooks.accept(EVENT)).state is STATE.HANDLED
        assert seen == ["ps_1"]


@pytest.fixture
def path(tmp_path) -> Path:
    """Return the path of an SQLite store."""
    return tmp_path / "webhooks.db"


class TestLockedFile:
    """Another program has locked the file of an SQLite store."""

    @pytest.mark.slow
    async def test_a_claim_that_takes_too_long(self, path) -> None:
        """Answered with 503; what its thread commits later is released, and doesn't block."""
        async with handled(sg.webhooks.SQLiteStore(path), store_seconds=1.0) as (webhooks, seen):
            with locked(path):
                assert (await webhooks.accept(EVENT)).http_status == 503
            await until(lambda: webhooks.pending == 0)
            assert seen == []
            assert (await webhooks.accept(EVENT)).state is STATE.HANDLED

    async def test_a_claim_that_is_cancelled(self, path) -> None:
        """At the end of the application; the next process has the event."""
        store = sg.webhooks.SQLiteStore(path)
        async with contextlib.AsyncExitStack() as stack:
            webhooks, _ = await stack.enter_async_context(handled(store, drain_seconds=0.01))
            with locked(path) as other:
                async with asyncio.TaskGroup() as group:
                    delivery = group.create_task(webhooks.accept(EVENT))
                    await until(lambda: webhooks.pending == 1)
                    closing = group.create_task(stack.aclose())
                    assert (await delivery).state is STATE.STOPPED
                    other.rollback()
                    await closing
        async with sg.webhooks.SQLiteStore(path) as later:
            assert await later.claim(EVENT.identity, "1") is Claim.NEW

    @pytest.mark.slow
    async def test_many_deliveries(self, path) -> None:
        """All have one time limit, and other work in threads, such as DNS, isn't kept waiting."""
        events = [
            sg.PaymentFinished(session=sg.Session(id=f"ps_{number}", status="accepted"))
            for number in range(40)
        ]
        async with handled(sg.webhooks.SQLiteStore(path), store_seconds=5.0) as (webhooks, seen):
            with locked(path):
                async with asyncio.TaskGroup() as group, asyncio.timeout(30):
                    tasks = [group.create_task(webhooks.accept(event)) for event in events]
                    await until(lambda: webhooks.pending == len(events))
                    await asyncio.to_thread(int)
                    assert not any(task.done() for task in tasks)
            assert {task.result().state for task in tasks} == {STATE.UNAVAILABLE}
            await until(lambda: webhooks.pending == 0)
            assert seen == []

    @pytest.mark.slow
    async def test_a_result_that_can_not_be_recorded(self, path) -> None:
        """Answered with 200, as the handlers succeeded; it is recorded later."""
        webhooks = sg.Webhooks(
            VERIFIER,
            store=sg.webhooks.SQLiteStore(path),
            answer=sg.webhooks.AnswerWhen.HANDLED,
            store_seconds=1.0,
        )
        seen = []
        with contextlib.ExitStack() as stack:

            @webhooks.on(sg.WebhookEvent)
            async def handle(event: sg.WebhookEvent) -> None:
                seen.append(event.session.id)
                stack.enter_context(locked(path))

            async with webhooks:
                assert (await webhooks.accept(EVENT)).state is STATE.HANDLED
                assert webhooks.pending == 1
                stack.close()
                await until(lambda: webhooks.pending == 0)
                assert (await webhooks.accept(EVENT)).state is STATE.REPEATED
        assert seen == ["ps_1"]

    @pytest.mark.slow
    async def test_a_lock_that_lasts(self, path) -> None:
        """The store names the file, without a limit of the receiver."""
        async with sg.webhooks.SQLiteStore(path) as store:
            with locked(path):
                claims = [asyncio.ensure_future(store.claim("a", each)) for each in "123"]
                await asyncio.wait(claims)
            for claim in claims:
                assert isinstance(claim.exception(), sg.errors.WebhookStoreUnusable)
            words = [str(claim.exception()) for claim in claims]
            assert ["for too long" in each for each in words] == [False, True, True]
            assert await store.claim("a", "4") is Claim.NEW


@pytest.mark.slow
@pytest.mark.parametrize("is_handled", [False, True])
async def test_a_long_wait_for_a_place(path, is_handled) -> None:
    """The claim ended meanwhile, and another process has the event: it isn't run twice."""
    blocker = sg.PaymentFinished(session=sg.Session(id="ps_0", status="accepted"))
    go, other_go = asyncio.Event(), asyncio.Event()
    if is_handled:
        other_go.set()
    # Only for the other process does the claim end soon: its own must last until it is compared.
    stores = [sg.webhooks.SQLiteStore(path, claim_seconds=each) for each in (LONG, 2.0)]
    async with (
        handled(stores[0], go, concurrency=1) as (webhooks, seen),
        handled(stores[1], other_go) as (others, seen_there),
        asyncio.TaskGroup() as group,
    ):
        group.create_task(webhooks.accept(blocker))
        await until(lambda: seen == ["ps_0"])
        waiting = group.create_task(webhooks.accept(EVENT))
        await until(lambda: webhooks.pending == 2)
        await expired(stores[1], EVENT.identity, "1")
        await stores[1].forget(EVENT.identity, "1")
        there = group.create_task(others.accept(EVENT))
        await until(lambda: seen_there == ["ps_1"] and (there.done() or not is_handled))
        go.set()
        state = (await waiting).state
        other_go.set()
    assert state is (STATE.REPEATED if is_handled else STATE.RUNNING)
    assert there.result().state is STATE.HANDLED
    assert seen == ["ps_0"]


async def test_a_file_that_is_deleted(path) -> None:
    """Processes that have it open fail, as another one would not see their claims."""
    async with sg.webhooks.SQLiteStore(path) as store:
        assert await store.claim("a", "1") is Claim.NEW
        for file in path.parent.iterdir():
            file.unlink()
        async with sg.webhooks.SQLiteStore(path) as later:
            assert await later.claim("a", "2") is Claim.NEW
            for _ in range(2):
                with pytest.raises(sg.errors.WebhookStoreUnusable, match="deleted or replaced"):
                    await store.claim("a", "1")
            await later.keep("a", "2")
        path.unlink()
        with pytest.raises(sg.errors.WebhookStoreUnusable, match="deleted or replaced"):
            await store.claim("b", "1")
        await store.close()
        assert await store.claim("b", "1") is Claim.NEW
