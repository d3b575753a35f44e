"""``smartglocal payouts settle`` and ``reconcile``, and what a person decides."""

import asyncio
import json
import os
import signal
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from terminal import open_terminal
from till import DECLINED, STUCK, rows, session_calls

import smartglocal_async as sg
from smartglocal_async.emulator import Fault, FaultKind, FaultScript

pytestmark = pytest.mark.slow

IBAN: Final = "DE89370400440532013000"
REPORT = "operationId,paymentSessionId,paymentSessionMerchantMetadata,typeOfPayment\n"

AFTER_A_HALT: Final = (
    "check the cause, such as with: smartglocal payouts reconcile REPORT; then: "
    "smartglocal payouts journal resume"
)


def unknown(till, count: int = 1) -> list[str]:
    """Have payouts end unknown: the project asks for a confirm that isn't sent."""
    till.has(rows(count))
    words = ("pay", "p.csv", "--yes", "--confirm", "automatic", "--deadline", "5")
    said = till.json(*words, exits=7)
    assert "waits for a confirm" in said["halted"]
    assert said["unknown"] == count
    till("journal", "resume", "--yes")
    return [one["session_id"] for one in said["not_paid"]]


def confirm(till, session_id: str) -> None:
    """Confirm a payout without the journal."""

    async def call() -> None:
        async with sg.SmartGlocal(till.provider.project, till.key, till.provider.url) as api:
            await api.session.confirm(sg.SessionRef(session_id))

    asyncio.run(call())


# --- Resume ----------------------------------------------------------------------------------


def test_a_journal_belongs_to_its_server(till):
    """At another one nothing is sent."""
    till.opens()
    till.has(rows(1, k0=STUCK))
    till("pay", "p.csv", "--yes", "--deadline", "2", exits=3)
    journal = str(till.journal)
    other = till.opens()
    assert "belongs to" in till("settle", "p.csv", "--journal", journal, exits=2).stderr
    assert "there is no journal" in till("settle", "p.csv", exits=2).stderr
    assert session_calls(other) == 0


def test_open_ones_settle(till):
    """A lost answer is asked about; results are written on, and 0 says that all was paid."""
    lost = Fault(FaultKind.HANG, operation="session/confirm", nth=(1,))
    provider = till.opens(faults=FaultScript((lost,)))
    till.has(rows(3))
    till("pay", "p.csv", "--yes", "--deadline", "2", exits=3)
    result = till("settle", "p.csv")
    assert "results: p.csv.results.csv" in result.stdout
    assert (provider.report().moved, provider.report().moved_twice) == (3, 0)
    assert {row["state"] for row in till.results().values()} == {"succeeded"}
    assert "there are no open payouts to settle" in till("settle", "p.csv").stdout


def test_a_halt_is_named_first(till):
    """Whatever there is to go on with, nothing that may pay is sent."""
    till.opens()
    till.has(rows(2))
    till("pay", "p.csv", "--yes")
    till("journal", "quarantine", "--hours", "1")
    result = till("settle", exits=7)
    assert result.output.startswith("smartglocal: the journal is in quarantine: ")
    assert "nothing is open" not in result.output
    assert f"next: {AFTER_A_HALT}\n" in result.stdout
    assert result.output.count("in quarantine") == 1


def test_a_whole_journal_goes_on_without_files(till):
    """What needs no new start; the rest says that it needs its row, and which command to give."""
    lost = (
        Fault(FaultKind.HANG, operation="session/confirm", key="k0:1.1", nth=(1,)),
        Fault(FaultKind.HANG, operation="session/create", key="k1:1.1", nth=(1,)),
    )
    provider = till.opens(faults=FaultScript(lost))
    till.has(rows(2))
    till("pay", "p.csv", "--yes", "--deadline", "2", exits=3)
    said = till.json("settle", exits=3)
    assert (said["succeeded"], said["open"], said["results"]) == (1, 1, None)
    assert said["not_paid"][0]["reason"] == "it needs its request again"
    assert said["next"] == "smartglocal payouts settle FILE"
    till("settle", "p.csv")
    assert (provider.report().moved, provider.report().moved_twice) == (2, 0)


