"""The emulator's accounts: what is refused, what counts as the same order, what is reported."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import pytest

from smartglocal_async.emulator import Duplicates, Order, Rules
from smartglocal_async.emulator.bank.bank import EmulatedBank
from smartglocal_async.emulator.bank.messages import Answer, ApiCall, Name, name_of
from smartglocal_async.emulator.bank.validation import JsonObject, missing_field

NOW: Final = datetime(2024, 5, 27, 2, 3, tzinfo=UTC)
KEYED: Final = Name("k", is_key=True)
CARD: Final = "4242424242424242"


WRONG_AMOUNTS: Final[tuple[object, ...]] = (0, -1, True, 1.0, 10.5, "100", None, [], {})
WRONG_CODES: Final[tuple[object, ...]] = ("us", "usdt", "", None, 840, "\u212arw", CARD)
WRONG_INSTRUMENTS: Final[tuple[object, ...]] = (
    CARD,
    None,
    {},
    {"card": {}},
    {"type": 7},
    {"type": ""},
    {"type": "type"},
    {"type": CARD},
    {"type": "card", "card": CARD},
    {"type": "card", "wallet": {}},
)


def create(
    bank: EmulatedBank,
    request: JsonObject,
    name: Name = KEYED,
    version: int = 1,
    now: datetime = NOW,
) -> Answer:
    """Create a session, by default with a key."""
    ask = ApiCall(operation="session/create", params=request, name=name, version=version)
    return bank.answer(ask, now)


def status(bank: EmulatedBank, request: JsonObject) -> Answer:
    """Ask for the status of a session."""
    return bank.answer(ApiCall(operation="session/status", params=request), NOW)


def test_a_new_session_looks_like_the_sample() -> None:
    """The answer has the fields of the provider's sample, in its order, and the metadata."""
    answer = create(EmulatedBank(), {"metadata": {"order": [1, None]}})

    assert list(answer.body.items()) == [
        ("status", "ok"),
        (
            "session",
            {
                "id": "ps_1",
                "status": "created",
                "created_at": "2024-05-27T02:03:00.000000Z",
                "updated_at": "2024-05-27T02:03:00.000000Z",
                "metadata": {"order": [1, None]},
            },
        ),
    ]
    session = answer.body["session"]
    assert isinstance(session, dict)
    assert list(session) == ["id", "status", "created_at", "updated_at", "metadata"]


def test_times_are_in_utc() -> None:
    """In UTC with microseconds and Z, whatever the clock's zone is."""
    now = datetime(2024, 5, 27, 5, 3, 0, 7, tzinfo=timezone(timedelta(hours=3)))

    session = create(EmulatedBank(), {}, now=now).body["session"]

    assert isinstance(session, dict)
    assert session["created_at"] == "2024-05-27T02:03:00.000007Z"
    assert "metadata" not in session


INSTRUMENT: Final[JsonObject] = {"type": "card", "card": {"type": "bank_card"}}
MONEY: Final[JsonObject] = {"amount": 1, "currency": "usd"}


@pytest.mark.parametrize(
    ("request_", "version"),
    [
        ({}, 1),
        ({"amount_details": MONEY}, 1),
        ({"amount_details": {"amount": 10**30, "currency": "JPY"}}, 2),
        ({"amount_details": {"amount": 1, "currency": "eUr"}}, 2),
        ({"amount_details": MONEY, "payment_method": INSTRUMENT}, 1),
        ({"amount_details": MONEY, "payout_details": INSTRUMENT}, 2),
        ({"payment_details": INSTRUMENT, "customer": {}, "payment_options": {}}, 1),
        ({"payment_details": INSTRUMENT, "participant_details": {}}, 2),
        ({"metadata": None, "anything": "else"}, 1),
    ],
)
def test_what_the_pages_allow_is_taken(request_: JsonObject, version: int) -> None:
    """All fields are optional, currencies in any case, unknown names are accepted."""
    assert create(EmulatedBank(), request_, version=version).error_code is None


