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

pytestmark = [pytest.mark.thorough, pytest.mark.no_cover]

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


async def start_recurrent(api: sg.SmartGlocal, session_id: str) -> Any:
    """Start a payment that gives a token for more."""
    request = sg.StartPayment(
        session_id=session_id,
        payment_details=CARD,
        amount_details=USD,
        customer=PAYER,
        payment_options=sg.PaymentOptions(recurrent=True),
    )
    return await api.session.start_payment(request, key=KEY)


async def disable(api: sg.SmartGlocal, session_id: str) -> Any:
    """Disable the token that a payment gave."""
    [payment] = (await status(api, session_id)).payment_list
    token = sg.TokenRef(payment.recurrent.token)
    return await api.recurrent.disable(sg.DisableRecurrent(recurrent=token))


async def balance(api: sg.SmartGlocal, _: str) -> Any:
    """Ask what the wallets hold."""
    return await api.wallet.balance()


async def issue(api: sg.SmartGlocal, _: str) -> Any:
    """Get the token of a widget."""
    return await api.token.issue(sg.IssueToken(tokenize_widget=sg.TokenizeWidget()))


async def describe(api: sg.SmartGlocal, _: str) -> Any:
    """Ask what stands behind a token."""
    return await api.token.info(sg.DescribeToken(card=CARD))


async def verify_customer(api: sg.SmartGlocal, session_id: str) -> Any:
    """Ask whose a phone is."""
    request = sg.VerifyCustomer(
        session_id=session_id,
        payment_method=sg.FasterPaymentVerification(phone="79990000001", bank_id="100000000069"),
        participant_details=sg.ParticipantDetails(
            recipient=sg.Participant(first_name="Ivan", last_name="Ivanov")
        ),
    )
    return await api.fps.verify_customer(request)


async def banks(api: sg.SmartGlocal, _: str) -> Any:
    """Ask for the banks."""
    return await api.fps.banks()


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
    is_harmless: bool = False
    """Whether it moves no money, so that a lost call is sent again without asking."""
    is_once: bool = False
    """Whether the emulator refuses a second one, so that a lost first one stays unknown."""


TO_PAYMENT: Final = (create, start_payment, status)
TO_HOLD: Final = (*TO_PAYMENT, confirm, status)
TO_TOKEN: Final = (create, start_recurrent, status, confirm, status)
AUTOMATIC: Final = emulator.Rules(confirmation=emulator.Confirmation.AUTOMATIC)
CASES: Final = {
    "start payout": Case(start_payout, (create,)),
    "start payout, automatic": Case(start_payout, (create,), AUTOMATIC, moves=1),
    "start payment": Case(start_payment, (create,)),
    "start payment, automatic": Case(start_payment, (create,), AUTOMATIC, moves=1),
    "init payout": Case(init_payout, asks=False),
    "init payout, automatic": Case(init_payout, (), AUTOMATIC, moves=1, asks=False),
    "init payment": Case(init_payment, asks=False),
    "init payment, automatic": Case(init_payment, (), AUTOMATIC, moves=1, asks=False),
    "confirm a payout": Case(confirm, (create, start_payout, status), moves=1, repeats=True),
    "confirm a payment": Case(confirm, TO_PAYMENT, moves=1, repeats=True),
    "cancel": Case(cancel, (create, start_payout, status), repeats=True),
    "cancel a hold": Case(cancel, TO_HOLD, HELD, repeats=True),
    "capture": Case(capture, TO_HOLD, HELD, moves=1, repeats=True),
    "capture a part": Case(capture_part, TO_HOLD, HELD, moves=1, asks=False),
    "refund": Case(refund, TO_HOLD, moves=2, moved=1, repeats=True),
    "refund a part": Case(refund_part, TO_HOLD, moves=2, moved=1),
    "create": Case(create, is_harmless=True),
    "status": Case(status, (create,), is_harmless=True),
    "balance": Case(balance, is_harmless=True),
    "token": Case(issue, is_harmless=True),
    "token info": Case(describe, is_harmless=True),
    "disable": Case(disable, TO_TOKEN, moves=1, moved=1, is_harmless=True),
    "verify a customer": Case(verify_customer, (create,), is_harmless=True, is_once=True),
    "banks": Case(banks, is_harmless=True),
}
# Kinds whose verdict is known at once: nothing came of it, and nothing could.
TURNED_AWAY: Final = frozenset({FaultKind.THROTTLE})
READABLE: Final = frozenset({FaultKind.SLOW, FaultKind.WRONG_TYPE, FaultKind.STALE})