def test_a_sealed_journal_needs_no_file(till):
    """It kept the requests."""
    lost = Fault(FaultKind.HANG, operation="session/create", key="k0:1.1", nth=(1,))
    provider = till.opens(faults=FaultScript((lost,)))
    till.monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", sg.RequestCipher.new_key())
    till.has(rows(1))
    till("pay", "p.csv", "--yes", "--deadline", "2", exits=3)
    till("settle")
    assert provider.report().moved == 1
    till.monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", "nonsense")
    assert "SMARTGLOCAL_JOURNAL_KEY" in till("settle", exits=2).stderr


def test_what_was_looked_at_just_now_is_left_out(till):
    """With --due; without it, it is asked about."""
    provider = till.opens()
    till.has(rows(1, k0=STUCK))
    till("pay", "p.csv", "--yes", "--deadline", "2", exits=3)
    requests = session_calls(provider)
    till("settle", "p.csv", "--due")
    assert session_calls(provider) == requests
    till("settle", "p.csv", "--deadline", "2", exits=3)
    assert session_calls(provider) > requests


def test_a_changed_file_is_no_source(till):
    """It is refused as by pay, with the line."""
    till.opens()
    till.has(rows(2, k0=STUCK))
    till("pay", "p.csv", "--yes", "--deadline", "2", exits=3)
    till.has(rows(2, k0="1.00"))
    assert "line 2 (key 'k0') differs" in till("settle", "p.csv", exits=2).stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("settle",), "--journal: there is no journal "),
        (("settle", "p.csv"), "--journal: there is no journal "),
        (("settle", "--journal", "j", "--results", "r.csv"), "--results: goes with FILE"),
        (("settle", "p.csv", "--deadline", "0"), "--deadline: must be a number above zero"),
        (("status",), "there is no journal "),
        (("status", "p.csv"), "there is no journal "),
        (("report", "--journal", "mysql://x"), "--journal: expected a path, or an address"),
        (("report", "p.csv", "--output", "p.csv"), "--output: is the payouts file or the journal"),
        (("report", "--output", "p.csv"), "--output: exists, and isn't a report"),
        (
            ("report", "p.csv", "--format", "csv", "--output", "shop.pem"),
            "--output: exists, and isn't a report",
        ),
        (
            ("report", "p.csv", "--format", "csv", "--output", "/dev/null"),
            "--output: exists, and isn't a report",
        ),
        (("decide", "k0", "--reason", "x", "--yes"), "--paid: use --paid or --not-paid"),
        (("decide", "k0", "--paid", "--reason", "x", "--yes"), "there is no journal"),
        (("cancel", "k0"), "--reason"),
        (("journal", "resume"), "--yes: required without a terminal"),
        (("reconcile", "r.csv"), "there is no journal"),
        (("reconcile", "r.csv", "--since", "x"), "--since: expected a day such as"),
        (("reconcile", "r.csv", "--until", "2026-13-01"), "--until: expected a day such as"),
        (("journal", "forget", "--before", "x", "--yes"), "--before: expected a day such as"),
        (("reconcile", "r.csv", "--delimiter", ";;"), "--delimiter: expected one"),
        (("reconcile", "r.csv", "--amount-column", "a"), "--amount-column: goes with"),
        (("reconcile", "r.csv", "--currency-column", "c"), "--amount-column: goes with"),
        (
            ("reconcile", "r.csv", "--amount-column", "", "--currency-column", "c"),
            "--amount-column: goes with --currency-column: set both to ''",
        ),
    ],
)
def test_misuse(till, words, told):
    """The error names the option; nothing is made."""
    till.opens()
    till.has(rows(1))
    assert told in till(*words, exits=2).stderr
    assert not till.state.exists()


def test_an_empty_file_is_no_journal(till):
    """Only what pays begins one."""
    till.opens()
    journal = till.folder / "empty"
    journal.touch()
    told = till("batch", "pause", "night", "--journal", "empty", exits=2).stderr
    assert f"{journal}: nothing was ever written to it" in told
    assert not journal.read_bytes()


# --- Status and report -----------------------------------------------------------------------


