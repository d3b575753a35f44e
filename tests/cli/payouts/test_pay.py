"""``smartglocal payouts pay``: each row once, its exit codes, and what it says."""

import asyncio
import json
import os
import re
import sqlite3
import tempfile
from typing import Final

import pytest
from attrs import evolve
from places import ROOT
from postgres_schemas import DSN, execute, needs_postgres
from terminal import in_terminal, open_terminal
from till import DECLINED, HEADER, STUCK, rows, session_calls

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.cli.errors import ExitCode
from smartglocal_async.cli.payouts.journals import shown
from smartglocal_async.cli.payouts.pay import Run
from smartglocal_async.cli.payouts.summary import RunEnd, RunTotals
from smartglocal_async.emulator import Fault, FaultKind, FaultScript

pytestmark = pytest.mark.slow

CARD: Final = "4000056655665556"


def plain(text: str) -> str:
    """Return the words of a table."""
    return " ".join(text.split())


def test_a_whole_file_is_paid(till):
    """Each row once; totals, outcomes and results are shown, and 0 means that all was paid."""
    provider = till.opens()
    till.has(rows(12))
    result = till("pay", "p.csv", "--yes")
    said = plain(result.stdout)
    assert "12 payouts Total ────────────── 1,266.00 USD can be paid" in said
    assert "asked 12 paid 12 1,266.00 USD failed 0 unknown 0" in said
    assert "next:" not in said
    assert provider.report().moved == 12
    assert all(provider.order(f"k{n}").moved == 1 for n in range(12))
    assert {row["state"] for row in till.results().values()} == {"succeeded"}
    assert till.journal.stat().st_mode & 0o777 == 0o600
    assert till.journal.parent.stat().st_mode & 0o777 == 0o700
    made = {path.name for path in till.folder.iterdir()}
    assert made == {"p.csv", "p.csv.results.csv", "shop.pem"}
    assert f"journal: {till.journal} (new)" in result.stdout


def test_a_rerun_counts_what_was_settled_before(till):
    """The sums name what was paid before; the results have a line for each key, with its state."""
    provider = till.opens()
    till.has(rows(3, k1=DECLINED, k2=STUCK))
    first = till.json("pay", "p.csv", "--yes", "--deadline", "2", exits=3)
    assert (first["replayed"], first["paid_before"]) == (0, {})
    said = plain(till("pay", "p.csv", "--yes", "--deadline", "2", exits=3).stdout)
    assert "settled before 2 of them paid: 100.00 USD" in said
    again = till.json("pay", "p.csv", "--yes", "--deadline", "2", exits=3)
    assert (again["replayed"], again["paid_before"]) == (2, {"usd": 10_000})
    assert provider.report().moved == 1
    lines = (till.folder / "p.csv.results.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [
        ["k0", "succeeded"],
        ["k1", "failed"],
        ["k2", "open"],
    ]


PADDED: Final = rows(6).replace("k3", "\n" * 100_000 + "k3")
"""Read in several parts: blank lines are skipped."""


def on_first_outcome(monkeypatch, act) -> None:
    """Do something when the first payout of a run has settled."""
    take, left = Run._take, [act]

    def then(run, outcome, advance) -> None:
        take(run, outcome, advance)
        if left:
            left.pop()()

    monkeypatch.setattr(Run, "_take", then)


def rewritten(path, text: str) -> None:
    """Write a text into the file that is there, as an editor or an export may."""
    with path.open("r+", encoding="utf-8") as file:
        _ = file.write(text)
        _ = file.truncate()


@pytest.mark.parametrize(
    ("old", "new"),
    [("03.00", "93.00"), (",hash,", ",evil,"), ("k5", "k9"), (PADDED, ""), (PADDED, "no file")],
    ids=["amounts", "payees", "keys", "emptied", "broken"],
)
def test_a_file_that_is_rewritten_while_it_is_paid(till, monkeypatch, old, new):
    """It is paid as it was checked, and the operator sees that it was changed."""
    provider = till.opens()
    path = till.has(PADDED)
    before = till.json("check", "p.csv")["totals"]
    on_first_outcome(monkeypatch, lambda: rewritten(path, PADDED.replace(old, new)))
    total = f"{before['usd'] / 100:.2f}usd"
    said = till("pay", "p.csv", "--yes", "--concurrency", "1", "--expect-total", total)
    assert "p.csv: was changed during the run; it was paid as it was checked" in said.stderr
    results = till.results()
    assert [results[f"k{n}"]["amount"] for n in range(6)] == [f"{100 + n}.00" for n in range(6)]
    assert [provider.order(f"k{n}").moved for n in range(6)] == [1] * 6
    assert provider.report().moved == 6
    monkeypatch.undo()


