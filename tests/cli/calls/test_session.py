"""One call from the command line: what is shown, and which exit code a failure gets."""

import json
import socket

import pytest
from typer.testing import CliRunner

from smartglocal_async import emulator
from smartglocal_async.cli.app import app
from smartglocal_async.emulator import Fault, FaultKind, FaultScript

ORDER = ("--amount", "100.00", "--currency", "usd", "--metadata", "order123")


@pytest.fixture
def run(key, tmp_path, monkeypatch):
    """Return a function that runs `session` with the credentials of an emulator's partner."""
    path = tmp_path / "shop.pem"
    path.write_bytes(key.pem())

    def call(server: str, *arguments: str, project: str = "demo"):
        monkeypatch.setenv("SMARTGLOCAL_PROJECT", project)
        monkeypatch.setenv("SMARTGLOCAL_PRIVATE_KEY", str(path))
        monkeypatch.setenv("SMARTGLOCAL_SERVER", server)
        return CliRunner().invoke(app, ("session", *arguments), catch_exceptions=False)

    return call


def closed_port() -> str:
    """Return an address of this machine where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_json_is_the_wire_form_of_the_answer(run, provider):
    """With --json, standard output is the session as the provider wrote it."""
    result = run(provider.url, "create", *ORDER, "--json")
    said = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (said["id"], said["status"], said["metadata"]) == ("ps_1", "created", "order123")
    assert said["created_at"].endswith("Z")
    assert provider.order('"order123"').made == 1


def test_table_names_the_session(run, provider):
    """Without --json, the fields are lines of a small table."""
    text = run(provider.url, "create", *ORDER).stdout
    for word in ("ps_1", "created", "order123"):
        assert word in text


def test_key_travels_in_an_object(run, provider):
    """--key makes the call repeatable: the second one gets the same session."""
    order = ("create", "--json-metadata", '{"order": 1}', "--key", "order-1", "--json")
    first, second = (json.loads(run(provider.url, *order).stdout) for _ in range(2))
    assert first == second
    assert first["metadata"] == {"order": 1, "idempotency_key": "order-1"}
    assert provider.report().sessions == 1


def test_status_shows_a_session(run, provider):
    """`session status` shows what `session create` showed."""
    made = json.loads(run(provider.url, "create", *ORDER, "--json").stdout)
    assert json.loads(run(provider.url, "status", "ps_1", "--json").stdout) == made


@pytest.mark.parametrize(
    ("kind", "exit_code", "outcome"),
    [
        (FaultKind.AFTER, 3, "unknown"),
        (FaultKind.GARBAGE, 3, "unknown"),
        (FaultKind.REDIRECT, 1, "refused"),
    ],
)
def test_failures_have_their_exit_codes(run, run_provider, kind, exit_code, outcome):
    """Each outcome has its code; JSON tells it on standard output, a line on standard error."""
    faults = FaultScript((Fault(kind, rate=1.0),))
    result = run(run_provider(faults=faults).url, "create", *ORDER, "--json")
    said = json.loads(result.stdout)["error"]
    assert result.exit_code == exit_code
    assert (said["outcome"], said["operation"]) == (outcome, "session/create")
    assert result.stderr.startswith("smartglocal: session/create: ")
    assert result.stderr.count("\n") == 1


def test_not_sent_has_a_code_of_its_own(run):
    """Without a connection nothing was sent, and the exit code means: it may be repeated."""
    result = run(closed_port(), "create", *ORDER)
    assert result.exit_code == 4
    assert "not sent" in result.stderr
    assert result.stdout == ""


def test_refusal_names_the_code_of_the_provider(run, provider):
    """A refusal shows the provider's code and words."""
    result = run(provider.url, "status", "ps_404", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == "session_not_found"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--amount", "100.00"), "--amount and --currency go together"),
        (("--amount", "1.005", "--currency", "usd"), "--amount: usd has 2 decimals"),
        (("--amount", "ten", "--currency", "usd"), "--amount: expected a number"),
        (("--amount", "0", "--currency", "usd"), "--amount: must be greater than zero"),
        (("--amount", "1", "--currency", "dollars"), "--currency: expected an ISO 4217"),
        (("--metadata", "a", "--json-metadata", "{}"), "not both"),
        (("--json-metadata", "{"), "isn't JSON"),
        (("--json-metadata", "[" * 100_000), "isn't JSON"),
        (("--json-metadata", "NaN"), "--json-metadata: "),
        (("--json-metadata", '{"a": [NaN]}'), "--json-metadata: metadata.a[0]: "),
        (("--metadata", "\udcff"), "--metadata: "),
        (("--deadline", "0"), "--deadline: "),
        (("--key", ""), "--key: "),
    ],
)
def test_misuse_sends_nothing(run, provider, arguments, words):
    """A wrong argument is named in one line, with exit code 2, before anything is sent."""
    result = run(provider.url, "create", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert provider.report().requests == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--metadata", "order123"), ("--metadata", "--json-metadata '{")),
        (("--json-metadata", '"order123"'), ("a JSON object", "--json-metadata '{")),
        (("--json-metadata", "[1]"), ("a JSON object", "--json-metadata '{")),
        (
            ("--json-metadata", '{"idempotency_key": "other"}'),
            ("differs from the idempotency_key",),
        ),
    ],
)
def test_key_that_cannot_travel_is_refused(run, provider, arguments, words):
    """A key without room in the metadata would protect nothing: both options are named."""
    result = run(provider.url, "create", "--key", "order-1", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("smartglocal: --key: ")
    assert all(word in result.stderr for word in words)
    assert provider.report().requests == 0


@pytest.mark.parametrize("metadata", ['{"idempotency_key": "order-1"}', "null"])
def test_key_with_room_travels(run, provider, metadata):
    """An object that has the key already, and JSON's null, leave it room."""
    result = run(provider.url, "create", "--key", "order-1", "--json-metadata", metadata)
    assert result.exit_code == 0
    assert provider.order("order-1").made == 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SERVER", "nowhere"),
        ("API_VERSION", "v3"),
        ("PROJECT", "é"),
        ("SUBMERCHANT", "é"),
        ("PRIVATE_KEY", "/absent.pem"),
        ("PRIVATE_KEY_PASSPHRASE", "superfluous"),
    ],
)
def test_credential_is_named_by_its_variable(run, provider, monkeypatch, variable, value):
    """What the environment holds is complained of under the variable's name."""
    for name in ("PRIVATE_KEY_PASSPHRASE", "SUBMERCHANT", "API_VERSION"):
        monkeypatch.delenv(f"SMARTGLOCAL_{name}", raising=False)
    assert run(provider.url, "create").exit_code == 0
    monkeypatch.setenv(f"SMARTGLOCAL_{variable}", value)
    result = CliRunner().invoke(app, ("session", "create"), catch_exceptions=False)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"smartglocal: SMARTGLOCAL_{variable}: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("server", ["localhost:8080", "http://10.255.255.1"])
def test_server_is_told_without_python(run, server):
    """The error of a wrong address names what can be written in its place."""
    result = run(server, "status", "ps_1")
    assert result.exit_code == 2
    assert "https://" in result.stderr
    assert "sg." not in result.stderr
    assert "Settings" not in result.stderr


def test_missing_environment_is_named(monkeypatch):
    """Without credentials the command names all the variables it needs."""
    for name in ("PROJECT", "PRIVATE_KEY", "SERVER"):
        monkeypatch.delenv(f"SMARTGLOCAL_{name}", raising=False)
    result = CliRunner().invoke(app, ("session", "status", "ps_1"))
    assert result.exit_code == 2
    for name in ("PROJECT", "PRIVATE_KEY", "SERVER"):
        assert f"SMARTGLOCAL_{name}" in result.stderr


def test_foreign_escape_codes_stay_text(run, provider):
    """Metadata with escape codes, echoed by the provider, doesn't reach the terminal raw."""
    text = run(provider.url, "create", "--metadata", "\x1b[2Jgone").stdout
    assert "\x1b" not in text
    assert "gone" in text


def test_emulator_module_is_not_shadowed():
    """The command's module and the provider in a box share a name, and are two things."""
    assert hasattr(emulator, "run_in_thread")
