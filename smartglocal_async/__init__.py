"""An asyncio-native SDK for the Smart Glocal payment API, with retries and idempotency.

Everything public is a name of this package, or of one of its doors: ``emulator`` and
``testing``. Names are loaded when they are first used, so that the import itself is quick.
"""

from importlib import import_module  # noqa: TID251 - names load on first use
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .claims import Claim, MemoryStore, WebhookStore
    from .client import ClientStats, SmartGlocal
    from .effects import Effect
    from .envelope import Happened
    from .errors import (
        BatchStopped,
        CallFailed,
        CallOutcome,
        CodeClass,
        ConfirmationMismatch,
        InProgress,
        InvalidCredentials,
        InvalidRequest,
        JournalForgot,
        JournalUnusable,
        KeyReused,
        LeftOpen,
        LostLease,
        Misuse,
        NotSent,
        OutcomeUnknown,
        PayoutsHalted,
        PoolClosed,
        Quarantined,
        Refused,
        RuleBroken,
        SmartGlocalError,
        StillOpen,
        WebhookFault,
        WebhookRefused,
        WrongSeal,
    )
    from .inbox import Webhooks
    from .journal.entries import (
        Attempt,
        Batch,
        BatchRules,
        BatchState,
        Changes,
        Entry,
        Halt,
        HaltKind,
        Learned,
        NewEntry,
        OpenClaims,
    )
    from .journal.limits import AtWork, Limits
    from .journal.memory import MemoryJournal
    from .journal.postgres import PostgresJournal
    from .journal.sqlite import SQLiteJournal
    from .journal.states import Event, Step
    from .journal.store import Journal
    from .operations import OPERATIONS, Operation, Repeat
    from .outcome import Outcome
    from .payouts.cases import Case, PayoutSummary
    from .payouts.chunks import Submission
    from .payouts.files.file import PayoutFile
    from .payouts.files.rows import FileRow, Problem
    from .payouts.orders import PayoutOrder, PayoutOutcome, PayoutState
    from .payouts.payouts import Payouts
    from .payouts.preflight import Preflight, preflight
    from .payouts.protocol import Mode
    from .payouts.reconciling import Finding, FindingKind, Reconciliation
    from .payouts.report import PayoutReport, ReportColumns, ReportRow
    from .payouts.results import ResultsFile
    from .payouts.stopping import StopOn
    from .payouts.twins import Twin
    from .pool import PoolStats, SessionPool
    from .receipts import AnswerWhen, Receipt, ReceiptState
    from .resources import FpsCalls, RecurrentCalls, TokenCalls, WalletCalls
    from .retry import RetryPolicy, Timing
    from .sealing import Seal
    from .servers import DEMO, LIVE
    from .sessions import SessionCalls
    from .settings import AttemptDetails, HeaderUse, RuleUse, Settings
    from .signing import PrivateKey, PublicKey, Signer
    from .values.answers import (
        Amounts,
        Fees,
        MaskedCard,
        Payment,
        Payout,
        ProviderError,
        Refund,
        RejectReason,
        Session,
        TransactionInfo,
    )
    from .values.events import (
        ActionRequired,
        PaymentFinished,
        PaymentRefunded,
        ReadyToCapture,
        ReadyToConfirm,
        WebhookEvent,
    )
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
    from .values.interaction import CustomerInteraction, Inform, QrCode, Redirect
    from .values.lookups import (
        AcquiringWidget,
        AskBalance,
        DescribeToken,
        DisableRecurrent,
        FpsNoAccountWidget,
        IssueToken,
        TokenizeWidget,
        TokenRef,
    )
    from .values.money import Amount, AmountDetails
    from .values.people import (
        Contact,
        Customer,
        IdentityDocument,
        Participant,
        ParticipantDetails,
    )
    from .values.requests import (
        CapturePayment,
        CreateSession,
        InitPayment,
        InitPayout,
        PaymentOptions,
        RefundPayment,
        SessionRef,
        StartPayment,
        StartPayout,
        VerifyCustomer,
    )
    from .values.statuses import (
        InteractionType,
        NextAction,
        OperationStatus,
        RefundStatus,
        SessionStatus,
    )
    from .values.tokens import PublicToken, RecurrentToken, TokenInfo
    from .values.wallets import Bank, Wallet
    from .webhooks import WebhookVerifier

