"""Sealed requests: read by who has the key, for the row that they were sealed for."""

import base64
import traceback

import pytest

import smartglocal_async as sg

TEXT = b'{"payment_method": {"number": "4111111111111111"}}'


@pytest.fixture
def key() -> str:
    """Give a key."""
    return sg.Seal.new_key()


def test_what_is_sealed_opens(key):
    """The same text comes back, and can't be read before."""
    sealed = sg.Seal(key).close(TEXT, "p-1")
    assert b"4111" not in sealed
    assert sg.Seal(key).open(sealed, "p-1") == TEXT


def test_the_same_text_is_sealed_differently_each_time(key):
    """Nobody sees that two requests are equal."""
    seal = sg.Seal(key)
    assert seal.close(TEXT, "p-1") != seal.close(TEXT, "p-1")


def test_keys_can_be_changed(key):
    """The first one seals, and the older ones still open."""
    old, new = sg.Seal(key), sg.Seal(sg.Seal.new_key(), key)
    assert new.open(old.close(TEXT, "p-1"), "p-1") == TEXT
    with pytest.raises(sg.WrongSeal, match="SMARTGLOCAL_JOURNAL_KEY"):
        old.open(new.close(TEXT, "p-1"), "p-1")


@pytest.mark.parametrize("change", ["row", "first byte", "last byte", "cut", "empty", "key"])
def test_what_was_changed_does_not_open(key, change):
    """Neither under another row's name, nor with another key, nor damaged."""
    sealed = sg.Seal(key).close(TEXT, "p-1")
    damaged = {
        "first byte": bytes([sealed[0] ^ 1]) + sealed[1:],
        "last byte": sealed[:-1] + bytes([sealed[-1] ^ 1]),
        "cut": sealed[:10],
        "empty": b"",
    }.get(change, sealed)
    seal = sg.Seal(sg.Seal.new_key()) if change == "key" else sg.Seal(key)
    with pytest.raises(sg.JournalUnusable, match=r"key .p-[12]."):
        seal.open(damaged, "p-2" if change == "row" else "p-1")


def test_another_key_is_no_damage(key):
    """What another key opens is told apart from what none does any more."""
    sealed = sg.Seal(key).close(TEXT, "p-1")
    with pytest.raises(sg.WrongSeal, match="apart by commas"):
        sg.Seal(sg.Seal.new_key()).open(sealed, "p-1")
    with pytest.raises(sg.JournalUnusable, match="was changed") as caught:
        sg.Seal(key).open(sealed[:-1], "p-1")
    assert type(caught.value) is sg.JournalUnusable


@pytest.mark.parametrize(
    "keys",
    [(), ("",), ("not base64!",), (base64.b64encode(b"short-secret").decode(),), (b"bytes", 7)],
)
def test_what_is_no_key_is_refused_and_not_shown(keys):
    """The text says how to make one."""
    with pytest.raises(sg.InvalidCredentials, match="new_key") as caught:
        sg.Seal(*keys)
    frame = list(traceback.walk_tb(caught.tb))[-1][0]
    assert set(frame.f_locals) == {"self", "known"}
    assert frame.f_locals["known"] == ()


def test_it_is_read_from_the_environment(key, monkeypatch):
    """Several keys stand apart by commas; without the variable there is none."""
    monkeypatch.delenv("SMARTGLOCAL_JOURNAL_KEY", raising=False)
    assert sg.Seal.from_env() is None
    monkeypatch.setenv("SMARTGLOCAL_JOURNAL_KEY", f"{sg.Seal.new_key()},{key}")
    assert sg.Seal.from_env().open(sg.Seal(key).close(TEXT, "a"), "a") == TEXT


@pytest.mark.parametrize("row", ["p-1", "p-2"])
def test_its_repr_shows_nothing(key, row):
    """Nor does that of a text that wouldn't open."""
    seal = sg.Seal(key)
    assert key not in repr(seal)
    sealed = seal.close(TEXT, "p-2") if row == "p-1" else b"damaged"
    with pytest.raises(sg.JournalUnusable) as caught:
        seal.open(sealed, row)
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert repr(base64.b64decode(key)) not in "".join(told.format())
