"""HTTP status and body in; the answer, or what surely happened instead, out: row by row."""

import json
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import card_numbers, json_values

import smartglocal_async as sg
from smartglocal_async.codec import codec
from smartglocal_async.envelope import CODES, Reply, Verdict, read_reply
from smartglocal_async.operations import OPERATIONS, SESSION_CREATE
from smartglocal_async.values.exactness import without_card_numbers

SAMPLES: Final = Path(__file__).parent / "samples"
OK: Final = (SAMPLES / "session-create.ok.json").read_bytes()
HTML: Final = b"<html><body>Service Unavailable</body></html>"
STATUSES: Final = [200, 201, 204, 301, 307, 400, 401, 404, 408, 422, 429, 499, 500, 502, 503, 599]

ACCEPTED, UNKNOWN, ARRIVED = sg.Happened.ACCEPTED, sg.Happened.UNKNOWN, sg.Happened.ARRIVED
REFUSED, LATER = sg.Happened.REFUSED, sg.Happened.REFUSED_FOR_NOW


def read(
    body: bytes,
    status: int = 200,
    content_type: str = "application/json",
    retry_after: float | None = None,
    fault: str | None = None,
) -> Verdict:
    """Read a reply to `session/create`."""
    reply = Reply(status, content_type, body, retry_after, fault)
    return read_reply(codec("v1"), SESSION_CREATE, reply)


def refusal(code: object, description: object = "why") -> bytes:
    """Give an error envelope."""
    error = {"code": code, "description": description}
    return json.dumps({"status": "error", "error": error}).encode()


# Row 1: an ok envelope with its record.


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("content_type", ["application/json", "text/html", ""])
def test_an_ok_envelope_is_accepted(status, content_type) -> None:
    """The envelope decides before the status, and the content type is never believed."""
    verdict = read(OK, status, content_type)

    assert (verdict.happened, verdict.answer.id) == (ACCEPTED, "ps_3230")
    assert verdict.http_status == status


@pytest.mark.parametrize("around", [b"%s", b"\n %s \n", b"\t%s"])
def test_white_space_around_an_envelope(around) -> None:
    """JSON may stand in white space."""
    assert read(around % OK).happened is ACCEPTED


# Rows 2 to 6: error envelopes. (code, status) -> what happened.


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("code", sorted(CODES))
def test_known_codes_decide_whatever_the_status(code, status) -> None:
    """A code that documents list means what it means, under any HTTP status."""
    happened = {
        sg.CodeClass.TRANSIENT: UNKNOWN,
        sg.CodeClass.DUPLICATE: ARRIVED,
        sg.CodeClass.PERMANENT: REFUSED,
        sg.CodeClass.NEW_OPERATION: REFUSED,
        sg.CodeClass.FINAL: REFUSED,
    }[CODES[code]]

    verdict = read(refusal(code), status)

    assert (verdict.happened, verdict.code, verdict.code_class) == (happened, code, CODES[code])
    assert (verdict.description, verdict.http_status) == ("why", status)


CLASSES: Final = {
    "authentication_error": sg.CodeClass.PERMANENT,
    "identification_error": sg.CodeClass.PERMANENT,
    "authorization_error": sg.CodeClass.PERMANENT,
    "invalid_request": sg.CodeClass.PERMANENT,
    "internal_error": sg.CodeClass.TRANSIENT,
    "provider_internal_error": sg.CodeClass.TRANSIENT,
    "provider_issuer_unavailable": sg.CodeClass.TRANSIENT,
    "provider_timeout": sg.CodeClass.TRANSIENT,
    "3DS_error": sg.CodeClass.NEW_OPERATION,
    "capture_timeout": sg.CodeClass.FINAL,
    "confirm_timeout": sg.CodeClass.FINAL,
    "bank_card_expired": sg.CodeClass.PERMANENT,
    "idempotency_key_already_exists": sg.CodeClass.DUPLICATE,
}


