"""The calls: `SessionService` carries out those about sessions, `ProjectCalls` the others."""

import itertools
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from functools import partial
from typing import Final

from attrs import define, field

from ..settings import Duplicates, Reaction, Rounding, Rules
from .ledger import Account, Ledger
from .messages import (
    CREATE,
    INVALID_REQUEST,
    KEY_ALREADY_EXISTS,
    PAYER_REFUSED,
    SESSION_NOT_FOUND,
    WRONG_STATE,
    ApiCall,
    CallRefused,
)
from .outcomes import AmountOutcome, Fate, Traits, limit_code, outcome_of
from .payers import SBER_PAY, bank_of, must_act
from .payout_pages import payout_problem
from .processing import Processing
from .sessions import (
    UNDER_WAY,
    EmulatedSession,
    Item,
    ItemKind,
    ItemRefund,
    ItemStage,
    StageEvent,
    moment,
)
from .statistics import Counts
from .tokens import Tokens, number_of, phone_of
from .validation import (
    BETWEEN_INDIVIDUALS,
    PAYOUT_NAMES,
    JsonObject,
    is_object,
    missing_field,
)


def _check_token(terms: JsonObject, kind: ItemKind, version: int, tokens: Tokens) -> None:
    """Refuse a recurrent token that doesn't exist or is disabled."""
    token = _token(terms, kind)
    if token is None:
        return
    name = "payment_details" if kind is ItemKind.PAYMENT else PAYOUT_NAMES[version]
    if tokens.instrument(token) is None:
        problem = f"{name}.recurrent.token: there is no such token"
        raise CallRefused(INVALID_REQUEST, problem)
    if not tokens.is_active(token):
        # The code is the sister platform's for a binding that was disabled.
        problem = f"{name}.recurrent.token: is disabled"
        raise CallRefused("binding_is_deactivated", problem)


def _return_url(terms: Mapping[str, object]) -> object:
    options = terms.get("payment_options")
    return options.get("return_url") if is_object(options) else None


def _check_individuals(call: ApiCall) -> None:
    """Refuse a transfer between individuals whose payer isn't named in the header (documented)."""
    if _return_url(call.params) == BETWEEN_INDIVIDUALS and not call.submerchant:
        problem = f"payment_options.return_url: {BETWEEN_INDIVIDUALS} needs X-PARTNER-SUBMERCHANT"
        raise CallRefused(INVALID_REQUEST, problem)


def _outcome(terms: JsonObject, kind: ItemKind, tokens: Tokens) -> AmountOutcome:
    """Return how an operation will end, by its instrument and amount."""
    token = _token(terms, kind)
    instrument = _instrument(terms, kind)
    paid_with = tokens.instrument(token) if token is not None else instrument
    money = terms.get("amount_details")
    amount = money.get("amount") if is_object(money) else None
    traits = Traits(
        card=number_of(paid_with or {}),
        phone=phone_of(instrument),
        amount=amount if isinstance(amount, int) else None,
    )
    row = outcome_of(kind.value, traits)
    # Documented: a recurring payment that the payer initiates needs 3-D Secure.
    if row.fate is Fate.SUCCEED and must_act(instrument):
        words = "waits for the payer, who acts in their bank"
        return AmountOutcome(row.operation, "any", "", Fate.CHALLENGE, PAYER_REFUSED, words)
    if row.fate is Fate.SUCCEED and _is_initiated_by_payer(instrument):
        return AmountOutcome(
            row.operation, "any", "", Fate.CHALLENGE, "3DS_error", "needs 3-D Secure"
        )
    return row


def _instrument(terms: JsonObject, kind: ItemKind) -> JsonObject:
    name = "payment_details" if kind is ItemKind.PAYMENT else "payment_method"
    instrument = terms.get(name)
    return instrument if is_object(instrument) else {}


def _recurrent(instrument: JsonObject) -> JsonObject:
    recurrent = instrument.get("recurrent") if instrument.get("type") == "recurrent" else None
    return recurrent if is_object(recurrent) else {}


def _token(terms: JsonObject, kind: ItemKind) -> str | None:
    token = _recurrent(_instrument(terms, kind)).get("token")
    return token if isinstance(token, str) else None


def _is_initiated_by_payer(instrument: JsonObject) -> bool:
    return _recurrent(instrument).get("initiator") == "client"


FPS_WIDGET: Final = "fps_no_account_widget"
_TERMS: Final = (
    *("payment_method", "payment_details", "amount_details", "participant_details"),
    *("customer", "payment_options", "metadata"),
)