def test_a_file_that_is_removed_while_it_is_paid(till, monkeypatch):
    """The rest is paid from the copy, which isn't left behind."""
    provider = till.opens()
    (folder := till.folder / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    path, seen = till.has(PADDED), []

    def remove() -> None:
        seen.extend(folder.iterdir())
        path.unlink()

    on_first_outcome(monkeypatch, remove)
    said = till("pay", "p.csv", "--yes", "--concurrency", "1")
    assert "was changed during the run" in said.stderr
    assert provider.report().moved == 6
    assert seen == list(folder.iterdir()) == [], "it has no name, also while it is used"


def test_no_space_for_the_copy(till, monkeypatch):
    """Nothing is sent."""
    provider = till.opens()
    till.has(rows(2))
    monkeypatch.setattr(tempfile, "tempdir", str(till.folder / "missing"))
    assert "missing" in till("pay", "p.csv", "--yes", exits=2).stderr
    assert session_calls(provider) == 0


def test_the_same_file_twice(till):
    """The second run sends nothing, and says so plainly."""
    provider = till.opens()
    till.has(rows(3))
    till("pay", "p.csv", "--yes")
    requests = session_calls(provider)
    result = till("pay", "p.csv", "--yes")
    assert session_calls(provider) == requests
    assert "all payouts were settled before; nothing was sent" in result.stdout
    assert till.json("pay", "p.csv", "--yes")["replayed"] == 3


def test_json_is_one_object(till):
    """Everything that the screen tells; and nothing else on standard output."""
    till.opens()
    till.has(rows(3, k1=DECLINED))
    said = till.json("pay", "p.csv", "--yes", "--batch", "may", exits=1)
    assert (said["asked"], said["succeeded"], said["failed"], said["not_begun"]) == (3, 2, 1, 0)
    assert said["sums"] == {"usd": {"succeeded": 20_200, "failed": 66_601}}
    assert said["not_paid"] == [
        {
            "key": "k1",
            "state": "failed",
            "session_id": said["not_paid"][0]["session_id"],
            "code": "account_not_found",
            "reason": "account not found",
        }
    ]
    assert (said["exit_code"], said["next"], said["error"], said["stopped"]) == (
        1,
        None,
        None,
        None,
    )


def test_a_bad_row_and_nothing_is_paid(till):
    """The whole file is looked at first; nothing is sent, and nothing written."""
    provider = till.opens()
    till.has(f"{rows(2)}k9,x,usd,hash,Jane Roe\n")
    result = till("pay", "p.csv", "--yes", exits=1)
    assert "can't be paid: 1 invalid row" in result.stdout
    said = till.json("pay", "p.csv", "--yes", exits=1)
    assert (said["is_fit"], said["problems"][0]["line"]) == (False, 4)
    assert said["exit_code"] == 1
    assert session_calls(provider) == 0
    assert sorted(path.name for path in till.folder.iterdir()) == ["p.csv", "shop.pem"]


def test_totals_are_demanded(till):
    """A total that isn't the expected one keeps everything from being paid."""
    provider = till.opens()
    till.has(rows(2))
    result = till("pay", "p.csv", "--yes", "--expect-total", "200usd", exits=1)
    assert "the total in USD is off by 1.00 USD" in result.stdout
    assert session_calls(provider) == 0
    till("pay", "p.csv", "--yes", "--expect-total", "201usd")


def test_without_a_terminal_yes_is_needed(till):
    """Without a terminal there is no prompt: the error comes before the file is read."""
    till.opens()
    result = till("pay", "none.csv", exits=2)
    assert result.stderr.startswith("smartglocal: --yes: required without a terminal to ask in")


@pytest.mark.parametrize(("answer", "code", "moved"), [("y\n", 0, 2), ("\n", 1, 0), ("\x04", 1, 0)])
def test_a_person_is_asked(till, answer, code, moved):
    """On a terminal, how many and how much; only a yes pays, and a no leaves nothing behind."""
    provider = till.opens()
    till.has(rows(2))
    ours, theirs = open_terminal()
    child = till.child("pay", "p.csv", stdin=theirs)
    os.write(ours, answer.encode())
    _, said = child.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert child.returncode == code
    asked = f"Pay 2 payouts, 201.00 USD, at {provider.url}; the new journal "
    assert f"{asked}{till.state}/smartglocal/" in said
    assert ".journal? [y/N]" in said
    assert ("not confirmed; nothing was done" in said) == (code == 1)
    assert provider.report().moved == moved
    assert till.state.exists() == (code == 0)


def test_the_progress_bar_names_the_page(till):
    """On a terminal, a line above it says how to see more in the browser."""
    till.opens()
    shown = in_terminal("payouts", "pay", str(till.has(rows(2))), "--yes", columns=300)
    assert f"in the browser: smartglocal payouts serve {till.journal}" in shown


def test_the_question_tells_what_was_begun_before(till):
    """And a changed file is refused before anybody is asked."""
    till.opens()
    till.has(rows(2, k1=STUCK))
    till("pay", "p.csv", "--yes", "--deadline", "2", exits=3)
    for text, words in (
        (rows(2, k1=STUCK), "(2 of them started before)"),
        (rows(1), "isn't the file"),
    ):
        till.has(text)
        ours, theirs = open_terminal()
        child = till.child("pay", "p.csv", stdin=theirs)
        os.write(ours, b"n\n")
        _, said = child.communicate(timeout=60)
        os.close(ours)
        os.close(theirs)
        assert words in said


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=needs_postgres)])
def at(request) -> tuple[str, ...]:
    """Return the options of a journal: the default one, or one in a database."""
    if request.param == "sqlite":
        return ()
    return ("--journal", f"{DSN}?schema={request.getfixturevalue('schema')}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (rows(4, k2="7.00"), "line 4 (key 'k2') differs in amount_details.amount; nothing was"),
        (
            rows(9, k3="7.00").replace("k1,101.00", "k1,1.00"),
            "line 3 (key 'k1') differs in amount_details.amount and 1 other row; nothing was sent",
        ),
        (rows(4).replace("k1,", "q1,"), "1 payout of the batch is missing from it, such as 'k1'"),
        (rows(1), "3 payouts of the batch are missing from it, such as 'k1', which is succeeded"),
        (rows(4).replace("\nk", "\nmay-"), "4 payouts of the batch are missing from it, such as"),
    ],
)
def test_what_was_started_cannot_change(till, at, text, words):
    """It is refused with the first row that differs, and what to do; nothing is sent."""
    provider = till.opens()
    till.has(rows(4))
    till("pay", "p.csv", "--yes", *at)
    requests = session_calls(provider)
    till.has(text)
    for verb in ("pay", "settle"):
        result = till(verb, "p.csv", *(["--yes"] if verb == "pay" else []), *at, exits=2)
        assert "isn't the file that the batch 'p.csv' was started with" in result.stderr
        assert words in result.stderr
        advice = "Restore the row: its key" if "differs in" in words else "or pay the file as"
        assert advice in result.stderr
    assert session_calls(provider) == requests