@pytest.mark.parametrize(("code", "code_class"), CLASSES.items())
def test_the_classes_of_codes(code, code_class) -> None:
    """What each code asks of the caller, as the sister platform's column of advice says."""
    assert CODES[code] is code_class


@pytest.mark.parametrize(
    ("status", "happened"),
    [
        (200, REFUSED),
        (302, REFUSED),
        (400, REFUSED),
        (408, REFUSED),
        (422, REFUSED),
        (429, LATER),
        (499, REFUSED),
        (500, UNKNOWN),
        (503, UNKNOWN),
        (599, UNKNOWN),
    ],
)
@pytest.mark.parametrize("code", ["error code", "brand_new", "", "INVALID_REQUEST", None])
def test_unknown_codes_are_kept(code, status, happened) -> None:
    """A code that no document lists stays as it came; the status helps to judge it."""
    verdict = read(refusal(code), status, retry_after=2.0)

    assert (verdict.happened, verdict.code) == (happened, code)
    assert verdict.code_class is sg.CodeClass.UNRECOGNISED
    assert verdict.retry_after_seconds == 2.0


def test_the_pages_refusal() -> None:
    """The provider's own example, under HTTP 200."""
    verdict = read((SAMPLES / "session-create.error.json").read_bytes())

    assert (verdict.happened, verdict.code) == (REFUSED, "error code")
    assert verdict.description == "error description"


@pytest.mark.parametrize(
    ("error", "code", "description"),
    [
        ({"code": 7, "description": 8}, "7", "8"),
        ({"code": "c"}, "c", None),
        ({}, None, None),
        (None, None, None),
        ("text", None, None),
        ([], None, None),
        ({"code": ["c"], "description": {"a": 1}}, None, None),
        ({"code": "c", "description": "d" * 501}, "c", "d" * 500),
    ],
)
def test_refusals_of_another_shape_are_refusals(error, code, description) -> None:
    """`status: error` alone says no; the rest is read as far as it goes."""
    verdict = read(json.dumps({"status": "error", "error": error}).encode())

    assert (verdict.happened, verdict.code, verdict.description) == (REFUSED, code, description)


def test_a_refusal_keeps_the_session_it_names() -> None:
    """An error envelope may carry a session too; its id is not lost."""
    body = b'{"status":"error","error":{"code":"c"},"session":{"id":"ps_9"}}'
    assert read(body).session_id == "ps_9"


# The last rows: no envelope. body -> the words of the cause.

NO_ENVELOPES: Final = [
    (HTML, "the answer isn't JSON, or was cut short"),
    (OK[:-1], "the answer isn't JSON, or was cut short"),
    (OK[:40], "the answer isn't JSON, or was cut short"),
    (OK + OK, "the answer isn't JSON, or was cut short"),
    (b'{"status":NaN}', "the answer isn't JSON, or was cut short"),
    (b"[" * 100_000, "the answer isn't JSON, or was cut short"),
    (
        (SAMPLES / "session-create.ok.as-printed.txt").read_bytes(),
        "the answer isn't JSON, or was cut short",
    ),
    (b"", "an empty answer"),
    (b" \r\n", "an empty answer"),
    (b'{"status":"ok\xff"}', "the answer isn't UTF-8"),
    (OK.decode().encode("utf-16"), "the answer isn't UTF-8"),
    (b"null", "the answer is JSON, but no envelope of this API"),
    (b"[]", "the answer is JSON, but no envelope of this API"),
    (b'"ok"', "the answer is JSON, but no envelope of this API"),
    (b"{}", "the answer is JSON, but no envelope of this API"),
    (b'{"status":"OK"}', "the answer is JSON, but no envelope of this API"),
    (b'{"status":true}', "the answer is JSON, but no envelope of this API"),
    (b'{"status":["ok"]}', "the answer is JSON, but no envelope of this API"),
    (b'{"status":{"a":1}}', "the answer is JSON, but no envelope of this API"),
    (b'{"error":{"code":"c"}}', "the answer is JSON, but no envelope of this API"),
]


