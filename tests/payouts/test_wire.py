"""The keys, headers and metadata of a payout's calls, as they are sent."""

import json
from typing import Any, Final

import aiohttp
import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from paying import QUICK, order

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Confirmation, Fault, FaultKind, KeyScope, Reaction
from smartglocal_async.idempotency import Fingerprint
from smartglocal_async.journal.entries import Entry
from smartglocal_async.payouts.calls import CallLimits, _header_key, _header_number, _key
from smartglocal_async.payouts.protocol import PayoutCall
from smartglocal_async.request import header_of

CREATE: Final = "session/create"
START: Final = "session/start/payout"
STATUS: Final = "session/status"
CONFIRM: Final = "session/confirm"
CANCEL: Final = "session/cancel"
INIT: Final = "session/init/payout"
HEADER: Final = "X-PARTNER-IDEMPOTENCY-KEY"
ORDER: Final = order(customer=sg.Customer(reference="c-7"))


@define
class CallRecorder:
    """Records each call and sends it on."""

    seen: list[tuple[str, str | None, dict[str, Any]]] = field(factory=list[Any])

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Record path, header and body."""
        path = request.url.path.removeprefix("/api/v1/")
        body = json.loads(await request.body.as_bytes())
        self.seen.append((path, request.headers.get(HEADER), body))
        return await handler(request)

    def keys(self, *paths: str) -> list[tuple[str, str | None]]:
        """Return the calls of these kinds, each with the key in its header."""
        return [(path, key) for path, key, _ in self.seen if path in paths]

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """Return the bodies that were sent to one path."""
        return [body for one, _, body in self.seen if one == path]


async def pay(
    run_provider: Any, connect: Any, journal: sg.journal.Journal, mode: sg.Mode, *faults: Fault
) -> CallRecorder:
    """Pay one order, and return what was sent."""
    confirmation = Confirmation.MANUAL if mode is sg.Mode.MANUAL else Confirmation.AUTOMATIC
    provider = run_provider(
        rules=emulator.Rules(confirmation=confirmation), faults=emulator.FaultScript(faults)
    )
    tap, unknown = CallRecorder(), mode is sg.Mode.ONE_STEP
    async with (
        aiohttp.ClientSession(middlewares=(tap,)) as session,
        sg.SessionPool(session=session) as pool,
    ):
        api = connect(provider, pool=pool, settings=QUICK)
        async with sg.Payouts(api, journal, mode=mode, accept_unknown=unknown) as payouts:
            assert (await payouts.pay(ORDER)).is_paid
    return tap


def lost(operation: str, *nth: int) -> Fault:
    """Return the fault that loses these calls before they take effect."""
    return Fault(FaultKind.BEFORE, nth=nth, operation=operation)


async def digest_of(journal: sg.journal.Journal) -> str:
    """Return the digest of the order, as the journal has it."""
    journal._is_open = True
    entry = await journal.find("k-1")
    digest = entry.fingerprint.short
    assert len(digest) == 16
    return digest


async def test_the_marks_of_each_call(run_provider, connect, journal):
    """The session has key, journal and order; the payout also the number of its session."""
    tap = await pay(run_provider, connect, journal, sg.Mode.MANUAL)
    digest = await digest_of(journal)
    assert tap.bodies(CREATE) == [
        {
            "metadata": {
                "invoice": 7,
                "payout_key": "k-1",
                "payout_journal": journal.journal_id,
                "payout_order": digest,
                "idempotency_key": "k-1:1.1",
            }
        }
    ]
    [start] = tap.bodies(START)
    assert start["session_id"] == "ps_1"
    assert start["amount_details"] == {"amount": 10_000, "currency": "usd"}
    assert start["payment_method"]["card"]["encrypted_card"] == {"number_hash": "hash"}
    assert start["participant_details"] == {"recipient": {"full_name": "Jane Roe"}}
    assert start["customer"] == {"reference": "c-7"}
    assert start["metadata"] == {
        "invoice": 7,
        "payout_journal": journal.journal_id,
        "payout_order": digest,
        "payout_session": 0,
        "idempotency_key": "k-1",
    }
    for path in (STATUS, CONFIRM):
        assert {json.dumps(body) for body in tap.bodies(path)} == {'{"session_id": "ps_1"}'}


async def test_the_marks_of_one_step(run_provider, connect, journal):
    """It has all of them except the number of a session."""
    tap = await pay(run_provider, connect, journal, sg.Mode.ONE_STEP)
    [init] = tap.bodies(INIT)
    assert init["metadata"] == {
        "invoice": 7,
        "payout_journal": journal.journal_id,
        "payout_order": await digest_of(journal),
        "idempotency_key": "k-1",
    }
    assert init["amount_details"] == {"amount": 10_000, "currency": "usd"}
    assert init["participant_details"] == {"recipient": {"full_name": "Jane Roe"}}
    assert init["payment_method"]["card"]["encrypted_card"] == {"number_hash": "hash"}
    assert init["customer"] == {"reference": "c-7"}
    assert tap.keys(INIT) == [(INIT, "k-1")]


@pytest.mark.parametrize("mode", [sg.Mode.MANUAL, sg.Mode.AUTOMATIC])
async def test_the_keys_of_later_sessions(mode, run_provider, connect, journal):
    """No two creates share a key; the first two starts share one, each later one has its own."""
    tap = await pay(run_provider, connect, journal, mode, lost(START, 1, 2, 3))
    assert tap.keys(CREATE, START) == [
        (CREATE, None),
        (START, "k-1/start/payout"),
        (CREATE, None),
        (START, "k-1/start/payout"),
        (CREATE, None),
        (START, "k-1/start/payout/2"),
        (CREATE, None),
        (START, "k-1/start/payout/3"),
    ]
    starts = tap.bodies(START)
    assert [body["session_id"] for body in starts] == ["ps_1", "ps_2", "ps_3", "ps_4"]
    assert [body["metadata"]["payout_session"] for body in starts] == [0, 1, 2, 3]
    assert [body["metadata"]["idempotency_key"] for body in starts] == ["k-1"] * 4
    assert [body["metadata"]["idempotency_key"] for body in tap.bodies(CREATE)] == [
        "k-1:1.1",
        "k-1:1.9",
        "k-1:1.17",
        "k-1:1.25",
    ]
    assert [body["session_id"] for body in tap.bodies(CANCEL)] == ["ps_1", "ps_2", "ps_3"]


async def test_the_keys_of_confirms(run_provider, connect, journal):
    """All confirms of one session share a key; another session has another one."""
    lost_calls = (lost(START, 1), lost(CONFIRM, 1, 2))
    tap = await pay(run_provider, connect, journal, sg.Mode.MANUAL, *lost_calls)
    assert tap.keys(CONFIRM) == [(CONFIRM, "k-1:1/confirm")] * 3
    assert {body["session_id"] for body in tap.bodies(CONFIRM)} == {"ps_2"}


async def sends_again(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Send a request again if its connection breaks, as a retrying middleware does."""
    try:
        return await handler(request)
    except aiohttp.ClientError:
        return await handler(request)


