"""Webhooks that aren't the provider's are refused, and never shown."""

import base64
import itertools
import json
import os
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from deliveries import HEADER, TOKEN, body, payout, signed
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from places import SAMPLES
from secret_search import SecretSearch

import smartglocal_async as sg
from smartglocal_async.models.events import EVENTS
from smartglocal_async.webhooks.verifier import HTTP_STATUS

OTHER: Final = sg.PrivateKey.generate()
ROTATED: Final = sg.PrivateKey.generate()
BODY: Final = body(payments=[payout()])
SHORT: Final = (
    rsa.generate_private_key(65_537, 1_024)  # noqa: S505 - to be refused
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
)
SIGNATURE: Final = OTHER.sign(BODY)
VERIFIER: Final = sg.WebhookVerifier(OTHER.public)
FAULT: Final = sg.errors.WebhookFault
SAMPLES: Final = sorted(SAMPLES.glob("webhook-*.json"))


def refused(verifier: sg.WebhookVerifier, headers, content) -> sg.WebhookRefused:
    """Return the error of a refused webhook."""
    with pytest.raises(sg.WebhookRefused) as caught:
        verifier.verify(headers, content)
    return caught.value


class TestEvents:
    """The event of a valid delivery."""

    @pytest.mark.parametrize(
        ("kind", "record"),
        [
            ("ready_to_confirm", sg.ReadyToConfirm),
            ("ready_to_capture", sg.ReadyToCapture),
            ("action_required", sg.ActionRequired),
            ("payment_finished", sg.PaymentFinished),
            ("payment_refunded", sg.PaymentRefunded),
            ("something_new", sg.WebhookEvent),
        ],
    )
    def test_types(self, kind, record):
        """Each documented type has its record; an unknown type is kept as text."""
        content = body(kind)
        event = VERIFIER.verify(signed(OTHER, content), content)
        assert (type(event), event.type, event.session.id) == (record, kind, "ps_1")

    @pytest.mark.parametrize("session", [{}, [], {"id": "ps_1"}, {"status": "accepted"}])
    def test_an_unknown_type_with_an_incomplete_session(self, session):
        """It is typed as unknown, and its session kept; a documented type needs a whole one."""
        content = json.dumps({"type": "wallet_event", "session": session}).encode()
        event = VERIFIER.verify(signed(OTHER, content), content)
        assert (type(event), event.type, event.session) == (sg.WebhookEvent, "wallet_event", None)
        assert event.extra == {"session": session}
        known = json.dumps({"type": "payment_finished", "session": session}).encode()
        with pytest.raises(sg.errors.WebhookRefused):
            VERIFIER.verify(signed(OTHER, known), known)

    @pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
    def test_samples(self, sample):
        """The provider's examples are read completely: type, session and its contents."""
        content = sample.read_bytes()
        event = VERIFIER.verify(signed(OTHER, content), content)
        wire = json.loads(content)
        assert type(event) in EVENTS.values()
        assert (event.wire_type, event.session.id) == (wire["type"], wire["session"]["id"])
        items = [
            item["id"]
            for name in ("payments", "payout_list", "acquiring_payments", "payment_list")
            for item in wire["session"].get(name, ())
        ]
        assert all(f"|{item}|" in event.identity for item in items)
        assert items or not event.session.payout_list + event.session.payment_list

    @pytest.mark.parametrize(
        ("payouts", "payments"),
        [("payments", "acquiring_payments"), ("payout_list", "payment_list")],
        ids=["v1", "v2"],
    )
    def test_names_of_both_versions(self, payouts, payments):
        """The version of a webhook isn't known, so the names of both are read."""
        content = body(**{payouts: [payout()], payments: [payout("pending") | {"id": "pm_1"}]})
        session = VERIFIER.verify(signed(OTHER, content), content).session
        assert [(item.id, item.status) for item in session.payout_list] == [("po_1", "succeeded")]
        assert [(item.id, item.status) for item in session.payment_list] == [("pm_1", "pending")]

    def test_unknown_fields_are_kept(self):
        """The provider may add fields."""
        content = json.dumps({**json.loads(body(shape="round")), "sent": "today"}).encode()
        event = VERIFIER.verify(signed(OTHER, content), content)
        assert (event.extra, event.session.extra) == ({"sent": "today"}, {"shape": "round"})

    def test_identity(self):
        """A redelivery has the same identity in any version; another status has another one."""
        contents = [
            body(payments=[payout()]),
            body(payout_list=[payout()], updated_at="2026-05-27T02:04:00.000000Z"),
            body(payments=[payout("failed")]),
            body("ready_to_confirm", payments=[payout()]),
            body(session="ps_2", payments=[payout()]),
        ]
        identities = [VERIFIER.verify(signed(OTHER, each), each).identity for each in contents]
        assert identities[0] == identities[1]
        assert len(set(identities)) == 4
        assert identities[0] == "payment_finished|ps_1|accepted||po_1|succeeded"

    def test_no_two_events_share_an_identity(self):
        """Whatever bars, backslashes and tildes the provider's text contains."""
        asks = {"type": "redirect", "redirect": {"url": "u", "base_url": "b", "method": "GET"}}
        contents = [
            body("new", session="a|b", status="c"),
            body("new|a", session="b", status="c"),
            body("new", session="a", status="b|c"),
            body("new", session="a\\", status="b|c"),
            body("new", session="a\\|b", status="c"),
            body("new", session="a", status="b", payments=[payout(id="c", status="d")]),
            body("new", session="a", status="b", payments=[payout(id="c|d", status="")]),
            body("new", session="a", payments=[payout(id="c", status="d|e"), payout(id="f")]),
            body("new", session="a", payments=[payout(id="c|d", status="e"), payout(id="f")]),
            body("new", session="a", payments=[payout("d", customer_interaction=asks)]),
            body("new", session="a", payments=[payout("d"), payout("d")]),
        ]
        identities = [VERIFIER.verify(signed(OTHER, each), each).identity for each in contents]
        assert len(set(identities)) == len(contents)

    @pytest.mark.parametrize(
        ("wire", "kind", "session", "extra"),
        [
            ({}, "", None, {}),
            ({"type": "payment_finished"}, "payment_finished", None, {}),
            ({"type": "wallet_opened", "wallet": {"id": "w7"}}, "wallet_opened", None, {"wallet"}),
            ({"type": "payment_finished", "session": None}, "payment_finished", None, {}),
            (
                {"session_payment_id": "ps_5", "session": {"id": "ps_6", "status": "accepted"}},
                "",
                "ps_6",
                {"session_payment_id"},
            ),
        ],
    )
    def test_without_a_type_or_a_session(self, wire, kind, session, extra):
        """The sister platform has such events: verified, of an unknown type, and whole."""
        content = json.dumps(wire).encode()
        event = VERIFIER.verify(signed(OTHER, content), content)
        assert (type(event), event.type) == (sg.WebhookEvent, kind)
        assert (event.session and event.session.id) == session
        assert set(event.extra) == set(extra)
        other = json.dumps({**wire, "note": 1}).encode()
        assert VERIFIER.verify(signed(OTHER, other), other).identity != event.identity
        assert VERIFIER.verify(signed(OTHER, content), content).identity == event.identity

    def test_a_float_hides_no_item(self):
        """A transfer's registration has amounts in major units: the item is there without one."""
        wire = {
            "session_payment_id": "ps_5",
            "session": {
                "id": "ps_6",
                "status": "accepted",
                "payments": [payout(amount_details={"amount": 10.5, "currency": "rub"})],
            },
        }
        content = json.dumps(wire).encode()
        [item] = VERIFIER.verify(signed(OTHER, content), content).session.payout_list
        assert (item.id, item.amount_details) == ("po_1", None)
        assert item.extra == {"amount_details": {"amount": 10.5, "currency": "rub"}}

    def test_a_returned_payout_is_an_event_of_its_own(self):
        """Its refund counts in the identity, and so does the refund's status."""
        returned = {"id": "rf_5", "status": "accepted"}
        contents = [
            body("payment_refunded", payments=[payout()]),
            body("payment_refunded", payments=[payout(refunds=[returned])]),
            body("payment_refunded", payout_list=[payout(refunds=[returned])]),
            body("payment_refunded", payments=[payout(refunds=[{**returned, "id": "rf_6"}])]),
            body("payment_refunded", payments=[payout(refunds=[{**returned, "status": "new"}])]),
        ]
        events = [VERIFIER.verify(signed(OTHER, each), each) for each in contents]
        identities = [event.identity for event in events]
        assert identities[1] == identities[2]
        assert len(set(identities)) == 4
        assert [one.id for one in events[1].session.payout_list[0].refunds] == ["rf_5"]

    @pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xef\xbb\xbf \n"])
    def test_a_byte_order_mark_is_skipped(self, mark):
        """It is skipped after the signature was verified, which covers it, too."""
        content = mark + BODY
        assert VERIFIER.verify(signed(OTHER, content), content).session.id == "ps_1"
        assert refused(VERIFIER, {HEADER: SIGNATURE}, content).fault is FAULT.BAD_SIGNATURE

    def test_text_is_cleaned(self):
        """Text is cleaned once, so handlers log and store plain text."""
        content = body("new\n\x1b[31m", session="ps\x00\ud83d", metadata={"note": "a\nb"})
        event = VERIFIER.verify(signed(OTHER, content), content)
        assert (event.type, event.session.id) == ("new", "ps\ufffd\ufffd")
        assert event.session.metadata == {"note": "a\nb"}


