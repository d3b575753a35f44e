"""Which answers are about our own call or payout: each comparison, row by row."""

from typing import Any, Final

import pytest
from attrs import evolve

import smartglocal_async as sg
from smartglocal_async.codec import codec
from smartglocal_async.idempotency import Mark
from smartglocal_async.matching import Expected, Owner, contradicts_call, differences
from smartglocal_async.models.money import Amount

MARK: Final = Mark("k-1", "idempotency_key")
EXPECTED: Final = Expected(
    mark=MARK,
    amount=Amount(10_000, "usd"),
    journal_id="j-1",
    order="00112233445566aa",
    last4="4242",
)
ANOTHER_SESSION: Final = "the answer is about another session"
ANOTHER_KEY: Final = "the answer carries another idempotency key"
ANOTHER_CALL: Final = "the answer carries the metadata of another call"


def session(status: str = "created", **fields: Any) -> sg.Session:
    """Return a session from its JSON form."""
    return codec("v1").structure({"id": "ps_1", "status": status, **fields}, sg.Session)


def keyed(key: str | int, **more: object) -> dict[str, object]:
    """Return metadata with a key."""
    return {"idempotency_key": key, **more}


def with_payouts(*metadata: object) -> dict[str, Any]:
    """Return payouts with this metadata."""
    return {
        "payments": [
            {"id": f"po_{number}", "status": "pending", "metadata": one}
            for number, one in enumerate(metadata, 1)
        ]
    }


def with_payments(*metadata: object) -> dict[str, Any]:
    """Return payments with this metadata."""
    return {"acquiring_payments": with_payouts(*metadata)["payments"]}


@pytest.mark.parametrize(
    ("shown", "asked", "mark", "sent", "why"),
    [
        # The requested session id decides alone.
        (session(), "ps_1", MARK, None, None),
        (session(), "ps_2", MARK, None, ANOTHER_SESSION),
        (session(), "ps_2", None, None, ANOTHER_SESSION),
        (session(metadata=keyed("k-2")), "ps_1", MARK, None, None),
        # For a call that creates a session, the key in the metadata decides, if it is shown.
        (session(), None, MARK, None, None),
        (session(metadata=keyed("k-1")), None, MARK, None, None),
        (session(metadata=keyed("k-2")), None, MARK, None, ANOTHER_KEY),
        (session(metadata={"other": "k-2"}), None, MARK, None, None),
        (session(metadata=keyed(2)), None, MARK, None, None),
        (session(metadata=keyed("k-2")), None, None, None, None),
        # Otherwise the keys of the items in the session.
        (session(**with_payouts(keyed("k-1"))), None, MARK, None, None),
        (session(**with_payouts(keyed("k-2"))), None, MARK, None, ANOTHER_KEY),
        (session(**with_payouts(keyed("k-1"), keyed("k-2"))), None, MARK, None, ANOTHER_KEY),
        (session(**with_payments(keyed("k-1"))), None, MARK, None, None),
        (session(**with_payments(keyed("k-2"))), None, MARK, None, ANOTHER_KEY),
        (session(**with_payouts({"other": 1}, "k-2", None)), None, MARK, None, None),
        # Items of a session that shows its own key have keys of their own, too.
        (session(metadata=keyed("k-1"), **with_payouts(keyed("k-2"))), None, MARK, None, None),
        (session(metadata={"a": 1}, **with_payouts(keyed("k-2"))), None, MARK, None, ANOTHER_KEY),
        # Metadata that is text or a number is returned as it was sent.
        (session(metadata="order-1"), None, None, "order-1", None),
        (session(metadata="order-2"), None, None, "order-1", ANOTHER_CALL),
        (session(metadata=7), None, None, 7, None),
        (session(metadata="7"), None, None, 7, None),
        (session(metadata=8), None, None, 7, ANOTHER_CALL),
        (session(metadata=True), None, None, "order-1", None),
        (session(metadata="order-1"), None, None, True, None),
        (session(metadata=None), None, None, "order-1", None),
        (session(metadata={"a": 1}), None, None, "order-1", None),
        (session(metadata="order-1"), None, None, {"a": 1}, None),
        (session(metadata="order-1"), None, None, None, None),
        (session(metadata="order-1"), None, MARK, "order-1", None),
        (session(metadata="order-2"), "ps_1", None, "order-1", None),
    ],
)
def test_what_contradicts_a_call(shown, asked, mark, sent, why) -> None:
    """Another session, key or metadata contradicts the call; a missing one doesn't."""
    assert contradicts_call(shown, asked, mark, sent) == why


OURS: Final = keyed("k-1", payout_journal="j-1", payout_order="00112233445566aa")


