"""Webhooks are the provider's or they are refused, and what is refused is not shown."""

import base64
import itertools
import json
import os
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest
from deliveries import HEADER, TOKEN, body, payout, signed
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from test_secrets import Hunt

import smartglocal_async as sg
from smartglocal_async.values.events import EVENTS
from smartglocal_async.webhooks import HTTP_STATUS

OTHER: Final = sg.PrivateKey.generate()
ROTATED: Final = sg.PrivateKey.generate()
BODY: Final = body(payments=[payout()])
SIGNATURE: Final = OTHER.sign(BODY)
VERIFIER: Final = sg.WebhookVerifier(OTHER.public)
FAULT: Final = sg.WebhookFault
SAMPLES: Final = sorted((Path(__file__).parent / "samples").glob("webhook-*.json"))


def refused(verifier: sg.WebhookVerifier, headers, content) -> sg.WebhookRefused:
    """Give the refusal."""
    with pytest.raises(sg.WebhookRefused) as caught:
        verifier.read(headers, content)
    return caught.value


class TestEvents:
    """What a good delivery gives."""

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
        """Each documented type has its record; a new one keeps its word."""
        content = body(kind)
        event = VERIFIER.read(signed(OTHER, content), content)
        assert (type(event), event.type, event.session.id) == (record, kind, "ps_1")

    @pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
    def test_samples(self, sample):
        """What the provider's pages print is read whole: its type, its session, what is in it."""
        content = sample.read_bytes()
        event = VERIFIER.read(signed(OTHER, content), content)
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
        """Which version a webhook speaks is unknown: both are understood."""
        content = body(**{payouts: [payout()], payments: [payout("pending") | {"id": "pm_1"}]})
        session = VERIFIER.read(signed(OTHER, content), content).session
        assert [(item.id, item.status) for item in session.payout_list] == [("po_1", "succeeded")]
        assert [(item.id, item.status) for item in session.payment_list] == [("pm_1", "pending")]

    def test_unknown_fields_are_kept(self):
        """The provider may add fields."""
        content = json.dumps({**json.loads(body(shape="round")), "sent": "today"}).encode()
        event = VERIFIER.read(signed(OTHER, content), content)
        assert (event.extra, event.session.extra) == ({"sent": "today"}, {"shape": "round"})

    def test_identity(self):
        """A redelivery has the same identity, whatever the version; a next status another."""
        contents = [
            body(payments=[payout()]),
            body(payout_list=[payout()], updated_at="2026-05-27T02:04:00.000000Z"),
            body(payments=[payout("failed")]),
            body("ready_to_confirm", payments=[payout()]),
            body(session="ps_2", payments=[payout()]),
        ]
        identities = [VERIFIER.read(signed(OTHER, each), each).identity for each in contents]
        assert identities[0] == identities[1]
        assert len(set(identities)) == 4


class TestHeaders:
    """The signature is found however a framework hands headers over."""

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
        assert VERIFIER.read(headers, BODY).session.id == "ps_1"

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
        """Without one good signature, and that one alone, nothing is read."""
        assert refused(VERIFIER, headers, BODY).fault is fault

    @pytest.mark.parametrize("headers", [None, 7, [HEADER], {HEADER: None}, {HEADER: [SIGNATURE]}])
    def test_misuse(self, headers):
        """What are no headers is the program's mistake, and not the sender's."""
        with pytest.raises(sg.InvalidRequest, match="headers: expected"):
            VERIFIER.read(headers, BODY)


