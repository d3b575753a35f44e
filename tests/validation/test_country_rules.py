"""The rules checked before sending: the documented mandatory fields, formats and limits."""

import copy
import re
from collections.abc import Iterator
from datetime import date
from typing import Any, Final

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT
from strategies import REQUESTS

import smartglocal_async as sg
from smartglocal_async.codec import Wire, codec
from smartglocal_async.operations import OPERATIONS
from smartglocal_async.validation import Broken, RuleChecker, broken_rules
from smartglocal_async.validation.country_rules import PAYMENTS, PAYOUTS, Requirements
from smartglocal_async.validation.identifiers import (
    INSTRUMENT_FORMS,
    PARTICIPANT_FORMS,
    PAYER_FORMS,
    REQUEST_FORMS,
    Form,
)
from smartglocal_async.validation.lookups import Lookups
from smartglocal_async.validation.rules import _CALLS

TODAY: Final = date(2026, 5, 31)
PAGE: Final = ROOT / "docs/reference/rules.md"
INIT_PAYOUT, INIT_PAYMENT = "session/init/payout", "session/init/payment"
START_PAYOUT, START_PAYMENT = "session/start/payout", "session/start/payment"
CREATE, VERIFY = "session/create", "fps/customer_verification"

NUMBER: Final = "4242424242424242"
MIR_CARD: Final = "2200000000000004"
IBAN: Final = "HU42117730161111101800000000"
GLOBAL: Final = "payment_method.bank_account.global"
RECIPIENT, SENDER = "participant_details.recipient", "participant_details.sender"
FIVE: Final = {
    "bank_name": "All Banks Belgium / EUR / Payment System: SEPA",
    "first_name": "Anna",
    "last_name": "Nagy",
}
HOME: Final = {"address_line": "1 Main St", "city": "Town", "postal_code": "1000", "state": "ST"}
COMPANY: Final = sg.Participant(
    company_name="Payer Ltd",
    registration_number="HE 1",
    country_iso3="CYP",
    code="1",
    address_line="1 Main St",
    city="Limassol",
)
WORD: Final = "t"
CARD, TOKEN = sg.BankCard(number=NUMBER), sg.EncryptedCard(number_hash="h" * 64)
FULL_CARD: Final = sg.BankCard(
    number=NUMBER, expiration_month="05", expiration_year="26", security_code="123"
)


def account(**fields: str) -> sg.GlobalAccount:
    """Return an account with a purpose."""
    return sg.GlobalAccount(description="Salary", **fields)


def payout(method: Any, amount_in: str = "usd", sender: Any = None, **recipient: Any) -> Any:
    """Return a payout in one call, to a recipient."""
    people = sg.ParticipantDetails(recipient=sg.Participant(**recipient), sender=sender)
    amount = sg.AmountDetails(amount=10000, currency=amount_in)
    return sg.InitPayout(payment_method=method, amount_details=amount, participant_details=people)


def abroad(country: str, currency: str, **fields: Any) -> dict[str, Any]:
    """Return the recipient fields that every country page requires."""
    return {**FIVE, "country_iso3": country, "currency": currency, **fields}


def payment(details: Any, amount_in: str = "eur", **sender: str) -> sg.InitPayment:
    """Return a payment in one call, by a sender."""
    return sg.InitPayment(
        payment_details=details,
        amount_details=sg.AmountDetails(amount=10000, currency=amount_in),
        customer=sg.Customer(reference="u1"),
        participant_details=sg.ParticipantDetails(sender=sg.Participant(**sender)),
    )