def faults(case: Case) -> list[Fault]:
    """Give each kind of fault, once, for the call of a case."""
    path = PATHS[case.call]
    # Retry-After has whole seconds: none at all, or the tests would wait.
    # A late twin of what is refused twice must come after the second one, whatever the speed.
    pauses = {FaultKind.THROTTLE: 0.0} | ({FaultKind.LATE: 60.0} if case.is_once else {})
    return [
        *(
            Fault(kind, rate=1, times=1, operation=path, seconds=pauses.get(kind, 0.01))
            for kind in FaultKind
        ),
        Fault(FaultKind.SERVER_ERROR, rate=1, times=1, operation=path, processed=True),
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
    create: "session/create",
    status: "session/status",
    balance: "wallet/balance",
    issue: "token",
    describe: "token/info",
    disable: "recurrent/disable",
    verify_customer: "fps/customer_verification",
    banks: "fps/banks",
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
    others: frozenset[str]
    """What else was sent from then on."""
    changed: int
    """How many keys were sent with requests that differ."""

    @property
    def is_done(self) -> bool:
        """Whether the caller learned that it was carried out."""
        return self.outcome is sg.CallOutcome.SUCCEEDED


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
        outcome = asyncio.run(_life(case, provider, key, seen))
        moved = sum(len(provider.order(name).movements) for name in (KEY, "refund-1"))
        changed = provider.report().changed
    path = PATHS[case.call]
    return Story(outcome, seen.count(path), moved, frozenset(seen) - {path}, changed)


async def _life(
    case: Case, provider: emulator.Provider, key: sg.PrivateKey, seen: list[str]
) -> sg.CallOutcome:
    settings = sg.Settings(retry=PATIENCE)
    async with sg.SmartGlocal(provider.project, key, provider.url, settings=settings) as api:
        session_id = ""
        for step in case.before:
            session_id = (await step(api, session_id)).id
        seen.clear()
        outcome = sg.CallOutcome.SUCCEEDED
        try:
            _ = await case.call(api, session_id)
        except sg.CallFailed as error:
            outcome = error.outcome
        for known in provider.session_ids if case.call is not status else ():
            with contextlib.suppress(sg.CallFailed):
                _ = await status(api, known)
    return outcome


@pytest.mark.parametrize(("case", "fault"), MATRIX)
def test_money_moves_once_at_most(case, fault, key) -> None:
    """What was carried out moved once, whatever the caller was told."""
    story = played(case, fault, key, case.rules)

    carried_out = fault.processes or story.is_done
    late = fault.kind is FaultKind.LATE
    assert story.moved == (case.moves if carried_out else case.moved) or late
    assert case.moved <= story.moved <= max(case.moves, case.moved)
    # A late twin that was quicker than the look is seen by it, and nothing is sent again.
    assert story.attempts == attempts(case, fault) or (late and story.attempts == 1)
    assert story.outcome is outcome(case, fault) or (late and story.is_done)
    assert story.others <= {"session/status"}
    assert story.changed == 0


def test_every_call_is_in_the_matrix() -> None:
    """A new row of the table needs a case."""
    assert {PATHS[case.call] for case in CASES.values()} == {row.path for row in sg.OPERATIONS}


def attempts(case: Case, fault: Fault) -> int:
    """Say how often the call is sent."""
    if fault.kind in READABLE or fault.kind is FaultKind.REDIRECT:
        return 1
    if fault.kind in TURNED_AWAY or case.is_harmless:
        return 2
    # Lost, and not carried out: again, where a late twin could do no more.
    return 2 if case.repeats and not fault.processes else 1


def outcome(case: Case, fault: Fault) -> sg.CallOutcome:
    """Say what the caller gets."""
    if fault.kind in READABLE or fault.kind in TURNED_AWAY:
        return sg.CallOutcome.SUCCEEDED
    if fault.kind is FaultKind.REDIRECT:
        return sg.CallOutcome.REFUSED
    if case.is_harmless:
        is_lost = case.is_once and fault.processes
        return sg.CallOutcome.UNKNOWN if is_lost else sg.CallOutcome.SUCCEEDED
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
