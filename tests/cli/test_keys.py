"""keygen, sign and verify, beside openssl."""

import base64
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT
from typer.testing import CliRunner

from smartglocal_async.cli import keys
from smartglocal_async.cli.app import app

pytestmark = pytest.mark.slow

PASSPHRASE = "correct horse battery staple"  # noqa: S105 - hunted in the output
CONTENTS = {
    "json": b'{"metadata":"order123"}',
    "trailing newline": b"order123\n",
    "two newlines": b"order123\r\n\n",
    "binary": bytes(range(256)) * 4,
    "empty": b"",
}


def run(*arguments: object, stdin: bytes = b"", **env: str):
    """Run the command in this process."""
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(app, words, input=stdin, env=env, catch_exceptions=False)


def openssl(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run openssl, whose word decides."""
    words = ["openssl", *(str(argument) for argument in arguments)]
    return subprocess.run(words, input=stdin, capture_output=True, check=False)


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Path, Path]:
    """Return the paths of a pair that `keygen` made."""
    out = tmp_path_factory.mktemp("keys") / "shop.pem"
    assert run("keygen", "--output", out).exit_code == 0
    return out, out.with_name("shop.pub.pem")


@pytest.fixture(params=CONTENTS.values(), ids=CONTENTS.keys())
def content(request, tmp_path) -> Path:
    """Return a file with content that is easily damaged on the way."""
    path = tmp_path / "content"
    path.write_bytes(request.param)
    return path


def test_keygen_makes_a_pair_for_the_owner_alone(tmp_path, monkeypatch):
    """The private key is the owner's alone whatever the umask, and openssl reads both halves."""
    monkeypatch.chdir(tmp_path)
    done = subprocess.run(
        (sys.executable, "-m", "smartglocal_async", "keygen"),
        capture_output=True,
        text=True,
        check=False,
        umask=0,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    private, public = tmp_path / "smartglocal.pem", tmp_path / "smartglocal.pub.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert openssl("rsa", "-in", private, "-check", "-noout").returncode == 0
    assert openssl("pkey", "-pubin", "-in", public, "-noout").returncode == 0
    assert "account manager" in done.stdout


def test_keygen_prints_nothing_of_the_key(tmp_path):
    """Neither the key nor its passphrase reaches the screen."""
    result = run(
        "keygen", "--output", tmp_path / "k.pem", "--passphrase-env", "SECRET", SECRET=PASSPHRASE
    )
    pem = (tmp_path / "k.pem").read_text()
    assert result.exit_code == 0
    assert PASSPHRASE not in result.output
    assert '  export SMARTGLOCAL_PRIVATE_KEY_PASSPHRASE="$SECRET"\n' in result.stdout
    assert "BEGIN" not in result.output
    assert not any(line in result.output for line in pem.splitlines())


@pytest.mark.parametrize(
    ("out", "words"),
    [
        (".", "is a folder"),
        ("..", "is a folder"),
        ("/", "is a folder"),
        ("there", "is a folder"),
        ("absent/shop.pem", "there is no folder absent"),
    ],
)
def test_keygen_names_a_place_that_cant_be(tmp_path, monkeypatch, out, words):
    """The error of a folder, or of a missing folder, names --out, and nothing is made."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    result = run("keygen", "--output", out)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("smartglocal: --output: ")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


@pytest.mark.parametrize("taken", ["shop.pem", "shop.pub.pem"])
def test_keygen_never_overwrites(tmp_path, taken):
    """A file that is there stays as it is, and no half of a pair is left behind."""
    (tmp_path / taken).write_text("precious")
    result = run("keygen", "--output", tmp_path / "shop.pem")
    assert result.exit_code == 2
    assert f"{taken}: exists already" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [taken]
    assert (tmp_path / taken).read_text() == "precious"


def test_half_a_pair_is_not_left_behind(tmp_path):
    """Where the second file can't be written, the first one goes again."""
    private, public = tmp_path / "k.pem", tmp_path / "absent" / "k.pub.pem"
    with pytest.raises(FileNotFoundError):
        keys.write_new((private, b"private", 0o600), (public, b"public", 0o644))
    assert list(tmp_path.iterdir()) == []


def test_file_made_meanwhile_stays(tmp_path):
    """A file that another program made a moment ago is neither overwritten nor removed."""
    path = tmp_path / "k.pem"
    path.write_text("precious")
    with pytest.raises(FileExistsError):
        keys.write_new((path, b"private", 0o600))
    assert path.read_text() == "precious"


def test_keygen_encrypts(tmp_path):
    """With a passphrase the file opens with it only, and `sign` takes it from the environment."""
    out = tmp_path / "k.pem"
    result = run(
        "keygen", "--output", out, "--passphrase-env", "SECRET", "--json", SECRET=PASSPHRASE
    )
    assert json.loads(result.stdout) == {
        "private_key": str(out),
        "public_key": str(tmp_path / "k.pub.pem"),
        "bits": 2048,
        "encrypted": True,
    }
    locked = run("sign", "--private-key", out, stdin=b"x")
    assert locked.exit_code == 2
    assert locked.stderr.startswith(f"smartglocal: --passphrase-env: {out}: ")
    signed = run(
        "sign", "--private-key", out, "--passphrase-env", "SECRET", stdin=b"x", SECRET=PASSPHRASE
    )
    checked = run(
        *("verify", "--public-key", out, "--passphrase-env", "SECRET"),
        *("--signature", signed.stdout),
        stdin=b"x",
        SECRET=PASSPHRASE,
    )
    assert (signed.exit_code, checked.exit_code) == (0, 0)


def test_openssl_accepts_our_signature(pair, content, tmp_path):
    """What `sign` prints is one line of Base64 of what `openssl dgst -sha256 -verify` takes."""
    private, public = pair
    result = run("sign", content, "--private-key", private)
    assert result.stdout.count("\n") == 1
    raw = tmp_path / "raw"
    raw.write_bytes(base64.b64decode(result.stdout.strip(), validate=True))
    said = openssl("dgst", "-sha256", "-verify", public, "-signature", raw, content)
    assert said.stdout == b"Verified OK\n"


def test_signature_is_that_of_openssl(pair, content):
    """The scheme is deterministic: both programs give the same bytes, from standard input too."""
    private, _ = pair
    theirs = openssl("dgst", "-sha256", "-sign", private, content).stdout
    assert run("sign", "--private-key", private, stdin=content.read_bytes()).stdout == (
        base64.b64encode(theirs).decode() + "\n"
    )


@pytest.mark.parametrize("form", ["raw", "wrapped", "line"])
def test_we_accept_the_signature_of_openssl(pair, content, tmp_path, form):
    """`verify` takes openssl's raw bytes, its wrapped Base64, and Base64 in one line."""
    private, public = pair
    raw = openssl("dgst", "-sha256", "-sign", private, content).stdout
    held = tmp_path / "signature"
    held.write_bytes({"raw": raw, "wrapped": base64.encodebytes(raw)}.get(form, b""))
    signature = base64.b64encode(raw).decode() if form == "line" else f"@{held}"
    assert run("verify", content, "--public-key", public, "--signature", signature).exit_code == 0
    assert run("verify", content, "--public-key", private, "--signature", signature).exit_code == 0


@pytest.mark.parametrize("signature", ["", "AAAA", "no base64 at all", "é"])
def test_wrong_signature_is_a_no(pair, signature):
    """A signature that doesn't fit, or is none, is a plain no with exit code 1."""
    result = run("verify", "--public-key", pair[1], "--signature", signature, "--json", stdin=b"x")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"valid": False}


def test_other_bytes_are_a_no(pair):
    """One byte more, and the signature doesn't fit."""
    signature = json.loads(run("sign", "--private-key", pair[0], "--json", stdin=b"x").stdout)[
        "signature"
    ]
    yes = run("verify", "--public-key", pair[1], "--signature", signature, stdin=b"x")
    no = run("verify", "--public-key", pair[1], "--signature", signature, stdin=b"x\n")
    assert (yes.exit_code, no.exit_code) == (0, 1)
    assert (yes.stdout, no.stdout[:9]) == ("valid\n", "not valid")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sign", "--private-key", "absent.pem"), "absent.pem: No such file or directory"),
        (("sign", "absent", "--private-key", "{private}"), "absent: No such file or directory"),
        (
            ("sign", "--private-key", "{public}"),
            "--private-key: {public}: the private key is a public key",
        ),
        (("sign", "--private-key", "{private}", "--passphrase-env", "UNSET"), "UNSET is not set"),
        (("sign", "--private-key", "{private}", "--passphrase-env", "UNSET"), "--passphrase-env: "),
        (
            ("sign", "--private-key", "{private}", "--passphrase-env", "HOME"),
            "--passphrase-env: {private}: the private key isn't encrypted",
        ),
        (("verify", "--public-key", "{content}", "--signature", "AAAA"), "isn't PEM"),
        (
            ("verify", "--public-key", "{content}", "--signature", "AAAA"),
            "--public-key: {content}: ",
        ),
        (("verify", "--public-key", "{public}", "--signature", "@absent"), "absent: No such file"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(pair, tmp_path, arguments, words):
    """What can't be used is named in one line on standard error; standard output stays empty."""
    (tmp_path / "content").write_bytes(b"x")
    places = {"private": pair[0], "public": pair[1], "content": tmp_path / "content"}
    result = run(*(word.format(**places) for word in arguments))
    assert result.exit_code == 2
    assert words.format(**places) in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_weak_key_is_refused_before_it_is_made(tmp_path):
    """A key under 2048 bits is not made."""
    assert run("keygen", "--bits", 1024, "--output", tmp_path / "k.pem").exit_code == 2
    assert list(tmp_path.iterdir()) == []