CHINA: Final = abroad("CHN", "cny", **HOME, full_name="Li Wei")
CHINA_USD: Final = {**CHINA, "swift_bic_code": "ICBKCNBJ"}
CZECH, UK = abroad("CZE", "czk"), abroad("GBR", "gbp", address_line="1 Main St")
IN_USD, CZECH_IBAN = ", in USD", "CZ6508000000192000145399"
BY_NUMBER, BY_TOKEN = "payout to a card by its number", "payout to a card by its token"
ACCOUNT: Final = "payout to an account"
# Name of a row -> requests with its mandatory fields.
EXAMPLES: Final[dict[str, list[Any]]] = {
    BY_NUMBER: [payout(CARD, full_name="Anna Nagy")],
    BY_TOKEN: [payout(TOKEN, full_name="Anna Nagy")],
    f"{BY_NUMBER} in China": [payout(CARD, amount_in="cny", **CHINA)],
    f"{BY_TOKEN} in China": [payout(TOKEN, amount_in="cny", **CHINA)],
    f"{BY_NUMBER} in China{IN_USD}": [
        payout(CARD, **CHINA_USD),
        payout(CARD, amount_in="cny", **{**CHINA_USD, "currency": "USD"}),
    ],
    f"{BY_TOKEN} in China{IN_USD}": [payout(TOKEN, **CHINA_USD)],
    f"{BY_NUMBER} in Russia": [
        payout(CARD, amount_in="RUB", full_name="Anna Nagy", country_iso3="RUS"),
        payout(sg.BankCard(number=MIR_CARD), amount_in="rub", full_name="Anna Nagy"),
    ],
    f"{BY_TOKEN} in Russia": [
        payout(TOKEN, amount_in="rub", full_name="Anna Nagy", country_iso3="rus")
    ],
    f"{ACCOUNT} in Hungary": [
        payout(account(iban=IBAN), sender=COMPANY, **abroad("HUN", "eur", **HOME))
    ],
    f"{ACCOUNT} in Czechia": [
        payout(account(iban=CZECH_IBAN), sender=COMPANY, **CZECH),
        payout(account(iban=CZECH_IBAN, swift_bic_code="GIBACZPX"), sender=COMPANY, **CZECH),
        payout(
            account(bank_account_number="2000145399", branch_number="0800"),
            sender=COMPANY,
            **CZECH,
        ),
    ],
    f"{ACCOUNT} in the United Kingdom": [
        payout(
            account(
                iban="GB29NWBK60161331926819", swift_bic_code="NWBKGB2L", account_type="CHECKING"
            ),
            **UK,
        ),
        payout(
            account(sort_code="60-16-13", account_number="31926819", account_type="CHECKING"), **UK
        ),
    ],
    f"{ACCOUNT} in the USA": [
        payout(
            account(bank_account_number="1", account_type="SAVINGS", routing_code="021000021"),
            sender=COMPANY,
            **abroad("USA", "usd", **HOME),
        )
    ],
    f"{ACCOUNT} in Australia": [
        payout(
            account(bank_account_number="1", bsb_number="062000"),
            sender=COMPANY,
            **abroad("AUS", "aud", **HOME),
        )
    ],
    f"{ACCOUNT} in Brazil": [
        payout(
            account(bank_account_number="1", branch_number="1", account_type="OTHERS"),
            sender=COMPANY,
            **abroad("BRA", "brl"),
            identity_document=sg.IdentityDocument(id_number="52998224725"),
        )
    ],
    **{
        f"{ACCOUNT} in {name}": [
            payout(account(**fields), sender=COMPANY, **abroad(country, currency))
        ]
        for name, country, currency, fields in (
            ("Turkey", "TUR", "try", {"iban": "TR330006100519786457841326"}),
            ("Vietnam", "VNM", "vnd", {"bank_account_number": "7"}),
            ("Korea", "KOR", "krw", {"bank_account_number": "7"}),
            ("Kenya", "KEN", "kes", {"bank_account_number": "7"}),
            ("Thailand", "THA", "thb", {"bank_account_number": "7"}),
            ("Indonesia", "IDN", "idr", {"bank_account_number": "7"}),
        )
    },
    f"{ACCOUNT} in the Philippines": [
        payout(
            account(bank_account_number="7"),
            sender=sg.Participant(code="7"),
            **abroad("PHL", "php"),
        )
    ],
    f"{ACCOUNT} in Hong Kong": [
        payout(
            account(bank_account_number="7"),
            sender=COMPANY,
            **abroad("HKG", "hkd", address_line="1 Main St"),
        )
    ],
    f"{ACCOUNT} in Israel": [
        payout(account(iban="IL620108000000099999999"), sender=COMPANY, **abroad("ISR", "ils")),
        payout(
            account(bank_account_number="7", branch_number="8"),
            sender=COMPANY,
            **abroad("ISR", "ils"),
        ),
    ],
    "payout to a Steam account": [
        payout(sg.models.SteamWallet(account="player-3"), amount_in="RUB")
    ],
    f"{ACCOUNT} abroad": [payout(account(bank_account_number="1234567"), **abroad("JPN", "jpy"))],
    "payout to a wallet in the Philippines": [
        payout(
            sg.GlobalWallet(name="GCash", msisdn="639170000000", description="Salary"),
            sender=COMPANY,
            **abroad("PHL", "php"),
        )
    ],
    "payout to a wallet": [
        payout(sg.GlobalWallet(name="GCash", msisdn="639170000000"), country_iso3="IDN")
    ],
    f"{ACCOUNT} in Russia": [
        payout(
            sg.RussianAccount(
                bik="044525225",
                account="40817810938160925982",
                full_name="Ivan Petrov",
                description="Salary",
            ),
            amount_in="RUB",
        )
    ],
    "payout by the Faster Payments System": [
        payout(
            sg.FasterPayment(phone="79000000000", bank_id="100000000069", description="Salary"),
            amount_in="rub",
        )
    ],
    "check of a phone in the Faster Payments System": [
        sg.VerifyCustomer(
            session_id="ps_1",
            payment_method=sg.FasterPaymentVerification(phone="79000000000", bank_id="1"),
            participant_details=sg.ParticipantDetails(
                recipient=sg.Participant(first_name="Ivan", last_name="Petrov")
            ),
        )
    ],
    "payment by a card's number": [payment(FULL_CARD)],
    "payment by a card's token": [payment(TOKEN)],
    "payment by the token of an earlier one": [
        payment(sg.Recurrent(token=WORD, initiator="merchant"))
    ],
    "payment by the Faster Payments System": [payment(sg.models.FasterPaymentQr(), "rub")],
    "token for payments by the Faster Payments System": [
        payment(sg.models.FasterPaymentBinding(), "RUB")
    ],
    "payment by SberPay": [
        payment(sg.models.SberPay(channel=channel), "rub")
        for channel in ("app", "mobile_web", "web")
    ],
    "payment by T-Pay": [payment(sg.models.TPay(), "rub")],
}
ROWS: Final = {row.name: row for row in (*PAYOUTS, *PAYMENTS)}
CASES: Final = [(name, request) for name, requests in EXAMPLES.items() for request in requests]


def path_of(request: Any) -> str:
    """Return the path of the call that a request is sent with."""
    return {sg.InitPayout: INIT_PAYOUT, sg.InitPayment: INIT_PAYMENT}.get(type(request), VERIFY)


def wire_of(request: Any, version: Any = "v1") -> Wire:
    """Return the JSON form of a request, which the test may change."""
    return copy.deepcopy(codec(version).wire(request))


def broken(path: str, wire: Wire, today: date = TODAY) -> list[Broken]:
    """Return the rules that a request breaks."""
    return list(broken_rules(path, wire, today))


def fields(path: str, wire: Wire) -> list[str]:
    """Return the fields that a request has wrong."""
    return [one.field for one in broken(path, wire)]


def fields_with_advice(path: str, wire: Wire, today: date = TODAY) -> dict[str, bool]:
    """Return the wrong fields of a request, and whether they are only advice."""
    return {one.field: one.is_advice for one in broken(path, wire, today)}


def holder(wire: Wire, path: str) -> tuple[Any, str]:
    """Return the object with the field at a path, and its name there."""
    *outer, last = path.split(".")
    inner: Any = wire
    for name in outer:
        inner = inner.setdefault(name, {})
    return inner, last


def without(wire: Wire, path: str) -> Wire:
    """Take the field at a path out."""
    inner, name = holder(wire, path)
    del inner[name]
    return wire


def having(wire: Wire, path: str, value: str) -> Wire:
    """Put a value into the field at a path."""
    inner, name = holder(wire, path)
    inner[name] = value
    return wire


def place_of(row: Requirements) -> str:
    """Return the path of the fields of a row's instrument."""
    return f"{'payment_details' if row in PAYMENTS else 'payment_method'}.{row.kind}"


def mandatory(row: Requirements) -> list[str]:
    """Paths of a row's mandatory fields."""
    return [
        *(f"{place_of(row)}.{name}" for name in row.instrument),
        *(f"{RECIPIENT}.{name}" for name in row.recipient),
        *(f"{SENDER}.{name}" for name in row.sender),
    ]


def test_every_row_has_an_example() -> None:
    """Each row has an example and its own name."""
    assert set(EXAMPLES) == set(ROWS)
    assert len(ROWS) == len((*PAYOUTS, *PAYMENTS))


def test_every_call_with_rules_is_a_call() -> None:
    """The calls with rules exist under their paths."""
    assert set(_CALLS) <= {operation.path for operation in OPERATIONS}


@pytest.mark.parametrize("request_", [r for _, r in CASES], ids=[n for n, _ in CASES])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_complete_request_breaks_no_rule(request_, version) -> None:
    """With the names of either version."""
    assert broken(path_of(request_), wire_of(request_, version)) == []


# Fields that are advice, but have a form, which a blank one breaks for certain.
BLANK: Final = {
    f"payment_details.card.bank_card.{name}": problem
    for name, problem in (
        ("security_code", "must be three or four digits"),
        ("expiration_month", "must be two digits, 01 to 12"),
        ("expiration_year", "must be two digits"),
    )
}
# A recipient without a country belongs to the row of unknown countries.
KEYS: Final = (f"{RECIPIENT}.country_iso3", f"{RECIPIENT}.currency")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (row.name, path)
        for row in ROWS.values()
        for path in mandatory(row)
        if (row.country, path) != ("CHN", f"{RECIPIENT}.country_iso3")
    ],
)
@pytest.mark.parametrize("blank", [None, " "])
def test_a_missing_field_is_named(name, path, blank) -> None:
    """With the page that requires it; a blank field is missing, too."""
    request = EXAMPLES[name][0]
    wire = without(wire_of(request), path)
    if blank:
        having(wire, path, blank)
    first = next(one for one in broken(path_of(request), wire) if one.field == path)
    if path in BLANK and blank:
        assert (first.problem, first.is_advice) == (BLANK[path], False)
    elif path not in KEYS:
        row = ROWS[name]
        assert first.page == row.page
        assert first.is_advice is (row.is_advice or path.rpartition(".")[2] in row.advised)
        must = "should" if first.is_advice else "must"
        assert first.problem == f"is missing; a {name} {must} have it"


