"""Payments that their payer finishes in a bank: what is shown, and how long they wait."""

from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from emulated import NOW, VISA, ask, card, pay, payout, show

from smartglocal_async.emulator import (
    Confirmation,
    Reaction,
    Rounding,
    Rules,
    ShownAmounts,
    TimeoutWord,
    TPayTimeout,
)
from smartglocal_async.emulator.bank.bank import EmulatedBank

ID: Final = {"session_id": "ps_1"}
QR: Final = {"type": "faster_payment_system"}
BINDING: Final = {"type": "faster_payment_system_binding"}
T_PAY: Final = {"type": "internet_banking", "internet_banking": {"type": "tpay"}}


def sber(channel: str = "app") -> dict[str, Any]:
    """Return SberPay by a channel."""
    inner = {"type": "sber_pay", "sber_pay": {"channel": channel}}
    return {"type": "internet_banking", "internet_banking": inner}


def begin(bank: EmulatedBank, instrument: Any, amount: int = 700, **more: Any) -> dict[str, Any]:
    """Start a payment and confirm it; return the session as it waits for its payer."""
    terms = {
        "payment_details": instrument,
        "amount_details": {"amount": amount, "currency": "RUB"},
        "customer": {"reference": "u7"},
        **more,
    }
    answer = ask(bank, "session/init/payment", terms)
    assert "error" not in answer, answer
    _ = ask(bank, "session/confirm", ID)
    return show(bank)


def payment(session: dict[str, Any]) -> dict[str, Any]:
    """Return the only payment of a session."""
    [item] = session["acquiring_payments"]
    return item


def test_a_qr_code_is_shown_and_paid() -> None:
    """The content is a link; the payer's phone is shown masked once it is paid."""
    bank = EmulatedBank()
    shown = payment(begin(bank, QR))
    assert shown["status"] == "pending"
    assert shown["payment_details"] == QR
    interaction = shown["customer_interaction"]
    assert interaction["type"] == "inform"
    assert set(interaction["inform"]["qr"]) == {"content", "img"}

    assert bank.act("ps_1", NOW, succeed=True)
    paid = payment(show(bank))
    assert paid["status"] == "succeeded"
    assert paid["customer"]["contacts"] == [{"phone": "7900*****01"}]
    assert bank.report().balances["rub"]["taken"] == 700


@pytest.mark.parametrize(
    ("instrument", "device", "link"),
    [
        (sber(), {}, "/emulator/3ds/pm_1"),
        (T_PAY, {"type": "desktop"}, "/emulator/3ds/pm_1"),
        (T_PAY, {"type": "mobile", "os": "ios"}, "/emulator/3ds/pm_1?in=application"),
    ],
)
def test_a_bank_is_opened_by_a_link(instrument: Any, device: Any, link: str) -> None:
    """Its form follows the device; the options are echoed in the payment."""
    options = {"return_url": "https://shop.example", "platform_details": device}
    shown = payment(begin(EmulatedBank(), instrument, payment_options=options))
    assert shown["customer_interaction"] == {"type": "redirect", "redirect": {"url": link}}
    assert shown["payment_options"] == options


@pytest.mark.parametrize(
    ("instrument", "device", "is_taken"),
    [
        (T_PAY, "mobile", True),
        (T_PAY, "desktop", True),
        (T_PAY, "toaster", False),
        (T_PAY, None, False),
        (sber(), "toaster", True),
    ],
)
def test_the_device_of_a_payer(instrument: Any, device: Any, *, is_taken: bool) -> None:
    """The page of T-Pay has two words; others don't have the field."""
    terms = {
        "payment_details": instrument,
        "amount_details": {"amount": 700, "currency": "RUB"},
        "customer": {"reference": "u7"},
        "payment_options": {"platform_details": {"type": device, "os": "any"}},
    }
    answer = ask(EmulatedBank(), "session/init/payment", terms)
    problem = answer.get("error", {}).get("description", "")
    assert ("error" not in answer) is is_taken
    assert problem.startswith("" if is_taken else "payment_options.platform_details.type: must be")


