"""The log of requests, and what a wrong signature is over."""

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Final

import aiohttp
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

import smartglocal_async as sg
from smartglocal_async.emulator import RequestRecord, run
from smartglocal_async.emulator.server import request_log
from smartglocal_async.emulator.server.request_log import (
    IncomingRequest,
    RequestLog,
    SignatureVerdict,
    diagnose,
)
from smartglocal_async.keys import PrivateKey

KEY: Final = PrivateKey.generate()
ORDER: Final = {"b": 1, "a": "Zo\u00eb/x", "c": [1, {"d": None}]}
BODY: Final = json.dumps(ORDER).encode()
TIME: Final = datetime(2026, 11, 30, tzinfo=UTC)


def test_a_valid_signature():
    """It is over exactly the bytes of the body."""
    found = diagnose(BODY, KEY.sign(BODY), KEY.public)
    assert found.verdict is SignatureVerdict.VALID
    assert found.first_difference(BODY) is None


@pytest.mark.parametrize(
    ("signed", "words"),
    [
        (json.dumps(ORDER, sort_keys=True), "the same JSON with names sorted."),
        (json.dumps(ORDER, separators=(",", ":")), "the same JSON with no spaces."),
        (json.dumps(ORDER, indent=2), "the same JSON with lines indented by 2."),
        (json.dumps(ORDER, ensure_ascii=False), "letters outside of ASCII not escaped."),
        (json.dumps(ORDER).replace("/", "\\/"), "the same JSON with slashes escaped."),
        (json.dumps(ORDER) + "\n", "the body with a line break at the end."),
        (json.dumps(ORDER) + "\r\n", "the same JSON with CR and LF at the end."),
        (
            json.dumps(ORDER, sort_keys=True, separators=(",", ":")) + "\n",
            "with names sorted, no spaces, a line break at the end.",
        ),
        ("", "an empty body."),
        (hashlib.sha256(BODY).hexdigest(), "the SHA-256 of the body in hexadecimal"),
        (base64.b64encode(BODY).decode(), "the body in Base64"),
    ],
)
def test_another_serialization_was_signed(signed, words):
    """It is named, and has the first byte that differs."""
    found = diagnose(BODY, KEY.sign(signed.encode()), KEY.public)
    assert found.verdict is SignatureVerdict.OTHER_BYTES
    assert words in found.words
    assert found.signed == signed.encode()
    place = found.first_difference(BODY)
    assert place is not None
    assert found.signed[:place] == BODY[:place]
    assert found.signed[place : place + 1] != BODY[place : place + 1]


def test_other_bytes_were_signed():
    """Another order, for example: only its digest is known."""
    found = diagnose(BODY, KEY.sign(b'{"other": 1}'), KEY.public)
    assert found.verdict is SignatureVerdict.OTHER_BYTES
    assert found.signed is None
    assert found.digest == hashlib.sha256(b'{"other": 1}').hexdigest()
    not_json = diagnose(b"no json", KEY.sign(b"other"), KEY.public)
    assert not_json.verdict is SignatureVerdict.OTHER_BYTES


def test_another_key_signed():
    """And one of another size, whose signature has another length."""
    found = diagnose(BODY, PrivateKey.generate().sign(BODY), KEY.public)
    assert found.verdict is SignatureVerdict.OTHER_KEY
    longer = diagnose(BODY, PrivateKey.generate(3072).sign(BODY), KEY.public)
    assert "It has 384 bytes; a signature of this key has 256." in longer.words


def signed_otherwise(pads: padding.AsymmetricPadding, hash_: hashes.HashAlgorithm) -> str:
    """Return a signature of the body by the same key, in another scheme."""
    key = serialization.load_pem_private_key(KEY.pem(), None)
    return base64.b64encode(key.sign(BODY, pads, hash_)).decode()