__all__ = [
    "DEMO",
    "LIVE",
    "OPERATIONS",
    "AcquiringWidget",
    "ActionRequired",
    "Amount",
    "AmountDetails",
    "Amounts",
    "AnswerWhen",
    "AskBalance",
    "AtWork",
    "Attempt",
    "AttemptDetails",
    "Bank",
    "BankCard",
    "Batch",
    "BatchRules",
    "BatchState",
    "BatchStopped",
    "CallFailed",
    "CallOutcome",
    "CapturePayment",
    "Case",
    "Changes",
    "Claim",
    "ClientStats",
    "CodeClass",
    "ConfirmationMismatch",
    "Contact",
    "CreateSession",
    "Customer",
    "CustomerInteraction",
    "DescribeToken",
    "DisableRecurrent",
    "Effect",
    "EncryptedCard",
    "Entry",
    "Event",
    "FasterPayment",
    "FasterPaymentVerification",
    "Fees",
    "FileRow",
    "Finding",
    "FindingKind",
    "FpsCalls",
    "FpsNoAccountWidget",
    "GlobalAccount",
    "GlobalWallet",
    "Halt",
    "HaltKind",
    "Happened",
    "HeaderUse",
    "IdentityDocument",
    "InProgress",
    "Inform",
    "InitPayment",
    "InitPayout",
    "InteractionType",
    "InvalidCredentials",
    "InvalidRequest",
    "IssueToken",
    "Journal",
    "JournalForgot",
    "JournalUnusable",
    "KeyReused",
    "Learned",
    "LeftOpen",
    "Limits",
    "LostLease",
    "MaskedCard",
    "MemoryJournal",
    "MemoryStore",
    "Misuse",
    "Mode",
    "NewEntry",
    "NextAction",
    "NotSent",
    "OpenClaims",
    "Operation",
    "OperationStatus",
    "OtherInstrument",
    "Outcome",
    "OutcomeUnknown",
    "Participant",
    "ParticipantDetails",
    "Payment",
    "PaymentFinished",
    "PaymentInstrument",
    "PaymentOptions",
    "PaymentRefunded",
    "Payout",
    "PayoutFile",
    "PayoutInstrument",
    "PayoutOrder",
    "PayoutOutcome",
    "PayoutReport",
    "PayoutState",
    "PayoutSummary",
    "Payouts",
    "PayoutsHalted",
    "PoolClosed",
    "PoolStats",
    "PostgresJournal",
    "Preflight",
    "PrivateKey",
    "Problem",
    "ProviderError",
    "PublicKey",
    "PublicToken",
    "QrCode",
    "Quarantined",
    "ReadyToCapture",
    "ReadyToConfirm",
    "Receipt",
    "ReceiptState",
    "Reconciliation",
    "Recurrent",
    "RecurrentCalls",
    "RecurrentToken",
    "Redirect",
    "Refund",
    "RefundPayment",
    "RefundStatus",
    "Refused",
    "RejectReason",
    "Repeat",
    "ReportColumns",
    "ReportRow",
    "ResultsFile",
    "RetryPolicy",
    "RuleBroken",
    "RuleUse",
    "RussianAccount",
    "SQLiteJournal",
    "Seal",
    "Session",
    "SessionCalls",
    "SessionPool",
    "SessionRef",
    "SessionStatus",
    "Settings",
    "Signer",
    "SmartGlocal",
    "SmartGlocalError",
    "StartPayment",
    "StartPayout",
    "Step",
    "StillOpen",
    "StopOn",
    "Submission",
    "Timing",
    "TokenCalls",
    "TokenInfo",
    "TokenRef",
    "TokenizeWidget",
    "TransactionInfo",
    "Twin",
    "VerifyCustomer",
    "Wallet",
    "WalletCalls",
    "WebhookEvent",
    "WebhookFault",
    "WebhookRefused",
    "WebhookStore",
    "WebhookVerifier",
    "Webhooks",
    "WrongSeal",
    "preflight",
]

