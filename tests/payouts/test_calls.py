"""Which calls a payout makes, and how many; counted at the provider, each list written by hand."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from aiohttp import web
from attrs import evolve
from gateway import gateway
from paying import QUICK, order
from rawserver import Peer, answer, serve

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import (
    Confirmation,
    Fault,
    FaultKind,
    Permission,
    Reaction,
)

CREATE: Final = "session/create"
START: Final = "session/start/payout"
STATUS: Final = "session/status"
CONFIRM: Final = "session/confirm"
CANCEL: Final = "session/cancel"
INIT: Final = "session/init/payout"

MANUAL, AUTOMATIC, ONE_STEP = sg.Mode.MANUAL, sg.Mode.AUTOMATIC, sg.Mode.ONE_STEP
BEFORE, AFTER = FaultKind.BEFORE, FaultKind.AFTER
PAID, FAILED, UNKNOWN = (
    sg.PayoutState.SUCCEEDED,
    sg.PayoutState.FAILED,
    sg.PayoutState.UNKNOWN,
)
DECLINED: Final = order(amount=66601)
"""The emulator declines this amount after execution, with the code account_not_found."""
REFUSED: Final = order(payment_method=sg.Recurrent(token="gone"))  # noqa: S106
"""The emulator refuses to start this card, with the code invalid_request."""
PAID_BY_HAND: Final = [CREATE, START, STATUS, CONFIRM, STATUS]
PAID_AT_ONCE: Final = [CREATE, START, STATUS]
FIVE_LOOKS: Final = [STATUS, STATUS, STATUS, STATUS, STATUS]


@pytest.fixture
def calls() -> list[str]:
    """Return the calls that the emulator received, in order."""
    return []


@pytest.fixture
def emulated(run_provider, calls) -> Callable[..., emulator.Provider]:
    """Return a function that starts an emulator whose confirmation fits a mode."""

    def run(mode: sg.Mode, *faults: Fault, **rules: Any) -> emulator.Provider:
        confirmation = Confirmation.MANUAL if mode is MANUAL else Confirmation.AUTOMATIC
        return run_provider(
            faults=emulator.FaultScript(faults),
            rules=emulator.Rules(confirmation=confirmation, **rules),
            on_request=lambda seen: calls.append(seen.operation),
        )

    return run


async def pay(api: sg.SmartGlocal, mode: sg.Mode, paid: sg.PayoutOrder, **options: Any) -> Any:
    """Pay one order with a new journal."""
    unknown = mode is ONE_STEP
    journal = sg.journal.MemoryJournal(unsafe=True)
    async with sg.Payouts(api, journal, mode=mode, accept_unknown=unknown, **options) as payouts:
        return await payouts.pay(paid)


def lost(operation: str, kind: FaultKind, *nth: int) -> Fault:
    """Return the fault that loses the answers of an operation."""
    return Fault(kind, nth=nth or (1,), operation=operation)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(MANUAL, PAID_BY_HAND), (AUTOMATIC, PAID_AT_ONCE), (ONE_STEP, [INIT, STATUS])],
)
async def test_nothing_goes_wrong(mode, expected, emulated, connect, calls):
    """Each call is made once, with a status check after the calls that pay."""
    provider = emulated(mode)
    outcome = await pay(connect(provider, settings=QUICK), mode, order())
    assert (outcome.state, outcome.code) == (PAID, None)
    assert calls == expected
    assert provider.order("k-1").moved == 1


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(MANUAL, PAID_BY_HAND), (AUTOMATIC, PAID_AT_ONCE), (ONE_STEP, [INIT, STATUS])],
)
async def test_a_decline(mode, expected, emulated, connect, calls):
    """A decline is final: no other session and no other call."""
    provider = emulated(mode)
    outcome = await pay(connect(provider, settings=QUICK), mode, DECLINED)
    assert (outcome.state, outcome.code, outcome.reason) == (
        FAILED,
        "account_not_found",
        "account not found",
    )
    assert calls == expected
    assert provider.report().moved == 0


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (MANUAL, [CREATE, START, STATUS, CANCEL]),
        (AUTOMATIC, [CREATE, START, STATUS, CANCEL]),
        (ONE_STEP, [INIT]),
    ],
)
async def test_a_refused_start(mode, expected, emulated, connect, calls):
    """After a refused start, the status is checked and the session cancelled before it is final."""
    provider = emulated(mode)
    outcome = await pay(connect(provider, settings=QUICK), mode, REFUSED)
    assert (outcome.state, outcome.code, outcome.reason) == (
        FAILED,
        "invalid_request",
        "payment_method.recurrent.token: there is no such token",
    )
    assert calls == expected
    assert provider.report().moved == 0


STAYS_OPEN: Final = [CREATE, START, STATUS, *[CANCEL, STATUS] * 5]


@pytest.mark.parametrize(
    ("cancel", "state", "expected"),
    [
        (Permission.ALLOW, FAILED, [CREATE, START, STATUS, CANCEL]),
        (Permission.REFUSE, FAILED, [*STAYS_OPEN, *STAYS_OPEN, STATUS]),
    ],
)
async def test_a_refused_start_whose_session_stays_open(  # noqa: PLR0913, PLR0917 - fixtures
    cancel, state, expected, emulated, connect, calls
):
    """In manual mode, a second refusal is final if the first session still shows no payout."""
    provider = emulated(MANUAL, cancel_created=cancel)
    outcome = await pay(connect(provider, settings=QUICK), MANUAL, REFUSED)
    assert (outcome.state, outcome.code) == (state, "invalid_request")
    assert calls == expected


@pytest.mark.parametrize("mode", [MANUAL, AUTOMATIC])
@pytest.mark.parametrize("status", ["400 Bad Request", "200 OK", "422 Unprocessable Content"])
async def test_a_refused_create(mode, status, connect):
    """A refused create is final after the second refusal; nothing was started."""
    refusal = b'{"status":"error","error":{"code":"account_not_found","description":"why"}}'

    def refuse(peer: Peer) -> None:
        while peer.read_request():
            peer.send(answer(refusal, status))

    with serve(refuse) as server:
        outcome = await pay(connect(server, settings=QUICK), mode, order())
    assert (outcome.state, outcome.code, outcome.reason) == (FAILED, "account_not_found", "why")
    paths = [head.split()[1] for head, _ in server.requests]
    assert paths == [b"/api/v1/session/create", b"/api/v1/session/create"]
    keys = [json.loads(body)["metadata"]["idempotency_key"] for _, body in server.requests]
    assert keys == ["k-1:1.1", "k-1:1.1.2"]


@pytest.mark.parametrize(
    ("mode", "kind", "expected"),
    [
        (MANUAL, BEFORE, [CREATE, *PAID_BY_HAND]),
        (MANUAL, AFTER, [CREATE, *PAID_BY_HAND]),
        (AUTOMATIC, BEFORE, [CREATE, *PAID_AT_ONCE]),
        (AUTOMATIC, AFTER, [CREATE, *PAID_AT_ONCE]),
    ],
)
async def test_a_lost_create(mode, kind, expected, emulated, connect, calls):  # noqa: PLR0913, PLR0917
    """After a lost create another session is created, and nothing else is done twice."""
    provider = emulated(mode, lost(CREATE, kind))
    outcome = await pay(connect(provider, settings=QUICK), mode, order())
    assert outcome.state is PAID
    assert calls == expected
    assert provider.order("k-1").moved == 1


@pytest.mark.parametrize("header", Reaction)
@pytest.mark.parametrize(
    ("mode", "kind", "expected"),
    [
        (MANUAL, BEFORE, [CREATE, START, *FIVE_LOOKS, CANCEL, *PAID_BY_HAND]),
        (MANUAL, AFTER, [CREATE, START, STATUS, STATUS, CONFIRM, STATUS]),
        (AUTOMATIC, BEFORE, [CREATE, START, *FIVE_LOOKS, CANCEL, *PAID_AT_ONCE]),
        (AUTOMATIC, AFTER, PAID_AT_ONCE),
    ],
)
async def test_a_lost_start(  # noqa: PLR0913, PLR0917 - fixtures
    mode, kind, expected, header, emulated, connect, calls
):
    """After a lost start: five status checks, one cancel, and another session."""
    provider = emulated(mode, lost(START, kind), idempotency_header=header)
    outcome = await pay(connect(provider, settings=QUICK), mode, order())
    assert outcome.state is PAID
    assert calls == expected
    assert provider.order("k-1").moved == 1


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ([Fault(FaultKind.AMOUNT, nth=(1,), operation=START)], PAID_BY_HAND),
        (
            [lost(CONFIRM, BEFORE), Fault(FaultKind.AMOUNT, nth=(2, 3), operation=STATUS)],
            [*PAID_BY_HAND, STATUS, STATUS, CONFIRM, STATUS],
        ),
    ],
    ids=["start", "status after a lost confirm"],
)
async def test_one_wrong_amount_before_money_moves(faults, expected, emulated, connect, calls):
    """Payouts aren't halted for it: the status is asked for again, and shows what was ordered."""
    provider = emulated(MANUAL, *faults)
    outcome = await pay(connect(provider, settings=QUICK), MANUAL, order())
    assert (outcome.state, outcome.reason) == (PAID, None)
    assert calls == expected
    assert provider.order("k-1").moved == 1


