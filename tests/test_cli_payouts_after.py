"""``smartglocal payouts resume`` and ``reconcile``, and what a person decides."""

import asyncio
import json
import os
import pty
from datetime import UTC, datetime, timedelta

import pytest
from till import DECLINED, STUCK, rows

import smartglocal_async as sg
from smartglocal_async.emulator import Fault, FaultKind, FaultScript

pytestmark = pytest.mark.thorough

JOURNAL = ("--journal", "p.csv.journal")
REPORT = "operationId,paymentSessionId,paymentSessionMerchantMetadata\n"


def unknown(till, count: int = 1) -> list[str]:
    """Have payouts end unknown: the project asks for a confirm that nobody was to give."""
    till.has(rows(count))
    words = ("pay", "p.csv", "--yes", "--confirm", "automatic", "--deadline", "5")
    said = till.json(*words, exits=3)
    assert said["unknown"] == count
    return [one["session_id"] for one in said["not_paid"]]


def confirm(till, session_id: str) -> None:
    """Have somebody confirm a payout beside the journal."""

    async def call() -> None:
        async with sg.SmartGlocal(till.provider.project, till.key, till.provider.url) as api:
            await api.session.confirm(sg.SessionRef(session_id))

    asyncio.run(call())


# --- Resume ----------------------------------------------------------------------------------


def test_a_journal_belongs_to_its_server(till):
    """At another one nothing is sent."""
    till.opens()
    till.has(rows(1, k0=STUCK))
    till("pay", "p.csv", "--yes", "--deadline", "0.3", exits=3)
    other = till.opens()
    assert "belongs to" in till("resume", "p.csv", exits=2).stderr
    assert other.report().requests == 0


def test_open_ones_settle(till):
    """A lost answer is asked about; results are written on, and 0 says that all was paid."""
    lost = Fault(FaultKind.HANG, operation="session/confirm", nth=(1,))
    provider = till.opens(faults=FaultScript((lost,)))
    till.has(rows(3))
    till("pay", "p.csv", "--yes", "--deadline", "0.5", exits=3)
    result = till("resume", "p.csv")
    assert "results: p.csv.results.csv" in result.stdout
    assert (provider.report().moved, provider.report().moved_twice) == (3, 0)
    assert {row["state"] for row in till.results().values()} == {"succeeded"}
    assert "nothing is open that can be gone on with" in till("resume", "p.csv").stdout


def test_a_whole_journal_goes_on_without_files(till):
    """What needs no new start; the rest says that it needs its row, and which command to give."""
    lost = (
        Fault(FaultKind.HANG, operation="session/confirm", key="k0:1.1", nth=(1,)),
        Fault(FaultKind.HANG, operation="session/create", key="k1:1.1", nth=(1,)),
    )
    provider = till.opens(faults=FaultScript(lost))
    till.has(rows(2))
    till("pay", "p.csv", "--yes", "--deadline", "0.5", exits=3)
    said = till.json("resume", *JOURNAL, exits=3)
    assert (said["succeeded"], said["open"], said["results"]) == (1, 1, None)
    assert said["not_paid"][0]["reason"] == "it needs its request again"
    assert said["next"] == "smartglocal payouts resume FILE --journal p.csv.journal"
    till("resume", "p.csv")
    assert (provider.report().moved, provider.report().moved_twice) == (2, 0)


def test_a_sealed_journal_needs_no_file(till):
    """It kept the requests."""
    lost = Fault(FaultKind.HANG, operation="session/create", key="k0:1.1", nth=(1,))
    provider = till.opens(faults=FaultScript((lost,)))
    till.monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", sg.Seal.new_key())
    till.has(rows(1))
    till("pay", "p.csv", "--yes", "--deadline", "0.5", exits=3)
    till("resume", *JOURNAL)
    assert provider.report().moved == 1
    till.monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", "nonsense")
    assert "SMARTGLOCAL_JOURNAL_KEY" in till("resume", *JOURNAL, exits=2).stderr


