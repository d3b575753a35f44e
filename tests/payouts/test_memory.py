"""What a journal stores about payees, which commits it may lack, and what `forget` deletes."""

import csv
import json
import re
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from gateway import gateway
from journal_conformance import fingerprint_of_amount
from paying import QUICK, order
from till import rows

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.payouts.calls import fingerprint_of
from smartglocal_async.payouts.orders import payee_summary
from smartglocal_async.payouts.preflight import payment_digest

SECRET = b"0123456789abcdef"
JANE = sg.ParticipantDetails(recipient=sg.Participant(first_name="Jane", last_name="Roe"))


@pytest.fixture
async def encrypted(connect, provider, tmp_path):
    """Return payouts over a file, with a cipher."""
    journal = sg.SQLiteJournal(tmp_path / "payouts.db")
    cipher = sg.RequestCipher(sg.RequestCipher.new_key())
    async with sg.Payouts(connect(provider, settings=QUICK), journal, cipher=cipher) as payouts:
        yield payouts


# --- Payee summaries -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (sg.EncryptedCard(number_hash="hash-of-4111111111111111"), "Jane Roe, card"),
        (sg.BankCard(number="4111111111111111"), "Jane Roe, ...1111"),
        (sg.GlobalAccount(iban="GB33 BUKB 2020 1555 5555 67"), "Jane Roe, ...5567"),
        (sg.GlobalAccount(account_number="0012345678"), "Jane Roe, ...5678"),
        (sg.GlobalAccount(account_number="1234567"), "Jane Roe"),
        (sg.RussianAccount(bik="044525225", account="40817810099910004312"), "Jane Roe, ...4312"),
        (sg.FasterPayment(phone="+79161234567", bank_id="1"), "Jane Roe, ...4567"),
        (sg.GlobalWallet(name="gcash", msisdn="639171234567"), "Jane Roe, ...4567"),
    ],
)
def test_a_summary(method, words) -> None:
    """The name, and four characters of the number if they are less than half of it."""
    assert payee_summary(order(payment_method=method, participant_details=JANE)) == words


def test_a_summary_without_a_name() -> None:
    """The number alone, or the holder in the instrument."""
    card = sg.BankCard(number="4111111111111111", cardholder_name="J  ROE")
    account = sg.RussianAccount(bik="044525225", account="40817810099910004312", full_name="A B")
    company = sg.ParticipantDetails(recipient=sg.Participant(company_name="x" * 99))
    iban = sg.GlobalAccount(iban="GB33BUKB20201555555567")
    assert payee_summary(order(payment_method=card, participant_details=None)) == "J ROE, ...1111"
    assert payee_summary(order(payment_method=account, participant_details=None)) == "A B, ...4312"
    assert payee_summary(order(payment_method=iban, participant_details=None)) == "...5567"
    assert payee_summary(order(participant_details=company)) == f"{'x' * 60}, card"


async def test_who_was_paid_is_kept(encrypted, tmp_path) -> None:
    """The summary is encrypted, stays after the request is deleted, and fits only its row."""
    paid = order("k-1", payment_method=sg.BankCard(number="4111111111111111"))
    assert (await encrypted.pay(paid)).is_paid
    assert await encrypted.payee("k-1") == "Jane Roe, ...1111"
    assert await encrypted.payee("k-2") is None
    entry = await encrypted._journal.find("k-1")
    assert entry.request is None
    with pytest.raises(sg.JournalUnusable, match="the summary of the key 'k-2'"):
        encrypted._cipher.decrypt(entry.summary, "k-2", purpose="summary")
    with pytest.raises(sg.JournalUnusable, match="the request of the key 'k-1'"):
        encrypted._cipher.decrypt(entry.summary, "k-1")
    for file in tmp_path.iterdir():
        assert b"Jane" not in file.read_bytes()


