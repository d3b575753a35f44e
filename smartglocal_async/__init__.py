"""An asyncio-native SDK for the Smart Glocal payment API, with retries and idempotency.

Everything public is a name of this package, or of one of its doors: ``emulator`` and
``testing``. Names are loaded when they are first used, so that the import itself is quick.
"""

from importlib import import_module  # noqa: TID251 - names load on first use
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .client import ClientStats, SmartGlocal
    from .envelope import Happened
    from .errors import (
        CallFailed,
        CallOutcome,
        CodeClass,
        InvalidCredentials,
        InvalidRequest,
        KeyReused,
        LeftOpen,
        Misuse,
        NotSent,
        OutcomeUnknown,
        PoolClosed,
        Refused,
        SmartGlocalError,
    )
    from .operations import DEMO, LIVE
    from .outcome import Outcome
    from .pool import PoolStats, SessionPool
    from .retry import RetryPolicy, Timing
    from .sessions import SessionCalls
    from .settings import AttemptDetails, HeaderUse, Settings
    from .signing import PrivateKey, PublicKey, Signer
    from .values.answers import NextAction, ProviderError, Session, SessionStatus
    from .values.instruments import (
        BankCard,
        EncryptedCard,
        FasterPayment,
        FasterPaymentVerification,
        GlobalAccount,
        GlobalWallet,
        OtherInstrument,
        PaymentInstrument,
        PayoutInstrument,
        Recurrent,
        RussianAccount,
    )
    from .values.money import AmountDetails
    from .values.people import (
        Contact,
        Customer,
        IdentityDocument,
        Participant,
        ParticipantDetails,
    )
    from .values.requests import CreateSession, PaymentOptions, SessionRef

__all__ = [
    "DEMO",
    "LIVE",
    "AmountDetails",
    "AttemptDetails",
    "BankCard",
    "CallFailed",
    "CallOutcome",
    "ClientStats",
    "CodeClass",
    "Contact",
    "CreateSession",
    "Customer",
    "EncryptedCard",
    "FasterPayment",
    "FasterPaymentVerification",
    "GlobalAccount",
    "GlobalWallet",
    "Happened",
    "HeaderUse",
    "IdentityDocument",
    "InvalidCredentials",
    "InvalidRequest",
    "KeyReused",
    "LeftOpen",
    "Misuse",
    "NextAction",
    "NotSent",
    "OtherInstrument",
    "Outcome",
    "OutcomeUnknown",
    "Participant",
    "ParticipantDetails",
    "PaymentInstrument",
    "PaymentOptions",
    "PayoutInstrument",
    "PoolClosed",
    "PoolStats",
    "PrivateKey",
    "ProviderError",
    "PublicKey",
    "Recurrent",
    "Refused",
    "RetryPolicy",
    "RussianAccount",
    "Session",
    "SessionCalls",
    "SessionPool",
    "SessionRef",
    "SessionStatus",
    "Settings",
    "Signer",
    "SmartGlocal",
    "SmartGlocalError",
    "Timing",
]

_HOMES: Final = {
    "client": "ClientStats SmartGlocal",
    "envelope": "Happened",
    "errors": "CallFailed CallOutcome CodeClass InvalidCredentials InvalidRequest KeyReused "
    "LeftOpen Misuse NotSent OutcomeUnknown PoolClosed Refused SmartGlocalError",
    "operations": "DEMO LIVE",
    "outcome": "Outcome",
    "pool": "PoolStats SessionPool",
    "retry": "RetryPolicy Timing",
    "sessions": "SessionCalls",
    "settings": "AttemptDetails HeaderUse Settings",
    "signing": "PrivateKey PublicKey Signer",
    "values.answers": "NextAction ProviderError Session SessionStatus",
    "values.instruments": "BankCard EncryptedCard FasterPayment FasterPaymentVerification "
    "GlobalAccount GlobalWallet OtherInstrument PaymentInstrument PayoutInstrument Recurrent "
    "RussianAccount",
    "values.money": "AmountDetails",
    "values.people": "Contact Customer IdentityDocument Participant ParticipantDetails",
    "values.requests": "CreateSession PaymentOptions SessionRef",
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name == "__version__":
        from importlib import metadata  # noqa: PLC0415 - takes longer than the rest of the import

        return metadata.version("smartglocal-async")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