def test_a_card_in_china_needs_its_country_to_be_known() -> None:
    """Without its country the payout is to a card anywhere, which requires less."""
    wire = without(wire_of(payout(CARD, **CHINA_USD)), f"{RECIPIENT}.country_iso3")
    assert fields(INIT_PAYOUT, wire) == []


@pytest.mark.parametrize("country", ["Czechia", "the United Kingdom", "Israel"])
def test_one_of_the_alternatives_must_be_whole(country) -> None:
    """Parts of two alternatives aren't enough."""
    row = ROWS[f"{ACCOUNT} in {country}"]
    request = EXAMPLES[row.name][-1]
    wire = without(wire_of(request), f"{GLOBAL}.{row.alternatives[-1][0]}")
    assert fields(INIT_PAYOUT, wire) == [GLOBAL]
    (only,) = broken(INIT_PAYOUT, wire)
    assert only.page == row.page
    assert all(name in only.problem for names in row.alternatives for name in names)


def test_missing_people_lack_every_field() -> None:
    """A one-step payout has no earlier call that could have named them."""
    wire = wire_of(payout(CARD))
    assert fields(INIT_PAYOUT, without(wire, "participant_details")) == [f"{RECIPIENT}.full_name"]


@pytest.mark.parametrize(
    "request_", [r for _, r in CASES if isinstance(r, sg.InitPayout | sg.InitPayment)]
)
def test_nothing_is_missing_when_a_session_is_created(request_) -> None:
    """All fields may come with the start."""
    wire = wire_of(request_)
    kept = {name: wire[name] for name in ("payment_method", "payment_details") if name in wire}
    assert broken(CREATE, kept) == []
    assert broken(CREATE, {}) == []


def test_a_start_is_asked_for_what_it_has() -> None:
    """Instrument, recipient and sender may each have come with the session."""
    bare = {"session_id": "ps_1"}
    row = ROWS[f"{ACCOUNT} in Hungary"]
    wire = wire_of(EXAMPLES[row.name][0])
    people, method = wire["participant_details"], wire["payment_method"]
    del people["recipient"]["city"], people["sender"]["city"]
    without(method, "bank_account.global.description")
    alone = {**bare, "payment_method": method}

    assert fields(START_PAYOUT, bare) == []
    assert fields(START_PAYOUT, {**bare, "participant_details": people}) == []
    assert fields(START_PAYOUT, alone) == [f"{GLOBAL}.description"]
    for side in people:
        asked = {**alone, "participant_details": {side: people[side]}}
        assert set(fields(START_PAYOUT, asked)) >= {f"{GLOBAL}.description"}
    assert fields(START_PAYOUT, {**alone, "participant_details": people}) == [
        f"{GLOBAL}.description",
        f"{RECIPIENT}.city",
        f"{SENDER}.city",
    ]


def test_a_payment_is_started_with_a_whole_card() -> None:
    """A payout needs only the card's number."""
    missing = [
        f"payment_details.card.bank_card.{name}"
        for name in ("expiration_month", "expiration_year", "security_code")
    ]
    wire = wire_of(payment(CARD))
    assert fields(INIT_PAYMENT, wire) == missing
    assert fields(START_PAYMENT, wire) == missing
    assert fields(CREATE, wire) == []


def test_the_second_version_has_its_own_name() -> None:
    """The path is that of the JSON."""
    wire = wire_of(payout(account(iban="x"), **abroad("JPN", "jpy")), "v2")
    assert fields(INIT_PAYOUT, wire) == ["payout_details.bank_account.global.iban"]


@pytest.mark.parametrize(
    "instrument",
    [
        {"type": "iban", "iban": {"account": "1"}},
        {"type": "bank_account", "bank_account": {"system_type": "local", "local": {"iban": "x"}}},
        {"type": "card", "card": {"type": "bank_card", "bank_card": {"number": "1"}, "more": 1}},
        {"type": "card", "more": 1, "card": {"type": "bank_card", "bank_card": {"number": "1"}}},
        {"type": "card", "card": "1"},
    ],
)
@pytest.mark.parametrize("call", [CREATE, START_PAYOUT, INIT_PAYOUT])
def test_an_instrument_without_a_record_has_no_rules(instrument, call) -> None:
    """Only the exact shape is known; anything else is sent unchecked."""
    wire = wire_of(payout(sg.OtherInstrument(instrument)))
    assert broken(call, wire) == []


def test_the_country_may_be_written_small() -> None:
    """The row is found in any case, whatever the provider accepts."""
    wire = wire_of(payout(account(), **abroad("hun", "EUR")))
    assert f"{GLOBAL}.iban" in fields(INIT_PAYOUT, wire)


CARD_FORMS: Final = [
    ("number", "4242424242424241"),
    ("number", "424242424242424\N{FULLWIDTH DIGIT TWO}"),
    ("expiration_month", "13"),
    ("expiration_month", "5"),
    ("expiration_year", "2026"),
    ("security_code", "12"),
    ("security_code", "12345"),
]


@pytest.mark.parametrize(("name", "wrong"), CARD_FORMS)
def test_the_form_of_a_card(name, wrong) -> None:
    """In every call with a card, payouts included."""
    for method, call, others in (
        ("payment_details", INIT_PAYMENT, payment(FULL_CARD)),
        ("payment_details", CREATE, payment(FULL_CARD)),
        ("payment_method", INIT_PAYOUT, payout(FULL_CARD, full_name="A")),
    ):
        wire = wire_of(others)
        wire[method]["card"]["bank_card"][name] = wrong
        assert fields(call, wire) == [f"{method}.card.bank_card.{name}"]


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        ("6200000000000005", []),
        ("6200000000000001", [True]),
        ("8100000000000001", [True]),
        ("62000000000000 5", [False]),
        ("5555555555554444", []),
        ("5555555555554443", [False]),
    ],
)
def test_the_check_digit_of_union_pay_is_advice(number, advice) -> None:
    """Not all UnionPay numbers have a check digit; other cards must have a right one."""
    wire = wire_of(payout(CARD, full_name="A"))
    having(wire, "payment_method.card.bank_card.number", number)
    assert [one.is_advice for one in broken(INIT_PAYOUT, wire)] == advice


