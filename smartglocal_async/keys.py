"""RSA-SHA256 over raw bytes, as the header ``X-PARTNER-SIGN`` carries it.

PKCS#1 v1.5 padding, standard Base64 in one line. The provider's page names the header, RSA
and the serialised body; hash and encoding are documented by the sister platform, the padding
is what its SDK and every public integration use. The scheme is deterministic: the same bytes
give the same signature, so one signature serves every attempt of a call.
"""

import base64
import binascii
from pathlib import Path
from typing import Final, NoReturn, Protocol, Self

from attrs import field, frozen
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .errors import InvalidCredentials

DEFAULT_KEY_BITS: Final = 2048
MINIMUM_KEY_BITS: Final = 2048
_PUBLIC_EXPONENT: Final = 65537
_PADDING: Final = padding.PKCS1v15()
_HASH: Final = hashes.SHA256()
_DIGEST_PREFIXES: Final = {
    "SHA-256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "SHA-1": bytes.fromhex("3021300906052b0e03021a05000414"),
    "SHA-384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "SHA-512": bytes.fromhex("3051300d060960864801650304020305000440"),
    "MD5": bytes.fromhex("3020300c06082a864886f70d020505000410"),
}
"""What PKCS#1 v1.5 writes before a digest, by the hash (RFC 8017, 9.2)."""
_LONGEST_PATH: Final = 1_000
"""A path that is longer is a key, most likely, and must not be quoted in an error."""
_MAKE_ONE: Final = "make a pair with: smartglocal keygen"


class Signer(Protocol):
    """Turns a body into the value of ``X-PARTNER-SIGN``: standard Base64 in one line.

    An HSM or a key management service fits as well as a PEM file: any object with this
    coroutine method will do. What it raises ends the call as not sent.
    """

    async def sign(self, body: bytes) -> str:
        """Return the Base64 of the RSA-SHA256 (PKCS#1 v1.5) signature of ``body``."""
        ...


def read_pem(
    source: bytes | Path | str, name: str, advice: str = "", setting: str | None = None
) -> bytes:
    """Return the PEM of a key, which is given as bytes or as the path of a file.

    ``name`` says which key it is, such as "the private key". No frame and no context of an error
    from here holds what was given.

    Raises:
        InvalidCredentials: the key itself was given as text, or the file can't be read; ``advice``
            is appended to the second. The error has the ``setting``.

    """
    if isinstance(source, bytes):
        return source
    if "-----BEGIN" in str(source) or len(str(source)) > _LONGEST_PATH:
        del source
        problem = f"{name} was given as text; give a path, or PEM as bytes"
        raise InvalidCredentials(problem, setting)
    try:
        return Path(source).read_bytes()
    except OSError as error:
        problem = f"{name} {source} can't be read: {error.strerror}{advice}"
    raise InvalidCredentials(problem, setting)


class SignerFailed(Exception):
    """A signer raised instead of signing; names its exception and none of its words."""


@frozen(eq=False)
class PublicKey:
    """The half that checks signatures."""

    _key: rsa.RSAPublicKey = field(repr=False)

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Read a PEM public key, or take the public half of a PEM private key.

        Raises:
            InvalidCredentials: it is not PEM, not RSA, or is encrypted.

        """
        key = _read_public(pem)
        del pem
        if isinstance(key, InvalidCredentials):
            raise InvalidCredentials(f"the public key {key.problem}", key.setting)
        return cls(key)

    @property
    def bits(self) -> int:
        """Size of the modulus."""
        return self._key.key_size

    def pem(self) -> bytes:
        """Return the key as PEM SubjectPublicKeyInfo (``BEGIN PUBLIC KEY``)."""
        return self._key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def verifies(self, body: bytes, signature: str) -> bool:
        """Return whether ``signature`` (Base64) is this key's over exactly ``body``."""
        try:
            raw = base64.b64decode(signature, validate=True)
            self._key.verify(raw, body, _PADDING, _HASH)
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True

    def digest_in(self, signature: bytes) -> tuple[str, bytes] | None:
        """Return what a signature of this key was made over: the hash's name, and the digest.

        The name is empty if the signature has none of the known ones in it. None if the key's other
        half didn't make the signature, or made it with another padding.
        """
        try:
            signed = self._key.recover_data_from_signature(signature, _PADDING, None)
        except (InvalidSignature, ValueError):
            return None
        for name, prefix in _DIGEST_PREFIXES.items():
            if signed.startswith(prefix):
                return name, signed.removeprefix(prefix)
        return "", signed


