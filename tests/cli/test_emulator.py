"""The emulator as a process: what it prints, what it leaves behind, how it ends."""

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from attrs import evolve
from places import ROOT
from rich.cells import cell_len
from typer.testing import CliRunner

import smartglocal_async as sg
from smartglocal_async.cli import emulator as command
from smartglocal_async.cli import signals
from smartglocal_async.cli.app import app
from smartglocal_async.cli.emulator import RequestTable, address_lines, report_lines
from smartglocal_async.cli.emulator_config import EmulatorPlan, fault_script
from smartglocal_async.emulator import (
    FaultKind,
    FaultScript,
    Report,
    RequestRecord,
    local_url,
)

pytestmark = pytest.mark.slow

ORDER = sg.CreateSession(metadata={"idempotency_key": "order-1"})


@contextlib.contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `smartglocal emulator` on a free port; kill it if the test didn't end it."""
    with subprocess.Popen(
        (sys.executable, "-m", "smartglocal_async", "emulator", "--port", "0", *arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            if running.poll() is None:
                running.kill()


def client(environment: dict[str, str], **options: object) -> sg.SmartGlocal:
    """Make a client from the settings that the emulator printed."""
    return sg.SmartGlocal(
        environment["SMARTGLOCAL_PROJECT"],
        Path(environment["SMARTGLOCAL_PRIVATE_KEY"]),
        environment["SMARTGLOCAL_SERVER"],
        **options,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_stops_it_while_requests_run(number):
    """A signal ends it in good order: report printed, key removed, exit code 0."""

    async def work(environment: dict[str, str], running: subprocess.Popen[str]) -> int:
        once = sg.Settings(retry=sg.RetryPolicy(attempts=1))
        sent = 0
        async with client(environment, settings=once) as api:
            async for _ in api.session.create_many(sg.CreateSession() for _ in range(500)):
                sent += 1
                if sent == 20:
                    running.send_signal(number)
        return sent

    with process("--json") as running:
        started = json.loads(running.stdout.readline())
        key = Path(started["environment"]["SMARTGLOCAL_PRIVATE_KEY"])
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
        pem = key.read_text()
        assert asyncio.run(work(started["environment"], running)) == 500
        written, complaints = running.communicate()
    events = [json.loads(line) for line in written.splitlines()]
    assert running.returncode == 0
    assert complaints == ""
    assert {event["event"] for event in events[:-1]} == {"request"}
    assert events[-1]["event"] == "stopped"
    assert 20 <= events[-1]["report"]["sessions"] < 500
    assert not key.parent.exists()
    assert not any(line in written for line in pem.splitlines())


def test_exported_lines_are_all_a_client_needs():
    """What it prints to copy makes `smartglocal session create` work; each request is a line."""
    with process("--seed", "1") as running:
        lines = iter(running.stdout.readline, "\n")
        exports = [line.split()[1] for line in lines if line.startswith("  export ")]
        environment = dict(line.split("=", 1) for line in exports)
        made = CliRunner().invoke(app, ("session", "create", "--json"), env=environment)
        assert json.loads(made.stdout)["id"] == "ps_1"
        assert running.stdout.readline().split()[:3] == ["time", "call", "key"]
        line = running.stdout.readline().split()
        running.terminate()
        report = running.communicate()[0]
    assert line[1] == "create"
    assert line[3:] == ["1", "-", "200", "ps_1"]
    assert "sessions       1" in report


@pytest.mark.parametrize("seed", [(), ("--seed", "7")])
def test_another_start_has_other_ids(seed):
    """A journal that knows the sessions of the first would take those of the second for its own."""
    ids = list[str]()
    for _ in range(2):
        with process("--json", *seed) as running:
            environment = json.loads(running.stdout.readline())["environment"]
            made = CliRunner().invoke(app, ("session", "create", "--json"), env=environment)
            ids.append(json.loads(made.stdout)["id"])
            running.terminate()
            _ = running.communicate()
    if seed:
        assert ids == ["ps_1", "ps_1"]
    else:
        assert ids[0] != ids[1]
        assert all(re.fullmatch(r"ps_[0-9a-f]{6}_1", one) for one in ids)


def test_settings_reach_the_bank():
    """The options become rules, and the webhooks' public key is written beside the private one."""
    arguments = (
        *("--confirm", "automatic", "--second-start", "allow", "--capture", "delayed"),
        *("--idempotency-header", "refuse", "--processing-seconds", "0.5", "--latency", "0.3"),
        *("--webhook-url", "http://127.0.0.1:1/hook"),
    )
    with process("--json", *arguments) as running:
        environment = json.loads(running.stdout.readline())["environment"]
        hook = Path(environment["SMARTGLOCAL_WEBHOOK_KEY"])
        assert hook.parent == Path(environment["SMARTGLOCAL_PRIVATE_KEY"]).parent
        assert sg.PublicKey.from_pem(hook.read_bytes()).pem() == hook.read_bytes()
        begun = time.monotonic()
        with pytest.raises(HTTPError):
            urlopen(environment["SMARTGLOCAL_SERVER"] + "/none")  # noqa: S310 - the emulator's
        assert time.monotonic() - begun >= 0.3
        running.terminate()
        written, complaints = running.communicate()
    report = json.loads(written.splitlines()[-1])["report"]
    assert (running.returncode, complaints) == (0, "")
    assert (report["moved"], report["moved_twice"], report["balances"]) == (0, 0, {})
    assert not hook.exists()


@pytest.mark.parametrize(
    ("operation", "shown"),
    [
        ("session/start/payout", "start"),
        ("session/confirm", "confirm"),
        ("wallet/balance", "wallet"),
        ("/favicon.ico", "/favicon.ico"),
    ],
)
def test_calls_are_short(operation, shown):
    """A line names the call in a word, and a path that is none in full."""
    assert RequestTable().request(RequestRecord(time=NOON, operation=operation)).split()[1] == shown


def test_the_end_tells_of_money():
    """What was moved is shown by account, and empty accounts aren't."""
    report = Report(
        requests=3,
        orders=1,
        sessions=1,
        duplicates=0,
        changed=0,
        bad_signatures=0,
        refused=0,
        faults={},
        moved=1,
        balances={"usd": {"wallet": 900, "held": 0, "paid_out": 100}},
    )
    assert "  balances       usd: wallet 900, paid out 100" in list(report_lines(report))


def test_nobody_reading_ends_it():
    """When the reader of its lines goes away, requests are still answered, and then it ends."""
    with process("--json") as running:
        environment = json.loads(running.stdout.readline())["environment"]
        running.stdout.close()

        async def ask() -> sg.Session:
            async with client(environment) as api:
                return await api.session.create(ORDER)

        assert asyncio.run(ask()).id.startswith("ps_")
        assert running.wait() in {0, 1}
    assert not Path(environment["SMARTGLOCAL_PRIVATE_KEY"]).exists()


class Started(command.EmulatorOutput):
    """Tells a waiting test of the address."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__(as_json)
        self.address = asyncio.get_running_loop().create_future()

    def started(self, url, plan, environment) -> None:
        """Write the lines, and give the address away."""
        super().started(url, plan, environment)
        self.address.set_result(url)


@pytest.fixture
def plan(key, tmp_path):
    """Return the plan of a server whose first answer is lost."""
    (tmp_path / "shop.pub.pem").write_bytes(key.public.pem())
    return EmulatorPlan(
        port=0,
        public_key=tmp_path / "shop.pub.pem",
        faults=FaultScript.from_toml('[[fault]]\nkind = "after"\nnth = [1]'),
    )


async def test_lines_tell_what_met_a_request(plan, key, capsys):
    """A line names the fault, the attempt and the session; the report sums up."""
    told = Started(as_json=False)
    async with asyncio.TaskGroup() as group:
        group.create_task(command.serve(plan, told))
        async with sg.SmartGlocal("demo", key, await told.address) as api:
            await api.session.create(ORDER)
        os.kill(os.getpid(), signal.SIGTERM)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["create", "order-1", "1", "after", "-", "ps_1"] in [x[1:] for x in lines]
    assert ["create", "order-1", "2", "-", "200", "ps_1"] in [x[1:] for x in lines]
    assert ["faults", "after", "1"] in lines


async def test_json_lines_tell_the_same(plan, key, capsys):
    """With --json every line is a document of its own, and there is nothing else."""
    told = Started(as_json=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(command.serve(plan, told))
        async with sg.SmartGlocal("demo", key, await told.address) as api:
            await api.session.create(ORDER)
        told.stop.set()
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["started", "request", "request", "stopped"]
    assert [event.get("fault") for event in events[1:3]] == ["after", None]
    assert events[0]["environment"]["SMARTGLOCAL_PRIVATE_KEY"] is None


def test_lines_that_nobody_takes_stop_it():
    """A line that can't be written ends the server, and never the request."""

    class Gone(io.StringIO):
        encoding = "utf-8"

        def write(self, _: str) -> int:
            raise BrokenPipeError

    told = command.EmulatorOutput(as_json=False)
    with contextlib.redirect_stdout(Gone()):
        told.request(
            RequestRecord(time=datetime(2026, 1, 2, tzinfo=UTC), operation="session/create")
        )
    assert told.stop.is_set()


UUID = "0b9f6a51-6d4c-4c1e-9a53-2f1f0a9d7c11"
NOON = datetime(2026, 1, 2, 12, 34, 56, 789, tzinfo=UTC)
LONGEST = RequestRecord(
    time=NOON,
    operation="session/create",
    key=UUID,
    attempt=123,
    fault="server_error",
    http_status=503,
    error_code="identification_error",
)


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 95, 96, 120, 300])
@pytest.mark.parametrize("key", [UUID, "東京" * 40, "k" * 255])
def test_lines_fit_the_terminal(columns, key):
    """No line is wider than the terminal; what is cut short ends in an ellipsis."""
    lines = RequestTable(columns)
    for line in (lines.heading(), lines.request(evolve(LONGEST, key=key))):
        assert cell_len(line) <= columns
    assert (UUID in lines.request(LONGEST)) is (columns >= 96)


def test_line_of_80_columns_keeps_what_matters():
    """On 80 columns only the key of the widest line is cut, and enough of it stays."""
    line = RequestTable(80).request(LONGEST)
    *before, key, attempt, fault, status, code = line.split()
    assert before == ["12:34:56", "create"]
    assert UUID.startswith(key.removesuffix("…"))
    assert len(key) >= 20
    assert [attempt, fault, status, code] == ["123", "server_error", "503", LONGEST.error_code]


def test_lines_off_a_terminal_are_whole():
    """A pipe has no width, and nothing is cut."""
    line = RequestTable().request(evolve(LONGEST, key="k" * 255))
    assert "k" * 255 in line


def test_request_without_a_key_has_no_attempt():
    """Its number on the server is no attempt of the client."""
    seen = RequestRecord(time=NOON, operation="session/status", attempt=17, http_status=200)
    assert RequestTable().request(seen).split() == ["12:34:56", "status", "-", "-", "-", "200", "-"]


async def test_hangup_that_is_ignored_stays_ignored():
    """Under nohup a closed terminal doesn't end the server."""
    stopped = asyncio.Event()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.stopped_by_signals(stopped.set):
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0.01)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not stopped.is_set()


