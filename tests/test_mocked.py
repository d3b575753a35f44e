"""The client over mocked answers: envelope, HTTP statuses, retry table.

aioresponses replaces `ClientSession._request`, so nothing below it runs: no middleware, no
signature, no socket. These tests cover how a client interprets an *answer*.
"""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Final

import aiohttp
import pytest
from aioresponses import aioresponses
from aioresponses_shim import MockedProvider
from places import SAMPLES

import smartglocal_async as sg
from smartglocal_async.operations import SESSION_CREATE

pytestmark = pytest.mark.both_loops

CREATE: Final = f"{sg.DEMO}/api/v1/session/create"
STATUS: Final = f"{sg.DEMO}/api/v1/session/status"
OK: Final = (SAMPLES / "session-create.ok.json").read_bytes()
ERROR: Final = (SAMPLES / "session-create.error.json").read_bytes()
HTML: Final = b"<html><body>503 Service Unavailable</body></html>"
ORDER: Final = sg.CreateSession(amount_details=sg.AmountDetails(10_000, "usd"), metadata="order123")


def envelope(code: str, description: str = "no") -> bytes:
    """Return an error envelope."""
    error = {"code": code, "description": description}
    return json.dumps({"status": "error", "error": error}).encode()


@pytest.fixture
def mocked() -> Iterator[MockedProvider]:
    """Return mocked answers for every session of aiohttp."""
    with MockedProvider() as mocked:
        yield mocked


@pytest.fixture
async def client(key, clock) -> AsyncIterator[sg.SmartGlocal]:
    """Return a client of the demo server on a test clock."""
    settings = sg.Settings(timing=clock.timing())
    async with sg.SmartGlocal("demo", key, sg.DEMO, settings=settings) as client:
        yield client


def sent(mocked: MockedProvider) -> list[bytes]:
    """Return the bodies that were sent, in order."""
    calls = [call for calls in mocked.requests.values() for call in calls]
    return [call.kwargs["data"].decode().encode() for call in calls]


async def test_the_shim_is_still_needed() -> None:
    """If this fails, aioresponses supports this aiohttp again: delete aioresponses_shim.py."""
    with aioresponses() as plain:
        plain.post(CREATE, body=OK)
        async with aiohttp.ClientSession() as session:
            with pytest.raises(TypeError, match="stream_writer"):
                await session.post(CREATE)


async def test_mocks_run_no_middleware(mocked, client) -> None:
    """The signer is never called, so signatures can't be tested with mocks."""
    mocked.post(CREATE, body=OK)

    await client.session.create(ORDER)

    assert client.stats().pool.signatures == 0


async def test_the_pages_request_gets_the_pages_answer(mocked, client) -> None:
    """The provider's own example, byte for byte in both directions."""
    mocked.post(CREATE, body=OK)

    session = await client.session.create(ORDER)

    assert sent(mocked) == [(SAMPLES / "session-create.request.compact.json").read_bytes()]
    assert (session.id, session.status) == ("ps_3230", "created")


async def test_the_answer_as_printed_is_no_json(mocked, client) -> None:
    """The example has a comma too many; as an answer, its outcome is unknown."""
    printed = (SAMPLES / "session-create.ok.as-printed.txt").read_bytes()
    mocked.post(CREATE, body=printed, repeat=True)

    with pytest.raises(sg.OutcomeUnknown) as caught:
        await client.session.create(ORDER)
    assert caught.value.cause == "the answer isn't JSON, or was cut short"


async def test_the_pages_refusal_reaches_the_caller(mocked, client) -> None:
    """Code and description of the provider's own example."""
    mocked.post(CREATE, body=ERROR)

    with pytest.raises(sg.Refused) as caught:
        await client.session.create(ORDER, key="order-1")
    error = caught.value
    assert (error.code, error.description) == ("error code", "error description")
    assert (error.code_class, error.attempts) == (sg.errors.CodeClass.UNRECOGNISED, 1)
    assert (error.key, error.http_status, error.stopped_by) == ("order-1", 200, None)


