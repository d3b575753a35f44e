"""Records as plain data: what is masked, the forms of values, and what FastAPI returns."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import attrs
import pytest
from asgi import request
from seeded_records import SHOWN, records, seeded

import smartglocal_async as sg
from smartglocal_async.models.serialization import as_data
from smartglocal_async.models.validators import without_personal_data
from smartglocal_async.payouts.reports.discrepancies import PaymentSums, ReportKind

RECORDS: Final = [
    pytest.param(one, id=one.__name__) for one in records() if hasattr(one, "to_dict")
]
CARD: Final = "4929717384915026"
SESSION: Final = sg.Session(
    id="ps_1",
    status=sg.SessionStatus.CREATED,
    created_at=datetime(2026, 11, 29, 12, 34, 56, 789, tzinfo=UTC),
    payout_list=(
        sg.Payout(
            id="po_1",
            status="a new status",
            payment_method=sg.models.MaskedCard(last4="5026"),
            amount_details=sg.Amount(10_000, "usd"),
            error=sg.models.ProviderError(code="declined"),
        ),
    ),
    metadata={"order": "o-1"},
    extra={"owner": "Zacharias Quill"},
)


@pytest.mark.parametrize("record", RECORDS)
def test_the_data_shows_what_the_repr_shows(record: type[Any]) -> None:
    """Every other field is masked, unless it is asked for."""
    made, seeds = seeded(record)
    shown = set(SHOWN[record.__name__].split())
    data, plain = made.to_dict(), made.to_dict(masked=False)
    for name in seeds:
        assert (data[name] == "***") is (name not in shown)
        assert plain[name] != "***"
    assert json.loads(made.to_json()) == data
    assert json.loads(made.to_json(masked=False)) == plain


def test_every_record_has_it() -> None:
    """All but the table of deadlines."""
    without = {one.__name__ for one in records() if not hasattr(one, "to_dict")}
    assert without == {"Deadline"}


def test_a_session() -> None:
    """Names of the fields here, at every level, also of what is absent."""
    data = SESSION.to_dict()
    assert list(data) == [one.name for one in attrs.fields(sg.Session)]
    payout = data["payout_list"][0]
    assert data["created_at"] == "2026-11-29T12:34:56.000789+00:00"
    assert (data["status"], payout["status"]) == ("created", "a new status")
    assert payout["amount_details"] == {"amount": 10_000, "currency": "usd"}
    assert payout["payment_method"]["type"] == "MaskedCard"
    assert payout["error"]["code"] == "declined"
    assert (data["next_action"], data["payment_list"], payout["metadata"]) == (None, [], None)
    assert (data["metadata"], data["extra"]) == ("***", "***")


def test_unmasked_on_demand() -> None:
    """The caller's own data is whole, and shares no object with the record."""
    data = SESSION.to_dict(masked=False)
    assert data["metadata"] == {"order": "o-1"}
    data["metadata"]["order"] = "changed"
    assert SESSION.metadata == {"order": "o-1"}
    assert json.loads(SESSION.to_json(masked=False))["extra"] == {"owner": "Zacharias Quill"}
    assert "\n  " in SESSION.to_json(indent=2)


def test_an_event() -> None:
    """With its type and its session."""
    event = sg.PaymentFinished(type="payment_finished", session=SESSION)
    assert event.to_dict()["type"] == "payment_finished"
    assert event.to_dict()["session"] == SESSION.to_dict()


def test_an_outcome_of_a_batch() -> None:
    """Its request is masked, and its error has the fields that the error has."""
    outcome = sg.Outcome(
        index=0,
        request=sg.CreateSession(payment_details=sg.BankCard(number=CARD)),
        error=sg.OutcomeUnknown("session/create", "order-1", http_status=502),
    )
    data = outcome.to_dict()
    assert CARD not in outcome.to_json()
    assert data["request"]["payment_details"]["type"] == "BankCard"
    assert data["error"]["type"] == "OutcomeUnknown"
    assert (data["error"]["key"], data["error"]["http_status"]) == ("order-1", 502)
    assert data["error"]["message"] == str(outcome.error)


