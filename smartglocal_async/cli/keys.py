"""``keygen``, ``sign`` and ``verify``: RSA keys and signatures over files, as openssl does it."""

import base64
import binascii
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from ..errors import InvalidCredentials, InvalidRequest
from ..signing import DEFAULT_KEY_BITS, MINIMUM_KEY_BITS, PrivateKey, PublicKey
from .failures import ExitCode, explained, unread_or_not
from .naming import PASSPHRASE_VARIABLE, key_named
from .screen import AsJson, write_json, write_line

_MOST_KEY_BITS: Final = 8192
_OWNER_ONLY: Final = 0o600
_FOR_ALL: Final = 0o644

Content = Annotated[
    Path,
    typer.Argument(metavar="FILE|-", allow_dash=True, help="The content; - is standard input."),
]
PassphraseEnv = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Environment variable that holds the key's passphrase."),
]


def keygen(
    *,
    bits: Annotated[int, typer.Option(min=MINIMUM_KEY_BITS, max=_MOST_KEY_BITS)] = DEFAULT_KEY_BITS,
    out: Annotated[Path, typer.Option(help="File of the private key; never overwritten.")] = Path(
        "smartglocal.pem"
    ),
    passphrase_env: PassphraseEnv = None,
    as_json: AsJson = False,
) -> None:
    """Make a pair of RSA keys.

    The private half is for you alone, the public half to register with the provider.
    """
    with explained(as_json=as_json):
        _check_place(out)
        public = out.with_suffix(".pub.pem")
        secret = _passphrase(passphrase_env)
        _refuse_existing(out, public)
        key = PrivateKey.generate(bits)
        _write_new((out, key.pem(secret), _OWNER_ONLY), (public, key.public.pem(), _FOR_ALL))
        if as_json:
            write_json(
                {
                    "private_key": str(out),
                    "public_key": str(public),
                    "bits": key.bits,
                    "encrypted": secret is not None,
                }
            )
            return
        write_line(f"private key  {out}  (for its owner alone)")
        write_line(f"public key   {public}")
        write_line("Next, have your Smart Glocal account manager register the public key; then:")
        write_line(f"  export SMARTGLOCAL_PRIVATE_KEY={shlex.quote(str(out))}")
        if passphrase_env is not None:
            write_line(f'  export {PASSPHRASE_VARIABLE}="${passphrase_env}"')
        write_line("  smartglocal doctor")


def sign(
    content: Content = Path("-"),
    *,
    key: Annotated[Path, typer.Option(metavar="FILE", help="Private key, PEM.")],
    passphrase_env: PassphraseEnv = None,
    as_json: AsJson = False,
) -> None:
    """Sign a file's exact bytes: Base64, one line."""
    with explained(as_json=as_json):
        pem, secret = key.read_bytes(), _passphrase(passphrase_env)
        with key_named("--key", key):
            private = PrivateKey.from_pem(pem, secret).prove()
        signature = private.sign(_read(content))
        if as_json:
            write_json({"signature": signature})
        else:
            write_line(signature)


def verify(
    content: Content = Path("-"),
    *,
    key: Annotated[Path, typer.Option(metavar="FILE", help="Public or private key, PEM.")],
    signature: Annotated[
        str,
        typer.Option(
            metavar="TEXT|@FILE",
            help="Base64, or a file with Base64 or with the raw bytes that openssl writes.",
        ),
    ],
    passphrase_env: PassphraseEnv = None,
    as_json: AsJson = False,
) -> None:
    """Check a signature: exit code 0 for yes, 1 for no."""
    with explained(as_json=as_json):
        pem, secret = key.read_bytes(), _passphrase(passphrase_env)
        with key_named("--key", key):
            public = _public(pem, secret)
        is_valid = public.verifies(_read(content), _signature(signature))
        with unread_or_not():
            if as_json:
                write_json({"valid": is_valid})
            else:
                write_line("valid" if is_valid else "not valid: other bytes, or another key")
    if not is_valid:
        raise typer.Exit(ExitCode.FAILED)


def _passphrase(name: str | None) -> bytes | None:
    if name is None:
        return None
    found = os.environ.get(name)
    if not found:
        raise InvalidCredentials(
            f"--passphrase-env: the environment variable {name} is not set, or is empty"
        )
    return found.encode()


def _check_place(out: Path) -> None:
    if out.is_dir():
        raise InvalidRequest("--out", f"{out} is a folder; name a file, say {out / 'shop.pem'}")
    if not out.parent.is_dir():
        raise InvalidRequest("--out", f"there is no folder {out.parent}; make it first")


def _refuse_existing(*paths: Path) -> None:
    for path in paths:
        if path.exists() or path.is_symlink():
            raise FileExistsError(17, "exists already; move it away, or give another --out", path)


def _write_new(*files: tuple[Path, bytes, int]) -> None:
    """Write all of the files, or none; one that is there already is an error."""
    made: list[Path] = []
    try:
        for path, content, mode in files:
            # Created with its permissions, so that nobody can open it before they are set.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            made.append(path)
            with os.fdopen(descriptor, "wb") as file:
                _ = file.write(content)
    except OSError:
        for path in made:
            path.unlink()
        raise


def _read(path: Path) -> bytes:
    return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()


def _public(pem: bytes, passphrase: bytes | None) -> PublicKey:
    if passphrase is not None:
        return PrivateKey.from_pem(pem, passphrase).public
    return PublicKey.from_pem(pem)


def _signature(given: str) -> str:
    """Give Base64 in one line, of what was typed or of what a file holds."""
    if not given.startswith("@"):
        return given.strip()
    held = Path(given[1:]).read_bytes()
    try:
        text = "".join(held.decode("ascii").split())
        _ = base64.b64decode(text, validate=True)
    except (UnicodeDecodeError, binascii.Error):
        return base64.b64encode(held).decode("ascii")
    return text
