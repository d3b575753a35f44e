"""Stops, pauses in an outage, and the reasons in the outcomes of payouts."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

import pytest
from attrs import define, field
from gateway import Change, gateway
from paying import QUICK, order

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.emulator import Confirmation, Fault, FaultKind
from smartglocal_async.journal.states import Event

CREATE: Final = "session/create"
START: Final = "session/start/payout"
STATUS: Final = "session/status"
CONFIRM: Final = "session/confirm"
STUCK: Final = order(amount=66610)
"""The emulator keeps this amount in progress for ever."""
ONCE: Final = sg.RetryPolicy(attempts=1)
OPEN: Final = sg.PayoutState.OPEN
LONGEST_SECONDS: Final = 60.0


@define
class RecordingClock:
    """A clock that advances on a sleep, and records each pause."""

    now: float = 0.0
    pauses: list[float] = field(factory=list[float])

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Advance at once, and record the pause."""
        self.pauses.append(round(seconds, 6))
        self.now += seconds
        await asyncio.sleep(0)

    def settings(self, dice: float = 1.0) -> sg.Settings:
        """Return settings over this clock, with the longest random pauses."""
        timing = sg.Timing(monotonic=self.monotonic, sleep=self.sleep, random=lambda: dice)
        return sg.Settings(timing=timing, retry=ONCE)


@pytest.fixture
def calls() -> list[str]:
    """Return the calls that the emulator received, in order."""
    return []


@pytest.fixture
def start_provider(run_provider, calls) -> Any:
    """Return a function that starts an emulator with these faults."""

    def start(*faults: Fault, **rules: Any) -> emulator.Provider:
        return run_provider(
            faults=emulator.FaultScript(faults),
            rules=emulator.Rules(**rules),
            on_request=lambda seen: calls.append(seen.operation),
        )

    return start


# --- Stops ---------------------------------------------------------------------------------------


async def test_a_stop_ends_the_wait_itself(start_provider, connect, journal, calls):
    """A run that waits for its next status check is woken, and sends nothing more."""
    waiting = asyncio.Event()

    async def for_ever(_seconds: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    settings = sg.Settings(timing=sg.Timing(sleep=for_ever), retry=ONCE)
    provider = start_provider()
    async with (
        sg.Payouts(connect(provider, settings=settings), journal) as payouts,
        asyncio.TaskGroup() as group,
    ):
        paying = group.create_task(payouts.pay(STUCK))
        async with asyncio.timeout(LONGEST_SECONDS):
            await waiting.wait()
            payouts.stop()
            outcome = await paying
    assert outcome.state is OPEN
    assert calls == [CREATE, START, STATUS, CONFIRM, STATUS]


async def test_a_stop_in_a_pause_sends_nothing_after_it(start_provider, connect, journal, calls):
    """After the pause, its status check isn't made."""

    async def sleep(_seconds: float) -> None:
        payouts.stop()

    settings = sg.Settings(timing=sg.Timing(sleep=sleep), retry=ONCE)
    async with sg.Payouts(connect(start_provider(), settings=settings), journal) as payouts:
        outcome = await payouts.pay(STUCK)
    assert outcome.state is OPEN
    assert calls == [CREATE, START, STATUS, CONFIRM, STATUS]


async def test_a_stop_before_a_pause_begins(start_provider, connect, journal, calls):
    """A confirmed payout is checked once, and the next pause doesn't begin."""
    clock = RecordingClock()

    def point(label: str) -> None:
        if label == f"after {CONFIRM}":
            payouts.stop()

    payouts = sg.Payouts(
        connect(start_provider(), settings=clock.settings()), journal, fault_point=point
    )
    async with payouts:
        outcome = await payouts.pay(STUCK)
    assert outcome.state is OPEN
    assert clock.pauses == []
    assert calls == [CREATE, START, STATUS, CONFIRM, STATUS]


async def test_stopped_batch_reports_open_payouts(start_provider, connect, journal, calls):
    """Three payouts in progress are reported as open, once each, and none starts after the stop."""

    async def sleep(_seconds: float) -> None:
        if calls.count(CONFIRM) == 3:
            payouts.stop()

    settings = sg.Settings(timing=sg.Timing(sleep=sleep), retry=ONCE)
    orders = [order(f"k-{number}", 66610) for number in range(1, 7)]
    async with sg.Payouts(connect(start_provider(), settings=settings), journal) as payouts:
        outcomes = payouts.pay_all(orders, concurrency=3)
        told = [await anext(outcomes), await anext(outcomes), await anext(outcomes)]
        with pytest.raises(sg.BatchStopped, match="the batch stopped after 3 orders"):
            _ = await anext(outcomes)
    assert sorted(one.key for one in told) == ["k-1", "k-2", "k-3"]
    assert {one.state for one in told} == {OPEN}
    assert calls.count(START) == calls.count(CONFIRM) == 3


# --- Pauses --------------------------------------------------------------------------------------


def outage(operation: str) -> Fault:
    """Return the fault that loses every call of a kind."""
    return Fault(FaultKind.BEFORE, rate=1.0, operation=operation)


@pytest.mark.parametrize(
    ("operation", "once"),
    [
        (CREATE, {CREATE: 9}),
        (STATUS, {CREATE: 1, START: 1, STATUS: 9}),
    ],
)
async def test_pauses_in_an_outage(  # noqa: PLR0913, PLR0917 - fixtures
    operation, once, start_provider, connect, journal, calls
):
    """Each pause is twice as long as the one before, up to the longest."""
    clock = RecordingClock()
    api = connect(start_provider(outage(operation)), settings=clock.settings())
    looks = sg.payouts.StatusChecks(initial_delay_seconds=0.2, max_delay_seconds=10.0)
    async with sg.Payouts(api, journal, status_checks=looks) as payouts:
        outcome = await payouts.pay(order(), deadline=32.8)
    assert outcome.state is OPEN
    assert clock.pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 0.2]
    assert {one: calls.count(one) for one in calls} == once


