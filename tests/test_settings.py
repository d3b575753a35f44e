"""Credentials and settings: what is refused, the messages, and the environment variables."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Final

import attrs
import pytest

import smartglocal_async as sg
from smartglocal_async.settings import Environment, Given, from_environment, read_credentials

KEYGEN: Final = "make a pair with: smartglocal keygen"
SERVER_RULE: Final = f"server must be an address like https://host, such as {sg.DEMO}"


def read(key, **changed):
    """Read credentials that are valid except for these changes."""
    arguments = {
        "project": "demo",
        "private_key": key,
        "server": sg.DEMO,
        "passphrase": None,
        "submerchant": None,
        "api_version": "v1",
    }
    allow_plain_http = changed.pop("allow_plain_http", False)
    given = Given(**{**arguments, **changed})
    return read_credentials(given, allow_plain_http=allow_plain_http)


def refused(key, **changed) -> str:
    """Return the message of a refusal."""
    error = read(key, **changed)
    assert type(error) is sg.InvalidCredentials
    assert error.__traceback__ is None
    return str(error)


@pytest.fixture(scope="module")
def pem_file(key, tmp_path_factory) -> Path:
    """Return a file with the private key."""
    path = tmp_path_factory.mktemp("keys") / "private.pem"
    path.write_bytes(key.pem())
    return path


@pytest.mark.parametrize("as_source", [Path, str, Path.read_bytes])
def test_where_a_key_may_come_from(key, pem_file, as_source) -> None:
    """A path, its text, or PEM as bytes."""
    credentials = read(as_source(pem_file))
    assert credentials.key.sign(b"body") == key.sign(b"body")


@pytest.mark.parametrize("passphrase", ["p\u00e4ss", "p\u00e4ss".encode()])
def test_a_passphrase_is_text_or_bytes(key, tmp_path, passphrase) -> None:
    """Text is encoded as UTF-8."""
    path = tmp_path / "private.pem"
    path.write_bytes(key.pem("p\u00e4ss".encode()))
    assert read(path, passphrase=passphrase).key.sign(b"") == key.sign(b"")


class Hsm:
    """A signer that isn't a file."""

    async def sign(self, body: bytes) -> str:
        """Return a constant signature."""
        return body.hex()


def test_a_key_or_a_signer_is_taken_as_it_is(key) -> None:
    """Anything with a `sign` method."""
    hsm = Hsm()
    assert read(key).key is key
    assert read(hsm).key is hsm


@pytest.mark.parametrize("source", [None, 7, object(), ["private.pem"], bytearray(b"-----BEGIN")])
def test_invalid_keys(source) -> None:
    """The error lists the possible forms."""
    assert refused(source) == (
        "private_key must be a path, PEM bytes, or an object with `async def sign(body)`; "
        f"got {type(source).__name__}"
    )


def test_a_file_that_is_not_there(tmp_path) -> None:
    """The error has the path, the reason, and how to make a key."""
    path = tmp_path / "private.pem"
    assert (
        refused(path)
        == f"the private key {path} can't be read: No such file or directory; {KEYGEN}"
    )
    assert refused(tmp_path).startswith(f"the private key {tmp_path} can't be read: Is a directory")


def test_a_key_given_as_text_is_not_quoted(key) -> None:
    """The error would show it as the name of a file."""
    assert refused(key.pem().decode()) == (
        "the private key was given as text; give a path, or PEM as bytes"
    )


@pytest.mark.parametrize("name", ["project", "submerchant"])
@pytest.mark.parametrize(
    "value", ["", "a\nb", "a\r\nX-EVIL: 1", "pr\u00f6ject", "a\x00", 7, b"demo"]
)
def test_header_texts(key, name, value) -> None:
    """Header values are printable ASCII, and not empty."""
    assert refused(key, **{name: value}) == (
        f"{name} must be printable ASCII text, as the manager gave it"
    )


@pytest.mark.parametrize("name", ["project", "submerchant"])
@pytest.mark.parametrize(
    "value", ["demo ", " demo", "demo\n", "\tdemo", "demo\u00a0", "demo\r\n", " "]
)
def test_spaces_around_a_name(key, name, value) -> None:
    """The provider would read another name in the header than the journal has."""
    assert refused(key, **{name: value}).startswith(
        f"{name} begins or ends with a space or a line break: remove it."
    )


