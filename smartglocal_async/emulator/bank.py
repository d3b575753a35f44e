"""The emulated provider's whole business behind one door; no I/O, the clock is an argument."""

import base64
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from attrs import define, field

from .agenda import Agenda
from .asks import (
    INVALID_REQUEST,
    KEY_ALREADY_EXISTS,
    Answer,
    Ask,
    Name,
    Refused,
    name_of,
    refusal,
)
from .checks import JsonObject
from .clerk import Clerk
from .counts import MAKING, Counts
from .drafts import Drafts
from .duties import wrong
from .funds import Funds
from .ledger import Ledger
from .machine import Machine, Notice
from .records import Movement, Order, Report
from .routes import CREATE
from .rules import KeyScope, Reaction, Rules
from .services import Services
from .sessions import Item, Kind, Session
from .steps import Stage
from .tokens import Tokens
from .views import Views

CHALLENGE_PATH: Final = "/emulator/3ds/"
_STATUS: Final = "session/status"
_MOVING: Final = frozenset(
    {
        *("session/start/payout", "session/start/payment", "session/init/payout"),
        *("session/init/payment", "session/confirm", "session/capture", "session/refund"),
    }
)


@define(eq=False)
class Bank:
    """The provider. Not thread-safe: whoever shares it holds a lock."""

    rules: Rules = field(factory=Rules)
    url: str = field(default="", init=False)
    """Address of the server, for pages that a payer is sent to."""
    requests: int = field(default=0, init=False)
    bad_signatures: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)
    faults: Counter[str] = field(factory=Counter[str], init=False)
    _counts: Counts = field(factory=Counts, init=False)
    _agenda: Agenda = field(factory=Agenda, init=False)
    _used: set[tuple[str, str]] = field(factory=set[tuple[str, str]], init=False)
    _ledger: Ledger = field(init=False)
    _clerk: Clerk = field(init=False)
    _about_sessions: Mapping[str, Callable[[Ask, datetime], Session]] = field(init=False)
    _others: Mapping[str, Callable[[Ask, datetime], JsonObject]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._ledger = Ledger(self.rules.wallets, self.rules.opening_balance)
        tokens = Tokens()
        machine = Machine(
            rules=self.rules,
            agenda=self._agenda,
            funds=Funds(self._ledger, self._counts.move),
            views=Views(self.rules, tokens),
            tokens=tokens,
            challenge=self._challenge,
        )
        self._clerk = clerk = Clerk(machine, self._counts, Drafts(tokens))
        services = Services(self._ledger, tokens, clerk.sessions)
        self._about_sessions = _session_calls(clerk)
        self._others = {
            "wallet/balance": services.balance,
            "fps/banks": services.banks,
            "token": services.token,
            "token/info": services.info,
            "recurrent/disable": services.disable,
        }

    def name_of(self, request: JsonObject, header: str | None) -> Name:
        """Find what a call is counted under: its own name, else that of its session.

        A header of a call in a session tells that call from others, and not its order.
        """
        session_id = request.get("session_id")
        known = self._clerk.sessions.get(session_id) if isinstance(session_id, str) else None
        if known is None:
            return name_of(request, header, self.rules)
        name = name_of(request, None, self.rules)
        return name if name.text is not None else Name(known.name.text)

    def arrive(
        self,
        name: Name,
        call: str = CREATE,
        about: str | None = None,
        *,
        digest: str,
        signature: str,
    ) -> int:
        """Count a request; give its number for this call of its name, or on the server."""
        return self._counts.arrive(name, call, about, digest=digest, signature=signature)

    def answer(self, ask: Ask, now: datetime) -> Answer:
        """Do what is due, then what is asked, or say why not."""
        self.advance(now)
        if ask.operation in MAKING:
            self._counts.ask(ask.name)
        try:
            return self._answer(ask, now)
        except Refused as why:
            self.refused += 1
            return refusal(why.code, why.description)

    def later(self, ask: Ask, seconds: float, now: datetime) -> None:
        """Do what is asked ``seconds`` later; nobody gets the answer."""
        self._agenda.after(seconds, now, partial(self.answer, ask))

    def advance(self, now: datetime) -> None:
        """Do what is due."""
        self._agenda.advance(now)

    @property
    def next_due(self) -> datetime | None:
        """Moment from which `advance` has something to do."""
        return self._agenda.next_due

    def take_notices(self) -> list[Notice]:
        """Give what webhooks must tell, each once."""
        machine = self._clerk.machine
        notices, machine.notices = machine.notices, []
        return notices

    def acting(self, id_: str) -> Item | None:
        """Give the payment of that id, if its payer must act."""
        found = self._clerk.item(id_)
        return found[1] if found and found[1].stage is Stage.ACTING else None

    def act(self, id_: str, now: datetime, *, succeed: bool) -> bool:
        """Have a payer pass or fail 3-D Secure; False if none is asked to."""
        self.advance(now)
        found = self._clerk.item(id_)
        if found is None or found[1].stage is not Stage.ACTING:
            return False
        self._clerk.machine.act(*found, now, succeed=succeed)
        return True

    def charge_back(self, id_: str, now: datetime) -> bool:
        """Charge a payment back; False if there is nothing of it left."""
        self.advance(now)
        found = self._clerk.item(id_)
        return found is not None and self._clerk.machine.charge_back(*found, now)

    @property
    def session_ids(self) -> tuple[str, ...]:
        """All sessions, oldest first."""
        return tuple(self._clerk.sessions)

    def order(self, key: str) -> Order:
        """Tell what happened under ``key``; all zeros if it never arrived."""
        return self._counts.order(key)

    def movements(self) -> Iterator[tuple[str, Sequence[Movement]]]:
        """Give each key that arrived, and the money that was moved under it."""
        return self._counts.movements()

    def report(self) -> Report:
        """Sum up."""
        return Report(
            requests=self.requests,
            orders=self._counts.orders,
            sessions=len(self._clerk.sessions),
            duplicates=self._counts.duplicates,
            changed=self._counts.changed,
            bad_signatures=self.bad_signatures,
            refused=self.refused,
            faults=dict(self.faults),
            moved=self._counts.moved,
            moved_twice=self._counts.moved_twice,
            balances=self._ledger.balances(),
        )

    def _answer(self, ask: Ask, now: datetime) -> Answer:
        used = self._guarded_key(ask)
        if used in self._used:
            raise Refused(KEY_ALREADY_EXISTS, "already in progress or processed")
        if (found := wrong(ask.operation, ask.request, ask.version)) is not None:
            raise Refused(INVALID_REQUEST, found)
        answer = self._do(ask, now)
        if used is not None:
            self._used.add(used)
        return answer

    def _guarded_key(self, ask: Ask) -> tuple[str, str] | None:
        """Give what a call may use up once: its key, and where that counts."""
        guarded = self.rules.idempotency_header is Reaction.REFUSE and ask.operation in _MOVING
        if not guarded or not ask.header_key:
            return None
        per_method = self.rules.key_scope is KeyScope.METHOD
        return ask.operation if per_method else "", ask.header_key

    def _do(self, ask: Ask, now: datetime) -> Answer:
        if (service := self._others.get(ask.operation)) is not None:
            return Answer(body={"status": "ok", **service(ask, now)})
        session = self._about_sessions[ask.operation](ask, now)
        if ask.operation == _STATUS:
            view = self._clerk.look(session, ask.version, now)
        else:
            view = self._clerk.machine.views.session(session, ask.version)
        return Answer(body={"status": "ok", "session": view}, session_id=session.id)

    def _challenge(self, item: Item) -> JsonObject:
        # Documented: a form to post. What it says is the emulator's own.
        url = f"{self.url}{CHALLENGE_PATH}{item.id}"
        asked = base64.b64encode(item.id.encode("ascii")).decode("ascii")
        redirect: JsonObject = {
            "url": url,
            "base_url": url,
            "method": "POST",
            "qs": {},
            "params": {"PaReq": asked, "MD": item.id},
        }
        return {"type": "redirect", "redirect": redirect}


def _session_calls(clerk: Clerk) -> Mapping[str, Callable[[Ask, datetime], Session]]:
    return {
        CREATE: clerk.create,
        "session/start/payout": partial(clerk.start, Kind.PAYOUT),
        "session/start/payment": partial(clerk.start, Kind.PAYMENT),
        "session/init/payout": partial(clerk.init, Kind.PAYOUT),
        "session/init/payment": partial(clerk.init, Kind.PAYMENT),
        "session/confirm": clerk.confirm,
        "session/cancel": clerk.cancel,
        "session/capture": clerk.capture,
        "session/refund": clerk.refund,
        _STATUS: lambda ask, _: clerk.find(ask),
        "fps/customer_verification": partial(clerk.start, Kind.VERIFICATION),
    }