def test_what_was_looked_at_just_now_is_left_out(till):
    """With --due; without it, it is asked about."""
    provider = till.opens()
    till.has(rows(1, k0=STUCK))
    till("pay", "p.csv", "--yes", "--deadline", "0.3", exits=3)
    requests = provider.report().requests
    till("resume", "p.csv", "--due")
    assert provider.report().requests == requests
    till("resume", "p.csv", "--deadline", "0.3", exits=3)
    assert provider.report().requests > requests


def test_a_changed_file_is_no_source(till):
    """It is refused as by pay, with the line."""
    till.opens()
    till.has(rows(2, k0=STUCK))
    till("pay", "p.csv", "--yes", "--deadline", "0.3", exits=3)
    till.has(rows(2, k0="1.00"))
    assert "line 2 (key 'k0') differs" in till("resume", "p.csv", exits=2).stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("resume",), "--journal: say where the journal is, or give the FILE"),
        (("resume", "p.csv"), "--journal: there is no journal p.csv.journal"),
        (("resume", "--journal", "j", "--results", "r.csv"), "--results: goes with FILE"),
        (("resume", "p.csv", "--deadline", "0"), "--deadline: must be a number above zero"),
        (("status",), "--journal: say where the journal is, or give the FILE"),
        (("status", "p.csv"), "there is no journal "),
        (("report", "--journal", "mysql://x"), "--journal: expected a path, or an address"),
        (("report", "p.csv", "--output", "p.csv"), "--output: is the file, or the journal, itself"),
        (("report", *JOURNAL, "--output", "p.csv"), "--output: holds something else than a report"),
        (("report", "p.csv", "--output", "shop.pem"), "--output: holds something else"),
        (("report", "p.csv", "--output", "/dev/null"), "--output: holds something else"),
        (("decide", "k0", "--reason", "x", *JOURNAL), "--paid: say --paid or --not-paid"),
        (("decide", "k0", "--paid", "--reason", "x", *JOURNAL), "there is no journal"),
        (("withdraw", "k0", *JOURNAL), "--reason"),
        (("lift", *JOURNAL), "--yes: nobody can be asked"),
        (("reconcile", "r.csv", *JOURNAL), "there is no journal"),
        (("reconcile", "r.csv", *JOURNAL, "--since", "x"), "--since: expected a time such as"),
        (("reconcile", "r.csv", *JOURNAL, "--until", "2026-01-01"), "has no offset from UTC"),
        (("reconcile", "r.csv", *JOURNAL, "--delimiter", ";;"), "--delimiter: expected one"),
        (("reconcile", "r.csv", *JOURNAL, "--amount-column", "a"), "--amount-column: goes with"),
    ],
)
def test_misuse(till, words, told):
    """Told by the option; nothing is made."""
    till.opens()
    till.has(rows(1))
    assert told in till(*words, exits=2).stderr
    assert not (till.folder / "p.csv.journal").exists()


def test_an_empty_file_is_no_journal(till):
    """Only what pays begins one."""
    till.opens()
    journal = till.folder / "empty"
    journal.touch()
    told = till("pause", "night", "--journal", "empty", exits=2).stderr
    assert f"{journal}: nothing was ever written to it" in told
    assert not journal.read_bytes()


# --- Status and report -----------------------------------------------------------------------


def test_status_tells_what_needs_a_person(till):
    """Counts, sums and cases; of a file or of all. No credentials are needed."""
    till.opens()
    (session_id,) = unknown(till)
    till.has(rows(2, k1=DECLINED).replace("k0", "m0"), "q.csv")
    till("pay", "q.csv", "--yes", *JOURNAL, exits=1)
    till.monkeypatch.delenv("SMARTGLOCAL_PROJECT")
    said = till.json("status", "p.csv", exits=3)
    assert (said["rows"], said["totals"]) == (1, {"usd": 10_000})
    assert (said["counts"], said["sums"]) == (
        {"succeeded": 0, "unknown": 1},
        {"usd": {"unknown": 10_000}},
    )
    case = said["cases"][0]
    assert (case["key"], case["session_id"], case["step"]) == ("k0", session_id, "UNKNOWN")
    assert "awaits the confirm" in case["reason"]
    shown = till("status", *JOURNAL, exits=3).stdout
    for words in ("All payouts", "1 payout for a person to look at", session_id, "666.01 USD"):
        assert words in shown
    assert till.json("status", "q.csv", *JOURNAL, exits=1)["counts"] == {
        "succeeded": 1,
        "failed": 1,
    }
    assert "has no batch 'none'" in till("status", *JOURNAL, "--batch", "none", exits=2).stderr


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
    names = {"p.csv", "shop.pem", "o.jsonl", "p.csv.journal", "p.csv.journal.lock"}
    assert {path.name for path in till.folder.iterdir()} - names <= {
        "p.csv.journal-wal",
        "p.csv.journal-shm",
    }


