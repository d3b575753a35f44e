"""The emulator as a server: who may call it, what doesn't matter, how it starts and stops."""

import asyncio
import base64
import contextlib
import json
import logging
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from attrs import field, frozen
from emulated import payout

from smartglocal_async.emulator import (
    Confirmation,
    Duplicates,
    Fault,
    FaultKind,
    FaultScript,
    Movement,
    Provider,
    RequestRecord,
    Rules,
    run,
    run_in_thread,
)
from smartglocal_async.errors import InvalidCredentials
from smartglocal_async.keys import PrivateKey

KEY: Final = PrivateKey.generate()
CREATE: Final = "/api/v1/session/create"
START: Final = "/api/v1/session/start/payout"
STATUS: Final = "/api/v1/session/status"
SAMPLE: Final = b'{"amount_details": {"amount": 10000, "currency": "usd"}, "metadata": "order123"}'
NOW: Final = datetime(2024, 5, 27, 2, 3, tzinfo=UTC)


@frozen
class Client:
    """A bare client: bytes out, status and JSON in."""

    url: str
    _session: aiohttp.ClientSession = field(repr=False)

    async def send(
        self,
        body: bytes,
        path: str = CREATE,
        *,
        method: str = "POST",
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Sign and send; by default with correct headers."""
        if headers is None:
            headers = signed(body)
        async with self._session.request(
            method, self.url + path, data=body, headers=headers
        ) as answer:
            assert answer.content_type == "application/json"
            return answer.status, json.loads(await answer.read())


def signed(body: bytes, **more: str) -> dict[str, str]:
    """Return the partner's headers and others, such as ``X_PARTNER_IDEMPOTENCY_KEY="k"``."""
    headers = {"X-PARTNER-PROJECT": "demo", "X-PARTNER-SIGN": KEY.sign(body)}
    return headers | {name.replace("_", "-"): value for name, value in more.items()}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Return a plain session with a time-out."""
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield session


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """Return an emulator without faults, at the time of the sample."""
    async with run(public_key=KEY.public, clock=lambda: NOW) as provider:
        yield provider


@pytest.fixture
def client(provider: Provider, session: aiohttp.ClientSession) -> Client:
    """Return a client of that emulator."""
    return Client(provider.url, session)


async def test_the_sample_request_gets_the_sample_answer(client: Client) -> None:
    """The provider's example is answered as on its page, with the metadata returned."""
    status, answer = await client.send(SAMPLE)

    assert status == 200
    assert json.dumps(answer) == (
        '{"status": "ok", "session": {"id": "ps_1", "status": "created", '
        '"created_at": "2024-05-27T02:03:00.000000Z", '
        '"updated_at": "2024-05-27T02:03:00.000000Z", "metadata": "order123"}}'
    )
    assert await client.send(b'{"session_id":"ps_1"}', STATUS) == (status, answer)


@pytest.mark.parametrize(
    ("body", "version"),
    [
        (b'{"payment_method":{"type":"card","card":{}}}', 1),
        (b'{"payout_details":{"type":"card","card":{}}}', 2),
    ],
)
async def test_each_version_has_its_own_names(client: Client, body: bytes, version: int) -> None:
    """A payout's instrument is accepted only under the name of the path's version."""
    right, _ = await client.send(body, f"/api/v{version}/session/create")
    wrong, answer = await client.send(body, f"/api/v{3 - version}/session/create")

    assert (right, wrong, answer["error"]["code"]) == (200, 400, "invalid_request")


BAD_SIGNATURE: Final = {"X-PARTNER-PROJECT": "demo", "X-PARTNER-SIGN": KEY.sign(b"other")}
NO_SIGNATURE: Final = {"X-PARTNER-PROJECT": "demo"}
ODD_SIGNATURE: Final = {"X-PARTNER-PROJECT": "demo", "X-PARTNER-SIGN": "é"}
STRANGER: Final = {"X-PARTNER-PROJECT": "other", "X-PARTNER-SIGN": "x"}


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b"not json", {}, "identification_error"),
        (b"not json", STRANGER, "identification_error"),
        (b"not json", NO_SIGNATURE, "authentication_error"),
        (b"not json", BAD_SIGNATURE, "authentication_error"),
        (b"not json", ODD_SIGNATURE, "authentication_error"),
        *(
            (body, signed(body), "invalid_request")
            for body in (
                b"",
                b"not json",
                b"[1]",
                b"[{}]",
                b"null",
                b'"text"',
                b'{"metadata": NaN}',
                b'{"metadata": -Infinity}',
                b'{"metadata": 1e999}',
                b'{"metadata": "\xff"}',
                b'\xef\xbb\xbf{"metadata": 1}',
                '{"metadata": 1}'.encode("utf-16"),
                b'{"metadata": ' + b"[" * 200 + b"]" * 200 + b"}",
                b'{"metadata": ' + b"[" * 100_000,
                b'{"metadata": ' + b"9" * 5000 + b"}",
            )
        ),
    ],
)
@pytest.mark.parametrize("status", [400, 200])
async def test_who_and_what_is_turned_away(
    session: aiohttp.ClientSession,
    body: bytes,
    headers: dict[str, str],
    code: str,
    status: int,
) -> None:
    """Project, then signature, then JSON; with the HTTP status of the rules."""
    rules = Rules(error_http_status=status)
    async with run(public_key=KEY.public, rules=rules) as provider:
        got, answer = await Client(provider.url, session).send(body, headers=headers)
        report = provider.report()

    assert (got, answer["status"], answer["error"]["code"]) == (status, "error", code)
    assert list(answer["error"]) == ["code", "description"]
    assert (report.requests, report.sessions) == (1, 0)
    assert (report.bad_signatures, report.refused) == (
        (1, 0) if code == "authentication_error" else (0, 1)
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", CREATE),
        ("PUT", STATUS),
        ("POST", "/"),
        ("POST", "/api/v3/session/create"),
        ("POST", "/api/v1/session/create/"),
        ("POST", "/api/v1/session/start"),
        ("POST", "/api/v2/token"),
        ("POST", "/api/v1/fps/banks"),
    ],
)
async def test_what_does_not_exist_is_not_found(
    client: Client, provider: Provider, method: str, path: str
) -> None:
    """Other paths and methods get an error envelope with HTTP 404."""
    status, answer = await client.send(b"{}", path, method=method)

    assert (status, answer["error"]["code"]) == (404, "invalid_request")
    assert provider.report().refused == 1


