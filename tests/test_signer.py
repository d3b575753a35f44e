"""The signed bytes are those that are sent, once per call; a signer's secrets aren't shown."""

import asyncio
import concurrent.futures
import re
import subprocess
import threading
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import ClientRequest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from rawserver import RawServer, good, serve
from yarl import URL

import smartglocal_async as sg
from smartglocal_async.emulator import Fault, FaultKind, FaultScript
from smartglocal_async.signer import PoolSigner, SignRequests
from smartglocal_async.transport import FrozenBody

pytestmark = pytest.mark.both_loops

REQUEST: Final = sg.CreateSession(
    amount_details=sg.AmountDetails(10_000, "usd"), metadata={"note": "Zürich, 5 €", "n": 1.5}
)
PIN: Final = "the-hsm-pin-4711"


class Counting:
    """A signer of the caller that counts, and records its input."""

    def __init__(self, key: sg.PrivateKey | None = None) -> None:
        self.key = key
        self.bodies: list[bytes] = []

    async def sign(self, body: bytes) -> str:
        """Sign after a pause, as a remote key service would."""
        self.bodies.append(body)
        await asyncio.sleep(0)
        return self.key.sign(body) if self.key else f"signature-{len(self.bodies)}"


class Broken:
    """A signer that fails."""

    async def sign(self, body: bytes) -> str:
        """Raise an error that quotes secrets."""
        raise ValueError(PIN, body)


def headers_of(head: bytes, name: str) -> list[str]:
    """Return all values of a sent header."""
    return re.findall(rf"(?im)^{name}: (.*?)\r?$", head.decode())


async def sent_by(server: RawServer, signer: Any, **options: Any) -> tuple[bytes, bytes]:
    """Make one call; return the head and body that the server read."""
    async with sg.SmartGlocal("demo", signer, server.url, **options) as api:
        await api.session.create(REQUEST, key="order-1")
    return server.requests[-1]


class TestHeaders:
    """Headers of a request."""

    async def test_over_the_bytes_that_leave(self, key) -> None:
        """The signature is over exactly the bytes that the server reads."""
        signer = Counting(key)
        with serve(good) as server:
            head, body = await sent_by(server, signer)

        assert signer.bodies == [body]
        assert headers_of(head, "X-PARTNER-PROJECT") == ["demo"]
        [signature] = headers_of(head, "X-PARTNER-SIGN")
        assert key.public.verifies(body, signature)
        assert headers_of(head, "Content-Type") == ["application/json"]
        assert headers_of(head, "Content-Length") == [str(len(body))]
        assert headers_of(head, "X-PARTNER-SUBMERCHANT") == []

    async def test_openssl_agrees(self, key, tmp_path: Path) -> None:
        """A signature made on the pool's threads is accepted by openssl."""
        with serve(good) as server:
            head, body = await sent_by(server, key)
        [signature] = headers_of(head, "X-PARTNER-SIGN")
        for name, data in (
            ("public.pem", key.public.pem()),
            ("signature", b64decode(signature, validate=True)),
            ("body", body),
        ):
            (tmp_path / name).write_bytes(data)

        command = "openssl dgst -sha256 -verify public.pem -signature signature body"
        said = await asyncio.to_thread(
            subprocess.run, command.split(), cwd=tmp_path, capture_output=True, check=False
        )

        assert said.stdout == b"Verified OK\n"

    async def test_submerchant(self) -> None:
        """The submerchant is sent if there is one."""
        with serve(good) as server:
            head, _ = await sent_by(server, Counting(), submerchant="shop-7")

        assert headers_of(head, "X-PARTNER-SUBMERCHANT") == ["shop-7"]

    async def test_assigned_over_a_sessions_own(self) -> None:
        """Partner headers of a session are replaced, not doubled."""
        brought = dict.fromkeys(
            ("X-PARTNER-PROJECT", "X-PARTNER-SIGN", "X-PARTNER-SUBMERCHANT"), "old"
        )
        async with aiohttp.ClientSession(headers=brought) as session:
            with serve(good) as server:
                pool = sg.SessionPool(session=session)
                head, _ = await sent_by(server, Counting(), submerchant="new", pool=pool)
                await pool.close()

        assert headers_of(head, "X-PARTNER-PROJECT") == ["demo"]
        assert headers_of(head, "X-PARTNER-SIGN") == ["signature-1"]
        assert headers_of(head, "X-PARTNER-SUBMERCHANT") == ["new"]

    @pytest.mark.parametrize(
        ("make", "signed"),
        [(FrozenBody, [b"{}"]), (bytes, [b"{}", b"{}"]), (lambda _: None, [b"", b""])],
        ids=["frozen", "plain", "none"],
    )
    async def test_the_same_request_twice(
        self, make: Callable[[bytes], Any], signed: list[bytes]
    ) -> None:
        """A request sent twice has one of each header; a frozen body is signed once."""
        signer = Counting()
        sign = SignRequests("demo", signer)
        request = ClientRequest(
            "POST", URL("http://127.0.0.1/"), data=make(b"{}"), loop=asyncio.get_running_loop()
        )

        async def hand_on(_: ClientRequest) -> Any:
            return None

        for _ in range(2):
            await sign(request, hand_on)

        assert signer.bodies == signed
        assert request.headers.getall("X-PARTNER-SIGN") == [f"signature-{len(signed)}"]
        assert request.headers.getall("X-PARTNER-PROJECT") == ["demo"]
        assert "X-PARTNER-SUBMERCHANT" not in request.headers