@pytest.mark.parametrize("name", ["project", "submerchant"])
@pytest.mark.parametrize("value", ["'demo'", '"demo"', '""'])
def test_quotes_around_a_name(key, name, value) -> None:
    """They come from a file of variables that no shell has read."""
    assert "is in quotes, which are part of its value" in refused(key, **{name: value})
    assert read(key, **{name: "d'e\"mo'"})


@pytest.mark.parametrize(
    "server",
    ["https://host/ ", "https://host ", " https://host", "https://host/\n", "https://host//"],
)
def test_spellings_of_a_server(key, server) -> None:
    """One server has one address, to which a journal belongs."""
    assert str(read(key, server=server).server) == "https://host"


@pytest.mark.parametrize(
    "server",
    [
        "https://host//a",
        "https://host/a b",
        "https://host/\u200b",
        "https://host/\x7f",
        "https://h /",
    ],
)
def test_addresses_that_may_lead_to_another_ones_place(key, server) -> None:
    """A gateway may drop what differs, and the journal would be another one."""
    assert refused(key, server=server) == SERVER_RULE


def test_a_project_is_needed_and_a_submerchant_is_not(key) -> None:
    """A project is required, a submerchant is optional."""
    assert refused(key, project=None).startswith("project must be")
    assert read(key).submerchant is None
    assert read(key, submerchant="legal entity").submerchant == "legal entity"


@pytest.mark.parametrize("version", ["v3", "1", "", None, 1, "V1", ["v1"]])
def test_versions(key, version) -> None:
    """Two versions are known; the error names both and the value."""
    assert refused(key, api_version=version) == (
        f"api_version must be 'v1' or 'v2', got {version!r}"
    )


@pytest.mark.parametrize(
    "server",
    [
        "",
        "demo.smart-glocal.com",
        "ftp://host",
        "https://",
        "https:///path",
        "https://host?query=1",
        "https://host#fragment",
        "https://user@host",
        "https://user:secret@host",
        "https://:secret@host",
        "https://host:notaport",
        "https://[::1",
        None,
        7,
        b"https://host",
    ],
)
def test_invalid_servers(key, server) -> None:
    """An address has a scheme and a host, and no query and no credentials."""
    assert refused(key, server=server) == SERVER_RULE


