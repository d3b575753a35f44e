"""The life of a session in the emulator: legal steps, answers, and movements of money."""

from datetime import timedelta
from typing import Any, Final

import pytest
from attrs import evolve
from emulated import LATER, NOW, VISA, ask, pay, payout, show

from smartglocal_async.emulator import (
    Capture,
    Confirmation,
    DeclinedSession,
    Duplicates,
    KeyScope,
    Movement,
    Permission,
    Reaction,
    Rules,
    TimeoutWord,
)
from smartglocal_async.emulator.bank.bank import EmulatedBank
from smartglocal_async.emulator.bank.messages import ApiCall, Name
from smartglocal_async.emulator.bank.sessions import (
    STEPS,
    ItemStage,
    StageEvent,
    statuses,
    steps_of,
)
from smartglocal_async.errors import InvalidRequest

PS: Final = {"session_id": "ps_1"}
MINUTE: Final = timedelta(minutes=1)
DELAYED: Final = Rules(capture=Capture.DELAYED)
CHALLENGED: Final = "4000000000003220"


def started(rules: Rules | None = None, **terms: Any) -> EmulatedBank:
    """Return a bank with a session whose payout waits for its confirmation."""
    bank = EmulatedBank(rules or Rules())
    _ = ask(bank, "session/create", key="k")
    assert ask(bank, "session/start/payout", {**PS, **payout(100), **terms})["status"] == "ok"
    bank.advance(NOW)
    return bank


def paying(rules: Rules | None = None, *, number: str = VISA, **terms: Any) -> EmulatedBank:
    """Return a bank with a session whose payment was confirmed."""
    bank = EmulatedBank(rules or Rules())
    _ = ask(bank, "session/init/payment", pay(100, number=number, **terms), key="k")
    _ = ask(bank, "session/confirm", PS)
    bank.advance(NOW)
    return bank


def code(answer: dict[str, Any]) -> str | None:
    """Return the code of an error envelope, or None."""
    return answer.get("error", {}).get("code")


def types(bank: EmulatedBank) -> list[str]:
    """Return the types of the webhooks so far."""
    return [notice.type for notice in bank.take_notifications()]


class TestPayout:
    """Create, start, confirm."""

    @pytest.mark.parametrize(
        ("version", "instrument", "field"),
        [(1, "payment_method", "payments"), (2, "payout_details", "payout_list")],
    )
    def test_it_looks_like_the_samples(self, version: int, instrument: str, field: str) -> None:
        """Each answer is the documented one, in the names of the version."""
        bank = EmulatedBank()
        _ = ask(bank, "session/create", {"metadata": "o"}, version=version)
        terms = payout(100)
        terms[instrument] = terms.pop("payment_method")
        start = ask(bank, "session/start/payout", {**PS, **terms}, version=version)["session"]
        ready = show(bank, version=version)
        confirm = ask(bank, "session/confirm", PS, version=version)["session"]
        done = show(bank, version=version)

        looks = [
            (look["status"], look[field][0]["status"]) for look in (start, ready, confirm, done)
        ]
        assert looks == [
            ("in_progress", "in_progress"),
            ("in_progress", "pending"),
            ("in_progress", "pending"),
            ("accepted", "succeeded"),
        ]
        assert [look.get("next_action") for look in (start, ready, confirm)] == [
            None,
            "confirm",
            None,
        ]
        assert done[field] == [
            {
                "id": "po_1",
                "status": "succeeded",
                "created_at": "2024-05-27T02:03:00.000000Z",
                "finished_at": "2024-05-27T02:03:00.000000Z",
                instrument: {
                    "type": "card",
                    "card": {"last4": "4242", "brand": "visa", "bin": "424242"},
                },
                "participant_details": {"recipient": {"full_name": "Anna Nagy"}},
                "amount_details": {"amount": 100, "currency": "usd"},
                "transaction_info": {"rrn": "000000000001", "auth_code": "000001"},
                "metadata": "o",
            }
        ]
        assert VISA not in str((start, ready, confirm, done))
        assert types(bank) == ["ready_to_confirm", "payment_finished"]

    def test_nothing_moves_before_the_confirm(self) -> None:
        """With manual confirmation the balance is unchanged until then, and one payout moves."""
        bank = started()
        before = bank.report().balances
        _ = ask(bank, "session/confirm", PS)
        bank.advance(NOW)

        assert before == {}
        assert bank.report().balances["usd"]["paid_out"] == 100
        moved = Movement(
            kind="payout",
            item_id="po_1",
            session_id="ps_1",
            amount=100,
            currency="usd",
            payee="1868b80ebaf8d170",
        )
        assert bank.order("k").movements == (moved,)
        assert (bank.order("k").moved, bank.report().moved, bank.report().moved_twice) == (1, 1, 0)

    def test_automatic_confirmation_goes_straight_through(self) -> None:
        """No confirm is needed, and a cancel comes too late."""
        bank = started(Rules(confirmation=Confirmation.AUTOMATIC))

        assert code(ask(bank, "session/cancel", PS)) == "invalid_session_state"
        assert show(bank)["status"] == "accepted"
        assert types(bank) == ["payment_finished"]

    def test_what_was_created_need_not_be_said_again(self) -> None:
        """Values of the create are kept, and those of the start win."""
        bank = EmulatedBank()
        _ = ask(bank, "session/create", payout(5) | {"metadata": {"idempotency_key": "k"}})
        money = {"amount": 7, "currency": "EUR"}
        _ = ask(bank, "session/start/payout", {**PS, "amount_details": money})

        [item] = show(bank)["payments"]
        assert (item["amount_details"], item["metadata"]) == (money, {"idempotency_key": "k"})
        assert bank.name_of(PS, None) == Name("k")

    def test_confirm_timeout(self) -> None:
        """After 240 minutes it is over, and no confirm reopens it."""
        bank = started()
        before = show(bank, now=NOW + 239 * MINUTE)
        after = show(bank, now=NOW + 240 * MINUTE)

        assert before["next_action"] == "confirm"
        assert (after["status"], after["payments"][0]["status"]) == ("canceled", "canceled")
        assert after["error"]["code"] == "confirm_timeout"
        assert code(ask(bank, "session/confirm", PS, now=NOW + 241 * MINUTE)) is not None
        assert types(bank) == ["ready_to_confirm", "payment_finished"]

    def test_a_step_takes_its_time(self) -> None:
        """Each step is due after `processing_seconds`, by the given clock."""
        bank = started(Rules(processing_seconds=60))
        early = show(bank, now=NOW + timedelta(seconds=59))

        assert "next_action" not in early
        assert bank.next_due == NOW + MINUTE
        assert show(bank, now=NOW + MINUTE)["next_action"] == "confirm"

    def test_status_may_be_old(self) -> None:
        """With a lag, the status is old; the bank decides on the current state."""
        bank = started(Rules(status_lag_seconds=60))
        stale = show(bank)

        assert stale["status"] == "created"
        assert ask(bank, "session/confirm", PS)["status"] == "ok"
        assert show(bank, now=NOW + MINUTE)["status"] == "accepted"

    def test_a_cancel_ends_it(self) -> None:
        """The answer says in progress, and then it is final."""
        bank = started()
        answer = ask(bank, "session/cancel", PS)["session"]

        assert (answer["status"], answer["payments"][0]["status"]) == ("in_progress", "pending")
        assert (show(bank)["status"], show(bank)["payments"][0]["status"]) == (
            "cancelled",
            "failed",
        )
        assert code(ask(bank, "session/confirm", PS)) == "invalid_session_state"
        assert bank.report().moved == 0