class TestHeaders:
    """The signature is found in every form of headers."""

    @pytest.mark.parametrize(
        "headers",
        [
            {HEADER: SIGNATURE},
            {HEADER.lower(): SIGNATURE},
            {"x-Partner-sIgn": f" {SIGNATURE}\t"},
            MappingProxyType({"Host": "x", HEADER: SIGNATURE}),
            [("Host", "x"), (HEADER, SIGNATURE)],
            [(b"x-partner-sign", SIGNATURE.encode())],
            CIMultiDict({HEADER: SIGNATURE}),
            CIMultiDictProxy(CIMultiDict({HEADER.lower(): SIGNATURE})),
        ],
        ids=["as is", "lower", "odd", "mapping", "pairs", "ASGI", "multi-dict", "proxy"],
    )
    def test_accepted(self, headers):
        """In any case, as any mapping or as pairs, text or bytes."""
        assert VERIFIER.verify(headers, BODY).session.id == "ps_1"

    @pytest.mark.parametrize(
        ("headers", "fault"),
        [
            ({}, FAULT.NO_SIGNATURE),
            ([], FAULT.NO_SIGNATURE),
            ({HEADER: ""}, FAULT.NO_SIGNATURE),
            ({HEADER: "  "}, FAULT.NO_SIGNATURE),
            ({HEADER: "ä"}, FAULT.BAD_SIGNATURE),
            ({HEADER: "not base64"}, FAULT.BAD_SIGNATURE),
            ({HEADER: "721af394" * 8}, FAULT.BAD_SIGNATURE),
            ({HEADER: base64.urlsafe_b64encode(b"\xff" * 256).decode()}, FAULT.BAD_SIGNATURE),
            ({HEADER: OTHER.sign(BODY + b" ")}, FAULT.BAD_SIGNATURE),
            ({HEADER: ROTATED.sign(BODY)}, FAULT.BAD_SIGNATURE),
            ({HEADER: f"{SIGNATURE},{SIGNATURE}"}, FAULT.BAD_SIGNATURE),
            ([(HEADER, SIGNATURE), (HEADER.lower(), SIGNATURE)], FAULT.BAD_SIGNATURE),
            ([(HEADER, ""), (HEADER, SIGNATURE)], FAULT.BAD_SIGNATURE),
            (CIMultiDict([(HEADER, SIGNATURE), (HEADER, "x")]), FAULT.BAD_SIGNATURE),
        ],
    )
    def test_refused(self, headers, fault):
        """Without exactly one valid signature, nothing is read."""
        assert refused(VERIFIER, headers, BODY).fault is fault

    @pytest.mark.parametrize("headers", [None, 7, [HEADER], {HEADER: None}, {HEADER: [SIGNATURE]}])
    def test_misuse(self, headers):
        """Invalid headers are a mistake of the program, not of the sender."""
        with pytest.raises(sg.InvalidRequest, match="headers: expected"):
            VERIFIER.verify(headers, BODY)