@pytest.mark.parametrize(
    ("server", "url"),
    [
        (sg.DEMO, "https://demo.smart-glocal.com/api/v1/session/create"),
        (sg.LIVE, "https://proxy.smart-glocal.com/api/v1/session/create"),
        ("https://host/", "https://host/api/v1/session/create"),
        ("HTTPS://Host:443//", "https://host/api/v1/session/create"),
        ("http://LOCALHOST:80/", "http://localhost/api/v1/session/create"),
        ("https://host/Gate/", "https://host/Gate/api/v1/session/create"),
        ("https://host:8443/gate", "https://host:8443/gate/api/v1/session/create"),
        ("http://localhost:8080", "http://localhost:8080/api/v1/session/create"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1/api/v1/session/create"),
        ("http://[::1]:1", "http://[::1]:1/api/v1/session/create"),
    ],
)
def test_addresses_of_calls(key, server, url) -> None:
    """The version is between the server and the method."""
    assert str(read(key, server=server).url("session/create")) == url
    assert str(read(key, server=server, api_version="v2").url("session/create")) == url.replace(
        "v1", "v2"
    )


@pytest.mark.parametrize("server", ["http://demo.smart-glocal.com", "http://10.0.0.1:8080"])
def test_no_plain_http_to_other_machines(key, server) -> None:
    """Unless it is allowed, inside a trusted network."""
    words = refused(key, server=server)
    assert "would be reached without TLS; use https://. Plain HTTP is for this machine" in words
    assert "inside a network you trust, allow_plain_http of the client allows it" in words
    assert str(read(key, server=server, allow_plain_http=True).server).startswith(server)


def test_a_client_raises_what_was_refused(key) -> None:
    """The traceback has no frame with the key."""
    with pytest.raises(sg.InvalidCredentials, match="project must be"):
        sg.SmartGlocal("", key, sg.DEMO)


def test_credentials_show_no_key(key) -> None:
    """Neither do clients."""
    assert repr(read(key).key) == "PrivateKey()"
    assert repr(sg.SmartGlocal("demo", key, sg.DEMO)) == (
        "SmartGlocal('demo', server='https://demo.smart-glocal.com')"
    )


# The environment.

NEEDED: Final = {
    "SMARTGLOCAL_PROJECT": "demo",
    "SMARTGLOCAL_PRIVATE_KEY": "/keys/private.pem",
    "SMARTGLOCAL_SERVER": sg.DEMO,
}


@pytest.mark.parametrize(
    ("more", "fields"),
    [
        ({}, {}),
        ({"SMARTGLOCAL_PRIVATE_KEY_PASSPHRASE": "open sesame"}, {"passphrase": "open sesame"}),
        ({"SMARTGLOCAL_SUBMERCHANT": "s"}, {"submerchant": "s"}),
        ({"SMARTGLOCAL_API_VERSION": "v2"}, {"api_version": "v2"}),
        ({"SMARTGLOCAL_API_VERSION": "", "SMARTGLOCAL_SUBMERCHANT": ""}, {}),
        ({"OTHER": "x"}, {}),
    ],
)
def test_what_the_environment_holds(more, fields) -> None:
    """Three variables are required; an empty one counts as missing."""
    expected = Environment(
        project="demo", private_key=Path("/keys/private.pem"), server=sg.DEMO, **fields
    )
    assert from_environment({**NEEDED, **more}) == expected


@pytest.mark.parametrize(
    ("missing", "text"),
    [
        (["PROJECT"], "set SMARTGLOCAL_PROJECT in the environment"),
        (
            ["PROJECT", "SERVER"],
            "set SMARTGLOCAL_PROJECT, SMARTGLOCAL_SERVER in the environment",
        ),
        (
            ["PROJECT", "PRIVATE_KEY", "SERVER"],
            (
                "set SMARTGLOCAL_PROJECT, SMARTGLOCAL_PRIVATE_KEY, SMARTGLOCAL_SERVER "
                "in the environment"
            ),
        ),
    ],
)
@pytest.mark.parametrize("value", [None, ""])
def test_what_the_environment_lacks(missing, text, value) -> None:
    """All missing variables are in one error."""
    held = {**NEEDED, **{f"SMARTGLOCAL_{name}": value for name in missing}}
    held = {name: text for name, text in held.items() if text is not None}
    with pytest.raises(sg.InvalidCredentials) as caught:
        from_environment(held)
    assert str(caught.value) == text


def test_the_environment_shows_no_passphrase() -> None:
    """Its repr shows that there is one, and nothing else."""
    found = from_environment({**NEEDED, "SMARTGLOCAL_PRIVATE_KEY_PASSPHRASE": "open sesame"})
    assert "passphrase=***" in repr(found)
    assert "sesame" not in repr(found)


def test_a_client_from_the_environment(monkeypatch, pem_file) -> None:
    """From the current environment of the process."""
    for name, value in {**NEEDED, "SMARTGLOCAL_PRIVATE_KEY": str(pem_file)}.items():
        monkeypatch.setenv(name, value)
    assert repr(sg.SmartGlocal.from_env()) == (
        "SmartGlocal('demo', server='https://demo.smart-glocal.com')"
    )

    monkeypatch.delenv("SMARTGLOCAL_SERVER")
    with pytest.raises(sg.InvalidCredentials, match="set SMARTGLOCAL_SERVER in the environment"):
        sg.SmartGlocal.from_env()


# Settings.


def test_the_defaults_are_the_documented_ones() -> None:
    """Defaults are compared with the documentation, because a change affects every user."""
    settings = attrs.asdict(sg.Settings(), recurse=False)
    assert {name: settings[name] for name in settings if name not in {"retry", "timing"}} == {
        "observers": (),
        "key_field": "idempotency_key",
        "metadata_is_key": False,
        "idempotency_header": sg.HeaderUse.MONEY,
        "rules": sg.RuleUse.REFUSE,
        "refusal_codes": frozenset(),
        "bodiless": b"[]",
        "http_methods": {},
        "amount_limits": {},
        "remembered_keys": 10_000,
        "max_request_bytes": 1_000_000,
        "max_response_bytes": 4_000_000,
        "allow_plain_http": False,
    }
    assert settings["retry"] == sg.RetryPolicy()


def test_the_default_policy() -> None:
    """The same for the numbers of the retry policy."""
    assert attrs.asdict(sg.RetryPolicy()) == {
        "attempts": 3,
        "initial_delay_seconds": 0.05,
        "max_delay_seconds": 20.0,
        "throttled_initial_delay_seconds": 1.0,
        "max_retry_after_seconds": 60.0,
        "deadline_seconds": 30.0,
        "attempt_timeout_seconds": 15.0,
        "budget_tokens": 500,
        "budget_cost": 14,
    }


def test_settings_are_frozen_and_named() -> None:
    """All arguments are by name, and can't be changed later."""
    with pytest.raises(TypeError):
        sg.Settings(sg.RetryPolicy())
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        sg.Settings().key_field = "x"


@pytest.mark.parametrize(
    "settings",
    [
        sg.Settings(),
        sg.Settings(retry=sg.RetryPolicy(attempts=7), rules=sg.RuleUse.WARN, key_field="order"),
        sg.RetryPolicy(),
        sg.Timing(),
    ],
)
def test_settings_can_be_pickled(settings) -> None:
    """For a pool of processes."""
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - our own


def test_pickled_settings_have_their_own_random_values() -> None:
    """Two processes with the same settings have different random waits."""
    code = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read()).timing.random())"
    thrown = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=pickle.dumps(sg.Settings()),
            capture_output=True,
            check=True,
        ).stdout
        for _ in range(3)
    }
    assert len(thrown) == 3


