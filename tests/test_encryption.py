"""Encrypted requests: readable with the key, for the row that they were encrypted for."""

import base64
import traceback

import pytest

import smartglocal_async as sg

TEXT = b'{"payment_method": {"number": "4111111111111111"}}'


@pytest.fixture
def key() -> str:
    """Return a key."""
    return sg.RequestCipher.new_key()


def test_what_is_encrypted_is_decrypted(key):
    """The same text is returned, and isn't readable before."""
    encrypted = sg.RequestCipher(key).encrypt(TEXT, "p-1")
    assert b"4111" not in encrypted
    assert sg.RequestCipher(key).decrypt(encrypted, "p-1") == TEXT


def test_the_same_text_is_encrypted_differently_each_time(key):
    """Equal requests have different ciphertexts."""
    cipher = sg.RequestCipher(key)
    assert cipher.encrypt(TEXT, "p-1") != cipher.encrypt(TEXT, "p-1")


def test_keys_can_be_changed(key):
    """The first key encrypts; the older ones still decrypt."""
    old, new = sg.RequestCipher(key), sg.RequestCipher(sg.RequestCipher.new_key(), key)
    assert new.decrypt(old.encrypt(TEXT, "p-1"), "p-1") == TEXT
    with pytest.raises(sg.errors.WrongJournalKey, match="SMARTGLOCAL_JOURNAL_KEY"):
        old.decrypt(new.encrypt(TEXT, "p-1"), "p-1")


@pytest.mark.parametrize("change", ["row", "first byte", "last byte", "cut", "empty", "key"])
def test_what_was_changed_is_not_decrypted(key, change):
    """Not under another row's name, with another key, or if damaged."""
    encrypted = sg.RequestCipher(key).encrypt(TEXT, "p-1")
    damaged = {
        "first byte": bytes([encrypted[0] ^ 1]) + encrypted[1:],
        "last byte": encrypted[:-1] + bytes([encrypted[-1] ^ 1]),
        "cut": encrypted[:10],
        "empty": b"",
    }.get(change, encrypted)
    cipher = (
        sg.RequestCipher(sg.RequestCipher.new_key()) if change == "key" else sg.RequestCipher(key)
    )
    with pytest.raises(sg.JournalUnusable, match=r"key .p-[12]."):
        cipher.decrypt(damaged, "p-2" if change == "row" else "p-1")


def test_another_key_is_no_damage(key):
    """A text of another key and a damaged text raise different errors."""
    encrypted = sg.RequestCipher(key).encrypt(TEXT, "p-1")
    with pytest.raises(sg.errors.WrongJournalKey, match="separated by commas"):
        sg.RequestCipher(sg.RequestCipher.new_key()).decrypt(encrypted, "p-1")
    with pytest.raises(sg.JournalUnusable, match="was changed") as caught:
        sg.RequestCipher(key).decrypt(encrypted[:-1], "p-1")
    assert type(caught.value) is sg.JournalUnusable


@pytest.mark.parametrize(
    "keys",
    [(), ("",), ("not base64!",), (base64.b64encode(b"short-secret").decode(),), (b"bytes", 7)],
)
def test_invalid_key_is_refused_and_not_shown(keys):
    """The message says how to make a key."""
    with pytest.raises(sg.InvalidCredentials, match="new_key") as caught:
        sg.RequestCipher(*keys)
    frame = list(traceback.walk_tb(caught.tb))[-1][0]
    assert set(frame.f_locals) == {"self", "known"}
    assert frame.f_locals["known"] == ()


def test_it_is_read_from_the_environment(key, monkeypatch):
    """Several keys are separated by commas; without the variable there is none."""
    monkeypatch.delenv("SMARTGLOCAL_JOURNAL_KEY", raising=False)
    assert sg.RequestCipher.from_env() is None
    monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", f"{sg.RequestCipher.new_key()},{key}")
    assert (
        sg.RequestCipher.from_env().decrypt(sg.RequestCipher(key).encrypt(TEXT, "a"), "a") == TEXT
    )


@pytest.mark.parametrize("row", ["p-1", "p-2"])
def test_its_repr_shows_nothing(key, row):
    """Neither its repr nor that of an encrypted text."""
    cipher = sg.RequestCipher(key)
    assert key not in repr(cipher)
    encrypted = cipher.encrypt(TEXT, "p-2") if row == "p-1" else b"damaged"
    with pytest.raises(sg.JournalUnusable) as caught:
        cipher.decrypt(encrypted, row)
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert repr(base64.b64decode(key)) not in "".join(told.format())