def test_the_results_of_payouts() -> None:
    """Enumerations are their text, and counts by state and currency are nested."""
    outcome = sg.PayoutOutcome(
        key="k", state=sg.PayoutState.OPEN, error=sg.InvalidRequest("a", "b")
    )
    assert outcome.to_dict()["state"] == "open"
    assert outcome.to_dict()["error"]["field"] == "a"
    states = sg.PayoutState
    summary = sg.payouts.PayoutSummary(
        counts=Counter({states.OPEN: 2}),
        sums={(states.OPEN, "usd"): 5, (states.OPEN, "eur"): 7},
        halt=None,
    )
    assert summary.to_dict() == {
        "counts": {"open": 2},
        "sums": {"open": {"usd": 5, "eur": 7}},
        "halt": None,
    }
    found = sg.payouts.PaymentReconciliation(
        sums={(ReportKind.REFUND, "USD"): PaymentSums(1, Decimal("1.50"))}
    )
    assert json.loads(found.to_json())["sums"]["Refund"]["USD"]["amount"] == "1.50"


async def test_a_summary_of_a_journal(payouts) -> None:
    """The journal's own records in it, and in what needs review, are plain, too."""
    assert (await payouts.summary()).to_dict()["counts"] == {}
    entry = sg.journal.Entry(
        key="k", mode="manual", fingerprint={}, created_at=1.0, updated_at=2.0, request=b"x"
    )
    case = sg.payouts.NeedsReview(entry=entry, history=())
    assert case.to_dict()["entry"]["step"] == "NEW"
    assert "request" not in case.to_dict()["entry"]


def test_what_has_no_form_as_data() -> None:
    """Another object is refused."""
    with pytest.raises(attrs.exceptions.NotAnAttrsClassError):
        as_data(object())


class TestFastAPI:
    """Endpoints that return records."""

    @pytest.fixture
    def app(self) -> Any:
        """Return an application."""
        return pytest.importorskip("fastapi").FastAPI()

    @staticmethod
    def without_annotation() -> Any:
        """Return an endpoint of which FastAPI knows no type."""

        async def endpoint():
            return {"session": SESSION}

        return endpoint

    @staticmethod
    def with_annotation() -> Any:
        """Return an endpoint with a type, which is in the OpenAPI document."""

        async def endpoint() -> dict[str, sg.Session]:
            return {"session": SESSION}

        return endpoint

    @pytest.mark.parametrize("endpoint", [without_annotation(), with_annotation()])
    async def test_an_answer(self, app: Any, endpoint: Callable[..., Any]) -> None:
        """With and without the annotation, it is the masked data."""
        app.get("/")(endpoint)
        status, body = await request(app, "/")
        assert (status, json.loads(body)) == (200, {"session": SESSION.to_dict()})

    def test_the_schema(self, app: Any) -> None:
        """The OpenAPI document has the fields of every record, and the kinds of instruments."""

        @app.get("/")
        async def endpoint() -> sg.Session: ...

        content = app.openapi()["paths"]["/"]["get"]["responses"]["200"]["content"]
        properties = content["application/json"]["schema"]["properties"]
        assert properties["status"] == {"type": "string"}
        assert properties["created_at"]["anyOf"][0]["format"] == "date-time"
        payout = properties["payout_list"]["items"]["properties"]
        kinds = [one.get("title") for one in payout["payment_method"]["anyOf"]]
        assert {"BankCard", "MaskedCard", "OtherInstrument"} <= set(kinds)

    @pytest.mark.parametrize("record", RECORDS)
    def test_every_record_has_a_schema(self, app: Any, record: type[Any]) -> None:
        """Its properties are those of its data."""

        async def endpoint(): ...

        app.get("/", response_model=record)(endpoint)
        content = app.openapi()["paths"]["/"]["get"]["responses"]["200"]["content"]
        made, _ = seeded(record)
        schema = content["application/json"]["schema"]
        assert set(schema["properties"]) == set(made.to_dict())


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("account DE89370400440532013000 is closed", "account *** is closed"),
        ("DE89 3704 0044 0532 0130 00", "***"),
        ("ask jane@roe.example, or +7 916 123-45-67", "ask ***, or ***"),
        (
            "limit of 5000 on 2026-11-30 in ps_123456789",
            "limit of 5000 on 2026-11-30 in ps_123456789",
        ),
    ],
)
def test_free_texts_of_the_provider(text, masked) -> None:
    """E-mails, IBANs and long numbers are masked; numbers and ids of other kinds aren't."""
    assert without_personal_data(text) == masked
    error = sg.models.ProviderError(code="x", description="of jane@roe.example")
    assert error.to_dict()["description"] == "of ***"
    assert error.to_dict(masked=False)["description"] == "of jane@roe.example"