@pytest.mark.parametrize(
    ("observers", "problem"),
    [
        (print, "expected a list; write observers=[observer]"),
        ("print", "expected a list of functions, or of objects that can be called"),
        ([print, 7], "expected a list of functions, or of objects that can be called"),
    ],
)
def test_observers_that_cant_be_called(observers, problem) -> None:
    """The error shows how to pass one."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.Settings(observers=observers)
    assert caught.value.field == "Settings.observers"
    assert caught.value.problem == problem


def test_observers() -> None:
    """A list is kept as a tuple."""
    assert sg.Settings(observers=[print]).observers == (print,)


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ("eur", "Settings.amount_limits"),
        ({"eu": (1, 2)}, "Settings.amount_limits"),
        ({"xau": (1, 2)}, "Settings.amount_limits"),
        ({7: (1, 2)}, "Settings.amount_limits"),
        ({"eur": 7}, "Settings.amount_limits.eur"),
        ({"eur": (1,)}, "Settings.amount_limits.eur"),
        ({"eur": (2, 1)}, "Settings.amount_limits.eur"),
        ({"eur": (0, 1)}, "Settings.amount_limits.eur"),
        ({"eur": (True, 2)}, "Settings.amount_limits.eur"),
        ({"eur": ("10.00", "1000.00")}, "Settings.amount_limits.eur"),
    ],
)
def test_limits_are_two_amounts_for_each_currency(limits, field) -> None:
    """The least and the largest, in minor units."""
    with pytest.raises(sg.InvalidRequest) as caught:
        sg.Settings(amount_limits=limits)
    assert caught.value.field == field


def test_limits_of_a_currency_in_any_case() -> None:
    """Kept in small letters, as amounts have them."""
    limits = {"EUR": [1_000, 100_000], "jpy": (1, 1)}
    assert sg.Settings(amount_limits=limits).amount_limits == {  # type: ignore[arg-type]
        "eur": (1_000, 100_000),
        "jpy": (1, 1),
    }


@pytest.mark.parametrize("methods", [{"": "GET"}, {"sberpay/push": "PUT"}, ["sberpay/push"]])
def test_http_methods_are_paths_with_a_method(methods) -> None:
    """Anything else is refused when the settings are made."""
    with pytest.raises(sg.InvalidRequest, match=r"^Settings.http_methods: expected"):
        sg.Settings(http_methods=methods)