@pytest.mark.parametrize(
    ("today", "expired"),
    [
        (date(2025, 12, 31), False),
        (date(2026, 5, 31), False),
        (date(2026, 6, 1), False),
        (date(2026, 6, 2), True),
        (date(2027, 1, 1), True),
    ],
)
def test_a_card_is_good_through_the_end_of_its_month(today, expired) -> None:
    """Anywhere on earth, up to half a day after its end in UTC."""
    wire = wire_of(payment(FULL_CARD))
    wrong = fields_with_advice(INIT_PAYMENT, wire, today)
    assert wrong == ({"payment_details.card.bank_card.expiration_year": False} if expired else {})


def test_a_card_of_december_is_good_on_new_years_day() -> None:
    """And has expired a day later."""
    wire = having(
        wire_of(payment(FULL_CARD)), "payment_details.card.bank_card.expiration_month", "12"
    )
    assert broken(INIT_PAYMENT, wire, date(2027, 1, 1)) == []
    assert len(broken(INIT_PAYMENT, wire, date(2027, 1, 2))) == 1


FORMS: Final = [
    ("HUN", "eur", f"{GLOBAL}.iban", "HU42117730161111101800000001"),
    ("HUN", "eur", f"{GLOBAL}.iban", "HU42 1177 3016 1111 1018 0000 0000"),
    ("HUN", "eur", f"{GLOBAL}.iban", "\N{LATIN SMALL LETTER LONG S}K42117730161111101800000000"),
    ("HUN", "eur", f"{GLOBAL}.swift_bic_code", "OTPVHUH"),
    ("GBR", "gbp", f"{GLOBAL}.sort_code", "601613"),
    ("GBR", "gbp", f"{GLOBAL}.account_type", "SAVINGS"),
    ("USA", "usd", f"{GLOBAL}.account_type", "OTHERS"),
    ("USA", "usd", f"{GLOBAL}.routing_code", "021000022"),
    ("USA", "usd", f"{GLOBAL}.routing_code", "2100002"),
    ("AUS", "aud", f"{GLOBAL}.bsb_number", "062-000"),
    ("BRA", "brl", f"{GLOBAL}.account_type", "checking"),
    ("BRA", "brl", f"{RECIPIENT}.identity_document.id_number", "529.982.247-25"),
    ("CHN", "CNY", f"{RECIPIENT}.swift_bic_code", "ICBK"),
    ("JPN", "yen", f"{RECIPIENT}.currency", None),
    ("JP", "jpy", f"{RECIPIENT}.country_iso3", None),
    *(
        ("JPN", "jpy", f"{side}.{name}", wrong)
        for side in (RECIPIENT, SENDER)
        for name, wrong in (
            ("company_name", "x" * 101),
            ("company_name", "12345"),
            ("first_name", "x" * 65),
            ("last_name", "x" * 81),
            ("registration_number", "x" * 65),
            ("address_line", "x" * 257),
            ("city", "x" * 65),
            ("postal_code", "x" * 65),
            ("state", "x" * 65),
        )
    ),
]


@pytest.mark.parametrize(("country", "currency", "path", "wrong"), FORMS)
def test_the_forms_and_limits_of_an_account_and_its_people(country, currency, path, wrong) -> None:
    """Wherever the field is, also when a session is created."""
    wire = wire_of(payout(account(), sender=COMPANY, **abroad(country, currency)))
    if wrong is not None:
        having(wire, path, wrong)
    for call in (CREATE, START_PAYOUT, INIT_PAYOUT):
        assert path in fields(call, wire)
    assert fields(CREATE, wire) == [path]


# As spreadsheets write numbers and formulas, and what no bank issues.
RUINED: Final = (
    "4.10025E+15",
    "4,1E+15",
    "4E+15",
    "12345678.0",
    "'0012345678",
    '="0012345678"',
    "#N/A",
    "#VALUE!",
    "n/a",
    "NULL",
    "None",
    "nan",
)


@pytest.mark.parametrize("text", RUINED)
@pytest.mark.parametrize(
    "name",
    [
        "bank_account_number",
        "account_number",
        "branch_number",
        "routing_code",
        "sort_code",
        "bsb_number",
    ],
)
def test_an_identifier_that_a_spreadsheet_ruined(name, text) -> None:
    """Certain in every country: no bank writes a number so."""
    wire = wire_of(payout(account(bank_account_number="1"), **abroad("JPN", "jpy")))
    having(wire, f"{GLOBAL}.{name}", text)
    found = {one.field: one.is_advice for one in broken(START_PAYOUT, wire)}
    assert found[f"{GLOBAL}.{name}"] is False


@pytest.mark.parametrize("text", RUINED)
@pytest.mark.parametrize("name", ["postal_code", "registration_number", "code", "msisdn"])
def test_a_number_of_the_recipient_that_a_spreadsheet_ruined(name, text) -> None:
    """Such numbers may have any characters, but not these."""
    recipient = abroad("JPN", "jpy", **{name: text})
    wire = wire_of(payout(account(bank_account_number="1"), **recipient))
    assert fields(START_PAYOUT, wire) == [f"{RECIPIENT}.{name}"]


def test_the_words_of_a_call_are_not_those_of_a_file() -> None:
    """A caller has no columns: the text says what to pass. A file has the words for its cells."""
    tables = [*INSTRUMENT_FORMS.values(), PARTICIPANT_FORMS, PAYER_FORMS, REQUEST_FORMS]
    for page in (*PAYOUTS, *PAYMENTS):
        tables += page.instrument_forms, page.recipient_forms, page.request_forms
    forms = [form for table in tables for several in table.values() for form in several]
    of_files = re.compile("spreadsheet|column|cell|formula|file|line")
    assert not [form.problem for form in forms if of_files.search(form.problem)]
    in_files = {form.in_file for form in forms if form.in_file is not None}
    assert len(in_files) == 4
    assert all(of_files.search(words) for words in in_files)


@pytest.mark.parametrize(
    ("field", "text", "advice"),
    [
        ("account_number", "12345678.0", "never make a number of it"),
        ("description", "#REF!", "pass the text itself"),
    ],
)
def test_the_words_of_an_order(tmp_path, field, text, advice) -> None:
    """Checked in a list it has those of a call; read from a file, those of a spreadsheet."""
    fields = {"account_number": "0012345678", "description": "Salary", field: text}
    money = sg.AmountDetails(100, "eur")
    order = sg.PayoutOrder(key="k", payment_method=sg.GlobalAccount(**fields), amount_details=money)
    (problem,) = sg.payouts.check([order]).problems
    assert advice in problem.problem
    path = tmp_path / "p.csv"
    names = ("key", "amount", "currency", *fields)
    path.write_text("\n".join([",".join(names), ",".join(("k", "1", "eur", *fields.values()))]))
    (problem,) = sg.payouts.check(sg.PayoutFile(path)).problems
    assert "formula" in problem.problem
    assert advice not in problem.problem


@pytest.mark.parametrize(
    "text", ["0012345678", "000000000", "19-2000145399", "123.456.789", "NL 1234/5", "4E15"]
)
def test_an_identifier_as_banks_write_it(text) -> None:
    """Digits and letters in groups."""
    wire = wire_of(payout(account(bank_account_number=text), **abroad("JPN", "jpy")))
    assert broken(START_PAYOUT, wire) == []