ENLARGED: Final = rows(9, k2=DECLINED).splitlines(keepends=True)


@pytest.mark.parametrize(
    "text",
    [
        "".join(ENLARGED),
        "".join([HEADER, *reversed(ENLARGED[1:])]),
        "".join([HEADER, *ENLARGED[5:], *ENLARGED[1:5]]).replace("\n", "\r\n"),
    ],
    ids=["added", "reversed", "in the middle"],
)
def test_rows_are_added_and_sorted_anew(till, at, text):
    """What was settled stays, and the rest is paid; the states of the rows are reported before."""
    provider = till.opens()
    till.has(rows(5, k2=DECLINED))
    till("pay", "p.csv", "--yes", *at, exits=1)
    till.has(text)
    found = till("pay", "p.csv", "--yes", *at, exits=1)
    words = "p.csv was changed since its batch was started: 4 rows are new; 5 settled, and not paid"
    assert words in found.stderr
    assert "asked 9 paid 8" in plain(found.stdout)
    assert [provider.order(f"k{n}").moved for n in range(9)] == [n != 2 for n in range(9)]
    status = till.json("status", "p.csv", *at, exits=1)
    assert (status["rows"], status["absent"]) == (9, 0)
    assert status["counts"] == {"succeeded": 8, "failed": 1}
    requests = session_calls(provider)
    same = till.json("pay", "p.csv", "--yes", *at, exits=1)
    assert (same["replayed"], same["asked"]) == (9, 9)
    till.has(rows(5, k2=DECLINED))  # The shorter file that it was before.
    assert (
        "4 payouts of the batch are missing" in till("pay", "p.csv", *at, "--yes", exits=2).stderr
    )
    assert session_calls(provider) == requests


def test_a_row_that_failed_is_paid_as_another(till, at):
    """It is left out of the file, and the batch still counts it."""
    provider = till.opens()
    till.has(rows(3, k1=DECLINED))
    till("pay", "p.csv", "--yes", *at, exits=1)
    till.has(rows(3).replace("k1,", "k1-again,"))
    found = till("pay", "p.csv", "--yes", *at)
    assert "1 row is new; 2 settled, and not paid again; 1 that failed or were" in found.stderr
    assert provider.report().moved == 3
    assert provider.order("k1").moved == 0
    status = till.json("status", "p.csv", *at, exits=1)
    assert (status["rows"], status["absent"]) == (4, 0)
    assert status["totals"] == {"usd": 30_300 + 66_601}


def test_an_open_row_goes_on_in_a_longer_file(till, at):
    """It is neither new nor settled, and is started once."""
    provider = till.opens()
    till.has(rows(3, k1=STUCK))
    till("pay", "p.csv", "--yes", "--deadline", "2", *at, exits=3)
    till.has(rows(5, k1=STUCK))
    found = till("pay", "p.csv", "--yes", "--deadline", "2", *at, exits=3)
    assert "2 rows are new; 2 settled, and not paid again; 1 open" in found.stderr
    assert [provider.order(f"k{n}").moved for n in range(5)] == [1, 0, 1, 1, 1]
    till.has(rows(6, k1=STUCK))
    settled = till("settle", "p.csv", "--deadline", "2", *at, exits=3)
    assert "1 row is new" in settled.stderr
    assert provider.report().moved == 4