def test_taken_port_is_one_line():
    """A port that is in use ends it with exit code 2 and the reason."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(app, ("emulator", "--port", port), catch_exceptions=False)
    assert result.exit_code == 2
    words = f"port {port} is in use; use another --port, or 0 for a free one"
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--faults", "script", "--fault-rate", "0.1"), "--faults: use only one of"),
        (("--fault", "bom=0.1", "--fault-rate", "0.1"), "--fault: use only one of"),
        (("--fault", "bom=0.1", "--faults", "script"), "--faults: use only one of"),
        (("--fault", "odd=0.1"), "--fault: unknown kind 'odd'; known are all, before, "),
        (("--fault", "bom"), "--fault: expected a share from 0 to 1 after the kind, as in bom=0.1"),
        (("--fault", "bom=x"), "--fault: expected a share from 0 to 1 after the kind"),
        (("--fault", "bom=1.5"), "--fault: bom: the share must be from 0 to 1"),
        (("--fault", "bom=nan"), "--fault: bom: the share must be from 0 to 1"),
        (("--faults", "absent"), "absent: No such file"),
        (("--faults", "script"), "--faults: script: fault[0].kind: "),
        (("--faults", "odd"), "--faults: odd: script: isn't TOML"),
        (("--faults", "binary"), "isn't UTF-8"),
        (("--public-key", "absent"), "absent: No such file"),
        (("--public-key", "script"), "--public-key: script: the public key isn't PEM"),
        (("--host", "198.51.100.1", "--port", "0"), "198.51.100.1"),
    ],
)
def test_misuse_is_one_line(tmp_path, monkeypatch, arguments, words):
    """What can't be used is named in one line, with exit code 2, and no server starts."""
    monkeypatch.chdir(tmp_path)
    Path("script").write_text('[[fault]]\nkind = "odd"\nrate = 1')
    Path("odd").write_text("[[")
    Path("binary").write_bytes(b"\xff\xfe")
    result = CliRunner().invoke(app, ("emulator", *arguments), catch_exceptions=False)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("seed", "chosen"),
    [(None, 5), (0, 0), (9, 9)],
)
def test_seed_overrules_that_of_the_script(tmp_path, seed, chosen):
    """--seed wins over the file's own, zero included."""
    script = tmp_path / "faults.toml"
    script.write_text('seed = 5\n[[fault]]\nkind = "slow"\nrate = 0.5')
    assert fault_script(script, (), None, seed).seed == chosen