async def test_a_refusal_of_the_bank_has_the_status_of_the_rules(
    session: aiohttp.ClientSession,
) -> None:
    """A used key is refused with HTTP 200 if the rules say so."""
    rules = Rules(error_http_status=200, duplicates=Duplicates.REFUSE, metadata_is_key=True)
    async with run(public_key=KEY.public, rules=rules) as provider:
        client = Client(provider.url, session)
        answers = [await client.send(SAMPLE) for _ in range(2)]

    assert [status for status, _ in answers] == [200, 200]
    assert answers[1][1]["error"]["code"] == "idempotency_key_already_exists"


@pytest.mark.parametrize(
    "body",
    [
        b'{"amount_details":{"amount":5,"currency":"eur"},"metadata":{"idempotency_key":"\xc3\xa9"}}',
        b'{"metadata":{"idempotency_key":"\\u00e9"},"amount_details":{"currency":"EUR","amount":5}}',
        b'\n{ "metadata" : {"idempotency_key" :\t"\\u00E9"},\r\n"amount_details" : null}',
    ],
)
async def test_how_a_client_writes_json_does_not_matter(
    client: Client, provider: Provider, body: bytes
) -> None:
    """Key order, spaces and escapes don't matter."""
    body = body.replace(b"null", b'{"amount": 5, "currency": "eur"}')
    _ = await client.send(b'{"metadata": {"idempotency_key": "\xc3\xa9"}}')

    status, answer = await client.send(body)

    assert (status, answer["session"]["id"]) == (200, "ps_1")
    order = provider.order("é")
    assert (order.attempts, order.made, len(order.digests)) == (2, 1, 2)
    assert provider.report().changed == 1


@pytest.mark.parametrize("metadata", ['"\\ud800"', "12345678901234567890123", "[1.5, -0.0]", "{}"])
async def test_metadata_comes_back_as_it_went(client: Client, metadata: str) -> None:
    """Any JSON value is returned, such as a lone surrogate or a number beyond 64 bits."""
    _, answer = await client.send(b'{"metadata": %s}' % metadata.encode())

    assert answer["session"]["metadata"] == json.loads(metadata)