def test_the_same_bytes_read_otherwise(till, at):
    """Another mapping makes other payouts: what was started is compared, and nothing is sent."""
    provider = till.opens()
    text = rows(3).replace("amount,", "net,gross,", 1).replace(".00,", ".00,900.00,")
    till.has(text)
    net = ("--map", "net=amount", "--ignore-column", "gross")
    till("pay", "p.csv", "--yes", *net, *at)
    requests = session_calls(provider)
    gross = ("--map", "gross=amount", "--ignore-column", "net")
    refused = till("pay", "p.csv", "--yes", *gross, *at, exits=2)
    assert "line 2 (key 'k0') differs in amount_details.amount and 2 other rows" in refused.stderr
    assert session_calls(provider) == requests
    assert till.json("pay", "p.csv", "--yes", *net, "--encoding", "utf-8", *at)["replayed"] == 3


def test_a_batch_that_another_process_changed(till, monkeypatch):
    """Between the question and the run: nothing is sent."""
    provider = till.opens()
    till.has(rows(2))
    till("pay", "p.csv", "--yes")
    requests = session_calls(provider)
    till.has(rows(3))

    def meanwhile(*_: object) -> bool:
        with sqlite3.connect(till.journal) as database:
            _ = database.execute("UPDATE batch SET digest = x'00'")
        return True

    monkeypatch.setattr("smartglocal_async.cli.payouts.pay.confirmed", meanwhile)
    monkeypatch.setattr("smartglocal_async.cli.payouts.pay.needs_terminal", lambda: None)
    refused = till("pay", "p.csv", exits=2)
    assert "another process changed the batch 'p.csv' meanwhile; nothing was sent" in refused.stderr
    assert session_calls(provider) == requests


def test_a_changed_copy_with_new_rows(till):
    """The advice isn't a key prefix, which pays all rows again; without the change it is paid."""
    provider = till.opens()
    till.has(rows(6), "nov.csv")
    till("pay", "nov.csv", "--yes")
    till.has(rows(9, k2="555.00"), "copy.csv")
    refused = till("pay", "copy.csv", "--yes", exits=2).stderr
    assert "1 row with a key that the journal" in refused
    assert "5 other rows of the file are payouts of the journal, unchanged" in refused
    assert "Restore the changed rows, or remove them" in refused
    assert "--key-prefix" not in refused
    till.has(rows(9), "copy.csv")
    assert till.json("pay", "copy.csv", "--yes")["succeeded"] == 9
    assert (provider.report().moved, provider.report().moved_twice) == (9, 0)


@pytest.mark.parametrize("more", [2, 40])
def test_a_prefix_that_would_pay_a_second_time(till, more):
    """Rows that only the prefix makes new are refused without a person, however few they are."""
    provider = till.opens()
    till.has(rows(3))
    till("pay", "p.csv", "--yes")
    till.has(rows(3 + more), "q.csv")
    prefixed = ("pay", "q.csv", "--yes", "--key-prefix", "q-")
    refused = till(*prefixed, exits=2).stderr
    assert f"3 rows of {3 + more} are in the journal with the same key but for the" in refused
    assert provider.report().moved == 3
    told = till.json(*prefixed, exits=2)["error"]
    assert (told["type"], told["reissued"]) == ("Repeats", 3)
    assert till.json(*prefixed, "--allow-repeats")["succeeded"] == 3 + more


def test_a_prefix_for_payouts_that_failed(till):
    """A payout that failed may be made again under another key."""
    till.opens()
    till.has(rows(3, k1=DECLINED))
    till("pay", "p.csv", "--yes", exits=1)
    till.has(HEADER + f"k1,{DECLINED},usd,hash,Jane Roe\n", "again.csv")
    prefixed = ("pay", "again.csv", "--yes", "--key-prefix", "2-")
    assert till.json(*prefixed, exits=1)["failed"] == 1


def test_what_goes_on_is_guarded_as_before(till):
    """The next command has the limit, the sum and the pace that this one was given."""
    till.opens()
    till.has(rows(3))
    guards = "--expect-total=303usd --spend-limit=205.5usd --rate=90 --ignore-balance"
    said = till.json("pay", "p.csv", "--yes", *guards.split(), "--stop-on-failure", exits=6)
    assert "more than 205.50 USD would be spent" in said["stopped"]
    kept = guards.replace("303", "303.00").replace("205.5", "205.50")
    assert said["next"] == f"smartglocal payouts pay p.csv {kept}"
    again = till.json(*said["next"].split()[2:], "--yes", exits=6)
    assert again["not_begun"] == 1, (said, again)