@pytest.mark.parametrize(
    ("mode", "operation"),
    [
        (sg.Mode.MANUAL, START),
        (sg.Mode.MANUAL, CONFIRM),
        (sg.Mode.AUTOMATIC, START),
        (sg.Mode.ONE_STEP, INIT),
    ],
)
async def test_a_retrying_session_sends_no_payout_again(
    mode, operation, run_provider, connect, journal
):
    """The session of the caller's sends again what failed, and the provider allows a second one."""
    calls: list[str] = []
    confirmation = Confirmation.MANUAL if mode is sg.Mode.MANUAL else Confirmation.AUTOMATIC
    provider = run_provider(
        rules=emulator.Rules(confirmation=confirmation, second_start=emulator.Permission.ALLOW),
        faults=emulator.FaultScript([Fault(FaultKind.AFTER, nth=(1,), operation=operation)]),
        on_request=lambda seen: calls.append(seen.operation),
    )
    async with (
        aiohttp.ClientSession(middlewares=(sends_again,)) as session,
        sg.SessionPool(session=session) as pool,
    ):
        api = connect(provider, pool=pool, settings=QUICK)
        async with sg.Payouts(api, journal, mode=mode, accept_unknown=True) as payouts:
            outcome = await payouts.pay(ORDER)
    assert outcome.is_paid is (mode is not sg.Mode.ONE_STEP)
    assert calls.count(operation) == 1
    assert provider.order("k-1").moved == 1


_PATHS: Final = {
    PayoutCall.CREATE: CREATE,
    PayoutCall.START: START,
    PayoutCall.CONFIRM: CONFIRM,
    PayoutCall.INIT: INIT,
}
_KEYS: Final = st.text("a:/.%20123", min_size=1, max_size=6) | st.sampled_from(
    [
        "a",
        "a:0",
        "a:2",
        "a:1.1",
        "a/start/payout",
        "a/start/payout/2",
        "a/create/1.1",
        "a%2F",
        "a:2:2",
    ]
)


