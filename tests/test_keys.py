"""Signatures that agree with openssl, and keys that don't show their values."""

import base64
import copy
import pickle
import subprocess
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

import smartglocal_async as sg

BODY: Final = b'{"amount_details":{"amount":10000,"currency":"usd"},"metadata":"order123"}'
BODIES: Final = [
    BODY,
    b"",
    b"{}",
    "\u043f\u043b\u0430\u0442\u0451\u0436".encode(),
    bytes(range(256)) * 400,
]


def openssl(*arguments: str | Path, stdin: bytes = b"") -> bytes:
    """Run openssl; return its output."""
    done = subprocess.run(
        ["openssl", *map(str, arguments)],  # noqa: S607
        input=stdin,
        capture_output=True,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with keys that openssl made, in every form."""
    folder = tmp_path_factory.mktemp("keys")
    private = folder / "pkcs8.pem"
    openssl("genrsa", "-out", private, "2048")
    secret = ("-passout", "pass:open sesame")
    openssl("rsa", "-in", private, "-traditional", "-out", folder / "pkcs1.pem")
    openssl(
        "pkcs8",
        "-topk8",
        "-in",
        private,
        "-v2",
        "aes256",
        *secret,
        "-out",
        folder / "pkcs8.enc.pem",
    )
    openssl(
        "rsa", "-in", private, "-traditional", "-aes256", *secret, "-out", folder / "pkcs1.enc.pem"
    )
    openssl("rsa", "-in", private, "-pubout", "-out", folder / "public.pem")
    openssl("rsa", "-in", private, "-RSAPublicKey_out", "-out", folder / "public.pkcs1.pem")
    openssl("rsa", "-in", private, "-outform", "DER", "-out", folder / "private.der")
    openssl("genrsa", "-out", folder / "short.pem", "1024")
    openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", folder / "ec.pem")
    openssl("ec", "-in", folder / "ec.pem", "-pubout", "-out", folder / "ec.public.pem")
    openssl("genpkey", "-algorithm", "ed25519", "-out", folder / "ed25519.pem")
    return folder


FORMS: Final = [
    ("pkcs8.pem", None),
    ("pkcs1.pem", None),
    ("pkcs8.enc.pem", b"open sesame"),
    ("pkcs1.enc.pem", b"open sesame"),
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(("name", "passphrase"), FORMS)
def test_openssl_makes_the_same_signature(folder, name, passphrase, body) -> None:
    """RSA-SHA256, PKCS#1 v1.5, standard Base64 in one line: `openssl dgst -sha256 -sign`."""
    key = sg.PrivateKey.from_pem((folder / name).read_bytes(), passphrase)
    theirs = openssl("dgst", "-sha256", "-sign", folder / "pkcs8.pem", stdin=body)

    assert key.sign(body) == base64.b64encode(theirs).decode()


@pytest.mark.parametrize("body", BODIES)
def test_openssl_accepts_our_signature(folder, tmp_path, body) -> None:
    """The other direction, with a key made here."""
    key = sg.PrivateKey.from_pem((folder / "pkcs1.pem").read_bytes())
    (tmp_path / "signature").write_bytes(base64.b64decode(key.sign(body)))
    (tmp_path / "public.pem").write_bytes(key.public.pem())

    said = openssl(
        "dgst", "-sha256", "-verify", tmp_path / "public.pem",
        "-signature", tmp_path / "signature", stdin=body,
    )  # fmt: skip
    assert said == b"Verified OK\n"


@pytest.mark.parametrize("name", ["public.pem", "public.pkcs1.pem", "pkcs8.pem", "pkcs1.pem"])
def test_we_accept_openssls_signature(folder, name) -> None:
    """A public key in either form, or the public half of a private one."""
    public = sg.PublicKey.from_pem((folder / name).read_bytes())
    theirs = openssl("dgst", "-sha256", "-sign", folder / "pkcs8.pem", stdin=BODY)

    assert public.verifies(BODY, base64.b64encode(theirs).decode())
    assert not public.verifies(BODY + b" ", base64.b64encode(theirs).decode())


def test_keys_written_here_are_read_by_openssl(folder, tmp_path) -> None:
    """`pem()` is PKCS#8, encrypted or not, and SubjectPublicKeyInfo."""
    key = sg.PrivateKey.from_pem((folder / "pkcs1.pem").read_bytes())
    (tmp_path / "plain.pem").write_bytes(key.pem())
    (tmp_path / "secret.pem").write_bytes(key.pem(b"open sesame"))

    modulus = openssl("rsa", "-in", folder / "pkcs8.pem", "-noout", "-modulus")
    secret = ("-passin", "pass:open sesame")
    assert key.pem().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert key.pem(b"x").startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert openssl("rsa", "-in", tmp_path / "plain.pem", "-noout", "-modulus") == modulus
    assert openssl("rsa", "-in", tmp_path / "secret.pem", *secret, "-noout", "-modulus") == modulus
    assert key.public.pem() == (folder / "public.pem").read_bytes()


@given(body=st.binary(max_size=200), other=st.binary(max_size=200))
def test_a_signature_is_of_exactly_these_bytes(key, body, other) -> None:
    """The same bytes give the same signature, and it fits no other bytes."""
    signature = key.sign(body)

    assert key.sign(body) == signature
    assert key.public.verifies(body, signature)
    assert key.public.verifies(other, signature) is (body == other)


def test_the_form_of_a_signature(key) -> None:
    """One line of the standard alphabet, padded: 256 bytes make 344 characters."""
    signature = key.sign(BODY)
    assert (len(signature), len(base64.b64decode(signature, validate=True))) == (344, 256)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: "",
        lambda signature: signature[:-4],
        lambda signature: signature[:-1],
        lambda signature: signature + "\n",
        lambda signature: " " + signature,
        lambda signature: "A" + signature[1:] if signature[0] != "A" else "B" + signature[1:],
        lambda signature: base64.b64decode(signature).hex(),
        lambda _: "signature",
        lambda _: "\u00e9" * 344,
        lambda _: base64.b64encode(bytes(256)).decode(),
        lambda signature: base64.b64encode(base64.b64decode(signature) + b"\0").decode(),
    ],
)
def test_invalid_signatures(key, spoil: Callable[[str], str]) -> None:
    """Anything else returns False, and never raises."""
    assert key.public.verifies(BODY, spoil(key.sign(BODY))) is False