def test_status_tells_what_needs_a_person(till):
    """Counts, sums and cases; of a file or of all. No credentials are needed."""
    till.opens()
    (session_id,) = unknown(till)
    till.has(rows(2, k0="7.00", k1=DECLINED).replace("k0", "m0"), "q.csv")
    till("pay", "q.csv", "--yes", exits=1)
    named = ("--journal", str(till.journal))
    till.monkeypatch.delenv("SMARTGLOCAL_PROJECT")
    assert "set SMARTGLOCAL_PROJECT" in till("status", "p.csv", exits=2).stderr
    said = till.json("status", "p.csv", *named, exits=3)
    assert (said["rows"], said["totals"]) == (1, {"usd": 10_000})
    assert (said["counts"], said["sums"]) == (
        {"succeeded": 0, "unknown": 1},
        {"usd": {"unknown": 10_000}},
    )
    case = said["cases"][0]
    assert (case["key"], case["session_id"], case["step"]) == ("k0", session_id, "UNKNOWN")
    assert (case["amount"], case["currency"]) == (10_000, "usd")
    assert "the journal has none" in said["payee_note"]
    assert "awaits the confirm" in case["reason"]
    shown = till("status", *named, exits=3).stdout
    for words in (
        "All payouts",
        "q.csv",
        "1 payout to review",
        session_id,
        "666.01 USD",
    ):
        assert words in shown
    assert till.json("status", "q.csv", *named, exits=1)["counts"] == {
        "succeeded": 1,
        "failed": 1,
    }
    missing = till("status", *named, "--batch", "none", exits=2).stderr
    assert "has no batch 'none'; it has 'p.csv', 'q.csv'; --batch NAME selects one" in missing


def test_the_payee_of_what_needs_a_person(till):
    """With the journal's key: the name masked, and the end of the number; else one line on why."""
    till.opens()
    key = sg.RequestCipher.new_key()
    till.monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", key)
    header = "key,amount,currency,iban,description,first_name,last_name,country\n"
    till.has(f"{header}k0,12.50,eur,{IBAN},Salary,Jane,Roe,DEU\n")
    words = ("pay", "p.csv", "--yes", "--confirm", "automatic", "--deadline", "5")
    till.json(*words, exits=7)
    said = till.json("status", exits=7)
    (case,) = said["cases"]
    assert (case["amount"], case["currency"]) == (1250, "eur")
    assert (case["payee"], case["account"], said["payee_note"]) == ("J*** R***", "...3000", None)
    shown = till("status", exits=7).stdout
    assert all(text in shown for text in ("12.50 EUR", "J*** R***", "...3000"))
    assert "Roe" not in shown
    assert IBAN not in shown

    till.monkeypatch.delenv("SMARTGLOCAL_JOURNAL_KEY")
    said = till.json("status", exits=7)
    (case,) = said["cases"]
    assert (case["amount"], case["payee"], case["account"]) == (1250, None, None)
    assert "1 payout, as SMARTGLOCAL_JOURNAL_KEY isn't set" in said["payee_note"]
    shown = till("status", exits=7).stdout
    assert "12.50 EUR" in shown
    assert "Payee" not in shown
    assert shown.count(said["payee_note"]) == 1


def test_a_renamed_file_with_a_format(till):
    """The content is another one without --map, so the error says how to name the batch."""
    till.opens()
    (till.folder / "p.csv").write_text(rows(2).replace("key,", "Beleg,", 1), encoding="utf-8")
    till("pay", "p.csv", "--map", "Beleg=key", "--yes")
    (till.folder / "p.csv").rename(till.folder / "paid.csv")
    told = till("status", "paid.csv", exits=2).stderr
    assert "it has 'p.csv'; --batch NAME selects one, also for a file that has another name" in told
    assert till.json("status", "paid.csv", "--batch", "p.csv")["counts"] == {"succeeded": 2}


def test_a_report_of_all_outcomes(till):
    """In the order of the journal, a line each, in either form; whole files only."""
    till.opens()
    till.has(rows(3, k1=DECLINED))
    till("pay", "p.csv", "--yes", "--concurrency", "1", exits=1)
    (till.folder / "p.csv.results.csv").unlink()
    lines = till("report", "p.csv").stdout.splitlines()
    assert lines[0].startswith("key,state,amount,currency,session_id")
    assert [line.split(",")[:3] for line in lines[1:]] == [
        ["k0", "succeeded", "100.00"],
        ["k1", "failed", "666.01"],
        ["k2", "succeeded", "102.00"],
    ]
    assert json.loads(till("report", "p.csv", "--json").stdout.splitlines()[1])["amount"] == 66_601
    for _ in range(2):
        told = till("report", "p.csv", "--output", "o.jsonl").stderr
    assert "3 payouts in o.jsonl" in told
    assert len((till.folder / "o.jsonl").read_text(encoding="utf-8").splitlines()) == 3
    assert (till.folder / "o.jsonl").stat().st_mode & 0o777 == 0o600
    assert {path.name for path in till.folder.iterdir()} == {"p.csv", "shop.pem", "o.jsonl"}