async def test_an_empty_list_is_a_call_without_parameters(client: Client) -> None:
    """PHP clients send an empty list for a call without parameters."""
    status, answer = await client.send(b" [] ")

    assert (status, answer["session"]["status"]) == (200, "created")


async def test_the_case_of_headers_does_not_matter(client: Client, provider: Provider) -> None:
    """Headers are found in any case, the key's included."""
    headers = signed(b"{}", X_PARTNER_IDEMPOTENCY_KEY="k")
    for spell in (str.lower, str.upper, str.title):
        status, answer = await client.send(
            b"{}", headers={spell(name): value for name, value in headers.items()}
        )
        assert (status, answer["session"]["id"]) == (200, "ps_1")

    assert provider.order("k").attempts == 3
    assert len(provider.order("k").signatures) == 1


async def test_a_body_may_be_large(client: Client) -> None:
    """No limit is known, so the emulator has none."""
    # The largest that this client sends without a warning; aiohttp.web's own limit is below.
    body = b'{"metadata": 1}'.ljust(2**20)

    status, _ = await client.send(body)

    assert status == 200


OPENSSL: Final = shutil.which("openssl")


def openssl_signature(body: bytes, folder: Path) -> str:
    """Sign as the provider's customers do by hand."""
    assert OPENSSL is not None
    _ = (folder / "key.pem").write_bytes(KEY.pem())
    done = subprocess.run(  # fixed words and a file of our own
        [OPENSSL, "dgst", "-sha256", "-sign", str(folder / "key.pem")],
        input=body,
        capture_output=True,
        check=True,
    )
    return base64.b64encode(done.stdout).decode("ascii")


@pytest.mark.skipif(OPENSSL is None, reason="needs the openssl program")
async def test_a_signature_by_openssl_is_accepted(client: Client, tmp_path: Path) -> None:
    """A signature of an independent tool is accepted."""
    signature = openssl_signature(SAMPLE, tmp_path)

    status, _ = await client.send(
        SAMPLE, headers={"X-PARTNER-PROJECT": "demo", "X-PARTNER-SIGN": signature}
    )

    assert status == 200


async def test_every_request_is_reported_before_its_answer(session: aiohttp.ClientSession) -> None:
    """The record has what was received; its text has neither body nor signature."""
    records: list[RequestRecord] = []
    faults = FaultScript((Fault(FaultKind.AFTER, nth=(2,), key="k"),))
    headers = signed(b"{}", X_PARTNER_IDEMPOTENCY_KEY="k")
    async with run(
        public_key=KEY.public, faults=faults, on_request=records.append, clock=lambda: NOW
    ) as provider:
        client = Client(provider.url, session)
        _ = await client.send(b"{}", headers=headers)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            _ = await client.send(b"{}", headers=headers)
        _ = await client.send(b'{"session_id": "ps_9"}', STATUS)
        _ = await client.send(b"{}", headers=headers | {"X-PARTNER-SIGN": "secret"})

    made = RequestRecord(
        time=NOW,
        operation="session/create",
        key="k",
        attempt=1,
        http_status=200,
        session_id="ps_1",
    )
    assert records == [
        made,
        RequestRecord(
            time=NOW,
            operation="session/create",
            key="k",
            attempt=2,
            fault="after",
            session_id="ps_1",
        ),
        RequestRecord(
            time=NOW,
            operation="session/status",
            attempt=3,
            http_status=400,
            error_code="session_not_found",
        ),
        RequestRecord(
            time=NOW,
            operation="session/create",
            http_status=400,
            error_code="authentication_error",
        ),
    ]
    assert "secret" not in repr(records)


async def test_the_report_can_be_read_by_http(
    client: Client, provider: Provider, session: aiohttp.ClientSession
) -> None:
    """Another process reads the same counts, without a signature and without being counted."""
    _ = await client.send(SAMPLE)

    async with session.get(provider.url + "/emulator/report") as answer:
        told = await answer.json()

    assert told == provider.report().as_dict()
    assert (told["requests"], told["sessions"], told["orders"]) == (1, 1, 1)