async def test_without_a_seal_nobody_is_kept(payouts) -> None:
    """Without a cipher neither the payee nor the request is kept."""
    assert (await payouts.pay(order("k-1"))).is_paid
    assert await payouts.payee("k-1") is None


# --- The same payee and amount --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ({}, {"key": "k-2"}, True),
        ({}, {"participant_details": None}, True),
        ({}, {"metadata": {"invoice": 8}}, True),
        ({}, {"amount": 10_001}, False),
        ({}, {"amount_details": sg.AmountDetails(10_000, "eur")}, False),
        ({}, {"payment_method": sg.EncryptedCard(number_hash="other")}, False),
        (
            {"payment_method": sg.GlobalAccount(iban="GB33BUKB20201555555567")},
            {"payment_method": sg.GlobalAccount(iban="gb33 bukb 2020 1555 5555 67")},
            True,
        ),
        (
            {"payment_method": sg.GlobalAccount(account_number="12345678", sort_code="12-34-56")},
            {"payment_method": sg.GlobalAccount(account_number="12345678", sort_code="12-34-57")},
            False,
        ),
    ],
)
def test_a_digest_of_a_payment(one, other, is_same) -> None:
    """The digest depends only on payee, amount, currency and the journal's secret."""
    digests = [payment_digest(order(**changes), SECRET) for changes in (one, other)]
    assert (digests[0] == digests[1]) is is_same
    assert len(digests[0]) == 8
    assert payment_digest(order(**one), b"another secret..") != digests[0]


async def test_payouts_to_the_same_payees(encrypted) -> None:
    """Found before anything is paid, under other keys and in other batches."""
    cards = [sg.EncryptedCard(number_hash=f"hash-{n}") for n in range(4)]
    first = [order(f"nov-{n}", payment_method=card) for n, card in enumerate(cards[:3])]
    async for outcome in encrypted.pay_all(first, batch="nov"):
        assert outcome.is_paid
    again = [order(f"new-{n}", payment_method=card) for n, card in enumerate(cards)]
    found = await encrypted.same_payments(again)
    told = {key: [(one.batch, one.key, one.step) for one in same] for key, same in found.items()}
    assert told == {f"new-{n}": [("nov", f"nov-{n}", sg.journal.Step.SUCCEEDED)] for n in range(3)}
    assert await encrypted.same_payments(first) == {}, "an order is not its own twin"


# --- Lost commits --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
async def test_results_file_shows_missing_payouts(connect, provider, tmp_path, suffix):
    """A restored folder halts payouts; the message names the first missing payout."""
    results, folder = sg.payouts.ResultsFile(tmp_path / f"results.{suffix}"), tmp_path / "folder"
    folder.mkdir()
    for number, amount in enumerate([10_000, 10_000, 66601], 1):
        journal = sg.SQLiteJournal(folder / "payouts.db")
        async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
            with results:
                results.append(await payouts.pay(order(f"k-{number}", amount)))
            await payouts.expect_settled(sg.payouts.settled_keys(results.path))
            assert (await payouts.summary()).halt is None
        if number == 1:
            shutil.copytree(folder, tmp_path / "older")
    assert list(sg.payouts.settled_keys(results.path)) == ["k-1", "k-2"]

    older = sg.SQLiteJournal(tmp_path / "older" / "payouts.db")
    async with sg.Payouts(connect(provider, settings=QUICK), older) as payouts:
        assert (await payouts.pay(order("k-1"))).replayed
        assert (await payouts.summary()).halt is None
        words = r"1 of 2 payouts that are recorded as settled .*'k-2' the first"
        with pytest.raises(sg.errors.JournalForgot, match=words):
            await payouts.expect_settled(sg.payouts.settled_keys(results.path))
        with pytest.raises(sg.errors.JournalForgot, match=words):
            await payouts.pay(order("k-2"))
        with pytest.raises(sg.Misuse, match="compare the provider's reports"):
            await payouts.resume_journal()
        found = await payouts.reconcile([])
        assert found.is_clean
        assert found.unchecked == "it has no row about a payout of this journal"
        with pytest.raises(sg.Misuse, match="compare the provider's reports"):
            await payouts.resume_journal()
        known = await payouts.pay(order("k-1"))
        told = {"payout_key": "k-1", "payout_journal": older.journal_id}
        row = sg.payouts.ReportRow(
            line=2, payout_id=known.payout_id, session_id=known.session_id, metadata=told
        )
        found = await payouts.reconcile([row])
        assert "shows when a payout was completed" in found.unchecked
        row = evolve(row, finished_at=datetime.now(UTC))  # noqa: TID251 - as the journal's
        found = await payouts.reconcile([row])
        assert (found.agreed, found.unchecked) == (1, None)
        await payouts.resume_journal()
        assert (await payouts.summary()).halt is None


