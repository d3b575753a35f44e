"""Duplicated starts, concurrent workers at one key, and payouts that may be the same."""

import asyncio
from typing import Any, Final

import pytest
from attrs import evolve
from observing import attempts_into

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import (
    Confirmation,
    Fault,
    FaultKind,
    Permission,
    Reaction,
    TwiceAnswer,
)
from smartglocal_async.journal.states import Event
from smartglocal_async.payouts.preflight import (
    PossibleDuplicate,
    SeenRows,
    payment_digest,
    seen_rows,
)

START: Final = "session/start/payout"
AUTOMATIC = emulator.Rules(confirmation=Confirmation.AUTOMATIC)
ORDER = sg.PayoutOrder(
    key="k-1",
    payment_method=sg.EncryptedCard(number_hash="hash"),
    amount_details=sg.AmountDetails(10_000, "usd"),
    participant_details=sg.ParticipantDetails(recipient=sg.Participant(full_name="Jane Roe")),
)


UNLISTED: Final = sg.Settings()
# The emulator's code, which no documentation lists, is set as a refusal here.
LISTED: Final = sg.Settings(refusal_codes={"invalid_session_state"})


@pytest.mark.parametrize("settings", [UNLISTED, LISTED], ids=["unlisted", "listed"])
@pytest.mark.parametrize("answer", TwiceAnswer)
@pytest.mark.parametrize("mode", [sg.Mode.MANUAL, sg.Mode.AUTOMATIC])
async def test_duplicated_start(mode, answer, settings, run_provider, connect):
    """One of the two is refused; with either answer the payout is paid once, and succeeded."""
    twice = Fault(FaultKind.TWICE, nth=(1,), operation=START, seconds=0.0, answer=answer)
    calls: list[str] = []
    provider = run_provider(
        rules=emulator.Rules(confirmation=Confirmation[mode.name]),
        faults=emulator.FaultScript([twice]),
        on_request=lambda seen: calls.append(seen.operation),
    )
    journal = sg.journal.MemoryJournal(unsafe=True)
    api = connect(provider, settings=settings)
    async with sg.Payouts(api, journal, mode=mode) as payouts:
        outcome = await payouts.pay(ORDER)
    assert calls.count(START) == 1
    assert provider.order("k-1").moved == 1
    assert outcome.is_paid


@pytest.mark.parametrize("second", Permission)
@pytest.mark.parametrize(
    ("mode", "options", "lag_seconds"),
    [
        (sg.Mode.AUTOMATIC, {"answer": TwiceAnswer.SECOND}, 0.5),
        (sg.Mode.AUTOMATIC, {"answer": TwiceAnswer.SECOND}, 1.5),
        (sg.Mode.AUTOMATIC, {"seconds": 0.02}, 1.5),
        (sg.Mode.MANUAL, {"answer": TwiceAnswer.SECOND}, 0.5),
        pytest.param(sg.Mode.MANUAL, {"answer": TwiceAnswer.SECOND}, 1.5, marks=pytest.mark.slow),
        pytest.param(sg.Mode.MANUAL, {"seconds": 0.02}, 1.5, marks=pytest.mark.slow),
    ],
)
async def test_duplicated_start_and_a_stale_status(  # noqa: PLR0913, PLR0917 - fixtures
    mode, options, lag_seconds, second, run_provider, connect
):
    """The duplicate is refused and the status shows no payout yet: the refusal isn't final."""
    refuses = second is Permission.REFUSE
    orders = [evolve(ORDER, key=f"k-{number}") for number in range(5)]
    twice = [
        Fault(FaultKind.TWICE, nth=(1,), key=one.key, operation=START, **options) for one in orders
    ]
    provider = run_provider(
        rules=emulator.Rules(
            confirmation=Confirmation[mode.name],
            status_lag_seconds=lag_seconds,
            second_start=second,
            # If a second start is allowed, only the header prevents a second payment.
            idempotency_header=Reaction.IGNORE if refuses else Reaction.REFUSE,
        ),
        faults=emulator.FaultScript(twice),
    )
    journal, heard = sg.journal.MemoryJournal(unsafe=True), list[sg.observer.AttemptEnded]()
    api = connect(provider, settings=evolve(LISTED, observers=attempts_into(heard)))
    async with sg.Payouts(api, journal, mode=mode) as payouts:
        outcomes = [one async for one in payouts.pay_all(orders)]
    if "answer" in options:
        told = sg.AttemptResult.REFUSED if refuses else sg.AttemptResult.ARRIVED
        starts = [one.happened for one in heard if one.operation == START]
        assert starts[:5] == [told] * 5
        assert mode is sg.Mode.MANUAL or len(starts) == 5
    assert [(one.state, one.reason) for one in outcomes] == [(sg.PayoutState.SUCCEEDED, None)] * 5
    assert [provider.order(one.key).moved for one in orders] == [1] * 5