@pytest.mark.parametrize("instrument", [QR, sber(), T_PAY])
def test_what_was_paid_in_a_bank_is_refunded(instrument: Any) -> None:
    """As a card is, in whole or in part (documented)."""
    bank = EmulatedBank()
    _ = begin(bank, instrument)
    assert bank.act("ps_1", NOW, succeed=True)
    part = {"amount": 300, "currency": "rub"}
    for terms in ({**ID, "amount_details": part}, ID):
        assert "error" not in ask(bank, "session/refund", terms)
        session = show(bank)
    assert [one["status"] for one in payment(session)["refunds"]] == ["accepted", "accepted"]
    assert bank.report().balances["rub"]["refunded"] == 700


@pytest.mark.parametrize("redirects", [False, True])
def test_sberpay_in_a_desktop_browser(*, redirects: bool) -> None:
    """The sister platform sends no action_required then; the payer acts all the same."""
    bank = EmulatedBank(Rules(sberpay_web_redirects=redirects))
    shown = payment(begin(bank, sber("web")))
    assert ("customer_interaction" in shown) is redirects
    sent = [one.type for one in bank.take_notifications()]
    assert ("action_required" in sent) is redirects
    assert bank.act("ps_1", NOW, succeed=True)
    assert payment(show(bank))["status"] == "succeeded"


@pytest.mark.parametrize(
    ("instrument", "minutes", "ends"),
    [
        (QR, 60, ("canceled", "canceled")),
        (sber(), 20, ("canceled", "canceled")),
        (T_PAY, 20, ("canceled", "failed")),
    ],
)
def test_a_payer_who_does_not_act(instrument: Any, minutes: int, ends: Any) -> None:
    """The documented time is over to the second, and nothing was taken."""
    bank = EmulatedBank()
    _ = begin(bank, instrument)
    before = show(bank, now=NOW + timedelta(minutes=minutes, seconds=-1))
    assert (before["status"], payment(before)["status"]) == ("in_progress", "pending")
    after = show(bank, now=NOW + timedelta(minutes=minutes))
    assert (after["status"], payment(after)["status"]) == ends
    assert not bank.act("ps_1", NOW + timedelta(minutes=minutes), succeed=True)
    assert [one.type for one in bank.take_notifications()][-1] == "payment_finished"
    assert bank.report().balances.get("rub", {}).get("taken", 0) == 0


@pytest.mark.parametrize(
    ("rules", "ends"),
    [
        (Rules(tpay_timeout=TPayTimeout.ERROR), ("error", "failed")),
        (Rules(session_timeout=TimeoutWord.CANCELLED), ("cancelled", "failed")),
    ],
)
def test_words_on_which_pages_disagree(rules: Rules, ends: Any) -> None:
    """Each is a switch."""
    bank = EmulatedBank(rules)
    _ = begin(bank, T_PAY)
    after = show(bank, now=NOW + timedelta(minutes=20))
    assert (after["status"], payment(after)["status"]) == ends


@pytest.mark.parametrize(("instrument", "minutes"), [(sber(), 20), (QR, 240), (T_PAY, 240)])
def test_a_confirm_that_does_not_come(instrument: Any, minutes: int) -> None:
    """SberPay waits 20 minutes for it, all others 240."""
    bank = EmulatedBank()
    terms = {
        "payment_details": instrument,
        "amount_details": {"amount": 700, "currency": "rub"},
        "customer": {"reference": "u7"},
    }
    _ = ask(bank, "session/init/payment", terms)
    before = show(bank, now=NOW + timedelta(minutes=minutes, seconds=-1))
    assert before["next_action"] == "confirm"
    after = show(bank, now=NOW + timedelta(minutes=minutes))
    assert (after["status"], after["error"]["code"]) == ("canceled", "confirm_timeout")


def test_a_refusal_by_sberpay_is_seen_late() -> None:
    """Only once the 20 minutes of the order are over; elsewhere at once."""
    bank = EmulatedBank()
    _ = begin(bank, sber())
    assert bank.act("ps_1", NOW, succeed=False)
    assert payment(show(bank))["status"] == "pending"
    assert show(bank, now=NOW + timedelta(minutes=20))["status"] == "canceled"

    other = EmulatedBank()
    _ = begin(other, QR)
    assert other.act("ps_1", NOW, succeed=False)
    refused = show(other)
    assert (refused["status"], payment(refused)["status"]) == ("cancelled", "failed")