@pytest.mark.parametrize("text", RUINED)
def test_a_document_that_a_spreadsheet_ruined(text) -> None:
    """The recipient's number, too."""
    document = sg.IdentityDocument(id_number=text)
    recipient = abroad("JPN", "jpy", identity_document=document)
    wire = wire_of(payout(account(bank_account_number="1"), **recipient))
    assert fields(START_PAYOUT, wire) == [f"{RECIPIENT}.identity_document.id_number"]


@pytest.mark.parametrize(
    "instrument",
    [
        sg.GlobalAccount(description="Salary"),
        sg.GlobalAccount(description="Salary", iban="", bank_account_number=" "),
        sg.GlobalAccount(swift_bic_code="DEUTDEFF", description="Salary"),
        sg.RussianAccount(bik="044525225", account="", full_name="A", description="S"),
        sg.FasterPayment(phone=" ", bank_id="1", description="S"),
        sg.GlobalWallet(name="GCash", msisdn=""),
        sg.Recurrent(token=""),
    ],
    ids=lambda one: type(one).__name__,
)
@pytest.mark.parametrize("country", [None, "JPN", "HUN", "GBR", "PHL"])
def test_an_instrument_that_names_no_payee(instrument, country) -> None:
    """Certain, in every country; a session may get it later."""
    wire = wire_of(payout(instrument, country_iso3=country))
    for call in (START_PAYOUT, INIT_PAYOUT):
        certain = [one for one in broken(call, wire) if not one.is_advice]
        assert [one for one in certain if one.field.startswith("payment_method")], certain
    assert not [one for one in broken(CREATE, wire) if one.problem.startswith("no ")]


def test_a_field_of_a_country_names_the_payee() -> None:
    """One that has no record here, such as Mexico's."""
    instrument = sg.GlobalAccount(description="Salary", extra={"clabe": "032180000118359719"})
    wire = wire_of(payout(instrument, **abroad("MEX", "mxn")))
    assert broken(START_PAYOUT, wire) == []


@pytest.mark.parametrize(
    ("account_", "is_right"),
    [
        ("40817810938160925982", True),
        ("40817810138160925982", False),
        ("40817810938160925992", False),
    ],
)
def test_the_control_key_of_a_russian_account(account_, is_right) -> None:
    """Of the account and its bank; only banks with accounts at the Bank of Russia have keys."""
    for bik, expected in (("044525225", is_right), ("014525225", True)):
        wire = wire_of(
            payout(
                sg.RussianAccount(
                    bik=bik, account=account_, full_name="Ivan Petrov", description="Salary"
                ),
                amount_in="rub",
            )
        )
        found = fields(START_PAYOUT, wire)
        assert (found == []) is expected, found
        assert found in ([], ["payment_method.bank_account.ru.account"])


@pytest.mark.parametrize(("length", "is_fine"), [(64, True), (65, False)])
def test_a_limit_is_a_number_of_characters(length, is_fine) -> None:
    """Not of bytes."""
    long = abroad("JPN", "jpy", city="é" * length)
    wire = wire_of(payout(account(bank_account_number="1234567"), **long))
    assert (broken(INIT_PAYOUT, wire) == []) is is_fine


@pytest.mark.parametrize("code", ["1234567", "SW1A 1AA", "12345 "])
def test_a_payer_has_a_postal_code_of_six_digits(code) -> None:
    """A payout's recipient may have a longer one, with letters."""
    wire = wire_of(payment(FULL_CARD, postal_code=code))
    for call in (CREATE, START_PAYMENT, INIT_PAYMENT):
        assert fields(call, wire) == [f"{SENDER}.postal_code"]
    del wire["payment_details"]
    assert fields(START_PAYMENT, wire) == [f"{SENDER}.postal_code"]
    recipient = abroad("JPN", "jpy", postal_code=code)
    wire = wire_of(payout(account(bank_account_number="1234567"), **recipient))
    assert broken(INIT_PAYOUT, wire) == []


@pytest.mark.parametrize(
    ("name", "field", "wrong"),
    [
        (f"{ACCOUNT} in Russia", "bik", "4452522"),
        (f"{ACCOUNT} in Russia", "account", "4070281"),
        (BY_TOKEN, "number_hash", " "),
    ],
)
def test_the_form_of_other_instruments(name, field, wrong) -> None:
    """Also when a session is created."""
    kind = ROWS[name].kind
    outer, inner = kind.split(".")
    wire = wire_of(EXAMPLES[name][0])
    wire["payment_method"][outer][inner][field] = wrong
    assert fields(CREATE, wire) == [f"payment_method.{kind}.{field}"]


def test_the_initiator_of_a_recurring_payment_is_one_of_two() -> None:
    """Merchant or client."""
    wire = wire_of(payment(sg.Recurrent(token=WORD, initiator="me")))
    assert fields(CREATE, wire) == ["payment_details.recurrent.initiator"]


@pytest.mark.parametrize(
    ("name", "number", "is_advice"),
    [
        ("payout by the Faster Payments System", 0, False),
        (f"{BY_NUMBER} in Russia", 0, True),
        (f"{BY_NUMBER} in Russia", 1, True),
        (f"{BY_TOKEN} in Russia", 0, True),
    ],
)
def test_payouts_within_russia_are_in_roubles(name, number, is_advice) -> None:
    """In any case of the currency; nothing tells for certain that a card is Russian."""
    wire = wire_of(EXAMPLES[name][number])
    assert fields(INIT_PAYOUT, wire) == []
    wire["amount_details"]["currency"] = "usd"
    for call in (CREATE, INIT_PAYOUT):
        assert fields_with_advice(call, wire) == {"amount_details.currency": is_advice}


@pytest.mark.parametrize("number", [NUMBER, "5555555555554444", "2205000000000009"])
def test_other_cards_may_be_paid_in_any_currency(number) -> None:
    """A number that isn't Mir's, and no country."""
    wire = wire_of(payout(sg.BankCard(number=number), full_name="Anna Nagy"))
    assert broken(INIT_PAYOUT, wire) == []


USD_FIELDS: Final = ("address_line", "swift_bic_code", "first_name")


@pytest.mark.parametrize(
    ("amount", "recipient", "missing"),
    [
        ("usd", "CNY", USD_FIELDS),
        ("USD", "cny", USD_FIELDS),
        ("cny", "usd", USD_FIELDS),
        ("usd", "usd", USD_FIELDS),
        ("cny", "cny", ()),
        ("eur", "CNY", ()),
    ],
)
@pytest.mark.parametrize("card", [CARD, TOKEN])
def test_which_currency_makes_a_payout_to_china_one_in_usd(
    card, amount, recipient, missing
) -> None:
    """Either of the two, as the page doesn't say which."""
    wire = wire_of(payout(card, amount_in=amount, **{**CHINA, "currency": recipient}))
    for name in USD_FIELDS:
        wire["participant_details"]["recipient"].pop(name, None)
    assert fields_with_advice(INIT_PAYOUT, wire) == {f"{RECIPIENT}.{one}": False for one in missing}


