"""A command for every call: requests from options and files, answers as tables and as JSON."""

import json
import re

import pytest
import typer
from places import ROOT
from typer.testing import CliRunner

from smartglocal_async import emulator
from smartglocal_async.cli.app import app
from smartglocal_async.cli.calls.request import Draft
from smartglocal_async.cli.calls.views import (
    show_any,
    show_banks,
    show_fields,
    show_session,
    show_wallets,
)
from smartglocal_async.codec import codec
from smartglocal_async.emulator import Capture, Fault, FaultKind, FaultScript, Rules
from smartglocal_async.models.answers import Bank, Session, Wallet
from smartglocal_async.models.money import Amount
from smartglocal_async.operations import OPERATIONS

pytestmark = pytest.mark.slow

IBAN = "DE89370400440532013000"
PAN = "4000000000003220"
CODE = re.compile(r"(?<!\d)987(?!\d)")
"""The security code of the card; a port of the emulator may have these digits, too."""
PAYOUT = {
    "payment_method": {
        "type": "bank_account",
        "bank_account": {
            "system_type": "global",
            "global": {"iban": IBAN, "description": "Invoice 1"},
        },
    },
    "participant_details": {
        "sender": {
            "company_name": "Shop Ltd",
            "registration_number": "123",
            "country_iso3": "GBR",
            "code": "123",
        },
        "recipient": {
            "bank_name": "All Banks Germany / EUR / Payment System: SEPA",
            "currency": "eur",
            "country_iso3": "DEU",
            "first_name": "Ann",
            "last_name": "Example",
        },
    },
}
PAYMENT = {
    "payment_details": {
        "type": "card",
        "card": {
            "type": "bank_card",
            "bank_card": {
                "number": PAN,
                "expiration_month": "05",
                "expiration_year": "39",
                "security_code": "987",
            },
        },
    },
    "payment_options": {"return_url": "https://shop.example/back", "recurrent": True},
}
HUNDRED = ("--amount", "100.00", "--currency", "usd")
TO_CARD = ("--card-token", "hash4242424242424242", *HUNDRED)
TO_ANN = ("--set", "participant_details.recipient.full_name=Ann Example")
PHONE = ("--phone", "79990000001", "--bank-id", "100000000069")
VERIFY = ("fps", "verify-customer", "ps_1", *PHONE, "--first-name", "Ann", "--last-name", "Ex")


@pytest.fixture
def run(key, tmp_path, monkeypatch):
    """Return a function that runs the command with the credentials of an emulator's partner."""
    path = tmp_path / "shop.pem"
    path.write_bytes(key.pem())
    monkeypatch.setenv("SMARTGLOCAL_PROJECT", "demo")
    monkeypatch.setenv("SMARTGLOCAL_PRIVATE_KEY", str(path))
    monkeypatch.setenv("COLUMNS", "80")

    def call(provider: emulator.Provider, *arguments: str, **options: str):
        monkeypatch.setenv("SMARTGLOCAL_SERVER", provider.url)
        return CliRunner().invoke(app, arguments, catch_exceptions=False, **options)

    return call


@pytest.fixture
def done(run):
    """Return a function that runs a command, checks that it succeeds, and returns its JSON."""

    def call(provider: emulator.Provider, *arguments: str, **options: str):
        result = run(provider, *arguments, "--json", **options)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.count("\n") == 1
        return json.loads(result.stdout)

    return call


@pytest.fixture
def shop(run_provider) -> emulator.Provider:
    """Return an emulator that holds a payment's money until it is captured."""
    return run_provider(rules=Rules(capture=Capture.DELAYED))


def groups() -> dict[str, list[str]]:
    """Return the groups of commands about the API, with their commands."""
    tree = typer.main.get_command(app).commands
    return {
        name: list(tree[name].commands)
        for name in ("session", "wallet", "token", "recurrent", "fps", "sberpay", "exchange-rate")
    }


def payer_is_due(run, provider: emulator.Provider) -> str:
    """Start a payment with 3-D Secure and confirm it; return what its status shows."""
    run(
        *(provider, "session", "init-payment", "--file", "-", "--customer", "user1", *HUNDRED),
        input=json.dumps(PAYMENT),
    )
    assert run(provider, "session", "confirm", "ps_1").exit_code == 0
    return run(provider, "session", "status", "ps_1").stdout


# One command per row


def test_every_row_has_a_command():
    """Each call that is documented has a command of its own."""
    there = {f"{group} {name}" for group, names in groups().items() for name in names}
    own_names = {
        "token": "token issue",
        "fps/customer_verification": "fps verify-customer",
        "exchange_rate": "exchange-rate get",
    }
    wanted = {
        own_names.get(row.path, row.path.replace("/", " ", 1).replace("/", "-"))
        for row in OPERATIONS
    }
    assert there - {"session wait"} == wanted


