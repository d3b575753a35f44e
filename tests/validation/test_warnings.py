"""How broken rules are reported: errors, warnings at the caller's line, and no values."""

import subprocess
import sys
import warnings
from typing import Any, Final

import pytest
from paying import QUICK, order
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


class FakeSigner:
    """A signer that does no work."""

    async def sign(self, body: bytes) -> str:
        """Return a constant signature."""
        del body
        return "c3RhbXA="


def good(peer: Peer) -> None:
    """Answer every request with a session."""
    while peer.read_request():
        peer.send(answer())


async def warnings_of(request: Any, rules: sg.RuleUse) -> tuple[list[Any], int]:
    """Make a call; return the warnings, and how many requests were sent."""
    call = "init_payment" if isinstance(request, sg.InitPayment) else "create"
    with serve(good) as server, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", sg.RuleBroken)
        settings = sg.Settings(rules=rules)
        async with sg.SmartGlocal("demo", FakeSigner(), server.url, settings=settings) as api:
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
async def test_broken_rule_by_setting(request_, rules, words, sent) -> None:
    """An error if required, a warning if advice, or as the setting says."""
    told, requests = await warnings_of(request_, rules)

    assert requests == sent
    texts = [str(one if isinstance(one, Exception) else one.message) for one in told]
    assert [text.partition(":")[0] for text in texts] == words
    assert NUMBER not in "".join(texts)


async def test_a_warning_shows_the_line_of_the_caller() -> None:
    """Python's default filter then reports each line once."""
    with serve(good) as server:
        settings = sg.Settings(rules=sg.RuleUse.WARN)
        async with sg.SmartGlocal("demo", FakeSigner(), server.url, settings=settings) as api:
            with pytest.warns(sg.RuleBroken) as told:
                await api.session.create(BAD_CARD)
            assert told[0].filename == __file__


async def test_a_warning_that_is_an_error_shows_no_card() -> None:
    """No frame of it has the request as plain data."""
    with serve(good) as server:
        settings = sg.Settings(rules=sg.RuleUse.WARN)
        async with sg.SmartGlocal("demo", FakeSigner(), server.url, settings=settings) as api:
            with pytest.raises(sg.RuleBroken) as raised:
                await api.session.create(BAD_CARD)
    shown = [repr(entry.frame.f_locals) for entry in raised.traceback]
    assert NUMBER not in "".join(shown)
    assert not server.requests


async def test_a_free_call_has_no_rules() -> None:
    """Its body is sent unchecked."""
    body = {"payment_method": {"type": "card", "card": {"type": "bank_card"}}}
    with serve(good) as server:
        async with sg.SmartGlocal("demo", FakeSigner(), server.url) as api:
            await api.call("session/init/payout", body)
    assert len(server.requests) == 1


SCRIPT: Final = """
import asyncio, sys
import smartglocal_async as sg

class Stamp:
    async def sign(self, body):
        return "c3RhbXA="

async def main():
    async with sg.SmartGlocal("demo", Stamp(), sys.argv[1]) as api:
        who = sg.ParticipantDetails(recipient=sg.Participant(currency="zzz"))
        session = await api.session.create(sg.CreateSession(participant_details=who))
        print(session.id)

asyncio.run(main())
"""
# A script, a command line and compiled code have no package, or no name at all.
NAMELESS: Final = f"import sys; exec(compile({SCRIPT!r}, 'made', 'exec'), {{}})"


@pytest.mark.parametrize("code", [SCRIPT, NAMELESS], ids=["script", "nameless"])
@pytest.mark.parametrize("is_file", [True, False], ids=["file", "command"])
def test_advice_in_a_program_that_is_no_package(tmp_path, code, is_file) -> None:
    """The call is made and the warning shown, wherever the code came from."""
    script = tmp_path / "script.py"
    script.write_text(code, encoding="utf-8")
    with serve(good) as server:
        program = [str(script)] if is_file else ["-c", code]
        ran = subprocess.run(
            [sys.executable, *program, server.url],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert (ran.returncode, ran.stdout) == (0, "ps_1\n"), ran.stderr
    assert "RuleBroken: participant_details.recipient.currency" in ran.stderr


ADVISED_ORDER: Final = order(
    participant_details=sg.ParticipantDetails(
        recipient=sg.Participant(full_name="Jane Roe", currency="zzz")
    )
)
MODES: Final = [sg.Mode.MANUAL, sg.Mode.AUTOMATIC, sg.Mode.ONE_STEP]


@pytest.mark.parametrize("mode", MODES)
async def test_a_warning_that_is_an_error_leaves_no_payout(connect, provider, journal, mode):
    """It is raised before the journal has a row, and nothing was sent."""
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, mode=mode, accept_unknown=True) as payouts:
        with pytest.raises(sg.RuleBroken, match=r"recipient\.currency"):
            _ = await payouts.pay(ADVISED_ORDER)
        assert (await journal.find("k-1")) is None
    assert provider.report().requests == 0


@pytest.mark.parametrize("mode", MODES)
async def test_advice_about_a_payout_is_a_warning(connect, provider, journal, mode):
    """One warning about the order, whichever call carries it."""
    api = connect(provider, settings=QUICK)
    async with sg.Payouts(api, journal, mode=mode, accept_unknown=True) as payouts:
        with pytest.warns(sg.RuleBroken) as told:
            _ = await payouts.pay(ADVISED_ORDER)
    assert [str(one.message).partition(":")[0] for one in told] == [
        "participant_details.recipient.currency"
    ]


async def test_a_warning_that_is_an_error_refuses_one_payout_of_a_batch(payouts):
    """The other orders of the batch are paid."""
    orders = [order("k-0"), ADVISED_ORDER, order("k-2")]
    outcomes = {one.key: one async for one in payouts.pay_all(orders)}

    assert outcomes["k-1"].state is sg.PayoutState.REFUSED
    assert outcomes["k-1"].error.field == "participant_details.recipient.currency"
    assert [outcomes[key].is_paid for key in ("k-0", "k-2")] == [True, True]


async def test_a_warning_that_is_an_error_refuses_one_request_of_many() -> None:
    """The other sessions are created."""
    with serve(good) as server:
        settings = sg.Settings(rules=sg.RuleUse.WARN)
        async with sg.SmartGlocal("demo", FakeSigner(), server.url, settings=settings) as api:
            many = api.session.create_many([FINE, BAD_CARD, FINE])
            outcomes = {one.index: one async for one in many}
    assert [outcomes[index].outcome for index in range(3)] == [
        sg.CallOutcome.SUCCEEDED,
        sg.CallOutcome.NOT_SENT,
        sg.CallOutcome.SUCCEEDED,
    ]
    assert outcomes[1].error.field == "payment_method.card.bank_card.number"