class TestOncePerCall:
    """However many attempts, one signature."""

    FIVE = sg.RetryPolicy(attempts=5)
    FAULTS = FaultScript(
        (Fault(FaultKind.SERVER_ERROR, nth=(1, 2)), Fault(FaultKind.BEFORE, nth=(3, 4)))
    )

    async def test_on_the_pools_threads(self, run_provider, connect, clock) -> None:
        """Five attempts send identical bytes with one signature, made once."""
        provider = run_provider(faults=self.FAULTS)
        api = connect(provider, settings=sg.Settings(retry=self.FIVE, timing=clock.timing()))

        await api.session.create(REQUEST, key="order-1")

        order = provider.order("order-1")
        assert (order.attempts, len(order.digests), len(order.signatures)) == (5, 1, 1)
        assert (api.stats().pool.signatures, provider.report().bad_signatures) == (1, 0)

    async def test_by_the_callers_signer(self, run_provider, key, clock) -> None:
        """A signer of the caller is also called once."""
        provider, signer = run_provider(faults=self.FAULTS), Counting(key)
        settings = sg.Settings(retry=self.FIVE, timing=clock.timing())
        async with sg.SmartGlocal("demo", signer, provider.url, settings=settings) as api:
            await api.session.create(REQUEST, key="order-1")

            assert api.stats().pool.signatures == 0
        assert (len(signer.bodies), provider.order("order-1").attempts) == (1, 5)

    async def test_another_call_is_signed_anew(self, connect, provider) -> None:
        """Each logical call has its own signature."""
        api = connect(provider)

        await api.session.create(REQUEST, key="order-1")
        await api.session.create(REQUEST, key="order-2")

        assert api.stats().pool.signatures == 2


class Where:
    """Returns a signature that says whether it was made on the event loop, and can be held."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.may_end.set()
        self.made = 0

    def sign(self, body: bytes) -> str:
        """Return the thread's kind; on another thread, wait until it may end."""
        self.made += 1
        if body == b"raise":
            raise ValueError(PIN)
        if threading.current_thread() is threading.main_thread():
            return "loop"
        assert self.may_end.wait(30)
        return "thread"


@pytest.fixture
async def pool() -> Any:
    """Return a pool that is open in this event loop."""
    async with sg.SessionPool(signing_threads=1) as pool:
        await pool.enter()
        yield pool