class TestBodies:
    """The signature is over the raw bytes."""

    @pytest.mark.parametrize(
        ("content", "fault", "detail"),
        [
            (b"", FAULT.NOT_JSON, "line 1, column 1"),
            (b"{", FAULT.NOT_JSON, "line 1, column 2"),
            (b"\xff", FAULT.NOT_JSON, "not UTF-8 at byte 0"),
            (b"NaN", FAULT.NOT_JSON, None),
            (b"[" * 100_000, FAULT.NOT_JSON, None),
            (b"[]", FAULT.NOT_AN_EVENT, "object"),
            (b"null", FAULT.NOT_AN_EVENT, "object"),
            (b'{"type": 7, "session": {}}', FAULT.NOT_AN_EVENT, "$.type"),
            (
                b'{"type": "new", "session": {"id": [7], "status": "x"}}',
                FAULT.NOT_AN_EVENT,
                "$.session.id",
            ),
            (b"\xef\xbb\xbf", FAULT.NOT_JSON, "line 1, column 1"),
            (b"[" * 65 + b"]" * 65, FAULT.NOT_JSON, None),
            (b"[" * 3_000 + b"]" * 3_000, FAULT.NOT_JSON, None),
            (
                b'{"type":"payment_finished","type":"new","session":{"id":"s","status":"x"}}',
                FAULT.NOT_AN_EVENT,
                "an object has the name 'type' twice",
            ),
            (
                b'{"type":"new","session":{"id":"s","id":"t","status":"x"}}',
                FAULT.NOT_AN_EVENT,
                "an object has the name 'id' twice",
            ),
            (
                b'{"type":"new","session":{"payments":[{"status":"failed","status":"paid"}]}}',
                FAULT.NOT_AN_EVENT,
                "an object has the name 'status' twice",
            ),
            (
                b'{"type":"new","a\\u001b[31m\\n":1,"a\\u001b[31m\\n":2}',
                FAULT.NOT_AN_EVENT,
                "an object has the name 'a' twice",
            ),
        ],
    )
    def test_signed_nonsense(self, content, fault, detail):
        """Signed bytes that can't be read have their own errors, by place and not by content."""
        error = refused(VERIFIER, signed(OTHER, content), content)
        assert error.fault is fault
        assert (detail is None) == (error.detail is None)
        assert detail is None or detail in error.detail

    @pytest.mark.parametrize("content", [BODY.decode(), json.loads(BODY), None, memoryview(BODY)])
    def test_raw_bytes_are_asked_for(self, content):
        """Text and parsed JSON have lost the signed bytes."""
        with pytest.raises(sg.InvalidRequest, match="raw bytes") as caught:
            VERIFIER.verify({HEADER: SIGNATURE}, content)
        assert "ps_1" not in str(caught.value)

    def test_bytearray_will_do(self):
        """A bytearray is accepted, too."""
        assert VERIFIER.verify({HEADER: SIGNATURE}, bytearray(BODY)).type == "payment_finished"

    def test_size_comes_first(self):
        """A large body is refused before its signature is checked; the limit itself is allowed."""
        tight = sg.WebhookVerifier(OTHER.public, max_bytes=len(BODY))
        assert tight.verify({HEADER: SIGNATURE}, BODY).session.id == "ps_1"
        tighter = sg.WebhookVerifier(OTHER.public, max_bytes=len(BODY) - 1)
        assert refused(tighter, {}, BODY).fault is FAULT.TOO_LARGE

    @given(st.integers(0, len(BODY) * 8 - 1))
    def test_no_flipped_bit_verifies(self, bit):
        """After any changed bit the signature is invalid."""
        changed = bytearray(BODY)
        changed[bit // 8] ^= 1 << bit % 8
        assert refused(VERIFIER, {HEADER: SIGNATURE}, changed).fault is FAULT.BAD_SIGNATURE

    @given(st.binary(max_size=300), st.text(max_size=400))
    def test_nothing_else_verifies(self, content, signature):
        """Random bytes with random signatures are refused without another error."""
        headers = {HEADER: signature}
        fault = refused(VERIFIER, headers, content).fault
        assert fault in {FAULT.NO_SIGNATURE, FAULT.BAD_SIGNATURE}


JSON: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS: Final = [
    "id",
    "status",
    "next_action",
    "created_at",
    "payments",
    "payment_list",
    "metadata",
    "error",
    "refunds",
    "customer_interaction",
]
NODES: Final = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4)