async def test_report_with_missing_payouts_is_no_check(payouts, journal) -> None:
    """A report with missing payouts is no check until they are adopted."""
    told = {"payout_key": "k-9", "payout_journal": journal.journal_id}
    row = sg.payouts.ReportRow(line=2, payout_id="po_9", session_id="ps_9", metadata=told)
    await payouts.reconcile([row])
    with pytest.raises(sg.Misuse, match="'k-9'"):
        await payouts.resume_journal()
    with pytest.raises(sg.errors.JournalForgot):
        await payouts.pay(order())
    await payouts.adopt([row])
    await payouts.resume_journal()
    assert (await payouts.pay(order())).is_paid


def _other_payee() -> sg.EncryptedCard:
    return sg.EncryptedCard(number_hash="of another payee")


@pytest.mark.parametrize("mode", [sg.Mode.MANUAL, sg.Mode.AUTOMATIC])
async def test_an_adopted_key_answers_its_own_order_alone(connect, provider, journal, mode) -> None:
    """The report has the digest of the order: another payee, sum or metadata is refused."""
    async with sg.Payouts(connect(provider, settings=QUICK), journal) as payouts:
        digest = fingerprint_of(order("k-9"), journal.secret).short
        told = {"payout_key": "k-9", "payout_journal": journal.journal_id, "payout_order": digest}
        row = sg.payouts.ReportRow(line=2, payout_id="po_9", session_id="ps_9", metadata=told)
        assert await payouts.adopt([row]) == 1
    async with sg.Payouts(connect(provider, settings=QUICK), journal, mode=mode) as payouts:
        same = await payouts.pay(order("k-9"))
        assert (same.is_paid, same.replayed, same.session_id) == (True, True, "ps_9")
        for changes in (
            {"payment_method": _other_payee()},
            {"amount": 123},
            {"metadata": {"invoice": 8}},
        ):
            with pytest.raises(sg.KeyReused, match="these fields differ: request") as reused:
                await payouts.pay(order("k-9", **changes))
            assert reused.value.is_compared
        await payouts.forget(datetime.now(UTC) + timedelta(days=1))  # noqa: TID251 - the journal's clock
        assert (await payouts.pay(order("k-9"))).replayed
        with pytest.raises(sg.KeyReused):
            await payouts.pay(order("k-9", amount=123))
    assert provider.report().moved == 0


@pytest.mark.parametrize("amount", [None, sg.AmountDetails(10_000, "usd")], ids=["bare", "sum"])
@pytest.mark.parametrize("digest", [{}, {"payout_order": 7}, {"payout_order": "not a digest"}])
async def test_an_adopted_key_whose_order_is_not_known(payouts, journal, amount, digest) -> None:
    """No order is known to be the one that was paid, so each is refused, and nothing is sent."""
    told = {"payout_key": "k-9", "payout_journal": journal.journal_id, **digest}
    row = sg.payouts.ReportRow(
        line=2, payout_id="po_9", session_id="ps_9", metadata=told, amount=amount
    )
    assert await payouts.adopt([row]) == 1
    for asked in (order("k-9"), order("k-9", payment_method=_other_payee())):
        with pytest.raises(sg.KeyReused, match="doesn't show for which order"):
            await payouts.pay(asked)
    if amount is not None:
        with pytest.raises(sg.KeyReused, match="these fields differ: amount_details"):
            await payouts.pay(order("k-9", amount=123))
    outcomes = [one async for one in payouts.pay_all([order("k-9"), order("k-8")])]
    assert [one.state.value for one in outcomes] == ["refused", "succeeded"]