async def test_pauses_after_lost_confirms(start_provider, connect, journal, calls):
    """After each lost confirm the status is checked, and no call follows another at once."""
    clock = RecordingClock()
    lost = Fault(FaultKind.BEFORE, nth=tuple(range(1, 31)), operation=CONFIRM)
    api = connect(start_provider(lost), settings=clock.settings())
    looks = sg.payouts.StatusChecks(initial_delay_seconds=0.2, max_delay_seconds=10.0)
    async with sg.Payouts(api, journal, status_checks=looks) as payouts:
        outcome = await payouts.pay(order(), deadline=32.8)
    assert outcome.state is OPEN
    assert clock.pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 0.2]
    assert {one: calls.count(one) for one in calls} == {CREATE: 1, START: 1, STATUS: 6, CONFIRM: 5}


@pytest.mark.parametrize(("dice", "first"), [(0.0, 0.1), (0.5, 0.15), (1.0, 0.2)])
async def test_jitter(dice, first, start_provider, connect, journal):
    """Jitter shortens a pause by up to half, so that many runs don't call at the same time."""
    clock = RecordingClock()
    api = connect(start_provider(outage(STATUS)), settings=clock.settings(dice))
    async with sg.Payouts(api, journal) as payouts:
        _ = await payouts.pay(order(), deadline=2.0)
    assert clock.pauses[0] == first
    assert clock.pauses[1] == round(2 * first, 6)


async def test_no_pause_outlasts_a_third_of_the_lease(start_provider, connect, journal):
    """The lease is renewed in between, so it can't end while its owner waits."""
    clock = RecordingClock()
    api = connect(start_provider(outage(STATUS)), settings=clock.settings())
    async with sg.Payouts(api, journal, lease_seconds=6.0) as payouts:
        _ = await payouts.pay(order(), deadline=10.0)
    assert clock.pauses == [0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0, 1.0]


