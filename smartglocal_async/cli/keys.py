"""``keygen``, ``sign`` and ``verify``: RSA keys and signatures, compatible with openssl."""

import base64
import binascii
import os
import shlex
import sys
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from attrs import frozen

from ..errors import InvalidCredentials, InvalidRequest
from ..journal.file_access import OPEN, lock
from ..keys import PrivateKey, PublicKey
from .app import KeygenOptions, SignOptions, VerifyOptions
from .errors import ExitCode, named, reader_may_leave, variable_of
from .output import write_json, write_line

OWNER_ONLY: Final = 0o600
_FOR_ALL: Final = 0o644


def keygen(options: KeygenOptions) -> None:
    """Write a new private key and its public key to two files."""
    private = options.output
    _check_folder(private)
    public = private.with_suffix(".pub.pem")
    passphrase = _passphrase(options.passphrase_env)
    _refuse_existing(private, public)
    key = PrivateKey.generate(options.bits)
    write_new((private, key.pem(passphrase), OWNER_ONLY), (public, key.public.pem(), _FOR_ALL))
    if options.as_json:
        write_json(
            {
                "private_key": str(private),
                "public_key": str(public),
                "bits": key.bits,
                "encrypted": passphrase is not None,
            }
        )
        return
    write_line(f"private key  {private}  (readable by its owner only)")
    write_line(f"public key   {public}")
    write_line("Next, have your Smart Glocal account manager register the public key; then:")
    write_line(f"  export SMARTGLOCAL_PRIVATE_KEY={shlex.quote(str(private))}")
    if options.passphrase_env is not None:
        variable = variable_of("private_key_passphrase")
        write_line(f'  export {variable}="${options.passphrase_env}"')
    write_line("  smartglocal doctor")


def sign(options: SignOptions) -> None:
    """Print the signature of a file."""
    path = options.private_key
    pem, passphrase = path.read_bytes(), _passphrase(options.passphrase_env)
    with _key_named("--private-key", path):
        key = PrivateKey.from_pem(pem, passphrase).prove()
    signature = key.sign(_read(options.content))
    if options.as_json:
        write_json({"signature": signature})
    else:
        write_line(signature)


def verify(options: VerifyOptions) -> ExitCode:
    """Print whether a signature is valid."""
    path = options.public_key
    pem, passphrase = path.read_bytes(), _passphrase(options.passphrase_env)
    with _key_named("--public-key", path):
        key = _public(pem, passphrase)
    is_valid = key.verifies(_read(options.content), _signature(options.signature))
    with reader_may_leave():
        if options.as_json:
            write_json({"valid": is_valid})
        else:
            write_line("valid" if is_valid else "not valid: signed other bytes, or by another key")
    return ExitCode.DONE if is_valid else ExitCode.FAILED


@contextmanager
def _locked_folder(folder: Path) -> Generator[None, None, None]:
    """Hold a lock on a folder; where folders can't be opened, on a file in it."""
    if hasattr(os, "O_DIRECTORY"):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    else:
        opened = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | OPEN, 0o600)
    try:
        lock(opened, waits=True)
        yield
    finally:
        os.close(opened)


@frozen
class KeyFolder:
    """A folder in which keys are generated once; what uses it again has the same keys.

    The folder is created if there is none. Only its owner can read the private keys.
    """

    path: Path
    option: str
    """The option that names the folder, for messages."""

    @contextmanager
    def locked(self) -> Generator[None, None, None]:
        """Keep other processes out, so that two that start together have the same keys."""
        if not self.path.parent.is_dir():
            problem = f"there is no folder {self.path.parent}; create it first"
            raise InvalidRequest(self.option, problem)
        self.path.mkdir(mode=0o700, exist_ok=True)
        with _locked_folder(self.path):
            yield

    def key(self, name: str) -> PrivateKey:
        """Return the private key of a file, which is generated if there is none."""
        path = self.path / name
        if not path.exists():
            write_new((path, PrivateKey.generate().pem(), OWNER_ONLY))
        with _key_named(self.option, path):
            return PrivateKey.from_pem(path.read_bytes())

    def public(self, name: str, key: PrivateKey) -> Path:
        """Return the file of a key's public part, which is written if there is none."""
        path, pem = self.path / name, key.public.pem()
        if not path.exists():
            write_new((path, pem, _FOR_ALL))
        if path.read_bytes() != pem:
            raise InvalidRequest(self.option, f"{path} is of another key; move it away")
        return path


def _key_named(option: str, path: Path) -> AbstractContextManager[None]:
    source = f"{option}: {path}"
    return named(
        settings={
            "private_key": source,
            "public_key": source,
            "private_key_passphrase": f"--passphrase-env: {path}",
        }
    )


def _passphrase(name: str | None) -> bytes | None:
    if name is None:
        return None
    found = os.environ.get(name)
    if not found:
        raise InvalidCredentials(
            f"--passphrase-env: the environment variable {name} is not set, or is empty"
        )
    return found.encode()


def _check_folder(path: Path) -> None:
    if path.is_dir():
        example = path / "shop.pem"
        raise InvalidRequest("--output", f"{path} is a folder; name a file, such as {example}")
    if not path.parent.is_dir():
        raise InvalidRequest("--output", f"there is no folder {path.parent}; create it first")


def _refuse_existing(*paths: Path) -> None:
    for path in paths:
        if path.exists() or path.is_symlink():
            raise FileExistsError(17, "exists already; move it away, or use another --output", path)


def write_new(*files: tuple[Path, bytes, int]) -> None:
    """Write all of the files, or none; an existing file is an error."""
    made: list[Path] = []
    try:
        for path, content, mode in files:
            # Created with its permissions: no other user can open it before they are set.
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
    """Return Base64 in one line, from the option itself or from a file."""
    if not given.startswith("@"):
        return given.strip()
    content = Path(given[1:]).read_bytes()
    try:
        text = "".join(content.decode("ascii").split())
        _ = base64.b64decode(text, validate=True)
    except (UnicodeDecodeError, binascii.Error):
        return base64.b64encode(content).decode("ascii")
    return text