class TestSwitches:
    """Behaviour that the documentation leaves open is a setting."""

    @pytest.mark.parametrize("permission", list(Permission))
    def test_a_second_start(self, permission: Permission) -> None:
        """It is refused, or adds one more payout that the same confirm executes."""
        bank = started(Rules(second_start=permission))
        again = ask(bank, "session/start/payout", {**PS, **payout(100)})
        bank.advance(NOW)
        _ = ask(bank, "session/confirm", PS)
        bank.advance(NOW)

        allowed = permission is Permission.ALLOW
        assert (code(again) is None) is allowed
        assert (bank.order("k").moved, bank.report().moved_twice) == ((2, 1) if allowed else (1, 0))

    @pytest.mark.parametrize("reaction", list(Reaction))
    def test_a_second_confirm(self, reaction: Reaction) -> None:
        """It is refused or ignored, and pays nothing."""
        bank = started(Rules(second_confirm=reaction))
        codes = [code(ask(bank, "session/confirm", PS)) for _ in range(3)]

        refused = None if reaction is Reaction.IGNORE else "invalid_session_state"
        assert codes == [None, refused, refused]
        assert bank.report().moved == 1

    @pytest.mark.parametrize("reaction", list(Reaction))
    def test_a_late_cancel(self, reaction: Reaction) -> None:
        """A cancel of a payout in progress is refused or has no effect."""
        bank = started(Rules(late_cancel=reaction))
        _ = ask(bank, "session/confirm", PS)
        answer = ask(bank, "session/cancel", PS)

        assert (code(answer) is None) is (reaction is Reaction.IGNORE)
        assert show(bank)["status"] == "accepted"

    @pytest.mark.parametrize("permission", list(Permission))
    @pytest.mark.parametrize("revives", [False, True])
    def test_a_cancel_before_the_start(self, permission: Permission, *, revives: bool) -> None:
        """It is accepted or not; a start after it is refused, or reopens the session."""
        bank = EmulatedBank(Rules(cancel_created=permission, late_start_revives=revives))
        _ = ask(bank, "session/create")
        cancel = ask(bank, "session/cancel", PS)
        start = ask(bank, "session/start/payout", {**PS, **payout(1)})

        allowed = permission is Permission.ALLOW
        assert (code(cancel) is None) is allowed
        assert (code(start) is None) is (revives or not allowed)
        assert show(bank)["status"] == ("cancelled" if allowed and not revives else "in_progress")

    @pytest.mark.parametrize("revives", [False, True])
    def test_a_confirm_after_the_cancel(self, *, revives: bool) -> None:
        """A cancelled session stays so, or is still executed."""
        bank = started(Rules(late_confirm_revives=revives))
        _ = ask(bank, "session/cancel", PS)
        _ = show(bank)
        _ = ask(bank, "session/confirm", PS)

        assert show(bank)["status"] == ("accepted" if revives else "cancelled")

    @pytest.mark.parametrize("word", list(TimeoutWord))
    def test_the_word_of_a_timeout(self, word: TimeoutWord) -> None:
        """The item has the spelling of its rule, the session that of its own."""
        bank = started(Rules(confirm_timeout=word, confirm_minutes=1))
        session = show(bank, now=LATER)

        assert (session["status"], session["payments"][0]["status"]) == ("canceled", word.value)

    @pytest.mark.parametrize("word", list(DeclinedSession))
    def test_the_session_of_a_declined_payout(self, word: DeclinedSession) -> None:
        """Its status is a setting; the payout's is always failed."""
        bank = EmulatedBank(Rules(declined_session=word, wallets={"usd": 1}))
        _ = ask(bank, "session/init/payout", payout(2))
        _ = ask(bank, "session/confirm", PS)

        assert show(bank)["status"] == word.value

    @pytest.mark.parametrize("reaction", list(Reaction))
    def test_a_used_header(self, reaction: Reaction) -> None:
        """It is refused or ignored, by method; a refusal uses no key."""
        bank = EmulatedBank(Rules(idempotency_header=reaction))
        assert code(ask(bank, "session/init/payout", {}, key="h")) == "invalid_request"
        codes = [code(ask(bank, "session/init/payout", payout(1), key="h")) for _ in range(2)]
        bank.advance(NOW)
        confirmed = code(ask(bank, "session/confirm", PS, key="h"))

        refused = reaction is Reaction.REFUSE
        assert codes == [None, "idempotency_key_already_exists" if refused else None]
        assert confirmed is None
        assert bank.order("h").made == (1 if refused else 2)

    @pytest.mark.parametrize("scope", list(KeyScope))
    def test_where_a_header_counts(self, scope: KeyScope) -> None:
        """In its own method, or in every call that moves money; never in others."""
        bank = EmulatedBank(Rules(idempotency_header=Reaction.REFUSE, key_scope=scope))
        first = code(ask(bank, "session/init/payment", pay(100), key="h"))
        bank.advance(NOW)
        codes = [
            code(ask(bank, f"session/{call}", request, key="h"))
            for call, request in (("confirm", PS), ("refund", PS), ("init/payout", payout(1)))
        ]
        others = [code(ask(bank, f"session/{call}", PS, key="h")) for call in ("create", "status")]

        refused = "idempotency_key_already_exists" if scope is KeyScope.PROJECT else None
        assert (first, codes, others) == (None, [refused] * 3, [None] * 2)
        assert bank.report().moved == (0 if refused else 1)

    @pytest.mark.parametrize("scope", list(KeyScope))
    @pytest.mark.parametrize(
        ("request_", "why"),
        [
            ({}, "invalid_request"),
            ({"session_id": "ps_9"}, "session_not_found"),
            ({"session_id": "ps_2"}, "invalid_session_state"),
        ],
    )
    def test_a_refused_call_uses_no_key_up(
        self, scope: KeyScope, request_: dict[str, Any], why: str
    ) -> None:
        """A refused call, for any reason, doesn't use its key."""
        bank = started(Rules(idempotency_header=Reaction.REFUSE, key_scope=scope))
        _ = ask(bank, "session/create")
        codes = [code(ask(bank, "session/confirm", asked, key="h")) for asked in (request_, PS, PS)]

        assert codes == [why, None, "idempotency_key_already_exists"]

    @pytest.mark.parametrize("duplicates", list(Duplicates))
    def test_a_create_looks_at_creates_only(self, duplicates: Duplicates) -> None:
        """`session/create` doesn't know a key that an init used, and has its own rule."""
        bank = EmulatedBank(Rules(duplicates=duplicates))
        _ = ask(bank, "session/init/payout", payout(1), key="k")
        answers = [ask(bank, "session/create", key="k") for _ in range(2)]

        ids = [answer.get("session", {}).get("id") for answer in answers]
        second = {Duplicates.REPLAY: "ps_2", Duplicates.REFUSE: None, Duplicates.CREATE: "ps_3"}
        assert ids == ["ps_2", second[duplicates]]
        assert answers[0]["session"]["status"] == "created"

    @pytest.mark.parametrize("tells", [False, True])
    def test_webhook_of_a_cancel(self, *, tells: bool) -> None:
        """`payment_finished` is sent for it or not."""
        bank = started(Rules(finished_after_cancel=tells))
        _ = ask(bank, "session/cancel", PS)
        bank.advance(NOW)

        assert ("payment_finished" in types(bank)) is tells

    def test_webhooks_in_the_names_of_either_version(self) -> None:
        """The body has the version of the rules."""
        bank = started(Rules(webhook_version=2))
        [notification] = bank.take_notifications()

        assert list(notification.body) == ["type", "session"]
        assert "payout_list" in str(notification.body)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("processing_seconds", -1),
            ("latency_seconds", -1),
            ("hold_days", float("nan")),
            ("opening_balance", -1),
            ("wallets", {"usd": -1}),
            ("webhook_version", 3),
            ("id_mark", "a-b_"),
            ("id_mark", f"{'a' * 33}_"),
            ("id_mark", "a"),
        ],
    )
    def test_a_wrong_number_is_named(self, field: str, value: object) -> None:
        """The error names the setting."""
        with pytest.raises(InvalidRequest) as caught:
            _ = Rules(**{field: value})  # type: ignore[arg-type]

        assert caught.value.field == field