# --- Reconcile -------------------------------------------------------------------------------


def test_a_report_of_the_provider_settles(till):
    """What was unknown, and is paid there, is paid; the second time it agrees."""
    provider = till.opens()
    (session_id,) = unknown(till)
    confirm(till, session_id)
    assert provider.report().moved == 1
    till.has(f"{REPORT}po_1,{session_id},{{}}\npo_9,ps_99,\n", "r.csv")
    result = till("reconcile", "r.csv", *JOURNAL)
    assert "settled now 1 of others 1" in " ".join(result.stdout.split())
    assert "nothing to look at" in result.stdout
    assert till.json("reconcile", "r.csv", *JOURNAL)["agreed"] == 1
    words = "line 1: has no column 'paymentSessionId': is it the provider's daily payouts report?"
    assert words in till("reconcile", "p.csv", *JOURNAL, exits=2).stderr
    till("status", "p.csv")


def test_what_differs_is_listed(till):
    """Paid twice, another amount, and what the report lacks; each with key and session."""
    till.opens()
    till.has(rows(3))
    till("pay", "p.csv", "--yes", "--concurrency", "1")
    sessions = {key: row["session_id"] for key, row in till.results().items()}
    text = REPORT.replace("\n", ",sum,money\n") + (
        f"po_1,{sessions['k0']},,100.00,usd\npo_7,{sessions['k0']},,100.00,usd\n"
        f"po_2,{sessions['k1']},,7.00,usd\n"
    )
    till.has(text, "r.csv")
    now = datetime.now(UTC)  # noqa: TID251 - the clock that the payouts were written by
    since, until = (now - timedelta(hours=1)).isoformat(), (now + timedelta(hours=1)).isoformat()
    words = ("reconcile", "r.csv", *JOURNAL, "--since", since, "--until", until)
    words += ("--amount-column", "sum", "--currency-column", "money")
    said = till.json(*words, exits=1)
    assert said["counts"] == {
        "paid twice": 1,
        "another amount": 1,
        "written as paid, and not in the report": 1,
    }
    assert [(one["key"], one["line"]) for one in said["findings"]] == [
        ("k0", 3),
        ("k1", 4),
        ("k2", None),
    ]
    shown = till(*words, exits=1).stdout
    assert "3 findings for a person to look at" in shown
    assert sessions["k2"] in shown


def test_a_journal_that_forgot_halts_until_it_is_adopted_and_lifted(till):
    """7, until the report's payouts are written down and a person lifts the halt."""
    provider = till.opens()
    till.has(rows(1))
    till("pay", "p.csv", "--yes")
    journal_id = json.loads(_metadata(till))["payout_journal"]
    told = json.dumps({"payout_key": "lost", "payout_journal": journal_id}).replace('"', '""')
    till.has(f'{REPORT}po_5,ps_50,"{told}"\n', "r.csv")
    result = till("reconcile", "r.csv", *JOURNAL, exits=7)
    assert "payouts are halted: take the newest copy of the journal" in result.stdout
    till.has(rows(2), "q.csv")
    said = till.json("pay", "q.csv", "--yes", *JOURNAL, exits=7)
    assert "'lost' in ps_50" in said["halted"]
    assert said["next"] == "look into it, then: smartglocal payouts lift --journal p.csv.journal"
    assert till.json("status", *JOURNAL, exits=7)["halt"]["kind"] == "forgot"
    assert "halted (forgot): " in till("status", *JOURNAL, exits=7).stdout
    assert "1 payout written as paid" in till("reconcile", "r.csv", *JOURNAL, "--adopt").stdout
    assert till.json("reconcile", "r.csv", *JOURNAL, "--adopt") == {"adopted": 0}
    assert "lifted; it was halted: " in till("lift", *JOURNAL, "--yes").stderr
    assert till.json("lift", *JOURNAL, "--yes") == {"lifted": False, "reason": None}
    till("pay", "q.csv", "--yes", *JOURNAL)
    assert provider.report().moved == 2