# --- Reconcile -------------------------------------------------------------------------------


def test_a_report_of_the_provider_settles(till):
    """What was unknown, and is paid there, is paid; the second time it agrees."""
    provider = till.opens()
    (session_id,) = unknown(till)
    confirm(till, session_id)
    assert provider.report().moved == 1
    till.has(f"{REPORT}po_1,{session_id},{{}},Advice\npo_9,ps_99,,Advice\n", "r.csv")
    result = till("reconcile", "r.csv")
    assert "settled now 1 not in this journal 1" in " ".join(result.stdout.split())
    assert "no differences" in result.stdout
    assert till.json("reconcile", "r.csv")["agreed"] == 1
    words = "line 1: has no column 'paymentSessionId'; is it the daily payouts report"
    assert words in till("reconcile", "p.csv", exits=2).stderr
    till("status", "p.csv")


def test_the_totals_at_the_end_of_a_report(till):
    """They are passed over, with a word; 0, since no payout is concerned."""
    till.opens()
    till.has(rows(1))
    till("pay", "p.csv", "--yes")
    session_id = till.results()["k0"]["session_id"]
    till.has(f"{REPORT}po_1,{session_id},,Advice\n" + "Total,,,\n" * 7, "r.csv")
    shown = till("reconcile", "r.csv").stdout
    assert "skipped, and not in this journal: r.csv, line 3: paymentSessionId is" in shown
    assert "and 2 more" in shown
    said = till.json("reconcile", "r.csv")
    assert (said["agreed"], said["others"], said["unreadable_count"]) == (1, 7, 7)
    assert said["unreadable"][6] == "r.csv, line 9: paymentSessionId is empty"


def test_amounts_that_are_not_to_be_compared(till):
    """They may be in the recipient's currency: read as ours, each would halt payouts."""
    till.opens()
    till.has(rows(1))
    till("pay", "p.csv", "--yes")
    session_id = till.results()["k0"]["session_id"]
    head = REPORT.replace("\n", ",paymentLocalAmount,Currency amount\n")
    till.has(f"{head}po_1,{session_id},,Advice,9150.00,rub\n", "r.csv")
    said = till.json("reconcile", "r.csv", "--amount-column", "")
    assert (said["agreed"], said["is_clean"], said["without_amount"]) == (1, True, 1)
    assert "amount not compared" in till("reconcile", "r.csv", "--amount-column", "").stdout
    assert till.json("status")["halt"] is None
    for words in (("--currency-column", ""), ("--amount-column", "", "--currency-column", "")):
        assert till.json("reconcile", "r.csv", *words)["agreed"] == 1
    assert till.json("reconcile", "r.csv", exits=7)["counts"] == {"another amount": 1}


def test_what_differs_is_listed(till):
    """Paid twice, another amount, and what the report lacks; each with key and session."""
    till.opens()
    till.has(rows(3))
    till("pay", "p.csv", "--yes", "--concurrency", "1")
    sessions = {key: row["session_id"] for key, row in till.results().items()}
    text = REPORT.replace("\n", ",sum,money\n") + (
        f"po_1,{sessions['k0']},,Advice,100.00,usd\npo_7,{sessions['k0']},,Advice,100.00,usd\n"
        f"po_2,{sessions['k1']},,Advice,7.00,usd\n"
    )
    till.has(text, "r.csv")
    now = datetime.now(UTC)  # noqa: TID251 - the clock that the payouts were written by
    since, until = (now - timedelta(hours=1)).isoformat(), (now + timedelta(hours=1)).isoformat()
    words = ("reconcile", "r.csv", "--since", since, "--until", until)
    words += ("--amount-column", "sum", "--currency-column", "money")
    said = till.json(*words, exits=7)
    assert said["counts"] == {
        "paid twice": 1,
        "another amount": 1,
        "recorded as paid, and not in the report": 1,
    }
    assert [(one["key"], one["line"]) for one in said["findings"]] == [
        ("k0", 3),
        ("k1", 4),
        ("k2", None),
    ]
    differs, missing = said["findings"][1:]
    assert (differs["reported"], differs["recorded"]) == (
        {"amount": 700, "currency": "usd"},
        {"amount": 10_100, "currency": "usd"},
    )
    assert (missing["reported"], missing["recorded"]["amount"]) == (None, 10_200)
    shown = till(*words, exits=7).stdout
    assert "3 differences to review" in shown
    assert "another amount" in shown
    assert all(amount in shown for amount in ("7.00 USD", "101.00 USD", "102.00 USD"))
    assert "payouts are halted: find out what was paid" in shown
    assert sessions["k2"] in shown