_HOMES: Final = {
    "claims": "Claim MemoryStore WebhookStore",
    "client": "ClientStats SmartGlocal",
    "effects": "Effect",
    "envelope": "Happened",
    "errors": "BatchStopped CallFailed CallOutcome CodeClass ConfirmationMismatch InProgress "
    "InvalidCredentials InvalidRequest JournalForgot JournalUnusable KeyReused LeftOpen LostLease "
    "Misuse NotSent OutcomeUnknown PayoutsHalted PoolClosed Quarantined Refused RuleBroken "
    "SmartGlocalError StillOpen WebhookFault WebhookRefused WrongSeal",
    "journal.limits": "AtWork Limits",
    "journal.memory": "MemoryJournal",
    "journal.postgres": "PostgresJournal",
    "journal.sqlite": "SQLiteJournal",
    "journal.states": "Event Step",
    "journal.entries": "Attempt Batch BatchRules BatchState Changes Entry Halt HaltKind "
    "Learned NewEntry OpenClaims",
    "journal.store": "Journal",
    "operations": "OPERATIONS Operation Repeat",
    "inbox": "Webhooks",
    "outcome": "Outcome",
    "payouts.files.file": "PayoutFile",
    "payouts.files.rows": "FileRow Problem",
    "payouts.orders": "PayoutOrder PayoutOutcome PayoutState",
    "payouts.cases": "Case PayoutSummary",
    "payouts.chunks": "Submission",
    "payouts.payouts": "Payouts",
    "payouts.preflight": "Preflight preflight",
    "payouts.protocol": "Mode",
    "payouts.reconciling": "Finding FindingKind Reconciliation",
    "payouts.report": "PayoutReport ReportColumns ReportRow",
    "payouts.stopping": "StopOn",
    "payouts.results": "ResultsFile",
    "payouts.twins": "Twin",
    "pool": "PoolStats SessionPool",
    "receipts": "AnswerWhen Receipt ReceiptState",
    "resources": "FpsCalls RecurrentCalls TokenCalls WalletCalls",
    "retry": "RetryPolicy Timing",
    "sealing": "Seal",
    "servers": "DEMO LIVE",
    "sessions": "SessionCalls",
    "settings": "AttemptDetails HeaderUse RuleUse Settings",
    "signing": "PrivateKey PublicKey Signer",
    "values.answers": "Amounts Fees MaskedCard Payment Payout ProviderError Refund RejectReason "
    "Session TransactionInfo",
    "values.events": "ActionRequired PaymentFinished PaymentRefunded ReadyToCapture "
    "ReadyToConfirm WebhookEvent",
    "values.instruments": "BankCard EncryptedCard FasterPayment FasterPaymentVerification "
    "GlobalAccount GlobalWallet OtherInstrument PaymentInstrument "
    "PayoutInstrument Recurrent RussianAccount",
    "values.interaction": "CustomerInteraction Inform QrCode Redirect",
    "values.lookups": "AcquiringWidget AskBalance DescribeToken DisableRecurrent "
    "FpsNoAccountWidget IssueToken TokenRef TokenizeWidget",
    "values.money": "Amount AmountDetails",
    "values.people": "Contact Customer IdentityDocument Participant ParticipantDetails",
    "values.requests": "CapturePayment CreateSession InitPayment InitPayout PaymentOptions "
    "RefundPayment SessionRef StartPayment StartPayout VerifyCustomer",
    "values.statuses": "InteractionType NextAction OperationStatus RefundStatus SessionStatus",
    "values.tokens": "PublicToken RecurrentToken TokenInfo",
    "values.wallets": "Bank Wallet",
    "webhooks": "WebhookVerifier",
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
