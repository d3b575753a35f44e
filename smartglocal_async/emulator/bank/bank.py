"""The emulated provider behind the HTTP server: answers calls, and keeps counts and money."""

import base64
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from typing import Final

from attrs import define, evolve, field

from ..settings import KeyScope, Reaction, Rules
from .calls import ProjectCalls, SessionService
from .ledger import Account, Ledger, Transfers
from .messages import (
    CANCEL,
    CONFIRM,
    CREATE,
    EXCHANGE_RATE,
    INVALID_REQUEST,
    KEY_ALREADY_EXISTS,
    PUSH,
    STARTS,
    WITHOUT_STATUS,
    Answer,
    ApiCall,
    CallRefused,
    Name,
    name_of,
    refusal,
)
from .payers import interaction, must_act
from .processing import Notification, Processing, Schedule
from .sessions import EmulatedSession, Item, ItemKind, ItemStage
from .statistics import MAKING, Counts, Movement, Order, Report
from .tokens import Tokens
from .validation import JsonObject, problem_of
from .views import Views, payments_report, payouts_report
from .wrong_answers import Foreign, altered, made_up

CHALLENGE_PATH: Final = "/emulator/3ds/"
_STATUS: Final = "session/status"
_MOVING: Final = STARTS | {CONFIRM, "session/capture", "session/refund"}