def test_a_card_in_china_receives_cny_or_usd() -> None:
    """As its page has it."""
    wire = wire_of(payout(CARD, amount_in="eur", **{**CHINA, "currency": "eur"}))
    assert fields_with_advice(INIT_PAYOUT, wire) == {f"{RECIPIENT}.currency": False}


RULED: Final = [operation for operation in OPERATIONS if operation.path in _CALLS]


@pytest.mark.parametrize("operation", RULED, ids=lambda operation: operation.path)
@settings(max_examples=25)
@given(data=st.data())
def test_arbitrary_requests(operation, data) -> None:
    """Rules never raise; a field is named once, and advice comes last."""
    found = broken(operation.path, wire_of(data.draw(REQUESTS[operation.request])))
    assert len({one.field for one in found}) == len(found)
    assert [one.is_advice for one in found] == sorted(one.is_advice for one in found)


@pytest.mark.parametrize("path", [one.path for one in OPERATIONS if one.path not in _CALLS])
def test_other_calls_have_no_rules(path) -> None:
    """Whatever their requests contain."""
    assert broken(path, wire_of(payment(CARD))) == []


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.dictionaries(
        st.sampled_from(
            ["type", "card", "bank_card", "number", "bank_account", "system_type", "global"]
        ),
        inner,
        max_size=4,
    ),
)
TOPS: Final = ("payment_method", "payout_details", "payment_details", "participant_details")


@settings(max_examples=50)
@given(wire=st.dictionaries(st.sampled_from(TOPS), JSON))
def test_many_plain_objects_are_judged_as_well(wire) -> None:
    """As one is, by the rules and the lookups."""
    assert tuple(RuleChecker(TODAY).broken(wire)) == by_rules_and_lookups(wire)


def by_rules_and_lookups(wire: dict[str, Any]) -> tuple[Broken, ...]:
    """Return what is wrong with a payout, found without its shape."""
    return tuple(broken_rules(START_PAYOUT, wire, TODAY, Lookups()))


@settings(max_examples=50)
@given(wire=st.dictionaries(st.sampled_from(TOPS), JSON), call=st.sampled_from(list(_CALLS)))
def test_plain_objects_are_checked(wire, call) -> None:
    """Any value in place of an object."""
    assert all(one.problem and one.page for one in broken(call, wire))


WALLET: Final = "payment_method.wallet.global"
PAYER_CARD: Final = "payment_details.card.bank_card"
IN_HUNGARY: Final = EXAMPLES[f"{ACCOUNT} in Hungary"][0]
IN_THE_UK: Final = EXAMPLES[f"{ACCOUNT} in the United Kingdom"][1]
IN_THE_USA: Final = EXAMPLES[f"{ACCOUNT} in the USA"][0]
IN_AUSTRALIA: Final = EXAMPLES[f"{ACCOUNT} in Australia"][0]
IN_RUSSIA: Final = EXAMPLES[f"{ACCOUNT} in Russia"][0]
IN_JAPAN: Final = EXAMPLES[f"{ACCOUNT} abroad"][0]
IN_THE_PHILIPPINES: Final = EXAMPLES["payout to a wallet in the Philippines"][0]
IN_INDONESIA: Final = EXAMPLES["payout to a wallet"][0]
BY_FPS: Final = EXAMPLES["payout by the Faster Payments System"][0]
OF_A_PHONE: Final = EXAMPLES["check of a phone in the Faster Payments System"][0]
BY_CARD: Final = payment(FULL_CARD)
VERIFICATION: Final = "payment_method.bank_account.faster_payment_system_verification"
LONG: Final = [
    (name, "x" * length)
    for name, length in (
        ("company_name", 101),
        ("first_name", 65),
        ("last_name", 81),
        ("registration_number", 65),
        ("address_line", 257),
        ("city", 65),
        ("postal_code", 65),
        ("state", 65),
    )
]
# Request, field, new value (None: remove it), whether that is advice.
JUDGED: Final[list[tuple[Any, str, str | None, bool]]] = [
    # Fields that a page of the country or method requires.
    (IN_HUNGARY, f"{GLOBAL}.iban", None, False),
    (IN_HUNGARY, f"{RECIPIENT}.city", None, False),
    (IN_HUNGARY, f"{SENDER}.code", None, False),
    (IN_THE_PHILIPPINES, f"{WALLET}.description", None, False),
    (IN_THE_PHILIPPINES, f"{SENDER}.code", None, False),
    (IN_RUSSIA, "payment_method.bank_account.ru.full_name", None, False),
    (payout(CARD, full_name="A"), f"{RECIPIENT}.full_name", None, False),
    (payout(CARD, **CHINA), f"{RECIPIENT}.state", None, False),
    (payout(CARD, **CHINA_USD), f"{RECIPIENT}.swift_bic_code", None, False),
    (BY_FPS, "payment_method.bank_account.faster_payment_system.bank_id", None, False),
    (BY_FPS, "amount_details.currency", "usd", False),
    (OF_A_PHONE, f"{VERIFICATION}.phone", None, False),
    (BY_CARD, f"{PAYER_CARD}.number", None, False),
    # Fields that only an example shows.
    (BY_CARD, f"{PAYER_CARD}.expiration_month", None, True),
    (BY_CARD, f"{PAYER_CARD}.expiration_year", None, True),
    (BY_CARD, f"{PAYER_CARD}.security_code", None, True),
    (OF_A_PHONE, f"{RECIPIENT}.first_name", None, True),
    (OF_A_PHONE, f"{RECIPIENT}.last_name", None, True),
    # Countries without a page.
    (IN_JAPAN, f"{GLOBAL}.description", None, True),
    *((IN_JAPAN, f"{RECIPIENT}.{name}", None, True) for name in FIVE),
    (IN_JAPAN, f"{RECIPIENT}.currency", None, True),
    (IN_JAPAN, f"{RECIPIENT}.country_iso3", None, True),
    (IN_INDONESIA, f"{WALLET}.name", None, True),
    (IN_INDONESIA, f"{WALLET}.msisdn", None, True),
    (IN_INDONESIA, f"{RECIPIENT}.country_iso3", None, True),
    # Standards.
    (BY_CARD, f"{PAYER_CARD}.number", "4242424242424241", False),
    (BY_CARD, f"{PAYER_CARD}.number", "6200000000000001", True),
    (BY_CARD, f"{PAYER_CARD}.expiration_year", "25", False),
    (IN_JAPAN, f"{GLOBAL}.iban", "HU42117730161111101800000001", False),
    (IN_JAPAN, f"{GLOBAL}.swift_bic_code", "OTPVHUH", False),
    (IN_JAPAN, f"{RECIPIENT}.country_iso3", "JP", False),
    (IN_JAPAN, f"{RECIPIENT}.currency", "Yens", False),
    (IN_JAPAN, f"{RECIPIENT}.currency", "cnh", True),
    # Formats and limits of one country's page, for it and for other countries.
    (IN_THE_UK, f"{GLOBAL}.sort_code", "601613", False),
    (IN_AUSTRALIA, f"{GLOBAL}.sort_code", "601613", True),
    (IN_JAPAN, f"{GLOBAL}.sort_code", "601613", True),
    (IN_AUSTRALIA, f"{GLOBAL}.bsb_number", "062-000", False),
    (IN_JAPAN, f"{GLOBAL}.bsb_number", "062-000", True),
    (IN_THE_USA, f"{GLOBAL}.routing_code", "021000022", False),
    (IN_THE_UK, f"{GLOBAL}.account_type", "SAVINGS", False),
    *(
        (request, f"{side}.{name}", wrong, is_advice)
        for side in (RECIPIENT, SENDER)
        for request, is_advice in ((IN_THE_USA, False), (IN_AUSTRALIA, False), (IN_JAPAN, True))
        for name, wrong in LONG
    ),
    *(
        (request, f"{side}.company_name", "12345", is_advice)
        for side in (RECIPIENT, SENDER)
        for request, is_advice in ((IN_AUSTRALIA, False), (IN_THE_USA, True), (IN_HUNGARY, True))
    ),
    *(
        (EXAMPLES[f"{ACCOUNT} in {name}"][0], f"{SENDER}.address_line", "x" * 257, False)
        for name in ("Thailand", "Indonesia")
    ),
    *(
        (EXAMPLES[f"{ACCOUNT} in {name}"][0], f"{SENDER}.company_name", wrong, False)
        for name in (
            *("Turkey", "Vietnam", "Korea", "Kenya", "Thailand", "Indonesia", "Hong Kong"),
            *("the Philippines", "Israel", "Czechia"),
        )
        for wrong in ("x" * 101, "12345")
    ),
    (payout(CARD, full_name="A", country_iso3="USA"), f"{RECIPIENT}.city", "x" * 65, True),
    (BY_CARD, f"{SENDER}.last_name", "x" * 81, True),
    (BY_CARD, f"{SENDER}.postal_code", "SW1A 1AA", True),
    (BY_CARD, f"{SENDER}.postal_code", "1012 AB", True),
]