@pytest.mark.parametrize(
    "command", [(group, name) for group, names in groups().items() for name in names] + [("call",)]
)
def test_help_says_what_a_command_takes(run, provider, command):
    """Each command has --json and --deadline, a text for every option, and fits 80 columns."""
    text = run(provider, *command, "--help").stdout
    assert "--json " in text
    assert "--deadline " in text
    assert max(map(len, text.splitlines())) <= 80
    node = typer.main.get_command(app)
    for name in command:
        node = node.commands[name]
    assert all(param.help for param in node.params if param.name != "help")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            "create",
            "Optional: payment_method (payout_details in v2), payment_details",
        ),
        (
            "start-payout",
            "set them: payment_method (payout_details in v2), amount_details. Optional: ",
        ),
        (
            "start-payment",
            "set them: payment_details, amount_details, customer. Optional: participant_details",
        ),
        ("init-payment", "Required fields: payment_details, amount_details, customer. Optional: "),
    ],
)
def test_help_shows_the_fields_of_the_call(run, provider, command, words):
    """Help names the fields of the request, those that must be there first, and the page."""
    text = " ".join(run(provider, "session", command, "--help").stdout.split())
    assert words in text
    assert ("Required, unless `session create` set them: " in text) is command.startswith("start-")
    assert f"developer.smart-glocal.com/docs/reference/methods/session-{command}" in text


@pytest.mark.parametrize("command", [("session", "confirm"), ("wallet", "balance")])
def test_help_shows_no_fields_that_no_option_sets(run, provider, command):
    """The help of a call without --file and --set has no list of fields."""
    text = run(provider, *command, "--help").stdout
    assert "developer.smart-glocal.com/docs/" in text
    assert "equired fields" not in text
    assert "ptional" not in text


def test_help_warns_of_card_numbers(run, provider):
    """No option takes a card number, and the help says why."""
    text = " ".join(run(provider, "session", "init-payment", "--help").stdout.split())
    assert "Put card numbers only into this file or standard input, never into an option" in text
    assert "history" in text


# Whole lives


def test_life_of_a_payout(done, run, provider, tmp_path):
    """A payout is created, started from a file, confirmed and waited for."""
    file = tmp_path / "payout.json"
    file.write_text(json.dumps(PAYOUT), encoding="utf-8")
    made = done(provider, "session", "create", *HUNDRED, "--key", "order-1")
    started = done(
        *(provider, "session", "start-payout", "ps_1", "--file", str(file), "--key", "po-1")
    )
    assert (made["id"], started["id"], started["status"]) == ("ps_1", "ps_1", "in_progress")
    ready = done(provider, "session", "wait", "ps_1", "--deadline", "10")
    assert ready["next_action"] == "confirm"
    shown = run(provider, "session", "wait", "ps_1").stdout
    assert "confirm: smartglocal session confirm ps_1 (money moves)\n" in shown
    assert "cancel: smartglocal session cancel ps_1\n" in shown
    done(provider, "session", "confirm", "ps_1", "--key", "confirm-1")
    text = run(provider, "session", "wait", "ps_1", "--final", "--deadline", "10").stdout
    assert [line.split() for line in text.splitlines() if "po_1" in line] == [
        ["po_1", "succeeded", "100.00", "USD", "account", "*3000"]
    ]
    assert IBAN not in text
    assert provider.report().moved == 1
    assert done(provider, "wallet", "balance")[0]["amount_details"]["amount"] == 99_990_000


def test_life_of_a_payment(done, run, shop):
    """A payment passes 3-D Secure, is captured and refunded in part; no table shows a secret."""
    due = payer_is_due(run, shop)
    assert f"pm_1: send the payer to {shop.url}/emulator/3ds/pm_1 (POST)" in due
    assert "visa *3220" in due
    shop.act("ps_1")
    held = run(shop, "session", "status", "ps_1").stdout
    assert "capture: smartglocal session capture" in held
    done(shop, "session", "capture", "ps_1", "--amount", "60", "--currency", "usd")
    after = done(shop, "session", "refund", "ps_1", "--amount", "10", "--currency", "usd")
    assert after["acquiring_payments"][0]["refunds"][0]["amount_details"]["amount"] == 1000
    whole = done(shop, "session", "status", "ps_1")
    token = whole["acquiring_payments"][0]["recurrent"]["token"]
    text = run(shop, "session", "status", "ps_1").stdout
    assert ["rf_1", "accepted", "10.00", "USD", "you"] in [x.split() for x in text.splitlines()]
    for secret in (PAN, token):
        assert secret not in due + held + text
    assert CODE.search(due + held + text) is None
    described = run(shop, "token", "info", "--recurrent-token", token).stdout
    ended = run(shop, "recurrent", "disable", token).stdout
    assert "yes" in described
    assert "no" in ended.split()
    assert token not in described + ended


def test_cancel(done, provider):
    """What is not confirmed yet can be cancelled."""
    done(provider, "session", "init-payout", *TO_CARD, *TO_ANN)
    done(provider, "session", "cancel", "ps_1")
    assert done(provider, "session", "wait", "ps_1", "--final")["status"] == "cancelled"
    assert provider.report().moved == 0