async def test_the_orders_can_be_read_by_http(session: aiohttp.ClientSession) -> None:
    """Each key has the money that moved with it."""
    terms = json.dumps({"session_id": "ps_1", **payout(5)}).encode()
    async with run(
        public_key=KEY.public, rules=Rules(confirmation=Confirmation.AUTOMATIC)
    ) as provider:
        client = Client(provider.url, session)
        for key in ("paid", "only-made"):
            _ = await client.send(b"{}", headers=signed(b"{}", X_PARTNER_IDEMPOTENCY_KEY=key))
        _ = await client.send(terms, START)
        _ = await client.send(b'{"metadata": {"payee": "Anna"}}')
        async with session.get(provider.url + "/emulator/orders") as answer:
            told = await answer.json()

        assert list(told)[:2] == ["paid", "only-made"]
        assert "Anna" not in list(told)[2]
        assert [Movement(**one) for one in told["paid"]] == list(provider.order("paid").movements)
        assert [one["amount"] for one in told["paid"]] == [5]
        assert told["only-made"] == []


async def test_many_at_once_lose_nothing(client: Client, provider: Provider) -> None:
    """Concurrent requests of few keys create one session for each key."""
    bodies = [b'{"metadata": {"idempotency_key": "%d"}}' % (n % 10) for n in range(200)]

    async with asyncio.TaskGroup() as tasks:
        for body in bodies:
            _ = tasks.create_task(client.send(body))

    report = provider.report()
    assert (report.requests, report.orders, report.sessions) == (200, 10, 10)
    assert (report.duplicates, report.changed) == (0, 0)
    assert {provider.order(str(n)).attempts for n in range(10)} == {20}


async def test_a_pair_is_made_if_none_is_given(session: aiohttp.ClientSession) -> None:
    """Without a public key, the private half is returned; with one, there is none."""
    async with run(project="mine") as provider:
        assert provider.private_key is not None
        headers = {
            "X-PARTNER-PROJECT": "mine",
            "X-PARTNER-SIGN": provider.private_key.sign(b"{}"),
        }
        status, _ = await Client(provider.url, session).send(b"{}", headers=headers)

    async with run(public_key=KEY.public.pem()) as provider:
        assert provider.private_key is None
        other, _ = await Client(provider.url, session).send(b"{}")

    assert (status, other) == (200, 200)


class TestLatency:
    """Delayed answers."""

    async def test_answers_are_delayed_concurrently(self, session: aiohttp.ClientSession) -> None:
        """All calls wait at the same time, and the server's end ends every wait."""
        count = 20
        seen: list[RequestRecord] = []
        arrived = asyncio.Event()

        def told(one: RequestRecord) -> None:
            seen.append(one)
            if len(seen) == count:
                arrived.set()

        async with (
            asyncio.TaskGroup() as group,
            run(
                public_key=KEY.public, rules=Rules(latency_seconds=3600), on_request=told
            ) as provider,
        ):
            client = Client(provider.url, session)
            asked = [group.create_task(client.send(b"{}")) for _ in range(count)]
            _ = await arrived.wait()
            async with session.get(provider.url + "/emulator/report") as answer:
                assert (await answer.json())["sessions"] == count
            assert not any(task.done() for task in asked)
        assert {task.result()[0] for task in asked} == {200}

    @pytest.mark.parametrize("kind", [None, FaultKind.AFTER, FaultKind.CUT, FaultKind.ERROR_200])
    async def test_no_answer_comes_before(
        self, kind: FaultKind | None, session: aiohttp.ClientSession
    ) -> None:
        """With any body, and from any client."""
        faults = FaultScript([Fault(kind, nth=(1,))] if kind else [])
        rules = Rules(latency_seconds=0.1)
        async with run(public_key=KEY.public, rules=rules, faults=faults) as provider:
            for headers in (signed(b"{}"), STRANGER):
                begun = asyncio.get_running_loop().time()
                with contextlib.suppress(aiohttp.ClientError):
                    _ = await Client(provider.url, session).send(b"{}", headers=headers)
                assert asyncio.get_running_loop().time() - begun >= 0.1