@pytest.mark.parametrize(
    ("rates", "kinds"),
    [
        (("bom=0.1",), {FaultKind.BOM: 0.1}),
        (("swapped=0.1", "stale=0.2"), {FaultKind.SWAPPED: 0.1, FaultKind.STALE: 0.2}),
        (("all=0.1",), dict.fromkeys(FaultKind, 0.1)),
        (("all=0.1", "hang=0"), dict.fromkeys(FaultKind, 0.1) | {FaultKind.HANG: 0}),
    ],
)
def test_rates_make_a_script(rates, kinds):
    """Each --fault names a kind or all of them, and a later one overrules an earlier one."""
    script = fault_script(None, rates, None, 4)
    assert {fault.kind: fault.rate for fault in script.faults} == kinds
    assert script.seed == 4


def test_every_fault_can_be_on_at_once():
    """With every kind at 10 % the emulator answers, hangs up and counts, and ends in order."""
    quick = sg.RetryPolicy(attempt_timeout_seconds=1, deadline_seconds=1, attempts=1)

    async def work(environment: dict[str, str]) -> int:
        ended = 0
        async with client(environment, settings=sg.Settings(retry=quick)) as api:
            requests = [sg.CreateSession() for _ in range(60)]
            async for _ in api.session.create_many(requests):
                ended += 1
        return ended

    with process("--json", "--fault", "all=0.1", "--seed", "3") as running:
        environment = json.loads(running.stdout.readline())["environment"]
        assert asyncio.run(work(environment)) == 60
        running.terminate()
        written, complaints = running.communicate()
    report = json.loads(written.splitlines()[-1])["report"]
    assert (running.returncode, complaints) == (0, "")
    assert len(report["faults"]) >= 15


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("http://[::]:8080", "http://[::1]:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://192.0.2.7:8080", "http://192.0.2.7:8080"),
    ],
)
def test_address_to_copy_is_one_to_connect_to(url, address):
    """An address that means everywhere is no address of a server."""
    assert local_url(url) == address