@settings(deadline=None)
@given(JSON | st.sampled_from(list(EVENTS)), NODES, st.lists(NODES, max_size=2))
def test_signed_json_is_an_event_or_refused(kind, session, payments):
    """Any signed JSON is either an event or refused."""
    session = {"id": "ps_1", "status": "created", "acquiring_payments": payments, **session}
    content = json.dumps({"type": kind, "session": session}).encode()
    try:
        event = VERIFIER.verify(signed(OTHER, content), content)
    except sg.WebhookRefused as error:
        refusal = error
        assert (refusal.fault, refusal.detail[:1]) == (FAULT.NOT_AN_EVENT, "$")
    else:
        assert event.identity.startswith(event.type)


class TestKeys:
    """The provider's public keys, one or several."""

    @pytest.mark.parametrize("several", [[OTHER, ROTATED], [ROTATED, OTHER]])
    def test_rotation(self, several):
        """While keys change, both are accepted."""
        verifier = sg.WebhookVerifier(key.public for key in several)
        for key in several:
            assert verifier.verify(signed(key, BODY), BODY).type == "payment_finished"

    def test_sources(self, tmp_path):
        """A key, PEM bytes, a path as such or as text."""
        file = tmp_path / "provider.pem"
        file.write_bytes(OTHER.public.pem())
        for source in (OTHER.public, OTHER.public.pem(), file, str(file), [file], (str(file),)):
            assert sg.WebhookVerifier(source).verify({HEADER: SIGNATURE}, BODY)

    def test_environment(self, tmp_path):
        """The variable names a file, or several as PATH does."""
        files = [tmp_path / "old.pem", tmp_path / "new.pem"]
        for file, key in zip(files, (ROTATED, OTHER), strict=True):
            file.write_bytes(key.public.pem())
        variable = os.pathsep.join(map(str, files))
        verifier = sg.WebhookVerifier.from_env({"SMARTGLOCAL_WEBHOOK_KEY": variable})
        assert verifier.verify({HEADER: SIGNATURE}, BODY)

    @pytest.mark.parametrize(
        ("environment", "words"),
        [
            ({}, "set SMARTGLOCAL_WEBHOOK_KEY"),
            ({"SMARTGLOCAL_WEBHOOK_KEY": ""}, "set SMARTGLOCAL_WEBHOOK_KEY"),
            ({"SMARTGLOCAL_WEBHOOK_KEY": "absent"}, "SMARTGLOCAL_WEBHOOK_KEY: .*absent"),
        ],
    )
    def test_environment_that_lacks_it(self, environment, words):
        """The error names the variable."""
        with pytest.raises(sg.InvalidCredentials, match=words):
            sg.WebhookVerifier.from_env(environment)

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ([], "no public key"),
            (None, "got NoneType"),
            (7, "got int"),
            ([None], "got NoneType"),
            (OTHER, "got PrivateKey"),
            (OTHER.pem(), "is a private key"),
            (OTHER.pem(b"secret"), "is a private key"),
            (OTHER.pem().decode(), "given as text"),
            (OTHER.public.pem().decode(), "given as text"),
            (OTHER.public.pem() + ROTATED.public.pem(), "several keys in one"),
            (b"nonsense", "isn't PEM"),
            (OTHER.public.pem()[:90], "isn't PEM"),
            (Path("absent.pem"), "absent.pem can't be read: No such file"),
            (Path(), "can't be read: Is a directory"),
            (SHORT, "a public key of 1024 bits can be forged: 2048 or more are needed"),
            (sg.PublicKey.from_pem(SHORT), "a public key of 1024 bits"),
            ([OTHER.public, SHORT], "a public key of 1024 bits"),
        ],
        ids=itertools.count(),  # Keys are generated in each process; the names must be the same.
    )
    def test_keys_that_can_not_be_used(self, given, words):
        """Each is refused by name, in the constructor."""
        with pytest.raises(sg.InvalidCredentials, match=words):
            sg.WebhookVerifier(given)

    @pytest.mark.parametrize("most", [0, -1, True, 1.5, None])
    def test_invalid_limits(self, most):
        """The limit is a whole number above zero."""
        with pytest.raises(sg.InvalidRequest, match="max_bytes"):
            sg.WebhookVerifier(OTHER.public, max_bytes=most)


