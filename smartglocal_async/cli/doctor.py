"""``doctor``: what would keep a call from succeeding, and what to mend."""

import asyncio
import os
from collections.abc import Mapping
from typing import Final

import typer

from ..errors import InvalidCredentials
from ..retry import Timing
from ..settings import Environment, from_environment
from .doctor_local import Finding, Level, check_key, check_packages, level_of, skipped
from .doctor_server import check_call, check_reach
from .failures import ExitCode, explained, unread_or_not
from .screen import AsJson, cell, console, show, table, write_json

_STYLES: Final[Mapping[Level, str]] = {
    Level.OK: "green",
    Level.WARN: "yellow",
    Level.FAIL: "bold red",
    Level.SKIP: "dim",
}


_MEND_ENVIRONMENT: Final = (
    "your account manager gives project and server, and smartglocal keygen makes a key; "
    "to try without them: smartglocal emulator"
)


def doctor(*, as_json: AsJson = False) -> None:
    """Check credentials, key, clock and server.

    The exit code is 1 if something fails. One signed request leaves: a question for the
    status of a session that doesn't exist.
    """
    with explained(as_json=as_json):
        findings = _examine(os.environ, Timing())
        healthy = level_of(findings) is not Level.FAIL
        with unread_or_not():
            if as_json:
                write_json({"ok": healthy, "checks": [finding.as_dict() for finding in findings]})
            else:
                _show(findings)
    if not healthy:
        raise typer.Exit(ExitCode.FAILED)


def _examine(variables: Mapping[str, str], timing: Timing) -> list[Finding]:
    try:
        environment = from_environment(variables)
    except InvalidCredentials as error:
        found = [
            Finding("environment", Level.FAIL, str(error), _MEND_ENVIRONMENT),
            *skipped("environment", "key file", "key", "server", "clock", "credentials"),
        ]
    else:
        found = [
            Finding("environment", Level.OK, f"project {environment.project}"),
            *check_key(environment),
        ]
        found = asyncio.run(_ask(environment, timing, found))
    return [*found, *check_packages()]


async def _ask(environment: Environment, timing: Timing, found: list[Finding]) -> list[Finding]:
    found = [*found, *await check_reach(environment.server, timing)]
    failed = next((finding.check for finding in found if finding.level is Level.FAIL), None)
    if failed is None:
        return [*found, await check_call()]
    return [*found, *skipped(failed, "credentials")]


def _show(findings: list[Finding]) -> None:
    shown = table()
    shown.show_header = False
    shown.add_column(no_wrap=True)
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    for finding in findings:
        said = cell(finding.found)
        if finding.mend is not None:
            _ = said.append("\n").append(cell(f"mend: {finding.mend}", "bold"))
        level = cell(finding.level, _STYLES[finding.level])
        shown.add_row(level, finding.check, said)
    show(console(), shown)