UNREADABLE: Final = [
    (b'{"status":"ok"}', "the answer's session can't be read: $: expected an object, got NoneType"),
    (
        b'{"status":"ok","session":[]}',
        "the answer's session can't be read: $: expected an object, got list",
    ),
    (
        b'{"status":"ok","session":{"status":"created"}}',
        "the answer's session can't be read: $.id: is missing",
    ),
]


@pytest.mark.parametrize(("body", "cause"), UNREADABLE)
@pytest.mark.parametrize("status", STATUSES)
def test_an_ok_that_cannot_be_read_arrived(status, body, cause) -> None:
    """It was accepted; a repeat would be read no better, and make a second session."""
    verdict = read(body, status)
    assert (verdict.happened, verdict.cause, verdict.http_status) == (ARRIVED, cause, status)


@pytest.mark.parametrize(("body", "cause"), NO_ENVELOPES)
@pytest.mark.parametrize("status", [100, 200, 204, 408, 500, 502, 503])
def test_no_envelope_leaves_it_open(status, body, cause) -> None:
    """Without an envelope, a success or a server's fault says nothing about what was done."""
    verdict = read(body, status, "text/html")

    assert (verdict.happened, verdict.cause) == (UNKNOWN, cause)
    assert (verdict.http_status, verdict.content_type) == (status, "text/html")


@pytest.mark.parametrize(("body", "cause"), NO_ENVELOPES)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 499])
def test_a_client_fault_without_an_envelope_is_a_refusal(status, body, cause) -> None:
    """What stands before the provider turned it down; it went no further."""
    verdict = read(body, status)
    assert (verdict.happened, verdict.cause) == (REFUSED, cause)


@pytest.mark.parametrize(("body", "cause"), NO_ENVELOPES)
def test_too_many_requests_without_an_envelope(body, cause) -> None:
    """HTTP 429 in any form is a refusal for now, with its patience."""
    verdict = read(body, 429, retry_after=3.0)
    assert (verdict.happened, verdict.retry_after_seconds) == (LATER, 3.0)
    assert verdict.cause == f"too many requests for now ({cause})"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_redirects_are_never_followed(status) -> None:
    """A redirect would carry a valid signature elsewhere; the cause says what to check."""
    verdict = read(b"", status)

    assert verdict.happened is REFUSED
    assert verdict.cause == "a redirect, which is never followed: check the server"


@pytest.mark.parametrize(
    ("status", "happened"),
    [(200, UNKNOWN), (500, UNKNOWN), (408, UNKNOWN), (429, LATER), (400, UNKNOWN)],
)
@pytest.mark.parametrize("body", [b"", OK, refusal("invalid_request")])
def test_a_body_that_was_not_read_to_its_end(status, happened, body) -> None:
    """Cut on the wire, or ten megabytes: what was read of it counts for nothing."""
    verdict = read(body, status, fault="the answer is larger than 10000000 bytes")

    assert (verdict.happened, verdict.answer, verdict.code) == (happened, None, None)
    assert "the answer is larger than 10000000 bytes" in (verdict.cause or "")


@pytest.mark.parametrize(
    ("session", "kept"),
    [
        ({"id": "ps_7"}, "ps_7"),
        ({"id": "ps_7", "status": None}, "ps_7"),
        ({"id": "ps_7", "status": 1, "created_at": "soon"}, "ps_7"),
        ({"id": 7.5, "status": "created"}, None),
        ({}, None),
        ("ps_7", None),
        (None, None),
    ],
)
def test_an_unreadable_session_keeps_its_id(session, kept) -> None:
    """A session that exists can be asked for by its id, even if the rest can't be read."""
    verdict = read(json.dumps({"status": "ok", "session": session}).encode())
    assert (verdict.happened, verdict.session_id) == (ARRIVED, kept)