@frozen(eq=False)
class PrivateKey:
    """An RSA private key; it shows itself in no repr and refuses to be pickled."""

    _key: rsa.RSAPrivateKey = field(repr=False)

    @classmethod
    def from_pem(cls, pem: bytes, passphrase: bytes | None = None) -> Self:
        """Read a PEM private key, PKCS#1 or PKCS#8, with its passphrase if it has one.

        The costly arithmetic check is left to `prove`, so this takes microseconds.

        Raises:
            InvalidCredentials: it is a public key, encrypted, not RSA, under 2048 bits, or
                not PEM at all; the text says which and what to do, and holds no key material.

        """
        key = _read_private(pem, passphrase)
        del pem, passphrase
        if isinstance(key, InvalidCredentials):
            raise InvalidCredentials(f"the private key {key.problem}", key.setting)
        return cls(key)

    @classmethod
    def generate(cls, bits: int = DEFAULT_KEY_BITS) -> Self:
        """Make a new key; takes from tens of milliseconds (2048 bits) to seconds (4096)."""
        if bits < MINIMUM_KEY_BITS:
            raise InvalidCredentials(
                f"a key of {bits} bits is too short: {MINIMUM_KEY_BITS} or more"
            )
        return cls(rsa.generate_private_key(_PUBLIC_EXPONENT, bits))

    @property
    def bits(self) -> int:
        """Size of the modulus."""
        return self._key.key_size

    @property
    def public(self) -> PublicKey:
        """The half to register with the provider."""
        return PublicKey(self._key.public_key())

    def pem(self, passphrase: bytes | None = None) -> bytes:
        """Return the key as PEM PKCS#8, encrypted when there is a passphrase."""
        encryption: serialization.KeySerializationEncryption = (
            serialization.BestAvailableEncryption(passphrase)
            if passphrase
            else serialization.NoEncryption()
        )
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )

    def sign(self, body: bytes) -> str:
        """Return the signature of ``body`` in standard Base64, one line.

        Takes about 0.8 ms of one core at 2048 bits and lets go of the GIL meanwhile
        (cryptography 47 and later), so it belongs on a thread of its own.
        """
        return base64.b64encode(self._key.sign(body, _PADDING, _HASH)).decode("ascii")

    def prove(self) -> Self:
        """Sign a probe and verify it; a damaged key is found here and not by the provider.

        Raises:
            InvalidCredentials: the numbers of the key do not belong together.

        """
        probe = b"smartglocal-async key check"
        try:
            good = self.public.verifies(probe, self.sign(probe))
        except ValueError:
            good = False
        if not good:
            raise InvalidCredentials(
                f"the private key is damaged: its parts don't fit; {_MAKE_ONE}", "private_key"
            )
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key isn't pickled; hand over the path of its file instead")


def _read_public(pem: bytes) -> rsa.RSAPublicKey | InvalidCredentials:
    """Return the key, or the error instead of raising it: its frames would hold the PEM."""
    if b"PRIVATE KEY" in pem:
        private = _read_private(pem, None)
        return private if isinstance(private, InvalidCredentials) else private.public_key()
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        return InvalidCredentials("isn't PEM (-----BEGIN PUBLIC KEY-----)", "public_key")
    if isinstance(key, rsa.RSAPublicKey):
        return key
    return InvalidCredentials("isn't RSA; the provider takes RSA only", "public_key")


def _read_private(pem: bytes, passphrase: bytes | None) -> rsa.RSAPrivateKey | InvalidCredentials:
    """Return the key, or the error instead of raising it: its frames would hold the PEM."""
    if b"PUBLIC KEY" in pem:
        return _bad_key(f"is a public key; give the private half, or {_MAKE_ONE}")
    try:
        # Skips the 50 ms primality check: the merchant's own key is not an attacker's,
        # and `prove` tests on a thread that its parts belong together.
        key = serialization.load_pem_private_key(
            pem, passphrase, unsafe_skip_rsa_key_validation=True
        )
    except TypeError:
        return (
            _bad_passphrase("is encrypted; give its passphrase")
            if passphrase is None
            else _bad_passphrase("isn't encrypted, but a passphrase was given; leave it out")
        )
    except (ValueError, UnsupportedAlgorithm):
        return (
            _bad_key(f"can't be read: it isn't PEM (-----BEGIN PRIVATE KEY-----); {_MAKE_ONE}")
            if passphrase is None
            else _bad_passphrase("can't be read: the passphrase is wrong, or it isn't PEM")
        )
    if not isinstance(key, rsa.RSAPrivateKey):
        return _bad_key(f"isn't RSA; the provider takes RSA only; {_MAKE_ONE}")
    if key.key_size < MINIMUM_KEY_BITS:
        least = f"{MINIMUM_KEY_BITS} or more are needed"
        return _bad_key(f"has {key.key_size} bits; {least}; {_MAKE_ONE}")
    return key


def _bad_key(problem: str) -> InvalidCredentials:
    return InvalidCredentials(problem, "private_key")


def _bad_passphrase(problem: str) -> InvalidCredentials:
    return InvalidCredentials(problem, "private_key_passphrase")