async def test_number_of_status_checks_is_a_setting(emulated, connect, calls):
    """With two status checks set, the session is left after the second one without a payout."""
    provider = emulated(AUTOMATIC, lost(START, BEFORE))
    looks = sg.payouts.StatusChecks(before_leaving=2)
    outcome = await pay(connect(provider, settings=QUICK), AUTOMATIC, order(), status_checks=looks)
    assert outcome.state is PAID
    assert calls == [CREATE, START, STATUS, STATUS, CANCEL, *PAID_AT_ONCE]


@pytest.mark.parametrize(
    ("mode", "kind", "expected"),
    [
        (MANUAL, BEFORE, [CREATE, START, *FIVE_LOOKS, CANCEL, CANCEL, *PAID_BY_HAND]),
        (MANUAL, AFTER, [CREATE, START, *FIVE_LOOKS, CANCEL, CANCEL, STATUS, *PAID_BY_HAND]),
        (AUTOMATIC, BEFORE, [CREATE, START, *FIVE_LOOKS, CANCEL, CANCEL, *PAID_AT_ONCE]),
        (AUTOMATIC, AFTER, [CREATE, START, *FIVE_LOOKS, CANCEL, CANCEL, STATUS, *PAID_AT_ONCE]),
    ],
)
async def test_a_lost_cancel(mode, kind, expected, emulated, connect, calls):  # noqa: PLR0913, PLR0917
    """A lost cancel is sent again; if it is refused, the status shows that the first one worked."""
    provider = emulated(mode, lost(START, BEFORE), lost(CANCEL, kind))
    outcome = await pay(connect(provider, settings=QUICK), mode, order())
    assert outcome.state is PAID
    assert calls == expected
    assert provider.order("k-1").moved == 1


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (BEFORE, [CREATE, START, STATUS, CONFIRM, STATUS, CONFIRM, STATUS]),
        (AFTER, [CREATE, START, STATUS, CONFIRM, STATUS]),
    ],
)
async def test_a_lost_confirm(kind, expected, emulated, connect, calls):
    """A lost confirm is sent again only while the session waits for it."""
    provider = emulated(MANUAL, lost(CONFIRM, kind))
    outcome = await pay(connect(provider, settings=QUICK), MANUAL, order())
    assert outcome.state is PAID
    assert calls == expected
    assert provider.order("k-1").moved == 1


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (1, [CREATE, START, STATUS, CONFIRM, STATUS, CONFIRM, STATUS]),
        (2, [CREATE, START, STATUS, CONFIRM, STATUS, CONFIRM, CONFIRM, STATUS]),
    ],
)
async def test_a_confirm_that_was_answered_without_effect(times, expected, emulated, connect):
    """The session still waits for it, so it is sent again, under the same key."""
    seen: list[str] = []
    shown = b""

    def stops(call: str, _body: bytes) -> bool:
        seen.append(call)
        return call == CONFIRM and seen.count(CONFIRM) <= times

    def change(call: str, _body: bytes, answered: bytes) -> bytes | None:
        nonlocal shown
        shown = answered if call == STATUS else shown
        return None if answered else shown

    provider = emulated(MANUAL)
    async with gateway(provider, change, stops=stops) as between:
        outcome = await pay(connect(between, settings=QUICK), MANUAL, order())
    assert outcome.state is PAID
    assert seen == expected
    assert provider.order("k-1").moved == 1