@define(eq=False)
class SessionService:
    """Carries out the calls about sessions; each method returns the session."""

    processing: Processing
    counts: Counts
    sessions: dict[str, EmulatedSession] = field(factory=dict[str, EmulatedSession], init=False)
    _items: Iterator[int] = field(factory=lambda: itertools.count(1), init=False)

    def create(self, call: ApiCall, now: datetime) -> EmulatedSession:
        """Create a session; for a key that was used, what `Rules.duplicates` says."""
        _check_individuals(call)
        first = self.counts.first_created(call.name) if call.name.is_key else None
        if first is not None and call.operation == CREATE:
            match self.processing.rules.duplicates:
                case Duplicates.REPLAY:
                    return self.sessions[first]
                case Duplicates.REFUSE:
                    raise CallRefused(KEY_ALREADY_EXISTS, "already in progress or processed")
                case Duplicates.CREATE:
                    pass
        session = EmulatedSession(
            id=f"ps_{self.processing.rules.id_mark}{len(self.sessions) + 1}",
            terms=_terms(call),
            name=call.name,
            created_at=now,
            updated_at=now,
        )
        session.exchange = self._exchange(call, session.terms, now)
        self.sessions[session.id] = session
        self.counts.count_session(call.name, call.operation, session.id)
        self.processing.mark_changed(session, now)
        return session

    def start(self, kind: ItemKind, call: ApiCall, now: datetime) -> EmulatedSession:
        """Start a payout, a payment or a verification in a session."""
        session = self.find(call)
        _check_individuals(call)
        if (session.stage, StageEvent.START) not in self.processing.steps:
            raise CallRefused(WRONG_STATE, "session_id: it can't be started any more")
        terms = session.terms | _terms(call)
        self._check(terms, kind, call.version)
        self._start_item(session, kind, terms, call, now)
        return session

    def init(self, kind: ItemKind, call: ApiCall, now: datetime) -> EmulatedSession:
        """Create a session and start a payout or a payment in it."""
        terms = _terms(call)
        self._check(terms, kind, call.version)
        session = self.create(call, now)
        self._start_item(session, kind, terms, call, now)
        return session

    def confirm(self, call: ApiCall, now: datetime) -> EmulatedSession:
        """Confirm all items that wait for it."""
        return self._step_all(call, StageEvent.CONFIRM, now)

    def cancel(self, call: ApiCall, now: datetime) -> EmulatedSession:
        """Cancel the items that wait for a confirm or a capture, or a session without items."""
        session = self.find(call)
        if session.items:
            return self._step_all(call, StageEvent.CANCEL, now)
        if (session.stage, StageEvent.CANCEL) not in self.processing.steps:
            raise CallRefused(WRONG_STATE, "session_id: it can't be cancelled")
        session.cancelled = True
        self.processing.mark_changed(session, now)
        return session

    def capture(self, call: ApiCall, now: datetime) -> EmulatedSession:
        """Capture the money that is held, or a part of it."""
        session = self.find(call)
        held = [item for item in session.items if item.stage is ItemStage.HELD]
        money = call.params.get("amount_details")
        if held and is_object(money):
            most = held[0].held if len(held) == 1 else 0
            allowed = self.processing.rules.partial_captures
            held[0].to_capture = _part(money, held[0], most, allowed=allowed)
        return self._step_all(call, StageEvent.CAPTURE, now)

    def refund(self, call: ApiCall, now: datetime) -> EmulatedSession:
        """Start the refund of a payment, or of a part of it."""
        session = self.find(call)
        payments = [item for item in session.items if self._can_refund(item)]
        if not payments:
            raise CallRefused(WRONG_STATE, "session_id: there is nothing to refund")
        item = payments[0]
        paid = item.finished_at or item.created_at
        if self.processing.rules.refunds_from_next_day and _day(now) <= _day(paid):
            raise CallRefused(WRONG_STATE, "session_id: can be refunded from the next day only")
        left = item.captured - item.refunded
        money = call.params.get("amount_details")
        allowed = self.processing.rules.partial_refunds
        refund = ItemRefund(
            id=self.processing.transfers.refund_id(),
            amount=_part(money, item, left, allowed=allowed) if is_object(money) else left,
            name=call.name if call.name.text else item.name,
            created_at=now,
            extras={name: call.params[name] for name in ("metadata",) if name in call.params},
        )
        item.refunds.append(refund)
        self.processing.mark_changed(session, now)
        pay_back = partial(self.processing.pay_back, session, item, refund)
        self.processing.schedule.after(self.processing.rules.processing_seconds, now, pay_back)
        return session

    def push(self, call: ApiCall) -> JsonObject:
        """Have the payer of a SberPay payment notified; the answer has a status only (documented).

        Before the confirm, too: no document says that it comes too early then.
        """
        session = self.find(call)
        is_asked = any(
            item.stage in UNDER_WAY and bank_of(item.instrument) == SBER_PAY
            for item in session.items
        )
        if not is_asked:
            raise CallRefused(WRONG_STATE, "session_id: no SberPay payment is under way there")
        return {}

    def find(self, call: ApiCall) -> EmulatedSession:
        """Return the session that a call names.

        Raises:
            CallRefused: there is no such session.

        """
        session = self.sessions.get(str(call.params.get("session_id")))
        if session is None:
            raise CallRefused(SESSION_NOT_FOUND, "session_id: there is no such session")
        return session

    def item(self, id_: str) -> tuple[EmulatedSession, Item] | None:
        """Return the item of an id, or the last item of the session of that id."""
        for session in self.sessions.values():
            for item in reversed(session.items):
                if id_ in {session.id, item.id}:
                    return session, item
        return None

    def status_view(self, session: EmulatedSession, call: ApiCall, now: datetime) -> JsonObject:
        """Return a session as ``session/status`` shows it: as it was some time ago, if so asked."""
        version = call.version
        lag = max(self.processing.rules.status_lag_seconds, call.age_seconds)
        if not lag:
            return self.processing.views.session(session, version)
        then = now - timedelta(seconds=lag)
        earlier = [views for since, views in session.history if since <= then]
        views = earlier[-1] if earlier else session.history[0][1]
        return views[version]

    def _exchange(self, call: ApiCall, terms: JsonObject, now: datetime) -> JsonObject | None:
        rules, money = self.processing.rules, terms.get("amount_details")
        if rules.converts_to is None or not is_object(money):
            return None
        # Documented for payments by the widget, so neither for payouts nor for those of one call.
        if call.operation != CREATE or "payment_method" in terms:
            return None
        amount, currency = money.get("amount"), str(money.get("currency")).lower()
        if not isinstance(amount, int) or currency == rules.converts_to.lower():
            return None
        until = now + timedelta(seconds=rules.reserved_seconds)
        # By the rate as it is written: 500 at 1.08 are 540, which a float would exceed.
        exact = amount * Decimal(str(rules.conversion_rate))
        mode = ROUND_CEILING if rules.conversion_rounding is Rounding.UP else ROUND_HALF_UP
        converted = int(exact.to_integral_value(mode))
        return {
            "source": {"amount": amount, "currency": currency},
            "destination": {"amount": converted, "currency": rules.converts_to.lower()},
            "rate": rules.conversion_rate,
            "rate_source": "oer",
            "reserved_to": int(until.timestamp()),
        }

    def _check(self, terms: JsonObject, kind: ItemKind, version: int) -> None:
        if kind is ItemKind.VERIFICATION:
            return
        pays_out = kind is ItemKind.PAYOUT
        problem = missing_field(terms, version, pays_out=pays_out)
        if pays_out and self.processing.rules.payout_fields is Reaction.REFUSE:
            problem = problem or payout_problem(terms, version)
        if problem is not None:
            raise CallRefused(INVALID_REQUEST, problem)
        _check_token(terms, kind, version, self.processing.tokens)

    def _start_item(
        self,
        session: EmulatedSession,
        kind: ItemKind,
        terms: JsonObject,
        call: ApiCall,
        now: datetime,
    ) -> None:
        prefix = "pm" if kind is ItemKind.PAYMENT else "po"
        if session.name.text is None:
            session.name = call.name
        outcome = self._outcome(terms, kind)
        item = Item(
            id=f"{prefix}_{self.processing.rules.id_mark}{next(self._items)}",
            kind=kind,
            terms=terms,
            name=call.name if call.name.text else session.name,
            created_at=now,
            fate=outcome.fate,
            code=outcome.code,
        )
        if kind is ItemKind.PAYMENT:
            self.processing.tokens.use_up(session.id)
        else:
            session.exchange = None
        session.items.append(item)
        self.processing.enter_stage(session, item, now)

    def _outcome(self, terms: JsonObject, kind: ItemKind) -> AmountOutcome:
        money = terms.get("amount_details")
        limits = self.processing.rules.amount_limits
        if kind is not ItemKind.VERIFICATION and is_object(money):
            of_currency = limits.get(str(money.get("currency")).lower())
            if (exceeded := limit_code(of_currency, money.get("amount"))) is not None:
                words = "is declined, as its amount is outside of the limits"
                return AmountOutcome(kind.value, "limit", "", Fate.DECLINE, exceeded, words)
        return _outcome(terms, kind, self.processing.tokens)

    def _step_all(self, call: ApiCall, event: StageEvent, now: datetime) -> EmulatedSession:
        session = self.find(call)
        ready = [item for item in session.items if (item.stage, event) in self.processing.steps]
        if not ready:
            raise CallRefused(WRONG_STATE, f"session_id: there is nothing to {event.value}")
        for item in ready:
            self.processing.step(session, item, event, now)
        return session

    def _can_refund(self, item: Item) -> bool:
        is_legal = (item.stage, StageEvent.REFUND) in self.processing.steps
        return is_legal and item.captured > item.refunded