@pytest.mark.parametrize("instrument", [QR, BINDING, sber()])
def test_a_token_for_later_payments(instrument: Any) -> None:
    """It is good for ten years; a binding charges nothing, and a charge needs no payer."""
    bank = EmulatedBank()
    _ = begin(bank, instrument, amount=1, payment_options={"recurrent": True})
    assert bank.act("ps_1", NOW, succeed=True)
    token = payment(show(bank))["recurrent"]
    begun, ended = (datetime.fromisoformat(token[name]) for name in ("created_at", "finished_at"))
    assert (ended - begun).days == 3651
    taken = bank.report().balances.get("rub", {}).get("taken", 0)
    assert taken == (0 if instrument == BINDING else 1)

    charge = {
        "payment_details": {"type": "recurrent", "recurrent": {"token": token["token"]}},
        "amount_details": {"amount": 9_900, "currency": "rub"},
        "customer": {"reference": "u7"},
    }
    _ = ask(bank, "session/init/payment", charge)
    _ = ask(bank, "session/confirm", {"session_id": "ps_2"})
    assert show(bank, "ps_2")["status"] == "accepted"
    info = {"type": "recurrent_token", "recurrent_token": {"token": token["token"]}}
    assert ask(bank, "token/info", info)["info"]["finished_at"] == token["finished_at"]


@pytest.mark.parametrize(
    ("instrument", "currency", "field"),
    [
        (QR, "usd", "amount_details.currency"),
        (T_PAY, "eur", "amount_details.currency"),
        (sber("telegram"), "rub", "payment_details.internet_banking.sber_pay.channel"),
    ],
)
def test_what_these_instruments_refuse(instrument: Any, currency: str, field: str) -> None:
    """Another currency than roubles, and a channel that no page has."""
    terms = {
        "payment_details": instrument,
        "amount_details": {"amount": 700, "currency": currency},
        "customer": {},
    }
    answer = ask(EmulatedBank(), "session/init/payment", terms)
    assert answer["error"]["description"].startswith(f"{field}: ")


PAYERS: Final = [
    ({"customer": {"reference": "u7"}}, True),
    ({"customer": {}, "participant_details": {"sender": {"ipv4": "192.0.2.7"}}}, True),
    ({"customer": {"contacts": []}}, False),
    ({"customer": {"reference": " "}}, False),
    ({"customer": {}, "participant_details": {"recipient": {"ipv4": "192.0.2.7"}}}, False),
]


@pytest.mark.parametrize("instrument", [QR, BINDING])
@pytest.mark.parametrize(("payer", "is_taken"), PAYERS)
def test_faster_payments_name_their_payer(
    instrument: Any, payer: dict[str, Any], is_taken: object
) -> None:
    """By a reference or an address, with the start or with its session (documented)."""
    terms = {"payment_details": instrument, "amount_details": {"amount": 700, "currency": "rub"}}
    for bank, call, asked in (
        (EmulatedBank(), "session/init/payment", terms),
        (EmulatedBank(), "session/create", {**terms, **payer}),
    ):
        answer = ask(bank, call, {**asked, **payer})
        if call == "session/create":
            session_id = answer["session"]["id"]
            answer = ask(bank, "session/start/payment", {"session_id": session_id})
        assert ("error" not in answer) is is_taken
        if not is_taken:
            assert answer["error"]["description"].startswith("customer.reference: must be given")
    other = {**terms, "payment_details": T_PAY, **payer}
    assert "error" not in ask(EmulatedBank(), "session/init/payment", other)


@pytest.mark.parametrize("kind", ["steam", "qiwi", "yoomoney", "moneta"])
def test_a_wallet_names_its_account(kind: str) -> None:
    """A payout to none is refused."""
    for account, is_taken in (("player-9", True), ("", False)):
        terms = {
            "payment_method": {
                "type": "wallet",
                "wallet": {"type": kind, kind: {"account": account}},
            },
            "amount_details": {"amount": 50_000, "currency": "rub"},
        }
        assert ("error" not in ask(EmulatedBank(), "session/init/payout", terms)) is is_taken


def test_steam_takes_roubles_only() -> None:
    """The amount is in roubles (documented), whatever Steam gets."""
    steam = {"type": "wallet", "wallet": {"type": "steam", "steam": {"account": "player-9"}}}
    for currency, is_taken in (("RUB", True), ("usd", False)):
        terms = {
            "payment_method": steam,
            "amount_details": {"amount": 50_000, "currency": currency},
        }
        assert ("error" not in ask(EmulatedBank(), "session/init/payout", terms)) is is_taken