class Interrupted(sg.journal.MemoryJournal):
    """A journal that runs a function right after the first claim."""

    between = None

    async def claim(self, key, owner, lease_seconds, **how) -> sg.journal.Entry:
        """Claim, and run the function."""
        entry = await super().claim(key, owner, lease_seconds, **how)
        if (between := self.between) is not None:
            self.between = None
            await between()
        return entry


async def test_webhook_between_claim_and_read(run_provider, connect):
    """A webhook and a payment use one key at once: the caller gets the outcome, and no error."""
    api, journal = connect(run_provider(rules=AUTOMATIC)), Interrupted(unsafe=True)
    payouts = sg.Payouts(api, journal, mode=sg.Mode.AUTOMATIC)
    async with payouts, asyncio.TaskGroup() as group:
        paid = await _paid(api, journal, payouts)
        order_to: list[asyncio.Task[sg.PayoutOutcome]] = []

        async def between() -> None:
            order_to.append(group.create_task(payouts.pay(ORDER)))
            while "k-1" not in payouts._open().context.wakeups:  # noqa: ASYNC110 - it says so nowhere
                await asyncio.sleep(0)

        journal.between = between
        assert await payouts.handle_event(sg.PaymentFinished(type="payment_finished", session=paid))
        assert (await order_to[0]).is_paid
        assert payouts._open().context.wakeups == {}


async def _paid(api: sg.SmartGlocal, journal: Interrupted, payouts: sg.Payouts) -> sg.Session:
    """Leave a payout as a worker that died after its start; return its session."""
    session = await api.session.create(sg.CreateSession())
    _ = await payouts._open().accept(ORDER)
    entry = await journal.claim("k-1", "the dead", 0.001)
    entry = await journal.advance(entry, Event.CREATE_INTENDED)
    changes = sg.journal.Changes(session_id=session.id)
    await journal.release(await journal.advance(entry, Event.SESSION_CHOSEN, changes))
    request = sg.StartPayout(
        session_id=session.id,
        payment_method=ORDER.payment_method,
        amount_details=ORDER.amount_details,
        participant_details=ORDER.participant_details,
        metadata={"payout_journal": journal.journal_id},
    )
    _ = await api.session.start_payout(request, key="k-1")
    return await api.session.status(sg.SessionRef(session.id))


# --- Rows that may be one payout ----------------------------------------------------------------

CARD: Final = sg.BankCard(
    number="4242424242424242", expiration_month="01", expiration_year="30", security_code="123"
)
IBAN: Final = sg.GlobalAccount(iban="de89 3704", account_number="7", description="rent")


def order_to(method: object = CARD, amount: int = 10_000, **changes: Any) -> sg.PayoutOrder:
    """Return an order to this payee."""
    money = sg.AmountDetails(amount, "usd")
    return evolve(ORDER, payment_method=method, amount_details=money, **changes)


@pytest.mark.parametrize(
    ("method", "digest"),
    [
        (CARD, "fecd282a7cafa5df"),
        (sg.EncryptedCard(number_hash="hash"), "9617731059f11eb1"),
        (IBAN, "09ca68bb63337d68"),
        (sg.Recurrent(token="t-1"), "0ac2b9b942979394"),  # noqa: S106 - no secret
        (sg.OtherInstrument({"type": "iban", "iban": {"b": 1, "a": "x"}}), "bab13ec38f728b04"),
    ],
)
def test_digest_of_a_payment(method, digest) -> None:
    """The digest has eight bytes and stays the same in every release, because journals store it."""
    assert payment_digest(order_to(method), b"secret").hex() == digest


