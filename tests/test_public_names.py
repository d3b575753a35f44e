"""The doors of the package have these names and no others, and open only when they are used."""

import inspect
import json
import subprocess
import sys
from typing import Final

import pytest

import smartglocal_async as sg

NAMES: Final = [
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
HEAVY: Final = ["aiohttp", "cattrs", "tenacity", "cryptography"]


def modules_after(statements: str) -> set[str]:
    """Run statements in a fresh interpreter; give the names of the modules it has loaded."""
    program = f"import sys, json\n{statements}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return set(json.loads(done.stdout))


def test_the_public_names() -> None:
    """A name that comes or goes is a visible change of this list."""
    assert sg.__all__ == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_name_can_be_had(name) -> None:
    """Each is there, once, and kept after its first use."""
    value = getattr(sg, name)
    assert value is not None
    assert vars(sg)[name] is value


@pytest.mark.parametrize("name", [name for name in NAMES if inspect.isclass(getattr(sg, name))])
def test_every_class_has_its_name_and_its_words(name) -> None:
    """No alias, and a docstring that begins with what it is."""
    cls = getattr(sg, name)
    assert (cls.__name__, cls.__module__.split(".")[0]) == (name, "smartglocal_async")
    assert inspect.getdoc(cls)


def test_dir_shows_the_public_names() -> None:
    """And the version, and nothing of the plumbing."""
    assert dir(sg) == sorted([*NAMES, "__version__"])


@pytest.mark.parametrize("name", ["Money", "smartglocal", "_missing", "__path_of__"])
def test_an_unknown_name(name) -> None:
    """Python's own words."""
    with pytest.raises(AttributeError) as caught:
        getattr(sg, name)
    assert str(caught.value) == f"module 'smartglocal_async' has no attribute {name!r}"


def test_the_import_is_light() -> None:
    """Importing the package loads none of what it stands on."""
    assert not modules_after("import smartglocal_async").intersection(HEAVY)


@pytest.mark.parametrize(
    ("statement", "light"),
    [
        ("from smartglocal_async import AmountDetails, CreateSession, BankCard", HEAVY),
        ("from smartglocal_async import SmartGlocalError, CallFailed", HEAVY),
        ("from smartglocal_async import DEMO, LIVE", HEAVY),
        ("from smartglocal_async import PrivateKey", ["aiohttp", "cattrs", "tenacity"]),
    ],
)
def test_a_name_loads_what_it_needs(statement, light) -> None:
    """Values and errors stand on attrs alone; a key on cryptography."""
    assert not modules_after(statement).intersection(light)


def test_all_names_at_once() -> None:
    """A star import works, and brings what is public."""
    program = "from smartglocal_async import *; SmartGlocal, AmountDetails"
    assert "aiohttp" in modules_after(program)
