"""Every record of the models with a seed in each field, and which fields may be shown."""

import inspect
import types
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Union, get_args, get_origin

import attrs

import smartglocal_async as sg
from smartglocal_async.models import answers, events, instruments, money, people, requests, tokens
from smartglocal_async.models.answers import UnixTime

MODULES: Final = (
    answers,
    events,
    instruments,
    answers,
    tokens,
    money,
    people,
    requests,
    tokens,
)

# Text and number fields that a repr may show; others are masked, or are records.
SHOWN: Final[Mapping[str, str]] = {
    "AcquiringWidget": "session_id locale show_recurrent_checkbox success_return_url "
    "failure_return_url success_on_hold redirect_target",
    "ActionRequired": "type",
    "Amount": "amount currency",
    "AmountDetails": "amount currency",
    "Amounts": "",
    "GetBalance": "request_datetime",
    "Bank": "id eng_name ru_name",
    "BankCard": "",
    "CapturePayment": "session_id",
    "Contact": "",
    "CreateSession": "",
    "Customer": "reference",
    "CustomerInteraction": "type",
    "GetTokenInfo": "",
    "Deadline": "awaited then page",
    "DisableRecurrent": "",
    "EncryptedCard": "",
    "ExchangeAmount": "rate rate_source reserved_to",
    "ExchangeRate": "rate source_currency destination_currency active_from active_to",
    "FasterPayment": "bank_id",
    "FasterPaymentBinding": "",
    "FasterPaymentQr": "",
    "FasterPaymentVerification": "bank_id",
    "Fees": "",
    "FpsNoAccountWidget": "session_id",
    "GetExchangeRate": "",
    "GlobalAccount": "swift_bic_code branch_number sort_code routing_code bsb_number account_type",
    "GlobalWallet": "name",
    "IdentityDocument": "id_type",
    "QrCodeInfo": "",
    "InitPayment": "",
    "InitPayout": "",
    "IssueToken": "",
    "ListBanks": "",
    "MaskedCard": "last4 brand bin card_id",
    "MonetaWallet": "",
    "OtherInstrument": "",
    "Participant": "country_iso3 country_iso2 bank_name currency swift_bic_code "
    "citizenship_country_iso_3",
    "ParticipantDetails": "",
    "Payment": "id status created_at finished_at",
    "PaymentFinished": "type",
    "PaymentOptions": "return_url recurrent",
    "PaymentRefunded": "type",
    "Payout": "id status created_at finished_at",
    "PayoutOrder": "key",
    "PlatformDetails": "type os browser",
    "ProviderError": "code description",
    "PublicToken": "",
    "PushRequested": "",
    "PushSberPay": "session_id",
    "QrCode": "",
    "QiwiWallet": "",
    "ReadyToCapture": "type",
    "ReadyToConfirm": "type",
    "Recurrent": "initiator",
    "RecurrentToken": "created_at finished_at is_active type",
    "Redirect": "method",
    "Refund": "id status created_at finished_at is_chargeback",
    "RefundPayment": "session_id",
    "RejectReason": "rule_alias list_alias expiration_date",
    "RussianAccount": "bik",
    "SberPay": "channel",
    "Session": "id status created_at updated_at finished_at next_action",
    "SessionRef": "session_id",
    "StartPayment": "session_id",
    "StartPayout": "session_id",
    "SteamWallet": "",
    "TPay": "",
    "TokenInfo": "type brand last4 country_iso3 created_at expires_at finished_at is_active",
    "TokenRef": "",
    "TokenizedCard": "",
    "TokenizeWidget": "access locale",
    "TransactionInfo": "rrn auth_code arn fp_message_id",
    "VerifyCustomer": "session_id",
    "Wallet": "id",
    "WebhookEvent": "type",
    "YooMoneyWallet": "",
}

WHEN: Final = datetime(2026, 11, 29, 12, 34, 56, tzinfo=UTC)


def records() -> Iterator[type[Any]]:
    """Return every record of the models, and the payout order."""
    found = {
        each
        for module in MODULES
        for _, each in inspect.getmembers(module, inspect.isclass)
        if attrs.has(each) and each.__module__.startswith("smartglocal_async.models")
    }
    yield from sorted({*found, sg.PayoutOrder}, key=lambda each: each.__name__)


def seed(name: str) -> str:
    """Return a text that can be found in a repr."""
    return f"seed-of-{name.replace('_', '-')}-seed"


def members(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the one type."""
    union = get_origin(annotation) in {Union, types.UnionType}
    return get_args(annotation) if union else (annotation,)


def seeded(record: type[Any]) -> tuple[Any, dict[str, str]]:
    """Return a record whose plain fields contain seeds, and the seeds."""
    made = object.__new__(record)
    seeds: dict[str, str] = {}
    for attribute in attrs.fields(record):
        kinds = members(attribute.type)
        value: Any = None
        if attribute.type is Any or any(get_origin(kind) is Mapping for kind in kinds):
            value, seeds[attribute.name] = {"x": seed(attribute.name)}, seed(attribute.name)
        elif str in kinds:
            value = seeds[attribute.name] = seed(attribute.name)
        elif datetime in kinds or UnixTime in kinds:
            value, seeds[attribute.name] = WHEN, f"{attribute.name}={WHEN!r}"
        elif int in kinds:
            value, seeds[attribute.name] = 90_125, f"{attribute.name}=90125"
        elif Decimal in kinds:
            value, seeds[attribute.name] = Decimal("1.25"), f"{attribute.name}=Decimal('1.25')"
        elif bool in kinds:
            value, seeds[attribute.name] = True, f"{attribute.name}=True"
        object.__setattr__(made, attribute.name, value)
    return made, seeds