def test_another_batch_pays_only_what_is_new(till):
    """The key decides: what the journal has is replayed, or refused if it is another payout now."""
    provider = till.opens()
    till.has(rows(3))
    till("pay", "p.csv", "--yes")
    till.has(f"{rows(3, k2='7.00')}z,1,usd,hash,Jane Roe\n")
    refused = till.json("pay", "p.csv", "--yes", "--batch", "june", exits=2)["error"]
    assert refused["type"] == "KeyReused"
    assert [(one["line"], one["key"], one["differs"]) for one in refused["used"]] == [
        (4, "k2", ["amount_details.amount"])
    ]
    assert provider.report().moved == 3
    till.has(f"{rows(2)}z,1,usd,hash,Jane Roe\n")
    result = till("pay", "p.csv", "--yes", "--batch", "june")
    words = "2 rows of p.csv are in the journal already, 2 in the batch 'p.csv', and are not"
    assert words in result.stderr
    assert "settled before 2" in plain(result.stdout)
    assert provider.report().moved == 4


def test_what_fails_or_is_open_is_listed(till):
    """With session and reason; open ones make it exit 3, and the next command is shown."""
    till.opens()
    till.has(rows(3, k0=DECLINED, k1=STUCK))
    result = till("pay", "p.csv", "--yes", "--deadline", "3", exits=3)
    said = plain(result.stdout)
    assert "failed 1 666.01 USD unknown 0 open 1 666.10 USD" in said
    assert "account_not_found: account not found" in said
    assert "next: smartglocal payouts settle p.csv" in said


def test_stop_rules(till):
    """The rows behind it aren't started; 6 means that it ended early; it says what to do."""
    provider = till.opens()
    till.has(rows(6, k1=DECLINED))
    options = ("--yes", "--concurrency", "1")
    result = till("pay", "p.csv", *options, "--stop-on-failure", exits=6)
    assert "not started 4" in plain(result.stdout)
    assert "stopped early: the payout 'k1' was failed" in result.stdout
    assert "next: smartglocal payouts pay p.csv" in result.stdout
    said = till.json("pay", "p.csv", *options, "--spend-limit", "210usd", exits=6)
    assert "more than 210.00 USD" in said["stopped"]
    till("pay", "p.csv", *options, "--stop-on-low-balance", exits=1)
    assert provider.report().moved == 5


def test_so_many_failures_in_a_row(till):
    """They stop it, too."""
    till.opens()
    till.has(rows(5, k0=DECLINED, k1=DECLINED))
    words = ("pay", "p.csv", "--yes", "--concurrency", "1", "--stop-after-failures", "2")
    assert till.json(*words, exits=6)["not_begun"] == 3


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_wallet_that_is_too_small(till, monkeypatch, version):
    """With the rule it is noticed before anything is sent that moves money.

    A project of v2 reads its balance by v1, which alone has that call.
    """
    provider = till.opens(rules=emulator.Rules(opening_balance=15_000))
    monkeypatch.setenv("SMARTGLOCAL_API_VERSION", version)
    till.has(rows(3))
    words = ("pay", "p.csv", "--yes", "--concurrency", "1", "--stop-on-low-balance")
    assert "the wallets can't pay 'k1'" in till.json(*words, exits=6)["stopped"]
    assert provider.report().moved == 1


def test_money_that_moves_by_itself_halts(till):
    """The project confirms by itself: the first payout tells, and 7 says that nothing goes on."""
    provider = till.opens(rules=emulator.Rules(confirmation=emulator.Confirmation.AUTOMATIC))
    till.has(rows(4))
    result = till("pay", "p.csv", "--yes", "--concurrency", "1", exits=7)
    assert "was paid in ps_1 without a confirm from this journal" in result.stderr
    assert provider.report().moved == 1
    said = till.json("pay", "p.csv", "--yes", exits=7)
    assert "was paid in ps_1 without a confirm from this journal" in said["halted"]
    assert provider.report().moved == 1


@pytest.mark.parametrize("at_once", [1, 4])
def test_a_project_that_waits_for_a_confirm_halts(till, at_once):
    """The first payout tells; the others aren't begun, and 7 says that nothing goes on."""
    provider = till.opens()
    till.has(rows(40))
    pay = ("pay", "p.csv", "--yes", "--concurrency", str(at_once), "--confirm", "automatic")
    said = till.json(*pay, exits=7)
    assert re.search(r"waits for a confirm in ps_\d+, and its mode is automatic", said["halted"])
    assert (said["succeeded"], said["failed"]) == (0, 0)
    assert 1 <= said["unknown"] + said["open"] <= at_once
    assert said["not_begun"] == 40 - said["unknown"] - said["open"]
    requests = session_calls(provider)
    assert "waits for a confirm in ps_" in till.json(*pay, exits=7)["halted"]
    assert session_calls(provider) == requests
    assert 1 <= till.json("status", exits=7)["counts"]["unknown"] <= at_once
    assert provider.report().moved == 0


CONFIRMED: Final = Fault(FaultKind.AMOUNT, operation="session/confirm", rate=1.0)
"""A confirm is carried out as ordered, and its answer shows ten times the amount."""
AFTER_IT: Final = Fault(FaultKind.AMOUNT, operation="session/status", nth=(2, 3, 4))