def test_chargeback_is_told(run, provider):
    """A refund that the payer's bank took says so."""
    assert "/emulator/3ds/pm_1 (POST)" in payer_is_due(run, provider)
    provider.act("ps_1")
    provider.chargeback("ps_1")
    assert "the payer's bank" in run(provider, "session", "status", "ps_1").stdout


def test_declined_payout_shows_its_code(run, provider):
    """A failed payout is shown with the provider's code."""
    amount = ("--amount", "666.01", "--currency", "usd", "--card-token", "hash")
    run(provider, "session", "init-payout", *amount, *TO_ANN)
    run(provider, "session", "confirm", "ps_1")
    text = run(provider, "session", "wait", "ps_1", "--final").stdout
    assert "failed" in text
    assert "account_not_found" in text


def test_waiting_that_takes_too_long_fails(run, provider):
    """A session that gets nowhere ends the wait with its code, and changes nothing."""
    run(provider, "session", "create")
    result = run(provider, "session", "wait", "ps_1", "--deadline", "1")
    assert result.exit_code == 1
    assert "ps_1 is still created" in result.stderr
    assert "waited for a final status, or a needed action" in result.stderr


def test_waiting_for_the_end_says_what_is_due(run, provider):
    """--final outlasts an action that is due; in the end it is named, ready to paste."""
    run(provider, "session", "init-payout", *TO_CARD, *TO_ANN)
    result = run(provider, "session", "wait", "ps_1", "--final", "--deadline", "2")
    assert result.exit_code == 1
    assert "waited for accepted or cancelled" in result.stderr
    assert "confirm: smartglocal session confirm ps_1 (money moves)" in result.stderr


def test_look_that_fails_is_told(run, run_provider):
    """A wait goes on when a look is lost, and says so in one line."""
    lost = Fault(FaultKind.AFTER, operation="session/status", nth=(1, 2))
    provider = run_provider(faults=FaultScript((lost,)))
    run(provider, "session", "create")
    result = run(provider, "session", "wait", "ps_1", "--deadline", "3")
    assert result.stderr.count("a status request failed; still waiting: ") == 1
    assert "ps_1 is still created" in result.stderr


def test_payment_by_a_token_of_an_earlier_one(done, provider):
    """--recurrent-token pays with the card of an earlier payment."""
    first = ("session", "init-payment", "--card-token", "hash4242424242424242")
    keep = ("--set-json", "payment_options.recurrent=true", "--customer", "user1", *HUNDRED)
    done(provider, *first, *keep)
    done(provider, "session", "confirm", "ps_1")
    paid = done(provider, "session", "status", "ps_1")
    token = paid["acquiring_payments"][0]["recurrent"]["token"]
    done(provider, "session", "create", *HUNDRED)
    again = ("session", "start-payment", "ps_2", "--recurrent-token", token, "--customer", "user1")
    done(provider, *again)
    done(provider, "session", "confirm", "ps_2")
    status = done(provider, "session", "status", "ps_2")
    assert status["acquiring_payments"][0]["status"] == "succeeded"


def test_token_of_a_widget_is_shown(done, run, provider):
    """The token is the result: it is printed whole, alone on its line."""
    done(provider, "session", "create", *HUNDRED)
    lines = run(provider, "token", "issue", "--acquiring", "ps_1").stdout.splitlines()
    assert len(lines[1]) == 64
    assert done(provider, "token", "issue", "--tokenize").keys() == {"public_token"}
    info = run(provider, "token", "info", "--public-token", lines[1]).stdout
    assert lines[1] not in info


def test_one_token_for_three_widgets(done, provider, monkeypatch):
    """One token for all that are given, from a client of either version."""
    monkeypatch.setenv("SMARTGLOCAL_SUBMERCHANT", "payer-7")
    url = "payment_options.return_url=dummy:/url"
    done(provider, "session", "create", *HUNDRED, "--set", url)
    for version in ("v1", "v2"):
        monkeypatch.setenv("SMARTGLOCAL_API_VERSION", version)
        widgets = ("--tokenize", "--acquiring", "ps_1", "--fps", "ps_1")
        assert len(done(provider, "token", "issue", *widgets)["public_token"]) == 64


def test_card_behind_a_token(run, provider):
    """A card's token is described by the card's traits."""
    text = run(provider, "token", "info", "--card-token", "hash4242424242424242").stdout
    assert "visa" in text
    assert "hash4242424242424242" not in text


def test_faster_payments(done, run, provider):
    """Banks are listed, and a phone is looked up."""
    assert "First Emulated Bank" in run(provider, "fps", "banks").stdout
    assert done(provider, "fps", "banks")[0]["id"] == "100000000069"
    done(provider, "session", "create")
    assert done(provider, *VERIFY)["payments"][0]["id"] == "po_1"
    assert done(provider, "session", "wait", "ps_1", "--final")["status"] == "accepted"


