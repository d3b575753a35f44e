"""From HTTP status and body to the answer, or to what certainly happened instead; row by row."""

import json
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import ROOT, SAMPLES
from strategies import card_numbers, json_values

import smartglocal_async as sg
from smartglocal_async.codec import codec
from smartglocal_async.envelope import HttpReply, Verdict, read_reply
from smartglocal_async.error_codes import KNOWN_CODES, REFUSAL_CODES, class_of, codes_table
from smartglocal_async.models.validators import without_card_numbers
from smartglocal_async.operations import OPERATIONS, SESSION_CREATE, TOKEN_INFO, Repeat

OK: Final = (SAMPLES / "session-create.ok.json").read_bytes()
HTML: Final = b"<html><body>Service Unavailable</body></html>"
STATUSES: Final = [200, 201, 204, 301, 307, 400, 401, 404, 408, 422, 429, 499, 500, 502, 503, 599]

ACCEPTED, UNKNOWN, ARRIVED = (
    sg.AttemptResult.ACCEPTED,
    sg.AttemptResult.UNKNOWN,
    sg.AttemptResult.ARRIVED,
)
REFUSED, LATER = sg.AttemptResult.REFUSED, sg.AttemptResult.REFUSED_FOR_NOW


def read(
    body: bytes,
    status: int = 200,
    content_type: str = "application/json",
    retry_after: float | None = None,
    fault: str | None = None,
) -> Verdict:
    """Read a reply to `session/create`."""
    reply = HttpReply(status, content_type, body, retry_after, fault)
    return read_reply(codec("v1"), SESSION_CREATE, reply)


def refusal(code: object, description: object = "why") -> bytes:
    """Return an error envelope."""
    error = {"code": code, "description": description}
    return json.dumps({"status": "error", "error": error}).encode()


# Row 1: an ok envelope with its record.


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("content_type", ["application/json", "text/html", ""])
def test_an_ok_envelope_is_accepted(status, content_type) -> None:
    """The envelope decides before the status; the content type is ignored."""
    verdict = read(OK, status, content_type)

    assert (verdict.happened, verdict.answer.id) == (ACCEPTED, "ps_3230")
    assert verdict.http_status == status


@pytest.mark.parametrize("around", [b"%s", b"\n %s \n", b"\t%s"])
def test_white_space_around_an_envelope(around) -> None:
    """JSON may have white space around it."""
    assert read(around % OK).happened is ACCEPTED


# Rows 2 to 6: error envelopes. (code, status) -> what happened.


P, T = sg.errors.CodeClass.PERMANENT, sg.errors.CodeClass.TRANSIENT
CODES: Final = {
    "authentication_error": (P, REFUSED),
    "identification_error": (P, REFUSED),
    "authorization_error": (P, REFUSED),
    "invalid_request": (P, REFUSED),
    "provider_exceeds_amount_limit": (P, REFUSED),
    "amount_less_allowed_provider": (P, REFUSED),
    "provider_foreign_transfer_prohibited": (P, REFUSED),
    "3DS_error": (sg.errors.CodeClass.NEW_OPERATION, REFUSED),
    "account_not_found": (P, REFUSED),
    "activity_count_exceeded": (P, REFUSED),
    "bank_card_expired": (P, REFUSED),
    "binding_is_deactivated": (P, REFUSED),
    "card_number_does_not_exist": (P, REFUSED),
    "capture_timeout": (sg.errors.CodeClass.FINAL, REFUSED),
    "confirm_timeout": (sg.errors.CodeClass.FINAL, REFUSED),
    "taxpayer_unknown": (P, REFUSED),
    "taxpayer_not_bound": (P, REFUSED),
    "taxpayer_already_bound": (P, REFUSED),
    "taxpayer_income_exceeds_amount_limit": (P, REFUSED),
    "internal_error": (T, UNKNOWN),
    "provider_internal_error": (T, UNKNOWN),
    "provider_issuer_unavailable": (T, UNKNOWN),
    "provider_timeout": (T, UNKNOWN),
    "idempotency_key_already_exists": (sg.errors.CodeClass.DUPLICATE, ARRIVED),
}
MONEY: Final = [
    each
    for each in OPERATIONS
    if each.repeat is Repeat.MOVES_MONEY and each.path != "session/cancel"
]
HARMLESS: Final = [each for each in OPERATIONS if each.repeat is Repeat.HARMLESS]


def test_every_documented_code_has_its_row() -> None:
    """A row more or less changes which codes are trusted."""
    assert {code: known.code_class for code, known in KNOWN_CODES.items()} == {
        code: code_class for code, (code_class, _) in CODES.items()
    }
    assert sorted(REFUSAL_CODES) == sorted(
        code for code, (_, happened) in CODES.items() if happened is REFUSED
    )
    assert (len(CODES), len(REFUSAL_CODES)) == (24, 19)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize(("code", "row"), CODES.items())
