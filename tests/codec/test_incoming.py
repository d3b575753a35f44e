"""The provider's text is cleaned once, on arrival, whatever it contains."""

import json
import logging
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paying import QUICK, order
from postgres_schemas import DSN, missing
from rawserver import Peer, answer, serve
from strategies import json_values

import smartglocal_async as sg
from smartglocal_async.codec import codec
from smartglocal_async.codec.incoming import clean_text, parse_incoming
from smartglocal_async.envelope import HttpReply, read_reply
from smartglocal_async.operations import SESSION_CREATE, SESSION_STATUS


class FakeSigner:
    """A signer that does no work."""

    async def sign(self, body: bytes) -> str:
        """Return a constant signature."""
        del body
        return "c3RhbXA="


BOM: Final = b"\xef\xbb\xbf"
RED: Final = "\x1b[31m"
TITLE: Final = "\x1b]0;owned\x07"
LINK: Final = "\x1b]8;;https://evil.example\x1b\\"

TEXTS: Final = [
    ("plain", "plain"),
    (
        "\u043f\u043b\u0430\u0442\u0451\u0436 \u20ac 10",
        "\u043f\u043b\u0430\u0442\u0451\u0436 \u20ac 10",
    ),
    ("\U0001f4b8 paid", "\U0001f4b8 paid"),
    (" kept ", " kept "),
    ("half \ud83d", "half \ufffd"),
    ("\udcb8\ud83d", "\ufffd\ufffd"),
    ("nul\x00byte", "nul\ufffdbyte"),
    ("two\nlines", "two lines"),
    ("two\r\n\t lines\n", "two  lines"),
    ("a\u2028b\u2029c\x85d", "a b c d"),
    (f"{RED}red\x1b[0m", "red"),
    (f"{TITLE}title", "title"),
    (f"{LINK}click\x1b]8;;\x1b\\", "click"),
    ("\x1b[2J\x1b[Hcleared", "cleared"),
    ("\x9b31mred", "red"),
    ("\x1bcreset", "reset"),
    ("open \x1b]0;no end", "open 0;no end"),
    ("bell\x07 and back\x08", "bell\ufffd and back\ufffd"),
    ("del\x7f", "del\ufffd"),
    ("\u202egnp.exe", "gnp.exe"),
    ("a\u2066b\u2069c\ufeff", "abc"),
]


@pytest.mark.parametrize(("text", "cleaned"), TEXTS)
def test_what_becomes_of_text(text, cleaned) -> None:
    """One line of Unicode, without terminal control sequences."""
    assert clean_text(text) == cleaned
    assert clean_text(cleaned) == cleaned


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_can_be_stored_and_shown(text) -> None:
    """It can be encoded, has no control character, and is on one line."""
    cleaned = clean_text(text)
    assert cleaned.encode().count(b"\x00") == 0
    assert len(cleaned.splitlines()) <= 1
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in cleaned)


def refusal(code: str, description: str) -> bytes:
    """Return an error envelope, in ASCII with escapes, as PHP and Python write it."""
    return json.dumps({"error": {"code": code, "description": description}}).encode()


@pytest.mark.parametrize(("text", "cleaned"), TEXTS)
def test_codes_and_descriptions(text, cleaned) -> None:
    """The error can be logged unchanged."""
    verdict = read_reply(codec("v1"), SESSION_CREATE, HttpReply(400, "", refusal(text, text)))
    assert (verdict.code, verdict.description) == (cleaned, cleaned)


@pytest.mark.parametrize(("text", "cleaned"), TEXTS)
def test_sessions(text, cleaned) -> None:
    """Ids, statuses, errors of items, names of unknown fields."""
    session = {
        "id": text,
        "status": text,
        "payments": [
            {"id": text, "status": "failed", "error": {"code": text, "description": text}}
        ],
        f"new {text}": [text],
    }
    body = json.dumps({"status": "ok", "session": session}).encode()
    answer = read_reply(codec("v1"), SESSION_STATUS, HttpReply(200, "", body)).answer

    [payout] = answer.payout_list
    assert (answer.id, answer.status, payout.id) == (cleaned, cleaned, cleaned)
    assert (payout.error.code, payout.error.description) == (cleaned, cleaned)
    assert answer.extra == {clean_text(f"new {text}"): [cleaned]}


def test_raw_control_characters_of_utf_8() -> None:
    """Control characters that JSON allows unescaped are cleaned, too."""
    body = '{"error":{"code":"del\x7fete","description":"\u202e\x9b31mx"}}'.encode()
    verdict = read_reply(codec("v1"), SESSION_CREATE, HttpReply(400, "", body))
    assert (verdict.code, verdict.description) == ("del\ufffdete", "x")


@given(metadata=json_values)
def test_metadata_comes_back_to_the_letter(metadata) -> None:
    """The caller's own metadata is returned unchanged."""
    session = {"id": "ps_1", "status": "created", "metadata": metadata}
    body = json.dumps({"status": "ok", "session": session}).encode()
    answer = read_reply(codec("v1"), SESSION_STATUS, HttpReply(200, "", body)).answer
    assert answer.metadata == metadata