def header(call: PayoutCall, key: str, session_no: int, limits: CallLimits, fence: int) -> str:
    """Return the header of a call of a payout."""
    entry = Entry(
        key=key,
        mode="manual",
        fingerprint=Fingerprint(()),
        session_no=session_no,
        fence=fence,
        created_at=0.0,
        updated_at=0.0,
    )
    text = _header_key(call, entry) or _key(call, entry, limits)
    assert text is not None
    return header_of(_PATHS[call], text, _header_number(call, entry, limits))


_CALLS: Final = st.tuples(
    st.sampled_from(list(_PATHS)),
    _KEYS,
    st.integers(0, 3),
    st.builds(CallLimits, st.just(1.0), st.integers(1, 20), st.integers(1, 3)),
    st.integers(1, 20),
)


@given(one=_CALLS, other=_CALLS)
def test_no_two_payouts_share_a_header(one, other) -> None:
    """Whatever their keys are, and whichever calls they make; nor do two calls of one payout."""
    shared = header(*one) == header(*other)
    # One header for all confirms of a session, and for the first two starts.
    call, key, session_no, limits, fence = one
    is_same = (call, key) == other[:2]
    if call is PayoutCall.CREATE:
        assert shared is (is_same and (limits, fence) == other[3:])
    elif call is PayoutCall.INIT:
        assert shared is is_same
    else:
        numbers = (session_no, other[2])
        both_first = call is PayoutCall.START and max(numbers) < 2
        assert shared is (is_same and (numbers[0] == numbers[1] or both_first))


@given(key=_KEYS)
def test_the_first_start_and_the_init_have_the_key_itself(key) -> None:
    """Percent-encoded, with the name of the call behind a start."""
    limits = CallLimits(1.0, 1)
    plain = header(PayoutCall.INIT, key, 0, limits, 1)
    assert header(PayoutCall.START, key, 1, limits, 1) == f"{plain}/start/payout"
    assert plain == key.replace("%", "%25").replace("/", "%2F")
    # A confirm may be sent again by the release after the one that sent it first.
    assert header(PayoutCall.CONFIRM, key, 1, limits, 1) == f"{plain}:1/confirm"


@pytest.mark.parametrize("scope", list(KeyScope))
@pytest.mark.parametrize(
    "keys_and_mode",
    [
        (("a", "a:2"), sg.Mode.AUTOMATIC),
        (("a:2", "a"), sg.Mode.AUTOMATIC),
        (("a:2", "a"), sg.Mode.MANUAL),
        (("a", "a:0", "a:1.1"), sg.Mode.MANUAL),
    ],
)
async def test_a_payout_that_is_named_as_the_header_of_another_one(
    run_provider, connect, journal, scope, keys_and_mode
) -> None:
    """A provider that refuses used keys refuses neither: each is paid."""
    keys, mode = keys_and_mode
    confirmation = Confirmation.MANUAL if mode is sg.Mode.MANUAL else Confirmation.AUTOMATIC
    lost_starts = Fault(FaultKind.BEFORE, nth=(1, 2), key="a", operation=START)
    provider = run_provider(
        rules=emulator.Rules(
            confirmation=confirmation, idempotency_header=Reaction.REFUSE, key_scope=scope
        ),
        faults=emulator.FaultScript([lost_starts]),
    )
    settings = sg.Settings(timing=QUICK.timing, idempotency_header=sg.HeaderUse.ALWAYS)
    async with sg.Payouts(connect(provider, settings=settings), journal, mode=mode) as payouts:
        for key in keys:
            assert (await payouts.pay(order(key))).is_paid, key
    assert provider.report().moved == len(keys)


async def test_an_order_without_metadata(run_provider, connect, journal):
    """The metadata is added; a caller's own value under our key is replaced."""
    provider = run_provider()
    tap = CallRecorder()
    async with (
        aiohttp.ClientSession(middlewares=(tap,)) as session,
        sg.SessionPool(session=session) as pool,
        sg.Payouts(connect(provider, pool=pool, settings=QUICK), journal) as payouts,
    ):
        assert (await payouts.pay(order("k-1", metadata=None))).is_paid
        assert (await payouts.pay(order("k-2", metadata={"idempotency_key": "k-2"}))).is_paid
    fields = {"payout_key", "payout_journal", "payout_order", "idempotency_key"}
    assert [set(body["metadata"]) for body in tap.bodies(CREATE)] == [fields, fields]
    assert [body["metadata"]["idempotency_key"] for body in tap.bodies(CREATE)] == [
        "k-1:1.1",
        "k-2:1.1",
    ]