class TestWhereItIsMade:
    """On the event loop if nothing else waits, otherwise on a thread of the pool."""

    async def test_one_after_the_other(self, pool) -> None:
        """Each is made on the event loop, if that takes no longer than using a thread."""
        where = Where()
        for _ in range(3):
            assert await pool.sign(where.sign, b"", is_quick=True) == "loop"
            await asyncio.sleep(0)
        assert await pool.sign(where.sign, b"") == "thread"
        assert pool.stats().signatures == 4

    async def test_three_in_a_turn(self, pool) -> None:
        """Of many at once, the event loop makes three, and is free for the others' answers."""
        where = Where()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(pool.sign(where.sign, b"", is_quick=True)) for _ in range(10)
            ]
        assert [task.result() for task in tasks] == ["loop"] * 3 + ["thread"] * 7

    async def test_behind_one_that_is_being_made(self, pool) -> None:
        """While a thread signs, others are queued there; one that is cancelled isn't made."""
        where = Where()
        where.may_end.clear()
        first = asyncio.ensure_future(pool.sign(where.sign, b""))
        quick = [pool.sign(where.sign, b"", is_quick=True) for _ in range(4)]
        *others, second = [asyncio.ensure_future(one) for one in quick]
        await asyncio.sleep(0)
        second.cancel()
        where.may_end.set()
        assert await first == "thread"
        assert [await other for other in others] == ["loop"] * 3
        with pytest.raises(asyncio.CancelledError):
            await second
        assert await pool.sign(where.sign, b"", is_quick=True) == "loop"
        assert where.made == 5

    async def test_many_that_threads_make(self, pool) -> None:
        """Each gets its own, also those that wait while others are passed on."""

        def make(body: bytes) -> str:
            return body.decode() * 2

        async with asyncio.TaskGroup() as group:
            signing = [
                group.create_task(pool.sign(make, str(number).encode())) for number in range(50)
            ]
        assert [task.result() for task in signing] == [str(number) * 2 for number in range(50)]

    async def test_one_of_many_that_raises(self, pool) -> None:
        """The others that wait behind it get theirs."""
        where = Where()
        where.may_end.clear()
        signing = [pool.sign(where.sign, body) for body in (b"", b"raise", b"")]
        tasks = [asyncio.ensure_future(one) for one in signing]
        await asyncio.sleep(0)
        where.may_end.set()
        _ = await asyncio.wait(tasks)
        first, failed, last = tasks
        assert (first.result(), last.result()) == ("thread", "thread")
        assert isinstance(failed.exception(), ValueError)

    def test_for_several_event_loops(self) -> None:
        """Threads pass each signature on to the loop that asked for it."""
        pool, where = sg.SessionPool(signing_threads=1), Where()

        async def sign() -> list[str]:
            async with asyncio.TaskGroup() as group:
                signing = [group.create_task(pool.sign(where.sign, b"")) for _ in range(20)]
            return [task.result() for task in signing]

        with concurrent.futures.ThreadPoolExecutor() as others:
            made = [others.submit(asyncio.run, sign()) for _ in range(3)]
            assert [one.result(30) for one in made] == [["thread"] * 20] * 3
        asyncio.run(pool.close())

    async def test_one_that_raises(self, pool) -> None:
        """The next one is made as usual."""
        where = Where()
        for is_quick in (True, False):
            with pytest.raises(ValueError, match=PIN):
                await pool.sign(where.sign, b"raise", is_quick=is_quick)
            await asyncio.sleep(0)
            assert await pool.sign(where.sign, b"", is_quick=True) == "loop"
            await asyncio.sleep(0)

    async def test_in_a_pool_that_is_closed(self, pool) -> None:
        """Nothing is signed, wherever it would have been."""
        await pool.close()
        with pytest.raises(sg.errors.PoolClosed):
            await pool.sign(Where().sign, b"", is_quick=True)

    @pytest.mark.parametrize(("bits", "is_quick"), [(2048, True), (3072, False)])
    async def test_of_a_long_key(self, pool, bits, is_quick) -> None:
        """A key over 2048 bits signs only on a thread; the first time, every key does."""
        asked = []

        class Asking:
            async def sign(self, make: Any, body: bytes, *, is_quick: bool = False) -> str:
                asked.append(is_quick)
                return await pool.sign(make, body, is_quick=is_quick)

        key = await asyncio.to_thread(sg.PrivateKey.generate, bits)
        signer = PoolSigner(Asking(), key)
        signatures = {await signer.sign(b"body") for _ in range(3)}

        assert asked == [False, is_quick, is_quick]
        assert len(signatures) == 1
        assert key.public.verifies(b"body", signatures.pop())


def damaged(key: sg.PrivateKey) -> sg.PrivateKey:
    """Return a key that loads, and whose parts belong to another one."""
    numbers = key._key.private_numbers()
    other = rsa.generate_private_key(65537, 2048).private_numbers()
    mixed = rsa.RSAPrivateNumbers(
        p=numbers.p,
        q=numbers.q,
        d=other.d,
        dmp1=other.dmp1,
        dmq1=other.dmq1,
        iqmp=numbers.iqmp,
        public_numbers=numbers.public_numbers,
    ).private_key(unsafe_skip_rsa_key_validation=True)
    return sg.PrivateKey.from_pem(
        mixed.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


class TestFailure:
    """A signer that fails ends the call before anything is sent."""

    async def test_of_the_callers_signer(self, clock) -> None:
        """The error has the exception's class and not its message; nothing is repeated."""
        settings = sg.Settings(timing=clock.timing())
        with serve(good) as server, pytest.raises(sg.NotSent) as failed:
            await sent_by(server, Broken(), settings=settings)

        assert failed.value.cause == "SignerFailed: Broken raised ValueError"
        assert (failed.value.attempts, failed.value.stopped_by) == (1, None)
        assert (server.connections, clock.waits) == (0, [])
        assert PIN not in repr(failed.value) + str(failed.value)

    async def test_of_a_damaged_key(self, key, clock) -> None:
        """A key with inconsistent parts is detected, and no signature of it is sent."""
        settings = sg.Settings(timing=clock.timing())
        broken = await asyncio.to_thread(damaged, key)
        with serve(good) as server, pytest.raises(sg.NotSent, match="the private key is damaged"):
            await sent_by(server, broken, settings=settings)

        assert (server.connections, clock.waits) == (0, [])