@pytest.mark.parametrize(
    ("shown", "amounts"),
    [
        (ShownAmounts.NONE, None),
        (ShownAmounts.EMPTY, {}),
        (ShownAmounts.GROSS, {"gross": {"amount": 700, "currency": "rub"}}),
        (
            ShownAmounts.ALL,
            {
                "gross": {"amount": 700, "currency": "rub"},
                "net": {"amount": 693, "currency": "rub"},
                "fee": {"merchant_fee": {"amount": 7, "currency": "rub"}},
            },
        ),
    ],
)
def test_amounts_are_shown_as_the_rules_say(shown: ShownAmounts, amounts: Any) -> None:
    """The pages' examples differ."""
    bank = EmulatedBank(Rules(amounts=shown, merchant_fee=7))
    assert payment(begin(bank, QR)).get("amounts") == amounts


def test_empty_objects_as_lists() -> None:
    """As PHP writes them; metadata is the merchant's own and stays as it is."""
    rules = Rules(empty_as_lists=True, amounts=ShownAmounts.EMPTY)
    people = {"sender": {"ipv4": "192.0.2.7"}}
    session = begin(
        EmulatedBank(rules), QR, customer={}, participant_details=people, metadata={"order": {}}
    )
    assert payment(session)["amounts"] == payment(session)["customer"] == []
    assert session["metadata"] == {"order": {}}


def test_a_converted_session() -> None:
    """Its create shows what the payer pays, and until when, in seconds since 1970."""
    bank = EmulatedBank(Rules(converts_to="USD", conversion_rate=1.25))
    money = {"amount": 501, "currency": "EUR"}
    [exchange] = ask(bank, "session/create", {"amount_details": money})["session"][
        "exchange_amounts"
    ]
    assert exchange == {
        "source": {"amount": 501, "currency": "eur"},
        "destination": {"amount": 626, "currency": "usd"},
        "rate": 1.25,
        "rate_source": "oer",
        "reserved_to": int(NOW.timestamp()) + 30,
    }
    plain = {"amount": 501, "currency": "usd"}
    session = ask(bank, "session/create", {"amount_details": plain})["session"]
    assert "exchange_amounts" not in session


@pytest.mark.parametrize(
    ("amount", "rate", "rounding", "converted"),
    [
        # The page's example: 500 at 1.080001 became 540, and 100 at 1.358822 became 136.
        (500, 1.080001, Rounding.NEAREST, 540),
        (100, 1.358822, Rounding.NEAREST, 136),
        (100, 1.358822, Rounding.UP, 136),
        (500, 1.080001, Rounding.UP, 541),
        (50, 1.01, Rounding.NEAREST, 51),
        (100, 1.1, Rounding.UP, 110),
    ],
)
def test_converted_amounts_are_rounded(
    amount: int, rate: float, rounding: Rounding, converted: int
) -> None:
    """To the nearest unit or up, by the rate as it is written."""
    bank = EmulatedBank(
        Rules(converts_to="usd", conversion_rate=rate, conversion_rounding=rounding)
    )
    money = {"amount": amount, "currency": "eur"}
    [exchange] = ask(bank, "session/create", {"amount_details": money})["session"][
        "exchange_amounts"
    ]
    assert exchange["destination"] == {"amount": converted, "currency": "usd"}


def test_payouts_are_not_converted() -> None:
    """Conversion is documented for payments by the widget: no payout and no one-step call."""
    bank = EmulatedBank(Rules(converts_to="usd"))
    money = {"amount_details": {"amount": 500, "currency": "eur"}}
    order = money | {
        "payment_method": card(VISA),
        "participant_details": {"recipient": {"full_name": "EMULATED PAYEE"}},
    }
    created = ask(bank, "session/create", order)["session"]
    begun = ask(bank, "session/init/payout", order)["session"]
    plain = ask(bank, "session/create", money)["session"]
    assert "exchange_amounts" in plain
    started = ask(bank, "session/start/payout", order | {"session_id": plain["id"]})["session"]
    assert all("exchange_amounts" not in one for one in (created, begun, started))