@define(eq=False)
class EmulatedBank:
    """The emulated provider. Not thread-safe: threads that share it need a lock."""

    rules: Rules = field(factory=Rules)
    keeps_history: bool = False
    """Whether the earlier views of each session are kept, for a fault that shows one."""
    url: str = field(default="", init=False)
    """Address of the server, for the pages of 3-D Secure."""
    requests: int = field(default=0, init=False)
    bad_signatures: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)
    fault_counts: Counter[str] = field(factory=Counter[str], init=False)
    _counts: Counts = field(factory=Counts, init=False)
    _schedule: Schedule = field(factory=Schedule, init=False)
    _used: set[tuple[str, str]] = field(factory=set[tuple[str, str]], init=False)
    _ledger: Ledger = field(init=False)
    _session_service: SessionService = field(init=False)
    _project_calls: ProjectCalls = field(init=False)
    _session_operations: Mapping[str, Callable[[ApiCall, datetime], EmulatedSession]] = field(
        init=False
    )
    _project_operations: Mapping[str, Callable[[ApiCall, datetime], JsonObject]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._ledger = Ledger(self.rules.wallets, self.rules.opening_balance)
        tokens = Tokens()
        processing = Processing(
            rules=self.rules,
            schedule=self._schedule,
            transfers=Transfers(self._ledger, self._counts.count_movement, self.rules.id_mark),
            views=Views(self.rules, tokens),
            tokens=tokens,
            challenge=self._challenge,
            keeps_history=self.keeps_history or self.rules.status_lag_seconds > 0,
        )
        self._session_service = session_service = SessionService(processing, self._counts)
        self._project_calls = project_calls = ProjectCalls(
            self._ledger, tokens, session_service.sessions, self.rules
        )
        self._session_operations = _operations_on_sessions(session_service)
        self._project_operations = {
            "wallet/balance": project_calls.balance,
            "fps/banks": project_calls.banks,
            "token": project_calls.token,
            "token/info": project_calls.info,
            "recurrent/disable": project_calls.disable,
            PUSH: lambda call, _: session_service.push(call),
            EXCHANGE_RATE: project_calls.exchange_rate,
        }

    def name_of(self, request: JsonObject, header: str | None) -> Name:
        """Return the name that a call is counted under: its own, else that of its session.

        The key header of a call about a session identifies that call, and not the order.
        """
        session_id = request.get("session_id")
        known = (
            self._session_service.sessions.get(session_id) if isinstance(session_id, str) else None
        )
        if known is None:
            return name_of(request, header, self.rules)
        name = name_of(request, None, self.rules)
        if name.text is not None:
            return name
        return Name(known.name.text, is_metadata=known.name.is_metadata)

    def count_request(
        self,
        name: Name,
        operation: str = CREATE,
        about: str | None = None,
        *,
        digest: str,
        signature: str,
    ) -> int:
        """Count a request; return its number for this call of its name, or on the server."""
        return self._counts.count_request(
            name, operation, about, digest=digest, signature=signature
        )

    def top_up(self, amount: int, currency: str) -> None:
        """Add money to a wallet."""
        _ = self._ledger.move(Account.FUNDING, Account.WALLET, amount, currency)

    def answer(self, call: ApiCall, now: datetime) -> Answer:
        """Do what is due, then carry out a call; return its answer or an error envelope."""
        self.advance(now)
        return self.answer_at_once(call, now)

    def answer_at_once(self, call: ApiCall, now: datetime) -> Answer:
        """Carry out a call before anything that is due; return its answer or an error envelope."""
        if call.operation in MAKING:
            self._counts.count_reached_bank(call.name)
        try:
            return self._answer(call, now)
        except CallRefused as error:
            self.refused += 1
            return refusal(error.code, error.description, call.operation)

    def altered(self, call: ApiCall, factor: int, currency: str | None) -> ApiCall:
        """Change the amounts of a call before it is carried out.

        A call that creates, starts or inits has them in its request. For ``session/confirm`` they
        are changed in the items that wait for it. Any other call moves an amount set before.
        """
        if call.operation in STARTS | {CREATE}:
            return evolve(call, params=altered(call.params, factor, currency))
        session_id = call.params.get("session_id")
        session = (
            self._session_service.sessions.get(session_id) if isinstance(session_id, str) else None
        )
        if session is not None and call.operation == CONFIRM:
            for item in session.items:
                if item.stage is ItemStage.READY:
                    item.terms = altered(item.terms, factor, currency)
        return call

    def other_session(
        self, version: int, own: str | None, shows: Foreign, number: int, now: datetime
    ) -> JsonObject:
        """Return a session other than ``own`` as an answer shows it; ``number`` chooses it."""
        sessions = self._session_service.sessions
        others = [id_ for id_ in sessions if id_ != own] if shows is Foreign.OTHER else []
        if others:
            session = sessions[others[number % len(others)]]
        else:
            is_paid = shows is Foreign.PAID or (shows is Foreign.OTHER and number % 2 == 1)
            session = made_up(number, self.rules.key_field, now, is_paid=is_paid)
        return self._session_service.processing.views.session(session, version)

    def answer_later(self, call: ApiCall, seconds: float, now: datetime) -> None:
        """Carry a call out ``seconds`` later; its answer is dropped."""
        self._schedule.after(seconds, now, partial(self.answer, call))

    def advance(self, now: datetime) -> None:
        """Do what is due by the clock."""
        self._schedule.advance(now)

    @property
    def next_due(self) -> datetime | None:
        """Moment from which `advance` has something to do."""
        return self._schedule.next_due

    def take_notifications(self) -> list[Notification]:
        """Return the notifications since the last call of this method."""
        processing = self._session_service.processing
        notifications, processing.notifications = processing.notifications, []
        return notifications

    def item_awaiting_payer(self, id_: str) -> Item | None:
        """Return the payment of an id, if its payer must pass 3-D Secure."""
        found = self._session_service.item(id_)
        return found[1] if found and found[1].stage is ItemStage.ACTING else None

    def act(self, id_: str, now: datetime, *, succeed: bool) -> bool:
        """Pass or fail 3-D Secure for a payer; False if no payer is asked to."""
        self.advance(now)
        found = self._session_service.item(id_)
        if found is None or found[1].stage is not ItemStage.ACTING:
            return False
        self._session_service.processing.act(*found, now, succeed=succeed)
        return True

    def charge_back(self, id_: str, now: datetime) -> bool:
        """Charge a payment back; False if all of it was returned already."""
        self.advance(now)
        found = self._session_service.item(id_)
        return found is not None and self._session_service.processing.charge_back(*found, now)

    def return_payout(self, id_: str, now: datetime) -> bool:
        """Return a payout as the recipient's bank may; False if none succeeded, or it was."""
        self.advance(now)
        found = self._session_service.item(id_)
        return found is not None and self._session_service.processing.return_payout(*found, now)

    def confirm(self, id_: str, now: datetime) -> bool:
        """Confirm what waits for it, as the partner's call does; False if nothing does."""
        return self._carry_out(CONFIRM, id_, now)

    def cancel(self, id_: str, now: datetime) -> bool:
        """Cancel a session, as the partner's call does; False if it can't be."""
        return self._carry_out(CANCEL, id_, now)

    def settle(self, id_: str, now: datetime, *, succeed: bool, code: str | None = None) -> bool:
        """Have an operation succeed, or decline it with a code; False if it can't be any more."""
        self.advance(now)
        found = self._session_service.item(id_)
        if found is None:
            return False
        done = self._session_service.processing.settle(*found, now, succeed=succeed, code=code)
        self.advance(now)
        return done

    def _carry_out(self, operation: str, id_: str, now: datetime) -> bool:
        self.advance(now)
        found = self._session_service.item(id_)
        session_id = found[0].id if found else id_
        call = ApiCall(operation=operation, params={"session_id": session_id})
        try:
            _ = self._session_operations[operation](call, now)
        except CallRefused:
            return False
        self.advance(now)
        return True

    def change_rules(self, rules: Rules) -> None:
        """Replace the rules from now on; what is due already stays due when it was."""
        self.rules = rules
        self._project_calls.rules = rules
        self._session_service.processing.change_rules(rules)

    @property
    def views(self) -> Views:
        """What shows sessions as the API does."""
        return self._session_service.processing.views

    @property
    def changes(self) -> int:
        """How often a session changed."""
        return self._session_service.processing.changes

    @property
    def moved(self) -> int:
        """Payouts and payments that were executed."""
        return self._counts.moved

    def balances(self) -> Mapping[str, Mapping[str, int]]:
        """Return the balances of all accounts by currency, in minor units."""
        return self._ledger.balances()

    @property
    def sessions(self) -> dict[str, EmulatedSession]:
        """All sessions by id, oldest first."""
        return self._session_service.sessions

    def session(self, id_: str) -> EmulatedSession | None:
        """Return the session of an id, or of the id of one of its operations."""
        found = self._session_service.item(id_)
        return found[0] if found else self._session_service.sessions.get(id_)

    @property
    def session_ids(self) -> tuple[str, ...]:
        """All sessions, oldest first."""
        return tuple(self._session_service.sessions)

    def order(self, key: str) -> Order:
        """Return what happened under ``key``; all zeros if it never arrived."""
        return self._counts.order(key)

    def movements(self) -> Iterator[tuple[Name, Sequence[Movement]]]:
        """Return each name that arrived, with the money that was moved under it."""
        return self._counts.movements()

    def marked(self) -> Mapping[tuple[str, str], Sequence[Movement]]:
        """Return the money that was moved, by journal and key of its mark."""
        return self._counts.marked()

    def payouts_report(self, day: date | None) -> str:
        """Return the daily payouts report as CSV; without a day, that of all days."""
        return payouts_report(self._session_service.sessions.values(), self.rules, day)

    def payments_report(self, day: date | None, project: str) -> str:
        """Return the daily payments report as CSV; without a day, that of all days."""
        sessions = self._session_service.sessions.values()
        return payments_report(sessions, self.rules, day, project)

    def report(self) -> Report:
        """Return the counts so far."""
        return Report(
            requests=self.requests,
            orders=self._counts.orders,
            sessions=len(self._session_service.sessions),
            duplicates=self._counts.duplicates,
            changed=self._counts.changed,
            bad_signatures=self.bad_signatures,
            refused=self.refused,
            faults=dict(self.fault_counts),
            moved=self._counts.moved,
            moved_twice=self._counts.moved_twice,
            balances=self._ledger.balances(),
        )

    def _answer(self, call: ApiCall, now: datetime) -> Answer:
        key = self._key_to_use_up(call)
        if key in self._used:
            raise CallRefused(KEY_ALREADY_EXISTS, "already in progress or processed")
        if (problem := problem_of(call.operation, call.params, call.version)) is not None:
            raise CallRefused(INVALID_REQUEST, problem)
        answer = self._perform(call, now)
        if key is not None:
            self._used.add(key)
        return answer

    def _key_to_use_up(self, call: ApiCall) -> tuple[str, str] | None:
        """Return the key that a call uses up and where it counts; None if it uses up none."""
        is_guarded = self.rules.idempotency_header is Reaction.REFUSE and call.operation in _MOVING
        if not is_guarded or not call.header_key:
            return None
        per_method = self.rules.key_scope is KeyScope.METHOD
        return call.operation if per_method else "", call.header_key

    def _perform(self, call: ApiCall, now: datetime) -> Answer:
        if (perform := self._project_operations.get(call.operation)) is not None:
            said = perform(call, now)
            if call.operation in WITHOUT_STATUS:
                return Answer(body=said)
            return Answer(body={"status": "ok", **said})
        session = self._session_operations[call.operation](call, now)
        if call.operation == _STATUS:
            view = self._session_service.status_view(session, call, now)
        else:
            view = self._session_service.processing.views.session(session, call.version)
        return Answer(body={"status": "ok", "session": view}, session_id=session.id)

    def _challenge(self, item: Item) -> JsonObject:
        # Documented as a form to post; its content is the emulator's own.
        url = f"{self.url}{CHALLENGE_PATH}{item.id}"
        if must_act(item.instrument):
            return interaction(item, url)
        request = base64.b64encode(item.id.encode("ascii")).decode("ascii")
        redirect: JsonObject = {
            "url": url,
            "base_url": url,
            "method": "POST",
            "qs": {},
            "params": {"PaReq": request, "MD": item.id},
        }
        return {"type": "redirect", "redirect": redirect}


def _operations_on_sessions(
    session_service: SessionService,
) -> Mapping[str, Callable[[ApiCall, datetime], EmulatedSession]]:
    return {
        CREATE: session_service.create,
        "session/start/payout": partial(session_service.start, ItemKind.PAYOUT),
        "session/start/payment": partial(session_service.start, ItemKind.PAYMENT),
        "session/init/payout": partial(session_service.init, ItemKind.PAYOUT),
        "session/init/payment": partial(session_service.init, ItemKind.PAYMENT),
        CONFIRM: session_service.confirm,
        CANCEL: session_service.cancel,
        "session/capture": session_service.capture,
        "session/refund": session_service.refund,
        _STATUS: lambda call, _: session_service.find(call),
        "fps/customer_verification": partial(session_service.start, ItemKind.VERIFICATION),
    }
