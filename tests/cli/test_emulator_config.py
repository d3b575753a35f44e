"""What the emulator serves: options over a TOML file; keys that stay; the client's environment."""

import contextlib
import json
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from places import ROOT
from typer.testing import CliRunner

import smartglocal_async as sg
from smartglocal_async.cli.app import EmulatorOptions, app
from smartglocal_async.cli.emulator_config import KEYS, EmulatorPlan, keys_table, read_plan
from smartglocal_async.emulator import (
    Capture,
    Confirmation,
    Duplicates,
    FaultKind,
    Rules,
    ShownAmounts,
    WebhookScript,
)

EVERY_RULE = """
duplicates = "refuse"
metadata_is_key = true
error_http_status = 422
usd_for_rub = 0.011
key_field = "order"
idempotency_header = "refuse"
key_scope = "project"
confirmation = "automatic"
confirm_minutes = 1
payout_fields = "ignore"
confirm_timeout = "cancelled"
session_timeout = "cancelled"
action_minutes = 2
action_timeout = "cancelled"
sberpay_minutes = 3
sberpay_web_redirects = true
tpay_minutes = 4
tpay_timeout = "error"
amounts = "all"
empty_as_lists = true
card_ids = true
converts_to = "eur"
conversion_rate = 2
conversion_rounding = "up"
reserved_seconds = 5
return_seconds = 6
return_webhook = false
returned_payout = "failed"
second_start = "allow"
older_report = true
returns_have_ids = true
negative_returns = true
recurrent_rows = true
compensation_rows = true
second_confirm = "ignore"
cancel_created = "refuse"
late_cancel = "ignore"
late_start_revives = true
late_confirm_revives = true
capture = "delayed"
hold_days = 3.96
hold_is_named = false
challenge_first = true
partial_captures = false
refunds_from_next_day = true
amount_limits = {eur = [1000, 100000]}
bare_ids = true
whole_identities = true
merchant_fee = 7
chargeback_rows = true
partial_refunds = false
declined_session = "accepted"
finished_after_cancel = false
webhook_version = 2
processing_seconds = 7
latency_seconds = 8
resolve_seconds = 9
chargeback_seconds = 10
status_lag_seconds = 11
id_mark = "a_"
opening_balance = 12
text_amounts = "allow"
content_type = "refuse"
http_methods = {"sberpay/push" = "GET"}
wallets = {eur = 13, USD = 0}
"""


def planned(folder: Path, text: str, **options: Any) -> EmulatorPlan:
    """Return the plan of a file with this text, and of these options."""
    (folder / "emulator.toml").write_text(text, "utf-8")
    return read_plan(EmulatorOptions(config=folder / "emulator.toml", **options))


def test_a_file_sets_every_rule(tmp_path):
    """Each field of the rules is a key of its own, and none keeps its default."""
    rules = planned(tmp_path, EVERY_RULE).rules
    for one in attrs.fields(Rules):
        default = one.default.factory() if hasattr(one.default, "factory") else one.default
        assert getattr(rules, one.name) != default, one.name
    assert (rules.duplicates, rules.amounts) == (Duplicates.REFUSE, ShownAmounts.ALL)
    assert (rules.hold_days, rules.confirm_minutes) == (3.96, 1)
    assert rules.wallets == {"eur": 13, "usd": 0}
    assert rules.http_methods == {"sberpay/push": "GET"}


def test_a_file_says_what_options_say(tmp_path):
    """The server, the keys, the webhooks and the faults are keys, too."""
    plan = planned(
        tmp_path,
        'host = "::1"\nport = 0\nproject = "shop"\nwebhook_url = "http://127.0.0.1:1/"\nseed = 3\n'
        "[webhooks]\nlost = 0.1\nin_order = false\n[[fault]]\nkind = 'cut'\nnth = [1, 2]\n",
    )
    assert (plan.host, plan.port, plan.project) == ("::1", 0, "shop")
    assert plan.webhook_url == "http://127.0.0.1:1/"
    assert plan.webhooks == WebhookScript(lost=0.1, in_order=False, seed=3)
    [fault] = plan.faults.faults
    assert (fault.kind, fault.nth, plan.faults.seed) == (FaultKind.CUT, (1, 2), 3)
    assert plan.rules.id_mark == ""