def test_another_key_is_another_partner(key, folder) -> None:
    """A signature also identifies the partner."""
    other = sg.PublicKey.from_pem((folder / "public.pem").read_bytes())
    assert not other.verifies(BODY, key.sign(BODY))


# Refusals, by message.

KEYGEN: Final = "make a pair with: smartglocal keygen"


@pytest.mark.parametrize(
    ("name", "passphrase", "text"),
    [
        ("public.pem", None, f"is a public key; give the private half, or {KEYGEN}"),
        ("pkcs8.enc.pem", None, "is encrypted; give its passphrase"),
        ("pkcs1.enc.pem", None, "is encrypted; give its passphrase"),
        ("pkcs8.enc.pem", b"wrong", "can't be read: the passphrase is wrong, or it isn't PEM"),
        ("pkcs1.enc.pem", b"wrong", "can't be read: the passphrase is wrong, or it isn't PEM"),
        ("pkcs8.pem", b"x", "isn't encrypted, but a passphrase was given; leave it out"),
        ("pkcs1.pem", b"x", "isn't encrypted, but a passphrase was given; leave it out"),
        ("short.pem", None, f"has 1024 bits; 2048 or more are needed; {KEYGEN}"),
        ("ec.pem", None, f"isn't RSA; the provider takes RSA only; {KEYGEN}"),
        ("ed25519.pem", None, f"isn't RSA; the provider takes RSA only; {KEYGEN}"),
        (
            "private.der",
            None,
            f"can't be read: it isn't PEM (-----BEGIN PRIVATE KEY-----); {KEYGEN}",
        ),
    ],
)
def test_private_keys_that_are_refused(folder, name, passphrase, text) -> None:
    """The message has the rule, and what to do."""
    with pytest.raises(sg.InvalidCredentials) as caught:
        sg.PrivateKey.from_pem((folder / name).read_bytes(), passphrase)
    assert str(caught.value) == f"the private key {text}"