@pytest.mark.parametrize(("kind", "moved"), [(BEFORE, 0), (AFTER, 1)])
async def test_a_lost_payout_in_one_step(kind, moved, emulated, connect, calls):
    """A lost one-step payout is unknown, and nothing is sent for it again."""
    provider = emulated(ONE_STEP, lost(INIT, kind))
    outcome = await pay(connect(provider, settings=QUICK), ONE_STEP, order())
    assert outcome.state is UNKNOWN
    assert calls == [INIT]
    assert provider.order("k-1").moved == moved


# --- Refusals by something before the provider --------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "operation", "expected"),
    [
        (MANUAL, CREATE, [CREATE]),
        (MANUAL, START, [CREATE, START]),
        (AUTOMATIC, START, [CREATE, START]),
        (ONE_STEP, INIT, [INIT]),
    ],
)
async def test_refusal_without_a_code_fails_no_payout(  # noqa: PLR0913, PLR0917 - fixtures
    mode, operation, expected, emulated, connect, calls
):
    """A redirect means a wrong address, so no payout has failed."""
    provider = emulated(mode, lost(operation, FaultKind.REDIRECT))
    with pytest.raises(sg.Refused, match="redirect"):
        _ = await pay(connect(provider, settings=QUICK), mode, order())
    assert calls == expected
    assert provider.report().moved == 0