@pytest.mark.parametrize(("request_", "path", "value", "is_advice"), JUDGED)
def test_what_is_certain_and_what_is_advice(request_, path, value, is_advice) -> None:
    """Required: what a page states for this request, or any standard."""
    wire = wire_of(request_)
    changed = without(wire, path) if value is None else having(wire, path, value)
    assert fields_with_advice(path_of(request_), changed)[path] is is_advice


def test_many_payouts_are_judged_as_one_is() -> None:
    """Whichever came before: each shape of a request has its own checks."""
    checker = RuleChecker(TODAY)
    wires = [wire_of(one) for examples in EXAMPLES.values() for one in examples]
    for request_, path, value, _ in JUDGED:
        wires.append(wire_of(request_))
        having(wires[-1], path, value)
    paid = [wire for wire in wires if "payment_method" in wire]
    assert len(paid) > 60
    for wire in [*paid, *reversed(paid)]:
        assert tuple(checker.broken(wire)) == by_rules_and_lookups(wire)


@pytest.mark.parametrize(
    ("request_", "path", "value", "is_advice"),
    [judged for judged in JUDGED if path_of(judged[0]) != VERIFY],
)
def test_a_start_is_only_advised_of_what_its_people_lack(request_, path, value, is_advice) -> None:
    """They may have come with the session, in whole or in part."""
    wire = wire_of(request_)
    changed = without(wire, path) if value is None else having(wire, path, value)
    call = path_of(request_).replace("init", "start")
    is_persons = path.startswith("participant_details.")
    assert fields_with_advice(call, changed)[path] is (is_advice or (value is None and is_persons))


@pytest.mark.parametrize("name", ["Hungary", "the USA", "Australia", "Brazil"])
def test_a_start_whose_recipient_came_with_the_session_is_never_refused_for_it(name) -> None:
    """The country isn't known in this call."""
    wire = without(wire_of(EXAMPLES[f"{ACCOUNT} in {name}"][0]), RECIPIENT)
    having(without(wire, f"{GLOBAL}.description"), f"{SENDER}.city", "x" * 65)
    assert fields_with_advice(START_PAYOUT, wire) == {
        f"{GLOBAL}.description": True,
        f"{SENDER}.city": True,
    }


def test_limits_are_advice_until_the_instrument_is_known() -> None:
    """The country pages are about accounts; a card may be used there, too."""
    wire = having(without(wire_of(IN_THE_USA), "payment_method"), f"{RECIPIENT}.city", "x" * 65)
    for call in (CREATE, START_PAYOUT):
        assert fields_with_advice(call, wire) == {f"{RECIPIENT}.city": True}


def test_certain_rules_come_before_advice() -> None:
    """A refused request isn't advised as well; a field has only its required rule."""
    wire = without(wire_of(IN_AUSTRALIA), f"{GLOBAL}.bsb_number")
    having(wire, f"{GLOBAL}.sort_code", "601613")
    having(wire, f"{RECIPIENT}.currency", "aux")
    having(wire, f"{SENDER}.company_name", "1" * 101)
    assert list(fields_with_advice(INIT_PAYOUT, wire).items()) == [
        (f"{GLOBAL}.bsb_number", False),
        (f"{SENDER}.company_name", False),
        (f"{GLOBAL}.sort_code", True),
        (f"{RECIPIENT}.currency", True),
    ]


def leaves(wire: Any) -> Iterator[tuple[Any, Any]]:
    """Return every text of a request except its tags, as object and name."""
    for name, value in wire.items():
        if isinstance(value, dict):
            yield from leaves(value)
        elif isinstance(value, str) and name not in {"type", "system_type", "country_iso3"}:
            yield wire, name


@settings(max_examples=50)
@given(
    case=st.sampled_from(CASES),
    secret=st.text("7890#", min_size=6, max_size=20),
    data=st.data(),
)
def test_no_value_is_shown(case, secret, data) -> None:
    """Neither the wrong value nor any other one of the request."""
    wire = wire_of(case[1])
    for inner, name in leaves(wire):
        if data.draw(st.booleans()):
            inner[name] = secret
    for one in broken(path_of(case[1]), wire):
        assert secret not in f"{one.field} {one.problem} {one.page}"
        assert NUMBER not in f"{one.field} {one.problem} {one.page}"
        assert IBAN not in f"{one.field} {one.problem} {one.page}"


BY_QR: Final = {
    "payment_details": {"type": "faster_payment_system"},
    "amount_details": {"amount": 500, "currency": "rub"},
}
QR: Final = BY_QR["payment_details"]
BINDING: Final = {**BY_QR, "payment_details": {"type": "faster_payment_system_binding"}}
BY_ADDRESS: Final = {"participant_details": {"sender": {"ipv4": "192.0.2.7"}}}