class TestPayment:
    """Holds, captures, refunds, 3-D Secure, recurrent tokens."""

    def test_it_is_held_and_captured(self) -> None:
        """With delayed capture the money is held, and a part of it can be captured."""
        bank = paying(DELAYED)
        held, balances = show(bank), bank.report().balances["usd"]
        money = {"amount": 30, "currency": "USD"}
        answer = ask(bank, "session/capture", {**PS, "amount_details": money})["session"]
        done = show(bank)

        assert (held["next_action"], balances["held"]) == ("capture", 100)
        assert answer["acquiring_payments"][0]["status"] == "pending"
        assert done["status"] == "accepted"
        after = bank.report().balances["usd"]
        assert (after["held"], after["taken"], after["payers"]) == (0, 30, -30)
        assert types(bank) == ["ready_to_confirm", "ready_to_capture", "payment_finished"]
        assert code(ask(bank, "session/capture", PS)) == "invalid_session_state"

    @pytest.mark.parametrize(
        ("rules", "money"),
        [
            (DELAYED, {"amount": 101, "currency": "usd"}),
            (DELAYED, {"amount": 1, "currency": "eur"}),
            (
                Rules(capture=Capture.DELAYED, partial_captures=False),
                {"amount": 1, "currency": "usd"},
            ),
        ],
    )
    def test_a_wrong_capture_is_refused(self, rules: Rules, money: dict[str, Any]) -> None:
        """More than is held, another currency, or a part if that is off: nothing moves."""
        bank = paying(rules)

        assert code(ask(bank, "session/capture", {**PS, "amount_details": money})) is not None
        assert show(bank)["next_action"] == "capture"
        assert bank.report().moved == 0

    @pytest.mark.parametrize("call", ["cancel", "wait"])
    def test_a_hold_is_let_go(self, call: str) -> None:
        """By a cancel, or after five days, the payer gets everything back."""
        bank = paying(DELAYED)
        now = NOW + timedelta(days=5)
        if call == "cancel":
            now = NOW
            _ = ask(bank, "session/cancel", PS)
        session = show(bank, now=now)

        assert session["status"] == "cancelled"
        assert ("error" in session) is (call == "wait")
        assert bank.report().balances["usd"]["payers"] == 0

    def test_a_hold_outlives_the_time_to_confirm(self) -> None:
        """The 240 minutes are only for the confirm; then the days of the hold begin."""
        bank = EmulatedBank(DELAYED)
        _ = ask(bank, "session/init/payment", pay(100), key="k")
        confirmed = NOW + 100 * MINUTE
        _ = ask(bank, "session/confirm", PS, now=confirmed)
        ends = confirmed + timedelta(days=5)
        held = [show(bank, now=when) for when in (NOW + 241 * MINUTE, ends - MINUTE)]
        balance = bank.report().balances["usd"]["held"]
        released = show(bank, now=ends)

        assert [session["next_action"] for session in held] == ["capture"] * 2
        assert (balance, bank.report().balances["usd"]["held"]) == (100, 0)
        assert (released["status"], released["error"]["code"]) == ("cancelled", "capture_timeout")

    def test_a_hold_is_captured_late(self) -> None:
        """After the time to confirm it can still be captured."""
        bank = paying(DELAYED)
        late = NOW + 241 * MINUTE

        assert code(ask(bank, "session/capture", PS, now=late)) is None
        assert show(bank, now=late)["status"] == "accepted"
        assert show(bank, now=NOW + timedelta(days=6))["status"] == "accepted"

    def test_refunds_add_up(self) -> None:
        """Until nothing is left; each has its webhook and its movement."""
        bank = paying()
        part = {**PS, "amount_details": {"amount": 60, "currency": "usd"}}
        first = ask(bank, "session/refund", {**part, "metadata": {"idempotency_key": "r"}})
        codes = [code(ask(bank, "session/refund", asked)) for asked in (part, PS, PS)]

        [shown] = first["session"]["acquiring_payments"][0]["refunds"]
        assert shown == {
            "id": "rf_1",
            "status": "in_progress",
            "created_at": "2024-05-27T02:03:00.000000Z",
            "amount_details": {"amount": 60, "currency": "usd"},
            "metadata": {"idempotency_key": "r"},
        }
        assert codes == ["invalid_request", None, "invalid_session_state"]
        assert [r["status"] for r in show(bank)["acquiring_payments"][0]["refunds"]] == [
            "accepted",
            "accepted",
        ]
        assert bank.report().balances["usd"]["refunded"] == 100
        assert [movement.amount for movement in bank.order("r").movements] == [60]
        assert [m.kind for m in bank.order("k").movements] == ["capture", "refund"]
        assert types(bank)[2:] == ["payment_refunded", "payment_refunded"]

    def test_parts_may_be_forbidden(self) -> None:
        """Without partial refunds only the whole amount can be refunded."""
        bank = paying(Rules(partial_refunds=False))
        part = {**PS, "amount_details": {"amount": 60, "currency": "usd"}}

        assert code(ask(bank, "session/refund", part)) == "invalid_request"
        assert code(ask(bank, "session/refund", PS)) is None

    def test_a_refund_under_way(self) -> None:
        """The session is in progress again until the refund is done (documented)."""
        bank = EmulatedBank(Rules(processing_seconds=60))
        _ = ask(bank, "session/init/payment", pay(100))
        _ = ask(bank, "session/confirm", PS, now=NOW + MINUTE)
        paid = NOW + 5 * MINUTE
        assert show(bank, now=paid)["status"] == "accepted"
        answered = ask(bank, "session/refund", PS, now=paid)["session"]
        seen = [answered, show(bank, now=paid), show(bank, now=paid + MINUTE)]

        assert [one["status"] for one in seen] == ["in_progress", "in_progress", "accepted"]
        items = [one["acquiring_payments"][0] for one in seen]
        assert [one["status"] for one in items] == ["succeeded"] * 3
        assert [one["refunds"][0]["status"] for one in items] == [
            *("in_progress", "in_progress", "accepted")
        ]

    @pytest.mark.parametrize("waits", [False, True])
    def test_a_refund_from_the_next_day(self, *, waits: bool) -> None:
        """Documented for some countries, which no page names: a switch; days are in UTC."""
        bank = paying(Rules(refunds_from_next_day=waits))
        tomorrow = (NOW + timedelta(days=1)).replace(hour=0, minute=0)
        tonight = tomorrow - timedelta(seconds=1)

        refused = code(ask(bank, "session/refund", PS, now=tonight))
        assert refused == ("invalid_session_state" if waits else None)
        if waits:
            assert code(ask(bank, "session/refund", PS, now=tomorrow)) is None

    def test_a_payout_cannot_be_refunded(self) -> None:
        """Documented."""
        bank = started()
        _ = ask(bank, "session/confirm", PS)

        assert code(ask(bank, "session/refund", PS)) == "invalid_session_state"

    @pytest.mark.parametrize("succeed", [True, False])
    def test_a_challenge(self, *, succeed: bool) -> None:
        """The payer is redirected, and the result decides."""
        bank = paying(number=CHALLENGED)
        asked = show(bank)
        assert bank.act("ps_1", NOW, succeed=succeed)
        done = show(bank)

        [item] = asked["acquiring_payments"]
        assert item["customer_interaction"] == {
            "type": "redirect",
            "redirect": {
                "url": "/emulator/3ds/pm_1",
                "base_url": "/emulator/3ds/pm_1",
                "method": "POST",
                "qs": {},
                "params": {"PaReq": "cG1fMQ==", "MD": "pm_1"},
            },
        }
        assert done["status"] == ("accepted" if succeed else "cancelled")
        assert (done.get("error") or {}).get("code") == (None if succeed else "3DS_error")
        assert "customer_interaction" not in done["acquiring_payments"][0]
        assert types(bank) == ["ready_to_confirm", "action_required", "payment_finished"]
        assert not bank.act("ps_1", NOW, succeed=True)

    @pytest.mark.parametrize("succeed", [True, False])
    def test_a_challenge_that_comes_first(self, *, succeed: bool) -> None:
        """As with the widget: the merchant confirms after the payer has passed."""
        bank = EmulatedBank(Rules(challenge_first=True))
        _ = ask(bank, "session/init/payment", pay(100, number=CHALLENGED), key="k")
        asked = show(bank)
        refused = code(ask(bank, "session/confirm", PS))
        assert bank.act("ps_1", NOW, succeed=succeed)
        passed = show(bank)
        confirmed = code(ask(bank, "session/confirm", PS))
        done = show(bank)

        assert "customer_interaction" in asked["acquiring_payments"][0]
        assert refused == "invalid_session_state"
        assert passed.get("next_action") == ("confirm" if succeed else None)
        assert (confirmed is None) is succeed
        assert done["status"] == ("accepted" if succeed else "cancelled")
        assert bank.report().moved == succeed
        asked_to_confirm = ["ready_to_confirm"] * succeed
        assert types(bank) == ["action_required", *asked_to_confirm, "payment_finished"]

    def test_an_automatic_confirmation_has_its_challenge_after_itself(self) -> None:
        """Nothing can come before it."""
        bank = EmulatedBank(Rules(challenge_first=True, confirmation=Confirmation.AUTOMATIC))
        _ = ask(bank, "session/init/payment", pay(100, number=CHALLENGED), key="k")
        _ = show(bank)
        assert bank.act("ps_1", NOW, succeed=True)

        assert show(bank)["status"] == "accepted"
        assert types(bank) == ["action_required", "payment_finished"]

    def test_a_hold_without_a_name(self) -> None:
        """As in the example of ``ready_to_capture``; it can still be captured."""
        bank = paying(evolve(DELAYED, hold_is_named=False))
        held = show(bank)

        assert "next_action" not in held
        assert held["acquiring_payments"][0]["status"] == "pending"
        assert code(ask(bank, "session/capture", PS)) is None
        assert show(bank)["status"] == "accepted"

    def test_a_chargeback(self) -> None:
        """It takes the rest, once."""
        bank = paying()
        assert bank.charge_back("pm_1", NOW)
        [refund] = show(bank)["acquiring_payments"][0]["refunds"]

        assert (refund["status"], refund["is_chargeback"]) == ("accepted", True)
        assert not bank.charge_back("pm_1", NOW)
        assert not bank.charge_back("ps_9", NOW)
        assert bank.order("k").movements[-1].kind == "chargeback"

    def test_a_token_pays_again(self) -> None:
        """The first payment creates it, it pays until it is disabled, and the client must act."""
        bank = paying(payment_options={"recurrent": True})
        made = show(bank)["acquiring_payments"][0]["recurrent"]
        token = made["token"]

        def again(**more: Any) -> dict[str, Any]:
            details = {"type": "recurrent", "recurrent": {"token": token} | more}
            return ask(bank, "session/init/payment", {**pay(5), "payment_details": details})

        assert again()["status"] == again(initiator="client")["status"] == "ok"
        for session_id in ("ps_2", "ps_3"):
            _ = ask(bank, "session/confirm", {"session_id": session_id})
        assert show(bank, "ps_2")["status"] == "accepted"
        assert "customer_interaction" in show(bank, "ps_3")["acquiring_payments"][0]
        info = {"type": "recurrent_token", "recurrent_token": {"token": token}}
        assert ask(bank, "token/info", info)["info"]["is_active"] is True
        disabled = ask(bank, "recurrent/disable", {"recurrent": {"token": token}})
        assert disabled == {
            "status": "ok",
            "recurrent": {
                "token": token,
                "created_at": "2024-05-27T02:03:00+00:00",
                "finished_at": "2024-05-27T02:03:00+00:00",
                "is_active": False,
                "type": "recurrent_token",
            },
        }
        assert code(again()) == "binding_is_deactivated"
        assert code(again(token="none")) == "invalid_request"  # noqa: S106 - there is none