@pytest.fixture
async def halted(payouts, journal):
    """Return payouts that were paid in a journal that may lack others."""
    paid = await payouts.pay(order())
    await journal.halt(sg.journal.Halt(kind=sg.journal.HaltKind.FORGOT, reason="seen"))
    told = {"payout_key": "k-1", "payout_journal": journal.journal_id}
    return sg.payouts.ReportRow(
        line=2, payout_id=paid.payout_id, session_id=paid.session_id, metadata=told
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": {}},
        {"metadata": {"payout_key": "k-1", "payout_journal": "another"}},
        {"metadata": {"payout_key": "k-1"}},
        {"metadata": {}, "session_id": ""},
    ],
)
async def test_a_report_about_others_is_no_check(payouts, halted, changes) -> None:
    """Nothing of this journal was compared."""
    found = await payouts.reconcile([evolve(halted, **{"session_id": "ps_x", **changes})])
    assert (found.own_rows, found.unchecked) == (0, "it has no row about a payout of this journal")
    with pytest.raises(sg.Misuse, match="compare the provider's reports"):
        await payouts.resume_journal()


@pytest.mark.parametrize(
    ("days", "is_check"), [(-3, False), (-1.5, False), (-0.5, True), (1, True)]
)
async def test_a_report_of_earlier_days_is_no_check(
    payouts, journal, halted, days, is_check
) -> None:
    """It can't show what was paid after the last payout that the journal has."""
    begun = datetime.fromtimestamp((await journal.find("k-1")).created_at, UTC)
    row = evolve(halted, finished_at=begun + timedelta(days=days))
    for adopts in (True, False):
        found = await payouts.reconcile([row], adopt=adopts)
        assert (found.agreed, found.unchecked is None) == (1, is_check)
    if is_check:
        await payouts.resume_journal()
    else:
        assert found.unchecked.startswith("its last payout of this journal was completed at 20")
        with pytest.raises(sg.Misuse, match="compare the provider's reports"):
            await payouts.resume_journal()


def _report(path, row, times, column="finishedAt"):
    """Write a report with the row once for each time."""
    names = ["operationId", "paymentSessionId", "paymentSessionMerchantMetadata", "typeOfPayment"]
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow([*names, column])
        for time in times:
            told = json.dumps(dict(row.metadata))
            lines.writerow([row.payout_id, row.session_id, told, "Advice", time])
    return sg.payouts.PayoutReport(path=path)


@pytest.mark.parametrize(
    ("times", "column"),
    [
        (["02.01.2020 03:04:05"], "finishedAt"),
        (["01/02/2020 3:04 AM"], "finishedAt"),
        (["", "43832.1278"], "finishedAt"),
        (["2020-01-02 03:04:05", "30.11.2026 03:04:05"], "finishedAt"),
        (["2020-01-02 03:04:05"], "completed"),
    ],
    ids=["german", "american", "spreadsheet", "an old one beside it", "another column"],
)
async def test_a_report_without_readable_times_is_no_check(  # noqa: PLR0913, PLR0917
    payouts, provider, halted, tmp_path, times, column
) -> None:
    """Nothing shows that it is a report of the last days."""
    found = await payouts.reconcile(_report(tmp_path / "old.csv", halted, times, column))
    assert found.own_rows == len(times)
    if "2020-01-02 03:04:05" in times and column == "finishedAt":
        assert found.unchecked.startswith("its last payout of this journal was completed at 2020")
    else:
        assert "(column finishedAt, such as 2025-01-02 03:04:05)" in found.unchecked
    with pytest.raises(sg.Misuse, match="compare the provider's reports"):
        await payouts.resume_journal()
    with pytest.raises(sg.errors.JournalForgot):
        await payouts.pay(order("k-2"))
    assert provider.report().moved == 1