PRINTED = REPORT.replace("\n", ",grossLocalAmount,paymentLocalAmount,Currency amount\n")


@pytest.mark.parametrize("word", ["Refund", "refund", "Correction"])
def test_a_report_as_the_provider_prints_it(till, word):
    """Nothing but `Advice` settles an open payout, is adopted, or agrees with what was paid."""
    provider = till.opens()
    (session_id,) = unknown(till)
    till.has(rows(2).replace("\nk", "\nm").replace("hash", "other-hash"), "q.csv")
    till("pay", "q.csv", "--yes", "--confirm", "manual")
    paid = till.results("q.csv.results.csv")
    ids = [f"{paid[key]['payout_id']},{paid[key]['session_id']}" for key in ("m0", "m1")]
    till.has(
        f"{PRINTED}po_1,{session_id},{{}},{word},106,-100,USD\n"
        f"{ids[0]},{{}},{word},106,100,USD\n{ids[1]},{{}},Advice,107,101,USD\n",
        "r.csv",
    )
    kind = "of an unknown kind" if word == "Correction" else "returned by the bank"
    for _ in range(2):
        said = till.json("reconcile", "r.csv", exits=1)
        assert (said["settled"], said["agreed"], said["counts"]) == (0, 1, {kind: 2})
        assert [one["key"] for one in said["findings"]] == ["k0", "m0"]
    said = till.json("reconcile", "r.csv", "--adopt", exits=1)
    assert (said["adopted"], said["counts"]) == (0, {kind: 2})
    assert till.json("status", exits=3)["counts"] == {"unknown": 1, "succeeded": 2}
    assert provider.report().moved == 2


@pytest.mark.parametrize(
    ("session", "cells", "kind"),
    [
        ("ps_2", "700,666.01,USD", "reported as paid, and recorded as not paid"),
        ("ps_1", "106,106,USD", "another amount"),
        ("ps_1", "106,100,EUR", "another amount"),
        ("ps_77", "106,101,USD", "the journal forgot it"),
    ],
)
def test_what_was_paid_otherwise_is_not_adopted(till, session, cells, kind):
    """It halts payouts, and says so, as it does where nothing is to be adopted."""
    till.opens()
    till.has(rows(2, k1=DECLINED))
    till("pay", "p.csv", "--yes", "--concurrency", "1", exits=1)
    own = _metadata(till, "ps_2" if session == "ps_2" else "ps_1")
    marks = json.loads(own) | {"payout_key": "k1" if session != "ps_1" else "k0"}
    told = json.dumps(marks).replace('"', '""')
    payout = session.replace("ps", "po")
    till.has(f'{PRINTED}{payout},{session},"{told}",Advice,{cells}\n', "r.csv")
    said = till.json("reconcile", "r.csv", "--adopt", exits=7)
    assert (said["adopted"], said["counts"]) == (0, {kind: 1})
    shown = till("reconcile", "r.csv", "--adopt", exits=7).stdout
    assert "0 payouts recorded as paid" in shown
    assert "payouts are halted: " in shown
    till.has(rows(1).replace("k0", "m0").replace("hash", "other-hash"), "q.csv")
    assert "halted" in till.json("pay", "q.csv", "--yes", exits=7)


@pytest.mark.parametrize(
    ("cells", "counts", "exits"),
    [
        ("106,100,USD", {}, 0),
        ("106,106,USD", {"another amount": 1}, 7),
        ("106,100,EUR", {"another amount": 1}, 7),
        ("106,,", {}, 0),
    ],
)
def test_the_sums_of_a_report_as_it_is_printed(till, cells, counts, exits):
    """The payout without its fee is what was ordered."""
    till.opens()
    till.has(rows(1))
    till("pay", "p.csv", "--yes")
    session_id = till.results()["k0"]["session_id"]
    till.has(f"{PRINTED}po_1,{session_id},,Advice,{cells}\n", "r.csv")
    assert till.json("reconcile", "r.csv", exits=exits)["counts"] == counts