class TestServices:
    """Calls without a session."""

    def test_wallets(self) -> None:
        """The opening balances of the rules, less what was paid and reserved."""
        bank = EmulatedBank(Rules(wallets={"EUR": 500}))
        terms = payout(100)
        terms["amount_details"]["currency"] = "eur"
        _ = ask(bank, "session/init/payout", terms)
        _ = ask(bank, "session/confirm", PS)
        asked = ask(bank, "wallet/balance", {"request_datetime": "2024-04-10T19:53:00+03:00"})

        assert asked["wallets"] == [
            {"id": "wallet_eur", "amount_details": {"amount": 400, "currency": "eur"}}
        ]

    def test_public_tokens(self) -> None:
        """64 digits, for 24 hours; the widget of transfers needs its header and a session."""
        bank = EmulatedBank()
        _ = ask(bank, "session/create")
        token = ask(bank, "token", {"acquiring_widget": PS})["public_token"]
        info = {"type": "public_token", "public_token": {"token": token}}
        widget = {"fps_no_account_widget": PS}

        assert len(bytes.fromhex(token)) == 32
        assert ask(bank, "token/info", info)["info"]["is_active"] is True
        later = ask(bank, "token/info", info, now=NOW + timedelta(hours=24))
        assert later["info"]["is_active"] is False
        assert code(ask(bank, "token", widget)) == "invalid_request"
        unknown = {"acquiring_widget": {"session_id": "ps_2"}}
        assert code(ask(bank, "token", unknown)) == "session_not_found"

    @pytest.mark.parametrize(
        ("url", "submerchant", "codes"),
        [
            ("dummy:/url", "7", (None, None)),
            ("dummy:/url", None, ("invalid_request", "session_not_found")),
            ("https://shop.example", "7", (None, "invalid_request")),
            (None, "7", (None, "invalid_request")),
        ],
    )
    def test_a_transfer_between_individuals(
        self, url: str | None, submerchant: str | None, codes: Any
    ) -> None:
        """Its session has the page's address, and all of its calls name the payer."""
        bank = EmulatedBank()
        options = {} if url is None else {"payment_options": {"return_url": url}}
        made = bank.answer(
            ApiCall(operation="session/create", params=options, submerchant=submerchant), NOW
        )
        widget = {"fps_no_account_widget": PS}
        asked = bank.answer(ApiCall(operation="token", params=widget, submerchant="7"), NOW)
        assert (made.error_code, asked.error_code) == codes

    def test_a_public_token_is_for_one_operation(self) -> None:
        """A payment in its session uses it up; those of other sessions stay."""
        bank = EmulatedBank()
        infos = list[dict[str, Any]]()
        for number in (1, 2):
            _ = ask(bank, "session/create")
            widget = {"acquiring_widget": {"session_id": f"ps_{number}"}}
            token = {"token": ask(bank, "token", widget)["public_token"]}
            infos.append({"type": "public_token", "public_token": token})
        _ = ask(bank, "session/start/payment", {**PS, **pay(1)})

        assert [ask(bank, "token/info", one)["info"]["is_active"] for one in infos] == [False, True]

    def test_cards(self) -> None:
        """A hash is described by its last digits."""
        card = {"type": "encrypted_card", "encrypted_card": {"number_hash": f"x{VISA}"}}

        info = ask(EmulatedBank(), "token/info", {"type": "card", "card": card})["info"]

        assert (info["brand"], info["last4"], info["number_hash"]) == ("visa", "4242", f"x{VISA}")


