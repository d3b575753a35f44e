"""The encoding of a file: what its bytes show, and what they don't."""

import io
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartglocal_async.payouts.files.encodings import CODE_PAGES, encoding_of

TEXT = "key,amount\r\n1,2.00\r\n"


def recognised(content: bytes) -> str | None:
    """Return the encoding of some bytes."""
    return encoding_of(io.BytesIO(content))


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"", "utf-8"),
        (TEXT.encode(), "utf-8"),
        (TEXT.encode("utf-8-sig"), "utf-8"),
        ("Jürgen,Żółć,Иван,李".encode(), "utf-8"),
        (TEXT.encode("utf-16"), "utf-16"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "utf-16"),
        (TEXT.encode("utf-16-le"), "utf-16-le"),
        (TEXT.encode("utf-16-be"), "utf-16-be"),
        (TEXT.encode("utf-32"), "utf-32"),
        ("Jörg Müller, Straße, Ä Ö Ü".encode("cp1252"), "cp1252"),
        ("Café\u00a0d'Or".encode("cp1252"), "cp1252"),
    ],
)
def test_what_the_bytes_show(content, encoding) -> None:
    """A mark, valid UTF-8, or words that are the same in every code page."""
    assert recognised(content) == encoding


FOREIGN: Final = {
    "cp437": (
        "Jäger",
        "Jörg",
        "André",
        "Peña",
        "Håkon",
        "voilà",
        "Çelik",
    ),
    "cp850": ("Jäger", "Jörg", "Øystein", "Søren", "João", "GARCÉS"),
    "cp852": ("Ćwik", "Łukasz", "Žižka", "Kočka"),
    "cp857": ("Şahin", "Çelik"),
    "mac_roman": (
        "Jäger",
        "Jörg",
        "André",
        "García",
        "Øystein",
        "Müller",
    ),
    "mac_latin2": ("Kočka", "Němec"),
    "cp866": ("Иванов",),
}
"""Names in the code pages of DOS and Macintosh, which aren't recognised."""


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("Muñoz".encode("cp1252"), id="ñ, and ń in cp1250"),
        pytest.param("Łukasz".encode("cp1250"), id="Ł, and £ in cp1252"),
        pytest.param("Иванов".encode("cp1251"), id="Cyrillic, and Latin letters in cp1252"),
        pytest.param("François".encode("cp1252"), id="ç, and ē in cp1257"),
        pytest.param("10 m²".encode("cp1252"), id="², and Č in iso8859-16"),
        pytest.param("Müller".encode("cp850"), id="of DOS"),
        pytest.param("Jörg".encode() + "Jörg".encode("cp1252"), id="a mixture"),
        pytest.param(b"\x81\x8d", id="of no code page"),
        *(
            pytest.param(name.encode(page), id=f"{name} in {page}")
            for page, names in FOREIGN.items()
            for name in names
        ),
    ],
)
def test_what_the_bytes_do_not_show(content) -> None:
    """If two code pages give two names, none is chosen."""
    assert recognised(content) is None


@given(st.text(st.characters(codec="cp1252", exclude_categories=["Cc"]), max_size=20))
def test_a_recognised_code_page_gives_what_was_written(text) -> None:
    """Written in the usual one, a text is read as it was, or not at all."""
    content = text.encode("cp1252")
    encoding = recognised(content)
    if encoding in CODE_PAGES:
        assert content.decode(encoding) == text


@pytest.mark.parametrize(
    "text",
    [
        "Jörg",
        "„Jörg“",
        "GROßMANN",
        "KÖLN",
        "Élise O\u2019Hara \u2013 10 €",
    ],
)
def test_words_of_windows(text) -> None:
    """Quotes around a word, an apostrophe and capitals are as usual."""
    assert recognised(text.encode("cp1252")) == "cp1252"


@given(st.binary(max_size=200))
def test_any_bytes_have_an_encoding_or_none(content) -> None:
    """No bytes fail, and what is recognised can be read."""
    encoding = recognised(content)
    if encoding == "utf-8" or encoding in CODE_PAGES:
        _ = content.decode(encoding)