NOTICE = (
    "This is an emulator for tests, not Smart Glocal and no bank: it moves no money, and its keys "
    "are test keys."
)


@pytest.mark.parametrize(
    ("url", "lines"),
    [
        (
            "http://127.0.0.1:8080",
            [
                "It listens on http://127.0.0.1:8080, for this machine only; Ctrl-C stops it.",
                "See requests, sessions and webhooks at http://127.0.0.1:8080/emulator/",
            ],
        ),
        (
            "http://[::1]:8080",
            [
                "It listens on http://[::1]:8080, for this machine only; Ctrl-C stops it.",
                "See requests, sessions and webhooks at http://[::1]:8080/emulator/",
            ],
        ),
        (
            "http://192.0.2.7:8080",
            ["It listens on http://192.0.2.7:8080, for other machines too; Ctrl-C stops it."],
        ),
    ],
)
def test_it_says_what_it_is_and_where(url, lines):
    """First that no money moves, then the address that is bound, and who can reach it."""
    assert list(address_lines(url)) == [NOTICE, *lines]


def test_everywhere_is_called_everywhere():
    """Bound to all addresses it says so, and each address that it names can be connected to."""
    with process("--json", "--host", "0.0.0.0") as running:  # noqa: S104 - what is tested
        started = json.loads(running.stdout.readline())
        port = started["listens_on"].rpartition(":")[2]
        pages = {
            url: urlopen(url).read().decode()  # noqa: S310 - the emulator's
            for url in (started["url"], started["page"], *started["other_machines"])
        }
        running.terminate()
        running.communicate()
    assert started["notice"] == NOTICE
    assert started["listens_on"] == f"http://0.0.0.0:{port}"
    assert started["url"] == f"http://127.0.0.1:{port}"
    assert started["environment"]["SMARTGLOCAL_SERVER"] == f"http://127.0.0.1:{port}"
    assert all(NOTICE in page for page in pages.values())
    lines = list(address_lines(started["listens_on"]))
    assert lines[1] == (
        f"It listens on http://0.0.0.0:{port}, every address of this machine; Ctrl-C stops it."
    )
    others = " or ".join(started["other_machines"])
    tail = f", and at {others} from others" if others else ""
    assert lines[2:] == [
        f"Reach it at http://127.0.0.1:{port} from this machine{tail}.",
        f"See requests, sessions and webhooks at {started['page']}",
    ]
    assert started["page"] == f"http://127.0.0.1:{port}/emulator/"