@pytest.mark.parametrize("wire", [BY_QR, BINDING])
@pytest.mark.parametrize(
    ("payer", "is_named"),
    [
        ({"customer": {"reference": "u1"}}, True),
        (BY_ADDRESS, True),
        ({"customer": {}, **BY_ADDRESS}, True),
        ({"customer": {"reference": "u1"}, **BY_ADDRESS}, True),
        ({}, False),
        ({"customer": {"reference": "  "}}, False),
        ({"customer": {"contacts": [{"phone": "7900"}]}}, False),
        ({"participant_details": {"sender": {"ipv6": "::1"}}}, False),
        ({"participant_details": {"recipient": {"ipv4": "192.0.2.7"}}}, False),
    ],
)
def test_faster_payments_name_their_payer(wire, payer, is_named) -> None:
    """By a reference or an IPv4 address; with a start it may have come with the session."""
    request = {**wire, **payer}
    for path, is_advice in ((INIT_PAYMENT, False), ("session/start/payment", True)):
        found = [(one.field, one.is_advice) for one in broken(path, request)]
        assert found == ([] if is_named else [("customer.reference", is_advice)])
    (words,) = {one.problem for one in broken(INIT_PAYMENT, request)} or {""}
    assert ("or participant_details.sender.ipv4" in words) is not is_named
    assert broken("session/create", request) == []


def test_other_payments_need_no_payer() -> None:
    """SberPay, T-Pay, cards and tokens have no such rule on their pages."""
    for name, request in CASES:
        if name.startswith("payment by") and "Faster" not in name:
            assert (
                broken(INIT_PAYMENT, wire_of(attrs.evolve(request, customer=sg.Customer()))) == []
            )


TPAY: Final = {"type": "internet_banking", "internet_banking": {"type": "tpay"}}
DEVICE: Final = "payment_options.platform_details.type"
RETURN_URL: Final = "payment_options.return_url"


@pytest.mark.parametrize(
    ("instrument", "device", "wrong"),
    [
        (TPAY, "mobile", []),
        (TPAY, "desktop", []),
        (TPAY, "toaster", [DEVICE]),
        (TPAY, "Mobile", [DEVICE]),
        (QR, "toaster", []),
    ],
)
def test_the_device_of_a_payer_by_tpay(instrument, device, wrong) -> None:
    """Its page has two words; the operating system and the browser may be any text."""
    wire = {
        **BY_QR,
        "payment_details": instrument,
        "customer": {"reference": "u1"},
        "payment_options": {"platform_details": {"type": device, "os": "any", "browser": "any"}},
    }
    for path in (CREATE, START_PAYMENT, INIT_PAYMENT):
        assert fields(path, wire) == wrong
    assert not any(one.is_advice for one in broken(INIT_PAYMENT, wire))


@pytest.mark.parametrize(
    ("url", "is_right"),
    [
        ("dummy:/url", True),
        ("https://shop.example/dummy:/url", True),
        ("dummy://url", False),
        ("dummy:/url/", False),
        ("Dummy:/url", False),
        (" dummy:/url", False),
    ],
)
def test_the_address_of_a_transfer_between_individuals(url, is_right) -> None:
    """To the letter; any other scheme is an address of the merchant."""
    wire = {"payment_options": {"return_url": url}}
    for path in (CREATE, START_PAYMENT):
        assert fields_with_advice(path, wire) == ({} if is_right else {RETURN_URL: False})


def test_a_transfer_between_individuals_needs_a_submerchant() -> None:
    """Only where the client has none; other addresses need none."""
    wire = {"payment_options": {"return_url": "dummy:/url"}}
    for has_submerchant in (True, False):
        found = list(broken_rules(CREATE, wire, TODAY, has_submerchant=has_submerchant))
        assert [one.field for one in found] == ([] if has_submerchant else [RETURN_URL])
        assert not any(one.is_advice for one in found)
    shop = {"payment_options": {"return_url": "https://shop.example"}}
    assert list(broken_rules(CREATE, shop, TODAY, has_submerchant=False)) == []


def _listed(row: Requirements, names: tuple[str, ...]) -> str:
    shown = (f"`{name}`{' (advice)' if name in row.advised else ''}" for name in names)
    return ", ".join(shown) or "-"


def _demanded(row: Requirements) -> str:
    either = " or ".join(" and ".join(f"`{name}`" for name in s) for s in row.alternatives)
    listed = _listed(row, row.instrument)
    cell = ", ".join(filter(None, (f"one of: {either}" if either else "", listed)))
    payer = " or ".join(f"`{name}`" for name in row.payer)
    cell += f"; beside it {payer}" if payer else ""
    if not row.currency:
        return cell
    return f"{cell}; in `{row.currency}` only{' (advice)' if row.is_currency_advice else ''}"


def demand_lines() -> Iterator[str]:
    """Return the rows of the page about mandatory fields."""
    for row in (*PAYOUTS, *PAYMENTS):
        numbers = ", ".join(f"`{start}`" for start in row.card_numbers)
        also = f", or a number that begins with {numbers}" if numbers else ""
        country = f" (`{row.country}`{also})" if row.country else ""
        advice = "; all of it is advice" if row.is_advice else ""
        cells = (
            f"{row.name}{country}{advice}",
            _demanded(row),
            _listed(row, row.recipient),
            _listed(row, row.sender),
            row.page,
        )
        yield f"| {' | '.join(cells)} |"


def _level(form: Form) -> str:
    if form.certain_in is None:
        return "yes"
    return ", ".join(f"`{country}`" for country in form.certain_in) or "advice"


def _pages(form: Form) -> str:
    return ", ".join(dict.fromkeys((form.certain_in or {}).values())) or form.page


def form_lines() -> Iterator[str]:
    """Return the rows of the page about forms."""
    tables: dict[str, Any] = {
        **INSTRUMENT_FORMS,
        "recipient, sender": PARTICIPANT_FORMS,
        "a payment's sender": PAYER_FORMS,
        "the request": REQUEST_FORMS,
    }
    for row in (*PAYOUTS, *PAYMENTS):
        if row.instrument_forms:
            country = f", `{row.country}`" if row.country else ""
            tables[f"{row.kind}{country}"] = row.instrument_forms
        if row.request_forms:
            tables[f"beside {row.kind}"] = row.request_forms
        if row.recipient_forms:
            tables[f"recipient of a {row.name}, `{row.country}`"] = row.recipient_forms
    for where, forms in tables.items():
        for name, several in forms.items():
            for form in several:
                cells = (where, f"`{name}`", form.problem, _pages(form), _level(form))
                yield f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("lines", [demand_lines, form_lines])
def test_the_page_agrees_with_the_tables(lines) -> None:
    """Row by row, in their order."""
    assert "\n".join(lines()) in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("use", sg.RuleUse, ids=str)
def test_the_page_names_every_setting(use) -> None:
    """By its name in the code."""
    assert f"RuleUse.{use.name}" in PAGE.read_text(encoding="utf-8")


def test_a_broken_rule_is_plain_data() -> None:
    """Texts for errors and warnings, and which of the two it is."""
    names = ["field", "problem", "page", "is_advice", "in_file"]
    assert [f.name for f in attrs.fields(Broken)] == names
    assert not Broken("field", "problem", "page").is_advice