def test_any_call(done, run, provider):
    """`call` sends its body as it is, and shows a session where one comes back."""
    done(provider, "session", "create", "--metadata", "order123")
    asked = ("call", "session/status", "--set", "session_id=ps_1")
    assert done(provider, *asked)["session"]["metadata"] == "order123"
    assert "created" in run(provider, *asked, "--harmless").stdout
    time = "request_datetime=2024-04-10T19:53:00+03:00"
    text = run(provider, "call", "wallet/balance", "--set", time).stdout
    assert text.split() == ["wallets", "***", "(--json", "shows", "it)"]


def test_any_call_names_its_version_and_method(done, run, provider, monkeypatch):
    """A call that v2 lacks, by GET, whose good answer has no status."""
    monkeypatch.setenv("SMARTGLOCAL_API_VERSION", "v2")
    words = ("call", "exchange_rate", "--harmless", "--success-field", "rate")
    known = done(provider, *words, "--method", "GET", "--api-version", "v1")
    assert known["rate"]["destination_currency"] == "USD"
    for wrong in (("--method", "GET"), ("--api-version", "v1")):
        assert run(provider, *words, *wrong).exit_code == 1


def test_any_call_is_not_repeated_unless_harmless(run, run_provider):
    """Without --harmless a lost answer is not followed by a second call."""
    lost = FaultScript((Fault(FaultKind.AFTER, rate=1.0, times=1),))
    for flags, code, requests in (((), 3, 1), (("--harmless",), 0, 2)):
        provider = run_provider(faults=lost)
        assert run(provider, "call", "session/create", *flags).exit_code == code
        assert provider.report().requests == requests


def test_lost_confirm_is_not_repeated_blindly(done, run_provider):
    """A confirm whose answer is lost pays once: the session is asked first."""
    fault = Fault(FaultKind.AFTER, operation="session/confirm", nth=(1,))
    provider = run_provider(faults=FaultScript((fault,)))
    done(provider, "session", "init-payout", *TO_CARD, *TO_ANN)
    done(provider, "session", "confirm", "ps_1")
    assert provider.report().moved == 1


# Requests from options and files


def test_options_override_the_file(done, provider, tmp_path):
    """--amount, --set and --set-json change the fields of the file."""
    file = tmp_path / "request.json"
    wire = {
        "amount_details": {"amount": 1, "currency": "eur"},
        "customer": {"reference": "a", "contacts": [{"email": "a@b.example"}]},
        "metadata": {"order": 1, "shop": "x"},
    }
    # As some editors save it.
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(wire).encode())
    options = ("--set", "metadata.shop=eu", "--set-json", "metadata.lines[0]=[1, 2.5]")
    said = done(provider, "session", "create", "--file", str(file), *HUNDRED, *options)
    assert {**said["metadata"], "idempotency_key": ""} == {
        "order": 1,
        "shop": "eu",
        "lines": [[1, 2.5]],
        "idempotency_key": "",
    }


@pytest.mark.parametrize(
    ("assignments", "metadata"),
    [
        (("metadata.a.b=1", "metadata.a.c=x=y"), {"a": {"b": "1", "c": "x=y"}}),
        (("metadata.a[0].b=1", "metadata.a[0].c="), {"a": [{"b": "1", "c": ""}]}),
        (("metadata.a[1]=two", "metadata.a[0]=one"), None),
    ],
)
def test_paths_make_what_they_lead_through(run, provider, assignments, metadata):
    """Objects and lists on the way are made; a list has no gaps."""
    options = [part for assignment in assignments for part in ("--set", assignment)]
    result = run(provider, "session", "create", *options, "--json")
    if metadata is None:
        assert result.exit_code == 2
        assert "metadata.a[1]: the list has only 0 items before it" in result.stderr
    else:
        said = json.loads(result.stdout)["metadata"]
        assert {name: said[name] for name in metadata} == metadata