def test_a_push_reaches_a_payer_of_sberpay() -> None:
    """While the payment is under way; its answer has a status only."""
    bank = EmulatedBank()
    _ = begin(bank, sber())
    push = {**ID, "phone": "+79000000001"}
    assert ask(bank, "sberpay/push", push) == {"status": "ok"}
    assert bank.act("ps_1", NOW, succeed=True)
    _ = show(bank)
    assert ask(bank, "sberpay/push", push)["error"]["code"] == "invalid_session_state"


def test_automatic_confirmation_comes_first() -> None:
    """The payer of T-Pay acts then without a confirm (documented as possible)."""
    bank = EmulatedBank(Rules(confirmation=Confirmation.AUTOMATIC))
    terms = {
        "payment_details": T_PAY,
        "amount_details": {"amount": 700, "currency": "rub"},
        "customer": {},
    }
    _ = ask(bank, "session/init/payment", terms)
    assert payment(show(bank))["customer_interaction"]["type"] == "redirect"


@pytest.mark.parametrize("tells", [True, False])
def test_a_returned_payout(*, tells: bool) -> None:
    """The money is back in the wallet; whether a webhook says so is a switch."""
    bank = EmulatedBank(Rules(return_webhook=tells))
    terms = {
        "payment_method": {
            "type": "bank_account",
            "bank_account": {"system_type": "global", "global": {"iban": "x"}},
        },
        "amount_details": {"amount": 900, "currency": "usd"},
    }
    _ = ask(bank, "session/init/payout", terms)
    assert not bank.return_payout("ps_1", NOW)
    _ = ask(bank, "session/confirm", ID)
    _ = show(bank)
    before = bank.report().balances["usd"]
    assert (before["paid_out"], before["wallet"]) == (900, 99_999_100)
    assert bank.return_payout("ps_1", NOW)
    assert not bank.return_payout("ps_1", NOW)
    after = bank.report().balances["usd"]
    assert (after["paid_out"], after["wallet"]) == (0, 100_000_000)
    [item] = show(bank)["payments"]
    assert item["status"] == "succeeded"
    assert [one["status"] for one in item["refunds"]] == ["accepted"]
    sent = [one.type for one in bank.take_notifications()]
    assert ("payment_refunded" in sent) is tells
    assert bank.report().moved == 1


def returned_payouts(rules: Rules) -> EmulatedBank:
    """Return a bank that paid two payouts, returned one of them a day later, and declined one."""
    bank = EmulatedBank(rules)
    for number, amount in enumerate((1_250, 66_601, 5), 1):
        terms = payout(amount, number="4200801234568800")
        metadata = "330" if amount == 5 else {"a": number}
        _ = ask(bank, "session/init/payout", {**terms, "metadata": metadata})
        _ = ask(bank, "session/confirm", {"session_id": f"ps_{number}"})
        _ = show(bank, f"ps_{number}")
    assert bank.return_payout("ps_1", NOW + timedelta(days=1))
    return bank


NEWER = (
    "operationId,transactionDate,finishedAt,typeOfPayment,paymentFast,paymentSessionId,"
    "paymentSessionMerchantMetadata,paymentMethodIdentity,product,grossLocalAmount,"
    "paymentLocalAmount,feesLocalAmount,Currency amount,Currency fee,RRN"
)
OLDER = (
    "operationId,transactionDate,finishedAt,typeOfPayment,paymentFast,paymentSessionId,contract,"
    "paymentSessionMerchantMetadata,paymentMethodIdentity,product,grossLocalAmount,"
    "paymentLocalAmount,feesLocalAmount,currency,RRN"
)


def test_the_payouts_report() -> None:
    """A row for each payout that succeeded, and one of its own for the one that came back."""
    bank = returned_payouts(Rules())
    head, first, third, back = bank.payouts_report(None).splitlines()
    assert head == NEWER
    assert first == (
        'po_1,2024-05-27 02:03:00,2024-05-27 02:03:00,Advice,0,ps_1,"{""a"": 1}",420080******8800,'
        "payouts,12.50,12.50,0,USD,USD,000000000001"
    )
    assert third.startswith('po_3,2024-05-27 02:03:00,2024-05-27 02:03:00,Advice,0,ps_3,"""330""",')
    assert back.startswith("po_1,2024-05-28 02:03:00,2024-05-28 02:03:00,Refund,0,ps_1,")
    assert ",12.50,12.50,0,USD,USD," in back