class TestStartAndStop:
    """Nothing is left running after the emulator."""

    async def test_on_the_same_loop(self, session: aiohttp.ClientSession) -> None:
        """With an idle, a waiting and a half-sent connection, no task is left."""
        arrived = asyncio.Event()
        before = asyncio.all_tasks()
        async with run(
            public_key=KEY.public,
            faults=FaultScript((Fault(FaultKind.SLOW, nth=(2,), seconds=3600),)),
            on_request=lambda seen: arrived.set() if seen.fault else None,
        ) as provider:
            client = Client(provider.url, session)
            _ = await client.send(b"{}")
            slow = asyncio.ensure_future(client.send(b"{}"))
            _ = await arrived.wait()
            writer = await half_a_request(provider)

        status, _ = await slow
        assert status == 200
        writer.close()
        await writer.wait_closed()
        assert asyncio.all_tasks() <= before

    async def test_a_client_that_leaves_half_way(
        self, client: Client, provider: Provider, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An incomplete upload is no request, and no error is logged."""
        writer = await half_a_request(provider)
        writer.close()
        await writer.wait_closed()
        _ = await client.send(b"{}")

        assert provider.report().requests == 1
        assert caplog.records == []

    async def test_on_a_thread(self, session: aiohttp.ClientSession) -> None:
        """The same provider on its own thread, which ends afterwards."""
        before = threading.enumerate()

        def told(seen: RequestRecord) -> None:
            if seen.fault:
                _ = loop.call_soon_threadsafe(arrived.set)

        hang = FaultScript((Fault(FaultKind.HANG, nth=(2,)),))
        arrived = asyncio.Event()
        loop = asyncio.get_running_loop()
        with run_in_thread(
            public_key=KEY.public,
            faults=hang,
            on_request=told,
        ) as provider:
            client = Client(provider.url, session)
            status, _ = await client.send(b"{}")
            hanging = asyncio.ensure_future(client.send(b"{}"))
            _ = await arrived.wait()
            assert provider.session_ids == ("ps_1", "ps_2")

        with pytest.raises(aiohttp.ServerDisconnectedError):
            _ = await hanging
        assert status == 200
        assert threading.enumerate() == before

    def test_port_in_use_raises(self) -> None:
        """A server that can't start raises in the caller, thread or not."""
        before = threading.enumerate()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(OSError, match="in use"), run_in_thread(port=port):
                pass
        assert threading.enumerate() == before

    async def test_invalid_key_raises(self) -> None:
        """An unreadable key raises in the caller."""
        with pytest.raises(InvalidCredentials), run_in_thread(public_key=b"no key"):
            pass
        with pytest.raises(InvalidCredentials):
            async with run(public_key=b"no key"):
                pass

    def test_an_error_inside_the_block_passes(self) -> None:
        """An error in the block is raised unchanged, and the server stops."""
        before = threading.enumerate()
        with (
            pytest.raises(ZeroDivisionError),
            run_in_thread(public_key=KEY.public) as provider,
        ):
            _ = 1 / len(provider.session_ids)
        assert threading.enumerate() == before

    def test_the_port_can_be_chosen(self) -> None:
        """The address has the chosen port."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with run_in_thread(public_key=KEY.public, port=port) as provider:
            assert provider.url == f"http://127.0.0.1:{port}"


async def half_a_request(provider: Provider) -> asyncio.StreamWriter:
    """Send headers and one byte of nine."""
    host, port = provider.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST {CREATE} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n\r\n{{".encode())
    await writer.drain()
    return writer


@pytest.mark.parametrize("kind", [FaultKind.CLOSES, FaultKind.CUT, FaultKind.CHUNK_CUT])
async def test_client_that_is_gone_is_no_error(
    kind: FaultKind, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer to a disconnected client is dropped without a log record."""
    head = "POST /api/v1/session/create HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
    lines = "".join(f"{name}: {value}\r\n" for name, value in signed(b"{}").items())
    asked = asyncio.Event()

    def vanish(_: RequestRecord) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        asked.set()

    faults = FaultScript((Fault(kind, nth=(1,)),))
    with caplog.at_level(logging.INFO):
        async with run(public_key=KEY.public, faults=faults, on_request=vanish) as provider:
            host, port = provider.url.removeprefix("http://").split(":")
            client = socket.create_connection((host, int(port)))
            client.sendall(f"{head}{lines}\r\n{{}}".encode())
            await asked.wait()
    assert not [record for record in caplog.records if record.name.startswith("aiohttp")]