class Renewing(sg.journal.MemoryJournal):
    """A journal that records when leases were renewed, by a clock set by hand."""

    hours: RecordingClock
    renewed: list[float]

    async def renew(self, entry: sg.journal.Entry, lease_seconds: float) -> sg.journal.Entry:
        """Renew the lease, and record the time."""
        self.renewed.append(round(self.hours.now, 6))
        return await super().renew(entry, lease_seconds)


async def test_a_lease_is_renewed_once_a_third_of_it_is_over(start_provider, connect):
    """Before the next call, and not at each of them."""
    clock, journal = RecordingClock(), Renewing(unsafe=True)
    journal.hours, journal.renewed = clock, []
    api = connect(start_provider(outage(STATUS)), settings=clock.settings())
    looks = sg.payouts.StatusChecks(max_delay_seconds=3.0)
    async with sg.Payouts(api, journal, lease_seconds=12.0, status_checks=looks) as payouts:
        _ = await payouts.pay(order(), deadline=16.0)
    assert clock.pauses == [0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0, 3.0, 1.0]
    assert journal.renewed == [6.0, 12.0]


@pytest.mark.parametrize(
    ("checks", "pauses"),
    [
        (sg.payouts.StatusChecks(), [0.2, 0.4, 0.8, 1.6]),
        (sg.payouts.StatusChecks(initial_delay_seconds=1.0, max_delay_seconds=3.0), [1, 2, 3, 3]),
        (sg.payouts.StatusChecks(before_leaving=3), [0.2, 0.4]),
    ],
)
@pytest.mark.parametrize("mode", [sg.Mode.MANUAL, sg.Mode.AUTOMATIC])
async def test_pauses_grow_before_a_session_is_left(  # noqa: PLR0913, PLR0917 - fixtures
    mode, checks, pauses, start_provider, connect, journal, calls
):
    """After a lost start, a session that stays empty is looked at ever more rarely, then left."""
    clock = RecordingClock()
    lost = Fault(FaultKind.BEFORE, nth=(1,), operation=START)
    rules = {} if mode is sg.Mode.MANUAL else {"confirmation": Confirmation.AUTOMATIC}
    api = connect(start_provider(lost, **rules), settings=clock.settings())
    async with sg.Payouts(api, journal, mode=mode, status_checks=checks) as payouts:
        outcome = await payouts.pay(order(), deadline=60.0)
    assert outcome.is_paid
    looks = len(pauses) + 1
    assert calls[: looks + 3] == [CREATE, START, *[STATUS] * looks, "session/cancel"]
    assert clock.pauses[: len(pauses)] == pauses


def without_metadata(sessions: bool, payouts: bool) -> Change:  # noqa: FBT001 - two places
    """Return a change that removes the metadata of sessions, of payouts, or of both."""

    def change(_call: str, _body: bytes, answered: bytes) -> bytes | None:
        answer = json.loads(answered)
        session = answer.get("session", {})
        if sessions:
            session.pop("metadata", None)
        for payout in session.get("payments", ()) if payouts else ():
            payout.pop("metadata", None)
        return json.dumps(answer).encode()

    return change


@pytest.mark.parametrize("mode", [sg.Mode.MANUAL, sg.Mode.AUTOMATIC])
@pytest.mark.parametrize("in_sessions", [True, False])
async def test_a_provider_that_returns_no_metadata(
    in_sessions, mode, start_provider, connect, journal
):
    """Nothing shows whose payout it is: the first one ends unknown, and halts all others."""
    rules = {} if mode is sg.Mode.MANUAL else {"confirmation": Confirmation.AUTOMATIC}
    provider = start_provider(**rules)
    change = without_metadata(sessions=not in_sessions, payouts=True)
    async with gateway(provider, change) as between:
        api = connect(between, settings=RecordingClock().settings())
        async with sg.Payouts(api, journal, mode=mode) as payouts:
            for key in ("k-1", "k-2"):
                with pytest.raises(sg.PayoutConflict):
                    _ = await payouts.pay(order(key), deadline=30.0)
            assert (await journal.find("k-1")).step is sg.journal.Step.UNKNOWN
    assert provider.report().moved == (0 if mode is sg.Mode.MANUAL else 1)