def test_known_codes_decide_whatever_the_status(code, row, status) -> None:
    """A documented code has its meaning under any HTTP status and after any call."""
    code_class, happened = row
    for operation in (SESSION_CREATE, *MONEY):
        reply = HttpReply(status, "application/json", refusal(code))
        verdict = read_reply(codec("v1"), operation, reply)

        assert (verdict.happened, verdict.code, verdict.code_class) == (happened, code, code_class)
        assert (verdict.description, verdict.http_status) == ("why", status)


@pytest.mark.parametrize("status", [200, 302, 400, 408, 422, 499])
@pytest.mark.parametrize("code", ["error code", "brand_new", "", "INVALID_REQUEST", None])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.path)
def test_an_unknown_code_of_a_call_that_moves_money_is_unknown(operation, code, status) -> None:
    """It isn't documented as coming before money moves; a call without money was refused."""
    verdict = read_reply(codec("v1"), operation, HttpReply(status, "", refusal(code)))

    assert verdict.happened is (UNKNOWN if operation in MONEY else REFUSED)
    assert (verdict.code, verdict.code_class) == (code, sg.errors.CodeClass.UNRECOGNISED)
    assert ("Settings.refusal_codes" in (verdict.cause or "")) == (operation in MONEY)


def test_which_calls_move_money() -> None:
    """The calls for which an unknown code leaves the outcome unknown."""
    assert [operation.path for operation in MONEY] == [
        "session/start/payout",
        "session/start/payment",
        "session/init/payout",
        "session/init/payment",
        "session/confirm",
        "session/capture",
        "session/refund",
    ]
    assert len(HARMLESS) == 10


@pytest.mark.parametrize("status", [200, 400, 409, 429, 500])
def test_codes_of_the_callers_own(status) -> None:
    """The caller may know that a code comes before any processing."""
    reply = HttpReply(status, "", refusal("limit_of_the_day"))
    for operation in MONEY:
        own = read_reply(codec("v1"), operation, reply, frozenset({"limit_of_the_day"}))
        other = read_reply(codec("v1"), operation, reply, frozenset({"limit_of_the_month"}))
        assert (own.happened, own.code_class) == (REFUSED, sg.errors.CodeClass.PERMANENT)
        assert other.happened is not REFUSED


@pytest.mark.parametrize(
    ("codes", "problem"),
    [
        ("limit", "expected a set of codes, each a text"),
        ({"limit", 7}, "expected a set of codes, each a text"),
        (7, "expected a set of codes, each a text"),
        ([["limit"]], "expected a set of codes, each a text"),
        ({""}, "expected a set of codes, each a text"),
        ({"internal_error"}, "internal_error is documented to leave the outcome open"),
        (
            {"idempotency_key_already_exists"},
            "idempotency_key_already_exists is documented to leave the outcome open",
        ),
    ],
)
def test_invalid_refusal_codes(codes, problem) -> None:
    """Text would be a set of letters; a code that leaves the outcome open can't be a refusal."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.Settings(refusal_codes=codes)
    assert (caught.value.field, caught.value.problem) == ("Settings.refusal_codes", problem)


def test_refusal_codes_may_be_any_collection() -> None:
    """They are kept as a frozen set."""
    assert sg.Settings(refusal_codes=["a", "b", "a"]).refusal_codes == frozenset({"a", "b"})


def test_the_table_of_codes_is_the_one_in_the_docs() -> None:
    """Printed from the code, with the source of each."""
    page = ROOT / "docs" / "reference" / "retries.md"
    assert codes_table() in page.read_text(encoding="utf-8")
    assert codes_table().splitlines()[2] == (
        "| `authentication_error` | the signature is wrong | refused | Bank 131, reference/errors |"
    )


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
    """An unlisted code is kept; the status helps to interpret it."""
    verdict = read(refusal(code), status, retry_after=2.0)

    assert (verdict.happened, verdict.code) == (happened, code)
    assert verdict.code_class is sg.errors.CodeClass.UNRECOGNISED
    assert verdict.retry_after_seconds == 2.0


def test_the_pages_refusal() -> None:
    """The provider's own example, with HTTP 200."""
    verdict = read((SAMPLES / "session-create.error.json").read_bytes())

    assert (verdict.happened, verdict.code) == (REFUSED, "error code")
    assert verdict.description == "error description"


