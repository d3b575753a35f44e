"""The emulator's books: what is refused, what counts as the same order, what is reported."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Final

import pytest

from smartglocal_async.emulator import Duplicates, Order, Rules
from smartglocal_async.emulator.asks import Answer, Ask, Name, name_of
from smartglocal_async.emulator.bank import Bank
from smartglocal_async.emulator.checks import JsonObject

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
    bank: Bank,
    request: JsonObject,
    name: Name = KEYED,
    version: int = 1,
    now: datetime = NOW,
) -> Answer:
    """Ask for a session with a key, unless told otherwise."""
    ask = Ask(operation="session/create", request=request, name=name, version=version)
    return bank.answer(ask, now)


def status(bank: Bank, request: JsonObject) -> Answer:
    """Ask for the status of a session."""
    return bank.answer(Ask(operation="session/status", request=request), NOW)


def test_a_new_session_looks_like_the_sample() -> None:
    """The answer has the members of the provider's sample, in its order, and the metadata."""
    answer = create(Bank(), {"metadata": {"order": [1, None]}})

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


def test_moments_are_told_in_utc() -> None:
    """Whatever zone the clock is in, the answer is in UTC with microseconds and Z."""
    now = datetime(2024, 5, 27, 5, 3, 0, 7, tzinfo=timezone(timedelta(hours=3)))

    session = create(Bank(), {}, now=now).body["session"]

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
    """All fields are optional, currencies in any case, unknown names are let through."""
    assert create(Bank(), request_, version=version).error_code is None


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
    """A refusal names the field, shows no value, and leaves no session behind."""
    bank = Bank()

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
    """After a refusal the same key makes its first session."""
    bank = Bank(Rules(duplicates=Duplicates.REFUSE))
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
    """What a used key gets is a switch, and its sessions are counted."""
    bank = Bank(Rules(duplicates=duplicates))

    first, second = create(bank, {"metadata": 1}), create(bank, {"metadata": 2})

    assert first.session_id == "ps_1"
    assert (second.session_id, second.error_code) == (session_id, error_code)
    assert (bank.order("k").made, bank.order("k").asked) == (made, 2)
    assert bank.report().duplicates == made - 1


def test_a_replay_shows_the_first_session_unchanged() -> None:
    """A replayed answer is the first one, whatever the later request and clock say."""
    bank = Bank()
    first = create(bank, {"metadata": 1})

    assert create(bank, {"metadata": 2}, now=NOW + timedelta(days=1)).body == first.body


@pytest.mark.parametrize("name", [Name(), Name('"order"')])
def test_without_a_key_every_create_makes_a_session(name: Name) -> None:
    """A name that is no key is counted and protects from nothing."""
    bank = Bank(Rules(duplicates=Duplicates.REFUSE))

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
        ("order", None, LOOSE, Name('"order"')),
        ("order", None, STRICT, Name('"order"', is_key=True)),
        ("order", "", STRICT, Name('"order"', is_key=True)),
        (7, None, STRICT, Name("7", is_key=True)),
        (True, None, STRICT, Name("true")),
        (["x"], None, STRICT, Name('["x"]')),
        ({"b": "é", "a": 1}, None, STRICT, Name('{"a":1,"b":"é"}')),
        (None, None, STRICT, Name()),
    ],
)
def test_what_an_order_is_called(
    metadata: object, header: str | None, rules: Rules, name: Name
) -> None:
    """The key in metadata wins over the header; without either, metadata is only counted."""
    assert name_of({"metadata": metadata}, header, rules) == name
    if metadata is None:
        assert name_of({}, header, rules) == name


def test_status_shows_what_create_showed() -> None:
    """A session looks the same when asked for later."""
    bank = Bank()
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
    """A missing or unknown session is an error that names the field and shows no value."""
    bank = Bank()
    _ = create(bank, {})

    answer = status(bank, request_)

    assert answer.error_code == code
    assert "session_id" in str(answer.body)
    assert CARD not in str(answer.body)


def test_arrivals_are_counted_by_name_or_by_server() -> None:
    """A named request gets its number among its name's, any other one the server's."""
    bank = Bank()
    names = [Name("a"), Name("b"), Name("a"), Name(), Name("b"), Name()]

    numbers = [bank.arrive(name, digest="d", signature="s") for name in names]

    assert numbers == [1, 1, 2, 4, 2, 6]
    assert bank.report().orders == 2


def test_an_order_remembers_what_arrived() -> None:
    """Bodies and signatures that differ are told apart, and such keys are counted."""
    bank = Bank()
    for name, digest, signature in [("a", "1", "x"), ("a", "2", "x"), ("b", "1", "y")]:
        _ = bank.arrive(Name(name), digest=digest, signature=signature)

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
    """Asking for a key that never arrived is no error and leaves no trace."""
    bank = Bank()

    assert bank.order("nobody") == Order(key="nobody")
    assert bank.report().orders == 0


def test_the_report_is_plain_json_values() -> None:
    """Every count has its name in the report, faults by kind."""
    bank = Bank()
    bank.faults["cut"] += 2
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