def test_the_report_of_a_day() -> None:
    """It has what ended on that day; a day without operations is an empty report."""
    bank = returned_payouts(Rules())
    days = [bank.payouts_report(NOW.date() + timedelta(days=ahead)) for ahead in range(3)]
    assert [text.count("\n") for text in days] == [3, 2, 1]


def test_reports_on_which_pages_disagree() -> None:
    """The columns of the older page, and what isn't known of a returned payout, are switches."""
    rules = Rules(older_report=True, returns_have_ids=True, negative_returns=True)
    head, *_, back = returned_payouts(rules).payouts_report(None).splitlines()
    assert head == OLDER
    assert back.startswith("rf_1,")
    assert ",-12.50,-12.50,0,USD," in back


def payments(rules: Rules) -> EmulatedBank:
    """Return a bank with payments that were paid back in each way, and one that is stuck."""
    bank = EmulatedBank(rules)
    for number, amount in enumerate((11_000, 12_000, 13_000, 14_000, 66_610), 1):
        terms = pay(amount, number=CARD, metadata={"order": number})
        _ = ask(bank, "session/init/payment", terms)
        _ = ask(bank, "session/confirm", {"session_id": f"ps_{number}"})
        _ = show(bank, f"ps_{number}")
    later = NOW + timedelta(days=1)
    part = {"amount": 2_000, "currency": "usd"}
    _ = ask(bank, "session/refund", {"session_id": "ps_2"}, now=later)
    _ = ask(bank, "session/refund", {"session_id": "ps_3", "amount_details": part}, now=later)
    bank.advance(later + timedelta(minutes=1))
    assert bank.charge_back("ps_4", later + timedelta(minutes=2))
    return bank


CARD: Final = "5536911111110123"
NEWER_PAYMENTS: Final = (
    "ID,paymentSessionId,Project name,Type of payment,Amount,Currency amount,Fee,Currency fee,"
    "Settlement,Currency settlement,Transaction date and time,Card number,"
    "paymentSessionMerchantMetadata,RRN"
)
OLDER_PAYMENTS: Final = (
    "ID,paymentSessionId,Contract,Project name,Type of payment,Amount,Settlement,Fee,"
    "Transaction date and time,Card number,RRN,paymentSessionMerchantMetadata"
)


def test_the_payments_report() -> None:
    """A row for each payment, and one for each way in which it was paid back."""
    head, *rows = payments(Rules()).payments_report(None, "shop").splitlines()
    assert head == NEWER_PAYMENTS
    assert rows[0] == (
        "pm_1,ps_1,shop,Advice,110.00,USD,0,USD,110.00,USD,2024-05-27 02:03:00,553691******0123,"
        '"{""order"": 1}",000000000001'
    )
    assert [row.split(",")[:2] + row.split(",")[3:5] + row.split(",")[8:9] for row in rows[3:]] == [
        ["pm_4", "ps_4", "Advice", "140.00", "140.00"],
        ["pm_2", "ps_2", "Refund", "120.00", "-120.00"],
        ["pm_3", "ps_3", "Adjustment", "20.00", "-20.00"],
        ["pm_4", "ps_4", "Refund", "140.00", "-140.00"],
    ]


@pytest.mark.parametrize(
    ("rules", "word"),
    [
        (Rules(), "Refund"),
        (Rules(chargeback_rows=True), "Chargeback"),
        (Rules(older_report=True), "Chargeback"),
    ],
)
def test_a_chargeback_in_the_report(rules: Rules, word: str) -> None:
    """A type of its own in the older page; in the newer one only its explanation has the word."""
    *_, last = payments(rules).payments_report(None, "shop").splitlines()
    assert last.startswith("pm_4,ps_4,")
    assert last.split(",")[3 + rules.older_report] == word


FEES: Final = Rules(merchant_fee=200)


def test_fees_in_the_payments_report() -> None:
    """Negative, and taken from what is transferred to the merchant."""
    _, *rows = payments(FEES).payments_report(None, "shop").splitlines()
    assert [",".join(row.split(",")[4:10]) for row in (rows[0], rows[-1])] == [
        "110.00,USD,-2.00,USD,108.00,USD",
        "140.00,USD,0,USD,-140.00,USD",
    ]