@pytest.mark.parametrize("adopt", [[], ["--adopt"]])
@pytest.mark.parametrize("line", ["", "po_9,ps_9,{},Advice\n"])
def test_a_report_that_compares_nothing(till, adopt, line):
    """Payouts stay halted, as the exit code shows, and the output doesn't propose to lift that."""
    till.opens()
    till.has(rows(1))
    till("pay", "p.csv", "--yes")
    told = json.dumps(json.loads(_metadata(till)) | {"payout_key": "lost"}).replace('"', '""')
    till.has(f'{REPORT}po_5,ps_50,"{told}",Advice\n', "r.csv")
    till("reconcile", "r.csv", exits=7)
    till.has(REPORT + line, "r.csv")
    why = "it has no row about a payout of this journal"
    assert till.json("reconcile", "r.csv", *adopt, exits=7)["unchecked"] == why
    shown = till("reconcile", "r.csv", *adopt, exits=7).stdout
    assert f"payouts stay halted, and this report doesn't count as compared: {why}" in shown
    assert "journal resume" not in shown
    till("journal", "resume", "--yes", exits=2)


def test_a_journal_that_forgot_halts_until_it_is_adopted_and_lifted(till):
    """7, until the report's payouts are written down and a person ends the halt."""
    provider = till.opens()
    till.has(rows(1))
    till("pay", "p.csv", "--yes")
    journal_id = json.loads(_metadata(till))["payout_journal"]
    told = json.dumps({"payout_key": "lost", "payout_journal": journal_id}).replace('"', '""')
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"  # noqa: TID251 - as the journal's
    header = REPORT.replace("\n", ",finishedAt\n")
    till.has(f'{header}po_5,ps_50,"{told}",Advice,{now}\n', "r.csv")
    result = till("reconcile", "r.csv", exits=7)
    assert "payouts are halted: restore the newest copy of the journal" in result.stdout
    till.has(rows(2), "q.csv")
    said = till.json("pay", "q.csv", "--yes", exits=7)
    assert "'lost' in ps_50" in said["halted"]
    assert said["next"] == AFTER_A_HALT
    assert till.json("status", exits=7)["halt"]["kind"] == "forgot"
    assert "halted (forgot): " in till("status", exits=7).stdout
    assert "1 payout recorded as paid" in till("reconcile", "r.csv", "--adopt").stdout
    said = till.json("reconcile", "r.csv", "--adopt")
    assert (said["adopted"], said["agreed"], said["is_clean"]) == (0, 1, True)
    assert "resumed; payouts were halted: " in till("journal", "resume", "--yes").stderr
    assert till.json("journal", "resume", "--yes") == {"resumed": False, "reason": None}
    till("pay", "q.csv", "--yes")
    assert provider.report().moved == 2


def _metadata(till, session: str = "ps_1") -> str:
    """Return the metadata of a session, as the provider has it."""

    async def call() -> str:
        async with sg.SmartGlocal(till.provider.project, till.key, till.provider.url) as api:
            return json.dumps((await api.session.status(sg.SessionRef(session))).metadata)

    return asyncio.run(call())


# --- A person's word -------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "state"), [("--paid", "succeeded"), ("--not-paid", "failed")])
def test_a_person_decides(till, word, state):
    """What was unknown stays as decided, and the reason with it."""
    till.opens()
    _ = unknown(till)
    said = till("decide", "k0", word, "--reason", "seen in the Dashboard", "--yes").stdout
    assert said == f"k0: {state}, recorded with the reason\n"
    again = till("decide", "k0", "--paid", "--reason", "x", "--yes", exits=2)
    assert f"is already {state.upper()} and can't change" in again.stderr
    assert "seen in the Dashboard" in till("report", "p.csv").stdout
    words = ("decide", "k9", "--paid", "--reason", "x", "--yes")
    assert "no payout with the key 'k9'" in till.json(*words, exits=2)["error"]["message"]
    assert "--reason: " in till("decide", "k0", "--paid", "--reason", " ", "--yes", exits=2).stderr


def test_what_was_only_written_down_can_be_withdrawn(till):
    """Of a batch that stopped early; what is out can't be."""
    provider = till.opens()
    till.has(rows(3, k0=DECLINED))
    words = ("pay", "p.csv", "--yes", "--rate", "0.001", "--concurrency", "2")
    said = till.json(*words, "--stop-on-failure", exits=6)
    assert (said["failed"], said["open"], said["not_begun"]) == (1, 0, 2)
    assert till.json("cancel", "k1", "--reason", "left us")["state"] == "cancelled"
    assert "is already CANCELLED" in till("cancel", "k1", "--reason", "x", exits=2).stderr
    said = till.json("pay", "p.csv", "--yes", exits=1)
    assert (said["succeeded"], said["failed"], said["cancelled"]) == (1, 1, 1)
    assert provider.report().moved == 1