WRONG: Final[tuple[tuple[str, dict[str, Any], str], ...]] = (
    ("session/start/payout", payout(1), "session_id"),
    ("session/start/payout", PS, "payment_method"),
    ("session/start/payout", {**PS, "payment_method": payout(1)["payment_method"]}, "amount"),
    ("session/start/payout", {**PS, **pay(1)}, "payment_details"),
    ("session/start/payment", {**PS, **payout(1)}, "payment_method"),
    ("session/start/payment", PS, "payment_details"),
    ("session/init/payout", {"amount_details": {"amount": 1, "currency": "usd"}}, "payment_method"),
    ("session/init/payout", payout(1, number="1234"), "payment_method.card.bank_card.number"),
    ("session/init/payout", {"payout_details": {}}, "payout_details"),
    ("session/init/payment", {k: v for k, v in pay(1).items() if k != "customer"}, "customer"),
    ("session/confirm", {}, "session_id"),
    ("session/cancel", {"session_id": 1}, "session_id"),
    ("session/capture", {**PS, "amount_details": {"amount": 0}}, "amount_details.amount"),
    ("session/refund", {**PS, "amount_details": 1}, "amount_details"),
    ("fps/customer_verification", PS, "payment_method"),
    ("wallet/balance", {}, "request_datetime"),
    ("wallet/balance", {"request_datetime": "2024-04-10T19:53:00"}, "request_datetime"),
    ("token", {"acquiring_widget": {}}, "acquiring_widget.session_id"),
    ("token/info", {"type": "iban"}, "type"),
    ("token/info", {"type": "card"}, "card"),
    ("recurrent/disable", {"recurrent": "x"}, "recurrent.token"),
)


