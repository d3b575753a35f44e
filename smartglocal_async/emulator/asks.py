"""A call as the bank gets it, what it is called, and the bank's answer; no I/O."""

import json
from typing import Final

from attrs import field, frozen

from .checks import JsonObject, is_object
from .rules import Rules

INVALID_REQUEST: Final = "invalid_request"
KEY_ALREADY_EXISTS: Final = "idempotency_key_already_exists"
# The emulator's own inventions: the provider's codes for these are not known.
SESSION_NOT_FOUND: Final = "session_not_found"
WRONG_STATE: Final = "invalid_session_state"
INSUFFICIENT_FUNDS: Final = "insufficient_funds"


@frozen
class Name:
    """What an order is called."""

    text: str | None = None
    """What it is counted under: its key, else the JSON text of its metadata."""
    is_key: bool = False
    """Whether a second order of this name falls under `Rules.duplicates`."""


@frozen(kw_only=True)
class Ask:
    """A call that was let in."""

    operation: str
    request: JsonObject = field(factory=dict[str, object], repr=False)
    version: int = 1
    name: Name = Name()
    header_key: str | None = None
    submerchant: str | None = None


@frozen(kw_only=True)
class Answer:
    """An envelope, with what the records want from it."""

    body: JsonObject
    session_id: str | None = None
    error_code: str | None = None


class Refused(Exception):
    """The bank won't; it left everything as it was."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(code, description)
        self.code = code
        self.description = description


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


def _canonical(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