async def test_one_step_without_metadata(start_provider, connect, journal):
    """The answer to an init counts as lost: each payout ends unknown, and is never sent again."""
    provider = start_provider(confirmation=Confirmation.AUTOMATIC)
    change = without_metadata(sessions=True, payouts=True)
    async with gateway(provider, change) as between:
        api = connect(between, settings=RecordingClock().settings())
        mode = sg.Mode.ONE_STEP
        async with sg.Payouts(api, journal, mode=mode, accept_unknown=True) as payouts:
            for key in ("k-1", "k-2", "k-1"):
                assert (await payouts.pay(order(key))).state is sg.PayoutState.UNKNOWN
    assert [provider.order(key).moved for key in ("k-1", "k-2")] == [1, 1]


@pytest.mark.parametrize("mode", list(sg.Mode))
async def test_metadata_of_the_payout_is_enough(mode, start_provider, connect, journal):
    """A provider that returns it with the payout, and not with the session, shows whose it is."""
    rules = {} if mode is sg.Mode.MANUAL else {"confirmation": Confirmation.AUTOMATIC}
    provider = start_provider(**rules)
    change = without_metadata(sessions=True, payouts=False)
    async with gateway(provider, change) as between:
        api = connect(between, settings=RecordingClock().settings())
        async with sg.Payouts(api, journal, mode=mode, accept_unknown=True) as payouts:
            outcome = await payouts.pay(order(), deadline=30.0)
    assert (outcome.is_paid, provider.report().moved) == (True, 1)


async def test_answered_status_check_resets_the_pauses(start_provider, connect, journal):
    """After the confirm of a slow payout, the first status check comes soon."""
    clock = RecordingClock()
    lost = Fault(FaultKind.BEFORE, nth=(1, 2, 3), operation=STATUS)
    api = connect(start_provider(lost), settings=clock.settings())
    async with sg.Payouts(api, journal) as payouts:
        outcome = await payouts.pay(STUCK, deadline=3.0)
    assert outcome.state is OPEN
    assert clock.pauses[:5] == [0.2, 0.4, 0.8, 0.2, 0.4]


# --- Outcomes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "rules"),
    [
        (sg.Mode.MANUAL, {}),
        (sg.Mode.AUTOMATIC, {"confirmation": Confirmation.AUTOMATIC}),
    ],
)
async def test_a_key_in_another_journal_halts(mode, rules, start_provider, connect, calls):
    """The provider replays its first create, so the session is another journal's."""
    api = connect(start_provider(**rules), settings=QUICK)
    first, second = sg.journal.MemoryJournal(unsafe=True), sg.journal.MemoryJournal(unsafe=True)
    async with sg.Payouts(api, first, mode=mode) as payouts:
        assert (await payouts.pay(order())).is_paid
    calls.clear()
    async with sg.Payouts(api, second, mode=mode) as payouts:
        with pytest.raises(sg.PayoutConflict) as halted:
            _ = await payouts.pay(order())
        with pytest.raises(sg.PayoutConflict):
            _ = await payouts.pay(order("k-2"))
    assert calls == [CREATE]
    assert "the payout 'k-1' is recorded as CREATING in no session; the provider: ps_1 is" in str(
        halted.value
    )
    assert "the session is that of the same key in another journal" in str(halted.value)


async def test_a_payout_that_is_paid_without_our_confirm(start_provider, connect, journal):
    """It is reported as paid, the message names key and session, and nothing more is paid."""
    provider = start_provider(confirmation=Confirmation.AUTOMATIC)
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        assert (await payouts.pay(order())).is_paid
        with pytest.raises(
            sg.errors.ConfirmationMismatch, match=r"'k-1' was paid in ps_1 without a conf"
        ):
            _ = await payouts.pay(order("k-2"))
        events = [line.event for line in await journal.history("k-1")]
    assert Event.PAID in events
    assert provider.report().moved == 1


