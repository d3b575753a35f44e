"""A call, the name of its order, the answer, and the table of operations."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from attrs import field, frozen

from ..settings import Rules
from .validation import JsonObject, is_object

INVALID_REQUEST: Final = "invalid_request"
KEY_ALREADY_EXISTS: Final = "idempotency_key_already_exists"
# The emulator's own: the provider's codes for these are unknown.
SESSION_NOT_FOUND: Final = "session_not_found"
WRONG_STATE: Final = "invalid_session_state"
INSUFFICIENT_FUNDS: Final = "insufficient_funds"
PAYER_REFUSED: Final = "payer_refused"
_DIGEST_BYTES: Final = 4
# Of a card number, a digest without a secret key would be found by trying all numbers.
_DIGEST_KEY: Final = secrets.token_bytes(32)


@frozen
class Name:
    """The name that the requests of one order share."""

    text: str | None = field(default=None, repr=False)
    """What requests are counted under: the key, else the JSON text of the metadata."""
    is_key: bool = False
    """Whether a second order of this name falls under `Rules.duplicates`."""
    is_metadata: bool = False
    """Whether it is the JSON text of the metadata, and not a key."""

    @property
    def shown(self) -> str | None:
        """The key; without one a short digest of the metadata, which may hold private values.

        Equal metadata have equal digests until the process ends.
        """
        if not self.is_metadata or self.text is None:
            return self.text
        text = self.text.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(text, digest_size=_DIGEST_BYTES, key=_DIGEST_KEY)
        return f"metadata {digest.hexdigest()}"


@frozen(kw_only=True)
class ApiCall:
    """A call whose signature and route were checked."""

    operation: str
    params: JsonObject = field(factory=dict[str, object], repr=False)
    """The request's JSON object."""
    version: int = 1
    name: Name = Name()
    header_key: str | None = None
    age_seconds: float = 0.0
    """Age of the session that ``session/status`` shows."""
    submerchant: str | None = None


@frozen(kw_only=True)
class Answer:
    """An envelope, with what is logged of it."""

    body: JsonObject
    session_id: str | None = None
    error_code: str | None = None


class CallRefused(Exception):
    """The bank refuses the call, and has changed nothing."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(code, description)
        self.code = code
        self.description = description


def refusal(code: str, description: str, operation: str | None = None) -> Answer:
    """Return an error envelope, in the order of the provider's sample (documented)."""
    body: JsonObject = {"error": {"code": code, "description": description}}
    if operation not in WITHOUT_STATUS:
        body["status"] = "error"
    return Answer(body=body, error_code=code)


def name_of(request: JsonObject, header: str | None, rules: Rules) -> Name:
    """Return the name of an order, whatever the order and spacing of its JSON."""
    metadata = request.get("metadata")
    own = metadata.get(rules.key_field) if is_object(metadata) else None
    for key in (own, header):
        if isinstance(key, str) and key:
            return Name(key, is_key=True)
    if metadata is None:
        return Name()
    is_scalar = isinstance(metadata, str | int) and not isinstance(metadata, bool)
    is_key = rules.metadata_is_key and is_scalar
    return Name(canonical(metadata), is_key=is_key, is_metadata=not is_key)


def canonical(value: object) -> str:
    """Return the JSON text of a value, compact and with sorted names."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


CREATE: Final = "session/create"
BANKS: Final = "fps/banks"
PUSH: Final = "sberpay/push"
EXCHANGE_RATE: Final = "exchange_rate"
_BOTH: Final = (
    *(CREATE, "session/start/payout", "session/start/payment", "session/init/payout"),
    *("session/init/payment", "session/confirm", "session/cancel", "session/capture"),
    *("session/refund", "session/status", "fps/customer_verification"),
)
# The sister platform has these in v1 only, and so have the provider's pages.
_FIRST_ONLY: Final = (
    *("wallet/balance", "token", "token/info", "recurrent/disable"),
    *(BANKS, PUSH, EXCHANGE_RATE),
)
OPERATIONS: Final = (*_BOTH, *_FIRST_ONLY)
ABOUT_SESSIONS: Final = frozenset(_BOTH)
"""The calls whose answer is a session."""
STARTS: Final = frozenset(
    {
        *("session/start/payout", "session/start/payment"),
        *("session/init/payout", "session/init/payment"),
    }
)
CONFIRM: Final = "session/confirm"
CANCEL: Final = "session/cancel"
SET_AMOUNTS: Final = STARTS | {CREATE, CONFIRM}
"""The calls that set how much is paid, or are the last before it is."""
_VERSIONS: Final[Mapping[str, tuple[str, int]]] = MappingProxyType(
    {f"/api/v{version}/{call}": (call, version) for version in (1, 2) for call in _BOTH}
    | {f"/api/v1/{call}": (call, 1) for call in _FIRST_ONLY}
)


def route(path: str) -> tuple[str, int] | None:
    """Return the call at a path and its version; None if there is no such call."""
    return _VERSIONS.get(path)


_GETS: Final = frozenset({BANKS, EXCHANGE_RATE})
WITHOUT_STATUS: Final = frozenset({EXCHANGE_RATE})
"""The calls whose answers, good or bad, have no ``status`` (documented)."""


def method_of(call: str, rules: Rules) -> str:
    """Return a call's HTTP method: POST, but for two that documents or third-party code GET."""
    return rules.http_methods.get(call, "GET" if call in _GETS else "POST")