@pytest.mark.parametrize(
    ("request_", "version", "field"),
    [
        *(
            ({"amount_details": {"amount": amount, "currency": "usd"}}, 1, "amount_details.amount")
            for amount in WRONG_AMOUNTS
        ),
        ({"amount_details": {"currency": "usd"}}, 1, "amount_details.amount"),
        *(
            ({"amount_details": {"amount": 1, "currency": code}}, 1, "amount_details.currency")
            for code in WRONG_CODES
        ),
        ({"amount_details": {"amount": 1}}, 1, "amount_details.currency"),
        ({"amount_details": CARD}, 1, "amount_details"),
        ({"amount_details": None}, 1, "amount_details"),
        ({"customer": CARD}, 1, "customer"),
        ({"participant_details": []}, 1, "participant_details"),
        ({"payment_options": 1}, 1, "payment_options"),
        ({"payout_details": INSTRUMENT}, 1, "payout_details"),
        ({"payment_method": INSTRUMENT}, 2, "payment_method"),
        ({"payment_method": INSTRUMENT, "payment_details": INSTRUMENT}, 1, "payment_method"),
        ({"payout_details": INSTRUMENT, "payment_details": INSTRUMENT}, 2, "payout_details"),
        *(
            ({name: instrument}, version, name)
            for name, version in (
                ("payment_method", 1),
                ("payout_details", 2),
                ("payment_details", 1),
                ("payment_details", 2),
            )
            for instrument in WRONG_INSTRUMENTS
        ),
    ],
)
def test_what_the_pages_forbid_is_refused(request_: JsonObject, version: int, field: str) -> None:
    """The error names the field, shows no value, and no session is created."""
    bank = EmulatedBank()

    answer = create(bank, request_, version=version)

    error = answer.body["error"]
    assert isinstance(error, dict)
    assert list(answer.body) == ["error", "status"]
    assert answer.body["status"] == "error"
    assert error["code"] == answer.error_code == "invalid_request"
    assert error["description"].startswith(field)
    assert CARD not in error["description"]
    assert bank.session_ids == ()
    assert bank.report().refused == 1


def test_a_refused_request_does_not_use_up_its_key() -> None:
    """After a refusal the same key creates its first session."""
    bank = EmulatedBank(Rules(duplicates=Duplicates.REFUSE))
    _ = create(bank, {"customer": 1})

    assert create(bank, {}).session_id == "ps_1"


@pytest.mark.parametrize(
    ("duplicates", "session_id", "error_code", "made"),
    [
        (Duplicates.REPLAY, "ps_1", None, 1),
        (Duplicates.REFUSE, None, "idempotency_key_already_exists", 1),
        (Duplicates.CREATE, "ps_2", None, 2),
    ],
)
def test_a_second_create_follows_the_rule(
    duplicates: Duplicates, session_id: str | None, error_code: str | None, made: int
) -> None:
    """The result for a used key is a setting, and its sessions are counted."""
    bank = EmulatedBank(Rules(duplicates=duplicates))

    first, second = create(bank, {"metadata": 1}), create(bank, {"metadata": 2})

    assert first.session_id == "ps_1"
    assert (second.session_id, second.error_code) == (session_id, error_code)
    assert (bank.order("k").made, bank.order("k").reached_bank) == (made, 2)
    assert bank.report().duplicates == made - 1


def test_a_replay_shows_the_first_session_unchanged() -> None:
    """A replayed answer is the first one, whatever the later request and the clock are."""
    bank = EmulatedBank()
    first = create(bank, {"metadata": 1})

    assert create(bank, {"metadata": 2}, now=NOW + timedelta(days=1)).body == first.body


@pytest.mark.parametrize("name", [Name(), Name('"order"')])
def test_without_a_key_every_create_makes_a_session(name: Name) -> None:
    """An invalid key is counted, and prevents nothing."""
    bank = EmulatedBank(Rules(duplicates=Duplicates.REFUSE))

    assert [create(bank, {}, name).session_id for _ in range(2)] == ["ps_1", "ps_2"]


LOOSE: Final = Rules()
STRICT: Final = Rules(metadata_is_key=True, key_field="id")


@pytest.mark.parametrize(
    ("metadata", "header", "rules", "name"),
    [
        ({"idempotency_key": "a"}, None, LOOSE, Name("a", is_key=True)),
        ({"idempotency_key": "a"}, "b", LOOSE, Name("a", is_key=True)),
        ({"idempotency_key": ""}, "b", LOOSE, Name("b", is_key=True)),
        ({"idempotency_key": 7}, "b", LOOSE, Name("b", is_key=True)),
        ({"id": "a"}, None, STRICT, Name("a", is_key=True)),
        ("order", "b", STRICT, Name("b", is_key=True)),
        ("order", None, LOOSE, Name('"order"', is_metadata=True)),
        ("order", None, STRICT, Name('"order"', is_key=True)),
        ("order", "", STRICT, Name('"order"', is_key=True)),
        (7, None, STRICT, Name("7", is_key=True)),
        (True, None, STRICT, Name("true", is_metadata=True)),
        (["x"], None, STRICT, Name('["x"]', is_metadata=True)),
        ({"b": "é", "a": 1}, None, STRICT, Name('{"a":1,"b":"é"}', is_metadata=True)),
        (None, None, STRICT, Name()),
    ],
)
def test_what_an_order_is_called(
    metadata: object, header: str | None, rules: Rules, name: Name
) -> None:
    """The key in the metadata wins over the header; without either, metadata is only counted."""
    assert name_of({"metadata": metadata}, header, rules) == name
    if metadata is None:
        assert name_of({}, header, rules) == name