@pytest.mark.parametrize(
    ("operation", "fault", "code", "reason"),
    [
        (
            CONFIRM,
            Fault(FaultKind.BARE_ERROR, rate=1.0, operation=CONFIRM, code="invalid_request"),
            "invalid_request",
            "session/confirm refused: invalid request",
        ),
        (CONFIRM, outage(CONFIRM), None, "session/confirm lost: ServerDisconnectedError"),
        (STATUS, outage(STATUS), None, "session/status lost: ServerDisconnectedError"),
        (CREATE, outage(CREATE), None, "session/create lost: ServerDisconnectedError"),
    ],
)
async def test_reason_of_an_open_payout(  # noqa: PLR0913, PLR0917 - fixtures
    operation, fault, code, reason, start_provider, connect, journal, calls
):
    """The reason is the failure of its last call, with the provider's code if there is one."""
    api = connect(start_provider(fault), settings=RecordingClock().settings())
    async with sg.Payouts(api, journal) as payouts:
        outcome = await payouts.pay(order(), deadline=5.0)
    assert outcome.state is OPEN
    assert calls.count(operation) > 1
    assert outcome.code == code
    assert outcome.reason.startswith(reason)


async def test_reason_after_a_refusal_that_was_overcome(start_provider, connect, journal):
    """The confirm was refused once, then accepted: the reason is the pending result."""
    refused = Fault(FaultKind.BARE_ERROR, nth=(1,), operation=CONFIRM, code="invalid_request")
    api = connect(start_provider(refused), settings=RecordingClock().settings())
    async with sg.Payouts(api, journal) as payouts:
        outcome = await payouts.pay(STUCK, deadline=5.0)
    assert (outcome.state, outcome.code, outcome.reason) == (OPEN, None, None)


def with_word(
    call: str, known: bytes, unknown: bytes
) -> Callable[[str, bytes, bytes], bytes | None]:
    """Return a change of the answers to a call that replaces a word."""

    def change(asked: str, _body: bytes, answered: bytes) -> bytes | None:
        return answered.replace(known, unknown) if asked == call else None

    return change


@pytest.mark.parametrize(
    ("call", "known", "unknown", "reason"),
    [
        (
            STATUS,
            b'"status": "accepted"',
            b'"status": "dropped"',
            "session/status answered: session.status is 'dropped', which isn't known here",
        ),
        (
            STATUS,
            b'"status": "succeeded"',
            b'"status": "rejected"',
            "session/status answered: the status of payout po_1 is 'rejected', which isn't known",
        ),
        (
            STATUS,
            b'"next_action": "confirm"',
            b'"next_action": "approve"',
            "session/status answered: session.next_action is 'approve', which isn't known here",
        ),
        (
            CREATE,
            b'"status": "created"',
            b'"status": "new"',
            "session/create answered: session.status is 'new', which isn't known here",
        ),
        (
            STATUS,
            b'"status": "accepted"',
            b'"status": "error"',
            "session/status answered: session.status is 'error', which isn't final",
        ),
        (
            STATUS,
            b'"status": "succeeded"',
            b'"status": "pending"',
            "session/status answered: session.status is 'accepted' and payout po_1 is 'pending', ",
        ),
        (
            STATUS,
            b'"status": "succeeded"',
            b'"status": "4242 4242 4242 4242"',
            "session/status answered: the status of payout po_1 is '***', which isn't known",
        ),
    ],
)
async def test_reason_names_an_unknown_status(  # noqa: PLR0913, PLR0917 - fixtures
    call, known, unknown, reason, start_provider, connect, journal
):
    """An undocumented status settles nothing; the reason names it, so that it can be looked up."""
    change = with_word(call, known, unknown)
    async with gateway(start_provider(), change) as between:
        api = connect(between, settings=RecordingClock().settings())
        async with sg.Payouts(api, journal) as payouts:
            outcome = await payouts.pay(order(), deadline=5.0)
    assert outcome.state is OPEN
    assert outcome.reason.startswith(reason)
