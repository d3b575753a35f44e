"""Payouts to Steam and other wallets and to card tokens: from a file to the bank, once."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from till import Till

import smartglocal_async as sg
from smartglocal_async import models

WORD: Final = "player-11"
SHORT: Final = (
    "steam_account",
    "qiwi_account",
    "yoomoney_account",
    "moneta_account",
    "tokenized_card",
)
PAYEES: Final[list[tuple[str, Any]]] = [
    ("steam_account", models.SteamWallet(account="player-11")),
    ("qiwi_account", models.QiwiWallet(account="player-11")),
    ("yoomoney_account", models.YooMoneyWallet(account="player-11")),
    ("moneta_account", models.MonetaWallet(account="player-11")),
    ("tokenized_card", models.TokenizedCard(token=WORD)),
    ("payment_method.wallet.steam.account", models.SteamWallet(account="player-11")),
    ("payment_method.wallet.qiwi.account", models.QiwiWallet(account="player-11")),
    ("payment_method.wallet.yoomoney.account", models.YooMoneyWallet(account="player-11")),
    ("payment_method.wallet.moneta.account", models.MonetaWallet(account="player-11")),
    ("payment_method.card.tokenized_card.token", models.TokenizedCard(token=WORD)),
]
payees: Final = pytest.mark.parametrize(
    ("column", "payee"), PAYEES, ids=[column for column, _ in PAYEES]
)


def file_of(folder: Path, column: str, *rows: str) -> sg.PayoutFile:
    """Return a CSV with a column of payees."""
    path = folder / "p.csv"
    path.write_text("\n".join((f"key,amount,currency,{column}", *rows, "")), encoding="utf-8")
    return sg.PayoutFile(path)


@payees
def test_a_row_is_the_order(tmp_path, column, payee) -> None:
    """Under its short name, or under its path."""
    (order,) = file_of(tmp_path, column, "k-1,450.00,RUB,player-11")
    assert (order.payment_method, order.amount_details) == (payee, sg.AmountDetails(45_000, "rub"))


@pytest.mark.parametrize("column", [column for column, _ in PAYEES])
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_row_is_paid_once(connect, provider, tmp_path, column, version) -> None:
    """In either version; a second run shows the first result."""
    journal = sg.journal.MemoryJournal(unsafe=True)
    file = file_of(tmp_path, column, "k-1,450.00,rub,player-11")
    for _ in range(2):
        async with sg.Payouts(connect(provider, api_version=version), journal) as payouts:
            (outcome,) = [one async for one in payouts.pay_all(file)]
        assert outcome.state is sg.PayoutState.SUCCEEDED
    assert [move.amount for move in provider.order("k-1").movements] == [45_000]


def test_what_is_wrong_with_steam(tmp_path) -> None:
    """Another currency than roubles, no account, or a second instrument."""
    rows = ("k-1,5.00,usd,player-11", "k-2,5.00,rub,", "k-3,5.00,rub, player-11 ")
    found = list(file_of(tmp_path, "steam_account", *rows).rows())
    assert [[one.column for one in row.problems] for row in found] == [
        ["currency"],
        ["payment_method"],
        [],
    ]
    assert found[2].order is not None
    assert found[2].order.payment_method == models.SteamWallet(account="player-11")
    both = file_of(tmp_path, "steam_account,wallet_phone", "k-1,5.00,rub,player-11,639170000000")
    assert "belongs to another instrument" in str(next(iter(both.rows())).problems[0])
    line = {
        "key": "k-1",
        "payment_method": {"type": "wallet", "wallet": {"type": "steam", "steam": {"account": ""}}},
        "amount_details": {"amount": 500, "currency": "rub"},
    }
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(line), encoding="utf-8")
    ((row,),) = [list(sg.PayoutFile(path).rows())]
    assert [one.column for one in row.problems] == ["payment_method.wallet.steam.account"]


@pytest.mark.parametrize("column", [column for column, _ in PAYEES[6:]])
def test_a_payee_without_account_is_refused(tmp_path, column) -> None:
    """The records take an empty text; no payout to it begins."""
    *holder, name = column.split(".")
    wire: dict[str, Any] = {name: ""}
    outer, inner = holder[1:]
    line = {
        "key": "k-1",
        "payment_method": {"type": outer, outer: {"type": inner, inner: wire}},
        "amount_details": {"amount": 500, "currency": "rub"},
    }
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(line), encoding="utf-8")
    ((row,),) = [list(sg.PayoutFile(path).rows())]
    assert [(one.column, one.is_advice) for one in row.problems] == [
        (f"payment_method.{outer}.{inner}", False)
    ]


def test_repeats_of_a_wallet_are_found(tmp_path) -> None:
    """The same account and amount under two keys, as of any payee."""
    rows = ("k-1,5.00,rub,player-11", "k-2,5.00,rub,player-12", "k-3,5.00,rub,player-11")
    found = sg.payouts.check(file_of(tmp_path, "steam_account", *rows))
    assert [(one.first_line, one.line) for one in found.repeats] == [(2, 4)]


async def test_the_rate_that_steam_is_paid_at(api, payouts, tmp_path) -> None:
    """Asked beside the payout, as the page advises; the amount stays in roubles."""
    rate = await api.exchange_rate.get()
    (order,) = file_of(tmp_path, "steam_account", "k-1,450.00,rub,player-11")
    outcome = await payouts.pay(order)
    assert outcome.state is sg.PayoutState.SUCCEEDED
    assert (rate.source_currency, rate.destination_currency) == ("RUB", "USD")
    assert Decimal(order.amount_details.amount) * rate.rate == Decimal("562.5")


@pytest.mark.parametrize("column", SHORT)
def test_the_commands_pay_wallets_and_tokens(till: Till, monkeypatch, column) -> None:
    """`check` and `pay`, under both versions; the account is shown by its end only."""
    till.opens()
    for number, version in enumerate(("v1", "v2")):
        monkeypatch.setenv("SMARTGLOCAL_API_VERSION", version)
        text = f"key,amount,currency,{column}\ns{number},450.00,rub,player-1{number}\n"
        path = till.has(text, f"{version}.csv")
        assert "player-1" not in till("check", str(path)).output
        _ = till("pay", str(path), "--yes")
        assert len(till.provider.order(f"s{number}").movements) == 1
