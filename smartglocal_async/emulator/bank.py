"""Sessions, keys and counts of the emulated provider; no I/O, the clock is an argument."""

import enum
import json
from collections import Counter
from datetime import UTC, datetime
from typing import Final

from attrs import define, field, frozen

from .checks import JsonObject, complaint, is_object
from .records import Order, Report

INVALID_REQUEST: Final = "invalid_request"
KEY_ALREADY_EXISTS: Final = "idempotency_key_already_exists"
# The emulator's own invention: the provider's code for an unknown session is not known.
SESSION_NOT_FOUND: Final = "session_not_found"


class Duplicates(enum.Enum):
    """What a second ``session/create`` with one key gets; unknown, a switch."""

    REPLAY = "replay"
    """The session of the first one again."""
    REFUSE = "refuse"
    """The error ``idempotency_key_already_exists``, as the sister platform's SDK expects."""
    CREATE = "create"
    """One more session."""


@frozen(kw_only=True)
class Rules:
    """How the provider behaves where the documents are silent."""

    duplicates: Duplicates = Duplicates.REPLAY
    metadata_is_key: bool = False
    """Whether metadata that is a string or a whole number counts as a key; unknown, a switch."""
    error_http_status: int = 400
    """HTTP status of error envelopes; unknown, a switch. 200 is as possible as 400."""
    key_field: str = "idempotency_key"
    """The key is ``metadata[key_field]``, else the header ``X-PARTNER-IDEMPOTENCY-KEY``.

    Both are unknown: the documents ask for a key and don't say where it goes.
    """


@frozen
class Name:
    """What an order is called."""

    text: str | None = None
    """What it is counted under: its key, else the JSON text of its metadata."""
    is_key: bool = False
    """Whether a second order of this name falls under `Rules.duplicates`."""


@frozen(kw_only=True)
class Answer:
    """An envelope, with what the records want from it."""

    body: JsonObject
    session_id: str | None = None
    error_code: str | None = None


@define(eq=False)
class _Ledger:
    attempts: int = 0
    asked: int = 0
    sessions: list[str] = field(factory=list[str])
    digests: set[str] = field(factory=set[str])
    signatures: set[str] = field(factory=set[str])


def refusal(code: str, description: str) -> Answer:
    """Give an error envelope, in the order of the provider's sample (documented)."""
    error = {"code": code, "description": description}
    return Answer(body={"error": error, "status": "error"}, error_code=code)


def name_of(request: JsonObject, header: str | None, rules: Rules) -> Name:
    """Find what an order is called, however its client spells JSON."""
    metadata = request.get("metadata")
    own = metadata.get(rules.key_field) if is_object(metadata) else None
    for key in (own, header):
        if isinstance(key, str) and key:
            return Name(key, is_key=True)
    if metadata is None:
        return Name()
    scalar = isinstance(metadata, str | int) and not isinstance(metadata, bool)
    return Name(_canonical(metadata), is_key=rules.metadata_is_key and scalar)


@define(eq=False)
class Bank:
    """The provider's books. Not thread-safe: whoever shares it holds a lock."""

    rules: Rules = field(factory=Rules)
    requests: int = field(default=0, init=False)
    bad_signatures: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)
    faults: Counter[str] = field(factory=Counter[str], init=False)
    _arrived: int = field(default=0, init=False)
    _sessions: dict[str, JsonObject] = field(factory=dict[str, JsonObject], init=False)
    _ledgers: dict[str, _Ledger] = field(factory=dict[str, _Ledger], init=False)

    def arrive(self, name: Name, *, digest: str, signature: str) -> int:
        """Count a request; give its number among those of its name, or of the server."""
        self._arrived += 1
        if name.text is None:
            return self._arrived
        ledger = self._ledgers.setdefault(name.text, _Ledger())
        ledger.attempts += 1
        ledger.digests.add(digest)
        ledger.signatures.add(signature)
        return ledger.attempts

    def create(self, request: JsonObject, *, name: Name, version: int, now: datetime) -> Answer:
        """Make a session, or give the one made before, or say why not."""
        ledger = self._ledgers.setdefault(name.text, _Ledger()) if name.text else _Ledger()
        ledger.asked += 1
        if (wrong := complaint(request, version)) is not None:
            return self._refuse(INVALID_REQUEST, wrong)
        if name.is_key and ledger.sessions:
            match self.rules.duplicates:
                case Duplicates.REPLAY:
                    return self._show(ledger.sessions[0])
                case Duplicates.REFUSE:
                    return self._refuse(KEY_ALREADY_EXISTS, "already in progress or processed")
                case Duplicates.CREATE:
                    pass
        session_id = self._open(request, now)
        ledger.sessions.append(session_id)
        return self._show(session_id)

    def status(self, request: JsonObject) -> Answer:
        """Show a session."""
        session_id = request.get("session_id")
        if not isinstance(session_id, str) or not session_id:
            return self._refuse(INVALID_REQUEST, "session_id: must be a string that isn't empty")
        if session_id not in self._sessions:
            return self._refuse(SESSION_NOT_FOUND, "session_id: there is no such session")
        return self._show(session_id)

    @property
    def session_ids(self) -> tuple[str, ...]:
        """All sessions, oldest first."""
        return tuple(self._sessions)

    def order(self, key: str) -> Order:
        """Tell what happened under ``key``; all zeros if it never arrived."""
        ledger = self._ledgers.get(key, _Ledger())
        return Order(
            key=key,
            attempts=ledger.attempts,
            asked=ledger.asked,
            session_ids=tuple(ledger.sessions),
            digests=frozenset(ledger.digests),
            signatures=frozenset(ledger.signatures),
        )

    def report(self) -> Report:
        """Sum up."""
        ledgers = self._ledgers.values()
        return Report(
            requests=self.requests,
            orders=len(ledgers),
            sessions=len(self._sessions),
            duplicates=sum(max(0, len(ledger.sessions) - 1) for ledger in ledgers),
            changed=sum(len(ledger.digests) > 1 for ledger in ledgers),
            bad_signatures=self.bad_signatures,
            refused=self.refused,
            faults=dict(self.faults),
        )

    def _open(self, request: JsonObject, now: datetime) -> str:
        session_id = f"ps_{len(self._sessions) + 1}"
        moment = f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
        session: JsonObject = {
            "id": session_id,
            "status": "created",
            "created_at": moment,
            "updated_at": moment,
        }
        if "metadata" in request:
            session["metadata"] = request["metadata"]
        self._sessions[session_id] = session
        return session_id

    def _show(self, session_id: str) -> Answer:
        body: JsonObject = {"status": "ok", "session": self._sessions[session_id]}
        return Answer(body=body, session_id=session_id)

    def _refuse(self, code: str, description: str) -> Answer:
        self.refused += 1
        return refusal(code, description)


def _canonical(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
