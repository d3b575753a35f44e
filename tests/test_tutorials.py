"""The tutorials, followed to the letter in an empty folder, with real processes."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

import pytest
from places import ROOT

pytestmark = pytest.mark.slow

PAGES = ROOT / "docs/tutorials"
BLOCK = re.compile(r"^```(?:python|csv)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLI = (sys.executable, "-m", "smartglocal_async")


def free_port() -> str:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


class Reader:
    """A reader of the tutorials: a folder, the variables of a terminal, and two ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {"8080": free_port(), "8000": free_port()}
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("SMARTGLOCAL_")
        }
        self.environment = {
            **kept,
            "PYTHONPATH": str(ROOT),
            "XDG_STATE_HOME": str(folder),
            "COLUMNS": "200",
        }

    def text(self, page: str) -> str:
        """Return a page with the ports of this reader."""
        text = (PAGES / page).read_text("utf-8")
        for port, free in self.ports.items():
            text = text.replace(port, free)
        return text

    def commands(self, page: str) -> list[tuple[str, ...]]:
        """Return the commands of a page that begin with `smartglocal`, in their order."""
        lines = re.findall(r"^smartglocal (.+)$", self.text(page), re.MULTILINE)
        return [tuple(line.split()) for line in lines]

    def save(self, name: str, page: str) -> None:
        """Save the first Python program or CSV of a page."""
        found = re.search(
            r"^```(?:python|csv)\n(.*?)^```$", self.text(page), re.MULTILINE | re.DOTALL
        )
        assert found is not None
        (self.folder / name).write_text(found[1], "utf-8")

    def run(self, *command: str, code: int = 0, answer: str = "") -> str:
        """Run a command; return what it printed."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            input=answer,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @contextlib.contextmanager
    def running(self, *command: str, until: str) -> Iterator[list[str]]:
        """Run a command in the background until the block ends; yield its first lines."""
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            lines = list[str]()
            try:
                for line in process.stdout:
                    lines.append(line)
                    if until in line:
                        break
                yield lines
            finally:
                process.send_signal(signal.SIGINT)
                lines.extend(process.stdout)

    @contextlib.contextmanager
    def emulator(self, *options: str) -> Iterator[None]:
        """Run the emulator, and set the variables of its `export` lines."""
        with self.running(*CLI, *options, until="time ") as lines:
            exported = re.findall(r"export (\w+)=(\S+)", "".join(lines))
            assert len(exported) == 4
            self.environment.update(exported)
            yield


@pytest.fixture
def reader(tmp_path) -> Reader:
    """Return a reader in an empty folder."""
    return Reader(tmp_path)


def test_first_payout(reader) -> None:
    """It is paid once, however often the program runs, and also after it was interrupted."""
    page = "first-payout.md"
    status, slow, *_ = reader.commands(page)
    start = ("emulator", "--port", reader.ports["8080"], "--keys", "keys")
    reader.save("pay.py", page)
    pay = reader.folder / "pay.py"
    program = pay.read_text("utf-8")
    with reader.emulator(*start):
        first = reader.run(sys.executable, "pay.py")
        assert first.startswith("refund-1001 succeeded ps_")
        assert reader.run(sys.executable, "pay.py") == first
        pay.write_text(program.replace("100.00", "200.00"), "utf-8")
        assert "these fields differ: amount_details.amount" in reader.run(
            sys.executable, "pay.py", code=1
        )
        assert re.search(r"succeeded +1 +100.00 USD", reader.run(*CLI, *status))
    pay.write_text(program.replace("refund-1001", "refund-1002"), "utf-8")
    with reader.emulator(*slow):
        with subprocess.Popen(
            (sys.executable, "pay.py"),
            cwd=reader.folder,
            env=reader.environment,
            stderr=subprocess.DEVNULL,
        ) as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(5)
            process.send_signal(signal.SIGINT)
            assert process.wait() != 0
        assert "refund-1002 succeeded" in reader.run(sys.executable, "pay.py")
        assert re.search(r"succeeded +2 +200.00 USD", reader.run(*CLI, *status))


def test_first_webhook(reader) -> None:
    """Two webhooks are received, one of them by the service, once."""
    page = "first-webhook.md"
    start, listen, replay = reader.commands(page)
    reader.save("pay.py", "first-payout.md")
    reader.save("service.py", page)
    with reader.emulator(*start):
        with reader.running(*CLI, *listen, until="Webhooks are received") as lines:
            assert "succeeded" in reader.run(sys.executable, "pay.py")
        received = [line.split()[1:3] for line in lines if line[:4].isdigit()]
        assert received == [["accepted", "ready_to_confirm"], ["accepted", "payment_finished"]]
        with reader.running(sys.executable, "service.py", until="CTRL+C") as lines:
            for _ in range(2):
                assert reader.run(*CLI, *replay).count("HTTP 200") == 2
            [curl] = re.findall(r"^curl (.+?) -d", reader.text(page), re.MULTILINE)
            body = '{"type": "payment_finished"}'
            assert " 401 " in reader.run("curl", *curl.split(), "-d", body)
        assert [line.split()[2:] for line in lines if line.startswith("payout")] == [
            ["is", "succeeded"]
        ]


def test_from_file_to_report(reader) -> None:
    """Two payouts are paid, and the provider's report agrees."""
    page = "from-file-to-report.md"
    reader.save("salaries.csv", page)
    check, pay, html, csv, reconcile = reader.commands(page)
    with reader.emulator("emulator", "--port", reader.ports["8080"], "--keys", "keys"):
        new_key = reader.run(*CLI, "payouts", "journal", "new-key").splitlines()[0]
        reader.environment["SMARTGLOCAL_JOURNAL_KEY"] = new_key
        assert "can be paid" in reader.run(*CLI, *check)
        for settled in (0, 3):
            printed = reader.run(*CLI, *pay, "--yes", code=1)
            assert "account_not_found" in printed
            assert re.search(rf"settled before +{settled}\b", printed)
        reader.run(*CLI, *html)
        reader.run(*CLI, *csv)
        assert "account_not_found" in (reader.folder / "november.html").read_text("utf-8")
        assert len((reader.folder / "november.csv").read_text("utf-8").splitlines()) == 4
        [address] = re.findall(r'curl -s "(http[^?]+)', reader.text(page))
        day = datetime.now(UTC).strftime("%Y-%m-%d")  # noqa: TID251 - as `date -u` of the page
        with urlopen(f"{address}?day={day}") as answer:  # noqa: S310 - the emulator
            (reader.folder / "provider.csv").write_bytes(answer.read())
        compared = reader.run(*CLI, *reconcile)
        assert re.search(r"same as in the journal +2", compared)
        assert "no differences" in compared