def test_paths_are_relative_to_the_file(tmp_path, monkeypatch):
    """Wherever the command starts; those of options are relative to that place."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "script.toml").write_text("[[fault]]\nkind = 'bom'\nrate = 1")
    monkeypatch.chdir(tmp_path)
    text = 'keys = "keys"\nenv_file = "../shop.env"\npublic_key = "/shop.pem"\n'
    plan = planned(Path("etc"), f'{text}faults = "script.toml"')
    assert (plan.keys, plan.env_file) == (Path("etc/keys"), Path("etc/../shop.env"))
    assert plan.public_key == Path("/shop.pem")
    assert plan.faults.faults[0].kind is FaultKind.BOM
    assert planned(Path("etc"), text, keys=Path("mine")).keys == Path("mine")


def test_options_override_the_file(tmp_path):
    """An option wins over its key, and what it doesn't say stays as the file has it."""
    plan = planned(
        tmp_path,
        'project = "shop"\nport = 9\nconfirmation = "automatic"\ncapture = "delayed"\n'
        "webhook_version = 1\nlatency_seconds = 3\nfault_rate = 0.7\n"
        "[wallets]\neur = 5\ngbp = 7",
        port=0,
        confirm="manual",
        webhook_version="v2",
        latency=0.0,
        balance=["20000000eur", "0usd", "5jpy", "1.234kwd"],
        fault=["bom=0.5"],
    )
    assert (plan.project, plan.port) == ("shop", 0)
    rules = plan.rules
    assert (rules.confirmation, rules.capture) == (Confirmation.MANUAL, Capture.DELAYED)
    assert (rules.webhook_version, rules.latency_seconds) == (2, 0)
    amounts = {"eur": 20_000_000_00, "gbp": 7, "usd": 0, "jpy": 5, "kwd": 1234}
    assert rules.wallets == amounts
    assert [fault.kind for fault in plan.faults.faults] == [FaultKind.BOM]