def _day(time: datetime) -> date:
    return time.astimezone(UTC).date()


def _terms(call: ApiCall) -> JsonObject:
    terms = dict(call.params)
    if (name := PAYOUT_NAMES[call.version]) in terms:
        terms["payment_method"] = terms.pop(name)
    return {name: terms[name] for name in _TERMS if name in terms}


def _part(money: JsonObject, item: Item, most: int, *, allowed: bool) -> int:
    amount, currency = money["amount"], str(money["currency"]).lower()
    if currency != item.currency:
        raise CallRefused(INVALID_REQUEST, "amount_details.currency: must be that of the payment")
    if not isinstance(amount, int) or amount > most:
        raise CallRefused(INVALID_REQUEST, "amount_details.amount: must not exceed what is left")
    if amount < most and not allowed:
        raise CallRefused(INVALID_REQUEST, "amount_details.amount: only the whole can be taken")
    return amount


# Wallets in the answer to `wallet/balance` before any was used.
_FIRST_WALLETS: Final = ("usd", "eur", "gbp", "rub")
# The id is that of the provider's examples; the names are the emulator's own.
_BANKS: Final = (
    {"id": "100000000069", "eng_name": "First Emulated Bank", "ru_name": "Первый банк"},
    {"id": "100000000070", "eng_name": "Second Emulated Bank", "ru_name": "Второй банк"},
)