@pytest.mark.parametrize(("operation", "request_", "field"), WRONG)
def test_mandatory_fields(operation: str, request_: dict[str, Any], field: str) -> None:
    """A call with a missing or wrong field is refused; the error names it."""
    bank = EmulatedBank()
    _ = ask(bank, "session/create")
    answer = ask(bank, operation, request_)

    assert code(answer) == "invalid_request"
    assert answer["error"]["description"].startswith(field)
    assert show(bank)["status"] == "created"


@pytest.mark.parametrize("operation", ["confirm", "cancel", "capture", "refund", "status"])
def test_unknown_sessions_are_refused(operation: str) -> None:
    """Every call about an unknown session is refused."""
    answer = ask(EmulatedBank(), f"session/{operation}", PS)

    assert code(answer) == "session_not_found"


def test_a_late_order_is_carried_out_later() -> None:
    """A late call acts at its arrival, by the bank's clock."""
    bank = started()
    ask_ = ApiCall(operation="session/confirm", params=PS)
    bank.answer_later(ask_, 60, NOW)

    assert show(bank)["next_action"] == "confirm"
    assert show(bank, now=LATER)["status"] == "accepted"


class TestTable:
    """The legal steps."""

    @pytest.mark.parametrize("stage", [s for s in ItemStage if s is not ItemStage.CREATED])
    def test_every_stage_looks_like_something(self, stage: ItemStage) -> None:
        """Session and item have a status of the API in each stage."""
        session, item = statuses(stage, Rules())

        assert session in {"in_progress", "accepted", "cancelled", "canceled", "error"}
        assert item in {"in_progress", "pending", "succeeded", "failed", "cancelled", "canceled"}

    def test_every_stage_can_be_reached(self) -> None:
        """From a creation, by the steps of the table."""
        reached, old = {ItemStage.CREATED}, set[ItemStage]()
        while reached != old:
            old = set(reached)
            reached |= {target for (stage, _), target in STEPS.items() if stage in old}

        assert reached == set(ItemStage)

    def test_what_is_final_stays(self) -> None:
        """By default a final stage has no next step."""
        final = {
            ItemStage.SUCCEEDED,
            ItemStage.DECLINED,
            ItemStage.CANCELLED,
            ItemStage.EXPIRED,
            ItemStage.RELEASED,
            ItemStage.ABANDONED,
        }

        assert all(
            target is stage for (stage, _), target in steps_of(Rules()).items() if stage in final
        )
        assert all(event in {e for _, e in STEPS} for event in StageEvent)