def test_without_a_file_the_defaults_are_the_rules(tmp_path):
    """Only the ids have a mark of their own, so that a journal takes none for an earlier one."""
    plan = read_plan(EmulatorOptions())
    assert attrs.evolve(plan.rules, id_mark="") == Rules()
    assert plan.rules.id_mark != read_plan(EmulatorOptions()).rules.id_mark
    assert plan.faults.faults == ()
    assert (plan.host, plan.port, plan.project) == ("127.0.0.1", 8080, "demo")
    assert planned(tmp_path, "").webhooks == WebhookScript()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x", "isn't TOML: "),
        ("confirmatoin = 'manual'", "confirmatoin: there is no such field; did you mean conf"),
        ("Webhook-Version = 2", "Webhook-Version: there is no such field; did you mean webhook_v"),
        ("latency = 2", "latency: there is no such field; did you mean latency_seconds?"),
        ("zzzz = 2", "zzzz: there is no such field; there are host, port, project, "),
        ("[webhooks]\nloss = 1", "webhooks.loss: there is no such field; did you mean lost?"),
        ("webhooks = 1", "webhooks: must be a table: write [webhooks] above its keys"),
        ("[webhooks]\nlost = 2", "webhooks.lost: must be from 0 to 1"),
        ("webhook_url = 'ftp://a'", "webhook_url: must be an http or https address with a host"),
        ("webhook_url = 'http://a:b@c'", "webhook_url: must have no user and no password"),
        ("[[fault]]\nkind = 'cut'\nrte = 1", "fault[0].rte: there is no such field; did you mean"),
        ("[[fault]]\nkind = 'cut'\nrate = 2", "fault[0].rate: must be from 0 to 1"),
        ("faults = 'a'\nfault_rate = 1", "fault_rate: use only one of faults, fault_rate"),
        ("faults = 'bad.toml'", "faults: bad.toml: fault[0].kind: must be one of before, "),
        ("fault_rate = 2", "fault_rate: must be from 0 to 1"),
        ("duplicates = 'again'", "duplicates: must be one of replay, refuse, create"),
        ("confirm_minutes = '240'", "confirm_minutes: must be a number"),
        ("confirm_minutes = inf", "confirm_minutes: must be a number"),
        ("hold_days = 1e300", "hold_days: is too large"),
        ("action_minutes = -1", "action_minutes: must not be negative"),
        ("opening_balance = 0.5", "opening_balance: must be a whole number"),
        ("empty_as_lists = 1", "empty_as_lists: must be true or false"),
        ("webhook_version = 3", "webhook_version: must be 1 or 2"),
        ("error_http_status = 99", "error_http_status: must be from 200 to 599"),
        ("wallets = 5", "wallets: must be a table: write [wallets] above its keys"),
        ("[wallets]\nxyz = 5", "wallets: xyz is no ISO 4217 code"),
        ("[wallets]\neur = '5'", "wallets.eur: must be a whole number"),
        ("converts_to = 'euro'", "converts_to: is no ISO 4217 code"),
        ("[http_methods]\nsberpush = 'GET'", "http_methods.sberpush: there is no such field; did"),
        ("[http_methods]\n'sberpay/push' = 'PUT'", "http_methods.sberpay/push: must be POST or"),
        ("key_field = ''", "key_field: must not be empty"),
        ("id_mark = 'a'", "id_mark: must be up to 32 letters and digits, then '_'"),
        ("port = 70000", "port: must be from 0 to 65535"),
        ("host = 1", "host: must be a string"),
        ("project = 'é'", "project: must be printable ASCII text"),
    ],
)
def test_a_wrong_key_is_named(tmp_path, monkeypatch, text, words):
    """One line names the file, the key, and for a misspelt one what it is most like."""
    monkeypatch.chdir(tmp_path)
    Path("emulator.toml").write_text(text, "utf-8")
    Path("bad.toml").write_text("[[fault]]\nkind = 'odd'\nrate = 1")
    result = CliRunner().invoke(app, ("emulator", "--config", "emulator.toml"))
    line = result.stderr.removeprefix("smartglocal: --config: emulator.toml: ")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert line.startswith(words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--balance", "5"), "--balance: expected an amount with its currency, such as 1234.56usd"),
        (("--balance", "0xyz"), "--balance: "),
        (("--balance", "5eur", "--balance", "0eur"), "--balance: is given twice for eur"),
        (("--balance", "1.005usd"), "--balance: "),
        (("--latency", "inf"), "--latency: must be a number"),
        (("--config", "absent.toml"), "absent.toml: No such file or directory"),
        (("--config", "binary"), "--config: binary: isn't UTF-8 text"),
        (("--keys", "absent/keys"), "--keys: there is no folder "),
        (("--keys", "broken"), "--keys: "),
        (("--config", "keys.toml"), "--config: keys.toml: keys: there is no folder "),
        (("--config", "key.toml"), "--config: key.toml: public_key: binary: "),
        (("--env-file", "binary"), "binary: exists already; use --overwrite to replace it, or an"),
        (("--env-file", "."), ".: exists already; use --overwrite to replace it, or another --env"),
        (("--env-file", "absent/x"), "absent/x: No such file or directory"),
    ],
)
def test_misuse_is_one_line(tmp_path, monkeypatch, arguments, words):
    """What can't be used is named, and no server runs."""
    monkeypatch.chdir(tmp_path)
    Path("binary").write_bytes(b"\xff")
    Path("keys.toml").write_text("keys = 'absent/keys'")
    Path("key.toml").write_text("public_key = 'binary'")
    Path("broken").mkdir()
    Path("broken/webhooks.pem").write_text("no key")
    result = CliRunner().invoke(app, ("emulator", "--port", "0", *arguments))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.removeprefix("smartglocal: ").startswith(words)


