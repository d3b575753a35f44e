"""A report has the sums, the times, the reasons, and what needs a person."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from attrs import evolve
from journal_conformance import new
from postgres_schemas import DSN, needs_postgres, new_schema, schemas
from reported import PAID_AT, Ignored, ReportedJournal, mixed_batch

import smartglocal_async as sg
from smartglocal_async.journal.entries import Changes
from smartglocal_async.journal.states import Step
from smartglocal_async.models.money import Amount
from smartglocal_async.payouts.orders import PayoutState, payee_summary, split_summary
from smartglocal_async.payouts.reports.records import HistogramBar, ReportedPayout


class Kept(Ignored):
    """A writer that keeps the payouts."""

    def __init__(self) -> None:
        self.payouts: dict[str, ReportedPayout] = {}

    def add(self, payout: ReportedPayout) -> None:
        """Keep a payout."""
        self.payouts[payout.key] = payout


async def test_sums_by_currency_and_state():
    """Each payout counts once; the sums are those of the journal."""
    made = await mixed_batch()
    found = await made.write(Ignored())
    assert found.count == 6
    assert {state: count for state, count in found.counts.items() if count} == {
        PayoutState.SUCCEEDED: 2,
        PayoutState.FAILED: 1,
        PayoutState.CANCELLED: 1,
        PayoutState.UNKNOWN: 1,
        PayoutState.OPEN: 1,
    }
    sums = {(one.state, one.total.currency): (one.count, one.total.amount) for one in found.sums}
    assert sums == {
        (PayoutState.SUCCEEDED, "kwd"): (1, 1_234),
        (PayoutState.SUCCEEDED, "usd"): (1, 10_000),
        (PayoutState.FAILED, "usd"): (1, 10_000),
        (PayoutState.CANCELLED, "usd"): (1, 10_000),
        (PayoutState.UNKNOWN, "usd"): (1, 10_000),
        (PayoutState.OPEN, "usd"): (1, 11_000),
    }
    assert (found.fees, found.fee_count, found.absent) == ((Amount(125, "usd"),), 1, 1)


async def test_what_is_known_of_a_payout():
    """Its proof, payee and times; a card number in a reason is masked."""
    made, kept = await mixed_batch(), Kept()
    await made.write(kept, cipher=made.cipher)
    paid, failed, unknown = (kept.payouts[key] for key in ("k1", "k3", "k5"))
    assert (paid.payee, paid.account) == ("Zoë <b>Å</b> & Söhne", "...4321")
    assert (paid.fee, paid.reference) == (Amount(125, "usd"), "000000000042")
    assert (paid.paid_at, paid.session_id, paid.payout_id) == (PAID_AT, "ps-k1", "po-k1")
    assert (failed.code, failed.reason, failed.paid_at) == (
        "declined",
        "card *** is closed & <i>gone</i>",
        None,
    )
    assert (unknown.payee, unknown.account) == (None, "card")


async def test_without_a_time_of_the_provider_that_of_the_journal_counts():
    """And it is in UTC."""
    made, kept = await ReportedJournal().opened(), Kept()
    await made.has("k1")
    await made.write(kept)
    assert kept.payouts["k1"].paid_at == datetime.fromtimestamp(made.clock.now, UTC)


@pytest.mark.parametrize(
    ("cipher", "words"),
    [
        (None, "all payouts, as SMARTGLOCAL_JOURNAL_KEY isn't set"),
        (sg.RequestCipher(sg.RequestCipher.new_key()), "all payouts, as another SMARTGLOCAL"),
    ],
)
async def test_why_payees_are_missing(cipher, words):
    """The report names the cause, and shows none."""
    made, kept = await ReportedJournal().opened(), Kept()
    await made.has("k1")
    await made.has("k2")
    found = await made.write(kept, cipher=cipher)
    assert words in (found.payee_note or "")
    assert {one.payee for one in kept.payouts.values()} == {None}


async def test_a_payee_that_was_never_kept_or_is_forgotten():
    """Both are named; with all payees there is no note."""
    made = await ReportedJournal().opened()
    await made.has("k1")
    assert (await made.write(Ignored(), cipher=made.cipher)).payee_note is None
    made.clock.now += 10.0
    await made.journal.forget(made.clock.now)
    await made.has("k2")
    found = await made.write(Ignored(), cipher=made.cipher)
    assert "missing of 1 payout, as the journal has none" in (found.payee_note or "")
    assert (found.measured, found.counts[PayoutState.SUCCEEDED]) == (1, 2)


async def test_what_needs_a_person():
    """What is unknown, and what is open for more than a day; each with every step."""
    made = await mixed_batch()
    found = await made.write(Ignored())
    (case,) = found.cases
    assert (case.payout.key, case.step, case.why) == ("k5", "UNKNOWN", "=1+1, no call can show it")
    assert [line.step for line in case.history] == [Step.SENT_ONE_STEP, Step.UNKNOWN]
    made.clock.now += timedelta(days=1, minutes=1).total_seconds()
    found = await made.write(Ignored())
    assert [case.payout.key for case in found.cases] == ["k5", "k6"]
    assert (found.case_count, found.cases[1].step) == (2, "STARTED")


async def test_how_long_payouts_took():
    """From the first step to the last one, counted by length; the middle and the slowest."""
    made = await ReportedJournal().opened()
    for number, seconds in enumerate((0.05, 0.75, 0.8, 3.0, 30.0)):
        await made.has(f"k{number}", seconds=seconds)
    found = await made.write(Ignored())
    assert (found.measured, found.median_seconds) == (5, pytest.approx(0.8, abs=1e-4))
    assert found.slowest_seconds == pytest.approx(30.0, abs=1e-4)
    assert [(bar.label, bar.count) for bar in found.durations if bar.count] == [
        ("under 0.1 s", 1),
        ("0.5 to 1 s", 2),
        ("2 to 5 s", 1),
        ("15 to 60 s", 1),
    ]
    assert found.attempts[-1] == HistogramBar("3", 5)


@pytest.mark.parametrize(
    ("gap", "slot"), [(0.0, 1), (3.0, 1), (20.0, 10), (3_600.0, 1_800), (40 * 86_400.0, 1_209_600)]
)
async def test_the_timeline_has_up_to_forty_slots_without_gaps(gap, slot):
    """Whatever the time between the payouts; every settled one is in it."""
    made = await ReportedJournal().opened()
    for number in range(12):
        await made.has(f"k{number}", Step.FAILED if number % 3 else Step.SUCCEEDED, seconds=gap)
    found = await made.write(Ignored())
    assert found.slot_seconds == slot
    begins = [one.begin for one in found.timeline]
    assert len(begins) <= 40
    assert {later - before for before, later in pairwise(begins)} <= {timedelta(seconds=slot)}
    total = sum((sum(one.counts.values()) for one in found.timeline), 0)
    assert total == 12


async def test_an_empty_batch():
    """It has no plots, and isn't an error."""
    made = await ReportedJournal().opened()
    found = await made.write(Ignored())
    assert (found.count, found.timeline, found.durations, found.attempts) == (0, (), (), ())


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=needs_postgres)])
async def test_the_same_of_each_journal(kind, tmp_path):
    """A file and a database yield the report of the memory journal."""
    kept = Kept()
    expected = await (await mixed_batch()).write(kept)
    async with schemas() as names:
        made = ReportedJournal()
        if kind == "sqlite":
            made.journal = sg.SQLiteJournal(tmp_path / "j.db", clock=made.clock)
        else:
            names.append(new_schema())
            made.journal = sg.PostgresJournal(DSN, schema=names[0], clock=made.clock)
        await made.opened()
        other = Kept()
        first = await mixed_batch()
        for entry in await first.journal.entries(100):
            source = (await first.journal.history(entry.key), entry)
            await copied(made, *source)
        found = await made.write(other)
        await made.journal.close()
    assert other.payouts.keys() == kept.payouts.keys()
    assert [evolve(one, created_at=PAID_AT) for one in other.payouts.values()] == [
        evolve(one, created_at=PAID_AT) for one in kept.payouts.values()
    ]
    assert (found.sums, found.timeline, found.failures) == (
        expected.sums,
        expected.timeline,
        expected.failures,
    )