async def test_one_readable_time_shows_that_a_report_is_new(payouts, halted, tmp_path) -> None:
    """Rows with other times beside it don't matter."""
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"  # noqa: TID251 - as the journal's
    report = _report(tmp_path / "new.csv", halted, ["02.01.2020 03:04:05", now, ""])
    assert (await payouts.reconcile(report)).unchecked is None
    await payouts.resume_journal()


async def test_an_old_report_when_all_is_forgotten(payouts, journal, halted) -> None:
    """Forgotten payouts were begun, too, so a report from before them shows nothing later."""
    later = datetime.now(UTC) + timedelta(days=1)  # noqa: TID251 - as the journal's
    assert await payouts.forget(later) == 1
    begun = datetime.fromtimestamp((await journal.find("k-1")).created_at, UTC)
    found = await payouts.reconcile([evolve(halted, finished_at=begun - timedelta(days=3))])
    assert found.unchecked.startswith("its last payout of this journal was completed at 20")
    with pytest.raises(sg.Misuse, match="compare the provider's reports"):
        await payouts.resume_journal()


async def test_what_was_adopted_makes_no_report_too_old(payouts, journal, halted) -> None:
    """It is written when it is adopted, and was paid before."""
    then = datetime.fromtimestamp((await journal.find("k-1")).created_at, UTC)
    told = {"payout_key": "k-9", "payout_journal": journal.journal_id}
    lost = sg.payouts.ReportRow(
        line=3, payout_id="po_9", session_id="ps_9", metadata=told, finished_at=then
    )
    rows = [evolve(halted, finished_at=then), lost]
    assert (await payouts.reconcile(rows)).unchecked == (
        "it shows payouts that the journal forgot, and that weren't adopted"
    )
    found = await payouts.reconcile(rows, adopt=True)
    assert (found.adopted, found.newest, found.unchecked) == (1, then, None)
    await payouts.resume_journal()


async def test_a_report_while_nothing_is_halted(payouts) -> None:
    """There is nothing to lift, and so nothing to say."""
    assert (await payouts.reconcile([])).unchecked is None


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2025-01-02 03:04:05", datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (" 2025\u201301\u201302 03:04:05 ", datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2025-01-02T03:04:05+00:00", datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("02.01.2025 03:04:05", None),
        ("", None),
    ],
)
def test_when_a_row_was_completed(tmp_path, text, time) -> None:
    """As the provider's page has it; anything else is no time, and no error."""
    path = tmp_path / "report.csv"
    columns = "operationId,paymentSessionId,paymentSessionMerchantMetadata,typeOfPayment,finishedAt"
    path.write_text(f"{columns}\npo_1,ps_1,{{}},Advice,{text}\n", encoding="utf-8")
    [read] = sg.payouts.PayoutReport(path=path)
    assert (read.finished_at, read.error) == (time, None)


async def test_a_halt_that_is_lifted_without_a_report(payouts, journal) -> None:
    """A halt can be ended without a report if the caller insists."""
    await journal.halt(sg.journal.Halt(kind=sg.journal.HaltKind.FORGOT, reason="seen"))
    with pytest.raises(sg.Misuse):
        await payouts.resume_journal()
    await payouts.resume_journal(unchecked=True)
    assert (await payouts.pay(order())).is_paid


# --- Forgetting ----------------------------------------------------------------------------------