def block(operation: str, key: str) -> Callable[[str, bytes], bool]:
    """Return a firewall rule that blocks one operation of one payout."""
    return lambda call, body: call == operation and f'"{key}"'.encode() in body


PAGE: Final = "the answer isn't JSON, or was cut short, HTTP 403"
FORBIDDEN: Final = b"<html>Forbidden</html>"


def blocked(_call: str, _body: bytes, answered: bytes) -> web.Response | None:
    """Return the page of a firewall that blocked a request."""
    return None if answered else web.Response(status=403, body=FORBIDDEN, content_type="text/html")


@pytest.mark.parametrize(
    ("mode", "operation", "state", "reason"),
    [
        (
            MANUAL,
            START,
            UNKNOWN,
            f"8 sessions were left, and nothing was paid in any of them: {START} lost: {PAGE}",
        ),
        (
            AUTOMATIC,
            START,
            UNKNOWN,
            f"8 sessions were left, and nothing was paid in any of them: {START} lost: {PAGE}",
        ),
        (
            MANUAL,
            CREATE,
            sg.PayoutState.OPEN,
            f"session/create lost: {PAGE}",
        ),
        (
            ONE_STEP,
            INIT,
            UNKNOWN,
            f"at SENT_ONE_STEP, its answer was lost: {PAGE}",
        ),
    ],
)
async def test_firewall_blocks_one_call(  # noqa: PLR0913, PLR0917 - fixtures
    mode, operation, state, reason, emulated, connect, journal
):
    """A blocked call leaves its payout unknown, never failed, and the run continues."""
    provider, orders = emulated(mode), [order("k-1"), order("k-2"), order("k-3")]
    stops, unknown = block(operation, "k-2"), mode is ONE_STEP
    async with gateway(provider, blocked, stops=stops) as between:
        api = connect(between, settings=QUICK)
        payouts = sg.Payouts(api, journal, mode=mode, accept_unknown=unknown)
        async with payouts:
            seconds = 3.0 if state is sg.PayoutState.OPEN else 60.0
            run = payouts.pay_all(orders, concurrency=1, deadline=seconds)
            outcomes = {one.key: one async for one in run}
    assert (outcomes["k-2"].state, outcomes["k-2"].reason) == (state, reason)
    assert outcomes["k-1"].is_paid
    assert outcomes["k-3"].is_paid
    assert provider.report().moved == 2


@pytest.mark.parametrize("operation", [CREATE, START])
async def test_firewall_blocks_everything(operation, emulated, connect, journal):
    """If everything is blocked, the second payout isn't started, and none is marked failed."""
    provider, calls, is_shut = emulated(MANUAL), list[str](), False

    def stops(call: str, _body: bytes) -> bool:
        nonlocal is_shut
        calls.append(call)
        is_shut = is_shut or call == operation
        return is_shut

    async with gateway(provider, blocked, stops=stops) as between:
        api = connect(between, settings=QUICK)
        async with sg.Payouts(api, journal) as payouts:
            with pytest.raises(sg.Refused, match="HTTP 403"):
                _ = [one async for one in payouts.pay_all([order(), order("k-2")], concurrency=1)]
    assert calls[-2:] == [operation, "wallet/balance"]
    assert provider.report().moved == 0


