"""Every call under every fault: what was sent, what the caller received, how often money moved."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from attrs import evolve, frozen
from sampling import sample

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Fault, FaultKind

pytestmark = pytest.mark.proof

CARD: Final = sg.EncryptedCard(number_hash="hash")
USD: Final = sg.AmountDetails(10_000, "usd")
PART: Final = sg.AmountDetails(4_000, "usd")
KEY: Final = "order-1"
RECIPIENT: Final = sg.ParticipantDetails(recipient=sg.Participant(full_name="Jane Roe"))
PAYER: Final = sg.Customer(reference="c")
PATIENCE: Final = sg.RetryPolicy(
    initial_delay_seconds=0.001,
    throttled_initial_delay_seconds=0.001,
    attempt_timeout_seconds=10,
    deadline_seconds=60,
)
SHORT: Final = evolve(PATIENCE, attempt_timeout_seconds=2)
"""The time-out for an answer that never arrives."""
PLAIN: Final = emulator.Rules()
HELD: Final = emulator.Rules(capture=emulator.Capture.DELAYED)

Step = Callable[[sg.SmartGlocal, str], Awaitable[Any]]


# --- The life of a session, step by step -----------------------------------------------------


async def create(api: sg.SmartGlocal, _: str) -> Any:
    """Create a session."""
    return await api.session.create(sg.CreateSession(), key=KEY)


async def create_other(api: sg.SmartGlocal, _: str) -> Any:
    """Create another session, under another key, which the provider may show instead."""
    return await api.session.create(sg.CreateSession(), key="bystander")


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
    """Capture the whole amount."""
    return await api.session.capture(sg.CapturePayment(session_id=session_id))


async def capture_part(api: sg.SmartGlocal, session_id: str) -> Any:
    """Capture a part."""
    request = sg.CapturePayment(session_id=session_id, amount_details=PART)
    return await api.session.capture(request)


async def refund(api: sg.SmartGlocal, session_id: str) -> Any:
    """Refund the whole amount."""
    return await api.session.refund(sg.RefundPayment(session_id=session_id), key="refund-1")


async def refund_part(api: sg.SmartGlocal, session_id: str) -> Any:
    """Refund a part."""
    request = sg.RefundPayment(session_id=session_id, amount_details=PART)
    return await api.session.refund(request, key="refund-1")


async def status(api: sg.SmartGlocal, session_id: str) -> Any:
    """Get the status."""
    return await api.session.status(sg.SessionRef(session_id))


async def start_recurrent(api: sg.SmartGlocal, session_id: str) -> Any:
    """Start a payment that returns a token for recurring payments."""
    request = sg.StartPayment(
        session_id=session_id,
        payment_details=CARD,
        amount_details=USD,
        customer=PAYER,
        payment_options=sg.PaymentOptions(recurrent=True),
    )
    return await api.session.start_payment(request, key=KEY)


async def disable(api: sg.SmartGlocal, session_id: str) -> Any:
    """Disable the token of a payment."""
    [payment] = (await status(api, session_id)).payment_list
    token = sg.TokenRef(payment.recurrent.token)
    return await api.recurrent.disable(sg.DisableRecurrent(recurrent=token))


async def balance(api: sg.SmartGlocal, _: str) -> Any:
    """Get the balances of the wallets."""
    return await api.wallet.balance()


async def get_token(api: sg.SmartGlocal, _: str) -> Any:
    """Get a token for the widget."""
    return await api.token.issue(sg.IssueToken(tokenize_widget=sg.models.TokenizeWidget()))


async def token_info(api: sg.SmartGlocal, _: str) -> Any:
    """Get the info of a token."""
    return await api.token.info(sg.GetTokenInfo(card=CARD))


async def verify_customer(api: sg.SmartGlocal, session_id: str) -> Any:
    """Verify the customer with a phone number."""
    request = sg.VerifyCustomer(
        session_id=session_id,
        payment_method=sg.FasterPaymentVerification(phone="79990000001", bank_id="100000000069"),
        participant_details=sg.ParticipantDetails(
            recipient=sg.Participant(first_name="Ivan", last_name="Ivanov")
        ),
    )
    return await api.fps.verify_customer(request)


async def banks(api: sg.SmartGlocal, _: str) -> Any:
    """Get the list of banks."""
    return await api.fps.banks()


async def rate(api: sg.SmartGlocal, _: str) -> Any:
    """Get the rate of top-ups."""
    return await api.exchange_rate.get()


@frozen
class Case:
    """A call, and the calls that lead to it."""

    call: Step
    before: tuple[Step, ...] = ()
    rules: emulator.Rules = PLAIN
    moves: int = 0
    """How often money has moved if the call was carried out and the status was checked."""
    moved: int = 0
    """How often money has moved if the call was not carried out."""
    repeats: bool = False
    """Whether a lost call is sent again after a status check."""
    can_be_checked: bool = True
    """Whether a status check can find out about a lost call."""
    is_harmless: bool = False
    """Whether it moves no money, so that a lost call is sent again without a status check."""
    is_refused_twice: bool = False
    """Whether the emulator refuses a second call, so that a lost first one stays unknown."""


TO_PAYMENT: Final = (create, start_payment, status)
TO_HOLD: Final = (*TO_PAYMENT, confirm, status)
TO_TOKEN: Final = (create, start_recurrent, status, confirm, status)
AUTOMATIC: Final = emulator.Rules(confirmation=emulator.Confirmation.AUTOMATIC)
CASES: Final = {
    "start payout": Case(start_payout, (create,)),
    "start payout, automatic": Case(start_payout, (create,), AUTOMATIC, moves=1),
    "start payment": Case(start_payment, (create,)),
    "start payment, automatic": Case(start_payment, (create,), AUTOMATIC, moves=1),
    "init payout": Case(init_payout, can_be_checked=False),
    "init payout, automatic": Case(init_payout, (), AUTOMATIC, moves=1, can_be_checked=False),
    "init payment": Case(init_payment, can_be_checked=False),
    "init payment, automatic": Case(init_payment, (), AUTOMATIC, moves=1, can_be_checked=False),
    "confirm a payout": Case(confirm, (create, start_payout, status), moves=1, repeats=True),
    "confirm a payment": Case(confirm, TO_PAYMENT, moves=1, repeats=True),
    "cancel": Case(cancel, (create, start_payout, status), repeats=True),
    "cancel a hold": Case(cancel, TO_HOLD, HELD, repeats=True),
    "capture": Case(capture, TO_HOLD, HELD, moves=1, repeats=True),
    "capture a part": Case(capture_part, TO_HOLD, HELD, moves=1, can_be_checked=False),
    "refund": Case(refund, TO_HOLD, moves=2, moved=1, repeats=True),
    "refund a part": Case(refund_part, TO_HOLD, moves=2, moved=1),
    "create": Case(create, is_harmless=True),
    "status": Case(status, (create,), is_harmless=True),
    "balance": Case(balance, is_harmless=True),
    "token": Case(get_token, is_harmless=True),
    "token info": Case(token_info, is_harmless=True),
    "disable": Case(disable, TO_TOKEN, moves=1, moved=1, is_harmless=True),
    "verify a customer": Case(verify_customer, (create,), is_harmless=True, is_refused_twice=True),
    "banks": Case(banks, is_harmless=True),
    "rate": Case(rate, is_harmless=True),
}
# Faults with a certain outcome: the call was not carried out.
NOT_CARRIED_OUT: Final = frozenset({FaultKind.THROTTLE})
READABLE: Final = frozenset({FaultKind.SLOW, FaultKind.WRONG_TYPE, FaultKind.CLOSES})


# Wrong answers that are complete HTTP are in a table of their own below.
WRONG_KINDS: Final = frozenset(
    {
        *(FaultKind.SWAPPED, FaultKind.SURPLUS, FaultKind.TWICE, FaultKind.STALE),
        *(FaultKind.AMOUNT, FaultKind.BARE_ERROR, FaultKind.UNKNOWN_CODE),
        *(FaultKind.BOM, FaultKind.SURROGATE),
    }
)


def faults(case: Case) -> list[Fault]:
    """Return each kind of fault, once, for the call of a case."""
    path = PATHS[case.call]
    # Retry-After is in whole seconds; 0, or the tests would wait. If a second call is refused, a
    # late one must arrive after it, however slow the machine is.
    pauses = {FaultKind.THROTTLE: 0.0} | ({FaultKind.LATE: 60.0} if case.is_refused_twice else {})
    return [
        *(
            Fault(kind, rate=1, times=1, operation=path, seconds=pauses.get(kind, 0.01))
            for kind in FaultKind
            if kind not in WRONG_KINDS
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
    get_token: "token",
    token_info: "token/info",
    disable: "recurrent/disable",
    verify_customer: "fps/customer_verification",
    banks: "fps/banks",
    rate: "exchange_rate",
}
HANG_SHARES: Final = 4
"""One call in four gets no answer in the tests; each of these waits for a time-out."""
HANGING_CASES: Final = sample(list(CASES), 0, HANG_SHARES)
MATRIX: Final = [
    pytest.param(case, fault, id=f"{name}: {fault.kind}{', processed' * fault.processed}")
    for name, case in CASES.items()
    for fault in faults(case)
    if fault.kind is not FaultKind.HANG or name in HANGING_CASES
]


@frozen
class Result:
    """The result of a call, for the client and for the provider."""

    outcome: sg.CallOutcome
    attempts: int
    """How often the provider received the call."""
    moved: int
    """How often money moved in total."""
    others: frozenset[str]
    """The other calls that were sent after it."""
    changed: int
    """How many keys were sent with requests that differ."""

    @property
    def is_done(self) -> bool:
        """Whether the caller received that the call was carried out."""
        return self.outcome is sg.CallOutcome.SUCCEEDED


def run_case(case: Case, fault: Fault, key: sg.PrivateKey, rules: emulator.Rules) -> Result:
    """Make the calls that lead to it, make the call under the fault, and count."""
    script = emulator.FaultScript((fault,))
    seen: list[str] = []
    running = emulator.run_in_thread(
        public_key=key.public,
        faults=script,
        rules=rules,
        on_request=lambda request: seen.append(request.operation),
    )
    with running as provider:
        patience = SHORT if fault.kind is FaultKind.HANG else PATIENCE
        outcome = asyncio.run(_life(case, provider, key, seen, patience))
        moved = sum(len(provider.order(name).movements) for name in (KEY, "refund-1"))
        changed = provider.report().changed
    path = PATHS[case.call]
    return Result(outcome, seen.count(path), moved, frozenset(seen) - {path}, changed)


async def _life(
    case: Case,
    provider: emulator.Provider,
    key: sg.PrivateKey,
    seen: list[str],
    patience: sg.RetryPolicy,
) -> sg.CallOutcome:
    settings = sg.Settings(retry=patience)
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
    """A call that was carried out moved money once, whatever the caller received."""
    result = run_case(case, fault, key, case.rules)

    carried_out = fault.processes or result.is_done
    late = fault.kind is FaultKind.LATE
    assert result.moved == (case.moves if carried_out else case.moved) or late
    assert case.moved <= result.moved <= max(case.moves, case.moved)
    # If the late call arrives before the status check, the check shows it and nothing is sent
    # again.
    assert result.attempts == attempts(case, fault) or (late and result.attempts == 1)
    assert result.outcome is outcome(case, fault) or (late and result.is_done)
    assert result.others <= {"session/status"}
    assert result.changed == 0


def test_every_call_is_in_the_matrix() -> None:
    """Each operation has a case, but for the push that needs a payer with SberPay."""
    paths = {row.path for row in sg.operations.OPERATIONS}
    assert {PATHS[case.call] for case in CASES.values()} == paths - {"sberpay/push"}


def attempts(case: Case, fault: Fault) -> int:
    """Return how often the call is sent."""
    if fault.kind in READABLE or fault.kind is FaultKind.REDIRECT:
        return 1
    if fault.kind in NOT_CARRIED_OUT or case.is_harmless:
        return 2
    # Lost and not carried out: sent again if a late second call can't do more.
    return 2 if case.repeats and not fault.processes else 1


def outcome(case: Case, fault: Fault) -> sg.CallOutcome:
    """Return the outcome for the caller."""
    if fault.kind in READABLE or fault.kind in NOT_CARRIED_OUT:
        return sg.CallOutcome.SUCCEEDED
    if fault.kind is FaultKind.REDIRECT:
        return sg.CallOutcome.REFUSED
    if case.is_harmless:
        is_lost = case.is_refused_twice and fault.processes
        return sg.CallOutcome.UNKNOWN if is_lost else sg.CallOutcome.SUCCEEDED
    if case.can_be_checked and (fault.processes or case.repeats):
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
def test_moves_once_with_every_provider_rule(name, rules, kind, key) -> None:
    """No payout twice, even if a second start pays too and the header is ignored."""
    case = CASES[name]
    fault = Fault(kind, nth=(1,), operation=PATHS[case.call], seconds=0.01)

    result = run_case(case, fault, key, rules)

    assert result.moved <= 1
    assert result.attempts == 1 or case.repeats


# --- Wrong answers ---------------------------------------------------------------------------

ONCE: Final = {"rate": 1, "times": 1}
WRONG_ANSWER_FAULTS: Final[dict[str, dict[str, Any]]] = {
    "swapped": {"kind": FaultKind.SWAPPED},
    "bare error": {"kind": FaultKind.BARE_ERROR},
    "bare error, processed": {"kind": FaultKind.BARE_ERROR, "processed": True},
    "code": {"kind": FaultKind.UNKNOWN_CODE},
    "code, processed": {"kind": FaultKind.UNKNOWN_CODE, "processed": True},
}
"""The columns of `WRONG_ANSWERS`."""
WRONG_ANSWERS: Final = {
    #                           swapped  bare error  processed  code  processed
    "start payout": "            S1       U1          S1         U1    S1",
    "start payout, automatic": " S1       U1          S1         U1    S1",
    "start payment": "           S1       U1          S1         U1    S1",
    "start payment, automatic": "S1       U1          S1         U1    S1",
    "init payout": "             U1       U1          U1         U1    U1",
    "init payout, automatic": "  U1       U1          U1         U1    U1",
    "init payment": "            U1       U1          U1         U1    U1",
    "init payment, automatic": " U1       U1          U1         U1    U1",
    "confirm a payout": "        S1       S2          S1         S2    S1",
    "confirm a payment": "       S1       S2          S1         S2    S1",
    "cancel": "                  S1       S2          S1         R1    S1",
    "cancel a hold": "           S1       S2          S1         R1    S1",
    "capture": "                 S1       S2          S1         S2    S1",
    "capture a part": "          U1       U1          U1         U1    U1",
    "refund": "                  S1       S2          S1         S2    S1",
    "refund a part": "           S1       U1          S1         U1    S1",
    "create": "                  S2       S2          S2         R1    R1",
    "status": "                  S2       S2          S2         R1    R1",
    "balance": "                 -        S2          S2         R1    R1",
    "token": "                   -        S2          S2         R1    R1",
    "token info": "              -        S2          S2         R1    R1",
    "disable": "                 -        S2          S2         R1    R1",
    "verify a customer": "       U2       S2          U2         R1    R1",
    "banks": "                   -        S2          S2         R1    R1",
    "rate": "                   -        S2          S2         R1    R1",
}
"""The outcome of a call with a wrong answer, and how often it is sent.