def test_fees_in_the_payouts_report() -> None:
    """The total is with the fee, the payout's amount without."""
    _, first, *_, back = returned_payouts(FEES).payouts_report(None).splitlines()
    assert ",payouts,14.50,12.50,2.00,USD,USD," in first
    assert ",payouts,12.50,12.50,0,USD,USD," in back


@pytest.mark.parametrize("older", [False, True])
def test_ids_as_bare_numbers(*, older: bool) -> None:
    """As the older pages have them."""
    rules = Rules(older_report=older, bare_ids=True)
    *_, paid_out, _ = returned_payouts(rules).payouts_report(None).splitlines()
    assert paid_out.startswith("3,2024-05-27 02:03:00,2024-05-27 02:03:00,Advice,0,3,")
    row = payments(rules).payments_report(None, "shop").splitlines()[-1]
    assert row.startswith("4,4,")


ACCOUNTS: Final[list[tuple[dict[str, Any], str]]] = [
    (card("4200801234568800"), "4200 8012 3456 8800"),
    (card("4200801234568800", hashed=True), "4200 8012 3456 8800"),
    (
        {
            "type": "bank_account",
            "bank_account": {"system_type": "global", "global": {"iban": "HU4211773016"}},
        },
        "HU42 1177 3016",
    ),
    ({"type": "wallet", "wallet": {"type": "steam", "steam": {"account": "me"}}}, "me"),
]


@pytest.mark.parametrize(("paid_to", "shown"), ACCOUNTS)
def test_whole_identities_in_the_payouts_report(paid_to: dict[str, Any], shown: str) -> None:
    """A card or an account in groups, as the newer page's example has it."""
    bank = EmulatedBank(Rules(whole_identities=True))
    terms = {**payout(5), "payment_method": paid_to}
    terms["amount_details"] = {"amount": 5, "currency": "rub"}
    assert "error" not in ask(bank, "session/init/payout", terms)
    _ = ask(bank, "session/confirm", ID)
    _ = show(bank)
    _, row = bank.payouts_report(None).splitlines()
    assert row.split(",")[7] == shown


def test_the_payments_report_of_a_day() -> None:
    """What was paid back on a later day is in the report of that day."""
    bank = payments(Rules())
    days = [bank.payments_report(NOW.date() + timedelta(days=n), "shop") for n in range(3)]
    assert [text.count("\n") for text in days] == [5, 4, 1]


def test_payments_reports_on_which_pages_disagree() -> None:
    """The older page's heading, columns and dates, and what isn't known, are switches."""
    rules = Rules(
        older_report=True, returns_have_ids=True, negative_returns=True, compensation_rows=True
    )
    title, head, *rows = payments(rules).payments_report(None, "shop").splitlines()
    assert title == ('"Payment register 100-C-000000, (shop) from 27.05.2024 to 28.05.2024"')
    assert head == OLDER_PAYMENTS
    assert rows[0].startswith("pm_1,ps_1,100-C-000000,shop,Advice,110.00,110.00,0,27.05.2024 02:03")
    assert rows[4].startswith("rf_1,ps_2,100-C-000000,shop,Refund,-120.00,-120.00,0,28.05.2024")
    assert [row.split(",")[4:6] for row in rows[-2:]] == [
        ["Compensation", "500.00"],
        ["Compensation", "-280.00"],
    ]
    empty = EmulatedBank(rules).payments_report(None, "shop").splitlines()
    assert len(empty) == 2


@pytest.mark.parametrize(("is_named", "word"), [(False, "Advice"), (True, "Recurrent")])
def test_a_payment_by_a_token_in_the_report(*, is_named: bool, word: str) -> None:
    """The page lists a word for it, and doesn't explain it."""
    bank = EmulatedBank(Rules(recurrent_rows=is_named))
    _ = begin(bank, BINDING, payment_options={"recurrent": True})
    assert bank.act("ps_1", NOW, succeed=True)
    token = payment(show(bank))["recurrent"]["token"]
    terms = {
        "payment_details": {"type": "recurrent", "recurrent": {"token": token}},
        "amount_details": {"amount": 700, "currency": "rub"},
        "customer": {"reference": "u7"},
    }
    _ = ask(bank, "session/init/payment", terms)
    _ = ask(bank, "session/confirm", {"session_id": "ps_2"})
    _ = show(bank, "ps_2")
    _, row = bank.payments_report(None, "shop").splitlines()
    assert row.startswith(f"pm_2,ps_2,shop,{word},7.00,RUB,")


