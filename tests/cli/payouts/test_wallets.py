"""What the wallets hold, before the question whether to pay."""

from typing import Any, Final

import pytest
from till import DECLINED, rows, session_calls

from smartglocal_async import emulator
from smartglocal_async.emulator import Fault, FaultKind, FaultScript

POOR: Final = emulator.Rules(wallets={"usd": 25_000, "eur": 0})


def cells(text: str) -> list[str]:
    """Return the cells of the row below the title of the table of wallets."""
    _, _, behind = text.partition("In the wallet")
    return behind.splitlines()[2].split()


def test_a_wallet_that_is_too_small(till) -> None:
    """The table shows what it lacks; the run stops, and a rerun pays on once there is more."""
    till.opens(rules=POOR)
    till.has(rows(4))
    first = till("pay", "p.csv", "--yes", "--concurrency", "1", exits=6)
    assert cells(first.stdout) == ["406.00", "USD", "250.00", "USD", "156.00", "USD"]
    words = "the wallets lack 156.00 USD of 406.00 USD; the run stops before the first payout"
    assert words in first.stderr
    assert "the wallets can't pay 'k2' in usd" in first.stderr
    till.provider.top_up(20_000, "usd")
    again = till("pay", "p.csv", "--yes", "--concurrency", "1")
    table = "406.00 USD 201.00 USD 205.00 USD 249.00 USD"
    assert cells(again.stdout) == table.split()
    assert "lack" not in again.stderr
    assert [till.provider.order(f"k{n}").moved for n in range(4)] == [1, 1, 1, 1]
    done = till("pay", "p.csv", "--yes")
    assert cells(done.stdout)[4:6] == ["0.00", "USD"]


def test_what_failed_is_not_left(till) -> None:
    """A payout that failed isn't paid again, and so isn't counted as left."""
    till.opens()
    till.has(rows(2, k1=DECLINED))
    till("pay", "p.csv", "--yes", exits=1)
    result = till("pay", "p.csv", "--yes", exits=1)
    assert "Failed before" in result.stdout
    table = "766.01 USD 100.00 USD 666.01 USD 0.00 USD 999,900.00 USD"
    assert cells(result.stdout) == table.split()


def test_the_balance_may_be_ignored(till) -> None:
    """The provider declines what it can't cover, and that can be retried later."""
    till.opens(rules=POOR)
    till.has(rows(4))
    said = till.json("pay", "p.csv", "--yes", "--concurrency", "1", "--ignore-balance", exits=1)
    assert (said["succeeded"], said["failed"]) == (2, 2)
    assert {one["code"] for one in said["not_paid"]} == {"insufficient_funds"}


def test_a_currency_without_a_wallet(till) -> None:
    """It is named as such, and lacks the whole sum."""
    till.opens(rules=POOR)
    till.has(rows(1).replace("usd", "gbp"))
    result = till("pay", "p.csv", "--yes", exits=6)
    assert "no wallet" in result.stdout
    assert "the wallets lack 100.00 GBP of 100.00 GBP" in result.stderr


@pytest.mark.parametrize("words", [("pay",), ("pay", "--ignore-balance")])
@pytest.mark.parametrize(
    ("kind", "text"),
    [(FaultKind.SERVER_ERROR, "doesn't answer as its API does"), (FaultKind.BEFORE, "")],
)
def test_wallets_that_cannot_be_read(till, words, kind, text) -> None:
    """4: one line has the cause, and there is no journal."""
    fault = Fault(kind, operation="wallet/balance", rate=1.0)
    provider = till.opens(faults=FaultScript((fault,)))
    till.has(rows(2))
    result = till(*words, "p.csv", "--yes", exits=4)
    assert "so nothing was sent and nothing was written: wallet/balance" in result.stderr
    assert text in result.stderr
    assert not till.state.exists()
    assert session_calls(provider) == 0


def test_check_shows_the_wallets(till) -> None:
    """Whatever they hold, the file is fit; --offline asks nothing, nor is a gone provider fatal."""
    provider = till.opens(rules=POOR)
    till.has(rows(4))
    assert cells(till("check", "p.csv").stdout)[:2] == ["406.00", "USD"]
    wallet: dict[str, Any] = till.json("check", "p.csv")["wallets"][0]
    assert wallet == {
        "currency": "usd",
        "to_pay": 40_600,
        "paid_before": 0,
        "failed_before": 0,
        "left": 40_600,
        "in_wallet": 25_000,
        "lacks": 15_600,
    }
    requests = provider.report().requests
    assert till.json("check", "p.csv", "--offline")["wallets"] is None
    till.monkeypatch.delenv("SMARTGLOCAL_PROJECT")
    assert till.json("check", "p.csv")["wallets"] is None
    assert provider.report().requests == requests
    till.monkeypatch.setenv("SMARTGLOCAL_PROJECT", "another")
    result = till("check", "p.csv")
    assert result.stderr.startswith("the wallets weren't read: wallet/balance: refused")