def test_order_of_the_options_is_free(done, provider):
    """A field inside an object that another option sets is set after it."""
    options = ("--set", "metadata.a=2", "--json-metadata", '{"a": 1, "b": 1}', "--key", "k")
    said = done(provider, "session", "create", *options)["metadata"]
    assert said == {"a": "2", "b": 1, "idempotency_key": "k"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("session", "init-payout", "--set-json", 'payout_details={"type": "card"}'),
            "its name in v1 is payment_method",
        ),
        (
            ("session", "init-payout", "--set-json", 'payment_method={"type": "bank_card"}'),
            (
                "--set-json: payment_method.type: bank_card is only valid inside a card: "
                '{"type": "card", '
            ),
        ),
        (("session", "init-payout"), "payment_method: is missing; set it in --file or with --set"),
        (("session", "init-payout", *TO_ANN, *HUNDRED), "payment_method: is missing; set it"),
        (("session", "start-payout"), "SESSION_ID: is missing"),
        (("session", "start-payout", ""), "SESSION_ID: is empty"),
        (("session", "confirm", ""), "SESSION_ID: is empty"),
        (("session", "create", "--set", "a"), "--set: expected PATH=VALUE"),
        (("session", "create", "--set", "=a"), "--set: expected a path before the ="),
        (("session", "create", "--set", "a..b=1"), "--set: expected a path before the ="),
        (("session", "create", "--set", "metadat=1"), "--set: metadat: is no field"),
        (("session", "create", "--set", "metadata=1", "--metadata", "2"), "given by --metadata"),
        (("session", "create", "--set", "metadata=1", "--set", "metadata=2"), "is given twice"),
        (("session", "create", "--set-json", "customer={"), "--set-json customer: isn't JSON"),
        (("session", "create", "--set", "customer=x"), "--set: customer: expected an object"),
        (
            ("session", "create", "--set", "metadata=a", "--set", "metadata.b=1"),
            "--set: metadata.b: isn't inside an object",
        ),
        (
            ("session", "create", "--set", "metadata.a=1", "--set", "metadata.a[0]=1"),
            "--set: metadata.a[0]: isn't inside a list",
        ),
        (("session", "create", "--amount", "5"), "--amount and --currency go together"),
        (
            ("session", "init-payment", "--card-token", "a", "--recurrent-token", "b"),
            "--recurrent-token: use it or --card-token",
        ),
        (("session", "capture", "ps_1", "--amount", "5"), "--amount and --currency go together"),
        (("session", "refund"), "SESSION_ID: is missing"),
        (("session", "confirm", "ps_1", "--key", ""), "--key: "),
        (("session", "wait", "ps_1", "--deadline", "0"), "--deadline: "),
        (("wallet", "balance", "--deadline", "0"), "--deadline: "),
        (("token", "issue"), "--tokenize: use at least one of --tokenize, --acquiring, --fps"),
        (("token", "issue", "--fps", "ps_1"), "set SMARTGLOCAL_SUBMERCHANT"),
        (("token", "info"), "use exactly one of --card-token, --public-token"),
        (
            ("token", "info", "--card-token", "a", "--public-token", "b"),
            "--public-token: use exactly one of",
        ),
        (("recurrent", "disable"), "recurrent: is missing"),
        (("fps", "verify-customer", "ps_1", "--phone", "7"), "--phone and --bank-id go together"),
        (("call", "../session"), "PATH: expected what follows api/v1/"),
        (("call", "x/y", "--api-version", "v3"), "--api-version: must be 'v1' or 'v2', got 'v3'"),
        (("call", "x/y", "--method", "PUT"), "--method: must be 'POST' or 'GET', got 'PUT'"),
        (("call", "x/y", "--success-field", ""), "--success-field: expected the name of a member"),
        (("call", "x/y", "--set-json", "a=NaN"), "--set-json: a: is not a finite number"),
    ],
)
def test_misuse_is_named_by_its_option(run, provider, arguments, words):
    """An invalid value is an error of one line that names the option; nothing is sent."""
    result = run(provider, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert provider.report().requests == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "--file: isn't JSON"),
        ("[1]", "--file: expected an object of names and values, got list"),
        ('{"a": NaN}', "--file: isn't JSON"),
        ("[" * 100_000, "--file: isn't JSON"),
        ('{"metadata": "x"', "--file: isn't JSON"),
        ("{}", "--file: payment_method: is missing"),
        ('{"payment_metod": {}}', "--file: payment_metod: is no field"),
        ('{"payment_method": 5}', "--file: payment_method: expected an object"),
        ('{"amount_details": {"amount": "1"}}', "--file: payment_method: is missing"),
    ],
)
def test_file_is_blamed_by_the_path_inside(run, provider, content, words):
    """An error in a file names the path in it, and shows no values."""
    result = run(provider, "session", "init-payout", "--file", "-", input=content)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert provider.report().requests == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"number": f"{PAN} "}, "--file: payment_details.card.bank_card.number: expected"),
        ({"expiration_month": 5}, "--file: payment_details.card.bank_card.expiration_month: "),
    ],
)
def test_card_in_a_file_is_never_quoted(run, provider, change, words):
    """An error in a card names its path; the digits are shown nowhere."""
    wire = json.loads(json.dumps(PAYMENT))
    wire["payment_details"]["card"]["bank_card"] |= change
    payment = ("session", "init-payment", "--file", "-", "--customer", "u", *HUNDRED)
    for flags in ((), ("--json",)):
        result = run(provider, *payment, *flags, input=json.dumps(wire))
        assert result.exit_code == 2
        assert words in result.stderr
        assert PAN not in result.output
        assert CODE.search(result.output) is None


def test_broken_rule_of_a_page_names_its_source(run, provider):
    """A broken rule of the provider's pages names the option, or the path in the file."""
    wire = json.loads(json.dumps(PAYOUT))
    wire["payment_method"]["bank_account"]["global"]["iban"] = "DE00370400440532013000"
    result = run(
        *(provider, "session", "init-payout", "--file", "-", *HUNDRED), input=json.dumps(wire)
    )
    assert result.exit_code == 2
    assert "--file: payment_method.bank_account.global.iban: " in result.stderr
    assert "DE0037" not in result.stderr


