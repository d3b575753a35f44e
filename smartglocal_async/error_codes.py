"""The documented error codes: their class, their meaning, and the source.

Smart Glocal's own list isn't public. The codes are those of the sister platform, Bank 131.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from attrs import frozen

from .errors import CodeClass

_PERMANENT, _TRANSIENT = CodeClass.PERMANENT, CodeClass.TRANSIENT
_LIST: Final = "Bank 131, reference/errors"
_SDK: Final = "Bank 131, PHP SDK, tests/Unit/API/ExceptionApiTest.php"


@frozen
class KnownCode:
    """What is documented about a code."""

    code_class: CodeClass
    meaning: str
    """For a refusal: why the error comes before any money moves."""
    source: str


@frozen
class KnownCause:
    """Why a payout failed, and who documents that it may pass."""

    meaning: str
    source: str


KNOWN_CODES: Final[Mapping[str, KnownCode]] = MappingProxyType(
    {
        "authentication_error": KnownCode(_PERMANENT, "the signature is wrong", _LIST),
        "identification_error": KnownCode(_PERMANENT, "the partner isn't known", _LIST),
        "authorization_error": KnownCode(_PERMANENT, "no rights for the operation", _LIST),
        "invalid_request": KnownCode(_PERMANENT, "the request is invalid", _LIST),
        "provider_exceeds_amount_limit": KnownCode(
            _PERMANENT, "the amount is above the limit", _LIST
        ),
        "amount_less_allowed_provider": KnownCode(
            _PERMANENT, "the amount is below the minimum", _LIST
        ),
        "provider_foreign_transfer_prohibited": KnownCode(
            _PERMANENT, "foreign cards aren't allowed", _LIST
        ),
        "3DS_error": KnownCode(CodeClass.NEW_OPERATION, "3-D Secure failed", _LIST),
        "account_not_found": KnownCode(_PERMANENT, "the account isn't found", _LIST),
        "activity_count_exceeded": KnownCode(_PERMANENT, "the card's activity limit", _LIST),
        "bank_card_expired": KnownCode(_PERMANENT, "the card has expired", _LIST),
        "binding_is_deactivated": KnownCode(_PERMANENT, "the binding is disabled", _LIST),
        "card_number_does_not_exist": KnownCode(_PERMANENT, "there is no such card", _LIST),
        "capture_timeout": KnownCode(CodeClass.FINAL, "not captured in time, and cancelled", _LIST),
        "confirm_timeout": KnownCode(
            CodeClass.FINAL, "not confirmed in time, and cancelled", _LIST
        ),
        "taxpayer_unknown": KnownCode(_PERMANENT, "the taxpayer isn't known", _LIST),
        "taxpayer_not_bound": KnownCode(_PERMANENT, "the taxpayer isn't bound", _LIST),
        "taxpayer_already_bound": KnownCode(_PERMANENT, "the taxpayer is bound already", _LIST),
        "taxpayer_income_exceeds_amount_limit": KnownCode(
            _PERMANENT, "the taxpayer's income is above the limit", _LIST
        ),
        "internal_error": KnownCode(_TRANSIENT, "an error of the platform's", _LIST),
        "provider_internal_error": KnownCode(_TRANSIENT, "an error of the bank's", _LIST),
        "provider_issuer_unavailable": KnownCode(_TRANSIENT, "the issuer can't be reached", _LIST),
        "provider_timeout": KnownCode(_TRANSIENT, "the bank didn't answer in time", _LIST),
        "idempotency_key_already_exists": KnownCode(
            CodeClass.DUPLICATE, "the key was used before", _SDK
        ),
    }
)
"""Code -> what is documented about it."""

_REFUSALS: Final = frozenset({_PERMANENT, CodeClass.NEW_OPERATION, CodeClass.FINAL})

PASSING_CAUSES: Final[Mapping[str, KnownCause]] = MappingProxyType(
    {
        "insufficient_funds": KnownCause(
            "the wallet had too little money",
            "the emulator's own code; the provider documents the case without one",
        ),
        "internal_error": KnownCause("an error of the platform's", _LIST),
        "provider_internal_error": KnownCause("an error of the bank's", _LIST),
        "provider_issuer_unavailable": KnownCause("the issuer couldn't be reached", _LIST),
        "activity_count_exceeded": KnownCause("the card's activity limit was reached", _LIST),
    }
)
"""Codes of failed payouts whose cause may have passed, so that the same order may succeed later.

`provider_timeout` isn't one of them: the bank may have paid.
"""

REFUSAL_CODES: Final = frozenset(
    code for code, known in KNOWN_CODES.items() if known.code_class in _REFUSALS
)
"""Codes after which no money moves: they come before the request is processed, or instead.

Any other code of a call that moves money leaves the outcome unknown.
"""

CODES_OF_THE_CALLER: Final = frozenset(
    {"authentication_error", "identification_error", "authorization_error"}
)
"""Codes about the client's credentials: the request itself was not processed."""


def class_of(code: str) -> CodeClass:
    """Return the class of a code."""
    known = KNOWN_CODES.get(code)
    if known is not None:
        return known.code_class
    # The provider's own code for a used key is unknown; any code that names idempotency counts.
    return CodeClass.DUPLICATE if "idempotency" in code.lower() else CodeClass.UNRECOGNISED


def codes_table() -> str:
    """Return the codes as a table in Markdown."""
    head = ("Code", "Meaning", "After a call that moves money", "Source")
    rows = [
        (f"`{code}`", known.meaning, _AFTER[known.code_class], known.source)
        for code, known in KNOWN_CODES.items()
    ]
    lines = (head, ("---",) * len(head), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_AFTER: Final[Mapping[CodeClass, str]] = MappingProxyType(
    {
        _PERMANENT: "refused",
        CodeClass.NEW_OPERATION: "refused",
        CodeClass.FINAL: "refused",
        _TRANSIENT: "unknown",
        CodeClass.DUPLICATE: "an earlier call arrived",
    }
)