@pytest.mark.parametrize("status", [200, 400, 422])
@pytest.mark.parametrize(
    ("error", "happened"),
    [
        ({"code": "idempotency_key_already_exists", "description": "in progress"}, ARRIVED),
        ({"code": "invalid_request"}, REFUSED),
        ({"code": "internal_error"}, UNKNOWN),
        ({"code": "some_code", "description": "some text"}, UNKNOWN),
        ({}, UNKNOWN),
    ],
)
@pytest.mark.parametrize("more", [{}, {"status": None}, {"status": "failed"}, {"session": None}])
def test_an_error_without_a_status_is_an_error_envelope(more, error, happened, status) -> None:
    """The provider's pages print it like this; the code decides, as with a status."""
    body = json.dumps({"error": error, **more}).encode()
    for operation in MONEY:
        verdict = read_reply(codec("v1"), operation, HttpReply(status, "", body))
        assert (verdict.happened, verdict.code) == (happened, error.get("code"))


@pytest.mark.parametrize("body", [b'{"error":"text"}', b'{"error":null}', b'{"error":[]}', b"{}"])
def test_without_a_status_only_an_object_is_an_error(body) -> None:
    """Anything else is no envelope of this API."""
    verdict = read(body)
    assert (verdict.happened, verdict.code) == (UNKNOWN, None)
    assert verdict.cause == "the answer is JSON, but no envelope of this API"


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
    """`status: error` alone is a refusal; the rest is read as far as possible."""
    verdict = read(json.dumps({"status": "error", "error": error}).encode())

    assert (verdict.happened, verdict.code, verdict.description) == (REFUSED, code, description)


def test_a_refusal_keeps_the_session_it_names() -> None:
    """An error envelope may contain a session; its id is kept."""
    body = b'{"status":"error","error":{"code":"c"},"session":{"id":"ps_9"}}'
    assert read(body).session_id == "ps_9"


# The last rows: no envelope. body -> the words of the cause.

NO_ENVELOPES: Final = [
    (HTML, "the answer isn't JSON, or was cut short"),
    (OK[:-1], "the answer isn't JSON, or was cut short"),
    (OK[:40], "the answer isn't JSON, or was cut short"),
    (OK + OK, "the answer isn't JSON, or was cut short"),
    (b'{"status":NaN}', "the answer isn't JSON, or was cut short"),
    (b'{"status":}', "the answer isn't JSON, or was cut short"),
    (b'{"status":"ok"}}', "the answer isn't JSON, or was cut short"),
    (
        b'{"status":"ok","session":{"id":"ps_1","status":"accepted","status":"cancelled"}}',
        "the answer is JSON with a name twice in one object",
    ),
    (
        b'{"status":"ok","session":{"id":"ps_1","payments":[{"id":"po_1"}],"payments":[]}}',
        "the answer is JSON with a name twice in one object",
    ),
    (b'{"status":"ok","status":"error"}', "the answer is JSON with a name twice in one object"),
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
    """The call was accepted; a repeat would be as unreadable, and create a second session."""
    verdict = read(body, status)
    assert (verdict.happened, verdict.cause, verdict.http_status) == (ARRIVED, cause, status)


@pytest.mark.parametrize(("body", "cause"), NO_ENVELOPES)
@pytest.mark.parametrize("status", [100, 200, 204, 408, 500, 502, 503])
def test_no_envelope_leaves_it_open(status, body, cause) -> None:
    """Without an envelope, a success or a server error says nothing about the effect."""
    verdict = read(body, status, "text/html")

    assert (verdict.happened, verdict.cause) == (UNKNOWN, cause)
    assert (verdict.http_status, verdict.content_type) == (status, "text/html")


@pytest.mark.parametrize(("body", "cause"), NO_ENVELOPES)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 499])
def test_a_client_fault_without_an_envelope_is_a_refusal(status, body, cause) -> None:
    """Something before the provider refused it, so it wasn't processed."""
    verdict = read(body, status)
    assert (verdict.happened, verdict.cause) == (REFUSED, cause)


@pytest.mark.parametrize(("body", "cause"), NO_ENVELOPES)
def test_too_many_requests_without_an_envelope(body, cause) -> None:
    """HTTP 429 in any form is a temporary refusal, with its Retry-After."""
    verdict = read(body, 429, retry_after=3.0)
    assert (verdict.happened, verdict.retry_after_seconds) == (LATER, 3.0)
    assert verdict.cause == f"too many requests for now ({cause})"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_redirects_are_never_followed(status) -> None:
    """A redirect would send a valid signature elsewhere; the cause says what to check."""
    verdict = read(b"", status)

    assert verdict.happened is REFUSED
    assert verdict.cause == "a redirect, which is never followed: check the server"