def test_every_fault_has_an_answer():
    """None is answered with 200, since the provider would not redeliver."""
    assert set(HTTP_STATUS) == set(sg.errors.WebhookFault)
    assert set(HTTP_STATUS.values()) == {400, 401, 408, 413}


class TestSecrets:
    """Refused webhooks aren't shown."""

    @pytest.fixture
    def leaks(self):
        """Fail if a secret was found at the end."""
        pem = (OTHER.pem().decode() + OTHER.public.pem().decode()).splitlines()
        leaks = SecretSearch({TOKEN, *(line for line in pem if len(line) > 60)})
        yield leaks
        assert leaks.found == []

    @pytest.mark.parametrize(
        "content",
        [
            f'{{"type": "{TOKEN}", "session": 7}}'.encode(),
            f'{{"type": "payment_finished", "session": {{"id": ["{TOKEN}"]}}}}'.encode(),
            f'{{"type": ["{TOKEN}"], "session": {{}}}}'.encode(),
            f'"{TOKEN}'.encode(),
            f'"{TOKEN}"'.encode(),
            TOKEN.encode() + b"\xff",
            f'{{"{TOKEN}": NaN}}'.encode(),
        ],
    )
    @pytest.mark.parametrize("verifier", [VERIFIER, sg.WebhookVerifier(ROTATED.public)])
    def test_refused_bodies(self, content, verifier, leaks):
        """Neither body nor signature is in the error or its frames."""
        signature = OTHER.sign(content)
        leaks.secrets.add(signature)
        leaks.search_error(refused(verifier, {HEADER: signature}, content))
        small = sg.WebhookVerifier(OTHER.public, max_bytes=1)
        leaks.search_error(refused(small, {HEADER: signature}, content))

    @pytest.mark.parametrize(
        ("headers", "content"), [({HEADER: TOKEN}, TOKEN), ({HEADER: [TOKEN]}, TOKEN.encode())]
    )
    def test_misuse(self, headers, content, leaks):
        """The same for mistakes of the program."""
        with pytest.raises(sg.InvalidRequest) as caught:
            VERIFIER.verify(headers, content)
        leaks.search_error(caught.value)

    @pytest.mark.parametrize(
        "given",
        [OTHER.pem(), OTHER.pem().decode(), [OTHER.pem()]],
        ids=["bytes", "text", "several"],
    )
    def test_keys(self, given, leaks):
        """A private key passed by mistake isn't shown; no key is in the repr."""
        with pytest.raises(sg.InvalidCredentials) as caught:
            sg.WebhookVerifier(given)
        leaks.search_error(caught.value)
        leaks.search_objects(VERIFIER)
        assert repr(VERIFIER) == "WebhookVerifier(max_bytes=1000000)"