def test_file_that_is_not_there(run, provider):
    """A missing file is named."""
    result = run(provider, "session", "create", "--file", "/absent.json")
    assert result.exit_code == 2
    assert "/absent.json: No such file" in result.stderr


def test_bytes_that_are_no_text(run, provider, tmp_path):
    """A file in another encoding has another error than broken JSON."""
    file = tmp_path / "latin.json"
    file.write_bytes('{"metadata": "é"}'.encode("latin-1"))
    result = run(provider, "session", "create", "--file", str(file))
    assert result.exit_code == 2
    assert "it isn't UTF-8 text" in result.stderr


def test_key_travels_beside_metadata_of_a_file(done, run, provider, tmp_path):
    """--key finds the file's metadata, and is refused where it has no room there."""
    file = tmp_path / "request.json"
    file.write_text('{"metadata": {"order": 1}}', encoding="utf-8")
    create = ("session", "create", "--file", str(file), "--key", "k")
    assert done(provider, *create)["metadata"] == {"order": 1, "idempotency_key": "k"}
    file.write_text('{"metadata": {"idempotency_key": "other"}}', encoding="utf-8")
    assert "--key: differs from the idempotency_key in --file" in run(provider, *create).stderr


@pytest.mark.parametrize(
    "command",
    [("start-payout", "ps_1"), ("start-payment", "ps_1"), ("init-payout",), ("refund", "ps_1")],
)
@pytest.mark.parametrize("metadata", [("--metadata", "text"), ("--json-metadata", "[1]")])
def test_key_of_a_start_needs_room_too(run, provider, command, metadata):
    """A key that can't travel is refused: a lost call could not be recognised by it."""
    to_card = () if command[0] == "refund" else ("--card-token", "hash4242424242424242", *TO_ANN)
    call = ("session", *command, *to_card, *HUNDRED, *metadata)
    result = run(provider, *call, "--key", "po-1")
    assert result.exit_code == 2
    assert "smartglocal: --key: " in result.stderr
    assert provider.report().requests == 0


def test_text_metadata_may_stay_without_a_key(done, provider):
    """Text is the caller's own, where no key has to travel in it."""
    done(provider, "session", "create")
    done(provider, "session", "start-payout", "ps_1", *TO_CARD, *TO_ANN, "--metadata", "order123")
    assert done(provider, "session", "status", "ps_1")["payments"][0]["metadata"] == "order123"


def test_key_in_the_metadata_stays(done, provider):
    """A key that the metadata carries already is no second one."""
    carried = ("--json-metadata", '{"idempotency_key": "order-1"}')
    said = done(provider, "session", "create", *carried)
    assert said["metadata"] == {"idempotency_key": "order-1"}


SAMPLES = sorted((ROOT / "tests" / "samples").glob("*.json"))
PATHS = {row.path.replace("/", "-"): row for row in OPERATIONS if row.method == "POST"}


@pytest.mark.parametrize(
    "sample", [pytest.param(path, id=path.name) for path in SAMPLES if ".request." in path.name]
)
def test_every_sample_of_a_request_is_a_file(sample):
    """What the provider's pages show as a request can be given as --file, byte for byte."""
    if (operation := PATHS.get(sample.name.partition(".")[0])) is not None:
        version = "v2" if sample.name.endswith(".v2.json") else "v1"
        record = Draft.read(str(sample)).build(operation.request, version)
        assert isinstance(record, operation.request)


@pytest.mark.parametrize(
    "sample", [pytest.param(path, id=path.name) for path in SAMPLES if ".ok." in path.name]
)
def test_every_sample_of_a_session_is_readable(capsys, monkeypatch, sample):
    """What the pages show as an answer fits 80 columns, each item and its status in it."""
    monkeypatch.setenv("COLUMNS", "80")
    answer = json.loads(sample.read_bytes())
    if "session" not in answer:
        return
    session = codec("v1").structure(answer["session"], Session)
    show_session(session)
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines]
    items = [*session.payout_list, *session.payment_list]
    items += [refund for payment in session.payment_list for refund in payment.refunds]
    assert ["status", session.status] in rows
    for item in items:
        assert any(row[:2] == [item.id, item.status] for row in rows)
    links = ("send the payer", "show the payer")
    long = [line for line in lines if len(line) > 80]
    assert all(any(words in line for words in links) for line in long)