def test_the_page_shows_every_key():
    """The page of the emulator has the table that the code prints, with each key."""
    table = keys_table()
    assert table in (ROOT / "docs/reference/emulator.md").read_text("utf-8")
    assert all(f"| `{key}` |" in table for key in KEYS)


def test_the_example_of_the_page_is_read(tmp_path):
    """The TOML file on the page is one that the command takes."""
    page = (ROOT / "docs/reference/emulator.md").read_text("utf-8")
    example = next(re.finditer(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))[1]
    plan = planned(tmp_path, example)
    assert (plan.port, plan.rules.webhook_version) == (8080, 2)
    assert plan.rules.wallets == {"eur": 2_000_000_000}
    assert plan.keys == tmp_path / "keys"


@contextlib.contextmanager
def process(*arguments: str, **options: Any) -> Iterator[dict[str, Any]]:
    """Run the emulator on a free port; yield what its first line says, and stop it."""
    command = (sys.executable, "-m", "smartglocal_async", "emulator", "--json", "--port", "0")
    with subprocess.Popen(
        (*command, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    ) as running:
        try:
            yield json.loads(running.stdout.readline())
        finally:
            running.terminate()
            written, complaints = running.communicate()
    assert (running.returncode, complaints) == (0, "")
    assert json.loads(written.splitlines()[-1])["event"] == "stopped"


def client_of(environment: dict[str, str]) -> sg.SmartGlocal:
    """Return a client with these variables, and no others."""
    return sg.SmartGlocal.from_env(environment=environment)


@pytest.mark.slow
async def test_a_file_reaches_the_bank(tmp_path):
    """A process with a file serves by its rules, and an option beside it counts."""
    (tmp_path / "emulator.toml").write_text(
        "project = 'shop'\nkeys = 'keys'\nerror_http_status = 418\n[wallets]\neur = 5\n"
    )
    arguments = ("--config", str(tmp_path / "emulator.toml"), "--balance", "7.50usd")
    with process(*arguments) as started:
        environment = started["environment"]
        assert environment["SMARTGLOCAL_PROJECT"] == "shop"
        assert Path(environment["SMARTGLOCAL_PRIVATE_KEY"]).parent == tmp_path / "keys"
        async with client_of(environment) as api:
            wallets = await api.wallet.balance()
            with pytest.raises(sg.Refused) as caught:
                await api.session.status(sg.SessionRef("ps_none"))
    assert {one.amount_details for one in wallets} == {sg.Amount(5, "eur"), sg.Amount(750, "usd")}
    assert caught.value.http_status == 418


@pytest.mark.slow
async def test_keys_stay(tmp_path):
    """A second start has the same keys, so that a client keeps its environment."""
    folder = tmp_path / "keys"
    names = ("emulator.pem", "webhooks.pem", "webhooks.pub.pem")
    seen = []
    for _ in range(2):
        with process("--keys", str(folder)) as started:
            seen.append([(folder / name).read_bytes() for name in names])
            environment = started["environment"]
            assert environment["SMARTGLOCAL_WEBHOOK_KEY"] == str(folder / names[2])
            async with client_of(environment) as api:
                assert (await api.session.create(sg.CreateSession())).status == "created"
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 3
    modes = [stat.S_IMODE((folder / name).stat().st_mode) for name in names]
    assert (stat.S_IMODE(folder.stat().st_mode), modes) == (0o700, [0o600, 0o600, 0o644])


@pytest.mark.slow
def test_two_that_start_together_have_the_same_keys(tmp_path):
    """The one that comes second waits until the keys are whole."""
    command = (sys.executable, "-m", "smartglocal_async", "emulator", "--json", "--port", "0")
    running = [
        subprocess.Popen((*command, "--keys", tmp_path / "keys"), stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    keys = set()
    for one in running:
        environment = json.loads(one.stdout.readline())["environment"]
        keys.add(Path(environment["SMARTGLOCAL_PRIVATE_KEY"]).read_bytes())
        one.terminate()
        one.communicate()
    assert len(keys) == 1


@pytest.mark.slow
def test_a_key_of_another_pair_is_refused(tmp_path):
    """A public key that doesn't belong to the private one beside it would verify no webhook."""
    with process("--keys", str(tmp_path)):
        pass
    other = sg.PrivateKey.generate()
    (tmp_path / "webhooks.pub.pem").write_bytes(other.public.pem())
    result = CliRunner().invoke(app, ("emulator", "--port", "0", "--keys", str(tmp_path)))
    assert result.exit_code == 2
    assert "webhooks.pub.pem is of another key; move it away" in result.stderr


@pytest.mark.slow
def test_the_environment_is_written(tmp_path):
    """A shell that reads the file makes a call; only its owner can read it."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    path = folder / ".env"
    keys = ("--keys", str(folder / "keys"))
    with process("--env-file", str(path), *keys) as started:
        assert started["env_file"] == str(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        lines = path.read_text().splitlines()
        assert lines[0].startswith("# ")
        assert dict(line.split("=", 1) for line in lines[1:]) == {
            name: shlex.quote(value) for name, value in started["environment"].items()
        }
        call = f"{sys.executable} -m smartglocal_async session create --json"
        done = subprocess.run(
            ("/bin/sh", "-c", f"set -a; . {shlex.quote(str(path))}; set +a; cd {ROOT}; {call}"),
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        assert json.loads(done.stdout)["status"] == "created", done.stderr


@pytest.mark.slow
def test_a_file_is_replaced_only_on_request(tmp_path):
    """Another file stays as it is, and through a link nothing is written."""
    path, target = tmp_path / ".env", tmp_path / "precious"
    target.write_text("SECRET=1\n")
    path.symlink_to(target)
    result = CliRunner().invoke(app, ("emulator", "--port", "0", "--env-file", str(path)))
    assert (result.exit_code, target.read_text()) == (2, "SECRET=1\n")
    with process("--env-file", str(path), "--overwrite", "--project", "shop 1"):
        assert "SMARTGLOCAL_PROJECT='shop 1'\n" in path.read_text()
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert (path.is_symlink(), target.read_text()) == (False, "SECRET=1\n")
    assert sorted(one.name for one in tmp_path.iterdir()) == [".env", "precious"]


@pytest.mark.slow
def test_the_same_environment_may_be_written_again(tmp_path):
    """With stable keys and a fixed port a restart finds its own file, and goes on."""
    with process("--keys", str(tmp_path / "keys")) as started:
        port = started["url"].rpartition(":")[2]
    for _ in range(2):
        arguments = ("--keys", str(tmp_path / "keys"), "--env-file", str(tmp_path / ".env"))
        (tmp_path / "port.toml").write_text(f"port = {port}")
        command = (sys.executable, "-m", "smartglocal_async", "emulator", "--config")
        with subprocess.Popen(
            (*command, str(tmp_path / "port.toml"), *arguments), stdout=subprocess.PIPE, text=True
        ) as running:
            lines = [running.stdout.readline() for _ in range(5)]
            running.terminate()
            running.communicate()
        assert lines[4] == f"  set -a; . {tmp_path}/.env; set +a\n"
        assert running.returncode == 0


@pytest.mark.slow
def test_without_the_private_key_the_file_says_so(tmp_path, key):
    """With --public-key only the client knows where its key is."""
    (tmp_path / "shop.pub.pem").write_bytes(key.public.pem())
    arguments = ("--public-key", str(tmp_path / "shop.pub.pem"), "--keys", str(tmp_path / "keys"))
    with process(*arguments, "--env-file", str(tmp_path / ".env")) as started:
        assert started["environment"]["SMARTGLOCAL_PRIVATE_KEY"] is None
        text = (tmp_path / ".env").read_text()
    assert "# SMARTGLOCAL_PRIVATE_KEY=the file of the private key\n" in text
    assert sorted(one.name for one in (tmp_path / "keys").iterdir()) == [
        "webhooks.pem",
        "webhooks.pub.pem",
    ]