@pytest.mark.parametrize(
    ("metadata", "owner"),
    [
        (OURS, Owner.OURS),
        ({**OURS, "invoice": 7}, Owner.OURS),
        (keyed("k-1", payout_journal="j-1"), Owner.OURS),
        (
            {"payout_key": "k-1", "payout_journal": "j-1", "payout_order": "00112233445566aa"},
            Owner.OURS,
        ),
        ({**OURS, "payout_key": "k-2"}, Owner.OURS),
        ({**OURS, "idempotency_key": "k-2"}, Owner.OTHER),
        ({**OURS, "idempotency_key": 1}, Owner.OTHER),
        ({**OURS, "payout_journal": "j-2"}, Owner.OTHER),
        ({**OURS, "payout_journal": None}, Owner.OTHER),
        ({**OURS, "payout_order": "0000000000000000"}, Owner.OTHER),
        ({**OURS, "payout_order": None}, Owner.OTHER),
        (keyed("k-1"), Owner.OTHER),
        ({"payout_key": "k-2", "payout_journal": "j-1"}, Owner.OTHER),
        ({"payout_journal": "j-1"}, Owner.UNMARKED),
        ({"idempotency_key": None, "payout_journal": "j-1"}, Owner.UNMARKED),
        ({}, Owner.UNMARKED),
        (None, Owner.UNMARKED),
        ("k-1", Owner.UNMARKED),
        ([OURS], Owner.UNMARKED),
    ],
)
def test_whose_payout_it_is(metadata, owner) -> None:
    """Key, journal and order together; without a key the result is open."""
    assert EXPECTED.owner(metadata) is owner


def test_the_key_may_have_another_name() -> None:
    """With the name in `Settings(key_field=...)`."""
    expected = evolve(EXPECTED, mark=Mark("k-1", "reference"))
    assert expected.owner({"reference": "k-1", "payout_journal": "j-1"}) is Owner.OURS
    assert expected.owner({"idempotency_key": "k-1", "payout_journal": "j-1"}) is Owner.UNMARKED


@pytest.mark.parametrize(
    ("metadata", "is_ours", "is_elsewhere"),
    [
        (None, True, False),
        ("k-1", True, False),
        ({}, True, False),
        ({"payout_key": "k-1"}, True, False),
        ({"payout_journal": "j-1"}, True, False),
        ({"payout_order": "00112233445566aa"}, True, False),
        ({"payout_key": "k-1", "payout_journal": "j-1"}, True, False),
        ({"payout_key": "k-2", "payout_journal": "j-1"}, False, False),
        ({"payout_key": "k-2"}, False, False),
        ({"payout_key": "k-1", "payout_journal": "j-2"}, False, True),
        ({"payout_key": "k-2", "payout_journal": "j-2"}, False, False),
        ({"payout_journal": "j-2"}, False, False),
        (keyed("k-1", payout_journal="j-2"), False, True),
        (keyed("k-1", payout_key="k-2", payout_journal="j-2"), False, False),
        (keyed("k-1:1.1", payout_key="k-1", payout_journal="j-1"), True, False),
        ({"payout_order": "0000000000000000"}, False, False),
        ({"payout_key": "k-1", "payout_order": "0000000000000000"}, False, False),
    ],
)
def test_whose_session_it_is(metadata, is_ours, is_elsewhere) -> None:
    """Missing metadata contradicts nothing; our key in another journal is another payout."""
    assert EXPECTED.is_session(metadata) is is_ours
    assert EXPECTED.is_key_elsewhere(metadata) is is_elsewhere


@pytest.mark.parametrize(
    ("amount", "card", "is_as_ordered"),
    [
        (Amount(10_000, "usd"), None, True),
        (Amount(10_000, "usd"), sg.models.MaskedCard(last4="4242"), True),
        (Amount(10_000, "usd"), sg.models.MaskedCard(last4=None, brand="visa"), True),
        (Amount(10_000, "usd"), sg.models.MaskedCard(last4="42-42"), True),
        (Amount(10_000, "usd"), sg.models.MaskedCard(last4="1111"), False),
        (Amount(10_000, "usd"), sg.BankCard(number="4012888888884242"), True),
        (Amount(10_000, "usd"), sg.BankCard(number="4111111111111111"), False),
        (Amount(10_000, "usd"), sg.EncryptedCard(number_hash="1111"), True),
        (Amount(10_000, "eur"), sg.models.MaskedCard(last4="4242"), False),
        (Amount(10_001, "usd"), sg.models.MaskedCard(last4="4242"), False),
        (None, sg.models.MaskedCard(last4="4242"), False),
    ],
)
def test_what_was_ordered(amount, card, is_as_ordered) -> None:
    """Amount, currency, and the last digits of the card if both are known."""
    payout = sg.Payout(id="po_1", status="pending", amount_details=amount, payment_method=card)
    assert EXPECTED.is_as_ordered(payout) is is_as_ordered
    without = evolve(EXPECTED, last4=None)
    assert without.is_as_ordered(payout) is (amount == Amount(10_000, "usd"))
    without = evolve(EXPECTED, amount=None)
    is_other_card = card in {
        sg.models.MaskedCard(last4="1111"),
        sg.BankCard(number="4111111111111111"),
    }
    assert without.is_as_ordered(payout) is not is_other_card