def test_status_shows_what_create_showed() -> None:
    """A session looks the same when it is read later."""
    bank = EmulatedBank()
    made = create(bank, {"metadata": "order123"})

    assert status(bank, {"session_id": "ps_1"}).body == made.body


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({}, "invalid_request"),
        ({"session_id": ""}, "invalid_request"),
        ({"session_id": 1}, "invalid_request"),
        ({"session_id": None}, "invalid_request"),
        ({"session_id": "ps_2"}, "session_not_found"),
        ({"session_id": CARD}, "session_not_found"),
    ],
)
def test_status_of_nothing_is_refused(request_: JsonObject, code: str) -> None:
    """The error names the field and shows no value."""
    bank = EmulatedBank()
    _ = create(bank, {})

    answer = status(bank, request_)

    assert answer.error_code == code
    assert "session_id" in str(answer.body)
    assert CARD not in str(answer.body)


def test_arrivals_are_counted_by_name_or_by_server() -> None:
    """A request with a name is counted by its name, any other one by the server."""
    bank = EmulatedBank()
    names = [Name("a"), Name("b"), Name("a"), Name(), Name("b"), Name()]

    numbers = [bank.count_request(name, digest="d", signature="s") for name in names]

    assert numbers == [1, 1, 2, 4, 2, 6]
    assert bank.report().orders == 2


def test_order_records_what_arrived() -> None:
    """Different bodies and signatures are distinguished, and such keys are counted."""
    bank = EmulatedBank()
    for name, digest, signature in [("a", "1", "x"), ("a", "2", "x"), ("b", "1", "y")]:
        _ = bank.count_request(Name(name), digest=digest, signature=signature)

    assert bank.order("a") == Order(
        key="a",
        attempts=2,
        digests=frozenset({"1", "2"}),
        signatures=frozenset({"x"}),
        calls={"session/create": 2},
    )
    assert bank.order("b").signatures == {"y"}
    assert bank.report().changed == 1


def test_an_unknown_order_is_all_zeros() -> None:
    """An unknown key is no error and isn't stored."""
    bank = EmulatedBank()

    assert bank.order("nobody") == Order(key="nobody")
    assert bank.report().orders == 0


def test_the_report_is_plain_json_values() -> None:
    """Every count has its name in the report, faults by kind."""
    bank = EmulatedBank()
    bank.fault_counts["cut"] += 2
    _ = create(bank, {})

    assert bank.report().as_dict() == {
        "requests": 0,
        "orders": 1,
        "sessions": 1,
        "duplicates": 0,
        "changed": 0,
        "bad_signatures": 0,
        "refused": 0,
        "faults": {"cut": 2},
        "moved": 0,
        "moved_twice": 0,
        "balances": {},
    }


@pytest.mark.parametrize(
    ("instrument", "field"),
    [
        ({"type": "bank_account", "bank_account": {"global": {"description": "x"}}}, "iban"),
        ({"type": "bank_account", "bank_account": {"global": {"iban": " "}}}, "iban"),
        ({"type": "bank_account", "bank_account": {"ru": {"bik": "1", "account": ""}}}, "account"),
        (
            {"type": "bank_account", "bank_account": {"faster_payment_system": {"bank_id": "1"}}},
            "phone",
        ),
        ({"type": "wallet", "wallet": {"global": {"name": "GCash"}}}, "msisdn"),
        ({"type": "recurrent", "recurrent": {"token": " "}}, "token"),
    ],
)
def test_a_payout_to_nobody_is_refused(instrument: Any, field: str) -> None:
    """An instrument names an account, a phone or a token; a field of a country's page may, too."""
    kind = instrument["type"]
    system, inner = next(iter(instrument[kind].items()))
    if kind != "recurrent":
        tag = "system_type" if kind == "bank_account" else "type"
        instrument = {"type": kind, kind: {tag: system, system: inner}}
    terms: JsonObject = {"payment_method": instrument, "amount_details": MONEY}
    place = f"payment_method.{kind}{'' if kind == 'recurrent' else f'.{system}'}"
    assert missing_field(terms, 1, pays_out=True) == f"{place}.{field}: names no account"
    if kind == "recurrent":
        instrument[kind] |= {"token": "tok-1"}
    elif kind == "bank_account":
        inner["clabe"] = "032180000118359719"
    else:
        inner[field] = "1"
    assert missing_field(terms, 1, pays_out=True) is None