@define(eq=False)
class ProjectCalls:
    """The calls that are about no session: wallets, banks and tokens.

    Each method returns the members of the answer besides its status.
    """

    ledger: Ledger
    tokens: Tokens
    sessions: Mapping[str, EmulatedSession]
    rules: Rules

    def balance(self, _call: ApiCall, _now: datetime) -> JsonObject:
        """Return the wallets (an array in the documented example)."""
        for code in () if self.ledger.wallets else _FIRST_WALLETS:
            _ = self.ledger.balance(Account.WALLET, code)
        wallets = [
            {
                "id": f"wallet_{code}",
                "amount_details": {"amount": accounts["wallet"], "currency": code},
            }
            for code, accounts in self.ledger.balances().items()
        ]
        return {"wallets": wallets}

    def banks(self, _call: ApiCall, _now: datetime) -> JsonObject:
        """Return the banks of the Faster Payments System; third-party code has these fields."""
        return {"banks": list(_BANKS)}

    def exchange_rate(self, _call: ApiCall, now: datetime) -> JsonObject:
        """Return the rate of Steam top-ups, which is a new one every hour (documented)."""
        start = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        rate: JsonObject = {
            "source_currency": "RUB",
            "destination_currency": "USD",
            "rate": self.rules.usd_for_rub,
            "active_from": moment(start),
            "active_to": moment(start + timedelta(hours=1)),
        }
        return {"rate": rate}

    def token(self, call: ApiCall, now: datetime) -> JsonObject:
        """Return a token for a widget."""
        acquiring = self._session_of(call, "acquiring_widget")
        transfer = self._session_of(call, FPS_WIDGET)
        if transfer is not None and not call.submerchant:
            # Documented.
            raise CallRefused(INVALID_REQUEST, f"{FPS_WIDGET}: needs X-PARTNER-SUBMERCHANT")
        if transfer is not None and _return_url(transfer.terms) != BETWEEN_INDIVIDUALS:
            # Documented: the session of a transfer between individuals has this address.
            problem = f"its session needs the return_url {BETWEEN_INDIVIDUALS}"
            raise CallRefused(INVALID_REQUEST, f"{FPS_WIDGET}.session_id: {problem}")
        session = acquiring or transfer
        token = self.tokens.make_public(now, None if session is None else session.id)
        return {"public_token": token}

    def _session_of(self, call: ApiCall, name: str) -> EmulatedSession | None:
        """Return the session of a widget, if the call asks for that widget."""
        widget = call.params.get(name)
        if not is_object(widget):
            return None
        session = self.sessions.get(str(widget.get("session_id")))
        if session is None:
            raise CallRefused(SESSION_NOT_FOUND, f"{name}.session_id: there is no such session")
        return session

    def info(self, call: ApiCall, now: datetime) -> JsonObject:
        """Return what is known about a card or a token."""
        info = self.tokens.info(call.params, now)
        if info is None:
            kind = call.params["type"]
            raise CallRefused(INVALID_REQUEST, f"{kind}: there is no such card or token")
        return {"info": info}

    def disable(self, call: ApiCall, now: datetime) -> JsonObject:
        """Disable a recurrent token."""
        recurrent = call.params["recurrent"]
        token = recurrent.get("token") if is_object(recurrent) else None
        if not isinstance(token, str) or self.tokens.instrument(token) is None:
            raise CallRefused(INVALID_REQUEST, "recurrent.token: there is no such token")
        self.tokens.disable(token, now)
        return {"recurrent": self.tokens.recurrent(token)}