def bank_account(**account: Any) -> dict[str, Any]:
    """Return the terms of a payout to a bank account."""
    return payout(1) | {"payment_method": {"type": "bank_account", "bank_account": account}}


def card_of(**card: Any) -> dict[str, Any]:
    """Return the terms of a payout to a card."""
    return payout(1) | {"payment_method": {"type": "card", "card": card}}


def recurrent_of(**recurrent: Any) -> dict[str, Any]:
    """Return the terms of a payment with a token."""
    return pay(1) | {"payment_details": {"type": "recurrent", "recurrent": recurrent}}


ODD: Final[tuple[tuple[str, dict[str, Any], str], ...]] = (
    ("payout", bank_account(), "payment_method.bank_account.system_type"),
    ("payout", bank_account(system_type="global"), "payment_method.bank_account.system_type"),
    ("payout", card_of(), "payment_method.card.type"),
    ("payout", card_of(type="bank_card"), "payment_method.card.bank_card.number"),
    ("payout", card_of(type="encrypted_card"), "payment_method.card.encrypted_card.number_hash"),
    ("payment", recurrent_of(), "payment_details.recurrent.token"),
    ("payment", recurrent_of(token="x", initiator="me"), "payment_details.recurrent.initiator"),  # noqa: S106
)


@pytest.mark.parametrize(("kind", "terms", "field"), ODD)
def test_instruments_must_be_whole(kind: str, terms: dict[str, Any], field: str) -> None:
    """An incomplete instrument is refused; the error names the field."""
    answer = ask(EmulatedBank(), f"session/init/{kind}", terms)

    assert code(answer) == "invalid_request"
    assert answer["error"]["description"].startswith(field)