# Answer of every attempt -> result for the caller, number of attempts, what stopped them.
ANSWERS: Final = [
    (200, envelope("invalid_request"), sg.Refused, 1, None),
    (400, envelope("invalid_request"), sg.Refused, 1, None),
    (503, envelope("invalid_request"), sg.Refused, 1, None),
    (429, envelope("invalid_request"), sg.Refused, 1, None),
    (200, envelope("internal_error"), sg.OutcomeUnknown, 3, "attempts"),
    (500, envelope("provider_timeout"), sg.OutcomeUnknown, 3, "attempts"),
    (200, envelope("capture_timeout"), sg.Refused, 1, None),
    (200, envelope("3DS_error"), sg.Refused, 1, None),
    (200, envelope("brand_new"), sg.Refused, 1, None),
    (422, envelope("brand_new"), sg.Refused, 1, None),
    (502, envelope("brand_new"), sg.OutcomeUnknown, 3, "attempts"),
    (429, envelope("brand_new"), sg.Refused, 3, "attempts"),
    (400, envelope("idempotency_key_already_exists"), sg.OutcomeUnknown, 1, None),
    (503, HTML, sg.OutcomeUnknown, 3, "attempts"),
    (502, b"", sg.OutcomeUnknown, 3, "attempts"),
    (200, b"", sg.OutcomeUnknown, 3, "attempts"),
    (200, OK[:40], sg.OutcomeUnknown, 3, "attempts"),
    (200, b"\xff\xfe", sg.OutcomeUnknown, 3, "attempts"),
    (200, b'{"status":"ok"}', sg.OutcomeUnknown, 1, None),
    (408, HTML, sg.OutcomeUnknown, 3, "attempts"),
    (429, HTML, sg.Refused, 3, "attempts"),
    (404, HTML, sg.Refused, 1, None),
    (403, b"", sg.Refused, 1, None),
    (307, b"", sg.Refused, 1, None),
]


@pytest.mark.parametrize("row", ANSWERS)
async def test_result_of_each_answer(mocked, client, row) -> None:
    """The envelope decides before the status; only safe calls are retried."""
    status, body, error, attempts, stopped_by = row
    mocked.post(CREATE, status=status, body=body, repeat=True, headers={"Location": CREATE})

    with pytest.raises(sg.CallFailed) as caught:
        await client.session.create(ORDER)
    assert type(caught.value) is error
    assert (caught.value.attempts, len(sent(mocked))) == (attempts, attempts)
    assert (caught.value.stopped_by, caught.value.http_status) == (stopped_by, status)


@pytest.mark.parametrize("status", [200, 201, 400, 404, 429, 500, 503])
async def test_an_ok_envelope_is_a_session_whatever_the_status(mocked, client, status) -> None:
    """The envelope decides first."""
    mocked.post(CREATE, status=status, body=OK, content_type="text/html")

    assert (await client.session.create(ORDER)).id == "ps_3230"


@pytest.mark.parametrize(
    ("status", "body"),
    [(503, HTML), (429, HTML), (200, b""), (200, envelope("internal_error")), (200, OK[:-3])],
)
async def test_a_repeat_sends_the_same_bytes(mocked, client, status, body) -> None:
    """Every attempt of a call sends the same request, key included; the second answer counts."""
    mocked.post(CREATE, status=status, body=body)
    mocked.post(CREATE, body=OK)

    session = await client.session.create(sg.CreateSession(metadata={"order": 1}))

    first, second = sent(mocked)
    assert session.id == "ps_3230"
    assert first == second
    assert json.loads(first)["metadata"].keys() == {"order", "idempotency_key"}