def test_ours_among_others() -> None:
    """Our payouts, in their order."""
    shown = session(
        **with_payouts(keyed("k-2"), OURS, None, {**OURS, "payout_journal": "j-2"}, OURS)
    )
    assert [payout.id for payout in EXPECTED.ours(shown)] == ["po_2", "po_5"]
    assert EXPECTED.ours(session()) == []


USD: Final = {"amount": 10_000, "currency": "usd"}


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (session("accepted"), "ps_1 is accepted and shows no payout; ordered were 100.00 USD"),
        (
            session(
                "in_progress",
                payments=[
                    {"id": "po_1", "status": "pending", "metadata": OURS, "amount_details": USD},
                    {"id": "po_2", "status": "failed"},
                ],
                acquiring_payments=[{"id": "pm_1", "status": "succeeded"}],
            ),
            (
                "ps_1 is in_progress and shows payout po_1 (pending, 100.00 USD, owner: ours), "
                "payout po_2 (failed, no amount, owner: unknown), payment pm_1 (succeeded); "
                "ordered were 100.00 USD"
            ),
        ),
        (
            session(metadata={"payout_key": "k-2"}, **with_payouts(keyed("k-2"))),
            (
                "ps_1 is created and shows payout po_1 (pending, no amount, owner: "
                "another order's, or another journal's); ordered were 100.00 USD; the session is "
                "that of another payout"
            ),
        ),
        (
            session(metadata={"payout_key": "k-1", "payout_journal": "j-2"}),
            (
                "ps_1 is created and shows no payout; ordered were 100.00 USD; the session is that "
                "of the same key in another journal"
            ),
        ),
    ],
)
def test_both_sides_in_words(shown, words) -> None:
    """What the provider shows, and what was ordered; without metadata and names."""
    assert differences(shown, EXPECTED) == words


@pytest.mark.parametrize(
    ("metadata", "owner"),
    [
        ({"payout_key": "k-1", "payout_journal": "j-1"}, Owner.OURS),
        ({"idempotency_key": "k-1", "payout_journal": "j-1"}, Owner.OURS),
        (
            {"payout_key": "k-1", "idempotency_key": "k-1:1.1", "payout_journal": "j-1"},
            Owner.OURS,
        ),
        ({"payout_key": "k-1"}, Owner.UNMARKED),
        ({"payout_journal": "j-1"}, Owner.UNMARKED),
        ({"payout_order": EXPECTED.order}, Owner.UNMARKED),
        ({}, Owner.UNMARKED),
        (None, Owner.UNMARKED),
        ("k-1", Owner.UNMARKED),
        ({"payout_key": "k-2", "payout_journal": "j-1"}, Owner.OTHER),
        ({"payout_key": "k-1", "payout_journal": "j-2"}, Owner.OTHER),
        ({"payout_key": ["k-1"], "payout_journal": "j-1"}, Owner.OTHER),
        ({"payout_journal": "j-2"}, Owner.OTHER),
        ({"payout_order": "f" * 16}, Owner.OTHER),
        (
            {"payout_key": "k-1", "payout_journal": "j-1", "payout_order": "f" * 16},
            Owner.OTHER,
        ),
    ],
)
def test_whose_payout_a_report_row_is_about(metadata, owner) -> None:
    """By the metadata of its session, which has the key of its create in the other field."""
    assert EXPECTED.row_owner(metadata) is owner


def test_message_without_an_amount() -> None:
    """As for a payout that was adopted from a report without amounts."""
    words = differences(session("accepted"), evolve(EXPECTED, amount=None))
    assert words == "ps_1 is accepted and shows no payout; ordered were no sum that is written"


def test_another_card_in_words() -> None:
    """The message has no digit of the card."""
    shown = sg.Payout(
        id="po_1",
        status="succeeded",
        amount_details=Amount(10_000, "usd"),
        payment_method=sg.models.MaskedCard(last4="1111"),
        metadata=OURS,
    )
    whole = sg.Session(id="ps_1", status="accepted", payout_list=(shown,))
    assert differences(whole, EXPECTED) == (
        "ps_1 is accepted and shows payout po_1 (succeeded, 100.00 USD, another card, owner: "
        "ours); ordered were 100.00 USD"
    )