def test_page_shows_what_works(done, run, provider, tmp_path):
    """The commands of the documentation, with its files, make payouts and take payments."""
    page = (ROOT / "docs/reference/command-line.md").read_text(encoding="utf-8")
    files = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    parts = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    said = []
    for name, wire, commands in zip(("payout", "payment"), files, parts, strict=True):
        file = tmp_path / f"{name}.json"
        file.write_text(wire, encoding="utf-8")
        for line in commands.splitlines():
            words = line.replace("ps_3230", "ps_1").replace("ps_3231", "ps_2").split()
            words = [str(file) if word == file.name else word for word in words]
            last = done(provider, *words[1:])
        said.append(last)
    assert said[0]["status"] == "accepted"
    assert provider.order("payout-7").moved == 1
    shown = run(provider, "session", "status", "ps_2").stdout
    assert "the payer has to act" in shown
    assert f"send the payer to {provider.url}/emulator/3ds/pm_2 (POST)" in shown


# Versions


def test_second_version_has_its_own_names(done, run, provider, monkeypatch):
    """With v2 a file and paths have its names; what exists in v1 alone is called there."""
    monkeypatch.setenv("SMARTGLOCAL_API_VERSION", "v2")
    done(provider, "session", "init-payout", *TO_CARD, *TO_ANN)
    wire = {"payout_details": PAYOUT["payment_method"], **PAYOUT}
    del wire["payment_method"]
    init = ("session", "init-payout", "--file", "-", *HUNDRED)
    said = done(provider, *init, input=json.dumps(wire))
    # Written as v1 does, whatever was asked with.
    assert said["payments"][0]["payment_method"]["type"] == "bank_account"
    result = run(provider, *init, input=json.dumps(PAYOUT))
    assert "--file: payment_method: is no field" in result.stderr
    assert "its name in v2 is payout_details" in result.stderr
    assert [one["amount_details"]["currency"] for one in done(provider, "wallet", "balance")]
    monkeypatch.setenv("SMARTGLOCAL_API_VERSION", "v3")
    result = run(provider, "session", "init-payout", *TO_CARD)
    assert result.exit_code == 2
    assert result.stderr.startswith("smartglocal: SMARTGLOCAL_API_VERSION: ")


# Answers


def session_of(**fields: object) -> Session:
    """Return a session as the provider may answer it."""
    return codec("v1").structure({"id": "ps_1", "status": "in_progress", **fields}, Session)


def instrument(**fields: object) -> dict[str, object]:
    """Return the payouts of a session whose one payout has this instrument."""
    return {"payments": [{"id": "po_1", "status": "pending", "payment_method": fields}]}


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        ({"type": "card", "card": {"last4": "4242", "brand": "visa"}}, "visa *4242"),
        ({"type": "card", "card": {"last4": "4242"}}, "card *4242"),
        (
            {"type": "card", "card": {"type": "bank_card", "bank_card": {"number": PAN}}},
            "card *3220",
        ),
        (
            {
                "type": "card",
                "card": {"type": "encrypted_card", "encrypted_card": {"number_hash": "abcd" * 8}},
            },
            "card, by its token",
        ),
        ({"type": "recurrent", "recurrent": {"token": "abcd" * 8}}, "card, by a recurring token"),
        (
            {
                "type": "bank_account",
                "bank_account": {
                    "system_type": "ru",
                    "ru": {"bik": "044525225", "account": "40817810000000001234"},
                },
            },
            "account *1234, BIK 044525225",
        ),
        (
            {
                "type": "bank_account",
                "bank_account": {
                    "system_type": "faster_payment_system",
                    "faster_payment_system": {"phone": "79990000001", "bank_id": "1"},
                },
            },
            "phone *0001, bank 1",
        ),
        (
            {
                "type": "wallet",
                "wallet": {"type": "global", "global": {"name": "GCash", "msisdn": "1234567"}},
            },
            "GCash wallet",
        ),
        ({"type": "crypto_wallet", "crypto_wallet": {"ton": "secret"}}, "crypto wallet"),
    ],
)
def test_instruments_are_told_in_words(capsys, monkeypatch, wire, words):
    """An instrument shows its kind and the tail of its number, and no more."""
    monkeypatch.setenv("COLUMNS", "80")
    show_session(session_of(**instrument(**wire)))
    text = capsys.readouterr().out
    assert words in text
    for secret in (PAN, "abcd", "40817810", "7999", "1234567", "secret"):
        assert secret not in text


def test_amounts_stand_in_major_units(capsys):
    """Each currency has its own decimals; an unknown one is shown in minor units."""
    amounts = (Amount(100, "jpy"), Amount(-1234, "kwd"), Amount(0, "usd"), Amount(7, "xyz"))
    show_wallets(tuple(Wallet(id="w", amount_details=amount) for amount in amounts))
    text = capsys.readouterr().out
    for words in ("100 JPY", "-1.234 KWD", "0.00 USD", "7 minor units of XYZ"):
        assert words in text


def test_nothing_is_said_in_words(capsys):
    """An empty list is a line, and no table without rows."""
    show_wallets(())
    show_banks(())
    show_fields({})
    assert capsys.readouterr().out == "no wallets\nno banks\nok, with no other fields\n"


def test_answer_without_a_shape_shows_what_is_no_secret(capsys):
    """Of an unknown answer, booleans and numbers are shown, and texts are not."""
    show_fields({"is_active": True, "count": 2, "none": None, "token": "secret"})
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert rows[:3] == [["is_active", "true"], ["count", "2"], ["none", "null"]]
    assert "secret" not in rows[3]