@pytest.mark.parametrize(
    ("retry_after", "waits"),
    [({}, [0.5]), ({"Retry-After": "7"}, [7.5]), ({"Retry-After": "0"}, [0.5])],
)
async def test_retry_after_is_obeyed(mocked, client, clock, retry_after, waits) -> None:
    """Retry-After is the minimum, and the client's own wait is added."""
    mocked.post(CREATE, status=429, headers=retry_after)
    mocked.post(CREATE, body=OK)

    await client.session.create(ORDER)

    assert clock.waits == waits


@pytest.mark.parametrize(("retry_after", "stopped_by"), [("61", "retry_after"), ("30", "deadline")])
async def test_too_long_a_wait_ends_the_call(
    mocked, client, clock, retry_after, stopped_by
) -> None:
    """A wait beyond the policy's limit or the deadline doesn't start."""
    mocked.post(CREATE, status=429, headers={"Retry-After": retry_after})

    with pytest.raises(sg.Refused) as caught:
        await client.session.create(ORDER)
    assert (caught.value.stopped_by, caught.value.attempts) == (stopped_by, 1)
    assert caught.value.retry_after_seconds == float(retry_after)
    assert clock.waits == []


async def test_an_unreadable_session_keeps_its_id(mocked, client) -> None:
    """The error has the id of a session that exists and can't be read."""
    mocked.post(CREATE, body=b'{"status":"ok","session":{"id":"ps_7","status":7}}', repeat=True)

    with pytest.raises(sg.OutcomeUnknown) as caught:
        await client.session.create(ORDER)
    assert caught.value.session_id == "ps_7"
    assert "$.status: expected str, got int" in str(caught.value)


async def test_an_answer_over_the_limit_is_not_read(mocked, key, clock) -> None:
    """A body that is too large isn't parsed; the outcome is unknown."""
    mocked.post(CREATE, body=OK, repeat=True)
    settings = sg.Settings(timing=clock.timing(), max_response_bytes=len(OK) - 1)
    async with sg.SmartGlocal("demo", key, sg.DEMO, settings=settings) as client:
        with pytest.raises(sg.OutcomeUnknown) as caught:
            await client.session.create(ORDER, attempts=1)
    assert caught.value.cause == f"the answer is larger than {len(OK) - 1} bytes"


async def test_status_is_the_second_row(mocked, client) -> None:
    """`session/status` sends only the id, and reads the same envelope."""
    mocked.post(STATUS, body=OK)

    session = await client.session.status(sg.SessionRef("ps_3230"))

    assert (sent(mocked), session.id) == ([b'{"session_id":"ps_3230"}'], "ps_3230")


async def test_v2_has_its_own_address_and_names(mocked, key) -> None:
    """The version is in the path, and in the name of the payout's instrument."""
    mocked.post(CREATE.replace("v1", "v2"), body=OK)
    token = sg.EncryptedCard(number_hash="h")
    async with sg.SmartGlocal("demo", key, sg.DEMO, api_version="v2") as client:
        await client.session.create(sg.CreateSession(payment_method=token, metadata="m"))

    assert json.loads(sent(mocked)[0]).keys() == {"payout_details", "metadata"}


async def test_batch_returns_each_answer_with_its_request(mocked, client) -> None:
    """One refusal among many is an outcome of its own."""
    mocked.post(CREATE, body=ERROR)
    mocked.post(CREATE, body=OK, repeat=True)
    orders = [sg.CreateSession(metadata={"order": n}) for n in range(5)]

    outcomes = [o async for o in client.session.create_many(orders, concurrency=1)]

    assert [o.outcome for o in outcomes] == [
        sg.CallOutcome.REFUSED,
        *[sg.CallOutcome.SUCCEEDED] * 4,
    ]
    assert [(o.index, o.request) for o in outcomes] == list(enumerate(orders))


def test_the_samples_are_of_this_operation() -> None:
    """The mocked address is that of the operation."""
    assert CREATE.endswith(SESSION_CREATE.path)