async def test_what_was_settled_is_forgotten(encrypted, provider) -> None:
    """The key still belongs to its order; it can't be paid again or used for another order."""
    now = datetime.now(UTC)  # noqa: TID251 - as the journal's
    assert (await encrypted.pay(order("k-1"))).is_paid
    failed = await encrypted.pay(order("k-2", 66601))
    assert await encrypted.forget(now - timedelta(days=1)) == 0
    assert await encrypted.forget(now + timedelta(days=1)) == 2
    assert await encrypted.payee("k-1") is None
    again = await encrypted.pay(order("k-1"))
    assert (again.is_paid, again.replayed) == (True, True)
    assert again.session_id is not None
    assert (await encrypted.pay(order("k-2", 66601))).code == failed.code
    with pytest.raises(sg.KeyReused) as caught:
        await encrypted.pay(order("k-1", 10_001))
    assert caught.value.differing_fields == ("request",)
    assert provider.report().moved == 1
    with pytest.raises(sg.InvalidRequest, match="offset from UTC"):
        await encrypted.forget(datetime(2026, 1, 1))  # noqa: DTZ001 - that is what it refuses


async def test_what_is_forgotten_is_overwritten(tmp_path) -> None:
    """Nothing of it is left in the pages of the file."""
    journal = sg.SQLiteJournal(tmp_path / "payouts.db")
    await journal.open("demo|shop")
    for n in range(40):
        new = sg.journal.NewEntry(
            key=f"k{n}",
            mode="manual",
            fingerprint=fingerprint_of_amount(),
            summary=b"summary of Jane Roe",
        )
        entry = await journal.take(new, "me", 30.0, intends=sg.journal.Event.CREATE_INTENDED)
        reason = sg.journal.Changes(reason=f"no account of Jane Roe {n}")
        await journal.advance(entry, sg.journal.Event.NOT_PAID, reason)
    await journal.close()
    assert (tmp_path / "payouts.db").read_bytes().count(b"Jane Roe") >= 120
    await journal.open("demo|shop")
    assert await journal.forget(2_000_000_000.0) == 40
    await journal.close()
    assert {path.name for path in tmp_path.iterdir()} == {"payouts.db", "payouts.db.lock"}
    assert b"Jane Roe" not in (tmp_path / "payouts.db").read_bytes()


def test_the_command(till) -> None:
    """The command asks, deletes, and refuses a day in the future."""
    till.opens()
    till.has(rows(2))
    journal = ("--journal", "p.journal")
    till("pay", "p.csv", "--yes", *journal)
    assert "--yes" in till("journal", "forget", "--before", "2026-01-01", *journal, exits=2).stderr
    said = till.json("journal", "forget", "--before", "2026-01-01", *journal, "--yes")
    assert said == {"before": "2026-01-01", "forgotten": 0}
    words = till("journal", "forget", "--before", "2999-01-01", *journal, "--yes", exits=2).stderr
    assert "--before" in words
    assert "is in the future" in words


def test_lifting_at_the_command_line(till) -> None:
    """A halt of a journal that may lack payouts needs a report or a reason."""
    till.opens()
    till.has(rows(1))
    journal = ("--journal", "p.journal")
    till("pay", "p.csv", "--yes", *journal)
    (till.folder / "p.journal.lock").unlink()
    words = till("journal", "resume", *journal, "--yes", exits=2).stderr
    assert "compare the provider's reports of these days first" in words
    assert till.json("status", *journal, exits=7)["halt"]["kind"] == "forgot"
    reason = "the folder was moved, and nothing was paid since"
    said = till.json("journal", "resume", *journal, "--yes", "--unchecked", reason)
    assert (said["resumed"], said["unchecked"]) == (True, reason)
    assert till.json("status", *journal)["halt"] is None


# --- Results files of other releases -------------------------------------------------------------


OLDER = "key,state,amount,currency,session_id,payout_id"


