"""The command that reopens payouts that failed for a temporary reason."""

from typing import Final

import pytest
from postgres_schemas import DSN, needs_postgres
from till import DECLINED, rows

from smartglocal_async import emulator

POOR: Final = emulator.Rules(wallets={"usd": 70_000})
FILE: Final = rows(4, k0=DECLINED, k1="600.00", k2="200.00", k3="150.00")
"""One that is declined for good, one that is paid, and two that the wallet can't pay."""


@pytest.fixture
def paid(till):
    """Return a command line where a file was paid from a wallet with too little money."""
    till.opens(rules=POOR)
    till.has(FILE)
    till("pay", "p.csv", "--yes", "--concurrency", "1", "--ignore-balance", exits=1)
    return till


def test_taken_up_and_paid(paid) -> None:
    """What can't be retried is listed with the reason; the next run pays the rest, once."""
    paid.provider.top_up(100_000, "usd")
    result = paid("retry", "p.csv", "--yes", exits=1)
    assert "2 payouts reopened, 1 not reopened" in result.stdout
    assert "it failed for account_not_found, which" in result.stdout
    assert "next: smartglocal payouts pay p.csv" in result.stdout
    assert paid.provider.order("k2").moved == 0
    report = paid.json("pay", "p.csv", "--yes", exits=1)
    assert (report["succeeded"], report["failed"], report["replayed"]) == (3, 1, 2)
    assert [paid.provider.order(f"k{n}").moved for n in range(4)] == [0, 1, 1, 1]
    assert {key: row["state"] for key, row in paid.results().items()}["k2"] == "succeeded"


def test_the_summary_names_the_command(till) -> None:
    """A wallet that is too small leaves payouts that can be tried again, and the output says so."""
    till.opens(rules=POOR)
    till.has(FILE)
    words = ("pay", "p.csv", "--yes", "--concurrency", "1", "--ignore-balance")
    shown = till(*words, exits=1).stdout
    assert "failed for a cause that may pass: 2 insufficient_funds" in shown
    command = "smartglocal payouts retry p.csv"
    assert f"to try these again, under the same keys: {command}" in shown
    assert till.json(*words, exits=1)["retry"] == command
    till.provider.top_up(100_000, "usd")
    till(*command.split()[2:], "--yes", exits=1)
    assert till.json(*words, exits=1)["retry"] is None


def test_the_results_show_what_is_tried_again_as_open(paid) -> None:
    """Also if the run after it is stopped before that payout: the journal has it as open, too."""
    assert paid.results()["k3"]["state"] == "failed"
    paid.provider.top_up(20_000, "usd")
    paid("retry", "p.csv", "--yes", exits=1)
    assert {paid.results()[key]["state"] for key in ("k2", "k3")} == {"open"}
    paid("pay", "p.csv", "--yes", "--concurrency", "1", exits=6)
    assert [paid.results()[f"k{n}"]["state"] for n in range(4)] == [
        *("failed", "succeeded", "succeeded", "open")
    ]


def test_results_at_another_path(paid) -> None:
    """They are named, with the file only; what can't be written is reported."""
    other = paid.folder / "other.csv"
    (paid.folder / "p.csv.results.csv").rename(other)
    told = paid("retry", "p.csv", "--yes", "--results", "p.csv", exits=2).stderr
    assert "--results: is the file to be paid" in told
    words = ("retry", "p.csv", "--yes", "--results", "other.csv")
    paid(*words, "--key", "k2")
    assert paid.results("other.csv")["k2"]["state"] == "open"
    assert not (paid.folder / "p.csv.results.csv").exists()
    other.write_text("mine\n", encoding="utf-8")
    assert "other.csv: holds something else than results" in paid(*words, exits=1).stderr
    assert other.read_text(encoding="utf-8") == "mine\n"
    (paid.folder / "p.csv").rename(paid.folder / "q.csv")
    assert "--results: goes with FILE" in paid(*words, exits=2).stderr


def test_by_batch_key_and_code(paid) -> None:
    """The batch may be named, and some of its payouts; a code that the operator knows counts."""
    paid.provider.top_up(100_000, "usd")
    one = paid.json("retry", "p.csv", "--yes", "--key", "k2")
    assert (one["batch"], one["retried"], one["not_retried"]) == ("p.csv", 1, [])
    (paid.folder / "p.csv").rename(paid.folder / "other.csv")
    rest = paid.json("retry", "p.csv", "--yes", "--code", "account_not_found")
    assert (rest["retried"], rest["next"]) == (2, "smartglocal payouts pay p.csv")
    assert paid("retry", "p.csv", "--yes").stderr == "the batch 'p.csv' has no failed payouts\n"


def test_refused(paid) -> None:
    """A key that didn't fail, a batch that isn't there, no terminal to ask in."""
    result = paid("retry", "p.csv", "--yes", "--key", "k1", exits=2)
    assert "--key: 'k1' isn't the key of a failed payout of the batch 'p.csv'" in result.stderr
    assert "has no batch 'q.csv'" in paid("retry", "q.csv", "--yes", exits=2).stderr
    assert "--yes: required without a terminal" in paid("retry", "p.csv", exits=2).stderr


def test_provider_that_is_not_reached(paid) -> None:
    """One line with the cause, and nothing is written."""
    before = paid.json("status", "p.csv", exits=1)
    paid.has(FILE)
    result = paid(
        *("retry", "p.csv", "--yes", "--journal", str(paid.journal)),
        *("--server", "http://127.0.0.1:9"),
        exits=4,
    )
    assert result.stderr.count("\n") == 1
    assert "the provider can't be reached, so nothing was sent" in result.stderr
    assert paid.json("status", "p.csv", exits=1) == before


@needs_postgres
def test_workers_pay_it(till, schema) -> None:
    """In a journal with workers, these pay it: the journal kept its request."""
    till.opens(rules=POOR)
    journal = f"{DSN}?schema={schema}"
    till.monkeypatch.setenv("SMARTGLOCAL_JOURNAL", journal)
    till.monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", till("journal", "new-key").stdout.strip())
    till.has(FILE)
    till("submit", "p.csv", "--yes", "--ignore-balance")
    till("work", "--until-done", "--concurrency", "1")
    till.provider.top_up(100_000, "usd")
    retried = till.json("retry", "p.csv", "--yes", exits=1)
    assert retried["retried"] == 2
    assert retried["next"].startswith("smartglocal payouts work")
    till("work", "--until-done")
    assert [till.provider.order(f"k{n}").moved for n in range(4)] == [0, 1, 1, 1]