@pytest.mark.parametrize("text", [b"", b"key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_text_that_is_no_key(text) -> None:
    """Neither half reads text that isn't PEM."""
    with pytest.raises(sg.InvalidCredentials, match="isn't PEM"):
        sg.PrivateKey.from_pem(text)
    with pytest.raises(sg.InvalidCredentials, match="isn't PEM"):
        sg.PublicKey.from_pem(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ec.public.pem", "isn't RSA; the provider takes RSA only"),
        ("pkcs8.enc.pem", "is encrypted; give its passphrase"),
        ("ec.pem", f"isn't RSA; the provider takes RSA only; {KEYGEN}"),
        ("private.der", "isn't PEM (-----BEGIN PUBLIC KEY-----)"),
    ],
)
def test_public_keys_that_are_refused(folder, name, text) -> None:
    """The same for public keys."""
    with pytest.raises(sg.InvalidCredentials) as caught:
        sg.PublicKey.from_pem((folder / name).read_bytes())
    assert str(caught.value) == f"the public key {text}"


@pytest.mark.parametrize("bits", [0, 512, 1024, 2047])
def test_short_keys_are_not_made(bits) -> None:
    """Keys under 2048 bits can't be made."""
    with pytest.raises(sg.InvalidCredentials, match=f"a key of {bits} bits is too short: 2048"):
        sg.PrivateKey.generate(bits)


def test_a_made_key_has_its_size(key) -> None:
    """2048 bits by default, for both halves."""
    assert (key.bits, key.public.bits) == (2048, 2048)
    assert key.prove() is key


# A damaged key.


def damaged(key: sg.PrivateKey, *names: str) -> sg.PrivateKey:
    """Return a key with some numbers changed, as in a damaged copy."""
    numbers = serialization.load_pem_private_key(key.pem(), None).private_numbers()
    public = numbers.public_numbers
    parts = {"version": 0, "n": public.n, "e": public.e}
    parts |= {name: getattr(numbers, name) for name in ("d", "p", "q", "dmp1", "dmq1", "iqmp")}
    for name in names:
        parts[name] ^= 1 << 40
    # RSAPrivateKey of RFC 8017, because cryptography writes no inconsistent key.
    der = _der(0x30, b"".join(_der(0x02, _big_endian(number)) for number in parts.values()))
    text = base64.encodebytes(der)
    marks = b"-----BEGIN RSA PRIVATE KEY-----\n", b"-----END RSA PRIVATE KEY-----\n"
    return sg.PrivateKey.from_pem(text.join(marks))


def _big_endian(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1)


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = size.to_bytes((size.bit_length() + 7) // 8 or 1)
    return bytes([tag]) + (b"" if size < 0x80 else bytes([0x80 | len(length)])) + length + content


@pytest.mark.parametrize("parts", ["n", "e", "d p", "d q", "d dmp1", "d dmq1", "d iqmp"])
def test_prove_finds_a_damaged_key(key, parts) -> None:
    """Reading a key is quick and checks little; `prove` finds inconsistent parts."""
    with pytest.raises(sg.InvalidCredentials) as caught:
        damaged(key, *parts.split()).prove()
    assert str(caught.value) == f"the private key is damaged: its parts don't fit; {KEYGEN}"


@pytest.mark.parametrize("part", ["d", "p", "q", "dmp1", "dmq1", "iqmp"])
def test_damage_that_openssl_compensates(key, part) -> None:
    """One wrong number of the secret half is compensated; the signature is the same."""
    assert damaged(key, part).prove().sign(BODY) == key.sign(BODY)


# Secrecy.


def secrets(key: sg.PrivateKey) -> list[str]:
    """Return pieces of a key in the forms in which they might be printed."""
    numbers = serialization.load_pem_private_key(key.pem(), None).private_numbers()
    lines = [line for line in key.pem().decode().splitlines() if "-----" not in line]
    return [*lines, str(numbers.d), f"{numbers.d:x}", str(numbers.p), str(numbers.q)]


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r}".format, ascii])
def test_a_key_does_not_show_itself(key, show) -> None:
    """Neither half prints more than its name."""
    assert show(key) == "PrivateKey()"
    assert show(key.public) == "PublicKey()"


@pytest.mark.parametrize("copying", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_key_is_not_pickled(key, copying) -> None:
    """The error says what to pass instead."""
    with pytest.raises(TypeError, match="isn't pickled; hand over the path of its file instead"):
        copying(key)


def test_a_key_does_not_change(key) -> None:
    """Both halves are frozen."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        key._key = None
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        key.public._key = None


def recorded_text(error: BaseException) -> str:
    """Return everything that a tool which records local variables would store of our frames."""
    ours = traceback.TracebackException.from_exception(error, capture_locals=True)
    text = [*ours.format_exception_only()]
    while ours is not None:
        for frame in ours.stack:
            if "smartglocal_async" in frame.filename:
                text += [str(frame.line), *(frame.locals or {}).values()]
        ours = ours.__cause__ or ours.__context__
    return "\n".join(text)


def wrong(key: sg.PrivateKey) -> list[Callable[[], object]]:
    """Yield ways to fail with a key in use."""
    pem, secret = key.pem(), key.pem(b"open sesame")
    return [
        lambda: sg.PrivateKey.from_pem(pem, b"open sesame"),
        lambda: sg.PrivateKey.from_pem(secret),
        lambda: sg.PrivateKey.from_pem(secret, b"open sesame!"),
        lambda: sg.PrivateKey.from_pem(pem[:-60]),
        lambda: sg.PrivateKey.from_pem(pem + b"-----BEGIN PUBLIC KEY-----"),
        lambda: sg.PublicKey.from_pem(secret),
        lambda: sg.PublicKey.from_pem(pem[:-60]),
        lambda: sg.SmartGlocal("demo", pem, sg.DEMO, passphrase="open sesame"),  # noqa: S106
        lambda: sg.SmartGlocal("demo", pem[:-60], sg.DEMO),
        lambda: sg.SmartGlocal("", pem, sg.DEMO),
        lambda: sg.SmartGlocal("demo", pem, "ftp://host"),
        lambda: sg.SmartGlocal("demo", pem.decode(), sg.DEMO),
        lambda: sg.SmartGlocal("demo", secret, sg.DEMO, passphrase="open sesame!"),  # noqa: S106
        damaged(key, "n").prove,
        lambda: pickle.dumps(key),
    ]


@pytest.mark.parametrize("way", range(15))
def test_no_traceback_shows_a_key(key, way) -> None:
    """With local variables captured, none of our frames has a key or a passphrase."""
    fail = wrong(key)[way]
    with pytest.raises((sg.InvalidCredentials, TypeError)) as caught:
        fail()

    text = recorded_text(caught.value)
    assert text
    assert not [piece for piece in (*secrets(key), "sesame") if piece in text]