@pytest.mark.parametrize(
    ("status", "happened"),
    [(200, UNKNOWN), (500, UNKNOWN), (408, UNKNOWN), (429, LATER), (400, UNKNOWN)],
)
@pytest.mark.parametrize("body", [b"", OK, refusal("invalid_request")])
def test_a_body_that_was_not_read_to_its_end(status, happened, body) -> None:
    """A truncated body, or ten megabytes: the part that was read is ignored."""
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
    """A session that exists can be found by its id, even if the rest can't be read."""
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
    """It was created: the unreadable parts are kept and don't hide it."""
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
    """A missing list, an empty one, or several items, in every documented form."""

    def come_of(**content: object) -> Verdict:
        reply = HttpReply(200, "application/json", json.dumps({"status": "ok", **content}).encode())
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
        ("card 4242.4242.4242.4242.", "card ***."),
        ("3782.822463.10005 was declined", "*** was declined"),
        ("4242\u00a04242\u202f4242\u00a04242", "***"),
        ("424.242.424.242.424.242", "***"),
        ("192.168.100.200 refused it", "192.168.100.200 refused it"),
        ("http://192.168.100.200:8080", "http://192.168.100.200:8080"),
        ("1.234.567,50 and 12.34", "1.234.567,50 and 12.34"),
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
    """Twelve to nineteen digits, alone or in groups, are masked."""
    assert without_card_numbers(text) == masked


@given(number=card_numbers, before=st.text(max_size=5), gap=st.sampled_from(["", " ", "-"]))
def test_no_description_carries_a_card(number, before, gap) -> None:
    """Whatever text surrounds a card number, the error doesn't contain it."""
    groups = gap.join(number[i : i + 4] for i in range(0, len(number), 4))
    verdict = read(refusal("invalid_request", f"{before}: {groups}!"))

    assert groups not in (verdict.description or "")


# Properties.


@given(body=st.binary(max_size=60), status=st.integers(100, 599))
def test_arbitrary_bytes(body, status) -> None:
    """Any bytes under any status give a verdict, and never a session."""
    assert read(body, status).happened is not ACCEPTED


@given(document=json_values, status=st.integers(100, 599))
def test_arbitrary_json(document, status) -> None:
    """The same for any JSON in any place of the envelope."""
    for envelope in (
        document,
        {"status": document},
        {"status": "ok", "session": document},
        {"status": "error", "error": document, "session": document},
        {"status": "error", "error": {"code": document, "description": document}},
    ):
        verdict = read(json.dumps(envelope).encode(), status)
        assert verdict.happened in sg.AttemptResult


def test_a_verdict_shows_no_answer() -> None:
    """Replies and verdicts can be logged: their repr has no body and no record."""
    session = {"id": "ps_1", "status": "created", "metadata": {"who": "Jane Roe"}}
    body = json.dumps({"status": "ok", "session": session}).encode()
    assert read(body).answer.metadata == {"who": "Jane Roe"}
    assert "Jane" not in repr(read(body))
    assert "ps_3230" not in repr(HttpReply(200, "application/json", OK))


@pytest.mark.parametrize(
    ("code", "code_class"),
    [
        ("idempotency_key_in_use", sg.errors.CodeClass.DUPLICATE),
        ("IDEMPOTENCY_CONFLICT", sg.errors.CodeClass.DUPLICATE),
        ("Duplicate-Idempotency-Key", sg.errors.CodeClass.DUPLICATE),
        ("duplicate", sg.errors.CodeClass.UNRECOGNISED),
        ("", sg.errors.CodeClass.UNRECOGNISED),
    ],
)
def test_unlisted_codes(code, code_class) -> None:
    """Any code about idempotency means a used key."""
    assert class_of(code) is code_class


def test_an_answer_that_is_the_envelope() -> None:
    """The error names what is missing, and the content type without parameters."""
    [operation] = [one for one in OPERATIONS if one.path == "token"]
    reply = HttpReply(200, "application/json; charset=utf-8", b'{"status":"ok"}')
    verdict = read_reply(codec("v1"), operation, reply)
    assert (verdict.happened, verdict.content_type) == (ARRIVED, "application/json")
    assert verdict.cause == "the answer's content can't be read: $.public_token: is missing"


def test_the_kind_of_body_of_a_refusal() -> None:
    """It shows whether a proxy wrote it."""
    verdict = read(refusal("invalid_request"), 400, "Application/JSON; charset=utf-8")
    assert (verdict.happened, verdict.content_type) == (REFUSED, "application/json")


@pytest.mark.parametrize("empty", ["{}", "[]"])
def test_an_empty_answer_as_php_writes_it(empty) -> None:
    """Nothing is known about the token; the call has worked."""
    body = f'{{"status": "ok", "info": {empty}}}'.encode()
    verdict = read_reply(codec("v1"), TOKEN_INFO, HttpReply(200, "application/json", body))
    assert (verdict.happened.value, verdict.answer) == ("accepted", sg.models.TokenInfo())