def test_card_ids() -> None:
    """Shown if the project has them, of payments and payouts: one for one card and expiry."""
    shown = list[Any]()
    expiring = pay(700)
    expiring["payment_details"]["card"]["bank_card"] |= {"expiration_month": "05"}
    for rules in (Rules(), Rules(card_ids=True)):
        bank = EmulatedBank(rules)
        for terms in (pay(700), pay(900), pay(700, hashed=True), pay(700, number=CARD), expiring):
            shown.append(payment(ask(bank, "session/init/payment", terms)["session"]))
        [paid_out] = ask(bank, "session/init/payout", payout(700))["session"]["payments"]
        shown.append({"payment_details": paid_out["payment_method"]})
    ids = [one["payment_details"]["card"].get("card_id") for one in shown]
    assert ids[:6] == [None] * 6
    first, second, hashed, other, later, paid_out_to = ids[6:]
    assert first == second == hashed == paid_out_to
    assert len({first, other, later, None}) == 4
    assert not any("4242424242424242" in str(one) for one in shown)


def page_terms(country: str, account: dict[str, str]) -> dict[str, Any]:
    """Return the terms of a payout to an account abroad."""
    recipient = {"bank_name": "Bank", "currency": "try", "first_name": "A", "last_name": "B"}
    sender = {"company_name": "Shop", "registration_number": "7", "country_iso3": "BEL"}
    return {
        "payment_method": {
            "type": "bank_account",
            "bank_account": {"system_type": "global", "global": account},
        },
        "participant_details": {
            "recipient": recipient | {"country_iso3": country},
            "sender": sender | {"code": "9"},
        },
        "amount_details": {"amount": 900, "currency": "usd"},
    }


def fast(**fields: str) -> dict[str, Any]:
    """Return the terms of a payout by the Faster Payments System."""
    system = "faster_payment_system"
    return {
        "payment_method": {
            "type": "bank_account",
            "bank_account": {"system_type": system, system: fields},
        },
        "amount_details": {"amount": 900, "currency": "rub"},
    }


TURKISH: Final = {"iban": "TR330006100519786457841326", "description": "Salary"}
PHONE: Final = {"phone": "79990000001", "bank_id": "100000000069", "description": "Salary"}
USD: Final = {"amount_details": {"amount": 900, "currency": "usd"}}
CARD_TERMS: Final = {"payment_method": card(VISA), **USD}


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        (page_terms("TUR", TURKISH), None),
        (
            page_terms("tur", TURKISH | {"iban": "nonsense"}),
            "payment_method.bank_account.global.iban",
        ),
        (page_terms("TUR", {"iban": TURKISH["iban"]}), "payment_method.bank_account.global.desc"),
        (page_terms("ISR", TURKISH), None),
        (page_terms("ISR", {"description": "x", "bank_account_number": "1"}), "payment_method"),
        (page_terms("HKG", TURKISH), "payment_method.bank_account.global.bank_account_number"),
        (page_terms("FRA", {"iban": "x"}), None),
        (
            page_terms("TUR", TURKISH)
            | {"participant_details": {"recipient": {"country_iso3": "TUR"}}},
            "participant_details.recipient.bank_name: is missing",
        ),
        (fast(**PHONE), None),
        (fast(**PHONE) | USD, "amount_details.currency: must be rub"),
        (fast(phone="79990000001", bank_id="1"), "payment_method.bank_account.faster_payment_sys"),
        (CARD_TERMS, "participant_details.recipient.full_name: is missing"),
        (CARD_TERMS | {"participant_details": {"recipient": {"full_name": " "}}}, "participant_d"),
    ],
)
def test_what_the_page_of_a_payout_marks_as_mandatory(terms: Any, field: str | None) -> None:
    """By instrument and country; a switch has it taken."""
    answer = ask(EmulatedBank(), "session/init/payout", terms)
    if field is None:
        assert "error" not in answer
    else:
        assert answer["error"]["description"].startswith(field)
    lenient = EmulatedBank(Rules(payout_fields=Reaction.IGNORE))
    assert "error" not in ask(lenient, "session/init/payout", terms)