def test_a_halt_in_the_middle_counts_what_the_journal_has(till):
    """What was in flight when payouts were halted is in the summary and in the results."""
    provider = till.opens(faults=FaultScript((CONFIRMED, AFTER_IT)))
    till.has(rows(12))
    ended = till.json("pay", "p.csv", "--yes", exits=7)
    known = till.json("status", "p.csv", exits=7)["counts"]
    begun = {state: count for state, count in known.items() if count}
    assert begun["unknown"] >= 1
    assert begun == {state: ended[state] for state in known if ended[state]}
    assert ended["not_begun"] == 12 - sum(begun.values())
    states = [row["state"] for row in till.results().values()]
    assert states.count("unknown") == begun["unknown"]
    open_ones = [one for one in ended["not_paid"] if one["state"] == "open"]
    assert all("payouts were halted" in one["reason"] for one in open_ones)
    listed = [one["key"] for one in ended["not_paid"] if one["state"] == "unknown"]
    assert sum(provider.order(key).moved for key in listed) == len(listed) == begun["unknown"]


def test_a_paid_payout_has_no_reason_of_an_earlier_step(till):
    """What was recorded while it was unknown is not about a payout that is paid."""
    till.opens(faults=FaultScript((CONFIRMED,)))
    till.has(rows(1))
    assert till.json("pay", "p.csv", "--yes", exits=7)["succeeded"] == 1
    paid = till.results()["k0"]
    assert (paid["state"], paid["code"], paid["reason"]) == ("succeeded", "", "")


def test_a_project_that_confirms_by_itself(till):
    """Asked for by name, it is paid; and the next command names it, too."""
    provider = till.opens(rules=emulator.Rules(confirmation=emulator.Confirmation.AUTOMATIC))
    till.has(rows(3, k2=STUCK))
    words = ("pay", "p.csv", "--yes", "--confirm", "automatic", "--deadline", "2")
    assert (
        till.json(*words, exits=3)["next"] == "smartglocal payouts settle p.csv --confirm automatic"
    )
    assert provider.report().moved == 2


def test_nobody_is_reached(till):
    """4: one line says so before the question; there is no journal, and nothing was sent."""
    till.opens()
    till.has(rows(200))
    for words in (("pay", "p.csv"), ("pay", "p.csv", "--ignore-balance")):
        result = till(*words, "--yes", "--server", "http://127.0.0.1:9", exits=4)
        assert result.stderr.startswith(
            "smartglocal: the provider can't be reached, so nothing was"
        )
        assert "Connect call failed" in result.stderr
        assert result.stderr.count("\n") == 1
    assert not till.state.exists()
    assert not (till.folder / "p.csv.results.csv").exists()


def test_provider_that_goes_away(till):
    """4: it doesn't try every row in vain, and shows why the first of them is open."""
    fault = Fault(FaultKind.SERVER_ERROR, operation="session/create", rate=1.0)
    till.opens(faults=FaultScript((fault,)))
    till.has(rows(3))
    said = till.json("pay", "p.csv", "--yes", "--deadline", "1", "--concurrency", "1", exits=3)
    assert said["open"] >= 1
    assert all("session/create" in one["reason"] for one in said["not_paid"])


def test_refused_credentials(till):
    """The output shows it in a line; nothing is sent."""
    till.opens()
    till.has(rows(3))
    till.monkeypatch.setenv("SMARTGLOCAL_PROJECT", "another")
    result = till("pay", "p.csv", "--yes", exits=1)
    assert "smartglocal: wallet/balance: refused" in result.stderr
    assert not till.state.exists()


def test_a_dry_run_sends_nothing(till):
    """Everything is built and signed; no journal is made, and the provider sees nothing."""
    provider = till.opens()
    till.has(rows(5))
    result = till("pay", "p.csv", "--dry-run")
    assert "5 payouts: 10 requests built and signed, none sent" in result.stdout
    assert till.json("pay", "p.csv", "--dry-run")["signed"] == 10
    assert session_calls(provider) == 0
    assert sorted(path.name for path in till.folder.iterdir()) == ["p.csv", "shop.pem"]
    till.has(f"{rows(1)}k9,x,usd,hash,Jane Roe\n")
    till("pay", "p.csv", "--dry-run", exits=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rate", "0"], "--rate: must be a number above zero"),
        (["--deadline", "-1"], "--deadline: must be a number above zero"),
        (["--spend-limit", "100"], "--spend-limit: expected an amount with its currency"),
        (["--expect-total", "1usd", "--expect-total", "2usd"], "--expect-total: is given twice"),
        (
            ["--journal", "mysql://x"],
            "--journal: expected a path, or an address such as postgres://",
        ),
        (["--journal", ""], "--journal: is empty"),
        (["--journal", "postgres://u:x/y@h/d"], "--journal: expected an address such as"),
        (["--journal", "postgres://h/d?schema=A"], "--journal ?schema=: expected up to 48"),
        (["--batch", ""], "--batch: expected a name"),
        (["--results", "none.csv"], "--results: is the file to be paid"),
        (["--server", "nonsense"], "--server: server "),
        (["--concurrency", "0"], "--concurrency"),
        (["--confirm", "never"], "--confirm"),
    ],
)
def test_misuse_comes_first(till, options, words):
    """Before the file is read, which isn't there."""
    till.opens()
    assert words in till("pay", "none.csv", "--yes", *options, exits=2).stderr


