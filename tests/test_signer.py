"""What is signed is what leaves, once per call; and a signer's secrets stay its own."""

import asyncio
import re
import subprocess
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
from smartglocal_async.middlewares.signer import SignRequests
from smartglocal_async.transport import FrozenBody

REQUEST: Final = sg.CreateSession(
    amount_details=sg.AmountDetails(10_000, "usd"), metadata={"note": "Zürich, 5 €", "n": 1.5}
)
PIN: Final = "the-hsm-pin-4711"


class Counting:
    """A signer of the caller's own: it counts, and remembers what it was given."""

    def __init__(self, key: sg.PrivateKey | None = None) -> None:
        self.key = key
        self.bodies: list[bytes] = []

    async def sign(self, body: bytes) -> str:
        """Sign after a pause, as a remote key service would."""
        self.bodies.append(body)
        await asyncio.sleep(0)
        return self.key.sign(body) if self.key else f"signature-{len(self.bodies)}"


class Broken:
    """A signer that can't."""

    async def sign(self, body: bytes) -> str:
        """Quote what nobody should."""
        raise ValueError(PIN, body)


def headers_of(head: bytes, name: str) -> list[str]:
    """Give every value under which a header left."""
    return re.findall(rf"(?im)^{name}: (.*?)\r?$", head.decode())


async def sent_by(server: RawServer, signer: Any, **options: Any) -> tuple[bytes, bytes]:
    """Make one call; give the head and body that the server read."""
    async with sg.SmartGlocal("demo", signer, server.url, **options) as api:
        await api.session.create(REQUEST, key="order-1")
    return server.requests[-1]


class TestHeaders:
    """What a request carries."""

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
        """A signature made on the pool's threads holds before openssl itself."""
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
        """A submerchant is named where there is one."""
        with serve(good) as server:
            head, _ = await sent_by(server, Counting(), submerchant="shop-7")

        assert headers_of(head, "X-PARTNER-SUBMERCHANT") == ["shop-7"]

    async def test_assigned_over_a_sessions_own(self) -> None:
        """Partner headers that a session brings along are replaced, not doubled."""
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
        """A request handed over twice has one of each header; a frozen body is signed once."""
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
        """Five attempts send identical bytes under one signature, made once."""
        provider = run_provider(faults=self.FAULTS)
        api = connect(provider, settings=sg.Settings(retry=self.FIVE, timing=clock.timing()))

        await api.session.create(REQUEST, key="order-1")

        order = provider.order("order-1")
        assert (order.attempts, len(order.digests), len(order.signatures)) == (5, 1, 1)
        assert (api.stats().pool.signatures, provider.report().bad_signatures) == (1, 0)

    async def test_by_the_callers_signer(self, run_provider, key, clock) -> None:
        """A signer of the caller's own is asked once too."""
        provider, signer = run_provider(faults=self.FAULTS), Counting(key)
        settings = sg.Settings(retry=self.FIVE, timing=clock.timing())
        async with sg.SmartGlocal("demo", signer, provider.url, settings=settings) as api:
            await api.session.create(REQUEST, key="order-1")

            assert api.stats().pool.signatures == 0
        assert (len(signer.bodies), provider.order("order-1").attempts) == (1, 5)

    async def test_another_call_is_signed_anew(self, connect, provider) -> None:
        """Each logical call has a signature of its own."""
        api = connect(provider)

        await api.session.create(REQUEST, key="order-1")
        await api.session.create(REQUEST, key="order-2")

        assert api.stats().pool.signatures == 2


def damaged(key: sg.PrivateKey) -> sg.PrivateKey:
    """Give a key that loads, and whose parts belong to another one."""
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
    """A signer that fails ends the call before anything leaves."""

    async def test_of_the_callers_signer(self, clock) -> None:
        """The error names the exception's class and none of its words; nothing is repeated."""
        settings = sg.Settings(timing=clock.timing())
        with serve(good) as server, pytest.raises(sg.NotSent) as failed:
            await sent_by(server, Broken(), settings=settings)

        assert failed.value.cause == "SignerFailed: Broken raised ValueError"
        assert (failed.value.attempts, failed.value.stopped_by) == (1, None)
        assert (server.connections, clock.waits) == (0, [])
        assert PIN not in repr(failed.value) + str(failed.value)

    async def test_of_a_damaged_key(self, key, clock) -> None:
        """A key whose parts don't fit never signs anything that leaves, and is named."""
        settings = sg.Settings(timing=clock.timing())
        broken = await asyncio.to_thread(damaged, key)
        with serve(good) as server, pytest.raises(sg.NotSent, match="the private key is damaged"):
            await sent_by(server, broken, settings=settings)

        assert (server.connections, clock.waits) == (0, [])