def compared(memory: SeenRows, line: int, order: sg.PayoutOrder):
    """Return the rows with an earlier key, and those with an earlier payment, after one more."""
    _ = memory.add(line, order)
    return memory.compare()


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (order_to(key="k-2"), True),
        (order_to(evolve(CARD, security_code="321", expiration_year="31")), True),
        (order_to(evolve(CARD, number="5555555555554444")), False),
        (order_to(amount=10_001), False),
        (evolve(order_to(), amount_details=sg.AmountDetails(10_000, "eur")), False),
        (order_to(sg.EncryptedCard(number_hash="4242424242424242")), False),
    ],
)
def test_the_same_payment(other, is_same) -> None:
    """One payee and one amount, in any spelling."""
    assert (payment_digest(order_to(), b"s") == payment_digest(other, b"s")) is is_same
    assert payment_digest(order_to(), b"s") != payment_digest(order_to(), b"another")
    with seen_rows() as memory:
        other = evolve(other, key="k-9")
        assert compared(memory, 3, order_to()) == ([], [])
        twin = PossibleDuplicate(first_line=3, line=9, key="k-9")
        assert compared(memory, 9, other) == ([], [twin] if is_same else [])


def test_what_may_differ_in_an_account() -> None:
    """Spaces, upper case and the purpose don't matter."""
    written = sg.GlobalAccount(iban="DE893704", account_number="7", description="food")
    assert payment_digest(order_to(IBAN), b"s") == payment_digest(order_to(written), b"s")


def test_the_same_key() -> None:
    """Each line names the first one; keys and payments are stored separately."""
    with seen_rows() as memory:
        assert compared(memory, 2, order_to()) == ([], [])
        again = PossibleDuplicate(first_line=2, line=3, key="k-2")
        assert compared(memory, 3, order_to(key="k-2")) == ([], [again])
        for line in (4, 5):
            [twin], repeats = compared(memory, line, order_to(amount=7))
            assert (twin, repeats) == (PossibleDuplicate(first_line=2, line=line, key="k-1"), [])
            assert str(twin) == f"line {line} (key 'k-1') and line 2"


@pytest.mark.parametrize("together", [1, 2, 3, 7])
def test_rows_are_compared_alike_however_many_at_once(together) -> None:
    """Within a group of rows, and with the groups before it."""
    keys = ("a", "b", "a", "c", "b", "a", "d")
    amounts = (1, 2, 1, 1, 3, 9, 2)
    duplicates, repeats = [], []
    with seen_rows() as memory:
        for line, (key, amount) in enumerate(zip(keys, amounts, strict=True), 1):
            _ = memory.add(line, order_to(key=key, amount=amount))
            if line % together == 0:
                found = memory.compare()
                duplicates, repeats = duplicates + found[0], repeats + found[1]
        found = memory.compare()
    assert [(one.first_line, one.line) for one in duplicates + found[0]] == [(1, 3), (2, 5), (1, 6)]
    assert [(one.first_line, one.line) for one in repeats + found[1]] == [(1, 4), (2, 7)]


def test_data_on_the_disk() -> None:
    """16 bytes for each row, salted, so that keys and payees can't be guessed from them."""
    seen: list[bytes] = []
    for _ in range(2):
        with seen_rows() as memory:
            assert compared(memory, 2, order_to()) == ([], [])
            seen += [digest for (digest,) in memory._database.execute("SELECT digest FROM seen")]
    assert [len(digest) for digest in seen] == [16] * 4
    assert len(set(seen)) == 4


def test_a_key_that_looks_like_a_payment() -> None:
    """A key that looks like a payment is no payment."""
    token = sg.Recurrent(token="t-1")  # noqa: S106 - no secret
    with seen_rows() as memory:
        assert compared(memory, 2, order_to(token)) == ([], [])
        looks = "('Recurrent', ['T-1'], 10000, 'usd')"
        assert compared(memory, 3, order_to(key=looks)) == ([], [])