def test_a_limit_that_would_limit_nothing(till):
    """It is refused: a currency that the file doesn't have was mistyped."""
    provider = till.opens()
    till.has(rows(2))
    refused = till("pay", "p.csv", "--yes", "--spend-limit", "1eur", exits=2).stderr
    assert "--spend-limit: is in EUR, but the file pays nothing in EUR" in refused
    assert session_calls(provider) == 0


def test_missing_credentials_come_first(till):
    """Each variable is named."""
    till.opens()
    till.monkeypatch.delenv("SMARTGLOCAL_PROJECT")
    assert "set SMARTGLOCAL_PROJECT" in till("pay", "none.csv", "--yes", exits=2).stderr


def test_results_that_are_something_else(till):
    """A file that holds something else isn't harmed, and nothing is sent."""
    provider = till.opens()
    till.has(rows(2))
    till.has("mine\n", "r.csv")
    result = till("pay", "p.csv", "--yes", "--results", "r.csv", exits=2)
    assert "holds something else than results" in result.stderr
    assert (till.folder / "r.csv").read_text(encoding="utf-8") == "mine\n"
    assert session_calls(provider) == 0


def test_a_journal_that_is_in_use(till):
    """One process at a time: the other one is named."""
    till.opens()
    till.has(rows(2))
    till("pay", "p.csv", "--yes", "--journal", "j")
    till.monkeypatch.setenv("SMARTGLOCAL_SUBMERCHANT", "another")
    result = till("pay", "p.csv", "--yes", "--journal", "j", exits=2)
    assert "j belongs to" in result.stderr


def test_a_second_journal_of_the_same_payouts(till):
    """If the provider returns the first one's session again, it halts, and says what is known."""
    provider = till.opens()
    till.has(rows(2))
    till("pay", "p.csv", "--yes", "--journal", "j")
    words = ("pay", "p.csv", "--yes", "--journal", "k", "--concurrency", "1")
    requests = session_calls(provider)
    result = till(*words, exits=7)
    assert "p.csv.results.csv shows 2 payouts as paid that the journal k doesn't" in result.stderr
    assert session_calls(provider) == requests
    result = till(*words, "--results", "r.csv", exits=7)
    assert "the payout 'k0' is recorded as CREATING in no session" in result.stderr
    assert "the session is that of the same key in another journal" in result.stderr
    assert all(provider.order(key).moved == 1 for key in ("k0", "k1"))


def test_the_password_of_a_database_is_not_told(till):
    """Neither where it can't be used, nor in the next command."""
    provider = till.opens()
    till.has(rows(1))
    address = "postgresql://shop:hunter2@127.0.0.1:9/payouts"
    for words in (("pay", "p.csv", "--yes"), ("status",), ("settle",)):
        result = till(*words, "--journal", address, exits=2)
        assert result.stderr
        assert "hunter2" not in result.output
    assert session_calls(provider) == 0


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("postgresql://shop:hunter2@h:9/payouts", "postgresql://shop@h:9/payouts"),
        ("postgres://h/d?schema=shop&password=hunter2", "postgres://h/d?schema=shop"),
        (
            "postgres://a:1,b/d?target_session_attrs=any",
            "postgres://a:1,b/d?target_session_attrs=any",
        ),
        ("postgres:///d?host=/run&x=hunter2", "postgres:///d?host=/run"),
        ("night.journal", "night.journal"),
    ],
)
def test_the_next_command_leads_to_the_same_journal(address, name):
    """Its port, its user and its schema are in it, and no password."""
    assert shown(address) == name
    assert shown(name) == name


@needs_postgres
def test_two_projects_in_one_database(till, schema):
    """Each has a schema of its own, named in the address; the next command names it, too."""
    provider = till.opens()
    till.has(rows(2))
    mine, other = f"{DSN}?schema={schema}", f"{DSN}?schema={schema}_b"
    stopped = ("--spend-limit", "0.01usd", "--server", provider.url)
    found = till.json("pay", "p.csv", "--yes", "--journal", mine, *stopped, exits=6)
    again = f"--spend-limit=0.01usd --journal '{mine}' --server {provider.url}"
    assert found["next"] == f"smartglocal payouts pay p.csv {again}"
    till("pay", "p.csv", "--yes", "--journal", mine)
    till.monkeypatch.setenv("SMARTGLOCAL_PROJECT", "another")
    assert "belongs to" in till("status", "--journal", mine, exits=2).stderr
    try:
        till.opens(project="another")
        till("pay", "p.csv", "--yes", "--journal", other, "--results", "r.csv")
        assert till.json("status", "--journal", other)["counts"]["succeeded"] == 2
    finally:
        asyncio.run(execute("DROP SCHEMA IF EXISTS {schema}_b CASCADE", schema=schema))


