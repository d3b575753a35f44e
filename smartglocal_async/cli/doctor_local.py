"""What the doctor can tell without the network: the key and its file, the packages."""

import enum
import os
import platform
import stat
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from attrs import frozen

from ..errors import InvalidCredentials
from ..settings import Environment
from ..signing import PrivateKey
from .naming import PASSPHRASE_VARIABLE

_NEEDED: Final = ("aiohttp", "attrs", "cattrs", "cryptography", "tenacity")
_OPTIONAL: Final = ("typer", "rich", "uvloop")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class Level(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """Calls succeed, but something should be mended."""
    FAIL = "fail"
    SKIP = "skip"
    """Not run, as it needs what failed before it."""


@frozen
class Finding:
    """One line of the doctor's."""

    check: str
    level: Level
    found: str
    mend: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """Give the finding as plain JSON values."""
        return {
            "check": self.check,
            "level": self.level.value,
            "found": self.found,
            "mend": self.mend,
        }


def skipped(failed: str, *checks: str) -> list[Finding]:
    """Tell of checks that were not run, and of the one whose failure kept them from it."""
    return [Finding(check, Level.SKIP, f"not run: {failed} failed") for check in checks]


def level_of(findings: Sequence[Finding]) -> Level:
    """Give the worst level among findings."""
    levels = {finding.level for finding in findings}
    return next((level for level in (Level.FAIL, Level.WARN) if level in levels), Level.OK)


def check_key(environment: Environment) -> Iterator[Finding]:
    """Look at the file of the private key, then at the key."""
    path = environment.private_key
    try:
        mode, pem = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        mend = "check SMARTGLOCAL_PRIVATE_KEY, or make a pair with: smartglocal keygen"
        yield Finding("key file", Level.FAIL, f"{path}: {error.strerror}", mend)
        yield from skipped("key file", "key")
        return
    yield _permissions(path, mode)
    yield _soundness(pem, environment.passphrase)


def check_packages() -> list[Finding]:
    """Tell the versions of what is needed, and of what may be there."""
    versions = {name: version_of(name) for name in (*_NEEDED, *_OPTIONAL)}
    needed = ", ".join(f"{name} {versions[name]}" for name in _NEEDED)
    optional = ", ".join(f"{name} {versions[name] or 'absent'}" for name in _OPTIONAL)
    return [
        Finding("python", Level.OK, f"{platform.python_version()} on {platform.system()}"),
        Finding("packages", Level.OK, needed),
        Finding("optional", Level.OK, optional),
    ]


def version_of(name: str) -> str | None:
    """Give the version of an installed distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _permissions(path: Path, mode: int) -> Finding:
    if os.name == "posix" and mode & _OTHERS:
        found = f"{path} is open to others (mode {stat.S_IMODE(mode):04o})"
        return Finding("key file", Level.WARN, found, f"chmod 600 {path}")
    return Finding("key file", Level.OK, f"{path} is the owner's alone")


def _soundness(pem: bytes, passphrase: str | None) -> Finding:
    try:
        key = PrivateKey.from_pem(pem, passphrase.encode() if passphrase else None).prove()
    except InvalidCredentials as error:
        return Finding("key", Level.FAIL, str(error), _mending(pem, passphrase))
    return Finding("key", Level.OK, f"RSA, {key.bits} bits; it verifies what it signs")


def _mending(pem: bytes, passphrase: str | None) -> str:
    if b"ENCRYPTED" in pem:
        return (
            f"correct {PASSPHRASE_VARIABLE}, or SMARTGLOCAL_PRIVATE_KEY if it is another file"
            if passphrase
            else f"set {PASSPHRASE_VARIABLE}"
        )
    if passphrase and b"PRIVATE KEY" in pem:
        return f"unset {PASSPHRASE_VARIABLE}"
    return "give the right file in SMARTGLOCAL_PRIVATE_KEY"