def _metadata(till) -> str:
    """Give the metadata of the session that was paid, as the provider has it."""

    async def call() -> str:
        async with sg.SmartGlocal(till.provider.project, till.key, till.provider.url) as api:
            return json.dumps((await api.session.status(sg.SessionRef("ps_1"))).metadata)

    return asyncio.run(call())


# --- A person's word -------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "state"), [("--paid", "succeeded"), ("--not-paid", "failed")])
def test_a_person_decides(till, word, state):
    """What was unknown stays as decided, and the reason with it."""
    till.opens()
    _ = unknown(till)
    said = till("decide", "k0", word, "--reason", "seen in the Dashboard", *JOURNAL).stdout
    assert said == f"k0: {state}, written with the reason\n"
    again = till("decide", "k0", "--paid", "--reason", "x", *JOURNAL, exits=2)
    assert f"is {state.upper()} already, and stays it" in again.stderr
    assert "seen in the Dashboard" in till("report", "p.csv").stdout
    words = ("decide", "k9", "--paid", "--reason", "x", *JOURNAL)
    assert "no payout with the key 'k9'" in till.json(*words, exits=2)["error"]["message"]
    assert "--reason: " in till("decide", "k0", "--paid", "--reason", " ", *JOURNAL, exits=2).stderr


def test_what_was_only_written_down_can_be_withdrawn(till):
    """Of a batch that stopped early; what is out can't be."""
    provider = till.opens()
    till.has(rows(3, k0=DECLINED))
    words = ("pay", "p.csv", "--yes", "--rate", "0.001", "--concurrency", "2")
    said = till.json(*words, "--stop-on-refusal", exits=6)
    assert (said["failed"], said["open"], said["not_begun"]) == (1, 0, 2)
    assert till.json("withdraw", "k1", "--reason", "left us", *JOURNAL)["state"] == "cancelled"
    assert (
        "is CANCELLED already" in till("withdraw", "k1", "--reason", "x", *JOURNAL, exits=2).stderr
    )
    said = till.json("pay", "p.csv", "--yes", exits=1)
    assert (said["succeeded"], said["failed"], said["cancelled"]) == (1, 1, 1)
    assert provider.report().moved == 1


def test_what_may_be_out_is_not_withdrawn(till):
    """It says why, and what to do."""
    till.opens()
    _ = unknown(till)
    result = till("withdraw", "k0", "--reason", "left us", *JOURNAL, exits=2)
    assert "something may be out for it" in result.stderr


def test_a_journal_that_was_restored(till):
    """Nothing is paid from it for some hours, unless somebody lifts that, asked on a terminal."""
    provider = till.opens()
    till.has(rows(1))
    till("pay", "p.csv", "--yes")
    assert "nothing is paid for 4.5 hours" in till("quarantine", *JOURNAL).stderr
    assert till.json("quarantine", *JOURNAL, "--hours", "2") == {"hours": 2.0}
    till.has(rows(1).replace("k0", "m0"), "q.csv")
    till("pay", "q.csv", "--yes", *JOURNAL, exits=7)
    for answer, code in ((b"n\n", 1), (b"y\n", 0)):
        ours, theirs = pty.openpty()
        child = till.child("lift", *JOURNAL, stdin=theirs)
        os.write(ours, answer)
        _, told = child.communicate(timeout=60)
        os.close(ours)
        os.close(theirs)
        assert (child.returncode, "Was it looked into? [y/N]" in told) == (code, True)
    till("pay", "q.csv", "--yes", *JOURNAL)
    assert provider.report().moved == 2