async def test_redirected_confirm_is_checked(emulated, connect, calls):
    """After a redirected confirm, the status shows that the session still waits for it."""
    provider = emulated(MANUAL, lost(CONFIRM, FaultKind.REDIRECT))
    outcome = await pay(connect(provider, settings=QUICK), MANUAL, order())
    assert outcome.state is PAID
    assert calls == [CREATE, START, STATUS, CONFIRM, STATUS, CONFIRM, STATUS]


# --- Our own cancel, and a late start -----------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "sessions", "expected"),
    [
        # Our cancel ends the session; that is no decline, so the payout continues in another one.
        (MANUAL, 2, [CREATE, START, *FIVE_LOOKS, CANCEL, STATUS, *PAID_BY_HAND]),
        # It was paid before our cancel arrived, which is refused.
        (AUTOMATIC, 1, [CREATE, START, *FIVE_LOOKS, CANCEL, STATUS]),
    ],
)
async def test_our_cancel_and_a_late_start(  # noqa: PLR0913, PLR0917 - fixtures
    mode, sessions, expected, run_provider, connect, calls
):
    """The payout is paid once and never marked failed."""
    now = datetime(2024, 5, 27, 2, 3, tzinfo=UTC)

    def point(label: str) -> None:
        nonlocal now
        if label == "before session/cancel":
            now += timedelta(hours=2)

    late = Fault(FaultKind.LATE, nth=(1,), operation=START, seconds=3600.0)
    provider = run_provider(
        faults=emulator.FaultScript([late]),
        rules=emulator.Rules(confirmation=Confirmation[mode.name]),
        on_request=lambda seen: calls.append(seen.operation),
        clock=lambda: now,
    )
    outcome = await pay(connect(provider, settings=QUICK), mode, order(), fault_point=point)
    assert outcome.state is PAID
    assert calls == expected
    assert len(provider.session_ids) == sessions
    assert provider.order("k-1").moved == 1


# --- A provider that refuses used keys ----------------------------------------------------------


async def use_up(api: sg.SmartGlocal) -> None:
    """Use the payout's key for another payout, which is declined, so the key has no effect."""
    made = await api.session.create(sg.CreateSession())
    start = sg.StartPayout(
        session_id=made.id,
        payment_method=DECLINED.payment_method,
        amount_details=DECLINED.amount_details,
        participant_details=DECLINED.participant_details,
    )
    _ = await api.session.start_payout(start, key="k-1")
    if (await api.session.status(sg.SessionRef(made.id))).next_action == "confirm":
        _ = await api.session.confirm(sg.SessionRef(made.id))


LATER: Final = [CREATE, START, *FIVE_LOOKS, CANCEL, CREATE, START, STATUS, CANCEL, STATUS]
"""The first start is lost, the second one refused, and both sessions show no payout."""


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(MANUAL, [*LATER, *PAID_BY_HAND]), (AUTOMATIC, [*LATER, *PAID_AT_ONCE])],
)
async def test_key_used_without_effect(mode, expected, emulated, connect, calls):
    """The payout continues in a third session, under a new key, and pays."""
    provider = emulated(mode, lost(START, BEFORE, 2), idempotency_header=Reaction.REFUSE)
    api = connect(provider, settings=QUICK)
    await use_up(api)
    calls.clear()
    outcome = await pay(api, mode, order())
    assert outcome.state is PAID
    assert calls == expected
    assert provider.report().moved == 1


@pytest.mark.parametrize("mode", [MANUAL, AUTOMATIC])
async def test_key_used_by_something_else(mode, emulated, connect, calls):
    """If the first start's key was used before, an operator must check it."""
    provider = emulated(mode, idempotency_header=Reaction.REFUSE)
    api = connect(provider, settings=QUICK)
    await use_up(api)
    calls.clear()
    outcome = await pay(api, mode, order())
    assert (outcome.state, outcome.code) == (UNKNOWN, "idempotency_key_already_exists")
    assert (
        outcome.reason == "its key was used before, and no session of this journal shows a payout"
    )
    assert calls == [CREATE, START, STATUS, CANCEL, STATUS]
    assert provider.report().moved == 0


# --- A start that arrives after its session was left, and uses the key -------------------------


