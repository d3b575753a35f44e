"""Webhook stores over a database: claims of several processes, of which one is killed."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from places import ROOT, TESTS
from postgres_schemas import DSN, connected, missing
from secret_search import SecretSearch
from webhook_process import EVENT, store_of

import smartglocal_async as sg
from smartglocal_async.webhooks import Claim

LONG = 600.0
NO_SERVER = pytest.mark.skipif(missing() is not None, reason=str(missing()))
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
    assert await one.claim("a") is Claim.NEW
    assert [await each.claim("a") for each in (one, other)] == [Claim.RUNNING] * 2
    await one.keep("a")
    assert [await each.claim("a") for each in (one, other)] == [Claim.HANDLED] * 2
    assert await other.claim("b") is Claim.NEW


async def test_a_claim_that_is_released(make) -> None:
    """Another process claims it then; only the owner releases it."""
    one, other = await make(), await make()
    await one.claim("a")
    await other.forget("a")
    assert await other.claim("a") is Claim.RUNNING
    await one.forget("a")
    assert await other.claim("a") is Claim.NEW
    await other.keep("a")
    await other.forget("a")
    assert await one.claim("a") is Claim.HANDLED


async def test_many_at_once(make) -> None:
    """One of them has it."""
    stores = [await make() for _ in range(4)]
    claims: list[Claim] = []

    async def claim(store: Any) -> None:
        claims.append(await store.claim("a"))

    async with asyncio.TaskGroup() as tasks:
        for store in stores * 8:
            tasks.create_task(claim(store))
    assert (claims.count(Claim.NEW), claims.count(Claim.RUNNING)) == (1, 31)


async def test_a_long_identity(make) -> None:
    """The identity of a session with hundreds of refunds fits."""
    store = await make()
    assert await store.claim("re_" * 5_000) is Claim.NEW
    assert await store.claim("re_" * 5_000) is Claim.RUNNING


async def expired(store: Any, identity: str) -> None:
    """Claim an event until its claim has ended; the first attempt comes too early."""
    assert await store.claim(identity) is Claim.RUNNING
    async with asyncio.timeout(60):
        while await store.claim(identity) is not Claim.NEW:  # noqa: ASYNC110 - the database's time
            await asyncio.sleep(0.1)


async def test_a_late_owner_changes_nothing(make) -> None:
    """Its claim has ended, and another process has the event."""
    late, other = await make(), await make(claim_seconds=2.0)
    await late.claim("a")
    await expired(other, "a")
    await late.keep("a")
    await late.forget("a")
    assert await late.claim("a") is Claim.RUNNING
    await other.keep("a")
    assert await late.claim("a") is Claim.HANDLED


@pytest.mark.slow
async def test_a_process_that_is_killed(place, make) -> None:
    """SIGKILL in the handler: 503 until the claim ends, then a redelivery runs it again."""
    with process(place, LONG) as first:
        assert await read(first) == "claimed"
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert await (await make()).claim(EVENT.identity) is Claim.RUNNING
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
    assert await (await make(claim_seconds=1.0)).claim(EVENT.identity) is Claim.HANDLED


async def test_old_events_are_dropped(place) -> None:
    """When a store is opened."""
    async with store_of(*place, LONG) as store:
        await store.claim("a")
        await store.keep("a")
    short = store_of(*place, LONG)
    short.keep_seconds = 1
    async with asyncio.timeout(60):
        while True:
            async with short:
                if await short.claim("a") is Claim.NEW:
                    break
            await asyncio.sleep(0.1)


async def test_old_events_are_dropped_while_it_is_open(place) -> None:
    """From time to time, by a claim."""
    async with store_of(*place, LONG) as store:
        await store.claim("a")
        await store.keep("a")
        store.keep_seconds = 1
        async with asyncio.timeout(60):
            while await store.claim("a") is not Claim.NEW:
                store._next_expiry = 0.0
                await asyncio.sleep(0.1)


class TestFailures:
    """A database that can't be used."""

    async def test_no_database(self) -> None:
        """The error has no password, and names what failed."""
        store = sg.webhooks.PostgresStore("postgres://bob:pw-marmot@127.0.0.1:1/x")
        with pytest.raises(sg.errors.WebhookStoreUnusable) as refused:
            await store.claim("a")
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
                await store.claim("a")
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
            await store.claim("a")
        assert "marmot" not in str(refused.value)

    @pytest.mark.parametrize(
        "options", [{"schema": 'a"b'}, {"claim_seconds": 0}, {"keep_seconds": 0}]
    )
    def test_options(self, options) -> None:
        """Refused when the store is made."""
        with pytest.raises(sg.InvalidRequest):
            sg.webhooks.PostgresStore(DSN, **options)
