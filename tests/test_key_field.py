"""The metadata field of the key: one setting for calls, lists and files."""

import json
from contextlib import nullcontext

import pytest
from attrs import evolve
from paying import QUICK, order

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.codec import codec
from smartglocal_async.payouts.preflight import check


def test_the_default_is_one_name():
    """The same default in the client, the emulator and payout files."""
    assert sg.Settings().key_field == "idempotency_key"
    assert emulator.Rules().key_field == "idempotency_key"
    assert sg.PayoutFile("p.csv").key_field == "idempotency_key"


@pytest.mark.parametrize(
    ("key_field", "metadata", "is_fit"),
    [
        ("idempotency_key", {"idempotency_key": "other"}, False),
        ("idempotency_key", {"order_key": "other"}, True),
        ("order_key", {"order_key": "other"}, False),
        ("order_key", {"idempotency_key": "other"}, True),
        ("order_key", {"order_key": "k-1"}, True),
    ],
)
def test_the_field_of_the_key_is_the_clients(tmp_path, key_field, metadata, is_fit):
    """A row is checked with the setting with which it is sent, in a list and in a file."""
    row = {**codec("v1").wire(order()), "key": "k-1", "metadata": metadata}
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    assert check([order("k-1", metadata=metadata)], key_field=key_field).is_fit is is_fit
    assert check(sg.PayoutFile(path), key_field=key_field).is_fit is is_fit
    assert check(sg.PayoutFile(path, key_field=key_field)).is_fit is is_fit


@pytest.mark.parametrize(("key_field", "paid"), [("order_key", 0), ("idempotency_key", 1)])
async def test_approved_rows_are_paid(tmp_path, key, provider, key_field, paid):
    """The approval of a batch and the payment of its rows use the same check."""
    row = {**codec("v1").wire(order()), "key": "k-1", "metadata": {"order_key": "other"}}
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    settings = evolve(QUICK, key_field=key_field)
    outcomes = list[sg.PayoutOutcome]()
    async with (
        sg.SmartGlocal("demo", key, provider.url, settings=settings) as api,
        sg.Payouts(api, sg.SQLiteJournal(tmp_path / "j")) as payouts,
    ):
        run = payouts.pay_all(sg.PayoutFile(path), approve=lambda _: True)
        with nullcontext() if paid else pytest.raises(sg.InvalidRequest, match="order_key"):
            outcomes += [outcome async for outcome in run]
    assert sum(outcome.is_paid for outcome in outcomes) == paid


MARKS = ("payout_key", "payout_journal", "payout_order", "payout_session")


@pytest.mark.parametrize("mode", sg.Mode)
@pytest.mark.parametrize("name", MARKS)
async def test_no_order_has_a_field_that_is_ours(connect, provider, journal, name, mode):
    """The answer would look like another payout's: nothing is written, and nothing is sent."""
    marked = order(metadata={"invoice": 7, name: "mine"})
    found = check([marked])
    assert not found.is_fit
    assert found.problems[0].column == f"metadata.{name}"
    payouts = sg.Payouts(connect(provider), journal, mode=mode, accept_unknown=True)
    async with payouts:
        with pytest.raises(
            sg.InvalidRequest, match=rf"^metadata\.{name}: payouts use this field themselves"
        ):
            await payouts.pay(marked)
        (outcome,) = [one async for one in payouts.pay_all([marked])]
        assert await journal.find("k-1") is None
    assert outcome.state is sg.PayoutState.REFUSED
    assert provider.session_ids == ()


@pytest.mark.parametrize("name", MARKS)
def test_the_command_line_names_the_field(till, name):
    """The file is refused as a whole, before the question."""
    till.opens()
    columns = f"key,amount,currency,card_token,full_name,metadata.{name}"
    file = till.has(f"{columns}\nk-1,1.00,usd,hash,Jane Roe,mine\n")
    for words in (("check", str(file)), ("pay", str(file), "--yes")):
        assert f"metadata.{name}" in till(*words, exits=1).output
    assert till.provider.session_ids == ()


@pytest.mark.parametrize("name", MARKS)
def test_the_key_has_no_field_that_is_ours(connect, provider, journal, name):
    """The metadata names of a payout and of the key of a call differ."""
    api = connect(provider, settings=sg.Settings(key_field=name))
    with pytest.raises(sg.InvalidRequest, match=r"^Settings\.key_field"):
        sg.Payouts(api, journal)