@pytest.mark.parametrize(
    ("header", "line", "told"),
    [
        (OLDER, "k-1,succeeded,100.00,usd,ps_1,po_1", "k-1,succeeded,100.00,usd,ps_1,po_1"),
        (
            "key,payee,state,session_id,payout_id,replayed",
            "k-1,Jane,succeeded,ps_1,po_1,false",
            "k-1,,succeeded,ps_1,po_1,false",
        ),
        (f"{OLDER},code,reason,attempts,replayed,settled_at", None, None),
    ],
)
def test_results_of_another_release(tmp_path, header, line, told) -> None:
    """They are continued in their own columns; columns that aren't known stay empty."""
    path = tmp_path / "r.csv"
    path.write_text(f"{header}\n" + ("" if line is None else f"{line}\n"), encoding="utf-8")
    outcome = sg.PayoutOutcome(
        key="k-1",
        state=sg.PayoutState.SUCCEEDED,
        amount=10_000,
        currency="usd",
        session_id="ps_1",
        payout_id="po_1",
        attempts=3,
    )
    with sg.payouts.ResultsFile(path) as results:
        results.append(outcome)
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert path.read_text(encoding="utf-8").startswith(f"{header}\n")
    last = path.read_text(encoding="utf-8").splitlines()[-1]
    assert last == (told or "k-1,succeeded,100.00,usd,ps_1,po_1,,,3,false,")
    assert {None} not in [set(row) for row in rows]
    assert set(sg.payouts.settled_keys(path)) == {"k-1"}


def test_json_results_of_another_release(tmp_path) -> None:
    """The same for JSON Lines; a file without results is refused."""
    path = tmp_path / "r.jsonl"
    first = {"key": "k-0", "state": "cancelled", "session_id": None, "payout_id": None, "more": 1}
    path.write_text(f"{json.dumps(first)}\n", encoding="utf-8")
    with sg.payouts.ResultsFile(path) as results:
        results.append(sg.PayoutOutcome(key="k-1", state=sg.PayoutState.OPEN))
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    nothing = {"session_id": None, "payout_id": None, "more": None}
    assert lines == [first, {"key": "k-1", "state": "open", **nothing}]
    assert list(sg.payouts.settled_keys(path)) == ["k-0"]
    orders = tmp_path / "orders.csv"
    orders.write_text("key,state,amount\nk-1,berlin,5\n", encoding="utf-8")
    with pytest.raises(sg.InvalidRequest, match="something else than results"):
        sg.payouts.ResultsFile(orders).open()


# --- Sessions that are known ---------------------------------------------------------------------


async def test_restarted_emulator(key, journal):
    """A restarted emulator at the same address has another id, so its sessions are new."""
    ids, port = list[str | None](), 0
    for number, mark in enumerate(("a_", "b_"), 1):
        rules = emulator.Rules(id_mark=mark)
        async with (
            emulator.run(public_key=key.public, port=port, rules=rules) as provider,
            sg.SmartGlocal("demo", key, provider.url, settings=QUICK) as api,
            sg.Payouts(api, journal) as payouts,
        ):
            port = int(provider.url.rpartition(":")[2])
            outcome = await payouts.pay(order(f"k-{number}"))
        assert outcome.is_paid
        ids.append(outcome.session_id)
    assert ids == ["ps_a_1", "ps_b_1"]


async def test_a_session_that_is_known_is_no_new_one(provider, connect, journal):
    """A create that returns another payout's session counts as lost; the reason names both."""

    def change(call: str, _body: bytes, answered: bytes) -> bytes | None:
        return re.sub(rb"ps_\d+", b"ps_1", answered) if call == "session/create" else None

    async with (
        gateway(provider, change) as between,
        sg.Payouts(connect(between, settings=QUICK), journal) as payouts,
    ):
        assert (await payouts.pay(order())).is_paid
        outcome = await payouts.pay(order("k-2"), deadline=3.0)
    assert outcome.state is sg.PayoutState.OPEN
    words = "session/create lost: the session ps_1 was used before, by the key 'k-1'"
    assert outcome.reason == words
    assert provider.order("k-2").moved == 0