async def copied(made: ReportedJournal, history, entry) -> None:
    """Write an entry of another journal with all its steps, at their times."""
    fields = {"amount": entry.amount, "currency": entry.currency, "batch": entry.batch}
    made.clock.now = entry.created_at
    await made.journal.accept(new(entry.key, **fields, summary=entry.summary))
    own = await made.journal.claim(entry.key, "me", 500.0)
    for line in history:
        made.clock.now = line.at
        changes = Changes(session_id=line.session_id) if line.session_id else Changes()
        if line is history[-1]:
            changes = evolve(
                changes,
                item_id=entry.item_id,
                result=entry.result,
                code=entry.code,
                reason=entry.reason,
            )
        own = await made.journal.advance(own, line.event, changes)


@pytest.mark.parametrize(
    ("summary", "parts"),
    [
        ("Jane Roe, ...1234", ("Jane Roe", "...1234")),
        ("Roe, Jane, ...1234", ("Roe, Jane", "...1234")),
        ("Jane Roe", ("Jane Roe", None)),
        ("...1234", (None, "...1234")),
        ("card", (None, "card")),
        ("Jane, card", ("Jane", "card")),
        ("Roe, Jane", ("Roe, Jane", None)),
        ("...", ("...", None)),
    ],
)
def test_the_parts_of_a_summary(summary, parts):
    """A name may have commas in it."""
    assert split_summary(summary) == parts


def test_a_summary_is_split_as_it_is_made():
    """The name and the last four characters."""
    order = sg.PayoutOrder(
        key="k",
        payment_method=sg.GlobalAccount(iban="DE89370400440532013000"),
        amount_details=sg.AmountDetails(1, "eur"),
        participant_details=sg.ParticipantDetails(recipient=sg.Participant(full_name="Roe, Jane")),
    )
    assert split_summary(payee_summary(order)) == ("Roe, Jane", "...3000")