@pytest.fixture
def provider_with_late_start(run_provider, calls) -> Callable[..., Any]:
    """Return a function that starts a provider whose first start arrives with the second one.

    The late start reopens its cancelled session and uses the key.
    """

    def run(mode: sg.Mode) -> tuple[emulator.Provider, Callable[[str], None]]:
        now, starts = datetime(2024, 5, 27, 2, 3, tzinfo=UTC), 0

        def point(label: str) -> None:
            nonlocal now, starts
            starts += label == "before session/start/payout"
            if label == "before session/start/payout" and starts == 2:
                now += timedelta(hours=2)

        late = Fault(FaultKind.LATE, nth=(1,), operation=START, seconds=3600.0)
        provider = run_provider(
            faults=emulator.FaultScript([late]),
            rules=emulator.Rules(
                confirmation=Confirmation[mode.name],
                idempotency_header=Reaction.REFUSE,
                late_start_revives=True,
            ),
            on_request=lambda seen: calls.append(seen.operation),
            clock=lambda: now,
        )
        return provider, point

    return run


SECOND: Final = [CREATE, START, *FIVE_LOOKS, CANCEL, CREATE, START, STATUS, CANCEL, STATUS]
"""The last status check is of the session that was left."""


async def test_a_left_session_that_was_paid_halts(
    provider_with_late_start, connect, journal, calls
):
    """Payouts are halted; the message shows both sides."""
    provider, point = provider_with_late_start(AUTOMATIC)
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, mode=AUTOMATIC, fault_point=point) as payouts:
        outcome = await payouts.pay(order())
        with pytest.raises(sg.PayoutConflict) as halted:
            _ = await payouts.pay(order("k-2"))
    assert outcome.state is UNKNOWN
    assert (
        "the payout 'k-1' is recorded as KEY_USED in ps_2; the provider: ps_1 is accepted and "
        "shows payout po_1 (succeeded, 100.00 USD, owner: ours); ordered were 100.00 USD"
    ) in str(halted.value)
    assert calls[: len(SECOND)] == SECOND
    assert provider.report().moved == 1


async def test_a_left_session_that_is_under_way(provider_with_late_start, connect, journal, calls):
    """The payout waits for it, because a third session must not be created before it ends."""
    provider, point = provider_with_late_start(AUTOMATIC)
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, mode=AUTOMATIC, fault_point=point) as payouts:
        outcome = await payouts.pay(order(amount=66610), deadline=5.0)
        assert (await payouts.pay(order("k-2"))).is_paid
    assert outcome.state is sg.PayoutState.OPEN
    assert calls[: len(SECOND)] == SECOND
    assert provider.order("k-1").calls == {START: 2}


async def test_left_session_without_a_status(emulated, connect, journal, calls):
    """The status of the left session is checked again before a third one is created."""
    last_look = lost(STATUS, BEFORE, 6)  # Of that session.
    provider = emulated(
        AUTOMATIC, lost(START, BEFORE, 2), last_look, idempotency_header=Reaction.REFUSE
    )
    api = connect(provider, settings=evolve(QUICK, retry=sg.RetryPolicy(attempts=1)))
    await use_up(api)
    calls.clear()
    async with sg.Payouts(api, journal, mode=AUTOMATIC) as payouts:
        outcome = await payouts.pay(order())
    assert outcome.state is PAID
    assert calls == [*LATER, STATUS, STATUS, *PAID_AT_ONCE]
    assert provider.report().moved == 1


async def test_a_left_session_that_waits_for_us(provider_with_late_start, connect, journal, calls):
    """In manual mode the left session is never confirmed; the payout continues in a third one."""
    provider, point = provider_with_late_start(MANUAL)
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, fault_point=point) as payouts:
        outcome = await payouts.pay(order())
    assert (outcome.state, outcome.session_id) == (PAID, "ps_3")
    assert calls == [*SECOND, *PAID_BY_HAND]
    assert provider.report().moved == 1


async def test_a_project_that_waits_for_a_confirm(emulated, connect, journal, calls):
    """In automatic mode the first payout halts all; the message names the reason."""
    provider = emulated(MANUAL)
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, mode=AUTOMATIC) as payouts:
        outcome = await payouts.pay(order())
        with pytest.raises(sg.errors.ConfirmationMismatch) as halted:
            _ = await payouts.pay(order("k-2"))
    assert "the payout 'k-1' waits for a confirm in ps_1, and its mode is automatic" in str(
        halted.value
    )
    assert outcome.state is UNKNOWN
    assert outcome.reason == "at STARTED, its session shows 'awaits the confirm'"
    assert calls[:3] == [CREATE, START, STATUS]
    assert provider.report().moved == 0