class TestBodies:
    """What is signed is the bytes."""

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
            (b"{}", FAULT.NOT_AN_EVENT, "type"),
            (b'{"type": 7, "session": {}}', FAULT.NOT_AN_EVENT, "$.type"),
            (b'{"type": "payment_finished"}', FAULT.NOT_AN_EVENT, "session"),
            (
                b'{"type": "new", "session": {"id": [7], "status": "x"}}',
                FAULT.NOT_AN_EVENT,
                "$.session.id",
            ),
        ],
    )
    def test_signed_nonsense(self, content, fault, detail):
        """Signed bytes that can't be read are told apart, by place and not by content."""
        error = refused(VERIFIER, signed(OTHER, content), content)
        assert error.fault is fault
        assert (detail is None) == (error.detail is None)
        assert detail is None or detail in error.detail

    @pytest.mark.parametrize("content", [BODY.decode(), json.loads(BODY), None, memoryview(BODY)])
    def test_raw_bytes_are_asked_for(self, content):
        """Text and parsed JSON have lost what was signed."""
        with pytest.raises(sg.InvalidRequest, match="raw bytes") as caught:
            VERIFIER.read({HEADER: SIGNATURE}, content)
        assert "ps_1" not in str(caught.value)

    def test_bytearray_will_do(self):
        """A buffer that was filled is bytes, too."""
        assert VERIFIER.read({HEADER: SIGNATURE}, bytearray(BODY)).type == "payment_finished"

    def test_size_comes_first(self):
        """A large body is refused without a look at its signature; the limit itself is allowed."""
        tight = sg.WebhookVerifier(OTHER.public, most_bytes=len(BODY))
        assert tight.read({HEADER: SIGNATURE}, BODY).session.id == "ps_1"
        tighter = sg.WebhookVerifier(OTHER.public, most_bytes=len(BODY) - 1)
        assert refused(tighter, {}, BODY).fault is FAULT.TOO_LARGE

    @given(st.integers(0, len(BODY) * 8 - 1))
    def test_no_flipped_bit_verifies(self, bit):
        """Whatever bit is changed, the signature is none any more."""
        changed = bytearray(BODY)
        changed[bit // 8] ^= 1 << bit % 8
        assert refused(VERIFIER, {HEADER: SIGNATURE}, changed).fault is FAULT.BAD_SIGNATURE

    @given(st.binary(max_size=300), st.text(max_size=400))
    def test_nothing_else_verifies(self, content, signature):
        """Random bytes with random signatures are refused, and never trip it."""
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
    """Whatever the provider may sign, there is no third way."""
    session = {"id": "ps_1", "status": "created", "acquiring_payments": payments, **session}
    content = json.dumps({"type": kind, "session": session}).encode()
    try:
        event = VERIFIER.read(signed(OTHER, content), content)
    except sg.WebhookRefused as error:
        refusal = error
        assert (refusal.fault, refusal.detail[:1]) == (FAULT.NOT_AN_EVENT, "$")
    else:
        assert event.identity.startswith(event.type)


class TestKeys:
    """The provider's public keys, one or several."""

    @pytest.mark.parametrize("several", [[OTHER, ROTATED], [ROTATED, OTHER]])
    def test_rotation(self, several):
        """While keys change, either of them will do."""
        verifier = sg.WebhookVerifier(key.public for key in several)
        for key in several:
            assert verifier.read(signed(key, BODY), BODY).type == "payment_finished"

    def test_sources(self, tmp_path):
        """A key, PEM bytes, a path as such or as text."""
        file = tmp_path / "provider.pem"
        file.write_bytes(OTHER.public.pem())
        for source in (OTHER.public, OTHER.public.pem(), file, str(file), [file], (str(file),)):
            assert sg.WebhookVerifier(source).read({HEADER: SIGNATURE}, BODY)

    def test_environment(self, tmp_path):
        """The variable names a file, or several as PATH does."""
        files = [tmp_path / "old.pem", tmp_path / "new.pem"]
        for file, key in zip(files, (ROTATED, OTHER), strict=True):
            file.write_bytes(key.public.pem())
        variable = os.pathsep.join(map(str, files))
        verifier = sg.WebhookVerifier.from_env({"SMARTGLOCAL_WEBHOOK_KEY": variable})
        assert verifier.read({HEADER: SIGNATURE}, BODY)

    @pytest.mark.parametrize(
        ("environment", "words"),
        [
            ({}, "set SMARTGLOCAL_WEBHOOK_KEY"),
            ({"SMARTGLOCAL_WEBHOOK_KEY": ""}, "set SMARTGLOCAL_WEBHOOK_KEY"),
            ({"SMARTGLOCAL_WEBHOOK_KEY": "absent"}, "SMARTGLOCAL_WEBHOOK_KEY: .*absent"),
        ],
    )
    def test_environment_that_lacks_it(self, environment, words):
        """The variable is named."""
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
        ],
        ids=itertools.count(),  # The keys are made anew in each process; names must not be.
    )
    def test_keys_that_can_not_be_used(self, given, words):
        """Each is named, at construction."""
        with pytest.raises(sg.InvalidCredentials, match=words):
            sg.WebhookVerifier(given)

    @pytest.mark.parametrize("most", [0, -1, True, 1.5, None])
    def test_limits_that_are_none(self, most):
        """The limit is a whole number above zero."""
        with pytest.raises(sg.InvalidRequest, match="most_bytes"):
            sg.WebhookVerifier(OTHER.public, most_bytes=most)


def test_every_fault_has_an_answer():
    """None is 200: the provider would not deliver again."""
    assert set(HTTP_STATUS) == set(sg.WebhookFault)
    assert set(HTTP_STATUS.values()) == {400, 401, 413}


class TestSecrets:
    """Nothing that is refused is shown."""

    @pytest.fixture
    def hunt(self):
        """Find nothing in the end."""
        pem = (OTHER.pem().decode() + OTHER.public.pem().decode()).splitlines()
        hunt = Hunt({TOKEN, *(line for line in pem if len(line) > 60)})
        yield hunt
        assert hunt.found == []

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
    def test_refused_bodies(self, content, verifier, hunt):
        """Neither body nor signature is in the error, or in the frames that it came through."""
        signature = OTHER.sign(content)
        hunt.secrets.add(signature)
        hunt.look_at_error(refused(verifier, {HEADER: signature}, content))
        small = sg.WebhookVerifier(OTHER.public, most_bytes=1)
        hunt.look_at_error(refused(small, {HEADER: signature}, content))

    @pytest.mark.parametrize(
        ("headers", "content"), [({HEADER: TOKEN}, TOKEN), ({HEADER: [TOKEN]}, TOKEN.encode())]
    )
    def test_misuse(self, headers, content, hunt):
        """Nor where the program is wrong."""
        with pytest.raises(sg.InvalidRequest) as caught:
            VERIFIER.read(headers, content)
        hunt.look_at_error(caught.value)

    @pytest.mark.parametrize(
        "given",
        [OTHER.pem(), OTHER.pem().decode(), [OTHER.pem()]],
        ids=["bytes", "text", "several"],
    )
    def test_keys(self, given, hunt):
        """A private key that was given by mistake is not shown; nor is any in the repr."""
        with pytest.raises(sg.InvalidCredentials) as caught:
            sg.WebhookVerifier(given)
        hunt.look_at_error(caught.value)
        hunt.look_at_objects(VERIFIER)
        assert repr(VERIFIER) == "WebhookVerifier(most_bytes=1000000)"
