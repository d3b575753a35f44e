"""Every call under every fault: what was sent, what the caller got, how often money moved."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from attrs import frozen

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Fault, FaultKind

pytestmark = pytest.mark.thorough

CARD: Final = sg.EncryptedCard(number_hash="hash")
USD: Final = sg.AmountDetails(10_000, "usd")
PART: Final = sg.AmountDetails(4_000, "usd")
KEY: Final = "order-1"
RECIPIENT: Final = sg.ParticipantDetails(recipient=sg.Participant(full_name="Jane Roe"))
PAYER: Final = sg.Customer(reference="c")
PATIENCE: Final = sg.RetryPolicy(
    first_wait_seconds=0.001,
    throttled_first_wait_seconds=0.001,
    attempt_timeout_seconds=0.5,
    deadline_seconds=5,
)
PLAIN: Final = emulator.Rules()
HELD: Final = emulator.Rules(capture=emulator.Capture.DELAYED)

Step = Callable[[sg.SmartGlocal, str], Awaitable[Any]]


# --- The life of a session, step by step -----------------------------------------------------


async def create(api: sg.SmartGlocal, _: str) -> Any:
    """Begin a session."""
    return await api.session.create(sg.CreateSession(), key=KEY)


async def start_payout(api: sg.SmartGlocal, session_id: str) -> Any:
    """Start a payout."""
    request = sg.StartPayout(
        session_id=session_id,
        payment_method=CARD,
        amount_details=USD,
        participant_details=RECIPIENT,
    )
    return await api.session.start_payout(request, key=KEY)


async def start_payment(api: sg.SmartGlocal, session_id: str) -> Any:
    """Start a payment."""
    request = sg.StartPayment(
        session_id=session_id, payment_details=CARD, amount_details=USD, customer=PAYER
    )
    return await api.session.start_payment(request, key=KEY)


async def init_payout(api: sg.SmartGlocal, _: str) -> Any:
    """Create and start a payout in one."""
    request = sg.InitPayout(payment_method=CARD, amount_details=USD, participant_details=RECIPIENT)
    return await api.session.init_payout(request, key=KEY)


async def init_payment(api: sg.SmartGlocal, _: str) -> Any:
    """Create and start a payment in one."""
    request = sg.InitPayment(payment_details=CARD, amount_details=USD, customer=PAYER)
    return await api.session.init_payment(request, key=KEY)


async def confirm(api: sg.SmartGlocal, session_id: str) -> Any:
    """Confirm."""
    return await api.session.confirm(sg.SessionRef(session_id))


async def cancel(api: sg.SmartGlocal, session_id: str) -> Any:
    """Cancel."""
    return await api.session.cancel(sg.SessionRef(session_id))


async def capture(api: sg.SmartGlocal, session_id: str) -> Any:
    """Take all that is held."""
    return await api.session.capture(sg.CapturePayment(session_id=session_id))


async def capture_part(api: sg.SmartGlocal, session_id: str) -> Any:
    """Take a part of what is held."""
    request = sg.CapturePayment(session_id=session_id, amount_details=PART)
    return await api.session.capture(request)


async def refund(api: sg.SmartGlocal, session_id: str) -> Any:
    """Give all back."""
    return await api.session.refund(sg.RefundPayment(session_id=session_id), key="refund-1")


async def refund_part(api: sg.SmartGlocal, session_id: str) -> Any:
    """Give a part back."""
    request = sg.RefundPayment(session_id=session_id, amount_details=PART)
    return await api.session.refund(request, key="refund-1")


async def status(api: sg.SmartGlocal, session_id: str) -> Any:
    """Look."""
    return await api.session.status(sg.SessionRef(session_id))


@frozen
class Case:
    """One call, and how a session gets to where it can be made."""

    call: Step
    before: tuple[Step, ...] = ()
    rules: emulator.Rules = PLAIN
    moves: int = 0
    """How often money has moved once the call took effect and the session was looked at."""
    moved: int = 0
    """The same, had the call never arrived."""
    repeats: bool = False
    """Whether a lost call is sent again after the status was asked."""
    asks: bool = True
    """Whether a lost call can be asked about."""


TO_PAYMENT: Final = (create, start_payment, status)
TO_HOLD: Final = (*TO_PAYMENT, confirm, status)
AUTOMATIC: Final = emulator.Rules(confirmation=emulator.Confirmation.AUTOMATIC)
CASES: Final = {
    "start payout": Case(start_payout, (create,)),
    "start payout, automatic": Case(start_payout, (create,), AUTOMATIC, moves=1),
    "start payment": Case(start_payment, (create,)),
    "start payment, automatic": Case(start_payment, (create,), AUTOMATIC, moves=1),
    "init payout": Case(init_payout, asks=False),
    "init payout, automatic": Case(init_payout, (), AUTOMATIC, moves=1, asks=False),
    "init payment": Case(init_payment, asks=False),
    "confirm a payout": Case(confirm, (create, start_payout, status), moves=1, repeats=True),
    "confirm a payment": Case(confirm, TO_PAYMENT, moves=1, repeats=True),
    "cancel": Case(cancel, (create, start_payout, status), repeats=True),
    "cancel a hold": Case(cancel, TO_HOLD, HELD, repeats=True),
    "capture": Case(capture, TO_HOLD, HELD, moves=1, repeats=True),
    "capture a part": Case(capture_part, TO_HOLD, HELD, moves=1, asks=False),
    "refund": Case(refund, TO_HOLD, moves=2, moved=1, repeats=True),
    "refund a part": Case(refund_part, TO_HOLD, moves=2, moved=1),
}
# Kinds whose verdict is known at once: nothing came of it, and nothing could.
TURNED_AWAY: Final = frozenset({FaultKind.THROTTLE})
READABLE: Final = frozenset({FaultKind.SLOW, FaultKind.WRONG_TYPE, FaultKind.STALE})


def faults(case: Case) -> list[Fault]:
    """Give each kind of fault, once, for the call of a case."""
    path = PATHS[case.call]
    # Retry-After has whole seconds: none at all, or the tests would wait.
    pauses = {FaultKind.THROTTLE: 0.0}
    return [
        *(
            Fault(kind, nth=(1,), operation=path, seconds=pauses.get(kind, 0.01))
            for kind in FaultKind
        ),
        Fault(FaultKind.SERVER_ERROR, nth=(1,), operation=path, processed=True),
    ]


PATHS: Final = {
    start_payout: "session/start/payout",
    start_payment: "session/start/payment",
    init_payout: "session/init/payout",
    init_payment: "session/init/payment",
    confirm: "session/confirm",
    cancel: "session/cancel",
    capture: "session/capture",
    capture_part: "session/capture",
    refund: "session/refund",
    refund_part: "session/refund",
}
MATRIX: Final = [
    pytest.param(case, fault, id=f"{name}: {fault.kind}{', processed' * fault.processed}")
    for name, case in CASES.items()
    for fault in faults(case)
]


@frozen
class Story:
    """What came of a call, from both sides."""

    outcome: sg.CallOutcome
    attempts: int
    """How often the provider was sent the call."""
    moved: int
    """How often money moved in all."""


def played(case: Case, fault: Fault, key: sg.PrivateKey, rules: emulator.Rules) -> Story:
    """Lead a session to the call, make it under the fault, and count."""
    script = emulator.FaultScript((fault,))
    seen: list[str] = []
    running = emulator.run_in_thread(
        public_key=key.public,
        faults=script,
        rules=rules,
        on_request=lambda request: seen.append(request.operation),
    )
    with running as provider:
        outcome = asyncio.run(_life(case, provider, key))
        moved = sum(len(provider.order(name).movements) for name in (KEY, "refund-1"))
    return Story(outcome, seen.count(PATHS[case.call]), moved)


async def _life(case: Case, provider: emulator.Provider, key: sg.PrivateKey) -> sg.CallOutcome:
    settings = sg.Settings(retry=PATIENCE)
    async with sg.SmartGlocal(provider.project, key, provider.url, settings=settings) as api:
        session_id = ""
        for step in case.before:
            session_id = (await step(api, session_id)).id
        outcome = sg.CallOutcome.SUCCEEDED
        try:
            session_id = (await case.call(api, session_id)).id
        except sg.CallFailed as error:
            outcome = error.outcome
        for known in provider.session_ids:
            with contextlib.suppress(sg.CallFailed):
                _ = await status(api, known)
    return outcome


@pytest.mark.parametrize(("case", "fault"), MATRIX)
def test_money_moves_once_at_most(case, fault, key) -> None:
    """What was carried out moved once, whatever the caller was told."""
    story = played(case, fault, key, case.rules)

    carried_out = fault.processes or story.outcome is sg.CallOutcome.SUCCEEDED
    late = fault.kind is FaultKind.LATE
    assert story.moved == (case.moves if carried_out else case.moved) or late
    assert case.moved <= story.moved <= max(case.moves, case.moved)
    assert story.attempts == attempts(case, fault)
    assert story.outcome is outcome(case, fault)


def attempts(case: Case, fault: Fault) -> int:
    """Say how often the call is sent."""
    if fault.kind in READABLE or fault.kind is FaultKind.REDIRECT:
        return 1
    if fault.kind in TURNED_AWAY:
        return 2
    # Lost, and not carried out: again, where a late twin could do no more.
    return 2 if case.repeats and not fault.processes else 1


def outcome(case: Case, fault: Fault) -> sg.CallOutcome:
    """Say what the caller gets."""
    if fault.kind in READABLE or fault.kind in TURNED_AWAY:
        return sg.CallOutcome.SUCCEEDED
    if fault.kind is FaultKind.REDIRECT:
        return sg.CallOutcome.REFUSED
    if case.asks and (fault.processes or case.repeats):
        return sg.CallOutcome.SUCCEEDED
    return sg.CallOutcome.UNKNOWN


SWITCHES: Final = [
    (name, emulator.Rules(confirmation=how, second_start=second, idempotency_header=header))
    for name, ways in (
        ("start payout", tuple(emulator.Confirmation)),
        ("init payout", tuple(emulator.Confirmation)),
        ("confirm a payout", (emulator.Confirmation.MANUAL,)),
    )
    for how in ways
    for second in emulator.Permission
    for header in emulator.Reaction
]
LOSSES: Final = (FaultKind.BEFORE, FaultKind.AFTER, FaultKind.CUT, FaultKind.LATE)


@pytest.mark.parametrize(("name", "rules"), SWITCHES)
@pytest.mark.parametrize("kind", LOSSES)
def test_whatever_the_provider_is_like(name, rules, kind, key) -> None:
    """Nobody is paid twice where a second start would pay, too, and the header is ignored."""
    case = CASES[name]
    fault = Fault(kind, nth=(1,), operation=PATHS[case.call], seconds=0.01)

    story = played(case, fault, key, rules)

    assert story.moved <= 1
    assert story.attempts == 1 or case.repeats