S: succeeded, U: unknown, R: refused; "-": the fault exists only for calls about sessions. A cancel
pays nothing, so an unlisted code refuses it.
"""
ENDS: Final = {
    "S": sg.CallOutcome.SUCCEEDED,
    "U": sg.CallOutcome.UNKNOWN,
    "R": sg.CallOutcome.REFUSED,
}
VARIANTS: Final[dict[str, list[dict[str, Any]]]] = {
    "swapped": [{"shows": shows} for shows in emulator.Foreign],
    "bare error": [{}, {"status": 200}, {"status": 500}],
    "bare error, processed": [{}, {"status": 200}, {"status": 500}],
    "code": [{}, {"status": 200}],
    "code, processed": [{}, {"status": 200}],
}
WRONG_ANSWER_CELLS: Final = [
    pytest.param(name, column, variant, ends, id=f"{name}: {column} {number}")
    for name, row in WRONG_ANSWERS.items()
    for column, ends in zip(WRONG_ANSWER_FAULTS, row.split(), strict=True)
    if ends != "-"
    for number, variant in enumerate(VARIANTS[column])
]


@pytest.mark.parametrize(("name", "column", "variant", "ends"), WRONG_ANSWER_CELLS)
def test_wrong_answer_is_treated_as_lost(name, column, variant, ends, key) -> None:
    """A wrong answer is treated like a lost one."""
    case = CASES[name]
    if column == "swapped":
        case = evolve(case, before=(create_other, *case.before))
    options = WRONG_ANSWER_FAULTS[column] | variant
    fault = Fault(operation=PATHS[case.call], **ONCE, **options)

    result = run_case(case, fault, key, case.rules)

    assert (result.outcome, result.attempts) == (ENDS[ends[0]], int(ends[1]))
    carried_out = fault.processes or result.is_done
    assert result.moved == (case.moves if carried_out else case.moved)
    assert result.others <= {"session/status"}
    assert result.changed == 0


UNUSUAL_FAULTS: Final = [
    {"kind": FaultKind.SURPLUS},
    {"kind": FaultKind.SURPLUS, "seconds": 0.002},
    {"kind": FaultKind.BOM},
    {"kind": FaultKind.SURROGATE},
    {"kind": FaultKind.TWICE},
    {"kind": FaultKind.TWICE, "answer": emulator.TwiceAnswer.SECOND},
    {"kind": FaultKind.STALE},
]
MOVES_TWICE: Final = {
    "init payout, automatic": 2,
    "init payment, automatic": 2,
    "refund a part": 3,
}
"""Cases in which money moves twice if the call is carried out twice on its way."""
FIRST_ALONE_ANSWERS: Final = {
    "capture a part": sg.CallOutcome.UNKNOWN,
    "verify a customer": sg.CallOutcome.REFUSED,
}
"""Cases in which the second of two answers is a refusal that no status can explain."""


UNUSUAL_CELLS: Final = [
    pytest.param(name, options, id=f"{name}: {' '.join(map(str, options.values()))}")
    for name, case in CASES.items()
    for options in UNUSUAL_FAULTS
    if options["kind"] is not FaultKind.STALE or case.call is status
]


@pytest.mark.parametrize(("name", "options"), UNUSUAL_CELLS)
def test_unusual_correct_answers_are_read(name, options, key) -> None:
    """Unusual but correct answers need no second attempt, and the outcome is right."""
    case = CASES[name]
    fault = Fault(operation=PATHS[case.call], **ONCE, **options)
    is_twice = fault.kind is FaultKind.TWICE

    result = run_case(case, fault, key, case.rules)

    expected = sg.CallOutcome.SUCCEEDED
    if fault.answer is emulator.TwiceAnswer.SECOND:
        expected = FIRST_ALONE_ANSWERS.get(name, expected)
    assert (result.outcome, result.attempts) == (expected, 1)
    assert result.moved == (MOVES_TWICE.get(name, case.moves) if is_twice else case.moves)
    assert result.others <= {"session/status"}
    assert result.changed == 0


WRONG_AMOUNTS: Final = [{"factor": 10}, {"factor": 2, "currency": "gbp", "moved": True}]


@pytest.mark.parametrize("options", WRONG_AMOUNTS, ids=["shown", "moved"])
@pytest.mark.parametrize("name", CASES)
def test_wrong_amount_is_returned(name, options, key) -> None:
    """A wrong amount is returned as it is; `Payouts` compares it with the order."""
    case = CASES[name]
    fault = Fault(FaultKind.AMOUNT, operation=PATHS[case.call], **ONCE, **options)

    result = run_case(case, fault, key, case.rules)

    assert (result.outcome, result.attempts) == (sg.CallOutcome.SUCCEEDED, 1)
    assert result.moved == case.moves
    assert result.others <= {"session/status"}
    assert result.changed == 0


def test_every_fault_kind_is_tested() -> None:
    """Each kind of fault is tested with each call that can meet it."""
    tables = {fault.kind for case in CASES.values() for fault in faults(case)}
    wrong = {options["kind"] for options in (*WRONG_ANSWER_FAULTS.values(), *UNUSUAL_FAULTS)}
    assert tables | wrong | {FaultKind.AMOUNT} == set(FaultKind)


def test_the_table_has_every_call() -> None:
    """Each case has a row."""
    assert list(WRONG_ANSWERS) == list(CASES)