def test_what_may_be_out_is_not_withdrawn(till):
    """It says why, and what to do."""
    till.opens()
    _ = unknown(till)
    result = till("cancel", "k0", "--reason", "left us", exits=2)
    assert "a call may be in flight for it" in result.stderr


def test_a_journal_that_was_restored(till):
    """Nothing is paid from it for some hours, unless a person ends that on a terminal."""
    provider = till.opens()
    till.has(rows(1))
    till("pay", "p.csv", "--yes")
    assert "nothing is paid for 4.5 hours" in till("journal", "quarantine").stderr
    assert till.json("journal", "quarantine", "--hours", "2") == {"hours": 2.0}
    till.has(rows(1, k0="7.00").replace("k0", "m0"), "q.csv")
    till("pay", "q.csv", "--yes", exits=7)
    for answer, code in ((b"n\n", 1), (b"y\n", 0)):
        ours, theirs = open_terminal()
        child = till.child("journal", "resume", stdin=theirs)
        os.write(ours, answer)
        _, told = child.communicate(timeout=60)
        os.close(ours)
        os.close(theirs)
        assert (child.returncode, "Was it checked? [y/N]" in told) == (code, True)
    till("pay", "q.csv", "--yes")
    assert provider.report().moved == 2


def test_decide_shows_the_payout_and_asks(till) -> None:
    """The question has all that is written of it; without a terminal, --yes is required."""
    till.opens()
    unknown(till)
    words = ("decide", "k0", "--not-paid", "--reason", "not in the Dashboard")
    assert "--yes: required without a terminal" in till(*words, exits=2).stderr
    for answer, code in ((b"n\n", 1), (b"y\n", 0)):
        ours, theirs = open_terminal()
        child = till.child(*words, stdin=theirs)
        os.write(ours, answer)
        _, told = child.communicate(timeout=60)
        os.close(ours)
        os.close(theirs)
        assert child.returncode == code, told
        assert "k0: 100.00 USD, the batch 'p.csv', the session ps_1, unknown (UNKNOWN)" in told
        assert "Record for good that it was not paid, so that it may be paid again" in told
        state = "unknown" if code else "failed"
        assert f"\nk0,{state}," in till("report", "p.csv").stdout


def test_interrupt_at_the_question(till) -> None:
    """130, as for an interrupt at any other time; nothing was sent."""
    provider = till.opens()
    till.has(rows(1))
    ours, theirs = open_terminal()
    child = till.child("pay", "p.csv", stdin=theirs)
    told = ""
    while "[y/N]" not in told:
        told += child.stderr.read(1)
    child.send_signal(signal.SIGINT)
    _, rest = child.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert (child.returncode, "interrupted" in rest) == (130, True)
    assert session_calls(provider) == 0


def test_a_batch_that_is_over(till) -> None:
    """It is shown as finished; one with rows that weren't started runs."""
    till.opens()
    till.has(rows(2))
    till("pay", "p.csv", "--yes", "--spend-limit", "100usd", "--concurrency", "1", exits=6)
    assert "running" in till("status").stdout
    till("pay", "p.csv", "--yes")
    shown = till("status").stdout
    assert "finished" in shown
    assert "running" not in shown


def test_open_payouts_are_named(till) -> None:
    """Each with its step and what is written of its last calls; not more than fit on a screen."""
    till.opens()
    till.has(rows(2, k1="666.10"))
    till("pay", "p.csv", "--yes", "--deadline", "1", exits=3)
    (one,) = till.json("status", exits=3)["open_payouts"]
    assert (one["key"], one["session_id"], one["step"]) == ("k1", "ps_2", "CONFIRMED")
    assert one["reason"] == "not settled yet"
    assert "Open payouts" in till("status", exits=3).stdout
    till.has(rows(30).replace("\nk", "\nq"), "q.csv")
    till("pay", "q.csv", "--yes", "--spend-limit", "100usd", "--rate", "500", exits=6)
    assert len(till.json("status", exits=3)["open_payouts"]) <= 20