def test_lost_answers_pay_once(till):
    """Whatever is lost on the way, each is paid once by the provider's own count."""
    script = FaultScript((Fault(FaultKind.AFTER, nth=(1,), operation="session/start/payout"),))
    provider = till.opens(faults=script)
    till.has(rows(8))
    till("pay", "p.csv", "--yes")
    assert (provider.report().moved, provider.report().moved_twice) == (8, 0)


def test_no_card_number_anywhere(till):
    """Neither in the output, nor in results or journal; not where it fails either."""
    till.opens()
    till.has(
        "key,amount,currency,card_number,full_name\n"
        f"a,1.00,usd,{CARD},Jane Roe\nb,{DECLINED},usd,{CARD},Jane Roe\n"
    )
    said = till("pay", "p.csv", "--yes", "--results", "r.jsonl", exits=1).output
    said += json.dumps(till.json("pay", "p.csv", "--yes", exits=1))
    found = [*till.folder.iterdir(), till.journal]
    kept = [path for path in found if path.name not in {"p.csv", "shop.pem"}]
    assert CARD not in said
    assert len(kept) >= 3
    assert not [path for path in kept if CARD.encode() in path.read_bytes()]


def test_the_batch_is_written_first(till):
    """With the file's digest, rows and totals."""
    till.opens()
    path = till.has(rows(3))
    till("pay", "p.csv", "--yes", "--spend-limit", "1usd", exits=6)
    with sqlite3.connect(till.journal) as database:
        found = database.execute("SELECT name, digest, rows, totals FROM batch").fetchone()
    database.close()
    name, digest, count, totals = found
    assert (name, count, json.loads(totals)) == ("p.csv", 3, {"usd": 30_300})
    assert len(digest) == 32
    assert path.read_text(encoding="utf-8").startswith(HEADER)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (sg.InvalidRequest("p.csv, line 9", "x"), ExitCode.STOPPED),
        (OSError(5, "the disk"), ExitCode.STOPPED),
        (sg.JournalUnusable("full"), ExitCode.OUTCOME_UNKNOWN),
        (sg.NotSent("wallet/balance"), ExitCode.NOT_SENT),
        (sg.Refused("session/create"), ExitCode.FAILED),
        (sg.PayoutsHalted("x"), ExitCode.HALTED),
    ],
)
def test_what_ends_a_run_early_has_its_code(error, code):
    """Nothing that was paid before it is taken for nothing; the worst comes first."""
    sums = RunTotals(3)
    sums.add(sg.PayoutOutcome(key="k", state=sg.PayoutState.SUCCEEDED))
    ran = RunEnd(
        totals=sums,
        seconds=1.0,
        is_unreachable=False,
        error=error,
        journal="j",
        results=None,
        next_step="again",
    )
    assert ran.code is code
    assert evolve(ran, left_open=1).code is (
        ExitCode.HALTED if code is ExitCode.HALTED else ExitCode.OUTCOME_UNKNOWN
    )
    assert ran.next is not None


def test_the_page_shows_what_is_printed(till):
    """The how-to's file, paid: the page shows each output as it is, but for times and ids."""
    page = (ROOT / "docs/how-to/payout-files.md").read_text(encoding="utf-8")
    page = page[page.index("## Pay it") :]
    text = re.findall(r"```csv\n(.*?)```", page, re.DOTALL)[0]
    paid, changed, status, report = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    till.monkeypatch.delenv("COLUMNS", raising=False)  # Workers of pytest-xdist have it.
    till.opens()
    till.has(text, "payouts.csv")
    words = ("payouts.csv", "--expect-total", "2880.51eur", "--yes")
    assert alike(till("pay", *words, exits=1).stdout) == alike(paid)
    assert till("status", "payouts.csv", exits=1).stdout == status
    assert alike(till("report", "payouts.csv").stdout) == alike(report)
    till.has(text.replace("980.00", "990.00"), "payouts.csv")
    assert till("pay", "payouts.csv", "--yes", exits=2).stderr == changed


def alike(text: str) -> list[str]:
    """Return the lines of an output, in any order, without what differs from run to run."""
    text = re.sub(r"journal: \S+/smartglocal/\S+\.journal", "journal: J", text)
    return sorted(re.sub(r"p([so])_\d|\d\.\d s", r"p\1_", text).splitlines())


def test_advice_is_listed_once(till, recwarn):
    """By the check before the question, and not as a warning at each payout."""
    provider = till.opens()
    header = "key,amount,currency,iban,country,first_name,last_name,city,address_line,postal_code"
    person = "DE89370400440532013000,DEU,Jane,Roe,Berlin,Linden 1,10117"
    till.has(
        f"{header},description\nk0,101.00,eur,{person},salary\nk1,102.00,eur,{person},salary\n"
    )
    for verb in (["pay", "p.csv", "--dry-run"], ["pay", "p.csv", "--yes"]):
        found = till(*verb)
        assert "bank_name" in found.stderr + found.stdout
    assert provider.report().moved == 2
    assert [one for one in recwarn if issubclass(one.category, sg.RuleBroken)] == []