def test_another_scheme():
    """The hash is named; with the padding PSS nothing can be read of it."""
    sha1 = diagnose(BODY, signed_otherwise(padding.PKCS1v15(), hashes.SHA1()), KEY.public)  # noqa: S303
    assert sha1.verdict is SignatureVerdict.OTHER_HASH
    assert "SHA-1" in sha1.words
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    found = diagnose(BODY, signed_otherwise(pss, hashes.SHA256()), KEY.public)
    assert found.verdict is SignatureVerdict.OTHER_KEY
    assert "PSS" in found.words


def test_another_encoding():
    """The signature is right, and its text isn't."""
    right = KEY.sign(BODY)
    raw = base64.b64decode(right)
    for text, words in (
        (f"{right[:76]}\n {right[76:]}", "line breaks"),
        (right.rstrip("="), "without its padding"),
        (base64.urlsafe_b64encode(raw).decode(), "URL-safe"),
        (raw.hex(), "hexadecimal"),
    ):
        if KEY.public.verifies(BODY, text):  # A signature may have neither + nor /.
            continue
        found = diagnose(BODY, text, KEY.public)
        assert found.verdict is SignatureVerdict.OTHER_ENCODING, text
        assert words in found.words


@pytest.mark.parametrize(
    ("header", "verdict"), [(None, "missing"), ("", "missing"), ("*", "not base64")]
)
def test_no_signature(header, verdict):
    """A header that is missing, empty or no Base64."""
    assert diagnose(BODY, header, KEY.public).verdict.value == verdict


def logged(body: bytes) -> IncomingRequest:
    """Return a request with a body."""
    return IncomingRequest(method="POST", path="/x", headers={}, body=body)


def test_the_log_has_a_limit(monkeypatch):
    """The oldest requests are dropped; numbers stay."""
    monkeypatch.setattr(request_log, "MAX_REQUESTS", 3)
    log, record = RequestLog(), RequestRecord(time=TIME, operation="x")
    for number in range(5):
        log.add(logged(bytes([number])), record, b"{}")
    assert [one.number for one in log.requests] == [3, 4, 5]
    assert log.find(2) is None
    assert log.find(6) is None
    third = log.find(3)
    assert third is not None
    assert third.request.body == b"\x02"


def test_the_log_has_a_limit_of_bytes(monkeypatch):
    """A long body is cut, and the oldest are dropped."""
    monkeypatch.setattr(request_log, "_MAX_BYTES", 150_000)
    log, record = RequestLog(), RequestRecord(time=TIME, operation="x")
    for _ in range(5):
        log.add(logged(bytes(100_000)), record, bytes(10))
    assert [one.number for one in log.requests] == [4, 5]
    assert (log.requests[0].size, len(log.requests[0].request.body)) == (100_000, 65_536)


async def test_a_request_is_logged_as_it_arrived():
    """With its headers in any case, and its answer."""
    async with run(public_key=KEY.public) as provider, aiohttp.ClientSession() as session:
        headers = {"x-partner-project": "demo", "X-Partner-Sign": KEY.sign(BODY), "X-Own": "1"}
        url = f"{provider.url}/api/v1/session/create"
        async with session.post(url, data=BODY, headers=headers) as response:
            answer = await response.read()
        [one] = provider._dispatcher.log.requests
    assert (one.request.method, one.request.path) == ("POST", "/api/v1/session/create")
    assert one.request.headers["X-OWN"] == "1"
    assert (one.request.body, one.answer) == (BODY, answer)
    assert one.record.session_id == "ps_1"


async def test_a_call_about_a_session_has_the_key_of_its_session(run_provider, connect):
    """A key is shown as it is, also for the calls that carry none; metadata aren't."""
    seen = []
    api = connect(run_provider(on_request=seen.append))
    keyed = await api.session.create(sg.CreateSession(), key="order-7")
    plain = await api.session.create(sg.CreateSession(metadata="of Jane Roe"))
    for session in (keyed, plain):
        await api.session.status(sg.SessionRef(session.id))
    assert [seen[0].key, seen[2].key] == ["order-7", "order-7"]
    assert seen[3].key == seen[1].key
    assert "Jane" not in str(seen[1].key)
