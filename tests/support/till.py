"""The command line for payout files, with an emulated provider, for its tests."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from attrs import define, field
from typer.testing import CliRunner

import smartglocal_async as sg
from smartglocal_async import emulator
from smartglocal_async.cli.app import app

HEADER: Final = "key,amount,currency,card_token,full_name\n"
DECLINED: Final = "666.01"
STUCK: Final = "666.10"


def rows(count: int, **special: str) -> str:
    """Return a file of payouts k0, k1, ...; ``k3="666.01"`` sets another amount."""
    lines = (
        f"k{n},{special.get(f'k{n}', f'{100 + n}.00')},usd,hash,Jane Roe\n" for n in range(count)
    )
    return HEADER + "".join(lines)


def session_calls(provider: emulator.Provider) -> int:
    """Return how many requests about sessions arrived: all but those that read the wallets."""
    keys = [name.text or "" for name, _ in provider._dispatcher.bank.movements()]
    return sum(sum(provider.order(key).calls.values()) for key in keys)


@define(eq=False)
class Till:
    """The folder, the provider and the command line of a test."""

    folder: Path
    key: sg.PrivateKey
    monkeypatch: pytest.MonkeyPatch
    run_provider: Callable[..., emulator.Provider]
    provider: emulator.Provider = field(init=False)
    _children: list[subprocess.Popen[str]] = field(factory=list, init=False)

    def opens(self, **options: Any) -> emulator.Provider:
        """Start the provider, and set the credentials in the environment."""
        self.provider = self.run_provider(**options)
        pem = self.folder / "shop.pem"
        pem.write_bytes(self.key.pem())
        self.monkeypatch.chdir(self.folder)
        self.monkeypatch.setenv("SMARTGLOCAL_PROJECT", self.provider.project)
        self.monkeypatch.setenv("SMARTGLOCAL_PRIVATE_KEY", str(pem))
        self.monkeypatch.setenv("SMARTGLOCAL_SERVER", self.provider.url)
        self.monkeypatch.setenv("XDG_STATE_HOME", str(self.state))
        self.monkeypatch.delenv("SMARTGLOCAL_JOURNAL", raising=False)
        self.monkeypatch.delenv("SMARTGLOCAL_JOURNAL_KEY", raising=False)
        return self.provider

    @property
    def state(self) -> Path:
        """The user's state directory, beside the folder with the files."""
        return self.folder.parent / f"{self.folder.name}-state"

    @property
    def journal(self) -> Path:
        """The journal that the commands create without --journal."""
        (path,) = (self.state / "smartglocal").glob("*.journal")
        return path

    def has(self, text: str, name: str = "p.csv") -> Path:
        """Write a file of payouts."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def __call__(self, *words: str, exits: int = 0, **options: Any) -> Any:
        """Run a command of the group; check its exit code."""
        result = CliRunner().invoke(app, ("payouts", *words), catch_exceptions=False, **options)
        assert result.exit_code == exits, result.output
        return result

    def json(self, *words: str, exits: int = 0) -> dict[str, Any]:
        """Run a command with --json; return the object that it prints."""
        return json.loads(self(*words, "--json", exits=exits).stdout)

    def child(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Run a command in a process of its own."""
        command = (sys.executable, "-m", "smartglocal_async", "payouts", *words)
        streams: dict[str, Any] = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
        child = subprocess.Popen(
            command, text=True, cwd=self.folder, env=dict(os.environ), **{**streams, **options}
        )
        self._children.append(child)
        return child

    def closes(self) -> None:
        """End processes that a failed test left running."""
        for child in self._children:
            child.kill()
            _ = child.communicate()

    def results(self, name: str = "p.csv.results.csv") -> dict[str, dict[str, str]]:
        """Return the last line of each key in a file of results."""
        with (self.folder / name).open(encoding="utf-8", newline="") as lines:
            return {row["key"]: row for row in csv.DictReader(lines)}