@pytest.mark.parametrize(
    ("more", "extra"),
    [
        ({"created_at": "soon"}, {"created_at": "soon"}),
        ({"payments": None, "error": []}, {}),
        ({"error": {"code": 5}}, {"error": {"code": 5}}),
    ],
)
@pytest.mark.parametrize("identifier", ["7", 7])
def test_a_session_of_which_not_all_can_be_read_is_accepted(identifier, more, extra) -> None:
    """It was made: what can't be read of it is kept, and doesn't hide it."""
    session = {"id": identifier, "status": "created", **more}
    verdict = read(json.dumps({"status": "ok", "session": session}).encode())

    assert verdict.happened is ACCEPTED
    assert verdict.answer == sg.Session(id="7", status="created", extra=extra)


LISTS: Final = {op.path: op for op in OPERATIONS if op.path in {"wallet/balance", "fps/banks"}}
LISTED: Final = {
    "wallet/balance": {"id": "w", "amount_details": {"amount": "5", "currency": "usd"}},
    "fps/banks": {"id": "b"},
}


@pytest.mark.parametrize("path", LISTS)
def test_lists_of_answers(path) -> None:
    """None at all, one without its list, several: in every way that a page or a server says it."""

    def come_of(**content: object) -> Verdict:
        reply = Reply(200, "application/json", json.dumps({"status": "ok", **content}).encode())
        return read_reply(codec("v1"), LISTS[path], reply)

    name = LISTS[path].answer_field
    for empty in ({}, {name: None}, {name: {}}, {name: []}):
        verdict = come_of(**empty)
        assert (verdict.happened, verdict.answer) == (ACCEPTED, ())
    one, two = come_of(**{name: LISTED[path]}), come_of(**{name: [LISTED[path]] * 2})
    assert (len(one.answer), two.answer) == (1, one.answer * 2)
    for broken in ("x", 7, [7], [None], [{}]):
        assert come_of(**{name: broken}).happened is ARRIVED


# Card numbers in the provider's words.


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("card 4242424242424242 declined", "card *** declined"),
        ("4242 4242 4242 4242", "***"),
        ("4242-4242-4242-4242.", "***."),
        ("378282246310005", "***"),
        ("424242424242", "***"),
        ("4242424242424242123", "***"),
        ("no 4242424242424242, nor 5555555555554444", "no ***, nor ***"),
        ("4242424242424242 05/25", "***/25"),
        ("order 12345678901", "order 12345678901"),
        ("last4 4242", "last4 4242"),
        ("2024-05-27 02:03", "2024-05-27 02:03"),
        ("", ""),
        (None, None),
    ],
)
def test_what_looks_like_a_card_is_masked(text, masked) -> None:
    """Twelve to nineteen digits, alone or in groups, are not repeated."""
    assert without_card_numbers(text) == masked


@given(number=card_numbers, before=st.text(max_size=5), gap=st.sampled_from(["", " ", "-"]))
def test_no_description_carries_a_card(number, before, gap) -> None:
    """Whatever the provider writes around a card number, the error does not have it."""
    groups = gap.join(number[i : i + 4] for i in range(0, len(number), 4))
    verdict = read(refusal("invalid_request", f"{before}: {groups}!"))

    assert groups not in (verdict.description or "")


# Laws.


@given(body=st.binary(max_size=60), status=st.integers(100, 599))
def test_no_bytes_crash_it(body, status) -> None:
    """Any bytes under any status come to a verdict, and never to a session."""
    assert read(body, status).happened is not ACCEPTED


@given(document=json_values, status=st.integers(100, 599))
def test_no_json_crashes_it(document, status) -> None:
    """Nor does any JSON in any place of the envelope."""
    for envelope in (
        document,
        {"status": document},
        {"status": "ok", "session": document},
        {"status": "error", "error": document, "session": document},
        {"status": "error", "error": {"code": document, "description": document}},
    ):
        verdict = read(json.dumps(envelope).encode(), status)
        assert verdict.happened in sg.Happened


def test_a_verdict_shows_no_answer() -> None:
    """A reply and a verdict can be logged: the body and the record stay out of their repr."""
    assert "ps_3230" not in repr(read(OK))
    assert "ps_3230" not in repr(Reply(200, "application/json", OK))
