"""What the caller hears of rules: refusals, warnings at their own line, and no value of theirs."""

import warnings
from typing import Any, Final

import pytest
from rawserver import Peer, answer, serve

import smartglocal_async as sg

NUMBER: Final = "4242424242424241"
BAD_CARD: Final = sg.CreateSession(payment_method=sg.BankCard(number=NUMBER))
ADVISED: Final = sg.InitPayment(
    payment_details=sg.BankCard(
        number="4242424242424242", expiration_month="12", expiration_year="49"
    ),
    amount_details=sg.AmountDetails(100, "eur"),
    customer=sg.Customer(reference="c"),
)
FINE: Final = sg.CreateSession(amount_details=sg.AmountDetails(100, "eur"))


class Stamp:
    """A signer that costs nothing."""

    async def sign(self, body: bytes) -> str:
        """Sign nothing."""
        del body
        return "c3RhbXA="


def good(peer: Peer) -> None:
    """Answer every request with a session."""
    while peer.read_request():
        peer.send(answer())


async def heard(request: Any, rules: sg.RuleUse) -> tuple[list[Any], int]:
    """Make a call; give what was warned of, and how many requests were sent."""
    call = "init_payment" if isinstance(request, sg.InitPayment) else "create"
    with serve(good) as server, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", sg.RuleBroken)
        settings = sg.Settings(rules=rules)
        async with sg.SmartGlocal("demo", Stamp(), server.url, settings=settings) as api:
            try:
                await getattr(api.session, call)(request)
            except sg.InvalidRequest as error:
                told.append(error)
    return told, len(server.requests)


@pytest.mark.parametrize(
    ("request_", "rules", "words", "sent"),
    [
        (BAD_CARD, sg.RuleUse.REFUSE, ["payment_method.card.bank_card.number"], 0),
        (BAD_CARD, sg.RuleUse.WARN, ["payment_method.card.bank_card.number"], 1),
        (BAD_CARD, sg.RuleUse.OFF, [], 1),
        (ADVISED, sg.RuleUse.REFUSE, ["payment_details.card.bank_card.security_code"], 1),
        (ADVISED, sg.RuleUse.WARN, ["payment_details.card.bank_card.security_code"], 1),
        (ADVISED, sg.RuleUse.OFF, [], 1),
        (FINE, sg.RuleUse.REFUSE, [], 1),
    ],
)
async def test_what_becomes_of_a_broken_rule(request_, rules, words, sent) -> None:
    """Refused where it is certain, told where it is advice, and as the setting says."""
    told, requests = await heard(request_, rules)

    assert requests == sent
    texts = [str(one if isinstance(one, Exception) else one.message) for one in told]
    assert [text.partition(":")[0] for text in texts] == words
    assert NUMBER not in "".join(texts)


async def test_a_warning_shows_the_line_of_the_caller() -> None:
    """So that each line that breaks a rule is told of once, by Python's own default."""
    with serve(good) as server:
        settings = sg.Settings(rules=sg.RuleUse.WARN)
        async with sg.SmartGlocal("demo", Stamp(), server.url, settings=settings) as api:
            with pytest.warns(sg.RuleBroken) as told:
                await api.session.create(BAD_CARD)
            assert told[0].filename == __file__


async def test_a_warning_that_is_an_error_shows_no_card() -> None:
    """It leaves through no frame that holds the request as plain data."""
    with serve(good) as server:
        settings = sg.Settings(rules=sg.RuleUse.WARN)
        async with sg.SmartGlocal("demo", Stamp(), server.url, settings=settings) as api:
            with pytest.raises(sg.RuleBroken) as raised:
                await api.session.create(BAD_CARD)
    shown = [repr(entry.frame.f_locals) for entry in raised.traceback]
    assert NUMBER not in "".join(shown)
    assert not server.requests


async def test_a_free_call_has_no_rules() -> None:
    """Its body goes out as it is."""
    body = {"payment_method": {"type": "card", "card": {"type": "bank_card"}}}
    with serve(good) as server:
        async with sg.SmartGlocal("demo", Stamp(), server.url) as api:
            await api.call("session/init/payout", body)
    assert len(server.requests) == 1