def test_session_beside_something_else(capsys):
    """`call` shows a session as a session, and the other parts of the answer as fields."""
    shown = {"session": {"id": "ps_1", "status": "created"}, "count": 2}
    show_any(shown)
    text = capsys.readouterr().out
    assert ["session", "ps_1"] in [line.split() for line in text.splitlines()]
    assert ["count", "2"] in [line.split() for line in text.splitlines()]


def test_strange_answers_stay_readable(capsys):
    """New words, unknown fields and errors are shown; secrets and escape codes are not."""
    payment = {
        "id": "pm_1",
        "status": "pending",
        "customer_interaction": {"type": "dance", "dance": {"step": "secret"}},
        "refunds": [{"id": "rf_1", "status": "declined", "error": {"code": "no_funds"}}],
    }
    session = session_of(
        status="error",
        next_action="dance",
        error={"code": "provider_timeout", "description": "too \x1b[2J late"},
        splits=["secret"],
        acquiring_payments=[payment],
    )
    show_session(session)
    text = capsys.readouterr().out
    for words in (
        "dance",
        "provider_timeout: too \\x1b[2J late",
        "splits (--json shows them)",
        "pm_1: the payer has to act (dance); --json shows the details",
        "no_funds",
        "don't pay again",
    ):
        assert words in text
    for secret in ("secret", "\x1b"):
        assert secret not in text


def test_redirect_without_a_form(capsys):
    """A plain redirect names its address and its method."""
    redirect = {"type": "redirect", "redirect": {"url": "https://bank.example/\x1bpay"}}
    item = {"id": "pm_1", "status": "pending", "customer_interaction": redirect}
    show_session(session_of(acquiring_payments=[item]))
    assert "send the payer to https://bank.example/\\x1bpay (GET)\n" in capsys.readouterr().out


def test_the_link_of_a_qr_code(capsys):
    """A payment by QR code shows the link that the code holds, which a phone opens."""
    inform = {
        "type": "inform",
        "inform": {"qr": {"content": "https://qr.example/\x1b1", "img": "x"}},
    }
    item = {"id": "pm_1", "status": "pending", "customer_interaction": inform}
    show_session(session_of(acquiring_payments=[item]))
    text = capsys.readouterr().out
    assert "pm_1: show the payer this link as a QR code" in text
    assert ": https://qr.example/\\x1b1\n" in text


def test_what_a_converted_session_costs(capsys):
    """A converted session shows both amounts, and until when the rate holds."""
    exchange = {
        "source": {"amount": 500, "currency": "eur"},
        "destination": {"amount": 540, "currency": "usd"},
        "rate": 1.080001,
    }
    until = exchange | {"reserved_to": 1_750_000_000}
    show_session(session_of(exchange_amounts=[until]))
    show_session(session_of(exchange_amounts=[exchange]))
    text = " ".join(capsys.readouterr().out.split())  # A narrow terminal wraps the lines.
    words = "converted the payer pays 5.40 USD for 5.00 EUR"
    assert text.count(words) == 2
    assert text.count(f"{words}, until 2025-06-15 15:06:40 UTC") == 1


def test_banks_without_names(capsys):
    """A bank shows what is known of it."""
    show_banks((Bank(id="1"),))
    assert ["1"] in [line.split() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    "arguments", [("wallet", "balance"), ("fps", "banks"), ("session", "confirm", "ps_404")]
)
def test_refusals_are_told_as_json(run, provider, arguments):
    """Each command tells a failure as JSON, with the exit code of its kind."""
    provider_of_another = ("SMARTGLOCAL_PROJECT", "other")
    result = run(provider, *arguments, "--json", env=dict([provider_of_another]))
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["outcome"] == "refused"


def test_a_partner_that_nobody_knows(run, run_provider, monkeypatch):
    """The variables to look at are named, in words and in JSON."""
    provider = run_provider()
    monkeypatch.setenv("SMARTGLOCAL_PROJECT", "another")
    told = run(provider, "wallet", "balance", "--json")
    assert told.exit_code == 1
    check = "check SMARTGLOCAL_PROJECT, and that it belongs to this server"
    assert check in told.stderr
    assert check in json.loads(told.stdout)["error"]["message"]


def test_the_rate_of_top_ups(run, provider) -> None:
    """The rate is shown with its currencies, and is an object in JSON."""
    shown = run(provider, "exchange-rate", "get").stdout
    rate = json.loads(run(provider, "exchange-rate", "get", "--json").stdout)
    assert f"is {rate['rate']} " in shown
    assert " UTC" in shown


def test_a_push_needs_a_phone(run, provider) -> None:
    """The error names the field, before anything is sent."""
    refused = run(provider, "sberpay", "push", "ps_1")
    assert refused.exit_code == 2
    assert "phone" in refused.stderr
    assert provider.report().requests == 0
