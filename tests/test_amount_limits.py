"""The limits of amounts that a client was given."""

from typing import Any, Final

import pytest
from paying import order

import smartglocal_async as sg

LIMITS: Final = {"usd": (1_000, 100_000), "jpy": (1, 10)}
LIMITED: Final = sg.Settings(amount_limits=LIMITS, rules=sg.RuleUse.OFF)
CARD: Final = sg.EncryptedCard(number_hash="hash")
IN_USD: Final = "must be 10.00 to 1000.00 USD (Settings.amount_limits)"


def request(call: str, units: int, currency: str) -> Any:
    """Return the request of a call with an amount."""
    money: dict[str, Any] = {"amount_details": sg.AmountDetails(units, currency)}
    match call:
        case "create":
            return sg.CreateSession(**money)
        case "start_payout":
            return sg.StartPayout(session_id="ps_1", **money)
        case "start_payment":
            return sg.StartPayment(session_id="ps_1", **money)
        case "init_payout":
            return sg.InitPayout(payment_method=CARD, **money)
        case _:
            return sg.InitPayment(payment_details=CARD, customer=sg.Customer(), **money)


@pytest.mark.parametrize(
    ("money", "problem"),
    [
        ((999, "usd"), IN_USD),
        ((100_001, "USD"), IN_USD),
        ((11, "jpy"), "must be 1 to 10 JPY (Settings.amount_limits)"),
        ((1_000, "usd"), None),
        ((100_000, "usd"), None),
        ((1, "eur"), None),
    ],
)
@pytest.mark.parametrize(
    "call", ["create", "start_payout", "start_payment", "init_payout", "init_payment"]
)
async def test_an_amount_outside_of_the_limits(provider, connect, call, money, problem) -> None:
    """It is refused before anything is sent; a currency without limits has none."""
    api = connect(provider, settings=LIMITED)
    caught: Any = None
    try:
        _ = await getattr(api.session, call)(request(call, *money))
    except (sg.InvalidRequest, sg.CallFailed) as error:
        caught = error
    if problem is None:
        assert not isinstance(caught, sg.InvalidRequest)
        assert provider.report().requests > 0
    else:
        assert (caught.field, caught.problem) == ("amount_details.amount", problem)
        assert provider.report().requests == 0


async def test_a_free_call_is_limited(provider, connect) -> None:
    """Whatever its amount looks like, it isn't sent or it is the provider's to refuse."""
    api = connect(provider, settings=LIMITED)
    with pytest.raises(sg.InvalidRequest, match=r"amount_details\.amount"):
        await api.call("session/create", {"amount_details": {"amount": 1, "currency": "USD"}})
    for odd in ({"amount": "1", "currency": "usd"}, {"amount": 1}, [], "1"):
        with pytest.raises(sg.CallFailed):
            await api.call("session/create", {"amount_details": odd})


async def test_a_payout_outside_of_the_limits_is_not_written(provider, connect, journal) -> None:
    """Alone it is an error, and one of a batch is refused."""
    api = connect(provider, settings=LIMITED)
    async with sg.Payouts(api, journal) as payouts:
        with pytest.raises(sg.InvalidRequest, match=r"amount_details\.amount"):
            _ = await payouts.pay(order("k-1", 999))
        assert await journal.find("k-1") is None
        assert provider.report().requests == 0
        orders = [order("k-2", 2_000), order("k-3", 999)]
        outcomes = {one.key: one async for one in payouts.pay_all(orders)}
    assert outcomes["k-2"].is_paid
    assert outcomes["k-3"].state is sg.PayoutState.REFUSED
    assert outcomes["k-3"].error.field == "amount_details.amount"


async def test_a_refund_has_no_limit(provider, connect) -> None:
    """Only what is created or started has one."""
    api = connect(provider, settings=LIMITED)
    part = sg.RefundPayment(session_id="ps_1", amount_details=sg.AmountDetails(1, "usd"))
    with pytest.raises(sg.CallFailed):
        await api.session.refund(part)