def test_other_instruments_are_shown_as_given() -> None:
    """Only a card is masked; unknown instruments are accepted."""
    bank = EmulatedBank()
    inner = {"system_type": "global", "global": {"iban": "LT12", "description": "Salary"}}
    _ = ask(bank, "session/init/payout", bank_account(**inner))
    odd = {"type": "upi", "upi": {"id": "a@b"}}
    _ = ask(bank, "session/init/payout", payout(1) | {"payment_method": odd})

    instruments = [show(bank, f"ps_{n}")["payments"][0]["payment_method"] for n in (1, 2)]
    assert instruments == [{"type": "bank_account", "bank_account": inner}, odd]


VERIFIED: Final = {"system_type": "faster_payment_system_verification"}


@pytest.mark.parametrize(
    ("account", "people", "field"),
    [
        ({"phone": "1"}, {"recipient": {}}, "payment_method"),
        ({"phone": "1", "bank_id": "2"}, {}, "participant_details.recipient"),
    ],
)
def test_a_verification_needs_all(
    account: dict[str, Any], people: dict[str, Any], field: str
) -> None:
    """Phone, bank and recipient are mandatory (documented)."""
    bank = EmulatedBank()
    _ = ask(bank, "session/create")
    inner = VERIFIED | {VERIFIED["system_type"]: account}
    request = {**PS, **bank_account(**inner), "participant_details": people}
    answer = ask(bank, "fps/customer_verification", request)

    assert code(answer) == "invalid_request"
    assert answer["error"]["description"].startswith(field)


@pytest.mark.parametrize(
    "request_",
    [
        {"type": "card", "card": {}},
        {"type": "public_token", "public_token": {"token": "x"}},
        {"type": "recurrent_token", "recurrent_token": {}},
    ],
)
def test_unknown_tokens_are_refused(request_: dict[str, Any]) -> None:
    """They are unknown, and can't be disabled."""
    bank = EmulatedBank()

    assert code(ask(bank, "token/info", request_)) == "invalid_request"
    assert code(ask(bank, "recurrent/disable", {"recurrent": {"token": "x"}})) == "invalid_request"


def test_the_usual_wallets() -> None:
    """Without rules there are dollars, euros, pounds and roubles, a million of each."""
    asked = ask(EmulatedBank(), "wallet/balance", {"request_datetime": "2024-04-10T19:53:00Z"})

    assert [wallet["amount_details"] for wallet in asked["wallets"]] == [
        {"amount": 1_000_000_00, "currency": code} for code in ("usd", "eur", "gbp", "rub")
    ]