def test_what_is_posted_for_the_payer_stays() -> None:
    """A 3-D Secure form contains line breaks that belong to it."""
    params = {"PaReq": "eJxV\r\nUd1u\n", "MD": "a\tb"}
    redirect = {
        "url": "https://acs.example/\n",
        "base_url": "u",
        "method": "POST",
        "params": params,
    }
    session = {
        "id": "ps_1",
        "status": "in_progress",
        "acquiring_payments": [
            {
                "id": "pm_1",
                "status": "pending",
                "customer_interaction": {"type": "redirect", "redirect": redirect},
            }
        ],
    }
    body = json.dumps({"status": "ok", "session": session}).encode()
    answer = read_reply(codec("v1"), SESSION_STATUS, HttpReply(200, "", body)).answer
    [payment] = answer.payment_list
    assert payment.customer_interaction.redirect.params == params
    assert payment.customer_interaction.redirect.url == "https://acs.example/"


# Byte order marks, and depth.

OK: Final = b'{"status":"ok","session":{"id":"ps_1","status":"created"}}'


@pytest.mark.parametrize("body", [OK, refusal("invalid_request", "no"), b" \n" + OK])
def test_one_byte_order_mark_is_skipped(body) -> None:
    """Other JSON parsers accept it, and an unread answer would leave the outcome unknown."""
    plain = read_reply(codec("v1"), SESSION_CREATE, HttpReply(200, "", body))
    marked = read_reply(codec("v1"), SESSION_CREATE, HttpReply(200, "", BOM + body))
    assert marked == plain
    assert marked.cause is None


@pytest.mark.parametrize("body", [BOM + BOM + OK, OK + BOM, BOM, "\ufeff".encode("utf-16-le") + OK])
def test_other_marks_are_no_json(body) -> None:
    """Two of them, one at the end, one of another encoding, one alone."""
    verdict = read_reply(codec("v1"), SESSION_CREATE, HttpReply(200, "", body))
    assert verdict.happened is sg.AttemptResult.UNKNOWN


def nested(levels: int, kind: str = "list") -> Any:
    """Return JSON with this nesting depth."""
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind == "list" else {"a": value}
    return value


@pytest.mark.parametrize("kind", ["list", "object"])
@pytest.mark.parametrize(("levels", "fits"), [(64, True), (65, False), (900, False)])
def test_how_deep_json_may_be(kind, levels, fits) -> None:
    """64 levels; deeper JSON could exhaust a reader's stack."""
    body = json.dumps(nested(levels, kind)).encode()
    if fits:
        assert parse_incoming(body) == nested(levels, kind)
        return
    with pytest.raises(ValueError, match="nested deeper than 64 levels"):
        parse_incoming(body)


@pytest.mark.parametrize("levels", [3_000, 100_000])
def test_thousands_of_levels_are_refused(levels) -> None:
    """At any recursion limit of the interpreter."""
    with pytest.raises(ValueError, match="nested"):
        parse_incoming(b"[" * levels + b"]" * levels)


def test_many_brackets_beside_each_other_are_not_deep() -> None:
    """A session may have hundreds of payouts."""
    assert len(parse_incoming(json.dumps([[{}]] * 500).encode())) == 500


def test_metadata_that_may_be_sent_may_come_back() -> None:
    """Metadata is counted separately, because an answer contains it some levels deeper."""
    metadata = {"a": nested(62)}
    assert sg.CreateSession(metadata=metadata).metadata == metadata
    payout = {"id": "po_1", "status": "pending", "metadata": metadata}
    session = {"id": "ps_1", "status": "in_progress", "payments": [payout]}
    body = json.dumps({"status": "ok", "session": session}).encode()
    answer = read_reply(codec("v1"), SESSION_STATUS, HttpReply(200, "", body)).answer
    assert answer.payout_list[0].metadata == metadata


# The same in a batch.

NASTY: Final = f"{RED}no\ud83d\x00\nway"


@pytest.fixture(params=["sqlite", "postgres"])
def strict_journal(request, tmp_path, schema):
    """Return a journal that stores its texts in a file, or in tables that don't accept NUL."""
    if request.param == "sqlite":
        return sg.SQLiteJournal(tmp_path / "payouts.db")
    if (reason := missing()) is not None:
        pytest.skip(reason)
    return sg.PostgresJournal(DSN, schema=schema)


def refuses_starts(peer: Peer) -> None:
    """Create any session, and refuse every start with text that can't be stored or shown."""
    while peer.read_request():
        head, body = peer.server.requests[-1]
        path = head.split()[1]
        if path.endswith(b"/start/payout"):
            peer.send(answer(refusal("invalid_request", NASTY), "400 Bad Request"))
            continue
        made = f"ps_{len(peer.server.requests)}"
        session_id = json.loads(body).get("session_id", made)
        session = {"id": session_id, "status": "created"}
        peer.send(answer(json.dumps({"status": "ok", "session": session}).encode()))


async def test_text_that_nothing_can_store_ends_no_batch(strict_journal, caplog) -> None:
    """Each order has its outcome, with text that can be stored, logged and shown."""
    caplog.set_level(logging.DEBUG, "smartglocal_async")
    with serve(refuses_starts) as server:
        async with (
            sg.SmartGlocal("demo", FakeSigner(), server.url, settings=QUICK) as api,
            sg.Payouts(api, strict_journal) as payouts,
        ):
            orders = [order(f"k-{number}") for number in range(3)]
            outcomes = [one async for one in payouts.pay_all(orders)]
            resumed = [one async for one in payouts.settle()]

    told = [(one.state, one.code, one.reason) for one in outcomes]
    assert told == [(sg.PayoutState.FAILED, "invalid_request", "no\ufffd\ufffd way")] * 3
    assert resumed == []
    assert caplog.text.isascii()
    assert "\x1b" not in caplog.text
